package ds2482

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/onewire"
	"periph.io/x/conn/v3/physic"

	"trailmark/agent/internal/sensor"
)

// bridge does what the data sheet says, with chips on its line that can only be
// searched, and a byte to read. It belongs to the one goroutine that asks, and
// to the test in between.
type bridge struct {
	status, config, data byte
	pointer              byte
	until                time.Time // busy
	dead                 bool      // nobody on the line
	short                bool
	chips                []onewire.Address
	left                 []onewire.Address // of a search
	bit                  int
	written              []byte
	strong               bool // after the last byte
	spoil                func(b *bridge, w []byte)
	alter                func(r []byte)
	err                  error
	hang                 chan struct{}
}

func newBridge() *bridge {
	b := &bridge{}
	b.power()
	return b
}

func (b *bridge) power() {
	b.status, b.config, b.pointer, b.until = wasReset|level, 0, pointStatus, time.Time{}
}

func (b *bridge) String() string                  { return "wire" }
func (b *bridge) SetSpeed(physic.Frequency) error { return nil }

var errNACK = errors.New("NACK")

func (b *bridge) Tx(addr uint16, w, r []byte) error {
	if b.hang != nil {
		<-b.hang
	}
	if b.spoil != nil && len(w) > 0 {
		b.spoil(b, w)
	}
	if b.err != nil {
		return b.err
	}
	if addr != 0x18 {
		return errNACK
	}
	if len(w) > 0 && !b.take(w) {
		return errNACK
	}
	for i := range r {
		switch b.pointer {
		case pointStatus:
			r[i] = b.status
			if time.Now().Before(b.until) {
				r[i] |= busy
			}
		case pointConfig:
			r[i] = b.config
		case pointData:
			r[i] = b.data
		}
	}
	if b.alter != nil && len(r) > 0 {
		b.alter(r)
	}
	return nil
}

// take obeys a command; false is a refusal.
func (b *bridge) take(w []byte) bool {
	if w[0] != deviceReset && w[0] != setReadPointer && time.Now().Before(b.until) {
		return false
	}
	if w[0] != setReadPointer {
		b.pointer = pointStatus
	}
	work := func(d time.Duration) { b.until = time.Now().Add(d) }
	switch w[0] {
	case deviceReset:
		b.power()
	case setReadPointer:
		b.pointer = w[1]
	case writeConfig:
		if w[1]>>4 != ^w[1]&0x0f {
			return false
		}
		b.config, b.pointer = w[1]&0x0f, pointConfig
		b.status &^= wasReset
	case lineReset:
		work(1200 * time.Microsecond)
		b.written, b.bit, b.left = nil, 0, b.chips
		b.config &^= strongPull
		b.status &^= presence | shorted
		if b.short {
			b.status |= shorted
		} else if !b.dead {
			b.status |= presence
		}
	case lineWrite:
		work(600 * time.Microsecond)
		b.strong = b.config&strongPull != 0
		b.written = append(b.written, w[1])
	case lineRead:
		work(600 * time.Microsecond)
		b.data++
	case lineBit:
		work(70 * time.Microsecond)
		b.status = b.status&^firstBit | w[1]>>7*firstBit
	case lineTriplet:
		work(210 * time.Microsecond)
		b.triplet(w[1] >> 7)
	default:
		return false
	}
	return true
}

func (b *bridge) triplet(direction byte) {
	first, second := byte(1), byte(1) // wired AND
	for _, c := range b.left {
		v := byte(c>>b.bit) & 1
		first, second = first&v, second&(v^1)
	}
	taken := first
	if first == 0 && second == 0 {
		taken = direction
	}
	var stay []onewire.Address
	for _, c := range b.left {
		if byte(c>>b.bit)&1 == taken {
			stay = append(stay, c)
		}
	}
	b.left = stay
	b.bit++
	b.status = b.status&^(firstBit|secondBit|directed) | first*firstBit | second*secondBit | taken*directed
}

func open(t *testing.T, b *bridge) *Bus {
	t.Helper()
	bus, err := Open(t.Context(), b, 0x18)
	if err != nil {
		t.Fatal(err)
	}
	return bus
}

func good(t *testing.T, b *bridge, bus *Bus) {
	t.Helper()
	b.data = 0x40
	var r [3]byte
	if err := bus.Tx([]byte{0xcc, 0xbe}, r[:], onewire.WeakPullup); err != nil {
		t.Errorf("good line: %v", err)
	}
	if !bytes.Equal(b.written, []byte{0xcc, 0xbe}) || r != [3]byte{0x41, 0x42, 0x43} || b.config != activePull {
		t.Errorf("wrote % x, read % x", b.written, r)
	}
}

