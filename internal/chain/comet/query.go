package comet

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cometbft/cometbft/crypto/merkle"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/types"
)

// An Anchor is a checkpoint that the chain has taken.
type Anchor struct {
	Origin    string
	Size      uint64
	Root      [32]byte
	Height    int64     // of the block
	Time      time.Time // of the commit of the block, UTC; see the package comment
	BlockHash [32]byte
	Tx        []byte // the transaction
}

// A Block is what a device may name as its lower bound in time.
type Block struct {
	Height int64
	Hash   [32]byte
	Time   time.Time // of its commit, UTC
}

// Evidence is what proves offline that a transaction is in a block: the light
// client's view of the block, in CometBFT's protobuf, and the transaction's
// RFC 6962 audit path in the header's data hash. The leaf is the transaction's
// SHA-256, so that LeafHash = SHA-256(0x00 ‖ SHA-256(Tx)).
type Evidence struct {
	ChainID      string
	Height       int64
	SignedHeader []byte // tendermint.types.SignedHeader
	Validators   []byte // tendermint.types.ValidatorSet, hashing to the header's
	Tx           []byte
	Index, Total int64
	LeafHash     []byte
	Aunts        [][]byte // from the leaf's sibling to the root's child
}

// read runs f unless the stores are closed. CometBFT panics on what it cannot
// read from them.
func (n *Node) read(f func() error) (err error) {
	n.reads.RLock()
	defer n.reads.RUnlock()
	if n.stopped {
		return errHalted
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("stores of chain %s: %v", n.conf.ChainID, r)
		}
	}()
	return f()
}

// Head returns the newest anchor of origin. The error is about reading, not
// about absence.
func (n *Node) Head(origin string) (Anchor, bool, error) {
	all, err := n.anchors(origin, n.app.history(origin, 0, 0))
	if err != nil || len(all) == 0 {
		return Anchor{}, false, err
	}
	return all[0], true, nil
}

// Anchors returns up to limit anchors of origin, oldest first, from the first
// one with at least size entries. A limit under 1 returns none.
func (n *Node) Anchors(origin string, size uint64, limit int) ([]Anchor, error) {
	if limit < 1 {
		return nil, nil
	}
	return n.anchors(origin, n.app.history(origin, size, limit))
}

// Registration returns what is in force for origin.
func (n *Node) Registration(origin string) (Registration, bool) { return n.app.registration(origin) }

// Block returns a committed block.
func (n *Node) Block(height int64) (b Block, err error) {
	err = n.read(func() error {
		b, err = n.block(height)
		return err
	})
	return b, err
}

func (n *Node) block(height int64) (Block, error) {
	if newest := n.Height(); height < 1 || height > newest {
		return Block{}, fmt.Errorf("block %d of chain %s, newest is %d", height, n.conf.ChainID, newest)
	}
	meta := n.env.BlockStore.LoadBlockMeta(height)
	if meta == nil || len(meta.BlockID.Hash) != 32 {
		return Block{}, fmt.Errorf("block %d of chain %s is missing in its store", height, n.conf.ChainID)
	}
	at, err := n.committed(height)
	return Block{height, [32]byte(meta.BlockID.Hash), at}, err
}

// committed returns the time of the commit of a block. All validators agree on
// it once the next block, which carries that commit, exists; before that it is
// the time of the commit that this validator saw.
func (n *Node) committed(height int64) (time.Time, error) {
	if next := n.env.BlockStore.LoadBlockMeta(height + 1); next != nil {
		return next.Header.Time.UTC(), nil
	}
	commit := n.env.BlockStore.LoadSeenCommit(height)
	if commit == nil {
		return time.Time{}, fmt.Errorf("commit of block %d of chain %s is missing in its store", height, n.conf.ChainID)
	}
	vals, err := n.env.StateStore.LoadValidators(height)
	if err != nil {
		return time.Time{}, err
	}
	at, err := sm.MedianTime(commit, vals)
	return at.UTC(), err
}

func (n *Node) anchors(origin string, entries []entry) ([]Anchor, error) {
	var all []Anchor
	err := n.read(func() error {
		for _, e := range entries {
			b, err := n.block(e.height)
			if err != nil {
				return err
			}
			raw, err := n.find(origin, e)
			if err != nil {
				return err
			}
			all = append(all, Anchor{origin, e.size, e.root, e.height, b.Time, b.Hash, raw})
		}
		return nil
	})
	return all, err
}

// find returns the transaction that made the entry.
func (n *Node) find(origin string, e entry) ([]byte, error) {
	block := n.env.BlockStore.LoadBlock(e.height)
	if block == nil {
		return nil, fmt.Errorf("block %d of chain %s is missing in its store", e.height, n.conf.ChainID)
	}
	want := checkpoint{origin, e.size, e.root}
	for _, raw := range block.Txs {
		if t, err := decodeTx(raw); err == nil && slices.Contains(t.checkpoints, want) {
			return raw, nil
		}
	}
	return nil, fmt.Errorf("block %d of chain %s lacks the anchor of %q at size %d", e.height, n.conf.ChainID, origin, e.size)
}

// Evidence returns the proof that tx is in block height. It waits for the next
// block, which carries the commit.
func (n *Node) Evidence(ctx context.Context, height int64, tx []byte) (ev *Evidence, err error) {
	if height < 1 {
		return nil, fmt.Errorf("block %d, want 1 or more", height)
	}
	if err := n.wait(ctx, height+1); err != nil {
		return nil, err
	}
	err = n.read(func() error {
		ev, err = n.evidence(height, tx)
		return err
	})
	return ev, err
}

func (n *Node) evidence(height int64, tx []byte) (*Evidence, error) {
	block, commit := n.env.BlockStore.LoadBlock(height), n.env.BlockStore.LoadBlockCommit(height)
	if block == nil || commit == nil {
		return nil, fmt.Errorf("block %d of chain %s is missing in its store", height, n.conf.ChainID)
	}
	index := -1
	leaves := make([][]byte, len(block.Txs))
	for i, t := range block.Txs {
		leaves[i] = t.Hash()
		if bytes.Equal(t, tx) {
			index = i
		}
	}
	if index < 0 {
		return nil, fmt.Errorf("block %d of chain %s does not hold the transaction", height, n.conf.ChainID)
	}
	vals, err := n.env.StateStore.LoadValidators(height)
	if err != nil {
		return nil, err
	}
	_, proofs := merkle.ProofsFromByteSlices(leaves)
	p := proofs[index]
	ev := &Evidence{
		ChainID: n.conf.ChainID, Height: height, Tx: bytes.Clone(tx),
		Index: p.Index, Total: p.Total, LeafHash: p.LeafHash, Aunts: p.Aunts,
	}
	signed := types.SignedHeader{Header: &block.Header, Commit: commit}
	if ev.SignedHeader, err = signed.ToProto().Marshal(); err != nil {
		return nil, err
	}
	set, err := vals.ToProto()
	if err != nil {
		return nil, err
	}
	ev.Validators, err = set.Marshal()
	return ev, err
}
