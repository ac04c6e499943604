package trace_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"trailmark/trace"
)

// clone copies a proof down to the digests' limits.
func clone(r trace.Range) trace.Range {
	r.Nodes = slices.Clone(r.Nodes)
	for i := range r.Nodes {
		r.Nodes[i].Digest.Limits = slices.Clone(r.Nodes[i].Digest.Limits)
	}
	return r
}

// fields are all integers of a digest.
func fields(d *trace.Digest) []*int64 {
	f := []*int64{&d.T0, &d.T1, &d.Covered, &d.Min, &d.Max, &d.Sum, &d.Kin}
	for i := range d.Limits {
		e := &d.Limits[i]
		f = append(f, &e.Total, &e.Prefix, &e.Suffix, &e.Longest)
	}
	return f
}

// TestRangeRefuses attacks proofs one change at a time: every node dropped,
// doubled, swapped, every hash, every field of every digest, the head, the range.
func TestRangeRefuses(t *testing.T) {
	for seed := range uint64(40) {
		rng := rngOf(4000 + seed)
		h := random(t, rng, 1+rng.IntN(30))
		n := h.size()
		a := rng.Uint64N(n)
		b := a + 1 + rng.Uint64N(n-a)
		head, good := h.heads[n-1], h.prove(t, n, a, b)
		want := oracle(h.spec, h.readings(a, b))
		refuse := func(r trace.Range, head trace.Head, spec trace.Spec, format string, args ...any) {
			t.Helper()
			if d, err := r.Verify(spec, head); err == nil {
				t.Fatalf("seed %d: [%d, %d) of %d, %s: accepted as %+v", seed, a, b, n, fmt.Sprintf(format, args...), d)
			}
		}
		if got, err := good.Verify(h.spec, head); err != nil || !same(got, want) {
			t.Fatalf("seed %d: %+v, %v", seed, got, err)
		}
		for i := range good.Nodes {
			r := clone(good)
			r.Nodes = slices.Delete(r.Nodes, i, i+1)
			refuse(r, head, h.spec, "node %d dropped", i)

			r = clone(good)
			r.Nodes = slices.Insert(r.Nodes, i, r.Nodes[i])
			refuse(r, head, h.spec, "node %d doubled", i)

			for j := range i {
				r = clone(good)
				r.Nodes[i], r.Nodes[j] = r.Nodes[j], r.Nodes[i]
				refuse(r, head, h.spec, "nodes %d and %d swapped", i, j)
			}

			r = clone(good)
			r.Nodes[i].Hash[rng.IntN(32)] ^= 1 << rng.IntN(8)
			refuse(r, head, h.spec, "hash of node %d altered", i)

			for k := range fields(&good.Nodes[i].Digest) {
				for _, by := range []int64{1, -1, rng.Int64N(1000) + 2} {
					r = clone(good)
					*fields(&r.Nodes[i].Digest)[k] += by
					refuse(r, head, h.spec, "field %d of digest %d changed by %d", k, i, by)
				}
			}
		}
		refuse(trace.Range{A: a, B: b}, head, h.spec, "no nodes")
		for _, ab := range [][2]uint64{{a + 1, b}, {a, b + 1}, {a, b - 1}, {a - 1, b}, {b, a}, {a, a}, {0, 1 << 60}, {0, 0}, {n, n + 1}} {
			r := clone(good)
			r.A, r.B = ab[0], ab[1]
			if d, err := r.Verify(h.spec, head); err == nil && !same(d, oracle(h.spec, h.readings(r.A, r.B))) {
				t.Fatalf("seed %d: nodes of [%d, %d) pass as [%d, %d): %+v", seed, a, b, r.A, r.B, d)
			}
		}

		bad := head
		bad.Root[rng.IntN(32)] ^= 1
		refuse(good, bad, h.spec, "root altered")
		for k := range fields(&bad.Digest) {
			bad = head
			bad.Digest.Limits = slices.Clone(bad.Digest.Limits)
			*fields(&bad.Digest)[k]++
			refuse(good, bad, h.spec, "field %d of the head's digest altered", k)
		}
		for _, size := range []uint64{0, 1 << 53, 1<<64 - 1} {
			bad = head
			bad.Size = size
			refuse(good, bad, h.spec, "head of size %d", size)
		}
		spec := h.spec
		spec.Limits = append(slices.Clone(spec.Limits), trace.Limit{Comparison: trace.AtOrAbove, Value: 50_000})
		refuse(good, head, spec, "a limit more than the trace has")
	}

	h := random(t, rngOf(1), 8)
	r := h.prove(t, 8, 2, 5)
	bad := h.heads[7]
	bad.Root = trace.Hash{1}
	if _, err := r.Verify(h.spec, bad); !errors.Is(err, trace.ErrHead) {
		t.Errorf("foreign root: %v", err)
	}
	r.Nodes = slices.Repeat(r.Nodes, 600)
	if _, err := r.Verify(h.spec, h.heads[7]); err == nil || !strings.Contains(err.Error(), "at most 2048") {
		t.Errorf("%d nodes: %v", len(r.Nodes), err)
	}
	for _, ab := range [][3]uint64{{8, 3, 3}, {8, 4, 3}, {8, 3, 9}, {0, 0, 1}, {1 << 53, 0, 1}} {
		if _, err := trace.Prove(h.store, ab[0], ab[1], ab[2]); err == nil {
			t.Errorf("proved [%d, %d) of %d", ab[1], ab[2], ab[0])
		}
	}
	if _, err := trace.Prove(store{}, 8, 2, 5); err == nil {
		t.Error("proved from an empty store")
	}
}

