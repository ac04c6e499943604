// Package evmproof verifies, without an Ethereum client, what a contract held in
// its storage after a block and which events a transaction of the block left.
//
// It promises: under a block hash that the caller trusts, an [Account], a slot's
// value and a [Receipt] are exactly those that the block commits to. It does not
// say that the block is on any chain or final; whoever names the hash answers for
// that. Nothing here reads the chain id, and a header's time is what its proposer
// wrote, within the rules of the chain.
//
// Input is what JSON-RPC gives, decoded from hex:
//
//	header         RLP of the block header (debug_getRawHeader), 15 to 32 fields
//	account proof  accountProof of eth_getProof: trie nodes under the state root,
//	               root first, for keccak256(address)
//	storage proof  storageProof[].proof: nodes under the account's storage root,
//	               root first, for keccak256(slot)
//	receipt proof  nodes under the receipts root, root first, for rlp(index of the
//	               transaction); no standard RPC call gives it
//
// The nodes are those of the Merkle Patricia trie of the Ethereum yellow paper,
// appendix D: RLP lists of 17 or 2 items, named by their keccak256, nodes under 32
// bytes written into their parent. A proof holds the nodes of the path and no
// other; RLP is accepted in its one canonical form only.
package evmproof

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/sha3"
)

// Limits of what is verified.
const (
	MaxHeader = 8 << 10  // bytes
	MaxNodes  = 64       // of one proof
	MaxProof  = 64 << 10 // bytes of one proof's nodes together

	maxLogs = 2048 // of a receipt; a log has 24 bytes or more
)

// A Header is a block header whose hash has been checked.
type Header struct {
	Hash         [32]byte
	Number       uint64
	Time         uint64 // seconds since 1970, by the proposer
	StateRoot    [32]byte
	ReceiptsRoot [32]byte
}

// ParseHeader decodes a header that must have the hash that the caller trusts.
func ParseHeader(trusted [32]byte, raw []byte) (Header, error) {
	if len(raw) > MaxHeader {
		return Header{}, fmt.Errorf("header of %d bytes is over the limit of %d", len(raw), MaxHeader)
	}
	if got := Keccak256(raw); got != trusted {
		return Header{}, fmt.Errorf("header hashes to %x, trusted is %x", got, trusted)
	}
	f, err := decodeList(raw, 32)
	if err != nil {
		return Header{}, fmt.Errorf("header: %w", err)
	}
	if len(f) < 15 {
		return Header{}, fmt.Errorf("header of %d fields, want 15 or more", len(f))
	}
	h := Header{Hash: trusted}
	if err := errors.Join(f[3].hash(&h.StateRoot), f[5].hash(&h.ReceiptsRoot), f[8].uint(&h.Number), f[11].uint(&h.Time)); err != nil {
		return Header{}, fmt.Errorf("header: %w", err)
	}
	return h, nil
}

// An Account is the state of one address.
type Account struct {
	Nonce       uint64
	StorageRoot [32]byte
	CodeHash    [32]byte // keccak256 of the contract's code
}

// Account returns the state of address after the block. An address without
// state is an error.
func (h Header) Account(address [20]byte, proof [][]byte) (Account, error) {
	key := Keccak256(address[:])
	leaf, err := walk(h.StateRoot, key[:], proof)
	if err != nil {
		return Account{}, fmt.Errorf("account %x: %w", address, err)
	}
	if leaf == nil {
		return Account{}, fmt.Errorf("account %x does not exist in block %d", address, h.Number)
	}
	f, err := decodeList(leaf, 4) // nonce, balance, storage root, code hash
	if err == nil && len(f) != 4 {
		err = fmt.Errorf("%d fields, want 4: %w", len(f), errRLP)
	}
	if err != nil {
		return Account{}, fmt.Errorf("account %x: %w", address, err)
	}
	var a Account
	if err := errors.Join(f[0].uint(&a.Nonce), f[2].hash(&a.StorageRoot), f[3].hash(&a.CodeHash)); err != nil {
		return Account{}, fmt.Errorf("account %x: %w", address, err)
	}
	return a, nil
}

