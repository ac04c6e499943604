package epcis

import (
	"context"
	"fmt"
	"slices"

	"trailmark/gateway/internal/epcis/document"
	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// Reasons why a recall reaches an object.
const (
	Recalled = "recalled"
	MadeFrom = "made from" // a product of what is reached
	PackedIn = "was in"    // it was a child of a carrier that is reached itself
	Carrying = "carries"   // what is reached was packed into it; its other children are not reached
	maxReach = 100_000     // objects
	ongoing  = uint64(1) << 62
)

// Reached is one object that a recall reaches.
type Reached struct {
	Object string `json:"object"`
	Why    string `json:"why"`
	Of     string `json:"of,omitempty"` // the object that led to it
	Depth  int    `json:"depth"`        // transformations between it and what is recalled

	// The event that says so.
	EventID   string `json:"eventID,omitempty"`
	Statement string `json:"statement,omitempty"`
	At        int64  `json:"at_ms,omitempty"`
	Place     string `json:"place,omitempty"`

	Unpacked bool `json:"unpacked,omitempty"` // of Carrying: a later event took it out again
}

// Recall follows an object's events forwards, and finds every product that was made
// from it, in any number of steps, with what carries them. An object consumed as
// the content of a carrier counts as consumed. A recalled carrier reaches what was
// ever in it; a carrier of something that is recalled does not reach its siblings.
// What no event names cannot be found.
func Recall(ctx context.Context, st *store.Store, name string) ([]Reached, error) {
	object, err := document.ObjectName(name)
	if err != nil {
		return nil, err
	}
	r := &recall{ctx: ctx, st: st, known: map[string]int{}}
	r.reach(Reached{Object: object, Why: Recalled})
	for i := 0; i < len(r.out); i++ {
		if len(r.out) > maxReach {
			return nil, fmt.Errorf("more than %d objects are reached; recall a part", maxReach)
		}
		if err := r.follow(r.out[i]); err != nil {
			return nil, err
		}
	}
	return r.out, nil
}

type recall struct {
	ctx   context.Context
	st    *store.Store
	out   []Reached
	known map[string]int // place in out, by object
}

// reach adds an object, or has a carrier of something reached be reached itself.
func (r *recall) reach(x Reached) {
	i, there := r.known[x.Object]
	switch {
	case !there:
		r.known[x.Object] = len(r.out)
		r.out = append(r.out, x)
	case r.out[i].Why == Carrying && x.Why != Carrying: // seen again by follow
		r.known[x.Object] = len(r.out)
		r.out = append(r.out, x)
	}
}

// follow goes on from one object, one event.
func (r *recall) follow(from Reached) error {
	places, err := r.st.EventsOf(r.ctx, from.Object, ongoing)
	if err != nil {
		return err
	}
	for _, p := range places {
		e, err := r.st.EventAt(r.ctx, p.Index)
		if err != nil {
			return err
		}
		row, err := r.st.Statement(r.ctx, p.Index)
		if err != nil {
			return err
		}
		at := Reached{Of: from.Object, Depth: from.Depth, EventID: e.ID, Statement: row.ID.String(), At: e.At, Place: e.Place}
		switch {
		case from.Why == Carrying && from.Unpacked: // what it held is out again
		case e.Action == statement.Transform && p.List == uint64(statement.ListInputs):
			at.Why, at.Depth = MadeFrom, from.Depth+1
			err = r.all(p.Index, uint64(statement.ListItems), at)
		case e.Action == statement.Pack && p.List == uint64(statement.ListItems):
			at.Why = Carrying
			if at.Unpacked, err = takenOut(r.ctx, r.st, from.Object, p.Index); err == nil {
				err = r.all(p.Index, 5, at)
			}
		case e.Action == statement.Pack && p.List == 5 && from.Why != Carrying:
			at.Why = PackedIn
			err = r.all(p.Index, uint64(statement.ListItems), at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// all reaches the objects of one list of an event.
func (r *recall) all(index, list uint64, as Reached) error {
	objects, err := r.st.EventObjects(r.ctx, index)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if o.List == list {
			as.Object = o.Object
			r.reach(as)
		}
	}
	return nil
}

// takenOut reports whether an event after a packing takes an object out of its
// parent again.
func takenOut(ctx context.Context, st *store.Store, object string, pack uint64) (bool, error) {
	packed, err := st.EventObjects(ctx, pack)
	if err != nil || len(packed) == 0 || packed[0].List != 5 {
		return false, err
	}
	places, err := st.EventsOf(ctx, packed[0].Object, ongoing)
	if err != nil {
		return false, err
	}
	for _, p := range places {
		if p.Index <= pack || p.List != 5 {
			continue
		}
		e, err := st.EventAt(ctx, p.Index)
		if err != nil {
			return false, err
		}
		if e.Action != statement.Unpack {
			continue
		}
		children, err := st.EventObjects(ctx, p.Index)
		if err != nil {
			return false, err
		}
		all := len(children) == 1 // the parent alone
		if all || slices.ContainsFunc(children, func(c store.EventObject) bool { return c.List == uint64(statement.ListItems) && c.Object == object }) {
			return true, nil
		}
	}
	return false, nil
}
