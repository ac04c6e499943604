package anchoring

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"trailmark/internal/chain/anviltest"
	"trailmark/internal/chain/evm"
)

// bed is a contract on an anvil that makes a block every 200 ms, and a gateway
// that anchors there.
type bed struct {
	t      *testing.T
	node   *anviltest.Node
	target evm.Target
	key    *ecdsa.PrivateKey
	dir    string

	mu       sync.Mutex
	size     uint64            // of the ledger, guarded by mu
	recorded map[uint64]Anchor // guarded by mu
	lost     []uint64          // guarded by mu
	kept     map[uint64][]byte // guarded by mu
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{t: t, node: anviltest.Start(t, "--block-time", "0.2"), dir: t.TempDir(), recorded: map[uint64]Anchor{}, kept: map[uint64][]byte{}}
	owner := evm.Local{Key: b.node.Key(t)}
	b.key = b.node.Key(t)
	b.target = evm.Target{RPCs: []string{b.node.URL}, Depth: 3, Bump: 5 * time.Second}
	done, err := b.client(b.target).Deploy(t.Context(), owner, owner.Address(), nil)
	if err != nil {
		t.Fatal(err)
	}
	b.target.Contract = done.Contract
	if _, err := b.client(b.target).SetRole(t.Context(), owner, testOrigin, evm.Local{Key: b.key}.Address(), evm.SubmitterRole); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bed) client(t evm.Target) *evm.Client {
	b.t.Helper()
	c, err := evm.Dial(t)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	return c
}

func (b *bed) grow(size uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.size = size
}

func (b *bed) has(size uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.recorded[size]
	return ok
}

// start runs a gateway's runner until the returned function is called.
func (b *bed) start(target evm.Target, recorded Anchor) (*Runner, *EVM, func()) {
	b.t.Helper()
	sub, err := evm.NewSubmitter(evm.Options{Client: b.client(target), Signer: evm.Local{Key: b.key}, Dir: b.dir,
		Log: slog.New(slog.DiscardHandler), Behind: time.Second, Hold: time.Second})
	if err != nil {
		b.t.Fatal(err)
	}
	chain := NewEVM(sub, 31337)
	chain.Poll = 100 * time.Millisecond
	chain.Keep = func(_ context.Context, note []byte) error {
		h, err := headOf(note)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.kept[h.Size] = note
		return err
	}
	r, err := New(Options{Chain: chain, Origin: testOrigin, Every: 100 * time.Millisecond, Patience: 2 * time.Second, RetryMin: 100 * time.Millisecond,
		RetryMax: 300 * time.Millisecond, Log: slog.New(slog.DiscardHandler), Recorded: recorded,
		Newest: func(context.Context) ([]byte, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.size == 0 {
				return nil, nil
			}
			return checkpointOf(b.size), nil
		},
		Record: func(_ context.Context, a Anchor) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.recorded[a.Size] = a
			return nil
		},
		Lost: func(_ context.Context, a Anchor) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			delete(b.recorded, a.Size)
			b.lost = append(b.lost, a.Size)
			return nil
		}})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return r, chain, sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Error(err)
		}
		if err := sub.Close(); err != nil {
			b.t.Error(err)
		}
	})
}

