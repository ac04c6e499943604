package vectors_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha512"
	"encoding/hex"
	"maps"
	"math/big"
	"slices"
	"strings"

	"filippo.io/edwards25519"

	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

func edited(b []byte, i int, v ...byte) []byte {
	b = bytes.Clone(b)
	copy(b[i:], v)
	return b
}

func replaced(b []byte, old, new string) []byte {
	if bytes.Count(b, unhex(old)) == 0 {
		panic(old + " is not in " + hex.EncodeToString(b))
	}
	return bytes.Replace(b, unhex(old), unhex(new), 1)
}

// mixedOrderR signs with a point of order two added to R. Verifiers that multiply
// by the cofactor accept it, crypto/ed25519 does not: the format's answer is no.
func (g *generator) mixedOrderR(k ed25519.PrivateKey, message []byte) []byte {
	g.t.Helper()
	h := sha512.Sum512(k.Seed())
	a, err := new(edwards25519.Scalar).SetBytesWithClamping(h[:32])
	g.must(err)
	nonce := sha512.Sum512(append(h[32:], message...))
	r, err := new(edwards25519.Scalar).SetUniformBytes(nonce[:])
	g.must(err)
	two, err := new(edwards25519.Point).SetBytes(unhex("ec" + strings.Repeat("ff", 30) + "7f")) // y = −1
	g.must(err)
	R := new(edwards25519.Point).ScalarBaseMult(r)
	R.Add(R, two)
	c := sha512.Sum512(slices.Concat(R.Bytes(), k.Public().(ed25519.PublicKey), message))
	challenge, err := new(edwards25519.Scalar).SetUniformBytes(c[:])
	g.must(err)
	return append(R.Bytes(), challenge.MultiplyAdd(challenge, a, r).Bytes()...)
}

func (g *generator) keys() {
	ed, ec := g.signer(edKey(1)).Key(), g.signer(g.ecKey(1)).Key()
	okp := func(x []byte) []byte { return append(unhex("a3 0101 2006 215820"), x...) }
	g.add("key-ed25519", "ok", "key", ed.Encoded(), "thumbprint", ed.ID().String())
	g.add("key-p256", "ok", "key", ec.Encoded(), "thumbprint", ec.ID().String())
	g.add("key-p256-rfc9679", "ok", "key", unhex("a401022001215820"+
		"65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d"+"225820"+
		"1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c"),
		"thumbprint", "496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec")
	g.add("key-ed25519-neutral", "not of prime order", "key", okp(edited(make([]byte, 32), 0, 1)))
	torsion := unhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
	g.add("key-ed25519-order-8", "not of prime order", "key", okp(torsion))
	a, err := new(edwards25519.Point).SetBytes(edKey(1).Public().(ed25519.PublicKey))
	g.must(err)
	b, err := new(edwards25519.Point).SetBytes(torsion)
	g.must(err)
	g.add("key-ed25519-mixed-order", "not of prime order", "key", okp(a.Add(a, b).Bytes()))
	g.add("key-ed25519-not-canonical", "not canonically encoded", "key", okp(unhex("ee"+strings.Repeat("ff", 30)+"7f")))
	g.add("key-ed25519-no-point", "not a point", "key", okp(edited(make([]byte, 32), 0, 2)))
	enc := ec.Encoded()
	g.add("key-p256-off-curve", "cose key", "key", edited(enc, len(enc)-1, enc[len(enc)-1]^1))
	g.add("key-with-algorithm", "malformed", "key", append(unhex("a4 0101 0327"), ed.Encoded()[3:]...))
	g.add("key-x25519", "neither Ed25519 nor P-256", "key", edited(ed.Encoded(), 4, 4))
}

func frame() *statement.Frame {
	return &statement.Frame{Version: 1, Seq: 7, Prev: statement.Hash{1},
		Clock: statement.Clock{BootID: [16]byte{2}, BootCount: 3, Boottime: 4_000_000_000, Wall: 1_760_000_060_000,
			Quality: statement.ClockSynchronised, MaxError: 20},
		Span: [2]int64{1_760_000_000_000, 1_760_000_060_000}, Root: statement.RecordsRoot(nil), Plan: statement.Hash{5}}
}

