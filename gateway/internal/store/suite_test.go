package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"testing"

	"trailmark/statement"
)

// An opener opens the database of a name, making it if it is not there; two calls
// with one name are two programs at work on one database.
type opener func(t *testing.T, name string) *Store

// TestSQLite holds the suite against the embedded database.
func TestSQLite(t *testing.T) { suite(t, open) }

// suite is what every database under a Store must keep to.
func suite(t *testing.T, open opener) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, a, b *Store)
	}{
		{"an update is all or nothing", updateIsAllOrNothing},
		{"one frame for a number", oneFrameForANumber},
		{"two writers race for numbers", twoWritersRace},
		{"rows have one order", rowsHaveOneOrder},
		{"an entry by its hash", entryByItsHash},
		{"a new ledger begins at the next row", shardBegins},
		{"two writers race for a head", headsRace},
		{"anchors are of a ledger each", anchorsAreOfALedger},
		{"frames wait by number", framesWait},
		{"forks are kept once", forksAreKept},
		{"what is committed is there after closing", survives(open)},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.test(t, open(t, dir), open(t, dir))
		})
	}
}

// frameOf is a frame's row; same data and id for the same numbers.
func frameOf(index uint64, kid byte, epoch, seq uint64) Statement {
	data := bytes.Repeat([]byte{kid, byte(epoch), byte(seq), byte(seq >> 8)}, 50)
	return Statement{Index: index, ID: sha256.Sum256(data), Kind: statement.KindFrame, KeyID: statement.Hash{kid}, Epoch: epoch, Seq: seq, Received: 1, Data: data}
}

