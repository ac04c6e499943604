package passporttest

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/internal/epc"
	"trailmark/passport"
	"trailmark/statement"
	"trailmark/trace"
)

// Shape of the large passport.
const (
	LargeEntries = 200_000      // of the ledger
	legMinutes   = 21 * 24 * 60 // a block a minute and channel
	legSpacing   = 22 * 24 * 60
)

// large is a journey of realistic size. Only what the passport shows is signed
// and has readings; the rest of the traces and of the ledger is hashes alone.
type large struct {
	*world
	d       passport.Draft
	entries []statement.Hash // leaf hashes of the ledger
	plan    statement.Hash
}

// largeDevice is the device of one leg with its two channels.
type largeDevice struct {
	signer   *statement.Signer
	issuer   string
	zone     string
	channels []statement.Channel
	starts   []trace.Start
	fronts   []trace.Frontier
	nodes    []nodes
	digests  [][]trace.Digest
}

// Large makes the passport of an item with three legs of 21 days each at one
// block a minute on two channels a leg, twelve sightings, a head a week, each
// with its anchor, in a ledger of LargeEntries.
func Large(t testing.TB) ([]byte, *passport.Trust) {
	t.Helper()
	w := newWorld(t, Options{Anchored: true})
	l := &large{world: w, d: passport.Draft{Item: passport.Item{GTIN: GTIN, Serial: Serial}}, entries: make([]statement.Hash, LargeEntries)}
	for i := range l.entries {
		l.entries[i] = filler(uint64(i), 0)
	}
	devices := l.devices()
	l.basis(devices)
	for n, d := range devices {
		l.leg(n, d)
	}
	p, err := l.d.Finish(l.ledger())
	l.must(err)
	data, err := p.Encode()
	l.must(err)
	return data, w.trust()
}

// filler is a hash of nothing that anybody shows.
func filler(i uint64, kind byte) statement.Hash {
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte{kind}, i))
}

func (l *large) devices() (out []*largeDevice) {
	third, err := statement.NewSigner(keyOf(8))
	l.must(err)
	for n, s := range []*statement.Signer{l.store.signer, l.truck.signer, third} {
		d := &largeDevice{signer: s, issuer: "urn:dev:mac:0024befffe804ff" + string('1'+rune(n)), zone: "zone-" + string('1'+rune(n))}
		kid := s.Key().ID()
		d.channels = []statement.Channel{
			{Device: kid, Name: "28-0316a2795fff/temp", Unit: "Cel", Limits: limits(8000, 2000), Nominal: 60_000, Closeness: statement.SameRoom},
			{Device: kid, Name: "sht4x-44/humidity", Unit: "%RH", Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 75_000}}, Nominal: 60_000, Closeness: statement.SameRoom},
		}
		for _, ch := range d.channels {
			start := trace.Start{Channel: ch.Name, Plan: ch.Hash()}
			d.starts, d.fronts = append(d.starts, start), append(d.fronts, trace.Frontier{Start: start.Hash()})
			d.nodes, d.digests = append(d.nodes, nodes{}), append(d.digests, nil)
		}
		out = append(out, d)
	}
	return out
}

// put records a statement at an index of the ledger and shows it.
func (l *large) put(index int, s *statement.Signer, kind statement.Kind, issuer, subject string, payload any) statement.Hash {
	data, err := dcbor.Marshal(payload)
	l.must(err)
	st, err := s.Sign(statement.Header{Issuer: issuer, Subject: subject, Audience: Audience, Kind: kind}, data)
	l.must(err)
	entry := st.Entry()
	l.entries[index] = statement.LeafHash(entry[:])
	l.d.Add(passport.Place{Index: uint64(index)}, st.Bytes())
	return st.ID()
}

