package epc

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// The examples of GS1 EPC Tag Data Standard 2.3, annex E.3, of the codings here:
// EPC memory, tag URI, path of the Digital Link.
func examples() [][3]string {
	return [][3]string{
		{"3066C4409047E140075BCD15", "urn:epc:tag:sgtin-96:3.95060001343.05.123456789", "/01/09506000134352/21/123456789"},
		{"3666C4409047E159B2C2BF100000000000000000000000000000", "urn:epc:tag:sgtin-198:3.95060001343.05.32a%2Fb", "/01/09506000134352/21/32a%2Fb"},
		{"F73795211411234538566CB0AFC4", "", "/01/79521141123453/21/32a%2Fb"},
		{"311BA1B300CE0A6A83000000", "urn:epc:tag:sscc-96:0.952012.03456789123", "/00/095201234567891235"},
		{"F90095201234567891235000", "", "/00/095201234567891235"},
		{"3276451FD46072000000162E", "urn:epc:tag:sgln-96:3.9521141.12345.5678", "/414/9521141123454/254/5678"},
		{"3976451FD46072CD9615F8800000000000000000000000000000", "urn:epc:tag:sgln-195:3.9521141.12345.32a%2Fb", "/414/9521141123454/254/32a%2Fb"},
		{"3376451FD40C0E400000162E", "urn:epc:tag:grai-96:3.9521141.12345.5678", "/8003/095211411234545678"},
		{"3776451FD40C0E59B2C2BF1000000000000000000000", "urn:epc:tag:grai-170:3.9521141.12345.32a%2Fb", "/8003/0952114112345432a%2Fb"},
		{"3476451FD40000000000162E", "urn:epc:tag:giai-96:3.9521141.5678", "/8004/95211415678"},
		{"3876451FD59B2C2BF10000000000000000000000000000000000", "urn:epc:tag:giai-202:3.9521141.32a%2Fb", "/8004/952114132a%2Fb"},
	}
}

func TestExamplesOfTheStandard(t *testing.T) {
	for _, v := range examples() {
		tag, err := DecodeTag(unhex(t, v[0]))
		if err != nil {
			t.Errorf("%s: %v", v[0], err)
			continue
		}
		if tag.URI() != v[1] || tag.Link.Path() != v[2] {
			t.Errorf("%s: %s %s, want %s %s", v[0], tag.URI(), tag.Link.Path(), v[1], v[2])
		}
		if out, err := tag.Encode(); err != nil || !bytes.Equal(out, unhex(t, v[0])) {
			t.Errorf("%s came back as %X, %v", v[0], out, err)
		}
		if v[1] != "" {
			if parsed, err := ParseTagURI(v[1]); err != nil || parsed != tag {
				t.Errorf("%s: parsed %+v, %v; decoded %+v", v[1], parsed, err, tag)
			}
			if id, err := ParseURI(tag.ID.URI()); err != nil || id.URI() != tag.ID.URI() {
				t.Errorf("%s: %+v, %v", tag.ID.URI(), id, err)
			}
		} else if again, err := tag.Link.Tag(tag.Filter); err != nil || again != tag {
			t.Errorf("%s: from its link %+v, %v", v[0], again, err)
		}
		if l, err := ParseDigitalLinkPath(v[2]); err != nil || l != tag.Link {
			t.Errorf("%s: parsed %+v, %v; want %+v", v[2], l, err, tag.Link)
		}
	}
}

