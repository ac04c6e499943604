package reader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"time"

	"trailmark/internal/llrp"
)

// deviceState is what outlives a connection. It belongs to the goroutine of the
// session that took it out of Server.device.
type deviceState struct {
	spec      *llrp.ROSpec
	enabled   bool
	active    bool
	pending   []llrp.TagReport // seen, not reported yet: one for each antenna and EPC
	keepalive time.Duration    // 0: off
	events    map[llrp.EventType]bool
}

// A session is one client's connection. It belongs to one goroutine; the one
// that reads the socket only hands messages over.
type session struct {
	*Server
	*deviceState
	conn  net.Conn
	heard time.Time    // when the client last said anything
	alive *time.Ticker // nil while keepalives are off
	id    uint32       // of our last own message
}

var errClosed = errors.New("client asked to close")

func (s *Server) session(ctx context.Context, conn net.Conn, d *deviceState) error {
	select {
	case <-s.knock: // was meant for the client before
	default:
	}
	// Keepalives end with the connection: their client has gone.
	d.keepalive = 0
	c := &session{Server: s, deviceState: d, conn: conn, heard: time.Now()}

	in, failed := make(chan llrp.Message), make(chan error, 1)
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			m, err := llrp.ReadMessage(conn, llrp.MaxMessage)
			if err != nil {
				failed <- err
				return
			}
			select {
			case in <- m:
			case <-done:
				return
			}
		}
	}()
	defer func() {
		close(done)
		conn.Close() // ends the read
		<-stopped
	}()

	if err := c.notify(llrp.Event{Attempt: new(llrp.Connected)}); err != nil {
		return err
	}
	poll := time.NewTicker(s.o.Poll)
	defer poll.Stop()
	defer c.setKeepalive(0)
	for {
		var err error
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), c.notify(llrp.Event{Closed: true}))
		case err = <-failed:
		case m := <-in:
			c.heard = time.Now()
			err = c.answer(m)
		case <-poll.C:
			err = c.round()
		case <-c.ticks():
			err = c.sendKeepalive()
		case <-s.knock:
			err = c.notify(llrp.Event{Attempt: new(llrp.AnotherAttempted)})
		}
		if err != nil {
			return err
		}
	}
}

// ticks blocks for ever while keepalives are off.
func (c *session) ticks() <-chan time.Time {
	if c.alive == nil {
		return nil
	}
	return c.alive.C
}

func (c *session) setKeepalive(every time.Duration) {
	if c.alive != nil {
		c.alive.Stop()
		c.alive = nil
	}
	if c.keepalive = every; every > 0 {
		c.alive = time.NewTicker(every)
	}
}

// sendKeepalive gives up a client that left three unanswered: otherwise one
// that lost its power would keep the only place for ever.
func (c *session) sendKeepalive() error {
	if quiet := time.Since(c.heard); quiet > 3*c.keepalive {
		return fmt.Errorf("client said nothing for %v > %v", quiet, 3*c.keepalive)
	}
	return c.tell(llrp.Keepalive, nil)
}

// tell sends a message of the reader's own.
func (c *session) tell(t llrp.MessageType, payload []byte) error {
	c.id++
	return c.write(c.conn, t, c.id, payload)
}

func (c *session) notify(e llrp.Event) error {
	return c.tell(llrp.ReaderEventNotification, c.event(e))
}

// answer carries out a request and sends its response, then what follows from it.
func (c *session) answer(m llrp.Message) error {
	if c.hung.Load() {
		return nil
	}
	fail := func(s llrp.StatusCode, text string) error {
		return c.write(c.conn, llrp.ErrorMessage, m.ID, llrp.Status{Code: s, Description: text}.Encode())
	}
	if m.Version != llrp.Version {
		return fail(llrp.UnsupportedVersion, fmt.Sprintf("version %d, this reader speaks %d", m.Version, llrp.Version))
	}
	if m.Type == llrp.KeepaliveAck {
		return nil
	}
	var status llrp.Status
	var event *llrp.ROSpecEvent
	reply := func() []byte { return status.Encode() }
	switch m.Type {
	case llrp.GetReaderCapabilities:
		if len(m.Payload) < 1 {
			status = llrp.Status{Code: llrp.FieldError, Description: "requested data is missing"}
			break
		}
		reply = llrp.Capabilities{Antennas: c.o.Antennas, UTCClock: true, Manufacturer: c.o.Manufacturer,
			Model: c.o.Model, Firmware: c.o.Firmware}.Encode
	case llrp.SetReaderConfig:
		status = c.configure(m.Payload)
	case llrp.AddROSpec:
		status = c.add(m.Payload)
	case llrp.DeleteROSpec, llrp.EnableROSpec, llrp.StartROSpec, llrp.StopROSpec:
		status, event = c.control(m)
	case llrp.CloseConnection:
	default:
		return fail(llrp.UnsupportedMessage, m.Type.String())
	}
	if err := c.write(c.conn, m.Type.Response(), m.ID, reply()); err != nil {
		return err
	}
	if event != nil {
		return c.change(*event)
	}
	if m.Type == llrp.CloseConnection {
		return errClosed
	}
	return nil
}

func (c *session) configure(payload []byte) llrp.Status {
	cfg, err := llrp.DecodeConfig(payload)
	if err != nil {
		return llrp.Status{Code: llrp.ParameterError, Description: err.Error()}
	}
	if cfg.Hold != nil && *cfg.Hold {
		return llrp.Status{Code: llrp.UnsupportedParam, Description: "this reader cannot hold events and reports"}
	}
	if cfg.Reset {
		*c.deviceState = deviceState{}
		c.setKeepalive(0)
	}
	if cfg.Keepalive != nil {
		c.setKeepalive(*cfg.Keepalive)
	}
	for t, on := range cfg.Events {
		if c.events == nil {
			c.events = map[llrp.EventType]bool{}
		}
		c.events[t] = on
	}
	return llrp.Status{}
}