// Slot returns what the account's storage holds at slot, as a number of 32 bytes,
// the highest first. The slot's absence proves zero.
func (a Account) Slot(slot [32]byte, proof [][]byte) (value [32]byte, err error) {
	key := Keccak256(slot[:])
	leaf, err := walk(a.StorageRoot, key[:], proof)
	if err != nil {
		return value, fmt.Errorf("slot %x: %w", slot, err)
	}
	if leaf == nil {
		return value, nil
	}
	v, rest, err := split(leaf)
	if err != nil || len(rest) > 0 || v.list || len(v.content) < 1 || len(v.content) > 32 || v.content[0] == 0 {
		return value, fmt.Errorf("slot %x holds %x, which is no number of 1 to 32 bytes: %w", slot, leaf, errRLP)
	}
	copy(value[32-len(v.content):], v.content)
	return value, nil
}

// VerifySlot reports an error unless the account's storage holds want at slot. A
// want of zero is proven by the slot's absence.
func (a Account) VerifySlot(slot, want [32]byte, proof [][]byte) error {
	got, err := a.Slot(slot, proof)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("slot %x holds %x, want %x", slot, got, want)
	}
	return nil
}

// A Receipt is what one transaction of the block left.
type Receipt struct {
	OK   bool // the transaction did not revert
	Logs []Log
}

// A Log is an event.
type Log struct {
	Address [20]byte
	Topics  [][32]byte // at most 4
	Data    []byte
}

// Receipt returns the receipt of the transaction at index in the block, from 0.
func (h Header) Receipt(index uint64, proof [][]byte) (Receipt, error) {
	leaf, err := walk(h.ReceiptsRoot, encodeUint(index), proof)
	if err == nil && leaf == nil {
		err = errors.New("does not exist")
	}
	if err != nil {
		return Receipt{}, fmt.Errorf("receipt %d of block %d: %w", index, h.Number, err)
	}
	r, err := parseReceipt(leaf)
	if err != nil {
		return Receipt{}, fmt.Errorf("receipt %d of block %d: %w", index, h.Number, err)
	}
	return r, nil
}

// parseReceipt decodes an EIP-2718 receipt: RLP, after a type byte unless legacy.
func parseReceipt(b []byte) (r Receipt, err error) {
	if len(b) > 0 && b[0] < 0x80 {
		b = b[1:]
	}
	f, err := decodeList(b, 4) // status, gas used, bloom, logs
	if err != nil {
		return Receipt{}, err
	}
	if len(f) != 4 || f[0].list {
		return Receipt{}, fmt.Errorf("%d fields, want 4: %w", len(f), errRLP)
	}
	switch status := f[0].content; { // before Byzantium it was a state root
	case bytes.Equal(status, []byte{1}):
		r.OK = true
	case len(status) != 0:
		return Receipt{}, fmt.Errorf("status %x, want 1 or nothing", status)
	}
	logs, err := f[3].items(maxLogs)
	if err != nil {
		return Receipt{}, fmt.Errorf("logs: %w", err)
	}
	for i, item := range logs {
		l, err := parseLog(item)
		if err != nil {
			return Receipt{}, fmt.Errorf("log %d: %w", i, err)
		}
		r.Logs = append(r.Logs, l)
	}
	return r, nil
}

func parseLog(item item) (l Log, err error) {
	f, err := item.items(3)
	if err != nil {
		return Log{}, err
	}
	if len(f) != 3 || f[0].list || len(f[0].content) != len(l.Address) || f[2].list {
		return Log{}, fmt.Errorf("not an address, topics and data: %w", errRLP)
	}
	topics, err := f[1].items(4)
	if err != nil {
		return Log{}, err
	}
	l.Topics = make([][32]byte, len(topics))
	for i := range topics {
		if err := topics[i].hash(&l.Topics[i]); err != nil {
			return Log{}, err
		}
	}
	l.Address, l.Data = [20]byte(f[0].content), slices.Clone(f[2].content)
	return l, nil
}

// Keccak256 is Ethereum's hash: Keccak as submitted to the SHA-3 contest, which
// pads otherwise than FIPS 202.
func Keccak256(b []byte) (sum [32]byte) {
	h := sha3.NewLegacyKeccak256()
	h.Write(b)
	h.Sum(sum[:0])
	return sum
}
