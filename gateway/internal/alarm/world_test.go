package alarm

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

	"trailmark/gateway/internal/ingest"
	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/statement"
	"trailmark/trace"
)

const audience = "demo/test"

// world is an organisation with planned devices, a real ingest and a real store.
type world struct {
	t         testing.TB
	authority *statement.Signer
	site      *statement.Signer
	org       *statement.Signer
	st        *store.Store
	in        *ingest.Ingest
	e         *Engine
	dir       string
	now       time.Time // of the gateway
	plan      *statement.Plan
	planID    statement.Hash
	devs      []*dev
}

// dev is one device with its own clock.
type dev struct {
	w      *world
	signer *statement.Signer
	sealer *device.Sealer
	state  device.State
	clock  statement.Clock
}

func signer(t testing.TB, seed byte) *statement.Signer {
	t.Helper()
	s, err := statement.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start is when the worlds' clocks begin.
var start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// newWorld has devices d0, d1, … each with one channel "tN" of zone cold1, and what
// change makes of the plan.
func newWorld(t testing.TB, devices int, change ...func(*statement.Plan)) *world {
	t.Helper()
	w := &world{t: t, authority: signer(t, 1), site: signer(t, 2), org: signer(t, 3), dir: t.TempDir(), now: start}
	st, err := store.Open(t.Context(), w.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	w.st = st
	w.plan = &statement.Plan{Version: 1, Site: statement.Texts{{Lang: "en", Words: "Site"}}, Zones: []statement.Zone{{ID: "cold1",
		Name: statement.Texts{{Lang: "en", Words: "Cold"}}, ReRead: 60_000}}}
	ids := []*statement.Statement{w.identity(w.site, statement.RoleSite, "site", 0), w.identity(w.org, statement.RoleOrganisation, "urn:example:org", 0)}
	for i := range devices {
		d := &dev{w: w, signer: signer(t, byte(10+i)), state: device.NewState(0, statement.Hash{}),
			clock: statement.Clock{BootID: [16]byte{byte(i + 1)}, BootCount: 1, Wall: start.UnixMilli(), Boottime: 1e12, Quality: statement.ClockSynchronised}}
		d.sealer = &device.Sealer{Signer: d.signer, Issuer: fmt.Sprintf("urn:dev:os:32473-d%d", i), Audience: audience}
		w.devs = append(w.devs, d)
		ids = append(ids, w.identity(d.signer, statement.RoleDevice, d.sealer.Issuer, 0))
		w.plan.Zones[0].Channels = append(w.plan.Zones[0].Channels, statement.Channel{Device: d.signer.Key().ID(), Name: fmt.Sprintf("t%d", i),
			Unit: "Cel", Nominal: 60_000, Closeness: statement.SameRoom, Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8001}, {Comparison: trace.AtOrBelow, Value: 1999}}})
	}
	for _, c := range change {
		c(w.plan)
	}
	w.open()
	if err := w.in.Add(t.Context(), ids...); err != nil {
		t.Fatal(err)
	}
	w.publish()
	return w
}

