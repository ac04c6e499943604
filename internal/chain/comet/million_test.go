package comet

import (
	"bufio"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
)

// A new member has the state of a million anchors in minutes: what the chunks of a
// snapshot cost to make, to move and to check, without a network between.
func TestMillionAnchors(t *testing.T) {
	anchors := uint64(20_000)
	if os.Getenv("TRAILMARK_LONG") != "" {
		anchors = 1_000_000
	}
	l := newTestLog(t, "trailmark.example/acme/2026h1")
	g := testGenesis(public(newKey(t)))
	g.Validators = seats(t, testValidator)
	file := filepath.Join(t.TempDir(), "state.journal")
	f := must(os.Create(file))(t)
	w := bufio.NewWriterSize(f, 1<<20)
	if _, err := w.WriteString(journalMagic); err != nil {
		t.Fatal(err)
	}
	s := must(newState(g))(t)
	block := func(change func(*batch) error) {
		b := s.begin(s.height + 1)
		b.open(g.Time.Add(timeOfHeight(s.height)), hashOfHeight(s.height+1))
		if err := change(b); err != nil {
			t.Fatal(err)
		}
		if len(b.record.Anchors) == 0 {
			b.record.Hash = nil
		}
		opening := must(b.finish())(t)
		if _, err := w.Write(must(encodeRecord(&b.record))(t)); err != nil {
			t.Fatal(err)
		}
		if err := s.commit(b, opening); err != nil {
			t.Fatal(err)
		}
	}
	block(func(b *batch) error { return b.register(Registration{Revision: 1, Origin: l.origin, LogKey: l.key}) })
	for size := range anchors {
		block(func(b *batch) error { return b.anchor(hashOf(l.origin), size+1, rootOf(size+1)) })
		block(func(*batch) error { return nil }) // dates it
		block(func(*batch) error { return nil }) // shows it
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	began := time.Now()
	a := must(openApp(file, g, nil, slog.New(slog.DiscardHandler)))(t)
	defer a.close()
	opened := time.Since(began)
	a.snapshotEvery = 1
	a.keep()
	snap := must(a.ListSnapshots(t.Context(), nil))(t).Snapshots[0]
	began = time.Now()
	b := must(openApp(filepath.Join(t.TempDir(), "state.journal"), g, nil, slog.New(slog.DiscardHandler)))(t)
	defer b.close()
	must(b.OfferSnapshot(t.Context(), &abci.RequestOfferSnapshot{Snapshot: snap, AppHash: s.appHash[:]}))(t)
	sent := 0
	for i := range snap.Chunks {
		chunk := must(a.LoadSnapshotChunk(t.Context(), &abci.RequestLoadSnapshotChunk{Height: snap.Height, Format: snap.Format, Chunk: i}))(t).Chunk
		sent += len(chunk)
		if r := must(b.ApplySnapshotChunk(t.Context(), &abci.RequestApplySnapshotChunk{Index: i, Chunk: chunk}))(t); r.Result != abci.ResponseApplySnapshotChunk_ACCEPT {
			t.Fatalf("chunk %d: %v", i, r.Result)
		}
	}
	took := time.Since(began)
	if b.state.appHash != s.appHash || b.state.history.size() != anchors {
		t.Fatalf("app hash %x of %d anchors, want %x", b.state.appHash, b.state.history.size(), s.appHash)
	}
	began = time.Now()
	p, _, err := b.state.prove(l.origin, anchors/2)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d anchors: opened in %s, snapshot of %d chunks and %d MB on the wire taken over in %s, a path of %d hashes made in %s",
		anchors, opened.Round(time.Millisecond), snap.Chunks, sent>>20, took.Round(time.Millisecond), len(p.Path), time.Since(began).Round(time.Microsecond))
	if took > 3*time.Minute {
		t.Errorf("a new member takes %s, want under 3m", took)
	}
}
