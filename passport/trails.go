package passport

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"

	"trailmark/statement"
	"trailmark/trace"
)

// strand is a verified trail: one trace of one channel over one leg's window.
type strand struct {
	start    trace.Start
	spec     trace.Spec
	head     trace.Head
	from     *proven // the frame of the head
	heads    []HeadFacts
	digest   trace.Digest
	a, b     uint64
	shown    uint64
	erased   uint64
	readings []Reading
	parts    []part // by custodian
}

// trails verifies every trail and matches them with what the plans list for the
// legs; what is listed and not shown is withheld.
func (c *check) trails() error {
	used := make([]bool, len(c.p.Trails))
	for i := range c.v.Legs {
		leg := &c.v.Legs[i]
		listed := c.listed(c.stays[i])
		for _, ch := range listed {
			var strands []strand
			for t := range c.p.Trails {
				trail := &c.p.Trails[t]
				if trail.Zone != leg.Zone || c.quantity(trail.Device, trail.Channel) != c.quantity(ch.Device, ch.Name) {
					continue
				}
				s, err := c.trail(t, leg)
				if err != nil {
					return err
				}
				if s != nil {
					used[t] = true
					strands = append(strands, *s)
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

// head is a disclosed head of a trail's channel.
func (c *check) head(t *Trail, r Ref) (*proven, *statement.HeadRecord, error) {
	if r.Evidence >= uint64(len(c.evidence)) {
		return nil, nil, fmt.Errorf("statement %d of %d", r.Evidence, len(c.evidence))
	}
	e := &c.evidence[r.Evidence]
	h, ok := e.records[r.Record].(*statement.HeadRecord)
	if !ok {
		return nil, nil, fmt.Errorf("statement %d does not show a head as record %d", r.Evidence, r.Record)
	}
	if e.s.Header.KeyID != t.Device || h.Channel != t.Channel {
		return nil, nil, fmt.Errorf("record %d of statement %d is the head of another channel", r.Record, r.Evidence)
	}
	return e, h, nil
}

// trail verifies one trail over a leg's window; it is nil when the trail is of
// another stay in the same zone.
func (c *check) trail(i int, leg *Leg) (*strand, error) {
	t := &c.p.Trails[i]
	e, h, err := c.head(t, t.Head)
	if err != nil {
		return nil, refuse(CodeTrace, "trail %d: %w", i, err)
	}
	start, err := trace.ParseStart(t.Start)
	if err != nil {
		return nil, refuse(CodeTrace, "trail %d: %w", i, err)
	}
	if start.Hash() != h.Head.Start || start.Channel != t.Channel || start.Epoch != e.id.Epoch {
		return nil, refuse(CodeTrace, "trail %d: its start is not the one the head names", i)
	}
	if start.Basis != trace.Wall {
		return nil, refuse(CodeTrace, "trail %d is on a clock that was not set", i)
	}
	spec, ok := c.spec(t.Device, t.Channel, start.Plan)
	if !ok {
		return nil, refuse(CodePlan, "trail %d: no plan shown has the channel's entry %.8s…", i, start.Plan)
	}
	older, cuts, err := c.older(t, h.Head.Size)
	if err != nil {
		return nil, refuse(CodeConsistency, "trail %d: %w", i, err)
	}
	moments, err := c.moments(t, h.Head.Start)
	if err != nil {
		return nil, refuse(CodeConsistency, "trail %d: %w", i, err)
	}
	for _, m := range moments {
		cuts = append(cuts, m.head.Size)
	}
	if cuts, err = runs(t, cuts); err != nil {
		return nil, refuse(CodeBlocks, "trail %d: %w", i, err)
	}
	open, err := t.Range.Open(spec, h.Head, cuts...)
	if err != nil {
		return nil, refuse(CodeRange, "trail %d: %w", i, err)
	}
	inside, err := open.Inside()
	if err != nil {
		return nil, refuse(CodeRange, "trail %d: %w", i, err)
	}
	to := max(leg.To, leg.From+1) // an item seen for a moment was there for a millisecond
	if inside.T1 <= leg.From || inside.T0 >= to {
		return nil, nil
	}
	if err := open.Window(leg.From, to); err != nil {
		return nil, refuse(CodeWindow, "trail %d: %w", i, err)
	}
	s := &strand{start: start, spec: spec, head: h.Head, from: e, digest: inside, a: t.Range.A, b: t.Range.B}
	for _, o := range append(older, headOf{e, h}) {
		if o.h != h {
			if err := open.Older(o.h.Head); err != nil {
				return nil, refuse(CodeConsistency, "trail %d: %w", i, err)
			}
		}
		s.heads = append(s.heads, HeadFacts{At: o.e.frame.Span[1], Size: o.h.Head.Size, Anchor: c.covering(o.e.place)})
	}
	for _, m := range moments {
		if err := open.Older(m.head); err != nil {
			return nil, refuse(CodeConsistency, "trail %d: moment at %d blocks: %w", i, m.head.Size, err)
		}
	}
	if s.parts, err = parts(open, t.Range.A, t.Range.B, moments); err != nil {
		return nil, refuse(CodeRange, "trail %d: %w", i, err)
	}
	if err := c.blocks(t, s, open, leg.PlanBy); err != nil {
		return nil, refuse(CodeBlocks, "trail %d: %w", i, err)
	}
	return s, nil
}

type headOf struct {
	e *proven
	h *statement.HeadRecord
}

// older are a trail's older heads and their sizes, which its proof is cut at.
func (c *check) older(t *Trail, size uint64) (heads []headOf, cuts []uint64, err error) {
	for _, r := range t.Older {
		e, h, err := c.head(t, r)
		if err != nil {
			return nil, nil, err
		}
		if n := h.Head.Size; n >= size || len(cuts) > 0 && n <= cuts[len(cuts)-1] {
			return nil, nil, fmt.Errorf("older head of %d blocks is not in order below %d", n, size)
		}
		heads, cuts = append(heads, headOf{e, h}), append(cuts, h.Head.Size)
	}
	return heads, cuts, nil
}

// runs adds the ends of the blocks that are shown to the cut points.
func runs(t *Trail, cuts []uint64) ([]uint64, error) {
	at := t.Range.A
	for _, r := range t.Runs {
		end := r.First + uint64(len(r.Records))
		if r.First < at || end > t.Range.B {
			return nil, fmt.Errorf("blocks [%d, %d) are out of order or beyond [%d, %d)", r.First, end, t.Range.A, t.Range.B)
		}
		cuts, at = append(cuts, r.First, end), end
	}
	return cuts, nil
}

// blocks checks the blocks that are shown whole, and counts those that the site
// erased.
func (c *check) blocks(t *Trail, s *strand, open *trace.Opened, by string) error {
	shown := map[uint64]bool{}
	for _, r := range t.Runs {
		leaves := make([]trace.Leaf, len(r.Records))
		for i, data := range r.Records {
			rec, err := statement.ParseRecord(data)
			if err != nil {
				return err
			}
			body, err := statement.Body{Kind: rec.Kind, Data: rec.Body}.Decode()
			if err != nil {
				return err
			}
			b, ok := body.(*statement.Block)
			if !ok || b.Channel != t.Channel {
				return fmt.Errorf("record %d of the run from %d is no block of the channel", i, r.First)
			}
			prev, times := int64(-1), b.Times()
			if b.Prev != nil {
				prev = *b.Prev
			}
			d, err := s.spec.Leaf(prev, times, b.Values)
			if err != nil {
				return err
			}
			leaves[i] = trace.Leaf{Record: sha256.Sum256(data), Digest: d}
			shown[r.First+uint64(i)] = true
			for j, at := range times {
				s.readings = append(s.readings, Reading{at, b.Values[j]})
			}
		}
		if err := open.Blocks(r.First, leaves); err != nil {
			return err
		}
	}
	s.shown = uint64(len(shown))
	for k := range c.erased {
		if k.by == by && k.start == s.head.Start && k.n >= s.a && k.n < s.b && !shown[k.n] {
			s.erased++
		}
	}
	return nil
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
	slices.SortStableFunc(strands, func(a, b strand) int { return cmp.Compare(a.digest.T0, b.digest.T0) })
	first, last := strands[0], strands[len(strands)-1]
	if first.a == 0 && (first.start.PrevSize > 0 || first.start.Epoch > 0) && first.digest.T0 > leg.From {
		withhold(leg.From, first.digest.T0) // a trace before this one, or of the epoch before, may reach into the leg
	}
	for i := 1; i < len(strands); i++ {
		l, r := strands[i-1], strands[i]
		if r.start.PrevStart != l.head.Start || r.start.PrevSize != l.head.Size || r.start.PrevRoot != l.head.Root {
			withhold(l.digest.T1, r.digest.T0)
		}
	}
	// A head signed before the leg's end says nothing of what came after it.
	if t1 := last.from.frame.Span[1]; t1 < leg.To {
		withhold(t1, leg.To)
	}
	c.stays[at].frames = append(c.stays[at].frames, last.from)
	f := ChannelFacts{Device: ch.Device, Channel: ch.Name, Unit: ch.Unit, Closeness: ch.Closeness, Digest: first.digest, Limits: []LimitFacts{}}
	limits := first.spec.Limits
	for i, s := range strands {
		f.Blocks, f.Shown, f.Erased = f.Blocks+s.b-s.a, f.Shown+s.shown, f.Erased+s.erased
		f.Heads, f.Readings = append(f.Heads, s.heads...), append(f.Readings, s.readings...)
		if i == 0 {
			continue
		}
		if !slices.Equal(s.spec.Limits, limits) {
			// The site changed the limits during the leg: times beyond them do not
			// add up, so only the extremes judge it.
			limits, f.Digest.Limits, s.digest.Limits = nil, nil, nil
		}
		d, err := trace.Merge(f.Digest, s.digest)
		if err != nil {
			return refuse(CodeTrace, "channel %s: %w", ch.Name, err)
		}
		f.Digest = d
	}
	d := f.Digest
	f.Min, f.Max, f.Mean = d.Min, d.Max, mean(d)
	if ch.Unit == "Cel" {
		f.MKT = mkt(d)
	}
	for i, l := range limits {
		f.Limits = append(f.Limits, LimitFacts{l, d.Limits[i].Total, d.Limits[i].Longest})
	}
	var err error
	if f.Custodians, err = c.custodians(leg, strands); err != nil {
		return refuse(CodeTrace, "channel %s: %w", ch.Name, err)
	}
	f.Unmeasured = d.Uncovered() + max(0, d.T0-leg.From) + max(0, leg.To-d.T1)
	f.lateness(leg)
	leg.Channels = append(leg.Channels, f)
	return nil
}

// lateness says how long after their time the channel's heads were anchored, and
// how long the leg went without a head.
func (f *ChannelFacts) lateness(leg *Leg) {
	slices.SortStableFunc(f.Heads, func(a, b HeadFacts) int { return cmp.Compare(a.At, b.At) })
	f.LateProof = Proven
	at, some := leg.From, false
	for _, h := range f.Heads {
		if reach := min(h.At, leg.To); reach > at {
			f.HeadGap, at = max(f.HeadGap, reach-at), reach
		}
		switch h.Anchor.Proof {
		case None:
			f.LateProof = None
			continue
		case Declared:
			if f.LateProof == Proven {
				f.LateProof = Declared
			}
		}
		if late := h.Anchor.Time - h.At; !some || late > f.Late {
			f.Late, some = late, true
		}
	}
	f.HeadGap = max(f.HeadGap, leg.To-at)
}
