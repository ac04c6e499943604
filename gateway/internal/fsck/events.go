package fsck

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"

	"trailmark/gateway/internal/epcis/document"
	"trailmark/gateway/internal/ingest"
	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// event derives again what is stored of an event, from its statement, the document
// with the signed hash and the leaves that give the signed roots.
func (c *checker) event(r *row, e *statement.Event) error {
	if e.Version != 2 {
		return nil
	}
	stored, err := query(c, "SELECT doc, seed, event_id, corrects FROM main.event WHERE idx = $1", r.idx)
	if err != nil {
		c.rowf("event", fmt.Sprint(r.idx), "%v", err)
		return c.keepEvent(r.idx)
	}
	want := ingest.EventRow(uint64(r.idx), e, nil)
	if len(stored) == 1 {
		want.Doc, want.Seed = bytesOf(stored[0][0]), bytesOf(stored[0][1])
		if want.Doc == nil { // erased, or never here: what was in it nobody knows, but for the id
			want.ID, _ = stored[0][2].(string)
			want.Corrects, _ = stored[0][3].(string)
			want.Seed = nil
		} else if doc, err := documentOf(e, want.Doc); err != nil {
			c.rowf("event", fmt.Sprint(r.idx), "doc: %v", err)
			if err := c.put("INSERT INTO want.event SELECT * FROM main.event WHERE idx = $1", r.idx); err != nil {
				return err
			}
			return c.eventObjects(r, e, nil)
		} else {
			seed := want.Seed
			want = ingest.EventRow(uint64(r.idx), e, doc)
			want.Seed = seed
		}
	}
	v := want.Values()
	if err := c.put("INSERT INTO want.event ("+store.EventColumns+") VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15)", v...); err != nil {
		return err
	}
	return c.eventObjects(r, e, want.Seed)
}

func documentOf(e *statement.Event, doc []byte) (*document.Event, error) {
	if sum := statement.Hash(sha256.Sum256(doc)); sum != e.Document {
		return nil, fmt.Errorf("has hash %.16s…, signed is %.16s…", sum, e.Document)
	}
	return document.ParseEvent(doc)
}

// eventObjects derives an event's objects and checks that each follows the event
// that was its newest one.
func (c *checker) eventObjects(r *row, e *statement.Event, seed []byte) error {
	var objects []store.EventObject
	for i, o := range e.Objects {
		objects = append(objects, store.EventObject{Object: o.Object, List: 5, N: i, Prev: o.Prev})
	}
	for _, l := range []struct {
		key  statement.ItemList
		root *statement.ItemsRoot
	}{{statement.ListItems, e.Items}, {statement.ListInputs, e.Inputs}} {
		if l.root == nil {
			continue
		}
		leaves, items, err := c.leaves(r.idx, l.key, *l.root)
		if err != nil {
			c.rowf("event_object", fmt.Sprintf("idx %d, list %d", r.idx, l.key), "%v", err)
			c.eventsLost = true
			if err := c.put("INSERT OR IGNORE INTO want.event_object SELECT * FROM main.event_object WHERE idx = $1 AND list = $2", r.idx, int64(l.key)); err != nil {
				return err
			}
			continue
		}
		if seed != nil {
			if err := salted(seed, l.key, leaves, items); err != nil {
				c.rowf("event", fmt.Sprint(r.idx), "seed: %v", err)
			}
		}
		for i, x := range items {
			objects = append(objects, store.EventObject{Object: x.Object, List: uint64(l.key), N: i, Prev: x.Prev, Leaf: leaves[i]})
		}
	}
	for _, o := range objects {
		if err := c.follows(r, o); err != nil {
			return err
		}
		if err := c.put("INSERT INTO want.event_object (object, idx, list, n, prev, leaf) VALUES ($1,$2,$3,$4,$5,$6)", o.Object, r.idx, int64(o.List), o.N, o.Prev[:], o.Leaf); err != nil {
			return err
		}
	}
	return nil
}

// leaves are those of one list, if they give the signed root.
func (c *checker) leaves(idx int64, key statement.ItemList, root statement.ItemsRoot) (leaves statement.Items, items []*statement.Item, err error) {
	rows, err := query(c, "SELECT leaf FROM main.event_object WHERE idx = $1 AND list = $2 ORDER BY n", idx, int64(key))
	if err != nil {
		return nil, nil, err
	}
	for _, v := range rows {
		leaves = append(leaves, bytesOf(v[0]))
	}
	if got := leaves.Root(); got.Root != root.Root || got.Size != root.Size {
		return nil, nil, fmt.Errorf("%d leaves give root %.16s…, signed are %d with %.16s…", got.Size, got.Root, root.Size, root.Root)
	}
	for i, leaf := range leaves {
		x, err := statement.ParseItem(leaf)
		if err != nil {
			return nil, nil, fmt.Errorf("leaf %d: %w", i, err)
		}
		items = append(items, x)
	}
	return leaves, items, nil
}

// salted checks that a seed gives the salts of leaves.
func salted(seed []byte, key statement.ItemList, leaves statement.Items, items []*statement.Item) error {
	if len(seed) != 32 {
		return fmt.Errorf("has %d bytes, want 32", len(seed))
	}
	plain := make([]statement.Item, len(items))
	for i, x := range items {
		plain[i] = *x
	}
	again, err := statement.NewItems([32]byte(seed), key, plain...)
	if err != nil {
		return err
	}
	for i := range again {
		if !bytes.Equal(again[i], leaves[i]) {
			return fmt.Errorf("does not give the salt of leaf %d of list %d", i, key)
		}
	}
	return nil
}

// follows checks the chain of one object. After a row that is missing or damaged
// nobody knows what it should be.
func (c *checker) follows(r *row, o store.EventObject) error {
	if c.torn || c.eventsLost {
		return nil
	}
	var last statement.Hash
	var id []byte
	err := c.conn.QueryRowContext(c.ctx, "SELECT id FROM main.statement WHERE idx = (SELECT MAX(idx) FROM want.event_object WHERE object = $1 AND idx < $2)", o.Object, r.idx).Scan(&id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("scratch database: %w", err)
	}
	copy(last[:], id)
	if o.Prev != last {
		c.statementf(r.idx, "data: event names %.16s… before it of %s, stored is %.16s…", o.Prev, o.Object, last)
	}
	return nil
}

// keepEvent takes what is stored of an event as it stands, for its statement does
// not say what it should be.
func (c *checker) keepEvent(idx int64) error {
	for _, table := range []string{"event", "event_object", "transfer", "transfer_object"} {
		if err := c.put("INSERT OR IGNORE INTO want."+table+" SELECT * FROM main."+table+" WHERE idx = $1", idx); err != nil {
			return err
		}
	}
	return nil
}

// transfer derives what is stored of a handover or an acceptance.
func (c *checker) transfer(r *row) error {
	t, objects, err := ingest.Transfer(uint64(r.idx), r.s)
	if err != nil {
		return err
	}
	var handover []byte
	if t.Handover != nil {
		handover = t.Handover[:]
	}
	if err := c.put("INSERT INTO want.transfer (idx, at, giver, taker, handover) VALUES ($1,$2,$3,$4,$5)", r.idx, t.At, t.Giver, t.Taker, handover); err != nil {
		return err
	}
	for _, o := range objects {
		if err := c.put("INSERT OR IGNORE INTO want.transfer_object (object, idx) VALUES ($1,$2)", o, r.idx); err != nil {
			return err
		}
	}
	return nil
}
