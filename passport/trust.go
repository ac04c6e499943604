package passport

import (
	"cmp"
	"fmt"
	"slices"

	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// Trust is what a verifier pins; it comes from elsewhere than the passport.
type Trust struct {
	Version     uint64                `cbor:"1,keyasint"`
	Authorities []statement.PublicKey `cbor:"2,keyasint"`
	Logs        []Log                 `cbor:"3,keyasint"`
	Audience    string                `cbor:"4,keyasint"`
	Chains      []Chain               `cbor:"5,keyasint"`
	Witnesses   *Witnesses            `cbor:"6,keyasint,omitempty"` // nil: cosignatures are not looked at
}

// A Log is a ledger's origin line and its key.
type Log struct {
	_      struct{} `cbor:",toarray"`
	Origin string
	Key    statement.PublicKey
}

// A Chain is a chain that anchors count on.
type Chain struct {
	ID         string      `cbor:"1,keyasint"`
	Kind       ChainKind   `cbor:"2,keyasint"`
	Validators uint64      `cbor:"3,keyasint"`           // how many vote, 0: unknown
	Keys       []Validator `cbor:"4,keyasint"`           // of a CometBFT chain; none: evidence is not checked
	Contract   *Contract   `cbor:"5,keyasint,omitempty"` // of an EVM chain; nil: evidence is not checked
}

// A Validator is a voting key of a chain.
type Validator struct {
	_     struct{} `cbor:",toarray"`
	Key   [32]byte // Ed25519
	Power uint64
}

// A Contract keeps heads on an EVM chain. Its evidence is checked at the blocks
// whose hashes the verifier has from a node, an explorer or a notary he trusts: a
// block that is not among them proves nothing here.
type Contract struct {
	_       struct{} `cbor:",toarray"`
	Address [20]byte
	Blocks  []Block // rising by number
}

// A Block is a block of an EVM chain that is taken for final.
type Block struct {
	_      struct{} `cbor:",toarray"`
	Number uint64
	Hash   statement.Hash // keccak256 of its header
}

// maxBlocks bounds the pinned blocks of a chain.
const maxBlocks = 4096

// ParseTrust decodes a trust file.
func ParseTrust(data []byte) (*Trust, error) {
	var t Trust
	if err := dcbor.Unmarshal(data, &t); err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	if t.Version != t.version() || len(t.Authorities) < 1 || len(t.Authorities) > 16 || len(t.Logs) < 1 || len(t.Logs) > 64 || len(t.Chains) > 16 {
		return nil, fmt.Errorf("trust file of version %d with %d authorities, %d logs, %d chains is out of bounds",
			t.Version, len(t.Authorities), len(t.Logs), len(t.Chains))
	}
	for _, c := range t.Chains {
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("trust file: chain %q: %w", c.ID, err)
		}
	}
	if t.Witnesses != nil {
		if err := t.Witnesses.check(); err != nil {
			return nil, fmt.Errorf("trust file: %w", err)
		}
	}
	return &t, nil
}

func (c *Chain) check() error {
	if len(c.ID) > statement.MaxText || c.Kind != Comet && c.Kind != EVM || c.Validators > statement.MaxUint || len(c.Keys) > 256 {
		return fmt.Errorf("kind %d, %d validators, %d keys are out of bounds", c.Kind, c.Validators, len(c.Keys))
	}
	if c.Kind == EVM && len(c.Keys) > 0 || len(c.Keys) > 0 && uint64(len(c.Keys)) != c.Validators {
		return fmt.Errorf("%d keys of %d validators of a chain of kind %d", len(c.Keys), c.Validators, c.Kind)
	}
	for _, v := range c.Keys {
		if v.Power < 1 || v.Power > statement.MaxUint {
			return fmt.Errorf("voting power %d is out of bounds", v.Power)
		}
	}
	if c.Contract != nil {
		return c.checkContract()
	}
	return nil
}

func (c *Chain) checkContract() error {
	blocks := c.Contract.Blocks
	if c.Kind != EVM || len(blocks) < 1 || len(blocks) > maxBlocks {
		return fmt.Errorf("contract with %d blocks of a chain of kind %d is out of bounds", len(blocks), c.Kind)
	}
	for i, b := range blocks {
		if b.Number > statement.MaxUint || i > 0 && b.Number <= blocks[i-1].Number {
			return fmt.Errorf("block %d is out of bounds or out of order", b.Number)
		}
	}
	return nil
}

// version is the one that has all members: contracts came with the second,
// witnesses with the third.
func (t *Trust) version() uint64 {
	if t.Witnesses != nil {
		return 3
	}
	if slices.ContainsFunc(t.Chains, func(c Chain) bool { return c.Contract != nil }) {
		return 2
	}
	return 1
}

// Encode is the trust file.
func (t *Trust) Encode() ([]byte, error) {
	t.Version = t.version()
	return dcbor.Marshal(t)
}

// chain is the pinned chain of an anchor.
func (t *Trust) chain(a *Anchor) (*Chain, bool) {
	for i, c := range t.Chains {
		if c.ID == a.Chain && c.Kind == a.Kind {
			return &t.Chains[i], true
		}
	}
	return nil, false
}

// Pin takes a block of an EVM chain for final, and the chain's contract for the one
// at address. A block of the same number with another hash, or another contract, is
// an error: one of the two is wrong.
func (t *Trust) Pin(chain string, address [20]byte, b Block) error {
	at := slices.IndexFunc(t.Chains, func(c Chain) bool { return c.ID == chain && c.Kind == EVM })
	if at < 0 {
		t.Chains, at = append(t.Chains, Chain{ID: chain, Kind: EVM, Keys: []Validator{}}), len(t.Chains)
	}
	c := &t.Chains[at]
	if c.Contract == nil {
		c.Contract = &Contract{Address: address}
	}
	if c.Contract.Address != address {
		return fmt.Errorf("chain %q: contract %x is pinned, not %x", chain, c.Contract.Address, address)
	}
	i, found := slices.BinarySearchFunc(c.Contract.Blocks, b.Number, func(b Block, n uint64) int { return cmp.Compare(b.Number, n) })
	if found {
		if have := c.Contract.Blocks[i].Hash; have != b.Hash {
			return fmt.Errorf("chain %q: block %d is pinned as %x, not %x", chain, b.Number, have[:], b.Hash[:])
		}
		return nil
	}
	c.Contract.Blocks = slices.Insert(c.Contract.Blocks, i, b)
	return c.check()
}
