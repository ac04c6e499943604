// Package hostclock is the wall clock of the machine that a command believes to be
// on: it steps, or starts in 1970, while this machine's own goes on as it is.
//
// It promises that a program whose reads of the clock come here sees one wall
// clock whichever way it asks (clock_gettime, gettimeofday, time, adjtimex), that
// the times since boot are this machine's own, and that nobody under it sets this
// machine's clock. Hook brings a program's reads here: by itself it would take the
// time from memory that the kernel shows it, without a call.
//
// What the kernel itself does by the wall clock stays on this machine's: times of
// files, and timers and waits until a moment of CLOCK_REALTIME.
package hostclock

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// MaxStep is the longest step, either way.
const MaxStep = 100 * 365 * 24 * time.Hour

// latest is where steps end: later times do not fit a kernel's 64 bits of ns for long.
var latest = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// A Clock is a wall clock, right at first. Safe for concurrent use.
type Clock struct {
	mu    sync.Mutex
	ahead time.Duration // of this machine's
	set   bool          // by hand: a kernel calls it unsynchronised until something disciplines it
}

// Parse reads what can happen to a clock and returns how to make it happen:
//
//	step=DURATION  it is set, that much ahead of what it shows: step=+3h, step=-90s
//	1970           it was never set: 1970 and the time since boot, as without an RTC
//	none           it shows this machine's time
func (c *Clock) Parse(word string) (happen func() error, err error) {
	name, argument, has := strings.Cut(word, "=")
	switch {
	case name == "step" && has:
		by, err := time.ParseDuration(argument)
		if err != nil || by == 0 || by.Abs() > MaxStep {
			return nil, fmt.Errorf("step %q: want a duration such as +3h or -90s, at most %v either way", argument, MaxStep)
		}
		return func() error { return c.step(by) }, nil
	case word == "1970":
		return c.unset, nil
	case word == "none":
		return c.right, nil
	}
	return nil, fmt.Errorf("a clock has no fault %q, want step=DURATION, 1970 or none", word)
}

func (c *Clock) step(by time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	// As the kernel, which refuses to be set before 1970.
	if to := now.Add(c.ahead + by); to.Unix() < 0 || to.After(latest) {
		return fmt.Errorf("step %v: the clock would show %s, want 1970 to %d", by, to.UTC().Format(time.RFC3339), latest.Year())
	}
	c.ahead, c.set = c.ahead+by, true
	return nil
}

func (c *Clock) unset() error {
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead, c.set = time.Duration(boot.Nano()-time.Now().UnixNano()), true
	return nil
}

func (c *Clock) right() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead, c.set = 0, false
	return nil
}

// state returns how far the clock is ahead, and whether it was set by hand.
func (c *Clock) state() (ahead time.Duration, set bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead, c.set
}
