package statement_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

func ptr[T any](v T) *T { return &v }

func body(t testing.TB, v interface{ Check() error }) statement.Body {
	t.Helper()
	b, err := statement.NewBody(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func goodHead(t testing.TB, channel string) *statement.HeadRecord {
	t.Helper()
	spec := trace.Spec{Unit: "Cel", Nominal: 1000, Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8000}}}
	d, err := spec.Leaf(-1, []int64{1000, 2000}, []int64{4203, 8000})
	if err != nil {
		t.Fatal(err)
	}
	start := trace.Start{Channel: channel, Boot: [16]byte{2}}
	f, _, err := trace.Frontier{Start: start.Hash()}.Append(statement.Hash{9}, d)
	if err != nil {
		t.Fatal(err)
	}
	head, err := f.Head()
	if err != nil {
		t.Fatal(err)
	}
	return &statement.HeadRecord{Channel: channel, Head: head, Start: &start}
}

func goodBlock(channel string) *statement.Block {
	return &statement.Block{Channel: channel, First: 1000, Gaps: &statement.Gaps{1000}, Values: []int64{4203, 8000}}
}

// bodies are n records in the order of the wire format, of every kind.
func bodies(t testing.TB, n int) []statement.Body {
	t.Helper()
	all := []statement.Body{
		body(t, goodBlock("a/temp")), body(t, goodBlock("b/temp")), body(t, goodHead(t, "a/temp")), body(t, goodHead(t, "b/temp")),
		body(t, &statement.Sighting{Antenna: "1", EPC: unhex(t, "311ba1b300ce0a6a83000000"), TID: make([]byte, 12), First: 1000, Last: 2000, Reads: 3, RSSI: ptr(int64(-55))}),
		body(t, &statement.Sighting{Antenna: "1", EPC: make([]byte, 4), First: 1000, Last: 1000, Reads: 1, RSSI: ptr(int64(0))}),
	}
	for i := len(all); i < n; i++ {
		all = append(all, body(t, &statement.Happening{Type: statement.Door, At: int64(i), Subject: "door", Until: ptr(int64(i + 1)), Count: 2,
			Code: ptr(uint64(0)), Raw: []byte{1}, Seqs: &[2]uint64{1, 2}, Words: "opened"}))
	}
	return all[:n]
}

// TestDisclose shows every record of frames of 0..17 records, and alters what is shown.
func TestDisclose(t *testing.T) {
	seed := [32]byte{1, 2, 3}
	for n := range 18 {
		records := statement.Records(seed, bodies(t, n))
		f := &statement.Frame{Root: statement.RecordsRoot(records), Count: uint64(n)}
		for i := range records {
			d, err := statement.Disclose(records, i)
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.Open(f)
			if err != nil {
				t.Fatalf("record %d of %d: %v", i, n, err)
			}
			if want, err := bodies(t, n)[i].Decode(); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("record %d of %d is %+v, want %+v (%v)", i, n, got, want, err)
			}
			refuse := func(d statement.Disclosed, f *statement.Frame, what string, args ...any) {
				t.Helper()
				if _, err := d.Open(f); err == nil {
					t.Errorf("record %d of %d, %s: accepted", i, n, fmt.Sprintf(what, args...))
				}
			}
			for j := range n + 2 {
				if j != i {
					bad := d
					bad.Index = uint64(j)
					refuse(bad, f, "as record %d", j)
				}
			}
			bad := d
			bad.Index = 1<<64 - 1
			refuse(bad, f, "with a huge index")
			for j := range d.Path {
				bad = d
				bad.Path = slices.Clone(d.Path)
				bad.Path[j][31] ^= 1
				refuse(bad, f, "path altered at %d", j)
				bad.Path = slices.Delete(slices.Clone(d.Path), j, j+1)
				refuse(bad, f, "path without %d", j)
			}
			bad = d
			bad.Path = append(slices.Clone(d.Path), statement.Hash{})
			refuse(bad, f, "path too long")
			bad.Path = make([]statement.Hash, 65)
			refuse(bad, f, "path of 65")
			for j := range d.Record {
				bad = d
				bad.Record = bytes.Clone(d.Record)
				bad.Record[j] ^= 1
				refuse(bad, f, "byte %d altered", j)
			}
			bad = d
			bad.Record = append(bytes.Clone(d.Record), 0)
			refuse(bad, f, "trailing byte")
			bad.Record = make([]byte, dcbor.MaxMessage+1)
			refuse(bad, f, "record over 256 KiB")
			other := *f
			other.Root[0] ^= 1
			refuse(d, &other, "root altered")
			other = *f
			other.Count = 0
			refuse(d, &other, "frame of no records")
		}
		for _, i := range []int{-1, n, n + 1} {
			if _, err := statement.Disclose(records, i); err == nil {
				t.Errorf("record %d of %d shown", i, n)
			}
		}
	}
	if got := statement.RecordsRoot(nil); got != sha256.Sum256(nil) {
		t.Errorf("root of no records is %s", got)
	}
}

