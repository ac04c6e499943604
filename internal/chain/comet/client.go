package comet

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/crypto/merkle"
	cmtbytes "github.com/cometbft/cometbft/libs/bytes"
	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	coretypes "github.com/cometbft/cometbft/rpc/core/types"
	"github.com/cometbft/cometbft/types"

	"trailmark/internal/dcbor"
)

const (
	maxAnswer = 16 << 20 // bytes of an RPC answer
	maxSteps  = 16       // epochs that evidence carries
	pollEvery = 50 * time.Millisecond
)

// Pins are what a client knows of a chain from elsewhere than the chain.
type Pins struct {
	ChainID    string
	Validators []Voter
}

// Client uses a chain through a member's RPC and believes nothing of it: heads
// and anchors are proven to an app hash under a commit of the pinned validators,
// or of those that they handed over to, step by step. What a member can do is not
// to answer, or to show a state that is no newer than what it showed before. Its
// methods are safe for concurrent use.
type Client struct {
	rpc   *rpchttp.HTTP
	chain string

	mu    sync.Mutex // one walk over the epochs at a time
	set   *types.ValidatorSet
	steps []step // guarded by mu; from the pinned set to set
	seen  int64  // guarded by mu; newest block that was proven
}

// step is a commit by one set that names the next.
type step struct {
	signed *types.SignedHeader
	set    *types.ValidatorSet // that signed it
	next   *types.ValidatorSet
}

// Dial makes a client of the member at addr (host:port of its RPC). Nothing is
// sent yet.
func Dial(addr string, pins Pins) (*Client, error) {
	rpc, err := dialRPC(addr)
	if err != nil {
		return nil, err
	}
	set, err := setOf(pins.Validators)
	if err != nil {
		return nil, fmt.Errorf("pinned validators of %s: %w", pins.ChainID, err)
	}
	return &Client{rpc: rpc, chain: pins.ChainID, set: set}, nil
}

func dialRPC(addr string) (*rpchttp.HTTP, error) {
	return rpchttp.NewWithClient("http://"+addr, "/websocket", &http.Client{Timeout: 15 * time.Second, Transport: bounded{http.DefaultTransport}})
}

// bounded cuts answers off that are too large to be meant.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxAnswer), res.Body}
	return res, nil
}

func setOf(voters []Voter) (*types.ValidatorSet, error) {
	var vs []*types.Validator
	for i, v := range voters {
		if err := checkKey(v.Key); err != nil {
			return nil, fmt.Errorf("validator %d: %w", i, err)
		}
		if v.Power < 1 || v.Power > types.MaxTotalVotingPower/MaxValidators {
			return nil, fmt.Errorf("validator %d has power %d, out of bounds", i, v.Power)
		}
		vs = append(vs, types.NewValidator(cmted25519.PubKey(v.Key), v.Power))
	}
	if n := len(vs); n < 1 || n > MaxValidators {
		return nil, fmt.Errorf("%d validators, want 1 to %d", n, MaxValidators)
	}
	set := types.NewValidatorSet(vs)
	if set.Size() != len(vs) {
		return nil, errors.New("a validator is named twice")
	}
	return set, nil
}

// querier is the part of a member's RPC that answers from the state machine.
type querier interface {
	ABCIQuery(ctx context.Context, path string, data cmtbytes.HexBytes) (*coretypes.ResultABCIQuery, error)
}

// ChainID returns the chain's name.
func (c *Client) ChainID() string { return c.chain }

// Voters returns the validators that vote as far as the client has followed them.
func (c *Client) Voters() (out []Voter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.set.Validators {
		out = append(out, Voter{Key: v.PubKey.Bytes(), Power: v.VotingPower})
	}
	return out
}

func (c *Client) query(ctx context.Context, path string, data []byte) ([]byte, error) {
	r, err := c.rpc.ABCIQuery(ctx, path, data)
	if err != nil {
		return nil, err
	}
	switch r.Response.Code {
	case queryOK:
		return r.Response.Value, nil
	case queryLater:
		return nil, fmt.Errorf("%w: %s", errLater, r.Response.Log)
	case queryNone:
		return nil, fmt.Errorf("%w: %s", errNone, r.Response.Log)
	}
	return nil, fmt.Errorf("member says: %s", r.Response.Log)
}

