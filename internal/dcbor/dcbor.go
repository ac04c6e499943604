// Package dcbor is the one deterministic CBOR codec of Trailmark's wire format.
//
// It encodes as RFC 8949 section 4.2.1 asks (shortest forms, definite lengths,
// map keys in bytewise order, no floats of ours) and decodes only what it would
// itself have encoded: after decoding, the value is encoded again and compared
// byte for byte. That one check refuses unsorted keys, long integers, null for
// zero, text keys for integer keys and whatever else a lenient decoder lets by.
// docs/wire-format.md section 1 is normative.
package dcbor

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// Limits of one message, checked before anything is allocated.
const (
	MaxMessage = 256 << 10 // bytes
	MaxNesting = 8
	MaxItems   = 8192 // of an array or a map

	// A passport holds range proofs, which are six deep by themselves.
	maxContainerNesting = 12
)

// ErrNotDeterministic reports input that is valid CBOR but not the encoding
// that Marshal gives.
var ErrNotDeterministic = errors.New("not deterministic cbor")

var encoder = sync.OnceValue(func() cbor.EncMode {
	eo := cbor.CoreDetEncOptions()
	eo.NilContainers = cbor.NilContainerAsEmpty
	eo.IndefLength = cbor.IndefLengthForbidden
	eo.TagsMd = cbor.TagsForbidden
	em, err := eo.EncMode()
	if err != nil {
		panic(err) // constant options: a programming error
	}
	return em
})

var (
	messages   = sync.OnceValue(func() cbor.DecMode { return decoder(MaxNesting) })
	containers = sync.OnceValue(func() cbor.DecMode { return decoder(maxContainerNesting) })
)

func decoder(nesting int) cbor.DecMode {
	dm, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   nesting,
		MaxArrayElements:  MaxItems,
		MaxMapPairs:       MaxItems,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8RejectInvalid,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return dm
}

// Marshal encodes v deterministically.
func Marshal(v any) ([]byte, error) {
	return encoder().Marshal(v)
}

// MustMarshal encodes a value whose type cannot fail to encode (our own structs
// of integers, strings and byte strings).
func MustMarshal(v any) []byte {
	b, err := Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("dcbor: encoding %T: %v", v, err))
	}
	return b
}

// Unmarshal decodes one item of at most MaxMessage bytes into v and refuses
// whatever Marshal would not have written for it.
func Unmarshal(data []byte, v any) error { return unmarshal(messages(), data, v, MaxMessage) }

// UnmarshalMax is Unmarshal for containers that may be larger and deeper than a
// message, such as passports; max is in bytes.
func UnmarshalMax(data []byte, v any, max int) error { return unmarshal(containers(), data, v, max) }

func unmarshal(dm cbor.DecMode, data []byte, v any, max int) error {
	if len(data) > max {
		return fmt.Errorf("message of %d bytes is over the limit of %d", len(data), max)
	}
	if err := dm.Unmarshal(data, v); err != nil {
		return fmt.Errorf("malformed cbor: %w", err)
	}
	again, err := encoder().Marshal(v)
	if err != nil {
		return fmt.Errorf("malformed cbor: %w", err)
	}
	if !bytes.Equal(again, data) {
		return ErrNotDeterministic
	}
	return nil
}

// The Append functions write single items without reflection, for hot paths
// that hash what they encode.

// AppendArray appends the head of an array of n items.
func AppendArray(dst []byte, n int) []byte { return appendHead(dst, 0x80, uint64(n)) }

// AppendBytes appends a byte string.
func AppendBytes(dst, b []byte) []byte { return append(appendHead(dst, 0x40, uint64(len(b))), b...) }

// AppendText appends a text string.
func AppendText(dst []byte, s string) []byte {
	return append(appendHead(dst, 0x60, uint64(len(s))), s...)
}

// AppendInt appends an integer.
func AppendInt(dst []byte, n int64) []byte {
	if n < 0 {
		return appendHead(dst, 0x20, uint64(-(n + 1)))
	}
	return appendHead(dst, 0x00, uint64(n))
}

func appendHead(dst []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n < 1<<8:
		return append(dst, major|24, byte(n))
	case n < 1<<16:
		return append(dst, major|25, byte(n>>8), byte(n))
	case n < 1<<32:
		return append(dst, major|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	default:
		return append(dst, major|27, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32),
			byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
}
