package comet

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto/merkle"
	"github.com/cometbft/cometbft/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
)

func start(t testing.TB, home string, admin ed25519.PrivateKey) *Node {
	t.Helper()
	n := must(Start(t.Context(), Config{Home: home, ChainID: testChain, Admin: public(admin), Log: strictLog(t)}))(t)
	t.Cleanup(func() { stop(t, n) })
	return n
}

func stop(t testing.TB, n *Node) {
	t.Helper()
	if err := n.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func submit(t testing.TB, n *Node, txs ...[]byte) {
	t.Helper()
	for _, tx := range txs {
		if err := n.Submit(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
	}
}

func refusal(err error) Code {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Code
	}
	return CodeOK
}

func TestNode(t *testing.T) {
	home := t.TempDir()
	admin, gateway := newKey(t), newKey(t)
	l := newTestLog(t, "trailmark.example/acme/2026h1")
	n := start(t, home, admin)
	if n.Validators() != 1 || n.ChainID() != testChain || n.Height() < 1 {
		t.Fatalf("%d validators of %s at block %d", n.Validators(), n.ChainID(), n.Height())
	}
	if _, ok, err := n.Head(l.origin); ok || err != nil {
		t.Fatalf("head before the first anchor: %t, %v", ok, err)
	}
	if err := n.Submit(t.Context(), l.anchor(gateway, 5)); refusal(err) != CodeOrigin {
		t.Fatalf("unregistered origin: %v", err)
	}
	submit(t, n, l.register(admin, 1, gateway))
	if r, ok := n.Registration(l.origin); !ok || r.Revision != 1 || !bytes.Equal(r.Submitters[0], public(gateway)) {
		t.Fatalf("registration %+v, %t", r, ok)
	}
	began := time.Now()
	const rounds = 10
	for size := range uint64(rounds) {
		submit(t, n, l.anchor(gateway, size+5))
	}
	took := time.Since(began) / rounds
	t.Logf("an anchor is final in %v", took)
	if took > time.Second {
		t.Errorf("an anchor is final in %v, want under 1s", took)
	}
	// The same again counts as done, whether head or not.
	submit(t, n, l.anchor(gateway, 14), l.anchor(gateway, 5))
	fork := must(NewAnchor(testChain, gateway, l.checkpoint(14, rootOf(15))))(t)
	if err := n.Submit(t.Context(), fork); refusal(err) != CodeFork {
		t.Errorf("fork: %v", err)
	}
	if err := n.Submit(t.Context(), l.anchor(gateway, 4)); refusal(err) != CodeBehind {
		t.Errorf("smaller size: %v", err)
	}

	all := must(n.Anchors(l.origin, 0, 100))(t)
	if len(all) != rounds {
		t.Fatalf("%d anchors, want %d", len(all), rounds)
	}
	for i, a := range all {
		block := must(n.Block(a.Height))(t)
		switch {
		case a.Size != uint64(i+5) || a.Root != rootOf(a.Size) || a.Origin != l.origin:
			t.Errorf("anchor %d is %+v", i, a)
		case a.BlockHash != block.Hash || !a.Time.Equal(block.Time):
			t.Errorf("anchor %d in block %+v, asked for it %+v", i, a, block)
		case i > 0 && (a.Height <= all[i-1].Height || !a.Time.After(all[i-1].Time)):
			t.Errorf("anchor %d at block %d, %s; the one before at block %d, %s", i, a.Height, a.Time, all[i-1].Height, all[i-1].Time)
		}
	}
	if some := must(n.Anchors(l.origin, 8, 2))(t); len(some) != 2 || some[0].Size != 8 || some[1].Size != 9 {
		t.Errorf("two anchors from size 8 are %+v", some)
	}
	if none := must(n.Anchors(l.origin, 0, 0))(t); none != nil {
		t.Errorf("no anchors asked for, got %+v", none)
	}
	for _, h := range []int64{0, n.Height() + 1} {
		if _, err := n.Block(h); err == nil {
			t.Errorf("block %d of %d found", h, n.Height())
		}
	}

	_, err := Start(t.Context(), Config{Home: home, ChainID: testChain, Admin: public(admin), Log: strictLog(t)})
	if err == nil {
		t.Fatal("a second validator started in the same home")
	}
	stop(t, n)
	if err := n.Submit(t.Context(), l.anchor(gateway, 99)); err == nil {
		t.Error("submitted to a stopped validator")
	}
	if _, _, err := n.Head(l.origin); err == nil {
		t.Error("read from a stopped validator")
	}
	for _, c := range []Config{
		{Home: home, ChainID: "another", Admin: public(admin)},
		{Home: home, ChainID: testChain, Admin: public(gateway)},
		{Home: home, ChainID: testChain},
		{Home: home, Admin: public(admin)},
		{ChainID: testChain, Admin: public(admin)},
	} {
		if _, err := Start(t.Context(), c); err == nil {
			t.Errorf("started with %+v", c)
		}
	}

	began = time.Now()
	n = start(t, home, admin)
	t.Logf("restarted in %v", time.Since(began))
	head, _, err := n.Head(l.origin)
	if err != nil || head.Size != 14 || !bytes.Equal(head.Tx, l.anchor(gateway, 14)) {
		t.Errorf("head after restart: %+v, %v", head, err)
	}
	stop(t, n)

	// The state is derived: without its file it comes back from the blocks.
	if err := os.Remove(filepath.Join(home, "validator", "data", "state.journal")); err != nil {
		t.Fatal(err)
	}
	n = start(t, home, admin)
	if again := must(n.Anchors(l.origin, 0, 100))(t); len(again) != rounds || again[rounds-1].Root != all[rounds-1].Root || !again[0].Time.Equal(all[0].Time) {
		t.Errorf("rebuilt history: %d anchors", len(again))
	}
	submit(t, n, l.anchor(gateway, 15))
}

// CometBFT dates a block by the commit before it. An anchor made after a quiet
// spell must not look as old as the block before the spell.
func TestAnchorTimeIsNotBackdated(t *testing.T) {
	admin, gateway := newKey(t), newKey(t)
	l := newTestLog(t, "trailmark.example/acme/2026h1")
	n := start(t, t.TempDir(), admin)
	submit(t, n, l.register(admin, 1, gateway))
	quiet := n.Height()
	time.Sleep(300 * time.Millisecond) // the spell itself; nothing is awaited
	if n.Height() != quiet {
		t.Fatalf("%d blocks were made with nothing to do", n.Height()-quiet)
	}
	before := time.Now()
	submit(t, n, l.anchor(gateway, 5))
	after := time.Now()
	a, _, err := n.Head(l.origin)
	if err != nil || a.Time.Before(before) || a.Time.After(after) {
		t.Errorf("anchored at %s, want within [%s, %s]: %v", a.Time, before, after, err)
	}
	header := n.env.BlockStore.LoadBlockMeta(a.Height).Header.Time
	if !header.Before(before) {
		t.Errorf("header time %s is not before %s: CometBFT has changed, simplify", header, before)
	}
}

// The evidence is checked with CometBFT's own light client code.
func TestEvidence(t *testing.T) {
	admin, gateway := newKey(t), newKey(t)
	n := start(t, t.TempDir(), admin)
	const count = 7
	var logs []*testLog
	for i := range count {
		logs = append(logs, newTestLog(t, "trailmark.example/"+string(rune('a'+i))))
		submit(t, n, logs[i].register(admin, 1, gateway))
	}
	var wg sync.WaitGroup
	for _, l := range logs {
		wg.Go(func() {
			if err := n.Submit(t.Context(), l.anchor(gateway, 9)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	shared := int64(0)
	for _, l := range logs {
		a, _, err := n.Head(l.origin)
		if err != nil {
			t.Fatal(err)
		}
		ev := must(n.Evidence(t.Context(), a.Height, a.Tx))(t)
		shared = max(shared, ev.Total)
		var header cmtproto.SignedHeader
		var set cmtproto.ValidatorSet
		if err := errors.Join(header.Unmarshal(ev.SignedHeader), set.Unmarshal(ev.Validators)); err != nil {
			t.Fatal(err)
		}
		signed := must(types.SignedHeaderFromProto(&header))(t)
		vals := must(types.ValidatorSetFromProto(&set))(t)
		proof := merkle.Proof{Total: ev.Total, Index: ev.Index, LeafHash: ev.LeafHash, Aunts: ev.Aunts}
		if err := errors.Join(
			signed.ValidateBasic(testChain),
			vals.VerifyCommitLight(testChain, signed.Commit.BlockID, ev.Height, signed.Commit),
			proof.Verify(signed.DataHash, types.Tx(ev.Tx).Hash()),
		); err != nil {
			t.Errorf("evidence of %s: %v", l.origin, err)
		}
		switch {
		case !bytes.Equal(vals.Hash(), signed.ValidatorsHash):
			t.Errorf("validators hash to %x, want %x", vals.Hash(), signed.ValidatorsHash)
		case !bytes.Equal(signed.Hash(), a.BlockHash[:]):
			t.Errorf("header hashes to %x, want %x", signed.Hash(), a.BlockHash)
		case !signed.Commit.Signatures[0].Timestamp.Equal(a.Time):
			t.Errorf("committed at %s, want %s", signed.Commit.Signatures[0].Timestamp, a.Time)
		}
		ev.Tx[0] ^= 1
		if proof.Verify(signed.DataHash, types.Tx(ev.Tx).Hash()) == nil {
			t.Error("a changed transaction verifies")
		}
		if _, err := n.Evidence(t.Context(), a.Height-1, a.Tx); err == nil {
			t.Error("evidence from a block that lacks the transaction")
		}
	}
	t.Logf("most transactions in one block: %d of %d", shared, count)
}

// A vote for a block that was lost together with the consensus log must not
// stop a lone validator for ever.
func TestLostVote(t *testing.T) {
	home := t.TempDir()
	admin, gateway := newKey(t), newKey(t)
	l := newTestLog(t, "trailmark.example/acme/2026h1")
	n := start(t, home, admin)
	submit(t, n, l.register(admin, 1, gateway), l.anchor(gateway, 5))
	if err := n.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	height := n.Height()
	stop(t, n)

	c := settings(filepath.Join(home, "validator"))
	pv := privval.LoadFilePV(c.PrivValidatorKeyFile(), c.PrivValidatorStateFile())
	hash := bytes.Repeat([]byte{7}, 32)
	vote := &cmtproto.Vote{
		Type: cmtproto.PrecommitType, Height: height + 1, Timestamp: time.Now(),
		BlockID: cmtproto.BlockID{Hash: hash, PartSetHeader: cmtproto.PartSetHeader{Total: 1, Hash: hash}},
	}
	if err := errors.Join(pv.SignVote(testChain, vote), os.RemoveAll(filepath.Dir(c.Consensus.WalFile()))); err != nil {
		t.Fatal(err)
	}
	n = must(Start(t.Context(), Config{Home: home, ChainID: testChain, Admin: public(admin), Log: slog.New(slog.DiscardHandler)}))(t)
	defer stop(t, n)
	if marked, err := markWAL(c.Consensus.WalFile(), height, false); err != nil || !marked {
		t.Errorf("consensus log marks block %d: %t, %v", height, marked, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := n.Submit(ctx, l.anchor(gateway, 6)); err != nil {
		t.Fatal(err)
	}
}

// A start that is given up leaves nothing behind that stops the next one.
func TestStartGivenUp(t *testing.T) {
	// Stopped in the middle of a proposal, CometBFT complains like after a kill.
	conf := Config{Home: t.TempDir(), ChainID: testChain, Admin: public(newKey(t)), Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n, err := Start(ctx, conf)
	if err == nil { // it was ready before it looked
		stop(t, n)
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	stop(t, must(Start(t.Context(), conf))(t))
}

// An ended context says nothing about the outcome; asking again does.
func TestTimeoutIsNotFailure(t *testing.T) {
	admin, gateway := newKey(t), newKey(t)
	l := newTestLog(t, "trailmark.example/acme/2026h1")
	n := start(t, t.TempDir(), admin)
	submit(t, n, l.register(admin, 1, gateway))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tx := l.anchor(gateway, 5)
	if err := n.Submit(ctx, tx); !errors.Is(err, context.Canceled) {
		t.Fatalf("with an ended context: %v", err)
	}
	submit(t, n, tx)
	if all := must(n.Anchors(l.origin, 0, 9))(t); len(all) != 1 {
		t.Errorf("submitted twice, anchored %d times", len(all))
	}
}
