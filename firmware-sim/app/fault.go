package app

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"trailmark/firmware-sim/internal/w1tree"
)

// A Part is what a fault befalls: a probe of a zone by its number from 1, or one
// of the parts below.
type Part int

// The parts that are no probe.
const (
	PartReader Part = -1
	PartRoom   Part = -2
)

var partNames = map[Part]string{PartReader: "reader", PartRoom: "room"}

// String returns what ParsePart reads.
func (p Part) String() string {
	if name, ok := partNames[p]; ok {
		return name
	}
	return strconv.Itoa(int(p))
}

// ParsePart reads the number of a probe, reader or room.
func ParsePart(s string) (Part, error) {
	for p, name := range partNames {
		if s == name {
			return p, nil
		}
	}
	if n, err := strconv.Atoi(s); err == nil && n > 0 {
		return Part(n), nil
	}
	return 0, fmt.Errorf("no part %q, want the number of a probe, reader or room", s)
}

// A Kind is a way for a part to fail.
type Kind uint8

// The kinds of faults. Of a probe all but the last five, of a reader Gone, Hang,
// Skew and Loose, of a room Door and Outage.
const (
	None     Kind = iota
	CRC           // a flipped bit: the checksum disagrees, verdict NO (kernels before 5.8)
	Empty         // the same on later kernels, which give up: an empty file
	AllZero       // nine zero bytes, whose CRC is right
	PowerOn       // the chip restarted and converted nothing: 85 °C, CRC right
	Gone          // unplugged: no file; a reader cuts its client and takes no other
	BrownOut      // power lost and back, once and now: one conversion is lost
	Short         // the data line at ground: every probe of the zone reads zeros
	Stuck         // it goes on to tell the value of the moment of the fault
	Drift         // it is off by PerHour, growing from now on
	Hang          // the reader is silent, its connections stay
	Skew          // the reader's clock is ahead by Ahead, or behind
	Loose         // the cable of the reader's Antenna is off
	Door          // the door is open
	Outage        // the compressor has no power
)

// kinds holds for each Kind its name, whether a part can have it, and, of those
// that are a state of a probe's file, that state.
var kinds = [...]struct {
	name     string
	on       Part // 1: probes
	also     Part
	argument string
	file     w1tree.Fault
}{
	None:     {name: "none", on: 1, also: PartReader},
	CRC:      {name: "crc", on: 1, file: w1tree.CRC},
	Empty:    {name: "empty", on: 1, file: w1tree.Empty},
	AllZero:  {name: "allzero", on: 1, file: w1tree.AllZero},
	PowerOn:  {name: "85", on: 1, file: w1tree.PowerOn},
	Gone:     {name: "gone", on: 1, also: PartReader, file: w1tree.Gone},
	BrownOut: {name: "brownout", on: 1},
	Short:    {name: "short", on: 1},
	Stuck:    {name: "stuck", on: 1},
	Drift:    {name: "drift", on: 1, argument: "DEGREES-PER-HOUR"},
	Hang:     {name: "hang", on: PartReader},
	Skew:     {name: "skew", on: PartReader, argument: "DURATION"},
	Loose:    {name: "loose", on: PartReader, argument: "ANTENNA"},
	Door:     {name: "door", on: PartRoom},
	Outage:   {name: "outage", on: PartRoom},
}

// has says whether a part can fail so.
func (k Kind) has(p Part) bool { return kinds[k].on == min(p, 1) || kinds[k].also == p }

// names lists the faults that a part can have.
func names(p Part) string {
	var out []string
	for k := range kinds {
		if Kind(k).has(p) {
			name := kinds[k].name
			if a := kinds[k].argument; a != "" {
				name += "=" + a
			}
			out = append(out, name)
		}
	}
	return strings.Join(out, ", ")
}

// A Fault is what is wrong with a part. The zero value is nothing.
type Fault struct {
	Kind    Kind
	PerHour float64       // °C per hour of the script, of Drift
	Ahead   time.Duration // of Skew
	Antenna uint16        // from 1 to antennas, of Loose
}

// Bounds of a fault's argument.
const (
	maxPerHour = 1000.0
	maxAhead   = 100 * 365 * 24 * time.Hour
)

// String returns what ParseFault reads.
func (f Fault) String() string {
	switch f.Kind {
	case Drift:
		return "drift=" + strconv.FormatFloat(f.PerHour, 'g', -1, 64)
	case Skew:
		return "skew=" + f.Ahead.String()
	case Loose:
		return fmt.Sprintf("loose=%d", f.Antenna)
	}
	return kinds[f.Kind].name
}

