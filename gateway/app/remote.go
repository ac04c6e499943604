package app

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"trailmark/gateway/internal/anchoring"
	"trailmark/gateway/internal/ledger"
	"trailmark/gateway/internal/store"
	"trailmark/internal/chain/comet"
	"trailmark/passport"
)

// chainTrustFile is the trust file of the time when the gateway went over to a
// consortium: what it pins is where every proof begins.
const chainTrustFile = "chain-trust.cbor"

// chainReader is the chain as recovery and the status page read it.
type chainReader interface {
	Head(origin string) (comet.Anchor, bool, error)
	Anchors(origin string, size uint64, limit int) ([]comet.Anchor, error)
	Height() int64
	ChainID() string
}

// pins reads the validators that the gateway goes by: those of its own copy, and
// at the first time of the trust file.
func (g *gateway) pins(own string) (comet.Pins, error) {
	path := filepath.Join(own, chainTrustFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		from := g.conf.ChainTrust
		if from == "" {
			from = filepath.Join(g.conf.Dir, "authority", "trust.cbor")
		}
		if data, err = os.ReadFile(from); err != nil {
			return comet.Pins{}, fmt.Errorf("%w\nhint: --chain-trust FILE names a trust file that pins the chain's validators", err)
		}
	} else if err != nil {
		return comet.Pins{}, err
	}
	t, err := passport.ParseTrust(data)
	if err != nil {
		return comet.Pins{}, fmt.Errorf("trust file of the chain: %w", err)
	}
	for _, c := range t.Chains {
		if c.Kind != passport.Comet || c.ID != g.org.ChainID || len(c.Keys) == 0 {
			continue
		}
		p := comet.Pins{ChainID: c.ID}
		for _, k := range c.Keys {
			p.Validators = append(p.Validators, comet.Voter{Key: ed25519.PublicKey(k.Key[:]), Power: int64(k.Power)})
		}
		if err := os.WriteFile(path+".new", data, 0o600); err != nil {
			return p, err
		}
		return p, os.Rename(path+".new", path)
	}
	return comet.Pins{}, fmt.Errorf("trust file pins no validators of chain %q\nhint: --chain-trust FILE", g.org.ChainID)
}

// consortium goes over to a member of a chain.
func (g *gateway) consortium(ctx context.Context, own string, submitter ed25519.PrivateKey) error {
	addr, ok := strings.CutPrefix(g.conf.Chain, "comet://")
	if !ok || addr == "" {
		return fmt.Errorf("--chain %s: want comet://host:port", g.conf.Chain)
	}
	pins, err := g.pins(own)
	if err != nil {
		return err
	}
	client, err := comet.Dial(addr, pins)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := client.Follow(ctx); err != nil {
		return fmt.Errorf("chain %s through %s: %w", pins.ChainID, addr, err)
	}
	g.remote = comet.NewRemote(client)
	g.blocks, g.chain = g.remote, anchoring.NewRemote(g.remote, submitter)
	return nil
}

// registerRemote makes a ledger known to a consortium's chain if this gateway's key
// administers it.
func (g *gateway) registerRemote(ctx context.Context, origin string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := g.remote.Client.Head(ctx, origin); !errors.Is(err, comet.ErrUnregistered) {
		return err
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
	public := submitter.Public().(ed25519.PublicKey)
	if _, err := g.remote.Register(ctx, admin, comet.Registration{Origin: origin, LogKey: key.VerifierKey(), Submitters: []ed25519.PublicKey{public}}); err != nil {
		return fmt.Errorf("registering the ledger on the chain: %w\nhint: ask its administrator for: anchor register --log-key '%s' --submitter %x", err, key.VerifierKey(), public)
	}
	return nil
}

// remoteProver proves anchors of a consortium's chain; it is a journey.Chain.
type remoteProver struct {
	remote *comet.Remote
	pinned *passport.Chain
}

// Evidence is checked as verifiers will, before they do.
func (w remoteProver) Evidence(ctx context.Context, a store.Anchor) (passport.Anchor, []byte, error) {
	proof, err := w.remote.Evidence(ctx, a.Origin, a.Size)
	if err != nil {
		return passport.Anchor{}, nil, err
	}
	proven, err := w.pinned.Anchor(a.Note, proof)
	return proven, proof, err
}
