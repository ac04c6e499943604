package sht4x

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/physic"

	"trailmark/agent/internal/sensor"
)

// answer puts two words on the wire.
func answer(first, second uint16) [6]byte {
	a := [6]byte{byte(first >> 8), byte(first), 0, byte(second >> 8), byte(second), 0}
	a[2], a[5] = crc(a[0], a[1]), crc(a[3], a[4])
	return a
}

func TestCRC(t *testing.T) {
	if got := crc(0xbe, 0xef); got != 0x92 { // the data sheet's example
		t.Errorf("%#02x, want 0x92", got)
	}
}

// Every tick has its own value: a block needs no raw bytes beside it.
func TestValuesGiveBackTicks(t *testing.T) {
	for name, f := range map[string]func(uint16) int64{"temp": celsius, "humidity": relative} {
		for ticks := 1; ticks < 1<<16; ticks++ {
			if a, b := f(uint16(ticks-1)), f(uint16(ticks)); a >= b {
				t.Fatalf("%s: ticks %d and %d give %d and %d", name, ticks-1, ticks, a, b)
			}
		}
	}
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer [6]byte
		milli  [channels]int64
		fault  sensor.Fault
	}{
		{"25 °C, 50 %RH", answer(0x6666, 0x72b0), [channels]int64{25_000, 50_000}, sensor.FaultNone},
		{"just under 0 °C", answer(16851, 0x4000), [channels]int64{-2, 25_250}, sensor.FaultNone},
		{"just over 0 °C", answer(16852, 0x4000), [channels]int64{0, 25_250}, sensor.FaultNone},
		{"condensing", answer(0x6666, 0xffff), [channels]int64{25_000, 119_000}, sensor.FaultNone},
		{"bone dry", answer(0x6666, 0x0000), [channels]int64{25_000, -6_000}, sensor.FaultNone},
		{"coldest", answer(1873, 0x4000), [channels]int64{-39_998, 25_250}, sensor.FaultNone},
		{"hottest", answer(63662, 0x4000), [channels]int64{124_998, 25_250}, sensor.FaultNone},
		{"too cold", answer(1872, 0x4000), [channels]int64{}, sensor.FaultRange},
		{"too hot", answer(63663, 0x4000), [channels]int64{}, sensor.FaultRange},
		{"held low", [6]byte{}, [channels]int64{}, sensor.FaultAllZero},
		{"nobody", [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, [channels]int64{}, sensor.FaultAllOnes},
		{"first word flipped", [6]byte{0x66, 0x67, 0x93, 0x72, 0xb0, 0}, [channels]int64{}, sensor.FaultCRC},
		{"second word held low", [6]byte{0xbe, 0xef, 0x92, 0, 0, 0}, [channels]int64{}, sensor.FaultCRC},
		{"second word not sent", [6]byte{0xbe, 0xef, 0x92, 0xff, 0xff, 0xff}, [channels]int64{}, sensor.FaultCRC},
		{"defect", answer(0x8000, 0x8000), [channels]int64{}, sensor.FaultFormat},
	} {
		if milli, fault := decode(c.answer); milli != c.milli || fault != c.fault {
			t.Errorf("%s: %d, %s; want %d, %s", c.name, milli, fault, c.milli, c.fault)
		}
	}
}

func FuzzDecode(f *testing.F) {
	good := answer(0x6666, 0x72b0)
	f.Add(good[:])
	f.Add(make([]byte, 6))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != 6 {
			return
		}
		milli, fault := decode([6]byte(b))
		if fault != sensor.FaultNone {
			if milli != [channels]int64{} {
				t.Errorf("%d with fault %s", milli, fault)
			}
			return
		}
		if milli[temp] < -40_000 || milli[temp] > 125_000 || milli[humidity] < -6_000 || milli[humidity] > 119_000 {
			t.Errorf("%d", milli)
		}
		if answer(uint16(b[0])<<8|uint16(b[1]), uint16(b[3])<<8|uint16(b[4])) != [6]byte(b) {
			t.Errorf("accepted % x", b)
		}
	})
}

// wire is a chip that does what the data sheet says, and what it is told. It
// belongs to the one goroutine that measures, and to the test in between.
type wire struct {
	serial, next [6]byte
	answer       [6]byte
	ready        time.Time // when answer is there; zero: nothing was asked
	slow         time.Duration
	spoil        func(w *wire, command byte) // before each command
	err          error
	hang         chan struct{}
}

func newWire() *wire { return &wire{serial: answer(0x1234, 0xabcd), next: answer(0x6666, 0x72b0)} }

func (w *wire) String() string                  { return "wire" }
func (w *wire) SetSpeed(physic.Frequency) error { return nil }

var errNACK = errors.New("NACK")

