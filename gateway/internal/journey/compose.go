package journey

import (
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
	*request
	audit  bool
	most   int // sightings, and trails
	d      passport.Draft
	listed map[statement.Hash]bool        // keys whose channels the plans in force list
	older  map[place]store.Anchor         // those that cover a head or bound a time
	shown  map[statement.Hash][][2]uint64 // blocks [a, b) that trails are of, by their traces' starts

	history
	signers map[statement.Hash]bool // keys that signed events and changes of custody
	parties map[string]bool         // whom those name
}

// place is a ledger, by its place in books, and a size of it.
type place struct {
	book int
	size uint64
}

// at is the place of a row, which is below limit.
func (r *request) at(row uint64) passport.Place {
	n := len(r.books) - 1
	for n > 0 && r.books[n].first > row {
		n--
	}
	return passport.Place{Ledger: uint64(n), Index: row - r.books[n].first}
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

func (b *builder) compose() (*passport.Passport, error) {
	if err := b.sitePlans(); err != nil {
		return nil, err
	}
	if err := b.revocations(); err != nil {
		return nil, err
	}
	if err := b.follow(); err != nil {
		return nil, err
	}
	sightings, err := b.seen()
	if err != nil {
		return nil, err
	}
	if len(sightings) == 0 && len(b.lives[b.item]) == 0 && len(b.handovers) == 0 {
		return nil, ErrNotYet
	}
	used := map[statement.Hash]bool{}
	shown := spread(thin(sightings, b.reRead), b.most)
	if over := len(shown) - b.most; over > 0 {
		// More stays than there is room for. The first and the newest: of those between nobody may seem to have been
		// somewhere all along, and there a verifier says that nobody was looking.
		b.c.log.WarnContext(b.ctx, "sightings are left out", "item", b.item, "left out", over, "shown", b.most)
		shown = append(shown[:1:1], shown[over+1:]...)
	}
	stays, err := b.stays(shown, used)
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

// maxTrails bounds the trails, as the format does.
const maxTrails = 256

// visit is a sighting with the zone that the plan in force gives its antenna.
type visit struct {
	store.Sighting
	plan  statement.Hash // zeros: none in force lists the antenna
	zone  statement.Zone
	after *statement.After
}

// stays shows the sightings and groups them by the zones that the plans in force
// give them.
func (b *builder) stays(sightings []store.Sighting, used map[statement.Hash]bool) ([]stay, error) {
	indexes := make([]uint64, len(sightings))
	for i, s := range sightings {
		indexes[i] = s.Index
	}
	if err := b.load(indexes); err != nil {
		return nil, err
	}
	var stays []stay
	for _, s := range sightings {
		v, ok, err := b.visit(s)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if _, err := b.record(v.Index, v.Record); err != nil {
			return nil, err
		}
		if v.plan.IsZero() {
			continue
		}
		used[v.plan] = true
		before := len(stays)
		if stays = b.extend(stays, v); len(stays) == before {
			continue
		}
		if a := v.after; a != nil && a.ChainID != "" { // the leg is not older than this block
			if err := b.naming(a.ChainID, a.Height); err != nil {
				return nil, err
			}
		}
	}
	return stays, nil
}

// visit is where a sighting was; false where it counts for nothing: of a carrier,
// at a time that nobody knows.
func (b *builder) visit(s store.Sighting) (visit, bool, error) {
	d, err := b.frame(s.Index)
	if err != nil {
		return visit{}, false, err
	}
	v := visit{Sighting: s, after: d.Frame.After}
	if d.Frame.Basis() != trace.Wall {
		return v, b.carriers[string(s.EPC)] == "", nil
	}
	if plan, ok := b.plans[d.Frame.Plan]; ok {
		if id, _, ok := plan.Antenna(s.KeyID, s.Antenna); ok {
			v.plan = d.Frame.Plan
			v.zone, _ = plan.Zone(id)
		}
	}
	return v, true, nil
}

// extend puts a visit into the last stay if it was there.
func (b *builder) extend(stays []stay, v visit) []stay {
	site := b.plans[v.plan].site
	n := len(stays) - 1
	if n < 0 || stays[n].zone.ID != v.zone.ID || stays[n].site != site {
		return append(stays, stay{v.zone, site, v.First, v.Last})
	}
	last := &stays[n]
	last.to = max(last.to, v.Last)
	for _, ch := range v.zone.Channels { // channels that a newer plan added
		if !slices.ContainsFunc(last.zone.Channels, func(o statement.Channel) bool { return o.Device == ch.Device && o.Name == ch.Name }) {
			last.zone.Channels = append(slices.Clip(last.zone.Channels), ch)
		}
	}
	return stays
}

// trails adds the range proofs of one channel over one stay.
func (b *builder) trails(st stay, ch statement.Channel, used map[statement.Hash]bool) error {
	if b.d.Trails() >= min(b.c.room.trails, b.most) {
		return nil // a verifier says that it is withheld
	}
	traces, err := b.c.store.Overlapping(b.ctx, ch.Device, ch.Name, st.from, st.to)
	if err != nil {
		return err
	}
	traces = slices.DeleteFunc(traces, func(t store.Trace) bool { return t.Start.Basis != trace.Wall || t.Start.Plan.IsZero() })
	for i, t := range traces {
		if b.d.Trails() == b.c.room.trails {
			break
		}
		from, to, err := b.c.store.Window(b.ctx, t.ID, st.from, st.to, b.below(t.KeyID))
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
		moments, err := b.moments(t, from.N, to.N+1)
		if err != nil {
			return err
		}
		for _, m := range moments {
			cuts = append(cuts, m.size)
		}
		if out.Range, err = trace.Prove(b.c.store.Nodes(b.ctx, t.ID), head.N+1, from.N, to.N+1, cuts...); err != nil {
			return err
		}
		last := len(marks) - 1
		b.d.Trail(out, marks[last], marks[:last]...)
		for _, m := range moments {
			b.d.Moment(m.of, m.nth)
		}
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
		return b.c.store.LastLeaf(b.ctx, t.ID, b.below(t.KeyID))
	}
	f, err := b.frame(to.Index)
	if err != nil || f.Frame.Span[1] >= st.to {
		return to, err
	}
	next, err := b.c.store.FirstLeaf(b.ctx, t.ID, to.T1, b.below(t.KeyID))
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
		next, err := b.c.store.FirstLeaf(b.ctx, t.ID, max(l.T1, st.from)+every, b.below(t.KeyID))
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
