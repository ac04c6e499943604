package enrol

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newCA(t testing.TB, now func() time.Time) (*CA, string) {
	t.Helper()
	dir := t.TempDir()
	ca, err := MakeCA(dir, Organisation{Tenant: "demo"}, now)
	if err != nil {
		t.Fatal(err)
	}
	return ca, dir
}

func TestCA(t *testing.T) {
	ca, dir := newCA(t, time.Now)
	again, err := MakeCA(dir, Organisation{Tenant: "demo"}, time.Now)
	if err != nil || !again.cert.Equal(ca.cert) {
		t.Errorf("made again it is another: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "ca", "ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
	c, err := ca.Device(key(1).Public(), "urn:dev:x")
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Check(c); err != nil {
		t.Error(err)
	}
	now := time.Now()
	ca.now = func() time.Time { return now }
	now = c.NotAfter.Add(time.Second)
	if err := ca.Check(c); err == nil || !strings.Contains(err.Error(), "has run out") || !strings.Contains(err.Error(), "hint:") {
		t.Errorf("after its time: %v", err)
	}
	other, _ := newCA(t, time.Now)
	if err := other.Check(c); err == nil || strings.Contains(err.Error(), "run out") {
		t.Errorf("by another CA: %v", err)
	}
	server, err := other.server([]string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Check(server.Leaf); err == nil {
		t.Error("the gateway's own certificate is a device's")
	}
	for _, name := range []string{"ca.key", "ca.pem"} {
		_, dir := newCA(t, time.Now)
		if err := os.Remove(filepath.Join(dir, "ca", name)); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadCA(dir, time.Now); err == nil || !strings.Contains(err.Error(), name+" is missing\nhint:") {
			t.Errorf("without %s: %v", name, err)
		}
	}
	if err := os.Rename(filepath.Join(dir, "ca", "ca.key"), filepath.Join(t.TempDir(), "x")); err != nil {
		t.Fatal(err)
	}
	_, foreign := newCA(t, time.Now)
	if err := os.Rename(filepath.Join(foreign, "ca", "ca.key"), filepath.Join(dir, "ca", "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadCA(dir, time.Now); err == nil || !strings.Contains(err.Error(), "do not go together") {
		t.Errorf("with another's key: %v", err)
	}
}

// TestServerCertificateIsRenewed: a gateway that runs for a year is met with a
// valid certificate all the while.
func TestServerCertificateIsRenewed(t *testing.T) {
	now := time.Now()
	ca, _ := newCA(t, func() time.Time { return now })
	conf := ca.ServerTLS([]string{"gw.example", "10.0.0.5"}, tls.RequestClientCert)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	seen := map[*tls.Certificate]bool{}
	for range 366 {
		c, err := conf.GetCertificate(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		seen[c] = true
		for _, host := range []string{"gw.example", "10.0.0.5"} {
			if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: now}); err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(24 * time.Hour)
	}
	if len(seen) != 7 { // one every 60 days
		t.Errorf("%d certificates in a year", len(seen))
	}
}
