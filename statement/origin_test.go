package statement

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"
)

func TestOrigin(t *testing.T) {
	o, err := ParseOrigin("trace.acme.example/acme/2026h2")
	if err != nil || o != (Origin{"trace.acme.example/acme", 2026, 2}) {
		t.Fatalf("%+v, %v", o, err)
	}
	if n := o.Next(); n.String() != "trace.acme.example/acme/2027h1" || n.Next().String() != "trace.acme.example/acme/2027h2" {
		t.Errorf("after %s comes %s, then %s", o, n, n.Next())
	}
	if got := o.End(); !got.Equal(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%s ends at %s", o, got)
	}
	if got := o.Next().End(); !got.Equal(time.Date(2027, 7, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%s ends at %s", o.Next(), got)
	}
	// The boundary is UTC's, whatever the zone of the clock.
	for at, want := range map[string]string{
		"2026-06-30T23:59:59.999Z": "2026h1", "2026-07-01T00:00:00Z": "2026h2", "2026-07-01T07:59:59+08:00": "2026h1", "2026-12-31T23:00:00-05:00": "2027h1",
	} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := OriginAt("d/t", when).Name(); got != want {
			t.Errorf("%s is in %s, want %s", at, got, want)
		}
	}
	for _, bad := range []string{"", "d/t", "t/2026h1", "d/t/2026h3", "d/t/2026h0", "d/t/026h1", "d/t/02026h1", "d/t/2026h1 ", "d t/x/2026h1", "d/t+x/2026h1", "d/t/2026H1",
		strings.Repeat("d", MaxText) + "/t/2026h1"} {
		if o, err := ParseOrigin(bad); err == nil {
			t.Errorf("%q is taken for %+v", bad, o)
		}
	}
}

func TestSuccessor(t *testing.T) {
	for _, c := range []struct {
		earlier, later string
		want           bool
	}{
		{"d/t/2026h1", "d/t/2026h2", true}, {"d/t/2026h2", "d/t/2027h1", true}, {"d/t/2026h2", "d/t/2031h2", true},
		{"d/t/2026h2", "d/t/2026h2", false}, {"d/t/2027h1", "d/t/2026h2", false}, {"d/t/2026h2", "d/u/2027h1", false},
		{"d/t/2026h2", "e/t/2027h1", false}, {"d/t/2026h2", "d/t/2027h3", false}, {"something", "d/t/2027h1", false},
	} {
		if got := Successor(c.earlier, c.later); got != c.want {
			t.Errorf("%s may follow %s: %v", c.later, c.earlier, got)
		}
	}
	if got, ok := OriginOf("d/t/2026h2", sha256.Sum256([]byte("d/t/2031h1"))); !ok || got != "d/t/2031h1" {
		t.Errorf("%q %v", got, ok)
	}
	if got, ok := OriginOf("d/t/2026h2", sha256.Sum256([]byte("d/t/2026h1"))); ok {
		t.Errorf("an earlier one is found: %s", got)
	}
}
