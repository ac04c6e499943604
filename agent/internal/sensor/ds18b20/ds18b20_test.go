package ds18b20

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/onewire"

	"trailmark/agent/internal/sensor"
)

// pad completes eight bytes with their CRC.
func pad(b ...byte) [9]byte {
	return [9]byte(append(slices.Clone(b), onewire.CalcCRC(b)))
}

func TestCheck(t *testing.T) {
	good := pad(0x72, 0x01, 0x07, 0xf8, 0x7f, 0xff, 0x0e, 0x10)
	flipped := good
	flipped[0] ^= 8
	for _, c := range []struct {
		name  string
		pad   [9]byte
		milli int64
		fault sensor.Fault
	}{
		{"good", good, 23_125, sensor.FaultNone},
		{"a true 85 °C", pad(0x50, 0x05, 0x07, 0xf8, 0x7f, 0xff, 0x10, 0x10), 85_000, sensor.FaultNone},
		{"held low", [9]byte{}, 0, sensor.FaultAllZero},
		{"nobody", [9]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0, sensor.FaultAllOnes},
		{"flipped bit", flipped, 0, sensor.FaultCRC},
		{"power-on", pad(0x50, 0x05, 0x4b, 0x46, 0x7f, 0xff, 0x0c, 0x10), 0, sensor.FaultPowerOn},
		{"power-on with 9 bits in the EEPROM", pad(0x50, 0x05, 0x4b, 0x46, 0x1f, 0xff, 0x0c, 0x10), 0, sensor.FaultPowerOn},
		{"power-on of a clone that looks converted", pad(0x50, 0x05, 0x4b, 0x46, 0x7f, 0xff, 0x10, 0x10), 0, sensor.FaultPowerOn},
		{"power-on, then somebody's conversion", pad(0x72, 0x01, 0x4b, 0x46, 0x7f, 0xff, 0x0e, 0x10), 0, sensor.FaultPowerOn},
		{"power-on state with the mark", pad(0x50, 0x05, 0x07, 0xf8, 0x7f, 0xff, 0x0c, 0x10), 0, sensor.FaultPowerOn},
		{"the mark before", pad(0x72, 0x01, 0x06, 0xf9, 0x7f, 0xff, 0x0e, 0x10), 0, sensor.FaultConfig},
		{"other resolution", pad(0x70, 0x01, 0x07, 0xf8, 0x3f, 0xff, 0x10, 0x10), 0, sensor.FaultConfig},
		{"resolution of no DS18B20", pad(0x70, 0x01, 0x07, 0xf8, 0x9f, 0xff, 0x10, 0x10), 0, sensor.FaultConfig},
		{"too hot", pad(0xd1, 0x07, 0x07, 0xf8, 0x7f, 0xff, 0x0f, 0x10), 0, sensor.FaultRange},
	} {
		if milli, fault := check(c.pad, 7); milli != c.milli || fault != c.fault {
			t.Errorf("%s: %d, %s; want %d, %s", c.name, milli, fault, c.milli, c.fault)
		}
	}
}

// Every register value has its own temperature: a block needs no raw bytes beside it.
func TestValuesGiveBackRaw(t *testing.T) {
	seen := map[int64]int{}
	for raw := range 1 << 16 {
		milli, fault := Decode(pad(byte(raw), byte(raw>>8), 0, 0xff, 0x7f, 0xff, 0x10, 0x10))
		if fault != sensor.FaultNone {
			continue
		}
		if other, ok := seen[milli]; ok {
			t.Fatalf("%#04x and %#04x both give %d", other, raw, milli)
		}
		seen[milli] = raw
	}
	if len(seen) != 180*16+1 { // -55 to 125 °C
		t.Errorf("%d values", len(seen))
	}
}

func FuzzCheck(f *testing.F) {
	for _, p := range [][9]byte{pad(0x72, 0x01, 0x07, 0xf8, 0x7f, 0xff, 0x0e, 0x10), {}, pad(0x50, 0x05, 0x4b, 0x46, 0x7f, 0xff, 0x0c, 0x10)} {
		f.Add(p[:], byte(7))
	}
	f.Fuzz(func(t *testing.T, b []byte, mark byte) {
		if len(b) != 9 {
			return
		}
		milli, fault := check([9]byte(b), mark)
		if fault != sensor.FaultNone {
			if milli != 0 {
				t.Errorf("%d with fault %s", milli, fault)
			}
			return
		}
		if milli < -55_000 || milli > 125_000 || !onewire.CheckCRC(b) || b[2] != mark || b[3] != ^mark {
			t.Errorf("%d from % x", milli, b)
		}
	})
}

