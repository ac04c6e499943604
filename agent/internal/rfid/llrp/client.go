// Package llrp reads tags through a network reader that speaks LLRP.
//
// It promises that a read it passes on was made in the session it stands for,
// under an inventory this client itself ordered, and that its time is the
// station's: a reader's clock, UTC or uptime, is only believed for how long a tag
// was seen. How far it is off when the session begins goes to the log and nowhere
// else. What a reader kept from before a reconnect is dropped, because nobody
// knows when it was read.
//
// It leaves nothing of its own behind on the reader, and takes nothing of others
// away but what keeps it from the antennas. It speaks LLRP 1.1 with a reader that
// knows it and 1.0.1 with others.
//
// Each tag's TID is read along with its EPC: by an AccessSpec, or, from Impinj's
// readers, by their FastID, which is faster and knows Impinj's chips only. A
// reader that refuses is used without.
package llrp

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
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
	Address  string   // host:port; without a port 5084, with TLS 5085
	Antennas []uint16 // from 1; none means all

	TLS *tls.Config // nil: in the clear; Pinned makes one for a self-signed reader

	Power      float64 // dBm: the reader's next lower level; 0: what it is set to
	Session    uint8   // Gen2 session, 0..3: 0 hears a tag over and over, 2 and 3 about once
	Population uint16  // tags to expect at once; 0: 32
	EPCOnly    bool    // leaves out the TIDs, which cost time on the air

	// Status hears that the reader is there (up, why: what it is) or not (why:
	// what went wrong), on every change and from the goroutine of Run. The end
	// of Run is no loss of the reader and is not told.
	Status func(up bool, why string)

	Log  *slog.Logger
	Dial func(ctx context.Context, network, address string) (net.Conn, error) // under TLS
	Now  func() time.Time                                                     // stamps reads; time-outs run on the system's own clock
}

// A Client is one reader's inventory. It implements rfid.Reader; Run is to be
// called once at a time.
type Client struct {
	o Options // never written after New

	// old says that the reader did not know what it was asked for its version: one
	// of LLRP 1.0.1 may refuse, fall silent or hang up, and would do so in every
	// session. It belongs to the goroutine of Run.
	old bool
}

var _ rfid.Reader = (*Client)(nil)

// New checks o and fills what it leaves open; it does not connect.
func New(o Options) (*Client, error) {
	if o.Address != "" && !strings.Contains(o.Address, ":") {
		port := "5084"
		if o.TLS != nil {
			port = "5085"
		}
		o.Address = net.JoinHostPort(o.Address, port)
	}
	host, port, err := net.SplitHostPort(o.Address)
	if err != nil || host == "" || port == "" {
		return nil, fmt.Errorf("llrp: reader address %q\nhint: write host:port, such as 192.0.2.7:5084", o.Address)
	}
	if len(o.Antennas) > 256 {
		return nil, fmt.Errorf("llrp: %d antennas > 256", len(o.Antennas))
	}
	if !(o.Power >= 0 && o.Power <= 36) || o.Session > 3 {
		return nil, fmt.Errorf("llrp: power of %g dBm or session %d is not within 0..36 and 0..3", o.Power, o.Session)
	}
	if o.TLS != nil && o.TLS.ServerName == "" {
		o.TLS = o.TLS.Clone()
		o.TLS.ServerName = host
	}
	if o.Population == 0 {
		o.Population = 32
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
	return &Client{o: o}, nil
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
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	l := newLink(conn)
	// A reader blocked in Read is woken by a deadline in the past, not by
	// closing: the connection is still needed to say goodbye.
	woken := make(chan struct{})
	wake := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = conn.SetReadDeadline(time.Unix(1, 0))
	})

	s := session{link: l, Client: c, each: each, up: up, id: own | rand.Uint32N(ownIDs)}
	err = s.run(ctx)
	if !wake() {
		<-woken // it must not cut the goodbye short
	}
	if ctx.Err() == nil && errors.Is(err, errSilent) {
		return fmt.Errorf("llrp: nothing heard for %v, two keepalives missed", silence)
	}
	if s.greeted {
		l.goodbye(s.id, s.accessing)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// dial connects and, with TLS, holds the reader to its certificate.
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := c.o.Dial(ctx, "tcp", c.o.Address)
	if err != nil {
		return nil, fmt.Errorf("llrp: %w", err)
	}
	if c.o.TLS == nil {
		return conn, nil
	}
	secure := tls.Client(conn, c.o.TLS)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("llrp: tls: %w", err)
	}
	return secure, nil
}

// Pinned returns a configuration for the reader whose certificate has this
// SHA-256, as 64 hex digits. It trusts no authority and no name: readers sign
// their certificates themselves.
func Pinned(fingerprint string) (*tls.Config, error) {
	want, err := hex.DecodeString(fingerprint)
	if err != nil || len(want) != sha256.Size {
		return nil, fmt.Errorf("llrp: fingerprint %q is not 64 hex digits", fingerprint)
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection does, resumed sessions included
		VerifyConnection: func(s tls.ConnectionState) error {
			if got := sha256.Sum256(s.PeerCertificates[0].Raw); subtle.ConstantTimeCompare(got[:], want) != 1 {
				return fmt.Errorf("reader's certificate is %x, not %x\nhint: was the reader replaced or reset? read its fingerprint on its own page", got, want)
			}
			return nil
		},
	}, nil
}
