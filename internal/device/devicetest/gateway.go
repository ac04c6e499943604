// Package devicetest is the gateway that tests of devices enrol with: its EST
// server and its devices' resource, over TLS, and nothing behind them.
package devicetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/internal/est"
	"trailmark/statement"
)

// Code is the claim code that a Gateway takes, from any key and any time.
const Code = "ABC-DEF-GHJ"

// Audience is the one that a Gateway's statements are for.
const Audience = "demo/test"

// A Gateway admits every device with Code. Its fields may be set before its first
// request only, but through Set.
type Gateway struct {
	Claim     device.Claim
	Authority *statement.Signer
	Planner   *statement.Signer // whom the authority made a site
	CA        *x509.Certificate

	tb     testing.TB
	server *httptest.Server
	caKey  *ecdsa.PrivateKey

	mu       sync.Mutex
	handle   func(w http.ResponseWriter, r *http.Request) bool // guarded by mu
	change   func(*device.Answer)                              // guarded by mu
	validity time.Duration                                     // guarded by mu
	admitted int                                               // guarded by mu
	reports  []device.Report                                   // guarded by mu
	ids      map[statement.Hash]*statement.Identity            // guarded by mu
}

// New starts a gateway that ends with the test.
func New(tb testing.TB) *Gateway {
	tb.Helper()
	g := &Gateway{tb: tb, Authority: Signer(tb), Planner: Signer(tb), validity: time.Hour, ids: map[statement.Hash]*statement.Identity{}}
	var err error
	if g.caKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		tb.Fatal(err)
	}
	g.CA = g.certificate(&x509.Certificate{Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}, g.caKey.Public(), time.Hour)
	g.server = httptest.NewUnstartedServer(http.HandlerFunc(g.serve))
	g.server.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert, Certificates: []tls.Certificate{g.Server(time.Hour)}}
	g.server.StartTLS()
	tb.Cleanup(g.server.Close)
	g.Claim = device.Claim{Gateway: g.server.URL, Code: Code, Fingerprint: sha256.Sum256(g.CA.Raw)}
	return g
}

// Close ends the gateway before the test does.
func (g *Gateway) Close() { g.server.Close() }

// Signer signs with a new Ed25519 key.
func Signer(tb testing.TB) *statement.Signer {
	tb.Helper()
	_, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := statement.NewSigner(priv)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func (g *Gateway) certificate(c *x509.Certificate, key crypto.PublicKey, validity time.Duration) *x509.Certificate {
	g.tb.Helper()
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Minute), time.Now().Add(validity)
	parent := g.CA
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key, g.caKey)
	if err != nil {
		g.tb.Error(err)
		return nil
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		g.tb.Error(err)
	}
	return out
}

// Server is a certificate for 127.0.0.1, as a broker of this gateway has one.
func (g *Gateway) Server(validity time.Duration) tls.Certificate {
	g.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		g.tb.Fatal(err)
	}
	c := g.certificate(&x509.Certificate{Subject: pkix.Name{CommonName: "gateway"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, key.Public(), validity)
	return tls.Certificate{Certificate: [][]byte{c.Raw, g.CA.Raw}, PrivateKey: key}
}

// Set changes what the gateway does: handle, if not nil, sees every request first
// and answers it when it returns true; change, if not nil, edits every answer;
// validity, if not 0, is that of the certificates for the code. Renewed ones are
// good for an hour.
func (g *Gateway) Set(handle func(http.ResponseWriter, *http.Request) bool, change func(*device.Answer), validity time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.handle, g.change = handle, change
	if validity != 0 {
		g.validity = validity
	}
}

// Admitted is how many certificates were given for the code.
func (g *Gateway) Admitted() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.admitted
}

// Reports are what devices found, in the order they told it.
func (g *Gateway) Reports() []device.Report {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reports
}

