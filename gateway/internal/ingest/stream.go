package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"time"

	"trailmark/gateway/internal/store"
	"trailmark/statement"
	"trailmark/trace"
)

// stream is what the next frame of one key, and so of one epoch, is checked against.
type stream struct {
	head  store.Head
	some  bool // head holds a frame, or the number of one
	gap   bool // head is a frame that the device declared lost: the next prev cannot be compared
	holes bool // frames of this epoch were declared lost: traces may have begun unseen
	// counted is false where holes has not been told by the store yet; to count is slow
	// and seldom needed.
	counted bool
	traces  map[string]store.Trace
	before  map[string]store.Trace // newest of each channel in the epochs before; set once a frame was accepted
	// successor is the key that the head hands over to, and after which this key
	// says nothing more; zeros: none.
	successor statement.Hash
}

func (in *Ingest) device(ctx context.Context, tx *store.Tx, kid statement.Hash) (*stream, error) {
	if d, ok := in.devices[kid]; ok {
		return d, nil
	}
	d := &stream{traces: map[string]store.Trace{}, counted: true}
	var err error
	d.head, err = tx.Head(kid)
	if err == nil {
		d.some = true
	} else if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	traces, err := tx.Traces(kid)
	if err != nil {
		return nil, err
	}
	for _, t := range traces {
		d.traces[t.Channel] = t
	}
	if d.some {
		if err := in.reload(ctx, tx, kid, d); err != nil {
			return nil, err
		}
	}
	in.devices[kid] = d
	return d, nil
}

// reload reads what the head says of the next epoch, and the store of the ones
// before.
func (in *Ingest) reload(ctx context.Context, tx *store.Tx, kid statement.Hash, d *stream) error {
	row, err := tx.Frame(kid, d.head.Epoch, d.head.Seq)
	if err != nil {
		return err
	}
	head, err := row.Delivery()
	if err != nil {
		return err
	}
	d.successor = successor(head.Contents)
	d.counted = false
	if id, known := in.Identity(kid); known && id.Epoch > 0 && id.Replaces != nil {
		old, err := in.device(ctx, tx, *id.Replaces)
		if err != nil {
			return err
		}
		d.before = old.newest()
	}
	return nil
}

// newest are the channels' newest traces, of this epoch or one before.
func (d *stream) newest() map[string]store.Trace {
	out := maps.Clone(d.before)
	if out == nil {
		out = map[string]store.Trace{}
	}
	maps.Copy(out, d.traces)
	return out
}

// successor is the key that a frame with these records hands over to.
func successor(records []any) statement.Hash {
	for _, v := range records {
		if h, ok := v.(*statement.Happening); ok && h.Type == statement.KeyRotation && len(h.Raw) == len(statement.Hash{}) {
			return statement.Hash(h.Raw)
		}
	}
	return statement.Hash{}
}

// batchTx applies checked messages inside one transaction.
type batchTx struct {
	in   *Ingest
	tx   *store.Tx
	next uint64
	now  int64

	accepted, late uint64 // of frames that waited; counted when the transaction has committed
}

// lateAfter is how long after its end a frame may arrive and not be late. A late one
// is taken like any other, as the continuation of its chain: when it was received
// stands in its row, and a passport shows by which anchor it was there.
const lateAfter = 10 * time.Minute

