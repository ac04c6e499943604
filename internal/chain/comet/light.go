package comet

import (
	"errors"
	"fmt"

	"github.com/cometbft/cometbft/crypto/merkle"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
	"github.com/cosmos/gogoproto/proto"
	gogotypes "github.com/cosmos/gogoproto/types"

	"trailmark/internal/dcbor"
)

// lightEvidence is the comet-evidence of a passport. The package that verifies
// it, passport/internal/cometlight, documents the form and has its own copy:
// a verifier shares nothing with who makes the evidence.
type lightEvidence struct {
	_         struct{} `cbor:",toarray"`
	Version   uint64
	Height    int64
	Round     int64
	Header    [14][]byte
	PartTotal uint32
	PartHash  [32]byte
	Votes     []lightVote
	Submitter [32]byte
	TxSig     [64]byte
	Index     uint64
	Total     uint64
	Aunts     [][32]byte
}

type lightVote struct {
	_         struct{} `cbor:",toarray"`
	Validator uint64
	Flag      uint64
	Seconds   int64
	Nanos     int64
	Sig       [64]byte
}

// lightCommit is a comet-commit, the part of a header and a commit that both forms
// of evidence have.
type lightCommit struct {
	_         struct{} `cbor:",toarray"`
	Height    int64
	Round     int64
	Header    [14][]byte
	PartTotal uint32
	PartHash  [32]byte
	Votes     []lightVote
}

// newLightCommit is about a header and a commit that verified.
func newLightCommit(signed *types.SignedHeader) (*lightCommit, error) {
	commit := signed.Commit
	if n := len(commit.BlockID.PartSetHeader.Hash); n != 32 {
		return nil, fmt.Errorf("part set hash of %d bytes, want 32", n)
	}
	header, err := headerLeaves(signed.Header)
	if err != nil {
		return nil, err
	}
	c := &lightCommit{
		Height: commit.Height, Round: int64(commit.Round), Header: header,
		PartTotal: commit.BlockID.PartSetHeader.Total, PartHash: [32]byte(commit.BlockID.PartSetHeader.Hash),
	}
	for i, s := range commit.Signatures {
		if s.BlockIDFlag == types.BlockIDFlagAbsent {
			continue
		}
		c.Votes = append(c.Votes, lightVote{
			Validator: uint64(i), Flag: uint64(s.BlockIDFlag),
			Seconds: s.Timestamp.Unix(), Nanos: int64(s.Timestamp.Nanosecond()), Sig: [64]byte(s.Signature),
		})
	}
	return c, nil
}

// lightHistory is comet-evidence of version 2: an anchor in the history that the
// app hash of a later block commits to, and how to get to that block's validators.
type lightHistory struct {
	_       struct{} `cbor:",toarray"`
	Version uint64
	Steps   []lightStep
	Commit  *lightCommit
	Height  int64
	Block   [32]byte
	Seconds int64
	Nanos   int64
	Size    uint64
	Origins [32]byte
	Rest    [32]byte
	Index   uint64
	Path    [][]byte
}

// lightStep is a commit by one set and the set that its header names for the next
// block.
type lightStep struct {
	_      struct{} `cbor:",toarray"`
	Commit *lightCommit
	Next   []lightVoter
}

type lightVoter struct {
	_     struct{} `cbor:",toarray"`
	Key   []byte
	Power int64
}

// Light returns the evidence of a proven anchor that a passport carries. It holds
// the newest changes of the validators, as many as a verifier takes.
func (p *Proof) Light() ([]byte, error) {
	if !p.Found {
		return nil, fmt.Errorf("origin %q was never anchored", p.Origin)
	}
	a := p.answer
	out := lightHistory{
		Version: 2, Steps: []lightStep{}, Height: p.Height, Block: p.Block, Seconds: a.Seconds, Nanos: a.Nanos,
		Size: a.Anchors, Origins: a.Origins, Rest: a.Rest, Index: a.Index, Path: a.Path,
	}
	if out.Path == nil {
		out.Path = [][]byte{}
	}
	var err error
	if out.Commit, err = newLightCommit(p.signed); err != nil {
		return nil, err
	}
	for _, s := range p.steps[max(0, len(p.steps)-maxSteps):] {
		c, err := newLightCommit(s.signed)
		if err != nil {
			return nil, err
		}
		step := lightStep{Commit: c}
		for _, v := range s.next.Validators {
			step.Next = append(step.Next, lightVoter{Key: v.PubKey.Bytes(), Power: v.VotingPower})
		}
		out.Steps = append(out.Steps, step)
	}
	return dcbor.Marshal(&out)
}

