package enrol

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// A Gate takes verified statements that are not frames; they are durable when
// Add returns nil.
type Gate interface {
	Add(ctx context.Context, statements ...*statement.Statement) error
	Identity(kid statement.Hash) (*statement.Identity, bool)
}

// A Post sends a message to a device, at best effort.
type Post func(ctx context.Context, kid statement.Hash, message []byte) error

// An Office enrols devices.
type Office struct {
	org       Organisation
	keys      *Keys
	authority statement.Key
	store     *store.Store
	gate      Gate
	claims    string // directory
	broker    string // URL for devices
	logKey    statement.Key
	post      Post

	mu sync.Mutex // held while a claim is redeemed: a code works once, plans follow each other
}

// NewOffice makes an Office. broker is the URL that devices are told.
func NewOffice(org Organisation, keys *Keys, authority statement.Key, st *store.Store, gate Gate, claims, broker string, logKey statement.Key, post Post) *Office {
	return &Office{org: org, keys: keys, authority: authority, store: st, gate: gate, claims: claims, broker: broker, logKey: logKey, post: post}
}

// Request is the body of an enrolment, as JSON text inside Envelope.
type Request struct {
	Claim     string    `json:"claim"`
	Key       []byte    `json:"key"` // COSE_Key
	Name      string    `json:"name"`
	Channels  []Channel `json:"channels"`
	Antennas  []string  `json:"antennas"`
	Simulated bool      `json:"simulated"`
}

// Channel is one that a device found.
type Channel struct {
	Name    string `json:"name"`
	Unit    string `json:"unit"`
	Nominal int64  `json:"nominal_ms"`
}

// Envelope carries a Request and the proof of possession: a signature by the
// device key over SHA-256("trailmark enroll v1\n" ‖ body).
type Envelope struct {
	Body  string `json:"body"`
	Proof []byte `json:"proof"`
}

