package statement_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

type payload struct {
	kind  statement.Kind
	value any
	read  func(*statement.Statement) (any, error)
}

func reader[T any](f func(*statement.Statement) (T, error)) func(*statement.Statement) (any, error) {
	return func(s *statement.Statement) (any, error) { return f(s) }
}

// payloads is a good example of every kind, with every optional field.
func payloads(t testing.TB) []payload {
	t.Helper()
	words := statement.Texts{{Lang: "zh-CN", Words: "冷库一"}, {Lang: "en", Words: "cold room 1"}}
	h := func(b byte) statement.Hash { return statement.Hash{b} }
	calibration, replaces := h(7), h(8)
	id := identityOf(t, ecKey(t, 1), statement.RoleDevice)
	id.Epoch, id.Replaces, id.Simulated, id.Name = 3, &replaces, true, "dock 4"
	frame := goodFrame()
	frame.After = &statement.After{Origin: h(1), Size: 2, Root: h(3), ChainID: "trailmark-1", Height: 5, BlockHash: h(6)}
	frame.Note = "note"
	return []payload{
		{statement.KindFrame, frame, reader((*statement.Statement).Frame)},
		{statement.KindIdentity, id, reader((*statement.Statement).Identity)},
		{statement.KindKeyStatus, &statement.KeyStatus{Version: 1, Origin: "example.com/acme/2026h1", Size: 9, At: 10,
			InForce: []statement.Hash{h(1), h(2)}, Revoked: []statement.Revoked{{KeyID: h(3), Epoch: 1, Seq: 2}}}, reader((*statement.Statement).KeyStatus)},
		{statement.KindPlan, &statement.Plan{Version: 1, Seq: 1, Prev: h(1), Site: words, Zones: []statement.Zone{{
			ID: "cold-1", Name: words, ReRead: 600_000, Neighbours: []string{"dock"},
			Channels: []statement.Channel{{Device: h(1), Name: "a/temp", Unit: "Cel", Nominal: 10_000, Closeness: statement.SameBox, Calibration: &calibration,
				Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8000}, {Comparison: trace.AtOrBelow, Value: 2000}}}},
			Antennas: []statement.Antenna{{Device: h(1), Name: "a/temp", Role: statement.Portal}},
		}, {ID: "dock", Name: words, Channels: []statement.Channel{}, Antennas: []statement.Antenna{}}}}, reader((*statement.Statement).Plan)},
		{statement.KindProduct, &statement.Product{Version: 1, GTIN: "06901234000009", Lot: "L1", Name: words, Brand: words,
			Rule: []statement.Criterion{{Unit: "Cel", Limit: trace.Limit{Comparison: trace.AtOrAbove, Value: 8000}, Kind: statement.Cumulative, For: 36_000_000}}},
			reader((*statement.Statement).Product)},
		{statement.KindHandover, &statement.Handover{Version: 1, Objects: []string{"https://example.com/01/06901234000009/21/1"}, At: 1, To: "urn:x", Place: "dock"},
			reader((*statement.Statement).Handover)},
		{statement.KindAcceptance, &statement.Acceptance{Version: 1, Objects: []string{"urn:epc:id:sgtin:1"}, At: 1, From: "urn:y", Handover: h(1)},
			reader((*statement.Statement).Acceptance)},
		{statement.KindEvent, &statement.Event{Version: 1, EPCIS: []byte(`{"type":"ObjectEvent"}`), Objects: []statement.EventOf{{Object: "urn:z", Prev: h(1)}},
			Items: &statement.ItemsRoot{Root: h(2), Size: 3}}, reader((*statement.Statement).Event)},
	}
}

func TestPayloadRoundTrip(t *testing.T) {
	s := signer(t, edKey(1))
	for _, p := range append(payloads(t), later(t)...) {
		st, err := statement.Parse(sign(t, s, header(p.kind), p.value).Bytes())
		if err != nil {
			t.Fatalf("%s: %v", p.kind, err)
		}
		got, err := p.read(st)
		if err != nil {
			t.Errorf("%s: %v", p.kind, err)
			continue
		}
		if !reflect.DeepEqual(normal(got), normal(p.value)) {
			t.Errorf("%s: %+v, want %+v", p.kind, got, p.value)
		}
		if again := dcbor.MustMarshal(got); !bytes.Equal(again, st.Payload) {
			t.Errorf("%s encodes again as %x, was %x", p.kind, again, st.Payload)
		}
		for _, o := range append(payloads(t), later(t)...) {
			if o.kind != p.kind {
				_, err := o.read(st)
				wants(t, string(p.kind)+" read as "+string(o.kind), err, "is of kind")
			}
		}
		// Every payload is cut short, extended and bent at each byte: refused or read as it is.
		for i := range st.Payload {
			if try(t, s, p, st.Payload[:i]) == nil {
				t.Errorf("%s: first %d bytes accepted", p.kind, i)
			}
			bent := bytes.Clone(st.Payload)
			bent[i] ^= 0x20
			if v, err := tryRead(t, s, p, bent); err == nil && !bytes.Equal(dcbor.MustMarshal(v), bent) {
				t.Errorf("%s: byte %d bent decodes to what encodes otherwise", p.kind, i)
			}
		}
		if try(t, s, p, append(bytes.Clone(st.Payload), 0)) == nil {
			t.Errorf("%s: trailing byte accepted", p.kind)
		}
	}
}

// normal strips what differs between keys of one value: their verifiers.
func normal(v any) any {
	if id, ok := v.(*statement.Identity); ok {
		c := *id
		c.Key = statement.PublicKey{}
		return []any{c, id.Key.ID()}
	}
	return v
}

func tryRead(t *testing.T, s *statement.Signer, p payload, b []byte) (any, error) {
	t.Helper()
	st, err := s.Sign(header(p.kind), b)
	if err != nil {
		t.Fatal(err)
	}
	return p.read(st)
}

func try(t *testing.T, s *statement.Signer, p payload, b []byte) error {
	t.Helper()
	_, err := tryRead(t, s, p, b)
	return err
}

// TestPayloadBounds alters good payloads past each bound of the CDDL.
func TestPayloadBounds(t *testing.T) {
	const huge, late = 1 << 53, 1 << 48
	long := strings.Repeat("x", 257)
	s := signer(t, edKey(1))
	bound := func(kind statement.Kind, name string, alter func(any)) {
		t.Helper()
		for _, p := range payloads(t) {
			if p.kind != kind {
				continue
			}
			alter(p.value)
			b, err := dcbor.Marshal(p.value)
			if err == nil {
				err = try(t, s, p, b)
			}
			if err == nil {
				t.Errorf("%s, %s: accepted", kind, name)
			}
		}
	}
	frame := func(name string, alter func(*statement.Frame)) {
		t.Helper()
		bound(statement.KindFrame, name, func(v any) { alter(v.(*statement.Frame)) })
	}
	frame("version 2", func(f *statement.Frame) { f.Version = 2 })
	frame("seq", func(f *statement.Frame) { f.Seq = huge })
	frame("count", func(f *statement.Frame) { f.Count = 8193 })
	frame("boot count", func(f *statement.Frame) { f.Clock.BootCount = 1 << 32 })
	frame("boottime", func(f *statement.Frame) { f.Clock.Boottime = -1 })
	frame("wall", func(f *statement.Frame) { f.Clock.Wall = late })
	frame("wall negative", func(f *statement.Frame) { f.Clock.Wall = -1 })
	frame("quality", func(f *statement.Frame) { f.Clock.Quality = 4 })
	frame("max error", func(f *statement.Frame) { f.Clock.MaxError = 1 << 32 })
	frame("t0 after t1", func(f *statement.Frame) { f.Span[0] = f.Span[1] + 1 })
	frame("t0 negative", func(f *statement.Frame) { f.Span[0] = -1 })
	frame("t1 late", func(f *statement.Frame) { f.Span[1] = late })
	frame("note", func(f *statement.Frame) { f.Note = long })
	frame("after size", func(f *statement.Frame) { f.After.Size = huge })
	frame("after height", func(f *statement.Frame) { f.After.Height = huge })
	frame("after chain id", func(f *statement.Frame) { f.After.ChainID = long })
	frame("after without a chain", func(f *statement.Frame) { f.After.ChainID = "" })
	frame("after without a height", func(f *statement.Frame) { f.After.Height = 0 })
	frame("after without a block", func(f *statement.Frame) { f.After.BlockHash = statement.Hash{} })

	identity := func(name string, alter func(*statement.Identity)) {
		t.Helper()
		bound(statement.KindIdentity, name, func(v any) { alter(v.(*statement.Identity)) })
	}
	identity("version", func(i *statement.Identity) { i.Version = 0 })
	identity("no key", func(i *statement.Identity) { i.Key = statement.PublicKey{} })
	identity("no subject", func(i *statement.Identity) { i.Subject = "" })
	identity("long subject", func(i *statement.Identity) { i.Subject = long })
	identity("role 0", func(i *statement.Identity) { i.Role, i.Epoch = 0, 0 })
	identity("role 6", func(i *statement.Identity) { i.Role, i.Epoch = 6, 0 })
	identity("epoch", func(i *statement.Identity) { i.Epoch = huge })
	identity("epoch of a site", func(i *statement.Identity) { i.Role = statement.RoleSite })
	identity("from after to", func(i *statement.Identity) { i.From = i.To + 1 })
	identity("from negative", func(i *statement.Identity) { i.From = -1 })
	identity("to late", func(i *statement.Identity) { i.To = late })
	identity("name", func(i *statement.Identity) { i.Name = long })

	status := func(name string, alter func(*statement.KeyStatus)) {
		t.Helper()
		bound(statement.KindKeyStatus, name, func(v any) { alter(v.(*statement.KeyStatus)) })
	}
	status("version", func(k *statement.KeyStatus) { k.Version = 2 })
	status("no origin", func(k *statement.KeyStatus) { k.Origin = "" })
	status("size", func(k *statement.KeyStatus) { k.Size = huge })
	status("time", func(k *statement.KeyStatus) { k.At = late })
	status("unsorted", func(k *statement.KeyStatus) { k.InForce[0], k.InForce[1] = k.InForce[1], k.InForce[0] })
	status("twice in force", func(k *statement.KeyStatus) { k.InForce[1] = k.InForce[0] })
	status("in force and revoked", func(k *statement.KeyStatus) { k.Revoked[0].KeyID = k.InForce[1] })
	status("revoked epoch", func(k *statement.KeyStatus) { k.Revoked[0].Epoch = huge })
	status("revoked seq", func(k *statement.KeyStatus) { k.Revoked[0].Seq = huge })

	plan := func(name string, alter func(*statement.Plan)) {
		t.Helper()
		bound(statement.KindPlan, name, func(v any) { alter(v.(*statement.Plan)) })
	}
	channel := func(name string, alter func(*statement.Channel)) {
		t.Helper()
		plan("channel "+name, func(p *statement.Plan) { alter(&p.Zones[0].Channels[0]) })
	}
	plan("version", func(p *statement.Plan) { p.Version = 2 })
	plan("seq", func(p *statement.Plan) { p.Seq = huge })
	plan("first with a previous", func(p *statement.Plan) { p.Seq = 0 })
	plan("second without one", func(p *statement.Plan) { p.Prev = statement.Hash{} })
	plan("no zones", func(p *statement.Plan) { p.Zones = nil })
	plan("257 zones", func(p *statement.Plan) {
		for i := range 256 {
			p.Zones = append(p.Zones, statement.Zone{ID: fmt.Sprint("z", i), Name: p.Site})
		}
	})
	plan("no site name", func(p *statement.Plan) { p.Site = nil })
	plan("nine languages", func(p *statement.Plan) {
		p.Site = append(p.Site, p.Site[0], p.Site[0], p.Site[0], p.Site[0], p.Site[0], p.Site[0], p.Site[0])
	})
	plan("language of one byte", func(p *statement.Plan) { p.Site[0].Lang = "z" })
	plan("language of 17 bytes", func(p *statement.Plan) { p.Site[0].Lang = strings.Repeat("z", 17) })
	plan("long words", func(p *statement.Plan) { p.Site[0].Words = long })
	plan("zone twice", func(p *statement.Plan) { p.Zones[1].ID = p.Zones[0].ID })
	plan("zone without an id", func(p *statement.Plan) { p.Zones[1].ID = "" })
	plan("zone of 65 bytes", func(p *statement.Plan) { p.Zones[1].ID = strings.Repeat("z", 65) })
	plan("zone without a name", func(p *statement.Plan) { p.Zones[1].Name = nil })
	plan("re-read", func(p *statement.Plan) { p.Zones[0].ReRead = late })
	plan("re-read negative", func(p *statement.Plan) { p.Zones[0].ReRead = -1 })
	plan("neighbour without a name", func(p *statement.Plan) { p.Zones[0].Neighbours[0] = "" })
	plan("channel in two zones", func(p *statement.Plan) { p.Zones[1].Channels = p.Zones[0].Channels })
	plan("antenna in two zones", func(p *statement.Plan) { p.Zones[1].Antennas = p.Zones[0].Antennas })
	plan("antenna without a name", func(p *statement.Plan) { p.Zones[0].Antennas[0].Name = "" })
	plan("antenna role 0", func(p *statement.Plan) { p.Zones[0].Antennas[0].Role = 0 })
	plan("antenna role 4", func(p *statement.Plan) { p.Zones[0].Antennas[0].Role = 4 })
	channel("without a name", func(c *statement.Channel) { c.Name = "" })
	channel("of 65 bytes", func(c *statement.Channel) { c.Name = strings.Repeat("c", 65) })
	channel("without a unit", func(c *statement.Channel) { c.Unit = "" })
	channel("unit of 17 bytes", func(c *statement.Channel) { c.Unit = strings.Repeat("u", 17) })
	channel("nine limits", func(c *statement.Channel) { c.Limits = make([]trace.Limit, 9) })
	channel("comparison 0", func(c *statement.Channel) { c.Limits[0].Comparison = 0 })
	channel("comparison 3", func(c *statement.Channel) { c.Limits[0].Comparison = 3 })
	channel("limit", func(c *statement.Channel) { c.Limits[0].Value = 1 << 31 })
	channel("nominal 0", func(c *statement.Channel) { c.Nominal = 0 })
	channel("nominal over a day", func(c *statement.Channel) { c.Nominal = 86_400_001 })
	channel("closeness", func(c *statement.Channel) { c.Closeness = 4 })

	product := func(name string, alter func(*statement.Product)) {
		t.Helper()
		bound(statement.KindProduct, name, func(v any) { alter(v.(*statement.Product)) })
	}
	product("version", func(p *statement.Product) { p.Version = 2 })
	product("gtin of 13", func(p *statement.Product) { p.GTIN = p.GTIN[1:] })
	product("gtin with a letter", func(p *statement.Product) { p.GTIN = "0690123400000X" })
	product("lot", func(p *statement.Product) { p.Lot = long })
	product("no name", func(p *statement.Product) { p.Name = nil })
	product("no brand", func(p *statement.Product) { p.Brand = nil })
	product("no rule", func(p *statement.Product) { p.Rule = nil })
	product("17 criteria", func(p *statement.Product) {
		for range 16 {
			p.Rule = append(p.Rule, p.Rule[0])
		}
	})
	product("criterion without a unit", func(p *statement.Product) { p.Rule[0].Unit = "" })
	product("criterion kind 0", func(p *statement.Product) { p.Rule[0].Kind = 0 })
	product("criterion kind 3", func(p *statement.Product) { p.Rule[0].Kind = 3 })
	product("criterion time", func(p *statement.Product) { p.Rule[0].For = late })
	product("criterion comparison", func(p *statement.Product) { p.Rule[0].Limit.Comparison = 3 })

	handover := func(name string, alter func(*statement.Handover)) {
		t.Helper()
		bound(statement.KindHandover, name, func(v any) { alter(v.(*statement.Handover)) })
	}
	handover("version", func(h *statement.Handover) { h.Version = 3 })
	handover("no objects", func(h *statement.Handover) { h.Objects = nil })
	handover("257 objects", func(h *statement.Handover) { h.Objects = strings.Split(strings.Repeat("x,", 256)+"x", ",") })
	handover("an empty object", func(h *statement.Handover) { h.Objects[0] = "" })
	handover("a long object", func(h *statement.Handover) { h.Objects[0] = long })
	handover("time", func(h *statement.Handover) { h.At = late })
	handover("to nobody", func(h *statement.Handover) { h.To = "" })
	handover("a long place", func(h *statement.Handover) { h.Place = long })
	bound(statement.KindAcceptance, "of no handover", func(v any) { v.(*statement.Acceptance).Handover = statement.Hash{} })
	bound(statement.KindAcceptance, "from nobody", func(v any) { v.(*statement.Acceptance).From = "" })
	bound(statement.KindAcceptance, "version", func(v any) { v.(*statement.Acceptance).Version = 3 })

	event := func(name string, alter func(*statement.Event)) {
		t.Helper()
		bound(statement.KindEvent, name, func(v any) { alter(v.(*statement.Event)) })
	}
	event("version", func(e *statement.Event) { e.Version = 3 })
	event("no document", func(e *statement.Event) { e.EPCIS = nil })
	event("a document over 64 KiB", func(e *statement.Event) { e.EPCIS = make([]byte, 65537) })
	event("no objects", func(e *statement.Event) { e.Objects = nil })
	event("257 objects", func(e *statement.Event) {
		for range 256 {
			e.Objects = append(e.Objects, e.Objects[0])
		}
	})
	event("an empty object", func(e *statement.Event) { e.Objects[0].Object = "" })
	event("items", func(e *statement.Event) { e.Items.Size = huge })
}

