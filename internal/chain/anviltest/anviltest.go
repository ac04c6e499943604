// Package anviltest runs a local Ethereum node, anvil, for tests: on loopback,
// for as long as the test, with blocks made when the test says so.
package anviltest

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rpc"
)

// A Node is a running anvil.
type Node struct {
	URL string
	rpc *rpc.Client
}

// Start starts anvil with further arguments, --no-mining say, or skips the test
// where npm's copy of it is not installed.
func Start(t testing.TB, args ...string) *Node {
	t.Helper()
	binary := find()
	if binary == "" {
		t.Skip("no anvil in web/node_modules (make build installs it): not tested on an Ethereum node")
	}
	cmd := exec.Command(binary, append([]string{"--host", "127.0.0.1", "--port", "0", "--accounts", "1"}, args...)...)
	cmd.Env = append(os.Environ(), "NO_COLOR=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	listening := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if _, at, ok := strings.Cut(lines.Text(), "Listening on "); ok {
				listening <- strings.TrimSpace(at)
				break
			}
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	n := &Node{}
	select {
	case at := <-listening:
		n.URL = "http://" + at
	case <-time.After(30 * time.Second):
		t.Fatal("anvil does not listen after 30 s")
	}
	if n.rpc, err = rpc.Dial(n.URL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.rpc.Close)
	return n
}

// find looks for npm's copy in the workspace above the test's folder.
func find() string {
	arch := map[string]string{"amd64": "amd64", "arm64": "arm64"}[runtime.GOARCH]
	dir, err := os.Getwd()
	for err == nil {
		path := filepath.Join(dir, "web", "node_modules", "@foundry-rs", "anvil-"+runtime.GOOS+"-"+arch, "bin", "anvil")
		if _, err := os.Stat(path); err == nil {
			return path
		}
		up := filepath.Dir(dir)
		if up == dir {
			break
		}
		dir = up
	}
	return ""
}

// Call asks the node and ends the test if it refuses.
func (n *Node) Call(t testing.TB, method string, args ...any) (answer any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := n.rpc.CallContext(ctx, &answer, method, args...); err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return answer
}

// Mine makes blocks.
func (n *Node) Mine(t testing.TB, blocks int) {
	t.Helper()
	n.Call(t, "anvil_mine", hexutil.EncodeUint64(uint64(blocks)))
}

// Key is a new key with money.
func (n *Node) Key(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	n.Call(t, "anvil_setBalance", crypto.PubkeyToAddress(key.PublicKey), "0x56bc75e2d63100000") // 100 ether
	return key
}