// TestDiscloseRefusesMalformed: a record that is in the frame but is none.
func TestDiscloseRefusesMalformed(t *testing.T) {
	salt := make([]byte, 16)
	wrap := func(salt []byte, kind byte, body []byte) []byte {
		return append(append(dcbor.AppendBytes([]byte{0x83}, salt), kind), body...)
	}
	good := body(t, goodBlock("a")).Data
	for name, r := range map[string][]byte{
		"no record": {0xf6}, "kind 0": wrap(salt, 0, good), "kind 5": wrap(salt, 5, good), "kind -1": wrap(salt, 0x20, good),
		"block as a sighting": wrap(salt, 3, good), "salt of 15": wrap(salt[1:], 1, good), "body null": wrap(salt, 1, []byte{0xf6}),
		"body as bytes": wrap(salt, 1, dcbor.AppendBytes(nil, good)), "body with a long integer": wrap(salt, 1, bytes.Replace(good, unhex(t, "031903e8"), unhex(t, "031a000003e8"), 1)),
		"body unsorted": wrap(salt, 4, unhex(t, "a202010107")), "two bodies": append([]byte{0x84}, append(wrap(salt, 1, good)[1:], good...)...),
	} {
		f := &statement.Frame{Root: statement.RecordsRoot([][]byte{r}), Count: 1}
		if v, err := (statement.Disclosed{Record: r}).Open(f); err == nil {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// TestSalt: HKDF-SHA256 by hand, RFC 5869. Without the seed a record's hash does
// not tell its content (!: a passport never contains the seed), and heads are
// records of their own (!: a frame shown for one channel hides the others).
func TestSalt(t *testing.T) {
	seed := [32]byte{7}
	for _, i := range []int{0, 1, 255, 256, 8191} {
		mac := func(key []byte, parts ...[]byte) []byte {
			m := hmac.New(sha256.New, key)
			for _, p := range parts {
				m.Write(p)
			}
			return m.Sum(nil)
		}
		prk := mac(make([]byte, 32), seed[:])
		okm := mac(prk, []byte("trailmark record"), binary.BigEndian.AppendUint32(nil, uint32(i)), []byte{1})
		if got := statement.Salt(seed, i); !bytes.Equal(got[:], okm[:16]) {
			t.Errorf("salt %d is %x, want %x", i, got, okm[:16])
		}
	}
	same := []statement.Body{body(t, goodBlock("a")), body(t, goodBlock("a"))}
	r := statement.Records(seed, same)
	if bytes.Equal(r[0], r[1]) || bytes.Equal(r[0], statement.Records([32]byte{8}, same)[0]) {
		t.Error("equal bodies make equal records")
	}
	d, err := statement.Disclose(statement.Records(seed, bodies(t, 6)), 2)
	if err != nil {
		t.Fatal(err)
	}
	if shown := string(d.Record); strings.Contains(shown, "b/temp") || bytes.Contains(d.Record, seed[:]) {
		t.Error("one channel's head tells of another, or of the seed")
	}
}

// TestBlockForm: gaps have one form for every list of times.
func TestBlockForm(t *testing.T) {
	for _, c := range []struct {
		times []int64
		form  string // of key 4
	}{
		{[]int64{1000}, ""},
		{[]int64{1000, 2000}, "041903e8"},
		{[]int64{1000, 2000, 3000}, "041903e8"},
		{[]int64{1000, 2000, 3001}, "04821903e81903e9"},
		{[]int64{1000, 1001, 1002, 1004}, "0483010102"},
	} {
		values := make([]int64, len(c.times))
		b, err := statement.NewBlock("c", -1, c.times, values)
		if err != nil {
			t.Fatal(err)
		}
		data := body(t, b).Data
		if !bytes.Contains(data, unhex(t, c.form)) || c.form == "" && data[0] != 0xa3 {
			t.Errorf("%v: %x has not %q", c.times, data, c.form)
		}
		got, err := statement.Body{Kind: statement.RecordBlock, Data: data}.Decode()
		if err != nil || !slices.Equal(got.(*statement.Block).Times(), c.times) {
			t.Errorf("%v: %+v, %v", c.times, got, err)
		}
	}
	if b, err := statement.NewBlock("c", 0, []int64{5}, []int64{1}); err != nil || b.Prev == nil || *b.Prev != 0 {
		t.Errorf("a reading after one at time 0: %+v, %v", b, err)
	}
	for name, s := range map[string]string{
		"list of one gap":          "a4 01 6163 03 1903e8 04 81 01 05 82 0000",
		"list of no gap":           "a4 01 6163 03 1903e8 04 80 05 81 00",
		"list of equal gaps":       "a4 01 6163 03 1903e8 04 82 0101 05 83 000000",
		"a gap without need":       "a4 01 6163 03 1903e8 04 01 05 81 00",
		"no gap for two":           "a3 01 6163 03 1903e8 05 82 0000",
		"too few gaps":             "a4 01 6163 03 1903e8 04 82 0102 05 84 00000000",
		"too many gaps":            "a4 01 6163 03 1903e8 04 83 010203 05 83 000000",
		"gap 0":                    "a4 01 6163 03 1903e8 04 00 05 82 0000",
		"gap 0 in a list":          "a4 01 6163 03 1903e8 04 82 0100 05 83 000000",
		"negative gap":             "a4 01 6163 03 1903e8 04 20 05 82 0000",
		"gap null":                 "a4 01 6163 03 1903e8 04 f6 05 82 0000",
		"gap as bytes":             "a4 01 6163 03 1903e8 04 4101 05 82 0000",
		"gap long":                 "a4 01 6163 03 1903e8 04 1801 05 82 0000",
		"gap over 48 bits":         "a4 01 6163 03 1903e8 04 1b0001000000000000 05 82 0000",
		"end over 48 bits":         "a4 01 6163 03 1b0000ffffffffffff 04 01 05 82 0000",
		"sum of gaps over 63 bits": "a4 01 6163 03 1b0000ffffffffffff 04 1b0000ffffffffffff 05 82 0000",
		"first 0":                  "a3 01 6163 03 00 05 81 00",
		"first negative":           "a3 01 6163 03 20 05 81 00",
		"previous after the first": "a4 01 6163 02 1903e9 03 1903e8 05 81 00",
		"previous is the first":    "a4 01 6163 02 1903e8 03 1903e8 05 81 00",
		"previous negative":        "a4 01 6163 02 20 03 1903e8 05 81 00",
		"no values":                "a3 01 6163 03 1903e8 05 80",
		"value over 32 bits":       "a3 01 6163 03 1903e8 05 81 1a80000000",
		"value under 32 bits":      "a3 01 6163 03 1903e8 05 81 3a80000000",
		"no channel":               "a3 01 60 03 1903e8 05 81 00",
		"empty raw":                "a4 01 6163 03 1903e8 05 81 00 06 40",
		"raw of half a value":      "a5 01 6163 03 1903e8 04 01 05 82 0000 06 43 000000",
		"raw of one value of two":  "a5 01 6163 03 1903e8 04 01 05 82 0000 06 41 00",
	} {
		if v, err := (statement.Body{Kind: statement.RecordBlock, Data: unhex(t, s)}).Decode(); err == nil {
			t.Errorf("%s: %+v", name, v)
		}
	}
	for name, c := range map[string][2][]int64{
		"nothing": {nil, nil}, "two times and a value": {{1, 2}, {1}}, "times backwards": {{2, 1}, {1, 1}}, "times equal": {{1, 1}, {1, 1}},
	} {
		if _, err := statement.NewBlock("c", -1, c[0], c[1]); err == nil {
			t.Errorf("%s: made", name)
		}
	}
	if _, err := statement.NewBlock("c", 10, []int64{10}, []int64{1}); err == nil {
		t.Error("a reading at the time of the previous one: made")
	}
}

// TestAlarmDetail holds what the raw bytes of an alarm may be.
func TestAlarmDetail(t *testing.T) {
	good := statement.AlarmDetail{Limit: trace.Limit{Comparison: trace.AtOrAbove, Value: 8001}, Value: 8500, End: statement.EndLost}
	if d, err := statement.ParseAlarmDetail(unhex(t, "83 82 02 191f41 192134 02")); err != nil || d != good {
		t.Errorf("%+v, %v", d, err)
	}
	for name, s := range map[string]string{
		"empty": "", "two items": "82 82 02 191f41 192134", "comparison 3": "83 82 03 191f41 192134 02", "end 4": "83 82 02 191f41 192134 04",
		"limit over 32 bits": "83 82 02 1a80000000 192134 02", "value under 32 bits": "83 82 02 191f41 3a80000000 02", "trailing": "83 82 02 191f41 192134 02 00",
	} {
		if d, err := statement.ParseAlarmDetail(unhex(t, s)); err == nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// TestRecordBounds alters good records past each bound.
func TestRecordBounds(t *testing.T) {
	sighting := func() *statement.Sighting {
		return &statement.Sighting{Antenna: "1", EPC: make([]byte, 12), First: 1, Last: 2, Reads: 1}
	}
	happening := func() *statement.Happening { return &statement.Happening{Type: statement.Boot, At: 5} }
	refuse := func(name string, v interface{ Check() error }) {
		t.Helper()
		if _, err := statement.NewBody(v); err == nil {
			t.Errorf("%s: made", name)
		}
		kind := map[bool]statement.RecordKind{true: statement.RecordSighting, false: statement.RecordHappening}[reflect.TypeOf(v) == reflect.TypeOf(sighting())]
		if h, ok := v.(*statement.HeadRecord); ok {
			kind, v = statement.RecordHead, h
		}
		if data, err := dcbor.Marshal(v); err == nil {
			if _, err := (statement.Body{Kind: kind, Data: data}).Decode(); err == nil {
				t.Errorf("%s: read", name)
			}
		}
	}
	for name, alter := range map[string]func(*statement.Sighting){
		"no antenna": func(s *statement.Sighting) { s.Antenna = "" }, "antenna of 65": func(s *statement.Sighting) { s.Antenna = strings.Repeat("a", 65) },
		"epc of 3": func(s *statement.Sighting) { s.EPC = s.EPC[:3] }, "epc of 65": func(s *statement.Sighting) { s.EPC = make([]byte, 65) },
		"tid of 3": func(s *statement.Sighting) { s.TID = make([]byte, 3) }, "tid of 65": func(s *statement.Sighting) { s.TID = make([]byte, 65) },
		"first after last": func(s *statement.Sighting) { s.First = 3 }, "first negative": func(s *statement.Sighting) { s.First = -1 },
		"last late": func(s *statement.Sighting) { s.Last = 1 << 48 }, "no reads": func(s *statement.Sighting) { s.Reads = 0 },
		"reads over 32 bits": func(s *statement.Sighting) { s.Reads = 1 << 32 }, "rssi -201": func(s *statement.Sighting) { s.RSSI = ptr(int64(-201)) },
		"rssi 101": func(s *statement.Sighting) { s.RSSI = ptr(int64(101)) },
	} {
		s := sighting()
		alter(s)
		refuse("sighting, "+name, s)
	}
	for name, alter := range map[string]func(*statement.Happening){
		"type 0": func(h *statement.Happening) { h.Type = 0 }, "type 17": func(h *statement.Happening) { h.Type = 17 },
		"negative": func(h *statement.Happening) { h.At = -1 }, "late": func(h *statement.Happening) { h.At = 1 << 48 },
		"subject of 65": func(h *statement.Happening) { h.Subject = strings.Repeat("s", 65) }, "subject not utf-8": func(h *statement.Happening) { h.Subject = "\xff" },
		"until before": func(h *statement.Happening) { h.Until = ptr(int64(4)) }, "until late": func(h *statement.Happening) { h.Until = ptr(int64(1 << 48)) },
		"count over 32 bits": func(h *statement.Happening) { h.Count = 1 << 32 }, "code over 16 bits": func(h *statement.Happening) { h.Code = ptr(uint64(65536)) },
		"raw of 1025": func(h *statement.Happening) { h.Raw = make([]byte, 1025) }, "words of 257": func(h *statement.Happening) { h.Words = strings.Repeat("w", 257) },
		"seqs backwards": func(h *statement.Happening) { h.Seqs = &[2]uint64{2, 1} }, "seqs huge": func(h *statement.Happening) { h.Seqs = &[2]uint64{1, 1 << 53} },
	} {
		h := happening()
		alter(h)
		refuse("happening, "+name, h)
	}
	for name, alter := range map[string]func(*statement.HeadRecord){
		"no channel": func(h *statement.HeadRecord) { h.Channel, h.Start = "", nil }, "start of another channel": func(h *statement.HeadRecord) { h.Channel = "b" },
		"start the head does not name":  func(h *statement.HeadRecord) { h.Head.Start[0] ^= 1 },
		"start with half a predecessor": func(h *statement.HeadRecord) { h.Start.PrevSize = 1; h.Head.Start = h.Start.Hash() },
		"size 0":                        func(h *statement.HeadRecord) { h.Head.Size = 0 }, "size over 53 bits": func(h *statement.HeadRecord) { h.Head.Size = 1 << 53 },
		"impossible digest": func(h *statement.HeadRecord) { h.Head.Digest.Covered = 0 }, "kinetic over 63 bits": func(h *statement.HeadRecord) { h.Head.Digest.Kin = -1 },
		"nine limits": func(h *statement.HeadRecord) { h.Head.Digest.Limits = make([]trace.Excess, 9) },
	} {
		h := goodHead(t, "a")
		alter(h)
		refuse("head, "+name, h)
	}
	if _, err := statement.NewBody(goodFrame()); err == nil {
		t.Error("a frame as a record body")
	}
}
