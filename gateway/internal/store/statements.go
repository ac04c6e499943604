package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"

	"trailmark/statement"
)

// A Statement is a stored statement.
type Statement struct {
	Index    uint64 // row number; a ledger's entries begin at the First of its Shard
	ID       statement.Hash
	Kind     statement.Kind
	KeyID    statement.Hash
	Epoch    uint64
	Seq      uint64 // of a frame
	Received int64  // ms
	Data     []byte
	Extra    []byte // of a frame: see Extra; nil once a record of it was erased
	kept     []byte // of a frame with erased records
}

// Entry is the statement's ledger entry, from its stored bytes.
func (s Statement) Entry() [32]byte { return sha256.Sum256(s.Data) }

// Extra is what a frame's records are made from.
type Extra struct {
	_      struct{} `cbor:",toarray"`
	Seed   [32]byte
	Bodies []statement.WireBody
}

const (
	statementColumns = "idx, id, kind, kid, epoch, seq, received, data, extra"
	statementRead    = statementColumns + ", kept"
)

func scanStatement(rows *sql.Rows, s *Statement) error {
	var id, kid []byte
	var kind string
	var seq int64
	if err := rows.Scan(&s.Index, &id, &kind, &kid, &s.Epoch, &seq, &s.Received, &s.Data, &s.Extra, &s.kept); err != nil {
		return err
	}
	s.Kind, s.Seq = statement.Kind(kind), uint64(max(seq, 0))
	return join(copyHash(&s.ID, id), copyHash(&s.KeyID, kid))
}

func copyHash(h *statement.Hash, b []byte) error {
	if len(b) != len(h) {
		return fmt.Errorf("stored hash of %d bytes, want %d", len(b), len(h))
	}
	copy(h[:], b)
	return nil
}

