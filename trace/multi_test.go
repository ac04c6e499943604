package trace_test

import (
	"errors"
	"slices"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/trace"
)

// TestWalk: the pieces tile the tree, are subtrees of it that no cut point
// splits, and none could be larger.
func TestWalk(t *testing.T) {
	for size := uint64(1); size <= 12; size++ {
		parent := map[[2]uint64][2]uint64{} // of the whole RFC 9162 tree
		var grow func(lo, hi uint64)
		grow = func(lo, hi uint64) {
			if hi-lo < 2 {
				return
			}
			mid := lo + 1
			for 2*(mid-lo) < hi-lo {
				mid = lo + 2*(mid-lo)
			}
			parent[[2]uint64{lo, mid}], parent[[2]uint64{mid, hi}] = [2]uint64{lo, hi}, [2]uint64{lo, hi}
			grow(lo, mid)
			grow(mid, hi)
		}
		grow(0, size)
		for set := range 1 << (size + 1) {
			var cuts []uint64
			for c := range size + 1 {
				if set>>c&1 == 1 {
					cuts = append(cuts, c)
				}
			}
			split := func(s [2]uint64) bool {
				return slices.ContainsFunc(cuts, func(c uint64) bool { return s[0] < c && c < s[1] })
			}
			at := uint64(0)
			err := trace.Walk(size, cuts, func(lo, hi uint64) error {
				s := [2]uint64{lo, hi}
				p, below := parent[s]
				if lo != at || split(s) || s != [2]uint64{0, size} && (!below || !split(p)) {
					t.Fatalf("size %d, cuts %v: piece %v after %d", size, cuts, s, at)
				}
				at = hi
				return nil
			})
			if err != nil || at != size {
				t.Fatalf("size %d, cuts %v: ends at %d, %v", size, cuts, at, err)
			}
		}
	}
	stop := errors.New("stop")
	if err := trace.Walk(9, []uint64{4}, func(uint64, uint64) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a piece's error is lost: %v", err)
	}
}

// TestOlderHeads: one proof shows a window and every older head, all of them
// against the oracle; each head is refused with any field altered.
func TestOlderHeads(t *testing.T) {
	for seed := range uint64(60) {
		rng := rngOf(7000 + seed)
		h := random(t, rng, 2+rng.IntN(40))
		n := h.size()
		a := rng.Uint64N(n)
		b := a + 1 + rng.Uint64N(n-a)
		var sizes []uint64
		for range rng.IntN(6) {
			sizes = append(sizes, 1+rng.Uint64N(n))
		}
		r, err := trace.Prove(h.store, n, a, b, sizes...)
		if err != nil {
			t.Fatal(err)
		}
		o, err := r.Open(h.spec, h.heads[n-1], sizes...)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if got, err := o.Inside(); err != nil || !same(got, oracle(h.spec, h.readings(a, b))) {
			t.Fatalf("seed %d: [%d, %d) is %+v, %v", seed, a, b, got, err)
		}
		for _, m := range append(sizes, n) {
			head := h.heads[m-1]
			if err := o.Older(head); err != nil {
				t.Fatalf("seed %d: head of %d in %d: %v", seed, m, n, err)
			}
			bad := head
			bad.Root[rng.IntN(32)] ^= 1
			if err := o.Older(bad); !errors.Is(err, trace.ErrOlder) {
				t.Fatalf("seed %d: forged root: %v", seed, err)
			}
			for i := range fields(&bad.Digest) {
				bad = head
				bad.Digest.Limits = slices.Clone(head.Digest.Limits)
				*fields(&bad.Digest)[i]++
				if o.Older(bad) == nil {
					t.Fatalf("seed %d: field %d of an older digest altered", seed, i)
				}
			}
			bad = head
			bad.Size++
			if o.Older(bad) == nil {
				t.Fatalf("seed %d: head of another size", seed)
			}
			bad = head
			bad.Start[0] ^= 1
			if err := o.Older(bad); !errors.Is(err, trace.ErrOlder) {
				t.Fatalf("seed %d: head of another trace: %v", seed, err)
			}
		}
		for i := range r.Nodes {
			bad := clone(r)
			bad.Nodes[i].Hash[0] ^= 1
			if _, err := bad.Open(h.spec, h.heads[n-1], sizes...); !errors.Is(err, trace.ErrHead) {
				t.Fatalf("seed %d: node %d altered: %v", seed, i, err)
			}
		}
	}
}