// line is one chip that does what the data sheet says, and what it is told. It
// belongs to the one goroutine that measures, and to the test in between.
type line struct {
	rom      [8]byte
	regs     [8]byte // scratchpad without its CRC
	next     int16   // what a conversion gives, in 1/16 °C
	end      time.Time
	parasite bool
	searched []onewire.Address
	spoil    func(l *line, command byte) (deaf bool) // before each command
	alter    func(r []byte)                          // each scratchpad
	bit      func() byte                             // instead of a slot
	err      error
	hang     chan struct{}
}

const testROM = onewire.Address(0x0316a2795fff<<8 | Family)

func newLine() *line {
	l := &line{next: 0x0172, searched: []onewire.Address{testROM}}
	binary.LittleEndian.PutUint64(l.rom[:], uint64(testROM))
	l.power()
	return l
}

func (l *line) power() {
	l.regs = [8]byte{0x50, 0x05, 0x4b, 0x46, 0x7f, 0xff, 0x0c, 0x10}
	l.end = time.Time{}
}

func (l *line) settle() {
	if !l.end.IsZero() && !time.Now().Before(l.end) {
		l.end = time.Time{}
		binary.LittleEndian.PutUint16(l.regs[:], uint16(l.next))
		l.regs[6] = 0x10 - byte(l.next)&15
	}
}

func (l *line) String() string { return "line" }

func (l *line) Search(bool) ([]onewire.Address, error) {
	if l.hang != nil {
		<-l.hang
	}
	return l.searched, l.err
}

func (l *line) Tx(w, r []byte, power onewire.Pullup) error {
	if l.hang != nil {
		<-l.hang
	}
	for i := range r {
		r[i] = 0xff
	}
	deaf := l.spoil != nil && l.spoil(l, w[9])
	if l.err != nil {
		return l.err
	}
	l.settle()
	if l.parasite && !l.end.IsZero() {
		l.power() // nobody fed it to the end
	}
	if deaf || w[0] != 0x55 || [8]byte(w[1:9]) != l.rom {
		return nil
	}
	switch w[9] {
	case 0x4e:
		copy(l.regs[2:], w[10:13])
	case 0xb4:
		for i := range r {
			if l.parasite {
				r[i] = 0
			}
		}
	case 0x44:
		if l.parasite && power != onewire.StrongPullup {
			l.power()
			return nil
		}
		l.end = time.Now().Add(600 * time.Millisecond)
	case 0xbe:
		copy(r, l.regs[:])
		r[8] = onewire.CalcCRC(r[:8])
		if l.alter != nil {
			l.alter(r)
		}
	}
	return nil
}

func (l *line) ReadBit() (byte, error) {
	if l.bit != nil {
		return l.bit(), l.err
	}
	l.settle()
	if l.end.IsZero() {
		return 1, l.err
	}
	return 0, l.err
}

func open(t *testing.T, l *line) sensor.Probe {
	t.Helper()
	probes, err := Open(t.Context(), l)
	if err != nil || len(probes) != 1 {
		t.Fatalf("%d probes, %v", len(probes), err)
	}
	return probes[0]
}

func good(t *testing.T, p sensor.Probe) {
	t.Helper()
	if s := p.Sample(t.Context()); s.Milli != 23_125 || s.Fault != sensor.FaultNone || len(s.Raw) != 9 || s.Column != nil || s.At.IsZero() || s.Channel != p.Channel() {
		t.Errorf("%+v, want 23125", s)
	}
}

type absent string

func (e absent) Error() string   { return string(e) }
func (e absent) NoDevices() bool { return true }

type short string

func (e short) Error() string   { return string(e) }
func (e short) IsShorted() bool { return true }

func TestOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine()
		l.searched = []onewire.Address{0x000abcde<<8 | Family, 7<<8 | 0x10, testROM, 0xbb<<56 | 5<<8 | Family}
		probes, err := Open(t.Context(), l)
		if err != nil || len(probes) != 3 {
			t.Fatalf("%d probes, %v", len(probes), err)
		}
		for i, want := range []string{"28-000000000005", "28-0000000abcde", "28-0316a2795fff"} {
			if p := probes[i]; p.Channel() != want+"/temp" || p.Serial() != want || p.Unit() != "Cel" {
				t.Errorf("%s %s %s, want %s", p.Channel(), p.Serial(), p.Unit(), want)
			}
		}
		l.searched, l.err = nil, fmt.Errorf("line: %w", absent("nobody"))
		if probes, err := Open(t.Context(), l); len(probes) != 0 || err != nil {
			t.Errorf("empty line: %d probes, %v", len(probes), err)
		}
		l.err = short("held low")
		if _, err := Open(t.Context(), l); !errors.Is(err, l.err) {
			t.Errorf("short: %v", err)
		}
	})
}

