package w1tree

import "fmt"

// A Scratchpad is what a DS18B20 answers to a read: temperature in sixteenths
// of a degree (two bytes, little endian), two alarm bytes, configuration, three
// reserved bytes, CRC-8.
type Scratchpad [9]byte

// Limits of the chip's range in thousandths of a degree Celsius.
const (
	MinMilli = -55_000
	MaxMilli = 125_000
)

const powerOn = 0x0550 // 85 °C: what the register holds before any conversion

// Convert returns the scratchpad after a 12 bit conversion at a temperature in
// thousandths of a degree Celsius: rounded to the nearest sixteenth (62.5
// thousandths, so up to 31 off), clamped to the chip's range.
func Convert(milli int32) Scratchpad {
	milli = min(max(milli, MinMilli), MaxMilli)
	sixteenths := int(milli) * 16
	if sixteenths < 0 {
		sixteenths -= 500
	} else {
		sixteenths += 500
	}
	raw := uint16(int16(sixteenths / 1000))
	// A genuine chip counts byte 6 down by the low nibble of its result; after
	// power-on it is 0x0c, which is how the kernel's optional check tells a
	// reset from a true 85 °C.
	return scratchpad(raw, byte(0x10-raw&0x0f))
}

// PoweredOn returns the scratchpad of a chip that lost power and has converted
// nothing since: a well-formed 85 °C.
func PoweredOn() Scratchpad { return scratchpad(powerOn, 0x0c) }

func scratchpad(raw uint16, reserved byte) Scratchpad {
	s := Scratchpad{byte(raw), byte(raw >> 8), 0x4b, 0x46, 0x7f, 0xff, reserved, 0x10}
	s[8] = CRC8(s[:8])
	return s
}

// Milli returns the temperature the kernel makes of s, in thousandths of a
// degree Celsius, cut towards zero.
func (s Scratchpad) Milli() int32 {
	return int32(int16(uint16(s[0])|uint16(s[1])<<8)) * 1000 / 16
}

// Text returns the content of w1_slave for s, good being the last scratchpad
// whose CRC was right: the kernel prints that one on the second line, with the
// temperature of s.
func (s Scratchpad) Text(good Scratchpad) string {
	crc, verdict := CRC8(s[:8]), "NO"
	if crc == s[8] {
		verdict, good = "YES", s
	}
	return fmt.Sprintf("% x : crc=%02x %s\n% x t=%d\n", s[:], crc, verdict, good[:], s.Milli())
}

// CRC8 is the 1-Wire checksum: polynomial x^8+x^5+x^4+1, bits reflected, start 0.
func CRC8(b []byte) byte {
	var crc byte
	for _, c := range b {
		crc ^= c
		for range 8 {
			low := crc & 1
			crc >>= 1
			if low == 1 {
				crc ^= 0x8c
			}
		}
	}
	return crc
}
