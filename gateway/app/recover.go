package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"trailmark/gateway/internal/backup"
	"trailmark/gateway/internal/broker"
	"trailmark/gateway/internal/ingest"
	"trailmark/gateway/internal/recovery"
	"trailmark/gateway/internal/shard"
	"trailmark/gateway/internal/store"
	"trailmark/internal/chain/comet"
	"trailmark/statement"
)

// archive keeps what comes once: every statement that is not a frame.
func (g *gateway) archive() recovery.Archive {
	return recovery.Archive(filepath.Join(g.conf.Dir, ownDir, "statements"))
}

// recover returns when the store holds what the ledger does, and no device is
// known to have verified more: at once, unless database or folder were put back
// from a backup. Until then nothing is signed.
func (g *gateway) recover(ctx context.Context, own string, authorities []statement.Key) error {
	if err := g.recordAnchors(ctx); err != nil {
		return err
	}
	mark := filepath.Join(own, backup.RestoredFile)
	_, err := os.Stat(mark)
	restored := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(filepath.Join(own, "ledger")); errors.Is(err, fs.ErrNotExist) && !restored {
		return nil // the first start
	}
	view, err := shard.View(ctx, g.shelfOptions(own))
	if err != nil {
		return err
	}
	err = g.recoverFrom(ctx, view, restored, statement.NewKeyring(g.org.Audience(), authorities...))
	if err = errors.Join(err, view.Close()); err != nil {
		return err
	}
	if restored {
		if err := os.Remove(mark); err != nil {
			return err
		}
	}
	return g.fillArchive(ctx)
}

func (g *gateway) recoverFrom(ctx context.Context, view *shard.Shelf, restored bool, ring *statement.Keyring) (err error) {
	o := recovery.Options{Store: g.store, Audience: g.org.Audience(), Private: g.archive().Private, Restored: restored, Post: g.post, Log: g.log}
	var size uint64
	for _, b := range view.Books() {
		book, err := g.toRecover(ctx, b)
		if err != nil {
			return err
		}
		o.Books = append(o.Books, book)
		size = book.First + book.Size
	}
	if rows, err := g.store.Count(ctx); err != nil || rows >= size && !restored {
		return err
	}
	if g.ingest, err = ingest.New(ctx, g.store, ring, time.Now, g.log); err != nil {
		return err
	}
	o.Ingest = g.ingest
	others, err := g.archive().Load()
	if err != nil {
		return err
	}
	r, err := recovery.New(ctx, o, others)
	if err != nil || r.Done() {
		return err
	}
	hosts, err := g.hosts()
	if err != nil {
		return err
	}
	if g.broker, err = broker.Start(ctx, broker.Options{Dir: filepath.Join(g.conf.Dir, ownDir, "broker"), MQTTAddr: g.conf.MQTT,
		Tenant: g.org.Tenant, TLS: g.ca.ServerTLS(hosts, tls.RequireAndVerifyClientCert), Auth: g.isDevice, SyncEvery: time.Second, Log: g.log}); err != nil {
		return err
	}
	defer func() {
		g.broker.Stop()
		g.broker = nil
	}()
	defer g.tellRecovering(r)()
	return g.refill(ctx, r)
}

// toRecover is a ledger as a recovery needs it.
func (g *gateway) toRecover(ctx context.Context, b shard.Book) (book recovery.Book, err error) {
	book = recovery.Book{Ledger: b.Ledger, Origin: b.Origin(), First: b.First}
	if book.Size, err = b.Ledger.Size(ctx); err != nil {
		return book, err
	}
	switch note, err := b.Checkpoint(ctx); {
	case err == nil:
		if book.Checkpoint, err = statement.OpenCheckpoint(note, b.Origin(), g.logKey); err != nil {
			return book, err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return book, err
	}
	head, ok, err := g.blocks.Head(b.Origin())
	if errors.Is(err, comet.ErrUnregistered) { // a new ledger of a consortium's chain
		err = nil
	}
	if ok {
		book.Anchored = []uint64{head.Size}
	}
	return book, err
}

// refill runs a recovery to its end.
func (g *gateway) refill(ctx context.Context, r *recovery.Recovery) error {
	g.log.Warn("recovering: nothing is signed until it is done", "what", r.Status())
	inner, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	done := errors.New("done")
	go func() {
		for said := time.Now(); inner.Err() == nil; {
			if r.Done() {
				stop(done)
				return
			}
			if err := r.Ask(inner); err != nil {
				stop(err)
				return
			}
			if time.Since(said) > time.Minute {
				said = time.Now()
				g.log.Warn("recovering", "what", r.Status(), "missing", r.Missing(16),
					"hint", "a device that is gone for good: remove "+filepath.Join(g.conf.Dir, ownDir, backup.RestoredFile)+" once you know that it has seen no newer ledger")
			}
			select {
			case <-time.After(time.Second):
			case <-inner.Done():
			}
		}
	}()
	err := g.broker.Consume(inner, func(ctx context.Context, ms []broker.Message) {
		batch := make([]ingest.Message, 0, len(ms))
		for _, m := range ms {
			if kid, err := parseKid(m.Kid); err == nil { // the broker lets nobody else in
				batch = append(batch, ingest.Message{KeyID: kid, Data: m.Data})
			}
		}
		if err := r.Handle(ctx, batch); err != nil {
			stop(err)
			return
		}
		for _, m := range ms {
			if err := m.Ack(); err != nil {
				g.log.Debug("message not acknowledged; it will come again", "err", err)
			}
		}
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch cause := context.Cause(inner); {
	case cause == done:
		g.log.Info("recovered: store and ledger are one again")
		return nil
	case cause != nil:
		return cause
	}
	return err
}

// tellRecovering answers requests for pages with what is missing. The returned
// function stops that and leaves the listener to who comes next.
func (g *gateway) tellRecovering(r *recovery.Recovery) func() {
	server := g.server(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "The gateway is recovering and signs nothing: "+r.Status(), http.StatusServiceUnavailable)
	}))
	go func() { _ = server.Serve(lent{g.listening}) }() // until Close below
	return func() {
		_ = server.Close() // returns when Serve has
		if ln, ok := g.listening.(*net.TCPListener); ok {
			_ = ln.SetDeadline(time.Time{})
		}
	}
}

