// Package broker is the MQTT 3.1.1 server that devices talk to: nats-server in
// this process, with JetStream keeping what arrived until it is consumed.
//
// A device shows a certificate of its statement key. It may publish to
// tm/v1/<tenant>/<kid>/up and subscribe to tm/v1/<tenant>/<kid>/down with that
// key's id in lower hex, and to nothing else, so that the kid of a Message is that
// of the key which opened the connection. There is no anonymous access, no
// listener without TLS and no NATS listener.
//
// The broker promises little: a message handed to Consume comes again until it
// is acknowledged, also after a restart. It does not promise that a message
// whose PUBACK the device saw is stored, nor any order. A device lets go of a
// statement when it holds the gateway's receipt, and sends it again until then.
package broker

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"trailmark/statement"
)

const (
	// MaxMessage is the largest message a device may publish, in bytes. More
	// closes its connection and counts as Oversize.
	MaxMessage = 256 << 10
	slack      = 4 << 10 // NATS counts its own headers as payload

	streamName   = "UP"
	consumerName = "ingest"

	maxPerDevice = 1024               // messages of one device that may wait
	maxAge       = 7 * 24 * time.Hour // a device has sent it again long before
	sessionBytes = 256 << 20          // room for what MQTT sessions keep on disk
)

var (
	tenantForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	kidForm    = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// Options say where the broker listens and whom it lets in.
type Options struct {
	Dir      string // JetStream's files; made if missing; belongs to one Broker at a time
	MQTTAddr string // host:port to listen on; port 0 takes a free one, see Addr
	Tenant   string // topic level: lower-case letters, digits, hyphens, at most 63

	// TLS must require and verify client certificates.
	TLS *tls.Config
	// Auth says if a key whose certificate was verified is a device's. It is
	// called from many goroutines, before every connection is let in.
	Auth func(kid statement.Hash) bool

	MaxBytes int64         // of messages that wait for Consume; 1 GiB
	AckWait  time.Duration // after which a message not acknowledged comes again; 30 s
	Log      *slog.Logger  // slog.Default()

	// SyncEvery is how often the store is fsynced; 0 means at every write.
	// Less often is about ten times faster, and no statement is lost: after a
	// power cut devices send again what has no receipt.
	SyncEvery time.Duration
}

// Stats count what the broker refused since it was started.
type Stats struct {
	Unauthorized uint64 // connections with a certificate of no device's key
	Forbidden    uint64 // publishes and subscriptions outside a device's own topics
	Oversize     uint64 // messages over MaxMessage
}

// A Broker is a running server. Its methods are safe for concurrent use.
type Broker struct {
	opts   Options
	log    *slog.Logger
	secret string // password of the gateway's own connection, new at every start
	addr   string

	lock     *os.File // flock held from Start to Stop
	srv      *server.Server
	nc       *nats.Conn
	consumer jetstream.Consumer

	unauthorized, forbidden, oversize atomic.Uint64
	fatal                             atomic.Pointer[string] // why the server could not start
}

// Start runs a broker until Stop. What an earlier one on the same directory
// had stored and not seen acknowledged is consumed again. ctx bounds the start
// only.
func Start(ctx context.Context, o Options) (*Broker, error) {
	if !tenantForm.MatchString(o.Tenant) {
		return nil, fmt.Errorf("broker: tenant %q is not 1 to 63 lower-case letters, digits and hyphens", o.Tenant)
	}
	if o.Auth == nil || o.TLS == nil || o.TLS.ClientAuth != tls.RequireAndVerifyClientCert {
		return nil, errors.New("broker: no device authentication; there is no anonymous access")
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 1 << 30
	}
	if o.AckWait <= 0 {
		o.AckWait = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	host, port, err := probe(ctx, o.MQTTAddr)
	if err != nil {
		return nil, err
	}
	b := &Broker{opts: o, log: o.Log, secret: rand.Text()}
	if b.lock, err = lockDir(o.Dir); err != nil {
		return nil, err
	}
	if err := b.start(ctx, host, port); err != nil {
		b.Stop()
		return nil, fmt.Errorf("broker: %w", err)
	}
	b.log.Info("broker open", slog.String("mqtt", b.addr), slog.String("tenant", o.Tenant))
	return b, nil
}

// probe takes the address once and lets go of it: nats-server only logs that a
// port is taken.
func probe(ctx context.Context, addr string) (host string, port int, err error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "", 0, fmt.Errorf("broker: listen %s: %w; hint: stop the other MQTT broker or choose another port", addr, syscall.EADDRINUSE)
	case errors.Is(err, syscall.EACCES):
		return "", 0, fmt.Errorf("broker: listen %s: %w; hint: ports below 1024 need CAP_NET_BIND_SERVICE", addr, syscall.EACCES)
	case err != nil:
		return "", 0, fmt.Errorf("broker: %w; hint: give an address of this machine as host:port", err)
	}
	port = ln.Addr().(*net.TCPAddr).Port
	if err := ln.Close(); err != nil {
		return "", 0, fmt.Errorf("broker: listen %s: %w", addr, err)
	}
	host, asked, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("broker: %w", err)
	}
	if asked == "0" {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// lockDir makes dir and takes it: two servers on one JetStream directory
// destroy it, and neither would notice the other.
func lockDir(dir string) (*os.File, error) {
	const hint = "hint: give the gateway a directory it may write"
	if dir == "" {
		return nil, errors.New("broker: no directory")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("broker: %w; %s", err, hint)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("broker: %w; %s", err, hint)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("broker: %s is in use: %w; hint: another gateway runs on this directory", dir, err)
	}
	return f, nil
}

func (b *Broker) start(ctx context.Context, host string, port int) error {
	opts := &server.Options{
		ServerName:                 "trailmark-" + b.opts.Tenant,
		DontListen:                 true,
		NoSigs:                     true,
		NoLog:                      true,
		MaxPayload:                 MaxMessage + slack,
		CustomClientAuthentication: b,
		JetStream:                  true,
		DisableJetStreamBanner:     true,
		StoreDir:                   b.opts.Dir,
		SyncAlways:                 b.opts.SyncEvery <= 0,
		SyncInterval:               b.opts.SyncEvery,
		JetStreamMaxStore:          b.opts.MaxBytes + sessionBytes,
		JetStreamMaxMemory:         64 << 20,
		// A device behind a slow radio link, with a TPM that takes its time to sign,
		// needs more than the defaults of 2 s for the handshake and from there to
		// CONNECT.
		MQTT: server.MQTTOpts{Host: host, Port: port, TLSConfig: b.opts.TLS, TLSTimeout: 10, AuthTimeout: 10},
	}
	var err error
	if b.srv, err = server.NewServer(opts); err != nil {
		return err
	}
	b.srv.SetLoggerV2(serverLog{b}, false, false, false)
	b.srv.Start() // returns when it listens; failures are only logged
	if why := b.fatal.Load(); why != nil {
		return errors.New(*why)
	}
	b.addr = net.JoinHostPort(opts.MQTT.Host, fmt.Sprint(opts.MQTT.Port))

	b.nc, err = nats.Connect("", nats.InProcessServer(b.srv), nats.UserInfo(gatewayUser, b.secret), nats.Name("gateway"))
	if err != nil {
		return fmt.Errorf("own connection: %w", err)
	}
	js, err := jetstream.New(b.nc)
	if err != nil {
		return err
	}
	// A message is gone once it is acknowledged. When the store is full, or a
	// device has too much in it, the new message is dropped and not the oldest:
	// devices send again either way, but what is kept then is the beginning of
	// each device's chain, which can be worked off, and no device can push
	// out the messages of another.
	_, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:                 streamName,
		Subjects:             []string{b.subject("*", "up")},
		Retention:            jetstream.WorkQueuePolicy,
		Storage:              jetstream.FileStorage,
		Discard:              jetstream.DiscardNew,
		DiscardNewPerSubject: true,
		MaxMsgsPerSubject:    maxPerDevice,
		MaxBytes:             b.opts.MaxBytes,
		MaxAge:               maxAge,
	})
	if err != nil {
		return fmt.Errorf("stream %s: %w", streamName, err)
	}
	b.consumer, err = js.CreateOrUpdateConsumer(ctx, streamName, jetstream.ConsumerConfig{
		Durable:       consumerName,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       b.opts.AckWait,
		MaxAckPending: 4 * maxBatch,
	})
	if err != nil {
		return fmt.Errorf("consumer %s: %w", consumerName, err)
	}
	return nil
}

