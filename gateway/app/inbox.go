package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"trailmark/gateway/internal/enrol"
	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// Statements that are taken in together, all or none, lie in one file of the
// inbox: a CBOR sequence (RFC 8742) of byte strings, a statement each.
const (
	batchSuffix = ".cose-seq"
	maxBatch    = 64 << 20 // bytes
)

func parseBatch(data []byte) (out []*statement.Statement, err error) {
	for len(data) > 0 {
		var one []byte
		if data, err = cbor.UnmarshalFirst(data, &one); err != nil {
			return nil, fmt.Errorf("statement %d of the batch: %w", len(out), err)
		}
		s, err := statement.Parse(one)
		if err != nil {
			return nil, fmt.Errorf("statement %d of the batch: %w", len(out), err)
		}
		out = append(out, s)
	}
	return out, nil
}

// batchToInbox leaves statements for the running gateway, which takes all or none.
// They are durable when it returns nil.
func batchToInbox(dir, name string, ss []*statement.Statement) error {
	var data []byte
	for _, s := range ss {
		data = dcbor.AppendBytes(data, s.Bytes())
	}
	if len(data) > maxBatch {
		return fmt.Errorf("batch of %d bytes is over the limit of %d", len(data), maxBatch)
	}
	return enrol.WriteFile(filepath.Join(dir, inboxDir, name+batchSuffix), data, 0o600)
}

// inbox takes in statements that were signed elsewhere and left as files.
func (g *gateway) inbox(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
		if err := g.sweep(ctx); err != nil {
			return err
		}
	}
}

func (g *gateway) sweep(ctx context.Context) error {
	if err := g.sweepStatements(ctx); err != nil {
		return err
	}
	if err := g.sweepEvents(ctx); err != nil {
		return err
	}
	return g.scrub(ctx)
}

func (g *gateway) sweepStatements(ctx context.Context) error {
	names, err := filepath.Glob(filepath.Join(g.conf.Dir, inboxDir, "*.cose*"))
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if ext := filepath.Ext(name); ext != ".cose" && ext != batchSuffix {
			continue // half written, or refused
		}
		if err := g.take(ctx, name); err != nil {
			g.log.Error("statement in the inbox refused", "file", name, "err", err)
			if err := os.Rename(name, name+".refused"); err != nil {
				return err
			}
		}
	}
	return nil
}

// scrub empties the store's log once something was erased.
func (g *gateway) scrub(ctx context.Context) error {
	if g.unscrubbed.CompareAndSwap(true, false) {
		if err := g.store.Scrub(ctx); err != nil {
			g.unscrubbed.Store(true) // the next sweep tries again
			g.log.Log(ctx, scrubLevel(err), "erased bytes are still in the store's log", "err", err)
		}
	}
	return nil
}

// scrubLevel: that somebody reads is nothing to worry about, and passes.
func scrubLevel(err error) slog.Level {
	if errors.Is(err, store.ErrBusy) {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

func (g *gateway) take(ctx context.Context, name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	batch := filepath.Ext(name) == batchSuffix
	limit := int64(statement.MaxSize)
	if batch {
		limit = maxBatch
	}
	if info.Size() > limit {
		return fmt.Errorf("%d bytes are over the limit of %d", info.Size(), limit)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var ss []*statement.Statement
	if batch {
		ss, err = parseBatch(data)
	} else {
		ss = make([]*statement.Statement, 1)
		ss[0], err = statement.Parse(data)
	}
	if err != nil {
		return err
	}
	if err := (gate{g}).Add(ctx, ss...); err != nil {
		return err
	}
	return os.Rename(name, strings.TrimSuffix(name, filepath.Ext(name))+".taken")
}
