package cometlight

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/crypto/merkle"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
	"github.com/cosmos/gogoproto/proto"
	gogotypes "github.com/cosmos/gogoproto/types"
	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"

	"trailmark/internal/chain/comet"
	"trailmark/internal/dcbor"
)

const testChain = "trailmark-test-1"

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// view is the evidence in CometBFT's own types.
type view struct {
	chainID string
	header  *types.Header
	commit  *types.Commit
	vals    *types.ValidatorSet
	proof   merkle.Proof
	tx      []byte
}

func viewOf(t testing.TB, ev *comet.Evidence) *view {
	t.Helper()
	var header cmtproto.SignedHeader
	var set cmtproto.ValidatorSet
	if err := errors.Join(header.Unmarshal(ev.SignedHeader), set.Unmarshal(ev.Validators)); err != nil {
		t.Fatal(err)
	}
	signed := must(types.SignedHeaderFromProto(&header))(t)
	return &view{
		chainID: ev.ChainID, header: signed.Header, commit: signed.Commit, vals: must(types.ValidatorSetFromProto(&set))(t),
		proof: merkle.Proof{Total: ev.Total, Index: ev.Index, LeafHash: ev.LeafHash, Aunts: ev.Aunts}, tx: ev.Tx,
	}
}

func (v *view) clone() *view {
	c := *v
	h := *v.header
	for _, b := range hashes(&h) {
		*b = bytes.Clone(*b)
	}
	c.header, c.commit, c.vals, c.tx = &h, v.commit.Clone(), v.vals.Copy(), bytes.Clone(v.tx)
	c.commit.BlockID.Hash = bytes.Clone(v.commit.BlockID.Hash)
	c.commit.BlockID.PartSetHeader.Hash = bytes.Clone(v.commit.BlockID.PartSetHeader.Hash)
	for i := range c.commit.Signatures {
		s := &c.commit.Signatures[i]
		s.Signature, s.ValidatorAddress = bytes.Clone(s.Signature), bytes.Clone(s.ValidatorAddress)
	}
	c.proof.LeafHash, c.proof.Aunts = bytes.Clone(v.proof.LeafHash), nil
	for _, a := range v.proof.Aunts {
		c.proof.Aunts = append(c.proof.Aunts, bytes.Clone(a))
	}
	return &c
}

// hashes are the header's byte strings.
func hashes(h *types.Header) map[string]*[]byte {
	return map[string]*[]byte{
		"last block": (*[]byte)(&h.LastBlockID.Hash), "last parts": (*[]byte)(&h.LastBlockID.PartSetHeader.Hash),
		"last commit": (*[]byte)(&h.LastCommitHash), "data": (*[]byte)(&h.DataHash),
		"validators": (*[]byte)(&h.ValidatorsHash), "next validators": (*[]byte)(&h.NextValidatorsHash),
		"consensus": (*[]byte)(&h.ConsensusHash), "app": (*[]byte)(&h.AppHash),
		"last results": (*[]byte)(&h.LastResultsHash), "evidence": (*[]byte)(&h.EvidenceHash),
		"proposer": (*[]byte)(&h.ProposerAddress),
	}
}

// sdk is CometBFT's verdict.
func (v *view) sdk(commit func(string, *types.ValidatorSet, types.BlockID, int64, *types.Commit) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	signed := types.SignedHeader{Header: v.header, Commit: v.commit}
	if !bytes.Equal(v.vals.Hash(), v.header.ValidatorsHash) {
		return errors.New("validators hash")
	}
	return errors.Join(
		signed.ValidateBasic(v.chainID),
		commit(v.chainID, v.vals, v.commit.BlockID, v.header.Height, v.commit),
		v.proof.ValidateBasic(),
		v.proof.Verify(v.header.DataHash, types.Tx(v.tx).Hash()),
	)
}

var errUnsayable = errors.New("cannot be said in a comet-evidence")

