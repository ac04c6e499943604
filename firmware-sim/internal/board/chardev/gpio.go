package chardev

import (
	"bytes"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Flags of GPIO v2 (linux/gpio.h).
const (
	lineUsed      = 1 << 0
	lineActiveLow = 1 << 1
	lineInput     = 1 << 2
	lineOutput    = 1 << 3
	lineRising    = 1 << 4
	lineFalling   = 1 << 5
	lineFlags     = 1<<13 - 1 // drive, bias and clocks too, which change nothing here
)

// Requests, and the sizes of what they carry.
const (
	gpioChipInfo = 0x8044b401
	gpioLineInfo = unix.GPIO_V2_GET_LINEINFO_IOCTL
	gpioGetLine  = unix.GPIO_V2_GET_LINE_IOCTL
	gpioConfig   = 0xc110b40d // GPIO_V2_LINE_SET_CONFIG_IOCTL
	gpioGet      = unix.GPIO_V2_LINE_GET_VALUES_IOCTL
	gpioSet      = unix.GPIO_V2_LINE_SET_VALUES_IOCTL

	nameSize     = 32
	chipInfoSize = 68  // name, label, number of lines
	lineInfoSize = 256 // name, consumer, offset, attributes, flags (8), ten attributes, padding
	configSize   = 272 // flags (8), number of attributes (4), padding (20), ten of attribute and mask (24)
	requestSize  = 592 // 64 offsets (4), consumer, configuration, count, buffer size, padding (20), descriptor
	eventSize    = 48  // time (8), id, offset, number, number of the line (4 each), padding

	maxLines      = 64 // of one request
	maxAttributes = 10
)

// Attributes of a configuration.
const (
	attrFlags    = 1
	attrOutputs  = 2
	attrDebounce = 3
)

// A Line is one pin, as the GPIO chip was given it.
type Line struct {
	Name string
	High bool // the level at the start
}

// A GPIOChip is /dev/gpiochipN.
type GPIOChip struct {
	name, label string
	changed     func(line string, high bool) // an output; called with the lock held

	mu    sync.Mutex
	lines []line
}

type line struct {
	name     string
	high     bool     // level at the pin, whoever drives it
	flags    uint64   // of the last configuration
	held     *request // who has it, or nil
	consumer string
	events   uint32 // on this line since it was requested
}

// NewGPIOChip returns a chip with these lines, offset 0 first. changed is told,
// one call at a time, when an output takes another level; it must not call the chip.
func NewGPIOChip(name, label string, lines []Line, changed func(line string, high bool)) *GPIOChip {
	g := &GPIOChip{name: name, label: label, changed: changed}
	for _, l := range lines {
		g.lines = append(g.lines, line{name: l.Name, high: l.High, flags: lineInput})
	}
	return g
}

// Ioctl implements Device.
func (g *GPIOChip) Ioctl(c *Call) (int, error) {
	switch c.Request {
	case gpioChipInfo:
		b := make([]byte, chipInfoSize)
		copy(b[:nameSize-1], g.name)
		copy(b[nameSize:2*nameSize-1], g.label)
		le.PutUint32(b[2*nameSize:], uint32(len(g.lines)))
		return 0, c.Write(c.Argument, b)
	case gpioLineInfo:
		return 0, g.lineInfo(c)
	case gpioGetLine:
		return 0, g.request(c)
	}
	return 0, unix.ENOTTY
}

func (g *GPIOChip) lineInfo(c *Call) error {
	const offset, flags = 2 * nameSize, 2*nameSize + 8
	b := make([]byte, lineInfoSize)
	if err := c.Read(c.Argument, b); err != nil {
		return err
	}
	n := le.Uint32(b[offset:])
	clear(b)
	g.mu.Lock()
	if n >= uint32(len(g.lines)) {
		g.mu.Unlock()
		return unix.EINVAL
	}
	l := g.lines[n]
	g.mu.Unlock()
	copy(b[:nameSize-1], l.name)
	copy(b[nameSize:2*nameSize-1], l.consumer)
	le.PutUint32(b[offset:], n)
	if l.held != nil {
		l.flags |= lineUsed
	}
	le.PutUint64(b[flags:], l.flags)
	return c.Write(c.Argument, b)
}

// request does GPIO_V2_GET_LINE: the caller gets a descriptor that stands for the
// lines, from which it reads their edges.
func (g *GPIOChip) request(c *Call) error {
	const consumer, config, count, padding, descriptor = 256, 288, 560, 568, 588
	b := make([]byte, requestSize)
	if err := c.Read(c.Argument, b); err != nil {
		return err
	}
	n := int(le.Uint32(b[count:]))
	if n < 1 || n > maxLines || !zero(b[padding:descriptor]) {
		return unix.EINVAL
	}
	r := &request{chip: g}
	for i := range n {
		offset := le.Uint32(b[4*i:])
		if offset >= uint32(len(g.lines)) {
			return unix.EINVAL
		}
		r.offsets = append(r.offsets, int(offset))
	}
	configs, err := parseConfig(b[config:config+configSize], n)
	if err != nil {
		return err
	}
	name, _, _ := bytes.Cut(b[consumer:consumer+nameSize], []byte{0})
	if err := r.take(string(name)); err != nil {
		return err
	}
	// A socket pair for the kernel's file: it can be read and polled, and its end
	// tells us that the caller's last copy is closed.
	// Ours does not block; theirs does until they ask otherwise.
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(pair[0], true)
	}
	if err != nil {
		r.release()
		return err
	}
	r.events = os.NewFile(uintptr(pair[0]), "gpio events")
	theirs := os.NewFile(uintptr(pair[1]), "gpio line")
	defer theirs.Close()
	r.configure(configs)
	fd, remove, err := c.Install(theirs, r)
	if err == nil {
		le.PutUint32(b[descriptor:], uint32(fd))
		err = c.Write(c.Argument, b)
	}
	// From here on the caller's end decides: of a caller that is gone it is closed.
	go r.wait(remove)
	if err != nil {
		return fmt.Errorf("request of %d lines: %w", n, err)
	}
	return nil
}

// Set drives an input to a level, or returns an error: an output is driven by
// whoever requested it.
func (g *GPIOChip) Set(name string, high bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.lines {
		l := &g.lines[i]
		if l.name != name {
			continue
		}
		if l.flags&lineOutput != 0 {
			return fmt.Errorf("line %s is an output of %q", name, l.consumer)
		}
		g.drive(i, high)
		return nil
	}
	return fmt.Errorf("no line %q on %s", name, g.name)
}

// drive gives line i a level and tells of it. Called with the lock held.
func (g *GPIOChip) drive(i int, high bool) {
	l := &g.lines[i]
	if l.high == high {
		return
	}
	l.high = high
	if l.flags&lineOutput != 0 {
		g.changed(l.name, high)
		return
	}
	rising := high != (l.flags&lineActiveLow != 0)
	if l.held != nil && (rising && l.flags&lineRising != 0 || !rising && l.flags&lineFalling != 0) {
		l.events++
		l.held.event(i, rising, l.events)
	}
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
