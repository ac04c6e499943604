package passport

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"

	"github.com/transparency-dev/formats/log"

	"trailmark/passport/internal/cometlight"
	"trailmark/passport/internal/evmanchor"
	"trailmark/statement"
)

// ErrUnpinned reports evidence of a chain, or of a block of an EVM chain, that is
// not pinned so that it could be checked.
var ErrUnpinned = errors.New("not pinned so that its evidence could be checked")

// Anchor checks a chain's evidence for a checkpoint note and returns the anchor
// that it proves. The error wraps ErrUnpinned if c has nothing to check with.
func (c *Chain) Anchor(note, evidence []byte) (Anchor, error) {
	switch {
	case c.Kind == Comet && len(c.Keys) > 0:
		return c.comet(note, evidence)
	case c.Kind == EVM && c.Contract != nil:
		return c.evm(note, evidence)
	}
	return Anchor{}, fmt.Errorf("chain %q: %w", c.ID, ErrUnpinned)
}

func (c *Chain) comet(note, evidence []byte) (Anchor, error) {
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

func (c *Chain) evm(note, evidence []byte) (Anchor, error) {
	var head log.Checkpoint
	if _, err := head.Unmarshal(note); err != nil {
		return Anchor{}, err
	}
	if len(head.Hash) != 32 {
		return Anchor{}, fmt.Errorf("checkpoint with a root of %d bytes, want 32", len(head.Hash))
	}
	e, err := evmanchor.Parse(evidence)
	if err != nil {
		return Anchor{}, err
	}
	at := slices.IndexFunc(c.Contract.Blocks, func(b Block) bool { return b.Hash == e.Block() })
	if at < 0 {
		return Anchor{}, fmt.Errorf("block %x of chain %q: %w", e.Block(), c.ID, ErrUnpinned)
	}
	a, err := e.Verify(c.Contract.Address, evmanchor.Head{Origin: head.Origin, Size: head.Size, Root: statement.Hash(head.Hash)})
	if err != nil {
		return Anchor{}, err
	}
	if pinned := c.Contract.Blocks[at].Number; a.Height != pinned {
		return Anchor{}, fmt.Errorf("block %x is pinned with number %d, its header says %d", a.Block, pinned, a.Height)
	}
	return Anchor{Chain: c.ID, Kind: EVM, Height: a.Height, Block: a.Block, Time: a.Time}, nil
}

// confirms checks the evidence of a checkpoint's anchor. It reports false when
// there is none, or nothing pinned to check it with.
func (c *Chain) confirms(cp Checkpoint) (bool, error) {
	if cp.Proof == nil || !c.knows(cp.Anchor) {
		return false, nil
	}
	a, err := c.Anchor(cp.Note, cp.Proof)
	if err != nil {
		return false, err
	}
	if a != *cp.Anchor {
		return false, fmt.Errorf("anchor in block %d at %d ms is declared, block %d at %d is proven", cp.Anchor.Height, cp.Anchor.Time, a.Height, a.Time)
	}
	return true, nil
}

// knows reports whether evidence for an anchor can be checked, and so must stand.
// Of an EVM chain a pinned number or hash suffices: who names one of them and not
// the other contradicts the pin.
func (c *Chain) knows(a *Anchor) bool {
	if c.Kind == Comet {
		return len(c.Keys) > 0
	}
	return c.Contract != nil && slices.ContainsFunc(c.Contract.Blocks, func(b Block) bool { return b.Number == a.Height || b.Hash == a.Block })
}
