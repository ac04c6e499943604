package comet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	cfg "github.com/cometbft/cometbft/config"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/types"
)

// settings are CometBFT's for a validator that has no peers and serves nobody.
func settings(root string) *cfg.Config {
	c := cfg.DefaultConfig()
	c.SetRoot(root)
	c.RPC.ListenAddress = ""
	c.RPC.GRPCListenAddress = ""
	c.TxIndex.Indexer = "null" // the state machine is the index
	c.Storage.DiscardABCIResponses = true

	// CometBFT cannot run without a P2P listener: one on the loopback that
	// takes nobody.
	c.P2P.ListenAddress = "tcp://127.0.0.1:0"
	c.P2P.PexReactor = false
	c.P2P.MaxNumInboundPeers = 0
	c.P2P.MaxNumOutboundPeers = 0

	// A lone validator waits for nobody's vote. It times out only when a kill
	// fell between signing a proposal and storing it: then the next round must
	// come soon. On a slow disk the rounds lengthen by the default deltas.
	c.Consensus.TimeoutPropose = 500 * time.Millisecond
	c.Consensus.TimeoutPrevote = 100 * time.Millisecond
	c.Consensus.TimeoutPrecommit = 100 * time.Millisecond
	c.Consensus.TimeoutCommit = 0
	c.Consensus.SkipTimeoutCommit = true
	c.Consensus.CreateEmptyBlocks = false

	c.Mempool.Size = 1000
	c.Mempool.CacheSize = 2000
	c.Mempool.MaxTxBytes = MaxTx
	c.Mempool.MaxTxsBytes = 1000 * MaxTx
	return c
}

// serve sets what a member with peers needs on top of settings.
func serve(c *cfg.Config, n *Network) {
	c.P2P.ListenAddress = "tcp://" + n.Listen
	c.P2P.ExternalAddress = n.External
	c.P2P.PersistentPeers = strings.Join(n.Peers, ",")
	c.P2P.PexReactor = true
	c.P2P.AddrBookStrict = false // members meet in private networks
	c.P2P.AllowDuplicateIP = true
	c.P2P.MaxNumInboundPeers = 64
	c.P2P.MaxNumOutboundPeers = 16
	c.P2P.FlushThrottleTimeout = 10 * time.Millisecond
	if n.RPC != "" {
		c.RPC.ListenAddress = "tcp://" + n.RPC
		c.RPC.MaxOpenConnections = 200
	}
	// Rounds of a dead proposer are waited out; the others lengthen by the
	// default deltas on a slow network.
	c.Consensus.TimeoutPropose = 500 * time.Millisecond
	c.Consensus.TimeoutPrevote = 300 * time.Millisecond
	c.Consensus.TimeoutPrecommit = 300 * time.Millisecond
	c.Consensus.PeerGossipSleepDuration = 20 * time.Millisecond
	if t := n.Trust; t != nil {
		c.StateSync.Enable = true
		c.StateSync.RPCServers = t.Servers
		c.StateSync.TrustHeight = t.Height
		c.StateSync.TrustHash = fmt.Sprintf("%X", t.Hash)
		c.StateSync.TrustPeriod = 100 * 365 * 24 * time.Hour // the invitation is as good as the genesis file
		c.StateSync.DiscoveryTime = 5 * time.Second
	}
}

