package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"trailmark/gateway/internal/epcis/document"
	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// An Event is a captured event: its statement, and what only the gateway has of it.
type Event struct {
	Statement *statement.Statement
	Private   Private
}

// Private is what an event's statement does not carry. The leaves are what later
// shows an object without its siblings; the document and the seed may be erased.
type Private struct {
	// ID and Corrects are as in store.Event, for when the document is gone.
	ID       string `json:"id,omitempty"`
	Corrects string `json:"corrects,omitempty"`

	Doc    []byte          `json:"doc,omitempty"` // as document.Event gives it
	Seed   []byte          `json:"seed,omitempty"`
	Items  statement.Items `json:"items,omitempty"`
	Inputs statement.Items `json:"inputs,omitempty"`
}

// list is a list of an event as it is signed and as it is held.
type list struct {
	key    statement.ItemList
	root   *statement.ItemsRoot
	leaves statement.Items
}

func (p Private) lists(e *statement.Event) []list {
	return []list{{statement.ListItems, e.Items, p.Items}, {statement.ListInputs, e.Inputs, p.Inputs}}
}

// A Capture is a transaction in which events are stored. It ends with the function
// that it was given to.
type Capture struct {
	in    *Ingest
	tx    *store.Tx
	added []Event
}

// Capture runs fn in one transaction, keep before it is committed, with what fn
// added. When it returns nil every event is durable, with its document, seed and
// leaves; when not, none is.
func (in *Ingest) Capture(ctx context.Context, fn func(*Capture) error, keep func([]Event) error) error {
	in.adding.Lock()
	defer in.adding.Unlock()
	return in.store.Update(ctx, func(tx *store.Tx) error {
		c := &Capture{in: in, tx: tx}
		if err := fn(c); err != nil {
			return err
		}
		return keep(c.added)
	})
}

// Last is the statement id of an object's newest event, zeros for none.
func (c *Capture) Last(object string) (statement.Hash, error) { return c.tx.LastEvent(object) }

// Known is the stored event with an eventID, or store.ErrNotFound.
func (c *Capture) Known(id string) (store.Event, error) { return c.tx.EventByID(id) }

// ID is the statement id at a ledger index.
func (c *Capture) ID(index uint64) (statement.Hash, error) {
	row, err := c.tx.Statement(index)
	return row.ID, err
}

// Corrections are the stored events that declare the one with this id wrong.
func (c *Capture) Corrections(id string) ([]store.Event, error) { return c.tx.Corrections(id) }

// Job keeps what is told of the capture later on.
func (c *Capture) Job(id string, job []byte) error {
	return c.tx.AddCapture(id, c.in.now().UnixMilli(), job)
}

// Add stores an event behind those that are stored. It refuses one whose statement
// says something else than its document, whose leaves are not those that it signs,
// or that does not follow each object's newest event; nothing has changed then.
// It returns the ledger index.
func (c *Capture) Add(e Event) (uint64, error) {
	signed, doc, err := c.in.checkEvent(e)
	if err != nil {
		return 0, err
	}
	if doc == nil {
		return 0, errors.New("event without its document")
	}
	objects, err := eventObjects(signed, e.Private)
	if err != nil {
		return 0, err
	}
	if err := agree(signed, doc, objects); err != nil {
		return 0, err
	}
	for _, o := range objects {
		last, err := c.tx.LastEvent(o.Object)
		if err != nil {
			return 0, err
		}
		if o.Prev != last {
			return 0, fmt.Errorf("event names %.8s… before it of %s, stored is %.8s…", o.Prev, o.Object, last)
		}
	}
	index, err := c.in.storeEvent(c.tx, e, signed, doc, objects)
	if err == nil {
		c.added = append(c.added, e)
	}
	return index, err
}

// Restore stores an event that the ledger has already, with what is left of its
// private part: nothing, if that was lost. It checks that part against what is
// signed, and no order: that is the ledger's.
func (in *Ingest) Restore(ctx context.Context, e Event) error {
	in.adding.Lock()
	defer in.adding.Unlock()
	signed, doc, err := in.checkEvent(e)
	if err != nil {
		return err
	}
	if e.Private.Items == nil && signed.Items.Size > 0 || e.Private.Inputs == nil && signed.Inputs != nil {
		e.Private, doc = Private{ID: e.Private.ID, Corrects: e.Private.Corrects}, nil
		signed.Items, signed.Inputs = nil, nil // nothing is held of them
	}
	objects, err := eventObjects(signed, e.Private)
	if err != nil {
		return err
	}
	return in.store.Update(ctx, func(tx *store.Tx) error {
		known, err := tx.Has(e.Statement.ID())
		if err != nil || known {
			return err
		}
		_, err = in.storeEvent(tx, e, signed, doc, objects)
		return err
	})
}

// checkEvent verifies the statement, and the document by its hash; it is nil when
// it is not held.
func (in *Ingest) checkEvent(e Event) (*statement.Event, *document.Event, error) {
	in.mu.RLock()
	_, err := in.ring.Verify(e.Statement)
	in.mu.RUnlock()
	if err != nil {
		return nil, nil, err
	}
	signed, err := e.Statement.Event()
	if err != nil {
		return nil, nil, err
	}
	if signed.Version != 2 {
		return nil, nil, fmt.Errorf("event of version %d, want 2", signed.Version)
	}
	if e.Private.Doc == nil {
		return signed, nil, nil
	}
	if sum := statement.Hash(sha256.Sum256(e.Private.Doc)); sum != signed.Document {
		return nil, nil, fmt.Errorf("document with hash %.8s…, signed is %.8s…", sum, signed.Document)
	}
	doc, err := document.ParseEvent(e.Private.Doc)
	return signed, doc, err
}

