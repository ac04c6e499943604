package trace_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"trailmark/trace"
)

// A reading is one value with the span it covers, as the plain text of
// docs/wire-format.md section 4 defines it.
type reading struct{ from, at, value int64 }

// oracle computes the digest of readings directly from the flat list: no block,
// no merge, no tree, and every sum in unbounded integers.
func oracle(spec trace.Spec, rs []reading) trace.Digest {
	d := trace.Digest{T0: rs[0].from, T1: rs[len(rs)-1].at, Min: math.MaxInt64, Max: math.MinInt64}
	sum, kin := new(big.Int), new(big.Int)
	for _, r := range rs {
		ms := big.NewInt(r.at - r.from)
		d.Covered += ms.Int64()
		d.Min, d.Max = min(d.Min, r.value), max(d.Max, r.value)
		sum.Add(sum, new(big.Int).Mul(big.NewInt(r.value), ms))
		if spec.Unit == "Cel" {
			celsius := float64(r.value) / 1000
			k := math.Floor(1000*math.Exp(10000*(1/278.15-1/(273.15+celsius))) + 0.5)
			kin.Add(kin, new(big.Int).Mul(big.NewInt(int64(k)), ms))
		}
	}
	if !sum.IsInt64() || !kin.IsInt64() {
		panic("oracle is for sums within 64 bits")
	}
	d.Sum, d.Kin = sum.Int64(), kin.Int64()
	for _, l := range spec.Limits {
		beyond := func(v int64) bool { return l.Comparison == 1 && v <= l.Value || l.Comparison == 2 && v >= l.Value }
		var e trace.Excess
		for i := range rs { // every run that begins at i
			if !beyond(rs[i].value) {
				continue
			}
			e.Total += rs[i].at - rs[i].from
			if i > 0 && beyond(rs[i-1].value) {
				continue
			}
			end := i
			for end+1 < len(rs) && beyond(rs[end+1].value) {
				end++
			}
			run := rs[end].at - rs[i].from
			e.Longest = max(e.Longest, run)
			if i == 0 {
				e.Prefix = run
			}
			if end == len(rs)-1 {
				e.Suffix = run
			}
		}
		d.Limits = append(d.Limits, e)
	}
	return d
}

// same compares digests by value: an empty list of limits is an empty list.
func same(a, b trace.Digest) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// A history is a trace made block by block, and the flat readings behind it.
type history struct {
	spec   trace.Spec
	blocks [][]reading
	heads  []trace.Head // heads[n-1] is that of the first n blocks
	store  store
}

// A store keeps perfect subtrees, as a gateway does.
type store map[[2]uint64]trace.Node

func (s store) Node(level uint, index uint64) (trace.Node, error) {
	n, ok := s[[2]uint64{uint64(level), index}]
	if !ok {
		return trace.Node{}, fmt.Errorf("no subtree %d of level %d", index, level)
	}
	return n, nil
}

// readings are those of blocks [a, b), flat.
func (h *history) readings(a, b uint64) []reading {
	var rs []reading
	for _, block := range h.blocks[a:b] {
		rs = append(rs, block...)
	}
	return rs
}

func (h *history) size() uint64 { return uint64(len(h.blocks)) }

func (h *history) prove(t testing.TB, size, a, b uint64) trace.Range {
	t.Helper()
	r, err := trace.Prove(h.store, size, a, b)
	if err != nil {
		t.Fatalf("prove [%d, %d) of %d: %v", a, b, size, err)
	}
	return r
}

func recordHash(i int) trace.Hash {
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte("record"), uint64(i)))
}

var startHash = trace.Start{Channel: "28-0316a2795fff/temp"}.Hash()

// grow makes a trace from blocks of (time, value) pairs.
func grow(t testing.TB, spec trace.Spec, blocks [][][2]int64) *history {
	t.Helper()
	h := &history{spec: spec, store: store{}}
	f := trace.Frontier{Start: startHash}
	prev := int64(-1)
	for i, block := range blocks {
		var times, values []int64
		var rs []reading
		before := prev
		for _, r := range block {
			from := max(prev, r[0]-2*spec.Nominal)
			if prev < 0 {
				from = r[0] - 1
			}
			rs = append(rs, reading{from, r[0], r[1]})
			times, values = append(times, r[0]), append(values, r[1])
			prev = r[0]
		}
		d, err := spec.Leaf(before, times, values)
		if err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
		var made []trace.Perfect
		if f, made, err = f.Append(recordHash(i), d); err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
		for _, p := range made {
			h.store[[2]uint64{uint64(p.Level), p.Index}] = p.Node
		}
		head, err := f.Head()
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Check(); err != nil {
			t.Fatal(err)
		}
		h.blocks, h.heads = append(h.blocks, rs), append(h.heads, head)
	}
	return h
}

