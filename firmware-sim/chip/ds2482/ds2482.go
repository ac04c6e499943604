// Package ds2482 is a DS2482-100, a bridge from I2C to one 1-Wire line.
//
// It follows the datasheet 19-4930: its sections on device registers, function
// commands, and writing to and reading from the chip. A 1-Wire command keeps the chip
// busy for the longest time the datasheet allows; its result shows when the busy
// bit falls, all bits at once. A Device Reset in the middle of one forgets the
// result, but the slots have been on the line.
package ds2482

import (
	"fmt"
	"sync"
	"time"

	"trailmark/firmware-sim/chip"
	"trailmark/firmware-sim/chip/w1bus"
)

// Addr is the I2C address with both address pins at ground; three more follow.
const Addr = 0x18

// Function commands.
const (
	deviceReset    = 0xf0
	setReadPointer = 0xe1
	writeConfig    = 0xd2
	wireReset      = 0xb4
	wireBit        = 0x87
	wireWrite      = 0xa5
	wireRead       = 0x96
	wireTriplet    = 0x78
)

// Codes of the read pointer.
const (
	statusRegister = 0xf0
	dataRegister   = 0xe1
	configRegister = 0xc3
)

// Bits of the status register.
const (
	busy      = 1 << 0 // 1WB
	presence  = 1 << 1 // PPD
	shorted   = 1 << 2 // SD
	level     = 1 << 3 // LL
	wasReset  = 1 << 4 // RST
	bitResult = 1 << 5 // SBR
	tripleBit = 1 << 6 // TSB
	direction = 1 << 7 // DIR
)

// Bits of the configuration register.
const (
	strongPullup = 1 << 2 // SPU
	overdrive    = 1 << 3 // 1WS
)

// Longest times of the 1-Wire side: a reset low and high, a slot.
const (
	resetTime          = 630*time.Microsecond + 613200*time.Nanosecond
	slotTime           = 72800 * time.Nanosecond
	overdriveResetTime = 75600*time.Nanosecond + 77700*time.Nanosecond
	overdriveSlotTime  = 11 * time.Microsecond
)

// A Bridge is one chip, just powered. It is safe for concurrent use and
// implements i2cbus.Target and i2cbus.Holder.
type Bridge struct {
	clock func() time.Time
	line  *w1bus.Bus

	mu     sync.Mutex // guards what follows
	faults chip.State

	config, status, data byte
	pointer              byte
	strong               bool // the strong pull-up is on

	until            time.Time // the busy bit falls
	working          bool
	nextStat, nextRD byte // status and read data from then on

	command  byte // waits for its parameter
	complete bool // this message has had its command
	flip     byte // what is wrong with the first byte of this answer
}

// New returns a bridge that is the master of line; a nil clock is time.Now.
func New(clock func() time.Time, line *w1bus.Bus) *Bridge {
	if clock == nil {
		clock = time.Now
	}
	b := &Bridge{clock: clock, line: line}
	b.reset(clock())
	return b
}

// Inject makes f happen now: none, gone, brownout, corrupt (a bit of the first
// byte of an answer), short (of the I2C data line; that of the 1-Wire line is
// the line's).
func (b *Bridge) Inject(f chip.Fault) error {
	switch f.Kind {
	case chip.None, chip.Gone, chip.BrownOut, chip.Corrupt, chip.Short:
	default:
		return fmt.Errorf("a DS2482 has no fault %q", f)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock()
	b.faults.Apply(f, now)
	if f.Kind == chip.BrownOut {
		b.reset(now)
		b.data = 0
	}
	return nil
}

// Low reports a chip that holds the I2C data line to ground.
func (b *Bridge) Low() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.faults.Short && !b.faults.Gone
}

// Start acknowledges the address, busy or not.
func (b *Bridge) Start(read bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.faults.Gone {
		return false
	}
	b.command, b.complete, b.flip = 0, false, 0
	if read && b.faults.Corrupt() {
		b.flip = 0x10
	}
	return true
}

// Write takes a command or its parameter. What the chip refuses is not
// acknowledged and has no effect: an unknown code, a bad parameter, a byte too
// many, and while the line is busy all but Device Reset and Set Read Pointer.
func (b *Bridge) Write(v byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock()
	b.settle(now)
	switch {
	case b.complete:
		return false
	case b.command != 0:
		b.complete = true
		return b.parameter(now, v)
	}
	switch v {
	case deviceReset:
		b.complete = true
		b.reset(now)
		return true
	case setReadPointer:
		b.command = v
		return true
	case wireReset, wireRead:
		b.complete = true
		if b.working {
			return false
		}
		if v == wireReset {
			b.wireReset(now)
		} else {
			b.wireRead(now)
		}
		return true
	case writeConfig, wireBit, wireWrite, wireTriplet:
		b.command = v
		b.complete = b.working
		return !b.working
	default:
		b.complete = true
		return false
	}
}

