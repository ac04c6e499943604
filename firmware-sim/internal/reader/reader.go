// Package reader is a network RFID reader: it serves LLRP and reports whatever
// tags the simulated room holds.
//
// It behaves like a device, not like a library: it takes one client and refuses
// the next with the event the standard has for that, keeps its ROSpec and its
// settings when a client goes away, answers what it does not know with an
// LLRPStatus, and stamps reads with a clock of its own that may be wrong. It can
// be told to fail. One ROSpec at a time, as with common readers.
package reader

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"trailmark/internal/llrp"
)

// A Tag is one tag in front of one antenna.
type Tag struct {
	Antenna uint16 // from 1
	EPC     []byte // at most 62 bytes
	RSSI    int8   // dBm
}

// A Field says which tags answer now. It is called from one goroutine at a
// time, and only while an inventory runs.
type Field func(now time.Time) []Tag

// Options are the reader's make and manners. The zero value is a reader with
// four antennas, 250 ms a round and a right clock.
type Options struct {
	Antennas     uint16           // 0: 4
	Manufacturer uint32           // IANA private enterprise number; 0 says nobody
	Model        uint32           // the manufacturer's numbering
	Firmware     string           // "": simulated
	Poll         time.Duration    // a round over all antennas; 0: 250 ms
	Now          func() time.Time // the room's clock; nil: time.Now
	Skew         time.Duration    // by how much the reader's own clock is ahead of Now
	Log          *slog.Logger
}

// A Server is one reader. Its methods may be called from any goroutine.
type Server struct {
	field Field
	o     Options // never written after New

	hung atomic.Bool

	// device holds the one deviceState while nobody is connected. Who takes it
	// out is the client; an empty channel refuses the next.
	device chan *deviceState
	knock  chan struct{} // tells the client's session that another was refused

	mu   sync.Mutex // guards conn
	conn net.Conn   // the client's, nil while there is none
}

// New returns a reader in the factory's state.
func New(field Field, o Options) *Server {
	if o.Antennas == 0 {
		o.Antennas = 4
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
	s := &Server{field: field, o: o, device: make(chan *deviceState, 1), knock: make(chan struct{}, 1)}
	s.device <- &deviceState{}
	return s
}

// Serve takes clients from ln until ctx ends, then tells the client, closes
// everything and returns nil. An error means that ln failed.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
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
		_ = s.write(conn, llrp.ReaderEventNotification, 0, s.event(llrp.Event{Attempt: new(llrp.ClientInitiated)}))
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

// writeTimeout is how long a client may leave us with a full socket buffer.
const writeTimeout = 5 * time.Second

func (s *Server) write(conn net.Conn, t llrp.MessageType, id uint32, payload []byte) error {
	if s.hung.Load() {
		return nil
	}
	if err := conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return llrp.WriteMessage(conn, llrp.Message{Version: llrp.Version, Type: t, ID: id, Payload: payload})
}

func (s *Server) event(e llrp.Event) []byte {
	e.Time = s.micros(s.o.Now())
	return e.Encode()
}

// micros is t on the reader's own clock; before 1970 it shows 0.
func (s *Server) micros(t time.Time) uint64 { return uint64(max(0, t.Add(s.o.Skew).UnixMicro())) }
