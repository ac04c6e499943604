package store

import (
	"context"
	"errors"
	"testing"

	"trailmark/statement"
)

// A checkpoint is kept before it is sent, found when it is final, withdrawn when
// its chain loses it, and put again.
func TestElsewhere(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := t.Context()
	const chain, origin = "eip155:1", "ledger.example.com/acme/2026h1"
	update := func(f func(*Tx) error) {
		t.Helper()
		if err := s.Update(ctx, f); err != nil {
			t.Fatal(err)
		}
	}
	keep := func(size uint64) {
		t.Helper()
		update(func(tx *Tx) error {
			return tx.KeepNote(chain, origin, size, statement.Hash{byte(size)}, []byte{byte(size)})
		})
	}
	put := func(size uint64, height int64) {
		t.Helper()
		e, err := s.Note(ctx, chain, origin, size)
		if err != nil {
			t.Fatal(err)
		}
		e.Height, e.Block, e.Evidence = height, []byte{1}, []byte{2}
		update(func(tx *Tx) error { return tx.PutElsewhere(e) })
	}
	want := func(what string, get func(context.Context) (Elsewhere, error), size uint64) {
		t.Helper()
		e, err := get(ctx)
		if size == 0 {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %+v, %v; want none", what, e, err)
			}
			return
		}
		if err != nil || e.Size != size || e.Root != (statement.Hash{byte(size)}) || string(e.Note) != string([]byte{byte(size)}) {
			t.Errorf("%s: %+v, %v; want size %d", what, e, err, size)
		}
	}
	last := func(below uint64) func(context.Context) (Elsewhere, error) {
		return func(ctx context.Context) (Elsewhere, error) { return s.LastElsewhere(ctx, chain, origin, below) }
	}
	covering := func(index uint64) func(context.Context) (Elsewhere, error) {
		return func(ctx context.Context) (Elsewhere, error) { return s.ElsewhereCovering(ctx, chain, origin, index) }
	}
	keep(3)
	keep(3)
	want("on its way", last(^uint64(0)), 0)
	put(3, 10)
	keep(5)
	keep(7)
	want("newest", last(^uint64(0)), 3)
	put(7, 12)
	want("newest", last(^uint64(0)), 7)
	want("below", last(7), 3)
	want("covering", covering(2), 3)
	want("covering", covering(3), 7)
	want("covering", covering(7), 0)
	keep(9)
	if _, err := s.Note(ctx, chain, origin, 5); !errors.Is(err, ErrNotFound) {
		t.Errorf("the note of a checkpoint that a newer one has replaced: %v", err)
	}
	update(func(tx *Tx) error { return tx.Withdraw(chain, origin, 7) })
	want("after the withdrawal", last(^uint64(0)), 3)
	put(7, 20)
	if e, err := s.Note(ctx, chain, origin, 7); err != nil || e.Height != 20 {
		t.Errorf("anchored again: %+v, %v", e, err)
	}
	if _, err := s.LastElsewhere(ctx, "eip155:2", origin, 100); !errors.Is(err, ErrNotFound) {
		t.Errorf("of another chain: %v", err)
	}
}
