package comet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/merkle"

	"trailmark/internal/dcbor"
)

// Paths of ABCI queries. What they answer is to be checked by who asks.
const (
	queryStatus = "/trailmark/status"
	queryProof  = "/trailmark/proof"
	queryEpochs = "/trailmark/epochs"
	queryStep   = "/trailmark/step"
	querySizes  = "/trailmark/sizes"
)

// maxSizes bounds an answer about sizes.
const maxSizes = 4096

// Codes of a query's answer.
const (
	queryOK = iota
	queryBad
	queryNone  // no such anchor
	queryLater // not in a header yet: ask again
)

// Status is what a member says of its chain; its word, not a proof.
type Status struct {
	ChainID    string         `json:"chain"`
	Version    uint64         `json:"version"`
	Height     int64          `json:"height"`
	Time       time.Time      `json:"time"` // of the commit before the newest block
	AppHash    string         `json:"app_hash"`
	Admin      string         `json:"admin"`
	AdminRev   uint64         `json:"admin_revision"`
	Validators []StatusSeat   `json:"validators"`
	Anchors    uint64         `json:"anchors"`
	Origins    []StatusOrigin `json:"origins"`
	Proposals  []StatusVote   `json:"proposals"`
	Epochs     int            `json:"epochs"`
}

// StatusSeat is a validator in a Status.
type StatusSeat struct {
	Key   string `json:"key"`
	Power uint64 `json:"power"`
	Name  string `json:"name"`
}

// StatusOrigin is a ledger in a Status; its time is absent before the block after
// its last anchor.
type StatusOrigin struct {
	Origin   string    `json:"origin"`
	Revision uint64    `json:"revision"`
	Size     uint64    `json:"size"`
	Height   int64     `json:"height"`
	Time     time.Time `json:"time,omitzero"`
	Anchors  uint64    `json:"anchors"`
}

// StatusVote is a proposal in a Status.
type StatusVote struct {
	ID     string    `json:"id"`
	Until  time.Time `json:"until"`
	Change string    `json:"change"`
	Key    string    `json:"key"`
	Power  uint64    `json:"power"`
	Name   string    `json:"name"`
	Yes    int       `json:"yes"`
	Done   bool      `json:"done"`
}

// proofRequest asks for the anchor of exactly Size, or the newest if it is 0.
type proofRequest struct {
	_      struct{} `cbor:",toarray"`
	Origin string
	Size   uint64
}

// proofAnswer leads from an anchor and from its origin's head to an app hash that
// the header of block At shows.
type proofAnswer struct {
	_           struct{} `cbor:",toarray"`
	At          int64
	Anchors     uint64 // of the history
	History     [32]byte
	Origins     [32]byte
	Rest        [32]byte
	Size        uint64 // of the anchor
	Root        [32]byte
	Height      int64
	Block       [32]byte
	Seconds     int64
	Nanos       int64
	Index       uint64
	Path        [][]byte
	Head        []byte // CBOR of the origin's leaf
	OriginIndex int64
	OriginTotal int64
	OriginPath  [][]byte
}

