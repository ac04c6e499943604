package trace

import (
	"errors"
	"fmt"
	"math/bits"
)

// MaxNodes bounds a proof: two paths of a tree of 2^53 leaves and some.
const MaxNodes = 128

// A Range proves what the blocks [A, B) of a trace amount to: the maximal
// subtrees wholly inside or wholly outside of it, from left to right.
type Range struct {
	_     struct{} `cbor:",toarray"`
	A, B  uint64
	Nodes []Node
}

// A Nodes gives the perfect subtrees of a trace: the index'th of 2^level
// leaves. What it returned once it returns for ever.
type Nodes interface {
	Node(level uint, index uint64) (Node, error)
}

// Prove makes the proof of blocks [a, b) in a trace of the given size.
func Prove(nodes Nodes, size, a, b uint64) (Range, error) {
	if a >= b || b > size || size > MaxSize {
		return Range{}, fmt.Errorf("blocks [%d, %d) are not within a trace of %d", a, b, size)
	}
	r := Range{A: a, B: b}
	err := walk(0, size, a, b, func(lo, hi uint64) error {
		n, err := subtree(nodes, lo, hi)
		r.Nodes = append(r.Nodes, n)
		return err
	})
	return r, err
}

// walk calls emit for the maximal subtrees of [lo, hi) wholly inside or outside
// [a, b), in order.
func walk(lo, hi, a, b uint64, emit func(lo, hi uint64) error) error {
	if hi <= a || lo >= b || (a <= lo && hi <= b) {
		return emit(lo, hi)
	}
	mid := lo + split(hi-lo)
	if err := walk(lo, mid, a, b, emit); err != nil {
		return err
	}
	return walk(mid, hi, a, b, emit)
}

// split is the largest power of two below n > 1 (RFC 9162 section 2.1.1).
func split(n uint64) uint64 { return 1 << (bits.Len64(n-1) - 1) }

// subtree is the node over leaves [lo, hi), a subtree of the RFC 9162 shape.
func subtree(nodes Nodes, lo, hi uint64) (Node, error) {
	n := hi - lo
	if n&(n-1) == 0 {
		level := uint(bits.TrailingZeros64(n))
		return nodes.Node(level, lo>>level)
	}
	mid := lo + split(n)
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

// Errors that callers tell apart.
var (
	ErrHead   = errors.New("proof does not lead to the signed head")
	ErrWindow = errors.New("blocks left out reach into the window")
	ErrOlder  = errors.New("older head is no prefix of the newer one")
)

// Verify checks the proof against a head whose signature the caller has
// checked, and returns the digest of blocks [A, B).
func (r Range) Verify(spec Spec, head Head) (Digest, error) {
	return r.verify(spec, head, func(bool, Digest) error { return nil })
}

// VerifyWindow is Verify and refuses unless every block that has a part in
// [w0, w1) ms is among [A, B). The result may reach beyond the window by a part
// of a block at either end.
func (r Range) VerifyWindow(spec Spec, head Head, w0, w1 int64) (Digest, error) {
	if w0 > w1 {
		return Digest{}, fmt.Errorf("%w: it ends at %d ms, before it begins at %d", ErrWindow, w1, w0)
	}
	return r.verify(spec, head, func(before bool, d Digest) error {
		if before && d.T1 > w0 {
			return fmt.Errorf("%w: one ends at %d ms, the window begins at %d", ErrWindow, d.T1, w0)
		}
		if !before && d.T0 < w1 {
			return fmt.Errorf("%w: one begins at %d ms, the window ends at %d", ErrWindow, d.T0, w1)
		}
		return nil
	})
}

func (r Range) verify(spec Spec, head Head, outside func(before bool, d Digest) error) (Digest, error) {
	if err := head.Check(); err != nil {
		return Digest{}, err
	}
	if err := spec.CheckDigest(head.Digest); err != nil {
		return Digest{}, err
	}
	if r.A >= r.B || r.B > head.Size {
		return Digest{}, fmt.Errorf("blocks [%d, %d) are not within a trace of %d", r.A, r.B, head.Size)
	}
	if len(r.Nodes) > MaxNodes {
		return Digest{}, fmt.Errorf("proof of %d nodes, at most %d", len(r.Nodes), MaxNodes)
	}
	p := prover{spec: spec, a: r.A, b: r.B, nodes: r.Nodes, outside: outside}
	root, err := p.rebuild(0, head.Size)
	if err != nil {
		return Digest{}, err
	}
	if len(p.nodes) > 0 {
		return Digest{}, fmt.Errorf("proof has %d nodes too many", len(p.nodes))
	}
	if root.Hash != head.Root || !root.Digest.equal(&head.Digest) {
		return Digest{}, ErrHead
	}
	return p.inside, nil
}

// prover rebuilds a root while it consumes the nodes of a proof.
type prover struct {
	spec    Spec
	a, b    uint64
	nodes   []Node
	inside  Digest
	some    bool // inside holds a digest
	outside func(before bool, d Digest) error
}

func (p *prover) rebuild(lo, hi uint64) (Node, error) {
	if in := p.a <= lo && hi <= p.b; in || hi <= p.a || lo >= p.b {
		if len(p.nodes) == 0 {
			return Node{}, errors.New("proof has too few nodes")
		}
		n := p.nodes[0]
		p.nodes = p.nodes[1:]
		if err := p.spec.CheckDigest(n.Digest); err != nil {
			return Node{}, err
		}
		if !in {
			return n, p.outside(hi <= p.a, n.Digest)
		}
		if !p.some {
			p.inside, p.some = n.Digest, true
			return n, nil
		}
		var err error
		p.inside, err = Merge(p.inside, n.Digest)
		return n, err
	}
	mid := lo + split(hi-lo)
	l, err := p.rebuild(lo, mid)
	if err != nil {
		return Node{}, err
	}
	r, err := p.rebuild(mid, hi)
	if err != nil {
		return Node{}, err
	}
	return join(l, r)
}

// Consistency is the proof that a trace of size older is a prefix of one of
// size newer: Prove(nodes, newer, 0, older).
func Consistency(nodes Nodes, older, newer uint64) (Range, error) {
	return Prove(nodes, newer, 0, older)
}

// VerifyConsistency checks that older, a head of the same trace, is a prefix of
// newer, both heads having been checked by the caller for their signatures.
func VerifyConsistency(spec Spec, older, newer Head, proof []Node) error {
	if older.Start != newer.Start {
		return fmt.Errorf("%w: they are of two traces", ErrOlder)
	}
	if err := older.Check(); err != nil {
		return err
	}
	if older.Size > newer.Size {
		return fmt.Errorf("%w: size %d > %d", ErrOlder, older.Size, newer.Size)
	}
	if _, err := (Range{A: 0, B: older.Size, Nodes: proof}).Verify(spec, newer); err != nil {
		return err
	}
	var root Node
	var err error
	if older.Size == newer.Size {
		root = proof[0] // the walk emits the whole tree as one node
	} else if root, err = fold(proof[:bits.OnesCount64(older.Size)]); err != nil {
		return err
	}
	if root.Hash != older.Root || !root.Digest.equal(&older.Digest) {
		return ErrOlder
	}
	return nil
}
