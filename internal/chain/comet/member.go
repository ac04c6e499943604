package comet

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/types"

	"trailmark/internal/dcbor"
)

const (
	invitationPrefix = "trailmark-chain:"
	invitationFile   = "invitation"
	maxInvitation    = 8 << 10

	// A chain of fewer blocks is executed from its first one: that takes seconds.
	fetchAbove = 2 * snapshotEvery
)

// An Invitation tells a new member where the others are and which block is the
// chain's. Whoever makes it is believed about that block, so it must come from a
// member that the new one trusts, as the genesis file does.
type Invitation struct {
	_       struct{} `cbor:",toarray"`
	Version uint64
	ChainID string
	Genesis [32]byte // SHA-256 of the genesis file
	Peers   []string // id@host:port
	Servers []string // host:port of members' RPC
	Height  int64
	Hash    [32]byte
}

func (i *Invitation) String() string {
	return invitationPrefix + base64.RawURLEncoding.EncodeToString(dcbor.MustMarshal(i))
}

// ParseInvitation reads what String writes.
func ParseInvitation(s string) (*Invitation, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(s), invitationPrefix)
	if !ok || len(rest) > maxInvitation {
		return nil, fmt.Errorf("an invitation begins with %s and has at most %d characters", invitationPrefix, maxInvitation)
	}
	b, err := base64.RawURLEncoding.DecodeString(rest)
	if err != nil {
		return nil, fmt.Errorf("invitation: %w", err)
	}
	i := new(Invitation)
	if err := dcbor.UnmarshalMax(b, i, maxInvitation); err != nil {
		return nil, fmt.Errorf("invitation: %w", err)
	}
	switch {
	case i.Version != 1:
		return nil, fmt.Errorf("invitation of version %d, want 1", i.Version)
	case i.ChainID == "" || len(i.ChainID) > maxChainID || i.Height < 1:
		return nil, fmt.Errorf("invitation to chain %q at block %d", i.ChainID, i.Height)
	case len(i.Peers) < 1 || len(i.Peers) > MaxValidators || len(i.Servers) > MaxValidators:
		return nil, fmt.Errorf("invitation names %d peers and %d servers, want 1 to %d and at most as many", len(i.Peers), len(i.Servers), MaxValidators)
	}
	for _, p := range i.Peers {
		if _, err := p2p.NewNetAddressString(p); err != nil {
			return nil, fmt.Errorf("invitation: peer %q: %w", p, err)
		}
	}
	for _, s := range i.Servers {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return nil, fmt.Errorf("invitation: server %q: %w", s, err)
		}
	}
	return i, nil
}

// Create begins a chain in home with one validator, unless there is one.
func Create(home, chainID string, admin ed25519.PublicKey) error {
	if chainID == "" || len(chainID) > maxChainID {
		return fmt.Errorf("chain id of %d bytes, want 1 to %d", len(chainID), maxChainID)
	}
	if err := checkKey(admin); err != nil {
		return fmt.Errorf("chain administrator: %w", err)
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	_, _, _, err := prepare(Config{Home: home, ChainID: chainID, Admin: admin}, filepath.Join(home, "validator"))
	return err
}

// Join makes a new member's home from the genesis file and an invitation to the
// chain that it begins. When it returns both are on disk.
func Join(home string, genesis []byte, inv *Invitation) error {
	if sum := sha256.Sum256(genesis); sum != inv.Genesis {
		return fmt.Errorf("genesis file hashes to %x, the invitation is to %x", sum, inv.Genesis)
	}
	doc, err := types.GenesisDocFromJSON(genesis)
	if err != nil {
		return fmt.Errorf("genesis: %w", err)
	}
	if _, err := readGenesis(doc); err != nil {
		return err
	}
	if doc.ChainID != inv.ChainID {
		return fmt.Errorf("genesis of chain %q, the invitation is to %q", doc.ChainID, inv.ChainID)
	}
	root := filepath.Join(home, "validator")
	if _, err := os.Stat(root); err == nil {
		return fmt.Errorf("%s holds a chain already", home)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(home, invitationFile), []byte(inv.String()+"\n"), 0o600); err != nil {
		return err
	}
	if err := create(root, func(*privval.FilePV) (*types.GenesisDoc, error) { return doc, nil }); err != nil {
		return fmt.Errorf("create member in %s: %w", root, err)
	}
	return nil
}

// Member is what a home says of its owner.
type Member struct {
	Key        ed25519.PrivateKey // votes and signs blocks
	NodeID     string
	ChainID    string
	Genesis    []byte      // file
	Invitation *Invitation // that it joined by, or nil
}

// OpenMember reads a home, which may be in use.
func OpenMember(home string) (*Member, error) {
	c := settings(filepath.Join(home, "validator"))
	genesis, err := os.ReadFile(c.GenesisFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no chain\nhint: anchor join makes one from a genesis file and an invitation", home)
	} else if err != nil {
		return nil, err
	}
	doc, err := types.GenesisDocFromJSON(genesis)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.GenesisFile(), err)
	}
	var key privval.FilePVKey
	if err := readJSON(c.PrivValidatorKeyFile(), &key); err != nil {
		return nil, err
	}
	id, err := p2p.LoadNodeKey(c.NodeKeyFile())
	if err != nil {
		return nil, err
	}
	m := &Member{Key: ed25519.PrivateKey(key.PrivKey.Bytes()), NodeID: string(id.ID()), ChainID: doc.ChainID, Genesis: genesis}
	b, err := os.ReadFile(filepath.Join(home, invitationFile))
	if err == nil {
		m.Invitation, err = ParseInvitation(string(b))
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return m, err
}

