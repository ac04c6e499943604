package enrol

import (
	"strings"
	"testing"

	"trailmark/statement"
	"trailmark/trace"
)

// TestCustodian: the authority vouches for it, it speaks for itself alone, and asking
// again makes no other key.
func TestCustodian(t *testing.T) {
	_, keys, dir := newOffice(t)
	c, id, err := keys.Custodian(dir, "carrier", "zh-CN=物流,en=Carrier")
	if err != nil {
		t.Fatal(err)
	}
	ring := statement.NewKeyring("demo/test", keys.Authority.Key())
	if _, err := ring.Add(id); err != nil {
		t.Fatal(err)
	}
	h := statement.NewHandover([]string{"https://id.gs1.org/00/106141412345678908"}, 1_790_000_000_000, keys.org.Issuer(), "")
	s, err := c.Handover(h)
	if err != nil {
		t.Fatal(err)
	}
	by, err := ring.Verify(s)
	if err != nil || by.Name != "物流 · Carrier" || by.Subject != "https://trailmark.example/417/demo-carrier" || by.Role != statement.RoleOrganisation {
		t.Errorf("%+v, %v", by, err)
	}
	again, _, err := keys.Custodian(dir, "carrier", "en=Carrier")
	if err != nil || again.signer.Key().ID() != c.signer.Key().ID() {
		t.Errorf("asked again: %v, %v", again, err)
	}
	h.At = trace.MaxTime + 1
	if _, err := c.Handover(h); err == nil {
		t.Error("a handover out of bounds is signed")
	}
}

func TestCustodianRefuses(t *testing.T) {
	_, keys, dir := newOffice(t)
	for id, want := range map[string]string{"": "lower-case", "Carrier": "lower-case", "../x": "lower-case", "brand": "neither", strings.Repeat("x", 40): "lower-case"} {
		if _, _, err := keys.Custodian(dir, id, "en=X"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, _, err := keys.Custodian(dir, "carrier", "Carrier"); err == nil {
		t.Error("names without a language pass")
	}
	if _, err := LoadCustodian(dir, "nobody", keys.org); err == nil || !strings.Contains(err.Error(), "gateway custodian") {
		t.Errorf("a custodian that is not there: %v", err)
	}
	keys.Authority = nil
	if _, _, err := keys.Custodian(dir, "carrier", "en=X"); err == nil {
		t.Error("vouched for without the authority")
	}
}