// TestRangeShowsOtherBlock: a prover who swaps one subtree for another of the
// same size, hash and digest together, does not reach the head.
func TestRangeShowsOtherBlock(t *testing.T) {
	h := random(t, rngOf(7), 16)
	r := h.prove(t, 16, 4, 8)
	for i := range uint64(4) {
		forged := clone(r)
		for j := range forged.Nodes {
			if n, err := h.store.Node(2, i); err == nil && i != 1 && !same(forged.Nodes[j].Digest, n.Digest) {
				forged.Nodes[j] = n
				if d, err := forged.Verify(h.spec, h.heads[15]); err == nil {
					t.Errorf("subtree %d in place %d: %+v", i, j, d)
				}
				forged = clone(r)
			}
		}
	}
}

// TestRangeRefusesOverlap: subtrees that overlap in time are refused though
// their hashes fit: a device that signs a head over them proves nothing.
func TestRangeRefusesOverlap(t *testing.T) {
	spec := trace.Spec{Nominal: 1000}
	node := func(t0, t1 int64, tag byte) trace.Node {
		ms := t1 - t0
		return trace.Node{Hash: trace.Hash{tag}, Digest: trace.Digest{T0: t0, T1: t1, Covered: ms, Min: 1, Max: 1, Sum: ms, Limits: []trace.Excess{}}}
	}
	whole := node(0, 300, 9)
	whole.Digest.Covered, whole.Digest.Sum = 250, 250
	head := trace.Head{Size: 2, Root: trace.Hash{9}, Digest: whole.Digest}
	r := trace.Range{A: 0, B: 1, Nodes: []trace.Node{node(0, 200, 1), node(150, 300, 2)}}
	if _, err := r.Verify(spec, head); err == nil || !strings.Contains(err.Error(), "overlaps") {
		t.Errorf("overlapping subtrees: %v", err)
	}
}

