package chardev

import (
	"io"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"
)

// A request is the file that stands for lines a caller has requested. Bit i of a
// mask is line offsets[i] of the chip.
type request struct {
	chip    *GPIOChip
	offsets []int
	events  *os.File // our end; the caller reads edges from the other
	count   uint32   // events so far; under the chip's lock
}

// A config is what a configuration says of one line.
type config struct {
	flags uint64
	level *bool // of an output; logical: an active-low line that is on is low
}

// parseConfig decodes struct gpio_v2_line_config for n lines. The first attribute
// of a kind that names a line decides (linux/gpio.h).
func parseConfig(b []byte, n int) ([]config, error) {
	const count, attributes, attribute = 8, 32, 24
	num := int(le.Uint32(b[count:]))
	if num > maxAttributes || !zero(b[count+4:attributes]) {
		return nil, unix.EINVAL
	}
	configs := make([]config, n)
	for i := range configs {
		configs[i].flags = le.Uint64(b)
	}
	for a := num - 1; a >= 0; a-- { // backwards, so that the first is the last word
		at := b[attributes+a*attribute:]
		id, value, mask := le.Uint32(at), le.Uint64(at[8:]), le.Uint64(at[16:])
		for i := range configs {
			if mask>>i&1 == 0 {
				continue
			}
			switch id {
			case attrFlags:
				configs[i].flags = value
			case attrOutputs:
				on := value>>i&1 == 1
				configs[i].level = &on
			case attrDebounce: // a model does not bounce
			default:
				return nil, unix.EINVAL
			}
		}
	}
	for _, c := range configs {
		in, out := c.flags&lineInput != 0, c.flags&lineOutput != 0
		edges := c.flags&(lineRising|lineFalling) != 0
		if c.flags&^uint64(lineFlags) != 0 || c.flags&lineUsed != 0 || in && out || edges && !in {
			return nil, unix.EINVAL
		}
	}
	return configs, nil
}

// take makes the lines ours, all or none.
func (r *request) take(consumer string) error {
	g := r.chip
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, offset := range r.offsets {
		if g.lines[offset].held != nil {
			for _, taken := range r.offsets[:i] {
				g.lines[taken].held = nil
			}
			return unix.EBUSY
		}
		g.lines[offset].held = r
	}
	for _, offset := range r.offsets {
		g.lines[offset].consumer, g.lines[offset].events = consumer, 0
	}
	return nil
}

// release gives the lines back. An output keeps its level.
func (r *request) release() {
	g := r.chip
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, offset := range r.offsets {
		l := &g.lines[offset]
		l.held, l.consumer = nil, ""
		l.flags &^= lineRising | lineFalling
	}
}

// wait releases the lines when the caller's end of the pair is closed.
func (r *request) wait(remove func()) {
	_, _ = io.Copy(io.Discard, r.events) // whatever ends it, the caller is gone
	remove()
	r.release()
	r.events.Close()
}

// configure applies what was decoded. Without a direction a line stays as it is.
func (r *request) configure(configs []config) {
	const direction = lineInput | lineOutput
	g := r.chip
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, offset := range r.offsets {
		l, c := &g.lines[offset], configs[i]
		if c.flags&direction == 0 {
			c.flags |= l.flags & direction
		}
		l.flags = c.flags
		if c.flags&lineOutput != 0 && c.level != nil {
			g.drive(offset, *c.level != (c.flags&lineActiveLow != 0))
		}
	}
}

// Ioctl implements Device.
func (r *request) Ioctl(c *Call) (int, error) {
	switch c.Request {
	case gpioConfig:
		b := make([]byte, configSize)
		if err := c.Read(c.Argument, b); err != nil {
			return 0, err
		}
		configs, err := parseConfig(b, len(r.offsets))
		if err != nil {
			return 0, err
		}
		r.configure(configs)
		return 0, nil
	case gpioGet, gpioSet:
		var b [16]byte // bits, mask
		if err := c.Read(c.Argument, b[:]); err != nil {
			return 0, err
		}
		values, mask := le.Uint64(b[:]), le.Uint64(b[8:])
		mask &= 1<<len(r.offsets) - 1
		if mask == 0 {
			return 0, unix.EINVAL
		}
		if c.Request == gpioSet {
			return 0, r.set(values, mask)
		}
		le.PutUint64(b[:], r.get(mask))
		return 0, c.Write(c.Argument, b[:])
	}
	return 0, unix.ENOTTY
}

func (r *request) get(mask uint64) (values uint64) {
	g := r.chip
	g.mu.Lock()
	defer g.mu.Unlock()
	for ; mask != 0; mask &= mask - 1 {
		i := bits.TrailingZeros64(mask)
		l := g.lines[r.offsets[i]]
		if l.high != (l.flags&lineActiveLow != 0) {
			values |= 1 << i
		}
	}
	return values
}

func (r *request) set(values, mask uint64) error {
	g := r.chip
	g.mu.Lock()
	defer g.mu.Unlock()
	for m := mask; m != 0; m &= m - 1 {
		if g.lines[r.offsets[bits.TrailingZeros64(m)]].flags&lineOutput == 0 {
			return unix.EPERM
		}
	}
	for ; mask != 0; mask &= mask - 1 {
		i := bits.TrailingZeros64(mask)
		l := g.lines[r.offsets[i]]
		g.drive(r.offsets[i], (values>>i&1 == 1) != (l.flags&lineActiveLow != 0))
	}
	return nil
}

// event tells the caller of an edge of line offset, the number-th of that line.
// The kernel drops the oldest event when nobody reads; we drop the newest, and the
// numbers show the gap either way. Called with the chip's lock held.
func (r *request) event(offset int, rising bool, number uint32) {
	r.count++
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return // cannot be: the clock is there
	}
	id := uint32(2)
	if rising {
		id = 1
	}
	b := le.AppendUint64(make([]byte, 0, eventSize), uint64(now.Nano()))
	for _, v := range [...]uint32{id, uint32(offset), r.count, number} {
		b = le.AppendUint32(b, v)
	}
	// Straight to the descriptor: os.File would wait for room.
	conn, err := r.events.SyscallConn()
	if err != nil {
		return // closed meanwhile
	}
	_ = conn.Control(func(fd uintptr) { _, _ = unix.Write(int(fd), b[:eventSize]) })
}
