package trace

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// Walk calls piece for the maximal subtrees of the RFC 9162 tree of size leaves
// that no cut point splits, from left to right. Cuts ascend, of 0..size; equal
// ones count once. It is the shape of every proof of the wire format: of a
// trace, of a ledger and of a frame's records.
func Walk(size uint64, cuts []uint64, piece func(lo, hi uint64) error) error {
	return walk(0, size, cuts, piece)
}

func walk(lo, hi uint64, cuts []uint64, piece func(lo, hi uint64) error) error {
	if !splits(cuts, lo, hi) {
		return piece(lo, hi)
	}
	mid := lo + Split(hi-lo)
	if err := walk(lo, mid, cuts, piece); err != nil {
		return err
	}
	return walk(mid, hi, cuts, piece)
}

// splits reports that a cut point is strictly within (lo, hi).
func splits(cuts []uint64, lo, hi uint64) bool {
	i, _ := slices.BinarySearch(cuts, lo+1)
	return i < len(cuts) && cuts[i] < hi
}

// Split is the largest power of two below n > 1: where the RFC 9162 tree of n
// leaves divides.
func Split(n uint64) uint64 { return 1 << (bits.Len64(n-1) - 1) }

// subtree is the node over leaves [lo, hi), a subtree of the RFC 9162 shape.
func subtree(nodes Nodes, lo, hi uint64) (Node, error) {
	n := hi - lo
	if n&(n-1) == 0 {
		level := uint(bits.TrailingZeros64(n))
		return nodes.Node(level, lo>>level)
	}
	mid := lo + Split(n)
	l, err := subtree(nodes, lo, mid)
	if err != nil {
		return Node{}, err
	}
	r, err := subtree(nodes, mid, hi)
	if err != nil {
		return Node{}, err
	}
	return join(l, r)
}

// An Opened is a proof that led to a signed head. It belongs to one goroutine.
type Opened struct {
	spec   Spec
	head   Head
	a, b   uint64
	pieces []piece
	trees  map[[2]uint64]Node // every subtree that was rebuilt, by its span
}

type piece struct {
	lo, hi uint64
	Node
}

// Open checks the proof against a head whose signature the caller has checked.
// The cuts are the proof's further cut points, in any order.
func (r Range) Open(spec Spec, head Head, cuts ...uint64) (*Opened, error) {
	if err := head.Check(); err != nil {
		return nil, err
	}
	if err := spec.CheckDigest(head.Digest); err != nil {
		return nil, err
	}
	all, err := r.cuts(head.Size, cuts)
	if err != nil {
		return nil, err
	}
	if len(r.Nodes) > MaxNodes {
		return nil, fmt.Errorf("proof of %d nodes, at most %d", len(r.Nodes), MaxNodes)
	}
	o := &Opened{spec: spec, head: head, a: r.A, b: r.B, trees: map[[2]uint64]Node{}}
	err = Walk(head.Size, all, func(lo, hi uint64) error {
		if len(o.pieces) == len(r.Nodes) {
			return errors.New("proof has too few nodes")
		}
		n := r.Nodes[len(o.pieces)]
		o.pieces = append(o.pieces, piece{lo, hi, n})
		o.trees[[2]uint64{lo, hi}] = n
		return spec.CheckDigest(n.Digest)
	})
	if err != nil {
		return nil, err
	}
	if n := len(r.Nodes) - len(o.pieces); n > 0 {
		return nil, fmt.Errorf("proof has %d nodes too many", n)
	}
	root, err := o.build(0, head.Size)
	if err != nil {
		return nil, err
	}
	if root.Hash != head.Root || !root.Digest.equal(&head.Digest) {
		return nil, ErrHead
	}
	return o, nil
}

// cuts are all cut points of the proof, ascending.
func (r Range) cuts(size uint64, more []uint64) ([]uint64, error) {
	if r.A >= r.B || r.B > size {
		return nil, fmt.Errorf("blocks [%d, %d) are not within a trace of %d", r.A, r.B, size)
	}
	all := append([]uint64{r.A, r.B}, more...)
	slices.Sort(all)
	if last := all[len(all)-1]; last > size {
		return nil, fmt.Errorf("cut point %d is beyond a trace of %d", last, size)
	}
	return all, nil
}

