// Package sht4x reads temperature and humidity of a Sensirion SHT4x (SHT40, 41,
// 45) on I²C.
//
// Every word has a checksum, and the chip refuses to be read before a measurement
// has ended. It has no configuration that a brown-out could change, so what could
// go wrong unseen is that another chip answers: its number is read again after
// each measurement. (SHT4x data sheet, sections 4.3 to 4.6.)
package sht4x

import (
	"context"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"

	"trailmark/agent/internal/sensor"
)

// Commands (section 4.5).
const (
	measureHigh = 0xfd // high repeatability
	readSerial  = 0x89
	softReset   = 0x94
)

const (
	startup    = time.Millisecond // after power-on or a reset, section 3.1
	conversion = 8300 * time.Microsecond
	poll       = 2 * time.Millisecond
	polls      = 4 // a chip that is not ready then has nothing to say
)

// Indices of the channels.
const (
	temp = iota
	humidity
	channels
)

// Open resets the chip at addr (0x44 to 0x46) and returns its probes: temperature
// (Cel) and humidity (%RH). The humidity is what the chip says, -6 to 119 %: near
// condensation and near dryness it measures beyond the physical limits, and
// cropping is for those who show it. Values give back what the chip sent.
func Open(ctx context.Context, bus i2c.Bus, addr uint16) ([]sensor.Probe, error) {
	c := &chip{dev: i2c.Dev{Bus: bus, Addr: addr}}
	return sensor.Await(ctx, func() ([]sensor.Probe, error) {
		if err := c.open(); err != nil {
			return nil, fmt.Errorf("sht4x at %#x on %s: %w", addr, bus, err)
		}
		return sensor.Chip{
			Serial:   fmt.Sprintf("sht4x-%08x", c.serial),
			Channels: []sensor.Channel{temp: {Name: "temp", Unit: "Cel"}, humidity: {Name: "humidity", Unit: "%RH"}},
			Window:   conversion * 3 / 2,
			Measure:  c.measure,
		}.Probes(), nil
	})
}

// A chip is used by one goroutine at a time, which sensor.Chip sees to.
type chip struct {
	dev    i2c.Dev
	serial uint32 // constant after Open
}

func (c *chip) open() error {
	if err := c.dev.Tx([]byte{softReset}, nil); err != nil { // ends a measurement or a heater
		return fmt.Errorf("no answer: %w\nhint: check the wires and the address", err)
	}
	time.Sleep(startup)
	answer, err := c.ask(readSerial, startup)
	if err != nil {
		return err
	}
	high, low, fault := words(answer)
	if fault != sensor.FaultNone {
		return &sensor.Error{Fault: fault, Text: fmt.Sprintf("serial number % x is refused: %s", answer, fault)}
	}
	if c.serial = uint32(high)<<16 | uint32(low); c.serial == 0 {
		return &sensor.Error{Fault: sensor.FaultConfig, Text: "the chip has no serial number\nhint: this is not a genuine SHT4x, and cannot be told from another"}
	}
	return nil
}

// ask sends a command and reads the answer when it should be there. The chip
// does not acknowledge a read before.
func (c *chip) ask(command byte, after time.Duration) (answer [6]byte, err error) {
	if err := c.dev.Tx([]byte{command}, nil); err != nil {
		return answer, err
	}
	time.Sleep(after)
	for range polls {
		if err = c.dev.Tx(nil, answer[:]); err == nil {
			return answer, nil
		}
		time.Sleep(poll)
	}
	return answer, err
}

func (c *chip) measure() []sensor.Sample {
	out := make([]sensor.Sample, channels)
	answer, early := c.ask(measureHigh, conversion)
	serial, gone := c.ask(readSerial, startup)
	fault, raw := sensor.FaultNone, answer[:]
	switch {
	case early != nil && gone != nil:
		fault, raw = sensor.FaultGone, nil
	case early != nil: // it is there, and forgot that it was to measure
		fault, raw = sensor.FaultPowerOn, nil
	default:
		var values [channels]int64
		if values, fault = decode(answer); fault != sensor.FaultNone {
			break
		}
		if gone != nil {
			fault = sensor.FaultGone
		} else if fault = c.same(serial); fault != sensor.FaultNone {
			raw = serial[:]
		} else {
			for i, v := range values {
				out[i].Milli = v
			}
		}
	}
	for i := range out {
		out[i].Raw, out[i].Fault = raw, fault
	}
	return out
}

// same refuses the number of another chip.
func (c *chip) same(answer [6]byte) sensor.Fault {
	high, low, fault := words(answer)
	if fault == sensor.FaultNone && uint32(high)<<16|uint32(low) != c.serial {
		return sensor.FaultConfig
	}
	return fault
}

// decode gives thousandths of °C and %RH, truncated toward zero (section 4.6).
func decode(answer [6]byte) (out [channels]int64, fault sensor.Fault) {
	t, rh, fault := words(answer)
	if fault != sensor.FaultNone {
		return out, fault
	}
	// Both at half scale is how the chip tells of a defect of its own, as after a
	// discharge.
	if t == 0x8000 && rh == 0x8000 {
		return out, sensor.FaultFormat
	}
	out = [channels]int64{temp: celsius(t), humidity: relative(rh)}
	if out[temp] < -40_000 || out[temp] > 125_000 {
		return [channels]int64{}, sensor.FaultRange
	}
	return out, sensor.FaultNone
}

func celsius(ticks uint16) int64  { return (175_000*int64(ticks) - 45_000*65535) / 65535 }
func relative(ticks uint16) int64 { return (125_000*int64(ticks) - 6_000*65535) / 65535 }

// words takes two words with a checksum each.
func words(b [6]byte) (first, second uint16, fault sensor.Fault) {
	switch {
	case b == [6]byte{}:
		return 0, 0, sensor.FaultAllZero
	case b == [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}:
		return 0, 0, sensor.FaultAllOnes
	case crc(b[0], b[1]) != b[2] || crc(b[3], b[4]) != b[5]:
		return 0, 0, sensor.FaultCRC
	}
	return uint16(b[0])<<8 | uint16(b[1]), uint16(b[3])<<8 | uint16(b[4]), sensor.FaultNone
}

// crc is CRC-8 with the polynomial x^8+x^5+x^4+1, start 0xff (section 4.4).
func crc(word ...byte) byte {
	c := byte(0xff)
	for _, b := range word {
		c ^= b
		for range 8 {
			top := c >> 7
			c = c<<1 ^ top*0x31
		}
	}
	return c
}
