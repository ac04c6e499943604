package recovery

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"trailmark/gateway/internal/ingest"
	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/statement"
	"trailmark/trace"
)

const (
	audience = "demo/test"
	origin   = "trailmark.example/demo/2026h2"
)

// list is a ledger that nothing was signed of.
type list [][32]byte

func (l list) Entry(_ context.Context, i uint64) ([32]byte, error) { return l[i], nil }

func (l list) Inclusion(context.Context, uint64, uint64) ([][]byte, error) {
	return nil, errors.New("no checkpoint")
}

func (l list) Consistency(context.Context, uint64, uint64) ([][]byte, error) {
	return nil, errors.New("no checkpoint")
}

func signer(t *testing.T, seed byte) *statement.Signer {
	t.Helper()
	key := make([]byte, ed25519.SeedSize)
	key[0] = seed
	s, err := statement.NewSigner(ed25519.NewKeyFromSeed(key))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFedAgain gives an empty store what its ledger lists, out of order: each
// statement goes to its place, and what is missing is named until it comes.
func TestFedAgain(t *testing.T) {
	authority, dev := signer(t, 1), signer(t, 2)
	id, err := authority.Sign(statement.Header{Issuer: "authority", Subject: "0", Audience: audience, Kind: statement.KindIdentity},
		dcbor.MustMarshal(&statement.Identity{Version: 1, Key: statement.PublicKey{Key: dev.Key()}, Subject: "urn:dev:os:32473-d", Role: statement.RoleDevice, To: trace.MaxTime}))
	if err != nil {
		t.Fatal(err)
	}
	entries := list{id.Entry()}
	var frames []ingest.Message
	state := device.NewState(0, statement.Hash{})
	state.Checked = device.Checkpoint{Origin: sha256.Sum256([]byte(origin)), Size: 1}
	for i := range 4 {
		if i == 3 {
			state.Checked.Size = 9
		}
		now := int64(1_790_000_000_000 + i*60_000)
		sealed, err := (&device.Sealer{Signer: dev, Issuer: "urn:dev:os:32473-d", Audience: audience}).Seal(state, device.Input{
			Clock:   statement.Clock{BootID: [16]byte{7}, BootCount: 1, Boottime: now, Wall: now, Quality: statement.ClockSynchronised},
			Entries: func(string) *statement.Channel { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		state = sealed.Next
		frames = append(frames, ingest.Message{KeyID: dev.Key().ID(), Data: sealed.Up})
		if i < 3 {
			entries = append(entries, sealed.Statement.Entry())
		}
	}
	st, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	quiet := slog.New(slog.DiscardHandler)
	in, err := ingest.New(t.Context(), st, statement.NewKeyring(audience, authority.Key()), time.Now, quiet)
	if err != nil {
		t.Fatal(err)
	}
	a := Archive(t.TempDir())
	if err := a.Save(id); err != nil {
		t.Fatal(err)
	}
	others, err := a.Load()
	if err != nil || len(others) != 1 {
		t.Fatal(others, err)
	}
	r, err := New(t.Context(), Options{Store: st, Books: []Book{{Ledger: entries, Size: 4, Origin: origin}}, Ingest: in, Audience: audience, Log: quiet,
		Post: func(context.Context, statement.Hash, []byte) error { return nil }}, others)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Handle(t.Context(), []ingest.Message{frames[2], frames[0]}); err != nil {
		t.Fatal(err)
	}
	if m := r.Missing(10); r.Done() || !slices.Equal(m, []uint64{2}) || !strings.Contains(r.Status(), "the next is entry 2") {
		t.Errorf("missing %v: %s", m, r.Status())
	}
	if err := r.Handle(t.Context(), frames[3:]); !errors.Is(err, ErrAhead) {
		t.Errorf("a device that has verified 9 entries of 4: %v", err)
	}
	if err := r.Handle(t.Context(), frames[1:2]); err != nil {
		t.Fatal(err)
	}
	if !r.Done() || r.Status() != "" {
		t.Errorf("not done: %s", r.Status())
	}
	rows, err := st.Statements(t.Context(), 0, 10)
	if err != nil || len(rows) != 4 {
		t.Fatal(len(rows), err)
	}
	for i, row := range rows {
		if sha256.Sum256(row.Data) != entries[i] {
			t.Errorf("row %d is not its entry", i)
		}
	}
}
