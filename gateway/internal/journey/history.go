package journey

import (
	"cmp"
	"math"
	"slices"

	"trailmark/gateway/internal/store"
	"trailmark/internal/epc"
	"trailmark/statement"
)

const (
	maxCarrying = 4       // carriers within carriers, as verifiers follow them
	always      = 1 << 48 // ms, after every time
	maxNamed    = 600     // inputs that are shown by name
)

// history is what organisations say of an item, and of what carried it.
//
// The windows in which a carrier's tag stands for the item are found from the
// events that will be shown and from no other, as a verifier finds them: one that
// is wider here would refute the passport.
type history struct {
	item     string
	lives    map[string][]mention // of an object, all its events in order
	until    map[string]uint64    // of a carrier, the row of the last of its events that matters
	windows  []window
	carriers map[string]string // of an EPC that is read, the carrier
	members  map[member]bool   // that are shown
	made     []string          // objects that the item was made from

	handovers []transfer
	transfers []transfer // and acceptances
}

func newHistory(item string) history {
	return history{item: item, lives: map[string][]mention{}, carriers: map[string]string{}, members: map[member]bool{}}
}

// member is a place in an event's list.
type member struct {
	row, list uint64
	n         int
}

// mention is one object in one event.
type mention struct {
	store.Mention
	*statement.Event
	kid statement.Hash
}

// window is the time in which the item was in a carrier: [from, to) ms.
type window struct {
	object   string
	from, to int64
}

// chain reads the events of an object, once.
func (b *builder) chain(object string) ([]mention, error) {
	if in, ok := b.lives[object]; ok {
		return in, nil
	}
	rows, err := b.c.store.Mentions(b.ctx, object, b.limit)
	if err != nil {
		return nil, err
	}
	out := make([]mention, 0, len(rows))
	for _, row := range rows {
		if n := len(out); n > 0 && out[n-1].Index == row.Index {
			continue // in it twice: a verifier takes it once
		}
		s, err := statement.Parse(row.Data)
		if err != nil {
			return nil, err
		}
		e, err := s.Event()
		if err != nil {
			return nil, err
		}
		out = append(out, mention{row, e, s.Header.KeyID})
	}
	b.lives[object] = out
	return out, nil
}

// follow finds what carried the item and shows its history. Of a carrier that went
// on without it the later events are nobody's here. Where there is no room for all,
// carriers of carriers are left out first; a verifier then says that events are
// withheld.
func (b *builder) follow() error {
	own, err := b.chain(b.item)
	if err != nil {
		return err
	}
	depth := maxCarrying
	for ; depth > 0; depth-- {
		b.until = map[string]uint64{}
		for changed := true; changed; { // a carrier's later events may put it into others
			b.windows = nil
			if changed, err = b.carried(b.item, 0, always, 0, depth); err != nil {
				return err
			}
		}
		if b.fits() {
			break
		}
	}
	if depth < maxCarrying {
		b.c.log.WarnContext(b.ctx, "events of carriers are left out", "item", b.item, "depth", depth, "events", len(own), "limit", b.c.room.events)
	}
	if depth == 0 {
		b.windows, b.until = nil, map[string]uint64{}
		b.lives[b.item] = own[:min(len(own), b.c.room.members)]
	}
	for object, chain := range b.lives {
		last, carrier := b.until[object]
		if object == b.item {
			last = math.MaxUint64
		} else if !carrier {
			continue
		}
		for _, m := range chain {
			if m.Index <= last {
				if err := b.show(m); err != nil {
					return err
				}
			}
		}
	}
	// What is shown already is shown of all that was looked at: a verifier takes an
	// event that names one as the last, and is not of it, for a forgery.
	for _, chain := range b.lives {
		for _, m := range chain {
			if m.Leaf != nil && b.d.Has(b.at(m.Index)) {
				if err := b.show(m); err != nil {
					return err
				}
			}
		}
	}
	if err := b.inputs(); err != nil {
		return err
	}
	return b.custody()
}

// fits reports whether what follow found has room in a passport.
func (b *builder) fits() bool {
	members, events := 0, 0
	for object, chain := range b.lives {
		last, carrier := b.until[object]
		for _, m := range chain {
			if object == b.item || carrier && m.Index <= last {
				events++
				if m.Leaf != nil {
					members++
				}
			}
		}
	}
	return members <= b.c.room.members && events <= b.c.room.events
}

