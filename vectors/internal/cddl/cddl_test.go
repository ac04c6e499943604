package cddl

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "no rule"},
		{"; nothing", "no rule"},
		{"a = b", "b, which is not defined"},
		{"a = [b]\nb = {1: a}", "contains itself"},
		{"a = a / uint", "contains itself"},
		{"a = uint\na = tstr", "line 2: rule a is there already"},
		{"tstr = uint", "rule tstr is there already"},
		{"a /= uint", `"/", want "="`},
		{"a = { * tstr => uint }", "there once, or not"},
		{"a = { 1 => uint }", "has no key"},
		{"a = { 1: uint // 2: uint }", "choice between members"},
		{"a = { uint }", "has no key"},
		{"a = [ 1: uint ]", `"1" is no key here`},
		{"a = [ uint // ]", "alternative of nothing"},
		{"a = [ 3*2 uint ]", "3 to \"2\" times"},
		{"a = [ uint", `"", want a type`},
		{"a = 2..1", "a range is from"},
		{"a = 0..b\nb = 9", "a range is from"},
		{"a = uint .size 4", ".size does not go here"},
		{"a = bstr .size tstr", ".size does not go here"},
		{"a = tstr .cbor uint", ".cbor does not go here"},
		{"a = bstr .bits uint", ".bits does not go here"},
		{`a = tstr .regexp "("`, "missing closing"},
		{"a = 1.5", "not of the part of CDDL"},
		{"a = 9223372036854775808", "out of range"},
		{"a = #6.18", `want "("`},
		{"a = #1.2(uint)", "not of the part"},
		{"a<t> = t", "not of the part"},
		{"a = $b", "not of the part"},
		{"a = ~b", "not of the part"},
		{"a = " + strings.Repeat("[", 40), "deeper than 32"},
		{"a = " + strings.Repeat("(", 40), "deeper than 32"},
	} {
		if _, err := Parse(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
}

func TestUnused(t *testing.T) {
	s, err := Parse("a = [b]\nb = uint\nc = {1: d, ? (2: b)}\nd = tstr / e\ne = bstr .cbor f\nf = #6.18(b)")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		roots, want []string
	}{
		{nil, []string{"a", "b", "c", "d", "e", "f"}},
		{[]string{"a"}, []string{"c", "d", "e", "f"}},
		{[]string{"c"}, []string{"a"}},
		{[]string{"a", "c"}, nil},
	} {
		if got := s.Unused(c.roots...); !slices.Equal(got, c.want) {
			t.Errorf("of %q unused %q, want %q", c.roots, got, c.want)
		}
	}
}

