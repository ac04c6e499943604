// Package w1bus is a 1-Wire line with chip models on it, slot by slot.
//
// The line is a wired AND: a slot reads as one only if the master and every chip
// let go of it, which is how several chips answer a search at once and how two
// that talk at the same time spoil each other. A master calls Reset, Slot and
// Power with the moment of each; the bus is also a onewire.Bus of periph, for
// which time stands still during a transaction.
package w1bus

import (
	"fmt"
	"sync"
	"time"

	"periph.io/x/conn/v3/onewire"

	"trailmark/firmware-sim/chip"
)

// A Device is one chip on the line. The bus calls it with one slot at a time and
// never with an earlier moment than before, except where two masters' clocks
// disagree.
type Device interface {
	// Reset is a reset pulse; true is a presence pulse.
	Reset(at time.Time) (present bool)
	// Slot is a time slot that ends at a moment: the master writes zero, or writes
	// one, which is also how it reads. False is a chip that pulls the line to
	// ground in it.
	Slot(at time.Time, bit bool) (high bool)
	// Power is a change of the pull-up: strong is one that can feed a conversion.
	Power(at time.Time, strong bool)
	// Low reports a chip that holds the line to ground all the time.
	Low() bool
}

// noise is how many slots pass in a bad transaction from one that is sampled
// wrong to the next: a prime, so that errors fall on any bit of a byte.
const noise = 29

// A Bus is the line. It is safe for concurrent use; Tx and Search are not
// interrupted by each other.
type Bus struct {
	clock func() time.Time

	master sync.Mutex // held for a transaction of Tx or a whole Search
	mu     sync.Mutex // held for a slot; guards what follows

	devices []Device
	faults  chip.State
	bad     bool // this transaction is disturbed
	slots   int  // since the last reset
}

// New returns a line without a chip on it. Its clock is for Tx and Search alone;
// nil is time.Now.
func New(clock func() time.Time) *Bus {
	if clock == nil {
		clock = time.Now
	}
	return &Bus{clock: clock}
}

// Attach puts chips on the line.
func (b *Bus) Attach(devices ...Device) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.devices = append(b.devices, devices...)
}

// Inject makes f happen to the wire: short, gone (the wire is cut at the master,
// whose own pull-up then reads as ones), corrupt (one slot of 29 is sampled wrong
// in each of the next Count transactions that start with a reset), or none.
func (b *Bus) Inject(f chip.Fault) error {
	switch f.Kind {
	case chip.None, chip.Short, chip.Gone, chip.Corrupt:
	default:
		return fmt.Errorf("a 1-wire line has no fault %q", f)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults.Apply(f, b.clock())
	return nil
}

// Reset sends a reset pulse. present is a presence pulse of any chip, shorted a
// line that is low when it should have recovered.
func (b *Bus) Reset(at time.Time) (present, shorted bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bad, b.slots = b.faults.Corrupt(), 0
	if b.low() {
		return false, true
	}
	if b.faults.Gone {
		return false, false
	}
	for _, d := range b.devices {
		present = d.Reset(at) || present
	}
	return present, false
}

// Slot writes a bit in a slot that ends at a moment, and returns what the master
// samples in it.
func (b *Bus) Slot(at time.Time, bit bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	high := bit
	switch {
	case b.low():
		high = false
	case !b.faults.Gone:
		for _, d := range b.devices {
			high = d.Slot(at, bit) && high
		}
	}
	b.slots++
	if b.bad && b.slots%noise == 0 {
		high = !high
	}
	return high
}

// Power switches the strong pull-up.
func (b *Bus) Power(at time.Time, strong bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.faults.Gone || b.low() {
		strong = false
	}
	for _, d := range b.devices {
		d.Power(at, strong)
	}
}

// High reports the level of the line between slots, where the master sees it.
func (b *Bus) High() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.low()
}

// low reports a line at ground. The caller holds mu.
func (b *Bus) low() bool {
	if b.faults.Short {
		return true
	}
	if b.faults.Gone {
		return false
	}
	for _, d := range b.devices {
		if d.Low() {
			return true
		}
	}
	return false
}

// Tx resets the line, writes w and reads r, and leaves the pull-up as asked.
func (b *Bus) Tx(w, r []byte, power onewire.Pullup) error {
	b.master.Lock()
	defer b.master.Unlock()
	return transaction{b}.Tx(w, r, power)
}

// Search returns the chips on the line, or those with an alarm.
func (b *Bus) Search(alarmOnly bool) ([]onewire.Address, error) {
	b.master.Lock()
	defer b.master.Unlock()
	return onewire.Search(transaction{b}, alarmOnly)
}

func (b *Bus) String() string { return "w1-sim" }

// A transaction is the bus with its master's lock held.
type transaction struct{ *Bus }

func (t transaction) Tx(w, r []byte, power onewire.Pullup) error {
	at := t.clock()
	t.Power(at, false)
	switch present, shorted := t.Reset(at); {
	case shorted:
		return lineError("1-wire line held low")
	case !present:
		return absent("no presence pulse on the 1-wire line")
	}
	for _, v := range w {
		for i := range 8 {
			t.Slot(at, v>>i&1 == 1)
		}
	}
	for i := range r {
		r[i] = 0
		for j := range 8 {
			if t.Slot(at, true) {
				r[i] |= 1 << j
			}
		}
	}
	t.Power(at, bool(power))
	return nil
}

// SearchTriplet reads a bit and its complement and writes the direction taken.
func (t transaction) SearchTriplet(direction byte) (onewire.TripletResult, error) {
	zero, one, taken := t.Triplet(t.clock(), 0, direction != 0)
	result := onewire.TripletResult{GotZero: zero, GotOne: one}
	if taken {
		result.Taken = 1
	}
	return result, nil
}

// Triplet is the step of a search: it reads a bit and its complement in two
// slots, of which the first ends at a moment and the others slot apart, and writes in a third the bit that they agree on, or
// direction where chips with both are left, or one where none is. zero and one
// say which chips answered.
func (b *Bus) Triplet(at time.Time, slot time.Duration, direction bool) (zero, one, taken bool) {
	bit := b.Slot(at, true)
	complement := b.Slot(at.Add(slot), true)
	zero, one = !bit, !complement
	taken = bit
	if zero && one {
		taken = direction
	}
	b.Slot(at.Add(2*slot), taken)
	return zero, one, taken
}

type absent string

func (e absent) Error() string   { return string(e) }
func (e absent) NoDevices() bool { return true }

type lineError string

func (e lineError) Error() string   { return string(e) }
func (e lineError) IsShorted() bool { return true }
func (e lineError) BusError() bool  { return true }
