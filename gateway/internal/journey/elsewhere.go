package journey

import (
	"context"
	"errors"

	"trailmark/gateway/internal/store"
	"trailmark/passport"
)

// Beside names the chains on which checkpoints are anchored beside the embedded
// one. Passports show of each the newest anchor that is older than their own, and
// those that cover the heads. With prefer they are anchored on that chain alone,
// as soon as it has an anchor: for verifiers who trust it more than the operator.
// It is called before the first passport is composed.
func (c *Composer) Beside(prefer string, chains ...string) {
	c.prefer, c.beside = prefer, chains
}

// lastOf is the anchor of a ledger that a passport is composed at.
func (c *Composer) lastOf(ctx context.Context, origin string) (store.Anchor, error) {
	if c.prefer != "" {
		e, err := c.store.LastElsewhere(ctx, c.prefer, origin, ^uint64(0))
		if !errors.Is(err, store.ErrNotFound) {
			return e.Anchor, err
		}
	}
	return c.store.LastAnchorOf(ctx, origin)
}

// chains are those whose anchors of a ledger are shown: of one that is anchored on
// the preferred chain, that one alone, and of others also the embedded one.
func (b *builder) chains(n int) (others []string, embedded bool) {
	if b.c.prefer != "" && b.books[n].anchor.Chain == b.c.prefer {
		return []string{b.c.prefer}, false
	}
	return b.c.beside, true
}

// covering shows the oldest checkpoint on each chain that covers a row.
func (b *builder) covering(row uint64) error {
	at := b.at(row)
	origin := b.books[at.Ledger].origin
	others, embedded := b.chains(int(at.Ledger))
	if embedded {
		if err := b.checkpoint(b.c.store.AnchorCovering(b.ctx, origin, at.Index)); err != nil {
			return err
		}
	}
	for _, chain := range others {
		if err := b.beside(b.c.store.ElsewhereCovering(b.ctx, chain, origin, at.Index)); err != nil {
			return err
		}
	}
	return nil
}

// naming shows the anchor in the block that a frame names.
func (b *builder) naming(chain string, height uint64) error {
	if err := b.beside(b.c.store.ElsewhereIn(b.ctx, chain, height)); err != nil || b.c.prefer != "" {
		return err
	}
	return b.checkpoint(b.c.store.AnchorIn(b.ctx, chain, height))
}

// newestElsewhere shows of each other chain its newest anchor of a ledger before
// the one that the passport is composed at.
func (b *builder) newestElsewhere(n int) error {
	others, _ := b.chains(n)
	for _, chain := range others {
		if err := b.beside(b.c.store.LastElsewhere(b.ctx, chain, b.books[n].origin, b.books[n].anchor.Size)); err != nil {
			return err
		}
	}
	return nil
}

// beside is checkpoint for an anchor of another chain. One of the same size that is
// shown already stays: a checkpoint has one anchor.
func (b *builder) beside(e store.Elsewhere, err error) error {
	for p := range b.older {
		if err == nil && p.size == e.Size && b.books[p.book].origin == e.Origin {
			return nil
		}
	}
	return b.checkpoint(e.Anchor, err)
}

// elsewhere is a checkpoint with its anchor on another chain, proven if that was
// possible when it was recorded.
func (b *builder) elsewhere(a store.Anchor) (cp passport.Checkpoint, isElsewhere bool) {
	e, err := b.c.store.Note(b.ctx, a.Chain, a.Origin, a.Size)
	if err != nil || e.Height != a.Height {
		return cp, false
	}
	anchor := passport.Anchor{Chain: a.Chain, Kind: passport.EVM, Height: uint64(a.Height), Time: a.Time}
	copy(anchor.Block[:], a.Block)
	cp = passport.Checkpoint{Note: a.Note, Anchor: &anchor}
	if len(e.Evidence) > 0 {
		cp.Proof = e.Evidence
	}
	return cp, true
}
