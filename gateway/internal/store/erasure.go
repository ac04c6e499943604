package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

// kept is what is left of a frame's records once some were erased. The seed is
// gone: it gives every salt, so that an erased record could be guessed from its
// leaf hash. The salts that survive are inside the records.
type kept struct {
	_       struct{}         `cbor:",toarray"`
	Records [][]byte         // salted and encoded; empty where erased
	Erased  []statement.Hash // leaf hashes of the erased records, in order
}

// A Delivery is a stored frame with its records as far as they are held: where
// one was erased, Bodies, Contents and Records have nothing, and Seed is zero.
type Delivery struct {
	*statement.Delivery
	Leaves []statement.Hash // leaf hashes of all the frame's records
}

// Delivery rebuilds the delivery that was stored, checking its records root.
func (s Statement) Delivery() (*Delivery, error) {
	d, err := s.whole()
	if s.kept != nil {
		d, err = s.remains()
	}
	if err != nil {
		return nil, fmt.Errorf("statement %d: %w", s.Index, err)
	}
	return d, nil
}

func (s Statement) whole() (*Delivery, error) {
	var x Extra
	if err := dcbor.Unmarshal(s.Extra, &x); err != nil {
		return nil, err
	}
	up, err := dcbor.Marshal(statement.Up{Version: 1, Statement: s.Data, Seed: x.Seed, Bodies: x.Bodies})
	if err != nil {
		return nil, err
	}
	d, err := statement.ParseUp(up)
	if err != nil {
		return nil, err
	}
	return &Delivery{d, statement.RecordLeaves(d.Records)}, nil
}

func (s Statement) remains() (*Delivery, error) {
	parsed, err := statement.Parse(s.Data)
	if err != nil {
		return nil, err
	}
	f, err := parsed.Frame()
	if err != nil {
		return nil, err
	}
	var k kept
	if err := dcbor.Unmarshal(s.kept, &k); err != nil {
		return nil, err
	}
	n := len(k.Records)
	if uint64(n) != f.Count {
		return nil, fmt.Errorf("%w: %d records, the frame has %d", statement.ErrRecords, n, f.Count)
	}
	d := &Delivery{&statement.Delivery{Statement: parsed, Frame: f, Records: k.Records,
		Bodies: make([]statement.Body, n), Contents: make([]any, n)}, make([]statement.Hash, n)}
	indexes := make([]uint64, n)
	for i, data := range k.Records {
		indexes[i] = uint64(i)
		if len(data) == 0 {
			if len(k.Erased) == 0 {
				return nil, fmt.Errorf("record %d: neither it nor its hash is held", i)
			}
			d.Records[i], d.Leaves[i], k.Erased = nil, k.Erased[0], k.Erased[1:]
			continue
		}
		r, err := statement.ParseRecord(data)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", i, err)
		}
		d.Bodies[i] = statement.Body{Kind: r.Kind, Data: r.Body}
		if d.Contents[i], err = d.Bodies[i].Decode(); err != nil {
			return nil, fmt.Errorf("record %d: %w", i, err)
		}
		d.Leaves[i] = statement.LeafHash(data)
	}
	tree, err := statement.OpenMulti(uint64(n), indexes, d.Leaves, nil, nil)
	if err != nil {
		return nil, err
	}
	if root, err := tree.Root(uint64(n)); err != nil {
		return nil, err
	} else if root != f.Root || len(k.Erased) > 0 {
		return nil, statement.ErrRecords
	}
	return d, nil
}

// A Block is one block of a trace and the frame that carries it.
type Block struct {
	trace  int64
	KeyID  statement.Hash
	Start  trace.Start
	N      uint64
	Digest trace.Digest
	Index  uint64 // statement
	Seq    uint64 // of the frame
}

const blocks = "SELECT trace.id, trace.kid, trace.preimage, leaf.n, leaf.idx, statement.seq, node.node FROM trace " +
	"JOIN leaf ON leaf.trace = trace.id JOIN node ON node.trace = trace.id AND node.level = 0 AND node.n = leaf.n " +
	"JOIN statement ON statement.idx = leaf.idx WHERE "

