package journey

import (
	"context"
	"errors"
	"slices"

	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/passport"
	"trailmark/statement"
	"trailmark/trace"
)

// builder collects one passport. It belongs to one goroutine.
type builder struct {
	c      *Composer
	ctx    context.Context
	books  []book // by the number that places have while the passport is in the making
	limit  uint64 // rows below are anchored
	audit  bool
	d      passport.Draft
	plans  map[statement.Hash]sitePlan
	frames map[uint64]*store.Delivery     // by row
	listed map[statement.Hash]bool        // keys whose channels the plans in force list
	older  map[place]store.Anchor         // those that cover a head or bound a time
	shown  map[statement.Hash][][2]uint64 // blocks [a, b) that trails are of, by their traces' starts
}

// place is a ledger, by its place in books, and a size of it.
type place struct {
	book int
	size uint64
}

// at is the place of a row, which is below limit.
func (b *builder) at(row uint64) passport.Place {
	n := len(b.books) - 1
	for n > 0 && b.books[n].first > row {
		n--
	}
	return passport.Place{Ledger: uint64(n), Index: row - b.books[n].first}
}

// sitePlan is a plan and who signed it.
type sitePlan struct {
	*statement.Plan
	site string
}

// stay is a run of sightings in one zone of one site.
type stay struct {
	zone     statement.Zone
	site     string // the plan's issuer
	from, to int64
}

func (b *builder) compose(sightings []store.Sighting) (*passport.Passport, error) {
	var err error
	if b.plans, err = b.sitePlans(); err != nil {
		return nil, err
	}
	b.shown, b.listed = map[statement.Hash][][2]uint64{}, map[statement.Hash]bool{}
	used := map[statement.Hash]bool{}
	stays, err := b.stays(thin(sightings, b.reRead), used)
	if err != nil {
		return nil, err
	}
	for _, st := range stays {
		st.to = max(st.to, st.from+1) // an instant between two blocks still has a millisecond
		for _, ch := range st.zone.Channels {
			b.listed[ch.Device] = true
			if err := b.trails(st, ch, used); err != nil {
				return nil, err
			}
		}
	}
	if err := b.basis(used); err != nil {
		return nil, err
	}
	ledgers, err := b.ledgers()
	if err != nil {
		return nil, err
	}
	return b.d.Finish(ledgers...)
}

// reRead is how long a tag may be out of sight of an antenna by the strictest of
// the plans that list it, in ms.
func (b *builder) reRead(s store.Sighting) (ms int64) {
	ms = -1
	for _, p := range b.plans {
		if id, _, ok := p.Antenna(s.KeyID, s.Antenna); ok {
			if z, _ := p.Zone(id); ms < 0 || z.ReRead < ms {
				ms = z.ReRead
			}
		}
	}
	return ms
}

// stays shows the sightings and groups them by the zones that the plans in force
// give them.
func (b *builder) stays(sightings []store.Sighting, used map[statement.Hash]bool) ([]stay, error) {
	var stays []stay
	for _, s := range sightings {
		if _, err := b.record(s.Index, s.Record); err != nil {
			return nil, err
		}
		f := b.frames[s.Index].Frame
		plan, ok := b.plans[f.Plan]
		if !ok || f.Basis() != trace.Wall {
			continue
		}
		used[f.Plan] = true
		id, _, ok := plan.Antenna(s.KeyID, s.Antenna)
		if !ok {
			continue
		}
		zone, _ := plan.Zone(id)
		if n := len(stays); n > 0 && stays[n-1].zone.ID == id && stays[n-1].site == plan.site {
			stays[n-1].to = max(stays[n-1].to, s.Last)
			for _, ch := range zone.Channels { // channels that a newer plan added
				if !slices.ContainsFunc(stays[n-1].zone.Channels, func(o statement.Channel) bool { return o.Device == ch.Device && o.Name == ch.Name }) {
					stays[n-1].zone.Channels = append(slices.Clip(stays[n-1].zone.Channels), ch)
				}
			}
			continue
		}
		stays = append(stays, stay{zone, plan.site, s.First, s.Last})
		if a := f.After; a != nil && a.ChainID != "" { // the leg is not older than this block
			if err := b.naming(a.ChainID, a.Height); err != nil {
				return nil, err
			}
		}
	}
	return stays, nil
}

// sitePlans are all plans that are anchored.
func (b *builder) sitePlans() (map[statement.Hash]sitePlan, error) {
	rows, err := b.c.store.Kind(b.ctx, statement.KindPlan)
	if err != nil {
		return nil, err
	}
	out := map[statement.Hash]sitePlan{}
	for _, row := range rows {
		s, err := statement.Parse(row.Data)
		if err != nil {
			return nil, err
		}
		p, err := s.Plan()
		if err != nil {
			return nil, err
		}
		if row.Index < b.limit {
			out[row.ID] = sitePlan{p, s.Header.Issuer}
		}
	}
	return out, nil
}