// carried collects what an object was in between from and to, and what that was
// in. It reports whether more of a carrier's events matter than were known to.
func (b *builder) carried(object string, from, to int64, depth, most int) (changed bool, err error) {
	if depth == most {
		return false, nil
	}
	chain, err := b.chain(object)
	if err != nil {
		return false, err
	}
	last := uint64(math.MaxUint64)
	if object != b.item {
		last = b.until[object]
	}
	for i, m := range chain {
		if m.Index > last {
			break
		}
		if m.List != uint64(statement.ListItems) || m.Action != statement.Pack {
			continue
		}
		parent := m.Objects[0].Object
		until, matters := int64(always), uint64(math.MaxUint64)
		for _, n := range chain[i+1:] {
			if n.Index > last {
				break
			}
			if n.ends(parent) {
				until, matters = n.At, n.Index
				break
			}
		}
		of, err := b.chain(parent)
		if err != nil {
			return false, err
		}
		for _, n := range of {
			if n.Index > m.Index && n.empties() {
				matters, until = min(matters, n.Index), min(until, n.At)
				break
			}
		}
		w := window{parent, max(from, m.At), min(to, until)}
		if w.from >= w.to {
			matters = m.Index // up to here its events must be whole
		}
		if was, known := b.until[parent]; !known || was < matters {
			b.until[parent], changed = matters, true
		}
		if w.from >= w.to {
			continue
		}
		b.windows = append(b.windows, w)
		more, err := b.carried(parent, w.from, w.to, depth+1, most)
		if err != nil {
			return false, err
		}
		changed = changed || more
	}
	return changed, nil
}

// ends reports whether an event of an object takes it out of what it was packed in.
func (m mention) ends(parent string) bool {
	items := m.List == uint64(statement.ListItems)
	switch {
	case items && m.Action == statement.Pack:
		return true
	case items && m.Action == statement.Unpack:
		return m.Objects[0].Object == parent
	}
	return m.List == uint64(statement.ListInputs) || m.Action == statement.Decommission
}

// empties reports whether an event of a carrier takes all out of it.
func (m mention) empties() bool {
	return m.List == named && m.Action == statement.Unpack && m.Items.Size == 0 || m.Action == statement.Decommission
}

const named = 5 // the list of objects by name

// show adds an event and, if it does not name the object, the object's leaf.
func (b *builder) show(m mention) error {
	at := b.at(m.Index)
	b.d.Journey()
	b.d.Add(at, m.Data)
	b.signers[m.kid] = true
	if m.Leaf == nil {
		return nil
	}
	place := member{m.Index, m.List, m.N}
	if b.members[place] {
		return nil
	}
	b.members[place] = true
	leaves, err := b.c.store.ListOf(b.ctx, m.Index, m.List)
	if err != nil {
		return err
	}
	path, err := statement.Items(leaves).Path(m.N)
	if err != nil {
		return err
	}
	b.d.Member(at, statement.ItemList(m.List), uint64(m.N), m.Leaf, path)
	return nil
}

// inputs shows what the item was made from.
func (b *builder) inputs() error {
	left := maxNamed
	for _, m := range b.lives[b.item] {
		if m.List != uint64(statement.ListItems) || m.Action != statement.Transform {
			continue
		}
		leaves, err := b.c.store.ListOf(b.ctx, m.Index, uint64(statement.ListInputs))
		if err != nil {
			return err
		}
		for i, leaf := range leaves {
			if left--; left < 0 {
				b.c.log.WarnContext(b.ctx, "inputs are left out", "item", b.item, "event", m.Index, "inputs", len(leaves), "shown", i)
				break
			}
			x, err := statement.ParseItem(leaf)
			if err != nil {
				return err
			}
			path, err := statement.Items(leaves).Path(i)
			if err != nil {
				return err
			}
			b.d.Member(b.at(m.Index), statement.ListInputs, uint64(i), leaf, path)
			if !slices.Contains(b.made, x.Object) {
				b.made = append(b.made, x.Object)
			}
		}
	}
	return nil
}

// seen are the sightings of the item, and of its carriers within their windows, by
// time. Of a carrier a sighting counts no longer than the item was in it.
func (b *builder) seen() ([]store.Sighting, error) {
	out, err := b.c.sightings(b.ctx, epc.Link{GTIN: b.d.Item.GTIN, Serial: b.d.Item.Serial}, b.limit)
	if err != nil {
		return nil, err
	}
	of := map[string][]window{}
	for _, w := range b.windows {
		of[w.object] = append(of[w.object], w)
	}
	for uri, windows := range of {
		object, err := epc.ParseObject(uri)
		if err != nil {
			continue // nothing that a tag could name
		}
		from, to := int64(always), int64(0)
		for _, w := range windows {
			from, to = min(from, w.from), max(to, w.to)
		}
		found, err := b.c.store.SightingsOf(b.ctx, object.Tags(), from, to, b.limit)
		if err != nil {
			return nil, err
		}
		for _, s := range found {
			i := slices.IndexFunc(windows, func(w window) bool { return w.from <= s.First && s.First < w.to })
			if i < 0 {
				continue
			}
			s.Last = min(s.Last, windows[i].to)
			s.TID = nil // what a carrier's tag is was told nobody
			b.carriers[string(s.EPC)] = uri
			out = append(out, s)
		}
	}
	out = slices.DeleteFunc(out, func(s store.Sighting) bool { return s.Index >= b.below(s.KeyID) })
	slices.SortStableFunc(out, func(a, b store.Sighting) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Index, b.Index), cmp.Compare(a.Record, b.Record))
	})
	return out, nil
}
