package llrp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

func inventory() ROSpec {
	return ROSpec{ID: 7, Start: StartOnRequest, AISpecs: []AISpec{{Antennas: []uint16{0}}},
		Report: &ReportSpec{Trigger: ReportEndAISpec, N: 1, Content: HasROSpecID | HasAntenna | HasRSSI | HasFirstSeen | HasLastSeen | HasSeenCount}}
}

// tuned is an inventory with everything a vendor's reader can be told.
func tuned() ROSpec {
	s := inventory()
	s.AISpecs[0].Inventory = &Inventory{Session: 1, Population: 32, Search: SearchDual, Transmit: &Transmit{HopTable: 1, Power: 81}}
	s.Report.SerializedTID = true
	return s
}

func access() AccessSpec { return AccessSpec{ID: 9, ROSpec: 7, OpSpec: 5, Bank: BankTID, Words: 6} }

func zebra() Capabilities {
	return Capabilities{Antennas: 2, UTCClock: true, Manufacturer: VendorZebra, Model: 96008, Firmware: "3.10.30",
		MaxROSpecs: 1, MaxAccessSpecs: 8, Power: []PowerLevel{{1, 1000}, {2, -25}}, Frequencies: []uint32{920625, 921375}}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestAddROSpecBytes spells the request every session sends, because the
// recordings hold only what readers say.
func TestAddROSpecBytes(t *testing.T) {
	want := unhex(t, `
		00b1 0041 00000007 00 00
		  00b2 0012
		    00b3 0005 00
		    00b6 0009 00 00000000
		  00b7 0018
		    0001 0000
		    00b8 0009 00 00000000
		    00ba 0007 0001 01
		  00ed 000d 01 0001
		    00ee 0006 9780`)
	got, err := inventory().Encode()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got  % x, %v\nwant % x", got, err, want)
	}
}

// TestAccessSpecBytes does the same for the TID of every tag.
func TestAccessSpecBytes(t *testing.T) {
	want := unhex(t, `
		00cf 003e 00000009 0000 01 00 00000007
		  00d0 0007 00 0000
		  00d1 0022
		    0152 000f
		      0153 000b 60 0000 0000 0000
		    0155 000f 0005 00000000 80 0000 0006
		  00ef 0005 00`)
	got, err := access().Encode()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got  % x, %v\nwant % x", got, err, want)
	}
}

// TestImpinjBytes spells what Impinj adds.
func TestImpinjBytes(t *testing.T) {
	if got, want := EnableImpinj(), unhex(t, "0000651a 15 00000000"); !bytes.Equal(got, want) {
		t.Errorf("enable: % x, want % x", got, want)
	}
	got, err := tuned().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		"00de 002e 0000 00e0 000a 0001 0000 0051 014a 001e 00 0150 000b 40 0020 00000000 03ff 000e 0000651a 00000017 0002",
		"03ff 001a 0000651a 00000032 03ff 000e 0000651a 00000033 0001",
	} {
		if !bytes.Contains(got, unhex(t, part)) {
			t.Errorf("% x is not in % x", unhex(t, part), got)
		}
	}
}

