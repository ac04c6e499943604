package anchoring

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/transparency-dev/formats/log"
)

const testOrigin = "trailmark.example/acme/2026h1"

func rootOf(size uint64) [32]byte { return sha256.Sum256(fmt.Appendf(nil, "root %d", size)) }

func checkpointOf(size uint64) []byte {
	root := rootOf(size)
	return append(log.Checkpoint{Origin: testOrigin, Size: size, Hash: root[:]}.Marshal(), "\n— sig AAAA\n"...)
}

var errWire = errors.New("wire is cut")

// fakeChain is the wire to a chain: the rules are real, the losses injected.
type fakeChain struct {
	t       *testing.T
	mu      sync.Mutex // a late commit runs on a timer
	anchors []Anchor   // guarded by mu
	submits int        // calls of Submit

	onSubmit func(ctx context.Context, commit func()) error // nil: commit
	onHead   func() error
}

func (c *fakeChain) Describe() Description { return Description{"fake-1", "fake", 4, 3} }

func (c *fakeChain) head() (Anchor, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest()
}

func (c *fakeChain) newest() (Anchor, bool) {
	if len(c.anchors) == 0 {
		return Anchor{}, false
	}
	return c.anchors[len(c.anchors)-1], true
}

func (c *fakeChain) commit(size uint64, root [32]byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	head, _ := c.newest()
	switch {
	case size < head.Size || size == head.Size && root != head.Root:
		return fmt.Errorf("%w: size %d, head %d", ErrRefused, size, head.Size)
	case size > head.Size:
		c.anchors = append(c.anchors, Anchor{ChainID: "fake-1", Origin: testOrigin, Size: size, Root: root,
			Height: int64(len(c.anchors) + 1), Time: time.Now()})
	}
	return nil
}

func (c *fakeChain) Submit(ctx context.Context, checkpoint []byte) (Anchor, error) {
	c.submits++
	size, root, err := parse(testOrigin, checkpoint)
	if err != nil {
		return Anchor{}, err
	}
	if f := c.onSubmit; f != nil {
		c.onSubmit = nil
		if err := f(ctx, func() { _ = c.commit(size, root) }); err != nil {
			return Anchor{}, err
		}
	}
	if err := c.commit(size, root); err != nil {
		return Anchor{}, err
	}
	head, _ := c.head()
	return head, nil
}

func (c *fakeChain) Head(_ context.Context, origin string) (Anchor, bool, error) {
	if origin != testOrigin {
		c.t.Errorf("asked for the head of %q", origin)
	}
	if f := c.onHead; f != nil {
		c.onHead = nil
		if err := f(); err != nil {
			return Anchor{}, false, err
		}
	}
	a, ok := c.head()
	return a, ok, nil
}

// gateway is what surrounds a Runner: a ledger that grows and a record on disk.
type gateway struct {
	t        *testing.T
	chain    *fakeChain
	size     uint64 // of the ledger
	recorded map[uint64]Anchor
	onNewest func() error
	onRecord func() error
	*Runner
}

func newGateway(t *testing.T) *gateway {
	g := &gateway{t: t, chain: &fakeChain{t: t}, recorded: make(map[uint64]Anchor)}
	g.restart()
	return g
}

func (g *gateway) restart() {
	r, err := New(Options{
		Chain: g.chain, Origin: testOrigin, Every: time.Minute, Patience: 30 * time.Second,
		Log: slog.New(slog.DiscardHandler),
		Newest: func(context.Context) ([]byte, error) {
			if f := g.onNewest; f != nil {
				g.onNewest = nil
				if err := f(); err != nil {
					return nil, err
				}
			}
			if g.size == 0 {
				return nil, nil
			}
			return checkpointOf(g.size), nil
		},
		Record: func(_ context.Context, a Anchor) error {
			if f := g.onRecord; f != nil {
				g.onRecord = nil
				if err := f(); err != nil {
					return err
				}
			}
			g.recorded[a.Size] = a
			return nil
		},
	})
	if err != nil {
		g.t.Fatal(err)
	}
	g.Runner = r
}