func (a *app) Query(_ context.Context, req *abci.RequestQuery) (*abci.ResponseQuery, error) {
	if req.Path == queryStep {
		return a.step(req.Data), nil
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	s := a.state
	value, code, err := []byte(nil), uint32(queryOK), error(nil)
	switch req.Path {
	case queryStatus:
		value, err = json.Marshal(s.status())
	case queryEpochs:
		value, err = dcbor.Marshal(s.gov.epochs)
	case querySizes:
		var r proofRequest
		if err := dcbor.UnmarshalMax(req.Data, &r, MaxTx); err != nil {
			return &abci.ResponseQuery{Code: queryBad, Log: err.Error()}, nil
		}
		var sizes []uint64
		if o := s.origins[hashOf(r.Origin)]; o != nil {
			for _, e := range o.history[o.from(r.Size):] {
				if sizes = append(sizes, e.size); len(sizes) == maxSizes {
					break
				}
			}
		}
		value, err = dcbor.Marshal(sizes)
	case queryProof:
		var r proofRequest
		if err := dcbor.UnmarshalMax(req.Data, &r, MaxTx); err != nil {
			return &abci.ResponseQuery{Code: queryBad, Log: err.Error()}, nil
		}
		var p *proofAnswer
		if p, code, err = s.prove(r.Origin, r.Size); err == nil {
			value, err = dcbor.Marshal(p)
		}
	default:
		code, err = queryBad, fmt.Errorf("path %q is not known", req.Path)
	}
	if err != nil {
		return &abci.ResponseQuery{Code: max(code, queryBad), Log: err.Error(), Height: s.height}, nil
	}
	return &abci.ResponseQuery{Value: value, Height: s.height}, nil
}

// step answers without the lock: it reads what consensus may be writing.
func (a *app) step(data []byte) *abci.ResponseQuery {
	var height int64
	err := dcbor.UnmarshalMax(data, &height, 16)
	if err == nil && a.steps == nil {
		err = errors.New("not ready")
	}
	if err != nil {
		return &abci.ResponseQuery{Code: queryBad, Log: err.Error()}
	}
	b, err := a.steps.get(height)
	if err != nil {
		return &abci.ResponseQuery{Code: queryNone, Log: fmt.Sprintf("block %d is not here", height)}
	}
	return &abci.ResponseQuery{Value: b}
}

func (s *state) status() Status {
	g := s.gov
	out := Status{ChainID: s.chainID, Version: g.version, Height: s.height, Time: s.now, AppHash: fmt.Sprintf("%x", s.appHash),
		Admin: fmt.Sprintf("%x", g.admin), AdminRev: g.revision, Anchors: s.history.size(), Epochs: len(g.epochs)}
	for _, v := range g.validators {
		out.Validators = append(out.Validators, StatusSeat{fmt.Sprintf("%x", v.Key), v.Power, v.Name})
	}
	for _, k := range s.sorted() {
		o := s.origins[k]
		d, _ := s.history.at(o.last.height)
		out.Origins = append(out.Origins, StatusOrigin{o.reg.Origin, o.reg.Revision, o.last.size, o.last.height, d.time, o.count})
	}
	for _, b := range g.ballots {
		kind := "validator"
		if b.Proposal.Change.Kind == ChangeAdmin {
			kind = "administrator"
		}
		c := b.Proposal.Change
		out.Proposals = append(out.Proposals, StatusVote{fmt.Sprintf("%x", b.ID), time.Unix(b.Proposal.Until, 0).UTC(), kind,
			fmt.Sprintf("%x", c.Key), c.Power, c.Name, len(b.Yes), b.Decided})
	}
	return out
}

func (s *state) sorted() []originHash {
	return slices.SortedFunc(maps.Keys(s.origins), func(a, b originHash) int { return bytes.Compare(a[:], b[:]) })
}

// prove makes the answer for the app hash that the newest header shows.
func (s *state) prove(line string, size uint64) (*proofAnswer, uint32, error) {
	o := s.origins[hashOf(line)]
	switch {
	case s.gov.version < stateVersion:
		return nil, queryNone, fmt.Errorf("chain is of version %d, want %d", s.gov.version, stateVersion)
	case o == nil:
		return nil, queryNone, fmt.Errorf("origin %q is not registered", line)
	case s.shown.origins != s.opening.origins:
		return nil, queryLater, errors.New("the newest header shows an older state")
	}
	p := &proofAnswer{At: s.height, Anchors: s.shown.size, History: s.shown.history, Origins: s.shown.origins, Rest: s.shown.rest}
	var err error
	if p.Head, err = o.encode(s.gov.version); err != nil {
		return nil, queryBad, err
	}
	keys := s.sorted()
	leaves := make([][]byte, len(keys))
	for i, k := range keys {
		leaves[i] = s.origins[k].leaf[:]
		if k == hashOf(line) {
			p.OriginIndex = int64(i)
		}
	}
	_, proofs := merkle.ProofsFromByteSlices(leaves)
	p.OriginTotal, p.OriginPath = int64(len(keys)), proofs[p.OriginIndex].Aunts
	e, ok := o.last, o.count > 0
	if size > 0 {
		e, ok = o.find(size)
	}
	if !ok && size > 0 {
		return nil, queryNone, fmt.Errorf("origin %q has no anchor of size %d", line, size)
	}
	if !ok {
		return p, queryOK, nil // registered, never anchored
	}
	d, known := s.history.at(e.height)
	if !known || e.index >= s.shown.size {
		return nil, queryLater, fmt.Errorf("the anchor of %q at size %d has no time yet", line, e.size)
	}
	p.Size, p.Root, p.Height, p.Block, p.Index = e.size, e.root, e.height, d.hash, e.index
	p.Seconds, p.Nanos = d.time.Unix(), int64(d.time.Nanosecond())
	p.Path, err = s.history.path(e.index, s.shown.size)
	return p, queryOK, err
}
