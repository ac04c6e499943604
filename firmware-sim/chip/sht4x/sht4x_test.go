package sht4x

import (
	"errors"
	"math"
	"testing"
	"time"

	"trailmark/firmware-sim/chip"
	"trailmark/firmware-sim/chip/i2cbus"
)

var (
	_ i2cbus.Target = (*Chip)(nil)
	_ i2cbus.Holder = (*Chip)(nil)
	_ i2cbus.Caller = (*Chip)(nil)
)

type bench struct {
	*testing.T
	now               time.Time
	celsius, humidity float64
	chip              *Chip
	bus               *i2cbus.Bus
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, now: time.Unix(1_700_000_000, 0), celsius: 4.25, humidity: 60, bus: i2cbus.New("i2c-sim")}
	b.chip = New(Config{
		Serial: 0xdeadbeef, Clock: func() time.Time { return b.now },
		Celsius:  func(time.Time) float64 { return b.celsius },
		Humidity: func(time.Time) float64 { return b.humidity },
	})
	if err := b.bus.Attach(Addr, b.chip); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) send(w ...byte) {
	b.Helper()
	if err := b.bus.Tx(Addr, w, nil); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) wait(d time.Duration) { b.now = b.now.Add(d) }

// read returns the answer's words, whose checksums must be right.
func (b *bench) read() (first, second uint16) {
	b.Helper()
	var r [6]byte
	if err := b.bus.Tx(Addr, nil, r[:]); err != nil {
		b.Fatal(err)
	}
	if CRC8(r[:2]) != r[2] || CRC8(r[3:5]) != r[5] {
		b.Fatalf("checksums of % x", r)
	}
	return uint16(r[0])<<8 | uint16(r[1]), uint16(r[3])<<8 | uint16(r[4])
}

// values applies the conversion of the datasheet.
func (b *bench) values() (celsius, humidity float64) {
	b.Helper()
	t, rh := b.read()
	return -45 + 175*float64(t)/65535, -6 + 125*float64(rh)/65535
}

// refused wants the message not acknowledged, at its address (-1) or a byte.
func (b *bench) refused(at int, w, r []byte) {
	b.Helper()
	err := b.bus.Tx(Addr, w, r)
	var nack *i2cbus.NACK
	if !errors.As(err, &nack) || nack.Byte != at {
		b.Errorf("got %v, want a refusal at %d", err, at)
	}
}

func (b *bench) inject(f chip.Fault) {
	b.Helper()
	if err := b.chip.Inject(f); err != nil {
		b.Fatal(err)
	}
}

func TestCRC8(t *testing.T) {
	if got := CRC8([]byte{0xbe, 0xef}); got != 0x92 { // the example of the datasheet
		t.Errorf("%#02x, want 0x92", got)
	}
}

func TestMeasurementTakesItsTime(t *testing.T) {
	for command, takes := range map[byte]time.Duration{
		0xfd: 8300 * time.Microsecond, 0xf6: 4500 * time.Microsecond, 0xe0: 1600 * time.Microsecond,
	} {
		b := newBench(t)
		b.refused(-1, nil, make([]byte, 6)) // nothing was asked
		b.send(command)
		b.wait(takes - 1)
		b.refused(-1, nil, make([]byte, 6))
		b.refused(0, []byte{command}, nil) // works on
		b.wait(1)
		celsius, humidity := b.values()
		if math.Abs(celsius-4.25) > 0.0014 || math.Abs(humidity-60) > 0.001 {
			t.Errorf("%#02x: %g °C, %g %%RH", command, celsius, humidity)
		}
		b.refused(-1, nil, make([]byte, 6)) // an answer is given once
	}
}

func TestCommands(t *testing.T) {
	b := newBench(t)
	b.send(readSerial)
	b.wait(serialTime)
	if high, low := b.read(); high != 0xdead || low != 0xbeef {
		t.Errorf("serial %04x%04x", high, low)
	}
	b.refused(0, []byte{0x42}, nil)
	b.refused(1, []byte{measureLow, measureLow}, nil)
	b.wait(time.Second)
	b.send(measureHigh)
	b.send(softReset) // ends the measurement
	b.refused(-1, []byte{measureLow}, nil)
	b.wait(wakeTime)
	b.refused(-1, nil, make([]byte, 6))
	b.send(measureHigh)
	if err := b.bus.Tx(0, []byte{generalReset}, nil); err != nil {
		t.Errorf("general call: %v", err)
	}
	b.wait(time.Second)
	b.refused(-1, nil, make([]byte, 6))
	// Part of an answer, then more bytes than it has.
	b.send(measureLow)
	b.wait(time.Second)
	var r [8]byte
	if err := b.bus.Tx(Addr, nil, r[:]); err != nil || CRC8(r[:2]) != r[2] || r[6] != 0xff || r[7] != 0xff {
		t.Errorf("% x, %v", r, err)
	}
}