// run runs for a while of fake time.
func (g *gateway) run(d time.Duration) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), d)
	defer cancel()
	if err := g.Run(ctx); err != nil {
		g.t.Fatal(err)
	}
}

// check is the oracle after every story: record and chain agree.
func (g *gateway) check() {
	g.t.Helper()
	for size, a := range g.recorded {
		if a.Root != rootOf(size) {
			g.t.Errorf("recorded root %x of size %d", a.Root, size)
		}
		found := false
		for _, b := range g.chain.anchors {
			found = found || b.Size == a.Size && b.Height == a.Height
		}
		if !found {
			g.t.Errorf("recorded size %d is not on the chain", size)
		}
	}
	head, _ := g.chain.head()
	if _, ok := g.recorded[head.Size]; !ok || head.Size != g.size {
		g.t.Errorf("ledger has %d, chain %d, recorded: %t", g.size, head.Size, ok)
	}
	s := g.Status()
	if s.Last.Size != g.size || s.Newest != g.size || s.Lag != 0 || s.Error != "" || s.Failures != 0 {
		g.t.Errorf("status %+v, want all well at size %d", s, g.size)
	}
}

func TestFaults(t *testing.T) {
	for _, f := range []struct {
		name   string
		inject func(*gateway)
		within time.Duration // of a round's start, recorded
	}{
		{"nothing", func(*gateway) {}, time.Second},
		{"submission lost", func(g *gateway) {
			g.chain.onSubmit = func(context.Context, func()) error { return errWire }
		}, 3 * time.Second},
		{"committed, reply lost", func(g *gateway) {
			g.chain.onSubmit = func(_ context.Context, commit func()) error { commit(); return errWire }
		}, time.Millisecond},
		{"no answer, not committed", func(g *gateway) {
			g.chain.onSubmit = func(ctx context.Context, _ func()) error { <-ctx.Done(); return context.Cause(ctx) }
		}, 33 * time.Second},
		{"no answer, committed", func(g *gateway) {
			g.chain.onSubmit = func(ctx context.Context, commit func()) error {
				<-ctx.Done()
				commit()
				return context.Cause(ctx)
			}
		}, 30*time.Second + time.Millisecond},
		{"no answer, committed while it waits to try again", func(g *gateway) {
			g.chain.onSubmit = func(ctx context.Context, commit func()) error {
				<-ctx.Done()
				time.AfterFunc(300*time.Millisecond, commit)
				return context.Cause(ctx)
			}
		}, 33 * time.Second},
		{"committed, reply lost, chain does not tell", func(g *gateway) {
			g.chain.onSubmit = func(_ context.Context, commit func()) error {
				commit()
				g.chain.onHead = func() error { return errWire }
				return errWire
			}
		}, 3 * time.Second},
		{"another gateway is faster with more", func(g *gateway) {
			g.chain.onSubmit = func(context.Context, func()) error {
				g.size++
				return g.chain.commit(g.size, rootOf(g.size))
			}
		}, time.Millisecond},
		{"chain does not tell", func(g *gateway) { g.chain.onHead = func() error { return errWire } }, 3 * time.Second},
		{"ledger does not tell", func(g *gateway) { g.onNewest = func() error { return errWire } }, 3 * time.Second},
		{"record fails", func(g *gateway) { g.onRecord = func() error { return errWire } }, 3 * time.Second},
	} {
		t.Run(f.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.run(2 * time.Minute) // an empty ledger is left alone
				if g.chain.submits != 0 {
					t.Fatalf("%d submissions of an empty ledger", g.chain.submits)
				}
				g.size = 3
				g.run(2 * time.Minute)
				g.check()
				g.size = 7
				f.inject(g)
				g.run(f.within) // a new Run begins with a round
				if _, ok := g.recorded[g.size]; !ok {
					t.Errorf("size %d not recorded within %v", g.size, f.within)
				}
				g.run(5 * time.Minute)
				g.check()
				g.restart() // the record of the last anchor may be all that is left
				g.run(time.Second)
				g.check()
				before := g.chain.submits
				g.run(time.Hour) // nothing new, nothing sent
				g.check()
				if g.chain.submits != before {
					t.Errorf("%d submissions with nothing new", g.chain.submits-before)
				}
				g.size = 9
				g.run(2 * time.Minute)
				g.check()
			})
		})
	}
}

