package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"trailmark/agent/internal/clock"
	"trailmark/agent/internal/metrics"
)

// version is what a release is called; make package sets it.
var version string

// Version says what this was built from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	name := version
	if name == "" {
		name = info.Main.Version
	}
	return name + " " + info.GoVersion
}

// hang is how long the station's loop may be silent. It waits for the card: a
// worn one takes many seconds for a sync.
const hang = 45 * time.Second

// pulse is the life of the station's loop. Before its first beat the agent waits
// for the gateway, which may take for ever and is no hang.
type pulse struct{ last atomic.Int64 } // ns since boot; 0: no beat yet

func (p *pulse) beat() {
	if now, err := (clock.System{}).Boottime(); err == nil {
		p.last.Store(now)
	}
}

func (p *pulse) alive() bool {
	last := p.last.Load()
	now, err := (clock.System{}).Boottime()
	return last == 0 || err != nil || time.Duration(now-last) < hang
}

// serveMetrics answers scrapes until ctx ends, if the configuration wants that.
func serveMetrics(ctx context.Context, c Config, book *metrics.Book, clk *clock.Clock, log *slog.Logger) error {
	if c.Metrics == "" {
		return nil
	}
	l, err := metrics.Listen(c.Metrics)
	if err != nil {
		return err
	}
	page := metrics.Page{Book: book, Version: Version(), Clock: clk.Now, Card: func() int64 { return cardBytes(c.Dir) }, Budget: int64(c.Card)}
	log.Info("metrics", slog.String("address", l.Addr().String()))
	go func() {
		if err := page.Serve(ctx, l); err != nil {
			log.Error("metrics ended", slog.Any("err", err))
		}
	}()
	return nil
}

// cardBytes is what the stored frames of all epochs take, 0 where nobody can tell.
func cardBytes(dir string) (n int64) {
	segments, err := filepath.Glob(filepath.Join(dir, outboxName+"*", "*.seg"))
	if err != nil {
		return 0
	}
	for _, s := range segments {
		if info, err := os.Stat(s); err == nil { // else it was let go of meanwhile
			n += info.Size()
		}
	}
	return n
}

// held reports that a running agent has the data folder: the frames of one epoch,
// or for a moment those of two.
func held(dir string) bool {
	boxes, err := filepath.Glob(filepath.Join(dir, outboxName+"*"))
	return err == nil && slices.ContainsFunc(boxes, locked)
}

// locked reports that a process has an outbox.
func locked(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close() // and with it the lock, if we got it
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}
