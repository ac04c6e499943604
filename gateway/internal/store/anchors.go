package store

import (
	"context"
	"database/sql"

	"trailmark/statement"
)

// An Anchor is a checkpoint that a chain keeps.
type Anchor struct {
	Size   uint64
	Origin string
	Chain  string
	Root   statement.Hash
	Height int64
	Time   int64 // ms
	Block  []byte
	Tx     []byte
	Note   []byte
}

const anchorColumns = "size, origin, chain, root, height, time, block, tx, note"

func scanAnchor(rows *sql.Rows, a *Anchor) error {
	var root []byte
	if err := rows.Scan(&a.Size, &a.Origin, &a.Chain, &root, &a.Height, &a.Time, &a.Block, &a.Tx, &a.Note); err != nil {
		return err
	}
	return copyHash(&a.Root, root)
}

// AddAnchor stores an anchor; one that is there already stays.
func (t *Tx) AddAnchor(a Anchor) error {
	return t.exec("INSERT INTO anchor ("+anchorColumns+") VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9) ON CONFLICT DO NOTHING",
		a.Size, a.Origin, a.Chain, a.Root[:], a.Height, a.Time, a.Block, a.Tx, a.Note)
}

// LastAnchor is the newest anchor.
func (s *Store) LastAnchor(ctx context.Context) (Anchor, error) {
	return first(collect(ctx, s.db, scanAnchor, "SELECT "+anchorColumns+" FROM anchor ORDER BY size DESC LIMIT 1"))
}

// AnchorCovering is the oldest anchor that covers a ledger index.
func (s *Store) AnchorCovering(ctx context.Context, index uint64) (Anchor, error) {
	return first(collect(ctx, s.db, scanAnchor, "SELECT "+anchorColumns+" FROM anchor WHERE size > $1 ORDER BY size LIMIT 1", index))
}
