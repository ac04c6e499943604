package evm

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
)

// message is JSON-RPC 2.0.
type message struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   json.RawMessage `json:"error,omitempty"`
}

// proxy is an endpoint before a node that alters what is said. The returned
// message is the answer; nil: the node's.
func proxy(t *testing.T, to string, alter func(q message, ask func() message) *message) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var q message
		if err != nil || json.Unmarshal(body, &q) != nil {
			http.Error(w, "not JSON-RPC", http.StatusBadRequest)
			return
		}
		ask := func() (a message) {
			resp, err := http.Post(to, "application/json", bytes.NewReader(body))
			if err == nil {
				defer resp.Body.Close()
				err = json.NewDecoder(resp.Body).Decode(&a)
			}
			if err != nil {
				t.Error(err)
			}
			return a
		}
		a := alter(q, ask)
		if a == nil {
			got := ask()
			a = &got
		}
		a.Version, a.ID = "2.0", q.ID
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func unknownMethod(name string) *message {
	return &message{Error: json.RawMessage(`{"code":-32601,"message":"the method ` + name + ` does not exist"}`)}
}

// Endpoints that lie or are away: what a quorum says counts, and the others are
// named.
func TestQuorum(t *testing.T) {
	b := newBed(t)
	s := b.open(b.options())
	b.finish(s, headOf(3))
	_ = s.Close()
	lie := func(q message, _ func() message) *message {
		if q.Method == "eth_call" {
			return &message{Result: json.RawMessage(`"0x` + strings.Repeat("11", 96) + `"`)}
		}
		return nil
	}
	liar := proxy(t, b.node.URL, lie)
	read := func(rpcs ...string) (OnChain, *Client, error) {
		t.Helper()
		target := b.target
		target.RPCs = rpcs
		c := b.dial(target)
		_, final, err := c.Tips(t.Context())
		if err != nil {
			return OnChain{}, c, err
		}
		h, err := c.HeadAt(t.Context(), final, testOrigin)
		return h, c, err
	}
	trouble := func(c *Client, name string) string {
		for _, e := range c.Endpoints() {
			if strings.HasSuffix(name, e.Name) {
				return e.Trouble
			}
		}
		return ""
	}
	good := proxy(t, b.node.URL, func(message, func() message) *message { return nil })
	if h, c, err := read(b.node.URL, good, liar); err != nil || h.Size != 3 || !strings.Contains(trouble(c, liar), "others") {
		t.Errorf("one of three lies: %+v, %v, %+v", h, err, c.Endpoints())
	}
	if _, _, err := read(b.node.URL, liar); !errors.Is(err, ErrDisagree) || !strings.Contains(err.Error(), "1111") {
		t.Errorf("one of two lies: %v", err)
	}
	away := "http://127.0.0.1:1"
	if h, c, err := read(b.node.URL, good, away); err != nil || h.Size != 3 || trouble(c, away) == "" {
		t.Errorf("one of three is away: %+v, %v, %+v", h, err, c.Endpoints())
	}
	if _, _, err := read(b.node.URL, away); err == nil || errors.Is(err, ErrDisagree) {
		t.Errorf("one of two is away: %v", err)
	}
	slow := proxy(t, b.node.URL, func(message, func() message) *message { time.Sleep(3 * time.Second); return nil })
	began := time.Now()
	if h, _, err := read(b.node.URL, good, slow); err != nil || h.Size != 3 || time.Since(began) > 5*time.Second {
		t.Errorf("one of three is slow: %+v, %v after %v", h, err, time.Since(began))
	}
	// A submitter through a quorum with a liar anchors all the same; with two
	// liars of three that agree, the contract still refuses what it must.
	target := b.target
	target.RPCs = []string{liar, b.node.URL, good}
	o := b.options()
	o.Client = b.dial(target)
	s = b.open(o)
	b.finish(s, headOf(4))
	b.check(s, 3, 4)
}

