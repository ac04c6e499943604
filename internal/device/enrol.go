package device

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"trailmark/internal/est"
	"trailmark/statement"
)

// PathDevice is the gateway's resource of the device that asks: it is known by
// its certificate. GET gives an Answer, POST takes a Report first.
const PathDevice = "/.well-known/trailmark/device"

// maxAnswer bounds an answer, in bytes: a plan and identities of 256 KiB each, in
// base64.
const maxAnswer = 4 << 20

// MaxEnrolment bounds Enrolment.Raw, in bytes.
const MaxEnrolment = maxAnswer + 64<<10

// A Report is what a device found on itself.
type Report struct {
	Channels []ReportChannel `json:"channels"`
	Antennas []string        `json:"antennas"`
}

// A ReportChannel is a channel that the device found.
type ReportChannel struct {
	Name    string `json:"name"`
	Unit    string `json:"unit"`       // SenML
	Nominal int64  `json:"nominal_ms"` // between readings
}

// An Answer is what a gateway tells a device of itself and of its site.
type Answer struct {
	Identity     []byte   `json:"identity"` // statement
	Audience     string   `json:"audience"`
	Tenant       string   `json:"tenant"`
	Broker       string   `json:"broker"`                  // mqtts URL
	Authority    []byte   `json:"authority"`               // COSE_Key of who vouches for sites and devices
	SimAuthority []byte   `json:"sim_authority,omitempty"` // COSE_Key of who vouches for simulated devices
	Origin       string   `json:"origin"`                  // of the ledger
	LogKey       []byte   `json:"log_key"`                 // COSE_Key
	Plan         []byte   `json:"plan,omitempty"`          // statement
	Identities   [][]byte `json:"identities"`              // of sites
}

// An Enrolment is what a device got for its claim: who it is, whom it trusts from
// now on, and where its gateway listens. Every field was checked.
type Enrolment struct {
	Gateway     string            // https URL
	CA          *x509.Certificate // whom it trusts for TLS
	Certificate *x509.Certificate // of its key
	Identity    *statement.Identity
	Audience    string
	Tenant      string
	Broker      string // mqtts URL
	Authority   statement.Key
	Origin      string // of the ledger
	LogKey      statement.Key
	Plan        *Plan  // nil: no plan yet
	Raw         []byte // to keep; ParseEnrolment reads it again
}

// kept is the form of Enrolment.Raw.
type kept struct {
	Gateway     string          `json:"gateway"`
	CA          []byte          `json:"ca"`          // DER
	Certificate []byte          `json:"certificate"` // DER
	Answer      json.RawMessage `json:"answer"`
}

var tenantForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Enrol trades a claim for an enrolment of signer's key. name is the device's, as
// people will see it. The error is an *est.Refused when the gateway said no; any
// other may pass, and the same call may be made again: the same key gets the same
// answer.
func Enrol(ctx context.Context, c Claim, signer crypto.Signer, name string, r Report) (*Enrolment, error) {
	ca, err := est.Bootstrap(ctx, c.Gateway, c.Fingerprint)
	if err != nil {
		return nil, fmt.Errorf("enrolment: %w", err)
	}
	subject, err := est.Subject(name)
	if err != nil {
		return nil, fmt.Errorf("enrolment: %w", err)
	}
	client, err := est.NewClient(c.Gateway, ca, nil)
	if err != nil {
		return nil, fmt.Errorf("enrolment: %w", err)
	}
	cert, err := client.Enroll(ctx, c.Code, signer, subject)
	if err != nil {
		return nil, fmt.Errorf("enrolment: %w", err)
	}
	return describe(ctx, kept{Gateway: c.Gateway, CA: ca.Raw, Certificate: cert.Raw}, signer, r)
}

