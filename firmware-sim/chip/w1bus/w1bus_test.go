package w1bus

import (
	"errors"
	"strings"
	"testing"
	"time"

	"periph.io/x/conn/v3/onewire"

	"trailmark/firmware-sim/chip"
)

var (
	_ onewire.Bus         = (*Bus)(nil)
	_ onewire.BusSearcher = transaction{}
)

// talker answers every slot with its pattern, bit by bit, and counts.
type talker struct {
	pattern         byte
	n               int
	resets, strongs int
	low             bool
}

func (d *talker) Reset(time.Time) bool { d.resets++; d.n = 0; return true }

func (d *talker) Slot(time.Time, bool) bool {
	d.n++
	return d.pattern>>((d.n-1)%8)&1 == 1
}

func (d *talker) Power(_ time.Time, strong bool) {
	if strong {
		d.strongs++
	}
}

func (d *talker) Low() bool { return d.low }

func TestWiredAND(t *testing.T) {
	b := New(nil)
	one, other := &talker{pattern: 0xf3}, &talker{pattern: 0x7e}
	b.Attach(one, other)
	var r [2]byte
	if err := b.Tx(nil, r[:], onewire.StrongPullup); err != nil || r != [2]byte{0x72, 0x72} {
		t.Errorf("% x, %v", r, err)
	}
	if one.resets != 1 || other.resets != 1 || one.strongs != 1 {
		t.Errorf("%+v, %+v", one, other)
	}
	if b.Slot(time.Time{}, false) {
		t.Error("a line that the master pulls low is high")
	}
}

func TestTriplet(t *testing.T) {
	for _, c := range []struct {
		bits             byte // first and second slot
		up               bool
		zero, one, taken bool
	}{
		{0b00, false, true, true, false}, {0b00, true, true, true, true},
		{0b10, true, true, false, false}, {0b01, false, false, true, true}, {0b11, false, false, false, true},
	} {
		b := New(nil)
		d := &talker{pattern: c.bits}
		b.Attach(d)
		zero, one, taken := b.Triplet(time.Time{}, 0, c.up)
		if zero != c.zero || one != c.one || taken != c.taken || d.n != 3 {
			t.Errorf("%+v: got %t %t %t in %d slots", c, zero, one, taken, d.n)
		}
	}
}

func TestFaults(t *testing.T) {
	b := New(nil)
	d := &talker{pattern: 0xa5}
	var low onewire.ShortedBusError
	var none onewire.NoDevicesError
	read := func() ([9]byte, error) {
		var r [9]byte
		return r, b.Tx(nil, r[:], onewire.WeakPullup)
	}
	if _, err := read(); !errors.As(err, &none) || !none.NoDevices() {
		t.Errorf("an empty line: %v", err)
	}
	b.Attach(d)
	d.low = true
	if _, err := read(); !errors.As(err, &low) || !low.IsShorted() || b.High() {
		t.Errorf("a chip holds the line: %v", err)
	}
	d.low = false
	for _, c := range []struct {
		fault   chip.Kind
		present bool
		shorted bool
		high    bool // of a slot that reads
	}{{chip.Short, false, true, false}, {chip.Gone, false, false, true}, {chip.None, true, false, true}} {
		if err := errors.Join(b.Inject(chip.Fault{}), b.Inject(chip.Fault{Kind: c.fault})); err != nil {
			t.Fatal(err)
		}
		present, shorted := b.Reset(time.Time{})
		if high := b.Slot(time.Time{}, true); present != c.present || shorted != c.shorted || high != c.high {
			t.Errorf("%v: present %t, shorted %t, reads %t", c.fault, present, shorted, high)
		}
	}
	if err := b.Inject(chip.Fault{Kind: chip.Corrupt, Count: 1}); err != nil {
		t.Fatal(err)
	}
	r, err := read()
	if err != nil || r[3] != 0xa5^1<<4 || r[7] != 0xa5^1<<1 { // slots 29 and 58
		t.Errorf("% x, %v", r, err)
	}
	if r, err := read(); err != nil || r[3] != 0xa5 {
		t.Errorf("% x, %v, want it undisturbed", r, err)
	}
	if err := b.Inject(chip.Fault{Kind: chip.Drift}); err == nil || !strings.Contains(err.Error(), "no fault") {
		t.Errorf("a wire that drifts: %v", err)
	}
	if s := b.String(); s != "w1-sim" {
		t.Error(s)
	}
}
