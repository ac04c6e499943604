package evm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"

	"trailmark/anchor/contract"
)

var anchors = func() abi.ABI {
	a, err := abi.JSON(strings.NewReader(string(contract.Load().ABI)))
	if err != nil {
		panic(fmt.Sprintf("embedded contract: %v", err))
	}
	return a
}()

// codeHash is that of every deployment of the contract.
var codeHash = crypto.Keccak256Hash(contract.Load().Deployed)

// A Head is what a checkpoint says of a ledger.
type Head struct {
	Origin string // the origin line
	Size   uint64
	Root   [32]byte
}

func (h Head) key() [32]byte { return sha256.Sum256([]byte(h.Origin)) }

// A Block is where a chain stands.
type Block struct {
	Number  uint64
	Hash    common.Hash
	Time    uint64   // seconds since 1970
	BaseFee *big.Int // nil on a chain that has none
}

// Name is the chain's CAIP-2 name.
func Name(chainID uint64) string { return fmt.Sprintf("eip155:%d", chainID) }

func number(n uint64) *big.Int { return new(big.Int).SetUint64(n) }

// rawBlock is what is read of a block: the hash is the endpoint's, since chains
// exist whose headers have more fields than Ethereum's.
type rawBlock struct {
	Number    *hexutil.Big   `json:"number"`
	Hash      *common.Hash   `json:"hash"`
	Timestamp hexutil.Uint64 `json:"timestamp"`
	BaseFee   *hexutil.Big   `json:"baseFeePerGas"`
}

func (e *endpoint) block(ctx context.Context, which string) (Block, error) {
	var raw *rawBlock
	if err := e.rpc.CallContext(ctx, &raw, "eth_getBlockByNumber", which, false); err != nil {
		return Block{}, err
	}
	if raw == nil || raw.Number == nil || raw.Hash == nil || !raw.Number.ToInt().IsUint64() {
		return Block{}, fmt.Errorf("block %s: %w", which, ethereum.NotFound)
	}
	return Block{raw.Number.ToInt().Uint64(), *raw.Hash, uint64(raw.Timestamp), (*big.Int)(raw.BaseFee)}, nil
}

// ErrNoBlock is wrapped when a chain has no such block.
var ErrNoBlock = ethereum.NotFound

func saysBlock(b Block) string { return fmt.Sprintf("block %d %x", b.Number, b.Hash[:8]) }

// BlockAt is the block of a number, as a quorum has it.
func (c *Client) BlockAt(ctx context.Context, n uint64) (Block, error) {
	return agreed(ctx, c, fmt.Sprintf("block %d", n), func(ctx context.Context, e *endpoint) (Block, error) {
		return e.block(ctx, hexutil.EncodeUint64(n))
	}, saysBlock)
}

