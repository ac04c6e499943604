// Package i2cbus is an I2C bus with chip models on it, as the wire shows them:
// START, address, bytes with an acknowledge each, repeated START, STOP.
//
// A transfer is a list of messages, which is what the ioctl I2C_RDWR of the Linux
// kernel carries and what its SMBus calls come down to; Tx is the i2c.Bus of
// periph on the same wire. A transfer takes no time unless Pace says how to wait.
package i2cbus

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"periph.io/x/conn/v3/physic"
)

// A Target is one chip at its address. The bus calls it with one transaction at
// a time: Start, then Write or Read for each byte, Start again for a repeated
// START, and Stop after the last.
type Target interface {
	// Start is a START with the chip's address; false leaves it unacknowledged.
	Start(read bool) (ack bool)
	// Write takes a byte, of which false is a refusal; the master then stops.
	Write(b byte) (ack bool)
	// Read gives the next byte. The chip has acknowledged a Start to read.
	Read() byte
	Stop()
}

// A Holder is a Target that may hold the data line to ground.
type Holder interface {
	Low() bool // while true, no transfer on the bus is possible
}

// A Caller is a Target that listens to the general call, address 0 (UM10204,
// section 3.1.12).
type Caller interface {
	Call(b byte) (ack bool)
}

var (
	// ErrNACK is in the chain of an error of a byte that nobody acknowledged.
	ErrNACK = errors.New("not acknowledged")
	// ErrLow is a data line that something holds to ground.
	ErrLow = errors.New("data line held low")
)

// A NACK says which byte was not acknowledged.
type NACK struct {
	Addr    uint16
	Message int // index in the transfer
	Byte    int // index in the message, -1 for the address
}

func (e *NACK) Error() string {
	if e.Byte < 0 {
		return fmt.Sprintf("i2c address %#02x of message %d: %v", e.Addr, e.Message, ErrNACK)
	}
	return fmt.Sprintf("i2c %#02x: byte %d of message %d: %v", e.Addr, e.Byte, e.Message, ErrNACK)
}

// Unwrap returns ErrNACK.
func (e *NACK) Unwrap() error { return ErrNACK }

// A Msg is one message: an address, a direction, and bytes to send or to fill.
type Msg struct {
	Addr uint16 // 7 bits
	Read bool
	Data []byte // none: the address alone, as a scan does
}

// MaxAddr is the highest 7 bit address.
const MaxAddr = 0x7f

// A Bus is the wire. It is safe for concurrent use: a transfer is not
// interrupted by another. It is a periph i2c.Bus.
type Bus struct {
	name string

	mu      sync.Mutex // held from START to STOP
	targets [MaxAddr + 1]Target
	order   []Target // in the order of Attach, for what reaches all of them
	trace   func([]Msg, error)
	sleep   func(time.Duration)
	speed   physic.Frequency
}

// New returns a bus without a chip on it.
func New(name string) *Bus { return &Bus{name: name, speed: 100 * physic.KiloHertz} }

// Attach puts a chip on the bus at a free address from 1 to MaxAddr.
func (b *Bus) Attach(addr uint16, t Target) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if addr == 0 || addr > MaxAddr {
		return fmt.Errorf("%s: no chip can have the i2c address %#02x", b.name, addr)
	}
	if b.targets[addr] != nil {
		return fmt.Errorf("%s: a second chip at %#02x", b.name, addr)
	}
	b.targets[addr] = t
	b.order = append(b.order, t)
	return nil
}

// Trace makes the bus report every transfer after its end, with the bytes read.
// f is called while the bus is held: it must not use the bus, nor keep the bytes.
func (b *Bus) Trace(f func(msgs []Msg, err error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trace = f
}

// Pace makes every transfer wait, before it starts, for as long as its bytes take
// on a wire at the speed set: on a simulated clock a driver that polls without a
// pause would otherwise poll for ever.
func (b *Bus) Pace(sleep func(time.Duration)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sleep = sleep
}

// pace waits without the lock, as a goroutine that waits for a lock would keep
// the simulated clock of testing/synctest from going on.
func (b *Bus) pace(msgs []Msg) {
	b.mu.Lock()
	sleep, speed := b.sleep, b.speed
	b.mu.Unlock()
	if sleep == nil {
		return
	}
	bits := 0
	for _, m := range msgs {
		bits += 9 * (1 + len(m.Data)) // eight and an acknowledge, the address first
	}
	sleep(time.Duration(bits) * speed.Period())
}

// Transfer sends messages in one transaction, a repeated START between each
// two. After an error the bytes read so far are in place and the rest of the
// transfer has not taken place.
func (b *Bus) Transfer(msgs []Msg) error {
	b.pace(msgs)
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.transfer(msgs)
	if b.trace != nil {
		b.trace(msgs, err)
	}
	return err
}

func (b *Bus) transfer(msgs []Msg) error {
	for i, m := range msgs {
		if m.Addr > MaxAddr {
			return fmt.Errorf("%s: i2c address %#02x of message %d, at most %#02x", b.name, m.Addr, i, MaxAddr)
		}
	}
	for _, t := range b.order {
		if h, ok := t.(Holder); ok && h.Low() {
			return fmt.Errorf("%s: %w", b.name, ErrLow)
		}
	}
	var started Target
	defer func() {
		if started != nil {
			started.Stop()
		}
	}()
	for i, m := range msgs {
		if m.Addr == 0 {
			if err := b.call(i, m); err != nil {
				return err
			}
			continue
		}
		t := b.targets[m.Addr]
		if started != nil && started != t {
			started.Stop() // a START with another address ends this chip's part too
			started = nil
		}
		if t == nil || !t.Start(m.Read) {
			return &NACK{m.Addr, i, -1}
		}
		started = t
		for j := range m.Data {
			if m.Read {
				m.Data[j] = t.Read()
			} else if !t.Write(m.Data[j]) {
				return &NACK{m.Addr, i, j}
			}
		}
	}
	return nil
}

// call sends a message to the general call address. One chip that acknowledges
// is enough, as the line is a wired AND.
func (b *Bus) call(i int, m Msg) error {
	var callers []Caller
	for _, t := range b.order {
		if c, ok := t.(Caller); ok {
			callers = append(callers, c)
		}
	}
	if m.Read || len(callers) == 0 {
		return &NACK{0, i, -1}
	}
	for j, v := range m.Data {
		ack := false
		for _, c := range callers {
			ack = c.Call(v) || ack
		}
		if !ack {
			return &NACK{0, i, j}
		}
	}
	return nil
}

// Tx writes w, then reads r after a repeated START; either may be empty. With
// both empty nothing is sent, as with periph's bus of the Linux kernel.
func (b *Bus) Tx(addr uint16, w, r []byte) error {
	var msgs []Msg
	if len(w) > 0 {
		msgs = append(msgs, Msg{Addr: addr, Data: w})
	}
	if len(r) > 0 {
		msgs = append(msgs, Msg{Addr: addr, Read: true, Data: r})
	}
	if len(msgs) == 0 {
		return nil
	}
	return b.Transfer(msgs)
}

// SetSpeed takes any speed that the I2C specification has, up to 5 MHz: the
// chips follow the master's clock. It is 100 kHz to begin with.
func (b *Bus) SetSpeed(f physic.Frequency) error {
	if f <= 0 || f > 5*physic.MegaHertz {
		return fmt.Errorf("%s: speed %v, want up to 5 MHz", b.name, f)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.speed = f
	return nil
}

func (b *Bus) String() string { return b.name }