// ParseFault reads the fault of a part: a name, and of some a value, such as
// gone, drift=-0.5 or skew=-90s.
func ParseFault(p Part, s string) (Fault, error) {
	name, argument, has := strings.Cut(s, "=")
	for k, known := range kinds {
		if known.name != name || !Kind(k).has(p) {
			continue
		}
		if has != (known.argument != "") {
			break
		}
		f := Fault{Kind: Kind(k)}
		var err error
		switch f.Kind {
		case Drift:
			f.PerHour, err = strconv.ParseFloat(argument, 64)
			if err == nil && !(math.Abs(f.PerHour) <= maxPerHour) {
				err = fmt.Errorf("at most %g degrees per hour either way", maxPerHour)
			}
		case Skew:
			f.Ahead, err = time.ParseDuration(argument)
			if err == nil && f.Ahead.Abs() > maxAhead {
				err = fmt.Errorf("at most %v either way", maxAhead)
			}
		case Loose:
			n, e := strconv.ParseUint(argument, 10, 16)
			if f.Antenna = uint16(n); e != nil || n < 1 || n > antennas {
				err = fmt.Errorf("want an antenna from 1 to %d", antennas)
			}
		}
		if err != nil {
			return Fault{}, fmt.Errorf("fault %q: %w", s, err)
		}
		return f, nil
	}
	what := "a probe"
	if p < 0 {
		what = "a " + p.String()
	}
	return Fault{}, fmt.Errorf("no fault %q of %s, want one of %s", s, what, names(p))
}

// FaultPlan breaks one part for a while. Its times are the script's: counted from
// the start, and Config.Speed times as fast as the clock.
type FaultPlan struct {
	Zone  string
	Part  Part
	Fault Fault
	After time.Duration
	For   time.Duration // 0: for good
}

// ParseFaultPlan reads zone:part:kind@after or zone:part:kind@after+for, such as
// dc:1:gone@30s+10s or dc:reader:skew=2m@1m.
func ParseFaultPlan(s string) (FaultPlan, error) {
	bad := func(what string) (FaultPlan, error) {
		return FaultPlan{}, fmt.Errorf("fault %q: %s, want zone:part:kind@after+for such as dc:1:gone@30s+10s", s, what)
	}
	where, when, ok := strings.Cut(s, "@")
	part := strings.Split(where, ":")
	if !ok || len(part) != 3 {
		return bad("incomplete")
	}
	p := FaultPlan{Zone: part[0]}
	var err error
	if p.Part, err = ParsePart(part[1]); err != nil {
		return bad(err.Error())
	}
	if p.Fault, err = ParseFault(p.Part, part[2]); err != nil {
		return FaultPlan{}, err
	}
	after, length, limited := strings.Cut(when, "+")
	if p.After, err = time.ParseDuration(after); err != nil || p.After < 0 {
		return bad("no time")
	}
	if limited {
		if p.For, err = time.ParseDuration(length); err != nil || p.For <= 0 {
			return bad("no duration")
		}
	}
	return p, nil
}

// active says whether the plan holds that long after the start.
func (p FaultPlan) active(elapsed time.Duration) bool {
	return elapsed >= p.After && (p.For == 0 || elapsed-p.After < p.For)
}

// maxScript bounds a script, in bytes.
const maxScript = 1 << 20

// ReadScript reads a file with one plan a line, as ParseFaultPlan takes it. Empty
// lines and those that start with # do not count.
func ReadScript(name string) ([]FaultPlan, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxScript+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxScript {
		return nil, fmt.Errorf("%s is over %d bytes", name, maxScript)
	}
	var plans []FaultPlan
	line := 0
	for s := range strings.Lines(string(text)) {
		line++
		if s = strings.TrimSpace(s); s == "" || strings.HasPrefix(s, "#") {
			continue
		}
		p, err := ParseFaultPlan(s)
		if err != nil {
			return nil, fmt.Errorf("%s line %d: %w", name, line, err)
		}
		plans = append(plans, p)
	}
	return plans, nil
}

// maxControl is the largest control file, in bytes.
const maxControl = 16 << 10

// parseControl reads a control file: one line per faulty part, the number of a
// probe (1 to probes) or reader, and the fault. Empty lines and those that start
// with # do not count.
//
//	# pull the plug of the second probe
//	2 gone
//	reader hang
func parseControl(text string, probes int) (map[Part]Fault, error) {
	if len(text) > maxControl {
		return nil, fmt.Errorf("control file of %d bytes, at most %d", len(text), maxControl)
	}
	faults := map[Part]Fault{}
	line := 0
	for s := range strings.Lines(text) {
		line++
		field := strings.Fields(s)
		if len(field) == 0 || strings.HasPrefix(field[0], "#") {
			continue
		}
		if len(field) != 2 {
			return nil, fmt.Errorf("control file line %d: %d words, want a part and a fault", line, len(field))
		}
		p, err := ParsePart(field[0])
		if err == nil && int(p) > probes {
			err = fmt.Errorf("no probe %d, want 1 to %d", p, probes)
		}
		if err == nil && p == PartRoom {
			err = errors.New("what befalls a room must be planned: its past follows from it")
		}
		var f Fault
		if err == nil {
			f, err = ParseFault(p, field[1])
		}
		if _, twice := faults[p]; err == nil && twice {
			err = fmt.Errorf("part %v a second time", p)
		}
		if err != nil {
			return nil, fmt.Errorf("control file line %d: %w", line, err)
		}
		faults[p] = f
	}
	return faults, nil
}

// A force is a fault in force, with the time of the script at which it began.
type force struct {
	Part
	Fault
	since time.Duration
}

// order puts the forces of a zone in the order of their parts and beginnings, for
// the log.
func order(a, b force) int {
	return cmp.Or(cmp.Compare(a.Part, b.Part), cmp.Compare(a.since, b.since), cmp.Compare(a.Kind, b.Kind))
}