// ours writes the view as comet-evidence, whether it stands or not, and splits
// off the note. An error means that the form has no words for it.
func (v *view) ours() (e *evidence, note []byte, err error) {
	c := v.commit
	parts := c.BlockID.PartSetHeader
	var tx struct {
		_             struct{} `cbor:",toarray"`
		Version, Kind uint64
		Body          []byte
		Key           [32]byte
		Sig           [64]byte
	}
	switch {
	case dcbor.Unmarshal(v.tx, &tx) != nil || tx.Version != 1 || tx.Kind != 1:
		return nil, nil, fmt.Errorf("transaction: %w", errUnsayable)
	case c.Height != v.header.Height || !bytes.Equal(c.BlockID.Hash, v.header.Hash()) || len(parts.Hash) != 32:
		return nil, nil, fmt.Errorf("commit: %w", errUnsayable)
	case !bytes.Equal(v.proof.LeafHash, sum(0, types.Tx(v.tx).Hash())):
		return nil, nil, fmt.Errorf("proof: %w", errUnsayable)
	}
	e = &evidence{
		Version: 1, Height: uint64(c.Height), Round: uint64(c.Round), PartTotal: parts.Total, PartHash: [32]byte(parts.Hash),
		Submitter: tx.Key, TxSig: tx.Sig, Index: uint64(v.proof.Index), Total: uint64(v.proof.Total),
	}
	last, h := v.header.LastBlockID.ToProto(), v.header
	for i, m := range []proto.Message{
		&h.Version, &gogotypes.StringValue{Value: h.ChainID}, &gogotypes.Int64Value{Value: h.Height}, nil, &last,
		&gogotypes.BytesValue{Value: h.LastCommitHash}, &gogotypes.BytesValue{Value: h.DataHash},
		&gogotypes.BytesValue{Value: h.ValidatorsHash}, &gogotypes.BytesValue{Value: h.NextValidatorsHash},
		&gogotypes.BytesValue{Value: h.ConsensusHash}, &gogotypes.BytesValue{Value: h.AppHash},
		&gogotypes.BytesValue{Value: h.LastResultsHash}, &gogotypes.BytesValue{Value: h.EvidenceHash},
		&gogotypes.BytesValue{Value: h.ProposerAddress},
	} {
		if m == nil {
			e.Header[i], err = gogotypes.StdTimeMarshal(h.Time)
		} else {
			e.Header[i], err = proto.Marshal(m)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	for _, s := range c.Signatures {
		if s.BlockIDFlag == types.BlockIDFlagAbsent && len(s.ValidatorAddress)+len(s.Signature) == 0 && s.Timestamp.IsZero() {
			continue
		}
		i, _ := v.vals.GetByAddress(s.ValidatorAddress)
		if i < 0 || len(s.Signature) != 64 {
			return nil, nil, fmt.Errorf("signature: %w", errUnsayable)
		}
		e.Votes = append(e.Votes, vote{Validator: uint64(i), Flag: uint64(s.BlockIDFlag),
			Seconds: uint64(s.Timestamp.Unix()), Nanos: uint64(s.Timestamp.Nanosecond()), Sig: [64]byte(s.Signature)})
	}
	for _, a := range v.proof.Aunts {
		if len(a) != 32 {
			return nil, nil, fmt.Errorf("aunt: %w", errUnsayable)
		}
		e.Aunts = append(e.Aunts, [32]byte(a))
	}
	return e, tx.Body, nil
}

// verify runs the view through our form and verifier, against pinned and against
// the note it carries.
func (v *view) verify(pinned Chain) (Anchor, error) {
	e, note, err := v.ours()
	if err != nil {
		return Anchor{}, err
	}
	return Verify(pinned, note, dcbor.MustMarshal(e))
}

func (v *view) pins() Chain {
	c := Chain{ID: v.chainID}
	for _, val := range v.vals.Validators {
		c.Validators = append(c.Validators, Validator{Key: val.PubKey.Bytes(), Power: uint64(val.VotingPower)})
	}
	return c
}

func sum(prefix byte, b []byte) []byte {
	h := sha256.Sum256(append([]byte{prefix}, b...))
	return h[:]
}

// A testLog signs checkpoints like a ledger.
type testLog struct {
	origin string
	vkey   string
	signer note.Signer
}

func newTestLog(t testing.TB, origin string, seed byte) *testLog {
	t.Helper()
	key := seeded(seed)
	vkey := must(note.NewEd25519VerifierKey(origin, key.Public().(ed25519.PublicKey)))(t)
	skey := "PRIVATE+KEY+" + vkey[:len(origin)+len("+00000000+")] + base64.StdEncoding.EncodeToString(append([]byte{1}, key.Seed()...))
	return &testLog{origin, vkey, must(note.NewSigner(skey))(t)}
}

func (l *testLog) checkpoint(t testing.TB, size uint64) []byte {
	t.Helper()
	root := sha256.Sum256(fmt.Appendf(nil, "root %d", size))
	text := log.Checkpoint{Origin: l.origin, Size: size, Hash: root[:]}.Marshal()
	return must(note.Sign(&note.Note{Text: string(text)}, l.signer))(t)
}

func seeded(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

// A world is a validator set that signs what it is told to.
type world struct {
	keys map[string]ed25519.PrivateKey // by address
	vals *types.ValidatorSet
}

func newWorld(powers ...int64) *world {
	w := &world{keys: map[string]ed25519.PrivateKey{}}
	var all []*types.Validator
	for i, p := range powers {
		key := seeded(byte(100 + i))
		v := types.NewValidator(cmted25519.PubKey(key.Public().(ed25519.PublicKey)), p)
		w.keys[string(v.Address)] = key
		all = append(all, v)
	}
	w.vals = types.NewValidatorSet(all)
	return w
}

// block is a block at height 7 with txs, committed in round 2 with the votes
// that flags asks for, one a validator. Vote i is cast i*i*100 ms after 1e9 s.
func (w *world) block(t testing.TB, txs []types.Tx, index int, flags ...types.BlockIDFlag) *view {
	t.Helper()
	fill := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	root, proofs := types.Txs(txs).Hash(), types.Txs(txs).Proof(index)
	h := &types.Header{
		ChainID: testChain, Height: 7, Time: time.Unix(999_999_000, 5).UTC(),
		LastBlockID:    types.BlockID{Hash: fill(1), PartSetHeader: types.PartSetHeader{Total: 3, Hash: fill(2)}},
		LastCommitHash: fill(3), DataHash: root, ValidatorsHash: w.vals.Hash(), NextValidatorsHash: w.vals.Hash(),
		ConsensusHash: fill(4), AppHash: fill(5), LastResultsHash: fill(6), EvidenceHash: fill(7), ProposerAddress: fill(8)[:20],
	}
	h.Version.Block, h.Version.App = 11, 1
	v := &view{chainID: testChain, header: h, vals: w.vals, proof: proofs.Proof, tx: txs[index]}
	id := types.BlockID{Hash: h.Hash(), PartSetHeader: types.PartSetHeader{Total: 1, Hash: fill(9)}}
	v.commit = &types.Commit{Height: 7, Round: 2, BlockID: id}
	for i, val := range w.vals.Validators {
		s := types.NewCommitSigAbsent()
		if flags[i] != types.BlockIDFlagAbsent {
			at := time.Unix(1_000_000_000, 0).Add(time.Duration(i*i) * 100 * time.Millisecond).UTC()
			s = types.CommitSig{BlockIDFlag: flags[i], ValidatorAddress: val.Address, Timestamp: at}
		}
		v.commit.Signatures = append(v.commit.Signatures, s)
	}
	for i := range v.commit.Signatures {
		w.sign(v, i)
	}
	return v
}

// sign signs vote i as it stands.
func (w *world) sign(v *view, i int) {
	s := &v.commit.Signatures[i]
	if s.BlockIDFlag == types.BlockIDFlagAbsent {
		return
	}
	vote := v.commit.GetVote(int32(i)).ToProto()
	s.Signature = ed25519.Sign(w.keys[string(s.ValidatorAddress)], types.VoteSignBytes(v.chainID, vote))
}

func anchors(t testing.TB, n int) []types.Tx {
	t.Helper()
	var txs []types.Tx
	for i := range n {
		l := newTestLog(t, fmt.Sprintf("trailmark.example/%d", i), 3)
		txs = append(txs, must(comet.NewAnchor(testChain, seeded(2), l.checkpoint(t, 9)))(t))
	}
	return txs
}

func rng() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }
