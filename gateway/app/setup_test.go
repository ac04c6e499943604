package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/internal/device"
	"trailmark/passport"
)

func now() time.Time { return time.UnixMilli(1_760_000_000_000) }

// TestClaim: the claim is one line of its own, and names the gateway by its CA.
func TestClaim(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "o")
	if err := Init(dir, DefaultOrganisation(), true, now, &strings.Builder{}); err != nil {
		t.Fatal(err)
	}
	c := ClaimConfig{Dir: dir, Zone: "cold1", Name: "en=Cold room", Band: "2..8", ReRead: time.Minute, URL: "https://gw.example:8443", Simulated: true}
	var out, screen strings.Builder
	if err := Claim(c, &out, &screen); err != nil {
		t.Fatal(err)
	}
	claim, err := device.ParseClaim(strings.TrimSuffix(out.String(), "\n"))
	if err != nil || claim.Gateway != c.URL || !strings.Contains(screen.String(), "█") || strings.Contains(screen.String(), claim.Code) {
		t.Errorf("%q, %v", out.String(), err)
	}
	data, err := os.ReadFile(filepath.Join(dir, claimsDir, claim.Code+".json"))
	if err != nil || !strings.Contains(string(data), `"simulated": true`) {
		t.Errorf("%s, %v", data, err)
	}
	c.URL = "http://gw.example"
	if err := Claim(c, &out, &screen); err == nil || !strings.Contains(err.Error(), "--url") {
		t.Errorf("an address without TLS: %v", err)
	}
}

// TestTrustOfProduction: no authority of simulated devices can be in a production
// trust file, and in another only when it was asked for.
func TestTrustOfProduction(t *testing.T) {
	authorities := func(simulated bool) int {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "o")
		if err := Init(dir, DefaultOrganisation(), simulated, now, &strings.Builder{}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, "authority", "trust.cbor"))
		if err != nil {
			t.Fatal(err)
		}
		trust, err := passport.ParseTrust(data)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "sim-authority")); (err == nil) != simulated {
			t.Errorf("simulated %v, folder: %v", simulated, err)
		}
		return len(trust.Authorities)
	}
	if n := authorities(false); n != 1 {
		t.Errorf("%d authorities, want the one of real devices", n)
	}
	if n := authorities(true); n != 2 {
		t.Errorf("%d authorities, want both", n)
	}
	org := DefaultOrganisation()
	org.Environment = production
	if err := Init(filepath.Join(t.TempDir(), "o"), org, true, now, &strings.Builder{}); err == nil || !strings.Contains(err.Error(), "no simulated devices") {
		t.Errorf("in production: %v", err)
	}
	if err := Init(filepath.Join(t.TempDir(), "o"), org, false, now, &strings.Builder{}); err != nil {
		t.Error(err)
	}
}
