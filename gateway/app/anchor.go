package app

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"trailmark/gateway/internal/anchoring"
	"trailmark/gateway/internal/ledger"
	"trailmark/gateway/internal/shard"
	"trailmark/gateway/internal/store"
	"trailmark/internal/chain/comet"
	"trailmark/internal/keyfile"
)

// Names of the chain's keys below the gateway's own folder.
const (
	adminKey     = "chain-admin.pem"
	submitterKey = "chain-submitter.pem"
)

func (g *gateway) chainKey(name string) (ed25519.PrivateKey, error) {
	s, _, err := keyfile.LoadOrCreate(filepath.Join(g.conf.Dir, ownDir, name))
	if err != nil {
		return nil, err
	}
	priv, ok := s.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: want an Ed25519 key in a file", name)
	}
	return priv, nil
}

// startChain starts the embedded validator, or goes over to a consortium's chain.
func (g *gateway) startChain(ctx context.Context, own string) error {
	admin, err := g.chainKey(adminKey)
	if err != nil {
		return err
	}
	submitter, err := g.chainKey(submitterKey)
	if err != nil {
		return err
	}
	if g.conf.Chain != "" {
		return g.consortium(ctx, own, submitter)
	}
	if _, err := os.Stat(filepath.Join(own, chainTrustFile)); err == nil {
		return errors.New("this gateway anchors on a consortium's chain\nhint: --chain comet://host:port; its own validator would sign a second history")
	}
	if g.node, err = comet.Start(ctx, comet.Config{Home: filepath.Join(own, "chain"), ChainID: g.org.ChainID,
		Admin: admin.Public().(ed25519.PublicKey), Log: g.log}); err != nil {
		return err
	}
	g.blocks, g.chain = g.node, anchoring.NewComet(g.node, submitter)
	return nil
}

// register makes a ledger known to the chain, which takes its checkpoints from then
// on.
func (g *gateway) register(ctx context.Context, origin string) error {
	if g.remote != nil {
		return g.registerRemote(ctx, origin)
	}
	if _, known := g.node.Registration(origin); known {
		return nil
	}
	admin, err := g.chainKey(adminKey)
	if err != nil {
		return err
	}
	submitter, err := g.chainKey(submitterKey)
	if err != nil {
		return err
	}
	key, err := ledger.NewKey(origin, g.signer)
	if err != nil {
		return err
	}
	tx, err := comet.NewRegister(g.org.ChainID, admin, comet.Registration{Revision: 1, Origin: origin, LogKey: key.VerifierKey(),
		Submitters: []ed25519.PublicKey{submitter.Public().(ed25519.PublicKey)}})
	if err != nil {
		return err
	}
	if err := g.node.Submit(ctx, tx); err != nil {
		return fmt.Errorf("registering the ledger %s on the chain: %w", origin, err)
	}
	return nil
}

// guard refuses a head that is behind the newest anchor of its ledger, or that
// another history has: the one that the chain knows, and, where it does not answer,
// the one that was recorded here.
func (g *gateway) guard(origin string) ledger.Guard {
	return func(ctx context.Context, size uint64, root [32]byte, at func(context.Context, uint64) ([32]byte, error)) error {
		rootAt := func(ctx context.Context, n uint64) ([32]byte, bool, error) {
			root, err := at(ctx, n)
			return root, err == nil, err
		}
		err := anchoring.GuardTree(ctx, g.chain, origin, size, rootAt)
		if err != nil && !behind(err) {
			g.log.Warn("the chain's newest anchor is not known", "origin", origin, "err", err)
			err = g.guardRecorded(ctx, origin, size, rootAt)
		}
		if behind(err) {
			return fmt.Errorf("%w: %w", ledger.ErrRefused, err)
		}
		return err
	}
}

func behind(err error) bool {
	return errors.Is(err, anchoring.ErrBehind) || errors.Is(err, anchoring.ErrFork)
}

// guardRecorded is guard by what this gateway recorded.
func (g *gateway) guardRecorded(ctx context.Context, origin string, size uint64, rootAt func(context.Context, uint64) ([32]byte, bool, error)) error {
	a, err := g.store.LastAnchorOf(ctx, origin)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	if size < a.Size {
		return fmt.Errorf("%w: size %d < %d, recorded as anchored in block %d of %s", anchoring.ErrBehind, size, a.Size, a.Height, a.Chain)
	}
	root, _, err := rootAt(ctx, a.Size)
	if err == nil && root != a.Root {
		err = fmt.Errorf("%w: root %x at size %d, recorded as anchored in block %d of %s is %x", anchoring.ErrFork, root, a.Size, a.Height, a.Chain, a.Root[:])
	}
	return err
}