// Light returns the evidence of an anchor in the compact form that a passport
// carries and a phone checks. It fails unless CometBFT's own code accepts the
// evidence, every signature in it included.
func (ev *Evidence) Light() ([]byte, error) {
	t, err := decodeTx(ev.Tx)
	if err != nil {
		return nil, err
	}
	if t.Kind != kindAnchor {
		return nil, fmt.Errorf("transaction kind %d, want %d", t.Kind, kindAnchor)
	}
	signed, err := ev.verify()
	if err != nil {
		return nil, fmt.Errorf("evidence of block %d of chain %s: %w", ev.Height, ev.ChainID, err)
	}
	c, err := newLightCommit(signed)
	if err != nil {
		return nil, err
	}
	light := lightEvidence{
		Version: 1, Height: c.Height, Round: c.Round, Header: c.Header,
		PartTotal: c.PartTotal, PartHash: c.PartHash, Votes: c.Votes,
		Submitter: [32]byte(t.Key), TxSig: [64]byte(t.Sig),
		Index: uint64(ev.Index), Total: uint64(ev.Total),
	}
	for _, a := range ev.Aunts {
		light.Aunts = append(light.Aunts, [32]byte(a))
	}
	return dcbor.Marshal(&light)
}

// verify checks the evidence with CometBFT's code.
func (ev *Evidence) verify() (*types.SignedHeader, error) {
	var header cmtproto.SignedHeader
	var set cmtproto.ValidatorSet
	if err := errors.Join(header.Unmarshal(ev.SignedHeader), set.Unmarshal(ev.Validators)); err != nil {
		return nil, err
	}
	signed, err := types.SignedHeaderFromProto(&header)
	if err != nil {
		return nil, err
	}
	vals, err := types.ValidatorSetFromProto(&set)
	if err != nil {
		return nil, err
	}
	if err := signed.ValidateBasic(ev.ChainID); err != nil {
		return nil, err
	}
	if hash := vals.Hash(); string(hash) != string(signed.ValidatorsHash) {
		return nil, fmt.Errorf("validators hash to %x, the header has %x", hash, signed.ValidatorsHash)
	}
	if err := vals.VerifyCommit(ev.ChainID, signed.Commit.BlockID, ev.Height, signed.Commit); err != nil {
		return nil, err
	}
	p := merkle.Proof{Total: ev.Total, Index: ev.Index, LeafHash: ev.LeafHash, Aunts: ev.Aunts}
	if err := p.ValidateBasic(); err != nil {
		return nil, err
	}
	return signed, p.Verify(signed.DataHash, types.Tx(ev.Tx).Hash())
}

// headerLeaves returns what types.Header.Hash hashes: each field in protobuf,
// scalars wrapped as google.protobuf values.
func headerLeaves(h *types.Header) (leaves [14][]byte, err error) {
	last := h.LastBlockID.ToProto()
	for i, m := range []proto.Message{
		0: &h.Version, 1: &gogotypes.StringValue{Value: h.ChainID}, 2: &gogotypes.Int64Value{Value: h.Height},
		4: &last, 5: bytesValue(h.LastCommitHash), 6: bytesValue(h.DataHash), 7: bytesValue(h.ValidatorsHash),
		8: bytesValue(h.NextValidatorsHash), 9: bytesValue(h.ConsensusHash), 10: bytesValue(h.AppHash),
		11: bytesValue(h.LastResultsHash), 12: bytesValue(h.EvidenceHash), 13: bytesValue(h.ProposerAddress),
	} {
		if m == nil {
			leaves[i], err = gogotypes.StdTimeMarshal(h.Time)
		} else {
			leaves[i], err = proto.Marshal(m)
		}
		if err != nil {
			return leaves, fmt.Errorf("field %d of header %d: %w", i+1, h.Height, err)
		}
	}
	return leaves, nil
}

func bytesValue(b []byte) *gogotypes.BytesValue { return &gogotypes.BytesValue{Value: b} }
