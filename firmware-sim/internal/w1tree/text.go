package w1tree

import (
	"fmt"

	"trailmark/firmware-sim/chip/ds18b20"
)

// Text returns the content of w1_slave for s, good being the last scratchpad
// whose CRC was right: the kernel prints that one on the second line, with the
// temperature of s.
func Text(s, good ds18b20.Scratchpad) string {
	crc, verdict := ds18b20.CRC8(s[:8]), "NO"
	if crc == s[8] {
		verdict, good = "YES", s
	}
	return fmt.Sprintf("% x : crc=%02x %s\n% x t=%d\n", s[:], crc, verdict, good[:], s.Milli())
}