// Response is what an enrolled device pins and uses.
type Response struct {
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

// A Refusal is an enrolment that the device's side must change.
type Refusal struct{ msg string }

func (r *Refusal) Error() string { return r.msg }

func refusef(format string, args ...any) error { return &Refusal{fmt.Sprintf(format, args...)} }

// Enrol redeems a claim. When it returns nil the identity and the new plan are
// durable and on their way into the ledger.
func (o *Office) Enrol(ctx context.Context, env Envelope) (*Response, error) {
	var req Request
	dec := json.NewDecoder(strings.NewReader(env.Body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		return nil, refusef("enrolment body: %v", err)
	}
	key, err := statement.ParseKey(req.Key)
	if err != nil {
		return nil, refusef("device key: %v", err)
	}
	digest := sha256.Sum256([]byte("trailmark enroll v1\n" + env.Body))
	pub, ok := key.Public().(ed25519.PublicKey)
	if !ok || !ed25519.Verify(pub, digest[:], env.Proof) {
		return nil, refusef("proof of possession does not verify")
	}
	if err := checkRequest(req); err != nil {
		return nil, err
	}

	o.mu.Lock()
	defer o.mu.Unlock()
	claim, path, err := loadClaim(o.claims, req.Claim)
	if err != nil {
		return nil, refusef("%v; hint: `gateway claim` makes a new code", err)
	}
	kid := key.ID()
	if _, known := o.gate.Identity(kid); !known && o.keys.Authority == nil {
		return nil, &Refusal{ErrNoAuthority.Error()} // before the code is used up
	}
	if claim.Used != "" && claim.Used != kid.String() {
		return nil, refusef("claim code %s is used up; hint: `gateway claim` makes a new code", claim.Code)
	}
	// The same device asking again, its first answer lost, gets an answer again.
	if claim.Used == "" {
		claim.Used = kid.String()
		if err := writeClaim(path, claim); err != nil {
			return nil, err
		}
	}
	if _, known := o.gate.Identity(kid); !known {
		id, err := o.keys.Identify(statement.Identity{Key: statement.PublicKey{Key: key},
			Subject: "urn:dev:os:32473-tm-" + kid.String()[:16], Role: statement.RoleDevice,
			Simulated: req.Simulated, Name: req.Name})
		if err != nil {
			return nil, err
		}
		if err := o.gate.Add(ctx, id); err != nil {
			return nil, err
		}
	}
	if err := o.replan(ctx, claim, kid, req); err != nil {
		return nil, err
	}
	return o.respond(ctx, kid)
}

func checkRequest(req Request) error {
	if len(req.Channels) > 64 || len(req.Antennas) > 64 || len(req.Name) > statement.MaxText {
		return refusef("%d channels, %d antennas are over the limit of 64", len(req.Channels), len(req.Antennas))
	}
	return nil
}

// replan puts the device's channels and antennas into its zone, in a new plan.
func (o *Office) replan(ctx context.Context, claim Claim, kid statement.Hash, req Request) error {
	plan, prev, err := newestPlan(ctx, o.store)
	next := statement.Plan{}
	switch {
	case errors.Is(err, store.ErrNotFound):
		if next.Site, err = ParseTexts(o.org.Site); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		next = *plan
		next.Seq, next.Prev = plan.Seq+1, prev.ID()
		for _, z := range plan.Zones {
			for _, c := range z.Channels {
				if c.Device == kid {
					return nil // planned already
				}
			}
			for _, a := range z.Antennas {
				if a.Device == kid {
					return nil
				}
			}
		}
	}
	at := slices.IndexFunc(next.Zones, func(z statement.Zone) bool { return z.ID == claim.Zone })
	if at < 0 {
		next.Zones = append(next.Zones, statement.Zone{ID: claim.Zone, Name: claim.Name, ReRead: claim.ReRead})
		at = len(next.Zones) - 1
	}
	z := &next.Zones[at]
	for _, c := range req.Channels {
		limits := claim.Limits
		if c.Unit != "Cel" {
			limits = nil
		}
		z.Channels = append(z.Channels, statement.Channel{Device: kid, Name: c.Name, Unit: c.Unit, Limits: limits,
			Nominal: c.Nominal, Closeness: statement.SameRoom})
	}
	for _, a := range req.Antennas {
		role := statement.Inside
		if strings.HasSuffix(a, "/1") {
			role = statement.Portal // port 1 of a reader is mounted at the door
		}
		z.Antennas = append(z.Antennas, statement.Antenna{Device: kid, Name: a, Role: role})
	}
	s, err := o.keys.Plan(next)
	if err != nil {
		return refusef("the device does not fit into the plan: %v", err)
	}
	if err := o.gate.Add(ctx, s); err != nil {
		return err
	}
	return o.publishPlan(ctx, &next)
}

// publishPlan tells every device in the plan.
func (o *Office) publishPlan(ctx context.Context, p *statement.Plan) error {
	msg, err := o.PlanMessage(ctx)
	if err != nil {
		return err
	}
	told := map[statement.Hash]bool{}
	for _, z := range p.Zones {
		for _, c := range z.Channels {
			told[c.Device] = true
		}
		for _, a := range z.Antennas {
			told[a.Device] = true
		}
	}
	for kid := range told {
		_ = o.post(ctx, kid, msg) // a device that is away asks by sending frames under the old plan
	}
	return nil
}

// PlanMessage is the down message with the newest plan.
func (o *Office) PlanMessage(ctx context.Context) ([]byte, error) {
	_, s, err := newestPlan(ctx, o.store)
	if err != nil {
		return nil, err
	}
	ids, err := o.siteIdentities(ctx)
	if err != nil {
		return nil, err
	}
	return dcbor.Marshal(statement.PlanDown{Type: statement.DownPlan, Plan: s.Bytes(), Identities: ids})
}

// Plan is the plan in force, or store.ErrNotFound.
func (o *Office) Plan(ctx context.Context) (*statement.Plan, error) {
	p, _, err := newestPlan(ctx, o.store)
	return p, err
}

// NewestPlan is the statement id of the plan in force.
func (o *Office) NewestPlan(ctx context.Context) (statement.Hash, error) {
	_, s, err := newestPlan(ctx, o.store)
	if err != nil {
		return statement.Hash{}, err
	}
	return s.ID(), nil
}

func (o *Office) siteIdentities(ctx context.Context) ([][]byte, error) {
	rows, err := o.store.Kind(ctx, statement.KindIdentity)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, row := range rows {
		s, err := statement.Parse(row.Data)
		if err != nil {
			return nil, err
		}
		if id, err := s.Identity(); err != nil {
			return nil, err
		} else if id.Role == statement.RoleSite {
			out = append(out, row.Data)
		}
	}
	return out, nil
}

func (o *Office) respond(ctx context.Context, kid statement.Hash) (*Response, error) {
	secret := make([]byte, 24)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	r := &Response{Audience: o.org.Audience(), Tenant: o.org.Tenant, Broker: o.broker,
		Password: base64.RawURLEncoding.EncodeToString(secret), Authority: o.authority.Encoded(),
		Origin: o.org.Origin, LogKey: o.logKey.Encoded()}
	if err := o.store.Update(ctx, func(tx *store.Tx) error {
		return tx.PutLogin(kid, sha256.Sum256([]byte(r.Password)))
	}); err != nil {
		return nil, err
	}
	rows, err := o.store.Kind(ctx, statement.KindIdentity)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		s, err := statement.Parse(row.Data)
		if err != nil {
			return nil, err
		}
		if id, err := s.Identity(); err != nil {
			return nil, err
		} else if id.Key.ID() == kid {
			r.Identity = row.Data
		}
	}
	if r.Identities, err = o.siteIdentities(ctx); err != nil {
		return nil, err
	}
	_, plan, err := newestPlan(ctx, o.store)
	if err != nil {
		return nil, err
	}
	r.Plan = plan.Bytes()
	return r, nil
}
