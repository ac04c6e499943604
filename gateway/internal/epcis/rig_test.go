package epcis

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/gateway/internal/enrol"
	"trailmark/gateway/internal/epcis/document"
	"trailmark/gateway/internal/ingest"
	"trailmark/gateway/internal/store"
	"trailmark/internal/device"
	"trailmark/internal/epc"
	"trailmark/statement"
	"trailmark/trace"
)

const (
	pallet    = "https://id.gs1.org/00/106141412345678908"
	itemA     = "https://id.gs1.org/01/10614141073464/21/2017"
	itemB     = "https://id.gs1.org/01/10614141073464/21/2018"
	start     = int64(1_790_000_000_000) // 2026-09-21T14:13:20Z
	ldContext = document.Context
)

// rig is a repository over a real store, ingest and keys, behind real HTTP.
type rig struct {
	t     testing.TB
	dir   string
	org   enrol.Organisation
	keys  *enrol.Keys
	st    *store.Store
	in    *ingest.Ingest
	kept  int // events given to the archive
	repo  *Repository
	http  *httptest.Server
	clock int64
}

func (g *rig) Capture(ctx context.Context, fn func(*ingest.Capture) error) error {
	return g.in.Capture(ctx, fn, func(es []ingest.Event) error {
		g.kept += len(es)
		return nil
	})
}
func (g *rig) Identity(kid statement.Hash) (*statement.Identity, bool) { return g.in.Identity(kid) }
func (g *rig) Plan(id statement.Hash) (*statement.Plan, bool)          { return g.in.Plan(id) }

func newRig(t testing.TB) *rig {
	t.Helper()
	g := &rig{t: t, dir: t.TempDir(), clock: start, org: enrol.Organisation{Tenant: "acme", Environment: "test", Domain: "acme.example", Origin: "acme.example/acme/2026h2",
		Site: "en=Cold store", Brand: "en=Acme"}}
	var err error
	g.keys, err = enrol.MakeKeys(filepath.Join(g.dir, "keys"), g.org, true, g.now)
	g.must(err)
	g.st, err = store.Open(t.Context(), g.dir)
	g.must(err)
	t.Cleanup(func() { g.st.Close() })
	g.in, err = ingest.New(t.Context(), g.st, statement.NewKeyring(g.org.Audience(), g.keys.Authority.Key(), g.keys.Simulator.Key()), g.now, slog.New(slog.DiscardHandler))
	g.must(err)
	founding, err := g.keys.Founding()
	g.must(err)
	g.must(g.in.Add(t.Context(), founding...))
	g.open(true)
	return g
}

func (g *rig) now() time.Time { return time.UnixMilli(g.clock) }

func (g *rig) open(open bool) {
	g.repo = New(Options{Store: g.st, Desk: g, Sign: g.keys.Event, SignHandover: g.keys.Handover, SignAcceptance: g.keys.Acceptance, Issuer: g.org.Issuer(),
		Add:  func(c context.Context, s *statement.Statement) error { return g.in.Add(c, s) },
		Zone: func(site, zone string) string { return site + "/254/" + zone }, Open: open, Now: g.now})
	g.http = httptest.NewServer(g.repo.Handler())
	g.t.Cleanup(g.http.Close)
}

func (g *rig) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// do asks and gives status, header and body.
func (g *rig) do(method, path string, body string, header ...string) (*http.Response, []byte) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, g.http.URL+path, strings.NewReader(body))
	g.must(err)
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	if body != "" && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/ld+json")
	}
	res, err := g.http.Client().Do(req)
	g.must(err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	g.must(err)
	return res, data
}

func docOf(events ...string) string {
	return fmt.Sprintf(`{"@context":["%s",{"example":"https://ns.example.com/epcis/","trailmark":"urn:trailmark:"}],"type":"EPCISDocument","schemaVersion":"2.0","creationDate":"2026-03-01T00:00:00Z","epcisBody":{"eventList":[%s]}}`,
		ldContext, strings.Join(events, ","))
}

func at(minute int) string {
	return time.UnixMilli(start).UTC().Add(time.Duration(minute) * time.Minute).Format("2006-01-02T15:04:05.000Z")
}

func list(names []string) string {
	b, _ := json.Marshal(names) // strings always encode
	return string(b)
}

func objectEvent(minute int, action string, names ...string) string {
	return fmt.Sprintf(`{"type":"ObjectEvent","eventTime":"%s","eventTimeZoneOffset":"+00:00","epcList":%s,"action":"%s","bizStep":"inspecting","disposition":"active","readPoint":{"id":"urn:epc:id:sgln:4012345.00001.0"}}`, at(minute), list(names), action)
}

func aggregation(minute int, action, parent string, children ...string) string {
	if children == nil {
		children = []string{}
	}
	return fmt.Sprintf(`{"type":"AggregationEvent","eventTime":"%s","eventTimeZoneOffset":"+00:00","parentID":"%s","childEPCs":%s,"action":"%s","bizStep":"packing"}`, at(minute), parent, list(children), action)
}

