// Package app wires the gateway: broker, ingest, store, ledger, chain and pages.
package app

import (
	"context"
	"crypto"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"trailmark/gateway/internal/alarm"
	"trailmark/gateway/internal/anchoring"
	"trailmark/gateway/internal/broker"
	"trailmark/gateway/internal/diversion"
	"trailmark/gateway/internal/enrol"
	"trailmark/gateway/internal/epcis"
	"trailmark/gateway/internal/ingest"
	"trailmark/gateway/internal/journey"
	"trailmark/gateway/internal/ledger"
	"trailmark/gateway/internal/product"
	"trailmark/gateway/internal/sequence"
	"trailmark/gateway/internal/shard"
	"trailmark/gateway/internal/store"
	"trailmark/gateway/internal/witness"
	"trailmark/internal/chain/comet"
	"trailmark/internal/dcbor"
	"trailmark/passport"
	"trailmark/statement"
)

// Config is what `gateway run` needs.
type Config struct {
	Dir             string
	HTTP            string // address:port of pages and passports
	EST             string // address:port where devices enrol, over TLS
	MQTT            string // address:port of the broker, over TLS
	Base            string // public URL in QR codes, "": http://<HTTP>
	ESTURL          string // in claims, "": https://<EST>
	BrokerURL       string // told to devices, "": mqtts://<MQTT>
	AnchorEvery     time.Duration
	CheckpointEvery time.Duration
	Chains          ChainsConfig
	Witnesses       int              // devices that are asked to cosign a checkpoint before it is anchored
	Chain           string           // comet://host:port of a consortium's member; "" for the embedded validator
	ChainTrust      string           // trust file that pins its validators, the first time
	Now             func() time.Time // by which half-years end; nil: time.Now
	Metrics         string           // loopback address:port of the figures for Prometheus, "": none
	OTLP            string           // URL of an OpenTelemetry collector, "": none
	AuditOpen       bool             // give every reading of an item's journey to whoever can reach the pages, also where others than users of this machine can

	Travel time.Duration // the least that goods need between two sites
	Shops  []string      // zones that shoppers come to
	Scans  int64         // of one day, from which on an item where no shopper comes to is told
}

// Default works bare, on loopback.
func Default() Config {
	return Config{Dir: "data", HTTP: "127.0.0.1:8080", EST: "127.0.0.1:8443", MQTT: "127.0.0.1:8883", AnchorEvery: time.Minute, CheckpointEvery: time.Second, Witnesses: 8,
		Chains: ChainsConfig{Every: 10 * time.Minute}, Travel: 10 * time.Minute, Scans: 3}
}

// private reports whether only users of this machine can reach the pages: they are
// on loopback, and no public address says that a proxy stands before them.
func (c Config) private(listening net.Addr) bool {
	a, ok := listening.(*net.TCPAddr)
	return ok && a.IP.IsLoopback() && c.Base == ""
}

// Ready is told when the gateway takes messages and requests.
type Ready struct {
	URL    string
	Broker string
	EST    string
	// Metrics is where figures are served, "": nowhere.
	Metrics string
}

// gateway is everything that runs; each part is safe for concurrent use or owned
// by one goroutine of Run.
type gateway struct {
	conf      Config
	org       enrol.Organisation
	log       *slog.Logger
	keys      *enrol.Keys
	ca        *enrol.CA
	logKey    statement.Key
	trust     *passport.Trust
	store     *store.Store
	shelf     *shard.Shelf
	signer    crypto.Signer // the log key
	node      *comet.Node   // embedded; nil with a consortium
	remote    *comet.Remote // of a consortium; nil with an embedded validator
	blocks    chainReader   // either
	chain     anchoring.Chain
	runner    atomic.Pointer[anchoring.Runner] // of the ledger that is being anchored
	others    []*otherChain                    // set before Run starts anything
	broker    *broker.Broker
	ingest    *ingest.Ingest
	seq       *sequence.Sequencer
	office    *enrol.Office
	journey   *journey.Composer
	products  *product.Catalogue
	witnesses *witness.Collector
	alarms    alarmBook
	private   bool // only users of this machine can reach the pages
	watch     *diversion.Watch
	events    *epcis.Repository
	started   time.Time

	listening net.Listener // of the pages
	observer  observer

	// unscrubbed is set while the store's log may hold what was erased.
	unscrubbed atomic.Bool

	mu       sync.Mutex
	reminded map[statement.Hash]time.Time // when a device was last due the plan or asked to resend; guarded by mu
}