// eventObjects are an event's objects, those of lists from leaves that must give
// the signed roots.
func eventObjects(signed *statement.Event, p Private) (out []store.EventObject, err error) {
	for i, o := range signed.Objects {
		out = append(out, store.EventObject{Object: o.Object, List: 5, N: i, Prev: o.Prev})
	}
	for _, l := range p.lists(signed) {
		if l.root == nil {
			if len(l.leaves) > 0 {
				return nil, fmt.Errorf("%d leaves of list %d, which is not signed", len(l.leaves), l.key)
			}
			continue
		}
		if got := l.leaves.Root(); got.Root != l.root.Root || got.Size != l.root.Size {
			return nil, fmt.Errorf("%d leaves of list %d give root %.8s…, signed are %d with %.8s…", got.Size, l.key, got.Root, l.root.Size, l.root.Root)
		}
		for i, leaf := range l.leaves {
			x, err := statement.ParseItem(leaf)
			if err != nil {
				return nil, fmt.Errorf("leaf %d of list %d: %w", i, l.key, err)
			}
			out = append(out, store.EventObject{Object: x.Object, List: uint64(l.key), N: i, Prev: x.Prev, Leaf: leaf})
		}
	}
	return out, nil
}

// agree refuses an event whose document says something else than is signed.
func agree(signed *statement.Event, doc *document.Event, objects []store.EventObject) error {
	m := doc.Members
	if signed.Action != m.Action || signed.At != m.At || signed.Place != m.Place || signed.Step != m.Step {
		return fmt.Errorf("signed are action %d at %d ms, %q, %q; the document says action %d at %d ms, %q, %q",
			signed.Action, signed.At, signed.Place, signed.Step, m.Action, m.At, m.Place, m.Step)
	}
	var want []document.Object
	for _, name := range m.Named {
		want = append(want, document.Object{Name: name})
	}
	want = append(append(want, m.Items...), m.Inputs...)
	if len(want) != len(objects) || len(m.Named) != len(signed.Objects) || uint64(len(m.Items)) != signed.Items.Size {
		return fmt.Errorf("signed are %d objects, the document has %d", len(objects), len(want))
	}
	for i, o := range objects {
		var tid []byte
		if o.Leaf != nil {
			x, err := statement.ParseItem(o.Leaf)
			if err != nil {
				return err
			}
			tid = x.TID
		}
		if o.Object != want[i].Name || !bytes.Equal(tid, want[i].TID) {
			return fmt.Errorf("object %d signed is %q with TID %x, the document says %q with %x", i, o.Object, tid, want[i].Name, want[i].TID)
		}
	}
	return nil
}

func (in *Ingest) storeEvent(tx *store.Tx, e Event, signed *statement.Event, doc *document.Event, objects []store.EventObject) (uint64, error) {
	next, err := tx.Next()
	if err != nil {
		return 0, err
	}
	s := e.Statement
	if err := tx.AddStatement(store.Statement{Index: next, ID: s.ID(), Kind: s.Header.Kind, KeyID: s.Header.KeyID,
		Received: in.now().UnixMilli(), Data: s.Bytes()}); err != nil {
		return 0, err
	}
	row := EventRow(next, signed, doc)
	if row.Seed = e.Private.Seed; doc == nil {
		row.ID, row.Corrects, row.Seed = e.Private.ID, e.Private.Corrects, nil
	}
	return next, tx.AddEvent(row, objects)
}

// EventRow is what is stored of an event beside its seed; doc is nil where it is
// not held.
func EventRow(index uint64, signed *statement.Event, doc *document.Event) store.Event {
	row := store.Event{Index: index, Action: signed.Action, At: signed.At, Place: signed.Place, Step: signed.Step}
	if doc == nil {
		return row
	}
	row.Doc, row.Type, row.Verb, row.Disposition = doc.Document(), doc.Type, doc.Verb, doc.Disposition
	row.ReadPoint, row.BizLocation, row.Parent = doc.ReadPoint, doc.BizLocation, doc.Parent
	if doc.IsError() {
		row.Corrects = doc.ID
	} else {
		row.ID = doc.ID
	}
	return row
}

// Forget erases an event's document and seed. It reports whether there was one.
func (in *Ingest) Forget(ctx context.Context, id string) (found bool, err error) {
	err = in.store.Update(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.EraseEvent(id)
		return err
	})
	return found, err
}

// transfer stores whom a handover or an acceptance names, in the transaction that
// stores the statement.
func transfer(tx *store.Tx, index uint64, s *statement.Statement) error {
	t, objects, err := Transfer(index, s)
	if err != nil {
		return err
	}
	return tx.AddTransfer(t, objects)
}

// Transfer is what is stored of a handover or an acceptance, and the names of its
// objects in the spelling of events.
func Transfer(index uint64, s *statement.Statement) (store.Transfer, []string, error) {
	t := store.Transfer{Index: index}
	var objects []string
	if s.Header.Kind == statement.KindHandover {
		h, err := s.Handover()
		if err != nil {
			return t, nil, err
		}
		t.At, t.Giver, t.Taker, objects = h.At, s.Header.Issuer, h.To, h.Objects
	} else {
		a, err := s.Acceptance()
		if err != nil {
			return t, nil, err
		}
		t.At, t.Giver, t.Taker, t.Handover, objects = a.At, a.From, s.Header.Issuer, &a.Handover, a.Objects
	}
	names := make([]string, len(objects))
	for i, o := range objects {
		names[i] = o
		if name, err := document.ObjectName(o); err == nil {
			names[i] = name
		}
	}
	return t, names, nil
}
