// Package evmanchor verifies, without an Ethereum client, that the anchoring
// contract of an EVM chain holds the head of a ledger, and since when at the
// latest.
//
// [Evidence.Verify] promises: under a block hash that the caller trusts, the
// contract at the pinned address held exactly this (origin, size, root) after
// that block, or logged it in that block. Since nobody can know a root before the
// ledger has it, the ledger was this large no later than the block's time,
// whatever the contract's code does. That the contract refuses a smaller size, or
// another root of the same size, is the promise of its code, for which whoever
// pins its address answers. It does not say that the block is on any chain or
// final; whoever names the hash answers for that.
//
// # Contract
//
// What is proven is the layout and the event of this Solidity:
//
//	struct Head { bytes32 root; uint64 size; uint64 time; }
//	mapping(bytes32 origin => Head) heads; // first variable, slot 0
//	event Anchored(bytes32 indexed origin, uint64 size, bytes32 root);
//
// with origin the SHA-256 of the ledger's origin line. Then
//
//	base     = keccak256(origin ‖ 32 zero bytes)
//	base     holds the root
//	base + 1 holds, from its lowest bit, 64 bits of size and 64 bits of time (the
//	         block's, in seconds, at which the head was set), which is not read
//	event    topics keccak256("Anchored(bytes32,uint64,bytes32)") and origin,
//	         data size, as a number of 32 bytes, ‖ root
//
// # Evidence
//
// Deterministic CBOR (RFC 8949 section 4.2.1), at most 32 KiB:
//
//	evm-evidence = { 1: 1, 2: header, 3: [ account: nodes, root: nodes, size: nodes ] } /
//	               { 1: 1, 2: header, 4: [ transaction: 0..4294967295, log: 0..2047, receipt: nodes ] }
//	header       = bstr .size (1..8192)
//	nodes        = [1*64 bstr]
//
// header is the RLP of the block's header; root and size are the proofs of the
// two slots under the account's storage; transaction is the index in the block,
// log the index among the transaction's own logs, both from 0. What nodes are
// says package evmproof.
//
// # Time
//
// The anchor's time is that of the block's header, in whole seconds, by its
// proposer within the rules of the chain.
package evmanchor

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"trailmark/internal/dcbor"
	"trailmark/passport/internal/evmproof"
	"trailmark/trace"
)

// MaxEvidence bounds what is read, in bytes.
const MaxEvidence = 32 << 10

const (
	maxTransaction = 1<<32 - 1
	maxLog         = 2047
)

// Evidence is a decoded evm-evidence; only its form is checked.
type Evidence struct {
	form  evidence
	block [32]byte
}

type evidence struct {
	Version uint64      `cbor:"1,keyasint"`
	Header  []byte      `cbor:"2,keyasint"`
	Head    *headProof  `cbor:"3,keyasint,omitempty"`
	Event   *eventProof `cbor:"4,keyasint,omitempty"`
}

type headProof struct {
	_       struct{} `cbor:",toarray"`
	Account [][]byte
	Root    [][]byte
	Size    [][]byte
}

type eventProof struct {
	_           struct{} `cbor:",toarray"`
	Transaction uint64
	Log         uint64
	Receipt     [][]byte
}

// Parse decodes evidence. It checks form and limits, and no hash.
func Parse(data []byte) (*Evidence, error) {
	var e evidence
	if err := dcbor.UnmarshalMax(data, &e, MaxEvidence); err != nil {
		return nil, fmt.Errorf("evm evidence: %w", err)
	}
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("evm evidence: %w", err)
	}
	return &Evidence{e, evmproof.Keccak256(e.Header)}, nil
}

func (e *evidence) check() error {
	var proofs [][][]byte
	switch {
	case e.Version != 1:
		return fmt.Errorf("version %d, want 1", e.Version)
	case len(e.Header) < 1 || len(e.Header) > evmproof.MaxHeader:
		return fmt.Errorf("header of %d bytes, want 1 to %d", len(e.Header), evmproof.MaxHeader)
	case (e.Head == nil) == (e.Event == nil):
		return errors.New("not exactly one of a head and an event is proven")
	case e.Head != nil:
		proofs = [][][]byte{e.Head.Account, e.Head.Root, e.Head.Size}
	case e.Event.Transaction > maxTransaction || e.Event.Log > maxLog:
		return fmt.Errorf("log %d of transaction %d is out of bounds", e.Event.Log, e.Event.Transaction)
	default:
		proofs = [][][]byte{e.Event.Receipt}
	}
	for _, nodes := range proofs {
		if len(nodes) < 1 || len(nodes) > evmproof.MaxNodes {
			return fmt.Errorf("proof of %d nodes, want 1 to %d", len(nodes), evmproof.MaxNodes)
		}
	}
	return nil
}

