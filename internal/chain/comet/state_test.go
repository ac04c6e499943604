package comet

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	abci "github.com/cometbft/cometbft/abci/types"

	"trailmark/internal/dcbor"
)

func TestRules(t *testing.T) {
	admin, gateway, other := newKey(t), newKey(t), newKey(t)
	l, l2 := newTestLog(t, "trailmark.example/acme/2026h1"), newTestLog(t, "trailmark.example/acme/2026h2")
	imposter := newTestLog(t, l.origin)
	root := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))

	// edit takes a good anchor apart, changes it and signs it again or not.
	edit := func(sign bool, f func(*txEnvelope)) []byte {
		var e txEnvelope
		if err := dcbor.Unmarshal(l.anchor(gateway, 20), &e); err != nil {
			t.Fatal(err)
		}
		f(&e)
		if sign {
			d := must(e.digest(testChain))(t)
			e.Sig = ed25519.Sign(gateway, d[:])
		}
		return must(dcbor.Marshal(&e))(t)
	}
	text := func(s string) []byte {
		return edit(true, func(e *txEnvelope) { e.Body = l.signText(s) })
	}
	foreignChain := must(NewAnchor("another-chain", gateway, l.checkpoint(20, rootOf(20))))(t)
	foreignReg := must(NewRegister("another-chain", admin, Registration{Revision: 2, Origin: l.origin, LogKey: l.key}))(t)

	for _, c := range []struct {
		name string
		tx   []byte
		want Code
	}{
		{"next size", l.anchor(gateway, 20), CodeOK},
		{"head again", l.anchor(gateway, 10), CodeAlready},
		{"older one again", l.anchor(gateway, 5), CodeAlready},
		{"smaller size never anchored", l.anchor(gateway, 7), CodeBehind},
		{"head's size, other root", must(NewAnchor(testChain, gateway, l.checkpoint(10, rootOf(11))))(t), CodeFork},
		{"older size, other root", must(NewAnchor(testChain, gateway, l.checkpoint(5, rootOf(11))))(t), CodeFork},
		{"unregistered origin", l2.anchor(gateway, 20), CodeOrigin},
		{"key that may not submit", l.anchor(other, 20), CodeSubmitter},
		{"administrator is no submitter", l.anchor(admin, 20), CodeSubmitter},
		{"signed for another chain", foreignChain, CodeSignature},
		{"changed after signing", edit(false, func(e *txEnvelope) { e.Body = l.checkpoint(21, rootOf(21)) }), CodeSignature},
		{"key exchanged after signing", edit(false, func(e *txEnvelope) { e.Key = public(other) }), CodeSubmitter},
		{"log's signature is somebody else's", imposter.anchor(gateway, 20), CodeCheckpoint},
		{"log's signature is damaged", edit(true, func(e *txEnvelope) {
			e.Body = bytes.Replace(e.Body, []byte("\n20\n"), []byte("\n21\n"), 1)
		}), CodeCheckpoint},
		{"size zero", text(l.origin + "\n0\n" + root + "\n"), CodeMalformed},
		{"size with a leading zero", text(l.origin + "\n020\n" + root + "\n"), CodeMalformed},
		{"size over 63 bits", text(l.origin + "\n9223372036854775808\n" + root + "\n"), CodeMalformed},
		{"root of 31 bytes", text(l.origin + "\n20\n" + base64.StdEncoding.EncodeToString(make([]byte, 31)) + "\n"), CodeMalformed},
		{"root with stray bits", text(l.origin + "\n20\n" + root[:42] + "d=\n"), CodeMalformed},
		{"extension line", text(l.origin + "\n20\n" + root + "\nextra\n"), CodeOK},
		{"empty extension line", text(l.origin + "\n20\n" + root + "\n\nextra\n"), CodeMalformed},
		{"long origin", text(strings.Repeat("o", MaxOrigin+1) + "\n20\n" + root + "\n"), CodeMalformed},
		{"no checkpoint", edit(true, func(e *txEnvelope) { e.Body = []byte("hello") }), CodeMalformed},
		{"version 2", edit(true, func(e *txEnvelope) { e.Version = 2 }), CodeMalformed},
		{"kind 3", edit(true, func(e *txEnvelope) { e.Kind = 3 }), CodeMalformed},
		{"short key", edit(true, func(e *txEnvelope) { e.Key = e.Key[:31] }), CodeMalformed},
		{"short signature", edit(false, func(e *txEnvelope) { e.Sig = e.Sig[:63] }), CodeMalformed},
		{"trailing byte", append(l.anchor(gateway, 20), 0), CodeMalformed},
		{"long integer", append([]byte{0x85, 0x18, 0x01}, l.anchor(gateway, 20)[2:]...), CodeMalformed},
		{"nothing", nil, CodeMalformed},
		{"too large", bytes.Repeat([]byte{0}, MaxTx+1), CodeTooLarge},

		{"new origin", l2.register(admin, 1, gateway), CodeOK},
		{"new origin at revision 2", l2.register(admin, 2, gateway), CodeRevision},
		{"new submitters", l.register(admin, 2, other), CodeOK},
		{"same registration", l.register(admin, 1, gateway), CodeAlready},
		{"revision left out", l.register(admin, 3, other), CodeRevision},
		{"revision played again", l.register(admin, 1, other), CodeRevision},
		{"registration by the gateway", l.register(gateway, 2, gateway), CodeAdmin},
		{"registration for another chain", foreignReg, CodeSignature},
		{"another log key", imposter.register(admin, 2, gateway), CodeLogKey},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newTestApp(t, t.TempDir(), admin)
			a.log = slog.New(slog.DiscardHandler) // a vote against a block is a warning
			a.want([]Code{CodeOK, CodeOK, CodeOK}, l.register(admin, 1, gateway), l.anchor(gateway, 5), l.anchor(gateway, 10))
			_, before := a.block()

			check := must(a.CheckTx(t.Context(), &abci.RequestCheckTx{Tx: c.tx}))(t)
			if Code(check.Code) != c.want {
				t.Errorf("CheckTx: code %d (%s), want %d", check.Code, check.Log, c.want)
			}
			vote := must(a.ProcessProposal(t.Context(), &abci.RequestProcessProposal{Height: 3, Txs: [][]byte{c.tx}}))(t)
			if ok := vote.Status == abci.ResponseProcessProposal_ACCEPT; ok != (c.want == CodeOK) {
				t.Errorf("ProcessProposal: accepted %t, want %t", ok, c.want == CodeOK)
			}
			prep := must(a.PrepareProposal(t.Context(), &abci.RequestPrepareProposal{Height: 3, Txs: [][]byte{c.tx}}))(t)
			if ok := len(prep.Txs) == 1; ok != (c.want == CodeOK) {
				t.Errorf("PrepareProposal: kept %t, want %t", ok, c.want == CodeOK)
			}
			codes, after := a.block(c.tx)
			if codes[0] != c.want {
				t.Errorf("FinalizeBlock: code %d, want %d", codes[0], c.want)
			}
			if changed := !bytes.Equal(before, after); changed != (c.want == CodeOK) {
				t.Errorf("app hash changed %t, want %t", changed, c.want == CodeOK)
			}
		})
	}
}

