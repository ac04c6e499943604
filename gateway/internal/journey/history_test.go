package journey

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trailmark/gateway/internal/epcis"
	"trailmark/gateway/internal/epcis/document"
	"trailmark/gateway/internal/ingest"
	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/internal/epc"
	"trailmark/passport"
	"trailmark/statement"
	"trailmark/trace"
)

const (
	carton  = "https://id.gs1.org/00/095212345000000018"
	pallet  = "https://id.gs1.org/00/095212345000000025"
	carton2 = "https://id.gs1.org/00/095212345000000032"
	minute  = int64(60_000)
	// A frame spans so many minutes.
	step = 5
)

func itemURI(serial string) string { return epc.Object{GTIN: "09521234543213", Serial: serial}.URI() }

// depot is a gateway with boards in three rooms and two organisations that sign
// events and changes of custody, over the real store, ingest and EPCIS repository.
type depot struct {
	*gate
	clock  int64
	boards map[string]*board
	orgs   map[string]*epcis.Repository
	hands  map[string]func(statement.Kind, any) (*statement.Statement, error)
	height int64
	room   room // of the composer; none: its own
}

// board is a device with one channel that sees tags in a room.
type board struct {
	sealer *device.Sealer
	state  device.State
	entry  statement.Channel
}

func newDepot(t *testing.T) *depot {
	g := &depot{gate: newGate(t), clock: start, boards: map[string]*board{}, orgs: map[string]*epcis.Repository{},
		hands: map[string]func(statement.Kind, any) (*statement.Statement, error){}}
	var zones []statement.Zone
	for i, zone := range []string{"store", "truck", "shop"} {
		signer, err := statement.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(20 + i)}, 32)))
		g.must(err)
		subject := "urn:dev:ops:" + zone
		g.add(statement.RoleAuthority, statement.KindIdentity, &statement.Identity{Version: 1, Key: statement.PublicKey{Key: signer.Key()}, Subject: subject,
			Role: statement.RoleDevice, From: 1, To: trace.MaxTime})
		b := &board{state: device.NewState(0, statement.Hash{}), sealer: &device.Sealer{Signer: signer, Issuer: subject, Audience: "acme/test"},
			entry: statement.Channel{Device: signer.Key().ID(), Name: "probe/temp", Unit: "Cel", Nominal: minute, Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8000}}}}
		g.boards[zone] = b
		words := statement.Texts{{Lang: "en", Words: zone}}
		zones = append(zones, statement.Zone{ID: zone, Name: words, ReRead: 15 * minute, Channels: []statement.Channel{b.entry},
			Antennas: []statement.Antenna{{Device: b.entry.Device, Name: "1", Role: statement.Inside}}})
	}
	g.plan = g.add(statement.RoleSite, statement.KindPlan, &statement.Plan{Version: 1, Seq: 1, Prev: g.plan, Site: statement.Texts{{Lang: "en", Words: "depot"}}, Zones: zones})
	for i, name := range []string{"maker", "hauler", "shop"} {
		signer, err := statement.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(30 + i)}, 32)))
		g.must(err)
		by := "https://id.example.com/417/" + name
		g.add(statement.RoleAuthority, statement.KindIdentity, &statement.Identity{Version: 1, Key: statement.PublicKey{Key: signer.Key()}, Subject: by, Name: name,
			Role: statement.RoleOrganisation, From: 1, To: trace.MaxTime})
		sign := func(kind statement.Kind, payload any) (*statement.Statement, error) {
			return signer.Sign(statement.Header{Issuer: by, Subject: "events", Audience: "acme/test", Kind: kind}, dcbor.MustMarshal(payload))
		}
		g.orgs[name] = epcis.New(epcis.Options{Store: g.st, Desk: g, Issuer: by,
			Sign: func(e *statement.Event) (*statement.Statement, error) { return sign(statement.KindEvent, e) }})
		g.hands[name] = sign
	}
	return g
}