func TestPlusSerials(t *testing.T) {
	// Indicator and bits as TDS 14.5.6 has them: one of each way to write a serial.
	for serial, want := range map[string]string{
		"0":                    "0 4",
		"00042":                "0 17",
		"99999999999999999999": "0 67",
		"0A":                   "1 8",
		"DEADBEEF0":            "1 36",
		"c0ffee":               "2 24",
		"A.B":                  "5 16",
		"ABCXYZ-19":            "5 48",
		"aB_9":                 "3 24",
		"G7":                   "3 12",
		"32a/b":                "4 35",
	} {
		l := Link{GTIN: "79521141123453", Serial: serial}
		tag, err := l.Tag(3)
		if err != nil {
			t.Errorf("%q: %v", serial, err)
			continue
		}
		b, err := tag.Encode()
		if err != nil {
			t.Fatal(err)
		}
		r := reader{b: b, at: 68}
		how, n := r.get(3), int(r.get(5))
		size := map[uint64]int{0: integerBits(n), 1: 4 * n, 2: 4 * n, 3: 6 * n, 4: 7 * n, 5: (n + 2) / 3 * 16}[how]
		if got := fmt.Sprint(how, " ", size); n != len(serial) || got != want {
			t.Errorf("%q: indicator and bits %s for %d characters, want %s", serial, got, n, want)
		}
		if back, err := DecodeTag(b); err != nil || back != tag {
			t.Errorf("%q came back as %+v, %v", serial, back, err)
		}
	}
}

func TestTagsRefused(t *testing.T) {
	for _, v := range []struct{ name, hex string }{
		{"empty", ""},
		{"unprogrammed", "000000000000000000000000"},
		{"sgtin-198 of 12 bytes", "3666C4409047E159B2C2BF10"},
		{"sgtin-198 without a serial", "3666C4409047E140000000000000000000000000000000000000"},
		{"sgtin-198 with a character behind the end", "3666C4409047E159B2C2BF100001000000000000000000000000"},
		{"sgtin-198 with padding that is not 0", "3666C4409047E159B2C2BF100000000000000000000000000001"},
		{"sgtin-198 with a space in its serial", "3666C4409047E150000000000000000000000000000000000000"},
		{"sgln-96 with a location where its company prefix leaves none", "320000000000020000000000"},
		{"giai-202 partition 7", "387E451FD59B2C2BF10000000000000000000000000000000000"},
		{"sgtin+ with a digit above 9", "F73A95211411234538566CB0AFC4"},
		{"sgtin+ with another check digit", "F73795211411234548566CB0AFC4"},
		{"sgtin+ cut short in its key", "F737952114112345"},
		{"sgtin+ cut short in its serial", "F73795211411234538566CB0"},
		{"sgtin+ without a serial", "F73795211411234538000000"},
		{"sgtin+ with a serial of 21 characters", "F737952114112345395" + strings.Repeat("5", 41)},
		{"sgtin+ with a reserved indicator", "F737952114112345C566CB0AFC40"},
		{"sgtin+ with bits behind its serial", "F73795211411234538566CB0AFC5"},
		{"sgtin+ with a word behind its serial", "F73795211411234538566CB0AFC40000"},
		{"sgtin+ with an integer of more digits than it says", "F73795211411234501F0"},
		{"sscc+ with another check digit", "F90095201234567891234000"},
	} {
		if tag, err := DecodeTag(unhex(t, v.hex)); err == nil || tag != (Tag{}) {
			t.Errorf("%s: accepted as %+v", v.name, tag)
		}
	}
	for _, s := range []string{
		"", "urn:epc:tag:", "urn:epc:tag:sgtin-96:3", "urn:epc:tag:sgtin-96:8.0614141.812345.6789", "urn:epc:tag:sgtin-96:33.0614141.812345.6789",
		"urn:epc:tag:sgtin-96:3.0614141.812345.A1", "urn:epc:tag:sgtin-96:3.0614141.812345.007", "urn:epc:tag:sgtin-64:3.0614141.812345.6789",
		"urn:epc:tag:sscc-96:0.952012.0345678912", "urn:epc:tag:sgtin-198:3.0614141.812345.%41", "urn:epc:tag:giai-96:3.0614141.2199023255552x",
		"urn:epc:tag:giai-96:0.999999999999.4398046511104", "urn:epc:tag:grai-96:0.061414112345..274877906944",
	} {
		if tag, err := ParseTagURI(s); err == nil || tag != (Tag{}) {
			t.Errorf("%q: accepted as %+v", s, tag)
		}
	}
	// What follows a tag's EPC is not kept, and such a tag is never written.
	tag, err := DecodeTag(unhex(t, "F7B795211411234538566CB0AFC41726"))
	if err != nil || !tag.Data || tag.Link.Serial != "32a/b" {
		t.Fatalf("%+v, %v", tag, err)
	}
	if b, err := tag.Encode(); err == nil {
		t.Errorf("written as %X", b)
	}
}

// randomID makes valid names of every scheme. numeric ones fit 96 bits.
func randomID(r *rand.Rand, scheme Scheme, numeric bool) ID {
	some := func(alphabet string, n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(b)
	}
	const ten = "0123456789"
	const wide = ten + "ABCXYZabcxyz" + `!"%&'()*+,-./:;<=>?_`
	id := ID{Scheme: scheme, Filter: uint8(r.IntN(8)), CompanyPrefix: some(ten, 6+r.IntN(7))}
	g, _ := grammarOf(scheme)
	text := func(most int) string {
		if numeric {
			return strings.TrimLeft(some(ten, min(most, 11)), "0") + "7"
		}
		return some(wide, 1+r.IntN(most))
	}
	if id.Reference = some(ten, max(0, g.digits-len(id.CompanyPrefix))); g.chars > 0 {
		id.Reference = text(g.chars - len(id.CompanyPrefix))
	}
	if g.serial > 0 {
		id.Serial = text(g.serial)
		if numeric { // below 2^38
			id.Serial = strings.TrimLeft(some(ten, 10), "0") + "1"
		}
	}
	return id
}

func TestEveryCodingKeepsEveryName(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 11))
	for _, l := range layouts() {
		for range 2000 {
			id := randomID(r, l.scheme, !l.text)
			tag, err := id.Tag(l.coding)
			if err != nil {
				t.Fatalf("%s %+v: %v", l.coding, id, err)
			}
			b, err := tag.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if back, err := DecodeTag(b); err != nil || back != tag {
				t.Fatalf("%s %X: %+v, %v; want %+v", l.coding, b, back, err, tag)
			}
			if back, err := ParseTagURI(tag.URI()); err != nil || back != tag {
				t.Fatalf("%s: %+v, %v", tag.URI(), back, err)
			}
			if link, err := ParseDigitalLinkPath(id.Link().Path()); err != nil || link != id.Link() {
				t.Fatalf("%s: %+v, %v", id.Link().Path(), link, err)
			}
			if id.Scheme == SGTIN || id.Scheme == SSCC {
				plus, err := id.Link().Tag(id.Filter)
				if err != nil {
					t.Fatalf("%+v: %v", id.Link(), err)
				}
				b, err := plus.Encode()
				if err != nil {
					t.Fatal(err)
				}
				if back, err := DecodeTag(b); err != nil || back != plus {
					t.Fatalf("%+v: %X is %+v, %v", plus, b, back, err)
				}
			}
		}
	}
}

func FuzzDecodeTag(f *testing.F) {
	for _, v := range examples() {
		f.Add(unhex(f, v[0]))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tag, err := DecodeTag(b)
		if err != nil || tag.Data {
			return
		}
		out, err := tag.Encode()
		if err != nil {
			t.Fatalf("%X: %v", b, err)
		}
		// A "+" serial may have been written in a longer way than needed.
		if tag.ID != (ID{}) && !bytes.Equal(out, b) || len(out) > len(b)+1 {
			t.Fatalf("%X came back as %X", b, out)
		}
		if again, err := DecodeTag(out); err != nil || again != tag {
			t.Fatalf("%X: %+v, %v; want %+v", out, again, err, tag)
		}
	})
}

func FuzzParseTagURI(f *testing.F) {
	for _, v := range examples() {
		f.Add(v[1])
	}
	f.Fuzz(func(t *testing.T, s string) {
		tag, err := ParseTagURI(s)
		if err != nil {
			return
		}
		if tag.URI() != s {
			t.Fatalf("%q came back as %q", s, tag.URI())
		}
		b, err := tag.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := DecodeTag(b); err != nil || back != tag {
			t.Fatalf("%s: %s decodes to %+v, %v", s, hex.EncodeToString(b), back, err)
		}
	})
}