// Identify is a signed identity of a key.
func (g *Gateway) Identify(by *statement.Signer, id statement.Identity, audience string) []byte {
	g.tb.Helper()
	id.Version, id.To = 1, 1<<47
	s, err := by.Sign(statement.Header{Issuer: "urn:test:authority", Audience: audience, Kind: statement.KindIdentity}, dcbor.MustMarshal(&id))
	if err != nil {
		g.tb.Error(err)
		return nil
	}
	return s.Bytes()
}

func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.handle != nil && g.handle(w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		g.tb.Error(err)
	}
	switch r.Method + " " + r.URL.Path {
	case "GET " + est.PathCACerts:
		g.send(w, g.CA)
	case "POST " + est.PathEnroll:
		if _, code, _ := r.BasicAuth(); code != Code {
			Refuse(w, http.StatusUnauthorized, "no such claim code")
			return
		}
		g.admitted++
		g.enroll(w, r, body, nil)
	case "POST " + est.PathReenroll:
		if id := g.peer(w, r); id != nil {
			g.enroll(w, r, body, id)
		}
	case "POST " + device.PathDevice:
		id := g.peer(w, r)
		if id == nil {
			return
		}
		var report device.Report
		if err := json.Unmarshal(body, &report); err != nil {
			g.tb.Errorf("report %s: %v", body, err)
		}
		g.reports = append(g.reports, report)
		a := g.Answer(*id)
		if g.change != nil {
			g.change(&a)
		}
		if err := json.NewEncoder(w).Encode(a); err != nil {
			g.tb.Error(err)
		}
	default:
		g.tb.Errorf("%s %s", r.Method, r.URL)
	}
}

// Answer is a good answer to the device of an identity, without a plan.
func (g *Gateway) Answer(id statement.Identity) device.Answer {
	return device.Answer{Identity: g.Identify(g.Authority, id, Audience), Audience: Audience, Tenant: "demo", Broker: "mqtts://127.0.0.1:1",
		Authority: g.Authority.Key().Encoded(), Origin: "example.org/demo", LogKey: g.Authority.Key().Encoded()}
}

// Refuse answers as an EST server refuses.
func Refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}

func (g *Gateway) peer(w http.ResponseWriter, r *http.Request) *statement.Identity {
	if len(r.TLS.PeerCertificates) == 0 {
		Refuse(w, http.StatusUnauthorized, "no client certificate")
		return nil
	}
	key, err := statement.NewKey(r.TLS.PeerCertificates[0].PublicKey)
	if err != nil {
		g.tb.Error(err)
	}
	id := g.ids[key.ID()]
	if id == nil {
		Refuse(w, http.StatusForbidden, "unknown key")
	}
	return id
}

func (g *Gateway) enroll(w http.ResponseWriter, r *http.Request, body []byte, present *statement.Identity) {
	req, err := est.ParseRequest(body)
	if err != nil {
		g.tb.Error(err)
		return
	}
	if want, err := est.Binding(r.TLS); err != nil || req.Binding != want {
		g.tb.Errorf("the request is linked to %q, the connection is %q: %v", req.Binding, want, err)
	}
	key, err := statement.NewKey(req.Key)
	if err != nil {
		g.tb.Error(err)
	}
	id := &statement.Identity{Key: statement.PublicKey{Key: key}, Subject: "urn:dev:test", Role: statement.RoleDevice, Name: req.Name}
	if present != nil && present.Key.ID() != key.ID() {
		old := present.Key.ID()
		id.Epoch, id.Replaces, id.Name = present.Epoch+1, &old, present.Name
	} else if present != nil {
		id = present
	}
	g.ids[key.ID()] = id
	validity := time.Hour
	if present == nil {
		validity = g.validity
	}
	g.send(w, g.certificate(&x509.Certificate{Subject: pkix.Name{CommonName: id.Subject}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
		req.Key, validity))
}

func (g *Gateway) send(w http.ResponseWriter, c *x509.Certificate) {
	body, err := est.EncodeCertificates(c)
	if err != nil {
		g.tb.Error(err)
	}
	w.Header().Set("Content-Type", est.TypeCertificates)
	_, _ = w.Write(body)
}
