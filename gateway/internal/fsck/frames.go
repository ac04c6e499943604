package fsck

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// stream is one key's frames so far, as its next one continues them.
type stream struct {
	some              bool
	epoch, seq        int64
	id                statement.Hash
	known             bool // id is that of a statement that was read
	idx, received, t1 int64
	checked           int64
	traces            map[string]*grown // newest of each channel
	all               []*grown          // every trace of this key
	before            *stream           // of the key that this one replaces
	holes             []hole
	gapped            bool // frames were lost: traces may have begun unseen
}

// hole is a run of frames that are not there and that a frame must declare lost.
type hole struct{ from, to, row int64 }

func (c *checker) device(kid statement.Hash) *stream {
	d := c.devices[kid]
	if d == nil {
		d = &stream{traces: map[string]*grown{}}
		if who, ok := c.ring.Identity(kid); ok && who.Replaces != nil {
			d.before = c.devices[*who.Replaces]
		}
		c.devices[kid] = d
	}
	return d
}

// newest is the newest trace of a channel, of this key or one before.
func (d *stream) newest(channel string) *grown {
	for ; d != nil; d = d.before {
		if t := d.traces[channel]; t != nil {
			return t
		}
	}
	return nil
}

// tear takes a row that cannot be read for the frame that its columns say it is:
// what follows then is checked as far as it stands without it.
func (c *checker) tear(r *row) error {
	c.torn = true
	if err := errors.Join(c.keepSightings(r.idx, -1), c.keepEvent(r.idx)); err != nil {
		return err
	}
	var kid statement.Hash
	if r.s != nil {
		kid = r.s.Header.KeyID
	} else if len(r.kid) == len(kid) && r.seq >= 0 {
		kid = statement.Hash(r.kid)
	} else {
		return nil
	}
	who, ok := c.ring.Identity(kid)
	if !ok || who.Role != statement.RoleDevice {
		return nil
	}
	d := c.device(kid)
	d.some, d.known, d.epoch, d.seq, d.idx, d.received = true, false, r.epoch, r.seq, r.idx, r.received
	copy(d.id[:], r.id)
	d.lose()
	return nil
}

// frame checks that a frame continues its key's chain, and its records.
func (c *checker) frame(r *row, who *statement.Identity, f *statement.Frame) error {
	d := c.device(r.s.Header.KeyID)
	if err := d.follows(r, who, f); err != nil {
		c.statementf(r.idx, "data: %v", err)
	}
	del, err := r.delivery()
	d.some, d.known, d.epoch, d.seq, d.id, d.idx, d.received = true, true, int64(who.Epoch), int64(f.Seq), r.s.ID(), r.idx, r.received
	d.t1 = f.Span[1]
	if f.After != nil {
		d.checked = int64(f.After.Size)
		c.after(r, f.After)
	}
	if err != nil {
		c.statementf(r.idx, "%v", err)
		c.torn = true
		d.lose()
		return c.keepSightings(r.idx, -1)
	}
	d.declared(del.Delivery)
	var plan *statement.Plan
	if !f.Plan.IsZero() {
		if plan = c.plans[f.Plan]; plan == nil {
			c.statementf(r.idx, "data: plan %.8s… is not stored before it", f.Plan)
			c.torn = true
			d.lose()
		}
	}
	return c.records(r, d, del, plan, who.Epoch)
}

// after holds the checkpoint that a frame names against its own place.
func (c *checker) after(r *row, a *statement.After) {
	for i, sh := range c.book {
		if a.Origin != sha256.Sum256([]byte(sh.Origin)) {
			continue
		}
		before := uint64(r.idx)
		if end, ended := c.end(i); ended {
			before = min(before, end)
		}
		if a.Size > before-min(before, sh.First) {
			c.statementf(r.idx, "data: frame names a checkpoint of %d entries, and is itself entry %d", a.Size, uint64(r.idx)-sh.First)
		}
		return
	}
	c.statementf(r.idx, "data: frame names a checkpoint of a ledger (origin hash %.8s…) that is not here", a.Origin)
}

// follows checks number and predecessor of a frame.
func (d *stream) follows(r *row, who *statement.Identity, f *statement.Frame) error {
	seq := int64(f.Seq)
	if !d.some {
		switch {
		case seq > 0: // those before are lost, so there is nothing to compare prev with
			d.gap(0, seq-1, r.idx)
		case who.Epoch == 0 && !f.Prev.IsZero():
			return fmt.Errorf("first frame of the device names %.8s… before it", f.Prev)
		case who.Epoch > 0 && d.before != nil && d.before.known && f.Prev != d.before.id:
			return fmt.Errorf("first frame of epoch %d names %.8s… before it, the epoch before ended with %.8s…", who.Epoch, f.Prev, d.before.id)
		}
		return nil
	}
	switch {
	case seq <= d.seq:
		return fmt.Errorf("frame %d after frame %d of one key", seq, d.seq)
	case seq > d.seq+1:
		d.gap(d.seq+1, seq-1, r.idx)
	case f.Prev != d.id:
		if !d.known { // the row before is told of already, and here is what it was
			return nil
		}
		return fmt.Errorf("frame %d names %.8s… before it, stored is %.8s…", seq, f.Prev, d.id)
	}
	return nil
}

