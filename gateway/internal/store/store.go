// Package store keeps what the gateway has accepted in SQLite: statements with
// their records, the devices' heads, the trees of their traces, sightings and
// anchors.
//
// The store is not trusted: the ledger recomputes what it signs from the stored
// bytes, and verifiers check everything again. One writer commits batches with
// synchronous=FULL, so what Update committed survives loss of power. A
// statement's row number is its place in one order for ever, which is that of the
// ledgers: each shard takes the rows from its first one on.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"path/filepath"
	"sync"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite" // also database/sql driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var migrations embed.FS

// minSQLite is the first version without the WAL bug that loses commits.
const minSQLite = "3.51.3"

// busyTimeout is how long one process waits for another's lock, as a pragma in ms.
const busyTimeout = "busy_timeout(5000)"

// ErrNotFound reports a row that is not there.
var ErrNotFound = errors.New("not in the store")

// A Store is the gateway's database.
type Store struct {
	db *sql.DB
	mu sync.Mutex // held during Update: one writer

	readings *uint64 // of all blocks, nil: not counted yet; guarded by mu
}

// Open opens or creates the database in dir and brings its schema up to date.
func Open(ctx context.Context, dir string) (*Store, error) {
	path := filepath.Join(dir, File)
	db, err := sql.Open("sqlite", uri(path)+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=secure_delete(ON)&_pragma="+busyTimeout+"&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	s := &Store{db: db}
	if err := s.prepare(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	return s, nil
}

// uri is a path as SQLite's URI: signs of its syntax in the name of a folder would
// else open a database elsewhere.
func uri(path string) string { return "file:" + (&url.URL{Path: path}).EscapedPath() }

func (s *Store) prepare(ctx context.Context) error {
	var version string
	if err := s.db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version); err != nil {
		return err
	}
	if older(version, minSQLite) {
		return fmt.Errorf("sqlite %s loses commits; want %s or newer", version, minSQLite)
	}
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, s.db, dir, goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

func older(a, b string) bool {
	var x, y [3]int
	_, err1 := fmt.Sscanf(a, "%d.%d.%d", &x[0], &x[1], &x[2])
	_, err2 := fmt.Sscanf(b, "%d.%d.%d", &y[0], &y[1], &y[2])
	if err1 != nil || err2 != nil {
		return true // a version that cannot be read is not one to trust
	}
	for i := range x {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	return false
}

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

// Update runs fn in one transaction. When it returns nil, everything fn wrote
// is durable; when not, nothing is.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	t := &Tx{ctx: ctx, tx: tx}
	if err := fn(t); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	if s.readings != nil {
		*s.readings += t.readings
	}
	return nil
}

// A Tx is a writing transaction.
type Tx struct {
	ctx  context.Context
	tx   *sql.Tx
	last *sql.Stmt // of LastEvent, once it was called; it ends with tx

	readings uint64 // of the blocks that were added
}

func (t *Tx) exec(query string, args ...any) error {
	_, err := t.tx.ExecContext(t.ctx, query, args...)
	return err
}

// taken reports an error about a key that a row has already.
func taken(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && (e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}

// querier is a Store or a Tx: both read.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// collect runs a query and scans each row.
func collect[T any](ctx context.Context, q querier, scan func(*sql.Rows, *T) error, query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		var v T
		if err := scan(rows, &v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// first is the first row of collect, or ErrNotFound.
func first[T any](vs []T, err error) (T, error) {
	var zero T
	if err != nil {
		return zero, err
	}
	if len(vs) == 0 {
		return zero, ErrNotFound
	}
	return vs[0], nil
}