// handle applies one message and then whatever waited for it. It returns an
// error only when the store fails; refusals go into out.
func (b *batchTx) handle(ctx context.Context, c *checked, out *Outcome) error {
	kid, epoch, seq := c.d.Statement.Header.KeyID, c.identity.Epoch, c.d.Frame.Seq
	dev, err := b.in.device(ctx, b.tx, kid)
	if err != nil {
		return err
	}
	out.Epoch = epoch
	switch expected := dev.expected(epoch); {
	case dev.some && epoch < dev.head.Epoch:
		out.Err = refusef(WrongEpoch, "epoch %d, but the device is in epoch %d", epoch, dev.head.Epoch)
		return nil
	case seq < expected:
		return b.repeat(c, epoch, out)
	case !dev.successor.IsZero():
		out.Err = refusef(WrongEpoch, "seq %d of a key that handed over to %.8s… with seq %d", seq, dev.successor, dev.head.Seq)
		return nil
	case seq > expected:
		if waits, err := b.waiting(c, epoch, out); err != nil || waits {
			return err
		}
		ok, err := b.tx.Park(kid, epoch, seq, c.up)
		if err != nil {
			return err
		}
		if !ok {
			out.Err = refusef(Overflow, "seq %d waits for %d, and %d frames wait already", seq, expected, store.MaxParked)
		}
		c.waiting = true
		if gapped, err := b.skip(dev, c, epoch, expected); err != nil || !gapped {
			out.ResendFrom = &expected
			return err
		}
	default:
		if err := b.apply(ctx, dev, c); err != nil {
			return b.outcome(err, out)
		}
		out.Receipts = append(out.Receipts, dev.head.Index)
		out.Plan = &c.d.Frame.Plan
	}
	return b.unpark(ctx, dev, kid, epoch, out)
}

// waiting compares a frame with the one of its number that waits already: another
// one is evidence of a fork before either has its turn.
func (b *batchTx) waiting(c *checked, epoch uint64, out *Outcome) (fork bool, err error) {
	kid, seq := c.d.Statement.Header.KeyID, c.d.Frame.Seq
	up, err := b.tx.Parked(kid, epoch, seq)
	if err != nil || up == nil || bytes.Equal(up, c.up) {
		return false, err
	}
	first, err := statement.ParseUp(up)
	if err != nil {
		return false, fmt.Errorf("waiting frame %d of key %.8s…: %w", seq, kid, err)
	}
	if first.Statement.ID() == c.d.Statement.ID() {
		return false, nil
	}
	return true, b.fork(c, epoch, first.Statement.ID(), out)
}

// fork keeps a second statement for a number as evidence.
func (b *batchTx) fork(c *checked, epoch uint64, stored statement.Hash, out *Outcome) error {
	s := c.d.Statement
	out.Err = refusef(Fork, "second statement %.8s… for epoch %d seq %d, stored is %.8s…", s.ID(), epoch, c.d.Frame.Seq, stored)
	return b.tx.AddFork(store.Statement{ID: s.ID(), KeyID: s.Header.KeyID, Epoch: epoch, Seq: c.d.Frame.Seq, Received: b.now, Data: s.Bytes()})
}

func (b *batchTx) outcome(err error, out *Outcome) error {
	var r *Refusal
	if errors.As(err, &r) {
		out.Err = err
		return nil
	}
	return err
}

// expected is the seq that continues the device's chain in an epoch.
func (d *stream) expected(epoch uint64) uint64 {
	if !d.some || epoch > d.head.Epoch {
		return 0
	}
	return d.head.Seq + 1
}

// skip reports whether a waiting frame declares the frames from expected on as
// lost on the card: then the frames behind them need not wait for ever. The
// declaration itself is a signed record of that frame.
func (b *batchTx) skip(dev *stream, c *checked, epoch, expected uint64) (bool, error) {
	if !dev.some && epoch > 0 {
		return false, nil // the frame that takes over from the key before is not one to do without
	}
	for _, v := range c.bodies {
		if h, ok := v.(*statement.Happening); ok && h.Type == statement.Gap && h.Seqs != nil &&
			h.Seqs[0] <= expected && h.Seqs[1] >= expected && h.Seqs[1] < c.d.Frame.Seq {
			dev.head.Epoch, dev.head.Seq, dev.head.ID = epoch, h.Seqs[1], statement.Hash{}
			dev.some, dev.gap, dev.holes = true, true, true
			// The lost frames held blocks of the present traces, so no head of these
			// can be recomputed any more; the device starts new ones.
			for name, t := range dev.traces {
				t.Broken = true
				dev.traces[name] = t
			}
			return true, b.tx.BreakTraces(c.d.Statement.Header.KeyID)
		}
	}
	return false, nil
}

