package reader

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"trailmark/internal/llrp"
)

func epc(last byte) []byte { return append(bytes.Repeat([]byte{0x30}, 11), last) }

// serve runs a reader on a loopback port for the length of a test.
func serve(t *testing.T, field Field, o Options) (*Server, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if o.Poll == 0 {
		o.Poll = 5 * time.Millisecond
	}
	return serveOn(t, ln, field, o), ln.Addr().String()
}

func serveOn(t *testing.T, ln net.Listener, field Field, o Options) *Server {
	t.Helper()
	s := New(field, o)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

// A pipes listens without a network, so that time in a test can be fake.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func listenPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return nil }

func (p *pipes) connect(t *testing.T) *client {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close() })
	p.conns <- theirs
	c := &client{T: t, conn: ours}
	if e := c.event(); e.Attempt == nil || *e.Attempt != llrp.Connected {
		t.Fatalf("greeting %+v", e)
	}
	return c
}

// A client is scripted: it says what the test says.
type client struct {
	*testing.T
	conn net.Conn
	id   uint32
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &client{T: t, conn: conn}
}

// connect dials until the reader is free: it notices the end of a client a
// moment later than the client does.
func connect(t *testing.T, addr string) *client {
	t.Helper()
	for {
		c := dial(t, addr)
		if a := c.event().Attempt; a != nil && *a == llrp.Connected {
			return c
		} else if a == nil || *a != llrp.ClientInitiated {
			t.Fatalf("greeting %v", a)
		}
	}
}

func (c *client) next() llrp.Message {
	c.Helper()
	m, err := llrp.ReadMessage(c.conn, llrp.MaxMessage)
	if err != nil {
		c.Fatal(err)
	}
	return m
}

// until passes over everything before the first message of type t.
func (c *client) until(t llrp.MessageType) llrp.Message {
	c.Helper()
	for {
		if m := c.next(); m.Type == t {
			return m
		}
	}
}

func (c *client) event() llrp.Event {
	c.Helper()
	e, err := llrp.DecodeEvent(c.until(llrp.ReaderEventNotification).Payload)
	if err != nil {
		c.Fatal(err)
	}
	return e
}

func (c *client) tags() []llrp.TagReport {
	c.Helper()
	tags, err := llrp.DecodeReports(c.until(llrp.ROAccessReport).Payload)
	if err != nil {
		c.Fatal(err)
	}
	return tags
}

func (c *client) send(m llrp.Message) {
	c.Helper()
	if err := llrp.WriteMessage(c.conn, m); err != nil {
		c.Fatal(err)
	}
}

// ask returns the payload of the response or error message to a request.
func (c *client) ask(t llrp.MessageType, payload []byte) []byte {
	c.Helper()
	c.id++
	c.send(llrp.Message{Version: llrp.Version, Type: t, ID: c.id, Payload: payload})
	for {
		m := c.next()
		if m.ID == c.id && (m.Type == t.Response() || m.Type == llrp.ErrorMessage) {
			return m.Payload
		}
	}
}

func (c *client) want(code llrp.StatusCode, t llrp.MessageType, payload []byte) {
	c.Helper()
	s, err := llrp.DecodeStatus(c.ask(t, payload))
	if err != nil || s.Code != code || (code != llrp.Success) != (s.Description != "") {
		c.Fatalf("%v: got %+v, %v; want %v", t, s, err, code)
	}
}

const everything = llrp.HasROSpecID | llrp.HasAntenna | llrp.HasRSSI | llrp.HasFirstSeen | llrp.HasLastSeen | llrp.HasSeenCount

func inventory(id uint32, n uint16, antennas ...uint16) llrp.ROSpec {
	return llrp.ROSpec{ID: id, AISpecs: []llrp.AISpec{{Antennas: antennas}},
		Report: &llrp.ReportSpec{Trigger: llrp.ReportEndAISpec, N: n, Content: everything}}
}

