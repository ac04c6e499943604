package inspect

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"trailmark/internal/dcbor"
	"trailmark/passport"
	"trailmark/passport/passporttest"
	"trailmark/statement"
)

// show prints data and wants no damage.
func show(t *testing.T, data []byte, o Options) string {
	t.Helper()
	var b strings.Builder
	if err := Print(&b, data, o); err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	return b.String()
}

func wants(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("output lacks %q:\n%.2000s", w, got)
		}
	}
}

func parsed(t *testing.T, data []byte) *passport.Passport {
	t.Helper()
	p, err := passport.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestEveryFile wants the names of docs/wire-format.md on every kind of file,
// without being told which kind it is.
func TestEveryFile(t *testing.T) {
	data, trust := passporttest.Make(t, passporttest.Options{Simulated: true, Older: true, Anchored: true, KeyStatus: true, Revoked: statement.RoleSite})
	pinned, err := trust.Encode()
	if err != nil {
		t.Fatal(err)
	}
	_, trust = passporttest.Make(t, passporttest.Options{EVM: &passporttest.EVM{}})
	blocks, err := trust.Encode()
	if err != nil {
		t.Fatal(err)
	}
	p := parsed(t, data)
	frame := statementOf(t, p, statement.KindFrame)
	s, err := statement.Parse(frame)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		data []byte
		want []string
	}{
		{"passport", data, []string{"/ passport, ", `2: / item / [/ gtin / "09521234543213", / serial / "1001"]`, "/ evidence 0 /", "/ protected / <<{",
			`16: / typ / "application/vnd.trailmark.identity+cbor"`, "9: / simulated / true", "4: / role / 3 / brand /", "/ zone 1 /", "/ 5m0s /",
			"/ comparison / 2 / at or above /, / value / 8000 / 8 /", "/ counts / 2 / all time /", "/ kind / 3 / sighting /", "/ kind / 2 / head /",
			"/ start / <<[", "/ basis / 0 / wall /", "/ nodes / [", "7: / older heads / [", "6: / revoked / [", "/ max / 5300 / 5.3 /",
			"1: / newest / {", "2: / anchor / [", "3: / chain evidence / h'", "/ kind / 1 / CometBFT /", "2: / receipt signature / [", "2: / place / [/ ledger / 0, / index / 0]",
			"395: / vds / 1 / RFC 9162 SHA-256 /", "/ origin ledger.example.com∕acme∕2026h1, tree size ", "3: / prev / h'0000000000000000…' / zeros: none /"}},
		{"trust", pinned, []string{"/ trust, ", "2: / authorities / [", "/ key 0 / / kid ", "-1: / crv / 6 / Ed25519 /", `1: / id / "trailmark-test-1"`, "4: / keys / ["}},
		{"trust in blocks", blocks, []string{"/ trust, ", "/ kind / 2 / EVM /", "5: / contract / [", "/ address / h'", "/ blocks / [[/ number / 50, / hash / h'"}},
		{"statement", frame, []string{"/ statement, ", "/ id " + s.ID().String()[:16], "5: / quality / 3 / synchronised /", "5: / span / [/ t0 / "}},
		{"receipt", receiptOf(p), []string{"/ receipt, ", "/ payload / null", "-1: / inclusion / [", "/ tree size / "}},
		{"note", p.Ledgers[0].Newest.Note, []string{"/ checkpoint note, ", `/ origin / "ledger.example.com/acme/2026h1"`, "/ tree size / ", "/ signature / {"}},
	} {
		t.Run(c.name, func(t *testing.T) { wants(t, show(t, c.data, Options{}), c.want...) })
	}
}

// receiptOf is a standalone receipt with a path of two hashes.
func receiptOf(p *passport.Passport) []byte {
	return p.Ledgers[0].Signature.Receipt(4, 1, []statement.Hash{{1}, {2}})
}

