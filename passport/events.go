package passport

import (
	"cmp"
	"slices"

	"trailmark/internal/epc"
	"trailmark/statement"
)

// happened is an event that the passport shows.
type happened struct {
	*statement.Event
	e *proven
	n int // which evidence
}

// mention is one object in one event.
type mention struct {
	of     *happened
	object string
	prev   statement.Hash
	list   statement.ItemList // 0: by name
	tid    []byte
	gap    bool // events before it are not shown
}

// history is what organisations say of the item and its carriers, of a passport
// of version 2.
type history struct {
	item     string // the item's name in events
	events   []*happened
	shown    map[statement.Hash]bool // ids of the events
	mentions map[string][]*mention
	inputs   map[int][]string      // of an event's evidence, the inputs that are shown
	chains   map[string][]*mention // that were put in order
	spans    map[string][]span     // of chains
	carriers []window
	names    map[string]string // of organisations
	tid      []byte            // of the item's tag when it was commissioned

	handovers   []*handover // of the item, by time
	acceptances []acceptance
	moments     map[uint64][]statement.Moment // by evidence
	transfers   map[uint64]int                // of a statement's evidence, which of handovers it is or accepts
}

// URI is the item's name in events and changes of custody.
func (it Item) URI() string { return epc.Object{GTIN: it.GTIN, Serial: it.Serial}.URI() }

// named is o as the verdict has it: nothing for the item itself.
func (h *history) named(o string) string {
	if o == h.item {
		return ""
	}
	return o
}

// members opens what is shown of the events' lists, puts the item's events in
// order and finds what it was carried in.
func (c *check) members() error {
	if c.p.Version < 2 {
		return nil
	}
	h := &c.h
	byEvidence := map[uint64]*happened{}
	for _, ev := range h.events {
		byEvidence[uint64(ev.n)] = ev
		h.shown[ev.e.s.ID()] = true
		for _, o := range ev.Objects {
			h.mentions[o.Object] = append(h.mentions[o.Object], &mention{of: ev, object: o.Object, prev: o.Prev})
		}
	}
	for i, m := range c.p.Members {
		if i > 0 && c.p.Members[i-1].compare(m) >= 0 {
			return refuse(CodeMalformed, "member %d is out of order", i)
		}
		ev := byEvidence[m.Evidence]
		if ev == nil || m.List == statement.ListInputs && ev.Inputs == nil {
			return refuse(CodeEvent, "member %d: statement %d is no event with list %d", i, m.Evidence, m.List)
		}
		root := ev.Items
		if m.List == statement.ListInputs {
			root = ev.Inputs
		}
		if err := statement.VerifyInclusion(m.Leaf, m.Index, root.Size, root.Root, m.Path); err != nil {
			return refuse(CodeRecord, "member %d: %w", i, err)
		}
		item, err := statement.ParseItem(m.Leaf)
		if err != nil {
			return refuse(CodeMalformed, "member %d: %w", i, err)
		}
		if item.TID != nil && (ev.Action != statement.Commission || m.List != statement.ListItems) {
			return refuse(CodeEvent, "member %d: only who commissions an object tells its tag", i)
		}
		if m.List == statement.ListInputs {
			h.inputs[ev.n] = append(h.inputs[ev.n], item.Object)
		}
		h.mentions[item.Object] = append(h.mentions[item.Object], &mention{of: ev, object: item.Object, prev: item.Prev, list: m.List, tid: item.TID})
	}
	own, err := c.chain(h.item)
	if err != nil {
		return err
	}
	for _, m := range own {
		if m.tid != nil {
			h.tid = m.tid
		}
	}
	if err := c.carried(h.item, 0, always, 0); err != nil {
		return err
	}
	c.tell()
	c.custody()
	return nil
}

// chain is all events of an object that are shown, each after the one it names as
// the one before. Where that one is not shown, events are hidden.
func (c *check) chain(object string) ([]*mention, error) {
	h := &c.h
	if in, ok := h.chains[object]; ok {
		return in, nil
	}
	all := h.mentions[object]
	after, about := map[statement.Hash]*mention{}, map[statement.Hash]bool{}
	for _, m := range all {
		id := m.of.e.s.ID()
		if about[id] || after[m.prev] != nil {
			return nil, refuse(CodeEvent, "statement %d: %s is in it twice, or two of its events follow one", m.of.n, object)
		}
		about[id], after[m.prev] = true, m
	}
	var starts []*mention
	for _, m := range all {
		switch {
		case about[m.prev]:
			continue
		case h.shown[m.prev]:
			return nil, refuse(CodeEvent, "statement %d: the event of %s before it is of other objects", m.of.n, object)
		}
		m.gap = !m.prev.IsZero()
		starts = append(starts, m)
	}
	slices.SortStableFunc(starts, func(a, b *mention) int {
		switch {
		case a.gap != b.gap && !a.gap:
			return -1
		case a.gap != b.gap:
			return 1
		}
		return cmp.Compare(a.of.At, b.of.At)
	})
	in := make([]*mention, 0, len(all))
	for _, m := range starts {
		if m.gap {
			c.v.Hidden = append(c.v.Hidden, HiddenFacts{h.named(object), m.of.At})
		}
		for ; m != nil; m = after[m.of.e.s.ID()] {
			if n := len(in); n > 0 && m.of.At < in[n-1].of.At {
				c.contradict(TimeBackward, m.of.At, object)
			}
			in = append(in, m)
		}
	}
	if len(in) != len(all) {
		return nil, refuse(CodeEvent, "%d of %d events of %s follow each other in a circle", len(all)-len(in), len(all), object)
	}
	h.chains[object] = in
	return in, nil
}

func (c *check) contradict(kind ContradictionKind, at int64, object string) {
	c.v.Contradictions = append(c.v.Contradictions, Contradiction{kind, at, c.h.named(object)})
}

// tell lists the item's events, and those of its carriers while they carried it.
func (c *check) tell() {
	h := &c.h
	told := map[int]bool{}
	var all []*mention
	for _, m := range h.chains[h.item] {
		told[m.of.n] = true
		all = append(all, m)
	}
	for _, w := range h.carriers {
		for _, m := range h.chains[w.object] {
			if !told[m.of.n] && m.of.At >= w.from && m.of.At <= w.to {
				told[m.of.n] = true
				all = append(all, m)
			}
		}
	}
	slices.SortFunc(all, func(a, b *mention) int { return cmp.Or(cmp.Compare(a.of.At, b.of.At), cmp.Compare(a.of.n, b.of.n)) })
	for _, m := range all {
		f := EventFacts{Action: m.of.Action, At: m.of.At, Place: m.of.Place, Step: m.of.Step, By: m.of.e.id.Subject, ByName: h.names[m.of.e.id.Subject],
			Object: h.named(m.object), Input: m.list == statement.ListInputs, Anchor: c.covering(m.of.e.place)}
		if m.of.Action == statement.Pack || m.of.Action == statement.Unpack {
			f.Parent = m.of.Objects[0].Object
		}
		c.v.Journey = append(c.v.Journey, f)
	}
}
