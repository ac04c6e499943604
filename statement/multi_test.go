package statement_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"trailmark/statement"
)

// forest is the leaves of a tree and the RFC 9162 hash over any span of them.
type forest [][]byte

func newForest(n int) forest {
	f := make(forest, n)
	for i := range f {
		h := sha256.Sum256([]byte(fmt.Sprint("entry ", i)))
		f[i] = h[:]
	}
	return f
}

func (f forest) root(lo, hi uint64) statement.Hash { return statement.RecordsRoot(f[lo:hi]) }

func (f forest) leaf(i uint64) statement.Hash { return statement.LeafHash(f[i]) }

func (f forest) subtree(lo, hi uint64) (statement.Hash, error) { return f.root(lo, hi), nil }

// TestMultiProof: every set of a small tree, and random ones of larger trees,
// lead to the roots of all sizes asked for and to RFC 9162 paths.
func TestMultiProof(t *testing.T) {
	check := func(f forest, indexes, older []uint64) {
		t.Helper()
		size := uint64(len(f))
		nodes, err := statement.ProveMulti(size, indexes, older, f.subtree)
		if err != nil {
			t.Fatal(err)
		}
		leaves := make([]statement.Hash, len(indexes))
		for i, n := range indexes {
			leaves[i] = f.leaf(n)
		}
		m, err := statement.OpenMulti(size, indexes, leaves, older, nodes)
		if err != nil {
			t.Fatalf("size %d, indexes %v, older %v: %v", size, indexes, older, err)
		}
		for _, n := range append(slices.Clone(older), size) {
			if got, err := m.Root(n); err != nil || got != f.root(0, n) {
				t.Fatalf("size %d, indexes %v: root at %d is %v, %v", size, indexes, n, got, err)
			}
		}
		for _, n := range indexes {
			path, err := m.Path(n)
			if err != nil {
				t.Fatal(err)
			}
			if err := statement.VerifyInclusion(f[n], n, size, f.root(0, size), path); err != nil {
				t.Fatalf("size %d: path of %d: %v", size, n, err)
			}
			if err := statement.Siblings(n, size, path, func(lo, hi uint64, h statement.Hash) {
				if h != f.root(lo, hi) {
					t.Fatalf("size %d: sibling [%d, %d) of %d", size, lo, hi, n)
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for size := 1; size <= 8; size++ {
		f := newForest(size)
		for set := range 1 << size {
			var indexes []uint64
			for i := range size {
				if set>>i&1 == 1 {
					indexes = append(indexes, uint64(i))
				}
			}
			check(f, indexes, nil)
			check(f, indexes, []uint64{uint64(1 + set%size)})
		}
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		f := newForest(1 + rng.IntN(300))
		var indexes, older []uint64
		for range rng.IntN(12) {
			indexes = append(indexes, uint64(rng.IntN(len(f))))
			older = append(older, uint64(1+rng.IntN(len(f))))
		}
		slices.Sort(indexes)
		check(f, slices.Compact(indexes), older)
	}
}

// TestMultiProofIsSmall: what is shared by several entries is listed once.
func TestMultiProofIsSmall(t *testing.T) {
	f := newForest(1000)
	nodes, err := statement.ProveMulti(1000, []uint64{500, 501, 502, 503}, nil, f.subtree)
	if err != nil || len(nodes) > 8 {
		t.Errorf("%d hashes for four neighbours of 1000, %v", len(nodes), err)
	}
	one, err := statement.ProveMulti(1000, []uint64{500}, nil, f.subtree)
	if err != nil {
		t.Fatal(err)
	}
	if len(one) != 10 {
		t.Errorf("%d hashes for one of 1000", len(one))
	}
}

func TestMultiProofRefuses(t *testing.T) {
	f := newForest(21)
	indexes, older := []uint64{3, 9, 20}, []uint64{7, 16}
	good, err := statement.ProveMulti(21, indexes, older, f.subtree)
	if err != nil {
		t.Fatal(err)
	}
	leaves := []statement.Hash{f.leaf(3), f.leaf(9), f.leaf(20)}
	for name, c := range map[string]struct {
		size    uint64
		indexes []uint64
		leaves  []statement.Hash
		older   []uint64
		nodes   []statement.Hash
		want    string
	}{
		"empty tree":         {0, nil, nil, nil, nil, "size 0"},
		"huge tree":          {1 << 53, nil, nil, nil, good[:1], "size 9007199254740992"},
		"index beyond":       {21, []uint64{3, 9, 21}, leaves, older, good, "index 21"},
		"indexes unsorted":   {21, []uint64{9, 3, 20}, leaves, older, good, "not ascending"},
		"index twice":        {21, []uint64{3, 3, 20}, leaves, older, good, "not ascending"},
		"a leaf less":        {21, indexes, leaves[1:], older, good, "2 leaves for 3"},
		"older size zero":    {21, indexes, leaves, []uint64{0}, good, "older size 0"},
		"older size too big": {21, indexes, leaves, []uint64{22}, good, "older size 22"},
		"a hash less":        {21, indexes, leaves, older, good[1:], "too few"},
		"a hash more":        {21, indexes, leaves, older, append(slices.Clone(good), good[0]), "too many"},
		"no hash":            {21, indexes, leaves, older, nil, "too few"},
	} {
		if _, err := statement.OpenMulti(c.size, c.indexes, c.leaves, c.older, c.nodes); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for i := range good {
		bad := slices.Clone(good)
		bad[i][0] ^= 1
		m, err := statement.OpenMulti(21, indexes, leaves, older, bad)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.Root(21); err != nil || got == f.root(0, 21) {
			t.Errorf("hash %d altered leads to the same root, %v", i, err)
		}
	}
	for i := range leaves {
		bad := slices.Clone(leaves)
		bad[i][0] ^= 1
		m, err := statement.OpenMulti(21, indexes, bad, older, good)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.Root(21); err != nil || got == f.root(0, 21) {
			t.Errorf("leaf %d altered leads to the same root, %v", i, err)
		}
	}
	m, err := statement.OpenMulti(21, indexes, leaves, older, good)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []uint64{0, 22, 5} { // 5: the proof is not cut there
		if _, err := m.Root(size); err == nil {
			t.Errorf("root at size %d", size)
		}
	}
	if _, err := m.Path(21); err == nil {
		t.Error("path of an entry beyond the tree")
	}
}

func FuzzOpenMulti(f *testing.F) {
	f.Add(uint64(21), []byte{3, 9, 20}, []byte{7, 16}, 9)
	f.Fuzz(func(t *testing.T, size uint64, at, old []byte, n int) {
		if n < 0 || n > 256 {
			return
		}
		var indexes, older []uint64
		for _, b := range at {
			indexes = append(indexes, uint64(b))
		}
		for _, b := range old {
			older = append(older, uint64(b))
		}
		m, err := statement.OpenMulti(size, indexes, make([]statement.Hash, len(indexes)), older, make([]statement.Hash, n))
		if err != nil {
			return
		}
		for _, s := range append(older, size) {
			if _, err := m.Root(s); err != nil {
				t.Fatalf("no root at %d: %v", s, err)
			}
		}
		for _, i := range indexes {
			if _, err := m.Path(i); err != nil {
				t.Fatalf("no path of %d: %v", i, err)
			}
		}
	})
}