// gap notes frames that are not there. No trace goes on over them.
func (d *stream) gap(from, to, row int64) {
	d.holes, d.gapped = append(d.holes, hole{from, to, row}), true
	for _, t := range d.traces {
		t.broken = true
	}
}

// declared takes the frames that a frame declares lost off the holes; traces that
// they would have continued are broken from then on.
func (d *stream) declared(del *statement.Delivery) {
	for _, v := range del.Contents {
		h, ok := v.(*statement.Happening)
		if !ok || h.Type != statement.Gap || h.Seqs == nil {
			continue
		}
		from, to := int64(h.Seqs[0]), int64(h.Seqs[1])
		d.holes = slices.DeleteFunc(d.holes, func(o hole) bool { return from <= o.from && o.to <= to })
		if next := d.seq + 1; d.some && from <= next && next <= to && to < int64(del.Frame.Seq) {
			for _, t := range d.traces {
				t.broken = true
			}
		}
	}
}

// records derives traces and sightings from a frame's records.
func (c *checker) records(r *row, d *stream, del *store.Delivery, plan *statement.Plan, epoch uint64) error {
	span := del.Frame.Span
	blocks := map[string]int{}
	for i, v := range del.Contents {
		if v == nil {
			c.gone = append(c.gone, gone{r.idx, r.s.ID(), i, del.Leaves[i]})
			if err := c.keepSightings(r.idx, i); err != nil {
				return err
			}
		}
	}
	for i, v := range del.Contents {
		from, to := span[0], span[1]
		switch v := v.(type) {
		case *statement.Block:
			blocks[v.Channel] = i
			times := v.Times()
			from, to = times[0], times[len(times)-1]
			c.sum.Readings += uint64(len(times))
		case *statement.HeadRecord:
			at, held := blocks[v.Channel] // its form has been checked: else it was erased
			if !held {
				at = -1
			}
			err := c.block(r, d, del, plan, epoch, at, i)
			var fault faultError
			if errors.As(err, &fault) {
				c.statementf(r.idx, "extra: channel %s: %v", v.Channel, err)
			} else if err != nil {
				return err
			}
		case *statement.Sighting:
			from, to = v.First, v.Last
			kid := r.s.Header.KeyID
			if err := c.put("INSERT INTO want.sighting (epc, tid, idx, record, kid, antenna, first, last) VALUES ($1,$2,$3,$4,$5,$6,$7,$8)",
				v.EPC, v.TID, r.idx, i, kid[:], v.Antenna, v.First, v.Last); err != nil {
				return err
			}
		case *statement.Happening:
			from, to = v.At, v.At
		}
		if from < span[0] || to > span[1] {
			c.statementf(r.idx, "extra: record %d spans [%d, %d] ms outside the frame's %v", i, from, to, span)
		}
	}
	return nil
}

// keepSightings takes the sightings of a row that cannot be read, or of one
// record (−1: all), as they are stored: there is nothing to compare them
// with.
func (c *checker) keepSightings(idx int64, record int) error {
	return c.put("INSERT INTO want.sighting (epc, tid, idx, record, kid, antenna, first, last) "+
		"SELECT epc, tid, idx, record, kid, antenna, first, last FROM main.sighting WHERE idx = $1 AND ($2 < 0 OR record = $2)", idx, record)
}

// put writes to the scratch database.
func (c *checker) put(q string, args ...any) error {
	if _, err := c.conn.ExecContext(c.ctx, q, args...); err != nil {
		return fmt.Errorf("scratch database: %w", err)
	}
	return nil
}

// heads puts each key's head and traces into the scratch database, and tells of
// frames that nobody declared lost.
func (c *checker) heads() error {
	for kid, d := range c.devices {
		for _, h := range d.holes {
			c.statementf(h.row, "data: frames %d to %d before it are missing, and no frame declares them lost", h.from, h.to)
		}
		for _, t := range d.all {
			if err := c.putTrace(kid, t); err != nil {
				return err
			}
		}
		if !d.some {
			continue
		}
		if !d.known { // its columns alone are left of the newest frame
			if err := c.put("INSERT INTO want.head SELECT * FROM main.head WHERE kid = $1", kid[:]); err != nil {
				return err
			}
			continue
		}
		if err := c.put("INSERT INTO want.head (kid, epoch, seq, id, idx, at, t1, checked) VALUES ($1,$2,$3,$4,$5,$6,$7,$8)",
			kid[:], d.epoch, d.seq, d.id[:], d.idx, d.received, d.t1, d.checked); err != nil {
			return err
		}
	}
	// Rows of keys whose every statement is unreadable have nothing to be held against.
	for kid := range c.unknown {
		for _, q := range []string{
			"INSERT OR IGNORE INTO want.head SELECT * FROM main.head WHERE kid = $1",
			"INSERT OR IGNORE INTO want.trace SELECT * FROM main.trace WHERE kid = $1",
			"INSERT OR IGNORE INTO want.leaf SELECT * FROM main.leaf WHERE trace IN (SELECT id FROM main.trace WHERE kid = $1)",
			"INSERT OR IGNORE INTO want.node SELECT * FROM main.node WHERE trace IN (SELECT id FROM main.trace WHERE kid = $1)",
		} {
			if err := c.put(q, kid[:]); err != nil {
				return err
			}
		}
	}
	return nil
}

// lose says that blocks of every trace of a key may be missing from here on.
func (d *stream) lose() {
	for _, t := range d.traces {
		t.lost = true
	}
}
