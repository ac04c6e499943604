// Package bme280 is a BME280 on I2C: temperature, humidity, pressure.
//
// It follows the datasheet BST-BME280-DS002: modes (section 3.3), oversampling
// and filter (3.4), shadowed burst reads (4.1), registers (5.4), the I2C protocol
// (6.2), timing (9.1). What the chip feels is turned into ADC counts by the
// inverse of the compensation formulas and the chip's own trimming, so that a
// driver gets the value back only if it does the same arithmetic.
//
// Where the datasheet leaves a choice the model is as strict as it allows: a
// measurement takes the longest time, config is not written in normal mode, and
// nothing is acknowledged in the start-up time after power came back. The copy of
// the trimming before each conversion is too short to show in the status.
package bme280

import (
	"math"
	"sync"
	"time"

	"trailmark/firmware-sim/chip"
)

// The I2C addresses, by the level of pin SDO.
const (
	AddrLow  = 0x76
	AddrHigh = 0x77
)

// Registers.
const (
	regID       = 0xd0
	regReset    = 0xe0
	regCtrlHum  = 0xf2
	regStatus   = 0xf3
	regCtrlMeas = 0xf4
	regConfig   = 0xf5
	regData     = 0xf7 // pressure, temperature: 3 bytes each; humidity: 2
)

const (
	idBME280 = 0x60
	idBMP280 = 0x58
	resetKey = 0xb6

	imUpdate  = 1 << 0
	measuring = 1 << 3

	sleeping = 0
	normal   = 3 // 1 and 2 are forced

	startup   = 2 * time.Millisecond // table 1: to the first communication
	full      = 1<<20 - 1            // counts of temperature and pressure
	skipped   = 0x80000              // of a measurement that was not made, as after power-on
	skipped16 = 0x8000
	// memory bounds how many cycles of normal mode are worked off: a filter of
	// coefficient 16 has forgotten all but 10 counts in 2^20 of older ones.
	memory = 200
)

// A Config says what the chip feels, and how it was made.
type Config struct {
	Clock    func() time.Time // time.Now if nil
	Celsius  chip.Source      // °C
	Humidity chip.Source      // relative humidity in %
	Pascal   chip.Source      // Pa
	Trimming *Trimming        // Example if nil
}

// A Chip is one sensor that has been powered for a while. It is safe for
// concurrent use and implements i2cbus.Target and i2cbus.Holder.
type Chip struct {
	config Config
	trim   Trimming

	mu     sync.Mutex // guards what follows
	faults chip.State

	ctrlHum, ctrlMeas, filtering byte      // registers as written
	osrsH                        byte      // in force: ctrlHum of the last write to ctrlMeas
	pending                      int       // ctrlMeas to be executed after the measurement, or -1
	began                        time.Time // of the measurement, in normal mode also one to come
	awake, copied                time.Time // after a loss of power; after a reset

	data    [8]byte
	filterT filter
	filterP filter

	pointer  byte
	isValue  bool      // the next byte written is for the register at pointer
	snapshot [256]byte // what this read gives
}

// New returns a chip whose registers are as after power-on.
func New(config Config) *Chip {
	if config.Clock == nil {
		config.Clock = time.Now
	}
	c := &Chip{config: config, trim: Example}
	if config.Trimming != nil {
		c.trim = *config.Trimming
	}
	c.powerUp()
	return c
}

// Inject makes f happen now. A counterfeit is a BMP280 under the name: another
// id, no humidity. Drift is that of the temperature.
func (c *Chip) Inject(f chip.Fault) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.config.Clock()
	c.settle(now)
	c.faults.Apply(f, now)
	if f.Kind == chip.BrownOut {
		c.powerUp()
		c.awake = now.Add(startup)
	}
	return nil
}

// Low reports a chip that holds the data line to ground.
func (c *Chip) Low() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.faults.Short && !c.faults.Gone
}

// Start acknowledges the address and, for a read, takes the picture of all
// registers that this transaction gives.
func (c *Chip) Start(read bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.config.Clock()
	if c.faults.Gone || now.Before(c.awake) {
		return false
	}
	c.settle(now)
	c.isValue = false
	if read {
		c.snapshot = c.registers(now)
		if c.faults.Corrupt() {
			c.snapshot[c.pointer] ^= 0x10
		}
	}
	return true
}

// Write takes the address of a register, then its value, and so on in pairs
// (section 6.2.1); an address alone is that of the next read.
func (c *Chip) Write(b byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isValue = !c.isValue; c.isValue {
		c.pointer = b
		return true
	}
	c.set(c.config.Clock(), c.pointer, b)
	return true
}

// Read gives the register at the pointer and moves on to the next.
func (c *Chip) Read() byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pointer++
	return c.snapshot[c.pointer-1]
}

// Stop ends a transaction.
func (c *Chip) Stop() {}

func (c *Chip) powerUp() {
	c.ctrlHum, c.ctrlMeas, c.filtering, c.osrsH = 0, 0, 0, 0
	c.pending = -1
	c.filterT, c.filterP = filter{}, filter{}
	c.put(skipped, skipped, skipped16)
}

func (c *Chip) put(p, t, h uint32) {
	c.data = [8]byte{
		byte(p >> 12), byte(p >> 4), byte(p << 4),
		byte(t >> 12), byte(t >> 4), byte(t << 4),
		byte(h >> 8), byte(h),
	}
}

