package bme280

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"trailmark/agent/internal/sensor"
)

var _ i2c.Bus = (*wire)(nil)

// wire is a register file that measures what it is told to. It belongs to the
// one goroutine that measures, and to the test in between.
type wire struct {
	regs  [256]byte
	next  [8]byte                  // what a conversion gives
	polls int                      // readings during which it measures
	left  int                      // of them
	spoil func(w *wire, tx []byte) // before each transfer
	alter func(reg byte, r []byte) // each answer
	err   error
	hang  chan struct{}
}

func newWire() *wire {
	w := &wire{next: measured, polls: 3}
	w.trim(specimen)
	w.power()
	return w
}

func (w *wire) trim(t trimming) {
	copy(w.regs[0x88:], t[:24])
	w.regs[0xa1] = t[24]
	copy(w.regs[0xe1:], t[25:])
}

// power gives the registers their reset values.
func (w *wire) power() {
	w.regs[0xd0] = 0x60
	copy(w.regs[0xf2:], []byte{0, 0, 0, 0, 0, 0x80, 0, 0, 0x80, 0, 0, 0x80, 0})
	w.left = 0
}

func (w *wire) String() string                  { return "wire" }
func (w *wire) SetSpeed(physic.Frequency) error { return nil }

func (w *wire) Tx(addr uint16, out, in []byte) error {
	if w.hang != nil {
		<-w.hang
	}
	if w.spoil != nil {
		w.spoil(w, out)
	}
	if w.err != nil {
		return w.err
	}
	if addr != 0x76 {
		return errors.New("NACK")
	}
	if len(in) == 0 {
		for ; len(out) >= 2; out = out[2:] {
			w.write(out[0], out[1])
		}
		return nil
	}
	if out[0] == 0xf2 && w.left > 0 {
		if w.left--; w.left == 0 {
			w.regs[0xf3], w.regs[0xf4] = 0, w.regs[0xf4]&^3
			copy(w.regs[0xf7:], w.next[:])
		}
	}
	copy(in, w.regs[out[0]:])
	if w.alter != nil {
		w.alter(out[0], in)
	}
	return nil
}

func (w *wire) write(reg, v byte) {
	switch {
	case reg == 0xe0 && v == 0xb6:
		w.power()
		return
	case reg == 0xf4 && v&3 == 1:
		w.regs[0xf3], w.left = 8, w.polls
	}
	w.regs[reg] = v
}

func open(t *testing.T, w *wire) []sensor.Probe {
	t.Helper()
	probes, err := Open(t.Context(), w, 0x76)
	if err != nil {
		t.Fatal(err)
	}
	return probes
}

// good wants the specimen's values.
func good(t *testing.T, probes []sensor.Probe) {
	t.Helper()
	for i, want := range [channels]int64{temp: 23_720, humidity: 65_305, pressure: 100_942_695} {
		s := probes[i].Sample(t.Context())
		if s.Milli != want || s.Fault != sensor.FaultNone || s.Channel != probes[i].Channel() || s.At.IsZero() || len(s.Raw) != 13 {
			t.Errorf("%s: %+v, want %d", probes[i].Channel(), s, want)
		}
	}
}

func TestOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		probes := open(t, w)
		sum := sha256.Sum256(specimen[:])
		serial := fmt.Sprintf("bme280-%x", sum[:6])
		for i, want := range []struct{ channel, unit string }{{"temp", "Cel"}, {"humidity", "%RH"}, {"pressure", "Pa"}} {
			p := probes[i]
			if p.Channel() != serial+"/"+want.channel || p.Unit() != want.unit || p.Serial() != serial || p.(sensor.Calibrated).Calibration() != sum {
				t.Errorf("%s %s %s", p.Channel(), p.Unit(), p.Serial())
			}
		}
		good(t, probes)
		for i, want := range [][]byte{measured[3:6], measured[3:8], measured[:6]} {
			if s := probes[i].Sample(t.Context()); !bytes.Equal(s.Column, want) {
				t.Errorf("%s: column % x, want % x", s.Channel, s.Column, want)
			}
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*wire)
		want  string
	}{
		{"nobody", func(w *wire) { w.err = errors.New("NACK") }, "no answer"},
		{"a BMP280", func(w *wire) { w.regs[0xd0] = 0x58 }, "0x58, want 0x60"},
		{"held low", func(w *wire) { w.alter = fill(0) }, "0x00"},
		{"all ones", func(w *wire) { w.alter = fill(0xff) }, "0xff"},
		{"no trimming", func(w *wire) { w.trim(trimming{}) }, "0x00"},
		{"half a trimming", func(w *wire) { w.trim(trimming{1, 1}) }, "genuine"},
		{"trimming that differs", func(w *wire) {
			n := byte(0)
			w.alter = func(reg byte, r []byte) {
				if n++; reg == 0x88 {
					r[5] = n
				}
			}
		}, "differ"},
		{"configuration not taken", func(w *wire) {
			w.alter = func(reg byte, r []byte) {
				if reg == 0xf2 {
					r[0] = 5
				}
			}
		}, "control registers"},
		{"trimming never loaded", func(w *wire) {
			w.alter = func(reg byte, r []byte) {
				if reg == 0xf2 {
					r[1] |= 1
				}
			}
		}, "does not end"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWire()
			c.spoil(w)
			if _, err := Open(t.Context(), w, 0x76); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
		})
	}
}

