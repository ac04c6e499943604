package evmproof

import (
	"errors"
	"fmt"
)

// errRLP marks what no Ethereum client would have encoded.
var errRLP = errors.New("malformed rlp")

// item is one RLP item.
type item struct {
	list    bool
	content []byte // without the head
	raw     []byte // with it
}

func (it item) empty() bool { return !it.list && len(it.content) == 0 }

// split cuts the first item off b, which may be hostile.
func split(b []byte) (it item, rest []byte, err error) {
	if len(b) == 0 {
		return item{}, nil, fmt.Errorf("nothing where an item should be: %w", errRLP)
	}
	c := b[0]
	if c < 0x80 { // a byte that is its own encoding
		return item{content: b[:1], raw: b[:1]}, b[1:], nil
	}
	it.list = c >= 0xc0
	head, size := 1, uint64(c&0x3f)
	if size > 55 { // the size follows, in so many bytes
		n := int(size - 55)
		if len(b) < 1+n || b[1] == 0 {
			return item{}, nil, errRLP
		}
		size = 0
		for _, d := range b[1 : 1+n] {
			size = size<<8 | uint64(d)
		}
		if size <= 55 {
			return item{}, nil, errRLP
		}
		head += n
	}
	if size > uint64(len(b)-head) {
		return item{}, nil, fmt.Errorf("item of %d bytes where %d are left: %w", size, len(b)-head, errRLP)
	}
	end := head + int(size)
	it.content, it.raw = b[head:end], b[:end]
	if !it.list && size == 1 && it.content[0] < 0x80 {
		return item{}, nil, errRLP
	}
	return it, b[end:], nil
}

// items decodes a list of at most max items.
func (it item) items(max int) ([]item, error) {
	if !it.list {
		return nil, fmt.Errorf("a string where a list should be: %w", errRLP)
	}
	var all []item
	for rest := it.content; len(rest) > 0; {
		if len(all) == max {
			return nil, fmt.Errorf("list of over %d items: %w", max, errRLP)
		}
		var next item
		var err error
		if next, rest, err = split(rest); err != nil {
			return nil, err
		}
		all = append(all, next)
	}
	return all, nil
}

// decodeList decodes b, which must be one list of at most max items.
func decodeList(b []byte, max int) ([]item, error) {
	it, rest, err := split(b)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes after the list: %w", len(rest), errRLP)
	}
	return it.items(max)
}

func (it item) hash(dst *[32]byte) error {
	if it.list || len(it.content) != len(dst) {
		return fmt.Errorf("hash of %d bytes, want %d: %w", len(it.content), len(dst), errRLP)
	}
	copy(dst[:], it.content)
	return nil
}

func (it item) uint(dst *uint64) error {
	if it.list || len(it.content) > 8 || len(it.content) > 0 && it.content[0] == 0 {
		return fmt.Errorf("number %x is not canonical or too large: %w", it.raw[:min(len(it.raw), 12)], errRLP)
	}
	*dst = 0
	for _, d := range it.content {
		*dst = *dst<<8 | uint64(d)
	}
	return nil
}

// encodeUint is the RLP of a number.
func encodeUint(n uint64) []byte {
	if n > 0 && n < 0x80 {
		return []byte{byte(n)}
	}
	var b []byte
	for shift := 56; shift >= 0; shift -= 8 {
		if d := byte(n >> shift); d != 0 || len(b) > 0 {
			b = append(b, d)
		}
	}
	return append([]byte{0x80 + byte(len(b))}, b...)
}
