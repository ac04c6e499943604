// Package geth does to a real geth what anvil cannot show: it is killed, and comes
// back without blocks that were final. It is an extended test, run by hand:
//
//	make test-geth
package geth

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rpc"

	"trailmark/internal/chain/evm"
	"trailmark/passport"
)

const origin = "ledger.example.com/acme/2026h1"

func head(size uint64) evm.Head {
	return evm.Head{Origin: origin, Size: size, Root: crypto.Keccak256Hash(fmt.Append(nil, size))}
}

// node is geth --dev on a folder.
type node struct {
	t    *testing.T
	path string
	dir  string
	port int
	url  string
	cmd  *exec.Cmd
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, path: filepath.Join(t.TempDir(), "geth"), dir: t.TempDir()}
	if out, err := exec.Command("go", "build", "-o", n.path, "github.com/ethereum/go-ethereum/cmd/geth").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	n.url = fmt.Sprintf("http://127.0.0.1:%d", n.port)
	n.start()
	t.Cleanup(n.kill)
	return n
}

func (n *node) start() {
	n.t.Helper()
	log, err := os.OpenFile(filepath.Join(n.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	n.cmd = exec.Command(n.path, "--dev", "--dev.period", "1", "--datadir", n.dir, "--ipcdisable", "--nodiscover", "--port", "0", "--authrpc.port", "0",
		"--http", "--http.addr", "127.0.0.1", "--http.port", fmt.Sprint(n.port), "--http.api", "eth,net,web3,debug", "--rpc.allow-unprotected-txs")
	n.cmd.Stdout, n.cmd.Stderr = log, log
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	for range 300 {
		if _, err := n.block("latest"); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	data, _ := os.ReadFile(log.Name())
	n.t.Fatalf("geth does not answer:\n%s", data)
}

func (n *node) kill() {
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
}

func (n *node) block(tag string) (uint64, error) {
	c, err := rpc.Dial(n.url)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	var b struct {
		Number hexutil.Uint64 `json:"number"`
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = c.CallContext(ctx, &b, "eth_getBlockByNumber", tag, false)
	return uint64(b.Number), err
}

// fund has geth's own account pay.
func (n *node) fund(to common.Address) {
	n.t.Helper()
	c, err := rpc.Dial(n.url)
	if err != nil {
		n.t.Fatal(err)
	}
	defer c.Close()
	var accounts []common.Address
	var hash common.Hash
	err = c.CallContext(n.t.Context(), &accounts, "eth_accounts")
	if err == nil {
		err = c.CallContext(n.t.Context(), &hash, "eth_sendTransaction", map[string]any{"from": accounts[0], "to": to, "value": (*hexutil.Big)(big.NewInt(1e18))})
	}
	if err != nil {
		n.t.Fatal(err)
	}
	for range 100 {
		var balance hexutil.Big
		if err := c.CallContext(n.t.Context(), &balance, "eth_getBalance", to, "latest"); err == nil && balance.ToInt().Sign() > 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	n.t.Fatal("no money after 10 s")
}

// deploy makes the contract, the first transaction of its owner, so that it has the
// same address on a chain that was set back.
func (n *node) deploy(owner, submitter evm.Local) evm.Target {
	n.t.Helper()
	n.fund(owner.Address())
	n.fund(submitter.Address())
	t := evm.Target{RPCs: []string{n.url}, Depth: -1, Bump: 5 * time.Second}
	c := dial(n.t, t)
	done, err := c.Deploy(n.t.Context(), owner, owner.Address(), nil)
	if err != nil {
		n.t.Fatal(err)
	}
	t.Contract = done.Contract
	if _, err := dial(n.t, t).SetRole(n.t.Context(), owner, origin, submitter.Address(), evm.SubmitterRole); err != nil {
		n.t.Fatal(err)
	}
	return t
}

func dial(t *testing.T, target evm.Target) *evm.Client {
	t.Helper()
	c, err := evm.Dial(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func newKey(t *testing.T) evm.Local {
	t.Helper()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return evm.Local{Key: key}
}

func open(t *testing.T, target evm.Target, key evm.Signer, dir string) *evm.Submitter {
	t.Helper()
	s, err := evm.NewSubmitter(evm.Options{Client: dial(t, target), Signer: key, Dir: dir, Log: slog.New(slog.DiscardHandler), Behind: 2 * time.Second, Hold: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// finish anchors a head.
func finish(t *testing.T, s *evm.Submitter, h evm.Head) evm.Anchor {
	t.Helper()
	var last string
	for range 600 {
		p, err := s.Step(t.Context(), h)
		if err == nil && p.Stage == evm.Final {
			return p.Anchors[0]
		}
		if last = p.String(); err != nil {
			last = err.Error()
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("size %d is not final: %s, %+v", h.Size, last, s.Report())
	return evm.Anchor{}
}

// geth is killed and forgets final blocks, the contract among them: the submitter
// sends nothing to a chain without it, says why, and anchors again once the owner
// has put it back.
func TestRollback(t *testing.T) {
	n := newNode(t)
	owner, key, dir := newKey(t), newKey(t), t.TempDir()
	target := n.deploy(owner, key)
	s := open(t, target, key, dir)
	first := finish(t, s, head(3))
	was := finish(t, s, head(5))
	data, err := s.Client().Evidence(t.Context(), was)
	if err != nil {
		t.Fatal(err)
	}
	pinned := passport.Chain{ID: "eip155:1337", Kind: passport.EVM, Contract: &passport.Contract{Address: target.Contract,
		Blocks: []passport.Block{{Number: was.Height, Hash: [32]byte(was.Block)}}}}
	if _, err := pinned.Anchor(note(head(5)), data); err != nil {
		t.Errorf("evidence of geth's: %v", err)
	}
	before, err := n.block("finalized")
	if err != nil || before < was.Height {
		t.Fatalf("final is block %d, the anchor is in %d: %v", before, was.Height, err)
	}
	n.kill()
	if _, err := s.Step(t.Context(), head(8)); err == nil {
		t.Error("a step with geth away")
	}
	n.start()
	after, err := n.block("latest")
	if err != nil || after >= first.Height {
		t.Skipf("geth kept its blocks this time: %d before, %d after, %v", before, after, err)
	}
	t.Logf("killed at final block %d, geth is back at block %d", before, after)
	if _, err := s.Step(t.Context(), head(8)); err == nil || !strings.Contains(err.Error(), "nothing is deployed there") {
		t.Errorf("on a chain without the contract: %v", err)
	}
	if again := n.deploy(owner, key); again.Contract != target.Contract {
		t.Fatalf("deployed at %s, was %s", again.Contract, target.Contract)
	}
	got := finish(t, s, head(8))
	on, err := s.Client().HeadAt(t.Context(), evm.Block{Number: got.Height}, origin)
	if err != nil || on.Size != 8 {
		t.Errorf("head %+v, %v", on, err)
	}
	var kinds []string
	for _, a := range s.Report().Alarms {
		if kinds = append(kinds, a.Kind); a.Healed.IsZero() {
			t.Errorf("alarm is open at the end: %+v", a)
		}
		t.Logf("alarm %s: %s", a.Kind, a.Text)
	}
	if !slices.Contains(kinds, "wrong-chain") || !slices.Contains(kinds, "rollback") {
		t.Errorf("alarms %v", kinds)
	}
}

// geth refuses a raise of 5 %, which anvil takes: ours is taken.
func TestReplacement(t *testing.T) {
	n := newNode(t)
	owner, key := newKey(t), newKey(t)
	target := n.deploy(owner, key)
	target.MaxFee = big.NewInt(1e15)
	target.Bump = 100 * time.Millisecond // due at once, while a block takes a second
	s := open(t, target, key, t.TempDir())
	raised := 0
	for size := uint64(1); size < 60 && raised < 5; size++ {
		p, err := s.Step(t.Context(), head(size))
		if err != nil {
			t.Fatal(err)
		}
		if p.Stage == evm.Pending && s.Report().Attempts > 1 {
			raised++
		}
		time.Sleep(120 * time.Millisecond)
	}
	if raised == 0 {
		t.Fatal("nothing was raised")
	}
	finish(t, s, head(100))
	t.Logf("%d raises were taken", raised)
}

func note(h evm.Head) []byte {
	return fmt.Appendf(nil, "%s\n%d\n%s\n\n— x AAAA\n", h.Origin, h.Size, base64.StdEncoding.EncodeToString(h.Root[:]))
}