// subject is the NATS subject of a device's topic: MQTT's slashes are dots.
func (b *Broker) subject(kid, direction string) string {
	return "tm.v1." + b.opts.Tenant + "." + kid + "." + direction
}

// Addr is the host:port on which devices reach the broker.
func (b *Broker) Addr() string { return b.addr }

// Clients is the number of connected devices.
func (b *Broker) Clients() int {
	return max(0, b.srv.NumClients()-1) // one is ours
}

// Stats returns the counters.
func (b *Broker) Stats() Stats {
	return Stats{b.unauthorized.Load(), b.forbidden.Load(), b.oversize.Load()}
}

// Publish sends data to a device's down topic, if it is connected and
// subscribed now. nil means that it was handed to the server, no more: it goes
// out at QoS 0 whatever QoS the device subscribed with, and is not kept for
// later. A lost receipt comes again because the device sends its statement
// again.
func (b *Broker) Publish(ctx context.Context, kid string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !kidForm.MatchString(kid) {
		return fmt.Errorf("broker: publish: kid %q is not 64 lower-case hex digits", kid)
	}
	if len(data) > MaxMessage {
		return fmt.Errorf("broker: publish: %d bytes, want at most %d", len(data), MaxMessage)
	}
	if err := b.nc.Publish(b.subject(kid, "down"), data); err != nil {
		return fmt.Errorf("broker: publish: %w", err)
	}
	return nil
}

// Stop closes every connection and the store. A running Consume returns.
func (b *Broker) Stop() {
	if b.nc != nil {
		_ = b.nc.FlushTimeout(time.Second) // the last acknowledgements; a lost one is a redelivery
		b.nc.Close()
	}
	if b.srv != nil {
		b.srv.Shutdown()
		b.srv.WaitForShutdown()
	}
	b.lock.Close()
}

// serverLog passes nats-server's log on and counts its refusals, which it
// tells nobody else.
type serverLog struct{ b *Broker }

func (s serverLog) Noticef(format string, v ...any) {
	s.b.log.Debug("nats-server", slog.String("says", fmt.Sprintf(format, v...)))
}

func (s serverLog) Warnf(format string, v ...any) {
	s.b.log.Warn("nats-server", slog.String("says", fmt.Sprintf(format, v...)))
}

func (s serverLog) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	switch {
	case strings.Contains(text, server.ErrMaxPayload.Error()):
		s.b.oversize.Add(1)
	case strings.Contains(text, "Publish Violation"), strings.Contains(text, "Subscription Violation"):
		s.b.forbidden.Add(1)
	}
	s.b.log.Warn("nats-server", slog.String("says", text))
}

func (s serverLog) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	s.b.fatal.CompareAndSwap(nil, &text)
	s.b.log.Error("nats-server", slog.String("says", text))
}

func (serverLog) Debugf(string, ...any) {}
func (serverLog) Tracef(string, ...any) {}
