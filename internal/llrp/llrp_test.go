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
		Report: &ReportSpec{ReportEndAISpec, 1, HasROSpecID | HasAntenna | HasRSSI | HasFirstSeen | HasLastSeen | HasSeenCount}}
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
	if got, err := DecodeROSpec(b); err != nil || !reflect.DeepEqual(got, spec) {
		t.Errorf("rospec: got %+v, %v; want %+v", got, err, spec)
	}

	tags := []TagReport{
		{Has: HasROSpecID | HasAntenna | HasRSSI | HasFirstSeen | HasLastSeen | HasSeenCount, EPC: unhex(t, "3074257BF7194E4000001A85"),
			ROSpecID: 7, Antenna: 65535, RSSI: -128, First: 1, Last: 1 << 63, Count: 9},
		{Has: HasFirstSeen | HasLastSeen, EPC: bytes.Repeat([]byte{0xe2}, maxEPC), First: 5, Last: 6, Uptime: true},
		{EPC: []byte{}},
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

	caps := Capabilities{Antennas: 4, UTCClock: true, Manufacturer: 25882, Model: 2001002, Firmware: "5.14.0.240"}
	if got, err := DecodeCapabilities(caps.Encode()); err != nil || got != caps {
		t.Errorf("capabilities: got %+v, %v; want %+v", got, err, caps)
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
	for _, b := range [][]byte{spec, reports, Status{DeviceError, "hot"}.Encode(), Capabilities{Antennas: 4}.Encode(),
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

func must(t *testing.T) func([]byte, error) []byte {
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