// TestMatch judges items in hex, each after a "+" if it matches or a "-".
func TestMatch(t *testing.T) {
	for _, c := range []struct{ text, items string }{
		{"a = uint", "+00 +1bffffffffffffffff -20 -40 -60 -80 -a0 -f5 -c200"},
		{"a = bstr", "+40 +4100 -60 -00"},
		{"a = tstr", "+60 +6161 -40"},
		{"a = true / nil", "+f5 +f6 -f4 -f7 -00"},
		{"a = -2", "+21 -22 -01 -02"},
		{`a = "a"`, "+6161 -6162 -4161 -626161"},
		{"a = -1..300", "+20 +00 +19012c -21 -19012d -1bffffffffffffffff -3bffffffffffffffff"},
		{"a = -9223372036854775808..9223372036854775807", "+3b7fffffffffffffff +1b7fffffffffffffff -3b8000000000000000 -1b8000000000000000"},
		{"a = bstr .size 2", "+420000 -4100 -43000000 -6161"},
		{"a = tstr .size (1..3)", "+6161 +63e299a5 -60 -64e299a561"},
		{"a = bstr .cbor [uint]", "+428100 -4180 -40 -43810000 -421800"},
		{`a = tstr .regexp "[ab]|cd"`, "+6161 +626364 -626163 -60"},
		{"a = #6.18([uint])", "+d28100 -8100 -d18100 -d280"},
		{"a = []", "+80 -8100"},
		{"a = [uint, ? tstr, uint]", "+820000 +8300616100 -8100 -83000000"},
		{"a = [1*2 uint]", "+8100 +820000 -80 -83000000 -8140"},
		{"a = [+ uint]", "+8100 +83000000 -80"},
		{"a = [*2 uint]", "+80 +820000 -83000000"},
		{"a = [2* uint]", "+820000 -8100"},
		{"a = [* (uint, tstr)]", "+80 +820060 +8400600060 -8100 -83006000"},
		{"a = [kind: 1, body: uint // kind: 2, body: tstr]", "+820100 +820260 -820160 -820200 -8101"},
		{"a = [uint, (kind: 1, b // kind: 2, tstr)]\nb = bstr", "+83000140 +83000260 -83000160"},
		{"a = {}", "+a0 -a10000 -80"},
		{"a = {1: uint, ? 2: tstr, -1: true}", "+a2010020f5 +a30100026020f5 -a10100 -a30100020020f5 -a30100036020f5"},
		{"a = {? 1: uint}", "+a0 +a10100 -a10160 -a10200"},
		{"a = {? (1: uint, ? 2: tstr)}", "+a0 +a10100 +a201000260 -a10260 -a10160 -a201000200"},
		{"a = {? (1: uint, 2: tstr)}", "+a0 +a201000260 -a10100 -a10260"},
		{"a = {name: uint}", "+a1646e616d6500 -a10100"},
		{"a = b / c\nb = {1: 1, 2: uint}\nc = {1: 2}", "+a201010200 +a10102 -a10101 -a201020200"},
	} {
		s, err := Parse(c.text)
		if err != nil {
			t.Fatalf("%q: %v", c.text, err)
		}
		for f := range strings.FieldsSeq(c.items) {
			b, err := hex.DecodeString(f[1:])
			if err != nil {
				t.Fatalf("%q: %s: %v", c.text, f, err)
			}
			it, err := Read(b)
			if err != nil {
				t.Fatalf("%q: %s: %v", c.text, f, err)
			}
			if err := s.Match("a", it); (err == nil) != (f[0] == '+') {
				t.Errorf("%q: %s: %v", c.text, f, err)
			}
		}
	}
}

func TestMatchOutside(t *testing.T) {
	s, err := Parse("a = [bstr .cbor uint]")
	if err != nil {
		t.Fatal(err)
	}
	it, err := Read([]byte{0x81, 0x41, 0x60})
	if err != nil {
		t.Fatal(err)
	}
	if s.Match("a", it) == nil || s.MatchOutside("a", it) != nil || s.Match("b", it) == nil {
		t.Error("the inside of a byte string counts outside, or not inside")
	}
}

func TestReadRefuses(t *testing.T) {
	for _, f := range []string{
		"", "18", "1817", "1900ff", "1a0000ffff", "1b00000000ffffffff", "1c", "1f", "0000", "41", "61ff", "6180", "81", "8200", "9f00ff",
		"5f4100ff", "a1", "a100", "a200000000", "a201000000", "a26161000100", "c2", "f90000", "fa00000000", "f820", "ff",
		"9bffffffffffffffff", "bb8000000000000000", strings.Repeat("81", 13) + "00",
	} {
		b, err := hex.DecodeString(f)
		if err != nil {
			t.Fatal(err)
		}
		if it, err := Read(b); err == nil {
			t.Errorf("%s is read as %v", f, it)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a = { 1: b, ? (2: [1*2 c]) } ; comment\nb = 1..2 / \"x\"\nc = bstr .cbor d\nd = #6.18(tstr .size (1..2))")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err == nil && len(s.Unused(s.Rules()...)) > 0 {
			t.Error("a root is unused")
		}
	})
}

func FuzzMatch(f *testing.F) {
	s, _ := document(f)
	f.Add([]byte{0x83, 0x50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0xa2, 1, 1, 2, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		it, err := Read(data)
		if err != nil {
			return
		}
		for _, rule := range roots {
			if s.Match(rule, it) == nil && s.MatchOutside(rule, it) != nil {
				t.Errorf("%v is of rule %s with what is inside, and without it not", it, rule)
			}
		}
	})
}
