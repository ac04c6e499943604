// Package cometlight verifies, without a chain SDK, that a CometBFT chain holds
// the anchor of a checkpoint, and since when.
//
// [Verify] promises: the block that the result names was signed by more than two
// thirds of the voting power of the pinned validators, and it holds exactly the
// anchor transaction of the given checkpoint note. The evidence says nothing that
// is taken on its word. What it does not promise: that the chain did not fork (a
// third of the power can sign two blocks of one height), or that the pinned
// validators are independent of each other. With one validator it is one party's
// word. Evidence from a time when the chain had other validators
// is refused, unless it brings the steps from the pinned ones to those (version 2).
//
// # Evidence
//
// Deterministic CBOR (RFC 8949 section 4.2.1), at most 16 KiB:
//
//	comet-evidence = [
//	  version:   1,
//	  height:    1..9223372036854775807,
//	  round:     0..2147483647,
//	  header:    [14*14 bstr .size (0..128)], ; the header's fields in protobuf
//	  parts:     uint .size 4,                ; total and hash of the block's
//	  part-hash: bstr .size 32,               ; part set, as the votes name them
//	  votes:     [1*64 comet-vote],           ; rising by validator
//	  submitter: bstr .size 32,               ; key and signature of the anchor
//	  signature: bstr .size 64,               ; transaction
//	  index:     uint,                        ; of the transaction among
//	  total:     uint,                        ; the total of the block, which
//	                                          ; only shape the path
//	  aunts:     [*32 bstr .size 32],         ; RFC 9162 audit path, leaf first
//	]
//	comet-vote = [
//	  validator: uint,           ; place in the pinned set, in CometBFT's order:
//	                             ; falling power, then rising address
//	  flag:      2 / 3,          ; BlockIDFlag: for the block / for nil
//	  seconds:   0..253402300799, nanos: 0..999999999, ; since 1970, signed
//	  signature: bstr .size 64,  ; Ed25519 over the CanonicalVote
//	]
//
// The transaction itself is not carried. It is rebuilt as
//
//	[1, 1, body: bstr, submitter, signature]
//
// with the checkpoint note as the body, so it cannot be another kind of
// transaction or the anchor of another note. Its place in the tree of the data
// hash is that of the leaf SHA-256(0x00 ‖ SHA-256(tx)).
//
// The block's hash is the RFC 9162 tree hash over the 14 leaves of header. Four
// of them must be what the verifier computes: 1 the chain id, 2 the height, 6 the
// data hash (from the transaction and its path), 7 the validators hash (from the
// pinned set). The others are whatever the validators signed.
//
// # Evidence of version 2
//
//	comet-evidence-2 = [version: 2, steps: [*16 comet-step], commit: comet-commit,
//	                    height, block: bstr .size 32, seconds, nanos,   ; of the anchor's block
//	                    size: uint, origins: bstr .size 32, rest: bstr .size 32,
//	                    index: uint, path: [*40 bstr .size 32]]
//	comet-commit = [height, round, header, parts, part-hash, votes]     ; as above
//	comet-step   = [comet-commit, next: [1*64 [key: bstr .size 32, power: uint]]]
//
// proves the anchor in the history of all anchors that the app hash of a later
// block commits to, by docs/wire-format.md. It needs neither the anchor's block
// nor its transaction, and it may begin with steps: a commit by the validators
// reached so far whose header names the next ones. A step that the validators
// reached so far did not sign is one from before the pinned set and is passed
// over. That the history holds no second root of one size is, like everything in
// the state, what two thirds of the validators signed.
//
// # Time
//
// [Anchor.Time] is the median, weighted by power, of the times in all votes, for
// the block or for nil, by CometBFT's rule. It is not the header's time, which is
// that of the commit before and may be hours older than the transaction. Who
// hands over the evidence may leave out votes that two thirds do not need and so
// move the median between the times of honest validators, not beyond them while
// under a third of the power lies.
package cometlight

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// Limits of what is verified.
const (
	MaxEvidence   = 16 << 10 // bytes
	MaxNote       = 16 << 10 // bytes of a checkpoint note
	MaxValidators = 64
	MaxPower      = math.MaxInt64 / 8 // of all validators together, as in CometBFT
)

const (
	maxChainID = 50 // bytes, as in CometBFT
	maxLeaf    = 128
	maxAunts   = 32
	maxSeconds = 253402300799 // end of the year 9999, where protobuf's time ends

	forBlock, forNil = 2, 3 // BlockIDFlag
)

// A Chain is what a verifier pins, from elsewhere than the evidence.
type Chain struct {
	ID         string
	Validators []Validator // in any order
}