// TestUnsetClockHasNoWall: no false wall time is ever signed, nor a true one left out.
func TestUnsetClockHasNoWall(t *testing.T) {
	f := goodFrame()
	f.Clock.Quality = statement.ClockUnset
	wants(t, "wall on an unset clock", f.Check(), "on an unset clock")
	f.Clock.Wall = 0
	f.Span = [2]int64{1000, 61_000}
	if err := f.Check(); err != nil || f.Basis() != trace.Boot {
		t.Errorf("boot time: %v", err)
	}
	for q := statement.ClockRestored; q <= statement.ClockSynchronised; q++ {
		f.Clock.Quality = q
		wants(t, "no wall on a clock that is set", f.Check(), "clock that is set")
		if f.Basis() != trace.Wall {
			t.Errorf("quality %d counts as boot time", q)
		}
	}
}

// TestPlanLooksUp: a channel is found under its device and its name together.
func TestPlanLooksUp(t *testing.T) {
	p := payloadFor(t, statement.KindPlan).(*statement.Plan)
	zone, c, ok := p.Channel(statement.Hash{1}, "a/temp")
	if !ok || zone != "cold-1" || c.Nominal != 10_000 || len(c.Spec().Limits) != 2 {
		t.Errorf("channel: %q, %+v", zone, c)
	}
	if zone, a, ok := p.Antenna(statement.Hash{1}, "a/temp"); !ok || zone != "cold-1" || a.Role != statement.Portal {
		t.Errorf("antenna: %q, %+v", zone, a)
	}
	if _, _, ok := p.Channel(statement.Hash{2}, "a/temp"); ok {
		t.Error("another device's channel found")
	}
	if _, _, ok := p.Antenna(statement.Hash{1}, "b"); ok {
		t.Error("another antenna found")
	}
	if z, ok := p.Zone("dock"); !ok || z.Name.In("en") != "cold room 1" || z.Name.In("fr") != "冷库一" {
		t.Errorf("zone: %+v", z)
	}
	if _, ok := p.Zone("attic"); ok {
		t.Error("a zone that is not there")
	}
	// A plan that changes one entry restarts that channel's trace and no other.
	before := c.Hash()
	p.Zones[0].ReRead, p.Seq = 1, 2
	_, c, _ = p.Channel(statement.Hash{1}, "a/temp")
	if c.Hash() != before {
		t.Error("the channel's entry changes with its zone")
	}
	c.Limits = []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8001}}
	if c.Hash() == before {
		t.Error("another limit gives the same entry")
	}
}