func (l *large) basis(devices []*largeDevice) {
	identity := func(index int, s *statement.Signer, subject string, role statement.Role, name string) {
		l.put(index, l.authority, statement.KindIdentity, "urn:trailmark:authority:acme", subject, &statement.Identity{Version: 1,
			Key: statement.PublicKey{Key: s.Key()}, Subject: subject, Role: role, Name: name, From: at(-1000), To: at(1_000_000)})
	}
	identity(0, l.site, siteIssuer, statement.RoleSite, "")
	identity(1, l.brand, brandIssuer, statement.RoleBrand, "")
	plan := &statement.Plan{Version: 1, Site: words("示例医药物流", "Example Pharma Logistics")}
	for i, d := range devices {
		identity(2+i, d.signer, d.issuer, statement.RoleDevice, "gateway-pi-"+d.zone)
		plan.Zones = append(plan.Zones, statement.Zone{ID: d.zone, Name: words("冷库 "+d.zone, "Cold store "+d.zone), ReRead: 15 * 60_000, Channels: d.channels,
			Antennas: []statement.Antenna{{Device: d.signer.Key().ID(), Name: "1", Role: statement.Inside}}})
	}
	l.plan = l.put(5, l.site, statement.KindPlan, siteIssuer, "plan", plan)
	l.put(6, l.brand, statement.KindProduct, brandIssuer, GTIN, &statement.Product{Version: 1, GTIN: GTIN, Lot: "B2603",
		Name: words("流感疫苗（示例）", "Influenza vaccine (example)"), Brand: words("示例生物", "Example Biologics"),
		Rule: []statement.Criterion{{Unit: "Cel", Limit: limits(8000, 2000)[0], Kind: statement.Cumulative, For: 30 * 60_000},
			{Unit: "Cel", Limit: limits(8000, 2000)[1], Kind: statement.Single}}})
	l.put(199_000, l.authority, statement.KindKeyStatus, "urn:trailmark:authority:acme", "keystatus",
		&statement.KeyStatus{Version: 1, Origin: originOf(0), Size: 198_000, At: at(3*legSpacing - 600)})
}

// Minutes of a leg: heads at the start, weekly, and at the end, sightings apart
// from them.
var (
	headMinutes     = []int{31, 31 + 7*1440, 31 + 14*1440, 30_210}
	sightingMinutes = []int{30, 31 + 5*1440, 31 + 12*1440, 30_209}
)

func (l *large) leg(n int, d *largeDevice) {
	from := n * legSpacing
	marks := make([][]passport.Mark, len(d.channels))
	for m := 1; m <= headMinutes[3]; m++ {
		heads, seen := slices.Contains(headMinutes, m), slices.Contains(sightingMinutes, m)
		var blocks [][]byte
		for c, ch := range d.channels {
			prev := int64(-1)
			if m > 1 {
				prev = at(from + m - 1)
			}
			times, values := []int64{at(from + m)}, []int64{value(ch.Unit, m)}
			digest, err := ch.Spec().Leaf(prev, times, values)
			l.must(err)
			record := filler(uint64(n*1_000_000+m), byte(1+c))
			if heads || seen {
				b, err := statement.NewBlock(ch.Name, prev, times, values)
				l.must(err)
				body, err := statement.NewBody(b)
				l.must(err)
				blocks = append(blocks, statement.SaltedRecord(statement.Salt(seedOf(n, m), c), body))
				record = sha256.Sum256(blocks[c])
			}
			var made []trace.Perfect
			d.fronts[c], made, err = d.fronts[c].Append(record, digest)
			l.must(err)
			for _, p := range made {
				d.nodes[c][[2]uint64{uint64(p.Level), p.Index}] = p.Node
			}
			d.digests[c] = append(d.digests[c], digest)
		}
		if heads || seen {
			index := 10 + 2*(from+m)
			l.frame(index, n, m, d, blocks, heads, seen)
			if heads {
				for c := range marks {
					marks[c] = append(marks[c], passport.Mark{Place: passport.Place{Index: uint64(index)}, Record: uint64(len(blocks) + c)})
				}
			}
		}
	}
	for c := range d.channels {
		l.trail(n, d, c, marks[c])
	}
}

// value swings over a day around a cold room's middle, with a little noise.
func value(unit string, m int) int64 {
	noise := int64(filler(uint64(m), 9)[0]) % 11 * 62
	if unit == "Cel" {
		return 4600 + wave(m%1440*240/1440, 900) + noise
	}
	return 55_000 + wave(m%1440*240/1440, 6000) + noise
}

func seedOf(leg, minute int) [32]byte {
	return [32]byte{byte(leg), byte(minute >> 8), byte(minute)}
}

