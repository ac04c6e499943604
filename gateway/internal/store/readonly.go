package store

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
)

// File is the name of the database in the gateway's folder.
const File = "store.db"

// OpenReadOnly opens the database in dir for queries of the caller's own. Nothing
// in it is changed, also not its schema; it may be the one of a running gateway.
func OpenReadOnly(ctx context.Context, dir string) (*sql.DB, error) {
	path := filepath.Join(dir, File)
	db, err := sql.Open("sqlite", uri(path)+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, err
	}
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	return db, nil
}

// CreateEmpty makes a database with the present schema and no rows at path, for
// comparison: it is not made to survive loss of power.
func CreateEmpty(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite", uri(path)+"?_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)")
	if err != nil {
		return err
	}
	s := &Store{db: db}
	if err := s.prepare(ctx); err != nil {
		db.Close()
		return fmt.Errorf("store %s: %w", path, err)
	}
	return db.Close()
}

// Rebuild is Statement.Delivery for a frame whose columns the caller has read.
func Rebuild(index uint64, data, extra, kept []byte) (*Delivery, error) {
	return Statement{Index: index, Data: data, Extra: extra, kept: kept}.Delivery()
}
