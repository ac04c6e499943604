package comet

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"trailmark/internal/dcbor"
)

// Limits of the validators' votes.
const (
	MaxValidators = 64   // as many as a verifier takes
	MaxPower      = 1000 // of one validator
	maxName       = 64   // bytes
	maxOpen       = 8    // proposals of one validator that are not decided
	maxVote       = 30 * 24 * time.Hour
)

// What a proposal changes.
const (
	ChangeValidator = 1 // set, re-weight or, with power 0, remove a validator
	ChangeAdmin     = 2 // another administrator, without the old one's signature
)

// A Change is what validators vote on.
type Change struct {
	_     struct{} `cbor:",toarray"`
	Kind  uint64
	Key   ed25519.PublicKey
	Power uint64 // of a validator
	Name  string // of a validator's organisation
}

// A Proposal is a change that validators vote on until a block's time passes
// Until. Its id is the SHA-256 of its CBOR, so one id is decided once.
type Proposal struct {
	_      struct{} `cbor:",toarray"`
	Until  int64    // seconds since 1970
	Nonce  uint64   // tells apart proposals that are otherwise the same
	Change Change
}

// ID is what votes name.
func (p *Proposal) ID() ([32]byte, error) {
	b, err := dcbor.Marshal(p)
	return sha256.Sum256(b), err
}

func (p *Proposal) check() error {
	c := &p.Change
	if err := checkKey(c.Key); err != nil {
		return err
	}
	switch {
	case p.Until < 0 || p.Until > 253402300799:
		return fmt.Errorf("vote until %d s, out of bounds", p.Until)
	case c.Kind == ChangeAdmin && (c.Power != 0 || c.Name != ""):
		return errors.New("an administrator has no power and no name")
	case c.Kind == ChangeValidator && (c.Power > MaxPower || len(c.Name) > maxName || !utf8.ValidString(c.Name)):
		return fmt.Errorf("validator of power %d with a name of %d bytes, want at most %d and %d", c.Power, len(c.Name), MaxPower, maxName)
	case c.Kind != ChangeAdmin && c.Kind != ChangeValidator:
		return fmt.Errorf("change of kind %d, want %d or %d", c.Kind, ChangeValidator, ChangeAdmin)
	}
	return nil
}

// Validator is a voter as the state keeps it, sorted by key.
type Validator struct {
	_     struct{} `cbor:",toarray"`
	Key   ed25519.PublicKey
	Power uint64
	Name  string
}

// ballot is a proposal under way, or one that was decided and is kept until it
// expires so that nobody plays it again.
type ballot struct {
	_        struct{} `cbor:",toarray"`
	ID       [32]byte
	Proposal Proposal
	By       ed25519.PublicKey
	Yes      []ed25519.PublicKey // sorted
	Decided  bool
}

// epoch says from which block on other validators vote.
type epoch struct {
	_          struct{} `cbor:",toarray"`
	From       int64
	Validators []Validator
}

// governance is who decides. It is replaced as a whole, never changed in place.
type governance struct {
	version    uint64 // of the rules and the app hash
	admin      ed25519.PublicKey
	revision   uint64      // of admin
	validators []Validator // sorted by key
	ballots    []ballot    // sorted by id
	epochs     []epoch     // changes since the genesis, ascending
}

func (g *governance) clone() *governance {
	c := *g
	c.validators, c.ballots, c.epochs = slices.Clone(g.validators), slices.Clone(g.ballots), slices.Clone(g.epochs)
	return &c
}

func (g *governance) hash(undated []Dated) ([32]byte, error) {
	leaves := make([][]byte, len(undated))
	for i := range undated {
		leaves[i] = undated[i].leaf()
	}
	b, err := dcbor.Marshal([]any{g.version, []byte(g.admin), g.revision, g.validators, g.ballots, g.epochs, leaves})
	return sha256.Sum256(b), err
}

func (g *governance) validator(key []byte) (int, bool) {
	return slices.BinarySearchFunc(g.validators, key, func(v Validator, k []byte) int { return bytes.Compare(v.Key, k) })
}

func (g *governance) ballot(id [32]byte) (int, bool) {
	return slices.BinarySearchFunc(g.ballots, id, func(b ballot, id [32]byte) int { return bytes.Compare(b.ID[:], id[:]) })
}

// carried reports whether over two thirds of the power that is there now are for
// the ballot.
func (g *governance) carried(b *ballot) bool {
	var yes, all uint64
	for _, v := range g.validators {
		all += v.Power
		if slices.ContainsFunc(b.Yes, func(k ed25519.PublicKey) bool { return bytes.Equal(k, v.Key) }) {
			yes += v.Power
		}
	}
	return 3*yes > 2*all
}

// expire drops ballots whose time has passed.
func (b *batch) expire() {
	old := func(x ballot) bool { return x.Proposal.Until <= b.now.Unix() }
	if slices.ContainsFunc(b.gov.ballots, old) {
		g := b.gov.clone()
		g.ballots = slices.DeleteFunc(g.ballots, old)
		b.gov = g
	}
}

// govern applies a transaction of kind admin, propose, vote or upgrade whose
// signature the caller has checked or trusts.
func (b *batch) govern(t *tx, raw []byte) *Refusal {
	g := b.gov.clone()
	var r *Refusal
	switch t.Kind {
	case kindUpgrade:
		r = g.upgrade(t)
	case kindAdmin:
		r = g.setAdmin(t)
	case kindPropose:
		if r = g.propose(t, b.now); r == nil {
			r = g.vote(t.Key, t.id)
		}
	case kindVote:
		r = g.vote(t.Key, t.id)
	}
	if r != nil {
		return r
	}
	b.gov = g
	b.record.Govern = append(b.record.Govern, raw)
	return nil
}

