package comet

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cometbft/cometbft/types"
)

// Genesis is where a chain's state begins.
type Genesis struct {
	ChainID    string
	Time       time.Time
	Admin      ed25519.PublicKey
	Version    uint64 // of the rules at the start
	Validators []Validator
}

// genesisState is app_state in the genesis file.
type genesisState struct {
	Admin   []byte `json:"admin"`             // Ed25519 public key, base64
	Version uint64 `json:"version,omitempty"` // 1 if absent
}

func readGenesis(doc *types.GenesisDoc) (*Genesis, error) {
	var s genesisState
	if err := json.Unmarshal(doc.AppState, &s); err != nil {
		return nil, fmt.Errorf("genesis app_state: %w", err)
	}
	g := &Genesis{ChainID: doc.ChainID, Time: doc.GenesisTime.UTC(), Admin: s.Admin, Version: max(s.Version, 1)}
	if g.Version > stateVersion {
		return nil, fmt.Errorf("chain %q is of version %d, this program knows up to %d\nhint: get a newer one", g.ChainID, g.Version, stateVersion)
	}
	if err := checkKey(s.Admin); err != nil {
		return nil, fmt.Errorf("genesis administrator: %w", err)
	}
	if n := len(doc.Validators); n < 1 || n > MaxValidators {
		return nil, fmt.Errorf("genesis names %d validators, want 1 to %d", n, MaxValidators)
	}
	for _, v := range doc.Validators {
		if err := checkKey(v.PubKey.Bytes()); err != nil {
			return nil, fmt.Errorf("genesis validator %q: %w", v.Name, err)
		}
		if v.Power < 1 || v.Power > MaxPower {
			return nil, fmt.Errorf("genesis validator %q has power %d, want 1 to %d", v.Name, v.Power, MaxPower)
		}
		g.Validators = append(g.Validators, Validator{Key: v.PubKey.Bytes(), Power: uint64(v.Power), Name: v.Name})
	}
	return g, nil
}
