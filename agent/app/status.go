package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"trailmark/agent/internal/station"
)

// status is the file that a running agent keeps up to date.
type status struct {
	Key       string    `json:"key"`
	Device    string    `json:"device"`
	Subject   string    `json:"subject"`
	Simulated bool      `json:"simulated"`
	Written   time.Time `json:"written"`
	PID       int       `json:"pid"`
	station.Status
}

// Status prints what the agent of a data folder said last, on one screen.
func Status(dir string, w io.Writer) error {
	b, err := readFile(filepath.Join(dir, statusName), 64<<10)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("no agent has run on %s\nhint: name its data folder with --dir", dir)
	} else if err != nil {
		return err
	}
	var s status
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, statusName), err)
	}
	said := "at " + s.Written.Format(time.RFC3339)
	device := s.Device
	if s.Simulated {
		device += " (simulated)"
	}
	checkpoint := "none verified yet"
	if s.Size > 0 {
		checkpoint = fmt.Sprintf("%d entries, root %s", s.Size, s.Root)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"device", device}, {"subject", s.Subject}, {"key", s.Key},
		{"said", said}, {"connected", yes(s.Connected)},
		{"epoch", fmt.Sprint(s.Epoch)}, {"next seq", fmt.Sprint(s.Next)},
		{"without receipt", fmt.Sprintf("%d frames", s.Next-min(s.Receipted, s.Next))},
		{"checkpoint", checkpoint},
		{"lost on card", fmt.Sprintf("%d frames", s.LostFrames)},
		{"card full", yes(s.CardFull)},
	} {
		fmt.Fprintf(t, "%s\t%s\n", row[0], row[1])
	}
	if s.Alarm {
		fmt.Fprintf(t, "ALARM\tsomeone else signed under this device's numbers\n")
	}
	return t.Flush()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
