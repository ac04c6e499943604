package evm

import (
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
)

// One head after the other, with a restart at every stage.
func TestAnchors(t *testing.T) {
	b := newBed(t)
	s := b.open(b.options())
	again := func() {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = b.open(b.options())
	}
	again()
	b.step(s, Pending, headOf(3))
	again()
	b.step(s, Pending, headOf(3))
	b.node.Mine(t, 1)
	again()
	b.step(s, Included, headOf(3))
	b.node.Mine(t, 2)
	again()
	b.step(s, Included, headOf(3))
	b.node.Mine(t, 1)
	again()
	p := b.step(s, Final, headOf(3))
	if a := p.Anchors[0]; a.Head != headOf(3) || a.Height == 0 || a.Time == 0 {
		t.Errorf("anchor %+v", a)
	}
	again()
	if p = b.step(s, Final, headOf(3)); p.Anchors[0].Head != headOf(3) {
		t.Errorf("anchor %+v", p.Anchors)
	}
	b.finish(s, headOf(7))
	b.finish(s, headOf(8))
	b.check(s, 3, 7, 8)
	r := s.Report()
	wei, gas := r.Cost.PerHead()
	if len(r.Alarms) != 0 || r.Cost.Transactions != 3 || r.Cost.Heads != 3 || wei == nil || gas < 30_000 || gas > 90_000 {
		t.Errorf("report %+v, %v wei and %d gas a head", r, wei, gas)
	}
	if per := r.Cost.Per(1000, 2000); new(big.Int).Mul(per, big.NewInt(2)).Cmp(new(big.Int).Sub((*big.Int)(r.Cost.Wei), new(big.Int).And((*big.Int)(r.Cost.Wei), big.NewInt(1)))) != 0 {
		t.Errorf("%s wei for 1,000 of 2,000 readings of %s", per, (*big.Int)(r.Cost.Wei))
	}
	stored, err := ReadReport(b.dir)
	if err != nil || stored.Cost.Heads != 3 || stored.Address != s.Address() {
		t.Errorf("stored report %+v, %v", stored, err)
	}
	// The chain's rules, at the submitter.
	var refused *Refusal
	if _, err := s.Step(t.Context(), headOf(5)); !errors.As(err, &refused) || !refused.Forever() {
		t.Errorf("a smaller size: %v", err)
	}
	if _, err := s.Step(t.Context(), Head{testOrigin, 8, rootOf(9)}); !errors.As(err, &refused) || refused.Name != "RootDiffers" {
		t.Errorf("another root: %v", err)
	}
	b.finish(s, headOf(9)) // a parked head does not keep the next
	b.check(s, 3, 7, 8, 9)
	if r := s.Report(); len(r.Parked) != 2 {
		t.Errorf("parked %+v", r.Parked)
	}
}

// A newer head takes the place of one that waits, under the same nonce.
func TestSupersede(t *testing.T) {
	b := newBed(t)
	s := b.open(b.options())
	b.step(s, Pending, headOf(3))
	b.step(s, Pending, headOf(4)) // not yet due: nothing new is signed
	if n := s.Report().Attempts; n != 1 {
		t.Errorf("%d attempts before a raise is due", n)
	}
	b.clock = b.clock.Add(61 * time.Second)
	b.step(s, Pending, headOf(5))
	if n := s.Report().Attempts; n != 2 {
		t.Errorf("%d attempts, want 2", n)
	}
	b.finish(s, headOf(5))
	b.check(s, 5)
}

// The block that held the head is replaced by one without it.
func TestReorg(t *testing.T) {
	b := newBed(t)
	s := b.open(b.options())
	b.step(s, Pending, headOf(3))
	b.node.Mine(t, 2)
	b.step(s, Included, headOf(3))
	raw := s.j.InFlight.Attempts[0].Raw
	b.node.Call(t, "anvil_reorg", 2, []any{})
	if got := b.logged(testOrigin); len(got) != 0 {
		t.Fatalf("after the reorg the chain has %v", got)
	}
	p := b.step(s, Pending, headOf(3)) // sent again, the same bytes
	if r := s.Report(); !slices.Contains(alarms(r), "reorg") || !slices.Equal(raw, s.j.InFlight.Attempts[0].Raw) {
		t.Errorf("%s, alarms %+v", p, r.Alarms)
	}
	b.finish(s, headOf(3))
	b.check(s, 3)
	if a := s.Report().Alarms; len(a) != 1 || a[0].Healed.IsZero() {
		t.Errorf("alarms %+v, want one that has healed", a)
	}
}