func (g *governance) upgrade(t *tx) *Refusal {
	switch {
	case g.version >= stateVersion:
		return refuse(CodeAlready, "the chain is at version %d already", g.version)
	case len(g.validators) != 1 || !bytes.Equal(g.validators[0].Key, t.Key):
		return refuse(CodeVoter, "upgrade by %x, want the only validator", t.Key)
	}
	g.version = stateVersion
	return nil
}

func (g *governance) setAdmin(t *tx) *Refusal {
	switch {
	case bytes.Equal(g.admin, t.admin.Key) && g.revision == t.admin.Revision:
		return refuse(CodeAlready, "the administrator is %x already", g.admin)
	case !bytes.Equal(g.admin, t.Key):
		return refuse(CodeAdmin, "another administrator is named by %x, want the administrator %x", t.Key, g.admin)
	case t.admin.Revision != g.revision+1:
		return refuse(CodeRevision, "revision %d of the administrator, want %d", t.admin.Revision, g.revision+1)
	}
	g.admin, g.revision = t.admin.Key, t.admin.Revision
	return nil
}

func (g *governance) propose(t *tx, now time.Time) *Refusal {
	if _, ok := g.validator(t.Key); !ok {
		return refuse(CodeVoter, "proposal by %x, which is no validator", t.Key)
	}
	i, known := g.ballot(t.id)
	if known {
		return refuse(CodeAlready, "proposal %x is made already", t.id)
	}
	until := time.Unix(t.proposal.Until, 0)
	if !until.After(now) || until.Sub(now) > maxVote {
		return refuse(CodeExpired, "vote until %s, want after %s and within %s", until.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), maxVote)
	}
	open := 0
	for _, b := range g.ballots {
		if !b.Decided && bytes.Equal(b.By, t.Key) {
			open++
		}
	}
	if open >= maxOpen {
		return refuse(CodeFull, "%x has %d proposals open, want %d at most", t.Key, open, maxOpen)
	}
	if r := g.allowed(&t.proposal.Change); r != nil {
		return r
	}
	g.ballots = slices.Insert(g.ballots, i, ballot{ID: t.id, Proposal: t.proposal, By: t.Key})
	return nil
}

// allowed refuses a change that would leave no usable set.
func (g *governance) allowed(c *Change) *Refusal {
	if c.Kind != ChangeValidator {
		return nil
	}
	i, known := g.validator(c.Key)
	switch {
	case c.Power == 0 && !known:
		return refuse(CodeAlready, "%x is no validator already", c.Key)
	case c.Power == 0 && len(g.validators) == 1:
		return refuse(CodeVoter, "%x is the only validator; it cannot be removed", c.Key)
	case known && g.validators[i].Power == c.Power && g.validators[i].Name == c.Name:
		return refuse(CodeAlready, "%x has power %d already", c.Key, c.Power)
	case !known && len(g.validators) >= MaxValidators:
		return refuse(CodeFull, "%d validators, want %d at most", len(g.validators), MaxValidators)
	}
	return nil
}

// vote counts a voice and, when that decides, makes the change.
func (g *governance) vote(key ed25519.PublicKey, id [32]byte) *Refusal {
	if _, ok := g.validator(key); !ok {
		return refuse(CodeVoter, "vote by %x, which is no validator", key)
	}
	i, ok := g.ballot(id)
	if !ok {
		return refuse(CodeExpired, "no proposal %x is open\nhint: it was never made, or its time has passed", id)
	}
	b := g.ballots[i]
	at, voted := slices.BinarySearchFunc(b.Yes, key, func(a, k ed25519.PublicKey) int { return bytes.Compare(a, k) })
	if voted || b.Decided {
		return refuse(CodeAlready, "%x has voted for proposal %x, or it is decided", key, id)
	}
	b.Yes = slices.Insert(slices.Clone(b.Yes), at, key)
	if g.carried(&b) {
		if r := g.allowed(&b.Proposal.Change); r != nil && r.Code != CodeAlready {
			return r
		}
		b.Decided = true
		g.carryOut(&b.Proposal.Change)
	}
	g.ballots[i] = b
	return nil
}

func (g *governance) carryOut(c *Change) {
	if c.Kind == ChangeAdmin {
		g.admin, g.revision = c.Key, g.revision+1
		return
	}
	i, known := g.validator(c.Key)
	v := Validator{Key: c.Key, Power: c.Power, Name: c.Name}
	switch {
	case c.Power == 0 && known:
		g.validators = slices.Delete(g.validators, i, i+1)
	case c.Power > 0 && known:
		g.validators[i] = v
	case c.Power > 0:
		g.validators = slices.Insert(g.validators, i, v)
	}
}

// updates returns what CometBFT must be told of the validators, by key.
func updates(was, is *governance) (out []Validator) {
	for _, v := range was.validators {
		if _, ok := is.validator(v.Key); !ok {
			out = append(out, Validator{Key: v.Key})
		}
	}
	for _, v := range is.validators {
		if i, ok := was.validator(v.Key); !ok || was.validators[i].Power != v.Power {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b Validator) int { return bytes.Compare(a.Key, b.Key) })
	return out
}
