package w1tree

import (
	"fmt"
	"strconv"
	"strings"
)

// A Fault is what is wrong with a chip or its wire.
type Fault uint8

// The faults a bus shows. The first four leave a readable file.
const (
	None    Fault = iota
	CRC           // a flipped bit: the checksum disagrees, verdict NO (kernels before 5.8)
	Empty         // the same on later kernels, which give up: an empty file
	AllZero       // data line shorted to ground: nine zero bytes, whose CRC is right
	PowerOn       // the chip restarted and converted nothing: 85 °C, CRC right
	Gone          // unplugged: no directory
)

var faultNames = [...]string{None: "none", CRC: "crc", Empty: "empty", AllZero: "allzero", PowerOn: "85", Gone: "gone"}

// String returns the name ParseFault reads.
func (f Fault) String() string {
	if int(f) < len(faultNames) {
		return faultNames[f]
	}
	return fmt.Sprintf("Fault(%d)", uint8(f))
}

// ParseFault reads the name of a fault.
func ParseFault(s string) (Fault, error) {
	for f, name := range faultNames {
		if s == name {
			return Fault(f), nil
		}
	}
	return None, fmt.Errorf("no fault %q, want one of %s", s, strings.Join(faultNames[:], ", "))
}

// MaxControl is the largest control file, in bytes.
const MaxControl = 16 << 10

// ParseControl reads a control file: one line per faulty probe, its number
// (from 1 to probes) and the name of the fault. Empty lines and those that
// start with # do not count. The result holds one fault per probe.
//
//	# pull the plug of the second probe
//	2 gone
func ParseControl(text string, probes int) ([]Fault, error) {
	if len(text) > MaxControl {
		return nil, fmt.Errorf("control file of %d bytes, at most %d", len(text), MaxControl)
	}
	faults := make([]Fault, probes)
	set := make([]bool, probes)
	line := 0
	for s := range strings.Lines(text) {
		line++
		field := strings.Fields(s)
		if len(field) == 0 || strings.HasPrefix(field[0], "#") {
			continue
		}
		if len(field) != 2 {
			return nil, fmt.Errorf("control file line %d: %d words, want a probe number and a fault", line, len(field))
		}
		n, err := strconv.Atoi(field[0])
		if err != nil || n < 1 || n > probes {
			return nil, fmt.Errorf("control file line %d: no probe %q, want 1 to %d", line, field[0], probes)
		}
		if set[n-1] {
			return nil, fmt.Errorf("control file line %d: probe %d a second time", line, n)
		}
		if faults[n-1], err = ParseFault(field[1]); err != nil {
			return nil, fmt.Errorf("control file line %d: %w", line, err)
		}
		set[n-1] = true
	}
	return faults, nil
}
