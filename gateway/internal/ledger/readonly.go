package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

var errReadOnly = errors.New("ledger: open for reading only")

// OpenReadOnly opens the ledger in dir as Open does, with the same checks and the
// same lock, but neither takes entries nor signs: Append fails, and no
// checkpoint follows the published one. Await is not for such a ledger.
func OpenReadOnly(ctx context.Context, dir string, key *Key, log *slog.Logger) (*Ledger, error) {
	l := &Ledger{key: key, tree: tree{dir}, log: log, roots: make(map[uint64][32]byte), failed: errReadOnly,
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