// Capture is the desk's: what is stored is in the ledger.
func (g *depot) Capture(ctx context.Context, fn func(*ingest.Capture) error) error {
	var kept []ingest.Event
	err := g.in.Capture(ctx, fn, func(es []ingest.Event) error {
		kept = es
		return nil
	})
	if err == nil {
		for _, e := range kept {
			g.record(e.Statement)
		}
	}
	return err
}

func (g *depot) Identity(kid statement.Hash) (*statement.Identity, bool) { return g.in.Identity(kid) }
func (g *depot) Plan(id statement.Hash) (*statement.Plan, bool)          { return g.in.Plan(id) }

// see is what one board sees and measures while others see nothing.
type see struct {
	zone  string
	value int64 // m°C
	tags  []*statement.Sighting
}

// tagOf is a sighting of an object's tag.
func tagOf(uri string, tid ...byte) *statement.Sighting {
	o, err := epc.ParseObject(uri)
	if err != nil {
		panic(err)
	}
	return &statement.Sighting{Antenna: "1", EPC: o.Tags()[0], TID: tid, Reads: 9}
}

// pass lets minutes go by, in which every board reports and some see something.
func (g *depot) pass(minutes int, seen ...see) {
	g.t.Helper()
	for range minutes / step {
		g.clock += step * minute
		for _, zone := range []string{"store", "truck", "shop"} {
			b, value := g.boards[zone], int64(4000)
			var tags []*statement.Sighting
			for _, s := range seen {
				if s.zone == zone {
					value = max(value, s.value)
					for _, tag := range s.tags {
						one := *tag
						one.First, one.Last = g.clock-step*minute+1000, g.clock-1000
						tags = append(tags, &one)
					}
				}
			}
			in := device.Input{Clock: statement.Clock{BootID: [16]byte{7}, BootCount: 1, Boottime: g.clock * 1_000_000, Wall: g.clock, Quality: statement.ClockSynchronised},
				Plan: g.plan, Entries: func(string) *statement.Channel { return &b.entry }, Sightings: tags}
			var r device.ChannelReadings
			r.Channel = b.entry.Name
			for i := range int64(step) {
				r.Times, r.Values = append(r.Times, g.clock-(step-1-i)*minute), append(r.Values, value)
			}
			in.Readings = []device.ChannelReadings{r}
			sealed, err := b.sealer.Seal(b.state, in)
			g.must(err)
			b.state = sealed.Next
			out, err := g.in.Handle(g.t.Context(), []ingest.Message{{KeyID: b.entry.Device, Data: sealed.Up}})
			g.must(err)
			if out[0].Err != nil || len(out[0].Receipts) != 1 {
				g.t.Fatalf("%s: %+v", zone, out[0])
			}
			g.record(sealed.Statement)
		}
	}
}

// tell captures events that happen now.
func (g *depot) tell(by string, events ...string) {
	g.t.Helper()
	doc := fmt.Sprintf(`{"@context":["%s",{"trailmark":"urn:trailmark:"}],"type":"EPCISDocument","schemaVersion":"2.0","creationDate":"2026-03-01T00:00:00Z","epcisBody":{"eventList":[%s]}}`,
		document.Context, strings.Join(events, ","))
	if _, err := g.orgs[by].Capture(g.t.Context(), []byte(doc), false); err != nil {
		g.t.Fatal(err)
	}
}

func (g *depot) event(kind, step string, members map[string]any) string {
	m := map[string]any{"type": kind, "eventTime": time.UnixMilli(g.clock).UTC().Format("2006-01-02T15:04:05.000Z"), "eventTimeZoneOffset": "+00:00", "bizStep": step}
	for k, v := range members {
		m[k] = v
	}
	data, err := json.Marshal(m)
	g.must(err)
	return string(data)
}

