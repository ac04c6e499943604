package ds18b20

import (
	"periph.io/x/conn/v3/onewire"

	"trailmark/agent/internal/sensor"
)

// Decode gives thousandths of °C for a scratchpad (data sheet, "Memory"), or a
// fault and 0.
func Decode(pad [9]byte) (int64, sensor.Fault) {
	switch pad {
	case [9]byte{}: // its CRC is 0 too
		return 0, sensor.FaultAllZero
	case [9]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}:
		return 0, sensor.FaultAllOnes
	}
	if !onewire.CheckCRC(pad[:]) {
		return 0, sensor.FaultCRC
	}
	switch pad[4] {
	case 0x1f, 0x3f, 0x5f, 0x7f: // 9, 10, 11, 12 bits
	default:
		return 0, sensor.FaultConfig
	}
	// Low bits that a lower resolution leaves undefined are kept: the kernel
	// keeps them in t= too, and the chip sends them as zeros.
	steps := int64(int16(uint16(pad[1])<<8 | uint16(pad[0]))) // 1/16 °C
	// After power-on the register says 85 °C (0x0550) with byte 6 = 0x0c. A
	// conversion that ends at exactly 85 °C leaves byte 6 = 0x10 - low nibble =
	// 0x10 in the genuine chip; the kernel's own check looks at that byte too.
	// Everything but 0x10 is refused, which errs toward losing a true 85.000 °C
	// of some clones (85.062 °C passes), never toward reporting a false one of
	// a genuine chip.
	if steps == 0x0550 && pad[6] != 0x10 {
		return 0, sensor.FaultPowerOn
	}
	milli := steps * 1000 / 16 // Go and C both truncate toward zero
	if milli < -55_000 || milli > 125_000 {
		return 0, sensor.FaultRange
	}
	return milli, sensor.FaultNone
}
