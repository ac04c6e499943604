package comet

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	cfg "github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/mempool"
	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/proxy"
	"github.com/cometbft/cometbft/rpc/core"
	"github.com/cometbft/cometbft/store"
	"github.com/cometbft/cometbft/types"
)

const maxChainID = 50 // bytes; CometBFT's limit

// Config is what a validator needs to know.
type Config struct {
	Home    string            // directory of keys, blocks and state; made on the first start
	ChainID string            // 1 to 50 bytes; fixed on the first start
	Admin   ed25519.PublicKey // registers origins; fixed on the first start
	Log     *slog.Logger      // nil for slog.Default
	Network *Network          // nil for a validator without peers
}

// Network is how a member of a consortium meets the others.
type Network struct {
	Listen   string   // host:port for peers
	External string   // host:port that peers are told, if it is another
	Peers    []string // id@host:port, kept connected
	RPC      string   // host:port of CometBFT's RPC; "" for none
	Servers  []string // host:port of other members' RPC
	Trust    *Trust   // fetch the state from peers instead of executing every block; only on the first start
}

// Trust is a block that a new member knows to be the chain's.
type Trust struct {
	Height  int64
	Hash    []byte
	Servers []string // RPC of members, at least one
}

// Node is a running validator. Its methods are safe for concurrent use.
type Node struct {
	conf    Config
	app     *app
	comet   *node.Node
	steps   *stepStore
	signer  *privval.FilePV   // the member's key; CometBFT's while it runs
	env     *core.Environment // the stores behind comet
	genesis *types.GenesisDoc
	halted  chan struct{} // closed when consensus has ended, for good or ill

	stop    sync.Once
	stopErr error // written inside stop

	reads   sync.RWMutex // held for reading while a store is read, so that none is closed
	stopped bool         // guarded by reads
}

// Start runs the validator in conf.Home, creating its key and the genesis on
// the first start, and returns when the chain is ready: every anchor in the
// state is final. ctx bounds the start only; Stop ends the validator. A second
// validator in the same home is refused.
func Start(ctx context.Context, conf Config) (n *Node, err error) {
	switch {
	case conf.Home == "":
		return nil, errors.New("chain home is not set")
	case len(conf.ChainID) > maxChainID || conf.ChainID == "" && conf.Admin != nil:
		return nil, fmt.Errorf("chain id of %d bytes, want 1 to %d", len(conf.ChainID), maxChainID)
	}
	if conf.Admin != nil || conf.Network == nil {
		if err := checkKey(conf.Admin); err != nil {
			return nil, fmt.Errorf("chain administrator: %w", err)
		}
	}
	if conf.Log == nil {
		conf.Log = slog.Default()
	}
	if err := os.MkdirAll(conf.Home, 0o700); err != nil {
		return nil, err
	}
	root := filepath.Join(conf.Home, "validator")
	genesis, start, validator, err := prepare(conf, root)
	if err != nil {
		return nil, err
	}
	conf.ChainID = genesis.ChainID

	n = &Node{conf: conf, genesis: genesis, signer: validator, halted: make(chan struct{})}
	var open []dbm.DB
	defer func() {
		if r := recover(); r != nil { // how CometBFT reports stores that contradict each other
			err = fmt.Errorf("chain in %s does not start: %v", root, r)
		}
		if err != nil {
			if n.app != nil {
				err = errors.Join(err, n.app.close())
			}
			for _, db := range open {
				_ = db.Close() // of a start that failed anyhow
			}
			n = nil
		}
	}()
	c := settings(root)
	if conf.Network != nil {
		serve(c, conf.Network)
	}
	// The block store's lock keeps a second process away from the journal.
	blocks, err := cfg.DefaultDBProvider(&cfg.DBContext{ID: "blockstore", Config: c})
	if err != nil {
		return n, fmt.Errorf("block store in %s: %w\nhint: does another process run this validator?", root, err)
	}
	open = append(open, blocks)
	dbs := func(d *cfg.DBContext) (dbm.DB, error) {
		if d.ID == "blockstore" {
			return blocks, nil
		}
		db, err := cfg.DefaultDBProvider(d)
		if err == nil {
			open = append(open, db)
		}
		return db, err
	}
	if n.app, err = openApp(filepath.Join(root, "data", "state.journal"), start, blocksOf(store.NewBlockStore(blocks)), conf.Log); err != nil {
		return n, err
	}
	n.steps = &stepStore{dir: filepath.Join(root, "data", "steps"), blocks: store.NewBlockStore(blocks)}
	n.app.steps = n.steps
	nodeKey, err := p2p.LoadNodeKey(c.NodeKeyFile())
	if err != nil {
		return n, err
	}
	n.comet, err = node.NewNodeWithContext(ctx, c, validator, nodeKey, proxy.NewLocalClientCreator(n.app),
		func() (*types.GenesisDoc, error) { return genesis, nil },
		dbs, node.DefaultMetricsProvider(c.Instrumentation), logger{conf.Log})
	if err != nil {
		return n, fmt.Errorf("chain in %s does not start: %w", root, err)
	}
	if n.env, err = n.comet.ConfigureRPC(); err != nil {
		return n, err
	}
	alone := n.alone()
	if err := repairWAL(c.Consensus.WalFile(), n.comet.BlockStore().Height(), validator, alone, conf.Log); err != nil {
		return n, fmt.Errorf("consensus log in %s: %w", root, err)
	}
	if err := n.comet.Start(); err != nil {
		return n, fmt.Errorf("chain in %s does not start: %w", root, err)
	}
	go func(halted chan<- struct{}, consensus core.Consensus) {
		defer close(halted)
		if w, ok := consensus.(interface{ Wait() }); ok {
			w.Wait()
		}
	}(n.halted, n.env.ConsensusState)
	if conf.Network != nil && len(conf.Network.Servers) > 0 {
		go n.fetchSteps(conf.Network.Servers)
	}
	if alone && !c.StateSync.Enable {
		// The last block may have anchors whose time the next block fixes.
		if waitErr := n.settle(ctx); waitErr != nil {
			waitErr = errors.Join(waitErr, n.Stop())
			n.app, open = nil, nil // closed
			return n, waitErr
		}
		if upErr := n.upgrade(ctx); upErr != nil {
			upErr = errors.Join(upErr, n.Stop())
			n.app, open = nil, nil // closed
			return n, upErr
		}
	}
	return n, nil
}