func TestClosedAndReopenedOrigin(t *testing.T) {
	admin, old, fresh := newKey(t), newKey(t), newKey(t)
	l := newTestLog(t, "trailmark.example/acme/2026h1")
	a := newTestApp(t, t.TempDir(), admin)
	a.want([]Code{CodeOK, CodeOK}, l.register(admin, 1, old), l.anchor(old, 5))
	a.want([]Code{CodeOK, CodeSubmitter}, l.register(admin, 2), l.anchor(old, 6))
	a.want([]Code{CodeOK, CodeSubmitter, CodeOK}, l.register(admin, 3, fresh, old), must(NewAnchor(testChain, newKey(t), l.checkpoint(6, rootOf(6))))(t), l.anchor(fresh, 6))
	// Inside one block the rules see the block's earlier transactions.
	a.want([]Code{CodeOK, CodeBehind, CodeAlready}, l.anchor(old, 9), l.anchor(old, 8), l.anchor(fresh, 9))
}

func TestWeakKeysAreRefused(t *testing.T) {
	l := newTestLog(t, "trailmark.example/acme/2026h1")
	good := public(newKey(t))
	for _, c := range []struct{ name, key string }{
		{"identity", "0100000000000000000000000000000000000000000000000000000000000000"},
		{"order 2", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"},
		{"order 4", "0000000000000000000000000000000000000000000000000000000000000000"},
		{"order 8", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"},
		{"identity, not canonical", "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"},
		{"no point", "0200000000000000000000000000000000000000000000000000000000000000"},
	} {
		key, err := hex.DecodeString(c.key)
		if err != nil {
			t.Fatal(err)
		}
		r := Registration{Revision: 1, Origin: l.origin, LogKey: l.key, Submitters: []ed25519.PublicKey{key}}
		if _, err := r.check(); err == nil {
			t.Errorf("submitter: %s accepted", c.name)
		}
		vkey := vkeyOf(t, l.origin, key)
		r = Registration{Revision: 1, Origin: l.origin, LogKey: vkey, Submitters: []ed25519.PublicKey{good}}
		if _, err := r.check(); err == nil {
			t.Errorf("log key: %s accepted", c.name)
		}
	}
	for name, vkey := range map[string]string{
		"upper-case hash": l.origin + strings.ToUpper(l.key[len(l.origin):len(l.origin)+9]) + l.key[len(l.origin)+9:],
		"line break":      l.key[:len(l.key)-4] + "\n" + l.key[len(l.key)-4:],
		"other name":      newTestLog(t, "somebody.else").key,
		"empty":           "",
	} {
		r := Registration{Revision: 1, Origin: l.origin, LogKey: vkey}
		if _, err := r.check(); err == nil && vkey != l.key {
			t.Errorf("log key with %s accepted: %q", name, vkey)
		}
	}
	r := Registration{Revision: 1, Origin: l.origin, LogKey: l.key, Submitters: []ed25519.PublicKey{good, good}}
	if _, err := r.check(); err == nil {
		t.Error("one submitter twice accepted")
	}
}

// Two validators that are fed the same blocks agree on every app hash, whatever
// else they were asked meanwhile, and so does one that restarts after each.
func TestDeterminism(t *testing.T) {
	admin, gateway := newKey(t), newKey(t)
	dir := t.TempDir()
	a, b := newTestApp(t, t.TempDir(), admin), newTestApp(t, t.TempDir(), admin)
	logs := make([]*testLog, 20)
	var txs [][]byte
	for i := range logs {
		logs[i] = newTestLog(t, fmt.Sprintf("trailmark.example/tenant-%d/2026h1", i))
		txs = append(txs, logs[i].register(admin, 1, gateway))
	}
	for height := range 6 {
		_, want := a.block(txs...)
		b.check(logs[0].anchor(gateway, 1000)) // asked, never committed
		must(b.PrepareProposal(t.Context(), &abci.RequestPrepareProposal{Txs: [][]byte{logs[3].anchor(gateway, 500)}}))(t)
		if _, got := b.block(txs...); !bytes.Equal(got, want) {
			t.Fatalf("block %d: app hashes %x and %x", height, got, want)
		}
		c := newTestApp(t, dir, admin)
		if _, got := c.block(txs...); !bytes.Equal(got, want) {
			t.Fatalf("block %d after a restart: app hash %x, want %x", height, got, want)
		}
		if err := c.close(); err != nil {
			t.Fatal(err)
		}
		txs = nil
		for i, l := range logs {
			if i%(height+1) == 0 {
				txs = append(txs, l.anchor(gateway, uint64(height*10+i+1)), l.anchor(gateway, 3))
			}
		}
	}
}

// A journal cut off or damaged at any byte opens as one of its own prefixes.
func TestJournalDamage(t *testing.T) {
	admin, gateway := newKey(t), newKey(t)
	l := newTestLog(t, "trailmark.example/acme/2026h1")
	dir := t.TempDir()
	a := newTestApp(t, dir, admin)
	hashes := [][32]byte{a.state.appHash}
	for _, tx := range [][]byte{l.register(admin, 1, gateway), l.anchor(gateway, 3), l.anchor(gateway, 8)} {
		_, h := a.block(tx)
		hashes = append(hashes, [32]byte(h))
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	whole := must(os.ReadFile(filepath.Join(dir, "state.journal")))(t)
	file := filepath.Join(t.TempDir(), "state.journal")
	reopen := func(content []byte) (height int64, lost int64) {
		t.Helper()
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s := must(newState(testGenesis(public(admin))))(t)
		j, lost, err := openJournal(file, s.repeat)
		if err != nil {
			t.Fatal(err)
		}
		defer j.close()
		if got := must(s.rehash())(t); got != hashes[s.height] {
			t.Fatalf("state after block %d hashes to %x, want %x", s.height, got, hashes[s.height])
		}
		if err := j.append(&record{Height: 9}); err != nil {
			t.Fatal(err)
		}
		last := int64(0)
		if _, err := readRecords(bytes.NewReader(must(os.ReadFile(file))(t)), journalMagic, func(r *record) error { last = r.Height; return nil }); err != nil || last != 9 {
			t.Fatalf("appended record is not read back: last block %d, %v", last, err)
		}
		return s.height, lost
	}
	if h, lost := reopen(whole); h != 3 || lost != 0 {
		t.Fatalf("whole journal: block %d, %d bytes lost", h, lost)
	}
	for n := range whole {
		if h, _ := reopen(whole[:n]); h == 3 {
			t.Fatalf("cut to %d of %d bytes: block 3", n, len(whole))
		}
		if n < len(journalMagic) {
			continue
		}
		bad := bytes.Clone(whole)
		bad[n] ^= 0x40
		if h, lost := reopen(bad); h == 3 || lost == 0 {
			t.Fatalf("byte %d of %d flipped: block %d, %d bytes lost", n, len(whole), h, lost)
		}
	}
	if err := os.WriteFile(file, []byte("SQLite format 3"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openJournal(file, nil); err == nil {
		t.Error("a file that is no journal was opened")
	}
	if _, err := openApp(filepath.Join(dir, "state.journal"), testGenesisOf("another-chain", public(admin)), nil, strictLog(t)); err == nil || !strings.Contains(err.Error(), "hint") {
		t.Errorf("journal of another chain: %v", err)
	}
}

func TestGenesisMustMatch(t *testing.T) {
	admin := newKey(t)
	a := newTestApp(t, t.TempDir(), admin)
	for _, state := range []string{`{}`, `{"admin":"AAAA"}`, `[`} {
		_, err := a.InitChain(context.Background(), &abci.RequestInitChain{ChainId: testChain, AppStateBytes: []byte(state)})
		if err == nil {
			t.Errorf("app_state %s accepted", state)
		}
	}
	if _, err := a.Commit(t.Context(), nil); err == nil {
		t.Error("commit without a block accepted")
	}
}

func FuzzDecodeTx(f *testing.F) {
	// Fixed keys: every fuzzing process must understand the others' inputs.
	admin, gateway := ed25519.NewKeyFromSeed(make([]byte, 32)), ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
	l := seededLog(f, "trailmark.example/acme/2026h1", bytes.Repeat([]byte{2}, 32))
	genuine := [][]byte{l.register(admin, 2, gateway, admin), l.anchor(gateway, 12),
		must(NewAnchors(testChain, gateway, l.checkpoint(12, rootOf(12))))(f),
		must(NewAdmin(testChain, admin, 1, public(gateway)))(f),
		must(NewProposal(testChain, testValidator, Proposal{Until: testGenesis(nil).Time.Unix() + 60, Change: Change{Kind: ChangeValidator, Key: public(admin), Power: 1, Name: "b"}}))(f),
	}
	for _, tx := range genuine {
		f.Add(tx)
	}
	f.Add([]byte{0x85, 1, 1, 0x40, 0x40, 0x40})
	s := must(newState(testGenesis(public(admin))))(f)
	b := s.begin(1)
	if r := b.apply(l.register(admin, 1, gateway)); r != nil {
		f.Fatal(r)
	}
	opening := must(b.finish())(f)
	if err := s.commit(b, opening); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := decodeTx(raw)
		if err != nil {
			if r := (*Refusal)(nil); !errors.As(err, &r) || r.Code == CodeOK {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if again := must(dcbor.Marshal(&d.txEnvelope))(t); !bytes.Equal(again, raw) {
			t.Fatalf("two encodings of one transaction:\n%x\n%x", raw, again)
		}
		// Nobody but the key holders makes a transaction that is taken.
		r := s.begin(2).apply(raw)
		if r == nil && !slices.ContainsFunc(genuine, func(g []byte) bool { return bytes.Equal(g, raw) }) {
			t.Fatalf("taken: %x", raw)
		}
	})
}

func FuzzReadJournal(f *testing.F) {
	dir := f.TempDir()
	j, _, err := openJournal(filepath.Join(dir, "j"), nil)
	if err != nil {
		f.Fatal(err)
	}
	if err := j.append(&record{Height: 1, Anchors: []anchorRecord{{Size: 3}}}); err != nil {
		f.Fatal(err)
	}
	f.Add(must(os.ReadFile(filepath.Join(dir, "j")))(f))
	f.Add([]byte(journalMagic + "\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := must(newState(testGenesis(public(newKey(t)))))(t)
		end, err := readRecords(bytes.NewReader(b), journalMagic, s.repeat)
		if end < 0 || end > int64(len(b)) {
			t.Fatalf("end %d of %d bytes, %v", end, len(b), err)
		}
	})
}