func (c *session) add(payload []byte) llrp.Status {
	spec, err := llrp.DecodeROSpec(payload)
	switch {
	case err != nil:
		return llrp.Status{Code: llrp.ParameterError, Description: err.Error()}
	case c.spec != nil:
		return llrp.Status{Code: llrp.OverflowParameter, Description: fmt.Sprintf("rospec %d is there, this reader keeps 1", c.spec.ID)}
	case len(spec.AISpecs) != 1 || spec.StopMS != 0 || spec.AISpecs[0].StopMS != 0:
		return llrp.Status{Code: llrp.UnsupportedParam, Description: "this reader runs one aispec without a stop trigger"}
	case spec.Report == nil || spec.Report.Trigger == llrp.ReportOnRequest:
		return llrp.Status{Code: llrp.UnsupportedParam, Description: "this reader reports after n tags only"}
	}
	for _, a := range spec.AISpecs[0].Antennas {
		if a > c.o.Antennas {
			return llrp.Status{Code: llrp.FieldError, Description: fmt.Sprintf("antenna %d > %d", a, c.o.Antennas)}
		}
	}
	c.spec = &spec
	return llrp.Status{}
}

// control moves the ROSpec between disabled, inactive, active and gone. The
// event says what became active or ceased to be; it is sent after the response.
func (c *session) control(m llrp.Message) (llrp.Status, *llrp.ROSpecEvent) {
	id, err := llrp.DecodeROSpecID(m.Payload)
	if err != nil {
		return llrp.Status{Code: llrp.FieldError, Description: err.Error()}, nil
	}
	all := id == 0 && (m.Type == llrp.DeleteROSpec || m.Type == llrp.EnableROSpec)
	if c.spec == nil && all {
		return llrp.Status{}, nil
	}
	if c.spec == nil || id != c.spec.ID && !all {
		return llrp.Status{Code: llrp.FieldError, Description: fmt.Sprintf("no rospec %d", id)}, nil
	}
	started, ended := &llrp.ROSpecEvent{Type: llrp.ROSpecStarted, ID: c.spec.ID}, &llrp.ROSpecEvent{Type: llrp.ROSpecEnded, ID: c.spec.ID}
	switch m.Type {
	case llrp.EnableROSpec:
		if !c.enabled {
			c.enabled = true
			if c.spec.Start == llrp.StartImmediately {
				return llrp.Status{}, started
			}
		}
	case llrp.StartROSpec:
		if !c.enabled || c.active {
			return llrp.Status{Code: llrp.UnexpectedMessage, Description: fmt.Sprintf("rospec %d is not inactive", id)}, nil
		}
		return llrp.Status{}, started
	case llrp.StopROSpec:
		if !c.active {
			return llrp.Status{Code: llrp.UnexpectedMessage, Description: fmt.Sprintf("rospec %d is not active", id)}, nil
		}
		return llrp.Status{}, ended
	case llrp.DeleteROSpec:
		was := c.active
		c.spec, c.enabled, c.active, c.pending = nil, false, false, nil
		if was {
			return llrp.Status{}, ended
		}
	}
	return llrp.Status{}, nil
}

// change carries out what control decided and says so to a client that asked.
func (c *session) change(e llrp.ROSpecEvent) error {
	c.active = e.Type == llrp.ROSpecStarted
	if !c.active && c.spec != nil {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if !c.events[llrp.EventROSpec] {
		return nil
	}
	return c.notify(llrp.Event{ROSpec: &e})
}

// round asks the room for its tags and reports what the ROSpec wants.
func (c *session) round() error {
	if !c.active {
		return nil
	}
	now := c.o.Now()
	at := c.micros(now)
	wanted := c.spec.AISpecs[0].Antennas
	for _, tag := range c.field(now) {
		if tag.Antenna < 1 || tag.Antenna > c.o.Antennas || !slices.Contains(wanted, 0) && !slices.Contains(wanted, tag.Antenna) {
			continue
		}
		c.see(tag, at)
		if n := int(c.spec.Report.N); n > 0 && len(c.pending) >= n {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxPending bounds a report that waits for more tags than ever come.
const maxPending = 1024

func (c *session) see(tag Tag, at uint64) {
	for i := range c.pending {
		p := &c.pending[i]
		if p.Antenna == tag.Antenna && bytes.Equal(p.EPC, tag.EPC) {
			p.Last, p.RSSI = at, max(p.RSSI, tag.RSSI)
			p.Count = min(p.Count, math.MaxUint16-1) + 1
			return
		}
	}
	if len(c.pending) == maxPending {
		return // a full buffer: the tag is seen again next round
	}
	c.pending = append(c.pending, llrp.TagReport{Has: c.spec.Report.Content, EPC: bytes.Clone(tag.EPC), ROSpecID: c.spec.ID,
		Antenna: tag.Antenna, RSSI: tag.RSSI, First: at, Last: at, Count: 1})
}

func (c *session) flush() error {
	if len(c.pending) == 0 {
		return nil
	}
	b, err := llrp.EncodeReports(c.pending)
	if err != nil {
		return err
	}
	c.pending = nil
	return c.tell(llrp.ROAccessReport, b)
}
