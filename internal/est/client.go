package est

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	patience   = 30 * time.Second // for one request, connection included
	maxRefusal = 4 << 10          // bytes of a refusal that are read
)

// Refused is the server's no; asking again in the same way will not help.
type Refused struct {
	Status int // of HTTP; 0: the server is not the one that was pinned
	Detail string
}

func (r *Refused) Error() string {
	if r.Status == 0 {
		return r.Detail
	}
	return fmt.Sprintf("the gateway refused (%d): %s", r.Status, r.Detail)
}

// ParseBase checks the address of a server: https, a host, nothing after it.
func ParseBase(base string) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("%q is no address like https://10.0.0.5:8443", base)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// ServerTLS verifies a server by one pinned authority alone, and shows it the
// certificate that current gives; nil: none. A clock that is behind, as a Pi's
// is after a power cut, cannot tell a certificate that is not valid yet: only
// those that have run out are refused.
func ServerTLS(ca *x509.Certificate, host string, current func() (*tls.Certificate, error)) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	conf := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         host,
		InsecureSkipVerify: true, // VerifyConnection does it, with another idea of the time
		VerifyConnection: func(cs tls.ConnectionState) error {
			leaf, between := cs.PeerCertificates[0], x509.NewCertPool()
			for _, c := range cs.PeerCertificates[1:] {
				between.AddCert(c)
			}
			at := time.Now()
			if at.Before(leaf.NotBefore) {
				at = leaf.NotBefore
			}
			_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: host, CurrentTime: at,
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			return err
		},
	}
	if current != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return current() }
	}
	return conf
}

// A Client speaks to one server. It is safe for concurrent use.
type Client struct {
	base *url.URL
	tls  *tls.Config
}

// NewClient speaks to the server at base, of which ca is pinned, and shows it the
// certificate that current gives; nil: none.
func NewClient(base string, ca *x509.Certificate, current func() (*tls.Certificate, error)) (*Client, error) {
	u, err := ParseBase(base)
	if err != nil {
		return nil, err
	}
	return &Client{u, ServerTLS(ca, u.Hostname(), current)}, nil
}

// Bootstrap fetches the authority with a SHA-256 fingerprint from the server at
// base (RFC 7030 section 4.1.1). The connection is not to be trusted and nothing
// is told on it: the fingerprint alone decides.
func Bootstrap(ctx context.Context, base string, fingerprint [32]byte) (*x509.Certificate, error) {
	u, err := ParseBase(base)
	if err != nil {
		return nil, err
	}
	c := &Client{u, &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}}
	body, err := c.Do(ctx, http.MethodGet, PathCACerts, "", nil, maxCertificates)
	if err != nil {
		return nil, err
	}
	certs, err := ParseCertificates(body)
	if err != nil {
		return nil, err
	}
	for _, ca := range certs {
		if sha256.Sum256(ca.Raw) == fingerprint {
			return ca, nil
		}
	}
	return nil, &Refused{0, fmt.Sprintf("the server at %s does not have the authority %s… of the claim, but %s…\nhint: it is not the gateway that made the claim, or somebody stands between; ask for a new claim",
		base, hex.EncodeToString(fingerprint[:4]), hex.EncodeToString(sum(certs[0].Raw)[:4]))}
}

func sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}

// Enroll asks for signer's first certificate with a password (RFC 7030 section
// 4.2.1). The error is a *Refused when the server said no.
func (c *Client) Enroll(ctx context.Context, password string, signer crypto.Signer, subject []byte) (*x509.Certificate, error) {
	return c.enroll(ctx, PathEnroll, password, signer, subject)
}

// Reenroll asks for a new certificate over a connection with the present one:
// for the same key, or for another, whose signer made the request (RFC 7030
// section 4.2.2). subject must be the present one's.
func (c *Client) Reenroll(ctx context.Context, signer crypto.Signer, subject []byte) (*x509.Certificate, error) {
	return c.enroll(ctx, PathReenroll, "", signer, subject)
}

func (c *Client) enroll(ctx context.Context, path, password string, signer crypto.Signer, subject []byte) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	state := conn.ConnectionState()
	binding, err := Binding(&state)
	if err != nil {
		return nil, err
	}
	body, err := NewRequest(signer, subject, binding)
	if err != nil {
		return nil, err
	}
	req, err := c.request(ctx, http.MethodPost, path, TypeRequest, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Transfer-Encoding", "base64")
	if password != "" {
		req.SetBasicAuth("device", password)
	}
	// On this connection and no other: the request is bound to it.
	answer, err := roundTrip(req, func(context.Context, string, string) (net.Conn, error) { return conn, nil }, maxCertificates)
	if err != nil {
		return nil, err
	}
	certs, err := ParseCertificates(answer)
	if err != nil {
		return nil, err
	}
	return certificateOf(signer.Public(), certs)
}

// Do makes one request and reads an answer of at most max bytes. The error is a
// *Refused when the server said no; any other may pass.
func (c *Client) Do(ctx context.Context, method, path, contentType string, body []byte, max int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := c.request(ctx, method, path, contentType, body)
	if err != nil {
		return nil, err
	}
	return roundTrip(req, func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) }, max)
}

func (c *Client) request(ctx context.Context, method, path, contentType string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return req, nil
}

func (c *Client) dial(ctx context.Context) (*tls.Conn, error) {
	address := c.base.Host
	if c.base.Port() == "" {
		address = net.JoinHostPort(c.base.Hostname(), "443")
	}
	d := tls.Dialer{Config: c.tls}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return conn.(*tls.Conn), nil
}

// roundTrip makes one request on a connection of its own.
func roundTrip(req *http.Request, dial func(context.Context, string, string) (net.Conn, error), max int64) ([]byte, error) {
	t := &http.Transport{DialTLSContext: dial, DisableKeepAlives: true}
	resp, err := t.RoundTrip(req) // follows no redirection: only the pinned server counts
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		b, err := io.ReadAll(io.LimitReader(resp.Body, max+1))
		if err == nil && int64(len(b)) > max {
			err = fmt.Errorf("answer of over %d bytes", max)
		}
		return b, err
	}
	detail := refusal(resp)
	if c := resp.StatusCode; c >= 400 && c < 500 && c != http.StatusTooManyRequests && c != http.StatusRequestTimeout {
		return nil, &Refused{c, detail}
	}
	return nil, fmt.Errorf("the gateway answers %d: %s", resp.StatusCode, detail)
}

// refusal is the text of an answer that is not 200 (RFC 7030 section 4.2.3).
func refusal(resp *http.Response) string {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	text := strings.TrimSpace(string(b))
	if t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || t != "text/plain" || text == "" {
		return "no reason given"
	}
	return text
}
