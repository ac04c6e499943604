package store

import (
	"context"
	"database/sql"
	"errors"

	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

// A Trace is the stored state of one trace.
type Trace struct {
	ID       int64
	KeyID    statement.Hash
	Channel  string
	Start    trace.Start
	Entry    *statement.Channel // the plan's channel entry, nil: none
	Frontier trace.Frontier
	Last     int64 // time of the last reading, ms
	Value    int64 // its value, unless Erased
	Erased   bool  // the newest block's readings were erased
	Broken   bool  // blocks were lost on the card: it cannot be extended here
}

// Unplanned is the spec of a channel that no plan lists.
var Unplanned = trace.Spec{Nominal: 60_000}

// Spec is what the trace's digests depend on.
func (t Trace) Spec() trace.Spec {
	if t.Entry == nil {
		return Unplanned
	}
	return t.Entry.Spec()
}

const traceColumns = "id, kid, channel, preimage, entry, frontier, last, value, erased, broken"

func scanTrace(rows *sql.Rows, t *Trace) error {
	var kid, preimage, entry, frontier []byte
	if err := rows.Scan(&t.ID, &kid, &t.Channel, &preimage, &entry, &frontier, &t.Last, &t.Value, &t.Erased, &t.Broken); err != nil {
		return err
	}
	if len(entry) > 0 {
		t.Entry = new(statement.Channel)
		if err := dcbor.Unmarshal(entry, t.Entry); err != nil {
			return err
		}
	}
	return join(copyHash(&t.KeyID, kid), dcbor.Unmarshal(preimage, &t.Start), dcbor.Unmarshal(frontier, &t.Frontier))
}

// Traces are the newest trace of each channel of a device.
func (s *Store) Traces(ctx context.Context, kid statement.Hash) ([]Trace, error) {
	return traces(ctx, s.db, kid)
}

// Traces are the newest trace of each channel, as this transaction sees them.
func (t *Tx) Traces(kid statement.Hash) ([]Trace, error) { return traces(t.ctx, t.tx, kid) }

func traces(ctx context.Context, q querier, kid statement.Hash) ([]Trace, error) {
	return collect(ctx, q, scanTrace, "SELECT "+traceColumns+
		" FROM trace WHERE id IN (SELECT MAX(id) FROM trace WHERE kid = $1 GROUP BY channel) ORDER BY channel", kid[:])
}

// Overlapping are the traces of a channel with a block that has a part in
// [w0, w1) ms, oldest first. The blocks of a trace follow each other in time, so
// the first one that ends after w0 decides.
func (s *Store) Overlapping(ctx context.Context, kid statement.Hash, channel string, w0, w1 int64) ([]Trace, error) {
	return collect(ctx, s.db, scanTrace, "SELECT "+traceColumns+" FROM trace WHERE kid = $1 AND channel = $2 AND "+
		"(SELECT t0 FROM leaf WHERE leaf.trace = trace.id AND t1 > $3 ORDER BY t1 LIMIT 1) < $4 ORDER BY id", kid[:], channel, w0, w1)
}

// AddTrace stores a new trace and returns its id.
func (t *Tx) AddTrace(tr Trace) (int64, error) {
	var entry []byte
	if tr.Entry != nil {
		entry = dcbor.MustMarshal(tr.Entry)
	}
	start := tr.Start.Hash()
	var id int64
	err := t.tx.QueryRowContext(t.ctx, "INSERT INTO trace (kid, channel, start, preimage, entry, frontier, last, value) VALUES ($1,$2,$3,$4,$5,$6,$7,$8) RETURNING id",
		tr.KeyID[:], tr.Channel, start[:], dcbor.MustMarshal(tr.Start), entry, dcbor.MustMarshal(tr.Frontier), tr.Last, tr.Value).Scan(&id)
	return id, err
}

// PutTrace stores a trace's new frontier.
func (t *Tx) PutTrace(tr Trace) error {
	return t.exec("UPDATE trace SET frontier = $1, last = $2, value = $3, erased = 0 WHERE id = $4", dcbor.MustMarshal(tr.Frontier), tr.Last, tr.Value, tr.ID)
}

// BreakTraces marks the newest trace of each channel of a device as broken.
func (t *Tx) BreakTraces(kid statement.Hash) error {
	return t.exec("UPDATE trace SET broken = 1 WHERE id IN (SELECT MAX(id) FROM trace WHERE kid = $1 GROUP BY channel)", kid[:])
}

// A Leaf says which statement carries a block of a trace.
type Leaf struct {
	N      uint64
	Index  uint64 // statement
	Head   int    // record number of the head after this block
	T0, T1 int64
	// Readings is how many readings the block has.
	Readings int
}

func scanLeaf(rows *sql.Rows, l *Leaf) error {
	return rows.Scan(&l.N, &l.Index, &l.Head, &l.T0, &l.T1, &l.Readings)
}

const leafColumns = "n, idx, head, t0, t1, readings"

// AddLeaf stores a block's place and the perfect subtrees that it completed.
func (t *Tx) AddLeaf(traceID int64, l Leaf, made []trace.Perfect) error {
	if err := t.exec("INSERT INTO leaf (trace, "+leafColumns+") VALUES ($1,$2,$3,$4,$5,$6,$7)", traceID, l.N, l.Index, l.Head, l.T0, l.T1, l.Readings); err != nil {
		return err
	}
	t.readings += uint64(l.Readings)
	for _, p := range made {
		if err := t.exec("INSERT INTO node (trace, level, n, node) VALUES ($1,$2,$3,$4)", traceID, p.Level, p.Index, dcbor.MustMarshal(p.Node)); err != nil {
			return err
		}
	}
	return nil
}

// Readings counts the readings of all blocks: once, and from then on as this Store
// adds them, which no other one does while it is open.
func (s *Store) Readings(ctx context.Context) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readings == nil {
		var n uint64
		if err := s.db.QueryRowContext(ctx, "SELECT COALESCE(SUM(readings), 0) FROM leaf").Scan(&n); err != nil {
			return 0, err
		}
		s.readings = &n
	}
	return *s.readings, nil
}

