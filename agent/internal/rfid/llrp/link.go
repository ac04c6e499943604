package llrp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	wire "trailmark/internal/llrp"
)

// errSilent means that nothing came in time.
var errSilent = errors.New("llrp: reader is silent")

// A link sends and receives messages on one connection. It belongs to the
// goroutine of Run.
type link struct {
	conn    net.Conn
	r       *bufio.Reader
	version uint8  // of LLRP, agreed on
	last    uint32 // request
}

func newLink(conn net.Conn) *link {
	return &link{conn: conn, r: bufio.NewReader(conn), version: wire.Version}
}

// spoken is the version that t is sent in: two messages are of 1.1 whatever was
// agreed on, because they are what agrees on it.
func (l *link) spoken(t wire.MessageType) uint8 {
	if t == wire.GetSupportedVersion || t == wire.SetProtocolVersion {
		return wire.Version11
	}
	return l.version
}

func (l *link) send(t wire.MessageType, id uint32, payload []byte) error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return fmt.Errorf("llrp: %w", err)
	}
	err := wire.WriteMessage(l.conn, wire.Message{Version: l.spoken(t), Type: t, ID: id, Payload: payload})
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
	l.last++
	if err := l.send(t, l.last, payload); err != nil {
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
		if m.ID != l.last || m.Type != t.Response() && m.Type != wire.ErrorMessage {
			if err := other(m); err != nil {
				return nil, err
			}
			continue
		}
		if err := refusal(m); err != nil {
			return nil, fmt.Errorf("%v: %w", t, err)
		}
		return m.Payload, nil
	}
}

// refusal is the error that an answer tells of.
func refusal(m wire.Message) error {
	if m.Type == wire.CustomMessage {
		return wire.DecodeImpinjEnabled(m.Payload)
	}
	status := m.Payload
	if m.Type == wire.GetSupportedVersionResponse && len(status) > 2 {
		status = status[2:]
	}
	s, err := wire.DecodeStatus(status)
	if err == nil {
		err = s.Err()
	}
	if err == nil && m.Type == wire.ErrorMessage {
		err = errors.New("llrp: error message without an error")
	}
	return err
}

// goodbye takes our specs off, which switches the antennas off, and frees the
// reader's only client slot. It is a courtesy: whatever fails, the next session
// finds what is ours by its number.
func (l *link) goodbye(id uint32, accessing bool) {
	_ = l.conn.SetDeadline(time.Now().Add(time.Second))
	farewell := []wire.Message{{Type: wire.DeleteROSpec, Payload: wire.EncodeROSpecID(id)}, {Type: wire.CloseConnection}}
	if accessing {
		farewell = slices.Insert(farewell, 0, wire.Message{Type: wire.DeleteAccessSpec, Payload: wire.EncodeROSpecID(id)})
	}
	// The reader may be in the middle of a report, and hears us only when it has
	// got rid of it. And closing with unread input would reset the connection and
	// could take the requests with it: the reader closes after its answer.
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, l.conn)
	}()
	for i, m := range farewell {
		m.Version, m.ID = l.version, l.last+1+uint32(i)
		if wire.WriteMessage(l.conn, m) != nil {
			break
		}
	}
	<-read
}