// guardAll holds every ledger against its newest anchor, once at the start.
func (g *gateway) guardAll(ctx context.Context) error {
	for _, b := range g.shelf.Books() {
		size, err := b.Ledger.Size(ctx)
		if err != nil {
			return err
		}
		rootAt := func(ctx context.Context, n uint64) ([32]byte, bool, error) {
			root, err := b.Root(ctx, n)
			return root, err == nil, err
		}
		err = anchoring.GuardTree(ctx, g.chain, b.Origin(), size, rootAt)
		if errors.Is(err, comet.ErrUnregistered) { // a new ledger, or a member that hides one
			err = g.guardRecorded(ctx, b.Origin(), size, rootAt)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unanchored is the oldest ledger whose half-year is over and whose end is not
// anchored, or the current one: no ledger is anchored before the ones before it are
// to their end, so that what is anchored has no hole.
func (g *gateway) unanchored(ctx context.Context) (shard.Book, error) {
	for _, b := range g.shelf.Books() {
		if b.End == shard.Open {
			return b, nil
		}
		if b.End == b.First {
			continue // nothing to anchor
		}
		a, err := g.store.LastAnchorOf(ctx, b.Origin())
		if errors.Is(err, store.ErrNotFound) || err == nil && a.Size < b.End-b.First {
			return b, nil
		} else if err != nil {
			return b, err
		}
	}
	return g.shelf.Current(), nil
}

// nextRunner makes the runner of the ledger whose turn it is; ended is called when
// that one's half-year is over and its end was anchored.
func (g *gateway) nextRunner(ctx context.Context, ended func()) (shard.Book, error) {
	b, err := g.unanchored(ctx)
	if err != nil {
		return b, err
	}
	r, err := anchoring.New(anchoring.Options{Chain: g.chain, Origin: b.Origin(), Every: g.conf.AnchorEvery,
		Newest: func(ctx context.Context) ([]byte, error) {
			size, err := b.Ledger.Size(ctx)
			if err != nil || size == 0 {
				return nil, err
			}
			return b.Checkpoint(ctx)
		},
		Cosign: func(ctx context.Context, note []byte) []byte { return g.witnesses.Collect(ctx, b.Origin(), note) },
		Record: func(ctx context.Context, a anchoring.Anchor) error {
			if err := g.record(ctx, a); err != nil {
				return err
			}
			if b.End != shard.Open && a.Size >= b.End-b.First {
				ended()
			}
			return nil
		}, Log: g.log})
	if err == nil {
		g.runner.Store(r)
	}
	return b, err
}

// anchor anchors one ledger after the other until ctx ends.
func (g *gateway) anchor(ctx context.Context) error {
	for ctx.Err() == nil {
		turn, ended := context.WithCancel(ctx)
		b, err := g.nextRunner(ctx, ended)
		if err == nil {
			if err := g.register(ctx, b.Origin()); err != nil {
				g.log.Warn("not anchored", "origin", b.Origin(), "err", err)
				ended()
				wait(ctx, g.conf.AnchorEvery)
				continue
			}
			heard := make(chan struct{})
			go func() { // a ledger that ends has its last checkpoint anchored at once
				defer close(heard)
				select {
				case <-g.seq.Rolled():
					ended()
				case <-turn.Done():
				}
			}()
			err = g.runner.Load().Run(turn)
			ended()
			<-heard // a new ledger that it heard of is there when the next turn is given
		}
		ended()
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// record keeps an anchor and tells every device of its block.
func (g *gateway) record(ctx context.Context, a anchoring.Anchor) error {
	note, err := comet.Note(a.Tx, a.Origin)
	if err != nil {
		return err
	}
	if err := g.store.Update(ctx, func(tx *store.Tx) error {
		return tx.AddAnchor(store.Anchor{Size: a.Size, Origin: a.Origin, Chain: a.ChainID, Root: a.Root, Height: a.Height,
			Time: a.Time.UnixMilli(), Block: a.BlockHash[:], Tx: a.Tx, Note: note})
	}); err != nil {
		return err
	}
	if g.conf.Chains.Prefer == "" {
		g.tellFinal(note, a)
	}
	return nil
}
