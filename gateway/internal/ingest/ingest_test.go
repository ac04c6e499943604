package ingest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/statement"
	"trailmark/trace"
)

const audience = "demo/test"

// world is an organisation with one planned device and an ingest over a real
// store.
type world struct {
	t         testing.TB
	authority *statement.Signer
	site      *statement.Signer
	dev       *statement.Signer
	sealer    *device.Sealer
	plan      statement.Hash
	entry     statement.Channel
	dir       string // of st
	st        *store.Store
	in        *Ingest
	state     device.State
	now       int64
}

func signer(t testing.TB, seed byte) *statement.Signer {
	t.Helper()
	s, err := statement.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const channel = "28-0316a2795fff/temp"

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, authority: signer(t, 1), site: signer(t, 2), dev: signer(t, 3), state: device.NewState(0, statement.Hash{}), now: 1_790_000_000_000, dir: t.TempDir()}
	st, err := store.Open(t.Context(), w.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	w.st = st
	w.open()
	w.entry = statement.Channel{Device: w.dev.Key().ID(), Name: channel, Unit: "Cel", Nominal: 1000, Closeness: statement.SameRoom,
		Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8001}, {Comparison: trace.AtOrBelow, Value: 1999}}}
	plan := statement.Plan{Version: 1, Site: statement.Texts{{Lang: "en", Words: "Site"}}, Zones: []statement.Zone{{ID: "cold1",
		Name: statement.Texts{{Lang: "en", Words: "Cold"}}, Channels: []statement.Channel{w.entry}, ReRead: 60_000}}}
	p := w.sign(w.site, statement.KindPlan, "site", &plan)
	w.plan = p.ID()
	if err := w.in.Add(t.Context(), w.identity(w.site, statement.RoleSite, "site"), w.identity(w.dev, statement.RoleDevice, "urn:dev:os:32473-d"), p); err != nil {
		t.Fatal(err)
	}
	w.sealer = &device.Sealer{Signer: w.dev, Issuer: "urn:dev:os:32473-d", Audience: audience}
	return w
}

