// Package journey finds what the ledger knows of an item and composes its
// passport: what organisations signed of it and of what carried it, the sightings
// of both, the plans in force, and for every channel of every zone the item was in
// a range proof over its stay, with signed heads and anchors along the way. The
// passports of what it was made from hang in it.
//
// It works at the newest anchored size: nothing in a passport is younger than
// its anchor. What it leaves out or gets wrong a verifier notices; it is trusted
// for nothing but being there.
package journey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"trailmark/gateway/internal/store"
	"trailmark/internal/epc"
	"trailmark/passport"
	"trailmark/statement"
)

// ErrNotYet reports an item that no anchored statement saw or names.
var ErrNotYet = errors.New("no anchored record of this item yet")

// A Prover makes inclusion proofs at a size of one of the ledgers.
type Prover interface {
	Inclusion(ctx context.Context, origin string, index, size uint64) ([][]byte, error)
}

// A Chain proves anchors offline. An error costs a passport the proof, not the
// anchor: it is then declared. Safe for concurrent use.
type Chain interface {
	// Evidence returns the anchor as verifiers will see it, and its proof.
	Evidence(ctx context.Context, a store.Anchor) (passport.Anchor, []byte, error)
}

// A Composer makes passports. It is safe for concurrent use.
type Composer struct {
	store  *store.Store
	ledger Prover
	signer *statement.Signer // the log key, for COSE receipts
	chain  Chain             // nil: anchors are declared
	prefer string            // see Beside
	beside []string
	log    *slog.Logger
	room   room

	// Products is set before the first passport, if at all: without it every product
	// is read for each.
	Products Products
}

// Products know where the statements of a GTIN are.
type Products interface {
	Indexes(ctx context.Context, gtin string) ([]uint64, error)
}

// room is how much of what there is most of a passport shows.
type room struct{ sightings, trails, members, events int }

// New makes a Composer; chain may be nil.
func New(st *store.Store, ledger Prover, logKey *statement.Signer, chain Chain, log *slog.Logger) *Composer {
	return &Composer{store: st, ledger: ledger, signer: logKey, chain: chain, log: log, room: room{maxShown, maxTrails, 1000, 1500}}
}

// How far apart the heads of a leg may be, in ms.
const (
	week = 7 * day
	day  = 24 * 3_600_000
)

// Item composes the passport of an item, named as in its Digital Link.
func (c *Composer) Item(ctx context.Context, link epc.Link) ([]byte, error) {
	return c.item(ctx, link, false)
}

// Audit is Item with every block of every leg shown whole, and a head a day.
func (c *Composer) Audit(ctx context.Context, link epc.Link) ([]byte, error) {
	return c.item(ctx, link, true)
}

// Seen reports whether an anchored statement saw an item, or names it.
func (c *Composer) Seen(ctx context.Context, link epc.Link) (bool, error) {
	books, err := c.books(ctx)
	if err != nil || len(books) == 0 {
		return false, err
	}
	last := books[len(books)-1]
	below := last.first + last.anchor.Size
	if sightings, err := c.sightings(ctx, link, below); err != nil || len(sightings) > 0 {
		return err == nil, err
	}
	uri := epc.Object{GTIN: link.GTIN, Serial: link.Serial}.URI()
	if events, err := c.store.EventsOf(ctx, uri, below); err != nil || len(events) > 0 {
		return err == nil, err
	}
	transfers, err := c.store.TransfersOf(ctx, uri, below)
	return len(transfers) > 0, err
}

func (c *Composer) item(ctx context.Context, link epc.Link, audit bool) ([]byte, error) {
	books, err := c.books(ctx)
	if err != nil {
		return nil, err
	}
	if len(books) == 0 {
		return nil, ErrNotYet
	}
	last := books[len(books)-1]
	r := &request{c: c, ctx: ctx, books: books, limit: last.first + last.anchor.Size, frames: map[uint64]*store.Delivery{},
		kinds: map[statement.Kind][]store.Statement{}, checkpoints: map[checkpointOf]passport.Checkpoint{}}
	data, err := r.nested(link, audit)
	if err != nil && !errors.Is(err, ErrNotYet) {
		return nil, fmt.Errorf("composing the passport of %s: %w", link.Path(), err)
	}
	return data, err
}

