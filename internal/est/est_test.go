package est

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func edKey(t testing.TB) crypto.Signer {
	t.Helper()
	_, k, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ecKey(t testing.TB, c elliptic.Curve) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func subject(t testing.TB, name string) []byte {
	t.Helper()
	s, err := Subject(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func request(t testing.TB, key crypto.Signer, name, binding string) []byte {
	t.Helper()
	b, err := NewRequest(key, subject(t, name), binding)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRequest(t *testing.T) {
	for _, key := range []crypto.Signer{edKey(t), ecKey(t, elliptic.P256())} {
		for _, binding := range []string{"", "bGluaw=="} {
			body := request(t, key, "冷库 4", binding)
			// As other tools wrap their base64.
			for _, b := range [][]byte{body, bytes.Join([][]byte{body[:64], body[64:]}, []byte("\r\n")), append(bytes.Clone(body), '\n')} {
				r, err := ParseRequest(b)
				if err != nil {
					t.Fatal(err)
				}
				if r.Name != "冷库 4" || r.Binding != binding || !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(r.Key) {
					t.Errorf("%+v", r)
				}
			}
		}
	}
}

func TestRequestRefuses(t *testing.T) {
	ec := ecKey(t, elliptic.P256())
	good := request(t, ec, "pi", "bGluaw==")
	der, err := decode(good)
	if err != nil {
		t.Fatal(err)
	}
	point, err := ec.Public().(*ecdsa.PublicKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		body []byte
		want string
	}{
		"nothing":           {nil, "certificate request"},
		"not base64":        {[]byte("-----BEGIN CERTIFICATE REQUEST-----"), "not base64"},
		"not a request":     {encode([]byte("hello")), "certificate request"},
		"cut short":         {encode(der[:len(der)-1]), "certificate request"},
		"trailing byte":     {encode(append(bytes.Clone(der), 0)), "trailing"},
		"signature changed": {encode(edit(der, len(der)-1)), "prove possession"},
		"key changed":       {encode(edit(der, bytes.Index(der, point)+1)), "certificate request"},
		"binding changed":   {encode(edit(der, bytes.Index(der, []byte("bGluaw"))+1)), "prove possession"},
		"oversize":          {bytes.Repeat([]byte{'A'}, MaxRequest+1), "over"},
		"long name":         {request(t, ec, strings.Repeat("n", maxName+1), ""), "common name"},
		"two passwords":     {passwords(t, ec, []any{"a"}, []any{"b"}), "more than one"},
		"a set of two":      {passwords(t, ec, []any{"a", "b"}), "more than one"},
		"no text":           {passwords(t, ec, []any{7}), "no text"},
		"empty text":        {passwords(t, ec, []any{""}), "no text"},
	} {
		if r, err := ParseRequest(c.body); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{small, ecKey(t, elliptic.P384())} {
		if _, err := NewRequest(key, subject(t, "pi"), ""); err == nil || !strings.Contains(err.Error(), "P-256") {
			t.Errorf("%T: %v", key, err)
		}
	}
}

func edit(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 1
	return b
}

// passwords is a request with challengePassword attributes of these values.
func passwords(t *testing.T, key crypto.Signer, sets ...[]any) []byte {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	info := requestInfo{Subject: asn1.RawValue{FullBytes: subject(t, "pi")}, PublicKey: asn1.RawValue{FullBytes: spki}}
	for _, set := range sets {
		a := attribute{Type: oidChallengePassword}
		for _, v := range set {
			der, err := asn1.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			a.Values = append(a.Values, asn1.RawValue{FullBytes: der})
		}
		der, err := asn1.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		info.Attributes = append(info.Attributes, asn1.RawValue{FullBytes: der})
	}
	tbs, err := asn1.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	h := crypto.SHA256.New()
	h.Write(tbs)
	sig, err := key.Sign(rand.Reader, h.Sum(nil), crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(certificationRequest{asn1.RawValue{FullBytes: tbs}, pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA256},
		asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}})
	if err != nil {
		t.Fatal(err)
	}
	return encode(der)
}

func FuzzParseRequest(f *testing.F) {
	f.Add(request(f, edKey(f), "pi", ""))
	f.Add(request(f, ecKey(f, elliptic.P256()), "pi", "bGluaw=="))
	f.Fuzz(func(t *testing.T, body []byte) {
		if r, err := ParseRequest(body); err == nil && r.Key == nil {
			t.Error("a request of no key")
		}
	})
}

// authority is a CA of tests.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	a := authority{key: ecKey(t, elliptic.P256())}
	a.cert = a.make(t, &x509.Certificate{Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign},
		a.key.Public(), time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	return a
}

func (a authority) make(t testing.TB, c *x509.Certificate, key crypto.PublicKey, from, to time.Time) *x509.Certificate {
	t.Helper()
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(1), from, to
	parent := a.cert
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestCertificates(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	body, err := EncodeCertificates(a.cert, b.cert)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := ParseCertificates(body)
	if err != nil || len(certs) != 2 || !certs[0].Equal(a.cert) || !certs[1].Equal(b.cert) {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	if c, err := certificateOf(b.key.Public(), certs); err != nil || !c.Equal(b.cert) {
		t.Errorf("of its key: %v", err)
	}
	if _, err := certificateOf(edKey(t).Public(), certs); err == nil {
		t.Error("a certificate of nobody's key")
	}
	der, err := decode(body)
	if err != nil {
		t.Fatal(err)
	}
	none, err := EncodeCertificates()
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"nothing":           nil,
		"not base64":        []byte("<html>"),
		"cut short":         encode(der[:len(der)-5]),
		"indefinite length": encode(append([]byte{0x30, 0x80}, der...)),
		"nested":            encode(nested(100)),
		"no certificates":   none,
		"oversize":          bytes.Repeat([]byte{'A'}, maxCertificates+1),
	} {
		if certs, err := ParseCertificates(bad); err == nil {
			t.Errorf("%s: %d certificates", name, len(certs))
		}
	}
}

// nested is DER of so many sequences, each in the one before.
func nested(n int) []byte {
	var b []byte
	for range n {
		if len(b) < 128 {
			b = append([]byte{0x30, byte(len(b))}, b...)
		} else {
			b = append([]byte{0x30, 0x82, byte(len(b) >> 8), byte(len(b))}, b...)
		}
	}
	return b
}

func FuzzParseCertificates(f *testing.F) {
	body, err := EncodeCertificates(newAuthority(f).cert)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add(encode(nested(30)))
	f.Fuzz(func(t *testing.T, body []byte) {
		if certs, err := ParseCertificates(body); err == nil && len(certs) == 0 {
			t.Error("no certificates and no error")
		}
	})
}

// TestServerTLS: what a pinned authority made counts, also before its time; what
// ran out, is for another host or by another authority, does not.
func TestServerTLS(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	now := time.Now()
	for _, c := range []struct {
		name     string
		by       authority
		from, to time.Duration
		ip       string
		usage    x509.ExtKeyUsage
		want     string
	}{
		{"good", a, -time.Minute, time.Minute, "127.0.0.1", x509.ExtKeyUsageServerAuth, ""},
		{"from the future, our clock being behind", a, 10 * time.Minute, 20 * time.Minute, "127.0.0.1", x509.ExtKeyUsageServerAuth, ""},
		{"run out", a, -2 * time.Minute, -time.Minute, "127.0.0.1", x509.ExtKeyUsageServerAuth, "expired"},
		{"another host", a, -time.Minute, time.Minute, "127.0.0.2", x509.ExtKeyUsageServerAuth, "127.0.0.1"},
		{"a device's", a, -time.Minute, time.Minute, "127.0.0.1", x509.ExtKeyUsageClientAuth, "key usage"},
		{"another authority", other, -time.Minute, time.Minute, "127.0.0.1", x509.ExtKeyUsageServerAuth, "unknown authority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := ecKey(t, elliptic.P256())
			cert := c.by.make(t, &x509.Certificate{IPAddresses: []net.IP{net.ParseIP(c.ip)}, ExtKeyUsage: []x509.ExtKeyUsage{c.usage}}, key.Public(), now.Add(c.from), now.Add(c.to))
			srv := httptest.NewUnstartedServer(http.NotFoundHandler())
			srv.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw, c.by.cert.Raw}, PrivateKey: key}}}
			srv.StartTLS()
			defer srv.Close()
			client, err := NewClient(srv.URL, a.cert, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.Do(t.Context(), http.MethodGet, "/", "", nil, 10)
			var refused *Refused
			if c.want == "" && !errors.As(err, &refused) { // it got through to a 404
				t.Error(err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestClientReadsBounded: an answer over its bound, a redirection and an answer
// for another key are all errors.
func TestClientReadsBounded(t *testing.T) {
	a, key := newAuthority(t), ecKey(t, elliptic.P256())
	cert := a.make(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, key.Public(), time.Now().Add(-time.Minute), time.Now().Add(time.Minute))
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/long":
			_, _ = w.Write(make([]byte, 11))
		case "/away":
			http.Redirect(w, r, "/long", http.StatusFound)
		case PathEnroll:
			body, err := EncodeCertificates(a.cert)
			if err != nil {
				t.Error(err)
			}
			_, _ = w.Write(body)
		}
	}))
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
	srv.StartTLS()
	defer srv.Close()
	client, err := NewClient(srv.URL, a.cert, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Do(t.Context(), http.MethodGet, "/long", "", nil, 10); err == nil || !strings.Contains(err.Error(), "over 10 bytes") {
		t.Errorf("long: %v", err)
	}
	if b, err := client.Do(t.Context(), http.MethodGet, "/long", "", nil, 11); err != nil || len(b) != 11 {
		t.Errorf("just fits: %v", err)
	}
	if _, err := client.Do(t.Context(), http.MethodGet, "/away", "", nil, 100); err == nil || !strings.Contains(err.Error(), "302") {
		t.Errorf("redirection: %v", err)
	}
	if _, err := client.Enroll(t.Context(), "code", edKey(t), subject(t, "pi")); err == nil || !strings.Contains(err.Error(), "no certificate of our key") {
		t.Errorf("another's certificate: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Enroll(ctx, "code", edKey(t), subject(t, "pi")); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
}

func TestParseBase(t *testing.T) {
	for _, good := range []string{"https://10.0.0.5:8443", "https://trace.acme.example", "https://[::1]:1/"} {
		if u, err := ParseBase(good); err != nil || u.Path != "" {
			t.Errorf("%s: %v, %v", good, u, err)
		}
	}
	for _, bad := range []string{"", "10.0.0.5:8443", "http://x", "https://", "https://x/y", "https://u:p@x", "https://x?a=b", "https://x#f", "https://:8443"} {
		if _, err := ParseBase(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