// reached is the highest block that a quorum has, by a tag.
func (c *Client) reached(ctx context.Context, tag string) (Block, error) {
	all := ask(ctx, c, func(ctx context.Context, e *endpoint) (Block, error) { return e.block(ctx, tag) })
	var heights []uint64
	var errs []error
	for _, a := range all {
		if a.err != nil {
			a.from.say(a.err.Error())
			errs = append(errs, fmt.Errorf("%s: %w", a.from.name, a.err))
			continue
		}
		heights = append(heights, a.value.Number)
	}
	if len(heights) < c.target.Quorum {
		if err := ctx.Err(); err != nil {
			return Block{}, err
		}
		return Block{}, fmt.Errorf("%s block: %d of %d endpoints answered: %w", tag, len(heights), c.target.Quorum, errors.Join(errs...))
	}
	slices.SortFunc(heights, func(a, b uint64) int { return compare(b, a) })
	return c.BlockAt(ctx, heights[c.target.Quorum-1])
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Tips are the newest block and the newest final one, by the target's rule.
func (c *Client) Tips(ctx context.Context) (latest, final Block, err error) {
	if latest, err = c.reached(ctx, "latest"); err != nil {
		return latest, final, err
	}
	if c.target.Depth < 0 {
		if final, err = c.reached(ctx, "finalized"); err != nil {
			return latest, final, fmt.Errorf("%w\nhint: a chain that does not know finalized blocks needs depth=N after #", err)
		}
		return latest, final, nil
	}
	depth := uint64(c.target.Depth)
	if depth == 0 {
		return latest, latest, nil
	}
	final, err = c.BlockAt(ctx, latest.Number-min(depth, latest.Number))
	return latest, final, err
}

// OnChain is what a contract keeps of an origin; Size 0: nothing.
type OnChain struct {
	Root common.Hash
	Size uint64
	Time uint64 // of the block that took it, in seconds
}

// HeadAt is the head of an origin after a block.
func (c *Client) HeadAt(ctx context.Context, at Block, origin string) (OnChain, error) {
	call, err := anchors.Pack("heads", Head{Origin: origin}.key())
	if err != nil {
		return OnChain{}, err
	}
	out, err := c.call(ctx, at, "heads", call)
	if err != nil {
		return OnChain{}, err
	}
	if len(out) == 0 { // the contract is younger than the block
		return OnChain{}, nil
	}
	v, err := anchors.Unpack("heads", out)
	if err != nil || len(v) != 3 {
		return OnChain{}, fmt.Errorf("head of %q in block %d: %d bytes are no head: %w", origin, at.Number, len(out), err)
	}
	root, _ := v[0].([32]byte)
	size, _ := v[1].(uint64)
	time, _ := v[2].(uint64)
	return OnChain{root, size, time}, nil
}

func (c *Client) call(ctx context.Context, at Block, what string, data []byte) ([]byte, error) {
	return agreed(ctx, c, fmt.Sprintf("%s in block %d", what, at.Number), func(ctx context.Context, e *endpoint) ([]byte, error) {
		return e.eth.CallContract(ctx, ethereum.CallMsg{To: &c.target.Contract, Data: data}, number(at.Number))
	}, func(b []byte) string { return hexutil.Encode(b) })
}

// Role says what an address may do for an origin: 0 nothing, 1 submit, 2 it is
// paused.
func (c *Client) Role(ctx context.Context, at Block, origin string, who common.Address) (uint8, error) {
	call, err := anchors.Pack("roles", Head{Origin: origin}.key(), who)
	if err != nil {
		return 0, err
	}
	out, err := c.call(ctx, at, "roles", call)
	if err != nil || len(out) != 32 {
		return 0, errors.Join(err, lengthError(out))
	}
	return out[31], nil
}

// Owner is who names submitters.
func (c *Client) Owner(ctx context.Context, at Block) (common.Address, error) {
	call, err := anchors.Pack("owner")
	if err != nil {
		return common.Address{}, err
	}
	out, err := c.call(ctx, at, "owner", call)
	if err != nil || len(out) != 32 {
		return common.Address{}, errors.Join(err, lengthError(out))
	}
	return common.BytesToAddress(out), nil
}

func lengthError(out []byte) error {
	if len(out) != 32 {
		return fmt.Errorf("answer of %d bytes, want 32", len(out))
	}
	return nil
}

// nonces are how many transactions of an address a block counts.
func (c *Client) nonceAt(ctx context.Context, at Block, who common.Address) (uint64, error) {
	return agreed(ctx, c, "nonce", func(ctx context.Context, e *endpoint) (uint64, error) {
		return e.eth.NonceAt(ctx, who, number(at.Number))
	}, func(n uint64) string { return fmt.Sprint(n) })
}

// pendingNonce is the highest that any endpoint has in its pool: one that saw a
// transaction is enough to know of it.
func (c *Client) pendingNonce(ctx context.Context, who common.Address) (most uint64) {
	for _, a := range ask(ctx, c, func(ctx context.Context, e *endpoint) (uint64, error) { return e.eth.PendingNonceAt(ctx, who) }) {
		if a.err == nil {
			most = max(most, a.value)
		}
	}
	return most
}

// Balance is what an address owns, in wei.
func (c *Client) Balance(ctx context.Context, at Block, who Address) (*big.Int, error) {
	return agreed(ctx, c, "balance", func(ctx context.Context, e *endpoint) (*big.Int, error) {
		return e.eth.BalanceAt(ctx, who, number(at.Number))
	}, (*big.Int).String)
}

// Pins are what must never change under a ledger.
type Pins struct {
	ChainID uint64      `json:"chain_id"`
	Genesis common.Hash `json:"genesis"`
	Code    common.Hash `json:"code_hash"`
}

// Pins reads and checks them: what the target names, and that the contract's code
// is the one that this program knows. An error for any other wraps ErrWrongChain.
func (c *Client) Pins(ctx context.Context) (p Pins, err error) {
	if p, err = c.chain(ctx); err != nil {
		return p, err
	}
	code, err := agreed(ctx, c, "code", func(ctx context.Context, e *endpoint) ([]byte, error) {
		return e.eth.CodeAt(ctx, c.target.Contract, nil)
	}, func(b []byte) string { return "code " + crypto.Keccak256Hash(b).Hex()[:18] })
	if err != nil {
		return p, err
	}
	if p.Code = crypto.Keccak256Hash(code); p.Code != codeHash {
		hint := "that is another contract"
		if len(code) == 0 {
			hint = "nothing is deployed there: is it the right chain, or was it set back to before the deployment? anchor deploy makes one"
		}
		return p, fmt.Errorf("%w: code at %s of chain %d hashes to %x, want %x\nhint: %s", ErrWrongChain, c.target.Contract, p.ChainID, p.Code, codeHash, hint)
	}
	return p, nil
}

func (c *Client) chain(ctx context.Context) (p Pins, err error) {
	id, err := agreed(ctx, c, "chain id", func(ctx context.Context, e *endpoint) (*big.Int, error) { return e.eth.ChainID(ctx) }, (*big.Int).String)
	if err != nil {
		return p, err
	}
	if !id.IsUint64() || id.Uint64() > 1<<53 {
		return p, fmt.Errorf("chain id %s is out of bounds", id)
	}
	first, err := c.BlockAt(ctx, 0)
	if err != nil {
		return p, err
	}
	p.ChainID, p.Genesis = id.Uint64(), first.Hash
	return p, c.pinned(p, Pins{ChainID: c.target.ChainID, Genesis: c.target.Genesis})
}

// pinned compares with pins that are set.
func (c *Client) pinned(got, want Pins) error {
	switch {
	case want.ChainID != 0 && got.ChainID != want.ChainID:
		return fmt.Errorf("%w: chain id %d, pinned is %d\nhint: the endpoint serves another chain", ErrWrongChain, got.ChainID, want.ChainID)
	case want.Genesis != (common.Hash{}) && got.Genesis != want.Genesis:
		return fmt.Errorf("%w: genesis %x of chain %d, pinned is %x\nhint: a new chain under the old id", ErrWrongChain, got.Genesis, got.ChainID, want.Genesis)
	}
	return nil
}
