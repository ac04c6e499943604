package passporttest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"math"
	"strconv"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"trailmark/internal/dcbor"
	"trailmark/passport"
	"trailmark/statement"
	"trailmark/trace"
)

// world is the signers and what they have signed, in ledger order.
type world struct {
	t testing.TB
	o Options

	authority, log, site, hauler, brand *statement.Signer
	logKey                              ed25519.PrivateKey
	store, truck                        *device
	plans                               []*statement.Plan
	planIDs                             []statement.Hash
	entries                             []entry
	chain                               anchorer
	anchors                             []anchored // older ones
	j                                   journal
}

// anchorer is a chain that keeps checkpoints.
type anchorer interface {
	// anchor puts a note into a block at a time in ms and proves it.
	anchor(note []byte, height uint64, ms int64) (*passport.Anchor, []byte)
	// pinned is the chain as a trust file names it once all is anchored.
	pinned() passport.Chain
}

// entry is one ledger entry.
type entry struct {
	raw     []byte
	id      statement.Hash
	kind    statement.Kind
	records [][]byte         // of a frame
	shown   []int            // records to disclose
	inputs  map[string][]int // of what the item was made from
}

type device struct {
	signer   *statement.Signer
	issuer   string
	name     string
	epoch    uint64
	seq      uint64
	prev     statement.Hash
	channels []*channel
}

// channel is one channel of a device with all its traces.
type channel struct {
	zone, name string
	value      func(minutes int) int64
	traces     []*series
	last       int64 // time of the last reading
}

// series is one trace.
type series struct {
	device   statement.Hash
	start    trace.Start
	frontier trace.Frontier
	nodes    nodes
	leaves   []leaf
}

// leaf says where a block and the head after it are.
type leaf struct {
	entry, block, head int
	digest             trace.Digest
}

type nodes map[[2]uint64]trace.Node

// Node makes nodes a trace.Nodes.
func (n nodes) Node(level uint, index uint64) (trace.Node, error) {
	return n[[2]uint64{uint64(level), index}], nil
}

