package comet

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/merkle"
)

func seats(t testing.TB, keys ...ed25519.PrivateKey) (vs []Validator) {
	t.Helper()
	for _, k := range keys {
		vs = append(vs, Validator{Key: public(k), Power: 1})
	}
	return vs
}

// consortium is a state machine with the given validators.
func consortium(t testing.TB, admin ed25519.PrivateKey, keys ...ed25519.PrivateKey) *testApp {
	t.Helper()
	g := testGenesis(public(admin))
	g.Validators = seats(t, keys...)
	a, err := openApp(filepath.Join(t.TempDir(), "state.journal"), g, nil, strictLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.close() })
	return &testApp{a, t}
}

// Validators are added and removed by more than two thirds of those present, in
// time, once.
func TestVotes(t *testing.T) {
	admin := newKey(t)
	v := []ed25519.PrivateKey{newKey(t), newKey(t), newKey(t), newKey(t)}
	fifth := newKey(t)
	a := consortium(t, admin, v...)
	now := testGenesis(nil).Time.Unix()
	propose := func(by ed25519.PrivateKey, nonce uint64, until int64, c Change) []byte {
		return must(NewProposal(testChain, by, Proposal{Until: until, Nonce: nonce, Change: c}))(t)
	}
	add := Change{Kind: ChangeValidator, Key: public(fifth), Power: 1, Name: "fifth"}
	p := Proposal{Until: now + 60, Nonce: 1, Change: add}
	id := must(p.ID())(t)
	vote := func(by ed25519.PrivateKey, id [32]byte) []byte { return must(NewVote(testChain, by, id))(t) }

	a.want([]Code{CodeVoter, CodeExpired, CodeExpired, CodeExpired},
		propose(fifth, 1, now+60, add), propose(v[0], 1, now-1, add), propose(v[0], 1, now+32*24*3600, add), vote(v[0], id))
	a.want([]Code{CodeOK, CodeAlready, CodeAlready, CodeVoter, CodeOK},
		propose(v[0], 1, now+60, add), propose(v[1], 1, now+60, add), vote(v[0], id), vote(fifth, id), vote(v[1], id))
	if n := len(a.state.gov.validators); n != 4 {
		t.Fatalf("%d validators after two votes of four", n)
	}
	height, _ := a.next()
	res := must(a.FinalizeBlock(t.Context(), &abci.RequestFinalizeBlock{Height: height + 1, Time: a.state.now, Txs: [][]byte{vote(v[2], id)}}))(t)
	if len(res.ValidatorUpdates) != 1 || !bytes.Equal(res.ValidatorUpdates[0].PubKey.GetEd25519(), public(fifth)) || res.ValidatorUpdates[0].Power != 1 {
		t.Fatalf("CometBFT is told %v", res.ValidatorUpdates)
	}
	must(a.Commit(t.Context(), nil))(t)
	if g := a.state.gov; len(g.validators) != 5 || len(g.epochs) != 1 || g.epochs[0].From != height+3 {
		t.Fatalf("governance %+v", g)
	}
	// Three of five do not remove one; four do. What is decided is not decided again.
	a.want([]Code{CodeAlready, CodeAlready}, vote(v[3], id), propose(v[3], 1, now+60, add))
	remove := Change{Kind: ChangeValidator, Key: public(v[0])}
	q := Proposal{Until: now + 60, Nonce: 2, Change: remove}
	rid := must(q.ID())(t)
	a.want([]Code{CodeOK, CodeOK, CodeOK}, propose(v[1], 2, now+60, remove), vote(v[2], rid), vote(v[0], rid))
	if n := len(a.state.gov.validators); n != 5 {
		t.Fatalf("three of five removed one: %d left", n)
	}
	a.want([]Code{CodeOK, CodeVoter}, vote(fifth, rid), vote(v[0], rid))
	if n := len(a.state.gov.validators); n != 4 {
		t.Fatalf("%d validators after the removal", n)
	}
	// The second administrator comes by vote, too, and the first has nothing to say.
	l := newTestLog(t, "trailmark.example/acme/2026h1")
	c := Change{Kind: ChangeAdmin, Key: public(fifth)}
	s := Proposal{Until: now + 60, Nonce: 3, Change: c}
	sid := must(s.ID())(t)
	a.want([]Code{CodeOK, CodeOK, CodeOK, CodeAdmin, CodeOK},
		propose(v[1], 3, now+60, c), vote(v[2], sid), vote(v[3], sid), l.register(admin, 1, v[0]), l.register(fifth, 1, v[0]))
	// A proposal lapses.
	short := Proposal{Until: a.state.now.Unix() + 2, Nonce: 4, Change: add}
	short.Change.Power = 3
	lapsed := must(short.ID())(t)
	a.want([]Code{CodeOK}, must(NewProposal(testChain, v[1], short))(t))
	a.want(nil)
	a.want(nil)
	a.want([]Code{CodeExpired}, vote(v[2], lapsed))

	again := must(openApp(a.path, a.state.genesis, nil, strictLog(t)))(t)
	defer again.close()
	if again.state.appHash != a.state.appHash || len(again.state.gov.validators) != 4 {
		t.Error("the journal makes another state")
	}
}

