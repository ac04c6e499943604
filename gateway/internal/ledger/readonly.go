package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/tessera/api/layout"
)

// StoredSize is how many entries the tree in dir has, as its driver says; nothing of
// it is checked. A folder that is not there has none.
func StoredSize(dir string) (uint64, error) {
	size, _, err := tree{dir}.state()
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return size, err
}

// SignedSize is how many entries the published checkpoint in dir covers.
func SignedSize(dir string, key *Key) (uint64, error) {
	raw, err := tree{dir}.readBounded(layout.CheckpointPath, maxCheckpoint)
	if err != nil {
		return 0, err
	}
	cp, err := ParseCheckpoint(raw, key.Verifier())
	return cp.Size, err
}

// Published reads the published checkpoint in dir; its signature is not checked.
func Published(dir string) (Checkpoint, error) {
	raw, err := tree{dir}.readBounded(layout.CheckpointPath, maxCheckpoint)
	if err != nil {
		return Checkpoint{}, err
	}
	var c log.Checkpoint
	if _, err := c.Unmarshal(raw); err != nil || len(c.Hash) != sha256.Size {
		return Checkpoint{}, fmt.Errorf("published checkpoint: root of %d bytes: %w", len(c.Hash), err)
	}
	return Checkpoint{Origin: c.Origin, Size: c.Size, Root: [sha256.Size]byte(c.Hash)}, nil
}

// ReadOnly reports whether the ledger is open for reading only.
func (l *Ledger) ReadOnly() bool { return l.gate == nil }

var errReadOnly = errors.New("ledger: open for reading only")

// OpenReadOnly opens the ledger in dir as Open does, with the same checks and the
// same lock, but neither takes entries nor signs: Append fails, and no
// checkpoint follows the published one.
func OpenReadOnly(ctx context.Context, dir string, key *Key, logger *slog.Logger) (*Ledger, error) {
	l := &Ledger{key: key, tree: tree{dir}, log: logger, roots: make(map[uint64][32]byte), failed: errReadOnly,
		shutdown: func(context.Context) error { return nil }, cancel: func() {}}
	var err error
	if l.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	size, err := l.verify(ctx)
	if err != nil {
		l.lock.Close()
		return nil, fmt.Errorf("ledger: %s: %w", dir, err)
	}
	l.size.Store(size)
	return l, nil
}