// Run runs a gateway until ctx ends. ready is called once.
func Run(ctx context.Context, conf Config, log *slog.Logger, ready func(Ready)) error {
	org, err := loadOrganisation(conf.Dir)
	if err != nil {
		return err
	}
	if conf.Now == nil {
		conf.Now = time.Now
	}
	g := &gateway{conf: conf, org: org, log: log, started: time.Now(), reminded: map[statement.Hash]time.Time{}}
	g.unscrubbed.Store(true) // an earlier run may have ended before it did
	// The ports first: they are what is wrong most often, and cost nothing to find out.
	ln, err := net.Listen("tcp", conf.HTTP)
	if err != nil {
		return fmt.Errorf("%w\nhint: choose another with --http", err)
	}
	defer ln.Close()
	g.private = conf.private(ln.Addr())
	g.conf.AuditOpen = g.private || conf.AuditOpen
	if g.conf.Base == "" {
		g.conf.Base = "http://" + ln.Addr().String()
	}
	devices, err := net.Listen("tcp", conf.EST)
	if err != nil {
		return fmt.Errorf("%w\nhint: choose another with --est", err)
	}
	defer devices.Close()
	if g.conf.ESTURL, err = reachable("https", conf.ESTURL, devices.Addr().String(), "--est-url"); err != nil {
		return err
	}
	g.listening = ln
	if err := g.observe(ctx); err != nil {
		return err
	}
	if figures := g.observer.listening; figures != nil {
		defer figures.Close()
	}
	defer g.close()
	if err := g.open(ctx); err != nil {
		return err
	}
	handler, err := g.handler()
	if err != nil {
		return err
	}
	hosts, err := g.hosts()
	if err != nil {
		return err
	}
	if err := writeESTURL(conf.Dir, g.conf.ESTURL); err != nil {
		return err
	}
	pages, enrolment := g.server(g.observed(eventsFirst(g.events.Handler(), handler))), g.server(enrol.Handler(g.office, g.ca, log))
	enrolment.TLSConfig = g.ca.ServerTLS(hosts, tls.RequestClientCert)
	figuresAt := ""
	if ln := g.observer.listening; ln != nil {
		figuresAt = "http://" + ln.Addr().String() + "/metrics"
	}
	ready(Ready{Metrics: figuresAt, URL: "http://" + ln.Addr().String(), Broker: "mqtts://" + g.broker.Addr(), EST: "https://" + devices.Addr().String()})

	// Producers end with ctx; the server after them, so that a last request is
	// answered.
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return g.consume(ctx) })
	work.Go(func() error { return g.seq.Run(ctx) })
	work.Go(func() error { return g.anchor(ctx) })
	work.Go(func() error { return g.shelf.Refused(ctx) })
	g.runChains(ctx, work)
	work.Go(func() error { return g.office.Run(ctx) })
	work.Go(func() error { return g.inbox(ctx) })
	work.Go(func() error { return g.watch.Run(ctx) })
	work.Go(func() error { return g.keyStatus(ctx) })
	work.Go(func() error { return g.alarms.engine.Run(ctx) })
	work.Go(func() error { return sender(g).Run(ctx) })
	work.Go(func() error {
		var halted <-chan struct{} // never, of a chain that is elsewhere
		if g.node != nil {
			halted = g.node.Halted()
		}
		select {
		case <-halted:
			if ctx.Err() == nil {
				return errors.New("the chain's validator stopped; see the log above")
			}
		case <-ctx.Done():
		}
		return nil
	})
	served := make(chan error, 3)
	figures := g.server(g.observer.metrics.Handler())
	if ln := g.observer.listening; ln != nil {
		go func() { served <- figures.Serve(ln) }()
	}
	go func() { served <- pages.Serve(ln) }()
	go func() { served <- enrolment.ServeTLS(devices, "", "") }()
	work.Go(func() error {
		select {
		case err := <-served:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	err = work.Wait()
	stop, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err = errors.Join(err, pages.Shutdown(stop), enrolment.Shutdown(stop), figures.Shutdown(stop))
	if lost := g.observer.flush(stop); lost != nil {
		log.Warn("the last traces were not sent", "err", lost)
	}
	return err
}

func (g *gateway) server(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second,
		WriteTimeout: 60 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug)}
}

