package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"trailmark/e2e/stage"
	"trailmark/statement"
	"trailmark/trace"
)

// A boarded is the agent's binary on a board, in the zone "store" of a stage.
type boarded struct {
	*stage.Stage
	t       *testing.T
	data    string    // of the agent, outside the board
	run     string    // where it keeps its status, as under systemd
	control string    // pipe
	log     string    // of firmware-sim and the agent
	args    []string  // of firmware-sim
	cmd     *exec.Cmd // while it runs
	ended   chan error
}

// onBoard starts an agent on a board of 1-Wire probes that feel 4.5 °C. board and
// settings are the rest of the two files; %s in board is the data folder.
func onBoard(t *testing.T, probes int, board, settings string) *boarded {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: the board is shown in a mount namespace")
	}
	s := startStage(t, "--zones", "else=别处/Elsewhere", "--offsets", "100", "--lead", "1h")
	claim, err := s.Run(t.Context(), "gateway", "claim", "--dir", s.Dir, "--zone", "store", "--simulated",
		"--name", "zh-CN=冷库,en=Cold store", "--band", "2..8", "--reread", "10s")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	b := &boarded{Stage: s, t: t, data: filepath.Join(s.Dir, "agent-store"), run: filepath.Join(dir, "run"), control: filepath.Join(dir, "control"), log: filepath.Join(dir, "log"), ended: make(chan error, 1)}
	if err := os.Mkdir(b.run, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := "name: bench\nstep: 1s\nsources: {cold: {constant: 4.5}}\nw1:\n"
	for i := range probes {
		file += fmt.Sprintf("  - {name: probe-%d, serial: \"%012x\", celsius: cold}\n", i, i+1)
	}
	file = write("board.yaml", file+strings.ReplaceAll(board, "%s", b.data))
	config := write("agent.yaml", fmt.Sprintf("claim: %q\ndir: %s\nw1: {root: /sys/bus/w1/devices}\n", strings.TrimSpace(claim), b.data)+settings)
	b.args = []string{"run", "--control", b.control, file, "--", filepath.Join(bin, "agent"), "run", "--config", config, "--simulated"}
	t.Cleanup(func() {
		b.end()
		if text, err := os.ReadFile(b.log); t.Failed() && err == nil {
			t.Logf("the board and its agent say:\n%s", text[max(0, len(text)-20_000):])
		}
	})
	b.start()
	return b
}

// start starts the board and its agent, again after end.
func (b *boarded) start() {
	b.t.Helper()
	log, err := os.OpenFile(b.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(bin, "firmware-sim"), b.args...)
	cmd.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+b.run)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.cmd = cmd
	go func() { b.ended <- cmd.Wait() }()
}

