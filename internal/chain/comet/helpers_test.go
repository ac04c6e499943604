package comet

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
)

const testChain = "trailmark-test-1"

// testValidator is the key of the one validator of the test chain's state.
var testValidator = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{77}, 32))

func testGenesis(admin ed25519.PublicKey) *Genesis {
	return testGenesisOf(testChain, admin)
}

func testGenesisOf(chainID string, admin ed25519.PublicKey) *Genesis {
	return &Genesis{ChainID: chainID, Time: time.Unix(1_800_000_000, 0).UTC(), Admin: admin, Version: stateVersion,
		Validators: []Validator{{Key: public(testValidator), Power: 1}}}
}

func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// testLog signs checkpoints like a ledger.
type testLog struct {
	t      testing.TB
	origin string
	signer note.Signer
	key    string
}

func newTestLog(t testing.TB, origin string) *testLog {
	t.Helper()
	return seededLog(t, origin, newKey(t).Seed())
}

func seededLog(t testing.TB, origin string, seed []byte) *testLog {
	t.Helper()
	vkey := vkeyOf(t, origin, public(ed25519.NewKeyFromSeed(seed)))
	skey := "PRIVATE+KEY+" + vkey[:len(origin)+len("+00000000+")] + base64.StdEncoding.EncodeToString(append([]byte{1}, seed...))
	return &testLog{t, origin, must(note.NewSigner(skey))(t), vkey}
}

func (l *testLog) signText(text string) []byte {
	l.t.Helper()
	b, err := note.Sign(&note.Note{Text: text}, l.signer)
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

func (l *testLog) checkpoint(size uint64, root [32]byte) []byte {
	l.t.Helper()
	return l.signText(string(log.Checkpoint{Origin: l.origin, Size: size, Hash: root[:]}.Marshal()))
}

func rootOf(size uint64) [32]byte { return sha256.Sum256(fmt.Appendf(nil, "root %d", size)) }

func (l *testLog) anchor(key ed25519.PrivateKey, size uint64) []byte {
	l.t.Helper()
	return must(NewAnchor(testChain, key, l.checkpoint(size, rootOf(size))))(l.t)
}

func (l *testLog) register(admin ed25519.PrivateKey, revision uint64, submitters ...ed25519.PrivateKey) []byte {
	l.t.Helper()
	r := Registration{Revision: revision, Origin: l.origin, LogKey: l.key}
	for _, s := range submitters {
		r.Submitters = append(r.Submitters, public(s))
	}
	return must(NewRegister(testChain, admin, r))(l.t)
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// strictLog fails the test on every warning.
func strictLog(t testing.TB) *slog.Logger { return slog.New(&strictHandler{t: t}) }

type strictHandler struct {
	slog.Handler
	t testing.TB
}

func (h *strictHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h *strictHandler) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h *strictHandler) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		var as []string
		r.Attrs(func(a slog.Attr) bool { as = append(as, a.String()); return true })
		h.t.Errorf("logged %s: %s %v", r.Level, r.Message, as)
	}
	return nil
}

// testApp drives the state machine as CometBFT does.
type testApp struct {
	*app
	t testing.TB
}

func newTestApp(t testing.TB, dir string, admin ed25519.PrivateKey) *testApp {
	t.Helper()
	a, err := openApp(filepath.Join(dir, "state.journal"), testGenesis(public(admin)), nil, strictLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.close() }) // some tests close it before
	return &testApp{a, t}
}

// block commits txs and returns their codes and the app hash.
func (a *testApp) block(txs ...[]byte) ([]Code, []byte) {
	a.t.Helper()
	ctx := context.Background()
	height, _ := a.next()
	res := must(a.FinalizeBlock(ctx, &abci.RequestFinalizeBlock{Height: height + 1, Txs: txs,
		Time: testGenesis(nil).Time.Add(timeOfHeight(height + 1)), Hash: hashOfHeight(height + 1)}))(a.t)
	must(a.Commit(ctx, &abci.RequestCommit{}))(a.t)
	var codes []Code
	for _, r := range res.TxResults {
		codes = append(codes, Code(r.Code))
	}
	return codes, res.AppHash
}

func timeOfHeight(h int64) time.Duration { return time.Duration(h) * time.Second }

func hashOfHeight(h int64) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "block %d", h))
	return sum[:]
}

func (a *testApp) want(codes []Code, txs ...[]byte) {
	a.t.Helper()
	if got, _ := a.block(txs...); !slices.Equal(got, codes) {
		a.t.Fatalf("codes %v, want %v", got, codes)
	}
}

// vkeyOf writes a verifier key as note.NewEd25519VerifierKey does.
func vkeyOf(t testing.TB, name string, key []byte) string {
	t.Helper()
	return must(note.NewEd25519VerifierKey(name, key))(t)
}