var (
	errLater = errors.New("not yet")
	errNone  = errors.New("not on the chain")
)

// Status is the member's word.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	b, err := c.query(ctx, queryStatus, nil)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

// Follow proves the member's newest block, and so who votes now.
func (c *Client) Follow(ctx context.Context) error {
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	_, _, err = c.header(ctx, s.Height)
	return err
}

// header returns the header of a block if the set of its epoch signed it.
func (c *Client) header(ctx context.Context, height int64) (*types.SignedHeader, *types.ValidatorSet, error) {
	signed, err := c.commit(ctx, height)
	if err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !bytes.Equal(signed.ValidatorsHash, c.set.Hash()) {
		if err := c.follow(ctx); err != nil {
			return nil, nil, err
		}
	}
	return signed, c.set, verifySigned(c.chain, signed, c.set)
}

func (c *Client) commit(ctx context.Context, height int64) (*types.SignedHeader, error) {
	r, err := c.rpc.Commit(ctx, &height)
	if err != nil {
		return nil, err
	}
	if r.Header == nil || r.Commit == nil || r.Height != height {
		return nil, fmt.Errorf("member answers without block %d", height)
	}
	return &r.SignedHeader, r.SignedHeader.ValidateBasic(c.chain)
}

// verifySigned checks a header whose form is good.
func verifySigned(chainID string, signed *types.SignedHeader, set *types.ValidatorSet) error {
	if !bytes.Equal(signed.ValidatorsHash, set.Hash()) {
		return fmt.Errorf("block %d of chain %s is of other validators than the %d pinned ones, and no step leads there\n"+
			"hint: get the present validators from a member that you trust", signed.Height, chainID, set.Size())
	}
	if err := set.VerifyCommit(chainID, signed.Commit.BlockID, signed.Height, signed.Commit); err != nil {
		return fmt.Errorf("block %d of chain %s: %w", signed.Height, chainID, err)
	}
	return nil
}

// follow walks from the known set over every change that it signed. The caller
// holds mu.
func (c *Client) follow(ctx context.Context) error {
	b, err := c.query(ctx, queryEpochs, nil)
	if err != nil {
		return err
	}
	var epochs []epoch
	if err := dcbor.UnmarshalMax(b, &epochs, maxAnswer); err != nil {
		return fmt.Errorf("epochs of chain %s: %w", c.chain, err)
	}
	for _, e := range epochs {
		signed, err := getStep(ctx, c.rpc, c.chain, e.From-1)
		if err != nil {
			return err
		}
		if !bytes.Equal(signed.ValidatorsHash, c.set.Hash()) {
			continue // before the pinned set
		}
		next, err := setOf(votersOf(e.Validators))
		if err != nil {
			return err
		}
		if !bytes.Equal(signed.NextValidatorsHash, next.Hash()) {
			return fmt.Errorf("block %d of chain %s hands over to other validators than the member says", e.From-1, c.chain)
		}
		if err := verifySigned(c.chain, signed, c.set); err != nil {
			return err
		}
		c.steps = append(c.steps, step{signed, c.set, next})
		c.set = next
	}
	return nil
}

func votersOf(vs []Validator) (out []Voter) {
	for _, v := range vs {
		out = append(out, Voter{Key: v.Key, Power: int64(v.Power)})
	}
	return out
}

// A Proof is an anchor, or the lack of one, under a commit.
type Proof struct {
	Dated
	Found  bool // false for an origin that was never anchored
	answer *proofAnswer
	signed *types.SignedHeader
	set    *types.ValidatorSet
	steps  []step
}