// open brings up every part, the chain before the ledger: what is anchored
// decides whether the ledger may sign.
func (g *gateway) open(ctx context.Context) (err error) {
	own := filepath.Join(g.conf.Dir, ownDir)
	if g.keys, err = enrol.LoadKeys(g.conf.Dir, g.org, time.Now); err != nil {
		return err
	}
	if g.ca, err = enrol.LoadCA(g.conf.Dir, time.Now); err != nil {
		return err
	}
	key, err := ledger.LoadKeyFile(filepath.Join(own, "log.key"))
	if err != nil {
		return err
	}
	if g.logKey, err = statement.NewKey(key.PublicKey()); err != nil {
		return err
	}
	g.signer = key.CryptoSigner()
	receipts, err := statement.NewSigner(key.CryptoSigner())
	if err != nil {
		return err
	}
	if g.store, err = store.Open(ctx, own); err != nil {
		return err
	}
	g.witnesses = witness.New(witness.Options{Store: g.store, Fleet: fleet{g}, LogKey: g.logKey, Most: g.conf.Witnesses, Log: g.log})
	if err := g.startChain(ctx, own); err != nil {
		return err
	}
	authorities, err := g.org.Authorities()
	if err != nil {
		return fmt.Errorf("%s: %w", organisationFile, err)
	}
	books, err := shard.Adopt(ctx, g.store, own, g.org.Origin)
	if err != nil {
		return err
	}
	// It pins ten years ahead: a ledger that begins while the gateway runs is in it.
	g.trust = g.org.Trust(authorities, g.logKey, books[len(books)-1].Origin, g.voters()...)
	if err := writeTrust(g.conf.Dir, g.trust); err != nil {
		return err
	}
	if err := g.recover(ctx, own, authorities); err != nil {
		return err
	}
	if g.shelf, err = shard.New(ctx, g.shelfOptions(own)); err != nil {
		return err
	}
	if err := g.guardAll(ctx); err != nil {
		return err
	}
	if err := g.openChains(ctx, own); err != nil {
		return err
	}
	ring := statement.NewKeyring(g.org.Audience(), authorities...)
	if g.ingest, err = ingest.New(ctx, g.store, ring, time.Now, g.log); err != nil {
		return err
	}
	hosts, err := g.hosts()
	if err != nil {
		return err
	}
	// The broker's own store need not sync each write: a device sends again what
	// it holds no receipt for.
	if g.broker, err = broker.Start(ctx, broker.Options{Dir: filepath.Join(own, "broker"), MQTTAddr: g.conf.MQTT,
		Tenant: g.org.Tenant, TLS: g.ca.ServerTLS(hosts, tls.RequireAndVerifyClientCert), Auth: g.isDevice, SyncEvery: time.Second, Log: g.log}); err != nil {
		return err
	}
	if g.conf.BrokerURL, err = reachable("mqtts", g.conf.BrokerURL, g.broker.Addr(), "--broker-url"); err != nil {
		return err
	}
	if g.seq, err = sequence.New(ctx, g.store, g.shelf, g.post, g.log); err != nil {
		return err
	}
	g.seq.Observer = g.observer.flow
	if g.office, err = enrol.NewOffice(g.org, g.keys, g.store, gate{g}, filepath.Join(g.conf.Dir, claimsDir), g.conf.BrokerURL, g.logKey, g.post); err != nil {
		return err
	}
	g.products = product.NewCatalogue(g.store)
	g.journey = journey.New(g.store, g.shelf, receipts, g.prover(), g.log)
	g.journey.Products = g.products
	if _, err := g.nextRunner(ctx, nil); err != nil {
		return err
	}
	g.alarms = alarmBook{g.store, alarm.New(g.store, time.Now, g.log)}
	if err := g.startRunners(ctx); err != nil {
		return err
	}
	g.events = g.repository()
	g.watch = diversion.New(diversion.Options{Store: g.store, Travel: g.conf.Travel, Shops: g.conf.Shops, Scans: g.conf.Scans, Found: g.alarms.engine.Wake, Log: g.log})
	if err := g.sweepStatements(ctx); err != nil { // the founding identities, before anybody asks for a plan
		return err
	}
	if err := g.join(ctx); err != nil {
		return err
	}
	return g.sweep(ctx)
}

// shelfOptions are what the ledgers are opened with.
func (g *gateway) shelfOptions(own string) shard.Options {
	return shard.Options{Dir: own, Store: g.store, Signer: g.signer, Origin: g.org.Origin, Now: g.conf.Now,
		CheckpointInterval: g.conf.CheckpointEvery, Guard: g.guard, Cosigned: g.cosignatures, Log: g.log}
}

func (g *gateway) close() {
	g.closeChains()
	if g.broker != nil {
		g.broker.Stop()
	}
	if g.shelf != nil {
		if err := g.shelf.Close(); err != nil {
			g.log.Error("closing the ledgers", "err", err)
		}
	}
	if g.node != nil {
		if err := g.node.Stop(); err != nil {
			g.log.Error("stopping the chain", "err", err)
		}
	}
	if g.store != nil {
		if err := g.store.Close(); err != nil {
			g.log.Error("closing the store", "err", err)
		}
	}
}

// isDevice says whom the broker lets in. A revoked key is not, though frames from
// before its revocation may still be on its card: whoever has the card may have the
// key.
func (g *gateway) isDevice(kid statement.Hash) bool {
	id, known := g.ingest.Identity(kid)
	if !known || id.Role != statement.RoleDevice {
		return false
	}
	r, revoked := g.ingest.Revoked(kid)
	if revoked {
		g.log.Warn("revoked device refused", "device", kid.String()[:16], "from_seq", r.Seq)
	}
	return !revoked
}

