package epc

import (
	"strings"
	"testing"
)

// TestAddress: the examples of GS1 Digital Link: URI Syntax, and what it forbids.
func TestAddress(t *testing.T) {
	for path, want := range map[string]Address{
		"/01/09521234543213":                                 {Link: Link{GTIN: "09521234543213"}},
		"/01/09521234543213/":                                {Link: Link{GTIN: "09521234543213"}},
		"/01/09521234543213/21/12345":                        {Link: Link{GTIN: "09521234543213", Serial: "12345"}},
		"/01/09521234543213/10/ABC1":                         {Link: Link{GTIN: "09521234543213"}, Lot: "ABC1"},
		"/01/09521234543213/10/ABC1/21/12345":                {Link: Link{GTIN: "09521234543213", Serial: "12345"}, Lot: "ABC1"},
		"/01/09521234543213/22/2A":                           {Link: Link{GTIN: "09521234543213"}, Variant: "2A"},
		"/01/09521234543213/22/2A/10/A%2FB/21/%22":           {Link: Link{GTIN: "09521234543213", Serial: `"`}, Variant: "2A", Lot: "A/B"},
		"/01/09521234543213/235/TPX5-1":                      {Link: Link{GTIN: "09521234543213"}, Controlled: "TPX5-1"},
		"/00/952123456789012345":                             {Link: Link{SSCC: "952123456789012345"}},
		"/414/9521234567899":                                 {Link: Link{GLN: "9521234567899"}},
		"/414/9521234567899/254/Dock-3":                      {Link: Link{GLN: "9521234567899", Serial: "Dock-3"}},
		"/01/09521234543213/21/" + strings.Repeat("%2F", 20): {Link: Link{GTIN: "09521234543213", Serial: strings.Repeat("/", 20)}},
	} {
		got, err := ParseAddress(path)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
		if back, err := ParseAddress(got.Path()); err != nil || back != got {
			t.Errorf("%s: written as %s: %+v, %v", path, got.Path(), back, err)
		}
	}
	for path, want := range map[string]string{
		"/01/09521234543210":                               "check digit 0: want 3",
		"/01/9521234543213":                                "want 14 digits",
		"/01/09521234543213/foo":                           `"foo" does not belong there`,
		"/01/09521234543213/21/1/10/A":                     `"10" does not belong there`,
		"/01/09521234543213/10/A/10/B":                     `"10" does not belong there`,
		"/01/09521234543213/10":                            "has no value",
		"/01/09521234543213/10/":                           "has no value",
		"/01/09521234543213/10//21/1":                      "has 0 characters",
		"/01/09521234543213/10/" + strings.Repeat("A", 21): "has 21 characters",
		"/01/09521234543213/21/a%20b":                      "outside gs1 character set 82",
		"/01/09521234543213/21/%zz":                        "invalid URL escape",
		"/01/09521234543213/235/A/21/1":                    `"21" does not belong there`,
		"/01/09521234543213/10/A/235/B":                    "235 stands alone",
		"/01/09521234543213//":                             "does not belong there",
		"/00/952123456789012346":                           "check digit 6: want 5",
		"/00/95212345678901234":                            "want 18 digits",
		"/00/952123456789012345/21/1":                      "none of",
		"/414/9521234567890":                               "check digit 0: want 9",
		"/gtin/09521234543213":                             "none of",
		"":                                                 "no path like",
		"/01/" + strings.Repeat("0", 300):                  "304 bytes > 256",
	} {
		if got, err := ParseAddress(path); err == nil || !strings.Contains(err.Error(), want) || got != (Address{}) {
			t.Errorf("%s: %+v, %v, want %q", path, got, err, want)
		}
	}
}

// FuzzAddress: whatever is read is written the one way in which it is read again.
func FuzzAddress(f *testing.F) {
	f.Add("/01/09521234543213/22/2A/10/A%2FB/21/%22")
	f.Add("/414/9521234567899/254/Dock-3")
	f.Add("/01/09521234543213/235/TPX5-1/")
	f.Fuzz(func(t *testing.T, path string) {
		a, err := ParseAddress(path)
		if err != nil {
			return
		}
		if back, err := ParseAddress(a.Path()); err != nil || back != a {
			t.Errorf("%q: %+v written as %q: %+v, %v", path, a, a.Path(), back, err)
		}
	})
}
