package enrol

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"trailmark/statement"
)

// TestJoin: a folder from before the organisation's key gets one, once, where the
// authority is there to vouch for it.
func TestJoin(t *testing.T) {
	dir := t.TempDir()
	org := Organisation{Tenant: "demo", Environment: "test", Domain: "trailmark.example", Site: "en=Site", Brand: "en=Brand", Origin: "trailmark.example/demo/2026h2"}
	if _, err := MakeKeys(dir, org, false, time.Now); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "organisation")); err != nil {
		t.Fatal(err)
	}
	keys, err := LoadKeys(dir, org, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	founding, err := keys.Founding()
	if err != nil || len(founding) != 2 || keys.Organisation != nil {
		t.Fatalf("%d identities, %v", len(founding), err)
	}
	items, err := statement.NewItems([32]byte{}, statement.ListItems, statement.Item{Object: "urn:x:1"})
	if err != nil {
		t.Fatal(err)
	}
	e := statement.NewEvent([]byte("{}"), statement.Observe, 1, items)
	if _, err := keys.Event(e); !errors.Is(err, ErrNoOrganisation) {
		t.Errorf("without a key: %v", err)
	}
	id, err := keys.Join(dir)
	if err != nil {
		t.Fatal(err)
	}
	ring := statement.NewKeyring(org.Audience(), keys.Authority.Key())
	who, err := ring.Add(id)
	if err != nil || who.Role != statement.RoleOrganisation || who.Subject != "https://trailmark.example/417/demo" {
		t.Fatalf("%+v, %v", who, err)
	}
	s, err := keys.Event(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Verify(s); err != nil {
		t.Error(err)
	}
	again, err := LoadKeys(dir, org, time.Now)
	if err != nil || again.Organisation.Key().ID() != keys.Organisation.Key().ID() {
		t.Errorf("another key after a restart: %v", err)
	}
	if founding, err := again.Founding(); err != nil || len(founding) != 3 {
		t.Errorf("%d identities, %v", len(founding), err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "authority")); err != nil {
		t.Fatal(err)
	}
	apart, err := LoadKeys(dir, org, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := apart.Join(dir); !errors.Is(err, ErrNoAuthority) {
		t.Errorf("nobody vouches: %v", err)
	}
}
