package chardev

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// loop is a wire from MOSI to MISO that keeps what a frame held.
type loop struct{ frames []string }

func (l *loop) Transfer(tx, rx []byte) {
	l.frames = append(l.frames, fmt.Sprintf("% x", tx))
	copy(rx, tx)
}

// transfer is one struct spi_ioc_transfer; tx and rx are offsets from base, 0: none.
func transfer(tx, rx uint64, length uint32, bits, change byte) string {
	b := make([]byte, transferSize)
	for i, offset := range []uint64{tx, rx} {
		if offset != 0 {
			le.PutUint64(b[8*i:], base+offset)
		}
	}
	le.PutUint32(b[16:], length)
	b[26], b[csChange] = bits, change
	return fmt.Sprintf("%x", b)
}

func TestSPIMessage(t *testing.T) {
	for _, c := range []struct {
		name   string
		memory []string
		n      int // transfers
		want   int
		err    unix.Errno
		frames []string
		tail   []byte
	}{
		{"full duplex", []string{transfer(32, 34, 2, 8, 0), "aabb 0000"}, 1, 2, 0, []string{"aa bb"}, []byte{0xaa, 0xbb, 0xaa, 0xbb}},
		{"in place", []string{transfer(32, 32, 2, 0, 0), "aabb"}, 1, 2, 0, []string{"aa bb"}, []byte{0xaa, 0xbb}},
		{"receive only", []string{transfer(0, 32, 2, 8, 0), "ffff"}, 1, 2, 0, []string{"00 00"}, []byte{0, 0}},
		{"one frame of two", []string{transfer(64, 0, 1, 8, 0), transfer(65, 66, 1, 8, 0), "aabb 00"}, 2, 2, 0, []string{"aa bb"}, []byte{0xbb}},
		{"two frames", []string{transfer(64, 0, 1, 8, 1), transfer(65, 66, 1, 8, 0), "aabb 00"}, 2, 2, 0, []string{"aa", "bb"}, []byte{0xbb}},
		{"nothing", nil, 0, 0, 0, nil, nil},
		{"an empty transfer", []string{transfer(0, 0, 0, 8, 0)}, 1, 0, 0, nil, nil},
		{"select kept low", []string{transfer(32, 0, 1, 8, 1), "aa"}, 1, 0, unix.EOPNOTSUPP, nil, nil},
		{"nine bits", []string{transfer(32, 0, 1, 9, 0), "aa"}, 1, 0, unix.EINVAL, nil, nil},
		{"4097 bytes", []string{transfer(0, 0, 4097, 8, 0)}, 1, 0, unix.EMSGSIZE, nil, nil},
		{"4097 bytes in two", []string{transfer(0, 0, 4096, 8, 0), transfer(0, 0, 1, 8, 0)}, 2, 0, unix.EMSGSIZE, nil, nil},
		{"2^32 bytes", []string{transfer(0, 0, 1<<32-1, 8, 0), transfer(0, 0, 1, 8, 0)}, 2, 0, unix.EMSGSIZE, nil, nil},
		{"nothing to send from", []string{transfer(99, 0, 1, 8, 0)}, 1, 0, unix.EFAULT, nil, nil},
		{"nowhere to receive to", []string{transfer(0, 99, 1, 8, 0)}, 1, 0, unix.EFAULT, []string{"00"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			chip := &loop{}
			m := newMemory(t, c.memory...)
			n, err := m.call(NewSPIPort(chip), spiMessage|uint32(c.n*transferSize)<<16, base)
			wantErrno(t, err, c.err)
			if n != c.want || fmt.Sprint(chip.frames) != fmt.Sprint(c.frames) || !bytes.HasSuffix(m.b, c.tail) {
				t.Errorf("got %d, frames %q, memory % x; want %d, %q, % x at its end", n, chip.frames, m.b, c.want, c.frames, c.tail)
			}
		})
	}
	_, err := newMemory(t, transfer(0, 0, 0, 8, 0)).call(NewSPIPort(&loop{}), spiMessage|31<<16, base)
	wantErrno(t, err, unix.EINVAL)
}

func TestSPISettings(t *testing.T) {
	chip := &loop{}
	p := NewSPIPort(chip)
	for _, c := range []struct {
		request uint32
		in      string
		err     unix.Errno
		out     string // in hexadecimal; what is written stays
	}{
		{spiReadMode, "ff", 0, "00"}, {spiWriteMode, "03", 0, "03"}, {spiReadMode, "ff", 0, "03"},
		{spiWriteMode, "04", unix.EINVAL, "04"}, // chip select high
		{spiWriteLSB, "01", 0, "01"}, {spiReadMode32, "ffffffff", 0, "0b000000"}, {spiReadLSB, "ff", 0, "01"}, {spiWriteLSB, "00", 0, "00"},
		{spiWriteMode32, "00010000", unix.EINVAL, "00010000"}, {spiWriteMode32, "01000000", 0, "01000000"},
		{spiWriteBits, "10", unix.EINVAL, "10"}, {spiWriteBits, "00", 0, "00"}, {spiReadBits, "ff", 0, "08"},
		{spiWriteSpeed, "00000000", unix.EINVAL, "00000000"}, {spiWriteSpeed, "40420f00", 0, "40420f00"}, {spiReadSpeed, "ffffffff", 0, "40420f00"},
		{spiWriteSpeed, "ffffffff", 0, "ffffffff"}, {spiReadSpeed, "ffffffff", 0, "40597307"},
		{spiReadSpeed, "ff", unix.EFAULT, "ff"}, {spiWriteMode, "", unix.EFAULT, ""}, {spiWriteSpeed, "", unix.EFAULT, ""},
		{ioc(dirRead, 'k', 6, 1), "ff", unix.ENOTTY, "ff"},
	} {
		m := newMemory(t, c.in)
		_, err := m.call(p, c.request, base)
		wantErrno(t, err, c.err)
		if got := fmt.Sprintf("%x", m.b); got != c.out {
			t.Errorf("request %#x with %s: %s, want %s", c.request, c.in, got, c.out)
		}
	}
	// Now in mode 1, which the chip does not understand.
	m := newMemory(t, transfer(32, 32, 1, 8, 0), "aa")
	if n, err := m.call(p, spiMessage|transferSize<<16, base); n != 1 || err != nil || m.b[32] != 0xff || len(chip.frames) > 0 {
		t.Errorf("got %d, %v, % x, frames %q", n, err, m.b[32:], chip.frames)
	}
}
