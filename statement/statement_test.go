package statement_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"maps"
	"math/big"
	"strings"
	"testing"

	"github.com/veraison/go-cose"

	"trailmark/internal/dcbor"
	"trailmark/statement"
)

func TestRoundTrip(t *testing.T) {
	for name, k := range map[string]crypto.Signer{"EdDSA": edKey(1), "ES256": ecKey(t, 1), "ES256 in hardware": hardware{ecKey(t, 1)}} {
		s := signer(t, k)
		for i := range 16 { // ES256 is randomised: both halves of s occur
			made := sign(t, s, header(statement.KindFrame), goodFrame())
			got, err := statement.Parse(made.Bytes())
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got.Header != made.Header || got.ID() != made.ID() || got.Entry() != made.Entry() || got.Header.KeyID != s.Key().ID() {
				t.Errorf("%s: %+v, want %+v", name, got.Header, made.Header)
			}
			if err := got.Verify(s.Key(), audience); err != nil {
				t.Errorf("%s, signature %d: %v", name, i, err)
			}
			f, err := got.Frame()
			if err != nil || *f != *goodFrame() {
				t.Errorf("%s: frame %+v, %v", name, f, err)
			}
			if got.Entry() != hash(made.Bytes()) {
				t.Errorf("%s: ledger entry is not the hash of the statement", name)
			}
		}
	}
}

