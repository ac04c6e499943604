package trace_test

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/trace"
)

// TestStartNamesPredecessor is attack (!) of section 4: a trace names the one
// before it, so none can be dropped: each part of the name changes the start.
func TestStartNamesPredecessor(t *testing.T) {
	base := trace.Start{Epoch: 1, Channel: "c", Plan: trace.Hash{1}, Boot: [16]byte{2},
		PrevStart: trace.Hash{3}, PrevSize: 4, PrevRoot: trace.Hash{5}}
	got, err := trace.ParseStart(dcbor.MustMarshal(base))
	if err != nil || got != base {
		t.Fatalf("round trip: %+v, %v", got, err)
	}
	seen := map[trace.Hash]string{base.Hash(): "base"}
	for name, alter := range map[string]func(*trace.Start){
		"epoch": func(s *trace.Start) { s.Epoch++ }, "channel": func(s *trace.Start) { s.Channel = "d" },
		"plan": func(s *trace.Start) { s.Plan[0]++ }, "basis": func(s *trace.Start) { s.Basis = trace.Boot },
		"boot": func(s *trace.Start) { s.Boot[0]++ }, "prev start": func(s *trace.Start) { s.PrevStart[0]++ },
		"prev size": func(s *trace.Start) { s.PrevSize++ }, "prev root": func(s *trace.Start) { s.PrevRoot[0]++ },
	} {
		s := base
		alter(&s)
		if other, twice := seen[s.Hash()]; twice {
			t.Errorf("%s and %s have one hash", name, other)
		}
		seen[s.Hash()] = name
	}
}

func TestStartRefuses(t *testing.T) {
	for name, s := range map[string]trace.Start{
		"no channel":            {},
		"channel of 65 bytes":   {Channel: strings.Repeat("x", 65)},
		"basis 2":               {Channel: "c", Basis: 2},
		"epoch over 53 bits":    {Channel: "c", Epoch: 1 << 53},
		"size without a root":   {Channel: "c", PrevSize: 1, PrevStart: trace.Hash{1}},
		"size without a start":  {Channel: "c", PrevSize: 1, PrevRoot: trace.Hash{1}},
		"a root without a size": {Channel: "c", PrevRoot: trace.Hash{1}},
		"a start without size":  {Channel: "c", PrevStart: trace.Hash{1}},
		"size over 53 bits":     {Channel: "c", PrevSize: 1 << 53, PrevStart: trace.Hash{1}, PrevRoot: trace.Hash{1}},
	} {
		if _, err := trace.ParseStart(dcbor.MustMarshal(s)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	good := dcbor.MustMarshal(trace.Start{Channel: "c"})
	for i := range good {
		if _, err := trace.ParseStart(good[:i]); err == nil {
			t.Errorf("first %d bytes accepted", i)
		}
	}
	if _, err := trace.ParseStart(append(good, 0)); err == nil {
		t.Error("trailing byte accepted")
	}
}

// TestHashes spells the leaf, the node and the encoding of a digest as section 4
// has them, apart from the code that hashes on hot paths.
func TestHashes(t *testing.T) {
	spec := trace.Spec{Unit: "Cel", Nominal: 1000, Limits: []trace.Limit{{Comparison: trace.AtOrBelow, Value: -1000}}}
	h := grow(t, spec, [][][2]int64{{{1000, -500}}, {{2000, -1000}}, {{70_000, 300}}})
	sum := func(parts ...[]byte) trace.Hash { return sha256.Sum256(slices.Concat(parts...)) }
	leaf := func(i int) []byte {
		record := recordHash(i)
		l := sum([]byte{0}, startHash[:], record[:])
		if l != trace.LeafHash(startHash, record) {
			t.Errorf("leaf %d is %s, want %s", i, trace.LeafHash(startHash, record), l)
		}
		return l[:]
	}
	digest := func(a, b uint64) []byte {
		d := oracle(spec, h.readings(a, b))
		limit := d.Limits[0]
		return dcbor.MustMarshal([]any{d.T0, d.T1, d.Covered, d.Min, d.Max, d.Sum, d.Kin,
			[]any{[]any{limit.Total, limit.Prefix, limit.Suffix, limit.Longest}}})
	}
	left := sum([]byte{1}, digest(0, 1), leaf(0), digest(1, 2), leaf(1))
	root := sum([]byte{1}, digest(0, 2), left[:], digest(2, 3), leaf(2))
	if got := h.heads[2]; got.Root != root || got.Size != 3 || got.Start != startHash {
		t.Errorf("head %+v, want root %s", got, root)
	}
	if got := h.heads[0]; got.Root != trace.Hash(leaf(0)) {
		t.Errorf("head of one block is %s, want its leaf", got.Root)
	}
}
