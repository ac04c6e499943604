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

// Our specs have numbers that nobody else has by chance: what a session that died
// left behind is known by them.
const (
	own    = 0x54d00000
	ownIDs = 0x00100000
)

// tidWords is class, maker, model and the 48-bit serial number of a tag with an
// extended TID. A shorter TID names a model, not a tag.
const tidWords = 6

// A session is one inventory on one connection. It belongs to the goroutine of Run.
type session struct {
	*link
	*Client
	each func(rfid.Read)
	up   func(what string)
	id   uint32 // of our specs; new in every session: tells our reads from leftovers

	greeted   bool // the reader took us as its client
	caps      wire.Capabilities
	impinj    bool      // it takes Impinj's extensions
	fastID    bool      // the reader sends TIDs by itself
	accessing bool      // our AccessSpec may be there
	running   time.Time // when our ROSpec was to start; zero before
	isUp      bool
}

// run sets the reader up and streams until the session is lost.
func (s *session) run(ctx context.Context) error {
	if err := s.greet(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{s.agree, s.learn, s.clear, s.configure, s.start} {
		if err := step(ctx); err != nil {
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

// request asks and, meanwhile, handles what the reader says unasked.
func (s *session) request(ctx context.Context, t wire.MessageType, payload []byte) ([]byte, error) {
	return s.ask(ctx, t, payload, func(m wire.Message) error { return s.handle(ctx, m) })
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
	if e.Uptime {
		s.o.Log.DebugContext(ctx, "reader has no clock", slog.Duration("uptime", time.Duration(e.Time)*time.Microsecond))
	} else {
		ahead := time.UnixMicro(int64(e.Time)).Sub(s.o.Now())
		s.o.Log.DebugContext(ctx, "reader's clock, which is not used", slog.Duration("ahead", ahead))
	}
	return nil
}

// what is the device in one line.
func (s *session) what() string {
	return fmt.Sprintf("manufacturer %d model %d firmware %q with %d antennas", s.caps.Manufacturer, s.caps.Model, s.caps.Firmware, s.caps.Antennas)
}

func (s *session) markUp() {
	if !s.isUp {
		s.isUp = true
		s.up(s.what())
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
		ours := t.ROSpecID == s.id
		if t.Has&wire.HasROSpecID == 0 { // a reader that leaves it out
			ours = s.isUp
		}
		if !ours || s.running.IsZero() || len(t.EPC) == 0 {
			s.o.Log.DebugContext(ctx, "read dropped: not of this session or without an epc", slog.Any("rospec", t.ROSpecID))
			continue
		}
		s.markUp()
		r := rfid.Read{EPC: bytes.Clone(t.EPC), TID: s.tid(t), First: arrived.Add(-s.spread(t)), Last: arrived, Count: 1}
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

// tid returns the number of the tag's chip, nil if it did not say. ISO/IEC 15963:
// E0h, E2h and E3h are the classes of chips with a number.
func (s *session) tid(t wire.TagReport) []byte {
	tid := t.TID
	for _, r := range t.Reads {
		if r.OpSpec == opSpec(s.id) && r.Result == wire.ReadOK {
			tid = r.Data
		}
	}
	if len(tid) != 2*tidWords || tid[0]&0xfc != 0xe0 {
		return nil
	}
	return bytes.Clone(tid)
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
	case e.ROSpec != nil && e.ROSpec.ID == s.id && e.ROSpec.Type != wire.ROSpecStarted:
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