func (g *depot) commission(serials ...string) string {
	var names, tags []any
	for _, s := range serials {
		names = append(names, itemURI(s))
		tags = append(tags, map[string]any{"trailmark:epc": itemURI(s), "trailmark:tid": fmt.Sprintf("%x", tid(s))})
	}
	return g.event("ObjectEvent", "commissioning", map[string]any{"action": "ADD", "epcList": names, "ilmd": map[string]any{"trailmark:tags": tags}})
}

func tid(serial string) []byte { return append([]byte{0xe2, 0x80, 0x11, 0x60}, serial...) }

func (g *depot) pack(parent string, children ...string) string {
	return g.event("AggregationEvent", "packing", map[string]any{"action": "ADD", "parentID": parent, "childEPCs": children})
}

func (g *depot) unpack(parent string, children ...string) string {
	if children == nil {
		children = []string{}
	}
	return g.event("AggregationEvent", "unpacking", map[string]any{"action": "DELETE", "parentID": parent, "childEPCs": children})
}

func (g *depot) transform(inputs, outputs []string) string {
	return g.event("TransformationEvent", "creating_class_instance", map[string]any{"inputEPCList": inputs, "outputEPCList": outputs})
}

// hand signs that something is given to another, with the moments of where it is.
func (g *depot) hand(from, to string, objects ...string) statement.Hash {
	g.t.Helper()
	h, err := epcis.Handover(g.t.Context(), g.st, objects, g.orgs[to].Issuer, "dock", time.UnixMilli(g.clock))
	g.must(err)
	return g.signed(from, statement.KindHandover, h)
}

func (g *depot) accept(by string, handover statement.Hash) {
	g.t.Helper()
	a, err := epcis.Acceptance(g.t.Context(), g.st, handover, g.orgs[by].Issuer, time.UnixMilli(g.clock))
	g.must(err)
	g.signed(by, statement.KindAcceptance, a)
}

func (g *depot) signed(by string, kind statement.Kind, payload any) statement.Hash {
	g.t.Helper()
	s, err := g.hands[by](kind, payload)
	g.must(err)
	g.must(g.in.Add(g.t.Context(), s))
	g.record(s)
	return s.ID()
}

// verdict anchors what there is, composes an item's passport and verifies it.
func (g *depot) verdict(serial string) (*passport.Verdict, []byte) {
	g.t.Helper()
	g.height++
	g.anchor(g.height, g.clock+minute)
	c := g.composer(nil)
	if g.room.sightings > 0 {
		c.room = g.room
	}
	data, err := c.Item(g.t.Context(), epc.Link{GTIN: "09521234543213", Serial: serial})
	g.must(err)
	v, err := passport.Verify(data, g.trust(), time.UnixMilli(g.clock))
	if err != nil {
		g.t.Fatal(err)
	}
	return v, data
}

func (g *depot) outcome(v *passport.Verdict, want passport.Outcome, zones ...string) {
	g.t.Helper()
	var got []string
	for _, l := range v.Legs {
		got = append(got, l.Zone)
		if len(l.Channels) != 1 || l.Channels[0].Blocks == 0 {
			g.t.Errorf("leg in %s with channels %+v", l.Zone, l.Channels)
		}
	}
	if v.Outcome != want || !slices.Equal(got, zones) || len(v.Withheld) > 0 {
		g.t.Errorf("%s in %v, withheld %v, hidden %v, conflicts %v, want %s in %v", v.Outcome, got, v.Withheld, v.Hidden, v.Contradictions, want, zones)
	}
}

// onPallet packs two items in a carton on a pallet, whose tag alone is read.
func (g *depot) onPallet() {
	g.tell("maker", g.commission("1001", "1002"))
	g.pass(10, see{"store", 4100, []*statement.Sighting{tagOf(itemURI("1001"), tid("1001")...)}})
	g.tell("maker", g.pack(carton, itemURI("1001"), itemURI("1002")), g.pack(pallet, carton))
	g.pass(30, see{"store", 4200, []*statement.Sighting{tagOf(pallet)}})
}

