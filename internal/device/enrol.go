package device

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"trailmark/statement"
)

// A Request is what a device says of itself when it enrols.
type Request struct {
	Name      string           `json:"name"` // host name
	Channels  []RequestChannel `json:"channels"`
	Antennas  []string         `json:"antennas"`
	Simulated bool             `json:"simulated"`
}

// A RequestChannel is a channel that the device found.
type RequestChannel struct {
	Name    string `json:"name"`
	Unit    string `json:"unit"`       // SenML
	Nominal int64  `json:"nominal_ms"` // between readings
}

// An Enrolment is what a device got for its claim code: who it is, whom it
// trusts from now on, and where its gateway listens. Every field was checked.
type Enrolment struct {
	Identity  *statement.Identity
	Audience  string
	Tenant    string
	Broker    string // URL
	Password  string // of the user whose name is the key id
	Authority statement.Key
	Origin    string // of the ledger
	LogKey    statement.Key
	Plan      *Plan  // nil: no plan yet
	Raw       []byte // the gateway's answer, which ParseEnrolment reads again
}

// Refused is the gateway's no to an enrolment; asking again will not help.
type Refused struct {
	Status int // of HTTP
	Detail string
}

func (r *Refused) Error() string {
	return fmt.Sprintf("gateway refused the enrolment (%d): %s", r.Status, r.Detail)
}

const (
	maxAnswer  = 4 << 20 // bytes: a plan and identities of 256 KiB each, in base64
	maxProblem = 16 << 10
	enrolWait  = 30 * time.Second
	proofLabel = "trailmark enroll v1\n"
)

var tenantForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// answer is the gateway's JSON.
type answer struct {
	Identity   []byte   `json:"identity"`
	Audience   string   `json:"audience"`
	Tenant     string   `json:"tenant"`
	Broker     string   `json:"broker"`
	Password   string   `json:"password"`
	Authority  []byte   `json:"authority"`
	Origin     string   `json:"origin"`
	LogKey     []byte   `json:"log_key"`
	Plan       []byte   `json:"plan"`
	Identities [][]byte `json:"identities"`
}

// Enrol trades a one-time claim code for an enrolment of signer's Ed25519 key.
// gateway is its base URL. The error is a *Refused when the gateway said no; any
// other may pass, and the same call may be made again.
func Enrol(ctx context.Context, gateway, claim string, signer crypto.Signer, r Request) (*Enrolment, error) {
	pub, ok := signer.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("enrolment needs an Ed25519 key, not %T", signer.Public())
	}
	key, err := statement.NewKey(pub)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(struct {
		Claim string `json:"claim"`
		Key   []byte `json:"key"`
		Request
	}{claim, key.Encoded(), r})
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(append([]byte(proofLabel), body...))
	proof, err := signer.Sign(rand.Reader, digest[:], crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("proof of possession: %w", err)
	}
	envelope, err := json.Marshal(struct {
		Body  string `json:"body"`
		Proof []byte `json:"proof"`
	}{string(body), proof})
	if err != nil {
		return nil, err
	}
	raw, err := post(ctx, gateway, envelope)
	if err != nil {
		return nil, err
	}
	e, err := ParseEnrolment(raw, key)
	if err != nil {
		return nil, err
	}
	if r.Simulated && !e.Identity.Simulated {
		return nil, errors.New("identity does not say that this device is simulated")
	}
	return e, nil
}

func post(ctx context.Context, gateway string, envelope []byte) ([]byte, error) {
	u, err := url.Parse(gateway)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, &Refused{0, fmt.Sprintf("gateway address %q is no http or https URL", gateway)}
	}
	ctx, cancel := context.WithTimeout(ctx, enrolWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.JoinPath("enroll").String(), bytes.NewReader(envelope))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("enrolment: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		detail := problem(resp)
		if c := resp.StatusCode; c >= 400 && c < 500 && c != http.StatusTooManyRequests && c != http.StatusRequestTimeout {
			return nil, &Refused{c, detail}
		}
		return nil, fmt.Errorf("enrolment: gateway answers %d: %s", resp.StatusCode, detail)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("enrolment: %w", err)
	}
	return raw, nil
}

