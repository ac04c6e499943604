package store

import (
	"context"
	"database/sql"

	"trailmark/statement"
)

// A Cosignature is a device's signature line of a checkpoint.
type Cosignature struct {
	Origin string
	Size   uint64
	KeyID  statement.Hash
	Root   statement.Hash
	At     int64 // s, as the device says
	Line   []byte
}

// keptCheckpoints is of how many checkpoints the cosignatures are kept: those that
// are anchored have them in their notes.
const keptCheckpoints = 64

const cosignatureColumns = "origin, size, kid, root, at, line"

func scanCosignature(rows *sql.Rows, c *Cosignature) error {
	var kid, root []byte
	if err := rows.Scan(&c.Origin, &c.Size, &kid, &root, &c.At, &c.Line); err != nil {
		return err
	}
	if err := copyHash(&c.KeyID, kid); err != nil {
		return err
	}
	return copyHash(&c.Root, root)
}

// AddCosignature stores a cosignature; a device's first for a size stays. Of older
// checkpoints than the newest 64 they are let go of.
func (t *Tx) AddCosignature(c Cosignature) error {
	if err := t.exec("INSERT INTO cosignature ("+cosignatureColumns+") VALUES ($1,$2,$3,$4,$5,$6) ON CONFLICT DO NOTHING",
		c.Origin, c.Size, c.KeyID[:], c.Root[:], c.At, c.Line); err != nil {
		return err
	}
	return t.exec("DELETE FROM cosignature WHERE origin = $1 AND size < (SELECT min(size) FROM (SELECT DISTINCT size FROM cosignature WHERE origin = $1 ORDER BY size DESC LIMIT $2))",
		c.Origin, keptCheckpoints)
}

// Cosignatures are those of a checkpoint, by key.
func (s *Store) Cosignatures(ctx context.Context, origin string, size uint64) ([]Cosignature, error) {
	return collect(ctx, s.db, scanCosignature, "SELECT "+cosignatureColumns+" FROM cosignature WHERE origin = $1 AND size = $2 ORDER BY kid", origin, size)
}

// CosignedSizes is the largest size of a ledger that each device cosigned, as far
// as is kept.
func (s *Store) CosignedSizes(ctx context.Context, origin string) (map[statement.Hash]uint64, error) {
	type row struct {
		kid  statement.Hash
		size uint64
	}
	rows, err := collect(ctx, s.db, func(rows *sql.Rows, r *row) error {
		var kid []byte
		if err := rows.Scan(&kid, &r.size); err != nil {
			return err
		}
		return copyHash(&r.kid, kid)
	}, "SELECT kid, max(size) FROM cosignature WHERE origin = $1 GROUP BY kid", origin)
	out := make(map[statement.Hash]uint64, len(rows))
	for _, r := range rows {
		out[r.kid] = r.size
	}
	return out, err
}