func keyOf(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func newWorld(t testing.TB, o Options) *world {
	w := &world{t: t, o: o, chain: newChain(4)}
	switch {
	case o.EVM != nil:
		w.chain = &evm{o: *o.EVM}
	case o.Minority:
		w.chain = newChain(2)
	}
	key := func(seed byte) (*statement.Signer, ed25519.PrivateKey) {
		priv := keyOf(seed)
		s, err := statement.NewSigner(priv)
		w.must(err)
		return s, priv
	}
	w.authority, _ = key(1)
	w.log, w.logKey = key(2)
	w.site, _ = key(3)
	w.brand, _ = key(4)
	w.hauler, _ = key(7)
	w.store = &device{issuer: "urn:dev:mac:0024befffe804ff1", name: "coldstore-pi", channels: []*channel{
		{zone: Store, name: Air, value: func(m int) int64 { return 4400 + wave(m, 900) }},
		{zone: Store, name: Humidity, value: func(m int) int64 { return 55_000 + wave(m, 6000) }},
	}}
	w.truck = &device{issuer: "urn:dev:mac:0024befffe804ff2", name: "truck-pi", channels: []*channel{
		{zone: Truck, name: Box, value: func(m int) int64 {
			switch {
			case o.Beyond && m >= 480 && m < 560, o.Brief && m >= 480 && m < 490:
				return 9600 + wave(m, 1200)
			}
			return 5200 + wave(m, 1300)
		}},
	}}
	w.store.signer, _ = key(5)
	w.truck.signer, _ = key(6)
	return w
}

// wave swings by amplitude thousandths over four hours, in tenths of the unit.
func wave(minutes int, amplitude float64) int64 {
	return int64(math.Round(amplitude*math.Sin(float64(minutes)*math.Pi/120)/100)) * 100
}

// sign signs a payload and records it.
func (w *world) sign(s *statement.Signer, kind statement.Kind, issuer, subject string, payload any) *statement.Statement {
	data, err := dcbor.Marshal(payload)
	w.must(err)
	st, err := s.Sign(statement.Header{Issuer: issuer, Subject: subject, Audience: Audience, Kind: kind}, data)
	w.must(err)
	raw := st.Bytes()
	if w.o.Forge != nil {
		raw = w.o.Forge(kind, bytes.Clone(raw))
	}
	w.entries = append(w.entries, entry{raw: raw, id: st.ID(), kind: kind})
	return st
}

// journey signs everything, in order of time.
func (w *world) journey() {
	w.identities()
	w.sitePlan(0)
	if w.o.Journey != nil {
		w.before()
	}
	if !w.o.Unruled {
		rule := []statement.Criterion{
			{Unit: "Cel", Limit: limits(8000, 2000)[0], Kind: statement.Cumulative, For: 30 * 60_000},
			{Unit: "Cel", Limit: limits(8000, 2000)[1], Kind: statement.Single},
		}
		if named, ok := passport.Rule(w.o.Rule); ok {
			rule = named
		}
		w.sign(w.brand, statement.KindProduct, brandIssuer, "product", &statement.Product{Version: 1, GTIN: GTIN, Lot: "B2603",
			Name: words("流感疫苗（示例）", "Influenza vaccine (example)"), Brand: words("示例生物", "Example Biologics"),
			Rule: rule})
	}
	for hour := 1; hour <= 11; hour++ {
		if hour == 4 && w.o.Replanned {
			w.sitePlan(1)
		}
		if hour == 4 && w.o.Rotated != nil {
			w.rotate()
		}
		if hour <= 7 {
			w.frame(w.store, hour, 30, 350, !w.o.Moment)
		}
		if hour >= 6 {
			w.frame(w.truck, hour, w.departs(), 625, false)
		}
		if w.o.Journey != nil {
			w.during(hour)
		}
		if w.o.Anchored && hour%3 == 2 {
			w.anchorAt(60*hour + 2)
		}
	}
	if w.o.Erased {
		w.erase()
	}
	status := &statement.KeyStatus{Version: 1, Origin: originOf(0), Size: 1, At: at(700)}
	if w.o.Revoked != 0 {
		kid := map[statement.Role]*statement.Signer{statement.RoleDevice: w.truck.signer, statement.RoleSite: w.site}[w.o.Revoked].Key().ID()
		status.Revoked = []statement.Revoked{{KeyID: kid, Seq: w.o.RevokedFrom}}
	}
	if w.o.Revoked != 0 || w.o.KeyStatus {
		w.sign(w.authority, statement.KindKeyStatus, "authority", "keystatus", status)
	}
}

const (
	siteIssuer   = "https://id.example.com/414/9521321000019"
	haulerIssuer = "https://id.example.com/414/9521321000026"
	brandIssuer  = "https://id.example.com/417/9521321000002"
)

func (w *world) identities() {
	add := func(s *statement.Signer, subject string, role statement.Role, name string) {
		id := &statement.Identity{Version: 1, Key: statement.PublicKey{Key: s.Key()}, Subject: subject, Role: role, Name: name, From: at(-1000), To: at(100_000)}
		if s == w.truck.signer {
			id.Simulated = w.o.Simulated
			if w.o.Expired {
				id.To = at(60)
			}
		}
		w.sign(w.authority, statement.KindIdentity, "authority", subject, id)
	}
	add(w.site, siteIssuer, statement.RoleSite, "")
	add(w.brand, brandIssuer, statement.RoleBrand, "")
	if w.o.SameZone || w.o.ErasedByOther {
		add(w.hauler, haulerIssuer, statement.RoleSite, "")
	}
	if w.o.Journey != nil {
		w.enrolOrganisations()
	}
	add(w.store.signer, w.store.issuer, statement.RoleDevice, w.store.name)
	add(w.truck.signer, w.truck.issuer, statement.RoleDevice, w.truck.name)
}

// rotate lets the store's device go on with its next key.
func (w *world) rotate() {
	d, old := w.store, w.store.signer.Key().ID()
	if w.o.Rotated.Overlap {
		w.frame(d, 4, 30, 350, true)
	}
	next, err := statement.NewSigner(keyOf(8))
	w.must(err)
	id := &statement.Identity{Version: 1, Key: statement.PublicKey{Key: next.Key()}, Subject: d.issuer, Role: statement.RoleDevice, Name: d.name,
		From: at(0), To: at(100_000), Epoch: d.epoch + 1, Replaces: &old}
	if w.o.Rotated.Identity != nil {
		w.o.Rotated.Identity(id)
	}
	w.sign(w.authority, statement.KindIdentity, "authority", id.Subject, id)
	d.signer, d.issuer, d.epoch, d.seq = next, id.Subject, id.Epoch, 0
	w.sitePlan(1)
}

// sitePlan signs the plan with this seq; of SameZone each zone is another
// site's.
func (w *world) sitePlan(seq uint64) {
	near := statement.SameRoom
	if seq > 0 && w.o.Replanned {
		near = statement.SameBox // any change of an entry restarts its trace
	}
	store, truck := w.store.signer.Key().ID(), w.truck.signer.Key().ID()
	zones := []statement.Zone{
		{ID: Store, Name: words("杭州冷库 1 号", "Hangzhou cold store 1"), ReRead: 15 * 60_000,
			Channels: []statement.Channel{
				{Device: store, Name: Air, Unit: "Cel", Limits: limits(8000, 2000), Nominal: 300_000, Closeness: near},
				{Device: store, Name: Humidity, Unit: "%RH", Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 75_000}}, Nominal: 300_000, Closeness: statement.SameRoom}},
			Antennas: []statement.Antenna{{Device: store, Name: "1", Role: statement.Inside}}},
		{ID: Truck, Name: words("沪杭冷藏车 3 号", "Refrigerated truck 3"), ReRead: 15 * 60_000,
			Channels: []statement.Channel{{Device: truck, Name: Box, Unit: "Cel", Limits: limits(8000, 2000), Nominal: 300_000, Closeness: statement.SameBox}},
			Antennas: []statement.Antenna{{Device: truck, Name: "1", Role: statement.Inside}}},
	}
	if w.o.Humid {
		zones[1].Channels[0].Unit, zones[1].Channels[0].Limits = "%RH", nil
	}
	plan := func(s *statement.Signer, issuer string, zones ...statement.Zone) {
		p := &statement.Plan{Version: 1, Seq: seq, Site: words("示例医药物流", "Example Pharma Logistics"), Zones: zones}
		if seq > 0 {
			p.Prev = w.planIDs[len(w.planIDs)-1]
		}
		if w.o.WrongRole {
			s, issuer = w.store.signer, w.store.issuer
		}
		w.planIDs = append(w.planIDs, w.sign(s, statement.KindPlan, issuer, "plan", p).ID())
		w.plans = append(w.plans, p)
	}
	if w.o.SameZone {
		zones[1].ID = Store
		plan(w.site, siteIssuer, zones[0])
		plan(w.hauler, haulerIssuer, zones[1])
		return
	}
	plan(w.site, siteIssuer, zones...)
}

