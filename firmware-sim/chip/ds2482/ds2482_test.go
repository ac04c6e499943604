package ds2482

import (
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/onewire"
	"periph.io/x/conn/v3/physic"
	stockprobe "periph.io/x/devices/v3/ds18b20"
	stock "periph.io/x/devices/v3/ds248x"

	"trailmark/firmware-sim/chip"
	"trailmark/firmware-sim/chip/ds18b20"
	"trailmark/firmware-sim/chip/i2cbus"
	"trailmark/firmware-sim/chip/w1bus"
)

var (
	_ i2cbus.Target = (*Bridge)(nil)
	_ i2cbus.Holder = (*Bridge)(nil)
)

// bench is a bridge on an I2C bus, its 1-Wire line, and a clock turned by hand.
type bench struct {
	*testing.T
	now  time.Time
	line *w1bus.Bus
	bus  *i2cbus.Bus
	chip *Bridge
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, now: time.Unix(1_700_000_000, 0), bus: i2cbus.New("i2c-sim")}
	b.line = w1bus.New(b.clock)
	b.chip = New(b.clock, b.line)
	if err := b.bus.Attach(Addr, b.chip); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) clock() time.Time { return b.now }

func (b *bench) thermometer(celsius float64, parasite bool) *ds18b20.Chip {
	c := ds18b20.New(ds18b20.Config{Serial: 1, Parasite: parasite, Clock: b.clock, Celsius: func(time.Time) float64 { return celsius }})
	b.line.Attach(c)
	return c
}

func (b *bench) send(w ...byte) {
	b.Helper()
	if err := b.bus.Tx(Addr, w, nil); err != nil {
		b.Fatalf("% x: %v", w, err)
	}
}

// refused wants byte i of w not acknowledged.
func (b *bench) refused(i int, w ...byte) {
	b.Helper()
	err := b.bus.Tx(Addr, w, nil)
	var nack *i2cbus.NACK
	if !errors.As(err, &nack) || nack.Byte != i {
		b.Errorf("% x: got %v, want byte %d refused", w, err, i)
	}
}

func (b *bench) reads(want byte, w ...byte) {
	b.Helper()
	var r [1]byte
	if err := b.bus.Tx(Addr, w, r[:]); err != nil || r[0] != want {
		b.Errorf("% x: read %#02x, %v, want %#02x", w, r[0], err, want)
	}
}

func (b *bench) wait(d time.Duration) { b.now = b.now.Add(d) }

func TestRegisters(t *testing.T) {
	b := newBench(t)
	b.reads(wasReset | level) // after power-on the pointer is at the status
	b.reads(0, setReadPointer, configRegister)
	b.reads(0x01, writeConfig, 0xe1)
	b.reads(level, setReadPointer, statusRegister) // RST is cleared
	b.reads(0x09, writeConfig, 0x69)
	b.refused(1, writeConfig, 0xe9) // the nibbles are not complements
	b.reads(0x09, setReadPointer, configRegister)
	b.refused(1, setReadPointer, 0xd2) // the channel register is the DS2482-800's
	b.refused(1, setReadPointer, 0xb4) // the port register is the DS2483's
	b.reads(0x09)                      // the pointer has stayed
	b.refused(0, 0xc3)
	b.refused(1, deviceReset, 0)
	b.refused(2, writeConfig, 0xe1, 0)
	b.reads(0x01, setReadPointer, configRegister) // it was valid up to there
	b.reads(wasReset|level, deviceReset)
	b.reads(0, setReadPointer, configRegister)
}

func TestBusy(t *testing.T) {
	b := newBench(t)
	b.thermometer(4.25, false)
	b.send(writeConfig, 0xe1)
	b.send(wireReset)
	b.wait(resetTime - 1)
	b.reads(busy | level) // nothing of the result shows
	for _, w := range [][]byte{{wireReset}, {wireRead}, {wireBit, 0x80}, {wireWrite, 1}, {wireTriplet, 0}, {writeConfig, 0xe1}} {
		b.refused(0, w...)
	}
	b.reads(0x01, setReadPointer, configRegister)
	b.send(setReadPointer, statusRegister)
	b.wait(1)
	b.reads(level | presence)
	for i, v := range []byte{0xcc, 0xbe} {
		b.send(wireWrite, v)
		b.wait(8*slotTime - 1)
		b.reads(busy | level | presence)
		b.wait(1)
		b.reads(level | presence)
		if i == 0 {
			continue
		}
		b.send(wireRead)
		b.wait(8 * slotTime)
		b.reads(0x50, setReadPointer, dataRegister) // 85 °C: nothing was converted
		b.reads(0x50)
	}
	// Device Reset ends a command in progress.
	b.send(wireReset)
	b.reads(wasReset|level, deviceReset)
}

