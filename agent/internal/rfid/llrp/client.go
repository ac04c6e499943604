// Package llrp reads tags through a network reader that speaks LLRP.
//
// It promises that a read it passes on was made in the session it stands for,
// under an inventory this client itself ordered, and that its time is the
// station's: a reader's clock is only believed for how long a tag was seen.
// What a reader kept from before a reconnect is dropped, because nobody knows
// when it was read.
package llrp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"trailmark/agent/internal/rfid"
)

const (
	keepalive = 10 * time.Second
	// silence is how long nothing may arrive: two keepalives are missing and
	// the second has had time to be late.
	silence = 2*keepalive + keepalive/2
	// patience is how long the reader may take to accept or to answer.
	patience = 10 * time.Second

	minWait = time.Second
	maxWait = 30 * time.Second
)

// Options say which reader, and how. Only Address is needed.
type Options struct {
	Address  string   // host:port; the standard port is 5084, 5085 with TLS
	Antennas []uint16 // from 1; none means all

	// Status hears that the reader is there (up, why: what it is) or not (why:
	// what went wrong), on every change and from the goroutine of Run. The end
	// of Run is no loss of the reader and is not told.
	Status func(up bool, why string)

	Log  *slog.Logger
	Dial func(ctx context.Context, network, address string) (net.Conn, error) // such as tls.Dialer.DialContext
	Now  func() time.Time                                                     // stamps reads; time-outs run on the system's own clock
}

// A Client is one reader's inventory. It implements rfid.Reader; Run is to be
// called once at a time.
type Client struct {
	o Options // never written after New
}

var _ rfid.Reader = (*Client)(nil)

// New checks o and fills what it leaves open; it does not connect.
func New(o Options) (*Client, error) {
	host, port, err := net.SplitHostPort(o.Address)
	if err != nil || host == "" || port == "" {
		return nil, fmt.Errorf("llrp: reader address %q\nhint: write host:port, such as 192.0.2.7:5084", o.Address)
	}
	if len(o.Antennas) > 256 {
		return nil, fmt.Errorf("llrp: %d antennas > 256", len(o.Antennas))
	}
	if o.Status == nil {
		o.Status = func(bool, string) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Log = o.Log.With(slog.String("reader", o.Address))
	return &Client{o}, nil
}

// Name returns llrp:// and the reader's address.
func (c *Client) Name() string { return "llrp://" + c.o.Address }

// Run keeps a session with the reader until ctx ends, then stops the inventory
// and returns nil. After a failure it waits 1 s to 30 s, longer if failures
// follow each other.
func (c *Client) Run(ctx context.Context, each func(rfid.Read)) error {
	var up, told bool
	tell := func(now bool, why string) {
		if told && now == up {
			return
		}
		up, told = now, true
		c.o.Log.InfoContext(ctx, "reader status", slog.Bool("up", now), slog.String("why", why))
		c.o.Status(now, why)
	}
	wait := 2 * minWait
	for {
		began := time.Now()
		err := c.session(ctx, each, func(what string) { tell(true, what) })
		if ctx.Err() != nil {
			return nil
		}
		if up && time.Since(began) >= maxWait {
			wait = 2 * minWait // it did work: a reader that flaps keeps its longer pauses
		}
		tell(false, err.Error())
		pause, next := backoff(wait)
		c.o.Log.DebugContext(ctx, "reader session ended", slog.Any("error", err), slog.Duration("pause", pause))
		wait = next
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// backoff returns a pause between half of wait and wait, and the next wait. The
// jitter keeps a warehouse of stations from knocking in step.
func backoff(wait time.Duration) (pause, next time.Duration) {
	return wait/2 + rand.N(wait/2+1), min(2*wait, maxWait)
}

// session runs one connection from dialling to its loss. It always returns an
// error, if only ctx's.
func (c *Client) session(ctx context.Context, each func(rfid.Read), up func(what string)) error {
	dctx, cancel := context.WithTimeout(ctx, patience)
	conn, err := c.o.Dial(dctx, "tcp", c.o.Address)
	cancel()
	if err != nil {
		return fmt.Errorf("llrp: %w", err)
	}
	defer conn.Close()
	l := newLink(conn)
	// A reader blocked in Read is woken by a deadline in the past, not by
	// closing: the connection is still needed to say goodbye.
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()

	s := session{link: l, o: &c.o, each: each, up: up, rospec: rand.Uint32()>>1 | 1}
	err = s.run(ctx)
	if ctx.Err() != nil {
		if s.greeted {
			l.goodbye()
		}
		return ctx.Err()
	}
	if errors.Is(err, errSilent) {
		return fmt.Errorf("llrp: nothing heard for %v, two keepalives missed", silence)
	}
	return err
}
