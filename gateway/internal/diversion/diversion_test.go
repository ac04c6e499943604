package diversion

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"trailmark/gateway/internal/epcis"
	"trailmark/gateway/internal/epcis/document"
	"trailmark/gateway/internal/ingest"
	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/internal/epc"
	"trailmark/statement"
	"trailmark/trace"
)

const (
	start  = int64(1_772_409_600_000)
	minute = int64(60_000)
	pallet = "https://id.gs1.org/00/095212345000000025"
)

var (
	item = epc.Link{GTIN: "09521234543213", Serial: "1001"}
	uri  = epc.Object{GTIN: item.GTIN, Serial: item.Serial}.URI()
)

// yard is a gateway of two sites, the first with two rooms, over the real store,
// ingest and EPCIS repository.
type yard struct {
	t      *testing.T
	st     *store.Store
	in     *ingest.Ingest
	events *epcis.Repository
	boards map[string]*board
	clock  int64
	watch  *Watch
	news   int // calls of Found
}

type board struct {
	sealer *device.Sealer
	state  device.State
	entry  statement.Channel
	plan   statement.Hash
}

func (g *yard) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func newYard(t *testing.T, neighbours ...string) *yard {
	t.Helper()
	g := &yard{t: t, boards: map[string]*board{}, clock: start + 60*minute}
	var err error
	g.st, err = store.Open(t.Context(), t.TempDir())
	g.must(err)
	t.Cleanup(func() { g.st.Close() })
	signer := func(seed byte) *statement.Signer {
		s, err := statement.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32)))
		g.must(err)
		return s
	}
	authority := signer(1)
	g.in, err = ingest.New(t.Context(), g.st, statement.NewKeyring("acme/test", authority.Key()), g.now, slog.New(slog.DiscardHandler))
	g.must(err)
	sign := func(s *statement.Signer, issuer, subject string, kind statement.Kind, payload any) *statement.Statement {
		out, err := s.Sign(statement.Header{Issuer: issuer, Subject: subject, Audience: "acme/test", Kind: kind}, dcbor.MustMarshal(payload))
		g.must(err)
		return out
	}
	identify := func(seed byte, subject string, role statement.Role) *statement.Signer {
		s := signer(seed)
		g.must(g.in.Add(t.Context(), sign(authority, "urn:authority", "0", statement.KindIdentity, &statement.Identity{Version: 1, Key: statement.PublicKey{Key: s.Key()}, Subject: subject,
			Role: role, From: 1, To: trace.MaxTime})))
		return s
	}
	for i, site := range [][]string{{"cold1", "cold2"}, {"shop"}} {
		issuer := fmt.Sprintf("urn:site:%d", i)
		key := identify(byte(10+i), issuer, statement.RoleSite)
		var zones []statement.Zone
		for n, zone := range site {
			subject := "urn:dev:ops:" + zone
			s := identify(byte(20+10*i+n), subject, statement.RoleDevice)
			b := &board{state: device.NewState(0, statement.Hash{}), sealer: &device.Sealer{Signer: s, Issuer: subject, Audience: "acme/test"},
				entry: statement.Channel{Device: s.Key().ID(), Name: "probe/temp", Unit: "Cel", Nominal: minute, Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8000}}}}
			g.boards[zone] = b
			words := statement.Texts{{Lang: "en", Words: zone}}
			z := statement.Zone{ID: zone, Name: words, ReRead: 15 * minute, Channels: []statement.Channel{b.entry},
				Antennas: []statement.Antenna{{Device: b.entry.Device, Name: "1", Role: statement.Inside}}}
			if n == 0 && i == 0 {
				z.Neighbours = neighbours
			}
			zones = append(zones, z)
		}
		p := sign(key, issuer, "plans", statement.KindPlan, &statement.Plan{Version: 1, Site: zones[0].Name, Zones: zones})
		g.must(g.in.Add(t.Context(), p))
		for _, zone := range site {
			g.boards[zone].plan = p.ID()
		}
	}
	organisation := identify(40, "https://id.example.com/417/maker", statement.RoleOrganisation)
	g.events = epcis.New(epcis.Options{Store: g.st, Desk: g, Issuer: "https://id.example.com/417/maker", Sign: func(e *statement.Event) (*statement.Statement, error) {
		return sign(organisation, "https://id.example.com/417/maker", "events", statement.KindEvent, e), nil
	}})
	g.watch = New(Options{Store: g.st, Found: func() { g.news++ }, Now: g.now})
	return g
}

