package enrol

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/gateway/internal/ingest"
	"trailmark/gateway/internal/store"
	"trailmark/internal/device"
	"trailmark/statement"
	"trailmark/trace"
)

// newOffice is an office with both authorities over a real store and ingest.
func newOffice(t testing.TB) (*Office, *Keys, string) {
	t.Helper()
	dir := t.TempDir()
	org := Organisation{Tenant: "demo", Environment: "test", Domain: "trailmark.example", Site: "en=Site", Brand: "en=Brand", Origin: "trailmark.example/demo/2026h2"}
	keys, err := MakeKeys(dir, org, true, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	org.Authority, org.SimAuthority = keys.Authority.Key().Encoded(), keys.Simulator.Key().Encoded()
	authorities, err := org.Authorities()
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	in, err := ingest.New(t.Context(), st, statement.NewKeyring(org.Audience(), authorities...), time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	founding, err := keys.Founding()
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Add(t.Context(), founding...); err != nil {
		t.Fatal(err)
	}
	claims := filepath.Join(dir, "claims")
	post := func(context.Context, statement.Hash, []byte) error { return nil }
	o, err := NewOffice(org, keys, st, in, claims, "mqtts://127.0.0.1:8883", keys.Authority.Key(), post)
	if err != nil {
		t.Fatal(err)
	}
	return o, keys, claims
}

func claim(t testing.TB, dir, code, zone string, change ...func(*Claim)) {
	t.Helper()
	c := Claim{Code: code, Zone: zone, Name: statement.Texts{{Lang: "en", Words: zone}}, ReRead: 1000,
		Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8001}}}
	for _, f := range change {
		f(&c)
	}
	if err := SaveClaim(dir, c); err != nil {
		t.Fatal(err)
	}
}

func simulated(c *Claim) { c.Simulated = true }

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32))
}

func public(t testing.TB, seed byte) statement.Key {
	t.Helper()
	k, err := statement.NewKey(key(seed).Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var found = device.Report{Channels: []device.ReportChannel{{Name: "28-1/temp", Unit: "Cel", Nominal: 1000}}, Antennas: []string{"llrp0/1", "llrp0/2"}}

// admit lets a key in and describes its device.
func admit(t testing.TB, o *Office, code string, seed byte) *statement.Identity {
	t.Helper()
	id, err := o.Admit(t.Context(), code, public(t, seed), "pi")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Describe(t.Context(), id, found); err != nil {
		t.Fatal(err)
	}
	return id
}

func refuses(t testing.TB, err error, status int, want string) {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || r.Status != status || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want a refusal (%d) with %q", err, status, want)
	}
}

func TestAdmit(t *testing.T) {
	o, _, claims := newOffice(t)
	claim(t, claims, "ABC-DEF-GHJ", "cold1")
	first := admit(t, o, "ABC-DEF-GHJ", 1)
	if first.Simulated || first.Name != "pi" || first.Epoch != 0 {
		t.Errorf("identity %+v", first)
	}
	plan, err := o.Plan(t.Context())
	if err != nil || len(plan.Zones) != 1 || len(plan.Zones[0].Channels) != 1 || plan.Zones[0].Antennas[0].Role != statement.Portal ||
		plan.Zones[0].Antennas[1].Role != statement.Inside {
		t.Fatalf("plan %+v, %v", plan, err)
	}
	// Its answer lost, the same device asks again and gets one; nobody else does.
	again := admit(t, o, "ABC-DEF-GHJ", 1)
	if again.From != first.From {
		t.Error("a second identity for one key")
	}
	if p, err := o.Plan(t.Context()); err != nil || p.Seq != plan.Seq {
		t.Errorf("asking again made another plan: %v", err)
	}
	_, err = o.Admit(t.Context(), "ABC-DEF-GHJ", public(t, 2), "pi")
	refuses(t, err, 403, "used up")
	// A second device joins the plan; the first one's entry stays as it was.
	claim(t, claims, "ABC-DEF-GHK", "cold2")
	admit(t, o, "ABC-DEF-GHK", 2)
	next, err := o.Plan(t.Context())
	if err != nil || next.Seq != 1 || len(next.Zones) != 2 || next.Zones[0].Channels[0].Hash() != plan.Zones[0].Channels[0].Hash() {
		t.Errorf("plan after the second device: %+v, %v", next, err)
	}
	// A device whose certificate ran out may come with a new code as well.
	claim(t, claims, "ABC-DEF-GHM", "cold1")
	admit(t, o, "ABC-DEF-GHM", 1)
}

func TestAdmitRefuses(t *testing.T) {
	o, _, claims := newOffice(t)
	claim(t, claims, "ABC-DEF-GHJ", "cold1")
	for name, c := range map[string]struct {
		code, name string
		status     int
		want       string
	}{
		"unknown code":      {"ZZZ-ZZZ-ZZZ", "pi", 401, "not known"},
		"a path for a code": {"../../x", "pi", 401, "capital letters"},
		"no code":           {"", "pi", 401, "looks like"},
		"long name":         {"ABC-DEF-GHJ", strings.Repeat("n", 300), 400, "name"},
		"no text":           {"ABC-DEF-GHJ", "\xff", 400, "name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := o.Admit(t.Context(), c.code, public(t, 1), c.name)
			refuses(t, err, c.status, c.want)
		})
	}
	// A site's key is no device's.
	_, err := o.Admit(t.Context(), "ABC-DEF-GHJ", o.keys.Site.Key(), "pi")
	refuses(t, err, 403, "known already")
	id := admit(t, o, "ABC-DEF-GHJ", 1)
	for name, c := range map[string]struct {
		change func(*device.Report)
		want   string
	}{
		"no unit":         {func(r *device.Report) { r.Channels = []device.ReportChannel{{Name: "x", Nominal: 1000}} }, "plan"},
		"twice a channel": {func(r *device.Report) { r.Channels = append(r.Channels, r.Channels[0]) }, "plan"},
		"too many":        {func(r *device.Report) { r.Antennas = make([]string, maxFound+1) }, "limit"},
	} {
		t.Run(name, func(t *testing.T) {
			o, _, claims := newOffice(t)
			claim(t, claims, "ABC-DEF-GHJ", "cold1")
			if _, err := o.Admit(t.Context(), "ABC-DEF-GHJ", public(t, 1), "pi"); err != nil {
				t.Fatal(err)
			}
			r := device.Report{Channels: append([]device.ReportChannel(nil), found.Channels...)}
			c.change(&r)
			_, err := o.Describe(t.Context(), id, r)
			refuses(t, err, 400, c.want)
		})
	}
}

