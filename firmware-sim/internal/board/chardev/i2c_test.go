package chardev

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

// Struct i2c_rdwr_ioctl_data for one and two messages at base+0x10.
const (
	oneMessage  = "10000100 00000000 01000000 00000000"
	twoMessages = "10000100 00000000 02000000 00000000"
)

func TestRdwr(t *testing.T) {
	bus, chip := newBus(t)
	for _, c := range []struct {
		name   string
		memory []string
		want   int
		err    unix.Errno
		tail   []byte // of the memory
	}{
		{"write a pointer, read three", []string{twoMessages,
			"5000 0000 0100 0000 30000100 00000000", // to 0x50: 1 byte at base+0x30
			"5000 0100 0300 0000 31000100 00000000", // from 0x50: 3 bytes behind it
			"20 000000"}, 2, 0, []byte{0x20, 0x20, 0x21, 0x22}},
		{"nobody there", []string{oneMessage, "5100 0100 0100 0000 20000100 00000000", "ee"}, 0, unix.EREMOTEIO, []byte{0xee}},
		{"ten bit address", []string{oneMessage, "5000 1100 0100 0000 20000100 00000000", "ee"}, 0, unix.EOPNOTSUPP, []byte{0xee}},
		{"no message", []string{"10000100 00000000 00000000 00000000"}, 0, unix.EINVAL, nil},
		{"43 messages", []string{"10000100 00000000 2b000000 00000000"}, 0, unix.EINVAL, nil},
		{"a message of 8193 bytes", []string{oneMessage, "5000 0100 0120 0000 20000100 00000000"}, 0, unix.EINVAL, nil},
		{"nowhere to read to", []string{oneMessage, "5000 0100 0100 0000 00000000 00000000"}, 0, unix.EFAULT, nil},
		{"nothing to write from", []string{oneMessage, "5000 0000 0100 0000 00000000 00000000"}, 0, unix.EFAULT, nil},
		{"half an argument", []string{"10000100"}, 0, unix.EFAULT, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMemory(t, c.memory...)
			n, err := m.call(bus, i2cRdwr, base)
			wantErrno(t, err, c.err)
			if n != c.want || !bytes.HasSuffix(m.b, c.tail) {
				t.Errorf("got %d, want %d; memory % x, want % x at its end", n, c.want, m.b, c.tail)
			}
		})
	}
	chip.low = true
	_, err := newMemory(t, oneMessage, "5000 0100 0100 0000 20000100 00000000", "00").call(bus, i2cRdwr, base)
	wantErrno(t, err, unix.ETIMEDOUT)
}

func TestSMBus(t *testing.T) {
	for _, c := range []struct {
		name string
		head string // direction, command, padding, size; data at base+0x10
		data string
		err  unix.Errno
		log  []byte // what the chip was sent
		want []byte // data afterwards
	}{
		{"quick", "00000000 00000000", "", 0, nil, nil},
		{"send byte", "00070000 01000000", "", 0, []byte{7}, nil},
		{"receive byte", "01070000 01000000", "ff", 0, nil, []byte{0}},
		{"write byte data", "00070000 02000000", "aa", 0, []byte{7, 0xaa}, []byte{0xaa}},
		{"read byte data", "01070000 02000000", "ff", 0, []byte{7}, []byte{7}},
		{"write word data", "00070000 03000000", "aabb", 0, []byte{7, 0xaa, 0xbb}, []byte{0xaa, 0xbb}},
		{"read word data", "01070000 03000000", "ffff", 0, []byte{7}, []byte{7, 8}},
		{"write block", "00070000 08000000", "02aabb", 0, []byte{7, 0xaa, 0xbb}, []byte{2, 0xaa, 0xbb}},
		{"read block", "01070000 08000000", "02ffffff", 0, []byte{7}, []byte{2, 7, 8, 0xff}},
		{"block of 33", "01070000 08000000", "21", unix.EINVAL, nil, []byte{33}},
		{"block of none", "00070000 08000000", "00", unix.EINVAL, nil, []byte{0}},
		{"process call", "00070000 04000000", "ffff", unix.EOPNOTSUPP, nil, []byte{0xff, 0xff}},
		{"no direction", "02070000 02000000", "ff", unix.EINVAL, nil, []byte{0xff}},
		{"no data", "01070000 02000000", "", unix.EFAULT, []byte{7}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			bus, chip := newBus(t)
			m := newMemory(t, c.head, "10000100 00000000", c.data)
			if _, err := m.call(bus, i2cSlave, 0x50); err != nil {
				t.Fatal(err)
			}
			_, err := m.call(bus, i2cSMBus, base)
			wantErrno(t, err, c.err)
			if !bytes.Equal(chip.log.Bytes(), c.log) || !bytes.Equal(m.b[16:], c.want) {
				t.Errorf("the chip was sent % x, want % x; data % x, want % x", chip.log.Bytes(), c.log, m.b[16:], c.want)
			}
		})
	}
}

func TestI2CSettings(t *testing.T) {
	bus, _ := newBus(t)
	for _, c := range []struct {
		request  uint32
		argument uint64
		err      unix.Errno
	}{
		{i2cFuncs, base, 0}, {i2cFuncs, 0, unix.EFAULT}, {i2cSlave, 0x80, unix.EINVAL}, {i2cSlaveForce, 0x7f, 0},
		{i2cTimeout, 10, 0}, {i2cTenBit, 1, unix.EINVAL}, {i2cPEC, 0, 0}, {0x0709, 0, unix.ENOTTY},
	} {
		m := newMemory(t, "0000000000000000")
		_, err := m.call(bus, c.request, c.argument)
		wantErrno(t, err, c.err)
		if c.request == i2cFuncs && err == nil && le.Uint64(m.b) != 0x0c7f0001 {
			t.Errorf("functionality %#x", le.Uint64(m.b))
		}
	}
	// Another process has an address of its own: none.
	m := newMemory(t, "01070000 02000000 10000100 00000000 ff")
	_, err := bus.Ioctl(&Call{Descriptor: 4, Request: i2cSMBus, Argument: base, Process: m})
	wantErrno(t, err, unix.EREMOTEIO)
}
