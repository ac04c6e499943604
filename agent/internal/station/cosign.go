package station

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"trailmark/agent/internal/clock"
	"trailmark/internal/device"
	"trailmark/statement"
)

// A Witness remembers which ledger head this device cosigned. Its methods are
// called by Run's goroutine and by New.
type Witness interface {
	// Newest is the head that was kept last and its signed note; Size 0: none.
	Newest() (device.Checkpoint, []byte)
	// Keep makes c the newest head. When it returns nil, c survives loss of power.
	Keep(c device.Checkpoint, note []byte) error
	// Accuse keeps words that have two signed heads in them which contradict each
	// other. When it returns nil they survive loss of power.
	Accuse(size uint64, root statement.Hash, words string) error
	// Accused names the first evidence that was kept; "": there is none.
	Accused() string
}

// cosignPause is the least time between two cosignatures: an anchor comes once a
// minute, and each one costs a write to the card.
const cosignPause = time.Second

// Reasons why a device does not cosign now.
var (
	errOvertaken = errors.New("a newer checkpoint was verified since")
	errTooSoon   = errors.New("asked again within a second")
	errNoTime    = errors.New("the clock is unset, and a cosignature says as of when")
)

// noWitness says why this device is no witness; "": it is one.
func (s *Station) noWitness() string {
	switch {
	case !s.p.Sealer.Signer.Key().Cosigns():
		return "its key is P-256, and cosignatures are of Ed25519 keys"
	case s.p.Witness == nil:
		return "it cannot remember what it cosigned"
	case s.st.Alarm:
		return "someone else signs with its key"
	case !s.st.Successor.IsZero():
		return "its key was handed over"
	}
	return ""
}

// recall takes up the head that was cosigned before this start, which may be
// newer than the one that the newest frame names.
func (s *Station) recall() {
	if s.p.Witness == nil {
		return
	}
	c, note := s.p.Witness.Newest()
	named, ours := statement.OriginOf(s.c.Origin, c.Origin)
	if c.Size == 0 || !ours {
		return
	}
	s.cosigned.head = c
	now := s.origin()
	if statement.Successor(named, now) {
		return // a later ledger was verified since
	}
	s.roots.add(c)
	if named != now || c.Size > s.st.Checked.Size {
		s.st.Checked, s.checkedNote = c, note
	}
}

// cosign verifies a checkpoint as receipts does, and signs it as a witness if this
// device is one and the checkpoint is the newest that it knows.
func (s *Station) cosign(ctx context.Context, m *statement.Cosign) error {
	origin, earlier := s.ledgerOf(m.Checkpoint)
	if earlier {
		return fmt.Errorf("checkpoint of ledger %s: %w", origin, errOvertaken)
	}
	cp, err := statement.OpenCheckpoint(m.Checkpoint, origin, s.c.LogKey)
	if err != nil {
		return err
	}
	if err := s.extend(cp, m.Consistency); err != nil {
		return err
	}
	if s.noWitness() != "" {
		return nil
	}
	head := s.st.Checked
	if cp.Size != head.Size || cp.Root != head.Root {
		return fmt.Errorf("checkpoint of %d entries, verified are %d: %w", cp.Size, head.Size, errOvertaken)
	}
	now := s.p.Clock.Now()
	if head != s.cosigned.head || s.cosigned.line == nil {
		switch {
		case now.Quality == clock.Unset:
			// A restored clock is late, never early: then the cosignature says less.
			return errNoTime
		case s.cosigned.line != nil && now.Boottime-s.cosigned.at < int64(cosignPause):
			return errTooSoon
		}
		if err := s.sign(cp, head, now); err != nil {
			return err
		}
	}
	msg, err := statement.EncodeCosigned(head.Origin, head.Size, s.cosigned.line)
	if err != nil {
		return err
	}
	if err := s.p.Uplink.Publish(ctx, msg); err != nil {
		return fmt.Errorf("cosignature not sent: %w", err) // the gateway asks again for the next one
	}
	return nil
}

// sign makes the cosignature. What it is of is on the card before.
func (s *Station) sign(cp statement.Checkpoint, head device.Checkpoint, now clock.Reading) error {
	if err := s.p.Witness.Keep(head, cp.Bare()); err != nil {
		return fmt.Errorf("not cosigned: %w", err)
	}
	line, err := s.p.Sealer.Signer.Cosign(cp, now.Wall/1000)
	if err != nil {
		return err
	}
	s.cosigned = cosigned{head: head, line: line, at: now.Boottime}
	s.changed = true
	s.log.Debug("checkpoint cosigned", slog.Uint64("size", head.Size), slog.String("root", head.Root.String()))
	return nil
}

// cosigned is the newest cosignature.
type cosigned struct {
	head device.Checkpoint // Size 0: none
	line []byte            // nil: made before this start
	at   int64             // ns since boot
}

// contradicted raises the alarm: the log signed a head that the one verified last
// does not lead to.
func (s *Station) contradicted(cp statement.Checkpoint, last device.Checkpoint, proof []statement.Hash, words string) {
	if s.tampered[words] {
		return // told again
	}
	s.tamper(words, nil)
	s.raised++
	if s.p.Witness == nil {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nverified: size %d, root %s\n", words, last.Size, last.Root)
	if len(s.checkedNote) > 0 {
		fmt.Fprintf(&b, "\n%s", s.checkedNote)
	}
	fmt.Fprintf(&b, "\nshown then: size %d, root %s\n\n%s", cp.Size, cp.Root, cp.Note)
	if cp.Size != last.Size {
		fmt.Fprintf(&b, "\nproof from size %d that came with it:\n", last.Size)
		for _, h := range proof {
			fmt.Fprintln(&b, h)
		}
	}
	if err := s.p.Witness.Accuse(cp.Size, cp.Root, b.String()); err != nil {
		s.log.Error("evidence of two ledgers not kept", slog.Any("err", err))
	}
	s.changed = true
}
