package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"trailmark/gateway/internal/journey"
	"trailmark/gateway/internal/store"
	"trailmark/internal/chain/comet"
	"trailmark/passport"
)

// prover proves anchors of the embedded chain; it is a journey.Chain.
type prover struct {
	node   *comet.Node
	pinned *passport.Chain
}

// Evidence is checked as verifiers will, before they do.
func (w prover) Evidence(ctx context.Context, a store.Anchor) (passport.Anchor, []byte, error) {
	ev, err := w.node.Evidence(ctx, a.Height, a.Tx)
	if err != nil {
		return passport.Anchor{}, nil, err
	}
	proof, err := ev.Light()
	if err != nil {
		return passport.Anchor{}, nil, err
	}
	proven, err := w.pinned.Anchor(a.Note, proof)
	return proven, proof, err
}

// witness proves anchors of the chain that the gateway uses.
func (g *gateway) prover() journey.Chain {
	if g.remote != nil {
		return remoteProver{g.remote, &g.trust.Chains[0]}
	}
	return prover{g.node, &g.trust.Chains[0]}
}

// voters are the chain's validators as a trust file pins them.
func (g *gateway) voters() (out []passport.Validator) {
	all := []comet.Voter(nil)
	if g.remote != nil {
		all = g.remote.Voters()
	} else {
		all = g.node.Voters()
	}
	for _, v := range all {
		p := passport.Validator{Power: uint64(v.Power)}
		copy(p.Key[:], v.Key)
		out = append(out, p)
	}
	return out
}

// writeTrust writes the trust file beside the authority's key, if that is on
// this machine.
func writeTrust(dir string, t *passport.Trust) error {
	data, err := t.Encode()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "authority", "trust.cbor")
	if err := os.WriteFile(path+".new", data, 0o644); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("trust file: %w", err)
	}
	return os.Rename(path+".new", path)
}
