package w1tree

import (
	"fmt"
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