func encode(t *testing.T, s llrp.ROSpec) []byte {
	t.Helper()
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// start replaces whatever the reader runs by s.
func (c *client) start(s llrp.ROSpec) {
	c.Helper()
	c.want(llrp.Success, llrp.DeleteROSpec, llrp.EncodeROSpecID(0))
	c.want(llrp.Success, llrp.AddROSpec, encode(c.T, s))
	c.want(llrp.Success, llrp.EnableROSpec, llrp.EncodeROSpecID(s.ID))
	c.want(llrp.Success, llrp.StartROSpec, llrp.EncodeROSpecID(s.ID))
}

// two tags in front of antenna 2, one in front of 5, which this reader lacks.
func pallet(time.Time) []Tag {
	return []Tag{{Antenna: 2, EPC: epc(1), RSSI: -60}, {Antenna: 2, EPC: epc(2), RSSI: -70}, {Antenna: 5, EPC: epc(3), RSSI: -40}}
}

func TestInventory(t *testing.T) {
	room := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	_, addr := serve(t, pallet, Options{Manufacturer: 25882, Model: 7, Firmware: "1.2", Skew: -time.Hour, Now: func() time.Time { return room }})
	c := connect(t, addr)
	caps, err := llrp.DecodeCapabilities(c.ask(llrp.GetReaderCapabilities, llrp.AllCapabilities()))
	if err != nil || caps.Antennas != 4 || !caps.UTCClock || caps.Manufacturer != 25882 || caps.Model != 7 || caps.Firmware != "1.2" ||
		caps.MaxROSpecs != 1 || len(caps.Power) != maxPower || caps.Power[20] != (llrp.PowerLevel{Index: 21, Centi: 3000}) || caps.Frequencies[0] != 920_625 {
		t.Errorf("capabilities %+v, %v", caps, err)
	}
	c.want(llrp.Success, llrp.SetReaderConfig, llrp.Config{Hold: new(false), Events: map[llrp.EventType]bool{llrp.EventROSpec: true}}.Encode())
	c.start(inventory(7, 1, 0))
	if e := c.event(); e.ROSpec == nil || *e.ROSpec != (llrp.ROSpecEvent{Type: llrp.ROSpecStarted, ID: 7}) {
		t.Errorf("start event %+v", e)
	}
	at := uint64(room.Add(-time.Hour).UnixMicro()) // the reader's clock is late
	for i := range 6 {
		tags, want := c.tags(), pallet(room)[i%2]
		if len(tags) != 1 || !bytes.Equal(tags[0].EPC, want.EPC) || tags[0].Antenna != 2 || tags[0].RSSI != want.RSSI || tags[0].ROSpecID != 7 ||
			tags[0].First != at || tags[0].Last != at || tags[0].Count != 1 || tags[0].Has != everything {
			t.Fatalf("report %d: %+v", i, tags)
		}
	}
	c.want(llrp.Success, llrp.StopROSpec, llrp.EncodeROSpecID(7))
	if e := c.event(); e.ROSpec == nil || e.ROSpec.Type != llrp.ROSpecEnded {
		t.Errorf("stop event %+v", e)
	}
	c.want(llrp.Success, llrp.CloseConnection, nil)
	if m, err := llrp.ReadMessage(c.conn, llrp.MaxMessage); err != io.EOF {
		t.Errorf("after stop and close: %+v, %v", m, err)
	}
}

// With n above 1 a report counts how often each tag was seen since the last.
func TestReportAfterNTags(t *testing.T) {
	var rounds atomic.Int64
	begin := time.Now()
	_, addr := serve(t, func(time.Time) []Tag {
		if rounds.Add(1) < 4 {
			return pallet(begin)[:1]
		}
		return pallet(begin)
	}, Options{Now: func() time.Time { return begin.Add(time.Duration(rounds.Load()) * time.Second) }})
	c := connect(t, addr)
	spec := inventory(9, 2, 2)
	spec.Start = llrp.StartImmediately
	c.want(llrp.Success, llrp.AddROSpec, encode(t, spec))
	c.want(llrp.Success, llrp.EnableROSpec, llrp.EncodeROSpecID(9))
	tags := c.tags()
	if len(tags) != 2 || tags[0].Count != 4 || tags[1].Count != 1 || tags[0].Last-tags[0].First != 3e6 || tags[1].Last != tags[1].First {
		t.Errorf("got %+v", tags)
	}
}

func TestSelectsAntennasAndContent(t *testing.T) {
	_, addr := serve(t, func(time.Time) []Tag {
		return []Tag{{Antenna: 1, EPC: epc(1), RSSI: -1}, {Antenna: 2, EPC: epc(2), RSSI: -1}, {Antenna: 3, EPC: []byte{0xe2, 0x80}, RSSI: -1}}
	}, Options{})
	c := connect(t, addr)
	spec := inventory(1, 2, 3, 1)
	spec.Report.Content = llrp.HasAntenna
	c.start(spec)
	tags := c.tags()
	if len(tags) != 2 || tags[0].Antenna != 1 || tags[1].Antenna != 3 || tags[0].Has != llrp.HasAntenna || len(tags[1].EPC) != 2 {
		t.Errorf("got %+v", tags)
	}
}

func TestSecondClientRefused(t *testing.T) {
	_, addr := serve(t, pallet, Options{})
	first := connect(t, addr)
	second := dial(t, addr)
	if e := second.event(); e.Attempt == nil || *e.Attempt != llrp.ClientInitiated {
		t.Errorf("second client is told %+v", e)
	}
	if m, err := llrp.ReadMessage(second.conn, llrp.MaxMessage); err != io.EOF {
		t.Errorf("second client: %+v, %v; want io.EOF", m, err)
	}
	if e := first.event(); e.Attempt == nil || *e.Attempt != llrp.AnotherAttempted {
		t.Errorf("first client is told %+v", e)
	}
	first.start(inventory(1, 1, 0)) // and is still served
	first.tags()
}

// What a real reader does with a cut connection: it keeps its ROSpec, and the
// next client hears from it unasked.
func TestDropKeepsTheROSpec(t *testing.T) {
	s, addr := serve(t, pallet, Options{})
	c := connect(t, addr)
	c.start(inventory(3, 1, 0))
	c.tags()
	s.Drop()
	for {
		if _, err := llrp.ReadMessage(c.conn, llrp.MaxMessage); err != nil {
			break
		}
	}
	c = connect(t, addr)
	if tags := c.tags(); tags[0].ROSpecID != 3 {
		t.Errorf("got %+v", tags)
	}
	c.want(llrp.OverflowParameter, llrp.AddROSpec, encode(t, inventory(4, 1, 0)))
	c.start(inventory(4, 1, 0))
	for c.tags()[0].ROSpecID != 4 {
		t.Error("the deleted rospec still reports")
	}
}

func TestKeepalives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := listenPipes()
		serveOn(t, ln, pallet, Options{})
		c := ln.connect(t)
		c.want(llrp.Success, llrp.SetReaderConfig, llrp.Config{Keepalive: new(10 * time.Second)}.Encode())
		began := time.Now()
		for range 8 { // longer than an unanswered client is kept
			m := c.until(llrp.Keepalive)
			c.send(llrp.Message{Version: llrp.Version, Type: llrp.KeepaliveAck, ID: m.ID})
		}
		if d := time.Since(began); d != 80*time.Second {
			t.Errorf("8 keepalives in %v", d)
		}
		n := 0
		for { // a client that lost its power: no acknowledgement, no FIN
			m, err := llrp.ReadMessage(c.conn, llrp.MaxMessage)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || m.Type != llrp.Keepalive {
				t.Fatalf("%+v, %v", m, err)
			}
			n++
		}
		if n != 3 {
			t.Errorf("given up after %d unanswered keepalives, want 3", n)
		}
		synctest.Wait()
		c = ln.connect(t) // the place is free again, and quiet until told otherwise
		if err := c.conn.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if m, err := llrp.ReadMessage(c.conn, llrp.MaxMessage); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a new client hears %+v, %v", m, err)
		}
	})
}

