package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"trailmark/statement"
)

// addEvent stores an event with a statement of its own.
func addEvent(t *testing.T, s *Store, e Event, objects ...EventObject) {
	t.Helper()
	if err := s.Update(t.Context(), func(tx *Tx) error {
		if err := tx.AddStatement(Statement{Index: e.Index, ID: statement.Hash{byte(e.Index + 1)}, Kind: statement.KindEvent, Received: 1000 + int64(e.Index), Data: []byte{byte(e.Index)}}); err != nil {
			return err
		}
		return tx.AddEvent(e, objects)
	}); err != nil {
		t.Fatal(err)
	}
}

func item(object string, n int) EventObject {
	return EventObject{Object: object, List: 6, N: n, Leaf: []byte{1}}
}

func indexes(es []Event) (out []uint64) {
	for _, e := range es {
		out = append(out, e.Index)
	}
	return out
}

// TestEvents: each filter by itself and pages of any size give the same events in
// order of their time, and what was erased is found no more, but by its object.
func TestEvents(t *testing.T) {
	s := open(t, t.TempDir())
	for i, e := range []Event{
		{At: 50, ID: "a", Type: "ObjectEvent", Verb: "ADD", Step: "commissioning", Disposition: "active", ReadPoint: "r1"},
		{At: 20, ID: "b", Type: "ObjectEvent", Verb: "OBSERVE", Step: "receiving", BizLocation: "l1"},
		{At: 50, ID: "c", Type: "AggregationEvent", Verb: "ADD", Step: "packing", ReadPoint: "r2", Parent: "x"},
		{At: 70, Corrects: "a", Type: "ObjectEvent", Verb: "ADD", Step: "commissioning", ReadPoint: "r1"},
		{At: 90, ID: "d", Type: "TransformationEvent"},
	} {
		e.Index, e.Doc, e.Seed, e.Action = uint64(i), []byte("{}"), []byte("seed"), statement.Observe
		objects := []EventObject{item("x", 0), item(fmt.Sprint("y", i), 1)}
		if i == 2 {
			objects[0] = EventObject{Object: "x", List: 5}
		}
		addEvent(t, s, e, objects...)
	}
	yes, no := true, false
	for name, c := range map[string]struct {
		q    EventQuery
		want []uint64
	}{
		"all":         {EventQuery{}, []uint64{1, 0, 2, 3, 4}},
		"type":        {EventQuery{Types: []string{"AggregationEvent", "TransformationEvent"}}, []uint64{2, 4}},
		"verb":        {EventQuery{Verbs: []string{"ADD"}}, []uint64{0, 2, 3}},
		"step":        {EventQuery{Steps: []string{"receiving"}}, []uint64{1}},
		"disposition": {EventQuery{Dispositions: []string{"active"}}, []uint64{0}},
		"read point":  {EventQuery{ReadPoints: []string{"r1", "r2"}}, []uint64{0, 2, 3}},
		"location":    {EventQuery{BizLocations: []string{"l1"}}, []uint64{1}},
		"id":          {EventQuery{IDs: []string{"a", "d"}}, []uint64{0, 3, 4}},
		"from":        {EventQuery{From: 50}, []uint64{0, 2, 3, 4}},
		"to":          {EventQuery{To: 50}, []uint64{1}},
		"recorded":    {EventQuery{RecordedFrom: 1002, RecordedTo: 1004}, []uint64{2, 3}},
		"item":        {EventQuery{Objects: []ObjectMatch{{[]string{"x"}, []uint64{6}}}}, []uint64{1, 0, 3, 4}},
		"parent":      {EventQuery{Objects: []ObjectMatch{{[]string{"x"}, []uint64{5}}}}, []uint64{2}},
		"of parent":   {EventQuery{Parents: []string{"x"}}, []uint64{2}},
		"newest":      {EventQuery{Desc: true}, []uint64{4, 3, 2, 0, 1}},
		"other types": {EventQuery{NotTypes: []string{"ObjectEvent"}}, []uint64{2, 4}},
		"two objects": {EventQuery{Objects: []ObjectMatch{{[]string{"x"}, []uint64{5, 6}}, {[]string{"y1", "y3"}, []uint64{6}}}}, []uint64{1, 3}},
		"errors":      {EventQuery{Error: &yes}, []uint64{3}},
		"no errors":   {EventQuery{Error: &no, Verbs: []string{"ADD"}}, []uint64{0, 2}},
		"nothing":     {EventQuery{Steps: []string{"' OR 1=1 --"}}, nil},
	} {
		for limit := 1; limit <= 6; limit++ {
			var got []uint64
			for q := c.q; ; {
				q.Limit = limit
				page, err := s.Events(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, indexes(page)...)
				if len(page) < limit {
					break
				}
				q.AfterTime, q.AfterIndex = page[limit-1].At, page[limit-1].Index
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s, pages of %d: %v, want %v", name, limit, got, c.want)
			}
		}
	}
	if e, err := s.Event(t.Context(), "a"); err != nil || e.Index != 3 {
		t.Errorf("newest word on a: %d, %v", e.Index, err)
	}
	if err := s.Update(t.Context(), func(tx *Tx) error {
		for object, want := range map[string]statement.Hash{"x": {5}, "y1": {2}, "z": {}} {
			if got, err := tx.LastEvent(object); err != nil || got != want {
				t.Errorf("last event of %s: %v, %v", object, got, err)
			}
		}
		for _, want := range []bool{true, false} {
			if found, err := tx.EraseEvent("a"); err != nil || found != want {
				t.Errorf("erased: %v, %v", found, err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	left, err := s.Events(t.Context(), EventQuery{Limit: 10})
	if err != nil || !slices.Equal(indexes(left), []uint64{1, 2, 4}) {
		t.Errorf("left: %v, %v", indexes(left), err)
	}
	if e, err := s.EventAt(t.Context(), 0); err != nil || e.Doc != nil || e.Seed != nil || e.Type != "" || e.ReadPoint != "" || e.ID != "a" || e.Step != "commissioning" {
		t.Errorf("erased: %+v, %v", e, err)
	}
	if o, err := s.EventObjects(t.Context(), 0); err != nil || len(o) != 2 || o[0].Leaf == nil {
		t.Errorf("objects of what was erased: %v, %v", o, err)
	}
	if o, err := s.EventsOf(t.Context(), "x", 3); err != nil || len(o) != 3 || o[2].List != 5 || o[2].Leaf != nil {
		t.Errorf("events of x: %v, %v", o, err)
	}
	if names, err := s.Objects(t.Context(), "x", 2); err != nil || !slices.Equal(names, []string{"y0", "y1"}) {
		t.Errorf("objects: %v, %v", names, err)
	}
	if _, err := s.Distinct(t.Context(), "doc", "", 1); err == nil {
		t.Error("documents are listed")
	}
	// One id is one event's.
	err = s.Update(t.Context(), func(tx *Tx) error { return tx.AddEvent(Event{Index: 9, ID: "b"}, nil) })
	if err == nil {
		t.Error("two events with one id")
	}
}

// TestTransfers: of handover and acceptance, by object.
func TestTransfers(t *testing.T) {
	s := open(t, t.TempDir())
	id := statement.Hash{7}
	if err := s.Update(t.Context(), func(tx *Tx) error {
		if err := tx.AddTransfer(Transfer{Index: 3, At: 10, Giver: "g", Taker: "t"}, []string{"x", "y"}); err != nil {
			return err
		}
		if err := tx.AddCapture("j", 5, []byte("{}")); err != nil {
			return err
		}
		return tx.AddTransfer(Transfer{Index: 5, At: 11, Giver: "g", Taker: "t", Handover: &id}, []string{"x"})
	}); err != nil {
		t.Fatal(err)
	}
	got, err := s.TransfersOf(t.Context(), "x", 6)
	if err != nil || len(got) != 2 || got[0].Handover != nil || *got[1].Handover != id || got[1].Taker != "t" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := s.TransfersOf(t.Context(), "x", 5); err != nil || len(got) != 1 {
		t.Errorf("below an index: %+v, %v", got, err)
	}
	if job, err := s.Capture(t.Context(), "j"); err != nil || string(job) != "{}" {
		t.Errorf("%s, %v", job, err)
	}
	if _, err := s.Capture(t.Context(), "k"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}