func TestMessageFraming(t *testing.T) {
	var wire bytes.Buffer
	sent := []Message{
		{Version: Version, Type: ReaderEventNotification, ID: 0xfffffffe, Payload: []byte{1, 2, 3}},
		{Version: 7, Type: 1023, ID: 0, Payload: []byte{}},
		{Version: Version, Type: Keepalive, ID: 9, Payload: []byte{}},
	}
	for _, m := range sent {
		if err := WriteMessage(&wire, m); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := wire.Bytes()[:13], unhex(t, "043f 0000000d fffffffe 010203"); !bytes.Equal(got, want) {
		t.Errorf("got % x, want % x", got, want)
	}
	for _, want := range sent {
		if got, err := ReadMessage(&wire, 13); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	if _, err := ReadMessage(&wire, 13); err != io.EOF {
		t.Errorf("at the end: %v, want io.EOF", err)
	}
	for _, v := range []struct {
		name, hex string
		cut       bool
	}{
		{"length below the header", "043f 00000009 00000000", false},
		{"one byte over the limit", "043f 0000000e 00000000 01020304", false},
		{"4 GiB", "043f ffffffff 00000000", false},
		{"cut in the header", "043f 0000", true},
		{"cut before the payload", "043f 0000000b 00000000", true},
		{"cut in the payload", "043f 0000000c 00000000 01", true},
	} {
		_, err := ReadMessage(bytes.NewReader(unhex(t, v.hex)), 13)
		if err == nil || errors.Is(err, io.ErrUnexpectedEOF) != v.cut {
			t.Errorf("%s: %v", v.name, err)
		}
	}
}

func TestRoundTrips(t *testing.T) {
	spec := inventory()
	spec.Start, spec.StopMS, spec.Priority = StartImmediately, 1500, 3
	spec.AISpecs = []AISpec{{Antennas: []uint16{1, 4}, StopMS: 250}, {Antennas: []uint16{2}}}
	b, err := spec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeROSpec(must(t)(tuned().Encode())); err != nil || !reflect.DeepEqual(got, tuned()) {
		t.Errorf("tuned rospec: got %+v, %v", got, err)
	}
	if got, err := DecodeAccessSpec(must(t)(access().Encode())); err != nil || got != access() {
		t.Errorf("accessspec: got %+v, %v", got, err)
	}
	if got, err := DecodeSpecs(must(t)(EncodeROSpecs([]ROSpec{spec, tuned()}, StateActive))); err != nil || !reflect.DeepEqual(got, []Spec{{7, 2}, {7, 2}}) {
		t.Errorf("rospecs: got %+v, %v", got, err)
	}
	if got, err := DecodeSpecs(must(t)(EncodeAccessSpecs([]AccessSpec{access()}, true))); err != nil || !reflect.DeepEqual(got, []Spec{{9, 1}}) {
		t.Errorf("accessspecs: got %+v, %v", got, err)
	}
	if got, err := DecodeVersions((Versions{1, 2}).Encode()); err != nil || got != (Versions{1, 2}) {
		t.Errorf("versions: got %+v, %v", got, err)
	}
	if v, err := DecodeVersion(EncodeVersion(Version11)); err != nil || v != Version11 {
		t.Errorf("version %d, %v", v, err)
	}
	if !IsEnableImpinj(EnableImpinj()) || IsEnableImpinj(EncodeImpinjEnabled(Status{})) || IsEnableImpinj(unhex(t, "000000a1 15")) {
		t.Error("enable impinj not told from others")
	}
	var refused *StatusError
	if err := DecodeImpinjEnabled(EncodeImpinjEnabled(Status{UnsupportedMessage, "no"})); !errors.As(err, &refused) || refused.Code != UnsupportedMessage {
		t.Errorf("impinj refuses: %v", err)
	}
	if err := DecodeImpinjEnabled(EncodeImpinjEnabled(Status{})); err != nil {
		t.Errorf("impinj agrees: %v", err)
	}
	if got, err := DecodeROSpec(b); err != nil || !reflect.DeepEqual(got, spec) {
		t.Errorf("rospec: got %+v, %v; want %+v", got, err, spec)
	}

	tags := []TagReport{
		{Has: HasROSpecID | HasAntenna | HasRSSI | HasFirstSeen | HasLastSeen | HasSeenCount, EPC: unhex(t, "3074257BF7194E4000001A85"),
			ROSpecID: 7, Antenna: 65535, RSSI: -128, First: 1, Last: 1 << 63, Count: 9},
		{Has: HasFirstSeen | HasLastSeen, EPC: bytes.Repeat([]byte{0xe2}, maxEPC), First: 5, Last: 6, Uptime: true},
		{EPC: []byte{}},
		{EPC: unhex(t, "e280"), TID: unhex(t, "e28011602000"), Reads: []ReadResult{{5, ReadOK, unhex(t, "e2801160")}, {6, ReadOverrun, []byte{}}}},
	}
	if b, err = EncodeReports(tags); err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeReports(b); err != nil || !reflect.DeepEqual(got, tags) {
		t.Errorf("reports: got %+v, %v; want %+v", got, err, tags)
	}
	if _, err := EncodeReports([]TagReport{{EPC: make([]byte, maxEPC+1)}}); err == nil {
		t.Error("epc of 63 bytes encoded")
	}

	for _, e := range []Event{
		{Time: 1, Attempt: new(ClientInitiated)}, {Uptime: true, Time: 2, Closed: true}, {Antenna: &AntennaEvent{3, true}},
		{Antenna: &AntennaEvent{3, false}}, {ROSpec: &ROSpecEvent{ROSpecPreempted, 7, 8}}, {Exception: new("too hot")}, {Overflow: true},
	} {
		if got, err := DecodeEvent(e.Encode()); err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("event: got %+v, %v; want %+v", got, err, e)
		}
	}

	for _, c := range []Config{
		{}, {Reset: true}, {Keepalive: new(10 * time.Second), Hold: new(false), Events: map[EventType]bool{EventROSpec: true, EventAntenna: false}},
		{Keepalive: new(time.Duration(0)), Hold: new(true)},
	} {
		if got, err := DecodeConfig(c.Encode()); err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("config: got %+v, %v; want %+v", got, err, c)
		}
	}

	hopping := zebra()
	hopping.Hopping, hopping.HopTable = true, 3
	for _, caps := range []Capabilities{{}, {Antennas: 4, UTCClock: true, Manufacturer: 25882, Model: 2001002, Firmware: "5.14.0.240"}, zebra(), hopping} {
		if got, err := DecodeCapabilities(caps.Encode()); err != nil || !reflect.DeepEqual(got, caps) {
			t.Errorf("capabilities: got %+v, %v; want %+v", got, err, caps)
		}
	}
	if _, err := DecodeCapabilities(Status{DeviceError, "hot"}.Encode()); err == nil || !strings.Contains(err.Error(), "R_DeviceError") {
		t.Errorf("capabilities of a broken reader: %v", err)
	}
	long := Status{FieldError, strings.Repeat("x", 70000)}
	if got, err := DecodeStatus(long.Encode()); err != nil || got.Code != FieldError || len(got.Description) != maxText {
		t.Errorf("long description: %d bytes, %v", len(got.Description), err)
	}
	if id, err := DecodeROSpecID(EncodeROSpecID(0xdeadbeef)); err != nil || id != 0xdeadbeef {
		t.Errorf("rospec id %x, %v", id, err)
	}
}

