package evm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/ethereum/go-ethereum/rpc"

	"trailmark/internal/dcbor"
)

// An Anchor is a head that the contract has logged in a block.
type Anchor struct {
	Head
	Height uint64
	Block  common.Hash
	Time   uint64 // of the block, in seconds since 1970
	Tx     common.Hash
}

// Locate finds the block that logged a head, which the contract held after final
// as on. It asks for headers by time and for the logs of one moment, so that no
// endpoint's limit on a range of logs is met.
func (c *Client) Locate(ctx context.Context, final Block, h Head, on OnChain) (Anchor, error) {
	from, err := c.firstAt(ctx, final, on.Time)
	if err != nil {
		return Anchor{}, err
	}
	to, err := c.firstAt(ctx, final, on.Time+1)
	if err != nil {
		return Anchor{}, err
	}
	if to--; from > to || to > final.Number {
		return Anchor{}, fmt.Errorf("size %d of %q is of second %d, no block up to %d is", h.Size, h.Origin, on.Time, final.Number)
	}
	want := make([]byte, 24, 64)
	want = append(binaryBig(want, h.Size), h.Root[:]...)
	event, key := anchors.Events["Anchored"].ID, h.key()
	l, err := agreed(ctx, c, "logs", func(ctx context.Context, e *endpoint) (*types.Log, error) {
		logs, err := e.eth.FilterLogs(ctx, ethereum.FilterQuery{FromBlock: number(from), ToBlock: number(to),
			Addresses: []common.Address{c.target.Contract}, Topics: [][]common.Hash{{event}, {key}}})
		for i := range logs {
			if bytes.Equal(logs[i].Data, want) && !logs[i].Removed {
				return &logs[i], err
			}
		}
		return nil, err
	}, func(l *types.Log) string {
		if l == nil {
			return "no event"
		}
		return fmt.Sprintf("event in block %d %x", l.BlockNumber, l.BlockHash[:8])
	})
	if err != nil {
		return Anchor{}, err
	}
	if l == nil {
		return Anchor{}, fmt.Errorf("size %d of %q has no event in blocks %d to %d", h.Size, h.Origin, from, to)
	}
	b, err := c.BlockAt(ctx, l.BlockNumber)
	if err != nil {
		return Anchor{}, err
	}
	if b.Hash != l.BlockHash {
		return Anchor{}, fmt.Errorf("event of block %d: %w: it is of block %x, number %d has %x", l.BlockNumber, ErrDisagree, l.BlockHash, b.Number, b.Hash)
	}
	return Anchor{h, b.Number, b.Hash, b.Time, l.TxHash}, nil
}

func binaryBig(b []byte, n uint64) []byte {
	for shift := 56; shift >= 0; shift -= 8 {
		b = append(b, byte(n>>shift))
	}
	return b
}

