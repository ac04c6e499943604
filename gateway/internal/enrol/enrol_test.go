package enrol

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/gateway/internal/ingest"
	"trailmark/gateway/internal/store"
	"trailmark/statement"
	"trailmark/trace"
)

// newOffice is an office over a real store and ingest.
func newOffice(t *testing.T) (*Office, *Keys, string) {
	t.Helper()
	dir := t.TempDir()
	org := Organisation{Tenant: "demo", Environment: "test", Domain: "trailmark.example", Site: "en=Site", Brand: "en=Brand", Origin: "trailmark.example/demo/2026h2"}
	keys, err := MakeKeys(dir, org, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	in, err := ingest.New(t.Context(), st, statement.NewKeyring(org.Audience(), keys.Authority.Key()), time.Now, slog.New(slog.DiscardHandler))
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
	return NewOffice(org, keys, keys.Authority.Key(), st, in, claims, "mqtt://127.0.0.1:1883", keys.Authority.Key(), post), keys, claims
}

func claim(t *testing.T, dir, code, zone string) {
	t.Helper()
	if err := SaveClaim(dir, Claim{Code: code, Zone: zone, Name: statement.Texts{{Lang: "en", Words: zone}}, ReRead: 1000,
		Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8001}}}); err != nil {
		t.Fatal(err)
	}
}

func envelope(t *testing.T, priv ed25519.PrivateKey, change func(*Request)) Envelope {
	t.Helper()
	key, err := statement.NewKey(priv.Public())
	if err != nil {
		t.Fatal(err)
	}
	req := Request{Claim: "ABC-DEF-GHJ", Key: key.Encoded(), Name: "pi",
		Channels: []Channel{{Name: "28-1/temp", Unit: "Cel", Nominal: 1000}}, Antennas: []string{"llrp0/1", "llrp0/2"}}
	change(&req)
	body, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("trailmark enroll v1\n" + string(body)))
	return Envelope{Body: string(body), Proof: ed25519.Sign(priv, digest[:])}
}

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32))
}

func TestEnrol(t *testing.T) {
	o, _, claims := newOffice(t)
	claim(t, claims, "ABC-DEF-GHJ", "cold1")
	same := func(*Request) {}
	first, err := o.Enrol(t.Context(), envelope(t, key(1), same))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := o.Plan(t.Context())
	if err != nil || len(plan.Zones) != 1 || len(plan.Zones[0].Channels) != 1 || plan.Zones[0].Antennas[0].Role != statement.Portal ||
		plan.Zones[0].Antennas[1].Role != statement.Inside {
		t.Fatalf("plan %+v, %v", plan, err)
	}
	// Its answer lost, the same device asks again and gets one; nobody else does.
	again, err := o.Enrol(t.Context(), envelope(t, key(1), same))
	if err != nil || !bytes.Equal(again.Identity, first.Identity) || !bytes.Equal(again.Plan, first.Plan) || again.Password == first.Password {
		t.Errorf("second answer differs in identity or plan, or repeats a password: %v", err)
	}
	if _, err := o.Enrol(t.Context(), envelope(t, key(2), same)); err == nil || !strings.Contains(err.Error(), "used up") {
		t.Errorf("a used claim code: %v", err)
	}
	// A second device joins the plan; the first one's entry stays as it was.
	claim(t, claims, "ABC-DEF-GHK", "cold2")
	if _, err := o.Enrol(t.Context(), envelope(t, key(2), func(r *Request) { r.Claim = "ABC-DEF-GHK" })); err != nil {
		t.Fatal(err)
	}
	next, err := o.Plan(t.Context())
	if err != nil || next.Seq != 1 || len(next.Zones) != 2 || next.Zones[0].Channels[0].Hash() != plan.Zones[0].Channels[0].Hash() {
		t.Errorf("plan after the second device: %+v, %v", next, err)
	}
}

func TestEnrolRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Request)
		spoil  func(*Envelope)
		want   string
	}{
		"unknown code":      {func(r *Request) { r.Claim = "ZZZ-ZZZ-ZZZ" }, nil, "not known"},
		"a path for a code": {func(r *Request) { r.Claim = "../../x" }, nil, "capital letters"},
		"another's key":     {nil, func(e *Envelope) { e.Proof[0] ^= 1 }, "proof of possession"},
		"body changed":      {nil, func(e *Envelope) { e.Body = strings.Replace(e.Body, "pi", "pj", 1) }, "proof of possession"},
		"weak key":          {func(r *Request) { r.Key = append([]byte{0xa3, 1, 1, 0x20, 6, 0x21, 0x58, 32, 1}, make([]byte, 31)...) }, nil, "prime order"},
		"unknown member":    {nil, func(e *Envelope) { e.Body = `{"claim":"ABC-DEF-GHJ","x":1}` }, "unknown field"},
		"no unit":           {func(r *Request) { r.Channels[0].Unit = "" }, nil, "plan"},
		"twice a channel":   {func(r *Request) { r.Channels = append(r.Channels, r.Channels[0]) }, nil, "plan"},
	} {
		t.Run(name, func(t *testing.T) {
			o, _, claims := newOffice(t)
			claim(t, claims, "ABC-DEF-GHJ", "cold1")
			if c.change == nil {
				c.change = func(*Request) {}
			}
			env := envelope(t, key(1), c.change)
			if c.spoil != nil {
				c.spoil(&env)
			}
			if _, err := o.Enrol(t.Context(), env); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a refusal with %q", err, c.want)
			}
		})
	}
}

func TestWithoutAuthority(t *testing.T) {
	o, keys, claims := newOffice(t)
	claim(t, claims, "ABC-DEF-GHJ", "cold1")
	keys.Authority = nil
	if _, err := o.Enrol(t.Context(), envelope(t, key(1), func(*Request) {})); err == nil || !strings.Contains(err.Error(), "authority's key is not on this machine") {
		t.Errorf("got %v", err)
	}
	c, _, err := loadClaim(claims, "ABC-DEF-GHJ")
	if err != nil || c.Used != "" {
		t.Errorf("the code was used up: %+v, %v", c, err)
	}
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