// A book is one ledger at its newest anchor.
type book struct {
	origin string
	first  uint64 // row of entry 0
	anchor store.Anchor
}

// books are the ledgers whose anchors cover the rows from the first one on without
// a hole, the oldest first.
func (c *Composer) books(ctx context.Context) (out []book, err error) {
	shards, err := c.store.Shards(ctx)
	if err != nil {
		return nil, err
	}
	for i, sh := range shards {
		b := book{origin: sh.Origin, first: sh.First}
		b.anchor, err = c.lastOf(ctx, sh.Origin)
		if errors.Is(err, store.ErrNotFound) {
			if i+1 < len(shards) && shards[i+1].First == sh.First {
				continue // nothing was recorded in its time
			}
			break
		} else if err != nil {
			return nil, err
		}
		out = append(out, b)
		if i+1 < len(shards) && sh.First+b.anchor.Size < shards[i+1].First {
			break // its last rows are not anchored yet
		}
	}
	return out, nil
}

// sightings are those of every tag that spells the item, by time.
func (c *Composer) sightings(ctx context.Context, link epc.Link, below uint64) ([]store.Sighting, error) {
	return c.store.SightingsOf(ctx, epc.Object{GTIN: link.GTIN, Serial: link.Serial}.Tags(), 0, always, below)
}

// maxSightings bounds the sightings shown of one stay at one antenna.
const maxSightings = 256

// thin leaves out sightings of a tag that stood before one antenna for long:
// those that are not needed to show that it was never out of sight for longer
// than reRead, in ms. Of more than maxSightings it keeps some, evenly spread, and
// the item then counts as seen for less than it was. Another tag under the same
// number is never left out for the sake of the first.
func thin(in []store.Sighting, reRead func(store.Sighting) int64) (out []store.Sighting) {
	for len(in) > 0 {
		n := 1
		for n < len(in) && in[n].KeyID == in[0].KeyID && in[n].Antenna == in[0].Antenna && bytes.Equal(in[n].TID, in[0].TID) {
			n++
		}
		run, allowed := []store.Sighting{in[0]}, reRead(in[0])
		end := in[0].Last
		for i := 1; i < n; i++ {
			if i == n-1 || in[i+1].First-end > allowed {
				run, end = append(run, in[i]), max(end, in[i].Last)
			}
		}
		if over := len(run); over > maxSightings {
			for i := range maxSightings {
				run[i] = run[i*(over-1)/(maxSightings-1)]
			}
			run = run[:maxSightings]
		}
		out, in = append(out, run...), in[n:]
	}
	return out
}

// Bounds of the sightings shown of an item, all stays together: a passport has a
// size that verifiers take, and a sighting brings about 600 bytes of frame and
// proofs.
const (
	maxShown = 700
	minShown = 16
)

// spread leaves out sightings until about most are left: of each stay at an antenna
// its share, evenly spread, and always its first and last. The item then counts as
// seen for less than it was.
func spread(in []store.Sighting, most int) (out []store.Sighting) {
	total := len(in)
	if total <= most {
		return in
	}
	for len(in) > 0 {
		n := 1
		for n < len(in) && in[n].KeyID == in[0].KeyID && in[n].Antenna == in[0].Antenna {
			n++
		}
		keep := min(n, max(2, n*most/total))
		for i := range keep {
			out = append(out, in[i*(n-1)/max(1, keep-1)])
		}
		in = in[n:]
	}
	return out
}

// evidenceWithin bounds the wait for a block that carries a commit.
const evidenceWithin = 3 * time.Second
