// Package bme280 reads temperature, humidity and pressure of a Bosch BME280 on
// I²C, from single conversions that it saw begin and end.
//
// The registers carry no checksum, and after a brown-out the chip answers with
// well-formed values of no measurement. So each measurement checks before and
// after that the control registers hold what was set, reads its result twice, and
// reads the factory trimming again: values are never computed with the trimming
// of another chip. (Data sheet BST-BME280-DS002.)
package bme280

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"periph.io/x/conn/v3/i2c"

	"trailmark/agent/internal/sensor"
)

// Registers (section 5.3).
const (
	regTrimming = 0x88 // 26 bytes, of which 0xa0 means nothing
	regID       = 0xd0
	regReset    = 0xe0
	regHumidity = 0xe1 // 7 bytes of trimming
	regCtrlHum  = 0xf2 // ctrl_hum, status, ctrl_meas, config, one unused, 8 of data
	regCtrlMeas = 0xf4
	regConfig   = 0xf5
)

const (
	chipID    = 0x60
	softReset = 0xb6

	oversampleHum  = 0x01 // once
	oversampleMeas = 0x24 // temperature and pressure once, sleep
	forced         = 0x01 // mode: one conversion, then sleep
	mode           = 0x03
	// standby is a time that single conversions do not use, and which a reset
	// would make 0; the filter is off, as it would mix older values in.
	standby = 0xa0

	updating  = 1 << 0 // status: the trimming is being loaded
	measuring = 1 << 3
)

const (
	startup    = 2 * time.Millisecond    // section 1.1
	conversion = 9300 * time.Microsecond // the longest with these settings, section 9.1
	patience   = 5 * conversion
	poll       = time.Millisecond
)

// Open resets and configures the chip at addr (0x76 or 0x77) and returns its
// probes: temperature (Cel), humidity (%RH) and pressure (Pa). The chip has no
// number of its own: its serial is made of the first 12 hex digits of SHA-256 over
// its trimming, registers 0x88 to 0x9f, 0xa1 and 0xe1 to 0xe7, which the factory
// measured for this chip. A Sample's Column is the data registers its value
// was computed from, big endian and left-aligned as in the chip: temperature 3 bytes,
// pressure then temperature 6, temperature then humidity 5.
func Open(ctx context.Context, bus i2c.Bus, addr uint16) ([]sensor.Probe, error) {
	c := &chip{dev: i2c.Dev{Bus: bus, Addr: addr}}
	return sensor.Await(ctx, func() ([]sensor.Probe, error) {
		t, err := c.reset()
		if err == nil {
			c.trimming = t
			err = c.configure()
		}
		if err != nil {
			return nil, fmt.Errorf("bme280 at %#x on %s: %w", addr, bus, err)
		}
		calibration := sha256.Sum256(t[:])
		return sensor.Chip{
			Serial:      fmt.Sprintf("bme280-%x", calibration[:6]),
			Calibration: calibration,
			Channels:    []sensor.Channel{temp: {Name: "temp", Unit: "Cel"}, humidity: {Name: "humidity", Unit: "%RH"}, pressure: {Name: "pressure", Unit: "Pa"}},
			Window:      conversion * 3 / 2,
			Measure:     c.measure,
		}.Probes(), nil
	})
}

// A chip is used by one goroutine at a time, which sensor.Chip sees to.
type chip struct {
	dev      i2c.Dev
	trimming trimming // constant after Open
	// ready: configured, and nothing was wrong since. Else the next measurement
	// begins with a reset.
	ready bool
}

// registers are 0xf2 to 0xfe.
type registers [13]byte

func (r *registers) status() byte   { return r[1] }
func (r *registers) ctrlMeas() byte { return r[2] }
func (r *registers) data() [8]byte  { return [8]byte(r[5:]) }

// check reports registers that do not hold what was set.
func (r *registers) check() error {
	hum, config := r[0]&0x07, r[3]&0xfd // without reserved bits
	switch {
	case blank(r[:]) != nil:
		return blank(r[:])
	case hum == 0 && r.ctrlMeas() == 0 && config == 0:
		return &sensor.Error{Fault: sensor.FaultPowerOn, Text: "the chip was reset"}
	case hum != oversampleHum || r.ctrlMeas() != oversampleMeas || config != standby || r.status()&(measuring|updating) != 0:
		return &sensor.Error{Fault: sensor.FaultConfig, Text: fmt.Sprintf("control registers % x, want %02x 00 %02x %02x", r[:4], oversampleHum, oversampleMeas, standby)}
	}
	return nil
}

// blank reports bytes that nobody sent.
func blank(b []byte) error {
	switch {
	case !slices.ContainsFunc(b, func(v byte) bool { return v != 0 }):
		return &sensor.Error{Fault: sensor.FaultAllZero, Text: "every byte 0x00: the bus is held low"}
	case !slices.ContainsFunc(b, func(v byte) bool { return v != 0xff }):
		return &sensor.Error{Fault: sensor.FaultAllOnes, Text: "every byte 0xff: nobody answers"}
	}
	return nil
}

