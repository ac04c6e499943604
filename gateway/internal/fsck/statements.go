package fsck

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// page is how many rows are read at a time.
const page = 256

// row is a row of statement with its values as they are stored.
type row struct {
	idx, epoch, seq, received int64
	kind                      string
	id, kid, data             []byte
	extra, kept               []byte // nil: null
	s                         *statement.Statement
}

const rowColumns = "idx, id, kind, kid, epoch, seq, received, data, extra, kept"

// parseRow takes the values of rowColumns; what has not the column's type is an
// error, for SQLite stores any type in any column.
func parseRow(v []any) (r row, err error) {
	var ok [10]bool
	r.idx, ok[0] = v[0].(int64)
	r.id, ok[1] = v[1].([]byte)
	r.kind, ok[2] = v[2].(string)
	r.kid, ok[3] = v[3].([]byte)
	r.epoch, ok[4] = v[4].(int64)
	r.seq, ok[5] = v[5].(int64)
	r.received, ok[6] = v[6].(int64)
	r.data, ok[7] = v[7].([]byte)
	r.extra, ok[8] = nullable(v[8])
	r.kept, ok[9] = nullable(v[9])
	for i, good := range ok {
		if !good {
			return r, fmt.Errorf("column %d of (%s) is a %T", i+1, rowColumns, v[i])
		}
	}
	return r, nil
}

func nullable(v any) ([]byte, bool) {
	b, ok := v.([]byte)
	return b, ok || v == nil
}

// statementf reports a row of statement, once.
func (c *checker) statementf(idx int64, format string, args ...any) {
	if !c.named[idx] {
		c.named[idx] = true
		c.rowf("statement", fmt.Sprint(idx), format, args...)
	}
}

// statements checks every row of statement in ledger order and derives from it
// what the other tables should hold.
func (c *checker) statements() error {
	if err := c.prepare(); err != nil {
		return err
	}
	of, err := query(c, "SELECT COUNT(*) FROM main.statement")
	if err != nil {
		c.rowf("statement", "", "%v", err)
		return nil
	}
	total, _ := of[0][0].(int64)
	next := int64(0)
	for {
		rows, err := query(c, "SELECT "+rowColumns+" FROM main.statement WHERE idx >= $1 ORDER BY idx LIMIT $2", next, page)
		if err != nil {
			if rows, err = c.singly(next); err != nil {
				return err
			}
		}
		if len(rows) == 0 {
			return nil
		}
		for _, values := range rows {
			r, err := parseRow(values)
			if r.idx != next {
				c.rowf("statement", fmt.Sprint(next), "missing, the next row is %d", r.idx)
				c.torn = true
			}
			next = r.idx + 1
			if err == nil {
				err = c.statement(&r)
			}
			if err != nil {
				c.statementf(r.idx, "%v", err)
				if err := c.tear(&r); err != nil {
					return err
				}
			}
			c.sum.Statements++
		}
		c.Progress("statements", c.sum.Statements, uint64(total))
	}
}

// singly reads a page whose rows cannot be read together, row by row.
func (c *checker) singly(from int64) (out [][]any, err error) {
	for idx := from; idx < from+page; idx++ {
		rows, err := query(c, "SELECT "+rowColumns+" FROM main.statement WHERE idx = $1", idx)
		if err := c.ctx.Err(); err != nil {
			return nil, err
		}
		if err != nil {
			c.statementf(idx, "%v", err)
			c.torn = true
		}
		out = append(out, rows...)
	}
	return out, nil
}

// statement checks one row: its own columns, then what it means.
func (c *checker) statement(r *row) error {
	s, err := statement.Parse(r.data)
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	id, kid := s.ID(), s.Header.KeyID
	epoch, seq := int64(0), int64(-1)
	var who *statement.Identity
	if s.Header.Kind == statement.KindIdentity {
		_, err = c.ring.Add(s)
	} else {
		who, err = c.ring.Verify(s)
	}
	if errors.Is(err, statement.ErrUntrusted) && s.Header.Kind != statement.KindIdentity {
		if !c.unknown[kid] {
			c.unknown[kid] = true
			return fmt.Errorf("data: %w; nor can later statements of this key be checked", err)
		}
		c.torn = true
		c.named[r.idx] = true // its key's first statement stands for it
		return c.tear(r)
	} else if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	r.s = s
	var frame *statement.Frame
	if s.Header.Kind == statement.KindFrame {
		if frame, err = s.Frame(); err != nil {
			return fmt.Errorf("data: %w", err)
		}
		epoch, seq = int64(who.Epoch), int64(frame.Seq)
	} else if err := c.content(s); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	switch {
	case !bytes.Equal(r.id, id[:]):
		err = fmt.Errorf("id is %x, the statement's is %s", r.id, id)
	case r.kind != string(s.Header.Kind):
		err = fmt.Errorf("kind is %q, the statement's is %s", r.kind, s.Header.Kind)
	case !bytes.Equal(r.kid, kid[:]):
		err = fmt.Errorf("kid is %x, the statement's is %s", r.kid, kid)
	case r.epoch != epoch:
		err = fmt.Errorf("epoch is %d, the key's is %d", r.epoch, epoch)
	case r.seq != seq:
		err = fmt.Errorf("seq is %d, the statement's is %d", r.seq, seq)
	case r.received < 0 || r.received >= 1<<48:
		err = fmt.Errorf("received at %d ms is no time", r.received)
	case frame == nil && (r.extra != nil || r.kept != nil):
		err = fmt.Errorf("extra and kept have %d and %d bytes, a %s has none", len(r.extra), len(r.kept), s.Header.Kind)
	case r.extra != nil && r.kept != nil:
		err = errors.New("extra is there, though records were erased")
	}
	if err != nil {
		c.statementf(r.idx, "%v", err) // the statement itself is whole and counts
	}
	switch s.Header.Kind {
	case statement.KindEvent:
		e, err := s.Event()
		if err != nil {
			return fmt.Errorf("data: %w", err)
		}
		return c.event(r, e)
	case statement.KindHandover, statement.KindAcceptance:
		return c.transfer(r)
	case statement.KindFrame:
		return c.frame(r, who, frame)
	}
	return nil
}