// FISCO BCOS 3.16 speaks web3 RPC without eth_feeHistory, eth_getProof, base fees
// and finalized tag; its headers are not Ethereum's, so nothing can be proven.
func TestFISCO(t *testing.T) {
	b := newBed(t, "--hardfork", "berlin")
	var asked atomic.Int32
	url := proxy(t, b.node.URL, func(q message, ask func() message) *message {
		switch q.Method {
		case "eth_feeHistory", "eth_getProof", "eth_maxPriorityFeePerGas", "eth_getBlockReceipts":
			if q.Method == "eth_feeHistory" {
				asked.Add(1)
			}
			return unknownMethod(q.Method)
		case "eth_getBlockByNumber":
			if bytes.Contains(q.Params, []byte("finalized")) {
				return &message{Error: json.RawMessage(`{"code":-32602,"message":"invalid block number: finalized"}`)}
			}
		case "eth_getBlockByHash":
			a := ask()
			a.Result = bytes.Replace(a.Result, []byte(`"extraData":"0x`), []byte(`"extraData":"0xf15c0b`), 1)
			return &a
		}
		return nil
	})
	target := b.target
	target.RPCs, target.Depth = []string{url}, -1
	o := b.options()
	o.Client = b.dial(target)
	s := b.open(o)
	if _, err := s.Step(t.Context(), headOf(3)); err == nil || !strings.Contains(err.Error(), "hint: ") || !strings.Contains(err.Error(), "depth=") {
		t.Errorf("no finalized tag: %v", err)
	}
	_ = s.Close()
	target.Depth = 0 // a BFT chain's block is final
	o.Client = b.dial(target)
	s = b.open(o)
	p := b.finish(s, headOf(3))
	b.check(s, 3)
	if _, err := o.Client.Evidence(t.Context(), p.Anchors[0]); !errors.Is(err, ErrNoEvidence) || !strings.Contains(err.Error(), "not Ethereum's") {
		t.Errorf("evidence: %v", err)
	}
	if asked.Load() != 0 {
		t.Error("eth_feeHistory was asked for")
	}
}

