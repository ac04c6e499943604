// Package enrol lets devices in, by EST (RFC 7030) over TLS: an installer's
// one-time claim code and the device's own signature become an identity signed by
// the authority, a certificate for the wire, and an entry in the plan signed by
// the site.
//
// Simulated devices have an authority of their own, which signs for nothing else:
// whoever does not pin it takes no simulated device for a real one, and nobody's
// mistake can turn one into the other.
//
// The keys of authority, site, brand and organisation lie in directories of their own, apart
// from the gateway's. While they are on one machine with it, the operator could
// vouch for devices of his own making: an authority that is somebody else's
// keeps its directory elsewhere and signs offline. docs/threat-model.md.
package enrol

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/internal/keyfile"
	"trailmark/passport"
	"trailmark/statement"
)

// Validity of identities that the authority signs.
const validity = 10 * 365 * 24 * time.Hour

// Organisation is what `gateway init` fixes, in organisation.json.
type Organisation struct {
	Tenant      string `json:"tenant"`
	Environment string `json:"environment"`
	Domain      string `json:"domain"`
	Site        string `json:"site"`   // zh-CN name=en name pairs, see ParseTexts
	Brand       string `json:"brand"`  //
	Origin      string `json:"origin"` // of the first ledger
	ChainID     string `json:"chain_id"`
	Authority   []byte `json:"authority"` // COSE_Key

	// WitnessQuorum is how many of its devices must have cosigned a checkpoint by the
	// trust file; 0: that asks for none.
	WitnessQuorum int `json:"witness_quorum,omitempty"`

	// SimAuthority is the COSE_Key of the authority for simulated devices; empty:
	// this organisation has none.
	SimAuthority []byte `json:"sim_authority,omitempty"`
}

// Authorities are the organisation's: of real devices and all others, and, where
// there is one, of simulated devices.
func (o Organisation) Authorities() ([]statement.Key, error) {
	var out []statement.Key
	for _, encoded := range [][]byte{o.Authority, o.SimAuthority} {
		if len(encoded) == 0 && len(out) == 1 {
			break
		}
		key, err := statement.ParseKey(encoded)
		if err != nil {
			return nil, fmt.Errorf("authority: %w", err)
		}
		out = append(out, key)
	}
	return out, nil
}

// Audience is what statements of this organisation are for.
func (o Organisation) Audience() string { return o.Tenant + "/" + o.Environment }

// Origin is the origin line of the ledger of the half-year of a time, UTC.
func Origin(domain, tenant string, at time.Time) string {
	return statement.OriginAt(domain+"/"+tenant, at).String()
}

// Half-years that a trust file pins: it stays good for ten years from the newest
// ledger on, and its format takes 64.
const (
	pinnedAhead = 20
	maxPinned   = 64
)

// Origins are the ledgers that a trust file pins: every half-year from the first
// ledger on, and the coming ten years' after newest, "" for the first. Of more than
// the format takes the oldest are left out.
func (o Organisation) Origins(newest string) []string {
	at, err := statement.ParseOrigin(o.Origin)
	if err != nil {
		return []string{o.Origin} // a name that has no next one
	}
	end := at
	if n, err := statement.ParseOrigin(newest); err == nil && n.Follows(at) {
		end = n
	}
	for range pinnedAhead {
		end = end.Next()
	}
	out := []string{at.String()}
	for at != end {
		at = at.Next()
		out = append(out, at.String())
	}
	return out[max(0, len(out)-maxPinned):]
}

// Keys are the organisation's keys, each in a directory of its own.
type Keys struct {
	org       Organisation
	Authority *statement.Signer // nil when its directory is kept elsewhere
	Simulator *statement.Signer // the authority of simulated devices; nil: there is none
	Site      *statement.Signer
	Brand     *statement.Signer

	// Organisation signs events and changes of custody. It is nil in a folder from
	// before there was one, until Join.
	Organisation *statement.Signer

	now func() time.Time
}

const (
	simulatorName    = "sim-authority"
	organisationName = "organisation"
)

// MakeKeys makes the keys of a new organisation below dir, with an authority for
// simulated devices only if it is asked for.
func MakeKeys(dir string, org Organisation, simulated bool, now func() time.Time) (*Keys, error) {
	names := []string{"authority", "site", "brand", organisationName}
	if simulated {
		names = append(names, simulatorName)
	}
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return nil, err
		}
		if _, _, err := keyfile.LoadOrCreate(keyPath(dir, name)); err != nil {
			return nil, err
		}
	}
	return LoadKeys(dir, org, now)
}

func keyPath(dir, name string) string { return filepath.Join(dir, name, name+".pem") }