// open makes a new Ingest over the store, as after a restart.
func (w *world) open() {
	w.t.Helper()
	in, err := New(w.t.Context(), w.st, statement.NewKeyring(audience, w.authority.Key()), time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	w.in = in
}

func (w *world) sign(s *statement.Signer, kind statement.Kind, iss string, payload any) *statement.Statement {
	w.t.Helper()
	st, err := s.Sign(statement.Header{Issuer: iss, Subject: "0", Audience: audience, Kind: kind}, dcbor.MustMarshal(payload))
	if err != nil {
		w.t.Fatal(err)
	}
	return st
}

func (w *world) identity(s *statement.Signer, role statement.Role, subject string) *statement.Statement {
	return w.sign(w.authority, statement.KindIdentity, "authority", &statement.Identity{Version: 1, Key: statement.PublicKey{Key: s.Key()},
		Subject: subject, Role: role, From: 0, To: trace.MaxTime})
}

// seal makes the frame after state, with some readings, and moves state on.
func (w *world) seal(change ...func(*device.Input)) device.Sealed {
	w.t.Helper()
	w.now += 60_000
	in := device.Input{Clock: statement.Clock{BootID: [16]byte{7}, BootCount: 1, Boottime: w.now * 1_000_000, Wall: w.now, Quality: statement.ClockSynchronised},
		Plan: w.plan, Entries: func(c string) *statement.Channel { return &w.entry },
		Readings:  []device.ChannelReadings{{Channel: channel, Times: []int64{w.now - 2000, w.now - 1000, w.now}, Values: []int64{4000, 4062, 8500}}},
		Sightings: []*statement.Sighting{{Antenna: "llrp0/1", EPC: make([]byte, 12), First: w.now - 1500, Last: w.now - 100, Reads: 3}}}
	for _, c := range change {
		c(&in)
	}
	s, err := w.sealer.Seal(w.state, in)
	if err != nil {
		w.t.Fatal(err)
	}
	w.state = s.Next
	return s
}

func (w *world) give(ups ...[]byte) []Outcome {
	w.t.Helper()
	ms := make([]Message, len(ups))
	for i, up := range ups {
		ms[i] = Message{KeyID: w.dev.Key().ID(), Data: up}
	}
	out, err := w.in.Handle(w.t.Context(), ms)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) accept(ups ...[]byte) {
	w.t.Helper()
	for i, o := range w.give(ups...) {
		if o.Err != nil {
			w.t.Fatalf("message %d: %v", i, o.Err)
		}
	}
}

func (w *world) refuse(reason Reason, up []byte) {
	w.t.Helper()
	before, err := w.st.Count(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	heads := w.heads()
	counted := w.in.Counters.Snapshot()[string(reason)]
	out := w.give(up)
	var r *Refusal
	if !errors.As(out[0].Err, &r) || r.Reason != reason {
		w.t.Fatalf("got %v, want a refusal for %s", out[0].Err, reason)
	}
	if len(out[0].Receipts) != 0 {
		w.t.Error("a refused message got a receipt")
	}
	if n := w.in.Counters.Snapshot()[string(reason)]; n != counted+1 {
		w.t.Errorf("counter %s went from %d to %d", reason, counted, n)
	}
	after, err := w.st.Count(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if after != before || len(heads) != len(w.heads()) || len(heads) > 0 && heads[0] != w.heads()[0] {
		w.t.Errorf("a refused message had an effect: %d statements became %d", before, after)
	}
}

func (w *world) heads() []store.Head {
	w.t.Helper()
	hs, err := w.st.Heads(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return hs
}

// resign signs an up message again after a change of its frame or bodies, as the
// device itself would: what is left to refuse it is the rule under test.
func (w *world) resign(up []byte, by *statement.Signer, change func(*statement.Header, *statement.Frame, *[]statement.Body)) []byte {
	w.t.Helper()
	d, err := statement.ParseUp(up)
	if err != nil {
		w.t.Fatal(err)
	}
	h, f, bodies := d.Statement.Header, *d.Frame, append([]statement.Body(nil), d.Bodies...)
	change(&h, &f, &bodies)
	f.Count, f.Root = uint64(len(bodies)), statement.RecordsRoot(statement.Records(d.Seed, bodies))
	s, err := by.Sign(h, dcbor.MustMarshal(&f))
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := statement.EncodeUp(s, d.Seed, bodies)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

type edit = func(*statement.Header, *statement.Frame, *[]statement.Body)

// editBody changes the first record of a kind and leaves the rest.
func editBody[T any](w *world, kind statement.RecordKind, change func(T)) edit {
	return func(_ *statement.Header, _ *statement.Frame, bodies *[]statement.Body) {
		for i, b := range *bodies {
			if b.Kind != kind {
				continue
			}
			v, err := b.Decode()
			if err != nil {
				w.t.Fatal(err)
			}
			change(v.(T))
			(*bodies)[i].Data = dcbor.MustMarshal(v)
			return
		}
		w.t.Fatalf("no record of kind %d", kind)
	}
}

func TestAcceptsAndContinues(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.seal(), w.seal(), w.seal()
	w.accept(a.Up, b.Up)
	w.open() // a restarted gateway goes on where the store is
	w.accept(c.Up)
	if n, err := w.st.Readings(t.Context()); err != nil || n != 9 {
		t.Errorf("%d readings stored, want 9 (%v)", n, err)
	}
	if h := w.heads()[0]; h.Seq != 2 || h.ID != c.Statement.ID() {
		t.Errorf("head is seq %d", h.Seq)
	}
	traces, err := w.st.Traces(t.Context(), w.dev.Key().ID())
	if err != nil || len(traces) != 1 || traces[0].Frontier.Size != 3 {
		t.Fatalf("traces %+v, %v", traces, err)
	}
	// The store can prove what the device signed.
	head, err := traces[0].Frontier.Head()
	if err != nil {
		t.Fatal(err)
	}
	r, err := trace.Prove(w.st.Nodes(t.Context(), traces[0].ID), 3, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := r.Verify(w.entry.Spec(), head); err != nil || d.Max != 8500 {
		t.Errorf("range proof from the store: max %d, %v", d.Max, err)
	}
}

func TestRefusals(t *testing.T) {
	other := signer(t, 9)
	tests := []struct {
		name   string
		reason Reason
		make   func(w *world) []byte
	}{
		{"over 256 KiB", TooLarge, func(w *world) []byte { return make([]byte, statement.MaxSize+1) }},
		{"trailing bytes", Malformed, func(w *world) []byte { return append(w.seal().Up, 0) }},
		{"not cbor", Malformed, func(w *world) []byte { return []byte("hello") }},
		{"empty", Malformed, func(w *world) []byte { return nil }},
		{"wrong signature", BadSignature, func(w *world) []byte {
			up := w.seal().Up
			d, err := statement.ParseUp(up)
			if err != nil {
				w.t.Fatal(err)
			}
			return bytes.Replace(up, d.Statement.Signature, make([]byte, 64), 1)
		}},
		{"another key in the device's name", WrongTopic, func(w *world) []byte {
			return w.resign(w.seal().Up, other, func(*statement.Header, *statement.Frame, *[]statement.Body) {})
		}},
		{"another audience", BadSignature, func(w *world) []byte {
			return w.resign(w.seal().Up, w.dev, func(h *statement.Header, _ *statement.Frame, _ *[]statement.Body) { h.Audience = "demo/production" })
		}},
		{"another issuer", Unknown, func(w *world) []byte {
			return w.resign(w.seal().Up, w.dev, func(h *statement.Header, _ *statement.Frame, _ *[]statement.Body) { h.Issuer = "urn:dev:os:32473-e" })
		}},
		{"another epoch", WrongEpoch, func(w *world) []byte {
			return w.resign(w.seal().Up, w.dev, func(h *statement.Header, _ *statement.Frame, _ *[]statement.Body) { h.Subject = "1" })
		}},
		{"wrong prev", WrongPrev, func(w *world) []byte {
			return w.resign(w.seal().Up, w.dev, func(_ *statement.Header, f *statement.Frame, _ *[]statement.Body) { f.Prev[0] ^= 1 })
		}},
		{"unknown plan", UnknownPlan, func(w *world) []byte {
			return w.resign(w.seal().Up, w.dev, func(_ *statement.Header, f *statement.Frame, _ *[]statement.Body) { f.Plan[0] ^= 1 })
		}},
		{"a value changed under the old head", BadTrace, func(w *world) []byte {
			return w.resign(w.seal().Up, w.dev, editBody(w, statement.RecordBlock, func(b *statement.Block) { b.Values[2] = 7000 }))
		}},
		{"a raw byte changed under the old head", BadTrace, func(w *world) []byte {
			up := w.seal(func(in *device.Input) { in.Readings[0].Raw = []byte{1, 2, 3} }).Up
			return w.resign(up, w.dev, editBody(w, statement.RecordBlock, func(b *statement.Block) { b.Raw[1] = 9 }))
		}},
		{"a head that skips a block", BadTrace, func(w *world) []byte {
			return w.resign(w.seal().Up, w.dev, editBody(w, statement.RecordHead, func(h *statement.HeadRecord) { h.Head.Size++ }))
		}},
		{"a head of another start", BadTrace, func(w *world) []byte {
			return w.resign(w.seal().Up, w.dev, editBody(w, statement.RecordHead, func(h *statement.HeadRecord) { h.Head.Start[0] ^= 1 }))
		}},
		{"a block after another reading", BadTrace, func(w *world) []byte {
			return w.resign(w.seal().Up, w.dev, editBody(w, statement.RecordBlock, func(b *statement.Block) { *b.Prev-- }))
		}},
		{"a new trace that drops the last one", BadTrace, func(w *world) []byte {
			w.state.Channels = nil
			return w.seal().Up
		}},
		{"a trace that ignores a new plan entry", BadTrace, func(w *world) []byte {
			up := w.seal().Up
			plan, old := w.replan()
			_ = old
			return w.resign(up, w.dev, func(_ *statement.Header, f *statement.Frame, _ *[]statement.Body) { f.Plan = plan })
		}},
		{"a block without a head", BadRecords, func(w *world) []byte {
			return w.resign(w.seal().Up, w.dev, func(_ *statement.Header, _ *statement.Frame, b *[]statement.Body) {
				*b = append((*b)[:1:1], (*b)[2:]...)
			})
		}},
		{"records out of order", BadRecords, func(w *world) []byte {
			return w.resign(w.seal().Up, w.dev, func(_ *statement.Header, _ *statement.Frame, b *[]statement.Body) {
				(*b)[0], (*b)[1] = (*b)[1], (*b)[0]
			})
		}},
		{"a sighting outside the frame's span", BadRecords, func(w *world) []byte {
			return w.resign(w.seal().Up, w.dev, editBody(w, statement.RecordSighting, func(s *statement.Sighting) { s.Last += 100_000 }))
		}},
		{"records that are not the signed ones", BadRecords, func(w *world) []byte {
			d, err := statement.ParseUp(w.seal().Up)
			if err != nil {
				w.t.Fatal(err)
			}
			up, err := statement.EncodeUp(d.Statement, d.Seed, d.Bodies[:len(d.Bodies)-1])
			if err != nil {
				w.t.Fatal(err)
			}
			return up
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.accept(w.seal().Up)
			before := w.state
			before.Channels = slices.Clone(before.Channels)
			w.refuse(tt.reason, tt.make(w))
			// And the device's own next frame is still welcome.
			w.state = before
			w.accept(w.seal().Up)
		})
	}
}

// replan brings a plan with another limit for the channel into force.
func (w *world) replan() (plan, old statement.Hash) {
	w.t.Helper()
	w.entry.Limits = []trace.Limit{{Comparison: trace.AtOrAbove, Value: 6000}}
	p := w.sign(w.site, statement.KindPlan, "site", &statement.Plan{Version: 1, Seq: 1, Prev: w.plan, Site: statement.Texts{{Lang: "en", Words: "Site"}},
		Zones: []statement.Zone{{ID: "cold1", Name: statement.Texts{{Lang: "en", Words: "Cold"}}, Channels: []statement.Channel{w.entry}, ReRead: 60_000}}})
	if err := w.in.Add(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
	old, w.plan = w.plan, p.ID()
	return w.plan, old
}

func TestNewPlanStartsNewTrace(t *testing.T) {
	w := newWorld(t)
	w.accept(w.seal().Up)
	w.replan()
	w.accept(w.seal().Up, w.seal().Up)
	traces, err := w.st.Traces(t.Context(), w.dev.Key().ID())
	if err != nil || len(traces) != 1 {
		t.Fatal(traces, err)
	}
	if tr := traces[0]; tr.Frontier.Size != 2 || tr.Start.PrevSize != 1 || len(tr.Spec().Limits) != 1 {
		t.Errorf("new trace has size %d after one of %d, %d limits", tr.Frontier.Size, tr.Start.PrevSize, len(tr.Spec().Limits))
	}
}

func TestForkIsEvidence(t *testing.T) {
	w := newWorld(t)
	w.accept(w.seal().Up)
	before := w.state
	a := w.seal()
	w.accept(a.Up)
	w.state = before
	b := w.seal(func(in *device.Input) { in.Readings[0].Values[0] = 5000 })
	w.refuse(Fork, b.Up)
	if forks, err := w.st.Forks(t.Context()); err != nil || len(forks) != 1 || forks[0].ID != b.Statement.ID() {
		t.Errorf("forks kept: %v (%v)", forks, err)
	}
	// The same statement again is no fork: it gets its receipt again.
	out := w.give(a.Up)
	if out[0].Err != nil || len(out[0].Receipts) != 1 {
		t.Errorf("a repeated frame: %+v", out[0])
	}
}

func TestOutOfOrderWaits(t *testing.T) {
	w := newWorld(t)
	var ups [][]byte
	for range 5 {
		ups = append(ups, w.seal().Up)
	}
	out := w.give(ups[2], ups[4])
	for _, o := range out {
		if o.Err != nil || len(o.Receipts) != 0 || o.ResendFrom == nil || *o.ResendFrom != 0 {
			t.Fatalf("a frame ahead of its turn: %+v", o)
		}
	}
	w.accept(ups[0])
	w.open() // what waits is in the store, not in memory
	w.accept(ups[1], ups[3])
	if h := w.heads()[0]; h.Seq != 4 {
		t.Errorf("head is seq %d, want 4", h.Seq)
	}
	if out := w.give(ups[4]); out[0].Err != nil || len(out[0].Receipts) != 1 {
		t.Errorf("the last one again: %+v", out[0])
	}
}

func TestDeclaredGap(t *testing.T) {
	w := newWorld(t)
	var ups [][]byte
	for range 4 {
		ups = append(ups, w.seal().Up)
	}
	// The card lost frames 0 to 2; the device does not know that 0 was delivered.
	declaring := w.seal(func(in *device.Input) {
		in.Restart = true
		in.Happenings = []*statement.Happening{{Type: statement.Gap, At: w.now, Seqs: &[2]uint64{0, 2}, Words: "crc"}}
	})
	next := w.seal()
	w.accept(ups[0])
	if out := w.give(ups[3]); out[0].ResendFrom == nil {
		t.Fatalf("a hole that nobody declared: %+v", out[0])
	}
	w.accept(declaring.Up)
	w.accept(next.Up)
	if h := w.heads()[0]; h.Seq != 5 {
		t.Errorf("head is seq %d, want 5", h.Seq)
	}
	// A late original of the lost frames is not taken back in behind the gap, nor is it
	// a fork: there is no other.
	w.refuse(Lost, ups[1])
	if forks, err := w.st.Forks(t.Context()); err != nil || len(forks) != 0 {
		t.Errorf("forks kept: %v (%v)", forks, err)
	}
}

// TestDeclarationFirst: once connected a device sends the declaring frame before
// those behind the lost ones.
func TestDeclarationFirst(t *testing.T) {
	w := newWorld(t)
	w.accept(w.seal().Up)
	w.seal() // lost
	behind := w.seal().Up
	declaring := w.seal(func(in *device.Input) {
		in.Restart = true
		in.Happenings = []*statement.Happening{{Type: statement.Gap, At: w.now, Seqs: &[2]uint64{1, 1}, Words: "crc"}}
	})
	if out := w.give(declaring.Up); out[0].Err != nil || out[0].ResendFrom != nil {
		t.Fatalf("%+v", out[0])
	}
	w.accept(behind)
	w.accept(w.seal().Up)
	if h := w.heads()[0]; h.Seq != 4 {
		t.Errorf("head is seq %d, want 4", h.Seq)
	}
}

func TestStoreFailureHasNoEffect(t *testing.T) {
	w := newWorld(t)
	w.accept(w.seal().Up)
	up := w.seal().Up
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.in.Handle(ctx, []Message{{KeyID: w.dev.Key().ID(), Data: up}}); err == nil {
		t.Fatal("a store that cannot commit reported success")
	}
	w.accept(up)
}

// BenchmarkHandle is the way of one frame from message to durable row, in
// batches of 64: verify, recompute the trace, commit with fsync.
func BenchmarkHandle(b *testing.B) {
	w := newWorld(b)
	ups := make([][]byte, b.N)
	for i := range ups {
		ups[i] = w.seal().Up
	}
	b.ResetTimer()
	for len(ups) > 0 {
		n := min(len(ups), 64)
		w.give(ups[:n]...)
		ups = ups[n:]
	}
}
