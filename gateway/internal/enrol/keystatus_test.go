package enrol

import (
	"errors"
	"net/http"
	"strings"
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
		got, err := o.KeyStatus(t.Context(), o.org.Origin, 7)
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
	if k := newest(); len(k.InForce) != 3 || k.Size != 7 || k.At != now.UnixMilli() || k.Origin != o.org.Origin {
		t.Errorf("first status %+v, want site, brand and organisation", k)
	}
	claim(t, claims, "ABC-DEF-GHJ", "cold1")
	admit(t, o, "ABC-DEF-GHJ", 7)
	issue(true)
	if k := newest(); len(k.InForce) != 4 {
		t.Errorf("%d keys in force after a device joined, want 4", len(k.InForce))
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

// take puts a revocation into the ledger, as a gateway does with its inbox.
func (o *Office) take(t *testing.T, s *statement.Statement, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.gate.Add(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// TestRevoke: what is revoked stays so in every later status, and the office
// answers the key no more.
func TestRevoke(t *testing.T) {
	o, keys, claims := newOffice(t)
	claim(t, claims, "ABC-DEF-GHJ", "cold1")
	first := admit(t, o, "ABC-DEF-GHJ", 7)
	claim(t, claims, "ABC-DEF-GHK", "cold2")
	second := admit(t, o, "ABC-DEF-GHK", 8)
	if _, err := o.KeyStatus(t.Context(), o.org.Origin, 7); err != nil {
		t.Fatal(err)
	}
	kid := first.Key.ID()
	if _, err := keys.Revoke(t.Context(), o.store, nil, keys.Site.Key().ID(), 0); err == nil || !strings.Contains(err.Error(), "is no device's here") {
		t.Errorf("revoking the site's key: %v", err)
	}
	s, err := keys.Revoke(t.Context(), o.store, nil, kid, 12)
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := s.KeyStatus()
	if err != nil {
		t.Fatal(err)
	}
	// The second is signed while the first is still on its way.
	next, err := keys.Revoke(t.Context(), o.store, []*statement.KeyStatus{waiting}, second.Key.ID(), 0)
	o.take(t, s, nil)
	o.take(t, next, err)
	late, err := keys.Revoke(t.Context(), o.store, nil, kid, 12)
	if late != nil || err == nil || !strings.Contains(err.Error(), "revoked from seq 12 on already") {
		t.Errorf("revoked twice: %v", err)
	}
	earlier, err := keys.Revoke(t.Context(), o.store, nil, kid, 3)
	o.take(t, earlier, err)
	if err := o.gate.Add(t.Context(), s); err == nil || !strings.Contains(err.Error(), "for ever") {
		t.Errorf("a status that eases a revocation: %v", err)
	}

	devices, err := Devices(t.Context(), o.store)
	if err != nil || len(devices) != 2 || devices[0].Revoked == nil || devices[0].Revoked.Seq != 3 || devices[1].Revoked == nil {
		t.Fatalf("devices %+v, %v", devices, err)
	}
	keys.now = func() time.Time { return time.Now().Add(2 * statusEvery) }
	if issued, err := o.KeyStatus(t.Context(), o.org.Origin, 9); err != nil || !issued {
		t.Fatalf("daily status: %v, %v", issued, err)
	}
	last, err := newestStatus(t.Context(), o.store)
	if err != nil || len(last.Revoked) != 2 || len(last.InForce) != 3 {
		t.Errorf("daily status %+v, %v; want two revoked, site, brand and organisation in force", last, err)
	}
	_, err = o.Admit(t.Context(), "ABC-DEF-GHJ", public(t, 7), "pi")
	refuses(t, err, http.StatusForbidden, "was revoked: its frames from seq 3 on are void")

	keys.Authority = nil
	if _, err := keys.Revoke(t.Context(), o.store, nil, kid, 0); !errors.Is(err, ErrNoAuthority) {
		t.Errorf("without the authority's key: %v", err)
	}
}
