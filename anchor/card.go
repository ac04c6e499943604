package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"trailmark/anchor/internal/card"
	"trailmark/internal/command"
	"trailmark/passport"
)

// verifyCard checks what agent export wrote.
func verifyCard(path, trustPath string, asJSON bool, stdout io.Writer) error {
	if trustPath == "" {
		return command.Usagef("--trust FILE is missing: a card is worth nothing against no trust file")
	}
	data, err := readLimited(trustPath, maxTrust, "")
	if err != nil {
		return err
	}
	trust, err := passport.ParseTrust(data)
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	r, err := card.Verify(bufio.NewReader(file), trust)
	var no *card.Refused
	switch {
	case errors.As(err, &no) && asJSON:
		if err := json.NewEncoder(stdout).Encode(struct {
			Verified bool   `json:"verified"`
			Reason   string `json:"reason"`
		}{false, no.Error()}); err != nil {
			return err
		}
		return command.Exit(1)
	case errors.As(err, &no):
		fmt.Fprintf(stdout, "REFUTED: %v\nThis file is not what the device signed. Do not rely on anything in it.\n", no)
		return command.Exit(1)
	case err != nil:
		return err
	case asJSON:
		return json.NewEncoder(stdout).Encode(struct {
			Verified bool `json:"verified"`
			*card.Report
		}{true, r})
	}
	printCard(stdout, r)
	return nil
}

func printCard(w io.Writer, r *card.Report) {
	name := r.Device.Subject
	if r.Device.Simulated {
		name += " (SIMULATED)"
	}
	fmt.Fprintf(w, "What is in this file is what %s signed.\n\n", name)
	line := func(format string, args ...any) { fmt.Fprintf(w, "  "+format+"\n", args...) }
	line("key %s, epoch %d", r.KeyID, r.Device.Epoch)
	if r.Frames == 0 {
		line("it holds no frame")
		return
	}
	line("%d frames, seq %d to %d; nothing older than seq %d is in it", r.Frames, r.First, r.Last, r.First)
	for _, m := range r.Missing {
		line("MISSING: seq %d to %d", m[0], m[1])
	}
	if r.Lost > 0 {
		line("the device itself signed that its card lost %d frames", r.Lost)
	}
	if r.Unset == r.Frames {
		line("the clock was never set: times are since boot")
	} else {
		line("times as the device's clock had them: %s to %s", clockTime(r.T0), clockTime(r.T1))
		if r.Unset > 0 {
			line("in %d frames the clock was not set: their times are since boot", r.Unset)
		}
	}
	line("%d readings in %d blocks, %d faults, %d sightings, %d events", r.Readings, r.Blocks, r.Faults, r.Sightings, r.Happenings)
	if r.Unfollowed > 0 {
		line("%d blocks are signed, but what their traces were before is not in the file", r.Unfollowed)
	}
	line("%d plans; %d frames name another that is not in the file", r.Plans, r.Unknown)
	if r.Size > 0 {
		line("newest checkpoint that the device had verified: %s at %d entries, root %s", r.Origin, r.Size, r.Root)
	} else {
		line("the device had verified no checkpoint")
	}
	fmt.Fprint(w, "\nChecked: every signature, the chain of frames, every record, and that each block\nextends its trace. Not checked, because a card cannot show it: whether the ledger\nhas these frames, and whether the key was revoked since.\n")
}

func clockTime(ms int64) string { return time.UnixMilli(ms).Local().Format(time.DateTime) }
