package comet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/store"
	"github.com/cometbft/cometbft/types"

	"trailmark/internal/dcbor"
)

// stepStore holds the signed headers at which validators handed over. They are in
// the block store of who has executed the chain; who fetched its state gets them
// from other members and keeps them as files. It is safe for concurrent use.
type stepStore struct {
	dir    string
	blocks *store.BlockStore
}

// get returns a SignedHeader in protobuf.
func (s *stepStore) get(height int64) ([]byte, error) {
	if meta := s.blocks.LoadBlockMeta(height); meta != nil {
		commit := s.blocks.LoadBlockCommit(height)
		if commit == nil {
			commit = s.blocks.LoadSeenCommit(height)
		}
		if commit != nil {
			return (&types.SignedHeader{Header: &meta.Header, Commit: commit}).ToProto().Marshal()
		}
	}
	return os.ReadFile(s.file(height))
}

func (s *stepStore) file(height int64) string {
	return filepath.Join(s.dir, strconv.FormatInt(height, 10))
}

func (s *stepStore) has(height int64) bool {
	if s.blocks.LoadBlockMeta(height) != nil {
		return true
	}
	_, err := os.Stat(s.file(height))
	return err == nil
}

// put is for a header whose form is good; who uses it checks it.
func (s *stepStore) put(signed *types.SignedHeader) error {
	b, err := signed.ToProto().Marshal()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	tmp := s.file(signed.Height) + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, s.file(signed.Height))
}

// fetchSteps gets the steps that this member lacks from others, until it has all.
func (n *Node) fetchSteps(servers []string) {
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		lacking := false
		for _, e := range n.app.governance().epochs {
			if e.From-1 >= n.Height() || n.steps.has(e.From-1) {
				continue
			}
			if err := n.fetchStep(servers, e.From-1); err != nil {
				lacking = true
				n.conf.Log.LogAttrs(context.Background(), slog.LevelWarn, "a change of the validators cannot be fetched from another member yet",
					slog.Int64("height", e.From-1), slog.String("error", err.Error()))
			}
		}
		// Before the state is there nothing can be known to lack.
		if !lacking && n.Height() > 0 {
			return
		}
		select {
		case <-n.halted:
			return
		case <-time.After(wait):
		}
	}
}

func (n *Node) fetchStep(servers []string, height int64) (err error) {
	for _, s := range servers {
		rpc, dialErr := dialRPC(s)
		if dialErr != nil {
			err = errors.Join(err, dialErr)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		signed, getErr := getStep(ctx, rpc, n.conf.ChainID, height)
		cancel()
		if getErr == nil {
			return n.steps.put(signed)
		}
		err = errors.Join(err, getErr)
	}
	return err
}

// getStep asks a member for a signed header.
func getStep(ctx context.Context, rpc querier, chainID string, height int64) (*types.SignedHeader, error) {
	req, err := dcbor.Marshal(height)
	if err != nil {
		return nil, err
	}
	r, err := rpc.ABCIQuery(ctx, queryStep, req)
	if err != nil {
		return nil, err
	}
	if r.Response.Code != queryOK {
		return nil, fmt.Errorf("member says: %s", r.Response.Log)
	}
	var p cmtproto.SignedHeader
	if err := p.Unmarshal(r.Response.Value); err != nil {
		return nil, err
	}
	signed, err := types.SignedHeaderFromProto(&p)
	if err != nil {
		return nil, err
	}
	if signed.Height != height {
		return nil, fmt.Errorf("member answers with block %d, want %d", signed.Height, height)
	}
	return signed, signed.ValidateBasic(chainID)
}
