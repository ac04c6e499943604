package station

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
	"golang.org/x/mod/sumdb/note"

	"trailmark/agent/internal/clock"
	"trailmark/agent/internal/outbox"
	"trailmark/agent/internal/panel"
	"trailmark/agent/internal/rfid"
	"trailmark/agent/internal/sensor"
	"trailmark/agent/internal/witness"
	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/statement"
)

const (
	audience = "demo/test"
	origin   = "example.org/demo/2026h2"
)

// testClock is a machine's clocks over the bubble's time.
type testClock struct {
	mu    sync.Mutex
	boot  [16]byte
	began time.Time
	step  time.Duration
	q     clock.Quality
}

func (c *testClock) Now() clock.Reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := clock.Reading{BootID: c.boot, BootCount: 1, Boottime: int64(time.Since(c.began)) + int64(time.Hour), Quality: c.q}
	if c.q != clock.Unset {
		r.Wall = time.Now().Add(30*365*24*time.Hour + c.step).UnixMilli()
	}
	return r
}

func (c *testClock) set(f func(*testClock)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c)
}

// reboot begins a new boot.
func (c *testClock) reboot(q clock.Quality, step time.Duration) {
	c.set(func(c *testClock) { c.boot[0]++; c.began, c.q, c.step = time.Now(), q, step })
}

// testProbe answers what it is told to.
type testProbe struct {
	channel string
	answer  func(ctx context.Context) sensor.Sample
}

func (p *testProbe) Channel() string { return p.channel }
func (p *testProbe) Unit() string    { return "Cel" }
func (p *testProbe) Serial() string  { return p.channel }
func (p *testProbe) Sample(ctx context.Context) sensor.Sample {
	return p.answer(ctx)
}

func steady(channel string, milli int64) *testProbe {
	return &testProbe{channel, func(context.Context) sensor.Sample { return sensor.Sample{Channel: channel, Milli: milli} }}
}

// dial is a probe whose answer a test sets.
type dial struct {
	mu     sync.Mutex
	sample sensor.Sample
	hang   atomic.Bool
}

func (d *dial) set(x sensor.Sample) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sample = x
}

func (d *dial) probe(channel string) *testProbe {
	return &testProbe{channel, func(ctx context.Context) sensor.Sample {
		if d.hang.Load() {
			<-ctx.Done()
			return sensor.Sample{Fault: sensor.FaultGone}
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.sample
	}}
}

// testPanel remembers what it was to show.
type testPanel struct {
	inputs chan panel.Input
	mu     sync.Mutex
	signal panel.Signal
}

func (p *testPanel) Show(s panel.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signal = s
}

func (p *testPanel) shown() panel.Signal {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signal
}

func (p *testPanel) Run(ctx context.Context, each func(panel.Input)) {
	for {
		select {
		case i := <-p.inputs:
			each(i)
		case <-ctx.Done():
			return
		}
	}
}

// testReader hands on what comes in reads.
type testReader struct {
	reads chan rfid.Read
}

func (r *testReader) Name() string { return "test" }
func (r *testReader) Run(ctx context.Context, each func(rfid.Read)) error {
	for {
		select {
		case x := <-r.reads:
			each(x)
		case <-ctx.Done():
			return nil
		}
	}
}

// testUplink is a wire.
type testUplink struct {
	down      chan []byte
	connected chan bool
	mu        sync.Mutex
	sent      [][]byte
	broken    bool
	resets    int
}

func (u *testUplink) Publish(_ context.Context, data []byte) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.broken {
		return errors.New("down")
	}
	u.sent = append(u.sent, data)
	return nil
}
func (u *testUplink) Down() <-chan []byte    { return u.down }
func (u *testUplink) Connected() <-chan bool { return u.connected }
func (u *testUplink) Reset() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.resets++
}

func (u *testUplink) given() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.resets
}

// take gives what was sent since the last take.
func (u *testUplink) take() [][]byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := u.sent
	u.sent = nil
	return out
}

// testLedger is a ledger of its own, with the library's tree.
type testLedger struct {
	t      testing.TB
	tree   *testonly.Tree
	origin string
	seed   string // of the signer's key, as its text has it
	signer note.Signer
	key    statement.Key
	index  map[statement.Hash]uint64
}

func newLedger(t testing.TB) *testLedger {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	l := &testLedger{t: t, origin: origin, seed: skey[strings.LastIndexByte(skey[:len(skey)-44], '+')+1:], tree: testonly.New(rfc6962.DefaultHasher), index: map[statement.Hash]uint64{}}
	if l.signer, err = note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.SplitN(vkey, "+", 3)[2])
	if err != nil {
		t.Fatal(err)
	}
	if l.key, err = statement.NewKey(ed25519.PublicKey(raw[1:])); err != nil { // after the algorithm byte
		t.Fatal(err)
	}
	l.tree.AppendData([]byte("somebody else's"))
	return l
}

