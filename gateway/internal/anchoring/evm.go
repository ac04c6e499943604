package anchoring

import (
	"context"
	"errors"
	"fmt"
	"time"

	"trailmark/internal/chain/evm"
)

// EVM is a Chain in a contract of an Ethereum-style chain. Submit takes as long as
// the chain takes to make a block final and reports *Pending meanwhile; what it
// has begun it goes on with, also after a restart.
type EVM struct {
	sub     *evm.Submitter
	chainID uint64

	// Keep is called with a checkpoint before it is sent; what it does must survive
	// loss of power, for the chain may take it whatever happens to us.
	Keep func(ctx context.Context, checkpoint []byte) error

	// Poll is the pause between two looks at what is on its way; 2 seconds if 0.
	Poll time.Duration
}

// NewEVM anchors through a submitter on the chain of an id.
func NewEVM(sub *evm.Submitter, chainID uint64) *EVM { return &EVM{sub: sub, chainID: chainID} }

func (c *EVM) Describe() Description {
	return Description{ChainID: evm.Name(c.chainID), Kind: "evm"}
}

// Report says how the chain is doing.
func (c *EVM) Report() evm.Report { return c.sub.Report() }

func (c *EVM) Submit(ctx context.Context, checkpoint []byte) (Anchor, error) {
	head, err := headOf(checkpoint)
	if err != nil {
		return Anchor{}, err
	}
	if c.Keep != nil {
		if err := c.Keep(ctx, checkpoint); err != nil {
			return Anchor{}, fmt.Errorf("keeping the checkpoint: %w", err)
		}
	}
	poll := c.Poll
	if poll == 0 {
		poll = 2 * time.Second
	}
	for {
		p, err := c.sub.Step(ctx, head)
		if r := (*evm.Refusal)(nil); errors.As(err, &r) && r.Forever() {
			return Anchor{}, fmt.Errorf("%w: %w", ErrRefused, err)
		}
		if err != nil {
			return Anchor{}, err
		}
		if p.Stage == evm.Final {
			return c.anchor(p.Anchors[0]), nil
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return Anchor{}, &Pending{p.String()}
		}
	}
}

func (c *EVM) Head(ctx context.Context, origin string) (Anchor, bool, error) {
	a, ok, err := c.sub.Newest(ctx, origin)
	if err != nil || !ok {
		return Anchor{}, false, err
	}
	return c.anchor(a), true, nil
}

// Evidence proves an anchor to verifiers who pin its block.
func (c *EVM) Evidence(ctx context.Context, a Anchor) ([]byte, error) {
	return c.sub.Client().Evidence(ctx, evm.Anchor{Head: evm.Head{Origin: a.Origin, Size: a.Size, Root: a.Root}, Height: uint64(a.Height), Block: a.BlockHash})
}

// Stands reports whether the chain still has a block.
func (c *EVM) Stands(ctx context.Context, height uint64, hash [32]byte) (bool, error) {
	b, err := c.sub.Client().BlockAt(ctx, height)
	if errors.Is(err, evm.ErrNoBlock) {
		return false, nil
	}
	return err == nil && b.Hash == hash, err
}

func (c *EVM) anchor(a evm.Anchor) Anchor {
	return Anchor{ChainID: evm.Name(c.chainID), Origin: a.Origin, Size: a.Size, Root: a.Root,
		Height: int64(a.Height), Time: time.Unix(int64(a.Time), 0).UTC(), BlockHash: a.Block, Tx: a.Tx[:]}
}

// headOf reads any origin's checkpoint.
func headOf(checkpoint []byte) (evm.Head, error) {
	origin, size, root, err := read(checkpoint)
	return evm.Head{Origin: origin, Size: size, Root: root}, err
}