func TestOneWireFaults(t *testing.T) {
	b := newBench(t)
	b.send(writeConfig, 0xe1)
	reset := func(want byte) {
		t.Helper()
		b.send(wireReset)
		b.wait(resetTime)
		b.reads(want)
	}
	reset(level) // nobody there
	probe := b.thermometer(4.25, false)
	reset(level | presence)
	for _, c := range []struct {
		on     interface{ Inject(chip.Fault) error }
		fault  chip.Kind
		status byte
		data   byte
	}{
		{b.line, chip.Short, shorted, 0},
		{b.line, chip.Gone, level, 0xff},
		{probe, chip.Short, shorted, 0},
		{probe, chip.Gone, level, 0xff},
	} {
		if err := c.on.Inject(chip.Fault{Kind: c.fault}); err != nil {
			t.Fatal(err)
		}
		reset(c.status)
		b.send(wireRead)
		b.wait(8 * slotTime)
		b.reads(c.data, setReadPointer, dataRegister)
		if err := c.on.Inject(chip.Fault{}); err != nil {
			t.Fatal(err)
		}
		reset(level | presence)
	}
	// A DS18B20 does not know overdrive: it neither shows up nor answers.
	b.send(writeConfig, 0x69)
	b.send(wireReset)
	b.wait(overdriveResetTime)
	b.reads(level)
	b.send(wireTriplet, 0)
	b.wait(3 * overdriveSlotTime)
	b.reads(level | bitResult | tripleBit | direction)
}

func TestTriplet(t *testing.T) {
	b := newBench(t)
	b.send(writeConfig, 0xe1)
	for _, serial := range []uint64{1, 2} { // family 28: 0 0 0 1 ..., then they differ
		b.line.Attach(ds18b20.New(ds18b20.Config{Serial: serial, Clock: b.clock, Celsius: func(time.Time) float64 { return 0 }}))
	}
	search := func(up byte) {
		b.send(wireReset)
		b.wait(resetTime)
		b.send(wireWrite, 0xf0)
		b.wait(8 * slotTime)
		for i, want := range []byte{0, 0, 0, 1, 0, 1, 0, 0} {
			b.send(wireTriplet, up)
			b.wait(3*slotTime - 1)
			var r [1]byte
			if err := b.bus.Tx(Addr, nil, r[:]); err != nil || r[0]&busy == 0 {
				t.Errorf("bit %d: %#02x, %v", i, r[0], err)
			}
			b.wait(1)
			if want == 1 {
				b.reads(level | presence | bitResult | direction)
			} else {
				b.reads(level | presence | tripleBit)
			}
		}
		b.send(wireTriplet, up)
		b.wait(3 * slotTime)
	}
	search(0)
	b.reads(level | presence) // both are there, zero is taken: the chip with serial 2
	b.send(wireTriplet, 0)
	b.wait(3 * slotTime)
	b.reads(level | presence | bitResult | direction)
	search(0x80)
	b.reads(level | presence | direction) // one is taken: serial 1
	b.send(wireTriplet, 0)
	b.wait(3 * slotTime)
	b.reads(level | presence | tripleBit)
}

