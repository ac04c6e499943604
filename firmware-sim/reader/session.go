package reader

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"trailmark/internal/llrp"
)

// deviceState is what outlives a connection. It belongs to the goroutine of the
// session that took it out of Server.device.
type deviceState struct {
	spec      *llrp.ROSpec
	enabled   bool
	active    bool
	access    *llrp.AccessSpec
	accessing bool             // access is enabled
	pending   []llrp.TagReport // seen, not reported yet: one for each antenna and EPC
	keepalive time.Duration    // 0: off
	events    map[llrp.EventType]bool
}

// A session is one client's connection. It belongs to one goroutine; the one
// that reads the socket only hands messages over.
type session struct {
	*Server
	*deviceState
	conn    net.Conn
	version uint8           // agreed on in this connection
	impinj  bool            // Impinj's additions are enabled, in this connection
	heard   time.Time       // when the client last said anything
	alive   *time.Ticker    // nil while keepalives are off
	id      uint32          // of our last own message
	loose   map[uint16]bool // as the client knows them
}

var errClosed = errors.New("client asked to close")

func (s *Server) session(ctx context.Context, conn net.Conn, d *deviceState) error {
	select {
	case <-s.knock: // was meant for the client before
	default:
	}
	// Keepalives end with the connection: their client has gone.
	d.keepalive = 0
	c := &session{Server: s, deviceState: d, conn: conn, version: llrp.Version, heard: time.Now(), loose: s.unplugged()}

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
		case <-s.changed:
			err = c.tellAntennas()
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
	return c.write(c.conn, c.version, t, c.id, payload)
}

func (c *session) notify(e llrp.Event) error {
	return c.tell(llrp.ReaderEventNotification, c.event(e))
}

// tellAntennas tells a client that asked which antennas came or went.
func (c *session) tellAntennas() error {
	now := c.unplugged()
	was := c.loose
	c.loose = now
	for a := uint16(1); a <= c.o.Antennas && c.events[llrp.EventAntenna]; a++ {
		if now[a] == was[a] {
			continue
		}
		if err := c.notify(llrp.Event{Antenna: &llrp.AntennaEvent{Antenna: a, Connected: !now[a]}}); err != nil {
			return err
		}
	}
	return nil
}

// answer carries out a request and sends its response, then what follows from it.
func (c *session) answer(m llrp.Message) error {
	if c.hung.Load() {
		return nil
	}
	fail := func(s llrp.StatusCode, text string) error {
		return c.write(c.conn, c.version, llrp.ErrorMessage, m.ID, llrp.Status{Code: s, Description: text}.Encode())
	}
	// The two messages that agree on a version are of 1.1 by themselves.
	agrees := m.Type == llrp.GetSupportedVersion || m.Type == llrp.SetProtocolVersion
	if m.Version != c.version && !(agrees && m.Version == llrp.Version11 && c.o.Version >= llrp.Version11) {
		return fail(llrp.UnsupportedVersion, fmt.Sprintf("version %d, this connection speaks %d", m.Version, c.version))
	}
	if m.Type == llrp.KeepaliveAck {
		return nil
	}
	payload, event, known := c.carryOut(m)
	if !known {
		return fail(llrp.UnsupportedMessage, m.Type.String())
	}
	if err := c.write(c.conn, c.version, m.Type.Response(), m.ID, payload); err != nil {
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

// carryOut returns the payload of the response and what follows from it, or that
// this reader has no such message.
func (c *session) carryOut(m llrp.Message) (payload []byte, event *llrp.ROSpecEvent, known bool) {
	var status llrp.Status
	var err error
	switch m.Type {
	case llrp.GetReaderCapabilities:
		if len(m.Payload) < 1 {
			status = llrp.Status{Code: llrp.FieldError, Description: "requested data is missing"}
			break
		}
		return c.capabilities().Encode(), nil, true
	case llrp.GetSupportedVersion:
		if c.o.Version < llrp.Version11 {
			return nil, nil, false
		}
		return llrp.Versions{Current: c.version, Supported: c.o.Version}.Encode(), nil, true
	case llrp.SetProtocolVersion:
		if c.o.Version < llrp.Version11 {
			return nil, nil, false
		}
		status = c.agree(m.Payload)
	case llrp.CustomMessage:
		if c.o.Manufacturer != llrp.VendorImpinj || !llrp.IsEnableImpinj(m.Payload) {
			return nil, nil, false
		}
		c.impinj = true
		return llrp.EncodeImpinjEnabled(llrp.Status{}), nil, true
	case llrp.SetReaderConfig:
		status = c.configure(m.Payload)
	case llrp.AddROSpec:
		status = c.add(m.Payload)
	case llrp.DeleteROSpec, llrp.EnableROSpec, llrp.StartROSpec, llrp.StopROSpec:
		status, event = c.control(m)
	case llrp.GetROSpecs:
		if payload, err = c.listROSpecs(); err == nil {
			return payload, nil, true
		}
		status = llrp.Status{Code: llrp.DeviceError, Description: err.Error()}
	case llrp.AddAccessSpec:
		status = c.addAccess(m.Payload)
	case llrp.DeleteAccessSpec, llrp.EnableAccessSpec:
		status = c.controlAccess(m)
	case llrp.GetAccessSpecs:
		if payload, err = c.listAccessSpecs(); err == nil {
			return payload, nil, true
		}
		status = llrp.Status{Code: llrp.DeviceError, Description: err.Error()}
	case llrp.CloseConnection:
	default:
		return nil, nil, false
	}
	return status.Encode(), event, true
}

// agree sets the version of this connection.
func (c *session) agree(payload []byte) llrp.Status {
	v, err := llrp.DecodeVersion(payload)
	if err != nil {
		return llrp.Status{Code: llrp.FieldError, Description: err.Error()}
	}
	if v < llrp.Version || v > c.o.Version {
		return llrp.Status{Code: llrp.UnsupportedVersion, Description: fmt.Sprintf("version %d, this reader speaks %d to %d", v, llrp.Version, c.o.Version)}
	}
	c.version = v
	return llrp.Status{}
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
