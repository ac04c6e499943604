package trace

import (
	"errors"
	"fmt"
)

// MaxNodes bounds a proof: some thirty nodes for a window, and about twenty more
// for each further cut point.
const MaxNodes = 2048

// A Range proves what the blocks [A, B) of a trace amount to: the maximal
// subtrees that none of its cut points splits, from left to right. A and B are
// cut points; others, such as the sizes of older heads, are known from elsewhere.
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

// Errors that callers tell apart.
var (
	ErrHead   = errors.New("proof does not lead to the signed head")
	ErrWindow = errors.New("blocks left out reach into the window")
	ErrOlder  = errors.New("older head is no prefix of the newer one")
)

// Prove makes the proof of blocks [a, b) in a trace of the given size, with
// further cut points in any order.
func Prove(nodes Nodes, size, a, b uint64, cuts ...uint64) (Range, error) {
	r := Range{A: a, B: b}
	if size > MaxSize {
		return Range{}, fmt.Errorf("trace of %d blocks, at most %d", size, uint64(MaxSize))
	}
	all, err := r.cuts(size, cuts)
	if err != nil {
		return Range{}, err
	}
	err = Walk(size, all, func(lo, hi uint64) error {
		n, err := subtree(nodes, lo, hi)
		r.Nodes = append(r.Nodes, n)
		return err
	})
	return r, err
}

// Verify checks the proof of one window, without further cut points, and returns
// the digest of blocks [A, B).
func (r Range) Verify(spec Spec, head Head) (Digest, error) {
	o, err := r.Open(spec, head)
	if err != nil {
		return Digest{}, err
	}
	return o.Inside()
}

// VerifyWindow is Verify and refuses unless every block that has a part in
// [w0, w1) ms is among [A, B).
func (r Range) VerifyWindow(spec Spec, head Head, w0, w1 int64) (Digest, error) {
	o, err := r.Open(spec, head)
	if err != nil {
		return Digest{}, err
	}
	if err := o.Window(w0, w1); err != nil {
		return Digest{}, err
	}
	return o.Inside()
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
	o, err := Range{A: 0, B: older.Size, Nodes: proof}.Open(spec, newer)
	if err != nil {
		return err
	}
	return o.Older(older)
}