// publish signs the plan as it is now.
func (w *world) publish() {
	w.t.Helper()
	p := w.sign(w.site, statement.KindPlan, "site", w.plan)
	if err := w.in.Add(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
	w.planID = p.ID()
	w.plan.Seq++
	w.plan.Prev = p.ID()
}

// open makes a new ingest and a new engine, as after a restart.
func (w *world) open() {
	w.t.Helper()
	now := func() time.Time { return w.now }
	in, err := ingest.New(w.t.Context(), w.st, statement.NewKeyring(audience, w.authority.Key()), now, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	w.in, w.e = in, New(w.st, now, slog.New(slog.DiscardHandler))
}

func (w *world) sign(s *statement.Signer, kind statement.Kind, iss string, payload any) *statement.Statement {
	w.t.Helper()
	st, err := s.Sign(statement.Header{Issuer: iss, Subject: "0", Audience: audience, Kind: kind}, dcbor.MustMarshal(payload))
	if err != nil {
		w.t.Fatal(err)
	}
	return st
}

func (w *world) identity(s *statement.Signer, role statement.Role, subject string, epoch uint64) *statement.Statement {
	return w.sign(w.authority, statement.KindIdentity, "authority", &statement.Identity{Version: 1, Key: statement.PublicKey{Key: s.Key()},
		Subject: subject, Role: role, From: 0, To: trace.MaxTime, Epoch: epoch})
}

// rules puts rules in force.
func (w *world) rules(text string) {
	w.t.Helper()
	if err := w.e.SetRules(w.t.Context(), []byte(text), "test"); err != nil {
		w.t.Fatal(err)
	}
}

// wait moves a device's clock on.
func (d *dev) wait(span time.Duration) {
	d.clock.Wall += span.Milliseconds()
	d.clock.Boottime += span.Nanoseconds()
}

// seal signs a frame at the device's present time.
func (d *dev) seal(in device.Input) []byte {
	d.w.t.Helper()
	in.Clock, in.Plan = d.clock, d.w.planID
	if in.Clock.Quality == statement.ClockUnset {
		in.Clock.Wall = 0
	}
	plan := d.w.plan
	in.Entries = func(c string) *statement.Channel {
		if _, e, ok := plan.Channel(d.signer.Key().ID(), c); ok {
			return &e
		}
		return nil
	}
	s, err := d.sealer.Seal(d.state, in)
	if err != nil {
		d.w.t.Fatal(err)
	}
	d.state = s.Next
	return s.Up
}

// reads seals a frame of readings, one a minute, in thousandths, of channel tN.
func (d *dev) reads(values ...int64) []byte {
	d.w.t.Helper()
	c := device.ChannelReadings{Channel: d.channel()}
	for _, v := range values {
		d.wait(time.Minute)
		c.Times, c.Values = append(c.Times, d.clock.Wall), append(c.Values, v)
	}
	return d.seal(device.Input{Readings: []device.ChannelReadings{c}})
}

func (d *dev) channel() string { return "t" + d.sealer.Issuer[len("urn:dev:os:32473-d"):] }

// tells seals a frame of happenings at the device's present time.
func (d *dev) tells(hs ...*statement.Happening) []byte {
	for _, h := range hs {
		h.At = d.clock.Wall
	}
	return d.seal(device.Input{Happenings: hs})
}

// give hands messages to ingest and takes what it says of each.
func (d *dev) give(ups ...[]byte) []ingest.Outcome {
	d.w.t.Helper()
	var ms []ingest.Message
	for _, up := range ups {
		ms = append(ms, ingest.Message{KeyID: d.signer.Key().ID(), Data: up})
	}
	out, err := d.w.in.Handle(d.w.t.Context(), ms)
	if err != nil {
		d.w.t.Fatal(err)
	}
	return out
}

func (d *dev) accept(ups ...[]byte) {
	d.w.t.Helper()
	for i, o := range d.give(ups...) {
		if o.Err != nil {
			d.w.t.Fatalf("message %d: %v", i, o.Err)
		}
	}
}

// judge judges all there is.
func (w *world) judge() {
	w.t.Helper()
	for more := true; more; {
		var err error
		if more, err = w.e.Step(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := w.e.Tick(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// alarms are all alarms in order of their start, then of their rule.
func (w *world) alarms() []store.Alarm {
	w.t.Helper()
	as, err := w.st.Alarms(context.Background(), store.EveryAlarm, 0, 100_000)
	if err != nil {
		w.t.Fatal(err)
	}
	slices.SortStableFunc(as, func(a, b store.Alarm) int {
		if a.Start != b.Start {
			return int(min(1, max(-1, a.Start-b.Start)))
		}
		return bytes.Compare([]byte(a.Rule+a.Device+a.ID), []byte(b.Rule+b.Device+b.ID))
	})
	return as
}

// same is what judging again must give, whatever the order and the gateway's time.
func (w *world) same() string {
	w.t.Helper()
	as := w.alarms()
	for i := range as {
		as[i].N, as[i].Index, as[i].Raised = 0, 0, 0
	}
	text, err := json.MarshalIndent(as, "", " ")
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// minutes is a time so many minutes after the world's start.
func minutes(n float64) int64 { return start.UnixMilli() + int64(n*60_000) }

// want holds an alarm against its rule, times in minutes after the start (−1: it
// goes on) and the reason of its end.
func want(t *testing.T, a store.Alarm, rule string, began, triggered, ended float64, reason string) {
	t.Helper()
	end := int64(0)
	if ended >= 0 {
		end = minutes(ended)
	}
	if a.Rule != rule || a.Start != minutes(began) || a.Triggered != minutes(triggered) || a.Ended != end || a.Reason != reason {
		at := func(ms int64) float64 { return float64(ms-start.UnixMilli()) / 60_000 }
		t.Errorf("alarm %s from %v, triggered %v, ended %v (%d) %q; want %s from %v, triggered %v, ended %v %q",
			a.Rule, at(a.Start), at(a.Triggered), at(a.Ended), a.Ended, a.Reason, rule, began, triggered, ended, reason)
	}
}

func (w *world) count(n int) []store.Alarm {
	w.t.Helper()
	as := w.alarms()
	if len(as) != n {
		w.t.Fatalf("%d alarms, want %d: %s", len(as), n, w.same())
	}
	return as
}

// rule is a rule of one's own as JSON.
func rule(kind Kind, more string) string {
	return fmt.Sprintf(`{"rules":[{"id":"r","kind":%q,"name":{"zh-CN":"规则","en":"rule"},"severity":"alarm"%s}]}`, kind, more)
}