// A gateway killed between chain and record records the anchor when it starts.
func TestKilledBeforeRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.size = 5
		ctx, kill := context.WithCancel(t.Context())
		g.onRecord = func() error { kill(); return context.Canceled }
		if err := g.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if len(g.recorded) != 0 || len(g.chain.anchors) != 1 {
			t.Fatalf("%d recorded, %d anchored", len(g.recorded), len(g.chain.anchors))
		}
		g.size = 6
		g.restart()
		g.run(time.Second)
		g.check()
		if len(g.recorded) != 2 {
			t.Errorf("recorded %d anchors, want both", len(g.recorded))
		}
	})
}

func TestRetryBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.size = 5
		var at []time.Time
		var fail func(context.Context, func()) error
		fail = func(context.Context, func()) error {
			at = append(at, time.Now())
			g.chain.onSubmit = fail
			return errWire
		}
		g.chain.onSubmit = fail
		g.run(time.Hour)
		if s := g.Status(); s.Failures != len(at) || s.Lag != 5 || !strings.Contains(s.Error, errWire.Error()) || s.ErrorAt.IsZero() {
			t.Errorf("status after %d failures: %+v", len(at), s)
		}
		limit := time.Second
		for i := 1; i < len(at); i++ {
			if d := at[i].Sub(at[i-1]); d < limit/2 || d > limit {
				t.Errorf("pause %d is %v, want %v to %v", i, d, limit/2, limit)
			}
			limit = min(2*limit, 5*time.Minute)
		}
		if len(at) < 15 || len(at) > 40 {
			t.Errorf("%d attempts in an hour", len(at))
		}
		g.chain.onSubmit = nil
		g.run(5 * time.Minute)
		g.check()
	})
}

// A ledger that contradicts the chain ends the runner, loudly.
func TestContradictionStops(t *testing.T) {
	for _, c := range []struct {
		name string
		size uint64
		root [32]byte
		want error
		text string
	}{
		{"behind", 9, rootOf(9), ErrBehind, "size 5 < 9"},
		{"fork", 5, rootOf(6), ErrFork, fmt.Sprintf("%x", rootOf(5))},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.size = 5
				if err := g.chain.commit(c.size, c.root); err != nil {
					t.Fatal(err)
				}
				err := g.Run(t.Context())
				if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), "hint: ") {
					t.Errorf("got %v, want %v with %q and a hint", err, c.want, c.text)
				}
				if g.chain.submits != 0 || g.Status().Error == "" {
					t.Errorf("%d submissions, status %+v", g.chain.submits, g.Status())
				}
			})
		})
	}
	// The other history wins the race between head and submission.
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.size = 5
		g.chain.onSubmit = func(context.Context, func()) error { return g.chain.commit(5, rootOf(6)) }
		if err := g.Run(t.Context()); !errors.Is(err, ErrFork) {
			t.Errorf("got %v, want %v", err, ErrFork)
		}
	})
}

