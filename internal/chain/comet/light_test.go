package comet

import (
	"bytes"
	"testing"

	"github.com/cometbft/cometbft/crypto/merkle"

	"trailmark/internal/dcbor"
)

// The verifier's own tests, in passport/internal/cometlight, check what Light
// gives against CometBFT. Here: that it gives the block's bytes, and nothing for
// evidence that does not stand.
func TestLight(t *testing.T) {
	admin, gateway := newKey(t), newKey(t)
	n := start(t, t.TempDir(), admin)
	l := newTestLog(t, "trailmark.example/light")
	register := l.register(admin, 1, gateway)
	submit(t, n, register, l.anchor(gateway, 9))
	a, _, err := n.Head(l.origin)
	if err != nil {
		t.Fatal(err)
	}
	ev := must(n.Evidence(t.Context(), a.Height, a.Tx))(t)
	data := must(ev.Light())(t)
	t.Logf("%d bytes; as protobuf %d", len(data), len(ev.SignedHeader)+len(ev.Validators)+len(ev.Tx)+32*len(ev.Aunts))

	var light lightEvidence
	if err := dcbor.Unmarshal(data, &light); err != nil {
		t.Fatal(err)
	}
	if root := merkle.HashFromByteSlices(light.Header[:]); !bytes.Equal(root, a.BlockHash[:]) {
		t.Errorf("header leaves hash to %x, the block is %x", root, a.BlockHash)
	}
	if len(light.Votes) != 1 || light.Votes[0].Seconds != a.Time.Unix() || light.Votes[0].Nanos != int64(a.Time.Nanosecond()) {
		t.Errorf("votes %+v, anchored at %s", light.Votes, a.Time)
	}

	for name, spoil := range map[string]func(*Evidence){
		"signed header cut": func(e *Evidence) { e.SignedHeader = e.SignedHeader[:len(e.SignedHeader)-1] },
		"no signed header":  func(e *Evidence) { e.SignedHeader = nil },
		"no validators":     func(e *Evidence) { e.Validators = nil },
		"another chain":     func(e *Evidence) { e.ChainID = "another" },
		"another height":    func(e *Evidence) { e.Height++ },
		"another index":     func(e *Evidence) { e.Index++ },
		"negative total":    func(e *Evidence) { e.Total = -1 },
		"short aunt":        func(e *Evidence) { e.Aunts = [][]byte{{1}} },
		"leaf hash changed": func(e *Evidence) { e.LeafHash = make([]byte, 32) },
		"another tx":        func(e *Evidence) { e.Tx = l.anchor(gateway, 10) },
		"a register tx":     func(e *Evidence) { e.Tx = register },
		"no tx":             func(e *Evidence) { e.Tx = nil },
	} {
		bad := *ev
		spoil(&bad)
		if _, err := bad.Light(); err == nil {
			t.Errorf("%s: converted", name)
		}
	}
	for i := range ev.SignedHeader {
		bad := *ev
		bad.SignedHeader = bytes.Clone(ev.SignedHeader)
		bad.SignedHeader[i] ^= 1
		if got, err := bad.Light(); err == nil && !bytes.Equal(got, data) {
			t.Errorf("byte %d of the signed header flipped: converted", i)
		}
	}
}
