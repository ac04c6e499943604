package enrol

import (
	"testing"
	"time"

	"trailmark/statement"
)

// TestKeyStatus: one a day, one more when a device joins, none without the
// authority's key.
func TestKeyStatus(t *testing.T) {
	o, keys, claims := newOffice(t)
	now := time.Now()
	keys.now = func() time.Time { return now }
	issue := func(want bool) {
		t.Helper()
		got, err := o.KeyStatus(t.Context(), 7)
		if err != nil || got != want {
			t.Fatalf("issued %v, %v; want %v", got, err, want)
		}
	}
	newest := func() *statement.KeyStatus {
		t.Helper()
		rows, err := o.store.Kind(t.Context(), statement.KindKeyStatus)
		if err != nil {
			t.Fatal(err)
		}
		s, err := statement.Parse(rows[len(rows)-1].Data)
		if err != nil {
			t.Fatal(err)
		}
		k, err := s.KeyStatus()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	issue(true)
	issue(false)
	if k := newest(); len(k.InForce) != 2 || k.Size != 7 || k.At != now.UnixMilli() || k.Origin != o.org.Origin {
		t.Errorf("first status %+v, want site and brand", k)
	}
	claim(t, claims, "ABC-DEF-GHJ", "cold1")
	if _, err := o.Enrol(t.Context(), envelope(t, key(7), func(*Request) {})); err != nil {
		t.Fatal(err)
	}
	issue(true)
	if k := newest(); len(k.InForce) != 3 {
		t.Errorf("%d keys in force after a device joined, want 3", len(k.InForce))
	}
	now = now.Add(statusEvery)
	issue(true)
	issue(false)
	now = now.Add(validity + statusEvery)
	issue(true)
	if k := newest(); len(k.InForce) != 0 {
		t.Errorf("%d keys in force after all of them ran out", len(k.InForce))
	}
	keys.Authority = nil
	now = now.Add(statusEvery)
	issue(false)
}
