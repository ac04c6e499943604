package dcbor_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"trailmark/internal/dcbor"
)

type inner struct {
	_ struct{} `cbor:",toarray"`
	N int64
	B []byte
}

type example struct {
	Int   int64    `cbor:"1,keyasint"`
	Text  string   `cbor:"2,keyasint"`
	Hash  [4]byte  `cbor:"3,keyasint"`
	List  []int64  `cbor:"4,keyasint"`
	Inner *inner   `cbor:"5,keyasint,omitempty"`
	Flag  bool     `cbor:"6,keyasint,omitempty"`
	Pair  [2]int64 `cbor:"-1,keyasint"`
}

// good is the one encoding of an example, spelled out.
const good = "a6" + // map, 6 entries
	"01" + "1903e8" + // 1: 1000
	"02" + "6161" + // 2: "a"
	"03" + "4401020304" + // 3: h'01020304'
	"04" + "820a20" + // 4: [10, -1]
	"05" + "820741ff" + // 5: [7, h'ff']
	"20" + "820102" // -1: [1, 2]

func TestOneForm(t *testing.T) {
	data, err := hex.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	var v example
	if err := dcbor.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if v.Int != 1000 || v.Text != "a" || v.Inner.N != 7 || v.Pair != [2]int64{1, 2} {
		t.Errorf("decoded %+v", v)
	}
	if again := dcbor.MustMarshal(v); !bytes.Equal(again, data) {
		t.Errorf("encoded %x, want %x", again, data)
	}
}

func TestRefusesOtherForms(t *testing.T) {
	for name, c := range map[string]struct{ old, new string }{
		"long integer":            {"1903e8", "1a000003e8"},
		"longest integer":         {"1903e8", "1b00000000000003e8"},
		"long key":                {"a601", "a61801"},
		"long length of text":     {"6161", "780161"},
		"long length of bytes":    {"4401020304", "580401020304"},
		"long length of array":    {"820a20", "98020a20"},
		"long length of map":      {"a601", "b80601"},
		"indefinite array":        {"820a20", "9f0a20ff"},
		"indefinite bytes":        {"4401020304", "5f4401020304ff"},
		"indefinite text":         {"6161", "7f6161ff"},
		"float":                   {"1903e8", "f963d0"},
		"double":                  {"1903e8", "fb408f400000000000"},
		"bignum":                  {"1903e8", "c24203e8"},
		"tag":                     {"1903e8", "c11903e8"},
		"text key":                {"a601", "a66131"},
		"null for zero":           {"1903e8", "f6"},
		"undefined for zero":      {"1903e8", "f7"},
		"null for a list":         {"820a20", "f6"},
		"null for an option":      {"820741ff", "f6"},
		"false for an option":     {"20820102", "06f420820102"},
		"bytes as an array":       {"4401020304", "8401020304"},
		"bytes as text":           {"4401020304", "6401020304"},
		"text as bytes":           {"6161", "4161"},
		"text that is not utf-8":  {"6161", "61ff"},
		"hash too short":          {"4401020304", "43010203"},
		"hash too long":           {"4401020304", "450102030405"},
		"pair of three":           {"820102", "83010203"},
		"pair of one":             {"820102", "8101"},
		"array too long":          {"820741ff", "830741ff00"},
		"array too short":         {"820741ff", "8107"},
		"integer over 64 bits":    {"1903e8", "1bffffffffffffffff"},
		"duplicate key":           {"a6011903e8", "a7011903e8011903e8"},
		"unknown key":             {"20820102", "070020820102"},
		"unsorted keys":           {"011903e8026161", "026161011903e8"},
		"reserved additional":     {"1903e8", "1c"},
		"simple value":            {"1903e8", "f0"},
		"two-byte simple value":   {"1903e8", "f818"},
		"a key as a longer int":   {"20820102", "3800820102"},
		"missing key":             {"a6011903e8", "a5"},
		"map of another count":    {"a601", "a701"},
		"array of ten gigabytes":  {"820a20", "9b0000000280000000"},
		"bytes of ten gigabytes":  {"4401020304", "5b0000000280000000"},
		"map of 2^63 pairs":       {"a601", "bb800000000000000001"},
		"break without beginning": {"1903e8", "ff"},
	} {
		if strings.Count(good, c.old) != 1 {
			t.Fatalf("%s: %q is not once in the good example", name, c.old)
		}
		data, err := hex.DecodeString(strings.Replace(good, c.old, c.new, 1))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// An option that is said twice counts as one entry more.
		switch name {
		case "false for an option", "unknown key":
			data[0]++
		}
		var v example
		if err := dcbor.Unmarshal(data, &v); err == nil {
			t.Errorf("%s: accepted %x", name, data)
		}
	}
	data, _ := hex.DecodeString(good)
	var v example
	for i := range data {
		if err := dcbor.Unmarshal(data[:i], &v); err == nil {
			t.Errorf("first %d bytes accepted", i)
		}
	}
	if err := dcbor.Unmarshal(append(data, 0), &v); err == nil {
		t.Error("trailing byte accepted")
	}
	sorted, _ := hex.DecodeString(strings.Replace(good, "011903e8026161", "026161011903e8", 1))
	if err := dcbor.Unmarshal(sorted, &v); !errors.Is(err, dcbor.ErrNotDeterministic) {
		t.Errorf("unsorted keys: %v", err)
	}
}