// end ends the agent as its service would.
func (b *boarded) end() {
	b.t.Helper()
	if b.cmd == nil {
		return
	}
	_ = b.cmd.Process.Signal(syscall.SIGTERM) // it may be gone: then Wait says so
	select {
	case err := <-b.ended:
		if err != nil {
			b.t.Errorf("the board ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		_ = b.cmd.Process.Kill() // the error is that it must be
		<-b.ended
		b.t.Error("the board did not end")
	}
	b.cmd = nil
}

// happen writes a line to the control pipe.
func (b *boarded) happen(line string) {
	b.t.Helper()
	f, err := os.OpenFile(b.control, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(line + "\n")
		f.Close()
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// A boardStatus is what the agent says of itself.
type boardStatus struct {
	agentStatus
	PID      int    `json:"pid"`
	Clock    string `json:"clock"`
	CardFull bool   `json:"card_full"`
	Lost     uint64 `json:"lost_frames"`
}

func (b *boarded) status() (a boardStatus) {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.run, "status.json"))
	if err != nil {
		return a // not written yet
	}
	if err := json.Unmarshal(data, &a); err != nil {
		b.t.Fatal(err)
	}
	return a
}

// frames are the agent's frames that the gateway holds; each must be there.
func (b *boarded) frames() []*statement.Delivery {
	b.t.Helper()
	key := b.status().Key
	if key == "" {
		return nil
	}
	all := frames(b.t, b.Dir, key)
	for i, d := range all {
		if d.Frame.Seq != uint64(i) {
			b.t.Fatalf("frame %d of the gateway is number %d", i, d.Frame.Seq)
		}
	}
	return all
}

// starts are the traces that frames begin, in order.
func starts(all []*statement.Delivery) (out []trace.Start) {
	for _, d := range all {
		for _, c := range d.Contents {
			if h, ok := c.(*statement.HeadRecord); ok && h.Start != nil {
				out = append(out, *h.Start)
			}
		}
	}
	return out
}

// happenings are those of one type.
func happenings(all []*statement.Delivery, kind statement.HappeningType) (out []*statement.Happening) {
	for _, d := range all {
		for _, c := range d.Contents {
			if h, ok := c.(*statement.Happening); ok && h.Type == kind {
				out = append(out, h)
			}
		}
	}
	return out
}

// readingTimes are the times of all readings, in ms, in the order of the frames.
func readingTimes(all []*statement.Delivery) (out []int64) {
	for _, d := range all {
		for _, c := range d.Contents {
			if b, ok := c.(*statement.Block); ok {
				out = append(out, b.Times()...)
			}
		}
	}
	return out
}

// TestClockStep sets the clock of a running agent's machine three hours ahead and
// back: each is signed as a step and begins a new trace, none goes unsaid.
func TestClockStep(t *testing.T) {
	b := onBoard(t, 1, "clock: {}\n", "every: 500ms\nseal: 1s\n")
	begin := time.Now()
	eventually(t, time.Minute, "frames", func() bool { return len(b.frames()) >= 4 })
	for i, step := range []struct {
		line string
		by   float64 // seconds
		off  time.Duration
	}{{"clock step +3h", 10800, 3 * time.Hour}, {"clock none", -10800, 0}} {
		before := len(b.frames())
		b.happen(step.line)
		var steps []*statement.Happening
		eventually(t, time.Minute, step.line+" to be signed, and frames after it", func() bool {
			all := b.frames()
			steps = happenings(all[before:], statement.ClockStep)
			return len(steps) > 0 && len(starts(all)) > i+1 && len(all) >= before+5
		})
		all := b.frames()
		var by float64 // two clocks are read one after the other
		if _, err := fmt.Sscanf(steps[0].Words, "by %f s", &by); err != nil || len(steps) != 1 || math.Abs(by-step.by) > 0.1 {
			t.Errorf("%s: signed as %d steps, the first %+v; want one by %.0f s", step.line, len(steps), steps[0], step.by)
		}
		traces := starts(all)
		if len(traces) != i+2 || traces[i+1].Basis != trace.Wall || traces[i+1].PrevStart != traces[i].Hash() {
			t.Errorf("%s: traces %+v, want one more, in wall time, that follows on the last", step.line, traces)
		}
		from, to := begin.Add(step.off).UnixMilli(), time.Now().Add(step.off).UnixMilli()
		for _, d := range all[len(all)-2:] {
			if c := d.Frame.Clock; c.Wall < from || c.Wall > to || c.Quality != statement.ClockRestored && c.Quality != statement.ClockSynchronised {
				t.Errorf("%s: frame %d at %+v, want %d to %d", step.line, d.Frame.Seq, c, from, to)
			}
			for _, at := range readingTimes([]*statement.Delivery{d}) {
				if at < from || at > to {
					t.Errorf("%s: frame %d has a reading at %d, want %d to %d", step.line, d.Frame.Seq, at, from, to)
				}
			}
		}
		t.Logf("%s: %s, trace %d begins in frame %d or later", step.line, steps[0].Words, i+1, before)
	}
	b.end()
}

// TestUnsetClock starts an agent on a machine whose clock was never set: it signs
// that, and times since boot, but no date of 1970; once the clock is right a trace
// in wall time follows on the one since boot.
func TestUnsetClock(t *testing.T) {
	b := onBoard(t, 1, "clock: {start: 1970}\n", "every: 500ms\nseal: 1s\n")
	eventually(t, time.Minute, "frames of an unset clock", func() bool { return len(b.frames()) >= 4 })
	if s := b.status(); s.Clock != "unset" {
		t.Errorf("the agent calls its clock %q", s.Clock)
	}
	set := time.Now()
	b.happen("clock none")
	eventually(t, time.Minute, "frames of a clock that is right", func() bool {
		all := b.frames()
		return len(starts(all)) >= 2 && all[len(all)-1].Frame.Clock.Quality != statement.ClockUnset
	})
	all := b.frames()
	unset := 0
	for i, d := range all {
		c := d.Frame.Clock
		if c.Quality == statement.ClockUnset {
			if unset++; c.Wall != 0 || unset != i+1 {
				t.Errorf("frame %d: clock %+v; %d frames before it are unset", i, c, unset-1)
			}
			for _, at := range readingTimes(all[i : i+1]) {
				if at > c.Boottime/1e6 || at < c.Boottime/1e6-60_000 {
					t.Errorf("frame %d: a reading at %d ms since boot, the frame is of %d", i, at, c.Boottime/1e6)
				}
			}
			continue
		}
		if c.Wall < set.UnixMilli() || c.Wall > time.Now().UnixMilli() {
			t.Errorf("frame %d: clock %+v, it was set at %d", i, c, set.UnixMilli())
		}
		for _, at := range readingTimes(all[i : i+1]) {
			if at < set.Add(-2*time.Second).UnixMilli() || at > c.Wall { // a frame holds what was read a second before it
				t.Errorf("frame %d: a reading at %d, the clock was set at %d", i, at, set.UnixMilli())
			}
		}
	}
	traces := starts(all)
	if len(traces) != 2 || traces[0].Basis != trace.Boot || traces[1].Basis != trace.Wall || traces[1].PrevStart != traces[0].Hash() {
		t.Errorf("traces %+v, want one since boot and one in wall time that follows on it", traces)
	}
	t.Logf("%d frames say unset, then %d wall time", unset, len(all)-unset)
	b.end()
}
