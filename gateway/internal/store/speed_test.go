package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

// decade is ten years of blocks, one a minute; short is what every run of the
// tests has time for.
const (
	decade = 5_300_000
	short  = 200_000
	minute = 60_000
	epoch0 = int64(1_400_000_000_000)
)

// long is whether there is time for the full size.
func long() bool { return os.Getenv("TRAILMARK_LONG") != "" }

// probe is the entry of the plan that the trace is under.
var probe = statement.Channel{Device: statement.Hash{1}, Name: "28-0316a2795fff/temp", Unit: "Cel", Nominal: minute,
	Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8000}, {Comparison: trace.AtOrBelow, Value: 2000}}}

// years fills a store with a trace of n blocks of six readings each, a minute
// apart, and with a short trace before and behind it, as key rotations leave them.
// It writes what Tx.AddLeaf does, by prepared statements.
func years(tb testing.TB, n int) (*Store, trace.Head) {
	tb.Helper()
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	st, err := Open(tb.Context(), tb.TempDir())
	must(err)
	tb.Cleanup(func() { st.Close() })
	_, err = st.db.Exec("PRAGMA synchronous=OFF")
	must(err)
	var head trace.Head
	for part, blocks := range []int{100, n, 100} {
		start := trace.Start{Epoch: uint64(part), Channel: probe.Name, Plan: probe.Hash()}
		front := trace.Frontier{Start: start.Hash()}
		from := epoch0 + int64(part-1)*int64(n)*minute
		if part == 0 {
			from = epoch0 - 100*minute
		}
		prev := int64(-1)
		var id int64
		must(st.Update(tb.Context(), func(tx *Tx) (err error) {
			id, err = tx.AddTrace(Trace{KeyID: probe.Device, Channel: probe.Name, Start: start, Entry: &probe, Frontier: front})
			return err
		}))
		for done := 0; done < blocks; {
			must(st.Update(tb.Context(), func(tx *Tx) error {
				leaf, err := tx.tx.Prepare("INSERT INTO leaf (trace, n, idx, head, t0, t1, readings) VALUES (?,?,?,?,?,?,?)")
				must(err)
				node, err := tx.tx.Prepare("INSERT INTO node (trace, level, n, node) VALUES (?,?,?,?)")
				must(err)
				for end := min(done+50_000, blocks); done < end; done++ {
					times, values := make([]int64, 6), make([]int64, 6)
					for i := range times {
						times[i] = from + int64(done)*minute + int64(i+1)*10_000
						values[i] = 4000 + int64(done%97)*20 + int64(i)
					}
					digest, err := probe.Spec().Leaf(prev, times, values)
					must(err)
					prev = times[5]
					var record [8]byte
					binary.BigEndian.PutUint64(record[:], uint64(done))
					var made []trace.Perfect
					front, made, err = front.Append(sha256.Sum256(record[:]), digest)
					must(err)
					if _, err := leaf.Exec(id, done, int64(part)*10_000_000+int64(done), 1, digest.T0, digest.T1, 6); err != nil {
						return err
					}
					for _, p := range made {
						if _, err := node.Exec(id, p.Level, p.Index, dcbor.MustMarshal(p.Node)); err != nil {
							return err
						}
					}
				}
				return tx.PutTrace(Trace{ID: id, Frontier: front, Last: prev})
			}))
		}
		if part == 1 {
			head, err = front.Head()
			must(err)
		}
	}
	return st, head
}

// prove is what composing a passport does for one channel of one stay: find the
// trace, the first and the last block, and prove the range.
func prove(tb testing.TB, st *Store, w0, w1 int64) (from, to Leaf, r trace.Range) {
	traces, err := st.Overlapping(tb.Context(), probe.Device, probe.Name, w0, w1)
	if err != nil || len(traces) != 1 {
		tb.Fatalf("window [%d, %d): %d traces, %v", w0, w1, len(traces), err)
	}
	if from, to, err = st.Window(tb.Context(), traces[0].ID, w0, w1, 1<<40); err != nil {
		tb.Fatalf("window [%d, %d): %v", w0, w1, err)
	}
	if r, err = trace.Prove(st.Nodes(tb.Context(), traces[0].ID), traces[0].Frontier.Size, from.N, to.N+1); err != nil {
		tb.Fatal(err)
	}
	return from, to, r
}

