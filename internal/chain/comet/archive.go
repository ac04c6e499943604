package comet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	cfg "github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/rpc/core"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/store"
	"github.com/cometbft/cometbft/types"
)

// An Archive reads a validator's blocks and state without running it: it makes no
// block and signs nothing. It works on a copy of its own, so that the validator
// may run meanwhile; what that adds later is not in the archive.
type Archive struct {
	node *Node // without consensus
	dbs  []dbm.DB
	tmp  string
}

// OpenArchive copies and opens the chain in home.
func OpenArchive(home, chainID string) (*Archive, error) {
	root := filepath.Join(home, "validator")
	genesis, err := types.GenesisDocFromFile(settings(root).GenesisFile())
	if err != nil {
		return nil, err
	}
	if genesis.ChainID != chainID {
		return nil, fmt.Errorf("%s holds chain %q, want %q", root, genesis.ChainID, chainID)
	}
	start, err := readGenesis(genesis)
	if err != nil {
		return nil, err
	}
	var a *Archive
	for range 3 { // a file that a running validator takes away spoils one copy
		if a, err = openArchive(root, genesis, start); err == nil {
			return a, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, fmt.Errorf("chain in %s cannot be read: %w", root, err)
}

func openArchive(root string, genesis *types.GenesisDoc, start *Genesis) (a *Archive, err error) {
	tmp, err := os.MkdirTemp("", "trailmark-chain-")
	if err != nil {
		return nil, err
	}
	halted := make(chan struct{})
	close(halted)
	a = &Archive{tmp: tmp, node: &Node{conf: Config{ChainID: genesis.ChainID}, genesis: genesis, halted: halted}}
	defer func() {
		if r := recover(); r != nil { // how CometBFT reports stores that it cannot read
			err = fmt.Errorf("%v", r)
		}
		if err != nil {
			err = errors.Join(err, a.Close())
			a = nil
		}
	}()
	c := settings(tmp)
	// The state first, the blocks later: then no state is without its block.
	for _, name := range []string{"state.journal", "state.db", "blockstore.db"} {
		if err := copyTree(filepath.Join(root, "data", name), filepath.Join(c.DBDir(), name)); err != nil {
			return a, err
		}
	}
	open := func(id string) (dbm.DB, error) {
		db, err := cfg.DefaultDBProvider(&cfg.DBContext{ID: id, Config: c})
		if err == nil {
			a.dbs = append(a.dbs, db)
		}
		return db, err
	}
	blocks, err := open("blockstore")
	if err != nil {
		return a, err
	}
	states, err := open("state")
	if err != nil {
		return a, err
	}
	bs := store.NewBlockStore(blocks)
	a.node.env = &core.Environment{BlockStore: bs, StateStore: sm.NewStore(states, sm.StoreOptions{DiscardABCIResponses: true})}
	a.node.app, err = openApp(filepath.Join(c.DBDir(), "state.journal"), start, blocksOf(bs), slog.New(slog.DiscardHandler))
	return a, err
}

// copyTree copies a file or a folder of files.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return err
		}
		src, err := os.Open(path)
		if err != nil {
			return err
		}
		defer src.Close()
		dst, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(dst, src)
		return errors.Join(err, dst.Close())
	})
}

// Sizes returns the ledger sizes of an origin that are anchored, ascending.
func (a *Archive) Sizes(origin string) (sizes []uint64) {
	for _, e := range a.node.app.history(origin, 0, 1<<62) {
		sizes = append(sizes, e.size)
	}
	return sizes
}

// Height returns the number of the newest block.
func (a *Archive) Height() int64 { return a.node.Height() }

// Evidence returns the hash of a block and the compact proof, as Light gives it,
// that a transaction is in it.
func (a *Archive) Evidence(ctx context.Context, height int64, tx []byte) (block [32]byte, proof []byte, err error) {
	if newest := a.node.Height(); height >= newest { // its commit is in the block after it
		return block, nil, fmt.Errorf("block %d of chain %s, newest with a commit is %d", height, a.node.conf.ChainID, newest-1)
	}
	ev, err := a.node.Evidence(ctx, height, tx)
	if err != nil {
		return block, nil, err
	}
	b, err := a.node.Block(height)
	if err != nil {
		return block, nil, err
	}
	proof, err = ev.Light()
	return b.Hash, proof, err
}

// Close removes the copy.
func (a *Archive) Close() error {
	var errs []error
	if a.node.app != nil {
		errs = append(errs, a.node.app.close())
	}
	for _, db := range a.dbs {
		errs = append(errs, db.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(a.tmp))...)
}