// A vendor's additions must cost nothing but themselves.
func TestUnknownParameters(t *testing.T) {
	tag := "8d 112233445566778899aabbcc"
	custom := "03ff 000d 0000651a 00000039 00" // Custom, Impinj
	for _, v := range []struct{ name, hex string }{
		{"custom before the tag", custom + "00f0 0016" + tag + "81 0002 86d0"},
		{"custom inside the tag", "00f0 0023" + tag + custom + "81 0002 86d0"},
		{"known tv without a field here", "00f0 0019" + tag + "87 0001 81 0002 86d0"},
		{"unknown tv after what matters", "00f0 001a" + tag + "81 0002 86d0 f0010203"},
	} {
		tags, err := DecodeReports(unhex(t, v.hex))
		if err != nil || len(tags) != 1 || tags[0].Antenna != 2 || tags[0].RSSI != -48 || len(tags[0].EPC) != 12 {
			t.Errorf("%s: %+v, %v", v.name, tags, err)
		}
	}
	b, err := inventory().Encode()
	if err != nil {
		t.Fatal(err)
	}
	s, err := DecodeROSpec(append(unhex(t, custom), b...))
	if err != nil || !reflect.DeepEqual(s, inventory()) {
		t.Errorf("rospec behind a custom parameter: %+v, %v", s, err)
	}
}