// Final blocks go away: an alarm that names the block, and the newest head again.
func TestRollback(t *testing.T) {
	b := newBed(t)
	before := b.node.Call(t, "evm_snapshot")
	s := b.open(b.options())
	b.finish(s, headOf(3))
	b.finish(s, headOf(4))
	b.node.Call(t, "evm_revert", before)
	p := b.step(s, Waiting, headOf(5))
	if !strings.Contains(p.Detail, "behind") || len(s.Report().Alarms) != 0 {
		t.Errorf("%s, alarms %+v: endpoints may be behind", p, s.Report().Alarms)
	}
	b.clock = b.clock.Add(31 * time.Second)
	b.step(s, Pending, headOf(5))
	r := s.Report()
	if !slices.Contains(alarms(r), "rollback") || !strings.Contains(r.Alarms[0].Text, "size 4") {
		t.Errorf("alarms %+v", r.Alarms)
	}
	b.finish(s, headOf(5))
	b.check(s, 5)
}

// Gas becomes dearer than the limit, then than what was offered.
func TestFeeSpike(t *testing.T) {
	b := newBed(t)
	s := b.open(b.options())
	dear := func(gwei string) {
		b.node.Call(t, "anvil_setNextBlockBaseFeePerGas", gwei)
		b.node.Mine(t, 1)
	}
	dear("0xba43b74000") // 800 gwei
	p := b.step(s, Waiting, headOf(3))
	if !strings.Contains(p.Detail, "limit is 500") || !strings.Contains(p.Detail, "hint") {
		t.Errorf("said %q", p.Detail)
	}
	dear("0x3b9aca00") // 1 gwei
	b.step(s, Pending, headOf(3))
	first := s.Report().Fee
	for range 3 { // blocks that our offer does not pay
		dear("0x4a817c800") // 20 gwei
	}
	b.step(s, Pending, headOf(3))
	if n := s.Report().Attempts; n != 1 {
		t.Errorf("%d attempts before one is due", n)
	}
	b.clock = b.clock.Add(61 * time.Second)
	b.step(s, Pending, headOf(4))
	r := s.Report()
	if r.Attempts != 2 || r.Fee == first {
		t.Errorf("%d attempts, the fee went from %s to %s", r.Attempts, first, r.Fee)
	}
	b.finish(s, headOf(4))
	b.check(s, 4)
}

// A node forgets a transaction.
func TestDropped(t *testing.T) {
	b := newBed(t)
	s := b.open(b.options())
	b.step(s, Pending, headOf(3))
	tx, err := s.j.InFlight.Attempts[0].tx()
	if err != nil {
		t.Fatal(err)
	}
	b.node.Call(t, "anvil_dropTransaction", tx.Hash())
	b.node.Mine(t, 1)
	if got := b.logged(testOrigin); len(got) != 0 {
		t.Fatalf("dropped, and yet %v", got)
	}
	b.step(s, Pending, headOf(3))
	b.finish(s, headOf(3))
	b.check(s, 3)
}

// Killed between the journal and the wire: the same bytes are sent later.
func TestKilledBeforeSending(t *testing.T) {
	b := newBed(t)
	down := b.target
	down.RPCs = []string{b.node.URL}
	s := b.open(b.options())
	b.step(s, Pending, headOf(3))
	saved, err := os.ReadFile(filepath.Join(b.dir, journalFile))
	if err != nil {
		t.Fatal(err)
	}
	tx, _ := s.j.InFlight.Attempts[0].tx()
	b.node.Call(t, "anvil_dropTransaction", tx.Hash()) // as if never sent
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = b.open(b.options())
	b.finish(s, headOf(3))
	b.check(s, 3)
	// And the other way: sent and mined, and the journal that says so is lost to
	// an older one.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, journalFile), saved, 0o600); err != nil {
		t.Fatal(err)
	}
	s = b.open(b.options())
	b.finish(s, headOf(3))
	b.finish(s, headOf(4))
	b.check(s, 3, 4)
}

