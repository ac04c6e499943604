package comet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cometbft/cometbft/consensus"
	cmtlog "github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/privval"
)

// repairWAL makes sure that the consensus WAL marks the end of block height, the
// newest in the block store, before consensus starts.
//
// CometBFT stores a block, then writes the marker. Killed in between, it starts
// again without the marker and can no longer replay the next block's messages:
// a second kill there leaves a lone validator with a vote that it must not
// repeat and cannot find, and it waits for itself for ever; a few hundred kills
// were enough to see it. Without the marker the WAL has nothing that matters: it
// ends with a block that is stored.
//
// Should such a vote exist all the same, a lone validator takes it back: it is
// for a block that was never stored, so nobody was shown it.
func repairWAL(file string, height int64, pv *privval.FilePV, alone bool, log *slog.Logger) error {
	marked, err := markWAL(file, height, false)
	if err != nil || marked {
		return err
	}
	if err := os.RemoveAll(filepath.Dir(file)); err != nil {
		return err
	}
	if _, err := markWAL(file, height, true); err != nil {
		return err
	}
	if signed := pv.LastSignState.Height; alone && signed == height+1 {
		log.LogAttrs(context.Background(), slog.LevelWarn, "taking back a vote for a block that was lost before it was stored",
			slog.Int64("height", signed), slog.Int64("stored", height))
		pv.Reset()
	}
	return nil
}

// markWAL reports whether the WAL marks the end of height, and writes the
// marker if asked to.
func markWAL(file string, height int64, write bool) (marked bool, err error) {
	w, err := consensus.NewWAL(file)
	if err != nil {
		return false, err
	}
	w.SetLogger(cmtlog.NewNopLogger())
	if err := w.Start(); err != nil {
		return false, err
	}
	defer func() {
		err = errors.Join(err, w.Stop())
		w.Wait()
	}()
	if write {
		err := w.WriteSync(consensus.EndHeightMessage{Height: height})
		return err == nil, err
	}
	found, marked, err := w.SearchForEndHeight(height, &consensus.WALSearchOptions{IgnoreDataCorruptionErrors: true})
	if err != nil {
		return false, fmt.Errorf("%s: %w", file, err)
	}
	if marked {
		err = found.Close()
	}
	return marked, err
}
