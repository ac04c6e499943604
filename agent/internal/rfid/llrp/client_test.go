package llrp

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"trailmark/agent/internal/rfid"
	wire "trailmark/internal/llrp"
)

// A stand runs one client against readers that the test plays by hand.
type stand struct {
	*testing.T
	client *Client
	conns  chan net.Conn // the readers' ends, one for each dialled connection
	reads  chan rfid.Read
	status chan string
	done   chan error
	stop   context.CancelFunc
}

// newStand starts a client whose Dial gives pipes, unless o says otherwise.
func newStand(t *testing.T, o Options) *stand {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	s := &stand{T: t, conns: make(chan net.Conn), reads: make(chan rfid.Read, 64), status: make(chan string, 64), done: make(chan error, 1), stop: stop}
	if o.Address == "" {
		o.Address = "dock-3.example.com:5084"
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			select {
			case s.conns <- theirs:
				return ours, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	o.Status = func(up bool, why string) {
		if up {
			s.status <- "up: " + why
		} else {
			s.status <- "down: " + why
		}
	}
	var err error
	if s.client, err = New(o); err != nil {
		t.Fatal(err)
	}
	go func() { s.done <- s.client.Run(ctx, func(r rfid.Read) { s.reads <- r }) }()
	return s
}

// end stops the client and checks that it stops as promised.
func (s *stand) end() {
	s.Helper()
	s.stop()
	if err := <-s.done; err != nil {
		s.Errorf("run: %v, want nil", err)
	}
	if len(s.reads) > 0 {
		s.Errorf("%d reads nobody expected, first %+v", len(s.reads), <-s.reads)
	}
	for len(s.status) > 0 {
		s.Errorf("status nobody expected: %s", <-s.status)
	}
}

func (s *stand) wantStatus(prefix, contains string) {
	s.Helper()
	if got := <-s.status; !strings.HasPrefix(got, prefix) || !strings.Contains(got, contains) {
		s.Fatalf("status %q: want %s with %q", got, prefix, contains)
	}
}

// A scripted is the reader's end of one connection.
type scripted struct {
	*testing.T
	conn net.Conn
}

func (s *stand) accept() scripted { return scripted{s.T, <-s.conns} }

func (r scripted) say(t wire.MessageType, id uint32, payload []byte) {
	r.Helper()
	if err := wire.WriteMessage(r.conn, wire.Message{Version: wire.Version, Type: t, ID: id, Payload: payload}); err != nil {
		r.Fatalf("say %v: %v", t, err)
	}
}

func (r scripted) event(e wire.Event) {
	r.Helper()
	r.say(wire.ReaderEventNotification, 0, e.Encode())
}

func (r scripted) report(tags ...wire.TagReport) {
	r.Helper()
	b, err := wire.EncodeReports(tags)
	if err != nil {
		r.Fatal(err)
	}
	r.say(wire.ROAccessReport, 0, b)
}

func (r scripted) expect(t wire.MessageType) wire.Message {
	r.Helper()
	m, err := wire.ReadMessage(r.conn, wire.MaxMessage)
	if err != nil || m.Type != t || m.Version != wire.Version && t != wire.GetSupportedVersion {
		r.Fatalf("got %+v, %v; want %v", m, err, t)
	}
	return m
}

// grant answers a request as a reader of LLRP 1.0.1 that agrees to everything.
func (r scripted) grant(m wire.Message, caps wire.Capabilities) {
	r.Helper()
	switch m.Type {
	case wire.GetSupportedVersion:
		r.say(wire.ErrorMessage, m.ID, wire.Status{Code: wire.UnsupportedVersion}.Encode())
	case wire.GetReaderCapabilities:
		r.say(m.Type.Response(), m.ID, caps.Encode())
	case wire.CustomMessage:
		r.say(wire.CustomMessage, m.ID, wire.EncodeImpinjEnabled(wire.Status{}))
	default: // an empty list of specs says no more than its status
		r.say(m.Type.Response(), m.ID, wire.Status{}.Encode())
	}
}

// until grants everything in front of the first request of type t.
func (r scripted) until(t wire.MessageType, caps wire.Capabilities) wire.Message {
	r.Helper()
	for {
		m, err := wire.ReadMessage(r.conn, wire.MaxMessage)
		if err != nil {
			r.Fatalf("%v, want %v", err, t)
		}
		if m.Type == t {
			return m
		}
		r.grant(m, caps)
	}
}

// answer expects a request and grants it.
func (r scripted) answer(t wire.MessageType) wire.Message {
	r.Helper()
	m := r.expect(t)
	r.say(t.Response(), m.ID, wire.Status{}.Encode())
	return m
}

var impinj = wire.Capabilities{Antennas: 4, UTCClock: true, Manufacturer: 25882, Model: 2001002, Firmware: "5.14.0.240"}

// setUp plays everything up to START_ROSPEC, which it leaves unanswered.
func (r scripted) setUp() (wire.ROSpec, wire.Message) {
	r.Helper()
	r.event(wire.Event{Attempt: new(wire.Connected)})
	m := r.until(wire.SetReaderConfig, impinj)
	r.grant(m, impinj)
	cfg, err := wire.DecodeConfig(m.Payload)
	if err != nil || cfg.Keepalive == nil || *cfg.Keepalive != 10*time.Second || cfg.Hold == nil || *cfg.Hold ||
		cfg.Reset || !cfg.Events[wire.EventROSpec] {
		r.Fatalf("configuration %+v, %v", cfg, err)
	}
	spec, err := wire.DecodeROSpec(r.answer(wire.AddROSpec).Payload)
	if err != nil || spec.Report == nil || spec.Report.N != 1 || len(spec.AISpecs) != 1 || spec.AISpecs[0].Inventory == nil || !spec.Report.SerializedTID {
		r.Fatalf("rospec %+v, %v", spec, err)
	}
	if spec.ID&^(ownIDs-1) != own {
		r.Errorf("rospec %#x is not known as ours", spec.ID)
	}
	if id, err := wire.DecodeROSpecID(r.answer(wire.EnableROSpec).Payload); err != nil || id != spec.ID {
		r.Fatalf("enable rospec %d, %v; want %d", id, err, spec.ID)
	}
	m = r.expect(wire.StartROSpec)
	if id, err := wire.DecodeROSpecID(m.Payload); err != nil || id != spec.ID {
		r.Fatalf("start rospec %d, %v; want %d", id, err, spec.ID)
	}
	return spec, m
}

func (r scripted) start() wire.ROSpec {
	r.Helper()
	spec, m := r.setUp()
	r.say(wire.StartROSpecResponse, m.ID, wire.Status{}.Encode())
	return spec
}

const everything = wire.HasROSpecID | wire.HasAntenna | wire.HasRSSI | wire.HasFirstSeen | wire.HasLastSeen | wire.HasSeenCount

func epc(last byte) []byte { return append(bytes.Repeat([]byte{0x30}, 11), last) }

func TestStreamsReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		station := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
		s := newStand(t, Options{Now: func() time.Time { return station }})
		r := s.accept()
		spec := r.start()
		if !slices.Equal(spec.AISpecs[0].Antennas, []uint16{0}) {
			t.Errorf("antennas %v, want all", spec.AISpecs[0].Antennas)
		}
		s.wantStatus("up", `manufacturer 25882 model 2001002 firmware "5.14.0.240" with 4 antennas`)
		time.Sleep(5 * time.Second) // fake: the inventory has run for a while

		// The reader lives in 1970; only its 2 s between first and last count.
		r.report(wire.TagReport{Has: everything, EPC: epc(1), ROSpecID: spec.ID, Antenna: 3, RSSI: -61, First: 1e6, Last: 3e6, Count: 17},
			wire.TagReport{Has: wire.HasROSpecID, EPC: epc(2), ROSpecID: spec.ID})
		first, second := <-s.reads, <-s.reads
		if !bytes.Equal(first.EPC, epc(1)) || first.Antenna != 3 || first.RSSI != -61 || first.Count != 17 || first.TID != nil ||
			!first.Last.Equal(station) || !first.First.Equal(station.Add(-2*time.Second)) {
			t.Errorf("got %+v", first)
		}
		if !bytes.Equal(second.EPC, epc(2)) || second.Antenna != 0 || second.RSSI != 0 || second.Count != 1 || !second.First.Equal(station) {
			t.Errorf("bare report: got %+v", second)
		}

		r.say(wire.Keepalive, 77, nil)
		if m := r.expect(wire.KeepaliveAck); m.ID != 77 {
			t.Errorf("keepalive 77 acknowledged as %d", m.ID)
		}
		r.event(wire.Event{Antenna: &wire.AntennaEvent{Antenna: 2}})
		r.say(1023, 1, []byte("a vendor's own message"))
		r.report(wire.TagReport{Has: wire.HasROSpecID, EPC: epc(3), ROSpecID: spec.ID})
		if got := <-s.reads; !bytes.Equal(got.EPC, epc(3)) {
			t.Errorf("after what a client may pass over: %+v", got)
		}

		s.stop()
		r.expect(wire.DeleteROSpec) // antennas off
		r.expect(wire.CloseConnection)
		r.conn.Close()
		s.end()
	})
}

func TestSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, Options{})
		r := s.accept()
		spec := r.start()
		s.wantStatus("up", "")
		time.Sleep(10 * time.Second)
		for _, v := range []struct {
			name        string
			has         wire.Content
			first, last uint64
			want        time.Duration
		}{
			{"normal", everything, 5e6, 8e6, 3 * time.Second},
			{"one moment", everything, 5e6, 5e6, 0},
			{"backwards", everything, 8e6, 5e6, 0},
			{"clock set forward in between", everything, 5e6, 1.8e15, 0},
			{"overflow", everything, 0, 1<<64 - 1, 0},
			{"longer than the inventory runs", everything, 0, 10_000_001, 0},
			{"no last", everything &^ wire.HasLastSeen, 5e6, 8e6, 0},
			{"no first", everything &^ wire.HasFirstSeen, 5e6, 8e6, 0},
		} {
			r.report(wire.TagReport{Has: v.has, EPC: epc(1), ROSpecID: spec.ID, First: v.first, Last: v.last, Count: 1})
			if got := <-s.reads; got.Last.Sub(got.First) != v.want {
				t.Errorf("%s: %v, want %v", v.name, got.Last.Sub(got.First), v.want)
			}
		}
		s.end()
	})
}

// What the reader kept from before this session has no time we could give it.
func TestDropsLeftovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, Options{})
		r := s.accept()
		r.event(wire.Event{Attempt: new(wire.Connected)})
		m := r.until(wire.GetReaderCapabilities, impinj)
		r.report(wire.TagReport{EPC: epc(1)}, wire.TagReport{Has: wire.HasROSpecID, EPC: epc(2), ROSpecID: 1})
		r.grant(m, impinj)
		m = r.until(wire.AddROSpec, impinj)
		r.grant(m, impinj)
		spec, err := wire.DecodeROSpec(m.Payload)
		if err != nil {
			t.Fatal(err)
		}
		r.answer(wire.EnableROSpec)
		start := r.expect(wire.StartROSpec)
		r.report(wire.TagReport{EPC: epc(3)}) // whose?
		// Our own may overtake the response, and says that the reader is up.
		r.report(wire.TagReport{Has: wire.HasROSpecID, EPC: epc(4), ROSpecID: spec.ID})
		s.wantStatus("up", "")
		r.say(wire.StartROSpecResponse, start.ID, wire.Status{}.Encode())
		r.report(wire.TagReport{Has: wire.HasROSpecID, EPC: epc(5), ROSpecID: spec.ID + 1}, wire.TagReport{Has: wire.HasROSpecID, ROSpecID: spec.ID})
		r.report(wire.TagReport{EPC: epc(6)}) // a reader that names no ROSpec
		for _, want := range []byte{4, 6} {
			if got := <-s.reads; !bytes.Equal(got.EPC, epc(want)) {
				t.Errorf("got %x, want %x", got.EPC, epc(want))
			}
		}
		s.end()
	})
}

func TestTwoKeepalivesMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, Options{})
		r := s.accept()
		r.start()
		s.wantStatus("up", "")
		for range 3 { // late by less than a whole interval: still alive
			time.Sleep(19 * time.Second)
			r.say(wire.Keepalive, 1, nil)
			r.expect(wire.KeepaliveAck)
		}
		quiet := time.Now()
		s.wantStatus("down", "two keepalives missed")
		if d := time.Since(quiet); d < 20*time.Second || d > 30*time.Second {
			t.Errorf("noticed after %v", d)
		}
		if _, err := wire.ReadMessage(r.conn, 1024); err == nil {
			t.Error("the dead connection was not closed")
		}
		r = s.accept()
		r.start()
		s.wantStatus("up", "")
		s.end()
	})
}

// A session that fails says so once, with its reason, and is tried again.
func TestSessionFailures(t *testing.T) {
	refuse := func(at wire.MessageType, how func(scripted, wire.Message)) func(scripted) {
		return func(r scripted) {
			r.event(wire.Event{Attempt: new(wire.Connected)})
			how(r, r.until(at, wire.Capabilities{Antennas: 4}))
		}
	}
	for _, v := range []struct {
		name, why string
		play      func(scripted)
	}{
		{"another client", "another client is connected", func(r scripted) { r.event(wire.Event{Attempt: new(wire.ClientInitiated)}) }},
		{"not llrp", "llrp:", func(r scripted) { r.conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }},
		{"no greeting", "no connection event in 10s", func(scripted) {}},
		{"other greeting", "starts with KEEPALIVE", func(r scripted) { r.say(wire.Keepalive, 1, nil) }},
		{"event without attempt", "not about the connection", func(r scripted) { r.event(wire.Event{Overflow: true}) }},
		{"closed at once", "closed", // by the read or already by its deadline
			func(r scripted) { r.conn.Close() }},
		{"no answer", "no answer to GET_READER_CAPABILITIES", refuse(wire.GetReaderCapabilities, func(scripted, wire.Message) {})},
		{"capabilities missing", "no general device capabilities", refuse(wire.GetReaderCapabilities, func(r scripted, m wire.Message) {
			r.say(m.Type.Response(), m.ID, wire.Status{}.Encode())
		})},
		{"status", `ADD_ROSPEC: llrp: reader says M_FieldError: "antenna 9"`, refuse(wire.AddROSpec, func(r scripted, m wire.Message) {
			r.say(m.Type.Response(), m.ID, wire.Status{Code: wire.FieldError, Description: "antenna 9"}.Encode())
		})},
		{"antenna that is not there", "antenna 5 of a reader with 4", refuse(wire.GetReaderCapabilities, func(r scripted, m wire.Message) {
			r.grant(m, wire.Capabilities{Antennas: 4})
		})},
		{"version that was offered refused", "SET_PROTOCOL_VERSION: llrp: reader says R_DeviceError", refuse(wire.GetSupportedVersion, func(r scripted, m wire.Message) {
			r.say(m.Type.Response(), m.ID, wire.Versions{Current: 1, Supported: 2}.Encode())
			m = r.until(wire.SetProtocolVersion, impinj)
			r.say(m.Type.Response(), m.ID, wire.Status{Code: wire.DeviceError}.Encode())
		})},
		{"specs that are none", "llrp: parameter", refuse(wire.GetROSpecs, func(r scripted, m wire.Message) {
			r.say(m.Type.Response(), m.ID, append(wire.Status{}.Encode(), 0, 177, 0, 99))
		})},
		{"error message", "M_UnsupportedMessage", refuse(wire.SetReaderConfig, func(r scripted, m wire.Message) {
			r.say(wire.ErrorMessage, m.ID, wire.Status{Code: wire.UnsupportedMessage}.Encode())
		})},
		{"broken response", "llrp:", refuse(wire.SetReaderConfig, func(r scripted, m wire.Message) {
			r.say(m.Type.Response(), m.ID, []byte{1, 0x1f, 0, 99})
		})},
		{"closing event", "says it closes", refuse(wire.AddROSpec, func(r scripted, m wire.Message) { r.event(wire.Event{Closed: true}) })},
	} {
		t.Run(v.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := Options{}
				if v.name == "antenna that is not there" {
					o.Antennas = []uint16{1, 5}
				}
				s := newStand(t, o)
				first := s.accept()
				v.play(first)
				s.wantStatus("down", v.why)
				first.conn.Close()
				if o.Antennas == nil {
					s.accept().start()
					s.wantStatus("up", "")
				}
				s.end()
			})
		})
	}
}

