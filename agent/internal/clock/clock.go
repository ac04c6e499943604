// Package clock says what time it is on a device that boots in 1970, and how
// far that can be believed.
//
// A Reading pairs the boot's own monotonic time, which is always right, with
// the wall clock and its quality. A wall clock before the build date is Unset
// and its time is not given at all, so that no false time can be signed.
package clock

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Build is the date before which no wall clock of this software can be right.
// It is Unix seconds: 2026-11-01.
const Build = 1_793_491_200

// StepThreshold is how far wall and boot time may drift apart between two
// readings before it counts as a step. Clock discipline slews at most 0.5 ms a
// second, so compare readings that are minutes apart, not hours.
const StepThreshold = time.Second

// Quality is how the wall clock came by its time. The numbers are signed.
type Quality uint8

const (
	Unset        Quality = 0 // before the build date, or unreadable
	Restored     Quality = 1 // from a file or unknown: late by however long the power was off
	RTC          Quality = 2 // the kernel took it from a real-time clock at boot
	Synchronised Quality = 3 // disciplined now; Reading.MaxErrorMS bounds the error
)

func (q Quality) String() string {
	names := [...]string{"unset", "restored", "rtc", "synchronised"}
	if int(q) < len(names) {
		return names[q]
	}
	return fmt.Sprintf("quality-%d", q)
}

// A Reading is one look at the clocks.
type Reading struct {
	BootID     [16]byte // changes with every boot
	BootCount  uint64   // grows with every boot
	Boottime   int64    // ns since boot, suspend included
	Wall       int64    // Unix ms; meaningless, and 0, when Quality is Unset
	Quality    Quality
	MaxErrorMS uint64 // the kernel's bound, rounded up; 0 unless Synchronised
}

// A Source is the machine's clocks. Safe for concurrent use.
type Source interface {
	Boottime() (ns int64, err error)
	Wall() time.Time
	// Discipline reads the kernel's clock state without changing it.
	Discipline() (synchronised bool, maxError time.Duration, err error)
	// FromRTC tells whether the kernel set the wall clock from a real-time clock.
	FromRTC() bool
}

// Options of a clock. BootID and BootCount are constants of a boot.
type Options struct {
	BootID    [16]byte
	BootCount uint64
	Build     time.Time // Build if zero
	Source    Source    // System if nil
}

// A Clock is immutable and safe for concurrent use.
type Clock struct {
	opt Options
}

// New makes a clock. It fails when the machine has no boot time to read.
func New(opt Options) (*Clock, error) {
	if opt.Source == nil {
		opt.Source = System{}
	}
	if opt.Build.IsZero() {
		opt.Build = time.Unix(Build, 0)
	}
	if opt.BootID == ([16]byte{}) {
		return nil, errors.New("clock: no boot id")
	}
	if _, err := opt.Source.Boottime(); err != nil {
		return nil, fmt.Errorf("clock: read boot time: %w", err)
	}
	return &Clock{opt}, nil
}

// Now reads the clocks.
func (c *Clock) Now() Reading {
	src := c.opt.Source
	r := Reading{BootID: c.opt.BootID, BootCount: c.opt.BootCount}
	var wall time.Time
	// A process that is descheduled between the two clocks would see a step
	// that was none.
	for range 5 {
		before, err := src.Boottime()
		wall = src.Wall()
		after, err2 := src.Boottime()
		if err != nil || err2 != nil {
			return r // it worked in New; without it nothing can be placed in time
		}
		r.Boottime = after
		if after-before < int64(10*time.Millisecond) {
			break
		}
	}
	if wall.Before(c.opt.Build) {
		return r
	}
	r.Wall = wall.UnixMilli()
	switch ok, bound, err := src.Discipline(); {
	case err == nil && ok && bound >= 0:
		r.Quality = Synchronised
		r.MaxErrorMS = uint64((bound + time.Millisecond - 1) / time.Millisecond)
	case src.FromRTC():
		r.Quality = RTC
	default:
		r.Quality = Restored
	}
	return r
}

// Stepped compares two readings of one boot: by is how much further the wall
// clock went than boot time did (in ms steps, at most 146 years), ok that this is more than StepThreshold. It is
// false when there is nothing to compare: another boot, or a wall clock that is
// Unset in either: the change of BootID or Quality tells that by itself.
func Stepped(prev, now Reading) (by time.Duration, ok bool) {
	if prev.BootID != now.BootID || prev.Quality == Unset || now.Quality == Unset {
		return 0, false
	}
	const ms = int64(time.Millisecond)
	const limit = math.MaxInt64 / ms / 2 // 146 years; two of them fit into a Duration
	clamp := func(v int64) int64 { return max(-limit, min(limit, v)) }
	if min(prev.Wall, now.Wall, prev.Boottime, now.Boottime) < 0 {
		return 0, false // not from a Clock
	}
	by = time.Duration((clamp(now.Wall-prev.Wall) - clamp((now.Boottime-prev.Boottime)/ms)) * ms)
	return by, by > StepThreshold || by < -StepThreshold
}

// System is the clocks of this machine.
type System struct{}

// Boottime reads CLOCK_BOOTTIME.
func (System) Boottime() (int64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, err
	}
	return ts.Nano(), nil
}

// Wall reads CLOCK_REALTIME.
func (System) Wall() time.Time { return time.Now() }

// Discipline asks adjtimex, which changes nothing when Modes is 0.
func (System) Discipline() (bool, time.Duration, error) {
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	if err != nil {
		return false, 0, err
	}
	synchronised := state != unix.TIME_ERROR && tx.Status&unix.STA_UNSYNC == 0
	return synchronised, time.Duration(tx.Maxerror) * time.Microsecond, nil
}

// FromRTC reads hctosys of every real-time clock. A clock that user space set
// from an RTC later is not noticed and stays Restored, which promises less.
func (System) FromRTC() bool {
	rtcs, err := os.ReadDir("/sys/class/rtc")
	if err != nil {
		return false
	}
	for _, e := range rtcs {
		b, err := os.ReadFile("/sys/class/rtc/" + e.Name() + "/hctosys")
		if err == nil && bytes.Equal(bytes.TrimSpace(b), []byte("1")) {
			return true
		}
	}
	return false
}

// BootID reads the kernel's identifier of this boot.
func BootID() ([16]byte, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return [16]byte{}, fmt.Errorf("clock: read boot id: %w", err)
	}
	return parseBootID(b)
}

// parseBootID takes 36 characters of UUID.
func parseBootID(b []byte) (id [16]byte, err error) {
	b = bytes.TrimSuffix(b, []byte("\n"))
	if len(b) != 36 || b[8] != '-' || b[13] != '-' || b[18] != '-' || b[23] != '-' {
		return id, fmt.Errorf("clock: boot id has %d bytes, want a UUID of 36", len(b))
	}
	digits := bytes.ReplaceAll(b, []byte("-"), nil)
	if len(digits) != 32 {
		return id, fmt.Errorf("clock: boot id has %d digits, want 32", len(digits))
	}
	if _, err := hex.Decode(id[:], digits); err != nil {
		return [16]byte{}, fmt.Errorf("clock: boot id: %w", err)
	}
	return id, nil
}
