// Package r200 is the serial protocol of UHF modules built on the R200 chip,
// such as the YRM100 and M100: frames, and what is in those that an inventory
// needs. Driver and model share it; it opens no port.
//
// It promises that a frame it returns had its length, checksum and end where
// they belong, that no byte of a frame is lost to garbage in front of it, and
// that a tag it returns carries the CRC-16 of its own PC and EPC.
//
// Format ("R200 user protocol" V2.3.3), all numbers big-endian:
//
//	0xAA kind:8 code:8 length:16 params checksum:8 0xDD
//
// The checksum is the sum of the bytes from kind to the last of params. Nothing
// is escaped: both marks may occur inside a frame.
package r200

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Baud is the speed modules are sold with: 8 data bits, no parity, 1 stop bit.
const Baud = 115200

const (
	head      = 0xaa
	tail      = 0xdd
	overhead  = 7 // bytes around params
	MaxParams = 128
)

// A Kind says who speaks and why.
type Kind uint8

// The kinds of frames.
const (
	Command  Kind = 0 // from the host
	Response Kind = 1 // to a command
	Notice   Kind = 2 // of a tag, unasked
)

// A Code says what a frame is about; a response repeats that of its command.
type Code uint8

// The codes.
const (
	GetInfo       Code = 0x03
	SetRegion     Code = 0x07
	GetRegion     Code = 0x08
	SetSelect     Code = 0x0c
	SetSelectMode Code = 0x12
	Poll          Code = 0x22 // one inventory round; also of every notice
	PollMany      Code = 0x27
	StopPoll      Code = 0x28
	ReadMemory    Code = 0x39
	SetPower      Code = 0xb6
	GetPower      Code = 0xb7
	Failed        Code = 0xff // of a response: any command failed
)

var codeNames = map[Code]string{
	GetInfo: "get info", SetRegion: "set region", GetRegion: "get region", SetSelect: "set select",
	SetSelectMode: "set select mode", Poll: "poll", PollMany: "poll many", StopPoll: "stop poll",
	ReadMemory: "read memory", SetPower: "set power", GetPower: "get power", Failed: "failed",
}

// String returns the name, or the number.
func (c Code) String() string {
	if s, ok := codeNames[c]; ok {
		return s
	}
	return fmt.Sprintf("code 0x%02x", uint8(c))
}

// A Frame is one message either way.
type Frame struct {
	Kind   Kind
	Code   Code
	Params []byte // at most MaxParams
}

// WriteFrame writes f in a single Write.
func WriteFrame(w io.Writer, f Frame) error {
	if len(f.Params) > MaxParams {
		return fmt.Errorf("r200: %v with %d bytes > %d", f.Code, len(f.Params), MaxParams)
	}
	b := make([]byte, 0, overhead+len(f.Params))
	b = append(b, head, byte(f.Kind), byte(f.Code))
	b = binary.BigEndian.AppendUint16(b, uint16(len(f.Params)))
	b = append(b, f.Params...)
	b = append(b, sum(b[1:]), tail)
	_, err := w.Write(b)
	return err
}

func sum(b []byte) (s byte) {
	for _, v := range b {
		s += v
	}
	return s
}

// A Reader takes frames out of a stream of bytes. It belongs to one goroutine.
type Reader struct {
	r       io.Reader
	buf     [2 * (overhead + MaxParams)]byte
	from    int // buf[from:to] is read and not used yet
	to      int
	skipped int
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Skipped returns how many bytes were in no frame so far.
func (r *Reader) Skipped() int { return r.skipped }

// Next returns the next frame and passes over everything in front of it. What
// looks like the start of a frame and is none costs its first byte only, so a
// frame that begins inside it is still found. The error is that of the stream.
func (r *Reader) Next() (Frame, error) {
	for idle := 0; ; {
		for r.from < r.to {
			f, n, ok := first(r.buf[r.from:r.to])
			if n == 0 {
				break // incomplete
			}
			r.from += n
			if ok {
				return f, nil
			}
			r.skipped += n
		}
		if r.from > 0 {
			r.to = copy(r.buf[:], r.buf[r.from:r.to])
			r.from = 0
		}
		n, err := r.r.Read(r.buf[r.to:])
		r.to += n
		if n > 0 {
			idle = 0
			continue
		}
		if err != nil {
			return Frame{}, err
		}
		// A port that was unplugged may return nothing for ever.
		if idle++; idle == 100 {
			return Frame{}, io.ErrNoProgress
		}
	}
}

// first looks at the start of b: a frame of n bytes, n bytes that are in none,
// or, with n = 0, too few to tell.
func first(b []byte) (f Frame, n int, ok bool) {
	if b[0] != head {
		n = 1
		for n < len(b) && b[n] != head {
			n++
		}
		return Frame{}, n, false
	}
	if len(b) > 1 && Kind(b[1]) > Notice {
		return Frame{}, 1, false
	}
	if len(b) < 5 {
		return Frame{}, 0, false
	}
	size := int(binary.BigEndian.Uint16(b[3:]))
	if size > MaxParams {
		return Frame{}, 1, false
	}
	if len(b) < overhead+size {
		return Frame{}, 0, false
	}
	end := 5 + size
	if b[end] != sum(b[1:end]) || b[end+1] != tail {
		return Frame{}, 1, false
	}
	return Frame{Kind(b[1]), Code(b[2]), append([]byte(nil), b[5:end]...)}, overhead + size, true
}
