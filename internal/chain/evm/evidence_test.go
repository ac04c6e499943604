package evm

import (
	"encoding/base64"
	"fmt"
	"math/big"
	"testing"

	"trailmark/passport"
)

func noteOf(h Head) []byte {
	return fmt.Appendf(nil, "%s\n%d\n%s\n\n— x AAAA\n", h.Origin, h.Size, base64.StdEncoding.EncodeToString(h.Root[:]))
}

// What the client proves, verifiers accept: among other transactions of the block,
// as many as change the shape of the receipts' trie, by event and by head.
func TestEvidence(t *testing.T) {
	for _, others := range []int{0, 1, 15, 130, -1} {
		noReceipts := others < 0
		b := newBed(t)
		target := b.target
		if noReceipts {
			target.RPCs = []string{proxy(t, b.node.URL, func(q message, _ func() message) *message {
				if q.Method == "eth_getBlockReceipts" || q.Method == "eth_getTransactionReceipt" {
					return unknownMethod(q.Method)
				}
				return nil
			})}
		}
		c := b.dial(target)
		s := b.open(b.options())
		b.step(s, Pending, headOf(3))
		payer := Local{b.node.Key(t)}
		to := payer.Address()
		for nonce := range max(0, others) { // in the same block
			tx, err := payer.Sign(t.Context(), 31337, transaction(31337, uint64(nonce), &to, nil, 21_000, fees{Cap: new(big.Int).Mul(gwei, big.NewInt(50)), Tip: new(big.Int).Mul(gwei, big.NewInt(int64(1+nonce%3)))}))
			if err != nil {
				t.Fatal(err)
			}
			raw, err := tx.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.broadcast(t.Context(), raw); err != nil {
				t.Fatal(err)
			}
		}
		a := b.finish(s, headOf(3)).Anchors[0]
		data, err := c.Evidence(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("among %d others, without receipts %t: %d bytes", max(0, others), noReceipts, len(data))
		pinned := passport.Chain{ID: Name(31337), Kind: passport.EVM, Contract: &passport.Contract{Address: b.contract,
			Blocks: []passport.Block{{Number: a.Height, Hash: [32]byte(a.Block)}}}}
		got, err := pinned.Anchor(noteOf(headOf(3)), data)
		if err != nil || got.Height != a.Height || got.Block != [32]byte(a.Block) || got.Time != int64(a.Time)*1000 {
			t.Errorf("%+v, %v; want %+v", got, err, a)
		}
		if _, err := pinned.Anchor(noteOf(headOf(4)), data); err == nil {
			t.Error("proves another size")
		}
	}
}
