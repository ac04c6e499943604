package trace_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"trailmark/internal/dcbor"
	"trailmark/trace"
)

const (
	weeksBlocks = 30_000 // three weeks at a block a minute
	targetBytes = 4096
	targetTime  = time.Millisecond
)

// weeks is a refrigerated channel of 30,000 one-minute blocks with six readings
// each, two limits, and an excursion now and then.
var weeks = sync.OnceValue(func() *history {
	rng := rngOf(30_000)
	blocks := make([][][2]int64, weeksBlocks)
	now, value := int64(1_760_000_000_000), 5000.0
	for i := range blocks {
		for range 6 {
			now += 10_000 + rng.Int64N(5) - 2
			if rng.IntN(5000) == 0 {
				now += 300_000 // the probe was away
			}
			value += rng.NormFloat64()*120 + (5000-value)/200
			blocks[i] = append(blocks[i], [2]int64{now, int64(value)})
		}
	}
	return grow(noFatal{}, trace.Spec{Unit: "Cel", Nominal: 10_000, Limits: []trace.Limit{
		{Comparison: trace.AtOrAbove, Value: 8000}, {Comparison: trace.AtOrBelow, Value: 2000},
	}}, blocks)
})

// noFatal stands for the test where there is none yet: what weeks makes is sound.
type noFatal struct{ testing.TB }

func (noFatal) Helper()                   {}
func (noFatal) Fatal(args ...any)         { panic(args) }
func (noFatal) Fatalf(f string, a ...any) { panic(a) }

// randomWindow gives blocks [a, b) of minutes to weeks, and their window in ms.
func randomWindow(rng *rand.Rand, h *history) (a, b uint64, w0, w1 int64) {
	n := h.size()
	length := 1 + rng.Uint64N([]uint64{10, 100, 1000, 10_000, n}[rng.IntN(5)])
	a = rng.Uint64N(n - length + 1)
	b = a + length
	return a, b, h.blocks[a][0].from, h.blocks[b-1][len(h.blocks[b-1])-1].at
}

// TestProofIsSmall holds the promised size of any proof, and its time with room
// for a machine five times as slow.
func TestProofIsSmall(t *testing.T) {
	h, rng := weeks(), rngOf(77)
	head := h.heads[len(h.heads)-1]
	total, most, nodes := 0, 0, 0
	const proofs = 3000
	var spent time.Duration
	for range proofs {
		a, b, w0, w1 := randomWindow(rng, h)
		r := h.prove(t, h.size(), a, b)
		size := len(dcbor.MustMarshal(r))
		total, most, nodes = total+size, max(most, size), max(nodes, len(r.Nodes))
		began := time.Now()
		got, err := r.VerifyWindow(h.spec, head, w0, w1)
		spent += time.Since(began)
		if err != nil {
			t.Fatalf("[%d, %d): %v", a, b, err)
		}
		if rng.IntN(50) == 0 && !same(got, oracle(h.spec, h.readings(a, b))) {
			t.Fatalf("[%d, %d) is not what its readings are", a, b)
		}
	}
	t.Logf("%d proofs: mean %d bytes, most %d, at most %d nodes, mean %v to verify", proofs, total/proofs, most, nodes, spent/proofs)
	if most >= targetBytes {
		t.Errorf("a proof of %d bytes, want under %d", most, targetBytes)
	}
	if mean := spent / proofs; mean > 5*targetTime {
		t.Errorf("verified in %v, want under %v", mean, targetTime)
	}
}

func BenchmarkVerifyRange(b *testing.B) {
	h, rng := weeks(), rngOf(78)
	head := h.heads[len(h.heads)-1]
	type example struct {
		r      trace.Range
		w0, w1 int64
	}
	examples := make([]example, 256)
	total, most := 0, 0
	for i := range examples {
		lo, hi, w0, w1 := randomWindow(rng, h)
		examples[i] = example{h.prove(b, h.size(), lo, hi), w0, w1}
		size := len(dcbor.MustMarshal(examples[i].r))
		total, most = total+size, max(most, size)
	}
	i := 0
	for b.Loop() {
		e := examples[i%len(examples)]
		if _, err := e.r.VerifyWindow(h.spec, head, e.w0, e.w1); err != nil {
			b.Fatal(err)
		}
		i++
	}
	b.ReportMetric(float64(total)/float64(len(examples)), "bytes/proof")
	b.ReportMetric(float64(most), "max-bytes")
}

func BenchmarkProve(b *testing.B) {
	h, rng := weeks(), rngOf(79)
	for b.Loop() {
		lo, hi, _, _ := randomWindow(rng, h)
		h.prove(b, h.size(), lo, hi)
	}
}

func BenchmarkAppend(b *testing.B) {
	h := weeks()
	leaf := h.store[[2]uint64{0, 0}].Digest
	f := trace.Frontier{Start: startHash}
	i := 0
	for b.Loop() {
		d := leaf
		step := int64(i) * 120_000
		d.T0, d.T1 = d.T0+step, d.T1+step
		var err error
		if f, _, err = f.Append(recordHash(i), d); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkLeaf(b *testing.B) {
	h := weeks()
	var times, values []int64
	for _, r := range h.blocks[1] {
		times, values = append(times, r.at), append(values, r.value)
	}
	for b.Loop() {
		if _, err := h.spec.Leaf(h.blocks[0][5].at, times, values); err != nil {
			b.Fatal(err)
		}
	}
}