// problem is the detail of an RFC 9457 answer.
func problem(resp *http.Response) string {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	var p struct{ Title, Detail string }
	if t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); err == nil && t == "application/problem+json" && json.Unmarshal(b, &p) == nil {
		if p.Detail != "" {
			return p.Detail
		}
		if p.Title != "" {
			return p.Title
		}
	}
	return "no reason given"
}

// ParseEnrolment checks a gateway's answer: the identity is key's, as a device,
// by the authority that the answer names and that is pinned from now on; the
// plan is a site's under the same authority; the log key can sign a ledger.
func ParseEnrolment(raw []byte, key statement.Key) (*Enrolment, error) {
	if len(raw) > maxAnswer {
		return nil, fmt.Errorf("enrolment of over %d bytes", maxAnswer)
	}
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, fmt.Errorf("enrolment: %w", err)
	}
	e := &Enrolment{Audience: a.Audience, Tenant: a.Tenant, Broker: a.Broker, Password: a.Password, Origin: a.Origin, Raw: raw}
	var err error
	if e.Authority, err = statement.ParseKey(a.Authority); err != nil {
		return nil, fmt.Errorf("enrolment: authority: %w", err)
	}
	if e.LogKey, err = statement.ParseKey(a.LogKey); err != nil {
		return nil, fmt.Errorf("enrolment: log key: %w", err)
	}
	if _, err := statement.LogVerifier(a.Origin, e.LogKey); err != nil {
		return nil, fmt.Errorf("enrolment: origin %q of the ledger: %w", a.Origin, err)
	}
	// The tenant becomes a level of a topic: a slash or a wildcard would be another one.
	if !tenantForm.MatchString(a.Tenant) || !strings.HasPrefix(a.Audience, a.Tenant+"/") {
		return nil, fmt.Errorf("enrolment: tenant %q and audience %q do not go together", a.Tenant, a.Audience)
	}
	if u, err := url.Parse(a.Broker); err != nil || u.Scheme == "" || u.Host == "" {
		return nil, fmt.Errorf("enrolment: broker %q is no URL", a.Broker)
	}
	s, err := statement.Parse(a.Identity)
	if err != nil {
		return nil, fmt.Errorf("enrolment: identity: %w", err)
	}
	if e.Identity, err = statement.NewKeyring(a.Audience, e.Authority).Add(s); err != nil {
		return nil, fmt.Errorf("enrolment: identity: %w", err)
	}
	if id := e.Identity; id.Key.ID() != key.ID() || id.Role != statement.RoleDevice {
		return nil, fmt.Errorf("enrolment: identity is of key %.8s… in role %d, not of ours, %.8s…, as a device",
			id.Key.ID(), id.Role, key.ID())
	}
	if len(a.Plan) > 0 {
		if e.Plan, err = OpenPlan(a.Audience, e.Authority, a.Plan, a.Identities); err != nil {
			return nil, fmt.Errorf("enrolment: %w", err)
		}
	}
	return e, nil
}

// A Plan is a plan that its site signed, in the words of the pinned authority.
type Plan struct {
	*statement.Plan
	ID statement.Hash
}

// OpenPlan verifies a plan statement through the identities that came with it:
// only those by the authority count, and the signer must have the role of a site.
func OpenPlan(audience string, authority statement.Key, plan []byte, identities [][]byte) (*Plan, error) {
	ring := statement.NewKeyring(audience, authority)
	for _, data := range identities {
		s, err := statement.Parse(data)
		if err == nil {
			_, err = ring.Add(s)
		}
		if err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
	}
	s, err := statement.Parse(plan)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p, err := s.Plan()
	if err != nil {
		return nil, err
	}
	if _, err := ring.Verify(s); err != nil {
		return nil, err
	}
	return &Plan{p, s.ID()}, nil
}

// Entry is the plan's entry for a channel of a device, nil if it has none.
func (p *Plan) Entry(device statement.Hash, channel string) *statement.Channel {
	if p == nil {
		return nil
	}
	if _, c, ok := p.Plan.Channel(device, channel); ok {
		return &c
	}
	return nil
}
