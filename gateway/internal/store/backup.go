package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"

	"modernc.org/sqlite"
)

// backupPages is how many pages are copied before others may write again.
const backupPages = 1024

// Backup copies the database in dir to a new file at path, by SQLite's online
// backup: the copy is one state of a database that others write meanwhile. It is
// whole when Backup returns nil; the caller makes it durable.
func Backup(ctx context.Context, dir, path string, progress func(done, of uint64)) error {
	db, err := sql.Open("sqlite", uri(filepath.Join(dir, File))+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("store %s: %w", filepath.Join(dir, File), err)
	}
	defer conn.Close()
	// A snapshot: without it every write of another process would start the copy anew.
	if _, err := conn.ExecContext(ctx, "BEGIN; SELECT COUNT(*) FROM sqlite_master"); err != nil {
		return err
	}
	err = conn.Raw(func(c any) error {
		b, err := c.(interface {
			NewBackup(string) (*sqlite.Backup, error)
		}).NewBackup(uri(path))
		if err != nil {
			return err
		}
		for more := true; more; {
			if err := ctx.Err(); err != nil {
				return errors.Join(err, b.Finish())
			}
			if more, err = b.Step(backupPages); err != nil {
				return errors.Join(err, b.Finish())
			}
			of := uint64(b.PageCount())
			progress(of-uint64(b.Remaining()), of)
		}
		return b.Finish()
	})
	if err != nil {
		return fmt.Errorf("copy of the store: %w", err)
	}
	return settle(ctx, path)
}

// settle makes the copy one file: a database in WAL mode is none before its log
// is merged.
func settle(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite", uri(path)+"?_pragma=journal_mode(DELETE)&_pragma=synchronous(FULL)")
	if err != nil {
		return err
	}
	err = db.PingContext(ctx)
	return errors.Join(err, db.Close())
}

// Trim brings the database at path to what was copied of chain and ledgers before
// it: anchors that the chain's copy lacks are removed, and the heads of ledgers are
// those that were copied. anchored and signed are by origin; of one that is in
// neither nothing was copied.
func Trim(ctx context.Context, path string, anchored map[string]uint64, signed map[string]Shard) (err error) {
	db, err := sql.Open("sqlite", uri(path)+"?_pragma=synchronous(FULL)")
	if err != nil {
		return err
	}
	s := &Store{db: db}
	defer func() { err = errors.Join(err, db.Close()) }()
	shards, err := s.Shards(ctx)
	if err != nil {
		return err
	}
	return s.Update(ctx, func(tx *Tx) error {
		for _, sh := range shards {
			if err := tx.exec("DELETE FROM anchor WHERE origin = $1 AND size > $2", sh.Origin, anchored[sh.Origin]); err != nil {
				return err
			}
			if head := signed[sh.Origin]; head.Size < sh.Size {
				if err := tx.exec("UPDATE shard SET size = $1, root = $2 WHERE origin = $3", head.Size, head.Root[:], sh.Origin); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