func TestStrongPullup(t *testing.T) {
	for _, c := range []struct {
		name   string
		config byte // before Convert T
		cut    []byte
		want   byte // first byte of the scratchpad
	}{
		{"weak", 0xe1, nil, 0x50},
		{"strong", 0xa5, nil, 0x44},
		{"strong, switched off early", 0xa5, []byte{writeConfig, 0xe1}, 0x50},
		{"strong, kept by a new configuration", 0xa5, []byte{writeConfig, 0xa5}, 0x44},
		{"strong, ended by traffic", 0xa5, []byte{wireBit, 0x80}, 0x50},
		{"strong, ended by a device reset", 0xa5, []byte{deviceReset}, 0x50},
	} {
		b := newBench(t)
		b.thermometer(4.25, true)
		b.send(writeConfig, 0xe1)
		b.send(wireReset)
		b.wait(resetTime)
		b.send(wireWrite, 0xcc)
		b.wait(8 * slotTime)
		b.send(writeConfig, c.config)
		b.send(wireWrite, 0x44)
		b.wait(8 * slotTime)
		b.wait(700 * time.Millisecond)
		if c.cut != nil {
			b.send(c.cut...)
		}
		b.wait(50 * time.Millisecond)
		b.send(wireReset)
		b.wait(resetTime)
		for _, v := range []byte{0xcc, 0xbe} {
			b.send(wireWrite, v)
			b.wait(8 * slotTime)
		}
		b.send(wireRead)
		b.wait(8 * slotTime)
		b.reads(c.want, setReadPointer, dataRegister)
		var r [1]byte
		if err := b.bus.Tx(Addr, []byte{setReadPointer, configRegister}, r[:]); err != nil || r[0]&strongPullup != 0 {
			t.Errorf("%s: configuration %#02x after the pull-up ended, %v", c.name, r[0], err)
		}
	}
}

func TestFaults(t *testing.T) {
	b := newBench(t)
	b.send(writeConfig, 0xe1)
	inject := func(f chip.Fault) {
		t.Helper()
		if err := b.chip.Inject(f); err != nil {
			t.Fatal(err)
		}
	}
	b.reads(level, setReadPointer, statusRegister)
	inject(chip.Fault{Kind: chip.BrownOut})
	b.reads(level | wasReset) // the one sign of it
	b.reads(0, setReadPointer, configRegister)
	inject(chip.Fault{Kind: chip.Corrupt, Count: 1})
	b.reads(0x10)
	b.reads(0)
	inject(chip.Fault{Kind: chip.Short})
	if err := b.bus.Tx(Addr, nil, make([]byte, 1)); !errors.Is(err, i2cbus.ErrLow) {
		t.Errorf("short: %v", err)
	}
	inject(chip.Fault{Kind: chip.Gone})
	if err := b.bus.Tx(Addr, nil, make([]byte, 1)); !errors.Is(err, i2cbus.ErrNACK) {
		t.Errorf("gone: %v", err)
	}
	inject(chip.Fault{})
	b.reads(0)
	if err := b.chip.Inject(chip.Fault{Kind: chip.Drift, PerHour: 1}); err == nil || !strings.Contains(err.Error(), `no fault "drift=1"`) {
		t.Errorf("a bridge that drifts: %v", err)
	}
}

// Masters that others wrote and used for years: search and measure through them.
func TestStockDrivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := w1bus.New(nil)
		want := map[byte]float64{}
		for i, celsius := range []float64{-18.3125, 4.25, 85.0625} {
			serial := byte(i + 1)
			want[serial] = celsius
			line.Attach(ds18b20.New(ds18b20.Config{Serial: uint64(serial), Parasite: i == 1, Celsius: func(time.Time) float64 { return celsius }}))
		}
		bus := i2cbus.New("i2c-sim")
		bus.Pace(time.Sleep)
		bridge := New(nil, line)
		if err := bus.Attach(Addr, bridge); err != nil {
			t.Fatal(err)
		}
		master, err := stock.New(bus, Addr, &stock.DefaultOpts)
		if err != nil {
			t.Fatal(err)
		}
		if s := master.String(); s != "DS2482-100{i2c-sim(24)}" {
			t.Errorf("taken for a %s", s)
		}
		found, err := master.Search(false)
		if err != nil || len(found) != 3 {
			t.Fatalf("%x, %v", found, err)
		}
		for _, a := range found {
			d, err := stockprobe.New(master, a, 12)
			if err != nil {
				t.Fatal(err)
			}
			var e physic.Env
			if err := d.Sense(&e); err != nil {
				t.Fatal(err)
			}
			if got, w := e.Temperature.Celsius(), want[byte(a>>8)]; math.Abs(got-w) > 1e-6 {
				t.Errorf("%016x: %g °C, want %g", a, got, w)
			}
		}
		if err := line.Inject(chip.Fault{Kind: chip.Short}); err != nil {
			t.Fatal(err)
		}
		var low onewire.ShortedBusError
		if err := master.Tx([]byte{0xcc}, nil, onewire.WeakPullup); !errors.As(err, &low) {
			t.Errorf("short: %v", err)
		}
	})
}

