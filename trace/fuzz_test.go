package trace_test

import (
	"bytes"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/trace"
)

// FuzzRange: whatever bytes come as a proof, what passes against a head is the
// truth about the blocks it names.
func FuzzRange(f *testing.F) {
	h := random(f, rngOf(13), 21)
	for _, ab := range [][2]uint64{{0, 21}, {0, 1}, {20, 21}, {3, 17}, {7, 8}} {
		f.Add(dcbor.MustMarshal(h.prove(f, 21, ab[0], ab[1])))
	}
	f.Add([]byte{0x83, 0x00, 0x01, 0x80})
	head := h.heads[20]
	f.Fuzz(func(t *testing.T, data []byte) {
		var r trace.Range
		if err := dcbor.Unmarshal(data, &r); err != nil {
			return
		}
		got, err := r.Verify(h.spec, head)
		if err != nil {
			return
		}
		if want := oracle(h.spec, h.readings(r.A, r.B)); !same(got, want) {
			t.Fatalf("[%d, %d) shown as %+v, is %+v", r.A, r.B, got, want)
		}
	})
}

// FuzzConsistency: only the true older head passes.
func FuzzConsistency(f *testing.F) {
	h := random(f, rngOf(14), 21)
	for _, m := range []uint64{1, 7, 16, 21} {
		f.Add(dcbor.MustMarshal(h.heads[m-1]), dcbor.MustMarshal(h.prove(f, 21, 0, m).Nodes))
	}
	f.Fuzz(func(t *testing.T, head, proof []byte) {
		var older trace.Head
		var nodes []trace.Node
		if dcbor.Unmarshal(head, &older) != nil || dcbor.Unmarshal(proof, &nodes) != nil {
			return
		}
		if trace.VerifyConsistency(h.spec, older, h.heads[20], nodes) != nil {
			return
		}
		if older.Size > 21 || !bytes.Equal(head, dcbor.MustMarshal(h.heads[older.Size-1])) {
			t.Fatalf("forged head of size %d passes", older.Size)
		}
	})
}

// FuzzDigest: a digest that passes the check never makes a merge wrap: the merge
// is refused or passes the check too.
func FuzzDigest(f *testing.F) {
	h := random(f, rngOf(15), 4)
	f.Add(dcbor.MustMarshal(h.heads[0].Digest), dcbor.MustMarshal(h.store[[2]uint64{0, 1}].Digest))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var l, r trace.Digest
		if dcbor.Unmarshal(a, &l) != nil || dcbor.Unmarshal(b, &r) != nil ||
			h.spec.CheckDigest(l) != nil || h.spec.CheckDigest(r) != nil {
			return
		}
		m, err := trace.Merge(l, r)
		if err != nil {
			return
		}
		if err := h.spec.CheckDigest(m); err != nil {
			t.Fatalf("merge of\n%+v and\n%+v is\n%+v: %v", l, r, m, err)
		}
	})
}

func FuzzParseStart(f *testing.F) {
	f.Add(dcbor.MustMarshal(trace.Start{Channel: "c"}))
	f.Add(dcbor.MustMarshal(trace.Start{Epoch: 3, Channel: "28-0316a2795fff/temp", Basis: 1,
		PrevStart: trace.Hash{1}, PrevSize: 9, PrevRoot: trace.Hash{2}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := trace.ParseStart(data); err == nil && !bytes.Equal(dcbor.MustMarshal(s), data) {
			t.Fatalf("%x decodes to what encodes otherwise", data)
		}
	})
}