// content decodes the payload of a statement that is not a frame.
func (c *checker) content(s *statement.Statement) (err error) {
	switch s.Header.Kind {
	case statement.KindIdentity:
	case statement.KindPlan:
		var p *statement.Plan
		if p, err = s.Plan(); err == nil {
			c.plans[s.ID()] = p
		}
	case statement.KindProduct:
		_, err = s.Product()
	case statement.KindKeyStatus:
		_, err = s.KeyStatus()
	case statement.KindHandover:
		_, err = s.Handover()
	case statement.KindAcceptance:
		_, err = s.Acceptance()
	case statement.KindEvent:
		_, err = s.Event()
	case statement.KindErasure:
		var e *statement.Erasure
		if e, err = s.Erasure(); err == nil {
			c.erasures = append(c.erasures, e)
		}
	default:
		err = fmt.Errorf("kind %s is not kept here", s.Header.Kind)
	}
	return err
}

// entries reads the ledger entries of the rows, in ascending order.
type entries struct {
	c    *checker
	from uint64
	rows [][]any
	end  uint64 // after the last row seen
}

func (e *entries) at(index uint64) (entry [32]byte, ok bool) {
	if index >= e.from+page || len(e.rows) == 0 && e.from == 0 {
		e.from = index
		var err error
		if e.rows, err = query(e.c, "SELECT idx, data FROM main.statement WHERE idx >= $1 AND idx < $2 ORDER BY idx", int64(index), int64(index+page)); err != nil {
			e.rows = nil
			for i := index; i < index+page; i++ {
				one, _ := query(e.c, "SELECT idx, data FROM main.statement WHERE idx = $1", int64(i)) // statements told of it
				e.rows = append(e.rows, one...)
			}
		}
	}
	for len(e.rows) > 0 {
		at, _ := e.rows[0][0].(int64)
		if uint64(at) > index {
			return entry, false
		}
		data, _ := e.rows[0][1].([]byte)
		e.rows = e.rows[1:]
		if uint64(at) == index {
			e.end = index + 1
			return sha256.Sum256(data), true
		}
	}
	return entry, false
}

// next is the index after the last row.
func (e *entries) next() uint64 { return max(e.end, e.c.sum.Statements) }

// parked checks the frames that wait for an earlier one.
func (c *checker) parked() error {
	rows, err := query(c, "SELECT kid, epoch, seq, data FROM main.parked ORDER BY kid, epoch, seq")
	if err != nil {
		c.rowf("parked", "", "%v", err)
	}
	for _, v := range rows {
		if err := c.waiting(v); err != nil {
			c.rowf("parked", fmt.Sprintf("(%x, %v, %v)", v[0], v[1], v[2]), "%v", err)
		}
	}
	return c.ctx.Err()
}

func (c *checker) waiting(v []any) error {
	d, err := statement.ParseUp(bytesOf(v[3]))
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	who, err := c.ring.Verify(d.Statement)
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	kid := d.Statement.Header.KeyID
	if !bytes.Equal(bytesOf(v[0]), kid[:]) || v[1] != int64(who.Epoch) || v[2] != int64(d.Frame.Seq) {
		return fmt.Errorf("the frame's key is (%s, %d, %d)", kid, who.Epoch, d.Frame.Seq)
	}
	if dev := c.devices[kid]; dev != nil {
		dev.declared(d)
	}
	return nil
}

// forks checks the second statements for one seq.
func (c *checker) forks() error {
	rows, err := query(c, "SELECT id, kid, epoch, seq, received, data FROM main.fork ORDER BY id")
	if err != nil {
		c.rowf("fork", "", "%v", err)
	}
	for _, v := range rows {
		if err := c.fork(v); err != nil {
			c.rowf("fork", fmt.Sprintf("%x", v[0]), "%v", err)
		}
	}
	return c.ctx.Err()
}

func (c *checker) fork(v []any) error {
	s, err := statement.Parse(bytesOf(v[5]))
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	who, err := c.ring.Verify(s)
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	f, err := s.Frame()
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	id, kid := s.ID(), s.Header.KeyID
	at, ok := v[4].(int64)
	switch {
	case !bytes.Equal(bytesOf(v[0]), id[:]):
		return fmt.Errorf("id is not %s, the statement's", id)
	case !bytes.Equal(bytesOf(v[1]), kid[:]):
		return fmt.Errorf("kid is %x, the statement's is %s", v[1], kid)
	case v[2] != int64(who.Epoch):
		return fmt.Errorf("epoch is %v, the key's is %d", v[2], who.Epoch)
	case v[3] != int64(f.Seq):
		return fmt.Errorf("seq is %v, the statement's is %d", v[3], f.Seq)
	case !ok || at < 0 || at >= 1<<48:
		return fmt.Errorf("received at %v ms is no time", v[4])
	}
	return nil
}

// bytesOf is a stored blob; nil for what is none.
func bytesOf(v any) []byte {
	b, _ := v.([]byte)
	return b
}

// delivery rebuilds a frame's records from the row, as far as they are held.
func (r *row) delivery() (*store.Delivery, error) {
	d, err := store.Rebuild(uint64(r.idx), r.data, r.extra, r.kept)
	if err != nil {
		return nil, fmt.Errorf("extra, kept: %w", err)
	}
	return d, nil
}
