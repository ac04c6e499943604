// Package ds2482 is a 1-Wire master behind a DS2482-100 bridge on I²C. It believes
// the bridge only as long as that says it was not reset, and waits for nothing
// without an end.
package ds2482

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/onewire"

	"trailmark/agent/internal/sensor"
)

// Commands and read pointers (data sheet, "Function Commands").
const (
	deviceReset    = 0xf0
	setReadPointer = 0xe1
	writeConfig    = 0xd2
	lineReset      = 0xb4
	lineBit        = 0x87
	lineWrite      = 0xa5
	lineRead       = 0x96
	lineTriplet    = 0x78

	pointStatus = 0xf0
	pointData   = 0xe1
	pointConfig = 0xc3
)

// Status register.
const (
	busy       = 1 << 0 // 1WB
	presence   = 1 << 1 // PPD
	shorted    = 1 << 2 // SD
	level      = 1 << 3 // LL
	wasReset   = 1 << 4 // RST, cleared by writing the configuration
	firstBit   = 1 << 5 // SBR
	secondBit  = 1 << 6 // TSB
	directed   = 1 << 7 // DIR
	activePull = 1 << 0 // APU of the configuration register
	strongPull = 1 << 2 // SPU of the configuration register
)

const (
	patience  = 20 * time.Millisecond  // the longest command, a reset, takes 1.3 ms
	poll      = 100 * time.Microsecond // a byte takes 0.6 ms
	maxSearch = 64                     // chips on a line; more is noise
)

// A Bus is one bridge. Its methods are safe for concurrent use; who needs several
// transactions in a row undisturbed needs a lock of his own.
type Bus struct {
	dev i2c.Dev
	mu  sync.Mutex // held for a transaction
	// ready: configured, and nothing was wrong with the bridge since. Else the next
	// transaction begins with a reset. Guarded by mu.
	ready bool
}

// Open resets and configures the bridge at addr (0x18 to 0x1b).
func Open(ctx context.Context, bus i2c.Bus, addr uint16) (*Bus, error) {
	b := &Bus{dev: i2c.Dev{Bus: bus, Addr: addr}}
	return sensor.Await(ctx, func() (*Bus, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if err := b.init(); err != nil {
			return nil, fmt.Errorf("%s: %w", b, err)
		}
		return b, nil
	})
}

func (b *Bus) String() string { return fmt.Sprintf("ds2482 at %#x on %s", b.dev.Addr, b.dev.Bus) }

// Tx resets the line, writes w and reads r. With a strong pull-up the line gives
// power from the last bit of w until the next transaction; r must be empty then,
// as the bridge has no strong pull-up after reading. An error is an
// onewire.NoDevicesError or onewire.ShortedBusError for those; a bridge that was
// reset or does not hold its configuration is a sensor.Error.
func (b *Bus) Tx(w, r []byte, power onewire.Pullup) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tx(w, r, power)
}

// Search finds all chips on the line, or those with an alarm.
func (b *Bus) Search(alarmOnly bool) ([]onewire.Address, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	found, err := onewire.Search(&searcher{Bus: b}, alarmOnly)
	for i, a := range found {
		if a == 0 { // 64 zeros, whose CRC is right
			return found[:i], errShort
		}
	}
	return found, err
}

// ReadBit reads one slot without a reset before it.
func (b *Bus) ReadBit() (byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	status, err := b.command(lineBit, 0x80)
	return status & firstBit / firstBit, err
}

// init resets the bridge and sets its configuration, which ends the mark of a reset.
func (b *Bus) init() error {
	var got [1]byte
	if err := b.dev.Tx([]byte{deviceReset}, got[:]); err != nil {
		return fmt.Errorf("no answer: %w\nhint: check the wires and the address pins", err)
	}
	if got[0]&^level != wasReset {
		return &sensor.Error{Fault: wrong(got[0]), Text: fmt.Sprintf("status %#02x after a reset, want 0x10 or 0x18\nhint: this is not a DS2482", got[0])}
	}
	b.ready = true
	if err := b.configure(activePull); err != nil {
		return err
	}
	return b.alive(b.read(pointStatus))
}

// read reads a register.
func (b *Bus) read(pointer byte) (byte, error) {
	var got [1]byte
	if err := b.dev.Tx([]byte{setReadPointer, pointer}, got[:]); err != nil {
		return 0, b.lost(err)
	}
	return got[0], nil
}

// configure writes the configuration, whose upper half is the complement, and
// reads it back.
func (b *Bus) configure(c byte) error {
	var got [1]byte
	if err := b.dev.Tx([]byte{writeConfig, c | ^c<<4}, got[:]); err != nil {
		return b.lost(err)
	}
	return b.configured(got[0], c)
}

