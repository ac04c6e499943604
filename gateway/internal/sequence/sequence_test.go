package sequence

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"trailmark/gateway/internal/ledger"
	"trailmark/gateway/internal/shard"
	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/statement"
)

const origin = "trailmark.example/demo/2026h2"

// rig is a real store and a real ledger, and a device that keeps what it is sent.
type rig struct {
	t      *testing.T
	dir    string
	key    *ledger.Key
	store  *store.Store
	shelf  *shard.Shelf // of the last sequencer
	now    func() time.Time
	signer *statement.Signer

	mu   sync.Mutex
	sent [][]byte // guarded by mu
	got  chan struct{}
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), got: make(chan struct{}, 1000), now: func() time.Time { return time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC) }}
	var err error
	if r.key, err = ledger.CreateKeyFile(filepath.Join(r.dir, "log.key"), origin); err != nil {
		t.Fatal(err)
	}
	if r.signer, err = statement.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{5}, 32))); err != nil {
		t.Fatal(err)
	}
	if r.store, err = store.Open(t.Context(), r.dir); err != nil {
		t.Fatal(err)
	}
	st := r.store
	t.Cleanup(func() { st.Close() })
	t.Cleanup(func() {
		if r.shelf != nil {
			r.shelf.Close()
		}
	})
	return r
}

func (r *rig) post(_ context.Context, kid statement.Hash, message []byte) error {
	r.mu.Lock()
	r.sent = append(r.sent, message)
	r.mu.Unlock()
	r.got <- struct{}{}
	return nil
}

func (r *rig) sequencer() (*Sequencer, error) {
	if r.shelf != nil {
		if err := r.shelf.Close(); err != nil {
			r.t.Error(err)
		}
	}
	var err error
	quiet := slog.New(slog.DiscardHandler)
	r.shelf, err = shard.New(r.t.Context(), shard.Options{Dir: r.dir, Store: r.store, Signer: r.key.CryptoSigner(), Origin: origin, Now: r.now,
		CheckpointInterval: 100 * time.Millisecond, Log: quiet})
	if err != nil {
		r.shelf = nil
		return nil, err
	}
	return New(r.t.Context(), r.store, r.shelf, r.post, quiet)
}

// add stores n statements and returns the row of the first.
func (r *rig) add(n int) (first uint64) { return r.addAfter(n, nil) }