// TestAgainstGoCose: a plain COSE library reads what we write, and writes what
// we write.
func TestAgainstGoCose(t *testing.T) {
	for name, k := range map[string]crypto.Signer{"EdDSA": edKey(1), "ES256": ecKey(t, 1)} {
		s := signer(t, k)
		ours := sign(t, s, header(statement.KindFrame), goodFrame())
		var msg cose.Sign1Message
		if err := msg.UnmarshalCBOR(ours.Bytes()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		alg, err := msg.Headers.Protected.Algorithm()
		if err != nil {
			t.Fatal(err)
		}
		v, err := cose.NewVerifier(alg, k.Public())
		if err != nil {
			t.Fatal(err)
		}
		if err := msg.Verify(nil, v); err != nil {
			t.Errorf("%s: go-cose does not verify our statement: %v", name, err)
		}

		theirs := cose.NewSign1Message()
		kid := s.Key().ID()
		theirs.Headers.Protected = cose.ProtectedHeader{
			int64(1): alg, int64(4): kid[:],
			int64(15): map[any]any{int64(1): ours.Header.Issuer, int64(2): ours.Header.Subject, int64(3): audience},
			int64(16): "application/vnd.trailmark.frame+cbor",
		}
		theirs.Payload = dcbor.MustMarshal(goodFrame())
		cs, err := cose.NewSigner(alg, k)
		if err != nil {
			t.Fatal(err)
		}
		if err := theirs.Sign(rand.Reader, nil, cs); err != nil {
			t.Fatal(err)
		}
		data, err := theirs.MarshalCBOR()
		if err != nil {
			t.Fatal(err)
		}
		if name == "EdDSA" && !bytes.Equal(data, ours.Bytes()) {
			t.Errorf("go-cose writes\n%x, we\n%x", data, ours.Bytes())
		}
		if got, err := statement.Parse(data); err != nil || got.ID() != ours.ID() {
			t.Errorf("%s: go-cose's statement: %v", name, err)
		}
	}
}

// TestHeaderAllowList: four protected headers and nothing else. Each example is
// signed rightly, so only its headers speak against it.
func TestHeaderAllowList(t *testing.T) {
	payload := dcbor.MustMarshal(goodFrame())
	empty := []byte{0xa0}
	good := signRaw(edKey(1), encode(t, protectedMap(t)), empty, payload)
	if s, err := statement.Parse(good); err != nil || s.Verify(signer(t, edKey(1)).Key(), audience) != nil {
		t.Fatalf("the example to be altered does not pass: %v", err)
	}
	claims := func(alter func(map[any]any)) func(map[any]any) {
		return func(m map[any]any) {
			c := maps.Clone(m[15].(map[any]any))
			alter(c)
			m[15] = c
		}
	}
	for name, c := range map[string]struct {
		alter func(map[any]any)
		want  string
	}{
		"crit":                    {func(m map[any]any) { m[2] = []any{4} }, "unknown field"},
		"crit that go-cose takes": {func(m map[any]any) { m[2], m[99] = []any{99}, 1 }, "unknown field"},
		"content type":            {func(m map[any]any) { m[3] = "application/cbor" }, "unknown field"},
		"an iv":                   {func(m map[any]any) { m[5] = []byte{1} }, "unknown field"},
		"an x5chain":              {func(m map[any]any) { m[33] = []byte{1} }, "unknown field"},
		"a text label":            {func(m map[any]any) { m["kid"] = []byte{1} }, "unknown field"},
		"a private label":         {func(m map[any]any) { m[-70000] = 1 }, "unknown field"},
		"no algorithm":            {func(m map[any]any) { delete(m, 1) }, "not deterministic"},
		"no kid":                  {func(m map[any]any) { delete(m, 4) }, "not deterministic"},
		"no claims":               {func(m map[any]any) { delete(m, 15) }, "not deterministic"},
		"no type":                 {func(m map[any]any) { delete(m, 16) }, "not deterministic"},
		"kid of 31 bytes":         {func(m map[any]any) { m[4] = make([]byte, 31) }, "not deterministic"},
		"kid of 33 bytes":         {func(m map[any]any) { m[4] = make([]byte, 33) }, "not deterministic"},
		"algorithm as text":       {func(m map[any]any) { m[1] = "EdDSA" }, "malformed"},
		"algorithm none":          {func(m map[any]any) { m[1] = 0 }, "neither EdDSA nor ES256"},
		"algorithm ES384":         {func(m map[any]any) { m[1] = -35 }, "neither EdDSA nor ES256"},
		"no issuer":               {claims(func(m map[any]any) { delete(m, 1) }), "not deterministic"},
		"issuer empty":            {claims(func(m map[any]any) { m[1] = "" }), "claims"},
		"issuer of 257 bytes":     {claims(func(m map[any]any) { m[1] = strings.Repeat("x", 257) }), "claims"},
		"subject of 257 bytes":    {claims(func(m map[any]any) { m[2] = strings.Repeat("x", 257) }), "claims"},
		"audience of 257 bytes":   {claims(func(m map[any]any) { m[3] = strings.Repeat("x", 257) }), "claims"},
		"audience as a list":      {claims(func(m map[any]any) { m[3] = []any{audience} }), "malformed"},
		"an expiry":               {claims(func(m map[any]any) { m[4] = 1 }), "unknown field"},
		"issued at":               {claims(func(m map[any]any) { m[6] = 1 }), "unknown field"},
		"type of another vendor":  {func(m map[any]any) { m[16] = "application/cbor" }, "type"},
		"type without a suffix":   {func(m map[any]any) { m[16] = "application/vnd.trailmark.frame" }, "type"},
		"type unknown":            {func(m map[any]any) { m[16] = "application/vnd.trailmark.rumour+cbor" }, "type"},
		"type empty":              {func(m map[any]any) { m[16] = "application/vnd.trailmark.+cbor" }, "type"},
		"type bare":               {func(m map[any]any) { m[16] = "frame" }, "type"},
		"type reserved: scan":     {func(m map[any]any) { m[16] = "application/vnd.trailmark.scan+cbor" }, "type"},
		"type reserved: audit":    {func(m map[any]any) { m[16] = "application/vnd.trailmark.audit+cbor" }, "type"},
		"type as a number":        {func(m map[any]any) { m[16] = 61 }, "malformed"},
	} {
		m := protectedMap(t)
		c.alter(m)
		_, err := statement.Parse(signRaw(edKey(1), encode(t, m), empty, payload))
		wants(t, name, err, c.want)
	}
	kid := signer(t, edKey(1)).Key().ID()
	for name, u := range map[string]map[any]any{
		"kid in unprotected": {4: kid[:]}, "algorithm in unprotected": {1: -8}, "a receipt": {394: []any{}}, "a text label": {"x": 1},
	} {
		_, err := statement.Parse(signRaw(edKey(1), encode(t, protectedMap(t)), encode(t, u), payload))
		wants(t, name, err, "unprotected headers")
		// (!) moved there from the protected header, kid is not authenticated
		m := protectedMap(t)
		delete(m, 4)
		if _, err := statement.Parse(signRaw(edKey(1), encode(t, m), encode(t, u), payload)); err == nil {
			t.Errorf("%s and no protected kid: accepted", name)
		}
	}
	for name, u := range map[string][]byte{"null": {0xf6}, "array": {0x80}, "bytes": {0x40}, "long map": {0xb8, 0x00}, "indefinite map": {0xbf, 0xff}} {
		if _, err := statement.Parse(signRaw(edKey(1), encode(t, protectedMap(t)), u, payload)); err == nil {
			t.Errorf("unprotected header as %s: accepted", name)
		}
	}
	_, err := statement.Parse(signRaw(edKey(1), nil, empty, payload))
	wants(t, "no protected header", err, "statement header")
}

func TestVerifyAudience(t *testing.T) {
	s := goodStatement(t)
	key := signer(t, edKey(1)).Key()
	for _, a := range []string{"acme/production", "other/staging", "", "acme/staging ", "ACME/staging"} {
		wants(t, a, s.Verify(key, a), "is for audience")
	}
	if err := s.Verify(key, audience); err != nil {
		t.Error(err)
	}
}

// TestVerifyRefuses alters what was signed, and tries other keys.
func TestVerifyRefuses(t *testing.T) {
	key := signer(t, edKey(1)).Key()
	good := goodStatement(t)
	wants(t, "another key", good.Verify(signer(t, edKey(2)).Key(), audience), "names key")
	wants(t, "no key", good.Verify(statement.Key{}, audience), "names key")
	none := *good
	none.Header.KeyID = statement.Hash{}
	wants(t, "no key for no kid", none.Verify(statement.Key{}, audience), "no key")

	// Every bit of the message: refused by Parse or by Verify.
	for i := range good.Bytes() {
		for bit := range 8 {
			data := bytes.Clone(good.Bytes())
			data[i] ^= 1 << bit
			if s, err := statement.Parse(data); err == nil && s.Verify(key, audience) == nil {
				t.Fatalf("bit %d of byte %d flipped: accepted", bit, i)
			}
		}
	}

	// The algorithm of the header must be the key's.
	m := protectedMap(t)
	m[1] = -7
	s, err := statement.Parse(signRaw(edKey(1), encode(t, m), []byte{0xa0}, good.Payload))
	if err != nil {
		t.Fatal(err)
	}
	wants(t, "EdDSA key under ES256", s.Verify(key, audience), "does not go with")
}

// TestIDIgnoresSignature is attack (!) of section 2: signature bytes are
// malleable, so they are no part of a statement's identity.
func TestIDIgnoresSignature(t *testing.T) {
	s := signer(t, ecKey(t, 1))
	a := sign(t, s, header(statement.KindFrame), goodFrame())
	b := sign(t, s, header(statement.KindFrame), goodFrame())
	if bytes.Equal(a.Signature, b.Signature) {
		t.Fatal("two ES256 signatures are equal; the example needs two")
	}
	if a.ID() != b.ID() {
		t.Error("two signatures of one statement give two ids")
	}
	if a.Entry() == b.Entry() {
		t.Error("two encodings have one ledger entry")
	}
	flipped := bytes.Clone(a.Bytes())
	flipped[len(flipped)-1] ^= 1
	c, err := statement.Parse(flipped)
	if err != nil {
		t.Fatal(err)
	}
	if c.ID() != a.ID() {
		t.Error("a broken signature changes the id")
	}
	other := goodFrame()
	other.Seq++
	if sign(t, s, header(statement.KindFrame), other).ID() == a.ID() {
		t.Error("two payloads have one id")
	}
	h := header(statement.KindFrame)
	h.Subject = "1"
	if sign(t, s, h, goodFrame()).ID() == a.ID() {
		t.Error("two headers have one id")
	}
}

// TestES256HighS is attack (!) of section 1: (r, n−s) verifies wherever (r, s)
// does, so only one of them is a signature here.
func TestES256HighS(t *testing.T) {
	priv := ecKey(t, 1)
	s := signer(t, priv)
	good := sign(t, s, header(statement.KindFrame), goodFrame())
	high := highS(good.Signature)

	protected := encode(t, func() map[any]any {
		m := protectedMap(t)
		kid := s.Key().ID()
		m[1], m[4] = -7, kid[:]
		return m
	}())
	tbs := dcbor.AppendBytes(dcbor.AppendBytes(dcbor.AppendBytes(dcbor.AppendText([]byte{0x84}, "Signature1"), protected), nil), good.Payload)
	digest := sha256.Sum256(tbs)
	if !ecdsa.Verify(&priv.PublicKey, digest[:], new(big.Int).SetBytes(high[:32]), new(big.Int).SetBytes(high[32:])) {
		t.Fatal("the example is not a valid ECDSA signature")
	}
	got, err := statement.Parse(envelope(protected, []byte{0xa0}, good.Payload, high))
	if err != nil {
		t.Fatal(err)
	}
	if got.ID() != good.ID() {
		t.Error("the other signature changes the id")
	}
	wants(t, "high s", got.Verify(s.Key(), audience), "s over n/2")
	for name, sig := range map[string][]byte{
		"zeros": make([]byte, 64), "r zero": append(make([]byte, 32), good.Signature[32:]...),
		"s zero": append(bytes.Clone(good.Signature[:32]), make([]byte, 32)...), "all ones": bytes.Repeat([]byte{0xff}, 64),
	} {
		got, err := statement.Parse(envelope(protected, []byte{0xa0}, good.Payload, sig))
		if err != nil {
			t.Fatal(err)
		}
		if got.Verify(s.Key(), audience) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestEd25519Malleable: S + L verifies under a lenient verifier, not here.
func TestEd25519Malleable(t *testing.T) {
	good := goodStatement(t)
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	little := func(b []byte) []byte {
		out := bytes.Clone(b)
		for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
			out[i], out[j] = out[j], out[i]
		}
		return out
	}
	s := new(big.Int).SetBytes(little(good.Signature[32:]))
	moved := bytes.Clone(good.Bytes())
	copy(moved[len(moved)-32:], little(s.Add(s, order).FillBytes(make([]byte, 32))))
	got, err := statement.Parse(moved)
	if err != nil {
		t.Fatal(err)
	}
	wants(t, "S + L", got.Verify(signer(t, edKey(1)).Key(), audience), "does not verify")
}

// TestDecodeRefuses: the envelope, the header and the payload have one form each.
func TestDecodeRefuses(t *testing.T) {
	good := goodStatement(t)
	data := good.Bytes()
	protected, payload, sig := encode(t, protectedMap(t)), good.Payload, good.Signature
	if !bytes.Equal(envelope(protected, []byte{0xa0}, payload, sig), data) {
		t.Fatal("the example to be altered is not the statement")
	}
	replace := func(b []byte, old, new string) []byte {
		t.Helper()
		o := unhex(t, old)
		if bytes.Count(b, o) < 1 {
			t.Fatalf("%s is not in the example", old)
		}
		return bytes.Replace(b, o, unhex(t, new), 1)
	}
	for i := range data {
		if _, err := statement.Parse(data[:i]); err == nil {
			t.Fatalf("first %d bytes accepted", i)
		}
	}
	for name, b := range map[string][]byte{
		"nothing":               {},
		"trailing byte":         append(bytes.Clone(data), 0),
		"a second statement":    append(bytes.Clone(data), data...),
		"no tag":                data[1:],
		"another tag":           append([]byte{0xd1}, data[1:]...),
		"long tag":              append([]byte{0xd8, 0x12}, data[1:]...),
		"tag twice":             append([]byte{0xd2}, data...),
		"self-described":        append([]byte{0xd9, 0xd9, 0xf7}, data...),
		"indefinite array":      append(append([]byte{0xd2, 0x9f}, data[2:]...), 0xff),
		"array of five":         append(append([]byte{0xd2, 0x85}, data[2:]...), 0x40),
		"array of three":        append([]byte{0xd2, 0x83}, data[2:len(data)-66]...),
		"payload null":          append(append(append(dcbor.AppendBytes([]byte{0xd2, 0x84}, protected), 0xa0, 0xf6), 0x58, 0x40), sig...),
		"payload as text":       dcbor.AppendBytes(dcbor.AppendText(append(dcbor.AppendBytes([]byte{0xd2, 0x84}, protected), 0xa0), "x"), sig),
		"protected as a map":    dcbor.AppendBytes(dcbor.AppendBytes(append(append([]byte{0xd2, 0x84}, protected...), 0xa0), payload), sig),
		"signature of 63":       envelope(protected, []byte{0xa0}, payload, sig[:63]),
		"signature of 65":       envelope(protected, []byte{0xa0}, payload, append(bytes.Clone(sig), 0)),
		"signature empty":       envelope(protected, []byte{0xa0}, payload, nil),
		"header: trailing":      envelope(append(bytes.Clone(protected), 0), []byte{0xa0}, payload, sig),
		"header: long map":      envelope(replace(protected, "a401", "b80401"), []byte{0xa0}, payload, sig),
		"header: indefinite":    envelope(append(replace(protected, "a401", "bf01"), 0xff), []byte{0xa0}, payload, sig),
		"header: long algo":     envelope(replace(protected, "a40127", "a4013807"), []byte{0xa0}, payload, sig),
		"header: duplicate":     envelope(replace(protected, "a40127", "a501270127"), []byte{0xa0}, payload, sig),
		"header: text label":    envelope(replace(protected, "a40127", "a4613127"), []byte{0xa0}, payload, sig),
		"header: long label 15": envelope(replace(protected, "0fa3", "180fa3"), []byte{0xa0}, payload, sig),
		"header: unsorted":      envelope(append([]byte{0xa4}, append(bytes.Clone(protected[3:]), 0x01, 0x27)...), []byte{0xa0}, payload, sig),
	} {
		if _, err := statement.Parse(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}

	// The payload is opaque to Parse; reading it is as strict.
	frame := func(b []byte) error {
		st, err := signer(t, edKey(1)).Sign(header(statement.KindFrame), b)
		if err != nil {
			t.Fatal(err)
		}
		_, err = st.Frame()
		return err
	}
	if err := frame(payload); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"payload: empty":           {},
		"payload: trailing":        append(bytes.Clone(payload), 0),
		"payload: long version":    replace(payload, "a801010207", "a80118010207"),
		"payload: long seq":        replace(payload, "a801010207", "a80101021807"),
		"payload: duplicate":       replace(payload, "a801010207", "a9010102070207"),
		"payload: unsorted":        replace(payload, "a801010207", "a802070101"),
		"payload: text key":        replace(payload, "a801010207", "a8613101 0207"),
		"payload: null for zero":   replace(payload, "0700", "07f6"),
		"payload: float":           replace(payload, "0700", "07f90000"),
		"payload: bignum":          replace(payload, "0700", "07c240"),
		"payload: tagged time":     replace(payload, "0700", "07c100"),
		"payload: unknown key":     append(append([]byte{0xa9}, payload[1:]...), 0x0b, 0x00),
		"payload: null option":     append(append([]byte{0xa9}, payload[1:]...), 0x09, 0xf6),
		"payload: empty note":      append(append([]byte{0xa9}, payload[1:]...), 0x0a, 0x60),
		"payload: indefinite map":  append(append([]byte{0xbf}, payload[1:]...), 0xff),
		"payload: negative seq":    replace(payload, "a801010207", "a801010220"),
		"payload: array":           {0x80},
		"payload: null":            {0xf6},
		"payload: text that isn't": append(append([]byte{0xa9}, payload[1:]...), 0x0a, 0x61, 0xff),
	} {
		if frame(b) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// What a statement holds is what its type says.
	for _, kind := range []statement.Kind{statement.KindIdentity, statement.KindPlan, statement.KindHandover} {
		st, err := signer(t, edKey(1)).Sign(header(kind), payload)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Frame(); err == nil {
			t.Errorf("a frame in a statement of type %s: accepted", kind)
		}
		if _, err := st.Plan(); err == nil {
			t.Errorf("a frame read as %s: accepted", kind)
		}
	}
}

// TestLimits: sizes are refused before anything is made of the message.
func TestLimits(t *testing.T) {
	s := signer(t, edKey(1))
	over := make([]byte, statement.MaxSize)
	_, err := s.Sign(header(statement.KindEvent), over)
	wants(t, "signing over 256 KiB", err, "over the limit of 262144")
	largest, err := s.Sign(header(statement.KindEvent), over[:statement.MaxSize-300])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := statement.Parse(largest.Bytes()); err != nil {
		t.Errorf("statement of %d bytes: %v", len(largest.Bytes()), err)
	}
	big := make([]byte, statement.MaxSize+1)
	big[0] = 0xd2
	parsers := map[string]func([]byte) error{
		"statement": func(b []byte) error { _, err := statement.Parse(b); return err },
		"up":        func(b []byte) error { _, err := statement.ParseUp(b); return err },
		"down":      func(b []byte) error { _, err := statement.ParseDown(b); return err },
		"receipt":   func(b []byte) error { _, err := statement.ParseReceipt(b); return err },
		"key":       func(b []byte) error { _, err := statement.ParseKey(b); return err },
		"record":    func(b []byte) error { _, err := statement.ParseRecord(b); return err },
	}
	for name, parse := range parsers {
		if err := parse(big); err == nil {
			t.Errorf("%s over 256 KiB: accepted", name)
		}
		for what, b := range map[string][]byte{
			"nesting":  append(bytes.Repeat([]byte{0x81}, 100_000), 0),
			"an array": {0x9b, 0, 0, 0, 1, 0, 0, 0, 0},
			"a map":    {0xbb, 0, 0, 0, 1, 0, 0, 0, 0},
			"bytes":    {0x5b, 0, 0, 0, 1, 0, 0, 0, 0},
			"text":     {0x7b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
			"tags":     bytes.Repeat([]byte{0xc1}, 1000),
		} {
			for _, prefix := range [][]byte{nil, {0xd2}, {0xd2, 0x84}, {0x84, 0x01}, {0x82, 0x01}} {
				if err := parse(append(bytes.Clone(prefix), b...)); err == nil {
					t.Errorf("%s with endless %s: accepted", name, what)
				}
				if n := testing.AllocsPerRun(1, func() { _ = parse(append(bytes.Clone(prefix), b...)) }); n > 60 {
					t.Errorf("%s with endless %s: %v allocations", name, what, n)
				}
			}
		}
	}
	values := make([]int64, dcbor.MaxItems+1)
	_, err = statement.NewBody(&statement.Block{Channel: "c", First: 1, Gaps: &statement.Gaps{1}, Values: values})
	wants(t, "8193 values", err, "block out of bounds")
	if _, err := statement.NewBody(&statement.Block{Channel: "c", First: 1, Gaps: &statement.Gaps{1}, Values: values[:dcbor.MaxItems]}); err != nil {
		t.Errorf("8192 values: %v", err)
	}
}

func TestSignRefuses(t *testing.T) {
	s := signer(t, edKey(1))
	for name, alter := range map[string]func(*statement.Header){
		"no issuer":            func(h *statement.Header) { h.Issuer = "" },
		"long audience":        func(h *statement.Header) { h.Audience = strings.Repeat("x", 257) },
		"issuer not utf-8":     func(h *statement.Header) { h.Issuer = "\xff" },
		"a reserved kind":      func(h *statement.Header) { h.Kind = "scan" },
		"no kind":              func(h *statement.Header) { h.Kind = "" },
		"a kind with a suffix": func(h *statement.Header) { h.Kind = "frame+cbor" },
	} {
		h := header(statement.KindFrame)
		alter(&h)
		if _, err := s.Sign(h, nil); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	if _, err := statement.NewSigner(lying{edKey(1)}); err == nil {
		t.Error("a signer with a weak public key")
	}
}

// lying is a signer whose public key is the neutral element.
type lying struct{ ed25519.PrivateKey }

func (lying) Public() crypto.PublicKey {
	return ed25519.PublicKey(append([]byte{1}, make([]byte, 31)...))
}
