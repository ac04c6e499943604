package evmanchor

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"trailmark/internal/dcbor"
)

// golden is what geth says of a contract that keeps heads as the package comment
// says; evmproof/testdata/geth tells how it was made.
type golden struct {
	Header       hexBytes   `json:"header"`
	Hash         hexBytes   `json:"hash"`
	Number       uint64     `json:"number"`
	Time         int64      `json:"time"`
	Address      hexBytes   `json:"address"`
	AccountProof []hexBytes `json:"account_proof"`
	Slots        []struct {
		Proof []hexBytes `json:"proof"`
	} `json:"slots"`
	Heads []struct {
		Origin string   `json:"origin"`
		Size   uint64   `json:"size"`
		Root   hexBytes `json:"root"`
	} `json:"heads"`
	Receipts []struct {
		Proof []hexBytes `json:"proof"`
	} `json:"receipts"`
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(strings.TrimPrefix(string(text), "0x"))
	return err
}

func raw(nodes []hexBytes) [][]byte {
	out := make([][]byte, len(nodes))
	for i := range nodes {
		out[i] = nodes[i]
	}
	return out
}

// A proven is evidence for a head, by geth.
type proven struct {
	name string
	head Head
	evidence
}

func load(t testing.TB) (contract [20]byte, want Anchor, all []proven) {
	t.Helper()
	data, err := os.ReadFile("../evmproof/testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	for i, h := range g.Heads {
		head := Head{h.Origin, h.Size, [32]byte(h.Root)}
		all = append(all,
			proven{"head", head, evidence{Version: 1, Header: g.Header,
				Head: &headProof{Account: raw(g.AccountProof), Root: raw(g.Slots[2*i].Proof), Size: raw(g.Slots[2*i+1].Proof)}}},
			proven{"event", head, evidence{Version: 1, Header: g.Header,
				Event: &eventProof{Transaction: h.Size - 1000, Receipt: raw(g.Receipts[h.Size-1000].Proof)}}})
	}
	return [20]byte(g.Address), Anchor{Height: g.Number, Block: [32]byte(g.Hash), Time: g.Time * 1000}, all
}

// open parses and verifies as a caller does who trusts one block.
func open(block [32]byte, contract [20]byte, head Head, data []byte) (Anchor, error) {
	e, err := Parse(data)
	if err != nil {
		return Anchor{}, err
	}
	if e.Block() != block {
		return Anchor{}, os.ErrNotExist
	}
	return e.Verify(contract, head)
}

// TestGeth: a real contract, executed and proven by geth.
func TestGeth(t *testing.T) {
	contract, want, all := load(t)
	if len(all) != 4 {
		t.Fatalf("%d cases, want 4", len(all))
	}
	for i, c := range all {
		data := dcbor.MustMarshal(c.evidence)
		got, err := open(want.Block, contract, c.head, data)
		if err != nil || got != want {
			t.Errorf("%s of %q: %+v, %v; want %+v", c.name, c.head.Origin, got, err, want)
		}
		t.Logf("%s: %d bytes", c.name, len(data))
		other := contract
		other[3] ^= 1
		larger, moved := c.head, c.head
		larger.Size++
		moved.Root[31] ^= 1
		foreign := all[(i+2)%4].head
		for name, bad := range map[string]struct {
			contract [20]byte
			head     Head
		}{"contract": {other, c.head}, "size": {contract, larger}, "root": {contract, moved}, "origin": {contract, foreign},
			"unknown origin": {contract, Head{"ledger.example.com/nobody", c.head.Size, c.head.Root}}} {
			if _, err := open(want.Block, bad.contract, bad.head, data); err == nil {
				t.Errorf("%s: another %s is accepted", c.name, name)
			}
		}
		for at := range data {
			bad := bytes.Clone(data)
			bad[at] ^= 1 << (at % 8)
			if _, err := open(want.Block, contract, c.head, bad); err == nil {
				t.Errorf("%s: byte %d altered is accepted", c.name, at)
			}
		}
	}
}

func TestForm(t *testing.T) {
	_, _, all := load(t)
	for name, c := range map[string]struct {
		edit func(head, event *evidence) *evidence
		want string
	}{
		"version":     {func(h, _ *evidence) *evidence { h.Version = 2; return h }, "version 2"},
		"no header":   {func(h, _ *evidence) *evidence { h.Header = nil; return h }, "header of 0 bytes"},
		"long header": {func(h, _ *evidence) *evidence { h.Header = make([]byte, 8193); return h }, "header of 8193 bytes"},
		"nothing":     {func(h, _ *evidence) *evidence { h.Head = nil; return h }, "not exactly one"},
		"both":        {func(h, e *evidence) *evidence { h.Event = e.Event; return h }, "not exactly one"},
		"no account":  {func(h, _ *evidence) *evidence { h.Head.Account = nil; return h }, "proof of 0 nodes"},
		"no root":     {func(h, _ *evidence) *evidence { h.Head.Root = nil; return h }, "proof of 0 nodes"},
		"no size":     {func(h, _ *evidence) *evidence { h.Head.Size = nil; return h }, "proof of 0 nodes"},
		"no receipt":  {func(_, e *evidence) *evidence { e.Event.Receipt = nil; return e }, "proof of 0 nodes"},
		"many nodes":  {func(_, e *evidence) *evidence { e.Event.Receipt = make([][]byte, 65); return e }, "proof of 65 nodes"},
		"transaction": {func(_, e *evidence) *evidence { e.Event.Transaction = 1 << 32; return e }, "out of bounds"},
		"log":         {func(_, e *evidence) *evidence { e.Event.Log = 2048; return e }, "out of bounds"},
		"large":       {func(_, e *evidence) *evidence { e.Event.Receipt[0] = make([]byte, MaxEvidence); return e }, "over the limit"},
	} {
		head, event := all[0].evidence, all[1].evidence
		h, e := *head.Head, *event.Event
		e.Receipt = slices.Clone(e.Receipt)
		head.Head, event.Event = &h, &e
		if _, err := Parse(dcbor.MustMarshal(c.edit(&head, &event))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestNext(t *testing.T) {
	for in, want := range map[string]string{"00": "01", "00ff": "0100", strings.Repeat("ff", 32): "00", "7f" + strings.Repeat("ff", 31): "80" + strings.Repeat("00", 31)} {
		word := func(s string) (w [32]byte) {
			b, err := hex.DecodeString(s)
			if err != nil {
				t.Fatal(err)
			}
			copy(w[32-len(b):], b)
			return w
		}
		if got := next(word(in)); got != word(want) {
			t.Errorf("after %s comes %x, want %s", in, got, want)
		}
	}
}

// Whatever bytes come, nothing panics; what is read is written the same again,
// and under its own block hash proves a head only if it is golden's.
func FuzzParse(f *testing.F) {
	contract, want, all := load(f)
	for _, c := range all {
		f.Add(dcbor.MustMarshal(c.evidence))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := Parse(data)
		if err != nil {
			return
		}
		if again := dcbor.MustMarshal(e.form); !bytes.Equal(again, data) {
			t.Fatalf("%x is written again as %x", data, again)
		}
		a, err := e.Verify(contract, all[0].head)
		if err == nil && e.Block() == want.Block && a != want {
			t.Fatalf("%x proves %+v", data, a)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	contract, _, all := load(b)
	for _, c := range all[:2] {
		data := dcbor.MustMarshal(c.evidence)
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				e, err := Parse(data)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := e.Verify(contract, c.head); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(data)), "bytes")
		})
	}
}
