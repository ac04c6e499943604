package enrol

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"unicode/utf8"

	"trailmark/gateway/internal/store"
	"trailmark/internal/device"
	"trailmark/statement"
)

// A Gate takes verified statements that are not frames; they are durable when
// Add returns nil.
type Gate interface {
	Add(ctx context.Context, statements ...*statement.Statement) error
	Identity(kid statement.Hash) (*statement.Identity, bool)
	Revoked(kid statement.Hash) (statement.Revoked, bool)
}

// A Post sends a message to a device, at best effort.
type Post func(ctx context.Context, kid statement.Hash, message []byte) error

// An Office enrols devices.
type Office struct {
	org         Organisation
	keys        *Keys
	authorities []statement.Key // of the organisation
	store       *store.Store
	gate        Gate
	claims      string // directory
	broker      string // URL for devices
	logKey      statement.Key
	post        Post
	register    *register

	queue     sync.Mutex     // guards described; taken after mu where both are
	described []*description // wait for a plan

	tell sync.Mutex              // guards due
	due  map[statement.Hash]bool // devices to send the newest plan to
	wake chan struct{}           // due has some

	mu   sync.Mutex                // held while a key is let in: a code works once, a key has one successor, plans follow each other
	used map[statement.Hash]string // claim codes, by the key that used them; guarded by mu
}

// NewOffice makes an Office. broker is the URL that devices are told.
func NewOffice(org Organisation, keys *Keys, st *store.Store, gate Gate, claims, broker string, logKey statement.Key, post Post) (*Office, error) {
	authorities, err := org.Authorities()
	if err != nil {
		return nil, err
	}
	return &Office{org: org, keys: keys, authorities: authorities, store: st, gate: gate, claims: claims, broker: broker, logKey: logKey, post: post,
		register: newRegister(st), due: map[statement.Hash]bool{}, wake: make(chan struct{}, 1), used: map[statement.Hash]string{}}, nil
}

// A Refusal is a request that the device's side must change.
type Refusal struct {
	Status int // of HTTP
	msg    string
}

func (r *Refusal) Error() string { return r.msg }

func refusef(status int, format string, args ...any) error {
	return &Refusal{status, fmt.Sprintf(format, args...)}
}