// configured reports a configuration register that is not what was set.
func (b *Bus) configured(got, want byte) error {
	if got == want {
		return nil
	}
	return b.lost(&sensor.Error{Fault: wrong(got), Text: fmt.Sprintf("configuration %#02x, want %#02x", got, want)})
}

// alive reports a status that only a bridge without a configuration has, or none.
func (b *Bus) alive(status byte, err error) error {
	switch {
	case err != nil:
		return err
	case status == 0xff:
		return b.lost(&sensor.Error{Fault: sensor.FaultAllOnes, Text: "status 0xff: nobody answers"})
	case status&wasReset != 0:
		return b.lost(&sensor.Error{Fault: sensor.FaultPowerOn, Text: "the bridge was reset"})
	}
	return nil
}

// wrong is the fault of a register that does not hold what it must.
func wrong(got byte) sensor.Fault {
	switch got {
	case 0:
		return sensor.FaultAllZero
	case 0xff:
		return sensor.FaultAllOnes
	}
	return sensor.FaultConfig
}

// lost notes that the state of the bridge is not known any more.
func (b *Bus) lost(err error) error {
	b.ready = false
	return err
}

func (b *Bus) tx(w, r []byte, power onewire.Pullup) error {
	if power == onewire.StrongPullup && (len(r) != 0 || len(w) == 0) {
		return errors.New("ds2482: a strong pull-up needs something written and nothing read")
	}
	if err := b.reset(); err != nil {
		return err
	}
	for i, v := range w {
		if power == onewire.StrongPullup && i == len(w)-1 {
			if err := b.configure(activePull | strongPull); err != nil {
				return err
			}
		}
		if _, err := b.command(lineWrite, v); err != nil {
			return err
		}
	}
	for i := range r {
		if _, err := b.command(lineRead); err != nil {
			return err
		}
		v, err := b.read(pointData)
		if err != nil {
			return err
		}
		r[i] = v
	}
	return nil
}

// reset makes a reset pulse after making sure that the bridge is still as it was
// configured.
func (b *Bus) reset() error {
	if !b.ready {
		if err := b.init(); err != nil {
			return err
		}
	}
	if err := b.alive(b.read(pointStatus)); err != nil {
		return err
	}
	config, err := b.read(pointConfig)
	if err != nil {
		return err
	}
	if config == activePull|strongPull { // it goes on until now
		config = activePull
	}
	if err := b.configured(config, activePull); err != nil {
		return err
	}
	status, err := b.command(lineReset)
	switch {
	case err != nil:
		return err
	case status&shorted != 0:
		return errShort
	case status&presence == 0:
		return errNone
	}
	return nil
}

// command starts something on the line and gives the status at its end.
func (b *Bus) command(w ...byte) (byte, error) {
	if !b.ready {
		return 0, &sensor.Error{Fault: sensor.FaultPowerOn, Text: "the bridge was reset"}
	}
	if err := b.dev.Tx(w, nil); err != nil {
		return 0, b.lost(err)
	}
	start := time.Now()
	for {
		time.Sleep(poll)
		var got [1]byte
		if err := b.dev.Tx(nil, got[:]); err != nil { // the command has set the pointer to the status
			return 0, b.lost(err)
		}
		if err := b.alive(got[0], nil); err != nil {
			return 0, err
		}
		if got[0]&busy == 0 {
			return got[0], nil
		}
		if time.Since(start) > patience {
			return 0, b.lost(&sensor.Error{Fault: sensor.FaultGone, Text: "the bridge does not end a command"})
		}
	}
}

// searcher is a Bus whose mu is held, with an end to its search: chips that come
// and go could lead it in circles.
type searcher struct {
	*Bus
	passes int
}

func (s *searcher) Tx(w, r []byte, power onewire.Pullup) error {
	if s.passes++; s.passes > maxSearch {
		return fmt.Errorf("more than %d chips found\nhint: the line is too long or too noisy", maxSearch)
	}
	return s.tx(w, r, power)
}

func (s *searcher) SearchTriplet(direction byte) (onewire.TripletResult, error) {
	status, err := s.command(lineTriplet, direction<<7)
	return onewire.TripletResult{GotZero: status&firstBit == 0, GotOne: status&secondBit == 0, Taken: status & directed / directed}, err
}

// A lineError is what a reset pulse found.
type lineError string

const (
	errShort lineError = "1-Wire line held low\nhint: look for a short to ground or a wrong pull-up"
	errNone  lineError = "no presence pulse on the 1-Wire line"
)

func (e lineError) Error() string   { return string(e) }
func (e lineError) BusError() bool  { return true }
func (e lineError) IsShorted() bool { return e == errShort }
func (e lineError) NoDevices() bool { return e == errNone }