// departs is when the truck first sees the item, in minutes.
func (w *world) departs() int {
	if w.o.Overlap {
		return 345
	}
	return 390
}

// planOf is the plan in force for a device.
func (w *world) planOf(d *device) (*statement.Plan, statement.Hash) {
	for i := len(w.plans) - 1; i >= 0; i-- {
		if _, _, ok := w.plans[i].Channel(d.signer.Key().ID(), d.channels[0].name); ok {
			return w.plans[i], w.planIDs[i]
		}
	}
	w.t.Fatal("no plan has the device")
	return nil, statement.Hash{}
}

// frame signs the readings of one hour, the item's sighting in it if it was
// there between from and to minutes, and one of another item.
func (w *world) frame(d *device, hour, from, to int, allAlong bool) {
	plan, planID := w.planOf(d)
	f := &statement.Frame{Version: 1, Seq: d.seq, Prev: d.prev, Plan: planID, Span: [2]int64{at(60*hour - 60), at(60 * hour)},
		Clock: statement.Clock{BootCount: 1, Boottime: int64(hour) * 3_600_000_000_000, Wall: at(60 * hour), Quality: statement.ClockSynchronised, MaxError: 20},
		After: w.after()}
	seed := [32]byte{byte(hour), d.channels[0].name[0]}
	var bodies []statement.Body
	add := func(v interface{ Check() error }) {
		b, err := statement.NewBody(v)
		w.must(err)
		bodies = append(bodies, b)
	}
	e := len(w.entries)
	for _, ch := range d.channels {
		_, listed, ok := plan.Channel(d.signer.Key().ID(), ch.name)
		if !ok {
			w.t.Fatalf("plan lacks %s", ch.name)
		}
		s := ch.current(d.epoch, listed)
		var times, values []int64
		for m := 60*hour - 55; m <= 60*hour; m += 5 {
			times, values = append(times, at(m)), append(values, ch.value(m))
		}
		prev := int64(-1)
		if s.frontier.Size > 0 {
			prev = ch.last
		}
		block, err := statement.NewBlock(ch.name, prev, times, values)
		w.must(err)
		add(block)
		digest, err := listed.Spec().Leaf(prev, times, values)
		w.must(err)
		var made []trace.Perfect
		record := statement.SaltedRecord(statement.Salt(seed, len(bodies)-1), bodies[len(bodies)-1])
		s.frontier, made, err = s.frontier.Append(sha256.Sum256(record), digest)
		w.must(err)
		for _, p := range made {
			s.nodes[[2]uint64{uint64(p.Level), p.Index}] = p.Node
		}
		ch.last = times[len(times)-1]
		head, err := s.frontier.Head()
		w.must(err)
		if w.o.Rewritten && ch.name == Air && hour == 3 {
			head.Root[0] ^= 1
		}
		h := &statement.HeadRecord{Channel: ch.name, Head: head}
		if head.Size == 1 {
			h.Start = &s.start
		}
		add(h)
		s.leaves = append(s.leaves, leaf{e, len(bodies) - 2, len(bodies) - 1, digest})
	}
	var inputs map[string][]int
	if w.o.Journey != nil && w.o.Journey.Made && d == w.store && hour == 1 {
		inputs = map[string][]int{}
		for _, serial := range inputSerials {
			tag, tid := w.tag(d, serial)
			inputs[serial] = []int{len(bodies)}
			add(&statement.Sighting{Antenna: "1", EPC: tag, TID: tid, First: at(2), Last: at(14), Reads: 20})
		}
	}
	shown := w.sightings(d, hour, from, to, allAlong, len(bodies), add)
	if w.o.Rotated != nil && d == w.store && d.epoch == 0 && (hour == 4 || hour == 3 && !w.o.Rotated.Overlap) {
		next, err := statement.NewKey(keyOf(8).Public())
		w.must(err)
		kid := next.ID()
		add(&statement.Happening{Type: statement.KeyRotation, At: at(60 * hour), Raw: kid[:]})
	}
	records := statement.Records(seed, bodies)
	f.Root, f.Count = statement.RecordsRoot(records), uint64(len(records))
	st := w.sign(d.signer, statement.KindFrame, d.issuer, strconv.FormatUint(d.epoch, 10), f)
	d.seq, d.prev = d.seq+1, st.ID()
	w.entries[e].records, w.entries[e].shown, w.entries[e].inputs = records, shown, inputs
}

