package passport

import (
	"bytes"

	"trailmark/internal/epc"
	"trailmark/statement"
	"trailmark/trace"
)

const (
	maxCarrying = 4       // carriers within carriers
	maxWindows  = 4096    // of carriers: what a stranger's passport may cost
	always      = 1 << 48 // after every time
)

// span is the time in which an object was packed in a parent: [from, to) ms.
type span struct {
	parent   string
	from, to int64
}

// window is the time in which the item was in a carrier: [from, to) ms.
type window struct {
	object   string
	from, to int64
}

// carried finds what an object was in between from and to, and what that was in.
func (c *check) carried(object string, from, to int64, depth int) error {
	if depth == maxCarrying {
		return nil
	}
	spans, err := c.packed(object)
	if err != nil {
		return err
	}
	for _, s := range spans {
		w := window{s.parent, max(s.from, from), min(s.to, to)}
		if w.from >= w.to {
			continue
		}
		if len(c.h.carriers) == maxWindows {
			return refuse(CodeEvent, "the item was in more than %d carriers", maxWindows)
		}
		c.h.carriers = append(c.h.carriers, w)
		if err := c.carried(s.parent, w.from, w.to, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// packed are the times in which an object was in a parent. They end with its next
// event that takes it out, or with one that empties the parent.
func (c *check) packed(object string) ([]span, error) {
	if in, ok := c.h.spans[object]; ok {
		return in, nil
	}
	own, err := c.chain(object)
	if err != nil {
		return nil, err
	}
	var out []span
	var open bool
	end := func(at int64) {
		if open {
			s := &out[len(out)-1]
			s.to, open = min(s.to, at), false
		}
	}
	for _, m := range own {
		ev := m.of
		switch {
		case m.list == statement.ListItems && ev.Action == statement.Pack:
			if open {
				c.contradict(Packing, ev.At, object)
			}
			end(ev.At)
			parent := ev.Objects[0].Object
			emptied, err := c.emptied(parent, ev)
			if err != nil {
				return nil, err
			}
			out, open = append(out, span{parent, ev.At, emptied}), true
		case m.list == statement.ListItems && ev.Action == statement.Unpack:
			if in := open && out[len(out)-1].parent == ev.Objects[0].Object; !in && !m.gap {
				c.contradict(Packing, ev.At, object)
			} else {
				end(ev.At)
			}
		case m.list == statement.ListInputs || ev.Action == statement.Decommission:
			end(ev.At)
		}
	}
	c.h.spans[object] = out
	return out, nil
}

// emptied is when all that is in a parent was taken out, after one packing.
func (c *check) emptied(parent string, packing *happened) (int64, error) {
	chain, err := c.chain(parent)
	if err != nil {
		return 0, err
	}
	since := false
	for _, m := range chain {
		switch {
		case m.of == packing:
			since = true
		case since && (m.list == 0 && m.of.Action == statement.Unpack && m.of.Items.Size == 0 || m.of.Action == statement.Decommission):
			return m.of.At, nil
		}
	}
	return always, nil
}

// stands reports whether a sighting is of the item, or of what carried it then;
// of a carrier it counts no longer than the item was in it.
func (c *check) stands(e *proven, s *statement.Sighting) (counted *statement.Sighting, carrier string, ok bool) {
	if c.p.Version < 2 {
		return s, "", c.p.Item.matches(s.EPC)
	}
	o, ok := epc.TagObject(s.EPC)
	if !ok {
		return nil, "", false
	}
	uri := o.URI()
	if uri == c.h.item {
		if c.h.tid != nil && s.TID != nil && !bytes.Equal(c.h.tid, s.TID) {
			c.contradict(AnotherTag, s.First, c.h.item)
		}
		return s, "", true
	}
	if e.frame.Basis() != trace.Wall {
		return nil, "", false
	}
	for _, w := range c.h.carriers {
		if w.object == uri && w.from <= s.First && s.First < w.to {
			part := *s
			part.Last = min(s.Last, w.to)
			return &part, uri, true
		}
	}
	return nil, "", false
}
