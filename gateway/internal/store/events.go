package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"trailmark/statement"
)

// An Event is what is kept of an event of goods beside its statement.
type Event struct {
	Index       uint64 // statement
	Action      statement.Action
	At          int64 // ms
	Place, Step string
	ID          string // eventID; "" of one that Corrects another
	Doc         []byte // JSON-LD; nil once erased, and ID alone of what is below is left then
	Seed        []byte
	Corrects    string // eventID of the event that this one declares to be wrong

	Type, Verb, Disposition, ReadPoint, BizLocation, Parent string
}

// EventColumns are the columns of an event, in the order of Values.
const EventColumns = "idx, action, time, place, step, event_id, doc, seed, corrects, type, verb, disposition, read_point, biz_location, parent"

func scanEvent(rows *sql.Rows, e *Event) error {
	var text [8]sql.NullString
	if err := rows.Scan(&e.Index, &e.Action, &e.At, &e.Place, &e.Step, &text[0], &e.Doc, &e.Seed, &text[1], &text[2], &text[3], &text[4], &text[5], &text[6], &text[7]); err != nil {
		return err
	}
	for i, into := range []*string{&e.ID, &e.Corrects, &e.Type, &e.Verb, &e.Disposition, &e.ReadPoint, &e.BizLocation, &e.Parent} {
		*into = text[i].String
	}
	return nil
}

// An EventObject is one object of an event.
type EventObject struct {
	Object string
	Index  uint64 // statement
	List   uint64 // 5 by name, 6 items, 7 inputs
	N      int
	Prev   statement.Hash
	Leaf   []byte // nil of list 5
}

const objectColumns = "object, idx, list, n, prev, leaf"

func scanObject(rows *sql.Rows, o *EventObject) error {
	var prev []byte
	if err := rows.Scan(&o.Object, &o.Index, &o.List, &o.N, &prev, &o.Leaf); err != nil {
		return err
	}
	return copyHash(&o.Prev, prev)
}

// Values are the event's columns as they are stored.
func (e Event) Values() []any {
	null := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	return []any{e.Index, e.Action, e.At, e.Place, e.Step, null(e.ID), e.Doc, e.Seed, null(e.Corrects), null(e.Type), null(e.Verb),
		null(e.Disposition), null(e.ReadPoint), null(e.BizLocation), null(e.Parent)}
}

func places(from, n int) string {
	var s strings.Builder
	for i := range n {
		if i > 0 {
			s.WriteByte(',')
		}
		fmt.Fprintf(&s, "$%d", from+i)
	}
	return s.String()
}

// AddEvent stores what belongs to an event's statement.
func (t *Tx) AddEvent(e Event, objects []EventObject) error {
	v := e.Values()
	if err := t.exec("INSERT INTO event ("+EventColumns+") VALUES ("+places(1, len(v))+")", v...); err != nil {
		return err
	}
	insert, err := t.tx.PrepareContext(t.ctx, "INSERT INTO event_object ("+objectColumns+") VALUES ($1,$2,$3,$4,$5,$6)")
	if err != nil {
		return err
	}
	defer insert.Close()
	for _, o := range objects {
		if _, err := insert.ExecContext(t.ctx, o.Object, e.Index, o.List, o.N, o.Prev[:], o.Leaf); err != nil {
			return err
		}
	}
	return nil
}

// LastEvent is the statement id of an object's newest event, zeros for none.
func (t *Tx) LastEvent(object string) (id statement.Hash, err error) {
	if t.last == nil { // asked for each object of a document
		if t.last, err = t.tx.PrepareContext(t.ctx, "SELECT id FROM statement WHERE idx = (SELECT MAX(idx) FROM event_object WHERE object = $1)"); err != nil {
			return id, err
		}
	}
	var b []byte
	err = t.last.QueryRowContext(t.ctx, object).Scan(&b)
	if err == sql.ErrNoRows {
		return id, nil
	} else if err != nil {
		return id, err
	}
	return id, copyHash(&id, b)
}

// EventByID is the event with an eventID, as this transaction sees it.
func (t *Tx) EventByID(id string) (Event, error) {
	return first(collect(t.ctx, t.tx, scanEvent, "SELECT "+EventColumns+" FROM event WHERE event_id = $1", id))
}