func (g *generator) statements() {
	key := g.signer(edKey(1)).Key()
	payload := dcbor.MustMarshal(frame())
	good := g.sign(edKey(1), statement.KindFrame, payload)
	kid := key.ID()
	protected := map[any]any{1: -8, 4: kid[:], 15: map[any]any{1: good.Header.Issuer, 2: "0", 3: "acme/staging"},
		16: "application/vnd.trailmark.frame+cbor"}
	with := func(label, value any) []byte {
		m := maps.Clone(protected)
		m[label] = value
		return g.encode(m)
	}
	without := func(label any) []byte {
		m := maps.Clone(protected)
		delete(m, label)
		return g.encode(m)
	}
	add := func(name, expect string, body []byte, key statement.Key, more ...string) {
		g.t.Helper()
		g.add("statement-"+name, expect, "statement", body, append([]string{"key", hex.EncodeToString(key.Encoded()), "aud", "acme/staging"}, more...)...)
	}
	ok := func(name string, s *statement.Statement, key statement.Key) {
		g.t.Helper()
		add(name, "ok", s.Bytes(), key, "id", s.ID().String(), "entry", s.Entry().String())
	}
	ok("eddsa", good, key)
	ec := g.signer(g.ecKey(1)).Key()
	es := g.sign(g.ecKey(1), statement.KindFrame, payload)
	ok("es256", es, ec)
	identity := &statement.Identity{Version: 1, Key: statement.PublicKey{Key: ec}, Subject: "urn:dev:mac:0024befffe804ff1",
		Role: statement.RoleDevice, From: 1, To: 2_000_000_000_000, Simulated: true}
	ok("identity", g.sign(edKey(1), statement.KindIdentity, dcbor.MustMarshal(identity)), key)
	plan := goodPlan()
	ok("plan", g.sign(edKey(1), statement.KindPlan, dcbor.MustMarshal(plan)), key)

	raw, sig := good.Bytes(), good.Signature
	empty := []byte{0xa0}
	n := elliptic.P256().Params().N
	high := bytes.Clone(es.Bytes())
	s := new(big.Int).SetBytes(high[len(high)-32:])
	s.Sub(n, s).FillBytes(high[len(high)-32:])
	add("es256-high-s", "s over n/2", high, ec)
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	moved := bytes.Clone(raw)
	scalar := moved[len(moved)-32:]
	slices.Reverse(scalar)
	new(big.Int).Add(new(big.Int).SetBytes(scalar), order).FillBytes(scalar)
	slices.Reverse(scalar)
	add("eddsa-s-plus-order", "does not verify", moved, key)
	protectedBytes := with(1, -8)
	add("eddsa-mixed-order-r", "does not verify", envelope(protectedBytes, empty, payload, g.mixedOrderR(edKey(1), sigStructure(protectedBytes, payload))), key)
	add("signature-altered", "does not verify", edited(raw, len(raw)-1, raw[len(raw)-1]^1), key)
	add("payload-altered", "does not verify", replaced(raw, "a801010207", "a801010208"), key)
	add("another-key", "names key", raw, g.signer(edKey(2)).Key())
	g.add("statement-audience", "is for audience", "statement", raw, "key", hex.EncodeToString(key.Encoded()), "aud", "acme/production")
	add("algorithm-of-another-key", "does not go with", signRaw(edKey(1), with(1, -7), empty, payload), key)
	add("algorithm-unknown", "neither EdDSA nor ES256", signRaw(edKey(1), with(1, -35), empty, payload), key)
	add("crit", "malformed", signRaw(edKey(1), with(2, []int{4}), empty, payload), key)
	add("content-type", "malformed", signRaw(edKey(1), with(3, 0), empty, payload), key)
	add("no-kid", "not deterministic", signRaw(edKey(1), without(4), empty, payload), key)
	add("kid-unprotected", "unprotected headers", signRaw(edKey(1), g.encode(protected), g.encode(map[any]any{4: kid[:]}), payload), key)
	add("kid-unprotected-only", "unprotected headers", signRaw(edKey(1), without(4), g.encode(map[any]any{4: kid[:]}), payload), key)
	add("type-reserved", "type", signRaw(edKey(1), with(16, "application/vnd.trailmark.scan+cbor"), empty, payload), key)
	add("trailing-byte", "malformed", append(bytes.Clone(raw), 0), key)
	add("untagged", "not a tagged COSE_Sign1", raw[1:], key)
	add("long-integer", "not deterministic", signRaw(edKey(1), replaced(g.encode(protected), "a40127", "a4013807"), empty, payload), key)
	p := g.encode(protected)
	add("unsorted", "not deterministic", signRaw(edKey(1), slices.Concat([]byte{0xa4}, p[3:], p[1:3]), empty, payload), key)
	add("duplicate-header", "malformed", signRaw(edKey(1), replaced(p, "a40127", "a501270127"), empty, payload), key)
	add("short-signature", "signature of 63 bytes", envelope(p, empty, payload, sig[:63]), key)
	add("indefinite", "malformed", append(slices.Concat([]byte{0xd2, 0x9f}, raw[2:]), 0xff), key)
	add("payload-of-another-kind", "plan", g.sign(edKey(1), statement.KindPlan, payload).Bytes(), key)
}

