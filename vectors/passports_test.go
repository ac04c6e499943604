package vectors_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"trailmark/internal/dcbor"
	"trailmark/passport"
	"trailmark/passport/passporttest"
	"trailmark/statement"
	"trailmark/trace"
)

// passports are the cases of passporttest with what Go says of them.
func (g *generator) passports() {
	for _, c := range append(passporttest.Standing(), passporttest.Refused()...) {
		data, trust := c.Make(g.t)
		file, err := trust.Encode()
		g.must(err)
		header := []string{"at", strconv.FormatInt(passporttest.Now().UnixMilli(), 10), "trust", hex.EncodeToString(file)}
		expect := string(c.Code)
		if c.Code == "" {
			expect = "ok"
			v, err := passport.Verify(data, trust, passporttest.Now())
			g.must(err)
			text, err := json.Marshal(v)
			g.must(err)
			header = append(header, "verdict", string(text))
		}
		g.add("passport-"+c.Name, expect, "passport", data, header...)
	}
}

// judgePassport expects a code of a refusal, and of a verdict its JSON.
func (v *vector) judgePassport() error {
	trust, err := passport.ParseTrust(v.bytes("trust"))
	if err != nil {
		v.t.Fatal(err)
	}
	verdict, err := passport.Verify(v.Body, trust, time.UnixMilli(v.number("at")))
	if r := (*passport.Refusal)(nil); errors.As(err, &r) {
		return errors.New(string(r.Code))
	} else if err != nil {
		return err
	}
	text, err := json.Marshal(verdict)
	if err != nil {
		v.t.Fatal(err)
	}
	v.same("verdict", string(text))
	return nil
}

// erasures are payloads of the kind erasure.
func (g *generator) erasures() {
	good := func() *statement.Erasure {
		return &statement.Erasure{Version: 1, Frame: hash([]byte("a frame")), At: 1_760_000_000_000, Why: "retention", Records: []statement.Erased{
			{Index: 0, Hash: hash([]byte("a block")), Kind: statement.RecordBlock, Block: &statement.ErasedBlock{Channel: "a/temp", Start: hash([]byte("a trace")), N: 7,
				Digest: trace.Digest{T0: 1000, T1: 61_000, Covered: 60_000, Min: 4000, Max: 4200, Sum: 246_000_000, Kin: 50_000_000, Limits: []trace.Excess{{}}}}},
			{Index: 4, Hash: hash([]byte("a sighting")), Kind: statement.RecordSighting},
		}}
	}
	add := func(name, expect string, edit func(e *statement.Erasure)) {
		e := good()
		edit(e)
		g.add("payload-erasure-"+name, expect, "payload", dcbor.MustMarshal(e), "type", "erasure")
	}
	g.add("payload-erasure", "ok", "payload", dcbor.MustMarshal(good()), "type", "erasure")
	add("of-nothing", "out of bounds", func(e *statement.Erasure) { e.Records = nil })
	add("unexplained", "out of bounds", func(e *statement.Erasure) { e.Why = "" })
	add("out-of-order", "not ascending", func(e *statement.Erasure) { e.Records[1].Index = 0 })
	add("block-unplaced", "out of bounds", func(e *statement.Erasure) { e.Records[0].Block = nil })
	add("sighting-placed", "out of bounds", func(e *statement.Erasure) { e.Records[1].Block = e.Records[0].Block })
	add("digest-impossible", "covered of a span", func(e *statement.Erasure) { e.Records[0].Block.Digest.Covered = 60_001 })
	add("kind-unknown", "out of bounds", func(e *statement.Erasure) { e.Records[1].Kind = 5 })
}

// cuts are range proofs with older heads.
func (g *generator) cuts(spec trace.Spec, nodes trace.Nodes, heads []trace.Head, header []string) {
	size := uint64(len(heads))
	head := heads[size-1]
	add := func(name, expect string, r trace.Range, older ...trace.Head) {
		h := append([]string{"head", hex.EncodeToString(dcbor.MustMarshal(head)), "older", hex.EncodeToString(dcbor.MustMarshal(older))}, header...)
		if o, err := r.Open(spec, head, sizes(older)...); err == nil {
			d, err := o.Inside()
			g.must(err)
			h = append(h, "digest", hex.EncodeToString(dcbor.MustMarshal(d)))
		}
		g.add("range-older-"+name, expect, "range", dcbor.MustMarshal(r), h...)
	}
	proof := func(a, b uint64, cuts ...uint64) trace.Range {
		r, err := trace.Prove(nodes, size, a, b, cuts...)
		g.must(err)
		return r
	}
	three := []trace.Head{heads[1], heads[4], heads[9]}
	add("heads", "ok", proof(3, 8, 2, 5, 10), three...)
	add("head-at-the-window", "ok", proof(3, 8, 3, 8), heads[2], heads[7])
	add("head-not-cut", "too many", proof(3, 8, 2, 5, 10), three[:2]...)
	add("head-cut-elsewhere", "too few nodes", proof(3, 8, 2, 5), three...)
	forged := heads[4]
	forged.Root[0] ^= 1
	add("head-forged", "no prefix", proof(3, 8, 5), forged)
	milder := heads[4]
	milder.Digest.Max--
	add("head-milder", "no prefix", proof(3, 8, 5), milder)
	foreign := heads[4]
	foreign.Start[0] ^= 1
	add("head-of-another-trace", "two traces", proof(3, 8, 5), foreign)
}