// firstAt is the number of the first block that is not older than a second;
// final's and one more if all are.
func (c *Client) firstAt(ctx context.Context, final Block, second uint64) (uint64, error) {
	if final.Time < second {
		return final.Number + 1, nil
	}
	hi, step := final.Number, uint64(1) // hi is not older
	for {
		if step > hi {
			step = hi
		}
		if step == 0 {
			return 0, nil
		}
		b, err := c.BlockAt(ctx, hi-step)
		if err != nil {
			return 0, err
		}
		if b.Time < second {
			break
		}
		hi, step = hi-step, 2*step
	}
	lo := hi - step // is older
	for hi-lo > 1 {
		mid := lo + (hi-lo)/2
		b, err := c.BlockAt(ctx, mid)
		if err != nil {
			return 0, err
		}
		if b.Time < second {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi, nil
}

// Evidence in the form of docs/wire-format.md section 7, EVM anchors; package
// passport/internal/evmanchor reads it.
type evidence struct {
	Version uint64      `cbor:"1,keyasint"`
	Header  []byte      `cbor:"2,keyasint"`
	Head    *headProof  `cbor:"3,keyasint,omitempty"`
	Event   *eventProof `cbor:"4,keyasint,omitempty"`
}

type headProof struct {
	_                   struct{} `cbor:",toarray"`
	Account, Root, Size [][]byte
}

type eventProof struct {
	_                struct{} `cbor:",toarray"`
	Transaction, Log uint64
	Receipt          [][]byte
}

// ErrNoEvidence is wrapped when no endpoint can prove an anchor, which then is
// declared only.
var ErrNoEvidence = errors.New("no endpoint can prove the anchor")

// maxLogs bounds the place of an event among its transaction's, as verifiers do.
const maxLogs = 2048

// Evidence proves that the contract logged the anchor's head in its block, by the
// trie of receipts; or, where an endpoint lacks those, that it held it after that
// block, by eth_getProof. The block's header must hash to its hash, which is so
// on Ethereum and not on every chain that speaks its RPC.
func (c *Client) Evidence(ctx context.Context, a Anchor) ([]byte, error) {
	var errs []error
	for _, e := range c.endpoints {
		data, err := e.evidence(ctx, c.target.Contract, a)
		if err == nil {
			return data, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", e.name, clean(err, e.url)))
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("block %d: %w: %w", a.Height, ErrNoEvidence, errors.Join(errs...))
}

func (e *endpoint) evidence(ctx context.Context, contract common.Address, a Anchor) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*answerWithin)
	defer cancel()
	h, err := e.eth.HeaderByHash(ctx, a.Block)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	raw, err := rlp.EncodeToBytes(h)
	if err != nil {
		return nil, err
	}
	if got := crypto.Keccak256Hash(raw); got != a.Block {
		return nil, fmt.Errorf("header hashes to %x, the block's hash is %x: the chain's headers are not Ethereum's", got, a.Block)
	}
	ev := evidence{Version: 1, Header: raw}
	var first error
	if ev.Event, first = e.event(ctx, contract, a, h); first != nil {
		if ev.Head, err = e.head(ctx, contract, a); err != nil {
			return nil, errors.Join(first, err)
		}
	}
	return dcbor.Marshal(ev)
}

// event proves the receipt that has the event.
func (e *endpoint) event(ctx context.Context, contract common.Address, a Anchor, h *types.Header) (*eventProof, error) {
	receipts, err := e.receipts(ctx, a.Block)
	if err != nil {
		return nil, fmt.Errorf("receipts: %w", err)
	}
	var pairs []pair
	for i, r := range receipts {
		value, err := r.MarshalBinary()
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, pair{nibbles(rlp.AppendUint64(nil, uint64(i))), value})
	}
	event, key := anchors.Events["Anchored"].ID, a.key()
	for i, r := range receipts {
		at := slices.IndexFunc(r.Logs, func(l *types.Log) bool {
			return l.Address == contract && len(l.Topics) == 2 && l.Topics[0] == event && l.Topics[1] == key &&
				len(l.Data) == 64 && new(big.Int).SetBytes(l.Data[:32]).Cmp(number(a.Size)) == 0 && bytes.Equal(l.Data[32:], a.Root[:])
		})
		if at < 0 || at >= maxLogs {
			continue
		}
		root, nodes := proveTrie(pairs, nibbles(rlp.AppendUint64(nil, uint64(i))))
		if root != h.ReceiptHash {
			return nil, fmt.Errorf("receipts hash to %x, the header says %x", root, h.ReceiptHash)
		}
		return &eventProof{Transaction: uint64(i), Log: uint64(at), Receipt: nodes}, nil
	}
	return nil, fmt.Errorf("%d receipts have no event of size %d", len(receipts), a.Size)
}

// receipts are those of a block, one by one where a node cannot give all.
func (e *endpoint) receipts(ctx context.Context, block common.Hash) ([]*types.Receipt, error) {
	all, err := e.eth.BlockReceipts(ctx, rpc.BlockNumberOrHashWithHash(block, false))
	if err == nil {
		return all, nil
	}
	var b *struct {
		Transactions []common.Hash `json:"transactions"`
	}
	if err2 := e.rpc.CallContext(ctx, &b, "eth_getBlockByHash", block, false); err2 != nil || b == nil {
		return nil, errors.Join(err, err2)
	}
	all = nil
	for _, h := range b.Transactions {
		r, err := e.eth.TransactionReceipt(ctx, h)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// head proves the two slots of the head after the block.
func (e *endpoint) head(ctx context.Context, contract common.Address, a Anchor) (*headProof, error) {
	base := slotOf(a.Head)
	next := common.BigToHash(new(big.Int).Add(base.Big(), big.NewInt(1)))
	var p struct {
		Account []hexutil.Bytes `json:"accountProof"`
		Storage []struct {
			Proof []hexutil.Bytes `json:"proof"`
		} `json:"storageProof"`
	}
	if err := e.rpc.CallContext(ctx, &p, "eth_getProof", contract, []common.Hash{base, next}, hexutil.EncodeUint64(a.Height)); err != nil {
		return nil, fmt.Errorf("proof: %w", err)
	}
	if len(p.Account) == 0 || len(p.Storage) != 2 || len(p.Storage[0].Proof) == 0 || len(p.Storage[1].Proof) == 0 {
		return nil, errors.New("proof: it is empty")
	}
	return &headProof{Account: plain(p.Account), Root: plain(p.Storage[0].Proof), Size: plain(p.Storage[1].Proof)}, nil
}

// slotOf is where the contract keeps a head: heads is its first variable.
func slotOf(h Head) common.Hash {
	key := h.key()
	return crypto.Keccak256Hash(key[:], make([]byte, 32))
}

func plain(nodes []hexutil.Bytes) [][]byte {
	out := make([][]byte, len(nodes))
	for i := range nodes {
		out[i] = nodes[i]
	}
	return out
}