func goodPlan() *statement.Plan {
	words := statement.Texts{{Lang: "zh-CN", Words: "冷库一"}, {Lang: "en", Words: "cold room 1"}}
	return &statement.Plan{Version: 1, Site: words, Zones: []statement.Zone{{
		ID: "cold-1", Name: words, ReRead: 600_000,
		Channels: []statement.Channel{{Device: statement.Hash{1}, Name: "28-0316a2795fff/temp", Unit: "Cel", Nominal: 10_000, Closeness: statement.SameRoom,
			Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8000}, {Comparison: trace.AtOrBelow, Value: 2000}}}},
		Antennas: []statement.Antenna{{Device: statement.Hash{1}, Name: "1", Role: statement.Portal}},
	}}}
}

func (g *generator) payloads() {
	good := dcbor.MustMarshal(frame())
	add := func(name, expect string, body []byte) {
		g.t.Helper()
		g.add("payload-"+name, expect, "payload", body, "type", "frame")
	}
	add("frame", "ok", good)
	add("frame-long-integer", "not deterministic", replaced(good, "a801010207", "a80101021807"))
	add("frame-unsorted", "not deterministic", replaced(good, "a801010207", "a802070101"))
	add("frame-text-key", "malformed", replaced(good, "a801010207", "a86131010207"))
	add("frame-null-for-zero", "not deterministic", replaced(good, "0700", "07f6"))
	add("frame-float", "malformed", replaced(good, "0700", "07f90000"))
	add("frame-bignum", "malformed", replaced(good, "0700", "07c240"))
	add("frame-duplicate-key", "malformed", replaced(good, "a801010207", "a9010102070207"))
	add("frame-indefinite", "malformed", append(slices.Concat([]byte{0xbf}, good[1:]), 0xff))
	add("frame-unknown-key", "malformed", slices.Concat([]byte{0xa9}, good[1:], []byte{0x0b, 0x00}))
	add("frame-trailing-byte", "malformed", append(bytes.Clone(good), 0))
	f := frame()
	f.Clock.Quality = statement.ClockUnset
	add("frame-unset-clock-with-wall", "on an unset clock", dcbor.MustMarshal(f))
	f.Clock.Wall, f.Span = 0, [2]int64{1000, 61_000}
	add("frame-unset-clock", "ok", dcbor.MustMarshal(f))
	f = frame()
	f.Seq = 1 << 53
	add("frame-seq-over-53-bits", "out of bounds", dcbor.MustMarshal(f))
	f = frame()
	f.Span[0] = f.Span[1] + 1
	add("frame-span-backwards", "out of bounds", dcbor.MustMarshal(f))

	p := goodPlan()
	p.Zones = append(p.Zones, p.Zones[0])
	p.Zones[1].ID = "cold-2"
	g.add("payload-plan-channel-in-two-zones", "twice", "payload", dcbor.MustMarshal(p), "type", "plan")
	weak := g.encode(map[any]any{1: 1, 2: map[any]any{1: 1, -1: 6, -2: edited(make([]byte, 32), 0, 1)}, 3: "urn:x", 4: 1, 5: 0, 6: 1, 7: 2})
	g.add("payload-identity-weak-key", "not of prime order", "payload", weak, "type", "identity")
}

// bodies are two channels with their heads, a sighting and a happening.
func (g *generator) bodies() []statement.Body {
	var blocks, heads []statement.Body
	for _, channel := range []string{"a/temp", "b/temp"} {
		block, err := statement.NewBlock(channel, -1, []int64{1_760_000_000_000, 1_760_000_010_000, 1_760_000_020_001}, []int64{4203, 8000, 4100})
		g.must(err)
		b, err := statement.NewBody(block)
		g.must(err)
		spec := goodPlan().Zones[0].Channels[0].Spec()
		d, err := spec.Leaf(-1, block.Times(), block.Values)
		g.must(err)
		start := trace.Start{Channel: channel, Boot: [16]byte{2}}
		f, _, err := trace.Frontier{Start: start.Hash()}.Append(hash(statement.SaltedRecord(statement.Salt(seed, len(blocks)), b)), d)
		g.must(err)
		head, err := f.Head()
		g.must(err)
		h, err := statement.NewBody(&statement.HeadRecord{Channel: channel, Head: head, Start: &start})
		g.must(err)
		blocks, heads = append(blocks, b), append(heads, h)
	}
	s, err := statement.NewBody(&statement.Sighting{Antenna: "1", EPC: unhex("311ba1b300ce0a6a83000000"), First: 1_760_000_001_000, Last: 1_760_000_002_000, Reads: 3})
	g.must(err)
	d, err := statement.NewBody(&statement.Happening{Type: statement.Door, At: 1_760_000_003_000, Subject: "door"})
	g.must(err)
	return append(append(blocks, heads...), s, d)
}