func TestHeater(t *testing.T) {
	b := newBench(t)
	for command, want := range map[byte]struct {
		celsius float64
		pulse   time.Duration
	}{
		0x39: {64.25, 1100 * time.Millisecond}, 0x32: {64.25, 110 * time.Millisecond},
		0x2f: {37.25, 1100 * time.Millisecond}, 0x24: {37.25, 110 * time.Millisecond},
		0x1e: {10.25, 1100 * time.Millisecond}, 0x15: {10.25, 110 * time.Millisecond},
	} {
		b.send(command)
		b.wait(want.pulse - 1)
		b.refused(-1, nil, make([]byte, 6))
		b.wait(1)
		celsius, humidity := b.values()
		if math.Abs(celsius-want.celsius) > 0.0014 || humidity >= 60 {
			t.Errorf("%#02x: %g °C, %g %%RH, want %g °C", command, celsius, humidity, want.celsius)
		}
	}
}

func TestSaturation(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		celsius, humidity float64
		t, rh             uint16
	}{{-300, -300, 0, 0}, {300, 300, 0xffff, 0xffff}, {-45, -6, 0, 0}, {130, 119, 0xffff, 0xffff}, {42.5, 56.5, 0x8000, 0x8000}} {
		b.celsius, b.humidity = c.celsius, c.humidity
		b.send(measureHigh)
		b.wait(measureHighTime)
		if temperature, rh := b.read(); temperature != c.t || rh != c.rh {
			t.Errorf("%g °C, %g %%RH: %#04x, %#04x, want %#04x, %#04x", c.celsius, c.humidity, temperature, rh, c.t, c.rh)
		}
	}
}

func TestFaults(t *testing.T) {
	b := newBench(t)
	b.inject(chip.Fault{Kind: chip.Corrupt, Count: 1})
	b.send(measureHigh)
	b.wait(measureHighTime)
	var r [6]byte
	if err := b.bus.Tx(Addr, nil, r[:]); err != nil || CRC8(r[:2]) == r[2] || CRC8(r[3:5]) != r[5] {
		t.Errorf("% x, %v, want the first checksum wrong", r, err)
	}
	b.send(measureHigh)
	b.wait(5 * time.Millisecond)
	b.inject(chip.Fault{Kind: chip.BrownOut}) // the measurement is forgotten
	b.wait(5 * time.Millisecond)
	b.refused(-1, nil, make([]byte, 6))
	b.inject(chip.Fault{Kind: chip.Drift, PerHour: -1})
	b.wait(2 * time.Hour)
	b.send(measureHigh)
	b.wait(measureHighTime)
	if celsius, humidity := b.values(); math.Abs(celsius-2.25) > 0.002 || math.Abs(humidity-60) > 0.001 {
		t.Errorf("drifted to %g °C, %g %%RH", celsius, humidity)
	}
	b.inject(chip.Fault{Kind: chip.Short})
	if err := b.bus.Tx(Addr, []byte{measureHigh}, nil); !errors.Is(err, i2cbus.ErrLow) {
		t.Errorf("short: %v", err)
	}
	b.inject(chip.Fault{Kind: chip.Gone})
	b.refused(-1, []byte{measureHigh}, nil)
	if err := b.bus.Tx(0, []byte{generalReset}, nil); !errors.Is(err, i2cbus.ErrNACK) {
		t.Errorf("gone: general call: %v", err)
	}
	if err := b.chip.Inject(chip.Fault{Kind: chip.Counterfeit}); err == nil {
		t.Error("a counterfeit SHT4x, of which nobody said what differs")
	}
}

func FuzzTransactions(f *testing.F) {
	f.Add([]byte{0xfd, 0x89, 0x94})
	f.Add([]byte{0x39, 0xff, 0x00, 0xe0})
	f.Fuzz(func(t *testing.T, w []byte) {
		b := newBench(t)
		for i, v := range w {
			_ = b.bus.Tx(Addr, w[i:min(i+1+int(v&1), len(w))], make([]byte, v>>4)) // a refusal is an answer too
			b.wait(time.Duration(v) * 100 * time.Microsecond)
		}
		b.wait(2 * time.Second)
		b.send(measureLow)
		b.wait(measureLowTime)
		b.read()
	})
}