// sightings adds the frame's sightings and says which records of them to show.
func (w *world) sightings(d *device, hour, from, to int, allAlong bool, next int, add func(interface{ Check() error })) (shown []int) {
	first, last := max(from, 60*hour-60), min(to, 60*hour-5)
	if first > last {
		return nil
	}
	see := func(serial string, first, last int64, reads uint64) {
		tag, tid := w.tag(d, serial)
		add(&statement.Sighting{Antenna: "1", EPC: tag, TID: tid, First: first, Last: last, Reads: reads})
		next++
		if serial == Serial || w.o.Foreign && hour == 2 {
			shown = append(shown, next-1)
		}
	}
	see("2002", at(first), at(last), 7)
	switch {
	case d == w.truck && w.o.Moment:
		if hour == 8 {
			see(Serial, at(420), at(420), 1)
		}
	case d == w.store && allAlong:
		see(Serial, at(first), at(last), 40)
	case d == w.store || first == from: // the ends only
		see(Serial, at(first), at(first)+90_000, 12)
	case last == to:
		see(Serial, at(last)-90_000, at(last), 9)
	}
	return shown
}

// current is the trace to extend: a new one when the plan's entry changed, as it
// does with the device's key.
func (c *channel) current(epoch uint64, listed statement.Channel) *series {
	entry := listed.Hash()
	if n := len(c.traces); n > 0 && c.traces[n-1].start.Plan == entry {
		return c.traces[n-1]
	}
	start := trace.Start{Epoch: epoch, Channel: c.name, Plan: entry}
	if n := len(c.traces); n > 0 {
		f := c.traces[n-1].frontier
		if head, err := f.Head(); err == nil {
			start.PrevStart, start.PrevSize, start.PrevRoot = head.Start, head.Size, head.Root
		}
	}
	s := &series{device: listed.Device, start: start, frontier: trace.Frontier{Start: start.Hash()}, nodes: nodes{}}
	c.traces = append(c.traces, s)
	return s
}

// trust is what a verifier of this world pins.
func (w *world) trust() *passport.Trust {
	t := &passport.Trust{Version: 1, Audience: Audience,
		Authorities: []statement.PublicKey{{Key: w.authority.Key()}},
		Chains:      []passport.Chain{{ID: Chain, Kind: passport.Comet, Validators: 1, Keys: []passport.Validator{}}}}
	for n := range w.ledgers() {
		t.Logs = append(t.Logs, passport.Log{Origin: originOf(uint64(n)), Key: statement.PublicKey{Key: w.log.Key()}})
	}
	if w.o.Anchored || w.o.EVM != nil {
		t.Chains = []passport.Chain{w.chain.pinned()}
	}
	if w.o.Cosigned != nil {
		t.Witnesses = w.o.Cosigned.Asks
	}
	return t
}

// noteSigner signs checkpoints with the log key.
type noteSigner struct {
	note.Verifier
	key ed25519.PrivateKey
}

func (s noteSigner) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }
