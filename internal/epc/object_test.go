package epc

import (
	"testing"
)

// TestTagObjects: a tag names one object, in whatever coding.
func TestTagObjects(t *testing.T) {
	want := map[string]string{
		"3066C4409047E140075BCD15":                             "https://id.gs1.org/01/09506000134352/21/123456789",
		"3666C4409047E159B2C2BF100000000000000000000000000000": "https://id.gs1.org/01/09506000134352/21/32a%2Fb",
		"F73795211411234538566CB0AFC4":                         "https://id.gs1.org/01/79521141123453/21/32a%2Fb",
		"311BA1B300CE0A6A83000000":                             "https://id.gs1.org/00/095201234567891235",
		"F90095201234567891235000":                             "https://id.gs1.org/00/095201234567891235",
	}
	for _, v := range examples() {
		o, ok := TagObject(unhex(t, v[0]))
		if uri := want[v[0]]; ok != (uri != "") || o.URI() != uri {
			t.Errorf("%s: %q, %v, want %q", v[0], o.URI(), ok, uri)
		}
	}
	if _, ok := TagObject([]byte{0x30}); ok {
		t.Error("a cut tag names something")
	}
}

// TestObjectURIs: every object has one spelling.
func TestObjectURIs(t *testing.T) {
	for _, o := range []Object{
		{GTIN: "09506000134352", Serial: "A-1._x"}, {GTIN: "09506000134352", Lot: "L"}, {SSCC: "095201234567891235"},
		{GTIN: "09506000134352", Serial: `!"%&'()*+,/:;<=>?`}, {GTIN: "09506000134352", Lot: "2026/03"},
	} {
		uri := o.URI()
		if back, err := ParseObject(uri); err != nil || back != o || uri == "" {
			t.Errorf("%+v is spelled %q, which is %+v, %v", o, uri, back, err)
		}
	}
	if got := (Object{GTIN: "09506000134352", Serial: "a/(b)"}).URI(); got != "https://id.gs1.org/01/09506000134352/21/a%2F%28b%29" {
		t.Errorf("escapes: %s", got)
	}
	for _, o := range []Object{
		{}, {GTIN: "09506000134352"}, {GTIN: "09506000134353", Serial: "1"}, {GTIN: "9506000134352", Serial: "1"}, {SSCC: "095201234567891236"},
		{GTIN: "09506000134352", Serial: "1", Lot: "2"}, {SSCC: "095201234567891235", Serial: "1"}, {GTIN: "09506000134352", Serial: "a b"},
		{GTIN: "09506000134352", Serial: "123456789012345678901"},
	} {
		if o.URI() != "" {
			t.Errorf("%+v is spelled %q", o, o.URI())
		}
	}
	for _, uri := range []string{
		"", "https://id.gs1.org", "https://id.gs1.org/", "https://id.gs1.org/01/09506000134352", "https://example.com/01/09506000134352/21/1",
		"http://id.gs1.org/01/09506000134352/21/1", "https://id.gs1.org/01/09506000134352/21/a%2fb", "https://id.gs1.org/01/09506000134352/21/a(b",
		"https://id.gs1.org/01/09506000134352/21/%41", "https://id.gs1.org/01/09506000134352/21/1/", "https://id.gs1.org/00/095201234567891235?x",
		"https://id.gs1.org/01/09506000134352/22/1", "https://id.gs1.org/01/9506000134352/21/1", "https://id.gs1.org/01/09506000134352/21/%",
		"https://id.gs1.org/00/095201234567891236", "urn:epc:id:sscc:952012.03456789123",
	} {
		if o, err := ParseObject(uri); err == nil {
			t.Errorf("%q is read as %+v", uri, o)
		}
	}
}

func FuzzParseObject(f *testing.F) {
	f.Add("https://id.gs1.org/01/09506000134352/21/32a%2Fb")
	f.Add("https://id.gs1.org/01/09506000134352/10/L1")
	f.Add("https://id.gs1.org/00/095201234567891235")
	f.Fuzz(func(t *testing.T, uri string) {
		if o, err := ParseObject(uri); err == nil && o.URI() != uri {
			t.Fatalf("%q is spelled %q", uri, o.URI())
		}
	})
}

// FuzzTagObject: what a tag names has a spelling, and a "+" tag of that name
// names it again.
func FuzzTagObject(f *testing.F) {
	for _, v := range examples() {
		f.Add(unhex(f, v[0]))
	}
	f.Fuzz(func(t *testing.T, tag []byte) {
		o, ok := TagObject(tag)
		if !ok {
			return
		}
		back, err := ParseObject(o.URI())
		if err != nil || back != o {
			t.Fatalf("%X names %+v, %v", tag, o, err)
		}
		plus, err := Link{GTIN: o.GTIN, Serial: o.Serial, SSCC: o.SSCC}.Tag(0)
		if err != nil {
			t.Fatal(err)
		}
		again, err := plus.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if o2, ok := TagObject(again); !ok || o2 != o {
			t.Fatalf("%X names %+v, %X names %+v", tag, o, again, o2)
		}
	})
}
