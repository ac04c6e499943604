package passporttest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"slices"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/crypto/sha3"

	"trailmark/internal/dcbor"
	"trailmark/passport"
	"trailmark/statement"
)

// EVMChain is the id of the chain of kind 2, as CAIP-2 writes it.
const EVMChain = "eip155:1"

// An EVM has the ledger anchored on an EVM chain, honestly but for what is set.
type EVM struct {
	Event bool // proven by the contract's event, not by its storage

	held  func(h *held)     // alters what the contract holds and logs
	forge func(e *evmProof) // alters evidence whose block is pinned afterwards
}

// held is what the contract has of a checkpoint.
type held struct {
	contract, origin, size, root []byte // 20, 32, 8 and 32 bytes
	event                        []byte // first topic
	more                         []byte // a further topic, encoded
	status                       []byte // of the transaction
}

// evmProof is the evidence as docs of passport/internal/evmanchor say.
type evmProof struct {
	Version uint64    `cbor:"1,keyasint"`
	Header  []byte    `cbor:"2,keyasint"`
	Head    *evmHead  `cbor:"3,keyasint,omitempty"`
	Event   *evmEvent `cbor:"4,keyasint,omitempty"`
}

type evmHead struct {
	_                   struct{} `cbor:",toarray"`
	Account, Root, Size [][]byte
}

type evmEvent struct {
	_                struct{} `cbor:",toarray"`
	Transaction, Log uint64
	Receipt          [][]byte
}

// nodes are all nodes of the evidence, for them to be replaced.
func (e *evmProof) nodes() (out []*[]byte) {
	add := func(proof [][]byte) {
		for i := range proof {
			out = append(out, &proof[i])
		}
	}
	if e.Head != nil {
		add(e.Head.Account)
		add(e.Head.Root)
		add(e.Head.Size)
	}
	if e.Event != nil {
		add(e.Event.Receipt)
	}
	return out
}

// replace puts a node in the place of another and makes every hash above fit.
func (e *evmProof) replace(old, with []byte) {
	was, is := keccak(old), keccak(with)
	old = bytes.Clone(old)
	var above [][]byte
	for _, n := range e.nodes() {
		if bytes.Equal(*n, old) {
			*n = with
		} else if bytes.Contains(*n, was) && !slices.ContainsFunc(above, func(a []byte) bool { return bytes.Equal(a, *n) }) {
			above = append(above, bytes.Clone(*n))
		}
	}
	e.Header = bytes.Replace(e.Header, was, is, 1)
	for _, a := range above {
		e.replace(a, bytes.Replace(a, was, is, 1))
	}
}

// evm is an EVM chain reduced to its hashes: blocks of a few accounts, heads and
// receipts, with a trie of its own making.
type evm struct {
	o      EVM
	blocks []passport.Block
}

// contract is the address of the anchoring contract.
var contract = []byte("trailmark anchoring ")

// Shape of a block.
const (
	evmAccounts = 40
	evmOrigins  = 12
	evmReceipts = 134
	evmIndex    = 130 // of the transaction: a key of two bytes in the trie
	evmLog      = 1   // of the three that the transaction left
)

func (c *evm) pinned() passport.Chain {
	blocks := slices.SortedFunc(slices.Values(c.blocks), func(a, b passport.Block) int { return int(a.Number) - int(b.Number) })
	return passport.Chain{ID: EVMChain, Kind: passport.EVM, Keys: []passport.Validator{},
		Contract: &passport.Contract{Address: [20]byte(contract), Blocks: blocks}}
}