// TestWindowRefuses is attack (!) of section 4: leaving the worst block of a
// window outside the proven range. For random windows the smallest range that
// holds every block with a part in the window passes, and each smaller one fails.
func TestWindowRefuses(t *testing.T) {
	for seed := range uint64(60) {
		rng := rngOf(5000 + seed)
		h := random(t, rng, 2+rng.IntN(30))
		n := h.size()
		head := h.heads[n-1]
		w0 := head.Digest.T0 + rng.Int64N(head.Digest.Span())
		w1 := w0 + 1 + rng.Int64N(head.Digest.T1-w0)
		a, b := n, uint64(0)
		for i, block := range h.blocks {
			if block[0].from < w1 && block[len(block)-1].at > w0 {
				a, b = min(a, uint64(i)), uint64(i)+1
			}
		}
		if a >= b { // the window lies in a time that no block spans
			a, b = 0, n
		} else {
			for _, ab := range [][2]uint64{{a + 1, b}, {a, b - 1}} {
				if ab[0] >= ab[1] {
					continue
				}
				if _, err := h.prove(t, n, ab[0], ab[1]).VerifyWindow(h.spec, head, w0, w1); !errors.Is(err, trace.ErrWindow) {
					t.Fatalf("seed %d: window [%d, %d) of blocks [%d, %d) shown as [%d, %d): %v", seed, w0, w1, a, b, ab[0], ab[1], err)
				}
			}
		}
		got, err := h.prove(t, n, a, b).VerifyWindow(h.spec, head, w0, w1)
		if err != nil || !same(got, oracle(h.spec, h.readings(a, b))) {
			t.Fatalf("seed %d: %+v, %v", seed, got, err)
		}
		if _, err := h.prove(t, n, a, b).VerifyWindow(h.spec, head, w1, w0); !errors.Is(err, trace.ErrWindow) {
			t.Fatalf("seed %d: window backwards: %v", seed, err)
		}
	}
	// To the millisecond, with blocks that touch: [1000, 2000) and [2000, 3000).
	spec := trace.Spec{Nominal: 1000}
	h := grow(t, spec, [][][2]int64{{{1000, 1}}, {{2000, 1}}, {{3000, 1}}, {{4000, 1}}})
	for _, c := range []struct {
		w0, w1 int64
		ok     bool
	}{
		{1000, 2000, true}, {999, 2000, false}, {1000, 2001, false}, {1500, 1501, true}, {2000, 2000, true}, {0, 5000, false},
	} {
		_, err := h.prove(t, 4, 1, 2).VerifyWindow(spec, h.heads[3], c.w0, c.w1)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, trace.ErrWindow) {
			t.Errorf("block [1000, 2000) for window [%d, %d): %v", c.w0, c.w1, err)
		}
	}
}

// TestConsistency proves every older size against every newer one.
func TestConsistency(t *testing.T) {
	h := random(t, rngOf(11), 40)
	for n := uint64(1); n <= 40; n++ {
		for m := uint64(1); m <= n; m++ {
			proof, err := trace.Consistency(h.store, m, n)
			if err != nil {
				t.Fatal(err)
			}
			if err := trace.VerifyConsistency(h.spec, h.heads[m-1], h.heads[n-1], proof.Nodes); err != nil {
				t.Fatalf("%d is not a prefix of %d: %v", m, n, err)
			}
		}
	}
}