func sizes(heads []trace.Head) (out []uint64) {
	for _, h := range heads {
		out = append(out, h.Size)
	}
	return out
}

// mutations makes the seed corpus: small files, most of them with one thing
// wrong, and what Go says of each. Other implementations must say the same.
func (g *generator) mutations() {
	type said struct {
		File string        `json:"file"`
		Kind string        `json:"kind"`
		OK   bool          `json:"ok"`
		Code passport.Code `json:"code,omitempty"`
	}
	all := struct {
		At    int64  `json:"at"`
		Trust string `json:"trust"`
		Cases []said `json:"cases"`
	}{At: passporttest.Now().UnixMilli(), Trust: "trust.cbor"}
	base, trust := passporttest.Make(g.t, passporttest.Options{Anchored: true, Older: true, KeyStatus: true})
	file, err := trust.Encode()
	g.must(err)
	g.corpus["trust.cbor"] = file
	add := func(kind string, i int, data []byte, ok bool, code passport.Code) {
		name := kind + "-" + strconv.Itoa(1000 + i)[1:]
		g.corpus[name] = data
		all.Cases = append(all.Cases, said{name, kind, ok, code})
	}
	judge := map[string]func([]byte) error{
		"statement": func(b []byte) error {
			s, err := statement.Parse(b)
			if err != nil {
				return err
			}
			return read(s)
		},
		"record": func(b []byte) error { _, err := statement.ParseRecord(b); return err },
	}
	p, err := passport.Parse(base)
	g.must(err)
	seeds := map[string][][]byte{}
	for _, e := range p.Evidence {
		seeds["statement"] = append(seeds["statement"], e.Statement)
		if e.Shown != nil {
			for _, r := range e.Shown.Records {
				seeds["record"] = append(seeds["record"], r.Data)
			}
		}
	}
	for _, kind := range []string{"statement", "record"} {
		for i := range 120 {
			b := mutate(seeds[kind][i%len(seeds[kind])], kind, i)
			add(kind, i, b, judge[kind](b) == nil, "")
		}
	}
	travelled, _ := passporttest.Make(g.t, passporttest.Options{Anchored: true, Older: true, KeyStatus: true,
		Journey: &passporttest.Journey{Handed: true, Accepted: true, Unpacked: true, Ended: true}})
	for i := range 120 {
		from := base
		if i >= 60 {
			from = travelled
		}
		b := mutate(from, "passport", i)
		_, err := passport.Verify(b, trust, passporttest.Now())
		var code passport.Code
		if r := (*passport.Refusal)(nil); errors.As(err, &r) {
			code = r.Code
		}
		add("passport", i, b, err == nil, code)
	}
	if g.corpus["manifest.json"], err = json.MarshalIndent(all, "", " "); err == nil {
		g.corpus["manifest.json"] = append(g.corpus["manifest.json"], '\n')
	}
	g.must(err)
}

// mutate alters a file in one way or in none; equal arguments alter it equally.
func mutate(b []byte, kind string, i int) []byte {
	b = bytes.Clone(b)
	h := sha256.Sum256([]byte(kind + strconv.Itoa(i)))
	at := int(h[0])<<24 | int(h[1])<<16 | int(h[2])<<8 | int(h[3])
	at %= len(b)
	switch i % 8 {
	case 0:
		return b
	case 1, 2, 3:
		b[at] ^= 1 << (h[4] % 8)
	case 4:
		b[at] = h[4]
	case 5:
		return append(b[:at], b[at+1:]...)
	case 6:
		return append(b[:at], append([]byte{h[4]}, b[at:]...)...)
	case 7:
		return b[:at]
	}
	return b
}

// large is the passport to measure with, its trust file and its verdict.
func (g *generator) large() map[string][]byte {
	data, trust := passporttest.Large(g.t)
	file, err := trust.Encode()
	g.must(err)
	v, err := passport.Verify(data, trust, passporttest.Now())
	g.must(err)
	text, err := json.Marshal(v)
	g.must(err)
	return map[string][]byte{"passport-three-legs.bin": data, "passport-three-legs.trust.bin": file, "passport-three-legs.json": append(text, '\n')}
}

// checkFiles compares the files of a pattern with what was generated, or writes
// them.
func (g *generator) checkFiles(dir string, made map[string][]byte, patterns ...string) {
	var old []string
	for _, p := range patterns {
		found, err := filepath.Glob(filepath.Join(dir, p))
		g.must(err)
		old = append(old, found...)
	}
	if *update {
		for _, name := range old {
			g.must(os.Remove(name))
		}
		g.must(os.MkdirAll(dir, 0o755))
		for name, data := range made {
			g.must(os.WriteFile(filepath.Join(dir, name), data, 0o644))
		}
		return
	}
	if len(old) != len(made) {
		g.t.Errorf("%d files in %s, want %d: run go test ./vectors -update", len(old), dir, len(made))
	}
	for name, want := range made {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			g.t.Errorf("%s/%s is not what the generator makes (%v): run go test ./vectors -update", dir, name, err)
		}
	}
}