// A reader that stays connected and reads nothing must not look healthy.
func TestInventoryStoppedByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, Options{})
		r := s.accept()
		spec := r.start()
		s.wantStatus("up", "")
		r.event(wire.Event{ROSpec: &wire.ROSpecEvent{Type: wire.ROSpecStarted, ID: spec.ID}})
		r.event(wire.Event{ROSpec: &wire.ROSpecEvent{Type: wire.ROSpecEnded, ID: spec.ID + 1}})
		r.report(wire.TagReport{Has: wire.HasROSpecID, EPC: epc(1), ROSpecID: spec.ID})
		<-s.reads
		r.event(wire.Event{ROSpec: &wire.ROSpecEvent{Type: wire.ROSpecEnded, ID: spec.ID}})
		s.wantStatus("down", "stopped by somebody else")
		r = s.accept()
		if again := r.start(); again.ID == spec.ID {
			t.Errorf("rospec %d used twice", spec.ID)
		}
		s.wantStatus("up", "")
		s.end()
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Time
		full := make(chan struct{})
		s := newStand(t, Options{Dial: func(context.Context, string, string) (net.Conn, error) {
			if tries = append(tries, time.Now()); len(tries) == 12 {
				close(full)
			}
			return nil, errors.New("no route to host")
		}})
		<-full
		s.wantStatus("down", "no route to host") // once, not twelve times
		s.end()
		for i, most := range []time.Duration{2, 4, 8, 16, 30, 30, 30, 30, 30, 30, 30} {
			pause := tries[i+1].Sub(tries[i])
			if most *= time.Second; pause < most/2 || pause > most {
				t.Errorf("pause %d: %v, want %v to %v", i, pause, most/2, most)
			}
		}
	})
}