// unpark applies waiting frames as long as they continue the chain.
func (b *batchTx) unpark(ctx context.Context, dev *stream, kid statement.Hash, epoch uint64, out *Outcome) error {
	for {
		up, seq, err := b.tx.Unpark(kid, epoch)
		if err != nil || up == nil || seq > dev.expected(epoch) {
			return err
		}
		if err := b.tx.DropParked(kid, epoch, seq); err != nil {
			return err
		}
		if seq < dev.expected(epoch) {
			continue
		}
		c := b.in.check(Message{KeyID: kid, Data: up})
		if c.err == nil {
			c.err = b.apply(ctx, dev, &c)
		}
		if err := b.outcome(c.err, out); err != nil || out.Err != nil {
			return err
		}
		out.Receipts = append(out.Receipts, dev.head.Index)
		b.accepted++
		if c.late {
			b.late++
		}
	}
}

// repeat answers a seq whose turn is over: the same statement gets its receipt
// again, another one is evidence of a fork, and of one that was declared lost there is
// nothing to compare with: it does not come back behind the declaration.
func (b *batchTx) repeat(c *checked, epoch uint64, out *Outcome) error {
	s := c.d.Statement
	stored, err := b.tx.Frame(s.Header.KeyID, epoch, c.d.Frame.Seq)
	if err == nil && stored.ID == s.ID() {
		c.repeated = true
		out.Receipts = []uint64{stored.Index}
		return nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err != nil {
		out.Err = refusef(Lost, "epoch %d seq %d is one that the device declared lost", epoch, c.d.Frame.Seq)
		return nil
	}
	return b.fork(c, epoch, stored.ID, out)
}

// apply stores a frame that continues the device's chain. On a refusal neither
// the store nor dev has changed.
func (b *batchTx) apply(ctx context.Context, dev *stream, c *checked) error {
	s, f := c.d.Statement, c.d.Frame
	kid, epoch := s.Header.KeyID, c.identity.Epoch
	before := dev.before
	switch {
	case dev.gap:
	case dev.some:
		if f.Prev != dev.head.ID {
			return refusef(WrongPrev, "epoch %d seq %d names %.8s… before it, stored is %.8s…", epoch, f.Seq, f.Prev, dev.head.ID)
		}
	case epoch > 0:
		old, err := b.takeover(ctx, c)
		if err != nil {
			return err
		}
		before = old.newest()
	case !f.Prev.IsZero():
		return refusef(WrongPrev, "first frame of the device names %.8s… before it", f.Prev)
	}
	var plan *statement.Plan
	if !f.Plan.IsZero() {
		var ok bool
		if plan, ok = b.in.Plan(f.Plan); !ok {
			return refusef(UnknownPlan, "plan %.8s… is not one the site signed here", f.Plan)
		}
	}
	if err := b.countHoles(dev, c); err != nil {
		return err
	}
	steps, err := dev.extend(c, plan, epoch, before)
	if err != nil {
		return refuse(BadTrace, err)
	}

	idx := b.next
	if err := b.tx.AddStatement(store.Statement{Index: idx, ID: s.ID(), Kind: statement.KindFrame, KeyID: kid, Epoch: epoch,
		Seq: f.Seq, Received: b.now, Data: s.Bytes(), Extra: extra(c.d)}); err != nil {
		return err
	}
	for i := range steps {
		st := &steps[i]
		if st.next.ID == 0 {
			if st.next.ID, err = b.tx.AddTrace(st.next); err != nil {
				return err
			}
		} else if err := b.tx.PutTrace(st.next); err != nil {
			return err
		}
		st.leaf.Index = idx
		if err := b.tx.AddLeaf(st.next.ID, st.leaf, st.made); err != nil {
			return err
		}
	}
	for i, v := range c.bodies {
		if g, ok := v.(*statement.Sighting); ok {
			if err := b.tx.AddSighting(store.Sighting{EPC: g.EPC, TID: g.TID, Index: idx, Record: i, KeyID: kid, Antenna: g.Antenna, First: g.First, Last: g.Last}); err != nil {
				return err
			}
		}
	}
	c.late = f.Basis() == trace.Wall && b.now-f.Span[1] > lateAfter.Milliseconds()
	head := store.Head{KeyID: kid, Epoch: epoch, Seq: f.Seq, ID: s.ID(), Index: idx, Received: b.now, T1: f.Span[1], Checked: dev.head.Checked}
	if f.After != nil {
		head.Checked = f.After.Size
	}
	if err := b.tx.PutHead(head); err != nil {
		return err
	}
	b.next++
	dev.head, dev.some, dev.gap, dev.before, dev.successor = head, true, false, before, successor(c.bodies)
	for _, st := range steps {
		dev.traces[st.next.Channel] = st.next
	}
	return nil
}

// countHoles finds out after a restart whether frames of the epoch were lost, when a
// frame is about a channel of which nothing is known.
func (b *batchTx) countHoles(dev *stream, c *checked) error {
	if dev.counted {
		return nil
	}
	for _, v := range c.bodies {
		h, ok := v.(*statement.HeadRecord)
		if !ok || h.Start != nil && h.Start.PrevSize == 0 {
			continue
		}
		if _, known := dev.traces[h.Channel]; known {
			continue
		}
		kept, err := b.tx.Frames(dev.head.KeyID, dev.head.Epoch)
		if err != nil {
			return err
		}
		dev.holes, dev.counted = dev.holes || kept <= dev.head.Seq, true
		return nil
	}
	return nil
}

// takeover gives the stream that the first frame of an epoch above 0 goes on
// from: that of the key which the authority says this one replaces, which has
// handed over to it in its last frame. Both keys and the authority agree then.
func (b *batchTx) takeover(ctx context.Context, c *checked) (*stream, error) {
	kid, id, f := c.d.Statement.Header.KeyID, c.identity, c.d.Frame
	if id.Replaces == nil {
		return nil, refusef(WrongEpoch, "identity opens epoch %d, but replaces no key", id.Epoch)
	}
	was, known := b.in.Identity(*id.Replaces)
	if !known || was.Epoch+1 != id.Epoch || was.Subject != id.Subject || was.Role != id.Role || was.Simulated != id.Simulated {
		return nil, refusef(WrongEpoch, "identity opens epoch %d, but replaces key %.8s…, which is not this device's of the epoch before", id.Epoch, *id.Replaces)
	}
	old, err := b.in.device(ctx, b.tx, *id.Replaces)
	if err != nil {
		return nil, err
	}
	if !old.some || old.successor != kid {
		return nil, refusef(WrongEpoch, "key %.8s… of epoch %d did not hand over to this one", *id.Replaces, was.Epoch)
	}
	if f.Prev != old.head.ID {
		return nil, refusef(WrongPrev, "epoch %d names %.8s… before it, the one before ended with %.8s…", id.Epoch, f.Prev, old.head.ID)
	}
	return old, nil
}

// step is one trace extended by one block.
type step struct {
	next store.Trace
	leaf store.Leaf
	made []trace.Perfect
}

// extend recomputes every trace head of a frame from its blocks and compares it
// with the one that the device signs.
func (d *stream) extend(c *checked, plan *statement.Plan, epoch uint64, before map[string]store.Trace) ([]step, error) {
	blocks := map[string]int{}
	var steps []step
	for i, v := range c.bodies {
		switch v := v.(type) {
		case *statement.Block:
			blocks[v.Channel] = i
		case *statement.HeadRecord:
			at, ok := blocks[v.Channel]
			if !ok {
				return nil, fmt.Errorf("channel %s: a head without a block", v.Channel)
			}
			delete(blocks, v.Channel)
			if v.Start == nil && d.unseen(v.Channel) {
				continue // kept as signed, but no proof can be made of it
			}
			st, err := d.step(c, plan, epoch, before, c.bodies[at].(*statement.Block), c.d.Records[at], v)
			if err != nil {
				return nil, fmt.Errorf("channel %s: %w", v.Channel, err)
			}
			st.leaf.Head = i
			steps = append(steps, st)
		}
	}
	for name := range blocks {
		return nil, fmt.Errorf("channel %s: a block without a head", name)
	}
	return steps, nil
}

// unseen reports whether blocks of a channel's trace, or the frame in which it began,
// were lost on the card, so that its heads cannot be recomputed.
func (d *stream) unseen(channel string) bool {
	if t, known := d.traces[channel]; known {
		return t.Broken
	}
	return d.holes
}

func (d *stream) step(c *checked, plan *statement.Plan, epoch uint64, before map[string]store.Trace,
	block *statement.Block, record []byte, head *statement.HeadRecord) (step, error) {
	kid := c.d.Statement.Header.KeyID
	var entry *statement.Channel
	if plan != nil {
		if _, e, ok := plan.Channel(kid, block.Channel); ok {
			entry = &e
		}
	}
	t, known := d.traces[block.Channel]
	prev := int64(-1)
	if head.Start != nil {
		if !known {
			t, known = before[block.Channel]
		}
		next, err := open(c, entry, epoch, t, known, d.unseen(block.Channel), head)
		if err != nil {
			return step{}, err
		}
		t = next
	} else {
		if !known || t.Start.Hash() != head.Head.Start {
			return step{}, errors.New("head names a trace that is not the channel's last one")
		}
		if planHash(entry) != t.Start.Plan {
			return step{}, errors.New("the plan's entry changed, but the trace goes on")
		}
		if c.d.Frame.Basis() != t.Start.Basis {
			return step{}, errors.New("the time base changed, but the trace goes on")
		}
		prev = t.Last
	}
	if (block.Prev == nil) != (prev < 0) || block.Prev != nil && *block.Prev != prev {
		return step{}, fmt.Errorf("block follows a reading that is not the trace's last one at %d ms", prev)
	}
	times := block.Times()
	digest, err := t.Spec().Leaf(prev, times, block.Values)
	if err != nil {
		return step{}, err
	}
	frontier, made, err := t.Frontier.Append(sha256.Sum256(record), digest)
	if err != nil {
		return step{}, err
	}
	want, err := frontier.Head()
	if err != nil {
		return step{}, err
	}
	if !want.Equal(head.Head) {
		return step{}, fmt.Errorf("head of size %d is not the last one of size %d and this block", head.Head.Size, t.Frontier.Size)
	}
	t.Frontier, t.Last, t.Value = frontier, times[len(times)-1], block.Values[len(block.Values)-1]
	return step{next: t, made: made, leaf: store.Leaf{N: frontier.Size - 1, T0: digest.T0, T1: digest.T1, Readings: len(times)}}, nil
}

// open checks the start of a new trace and gives the empty trace it opens. With
// lost, the trace before it may be one, or have grown by blocks, that nobody here
// has seen; that frames were lost is on record, and the start still names it.
func open(c *checked, entry *statement.Channel, epoch uint64, last store.Trace, known, lost bool, head *statement.HeadRecord) (store.Trace, error) {
	s, f := *head.Start, c.d.Frame
	if s.Epoch != epoch || s.Basis != f.Basis() || s.Boot != f.Clock.BootID || s.Plan != planHash(entry) {
		return store.Trace{}, errors.New("trace start does not fit its frame")
	}
	if known && last.Frontier.Size > 0 {
		h, err := last.Frontier.Head()
		if err != nil {
			return store.Trace{}, err
		}
		same := s.PrevStart == h.Start && s.PrevSize == h.Size && s.PrevRoot == h.Root
		later := s.PrevSize > 0 && (s.PrevStart != h.Start || s.PrevSize > h.Size)
		if !same && !(lost && later) {
			return store.Trace{}, fmt.Errorf("trace names one of size %d before it, stored is one of size %d", s.PrevSize, h.Size)
		}
	} else if s.PrevSize != 0 && !lost {
		return store.Trace{}, errors.New("trace names one before it that is not known")
	}
	return store.Trace{KeyID: c.d.Statement.Header.KeyID, Channel: s.Channel, Start: s, Entry: entry,
		Frontier: trace.Frontier{Start: s.Hash()}}, nil
}

func planHash(entry *statement.Channel) statement.Hash {
	if entry == nil {
		return statement.Hash{}
	}
	return entry.Hash()
}
