package statement

import (
	"errors"
	"fmt"
	"slices"

	"github.com/transparency-dev/merkle/rfc6962"

	"trailmark/trace"
)

// A Multi is an opened multi-proof: leaves of an RFC 9162 tree and the hashes of
// the maximal subtrees without any of them. It belongs to one goroutine.
type Multi struct {
	size  uint64
	trees map[[2]uint64]Hash // every subtree that is known, by its span
}

// LeafHash is the RFC 9162 leaf hash of an encoded record or a ledger entry.
func LeafHash(leaf []byte) Hash { return Hash(rfc6962.DefaultHasher.HashLeaf(leaf)) }

// cuts are the cut points of a multi-proof, ascending: around every index, and
// at every older size.
func cuts(size uint64, indexes, older []uint64) ([]uint64, error) {
	all := make([]uint64, 0, 2*len(indexes)+len(older))
	for i, n := range indexes {
		if n >= size || i > 0 && n <= indexes[i-1] {
			return nil, fmt.Errorf("index %d is beyond a tree of %d or not ascending", n, size)
		}
		all = append(all, n, n+1)
	}
	for _, n := range older {
		if n < 1 || n > size {
			return nil, fmt.Errorf("older size %d is not within 1..%d", n, size)
		}
		all = append(all, n)
	}
	slices.Sort(all)
	return all, nil
}

// ProveMulti makes the multi-proof of the leaves at the indexes, which ascend,
// and of the older sizes. It asks subtree for the hash over leaves [lo, hi) of
// each subtree that the proof lists, from left to right.
func ProveMulti(size uint64, indexes, older []uint64, subtree func(lo, hi uint64) (Hash, error)) ([]Hash, error) {
	all, err := cuts(size, indexes, older)
	if err != nil || size == 0 {
		return nil, err
	}
	var out []Hash
	err = trace.Walk(size, all, func(lo, hi uint64) error {
		if _, shown := slices.BinarySearch(indexes, lo); shown && hi == lo+1 {
			return nil
		}
		h, err := subtree(lo, hi)
		out = append(out, h)
		return err
	})
	return out, err
}

// OpenMulti puts a multi-proof together with the leaf hashes of its indexes.
// Nothing is proven before Root gives a root that somebody signed.
func OpenMulti(size uint64, indexes []uint64, leaves []Hash, older []uint64, proof []Hash) (*Multi, error) {
	if len(indexes) != len(leaves) {
		return nil, fmt.Errorf("%d leaves for %d indexes", len(leaves), len(indexes))
	}
	if size == 0 || size > MaxUint {
		return nil, fmt.Errorf("tree of size %d", size)
	}
	all, err := cuts(size, indexes, older)
	if err != nil {
		return nil, err
	}
	m := &Multi{size: size, trees: make(map[[2]uint64]Hash, 2*(len(proof)+len(leaves)))}
	used := 0
	err = trace.Walk(size, all, func(lo, hi uint64) error {
		if i, shown := slices.BinarySearch(indexes, lo); shown && hi == lo+1 {
			m.trees[[2]uint64{lo, hi}] = leaves[i]
			return nil
		}
		if used == len(proof) {
			return errors.New("multi-proof has too few hashes")
		}
		m.trees[[2]uint64{lo, hi}] = proof[used]
		used++
		return nil
	})
	if err != nil {
		return nil, err
	}
	if used < len(proof) {
		return nil, fmt.Errorf("multi-proof has %d hashes too many", len(proof)-used)
	}
	return m, nil
}

// Root is the root that the proof gives for the tree's size or an older one.
func (m *Multi) Root(size uint64) (Hash, error) {
	if size < 1 || size > m.size {
		return Hash{}, fmt.Errorf("size %d is not within 1..%d", size, m.size)
	}
	return m.subtree(0, size)
}

func (m *Multi) subtree(lo, hi uint64) (Hash, error) {
	if h, ok := m.trees[[2]uint64{lo, hi}]; ok {
		return h, nil
	}
	if hi-lo < 2 {
		return Hash{}, fmt.Errorf("multi-proof is not cut at leaf %d", hi)
	}
	mid := lo + trace.Split(hi-lo)
	l, err := m.subtree(lo, mid)
	if err != nil {
		return Hash{}, err
	}
	r, err := m.subtree(mid, hi)
	if err != nil {
		return Hash{}, err
	}
	h := Hash(rfc6962.DefaultHasher.HashChildren(l[:], r[:]))
	m.trees[[2]uint64{lo, hi}] = h
	return h, nil
}

// Path is the RFC 9162 inclusion path of one of the proof's leaves.
func (m *Multi) Path(index uint64) ([]Hash, error) {
	if index >= m.size {
		return nil, fmt.Errorf("index %d of a tree of %d", index, m.size)
	}
	var path []Hash
	for lo, hi := uint64(0), m.size; hi-lo > 1; {
		mid := lo + trace.Split(hi-lo)
		other := [2]uint64{mid, hi}
		if index >= mid {
			other = [2]uint64{lo, mid}
			lo = mid
		} else {
			hi = mid
		}
		h, err := m.subtree(other[0], other[1])
		if err != nil {
			return nil, err
		}
		path = append(path, h)
	}
	slices.Reverse(path) // from the leaf up
	return path, nil
}

// Siblings names the subtrees whose hashes an RFC 9162 inclusion path lists,
// from the leaf up: what a multi-proof is collected from.
func Siblings(index, size uint64, path []Hash, each func(lo, hi uint64, h Hash)) error {
	var spans [][2]uint64
	for lo, hi := uint64(0), size; hi-lo > 1; {
		mid := lo + trace.Split(hi-lo)
		if index >= mid {
			spans = append(spans, [2]uint64{lo, mid})
			lo = mid
		} else {
			spans = append(spans, [2]uint64{mid, hi})
			hi = mid
		}
	}
	if index >= size || len(spans) != len(path) {
		return fmt.Errorf("path of %d hashes for leaf %d of %d, want %d", len(path), index, size, len(spans))
	}
	for i, h := range path {
		s := spans[len(spans)-1-i]
		each(s[0], s[1], h)
	}
	return nil
}

// ProveLeaves makes the multi-proof of some leaves, named by ascending indexes,
// of a tree that is small enough to have all its leaf hashes at hand.
func ProveLeaves(leaves []Hash, indexes []uint64) ([]Hash, error) {
	return ProveMulti(uint64(len(leaves)), indexes, nil, func(lo, hi uint64) (Hash, error) { return treeHash(leaves[lo:hi]), nil })
}

// RecordLeaves are the leaf hashes of a frame's records.
func RecordLeaves(records [][]byte) []Hash { return leaves(records) }
