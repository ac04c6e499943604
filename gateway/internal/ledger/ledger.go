// Package ledger keeps one append-only list of 32-byte hashes as an RFC 9162
// Merkle tree and signs its size and root.
//
// Entries have the order in which they were appended, without gaps: index i of
// the ledger is row i of the gateway's store. A leaf is the RFC 9162 leaf hash
// SHA-256(0x00 || entry). Files are C2SP tlog-tiles (checkpoint,
// tile/<L>/<N>, tile/entries/<N>), written by Tessera's POSIX driver;
// checkpoints are C2SP tlog-checkpoint signed notes. Nothing in the directory
// is trusted: roots and proofs are recomputed from stored bytes and checked
// against the newest signed checkpoint before they leave, and the tree is
// checked before the first signature after a start.
//
// What it cannot notice is a directory that was put back to an older state as
// a whole: the caller compares Size and Entry with its own rows.
package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/storage/posix"
)

// pollEvery is how often Await looks for a new checkpoint.
const pollEvery = 50 * time.Millisecond

var (
	errClosed = errors.New("ledger: closed")

	// ErrSealed says that the ledger's time is over and a later one takes entries.
	ErrSealed = errors.New("ledger: sealed; a later one takes its place")

	// ErrUnsettled says that an Append failed half-way, so that nobody knows
	// which of its entries are in the tree. The ledger takes no more entries:
	// close it, open it again, and compare Size and Entry with the store.
	ErrUnsettled = errors.New("ledger: an earlier append failed; hint: open the ledger again and compare it with the store")
)

// Options say where a ledger lives and how it signs. Zero values of all but the
// first two mean their defaults.
type Options struct {
	Dir string // made if missing; belongs to one Ledger at a time
	Key *Key   // names the log (its origin) and signs checkpoints

	CheckpointInterval time.Duration // least time between two checkpoints, from 100 ms; 1 s
	BatchSize          int           // entries of one write; 512
	BatchAge           time.Duration // how long a smaller write waits; 5 ms
	Log                *slog.Logger  // slog.Default()

	Head  Head  // remembers the newest head apart from Dir; nil: nobody does
	Guard Guard // is asked before each signature whether the chain allows it; nil: nobody is

	// Cosigned gives the signature lines of the witnesses of a checkpoint, which are
	// served with it; nil: there are none. Safe for concurrent use.
	Cosigned func(context.Context, Checkpoint) ([]byte, error)
}

// A Ledger is an open log. Its methods are safe for concurrent use; appends
// run one after the other.
type Ledger struct {
	key   *Key
	tree  tree
	batch int
	age   time.Duration
	log   *slog.Logger

	cosigned func(context.Context, Checkpoint) ([]byte, error)

	add      tessera.AddFn
	shutdown func(context.Context) error
	cancel   context.CancelFunc // ends Tessera's goroutines
	await    *tessera.PublicationAwaiter
	lock     *os.File // flock held from Open to Close
	gate     *gate    // before every signature; nil: read only

	size atomic.Uint64 // entries known to be in the tree; only grows, under appendMu

	appendMu sync.Mutex // held for a whole Append: Tessera orders within one caller only
	failed   error      // under appendMu; once set no entry is taken

	mu    sync.Mutex          // held for memory only, never while reading files
	cpRaw []byte              // under mu: newest checkpoint whose signature was checked
	cp    Checkpoint          // under mu: the same, parsed
	roots map[uint64][32]byte // under mu: roots that cp covers
}