// A Validator is one voter of a chain.
type Validator struct {
	Key   ed25519.PublicKey
	Power uint64 // 1 on the chains that Trailmark sets up
}

// An Anchor is what has been proven.
type Anchor struct {
	Height     uint64
	Block      [32]byte  // hash of the block
	Time       time.Time // of the commit, UTC; see the package comment
	Signers    int       // validators that signed the block,
	Validators int       // of so many
	Signed     uint64    // voting power that signed the block,
	Power      uint64    // of so much
}

// evidence is the decoded comet-evidence; nothing in it is verified.
type evidence struct {
	_         struct{} `cbor:",toarray"`
	Version   uint64
	Height    uint64
	Round     uint64
	Header    [14][]byte
	PartTotal uint32
	PartHash  [32]byte
	Votes     []vote
	Submitter [32]byte
	TxSig     [64]byte
	Index     uint64
	Total     uint64
	Aunts     [][32]byte
}

type vote struct {
	_         struct{} `cbor:",toarray"`
	Validator uint64
	Flag      uint64
	Seconds   uint64
	Nanos     uint64
	Sig       [64]byte
}

// parse checks form and limits, and no hash or signature.
func parse(data []byte) (*evidence, error) {
	var e evidence
	if err := dcbor.UnmarshalMax(data, &e, MaxEvidence); err != nil {
		return nil, err
	}
	switch {
	case e.Version != 1:
		return nil, fmt.Errorf("comet evidence version %d, want 1", e.Version)
	case e.Index >= e.Total || e.Total > math.MaxInt64 || len(e.Aunts) > maxAunts:
		return nil, fmt.Errorf("transaction %d of %d with a path of %d hashes is out of bounds", e.Index, e.Total, len(e.Aunts))
	}
	return &e, e.checkCommit()
}

// checkCommit checks the form of the header and the votes.
func (e *evidence) checkCommit() error {
	switch {
	case e.Height < 1 || e.Height > math.MaxInt64:
		return fmt.Errorf("height %d, want 1 to %d", e.Height, int64(math.MaxInt64))
	case e.Round > math.MaxInt32:
		return fmt.Errorf("round %d, want at most %d", e.Round, math.MaxInt32)
	case len(e.Votes) < 1 || len(e.Votes) > MaxValidators:
		return fmt.Errorf("%d votes, want 1 to %d", len(e.Votes), MaxValidators)
	}
	for i, leaf := range e.Header {
		if len(leaf) > maxLeaf {
			return fmt.Errorf("header field %d has %d bytes, want at most %d", i+1, len(leaf), maxLeaf)
		}
	}
	for i, v := range e.Votes {
		switch {
		case i > 0 && v.Validator <= e.Votes[i-1].Validator:
			return fmt.Errorf("vote of validator %d follows that of %d", v.Validator, e.Votes[i-1].Validator)
		case v.Flag != forBlock && v.Flag != forNil:
			return fmt.Errorf("vote %d has flag %d, want %d or %d", i, v.Flag, forBlock, forNil)
		case v.Seconds > maxSeconds || v.Nanos > 999999999:
			return fmt.Errorf("vote %d is at %d s %d ns, out of bounds", i, v.Seconds, v.Nanos)
		}
	}
	return nil
}

// Verify checks that chain holds the anchor of the signed checkpoint note. It is
// pure. Any error means that nothing is proven.
func Verify(chain Chain, note, data []byte) (Anchor, error) {
	set, err := newSet(chain)
	if err != nil {
		return Anchor{}, fmt.Errorf("pinned chain %q: %w", chain.ID, err)
	}
	if len(note) > MaxNote {
		return Anchor{}, fmt.Errorf("checkpoint note of %d bytes is over the limit of %d", len(note), MaxNote)
	}
	if len(data) > 1 && data[1] == 2 {
		return verifyHistory(chain.ID, set, note, data)
	}
	e, err := parse(data)
	if err != nil {
		return Anchor{}, fmt.Errorf("comet evidence: %w", err)
	}
	block, err := e.block(chain.ID, set, note)
	if err != nil {
		return Anchor{}, err
	}
	a, err := e.signed(chain.ID, set, block)
	if err != nil {
		return Anchor{}, err
	}
	a.Time = e.time(set)
	return a, nil
}

