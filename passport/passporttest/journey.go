package passporttest

import (
	"slices"

	"trailmark/internal/epc"
	"trailmark/passport"
	"trailmark/statement"
)

// What the item is packed into, and what it was made from.
const (
	Carton    = "https://id.gs1.org/00/095212345000000018"
	OtherUnit = "https://id.gs1.org/00/095212345000000032"
	Pallet    = "https://id.gs1.org/00/095212345000000025"
)

var inputSerials = []string{"2002", "2003"}

// A Journey is what organisations sign. Without more the item is commissioned at
// minute 5 and packed into a carton at 15, which is put on a pallet at 20; only
// the pallet's tag is read from then on.
type Journey struct {
	Own      bool // the item's own tag is read, with its TID
	Unpacked bool // all is taken off the pallet at minute 370, and the item's own tag is read in the truck
	Emptied  int  // all is taken off the pallet at this minute, but the pallet's tag is still what is read
	Late     bool // the carton is put on the pallet at minute 200
	Repacked bool // the item is packed into another carton at minute 200, and nobody took it out of the first
	Observed bool // the item is inspected at minute 100, by name
	Tangled  int  // the item, the carton, the pallet … are each packed so often into the next, to and fro in time
	Foreign  bool // the carton's packing names an event of the item as the one before
	Ended    bool // the item is decommissioned at minute 700
	OtherTID bool // the tag in the truck has another TID
	Both     bool // the truck reads the item's own tag as the store still reads the pallet's
	Made     bool // the item is made from two others at minute 25, in the stead of being commissioned
	Handed   bool // the maker hands the pallet to the hauler at minute 360, who hands it to the shop at 480
	Accepted bool // both accept it
	NoCuts   bool // the trails are not cut at the moments of the handovers
	First    bool // these statements are of version 1: without moments

	Event    func(nth int, e *statement.Event)  // what the nth event says instead, from 1
	Items    func(nth int, in []statement.Item) // likewise of its list
	Handover func(nth int, h *statement.Handover)
	Accept   func(nth int, a *statement.Acceptance)
	Again    int                                       // the nth event is signed a second time, a minute later
	Input    func(p *passport.Passport, serial string) // what the passport of an input is like
	Brief    bool                                      // the passports of the inputs are not shown
}

const (
	makerIssuer = "https://id.example.com/417/9521321000101"
	moverIssuer = "https://id.example.com/417/9521321000118"
	shopIssuer  = "https://id.example.com/417/9521321000125"
	makersPlace = "https://id.gs1.org/414/9521321000019"
)

// organisation is one that signs events and changes of custody.
type organisation struct {
	signer *statement.Signer
	issuer string
}

// told is an event's lists as whoever captured it keeps them.
type told struct {
	entry int
	lists map[statement.ItemList]statement.Items
}

// journal is what the organisations have signed.
type journal struct {
	maker, mover, shop organisation
	events             []told
	last               map[string]statement.Hash // of an object, its last event
	transfers          []transfer
}

// transfer is a handover or an acceptance with its moments.
type transfer struct {
	entry   int
	moments []statement.Moment
}

func (w *world) enrolOrganisations() {
	w.j.last = map[string]statement.Hash{}
	for i, o := range []struct {
		of           *organisation
		issuer, name string
	}{{&w.j.maker, makerIssuer, "示例生物 · Example Biologics"}, {&w.j.mover, moverIssuer, "示例医药物流 · Example Pharma Logistics"}, {&w.j.shop, shopIssuer, ""}} {
		s, err := statement.NewSigner(keyOf(byte(20 + i)))
		w.must(err)
		*o.of = organisation{s, o.issuer}
		w.sign(w.authority, statement.KindIdentity, "authority", o.issuer, &statement.Identity{Version: 1, Key: statement.PublicKey{Key: s.Key()}, Subject: o.issuer,
			Role: statement.RoleOrganisation, Name: o.name, From: at(-1000), To: at(100_000)})
	}
}

// units are what the item is packed into, the smallest first.
func units() []string {
	return []string{Carton, Pallet, "https://id.gs1.org/00/095212345000000049", "https://id.gs1.org/00/095212345000000056"}
}

func objectOf(serial string) string { return epc.Object{GTIN: GTIN, Serial: serial}.URI() }

// tidOf is the TID of a tag.
func tidOf(serial string) []byte { return append([]byte{0xe2, 0x80, 0x11, 0x60, 0, 0}, serial...) }

