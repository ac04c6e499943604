package ledger

import (
	"math/rand/v2"
	"testing"
)

// TestSubtrees holds the hashes of every kind of subtree against the words of the
// RFC, in a ledger of more than two levels of tiles.
func TestSubtrees(t *testing.T) {
	l := open(t, t.TempDir(), newKey(t))
	const n = 70_000 // over 256 · 256
	grow(t, l, n)
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range []uint64{1, 255, 256, 257, 65_535, 65_537, n} {
		hash, err := l.Subtrees(t.Context(), size)
		if err != nil {
			t.Fatal(err)
		}
		check := func(lo, hi uint64) {
			t.Helper()
			if got, err := hash(lo, hi); err != nil || got != oracle(lo, hi-lo) {
				t.Fatalf("size %d, [%d, %d): %x, %v", size, lo, hi, got, err)
			}
		}
		check(0, size)
		for range 100 {
			// What proofs list: perfect subtrees, and ragged ones at the right edge.
			k := uint64(1) << r.Uint64N(17)
			lo := r.Uint64N(size) / k * k
			check(lo, min(lo+k, size))
		}
		if _, err := hash(0, size+1); err == nil {
			t.Errorf("entries beyond size %d", size)
		}
		if _, err := hash(3, 3); err == nil {
			t.Error("a hash of no entries")
		}
	}
	if _, err := l.Subtrees(t.Context(), n+1); err == nil {
		t.Error("subtrees beyond the ledger")
	}
}