// describe tells the gateway what the device found, and reads who it is.
func describe(ctx context.Context, k kept, signer crypto.Signer, r Report) (*Enrolment, error) {
	ca, err := x509.ParseCertificate(k.CA)
	if err != nil {
		return nil, fmt.Errorf("enrolment: %w", err)
	}
	client, err := est.NewClient(k.Gateway, ca, func() (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{k.Certificate}, PrivateKey: signer}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("enrolment: %w", err)
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if k.Answer, err = client.Do(ctx, http.MethodPost, PathDevice, "application/json", body, maxAnswer); err != nil {
		return nil, fmt.Errorf("enrolment: %w", err)
	}
	raw, err := json.Marshal(k)
	if err != nil {
		return nil, fmt.Errorf("enrolment: %w", err)
	}
	key, err := statement.NewKey(signer.Public())
	if err != nil {
		return nil, err
	}
	return ParseEnrolment(raw, key)
}

// TLSCertificate is what the device shows of itself, signer being its key.
func (e *Enrolment) TLSCertificate(signer crypto.Signer) *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{e.Certificate.Raw}, PrivateKey: signer, Leaf: e.Certificate}
}

// RenewalDue reports that a third of the certificate's time is left, or that the
// clock is so far behind that it cannot tell.
func (e *Enrolment) RenewalDue(now time.Time) bool {
	from, to := e.Certificate.NotBefore, e.Certificate.NotAfter
	return now.Before(from) || now.After(to.Add(-to.Sub(from)/3))
}

// Renew gets a new certificate for the same key; e is left as it was.
func (e *Enrolment) Renew(ctx context.Context, signer crypto.Signer) (*Enrolment, error) {
	k, err := e.reenroll(ctx, signer, signer)
	if err != nil {
		return nil, fmt.Errorf("renewal: %w", err)
	}
	raw, err := json.Marshal(k)
	if err != nil {
		return nil, fmt.Errorf("renewal: %w", err)
	}
	return ParseEnrolment(raw, e.Identity.Key.Key)
}

// Announce has the authority vouch for next as the key that follows present, and
// changes nothing for the device. A key has one successor: from here on it is next,
// or none.
func (e *Enrolment) Announce(ctx context.Context, present, next crypto.Signer) error {
	if _, err := e.reenroll(ctx, present, next); err != nil {
		return fmt.Errorf("rotation: %w", err)
	}
	return nil
}

// Rotate hands the device over from its present key to next: the connection is
// signed by the one, the request on it by the other. The new identity opens the
// next epoch. The same call may be made again after an error, with the same keys.
func (e *Enrolment) Rotate(ctx context.Context, present, next crypto.Signer, r Report) (*Enrolment, error) {
	k, err := e.reenroll(ctx, present, next)
	if err != nil {
		return nil, fmt.Errorf("rotation: %w", err)
	}
	n, err := describe(ctx, k, next, r)
	if err != nil {
		return nil, err
	}
	if id := n.Identity; id.Epoch != e.Identity.Epoch+1 || id.Replaces == nil || *id.Replaces != e.Identity.Key.ID() || id.Subject != e.Identity.Subject || id.Simulated != e.Identity.Simulated {
		return nil, fmt.Errorf("rotation: identity of %q in epoch %d does not follow ours in epoch %d", id.Subject, id.Epoch, e.Identity.Epoch)
	}
	return n, nil
}

func (e *Enrolment) reenroll(ctx context.Context, present, next crypto.Signer) (kept, error) {
	var k kept
	if err := json.Unmarshal(e.Raw, &k); err != nil {
		return kept{}, err
	}
	client, err := est.NewClient(e.Gateway, e.CA, func() (*tls.Certificate, error) { return e.TLSCertificate(present), nil })
	if err != nil {
		return kept{}, err
	}
	cert, err := client.Reenroll(ctx, next, e.Certificate.RawSubject)
	if err != nil {
		return kept{}, err
	}
	k.Certificate = cert.Raw
	return k, nil
}

