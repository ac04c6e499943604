package fsck

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"trailmark/gateway/internal/epcis"
	"trailmark/gateway/internal/epcis/document"
	"trailmark/gateway/internal/ingest"
	"trailmark/gateway/internal/ledger"
	"trailmark/gateway/internal/sequence"
	"trailmark/gateway/internal/shard"
	"trailmark/gateway/internal/store"
	"trailmark/internal/chain/comet"
	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/passport"
	"trailmark/statement"
	"trailmark/trace"
)

const (
	audience = "demo/test"
	origin   = "trailmark.example/demo/2026h2"

	nextOrigin = "trailmark.example/demo/2027h1"

	chainID = "trailmark-demo"
	subject = "urn:dev:os:32473-d"
)

// world is a gateway's folder with something in every table: two devices, a new
// plan, events and changes of custody, a declared gap, a waiting frame, a fork and
// two anchors.
type world struct {
	t     testing.TB
	dir   string
	trust *passport.Trust
	st    *store.Store
	in    *ingest.Ingest
	plan  statement.Hash
	now   int64
	chain func() (Chain, error)
}

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32))
}

func signer(t testing.TB, seed byte) *statement.Signer {
	t.Helper()
	s, err := statement.NewSigner(key(seed))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) sign(by *statement.Signer, kind statement.Kind, iss string, payload any) *statement.Statement {
	w.t.Helper()
	s, err := by.Sign(statement.Header{Issuer: iss, Subject: "0", Audience: audience, Kind: kind}, dcbor.MustMarshal(payload))
	w.must(err)
	return s
}

func (w *world) add(ss ...*statement.Statement) {
	w.t.Helper()
	w.must(w.in.Add(context.Background(), ss...))
}

// unit is one device of the world.
type unit struct {
	w      *world
	signer *statement.Signer
	sealer *device.Sealer
	state  device.State
	entry  *statement.Channel
}

func (w *world) unit(seed byte) *unit {
	w.t.Helper()
	s := signer(w.t, seed)
	name := subject + string('a'+rune(seed))
	w.add(w.sign(signer(w.t, 1), statement.KindIdentity, "authority", &statement.Identity{Version: 1, Key: statement.PublicKey{Key: s.Key()},
		Subject: name, Role: statement.RoleDevice, To: trace.MaxTime}))
	return &unit{w: w, signer: s, state: device.NewState(0, statement.Hash{}), sealer: &device.Sealer{Signer: s, Issuer: name, Audience: audience},
		entry: &statement.Channel{Device: s.Key().ID(), Name: "28-0316a2795fff/temp", Unit: "Cel", Nominal: 1000,
			Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8001}}}}
}

func (u *unit) seal(change ...func(*device.Input)) device.Sealed {
	u.w.t.Helper()
	u.w.now += 60_000
	now := u.w.now
	in := device.Input{Clock: statement.Clock{BootID: [16]byte{7}, BootCount: 1, Boottime: now * 1_000_000, Wall: now, Quality: statement.ClockSynchronised},
		Plan: u.w.plan, Entries: func(string) *statement.Channel { return u.entry },
		Readings:  []device.ChannelReadings{{Channel: u.entry.Name, Times: []int64{now - 2000, now - 1000, now}, Values: []int64{4000, 4062, 8500}}},
		Sightings: []*statement.Sighting{{Antenna: "llrp0/1", EPC: []byte("twelve bytes"), First: now - 1500, Last: now - 100, Reads: 3}}}
	for _, c := range change {
		c(&in)
	}
	s, err := u.sealer.Seal(u.state, in)
	u.w.must(err)
	u.state = s.Next
	return s
}

func (u *unit) give(frames ...device.Sealed) {
	u.w.t.Helper()
	for _, f := range frames {
		_, err := u.w.in.Handle(context.Background(), []ingest.Message{{KeyID: u.signer.Key().ID(), Data: f.Up}})
		u.w.must(err)
	}
}

// replan puts the units' channels into a plan, with a limit.
func (w *world) replan(seq uint64, limit int64, units ...*unit) {
	w.t.Helper()
	z := statement.Zone{ID: "cold1", Name: statement.Texts{{Lang: "en", Words: "Cold"}}, ReRead: 60_000}
	for _, u := range units {
		e := *u.entry
		e.Limits = []trace.Limit{{Comparison: trace.AtOrAbove, Value: limit}}
		u.entry = &e
		z.Channels = append(z.Channels, e)
	}
	p := w.sign(signer(w.t, 2), statement.KindPlan, "site", &statement.Plan{Version: 1, Seq: seq, Prev: w.plan,
		Site: statement.Texts{{Lang: "en", Words: "Site"}}, Zones: []statement.Zone{z}})
	w.add(p)
	w.plan = p.ID()
}

// newWorld makes the folder and stops everything that wrote it.
func newWorld(t testing.TB) *world { return newWorldOver(t, false) }

