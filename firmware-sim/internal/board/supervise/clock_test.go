package supervise

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"trailmark/firmware-sim/internal/board/hostclock"
)

// clocked is a command on a clock to which the words have happened.
func clocked(t *testing.T, words string, args ...string) Command {
	t.Helper()
	needRoot(t)
	c := command(t, args...)
	c.Clock = new(hostclock.Clock)
	for _, word := range strings.Fields(words) {
		happen, err := c.Clock.Parse(word)
		if err == nil {
			err = happen()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// Whichever way a program asks, it sees one wall clock; the time since boot is the
// machine's own.
func TestClock(t *testing.T) {
	for words, ahead := range map[string]time.Duration{"": 0, "step=+3h": 3 * time.Hour, "step=-48h step=-1h": -49 * time.Hour, "1970 none": 0} {
		t.Run(words, func(t *testing.T) {
			c := clocked(t, words, "clock")
			from := time.Now().Add(ahead).Unix()
			stdout, stderr, status := output(t, c)
			to := time.Now().Add(ahead).Unix()
			var wall [5]int64
			var boot, maxError int64
			var unsynced bool
			var rest string
			if _, err := fmt.Sscanf(strings.TrimPrefix(stdout, "ready\n"), "%d %d %d %d %d\n%d\n%t %d\n%s", &wall[0], &wall[1], &wall[2], &wall[3], &wall[4],
				&boot, &unsynced, &maxError, &rest); err != nil || status != 0 {
				t.Fatalf("status %d, %v: %q %s", status, err, stdout, stderr)
			}
			for i, s := range wall {
				if s < from-1 || s > to+1 { // a coarse clock is a tick behind
					t.Errorf("way %d shows %d, want %d to %d", i, s, from, to)
				}
			}
			if now := bootSeconds(t); boot > now || boot < now-60 {
				t.Errorf("%d s since boot, want about %d", boot, now)
			}
			if ahead != 0 && (!unsynced || maxError != 16_000_000) {
				t.Errorf("a clock set by hand is called disciplined within %d µs: %v", maxError, !unsynced)
			}
			if !strings.Contains(stdout, "\noperation not permitted operation not permitted\n") {
				t.Errorf("the clock can be set: %s", stdout)
			}
			t.Log(stdout)
		})
	}
}

// A program of the C library, in a child of a child, has the board's clock too.
func TestClockOfChildren(t *testing.T) {
	c := clocked(t, "1970")
	c.Args = []string{"sh", "-c", "sh -c 'date +%Y; (date +%Y)'; exec date +%Y"}
	stdout, stderr, status := output(t, c)
	if want := "ready\n1970\n1970\n1970\n"; stdout != want || status != 0 {
		t.Errorf("status %d: %q, want %q; %s", status, stdout, want, stderr)
	}
}

// The clock steps under a program that runs.
func TestClockSteps(t *testing.T) {
	c := clocked(t, "")
	c.Args = []string{"sh", "-c", "read x; date +%s; read x; date +%s; read x; date +%Y"}
	happen := func(word string) {
		h, err := c.Clock.Parse(word)
		if err == nil {
			err = h()
		}
		if err != nil {
			t.Error(err)
		}
	}
	lines := make(chan string)
	in, out := talk(t, &c, lines)
	p, err := Start(t.Context(), c, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
	var first, second int64
	say := func() string { fmt.Fprintln(out, "go"); return <-lines }
	fmt.Sscan(say(), &first)
	happen("step=+3h")
	fmt.Sscan(say(), &second)
	if by := second - first; by < 3*3600 || by > 3*3600+60 {
		t.Errorf("a step of %d s, want 10800", by)
	}
	happen("1970")
	if year := say(); year != "1970" {
		t.Errorf("the year is %s", year)
	}
	if status, err := p.Wait(); status != 0 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
}

// talk connects pipes to a command's input and, line by line, its output.
func talk(t *testing.T, c *Command, lines chan<- string) (theirs, ours *os.File) {
	t.Helper()
	in, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	c.Stdin, c.Stdout, c.Stderr = in, w, t.Output()
	go func() {
		for s := bufio.NewScanner(r); s.Scan(); {
			lines <- s.Text()
		}
	}()
	t.Cleanup(func() { ours.Close(); w.Close() })
	return in, ours
}

func bootSeconds(t *testing.T) int64 {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		t.Fatal(err)
	}
	return ts.Sec
}
