// Package shard keeps a gateway's ledgers, one for each half-year, as the one order
// that the store's rows have.
//
// A ledger takes the rows from its first one on; the next ledger's first row ends
// it. That row is decided by one transaction of the store, and everything else
// follows from it: what is missing in an old ledger is appended, its last
// checkpoint signed, and only then is the folder of the new one made. So a crash at
// any point leaves a state that the next start completes, and a store that was lost
// finds the first rows again in the sizes of the ledgers.
package shard

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"trailmark/gateway/internal/ledger"
	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// folder of every ledger but the first, which has kept the one that it had before
// there were others.
const (
	firstFolder = "ledger"
	folder      = "ledgers"
)

// Folder is the folder of a ledger below the gateway's own.
func Folder(n int, origin string) string {
	if n == 0 {
		return firstFolder
	}
	if o, err := statement.ParseOrigin(origin); err == nil {
		return filepath.Join(folder, o.Name())
	}
	return filepath.Join(folder, "unnamed")
}

// maxJump bounds how many half-years later the next ledger may be: a clock that is
// wrong by more than that would use up origins that verifiers have pinned.
const maxJump = 6

// Options are what Open needs. Log may be nil.
type Options struct {
	Dir    string // the gateway's own folder
	Store  *store.Store
	Signer crypto.Signer // the log key, of every ledger
	Origin string        // of the first ledger
	Now    func() time.Time

	CheckpointInterval time.Duration
	Guard              func(origin string) ledger.Guard                         // of each ledger; nil: there is none
	Cosigned           func(context.Context, ledger.Checkpoint) ([]byte, error) // lines of witnesses, served with a checkpoint; nil: none
	Log                *slog.Logger

	crash func(point string) // tests end the process here
}

// A Book is one ledger and the rows that it holds. Books are values: a snapshot
// stays as it was.
type Book struct {
	*ledger.Ledger
	N     int
	First uint64 // row of entry 0
	End   uint64 // row after its last entry; Open: none yet
}

// Open is the End of the ledger that takes entries.
const Open = ^uint64(0)

// Index is the ledger's entry that a row is.
func (b Book) Index(row uint64) uint64 { return row - b.First }

// A Shelf holds the ledgers of one gateway. Its methods are safe for concurrent
// use; Append and Roll are called by one goroutine.
type Shelf struct {
	o Options

	mu    sync.RWMutex
	books []Book // guarded by mu; replaced and never changed; the oldest first
}

// New opens every ledger, each with the checks of its own, brings the ones whose
// half-year is over to their end, and continues the last one.
func New(ctx context.Context, o Options) (*Shelf, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.crash == nil {
		o.crash = func(string) {}
	}
	s := &Shelf{o: o}
	shards, err := Adopt(ctx, o.Store, o.Dir, o.Origin)
	if err != nil {
		return nil, err
	}
	for i, sh := range shards {
		end := Open
		if i+1 < len(shards) {
			end = shards[i+1].First
		}
		b, err := s.open(ctx, sh, end)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.books = append(s.books, b)
		if err := s.compare(ctx, b); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		if end != Open {
			if err := s.finish(ctx, b); err != nil {
				return nil, errors.Join(err, s.Close())
			}
		}
	}
	return s, nil
}

// View opens, for reading only, every ledger that is on disk; the caller closes it.
func View(ctx context.Context, o Options) (*Shelf, error) {
	s := &Shelf{o: o}
	shards, err := Adopt(ctx, o.Store, o.Dir, o.Origin)
	if err != nil {
		return nil, err
	}
	for i, sh := range shards {
		dir := filepath.Join(o.Dir, Folder(sh.N, sh.Origin))
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue // its first start was not reached
		}
		key, err := ledger.NewKey(sh.Origin, o.Signer)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		b := Book{N: sh.N, First: sh.First, End: Open}
		if i+1 < len(shards) {
			b.End = shards[i+1].First
		}
		if b.Ledger, err = ledger.OpenReadOnly(ctx, dir, key, o.Log); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.books = append(s.books, b)
	}
	return s, nil
}

// compare holds the newest entries of a ledger against the store's rows.
func (s *Shelf) compare(ctx context.Context, b Book) error {
	size, err := b.Ledger.Size(ctx)
	if err != nil {
		return err
	}
	rows, err := s.o.Store.Count(ctx)
	if err != nil {
		return err
	}
	if end := b.First + size; end > rows {
		return fmt.Errorf("ledger %s has %d entries, but the store only %d statements for it\nhint: the store was restored from an older backup; restore ledger and store of one time", b.Origin(), size, rows-min(rows, b.First))
	} else if end > b.End {
		return fmt.Errorf("ledger %s has %d entries, but statement %d is the next one's first", b.Origin(), size, b.End)
	}
	for from := size - min(size, batch); from < size; {
		stored, err := s.o.Store.Statements(ctx, b.First+from, int(size-from))
		if err != nil {
			return err
		}
		if len(stored) == 0 {
			return fmt.Errorf("statement %d is in ledger %s but not in the store", b.First+from, b.Origin())
		}
		for _, row := range stored {
			entry, err := b.Ledger.Entry(ctx, from)
			if err != nil {
				return err
			}
			if row.Index != b.First+from || entry != row.Entry() {
				return fmt.Errorf("stored statement %d is not entry %d of ledger %s\nhint: store and ledger are not of one gateway, or a stored byte changed", row.Index, from, b.Origin())
			}
			from++
		}
	}
	return nil
}

