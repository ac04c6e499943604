// Package reader is a network RFID reader: it serves LLRP and reports whatever
// tags the simulated room holds.
//
// It behaves like a device, not like a library: it takes one client and refuses
// the next with the event the standard has for that, keeps its ROSpec and its
// settings when a client goes away, answers what it does not know with an
// LLRPStatus, and stamps reads with a clock of its own that may be wrong. It can
// be told to fail. One ROSpec and one AccessSpec at a time, as with common
// readers.
package reader

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"trailmark/firmware-sim/chip/gen2"
	"trailmark/internal/llrp"
)

// A Tag is one tag in front of one antenna.
type Tag struct {
	Antenna uint16 // from 1
	EPC     []byte // at most 62 bytes
	RSSI    int8   // dBm, as the distance to the antenna makes it
	TID     []byte // of the chip, whole words; nil: it keeps none
}

// A Field says which tags are there now. It is called from one goroutine at a
// time, and only while an inventory runs.
type Field func(now time.Time) []Tag

// Options are the reader's make and manners. The zero value is a reader of
// nobody's with four antennas, LLRP 1.1, 250 ms a round and a right clock.
type Options struct {
	Antennas     uint16           // 0: 4
	Version      uint8            // the highest it speaks; 0: llrp.Version11
	Manufacturer uint32           // IANA private enterprise number; 0 says nobody; Impinj's has Impinj's additions
	Model        uint32           // the manufacturer's numbering
	Firmware     string           // "": simulated
	Poll         time.Duration    // a round over all antennas; 0: 250 ms
	Now          func() time.Time // the room's clock; nil: time.Now
	Skew         time.Duration    // by how much the reader's own clock is ahead of Now; behind 1970 it shows 1970
	Uptime       bool             // it has no clock and counts from its start, New
	Air          *gen2.Air        // nil: every tag of the field is heard in every round
	TLS          *tls.Config      // nil: in the clear
	Log          *slog.Logger
}

// A Server is one reader. Its methods may be called from any goroutine.
type Server struct {
	field Field
	o     Options // never written after New
	start time.Time

	hung  atomic.Bool
	ahead atomic.Int64 // of the reader's own clock, ns, besides Options.Skew

	// device holds the one deviceState while nobody is connected. Who takes it
	// out is the client; an empty channel refuses the next.
	device chan *deviceState
	knock  chan struct{} // tells the client's session that another was refused

	mu      sync.Mutex // guards the rest
	conn    net.Conn   // the client's, nil while there is none
	loose   map[uint16]bool
	changed chan struct{} // tells the client's session that loose did
}

// New returns a reader in the factory's state.
func New(field Field, o Options) *Server {
	if o.Antennas == 0 {
		o.Antennas = 4
	}
	if o.Version == 0 {
		o.Version = llrp.Version11
	}
	if o.Firmware == "" {
		o.Firmware = "simulated"
	}
	if o.Poll <= 0 {
		o.Poll = 250 * time.Millisecond
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{field: field, o: o, start: o.Now(), device: make(chan *deviceState, 1), knock: make(chan struct{}, 1),
		loose: map[uint16]bool{}, changed: make(chan struct{}, 1)}
	s.device <- &deviceState{}
	return s
}

// Serve takes clients from ln until ctx ends, then tells the client, closes
// everything and returns nil. An error means that ln failed.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if s.o.TLS != nil {
		ln = tls.NewListener(ln, s.o.TLS)
	}
	ctx, cancel := context.WithCancel(ctx)
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("reader: %w", err)
		}
		sessions.Go(func() { s.serve(ctx, conn) })
	}
}

// serve runs one connection and closes it.
func (s *Server) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	log := s.o.Log.With(slog.String("client", conn.RemoteAddr().String()))
	select {
	case d := <-s.device:
		defer func() { s.device <- d }()
		s.setConn(conn)
		defer s.setConn(nil)
		err := s.session(ctx, conn, d)
		log.InfoContext(ctx, "client gone", slog.Any("error", err))
	default:
		log.InfoContext(ctx, "second client refused")
		select {
		case s.knock <- struct{}{}:
		default: // already told
		}
		_ = s.write(conn, llrp.Version, llrp.ReaderEventNotification, 0, s.event(llrp.Event{Attempt: new(llrp.ClientInitiated)}))
	}
}

func (s *Server) setConn(c net.Conn) {
	s.mu.Lock()
	s.conn = c
	s.mu.Unlock()
}

// Drop cuts the connection to the client without a word, as a pulled cable or a
// restarted switch does. It does nothing while there is no client.
func (s *Server) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.Close()
	}
}

// Hang makes the reader go quiet with its connections open, or ends that. What
// it would have said meanwhile is lost.
func (s *Server) Hang(on bool) { s.hung.Store(on) }

// Skew puts the reader's own clock ahead of the room's by d, in place of the last
// Skew and on top of that of Options; a negative d puts it behind.
func (s *Server) Skew(d time.Duration) { s.ahead.Store(int64(d)) }

// Plug connects an antenna, or takes its cable off; all are connected at first.
// The client is told if it asked to be.
func (s *Server) Plug(antenna uint16, connected bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loose[antenna] = !connected
	select {
	case s.changed <- struct{}{}:
	default: // the session looks at all of them
	}
}

// unplugged returns which antennas are not connected.
func (s *Server) unplugged() map[uint16]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.loose)
}

// writeTimeout is how long a client may leave us with a full socket buffer.
const writeTimeout = 5 * time.Second

func (s *Server) write(conn net.Conn, version uint8, t llrp.MessageType, id uint32, payload []byte) error {
	if s.hung.Load() {
		return nil
	}
	if err := conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return llrp.WriteMessage(conn, llrp.Message{Version: version, Type: t, ID: id, Payload: payload})
}

func (s *Server) event(e llrp.Event) []byte {
	e.Time, e.Uptime = s.micros(s.o.Now()), s.o.Uptime
	return e.Encode()
}

// micros is t on the reader's own clock.
func (s *Server) micros(t time.Time) uint64 {
	if s.o.Uptime {
		return uint64(max(0, t.Sub(s.start).Microseconds()))
	}
	return uint64(max(0, t.Add(s.o.Skew).Add(time.Duration(s.ahead.Load())).UnixMicro()))
}

// capabilities are what the make decides, and those of a reader of the 920 MHz
// band of China with fixed channels.
func (s *Server) capabilities() llrp.Capabilities {
	c := llrp.Capabilities{Antennas: s.o.Antennas, UTCClock: !s.o.Uptime, Manufacturer: s.o.Manufacturer, Model: s.o.Model, Firmware: s.o.Firmware,
		MaxROSpecs: 1, MaxAccessSpecs: 1}
	for i := range uint16(maxPower) {
		c.Power = append(c.Power, llrp.PowerLevel{Index: i + 1, Centi: 1000 + 100*int16(i)})
	}
	for i := range uint32(16) {
		c.Frequencies = append(c.Frequencies, 920_625+250*i) // kHz
	}
	return c
}

// maxPower is the highest index of the table of powers: 10 to 30 dBm.
const maxPower = 21