// build is the root over [lo, hi), which the pieces must tile.
func (o *Opened) build(lo, hi uint64) (Node, error) {
	if n, ok := o.trees[[2]uint64{lo, hi}]; ok {
		return n, nil
	}
	if hi-lo < 2 {
		return Node{}, fmt.Errorf("proof is not cut at block %d", hi)
	}
	mid := lo + Split(hi-lo)
	l, err := o.build(lo, mid)
	if err != nil {
		return Node{}, err
	}
	r, err := o.build(mid, hi)
	if err != nil {
		return Node{}, err
	}
	n, err := join(l, r)
	if err == nil {
		o.trees[[2]uint64{lo, hi}] = n
	}
	return n, err
}

// Inside is the digest of blocks [A, B).
func (o *Opened) Inside() (Digest, error) { return o.Between(o.a, o.b) }

// Between is the digest of blocks [lo, hi), at both ends of which the proof must
// be cut.
func (o *Opened) Between(lo, hi uint64) (d Digest, err error) {
	some := false
	for _, p := range o.pieces {
		switch {
		case p.hi <= lo || p.lo >= hi:
		case p.lo < lo || p.hi > hi:
			return Digest{}, fmt.Errorf("proof is not cut at blocks %d and %d", lo, hi)
		case !some:
			d, some = p.Digest, true
		default:
			if d, err = Merge(d, p.Digest); err != nil {
				return Digest{}, err
			}
		}
	}
	return d, nil
}

// Window refuses unless every block that has a part in [w0, w1) ms is among
// [A, B). These may reach beyond the window by a part of a block at either end.
func (o *Opened) Window(w0, w1 int64) error {
	if w0 > w1 {
		return fmt.Errorf("%w: it ends at %d ms, before it begins at %d", ErrWindow, w1, w0)
	}
	for _, p := range o.pieces {
		if p.hi <= o.a && p.Digest.T1 > w0 {
			return fmt.Errorf("%w: one ends at %d ms, the window begins at %d", ErrWindow, p.Digest.T1, w0)
		}
		if p.lo >= o.b && p.Digest.T0 < w1 {
			return fmt.Errorf("%w: one begins at %d ms, the window ends at %d", ErrWindow, p.Digest.T0, w1)
		}
	}
	return nil
}

// Older checks that a head, whose signature the caller has checked, is of the
// same trace and a prefix of the proof's head. The proof must be cut at its size.
func (o *Opened) Older(h Head) error {
	if h.Start != o.head.Start {
		return fmt.Errorf("%w: they are of two traces", ErrOlder)
	}
	if err := h.Check(); err != nil {
		return err
	}
	if h.Size > o.head.Size {
		return fmt.Errorf("%w: size %d > %d", ErrOlder, h.Size, o.head.Size)
	}
	root, err := o.build(0, h.Size)
	if err != nil {
		return err
	}
	if root.Hash != h.Root || !root.Digest.equal(&h.Digest) {
		return ErrOlder
	}
	return nil
}

// A Leaf is one block to check against a proof: the hash of its record and the
// digest recomputed from its readings.
type Leaf struct {
	Record Hash
	Digest Digest
}

// ErrBlocks reports blocks that do not give the proof's nodes.
var ErrBlocks = errors.New("blocks are not those of the proof")

// Blocks checks that the leaves are blocks first, first + 1, … of the trace. The
// proof must be cut at both ends of them.
func (o *Opened) Blocks(first uint64, leaves []Leaf) error {
	last := first + uint64(len(leaves))
	if len(leaves) == 0 || first < o.a || last > o.b || last < first {
		return fmt.Errorf("%w: blocks [%d, %d) are not within [%d, %d)", ErrBlocks, first, last, o.a, o.b)
	}
	rebuilt := &Opened{trees: make(map[[2]uint64]Node, len(leaves))}
	for i, l := range leaves {
		n := first + uint64(i)
		rebuilt.trees[[2]uint64{n, n + 1}] = Node{Digest: l.Digest, Hash: LeafHash(o.head.Start, l.Record)}
	}
	at := first
	for _, p := range o.pieces {
		if p.hi <= first || p.lo >= last {
			continue
		}
		if p.lo < first || p.hi > last {
			return fmt.Errorf("%w: the proof is not cut at blocks %d and %d", ErrBlocks, first, last)
		}
		n, err := rebuilt.build(p.lo, p.hi)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBlocks, err)
		}
		if n.Hash != p.Hash || !n.Digest.equal(&p.Digest) {
			return fmt.Errorf("%w: blocks [%d, %d) give another node", ErrBlocks, p.lo, p.hi)
		}
		at = p.hi
	}
	if at != last {
		return fmt.Errorf("%w: the proof ends at block %d", ErrBlocks, at)
	}
	return nil
}
