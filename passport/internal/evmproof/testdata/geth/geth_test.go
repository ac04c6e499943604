// Package geth checks evmproof against go-ethereum and writes ../golden.json,
// which the tests of evmproof and evmanchor read. It is run by hand:
//
//	go -C passport/internal/evmproof/testdata/geth test [-update]
//
// The golden file holds what a simulated geth node answered to eth_getProof for
// a contract that keeps and logs heads as package evmanchor says, and tries of
// short keys and values, in which nodes are written into their parents. Key and
// times differ from run to run.
package geth

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/rawdb"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/eth/ethconfig"
	"github.com/ethereum/go-ethereum/ethclient/gethclient"
	"github.com/ethereum/go-ethereum/ethclient/simulated"
	"github.com/ethereum/go-ethereum/ethdb/memorydb"
	"github.com/ethereum/go-ethereum/node"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/ethereum/go-ethereum/rpc"
	"github.com/ethereum/go-ethereum/trie"
	"github.com/ethereum/go-ethereum/triedb"

	"trailmark/passport/internal/evmproof"
)

var update = flag.Bool("update", false, "rewrite ../golden.json")

type golden struct {
	MadeWith string        `json:"made_with"`
	Header   hexutil.Bytes `json:"header"`
	Hash     common.Hash   `json:"hash"`
	Number   uint64        `json:"number"`
	Time     uint64        `json:"time"`

	Address      common.Address  `json:"address"`
	AccountProof []hexutil.Bytes `json:"account_proof"`
	Nonce        uint64          `json:"nonce"`
	CodeHash     common.Hash     `json:"code_hash"`
	Slots        []slot          `json:"slots"`
	Missing      common.Address  `json:"missing"`
	MissingProof []hexutil.Bytes `json:"missing_proof"`

	Heads    []head    `json:"heads"` // in the slots two by two, and in the log of the receipt of size − 1000
	Receipts []receipt `json:"receipts"`
	Tries    []entry   `json:"tries"`
}

type slot struct {
	Key   common.Hash     `json:"key"`
	Value common.Hash     `json:"value"`
	Proof []hexutil.Bytes `json:"proof"`
}

// head is what an origin line has in the contract.
type head struct {
	Origin string      `json:"origin"`
	Size   uint64      `json:"size"`
	Root   common.Hash `json:"root"`
}

func line(i int64) string { return fmt.Sprintf("ledger.example.com/acme/%dh1", 2000+i) }

type receipt struct {
	Index uint64          `json:"index"`
	OK    bool            `json:"ok"`
	Logs  []log           `json:"logs"`
	Proof []hexutil.Bytes `json:"proof"`
}

type log struct {
	Address common.Address `json:"address"`
	Topics  []common.Hash  `json:"topics"`
	Data    hexutil.Bytes  `json:"data"`
}

// entry is one look-up in a trie; no value means that the key is absent.
type entry struct {
	Root  common.Hash     `json:"root"`
	Key   hexutil.Bytes   `json:"key"`
	Value hexutil.Bytes   `json:"value"`
	Proof []hexutil.Bytes `json:"proof"`
}

// proofList keeps the nodes of a proof in order.
type proofList struct{ nodes []hexutil.Bytes }

func (p *proofList) Put(_, node []byte) error {
	p.nodes = append(p.nodes, bytes.Clone(node))
	return nil
}
func (p *proofList) Delete([]byte) error           { return errors.ErrUnsupported }
func (p *proofList) DeleteRange(_, _ []byte) error { return errors.ErrUnsupported }

func newTrie() *trie.Trie { return trie.NewEmpty(triedb.NewDatabase(rawdb.NewMemoryDatabase(), nil)) }

