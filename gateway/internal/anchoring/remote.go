package anchoring

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"trailmark/internal/chain/comet"
)

// Remote is a Chain on a member of a consortium, which is not believed.
type Remote struct {
	chain *comet.Remote
	key   ed25519.PrivateKey
}

// NewRemote anchors through chain as the submitter that key is.
func NewRemote(chain *comet.Remote, key ed25519.PrivateKey) *Remote { return &Remote{chain, key} }

func (c *Remote) Describe() Description {
	n := len(c.chain.Voters())
	return Description{ChainID: c.chain.ChainID(), Kind: "cometbft", Validators: n, Quorum: n*2/3 + 1}
}

func (c *Remote) Submit(ctx context.Context, checkpoint []byte) (Anchor, error) {
	p, err := c.chain.Anchor(ctx, c.key, checkpoint)
	if r := (*comet.Refusal)(nil); errors.As(err, &r) {
		return Anchor{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err != nil {
		return Anchor{}, err
	}
	a, err := c.chain.Whole(ctx, p)
	return c.anchor(a), err
}

func (c *Remote) Head(_ context.Context, origin string) (Anchor, bool, error) {
	a, ok, err := c.chain.Head(origin)
	return c.anchor(a), ok, err
}

func (c *Remote) anchor(a comet.Anchor) Anchor {
	return Anchor{ChainID: c.chain.ChainID(), Origin: a.Origin, Size: a.Size, Root: a.Root,
		Height: a.Height, Time: a.Time, BlockHash: a.BlockHash, Tx: a.Tx}
}
