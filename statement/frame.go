package statement

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"trailmark/internal/dcbor"
	"trailmark/trace"
)

// Bounds of integers and names, see docs/wire-format.md section 1.
const (
	MaxUint = 1<<53 - 1
	MaxName = 64
	MaxText = 256
)

// Quality says how far a wall clock can be trusted.
type Quality uint64

// Clock qualities.
const (
	ClockUnset        Quality = 0 // before the software's build date; no wall time is given
	ClockRestored     Quality = 1 // plausible, from a saved time
	ClockRTC          Quality = 2
	ClockSynchronised Quality = 3
)

// A Clock is the device's time at a frame's end.
type Clock struct {
	BootID    [16]byte `cbor:"1,keyasint"`
	BootCount uint64   `cbor:"2,keyasint"`
	Boottime  int64    `cbor:"3,keyasint"` // ns since boot, suspend included
	Wall      int64    `cbor:"4,keyasint"` // Unix ms, 0 when unset
	Quality   Quality  `cbor:"5,keyasint"`
	MaxError  uint64   `cbor:"6,keyasint"` // ms
}

// After is what bounds a frame's time from below: the newest checkpoint that the
// device has verified, and the newest final block that it was told of.
type After struct {
	_         struct{} `cbor:",toarray"`
	Origin    Hash     // SHA-256 of the origin line
	Size      uint64
	Root      Hash
	ChainID   string // "": no block yet
	Height    uint64
	BlockHash Hash
}

// A Frame is what a device signs at a time.
type Frame struct {
	Version uint64   `cbor:"1,keyasint"`
	Seq     uint64   `cbor:"2,keyasint"`
	Prev    Hash     `cbor:"3,keyasint"` // id of the statement before
	Clock   Clock    `cbor:"4,keyasint"`
	Span    [2]int64 `cbor:"5,keyasint"` // ms, wall or since boot as Clock.Quality says
	Root    Hash     `cbor:"6,keyasint"` // records root
	Count   uint64   `cbor:"7,keyasint"`
	Plan    Hash     `cbor:"8,keyasint"` // statement id of the plan in force
	After   *After   `cbor:"9,keyasint,omitempty"`
	Note    string   `cbor:"10,keyasint,omitempty"`
}

// Basis is the time base of the frame's times.
func (f *Frame) Basis() uint8 {
	if f.Clock.Quality == ClockUnset {
		return trace.Boot
	}
	return trace.Wall
}

// Check refuses a frame that breaks the wire format's bounds.
func (f *Frame) Check() error {
	c := f.Clock
	switch {
	case f.Version != 1:
		return fmt.Errorf("version %d, want 1", f.Version)
	case f.Seq > MaxUint || f.Count > dcbor.MaxItems:
		return fmt.Errorf("seq %d or record count %d out of bounds", f.Seq, f.Count)
	case c.BootCount > math.MaxUint32 || c.Boottime < 0 || c.MaxError > math.MaxUint32 || c.Quality > ClockSynchronised:
		return errors.New("clock out of bounds")
	case !validTime(c.Wall) || !validTime(f.Span[0]) || !validTime(f.Span[1]) || f.Span[0] > f.Span[1]:
		return fmt.Errorf("times %d, %v out of bounds", c.Wall, f.Span)
	case c.Quality == ClockUnset && c.Wall != 0:
		return fmt.Errorf("wall time %d on an unset clock", c.Wall)
	case c.Quality != ClockUnset && c.Wall == 0:
		return errors.New("no wall time on a clock that is set")
	case !validText(f.Note):
		return errors.New("note over 256 bytes")
	}
	if f.After != nil {
		return f.After.Check()
	}
	return nil
}

// Check refuses a bound that breaks the wire format, or names half a block.
func (a *After) Check() error {
	if a.Size > MaxUint || a.Height > MaxUint || !validText(a.ChainID) ||
		(a.ChainID == "") != (a.Height == 0) || (a.ChainID == "") != a.BlockHash.IsZero() {
		return errors.New("after out of bounds")
	}
	return nil
}

// Frame decodes the payload of a frame statement.
func (s *Statement) Frame() (*Frame, error) { return decode(s, KindFrame, new(Frame)) }

func validTime(t int64) bool { return t >= 0 && t <= trace.MaxTime }

func validName(s string) bool { return len(s) >= 1 && len(s) <= MaxName && utf8.ValidString(s) }

func validText(s string) bool { return len(s) <= MaxText && utf8.ValidString(s) }
