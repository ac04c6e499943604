package passport

import (
	"cmp"
	"fmt"
	"slices"

	"trailmark/statement"
	"trailmark/trace"
)

// handover is a change of custody of the item.
type handover struct {
	*statement.Handover
	e      *proven
	n      uint64 // which evidence
	object string // the item, or the carrier it was handed over with
}

// acceptance is a taker's word.
type acceptance struct {
	*statement.Acceptance
	e *proven
	n uint64
}

// given is the item or the carrier of it at that time that a handover names.
func (h *history) given(objects []string, at int64) (string, bool) {
	if slices.Contains(objects, h.item) {
		return h.item, true
	}
	for _, w := range h.carriers {
		if w.from <= at && at < w.to && slices.Contains(objects, w.object) {
			return w.object, true
		}
	}
	return "", false
}

// custody puts the item's changes of custody in order and finds which the takers
// accepted.
func (c *check) custody() {
	h := &c.h
	own := h.handovers[:0:0]
	for _, x := range h.handovers {
		if o, ok := h.given(x.Objects, x.At); ok {
			x.object = o
			own = append(own, x)
		}
	}
	slices.SortStableFunc(own, func(a, b *handover) int { return cmp.Compare(a.At, b.At) })
	h.handovers = own
	for i, x := range own {
		giver := x.e.id.Subject
		f := CustodyFacts{At: x.At, From: giver, FromName: h.names[giver], To: x.To, ToName: h.names[x.To], Place: x.Place,
			Object: h.named(x.object), Anchor: c.covering(x.e.place)}
		h.transfers[x.n] = i
		for _, a := range h.acceptances {
			if a.Handover == x.e.s.ID() && a.e.id.Subject == x.To && a.From == giver && slices.Contains(a.Objects, x.object) {
				h.transfers[a.n] = i
				if !f.Accepted {
					f.Accepted, f.AcceptedAt = true, a.At
				}
			}
		}
		c.v.Custody = append(c.v.Custody, f)
		if i > 0 && own[i-1].To != giver {
			c.contradict(WrongGiver, x.At, x.object)
		}
	}
}

// holder is who has the item after so many handovers.
func (h *history) holder(after int) string {
	if after == 0 {
		return h.handovers[0].e.id.Subject
	}
	return h.handovers[after-1].To
}

// cut is a moment of a trail: the size of its trace, and which handover of the
// item it marks, −1: none.
type cut struct {
	head     trace.Head
	handover int
}

// moments are the moments of a trail, in order within its blocks.
func (c *check) moments(t *Trail, start statement.Hash) ([]cut, error) {
	var out []cut
	at := t.Range.A
	for _, r := range t.Moments {
		of := c.h.moments[r.Evidence]
		if r.Moment >= uint64(len(of)) {
			return nil, fmt.Errorf("statement %d has no moment %d", r.Evidence, r.Moment)
		}
		m := of[r.Moment]
		if m.Device != t.Device || m.Channel != t.Channel || m.Head.Start != start {
			return nil, fmt.Errorf("moment %d of statement %d is of another channel or trace", r.Moment, r.Evidence)
		}
		if m.Head.Size <= at || m.Head.Size > t.Range.B {
			return nil, fmt.Errorf("moment at %d blocks is not in order within (%d, %d]", m.Head.Size, at, t.Range.B)
		}
		at = m.Head.Size
		of1, known := c.h.transfers[r.Evidence]
		if !known {
			of1 = -1
		}
		out = append(out, cut{m.Head, of1})
	}
	return out, nil
}

// part is the digest of a trail's blocks up to a moment at which custody changed.
type part struct {
	digest   trace.Digest
	handover int // −1: the trail's end
}

// parts divides a trail's blocks at the moments of the item's handovers, each at
// the first of its moments.
func parts(open *trace.Opened, a, b uint64, cuts []cut) (out []part, err error) {
	seen := map[int]bool{-1: true}
	for _, x := range append(slices.Clone(cuts), cut{trace.Head{Size: b}, -2}) {
		if seen[x.handover] {
			continue
		}
		seen[x.handover] = true
		p := part{handover: max(x.handover, -1)}
		if a < x.head.Size {
			if p.digest, err = open.Between(a, x.head.Size); err != nil {
				return nil, err
			}
		}
		a = x.head.Size
		out = append(out, p)
	}
	return out, nil
}

// custodians says who answers for which part of a channel over a leg.
func (c *check) custodians(leg *Leg, strands []strand) ([]CustodianFacts, error) {
	h := &c.h
	if len(h.handovers) == 0 {
		return nil, nil
	}
	had := func(until int64) (n int) { // handovers before a time
		for n < len(h.handovers) && h.handovers[n].At < until {
			n++
		}
		return n
	}
	state := had(leg.From)
	for _, s := range strands {
		for _, p := range s.parts {
			if p.handover >= 0 {
				state = min(state, p.handover)
			}
		}
	}
	var out []CustodianFacts
	var sum trace.Digest
	var limits []trace.Limit
	some := false
	end := func(known bool) {
		if some {
			f := CustodianFacts{From: sum.T0, To: sum.T1, Covered: sum.Covered, Limits: []LimitFacts{}}
			if known {
				f.By = h.holder(state)
				f.ByName = h.names[f.By]
			}
			for i, l := range limits {
				f.Limits = append(f.Limits, LimitFacts{l, sum.Limits[i].Total, sum.Limits[i].Longest})
			}
			out = append(out, f)
		}
		some = false
	}
	for _, s := range strands {
		for _, p := range s.parts {
			if p.digest.Covered > 0 {
				if !some {
					sum, limits, some = p.digest, s.spec.Limits, true
				} else {
					if !slices.Equal(limits, s.spec.Limits) {
						limits, sum.Limits, p.digest.Limits = nil, nil, nil
					}
					var err error
					if sum, err = trace.Merge(sum, p.digest); err != nil {
						return nil, err
					}
				}
			}
			if p.handover >= 0 {
				end(p.handover == state)
				state = max(state, p.handover+1)
			}
		}
	}
	end(had(leg.To) <= state)
	return out, nil
}