// ParseEnrolment checks an enrolment: the certificate is key's and by the pinned
// CA; the identity is key's, as a device, by the authority that the answer names
// for its kind and that is pinned from now on; the plan is a site's under the
// authority; the log key can sign a ledger.
func ParseEnrolment(raw []byte, key statement.Key) (*Enrolment, error) {
	if len(raw) > MaxEnrolment {
		return nil, fmt.Errorf("enrolment of over %d bytes", MaxEnrolment)
	}
	var k kept
	if err := json.Unmarshal(raw, &k); err != nil {
		return nil, fmt.Errorf("enrolment: %w", err)
	}
	if _, err := est.ParseBase(k.Gateway); err != nil {
		return nil, fmt.Errorf("enrolment: gateway %w", err)
	}
	e := &Enrolment{Gateway: k.Gateway, Raw: raw}
	var err error
	if e.CA, err = x509.ParseCertificate(k.CA); err != nil {
		return nil, fmt.Errorf("enrolment: ca: %w", err)
	}
	if e.Certificate, err = x509.ParseCertificate(k.Certificate); err != nil {
		return nil, fmt.Errorf("enrolment: certificate: %w", err)
	}
	if err := e.Certificate.CheckSignatureFrom(e.CA); err != nil {
		return nil, fmt.Errorf("enrolment: certificate: %w", err)
	}
	if c, err := statement.NewKey(e.Certificate.PublicKey); err != nil || c.ID() != key.ID() {
		return nil, fmt.Errorf("enrolment: certificate is not of our key %.8s…", key.ID())
	}
	var a Answer
	if err := json.Unmarshal(k.Answer, &a); err != nil {
		return nil, fmt.Errorf("enrolment: answer: %w", err)
	}
	if err := e.take(a, key); err != nil {
		return nil, err
	}
	return e, nil
}

// take checks an answer and fills in what it says.
func (e *Enrolment) take(a Answer, key statement.Key) error {
	e.Audience, e.Tenant, e.Broker, e.Origin = a.Audience, a.Tenant, a.Broker, a.Origin
	var err error
	if e.Authority, err = statement.ParseKey(a.Authority); err != nil {
		return fmt.Errorf("enrolment: authority: %w", err)
	}
	if e.LogKey, err = statement.ParseKey(a.LogKey); err != nil {
		return fmt.Errorf("enrolment: log key: %w", err)
	}
	if _, err := statement.LogVerifier(a.Origin, e.LogKey); err != nil {
		return fmt.Errorf("enrolment: origin %q of the ledger: %w", a.Origin, err)
	}
	// The tenant becomes a level of a topic: a slash or a wildcard would be another one.
	if !tenantForm.MatchString(a.Tenant) || !strings.HasPrefix(a.Audience, a.Tenant+"/") {
		return fmt.Errorf("enrolment: tenant %q and audience %q do not go together", a.Tenant, a.Audience)
	}
	if u, err := url.Parse(a.Broker); err != nil || u.Scheme != "mqtts" || u.Host == "" {
		return fmt.Errorf("enrolment: broker %q is no mqtts:// address", a.Broker)
	}
	s, err := statement.Parse(a.Identity)
	if err != nil {
		return fmt.Errorf("enrolment: identity: %w", err)
	}
	vouching, simulated := e.Authority, len(a.SimAuthority) > 0
	if simulated {
		if vouching, err = statement.ParseKey(a.SimAuthority); err != nil {
			return fmt.Errorf("enrolment: authority of simulated devices: %w", err)
		}
	}
	if e.Identity, err = statement.NewKeyring(a.Audience, vouching).Add(s); err != nil {
		return fmt.Errorf("enrolment: identity: %w", err)
	}
	if id := e.Identity; id.Key.ID() != key.ID() || id.Role != statement.RoleDevice {
		return fmt.Errorf("enrolment: identity is of key %.8s… in role %d, not of ours, %.8s…, as a device",
			id.Key.ID(), id.Role, key.ID())
	}
	if e.Identity.Simulated != simulated {
		return errors.New("enrolment: simulated devices have an authority of their own, and this identity is not by the one for its kind")
	}
	if len(a.Plan) > 0 {
		if e.Plan, err = OpenPlan(a.Audience, e.Authority, a.Plan, a.Identities); err != nil {
			return fmt.Errorf("enrolment: %w", err)
		}
	}
	return nil
}