// Run ends at once wherever it is.
func TestEndsAnywhere(t *testing.T) {
	for _, v := range []struct {
		name string
		play func(*stand)
	}{
		{"dialling", func(*stand) {}},
		{"waiting for the greeting", func(s *stand) { s.accept() }},
		{"waiting for an answer", func(s *stand) {
			r := s.accept()
			r.event(wire.Event{Attempt: new(wire.Connected)})
			r.expect(wire.GetSupportedVersion)
		}},
		{"pausing", func(s *stand) { s.accept().conn.Close(); s.wantStatus("down", "") }},
		{"streaming from a reader that hangs", func(s *stand) { s.accept().start(); s.wantStatus("up", "") }},
	} {
		t.Run(v.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, Options{})
				v.play(s)
				synctest.Wait()
				began := time.Now()
				s.end()
				if d := time.Since(began); d > time.Second {
					t.Errorf("took %v", d)
				}
			})
		})
	}
}

// The same over a real socket, where a close is not as tidy as a pipe's.
func TestReconnectsOverTCP(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := newStand(t, Options{Address: ln.Addr().String(), Antennas: []uint16{1, 4}, Dial: new(net.Dialer).DialContext})
	if s.client.Name() != "llrp://"+ln.Addr().String() {
		t.Errorf("name %s", s.client.Name())
	}
	for i := range byte(2) {
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		r := scripted{t, conn}
		spec := r.start()
		s.wantStatus("up", "manufacturer 25882")
		if !slices.Equal(spec.AISpecs[0].Antennas, []uint16{1, 4}) {
			t.Errorf("antennas %v", spec.AISpecs[0].Antennas)
		}
		before := time.Now()
		r.report(wire.TagReport{Has: everything, EPC: epc(i), ROSpecID: spec.ID, Antenna: 1, RSSI: -50, Count: 1})
		if got := <-s.reads; !bytes.Equal(got.EPC, epc(i)) || got.Last.Before(before) {
			t.Errorf("got %+v", got)
		}
		if i == 0 {
			conn.(*net.TCPConn).SetLinger(0) // a reset, as from a reader that restarts
			conn.Close()
			s.wantStatus("down", "")
			continue
		}
		s.stop()
		r.expect(wire.DeleteROSpec)
		r.expect(wire.CloseConnection)
		conn.Close()
	}
	s.end()
}

