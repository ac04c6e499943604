package passport

import (
	"errors"
	"slices"

	"trailmark/statement"
	"trailmark/trace"
)

// strand is a verified trail: one trace of one channel over one leg's window.
type strand struct {
	start  trace.Start
	spec   trace.Spec
	head   trace.Head
	frame  *statement.Frame
	anchor *AnchorClaim
	digest trace.Digest
	a, b   uint64
}

// trails verifies every trail and matches them with what the plans list for the
// legs; what is listed and not shown is withheld.
func (c *check) trails() error {
	used := make([]bool, len(c.p.Trails))
	for i := range c.v.Legs {
		leg := &c.v.Legs[i]
		listed := c.listed(leg)
		for _, ch := range listed {
			var strands []strand
			for t, trail := range c.p.Trails {
				if trail.Zone != leg.Zone || trail.Device != ch.Device || trail.Channel != ch.Name {
					continue
				}
				s, overlaps, err := c.trail(t, leg)
				if err != nil {
					return err
				}
				if overlaps {
					used[t] = true
					strands = append(strands, s)
				}
			}
			if err := c.join(i, ch, strands); err != nil {
				return err
			}
		}
		if len(leg.Channels) == 0 || len(leg.Channels) < len(listed) {
			c.v.Unmeasured += leg.To - leg.From // a channel that is not shown measured nothing
		} else {
			c.v.Unmeasured += worst(leg.Channels)
		}
	}
	for t, ok := range used {
		if !ok {
			return refuse(CodeTrace, "trail %d belongs to no leg", t)
		}
	}
	for _, d := range c.devices {
		c.v.Devices = append(c.v.Devices, *d)
	}
	slices.SortFunc(c.v.Devices, func(a, b DeviceFacts) int { return slices.Compare(a.KeyID[:], b.KeyID[:]) })
	return nil
}

func worst(channels []ChannelFacts) (ms int64) {
	for _, ch := range channels {
		ms = max(ms, ch.Unmeasured)
	}
	return ms
}

// listed are the channels that any plan in force during the leg gives its zone.
func (c *check) listed(leg *Leg) []statement.Channel {
	var out []statement.Channel
	for _, s := range c.sightings {
		if !s.in(leg) || s.Last < leg.From || s.First > leg.To {
			continue
		}
		for _, ch := range s.zone.Channels {
			if !slices.ContainsFunc(out, func(o statement.Channel) bool { return o.Device == ch.Device && o.Name == ch.Name }) {
				out = append(out, ch)
			}
		}
	}
	return out
}

// record is a disclosed record that a trail names.
func (c *check) record(r Ref) (*proven, *statement.HeadRecord, error) {
	if r.Evidence >= uint64(len(c.evidence)) {
		return nil, nil, refuse(CodeTrace, "trail names statement %d of %d", r.Evidence, len(c.evidence))
	}
	e := &c.evidence[r.Evidence]
	h, ok := e.records[r.Record].(*statement.HeadRecord)
	if !ok {
		return nil, nil, refuse(CodeTrace, "statement %d does not show a head as record %d", r.Evidence, r.Record)
	}
	return e, h, nil
}

// trail verifies one trail over a leg's window; it reports false when the trail
// is of another stay in the same zone.
func (c *check) trail(i int, leg *Leg) (strand, bool, error) {
	t := c.p.Trails[i]
	e, h, err := c.record(t.Head)
	if err != nil {
		return strand{}, false, err
	}
	if e.s.Header.KeyID != t.Device || h.Channel != t.Channel {
		return strand{}, false, refuse(CodeTrace, "trail %d is headed by another channel", i)
	}
	start, err := trace.ParseStart(t.Start)
	if err != nil {
		return strand{}, false, refuse(CodeTrace, "trail %d: %w", i, err)
	}
	if start.Hash() != h.Head.Start || start.Channel != t.Channel || start.Epoch != e.id.Epoch {
		return strand{}, false, refuse(CodeTrace, "trail %d: its start is not the one the head names", i)
	}
	if start.Basis != trace.Wall {
		return strand{}, false, refuse(CodeTrace, "trail %d is on a clock that was not set", i)
	}
	spec, ok := c.spec(t.Device, t.Channel, start.Plan)
	if !ok {
		return strand{}, false, refuse(CodePlan, "trail %d: no plan shown has the channel's entry %.8s…", i, start.Plan)
	}
	inside, err := t.Range.Verify(spec, h.Head)
	if err != nil {
		return strand{}, false, refuse(CodeRange, "trail %d: %w", i, err)
	}
	to := max(leg.To, leg.From+1) // an item seen for a moment was there for a millisecond
	if inside.T1 <= leg.From || inside.T0 >= to {
		return strand{}, false, nil
	}
	if _, err := t.Range.VerifyWindow(spec, h.Head, leg.From, to); errors.Is(err, trace.ErrWindow) {
		return strand{}, false, refuse(CodeWindow, "trail %d: %w", i, err)
	} else if err != nil {
		return strand{}, false, refuse(CodeRange, "trail %d: %w", i, err)
	}
	for _, o := range t.Older {
		oe, oh, err := c.record(Ref{Evidence: o.Evidence, Record: o.Record})
		if err != nil {
			return strand{}, false, err
		}
		if oe.s.Header.KeyID != t.Device || oh.Channel != t.Channel {
			return strand{}, false, refuse(CodeConsistency, "trail %d: an older head is of another channel", i)
		}
		if err := trace.VerifyConsistency(spec, oh.Head, h.Head, o.Proof); err != nil {
			return strand{}, false, refuse(CodeConsistency, "trail %d: %w", i, err)
		}
	}
	return strand{start, spec, h.Head, e.frame, c.heads[e.head].anchor, inside, t.Range.A, t.Range.B}, true, nil
}