func prove(t *testing.T, tr *trie.Trie, key []byte) []hexutil.Bytes {
	t.Helper()
	var p proofList
	if err := tr.Prove(key, &p); err != nil {
		t.Fatal(err)
	}
	return p.nodes
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func raw(nodes []hexutil.Bytes) [][]byte {
	out := make([][]byte, len(nodes))
	for i := range nodes {
		out[i] = nodes[i]
	}
	return out
}

// anchored is the topic of the event.
var anchored = crypto.Keccak256Hash([]byte("Anchored(bytes32,uint64,bytes32)"))

// runtime is a contract that keeps and logs a head. Calldata are three words:
// time and size as they are packed, root, origin. Without it, it reverts.
func runtime() []byte {
	return common.FromHex("36600757" + "5f5ffd" + "5b" +
		"6040355f52" + "60405f20" + // keccak256(origin ‖ 32 zero bytes)
		"6020358155" + // sstore(base, root)
		"5f359060010155" + // sstore(base + 1, packed)
		"5f3567ffffffffffffffff165f52" + "602035602052" + // memory: size, root
		"604035" + "7f" + anchored.Hex()[2:] + "60405f" + "a2" + "00") // log2(0, 64, anchored, origin)
}

func TestNode(t *testing.T) {
	ctx := t.Context()
	key := must(crypto.GenerateKey())(t)
	from := crypto.PubkeyToAddress(key.PublicKey)
	contract := common.HexToAddress("0x7261696c6d61726b000000000000000000000001")
	alloc := types.GenesisAlloc{
		from:     {Balance: new(big.Int).Exp(big.NewInt(10), big.NewInt(20), nil)},
		contract: {Code: runtime(), Balance: new(big.Int), Nonce: 1},
	}
	for i := range 300 {
		alloc[common.BigToAddress(big.NewInt(int64(1_000_000+i)))] = types.Account{Balance: big.NewInt(int64(i + 1))}
	}
	ipc := filepath.Join(t.TempDir(), "ipc") // eth_getProof is not in simulated.Client
	sim := simulated.NewBackend(alloc, func(c *node.Config, _ *ethconfig.Config) { c.IPCPath = ipc })
	defer sim.Close()
	client := sim.Client()
	nonce := uint64(0)
	send := func(data []byte) common.Hash {
		t.Helper()
		tx := sign(t, ctx, client, key, nonce, contract, data)
		nonce++
		return tx.Hash()
	}
	originOf := func(i int64) []byte {
		sum := sha256.Sum256([]byte(line(i)))
		return sum[:]
	}
	rootOf := func(size int64) []byte { return crypto.Keccak256(big.NewInt(size).Bytes()) }
	anchor := func(i, size int64) []byte { // calldata
		packed := new(big.Int).Lsh(big.NewInt(1_700_000_000+size), 64)
		return bytes.Join([][]byte{common.BigToHash(packed.Add(packed, big.NewInt(size))).Bytes(), rootOf(size), originOf(i)}, nil)
	}
	slotOf := func(i int64) common.Hash { return crypto.Keccak256Hash(originOf(i), make([]byte, 32)) }
	for i := range int64(40) {
		send(anchor(i, i+1))
		if i%10 == 9 {
			sim.Commit()
		}
	}
	var hashes []common.Hash
	for i := range int64(5) {
		hashes = append(hashes, send(anchor(i, 1000+i)))
	}
	hashes = append(hashes, send(nil)) // reverts
	sim.Commit()

	header := must(client.HeaderByNumber(ctx, nil))(t)
	g := golden{
		MadeWith: "go-ethereum v1.17.8, ethclient/simulated; see testdata/geth",
		Header:   must(rlp.EncodeToBytes(header))(t), Hash: header.Hash(), Number: header.Number.Uint64(), Time: header.Time,
		Address: contract, Nonce: 1, CodeHash: crypto.Keccak256Hash(runtime()),
		Heads:   []head{{line(0), 1000, common.BytesToHash(rootOf(1000))}, {line(4), 1004, common.BytesToHash(rootOf(1004))}},
		Missing: common.HexToAddress("0x00000000000000000000000000000000deadbeef"),
	}
	rc := must(rpc.Dial(ipc))(t)
	defer rc.Close()
	keys := []string{slotOf(0).Hex(), plus(slotOf(0)).Hex(), slotOf(4).Hex(), plus(slotOf(4)).Hex(), slotOf(39).Hex(), slotOf(77).Hex()}
	proof := must(gethclient.New(rc).GetProof(ctx, contract, keys, header.Number))(t)
	g.AccountProof = decode(proof.AccountProof)
	for i, s := range proof.StorageProof {
		g.Slots = append(g.Slots, slot{common.HexToHash(keys[i]), common.BigToHash(s.Value), decode(s.Proof)})
	}
	g.MissingProof = decode(must(gethclient.New(rc).GetProof(ctx, g.Missing, nil, header.Number))(t).AccountProof)

	receipts := newTrie()
	var all []*types.Receipt
	for i, h := range hashes {
		r := must(client.TransactionReceipt(ctx, h))(t)
		if int(r.TransactionIndex) != i || r.BlockHash != g.Hash {
			t.Fatalf("transaction %d is %d of block %x", i, r.TransactionIndex, r.BlockHash)
		}
		all = append(all, r)
		if err := receipts.Update(rlp.AppendUint64(nil, uint64(i)), must(r.MarshalBinary())(t)); err != nil {
			t.Fatal(err)
		}
	}
	if receipts.Hash() != header.ReceiptHash {
		t.Fatalf("receipts hash to %x, want %x", receipts.Hash(), header.ReceiptHash)
	}
	for i, r := range all {
		e := receipt{Index: uint64(i), OK: r.Status == 1, Proof: prove(t, receipts, rlp.AppendUint64(nil, uint64(i)))}
		for _, l := range r.Logs {
			e.Logs = append(e.Logs, log{l.Address, l.Topics, l.Data})
		}
		g.Receipts = append(g.Receipts, e)
	}
	check(t, &g)
	g.Tries = tries(t)
	if *update {
		b := must(json.MarshalIndent(g, "", " "))(t)
		if err := os.WriteFile("../golden.json", append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func sign(t *testing.T, ctx context.Context, c simulated.Client, key *ecdsa.PrivateKey, nonce uint64, to common.Address, data []byte) *types.Transaction {
	t.Helper()
	head := must(c.HeaderByNumber(ctx, nil))(t)
	chain := must(c.ChainID(ctx))(t)
	tx := must(types.SignNewTx(key, types.LatestSignerForChainID(chain), &types.DynamicFeeTx{
		ChainID: chain, Nonce: nonce, GasTipCap: big.NewInt(1e9), GasFeeCap: new(big.Int).Add(big.NewInt(1e9), new(big.Int).Mul(head.BaseFee, big.NewInt(2))),
		Gas: 300_000, To: &to, Data: data,
	}))(t)
	if err := c.SendTransaction(ctx, tx); err != nil {
		t.Fatal(err)
	}
	return tx
}

func plus(h common.Hash) common.Hash {
	return common.BigToHash(new(big.Int).Add(h.Big(), big.NewInt(1)))
}

func decode(proof []string) []hexutil.Bytes {
	var out []hexutil.Bytes
	for _, n := range proof {
		out = append(out, common.FromHex(n))
	}
	return out
}

// check runs evmproof over what geth said.
func check(t *testing.T, g *golden) {
	t.Helper()
	h := must(evmproof.ParseHeader(g.Hash, g.Header))(t)
	if h.Number != g.Number || h.Time != g.Time {
		t.Errorf("header %+v", h)
	}
	a := must(h.Account(g.Address, raw(g.AccountProof)))(t)
	if a.CodeHash != g.CodeHash || a.Nonce != g.Nonce {
		t.Errorf("account %+v", a)
	}
	for _, s := range g.Slots {
		if err := a.VerifySlot(s.Key, s.Value, raw(s.Proof)); err != nil {
			t.Error(err)
		}
	}
	if _, err := h.Account(g.Missing, raw(g.MissingProof)); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("missing account: %v", err)
	}
	for _, r := range g.Receipts {
		if got := must(h.Receipt(r.Index, raw(r.Proof)))(t); got.OK != r.OK || len(got.Logs) != len(r.Logs) {
			t.Errorf("receipt %+v, want %+v", got, r)
		}
	}
}

// tries are look-ups in small tries of short keys, where nodes are embedded.
func tries(t *testing.T) (all []entry) {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 4))
	short := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.IntN(4) * 0x11)
		}
		return b
	}
	for i := range 40 {
		tr := newTrie()
		length, n := 1+r.IntN(4), 1+r.IntN(30)
		for range n {
			if err := tr.Update(short(length), short(1+r.IntN(1+r.IntN(40)))); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			k := short(length)
			if i == 0 {
				k = short(length + 1) // goes on where the trie ends
			}
			all = append(all, entry{tr.Hash(), k, must(tr.Get(k))(t), prove(t, tr, k)})
		}
	}
	return all
}