// TestSimulated: a simulated device is vouched for by an authority of its own and
// stays what it is.
func TestSimulated(t *testing.T) {
	o, keys, claims := newOffice(t)
	claim(t, claims, "ABC-DEF-GHJ", "cold1", simulated)
	id := admit(t, o, "ABC-DEF-GHJ", 1)
	a, err := o.Answer(t.Context(), id)
	if err != nil || !id.Simulated || !bytes.Equal(a.SimAuthority, keys.Simulator.Key().Encoded()) {
		t.Fatalf("%+v, %v", id, err)
	}
	s, err := statement.Parse(a.Identity)
	if err != nil || s.Header.KeyID != keys.Simulator.Key().ID() {
		t.Errorf("vouched for by %v, %v", s.Header.KeyID, err)
	}
	claim(t, claims, "ABC-DEF-GHK", "cold1")
	_, err = o.Admit(t.Context(), "ABC-DEF-GHK", public(t, 1), "pi")
	refuses(t, err, 403, "simulated")
	if next, err := o.Succeed(t.Context(), id, public(t, 2)); err != nil || !next.Simulated {
		t.Errorf("with another key it is %+v, %v", next, err)
	}
	// And a real one stays real.
	real := admit(t, o, "ABC-DEF-GHK", 3)
	if a, err = o.Answer(t.Context(), real); err != nil || real.Simulated || a.SimAuthority != nil {
		t.Errorf("%+v, %v", real, err)
	}
	claim(t, claims, "ABC-DEF-GHM", "cold1", simulated)
	_, err = o.Admit(t.Context(), "ABC-DEF-GHM", public(t, 3), "pi")
	refuses(t, err, 403, "known already")

	keys.Simulator = nil
	_, err = o.Admit(t.Context(), "ABC-DEF-GHM", public(t, 4), "pi")
	refuses(t, err, 403, "no simulated devices")
}