// TestOnlyThePalletIsRead: the item's own tag is never seen after it was packed.
func TestOnlyThePalletIsRead(t *testing.T) {
	g := newDepot(t)
	g.onPallet()
	g.pass(20, see{"truck", 4300, []*statement.Sighting{tagOf(pallet)}})
	v, data := g.verdict("1001")
	g.outcome(v, passport.Kept, "store", "truck")
	if len(v.Hidden)+len(v.Contradictions) > 0 || len(v.Journey) != 3 || v.Journey[0].ByName != "maker" {
		t.Errorf("hidden %v, conflicts %v, journey %+v", v.Hidden, v.Contradictions, v.Journey)
	}
	if !slices.Equal(v.Legs[0].Carriers, []string{pallet}) || !slices.Equal(v.Legs[1].Carriers, []string{pallet}) {
		t.Errorf("carriers %v, %v", v.Legs[0].Carriers, v.Legs[1].Carriers)
	}
	if ch := v.Legs[1].Channels[0]; ch.Max != 4300 {
		t.Errorf("max %d in the truck", ch.Max)
	}
	if bytes.Contains(data, []byte("21/1002")) {
		t.Error("the passport names a sibling")
	}
}

// TestUnpackedMidway: the pallet goes on without the item, and what happens to it
// then is nobody's here.
func TestUnpackedMidway(t *testing.T) {
	g := newDepot(t)
	g.onPallet()
	g.tell("shop", g.unpack(pallet, carton), g.unpack(carton, itemURI("1001")))
	g.pass(20, see{"truck", 9000, []*statement.Sighting{tagOf(pallet), tagOf(carton)}}, see{"shop", 4300, []*statement.Sighting{tagOf(itemURI("1001"), tid("1001")...)}})
	g.tell("hauler", g.pack(pallet, carton2))
	v, data := g.verdict("1001")
	g.outcome(v, passport.Kept, "store", "shop")
	if len(v.Hidden)+len(v.Contradictions) > 0 || len(v.Journey) != 5 || len(v.Legs[1].Carriers) != 0 {
		t.Errorf("hidden %v, conflicts %v, %d events", v.Hidden, v.Contradictions, len(v.Journey))
	}
	p, err := passport.Parse(data)
	g.must(err)
	for _, e := range p.Evidence {
		s, err := statement.Parse(e.Statement)
		g.must(err)
		if s.Header.Kind == statement.KindEvent && s.Header.Issuer == g.orgs["hauler"].Issuer {
			t.Error("the passport shows what happened to the pallet later")
		}
	}
	// The other one went on in its carton, off the pallet and through the heat.
	v, _ = g.verdict("1002")
	g.outcome(v, passport.Beyond, "store", "truck")
	if !slices.Equal(v.Legs[1].Carriers, []string{carton}) {
		t.Errorf("carriers %v", v.Legs[1].Carriers)
	}
}

// TestReusedPallet: what it carried and where it went before is shown, and does not
// count.
func TestReusedPallet(t *testing.T) {
	g := newDepot(t)
	g.tell("hauler", g.pack(pallet, carton2))
	g.pass(10, see{"truck", 9000, []*statement.Sighting{tagOf(pallet)}})
	g.tell("hauler", g.unpack(pallet))
	g.onPallet()
	g.tell("shop", g.unpack(pallet))
	g.pass(10, see{"truck", 9000, []*statement.Sighting{tagOf(pallet)}})
	v, _ := g.verdict("1001")
	g.outcome(v, passport.Kept, "store")
	if len(v.Hidden)+len(v.Contradictions) > 0 || len(v.Journey) != 4 {
		t.Errorf("hidden %v, conflicts %v, journey %+v", v.Hidden, v.Contradictions, v.Journey)
	}
}

