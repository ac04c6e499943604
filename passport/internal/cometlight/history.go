package cometlight

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"trailmark/internal/dcbor"
)

// Limits of evidence of version 2.
const (
	MaxHistory = 32 << 10 // bytes
	maxSteps   = 16
	maxPath    = 40
	maxInt     = 1<<53 - 1 // of its numbers, which JavaScript holds exactly
)

const stateDomain = "trailmark chain state v2"

// history is the decoded comet-evidence-2; nothing in it is verified.
type history struct {
	_       struct{} `cbor:",toarray"`
	Version uint64
	Steps   []step
	Commit  commit
	Height  uint64
	Block   [32]byte
	Seconds uint64
	Nanos   uint64
	Size    uint64
	Origins [32]byte
	Rest    [32]byte
	Index   uint64
	Path    [][32]byte
}

type commit struct {
	_         struct{} `cbor:",toarray"`
	Height    uint64
	Round     uint64
	Header    [14][]byte
	PartTotal uint32
	PartHash  [32]byte
	Votes     []vote
}

type step struct {
	_      struct{} `cbor:",toarray"`
	Commit commit
	Next   []voter
}

type voter struct {
	_     struct{} `cbor:",toarray"`
	Key   [32]byte
	Power uint64
}

// evidence is the part of version 1 that the commit is.
func (c *commit) evidence() *evidence {
	return &evidence{Height: c.Height, Round: c.Round, Header: c.Header, PartTotal: c.PartTotal, PartHash: c.PartHash, Votes: c.Votes}
}

func (c *commit) check() error {
	if c.Height > maxInt {
		return fmt.Errorf("height %d, want at most %d", c.Height, uint64(maxInt))
	}
	return c.evidence().checkCommit()
}

func parseHistory(data []byte) (*history, error) {
	var h history
	if err := dcbor.UnmarshalMax(data, &h, MaxHistory); err != nil {
		return nil, err
	}
	switch {
	case h.Version != 2:
		return nil, fmt.Errorf("comet evidence version %d, want 2", h.Version)
	case len(h.Steps) > maxSteps || len(h.Path) > maxPath:
		return nil, fmt.Errorf("%d steps and a path of %d hashes, want at most %d and %d", len(h.Steps), len(h.Path), maxSteps, maxPath)
	case h.Height < 1 || h.Height > maxInt || h.Seconds > maxSeconds || h.Nanos > 999999999:
		return nil, fmt.Errorf("anchor in block %d at %d s %d ns is out of bounds", h.Height, h.Seconds, h.Nanos)
	case h.Index >= h.Size || h.Size > maxInt:
		return nil, fmt.Errorf("anchor %d of %d is out of bounds", h.Index, h.Size)
	}
	for i := range h.Steps {
		s := &h.Steps[i]
		if err := s.Commit.check(); err != nil {
			return nil, fmt.Errorf("step %d: %w", i, err)
		}
		if n := len(s.Next); n < 1 || n > MaxValidators {
			return nil, fmt.Errorf("step %d to %d validators, want 1 to %d", i, n, MaxValidators)
		}
		for _, v := range s.Next {
			if v.Power < 1 || v.Power > maxInt {
				return nil, fmt.Errorf("step %d to a validator of power %d, want 1 to %d", i, v.Power, uint64(maxInt))
			}
		}
	}
	return &h, h.Commit.check()
}

// verifyHistory is Verify for evidence of version 2.
func verifyHistory(chainID string, set *set, note, data []byte) (Anchor, error) {
	h, err := parseHistory(data)
	if err != nil {
		return Anchor{}, fmt.Errorf("comet evidence: %w", err)
	}
	for i := range h.Steps {
		if set, err = h.Steps[i].follow(chainID, set); err != nil {
			return Anchor{}, fmt.Errorf("step %d: %w", i, err)
		}
	}
	state, err := h.appHash(chainID, note)
	if err != nil {
		return Anchor{}, err
	}
	e := h.Commit.evidence()
	if err := e.of(chainID, set); err != nil {
		return Anchor{}, err
	}
	if !bytes.Equal(e.Header[10], protoBytes(nil, 1, state[:])) {
		return Anchor{}, fmt.Errorf("block %d does not commit to the anchor of this checkpoint", e.Height)
	}
	a, err := e.signed(chainID, set, treeHash(e.Header[:]))
	if err != nil {
		return Anchor{}, err
	}
	a.Height, a.Block, a.Time = h.Height, h.Block, time.Unix(int64(h.Seconds), int64(h.Nanos)).UTC()
	return a, nil
}

// follow returns the set that a step of this set leads to, or the same set if the
// step is of another.
func (s *step) follow(chainID string, from *set) (*set, error) {
	e := s.Commit.evidence()
	if !bytes.Equal(e.Header[7], protoBytes(nil, 1, from.hash[:])) {
		return from, nil
	}
	if err := e.of(chainID, from); err != nil {
		return nil, err
	}
	next := Chain{ID: chainID}
	for _, v := range s.Next {
		next.Validators = append(next.Validators, Validator{Key: ed25519.PublicKey(v.Key[:]), Power: v.Power})
	}
	to, err := newSet(next)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(e.Header[8], protoBytes(nil, 1, to.hash[:])) {
		return nil, fmt.Errorf("block %d hands over to other validators than the %d shown", e.Height, len(to.validators))
	}
	_, err = e.signed(chainID, from, treeHash(e.Header[:]))
	return to, err
}

// appHash is that of the state that holds the anchor of note where the evidence
// says.
func (h *history) appHash(chainID string, note []byte) (sum [32]byte, err error) {
	var c log.Checkpoint
	if _, err := c.Unmarshal(note); err != nil {
		return sum, err
	}
	if c.Size > maxInt {
		return sum, fmt.Errorf("checkpoint of size %d, want at most %d", c.Size, uint64(maxInt))
	}
	leaf := dcbor.AppendText(dcbor.AppendArray(nil, 7), c.Origin)
	leaf = dcbor.AppendBytes(dcbor.AppendInt(leaf, int64(c.Size)), c.Hash)
	leaf = dcbor.AppendBytes(dcbor.AppendInt(leaf, int64(h.Height)), h.Block[:])
	leaf = dcbor.AppendInt(dcbor.AppendInt(leaf, int64(h.Seconds)), int64(h.Nanos))
	path := make([][]byte, len(h.Path))
	for i := range h.Path {
		path[i] = h.Path[i][:]
	}
	hasher := rfc6962.DefaultHasher
	root, err := proof.RootFromInclusionProof(hasher, h.Index, h.Size, hasher.HashLeaf(leaf), path)
	if err != nil {
		return sum, fmt.Errorf("path of anchor %d of %d: %w", h.Index, h.Size, err)
	}
	b := dcbor.AppendText(dcbor.AppendText(dcbor.AppendArray(nil, 6), stateDomain), chainID)
	b = dcbor.AppendBytes(dcbor.AppendInt(b, int64(h.Size)), root)
	return sha256.Sum256(dcbor.AppendBytes(dcbor.AppendBytes(b, h.Origins[:]), h.Rest[:])), nil
}
