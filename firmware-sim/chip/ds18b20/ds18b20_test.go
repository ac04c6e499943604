package ds18b20

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/onewire"
	"periph.io/x/conn/v3/physic"
	stock "periph.io/x/devices/v3/ds18b20"

	"trailmark/firmware-sim/chip"
	"trailmark/firmware-sim/chip/w1bus"
)

var _ w1bus.Device = (*Chip)(nil)

// bench is a line with chips on it and a clock turned by hand.
type bench struct {
	*testing.T
	now     time.Time
	celsius float64
	line    *w1bus.Bus
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, now: time.Unix(1_700_000_000, 0), celsius: 4.25}
	b.line = w1bus.New(b.clock)
	return b
}

func (b *bench) clock() time.Time { return b.now }

func (b *bench) chip(serial uint64, parasite bool) *Chip {
	c := New(Config{Serial: serial, Parasite: parasite, Clock: b.clock,
		Celsius: func(time.Time) float64 { return b.celsius }})
	b.line.Attach(c)
	return c
}

func (b *bench) tx(w []byte, n int) []byte {
	b.Helper()
	r := make([]byte, n)
	if err := b.line.Tx(w, r, onewire.WeakPullup); err != nil {
		b.Fatal(err)
	}
	return r
}

func (b *bench) pad() Scratchpad {
	b.Helper()
	return Scratchpad(b.tx([]byte{skipROM, readScratchpad}, 9))
}

func (b *bench) inject(c interface{ Inject(chip.Fault) error }, f chip.Fault) {
	b.Helper()
	if err := c.Inject(f); err != nil {
		b.Fatal(err)
	}
}

func TestConversionTakesItsTime(t *testing.T) {
	for _, c := range []struct {
		config byte
		takes  time.Duration
		raw    int16 // of 4.25 + 3/16 °C
		left   byte
	}{
		{0x1f, 93750 * time.Microsecond, 0x40, 0x10}, {0x3f, 187500 * time.Microsecond, 0x44, 0x0c},
		{0x5f, 375 * time.Millisecond, 0x46, 0x0a}, {0x7f, 750 * time.Millisecond, 0x47, 0x09},
	} {
		b := newBench(t)
		b.chip(1, false)
		b.tx([]byte{skipROM, writeScratchpad, 0x55, 0xaa, c.config | 0x80}, 0)
		b.celsius = 4.25 + 3.0/16
		// The same transaction reads busy bits: zeros until the end.
		if got := b.tx([]byte{skipROM, convertT}, 2); !bytes.Equal(got, []byte{0, 0}) {
			t.Errorf("%#02x: busy bits % x", c.config, got)
		}
		b.now = b.now.Add(c.takes - time.Nanosecond)
		if got, want := b.pad(), scratchpad(powerOn, 0x0c, 0x55, 0xaa, c.config); got != want {
			t.Errorf("%#02x early: got % x, want % x", c.config, got, want)
		}
		b.now = b.now.Add(time.Nanosecond)
		if got, want := b.pad(), scratchpad(c.raw, c.left, 0x55, 0xaa, c.config); got != want {
			t.Errorf("%#02x: got % x, want % x", c.config, got, want)
		}
	}
}

func TestBusyBitEnds(t *testing.T) {
	b := newBench(t)
	b.chip(1, false)
	b.tx([]byte{skipROM, convertT}, 0)
	if b.line.Slot(b.now.Add(749*time.Millisecond), true) || !b.line.Slot(b.now.Add(750*time.Millisecond), true) {
		t.Error("the busy bit is not zero for 750 ms and one from then on")
	}
	// After nine bytes nobody drives the line.
	if got := b.tx([]byte{skipROM, readScratchpad}, 11); got[9] != 0xff || got[10] != 0xff {
		t.Errorf("behind the scratchpad: % x", got[9:])
	}
}

func TestRange(t *testing.T) {
	b := newBench(t)
	b.chip(1, false)
	for celsius, want := range map[float64]Scratchpad{
		-300: Convert(-55_000), -55: Convert(-55_000), -10.125: Convert(-10_125), -0.04: converted(-1), -0.5: Convert(-500),
		0: Convert(0), 25.0625: Convert(25_062), 85: Convert(85_000), 300: Convert(125_000),
	} {
		b.celsius = celsius
		b.tx([]byte{skipROM, convertT}, 0)
		b.now = b.now.Add(time.Second)
		if got := b.pad(); got != want {
			t.Errorf("%g °C: got % x, want % x", celsius, got, want)
		}
	}
	if Convert(85_000) == PoweredOn() {
		t.Error("a true 85 °C cannot be told from a reset")
	}
}