func fill(v byte) func(byte, []byte) {
	return func(_ byte, r []byte) {
		for i := range r {
			r[i] = v
		}
	}
}

// once runs f before the n'th transfer.
func once(n int, f func(*wire)) func(*wire, []byte) {
	return func(w *wire, _ []byte) {
		if n--; n == 0 {
			f(w)
		}
	}
}

func TestBadWire(t *testing.T) {
	other := specimen
	other[0]++
	for _, c := range []struct {
		name  string
		spoil func(*wire)
		want  sensor.Fault
	}{
		{"unplugged", func(w *wire) { w.err = errors.New("NACK") }, sensor.FaultGone},
		{"unplugged while it measures", func(w *wire) { w.spoil = once(3, func(w *wire) { w.err = errors.New("NACK") }) }, sensor.FaultGone},
		{"held low", func(w *wire) { w.alter = fill(0) }, sensor.FaultAllZero},
		{"all ones", func(w *wire) { w.alter = fill(0xff) }, sensor.FaultAllOnes},
		{"brown-out before", func(w *wire) { w.power() }, sensor.FaultPowerOn},
		{"brown-out before Convert", func(w *wire) { w.spoil = once(2, (*wire).power) }, sensor.FaultConfig}, // ctrl_meas was written again
		{"brown-out while it measures", func(w *wire) { w.spoil = once(4, (*wire).power) }, sensor.FaultPowerOn},
		{"brown-out after it measured", func(w *wire) { w.spoil = once(6, (*wire).power) }, sensor.FaultPowerOn},
		{"brown-out between two readings", func(w *wire) { w.spoil = once(7, (*wire).power) }, sensor.FaultFormat},
		{"humidity switched off", func(w *wire) { w.regs[0xf2] = 0 }, sensor.FaultConfig},
		{"filter switched on", func(w *wire) { w.regs[0xf5] |= 4 << 2 }, sensor.FaultConfig},
		{"somebody else measures", func(w *wire) { w.regs[0xf4] |= 3 }, sensor.FaultConfig},
		{"trimming being loaded", func(w *wire) { w.regs[0xf3] |= 1 }, sensor.FaultConfig},
		{"measured nothing", func(w *wire) { w.next = data(0x80000, 0x80000, 0x8000) }, sensor.FaultPowerOn},
		{"too hot", func(w *wire) { w.next = data(0x4a52c, 0xf0000, 0x7a76) }, sensor.FaultRange},
		{"measures without an end", func(w *wire) { w.polls = 1 << 30 }, sensor.FaultGone},
		{"held low while it measures", func(w *wire) { w.spoil = once(3, func(w *wire) { w.alter = fill(0) }) }, sensor.FaultAllZero},
		{"lets go while it measures", func(w *wire) { w.spoil = once(3, func(w *wire) { w.alter = fill(0xff) }) }, sensor.FaultAllOnes},
		{"a flipped bit", func(w *wire) {
			w.spoil = once(7, func(w *wire) { w.alter = func(_ byte, r []byte) { r[8] ^= 1 } })
		}, sensor.FaultFormat},
		{"another chip", func(w *wire) { w.trim(other) }, sensor.FaultConfig},
		{"another chip, just powered", func(w *wire) { w.trim(other); w.power() }, sensor.FaultPowerOn},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWire()
			probes := open(t, w)
			good(t, probes)
			time.Sleep(time.Minute)
			c.spoil(w)
			for _, p := range probes {
				if s := p.Sample(t.Context()); s.Fault != c.want || s.Milli != 0 || s.Column != nil || s.At.IsZero() {
					t.Errorf("%s: %s: %+v, want fault %s", c.name, p.Channel(), s, c.want)
				}
			}
			// Whatever it was, the next measurement of a chip in order is good.
			w.spoil, w.alter, w.err, w.next, w.polls, w.left = nil, nil, nil, measured, 3, 0
			w.trim(specimen)
			time.Sleep(time.Minute)
			good(t, probes)
		})
	}
}

// Another chip in the place of the first never speaks under its name, however
// often it is asked; the first does when it is back.
func TestAnotherChip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		probes := open(t, w)
		other := specimen
		other[31]++
		w.trim(other)
		w.power()
		for i := range 5 {
			if s := probes[temp].Sample(t.Context()); i > 0 && (s.Fault != sensor.FaultConfig || !bytes.Equal(s.Raw, other[:])) || s.Milli != 0 {
				t.Errorf("another chip: %+v", s)
			}
		}
		w.trim(specimen)
		w.power()
		good(t, probes)
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
		if _, err := Open(ctx, w, 0x76); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("open on a hung bus: %v", err)
		}
		close(w.hang)
		time.Sleep(time.Minute) // until it is done with itself
	})
}
