// Package chip holds what the models of sensor chips share: where a physical
// value comes from, and what can go wrong with a chip while it runs.
//
// The models below it answer on the wire as the silicon does, by the datasheet.
// They convert in real time on whatever clock they are given, so that a driver
// that reads too early gets what it would get from the chip.
package chip

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Source gives the physical value around a chip at a moment, in the unit that
// the chip's Config names. It returns a finite number and the same one each
// time it is asked for the same moment; it may be asked for one in the past. It
// is called with the chip's lock held, so it must not use the chip.
type Source func(at time.Time) float64

// A Kind is a way for a chip to fail.
type Kind uint8

// The kinds of faults.
const (
	None        Kind = iota // ends every fault; what a brown-out lost stays lost
	Gone                    // unplugged, with its power left on: does not answer
	BrownOut                // power lost and back, once and now
	Corrupt                 // a flipped bit in each of the next Count answers
	Short                   // holds its data line to ground, and so the whole bus
	Stuck                   // goes on to measure the value of the moment of the fault
	Drift                   // temperature off by PerHour, growing from now on
	Counterfeit             // a clone sold under the name; each chip says what differs
)

var kindNames = [...]string{
	None: "none", Gone: "gone", BrownOut: "brownout", Corrupt: "corrupt",
	Short: "short", Stuck: "stuck", Drift: "drift", Counterfeit: "counterfeit",
}

// String returns the name that Parse reads.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Limits of a fault's argument.
const (
	MaxCount   = 1_000_000 // answers
	MaxPerHour = 1000.0    // °C per hour, either way
)

// A Fault is what is wrong with a chip from a moment on.
type Fault struct {
	Kind    Kind
	Count   int     // answers, with Corrupt
	PerHour float64 // °C per hour, with Drift
}

// String returns the text that Parse reads: "gone", "corrupt=3", "drift=-0.5".
func (f Fault) String() string {
	switch f.Kind {
	case Corrupt:
		return fmt.Sprintf("%v=%d", f.Kind, f.Count)
	case Drift:
		return fmt.Sprintf("%v=%s", f.Kind, strconv.FormatFloat(f.PerHour, 'g', -1, 64))
	default:
		return f.Kind.String()
	}
}

// Parse reads a fault of a script: one of none, gone, brownout, corrupt=COUNT,
// short, stuck, drift=DEGREES-PER-HOUR, counterfeit.
func Parse(s string) (Fault, error) {
	name, argument, has := strings.Cut(s, "=")
	f := Fault{}
	for k, n := range kindNames {
		if n == name {
			f.Kind = Kind(k)
		}
	}
	if f.Kind == None && name != kindNames[None] {
		return Fault{}, fmt.Errorf("no fault %q, want one of %s", name, strings.Join(kindNames[:], ", "))
	}
	wants := f.Kind == Corrupt || f.Kind == Drift
	if has != wants {
		return Fault{}, fmt.Errorf("fault %q: want corrupt=COUNT, drift=DEGREES-PER-HOUR, or a name alone", s)
	}
	var err error
	switch f.Kind {
	case Corrupt:
		if f.Count, err = strconv.Atoi(argument); err != nil || f.Count < 1 || f.Count > MaxCount {
			return Fault{}, fmt.Errorf("fault %q: want a count from 1 to %d", s, MaxCount)
		}
	case Drift:
		f.PerHour, err = strconv.ParseFloat(argument, 64)
		if err != nil || math.IsNaN(f.PerHour) || math.Abs(f.PerHour) > MaxPerHour {
			return Fault{}, fmt.Errorf("fault %q: want degrees per hour, at most %g either way", s, MaxPerHour)
		}
	}
	return f, nil
}

// A State is the faults in force on one chip: a later one joins the earlier
// ones until None ends all. The lock of the chip that holds it guards it.
type State struct {
	Gone, Short, Counterfeit bool
	corrupt                  int // answers still to be flipped
	stuck, drifting          bool
	stuckAt, driftFrom       time.Time
	perHour                  float64
}

// Apply adds f from now on. A BrownOut is left to the chip.
func (s *State) Apply(f Fault, now time.Time) {
	switch f.Kind {
	case None:
		*s = State{}
	case Gone:
		s.Gone = true
	case Corrupt:
		s.corrupt = f.Count
	case Short:
		s.Short = true
	case Stuck:
		s.stuck, s.stuckAt = true, now
	case Drift:
		s.drifting, s.driftFrom, s.perHour = true, now, f.PerHour
	case Counterfeit:
		s.Counterfeit = true
	}
}

// Corrupt reports whether this answer has a flipped bit, and counts it.
func (s *State) Corrupt() bool {
	if s.corrupt == 0 {
		return false
	}
	s.corrupt--
	return true
}

// Measure returns what the sensing element feels of source at a moment.
func (s *State) Measure(source Source, at time.Time) float64 {
	if s.stuck && at.After(s.stuckAt) {
		at = s.stuckAt
	}
	return source(at)
}

// Celsius is Measure of a temperature, in °C, with the drift on it.
func (s *State) Celsius(source Source, at time.Time) float64 {
	v := s.Measure(source, at)
	if s.drifting && at.After(s.driftFrom) {
		v += s.perHour * at.Sub(s.driftFrom).Hours()
	}
	return v
}