// Every endpoint is down for the whole run: nothing is lost, and it is said.
func TestEndpointsDown(t *testing.T) {
	b := newBed(t)
	o := b.options()
	down := b.target
	down.RPCs = []string{"http://secret:pass@127.0.0.1:1/key"}
	o.Client = b.dial(down)
	s := b.open(o)
	for range 3 {
		_, err := s.Step(within(t, 5*time.Second), headOf(3))
		if err == nil || strings.Contains(err.Error(), "pass") || strings.Contains(err.Error(), "/key") || !strings.Contains(err.Error(), "127.0.0.1:1") {
			t.Fatalf("said %v", err)
		}
	}
	r := s.Report()
	if r.Stage.Stage != Waiting || r.Stage.Detail == "" || r.Endpoints[0].Trouble == "" {
		t.Errorf("report %+v", r)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = b.open(b.options())
	b.finish(s, headOf(4))
	b.check(s, 4)
}

// The endpoint serves another chain, or another contract: nothing is signed.
func TestWrongChain(t *testing.T) {
	b := newBed(t)
	s := b.open(b.options())
	b.finish(s, headOf(3))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	refuses := func(target Target, want string) {
		t.Helper()
		o := b.options()
		o.Client = b.dial(target)
		s := b.open(o)
		defer s.Close()
		_, err := s.Step(t.Context(), headOf(4))
		if !errors.Is(err, ErrWrongChain) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "hint: ") {
			t.Errorf("got %v, want %q", err, want)
		}
		if r := s.Report(); !slices.Contains(alarms(r), "wrong-chain") || r.Attempts != 0 {
			t.Errorf("report %+v", r)
		}
	}
	other := newBed(t, "--chain-id", "5")
	wrong := other.target
	wrong.Contract = b.contract
	if other.contract != b.contract { // other keys, so another address: nothing is there
		refuses(wrong, "chain 5")
	}
	named := b.target
	named.ChainID = 1
	refuses(named, "chain id 31337, pinned is 1")
	named = b.target
	named.Genesis = common.Hash{1}
	refuses(named, "genesis")
	// The same id, another chain: the journal knows the genesis.
	twin := newBed(t, "--timestamp", "1700000000")
	twin.node.Call(t, "anvil_setCode", b.contract, b.node.Call(t, "eth_getCode", b.contract, "latest"))
	wrong = twin.target
	wrong.Contract = b.contract
	refuses(wrong, "genesis")
	b.node.Call(t, "anvil_setCode", b.contract, "0x6001600101")
	refuses(b.target, "another contract")
}