// TestOlderNeedsItsCut: a head is not taken on its word where the proof is not
// cut.
func TestOlderNeedsItsCut(t *testing.T) {
	h := random(t, rngOf(71), 16)
	o, err := h.prove(t, 16, 0, 16).Open(h.spec, h.heads[15])
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Older(h.heads[6]); err == nil {
		t.Error("head of 7 blocks passes a proof that is cut nowhere")
	}
	if _, err := (trace.Range{A: 0, B: 16}).Open(h.spec, h.heads[15], 17); err == nil {
		t.Error("cut beyond the trace")
	}
}

// leavesOf are the blocks of a history as an audit shows them.
func leavesOf(t *testing.T, h *history, a, b uint64) []trace.Leaf {
	t.Helper()
	var out []trace.Leaf
	for n := a; n < b; n++ {
		node, err := h.store.Node(0, n)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, trace.Leaf{Record: recordHash(int(n)), Digest: node.Digest})
	}
	return out
}

// TestBlocks: blocks shown whole give the proof's nodes, and nothing else does.
func TestBlocks(t *testing.T) {
	for seed := range uint64(60) {
		rng := rngOf(7500 + seed)
		h := random(t, rng, 2+rng.IntN(40))
		n := h.size()
		a := rng.Uint64N(n)
		b := a + 1 + rng.Uint64N(n-a)
		from := a + rng.Uint64N(b-a)
		to := from + 1 + rng.Uint64N(b-from)
		r, err := trace.Prove(h.store, n, a, b, from, to)
		if err != nil {
			t.Fatal(err)
		}
		o, err := r.Open(h.spec, h.heads[n-1], from, to)
		if err != nil {
			t.Fatal(err)
		}
		good := leavesOf(t, h, from, to)
		if err := o.Blocks(from, good); err != nil {
			t.Fatalf("seed %d: blocks [%d, %d) of %d: %v", seed, from, to, n, err)
		}
		refuse := func(first uint64, leaves []trace.Leaf, what string) {
			t.Helper()
			if err := o.Blocks(first, leaves); !errors.Is(err, trace.ErrBlocks) {
				t.Fatalf("seed %d: %s: %v", seed, what, err)
			}
		}
		i := rng.IntN(len(good))
		bad := slices.Clone(good)
		bad[i].Record[0] ^= 1
		refuse(from, bad, "record altered")
		bad = slices.Clone(good)
		bad[i].Digest.Sum++
		refuse(from, bad, "digest altered")
		refuse(from, nil, "no block")
		refuse(from+1, good, "shifted")
		refuse(from, append(slices.Clone(good), good[0]), "one block more")
		refuse(1<<63, good, "far away")
		if len(good) > 1 {
			refuse(from, good[1:], "first block left out, the others moved up")
			bad = slices.Clone(good)
			bad[0], bad[1] = bad[1], bad[0]
			refuse(from, bad, "swapped")
		}
	}
}

// FuzzOpen: whatever bytes come as a proof with older heads, the heads that pass
// are the true ones.
func FuzzOpen(f *testing.F) {
	h := random(f, rngOf(16), 21)
	for _, c := range [][3]uint64{{0, 21, 7}, {3, 17, 16}, {7, 8, 20}} {
		r, err := trace.Prove(h.store, 21, c[0], c[1], c[2])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(dcbor.MustMarshal(r), c[2])
	}
	f.Fuzz(func(t *testing.T, data []byte, size uint64) {
		var r trace.Range
		if err := dcbor.Unmarshal(data, &r); err != nil {
			return
		}
		o, err := r.Open(h.spec, h.heads[20], size)
		if err != nil || size < 1 {
			return
		}
		if err := o.Older(h.heads[size-1]); err != nil {
			t.Fatalf("true head of %d: %v", size, err)
		}
	})
}
