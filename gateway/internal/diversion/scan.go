package diversion

import (
	"context"
	"errors"
	"slices"
	"time"

	"trailmark/gateway/internal/epcis"
	"trailmark/gateway/internal/store"
	"trailmark/internal/epc"
	"trailmark/statement"
)

// A State is what was on record of an item when somebody looked it up.
type State string

// States of an item.
const (
	InCustody State = "custody" // packed, or seen by a device within a day
	Sold      State = "sold"    // by an event: sold, dispensed, or taken out of use
	Unknown   State = "unknown"
)

// recently is how long a sighting says where an item is.
const recently = day

// sold are the business steps after which an item is nobody's in the chain.
var sold = []string{"retail_selling", "dispensing"}

// Scan counts that an item was looked up: the item, the day, its state, and nothing
// of who looked. When it returns nil the count is durable, and so is what it finds.
func (w *Watch) Scan(ctx context.Context, item epc.Link) error {
	object := epc.Object{GTIN: item.GTIN, Serial: item.Serial}
	now := w.Now().UnixMilli()
	state, out, err := w.state(ctx, object, now)
	if err != nil {
		return err
	}
	if state == Unknown { // what nobody ever told of takes no room
		known, err := w.known(ctx, object)
		if err != nil || !known {
			return err
		}
	}
	var n int64
	if err := w.Store.Update(ctx, func(tx *store.Tx) (err error) {
		n, err = tx.AddScan(object.URI(), now/day, string(state), now)
		return err
	}); err != nil || out == nil || n < w.Scans {
		return err
	}
	out.Scans = n
	return w.keep(ctx, []Finding{{Unexpected, object.URI(), now, *out}}, func(*store.Tx) error { return nil })
}

// known reports whether anything was ever recorded of an object.
func (w *Watch) known(ctx context.Context, o epc.Object) (bool, error) {
	places, err := w.Store.EventsOf(ctx, o.URI(), 1<<62)
	if err != nil || len(places) > 0 {
		return len(places) > 0, err
	}
	seen, err := w.Store.SightingsOf(ctx, o.Tags(), 0, always, 1<<62)
	return len(seen) > 0, err
}

// state is what is on record of an item and, where no shopper can be at it, why.
func (w *Watch) state(ctx context.Context, o epc.Object, now int64) (State, *Detail, error) {
	rows, err := w.Store.Mentions(ctx, o.URI(), 1<<62)
	if err != nil {
		return "", nil, err
	}
	parent, packed := "", uint64(0)
	for i, row := range rows {
		s, err := statement.Parse(row.Data)
		if err != nil {
			return "", nil, err
		}
		e, err := s.Event()
		if err != nil {
			return "", nil, err
		}
		switch items := row.List == uint64(statement.ListItems); {
		case row.List == uint64(statement.ListInputs), e.Action == statement.Decommission:
			return Sold, nil, nil
		case i == len(rows)-1 && slices.Contains(sold, e.Step):
			return Sold, nil, nil
		case items && e.Action == statement.Pack:
			parent, packed = e.Objects[0].Object, row.Index
		case items && e.Action == statement.Unpack && e.Objects[0].Object == parent:
			parent = ""
		}
	}
	if parent != "" {
		if parent, err = w.unlessEmptied(ctx, parent, packed); err != nil {
			return "", nil, err
		}
	}
	where, err := epcis.LastSeen(ctx, w.Store, o.URI())
	if err != nil && !errors.Is(err, epcis.ErrUnseen) {
		return "", nil, err
	}
	fresh := where.At > now-recently
	var at *Place
	if fresh {
		at = &Place{where.Site, where.Zone.ID, where.At}
	}
	switch {
	case parent != "":
		return InCustody, &Detail{In: parent, To: at}, nil
	case fresh && len(w.Shops) > 0 && !slices.Contains(w.Shops, where.Zone.ID):
		return InCustody, &Detail{To: at}, nil
	case fresh:
		return InCustody, nil, nil
	}
	return Unknown, nil, nil
}

// unlessEmptied is a parent, or "" when all was taken out of it since a row.
func (w *Watch) unlessEmptied(ctx context.Context, parent string, since uint64) (string, error) {
	rows, err := w.Store.Mentions(ctx, parent, 1<<62)
	if err != nil {
		return "", err
	}
	for _, row := range rows {
		if row.Index <= since {
			continue
		}
		s, err := statement.Parse(row.Data)
		if err != nil {
			return "", err
		}
		e, err := s.Event()
		if err != nil {
			return "", err
		}
		if row.Leaf == nil && e.Action == statement.Unpack && e.Items.Size == 0 || e.Action == statement.Decommission {
			return "", nil
		}
	}
	return parent, nil
}

// Scans are how often an item was looked up.
type Scans struct {
	GTIN   string     `json:"gtin"`
	Serial string     `json:"serial"`
	First  *time.Time `json:"first"` // null: never
	Days   []Day      `json:"days"`
}

// Day is one day's count in one state.
type Day struct {
	Day   string `json:"day"` // of UTC
	State State  `json:"state"`
	Count int64  `json:"count"`
}

// Counts are how often an item was looked up.
func (w *Watch) Counts(ctx context.Context, item epc.Link) (Scans, error) {
	out := Scans{GTIN: item.GTIN, Serial: item.Serial, Days: []Day{}}
	rows, first, err := w.Store.Scans(ctx, epc.Object{GTIN: item.GTIN, Serial: item.Serial}.URI())
	if err != nil {
		return out, err
	}
	if first > 0 {
		at := time.UnixMilli(first).UTC()
		out.First = &at
	}
	for _, r := range rows {
		out.Days = append(out.Days, Day{time.UnixMilli(r.Day * day).UTC().Format(time.DateOnly), State(r.State), r.Count})
	}
	return out, nil
}