// signed counts the votes on the block and wants over two thirds of the power.
func (e *evidence) signed(chainID string, set *set, block [32]byte) (Anchor, error) {
	a := Anchor{Height: e.Height, Block: block, Validators: len(set.validators), Power: set.power}
	for _, v := range e.Votes {
		if v.Validator >= uint64(len(set.validators)) {
			return Anchor{}, fmt.Errorf("vote of validator %d, the set has %d", v.Validator, len(set.validators))
		}
		val := set.validators[v.Validator]
		if !ed25519.Verify(val.Key, e.signBytes(chainID, block, v), v.Sig[:]) {
			return Anchor{}, fmt.Errorf("vote of validator %d (%x) on block %d carries a wrong signature", v.Validator, val.Key, e.Height)
		}
		if v.Flag == forBlock {
			a.Signers++
			a.Signed += val.Power
		}
	}
	if 3*a.Signed <= 2*a.Power {
		return Anchor{}, fmt.Errorf("block %d is signed by power %d of %d, want over two thirds", e.Height, a.Signed, a.Power)
	}
	return a, nil
}

// block returns the hash of the block that the header makes, if that header is
// of this chain, height and validator set and its data holds the anchor of note.
func (e *evidence) block(chainID string, set *set, note []byte) ([32]byte, error) {
	data, err := e.dataHash(note)
	if err != nil {
		return [32]byte{}, err
	}
	if err := e.of(chainID, set); err != nil {
		return [32]byte{}, err
	}
	if !bytes.Equal(e.Header[6], protoBytes(nil, 1, data[:])) {
		return [32]byte{}, fmt.Errorf("block %d does not hold the anchor of this checkpoint", e.Height)
	}
	return treeHash(e.Header[:]), nil
}

// of checks that the header is of this chain, height and validator set.
func (e *evidence) of(chainID string, set *set) error {
	switch {
	case !bytes.Equal(e.Header[1], protoBytes(nil, 1, []byte(chainID))):
		return fmt.Errorf("header is not of chain %q", chainID)
	case !bytes.Equal(e.Header[2], protoUint(nil, 1, e.Height)):
		return fmt.Errorf("header is not of height %d", e.Height)
	case !bytes.Equal(e.Header[7], protoBytes(nil, 1, set.hash[:])):
		return fmt.Errorf("header names other validators than the %d expected, which hash to %x\n"+
			"hint: the chain has changed its validators, or the trust file names the wrong ones", len(set.validators), set.hash)
	}
	return nil
}

// time is CometBFT's weighted median of the votes.
func (e *evidence) time(set *set) time.Time {
	votes := slices.Clone(e.Votes)
	slices.SortFunc(votes, func(a, b vote) int {
		return cmp.Or(cmp.Compare(a.Seconds, b.Seconds), cmp.Compare(a.Nanos, b.Nanos))
	})
	var total uint64
	for _, v := range votes {
		total += set.validators[v.Validator].Power
	}
	left := total / 2
	for _, v := range votes {
		power := set.validators[v.Validator].Power
		if left <= power {
			return time.Unix(int64(v.Seconds), int64(v.Nanos)).UTC()
		}
		left -= power
	}
	return time.Time{} // not reached: the powers add up to total
}

// set is a pinned validator set in CometBFT's order.
type set struct {
	validators []Validator
	power      uint64
	hash       [32]byte
}

func newSet(chain Chain) (*set, error) {
	if n := len(chain.ID); n < 1 || n > maxChainID {
		return nil, fmt.Errorf("chain id of %d bytes, want 1 to %d", n, maxChainID)
	}
	if n := len(chain.Validators); n < 1 || n > MaxValidators {
		return nil, fmt.Errorf("%d validators, want 1 to %d", n, MaxValidators)
	}
	s := &set{validators: slices.Clone(chain.Validators)}
	for i, v := range s.validators {
		// A key of small order has signatures that nobody made.
		if _, err := statement.NewKey(v.Key); err != nil {
			return nil, fmt.Errorf("validator %d: %w", i, err)
		}
		if v.Power < 1 || v.Power > MaxPower-s.power {
			return nil, fmt.Errorf("validator %d has power %d, want 1 to %d", i, v.Power, MaxPower-s.power)
		}
		s.power += v.Power
	}
	slices.SortFunc(s.validators, func(a, b Validator) int {
		x, y := sha256.Sum256(a.Key), sha256.Sum256(b.Key)
		return cmp.Or(cmp.Compare(b.Power, a.Power), bytes.Compare(x[:20], y[:20]))
	})
	leaves := make([][]byte, len(s.validators))
	seen := map[string]bool{}
	for i, v := range s.validators {
		if seen[string(v.Key)] {
			return nil, errors.New("a validator is named twice")
		}
		seen[string(v.Key)] = true
		leaves[i] = protoUint(protoBytes(nil, 1, protoBytes(nil, 1, v.Key)), 2, v.Power) // SimpleValidator
	}
	s.hash = treeHash(leaves)
	return s, nil
}