// random makes a trace of n blocks with gaps of every kind: on time, early,
// late by less and by far more than the cover, from near-constant to wild values.
func random(t testing.TB, rng *rand.Rand, n int) *history {
	t.Helper()
	spec := trace.Spec{Unit: "Cel", Nominal: []int64{1, 1000, 60_000}[rng.IntN(3)]}
	if rng.IntN(5) == 0 {
		spec.Unit = "%RH"
	}
	for range rng.IntN(4) {
		spec.Limits = append(spec.Limits, trace.Limit{Comparison: trace.Comparison(1 + rng.IntN(2)), Value: rng.Int64N(10_000) - 2000})
	}
	now := []int64{1, 1_760_000_000_000}[rng.IntN(2)]
	value, blocks := int64(5000), make([][][2]int64, n)
	for i := range blocks {
		for range 1 + rng.IntN(5) {
			switch rng.IntN(6) {
			case 0:
				now += 1 + rng.Int64N(3)
			case 1:
				now += 2 * spec.Nominal
			case 2:
				now += 2*spec.Nominal + 1 + rng.Int64N(5*spec.Nominal)
			case 3:
				now += 1000 * spec.Nominal
			default:
				now += spec.Nominal
			}
			value = min(max(value+rng.Int64N(4001)-2000, -8000), 14_000)
			blocks[i] = append(blocks[i], [2]int64{now, value})
		}
	}
	return grow(t, spec, blocks)
}

func rngOf(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x7261696c)) }

// TestRangeAgainstOracle proves every range of traces of every size up to 40.
func TestRangeAgainstOracle(t *testing.T) {
	for seed := range uint64(3) {
		h := random(t, rngOf(seed), 40)
		for n := uint64(1); n <= h.size(); n++ {
			head := h.heads[n-1]
			if want := oracle(h.spec, h.readings(0, n)); !same(head.Digest, want) {
				t.Fatalf("seed %d: head of %d is %+v, want %+v", seed, n, head.Digest, want)
			}
			for a := range n {
				for b := a + 1; b <= n; b++ {
					got, err := h.prove(t, n, a, b).Verify(h.spec, head)
					if err != nil {
						t.Fatalf("seed %d: [%d, %d) of %d: %v", seed, a, b, n, err)
					}
					if want := oracle(h.spec, h.readings(a, b)); !same(got, want) {
						t.Fatalf("seed %d: [%d, %d) of %d is %+v, want %+v", seed, a, b, n, got, want)
					}
				}
			}
		}
	}
}

// TestManyTraces looks at more shapes of readings with fewer ranges each.
func TestManyTraces(t *testing.T) {
	for seed := range uint64(300) {
		rng := rngOf(1000 + seed)
		h := random(t, rng, 1+rng.IntN(24))
		n := h.size()
		a := rng.Uint64N(n)
		b := a + 1 + rng.Uint64N(n-a)
		got, err := h.prove(t, n, a, b).Verify(h.spec, h.heads[n-1])
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if want := oracle(h.spec, h.readings(a, b)); !same(got, want) {
			t.Fatalf("seed %d: [%d, %d) of %d is %+v, want %+v", seed, a, b, n, got, want)
		}
	}
}

// TestBoundariesDoNotMatter cuts one list of readings into blocks in two ways:
// what the whole amounts to depends on the readings alone.
func TestBoundariesDoNotMatter(t *testing.T) {
	for seed := range uint64(100) {
		rng := rngOf(2000 + seed)
		h := random(t, rng, 1+rng.IntN(20))
		var other [][][2]int64
		for _, r := range h.readings(0, h.size()) {
			if len(other) == 0 || rng.IntN(3) == 0 {
				other = append(other, nil)
			}
			other[len(other)-1] = append(other[len(other)-1], [2]int64{r.at, r.value})
		}
		o := grow(t, h.spec, other)
		if a, b := h.heads[h.size()-1].Digest, o.heads[o.size()-1].Digest; !same(a, b) {
			t.Fatalf("seed %d: %d blocks give %+v, %d give %+v", seed, h.size(), a, o.size(), b)
		}
	}
}