// Why the agent has a driver of its own: the stock one measures on through a
// bridge that lost power and its configuration with it, and looks at no bit that
// says so.
func TestStockDriverMissesABrownOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := w1bus.New(nil)
		line.Attach(ds18b20.New(ds18b20.Config{Serial: 1, Celsius: func(time.Time) float64 { return 4 }}))
		bus := i2cbus.New("i2c-sim")
		bus.Pace(time.Sleep)
		bridge := New(nil, line)
		if err := bus.Attach(Addr, bridge); err != nil {
			t.Fatal(err)
		}
		master, err := stock.New(bus, Addr, &stock.DefaultOpts)
		if err != nil {
			t.Fatal(err)
		}
		if err := bridge.Inject(chip.Fault{Kind: chip.BrownOut}); err != nil {
			t.Fatal(err)
		}
		var r [9]byte
		err = master.Tx([]byte{0xcc, 0xbe}, r[:], onewire.WeakPullup)
		if err != nil || ds18b20.Scratchpad(r) != ds18b20.PoweredOn() {
			t.Errorf("% x, %v", r, err)
		}
		var config [1]byte
		if err := bus.Tx(Addr, []byte{setReadPointer, configRegister}, config[:]); err != nil || config[0] != 0 {
			t.Errorf("configuration %#02x, %v: somebody set it again", config[0], err)
		}
	})
}

// Faults come while masters talk: for the race detector, and for locks taken in
// different orders. Whatever happened, a bus without faults is a good one.
func TestFaultsWhileRunning(t *testing.T) {
	line := w1bus.New(nil)
	probe := ds18b20.New(ds18b20.Config{Serial: 1, Celsius: func(time.Time) float64 { return 4 }})
	line.Attach(probe)
	bus := i2cbus.New("i2c-sim")
	bridge := New(nil, line)
	if err := bus.Attach(Addr, bridge); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, part := range []interface{ Inject(chip.Fault) error }{line, probe, bridge} {
		wg.Go(func() {
			for range 300 {
				for _, k := range []chip.Kind{chip.Short, chip.None, chip.Gone, chip.None} {
					if err := part.Inject(chip.Fault{Kind: k}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Go(func() {
		for range 300 {
			for _, w := range [][]byte{{deviceReset}, {writeConfig, 0xe1}, {wireReset}, {wireWrite, 0xcc}, {wireTriplet, 0}} {
				_ = bus.Tx(Addr, w, make([]byte, 1)) // refused while a fault is on
			}
		}
	})
	wg.Wait()
	var r [9]byte
	if err := bus.Tx(Addr, []byte{deviceReset}, r[:1]); err != nil || r[0] != wasReset|level {
		t.Errorf("status %#02x, %v", r[0], err)
	}
	err := line.Tx([]byte{0xcc, 0xbe}, r[:], onewire.WeakPullup)
	if err != nil || ds18b20.Scratchpad(r) != ds18b20.PoweredOn() {
		t.Errorf("% x, %v", r, err)
	}
}

func FuzzTransactions(f *testing.F) {
	f.Add([]byte{0xd2, 0xe1, 0xb4, 0xa5, 0xcc})
	f.Add([]byte{0xe1, 0xc3, 0x78, 0x80, 0x96})
	f.Fuzz(func(t *testing.T, w []byte) {
		b := newBench(t)
		b.thermometer(4, len(w)%2 == 1)
		for len(w) > 0 {
			n := min(1+int(w[0]&3), len(w))
			_ = b.bus.Tx(Addr, w[:n], make([]byte, w[0]>>6)) // a refusal is an answer too
			b.wait(time.Duration(w[0]) * 10 * time.Microsecond)
			w = w[n:]
		}
		b.reads(wasReset|level, deviceReset)
	})
}
