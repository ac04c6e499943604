package chardev

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A lineRequest is struct gpio_v2_line_request, as far as it is used.
type lineRequest struct {
	offsets    []uint32
	flags      uint64
	attributes []attribute
}

type attribute struct {
	id    uint32
	value uint64
	mask  uint64
}

func (r lineRequest) config() []byte {
	b := make([]byte, configSize)
	le.PutUint64(b, r.flags)
	le.PutUint32(b[8:], uint32(len(r.attributes)))
	for i, a := range r.attributes {
		at := b[32+24*i:]
		le.PutUint32(at, a.id)
		le.PutUint64(at[8:], a.value)
		le.PutUint64(at[16:], a.mask)
	}
	return b
}

func (r lineRequest) memory() *memory {
	b := make([]byte, requestSize)
	for i, o := range r.offsets {
		le.PutUint32(b[4*i:], o)
	}
	copy(b[256:], "agent@1")
	copy(b[288:], r.config())
	le.PutUint32(b[560:], uint32(len(r.offsets)))
	return &memory{b: b}
}

// take requests lines and returns what stands for them.
func take(t *testing.T, g *GPIOChip, r lineRequest) *memory {
	t.Helper()
	m := r.memory()
	if _, err := m.call(g, gpioGetLine, base); err != nil {
		t.Fatal(err)
	}
	if fd := int32(le.Uint32(m.b[588:])); fd != 7 {
		t.Fatalf("descriptor %d", fd)
	}
	t.Cleanup(func() { m.installed.Close() })
	return m
}

func values(bits, mask uint64) *memory {
	return &memory{b: le.AppendUint64(le.AppendUint64(nil, bits), mask)}
}

func newChip(changed func(string, bool)) *GPIOChip {
	return NewGPIOChip("gpiochip0", "pinctrl-bcm2835", []Line{{"DOOR", true}, {"LED", false}, {"BUZZER", false}}, changed)
}

func silent(string, bool) {}

// info returns name, consumer and flags of a line.
func info(t *testing.T, g *GPIOChip, offset uint32) string {
	t.Helper()
	m := &memory{b: make([]byte, lineInfoSize)}
	le.PutUint32(m.b[64:], offset)
	_, err := m.call(g, gpioLineInfo, base)
	if err != nil {
		return Errno(err).Error()
	}
	return fmt.Sprintf("%s %s %#x", zeroed(m.b[:32]), zeroed(m.b[32:64]), le.Uint64(m.b[72:]))
}

func zeroed(b []byte) string { return unix.ByteSliceToString(b) }

func TestGPIOInfo(t *testing.T) {
	g := newChip(silent)
	m := &memory{b: make([]byte, chipInfoSize)}
	if _, err := m.call(g, gpioChipInfo, base); err != nil {
		t.Fatal(err)
	}
	if name, label, n := zeroed(m.b[:32]), zeroed(m.b[32:64]), le.Uint32(m.b[64:]); name != "gpiochip0" || label != "pinctrl-bcm2835" || n != 3 {
		t.Errorf("%s %s %d", name, label, n)
	}
	if got := info(t, g, 1); got != "LED  0x4" {
		t.Error(got)
	}
	if got := info(t, g, 3); got != unix.EINVAL.Error() {
		t.Error(got)
	}
	_, err := m.call(g, 0xc100b406, base) // watch
	wantErrno(t, err, unix.ENOTTY)
}

func TestLineRequest(t *testing.T) {
	for _, c := range []struct {
		name string
		r    lineRequest
		err  unix.Errno
	}{
		{"as it is", lineRequest{offsets: []uint32{0}}, 0},
		{"all", lineRequest{offsets: []uint32{2, 0, 1}, flags: lineInput}, 0},
		{"none", lineRequest{}, unix.EINVAL},
		{"no such line", lineRequest{offsets: []uint32{3}}, unix.EINVAL},
		{"twice the same", lineRequest{offsets: []uint32{1, 1}}, unix.EBUSY},
		{"both directions", lineRequest{offsets: []uint32{0}, flags: lineInput | lineOutput}, unix.EINVAL},
		{"edges of an output", lineRequest{offsets: []uint32{0}, flags: lineOutput | lineRising}, unix.EINVAL},
		{"unknown flag", lineRequest{offsets: []uint32{0}, flags: 1 << 40}, unix.EINVAL},
		{"unknown attribute", lineRequest{offsets: []uint32{0}, attributes: []attribute{{9, 0, 1}}}, unix.EINVAL},
		{"debounce", lineRequest{offsets: []uint32{0}, flags: lineInput, attributes: []attribute{{attrDebounce, 5, 1}}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newChip(silent)
			m := c.r.memory()
			_, err := m.call(g, gpioGetLine, base)
			wantErrno(t, err, c.err)
			if err == nil {
				m.installed.Close()
			} else if got := info(t, g, 1); got != "LED  0x4" {
				t.Errorf("after the refusal: %s", got)
			}
		})
	}
}