// named is an empty ledger of another name under the same key.
func (l *testLedger) named(origin string) *testLedger {
	l.t.Helper()
	n := &testLedger{t: l.t, origin: origin, seed: l.seed, key: l.key, tree: testonly.New(rfc6962.DefaultHasher), index: map[statement.Hash]uint64{}}
	v, err := statement.LogVerifier(origin, l.key)
	if err != nil {
		l.t.Fatal(err)
	}
	if n.signer, err = note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", origin, v.KeyHash(), l.seed)); err != nil {
		l.t.Fatal(err)
	}
	return n
}

func (l *testLedger) checkpoint(size uint64) []byte {
	text, err := note.Sign(&note.Note{Text: string(log.Checkpoint{Origin: l.origin, Size: size, Hash: l.tree.HashAt(size)}.Marshal())}, l.signer)
	if err != nil {
		l.t.Fatal(err)
	}
	return text
}

func hashes(raw [][]byte) []statement.Hash {
	out := make([]statement.Hash, len(raw))
	for i := range raw {
		out[i] = statement.Hash(raw[i])
	}
	return out
}

// add puts frames in the ledger.
func (l *testLedger) add(ups ...[]byte) {
	for _, up := range ups {
		d, err := statement.ParseUp(up)
		if err != nil {
			l.t.Fatal(err)
		}
		if _, ok := l.index[d.Statement.ID()]; ok {
			continue
		}
		l.index[d.Statement.ID()] = l.tree.Size()
		e := d.Statement.Entry()
		l.tree.AppendData(e[:])
	}
}

// receipts for frames, at the present size, from an older one.
func (l *testLedger) receipts(from uint64, ups ...[]byte) *statement.Receipts {
	size := l.tree.Size()
	r := &statement.Receipts{Type: statement.DownReceipts, Checkpoint: l.checkpoint(size)}
	c := statement.Consistency{OldSize: from}
	if from > 0 {
		p, err := l.tree.ConsistencyProof(from, size)
		if err != nil {
			l.t.Fatal(err)
		}
		c.Path = hashes(p)
	}
	r.Consistency = []statement.Consistency{c}
	for _, up := range ups {
		d, err := statement.ParseUp(up)
		if err != nil {
			l.t.Fatal(err)
		}
		i := l.index[d.Statement.ID()]
		p, err := l.tree.InclusionProof(i, size)
		if err != nil {
			l.t.Fatal(err)
		}
		r.Included = append(r.Included, statement.Included{Seq: d.Frame.Seq, ID: d.Statement.ID(), Index: i, Path: hashes(p)})
	}
	return r
}

// rig is a device on a bench.
type rig struct {
	t         *testing.T
	dir       string
	c         Config
	sealer    *device.Sealer
	authority *statement.Signer
	site      *statement.Signer
	clock     *testClock
	up        *testUplink
	ledger    *testLedger
	probes    []sensor.Probe
	readers   []Reader
	panel     *testPanel
	opening   *device.State
	before    *Station
	ready     func() bool
	plans     []*device.Plan
	opt       outbox.Options
	forgetful bool // it has no memory of what it cosigned
	log       io.Writer

	box    *outbox.Log
	memory *witness.Memory
	st     *Station
	saved  [][]byte
	status Status // of the last report; belongs to the running station, see said
	stop   func() error
}

func signer(t testing.TB) *statement.Signer {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := statement.NewSigner(priv)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), authority: signer(t), site: signer(t), ledger: newLedger(t), log: t.Output(),
		clock: &testClock{boot: [16]byte{9}, began: time.Now(), q: clock.Synchronised},
		up:    &testUplink{down: make(chan []byte), connected: make(chan bool)},
		opt:   outbox.Options{SegmentBytes: 64 << 10}}
	r.sealer = &device.Sealer{Signer: signer(t), Issuer: "urn:dev:test", Audience: audience}
	r.c = Config{Key: r.sealer.Signer.Key().ID(), Epoch: 0, Audience: audience, Authority: r.authority.Key(), Origin: origin,
		LogKey: r.ledger.key, Every: 10 * time.Second, SealEvery: time.Minute}
	r.probes = []sensor.Probe{steady("28-1/temp", 4000)}
	r.panel = &testPanel{inputs: make(chan panel.Input)}
	return r
}

// open makes the station without running it.
func (r *rig) open() error {
	r.t.Helper()
	var err error
	if r.box, err = outbox.Open(r.dir, r.opt); err != nil {
		r.t.Fatal(err)
	}
	if r.memory, err = witness.Open(r.dir); err != nil {
		r.t.Fatal(err)
	}
	var memory Witness = r.memory
	if r.forgetful {
		memory = nil
	}
	r.st, err = New(r.c, Parts{Witness: memory, Sealer: r.sealer, Outbox: r.box, Clock: r.clock, Uplink: r.up, Probes: r.probes, Readers: r.readers, Panel: r.panel, Opening: r.opening, Before: r.before, Ready: r.ready,
		Plans: r.plans, SavePlan: func(b []byte) error { r.saved = append(r.saved, b); return nil },
		Log: slog.New(slog.NewTextHandler(r.log, nil)), Report: func(s Status) { r.status = s }})
	if err != nil {
		r.box.Close()
	}
	return err
}

