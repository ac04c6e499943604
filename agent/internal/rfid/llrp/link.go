package llrp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	wire "trailmark/internal/llrp"
)

// errSilent means that nothing came in time.
var errSilent = errors.New("llrp: reader is silent")

// A link sends and receives messages on one connection. It belongs to the
// goroutine of Run.
type link struct {
	conn net.Conn
	r    *bufio.Reader
	id   uint32 // of the last request
}

func newLink(conn net.Conn) *link { return &link{conn: conn, r: bufio.NewReader(conn)} }

func (l *link) send(t wire.MessageType, id uint32, payload []byte) error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return fmt.Errorf("llrp: %w", err)
	}
	err := wire.WriteMessage(l.conn, wire.Message{Version: wire.Version, Type: t, ID: id, Payload: payload})
	if err != nil {
		return fmt.Errorf("llrp: send %v: %w", t, err)
	}
	return nil
}

// receive returns the next message, errSilent after wait, or ctx's error.
func (l *link) receive(ctx context.Context, wait time.Duration) (wire.Message, error) {
	// The order matters: when ctx ends after the check, its AfterFunc comes
	// after this deadline and overrides it.
	if err := l.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return wire.Message{}, fmt.Errorf("llrp: %w", err)
	}
	if ctx.Err() != nil {
		return wire.Message{}, ctx.Err()
	}
	m, err := wire.ReadMessage(l.r, wire.MaxMessage)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return wire.Message{}, errSilent
	case errors.Is(err, io.EOF):
		return wire.Message{}, errors.New("llrp: reader closed the connection")
	case err != nil:
		return wire.Message{}, fmt.Errorf("llrp: receive: %w", err)
	}
	return m, nil
}

// ask sends a request and returns the payload of its successful response.
// Whatever else arrives meanwhile goes to other.
func (l *link) ask(ctx context.Context, t wire.MessageType, payload []byte, other func(wire.Message) error) ([]byte, error) {
	l.id++
	if err := l.send(t, l.id, payload); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(patience)
	for {
		m, err := l.receive(ctx, time.Until(deadline))
		if errors.Is(err, errSilent) {
			return nil, fmt.Errorf("llrp: no answer to %v in %v", t, patience)
		}
		if err != nil {
			return nil, err
		}
		if m.ID != l.id || m.Type != t.Response() && m.Type != wire.ErrorMessage {
			if err := other(m); err != nil {
				return nil, err
			}
			continue
		}
		s, err := wire.DecodeStatus(m.Payload)
		if err == nil {
			err = s.Err()
		}
		if err == nil && m.Type == wire.ErrorMessage {
			err = errors.New("llrp: error message without an error")
		}
		if err != nil {
			return nil, fmt.Errorf("%v: %w", t, err)
		}
		return m.Payload, nil
	}
}

// goodbye switches the antennas off and frees the reader's only client slot.
// It is a courtesy: whatever fails, the next session deletes our ROSpec anyway.
func (l *link) goodbye() {
	_ = l.conn.SetDeadline(time.Now().Add(time.Second))
	for _, m := range []wire.Message{
		{Version: wire.Version, Type: wire.DeleteROSpec, ID: l.id + 1, Payload: wire.EncodeROSpecID(0)},
		{Version: wire.Version, Type: wire.CloseConnection, ID: l.id + 2},
	} {
		if wire.WriteMessage(l.conn, m) != nil {
			return
		}
	}
	// Closing with unread input would reset the connection and could take the
	// two requests with it. The reader closes after its answer.
	_, _ = io.Copy(io.Discard, l.conn)
}
