package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/statement"
)

// TestFullDisk fills the card under a running agent: it goes on reading, says that
// the card is full, loses nothing that it signed, and once there is room signs what
// it could keep and, as a gap, how much it could not.
func TestFullDisk(t *testing.T) {
	if _, err := exec.LookPath("nsenter"); err != nil {
		t.Skip("needs nsenter, of util-linux")
	}
	const probes = 64 // to fill the agent's memory soon
	b := onBoard(t, probes, "disk: {path: %s, size: 24MiB}\n", "every: 100ms\nseal: 100ms\n")
	// tool runs a command of the agent where the agent is: on the board's disk.
	tool := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "nsenter", append([]string{"-m", "-t", fmt.Sprint(b.status().PID), filepath.Join(bin, "agent")}, args...)...)
		cmd.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+b.run)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out)
	}
	eventually(t, time.Minute, "receipts", func() bool { return b.status().Receipted >= 3 })
	if out := tool("status", "--dir", b.data); !strings.Contains(out, "card full") {
		t.Fatalf("the agent's status cannot be read on the board: %s", out)
	}
	if _, err := os.Stat(filepath.Join(b.data, "enrolment.json")); !os.IsNotExist(err) {
		t.Errorf("the agent writes to this machine's folder: %v", err)
	}

	full := time.Now()
	b.happen("disk full")
	// The segment that the agent has begun is its own: a card fills up at the next.
	eventually(t, 4*time.Minute, "the card to be full", func() bool { return b.status().CardFull })
	held := b.status()
	t.Logf("full in frame %d, %v after the last free block was gone", held.Next, time.Since(full).Round(time.Second))
	if out := tool("status", "--dir", b.data); !strings.Contains(strings.Join(strings.Fields(out), " "), "card full yes") {
		t.Errorf("agent status says\n%s", out)
	}
	if out := tool("doctor", "--lang", "en", "--dir", b.data); !strings.Contains(out, "the card takes no frame") {
		t.Errorf("agent doctor says\n%s", out)
	}
	// Longer than memory lasts.
	eventually(t, 3*time.Minute, "memory to be full as well", func() bool {
		log, err := os.ReadFile(b.log)
		return err == nil && strings.Contains(string(log), "observations are dropped")
	})
	time.Sleep(3 * time.Second)
	if now := b.status(); !now.CardFull || now.Next != held.Next {
		t.Errorf("frame %d was signed while frame %d is kept nowhere", now.Next, held.Next)
	}

	free := time.Now()
	b.happen("disk free")
	eventually(t, time.Minute, "the card to take frames, and their receipts", func() bool {
		s := b.status()
		return !s.CardFull && s.Receipted > held.Next+3
	})
	if s := b.status(); s.Lost != 0 || s.Alarm {
		t.Errorf("status %+v", s)
	}
	all := b.frames() // none is missing
	gaps := happenings(all[held.Next:], statement.Gap)
	if len(gaps) != 1 || gaps[0].Count == 0 || !strings.Contains(gaps[0].Words, "dropped") {
		t.Errorf("gaps signed: %+v, want one of what was dropped", gaps)
	}
	// Of each time while the card was full and memory was not there are readings.
	kept, last := 0, int64(0)
	for _, at := range readingTimes(all) {
		if at > full.UnixMilli() && at < free.UnixMilli() {
			kept++
			last = max(last, at)
		}
	}
	lost := uint64(0)
	if len(gaps) == 1 {
		lost = gaps[0].Count
	}
	if missed := free.Sub(time.UnixMilli(last)); missed < time.Second || kept == 0 {
		t.Errorf("%d readings kept, the last %v before the card was free: nothing was dropped", kept, missed)
	}
	t.Logf("%d readings kept from %v with a full card, %d told as a gap; %d frames, none missing", kept, free.Sub(full).Round(time.Second), lost, len(all))

	// What was on the card is in the folder, and an agent goes on from it.
	b.end()
	if _, err := os.Stat(filepath.Join(b.data, "enrolment.json")); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(b.data + ".card-*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	before := b.status().Next
	b.start()
	eventually(t, time.Minute, "receipts of the next run", func() bool { return b.status().Receipted > before+3 })
	if s := b.status(); s.Lost != 0 || s.Alarm {
		t.Errorf("the next run: %+v", s)
	}
	b.frames()
	b.end()
}