func scanBlock(rows *sql.Rows, b *Block) error {
	var kid, preimage, encoded []byte
	if err := rows.Scan(&b.trace, &kid, &preimage, &b.N, &b.Index, &b.Seq, &encoded); err != nil {
		return err
	}
	var node trace.Node
	if err := join(copyHash(&b.KeyID, kid), dcbor.Unmarshal(preimage, &b.Start), dcbor.Unmarshal(encoded, &node)); err != nil {
		return err
	}
	b.Digest = node.Digest
	return nil
}

// BlocksIn are the blocks of a channel that may hold a reading of [from, to) ms,
// in ledger order; the times of traces since boot are of another kind, and none
// of them is given.
func (s *Store) BlocksIn(ctx context.Context, kid statement.Hash, channel string, from, to int64) ([]Block, error) {
	found, err := collect(ctx, s.db, scanBlock, blocks+"trace.kid = $1 AND trace.channel = $2 AND leaf.t1 >= $3 AND leaf.t0 < $4 ORDER BY leaf.idx",
		kid[:], channel, from, to)
	wall := found[:0]
	for _, b := range found {
		if b.Start.Basis == trace.Wall {
			wall = append(wall, b)
		}
	}
	return wall, err
}

// BlocksOf are the blocks of a channel in a key's frames first to last.
func (s *Store) BlocksOf(ctx context.Context, kid statement.Hash, channel string, first, last uint64) ([]Block, error) {
	return collect(ctx, s.db, scanBlock, blocks+"trace.kid = $1 AND trace.channel = $2 AND statement.seq >= $3 AND statement.seq <= $4 ORDER BY leaf.idx",
		kid[:], channel, int64(min(first, math.MaxInt64)), int64(min(last, math.MaxInt64)))
}

// Block is a block of the trace with this start.
func (t *Tx) Block(start statement.Hash, n uint64) (Block, error) {
	return first(collect(t.ctx, t.tx, scanBlock, blocks+"trace.start = $1 AND leaf.n = $2", start[:], n))
}

// Erase forgets the bodies and salts of blocks of one frame, records of it that
// numbers gives, and the frame's seed. Their bytes leave the database file with
// the commit, and its log with the next Scrub. One that was erased before stays so.
func (t *Tx) Erase(frame uint64, blocks []Block, numbers []uint64) error {
	row, err := t.Statement(frame)
	if err != nil {
		return err
	}
	d, err := row.Delivery()
	if err != nil {
		return err
	}
	k := kept{Records: d.Records}
	for _, n := range numbers {
		k.Records[n] = nil
	}
	for i, r := range k.Records {
		if len(r) == 0 {
			k.Records[i] = []byte{}
			k.Erased = append(k.Erased, d.Leaves[i])
		}
	}
	if err := t.exec("UPDATE statement SET extra = NULL, kept = $1 WHERE idx = $2", dcbor.MustMarshal(k), row.Index); err != nil {
		return err
	}
	for _, b := range blocks {
		if err := t.exec("UPDATE trace SET value = 0, erased = 1 WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM leaf WHERE trace = $1 AND n > $2)", b.trace, b.N); err != nil {
			return err
		}
	}
	return nil
}

// Statement is the statement in a row, as this transaction sees it.
func (t *Tx) Statement(index uint64) (Statement, error) {
	return first(collect(t.ctx, t.tx, scanStatement, "SELECT "+statementRead+" FROM statement WHERE idx = $1", index))
}

// ErrBusy reports that a reader of an older state keeps the log from being emptied.
var ErrBusy = errors.New("the store's log is being read")

// Scrub empties the database's log, in which older states of its pages stand: what
// was erased is then in neither file. It waits only briefly for readers, since
// writers wait with it: on ErrBusy it is for the caller to try again.
func (s *Store) Scrub(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "PRAGMA busy_timeout(100)"); err != nil {
		return err
	}
	var busy, frames, done int
	err = conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &done)
	_, restored := conn.ExecContext(context.WithoutCancel(ctx), "PRAGMA "+busyTimeout)
	if err = errors.Join(err, restored); err == nil && busy != 0 {
		err = ErrBusy
	}
	return err
}
