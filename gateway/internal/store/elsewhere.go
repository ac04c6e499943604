package store

import (
	"context"
	"database/sql"

	"trailmark/statement"
)

// An Elsewhere is a checkpoint on a chain other than the embedded one, or on its
// way there while Height is 0.
type Elsewhere struct {
	Anchor
	Evidence []byte // for verifiers; empty: there is none
}

const elsewhereColumns = "size, origin, chain, root, height, time, block, tx, note, evidence"

func scanElsewhere(rows *sql.Rows, e *Elsewhere) error {
	var root []byte
	if err := rows.Scan(&e.Size, &e.Origin, &e.Chain, &root, &e.Height, &e.Time, &e.Block, &e.Tx, &e.Note, &e.Evidence); err != nil {
		return err
	}
	return copyHash(&e.Root, root)
}

// KeepNote keeps a signed checkpoint that is about to be sent to a chain, and
// forgets those of smaller size that never got there.
func (t *Tx) KeepNote(chain, origin string, size uint64, root statement.Hash, note []byte) error {
	if err := t.exec("DELETE FROM elsewhere WHERE chain = $1 AND origin = $2 AND height = 0 AND size < (SELECT MAX(size) FROM elsewhere WHERE chain = $1 AND origin = $2 AND height > 0)",
		chain, origin); err != nil {
		return err
	}
	return t.exec("INSERT INTO elsewhere (chain, origin, size, root, note, height, time, block, tx, evidence) VALUES ($1,$2,$3,$4,$5,0,0,x'',x'',x'') ON CONFLICT DO NOTHING",
		chain, origin, size, root[:], note)
}

// PutElsewhere stores where a checkpoint stands, in place of what was known.
func (t *Tx) PutElsewhere(e Elsewhere) error {
	for _, b := range []*[]byte{&e.Block, &e.Tx, &e.Evidence} {
		if *b == nil {
			*b = []byte{} // not NULL
		}
	}
	return t.exec("INSERT INTO elsewhere ("+elsewhereColumns+") VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10) ON CONFLICT (chain, origin, size) DO UPDATE SET "+
		"root = excluded.root, height = excluded.height, time = excluded.time, block = excluded.block, tx = excluded.tx, note = excluded.note, evidence = excluded.evidence",
		e.Size, e.Origin, e.Chain, e.Root[:], e.Height, e.Time, e.Block, e.Tx, e.Note, e.Evidence)
}

// Withdraw takes back that a checkpoint stands on a chain, which has lost it.
func (t *Tx) Withdraw(chain, origin string, size uint64) error {
	return t.exec("UPDATE elsewhere SET height = 0, time = 0, block = x'', tx = x'', evidence = x'' WHERE chain = $1 AND origin = $2 AND size = $3", chain, origin, size)
}

// Note is a checkpoint that was kept or anchored.
func (s *Store) Note(ctx context.Context, chain, origin string, size uint64) (Elsewhere, error) {
	return first(collect(ctx, s.db, scanElsewhere, "SELECT "+elsewhereColumns+" FROM elsewhere WHERE chain = $1 AND origin = $2 AND size = $3", chain, origin, size))
}

// LastElsewhere is the newest anchor on a chain of fewer than below entries.
func (s *Store) LastElsewhere(ctx context.Context, chain, origin string, below uint64) (Elsewhere, error) {
	return first(collect(ctx, s.db, scanElsewhere, "SELECT "+elsewhereColumns+" FROM elsewhere WHERE chain = $1 AND origin = $2 AND height > 0 AND size < $3 ORDER BY size DESC LIMIT 1",
		chain, origin, min(below, 1<<62)))
}

// ElsewhereCovering is the oldest anchor on a chain that covers a ledger index.
func (s *Store) ElsewhereCovering(ctx context.Context, chain, origin string, index uint64) (Elsewhere, error) {
	return first(collect(ctx, s.db, scanElsewhere, "SELECT "+elsewhereColumns+" FROM elsewhere WHERE chain = $1 AND origin = $2 AND height > 0 AND size > $3 ORDER BY size LIMIT 1",
		chain, origin, index))
}

// ElsewhereIn is the anchor that is in a block of a chain.
func (s *Store) ElsewhereIn(ctx context.Context, chain string, height uint64) (Elsewhere, error) {
	return first(collect(ctx, s.db, scanElsewhere, "SELECT "+elsewhereColumns+" FROM elsewhere WHERE chain = $1 AND height > 0 AND height = $2 ORDER BY size LIMIT 1",
		chain, height))
}