// start runs the station until stop, which gives Run's error.
func (r *rig) start() {
	r.t.Helper()
	if err := r.open(); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	st, box := r.st, r.box
	go func() { done <- st.Run(ctx) }()
	r.stop = sync.OnceValue(func() error {
		cancel()
		err := <-done
		if err := box.Close(); err != nil {
			r.t.Error(err)
		}
		return err
	})
	stop := r.stop
	r.t.Cleanup(func() { stop() }) // a test that fails leaves nothing running
}

func (r *rig) halt() {
	r.t.Helper()
	if err := r.stop(); err != nil {
		r.t.Fatal(err)
	}
}

// look reads what the running station owns, in its own goroutine.
func look[T any](r *rig, f func() T) T {
	got := make(chan T, 1)
	r.st.inbox <- func() { got <- f() }
	return <-got
}

func (r *rig) state() device.State { return look(r, func() device.State { return r.st.st }) }
func (r *rig) said() Status        { return look(r, func() Status { return r.status }) }

// connect lets the station know of a new connection, and waits until it has acted.
func (r *rig) connect() {
	r.up.connected <- true
	synctest.Wait()
}

func (r *rig) tell(m any) {
	r.up.down <- dcbor.MustMarshal(m)
	synctest.Wait()
}

// kept is every message on the card.
func (r *rig) kept() [][]byte {
	r.t.Helper()
	var out [][]byte
	for seq := r.box.First(); seq < r.box.Next(); seq++ {
		data, err := r.box.Get(seq)
		if err != nil {
			r.t.Fatal(err)
		}
		rec, err := device.ParseRecord(data)
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, rec.Up)
	}
	return out
}

// card is every message on the card of a stopped station.
func (r *rig) card() [][]byte {
	r.t.Helper()
	var err error
	if r.box, err = outbox.Open(r.dir, r.opt); err != nil {
		r.t.Fatal(err)
	}
	defer r.box.Close()
	return r.kept()
}

// chain checks messages as a gateway does that knows nothing: signature, order,
// span, and every trace; it returns them decoded.
func (r *rig) chain(ups [][]byte) []*statement.Delivery {
	r.t.Helper()
	var out []*statement.Delivery
	prev, heads := statement.Hash{}, map[string]*statement.HeadRecord{}
	last := map[string]int64{}
	for i, up := range ups {
		d, err := statement.ParseUp(up)
		if err != nil {
			r.t.Fatal(err)
		}
		if err := d.Statement.Verify(r.sealer.Signer.Key(), audience); err != nil {
			r.t.Fatal(err)
		}
		if d.Frame.Seq != uint64(i) || d.Frame.Prev != prev {
			r.t.Fatalf("message %d is frame %d after %.8s…, want %.8s…", i, d.Frame.Seq, d.Frame.Prev, prev)
		}
		prev = d.Statement.ID()
		for _, v := range d.Contents {
			switch v := v.(type) {
			case *statement.Block:
				times := v.Times()
				if b := heads[v.Channel]; v.Prev != nil && (b == nil || *v.Prev != last[v.Channel]) {
					r.t.Fatalf("frame %d: block of %s follows %d, want %d", i, v.Channel, *v.Prev, last[v.Channel])
				}
				if times[0] < d.Frame.Span[0] || times[len(times)-1] > d.Frame.Span[1] {
					r.t.Fatalf("frame %d: block outside of its span", i)
				}
				last[v.Channel] = times[len(times)-1]
			case *statement.HeadRecord:
				b := heads[v.Channel]
				if v.Start == nil && (b == nil || b.Head.Start != v.Head.Start || b.Head.Size+1 != v.Head.Size) {
					r.t.Fatalf("frame %d: head of %s does not continue its trace", i, v.Channel)
				}
				if v.Start != nil && b != nil && (v.Start.PrevStart != b.Head.Start || v.Start.PrevRoot != b.Head.Root || v.Head.Size != 1) {
					r.t.Fatalf("frame %d: start of %s does not name the trace before", i, v.Channel)
				}
				heads[v.Channel] = v
			}
		}
		out = append(out, d)
	}
	return out
}

func all[T any](ds []*statement.Delivery) []T {
	var out []T
	for _, d := range ds {
		for _, v := range d.Contents {
			if v, ok := v.(T); ok {
				out = append(out, v)
			}
		}
	}
	return out
}

func happenings(ds []*statement.Delivery, typ statement.HappeningType) []*statement.Happening {
	var out []*statement.Happening
	for _, h := range all[*statement.Happening](ds) {
		if h.Type == typ {
			out = append(out, h)
		}
	}
	return out
}

// starts counts the traces that were opened.
func starts(ds []*statement.Delivery) int {
	n := 0
	for _, h := range all[*statement.HeadRecord](ds) {
		if h.Start != nil {
			n++
		}
	}
	return n
}

func originHash() statement.Hash { return sha256.Sum256([]byte(origin)) }

// lockedLog is a log that a test reads while the station writes.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