func parseKid(s string) (h statement.Hash, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		return h, fmt.Errorf("%q is no key id", s)
	}
	copy(h[:], b)
	return h, nil
}

func (g *gateway) post(ctx context.Context, kid statement.Hash, message []byte) error {
	return g.broker.Publish(ctx, kid.String(), message)
}

// gate is the ingest that enrolment writes through; the ledger hears of it.
type gate struct{ g *gateway }

func (t gate) Add(ctx context.Context, ss ...*statement.Statement) error {
	if err := t.g.archive().Save(ss...); err != nil {
		return fmt.Errorf("archive of statements: %w", err)
	}
	if err := t.g.ingest.Add(ctx, ss...); err != nil {
		return err
	}
	t.g.seq.Wake()
	for _, s := range ss {
		switch s.Header.Kind {
		case statement.KindKeyStatus:
			t.g.cut(s)
		case statement.KindErasure:
			t.g.unscrubbed.Store(true)
		}
	}
	return nil
}

func (t gate) Revoked(kid statement.Hash) (statement.Revoked, bool) { return t.g.ingest.Revoked(kid) }

// cut ends the connections of the keys that a key status revokes.
func (g *gateway) cut(s *statement.Statement) {
	k, err := s.KeyStatus()
	if err != nil {
		return // ingest has read it
	}
	for _, r := range k.Revoked {
		if err := g.broker.Disconnect(r.KeyID.String()); err != nil {
			g.log.Warn("revoked device not disconnected; its frames are refused", "device", r.KeyID.String()[:16], "err", err)
		}
	}
}

func (t gate) Identity(kid statement.Hash) (*statement.Identity, bool) {
	return t.g.ingest.Identity(kid)
}

// consume takes messages from the broker into the store. A message is
// acknowledged after its commit, so that a crash brings it again; a store that
// fails ends the gateway, loudly.
func (g *gateway) consume(ctx context.Context) error {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := g.broker.Consume(inner, func(ctx context.Context, ms []broker.Message) {
		if err := g.handle(ctx, ms); err != nil {
			for _, m := range ms {
				_ = m.Nak()
			}
			cancel(err)
		}
	})
	if ctx.Err() != nil {
		return nil
	}
	if cause := context.Cause(inner); cause != nil {
		return cause
	}
	return err
}

func (g *gateway) handle(ctx context.Context, ms []broker.Message) error {
	arrived := time.Now()
	in := make([]ingest.Message, 0, len(ms))
	frames := make([]broker.Message, 0, len(ms))
	for _, m := range ms {
		kid, err := parseKid(m.Kid)
		if err != nil {
			return err // the broker lets nobody else in
		}
		if !statement.IsCosigned(m.Data) {
			in, frames = append(in, ingest.Message{KeyID: kid, Data: m.Data}), append(frames, m)
			continue
		}
		if err := g.cosigned(ctx, kid, m.Data); err != nil {
			return fmt.Errorf("store: %w", err)
		}
		if err := m.Ack(); err != nil {
			g.log.Warn("message not acknowledged; it will come again", "err", err)
		}
	}
	if len(in) == 0 {
		return nil
	}
	out, err := g.ingest.Handle(ctx, in)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	g.observer.flow.Handled(arrived, out)
	g.alarms.engine.Wake()
	newest, err := g.office.NewestPlan(ctx)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("store: %w", err)
	}
	for i, m := range frames {
		if err := m.Ack(); err != nil {
			g.log.Warn("message not acknowledged; it will come again", "err", err)
		}
		if len(out[i].Receipts) > 0 {
			g.seq.Owe(out[i].KeyID, out[i].Receipts...)
		}
		g.remind(ctx, newest, out[i])
	}
	return nil
}

// remind has a device sent the newest plan when it works by an older one, and asks
// for frames that are missing; each at most every few seconds.
func (g *gateway) remind(ctx context.Context, newest statement.Hash, out ingest.Outcome) {
	stale := !newest.IsZero() && out.Plan != nil && *out.Plan != newest
	if !stale && out.ResendFrom == nil {
		return
	}
	g.mu.Lock()
	again := time.Since(g.reminded[out.KeyID]) < 3*time.Second
	if !again {
		g.reminded[out.KeyID] = time.Now()
	}
	g.mu.Unlock()
	if again {
		return
	}
	if stale {
		g.office.Tell(out.KeyID)
	}
	if out.ResendFrom != nil {
		msg := dcbor.MustMarshal(statement.Resend{Type: statement.DownResend, Epoch: out.Epoch, From: *out.ResendFrom})
		err := g.post(ctx, out.KeyID, msg)
		g.log.Info("frames asked for again", "device", out.KeyID.String()[:16], "from", *out.ResendFrom, "err", err)
	}
}