func (g *yard) now() time.Time { return time.UnixMilli(g.clock) }

func (g *yard) Capture(ctx context.Context, fn func(*ingest.Capture) error) error {
	return g.in.Capture(ctx, fn, func([]ingest.Event) error { return nil })
}
func (g *yard) Identity(kid statement.Hash) (*statement.Identity, bool) { return g.in.Identity(kid) }
func (g *yard) Plan(id statement.Hash) (*statement.Plan, bool)          { return g.in.Plan(id) }

// see reports that a board saw a tag for the last minute but a second at its ends.
func (g *yard) see(zone, object string, tid ...byte) {
	g.t.Helper()
	o, err := epc.ParseObject(object)
	g.must(err)
	b := g.boards[zone]
	in := device.Input{Clock: statement.Clock{BootID: [16]byte{7}, BootCount: 1, Boottime: g.clock * 1_000_000, Wall: g.clock, Quality: statement.ClockSynchronised},
		Plan: b.plan, Entries: func(string) *statement.Channel { return &b.entry },
		Readings:  []device.ChannelReadings{{Channel: b.entry.Name, Times: []int64{g.clock}, Values: []int64{4000}}},
		Sightings: []*statement.Sighting{{Antenna: "1", EPC: o.Tags()[0], TID: tid, First: g.clock - minute + 1000, Last: g.clock - 1000, Reads: 9}}}
	sealed, err := b.sealer.Seal(b.state, in)
	g.must(err)
	b.state = sealed.Next
	out, err := g.in.Handle(g.t.Context(), []ingest.Message{{KeyID: b.entry.Device, Data: sealed.Up}})
	g.must(err)
	if out[0].Err != nil || len(out[0].Receipts) != 1 {
		g.t.Fatalf("%s: %+v", zone, out[0])
	}
}

// tell captures an event of now.
func (g *yard) tell(kind, step string, members map[string]any) {
	g.t.Helper()
	m := map[string]any{"type": kind, "eventTime": g.now().UTC().Format("2006-01-02T15:04:05.000Z"), "eventTimeZoneOffset": "+00:00", "bizStep": step}
	for k, v := range members {
		m[k] = v
	}
	data, err := json.Marshal(m)
	g.must(err)
	doc := fmt.Sprintf(`{"@context":["%s",{"trailmark":"urn:trailmark:"}],"type":"EPCISDocument","schemaVersion":"2.0","creationDate":"2026-03-01T00:00:00Z","epcisBody":{"eventList":[%s]}}`, document.Context, data)
	_, err = g.events.Capture(g.t.Context(), []byte(doc), false)
	g.must(err)
}

func (g *yard) commission(tid string) {
	g.t.Helper()
	g.tell("ObjectEvent", "commissioning", map[string]any{"action": "ADD", "epcList": []string{uri},
		"ilmd": map[string]any{"trailmark:tags": []any{map[string]string{"trailmark:epc": uri, "trailmark:tid": tid}}}})
}

