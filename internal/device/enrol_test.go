package device

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// site is a gateway's side of an enrolment, by the wire format's words.
type site struct {
	authority, device, planner *statement.Signer
	deviceKey                  ed25519.PrivateKey
	logKey                     statement.Key
}

func newSite(t testing.TB) *site {
	t.Helper()
	var s site
	for _, p := range []**statement.Signer{&s.authority, &s.device, &s.planner} {
		_, priv, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		if p == &s.device {
			s.deviceKey = priv
		}
		if *p, err = statement.NewSigner(priv); err != nil {
			t.Fatal(err)
		}
	}
	s.logKey = s.authority.Key() // any Ed25519 key will do here
	return &s
}

func (s *site) identity(t testing.TB, by *statement.Signer, of statement.Key, role statement.Role, audience string) []byte {
	t.Helper()
	st, err := by.Sign(statement.Header{Issuer: "urn:test:authority", Audience: audience, Kind: statement.KindIdentity},
		dcbor.MustMarshal(&statement.Identity{Version: 1, Key: statement.PublicKey{Key: of}, Subject: "urn:dev:test", Role: role,
			To: 1 << 47, Simulated: role == statement.RoleDevice}))
	if err != nil {
		t.Fatal(err)
	}
	return st.Bytes()
}

func (s *site) plan(t testing.TB, by *statement.Signer, seq uint64) []byte {
	t.Helper()
	p := &statement.Plan{Version: 1, Seq: seq, Site: statement.Texts{{Lang: "en", Words: "depot"}}, Zones: []statement.Zone{{ID: "z", Name: statement.Texts{{Lang: "en", Words: "room"}},
		Channels: []statement.Channel{{Device: s.device.Key().ID(), Name: "a/temp", Unit: "Cel", Nominal: 1000}}}}}
	if seq > 0 {
		p.Prev = statement.Hash{1}
	}
	st, err := by.Sign(statement.Header{Issuer: "urn:dev:test", Audience: testAudience, Kind: statement.KindPlan}, dcbor.MustMarshal(p))
	if err != nil {
		t.Fatal(err)
	}
	return st.Bytes()
}

// answer is a good answer.
func (s *site) answer(t testing.TB) map[string]any {
	return map[string]any{
		"identity": s.identity(t, s.authority, s.device.Key(), statement.RoleDevice, testAudience),
		"audience": testAudience, "tenant": "demo", "broker": "mqtt://127.0.0.1:1883", "password": "pw",
		"authority": s.authority.Key().Encoded(), "origin": "example.org/demo/2026h2", "log_key": s.logKey.Encoded(),
		"plan": s.plan(t, s.planner, 7), "identities": [][]byte{s.identity(t, s.authority, s.planner.Key(), statement.RoleSite, testAudience)},
	}
}