func TestTx(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBridge()
		bus := open(t, b)
		good(t, b, bus)
		if err := bus.Tx([]byte{0xcc, 0x44}, nil, onewire.StrongPullup); err != nil || !b.strong || b.config != activePull|strongPull {
			t.Errorf("strong pull-up: %v, %t, configuration %#02x", err, b.strong, b.config)
		}
		if v, err := bus.ReadBit(); v != 1 || err != nil {
			t.Errorf("bit %d, %v", v, err)
		}
		good(t, b, bus) // ends the strong pull-up
		if err := bus.Tx([]byte{0xcc}, make([]byte, 1), onewire.StrongPullup); err == nil {
			t.Error("a strong pull-up after reading is not refused")
		}
	})
}

func TestSearch(t *testing.T) {
	rom := func(v uint64) onewire.Address {
		var b [7]byte
		for i := range b {
			b[i] = byte(v >> (8 * i))
		}
		return onewire.Address(v | uint64(onewire.CalcCRC(b[:]))<<56)
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBridge()
		bus := open(t, b)
		for n := range 20 {
			if b.dead = n == 0; n > 0 {
				b.chips = append(b.chips, rom(uint64(n*n*0x10305)<<8|0x28))
			}
			found, err := bus.Search(false)
			var none onewire.NoDevicesError
			if n == 0 {
				if !errors.As(err, &none) || !none.NoDevices() || len(found) != 0 {
					t.Errorf("empty line: %d, %v", len(found), err)
				}
				continue
			}
			want := map[onewire.Address]bool{}
			for _, c := range b.chips {
				want[c] = true
			}
			for _, f := range found {
				delete(want, f)
			}
			if err != nil || len(found) != n || len(want) != 0 {
				t.Errorf("%d chips: found %x, %v", n, found, err)
			}
		}
		b.chips = []onewire.Address{rom(5<<8|0x28) ^ 1<<20}
		if found, err := bus.Search(false); err == nil || len(found) != 0 {
			t.Errorf("a number with a wrong CRC: %x, %v", found, err)
		}
		// The line is held low during the search, after the presence pulse: every
		// bit is both 0 and 1, and 64 zeros have a right CRC.
		b.alter = func(r []byte) {
			if b.pointer == pointStatus {
				r[0] &^= firstBit | secondBit | directed
			}
		}
		var low onewire.ShortedBusError
		if found, err := bus.Search(false); !errors.As(err, &low) || !low.IsShorted() || len(found) != 0 {
			t.Errorf("held low: %x, %v", found, err)
		}
		// More chips than a line can carry.
		b.alter, b.chips = nil, nil
		for i := range uint64(100) {
			b.chips = append(b.chips, rom(i<<8|0x28))
		}
		if found, err := bus.Search(false); err == nil || len(found) != maxSearch {
			t.Errorf("%d found, %v", len(found), err)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*bridge)
		want  string
	}{
		{"nobody", func(b *bridge) { b.err = errNACK }, "no answer"},
		{"held low", func(b *bridge) { b.alter = func(r []byte) { clear(r) } }, "status 0x00"},
		{"something else", func(b *bridge) { b.alter = func(r []byte) { r[0] = 0x60 } }, "not a DS2482"},
		{"configuration not taken", func(b *bridge) {
			b.alter = func(r []byte) {
				if b.pointer == pointConfig {
					r[0] = 8
				}
			}
		}, "configuration 0x08"},
		{"reset again", func(b *bridge) {
			b.spoil = func(b *bridge, w []byte) {
				if w[0] == setReadPointer {
					b.power()
				}
			}
		}, "was reset"},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBridge()
			c.spoil(b)
			if _, err := Open(t.Context(), b, 0x18); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
		})
	}
}

// before makes f happen before the first command of a kind.
func before(command byte, f func(*bridge)) func(*bridge, []byte) {
	done := false
	return func(b *bridge, w []byte) {
		if w[0] == command && !done {
			done = true
			f(b)
		}
	}
}

