package enrol

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"trailmark/internal/dcbor"
	"trailmark/internal/keyfile"
	"trailmark/statement"
)

// A Custodian is another organisation that has the goods for a while and signs
// what it takes over and gives away. The authority vouches for its key.
type Custodian struct {
	Issuer string // whom its key speaks as
	org    Organisation
	signer *statement.Signer
}

const custodiansDir = "custodians"

var custodianID = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// Custodian makes the key of a custodian below dir, unless it is there, and signs
// its identity. It needs the authority.
func (k *Keys) Custodian(dir, id, names string) (*Custodian, *statement.Statement, error) {
	if k.Authority == nil {
		return nil, nil, ErrNoAuthority
	}
	if _, err := ParseTexts(names); err != nil {
		return nil, nil, err
	}
	if !custodianID.MatchString(id) || id == "brand" || id == "site" {
		return nil, nil, fmt.Errorf("custodian %q: want 1 to 32 lower-case letters, digits and hyphens, and neither brand nor site", id)
	}
	if err := os.MkdirAll(filepath.Join(dir, custodiansDir), 0o700); err != nil {
		return nil, nil, err
	}
	if _, _, err := keyfile.LoadOrCreate(custodianPath(dir, id)); err != nil {
		return nil, nil, err
	}
	c, err := LoadCustodian(dir, id, k.org)
	if err != nil {
		return nil, nil, err
	}
	s, err := k.Identify(statement.Identity{Key: statement.PublicKey{Key: c.signer.Key()}, Subject: c.Issuer, Role: statement.RoleOrganisation, Name: plain(names)})
	return c, s, err
}

// LoadCustodian loads a custodian's key below dir; it makes none.
func LoadCustodian(dir, id string, org Organisation) (*Custodian, error) {
	if !custodianID.MatchString(id) {
		return nil, fmt.Errorf("custodian %q: want 1 to 32 lower-case letters, digits and hyphens", id)
	}
	path := custodianPath(dir, id)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no custodian %s in %s\nhint: gateway custodian --dir %s --id %s", id, dir, dir, id)
	}
	priv, _, err := keyfile.LoadOrCreate(path)
	if err != nil {
		return nil, err
	}
	signer, err := statement.NewSigner(priv)
	return &Custodian{Issuer: org.Issuer() + "-" + id, org: org, signer: signer}, err
}

func custodianPath(dir, id string) string { return filepath.Join(dir, custodiansDir, id+".pem") }

// Handover signs that objects were given to somebody.
func (c *Custodian) Handover(h *statement.Handover) (*statement.Statement, error) {
	return c.org.sign(c.signer, c.Issuer, statement.KindHandover, h)
}

// Acceptance signs that objects were taken over.
func (c *Custodian) Acceptance(a *statement.Acceptance) (*statement.Statement, error) {
	return c.org.sign(c.signer, c.Issuer, statement.KindAcceptance, a)
}

// sign signs what an organisation says.
func (o Organisation) sign(signer *statement.Signer, issuer string, kind statement.Kind, payload interface{ Check() error }) (*statement.Statement, error) {
	if err := payload.Check(); err != nil {
		return nil, err
	}
	return signer.Sign(statement.Header{Issuer: issuer, Subject: o.Tenant, Audience: o.Audience(), Kind: kind}, dcbor.MustMarshal(payload))
}

// plain are the words of names, as an identity has them: in no language more than
// in another.
func plain(names string) string {
	texts, err := ParseTexts(names)
	if err != nil {
		return names
	}
	words := make([]string, len(texts))
	for i, t := range texts {
		words[i] = t.Words
	}
	return strings.Join(words, " · ")
}