func TestEEPROM(t *testing.T) {
	b := newBench(t)
	c := b.chip(1, false)
	written := scratchpad(powerOn, 0x0c, 10, 0xfb, 0x3f)
	b.tx([]byte{skipROM, writeScratchpad, 10, 0xfb, 0x3f}, 0)
	if got := b.pad(); got != written {
		t.Errorf("got % x, want % x", got, written)
	}
	b.inject(c, chip.Fault{Kind: chip.BrownOut})
	if got := b.pad(); got != PoweredOn() {
		t.Errorf("what was never copied outlived a loss of power: % x", got)
	}
	b.tx([]byte{skipROM, writeScratchpad, 10, 0xfb, 0x3f}, 0)
	b.tx([]byte{skipROM, copyScratchpad}, 0)
	b.now = b.now.Add(10 * time.Millisecond)
	b.tx([]byte{skipROM, writeScratchpad, 1, 2, 0x7f}, 0)
	if got := b.tx([]byte{skipROM, recallEEPROM}, 1); got[0] != 0xff {
		t.Errorf("recall is still busy: % x", got)
	}
	if got := b.pad(); got != written {
		t.Errorf("recalled % x, want % x", got, written)
	}
	b.inject(c, chip.Fault{Kind: chip.BrownOut})
	if got := b.pad(); got != written {
		t.Errorf("after a loss of power % x, want % x", got, written)
	}
	// A copy that is cut short has not taken place.
	b.tx([]byte{skipROM, writeScratchpad, 1, 2, 0x7f}, 0)
	b.tx([]byte{skipROM, copyScratchpad}, 0)
	b.now = b.now.Add(10*time.Millisecond - 1)
	b.inject(c, chip.Fault{Kind: chip.BrownOut})
	if got := b.pad(); got != written {
		t.Errorf("after a copy cut short % x, want % x", got, written)
	}
}

func TestSearch(t *testing.T) {
	b := newBench(t)
	want := map[onewire.Address]bool{}
	var chips []*Chip
	for _, serial := range []uint64{1, 2, 3, 0xffffffffffff, 0x800000000001, 0x45a1b2c} {
		c := b.chip(serial, false)
		rom := c.ROM()
		if rom[0] != Family || CRC8(rom[:]) != 0 {
			t.Errorf("ROM % x", rom)
		}
		var a onewire.Address
		for i, v := range rom {
			a |= onewire.Address(v) << (8 * i)
		}
		want[a] = true
		chips = append(chips, c)
	}
	found, err := b.line.Search(false)
	if err != nil || len(found) != len(want) {
		t.Fatalf("found %x, %v", found, err)
	}
	for _, a := range found {
		if !want[a] {
			t.Errorf("found %016x, which nobody plugged", a)
		}
	}
	// Several chips answer Read ROM at once: a wired AND, of which the CRC tells.
	if got := b.tx([]byte{readROM}, 8); CRC8(got) == 0 {
		t.Errorf("a collision reads as % x", got)
	}
	// An alarm takes a conversion.
	if found, err := b.line.Search(true); err == nil && len(found) > 0 {
		t.Errorf("alarms without a conversion: %x", found)
	}
	// From the factory the low alarm is 70 °C, so that every cool chip has one.
	b.tx([]byte{skipROM, writeScratchpad, 100, 0xc9, 0x7f}, 0)
	rom := chips[2].ROM()
	match := append([]byte{matchROM}, rom[:]...)
	b.tx(append(match, writeScratchpad, 4, 0xfb, 0x7f), 0) // alarm from 4 °C
	b.tx([]byte{skipROM, convertT}, 0)
	b.now = b.now.Add(time.Second)
	if found, err := b.line.Search(true); err != nil || len(found) != 1 || byte(found[0]>>8) != rom[1] {
		t.Errorf("alarms %x, %v, want that of % x", found, err, rom)
	}
	b.celsius = 3.9375
	b.tx([]byte{skipROM, convertT}, 0)
	b.now = b.now.Add(time.Second)
	if found, _ := b.line.Search(true); len(found) != 0 {
		t.Errorf("the alarm has no end: %x", found)
	}
}

func TestReadROMOfOneChip(t *testing.T) {
	b := newBench(t)
	rom := b.chip(0x45a1b2c, false).ROM()
	if got := b.tx([]byte{readROM}, 8); !bytes.Equal(got, rom[:]) {
		t.Errorf("got % x, want % x", got, rom)
	}
	// A function command may follow at once.
	if got := b.tx([]byte{matchROM, 1, 2, 3, 4, 5, 6, 7, 8, readScratchpad}, 2); got[0] != 0xff || got[1] != 0xff {
		t.Errorf("a chip that was not meant answers % x", got)
	}
}

