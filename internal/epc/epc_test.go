package epc

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// The hex of these tags was computed by another implementation (npm epc-tds
// 1.4.1); the first and ninth are also examples of GS1 documents. Partitions 0
// to 6 and the largest and smallest values all appear.
func vectors() [][3]string { // EPC memory, filter and pure identity, key
	return [][3]string{
		{"3074257BF7194E4000001A85", "3 urn:epc:id:sgtin:0614141.812345.6789", "80614141123458"},
		{"301800000000000000000000", "0 urn:epc:id:sgtin:000000.0000000.0", "00000000000000"},
		{"3038697F930909C000000001", "1 urn:epc:id:sgtin:108030.4989991.1", "41080309899915"},
		{"30E3A352943FFE7FFFFFFFFF", "7 urn:epc:id:sgtin:999999999999.9.274877906943", "99999999999997"},
		{"3046022E9A69C3000000002A", "2 urn:epc:id:sgtin:69012345678.12.42", "16901234567820"},
		{"30499B587B871EC00000002A", "2 urn:epc:id:sgtin:6901234567.123.42", "16901234567233"},
		{"304E92272C0134800000002A", "2 urn:epc:id:sgtin:690123456.1234.42", "16901234562344"},
		{"30520E85BC8134800000002A", "2 urn:epc:id:sgtin:69012345.01234.42", "06901234512342"},
		{"311BA1B300CE0A6A83000000", "0 urn:epc:id:sscc:952012.03456789123", "095201234567891235"},
		{"3154257BF4499602D2000000", "2 urn:epc:id:sscc:0614141.1234567890", "106141412345678908"},
		{"31E3A352943FFD869F000000", "7 urn:epc:id:sscc:999999999999.99999", "999999999999999995"},
		{"3126022E9A69C1E240000000", "1 urn:epc:id:sscc:69012345678.123456", "169012345678234562"},
		{"312E92272C00BC614E000000", "1 urn:epc:id:sscc:690123456.12345678", "169012345623456780"},
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	for _, v := range vectors() {
		filter, uri, _ := strings.Cut(v[1], " ")
		b := unhex(t, v[0])
		id, err := Decode(b)
		if err != nil {
			t.Errorf("%s: %v", v[0], err)
			continue
		}
		if id.URI() != uri || id.Filter != filter[0]-'0' {
			t.Errorf("%s: got %d %s, want %s", v[0], id.Filter, id.URI(), v[1])
		}
		if got := id.GTIN() + id.SSCC(); got != v[2] {
			t.Errorf("%s: key %s, want %s", uri, got, v[2])
		}
		parsed, err := ParseURI(uri)
		if err != nil {
			t.Errorf("%s: %v", uri, err)
		}
		parsed.Filter = id.Filter
		if parsed != id {
			t.Errorf("%s: parsed %+v, decoded %+v", uri, parsed, id)
		}
		if out, err := parsed.Encode(); err != nil || !bytes.Equal(out, b) {
			t.Errorf("%s: encoded %X, %v; want %s", uri, out, err, v[0])
		}
	}
}

func TestDigitalLink(t *testing.T) {
	sgtin, err := SGTIN96("0614141", "812345", "6789", 3)
	if err != nil {
		t.Fatal(err)
	}
	sscc, err := SSCC96("952012", "03456789123", 0)
	if err != nil {
		t.Fatal(err)
	}
	odd := ID{Scheme: SGTIN, CompanyPrefix: "0614141", Reference: "812345", Serial: `A/1%&"?<>`}
	if got, want := odd.URI(), "urn:epc:id:sgtin:0614141.812345.A%2F1%25%26%22%3F%3C%3E"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if back, err := ParseURI(odd.URI()); err != nil || back != odd {
		t.Errorf("%s came back as %+v, %v", odd.URI(), back, err)
	}
	for id, want := range map[ID]string{
		sgtin: "https://id.example.com/01/80614141123458/21/6789",
		sscc:  "https://id.example.com/00/095201234567891235",
		odd:   "https://id.example.com/01/80614141123458/21/A%2F1%25&%22%3F%3C%3E",
	} {
		got := id.DigitalLink("https://id.example.com/")
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		l, err := ParseDigitalLinkPath(strings.TrimPrefix(got, "https://id.example.com"))
		if err != nil || l != id.Link() {
			t.Errorf("%s: got %+v, %v; want %+v", got, l, err, id.Link())
		}
	}
	if l, err := ParseDigitalLinkPath("/01/80614141123458"); err != nil || l != (Link{GTIN: "80614141123458"}) {
		t.Errorf("class link: %+v, %v", l, err)
	}
	for _, s := range []string{
		"", "/", "/01", "/01/", "01/80614141123458", "/01/80614141123459", "/01/0614141123452", "/01/80614141123458/21",
		"/01/80614141123458/21/", "/01/80614141123458/21/%zz", "/01/80614141123458/21/%00", "/01/80614141123458/21/a b",
		"/01/80614141123458/21/123456789012345678901", "/01/80614141123458/10/7", "/00/095201234567891234",
		"/00/095201234567891235/21/1", "/00/" + strings.Repeat("0", 200),
	} {
		if l, err := ParseDigitalLinkPath(s); err == nil || l != (Link{}) {
			t.Errorf("%q: accepted as %+v, %v", s, l, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, v := range []struct{ name, hex string }{
		{"short", "3074257BF7194E4000001A"},
		{"long", "3074257BF7194E4000001A8500"},
		{"sgtin-198 header", "3674257BF7194E4000001A85"},
		{"partition 7", "307C257BF7194E4000001A85"},
		{"company prefix of 13 digits", "3003FFFFFFFFFE4000001A85"},
		{"item reference of 7 digits in partition 5", "3074257BF7FFFFC000001A85"},
		{"sscc reserved bits", "311BA1B300CE0A6A83000001"},
	} {
		if id, err := Decode(unhex(t, v.hex)); err == nil {
			t.Errorf("%s: accepted as %+v", v.name, id)
		}
	}
	for _, s := range []string{
		"", "urn:epc:id:", "urn:epc:id:sgtin", "urn:epc:id:sgtin:0614141.812345", "urn:epc:id:sgtin:0614141.812345.",
		"urn:epc:id:sgtin:06141.81234567.1", "urn:epc:id:sgtin:0614141234567.8.1", "urn:epc:id:sgtin:0614141.81234.1",
		"urn:epc:id:sgtin:061414x.812345.1", "urn:epc:id:sgtin:0614141.812345.%2f", "urn:epc:id:sgtin:0614141.812345.%41",
		"urn:epc:id:sgtin:0614141.812345./", "urn:epc:id:sscc:952012.0345678912", "urn:epc:id:sscc:952012.03456789123.1",
		"urn:epc:id:gsrn:952012.1", "urn:epc:tag:sgtin-96:3.0614141.812345.6789", "urn:epc:id:sgtin:0614141.812345.é",
	} {
		if id, err := ParseURI(s); err == nil || id != (ID{}) {
			t.Errorf("%q: accepted as %+v, %v", s, id, err)
		}
	}
	for _, serial := range []string{"274877906944", "99999999999999999999", "007", "A1", "", "-1", "+1"} {
		if id, err := SGTIN96("0614141", "812345", serial, 0); err == nil {
			t.Errorf("serial %q: accepted as %+v", serial, id)
		}
	}
	if _, err := SGTIN96("0614141", "812345", "1", 8); err == nil {
		t.Error("filter 8 accepted")
	}
	sscc := ID{Scheme: SSCC, CompanyPrefix: "952012", Reference: "03456789123", Serial: "1"}
	if _, err := sscc.Encode(); err == nil {
		t.Error("sscc with a serial number accepted")
	}
	for _, id := range []ID{{}, {Scheme: SGTIN}, {Scheme: SSCC, CompanyPrefix: "1"}, sscc} {
		if s := id.URI() + id.GTIN() + id.SSCC() + id.DigitalLink("https://x") + id.Link().Path(); s != "" {
			t.Errorf("%+v: invalid, but has the name %q", id, s)
		}
	}
}

func TestCheckKeys(t *testing.T) {
	for _, s := range []string{"96385074", "614141000036", "4006381333931", "80614141123458"} {
		if err := CheckGTIN(s); err != nil {
			t.Error(err)
		}
		wrong := s[:len(s)-1] + string('0'+(s[len(s)-1]-'0'+1)%10)
		if CheckGTIN(wrong) == nil {
			t.Errorf("%s: wrong check digit accepted", wrong)
		}
	}
	for _, s := range []string{"", "9638507", "400638133393x", "123456789"} {
		if CheckGTIN(s) == nil {
			t.Errorf("%q accepted", s)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, v := range vectors() {
		f.Add(unhex(f, v[0]))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := Decode(b)
		if err != nil {
			return
		}
		out, err := id.Encode()
		if err != nil || !bytes.Equal(out, b) {
			t.Fatalf("%X came back as %X, %v", b, out, err)
		}
		again, err := ParseURI(id.URI())
		if again.Filter = id.Filter; err != nil || again != id {
			t.Fatalf("%s: got %+v, %v; want %+v", id.URI(), again, err, id)
		}
		l, err := ParseDigitalLinkPath(id.Link().Path())
		if err != nil || l != id.Link() {
			t.Fatalf("%s: got %+v, %v", id.Link().Path(), l, err)
		}
	})
}

func FuzzParseURI(f *testing.F) {
	for _, v := range vectors() {
		f.Add(v[1][2:])
	}
	f.Add("urn:epc:id:sgtin:0614141.812345.A%2F1")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseURI(s)
		if err != nil {
			return
		}
		if id.URI() != s {
			t.Fatalf("%q came back as %q", s, id.URI())
		}
		b, err := id.Encode()
		if err != nil {
			return // a serial number only a longer tag can hold
		}
		if back, err := Decode(b); err != nil || back != id {
			t.Fatalf("%s: %X decodes to %+v, %v", s, b, back, err)
		}
	})
}

func FuzzParseDigitalLinkPath(f *testing.F) {
	f.Add("/01/80614141123458/21/6789")
	f.Add("/00/095201234567891235")
	f.Add("/01/80614141123458/21/A%2F1")
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseDigitalLinkPath(s)
		if err != nil {
			return
		}
		if back, err := ParseDigitalLinkPath(l.Path()); err != nil || back != l {
			t.Fatalf("%q: %+v came back as %+v, %v", s, l, back, err)
		}
	})
}
