package comet

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	abci "github.com/cometbft/cometbft/abci/types"
	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
)

// app is the state machine behind CometBFT's ABCI. CometBFT makes one call at a
// time on a connection; everything else reads under the lock.
type app struct {
	abci.BaseApplication

	log           *slog.Logger
	path          string // of the journal
	snapshotEvery int64
	steps         *stepStore // set before CometBFT starts
	pending       *batch     // between FinalizeBlock and Commit; CometBFT's consensus call owns it
	opening       opening    // of pending's app hash
	restore       *restore   // of CometBFT's snapshot calls

	mu        sync.RWMutex  // no reader sees half a block
	journal   *journal      // guarded by mu for its place; only Commit appends
	state     *state        // guarded by mu; only Commit changes it
	snapshots []snapshot    // guarded by mu, ascending
	changed   chan struct{} // guarded by mu; closed when a block is committed
}

// openApp restores the state from the journal at path. A journal of the first
// form is migrated with what block tells.
func openApp(path string, g *Genesis, block blockOf, log *slog.Logger) (*app, error) {
	if err := migrateJournal(path, block, log); err != nil {
		return nil, fmt.Errorf("migrate chain state: %w", err)
	}
	s, j, lost, err := readState(path, g)
	if err != nil {
		return nil, err
	}
	if lost > 0 {
		log.LogAttrs(context.Background(), slog.LevelWarn, "cut a damaged tail off the chain state; its blocks are executed again",
			slog.String("file", path), slog.Int64("bytes", lost), slog.Int64("height", s.height))
	}
	return &app{log: log, path: path, snapshotEvery: snapshotEvery, journal: j, state: s, changed: make(chan struct{})}, nil
}

// readState reads a journal and checks the state that it makes.
func readState(path string, g *Genesis) (*state, *journal, int64, error) {
	s, err := newState(g)
	if err != nil {
		return nil, nil, 0, err
	}
	j, lost, err := openJournal(path, s.repeat)
	if err != nil {
		return nil, nil, 0, err
	}
	if got, err := s.rehash(); err != nil || got != s.appHash {
		return nil, nil, 0, errors.Join(err, j.close(), fmt.Errorf(
			"%s: state after block %d hashes to %x, want %x\nhint: it belongs to another chain; move it away and it is rebuilt from the blocks",
			path, s.height, got, s.appHash))
	}
	return s, j, lost, nil
}

func (a *app) close() error { return a.journal.close() }

func (a *app) Info(context.Context, *abci.RequestInfo) (*abci.ResponseInfo, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	r := &abci.ResponseInfo{AppVersion: a.state.gov.version, LastBlockHeight: a.state.height}
	if a.state.height > 0 {
		r.LastBlockAppHash = a.state.appHash[:]
	}
	return r, nil
}

func (a *app) InitChain(_ context.Context, req *abci.RequestInitChain) (*abci.ResponseInitChain, error) {
	var g genesisState
	if err := json.Unmarshal(req.AppStateBytes, &g); err != nil {
		return nil, fmt.Errorf("genesis app_state: %w", err)
	}
	if req.ChainId != a.state.chainID || !bytes.Equal(g.Admin, a.state.genesis.Admin) {
		return nil, fmt.Errorf("genesis is of chain %q with administrator %x, want %q and %x",
			req.ChainId, g.Admin, a.state.chainID, a.state.genesis.Admin)
	}
	return &abci.ResponseInitChain{AppHash: a.state.appHash[:]}, nil
}

func (a *app) CheckTx(_ context.Context, req *abci.RequestCheckTx) (*abci.ResponseCheckTx, error) {
	if r := a.check(req.Tx); r != nil {
		return &abci.ResponseCheckTx{Code: uint32(r.Code), Log: r.Text}, nil
	}
	return &abci.ResponseCheckTx{}, nil
}

// PrepareProposal leaves out what the block's earlier transactions made useless.
func (a *app) PrepareProposal(_ context.Context, req *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
	b := a.state.begin(req.Height)
	b.open(req.Time, nil)
	var txs [][]byte
	for _, raw := range req.Txs {
		if b.apply(raw) == nil {
			txs = append(txs, raw)
		}
	}
	return &abci.ResponsePrepareProposal{Txs: txs}, nil
}