// prepare creates genesis, keys and empty databases under root unless they are
// there, and returns the genesis and the validator. A crash leaves either
// all of them or none.
func prepare(conf Config, root string) (*types.GenesisDoc, *Genesis, *privval.FilePV, error) {
	c := settings(root)
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		if conf.Admin == nil {
			return nil, nil, nil, fmt.Errorf("%s holds no chain\nhint: anchor join makes one from a genesis file and an invitation", conf.Home)
		}
		if err := create(root, func(pv *privval.FilePV) (*types.GenesisDoc, error) { return newGenesis(conf, pv) }); err != nil {
			return nil, nil, nil, fmt.Errorf("create validator in %s: %w", root, err)
		}
	} else if err != nil {
		return nil, nil, nil, err
	}
	genesis, err := types.GenesisDocFromFile(c.GenesisFile())
	if err != nil {
		return nil, nil, nil, err
	}
	start, err := readGenesis(genesis)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%s: %w", c.GenesisFile(), err)
	}
	switch {
	case conf.ChainID != "" && genesis.ChainID != conf.ChainID:
		return nil, nil, nil, fmt.Errorf("%s holds chain %q, configured is %q", root, genesis.ChainID, conf.ChainID)
	case conf.Admin != nil && string(start.Admin) != string(conf.Admin):
		return nil, nil, nil, fmt.Errorf("chain %q has administrator %x, configured is %x\nhint: the first administrator is fixed in the genesis",
			genesis.ChainID, start.Admin, conf.Admin)
	case time.Until(genesis.GenesisTime) > 0:
		return nil, nil, nil, fmt.Errorf("the clock says %s, chain %q began at %s\nhint: set the clock",
			time.Now().UTC().Format(time.RFC3339), genesis.ChainID, genesis.GenesisTime.Format(time.RFC3339))
	}
	// privval ends the process on a file it cannot read: read them first.
	if err := readJSON(c.PrivValidatorKeyFile(), new(privval.FilePVKey)); err != nil {
		return nil, nil, nil, err
	}
	if err := readJSON(c.PrivValidatorStateFile(), new(privval.FilePVLastSignState)); err != nil {
		return nil, nil, nil, fmt.Errorf("%w\nhint: this file keeps the validator from signing twice; never restore an old one", err)
	}
	return genesis, start, privval.LoadFilePV(c.PrivValidatorKeyFile(), c.PrivValidatorStateFile()), nil
}

// newGenesis begins a chain with one validator.
func newGenesis(conf Config, pv *privval.FilePV) (*types.GenesisDoc, error) {
	app, err := json.Marshal(genesisState{Admin: conf.Admin, Version: stateVersion})
	if err != nil {
		return nil, err
	}
	params := types.DefaultConsensusParams()
	params.Block.MaxBytes = 1 << 20
	params.Evidence.MaxBytes = 64 << 10
	params.Version.App = stateVersion
	genesis := &types.GenesisDoc{
		GenesisTime:     time.Now().UTC(),
		ChainID:         conf.ChainID,
		ConsensusParams: params,
		Validators:      []types.GenesisValidator{{PubKey: pv.Key.PubKey, Power: 1, Name: "trailmark"}},
		AppState:        app,
	}
	return genesis, genesis.ValidateAndComplete()
}

// create builds root beside its place and renames it there.
func create(root string, begin func(*privval.FilePV) (*types.GenesisDoc, error)) (err error) {
	tmp := root + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	c := settings(tmp)
	for _, file := range []string{c.GenesisFile(), c.PrivValidatorStateFile()} {
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
	}
	pv := privval.GenFilePV(c.PrivValidatorKeyFile(), c.PrivValidatorStateFile())
	genesis, err := begin(pv)
	if err != nil {
		return err
	}
	if err := genesis.SaveAs(c.GenesisFile()); err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil { // how privval reports a full disk
			err = fmt.Errorf("validator key: %v", r)
		}
	}()
	pv.Save()
	if _, err := p2p.LoadOrGenNodeKey(c.NodeKeyFile()); err != nil {
		return err
	}
	// The databases too: goleveldb does not open one that it was killed creating.
	for _, id := range []string{"blockstore", "state", "evidence"} {
		db, err := cfg.DefaultDBProvider(&cfg.DBContext{ID: id, Config: c})
		if err != nil {
			return err
		}
		if err := db.Close(); err != nil {
			return err
		}
	}
	if err := syncTree(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, root); err != nil {
		return err
	}
	return syncDir(filepath.Dir(root))
}

func readJSON(file string, v any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := cmtjson.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func syncTree(root string) error {
	return filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncDir(path) // fsync takes files and directories alike
	})
}
