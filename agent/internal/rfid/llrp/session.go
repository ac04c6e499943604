package llrp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"trailmark/agent/internal/rfid"
	wire "trailmark/internal/llrp"
)

// A session is one inventory on one connection. It belongs to the goroutine of Run.
type session struct {
	*link
	o      *Options
	each   func(rfid.Read)
	up     func(what string)
	rospec uint32 // new in every session: tells our reads from leftovers

	greeted bool      // the reader took us as its client
	what    string    // the device in one line
	running time.Time // when our ROSpec was to start; zero before
	isUp    bool
}

// run sets the reader up and streams until the session is lost.
func (s *session) run(ctx context.Context) error {
	if err := s.greet(ctx); err != nil {
		return err
	}
	handle := func(m wire.Message) error { return s.handle(ctx, m) }
	b, err := s.ask(ctx, wire.GetReaderCapabilities, wire.GeneralCapabilities(), handle)
	if err != nil {
		return err
	}
	caps, err := wire.DecodeCapabilities(b)
	if err != nil {
		return err
	}
	s.what = fmt.Sprintf("manufacturer %d model %d firmware %q with %d antennas", caps.Manufacturer, caps.Model, caps.Firmware, caps.Antennas)
	spec, err := s.inventory().Encode()
	if err != nil {
		return err
	}
	config := wire.Config{
		Keepalive: new(keepalive),
		Hold:      new(false),
		Events: map[wire.EventType]bool{wire.EventROSpec: true, wire.EventBuffer: true,
			wire.EventException: true, wire.EventAntenna: true},
	}
	for _, step := range []struct {
		t       wire.MessageType
		payload []byte
	}{
		{wire.SetReaderConfig, config.Encode()},
		{wire.DeleteROSpec, wire.EncodeROSpecID(0)},
		{wire.AddROSpec, spec},
		{wire.EnableROSpec, wire.EncodeROSpecID(s.rospec)},
		{wire.StartROSpec, wire.EncodeROSpecID(s.rospec)},
	} {
		if step.t == wire.StartROSpec {
			s.running = time.Now() // the first read may overtake the response
		}
		if _, err := s.ask(ctx, step.t, step.payload, handle); err != nil {
			return err
		}
	}
	s.markUp()
	for {
		m, err := s.receive(ctx, silence)
		if err != nil {
			return err
		}
		if err := s.handle(ctx, m); err != nil {
			return err
		}
	}
}

// greet waits for the reader to say whether it takes us.
func (s *session) greet(ctx context.Context) error {
	m, err := s.receive(ctx, patience)
	if errors.Is(err, errSilent) {
		return fmt.Errorf("llrp: no connection event in %v\nhint: the address may not be an llrp reader's", patience)
	}
	if err != nil {
		return err
	}
	if m.Type != wire.ReaderEventNotification {
		return fmt.Errorf("llrp: reader starts with %v, want %v", m.Type, wire.ReaderEventNotification)
	}
	e, err := wire.DecodeEvent(m.Payload)
	switch {
	case err != nil:
		return err
	case e.Attempt == nil:
		return errors.New("llrp: reader's first event is not about the connection")
	case *e.Attempt != wire.Connected:
		return fmt.Errorf("llrp: %v", *e.Attempt)
	}
	s.greeted = true
	return nil
}

func (s *session) inventory() wire.ROSpec {
	antennas := s.o.Antennas
	if len(antennas) == 0 {
		antennas = []uint16{0}
	}
	return wire.ROSpec{ID: s.rospec, AISpecs: []wire.AISpec{{Antennas: antennas}},
		Report: &wire.ReportSpec{Trigger: wire.ReportEndAISpec, N: 1,
			Content: wire.HasROSpecID | wire.HasAntenna | wire.HasRSSI | wire.HasFirstSeen | wire.HasLastSeen | wire.HasSeenCount}}
}

func (s *session) markUp() {
	if !s.isUp {
		s.isUp = true
		s.up(s.what)
	}
}

// handle takes what the reader says unasked. An error ends the session.
func (s *session) handle(ctx context.Context, m wire.Message) error {
	switch m.Type {
	case wire.Keepalive:
		return s.send(wire.KeepaliveAck, m.ID, nil)
	case wire.ROAccessReport:
		tags, err := wire.DecodeReports(m.Payload)
		if err != nil {
			return err
		}
		s.reads(ctx, tags)
	case wire.ReaderEventNotification:
		e, err := wire.DecodeEvent(m.Payload)
		if err != nil {
			return err
		}
		return s.event(ctx, e)
	case wire.ErrorMessage:
		st, err := wire.DecodeStatus(m.Payload)
		if err == nil {
			err = st.Err()
		}
		return err
	default:
		s.o.Log.DebugContext(ctx, "llrp message passed over", slog.String("type", m.Type.String()))
	}
	return nil
}

func (s *session) reads(ctx context.Context, tags []wire.TagReport) {
	arrived := s.o.Now()
	for _, t := range tags {
		ours := t.ROSpecID == s.rospec
		if t.Has&wire.HasROSpecID == 0 { // a reader that leaves it out
			ours = s.isUp
		}
		if !ours || s.running.IsZero() || len(t.EPC) == 0 {
			s.o.Log.DebugContext(ctx, "read dropped: not of this session or without an epc", slog.Any("rospec", t.ROSpecID))
			continue
		}
		s.markUp()
		r := rfid.Read{EPC: bytes.Clone(t.EPC), First: arrived.Add(-s.spread(t)), Last: arrived, Count: 1}
		if t.Has&wire.HasAntenna != 0 {
			r.Antenna = t.Antenna
		}
		if t.Has&wire.HasRSSI != 0 {
			r.RSSI = int(t.RSSI)
		}
		if t.Has&wire.HasSeenCount != 0 {
			r.Count = max(1, int(t.Count))
		}
		s.each(r)
	}
}

// spread is how long the reader saw the tag before it told us. More than our
// inventory has run is a clock that was set in between: then it is unknown, 0.
func (s *session) spread(t wire.TagReport) time.Duration {
	const both = wire.HasFirstSeen | wire.HasLastSeen
	if t.Has&both != both || t.Last < t.First || t.Last-t.First > math.MaxInt64/1000 {
		return 0
	}
	d := time.Duration(t.Last-t.First) * time.Microsecond
	if d > time.Since(s.running) {
		return 0
	}
	return d
}

func (s *session) event(ctx context.Context, e wire.Event) error {
	switch {
	case e.Closed:
		return errors.New("llrp: reader says it closes the connection")
	case e.ROSpec != nil && e.ROSpec.ID == s.rospec && e.ROSpec.Type != wire.ROSpecStarted:
		// It would stay connected and read nothing: worse than a lost link.
		return fmt.Errorf("llrp: the inventory was stopped by somebody else (event %d)", e.ROSpec.Type)
	case e.Attempt != nil:
		s.o.Log.WarnContext(ctx, "connection event", slog.String("what", e.Attempt.String()))
	case e.Antenna != nil:
		s.o.Log.WarnContext(ctx, "antenna event", slog.Int("antenna", int(e.Antenna.Antenna)), slog.Bool("connected", e.Antenna.Connected))
	case e.Exception != nil:
		s.o.Log.WarnContext(ctx, "reader exception", slog.String("message", *e.Exception))
	case e.Overflow:
		s.o.Log.WarnContext(ctx, "reader lost reports: its buffer was full")
	}
	return nil
}