// A line belongs to one caller until that one's descriptor is closed, or could not
// be made.
func TestLineRelease(t *testing.T) {
	g := newChip(silent)
	m := take(t, g, lineRequest{offsets: []uint32{1}, flags: lineOutput})
	if got := info(t, g, 1); got != "LED agent@1 0x9" {
		t.Error(got)
	}
	_, err := lineRequest{offsets: []uint32{0, 1}}.memory().call(g, gpioGetLine, base)
	wantErrno(t, err, unix.EBUSY)
	if got := info(t, g, 0); got != "DOOR  0x4" {
		t.Errorf("half a request: %s", got)
	}
	free := func() {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); info(t, g, 1) != "LED  0x8"; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the line is not released: ", info(t, g, 1))
			}
		}
	}
	m.installed.Close()
	free()
	refused := lineRequest{offsets: []uint32{1}}.memory()
	refused.refuse = true
	_, err = refused.call(g, gpioGetLine, base)
	wantErrno(t, err, unix.EMFILE)
	free()
}

func TestLineValues(t *testing.T) {
	var heard []string
	g := newChip(func(line string, high bool) { heard = append(heard, fmt.Sprint(line, " ", high)) })
	// Bit 0 is the door, bit 1 the buzzer, which starts on, bit 2 the LED, active low.
	lines := take(t, g, lineRequest{offsets: []uint32{0, 2, 1}, flags: lineOutput, attributes: []attribute{
		{attrFlags, lineInput, 0b001}, {attrFlags, lineOutput | lineActiveLow, 0b101}, {attrOutputs, 0b010, 0b110},
	}})
	get := func(mask, want uint64) {
		t.Helper()
		m := values(0, mask)
		if _, err := m.call(lines.device, gpioGet, base); err != nil || le.Uint64(m.b) != want {
			t.Errorf("mask %b: got %b, %v, want %b", mask, le.Uint64(m.b), err, want)
		}
	}
	get(0b111, 0b011)
	get(0b100, 0)
	for _, c := range []struct {
		bits, mask uint64
		err        unix.Errno
	}{
		{0b100, 0b100, 0},        // the LED on: low
		{0b000, 0b010, 0},        // the buzzer off
		{0, 0b011, unix.EPERM},   // the door is an input: nothing changes
		{0, 0b1000, unix.EINVAL}, // no such line
		{0b110, 0b000, unix.EINVAL},
	} {
		_, err := values(c.bits, c.mask).call(lines.device, gpioSet, base)
		wantErrno(t, err, c.err)
	}
	get(0b111, 0b101)
	if want := "[BUZZER true LED true LED false BUZZER false]"; fmt.Sprint(heard) != want {
		t.Errorf("heard %v, want %s", heard, want)
	}
	m := &memory{b: lineRequest{flags: lineInput | lineOutput}.config()}
	_, err := m.call(lines.device, gpioConfig, base)
	wantErrno(t, err, unix.EINVAL)
	_, err = m.call(lines.device, gpioChipInfo, base)
	wantErrno(t, err, unix.ENOTTY)
}

// Edges arrive as the kernel writes them, and only those that were asked for.
func TestEdges(t *testing.T) {
	g := newChip(silent)
	m := take(t, g, lineRequest{offsets: []uint32{0}, flags: lineInput | lineActiveLow | lineRising})
	for _, high := range []bool{false, true, true, false} { // on, off, off, on
		if err := g.Set("DOOR", high); err != nil {
			t.Fatal(err)
		}
	}
	for want := range uint32(2) {
		b := make([]byte, eventSize)
		if n, err := m.installed.Read(b); n != eventSize || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
		id, offset, number, ofLine := le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint32(b[16:]), le.Uint32(b[20:])
		if id != 1 || offset != 0 || number != want+1 || ofLine != want+1 || le.Uint64(b) == 0 {
			t.Errorf("event % x", b)
		}
	}
	if err := unix.SetNonblock(int(m.installed.Fd()), true); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Read(int(m.installed.Fd()), make([]byte, eventSize)); err != unix.EAGAIN {
		t.Errorf("an event too many: %v", err)
	}
	if err := g.Set("WINDOW", true); err == nil {
		t.Error("a line that is not there was set")
	}
	// Nobody reads: the line goes on, and what does not fit is lost.
	for i := range 100_000 {
		if err := g.Set("DOOR", i%2 == 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.installed.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
}