// anchor puts the head of a note into a block at a time in ms and proves it.
func (c *evm) anchor(note []byte, height uint64, ms int64) (*passport.Anchor, []byte) {
	h := headOf(note)
	base := slotOf(h.origin)
	if c.o.held != nil {
		c.o.held(&h)
	}
	storage := trie{}
	for i := range byte(evmOrigins) {
		other := keccak([]byte{i})
		storage.put(other, binary.BigEndian.AppendUint64(nil, 1000+uint64(i)), keccak(other), ms)
	}
	storage.put(h.origin, h.size, h.root, ms)

	state := trie{string(keccak(h.contract)): rlpList(rlpUint(1), rlpUint(0), rlpBytes(storage.root()), rlpBytes(keccak([]byte("the code"))))}
	for i := range byte(evmAccounts) {
		state[string(keccak([]byte{0xaa, i}))] = rlpList(rlpUint(uint64(i)), rlpUint(1<<40), rlpBytes(keccak([]byte{0x80})), rlpBytes(keccak(nil)))
	}

	receipts := trie{}
	for i := range uint64(evmReceipts) {
		receipts[string(rlpUint(i))] = rlpReceipt([]byte{1}, i, nil)
	}
	batch := slices.Concat(h.log(keccak([]byte{0})), h.log(h.origin), h.log(keccak([]byte{1})))
	receipts[string(rlpUint(evmIndex))] = rlpReceipt(h.status, evmIndex, batch)

	e := evmProof{Version: 1, Header: evmHeader(state.root(), receipts.root(), height, ms)}
	if c.o.Event {
		e.Event = &evmEvent{Transaction: evmIndex, Log: evmLog, Receipt: receipts.prove(rlpUint(evmIndex))}
	} else {
		e.Head = &evmHead{Account: state.prove(keccak(contract)), Root: storage.prove(keccak(base)), Size: storage.prove(keccak(after(base)))}
	}
	if c.o.forge != nil {
		c.o.forge(&e)
	}
	block := statement.Hash(keccak(e.Header))
	c.blocks = append(c.blocks, passport.Block{Number: height, Hash: block})
	return &passport.Anchor{Chain: EVMChain, Kind: passport.EVM, Height: height, Block: block, Time: ms}, dcbor.MustMarshal(e)
}

// headOf is what an honest contract holds of a checkpoint note.
func headOf(text []byte) held {
	var c log.Checkpoint
	if _, err := c.Unmarshal(text); err != nil {
		panic(err) // a note of ours
	}
	origin := sha256.Sum256([]byte(c.Origin))
	return held{contract: contract, origin: origin[:], size: binary.BigEndian.AppendUint64(nil, c.Size), root: c.Hash,
		event: keccak([]byte("Anchored(bytes32,uint64,bytes32)")), status: []byte{1}}
}

// log is the event of an origin.
func (h held) log(origin []byte) []byte {
	return rlpList(rlpBytes(h.contract), rlpList(rlpBytes(h.event), rlpBytes(origin), h.more), rlpBytes(slices.Concat(make([]byte, 24), h.size, h.root)))
}

// slotOf is where Solidity puts an origin's entry of the mapping in slot 0.
func slotOf(origin []byte) []byte { return keccak(append(bytes.Clone(origin), make([]byte, 32)...)) }

// after is the next slot.
func after(slot []byte) []byte {
	n := new(big.Int).SetBytes(slot)
	return n.Add(n, big.NewInt(1)).FillBytes(make([]byte, 32))
}

// put writes a head as Solidity lays it out.
func (t trie) put(origin, size, root []byte, ms int64) {
	base := slotOf(origin)
	packed := append(binary.BigEndian.AppendUint64(nil, uint64(ms/1000)), size...)
	t[string(keccak(base))] = rlpBytes(bytes.TrimLeft(root, "\x00"))
	t[string(keccak(after(base)))] = rlpBytes(bytes.TrimLeft(packed, "\x00"))
}

// evmHeader has the fields of a block after the Prague upgrade, of their real
// sizes.
func evmHeader(state, receipts []byte, height uint64, ms int64) []byte {
	h := func(b byte) []byte { return rlpBytes(bytes.Repeat([]byte{b}, 32)) }
	return rlpList(h(1), h(2), rlpBytes(make([]byte, 20)), rlpBytes(state), h(3), rlpBytes(receipts), rlpBytes(make([]byte, 256)),
		rlpUint(0), rlpUint(height), rlpUint(36_000_000), rlpUint(21_000*evmReceipts), rlpUint(uint64(ms/1000)), rlpBytes([]byte("test")), h(4),
		rlpBytes(make([]byte, 8)), rlpUint(1_000_000_000), h(5), rlpUint(0), rlpUint(0), h(6), h(7))
}