// TestConsistencyRefuses forges older heads in every way a gateway could.
func TestConsistencyRefuses(t *testing.T) {
	rng := rngOf(12)
	h := random(t, rng, 24)
	fork := forkOf(t, rng, h)
	for n := uint64(1); n <= h.size(); n++ {
		newer := h.heads[n-1]
		for m := uint64(1); m <= n; m++ {
			nodes := h.prove(t, n, 0, m).Nodes
			refuse := func(older, newer trace.Head, nodes []trace.Node, what string) {
				t.Helper()
				if err := trace.VerifyConsistency(h.spec, older, newer, nodes); err == nil {
					t.Fatalf("%d in %d, %s: accepted", m, n, what)
				}
			}
			older := h.heads[m-1]
			refuse(fork.heads[m-1], newer, nodes, "an older head of another history")
			if m < n {
				refuse(h.heads[m], newer, nodes, "the head after it")
				refuse(older, newer, nodes[:len(nodes)-1], "a node dropped")
			}
			refuse(older, newer, append(slices.Clone(nodes), nodes[0]), "a node too many")
			refuse(older, newer, nil, "no proof")
			bad := older
			bad.Root[0] ^= 1
			refuse(bad, newer, nodes, "older root altered")
			for k := range fields(&bad.Digest) {
				bad = older
				bad.Digest.Limits = slices.Clone(bad.Digest.Limits)
				*fields(&bad.Digest)[k]++
				refuse(bad, newer, nodes, "older digest altered")
			}
			bad = older
			bad.Start[5] ^= 1
			refuse(bad, newer, nodes, "older head of another start")
			for _, size := range []uint64{0, n + 1, 1 << 60} {
				bad = older
				bad.Size = size
				refuse(bad, newer, nodes, "older size altered")
			}
			bad = newer
			bad.Root[0] ^= 1
			refuse(older, bad, nodes, "newer root altered")
		}
	}
	other := h.heads[3]
	other.Root[0] ^= 1
	if err := trace.VerifyConsistency(h.spec, other, h.heads[9], h.prove(t, 10, 0, 4).Nodes); !errors.Is(err, trace.ErrOlder) {
		t.Errorf("forged older head: %v", err)
	}
}

// forkOf is a history with the same digests and times and other records: only
// hashes differ.
func forkOf(t *testing.T, rng *rand.Rand, h *history) *history {
	t.Helper()
	fork := &history{spec: h.spec, store: store{}}
	f := trace.Frontier{Start: startHash}
	for i := range h.blocks {
		node := h.store[[2]uint64{0, uint64(i)}]
		record := recordHash(i)
		if i == 0 {
			record[rng.IntN(32)] ^= 1
		}
		var err error
		if f, _, err = f.Append(record, node.Digest); err != nil {
			t.Fatal(err)
		}
		head, err := f.Head()
		if err != nil {
			t.Fatal(err)
		}
		fork.heads = append(fork.heads, head)
	}
	return fork
}

// TestAppendIsAValue: what a frontier was stays what it was, so a caller who
// does not commit loses nothing.
func TestAppendIsAValue(t *testing.T) {
	spec := trace.Spec{Nominal: 1000}
	f := trace.Frontier{Start: startHash}
	for i := range 20 {
		at := int64(i+1) * 1000
		d, err := spec.Leaf(at-1000, []int64{at}, []int64{int64(i)})
		if err != nil {
			t.Fatal(err)
		}
		before := fmt.Sprint(f)
		one, _, err := f.Append(recordHash(i), d)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := f.Append(recordHash(100+i), d); err != nil {
			t.Fatal(err)
		}
		again, _, err := f.Append(recordHash(i), d)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(one) || fmt.Sprint(f) != before {
			t.Fatalf("append %d changed the frontier it was called on", i)
		}
		f = one
	}
	if _, err := (trace.Frontier{Start: startHash}).Head(); err == nil {
		t.Error("an empty trace has a head")
	}
	if err := (trace.Frontier{Size: 3, Peaks: make([]trace.Node, 1)}).Check(); err == nil {
		t.Error("size 3 with one peak passes")
	}
	full := trace.Frontier{Size: trace.MaxSize}
	if _, _, err := full.Append(trace.Hash{}, trace.Digest{}); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("full trace: %v", err)
	}
	d, err := spec.Leaf(0, []int64{30_000}, []int64{1})
	if err != nil {
		t.Fatal(err)
	}
	d.Limits = make([]trace.Excess, 1)
	if _, _, err := f.Append(trace.Hash{}, d); err == nil {
		t.Error("block with another number of limits appended")
	}
	if _, _, err := f.Append(trace.Hash{}, trace.Digest{}); err == nil {
		t.Error("empty digest appended")
	}
}
