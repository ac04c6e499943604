package journey

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"

	"trailmark/gateway/internal/ingest"
	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/internal/epc"
	"trailmark/passport"
	"trailmark/statement"
	"trailmark/trace"
)

const (
	origin = "ledger.example.com/acme/2026h1"
	// nextOrigin is the one after.
	nextOrigin = "ledger.example.com/acme/2026h2"
	hour       = int64(3_600_000)
	start      = int64(1_772_409_600_000)
	hours      = 24 * 20 // of the journey, a frame each
)

// gate is a gateway of one device in one cold room, with a real store and
// ingest; its ledger is the leaves in memory.
type gate struct {
	t         *testing.T
	dir       string
	st        *store.Store
	in        *ingest.Ingest
	keys      map[statement.Role]ed25519.PrivateKey
	log       ed25519.PrivateKey
	leaves    [][]byte // of the current ledger
	origin    string
	older     map[string][][]byte // leaves of the ledgers before, by origin
	witnesses []*statement.Signer // who cosign what is anchored
	trees     map[span]statement.Hash
	plan      statement.Hash
	entry     statement.Channel
	epoch     uint64

	hours  int64 // of the journey
	reRead int64 // ms
	moves  bool  // the item stands at the dock for the last five of every fifty hours
}

func newGate(t *testing.T) *gate {
	t.Helper()
	return gateOf(t, gate{hours: hours, reRead: 2 * hour})
}

func gateOf(t *testing.T, like gate) *gate {
	t.Helper()
	g := &like
	g.t, g.keys, g.trees = t, map[statement.Role]ed25519.PrivateKey{}, map[span]statement.Hash{}
	for role := statement.RoleDevice; role <= statement.RoleAuthority; role++ {
		g.keys[role] = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(role)}, 32))
	}
	g.log = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32))
	var err error
	g.dir = t.TempDir()
	g.st, err = store.Open(t.Context(), g.dir)
	g.must(err)
	t.Cleanup(func() { g.st.Close() })
	g.shard(origin)
	ring := statement.NewKeyring("acme/test", g.signer(statement.RoleAuthority).Key())
	g.in, err = ingest.New(t.Context(), g.st, ring, func() time.Time { return time.UnixMilli(start) }, slog.New(slog.DiscardHandler))
	g.must(err)
	for role := statement.RoleDevice; role < statement.RoleOrganisation; role++ {
		g.add(statement.RoleAuthority, statement.KindIdentity, &statement.Identity{Version: 1, Key: statement.PublicKey{Key: g.signer(role).Key()},
			Subject: issuer(role), Role: role, From: 1, To: trace.MaxTime})
	}
	device := g.signer(statement.RoleDevice).Key().ID()
	words := statement.Texts{{Lang: "en", Words: "cold room"}}
	g.entry = statement.Channel{Device: device, Name: "probe/temp", Unit: "Cel", Nominal: hour / 2, Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8000}}}
	zones := []statement.Zone{{ID: "cold", Name: words, ReRead: g.reRead,
		Channels: []statement.Channel{g.entry}, Antennas: []statement.Antenna{{Device: device, Name: "1", Role: statement.Inside}}}}
	if g.moves {
		zones = append(zones, statement.Zone{ID: "dock", Name: words, ReRead: g.reRead, Antennas: []statement.Antenna{{Device: device, Name: "2", Role: statement.Inside}}})
	}
	g.plan = g.add(statement.RoleSite, statement.KindPlan, &statement.Plan{Version: 1, Site: words, Zones: zones})
	g.add(statement.RoleBrand, statement.KindProduct, &statement.Product{Version: 1, GTIN: "09521234543213", Name: words, Brand: words,
		Rule: []statement.Criterion{{Unit: "Cel", Limit: g.entry.Limits[0], Kind: statement.Cumulative}}})
	return g
}

func (g *gate) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *gate) signer(role statement.Role) *statement.Signer {
	s, err := statement.NewSigner(g.keys[role])
	g.must(err)
	return s
}

func issuer(role statement.Role) string { return fmt.Sprintf("urn:example:%d", role) }

func (g *gate) sign(role statement.Role, kind statement.Kind, payload any) *statement.Statement {
	s, err := g.signer(role).Sign(statement.Header{Issuer: issuer(role), Subject: strconv.FormatUint(g.epoch, 10), Audience: "acme/test", Kind: kind}, dcbor.MustMarshal(payload))
	g.must(err)
	return s
}

