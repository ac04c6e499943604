package diversion

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"slices"

	"trailmark/gateway/internal/store"
	"trailmark/internal/epc"
	"trailmark/statement"
	"trailmark/trace"
)

const (
	always = 1 << 48 // ms, after every time
	// longest is how long one sighting can be: a frame is sealed hourly.
	longest = 3_600_000
)

// search is one step's look at what is new. It belongs to one goroutine.
type search struct {
	*Watch
	ctx   context.Context
	found []Finding
	plans map[statement.Hash]*plan    // nil: no plan
	heads map[uint64]*statement.Frame // by row
}

type plan struct {
	*statement.Plan
	site string
}

func newSearch(ctx context.Context, w *Watch) *search {
	return &search{Watch: w, ctx: ctx, plans: map[statement.Hash]*plan{}, heads: map[uint64]*statement.Frame{}}
}

// commissioned are objects that were given a number, and maybe a tag, in events
// from a row on.
func (w *Watch) commissioned(ctx context.Context, row int64) ([]epc.Object, int64, error) {
	names, next, err := w.Store.CommissionedFrom(ctx, row, uint64(statement.Commission), batch)
	var out []epc.Object
	for _, n := range names {
		if o, err := epc.ParseObject(n); err == nil {
			out = append(out, o)
		}
	}
	return out, next, err
}

// object searches the sightings of one object within a span of time, and those
// right before and after.
func (s *search) object(o epc.Object, span [2]int64) error {
	reach := s.Travel.Milliseconds() + longest
	near, err := s.Store.SightingsOf(s.ctx, o.Tags(), max(0, span[0]-reach), min(span[1]+reach, always), 1<<62)
	if err != nil || len(near) == 0 {
		return err
	}
	if err := s.tags(o, near); err != nil {
		return err
	}
	return s.places(o, near)
}

// tags finds tags other than the one that the object was commissioned on or, where
// nobody told, that was seen first.
func (s *search) tags(o epc.Object, near []store.Sighting) error {
	if !slices.ContainsFunc(near, func(x store.Sighting) bool { return x.TID != nil }) {
		return nil
	}
	told, err := s.told(o)
	if err != nil {
		return err
	}
	if told == nil {
		all, err := s.Store.SightingsOf(s.ctx, o.Tags(), 0, always, 1<<62)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(x store.Sighting) bool { return x.TID != nil })
		told = all[i].TID
	}
	seen := map[string]bool{}
	for _, x := range near {
		if x.TID != nil && !bytes.Equal(x.TID, told) && !seen[string(x.TID)] {
			seen[string(x.TID)] = true
			s.found = append(s.found, Finding{AnotherTag, o.URI(), x.First, Detail{Told: hex.EncodeToString(told), Seen: hex.EncodeToString(x.TID)}})
		}
	}
	return nil
}

// told is the TID that the object's last commissioning tells, nil for none.
func (s *search) told(o epc.Object) (tid []byte, err error) {
	places, err := s.Store.EventsOf(s.ctx, o.URI(), 1<<62)
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		if p.List != uint64(statement.ListItems) {
			continue
		}
		x, err := statement.ParseItem(p.Leaf)
		if err != nil {
			return nil, err
		}
		if x.TID != nil {
			tid = x.TID
		}
	}
	return tid, nil
}

// visit is a sighting in a zone.
type visit struct {
	store.Sighting
	*plan
	zone statement.Zone
}

// places finds an object that was in two sites in less time than the way takes, or
// in two zones of a site at once that are not neighbours.
func (s *search) places(o epc.Object, near []store.Sighting) error {
	var last []visit // of each zone the newest
	for _, x := range near {
		v, ok, err := s.visit(x)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		own := -1
		for i, was := range last {
			if was.site == v.site && was.zone.ID == v.zone.ID {
				own = i
				continue
			}
			least := s.Travel.Milliseconds()
			if was.site == v.site {
				if slices.Contains(was.zone.Neighbours, v.zone.ID) || slices.Contains(v.zone.Neighbours, was.zone.ID) {
					continue
				}
				least = 0
			}
			if took := v.First - was.Last; took < least {
				s.found = append(s.found, Finding{TooFar, o.URI(), v.First, Detail{From: &Place{was.site, was.zone.ID, was.Last},
					To: &Place{v.site, v.zone.ID, v.First}, Least: least, Took: took}})
			}
		}
		switch {
		case own < 0:
			last = append(last, v)
		case v.Last > last[own].Last:
			last[own] = v
		}
	}
	return nil
}

// visit places a sighting by the plan in force, or not at all.
func (s *search) visit(x store.Sighting) (v visit, ok bool, err error) {
	f, known := s.heads[x.Index]
	if !known {
		row, err := s.Store.Statement(s.ctx, x.Index)
		if err != nil {
			return v, false, err
		}
		parsed, err := statement.Parse(row.Data)
		if err != nil {
			return v, false, err
		}
		if f, err = parsed.Frame(); err != nil {
			return v, false, err
		}
		s.heads[x.Index] = f
	}
	if f.Basis() != trace.Wall || f.Plan.IsZero() {
		return v, false, nil
	}
	p, err := s.plan(f.Plan)
	if err != nil || p == nil {
		return v, false, err
	}
	id, _, listed := p.Antenna(x.KeyID, x.Antenna)
	if !listed {
		return v, false, nil
	}
	zone, _ := p.Zone(id)
	return visit{x, p, zone}, true, nil
}

func (s *search) plan(id statement.Hash) (*plan, error) {
	if p, known := s.plans[id]; known {
		return p, nil
	}
	row, err := s.Store.StatementByID(s.ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		s.plans[id] = nil
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	parsed, err := statement.Parse(row.Data)
	if err != nil {
		return nil, err
	}
	p, err := parsed.Plan()
	if err != nil {
		return nil, err
	}
	s.plans[id] = &plan{p, parsed.Header.Issuer}
	return s.plans[id], nil
}