func TestParasite(t *testing.T) {
	for _, c := range []struct {
		name string
		hold time.Duration // of the strong pull-up
		want Scratchpad
	}{
		{"never fed", 0, PoweredOn()},
		{"let go early", 749 * time.Millisecond, PoweredOn()},
		{"fed", 750 * time.Millisecond, Convert(4250)},
	} {
		b := newBench(t)
		b.chip(1, true)
		if got := b.tx([]byte{skipROM, readPower}, 1); got[0] != 0 {
			t.Errorf("%s: supply bits % x", c.name, got)
		}
		if err := b.line.Tx([]byte{skipROM, convertT}, nil, onewire.Pullup(c.hold > 0)); err != nil {
			t.Fatal(err)
		}
		b.now = b.now.Add(c.hold)
		b.line.Power(b.now, false)
		b.now = b.now.Add(time.Second - c.hold)
		if got := b.pad(); got != c.want {
			t.Errorf("%s: got % x, want % x", c.name, got, c.want)
		}
	}
	b := newBench(t)
	b.chip(1, false)
	if got := b.tx([]byte{skipROM, readPower}, 1); got[0] != 0xff {
		t.Errorf("supply bits of a powered chip % x", got)
	}
}

func TestFaults(t *testing.T) {
	b := newBench(t)
	c := b.chip(1, false)
	measure := func() Scratchpad {
		t.Helper()
		b.tx([]byte{skipROM, convertT}, 0)
		b.now = b.now.Add(750 * time.Millisecond)
		return b.pad()
	}
	if got := measure(); got != Convert(4250) {
		t.Fatalf("got % x", got)
	}
	b.inject(c, chip.Fault{Kind: chip.Corrupt, Count: 2})
	for i := range 3 {
		if got := b.pad(); (CRC8(got[:]) == 0) != (i == 2) {
			t.Errorf("answer %d: % x", i, got)
		}
	}
	// Power lost between a conversion and its read: a well-formed 85 °C.
	b.tx([]byte{skipROM, convertT}, 0)
	b.now = b.now.Add(740 * time.Millisecond)
	b.inject(c, chip.Fault{Kind: chip.BrownOut})
	b.now = b.now.Add(10 * time.Millisecond)
	if got := b.pad(); got != PoweredOn() {
		t.Errorf("brown-out: % x", got)
	}
	b.inject(c, chip.Fault{Kind: chip.Drift, PerHour: 2})
	b.now = b.now.Add(time.Hour)
	if got := measure(); got != Convert(6250) {
		t.Errorf("drift of 2 °C: % x", got)
	}
	b.inject(c, chip.Fault{})

	b.inject(c, chip.Fault{Kind: chip.Counterfeit})
	b.tx([]byte{skipROM, writeScratchpad, 1, 2, 0x1f}, 0)
	b.celsius = 85
	if got, want := measure(), scratchpad(powerOn, 0x0c, 1, 2, 0x7f); got != want {
		t.Errorf("counterfeit: got % x, want % x", got, want)
	}
	b.inject(c, chip.Fault{})

	b.inject(c, chip.Fault{Kind: chip.Short})
	var low onewire.ShortedBusError
	if err := b.line.Tx([]byte{skipROM}, nil, onewire.WeakPullup); !errors.As(err, &low) {
		t.Errorf("short: %v", err)
	}
	b.inject(c, chip.Fault{Kind: chip.Gone}) // unplugged, it holds nothing
	var none onewire.NoDevicesError
	if err := b.line.Tx([]byte{skipROM}, nil, onewire.WeakPullup); !errors.As(err, &none) {
		t.Errorf("gone: %v", err)
	}
	b.inject(c, chip.Fault{})
	if got := b.pad(); CRC8(got[:]) != 0 {
		t.Errorf("after the faults: % x", got)
	}
}

func TestStuckAtAPastValue(t *testing.T) {
	b := newBench(t)
	start := b.now
	c := New(Config{Clock: b.clock, Celsius: func(at time.Time) float64 { return 4 + at.Sub(start).Hours() }})
	b.line.Attach(c)
	b.inject(c, chip.Fault{Kind: chip.Stuck})
	b.now = b.now.Add(5 * time.Hour)
	b.tx([]byte{skipROM, convertT}, 0)
	b.now = b.now.Add(time.Second)
	if got := b.pad(); got != Convert(4000) {
		t.Errorf("got % x, want that of 4 °C", got)
	}
}