func (g *gate) add(role statement.Role, kind statement.Kind, payload any) statement.Hash {
	s := g.sign(role, kind, payload)
	g.must(g.in.Add(g.t.Context(), s))
	g.record(s)
	return s.ID()
}

func (g *gate) record(s *statement.Statement) {
	entry := s.Entry()
	g.leaves = append(g.leaves, entry[:])
}

// rotate gives the device its next key, and the site a plan that lists it.
func (g *gate) rotate() {
	old := g.entry.Device
	g.keys[statement.RoleDevice] = nextKey()
	key := g.signer(statement.RoleDevice).Key()
	g.epoch++
	g.add(statement.RoleAuthority, statement.KindIdentity, &statement.Identity{Version: 1, Key: statement.PublicKey{Key: key}, Replaces: &old, Epoch: g.epoch,
		Subject: issuer(statement.RoleDevice), Role: statement.RoleDevice, From: 1, To: trace.MaxTime})
	g.entry.Device = key.ID()
	words := statement.Texts{{Lang: "en", Words: "cold room"}}
	g.plan = g.add(statement.RoleSite, statement.KindPlan, &statement.Plan{Version: 1, Seq: 1, Prev: g.plan, Site: words, Zones: []statement.Zone{{ID: "cold", Name: words, ReRead: 2 * hour,
		Channels: []statement.Channel{g.entry}, Antennas: []statement.Antenna{{Device: key.ID(), Name: "1", Role: statement.Inside}}}}})
}

func nextKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, 32)) }

// journey lets the device report a frame an hour, in which it sees the item all
// along; every day ends with an anchor.
func (g *gate) journey() { g.journeyWith(-1, -1) }

// journeyWith is journey in which the device has its next key from an hour on, and
// the gateway its next ledger (−1: never).
func (g *gate) journeyWith(rotation, boundary int64) {
	tag := epc.Object{GTIN: "09521234543213", Serial: "1001"}.Tags()[0]
	first := trace.Start{Channel: g.entry.Name, Plan: g.entry.Hash()}
	front := trace.Frontier{Start: first.Hash()}
	var prev statement.Hash
	var after *statement.After
	var seq uint64
	for h := range g.hours {
		if h == boundary {
			g.anchor(1000, start+h*hour) // the last checkpoint of the ledger before
			g.shard(nextOrigin)
		}
		if h == rotation {
			head, err := front.Head()
			g.must(err)
			g.rotate()
			first = trace.Start{Epoch: g.epoch, Channel: g.entry.Name, Plan: g.entry.Hash(), PrevStart: head.Start, PrevSize: head.Size, PrevRoot: head.Root}
			front, seq = trace.Frontier{Start: first.Hash()}, 0
		}
		t1 := start + (h+1)*hour
		last := int64(-1)
		if seq > 0 {
			last = t1 - hour
		}
		times, values := []int64{t1 - hour/2, t1}, []int64{4000 + h%7*100, 4300}
		block, err := statement.NewBlock(g.entry.Name, last, times, values)
		g.must(err)
		var bodies []statement.Body
		body := func(v interface{ Check() error }) {
			b, err := statement.NewBody(v)
			g.must(err)
			bodies = append(bodies, b)
		}
		body(block)
		seed := [32]byte{byte(h), byte(h >> 8)}
		digest, err := g.entry.Spec().Leaf(last, times, values)
		g.must(err)
		front, _, err = front.Append(sha256.Sum256(statement.SaltedRecord(statement.Salt(seed, 0), bodies[0])), digest)
		g.must(err)
		head, err := front.Head()
		g.must(err)
		rec := &statement.HeadRecord{Channel: g.entry.Name, Head: head}
		if seq == 0 {
			rec.Start = &first
		}
		body(rec)
		antenna := "1"
		if g.moves && h%50 >= 45 {
			antenna = "2"
		}
		body(&statement.Sighting{Antenna: antenna, EPC: tag, First: t1 - hour + 1, Last: t1 - 1, Reads: 60})
		if h == rotation-1 {
			next, err := statement.NewKey(nextKey().Public())
			g.must(err)
			kid := next.ID()
			body(&statement.Happening{Type: statement.KeyRotation, At: t1, Raw: kid[:]})
		}
		records := statement.Records(seed, bodies)
		s := g.sign(statement.RoleDevice, statement.KindFrame, &statement.Frame{Version: 1, Seq: seq, Prev: prev, Plan: g.plan, After: after,
			Span: [2]int64{t1 - hour, t1}, Root: statement.RecordsRoot(records), Count: uint64(len(records)),
			Clock: statement.Clock{Boottime: h, Wall: t1, Quality: statement.ClockSynchronised}})
		prev, seq = s.ID(), seq+1
		up, err := statement.EncodeUp(s, seed, bodies)
		g.must(err)
		out, err := g.in.Handle(g.t.Context(), []ingest.Message{{KeyID: g.entry.Device, Data: up}})
		g.must(err)
		if len(out[0].Receipts) != 1 {
			g.t.Fatalf("frame %d: %+v", h, out[0])
		}
		g.record(s)
		if h%24 == 23 {
			after = g.anchor(h/24+1, t1+60_000)
		}
	}
}