// Public is the key that others vote for.
func (m *Member) Public() ed25519.PublicKey { return m.Key.Public().(ed25519.PublicKey) }

// Network is how the member reaches the others by its invitation and more peers.
func (m *Member) Network(listen, external, rpc string, peers []string) *Network {
	n := &Network{Listen: listen, External: external, RPC: rpc, Peers: peers}
	if i := m.Invitation; i != nil {
		n.Peers, n.Servers = append(n.Peers, i.Peers...), i.Servers
		if len(i.Servers) > 0 && i.Height > fetchAbove {
			servers := slices.Clone(i.Servers)
			if len(servers) == 1 {
				servers = []string{servers[0], servers[0]} // CometBFT wants a witness
			}
			for k, s := range servers {
				servers[k] = "http://" + s
			}
			n.Trust = &Trust{Height: i.Height, Hash: i.Hash[:], Servers: servers}
		}
	}
	return n
}

// Invite makes an invitation to the chain as the member behind c sees it, which is
// believed.
func (c *Client) Invite(ctx context.Context, genesis []byte, peers, servers []string) (*Invitation, error) {
	s, err := c.rpc.Status(ctx)
	if err != nil {
		return nil, err
	}
	height := max(s.SyncInfo.LatestBlockHeight-2, 1) // whose commit is in a block
	signed, err := c.commit(ctx, height)
	if err != nil {
		return nil, err
	}
	return &Invitation{Version: 1, ChainID: c.chain, Genesis: sha256.Sum256(genesis), Peers: peers, Servers: servers,
		Height: height, Hash: [32]byte(signed.Hash())}, nil
}

// DialTrusting makes a client that takes the validators from the member itself,
// which must be the caller's own: its answers prove nothing.
func DialTrusting(ctx context.Context, addr string) (*Client, error) {
	rpc, err := dialRPC(addr)
	if err != nil {
		return nil, err
	}
	r, err := rpc.ABCIQuery(ctx, queryStatus, nil)
	if err != nil {
		return nil, fmt.Errorf("member at %s: %w", addr, err)
	}
	var s Status
	if err := json.Unmarshal(r.Response.Value, &s); err != nil {
		return nil, fmt.Errorf("member at %s: %w", addr, err)
	}
	pins := Pins{ChainID: s.ChainID}
	page, per := 1, MaxValidators
	if vs, err := rpc.Validators(ctx, nil, &page, &per); err == nil {
		for _, v := range vs.Validators {
			pins.Validators = append(pins.Validators, Voter{Key: v.PubKey.Bytes(), Power: v.VotingPower})
		}
		return Dial(addr, pins)
	}
	// It has no block yet. What it is asked for then is its state.
	for _, v := range s.Validators {
		key, err := hex.DecodeString(v.Key)
		if err != nil {
			return nil, fmt.Errorf("member at %s: %w", addr, err)
		}
		pins.Validators = append(pins.Validators, Voter{Key: key, Power: int64(v.Power)})
	}
	return Dial(addr, pins)
}
