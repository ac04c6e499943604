// Package uplink is a lossy pipe between one device and its gateway, over MQTT
// 3.1.1. It is the only place of the agent that imports paho.
//
// It promises order and honesty about a lost connection, nothing else: it keeps
// no message over a reconnect and takes no PUBACK for an answer. What has to
// arrive is sent again by whoever waits for a receipt. Every connection is a
// fresh client on a clean session, so nothing of an old one comes back later.
package uplink

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// Errors of Publish.
var (
	ErrDown = errors.New("not connected")
	ErrBusy = errors.New("messages are queued faster than the network takes them")
)

const (
	maxMessage = 256 << 10 // bytes, either way
	queued     = 64        // messages, either way
	minWait    = time.Second
	maxWait    = 30 * time.Second
	patience   = 10 * time.Second // for the broker's answers
	writeWait  = 30 * time.Second
	goodbye    = 250 // ms that a parting message gets
)

// Options say where the broker is and who we are there.
type Options struct {
	Broker   string      // mqtts://host:port
	TLS      *tls.Config // how the broker is verified, and the certificate that says who we are
	Name     string      // of the client: a second device with our key ends our session, visibly
	Up, Down string      // topics
	Log      *slog.Logger
}

// A Client is one device's uplink. Run is called once; the rest is safe for
// concurrent use.
type Client struct {
	o         Options
	queue     chan []byte
	down      chan []byte
	connected chan bool
	reset     chan struct{}
	online    atomic.Bool // written by Run's goroutine
	dropped   atomic.Uint64
}

// New checks o; it does not connect.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.Broker)
	if err != nil || u.Host == "" || u.Scheme != "mqtts" {
		return nil, fmt.Errorf("uplink: broker %q is no mqtts:// address", o.Broker)
	}
	if o.TLS == nil {
		return nil, errors.New("uplink: no TLS: nothing would say who the broker is, and who we are")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Client{o: o, queue: make(chan []byte, queued), down: make(chan []byte, queued),
		connected: make(chan bool), reset: make(chan struct{}, 1)}, nil
}

// Publish queues data and does not wait for the network; the caller must not
// change it. ErrDown and ErrBusy say that it was not queued. A queued message is
// lost when the connection is.
func (c *Client) Publish(ctx context.Context, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(data) > maxMessage {
		return fmt.Errorf("message of %d bytes is over the limit of %d", len(data), maxMessage)
	}
	if !c.online.Load() {
		return ErrDown
	}
	select {
	case c.queue <- data:
		return nil
	default:
		return ErrBusy
	}
}

// Down gives the gateway's messages in the order they came. Those that nobody
// takes in time are dropped: the gateway repeats what matters.
func (c *Client) Down() <-chan []byte { return c.down }

// Connected tells when we can publish (true) and when no longer (false). It must
// be received from.
func (c *Client) Connected() <-chan bool { return c.connected }

// Reset gives the present connection up and makes a new one.
func (c *Client) Reset() {
	select {
	case c.reset <- struct{}{}:
	default: // one is asked for already
	}
}

// Run keeps the device connected until ctx ends. After a failure it waits 1 to
// 30 s, longer if failures follow each other, with jitter: a site full of devices
// does not come back in step after a power cut.
func (c *Client) Run(ctx context.Context) {
	wait := minWait
	for ctx.Err() == nil {
		began := time.Now()
		err := c.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) >= maxWait {
			wait = minWait // it did work
		}
		pause := wait/2 + rand.N(wait/2+1)
		c.o.Log.Warn("uplink down", slog.Any("err", err), slog.Duration("pause", pause), slog.Uint64("dropped", c.dropped.Load()))
		wait = min(2*wait, maxWait)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// session is one connection from dialling to its loss. Its error is not nil.
func (c *Client) session(ctx context.Context) error {
	lost := make(chan error, 1)
	o := mqtt.NewClientOptions().AddBroker(c.o.Broker).SetTLSConfig(c.o.TLS.Clone()).SetClientID(c.o.Name).
		SetCleanSession(true).SetStore(mqtt.NewMemoryStore()).SetAutoReconnect(false).SetConnectRetry(false).
		SetConnectTimeout(patience).SetWriteTimeout(writeWait).SetKeepAlive(30 * time.Second).SetPingTimeout(patience).
		// In order, because a receipt for an older checkpoint proves nothing after a
		// newer one. That is safe here: deliver never blocks.
		SetOrderMatters(true).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
	client := mqtt.NewClient(o)
	defer client.Disconnect(goodbye)
	if err := c.await(ctx, client.Connect()); err != nil {
		return fmt.Errorf("connect to %s: %w", c.o.Broker, err)
	}
	// At QoS 0: what is lost comes again when its frame is sent again, and a broker
	// keeps a queue for every subscription at QoS 1.
	sub := client.Subscribe(c.o.Down, 0, c.deliver)
	if err := c.await(ctx, sub); err != nil {
		return fmt.Errorf("subscribe to %s: %w", c.o.Down, err)
	}
	if got := sub.(*mqtt.SubscribeToken).Result()[c.o.Down]; got > 2 {
		return fmt.Errorf("subscribe to %s: broker refuses (0x%02x)", c.o.Down, got)
	}
	c.drain()
	c.online.Store(true)
	defer c.offline(ctx)
	if !c.tell(ctx, true) {
		return ctx.Err()
	}
	for {
		select {
		case data := <-c.queue:
			// Sent in this order. The token is not waited for: a PUBACK proves
			// nothing, and the connection tells by itself when it breaks.
			client.Publish(c.o.Up, 1, false, data)
		case err := <-lost:
			return err
		case <-c.reset:
			return errors.New("given up by the station")
		case <-ctx.Done():
			c.flush(client)
			return ctx.Err()
		}
	}
}

// flush sends what was queued when the device stops.
func (c *Client) flush(client mqtt.Client) {
	for {
		select {
		case data := <-c.queue:
			client.Publish(c.o.Up, 1, false, data)
		default:
			return
		}
	}
}

// drain forgets what an older connection left.
func (c *Client) drain() {
	for {
		select {
		case <-c.queue:
		case <-c.reset:
		default:
			return
		}
	}
}

func (c *Client) offline(ctx context.Context) {
	c.online.Store(false)
	c.tell(ctx, false)
}

func (c *Client) tell(ctx context.Context, up bool) bool {
	select {
	case c.connected <- up:
		return true
	case <-ctx.Done():
		return false
	}
}

// deliver runs in paho's own goroutine, so it neither waits nor works.
func (c *Client) deliver(_ mqtt.Client, m mqtt.Message) {
	if len(m.Payload()) > maxMessage {
		c.dropped.Add(1)
		return
	}
	select {
	case c.down <- bytes.Clone(m.Payload()):
	default:
		c.dropped.Add(1)
	}
}

func (c *Client) await(ctx context.Context, t mqtt.Token) error {
	timeout := time.NewTimer(patience + time.Second)
	defer timeout.Stop()
	select {
	case <-t.Done():
		return t.Error()
	case <-timeout.C:
		return errors.New("no answer")
	case <-ctx.Done():
		return ctx.Err()
	}
}