func statementOf(t *testing.T, p *passport.Passport, kind statement.Kind) []byte {
	t.Helper()
	for _, e := range p.Evidence {
		if s, err := statement.Parse(e.Statement); err == nil && s.Header.Kind == kind {
			return e.Statement
		}
	}
	t.Fatalf("no %s in the passport", kind)
	return nil
}

// disclosing is a passport file that shows one record with these bodies each.
func disclosing(t *testing.T, bodies ...interface{ Check() error }) []byte {
	t.Helper()
	data, _ := passporttest.Make(t, passporttest.Options{})
	p := parsed(t, data)
	p.Evidence[0].Shown = &passport.Shown{}
	for i, b := range bodies {
		body, err := statement.NewBody(b)
		if err != nil {
			t.Fatal(err)
		}
		p.Evidence[0].Shown.Records = append(p.Evidence[0].Shown.Records, passport.Record{Index: uint64(i), Data: statement.SaltedRecord([16]byte{1}, body)})
	}
	data, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRecords(t *testing.T) {
	times, values := make([]int64, 2000), make([]int64, 2000)
	for i := range times {
		times[i], values[i] = int64(60_000*(i+1)), int64(4000+i)
	}
	block, err := statement.NewBlock("air", -1, times, values) // on a clock that was not set
	if err != nil {
		t.Fatal(err)
	}
	until, code := int64(1772410000000), uint64(4)
	data := disclosing(t, block, &statement.Happening{Type: statement.Fault, At: 1772409600000, Until: &until, Count: 3, Code: &code, Words: "crc"})
	short := show(t, data, Options{})
	wants(t, short, "/ kind / 1 / block /", "3: / first reading / 60000 / 1m0s since boot /", "4: / gaps / 60000 / 1m0s /", "4031", "/ 1968 more, bytes ",
		"/ kind / 4 / happening /", "1: / type / 14 / fault /", "4: / until / 1772410000000 / 2026-03-02T00:06:40Z /")
	if strings.Contains(short, "4032") {
		t.Error("a long array is not shortened")
	}
	wants(t, show(t, data, Options{All: true}), "5999")
}

// TestAudit wants the parts that only an audit passport has, and what an erasure
// says.
func TestAudit(t *testing.T) {
	data, _ := passporttest.Make(t, passporttest.Options{Audit: true, Erased: true})
	wants(t, show(t, data, Options{}), "8: / runs / [", "/ first block / 0", "/ kind / 1 / block /", "4: / gaps / 300000 / 5m0s /", "/ frame id / h'",
		"5: / erased / [", "/ digest / [")
}

// TestJourney wants what events, changes of custody and members say.
func TestJourney(t *testing.T) {
	data, _ := passporttest.Make(t, passporttest.Options{Journey: &passporttest.Journey{Made: true, Handed: true, Accepted: true}})
	wants(t, show(t, data, Options{}), "6: / members / [", "/ list / 6 / items /", "/ list / 7 / inputs /", "/ leaf / <<", "/ object / \"https://id.gs1.org/01/09521234543213/21/1001\"", "7: / input passports / [",
		"9: / moments / [", "/ moment 0 / [", "/ device kid / h'", "3: / action / 4 / transform /", "4: / at / 1772411100000 / 2026-03-02T00:25:00Z /", "2: / document hash / h'", "8: / where / \"https", "9: / step / \"packing\"")
	old := dcbor.MustMarshal(&statement.Event{Version: 1, EPCIS: []byte("{}"), Objects: []statement.EventOf{{Object: "o"}}})
	key, err := statement.NewSigner(ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := key.Sign(statement.Header{Issuer: "a", Audience: "b", Kind: statement.KindEvent}, old)
	if err != nil {
		t.Fatal(err)
	}
	wants(t, show(t, s.Bytes(), Options{}), "2: / epcis /", "3: / objects / [")
}

func TestTransparent(t *testing.T) {
	data, _ := passporttest.Make(t, passporttest.Options{})
	p := parsed(t, data)
	whole, err := statement.AttachReceipts(statementOf(t, p, statement.KindPlan), receiptOf(p))
	if err != nil {
		t.Fatal(err)
	}
	got := show(t, whole, Options{})
	wants(t, got, "/ statement, ", "394: / receipts / [", "/ inclusion / [", ", ledger entry ", "5: / zones / [")
	if strings.Contains(got, "no verifier takes it") {
		t.Error("a transparent statement is said to be none")
	}
}

func TestFull(t *testing.T) {
	data, _ := passporttest.Make(t, passporttest.Options{})
	p := parsed(t, data)
	device := p.Trails[0].Device.String()
	if short := show(t, data, Options{}); strings.Contains(short, device) || !strings.Contains(short, "h'"+device[:16]+"…'") {
		t.Error("a hash is not shortened to its first 8 bytes")
	}
	full := show(t, data, Options{Full: true})
	wants(t, full, "h'"+device+"'")
	if strings.Contains(full, "…'") {
		t.Error("--full leaves something shortened")
	}
}

// TestTruncated cuts a passport: each cut is reported once, at a place in the
// file, and everything before it is still named.
func TestTruncated(t *testing.T) {
	data, _ := passporttest.Make(t, passporttest.Options{})
	for n := 0; n < len(data); n += 41 {
		var b strings.Builder
		err := Print(&b, data[:n], Options{As: Passport})
		var d *Damage
		if !errors.As(err, &d) || d.At > n || d.Places != 1 {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if want := fmt.Sprintf("breaks at byte %d", d.At); !strings.Contains(b.String(), want) {
			t.Fatalf("cut at %d: output lacks %q", n, want)
		}
	}
	var b strings.Builder
	if err := Print(&b, data[:len(data)-1], Options{}); err == nil {
		t.Error("a cut file is whole")
	}
	wants(t, b.String(), "/ trail 2 /", "/ evidence 0 /")
}

// TestDamageInside spoils one statement's payload: what follows it is printed
// all the same.
func TestDamageInside(t *testing.T) {
	data, _ := passporttest.Make(t, passporttest.Options{})
	p := parsed(t, data)
	s, err := statement.Parse(statementOf(t, p, statement.KindProduct))
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, s.Payload)
	data[at] = 0xbf // an indefinite map
	var b strings.Builder
	var d *Damage
	if err := Print(&b, data, Options{}); !errors.As(err, &d) || d.Places != 1 || d.At != at {
		t.Fatalf("damage at byte %d is reported as %v", at, err)
	}
	wants(t, b.String(), fmt.Sprintf("/ breaks at byte %d: indefinite length", at), "/ signature / h'", "/ trail 2 /")
}

func TestDamageSaysWhat(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "byte 0: ends where an item is due"},
		{"83 01", "byte 2: ends where an item is due"},
		{"5a 7fffffff 00", "byte 0: a string of 2147483647 bytes, and 1 are left"},
		{"bb ffffffffffffffff 01", "byte 10: ends where an item is due"},
		{"9b ffffffffffffffff 01", "byte 10: ends where an item is due"},
		{"19 01", "byte 0: ends in the middle of an item's head: 1 bytes left, 2 needed"},
		{"1c", "byte 0: 0x1c begins no item"},
		{"01 02", "byte 1: 1 bytes follow the end"},
		{strings.Repeat("81", 40) + "00", "nested deeper than 32"},
	} {
		in, err := hex.DecodeString(strings.ReplaceAll(c.in, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := Print(&b, in, Options{As: CBOR}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.in, err, c.want)
		}
	}
}

func TestNotDeterministic(t *testing.T) {
	wants(t, show(t, []byte{0x18, 0x01}, Options{As: CBOR}), "/ not its shortest form / 1")
	wants(t, show(t, []byte{0x98, 0x01, 0x01}, Options{As: CBOR}), "/ not its shortest form / [")
	wants(t, show(t, []byte{0xf9, 0x3c, 0x00}, Options{As: CBOR}), "h'f93c00' / a floating-point number")
	wants(t, show(t, []byte{0xa1, 0x18, 0x63, 0x01}, Options{As: Passport}), "99: / a key that the wire format does not have / 1")
}

// TestTerminal wants nothing to reach a terminal that it would act on.
func TestTerminal(t *testing.T) {
	in, err := cbor.Marshal("a\x1b[31m\u202eb\u009b\"\\\U000e0001")
	if err != nil {
		t.Fatal(err)
	}
	wants(t, show(t, in, Options{As: CBOR}), `"a\u001b[31m\u202eb\u009b\"\\\udb40\udc01"`)
}

// plainly drops comments and white space outside of quotes.
func plainly(s string) string {
	var b strings.Builder
	quoted, comment := rune(0), false
	for _, r := range s {
		switch {
		case comment:
			comment = r != '/'
		case quoted != 0:
			if r < utf8.RuneSelf {
				b.WriteRune(r)
			} else { // fxamacker writes ASCII only
				fmt.Fprintf(&b, `\u%04x`, r)
			}
			if r == quoted {
				quoted = 0
			}
		case r == '/':
			comment = true
		case r == ' ' || r == '\n':
		default:
			if r == '"' {
				quoted = r
			}
			b.WriteRune(r)
		}
	}
	return b.String()
}

// TestAgainstFxamacker compares with another diagnostic printer, on our files
// and on random items.
func TestAgainstFxamacker(t *testing.T) {
	data, trust := passporttest.Make(t, passporttest.Options{Older: true})
	pinned, err := trust.Encode()
	if err != nil {
		t.Fatal(err)
	}
	cases := [][]byte{data, pinned, receiptOf(parsed(t, data))}
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		item, err := cbor.Marshal(random(r, 5))
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, item)
	}
	for _, in := range cases {
		want, err := cbor.Diagnose(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := plainly(show(t, in, Options{As: CBOR, Full: true, All: true})); got != plainly(want) {
			t.Fatalf("%x\n got %.400s\nwant %.400s", in, got, want)
		}
	}
}

