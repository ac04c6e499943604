package notify

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// mailbox is a real SMTP server.
type mailbox struct {
	mu   sync.Mutex
	got  []received
	deny *smtp.SMTPError // to each recipient
}

type received struct {
	from, user string
	to         []string
	data       string
	tls        bool
}

func (b *mailbox) NewSession(c *smtp.Conn) (smtp.Session, error) {
	_, secure := c.TLSConnectionState()
	return &session{b: b, m: received{tls: secure}}, nil
}

type session struct {
	b *mailbox
	m received
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "gateway" || password != "correct horse" {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "wrong password"}
		}
		s.m.user = user
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.m.user == "" {
		return smtp.ErrAuthRequired
	}
	s.m.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if s.b.deny != nil {
		return s.b.deny
	}
	s.m.to = append(s.m.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.m.data = string(data)
	s.b.got = append(s.b.got, s.m)
	return nil
}

func (s *session) Reset()        { s.m.from, s.m.to = "", nil }
func (s *session) Logout() error { return nil }

// serve starts the server; with offer it offers STARTTLS, else it speaks TLS from
// the first byte, or not at all without a certificate.
func (b *mailbox) serve(t *testing.T, cert *tls.Certificate, implicit bool) string {
	t.Helper()
	s := smtp.NewServer(b)
	s.Domain = "mail.example"
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if cert != nil {
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}}
	}
	if implicit {
		ln = tls.NewListener(ln, s.TLSConfig)
	} else {
		s.AllowInsecureAuth = true
	}
	go func() { _ = s.Serve(ln) }() // Close ends it
	t.Cleanup(func() { s.Close() })
	return ln.Addr().String()
}

func certificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func mailTo(t *testing.T, server, how, password, ca string) *Targets {
	t.Helper()
	text, err := json.Marshal(map[string]any{"own_networks": []string{"127.0.0.0/8"}, "targets": []any{map[string]any{"id": "m", "type": "smtp", "server": server, "tls": how,
		"user": "gateway", "password": password, "from": "Gateway <gateway@acme.example>", "to": []string{"a@acme.example", "b@acme.example"}, "ca": ca}}})
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(text))
}

func TestMail(t *testing.T) {
	cert, ca := certificate(t)
	for _, how := range []string{"starttls", "tls"} {
		t.Run(how, func(t *testing.T) {
			b := new(mailbox)
			x := mailTo(t, b.serve(t, &cert, how == "tls"), how, "correct horse", ca)
			for range 2 {
				if err := x.send(t.Context(), "m", "k7", message, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			if len(b.got) != 2 || !b.got[0].tls || b.got[0].user != "gateway" || b.got[0].from != "gateway@acme.example" || len(b.got[0].to) != 2 {
				t.Fatalf("%+v", b.got)
			}
			m, err := mail.ReadMessage(strings.NewReader(b.got[0].data))
			if err != nil {
				t.Fatal(err)
			}
			again, err := mail.ReadMessage(strings.NewReader(b.got[1].data))
			if err != nil {
				t.Fatal(err)
			}
			if id := m.Header.Get("Message-Id"); id != "<k7@trailmark.gateway>" || id != again.Header.Get("Message-Id") {
				t.Errorf("message id %q", id)
			}
			subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
			if err != nil || subject != message.Title() || !strings.HasPrefix(subject, "【报警】超出限值") {
				t.Errorf("subject %q, %v", subject, err)
			}
			body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
			if text := strings.ReplaceAll(string(body), "\r\n", "\n"); err != nil || strings.TrimSpace(text) != strings.TrimSpace(message.Text()) {
				t.Errorf("body %q, %v", body, err)
			}
		})
	}
}

func TestMailRefused(t *testing.T) {
	cert, ca := certificate(t)
	_, foreign := certificate(t)
	for _, c := range []struct {
		name         string
		cert         *tls.Certificate
		password, ca string
		deny         *smtp.SMTPError
		refusal      bool
		want         string
	}{
		{name: "no STARTTLS offered", password: "correct horse", ca: ca, want: "STARTTLS"},
		{name: "unknown certificate", cert: &cert, password: "correct horse", ca: foreign, want: "certificate"},
		{name: "wrong password", cert: &cert, password: "battery staple", ca: ca, want: "535"},
		{name: "no such recipient", cert: &cert, password: "correct horse", ca: ca, deny: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}, refusal: true, want: "550"},
		{name: "greylisted", cert: &cert, password: "correct horse", ca: ca, deny: &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "later"}, want: "451"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &mailbox{deny: c.deny}
			err := mailTo(t, b.serve(t, c.cert, false), "starttls", c.password, c.ca).send(t.Context(), "m", "k", message, time.Now())
			var refusal *Refusal
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.As(err, &refusal) != c.refusal {
				t.Errorf("%v (%T), want %q", err, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), c.password) {
				t.Error("the password is in the error")
			}
			if len(b.got) != 0 {
				t.Errorf("%+v was sent", b.got)
			}
		})
	}
	b := new(mailbox)
	server := b.serve(t, &cert, false)
	text := `{"targets":[{"id":"m","type":"smtp","server":"` + server + `","tls":"starttls","from":"g@acme.example","to":["a@acme.example"]}]}`
	if err := parse(t, text).send(t.Context(), "m", "k", message, time.Now()); err == nil || !strings.Contains(err.Error(), "not a public network") {
		t.Errorf("loopback: %v", err)
	}
}
