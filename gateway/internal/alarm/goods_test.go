package alarm

import (
	"testing"

	"trailmark/gateway/internal/diversion"
	"trailmark/gateway/internal/store"
)

// TestGoods: a finding of goods is an alarm once, further ones of the object count
// while it is open, and the built-in rules know every kind.
func TestGoods(t *testing.T) {
	w := newWorld(t, 1)
	const item = "https://id.gs1.org/01/09521234543213/21/1001"
	find := func(id byte, kind diversion.Kind, object string) {
		t.Helper()
		if err := w.st.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.AddFinding(store.Finding{ID: []byte{id}, Kind: string(kind), Object: object, At: 1_790_000_000_000, Found: int64(id), Detail: []byte("{}")})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		w.judge()
		w.judge()
	}
	find(1, diversion.AnotherTag, item)
	a := w.count(1)[0]
	if a.Rule != "another-tag" || a.Device != item || a.Ended != 0 || a.Basis != 1 || a.Start != 1_790_000_000_000 {
		t.Errorf("%+v", a)
	}
	find(2, diversion.AnotherTag, item)
	if a := w.count(1)[0]; a.Count != 2 {
		t.Errorf("a second tag more: %+v", a)
	}
	find(3, diversion.TooFar, item)
	find(4, diversion.Unexpected, item)
	find(5, diversion.AnotherTag, item+"1")
	w.count(4)
}