// lent is a listener that stays open for the next server: Close ends only a
// pending Accept.
type lent struct{ net.Listener }

func (l lent) Close() error {
	if ln, ok := l.Listener.(*net.TCPListener); ok {
		return ln.SetDeadline(time.Now())
	}
	return nil
}

// recordAnchors records again what the chain has and the store lost.
func (g *gateway) recordAnchors(ctx context.Context) error {
	books, err := g.store.Shards(ctx)
	if err != nil {
		return err
	}
	for _, b := range books {
		if err := g.recordAnchorsOf(ctx, b.Origin); err != nil {
			return err
		}
	}
	return nil
}

func (g *gateway) recordAnchorsOf(ctx context.Context, origin string) error {
	const page = 256
	last, err := g.store.LastAnchorOf(ctx, origin)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	for next := last.Size + 1; ; {
		anchors, err := g.blocks.Anchors(origin, next, page)
		if err != nil || len(anchors) == 0 {
			return err
		}
		if err := g.store.Update(ctx, func(tx *store.Tx) error {
			for _, a := range anchors {
				note, err := comet.Note(a.Tx, a.Origin)
				if err != nil {
					return err
				}
				if err := tx.AddAnchor(store.Anchor{Size: a.Size, Origin: a.Origin, Chain: g.blocks.ChainID(), Root: a.Root, Height: a.Height,
					Time: a.Time.UnixMilli(), Block: a.BlockHash[:], Tx: a.Tx, Note: note}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		next = anchors[len(anchors)-1].Size + 1
	}
}

// fillArchive archives what was stored before there was an archive.
func (g *gateway) fillArchive(ctx context.Context) error {
	for _, kind := range []statement.Kind{statement.KindIdentity, statement.KindKeyStatus, statement.KindPlan, statement.KindProduct,
		statement.KindHandover, statement.KindAcceptance, statement.KindEvent, statement.KindErasure} {
		rows, err := g.store.Kind(ctx, kind)
		if err != nil {
			return err
		}
		for _, row := range rows {
			s, err := statement.Parse(row.Data)
			if err != nil {
				return fmt.Errorf("stored statement %d: %w", row.Index, err)
			}
			if err := g.archive().Save(s); err != nil {
				return fmt.Errorf("archive of statements: %w", err)
			}
			if kind == statement.KindEvent {
				if err := g.archivePrivate(ctx, row.Index, s); err != nil {
					return fmt.Errorf("archive of events: %w", err)
				}
			}
		}
	}
	return nil
}

// archivePrivate brings what the archive keeps of an event beside its statement up
// to the store: it is there, and a document that was erased is not.
func (g *gateway) archivePrivate(ctx context.Context, index uint64, s *statement.Statement) error {
	e, err := g.store.EventAt(ctx, index)
	if errors.Is(err, store.ErrNotFound) {
		return nil // of version 1, which has nothing beside it
	} else if err != nil {
		return err
	}
	if g.archive().Forgotten(s) && e.Doc != nil { // the database was put back from before
		g.unscrubbed.Store(true)
		return g.store.Update(ctx, func(tx *store.Tx) error {
			_, err := tx.EraseEvent(e.ID + e.Corrects)
			return err
		})
	}
	if g.archive().HasPrivate(s) {
		return nil
	}
	objects, err := g.store.EventObjects(ctx, index)
	if err != nil {
		return err
	}
	p := ingest.Private{ID: e.ID, Corrects: e.Corrects, Doc: e.Doc, Seed: e.Seed}
	for _, o := range objects {
		switch o.List {
		case uint64(statement.ListItems):
			p.Items = append(p.Items, o.Leaf)
		case uint64(statement.ListInputs):
			p.Inputs = append(p.Inputs, o.Leaf)
		}
	}
	if err := g.archive().SaveEvents(ingest.Event{Statement: s, Private: p}); err != nil || e.Doc != nil {
		return err
	}
	return g.archive().Forget(s)
}