// Hostile tries: a node of a good proof is mutated and the hashes above it are
// made to fit. What ours accepts, go-ethereum accepts, with the same value.
func TestRehashed(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	tr := newTrie()
	var slots []common.Hash
	for i := range 500 {
		s := crypto.Keccak256Hash(fmt.Append(nil, i))
		v := crypto.Keccak256(s[:])[:1+r.IntN(32)]
		v[0] |= 1
		if err := tr.Update(crypto.Keccak256(s[:]), must(rlp.EncodeToBytes(v))(t)); err != nil {
			t.Fatal(err)
		}
		slots = append(slots, s)
	}
	root := tr.Hash()
	ours, theirs, same := 0, 0, 0
	const rounds = 200_000
	for range rounds {
		s := slots[r.IntN(len(slots))]
		path := crypto.Keccak256(s[:])
		nodes := raw(prove(t, tr, path))
		at := r.IntN(len(nodes))
		if r.IntN(2) == 0 {
			at = len(nodes) - 1
		}
		node := bytes.Clone(nodes[at])
		for range 1 + r.IntN(3) {
			p := r.IntN(len(node))
			if r.IntN(2) == 0 {
				p = r.IntN(min(4, len(node)))
			}
			switch r.IntN(4) {
			case 0:
				node[p] ^= 1 << r.IntN(8)
			case 1:
				node[p] = byte(r.IntN(256))
			case 2:
				node = append(node[:p:p], node[p+1:]...)
			case 3:
				node = append(node[:p:p], append([]byte{byte(r.IntN(256))}, node[p:]...)...)
			}
			if len(node) == 0 {
				node = []byte{0}
			}
		}
		fits := root
		for i := at; ; i-- {
			old := crypto.Keccak256(nodes[i])
			nodes[i] = node
			sum := crypto.Keccak256(node)
			if i == 0 {
				fits = common.Hash(sum)
				break
			}
			node = bytes.Replace(nodes[i-1], old, sum, 1)
		}
		db := memorydb.New()
		for _, n := range nodes {
			if err := db.Put(crypto.Keccak256(n), n); err != nil {
				t.Fatal(err)
			}
		}
		value, err := trie.VerifyProof(fits, path, db)
		var want [32]byte
		if err == nil {
			theirs++
			if value != nil {
				content, rest, err := rlp.SplitString(value)
				if err != nil || len(rest) > 0 || len(content) > 32 {
					content = []byte("no such value, ours must refuse it")[:32]
				}
				copy(want[32-len(content):], content)
			}
		}
		got := (evmproof.Account{StorageRoot: fits}).VerifySlot(s, want, nodes)
		if got != nil && strings.Contains(got.Error(), "holds") && !strings.Contains(got.Error(), "no number") {
			t.Fatalf("ours reads another value than %x: %v", want, got)
		}
		if got == nil {
			ours++
			if err != nil {
				t.Fatalf("ours accepts what geth refuses with %v: %x", err, nodes)
			}
			if want != [32]byte{} {
				same++
			}
		}
	}
	t.Logf("%d mutants: geth reads %d of them, ours %d, %d of these hold a value", rounds, theirs, ours, same)
	if same == 0 || ours == rounds {
		t.Error("this tests one side only")
	}
}