// ProcessProposal votes only for blocks whose every transaction takes effect,
// so that a proof of inclusion proves effect.
func (a *app) ProcessProposal(_ context.Context, req *abci.RequestProcessProposal) (*abci.ResponseProcessProposal, error) {
	b := a.state.begin(req.Height)
	b.open(req.Time, req.Hash)
	for i, raw := range req.Txs {
		if r := b.apply(raw); r != nil {
			a.log.LogAttrs(context.Background(), slog.LevelWarn, "voting against a proposed block",
				slog.Int64("height", req.Height), slog.Int("tx", i), slog.String("error", r.Text))
			return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_REJECT}, nil
		}
	}
	return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_ACCEPT}, nil
}

func (a *app) FinalizeBlock(_ context.Context, req *abci.RequestFinalizeBlock) (*abci.ResponseFinalizeBlock, error) {
	b := a.state.begin(req.Height)
	b.open(req.Time, req.Hash)
	results := make([]*abci.ExecTxResult, len(req.Txs))
	for i, raw := range req.Txs {
		results[i] = &abci.ExecTxResult{}
		if r := b.apply(raw); r != nil {
			results[i].Code, results[i].Log = uint32(r.Code), r.Text
		}
	}
	if len(b.record.Anchors) == 0 {
		b.record.Hash = nil
	}
	var err error
	if a.opening, err = b.finish(); err != nil {
		return nil, err
	}
	a.pending = b
	res := &abci.ResponseFinalizeBlock{TxResults: results, AppHash: b.record.AppHash[:]}
	for _, v := range updates(a.state.gov, b.gov) {
		res.ValidatorUpdates = append(res.ValidatorUpdates, abci.UpdateValidator(v.Key, int64(v.Power), cmted25519.KeyType))
	}
	if b.gov.version != a.state.gov.version {
		res.ConsensusParamUpdates = &cmtproto.ConsensusParams{Version: &cmtproto.VersionParams{App: b.gov.version}}
	}
	return res, nil
}

// Commit returns when the block's changes are on disk. CometBFT has stored the
// block itself before, so the state is never ahead of the blocks.
func (a *app) Commit(context.Context, *abci.RequestCommit) (*abci.ResponseCommit, error) {
	b := a.pending
	a.pending = nil
	if b == nil {
		return nil, errors.New("commit without a block")
	}
	if err := a.journal.append(&b.record); err != nil {
		return nil, fmt.Errorf("chain state of block %d: %w", b.height, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.state.commit(b, a.opening); err != nil {
		return nil, err
	}
	a.keep()
	close(a.changed)
	a.changed = make(chan struct{})
	return &abci.ResponseCommit{}, nil
}

// check says whether a transaction would be taken in the next block.
func (a *app) check(raw []byte) *Refusal {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.state.begin(a.state.height + 1).apply(raw)
}

// governance returns who decides, which must not be changed.
func (a *app) governance() *governance {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.state.gov
}

// next returns a channel that closes with the next block after height, the
// newest one now.
func (a *app) next() (height int64, changed <-chan struct{}) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.state.height, a.changed
}

// settled returns the block that put a transaction's effect in force, which is
// in force already.
func (a *app) settled(t *tx) (height int64) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	switch t.Kind {
	case kindRegister, kindRotate:
		if o := a.state.origins[hashOf(t.reg.Origin)]; o != nil {
			return o.regHeight
		}
	case kindAnchor, kindAnchors:
		for _, c := range t.checkpoints {
			if o := a.state.origins[hashOf(c.origin)]; o != nil {
				e, _ := o.find(c.size)
				height = max(height, e.height)
			}
		}
	default:
		height = a.state.height - 1 // in force at the newest block, at the latest
	}
	return height
}

// history returns copies of up to limit anchors of origin with at least size
// entries, or the newest one when limit is 0.
func (a *app) history(line string, size uint64, limit int) []entry {
	a.mu.RLock()
	defer a.mu.RUnlock()
	o := a.state.origins[hashOf(line)]
	if o == nil || len(o.history) == 0 {
		return nil
	}
	if limit <= 0 {
		return []entry{o.last}
	}
	rest := o.history[o.from(size):]
	return append([]entry(nil), rest[:min(limit, len(rest))]...)
}

// registration returns what is in force for origin.
func (a *app) registration(line string) (Registration, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	o := a.state.origins[hashOf(line)]
	if o == nil {
		return Registration{}, false
	}
	r := o.reg
	r.Submitters = append([]ed25519.PublicKey(nil), r.Submitters...)
	return r, true
}
