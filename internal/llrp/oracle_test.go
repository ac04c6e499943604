package llrp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// capture returns a pcap file of messages on port 5084, one TCP segment each.
func capture(t *testing.T, messages []Message) []byte {
	t.Helper()
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0)                           // version
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)               // zone, accuracy
	b = le.AppendUint32(le.AppendUint32(b, 1<<18), 101) // longest packet; raw IP
	sequence := uint32(1)
	for i, m := range messages {
		var payload bytes.Buffer
		if err := WriteMessage(&payload, m); err != nil {
			t.Fatal(err)
		}
		n := payload.Len()
		p := []byte{0x45, 0}
		p = binary.BigEndian.AppendUint16(p, uint16(40+n))
		p = append(p, 0, byte(i), 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2)
		p = binary.BigEndian.AppendUint16(p, 5084)
		p = binary.BigEndian.AppendUint16(p, 40000)
		p = binary.BigEndian.AppendUint32(p, sequence)
		p = append(p, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0)
		p = append(p, payload.Bytes()...)
		sequence += uint32(n)
		for _, v := range []uint32{uint32(i), 0, uint32(len(p)), uint32(len(p))} {
			b = le.AppendUint32(b, v)
		}
		b = append(b, p...)
	}
	return b
}

// dissect returns what tshark calls each message and what it finds wrong in it.
func dissect(t *testing.T, messages []Message) [][2]string {
	t.Helper()
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("no tshark to dissect llrp with")
	}
	file := filepath.Join(t.TempDir(), "llrp.pcap")
	if err := os.WriteFile(file, capture(t, messages), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), tshark, "-r", file, "-o", "tcp.check_checksum:false", "-o", "ip.check_checksum:false",
		"-T", "fields", "-E", "occurrence=a", "-e", "llrp.type", "-e", "_ws.expert.message", "-e", "_ws.malformed").Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	var found [][2]string
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\n"), "\n") {
		kind, wrong, _ := strings.Cut(line, "\t")
		found = append(found, [2]string{kind, strings.TrimSpace(wrong)})
	}
	if len(found) != len(messages) {
		t.Fatalf("tshark saw %d of %d messages", len(found), len(messages))
	}
	return found
}

// TestDissected has Wireshark's dissector, which knows nothing of ours, read
// every message that client or simulated reader may send.
func TestDissected(t *testing.T) {
	m := must(t)
	attempt := Connected
	reports := []TagReport{
		{Has: HasROSpecID | HasAntenna | HasRSSI | HasFirstSeen | HasLastSeen | HasSeenCount, EPC: make([]byte, 12), ROSpecID: 7, Antenna: 1, RSSI: -60,
			Reads: []ReadResult{{5, ReadOK, make([]byte, 12)}}, TID: []byte{}}, // the dissector knows the count of its words only
		{Has: HasFirstSeen | HasLastSeen, EPC: make([]byte, 8), Uptime: true, Reads: []ReadResult{{5, ReadOverrun, nil}}},
	}
	hopping := zebra()
	hopping.Hopping, hopping.HopTable = true, 1
	config := Config{Reset: true, Keepalive: new(10 * time.Second), Hold: new(true), Events: map[EventType]bool{EventROSpec: true, EventAntenna: false}}
	var messages []Message
	add := func(t MessageType, payloads ...[]byte) {
		for _, p := range payloads {
			messages = append(messages, Message{Version: Version, Type: t, ID: uint32(len(messages) + 1), Payload: p})
		}
	}
	add(GetReaderCapabilities, AllCapabilities())
	add(GetReaderCapabilitiesResponse, zebra().Encode(), hopping.Encode())
	add(SetReaderConfig, config.Encode())
	add(AddROSpec, m(inventory().Encode()), m(tuned().Encode()))
	for _, t := range []MessageType{DeleteROSpec, EnableROSpec, StartROSpec, StopROSpec, DeleteAccessSpec, EnableAccessSpec} {
		add(t, EncodeROSpecID(7))
		add(t.Response(), Status{}.Encode(), Status{FieldError, "no rospec 7"}.Encode())
	}
	for _, t := range []MessageType{GetROSpecs, GetAccessSpecs, CloseConnection, Keepalive, KeepaliveAck, GetSupportedVersion} {
		add(t, nil)
	}
	for _, t := range []MessageType{AddROSpecResponse, AddAccessSpecResponse, SetReaderConfigResponse, CloseConnectionResponse, SetProtocolVersionResponse, ErrorMessage} {
		add(t, Status{DeviceError, "hot"}.Encode())
	}
	add(GetROSpecsResponse, m(EncodeROSpecs([]ROSpec{tuned()}, StateActive)))
	add(AddAccessSpec, m(access().Encode()))
	add(GetAccessSpecsResponse, m(EncodeAccessSpecs([]AccessSpec{access()}, true)))
	add(GetSupportedVersionResponse, Versions{Version, Version11}.Encode())
	add(SetProtocolVersion, EncodeVersion(Version11))
	add(ROAccessReport, m(EncodeReports(reports)))
	add(CustomMessage, EnableImpinj(), EncodeImpinjEnabled(Status{}))
	for _, e := range []Event{{Attempt: &attempt}, {Uptime: true, Closed: true}, {Antenna: &AntennaEvent{3, true}},
		{ROSpec: &ROSpecEvent{ROSpecPreempted, 7, 8}}, {Exception: new("too hot")}, {Overflow: true}} {
		add(ReaderEventNotification, e.Encode())
	}
	for i, found := range dissect(t, messages) {
		m := messages[i]
		// The dissector shows the version asked for and does not count it.
		found[1] = strings.TrimPrefix(found[1], map[MessageType]string{SetProtocolVersion: "Incorrect length of message: 10 bytes decoded, but 11 bytes available.\t_ws.malformed"}[m.Type])
		if found[0] != fmt.Sprint(uint16(m.Type)) || found[1] != "" {
			t.Errorf("%v % x: dissected as type %s with %q", m.Type, m.Payload, found[0], found[1])
		}
	}
}

// TestDissectorNotices holds that the dissector would have said something.
func TestDissectorNotices(t *testing.T) {
	b := must(t)(tuned().Encode())
	b[3] -= 9 // the rospec ends inside a parameter
	if found := dissect(t, []Message{{Version: Version, Type: AddROSpec, ID: 1, Payload: b}}); found[0][1] == "" {
		t.Error("a broken rospec was dissected without a word")
	}
}
