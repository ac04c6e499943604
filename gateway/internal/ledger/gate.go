package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

// A Head remembers the newest head that was signed, apart from the log's files:
// whoever puts these back to an older state, or runs a second gateway on a copy of
// them, is found out before anything is signed.
type Head interface {
	// Load gives it; size 0: nothing was signed yet.
	Load(ctx context.Context) (size uint64, root [32]byte, err error)

	// Swap moves it from one that the caller knows to the next, in one step. When it
	// returns nil that survives loss of power. When the head is another, the error
	// wraps ErrMoved.
	Swap(ctx context.Context, oldSize uint64, oldRoot [32]byte, size uint64, root [32]byte) error
}

// A Guard says whether a head may be signed; at gives the root that the same tree had
// at a size up to its own. An error that wraps ErrRefused is for good; after another
// one signing is tried again.
type Guard func(ctx context.Context, size uint64, root [32]byte, at func(ctx context.Context, size uint64) ([32]byte, error)) error

var (
	// ErrMoved is wrapped by Head.Swap when somebody else moved the head.
	ErrMoved = errors.New("the newest signed head is not the one known here")

	// ErrRefused is wrapped by the error of a ledger that will not sign any more
	// before a person has looked.
	ErrRefused = errors.New("ledger refuses to sign")
)

const (
	signWithin  = 10 * time.Second // for all that is done before one signature
	refusedHint = "hint: nothing was signed; run gateway fsck, and let one gateway alone work on this folder"
)

// gate stands before every signature of checkpoints.
type gate struct {
	note.Signer
	tree  tree
	head  Head  // nil: nobody remembers
	guard Guard // nil: there is none
	log   *slog.Logger

	mu   sync.Mutex // held for a whole Sign: heads follow each other
	size uint64     // under mu: newest head signed
	root [32]byte   // under mu

	refused chan struct{} // closed once why is set
	why     error
}

// Sign signs a checkpoint after the tree was recomputed from stored bytes where it
// grew, the newest anchor allowed it, and the head was moved.
func (g *gate) Sign(msg []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), signWithin)
	defer cancel()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.why != nil {
		return nil, g.why
	}
	var c log.Checkpoint
	if _, err := c.Unmarshal(msg); err != nil || len(c.Hash) != sha256.Size {
		return nil, fmt.Errorf("what is to be signed is no checkpoint: %w", err)
	}
	if err := g.allow(ctx, c.Size, [32]byte(c.Hash)); err != nil {
		g.log.Error("checkpoint not signed", slog.Uint64("size", c.Size), slog.Any("err", err))
		if errors.Is(err, ErrRefused) {
			g.why = err
			close(g.refused)
		}
		return nil, err
	}
	return g.Signer.Sign(msg)
}

// allow moves the head to size and root, or says why not. An error that does not
// wrap ErrRefused may pass by itself.
func (g *gate) allow(ctx context.Context, size uint64, root [32]byte) error {
	if err := g.recompute(ctx, size, root); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("%w: %w\n%s", ErrRefused, err, refusedHint)
	}
	if g.guard != nil {
		if err := g.guard(ctx, size, root, func(ctx context.Context, at uint64) ([32]byte, error) { return g.tree.root(ctx, at, size) }); err != nil {
			return err
		}
	}
	if g.head != nil && size > 0 && (size != g.size || root != g.root) {
		if err := g.head.Swap(ctx, g.size, g.root, size, root); errors.Is(err, ErrMoved) {
			return fmt.Errorf("%w: %w\n%s", ErrRefused, err, refusedHint)
		} else if err != nil {
			return fmt.Errorf("moving the head from size %d to %d: %w", g.size, size, err)
		}
	}
	if size > 0 {
		g.size, g.root = size, root
	}
	return nil
}

// recompute holds what is to be signed against the stored bytes: the entries since
// the last signature give their leaves, these the tiles above, all of them the
// root, and the tree before is still the one that was signed.
func (g *gate) recompute(ctx context.Context, size uint64, root [32]byte) error {
	if size < g.size {
		return fmt.Errorf("tree of size %d, signed are %d", size, g.size)
	}
	if size == 0 {
		if root != [32]byte(rfc6962.DefaultHasher.EmptyRoot()) {
			return fmt.Errorf("root %x of no entries", root)
		}
		return nil
	}
	if g.size > 0 {
		was, err := g.tree.root(ctx, g.size, size)
		if err != nil {
			return err
		}
		if was != g.root {
			return fmt.Errorf("stored tiles have root %x at size %d, signed is %x", was, g.size, g.root)
		}
	}
	return g.tree.checkFrom(ctx, g.size/tileWidth, true, size, root)
}

// remember starts from the head that was signed last, as both the log's files and
// Head have it; published is the newest checkpoint, of size 0 if there is none.
func (g *gate) remember(ctx context.Context, published Checkpoint, size uint64) error {
	g.size, g.root = published.Size, published.Root
	if g.head == nil {
		return nil
	}
	was, root, err := g.head.Load(ctx)
	if err != nil {
		return fmt.Errorf("newest signed head: %w", err)
	}
	if was > size {
		return fmt.Errorf("%w: the tree has %d entries, but %d are signed\nhint: the ledger's files were put back to an older state; bring newer ones, or restore a whole backup", ErrRefused, size, was)
	}
	if was == 0 {
		root = [32]byte{}
	} else if got, err := g.tree.root(ctx, was, size); err != nil {
		return err
	} else if got != root {
		return fmt.Errorf("%w: stored tiles have root %x at size %d, signed is %x", ErrRefused, got, was, root)
	}
	if was >= published.Size {
		g.size, g.root = was, root // signed, and perhaps stopped before it was published
		return nil
	}
	// The memory is older than the files, which are signed: a database of an older
	// backup, or one from before heads were kept.
	if err := g.head.Swap(ctx, was, root, published.Size, published.Root); err != nil {
		return fmt.Errorf("moving the head from size %d to %d: %w", was, published.Size, err)
	}
	return nil
}