// Block is the hash of the block that the evidence is about. It is a promise of
// nothing until the caller has found it among those he trusts.
func (e *Evidence) Block() [32]byte { return e.block }

// A Head is what a checkpoint says of a ledger.
type Head struct {
	Origin string
	Size   uint64
	Root   [32]byte
}

// An Anchor is what has been proven.
type Anchor struct {
	Height uint64
	Block  [32]byte
	Time   int64 // ms since 1970, of whole seconds
}

// Verify checks that the contract held or logged head in the block, whose hash
// the caller must trust. It is pure.
func (e *Evidence) Verify(contract [20]byte, head Head) (Anchor, error) {
	h, err := evmproof.ParseHeader(e.block, e.form.Header)
	if err != nil {
		return Anchor{}, err
	}
	if h.Time > trace.MaxTime/1000 {
		return Anchor{}, fmt.Errorf("block %d is of second %d, out of bounds", h.Number, h.Time)
	}
	origin := sha256.Sum256([]byte(head.Origin))
	if p := e.form.Head; p != nil {
		err = p.verify(h, contract, origin, head)
	} else {
		err = e.form.Event.verify(h, contract, origin, head)
	}
	if err != nil {
		return Anchor{}, err
	}
	return Anchor{Height: h.Number, Block: e.block, Time: int64(h.Time) * 1000}, nil
}

// verify reads the two slots of the origin's head.
func (p *headProof) verify(h evmproof.Header, contract [20]byte, origin [32]byte, head Head) error {
	account, err := h.Account(contract, p.Account)
	if err != nil {
		return err
	}
	var key [64]byte // ‖ the mapping's own slot, 0
	copy(key[:], origin[:])
	base := evmproof.Keccak256(key[:])
	if err := account.VerifySlot(base, head.Root, p.Root); err != nil {
		return fmt.Errorf("root of %q in block %d: %w", head.Origin, h.Number, err)
	}
	packed, err := account.Slot(next(base), p.Size)
	if err != nil {
		return fmt.Errorf("size of %q in block %d: %w", head.Origin, h.Number, err)
	}
	if size := binary.BigEndian.Uint64(packed[24:]); size != head.Size {
		return fmt.Errorf("size of %q in block %d is %d, want %d", head.Origin, h.Number, size, head.Size)
	}
	return nil
}

// next is the slot after another, modulo 2^256.
func next(slot [32]byte) [32]byte {
	for i := len(slot) - 1; i >= 0; i-- {
		slot[i]++
		if slot[i] != 0 {
			break
		}
	}
	return slot
}

// verify finds the event among the logs of its transaction.
func (p *eventProof) verify(h evmproof.Header, contract [20]byte, origin [32]byte, head Head) error {
	r, err := h.Receipt(p.Transaction, p.Receipt)
	if err != nil {
		return err
	}
	if !r.OK {
		return fmt.Errorf("transaction %d of block %d was reverted", p.Transaction, h.Number)
	}
	if p.Log >= uint64(len(r.Logs)) {
		return fmt.Errorf("log %d of the %d of transaction %d of block %d", p.Log, len(r.Logs), p.Transaction, h.Number)
	}
	l := r.Logs[p.Log]
	want := make([]byte, 64)
	binary.BigEndian.PutUint64(want[24:], head.Size)
	copy(want[32:], head.Root[:])
	signature := evmproof.Keccak256([]byte("Anchored(bytes32,uint64,bytes32)"))
	switch {
	case l.Address != contract:
		return fmt.Errorf("log %d of transaction %d is of %x, want the contract %x", p.Log, p.Transaction, l.Address, contract)
	case len(l.Topics) != 2 || l.Topics[0] != signature:
		return fmt.Errorf("log %d of transaction %d is no anchor", p.Log, p.Transaction)
	case l.Topics[1] != origin:
		return fmt.Errorf("log %d of transaction %d is of the origin %x, want %x of %q", p.Log, p.Transaction, l.Topics[1], origin, head.Origin)
	case string(l.Data) != string(want):
		return fmt.Errorf("log %d of transaction %d says %x, want %x", p.Log, p.Transaction, l.Data, want)
	}
	return nil
}