// Window are the first and the last block of a trace with a part in [w0, w1) ms,
// among those whose statement has an index below limit.
//
// Blocks follow each other in time and in the ledger, so each is one step from
// what an index finds: no search grows with the trace.
func (s *Store) Window(ctx context.Context, traceID, w0, w1 int64, limit uint64) (from, to Leaf, err error) {
	if from, err = s.FirstLeaf(ctx, traceID, w0, limit); err != nil {
		return from, to, err
	}
	if from.T0 >= w1 {
		return from, to, ErrNotFound
	}
	to, err = s.leafEndingAfter(ctx, traceID, w1-1)
	switch {
	case errors.Is(err, ErrNotFound): // it begins after the last
		to, err = s.LastLeaf(ctx, traceID, limit)
	case err == nil && to.T0 >= w1:
		to, err = s.leaf(ctx, traceID, to.N-1)
	}
	if err == nil && to.Index >= limit {
		to, err = s.LastLeaf(ctx, traceID, limit)
	}
	return from, to, err
}

// leafEndingAfter is the first block of a trace that ends after t ms.
func (s *Store) leafEndingAfter(ctx context.Context, traceID, t int64) (Leaf, error) {
	return first(collect(ctx, s.db, scanLeaf, "SELECT "+leafColumns+" FROM leaf WHERE trace = $1 AND t1 > $2 ORDER BY t1 LIMIT 1", traceID, t))
}

// leaf is the n'th block of a trace.
func (s *Store) leaf(ctx context.Context, traceID int64, n uint64) (Leaf, error) {
	return first(collect(ctx, s.db, scanLeaf, "SELECT "+leafColumns+" FROM leaf WHERE trace = $1 AND n = $2", traceID, n))
}