func TestNewRefuses(t *testing.T) {
	for _, o := range []Options{{}, {Address: "fe80::1"}, {Address: ":5084"}, {Address: "dock-3", Power: 37}, {Address: "dock-3", Power: -1}, {Address: "dock-3", Session: 4}, {Address: "dock-3:"}, {Address: "dock-3:5084", Antennas: make([]uint16, 257)}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v accepted", o)
		}
	}
}

func TestStandardPorts(t *testing.T) {
	pinned, err := Pinned(strings.Repeat("ab", 32))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		o    Options
		want string
	}{
		{Options{Address: "dock-3"}, "llrp://dock-3:5084"},
		{Options{Address: "192.0.2.7", TLS: pinned}, "llrp://192.0.2.7:5085"},
		{Options{Address: "[fe80::1]:7000", TLS: pinned}, "llrp://[fe80::1]:7000"},
	} {
		if c, err := New(v.o); err != nil || c.Name() != v.want {
			t.Errorf("%v, %v; want %s", c, err, v.want)
		}
	}
	for _, bad := range []string{"", "ab", strings.Repeat("zz", 32), strings.Repeat("ab", 33)} {
		if _, err := Pinned(bad); err == nil {
			t.Errorf("fingerprint %q accepted", bad)
		}
	}
}

func TestTransmit(t *testing.T) {
	levels := []wire.PowerLevel{{Index: 1, Centi: 1000}, {Index: 7, Centi: 2525}, {Index: 3, Centi: 2000}}
	for _, v := range []struct {
		caps wire.Capabilities
		dBm  float64
		want wire.Transmit // zero: refused
	}{
		{wire.Capabilities{Power: levels}, 30, wire.Transmit{Channel: 1, Power: 7}},
		{wire.Capabilities{Power: levels}, 25.25, wire.Transmit{Channel: 1, Power: 7}},
		{wire.Capabilities{Power: levels, Hopping: true, HopTable: 2}, 25.2, wire.Transmit{HopTable: 2, Power: 3}},
		{wire.Capabilities{Power: levels}, 9.99, wire.Transmit{}},
		{wire.Capabilities{}, 30, wire.Transmit{}},
	} {
		if got, err := transmit(v.caps, v.dBm); got != v.want || (err == nil) != (v.want != wire.Transmit{}) {
			t.Errorf("%g dBm: %+v, %v; want %+v", v.dBm, got, err, v.want)
		}
	}
}

// A reader of LLRP 1.0.1 that falls silent or hangs up on what it does not know
// is not asked again.
func TestReaderWithoutVersions(t *testing.T) {
	for name, react := range map[string]func(scripted){
		"silent": func(scripted) {},
		"closes": func(r scripted) { r.conn.Close() },
		"refuses and closes": func(r scripted) {
			r.say(wire.ErrorMessage, 0, wire.Status{Code: wire.UnsupportedVersion}.Encode())
			r.conn.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, Options{})
				r := s.accept()
				r.event(wire.Event{Attempt: new(wire.Connected)})
				r.expect(wire.GetSupportedVersion)
				react(r)
				s.wantStatus("down", "llrp:")
				r = s.accept()
				r.event(wire.Event{Attempt: new(wire.Connected)})
				r.expect(wire.GetReaderCapabilities)
				s.end()
			})
		})
	}
}
