package inspect

import (
	"encoding/binary"
	"fmt"
)

// A cursor reads the heads of CBOR items between pos and end of a file. All
// offsets are of the whole file, however deep the item is embedded.
type cursor struct {
	data     []byte
	pos, end int
}

// head is the start of an item: RFC 8949 section 3.
type head struct {
	at    int  // byte offset
	major byte // 0..7
	info  byte // low five bits of the first byte
	arg   uint64
	long  bool // written longer than it need be
}

// Major types.
const (
	majorUint  = 0
	majorNint  = 1
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
	majorTag   = 6
	majorOther = 7
)

// A broken is where the bytes stop making sense.
type broken struct {
	at  int
	why string
}

func (b *broken) Error() string { return fmt.Sprintf("byte %d: %s", b.at, b.why) }

func breaks(at int, format string, args ...any) error {
	return &broken{at, fmt.Sprintf(format, args...)}
}

func (c *cursor) head() (head, error) {
	if c.pos >= c.end {
		return head{}, breaks(c.pos, "ends where an item is due")
	}
	h := head{at: c.pos, major: c.data[c.pos] >> 5, info: c.data[c.pos] & 31}
	n := 0
	switch {
	case h.info < 24:
		h.arg = uint64(h.info)
	case h.info < 28:
		n = 1 << (h.info - 24)
	case h.info == 31:
		return head{}, breaks(c.pos, "indefinite length, which the wire format does not have")
	default:
		return head{}, breaks(c.pos, "0x%02x begins no item", c.data[c.pos])
	}
	if c.end-c.pos-1 < n {
		return head{}, breaks(c.pos, "ends in the middle of an item's head: %d bytes left, %d needed", c.end-c.pos-1, n)
	}
	b := c.data[c.pos+1 : c.pos+1+n]
	switch n {
	case 1:
		h.arg, h.long = uint64(b[0]), b[0] < 24
	case 2:
		h.arg = uint64(binary.BigEndian.Uint16(b))
		h.long = h.arg < 1<<8
	case 4:
		h.arg = uint64(binary.BigEndian.Uint32(b))
		h.long = h.arg < 1<<16
	case 8:
		h.arg = binary.BigEndian.Uint64(b)
		h.long = h.arg < 1<<32
	}
	h.long = h.long && h.major != majorOther // there it is a width, not a number
	c.pos += 1 + n
	return h, nil
}

// content is the bytes of the byte or text string that h begins.
func (c *cursor) content(h head) ([]byte, error) {
	if h.arg > uint64(c.end-c.pos) {
		return nil, breaks(h.at, "a string of %d bytes, and %d are left", h.arg, c.end-c.pos)
	}
	b := c.data[c.pos : c.pos+int(h.arg)]
	c.pos += int(h.arg)
	return b, nil
}

// skip passes over one item.
func (c *cursor) skip(depth int) error {
	h, err := c.head()
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return breaks(h.at, "nested deeper than %d", maxDepth)
	}
	n := uint64(0)
	switch h.major {
	case majorBytes, majorText:
		_, err = c.content(h)
		return err
	case majorArray:
		n = h.arg
	case majorMap:
		if n = 2 * h.arg; h.arg > uint64(c.end-c.pos) { // before the product can wrap
			return breaks(h.at, "a map of %d pairs, and %d bytes are left", h.arg, c.end-c.pos)
		}
	case majorTag:
		n = 1
	}
	for ; n > 0; n-- {
		if err := c.skip(depth + 1); err != nil {
			return err
		}
	}
	return nil
}