// window is a random stay within n blocks: of minutes, of weeks, of years.
func window(r *rand.Rand, n int) (w0, w1 int64) {
	span := int64(1) << r.Int64N(40)
	span = min(max(span, minute), int64(n)*minute/2)
	w0 = epoch0 + minute + r.Int64N(int64(n)*minute-span-2*minute)
	return w0, w0 + span
}

// TestRangeProofOfAnyWindow: promised are 50 ms of ten years; guarded is half of
// that, at a short size where a search that grows with the trace took seven times
// as long.
func TestRangeProofOfAnyWindow(t *testing.T) {
	if raced {
		t.Skip("the race detector takes the time that is measured here; make test runs this apart, without it")
	}
	const guard = 25 * time.Millisecond
	n := short
	if long() {
		n = decade
	}
	st, head := years(t, n)
	r := rand.New(rand.NewPCG(1, 2))
	var took []time.Duration
	for i := range 400 {
		w0, w1 := window(r, n)
		began := time.Now()
		from, to, proof := prove(t, st, w0, w1)
		took = append(took, time.Since(began))
		// The blocks are those of the window, no fewer and no more.
		if from.T1 <= w0 || from.T0 > w0 || to.T0 >= w1 || to.T1 < w1 {
			t.Fatalf("window [%d, %d): blocks %+v to %+v", w0, w1, from, to)
		}
		if i%40 == 0 {
			if d, err := proof.VerifyWindow(probe.Spec(), head, w0, w1); err != nil || d.T0 != from.T0 || d.T1 != to.T1 {
				t.Fatalf("window [%d, %d): %+v, %v", w0, w1, d, err)
			}
		}
	}
	slices.Sort(took)
	p50, p99 := took[len(took)/2], took[len(took)*99/100]
	t.Logf("%d blocks, %d windows: median %v, p99 %v, worst %v", n, len(took), p50, p99, took[len(took)-1])
	if p50 > guard { // the median: neighbours on the machine are in the p99
		t.Errorf("median of a range proof over %d blocks: %v, want under %v", n, p50, guard)
	}
}

// TestWindowAgreesWithASearch holds the steps from index to index against a search
// through every block, also where only a part of them counts, and where blocks do
// not touch.
func TestWindowAgreesWithASearch(t *testing.T) {
	st, err := Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	r := rand.New(rand.NewPCG(3, 4))
	var leaves []Leaf
	if err := st.Update(t.Context(), func(tx *Tx) error {
		at, index := int64(1000), uint64(5)
		for n := range uint64(200) {
			at += r.Int64N(3) * 50 // some touch, some leave a gap
			l := Leaf{N: n, Index: index, T0: at, T1: at + 1 + r.Int64N(100), Readings: 1}
			at, index = l.T1, index+1+r.Uint64N(4)
			leaves = append(leaves, l)
			if err := tx.AddLeaf(7, l, nil); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	end := leaves[len(leaves)-1].T1
	for range 5000 {
		w0 := 900 + r.Int64N(end-800)
		w1, limit := w0+1+r.Int64N(end/2), r.Uint64N(leaves[len(leaves)-1].Index+20)
		var want []Leaf
		for _, l := range leaves {
			if l.T1 > w0 && l.T0 < w1 && l.Index < limit {
				want = append(want, l)
			}
		}
		from, to, err := st.Window(t.Context(), 7, w0, w1, limit)
		if len(want) == 0 {
			if !errors.Is(err, ErrNotFound) {
				t.Fatalf("[%d, %d) below %d: %+v to %+v, %v, want none", w0, w1, limit, from, to, err)
			}
			continue
		}
		if err != nil || from != want[0] || to != want[len(want)-1] {
			t.Fatalf("[%d, %d) below %d: %+v to %+v, %v, want %+v to %+v", w0, w1, limit, from, to, err, want[0], want[len(want)-1])
		}
	}
	for limit := range leaves[len(leaves)-1].Index + 3 {
		var want *Leaf
		for i := range leaves {
			if leaves[i].Index < limit {
				want = &leaves[i]
			}
		}
		got, err := st.LastLeaf(t.Context(), 7, limit)
		if want == nil && !errors.Is(err, ErrNotFound) || want != nil && (err != nil || got != *want) {
			t.Fatalf("below %d: %+v, %v, want %+v", limit, got, err, want)
		}
	}
	if _, err := st.LastLeaf(t.Context(), 8, 100); !errors.Is(err, ErrNotFound) {
		t.Errorf("of no trace: %v", err)
	}
}
