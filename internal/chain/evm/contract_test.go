package evm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// send anchors heads in one transaction by key, and gives what it cost.
func (b *bed) send(key Signer, heads ...Head) (Done, error) {
	b.t.Helper()
	data, err := Calldata(heads)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.client.transact(b.t.Context(), key, &b.contract, data, nil)
}

// refusedAs wants one of the contract's errors.
func refusedAs(t *testing.T, err error, name, text string) {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || r.Name != name || !strings.Contains(r.Args, text) {
		t.Errorf("got %v, want %s with %q", err, name, text)
	}
}

func TestContract(t *testing.T) {
	b := newBed(t)
	b.node.Call(t, "evm_setAutomine", true)
	key, stranger := Local{b.key}, Local{b.node.Key(t)}
	at := func() Block {
		t.Helper()
		latest, _, err := b.client.Tips(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return latest
	}
	holds := func(want Head) {
		t.Helper()
		got, err := b.client.HeadAt(t.Context(), at(), want.Origin)
		if err != nil || got.Size != want.Size || got.Root != want.Root {
			t.Errorf("head %+v, %v; want size %d", got, err, want.Size)
		}
	}
	must := func(_ Done, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	refused := func(name, text string, err error) { t.Helper(); refusedAs(t, err, name, text) }

	// Roles.
	_, err := b.send(stranger, headOf(3))
	refused("NotSubmitter", stranger.Address().Hex(), err)
	_, err = b.send(b.owner, headOf(3)) // the owner names submitters, and is none
	refused("NotSubmitter", b.owner.Address().Hex(), err)
	_, err = b.send(key, Head{"ledger.example.com/other", 3, rootOf(3)}) // of one origin only
	refused("NotSubmitter", "", err)
	_, err = b.client.SetRole(t.Context(), stranger, testOrigin, stranger.Address(), SubmitterRole)
	refused("NotOwner", stranger.Address().Hex(), err)
	_, err = b.client.SetRole(t.Context(), key, testOrigin, stranger.Address(), SubmitterRole)
	refused("NotOwner", "", err)
	_, err = b.client.SetRole(t.Context(), b.owner, testOrigin, common.Address{}, SubmitterRole)
	refused("NoAddress", "", err)
	_, err = b.client.Deploy(t.Context(), key, common.Address{}, nil)
	refused("NoAddress", "", err)

	// Heads, and no way to rewrite.
	must(b.send(key, headOf(3)))
	holds(headOf(3))
	must(b.send(key, headOf(3))) // the same again: without effect
	_, err = b.send(key, Head{testOrigin, 3, rootOf(4)})
	refused("RootDiffers", fmt.Sprintf("%x", rootOf(4)), err)
	_, err = b.send(key, headOf(2))
	refused("SizeSmaller", "have 3, got 2", err)
	_, err = b.send(key, headOf(0))
	refused("SizeSmaller", "got 0", err)
	must(b.send(key, headOf(1<<53)))
	holds(headOf(1 << 53))
	_, err = b.send(key, headOf(1<<53-1))
	refused("SizeSmaller", "", err)
	if got := b.logged(testOrigin); !slices.Equal(got, []uint64{3, 1 << 53}) {
		t.Errorf("logged %v: what has no effect has no event", got)
	}
	head, err := b.client.HeadAt(t.Context(), at(), testOrigin)
	if err != nil || head.Time == 0 || head.Time > at().Time {
		t.Errorf("time %d of a head, block %d", head.Time, at().Time)
	}

	// Batches are taken all or none.
	other := Head{"ledger.example.com/acme/2026h2", 5, rootOf(5)}
	_, err = b.send(key, headOf(1<<53+1), other)
	refused("NotSubmitter", "", err)
	holds(headOf(1 << 53))
	b.role(other.Origin, key.Address(), SubmitterRole)
	must(b.send(key, headOf(1<<53+1), other))
	holds(headOf(1<<53 + 1))
	holds(other)
	data, err := anchors.Pack("anchorBatch", [][32]byte{other.key()}, []uint64{6, 7}, [][32]byte{rootOf(6)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.client.transact(t.Context(), key, &b.contract, data, nil)
	refused("LengthsDiffer", "origins 1, sizes 2, roots 1", err)

	// Pause, and take back.
	b.role(testOrigin, key.Address(), PausedRole)
	_, err = b.send(key, headOf(1<<53+2))
	refused("SubmitterPaused", key.Address().Hex(), err)
	must(b.send(key, Head{other.Origin, 6, rootOf(6)})) // the pause is of one origin
	b.role(testOrigin, key.Address(), SubmitterRole)
	must(b.send(key, headOf(1<<53+2)))
	b.role(testOrigin, key.Address(), NoRole)
	_, err = b.send(key, headOf(1<<53+3))
	refused("NotSubmitter", "", err)

	// Ownership passes in two steps.
	_, err = b.client.OfferOwnership(t.Context(), stranger, stranger.Address())
	refused("NotOwner", "", err)
	must(b.client.OfferOwnership(t.Context(), b.owner, stranger.Address()))
	b.role(testOrigin, key.Address(), SubmitterRole) // not passed yet
	_, err = b.client.AcceptOwnership(t.Context(), key)
	refused("NotOwner", "", err)
	must(b.client.AcceptOwnership(t.Context(), stranger))
	_, err = b.client.SetRole(t.Context(), b.owner, testOrigin, key.Address(), NoRole)
	refused("NotOwner", b.owner.Address().Hex(), err)
	if owner, err := b.client.Owner(t.Context(), at()); err != nil || owner != stranger.Address() {
		t.Errorf("owner %s, %v", owner, err)
	}
	holds(headOf(1<<53 + 2)) // whoever owns it, heads stay
}

// What the contract logs is what docs/wire-format.md says, and every function that
// writes is known here: a new one needs a test that it rewrites nothing.
func TestInterface(t *testing.T) {
	if id := anchors.Events["Anchored"].ID; id != crypto.Keccak256Hash([]byte("Anchored(bytes32,uint64,bytes32)")) {
		t.Errorf("event is %x", id)
	}
	var writes []string
	for name, m := range anchors.Methods {
		if !m.IsConstant() {
			writes = append(writes, name)
		}
	}
	slices.Sort(writes)
	if want := []string{"acceptOwnership", "anchor", "anchorBatch", "offerOwnership", "setRole"}; !slices.Equal(writes, want) {
		t.Errorf("functions that write: %v, want %v", writes, want)
	}
}

// The gas that docs/specification.md promises.
func TestGas(t *testing.T) {
	b := newBed(t)
	b.node.Call(t, "evm_setAutomine", true)
	key := Local{b.key}
	send := func(heads ...Head) uint64 {
		t.Helper()
		d, err := b.send(key, heads...)
		if err != nil {
			t.Fatal(err)
		}
		return d.Gas
	}
	first := send(headOf(1_000_000))
	steady := send(headOf(1_000_100))
	var batch [2][]Head
	for i := range 50 {
		origin := fmt.Sprintf("ledger.example.com/tenant%d/2026h1", i)
		b.role(origin, key.Address(), SubmitterRole)
		for n := range batch {
			size := uint64(1_000_000 + 100*n + i)
			batch[n] = append(batch[n], Head{origin, size, rootOf(size)})
		}
	}
	fresh := send(batch[0]...) / 50
	each := send(batch[1]...) / 50
	t.Logf("gas of an anchor: first %d, steady %d; of each in a batch of 50: first %d, steady %d", first, steady, fresh, each)
	if steady > 40_000 || each > 37_000 {
		t.Errorf("steady %d, want at most 40,000; in a batch %d, want at most 37,000", steady, each)
	}
}