// shard goes on in a new ledger.
func (g *gate) shard(origin string) {
	if g.older == nil {
		g.older = map[string][][]byte{}
	}
	g.older[g.origin] = g.leaves
	g.origin, g.leaves = origin, nil
	g.must(g.st.Update(g.t.Context(), func(tx *store.Tx) error {
		_, err := tx.AddShard(origin)
		return err
	}))
}

// anchor anchors the ledger as it is, in a block of the given height.
func (g *gate) anchor(height, ms int64) *statement.After {
	root := statement.RecordsRoot(g.leaves)
	size := uint64(len(g.leaves))
	vkey, err := note.NewEd25519VerifierKey(g.origin, g.log.Public().(ed25519.PublicKey))
	g.must(err)
	v, err := note.NewVerifier(vkey)
	g.must(err)
	s, err := note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", g.origin, v.KeyHash(), base64.StdEncoding.EncodeToString(append([]byte{1}, g.log.Seed()...))))
	g.must(err)
	text, err := note.Sign(&note.Note{Text: string(log.Checkpoint{Origin: g.origin, Size: size, Hash: root[:]}.Marshal())}, s)
	g.must(err)
	for _, w := range g.witnesses {
		cp, err := statement.OpenCheckpoint(text, g.origin, g.trust().Logs[0].Key.Key)
		g.must(err)
		line, err := w.Cosign(cp, ms/1000)
		g.must(err)
		text = append(text, line...)
	}
	block := sha256.Sum256([]byte{byte(height)})
	g.must(g.st.Update(g.t.Context(), func(tx *store.Tx) error {
		return tx.AddAnchor(store.Anchor{Size: size, Origin: g.origin, Chain: "chain", Root: root, Height: height, Time: ms, Block: block[:], Tx: []byte{1}, Note: text})
	}))
	return &statement.After{Origin: sha256.Sum256([]byte(g.origin)), Size: size, Root: root, ChainID: "chain", Height: uint64(height), BlockHash: block}
}

// Inclusion is the ledger's.
func (g *gate) Inclusion(_ context.Context, origin string, index, size uint64) (path [][]byte, err error) {
	leaves := g.leaves
	if origin != g.origin {
		leaves = g.older[origin]
	}
	if index >= size || size > uint64(len(leaves)) {
		return nil, fmt.Errorf("entry %d of %d, of which %d are asked for", index, len(leaves), size)
	}
	for lo, hi := uint64(0), size; hi-lo > 1; {
		mid := lo + trace.Split(hi-lo)
		var beside statement.Hash
		if index < mid {
			beside, hi = g.subtree(origin, leaves, mid, hi), mid
		} else {
			beside, lo = g.subtree(origin, leaves, lo, mid), mid
		}
		path = append(path, beside[:])
	}
	slices.Reverse(path)
	return path, nil
}

// span is a subtree of a ledger.
type span struct {
	origin string
	lo, hi uint64
}

// subtree is the hash over leaves [lo, hi), each computed once.
func (g *gate) subtree(origin string, leaves [][]byte, lo, hi uint64) statement.Hash {
	if hi-lo == 1 {
		return statement.LeafHash(leaves[lo])
	}
	h, ok := g.trees[span{origin, lo, hi}]
	if !ok {
		mid := lo + trace.Split(hi-lo)
		l, r := g.subtree(origin, leaves, lo, mid), g.subtree(origin, leaves, mid, hi)
		h = sha256.Sum256(slices.Concat([]byte{1}, l[:], r[:]))
		g.trees[span{origin, lo, hi}] = h
	}
	return h
}

