package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"trailmark/gateway/internal/enrol"
	"trailmark/gateway/internal/ledger"
	"trailmark/internal/epc"
	"trailmark/passport"
	"trailmark/statement"
)

// Folders and files below the gateway's directory.
const (
	organisationFile = "organisation.json"
	claimsDir        = "claims"
	inboxDir         = "inbox"   // statements signed elsewhere, taken in by a running gateway
	ownDir           = "gateway" // the gateway's own: store, ledger, broker, chain, log key
)

// DefaultOrganisation is what `gateway init` makes without flags.
func DefaultOrganisation() enrol.Organisation {
	return enrol.Organisation{Tenant: "demo", Environment: "test", Domain: "trailmark.example",
		Site: "zh-CN=示范冷链,en=Demonstration cold chain", Brand: "zh-CN=示范品牌,en=Demonstration brand"}
}

var tenantPattern = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// Init makes an organisation in dir and writes what it made to out.
func Init(dir string, org enrol.Organisation, now func() time.Time, out io.Writer) error {
	if !tenantPattern.MatchString(org.Tenant) || !tenantPattern.MatchString(org.Environment) {
		return fmt.Errorf("tenant %q and environment %q must be 1 to 32 lower-case letters, digits and hyphens", org.Tenant, org.Environment)
	}
	for _, names := range []string{org.Site, org.Brand} {
		if _, err := enrol.ParseTexts(names); err != nil {
			return err
		}
	}
	path := filepath.Join(dir, organisationFile)
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("%s exists already\nhint: start it with gateway run --dir %s, or choose another folder", path, dir)
	}
	org.Origin = enrol.Origin(org.Domain, org.Tenant, now())
	org.ChainID = "trailmark-" + org.Tenant
	for _, d := range []string{dir, filepath.Join(dir, claimsDir), filepath.Join(dir, inboxDir), filepath.Join(dir, ownDir)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	keys, err := enrol.MakeKeys(dir, org, now)
	if err != nil {
		return err
	}
	org.Authority = keys.Authority.Key().Encoded()
	founding, err := keys.Founding()
	if err != nil {
		return err
	}
	for i, s := range founding {
		if err := toInbox(dir, fmt.Sprintf("00-founding-%d", i), s); err != nil {
			return err
		}
	}
	logKey, err := ledger.CreateKeyFile(filepath.Join(dir, ownDir, "log.key"), org.Origin)
	if err != nil {
		return err
	}
	pub, err := statement.NewKey(logKey.PublicKey())
	if err != nil {
		return err
	}
	if err := writeTrust(dir, org.Trust(keys.Authority.Key(), pub)); err != nil {
		return err
	}
	data, err := json.MarshalIndent(org, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o600); err != nil { // last: its presence means "initialised"
		return err
	}
	fmt.Fprintf(out, `organisation %s made in %s
  authority  %s   keep %s apart from the gateway in production
  ledger     %s
  chain      %s, one validator ("1 of 1": the operator's word)
  trust file %s   this is what verifiers pin; the first start adds the chain's key
`, org.Audience(), dir, keys.Authority.Key().ID().String()[:16], filepath.Join(dir, "authority"), org.Origin, org.ChainID,
		filepath.Join(dir, "authority", "trust.cbor"))
	return nil
}

// toInbox leaves a statement for the running gateway; the name orders them.
func toInbox(dir, name string, s *statement.Statement) error {
	path := filepath.Join(dir, inboxDir, name+".cose")
	if err := os.WriteFile(path+".new", s.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func loadOrganisation(dir string) (enrol.Organisation, error) {
	var org enrol.Organisation
	data, err := os.ReadFile(filepath.Join(dir, organisationFile))
	if errors.Is(err, os.ErrNotExist) {
		return org, fmt.Errorf("no organisation in %s\nhint: gateway init --dir %s", dir, dir)
	} else if err != nil {
		return org, err
	}
	return org, json.Unmarshal(data, &org)
}

// ClaimConfig is what `gateway claim` needs.
type ClaimConfig struct {
	Dir, Zone, Name, Band string
	ReRead                time.Duration
}

// Claim makes a claim code and writes it, alone on its line, to out.
func Claim(c ClaimConfig, out io.Writer) error {
	if _, err := loadOrganisation(c.Dir); err != nil {
		return err
	}
	name, err := enrol.ParseTexts(c.Name)
	if err != nil {
		return err
	}
	limits, err := enrol.ParseBand(c.Band)
	if err != nil {
		return err
	}
	code, err := enrol.NewCode()
	if err != nil {
		return err
	}
	if err := enrol.SaveClaim(filepath.Join(c.Dir, claimsDir), enrol.Claim{Code: code, Zone: c.Zone, Name: name, Limits: limits, ReRead: c.ReRead.Milliseconds()}); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, code)
	return err
}

// ProductConfig is what `gateway product` needs.
type ProductConfig struct {
	Dir, GTIN, Name, Band string
	Allowed               time.Duration
	Rule                  string // named, instead of Band and Allowed; "": none
}

// rule is the named rule, or the band's.
func (c ProductConfig) rule() ([]statement.Criterion, error) {
	if c.Rule != "" {
		rule, ok := passport.Rule(c.Rule)
		if !ok {
			return nil, fmt.Errorf("no rule is named %q\nhint: %s", c.Rule, strings.Join(passport.Rules(), " or "))
		}
		return rule, nil
	}
	limits, err := enrol.ParseBand(c.Band)
	if err != nil {
		return nil, err
	}
	var rule []statement.Criterion
	for _, l := range limits {
		rule = append(rule, statement.Criterion{Unit: "Cel", Limit: l, Kind: statement.Cumulative, For: c.Allowed.Milliseconds()})
	}
	return rule, nil
}

// Product signs a product and leaves it for the gateway to take in.
func Product(c ProductConfig, now func() time.Time, out io.Writer) error {
	org, err := loadOrganisation(c.Dir)
	if err != nil {
		return err
	}
	if err := epc.CheckGTIN(c.GTIN); err != nil {
		return err
	}
	p := statement.Product{GTIN: c.GTIN}
	if p.Name, err = enrol.ParseTexts(c.Name); err != nil {
		return err
	}
	if p.Brand, err = enrol.ParseTexts(org.Brand); err != nil {
		return err
	}
	if p.Rule, err = c.rule(); err != nil {
		return err
	}
	keys, err := enrol.LoadKeys(c.Dir, org, now)
	if err != nil {
		return err
	}
	s, err := keys.Product(p)
	if err != nil {
		return err
	}
	if err := toInbox(c.Dir, "product-"+c.GTIN+"-"+s.ID().String()[:8], s); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "product %s signed, statement %s\n", c.GTIN, s.ID())
	return err
}
