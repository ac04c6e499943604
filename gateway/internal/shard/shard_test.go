package shard

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"trailmark/gateway/internal/ledger"
	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

const (
	first  = "trailmark.example/demo/2026h2"
	second = "trailmark.example/demo/2027h1"
)

var (
	before = time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC)
	after  = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
)

func key() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte("a log key of thirty-two bytes...")[:32])
}

// bench is a folder with a store and its ledgers, at a time that the test sets.
type bench struct {
	dir   string
	now   time.Time
	crash func(string)
	store *store.Store
	shelf *Shelf
}

// open opens what is there; the error is the shelf's.
func (b *bench) open(ctx context.Context) (err error) {
	if b.store, err = store.Open(ctx, b.dir); err != nil {
		return err
	}
	b.shelf, err = New(ctx, b.options())
	return err
}

func (b *bench) options() Options {
	return Options{Dir: b.dir, Store: b.store, Signer: key(), Origin: first, Now: func() time.Time { return b.now },
		CheckpointInterval: 100 * time.Millisecond, Log: slog.New(slog.DiscardHandler), crash: b.crash}
}

func (b *bench) close() error {
	var errs []error
	if b.shelf != nil {
		errs = append(errs, b.shelf.Close())
	}
	return errors.Join(append(errs, b.store.Close())...)
}