func (g *gate) composer(chain Chain) *Composer {
	s, err := statement.NewSigner(g.log)
	g.must(err)
	return New(g.st, g, s, chain, slog.New(slog.DiscardHandler))
}

func (g *gate) trust() *passport.Trust {
	key, err := statement.NewKey(g.log.Public())
	g.must(err)
	return &passport.Trust{Version: 1, Audience: "acme/test", Authorities: []statement.PublicKey{{Key: g.signer(statement.RoleAuthority).Key()}},
		Logs:   []passport.Log{{Origin: origin, Key: statement.PublicKey{Key: key}}, {Origin: nextOrigin, Key: statement.PublicKey{Key: key}}},
		Chains: []passport.Chain{{ID: "chain", Kind: passport.Comet, Validators: 1}}}
}

// TestJourney composes the passport of twenty days and verifies it.
func TestJourney(t *testing.T) {
	g := newGate(t)
	link := epc.Link{GTIN: "09521234543213", Serial: "1001"}
	if _, err := g.composer(nil).Item(t.Context(), link); !errors.Is(err, ErrNotYet) {
		t.Errorf("before any anchor: %v", err)
	}
	g.journey()
	if _, err := g.composer(nil).Item(t.Context(), epc.Link{GTIN: link.GTIN, Serial: "1002"}); !errors.Is(err, ErrNotYet) {
		t.Errorf("an item that nobody saw: %v", err)
	}
	data, err := g.composer(nil).Item(t.Context(), link)
	g.must(err)
	v, err := passport.Verify(data, g.trust(), time.UnixMilli(start))
	if err != nil {
		t.Fatal(err)
	}
	if v.Outcome != passport.Kept || len(v.Legs) != 1 || len(v.Withheld) != 0 {
		t.Fatalf("%s, %d legs, withheld %v", v.Outcome, len(v.Legs), v.Withheld)
	}
	leg := v.Legs[0]
	if leg.Presence != passport.Seen || leg.Sightings >= hours || leg.To-leg.From != hours*hour-2 {
		t.Errorf("%s with %d of %d sightings, from %d to %d", leg.Presence, leg.Sightings, hours, leg.From, leg.To)
	}
	ch := leg.Channels[0]
	if ch.Blocks != hours || len(ch.Heads) != 4 || ch.HeadGap > week || ch.Unmeasured > hour || ch.Late != 23*hour+60_000 || ch.LateProof != passport.Declared {
		t.Errorf("%d blocks, heads %+v, gap %d, late %d", ch.Blocks, ch.Heads, ch.HeadGap, ch.Late)
	}
	if len(data) > 250_000 {
		t.Errorf("%d bytes", len(data))
	}
}

// TestWitnessedJourney: a passport shows who the witnesses of its newest checkpoint
// are, also devices that were nowhere near the item, and leaves older checkpoints
// out rather than grow without bound.
func TestWitnessedJourney(t *testing.T) {
	g := newGate(t)
	for seed := range byte(80) {
		s, err := statement.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{100 + seed}, 32)))
		g.must(err)
		g.witnesses = append(g.witnesses, s)
		g.add(statement.RoleAuthority, statement.KindIdentity, &statement.Identity{Version: 1, Key: statement.PublicKey{Key: s.Key()},
			Subject: fmt.Sprintf("urn:example:witness:%d", seed), Role: statement.RoleDevice, From: 1, To: trace.MaxTime})
	}
	g.journey()
	trust := g.trust()
	trust.Witnesses = &passport.Witnesses{Quorum: 64, Devices: true}
	data, err := g.composer(nil).Audit(t.Context(), epc.Link{GTIN: "09521234543213", Serial: "1001"})
	g.must(err)
	v, err := passport.VerifyAudit(data, trust, time.UnixMilli(start))
	g.must(err)
	if l := v.Witnesses.Ledgers[0]; len(l.Cosigned) != 80 || l.Reach != l.Size {
		t.Errorf("%d witnesses, reach %d of %d", len(l.Cosigned), l.Reach, l.Size)
	}
	p, err := passport.Parse(data)
	g.must(err)
	total := 0
	for _, c := range p.Ledgers[0].Older {
		total += len(c.Note)
	}
	if n := len(p.Ledgers[0].Older); n == 0 || n >= hours/24-1 || total > maxOlderNotes {
		t.Errorf("%d older checkpoints of %d bytes", n, total)
	}
	if v.Outcome != passport.Kept {
		t.Errorf("outcome %s", v.Outcome)
	}
	if _, err := passport.VerifyAudit(data, g.trust(), time.UnixMilli(start)); err != nil {
		t.Errorf("by a trust file without witnesses: %v", err)
	}
}