func TestRefused(t *testing.T) {
	for _, v := range []struct{ name, hex string }{
		{"tlv longer than the message", "00f0 0017" + "8d 112233445566778899aabbcc 81 0002 86d0"},
		{"tlv shorter than its header", "00f0 0003"},
		{"tlv cut in the header", "00f0 00"},
		{"tv cut", "00f0 0006 81 00"},
		{"epc longer than its parameter", "00f0 000b 00f1 0007 0060 aa"},
		{"epc longer than any tag", "00f0 000a 00f1 0006 ffff"},
	} {
		if tags, err := DecodeReports(unhex(t, v.hex)); err == nil {
			t.Errorf("%s: accepted as %+v", v.name, tags)
		}
	}
	good, err := inventory().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		name string
		at   int
		to   byte
	}{
		{"state active", 9, 2}, {"periodic start", 18, 2}, {"gpi stop", 23, 2}, {"no antennas", 33, 0},
		{"observation trigger", 40, 3}, {"other air protocol", 51, 2}, {"report trigger", 56, 3}, {"no boundary", 11, 0xb0},
	} {
		b := bytes.Clone(good)
		if b[v.at] == v.to {
			t.Fatalf("%s: byte %d is %d already", v.name, v.at, v.to)
		}
		b[v.at] = v.to
		if s, err := DecodeROSpec(b); err == nil {
			t.Errorf("%s: accepted as %+v", v.name, s)
		}
	}
	for _, s := range []ROSpec{{}, {ID: 1}, {ID: 1, AISpecs: []AISpec{{}}}, {ID: 1, AISpecs: []AISpec{{Antennas: make([]uint16, 257)}}},
		{ID: 1, AISpecs: make([]AISpec, 33)}} {
		if _, err := s.Encode(); err == nil {
			t.Errorf("%+v: encoded", s)
		}
	}
	loud := tuned()
	loud.AISpecs[0].Inventory.Session = 4
	for name, err := range map[string]error{
		"session 4":                     second(loud.Encode()),
		"accessspec 0":                  second(AccessSpec{OpSpec: 1}.Encode()),
		"accessspec without an opspec":  second(AccessSpec{ID: 1}.Encode()),
		"accessspec of bank 4":          second(AccessSpec{ID: 1, OpSpec: 1, Bank: 4}.Encode()),
		"no accessspec":                 second(DecodeAccessSpec(good)),
		"odd tid":                       second(EncodeReports([]TagReport{{TID: make([]byte, 3)}})),
		"17 read results":               second(EncodeReports([]TagReport{{Reads: make([]ReadResult, 17)}})),
		"read result of 1026 bytes":     second(EncodeReports([]TagReport{{Reads: []ReadResult{{Data: make([]byte, 1026)}}}})),
		"specs of a refusal":            second(DecodeSpecs(Status{Code: DeviceError}.Encode())),
		"versions without a status":     second(DecodeVersions([]byte{1, 2})),
		"versions of one byte":          second(DecodeVersions([]byte{1})),
		"version of none":               second(DecodeVersion(nil)),
		"another custom message":        DecodeImpinjEnabled(unhex(t, "000000a1 16 011f 0008 0000 0000")),
		"impinj's answer, cut":          DecodeImpinjEnabled(unhex(t, "0000651a 16 011f")),
		"power level cut":               second(DecodeCapabilities(unhex(t, "011f000800000000 0089000c 0004 4000 0000651a 008f 0010 00000000 0090 0008 0091 0004"))),
		"frequencies beyond the table":  second(DecodeCapabilities(unhex(t, "011f000800000000 008f 0017 00000000 0090 000f 0092 000b 00 0094 0006 0009"))),
		"read result beyond the report": second(DecodeReports(unhex(t, "00f0 000d 015d 0009 00 0005 0002"))),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	spec9 := must(t)(access().Encode())
	for _, v := range []struct {
		name string
		at   int
		to   byte
	}{
		{"antenna 2", 9, 2}, {"other air protocol", 10, 2}, {"enabled", 11, 0x80}, {"stop trigger", 20, 1}, {"mask of bits", 39, 8}, {"no read", 42, 0x56},
	} {
		b := bytes.Clone(spec9)
		b[v.at] = v.to
		if s, err := DecodeAccessSpec(b); err == nil {
			t.Errorf("accessspec, %s: accepted as %+v", v.name, s)
		}
	}
	if _, err := DecodeConfig(nil); err == nil {
		t.Error("empty configuration accepted")
	}
	if _, err := DecodeStatus(nil); err == nil {
		t.Error("response without a status accepted")
	}
	if _, err := DecodeROSpecID([]byte{0, 0, 1}); err == nil {
		t.Error("rospec id of 3 bytes accepted")
	}
}