func (c *chip) measure() []sensor.Sample {
	out := make([]sensor.Sample, channels)
	raw, data, err := c.convert()
	if err != nil {
		c.ready = false
		for i := range out {
			out[i] = sensor.Sample{Raw: raw, Fault: sensor.FaultOf(err)}
		}
		return out
	}
	column := [channels][]byte{temp: data[3:6:6], humidity: data[3:8:8], pressure: data[0:6:6]}
	for i, r := range compensate(data, &c.trimming) {
		out[i] = sensor.Sample{Milli: r.milli, Raw: raw, Fault: r.fault}
		if r.fault == sensor.FaultNone {
			out[i].Column = column[i]
		}
	}
	return out
}

// convert makes one conversion. raw is the last that was read of the chip: its
// registers 0xf2 to 0xfe, or trimming that is not its own.
func (c *chip) convert() (raw []byte, data [8]byte, err error) {
	if !c.ready {
		t, err := c.reset()
		if err != nil {
			return nil, data, err
		}
		if t != c.trimming {
			return t[:], data, errOther
		}
		if err := c.configure(); err != nil {
			return nil, data, err
		}
	}
	before, err := c.registers()
	if err != nil {
		return nil, data, err
	}
	if err := before.check(); err != nil {
		return before[:], data, err
	}
	if err := c.dev.Tx([]byte{regCtrlMeas, oversampleMeas | forced}, nil); err != nil {
		return before[:], data, err
	}
	if last, err := c.await(conversion, func(r *registers) bool { return r.status()&measuring == 0 && r.ctrlMeas()&mode == 0 }); err != nil {
		return last[:], data, err
	}
	after, err := c.registers()
	if err != nil {
		return nil, data, err
	}
	again, err := c.registers()
	if err != nil {
		return after[:], data, err
	}
	if err := after.check(); err != nil {
		return after[:], data, err
	}
	if after != again {
		return again[:], data, &sensor.Error{Fault: sensor.FaultFormat, Text: "the chip sleeps, and two readings of it differ"}
	}
	t, err := c.readTrimming()
	if err != nil {
		return after[:], data, err
	}
	if t != c.trimming {
		return t[:], data, errOther
	}
	return after[:], after.data(), nil
}

var errOther = &sensor.Error{Fault: sensor.FaultConfig, Text: "the trimming is not that of the chip that was opened"}

// await reads the registers, from after on, until done says so.
func (c *chip) await(after time.Duration, done func(*registers) bool) (registers, error) {
	start := time.Now()
	for pause := after; ; pause = poll {
		time.Sleep(pause)
		r, err := c.registers()
		if err != nil || done(&r) {
			return r, err
		}
		if time.Since(start) > patience {
			if err := blank(r[:]); err != nil {
				return r, err
			}
			return r, &sensor.Error{Fault: sensor.FaultGone, Text: fmt.Sprintf("status %#02x does not end", r.status())}
		}
	}
}

// reset resets the chip and reads who it is.
func (c *chip) reset() (t trimming, err error) {
	var id [1]byte
	if err := c.dev.Tx([]byte{regID}, id[:]); err != nil {
		return t, fmt.Errorf("no answer: %w\nhint: check the wires and the address", err)
	}
	if id[0] != chipID {
		if err := blank(id[:]); err != nil {
			return t, err
		}
		return t, &sensor.Error{Fault: sensor.FaultConfig, Text: fmt.Sprintf("chip id %#02x, want %#02x\nhint: 0x58 is a BMP280, which has no humidity", id[0], chipID)}
	}
	if err := c.dev.Tx([]byte{regReset, softReset}, nil); err != nil {
		return t, err
	}
	if _, err := c.await(startup, func(r *registers) bool { return r.status()&updating == 0 }); err != nil {
		return t, err
	}
	if t, err = c.readTrimming(); err != nil {
		return t, err
	}
	again, err := c.readTrimming()
	switch {
	case err != nil:
		return t, err
	case blank(t[:]) != nil:
		return t, blank(t[:])
	case t != again:
		return t, &sensor.Error{Fault: sensor.FaultFormat, Text: "two readings of the trimming differ"}
	case !t.plausible():
		return t, &sensor.Error{Fault: sensor.FaultConfig, Text: "trimming without dig_T1 or dig_P1\nhint: this is not a genuine BME280"}
	}
	return t, nil
}

// configure sets the control registers and reads them back. ctrl_meas is the
// last, because writing it is what makes ctrl_hum count (section 5.4.3).
func (c *chip) configure() error {
	if err := c.dev.Tx([]byte{regConfig, standby, regCtrlHum, oversampleHum, regCtrlMeas, oversampleMeas}, nil); err != nil {
		return err
	}
	r, err := c.registers()
	if err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	c.ready = true
	return nil
}

func (c *chip) registers() (r registers, err error) {
	err = c.dev.Tx([]byte{regCtrlHum}, r[:])
	return r, err
}

func (c *chip) readTrimming() (t trimming, err error) {
	var low [26]byte
	if err := c.dev.Tx([]byte{regTrimming}, low[:]); err != nil {
		return t, err
	}
	copy(t[:], low[:24])
	t[24] = low[25]
	err = c.dev.Tx([]byte{regHumidity}, t[25:])
	return t, err
}