// TestRotatedJourney: the device goes on with its next key in the middle of the
// stay, or at its very end, and the passport is of one channel.
func TestRotatedJourney(t *testing.T) {
	for _, rotation := range []int64{240, hours - 1} {
		g := newGate(t)
		old := g.entry.Device
		g.journeyWith(rotation, -1)
		for _, audit := range []bool{false, true} {
			make, verify := g.composer(nil).Item, passport.Verify
			if audit {
				make, verify = g.composer(nil).Audit, passport.VerifyAudit
			}
			data, err := make(t.Context(), epc.Link{GTIN: "09521234543213", Serial: "1001"})
			g.must(err)
			v, err := verify(data, g.trust(), time.UnixMilli(start))
			g.must(err)
			if v.Outcome != passport.Kept || len(v.Legs) != 1 || len(v.Withheld) != 0 || len(v.Devices) != 2 || v.Devices[0].Issuer != v.Devices[1].Issuer || v.Unplaced != 0 {
				t.Fatalf("rotation at %d: %s, %d legs, withheld %v, devices %v", rotation, v.Outcome, len(v.Legs), v.Withheld, v.Devices)
			}
			leg := v.Legs[0]
			if leg.Presence != passport.Seen || leg.To-leg.From != hours*hour-2 || len(leg.Channels) != 1 {
				t.Fatalf("rotation at %d: %s from %d to %d, %d channels", rotation, leg.Presence, leg.From, leg.To, len(leg.Channels))
			}
			if ch := leg.Channels[0]; ch.Device != old || ch.Blocks != hours || audit && ch.Shown != hours || ch.Min != 4000 || ch.Max != 4600 || ch.HeadGap > week || ch.Unmeasured > 2*hour {
				t.Errorf("rotation at %d: %+v", rotation, ch)
			}
		}
	}
}

// TestAuditJourney shows every reading and a head a day.
func TestAuditJourney(t *testing.T) {
	g := newGate(t)
	g.journey()
	data, err := g.composer(nil).Audit(t.Context(), epc.Link{GTIN: "09521234543213", Serial: "1001"})
	g.must(err)
	v, err := passport.VerifyAudit(data, g.trust(), time.UnixMilli(start))
	if err != nil {
		t.Fatal(err)
	}
	ch := v.Legs[0].Channels[0]
	if ch.Shown != hours || len(ch.Readings) != 2*hours || len(ch.Heads) < 20 || ch.HeadGap > day {
		t.Errorf("%d of %d blocks, %d readings, %d heads, gap %d", ch.Shown, ch.Blocks, len(ch.Readings), len(ch.Heads), ch.HeadGap)
	}
}

// TestErasedJourney: with readings gone, passport and audit still verify, with the
// same summary, and say how many blocks the site erased.
func TestErasedJourney(t *testing.T) {
	g := newGate(t)
	link := epc.Link{GTIN: "09521234543213", Serial: "1001"}
	g.journey()
	compose := func(audit bool) passport.ChannelFacts {
		t.Helper()
		make, verify := g.composer(nil).Item, passport.Verify
		if audit {
			make, verify = g.composer(nil).Audit, passport.VerifyAudit
		}
		data, err := make(t.Context(), link)
		g.must(err)
		v, err := verify(data, g.trust(), time.UnixMilli(start))
		g.must(err)
		if v.Outcome != passport.Kept || len(v.Withheld) > 0 {
			t.Fatalf("audit %v: %s, withheld %v", audit, v.Outcome, v.Withheld)
		}
		return v.Legs[0].Channels[0]
	}
	whole := compose(false)
	// The first, the last, and some whose heads are shown, among others.
	const gone = 30
	for i := range uint64(gone) {
		seq := i * (hours - 1) / (gone - 1)
		found, err := g.st.BlocksOf(t.Context(), g.entry.Device, g.entry.Name, seq, seq)
		g.must(err)
		row, err := g.st.Statement(t.Context(), found[0].Index)
		g.must(err)
		d, err := row.Delivery()
		g.must(err)
		g.add(statement.RoleSite, statement.KindErasure, &statement.Erasure{Version: 1, Frame: row.ID, At: start, Why: "retention",
			Records: []statement.Erased{{Index: 0, Hash: d.Leaves[0], Kind: statement.RecordBlock,
				Block: &statement.ErasedBlock{Channel: g.entry.Name, Start: found[0].Start.Hash(), N: found[0].N, Digest: found[0].Digest}}}})
	}
	if ch := compose(true); ch.Erased != 0 || ch.Shown != hours-gone {
		t.Errorf("before the erasures are anchored: %d erased, %d shown", ch.Erased, ch.Shown)
	}
	g.anchor(hours/24+1, start+(hours+1)*hour)
	for _, audit := range []bool{false, true} {
		ch := compose(audit)
		if ch.Erased != gone || ch.Blocks != whole.Blocks || ch.Min != whole.Min || ch.Max != whole.Max || ch.Mean != whole.Mean {
			t.Errorf("audit %v: %d of %d blocks erased, min %d, max %d, mean %d, want %d, %d, %d", audit, ch.Erased, ch.Blocks, ch.Min, ch.Max, ch.Mean, whole.Min, whole.Max, whole.Mean)
		}
		if audit && (ch.Shown != hours-gone || len(ch.Readings) != 2*(hours-gone)) {
			t.Errorf("%d blocks and %d readings shown of %d", ch.Shown, len(ch.Readings), hours)
		}
	}
}