// Corrections are the events that declare the one with an eventID to be wrong,
// oldest first, as this transaction sees them.
func (t *Tx) Corrections(id string) ([]Event, error) {
	return collect(t.ctx, t.tx, scanEvent, "SELECT "+EventColumns+" FROM event WHERE corrects = $1 ORDER BY idx", id)
}

// Event is the event with an eventID, or the newest one that declares it wrong.
func (s *Store) Event(ctx context.Context, id string) (Event, error) {
	return first(collect(ctx, s.db, scanEvent, "SELECT "+EventColumns+" FROM event WHERE event_id = $1 OR corrects = $1 ORDER BY idx DESC LIMIT 1", id))
}

// EventsByID are the event with an eventID and those that declare it wrong, oldest
// first.
func (s *Store) EventsByID(ctx context.Context, id string) ([]Event, error) {
	return collect(ctx, s.db, scanEvent, "SELECT "+EventColumns+" FROM event WHERE event_id = $1 OR corrects = $1 ORDER BY idx", id)
}

// EventAt is the event of a statement.
func (s *Store) EventAt(ctx context.Context, index uint64) (Event, error) {
	return first(collect(ctx, s.db, scanEvent, "SELECT "+EventColumns+" FROM event WHERE idx = $1", index))
}

// EventsOf are an object's places in events whose statements have an index below
// limit, in ledger order.
func (s *Store) EventsOf(ctx context.Context, object string, below uint64) ([]EventObject, error) {
	return collect(ctx, s.db, scanObject, "SELECT "+objectColumns+" FROM event_object WHERE object = $1 AND idx < $2 ORDER BY idx, list, n", object, int64(min(below, 1<<62)))
}

// EventAt is the event of a statement, as this transaction sees it.
func (t *Tx) EventAt(index uint64) (Event, error) {
	return first(collect(t.ctx, t.tx, scanEvent, "SELECT "+EventColumns+" FROM event WHERE idx = $1", index))
}

// EventObjects are the objects of one event, as this transaction sees them.
func (t *Tx) EventObjects(index uint64) ([]EventObject, error) {
	return eventObjects(t.ctx, t.tx, index)
}

// A Mention is one object's place in an event, with the event's statement.
type Mention struct {
	EventObject
	Data []byte
}

func scanMention(rows *sql.Rows, m *Mention) error {
	var prev []byte
	if err := rows.Scan(&m.Object, &m.Index, &m.List, &m.N, &prev, &m.Leaf, &m.Data); err != nil {
		return err
	}
	return copyHash(&m.Prev, prev)
}

// Mentions are EventsOf with the statements, in one question.
func (s *Store) Mentions(ctx context.Context, object string, below uint64) ([]Mention, error) {
	return collect(ctx, s.db, scanMention, "SELECT object, event_object.idx, list, n, prev, leaf, data FROM event_object JOIN statement ON statement.idx = event_object.idx "+
		"WHERE object = $1 AND event_object.idx < $2 ORDER BY event_object.idx, list, n", object, int64(min(below, 1<<62)))
}

// ListOf are the leaves of one list of an event, in its order.
func (s *Store) ListOf(ctx context.Context, index, list uint64) ([][]byte, error) {
	return collect(ctx, s.db, func(rows *sql.Rows, b *[]byte) error { return rows.Scan(b) }, "SELECT leaf FROM event_object WHERE idx = $1 AND list = $2 ORDER BY n", index, list)
}

// EventObjects are the objects of one event, by list and number.
func (s *Store) EventObjects(ctx context.Context, index uint64) ([]EventObject, error) {
	return eventObjects(ctx, s.db, index)
}

func eventObjects(ctx context.Context, q querier, index uint64) ([]EventObject, error) {
	return collect(ctx, q, scanObject, "SELECT "+objectColumns+" FROM event_object WHERE idx = $1 ORDER BY list, n", index)
}

