// Package ds18b20 is a DS18B20 thermometer on a 1-Wire line.
//
// It follows the datasheet 19-7487: its sections on measuring, alarm signaling,
// power, memory, and ROM and function commands. A conversion lasts as long as the
// datasheet allows at most, and a read before its end gives the value of the one
// before. Without a supply pin the chip lives on the strong
// pull-up: a conversion or a copy that is not fed is a loss of power.
package ds18b20

import (
	"encoding/binary"
	"math"
	"sync"
	"time"

	"trailmark/firmware-sim/chip"
)

// Family is the first byte of the ROM.
const Family = 0x28

// Commands of the chip.
const (
	searchROM   = 0xf0
	readROM     = 0x33
	matchROM    = 0x55
	skipROM     = 0xcc
	alarmSearch = 0xec

	convertT        = 0x44
	writeScratchpad = 0x4e
	readScratchpad  = 0xbe
	copyScratchpad  = 0x48
	recallEEPROM    = 0xb8
	readPower       = 0xb4
)

const (
	longestConversion = 750 * time.Millisecond // with 12 bits; half of it with each bit less
	copyTime          = 10 * time.Millisecond
	feedWithin        = 10 * time.Microsecond // from the command to the strong pull-up
)

// A Config says which chip it is and what it feels.
type Config struct {
	Serial   uint64           // 48 bits count
	Parasite bool             // the supply pin is at ground
	Clock    func() time.Time // time.Now if nil
	Celsius  chip.Source
}

// step is where the chip is in a transaction.
type step uint8

const (
	deaf     step = iota // waits for a reset
	romByte              // takes a ROM command
	matching             // compares its ROM with the bits of the master
	searched             // takes part in a search
	function             // takes a function command
	writing              // takes alarm and configuration bytes
	sending              // sends out, then goes on to after
	busyBits             // zero while it works, then ones
	feedBits             // zero if it lives on the data line
)

// job is what the chip works at by itself.
type job uint8

const (
	atRest job = iota
	converting
	copying
)

// A Chip is one thermometer, just powered. It is safe for concurrent use and
// implements w1bus.Device.
type Chip struct {
	rom      [8]byte
	parasite bool
	clock    func() time.Time
	celsius  chip.Source

	mu     sync.Mutex // guards what follows
	faults chip.State

	eeprom            [3]byte // alarm high, alarm low, configuration
	raw               int16   // sixteenths of a degree
	reserved          byte    // byte 6 of the scratchpad
	high, low, config byte
	alarm             bool // of the last conversion

	job        job
	begun, end time.Time // of the job
	fed        bool      // by a strong pull-up since the job began

	step  step
	after step
	count int // bits done in this step
	in    byte
	out   []byte
}

// New returns a chip that has just been powered, its EEPROM as of the factory.
func New(config Config) *Chip {
	c := &Chip{
		parasite: config.Parasite, clock: config.Clock, celsius: config.Celsius,
		eeprom: [3]byte{factoryHigh, factoryLow, factoryConfig},
	}
	if c.clock == nil {
		c.clock = time.Now
	}
	binary.LittleEndian.PutUint64(c.rom[:], config.Serial<<8|Family)
	c.rom[7] = CRC8(c.rom[:7])
	c.powerUp()
	return c
}

// ROM returns the chip's 64 bits in the order of the wire: family, serial, CRC.
func (c *Chip) ROM() [8]byte { return c.rom }

// Inject makes f happen now. A counterfeit keeps 12 bits whatever is written to
// its configuration and leaves byte 6 as it is after power-on, so that its 85 °C
// cannot be told from a reset; it is as many clones are. A parasite chip that is
// unplugged loses power.
func (c *Chip) Inject(f chip.Fault) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock()
	c.settle(now)
	c.faults.Apply(f, now)
	if f.Kind == chip.BrownOut || f.Kind == chip.Gone && c.parasite {
		c.powerUp()
	}
	if f.Kind == chip.Counterfeit {
		c.configure(c.config)
	}
	return nil
}

// Low reports a chip that holds the line to ground.
func (c *Chip) Low() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.faults.Short && !c.faults.Gone
}

// Reset answers a reset pulse.
func (c *Chip) Reset(at time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.faults.Gone {
		return false
	}
	c.settle(at)
	c.starve()
	c.expect(romByte)
	return true
}

// Slot takes or gives a bit.
func (c *Chip) Slot(at time.Time, bit bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.faults.Gone {
		return true
	}
	c.settle(at)
	c.starve()
	switch c.step {
	case deaf:
		return true
	case busyBits:
		return c.job == atRest
	case feedBits:
		return !c.parasite
	case sending:
		v := c.out[c.count/8]>>(c.count%8)&1 == 1
		if c.count++; c.count == 8*len(c.out) {
			c.expect(c.after)
		}
		return v
	case searched:
		return c.search(bit)
	case matching:
		if bit != c.romBit(c.count) {
			c.expect(deaf)
		} else if c.count++; c.count == 64 {
			c.expect(function)
		}
		return true
	default:
		c.take(at, bit)
		return true
	}
}

