package chardev

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"trailmark/firmware-sim/chip/i2cbus"
)

// memory is a caller with so many bytes at base.
type memory struct {
	b         []byte
	moved     int      // bytes read and written in all
	installed *os.File // our copy of the caller's descriptor
	device    Device
	refuse    bool // to install
}

const base = 0x10000

func (m *memory) at(address uint64, n int) ([]byte, error) {
	end := uint64(base + len(m.b))
	if address < base || address > end || uint64(n) > end-address {
		return nil, unix.EFAULT
	}
	m.moved += n
	return m.b[address-base:][:n], nil
}

func (m *memory) Read(address uint64, b []byte) error {
	from, err := m.at(address, len(b))
	copy(b, from)
	return err
}

func (m *memory) Write(address uint64, b []byte) error {
	to, err := m.at(address, len(b))
	copy(to, b)
	return err
}

func (m *memory) Install(file *os.File, device Device) (int32, func(), error) {
	if m.refuse {
		return -1, func() {}, unix.EMFILE
	}
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		return -1, func() {}, err
	}
	m.installed, m.device = os.NewFile(uintptr(fd), "line"), device
	return 7, func() {}, nil
}

func (m *memory) ID() int { return 1 }

// newMemory lays out parts, in hexadecimal with spaces, from base on.
func newMemory(t testing.TB, parts ...string) *memory {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(parts, ""), " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return &memory{b: b}
}

func (m *memory) call(d Device, request uint32, argument uint64) (int, error) {
	return d.Ioctl(&Call{Descriptor: 3, Request: request, Argument: argument, Process: m})
}

// wantErrno checks the number that the caller is told.
func wantErrno(t *testing.T, err error, want unix.Errno) {
	t.Helper()
	if want == 0 && err != nil || want != 0 && (err == nil || Errno(err) != want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

// registers is a chip with a pointer and 256 registers that hold their number.
type registers struct {
	first   bool
	pointer byte
	log     bytes.Buffer // what was written
	dead    bool
	low     bool
}

func (r *registers) Start(bool) bool { r.first = true; return !r.dead }
func (r *registers) Stop()           {}
func (r *registers) Low() bool       { return r.low }
func (r *registers) Read() byte      { r.pointer++; return r.pointer - 1 }
func (r *registers) Write(b byte) bool {
	r.log.WriteByte(b)
	if r.first {
		r.pointer, r.first = b, false
	}
	return true
}

func newBus(t testing.TB) (*I2CBus, *registers) {
	t.Helper()
	b, r := i2cbus.New("i2c-1"), &registers{}
	if err := b.Attach(0x50, r); err != nil {
		t.Fatal(err)
	}
	return NewI2CBus(b), r
}

func TestErrno(t *testing.T) {
	for want, err := range map[unix.Errno]error{
		unix.EIO: errors.New("no number"), unix.EBUSY: errors.Join(errors.New("taken"), unix.EBUSY), unix.EFAULT: unix.EFAULT,
	} {
		if got := Errno(err); got != want {
			t.Errorf("%v: got %v, want %v", err, got, want)
		}
	}
}

// No request makes a device panic or touch more than the kernel would.
func FuzzIoctl(f *testing.F) {
	rdwr, _ := hex.DecodeString("1000010000000000" + "0100000000000000" + "5000010004000000" + "2000010000000000" + "00000000")
	f.Add(byte(0), uint32(i2cRdwr), rdwr)
	f.Add(byte(0), uint32(i2cSMBus), []byte{1, 0, 0, 0, smbusI2CBlock, 0, 0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0})
	f.Add(byte(1), spiMessage|transferSize<<16, make([]byte, 64))
	f.Add(byte(2), uint32(gpioGetLine), make([]byte, requestSize))
	f.Add(byte(2), uint32(gpioLineInfo), make([]byte, lineInfoSize))
	f.Add(byte(3), uint32(gpioConfig), make([]byte, configSize))
	f.Add(byte(3), uint32(gpioSet), make([]byte, 16))
	f.Fuzz(func(t *testing.T, device byte, request uint32, b []byte) {
		bus, _ := newBus(t)
		gpio := NewGPIOChip("gpiochip0", "", []Line{{Name: "A"}, {Name: "B"}}, func(string, bool) {})
		held := &memory{b: make([]byte, requestSize)}
		le.PutUint32(held.b[560:], 1)
		if _, err := held.call(gpio, gpioGetLine, base); err != nil {
			t.Fatal(err)
		}
		defer held.installed.Close()
		m := &memory{b: b}
		d := []Device{bus, NewSPIPort(&loop{}), gpio, held.device}[device%4]
		n, err := m.call(d, request, base)
		if m.installed != nil {
			m.installed.Close()
		}
		const most = 2*maxMessages*maxMessage + 1<<14
		if err == nil && n < 0 || m.moved > most {
			t.Errorf("request %#x: %d, %v, %d bytes moved", request, n, err, m.moved)
		}
	})
}
