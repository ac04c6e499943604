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
	commit := signed.Commit
	header, err := headerLeaves(signed.Header)
	if err != nil {
		return nil, err
	}
	// The hashes and signatures have these sizes: they verified.
	light := lightEvidence{
		Version: 1, Height: commit.Height, Round: int64(commit.Round), Header: header,
		PartTotal: commit.BlockID.PartSetHeader.Total, PartHash: [32]byte(commit.BlockID.PartSetHeader.Hash),
		Submitter: [32]byte(t.Key), TxSig: [64]byte(t.Sig),
		Index: uint64(ev.Index), Total: uint64(ev.Total),
	}
	for i, s := range commit.Signatures {
		if s.BlockIDFlag == types.BlockIDFlagAbsent {
			continue
		}
		light.Votes = append(light.Votes, lightVote{
			Validator: uint64(i), Flag: uint64(s.BlockIDFlag),
			Seconds: s.Timestamp.Unix(), Nanos: int64(s.Timestamp.Nanosecond()), Sig: [64]byte(s.Signature),
		})
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
	if n := len(signed.Commit.BlockID.PartSetHeader.Hash); n != 32 {
		return nil, fmt.Errorf("part set hash of %d bytes, want 32", n)
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