// search lets the watch look until there is nothing new, and takes what it found as
// the alarms do.
func (g *yard) search() (out []Finding) {
	g.t.Helper()
	for more := true; more; {
		var err error
		more, err = g.watch.Step(g.t.Context())
		g.must(err)
	}
	g.must(g.st.Update(g.t.Context(), func(tx *store.Tx) error {
		rows, err := tx.Untold(100)
		if err != nil {
			return err
		}
		for _, row := range rows {
			f, err := parse(row)
			if err != nil {
				return err
			}
			out = append(out, f)
			if err := tx.MarkTold(row.ID); err != nil {
				return err
			}
		}
		return nil
	}))
	if (len(out) > 0) != (g.news > 0) {
		g.t.Errorf("%d findings, told of news %d times", len(out), g.news)
	}
	g.news = 0
	return out
}

func kinds(found []Finding) (out []string) {
	for _, f := range found {
		out = append(out, string(f.Kind))
	}
	slices.Sort(out)
	return out
}

// TestAnotherTag: by who commissioned it or, where nobody told, by the first
// sighting; told once, whichever came first.
func TestAnotherTag(t *testing.T) {
	own, copied := []byte{1, 2, 3, 4}, []byte{5, 6, 7, 8}
	for name, commissioned := range map[string]string{"told before": "before", "told later": "after", "not told": ""} {
		g := newYard(t)
		if commissioned == "before" {
			g.commission("01020304")
		}
		g.see("cold1", uri, own...)
		g.clock += minute
		g.see("cold1", uri) // the reader did not say
		if found := g.search(); len(found) > 0 {
			t.Errorf("%s: one tag, found %+v", name, found)
		}
		g.clock += minute
		g.see("cold1", uri, copied...)
		if commissioned == "after" {
			g.commission("01020304")
		}
		found := g.search()
		if len(found) != 1 || found[0].Kind != AnotherTag || found[0].Detail.Told != "01020304" || found[0].Detail.Seen != "05060708" || found[0].Object != uri {
			t.Fatalf("%s: %+v", name, found)
		}
		g.clock += minute
		g.see("cold1", uri, copied...)
		if again := g.search(); len(again) > 0 {
			t.Errorf("%s: told again %+v", name, again)
		}
	}
	// A tag that was seen for long, and then another is said to be the right one.
	g := newYard(t)
	g.see("cold1", uri, own...)
	g.search()
	g.commission("05060708")
	if found := g.search(); len(found) != 1 || found[0].Detail.Seen != "01020304" {
		t.Errorf("commissioned on another tag: %+v", found)
	}
}

// TestTooFarApart: ten minutes between two sites, whichever report comes first, and
// no time at all between two rooms.
func TestTooFarApart(t *testing.T) {
	for name, c := range map[string]struct {
		zones [2]string
		apart int64 // minutes between the reports
		late  bool  // the later place reports first
		found bool
	}{
		"two sites, five minutes":       {[2]string{"cold1", "shop"}, 5, false, true},
		"two sites, reported backwards": {[2]string{"cold1", "shop"}, 5, true, true},
		"two sites, a quarter":          {[2]string{"cold1", "shop"}, 15, false, false},
		"two rooms, one minute":         {[2]string{"cold1", "cold2"}, 1, false, false},
		"two rooms at once":             {[2]string{"cold1", "cold2"}, 0, false, true},
		"one room at once":              {[2]string{"cold1", "cold1"}, 1, false, false},
	} {
		g := newYard(t)
		at := [2]int64{g.clock, g.clock + c.apart*minute}
		order := []int{0, 1}
		if c.late {
			order = []int{1, 0}
		}
		var found []Finding
		for _, i := range order {
			g.clock = at[i]
			g.see(c.zones[i], uri)
			found = append(found, g.search()...)
		}
		if (len(found) > 0) != c.found || c.found && (found[0].Kind != TooFar || found[0].Detail.From.Zone != c.zones[0] || found[0].Detail.To.Zone != c.zones[1]) {
			t.Errorf("%s: %+v", name, found)
		}
	}
	g := newYard(t, "cold2")
	g.see("cold1", uri)
	g.see("cold2", uri)
	if found := g.search(); len(found) > 0 {
		t.Errorf("neighbours: %+v", found)
	}
	// A pair of places is told once a day.
	g = newYard(t)
	for range 5 {
		g.see("cold1", uri)
		g.see("shop", uri)
		g.clock += minute
	}
	if found := g.search(); len(found) != 2 {
		t.Errorf("to and fro: %+v", found)
	}
}

