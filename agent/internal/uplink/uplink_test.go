package uplink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"trailmark/internal/device/devicetest"
	"trailmark/internal/est"
)

// broker is the little of MQTT 3.1.1 that one device needs, with a hand on every
// session.
type broker struct {
	t        *testing.T
	ln       net.Listener
	ca       *x509.Certificate
	sessions chan *brokerSession
	granted  byte
}

type brokerSession struct {
	conn net.Conn
	got  chan *packets.PublishPacket
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	cert := devicetest.New(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert,
		Certificates: []tls.Certificate{cert.Server(time.Hour)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	b := &broker{t: t, ln: ln, ca: cert.CA, sessions: make(chan *brokerSession, 8)}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go b.serve(conn)
		}
	}()
	return b
}

func (b *broker) serve(conn net.Conn) {
	defer conn.Close()
	s := &brokerSession{conn, make(chan *packets.PublishPacket, 256)}
	defer close(s.got)
	for {
		p, err := packets.ReadPacket(conn)
		if err != nil {
			return
		}
		switch p := p.(type) {
		case *packets.ConnectPacket:
			if !p.CleanSession || p.UsernameFlag || p.PasswordFlag || p.ClientIdentifier != "kid" {
				b.t.Errorf("connect: %v", p)
			}
			_ = packets.NewControlPacket(packets.Connack).Write(conn)
		case *packets.SubscribePacket:
			if fmt.Sprint(p.Topics, p.Qoss) != "[tm/down] [0]" {
				b.t.Errorf("subscribe: %v", p)
			}
			a := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
			a.MessageID, a.ReturnCodes = p.MessageID, []byte{b.granted}
			_ = a.Write(conn)
			b.sessions <- s
		case *packets.PublishPacket: // and no PUBACK: nothing may wait for one
			s.got <- p
		case *packets.PingreqPacket:
			_ = packets.NewControlPacket(packets.Pingresp).Write(conn)
		}
	}
}

func (s *brokerSession) send(t *testing.T, payload []byte) {
	t.Helper()
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload = "tm/down", payload
	if err := p.Write(s.conn); err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, b *broker) (*Client, context.CancelFunc) {
	t.Helper()
	own := devicetest.New(t).Server(time.Hour) // any certificate: the broker of this test believes it
	c, err := New(Options{Broker: "mqtts://" + b.ln.Addr().String(), Name: "kid", Up: "tm/up", Down: "tm/down",
		TLS: est.ServerTLS(b.ca, "127.0.0.1", func() (*tls.Certificate, error) { return &own, nil }),
		Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { c.Run(ctx); close(ended) }()
	stop := func() { cancel(); <-ended }
	t.Cleanup(stop)
	return c, stop
}

func next[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func TestOrderAndReconnect(t *testing.T) {
	b := newBroker(t)
	c, stop := start(t, b)
	// The connection may be up already; then the message goes out like any other.
	err := c.Publish(t.Context(), []byte("early"))
	if !errors.Is(err, ErrDown) && err != nil {
		t.Errorf("before the connection: %v", err)
	}
	if !next(t, c.Connected()) {
		t.Fatal("the first news is a loss")
	}
	s := next(t, b.sessions)
	if err == nil {
		if p := next(t, s.got); string(p.Payload) != "early" {
			t.Fatalf("the first message is %v", p)
		}
	}
	for i := range 50 {
		if err := c.Publish(t.Context(), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		if p := next(t, s.got); string(p.Payload) != fmt.Sprint(i) || p.Qos != 1 || p.TopicName != "tm/up" || p.Retain {
			t.Fatalf("message %d is %v", i, p)
		}
	}
	for i := range 40 {
		s.send(t, fmt.Append(nil, i))
	}
	for i := range 40 {
		if d := next(t, c.Down()); string(d) != fmt.Sprint(i) {
			t.Fatalf("message %d from the gateway is %q", i, d)
		}
	}
	// The network goes, then the station gives a session up: each time it is told,
	// and a fresh session holds nothing of the old one.
	for i, cut := range []func(){func() { s.conn.Close() }, c.Reset} {
		cut()
		if next(t, c.Connected()) {
			t.Fatal("the loss is not told")
		}
		if err := c.Publish(t.Context(), []byte("lost")); !errors.Is(err, ErrDown) {
			t.Errorf("while down: %v", err)
		}
		if !next(t, c.Connected()) {
			t.Fatal("not connected again")
		}
		s = next(t, b.sessions)
		if err := c.Publish(t.Context(), fmt.Append(nil, "new", i)); err != nil {
			t.Fatal(err)
		}
		if p := next(t, s.got); string(p.Payload) != fmt.Sprint("new", i) {
			t.Fatalf("the first message after a loss is %q", p.Payload)
		}
	}
	// What was queued goes out before the end.
	if err := c.Publish(t.Context(), []byte("bye")); err != nil {
		t.Fatal(err)
	}
	stop()
	if p := next(t, s.got); p == nil || string(p.Payload) != "bye" {
		t.Errorf("the last message is %v", p)
	}
}

func TestSubscriptionRefused(t *testing.T) {
	b := newBroker(t)
	b.granted = 0x80
	c, _ := start(t, b)
	next(t, b.sessions)
	next(t, b.sessions) // it tries again
	select {
	case <-c.Connected():
		t.Error("a session without its topic counts as connected")
	default:
	}
}

// TestWrongBroker: a broker of another gateway is not told anything.
func TestWrongBroker(t *testing.T) {
	b := newBroker(t)
	b.ca = devicetest.New(t).CA
	c, _ := start(t, b)
	select {
	case <-c.Connected():
		t.Error("connected")
	case <-b.sessions:
		t.Error("the broker heard of us")
	case <-time.After(2 * time.Second): // more than one attempt
	}
}

func TestRefuses(t *testing.T) {
	for _, url := range []string{"", "localhost", "http://x:1", "mqtts://", "mqtt://x:1"} {
		if _, err := New(Options{Broker: url, TLS: &tls.Config{}}); err == nil || !strings.Contains(err.Error(), "mqtts://") {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := New(Options{Broker: "mqtts://x:1"}); err == nil || !strings.Contains(err.Error(), "no TLS") {
		t.Errorf("without TLS: %v", err)
	}
	c, err := New(Options{Broker: "mqtts://x:1", TLS: &tls.Config{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Publish(t.Context(), make([]byte, maxMessage+1)); err == nil || errors.Is(err, ErrDown) {
		t.Errorf("oversize: %v", err)
	}
	c.online.Store(true)
	for range queued {
		if err := c.Publish(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Publish(t.Context(), nil); !errors.Is(err, ErrBusy) {
		t.Errorf("over the queue: %v", err)
	}
}
