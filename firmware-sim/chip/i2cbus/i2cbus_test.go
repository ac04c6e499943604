package i2cbus

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

var _ i2c.Bus = (*Bus)(nil)

// memory is a chip with 256 registers and a pointer, and refuses register 0xee.
type memory struct {
	reg  [256]byte
	next byte
	set  bool // the pointer was written in this message
	low  bool
	log  strings.Builder
}

func (m *memory) Start(read bool) bool {
	m.set = false
	fmt.Fprintf(&m.log, "S%t ", read)
	return true
}

func (m *memory) Write(b byte) bool {
	if !m.set {
		if b == 0xee {
			return false
		}
		m.next, m.set = b, true
		return true
	}
	m.reg[m.next] = b
	m.next++
	return true
}

func (m *memory) Read() byte {
	m.next++
	return m.reg[m.next-1]
}

func (m *memory) Stop()     { m.log.WriteString("P ") }
func (m *memory) Low() bool { return m.low }

// caller also listens to the general call.
type caller struct {
	memory
	got []byte
}

func (c *caller) Call(b byte) bool {
	c.got = append(c.got, b)
	return b == 6
}

func TestTransfer(t *testing.T) {
	bus := New("i2c-sim")
	m, other := &memory{}, &memory{}
	if err := errors.Join(bus.Attach(0x50, m), bus.Attach(0x51, other)); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []uint16{0, 0x50, 0x80} {
		if err := bus.Attach(bad, &memory{}); err == nil {
			t.Errorf("a chip at %#x", bad)
		}
	}
	var r [2]byte
	if err := bus.Tx(0x50, []byte{0x10, 1, 2, 3}, nil); err != nil {
		t.Fatal(err)
	}
	if err := bus.Tx(0x50, []byte{0x11}, r[:]); err != nil || r != [2]byte{2, 3} {
		t.Errorf("read %v, %v", r, err)
	}
	if got := m.log.String(); got != "Sfalse P Sfalse Strue P " {
		t.Errorf("on the wire: %s", got)
	}
	m.log.Reset()
	// Two chips in one transaction: the START for the second ends the first's part.
	err := bus.Transfer([]Msg{{Addr: 0x50, Data: []byte{0x12}}, {Addr: 0x51, Data: []byte{0}}, {Addr: 0x50, Read: true, Data: r[:1]}})
	if err != nil || r[0] != 3 || m.log.String() != "Sfalse P Strue P " || other.log.String() != "Sfalse P " {
		t.Errorf("%v, read %v, on the wire: %s, %s", err, r, m.log.String(), other.log.String())
	}
	// The address alone.
	if err := bus.Transfer([]Msg{{Addr: 0x51}}); err != nil {
		t.Error(err)
	}
	if err := bus.Tx(0x7e, nil, nil); err != nil {
		t.Errorf("nothing to send: %v", err)
	}
	if err := bus.SetSpeed(400 * physic.KiloHertz); err != nil || bus.SetSpeed(0) == nil || bus.String() != "i2c-sim" {
		t.Errorf("%v, %v", err, bus)
	}
}

func TestErrors(t *testing.T) {
	bus := New("i2c-sim")
	m := &memory{}
	if err := bus.Attach(0x50, m); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		msgs []Msg
		want NACK
	}{
		{[]Msg{{Addr: 0x20}}, NACK{0x20, 0, -1}},
		{[]Msg{{Addr: 0x50, Data: []byte{1}}, {Addr: 0x20, Read: true, Data: make([]byte, 1)}}, NACK{0x20, 1, -1}},
		{[]Msg{{Addr: 0x50, Data: []byte{0xee, 1}}}, NACK{0x50, 0, 0}},
		{[]Msg{{Addr: 0, Data: []byte{6}}}, NACK{0, 0, -1}}, // nobody listens to the general call
	} {
		var traced error
		bus.Trace(func(msgs []Msg, err error) { traced = err })
		err := bus.Transfer(c.msgs)
		var nack *NACK
		if !errors.As(err, &nack) || *nack != c.want || !errors.Is(err, ErrNACK) || traced != err {
			t.Errorf("%v: got %v, want %v, traced %v", c.msgs, err, &c.want, traced)
		}
	}
	if got := m.log.String(); got != "Sfalse P Sfalse P " {
		t.Errorf("a transaction without its STOP: %s", got)
	}
	if err := bus.Tx(0x90, []byte{1}, nil); err == nil || errors.Is(err, ErrNACK) {
		t.Errorf("an address of eight bits: %v", err)
	}
	m.low = true
	if err := bus.Tx(0x20, []byte{1}, nil); !errors.Is(err, ErrLow) {
		t.Errorf("a chip holds the line: %v", err)
	}
}

func TestGeneralCall(t *testing.T) {
	bus := New("i2c-sim")
	a, b := &caller{}, &caller{}
	if err := errors.Join(bus.Attach(1, a), bus.Attach(2, b), bus.Attach(3, &memory{})); err != nil {
		t.Fatal(err)
	}
	if err := bus.Tx(0, []byte{6}, nil); err != nil || !bytes.Equal(a.got, []byte{6}) || !bytes.Equal(b.got, a.got) {
		t.Errorf("%v, heard %v and %v", err, a.got, b.got)
	}
	if err := bus.Tx(0, []byte{4}, nil); !errors.Is(err, ErrNACK) {
		t.Error(err)
	}
	if err := bus.Tx(0, nil, make([]byte, 1)); !errors.Is(err, ErrNACK) {
		t.Error(err)
	}
}

func TestPace(t *testing.T) {
	bus := New("i2c-sim")
	if err := bus.Attach(0x50, &memory{}); err != nil {
		t.Fatal(err)
	}
	var waited time.Duration
	bus.Pace(func(d time.Duration) { waited += d })
	var r [2]byte
	if err := bus.Tx(0x50, []byte{0}, r[:]); err != nil || waited != 450*time.Microsecond {
		t.Errorf("five bytes at 100 kHz took %v, %v", waited, err)
	}
	waited = 0
	if err := errors.Join(bus.SetSpeed(400*physic.KiloHertz), bus.Tx(0x50, nil, r[:1])); err != nil || waited != 45*time.Microsecond {
		t.Errorf("two bytes at 400 kHz took %v, %v", waited, err)
	}
}

// A write and the read after it are one transaction: nobody comes between.
func TestConcurrentTransfers(t *testing.T) {
	bus := New("i2c-sim")
	m := &memory{}
	for i := range m.reg {
		m.reg[i] = byte(i)
	}
	if err := bus.Attach(0x50, m); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 200 {
				reg := byte(worker*31+i) & 0x7f
				var r [1]byte
				if err := bus.Tx(0x50, []byte{reg}, r[:]); err != nil || r[0] != reg {
					t.Errorf("register %d: %d, %v", reg, r[0], err)
				}
			}
		})
	}
	wg.Wait()
}