// LastLeaf is the newest block of a trace whose statement has an index below
// limit. It halves its way there: an anchor that is months late costs no more.
func (s *Store) LastLeaf(ctx context.Context, traceID int64, limit uint64) (Leaf, error) {
	last, err := first(collect(ctx, s.db, scanLeaf, "SELECT "+leafColumns+" FROM leaf WHERE trace = $1 ORDER BY n DESC LIMIT 1", traceID))
	if err != nil || last.Index < limit {
		return last, err
	}
	below, err := first(collect(ctx, s.db, scanLeaf, "SELECT "+leafColumns+" FROM leaf WHERE trace = $1 ORDER BY n LIMIT 1", traceID))
	if err == nil && below.Index >= limit {
		err = ErrNotFound
	}
	for err == nil && last.N-below.N > 1 {
		var mid Leaf
		if mid, err = s.leaf(ctx, traceID, below.N+(last.N-below.N)/2); err == nil && mid.Index < limit {
			below = mid
		} else {
			last = mid
		}
	}
	return below, err
}

// Nodes reads the perfect subtrees of one trace; it is a trace.Nodes.
type Nodes struct {
	ctx   context.Context
	store *Store
	id    int64
}

// Nodes reads the tree of a trace.
func (s *Store) Nodes(ctx context.Context, traceID int64) Nodes { return Nodes{ctx, s, traceID} }

// Node is the n'th perfect subtree of 2^level blocks.
func (n Nodes) Node(level uint, index uint64) (node trace.Node, err error) {
	var b []byte
	err = n.store.db.QueryRowContext(n.ctx, "SELECT node FROM node WHERE trace = $1 AND level = $2 AND n = $3", n.id, level, index).Scan(&b)
	if err != nil {
		return node, err
	}
	return node, dcbor.Unmarshal(b, &node)
}

// A Sighting says which record saw a tag.
type Sighting struct {
	EPC         []byte
	TID         []byte // nil: the reader did not tell, or it was stored before TIDs were
	Index       uint64 // statement
	Record      int
	KeyID       statement.Hash
	Antenna     string
	First, Last int64
}

func scanSighting(rows *sql.Rows, s *Sighting) error {
	var kid []byte
	if err := rows.Scan(&s.EPC, &s.TID, &s.Index, &s.Record, &kid, &s.Antenna, &s.First, &s.Last); err != nil {
		return err
	}
	return copyHash(&s.KeyID, kid)
}

const sightingColumns = "epc, tid, idx, record, kid, antenna, first, last"

// AddSighting stores where a sighting is.
func (t *Tx) AddSighting(s Sighting) error {
	return t.exec("INSERT INTO sighting ("+sightingColumns+") VALUES ($1,$2,$3,$4,$5,$6,$7,$8)",
		s.EPC, s.TID, s.Index, s.Record, s.KeyID[:], s.Antenna, s.First, s.Last)
}

// Sightings are all sightings of a tag in statements below an index, by time.
func (s *Store) Sightings(ctx context.Context, epc []byte, below uint64) ([]Sighting, error) {
	return collect(ctx, s.db, scanSighting, "SELECT "+sightingColumns+" FROM sighting WHERE epc = $1 AND idx < $2 ORDER BY first, idx, record", epc, below)
}

// SightingsOf are the sightings of any of some tags that began in [from, to) ms, in
// statements below an index, by time.
func (s *Store) SightingsOf(ctx context.Context, tags [][]byte, from, to int64, below uint64) ([]Sighting, error) {
	if len(tags) == 0 {
		return nil, nil
	}
	args := []any{from, to, int64(min(below, 1<<62))}
	for _, t := range tags {
		args = append(args, t)
	}
	return collect(ctx, s.db, scanSighting, "SELECT "+sightingColumns+" FROM sighting WHERE epc IN ("+places(4, len(tags))+
		") AND first >= $1 AND first < $2 AND idx < $3 ORDER BY first, idx, record", args...)
}

// tagsAmong is how many of the newest sightings Tags looks at.
const tagsAmong = 20_000

// Tags are the distinct tags among the newest sightings, newest first, at most
// limit.
func (s *Store) Tags(ctx context.Context, limit int) ([]Sighting, error) {
	return collect(ctx, s.db, scanSighting, "SELECT "+sightingColumns+" FROM sighting WHERE rowid IN (SELECT MAX(r) FROM "+
		"(SELECT rowid AS r, epc FROM sighting ORDER BY rowid DESC LIMIT $1) GROUP BY epc) ORDER BY last DESC LIMIT $2", tagsAmong, limit)
}