func (c *Chip) registers(now time.Time) (reg [256]byte) {
	c.trim.registers(&reg)
	reg[regID] = idBME280
	reg[regCtrlHum] = c.ctrlHum
	reg[regCtrlMeas], reg[regConfig] = c.ctrlMeas, c.filtering
	copy(reg[regData:], c.data[:])
	if c.measuring(now) {
		reg[regStatus] |= measuring
	}
	if now.Before(c.copied) {
		reg[regStatus] |= imUpdate
	}
	if c.faults.Counterfeit {
		reg[regID] = idBMP280
		for _, r := range []int{0xa1, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, regCtrlHum, regData + 6, regData + 7} {
			reg[r] = 0
		}
	}
	return reg
}

// set writes a register. While the chip copies its trimming it takes nothing.
func (c *Chip) set(now time.Time, reg, v byte) {
	c.settle(now)
	if now.Before(c.copied) {
		return
	}
	switch reg {
	case regReset:
		if v == resetKey {
			c.powerUp()
			c.copied = now.Add(startup)
		}
	case regCtrlHum:
		if c.pending < 0 { // else ignored until the mode has changed (section 3.3.1)
			c.ctrlHum = v & 0x07
		}
	case regCtrlMeas:
		switch {
		case !c.measuring(now):
			c.enter(now, v)
		case c.pending < 0:
			c.pending = int(v)
		}
	case regConfig:
		if c.mode() == normal { // may be ignored (section 5.4.6)
			return
		}
		c.filtering = v &^ 0x02
		c.filterT, c.filterP = filter{}, filter{}
	}
}

// enter executes a write to ctrl_meas, which is also when ctrl_hum takes effect.
func (c *Chip) enter(now time.Time, v byte) {
	c.ctrlMeas, c.osrsH, c.began, c.pending = v, c.ctrlHum, now, -1
}

func (c *Chip) mode() byte { return c.ctrlMeas & 3 }

func (c *Chip) measuring(now time.Time) bool {
	return c.mode() != sleeping && !now.Before(c.began) && now.Before(c.began.Add(c.duration()))
}

// settle works off the measurements that have ended.
func (c *Chip) settle(now time.Time) {
	if c.mode() == normal && c.pending < 0 {
		cycle := c.duration() + c.standby()
		if n := now.Sub(c.began)/cycle - memory; n > 0 {
			c.began = c.began.Add(n * cycle)
		}
	}
	for c.mode() != sleeping {
		end := c.began.Add(c.duration())
		if now.Before(end) {
			return
		}
		c.measure(end)
		switch {
		case c.pending >= 0:
			c.enter(end, byte(c.pending))
		case c.mode() == normal:
			c.began = end.Add(c.standby())
		default:
			c.ctrlMeas &^= 3
		}
	}
}

// duration returns the longest time of a measurement (section 9.1).
func (c *Chip) duration() time.Duration {
	d := 1250 + 2300*samples(c.ctrlMeas>>5)
	if n := samples(c.ctrlMeas >> 2); n > 0 {
		d += 2300*n + 575
	}
	if n := samples(c.osrsH); n > 0 && !c.faults.Counterfeit {
		d += 2300*n + 575
	}
	return time.Duration(d) * time.Microsecond
}

// samples returns the oversampling of the low three bits of an osrs field.
func samples(osrs byte) int {
	return [8]int{0, 1, 2, 4, 8, 16, 16, 16}[osrs&7]
}

// standby returns the pause of normal mode (table 27).
func (c *Chip) standby() time.Duration {
	return [8]time.Duration{
		500 * time.Microsecond, 62500 * time.Microsecond, 125 * time.Millisecond, 250 * time.Millisecond,
		500 * time.Millisecond, time.Second, 10 * time.Millisecond, 20 * time.Millisecond,
	}[c.filtering>>5]
}

// measure puts the results of a measurement that ends into the data registers.
// What was skipped reads as after power-on.
func (c *Chip) measure(end time.Time) {
	celsius := c.faults.Celsius(c.config.Celsius, end)
	warm := fine(celsius)
	t, p, h := uint32(skipped), uint32(skipped), uint32(skipped16)
	coefficient := [8]float64{1, 2, 4, 8, 16, 16, 16, 16}[c.filtering>>2&7]
	if osrs := c.ctrlMeas >> 5; osrs > 0 {
		t = c.filterT.next(invert(c.trim.celsius, celsius, full), osrs, coefficient)
	}
	if osrs := c.ctrlMeas >> 2 & 7; osrs > 0 {
		pressure := func(adc float64) float64 { return c.trim.pascal(adc, warm) }
		p = c.filterP.next(invert(pressure, c.faults.Measure(c.config.Pascal, end), full), osrs, coefficient)
	}
	if c.osrsH > 0 {
		humidity := func(adc float64) float64 { return c.trim.humidity(adc, warm) }
		h = uint32(invert(humidity, c.faults.Measure(c.config.Humidity, end), math.MaxUint16))
	}
	c.put(p, t, h)
}

// A filter is the memory of the IIR filter of one quantity (section 3.4.4).
type filter struct {
	set    bool
	memory float64
}

// next returns the output for a reading. With the filter off the resolution is 16
// bits and one more for each doubling of the samples, with it on 20.
func (f *filter) next(adc float64, osrs byte, coefficient float64) uint32 {
	if coefficient == 1 {
		step := float64(uint32(16) >> min(osrs-1, 4))
		return uint32(min(math.Round(adc/step)*step, full+1-step))
	}
	if !f.set {
		f.set, f.memory = true, adc
	} else {
		f.memory = (f.memory*(coefficient-1) + adc) / coefficient
	}
	return uint32(math.Round(f.memory))
}