// EventQuery says which events are asked for; a member that is empty asks for
// nothing. Events whose documents were erased are in no answer.
type EventQuery struct {
	Types, Verbs, Steps, Dispositions, ReadPoints, BizLocations, Parents, IDs []string
	From, To                                                                  int64 // [From, To) ms; To 0: no end
	RecordedFrom, RecordedTo                                                  int64 // likewise of when the gateway took it
	// Objects: each list must have one of its names among the event's objects in
	// one of its lists.
	Objects []ObjectMatch
	Error   *bool // only events that declare others wrong, or only others

	NotTypes []string
	Desc     bool // newest first

	// After is the last event of the page before; a zero one begins.
	AfterTime  int64
	AfterIndex uint64
	Limit      int
}

// ObjectMatch is one condition on an event's objects.
type ObjectMatch struct {
	Names []string
	Lists []uint64
}

// Events are the events of a query in order of their time, at most its Limit.
func (s *Store) Events(ctx context.Context, q EventQuery) ([]Event, error) {
	where, args := "doc IS NOT NULL", []any{}
	bind := func(v any) string {
		args = append(args, v)
		return fmt.Sprintf("$%d", len(args))
	}
	in := func(column string, values []string) {
		if len(values) == 0 {
			return
		}
		marks := make([]string, len(values))
		for i, v := range values {
			marks[i] = bind(v)
		}
		where += " AND " + column + " IN (" + strings.Join(marks, ",") + ")"
	}
	in("type", q.Types)
	in("verb", q.Verbs)
	in("step", q.Steps)
	in("disposition", q.Dispositions)
	in("read_point", q.ReadPoints)
	in("biz_location", q.BizLocations)
	in("parent", q.Parents)
	if len(q.IDs) > 0 { // either column has one of them
		first := len(args) + 1
		for _, id := range q.IDs {
			bind(id)
		}
		marks := places(first, len(q.IDs))
		where += " AND (event_id IN (" + marks + ") OR corrects IN (" + marks + "))"
	}
	for _, m := range q.Objects {
		names, lists := make([]string, len(m.Names)), make([]string, len(m.Lists))
		for i, n := range m.Names {
			names[i] = bind(n)
		}
		for i, l := range m.Lists {
			lists[i] = bind(l)
		}
		where += " AND idx IN (SELECT idx FROM event_object WHERE object IN (" + strings.Join(names, ",") + ") AND list IN (" + strings.Join(lists, ",") + "))"
	}
	at := "time"
	if len(q.Objects)+len(q.IDs) > 0 {
		at = "+time" // few events have an object: no index on times is of use then
	}
	where += " AND " + at + " >= " + bind(q.From)
	if q.To > 0 {
		where += " AND " + at + " < " + bind(q.To)
	}
	if q.RecordedFrom > 0 || q.RecordedTo > 0 {
		where += " AND (SELECT received FROM statement WHERE statement.idx = event.idx) >= " + bind(q.RecordedFrom)
		if q.RecordedTo > 0 {
			where += " AND (SELECT received FROM statement WHERE statement.idx = event.idx) < " + bind(q.RecordedTo)
		}
	}
	if q.Error != nil {
		where += " AND (corrects IS NOT NULL) = " + bind(*q.Error)
	}
	for _, t := range q.NotTypes {
		where += " AND type <> " + bind(t)
	}
	than, order := ">", at+", idx"
	if q.Desc {
		than, order = "<", at+" DESC, idx DESC"
	}
	if q.AfterTime > 0 || q.AfterIndex > 0 {
		where += " AND (" + at + ", idx) " + than + " (" + bind(q.AfterTime) + "," + bind(q.AfterIndex) + ")"
	}
	return collect(ctx, s.db, scanEvent, "SELECT "+EventColumns+" FROM event WHERE "+where+" ORDER BY "+order+" LIMIT "+bind(q.Limit), args...)
}

// Distinct are the values that a column of events has, ascending, from after one
// on: type, step, disposition, read_point or biz_location.
func (s *Store) Distinct(ctx context.Context, column, after string, limit int) ([]string, error) {
	switch column {
	case "type", "step", "disposition", "read_point", "biz_location":
	default:
		return nil, fmt.Errorf("no list of %q is kept", column)
	}
	return collect(ctx, s.db, scanText, "SELECT DISTINCT "+column+" FROM event WHERE "+column+" > $1 ORDER BY 1 LIMIT $2", after, limit)
}