// newWorldOver is newWorld that goes on into the next half-year, if it is asked to.
func newWorldOver(t testing.TB, boundary bool) *world {
	t.Helper()
	ctx := context.Background()
	quiet := slog.New(slog.DiscardHandler)
	w := &world{t: t, dir: t.TempDir(), now: 1_790_000_000_000}
	logKey, err := ledger.NewKey(origin, key(5))
	w.must(err)
	receipts, err := statement.NewKey(logKey.PublicKey())
	w.must(err)
	authority := signer(t, 1).Key()
	w.st, err = store.Open(ctx, w.dir)
	w.must(err)
	w.in, err = ingest.New(ctx, w.st, statement.NewKeyring(audience, authority), time.Now, quiet)
	w.must(err)
	node, err := comet.Start(ctx, comet.Config{Home: filepath.Join(w.dir, "chain"), ChainID: chainID, Admin: key(6).Public().(ed25519.PublicKey), Log: quiet})
	w.must(err)
	w.trust = &passport.Trust{Authorities: []statement.PublicKey{{Key: authority}}, Logs: []passport.Log{{Origin: origin, Key: statement.PublicKey{Key: receipts}}},
		Audience: audience, Chains: []passport.Chain{{ID: chainID, Kind: passport.Comet, Validators: 1}}}
	for _, v := range node.Voters() {
		w.trust.Chains[0].Keys = append(w.trust.Chains[0].Keys, passport.Validator{Key: [32]byte(v.Key), Power: uint64(v.Power)})
	}
	for _, o := range []string{origin, nextOrigin} {
		named, err := ledger.NewKey(o, key(5))
		w.must(err)
		tx, err := comet.NewRegister(chainID, key(6), comet.Registration{Revision: 1, Origin: o, LogKey: named.VerifierKey(), Submitters: []ed25519.PublicKey{key(7).Public().(ed25519.PublicKey)}})
		w.must(err)
		w.must(node.Submit(ctx, tx))
	}
	if boundary {
		w.trust.Logs = append(w.trust.Logs, passport.Log{Origin: nextOrigin, Key: statement.PublicKey{Key: receipts}})
	}

	w.add(w.sign(signer(t, 1), statement.KindIdentity, "authority", &statement.Identity{Version: 1, Key: statement.PublicKey{Key: signer(t, 2).Key()},
		Subject: "site", Role: statement.RoleSite, To: trace.MaxTime}))
	w.add(w.sign(signer(t, 1), statement.KindIdentity, "authority", &statement.Identity{Version: 1, Key: statement.PublicKey{Key: signer(t, 3).Key()},
		Subject: "https://example.com/417/demo", Role: statement.RoleOrganisation, To: trace.MaxTime}))
	a, b, c := w.unit(10), w.unit(11), w.unit(12)
	w.replan(0, 8001, a, b, c)
	for range 5 {
		a.give(a.seal())
		b.give(b.seal())
	}
	w.events()
	w.anchor(ctx, node, logKey, quiet)
	// b loses two frames on its card and says so; what it signs next waits.
	b.seal()
	b.seal()
	b.give(b.seal(func(in *device.Input) {
		in.Restart = true
		in.Happenings = []*statement.Happening{{Type: statement.Gap, At: w.now, Seqs: &[2]uint64{5, 6}, Words: "crc"}}
	}), b.seal())
	// c loses its very first frames, in which its trace began; one that goes on with it
	// is kept as signed.
	c.seal()
	c.seal()
	c.give(c.seal(), c.seal(func(in *device.Input) {
		in.Restart = true
		in.Happenings = []*statement.Happening{{Type: statement.Gap, At: w.now, Seqs: &[2]uint64{0, 1}, Words: "crc"}}
	}))
	c.give(c.seal())
	w.replan(1, 9001, a, b, c)
	// c loses the frame in which the new plan's trace began, too.
	c.seal()
	c.give(c.seal(), c.seal(func(in *device.Input) {
		in.Restart = true
		in.Happenings = []*statement.Happening{{Type: statement.Gap, At: w.now, Seqs: &[2]uint64{5, 5}, Words: "crc"}}
	}))
	for range 3 {
		a.give(a.seal())
		b.give(b.seal())
	}
	b.seal()
	b.give(b.seal()) // waits
	// a's key signs a second frame for a seq.
	fork := a.state
	a.give(a.seal())
	a.state = fork
	a.give(a.seal(func(in *device.Input) { in.Readings[0].Values[0] = 5000 }))
	w.anchor(ctx, node, logKey, quiet)
	if boundary {
		w.now = time.Date(2027, 1, 1, 0, 1, 0, 0, time.UTC).UnixMilli()
		w.anchor(ctx, node, logKey, quiet) // the old ledger's end, and nothing of the new one
		for range 3 {
			c.give(c.seal())
		}
		w.anchor(ctx, node, logKey, quiet)
	}
	w.must(node.Stop())
	w.must(w.st.Close())
	return w
}

// desk stores captures without an archive.
type desk struct{ *ingest.Ingest }

func (d desk) Capture(ctx context.Context, fn func(*ingest.Capture) error) error {
	return d.Ingest.Capture(ctx, fn, func([]ingest.Event) error { return nil })
}

