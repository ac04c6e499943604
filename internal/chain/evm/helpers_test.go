package evm

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"trailmark/anchor/contract"
	"trailmark/internal/chain/anviltest"
)

const testOrigin = "ledger.example.com/acme/2026h1"

func rootOf(size uint64) [32]byte { return sha256.Sum256(fmt.Appendf(nil, "root %d", size)) }

func headOf(size uint64) Head { return Head{testOrigin, size, rootOf(size)} }

// bed is a contract on a node whose blocks the test makes, an owner, and one
// submitter's key.
type bed struct {
	t        *testing.T
	node     *anviltest.Node
	target   Target
	client   *Client
	owner    Local
	key      *ecdsa.PrivateKey
	clock    time.Time
	dir      string
	contract common.Address
}

func newBed(t *testing.T, args ...string) *bed {
	t.Helper()
	b := &bed{t: t, node: anviltest.Start(t, args...), clock: time.Now(), dir: t.TempDir()}
	b.owner, b.key = Local{b.node.Key(t)}, b.node.Key(t)
	b.target = Target{RPCs: []string{b.node.URL}, Depth: 3, Bump: time.Minute, MaxFee: new(big.Int).Mul(big.NewInt(500), gwei)}
	c := b.dial(b.target)
	done, err := c.Deploy(t.Context(), b.owner, b.owner.Address(), nil)
	if err != nil {
		t.Fatal(err)
	}
	b.target.Contract, b.contract = done.Contract, done.Contract
	b.client = b.dial(b.target)
	b.role(testOrigin, Local{b.key}.Address(), SubmitterRole)
	b.node.Call(t, "evm_setAutomine", false)
	return b
}

func (b *bed) dial(t Target) *Client {
	b.t.Helper()
	c, err := Dial(t)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	return c
}

func (b *bed) role(origin string, who common.Address, role Role) Done {
	b.t.Helper()
	done, err := b.client.SetRole(b.t.Context(), b.owner, origin, who, role)
	if err != nil {
		b.t.Fatal(err)
	}
	return done
}

func (b *bed) options() Options {
	return Options{Client: b.client, Signer: Local{b.key}, Dir: b.dir, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return b.clock }}
}

// open opens a submitter as a gateway does when it starts.
func (b *bed) open(o Options) *Submitter {
	b.t.Helper()
	s, err := NewSubmitter(o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = s.Close() })
	return s
}

// step wants a stage.
func (b *bed) step(s *Submitter, want Stage, heads ...Head) Progress {
	b.t.Helper()
	p, err := s.Step(b.t.Context(), heads...)
	if err != nil || p.Stage != want {
		b.t.Fatalf("step: %s, %v; want %s", p, err, want)
	}
	return p
}

// finish anchors a head with blocks as they are needed.
func (b *bed) finish(s *Submitter, heads ...Head) Progress {
	b.t.Helper()
	for range 20 {
		p, err := s.Step(b.t.Context(), heads...)
		if err != nil {
			b.t.Fatal(err)
		}
		if p.Stage == Final {
			return p
		}
		b.node.Mine(b.t, 1)
	}
	b.t.Fatalf("not final after 20 blocks: %+v", s.Report())
	return Progress{}
}

// logged are the sizes that the contract logged for an origin, on the chain as it
// is now.
func (b *bed) logged(origin string) (sizes []uint64) {
	b.t.Helper()
	key := Head{Origin: origin}.key()
	answer := b.node.Call(b.t, "eth_getLogs", map[string]any{"fromBlock": "0x0", "toBlock": "latest", "address": b.contract,
		"topics": []any{anchors.Events["Anchored"].ID, common.Hash(key)}})
	logs, ok := answer.([]any)
	if !ok {
		b.t.Fatalf("logs are %T", answer)
	}
	for _, l := range logs {
		m, _ := l.(map[string]any)
		data, _ := m["data"].(string)
		n, ok := new(big.Int).SetString(strings.TrimPrefix(data, "0x")[:64], 16)
		if !ok {
			b.t.Fatalf("log %v", l)
		}
		sizes = append(sizes, n.Uint64())
	}
	return sizes
}

// check is the oracle of every story: one event for each head in order, the
// newest is the contract's, and the journal says so.
func (b *bed) check(s *Submitter, want ...uint64) {
	b.t.Helper()
	if got := b.logged(testOrigin); fmt.Sprint(got) != fmt.Sprint(want) {
		b.t.Errorf("the chain has anchors of sizes %v, want %v", got, want)
	}
	newest := want[len(want)-1]
	a, ok, err := s.Newest(b.t.Context(), testOrigin)
	if err != nil || !ok || a.Head != headOf(newest) {
		b.t.Errorf("newest anchor %+v, %t, %v; want size %d", a, ok, err, newest)
	}
	r := s.Report()
	if r.Stage.Stage != Final {
		b.t.Errorf("stage %s, want final", r.Stage)
	}
	for _, l := range r.Alarms {
		if l.Healed.IsZero() {
			b.t.Errorf("alarm is open at the end: %+v", l)
		}
	}
}

func alarms(r Report) (kinds []string) {
	for _, a := range r.Alarms {
		kinds = append(kinds, a.Kind)
	}
	return kinds
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func deployed() []byte { return contract.Load().Deployed }