// Adopt lists the ledgers of a store. One from before there were several, or a new
// one, gets its first; ledgers that are on disk and that the store, put back from an
// older backup, does not know, begin where the ones before them end.
func Adopt(ctx context.Context, st *store.Store, dir, origin string) ([]store.Shard, error) {
	shards, err := st.Shards(ctx)
	if err != nil {
		return nil, err
	}
	add := func(origin string, first uint64) error {
		var sh store.Shard
		err := st.Update(ctx, func(tx *store.Tx) (err error) {
			sh, err = tx.AddShardAt(origin, first)
			return err
		})
		shards = append(shards, sh)
		return err
	}
	if len(shards) == 0 {
		if err := add(origin, 0); err != nil {
			return nil, err
		}
	}
	last := shards[len(shards)-1]
	o, err := statement.ParseOrigin(last.Origin)
	if err != nil {
		return shards, nil // a name that has no next one
	}
	names, err := os.ReadDir(filepath.Join(dir, folder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, n := range names { // 2026h2 sorts before 2027h1
		next, err := statement.ParseOrigin(o.Line + "/" + n.Name())
		if err != nil || !next.Follows(o) {
			continue
		}
		size, err := ledger.StoredSize(filepath.Join(dir, Folder(last.N, last.Origin)))
		if err != nil {
			return nil, fmt.Errorf("ledger %s: %w", last.Origin, err)
		}
		if err := add(next.String(), last.First+size); err != nil {
			return nil, err
		}
		last, o = shards[len(shards)-1], next
	}
	return shards, nil
}

// open opens one ledger: for entries unless all of its own are under its checkpoint.
func (s *Shelf) open(ctx context.Context, sh store.Shard, end uint64) (Book, error) {
	b := Book{N: sh.N, First: sh.First, End: end}
	key, err := ledger.NewKey(sh.Origin, s.o.Signer)
	if err != nil {
		return b, err
	}
	dir := filepath.Join(s.o.Dir, Folder(sh.N, sh.Origin))
	if end != Open {
		if signed, err := ledger.SignedSize(dir, key); err == nil && signed == end-sh.First && signed == sh.Size {
			b.Ledger, err = ledger.OpenReadOnly(ctx, dir, key, s.o.Log)
			return b, err
		}
	}
	if sh.N > 0 {
		if err := os.MkdirAll(filepath.Join(s.o.Dir, folder), 0o755); err != nil {
			return b, err
		}
	}
	o := ledger.Options{Dir: dir, Key: key, CheckpointInterval: s.o.CheckpointInterval, Head: head{s.o.Store, sh.Origin}, Cosigned: s.o.Cosigned, Log: s.o.Log}
	if s.o.Guard != nil {
		o.Guard = s.o.Guard(sh.Origin)
	}
	b.Ledger, err = ledger.Open(ctx, o)
	return b, err
}

// head keeps a ledger's newest signed head in the store.
type head struct {
	store  *store.Store
	origin string
}

func (h head) Load(ctx context.Context) (uint64, [32]byte, error) {
	shards, err := h.store.Shards(ctx)
	if err != nil {
		return 0, [32]byte{}, err
	}
	for _, sh := range shards {
		if sh.Origin == h.origin {
			return sh.Size, sh.Root, nil
		}
	}
	return 0, [32]byte{}, fmt.Errorf("ledger %s: %w", h.origin, store.ErrNotFound)
}

func (h head) Swap(ctx context.Context, oldSize uint64, oldRoot [32]byte, size uint64, root [32]byte) error {
	err := h.store.SwapHead(ctx, h.origin, oldSize, oldRoot, size, root)
	if errors.Is(err, store.ErrHeadMoved) {
		return fmt.Errorf("%w: %w", ledger.ErrMoved, err)
	}
	return err
}

// Books are all ledgers, the oldest first; the last one takes entries.
func (s *Shelf) Books() []Book {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.books
}

// Current is the ledger that takes entries.
func (s *Shelf) Current() Book {
	books := s.Books()
	return books[len(books)-1]
}

// Of is the ledger of a row.
func (s *Shelf) Of(row uint64) Book { return of(s.Books(), row) }

func of(books []Book, row uint64) Book {
	for _, b := range slices.Backward(books) {
		if row >= b.First {
			return b
		}
	}
	return books[0]
}

// Named is the ledger of an origin.
func (s *Shelf) Named(origin string) (Book, bool) {
	for _, b := range s.Books() {
		if b.Origin() == origin {
			return b, true
		}
	}
	return Book{}, false
}

// Size is how many rows are in ledgers.
func (s *Shelf) Size(ctx context.Context) (uint64, error) {
	b := s.Current()
	n, err := b.Ledger.Size(ctx)
	return b.First + n, err
}

// Inclusion is the proof of an entry of one ledger.
func (s *Shelf) Inclusion(ctx context.Context, origin string, index, size uint64) ([][]byte, error) {
	b, ok := s.Named(origin)
	if !ok {
		return nil, fmt.Errorf("no ledger is named %q", origin)
	}
	return b.Ledger.Inclusion(ctx, index, size)
}

// Subtrees are the hashes that proofs at a size of one ledger are made of.
func (s *Shelf) Subtrees(ctx context.Context, origin string, size uint64) (func(lo, hi uint64) ([32]byte, error), error) {
	b, ok := s.Named(origin)
	if !ok {
		return nil, fmt.Errorf("no ledger is named %q", origin)
	}
	return b.Ledger.Subtrees(ctx, size)
}

// due is the origin that the clock asks for, if that is a later one than the current
// ledger's.
func (s *Shelf) due() (string, bool) {
	was, err := statement.ParseOrigin(s.Current().Origin())
	if err != nil {
		return "", false
	}
	now := statement.OriginAt(was.Line, s.o.Now())
	if !now.Follows(was) {
		return "", false // nor does a clock that was set back bring an old ledger back
	}
	limit := was
	for range maxJump {
		limit = limit.Next()
	}
	if now.Follows(limit) {
		s.o.Log.Error("the clock is far ahead of the ledger; it stays as it is", slog.String("ledger", was.String()), slog.String("clock", now.String()),
			slog.String("hint", "set the clock right; a gateway that was off for years: gateway init a new folder"))
		return "", false
	}
	return now.String(), true
}

// Roll goes on in a new ledger if the half-year is over; it reports whether it did.
// When it returns true the old ledger is complete and signed.
func (s *Shelf) Roll(ctx context.Context) (bool, error) {
	origin, due := s.due()
	if !due {
		return false, nil
	}
	var sh store.Shard
	if err := s.o.Store.Update(ctx, func(tx *store.Tx) (err error) {
		sh, err = tx.AddShard(origin)
		return err
	}); err != nil {
		return false, err
	}
	s.o.crash("decided")
	books := slices.Clone(s.Books())
	old := &books[len(books)-1]
	old.End = sh.First
	if err := s.finish(ctx, *old); err != nil {
		return false, err
	}
	b, err := s.open(ctx, sh, Open)
	if err != nil {
		return false, err
	}
	s.o.crash("opened")
	s.mu.Lock()
	s.books = append(books, b)
	s.mu.Unlock()
	s.o.Log.Info("the half-year is over; a new ledger goes on", slog.String("old", old.Origin()), slog.Uint64("size", old.End-old.First), slog.String("new", origin))
	return true, nil
}

// finish brings a ledger whose half-year is over to its end and seals it. Of one
// that is open for reading only that is done.
func (s *Shelf) finish(ctx context.Context, b Book) error {
	if b.ReadOnly() {
		return nil
	}
	if err := s.fill(ctx, b); err != nil {
		return err
	}
	s.o.crash("appended")
	if err := b.Seal(ctx); err != nil {
		return err
	}
	s.o.crash("sealed")
	return nil
}

const batch = 512

// Append puts every stored row that is in no ledger yet into the current one. What
// it returned nil for is on disk.
func (s *Shelf) Append(ctx context.Context) error { return s.fill(ctx, s.Current()) }

// fill appends a ledger's rows that it lacks. What is appended is computed from
// stored bytes, not from a stored hash.
func (s *Shelf) fill(ctx context.Context, b Book) error {
	for {
		size, err := b.Ledger.Size(ctx)
		if err != nil {
			return err
		}
		next := b.First + size
		rows, err := s.o.Store.Statements(ctx, next, int(min(batch, b.End-next)))
		if err != nil || len(rows) == 0 {
			if err == nil && b.End != Open && next != b.End {
				err = fmt.Errorf("ledger %s has %d entries, and stored statement %d is missing", b.Origin(), size, next)
			}
			return err
		}
		entries := make([][32]byte, len(rows))
		for i, row := range rows {
			if row.Index != next+uint64(i) {
				return fmt.Errorf("stored statement %d where %d belongs", row.Index, next+uint64(i))
			}
			entries[i] = row.Entry()
		}
		first, err := b.Ledger.Append(ctx, entries)
		if err != nil {
			return err
		}
		if first != size {
			return fmt.Errorf("ledger put statement %d at index %d", size, first)
		}
		s.o.crash("some appended")
		if len(rows) < batch {
			return nil
		}
	}
}

// Refused waits until the current ledger will sign nothing more, and says why; it
// returns nil when ctx ends.
func (s *Shelf) Refused(ctx context.Context) error {
	for {
		b := s.Current()
		select {
		case <-ctx.Done():
			return nil
		case <-b.Refused():
			return b.Refusal()
		case <-time.After(time.Second): // perhaps another one is current by then
		}
	}
}

// Close closes every ledger.
func (s *Shelf) Close() error {
	var errs []error
	for _, b := range s.Books() {
		if b.Ledger != nil {
			errs = append(errs, b.Ledger.Close())
		}
	}
	return errors.Join(errs...)
}
