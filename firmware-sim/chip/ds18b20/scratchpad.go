package ds18b20

// A Scratchpad is what a DS18B20 answers to a read: temperature in sixteenths
// of a degree (two bytes, little endian), two alarm bytes, configuration, three
// reserved bytes, CRC-8.
type Scratchpad [9]byte

// Limits of the chip's range in thousandths of a degree Celsius.
const (
	MinMilli = -55_000
	MaxMilli = 125_000
)

// What the factory leaves in the chip.
const (
	powerOn       = 0x0550 // 85 °C: what the register holds before any conversion
	factoryHigh   = 0x4b   // alarm at 75 °C and above
	factoryLow    = 0x46   // alarm at 70 °C and below
	factoryConfig = 0x7f   // 12 bits
)

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
	return converted(int16(sixteenths / 1000))
}

// converted returns the scratchpad of a factory-new chip with a result in it.
func converted(raw int16) Scratchpad {
	return scratchpad(raw, reserved(raw), factoryHigh, factoryLow, factoryConfig)
}

// PoweredOn returns the scratchpad of a chip that lost power and has converted
// nothing since: a well-formed 85 °C.
func PoweredOn() Scratchpad {
	return scratchpad(powerOn, 0x0c, factoryHigh, factoryLow, factoryConfig)
}

// reserved returns byte 6. A genuine chip counts it down by the low nibble of
// its result; after power-on it is 0x0c, which is how the kernel's optional
// check tells a reset from a true 85 °C.
func reserved(raw int16) byte { return byte(0x10 - raw&0x0f) }

func scratchpad(raw int16, reserved, high, low, config byte) Scratchpad {
	s := Scratchpad{byte(raw), byte(raw >> 8), high, low, config, 0xff, reserved, 0x10}
	s[8] = CRC8(s[:8])
	return s
}

// Milli returns the temperature the kernel makes of s, in thousandths of a
// degree Celsius, cut towards zero.
func (s Scratchpad) Milli() int32 {
	return int32(int16(uint16(s[0])|uint16(s[1])<<8)) * 1000 / 16
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
