package broker

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/nats-io/nats.go/jetstream"

	"trailmark/gateway/internal/enrol"
	"trailmark/internal/est"
	"trailmark/statement"
)

const (
	tenant   = "acme"
	patience = 20 * time.Second // before a test gives up on an event
)

var (
	keyA, keyB = newKey(0xa1), newKey(0xb2)
	kidA, kidB = keyA.kid, keyB.kid
)

// testKey is a device's key and its id.
type testKey struct {
	ed25519.PrivateKey
	kid string
}

func newKey(seed byte) testKey {
	priv := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32))
	k, err := statement.NewKey(priv.Public())
	if err != nil {
		panic(err) // a constant
	}
	return testKey{priv, k.ID().String()}
}

// testCA is one for all tests: what is tested is whom the broker lets in by it.
var testCA = sync.OnceValue(func() *enrol.CA { return newCA(time.Now) })

func newCA(now func() time.Time) *enrol.CA {
	dir, err := os.MkdirTemp("", "broker-ca-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ca, err := enrol.MakeCA(dir, enrol.Organisation{Tenant: tenant}, now)
	if err != nil {
		panic(err)
	}
	return ca
}

func serverTLS(ca *enrol.CA) *tls.Config {
	return ca.ServerTLS([]string{"127.0.0.1"}, tls.RequireAndVerifyClientCert)
}

// identify is a device's side of TLS, with a certificate that ca made for its key.
func identify(t testing.TB, ca *enrol.CA, key crypto.Signer) *tls.Config {
	t.Helper()
	cert, err := ca.Device(key.Public(), "urn:dev:x")
	if err != nil {
		t.Fatal(err)
	}
	return est.ServerTLS(testCA().Certificate(), "127.0.0.1", func() (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}, nil
	})
}

func topic(kid, direction string) string { return "tm/v1/" + tenant + "/" + kid + "/" + direction }

func start(t testing.TB, dir string, change ...func(*Options)) *Broker {
	t.Helper()
	o := Options{
		Dir:      dir,
		MQTTAddr: "127.0.0.1:0",
		Tenant:   tenant,
		TLS:      serverTLS(testCA()),
		Auth:     func(kid statement.Hash) bool { return kid.String() != newKey(0).kid },
		Log:      slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&o)
	}
	b, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	return b
}

func quickAgain(o *Options) { o.AckWait = time.Second }