func TestKeysRotate(t *testing.T) {
	admin, next, gateway := newKey(t), newKey(t), newKey(t)
	a := consortium(t, admin, testValidator)
	old := newTestLog(t, "trailmark.example/acme/2026h1")
	fresh, stranger := newTestLog(t, old.origin), newTestLog(t, old.origin)
	reg := func(by ed25519.PrivateKey, revision uint64, keys ...string) []byte {
		r := Registration{Revision: revision, Origin: old.origin, LogKey: keys[0], Submitters: []ed25519.PublicKey{public(gateway)}}
		if len(keys) > 1 {
			r.NextKey = keys[1]
		}
		return must(NewRegister(testChain, by, r))(t)
	}
	a.want([]Code{CodeOK, CodeOK, CodeCheckpoint}, reg(admin, 1, old.key), old.anchor(gateway, 1), fresh.anchor(gateway, 2))
	a.want([]Code{CodeLogKey, CodeLogKey}, reg(admin, 2, fresh.key), reg(admin, 2, fresh.key, stranger.key))
	a.want([]Code{CodeOK, CodeOK, CodeOK, CodeCheckpoint}, reg(admin, 2, old.key, fresh.key), fresh.anchor(gateway, 2), old.anchor(gateway, 3), stranger.anchor(gateway, 4))
	a.want([]Code{CodeOK, CodeCheckpoint, CodeOK}, reg(admin, 3, fresh.key), old.anchor(gateway, 4), fresh.anchor(gateway, 4))

	hand := must(NewAdmin(testChain, admin, 1, public(next)))(t)
	a.want([]Code{CodeAdmin, CodeOK, CodeAlready}, must(NewAdmin(testChain, next, 1, public(next)))(t), hand, hand)
	back := must(NewAdmin(testChain, next, 2, public(admin)))(t)
	a.want([]Code{CodeAdmin, CodeOK, CodeAdmin}, reg(admin, 4, fresh.key, old.key), back, must(NewAdmin(testChain, next, 3, public(next)))(t))
	a.want([]Code{CodeRevision}, hand) // not played again
}

func TestSeveralOrigins(t *testing.T) {
	admin, gateway, other := newKey(t), newKey(t), newKey(t)
	a := consortium(t, admin, testValidator)
	l1, l2, l3 := newTestLog(t, "trailmark.example/a"), newTestLog(t, "trailmark.example/b"), newTestLog(t, "trailmark.example/c")
	a.want([]Code{CodeOK, CodeOK, CodeOK}, l1.register(admin, 1, gateway), l2.register(admin, 1, gateway), l3.register(admin, 1, other))
	all := func(notes ...[]byte) []byte { return must(NewAnchors(testChain, gateway, notes...))(t) }
	n1, n2 := l1.checkpoint(4, rootOf(4)), l2.checkpoint(5, rootOf(5))
	a.want([]Code{CodeSubmitter}, all(n1, l3.checkpoint(1, rootOf(1))))
	a.want([]Code{CodeOK, CodeAlready, CodeBehind}, all(n1, n2), all(n1, n2), all(n1, l2.checkpoint(6, rootOf(6))))
	a.want([]Code{CodeFork}, all(l1.checkpoint(9, rootOf(9)), l2.checkpoint(5, rootOf(6))))
	if h := a.history(l1.origin, 0, 10); len(h) != 1 || h[0].size != 4 {
		t.Errorf("a refused transaction left %+v", h)
	}
	if _, err := NewAnchors(testChain, gateway, n1, n1); err == nil {
		t.Error("one origin twice in a transaction")
	}
}

