package picc

import "math/bits"

// A Cell is one bit time of 128 carrier periods: the halves of it that carry
// the subcarrier. A card sends a one in the first half and a zero in the
// second (ISO/IEC 14443-2, Manchester coding), so answers that differ show as
// both.
type Cell uint8

const (
	None Cell = 0          // nobody modulates
	One  Cell = 1          // first half
	Zero Cell = 2          // second half
	Both Cell = One | Zero // a collision
)

// A Frame is what either side sends between start and end of communication:
// data bits, least significant first, and an odd parity bit after each whole
// byte (ISO/IEC 14443-3, 6.2.3).
type Frame []Cell

func cell(bit byte) Cell {
	if bit&1 == 1 {
		return One
	}
	return Zero
}

func parity(b byte) Cell { return cell(byte(bits.OnesCount8(b)+1) & 1) }

// Short is the 7-bit frame of REQA (0x26) and WUPA (0x52).
func Short(command byte) Frame { return Partial([]byte{command}, 7) }

// Standard is whole bytes, each with its parity.
func Standard(data ...byte) Frame { return Partial(data, 8*len(data)) }

// Partial is the first n bits of data: the reader's half of a bit-oriented
// anticollision frame.
func Partial(data []byte, n int) Frame {
	var f Frame
	for i := range n {
		f = append(f, cell(data[i/8]>>(i%8)))
		if i%8 == 7 {
			f = append(f, parity(data[i/8]))
		}
	}
	return f
}

// Rest is what follows the first n bits of data: the card's half of that frame.
// The parity of a byte that is split belongs to this half and is over the whole
// byte, of which the reader has not received all; it ignores that one.
func Rest(data []byte, n int) Frame { return Standard(data...)[n+n/8:] }

// Bytes takes f apart: the data, how many bits of it there are, and whether
// every parity bit holds and no two cards collided.
func (f Frame) Bytes() (data []byte, n int, ok bool) {
	ok = true
	for i, c := range f {
		if c != One && c != Zero {
			return data, n, false
		}
		if i%9 == 8 {
			ok = ok && c == parity(data[i/9])
			continue
		}
		if i%9 == 0 {
			data = append(data, 0)
		}
		data[i/9] |= byte(c&One) << (i % 9)
		n++
	}
	return data, n, ok
}

// CRC is the checksum of ISO/IEC 14443-3 annex B over data, sent low byte
// first. Type A presets 0x6363.
func CRC(preset uint16, data []byte) uint16 {
	crc := preset
	for _, b := range data {
		crc ^= uint16(b)
		for range 8 {
			lsb := crc & 1
			crc >>= 1
			if lsb == 1 {
				crc ^= 0x8408
			}
		}
	}
	return crc
}

// PresetA starts the CRC of type A.
const PresetA = 0x6363

// withCRC is data as a standard frame that ends in its CRC_A.
func withCRC(data ...byte) Frame {
	crc := CRC(PresetA, data)
	return Standard(append(data[:len(data):len(data)], byte(crc), byte(crc>>8))...)
}
