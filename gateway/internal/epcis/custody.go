package epcis

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"trailmark/gateway/internal/epcis/document"
	"trailmark/gateway/internal/store"
	"trailmark/internal/epc"
	"trailmark/statement"
	"trailmark/trace"
)

// Where is the zone in which an object was seen last.
type Where struct {
	Site string // the plan's issuer
	Zone statement.Zone
	At   int64 // ms
}

// ErrUnseen says that no device saw an object in a zone.
var ErrUnseen = errors.New("no device saw it in a zone")

// LastSeen is where an object, or the carrier that it was packed into last, was seen
// last.
func LastSeen(ctx context.Context, st *store.Store, name string) (Where, error) {
	name, err := document.ObjectName(name)
	if err != nil {
		return Where{}, err
	}
	var best Where
	for depth := 0; name != "" && depth < 4; depth++ {
		if object, err := epc.ParseObject(name); err == nil {
			w, err := lastSeen(ctx, st, object)
			if err != nil {
				return best, err
			}
			if w.At > best.At {
				best = w
			}
		}
		if name, err = carrier(ctx, st, name); err != nil {
			return best, err
		}
	}
	if best.At == 0 {
		return best, ErrUnseen
	}
	return best, nil
}

func lastSeen(ctx context.Context, st *store.Store, object epc.Object) (Where, error) {
	found, err := Sightings(ctx, st, object)
	if err != nil {
		return Where{}, err
	}
	for i := len(found) - 1; i >= 0; i-- {
		s := found[i]
		row, err := st.Statement(ctx, s.Index)
		if err != nil {
			return Where{}, err
		}
		parsed, err := statement.Parse(row.Data)
		if err != nil {
			return Where{}, fmt.Errorf("stored statement %d: %w", s.Index, err)
		}
		f, err := parsed.Frame()
		if err != nil {
			return Where{}, err
		}
		if f.Plan.IsZero() || f.Basis() != trace.Wall {
			continue
		}
		signed, err := st.StatementByID(ctx, f.Plan)
		if err != nil {
			return Where{}, err
		}
		if parsed, err = statement.Parse(signed.Data); err != nil {
			return Where{}, err
		}
		plan, err := parsed.Plan()
		if err != nil {
			return Where{}, err
		}
		if id, _, ok := plan.Antenna(s.KeyID, s.Antenna); ok {
			zone, _ := plan.Zone(id)
			return Where{parsed.Header.Issuer, zone, s.Last}, nil
		}
	}
	return Where{}, nil
}

// carrier is what an object was packed into by its newest event that packs or
// unpacks it, "" for nothing.
func carrier(ctx context.Context, st *store.Store, name string) (string, error) {
	places, err := st.EventsOf(ctx, name, ongoing)
	if err != nil {
		return "", err
	}
	for i := len(places) - 1; i >= 0; i-- {
		e, err := st.EventAt(ctx, places[i].Index)
		if err != nil {
			return "", err
		}
		if places[i].List != uint64(statement.ListItems) || e.Action != statement.Pack && e.Action != statement.Unpack {
			continue
		}
		objects, err := st.EventObjects(ctx, places[i].Index)
		if err != nil || e.Action == statement.Unpack || len(objects) == 0 {
			return "", err
		}
		if out, err := takenOut(ctx, st, name, places[i].Index); err != nil || out {
			return "", err
		}
		return objects[0].Object, nil // list 5 comes first
	}
	return "", nil
}

// maxMoments is how many a change of custody may hold.
const maxMoments = 16

// Moments are the newest heads of the channels of a zone: the temperature digest
// that a custodian signs. A channel that has no trace has none.
func Moments(ctx context.Context, st *store.Store, w Where) ([]statement.Moment, error) {
	var out []statement.Moment
	for _, ch := range w.Zone.Channels {
		traces, err := st.Traces(ctx, ch.Device)
		if err != nil {
			return nil, err
		}
		for _, t := range traces {
			if t.Channel != ch.Name || t.Frontier.Size == 0 || len(out) == maxMoments {
				continue
			}
			head, err := t.Frontier.Head()
			if err != nil {
				return nil, fmt.Errorf("channel %s: %w", ch.Name, err)
			}
			out = append(out, statement.Moment{Device: ch.Device, Channel: ch.Name, Head: head})
		}
	}
	return out, nil
}