func second[T any](_ T, err error) error { return err }

func FuzzReadMessage(f *testing.F) {
	f.Add(unhex(f, "043f 0000000d fffffffe 010203"))
	f.Add(unhex(f, "043e 0000000a 00000001 043e 0000000a 00000002"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		for {
			before := len(b) - r.Len()
			m, err := ReadMessage(r, 4096)
			if err != nil {
				return
			}
			var out bytes.Buffer
			if err := WriteMessage(&out, m); err != nil {
				t.Fatal(err)
			}
			in := bytes.Clone(b[before : len(b)-r.Len()])
			in[0] &= 0x1f // reserved bits are not kept
			if !bytes.Equal(out.Bytes(), in) {
				t.Fatalf("% x came back as % x", in, out.Bytes())
			}
		}
	})
}

// FuzzPayloads gives every decoder the same bytes: none may panic, and what
// one accepts must survive its own encoder.
func FuzzPayloads(f *testing.F) {
	spec, err := inventory().Encode()
	if err != nil {
		f.Fatal(err)
	}
	reports, err := EncodeReports([]TagReport{{Has: 0xffff, EPC: make([]byte, 12)}, {EPC: make([]byte, 8)}})
	if err != nil {
		f.Fatal(err)
	}
	full, err := tuned().Encode()
	if err != nil {
		f.Fatal(err)
	}
	accessed, err := access().Encode()
	if err != nil {
		f.Fatal(err)
	}
	tids, err := EncodeReports([]TagReport{{EPC: make([]byte, 12), TID: make([]byte, 12), Reads: []ReadResult{{1, 0, make([]byte, 4)}}}})
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range [][]byte{full, accessed, tids, zebra().Encode(), (Versions{1, 2}).Encode(), EncodeImpinjEnabled(Status{}), spec, reports, Status{DeviceError, "hot"}.Encode(), Capabilities{Antennas: 4}.Encode(),
		Config{Keepalive: new(time.Second), Hold: new(true), Events: map[EventType]bool{EventROSpec: true}}.Encode(),
		Event{ROSpec: &ROSpecEvent{}, Antenna: &AntennaEvent{}, Attempt: new(Connected), Exception: new("e"), Closed: true, Overflow: true}.Encode()} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if tags, err := DecodeReports(b); err == nil {
			again(t, tags, must(t)(EncodeReports(tags)), DecodeReports)
		}
		if s, err := DecodeROSpec(b); err == nil {
			again(t, s, must(t)(s.Encode()), DecodeROSpec)
		}
		if s, err := DecodeAccessSpec(b); err == nil {
			again(t, s, must(t)(s.Encode()), DecodeAccessSpec)
		}
		if v, err := DecodeVersions(b); err == nil {
			again(t, v, v.Encode(), DecodeVersions)
		}
		_, _ = DecodeSpecs(b)
		_ = DecodeImpinjEnabled(b)
		if s, err := DecodeStatus(b); err == nil && len(s.Description) <= maxText {
			again(t, s, s.Encode(), DecodeStatus)
		}
		if c, err := DecodeCapabilities(b); err == nil && len(c.Firmware) <= maxText {
			again(t, c, c.Encode(), DecodeCapabilities)
		}
		if c, err := DecodeConfig(b); err == nil {
			again(t, c, c.Encode(), DecodeConfig)
		}
		if e, err := DecodeEvent(b); err == nil && (e.Exception == nil || len(*e.Exception) <= maxText) {
			again(t, e, e.Encode(), DecodeEvent)
		}
	})
}

func must(t testing.TB) func([]byte, error) []byte {
	return func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

func again[T any](t *testing.T, want T, b []byte, decode func([]byte) (T, error)) {
	t.Helper()
	// EPCs of no bytes come back empty or nil, which mean the same.
	if tags, ok := any(want).([]TagReport); ok {
		for i := range tags {
			if tags[i].EPC == nil {
				tags[i].EPC = []byte{}
			}
		}
	}
	got, err := decode(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v came back as %+v, %v", want, got, err)
	}
}