// at makes f happen before the first command of a kind.
func at(command byte, f func(*line)) func(*line, byte) bool {
	return func(l *line, got byte) bool {
		if got == command {
			f(l)
		}
		return false
	}
}

func deaf(command byte) func(*line, byte) bool {
	return func(_ *line, got byte) bool { return got == command }
}

func TestBadWire(t *testing.T) {
	for _, parasite := range []bool{false, true} {
		for _, c := range []struct {
			name  string
			spoil func(*line)
			want  sensor.Fault
		}{
			{"unplugged", func(l *line) { l.err = absent("nobody") }, sensor.FaultGone},
			{"bridge lost", func(l *line) { l.err = errors.New("NACK") }, sensor.FaultGone},
			{"bridge reset", func(l *line) { l.err = &sensor.Error{Fault: sensor.FaultPowerOn, Text: "reset"} }, sensor.FaultPowerOn},
			{"short", func(l *line) { l.err = fmt.Errorf("line: %w", short("held low")) }, sensor.FaultAllZero},
			{"short while it converts", func(l *line) {
				l.bit = func() byte { return 0 }
				l.spoil = at(0xbe, func(l *line) { l.err = short("held low") })
			}, sensor.FaultAllZero},
			{"others are there, this one not", func(l *line) { l.rom[3]++ }, sensor.FaultAllOnes},
			{"held low while it answers", func(l *line) { l.alter = func(r []byte) { clear(r) } }, sensor.FaultAllZero},
			{"flipped bit", func(l *line) { l.alter = func(r []byte) { r[1] ^= 4 } }, sensor.FaultCRC},
			{"brown-out before Convert T", func(l *line) { l.spoil = at(0x44, (*line).power) }, sensor.FaultPowerOn},
			{"brown-out before the answer", func(l *line) { l.spoil = at(0xbe, (*line).power) }, sensor.FaultPowerOn},
			{"did not hear the mark", func(l *line) { l.spoil = deaf(0x4e) }, sensor.FaultConfig},
			{"does not take 12 bits", func(l *line) { l.spoil = at(0xbe, func(l *line) { l.regs[4] = 0x1f }) }, sensor.FaultConfig},
			{"never ready", func(l *line) { l.bit = func() byte { return 0 } }, sensor.FaultGone},
		} {
			synctest.Test(t, func(t *testing.T) {
				l := newLine()
				l.parasite = parasite
				p := open(t, l)
				good(t, p)
				c.spoil(l)
				if s := p.Sample(t.Context()); s.Fault != c.want || s.Milli != 0 || s.At.IsZero() {
					t.Errorf("%s, parasite %t: %+v, want fault %s", c.name, parasite, s, c.want)
				}
				l.spoil, l.alter, l.bit, l.err, l.rom = nil, nil, nil, nil, newLine().rom
				good(t, p)
			})
		}
	}
}

// A chip that did not hear Convert T holds the value of before, well-formed.
func TestOldValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine()
		p := open(t, l)
		good(t, p)
		l.next, l.spoil = 0x0550, deaf(0x44)
		if s := p.Sample(t.Context()); s.Fault != sensor.FaultGone || s.Milli != 0 || len(s.Raw) != 9 {
			t.Errorf("%+v, want fault gone", s)
		}
		l.spoil = nil
		if s := p.Sample(t.Context()); s.Fault != sensor.FaultNone || s.Milli != 85_000 {
			t.Errorf("%+v, want a true 85 °C", s)
		}
	})
}

func TestHungBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine()
		p := open(t, l)
		l.hang = make(chan struct{})
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if s := p.Sample(ctx); s.Fault != sensor.FaultGone || s.Milli != 0 {
				t.Errorf("hung: %+v", s)
			}
			cancel()
		}
		close(l.hang)
		good(t, p)
		l.hang = make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Open(ctx, l); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("open on a hung bus: %v", err)
		}
		close(l.hang)
	})
}
