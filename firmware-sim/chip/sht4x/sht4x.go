// Package sht4x is an SHT40, SHT41 or SHT45 on I2C: temperature and humidity.
//
// It follows the datasheet "SHT4x" version 6: its sections on timing, commands,
// checksum, conversion of the output, serial number and heater. Everything takes the longest time the datasheet allows. A read before
// the answer is there is not acknowledged, and an answer is given once.
package sht4x

import (
	"fmt"
	"math"
	"sync"
	"time"

	"trailmark/firmware-sim/chip"
)

// Addr is the I2C address of most types; others are sold with 0x45 and 0x46.
const Addr = 0x44

// Commands.
const (
	measureHigh   = 0xfd
	measureMedium = 0xf6
	measureLow    = 0xe0
	readSerial    = 0x89
	softReset     = 0x94
)

const generalReset = 0x06 // of the general call

const (
	wakeTime   = time.Millisecond // after power-up and after a reset
	serialTime = time.Millisecond // least time between a command and what follows
)

// a heat is a heater command: it warms the chip, measures with high
// repeatability just before it stops, and takes so long in all.
type heat struct {
	milliwatts float64
	takes      time.Duration
}

const (
	longHeat  = 1100 * time.Millisecond
	shortHeat = 110 * time.Millisecond

	measureHighTime   = 8300 * time.Microsecond
	measureMediumTime = 4500 * time.Microsecond
	measureLowTime    = 1600 * time.Microsecond
)

var heats = map[byte]heat{
	0x39: {200, longHeat}, 0x32: {200, shortHeat},
	0x2f: {110, longHeat}, 0x24: {110, shortHeat},
	0x1e: {20, longHeat}, 0x15: {20, shortHeat},
}

var measures = map[byte]time.Duration{
	measureHigh: measureHighTime, measureMedium: measureMediumTime, measureLow: measureLowTime,
}

// warming is how far the heater lifts the chip above its surroundings by the end
// of a pulse, in °C per milliwatt: 60 °C at 200 mW. It cools down at once.
const warming = 0.3

// A Config says which chip it is and what it feels.
type Config struct {
	Serial   uint32
	Clock    func() time.Time // time.Now if nil
	Celsius  chip.Source      // °C
	Humidity chip.Source      // relative humidity in %
}

// A Chip is one sensor that has been powered for a while. It is safe for
// concurrent use and implements i2cbus.Target, i2cbus.Holder and i2cbus.Caller.
type Chip struct {
	config Config

	mu     sync.Mutex // guards what follows
	faults chip.State

	awake time.Time // after a reset or a loss of power
	job   byte      // command in progress or answered, 0 for none
	ready time.Time // its answer

	out     [6]byte // the answer, while it is read
	next    int
	written bool // this message has had its command
}

// New returns a chip that waits for a command.
func New(config Config) *Chip {
	if config.Clock == nil {
		config.Clock = time.Now
	}
	return &Chip{config: config}
}

// Inject makes f happen now: all but counterfeit. Corrupt flips a bit of the
// first word of an answer, which its checksum then does not fit; drift is that
// of the temperature.
func (c *Chip) Inject(f chip.Fault) error {
	if f.Kind == chip.Counterfeit {
		return fmt.Errorf("an SHT4x has no fault %q", f)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.config.Clock()
	c.faults.Apply(f, now)
	if f.Kind == chip.BrownOut {
		c.reset(now)
	}
	return nil
}

// Low reports a chip that holds the data line to ground.
func (c *Chip) Low() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.faults.Short && !c.faults.Gone
}

// Start acknowledges the address: for a write whenever the chip is awake, for a
// read only with an answer to give.
func (c *Chip) Start(read bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.config.Clock()
	if c.faults.Gone || now.Before(c.awake) {
		return false
	}
	c.written = false
	if !read {
		return true
	}
	if c.job == 0 || now.Before(c.ready) {
		return false
	}
	c.answer()
	c.job = 0
	return true
}

// Write takes a command of one byte. While the chip works it takes none but the
// soft reset, which ends the work.
func (c *Chip) Write(b byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.config.Clock()
	if c.written {
		return false
	}
	c.written = true
	if b == softReset {
		c.reset(now)
		return true
	}
	if c.job != 0 && now.Before(c.ready) {
		return false
	}
	takes, known := measures[b]
	if h, ok := heats[b]; ok {
		takes, known = h.takes, true
	} else if b == readSerial {
		takes, known = serialTime, true
	}
	if known {
		c.job, c.ready = b, now.Add(takes)
	}
	return known
}

// Read gives the next byte of the answer, and ones behind its end.
func (c *Chip) Read() byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == len(c.out) {
		return 0xff
	}
	c.next++
	return c.out[c.next-1]
}

// Stop ends a transaction.
func (c *Chip) Stop() {}

// Call is the general call, of which the chip knows the reset.
func (c *Chip) Call(b byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.config.Clock()
	if b != generalReset || c.faults.Gone || now.Before(c.awake) {
		return false
	}
	c.reset(now)
	return true
}

func (c *Chip) reset(now time.Time) {
	c.job = 0
	c.awake = now.Add(wakeTime)
}

// answer makes the six bytes: two words, each with its checksum.
func (c *Chip) answer() {
	c.next = 0
	first, second := uint16(c.config.Serial>>16), uint16(c.config.Serial)
	if c.job != readSerial {
		first, second = c.measure()
	}
	for i, v := range []uint16{first, second} {
		word := []byte{byte(v >> 8), byte(v)}
		copy(c.out[3*i:], append(word, CRC8(word)))
	}
	if c.faults.Corrupt() {
		c.out[0] ^= 0x10
	}
}

// measure returns the ticks of temperature and humidity: those of the end of the
// measurement, however late they are read.
func (c *Chip) measure() (t, rh uint16) {
	celsius := c.faults.Celsius(c.config.Celsius, c.ready)
	humidity := c.faults.Measure(c.config.Humidity, c.ready)
	if h, ok := heats[c.job]; ok {
		hot := celsius + warming*h.milliwatts
		humidity *= saturation(celsius) / saturation(hot) // the same water in warmer air
		celsius = hot
	}
	return ticks((celsius + 45) / 175), ticks((humidity + 6) / 125)
}

// ticks returns a share of the full scale; it saturates.
func ticks(share float64) uint16 {
	return uint16(math.Round(min(max(share, 0), 1) * math.MaxUint16))
}

// saturation returns the vapour pressure over water in hPa (Magnus formula).
func saturation(celsius float64) float64 {
	return 6.112 * math.Exp(17.62*celsius/(243.12+celsius))
}

// CRC8 is the checksum of a word: polynomial x^8+x^5+x^4+1, start 0xff, no
// reflection.
func CRC8(b []byte) byte {
	crc := byte(0xff)
	for _, v := range b {
		crc ^= v
		for range 8 {
			high := crc & 0x80
			crc <<= 1
			if high != 0 {
				crc ^= 0x31
			}
		}
	}
	return crc
}