// frame signs the frame of one minute: two blocks, two heads, thirty sightings.
func (l *large) frame(index, leg, m int, d *largeDevice, records [][]byte, heads, seen bool) {
	from := leg * legSpacing
	add := func(v interface{ Check() error }) {
		body, err := statement.NewBody(v)
		l.must(err)
		records = append(records, statement.SaltedRecord(statement.Salt(seedOf(leg, m), len(records)), body))
	}
	for c, ch := range d.channels {
		head, err := d.fronts[c].Head()
		l.must(err)
		add(&statement.HeadRecord{Channel: ch.Name, Head: head})
	}
	for i := range 30 {
		serial := uint64(5000 + i)
		if i == 7 && seen {
			serial = 1001
		}
		id, err := epc.SGTIN96("952123454", "0321", decimal(serial), 1)
		l.must(err)
		tag, err := id.Encode()
		l.must(err)
		rssi := int64(-61)
		add(&statement.Sighting{Antenna: "1", EPC: tag, First: at(from + m - 1), Last: at(from+m) - 1500, Reads: 37, RSSI: &rssi})
	}
	f := &statement.Frame{Version: 1, Seq: uint64(m), Prev: filler(uint64(index), 5), Plan: l.plan, Root: statement.RecordsRoot(records), Count: uint64(len(records)),
		Span: [2]int64{at(from + m - 1), at(from + m)},
		Clock: statement.Clock{BootID: [16]byte{byte(leg), 7}, BootCount: 3, Boottime: int64(m) * 60_000_000_000, Wall: at(from + m),
			Quality: statement.ClockSynchronised, MaxError: 12},
		After: l.after()}
	l.put(index, d.signer, statement.KindFrame, d.issuer, "0", f)
	leaves, place := statement.RecordLeaves(records), passport.Place{Index: uint64(index)}
	if heads {
		for c := range d.channels {
			l.d.Show(passport.Mark{Place: place, Record: uint64(2 + c)}, records[2+c], leaves)
		}
		l.anchor(index+5, from+m+3)
	}
	if seen {
		l.d.Show(passport.Mark{Place: place, Record: 11}, records[11], leaves)
	}
}

func decimal(n uint64) string {
	b := []byte{}
	for ; n > 0; n /= 10 {
		b = append([]byte{byte('0' + n%10)}, b...)
	}
	return string(b)
}

// anchor anchors the ledger's first entries. None of them changes afterwards.
func (l *large) anchor(size, minute int) {
	a := anchored{size: size, root: treeRoot(l.entries[:size])}
	a.checkpoint.Note = l.note(0, size, a.root, false)
	a.checkpoint.Anchor, a.checkpoint.Proof = l.chain.anchor(a.checkpoint.Note, uint64(1000+size), at(minute))
	l.anchors = append(l.anchors, a)
}

func (l *large) trail(n int, d *largeDevice, c int, marks []passport.Mark) {
	from, to := at(n*legSpacing+sightingMinutes[0]-1), at(n*legSpacing+sightingMinutes[3])-1500
	size := uint64(len(d.digests[c]))
	a, b := uint64(0), size
	for d.digests[c][a].T1 <= from {
		a++
	}
	for d.digests[c][b-1].T0 >= to {
		b--
	}
	var cuts []uint64
	for _, m := range headMinutes {
		cuts = append(cuts, uint64(m))
	}
	proof, err := trace.Prove(d.nodes[c], size, a, b, cuts...)
	l.must(err)
	l.d.Trail(passport.Trail{Zone: d.zone, Device: d.signer.Key().ID(), Channel: d.channels[c].Name, Start: dcbor.MustMarshal(d.starts[c]), Range: proof},
		marks[3], marks[:3]...)
}

// ledger is the ledger with every head's anchor.
func (l *large) ledger() passport.Ledger {
	root := treeRoot(l.entries)
	out := passport.Ledger{Newest: passport.Checkpoint{Note: l.note(0, len(l.entries), root, true)}}
	out.Newest.Anchor, out.Newest.Proof = l.chain.anchor(out.Newest.Note, 2_000_000, at(3*legSpacing))
	var err error
	out.Signature, err = l.log.SignRoot(originOf(0), at(3*legSpacing)/1000, root)
	l.must(err)
	var older []uint64
	for _, a := range l.anchors {
		older, out.Older = append(older, uint64(a.size)), append(out.Older, a.checkpoint)
	}
	out.Proof, err = statement.ProveMulti(LargeEntries, l.d.Indexes(0), older, func(lo, hi uint64) (statement.Hash, error) {
		return treeRoot(l.entries[lo:hi]), nil
	})
	l.must(err)
	return out
}