// Handover says that objects are given to somebody, with the moments of the zone
// where they were seen last; of objects that nobody saw there are none.
func Handover(ctx context.Context, st *store.Store, objects []string, to, place string, at time.Time) (*statement.Handover, error) {
	names, err := objectNames(objects)
	if err != nil {
		return nil, err
	}
	if _, err := document.ObjectName(to); err != nil {
		return nil, problemf(http.StatusBadRequest, validation, "to %q: %v\nhint: whom the taker's key speaks as, https://trace.acme.example/417/acme", to, err)
	}
	moments, err := momentsOf(ctx, st, names)
	if err != nil {
		return nil, err
	}
	h := statement.NewHandover(names, at.UnixMilli(), to, place, moments...)
	if err := h.Check(); err != nil {
		return nil, problemf(http.StatusBadRequest, validation, "%v", err)
	}
	return h, nil
}

// Acceptance says that issuer took over what a handover names, with the moments of
// now.
func Acceptance(ctx context.Context, st *store.Store, handover statement.Hash, issuer string, at time.Time) (*statement.Acceptance, error) {
	row, err := st.StatementByID(ctx, handover)
	if errors.Is(err, store.ErrNotFound) {
		return nil, problemf(http.StatusNotFound, notFound, "no handover %s is known here\nhint: gateway handover prints the id", handover)
	} else if err != nil {
		return nil, err
	}
	s, err := statement.Parse(row.Data)
	if err != nil {
		return nil, err
	}
	if s.Header.Kind != statement.KindHandover {
		return nil, problemf(http.StatusBadRequest, validation, "statement %.16s… is a %s, no handover", handover, s.Header.Kind)
	}
	h, err := s.Handover()
	if err != nil {
		return nil, err
	}
	if h.To != issuer {
		return nil, problemf(http.StatusBadRequest, validation, "handover %.16s… is to %s, this organisation is %s\nhint: only whom a handover names accepts it", handover, h.To, issuer)
	}
	moments, err := momentsOf(ctx, st, h.Objects)
	if err != nil {
		return nil, err
	}
	a := statement.NewAcceptance(h.Objects, max(at.UnixMilli(), h.At), s.Header.Issuer, handover, moments...)
	if err := a.Check(); err != nil {
		return nil, problemf(http.StatusBadRequest, validation, "%v", err)
	}
	return a, nil
}

func objectNames(objects []string) ([]string, error) {
	if len(objects) < 1 || len(objects) > 256 {
		return nil, problemf(http.StatusBadRequest, validation, "%d objects, want 1 to 256", len(objects))
	}
	out := make([]string, len(objects))
	for i, o := range objects {
		name, err := document.ObjectName(o)
		if err != nil {
			return nil, problemf(http.StatusBadRequest, validation, "object %q: %v", o, err)
		}
		out[i] = name
	}
	return out, nil
}

// momentsOf are the moments of the one zone in which objects were seen last.
func momentsOf(ctx context.Context, st *store.Store, names []string) ([]statement.Moment, error) {
	var at Where
	for _, n := range names {
		w, err := LastSeen(ctx, st, n)
		if errors.Is(err, ErrUnseen) {
			continue
		} else if err != nil {
			return nil, err
		}
		if at.At > 0 && (w.Site != at.Site || w.Zone.ID != at.Zone.ID) {
			return nil, problemf(http.StatusBadRequest, validation, "%s was seen last in zone %s, another of the objects in %s\nhint: hand them over apart", n, w.Zone.ID, at.Zone.ID)
		}
		at = w
	}
	if at.At == 0 {
		return nil, nil
	}
	return Moments(ctx, st, at)
}

// ParseID reads a statement id in hex.
func ParseID(s string) (id statement.Hash, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, problemf(http.StatusBadRequest, validation, "%.80q is no statement id of %d hex digits", s, 2*len(id))
	}
	copy(id[:], b)
	return id, nil
}