func put(s *Store, rows ...Statement) error {
	return s.Update(context.Background(), func(tx *Tx) error {
		for _, r := range rows {
			if err := tx.AddStatement(r); err != nil {
				return err
			}
		}
		return nil
	})
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func updateIsAllOrNothing(t *testing.T, s, other *Store) {
	boom := errors.New("boom")
	err := s.Update(t.Context(), func(tx *Tx) error {
		if err := tx.AddStatement(frameOf(0, 1, 0, 0)); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	for _, s := range []*Store{s, other} {
		if n, err := s.Count(t.Context()); err != nil || n != 0 {
			t.Errorf("%d statements after a failed update (%v)", n, err)
		}
	}
	ok(t, put(s, frameOf(0, 1, 0, 0)))
	if n, err := other.Count(t.Context()); err != nil || n != 1 {
		t.Errorf("another program sees %d statements (%v)", n, err)
	}
}

func oneFrameForANumber(t *testing.T, s, other *Store) {
	ok(t, put(s, frameOf(0, 1, 0, 7), frameOf(1, 2, 0, 7), frameOf(2, 1, 1, 7), frameOf(3, 1, 0, 8)))
	second := frameOf(4, 1, 0, 7)
	second.Data, second.ID = []byte("another"), statement.Hash{9}
	for _, w := range []*Store{s, other} {
		if err := put(w, second); !errors.Is(err, ErrTwice) {
			t.Errorf("a second statement for a number: %v", err)
		}
		if err := put(w, frameOf(3, 1, 0, 9)); !errors.Is(err, ErrTwice) {
			t.Errorf("a second statement for a row: %v", err)
		}
	}
	// Of statements that are not frames any number have seq none.
	for i := range uint64(3) {
		x := Statement{Index: 4 + i, ID: statement.Hash{byte(i)}, Kind: statement.KindProduct, KeyID: statement.Hash{1}, Data: []byte{byte(i)}}
		ok(t, put(s, x))
	}
	got, err := s.Frame(t.Context(), statement.Hash{1}, 0, 7)
	if err != nil || got.Index != 0 || !bytes.Equal(got.Data, frameOf(0, 1, 0, 7).Data) {
		t.Errorf("frame 7 is row %d (%v)", got.Index, err)
	}
	if _, err := s.Frame(t.Context(), statement.Hash{1}, 0, 9); !errors.Is(err, ErrNotFound) {
		t.Errorf("a frame that is not there: %v", err)
	}
}

// twoWritersRace: two programs store the same frames at once, each at the row that it
// finds next; each frame is there once, in a row of its own.
func twoWritersRace(t *testing.T, a, b *Store) {
	const frames = 60
	var wg sync.WaitGroup
	var mu sync.Mutex
	stored := map[uint64]int{}
	for _, s := range []*Store{a, b} {
		wg.Go(func() {
			for seq := range uint64(frames) {
				err := s.Update(context.Background(), func(tx *Tx) error {
					next, err := tx.Next()
					if err != nil {
						return err
					}
					return tx.AddStatement(frameOf(next, 1, 0, seq))
				})
				switch {
				case err == nil:
					mu.Lock()
					stored[seq]++
					mu.Unlock()
				case !errors.Is(err, ErrTwice):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	rows, err := a.Statements(t.Context(), 0, 10*frames)
	if err != nil || len(rows) != frames {
		t.Fatalf("%d rows, want %d (%v)", len(rows), frames, err)
	}
	for i, r := range rows {
		if r.Index != uint64(i) || stored[r.Seq] != 1 {
			t.Errorf("row %d is %d, frame %d was stored %d times", i, r.Index, r.Seq, stored[r.Seq])
		}
	}
}

func rowsHaveOneOrder(t *testing.T, s, other *Store) {
	for i := range uint64(5) {
		w := []*Store{s, other}[i%2]
		ok(t, w.Update(t.Context(), func(tx *Tx) error {
			next, err := tx.Next()
			if err == nil && next != i {
				t.Errorf("next is %d, want %d", next, i)
			}
			return errors.Join(err, tx.AddStatement(frameOf(next, byte(i), 0, 0)))
		}))
	}
	rows, err := s.Statements(t.Context(), 1, 3)
	if err != nil || len(rows) != 3 || rows[0].Index != 1 || rows[2].Index != 3 {
		t.Errorf("%+v (%v)", rows, err)
	}
}

func entryByItsHash(t *testing.T, s, other *Store) {
	x := Statement{Index: 1, ID: statement.Hash{1}, Kind: statement.KindProduct, Data: []byte("product")}
	ok(t, put(s, frameOf(0, 1, 0, 0), x))
	for i, data := range [][]byte{frameOf(0, 1, 0, 0).Data, x.Data} {
		if row, err := other.IndexOf(t.Context(), sha256.Sum256(data)); err != nil || row != uint64(i) {
			t.Errorf("entry %d is row %d (%v)", i, row, err)
		}
	}
	if _, err := s.IndexOf(t.Context(), statement.Hash{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("an entry that is not there: %v", err)
	}
}

// begin begins a ledger.
func begin(s *Store, origin string) (sh Shard, err error) {
	err = s.Update(context.Background(), func(tx *Tx) (err error) {
		sh, err = tx.AddShard(origin)
		return err
	})
	return sh, err
}

func shardBegins(t *testing.T, s, other *Store) {
	if sh, err := begin(s, "d/t/2026h1"); err != nil || sh != (Shard{Origin: "d/t/2026h1"}) {
		t.Fatalf("%+v (%v)", sh, err)
	}
	ok(t, put(s, frameOf(0, 1, 0, 0), frameOf(1, 1, 0, 1)))
	if sh, err := begin(other, "d/t/2026h2"); err != nil || sh.N != 1 || sh.First != 2 {
		t.Fatalf("%+v (%v)", sh, err)
	}
	if _, err := begin(s, "d/t/2026h2"); err == nil {
		t.Error("a ledger begins twice")
	}
	if err := s.Update(t.Context(), func(tx *Tx) error {
		_, err := tx.AddShardAt("d/t/2027h1", 1)
		return err
	}); err == nil {
		t.Error("a ledger begins before the one that it follows")
	}
	all, err := other.Shards(t.Context())
	if err != nil || len(all) != 2 || all[0].Origin != "d/t/2026h1" || all[1].First != 2 {
		t.Errorf("%+v (%v)", all, err)
	}
}

// headsRace: many who know one head move it at once, and one of them does.
func headsRace(t *testing.T, a, b *Store) {
	if _, err := begin(a, "o"); err != nil {
		t.Fatal(err)
	}
	if err := a.SwapHead(t.Context(), "x", 0, statement.Hash{}, 1, statement.Hash{1}); !errors.Is(err, ErrNotFound) {
		t.Errorf("the head of no ledger: %v", err)
	}
	was := Shard{}
	for size := uint64(1); size <= 10; size++ {
		var wg sync.WaitGroup
		var mu sync.Mutex
		won, lost := []byte(nil), 0
		for i := range byte(6) {
			wg.Go(func() {
				err := []*Store{a, b}[i%2].SwapHead(context.Background(), "o", was.Size, was.Root, size, statement.Hash{byte(size), i})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won = append(won, i)
				case errors.Is(err, ErrHeadMoved):
					lost++
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 || lost != 5 {
			t.Fatalf("size %d: %d moved the head, %d did not", size, len(won), lost)
		}
		all, err := b.Shards(t.Context())
		ok(t, err)
		if was = all[0]; was.Size != size || was.Root != (statement.Hash{byte(size), won[0]}) {
			t.Fatalf("%+v", was)
		}
	}
	if err := a.SwapHead(t.Context(), "o", was.Size, statement.Hash{}, 99, statement.Hash{1}); !errors.Is(err, ErrHeadMoved) {
		t.Errorf("from another root of the same size: %v", err)
	}
}

func anchorsAreOfALedger(t *testing.T, s, other *Store) {
	if _, err := s.LastAnchor(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Errorf("no anchor: %v", err)
	}
	for _, o := range []string{"old", "new"} {
		if _, err := begin(s, o); err != nil {
			t.Fatal(err)
		}
	}
	ok(t, s.Update(t.Context(), func(tx *Tx) error {
		for i, a := range []Anchor{{Origin: "old", Size: 5}, {Origin: "old", Size: 9}, {Origin: "new", Size: 5}, {Origin: "old", Size: 9}} {
			a.Chain, a.Height, a.Block, a.Tx, a.Note = "c", int64(i), []byte{1}, []byte{2}, []byte{3}
			if err := tx.AddAnchor(a); err != nil {
				return err
			}
		}
		return nil
	}))
	if a, err := other.LastAnchor(t.Context()); err != nil || a.Origin != "new" || a.Size != 5 {
		t.Errorf("newest %+v (%v)", a, err)
	}
	if a, err := other.LastAnchorOf(t.Context(), "old"); err != nil || a.Size != 9 || a.Height != 1 {
		t.Errorf("newest of the old one %+v (%v)", a, err)
	}
	if a, err := s.AnchorCovering(t.Context(), "old", 5); err != nil || a.Size != 9 {
		t.Errorf("covering %+v (%v)", a, err)
	}
	if _, err := s.AnchorCovering(t.Context(), "new", 5); !errors.Is(err, ErrNotFound) {
		t.Errorf("an entry that no anchor covers: %v", err)
	}
	if a, err := s.AnchorIn(t.Context(), "c", 2); err != nil || a.Origin != "new" {
		t.Errorf("in block 2: %+v (%v)", a, err)
	}
}

func framesWait(t *testing.T, s, other *Store) {
	kid := statement.Hash{1}
	ok(t, s.Update(t.Context(), func(tx *Tx) error {
		for _, seq := range []uint64{9, 4, 6} {
			if fits, err := tx.Park(kid, 0, seq, []byte{byte(seq)}); err != nil || !fits {
				t.Errorf("frame %d: %v, %v", seq, fits, err)
			}
		}
		_, err := tx.Park(kid, 0, 4, []byte("another"))
		return err
	}))
	if hs, err := other.Holes(t.Context()); err != nil || len(hs) != 1 || hs[0] != (Hole{KeyID: kid, From: 0, To: 3, Waiting: 3}) {
		t.Errorf("%+v (%v)", hs, err)
	}
	ok(t, other.Update(t.Context(), func(tx *Tx) error {
		up, err := tx.Parked(kid, 0, 4)
		if err != nil || !bytes.Equal(up, []byte{4}) {
			t.Errorf("frame 4 is %q (%v)", up, err)
		}
		if up, err := tx.Parked(kid, 0, 5); err != nil || up != nil {
			t.Errorf("frame 5 is %q (%v)", up, err)
		}
		for _, want := range []uint64{4, 6, 9} {
			up, seq, err := tx.Unpark(kid, 0)
			if err != nil || seq != want || up[0] != byte(want) {
				t.Errorf("frame %d (%v), want %d", seq, err, want)
			}
			if err := tx.DropParked(kid, 0, seq); err != nil {
				return err
			}
		}
		up, _, err = tx.Unpark(kid, 0)
		if up != nil {
			t.Errorf("%q still waits", up)
		}
		return err
	}))
	if hs, err := s.Holes(t.Context()); err != nil || len(hs) != 0 {
		t.Errorf("%+v (%v)", hs, err)
	}
}

func forksAreKept(t *testing.T, s, other *Store) {
	f := frameOf(0, 1, 0, 3)
	for _, w := range []*Store{s, other, s} {
		ok(t, w.Update(t.Context(), func(tx *Tx) error { return tx.AddFork(f) }))
	}
	all, err := s.Forks(t.Context())
	if err != nil || len(all) != 1 || all[0].ID != f.ID || all[0].Seq != 3 || !bytes.Equal(all[0].Data, f.Data) {
		t.Errorf("%+v (%v)", all, err)
	}
}

func survives(open opener) func(t *testing.T, s, other *Store) {
	return func(t *testing.T, _, _ *Store) {
		name := t.TempDir()
		s := open(t, name)
		ok(t, put(s, frameOf(0, 1, 0, 0)))
		ok(t, s.Close())
		s = open(t, name)
		if row, err := s.Statement(t.Context(), 0); err != nil || !bytes.Equal(row.Data, frameOf(0, 1, 0, 0).Data) {
			t.Errorf("row 0 after closing (%v)", err)
		}
	}
}