func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := listenPipes()
		s := serveOn(t, ln, pallet, Options{})
		c := ln.connect(t)
		c.start(inventory(3, 2, 0))
		c.tags()
		synctest.Wait()
		s.Hang(true)
		c.send(llrp.Message{Version: llrp.Version, Type: llrp.GetReaderCapabilities, ID: 99, Payload: []byte{1}})
		if err := c.conn.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if m, err := llrp.ReadMessage(c.conn, llrp.MaxMessage); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%+v, %v: want silence on an open connection", m, err)
		}
		if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		s.Hang(false)
		c.tags()
	})
}

func TestAnswersNonsense(t *testing.T) {
	_, addr := serve(t, pallet, Options{Version: llrp.Version})
	c := connect(t, addr)
	for _, m := range []llrp.MessageType{llrp.GetSupportedVersion, llrp.SetProtocolVersion, llrp.CustomMessage} {
		c.want(llrp.UnsupportedMessage, m, nil)
	}
	c.want(llrp.UnsupportedMessage, llrp.ROAccessReport, nil)
	c.send(llrp.Message{Version: 2, Type: llrp.GetReaderCapabilities, ID: 5})
	if s, err := llrp.DecodeStatus(c.until(llrp.ErrorMessage).Payload); err != nil || s.Code != llrp.UnsupportedVersion {
		t.Errorf("version 2: %+v, %v", s, err)
	}
	c.want(llrp.FieldError, llrp.GetReaderCapabilities, nil)
	c.want(llrp.ParameterError, llrp.SetReaderConfig, nil)
	c.want(llrp.UnsupportedParam, llrp.SetReaderConfig, llrp.Config{Hold: new(true)}.Encode())
	c.want(llrp.ParameterError, llrp.AddROSpec, []byte{0, 177, 0, 99})
	c.want(llrp.FieldError, llrp.AddROSpec, encode(t, inventory(1, 1, 5)))
	onRequest := inventory(1, 1, 0)
	onRequest.Report.Trigger = llrp.ReportOnRequest
	c.want(llrp.UnsupportedParam, llrp.AddROSpec, encode(t, onRequest))
	timed := inventory(1, 1, 0)
	timed.StopMS = 100
	c.want(llrp.UnsupportedParam, llrp.AddROSpec, encode(t, timed))
	for _, m := range []llrp.MessageType{llrp.EnableROSpec, llrp.StartROSpec, llrp.StopROSpec, llrp.DeleteROSpec} {
		c.want(llrp.FieldError, m, llrp.EncodeROSpecID(1)) // there is none
		c.want(llrp.FieldError, m, nil)
	}
	c.want(llrp.Success, llrp.AddROSpec, encode(t, inventory(1, 1, 0)))
	c.want(llrp.UnexpectedMessage, llrp.StartROSpec, llrp.EncodeROSpecID(1)) // still disabled
	c.want(llrp.UnexpectedMessage, llrp.StopROSpec, llrp.EncodeROSpecID(1))
	c.want(llrp.Success, llrp.EnableROSpec, llrp.EncodeROSpecID(0))
	c.want(llrp.Success, llrp.StartROSpec, llrp.EncodeROSpecID(1))
	c.want(llrp.UnexpectedMessage, llrp.StartROSpec, llrp.EncodeROSpecID(1))
	c.want(llrp.Success, llrp.SetReaderConfig, llrp.Config{Reset: true}.Encode())
	c.want(llrp.FieldError, llrp.StopROSpec, llrp.EncodeROSpecID(1)) // the reset took it
	if _, err := c.conn.Write([]byte{4, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	if m, err := llrp.ReadMessage(c.conn, llrp.MaxMessage); err == nil {
		t.Errorf("after a message of 4 GiB: %+v", m)
	}
	connect(t, addr)
}

func TestServeEnds(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(pallet, Options{})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	c := connect(t, ln.Addr().String())
	stop()
	if e := c.event(); !e.Closed {
		t.Errorf("last event %+v, want that it closes", e)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	again, err := net.Listen("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err) // the port is free again
	}
	again.Close()
	if err := s.Serve(t.Context(), again); err == nil {
		t.Error("serve on a closed listener: no error")
	}
}

func TestVersions(t *testing.T) {
	_, addr := serve(t, pallet, Options{})
	c := connect(t, addr)
	answer := func(version uint8, t llrp.MessageType, payload []byte) llrp.Message {
		c.Helper()
		c.id++
		c.send(llrp.Message{Version: version, Type: t, ID: c.id, Payload: payload})
		return c.next()
	}
	m := answer(llrp.Version11, llrp.GetSupportedVersion, nil)
	if v, err := llrp.DecodeVersions(m.Payload); err != nil || v != (llrp.Versions{Current: 1, Supported: 2}) || m.Version != llrp.Version {
		t.Errorf("versions %+v, %v in %d", v, err, m.Version)
	}
	for _, bad := range [][]byte{nil, {0}, {3}} {
		if s, err := llrp.DecodeStatus(answer(llrp.Version11, llrp.SetProtocolVersion, bad).Payload); err != nil || s.Code == llrp.Success {
			t.Errorf("version % x: %+v, %v", bad, s, err)
		}
	}
	if m := answer(llrp.Version11, llrp.SetProtocolVersion, llrp.EncodeVersion(llrp.Version11)); m.Type != llrp.SetProtocolVersionResponse || m.Version != llrp.Version11 {
		t.Errorf("got %+v", m)
	}
	if m := answer(llrp.Version, llrp.GetROSpecs, nil); m.Type != llrp.ErrorMessage {
		t.Errorf("version 1 after 2 was agreed on: %+v", m)
	}
	if m := answer(llrp.Version11, llrp.GetROSpecs, nil); m.Type != llrp.GetROSpecsResponse {
		t.Errorf("got %+v", m)
	}
	c.conn.Close()
	connect(t, addr).want(llrp.Success, llrp.GetROSpecs, nil) // the next client starts at 1 again
}

func TestAccessSpec(t *testing.T) {
	tid := []byte{0xe2, 0x80, 0x11, 0x60, 1, 2, 3, 4, 5, 6, 7, 8}
	_, addr := serve(t, func(time.Time) []Tag {
		return []Tag{{Antenna: 1, EPC: epc(1), RSSI: -50, TID: tid}, {Antenna: 1, EPC: epc(2), RSSI: -50, TID: tid[:8]}}
	}, Options{})
	c := connect(t, addr)
	add := func(code llrp.StatusCode, s llrp.AccessSpec) {
		t.Helper()
		b, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		c.want(code, llrp.AddAccessSpec, b)
	}
	spec := llrp.AccessSpec{ID: 4, ROSpec: 7, OpSpec: 9, Bank: llrp.BankTID, Words: 6}
	add(llrp.UnsupportedParam, llrp.AccessSpec{ID: 4, OpSpec: 9, Bank: llrp.BankEPC, Words: 6})
	c.want(llrp.ParameterError, llrp.AddAccessSpec, nil)
	add(llrp.Success, spec)
	add(llrp.OverflowParameter, spec)
	c.want(llrp.FieldError, llrp.EnableAccessSpec, llrp.EncodeROSpecID(5))
	c.want(llrp.Success, llrp.EnableAccessSpec, llrp.EncodeROSpecID(4))
	specs, err := llrp.DecodeSpecs(c.ask(llrp.GetAccessSpecs, nil))
	if err != nil || len(specs) != 1 || specs[0] != (llrp.Spec{ID: 4, State: 1}) {
		t.Errorf("accessspecs %+v, %v", specs, err)
	}
	c.start(inventory(7, 2, 0))
	tags := c.tags()
	if len(tags) != 2 || len(tags[0].Reads) != 1 || tags[0].Reads[0].OpSpec != 9 || !bytes.Equal(tags[0].Reads[0].Data, tid) ||
		len(tags[1].Reads) != 1 || tags[1].Reads[0].Result != llrp.ReadOverrun {
		t.Errorf("got %+v", tags)
	}
	c.want(llrp.Success, llrp.DeleteAccessSpec, llrp.EncodeROSpecID(0))
	c.want(llrp.FieldError, llrp.DeleteAccessSpec, llrp.EncodeROSpecID(4))
	for len(c.tags()[0].Reads) != 0 { // those under way
	}
}

func TestImpinj(t *testing.T) {
	tid := bytes.Repeat([]byte{0xe2}, 12)
	_, addr := serve(t, func(time.Time) []Tag { return []Tag{{Antenna: 1, EPC: epc(1), TID: tid}} }, Options{Manufacturer: llrp.VendorImpinj})
	c := connect(t, addr)
	spec := inventory(7, 1, 0)
	spec.Report.SerializedTID = true
	c.want(llrp.UnsupportedParam, llrp.AddROSpec, encode(t, spec))
	if err := llrp.DecodeImpinjEnabled(c.ask(llrp.CustomMessage, llrp.EnableImpinj())); err != nil {
		t.Fatal(err)
	}
	bad := spec
	bad.AISpecs = []llrp.AISpec{{Antennas: []uint16{0}, Inventory: &llrp.Inventory{Transmit: &llrp.Transmit{Channel: 1, Power: maxPower + 1}}}}
	c.want(llrp.FieldError, llrp.AddROSpec, encode(t, bad))
	c.start(spec)
	if tags := c.tags(); len(tags) != 1 || !bytes.Equal(tags[0].TID, tid) {
		t.Errorf("got %+v", tags)
	}
}

func TestAntennaEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := listenPipes()
		start := time.Now()
		s := serveOn(t, ln, pallet, Options{Uptime: true})
		c := ln.connect(t)
		c.want(llrp.Success, llrp.SetReaderConfig, llrp.Config{Events: map[llrp.EventType]bool{llrp.EventAntenna: true}}.Encode())
		time.Sleep(3 * time.Second)
		for _, connected := range []bool{false, true} {
			s.Plug(2, connected)
			e := c.event()
			if e.Antenna == nil || *e.Antenna != (llrp.AntennaEvent{Antenna: 2, Connected: connected}) || !e.Uptime || e.Time != uint64(time.Since(start).Microseconds()) {
				t.Errorf("event %+v", e)
			}
		}
	})
}

func TestSelfSigned(t *testing.T) {
	a, err := SelfSigned("dock")
	if err != nil {
		t.Fatal(err)
	}
	b, err := SelfSigned("dock")
	if err != nil || bytes.Equal(a.Certificate[0], b.Certificate[0]) {
		t.Errorf("two certificates are one, %v", err)
	}
}