// until waits for what must come.
func (b *bed) until(what string, f func() bool) {
	b.t.Helper()
	for range 600 {
		if f() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.t.Fatalf("%s: not within 30 s", what)
}

// check is the oracle: record, note and contract agree on the newest head.
func (b *bed) check(r *Runner, chain *EVM, size uint64) {
	b.t.Helper()
	b.until(fmt.Sprintf("size %d recorded", size), func() bool { return b.has(size) && r.Status().Lag == 0 && r.Status().State == "" })
	head, ok, err := chain.Head(b.t.Context(), testOrigin)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil || !ok || head.Size != size || head.Root != rootOf(size) || head.BlockHash != b.recorded[size].BlockHash {
		b.t.Errorf("head %+v, %t, %v; want size %d, recorded %+v", head, ok, err, size, b.recorded[size])
	}
	if b.kept[size] == nil {
		b.t.Errorf("size %d was sent and its signed checkpoint not kept", size)
	}
	if s := r.Status(); s.Error != "" || s.Last.Size != size {
		b.t.Errorf("status %+v, want all well at size %d", s, size)
	}
}

func TestOnEVM(t *testing.T) {
	b := newBed(t)
	r, chain, stop := b.start(b.target, Anchor{})
	defer stop()
	b.grow(3)
	b.until("on its way", func() bool { return r.Status().State != "" || b.has(3) })
	b.check(r, chain, 3)
	b.grow(9)
	b.check(r, chain, 9)
	last := r.Status().Last
	stop()
	// After a restart nothing is sent again.
	r, chain, stop = b.start(b.target, last)
	defer stop()
	b.check(r, chain, 9)
	if c := chain.Report().Cost; c.Transactions != 2 {
		t.Errorf("%d transactions for two anchors", c.Transactions)
	}
	if err := Guard(t.Context(), chain, testOrigin, 8, rootOf(8)); !errors.Is(err, ErrBehind) {
		t.Errorf("old backup: %v", err)
	}
	if _, err := chain.Submit(t.Context(), checkpointOf(5)); !errors.Is(err, ErrRefused) {
		t.Errorf("a smaller size: %v", err)
	}
}

// A chain set back behind final blocks: taken back, told, and anchored anew. A
// reorg of what was not final: told, and never recorded.
func TestEVMSetBack(t *testing.T) {
	b := newBed(t)
	snapshot := b.node.Call(t, "evm_snapshot")
	r, chain, stop := b.start(b.target, Anchor{})
	defer stop()
	b.grow(4)
	b.check(r, chain, 4)
	b.node.Call(t, "evm_revert", snapshot)
	b.until("the loss to be told", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.lost) == 1 })
	b.check(r, chain, 4) // the same checkpoint, in another block
	b.grow(6)
	b.check(r, chain, 6)
	rollbacks := 0
	for _, a := range chain.Report().Alarms {
		if a.Kind == "rollback" && strings.Contains(a.Text, "size 4") && !a.Healed.IsZero() {
			rollbacks++
		}
	}
	if rollbacks != 1 {
		t.Errorf("alarms %+v", chain.Report().Alarms)
	}
	stop()
	// The same while the gateway is down: it knows what it had recorded.
	last := r.Status().Last
	latest, err := strconv.ParseInt(fmt.Sprint(b.node.Call(t, "eth_blockNumber")), 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	b.node.Call(t, "anvil_reorg", latest-last.Height+2, []any{})
	r, chain, stop = b.start(b.target, last)
	defer stop()
	b.until("the second loss to be told", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.lost) == 2 })
	b.check(r, chain, 6)
}

// Two chains at once, of which one does not answer for the whole run: it is told,
// lags, and delays nothing.
func TestTwoChains(t *testing.T) {
	b := newBed(t)
	down := newBed(t)
	b.grow(3)
	down.grow(3)
	away := down.target
	away.RPCs = []string{"http://127.0.0.1:1"}
	r, chain, stop := b.start(b.target, Anchor{})
	defer stop()
	silent, _, stopSilent := down.start(away, Anchor{})
	defer stopSilent()
	b.check(r, chain, 3)
	b.grow(5)
	b.check(r, chain, 5)
	s := silent.Status()
	if s.Failures == 0 || !strings.Contains(s.Error, "127.0.0.1:1") || s.Last.Size != 0 || down.has(3) {
		t.Errorf("status of the chain that is down: %+v", s)
	}
	stopSilent()
	silent, chain, stopSilent = down.start(down.target, Anchor{}) // it comes back
	defer stopSilent()
	down.check(silent, chain, 3)
}

// The endpoint serves another chain: nothing is sent, and it is said why.
func TestEVMWrongChain(t *testing.T) {
	b := newBed(t)
	b.grow(3)
	wrong := b.target
	wrong.ChainID = 1
	r, chain, stop := b.start(wrong, Anchor{})
	defer stop()
	b.until("a failure", func() bool { return r.Status().Failures > 1 })
	if s := r.Status(); !strings.Contains(s.Error, "chain id 31337, pinned is 1") || chain.Report().Attempts != 0 || b.has(3) {
		t.Errorf("status %+v", s)
	}
}