// TestTwoZonesAtOnce: the pallet in the truck, the item's own tag in the store.
func TestTwoZonesAtOnce(t *testing.T) {
	g := newDepot(t)
	g.onPallet()
	g.pass(10, see{"truck", 4300, []*statement.Sighting{tagOf(pallet)}}, see{"store", 4300, []*statement.Sighting{tagOf(itemURI("1001"), tid("1001")...)}})
	v, _ := g.verdict("1001")
	if v.Outcome != passport.Incomplete || v.Conflicts == 0 || v.Contradictions[0].Kind != passport.InTwoZones {
		t.Errorf("%s, %d conflicts, %+v", v.Outcome, v.Conflicts, v.Contradictions)
	}
}

// TestForeverInTwoZones: turn by turn, there is no room for a trail of each stay,
// and later not for a sighting of each.
func TestForeverInTwoZones(t *testing.T) {
	g := newDepot(t)
	g.room = room{20, maxTrails, 1000, 1500}
	g.tell("maker", g.commission("1001"))
	turns := func(n int) {
		for range n {
			g.pass(step, see{"truck", 4300, []*statement.Sighting{tagOf(itemURI("1001"))}})
			g.pass(step, see{"store", 4300, []*statement.Sighting{tagOf(itemURI("1001"))}})
		}
	}
	turns(10)
	v, _ := g.verdict("1001")
	g.outcome(v, passport.Kept, slices.Repeat([]string{"truck", "store"}, 10)...)
	turns(10)
	v, _ = g.verdict("1001")
	if v.Outcome != passport.Kept || len(v.Legs) != 20 || v.Unmonitored < 100*minute || v.Legs[0].From != start+1000 {
		t.Errorf("%s, %d legs, unmonitored %d", v.Outcome, len(v.Legs), v.Unmonitored)
	}
	g.room.sightings, g.room.trails = 300, 30
	v, _ = g.verdict("1001")
	if v.Outcome != passport.Incomplete || len(v.Legs) != 40 || len(v.Withheld) != 40-30 {
		t.Errorf("%s, %d legs, withheld %d", v.Outcome, len(v.Legs), len(v.Withheld))
	}
}

// TestTooFewReads: once by one read is no stay.
func TestTooFewReads(t *testing.T) {
	g := newDepot(t)
	g.onPallet()
	once := tagOf(pallet)
	once.Reads = 1
	g.pass(step, see{"truck", 4300, []*statement.Sighting{once}})
	v, _ := g.verdict("1001")
	if len(v.Legs) != 2 || v.Legs[1].Presence != passport.SeenOnce || v.Legs[1].Reads != 1 {
		t.Errorf("%+v", v.Legs)
	}
}

// TestMadeOfTwo: one input was beyond its rule, and so is the product; what went
// into the inputs hangs in them.
func TestMadeOfTwo(t *testing.T) {
	g := newDepot(t)
	g.tell("maker", g.commission("3001"))
	g.pass(10, see{"store", 4000, []*statement.Sighting{tagOf(itemURI("3001"))}})
	g.tell("maker", g.transform([]string{itemURI("3001")}, []string{itemURI("2001")}), g.commission("2002"))
	g.pass(10, see{"store", 4000, []*statement.Sighting{tagOf(itemURI("2001"))}}, see{"truck", 9000, []*statement.Sighting{tagOf(itemURI("2002"))}})
	g.tell("maker", g.transform([]string{itemURI("2001"), itemURI("2002"), "https://id.gs1.org/01/09521234543213/10/4444"}, []string{itemURI("1001"), itemURI("1002")}))
	g.pass(10, see{"shop", 4000, []*statement.Sighting{tagOf(itemURI("1001"))}})
	v, data := g.verdict("1001")
	g.outcome(v, passport.Beyond, "shop")
	if len(v.Inputs) != 1 || v.Inputs[0].Total != 3 || len(v.Inputs[0].Shown) != 3 {
		t.Fatalf("inputs %+v", v.Inputs)
	}
	want := map[string]passport.Outcome{itemURI("2001"): passport.Kept, itemURI("2002"): passport.Beyond}
	for _, in := range v.Inputs[0].Shown {
		if (in.Verdict == nil) != (want[in.Object] == "") || in.Verdict != nil && in.Verdict.Outcome != want[in.Object] {
			t.Errorf("input %s: %+v", in.Object, in.Verdict)
		}
		if in.Object == itemURI("2001") && (len(in.Verdict.Inputs) != 1 || in.Verdict.Inputs[0].Shown[0].Verdict == nil) {
			t.Errorf("inputs of the input: %+v", in.Verdict.Inputs)
		}
	}
	if bytes.Contains(data, []byte("21/1002")) {
		t.Error("the passport names a sibling")
	}
}

