package app

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"trailmark/agent/internal/outbox"
	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/statement"
)

// Export writes what is on the card of a data folder as one card file
// (docs/wire-format.md, section 5) and says in a line what that is. It reads only,
// also while an agent runs.
func Export(dir string, w io.Writer) (string, error) {
	answer, err := readAnswer(filepath.Join(dir, enrolmentName))
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("this device is not enrolled: %w\nhint: name its data folder with --dir", err)
	} else if err != nil {
		return "", err
	}
	epoch, err := epochOf(answer)
	if err != nil {
		return "", fmt.Errorf("enrolment: %w", err)
	}
	statements, err := cardStatements(dir, answer)
	if err != nil {
		return "", err
	}
	out := bufio.NewWriter(w)
	var first, last, count uint64
	var newest device.State
	damage, err := outbox.Read(filepath.Join(dir, of(epoch, outboxName)), func(seq uint64, data []byte) error {
		r, err := device.ParseRecord(data)
		if err != nil {
			return fmt.Errorf("frame %d: %w", seq, err)
		}
		st, err := device.ParseState(r.State)
		if err != nil {
			return fmt.Errorf("frame %d: %w", seq, err)
		}
		if count == 0 {
			first = seq
			if err := writeHead(out, st.Channels, statements); err != nil {
				return err
			}
		}
		last, newest = seq, st
		count++
		_, err = out.Write(r.Up)
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%w\nhint: no frame was ever kept here", err)
	} else if err != nil {
		return "", err
	}
	if count == 0 {
		if err := writeHead(out, nil, statements); err != nil {
			return "", err
		}
	}
	c := newest.Checked
	if origin, ok := statement.OriginOf(answer.Origin, c.Origin); ok && c.Size > 0 {
		item, err := dcbor.Marshal(statement.CardCheckpoint{Origin: origin, Size: c.Size, Root: c.Root})
		if err != nil {
			return "", err
		}
		if _, err := out.Write(item); err != nil {
			return "", err
		}
	}
	if err := out.Flush(); err != nil {
		return "", err
	}
	if count == 0 {
		return "no frame is on the card", nil
	}
	said := fmt.Sprintf("%d frames, seq %d to %d; nothing older is on the card", count, first, last)
	if epoch > 0 {
		said = fmt.Sprintf("epoch %d: %d frames, seq %d to %d; nothing older of it is on the card", epoch, count, first, last)
	}
	for _, d := range damage {
		said += fmt.Sprintf("; %d to %d are damaged", d.From, d.To-1)
	}
	return said, nil
}

// cardStatements are who the device is, the sites, and the plans at hand.
func cardStatements(dir string, a device.Answer) ([][]byte, error) {
	identities, plans := append([][]byte{a.Identity}, a.Identities...), [][]byte(nil)
	if len(a.Plan) > 0 {
		plans = append(plans, a.Plan)
	}
	message, err := readFile(filepath.Join(dir, planName), statement.MaxSize)
	if err == nil {
		m, err := statement.ParseDown(message)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", planName, err)
		}
		if down, ok := m.(*statement.PlanDown); ok {
			identities, plans = append(identities, down.Identities...), append(plans, down.Plan)
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var out [][]byte
	for _, s := range append(identities, plans...) {
		if !containsBytes(out, s) {
			out = append(out, s)
		}
	}
	return out, nil
}

func containsBytes(all [][]byte, b []byte) bool {
	for _, a := range all {
		if bytes.Equal(a, b) {
			return true
		}
	}
	return false
}

func writeHead(w io.Writer, channels []device.Channel, statements [][]byte) error {
	h := statement.CardHead{Mark: statement.CardMark, Version: 1, Traces: []statement.CardTrace{}}
	for _, c := range channels {
		h.Traces = append(h.Traces, statement.CardTrace{Start: c.Start, Frontier: c.Frontier})
	}
	head, err := dcbor.Marshal(h)
	if err != nil {
		return err
	}
	for _, item := range append([][]byte{head}, statements...) {
		if _, err := w.Write(item); err != nil {
			return err
		}
	}
	return nil
}
