package anchoring

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"

	"trailmark/internal/chain/comet"
)

// A runner on a real validator: anchored, recorded, found again after a restart,
// and a restored backup is refused.
func TestOnComet(t *testing.T) {
	adminPub, admin, err1 := ed25519.GenerateKey(rand.Reader)
	pub, key, err2 := ed25519.GenerateKey(rand.Reader)
	skey, vkey, err3 := note.GenerateKey(rand.Reader, testOrigin)
	signer, err4 := note.NewSigner(skey)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	sign := func(size uint64, root [32]byte) []byte {
		b, err := note.Sign(&note.Note{Text: string(log.Checkpoint{Origin: testOrigin, Size: size, Hash: root[:]}.Marshal())}, signer)
		if err != nil {
			t.Error(err)
		}
		return b
	}
	conf := comet.Config{Home: t.TempDir(), ChainID: "trailmark-test", Admin: adminPub, Log: slog.New(slog.DiscardHandler)}
	start := func() *comet.Node {
		n, err := comet.Start(t.Context(), conf)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	n := start()
	chain := NewComet(n, key)
	if d := chain.Describe(); d.String() != "trailmark-test (cometbft, 1 of 1)" {
		t.Errorf("described as %s", d)
	}
	if _, err := chain.Submit(t.Context(), sign(3, rootOf(3))); !errors.Is(err, ErrRefused) {
		t.Errorf("unregistered origin: %v", err)
	}
	reg, err := comet.NewRegister(conf.ChainID, admin, comet.Registration{
		Revision: 1, Origin: testOrigin, LogKey: vkey, Submitters: []ed25519.PublicKey{pub},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Submit(t.Context(), reg); err != nil {
		t.Fatal(err)
	}

	var size atomic.Uint64
	size.Store(3)
	ctx, cancel := context.WithCancel(t.Context())
	recorded := make(chan Anchor)
	r, err := New(Options{
		Chain: chain, Origin: testOrigin, Every: time.Millisecond, Log: conf.Log,
		Newest: func(context.Context) ([]byte, error) { return sign(size.Load(), rootOf(size.Load())), nil },
		Record: func(_ context.Context, a Anchor) error { recorded <- a; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	var last Anchor
	for want := uint64(3); want < 10; want++ {
		last = <-recorded
		if last.Size != want || last.Root != rootOf(want) || last.ChainID != conf.ChainID || len(last.Tx) == 0 {
			t.Errorf("recorded %+v, want size %d", last, want)
		}
		if want < 9 {
			size.Add(1)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if s := r.Status(); s.Last.Size != 9 {
		t.Errorf("status %+v, want size 9", s)
	}
	if err := n.Stop(); err != nil {
		t.Error(err)
	}

	n = start()
	chain = NewComet(n, key)
	head, ok, err := chain.Head(t.Context(), testOrigin)
	if err != nil || !ok || head.Size != 9 || head.BlockHash != last.BlockHash || !head.Time.Equal(last.Time) {
		t.Errorf("head after a restart %+v, %t, %v; recorded was %+v", head, ok, err, last)
	}
	again, err := chain.Submit(t.Context(), sign(5, rootOf(5)))
	if err != nil || again.Size != 5 {
		t.Errorf("an older anchor again: %+v, %v", again, err)
	}
	if err := Guard(t.Context(), chain, testOrigin, 8, rootOf(8)); !errors.Is(err, ErrBehind) {
		t.Errorf("old backup: %v", err)
	}
	if _, err := chain.Submit(t.Context(), sign(9, rootOf(10))); !errors.Is(err, ErrRefused) {
		t.Errorf("fork: %v", err)
	}
	if err := n.Stop(); err != nil {
		t.Error(err)
	}
}