// Admit redeems a claim code for a key whose possession is proven. When it
// returns nil the identity is durable and on its way into the ledger. The same
// key asking again, its first answer lost or its certificate run out, is admitted
// again; nobody else is.
func (o *Office) Admit(ctx context.Context, code string, key statement.Key, name string) (*statement.Identity, error) {
	if len(name) > statement.MaxText || !utf8.ValidString(name) {
		return nil, refusef(http.StatusBadRequest, "device name is not text of at most %d bytes", statement.MaxText)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	claim, path, err := loadClaim(o.claims, code)
	var bad badCode
	if errors.As(err, &bad) {
		return nil, refusef(http.StatusUnauthorized, "%v\nhint: gateway claim makes a new code", err)
	} else if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	kid := key.ID()
	id, known := o.gate.Identity(kid)
	if _, err := o.keys.vouching(claim.Simulated); err != nil && !known {
		return nil, refusef(http.StatusForbidden, "%v", err) // before the code is used up
	}
	if claim.Used != "" && claim.Used != kid.String() {
		return nil, refusef(http.StatusForbidden, "claim code %s is used up\nhint: gateway claim makes a new code", claim.Code)
	}
	if known {
		if err := o.check(ctx, id, claim); err != nil {
			return nil, err
		}
	}
	if claim.Used == "" {
		claim.Used = kid.String()
		if err := writeClaim(path, claim); err != nil {
			return nil, err
		}
	}
	o.used[kid] = claim.Code
	if known {
		return id, nil
	}
	return o.identify(ctx, statement.Identity{Key: statement.PublicKey{Key: key},
		Subject: "urn:dev:os:32473-tm-" + kid.String()[:16], Role: statement.RoleDevice, Simulated: claim.Simulated, Name: name})
}

// check refuses a claim to a key that is known as something else.
func (o *Office) check(ctx context.Context, id *statement.Identity, claim Claim) error {
	kid := id.Key.ID()
	if id.Role != statement.RoleDevice || id.Simulated != claim.Simulated {
		return refusef(http.StatusForbidden, "key %.8s… is known already, and not as what this claim is for\nhint: a simulated device stays one; start with a new key", kid)
	}
	if err := o.revoked(kid); err != nil {
		return err
	}
	next, err := o.register.Heir(ctx, kid)
	if err == nil && next != nil {
		err = refusef(http.StatusForbidden, "key %.8s… was replaced by %.8s…\nhint: start with a new key and a new claim", kid, next.Key.ID())
	}
	return err
}

// revoked refuses a key that the authority took back.
func (o *Office) revoked(kid statement.Hash) error {
	r, revoked := o.gate.Revoked(kid)
	if !revoked {
		return nil
	}
	return refusef(http.StatusForbidden, "key %.8s… was revoked: its frames from seq %d on are void, and it may not connect\nhint: if the device is in your hands, start it with a new key and a new claim", kid, r.Seq)
}

// Succeed lets a device go on with another key, in the next epoch: both have
// proven possession. When it returns nil the identity is durable and on its way
// into the ledger. Asked again for the same keys it gives the same identity.
func (o *Office) Succeed(ctx context.Context, present *statement.Identity, key statement.Key) (*statement.Identity, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	kid := present.Key.ID()
	next, err := o.register.Heir(ctx, kid)
	switch {
	case err != nil:
		return nil, err
	case next != nil && next.Key.ID() == key.ID():
		return next, nil
	case next != nil:
		return nil, refusef(http.StatusForbidden, "key %.8s… was replaced already, by %.8s…\nhint: if that was not this device, its key is in other hands: revoke it", kid, next.Key.ID())
	}
	if _, known := o.gate.Identity(key.ID()); known {
		return nil, refusef(http.StatusForbidden, "key %.8s… is known already\nhint: a device goes on with a new key", key.ID())
	}
	id, err := o.identify(ctx, statement.Identity{Key: statement.PublicKey{Key: key}, Subject: present.Subject, Role: statement.RoleDevice,
		Epoch: present.Epoch + 1, Replaces: &kid, Simulated: present.Simulated, Name: present.Name})
	if errors.Is(err, ErrNoAuthority) || errors.Is(err, ErrNoSimulator) {
		return nil, refusef(http.StatusForbidden, "%v", err)
	}
	return id, err
}

// identify signs an identity and puts it into the ledger. The caller holds o.mu.
func (o *Office) identify(ctx context.Context, id statement.Identity) (*statement.Identity, error) {
	s, err := o.keys.Identify(id)
	if err != nil {
		return nil, err
	}
	if err := o.gate.Add(ctx, s); err != nil {
		return nil, err
	}
	return s.Identity()
}

// identity is one with its statement.
type identity struct {
	*statement.Identity
	data []byte
}

// identities are all in the store, oldest first.
func identities(ctx context.Context, st *store.Store) ([]identity, error) {
	rows, err := st.Kind(ctx, statement.KindIdentity)
	if err != nil {
		return nil, err
	}
	out := make([]identity, len(rows))
	for i, row := range rows {
		if out[i], err = parseIdentity(row.Data); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func parseIdentity(data []byte) (identity, error) {
	s, err := statement.Parse(data)
	if err != nil {
		return identity{}, err
	}
	id, err := s.Identity()
	return identity{id, data}, err
}

// maxFound bounds the channels, and the antennas, that one device may report.
const maxFound = 64

// A description is what one device found, on its way into the plan.
type description struct {
	id     *statement.Identity
	report device.Report

	done bool // guarded by Office.mu, as is err
	err  error
}

// Describe puts what a device found into the plan, if it is not there yet, and
// answers the device. When it returns nil the plan is durable. Devices that come
// while a plan is being made go into the next one together: each plan lists the
// whole site, is kept for ever and is sent to all devices.
func (o *Office) Describe(ctx context.Context, id *statement.Identity, r device.Report) (*device.Answer, error) {
	if len(r.Channels) > maxFound || len(r.Antennas) > maxFound {
		return nil, refusef(http.StatusBadRequest, "%d channels, %d antennas are over the limit of %d", len(r.Channels), len(r.Antennas), maxFound)
	}
	d := &description{id: id, report: r}
	o.queue.Lock()
	o.described = append(o.described, d)
	o.queue.Unlock()
	if err := o.settle(ctx, d); err != nil {
		return nil, err
	}
	return o.Answer(ctx, id)
}

// settle makes the plan with a description and all that wait beside it, unless
// another request has.
func (o *Office) settle(ctx context.Context, d *description) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if d.done {
		return d.err
	}
	o.queue.Lock()
	all := o.described
	o.described = nil
	o.queue.Unlock()
	// That this request's client goes away is not for the others to suffer.
	o.replan(context.WithoutCancel(ctx), all)
	for _, d := range all {
		d.done = true
	}
	return d.err
}

// Answer is what a device pins and uses.
func (o *Office) Answer(ctx context.Context, id *statement.Identity) (*device.Answer, error) {
	origin, err := o.origin(ctx)
	if err != nil {
		return nil, err
	}
	a := &device.Answer{Audience: o.org.Audience(), Tenant: o.org.Tenant, Broker: o.broker, Authority: o.org.Authority,
		Origin: origin, LogKey: o.logKey.Encoded()}
	if id.Simulated {
		a.SimAuthority = o.org.SimAuthority
	}
	if a.Identity, a.Identities, err = o.register.Identities(ctx, id.Key.ID()); err != nil {
		return nil, err
	}
	_, plan, err := o.register.Plan(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return a, nil
	} else if err != nil {
		return nil, err
	}
	a.Plan = plan.Bytes()
	return a, nil
}

// origin is the ledger that a device pins: the newest one.
func (o *Office) origin(ctx context.Context) (string, error) {
	shards, err := o.store.Shards(ctx)
	if err != nil || len(shards) == 0 {
		return o.org.Origin, err
	}
	return shards[len(shards)-1].Origin, nil
}
