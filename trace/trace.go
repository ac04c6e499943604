// Package trace is an authenticated range-aggregate tree over the reading
// blocks of one channel.
//
// The shape is that of an RFC 9162 Merkle tree. Every node carries, beside its
// hash, a Digest of the readings below it: span, cover, minimum, maximum, sums,
// and the time and longest run beyond each limit. A child's digest is hashed
// into its parent, the root's digest stands in the Head that a device signs.
// So one signature and some thirty nodes prove what every reading of a window
// of weeks amounted to, and none of them can have been left out.
//
// docs/wire-format.md section 4 is normative.
package trace

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"

	"trailmark/internal/dcbor"
)

// A Hash is a SHA-256 hash.
type Hash [32]byte

// IsZero reports the all-zero hash, which stands for "none".
func (h Hash) IsZero() bool { return h == Hash{} }

// String is lower-case hex.
func (h Hash) String() string { return fmt.Sprintf("%x", h[:]) }

// MarshalText is lower-case hex, for JSON.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText reads what MarshalText writes.
func (h *Hash) UnmarshalText(text []byte) error {
	var out Hash
	if len(text) != 2*len(out) {
		return fmt.Errorf("hash of %d hex digits, want %d", len(text), 2*len(out))
	}
	if _, err := hex.Decode(out[:], text); err != nil {
		return fmt.Errorf("hash: %w", err)
	}
	*h = out
	return nil
}

// MaxSize bounds a trace: 2^53−1 blocks.
const MaxSize = 1<<53 - 1

// A Start says what a trace is of and which trace it follows; its hash is in
// every leaf and in every head.
type Start struct {
	_         struct{} `cbor:",toarray"`
	Epoch     uint64
	Channel   string
	Plan      Hash // SHA-256 of the plan's channel entry, zero: no plan
	Basis     uint8
	Boot      [16]byte
	PrevStart Hash
	PrevSize  uint64
	PrevRoot  Hash
}

// Time bases of a trace.
const (
	Wall uint8 = 0 // Unix ms
	Boot uint8 = 1 // ms since boot
)

// Hash is the trace's identity.
func (s Start) Hash() Hash { return sha256.Sum256(dcbor.MustMarshal(s)) }

// Check refuses a start that breaks the wire format's bounds.
func (s Start) Check() error {
	if len(s.Channel) == 0 || len(s.Channel) > 64 {
		return fmt.Errorf("channel name of %d bytes, want 1..64", len(s.Channel))
	}
	if s.Basis > Boot || s.Epoch > MaxSize || s.PrevSize > MaxSize {
		return errors.New("trace start out of bounds")
	}
	if (s.PrevSize == 0) != s.PrevStart.IsZero() || (s.PrevSize == 0) != s.PrevRoot.IsZero() {
		return errors.New("trace start names half a predecessor")
	}
	return nil
}

// ParseStart decodes a start preimage.
func ParseStart(data []byte) (Start, error) {
	var s Start
	if err := dcbor.Unmarshal(data, &s); err != nil {
		return Start{}, fmt.Errorf("trace start: %w", err)
	}
	return s, s.Check()
}

// A Node is a subtree as a proof shows it.
type Node struct {
	_      struct{} `cbor:",toarray"`
	Digest Digest
	Hash   Hash
}

// A Head is the state of a trace that a device signs.
type Head struct {
	_      struct{} `cbor:",toarray"`
	Start  Hash
	Size   uint64 // blocks
	Root   Hash
	Digest Digest
}

// Check refuses a head that no trace could have.
func (h Head) Check() error {
	if h.Size == 0 || h.Size > MaxSize {
		return fmt.Errorf("trace size %d out of bounds", h.Size)
	}
	return h.Digest.check()
}

// Equal reports whether two heads say the same.
func (h Head) Equal(o Head) bool {
	return h.Start == o.Start && h.Size == o.Size && h.Root == o.Root && h.Digest.equal(&o.Digest)
}