// TestInputsWithoutRoom: the lowest levels go first, and the verdict says so.
func TestInputsWithoutRoom(t *testing.T) {
	g := newDepot(t)
	top := []string{}
	var tags []*statement.Sighting
	for i := range 16 {
		var low []string
		for n := range 4 {
			low = append(low, itemURI(fmt.Sprint(3000+10*i+n)))
			tags = append(tags, tagOf(low[n]))
		}
		tags = append(tags, tagOf(itemURI(fmt.Sprint(2001+i))))
		top = append(top, itemURI(fmt.Sprint(2001+i)))
		g.tell("maker", g.transform(low, top[i:]))
	}
	g.pass(10, see{"store", 4000, tags})
	g.tell("maker", g.transform(top, []string{itemURI("1001")}))
	g.pass(10, see{"store", 4000, []*statement.Sighting{tagOf(itemURI("1001"))}})
	v, data := g.verdict("1001")
	if v.Outcome != passport.Incomplete || len(data) > passport.MaxSize {
		t.Errorf("%s, %d bytes", v.Outcome, len(data))
	}
	shown, low := 0, 0
	for _, in := range v.Inputs[0].Shown {
		if in.Verdict == nil {
			t.Errorf("input %s has no passport", in.Object)
			continue
		}
		shown++
		for _, deep := range in.Verdict.Inputs[0].Shown {
			if deep.Verdict != nil {
				low++
			}
		}
	}
	if shown != 16 || low == 0 || low == 64 {
		t.Errorf("%d and %d inputs are shown with their passports", shown, low)
	}
}

// TestAnotherTag: a second tag carries the number.
func TestAnotherTag(t *testing.T) {
	g := newDepot(t)
	g.tell("maker", g.commission("1001"))
	own, other := tagOf(itemURI("1001"), tid("1001")...), tagOf(itemURI("1001"), 1, 2, 3, 4, 5, 6)
	g.pass(60, see{"store", 4000, []*statement.Sighting{own}})
	g.pass(step, see{"store", 4000, []*statement.Sighting{own, other}})
	g.pass(60, see{"store", 4000, []*statement.Sighting{own}})
	v, _ := g.verdict("1001")
	g.outcome(v, passport.Incomplete, "store")
	if len(v.Contradictions) != 1 || v.Contradictions[0].Kind != passport.AnotherTag {
		t.Errorf("%+v", v.Contradictions)
	}
}

// TestCustody: the minutes beyond are the hauler's, whether the shop accepted or not.
func TestCustody(t *testing.T) {
	for _, accepted := range []bool{false, true} {
		g := newDepot(t)
		g.onPallet()
		first := g.hand("maker", "hauler", pallet)
		if accepted {
			g.accept("hauler", first)
		}
		g.pass(30, see{"store", 9000, []*statement.Sighting{tagOf(pallet)}})
		second := g.hand("hauler", "shop", pallet)
		g.pass(step, see{"store", 4000, []*statement.Sighting{tagOf(pallet)}})
		if accepted {
			g.accept("shop", second)
		}
		g.pass(20, see{"store", 4000, []*statement.Sighting{tagOf(pallet)}})
		v, _ := g.verdict("1001")
		g.outcome(v, passport.Beyond, "store")
		if len(v.Custody) != 2 || v.Custody[0].Accepted != accepted || v.Custody[1].Accepted != accepted || v.Custody[0].Object != pallet || v.Custody[0].ToName != "hauler" || v.Custody[1].ToName != "shop" {
			t.Fatalf("custody %+v", v.Custody)
		}
		parts := v.Legs[0].Channels[0].Custodians
		if len(parts) != 3 {
			t.Fatalf("custodians %+v", parts)
		}
		for i, want := range []struct {
			by     string
			beyond int64
		}{{"maker", 0}, {"hauler", 30 * minute}, {"shop", 0}} {
			if p := parts[i]; p.ByName != want.by || p.Limits[0].Total != want.beyond {
				t.Errorf("part %d: %+v, want %+v", i, p, want)
			}
		}
	}
}

