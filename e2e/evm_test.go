package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/crypto"

	"trailmark/internal/chain/anviltest"
	"trailmark/passport"
)

// chainsOf is what the gateway's figures say of chains beside the embedded one.
type chainsOf struct {
	Ledger uint64 `json:"ledger_size"`
	Chains []struct {
		Chain    string `json:"chain"`
		Anchored uint64 `json:"anchored_size"`
		State    string `json:"state"`
		Trouble  string `json:"trouble"`
		Fee      string `json:"fee_per_anchor"`
		Readings string `json:"fee_per_1000_readings"`
		Open     int    `json:"alarms_open"`
	} `json:"chains"`
}

// TestAnchoredOnEVM: a gateway anchors on a chain beside its own, through kills and
// an endpoint that is away; a passport's anchor there is declared to whoever pins
// nothing, and checked once the trust file pins its block.
func TestAnchoredOnEVM(t *testing.T) {
	node := anviltest.Start(t, "--block-time", "0.3")
	s := startStage(t, "--lead", "1s", "--stay", "1h")
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, data []byte) string {
		t.Helper()
		if err := os.WriteFile(path(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path(name)
	}
	key := node.Key(t)
	address := crypto.PubkeyToAddress(key.PublicKey)
	sealed, err := keystore.EncryptKey(&keystore.Key{Address: address, PrivateKey: key}, "secret", keystore.LightScryptN, keystore.LightScryptP)
	if err != nil {
		t.Fatal(err)
	}
	keyFile, pass := write("key.json", sealed), write("pass", []byte("secret\n"))
	var org struct {
		Origin string `json:"origin"`
	}
	data, err := os.ReadFile(filepath.Join(s.Dir, "organisation.json"))
	if err == nil {
		err = json.Unmarshal(data, &org)
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Run(t.Context(), "anchor", "deploy", "--chain", "evm+"+node.URL, "--key", keyFile, "--passphrase", pass, "--origin", org.Origin, "--submitter", address.Hex())
	line := regexp.MustCompile(`--chain '([^']+)'`).FindStringSubmatch(out)
	if err != nil || line == nil {
		t.Fatal(out, err)
	}
	chain := line[1] + ",depth=2"
	restart := func(url string, more ...string) {
		t.Helper()
		if err := s.KillGateway(); err != nil {
			t.Fatal(err)
		}
		s.Gateway = append([]string{"--chain", url, "--chain-key", keyFile, "--chain-passphrase", pass, "--chain-every", "1s"}, more...)
		if err := s.StartGateway(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	figures := func() (f chainsOf) {
		t.Helper()
		if code, data, err := s.Get(t.Context(), "/api/figures", "application/json"); err == nil && code == 200 {
			if err := json.Unmarshal(data, &f); err != nil {
				t.Fatal(err)
			}
		}
		return f
	}
	item := s.World.Items[0].Link
	// judge says what the anchors of the passport at hand are to a trust file.
	judge := func(trust string) (checked, declared, others int) {
		t.Helper()
		out, err := s.Run(t.Context(), "anchor", "verify", "--json", "--trust", trust, path("item.passport"))
		var v struct {
			Anchors []passport.AnchorFacts `json:"anchors"`
		}
		if err == nil {
			err = json.Unmarshal([]byte(out), &v)
		}
		if err != nil {
			t.Fatal(out, err)
		}
		for _, a := range v.Anchors {
			switch {
			case a.Kind == passport.EVM && a.Checked:
				checked++
			case a.Kind == passport.EVM:
				declared++
			default:
				others++
			}
		}
		return checked, declared, others
	}
	// verified gets a passport first.
	verified := func(trust string) (checked, declared int) {
		t.Helper()
		code, data, err := s.Get(t.Context(), item, passport.MediaType)
		if err != nil || code != 200 {
			return 0, 0
		}
		write("item.passport", data)
		checked, declared, _ = judge(trust)
		return checked, declared
	}

	// The endpoint is away: the gateway works, and says that it lags.
	restart(strings.Replace(chain, node.URL, "http://127.0.0.1:1", 1))
	eventually(t, 30*time.Second, "the trouble to be told", func() bool {
		f := figures()
		return len(f.Chains) == 1 && strings.Contains(f.Chains[0].Trouble, "127.0.0.1:1") && f.Chains[0].Anchored == 0 && f.Ledger > 0
	})
	// It is back.
	restart(chain)
	eventually(t, 60*time.Second, "an anchor", func() bool { f := figures(); return len(f.Chains) == 1 && f.Chains[0].Anchored > 0 })
	eventually(t, 60*time.Second, "a passport that shows it", func() bool { checked, declared := verified(s.Trust); return checked == 0 && declared > 0 })
	pinned := path("pinned.cbor")
	if out, err := s.Run(t.Context(), "anchor", "pin", "--trust", s.Trust, "--chain", chain, "-o", pinned, path("item.passport")); err != nil || !strings.Contains(out, "pinned block") {
		t.Fatal(out, err)
	}
	if checked, declared, others := judge(pinned); checked == 0 || declared > 0 || others == 0 {
		t.Errorf("with the blocks pinned: %d checked, %d declared, %d of the embedded chain", checked, declared, others)
	}
	// Killed at any time, and anchored on this chain alone.
	for range 3 {
		restart(chain)
		time.Sleep(700 * time.Millisecond)
	}
	restart(chain, "--passport-chain", "eip155:31337")
	grown := figures().Ledger
	eventually(t, 60*time.Second, "a newer anchor", func() bool { f := figures(); return len(f.Chains) == 1 && f.Chains[0].Anchored > grown })
	f := figures()
	if c := f.Chains[0]; c.Trouble != "" || c.Fee == "" || c.Readings == "" || c.Open != 0 {
		t.Errorf("figures %+v", c)
	}
	if _, declared := verified(s.Trust); declared == 0 {
		t.Error("no anchor on the chain in a passport that prefers it")
	}
	if out, err := s.Run(t.Context(), "anchor", "pin", "--trust", s.Trust, "--chain", chain, "-o", pinned, path("item.passport")); err != nil {
		t.Fatal(out, err)
	}
	if checked, declared, others := judge(pinned); checked == 0 || declared > 0 || others > 0 {
		t.Errorf("anchored on the chain alone: %d checked, %d declared, %d of the embedded chain", checked, declared, others)
	}
	if out, err := s.Run(t.Context(), "anchor", "verify", "--trust", pinned, path("item.passport")); err != nil || !strings.Contains(out, "checked offline against a block that the trust file names") {
		t.Error(out, err)
	}
	if out, err := s.Run(t.Context(), "anchor", "status", "--chain", chain, "--origin", org.Origin,
		"--state", filepath.Join(s.Dir, "gateway", "evm", "31337-"+strings.ToLower(regexp.MustCompile(`0x[0-9a-fA-F]{40}`).FindString(chain))), "--readings", "100"); err != nil || !strings.Contains(out, "coins for 1,000 readings") {
		t.Error(out, err)
	} else {
		t.Log("\n" + out)
	}
	// The status page shows it, in both languages.
	if code, page, err := s.Get(t.Context(), "/", "text/html"); err != nil || code != 200 || !strings.Contains(string(page), "eip155:31337") {
		t.Errorf("status page: %d, %v", code, err)
	}
}