// trails adds the range proofs of one channel over one stay.
func (b *builder) trails(st stay, ch statement.Channel, used map[statement.Hash]bool) error {
	traces, err := b.c.store.Overlapping(b.ctx, ch.Device, ch.Name, st.from, st.to)
	if err != nil {
		return err
	}
	traces = slices.DeleteFunc(traces, func(t store.Trace) bool { return t.Start.Basis != trace.Wall || t.Start.Plan.IsZero() })
	for i, t := range traces {
		from, to, err := b.c.store.Window(b.ctx, t.ID, st.from, st.to, b.limit)
		if errors.Is(err, store.ErrNotFound) {
			continue // not anchored yet
		} else if err != nil {
			return err
		}
		head, err := b.last(t, to, st, i == len(traces)-1)
		if err != nil {
			return err
		}
		older, err := b.heads(t, from, head, st)
		if err != nil {
			return err
		}
		var cuts []uint64
		var marks []passport.Mark
		for _, l := range append(older, head) {
			m, err := b.record(l.Index, l.Head)
			if err != nil {
				return err
			}
			if err := b.covering(l.Index); err != nil {
				return err
			}
			cuts, marks = append(cuts, l.N+1), append(marks, m)
		}
		out := passport.Trail{Zone: st.zone.ID, Device: ch.Device, Channel: ch.Name, Start: dcbor.MustMarshal(t.Start)}
		if b.audit {
			if out.Runs, err = b.runs(t.ID, from.N, to.N+1, ch.Name); err != nil {
				return err
			}
			for _, r := range out.Runs {
				cuts = append(cuts, r.First, r.First+uint64(len(r.Records)))
			}
		}
		if out.Range, err = trace.Prove(b.c.store.Nodes(b.ctx, t.ID), head.N+1, from.N, to.N+1, cuts...); err != nil {
			return err
		}
		last := len(marks) - 1
		b.d.Trail(out, marks[last], marks[:last]...)
		b.shown[t.Start.Hash()] = append(b.shown[t.Start.Hash()], [2]uint64{from.N, to.N + 1})
		for id, p := range b.plans { // the plan that the trace was begun under
			if _, entry, ok := p.Channel(ch.Device, ch.Name); ok && entry.Hash() == t.Start.Plan && !b.lists(used, ch, t.Start.Plan) {
				used[id] = true
			}
		}
	}
	return nil
}

// last is the block whose head the trail is proven against: the first one that
// was signed at or after the stay's end. Of a trace that another follows within
// the stay it is the trace's last.
func (b *builder) last(t store.Trace, to store.Leaf, st stay, newest bool) (store.Leaf, error) {
	if !newest {
		return b.c.store.LastLeaf(b.ctx, t.ID, b.limit)
	}
	f, err := b.frame(to.Index)
	if err != nil || f.Frame.Span[1] >= st.to {
		return to, err
	}
	next, err := b.c.store.FirstLeaf(b.ctx, t.ID, to.T1, b.limit)
	if errors.Is(err, store.ErrNotFound) {
		return to, nil
	}
	return next, err
}

// heads are the blocks whose heads are shown besides: at the stay's start and
// at least every week (audit: day) from there, before the last.
func (b *builder) heads(t store.Trace, from, last store.Leaf, st stay) (out []store.Leaf, err error) {
	every := int64(week)
	if b.audit {
		every = day
	}
	for l := from; l.N < last.N; {
		out = append(out, l)
		next, err := b.c.store.FirstLeaf(b.ctx, t.ID, max(l.T1, st.from)+every, b.limit)
		if errors.Is(err, store.ErrNotFound) {
			break
		} else if err != nil {
			return nil, err
		}
		if next.T1 > max(l.T1, st.from)+every && next.N > l.N+1 { // not further apart than that
			if prev, err := b.c.store.Leaves(b.ctx, t.ID, next.N-1, next.N); err != nil {
				return nil, err
			} else if len(prev) == 1 {
				next = prev[0]
			}
		}
		l = next
	}
	return out, nil
}

// runs are the blocks [from, to) of a trace, whole.
func (b *builder) runs(traceID int64, from, to uint64, channel string) (out []passport.Run, err error) {
	leaves, err := b.c.store.Leaves(b.ctx, traceID, from, to)
	if err != nil {
		return nil, err
	}
	for _, l := range leaves {
		row, err := b.c.store.Statement(b.ctx, l.Index)
		if err != nil {
			return nil, err
		}
		d, err := row.Delivery()
		if err != nil {
			return nil, err
		}
		data, ok := blockOf(d, channel)
		if !ok {
			continue // erased
		}
		n := len(out)
		if n > 0 && out[n-1].First+uint64(len(out[n-1].Records)) == l.N && len(out[n-1].Records) < passport.MaxRun {
			out[n-1].Records = append(out[n-1].Records, data)
		} else {
			out = append(out, passport.Run{First: l.N, Records: [][]byte{data}})
		}
	}
	return out, nil
}

// blockOf is the encoded block record of a channel in a frame, if it is held.
func blockOf(d *store.Delivery, channel string) ([]byte, bool) {
	for i, v := range d.Contents {
		if block, ok := v.(*statement.Block); ok && block.Channel == channel {
			return d.Records[i], true
		}
	}
	return nil, false
}

// lists reports whether a plan that is shown already has the channel's entry.
func (b *builder) lists(used map[statement.Hash]bool, ch statement.Channel, entry statement.Hash) bool {
	for id := range used {
		if _, e, ok := b.plans[id].Channel(ch.Device, ch.Name); ok && e.Hash() == entry {
			return true
		}
	}
	return false
}

// frame loads the frame in a row.
func (b *builder) frame(index uint64) (*store.Delivery, error) {
	if f, ok := b.frames[index]; ok {
		return f, nil
	}
	row, err := b.c.store.Statement(b.ctx, index)
	if err != nil {
		return nil, err
	}
	f, err := row.Delivery()
	if err != nil {
		return nil, err
	}
	b.frames[index] = f
	return f, nil
}

// record shows one record of a frame.
func (b *builder) record(index uint64, record int) (passport.Mark, error) {
	m := passport.Mark{Place: b.at(index), Record: uint64(record)}
	f, err := b.frame(index)
	if err != nil {
		return m, err
	}
	b.d.Add(m.Place, f.Statement.Bytes())
	b.d.Show(m, f.Records[record], f.Leaves)
	return m, nil
}