// alone reports whether nobody but this member votes.
func (n *Node) alone() bool {
	vs := n.app.governance().validators
	return len(vs) == 1 && string(vs[0].Key) == string(n.signer.Key.PubKey.Bytes())
}

// upgrade takes a chain of an earlier version, which has this one validator, to
// the rules of the present one.
func (n *Node) upgrade(ctx context.Context) error {
	if n.app.governance().version >= stateVersion {
		return nil
	}
	raw, err := newTx(n.conf.ChainID, n.signer.Key.PrivKey.Bytes(), kindUpgrade, []byte{stateVersion})
	if err != nil {
		return err
	}
	if err := n.Submit(ctx, raw); err != nil {
		return fmt.Errorf("upgrade chain %s: %w", n.conf.ChainID, err)
	}
	n.conf.Log.LogAttrs(ctx, slog.LevelInfo, "chain upgraded: votes, key rotation and a dated history",
		slog.String("chain", n.conf.ChainID), slog.Int("version", stateVersion), slog.Int64("height", n.Height()))
	return nil
}

// blocksOf tells hash and time of a store's blocks.
func blocksOf(bs *store.BlockStore) blockOf {
	return func(height int64) ([]byte, time.Time, bool) {
		meta := bs.LoadBlockMeta(height)
		if meta == nil {
			return nil, time.Time{}, false
		}
		return meta.BlockID.Hash, meta.Header.Time, true
	}
}

// owed is 1 if a block must follow height without being asked for: the first
// one, and the one after a block that changed the state.
func (n *Node) owed(height int64) int64 {
	meta := n.comet.BlockStore().LoadBlockMeta(height)
	n.app.mu.RLock()
	defer n.app.mu.RUnlock()
	if meta == nil || string(meta.Header.AppHash) != string(n.app.state.appHash[:]) {
		return 1
	}
	return 0
}

// settle waits until no block is owed: all anchors have their time, and a header
// shows the app hash that covers it.
func (n *Node) settle(ctx context.Context) error {
	for {
		height, _ := n.app.next()
		if n.owed(height) == 0 {
			return nil
		}
		if err := n.wait(ctx, height+1); err != nil {
			return err
		}
	}
}

// wait returns when block height is committed.
func (n *Node) wait(ctx context.Context, height int64) error {
	for {
		now, changed := n.app.next()
		if now >= height {
			return nil
		}
		select {
		case <-changed:
		case <-n.halted:
			return errHalted
		case <-ctx.Done():
			return fmt.Errorf("chain %s is at block %d, waiting for %d: %w", n.conf.ChainID, now, height, context.Cause(ctx))
		}
	}
}

var errHalted = errors.New("consensus has stopped\nhint: the log says why; a validator that cannot write or sign stops rather than guess")

// Stop ends the validator and closes its files. Later calls return what the
// first returned.
func (n *Node) Stop() error {
	n.stop.Do(func() {
		// A lone validator is stopped between blocks: the next start has nothing
		// to take back.
		if ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second); n.alone() {
			_ = n.settle(ctx) // in vain if consensus has halted
			cancel()
		} else {
			cancel()
		}
		n.reads.Lock()
		n.stopped = true
		n.reads.Unlock()
		err := n.comet.Stop()
		n.comet.Wait()
		n.stopErr = errors.Join(err, n.app.close())
	})
	return n.stopErr
}

// Halted is closed when the validator has stopped making blocks, because of
// Stop or because it could not write or sign.
func (n *Node) Halted() <-chan struct{} { return n.halted }

// Submit hands in a transaction and waits for its effect. When it returns nil
// the effect is final: its block, the state and the block's time are on disk,
// and a transaction whose effect was in force before counts as success.
//
// A [*Refusal] says that the rules forbid it. Any other error, an ended ctx
// above all, says nothing about the outcome: the transaction may be committed
// later. Submitting it again is harmless.
func (n *Node) Submit(ctx context.Context, raw []byte) error {
	t, err := decodeTx(raw)
	if err != nil {
		return err
	}
	for {
		// The channel first, so that no block falls between check and wait.
		_, changed := n.app.next()
		switch r := n.app.check(raw); {
		case r == nil:
			err := n.comet.Mempool().CheckTx(raw, nil, mempool.TxInfo{})
			if err != nil && !errors.Is(err, mempool.ErrTxInCache) && !errors.Is(err, mempool.ErrRecheckFull) {
				return fmt.Errorf("mempool of chain %s: %w", n.conf.ChainID, err)
			}
		case r.Code == CodeAlready:
			return n.wait(ctx, n.app.settled(t)+1)
		default:
			return r
		}
		select {
		case <-changed:
		case <-n.halted:
			return errHalted
		case <-ctx.Done():
			return fmt.Errorf("chain %s has not taken the transaction yet: %w\nhint: it may still; ask for the head",
				n.conf.ChainID, context.Cause(ctx))
		}
	}
}

// Anchor submits a signed checkpoint in the name of submitter and returns its
// anchor, with Submit's promises and errors.
func (n *Node) Anchor(ctx context.Context, submitter ed25519.PrivateKey, signed []byte) (Anchor, error) {
	raw, err := NewAnchor(n.conf.ChainID, submitter, signed)
	if err != nil {
		return Anchor{}, err
	}
	if err := n.Submit(ctx, raw); err != nil {
		return Anchor{}, err
	}
	c, err := parseCheckpoint(signed)
	if err != nil {
		return Anchor{}, err
	}
	all, err := n.Anchors(c.origin, c.size, 1)
	if err != nil {
		return Anchor{}, err
	}
	if len(all) != 1 || all[0].Size != c.size {
		return Anchor{}, fmt.Errorf("chain %s lost the anchor of %q at size %d", n.conf.ChainID, c.origin, c.size)
	}
	return all[0], nil
}

// ChainID returns the chain's name.
func (n *Node) ChainID() string { return n.conf.ChainID }

// Validators returns how many validators vote.
func (n *Node) Validators() int { return len(n.Voters()) }

// Height returns the number of the newest block.
func (n *Node) Height() int64 {
	height, _ := n.app.next()
	return height
}