// TestBounds: size, nesting and items are refused one past their limit and
// accepted at it.
func TestBounds(t *testing.T) {
	nested := func(depth int) []byte {
		return append(bytes.Repeat([]byte{0x81}, depth), 0x00)
	}
	array := func(n int) []byte {
		return append(dcbor.AppendArray(nil, n), bytes.Repeat([]byte{0x00}, n)...)
	}
	text := func(total int) []byte {
		return dcbor.AppendBytes(nil, make([]byte, total-5))
	}
	for _, c := range []struct {
		name string
		data []byte
		into any
		max  int // 0: a message
		ok   bool
	}{
		{"nesting at the limit", nested(dcbor.MaxNesting), new(cbor.RawMessage), 0, true},
		{"nesting over it", nested(dcbor.MaxNesting + 1), new(cbor.RawMessage), 0, false},
		{"container's nesting", nested(12), new(cbor.RawMessage), 1000, true},
		{"container's nesting over it", nested(13), new(cbor.RawMessage), 1000, false},
		{"items at the limit", array(dcbor.MaxItems), new([]int64), 0, true},
		{"items over it", array(dcbor.MaxItems + 1), new([]int64), 0, false},
		{"size at the limit", text(dcbor.MaxMessage), new([]byte), 0, true},
		{"size over it", text(dcbor.MaxMessage + 1), new([]byte), 0, false},
		{"container's size", text(dcbor.MaxMessage + 1), new([]byte), dcbor.MaxMessage + 1, true},
		{"container's size over it", text(dcbor.MaxMessage + 2), new([]byte), dcbor.MaxMessage + 1, false},
	} {
		err := dcbor.Unmarshal(c.data, c.into)
		if c.max > 0 {
			err = dcbor.UnmarshalMax(c.data, c.into, c.max)
		}
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// A few bytes that announce much cost little.
	huge := []byte{0x9b, 0, 0, 0, 1, 0, 0, 0, 0}
	if n := testing.AllocsPerRun(10, func() {
		var v []int64
		if dcbor.Unmarshal(huge, &v) == nil {
			t.Error("2^32 items accepted")
		}
	}); n > 20 {
		t.Errorf("%v allocations to refuse nine bytes", n)
	}
}

// TestAppendAgreesWithMarshal: the hand-written encoder of hot paths and the
// library write the same bytes.
func TestAppendAgreesWithMarshal(t *testing.T) {
	for _, n := range []int64{0, 1, 23, 24, 255, 256, 65535, 65536, 1<<32 - 1, 1 << 32, 1<<53 - 1, math.MaxInt64} {
		for _, v := range []int64{n, -n, -n - 1} {
			if got, want := dcbor.AppendInt(nil, v), dcbor.MustMarshal(v); !bytes.Equal(got, want) {
				t.Errorf("%d: %x, want %x", v, got, want)
			}
		}
		if n > 70_000 {
			continue
		}
		b, s, a := make([]byte, n), strings.Repeat("x", int(n)), make([]int64, n)
		if got, want := dcbor.AppendBytes(nil, b), dcbor.MustMarshal(b); !bytes.Equal(got, want) {
			t.Errorf("%d bytes differ", n)
		}
		if got, want := dcbor.AppendText(nil, s), dcbor.MustMarshal(s); !bytes.Equal(got, want) {
			t.Errorf("text of %d bytes differs", n)
		}
		if got, want := dcbor.AppendArray(nil, int(n)), dcbor.MustMarshal(a); !bytes.HasPrefix(want, got) || len(want) != len(got)+int(n) {
			t.Errorf("array of %d differs", n)
		}
	}
	if got := dcbor.MustMarshal([]int64(nil)); !bytes.Equal(got, []byte{0x80}) {
		t.Errorf("no list is %x, want an empty one", got)
	}
	if _, err := dcbor.Marshal(make(chan int)); err == nil {
		t.Error("a channel encodes")
	}
}

func FuzzUnmarshal(f *testing.F) {
	data, _ := hex.DecodeString(good)
	f.Add(data)
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var v example
		if dcbor.Unmarshal(data, &v) == nil && !bytes.Equal(dcbor.MustMarshal(v), data) {
			t.Fatalf("%x decodes to what encodes otherwise", data)
		}
	})
}