func (w *wire) Tx(addr uint16, out, in []byte) error {
	if w.hang != nil {
		<-w.hang
	}
	if w.spoil != nil && len(out) > 0 {
		w.spoil(w, out[0])
	}
	if w.err != nil {
		return w.err
	}
	if addr != 0x44 {
		return errNACK
	}
	if len(out) > 0 {
		switch out[0] {
		case 0xfd:
			w.answer, w.ready = w.next, time.Now().Add(8300*time.Microsecond+w.slow)
		case 0x89:
			w.answer, w.ready = w.serial, time.Now()
		case 0x94:
			w.ready = time.Time{}
		default:
			return errNACK
		}
		return nil
	}
	if w.ready.IsZero() || time.Now().Before(w.ready) {
		return errNACK
	}
	w.ready = time.Time{}
	copy(in, w.answer[:])
	return nil
}

func open(t *testing.T, w *wire) []sensor.Probe {
	t.Helper()
	probes, err := Open(t.Context(), w, 0x44)
	if err != nil {
		t.Fatal(err)
	}
	return probes
}

func good(t *testing.T, probes []sensor.Probe) {
	t.Helper()
	for i, want := range [channels]int64{25_000, 50_000} {
		if s := probes[i].Sample(t.Context()); s.Milli != want || s.Fault != sensor.FaultNone || len(s.Raw) != 6 || s.Column != nil || s.At.IsZero() {
			t.Errorf("%s: %+v, want %d", probes[i].Channel(), s, want)
		}
	}
}

func TestOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probes := open(t, newWire())
		for i, want := range []struct{ channel, unit string }{{"sht4x-1234abcd/temp", "Cel"}, {"sht4x-1234abcd/humidity", "%RH"}} {
			p := probes[i]
			if p.Channel() != want.channel || p.Unit() != want.unit || p.Serial() != "sht4x-1234abcd" || p.(sensor.Calibrated).Calibration() != [32]byte{} {
				t.Errorf("%s %s %s", p.Channel(), p.Unit(), p.Serial())
			}
		}
		good(t, probes)
	})
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*wire)
		want  string
	}{
		{"nobody", func(w *wire) { w.err = errNACK }, "no answer"},
		{"bad number", func(w *wire) { w.serial[2]++ }, "crc"},
		{"held low", func(w *wire) { w.serial = [6]byte{} }, "all-zero"},
		{"no number", func(w *wire) { w.serial = answer(0, 0) }, "no serial number"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWire()
			c.spoil(w)
			if _, err := Open(t.Context(), w, 0x44); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
		})
	}
}

func TestBadWire(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*wire)
		want  sensor.Fault
	}{
		{"unplugged", func(w *wire) { w.err = errNACK }, sensor.FaultGone},
		{"brown-out while it measures", func(w *wire) {
			w.slow = time.Hour // never asked, to the chip
		}, sensor.FaultPowerOn},
		{"unplugged after it measured", func(w *wire) {
			w.spoil = func(w *wire, command byte) {
				if command == 0x89 {
					w.err = errNACK
				}
			}
		}, sensor.FaultGone},
		{"held low", func(w *wire) { w.next = [6]byte{} }, sensor.FaultAllZero},
		{"all ones", func(w *wire) { w.next = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }, sensor.FaultAllOnes},
		{"flipped bit", func(w *wire) { w.next[4] ^= 8 }, sensor.FaultCRC},
		{"flipped bit of the number", func(w *wire) { w.serial[4] ^= 8 }, sensor.FaultCRC},
		{"too hot", func(w *wire) { w.next = answer(0xffff, 0x72b0) }, sensor.FaultRange},
		{"defect", func(w *wire) { w.next = answer(0x8000, 0x8000) }, sensor.FaultFormat},
		{"another chip", func(w *wire) { w.serial = answer(0x1234, 0xabce) }, sensor.FaultConfig},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWire()
			probes := open(t, w)
			good(t, probes)
			time.Sleep(time.Minute)
			c.spoil(w)
			for _, p := range probes {
				if s := p.Sample(t.Context()); s.Fault != c.want || s.Milli != 0 || s.At.IsZero() || s.Channel != p.Channel() {
					t.Errorf("%s: %s: %+v, want fault %s", c.name, p.Channel(), s, c.want)
				}
			}
			*w = *newWire()
			time.Sleep(time.Minute)
			good(t, probes)
		})
	}
}

// A chip that is a little slow is waited for; one that another took the place of
// is evidence.
func TestSlowAndOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		probes := open(t, w)
		w.slow = 3 * time.Millisecond
		good(t, probes)
		w.slow, w.serial = 0, answer(7, 7)
		for range 3 {
			if s := probes[temp].Sample(t.Context()); s.Fault != sensor.FaultConfig || !bytes.Equal(s.Raw, w.serial[:]) {
				t.Errorf("another chip: %+v", s)
			}
		}
	})
}

func TestHungBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		probes := open(t, w)
		w.hang = make(chan struct{})
		for _, p := range probes {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if s := p.Sample(ctx); s.Fault != sensor.FaultGone || s.Milli != 0 {
				t.Errorf("hung: %+v", s)
			}
			cancel()
		}
		close(w.hang)
		good(t, probes)
		w = newWire()
		w.hang = make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Open(ctx, w, 0x44); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("open on a hung bus: %v", err)
		}
		close(w.hang)
		time.Sleep(time.Minute) // until it is done with itself
	})
}