// The app hash commits to every anchor with the time of its block, and to every
// origin's head: paths lead from each to it, and from nothing else.
func TestHistory(t *testing.T) {
	admin, gateway := newKey(t), newKey(t)
	a := consortium(t, admin, testValidator)
	logs := []*testLog{newTestLog(t, "trailmark.example/a"), newTestLog(t, "trailmark.example/b")}
	a.want([]Code{CodeOK, CodeOK}, logs[0].register(admin, 1, gateway), logs[1].register(admin, 1, gateway))
	var want []Dated
	for size := range uint64(37) {
		l := logs[size%2]
		_, _ = a.block(l.anchor(gateway, size+1))
		height, _ := a.next()
		want = append(want, Dated{l.origin, size + 1, rootOf(size + 1), height, [32]byte(hashOfHeight(height)), testGenesis(nil).Time})
		want[size].Time = want[size].Time.Add(timeOfHeight(height + 1))
	}
	quiet := a.state.appHash
	_, dated := a.block()
	if bytes.Equal(quiet[:], dated) {
		t.Fatal("the last anchor's time does not change the app hash")
	}
	if _, h := a.block(); !bytes.Equal(h, dated) {
		t.Fatal("a block without anything new changes the app hash: the chain would not rest")
	}
	o := a.state.opening
	if o.hash(testChain) != [32]byte(dated) || o.size != 37 {
		t.Fatalf("opening %+v hashes to %x, want %x", o, o.hash(testChain), dated)
	}
	for i, d := range want {
		path := must(a.state.history.path(uint64(i), o.size))(t)
		leaf := sha256.Sum256(append([]byte{0}, d.leaf()...))
		p := merkle.Proof{Total: 37, Index: int64(i), LeafHash: leaf[:], Aunts: path}
		if err := p.Verify(o.history[:], d.leaf()); err != nil {
			t.Fatalf("anchor %d: %v", i, err)
		}
		d.Time = d.Time.Add(1)
		if p.Verify(o.history[:], d.leaf()) == nil {
			t.Fatalf("anchor %d with another time verifies", i)
		}
	}
}

// A member that fetches the state has it byte for byte, and believes no chunk.
func TestSnapshot(t *testing.T) {
	admin, gateway := newKey(t), newKey(t)
	a := consortium(t, admin, testValidator)
	a.snapshotEvery = 10
	l := newTestLog(t, "trailmark.example/a")
	a.want([]Code{CodeOK}, l.register(admin, 1, gateway))
	for size := range uint64(28) {
		a.want([]Code{CodeOK}, l.anchor(gateway, size+1))
	}
	ctx := t.Context()
	list := must(a.ListSnapshots(ctx, nil))(t).Snapshots
	if len(list) != 2 || list[1].Height != 20 {
		t.Fatalf("snapshots %v", list)
	}
	chunk := must(a.LoadSnapshotChunk(ctx, &abci.RequestLoadSnapshotChunk{Height: 20, Format: 1, Chunk: 0}))(t).Chunk
	hash := a.block20(t)
	fetch := func(appHash, chunk []byte) (*app, abci.ResponseApplySnapshotChunk_Result) {
		b := must(openApp(filepath.Join(t.TempDir(), "state.journal"), a.state.genesis, nil, slog.New(slog.DiscardHandler)))(t)
		t.Cleanup(func() { _ = b.close() })
		if r := must(b.OfferSnapshot(ctx, &abci.RequestOfferSnapshot{Snapshot: list[1], AppHash: appHash}))(t); r.Result != abci.ResponseOfferSnapshot_ACCEPT {
			t.Fatalf("offer: %v", r)
		}
		return b, must(b.ApplySnapshotChunk(ctx, &abci.RequestApplySnapshotChunk{Index: 0, Chunk: chunk}))(t).Result
	}
	b, r := fetch(hash, chunk)
	if r != abci.ResponseApplySnapshotChunk_ACCEPT || b.state.height != 20 || !bytes.Equal(b.state.appHash[:], hash) {
		t.Fatalf("%v at block %d", r, b.state.height)
	}
	prefix := must(os.ReadFile(b.path))(t)
	if whole := must(os.ReadFile(a.path))(t); !bytes.HasPrefix(whole, prefix) {
		t.Error("the journals differ")
	}
	if b, r := fetch(bytes.Repeat([]byte{1}, 32), chunk); r != abci.ResponseApplySnapshotChunk_REJECT_SNAPSHOT || b.state.height != 0 {
		t.Errorf("another app hash: %v", r)
	}
	bad := bytes.Clone(chunk)
	bad[len(bad)/2] ^= 1
	if b, r := fetch(hash, bad); r != abci.ResponseApplySnapshotChunk_RETRY || b.state.height != 0 {
		t.Errorf("a damaged chunk: %v", r)
	}
	// The fetched state goes on like the other.
	c := &testApp{b, t}
	for size := range uint64(28) {
		if size < 19 {
			continue
		}
		c.want([]Code{CodeOK}, l.anchor(gateway, size+1))
	}
	if b.state.appHash != a.state.appHash {
		t.Errorf("app hash %x, want %x", b.state.appHash, a.state.appHash)
	}
}

// block20 is the app hash after block 20, by executing the journal up to it.
func (a *testApp) block20(t testing.TB) []byte {
	t.Helper()
	var hash []byte
	f := must(os.Open(a.path))(t)
	defer f.Close()
	if _, err := readRecords(f, journalMagic, func(r *record) error {
		if r.Height == 20 {
			hash = r.AppHash[:]
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return hash
}