// witness proves anchors, or none.
type witness struct{ err error }

func (w witness) Evidence(_ context.Context, a store.Anchor) (passport.Anchor, []byte, error) {
	return passport.Anchor{Chain: a.Chain, Kind: passport.Comet, Height: uint64(a.Height), Block: statement.Hash(a.Block), Time: a.Time + 7}, []byte("proof"), w.err
}

// TestAnchorsAreShown: with the chain's proof and its time, or as declared.
func TestAnchorsAreShown(t *testing.T) {
	g := newGate(t)
	g.journey()
	for name, w := range map[string]witness{"proven": {}, "unproven": {errors.New("no commit yet")}} {
		data, err := g.composer(w).Item(t.Context(), epc.Link{GTIN: "09521234543213", Serial: "1001"})
		g.must(err)
		p, err := passport.Parse(data)
		g.must(err)
		l := p.Ledgers[0]
		if len(l.Older) != 3 || l.Newest.Anchor == nil {
			t.Fatalf("%s: %d older checkpoints", name, len(l.Older))
		}
		for _, c := range append(l.Older, l.Newest) {
			if proven := string(c.Proof) == "proof" && c.Anchor.Time%1000 == 7; proven != (w.err == nil) {
				t.Errorf("%s: anchor at %d with proof %q", name, c.Anchor.Time, c.Proof)
			}
		}
	}
}

func TestThin(t *testing.T) {
	at := func(kid byte, first, last int64) store.Sighting {
		return store.Sighting{KeyID: statement.Hash{kid}, Antenna: "1", First: first, Last: last}
	}
	run := func(n int, every int64) (out []store.Sighting) {
		for i := range int64(n) {
			out = append(out, at(1, i*every, i*every+10))
		}
		return out
	}
	fifteen := func(store.Sighting) int64 { return 150 }
	for name, c := range map[string]struct {
		in   []store.Sighting
		want int
	}{
		"none":           {nil, 0},
		"one":            {run(1, 20), 1},
		"two":            {run(2, 20), 2},
		"many":           {run(1000, 20), 126},
		"far apart":      {run(20, 1000), 20},
		"far too many":   {run(1000, 1000), maxSightings},
		"two antennas":   {append(run(1, 20), at(2, 30, 40), at(1, 50, 60)), 3},
		"a long absence": {append(run(50, 20), at(1, 5000, 5010)), 9},
	} {
		got := thin(c.in, fifteen)
		if len(got) != c.want {
			t.Errorf("%s: %d of %d sightings, want %d", name, len(got), len(c.in), c.want)
		}
		if len(got) == 0 {
			continue
		}
		if got[0].First != c.in[0].First || got[len(got)-1].Last != c.in[len(c.in)-1].Last {
			t.Errorf("%s: the ends are lost", name)
		}
		for i := 1; i < len(got) && name == "many"; i++ {
			if got[i].First-got[i-1].Last > 150 {
				t.Errorf("%s: a gap of %d", name, got[i].First-got[i-1].Last)
			}
		}
	}
}