// LoadKeys loads the keys below dir. It makes none: a gateway that made itself
// another authority would vouch for devices that nobody's trust file knows.
func LoadKeys(dir string, org Organisation, now func() time.Time) (*Keys, error) {
	k := &Keys{org: org, now: now}
	for name, into := range map[string]**statement.Signer{"authority": &k.Authority, simulatorName: &k.Simulator, "site": &k.Site, "brand": &k.Brand, organisationName: &k.Organisation} {
		path := keyPath(dir, name)
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			if name != "site" && name != "brand" {
				continue
			}
			return nil, fmt.Errorf("%s is missing\nhint: restore the folder from its backup", path)
		}
		priv, _, err := keyfile.LoadOrCreate(path)
		if err != nil {
			return nil, err
		}
		if *into, err = statement.NewSigner(priv); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// ErrNoAuthority says that the authority's key is kept elsewhere.
var ErrNoAuthority = errors.New("the authority's key is not on this machine\nhint: bring its folder back while devices enrol or keys are revoked")

// ErrNoSimulator says that nobody here vouches for simulated devices.
var ErrNoSimulator = errors.New("this organisation has no simulated devices\nhint: make another one for them with gateway init --simulated")

const authorityIssuer = "urn:trailmark:authority:"

// vouching is the authority of a device's kind, or why there is none.
func (k *Keys) vouching(simulated bool) (*statement.Signer, error) {
	switch {
	case simulated && k.Simulator == nil:
		return nil, ErrNoSimulator
	case simulated:
		return k.Simulator, nil
	case k.Authority == nil:
		return nil, ErrNoAuthority
	}
	return k.Authority, nil
}

// Identify signs an identity, by the authority of its kind.
func (k *Keys) Identify(id statement.Identity) (*statement.Statement, error) {
	by, err := k.vouching(id.Simulated)
	if err != nil {
		return nil, err
	}
	issuer := authorityIssuer + k.org.Tenant
	if id.Simulated {
		issuer += ":simulated"
	}
	id.Version = 1
	id.From = k.now().Add(-24 * time.Hour).UnixMilli() // clocks differ; a device may be a little behind
	id.To = k.now().Add(validity).UnixMilli()
	if err := id.Check(); err != nil {
		return nil, err
	}
	return by.Sign(statement.Header{Issuer: issuer, Subject: id.Subject,
		Audience: k.org.Audience(), Kind: statement.KindIdentity}, dcbor.MustMarshal(&id))
}

func (k *Keys) siteIssuer() string {
	return "https://" + k.org.Domain + "/414/" + k.org.Tenant + "-site"
}
func (k *Keys) brandIssuer() string {
	return "https://" + k.org.Domain + "/417/" + k.org.Tenant + "-brand"
}

// Issuer is whom the organisation's own key speaks as, in events and changes of
// custody.
func (o Organisation) Issuer() string { return "https://" + o.Domain + "/417/" + o.Tenant }

// ErrNoOrganisation says that nobody here signs events.
var ErrNoOrganisation = errors.New("this folder has no organisation key\nhint: bring the authority's folder back and start the gateway once: it makes one")

// Join makes the organisation's key in dir, if there is none yet, and gives its
// identity. It needs the authority.
func (k *Keys) Join(dir string) (*statement.Statement, error) {
	if k.Authority == nil {
		return nil, ErrNoAuthority
	}
	if k.Organisation == nil {
		if err := os.MkdirAll(filepath.Join(dir, organisationName), 0o700); err != nil {
			return nil, err
		}
		priv, _, err := keyfile.LoadOrCreate(keyPath(dir, organisationName))
		if err != nil {
			return nil, err
		}
		if k.Organisation, err = statement.NewSigner(priv); err != nil {
			return nil, err
		}
	}
	return k.organisation()
}

func (k *Keys) organisation() (*statement.Statement, error) {
	return k.Identify(statement.Identity{Key: statement.PublicKey{Key: k.Organisation.Key()}, Subject: k.org.Issuer(), Role: statement.RoleOrganisation, Name: plain(k.org.Brand)})
}

// as signs a payload with the organisation's key.
func (k *Keys) as(kind statement.Kind, payload interface{ Check() error }) (*statement.Statement, error) {
	if k.Organisation == nil {
		return nil, ErrNoOrganisation
	}
	return k.org.sign(k.Organisation, k.org.Issuer(), kind, payload)
}

// Event signs what an event did.
func (k *Keys) Event(e *statement.Event) (*statement.Statement, error) {
	return k.as(statement.KindEvent, e)
}

// Handover signs that objects were given to somebody.
func (k *Keys) Handover(h *statement.Handover) (*statement.Statement, error) {
	return k.as(statement.KindHandover, h)
}

// Acceptance signs that objects were taken over.
func (k *Keys) Acceptance(a *statement.Acceptance) (*statement.Statement, error) {
	return k.as(statement.KindAcceptance, a)
}

// Founding are the identities of site, brand and organisation.
func (k *Keys) Founding() ([]*statement.Statement, error) {
	site, err := k.Identify(statement.Identity{Key: statement.PublicKey{Key: k.Site.Key()}, Subject: k.siteIssuer(), Role: statement.RoleSite, Name: k.org.Site})
	if err != nil {
		return nil, err
	}
	brand, err := k.Identify(statement.Identity{Key: statement.PublicKey{Key: k.Brand.Key()}, Subject: k.brandIssuer(), Role: statement.RoleBrand, Name: k.org.Brand})
	if err != nil {
		return nil, err
	}
	founding := []*statement.Statement{site, brand}
	if k.Organisation != nil {
		organisation, err := k.organisation()
		if err != nil {
			return nil, err
		}
		founding = append(founding, organisation)
	}
	return founding, nil
}

// Plan signs a plan that follows the one with id prev.
func (k *Keys) Plan(p statement.Plan) (*statement.Statement, error) {
	p.Version = 1
	if err := p.Check(); err != nil {
		return nil, err
	}
	return k.Site.Sign(statement.Header{Issuer: k.siteIssuer(), Subject: k.org.Tenant, Audience: k.org.Audience(), Kind: statement.KindPlan}, dcbor.MustMarshal(&p))
}

// Product signs a product.
func (k *Keys) Product(p statement.Product) (*statement.Statement, error) {
	p.Version = 1
	if err := p.Check(); err != nil {
		return nil, err
	}
	return k.Brand.Sign(statement.Header{Issuer: k.brandIssuer(), Subject: p.GTIN, Audience: k.org.Audience(), Kind: statement.KindProduct}, dcbor.MustMarshal(&p))
}

// Erasure signs that the site no longer holds some records.
func (k *Keys) Erasure(e statement.Erasure) (*statement.Statement, error) {
	e.Version = 1
	if err := e.Check(); err != nil {
		return nil, err
	}
	return k.Site.Sign(statement.Header{Issuer: k.siteIssuer(), Subject: k.org.Tenant, Audience: k.org.Audience(), Kind: statement.KindErasure}, dcbor.MustMarshal(&e))
}

// KeyStatus signs which keys are in force, at a size of a ledger: the first one
// where the status names none.
func (k *Keys) KeyStatus(status statement.KeyStatus) (*statement.Statement, error) {
	if k.Authority == nil {
		return nil, ErrNoAuthority
	}
	if status.Version = 1; status.Origin == "" {
		status.Origin = k.org.Origin
	}
	if err := status.Check(); err != nil {
		return nil, err
	}
	return k.Authority.Sign(statement.Header{Issuer: authorityIssuer + k.org.Tenant, Subject: "keystatus",
		Audience: k.org.Audience(), Kind: statement.KindKeyStatus}, dcbor.MustMarshal(&status))
}

// Trust is the file that verifiers pin: it has the authority of simulated devices
// where the organisation made one, which none of environment production can. Without validators the chain counts as
// one validator's and its evidence is not checked. The ledgers it pins are Origins.
func (o Organisation) Trust(authorities []statement.Key, logKey statement.Key, newest string, validators ...passport.Validator) *passport.Trust {
	var logs []passport.Log
	for _, origin := range o.Origins(newest) {
		logs = append(logs, passport.Log{Origin: origin, Key: statement.PublicKey{Key: logKey}})
	}
	pinned := make([]statement.PublicKey, len(authorities))
	for i, a := range authorities {
		pinned[i] = statement.PublicKey{Key: a}
	}
	t := &passport.Trust{Authorities: pinned,
		Logs:     logs,
		Audience: o.Audience(),
		Chains:   []passport.Chain{{ID: o.ChainID, Kind: passport.Comet, Validators: uint64(max(1, len(validators))), Keys: validators}}}
	if o.WitnessQuorum > 0 {
		t.Witnesses = &passport.Witnesses{Quorum: uint64(o.WitnessQuorum), Devices: true}
	}
	return t
}

// newestPlan is the plan with the highest seq in the store.
func newestPlan(ctx context.Context, st *store.Store) (*statement.Plan, *statement.Statement, error) {
	rows, err := st.Kind(ctx, statement.KindPlan)
	if err != nil {
		return nil, nil, err
	}
	if len(rows) == 0 {
		return nil, nil, store.ErrNotFound
	}
	return parsePlan(rows[len(rows)-1].Data)
}

func parsePlan(data []byte) (*statement.Plan, *statement.Statement, error) {
	s, err := statement.Parse(data)
	if err != nil {
		return nil, nil, err
	}
	p, err := s.Plan()
	return p, s, err
}