// Prove returns the proven anchor of exactly size, or the newest if size is 0.
func (c *Client) Prove(ctx context.Context, origin string, size uint64) (*Proof, error) {
	req, err := dcbor.Marshal(&proofRequest{Origin: origin, Size: size})
	if err != nil {
		return nil, err
	}
	b, err := c.query(ctx, queryProof, req)
	if err != nil {
		return nil, err
	}
	a := new(proofAnswer)
	if err := dcbor.UnmarshalMax(b, a, maxAnswer); err != nil {
		return nil, fmt.Errorf("proof of chain %s: %w", c.chain, err)
	}
	signed, set, err := c.header(ctx, a.At)
	if err != nil {
		return nil, err
	}
	p, err := a.verify(c.chain, origin, size, signed.AppHash)
	if err != nil {
		return nil, fmt.Errorf("proof of chain %s at block %d: %w", c.chain, a.At, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.At < c.seen {
		return nil, fmt.Errorf("member shows block %d of chain %s, showed %d before\nhint: it is behind or was restored", a.At, c.chain, c.seen)
	}
	c.seen = a.At
	p.signed, p.set, p.steps = signed, set, slices.Clone(c.steps)
	return p, nil
}

// verify checks that the answer is about origin and size, and under the app hash.
func (a *proofAnswer) verify(chainID, origin string, size uint64, appHash []byte) (*Proof, error) {
	o := opening{a.Anchors, a.History, a.Origins, a.Rest}
	if h := o.hash(chainID); !bytes.Equal(h[:], appHash) {
		return nil, fmt.Errorf("%w: the state hashes to %x, the header has %x", errLater, h, appHash)
	}
	var head struct {
		_          struct{} `cbor:",toarray"`
		Origin     string
		LogKey     string
		Revision   uint64
		Submitters []ed25519.PublicKey
		Count      uint64
		Size       uint64
		Root       [32]byte
		Fold       [32]byte
		NextKey    string
	}
	if err := dcbor.UnmarshalMax(a.Head, &head, MaxTx); err != nil {
		return nil, err
	}
	leaf := sha256.Sum256(a.Head)
	under := merkle.Proof{Total: a.OriginTotal, Index: a.OriginIndex, LeafHash: leafHash(leaf[:]), Aunts: a.OriginPath}
	if err := errors.Join(under.ValidateBasic(), under.Verify(a.Origins[:], leaf[:])); err != nil || head.Origin != origin {
		return nil, fmt.Errorf("head of %q is not that of %q in the state: %w", head.Origin, origin, err)
	}
	p := &Proof{Dated: Dated{Origin: origin, Size: a.Size, Root: a.Root, Height: a.Height, Block: a.Block,
		Time: time.Unix(a.Seconds, a.Nanos).UTC()}, Found: a.Size > 0, answer: a}
	switch {
	case size == 0 && (a.Size != head.Size || head.Size > 0 && a.Root != head.Root):
		return nil, fmt.Errorf("newest anchor of %q is of size %d, shown is %d", origin, head.Size, a.Size)
	case size > 0 && a.Size != size:
		return nil, fmt.Errorf("shown is size %d, want %d", a.Size, size)
	case !p.Found:
		return p, nil
	}
	under = merkle.Proof{Total: int64(a.Anchors), Index: int64(a.Index), LeafHash: leafHash(p.leaf()), Aunts: a.Path}
	return p, errors.Join(under.ValidateBasic(), under.Verify(a.History[:], p.leaf()))
}

func leafHash(b []byte) []byte { h := sha256.Sum256(append([]byte{0}, b...)); return h[:] }

// Submit hands in a transaction. A [*Refusal] is the member's word that the rules
// forbid it; nil says only that it was taken in, or is in force already.
func (c *Client) Submit(ctx context.Context, raw []byte) error {
	if _, err := decodeTx(raw); err != nil {
		return err
	}
	r, err := c.rpc.BroadcastTxSync(ctx, raw)
	if err != nil {
		if bytes.Contains([]byte(err.Error()), []byte("tx already exists in cache")) {
			return nil
		}
		return err
	}
	if code := Code(r.Code); code != CodeOK && code != CodeAlready {
		return &Refusal{code, r.Log}
	}
	return nil
}

// Anchor submits a signed checkpoint in the name of submitter and returns its
// proven anchor. An ended ctx says nothing about the outcome.
func (c *Client) Anchor(ctx context.Context, submitter ed25519.PrivateKey, signed []byte) (*Proof, error) {
	raw, err := NewAnchor(c.chain, submitter, signed)
	if err != nil {
		return nil, err
	}
	cp, err := parseCheckpoint(signed)
	if err != nil {
		return nil, err
	}
	if err := c.Submit(ctx, raw); err != nil {
		return nil, err
	}
	for {
		p, err := c.Prove(ctx, cp.origin, cp.size)
		switch {
		case err == nil && p.Root != cp.root:
			return nil, refuse(CodeFork, "origin %q at size %d is anchored with root %x, got %x", cp.origin, cp.size, p.Root, cp.root)
		case err == nil:
			return p, nil
		case !errors.Is(err, errLater) && !errors.Is(err, errNone):
			return nil, err
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return nil, fmt.Errorf("chain %s has not taken the checkpoint yet: %w\nhint: it may still; ask for the head", c.chain, context.Cause(ctx))
		}
	}
}

// Head returns the newest proven anchor of origin.
func (c *Client) Head(ctx context.Context, origin string) (*Proof, error) {
	for {
		p, err := c.Prove(ctx, origin, 0)
		if err == nil || !errors.Is(err, errLater) {
			return p, err
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return nil, fmt.Errorf("head of %q on chain %s: %w", origin, c.chain, err)
		}
	}
}

// Tx returns the transaction that made a proven anchor, from its block.
func (c *Client) Tx(ctx context.Context, d Dated) ([]byte, error) {
	r, err := c.rpc.Block(ctx, &d.Height)
	if err != nil {
		return nil, err
	}
	if r.Block == nil || !bytes.Equal(r.Block.Hash(), d.Block[:]) || !bytes.Equal(r.Block.DataHash, r.Block.Data.Hash()) {
		return nil, fmt.Errorf("member shows another block %d of chain %s than the proven one", d.Height, c.chain)
	}
	for _, raw := range r.Block.Txs {
		if t, err := decodeTx(raw); err == nil && slices.Contains(t.checkpoints, checkpoint{d.Origin, d.Size, d.Root}) {
			return raw, nil
		}
	}
	return nil, fmt.Errorf("block %d of chain %s lacks the anchor of %q at size %d", d.Height, c.chain, d.Origin, d.Size)
}

// hearsay is how long a vote waits for its proposal to reach the member that is asked.
const hearsay = 5 * time.Second

// Vote submits a proposal, or a vote for one, and returns how that stands when
// the member shows it.
func (c *Client) Vote(ctx context.Context, raw []byte, id [32]byte) (v StatusVote, err error) {
	before, err := c.vote(ctx, id)
	if err != nil {
		return v, err
	}
	// What another member took in a moment ago may not have reached this one.
	for end := time.Now().Add(hearsay); ; {
		var r *Refusal
		if err := c.Submit(ctx, raw); err == nil {
			break
		} else if !errors.As(err, &r) || r.Code != CodeExpired || time.Now().After(end) {
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	err = c.until(ctx, func() (bool, error) {
		v, err = c.vote(ctx, id)
		return v.Done || v.Yes > before.Yes, err
	})
	return v, err
}

func (c *Client) vote(ctx context.Context, id [32]byte) (StatusVote, error) {
	s, err := c.Status(ctx)
	for _, p := range s.Proposals {
		if p.ID == fmt.Sprintf("%x", id) {
			return p, err
		}
	}
	return StatusVote{}, err
}

// Register submits the next registration of an origin and returns it when the
// member shows it in force.
func (c *Client) Register(ctx context.Context, admin ed25519.PrivateKey, r Registration) (Registration, error) {
	revision := func() (uint64, error) {
		s, err := c.Status(ctx)
		for _, o := range s.Origins {
			if o.Origin == r.Origin {
				return o.Revision, err
			}
		}
		return 0, err
	}
	now, err := revision()
	if err != nil {
		return r, err
	}
	r.Revision = now + 1
	raw, err := NewRegister(c.chain, admin, r)
	if err != nil {
		return r, err
	}
	if err := c.Submit(ctx, raw); err != nil {
		return r, err
	}
	return r, c.until(ctx, func() (bool, error) {
		now, err := revision()
		return now >= r.Revision, err
	})
}

func (c *Client) until(ctx context.Context, done func() (bool, error)) error {
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return fmt.Errorf("chain %s has not taken the transaction yet: %w", c.chain, context.Cause(ctx))
		}
	}
}