// tell signs an event at a minute: named objects, then those of its lists.
func (w *world) tell(action statement.Action, minute int, named []string, items, inputs []string) {
	nth := len(w.j.events) + 1
	prev := func(o string) statement.Hash { return w.j.last[o] }
	list := func(which statement.ItemList, objects []string) statement.Items {
		var in []statement.Item
		for _, o := range objects {
			x := statement.Item{Object: o, Prev: prev(o)}
			if parsed, _ := epc.ParseObject(o); action == statement.Commission {
				x.TID = tidOf(parsed.Serial)
			}
			in = append(in, x)
		}
		if w.o.Journey.Items != nil && which == statement.ListItems {
			w.o.Journey.Items(nth, in)
		}
		out, err := statement.NewItems([32]byte{byte(nth)}, which, in...)
		w.must(err)
		return out
	}
	t := told{len(w.entries), map[statement.ItemList]statement.Items{statement.ListItems: list(statement.ListItems, items)}}
	var of []statement.EventOf
	for _, o := range named {
		of = append(of, statement.EventOf{Object: o, Prev: prev(o)})
	}
	e := statement.NewEvent([]byte{byte(nth)}, action, at(minute), t.lists[statement.ListItems], of...)
	e.Place, e.Step = makersPlace, map[statement.Action]string{statement.Commission: "commissioning", statement.Pack: "packing", statement.Unpack: "unpacking",
		statement.Transform: "creating_class_instance", statement.Decommission: "decommissioning"}[action]
	if inputs != nil {
		t.lists[statement.ListInputs] = list(statement.ListInputs, inputs)
		root := t.lists[statement.ListInputs].Root()
		e.Inputs = &root
	}
	if w.o.Journey.Event != nil {
		w.o.Journey.Event(nth, e)
	}
	id := w.sign(w.j.maker.signer, statement.KindEvent, makerIssuer, "events", e).ID()
	w.j.events = append(w.j.events, t)
	if w.o.Journey.Again == nth {
		again := *e
		again.At += 60_000
		w.j.events = append(w.j.events, told{len(w.entries), t.lists})
		w.sign(w.j.maker.signer, statement.KindEvent, makerIssuer, "events", &again)
	}
	for _, o := range slices.Concat(named, items, inputs) {
		w.j.last[o] = id
	}
}

// before signs what happens before the first frame.
func (w *world) before() {
	j := w.o.Journey
	item, sibling := objectOf(Serial), objectOf("1002")
	if j.Tangled > 0 {
		objects := append([]string{item}, units()...)
		for i := range objects[1:] {
			for n := range j.Tangled {
				w.tell(statement.Pack, 30+n%2*100+n, objects[i+1:i+2], objects[i:i+1], nil)
			}
		}
		return
	}
	if !j.Made {
		w.tell(statement.Commission, 5, nil, []string{sibling, item, objectOf("1003")}, nil)
		w.packed()
	}
}

func (w *world) packed() {
	at := 15
	if w.o.Journey.Made {
		at = 27
	}
	if w.o.Journey.Foreign {
		w.j.last[Carton] = w.j.last[objectOf(Serial)]
	}
	w.tell(statement.Pack, at, []string{Carton}, []string{objectOf(Serial), objectOf("1002")}, nil)
	if !w.o.Journey.Late {
		w.tell(statement.Pack, at+1, []string{Pallet}, []string{Carton}, nil)
	}
}

// during signs what happens after the frames of an hour.
func (w *world) during(hour int) {
	j := w.o.Journey
	if hour == 1 && j.Made {
		var inputs []string
		for _, s := range inputSerials {
			inputs = append(inputs, objectOf(s))
		}
		w.tell(statement.Transform, 25, nil, []string{objectOf(Serial)}, inputs)
		w.packed()
	}
	if hour == 2 && j.Observed {
		w.tell(statement.Observe, 100, []string{objectOf(Serial)}, nil, nil)
	}
	if hour == 4 && j.Repacked {
		w.tell(statement.Pack, 200, []string{OtherUnit}, []string{objectOf(Serial)}, nil)
	}
	if hour == 4 && j.Late {
		w.tell(statement.Pack, 200, []string{Pallet}, []string{Carton}, nil)
	}
	if hour == (j.Emptied+59)/60 && j.Emptied > 0 {
		w.tell(statement.Unpack, j.Emptied, []string{Pallet}, nil, nil)
	}
	if hour == 6 && j.Handed {
		w.hand(0, w.j.maker, w.j.mover, 360, w.store)
	}
	if hour == 7 && j.Unpacked {
		w.tell(statement.Unpack, 370, []string{Pallet}, nil, nil)
		w.tell(statement.Unpack, 372, []string{Carton}, []string{objectOf(Serial)}, nil)
	}
	if hour == 8 && j.Handed {
		w.hand(1, w.j.mover, w.j.shop, 480, w.truck)
	}
	if hour == 11 && j.Ended {
		w.tell(statement.Decommission, 700, nil, []string{objectOf(Serial)}, nil)
	}
}