func transformation(minute int, inputs, outputs []string) string {
	return fmt.Sprintf(`{"type":"TransformationEvent","eventTime":"%s","eventTimeZoneOffset":"+00:00","inputEPCList":%s,"outputEPCList":%s,"bizStep":"commissioning"}`, at(minute), list(inputs), list(outputs))
}

// capture captures and gives the job.
func (g *rig) capture(events ...string) Job {
	g.t.Helper()
	res, data := g.do("POST", "/epcis/capture", docOf(events...))
	if res.StatusCode != http.StatusAccepted {
		g.t.Fatalf("%s: %s", res.Status, data)
	}
	var job Job
	g.must(json.Unmarshal(data, &job))
	return job
}

// found are the eventIDs of a query's answer, and the answer.
func (g *rig) found(path string) ([]string, []byte, *http.Response) {
	g.t.Helper()
	res, data := g.do("GET", path, "")
	if res.StatusCode != http.StatusOK {
		g.t.Fatalf("%s: %s: %s", path, res.Status, data)
	}
	var doc struct {
		Body struct {
			Results struct {
				Body struct {
					List []struct {
						ID string `json:"eventID"`
					} `json:"eventList"`
				} `json:"resultsBody"`
			} `json:"queryResults"`
		} `json:"epcisBody"`
	}
	g.must(json.Unmarshal(data, &doc))
	out := []string{}
	for _, e := range doc.Body.Results.Body.List {
		out = append(out, e.ID)
	}
	return out, data, res
}

// board is a device with one channel that sees tags in a zone.
type board struct {
	g      *rig
	sealer *device.Sealer
	state  device.State
	entry  *statement.Channel
	plan   statement.Hash
}

func (g *rig) board(zone string, seed byte) *board {
	g.t.Helper()
	signer, err := statement.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32)))
	g.must(err)
	name := fmt.Sprintf("urn:dev:mac:0000000000%02x", seed)
	id, err := g.keys.Identify(statement.Identity{Key: statement.PublicKey{Key: signer.Key()}, Subject: name, Role: statement.RoleDevice, Simulated: true, Name: "probe"})
	g.must(err)
	g.must(g.in.Add(g.t.Context(), id))
	b := &board{g: g, state: device.NewState(0, statement.Hash{}), sealer: &device.Sealer{Signer: signer, Issuer: name, Audience: g.org.Audience()},
		entry: &statement.Channel{Device: signer.Key().ID(), Name: "28-0316a2795fff/temp", Unit: "Cel", Nominal: 60_000, Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8001}}}}
	words := statement.Texts{{Lang: "en", Words: "Room"}}
	p, err := g.keys.Plan(statement.Plan{Site: words, Zones: []statement.Zone{{ID: zone, Name: words, ReRead: 900_000, Channels: []statement.Channel{*b.entry},
		Antennas: []statement.Antenna{{Device: signer.Key().ID(), Name: "1", Role: statement.Inside}}}}})
	g.must(err)
	g.must(g.in.Add(g.t.Context(), p))
	b.plan = p.ID()
	return b
}

// report seals and delivers a minute in which the board saw a tag.
func (b *board) report(value int64, tags ...[]byte) {
	g := b.g
	g.t.Helper()
	g.clock += 60_000
	in := device.Input{Clock: statement.Clock{BootID: [16]byte{7}, BootCount: 1, Boottime: g.clock * 1_000_000, Wall: g.clock, Quality: statement.ClockSynchronised},
		Plan: b.plan, Entries: func(string) *statement.Channel { return b.entry },
		Readings: []device.ChannelReadings{{Channel: b.entry.Name, Times: []int64{g.clock - 30_000, g.clock}, Values: []int64{value, value + 100}}}}
	for _, tag := range tags {
		in.Sightings = append(in.Sightings, &statement.Sighting{Antenna: "1", EPC: tag, First: g.clock - 50_000, Last: g.clock - 10_000, Reads: 5})
	}
	s, err := b.sealer.Seal(b.state, in)
	g.must(err)
	b.state = s.Next
	out, err := g.in.Handle(g.t.Context(), []ingest.Message{{KeyID: b.entry.Device, Data: s.Up}})
	g.must(err)
	if out[0].Err != nil || len(out[0].Receipts) != 1 {
		g.t.Fatalf("%+v", out[0])
	}
}

// tag is the memory of a tag that names an object.
func tag(t *testing.T, uri string) []byte {
	t.Helper()
	o, err := epc.ParseObject(uri)
	if err != nil {
		t.Fatal(err)
	}
	return o.Tags()[0]
}

// row is the stored statement with an id.
func (g *rig) row(id string) (store.Statement, error) {
	h, err := ParseID(id)
	g.must(err)
	return g.st.StatementByID(g.t.Context(), h)
}