// LeafHash is the hash of the block whose encoded record hashes to record.
func LeafHash(start, record Hash) Hash {
	var b [65]byte
	copy(b[1:], start[:])
	copy(b[33:], record[:])
	return sha256.Sum256(b[:])
}

// join makes the parent of two adjacent subtrees.
func join(l, r Node) (Node, error) {
	d, err := Merge(l.Digest, r.Digest)
	if err != nil {
		return Node{}, err
	}
	buf := make([]byte, 1, 512)
	buf[0] = 1
	buf = append(l.Digest.append(buf), l.Hash[:]...)
	buf = append(r.Digest.append(buf), r.Hash[:]...)
	return Node{Digest: d, Hash: sha256.Sum256(buf)}, nil
}

// A Frontier is what is needed to append to a trace: its perfect subtrees, the
// largest first. The zero Frontier with a start is an empty trace. It is a
// value: Append leaves the receiver as it was, so a caller commits by assigning.
type Frontier struct {
	_     struct{} `cbor:",toarray"`
	Start Hash
	Size  uint64
	Peaks []Node
}

// Check refuses a stored frontier that cannot be one.
func (f Frontier) Check() error {
	if f.Size > MaxSize || bits.OnesCount64(f.Size) != len(f.Peaks) {
		return fmt.Errorf("frontier of size %d has %d peaks", f.Size, len(f.Peaks))
	}
	return nil
}

// A Perfect is a complete subtree of 2^Level leaves, the Index'th from the left
// of its level. A store keeps these to make proofs later.
type Perfect struct {
	Level uint
	Index uint64
	Node  Node
}

// Append adds the block with the given record hash and leaf digest. It returns
// the new frontier and the perfect subtrees that this leaf completed, the leaf
// itself first.
func (f Frontier) Append(record Hash, digest Digest) (Frontier, []Perfect, error) {
	if f.Size >= MaxSize {
		return f, nil, fmt.Errorf("trace is full at %d blocks", f.Size)
	}
	if err := digest.check(); err != nil {
		return f, nil, err
	}
	if n := len(f.Peaks); n > 0 {
		last := f.Peaks[n-1].Digest
		if digest.T0 < last.T1 || len(digest.Limits) != len(last.Limits) {
			return f, nil, fmt.Errorf("block beginning at %d ms does not continue a trace that reaches %d ms", digest.T0, last.T1)
		}
	}
	node := Node{Digest: digest, Hash: LeafHash(f.Start, record)}
	made := []Perfect{{0, f.Size, node}}
	peaks := append([]Node(nil), f.Peaks...)
	for level, size := uint(1), f.Size; size&1 == 1; level, size = level+1, size>>1 {
		var err error
		if node, err = join(peaks[len(peaks)-1], node); err != nil {
			return f, nil, err
		}
		peaks = peaks[:len(peaks)-1]
		made = append(made, Perfect{level, f.Size >> level, node})
	}
	next := Frontier{Start: f.Start, Size: f.Size + 1, Peaks: append(peaks, node)}
	if _, err := next.Head(); err != nil { // the whole must stay within bounds, not only the parts
		return f, nil, err
	}
	return next, made, nil
}

// Head is the signed state of the trace at this size.
func (f Frontier) Head() (Head, error) {
	root, err := fold(f.Peaks)
	if err != nil {
		return Head{}, err
	}
	return Head{Start: f.Start, Size: f.Size, Root: root.Hash, Digest: root.Digest}, nil
}

// fold joins perfect subtrees from the right, as RFC 9162 does.
func fold(peaks []Node) (Node, error) {
	if len(peaks) == 0 {
		return Node{}, errors.New("an empty trace has no head")
	}
	node := peaks[len(peaks)-1]
	for i := len(peaks) - 2; i >= 0; i-- {
		var err error
		if node, err = join(peaks[i], node); err != nil {
			return Node{}, err
		}
	}
	return node, nil
}
