package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"trailmark/gateway/internal/enrol"
	"trailmark/gateway/internal/ledger"
	"trailmark/internal/device"
	"trailmark/internal/termqr"
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
		WitnessQuorum: 2,
		Site:          "zh-CN=示范冷链,en=Demonstration cold chain", Brand: "zh-CN=示范品牌,en=Demonstration brand"}
}

var tenantPattern = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// production is the environment whose trust file is for shoppers.
const production = "production"

// Init makes an organisation in dir and writes what it made to out; with an
// authority for simulated devices too, if it is asked for.
func Init(dir string, org enrol.Organisation, simulated bool, now func() time.Time, out io.Writer) error {
	if simulated && org.Environment == production {
		return fmt.Errorf("environment %s has no simulated devices\nhint: leave out --simulated, or choose another --env", production)
	}
	if !tenantPattern.MatchString(org.Tenant) || !tenantPattern.MatchString(org.Environment) {
		return fmt.Errorf("tenant %q and environment %q must be 1 to 32 lower-case letters, digits and hyphens", org.Tenant, org.Environment)
	}
	for _, names := range []string{org.Site, org.Brand} {
		if _, err := enrol.ParseTexts(names); err != nil {
			return err
		}
	}
	if org.WitnessQuorum < 0 || org.WitnessQuorum > passport.MaxQuorum {
		return fmt.Errorf("quorum of %d witnesses must be 0 to %d", org.WitnessQuorum, passport.MaxQuorum)
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
	keys, err := enrol.MakeKeys(dir, org, simulated, now)
	if err != nil {
		return err
	}
	org.Authority = keys.Authority.Key().Encoded()
	if keys.Simulator != nil {
		org.SimAuthority = keys.Simulator.Key().Encoded()
	}
	ca, err := enrol.MakeCA(dir, org, now)
	if err != nil {
		return err
	}
	authorities, err := org.Authorities()
	if err != nil {
		return err
	}
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
	if err := writeTrust(dir, org.Trust(authorities, pub, "")); err != nil {
		return err
	}
	data, err := json.MarshalIndent(org, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o600); err != nil { // last: its presence means "initialised"
		return err
	}
	fingerprint := enrol.Fingerprint(ca.Certificate())
	fmt.Fprintf(out, `organisation %s made in %s
  authority  %s   keep %s apart from the gateway in production
  ledger     %s
  chain      %s, one validator ("1 of 1": the operator's word)
  devices    know the gateway by the CA with fingerprint %x…
  trust file %s   this is what verifiers pin; the first start adds the chain's key
`, org.Audience(), dir, keys.Authority.Key().ID().String()[:16], filepath.Join(dir, "authority"), org.Origin, org.ChainID,
		fingerprint[:8], filepath.Join(dir, "authority", "trust.cbor"))
	if org.WitnessQuorum > 0 {
		fmt.Fprintf(out, "  witnesses  %d devices must have cosigned a ledger head: they keep the gateway honest. They are the organisation's own;\n"+
			"             with more than twice as many, two groups of them could be led along two ledgers\n", org.WitnessQuorum)
	}
	if simulated {
		fmt.Fprintf(out, "  simulated  devices have an authority of their own, %s, and the trust file takes it\n", keys.Simulator.Key().ID().String()[:16])
	}
	return nil
}

// toInbox leaves a statement for the running gateway; the name orders them. It is
// durable when toInbox returns nil.
func toInbox(dir, name string, s *statement.Statement) error {
	return enrol.WriteFile(filepath.Join(dir, inboxDir, name+".cose"), s.Bytes(), 0o600)
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
	URL                   string // where devices enrol, "": as the gateway that ran last said
	Simulated             bool
}

// Claim makes a claim and writes it, alone on its line, to out, and as a QR code
// to screen.
func Claim(c ClaimConfig, out, screen io.Writer) error {
	org, err := loadOrganisation(c.Dir)
	if err != nil {
		return err
	}
	if c.Simulated && len(org.SimAuthority) == 0 {
		return enrol.ErrNoSimulator
	}
	name, err := enrol.ParseTexts(c.Name)
	if err != nil {
		return err
	}
	limits, err := enrol.ParseBand(c.Band)
	if err != nil {
		return err
	}
	ca, err := enrol.LoadCACertificate(c.Dir)
	if err != nil {
		return err
	}
	claim := device.Claim{Gateway: c.URL, Fingerprint: enrol.Fingerprint(ca)}
	if claim.Gateway == "" {
		claim.Gateway, err = readESTURL(c.Dir)
	} else {
		claim.Gateway, err = reachable("https", c.URL, "", "--url")
	}
	if err != nil {
		return err
	}
	if claim.Code, err = enrol.NewCode(); err != nil {
		return err
	}
	if err := enrol.SaveClaim(filepath.Join(c.Dir, claimsDir), enrol.Claim{Code: claim.Code, Zone: c.Zone, Name: name, Limits: limits,
		ReRead: c.ReRead.Milliseconds(), Simulated: c.Simulated}); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, claim); err != nil {
		return err
	}
	return termqr.Write(screen, claim.String())
}