// TestDeterministic: in one look or in many, what is found is the same.
func TestDeterministic(t *testing.T) {
	g := newYard(t)
	tags := [][]byte{{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 9, 9, 9}}
	var often []Finding
	for i := range 12 {
		g.see([]string{"cold1", "shop", "cold2"}[i%3], uri, tags[i%3]...)
		g.clock += 3 * minute
		often = append(often, g.search()...)
	}
	g.must(g.st.Update(t.Context(), func(tx *store.Tx) error { return tx.PutSearched(sightingTable, 0) }))
	if again := g.search(); len(again) > 0 {
		t.Errorf("a second look found %+v more", again)
	}
	stored, err := g.watch.Findings(t.Context(), "", 100)
	g.must(err)
	if len(stored) != len(often) || len(often) < 4 {
		t.Errorf("stored %v, told %v", kinds(stored), kinds(often))
	}
}

// TestScans: counted by day and state, first one kept; found where the item is
// packed, or in a room that no shopper comes to.
func TestScans(t *testing.T) {
	g := newYard(t)
	scan := func(n int) {
		t.Helper()
		for range n {
			g.must(g.watch.Scan(t.Context(), item))
		}
	}
	counts := func() (out []string) {
		t.Helper()
		c, err := g.watch.Counts(t.Context(), item)
		g.must(err)
		for _, d := range c.Days {
			out = append(out, fmt.Sprint(d.Day, " ", d.State, " ", d.Count))
		}
		return out
	}
	scan(3)
	if got := counts(); got != nil {
		t.Errorf("of an item that nobody knows: %v", got)
	}
	g.see("cold2", uri)
	first := g.clock
	scan(5)
	if found := g.search(); len(found) > 0 {
		t.Errorf("no shops are known: %+v", found)
	}
	g.tell("AggregationEvent", "packing", map[string]any{"action": "ADD", "parentID": pallet, "childEPCs": []string{uri}})
	scan(1)
	found := g.search()
	if len(found) != 1 || found[0].Kind != Unexpected || found[0].Detail.In != pallet || found[0].Detail.To.Zone != "cold2" {
		t.Fatalf("packed: %+v", found)
	}
	g.tell("AggregationEvent", "unpacking", map[string]any{"action": "DELETE", "parentID": pallet, "childEPCs": []string{}})
	g.clock += 2 * day
	scan(1)
	g.tell("ObjectEvent", "retail_selling", map[string]any{"action": "OBSERVE", "epcList": []string{uri}})
	scan(2)
	want := []string{"2026-03-02 custody 6", "2026-03-04 sold 2", "2026-03-04 unknown 1"}
	if got := counts(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if c, err := g.watch.Counts(t.Context(), item); err != nil || c.First == nil || c.First.UnixMilli() != first {
		t.Errorf("first at %v, want %d: %v", c.First, first, err)
	}

	g = newYard(t)
	g.watch.Shops = []string{"shop"}
	g.see("cold2", uri)
	scan(2)
	if found := g.search(); len(found) > 0 {
		t.Errorf("staff looked: %+v", found)
	}
	scan(1)
	if found := g.search(); len(found) != 1 || found[0].Detail.To.Zone != "cold2" || found[0].Detail.Scans != 3 {
		t.Errorf("scanned while in cold room 2: %+v", found)
	}
	g.clock += 20 * minute
	g.see("shop", uri)
	g.clock += day
	g.see("shop", uri)
	scan(9)
	if found := g.search(); len(found) > 0 {
		t.Errorf("in the shop: %+v", found)
	}
}