// rlpReceipt is the receipt of an EIP-1559 transaction.
func rlpReceipt(status []byte, index uint64, logs []byte) []byte {
	return append([]byte{2}, rlpList(rlpBytes(status), rlpUint(21_000*(index+1)), rlpBytes(make([]byte, 256)), rlpList(logs))...)
}

// Recursive length prefix, appendix B of the Ethereum yellow paper.

func rlpHead(kind byte, n int) []byte {
	if n < 56 {
		return []byte{kind + byte(n)}
	}
	size := bytes.TrimLeft(binary.BigEndian.AppendUint32(nil, uint32(n)), "\x00")
	return append([]byte{kind + 55 + byte(len(size))}, size...)
}

func rlpBytes(b []byte) []byte {
	if len(b) == 1 && b[0] < 0x80 {
		return b
	}
	return append(rlpHead(0x80, len(b)), b...)
}

func rlpUint(n uint64) []byte {
	return rlpBytes(bytes.TrimLeft(binary.BigEndian.AppendUint64(nil, n), "\x00"))
}

func rlpList(items ...[]byte) []byte {
	body := slices.Concat(items...)
	return append(rlpHead(0xc0, len(body)), body...)
}

func keccak(b []byte) []byte {
	h := sha3.NewLegacyKeccak256()
	h.Write(b)
	return h.Sum(nil)
}

// trie is a Merkle Patricia trie, appendix D of the Ethereum yellow paper, of
// keys of which none begins another.
type trie map[string][]byte

func (t trie) root() []byte { return keccak(t.prove(nil)[0]) }

// prove gives the nodes on the way to key, from the root on.
func (t trie) prove(key []byte) [][]byte {
	var paths [][]byte
	for k := range t {
		paths = append(paths, nibbles([]byte(k)))
	}
	slices.SortFunc(paths, bytes.Compare)
	var proof [][]byte
	t.node(paths, 0, nibbles(key), &proof)
	slices.Reverse(proof)
	return proof
}

// node encodes the subtrie of the paths, which agree in their first nibbles, and
// notes it in proof if the way to key leads through it.
func (t trie) node(paths [][]byte, depth int, key []byte, proof *[][]byte) []byte {
	first, last := paths[0], paths[len(paths)-1]
	common := depth
	for common < len(first) && first[common] == last[common] {
		common++
	}
	var n []byte
	switch {
	case len(paths) == 1:
		n = rlpList(rlpBytes(hexPrefix(first[depth:], 2)), rlpBytes(t[string(unnibble(first))]))
	case common > depth:
		n = rlpList(rlpBytes(hexPrefix(first[depth:common], 0)), t.child(paths, common, key, proof))
	default:
		var children [][]byte
		for v := range byte(16) {
			of := slices.DeleteFunc(slices.Clone(paths), func(p []byte) bool { return p[depth] != v })
			if len(of) == 0 {
				children = append(children, []byte{0x80})
			} else {
				children = append(children, t.child(of, depth+1, key, proof))
			}
		}
		n = rlpList(append(children, []byte{0x80})...)
	}
	if (depth == 0 || len(n) >= 32) && depth <= len(key) && bytes.Equal(first[:depth], key[:depth]) {
		*proof = append(*proof, n)
	}
	return n
}

// child is a node as its parent holds it: itself when short, else its hash.
func (t trie) child(paths [][]byte, depth int, key []byte, proof *[][]byte) []byte {
	n := t.node(paths, depth, key, proof)
	if len(n) < 32 {
		return n
	}
	return rlpBytes(keccak(n))
}

func nibbles(b []byte) []byte {
	out := []byte{}
	for _, c := range b {
		out = append(out, c>>4, c&15)
	}
	return out
}

func unnibble(n []byte) []byte {
	out := make([]byte, len(n)/2)
	for i := range out {
		out[i] = n[2*i]<<4 | n[2*i+1]
	}
	return out
}

// hexPrefix packs a part of a path; flag 2 is a leaf's.
func hexPrefix(part []byte, flag byte) []byte {
	if len(part)%2 == 1 {
		return unnibble(append([]byte{flag + 1}, part...))
	}
	return unnibble(append([]byte{flag, 0}, part...))
}