// A chip that another master has read correctly since 2016.
func TestStockDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := w1bus.New(nil)
		c := New(Config{Serial: 0x45a1b2c, Celsius: func(time.Time) float64 { return -18.3125 }})
		other := New(Config{Serial: 7, Parasite: true, Celsius: func(time.Time) float64 { return 6.1 }})
		line.Attach(c, other)
		found, err := line.Search(false)
		if err != nil || len(found) != 2 {
			t.Fatalf("%x, %v", found, err)
		}
		for _, a := range found {
			for bits, want := range map[int][2]float64{9: {-18.5, 6}, 10: {-18.5, 6}, 11: {-18.375, 6.125}, 12: {-18.3125, 6.125}} {
				d, err := stock.New(line, a, bits)
				if err != nil {
					t.Fatal(err)
				}
				var e physic.Env
				if err := d.Sense(&e); err != nil {
					t.Fatal(err)
				}
				w := want[0]
				if byte(a>>8) == 7 {
					w = want[1]
				}
				if got := e.Temperature.Celsius(); math.Abs(got-w) > 1e-6 {
					t.Errorf("%016x with %d bits: %g °C, want %g", a, bits, got, w)
				}
			}
		}
	})
}

// Why the agent has a driver of its own: with the line held low by a chip that
// answered a moment ago the stock one takes nine zero bytes, whose CRC is zero
// too, for 0 °C without an error.
func TestStockDriverTakesZerosForAValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := w1bus.New(nil)
		c := New(Config{Celsius: func(time.Time) float64 { return 21 }})
		line.Attach(c)
		found, err := line.Search(false)
		if err != nil {
			t.Fatal(err)
		}
		d, err := stock.New(shortsAfterReset{line}, found[0], 12)
		if err != nil {
			t.Fatal(err)
		}
		var e physic.Env
		if err := d.Sense(&e); err != nil {
			t.Fatal(err)
		}
		if err := line.Inject(chip.Fault{Kind: chip.Short}); err != nil {
			t.Fatal(err)
		}
		if v, err := d.LastTemp(); err != nil || v != physic.ZeroCelsius {
			t.Errorf("got %v, %v, want 0 °C and no error", v, err)
		}
	})
}

// shortsAfterReset is a master that does not look at the line after its reset,
// as GPIO masters do.
type shortsAfterReset struct{ *w1bus.Bus }

func (m shortsAfterReset) Tx(w, r []byte, p onewire.Pullup) error {
	err := m.Bus.Tx(w, r, p)
	var low onewire.ShortedBusError
	if errors.As(err, &low) {
		clear(r)
		return nil
	}
	return err
}

// Why the agent has a driver of its own: the stock one compares a temperature
// with 85 kelvin where it means 85 °C, and reports the power-on value of a chip
// that lost power in its conversion, here for want of a strong pull-up.
func TestStockDriverTakesAResetForAValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := w1bus.New(nil)
		probe := New(Config{Serial: 1, Parasite: true, Celsius: func(time.Time) float64 { return 4 }})
		line.Attach(probe)
		found, err := line.Search(false)
		if err != nil {
			t.Fatal(err)
		}
		d, err := stock.New(weak{line}, found[0], 12)
		if err != nil {
			t.Fatal(err)
		}
		var e physic.Env
		if err := d.Sense(&e); err != nil || math.Abs(e.Temperature.Celsius()-85) > 1e-6 {
			t.Errorf("%v, %v, want 85 °C and no error", e.Temperature, err)
		}
	})
}

// weak is a master whose strong pull-up is not connected.
type weak struct{ *w1bus.Bus }

func (m weak) Tx(w, r []byte, _ onewire.Pullup) error { return m.Bus.Tx(w, r, onewire.WeakPullup) }

func TestROMTextOfTheKernel(t *testing.T) {
	// 28-0000045a1b2c: the serial as a number, its bytes least first on the wire.
	rom := New(Config{Serial: 0x45a1b2c, Celsius: func(time.Time) float64 { return 0 }}).ROM()
	if !bytes.HasPrefix(rom[:], []byte{0x28, 0x2c, 0x1b, 0x5a, 0x04, 0, 0}) {
		t.Errorf("% x", rom)
	}
}

// Whatever a master sends, the chip stays a chip: it answers the next reset and
// its scratchpad has a right checksum.
func FuzzSlots(f *testing.F) {
	f.Add([]byte{0xcc, 0x44, 0xff, 0x00})
	f.Add([]byte(strings.Repeat("\xf0\xff", 24)))
	f.Add([]byte{0xcc, 0x4e, 1})
	f.Fuzz(func(t *testing.T, w []byte) {
		b := newBench(t)
		b.chip(1, len(w)%2 == 1)
		for _, v := range w {
			b.now = b.now.Add(time.Duration(v) * time.Millisecond)
			for i := range 8 {
				b.line.Slot(b.now, v>>i&1 == 1)
			}
			if v == 0xfe {
				b.line.Reset(b.now)
			}
		}
		if got := b.pad(); CRC8(got[:]) != 0 || got[4]&0x9f != 0x1f {
			t.Errorf("scratchpad % x", got)
		}
	})
}
