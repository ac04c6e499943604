package enrol

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/internal/device"
	"trailmark/internal/est"
	"trailmark/statement"
)

// desk is an office behind its EST server.
type desk struct {
	*Office
	ca     *CA
	url    string
	claims string
	offset time.Duration // of the CA's clock; set between requests only
}

func newDesk(t testing.TB) *desk {
	t.Helper()
	d := &desk{}
	d.Office, _, d.claims = newOffice(t)
	d.ca, _ = newCA(t, time.Now)
	d.ca.now = func() time.Time { return time.Now().Add(d.offset) }
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	srv := &http.Server{Handler: Handler(d.Office, d.ca, log), TLSConfig: d.ca.ServerTLS([]string{"127.0.0.1"}, tls.RequestClientCert),
		ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelInfo)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.ServeTLS(ln, "", "") }()
	t.Cleanup(func() {
		srv.Close()
		<-served
	})
	d.url = "https://" + ln.Addr().String()
	return d
}

func (d *desk) claim(code string) device.Claim {
	return device.Claim{Gateway: d.url, Code: code, Fingerprint: Fingerprint(d.ca.Certificate())}
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestDeviceEnrols takes our own client through its life: claim, lost answer,
// renewal, another key; with both kinds of keys.
func TestDeviceEnrols(t *testing.T) {
	for name, signer := range map[string]crypto.Signer{"Ed25519": key(1), "P-256": ecKey(t)} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			claim(t, d.claims, "ABC-DEF-GHJ", "cold1", simulated)
			e, err := device.Enrol(t.Context(), d.claim("ABC-DEF-GHJ"), signer, "pi", found)
			if err != nil {
				t.Fatal(err)
			}
			kid := e.Identity.Key.ID()
			if !e.Identity.Simulated || e.Identity.Name != "pi" || e.Plan.Entry(kid, "28-1/temp") == nil || e.Broker != "mqtts://127.0.0.1:8883" {
				t.Errorf("%+v", e)
			}
			again, err := device.Enrol(t.Context(), d.claim("ABC-DEF-GHJ"), signer, "pi", found)
			if err != nil || again.Identity.From != e.Identity.From || again.Plan.ID != e.Plan.ID {
				t.Errorf("its answer lost, it asked again: %v", err)
			}
			renewed, err := e.Renew(t.Context(), signer)
			if err != nil || renewed.Certificate.SerialNumber.Cmp(e.Certificate.SerialNumber) == 0 {
				t.Fatalf("renewal: %v", err)
			}
			next := ecKey(t)
			rotated, err := renewed.Rotate(t.Context(), signer, next, device.Report{})
			if err != nil {
				t.Fatal(err)
			}
			if id := rotated.Identity; id.Epoch != 1 || *id.Replaces != kid || rotated.Plan.Entry(id.Key.ID(), "28-1/temp") == nil {
				t.Errorf("%+v", rotated)
			}
			// The answer lost after the hand-over, the old key asks again; with a third it may not.
			if _, err := renewed.Rotate(t.Context(), signer, next, device.Report{}); err != nil {
				t.Error(err)
			}
			var no *est.Refused
			if _, err := renewed.Rotate(t.Context(), signer, ecKey(t), device.Report{}); !errors.As(err, &no) || no.Status != 403 {
				t.Errorf("a second successor: %v", err)
			}
			if _, err := rotated.Renew(t.Context(), next); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestExpired: a certificate that ran out opens nothing; the claim it came from
// does, for the same key.
func TestExpired(t *testing.T) {
	d := newDesk(t)
	claim(t, d.claims, "ABC-DEF-GHJ", "cold1")
	e, err := device.Enrol(t.Context(), d.claim("ABC-DEF-GHJ"), key(1), "pi", found)
	if err != nil {
		t.Fatal(err)
	}
	d.offset = deviceValidity + time.Minute
	var no *est.Refused
	if _, err := e.Renew(t.Context(), key(1)); !errors.As(err, &no) || no.Status != 403 || !strings.Contains(no.Detail, "has run out") {
		t.Errorf("renewal too late: %v", err)
	}
	again, err := device.Enrol(t.Context(), d.claim("ABC-DEF-GHJ"), key(1), "pi", found)
	if err != nil || again.Identity.Key.ID() != e.Identity.Key.ID() {
		t.Errorf("with its old claim: %v", err)
	}
}

// post sends a body as no client of ours would.
func (d *desk) post(t testing.TB, path, mediaType string, body []byte, code string, cert *tls.Certificate) (int, string) {
	t.Helper()
	conf := est.ServerTLS(d.ca.Certificate(), "127.0.0.1", nil)
	if cert != nil {
		conf.Certificates = []tls.Certificate{*cert}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	if code != "" {
		req.SetBasicAuth("x", code)
	}
	resp, err := (&http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode == http.StatusUnauthorized && !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Basic ") {
		t.Error("401 without a challenge")
	}
	return resp.StatusCode, string(text)
}

func TestHandlerRefuses(t *testing.T) {
	d := newDesk(t)
	claim(t, d.claims, "ABC-DEF-GHJ", "cold1")
	subject, err := est.Subject("pi")
	if err != nil {
		t.Fatal(err)
	}
	good, err := est.NewRequest(key(1), subject, "")
	if err != nil {
		t.Fatal(err)
	}
	linked, err := est.NewRequest(key(1), subject, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	if err != nil {
		t.Fatal(err)
	}
	spoiled := bytes.Clone(good)
	spoiled[len(spoiled)-8] ^= 1
	self := func(signer crypto.Signer, by *CA) *tls.Certificate {
		c, err := by.Device(signer.Public(), "urn:dev:x")
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: signer}
	}
	foreign, _ := newCA(t, time.Now)
	claim(t, d.claims, "KNX-WNK-EYS", "cold1")
	if _, err := device.Enrol(t.Context(), d.claim("KNX-WNK-EYS"), key(9), "pi", found); err != nil {
		t.Fatal(err)
	}
	known := self(key(9), d.ca)
	const csr = est.TypeRequest
	for name, c := range map[string]struct {
		path, mediaType string
		body            []byte
		code            string
		cert            *tls.Certificate
		status          int
		want            string
	}{
		"no code":                   {est.PathEnroll, csr, good, "", nil, 401, "no claim code"},
		"a certificate, no code":    {est.PathEnroll, csr, good, "", known, 401, "no claim code"},
		"wrong code":                {est.PathEnroll, csr, good, "ZZZ-ZZZ-ZZZ", nil, 401, "not known"},
		"wrong type":                {est.PathEnroll, "application/json", good, "ABC-DEF-GHJ", nil, 415, "want application/pkcs10"},
		"oversize":                  {est.PathEnroll, csr, make([]byte, est.MaxRequest+1), "ABC-DEF-GHJ", nil, 413, "over 16384 bytes"},
		"not a request":             {est.PathEnroll, csr, []byte("hello"), "ABC-DEF-GHJ", nil, 400, "base64"},
		"possession not proven":     {est.PathEnroll, csr, spoiled, "ABC-DEF-GHJ", nil, 400, "prove possession"},
		"another connection":        {est.PathEnroll, csr, linked, "ABC-DEF-GHJ", nil, 403, "another connection"},
		"renewal without a cert":    {est.PathReenroll, csr, good, "", nil, 401, "no client certificate"},
		"renewal by a foreign CA":   {est.PathReenroll, csr, good, "", self(key(9), foreign), 403, "unknown authority"},
		"renewal by nobody's key":   {est.PathReenroll, csr, good, "", self(key(8), d.ca), 403, "no device's"},
		"renewal linked elsewhere":  {est.PathReenroll, csr, linked, "", known, 403, "another connection"},
		"renewal of a bad request":  {est.PathReenroll, csr, spoiled, "", known, 400, "prove possession"},
		"report without a cert":     {device.PathDevice, "application/json", []byte("{}"), "", nil, 401, "no client certificate"},
		"report of another type":    {device.PathDevice, "text/plain", []byte("{}"), "", known, 415, "want application/json"},
		"report that is none":       {device.PathDevice, "application/json", []byte("{"), "", known, 400, "report"},
		"report too long":           {device.PathDevice, "application/json", make([]byte, maxReport+1), "", known, 413, "over 65536 bytes"},
		"an address of other tools": {"/.well-known/est/serverkeygen", csr, good, "ABC-DEF-GHJ", nil, 404, "not found"},
	} {
		t.Run(name, func(t *testing.T) {
			status, text := d.post(t, c.path, c.mediaType, c.body, c.code, c.cert)
			if status != c.status || !strings.Contains(text, c.want) {
				t.Errorf("%d %s, want %d %s", status, text, c.status, c.want)
			}
		})
	}
	if c, _, err := loadClaim(d.claims, "ABC-DEF-GHJ"); err != nil || c.Used != "" {
		t.Errorf("a refused request used the code up: %+v, %v", c, err)
	}
	// Another key with a code that is used, and the same key without a link, as curl sends it.
	if status, text := d.post(t, est.PathEnroll, csr, good, "KNX-WNK-EYS", nil); status != 403 || !strings.Contains(text, "used up") {
		t.Errorf("another key: %d %s", status, text)
	}
	if status, text := d.post(t, est.PathEnroll, csr, good, "ABC-DEF-GHJ", nil); status != 200 {
		t.Errorf("not linked: %d %s", status, text)
	}
}

// TestRevokedDevice: a key that was taken back gets no certificate, no successor and
// no plan.
func TestRevokedDevice(t *testing.T) {
	d := newDesk(t)
	claim(t, d.claims, "ABC-DEF-GHJ", "cold1")
	e, err := device.Enrol(t.Context(), d.claim("ABC-DEF-GHJ"), key(1), "pi", found)
	if err != nil {
		t.Fatal(err)
	}
	subject, err := est.Subject("pi")
	if err != nil {
		t.Fatal(err)
	}
	cert := &tls.Certificate{Certificate: [][]byte{e.Certificate.Raw}, PrivateKey: key(1)}
	s, err := d.keys.Revoke(t.Context(), d.store, nil, public(t, 1).ID(), 5)
	d.take(t, s, err)
	for name, c := range map[string]struct {
		path, mediaType string
		signer          crypto.Signer
		code            string
	}{
		"renewal":        {est.PathReenroll, est.TypeRequest, key(1), ""},
		"another key":    {est.PathReenroll, est.TypeRequest, key(2), ""},
		"report":         {device.PathDevice, "application/json", nil, ""},
		"its code again": {est.PathEnroll, est.TypeRequest, key(1), "ABC-DEF-GHJ"},
	} {
		body := []byte("{}")
		if c.signer != nil {
			if body, err = est.NewRequest(c.signer, subject, ""); err != nil {
				t.Fatal(err)
			}
		}
		if status, text := d.post(t, c.path, c.mediaType, body, c.code, cert); status != 403 || !strings.Contains(text, "was revoked: its frames from seq 5 on are void") {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if _, known := d.gate.Identity(public(t, 2).ID()); known {
		t.Error("a revoked key got a successor")
	}
}

// TestForeignClient: curl and openssl, which know nothing of us, fetch the CA,
// enrol, and renew.
func TestForeignClient(t *testing.T) {
	for _, name := range []string{"curl", "openssl"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("no %s: apt-get install %s", name, name)
		}
	}
	d := newDesk(t)
	claim(t, d.claims, "ABC-DEF-GHJ", "cold1")
	dir := t.TempDir()
	run := func(name string, args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, &stderr)
		}
		return out
	}
	// certs turns an answer's base64 into certificates with openssl alone.
	certs := func(answer []byte) (out []*x509.Certificate) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "answer.b64"), append(answer, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		run("openssl", "base64", "-d", "-A", "-in", "answer.b64", "-out", "answer.p7")
		for rest := run("openssl", "pkcs7", "-inform", "DER", "-in", "answer.p7", "-print_certs"); ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				return out
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, c)
		}
	}
	save := func(name string, c *x509.Certificate) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The fingerprint that the claim carries is the one that openssl prints.
	got := certs(run("curl", "-sS", "--fail-with-body", "--insecure", d.url+est.PathCACerts))
	if len(got) != 1 || !got[0].Equal(d.ca.Certificate()) {
		t.Fatalf("cacerts: %d certificates", len(got))
	}
	save("ca.pem", got[0])
	printed := strings.ToLower(strings.ReplaceAll(string(run("openssl", "x509", "-in", "ca.pem", "-noout", "-fingerprint", "-sha256")), ":", ""))
	if _, fingerprint, _ := strings.Cut(d.claim("X").String(), "#X."); len(fingerprint) != 64 || !strings.Contains(printed, fingerprint) {
		t.Errorf("openssl says %s, the claim %s", printed, fingerprint)
	}
	attrs := run("curl", "-sS", "--fail-with-body", "--cacert", "ca.pem", d.url+est.PathCSRAttrs)
	if err := os.WriteFile(filepath.Join(dir, "attrs.b64"), append(attrs, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	run("openssl", "base64", "-d", "-A", "-in", "attrs.b64", "-out", "attrs.der")
	if out := run("openssl", "asn1parse", "-inform", "DER", "-in", "attrs.der"); !bytes.Contains(out, []byte("challengePassword")) {
		t.Errorf("csrattrs: %s", out)
	}

	for i, kind := range [][]string{{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, {"-algorithm", "ED25519"}} {
		code := []string{"ABC-DEF-GHK", "ABC-DEF-GHM"}[i]
		claim(t, d.claims, code, "cold1")
		run("openssl", append([]string{"genpkey", "-out", "dev.key"}, kind...)...)
		request := func() []byte {
			run("openssl", "req", "-new", "-key", "dev.key", "-subj", "/CN=probe 7", "-outform", "DER", "-out", "dev.csr")
			return run("openssl", "base64", "-in", "dev.csr", "-out", "dev.p10") // in lines of 64
		}
		request()
		ask := func(path string, args ...string) []byte {
			return run("curl", append([]string{"-sS", "--fail-with-body", "--cacert", "ca.pem", "-H", "Content-Type: application/pkcs10",
				"-H", "Content-Transfer-Encoding: base64", "--data-binary", "@dev.p10", d.url + path}, args...)...)
		}
		first := certs(ask(est.PathEnroll, "--user", "anybody:"+code))
		if len(first) != 1 {
			t.Fatalf("%d certificates", len(first))
		}
		save("dev.pem", first[0])
		run("openssl", "verify", "-purpose", "sslclient", "-CAfile", "ca.pem", "dev.pem")
		run("openssl", "pkcs12", "-export", "-in", "dev.pem", "-inkey", "dev.key", "-out", "dev.p12", "-passout", "pass:")
		id, known := d.gate.Identity(kidOf(t, first[0]))
		if !known || id.Name != "probe 7" || id.Role != statement.RoleDevice {
			t.Errorf("identity %+v", id)
		}
		request()
		second := certs(ask(est.PathReenroll, "--cert", "dev.pem", "--key", "dev.key"))
		if len(second) != 1 || second[0].SerialNumber.Cmp(first[0].SerialNumber) == 0 || kidOf(t, second[0]) != kidOf(t, first[0]) {
			t.Error("renewal gave no new certificate of the key")
		}
		save("dev.pem", second[0])
		var a device.Answer
		if err := json.Unmarshal(run("curl", "-sS", "--fail-with-body", "--cacert", "ca.pem", "--cert", "dev.pem", "--key", "dev.key", d.url+device.PathDevice), &a); err != nil {
			t.Fatal(err)
		}
		if s, err := statement.Parse(a.Identity); err != nil || s.Verify(d.authorities[0], "demo/test") != nil {
			t.Errorf("identity in the answer: %v", err)
		}
		// On to another key: the request by the new one, the connection by the old.
		run("cp", "dev.key", "old.key")
		run("openssl", append([]string{"genpkey", "-out", "dev.key"}, kind...)...)
		request()
		third := certs(ask(est.PathReenroll, "--cert", "dev.pem", "--key", "old.key"))
		if next, known := d.gate.Identity(kidOf(t, third[0])); !known || next.Epoch != 1 || *next.Replaces != kidOf(t, first[0]) {
			t.Errorf("successor %+v", next)
		}
	}
}

func kidOf(t testing.TB, c *x509.Certificate) statement.Hash {
	t.Helper()
	k, err := statement.NewKey(c.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return k.ID()
}

// FuzzHandler: whatever comes as a request or a report, the answer is one of ours.
func FuzzHandler(f *testing.F) {
	d := newDesk(f)
	claim(f, d.claims, "ABC-DEF-GHJ", "cold1")
	subject, err := est.Subject("pi")
	if err != nil {
		f.Fatal(err)
	}
	good, err := est.NewRequest(key(1), subject, "")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, "ABC-DEF-GHJ")
	f.Add([]byte("MIIB"), "../x")
	h := Handler(d.Office, d.ca, slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, body []byte, code string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, est.PathEnroll, bytes.NewReader(body))
		r.TLS = &tls.ConnectionState{}
		r.Header.Set("Content-Type", est.TypeRequest)
		r.SetBasicAuth("x", code)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
