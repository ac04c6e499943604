package cddl

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxNesting is the deepest that docs/wire-format.md section 1 allows, of a passport.
const maxNesting = 12

// ErrEncoding reports bytes that are not one item in deterministic CBOR, of
// whatever shape.
var ErrEncoding = errors.New("not deterministic cbor")

// An Item is one CBOR data item (RFC 8949 section 3).
type Item struct {
	major byte   // 0 to 7
	n     uint64 // the head's argument
	bytes []byte // of a string; shares the input's memory
	items []Item // of an array; of a map keys and values in turn; of a tag its one content
}

// Read decodes one item by the rules of docs/wire-format.md section 1: shortest
// heads, definite lengths, map keys in ascending order, no floats. It is written
// apart from the codec that it helps to judge. Errors wrap ErrEncoding.
func Read(data []byte) (Item, error) {
	it, rest, err := read(data, maxNesting)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes after the item", len(rest))
	}
	if err != nil {
		return Item{}, fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	return it, nil
}

func read(data []byte, depth int) (it Item, rest []byte, err error) {
	if len(data) == 0 {
		return it, nil, errors.New("cut short")
	}
	if depth < 0 {
		return it, nil, fmt.Errorf("nested deeper than %d", maxNesting)
	}
	info := data[0] & 31
	it.major, it.n, rest = data[0]>>5, uint64(info), data[1:]
	if info >= 24 {
		if it.n, rest, err = argument(info, rest); err != nil {
			return it, nil, err
		}
	}
	switch it.major {
	case 2, 3:
		if it.n > uint64(len(rest)) {
			return it, nil, errors.New("string is cut short")
		}
		it.bytes, rest = rest[:it.n], rest[it.n:]
		if it.major == 3 && !utf8.Valid(it.bytes) {
			return it, nil, errors.New("text is not utf-8")
		}
	case 4, 5, 6:
		return readItems(it, rest, depth-1)
	case 7:
		if info >= 24 {
			return it, nil, errors.New("float or long simple value")
		}
	}
	return it, rest, nil
}

// argument reads the 1, 2, 4 or 8 bytes of a head and refuses what a shorter one
// could have said.
func argument(info byte, data []byte) (n uint64, rest []byte, err error) {
	size := 1 << (info - 24)
	switch {
	case info > 27:
		return 0, nil, errors.New("indefinite length or reserved head")
	case size > len(data):
		return 0, nil, errors.New("head is cut short")
	}
	for _, b := range data[:size] {
		n = n<<8 | uint64(b)
	}
	if size == 1 && n < 24 || size > 1 && n>>(4*size) == 0 {
		return 0, nil, fmt.Errorf("%d in %d bytes", n, size)
	}
	return n, data[size:], nil
}

func readItems(it Item, data []byte, depth int) (Item, []byte, error) {
	count := uint64(1)
	if it.major != 6 {
		if it.n > uint64(len(data)) {
			return it, nil, errors.New("array or map is cut short")
		}
		count = it.n * uint64(it.major-3)
	}
	var key []byte
	for i := range count {
		next, rest, err := read(data, depth)
		if err != nil {
			return it, nil, err
		}
		if it.major == 5 && i%2 == 0 {
			this := data[:len(data)-len(rest)]
			if bytes.Compare(key, this) >= 0 {
				return it, nil, errors.New("map keys do not ascend")
			}
			key = this
		}
		it.items, data = append(it.items, next), rest
	}
	return it, data, nil
}

// integer is the value of an integer within 64 signed bits.
func (it Item) integer() (n int64, ok bool) {
	if it.major > 1 || it.n > 1<<63-1 {
		return 0, false
	}
	if it.major == 1 {
		return -1 - int64(it.n), true
	}
	return int64(it.n), true
}

// String tells an item in the manner of diagnostic notation, arrays and maps by
// their size.
func (it Item) String() string {
	switch it.major {
	case 0:
		return fmt.Sprint(it.n)
	case 1:
		if n, ok := it.integer(); ok {
			return fmt.Sprint(n)
		}
		return fmt.Sprintf("-1-%d", it.n)
	case 2:
		return fmt.Sprintf("byte string of %d", len(it.bytes))
	case 3:
		return fmt.Sprintf("%.40q", it.bytes)
	case 4:
		return fmt.Sprintf("array of %d", it.n)
	case 5:
		return fmt.Sprintf("map of %d", it.n)
	case 6:
		return fmt.Sprintf("tag %d", it.n)
	}
	return fmt.Sprintf("simple(%d)", it.n)
}