// as signs with the organisation's key.
func (w *world) as(kind statement.Kind, payload any) *statement.Statement {
	return w.sign(signer(w.t, 3), kind, "https://example.com/417/demo", payload)
}

const (
	pallet = "https://id.gs1.org/00/106141412345678908"
	item   = "https://id.gs1.org/01/10614141073464/21/2017"
)

// events captures events of every shape, and changes the goods' custody.
func (w *world) events() {
	w.t.Helper()
	r := epcis.New(epcis.Options{Store: w.st, Desk: desk{w.in}, Sign: func(e *statement.Event) (*statement.Statement, error) {
		return w.as(statement.KindEvent, e), nil
	}})
	const common = `"eventTime":"2026-09-21T15:00:00Z","eventTimeZoneOffset":"+00:00","bizStep":"packing","disposition":"active","readPoint":{"id":"urn:epc:id:sgln:4012345.00001.0"},"bizLocation":{"id":"urn:epc:id:sgln:4012345.00002.0"}`
	first := `{"type":"ObjectEvent",` + common + `,"epcList":["` + item + `"],"action":"ADD","ilmd":{"urn:trailmark:tags":[{"urn:trailmark:epc":"` + item + `","urn:trailmark:tid":"E2801160"}]}`
	job, err := r.Capture(context.Background(), []byte(`{"@context":"`+document.Context+`","type":"EPCISDocument","schemaVersion":"2.0","creationDate":"2026-09-21T15:00:00Z","epcisBody":{"eventList":[`+
		first+`},`+
		`{"type":"AggregationEvent",`+common+`,"parentID":"`+pallet+`","childEPCs":["`+item+`","https://id.gs1.org/01/10614141073464/21/2018"],"action":"ADD"},`+
		`{"type":"TransformationEvent",`+common+`,"inputEPCList":["`+item+`"],"outputEPCList":["https://id.gs1.org/01/04012345111118/21/P1"]},`+
		first+`,"errorDeclaration":{"declarationTime":"2026-09-22T15:00:00Z","reason":"did_not_occur"}}]}}`), false)
	w.must(err)
	if len(job.Events) != 4 {
		w.t.Fatalf("%+v", job)
	}
	given := w.as(statement.KindHandover, statement.NewHandover([]string{item, pallet}, w.now, "https://example.com/417/demo", ""))
	w.add(given, w.as(statement.KindAcceptance, statement.NewAcceptance([]string{item, pallet}, w.now, "https://example.com/417/demo", given.ID())))
}

// anchor brings the store into the ledger and the ledger's head onto the chain.
func (w *world) anchor(ctx context.Context, node *comet.Node, logKey *ledger.Key, log *slog.Logger) {
	w.t.Helper()
	shelf, err := shard.New(ctx, shard.Options{Dir: w.dir, Store: w.st, Signer: logKey.CryptoSigner(), Origin: origin, Now: func() time.Time { return time.UnixMilli(w.now) },
		CheckpointInterval: 100 * time.Millisecond, Log: log})
	w.must(err)
	_, err = sequence.New(ctx, w.st, shelf, nil, log)
	w.must(err)
	l := shelf.Current()
	size, err := l.Ledger.Size(ctx)
	w.must(err)
	if size == 0 {
		w.must(shelf.Close())
		return
	}
	note, _, err := l.Await(ctx, size-1)
	w.must(err)
	w.must(shelf.Close())
	cp, err := statement.OpenCheckpoint(note, l.Origin(), w.trust.Logs[0].Key.Key)
	w.must(err)
	for _, seed := range []byte{10, 11} { // both units witness it
		s := signer(w.t, seed)
		line, err := s.Cosign(cp, w.now/1000)
		w.must(err)
		w.must(w.st.Update(ctx, func(tx *store.Tx) error {
			return tx.AddCosignature(store.Cosignature{Origin: l.Origin(), Size: cp.Size, KeyID: s.Key().ID(), Root: cp.Root, At: w.now / 1000, Line: line})
		}))
		note = append(note, line...)
	}
	a, err := node.Anchor(ctx, key(7), note)
	w.must(err)
	w.must(w.st.Update(ctx, func(tx *store.Tx) error {
		picture := []byte("\x89PNG\r\n\x1a\nof a vaccine")
		if err := tx.PutPicture(store.Picture{GTIN: "09521234543213", Hash: sha256.Sum256(picture), Type: "image/png", Data: picture}); err != nil {
			return err
		}
		return tx.AddAnchor(store.Anchor{Size: a.Size, Origin: a.Origin, Chain: chainID, Root: a.Root, Height: a.Height,
			Time: a.Time.UnixMilli(), Block: a.BlockHash[:], Tx: a.Tx, Note: note})
	}))
}

// check runs Check and gives what it found.
func (w *world) check() (Summary, []Finding) {
	w.t.Helper()
	var found []Finding
	sum, err := Check(context.Background(), Options{Dir: w.dir, Trust: w.trust, Origin: origin,
		Chain:  w.chain,
		Report: func(f Finding) { found = append(found, f) }})
	w.must(err)
	return sum, found
}

func (w *world) read(file string) []byte {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, file))
	w.must(err)
	return data
}