func TestBadWire(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*bridge)
		want  sensor.Fault
	}{
		{"unplugged", func(b *bridge) { b.err = errNACK }, sensor.FaultGone},
		{"unplugged in between", func(b *bridge) { b.spoil = before(lineRead, func(b *bridge) { b.err = errNACK }) }, sensor.FaultGone},
		{"brown-out before", func(b *bridge) { b.power() }, sensor.FaultPowerOn},
		{"brown-out before the reset pulse", func(b *bridge) { b.spoil = before(lineReset, (*bridge).power) }, sensor.FaultPowerOn},
		{"brown-out before a byte", func(b *bridge) { b.spoil = before(lineWrite, (*bridge).power) }, sensor.FaultPowerOn},
		{"brown-out before a byte read", func(b *bridge) { b.spoil = before(lineRead, (*bridge).power) }, sensor.FaultPowerOn},
		{"configuration changed", func(b *bridge) { b.config = 8 }, sensor.FaultConfig},
		{"held low", func(b *bridge) { b.alter = func(r []byte) { clear(r) } }, sensor.FaultAllZero},
		{"all ones", func(b *bridge) { b.alter = func(r []byte) { r[0] = 0xff } }, sensor.FaultAllOnes},
		{"all ones in between", func(b *bridge) {
			b.spoil = before(lineWrite, func(b *bridge) { b.alter = func(r []byte) { r[0] = 0xff } })
		}, sensor.FaultAllOnes},
		{"never idle", func(b *bridge) {
			b.alter = func(r []byte) {
				if b.pointer == pointStatus {
					r[0] |= busy
				}
			}
		}, sensor.FaultGone},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBridge()
			bus := open(t, b)
			good(t, b, bus)
			c.spoil(b)
			err := bus.Tx([]byte{0xcc, 0xbe}, make([]byte, 3), onewire.WeakPullup)
			if got := sensor.FaultOf(err); got != c.want {
				t.Errorf("%s: %v is fault %s, want %s", c.name, err, got, c.want)
			}
			if _, err := bus.ReadBit(); err == nil {
				t.Errorf("%s: a slot of a transaction that failed is not refused", c.name)
			}
			b.spoil, b.alter, b.err = nil, nil, nil
			good(t, b, bus)
		})
	}
}

func TestLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBridge()
		bus := open(t, b)
		b.short = true
		var short onewire.ShortedBusError
		if err := bus.Tx([]byte{0xcc}, nil, onewire.WeakPullup); !errors.As(err, &short) || !short.IsShorted() {
			t.Errorf("short: %v", err)
		}
		b.short, b.dead = false, true
		var none onewire.NoDevicesError
		if err := bus.Tx([]byte{0xcc}, nil, onewire.WeakPullup); !errors.As(err, &none) || !none.NoDevices() {
			t.Errorf("nobody: %v", err)
		}
		b.dead = false
		good(t, b, bus)
	})
}

func TestHungBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBridge()
		b.hang = make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Open(ctx, b, 0x18); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("open on a hung bus: %v", err)
		}
		close(b.hang)
		time.Sleep(time.Minute) // until it is done with itself
	})
}

// Whatever the bridge answers, a transaction ends, and it is an error unless
// every answer was one of a bridge in order.
func FuzzTx(f *testing.F) {
	f.Add([]byte{0x18, 0x01, 0x08, 0x01, 0x0a, 0x08, 0x08, 0x08, 0x55})
	f.Add([]byte{0x10, 0x01, 0x08, 0x01, 0x0c})
	f.Add([]byte{0x18, 0x01, 0x08, 0x01, 0x0b, 0x0a, 0x10})
	f.Fuzz(func(t *testing.T, answers []byte) {
		synctest.Test(t, func(t *testing.T) {
			w := &script{answers: answers}
			bus, err := Open(t.Context(), w, 0x18)
			if err != nil {
				return
			}
			if err := bus.Tx([]byte{0xcc}, make([]byte, 1), onewire.WeakPullup); err == nil && w.reset {
				t.Errorf("% x: nobody noticed a reset", answers)
			}
			if found, err := bus.Search(false); err == nil {
				for _, a := range found {
					if a == 0 {
						t.Errorf("% x: found %x", answers, found)
					}
				}
			}
		})
	})
}

// script answers with its bytes in turn, then 0xff.
type script struct {
	answers []byte
	pointer byte
	asked   int
	reset   bool // a status after Open said so
}

func (s *script) String() string                  { return "script" }
func (s *script) SetSpeed(physic.Frequency) error { return nil }

func (s *script) Tx(_ uint16, w, r []byte) error {
	if len(w) > 0 {
		switch s.pointer = pointStatus; w[0] {
		case setReadPointer:
			s.pointer = w[1]
		case writeConfig:
			s.pointer = pointConfig
		}
	}
	for i := range r {
		r[i] = 0xff
		if s.asked < len(s.answers) {
			r[i] = s.answers[s.asked]
		}
		s.asked++
		s.reset = s.reset || s.asked > 3 && s.pointer == pointStatus && r[i]&wasReset != 0
	}
	return nil
}