// Objects are the names of all objects of events, ascending, from after one on.
func (s *Store) Objects(ctx context.Context, after string, limit int) ([]string, error) {
	return collect(ctx, s.db, scanText, "SELECT DISTINCT object FROM event_object WHERE object > $1 ORDER BY 1 LIMIT $2", after, limit)
}

func scanText(rows *sql.Rows, s *string) error { return rows.Scan(s) }

// EraseEvent forgets the document of an event and what was taken from it alone.
// The leaves stay, and so does every proof; its bytes leave the database file with
// the commit, and its log with the next Scrub. It reports whether there was one.
func (t *Tx) EraseEvent(id string) (bool, error) {
	r, err := t.tx.ExecContext(t.ctx, "UPDATE event SET doc = NULL, seed = NULL, type = NULL, verb = NULL, disposition = NULL, read_point = NULL, biz_location = NULL, parent = NULL "+
		"WHERE (event_id = $1 OR corrects = $1) AND doc IS NOT NULL", id)
	if err != nil {
		return false, err
	}
	n, err := r.RowsAffected()
	return n > 0, err
}

// A Transfer is a handover or an acceptance.
type Transfer struct {
	Index        uint64 // statement
	At           int64  // ms
	Giver, Taker string
	Handover     *statement.Hash // of an acceptance
}

func scanTransfer(rows *sql.Rows, x *Transfer) error {
	var h []byte
	if err := rows.Scan(&x.Index, &x.At, &x.Giver, &x.Taker, &h); err != nil || h == nil {
		return err
	}
	x.Handover = new(statement.Hash)
	return copyHash(x.Handover, h)
}

// AddTransfer stores whom a handover or an acceptance names, and of which objects.
func (t *Tx) AddTransfer(x Transfer, objects []string) error {
	var handover []byte
	if x.Handover != nil {
		handover = x.Handover[:]
	}
	if err := t.exec("INSERT INTO transfer (idx, at, giver, taker, handover) VALUES ($1,$2,$3,$4,$5)", x.Index, x.At, x.Giver, x.Taker, handover); err != nil {
		return err
	}
	for _, o := range objects {
		if err := t.exec("INSERT INTO transfer_object (object, idx) VALUES ($1,$2) ON CONFLICT DO NOTHING", o, x.Index); err != nil {
			return err
		}
	}
	return nil
}

// TransfersOf are an object's handovers and acceptances in statements below an
// index, in ledger order.
func (s *Store) TransfersOf(ctx context.Context, object string, below uint64) ([]Transfer, error) {
	return collect(ctx, s.db, scanTransfer, "SELECT transfer.idx, at, giver, taker, handover FROM transfer_object JOIN transfer ON transfer.idx = transfer_object.idx "+
		"WHERE object = $1 AND transfer.idx < $2 ORDER BY transfer.idx", object, int64(min(below, 1<<62)))
}

// StatementByID is a statement of a kind other than frame.
func (s *Store) StatementByID(ctx context.Context, id statement.Hash) (Statement, error) {
	return first(collect(ctx, s.db, scanStatement, "SELECT "+statementRead+" FROM statement WHERE kind <> 'frame' AND id = $1", id[:]))
}

// maxCaptures bounds the capture jobs that are told of.
const maxCaptures = 10_000

// AddCapture keeps what became of a capture, and forgets the oldest above a bound.
func (t *Tx) AddCapture(id string, at int64, job []byte) error {
	if err := t.exec("INSERT INTO capture (id, at, job) VALUES ($1,$2,$3)", id, at, job); err != nil {
		return err
	}
	return t.exec("DELETE FROM capture WHERE id IN (SELECT id FROM capture ORDER BY at DESC, id LIMIT -1 OFFSET $1)", maxCaptures)
}

// Capture is what became of a capture.
func (s *Store) Capture(ctx context.Context, id string) ([]byte, error) {
	return first(collect(ctx, s.db, func(rows *sql.Rows, b *[]byte) error { return rows.Scan(b) }, "SELECT job FROM capture WHERE id = $1", id))
}

// Captures are the newest captures, at most limit.
func (s *Store) Captures(ctx context.Context, limit int) ([][]byte, error) {
	return collect(ctx, s.db, func(rows *sql.Rows, b *[]byte) error { return rows.Scan(b) }, "SELECT job FROM capture ORDER BY at DESC, id LIMIT $1", limit)
}