func TestEnrol(t *testing.T) {
	s := newSite(t)
	busy := true
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if busy {
			busy = false
			http.Error(w, "later", http.StatusServiceUnavailable)
			return
		}
		var in struct{ Body, Proof string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Method != http.MethodPost || r.URL.Path != "/base/enroll" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		var body struct {
			Claim, Key, Name string
			Channels         []struct {
				Name, Unit string
				Nominal    int64 `json:"nominal_ms"`
			}
			Antennas  []string
			Simulated bool
		}
		if err := json.Unmarshal([]byte(in.Body), &body); err != nil {
			t.Error(err)
		}
		proof, _ := base64.StdEncoding.DecodeString(in.Proof)
		digest := sha256.Sum256([]byte("trailmark enroll v1\n" + in.Body))
		if !ed25519.Verify(s.deviceKey.Public().(ed25519.PublicKey), digest[:], proof) {
			t.Error("proof of possession does not verify")
		}
		key, _ := base64.StdEncoding.DecodeString(body.Key)
		if k, err := statement.ParseKey(key); err != nil || k.ID() != s.device.Key().ID() {
			t.Errorf("key: %v", err)
		}
		if body.Claim != "ABCD-EFGH" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusForbidden)
			w.Write([]byte(`{"title":"no","detail":"claim code is used up"}`))
			return
		}
		if body.Name != "pi" || len(body.Channels) != 1 || body.Channels[0].Nominal != 1000 || body.Antennas[1] != "llrp0/2" || !body.Simulated {
			t.Errorf("body %+v", body)
		}
		json.NewEncoder(w).Encode(s.answer(t))
	}))
	defer srv.Close()
	req := Request{Name: "pi", Channels: []RequestChannel{{"a/temp", "Cel", 1000}}, Antennas: []string{"llrp0/1", "llrp0/2"}, Simulated: true}
	ask := func(claim string) (*Enrolment, error) {
		return Enrol(context.Background(), srv.URL+"/base/", claim, s.deviceKey, req)
	}
	var no *Refused
	if _, err := ask("ABCD-EFGH"); err == nil || errors.As(err, &no) {
		t.Fatalf("a busy gateway is no refusal: %v", err)
	}
	if _, err := ask("WRONG"); !errors.As(err, &no) || no.Status != 403 || no.Detail != "claim code is used up" {
		t.Fatalf("wrong claim: %v", err)
	}
	e, err := ask("ABCD-EFGH")
	if err != nil {
		t.Fatal(err)
	}
	if e.Plan.Seq != 7 || e.Plan.Entry(s.device.Key().ID(), "a/temp") == nil || e.Plan.Entry(s.device.Key().ID(), "b") != nil ||
		e.Password != "pw" || e.Identity.Subject != "urn:dev:test" {
		t.Fatalf("%+v", e)
	}
	again, err := ParseEnrolment(e.Raw, s.device.Key())
	if err != nil || again.Plan.ID != e.Plan.ID {
		t.Fatal(err)
	}
	if _, err := Enrol(context.Background(), "ftp://x", "c", s.deviceKey, req); !errors.As(err, &no) {
		t.Fatalf("address: %v", err)
	}
}

func TestParseEnrolmentRefuses(t *testing.T) {
	s, other := newSite(t), newSite(t)
	for _, c := range []struct {
		name, field string
		value       any
		want        string
	}{
		{"another's key", "identity", s.identity(t, s.authority, other.device.Key(), statement.RoleDevice, testAudience), "not of ours"},
		{"another role", "identity", s.identity(t, s.authority, s.device.Key(), statement.RoleSite, testAudience), "role 2"},
		{"another authority", "identity", s.identity(t, other.authority, s.device.Key(), statement.RoleDevice, testAudience), "vouches"},
		{"another audience", "identity", s.identity(t, s.authority, s.device.Key(), statement.RoleDevice, "demo/staging"), "audience"},
		{"no authority", "authority", []byte{}, "authority"},
		{"log key", "log_key", []byte{1}, "log key"},
		{"origin", "origin", "a b", "origin"},
		{"topic wildcard", "tenant", "+", "tenant"},
		{"tenant of another", "tenant", "other", "tenant"},
		{"broker", "broker", "localhost", "broker"},
		{"plan by a device", "plan", s.plan(t, s.device, 1), "vouches"},
		{"plan by a stranger", "plan", s.plan(t, other.planner, 1), "vouches"},
		{"site by a stranger", "identities", [][]byte{s.identity(t, other.authority, s.planner.Key(), statement.RoleSite, testAudience)}, "vouches"},
		{"site in a wrong role", "identities", [][]byte{s.identity(t, s.authority, s.planner.Key(), statement.RoleBrand, testAudience)}, "role"},
		{"broken plan", "plan", []byte{0xd2, 1}, "plan"},
	} {
		a := s.answer(t)
		a[c.field] = c.value
		raw, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseEnrolment(raw, s.device.Key()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	a := s.answer(t)
	delete(a, "plan")
	raw, _ := json.Marshal(a)
	if e, err := ParseEnrolment(raw, s.device.Key()); err != nil || e.Plan != nil || e.Plan.Entry(statement.Hash{}, "x") != nil {
		t.Errorf("without a plan: %v", err)
	}
	if _, err := ParseEnrolment(bytes.Repeat([]byte{' '}, maxAnswer+1), s.device.Key()); err == nil {
		t.Error("oversize answer taken")
	}
}

func FuzzParseEnrolment(f *testing.F) {
	s := newSite(f)
	raw, err := json.Marshal(s.answer(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	key := s.device.Key()
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, err := ParseEnrolment(data, key); err == nil && e.Identity.Key.ID() != key.ID() {
			t.Fatal("identity of another key")
		}
	})
}