// Power is a change of the pull-up.
func (c *Chip) Power(at time.Time, strong bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(at)
	if c.faults.Gone {
		return
	}
	if c.fed && !strong {
		c.starve()
	}
	c.fed = strong && c.job != atRest
}

// powerUp is a power-on reset.
func (c *Chip) powerUp() {
	c.raw, c.reserved, c.alarm = powerOn, 0x0c, false
	c.recall()
	c.job, c.fed = atRest, false
	c.expect(deaf)
}

func (c *Chip) recall() {
	c.high, c.low = c.eeprom[0], c.eeprom[1]
	c.configure(c.eeprom[2])
}

// configure sets the two bits of the configuration that can be written.
func (c *Chip) configure(b byte) {
	c.config = b&0x60 | 0x1f
	if c.faults.Counterfeit {
		c.config = factoryConfig
	}
}

// settle ends a job whose time is over, or that no power came for.
func (c *Chip) settle(at time.Time) {
	if c.job == atRest {
		return
	}
	if c.parasite && !c.fed && at.Sub(c.begun) > feedWithin {
		c.powerUp()
		return
	}
	if at.Before(c.end) {
		return
	}
	switch c.job {
	case converting:
		c.convert()
	case copying:
		c.eeprom = [3]byte{c.high, c.low, c.config}
	}
	c.job, c.fed = atRest, false
}

// starve is a line that stops feeding a chip which works on nothing else.
func (c *Chip) starve() {
	if c.parasite && c.job != atRest {
		c.powerUp()
	}
}

func (c *Chip) convert() {
	celsius := min(max(c.faults.Celsius(c.celsius, c.end), MinMilli/1000), MaxMilli/1000)
	c.raw = int16(math.Round(celsius*16)) &^ (1<<(3-c.resolution()) - 1)
	c.reserved = reserved(c.raw)
	if c.faults.Counterfeit {
		c.reserved = 0x0c
	}
	// The alarm bytes are whole degrees: bits 11 to 4 of the result.
	degrees := int8(c.raw >> 4)
	c.alarm = degrees >= int8(c.high) || degrees <= int8(c.low)
}

// resolution returns 0 to 3 for 9 to 12 bits.
func (c *Chip) resolution() int { return int(c.config >> 5 & 3) }

func (c *Chip) expect(s step) { c.step, c.count, c.in = s, 0, 0 }

func (c *Chip) romBit(i int) bool { return c.rom[i/8]>>(i%8)&1 == 1 }

// search gives a bit of the ROM and its complement, and drops out where the
// master goes the other way.
func (c *Chip) search(bit bool) bool {
	i, phase := c.count/3, c.count%3
	own := c.romBit(i)
	c.count++
	switch phase {
	case 0:
		return own
	case 1:
		return !own
	}
	// After the last bit the master has to reset: no function follows.
	if bit != own || i == 63 {
		c.expect(deaf)
	}
	return true
}

// take adds a bit to a byte and obeys it when it is whole.
func (c *Chip) take(at time.Time, bit bool) {
	if bit {
		c.in |= 1 << (c.count % 8)
	}
	if c.count++; c.count%8 != 0 {
		return
	}
	b := c.in
	c.in = 0
	switch c.step {
	case romByte:
		c.romCommand(b)
	case function:
		c.command(at, b)
	case writing:
		switch c.count / 8 {
		case 1:
			c.high = b
		case 2:
			c.low = b
		case 3:
			c.configure(b)
			c.expect(deaf)
		}
	}
}

func (c *Chip) romCommand(b byte) {
	switch b {
	case searchROM:
		c.expect(searched)
	case alarmSearch:
		c.expect(deaf)
		if c.alarm {
			c.expect(searched)
		}
	case readROM:
		c.send(c.rom[:], function)
	case matchROM:
		c.expect(matching)
	case skipROM:
		c.expect(function)
	default:
		c.expect(deaf)
	}
}

func (c *Chip) command(at time.Time, b byte) {
	switch b {
	case convertT:
		c.begin(converting, at, longestConversion>>(3-c.resolution()))
	case copyScratchpad:
		c.begin(copying, at, copyTime)
	case writeScratchpad:
		c.expect(writing)
	case readScratchpad:
		pad := scratchpad(c.raw, c.reserved, c.high, c.low, c.config)
		c.send(pad[:], deaf)
	case recallEEPROM:
		c.recall() // within a slot, so that the busy bits are ones at once
		c.expect(busyBits)
	case readPower:
		c.expect(feedBits)
	default:
		c.expect(deaf)
	}
}

func (c *Chip) begin(j job, at time.Time, takes time.Duration) {
	c.job, c.begun, c.end, c.fed = j, at, at.Add(takes), false
	c.expect(busyBits)
}

func (c *Chip) send(b []byte, after step) {
	c.expect(sending)
	c.out, c.after = append([]byte(nil), b...), after
	if c.faults.Corrupt() {
		c.out[0] ^= 0x08 // half a degree in a scratchpad
	}
}
