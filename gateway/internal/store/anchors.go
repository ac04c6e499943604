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

// LastAnchor is the newest anchor: of the newest ledger that has one.
func (s *Store) LastAnchor(ctx context.Context) (Anchor, error) {
	return first(collect(ctx, s.db, scanAnchor, "SELECT "+qualified+" FROM anchor a JOIN shard s ON s.origin = a.origin ORDER BY s.n DESC, a.size DESC LIMIT 1"))
}

const qualified = "a.size, a.origin, a.chain, a.root, a.height, a.time, a.block, a.tx, a.note"

// LastAnchorOf is the newest anchor of one ledger.
func (s *Store) LastAnchorOf(ctx context.Context, origin string) (Anchor, error) {
	return first(collect(ctx, s.db, scanAnchor, "SELECT "+anchorColumns+" FROM anchor WHERE origin = $1 ORDER BY size DESC LIMIT 1", origin))
}

// AnchorCovering is the oldest anchor of a ledger that covers its entry index.
func (s *Store) AnchorCovering(ctx context.Context, origin string, index uint64) (Anchor, error) {
	return first(collect(ctx, s.db, scanAnchor, "SELECT "+anchorColumns+" FROM anchor WHERE origin = $1 AND size > $2 ORDER BY size LIMIT 1", origin, index))
}