// spec finds the plan entry that a trace was begun under.
func (c *check) spec(device statement.Hash, channel string, entry statement.Hash) (trace.Spec, bool) {
	for _, p := range c.plans {
		if _, ch, ok := p.Channel(device, channel); ok && ch.Hash() == entry {
			return ch.Spec(), true
		}
	}
	return trace.Spec{}, false
}

// join puts the strands of one channel together over a leg and notes what is
// withheld: before the first, between two, or after the last.
func (c *check) join(at int, ch statement.Channel, strands []strand) error {
	leg := &c.v.Legs[at]
	withhold := func(from, to int64) {
		c.v.Withheld = append(c.v.Withheld, Withheld{Leg: at, Device: ch.Device, Channel: ch.Name, From: from, To: to})
	}
	if len(strands) == 0 {
		withhold(leg.From, leg.To)
		return nil
	}
	slices.SortFunc(strands, func(a, b strand) int { return int(min(max(a.digest.T0-b.digest.T0, -1), 1)) })
	first, last := strands[0], strands[len(strands)-1]
	if first.a == 0 && first.start.PrevSize > 0 && first.digest.T0 > leg.From {
		withhold(leg.From, first.digest.T0) // a trace before this one may reach into the leg
	}
	for i := 1; i < len(strands); i++ {
		l, r := strands[i-1], strands[i]
		if r.start.PrevStart != l.head.Start || r.start.PrevSize != l.head.Size || r.start.PrevRoot != l.head.Root {
			withhold(l.digest.T1, r.digest.T0)
		}
	}
	// A head signed before the leg's end says nothing of what came after it.
	if last.frame.Span[1] < leg.To {
		withhold(last.frame.Span[1], leg.To)
	}
	f := ChannelFacts{Device: ch.Device, Channel: ch.Name, Unit: ch.Unit, Closeness: ch.Closeness, Digest: first.digest, Blocks: first.b - first.a}
	limits := first.spec.Limits
	for _, s := range strands[1:] {
		if !slices.Equal(s.spec.Limits, limits) {
			// The site changed the limits during the leg: times beyond them do not
			// add up, so only the extremes judge it.
			limits, f.Digest.Limits, s.digest.Limits = nil, nil, nil
		}
		d, err := trace.Merge(f.Digest, s.digest)
		if err != nil {
			return refuse(CodeTrace, "channel %s: %w", ch.Name, err)
		}
		f.Digest, f.Blocks = d, f.Blocks+s.b-s.a
	}
	d := f.Digest
	f.Min, f.Max, f.Mean = d.Min, d.Max, d.Mean()
	if ch.Unit == "Cel" && d.Kin > 0 {
		mkt := d.MeanKinetic()
		f.MKT = &mkt
	}
	for i, l := range limits {
		f.Limits = append(f.Limits, LimitFacts{l, d.Limits[i].Total, d.Limits[i].Longest})
	}
	f.Unmeasured = d.Uncovered() + max(0, d.T0-leg.From) + max(0, leg.To-d.T1)
	if a := last.anchor; a != nil {
		f.Late = a.Time - last.frame.Span[1]
	}
	leg.Channels = append(leg.Channels, f)
	return nil
}

// judge applies the brand's rule to the legs.
func (c *check) judge() {
	v := c.v
	v.Product = c.product
	if v.Product == nil || len(v.Legs) == 0 {
		return
	}
	v.Outcome = Kept
	for _, crit := range v.Product.Rule {
		var total int64
		exact := true
		for i, leg := range v.Legs {
			var single, cumulative int64
			for _, ch := range leg.Channels {
				if ch.Unit != crit.Unit {
					continue
				}
				t, longest, known := beyond(crit.Limit, ch)
				exact = exact && known
				single, cumulative = max(single, longest), max(cumulative, t)
			}
			total += cumulative
			if crit.Kind == statement.Single && breaks(single, crit.For) {
				v.Broken = append(v.Broken, Breach{crit, i, single, exact})
			}
		}
		if crit.Kind == statement.Cumulative && breaks(total, crit.For) {
			v.Broken = append(v.Broken, Breach{crit, -1, total, exact})
		}
	}
	switch {
	case len(v.Broken) > 0:
		v.Outcome = Beyond
	case len(v.Withheld) > 0 || v.Conflicts > 0 || v.unjudgeable() >= 0:
		v.Outcome = Incomplete
	}
}

func breaks(beyond, allowed int64) bool { return beyond > 0 && beyond >= allowed }

// unjudgeable is the first leg where no channel measured what a criterion of the
// rule is about, −1: none. Humidity says nothing of a limit in °C.
func (v *Verdict) unjudgeable() int {
	for i, leg := range v.Legs {
		for _, crit := range v.Product.Rule {
			if !slices.ContainsFunc(leg.Channels, func(ch ChannelFacts) bool { return ch.Unit == crit.Unit }) {
				return i
			}
		}
	}
	return -1
}

// beyond is the time a channel spent beyond a limit. When the plan did not have
// that limit only the extremes are known: then it is none, or the whole.
func beyond(limit trace.Limit, ch ChannelFacts) (total, longest int64, known bool) {
	for _, l := range ch.Limits {
		if l.Limit == limit {
			return l.Total, l.Longest, true
		}
	}
	if limit.Beyond(ch.Min) || limit.Beyond(ch.Max) {
		return ch.Digest.Span(), ch.Digest.Span(), false
	}
	return 0, 0, true
}