// hand signs the nth change of custody, with the heads of a device's channels.
func (w *world) hand(nth int, from, to organisation, minute int, d *device) {
	j := w.o.Journey
	var moments []statement.Moment
	for _, ch := range d.channels {
		s := ch.traces[len(ch.traces)-1]
		head, err := s.frontier.Head()
		w.must(err)
		moments = append(moments, statement.Moment{Device: s.device, Channel: ch.name, Head: head})
	}
	if j.First {
		moments = nil
	}
	h := statement.NewHandover([]string{Pallet}, at(minute), to.issuer, "https://id.gs1.org/414/9521321000026", moments...)
	if j.Handover != nil {
		j.Handover(nth+1, h)
	}
	w.j.transfers = append(w.j.transfers, transfer{len(w.entries), h.Moments})
	id := w.sign(from.signer, statement.KindHandover, from.issuer, "custody", h).ID()
	if !j.Accepted {
		return
	}
	a := statement.NewAcceptance([]string{Pallet}, at(minute+2), from.issuer, id, moments...)
	signer := to
	if j.Accept != nil {
		j.Accept(nth+1, a)
		if a.From == to.issuer { // the giver signs for the taker
			signer = from
		}
	}
	w.j.transfers = append(w.j.transfers, transfer{len(w.entries), a.Moments})
	w.sign(signer.signer, statement.KindAcceptance, signer.issuer, "custody", a)
}

// tag is what a device reads of an item: its own tag or the pallet's.
func (w *world) tag(d *device, serial string) (tag, tid []byte) {
	j := w.o.Journey
	own := j == nil || j.Own || serial != Serial || d == w.truck && (j.Unpacked || j.Both)
	var err error
	if !own {
		var t epc.Tag
		t, err = epc.Link{SSCC: "095212345000000025"}.Tag(2)
		w.must(err)
		tag, err = t.Encode()
		w.must(err)
		return tag, nil
	}
	id, err := epc.SGTIN96("952123454", "0321", serial, 1)
	w.must(err)
	tag, err = id.Encode()
	w.must(err)
	if j == nil {
		return tag, nil
	}
	if tid = tidOf(serial); j.OtherTID && d == w.truck {
		tid[0] ^= 1
	}
	return tag, tid
}

// journey shows of the events what is about an object, and its passports of
// inputs.
func (c *composer) journey(serial string) {
	about := append([]string{objectOf(serial)}, units()...)
	if serial != Serial {
		about = about[:1]
	}
	c.d.Journey()
	for _, t := range c.j.events {
		if !c.d.Has(c.place(t.entry)) {
			continue
		}
		for which, items := range t.lists {
			for n, leaf := range items {
				x, err := statement.ParseItem(leaf)
				c.must(err)
				if !slices.Contains(about, x.Object) && (which == statement.ListItems || serial != Serial) {
					continue
				}
				path, err := items.Path(n)
				c.must(err)
				c.d.Member(c.place(t.entry), which, uint64(n), leaf, path)
			}
		}
	}
	if c.o.Journey.Made && serial == Serial && !c.o.Journey.Brief {
		for _, s := range inputSerials {
			p := c.composeOf(s)
			if c.o.Journey.Input != nil {
				c.o.Journey.Input(p, s)
			}
			data, err := p.Encode()
			c.must(err)
			c.d.Input(data)
		}
	}
}

// momentsOf are the moments of handovers in blocks (a, b] of a trace, by size.
func (c *composer) momentsOf(s *series, a, b int) (cuts []uint64, marks []func()) {
	if c.o.Journey == nil || c.o.Journey.NoCuts {
		return nil, nil
	}
	for _, t := range c.j.transfers {
		for n, m := range t.moments {
			size := m.Head.Size
			if m.Device == s.device && m.Channel == s.start.Channel && m.Head.Start == s.start.Hash() && size > uint64(a) && size <= uint64(b) && !slices.Contains(cuts, size) &&
				c.d.Has(c.place(t.entry)) {
				cuts = append(cuts, size)
				marks = append(marks, func() { c.d.Moment(c.place(t.entry), uint64(n)) })
			}
		}
	}
	return cuts, marks
}