// Two gateways, one key. On one machine the second is refused; on two, each sees
// the other's transactions, says so and steps back, and the chain stays right.
func TestSharedKey(t *testing.T) {
	b := newBed(t)
	o := b.options()
	o.Lease = filepath.Join(t.TempDir(), "key.lease")
	first := b.open(o)
	second := o
	second.Dir = t.TempDir()
	if _, err := NewSubmitter(second); !errors.Is(err, ErrLeased) || !strings.Contains(err.Error(), "hint: ") {
		t.Fatalf("second gateway on this machine: %v", err)
	}
	second.Lease = filepath.Join(t.TempDir(), "key.lease") // another machine
	other := b.open(second)

	b.finish(first, headOf(3))
	b.step(other, Final, headOf(3))
	b.finish(other, headOf(4))
	p := b.step(first, Waiting, headOf(5)) // its nonce was taken
	if !slices.Contains(alarms(first.Report()), "foreign") || !strings.Contains(p.Detail, "held") {
		t.Errorf("%s, alarms %+v", p, first.Report().Alarms)
	}
	b.step(other, Pending, headOf(6))
	b.step(first, Waiting, headOf(6))
	b.node.Mine(t, 4)
	b.step(other, Final, headOf(6))
	b.step(first, Final, headOf(6))
	b.clock = b.clock.Add(3 * time.Minute)
	// Both send at once for the same nonce: one is mined.
	b.step(other, Pending, headOf(7))
	b.clock = b.clock.Add(3 * time.Minute)
	if p, err := first.Step(t.Context(), headOf(7)); err != nil {
		t.Fatal(p, err)
	}
	for range 12 {
		b.node.Mine(t, 1)
		b.clock = b.clock.Add(time.Minute)
		for _, s := range []*Submitter{first, other} {
			if p, err := s.Step(t.Context(), headOf(7)); err != nil {
				t.Fatal(p, err)
			}
		}
	}
	b.check(other, 3, 4, 6, 7)
	if got := b.logged(testOrigin); !slices.Equal(got, []uint64{3, 4, 6, 7}) {
		t.Errorf("anchored %v", got)
	}
}

// A transaction that is mined and reverts parks its head; the next goes on.
func TestPoison(t *testing.T) {
	b := newBed(t)
	s := b.open(b.options())
	b.step(s, Pending, headOf(3))
	b.node.Call(t, "anvil_setCode", b.contract, "0x5f5ffd") // between simulation and block the world changes
	b.node.Mine(t, 1)
	b.node.Call(t, "anvil_setCode", b.contract, hexutil.Encode(deployed()))
	b.node.Mine(t, 4)
	if _, err := s.Step(t.Context(), headOf(3)); err == nil || !strings.Contains(err.Error(), "parked") {
		t.Errorf("said %v", err)
	}
	if r := s.Report(); len(r.Parked) != 1 || !slices.Contains(alarms(r), "reverted") || r.Cost.Transactions != 1 || r.Cost.Heads != 0 {
		t.Errorf("report %+v", r)
	}
	b.finish(s, headOf(4))
	b.check(s, 4)
}

// The owner pauses the key: the reason is said, and nothing is parked.
func TestPaused(t *testing.T) {
	b := newBed(t)
	s := b.open(b.options())
	b.node.Call(t, "evm_setAutomine", true)
	b.role(testOrigin, s.Address(), PausedRole)
	var refused *Refusal
	if _, err := s.Step(t.Context(), headOf(3)); !errors.As(err, &refused) || refused.Name != "SubmitterPaused" || refused.Forever() {
		t.Errorf("paused: %v", err)
	}
	b.role(testOrigin, s.Address(), SubmitterRole)
	b.node.Call(t, "evm_setAutomine", false)
	b.finish(s, headOf(3))
	b.check(s, 3)
}

// A chain before base fees, and heads of several ledgers in one transaction.
func TestLegacyBatch(t *testing.T) {
	b := newBed(t, "--hardfork", "berlin")
	b.node.Call(t, "evm_setAutomine", true)
	two := Head{"ledger.example.com/acme/2026h2", 9, rootOf(9)}
	b.role(two.Origin, Local{b.key}.Address(), SubmitterRole)
	b.node.Call(t, "evm_setAutomine", false)
	s := b.open(b.options())
	b.step(s, Pending, headOf(3), two)
	tx, err := s.j.InFlight.Attempts[0].tx()
	if err != nil || tx.Type() != types.LegacyTxType {
		t.Fatalf("transaction of type %d, %v", tx.Type(), err)
	}
	b.clock = b.clock.Add(2 * time.Minute)
	b.step(s, Pending, headOf(4), two)
	p := b.finish(s, headOf(4), two)
	if len(p.Anchors) != 2 || p.Anchors[1].Head != two {
		t.Errorf("anchors %+v", p.Anchors)
	}
	b.check(s, 4)
	if c := s.Report().Cost; c.Transactions != 1 || c.Heads != 2 {
		t.Errorf("cost %+v", c)
	}
}