// TestForeignMoment: a head that the channel never had costs the attribution, and
// not the passport.
func TestForeignMoment(t *testing.T) {
	g := newDepot(t)
	g.onPallet()
	h, err := epcis.Handover(t.Context(), g.st, []string{pallet}, g.orgs["hauler"].Issuer, "", time.UnixMilli(g.clock))
	g.must(err)
	h.Moments[0].Head.Root[0] ^= 1
	g.signed("maker", statement.KindHandover, h)
	g.pass(10, see{"store", 4000, []*statement.Sighting{tagOf(pallet)}})
	v, _ := g.verdict("1001")
	g.outcome(v, passport.Kept, "store")
	if parts := v.Legs[0].Channels[0].Custodians; len(parts) != 1 || parts[0].By != "" {
		t.Errorf("custodians %+v", parts)
	}
}

// TestOnlyEvents: nobody saw it, but there is something to tell.
func TestOnlyEvents(t *testing.T) {
	g := newDepot(t)
	g.tell("maker", g.event("ObjectEvent", "inspecting", map[string]any{"action": "OBSERVE", "epcList": []string{itemURI("1001")}}))
	v, _ := g.verdict("1001")
	if v.Outcome != passport.Unjudged || len(v.Journey) != 1 || len(v.Legs) != 0 {
		t.Errorf("%s, %+v", v.Outcome, v.Journey)
	}
}

// TestCarriersWithoutRoom: a pallet of many uses; events are withheld, and
// said to be.
func TestCarriersWithoutRoom(t *testing.T) {
	g := newDepot(t)
	g.room = room{512, maxTrails, 100, 100}
	g.tell("maker", g.commission("1001"))
	for range 3 {
		var many []string
		for range 20 {
			g.clock++
			many = append(many, g.pack(pallet, carton2))
			g.clock++
			many = append(many, g.unpack(pallet, carton2))
		}
		g.tell("hauler", many...)
	}
	g.tell("maker", g.pack(carton, itemURI("1001")), g.pack(pallet, carton))
	g.pass(10, see{"store", 4000, []*statement.Sighting{tagOf(carton)}})
	v, data := g.verdict("1001")
	g.outcome(v, passport.Incomplete, "store")
	if len(v.Hidden) != 1 || v.Hidden[0].Object != pallet || len(data) > passport.MaxSize {
		t.Errorf("hidden %+v, %d bytes", v.Hidden, len(data))
	}
}

// TestSeen: an item is known by its tag, by what organisations say of it, and not
// before that is anchored.
func TestSeen(t *testing.T) {
	g := newDepot(t)
	seen := func(serial string) bool {
		t.Helper()
		known, err := g.composer(nil).Seen(t.Context(), epc.Link{GTIN: "09521234543213", Serial: serial})
		g.must(err)
		return known
	}
	g.tell("maker", g.commission("1001"))
	if seen("1001") {
		t.Error("known before anything is anchored")
	}
	g.pass(step, see{"truck", 4300, []*statement.Sighting{tagOf(itemURI("1002"))}})
	g.verdict("1001")
	for serial, want := range map[string]bool{"1001": true, "1002": true, "1003": false} {
		if seen(serial) != want {
			t.Errorf("item %s: known %v", serial, !want)
		}
	}
}