// device connects the way the agent does: paho, in memory, clean session.
func device(t testing.TB, b *Broker, key testKey, change ...func(*mqtt.ClientOptions)) mqtt.Client {
	t.Helper()
	c, err := dial(t, b, key, change...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func dial(t testing.TB, b *Broker, key testKey, change ...func(*mqtt.ClientOptions)) (mqtt.Client, error) {
	t.Helper()
	o := mqtt.NewClientOptions().
		AddBroker("mqtts://" + b.Addr()).
		SetTLSConfig(identify(t, testCA(), key)).
		SetClientID(key.kid).
		SetCleanSession(true).
		SetStore(mqtt.NewMemoryStore()).
		SetOrderMatters(false).
		SetProtocolVersion(4).
		SetAutoReconnect(false).
		SetConnectTimeout(patience)
	for _, f := range change {
		f(o)
	}
	c := mqtt.NewClient(o)
	return c, wait(c.Connect())
}

func wait(tok mqtt.Token) error {
	if !tok.WaitTimeout(patience) {
		return errors.New("timeout")
	}
	return tok.Error()
}

func publish(t testing.TB, c mqtt.Client, kid, data string) {
	t.Helper()
	if err := wait(c.Publish(topic(kid, "up"), 1, false, data)); err != nil {
		t.Fatal(err)
	}
}

// consume runs Consume until stop; every message goes through settle and into
// the channel.
func consume(t testing.TB, b *Broker, settle func(Message) error) (got <-chan Message, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ch, done := make(chan Message, 100_000), make(chan error, 1)
	go func() {
		done <- b.Consume(ctx, func(_ context.Context, batch []Message) {
			for _, m := range batch {
				if err := settle(m); err != nil {
					t.Error(err)
				}
				ch <- m
			}
		})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("consume ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return ch, stop
}

func next(t testing.TB, ch <-chan Message) Message {
	t.Helper()
	select {
	case m := <-ch:
		return m
	case <-time.After(patience):
		t.Fatal("no message")
		panic("unreachable")
	}
}

func TestPublishConsumeAck(t *testing.T) {
	b := start(t, t.TempDir())
	a, c := device(t, b, keyA), device(t, b, keyB)
	got, stop := consume(t, b, Message.Ack)
	if n := b.Clients(); n != 2 {
		t.Errorf("%d clients, want 2", n)
	}
	publish(t, a, kidA, "from a")
	publish(t, c, kidB, "from b")
	want := map[string]string{kidA: "from a", kidB: "from b"}
	for range 2 {
		m := next(t, got)
		if want[m.Kid] != string(m.Data) || m.Redelivered {
			t.Errorf("kid %.4s, data %q, redelivered %v", m.Kid, m.Data, m.Redelivered)
		}
		delete(want, m.Kid)
	}
	stop()
	awaitPending(t, b, 0)
}

// awaitPending waits until n messages are stored and not acknowledged.
func awaitPending(t testing.TB, b *Broker, n uint64) {
	t.Helper()
	js, err := jetstream.New(b.nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), streamName)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; {
		info, err := s.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.State.Msgs == n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d messages are stored, want %d", info.State.Msgs, n)
		}
	}
}

func TestWrongCredentialsAreRefused(t *testing.T) {
	b := start(t, t.TempDir())
	none := est.ServerTLS(testCA().Certificate(), "127.0.0.1", func() (*tls.Certificate, error) { return &tls.Certificate{}, nil })
	later := newCA(func() time.Time { return time.Now().Add(-2 * 365 * 24 * time.Hour) })
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		tls     *tls.Config
		counted uint64 // the handshake refuses the others
	}{
		"no certificate":             {none, 0},
		"another CA":                 {identify(t, newCA(time.Now), keyA), 0},
		"another CA, run out":        {identify(t, later, keyA), 0},
		"a key of nobody":            {identify(t, testCA(), newKey(0)), 1},
		"a key that signs no frames": {identify(t, testCA(), rsaKey), 1},
	} {
		before := b.Stats().Unauthorized
		// A name and a password, be they the gateway's own, open nothing.
		if conn, err := dial(t, b, keyA, func(o *mqtt.ClientOptions) { o.SetTLSConfig(c.tls).SetUsername(gatewayUser).SetPassword(b.secret) }); err == nil {
			conn.Disconnect(0)
			t.Errorf("%s: connected", name)
		}
		if n := b.Stats().Unauthorized - before; n != c.counted {
			t.Errorf("%s: counted %d times, want %d", name, n, c.counted)
		}
	}
	if conn, err := net.Dial("tcp", b.Addr()); err != nil {
		t.Error(err)
	} else { // a CONNECT without TLS
		_, _ = conn.Write([]byte("\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04kidA"))
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if answer, err := io.ReadAll(conn); err == nil && len(answer) > 0 && answer[0] == 0x20 {
			t.Errorf("CONNACK without TLS: %x", answer)
		}
		conn.Close()
	}
}

// TestDisconnect ends one device's connection and no other, and Auth keeps it out.
func TestDisconnect(t *testing.T) {
	var revoked atomic.Bool
	b := start(t, t.TempDir(), func(o *Options) {
		o.Auth = func(kid statement.Hash) bool { return !revoked.Load() || kid.String() != keyA.kid }
	})
	lost := make(chan error, 1)
	device(t, b, keyA, func(o *mqtt.ClientOptions) {
		o.SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
	})
	other := device(t, b, keyB)
	connected := func(want ...string) {
		t.Helper()
		got, err := b.Connected()
		if err != nil || len(got) != len(want) {
			t.Errorf("connected are %v, %v, want %v", got, err, want)
		}
		for kid := range got {
			if !slices.Contains(want, kid.String()) {
				t.Errorf("%s is connected, it says", kid)
			}
		}
	}
	connected(keyA.kid, keyB.kid)
	revoked.Store(true)
	if err := b.Disconnect(keyA.kid); err != nil {
		t.Fatal(err)
	}
	select {
	case <-lost:
	case <-time.After(patience):
		t.Fatal("the connection is still there")
	}
	if _, err := dial(t, b, keyA); !errors.Is(err, packets.ErrorRefusedNotAuthorised) {
		t.Errorf("it came back: %v", err)
	}
	connected(keyB.kid)
	publish(t, other, keyB.kid, "x")
	if err := b.Disconnect(keyA.kid); err != nil {
		t.Errorf("one that is not there: %v", err)
	}
}

// TestExpiredCertificateIsRefused: a certificate is good until it has run out, by
// the gateway's clock.
func TestExpiredCertificateIsRefused(t *testing.T) {
	var ahead atomic.Int64
	ca := newCA(func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	b := start(t, t.TempDir(), func(o *Options) { o.TLS = serverTLS(ca) })
	conf := identify(t, ca, keyA)
	server := est.ServerTLS(ca.Certificate(), "127.0.0.1", nil)
	conf.VerifyConnection = server.VerifyConnection
	connect := func() error {
		c, err := dial(t, b, keyA, func(o *mqtt.ClientOptions) { o.SetTLSConfig(conf) })
		if err == nil {
			c.Disconnect(0)
		}
		return err
	}
	if err := connect(); err != nil {
		t.Fatal(err)
	}
	ahead.Store(int64(366 * 24 * time.Hour))
	if err := connect(); err == nil {
		t.Error("a certificate that ran out was taken")
	}
}

func TestForeignTopicsAreRefused(t *testing.T) {
	b := start(t, t.TempDir())
	got, _ := consume(t, b, Message.Ack)
	a := device(t, b, keyA)

	// MQTT 3.1.1 has no negative PUBACK: a forbidden publish is dropped.
	foreign := []string{topic(kidB, "up"), topic(kidA, "down"), topic(kidB, "down"), "tm/v1/other/" + kidA + "/up", "$JS/API/STREAM/DELETE/UP", "x"}
	for _, to := range foreign {
		if err := wait(a.Publish(to, 1, false, "forged")); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.Stats().Forbidden; n != uint64(len(foreign)) {
		t.Errorf("counted %d forbidden publishes, want %d", n, len(foreign))
	}
	publish(t, a, kidA, "own")
	if m := next(t, got); m.Kid != kidA || string(m.Data) != "own" {
		t.Errorf("kid %.4s, data %q", m.Kid, m.Data)
	}

	for _, filter := range []string{topic(kidB, "down"), topic("+", "down"), "#", "tm/#", "$MQTT/sub/#", "$MQTT/#", topic(kidA, "up")} {
		tok := a.Subscribe(filter, 1, func(_ mqtt.Client, m mqtt.Message) { t.Errorf("%s got %s", filter, m.Topic()) })
		if err := wait(tok); err != nil {
			t.Fatal(err)
		}
		if rc := tok.(*mqtt.SubscribeToken).Result()[filter]; rc != 0x80 {
			t.Errorf("subscribed to %s with QoS %d", filter, rc)
		}
	}
	bob := make(chan string, 1)
	other := device(t, b, keyB)
	if err := wait(other.Subscribe(topic(kidB, "down"), 0, func(_ mqtt.Client, m mqtt.Message) { bob <- string(m.Payload()) })); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(t.Context(), kidB, []byte("for b")); err != nil {
		t.Fatal(err)
	}
	select {
	case s := <-bob:
		if s != "for b" {
			t.Errorf("b got %q", s)
		}
	case <-time.After(patience):
		t.Error("b got nothing")
	}
}

func TestDownReachesTheDevice(t *testing.T) {
	b := start(t, t.TempDir())
	for _, qos := range []byte{0, 1} {
		t.Run(fmt.Sprintf("qos %d", qos), func(t *testing.T) {
			got := make(chan mqtt.Message, 300)
			c := device(t, b, keyA)
			tok := c.Subscribe(topic(kidA, "down"), qos, func(_ mqtt.Client, m mqtt.Message) { got <- m })
			if err := wait(tok); err != nil {
				t.Fatal(err)
			}
			if rc := tok.(*mqtt.SubscribeToken).Result()[topic(kidA, "down")]; rc != qos {
				t.Fatalf("subscribed with QoS %d, want %d", rc, qos)
			}
			big := bytes.Repeat([]byte("r"), 100_000)
			for i := range 200 {
				data := fmt.Appendf(nil, "receipt %d", i)
				if i == 100 {
					data = big
				}
				if err := b.Publish(t.Context(), kidA, data); err != nil {
					t.Fatal(err)
				}
			}
			seen := map[string]bool{}
			for range 200 {
				select {
				case m := <-got:
					if m.Qos() != 0 || m.Topic() != topic(kidA, "down") {
						t.Errorf("qos %d on %s", m.Qos(), m.Topic())
					}
					seen[string(m.Payload())] = true
				case <-time.After(patience):
					t.Fatalf("%d of 200 came", len(seen))
				}
			}
			if len(seen) != 200 || !seen[string(big)] {
				t.Errorf("%d different messages, want 200", len(seen))
			}
		})
	}
	// A subscription at QoS 1 costs a consumer, of which there are at most 1,000.
	awaitConsumers(t, b, 0)
	watcher := device(t, b, keyB)
	for qos, consumers := range []int{0, 1} {
		if err := wait(watcher.Subscribe(topic(kidB, "down"), byte(qos), nil)); err != nil {
			t.Fatal(err)
		}
		awaitConsumers(t, b, consumers)
	}
	watcher.Disconnect(0)
	// Nobody there: no error, and nothing is kept.
	if err := b.Publish(t.Context(), kidB, []byte("x")); err != nil {
		t.Error(err)
	}
	for _, kid := range []string{"", "*", kidA[1:], kidA + ".x", strings.ToUpper(kidA)} {
		if err := b.Publish(t.Context(), kid, []byte("x")); err == nil {
			t.Errorf("published to kid %q", kid)
		}
	}
	if err := b.Publish(t.Context(), kidA, make([]byte, MaxMessage+1)); err == nil {
		t.Error("published too much")
	}
}

// awaitConsumers waits until MQTT subscriptions take n consumers.
func awaitConsumers(t testing.TB, b *Broker, n int) {
	t.Helper()
	js, err := jetstream.New(b.nc)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		s, err := js.Stream(t.Context(), "$MQTT_msgs")
		if err != nil {
			t.Fatal(err)
		}
		if have := s.CachedInfo().State.Consumers; have == n {
			return
		} else if time.Now().After(end) {
			t.Fatalf("%d consumers, want %d", have, n)
		}
	}
}

func TestUnacknowledgedComesAgain(t *testing.T) {
	b := start(t, t.TempDir(), quickAgain)
	c := device(t, b, keyA)
	var first atomic.Bool
	got, _ := consume(t, b, func(m Message) error {
		switch string(m.Data) {
		case "refused":
			if first.CompareAndSwap(false, true) {
				return m.Nak()
			}
		case "forgotten":
			if !m.Redelivered {
				return nil
			}
		}
		return m.Ack()
	})
	for _, data := range []string{"refused", "forgotten"} {
		publish(t, c, kidA, data)
		for i := range 2 {
			m := next(t, got)
			for string(m.Data) != data { // an acknowledgement took over a second
				m = next(t, got)
			}
			if m.Redelivered != (i == 1) {
				t.Errorf("%s, time %d: redelivered %v", data, i, m.Redelivered)
			}
		}
	}
}

func TestRestartKeepsWhatWasNotAcknowledged(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir, quickAgain)
	c := device(t, b, keyA)
	got, stop := consume(t, b, func(m Message) error {
		if strings.HasPrefix(string(m.Data), "stored") {
			return m.Ack()
		}
		return nil
	})
	for i := range 20 {
		publish(t, c, kidA, fmt.Sprintf("stored %d", i))
		publish(t, c, kidA, fmt.Sprintf("lost %d", i))
	}
	for n := 0; n < 40; {
		if !next(t, got).Redelivered {
			n++
		}
	}
	stop()
	// These reach the broker while nobody consumes.
	for i := range 5 {
		publish(t, c, kidA, fmt.Sprintf("late %d", i))
	}
	awaitPending(t, b, 25) // Ack does not wait for the broker
	c.Disconnect(0)
	b.Stop()

	b = start(t, dir, quickAgain)
	got, _ = consume(t, b, Message.Ack)
	want := map[string]bool{}
	for i := range 20 {
		want[fmt.Sprintf("lost %d", i)] = true
		want[fmt.Sprintf("late %d", i%5)] = true
	}
	for len(want) > 0 {
		m := next(t, got)
		if strings.HasPrefix(string(m.Data), "stored") {
			t.Errorf("%q was acknowledged and came again", m.Data)
		}
		if strings.HasPrefix(string(m.Data), "lost") && !m.Redelivered {
			t.Errorf("%q is not marked as redelivered", m.Data)
		}
		delete(want, string(m.Data))
	}
}

func TestOversizePublish(t *testing.T) {
	b := start(t, t.TempDir())
	got, _ := consume(t, b, Message.Ack)
	lost := make(chan error, 1)
	c := device(t, b, keyA, func(o *mqtt.ClientOptions) {
		o.SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
	})
	limit := strings.Repeat("x", MaxMessage)
	publish(t, c, kidA, limit)
	if m := next(t, got); len(m.Data) != MaxMessage {
		t.Errorf("%d bytes, want %d", len(m.Data), MaxMessage)
	}
	c.Publish(topic(kidA, "up"), 1, false, strings.Repeat("x", MaxMessage+slack))
	select {
	case <-lost:
	case <-time.After(patience):
		t.Fatal("connection survived an oversize publish")
	}
	if n := b.Stats().Oversize; n != 1 {
		t.Errorf("counted %d, want 1", n)
	}
	publish(t, device(t, b, keyA), kidA, "after")
	if m := next(t, got); string(m.Data) != "after" {
		t.Errorf("got %d bytes", len(m.Data))
	}
}

func TestOneDeviceCannotFillTheStore(t *testing.T) {
	b := start(t, t.TempDir())
	a, c := device(t, b, keyA), device(t, b, keyB)
	toks := make([]mqtt.Token, maxPerDevice+50)
	for i := range toks {
		toks[i] = a.Publish(topic(kidA, "up"), 1, false, fmt.Sprint(i))
	}
	for _, tok := range toks {
		if err := wait(tok); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, c, kidB, "the other device")
	got, _ := consume(t, b, Message.Ack)
	n := 0
	for {
		m := next(t, got)
		if m.Kid == kidB {
			break
		}
		if string(m.Data) != fmt.Sprint(n) {
			t.Fatalf("message %d is %q: the beginning was not kept", n, m.Data)
		}
		n++
	}
	// The broker counts what it has stored: a few that were on their way pass.
	if n < maxPerDevice || n > maxPerDevice+16 {
		t.Errorf("%d messages of one device, want %d", n, maxPerDevice)
	}
}

func FuzzKid(f *testing.F) {
	b := &Broker{opts: Options{Tenant: tenant}}
	f.Add(b.subject(kidA, "up"))
	f.Add(b.subject(kidA+"."+kidA, "up"))
	f.Add("tm.v1.acme..up")
	f.Fuzz(func(t *testing.T, subject string) {
		if kid, err := b.kid(subject); err == nil && (!kidForm.MatchString(kid) || subject != b.subject(kid, "up")) {
			t.Errorf("kid %q from %q", kid, subject)
		}
	})
}

func TestStartErrors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	blocked := t.TempDir()
	if err := os.WriteFile(filepath.Join(blocked, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	used := t.TempDir()
	start(t, used)

	good := Options{Dir: t.TempDir(), MQTTAddr: "127.0.0.1:0", Tenant: tenant, TLS: serverTLS(testCA()), Auth: func(statement.Hash) bool { return true }, Log: slog.New(slog.DiscardHandler)}
	for _, tt := range []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"port in use", func(o *Options) { o.MQTTAddr = ln.Addr().String() }, "listen " + ln.Addr().String() + ": address already in use; hint: "},
		{"not our address", func(o *Options) { o.MQTTAddr = "192.0.2.1:1883" }, "hint: give an address of this machine"},
		{"no address", func(o *Options) { o.MQTTAddr = "1883" }, "hint: give an address"},
		{"directory is a file", func(o *Options) { o.Dir = filepath.Join(file, "nats") }, "hint: give the gateway a directory it may write"},
		{"store is a file", func(o *Options) { o.Dir = blocked }, "storage directory is not a directory"},
		{"directory in use", func(o *Options) { o.Dir = used }, "another gateway"},
		{"no directory", func(o *Options) { o.Dir = "" }, "no directory"},
		{"no authentication", func(o *Options) { o.Auth = nil }, "no anonymous access"},
		{"no TLS", func(o *Options) { o.TLS = nil }, "no anonymous access"},
		{"no certificates asked for", func(o *Options) { o.TLS = testCA().ServerTLS(nil, tls.RequestClientCert) }, "no anonymous access"},
		{"tenant with a wildcard", func(o *Options) { o.Tenant = "*" }, `tenant "*"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := good
			tt.change(&o)
			b, err := Start(t.Context(), o)
			if err == nil {
				b.Stop()
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want %q", err, tt.want)
			}
			if tt.name == "port in use" && !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("%v is not EADDRINUSE", err)
			}
		})
	}
}

// BenchmarkPublishConsume is the way of a 1 kB statement from paho through the
// synced store to a consumer. As with receipts, each of 8 devices has 128
// messages under way and sends the next when one has been consumed.
func BenchmarkPublishConsume(b *testing.B) {
	for _, every := range []time.Duration{0, time.Second} {
		b.Run(fmt.Sprintf("sync=%s", every), func(b *testing.B) { publishConsume(b, every) })
	}
}

func publishConsume(b *testing.B, every time.Duration) {
	br := start(b, b.TempDir(), func(o *Options) { o.AckWait, o.SyncEvery = time.Minute, every })
	const devices, window = 8, 128
	payload := strings.Repeat("x", 1000)
	clients, slots := map[string]mqtt.Client{}, map[string]chan struct{}{}
	for i := range devices {
		key := newKey(byte(i + 1))
		clients[key.kid], slots[key.kid] = device(b, br, key), make(chan struct{}, window)
	}
	got, _ := consume(b, br, Message.Ack)
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	for kid, c := range clients {
		go func() {
			for left.Add(-1) >= 0 {
				slots[kid] <- struct{}{}
				c.Publish(topic(kid, "up"), 1, false, payload)
			}
		}()
	}
	for range b.N {
		<-slots[next(b, got).Kid]
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
