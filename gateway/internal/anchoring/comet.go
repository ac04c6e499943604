package anchoring

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"trailmark/internal/chain/comet"
)

// Comet is a Chain on a CometBFT validator in this process.
type Comet struct {
	node *comet.Node
	key  ed25519.PrivateKey
}

// NewComet anchors through node as the submitter that key is.
func NewComet(node *comet.Node, key ed25519.PrivateKey) *Comet { return &Comet{node, key} }

func (c *Comet) Describe() Description {
	n := c.node.Validators()
	return Description{ChainID: c.node.ChainID(), Kind: "cometbft", Validators: n, Quorum: n*2/3 + 1}
}

func (c *Comet) Submit(ctx context.Context, checkpoint []byte) (Anchor, error) {
	a, err := c.node.Anchor(ctx, c.key, checkpoint)
	if r := (*comet.Refusal)(nil); errors.As(err, &r) {
		return Anchor{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err != nil {
		return Anchor{}, err
	}
	return c.anchor(a), nil
}

func (c *Comet) Head(_ context.Context, origin string) (Anchor, bool, error) {
	a, ok, err := c.node.Head(origin)
	if err != nil || !ok {
		return Anchor{}, false, err
	}
	return c.anchor(a), true, nil
}

func (c *Comet) anchor(a comet.Anchor) Anchor {
	return Anchor{
		ChainID: c.node.ChainID(), Origin: a.Origin, Size: a.Size, Root: a.Root,
		Height: a.Height, Time: a.Time, BlockHash: a.BlockHash, Tx: a.Tx,
	}
}