// Open opens the ledger in o.Dir or starts an empty one. Before anything is
// signed it checks the published checkpoint's signature, recomputes its root
// and that of the newest state from stored tiles, and reads the last 1,048,576
// entries back; Check reads all. It fails if another process has the directory.
func Open(ctx context.Context, o Options) (*Ledger, error) {
	if o.Key == nil || o.Dir == "" {
		return nil, errors.New("ledger: a directory and a key are needed")
	}
	l := &Ledger{
		key: o.Key, cosigned: o.Cosigned,
		tree:  tree{o.Dir},
		batch: positive(o.BatchSize, 512),
		age:   positive(o.BatchAge, 5*time.Millisecond),
		log:   o.Log,
		roots: make(map[uint64][32]byte),
	}
	if l.log == nil {
		l.log = slog.Default()
	}
	interval := positive(o.CheckpointInterval, time.Second)

	var err error
	if l.lock, err = lockDir(o.Dir); err != nil {
		return nil, err
	}
	l.gate = &gate{Signer: o.Key.Signer(), tree: l.tree, head: o.Head, guard: o.Guard, log: l.log, refused: make(chan struct{})}
	if err := l.start(ctx, interval); err != nil {
		l.lock.Close()
		return nil, err
	}
	return l, nil
}

func positive[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

// lockDir makes dir and takes it. Tessera lets several processes share a log,
// but then none of them knows the index its next entry will get.
func lockDir(dir string) (*os.File, error) {
	// Tessera syncs the directories it makes; this one is made here.
	if err := errors.Join(os.MkdirAll(dir, 0o755), syncDir(filepath.Dir(filepath.Clean(dir)))); err != nil {
		return nil, fmt.Errorf("ledger: %w; hint: give the gateway a directory it may write", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w; hint: give the gateway a directory it may write", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("ledger: %s is in use: %w; hint: another gateway runs on this directory", dir, err)
	}
	return f, nil
}

func (l *Ledger) start(ctx context.Context, interval time.Duration) error {
	size, err := l.verify(ctx)
	if err != nil {
		return fmt.Errorf("ledger: %s: %w; hint: nothing was signed; restore the directory from a backup and compare it with the store", l.tree.dir, err)
	}
	l.size.Store(size)
	l.mu.Lock()
	published := l.cp
	l.mu.Unlock()
	if err := l.gate.remember(ctx, published, size); err != nil {
		return fmt.Errorf("ledger: %s: %w", l.tree.dir, err)
	}

	driver, err := posix.New(ctx, posix.Config{Path: l.tree.dir})
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	// An unchanged tree is not signed again: Ed25519 would give the same bytes.
	opts := tessera.NewAppendOptions().
		WithCheckpointSigner(l.gate).
		WithCheckpointInterval(interval).
		WithCheckpointRepublishInterval(0).
		WithBatching(uint(l.batch), l.age).
		WithShutdownTimeout(2*interval + 10*time.Second)
	// The ledger ends with Close, not with the context of the start.
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	appender, shutdown, _, err := tessera.NewAppender(run, driver, opts)
	if err != nil {
		cancel()
		return fmt.Errorf("ledger: %w", errors.Join(err, l.gate.why))
	}
	l.add, l.shutdown, l.cancel = appender.Add, shutdown, cancel
	l.await = tessera.NewPublicationAwaiter(run, func(context.Context) ([]byte, error) {
		l.mendClock(interval)
		raw, _, err := l.published()
		return raw, err
	}, pollEvery)
	l.log.Info("ledger open", slog.String("origin", l.key.Origin()), slog.Uint64("size", size))
	return nil
}

// verify checks stored bytes and returns the size of the tree.
func (l *Ledger) verify(ctx context.Context) (uint64, error) {
	size, root, err := l.tree.state()
	noState := errors.Is(err, fs.ErrNotExist)
	if err != nil && !noState {
		return 0, err
	}
	_, cp, err := l.published()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if size > 0 {
			return 0, fmt.Errorf("tree of size %d has no checkpoint", size)
		}
		return 0, nil // new, or stopped between its first two files
	case err != nil:
		return 0, err
	case noState:
		return 0, fmt.Errorf("checkpoint of size %d has no tree state", cp.Size)
	case cp.Size > size:
		return 0, fmt.Errorf("tree state is older than the checkpoint: size %d < %d", size, cp.Size)
	}
	signed, err := l.tree.root(ctx, cp.Size, size)
	if err != nil {
		return 0, err
	}
	if signed != cp.Root {
		return 0, fmt.Errorf("stored tiles have root %x at size %d, the checkpoint says %x", signed, cp.Size, cp.Root)
	}
	from := size / tileWidth
	return size, l.tree.check(ctx, from-min(from, tailBundles), size, root)
}

// Append adds entries in the given order and returns the index of the first;
// the others follow without a gap. When it returns nil, entry bundles, tiles
// and tree state are on disk (O_SYNC, rename, fsync of the directory) and a
// checkpoint over them will be published; Await waits for that one. ctx is
// looked at before the first write and not after: an append is not left
// half-way. After an error, unless it is ctx's, every further Append returns
// ErrUnsettled.
func (l *Ledger) Append(ctx context.Context, entries [][32]byte) (first uint64, err error) {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if l.failed != nil {
		return 0, l.failed
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	first = l.size.Load()
	for len(entries) > 0 {
		n, err := l.appendSome(context.WithoutCancel(ctx), entries)
		if err != nil {
			l.failed = ErrUnsettled
			l.log.Error("ledger append failed", slog.Uint64("size", l.size.Load()), slog.Any("err", err))
			return 0, fmt.Errorf("ledger: append at %d: %w", l.size.Load(), err)
		}
		l.size.Add(uint64(n))
		entries = entries[n:]
	}
	return first, nil
}

// appendSome adds at most one batch and waits for it. Tessera hands a full
// batch over in the caller's goroutine, but a timer's in one of its own: were
// entries still added while a timer fires, two batches could overtake each
// other. So it stops adding well before the timer of the first entry, and a
// wrong index, should one ever come, is an error.
func (l *Ledger) appendSome(ctx context.Context, entries [][32]byte) (int, error) {
	start := time.Now()
	futures := make([]tessera.IndexFuture, 0, min(len(entries), l.batch))
	for i := range entries[:cap(futures)] {
		if i > 0 && time.Since(start) > l.age/2 {
			break
		}
		futures = append(futures, l.add(ctx, tessera.NewEntry(slices.Clone(entries[i][:]))))
	}
	next := l.size.Load()
	var errs []error
	for i, settled := range futures {
		switch index, err := settled(); {
		case err != nil:
			errs = append(errs, err)
		case index.Index != next+uint64(i):
			errs = append(errs, fmt.Errorf("entry got index %d, want %d", index.Index, next+uint64(i)))
		}
	}
	if len(errs) > 0 {
		return 0, fmt.Errorf("%d of %d entries: %w", len(errs), len(futures), errs[0])
	}
	return len(futures), nil
}

// Size is the number of entries in the tree, signed or not yet.
func (l *Ledger) Size(ctx context.Context) (uint64, error) {
	return l.size.Load(), ctx.Err()
}

// Origin is the log's name.
func (l *Ledger) Origin() string { return l.key.Origin() }

// Checkpoint returns the newest published checkpoint, a signed note. It wraps
// fs.ErrNotExist if the log is so new that none is published.
func (l *Ledger) Checkpoint(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	raw, _, err := l.published()
	return raw, err
}

// Await waits until a published checkpoint covers index and returns it and its
// size. That takes up to twice the checkpoint interval after the Append; of a ledger
// open for reading only it is the published one or none.
func (l *Ledger) Await(ctx context.Context, index uint64) (checkpoint []byte, size uint64, err error) {
	if l.ReadOnly() {
		raw, cp, err := l.published()
		if err == nil && index >= cp.Size {
			err = fmt.Errorf("ledger: entry %d is not among the %d that are signed: %w", index, cp.Size, errReadOnly)
		}
		return raw, cp.Size, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := l.onRefusal(cancel)
	defer stop()
	_, raw, err := l.await.Await(ctx, func() (tessera.Index, error) { return tessera.Index{Index: index}, nil })
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, ErrRefused) {
			err = cause
		}
		return nil, 0, fmt.Errorf("ledger: await entry %d: %w", index, err)
	}
	cp, err := ParseCheckpoint(raw, l.key.Verifier())
	if err != nil {
		return nil, 0, fmt.Errorf("ledger: await entry %d: %w", index, err)
	}
	return raw, cp.Size, nil
}

// Refused is closed when the ledger will sign nothing more; Refusal says why. Of a
// ledger open for reading only it never is.
func (l *Ledger) Refused() <-chan struct{} {
	if l.gate == nil {
		return nil
	}
	return l.gate.refused
}

// Refusal is why the ledger will sign nothing more; nil: it does.
func (l *Ledger) Refusal() error {
	select {
	case <-l.Refused():
		return l.gate.why
	default:
		return nil
	}
}

// onRefusal calls cancel once the ledger refuses to sign, until stop is called.
func (l *Ledger) onRefusal(cancel context.CancelCauseFunc) (stop func()) {
	done := make(chan struct{})
	go func() {
		select {
		case <-l.Refused():
			cancel(l.gate.why)
		case <-done:
		}
	}()
	return func() { close(done) }
}

// Seal ends the ledger: no entry is taken any more, and when it returns nil every
// one that was is under a published checkpoint. It may be called again.
func (l *Ledger) Seal(ctx context.Context) error {
	l.appendMu.Lock()
	if l.failed == nil {
		l.failed = ErrSealed
	}
	err := l.failed
	l.appendMu.Unlock()
	if !errors.Is(err, ErrSealed) {
		return err
	}
	if size := l.size.Load(); size > 0 {
		_, _, err := l.Await(ctx, size-1)
		return err
	}
	return nil
}

// published reads the published checkpoint; its signature is checked when the
// bytes are new.
func (l *Ledger) published() ([]byte, Checkpoint, error) {
	raw, err := l.tree.readBounded(layout.CheckpointPath, maxCheckpoint)
	if err != nil {
		return nil, Checkpoint{}, fmt.Errorf("ledger: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if bytes.Equal(raw, l.cpRaw) {
		return raw, l.cp, nil
	}
	cp, err := ParseCheckpoint(raw, l.key.Verifier())
	if err != nil {
		return nil, Checkpoint{}, fmt.Errorf("ledger: %w", err)
	}
	l.cpRaw, l.cp = raw, cp
	return raw, cp, nil
}

// mendClock keeps checkpoints coming after the wall clock was set back: the
// driver takes a checkpoint file from the future for one that is too young to
// replace.
func (l *Ledger) mendClock(interval time.Duration) {
	path := filepath.Join(l.tree.dir, layout.CheckpointPath)
	now := time.Now()
	if info, err := os.Stat(path); err == nil && info.ModTime().After(now.Add(interval)) {
		err := os.Chtimes(path, now, now)
		l.log.Warn("checkpoint is from the future: the clock was set back", slog.Time("written", info.ModTime()), slog.Any("err", err))
	}
}

// Close waits until everything appended is under a published checkpoint, at
// most about ten seconds, then lets the directory go; a ledger that refuses to sign
// it lets go at once. Entries are durable either way; the next Open publishes what
// was not.
func (l *Ledger) Close() error {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if errors.Is(l.failed, errClosed) {
		return nil
	}
	l.failed = errClosed
	stop, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	defer l.onRefusal(cancel)() // no checkpoint will come, so nobody waits for it
	err := l.shutdown(stop)
	l.cancel()
	if err != nil && !errors.Is(context.Cause(stop), ErrRefused) {
		err = fmt.Errorf("ledger: close: %w", err)
	} else {
		err = nil
	}
	return errors.Join(err, l.lock.Close())
}
