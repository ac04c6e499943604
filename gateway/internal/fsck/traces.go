package fsck

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

// faultError is damage in what a device signed, not trouble with checking.
type faultError struct{ error }

func faultf(format string, args ...any) error { return faultError{fmt.Errorf(format, args...)} }

// grown is a trace as its blocks make it.
type grown struct {
	store.Trace
	broken bool
	lost   bool // a block, or where it began, could not be read
}

// spec is what the digests of a trace depend on.
func (t *grown) spec() trace.Spec { return t.Spec() }

// block grows a trace by the block of one channel of a frame, whose records at
// (−1: erased) and head are the block and its head.
func (c *checker) block(r *row, d *stream, del *store.Delivery, plan *statement.Plan, epoch uint64, at, head int) error {
	h := del.Contents[head].(*statement.HeadRecord)
	t := d.traces[h.Channel]
	var err error
	switch {
	case h.Start != nil:
		t, err = c.begin(r, d, del, plan, epoch, h)
	case t != nil && t.broken, t == nil && d.gapped:
		return nil // kept as signed, but no proof can be made of it
	case t == nil || t.Start.Hash() != h.Head.Start:
		t, err = c.find(r, d, h.Channel, h)
	}
	if err != nil {
		return err
	}
	if at < 0 {
		return c.erasedBlock(r, t, h, head)
	}
	b := del.Contents[at].(*statement.Block)
	prev := t.Last
	if t.Frontier.Size == 0 {
		prev = -1
	}
	if t.lost {
		if t.Frontier, err = c.resume(t, h.Head.Size-1); err != nil {
			return err
		}
		prev = -1
		if b.Prev != nil {
			prev = *b.Prev
		}
	}
	if (b.Prev == nil) != (prev < 0) || b.Prev != nil && *b.Prev != prev {
		return faultf("block follows a reading that is not the trace's last one at %d ms", prev)
	}
	times := b.Times()
	digest, err := t.spec().Leaf(prev, times, b.Values)
	if err != nil {
		return faultError{err}
	}
	frontier, made, err := t.Frontier.Append(sha256.Sum256(del.Records[at]), digest)
	if err != nil {
		return faultError{err}
	}
	got, err := frontier.Head()
	if err != nil {
		return faultError{err}
	}
	if !got.Equal(h.Head) {
		was := t.lost
		t.lost = true
		if was {
			return faultf("head of size %d is not what the stored nodes of trace %d and this block give", h.Head.Size, t.ID)
		}
		return faultf("head of size %d is not the last one of size %d and this block", h.Head.Size, t.Frontier.Size)
	}
	t.lost, t.Erased = false, false
	t.Frontier, t.Last, t.Value = frontier, times[len(times)-1], b.Values[len(b.Values)-1]
	return c.putLeaf(t, r.idx, head, digest, len(times), made)
}

// begin opens the trace that a head starts.
func (c *checker) begin(r *row, d *stream, del *store.Delivery, plan *statement.Plan, epoch uint64, h *statement.HeadRecord) (*grown, error) {
	s := *h.Start
	kid := del.Statement.Header.KeyID
	t := &grown{Trace: store.Trace{KeyID: kid, Channel: s.Channel, Start: s, Frontier: trace.Frontier{Start: s.Hash()}}}
	if plan != nil {
		if _, e, ok := plan.Channel(kid, s.Channel); ok {
			t.Entry = &e
		}
	}
	var entry statement.Hash
	if t.Entry != nil {
		entry = t.Entry.Hash()
	}
	if s.Epoch != epoch || s.Basis != del.Frame.Basis() || s.Boot != del.Frame.Clock.BootID || s.Plan != entry && plan != nil {
		return nil, faultf("trace start does not fit its frame")
	}
	unseen := d.gapped && d.traces[s.Channel] == nil
	if last := d.newest(s.Channel); last != nil && !unseen && !last.lost && !last.broken && last.Frontier.Size > 0 {
		was, err := last.Frontier.Head()
		if err != nil {
			return nil, faultError{err}
		}
		if s.PrevStart != was.Start || s.PrevSize != was.Size || s.PrevRoot != was.Root {
			return nil, faultf("trace names one of size %d before it, its blocks give one of size %d", s.PrevSize, was.Size)
		}
	}
	t.ID = c.nextTrace
	if c.torn { // traces may have begun where nothing can be read any more
		if id, ok := c.stored(s.Hash()); ok {
			t.ID = id
		}
	}
	for c.taken[t.ID] { // by a row whose id was altered
		t.ID++
	}
	c.taken[t.ID], c.nextTrace = true, t.ID+1
	if plan == nil && !s.Plan.IsZero() { // told of already
		t.lost = true
	}
	d.traces[s.Channel] = t
	d.all = append(d.all, t)
	return t, nil
}

// stored is the row of trace with a start.
func (c *checker) stored(start statement.Hash) (int64, bool) {
	rows, err := query(c, "SELECT id FROM main.trace WHERE start = $1", start[:])
	if err != nil || len(rows) != 1 {
		return 0, false
	}
	id, ok := rows[0][0].(int64)
	return id, ok
}