func random(r *rand.Rand, depth int) any {
	kinds := 7
	if depth == 0 {
		kinds = 5
	}
	switch r.IntN(kinds) {
	case 0:
		return r.Uint64() >> r.IntN(64)
	case 1:
		return -int64(r.Uint64()>>(1+r.IntN(63))) - 1
	case 2:
		return bytes.Repeat([]byte{byte(r.IntN(256))}, r.IntN(70))
	case 3:
		return strings.Repeat("ab 溯证", r.IntN(9))
	case 4:
		return []any{nil, true, false}[r.IntN(3)]
	case 5:
		list := make([]any, r.IntN(40))
		for i := range list {
			list[i] = random(r, depth-1-r.IntN(depth))
		}
		return list
	}
	return map[any]any{r.IntN(100): random(r, depth-1)}
}

func FuzzPrint(f *testing.F) {
	data, trust := passporttest.Make(f, passporttest.Options{Older: true})
	pinned, err := trust.Encode()
	if err != nil {
		f.Fatal(err)
	}
	p, err := passport.Parse(data)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{data, pinned, p.Evidence[0].Statement, receiptOf(p), p.Ledgers[0].Newest.Note, {0x9b, 255, 255, 255, 255, 255, 255, 255, 255, 1}} {
		f.Add(seed, uint8(0))
	}
	strict, err := cbor.DecOptions{IndefLength: cbor.IndefLengthForbidden, MaxNestedLevels: 16}.DecMode()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte, how uint8) {
		kinds := Kinds()
		o := Options{As: kinds[int(how>>2)%len(kinds)], Full: how&1 != 0, All: how&2 != 0}
		var b strings.Builder
		err := Print(&b, data, o)
		if o.As == CBOR && strict.Wellformed(data) == nil && err != nil {
			t.Errorf("well-formed, and %v", err)
		}
		if n, most := b.Len(), 1000+400*len(data); n > most {
			t.Errorf("%d bytes of output for %d of input", n, len(data))
		}
		if i := strings.IndexFunc(b.String(), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("unprintable at %d of the output", i)
		}
	})
}