// Read gives the register under the pointer, again and again.
func (b *Bridge) Read() byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settle(b.clock())
	flip := b.flip
	b.flip = 0
	return b.register() ^ flip
}

// Stop ends a transaction.
func (b *Bridge) Stop() {}

func (b *Bridge) register() byte {
	switch b.pointer {
	case dataRegister:
		return b.data
	case configRegister:
		return b.config
	default:
		v := b.status
		if b.working {
			v |= busy
		}
		if b.line.High() {
			v |= level
		}
		return v
	}
}

// reset is a Device Reset, which is also how the chip wakes.
func (b *Bridge) reset(now time.Time) {
	b.working = false
	b.weaken(now)
	b.config, b.status, b.pointer = 0, wasReset, statusRegister
}

// settle shows the result of a command whose time is over.
func (b *Bridge) settle(now time.Time) {
	if b.working && !now.Before(b.until) {
		b.working, b.status, b.data = false, b.nextStat, b.nextRD
	}
}

// weaken ends a strong pull-up; its bit in the configuration ends with it.
func (b *Bridge) weaken(at time.Time) {
	if b.strong {
		b.strong = false
		b.config &^= strongPullup
		b.line.Power(at, false)
	}
}

func (b *Bridge) parameter(now time.Time, v byte) bool {
	switch b.command {
	case setReadPointer:
		switch v {
		case statusRegister, dataRegister, configRegister:
			b.pointer = v
			return true
		}
		return false
	case writeConfig:
		if v>>4 != ^v&0x0f {
			return false
		}
		if v&strongPullup == 0 {
			b.weaken(now)
		}
		b.config = v & 0x0f
		b.status &^= wasReset
		b.pointer = configRegister
	case wireBit:
		b.begin(now)
		end := now.Add(b.slot())
		status := b.status &^ bitResult
		if b.bit(end, v&0x80 != 0) {
			status |= bitResult
		}
		b.strengthen(end)
		b.work(end, status, b.data)
	case wireWrite:
		b.begin(now)
		for i := range 8 {
			b.bit(now.Add(time.Duration(i+1)*b.slot()), v>>i&1 == 1)
		}
		end := now.Add(8 * b.slot())
		b.strengthen(end)
		b.work(end, b.status, b.data)
	case wireTriplet:
		b.begin(now)
		b.triplet(now, v&0x80 != 0)
	}
	return true
}

// begin prepares a 1-Wire command.
func (b *Bridge) begin(now time.Time) {
	b.weaken(now)
	b.pointer = statusRegister
}

// strengthen turns the strong pull-up on after a bit or a byte was written.
func (b *Bridge) strengthen(at time.Time) {
	if b.config&strongPullup != 0 {
		b.strong = true
		b.line.Power(at, true)
	}
}

func (b *Bridge) work(until time.Time, status, data byte) {
	b.working, b.until, b.nextStat, b.nextRD = true, until, status, data
}

func (b *Bridge) slot() time.Duration {
	if b.config&overdrive != 0 {
		return overdriveSlotTime
	}
	return slotTime
}

// bit sends a slot that ends at a moment. In overdrive the chips of this line, which know standard
// speed alone, see no slots, and the master sees an idle line.
func (b *Bridge) bit(at time.Time, v bool) bool {
	if b.config&overdrive != 0 {
		return v && b.line.High()
	}
	return b.line.Slot(at, v)
}

func (b *Bridge) wireReset(now time.Time) {
	b.begin(now)
	status := b.status &^ (presence | shorted)
	takes := resetTime
	var present, low bool
	if b.config&overdrive != 0 {
		takes, low = overdriveResetTime, !b.line.High()
	} else {
		present, low = b.line.Reset(now)
	}
	if present {
		status |= presence
	}
	if low {
		status |= shorted
	}
	b.work(now.Add(takes), status, b.data)
}

func (b *Bridge) wireRead(now time.Time) {
	b.begin(now)
	var v byte
	for i := range 8 {
		if b.bit(now.Add(time.Duration(i+1)*b.slot()), true) {
			v |= 1 << i
		}
	}
	b.work(now.Add(8*b.slot()), b.status, v)
}

func (b *Bridge) triplet(now time.Time, up bool) {
	zero, one, taken := false, false, true
	if b.config&overdrive == 0 {
		zero, one, taken = b.line.Triplet(now.Add(b.slot()), b.slot(), up)
	} else if !b.line.High() {
		zero, one, taken = true, true, up
	}
	status := b.status &^ (bitResult | tripleBit | direction)
	if !zero {
		status |= bitResult
	}
	if !one {
		status |= tripleBit
	}
	if taken {
		status |= direction
	}
	b.work(now.Add(3*b.slot()), status, b.data)
}
