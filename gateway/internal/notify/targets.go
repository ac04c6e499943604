package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A Type is a way of sending.
type Type string

// Types of targets.
const (
	Webhook  Type = "webhook"
	SMTP     Type = "smtp"
	WeCom    Type = "wecom"
	DingTalk Type = "dingtalk"
	Feishu   Type = "feishu"
)

// A Target is where notices go. URL, Secret and Password are secrets.
type Target struct {
	ID   string `json:"id"`
	Type Type   `json:"type"`
	// Of webhooks and robots; the robots' addresses hold their key.
	URL string `json:"url,omitempty"`
	// Of a webhook "whsec_" and base64, of DingTalk "SEC…", of Feishu what its page
	// shows; WeCom has none.
	Secret string `json:"secret,omitempty"`
	Plain  bool   `json:"plain_http,omitempty"` // http:// in one's own network
	// Of mail.
	Server   string   `json:"server,omitempty"` // host:port
	TLS      string   `json:"tls,omitempty"`    // starttls or tls
	User     string   `json:"user,omitempty"`
	Password string   `json:"password,omitempty"`
	From     string   `json:"from,omitempty"`
	To       []string `json:"to,omitempty"`
	// CA is a PEM of certificates to trust instead of the system's.
	CA string `json:"ca,omitempty"`

	url   *url.URL
	key   []byte // of a webhook
	roots *x509.CertPool
}

// Targets are all of them.
type Targets struct {
	// OwnNetworks may be dialled though they are loopback or private.
	OwnNetworks []string  `json:"own_networks,omitempty"`
	Targets     []*Target `json:"targets"`

	guard guard
}

// MaxTargetsText bounds the file, in bytes.
const MaxTargetsText = 256 << 10

var identifier = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Load reads the targets' file; one that is not there has none.
func Load(path string) (*Targets, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return &Targets{}, nil
	} else if err != nil {
		return nil, err
	}
	if info.Size() > MaxTargetsText {
		return nil, fmt.Errorf("%s: %d bytes, at most %d", path, info.Size(), MaxTargetsText)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// Parse reads targets and refuses what it does not know. No error holds a secret.
func Parse(text []byte) (*Targets, error) {
	if len(text) > MaxTargetsText {
		return nil, fmt.Errorf("targets of %d bytes, at most %d", len(text), MaxTargetsText)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var t Targets
	if err := d.Decode(&t); err != nil {
		return nil, fmt.Errorf("targets: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("targets: something follows the closing brace")
	}
	if len(t.Targets) > 256 {
		return nil, fmt.Errorf("%d targets, at most 256", len(t.Targets))
	}
	for _, n := range t.OwnNetworks {
		p, err := netip.ParsePrefix(n)
		if err != nil {
			return nil, fmt.Errorf("own network %q, want one like 10.0.0.0/8", n)
		}
		t.guard.own = append(t.guard.own, p.Masked())
	}
	ids := map[string]bool{}
	for i, x := range t.Targets {
		if x == nil || !identifier.MatchString(x.ID) || ids[x.ID] {
			return nil, fmt.Errorf("target %d: its id is given twice or is no identifier of lower case letters, digits, dots and dashes", i+1)
		}
		ids[x.ID] = true
		if err := x.check(); err != nil {
			return nil, fmt.Errorf("target %s: %w", x.ID, err)
		}
	}
	return &t, nil
}

func (t *Target) check() error {
	if t.CA != "" {
		t.roots = x509.NewCertPool()
		if !t.roots.AppendCertsFromPEM([]byte(t.CA)) {
			return errors.New("ca is no PEM of certificates")
		}
	}
	if t.Type == SMTP {
		return t.checkMail()
	}
	if t.Server != "" || t.TLS != "" || t.User != "" || t.Password != "" || t.From != "" || len(t.To) > 0 {
		return fmt.Errorf("server, tls, user, password, from and to go with type smtp, not with %q", t.Type)
	}
	u, err := url.Parse(t.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !t.Plain) {
		return errors.New("url is no https address\nhint: plain_http allows http in one's own network")
	}
	t.url = u
	switch t.Type {
	case Webhook:
		text, ok := strings.CutPrefix(t.Secret, "whsec_")
		if t.key, err = base64.StdEncoding.DecodeString(text); err != nil || !ok || len(t.key) < 24 || len(t.key) > 64 {
			return errors.New("secret is not whsec_ and base64 of 24 to 64 bytes\nhint: echo whsec_$(openssl rand -base64 32)")
		}
	case WeCom:
		if t.Secret != "" || u.Query().Get("key") == "" {
			return errors.New("want a url with ?key=, and no secret")
		}
	case DingTalk:
		if u.Query().Get("access_token") == "" {
			return errors.New("want a url with ?access_token=")
		}
	case Feishu:
	default:
		return fmt.Errorf("type %q, want webhook, smtp, wecom, dingtalk or feishu", t.Type)
	}
	return nil
}

func (t *Target) checkMail() error {
	if t.URL != "" || t.Secret != "" || t.Plain {
		return errors.New("url, secret and plain_http do not go with type smtp")
	}
	host, port, err := net.SplitHostPort(t.Server)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("server %q, want host:port", t.Server)
	}
	if t.TLS != "starttls" && t.TLS != "tls" {
		return fmt.Errorf("tls %q, want starttls or tls", t.TLS)
	}
	if (t.User == "") != (t.Password == "") {
		return errors.New("want user and password, or neither")
	}
	if len(t.To) < 1 || len(t.To) > 64 {
		return fmt.Errorf("%d addresses in to, want 1 to 64", len(t.To))
	}
	for _, a := range slices.Concat(t.To, []string{t.From}) {
		if _, err := mail.ParseAddress(a); err != nil {
			return fmt.Errorf("%q is no mail address", a)
		}
	}
	return nil
}

// Place says where a target is without a secret.
func (t *Target) Place() string {
	if t.Type == SMTP {
		return t.Server + " → " + strings.Join(t.To, ", ")
	}
	return t.url.Scheme + "://" + t.url.Host + "/…"
}

// Target is the one with an id, nil: there is none.
func (t *Targets) Target(id string) *Target {
	for _, x := range t.Targets {
		if x.ID == id {
			return x
		}
	}
	return nil
}

// Test sends a message that says it is a test, once.
func (t *Targets) Test(ctx context.Context, id, key string, now time.Time) error {
	at := now.Format(time.RFC3339)
	return t.send(ctx, id, key, Message{What: "test", Rule: "test", Kind: "test", Severity: "warning",
		Name: Both{"这是一条测试通知", "this is a test notice"}, Device: "gateway", Start: at, Triggered: at, GatewayClock: true}, now)
}

// send makes one attempt.
func (t *Targets) send(ctx context.Context, id, key string, m Message, now time.Time) error {
	x := t.Target(id)
	if x == nil {
		return &Refusal{fmt.Sprintf("no target %q is set\nhint: gateway alarms targets", id)}
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: t.guard.control}
	if x.Type == SMTP {
		return x.mail(ctx, dialer, key, m, now)
	}
	// No proxy: it would resolve and dial in the guard's place.
	transport := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10,
		TLSHandshakeTimeout: 10 * time.Second, TLSClientConfig: &tls.Config{RootCAs: x.roots, MinVersion: tls.VersionTLS12}}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	switch x.Type {
	case WeCom:
		return x.wecom(ctx, client, m)
	case DingTalk:
		return x.dingtalk(ctx, client, m, now)
	case Feishu:
		return x.feishu(ctx, client, m, now)
	default:
		return x.webhook(ctx, client, key, m, now)
	}
}