// add stores n rows; what a row says follows from its number.
func (b *bench) add(ctx context.Context, n int) error {
	return b.store.Update(ctx, func(tx *store.Tx) error {
		next, err := tx.Next()
		if err != nil {
			return err
		}
		for i := range uint64(n) {
			row := next + i
			if err := tx.AddStatement(store.Statement{Index: row, ID: sha256.Sum256([]byte(fmt.Sprint("id", row))), Kind: statement.KindFrame, Seq: row, Data: data(row)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func data(row uint64) []byte { return []byte("statement " + strconv.FormatUint(row, 10)) }

// whole checks that every row is in exactly one ledger, in order, that every entry
// of every ledger is a row, and that every ledger but the last is signed to its end.
func (b *bench) whole(t *testing.T, rows uint64) {
	t.Helper()
	count, err := b.store.Count(t.Context())
	if err != nil || count != rows {
		t.Fatalf("%d rows, want %d (%v)", count, rows, err)
	}
	next := uint64(0)
	for _, k := range b.shelf.Books() {
		size, err := k.Ledger.Size(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if k.First != next {
			t.Fatalf("ledger %s begins at row %d, want %d", k.Origin(), k.First, next)
		}
		if k.End != Open && size != k.End-k.First {
			t.Errorf("ledger %s has %d entries, want %d", k.Origin(), size, k.End-k.First)
		}
		for i := range size {
			e, err := k.Entry(t.Context(), i)
			if err != nil || e != sha256.Sum256(data(next+i)) {
				t.Fatalf("entry %d of %s is not row %d (%v)", i, k.Origin(), next+i, err)
			}
		}
		next += size
		if size == 0 {
			continue
		}
		note, signed, err := k.Await(t.Context(), size-1)
		if err != nil || signed != size {
			t.Fatalf("ledger %s is signed to %d of %d (%v)", k.Origin(), signed, size, err)
		}
		logKey, err := ledger.NewKey(k.Origin(), key())
		if err != nil {
			t.Fatal(err)
		}
		if cp, err := ledger.ParseCheckpoint(note, logKey.Verifier()); err != nil || cp.Origin != k.Origin() {
			t.Errorf("checkpoint of %q (%v)", cp.Origin, err)
		}
		if err := k.Check(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if next != rows {
		t.Errorf("%d rows are in ledgers, want %d", next, rows)
	}
}

// TestRoll goes on in a new ledger at the boundary and not before, with what was
// stored meanwhile, and back to no earlier one.
func TestRoll(t *testing.T) {
	b := &bench{dir: t.TempDir(), now: before}
	if err := b.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { b.close() }()
	step := func(n int, rolled bool) {
		t.Helper()
		if err := b.add(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		if got, err := b.shelf.Roll(t.Context()); err != nil || got != rolled {
			t.Fatalf("rolled %v, want %v (%v)", got, rolled, err)
		}
		if err := b.shelf.Append(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	step(600, false)
	b.now = after
	step(5, true) // they came before the decision, so they are the old ledger's
	step(3, false)
	b.whole(t, 608)
	books := b.shelf.Books()
	if len(books) != 2 || books[0].End != 605 || books[1].First != 605 || books[1].Origin() != second {
		t.Fatalf("%d ledgers, %+v", len(books), books)
	}
	if _, err := books[0].Append(t.Context(), [][32]byte{{1}}); !errors.Is(err, ledger.ErrSealed) {
		t.Errorf("the old ledger takes an entry: %v", err)
	}
	b.now = before // a clock that is set back
	step(1, false)
	b.now = after.AddDate(40, 0, 0) // or far ahead
	step(1, false)
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	// A gateway that was off for two half-years, the second of which it never saw.
	b.now = time.Date(2028, 3, 1, 0, 0, 0, 0, time.UTC)
	if err := b.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k := b.shelf.Books()[0]; !k.ReadOnly() {
		t.Error("a ledger that is over is open for writing")
	}
	step(2, true)
	b.whole(t, 612)
	if got := b.shelf.Current().Origin(); got != "trailmark.example/demo/2028h1" {
		t.Errorf("the ledger is %s", got)
	}
	// Half-years in which nothing was recorded.
	b.now = time.Date(2028, 7, 1, 0, 0, 0, 0, time.UTC)
	step(0, true)
	b.now = time.Date(2029, 1, 1, 0, 0, 0, 0, time.UTC)
	step(0, true)
	step(2, false)
	b.whole(t, 614)
	for row := range uint64(614) {
		if k := b.shelf.Of(row); row < k.First || row >= k.End {
			t.Fatalf("row %d is not of ledger %s", row, k.Origin())
		}
	}
}

// Points of a roll-over at which the process is killed.
var points = []string{"decided", "some appended", "appended", "sealed", "opened", "none"}

// TestKilledRollOver kills a gateway with SIGKILL at each point of the roll-over,
// and again while it recovers, and lets a third one go on: no row is lost, none is in
// two ledgers, and none is signed at two places.
func TestKilledRollOver(t *testing.T) {
	if point := os.Getenv("SHARD_CHILD"); point != "" {
		child(os.Getenv("SHARD_DIR"), point)
		return
	}
	for _, again := range []string{"none", "some appended", "appended", "sealed"} {
		for _, point := range points {
			t.Run(point+", "+again, func(t *testing.T) {
				t.Parallel()
				b := &bench{dir: t.TempDir(), now: after}
				rows := uint64(0)
				for run, at := range []string{point, again} {
					cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledRollOver$")
					cmd.Env = append(os.Environ(), "SHARD_CHILD="+at, "SHARD_DIR="+b.dir)
					out, err := cmd.CombinedOutput()
					if run == 0 && (at == "none") != (err == nil) { // the second may find nothing left to do
						t.Fatalf("killed at %q: %v\n%s", at, err, out)
					}
					if err != nil && !strings.Contains(err.Error(), "killed") {
						t.Fatalf("%v\n%s", err, out)
					}
				}
				if err := b.open(t.Context()); err != nil {
					t.Fatal(err)
				}
				defer func() { b.close() }()
				if _, err := b.shelf.Roll(t.Context()); err != nil {
					t.Fatal(err)
				}
				var err error
				if rows, err = b.store.Count(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := b.add(t.Context(), 4); err != nil {
					t.Fatal(err)
				}
				if err := b.shelf.Append(t.Context()); err != nil {
					t.Fatal(err)
				}
				b.whole(t, rows+4)
				if books := b.shelf.Books(); len(books) != 2 || books[1].Origin() != second || rows < 40 {
					t.Errorf("%d ledgers, %d rows", len(books), rows)
				}
				signedOnce(t, b)
			})
		}
	}
}

// signedOnce compares what each run saw signed with what is there now.
func signedOnce(t *testing.T, b *bench) {
	t.Helper()
	notes, err := filepath.Glob(filepath.Join(b.dir, "seen-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range notes {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		k, ok := b.shelf.Named(statement.NoteOrigin(raw))
		if !ok {
			t.Fatalf("%s is of no ledger", name)
		}
		logKey, err := ledger.NewKey(k.Origin(), key())
		if err != nil {
			t.Fatal(err)
		}
		cp, err := ledger.ParseCheckpoint(raw, logKey.Verifier())
		if err != nil {
			t.Fatal(err)
		}
		if root, err := k.Root(t.Context(), cp.Size); err != nil || root != cp.Root {
			t.Errorf("%s at size %d was signed with another root (%v)", k.Origin(), cp.Size, err)
		}
	}
}

// child is a gateway that is killed at a point of the roll-over.
func child(dir, point string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	ctx := context.Background()
	seen := 0
	b := &bench{dir: dir, now: before}
	if _, err := os.Stat(filepath.Join(dir, "begun")); err == nil {
		b.now = after // the second run begins after the boundary
	}
	fail(os.WriteFile(filepath.Join(dir, "begun"), nil, 0o600))
	rolling := b.now.Equal(after)
	see := func() {
		if b.shelf == nil {
			return
		}
		for _, k := range b.shelf.Books() {
			if raw, err := k.Checkpoint(ctx); err == nil {
				seen++
				fail(os.WriteFile(filepath.Join(dir, fmt.Sprintf("seen-%d-%d", os.Getpid(), seen)), raw, 0o600))
			}
		}
	}
	b.crash = func(at string) {
		if at == point && rolling {
			see()
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	fail(b.open(ctx))
	fail(b.add(ctx, 20))
	fail(b.shelf.Append(ctx))
	see()
	fail(b.add(ctx, 20)) // not in the ledger yet
	b.now, rolling = after, true
	_, err := b.shelf.Roll(ctx)
	fail(err)
	fail(b.add(ctx, 10))
	fail(b.shelf.Append(ctx))
	see()
	fmt.Println("passed " + point)
	fail(b.close())
}

// TestLostTable: a store of an older backup learns from the folders which ledgers
// there are and where they begin.
func TestLostTable(t *testing.T) {
	b := &bench{dir: t.TempDir(), now: before}
	if err := b.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.add(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	b.now = after
	if _, err := b.shelf.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	empty, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	shards, err := Adopt(t.Context(), empty, b.dir, first)
	if err != nil || len(shards) != 2 || shards[1].Origin != second || shards[1].First != 7 {
		t.Fatalf("%+v (%v)", shards, err)
	}
	o := b.options()
	o.Store = empty
	if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), "has 7 entries, but the store only 0") {
		t.Errorf("a store without the rows: %v", err)
	}
	view, err := View(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(view.Books()) != 2 || !view.Current().ReadOnly() {
		t.Errorf("%d ledgers", len(view.Books()))
	}
	if err := view.Close(); err != nil {
		t.Error(err)
	}
}
