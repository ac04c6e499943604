package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/crypto"

	"trailmark/internal/chain/anviltest"
	"trailmark/passport"
	"trailmark/passport/passporttest"
)

const evmOrigin = "ledger.example.com/acme/2026h1"

// note writes a checkpoint as a ledger signs it.
func (a *anchor) note(name, origin string, size uint64) {
	root := sha256.Sum256(fmt.Append(nil, size))
	a.file(name, fmt.Appendf(nil, "%s\n%d\n%s\n\n— %s AAAA\n", origin, size, base64.StdEncoding.EncodeToString(root[:]), origin))
}

// key writes a keystore file and its passphrase, with money on the node.
func (a *anchor) key(node *anviltest.Node, name string) (address string) {
	a.t.Helper()
	key := node.Key(a.t)
	address = crypto.PubkeyToAddress(key.PublicKey).Hex()
	data, err := keystore.EncryptKey(&keystore.Key{Address: crypto.PubkeyToAddress(key.PublicKey), PrivateKey: key}, "pass of "+name, keystore.LightScryptN, keystore.LightScryptP)
	if err != nil {
		a.t.Fatal(err)
	}
	a.file(name+".json", data)
	a.file(name+".pass", []byte("pass of "+name+"\n"))
	return address
}

// The commands in the order of a first day: deploy, submit, status, pause, pin.
func TestEVMCommands(t *testing.T) {
	a := build(t)
	node := anviltest.Start(t, "--block-time", "0.2")
	a.key(node, "owner")
	submitter := a.key(node, "submitter")
	bare := "evm+" + node.URL
	_, out, problems := a.run("deploy", "--chain", bare, "--key", "owner.json", "--passphrase", "owner.pass", "--origin", evmOrigin, "--submitter", submitter)
	line := regexp.MustCompile(`--chain '(evm\+[^']+)'`).FindStringSubmatch(out)
	if line == nil || !strings.Contains(out, submitter+" may anchor "+evmOrigin) {
		t.Fatalf("deploy: %s%s", out, problems)
	}
	chain := line[1] + ",depth=2"
	a.note("first", evmOrigin, 7)
	sign := []string{"--key", "submitter.json", "--passphrase", "submitter.pass", "--state", "state"}
	submit := func(more ...string) []string {
		return append(append([]string{"submit", "--chain", chain}, sign...), more...)
	}
	a.wants(0, evmOrigin+": size 7 is final in block", "pending", submit("first")...)
	a.wants(0, "size 7 is final in block", "", submit("first")...) // again: nothing is sent
	a.note("second", evmOrigin, 9)
	a.wants(0, "size 9 is final", "", submit("second")...)
	a.wants(1, "", "SizeSmaller", submit("first")...)
	a.wants(2, "", "a second checkpoint", submit("first", "second")...)
	a.file("noise", []byte("noise"))
	a.wants(1, "", "noise", submit("noise")...)
	a.wants(2, "", "--state", "submit", "--chain", chain, "--key", "submitter.json", "first")
	a.wants(2, "", "chain=ID", "submit", "--chain", strings.Split(chain, ",")[0], "--key", "submitter.json", "--state", "state", "first")

	status := []string{"status", "--chain", chain, "--origin", evmOrigin, "--state", "state", "--readings", "2000"}
	a.wants(0, "size 9, root 0x", "", status...)
	a.wants(0, "coins for 1,000 readings", "", status...)
	_, out, _ = a.run(append(status, "--json")...)
	var s standing
	if err := json.Unmarshal([]byte(out), &s); err != nil || s.Size != 9 || s.Key == nil || s.Key.Heads != 2 || s.Key.Role != "submitter" || s.Key.Per == "" || s.Chain != "eip155:31337" {
		t.Errorf("status %s: %v", out, err)
	}
	a.wants(0, "nothing is final", "", "status", "--chain", chain, "--origin", "nobody")
	a.wants(1, "", "not the pinned chain", "status", "--chain", strings.Replace(chain, "chain=31337", "chain=1", 1))
	a.wants(1, "endpoint   127.0.0.1:1", "", "status", "--chain", strings.Replace(chain, node.URL, "http://127.0.0.1:1", 1))
	a.wants(1, "", "no journal", "status", "--chain", chain, "--state", "none")

	role := []string{"role", "--chain", chain, "--origin", evmOrigin, "--submitter", submitter}
	a.wants(0, "role paused", "", append(role, "--role", "paused", "--key", "owner.json", "--passphrase", "owner.pass")...)
	a.note("third", evmOrigin, 12)
	a.wants(1, "", "SubmitterPaused", submit("--wait", "3s", "third")...)
	a.wants(1, "", "NotOwner", append(role, "--key", "submitter.json", "--passphrase", "submitter.pass")...)
	a.wants(0, "data  0x", "", append(role, "--calldata")...)
	a.wants(2, "", "none of submitter", append(role, "--role", "king")...)

	// A trust file takes final blocks, of this contract alone.
	data, trust := passporttest.Make(t, passporttest.Options{})
	pinned, err := trust.Encode()
	if err != nil {
		t.Fatal(err)
	}
	a.file("trust", pinned)
	a.file("passport", data)
	pin := func(more ...string) []string {
		return append([]string{"pin", "--trust", "trust", "--chain", chain, "-o", "pinned"}, more...)
	}
	a.wants(0, "pinned block 3 of eip155:31337: 0x", "", pin("--block", "3", "--block", "1", "--block", "3")...)
	made, err := os.ReadFile(filepath.Join(a.dir, "pinned"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := passport.ParseTrust(made)
	if err != nil || got.Version != 2 || len(got.Chains[len(got.Chains)-1].Contract.Blocks) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	a.wants(0, "Verified", "", "verify", "--trust", "pinned", "passport")
	a.wants(1, "", "is not final", pin("--block", "99999999")...)
	a.wants(1, "", "has no anchor on", pin("passport")...)
	a.wants(2, "", "want --trust", pin()...)
}

func TestEVMKey(t *testing.T) {
	a := build(t)
	a.file("pass", []byte("correct horse\n"))
	a.wants(0, "0x", "", "key", "--passphrase", "pass", "-o", "key.json")
	a.wants(1, "", "exists", "key", "--passphrase", "pass", "-o", "key.json")
	a.wants(2, "", "want -o", "key")
	for _, name := range []string{"key", "deploy", "role", "submit", "status", "pin"} {
		a.wants(0, "Example:", "", name, "--help")
	}
	a.wants(2, "", "--chain", "status")
	a.wants(2, "", "contract", "status", "--chain", "evm+http://127.0.0.1:1")
	a.wants(2, "", "belong together", "deploy", "--origin", "x")
}
