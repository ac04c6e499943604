// Package diversion finds, in what is stored, items that may be copies or are not
// where they ought to be: one number on two tags, in two places that are too far
// apart, or looked up by somebody while it ought to lie in a closed case.
//
// A finding is of stored facts and follows from them alone, so that it is found
// again, and as the same, by whoever has them. It is a reason to look, not a proof:
// passports show contradictions by themselves.
package diversion

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"trailmark/gateway/internal/store"
	"trailmark/internal/epc"
)

// A Kind says what was found.
type Kind string

// Kinds of findings.
const (
	AnotherTag Kind = "another-tag"       // one number on two tags
	TooFar     Kind = "too-far-apart"     // in two places in less time than the way takes
	Unexpected Kind = "scanned-elsewhere" // looked up while it ought to be where no shopper is
)

// A Finding says that an object may be a copy, or was diverted.
type Finding struct {
	Kind   Kind   `json:"kind"`
	Object string `json:"object"`
	At     int64  `json:"at"` // ms
	Detail Detail `json:"detail"`
}

// Detail is what a finding rests on.
type Detail struct {
	Told  string `json:"tid_told,omitempty"` // the tag's number by whoever commissioned it, else by the first sighting; hex
	Seen  string `json:"tid_seen,omitempty"`
	From  *Place `json:"from,omitempty"`
	To    *Place `json:"to,omitempty"`
	Least int64  `json:"least_ms,omitempty"` // that the way takes
	Took  int64  `json:"took_ms,omitempty"`  // negative: it was in both at once
	In    string `json:"packed_in,omitempty"`
	Scans int64  `json:"scans,omitempty"` // of that day
}

// Place is where an object was.
type Place struct {
	Site string `json:"site"`
	Zone string `json:"zone"`
	At   int64  `json:"at"` // ms
}

// Options are what New needs; all but Store may be left out.
type Options struct {
	Store *store.Store
	Found func() // called when there are new findings, once they are durable: the alarms take them from the store
	// Travel is the least time between two sites; 0: ten minutes.
	Travel time.Duration
	// Shops are the zones that shoppers come to. Without any, only an item that is
	// packed is out of their reach.
	Shops []string
	// Scans of one day from which on an item that no shopper can be at is a finding:
	// staff look up, too. 0: three.
	Scans int64
	Now   func() time.Time
	Log   *slog.Logger
}

// A Watch searches what comes in. It is safe for concurrent use, but for Step.
type Watch struct{ Options }

// New makes a Watch.
func New(o Options) *Watch {
	if o.Travel == 0 {
		o.Travel = 10 * time.Minute
	}
	if o.Scans == 0 {
		o.Scans = 3
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Watch{o}
}

// every is how often Run looks for what is new.
const every = 2 * time.Second

// Run searches until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	for {
		more, err := w.Step(ctx)
		if err != nil && ctx.Err() == nil {
			w.Log.ErrorContext(ctx, "search for copies", "err", err)
		}
		if more && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

// batch is how many sightings, or events, one step looks at.
const batch = 500

const (
	sightingTable = "sighting"
	eventTable    = "event"
)

// Step searches the next sightings and events. When it returns nil its findings are
// durable. It reports whether there is more.
func (w *Watch) Step(ctx context.Context) (more bool, err error) {
	from, err := w.Store.Searched(ctx, sightingTable)
	if err != nil {
		return false, err
	}
	sightings, nextSighting, err := w.Store.SightingsFrom(ctx, from, batch)
	if err != nil {
		return false, err
	}
	since, err := w.Store.Searched(ctx, eventTable)
	if err != nil {
		return false, err
	}
	commissioned, nextEvent, err := w.commissioned(ctx, since)
	if err != nil {
		return false, err
	}
	if len(sightings) > 0 || nextEvent > since {
		s := newSearch(ctx, w)
		for object, span := range spans(sightings) {
			if err := s.object(object, span); err != nil {
				return false, err
			}
		}
		for _, object := range commissioned {
			if err := s.object(object, [2]int64{0, always}); err != nil {
				return false, err
			}
		}
		if err := w.keep(ctx, s.found, func(tx *store.Tx) error {
			if err := tx.PutSearched(sightingTable, nextSighting); err != nil {
				return err
			}
			return tx.PutSearched(eventTable, nextEvent)
		}); err != nil {
			return false, err
		}
	}
	return len(sightings) == batch, nil
}

// spans are the objects of sightings and from when to when those are.
func spans(sightings []store.Sighting) map[epc.Object][2]int64 {
	out := map[epc.Object][2]int64{}
	for _, s := range sightings {
		o, ok := epc.TagObject(s.EPC)
		if !ok {
			continue
		}
		span, known := out[o]
		if !known {
			span = [2]int64{s.First, s.Last}
		}
		out[o] = [2]int64{min(span[0], s.First), max(span[1], s.Last)}
	}
	return out
}

// keep stores findings, with what belongs to them, and tells of the new ones.
func (w *Watch) keep(ctx context.Context, found []Finding, also func(*store.Tx) error) error {
	var fresh []Finding
	err := w.Store.Update(ctx, func(tx *store.Tx) error {
		fresh = nil
		for _, f := range found {
			detail, err := json.Marshal(f.Detail)
			if err != nil {
				return err
			}
			is, err := tx.AddFinding(store.Finding{ID: f.id(), Kind: string(f.Kind), Object: f.Object, At: f.At, Found: w.Now().UnixMilli(), Detail: detail})
			if err != nil {
				return err
			}
			if is {
				fresh = append(fresh, f)
			}
		}
		return also(tx)
	})
	if err != nil {
		return err
	}
	for _, f := range fresh {
		w.Log.WarnContext(ctx, "an item may be a copy, or was diverted", "kind", f.Kind, "object", f.Object, "at", time.UnixMilli(f.At).UTC())
	}
	if len(fresh) > 0 && w.Found != nil {
		w.Found()
	}
	return nil
}

// id is of what makes a finding another one: of a second tag that tag, of two
// places those and the day, of scans the day.
func (f Finding) id() []byte {
	about := fmt.Sprintf("%s\n%s\n", f.Kind, f.Object)
	switch f.Kind {
	case AnotherTag:
		about += f.Detail.Seen
	case TooFar:
		about += fmt.Sprintf("%s\n%s\n%s\n%s\n%d", f.Detail.From.Site, f.Detail.From.Zone, f.Detail.To.Site, f.Detail.To.Zone, f.At/day)
	default:
		about += fmt.Sprint(f.At / day)
	}
	sum := sha256.Sum256([]byte(about))
	return sum[:]
}

const day = 24 * 3_600_000 // ms

func parse(row store.Finding) (Finding, error) {
	f := Finding{Kind: Kind(row.Kind), Object: row.Object, At: row.At}
	if err := json.Unmarshal(row.Detail, &f.Detail); err != nil {
		return f, fmt.Errorf("stored finding %x: %w", row.ID, err)
	}
	return f, nil
}

// Findings are the newest findings, of an object or, where it is "", of all.
func (w *Watch) Findings(ctx context.Context, object string, limit int) ([]Finding, error) {
	rows, err := w.Store.Findings(ctx, object, limit)
	if err != nil {
		return nil, err
	}
	out := make([]Finding, 0, len(rows))
	for _, row := range rows {
		f, err := parse(row)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}
