package passport

import (
	"crypto/ed25519"
	"errors"
	"fmt"

	"trailmark/passport/internal/cometlight"
)

// ErrUnpinned reports evidence of a chain that is not pinned so that it could be
// checked.
var ErrUnpinned = errors.New("chain is not pinned with keys")

// Anchor checks a chain's evidence for a checkpoint note and returns the anchor
// that it proves. The error wraps ErrUnpinned if c has nothing to check with.
func (c *Chain) Anchor(note, evidence []byte) (Anchor, error) {
	if c.Kind != Comet || len(c.Keys) == 0 {
		return Anchor{}, fmt.Errorf("chain %q: %w", c.ID, ErrUnpinned)
	}
	pinned := cometlight.Chain{ID: c.ID}
	for _, v := range c.Keys {
		pinned.Validators = append(pinned.Validators, cometlight.Validator{Key: ed25519.PublicKey(v.Key[:]), Power: v.Power})
	}
	a, err := cometlight.Verify(pinned, note, evidence)
	if err != nil {
		return Anchor{}, err
	}
	return Anchor{Chain: c.ID, Kind: Comet, Height: a.Height, Block: a.Block, Time: a.Time.UnixMilli()}, nil
}

// confirms checks the evidence of a checkpoint's anchor. It reports false when
// there is none, or nothing pinned to check it with.
func (c *Chain) confirms(cp Checkpoint) (bool, error) {
	if cp.Proof == nil {
		return false, nil
	}
	a, err := c.Anchor(cp.Note, cp.Proof)
	if errors.Is(err, ErrUnpinned) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if a != *cp.Anchor {
		return false, fmt.Errorf("anchor in block %d at %d ms is declared, block %d at %d is proven", cp.Anchor.Height, cp.Anchor.Time, a.Height, a.Time)
	}
	return true, nil
}
