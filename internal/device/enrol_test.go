package device_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/internal/device/devicetest"
	"trailmark/internal/est"
	"trailmark/statement"
)

var report = device.Report{Channels: []device.ReportChannel{{Name: "a/temp", Unit: "Cel", Nominal: 1000}}, Antennas: []string{"llrp0/1", "llrp0/2"}}

func edKey(t testing.TB) crypto.Signer {
	t.Helper()
	_, k, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func public(t testing.TB, s crypto.Signer) statement.Key {
	t.Helper()
	k, err := statement.NewKey(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// plan is a plan by one signer, for the channel a/temp of a device.
func plan(t testing.TB, by *statement.Signer, kid statement.Hash, seq uint64) []byte {
	t.Helper()
	p := &statement.Plan{Version: 1, Seq: seq, Prev: statement.Hash{1}, Site: statement.Texts{{Lang: "en", Words: "depot"}},
		Zones: []statement.Zone{{ID: "z", Name: statement.Texts{{Lang: "en", Words: "room"}},
			Channels: []statement.Channel{{Device: kid, Name: "a/temp", Unit: "Cel", Nominal: 1000}}}}}
	st, err := by.Sign(statement.Header{Issuer: "urn:dev:test", Audience: devicetest.Audience, Kind: statement.KindPlan}, dcbor.MustMarshal(p))
	if err != nil {
		t.Fatal(err)
	}
	return st.Bytes()
}

func site(g *devicetest.Gateway, by *statement.Signer, role statement.Role) [][]byte {
	return [][]byte{g.Identify(by, statement.Identity{Key: statement.PublicKey{Key: g.Planner.Key()}, Subject: "urn:dev:test", Role: role}, devicetest.Audience)}
}

// TestEnrol takes both kinds of keys from a claim to a renewed certificate and on
// to another key.
func TestEnrol(t *testing.T) {
	for name, make := range map[string]func(testing.TB) crypto.Signer{"Ed25519": edKey, "P-256": ecKey} {
		t.Run(name, func(t *testing.T) {
			g, key := devicetest.New(t), make(t)
			kid := public(t, key).ID()
			g.Set(nil, func(a *device.Answer) {
				a.Plan, a.Identities = plan(t, g.Planner, kid, 7), site(g, g.Authority, statement.RoleSite)
			}, 0)
			e, err := device.Enrol(t.Context(), g.Claim, key, "pi", report)
			if err != nil {
				t.Fatal(err)
			}
			if e.Plan.Seq != 7 || e.Plan.Entry(kid, "a/temp") == nil || e.Plan.Entry(kid, "b") != nil || e.Identity.Name != "pi" ||
				e.Identity.Key.ID() != kid || e.Gateway != g.Claim.Gateway || !e.CA.Equal(g.CA) {
				t.Errorf("%+v", e)
			}
			if r := g.Reports(); len(r) != 1 || len(r[0].Channels) != 1 || r[0].Channels[0] != report.Channels[0] || r[0].Antennas[1] != "llrp0/2" {
				t.Errorf("told %+v", r)
			}
			again, err := device.ParseEnrolment(e.Raw, public(t, key))
			if err != nil || again.Plan.ID != e.Plan.ID {
				t.Fatal(err)
			}
			renewed, err := again.Renew(t.Context(), key)
			if err != nil || renewed.Certificate.Equal(e.Certificate) || renewed.Identity.Key.ID() != kid {
				t.Fatalf("renewal: %v", err)
			}
			next := make(t)
			if err := renewed.Announce(t.Context(), key, next); err != nil || len(g.Reports()) != 1 {
				t.Errorf("announced: %v, told %d times what the device found", err, len(g.Reports()))
			}
			rotated, err := renewed.Rotate(t.Context(), key, next, report)
			if err != nil || rotated.Identity.Epoch != 1 || *rotated.Identity.Replaces != kid || rotated.Identity.Key.ID() != public(t, next).ID() {
				t.Fatalf("rotation: %+v, %v", rotated, err)
			}
			if g.Admitted() != 1 {
				t.Errorf("the code was used %d times", g.Admitted())
			}
		})
	}
}

func TestEnrolRefused(t *testing.T) {
	g, key := devicetest.New(t), edKey(t)
	ask := func(c device.Claim) error {
		_, err := device.Enrol(t.Context(), c, key, "pi", report)
		return err
	}
	var no *est.Refused
	wrong := g.Claim
	wrong.Code = "WRONG"
	if err := ask(wrong); !errors.As(err, &no) || no.Status != 401 || no.Detail != "no such claim code" {
		t.Errorf("wrong code: %v", err)
	}
	other := g.Claim
	other.Fingerprint[3] ^= 1
	if err := ask(other); !errors.As(err, &no) || no.Status != 0 || !strings.Contains(err.Error(), "does not have the authority") {
		t.Errorf("another gateway: %v", err)
	}
	// Busy or gone is no refusal: it may pass.
	busy := true
	g.Set(func(w http.ResponseWriter, r *http.Request) bool {
		if busy {
			devicetest.Refuse(w, http.StatusServiceUnavailable, "later")
		}
		return busy
	}, nil, 0)
	if err := ask(g.Claim); err == nil || errors.As(err, &no) || !strings.Contains(err.Error(), "later") {
		t.Errorf("busy: %v", err)
	}
	busy = false
	if err := ask(g.Claim); err != nil {
		t.Error(err)
	}
	g.Close()
	if err := ask(g.Claim); err == nil || errors.As(err, &no) {
		t.Errorf("gone: %v", err)
	}
}

// TestWrongServerLearnsNothing: who has not the pinned CA sees no code, even when
// it serves that CA's certificate.
func TestWrongServerLearnsNothing(t *testing.T) {
	g, thief := devicetest.New(t), devicetest.New(t)
	asked := 0
	thief.Set(func(w http.ResponseWriter, r *http.Request) bool {
		asked++
		if r.URL.Path != est.PathCACerts || r.Header.Get("Authorization") != "" {
			t.Errorf("the thief was told %s %v", r.URL, r.Header)
		}
		body, err := est.EncodeCertificates(g.CA)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(body)
		return true
	}, nil, 0)
	claim := g.Claim
	claim.Gateway = thief.Claim.Gateway
	_, err := device.Enrol(t.Context(), claim, edKey(t), "pi", report)
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) || asked != 1 {
		t.Errorf("after %d requests: %v", asked, err)
	}
}

func TestRenewalDue(t *testing.T) {
	g, key := devicetest.New(t), edKey(t)
	g.Set(nil, nil, 299*time.Minute) // and one minute before
	e, err := device.Enrol(t.Context(), g.Claim, key, "pi", report)
	if err != nil {
		t.Fatal(err)
	}
	from := e.Certificate.NotBefore
	for after, want := range map[time.Duration]bool{-time.Hour: true, time.Minute: false, 199 * time.Minute: false, 201 * time.Minute: true, 400 * time.Minute: true} {
		if e.RenewalDue(from.Add(after)) != want {
			t.Errorf("%v after it was made: due is %v", after, !want)
		}
	}
}

func TestParseEnrolmentRefuses(t *testing.T) {
	g, other, key := devicetest.New(t), devicetest.New(t), edKey(t)
	kid := public(t, key)
	self := statement.Identity{Key: statement.PublicKey{Key: kid}, Subject: "urn:dev:test", Role: statement.RoleDevice}
	id := func(by *statement.Signer, change func(*statement.Identity), audience string) func(*device.Answer) {
		return func(a *device.Answer) {
			i := self
			change(&i)
			a.Identity = g.Identify(by, i, audience)
		}
	}
	same := func(*statement.Identity) {}
	withPlan := func(p []byte, sites [][]byte) func(*device.Answer) {
		return func(a *device.Answer) { a.Plan, a.Identities = p, sites }
	}
	sites := site(g, g.Authority, statement.RoleSite)
	e, err := device.Enrol(t.Context(), g.Claim, key, "pi", report)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := device.Enrol(t.Context(), g.Claim, edKey(t), "pi", report)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := device.Enrol(t.Context(), other.Claim, key, "pi", report)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*device.Answer)
		want   string
	}{
		{"another's key", id(g.Authority, func(i *statement.Identity) { i.Key.Key = public(t, edKey(t)) }, devicetest.Audience), "not of ours"},
		{"another role", id(g.Authority, func(i *statement.Identity) { i.Role = statement.RoleSite }, devicetest.Audience), "role 2"},
		{"another authority", id(other.Authority, same, devicetest.Audience), "vouches"},
		{"another audience", id(g.Authority, same, "demo/staging"), "audience"},
		{"simulated by the authority of real devices", id(g.Authority, func(i *statement.Identity) { i.Simulated = true }, devicetest.Audience), "authority of their own"},
		{"real by the authority of simulated devices", func(a *device.Answer) {
			a.SimAuthority = other.Authority.Key().Encoded()
			id(other.Authority, same, devicetest.Audience)(a)
		}, "authority of their own"},
		{"simulated by a stranger", func(a *device.Answer) {
			a.SimAuthority = other.Authority.Key().Encoded()
			id(g.Authority, func(i *statement.Identity) { i.Simulated = true }, devicetest.Audience)(a)
		}, "vouches"},
		{"no authority", func(a *device.Answer) { a.Authority = nil }, "authority"},
		{"log key", func(a *device.Answer) { a.LogKey = []byte{1} }, "log key"},
		{"origin", func(a *device.Answer) { a.Origin = "a b" }, "origin"},
		{"topic wildcard", func(a *device.Answer) { a.Tenant = "+" }, "tenant"},
		{"tenant of another", func(a *device.Answer) { a.Tenant = "other" }, "tenant"},
		{"broker", func(a *device.Answer) { a.Broker = "localhost" }, "broker"},
		{"broker without TLS", func(a *device.Answer) { a.Broker = "mqtt://127.0.0.1:1883" }, "broker"},
		{"plan by a device", withPlan(plan(t, g.Authority, kid.ID(), 1), sites), "vouches"},
		{"plan by a stranger", withPlan(plan(t, other.Planner, kid.ID(), 1), sites), "vouches"},
		{"site by a stranger", withPlan(plan(t, g.Planner, kid.ID(), 1), site(g, other.Authority, statement.RoleSite)), "vouches"},
		{"site in a wrong role", withPlan(plan(t, g.Planner, kid.ID(), 1), site(g, g.Authority, statement.RoleBrand)), "role"},
		{"broken plan", withPlan([]byte{0xd2, 1}, sites), "plan"},
	} {
		a := g.Answer(self)
		c.change(&a)
		if _, err := device.ParseEnrolment(with(t, e.Raw, "answer", a), kid); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	simulated := g.Answer(self)
	simulated.SimAuthority = other.Authority.Key().Encoded()
	id(other.Authority, func(i *statement.Identity) { i.Simulated = true }, devicetest.Audience)(&simulated)
	if e, err := device.ParseEnrolment(with(t, e.Raw, "answer", simulated), kid); err != nil || !e.Identity.Simulated {
		t.Errorf("a simulated device: %v", err)
	}
	for name, raw := range map[string][]byte{
		"another's certificate":   stranger.Raw,
		"certificate of another":  with(t, e.Raw, "certificate", foreign.Certificate.Raw),
		"no CA":                   with(t, e.Raw, "ca", []byte{}),
		"gateway without TLS":     with(t, e.Raw, "gateway", "http://127.0.0.1:1"),
		"oversize":                bytes.Repeat([]byte{' '}, device.MaxEnrolment+1),
		"an answer of other form": with(t, e.Raw, "answer", []int{1}),
	} {
		if _, err := device.ParseEnrolment(raw, kid); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if e.Plan != nil || e.Plan.Entry(statement.Hash{}, "x") != nil {
		t.Error("a plan from nowhere")
	}
}

// with replaces a member of a JSON object.
func with(t testing.TB, raw []byte, member string, value any) []byte {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	m[member] = value
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestClaim(t *testing.T) {
	c := device.Claim{Gateway: "https://10.0.0.5:8443", Code: "ABC-DEF-GHJ", Fingerprint: [32]byte{1, 2, 255}}
	got, err := device.ParseClaim(c.String())
	if err != nil || got != c {
		t.Errorf("%s is %+v, %v", c, got, err)
	}
	if len(c.String()) > 120 || strings.ContainsAny(c.String(), " &;'\"$|<>()*?") {
		t.Errorf("%s is not fit for a shell or a small QR code", c)
	}
	for _, s := range []string{
		"", "ABC-DEF-GHJ", "https://10.0.0.5:8443/", "#ABC.00",
		strings.Replace(c.String(), "https", "http", 1), strings.Replace(c.String(), "/#", "/x#", 1), strings.Replace(c.String(), "/#", "/?a=b#", 1),
		c.String() + "0", c.String()[:len(c.String())-1], strings.Replace(c.String(), "ABC-DEF-GHJ", "", 1), strings.Replace(c.String(), ".", "", 4),
		strings.Replace(c.String(), "10.0.0.5", strings.Repeat("a", 600), 1), "https://user@10.0.0.5:8443/" + c.String()[strings.Index(c.String(), "#"):],
	} {
		if _, err := device.ParseClaim(s); err == nil || !strings.Contains(err.Error(), "hint:") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func FuzzParseClaim(f *testing.F) {
	f.Add(device.Claim{Gateway: "https://10.0.0.5:8443", Code: "ABC-DEF-GHJ"}.String())
	f.Fuzz(func(t *testing.T, s string) {
		c, err := device.ParseClaim(s)
		if err != nil {
			return
		}
		if again, err := device.ParseClaim(c.String()); err != nil || again != c {
			t.Errorf("%q is %+v, which reads as %+v, %v", s, c, again, err)
		}
	})
}

func FuzzParseEnrolment(f *testing.F) {
	g, key := devicetest.New(f), edKey(f)
	e, err := device.Enrol(context.Background(), g.Claim, key, "pi", report)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(e.Raw)
	f.Add(with(f, e.Raw, "answer", 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, err := device.ParseEnrolment(data, public(t, key)); err == nil && e.Identity.Key.ID() != public(t, key).ID() {
			t.Fatal("identity of another key")
		}
	})
}