var seed = [32]byte([]byte("a seed of thirty-two bytes, fixed"))

func (g *generator) records() {
	records := statement.Records(seed, g.bodies())
	root := statement.RecordsRoot(records)
	add := func(name, expect string, index, count string, record []byte, root statement.Hash, path []statement.Hash) {
		g.t.Helper()
		g.add("record-"+name, expect, "record", record, "index", index, "count", count, "root", root.String(), "path", words(path))
	}
	shown := func(i int) statement.Disclosed {
		d, err := statement.Disclose(records, i)
		g.must(err)
		return d
	}
	for i, name := range map[int]string{0: "block", 2: "head", 4: "sighting", 5: "happening"} {
		d := shown(i)
		add(name, "ok", string(rune('0'+i)), "6", d.Record, root, d.Path)
	}
	d := shown(2)
	add("wrong-index", "record 3 of 6", "3", "6", d.Record, root, d.Path)
	add("index-past-end", "record 6 of 6", "6", "6", d.Record, root, d.Path)
	add("altered", "record 2 of 6", "2", "6", edited(d.Record, 5, d.Record[5]^1), root, d.Path)
	path := slices.Clone(d.Path)
	path[1][0] ^= 1
	add("path-altered", "record 2 of 6", "2", "6", d.Record, root, path)
	add("path-short", "record 2 of 6", "2", "6", d.Record, root, d.Path[1:])
	one := func(name, expect string, record []byte) {
		g.t.Helper()
		add(name, expect, "0", "1", record, statement.RecordsRoot([][]byte{record}), nil)
	}
	salted := func(kind statement.RecordKind, body string) []byte {
		return statement.SaltedRecord(statement.Salt(seed, 0), statement.Body{Kind: kind, Data: unhex(body)})
	}
	one("block-equal-gaps-as-list", "equal gaps", salted(1, "a4 016163 031903e8 04820101 0583000000"))
	one("block-one-gap-as-list", "list of fewer than two gaps", salted(1, "a4 016163 031903e8 048101 05820000"))
	one("block-time-backwards", "do not increase", salted(1, "a4 016163 021903e8 031903e8 058100"))
	one("block-raw-of-half-a-value", "equally many", salted(1, "a5 016163 031903e8 0401 05820000 0643000000"))
	one("block-value-over-32-bits", "not within 32 bits", salted(1, "a3 016163 031903e8 05811a80000000"))
	one("kind-unknown", "record kind 5", salted(5, "a0"))
	one("passage", "ok", salted(4, "a5 0110 021903e8 0364646f6f72 0601 0744e2003412"))
	one("happening-type-unknown", "out of bounds", salted(4, "a2 0111 0200"))
	one("body-unsorted", "not deterministic", salted(4, "a2 0201 0107"))
}

func words(path []statement.Hash) string {
	var s []string
	for _, h := range path {
		s = append(s, h.String())
	}
	return strings.Join(s, " ")
}

func (g *generator) ups() {
	bodies := g.bodies()
	message := func(signed, sent []statement.Body, seed [32]byte) []byte {
		f := frame()
		f.Root, f.Count = statement.RecordsRoot(statement.Records(seed, signed)), uint64(len(signed))
		data, err := statement.EncodeUp(g.sign(edKey(1), statement.KindFrame, dcbor.MustMarshal(f)), seed, sent)
		g.must(err)
		return data
	}
	good := message(bodies, bodies, seed)
	g.add("up", "ok", "up", good)
	g.add("up-no-records", "ok", "up", message(nil, nil, seed))
	g.add("up-seed-altered", "do not give the frame's root", "up", bytes.Replace(good, seed[:], edited(seed[:], 0, 'b'), 1))
	g.add("up-record-missing", "do not give the frame's root", "up", message(bodies, bodies[:5], seed))
	other := slices.Clone(bodies)
	other[5] = statement.Body{Kind: statement.RecordHappening, Data: replaced(bodies[5].Data, "0107", "0108")}
	g.add("up-body-altered", "do not give the frame's root", "up", message(bodies, other, seed))
	swapped := slices.Clone(bodies)
	swapped[0], swapped[1] = swapped[1], swapped[0]
	g.add("up-channels-unsorted", "records out of order", "up", message(swapped, swapped, seed))
	g.add("up-block-without-head", "records out of order", "up", message(bodies[:3], bodies[:3], seed))
}