// addAfter is add of frames that name a checkpoint, and that the device's head follows.
func (r *rig) addAfter(n int, after *statement.After) (first uint64) {
	r.t.Helper()
	if err := r.store.Update(r.t.Context(), func(tx *store.Tx) error {
		next, err := tx.Next()
		if err != nil {
			return err
		}
		first = next
		for i := range uint64(n) {
			s, err := r.signer.Sign(statement.Header{Issuer: "urn:dev:x", Subject: "0", Audience: "a/b", Kind: statement.KindFrame}, r.frame(next+i, after))
			if err != nil {
				return err
			}
			if err := tx.AddStatement(store.Statement{Index: next + i, ID: s.ID(), Kind: statement.KindFrame, KeyID: r.signer.Key().ID(), Seq: next + i, Data: s.Bytes()}); err != nil {
				return err
			}
			if after != nil {
				if err := tx.PutHead(store.Head{KeyID: r.signer.Key().ID(), Seq: next + i, ID: s.ID(), Index: next + i, Checked: after.Size}); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		r.t.Fatal(err)
	}
	return first
}

// frame is a frame without records.
func (r *rig) frame(seq uint64, after *statement.After) []byte {
	return dcbor.MustMarshal(&statement.Frame{Version: 1, Seq: seq, Prev: statement.Hash{1}, After: after, Root: sha256.Sum256(nil),
		Clock: statement.Clock{Wall: 1_790_000_000_000, Quality: statement.ClockSynchronised}, Span: [2]int64{1_790_000_000_000, 1_790_000_000_000}})
}

func TestCatchesUpAtStart(t *testing.T) {
	r := newRig(t)
	r.add(3)
	if _, err := r.sequencer(); err != nil {
		t.Fatal(err)
	}
	r.add(600) // a crash between store and ledger
	if _, err := r.sequencer(); err != nil {
		t.Fatal(err)
	}
	if n, err := r.shelf.Size(t.Context()); err != nil || n != 603 {
		t.Fatalf("ledger has %d entries, want 603 (%v)", n, err)
	}
	rows, err := r.store.Statements(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if e, err := r.shelf.Current().Entry(t.Context(), row.Index); err != nil || e != sha256.Sum256(row.Data) {
			t.Fatalf("entry %d is not its statement (%v)", row.Index, err)
		}
	}
}

func TestRefusesAStoreThatIsNotItsOwn(t *testing.T) {
	r := newRig(t)
	r.add(5)
	if _, err := r.sequencer(); err != nil {
		t.Fatal(err)
	}
	full := r.store

	// An older backup of the store.
	dir := t.TempDir()
	older, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer older.Close()
	r.store = older
	if _, err := r.sequencer(); err == nil || !strings.Contains(err.Error(), "has 5 entries, but the store only 0") {
		t.Errorf("a store behind its ledger: %v", err)
	}
	// Another gateway's store of the same size.
	other, err := statement.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{6}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	r.signer = other
	r.add(5)
	if _, err := r.sequencer(); err == nil || !strings.Contains(err.Error(), "is not entry") {
		t.Errorf("a foreign store: %v", err)
	}
	r.store = full
	if _, err := r.sequencer(); err != nil {
		t.Errorf("its own store: %v", err)
	}
}

// TestReceiptsVerify checks what a device is sent the way a device does, while
// statements keep coming: none may be waited for that is not in the ledger.
func TestReceiptsVerify(t *testing.T) {
	r := newRig(t)
	s, err := r.sequencer()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	kid := r.signer.Key().ID()
	want := map[uint64]bool{}
	for range 60 {
		first := r.add(3)
		for i := range uint64(3) {
			want[first+i] = true
		}
		s.Owe(kid, first, first+1, first+2)
		time.Sleep(3 * time.Millisecond) // a device's pace, not a condition
	}
	logKey, err := statement.NewKey(r.key.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	var last statement.Checkpoint
	for done := 0; len(want) > 0; done++ {
		select {
		case <-r.got:
		case err := <-ran:
			t.Fatalf("the sequencer ended: %v", err)
		case <-time.After(10 * time.Second):
			t.Fatalf("%d receipts never came", len(want))
		}
		r.mu.Lock()
		msg := r.sent[done]
		r.mu.Unlock()
		v, err := statement.ParseDown(msg)
		if err != nil {
			t.Fatal(err)
		}
		rec := v.(*statement.Receipts)
		cp, err := statement.OpenCheckpoint(rec.Checkpoint, origin, logKey)
		if err != nil {
			t.Fatal(err)
		}
		proven := false
		for _, c := range rec.Consistency {
			if c.OldSize == last.Size {
				proven = c.OldSize == cp.Size || statement.VerifyConsistency(last.Size, cp.Size, last.Root, cp.Root, c.Path) == nil
			}
		}
		if !proven {
			t.Fatalf("no proof from size %d to %d", last.Size, cp.Size)
		}
		last = cp
		for _, in := range rec.Included {
			row, err := r.store.Statement(t.Context(), in.Index)
			if err != nil {
				t.Fatal(err)
			}
			entry := sha256.Sum256(row.Data)
			if row.ID != in.ID || statement.VerifyInclusion(entry[:], in.Index, cp.Size, cp.Root, in.Path) != nil {
				t.Fatalf("receipt of statement %d does not verify", in.Index)
			}
			delete(want, in.Index)
		}
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// TestCosignAsks: a device is asked at once, with a proof from each size that it may
// have verified last, and not for a checkpoint older than what it was told.
func TestCosignAsks(t *testing.T) {
	r := newRig(t)
	r.add(9)
	s, err := r.sequencer()
	if err != nil {
		t.Fatal(err)
	}
	b := r.shelf.Current()
	note, size, err := b.Await(t.Context(), 8)
	if err != nil {
		t.Fatal(err)
	}
	logKey, err := statement.NewKey(r.key.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	cp, err := statement.OpenCheckpoint(note, origin, logKey)
	if err != nil {
		t.Fatal(err)
	}
	kid, other := r.signer.Key().ID(), statement.Hash{7}
	s.tell(listener{kid, b.N}, 2)
	s.tell(listener{kid, b.N}, 5)
	s.tell(listener{other, b.N}, size+1) // which knows more

	asked, err := s.Cosign(t.Context(), origin, note, size, []statement.Hash{kid, other}, map[statement.Hash]uint64{kid: 4})
	if err != nil || len(asked) != 1 || asked[0] != kid || len(r.sent) != 1 {
		t.Fatalf("asked %v, %v", asked, err)
	}
	v, err := statement.ParseDown(r.sent[0])
	if err != nil {
		t.Fatal(err)
	}
	m := v.(*statement.Cosign)
	from := map[uint64]bool{}
	for _, c := range m.Consistency {
		from[c.OldSize] = true
		if c.OldSize == 0 || c.OldSize == size {
			continue
		}
		old, err := b.Root(t.Context(), c.OldSize)
		if err != nil {
			t.Fatal(err)
		}
		if err := statement.VerifyConsistency(c.OldSize, size, old, cp.Root, c.Path); err != nil {
			t.Errorf("from %d: %v", c.OldSize, err)
		}
	}
	for _, want := range []uint64{0, 2, 4, 5, size} {
		if !from[want] {
			t.Errorf("no proof from %d", want)
		}
	}
	if got := s.toldOf(listener{kid, b.N}); got != (told{size, 5}) {
		t.Errorf("told %v", got)
	}
}