func join(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Next is the index that the next statement will get.
func (t *Tx) Next() (uint64, error) {
	var n uint64
	err := t.tx.QueryRowContext(t.ctx, "SELECT COALESCE(MAX(idx)+1, 0) FROM statement").Scan(&n)
	return n, err
}

// ErrTwice reports a frame whose number is taken, or a row that is.
var ErrTwice = errors.New("stored already")

// AddStatement stores a statement under its Index. One frame has a number of an
// epoch of a key: a second one, whoever brings it, is refused with ErrTwice.
func (t *Tx) AddStatement(s Statement) error {
	seq := int64(-1)
	if s.Kind == statement.KindFrame {
		seq = int64(s.Seq)
	}
	err := t.exec("INSERT INTO statement ("+statementColumns+") VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9)",
		s.Index, s.ID[:], string(s.Kind), s.KeyID[:], s.Epoch, seq, s.Received, s.Data, s.Extra)
	if taken(err) {
		return fmt.Errorf("statement %.8s… as row %d, epoch %d seq %d of key %.8s…: %w", s.ID, s.Index, s.Epoch, seq, s.KeyID, ErrTwice)
	}
	return err
}

// Has reports whether a statement that is not a frame is stored.
func (t *Tx) Has(id statement.Hash) (bool, error) {
	var n int
	err := t.tx.QueryRowContext(t.ctx, "SELECT COUNT(*) FROM statement WHERE kind <> 'frame' AND id = $1", id[:]).Scan(&n)
	return n > 0, err
}

// Count is the number of statements: of the ledgers' entries once they have caught up.
func (s *Store) Count(ctx context.Context) (n uint64, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT COALESCE(MAX(idx)+1, 0) FROM statement").Scan(&n)
	return n, err
}

// Statements are up to limit statements from a row on, in ledger order.
func (s *Store) Statements(ctx context.Context, from uint64, limit int) ([]Statement, error) {
	return collect(ctx, s.db, scanStatement, "SELECT "+statementRead+" FROM statement WHERE idx >= $1 ORDER BY idx LIMIT $2", from, limit)
}

// Statement is the statement in a row.
func (s *Store) Statement(ctx context.Context, index uint64) (Statement, error) {
	return first(collect(ctx, s.db, scanStatement, "SELECT "+statementRead+" FROM statement WHERE idx = $1", index))
}

// Frame is a device's frame by epoch and seq.
func (s *Store) Frame(ctx context.Context, kid statement.Hash, epoch, seq uint64) (Statement, error) {
	return frame(ctx, s.db, kid, epoch, seq)
}

// Frame is a device's frame by epoch and seq, as this transaction sees it.
func (t *Tx) Frame(kid statement.Hash, epoch, seq uint64) (Statement, error) {
	return frame(t.ctx, t.tx, kid, epoch, seq)
}

func frame(ctx context.Context, q querier, kid statement.Hash, epoch, seq uint64) (Statement, error) {
	return first(collect(ctx, q, scanStatement,
		"SELECT "+statementRead+" FROM statement WHERE kid = $1 AND epoch = $2 AND seq = $3 AND seq >= 0", kid[:], epoch, int64(seq)))
}

// FrameFrom is the row of the first frame of a key at an epoch and seq or after
// them, in ledger order; ErrNotFound if there is none.
func (s *Store) FrameFrom(ctx context.Context, kid statement.Hash, epoch, seq uint64) (uint64, error) {
	var row sql.NullInt64
	err := s.db.QueryRowContext(ctx, "SELECT MIN(idx) FROM statement WHERE kid = $1 AND kind = 'frame' AND (epoch > $2 OR epoch = $2 AND seq >= $3)",
		kid[:], int64(epoch), int64(min(seq, 1<<62))).Scan(&row)
	if err == nil && !row.Valid {
		err = ErrNotFound
	}
	return uint64(row.Int64), err
}

// Kind are all statements of a kind other than frame, in ledger order.
func (s *Store) Kind(ctx context.Context, kind statement.Kind) ([]Statement, error) {
	return s.KindFrom(ctx, kind, 0)
}

// KindFrom are those of Kind at a ledger index or after it.
func (s *Store) KindFrom(ctx context.Context, kind statement.Kind, index uint64) ([]Statement, error) {
	return collect(ctx, s.db, scanStatement,
		"SELECT "+statementRead+" FROM statement WHERE kind = $1 AND kind <> 'frame' AND idx >= $2 ORDER BY idx", string(kind), index)
}

// A Head is the newest accepted frame of a device.
type Head struct {
	KeyID    statement.Hash
	Epoch    uint64
	Seq      uint64
	ID       statement.Hash
	Index    uint64
	Received int64  // ms
	T1       int64  // end of the frame's span, ms
	Checked  uint64 // size that the device said it had verified, of the ledger that its frame names
}

func scanHead(rows *sql.Rows, h *Head) error {
	var kid, id []byte
	if err := rows.Scan(&kid, &h.Epoch, &h.Seq, &id, &h.Index, &h.Received, &h.T1, &h.Checked); err != nil {
		return err
	}
	return join(copyHash(&h.KeyID, kid), copyHash(&h.ID, id))
}

const headColumns = "kid, epoch, seq, id, idx, at, t1, checked"

// Heads are the heads of all devices.
func (s *Store) Heads(ctx context.Context) ([]Head, error) {
	return collect(ctx, s.db, scanHead, "SELECT "+headColumns+" FROM head ORDER BY kid")
}

// Head is the head of one device.
func (t *Tx) Head(kid statement.Hash) (Head, error) {
	return first(collect(t.ctx, t.tx, scanHead, "SELECT "+headColumns+" FROM head WHERE kid = $1", kid[:]))
}

// PutHead moves a device's head.
func (t *Tx) PutHead(h Head) error {
	return t.exec("INSERT INTO head ("+headColumns+") VALUES ($1,$2,$3,$4,$5,$6,$7,$8) ON CONFLICT (kid) DO UPDATE SET "+
		"epoch=excluded.epoch, seq=excluded.seq, id=excluded.id, idx=excluded.idx, at=excluded.at, t1=excluded.t1, checked=excluded.checked",
		h.KeyID[:], h.Epoch, h.Seq, h.ID[:], h.Index, h.Received, h.T1, h.Checked)
}

// MaxParked bounds the frames that wait for an earlier one, per device.
const MaxParked = 4096

// Park keeps an up message that waits for an earlier frame; it reports false
// when the device has MaxParked waiting already.
func (t *Tx) Park(kid statement.Hash, epoch, seq uint64, up []byte) (bool, error) {
	var n int
	if err := t.tx.QueryRowContext(t.ctx, "SELECT COUNT(*) FROM parked WHERE kid = $1", kid[:]).Scan(&n); err != nil || n >= MaxParked {
		return false, err
	}
	return true, t.exec("INSERT INTO parked (kid, epoch, seq, data) VALUES ($1,$2,$3,$4) ON CONFLICT DO NOTHING", kid[:], epoch, int64(seq), up)
}

// Parked is the frame with a seq that waits, nil: there is none.
func (t *Tx) Parked(kid statement.Hash, epoch, seq uint64) (up []byte, err error) {
	err = t.tx.QueryRowContext(t.ctx, "SELECT data FROM parked WHERE kid = $1 AND epoch = $2 AND seq = $3", kid[:], epoch, int64(seq)).Scan(&up)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return up, err
}

// A Hole is what keeps a device's frames waiting: From to To, which it has not sent.
type Hole struct {
	KeyID    statement.Hash
	Epoch    uint64
	From, To uint64 // seq
	Waiting  uint64 // frames behind it
}

// Holes are the frames that others wait for, by device.
func (s *Store) Holes(ctx context.Context) ([]Hole, error) {
	return collect(ctx, s.db, func(rows *sql.Rows, h *Hole) error {
		var kid []byte
		if err := rows.Scan(&kid, &h.Epoch, &h.From, &h.To, &h.Waiting); err != nil {
			return err
		}
		return copyHash(&h.KeyID, kid)
	}, "SELECT p.kid, p.epoch, COALESCE(MAX(h.seq)+1, 0), MIN(p.seq)-1, COUNT(*) FROM parked p "+
		"LEFT JOIN head h ON h.kid = p.kid AND h.epoch = p.epoch GROUP BY p.kid, p.epoch ORDER BY p.kid, p.epoch")
}

// Frames counts a device's stored frames of an epoch.
func (t *Tx) Frames(kid statement.Hash, epoch uint64) (n uint64, err error) {
	err = t.tx.QueryRowContext(t.ctx, "SELECT COUNT(*) FROM statement WHERE kid = $1 AND epoch = $2 AND seq >= 0", kid[:], epoch).Scan(&n)
	return n, err
}

// Unpark takes out the waiting frame with the lowest seq of an epoch, if any.
func (t *Tx) Unpark(kid statement.Hash, epoch uint64) (up []byte, seq uint64, err error) {
	err = t.tx.QueryRowContext(t.ctx, "SELECT seq, data FROM parked WHERE kid = $1 AND epoch = $2 ORDER BY seq LIMIT 1", kid[:], epoch).Scan(&seq, &up)
	if err == sql.ErrNoRows {
		return nil, 0, nil
	}
	return up, seq, err
}

// DropParked removes waiting frames of an epoch through a seq.
func (t *Tx) DropParked(kid statement.Hash, epoch, through uint64) error {
	return t.exec("DELETE FROM parked WHERE kid = $1 AND epoch = $2 AND seq <= $3", kid[:], epoch, int64(through))
}

// AddFork keeps a second statement for one seq as evidence.
func (t *Tx) AddFork(s Statement) error {
	return t.exec("INSERT INTO fork (id, kid, epoch, seq, received, data) VALUES ($1,$2,$3,$4,$5,$6) ON CONFLICT DO NOTHING",
		s.ID[:], s.KeyID[:], s.Epoch, int64(s.Seq), s.Received, s.Data)
}

// Forks are the statements kept as fork evidence, newest first, at most 100.
func (s *Store) Forks(ctx context.Context) ([]Statement, error) {
	return collect(ctx, s.db, func(rows *sql.Rows, f *Statement) error {
		var id, kid []byte
		if err := rows.Scan(&id, &kid, &f.Epoch, &f.Seq, &f.Received, &f.Data); err != nil {
			return err
		}
		return join(copyHash(&f.ID, id), copyHash(&f.KeyID, kid))
	}, "SELECT id, kid, epoch, seq, received, data FROM fork ORDER BY received DESC LIMIT 100")
}

// FramesFrom counts a device's frames from a ledger index on.
func (s *Store) FramesFrom(ctx context.Context, kid statement.Hash, index uint64) (n uint64, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM statement WHERE idx >= $1 AND kid = $2 AND seq >= 0", index, kid[:]).Scan(&n)
	return n, err
}