func TestKeystore(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "key.json")
	if err := seal(path, key, "correct horse", keystore.LightScryptN, keystore.LightScryptP); err != nil {
		t.Fatal(err)
	}
	if err := seal(path, key, "x", 2, 1); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a key that is there: %v", err)
	}
	s, err := OpenSigner(path, write("pass", "correct horse\nsecond line\n"))
	if err != nil || s.Address() != crypto.PubkeyToAddress(key.PublicKey) {
		t.Fatalf("%v, %v", s, err)
	}
	for name, c := range map[string]struct{ key, pass, want string }{
		"wrong passphrase": {path, write("wrong", "battery staple"), "hint: "},
		"no passphrase":    {path, "", "hint: "},
		"no keystore":      {write("noise", "{}"), write("p", "x"), "noise"},
		"too large":        {write("large", strings.Repeat(" ", maxKeyFile+1)), write("p", "x"), "over the limit"},
		"missing":          {filepath.Join(dir, "none"), write("p", "x"), "none"},
		"scheme":           {"vault+http://user:secret@127.0.0.1:1/x#0x", "", "neither a file"},
		"no address":       {"clef+http://127.0.0.1:1", "", "40 hex digits"},
	} {
		if _, err := OpenSigner(c.key, c.pass); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	fresh := filepath.Join(dir, "fresh.json")
	if _, err := NewKey(fresh, write("empty", "\nx")); err == nil {
		t.Error("a key without a passphrase")
	}
	address, err := NewKey(fresh, write("p2", "long enough"))
	if err != nil {
		t.Fatal(err)
	}
	if s, err := OpenSigner(fresh, write("p2", "long enough")); err != nil || s.Address() != address {
		t.Errorf("%v, %v", s, err)
	}
	if info, err := os.Stat(fresh); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// sendTxArgs is what Clef and Web3Signer read, as go-ethereum's signer/core/apitypes
// spells it.
type sendTxArgs struct {
	From                 common.Address  `json:"from"`
	To                   *common.Address `json:"to"`
	Gas                  hexutil.Uint64  `json:"gas"`
	GasPrice             *hexutil.Big    `json:"gasPrice"`
	MaxFeePerGas         *hexutil.Big    `json:"maxFeePerGas"`
	MaxPriorityFeePerGas *hexutil.Big    `json:"maxPriorityFeePerGas"`
	Value                hexutil.Big     `json:"value"`
	Nonce                hexutil.Uint64  `json:"nonce"`
	Data                 *hexutil.Bytes  `json:"data"`
	ChainID              *hexutil.Big    `json:"chainId"`
}

// signerStub speaks both protocols over HTTP with a real key; edit alters what it
// signs.
func signerStub(t *testing.T, key Local, edit func(*types.DynamicFeeTx)) string {
	t.Helper()
	return proxy(t, "", func(q message, _ func() message) *message {
		if q.Method != "eth_signTransaction" && q.Method != "account_signTransaction" {
			return unknownMethod(q.Method)
		}
		var args []sendTxArgs
		d := json.NewDecoder(bytes.NewReader(q.Params))
		d.DisallowUnknownFields()
		if err := d.Decode(&args); err != nil || len(args) != 1 || args[0].Data == nil || args[0].ChainID == nil {
			return &message{Error: json.RawMessage(`{"code":-32602,"message":"invalid arguments"}`)}
		}
		a := args[0]
		var inner types.TxData
		if a.MaxFeePerGas != nil {
			tx := &types.DynamicFeeTx{ChainID: (*big.Int)(a.ChainID), Nonce: uint64(a.Nonce), GasTipCap: (*big.Int)(a.MaxPriorityFeePerGas),
				GasFeeCap: (*big.Int)(a.MaxFeePerGas), Gas: uint64(a.Gas), To: a.To, Value: (*big.Int)(&a.Value), Data: *a.Data}
			if edit != nil {
				edit(tx)
			}
			inner = tx
		} else {
			inner = &types.LegacyTx{Nonce: uint64(a.Nonce), GasPrice: (*big.Int)(a.GasPrice), Gas: uint64(a.Gas), To: a.To, Value: (*big.Int)(&a.Value), Data: *a.Data}
		}
		signed, err := types.SignNewTx(key.Key, types.LatestSignerForChainID((*big.Int)(a.ChainID)), inner)
		if err != nil {
			t.Error(err)
			return nil
		}
		raw, err := signed.MarshalBinary()
		if err != nil {
			t.Error(err)
		}
		answer := any(hexutil.Bytes(raw)) // Web3Signer
		if q.Method == "account_signTransaction" {
			answer = map[string]any{"raw": hexutil.Bytes(raw), "tx": signed}
		}
		result, err := json.Marshal(answer)
		if err != nil {
			t.Error(err)
		}
		return &message{Result: result}
	})
}

// External signers hold the key, and are trusted with nothing else.
func TestExternalSigner(t *testing.T) {
	b := newBed(t)
	key := Local{b.key}
	for i, kind := range []string{"web3signer+", "clef+"} {
		s, err := OpenSigner(kind+signerStub(t, key, nil)+"#"+key.Address().Hex(), "")
		if err != nil {
			t.Fatal(err)
		}
		o := b.options()
		o.Signer, o.Dir = s, t.TempDir()
		sub := b.open(o)
		b.finish(sub, headOf(uint64(3+i)))
		to := b.contract
		legacy := transaction(31337, 9, &to, []byte{1}, 50_000, fees{Cap: big.NewInt(7)})
		if tx, err := s.Sign(t.Context(), 31337, legacy); err != nil || tx.Type() != types.LegacyTxType {
			t.Errorf("%slegacy: %v", kind, err)
		}
	}
	if got := b.logged(testOrigin); len(got) != 2 {
		t.Errorf("anchored %v", got)
	}
	// anvil itself speaks eth_signTransaction for its own account.
	accounts, _ := b.node.Call(t, "eth_accounts").([]any)
	own, _ := accounts[0].(string)
	s, err := OpenSigner("web3signer+"+b.node.URL+"#"+own, "")
	if err != nil {
		t.Fatal(err)
	}
	to := b.contract
	tx := transaction(31337, 0, &to, []byte{1, 2}, 50_000, fees{Cap: big.NewInt(2e9), Tip: big.NewInt(1e9)})
	if signed, err := s.Sign(t.Context(), 31337, tx); err != nil || signed.Nonce() != 0 {
		t.Errorf("anvil as a signer: %v", err)
	}
	for name, c := range map[string]struct {
		url, want string
	}{
		"another recipient": {signerStub(t, key, func(tx *types.DynamicFeeTx) { tx.To = &common.Address{1} }), "another transaction"},
		"another fee":       {signerStub(t, key, func(tx *types.DynamicFeeTx) { tx.GasFeeCap = big.NewInt(9e18) }), "another transaction"},
		"another key":       {signerStub(t, b.owner, nil), "want " + key.Address().Hex()},
		"noise":             {proxy(t, "", func(message, func() message) *message { return &message{Result: json.RawMessage(`"0x1234"`)} }), "no transaction"},
		"refusal":           {proxy(t, "", func(q message, _ func() message) *message { return unknownMethod(q.Method) }), "does not exist"},
		"away":              {"http://user:secret@127.0.0.1:1/token", "refused"},
	} {
		s, err := OpenSigner("web3signer+"+c.url+"#"+key.Address().Hex(), "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Sign(t.Context(), 31337, tx); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "token") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