// TestSucceed: one successor a key, its entries in the plan with it, and the same
// answer for the same question.
func TestSucceed(t *testing.T) {
	o, _, claims := newOffice(t)
	claim(t, claims, "ABC-DEF-GHJ", "cold1")
	present := admit(t, o, "ABC-DEF-GHJ", 1)
	before, err := o.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next, err := o.Succeed(t.Context(), present, public(t, 2))
	if err != nil || next.Epoch != 1 || *next.Replaces != present.Key.ID() || next.Subject != present.Subject || next.Name != "pi" {
		t.Fatalf("%+v, %v", next, err)
	}
	if again, err := o.Succeed(t.Context(), present, public(t, 2)); err != nil || again.From != next.From {
		t.Errorf("asked again: %+v, %v", again, err)
	}
	_, err = o.Succeed(t.Context(), present, public(t, 3))
	refuses(t, err, 403, "replaced already")
	_, err = o.Succeed(t.Context(), next, public(t, 1))
	refuses(t, err, 403, "known already")
	_, err = o.Admit(t.Context(), "ABC-DEF-GHJ", public(t, 1), "pi")
	refuses(t, err, 403, "was replaced")
	if p, err := o.Plan(t.Context()); err != nil || p.Seq != before.Seq {
		t.Errorf("the plan changed before the device works with its new key: %v", err)
	}
	// Two keys on, what the device reports changes nothing but the key.
	last, err := o.Succeed(t.Context(), next, public(t, 4))
	if err != nil || last.Epoch != 2 {
		t.Fatal(err)
	}
	if _, err := o.Describe(t.Context(), last, device.Report{}); err != nil {
		t.Fatal(err)
	}
	after, err := o.Plan(t.Context())
	if err != nil || after.Seq != before.Seq+1 || lists(after, present.Key.ID()) || !lists(after, last.Key.ID()) {
		t.Fatalf("plan %+v, %v", after, err)
	}
	was, is := before.Zones[0], after.Zones[0]
	is.Channels[0].Device, is.Antennas[0].Device, is.Antennas[1].Device = present.Key.ID(), present.Key.ID(), present.Key.ID()
	if is.Channels[0].Hash() != was.Channels[0].Hash() || is.Antennas[0] != was.Antennas[0] || is.Antennas[1] != was.Antennas[1] {
		t.Errorf("%+v, was %+v", is, was)
	}
}

func TestWithoutAuthority(t *testing.T) {
	o, keys, claims := newOffice(t)
	claim(t, claims, "ABC-DEF-GHJ", "cold1")
	authority := keys.Authority
	keys.Authority = nil
	_, err := o.Admit(t.Context(), "ABC-DEF-GHJ", public(t, 1), "pi")
	refuses(t, err, 403, "authority's key is not on this machine")
	c, _, err := loadClaim(claims, "ABC-DEF-GHJ")
	if err != nil || c.Used != "" {
		t.Errorf("the code was used up: %+v, %v", c, err)
	}
	keys.Authority = authority
	id := admit(t, o, "ABC-DEF-GHJ", 1)
	keys.Authority = nil
	_, err = o.Succeed(t.Context(), id, public(t, 2))
	refuses(t, err, 403, "authority's key is not on this machine")
	admit(t, o, "ABC-DEF-GHJ", 1) // who is known needs no authority
}

func TestLoadKeysMakesNone(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadKeys(dir, Organisation{}, time.Now); err == nil {
		t.Error("keys were loaded from an empty folder")
	}
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("an empty folder got %v", files)
	}
}

func TestParseBand(t *testing.T) {
	got, err := ParseBand("2..8")
	if err != nil || len(got) != 2 || got[0].Value != 1999 || got[1].Value != 8001 {
		t.Errorf("2..8 is %+v, %v", got, err)
	}
	for _, s := range []string{"", "2", "8..2", "2..2", "a..b", "-500..1", "NaN..8", "2..Inf"} {
		if _, err := ParseBand(s); err == nil {
			t.Errorf("%q is a band", s)
		}
	}
}

// TestOrigins: a trust file pins ten years ahead of the newest ledger, and no more
// than its format takes.
func TestOrigins(t *testing.T) {
	o := Organisation{Origin: "d/t/2026h2"}
	for _, c := range []struct {
		newest, first, last string
		n                   int
	}{
		{"", "d/t/2026h2", "d/t/2036h2", 21},
		{"d/t/2026h2", "d/t/2026h2", "d/t/2036h2", 21},
		{"d/t/2030h1", "d/t/2026h2", "d/t/2040h1", 28},
		{"d/t/2060h1", "d/t/2038h2", "d/t/2070h1", 64},
		{"other/t/2030h1", "d/t/2026h2", "d/t/2036h2", 21},
	} {
		got := o.Origins(c.newest)
		if len(got) != c.n || got[0] != c.first || got[len(got)-1] != c.last {
			t.Errorf("newest %q: %d origins, %s to %s, want %d, %s to %s", c.newest, len(got), got[0], got[len(got)-1], c.n, c.first, c.last)
		}
	}
}