// find takes a trace whose beginning could not be read from its row: the start
// is a hash that the head names, so the row can be held against that.
func (c *checker) find(r *row, d *stream, channel string, h *statement.HeadRecord) (*grown, error) {
	id, ok := c.stored(h.Head.Start)
	if !c.torn || !ok || c.taken[id] {
		return nil, faultf("head names a trace that is not the channel's last one")
	}
	rows, err := query(c, "SELECT preimage, entry FROM main.trace WHERE id = $1", id)
	if err != nil || len(rows) != 1 {
		return nil, faultf("trace %d cannot be read: %v", id, err)
	}
	kid := r.s.Header.KeyID
	t := &grown{lost: true, Trace: store.Trace{ID: id, KeyID: kid, Channel: channel, Frontier: trace.Frontier{Start: h.Head.Start}}}
	if t.Start, err = trace.ParseStart(bytesOf(rows[0][0])); err != nil || t.Start.Hash() != h.Head.Start {
		return nil, faultf("trace %d: preimage is not that of its start (%v)", id, err)
	}
	if entry := bytesOf(rows[0][1]); len(entry) > 0 {
		t.Entry = new(statement.Channel)
		if err := dcbor.Unmarshal(entry, t.Entry); err != nil || t.Entry.Hash() != t.Start.Plan {
			return nil, faultf("trace %d: entry is not the one its start names (%v)", id, err)
		}
	}
	c.taken[id], c.nextTrace = true, max(c.nextTrace, id+1)
	d.traces[channel] = t
	d.all = append(d.all, t)
	return t, nil
}

// resume rebuilds a trace of some size from its stored nodes, after blocks that
// could not be read; the next signed head decides whether they are right. What
// only the unreadable blocks could give is taken as it is stored.
func (c *checker) resume(t *grown, size uint64) (trace.Frontier, error) {
	f := trace.Frontier{Start: t.Start.Hash(), Size: size}
	at := uint64(0)
	for level := 63; level >= 0; level-- {
		if size>>level&1 == 0 {
			continue
		}
		rows, err := query(c, "SELECT node FROM main.node WHERE trace = $1 AND level = $2 AND n = $3", t.ID, level, int64(at>>level))
		if err != nil || len(rows) != 1 {
			return f, faultf("trace %d cannot go on at block %d: its stored subtree of 2^%d blocks is missing (%v)", t.ID, size, level, err)
		}
		var node trace.Node
		if err := dcbor.Unmarshal(bytesOf(rows[0][0]), &node); err != nil {
			return f, faultf("trace %d cannot go on at block %d: its stored subtree of 2^%d blocks: %w", t.ID, size, level, err)
		}
		f.Peaks = append(f.Peaks, node)
		at += 1 << level
	}
	from := min(t.Frontier.Size, size)
	if err := c.put("INSERT OR IGNORE INTO want.leaf SELECT * FROM main.leaf WHERE trace = $1 AND n >= $2 AND n < $3", t.ID, int64(from), int64(size)); err != nil {
		return f, err
	}
	// A subtree is complete with its last leaf.
	if err := c.put("INSERT OR IGNORE INTO want.node SELECT * FROM main.node WHERE trace = $1 AND ((n+1) << level) > $2 AND ((n+1) << level) <= $3", t.ID, int64(from), int64(size)); err != nil {
		return f, err
	}
	return f, nil
}

func (c *checker) prepare() (err error) {
	if c.want, err = c.conn.PrepareContext(c.ctx, "INSERT INTO want.leaf (trace, n, idx, head, t0, t1, readings) VALUES ($1,$2,$3,$4,$5,$6,$7)"); err != nil {
		return err
	}
	c.wantNode, err = c.conn.PrepareContext(c.ctx, "INSERT INTO want.node (trace, level, n, node) VALUES ($1,$2,$3,$4)")
	return err
}

func (c *checker) putLeaf(t *grown, idx int64, head int, d trace.Digest, readings int, made []trace.Perfect) error {
	n := int64(t.Frontier.Size) - 1
	_, err := c.want.ExecContext(c.ctx, t.ID, n, idx, head, d.T0, d.T1, readings)
	for _, p := range made {
		if err == nil {
			_, err = c.wantNode.ExecContext(c.ctx, t.ID, p.Level, int64(p.Index), dcbor.MustMarshal(p.Node))
		}
	}
	if err != nil {
		return fmt.Errorf("scratch database: %w", err)
	}
	return nil
}

// putTrace puts a trace as it has become; of one that could not be followed to
// its end, blocks and state are taken as they are stored from there on.
func (c *checker) putTrace(kid statement.Hash, t *grown) error {
	if t.lost {
		return errors.Join(
			c.put("INSERT OR IGNORE INTO want.trace SELECT * FROM main.trace WHERE id = $1", t.ID),
			c.put("INSERT OR IGNORE INTO want.leaf SELECT * FROM main.leaf WHERE trace = $1 AND n >= $2", t.ID, int64(t.Frontier.Size)),
			c.put("INSERT OR IGNORE INTO want.node SELECT * FROM main.node WHERE trace = $1 AND ((n+1) << level) > $2", t.ID, int64(t.Frontier.Size)))
	}
	var entry []byte
	if t.Entry != nil {
		entry = dcbor.MustMarshal(t.Entry)
	}
	start := t.Start.Hash()
	return c.put("INSERT INTO want.trace (id, kid, channel, start, preimage, entry, frontier, last, value, erased, broken) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)",
		t.ID, kid[:], t.Channel, start[:], dcbor.MustMarshal(t.Start), entry, dcbor.MustMarshal(t.Frontier), t.Last, t.Value, t.Erased, t.broken)
}