func TestGuard(t *testing.T) {
	ctx := t.Context()
	c := &fakeChain{t: t}
	if err := Guard(ctx, c, testOrigin, 0, rootOf(0)); err != nil {
		t.Errorf("nothing anchored: %v", err)
	}
	if err := c.commit(10, rootOf(10)); err != nil {
		t.Fatal(err)
	}
	for _, g := range []struct {
		name string
		size uint64
		root [32]byte
		want error
	}{
		{"the same", 10, rootOf(10), nil},
		{"grown", 11, rootOf(11), nil},
		{"an old backup", 9, rootOf(9), ErrBehind},
		{"empty", 0, rootOf(0), ErrBehind},
		{"another history", 10, rootOf(11), ErrFork},
	} {
		err := Guard(ctx, c, testOrigin, g.size, g.root)
		if !errors.Is(err, g.want) || (err != nil) != (g.want != nil) {
			t.Errorf("%s: got %v, want %v", g.name, err, g.want)
		}
	}
	c.onHead = func() error { return errWire }
	if err := Guard(ctx, c, testOrigin, 10, rootOf(10)); !errors.Is(err, errWire) {
		t.Errorf("chain does not tell: %v", err)
	}

	// Rolled back and grown past the anchor again.
	other := func(_ context.Context, size uint64) ([32]byte, bool, error) { return rootOf(size + 1000), true, nil }
	if err := GuardTree(ctx, c, testOrigin, 12, other); !errors.Is(err, ErrFork) {
		t.Errorf("another history that has grown: %v", err)
	}
	same := func(_ context.Context, size uint64) ([32]byte, bool, error) { return rootOf(size), true, nil }
	if err := GuardTree(ctx, c, testOrigin, 12, same); err != nil {
		t.Errorf("the same history that has grown: %v", err)
	}
	broken := func(context.Context, uint64) ([32]byte, bool, error) { return [32]byte{}, false, errWire }
	if err := GuardTree(ctx, c, testOrigin, 12, broken); !errors.Is(err, errWire) {
		t.Errorf("ledger does not tell: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	good := Options{
		Chain: &fakeChain{t: t}, Origin: testOrigin,
		Newest: func(context.Context) ([]byte, error) { return nil, nil },
		Record: func(context.Context, Anchor) error { return nil },
	}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*Options){
		"no chain":       func(o *Options) { o.Chain = nil },
		"no origin":      func(o *Options) { o.Origin = "" },
		"no source":      func(o *Options) { o.Newest = nil },
		"no record":      func(o *Options) { o.Record = nil },
		"negative pause": func(o *Options) { o.Every = -1 },
		"retry range":    func(o *Options) { o.RetryMin = time.Hour },
	} {
		o := good
		edit(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}

func TestDescription(t *testing.T) {
	d := Description{ChainID: "trailmark-1", Kind: "cometbft", Validators: 1, Quorum: 1}
	if d.String() != "trailmark-1 (cometbft, 1 of 1)" || !d.OwnWord() {
		t.Errorf("%s, own word %t", d, d.OwnWord())
	}
	if d := (Description{ChainID: "x", Kind: "evm"}); d.String() != "x (evm)" || d.OwnWord() {
		t.Errorf("%s, own word %t", d, d.OwnWord())
	}
}

func FuzzParse(f *testing.F) {
	f.Add(checkpointOf(7))
	f.Add([]byte(testOrigin + "\n1\nAAAA\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := parse(testOrigin, b); err == nil && !strings.HasPrefix(string(b), testOrigin+"\n") {
			t.Errorf("read as a checkpoint of %s: %q", testOrigin, b)
		}
	})
}

// TestCosigned: what is anchored is the checkpoint with its witnesses, if it is the
// same checkpoint, and else the checkpoint.
func TestCosigned(t *testing.T) {
	for name, c := range map[string]struct {
		cosign func(checkpoint []byte) []byte
		want   bool
	}{
		"two lines":          {func(b []byte) []byte { return append(b, "\u2014 w AAAA\n\u2014 v AAAA\n"...) }, true},
		"nothing":            {func([]byte) []byte { return nil }, false},
		"noise":              {func([]byte) []byte { return []byte("hello") }, false},
		"another checkpoint": {func([]byte) []byte { return checkpointOf(8) }, false},
	} {
		var got []byte
		r, err := New(Options{Chain: &fakeChain{t: t}, Origin: testOrigin, Newest: func(context.Context) ([]byte, error) { return checkpointOf(7), nil },
			Record: func(context.Context, Anchor) error { return nil }, Log: slog.New(slog.DiscardHandler),
			Cosign: func(_ context.Context, b []byte) []byte { got = c.cosign(b); return got }})
		if err != nil {
			t.Fatal(err)
		}
		with := r.cosigned(t.Context(), checkpointOf(7), 7, rootOf(7))
		if size, root, err := parse(testOrigin, with); err != nil || size != 7 || root != rootOf(7) {
			t.Errorf("%s: size %d, %v", name, size, err)
		}
		if same := string(with) == string(got); same != c.want {
			t.Errorf("%s: anchored %q", name, with)
		}
		if err := r.round(t.Context()); err != nil || r.Status().Last.Size != 7 {
			t.Errorf("%s: %v, %+v", name, err, r.Status())
		}
	}
}
