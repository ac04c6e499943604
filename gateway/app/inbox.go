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

	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

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
	names, err := filepath.Glob(filepath.Join(g.conf.Dir, inboxDir, "*.cose"))
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
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
	if info.Size() > statement.MaxSize {
		return fmt.Errorf("%d bytes are over the limit of %d", info.Size(), statement.MaxSize)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	s, err := statement.Parse(data)
	if err != nil {
		return err
	}
	if err := (gate{g}).Add(ctx, s); err != nil {
		return err
	}
	return os.Rename(name, strings.TrimSuffix(name, ".cose")+".taken")
}
