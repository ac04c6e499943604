package statement

import (
	"errors"
	"fmt"
	"strconv"
)

// Errors of a Keyring that callers tell apart.
var (
	ErrUntrusted = errors.New("key is not one the authority vouches for")
	ErrRole      = errors.New("key has not the role to sign this")
	ErrEpoch     = errors.New("key does not open this epoch")
)

// A Keyring holds the keys that a verifier trusts: pinned authorities and those
// an identity statement signed by one of them names. Nothing else ever becomes
// trusted. It is not safe for concurrent use while Add is called.
type Keyring struct {
	audience    string
	authorities map[Hash]Key
	identities  map[Hash]*Identity
	statements  map[Hash]*Statement
}

// NewKeyring trusts the given authorities for statements of one audience.
func NewKeyring(audience string, authorities ...Key) *Keyring {
	r := &Keyring{audience: audience, authorities: map[Hash]Key{}, identities: map[Hash]*Identity{}, statements: map[Hash]*Statement{}}
	for _, a := range authorities {
		r.authorities[a.ID()] = a
	}
	return r
}

// Audience is the audience whose statements the ring accepts.
func (r *Keyring) Audience() string { return r.audience }

// Add verifies an identity statement and trusts the key it names. A second,
// different identity for one key is refused.
func (r *Keyring) Add(s *Statement) (*Identity, error) {
	authority, ok := r.authorities[s.Header.KeyID]
	if !ok {
		return nil, fmt.Errorf("identity signed by %.8s…: %w", s.Header.KeyID, ErrUntrusted)
	}
	if err := s.Verify(authority, r.audience); err != nil {
		return nil, err
	}
	id, err := s.Identity()
	if err != nil {
		return nil, err
	}
	kid := id.Key.ID()
	if had, ok := r.statements[kid]; ok && had.ID() != s.ID() {
		return nil, fmt.Errorf("two identities for key %.8s…", kid)
	}
	r.identities[kid], r.statements[kid] = id, s
	return id, nil
}

// Verify checks a statement: its key is trusted, has the role that the
// statement's kind asks for, speaks as the subject it was given (a device: in
// the one epoch that the identity opens, so that no second history hides in
// another), and signed it.
// The identity is nil for what an authority signed itself.
func (r *Keyring) Verify(s *Statement) (*Identity, error) {
	kid := s.Header.KeyID
	if s.Header.Kind.Role() == RoleAuthority {
		authority, ok := r.authorities[kid]
		if !ok {
			return nil, fmt.Errorf("%s signed by %.8s…: %w", s.Header.Kind, kid, ErrUntrusted)
		}
		return nil, s.Verify(authority, r.audience)
	}
	id, ok := r.identities[kid]
	if !ok {
		return nil, fmt.Errorf("%s signed by %.8s…: %w", s.Header.Kind, kid, ErrUntrusted)
	}
	if id.Role != s.Header.Kind.Role() {
		return nil, fmt.Errorf("%s signed by a key of role %d: %w", s.Header.Kind, id.Role, ErrRole)
	}
	if s.Header.Issuer != id.Subject {
		return nil, fmt.Errorf("%s in the name of %q by a key of %q: %w", s.Header.Kind, s.Header.Issuer, id.Subject, ErrRole)
	}
	if id.Role == RoleDevice && s.Header.Subject != strconv.FormatUint(id.Epoch, 10) {
		return nil, fmt.Errorf("%s of epoch %q by a key that opens epoch %d: %w", s.Header.Kind, s.Header.Subject, id.Epoch, ErrEpoch)
	}
	return id, s.Verify(id.Key.Key, r.audience)
}

// Identity is what the authority said of a key.
func (r *Keyring) Identity(kid Hash) (*Identity, bool) {
	id, ok := r.identities[kid]
	return id, ok
}

// Statement is the identity statement of a key.
func (r *Keyring) Statement(kid Hash) (*Statement, bool) {
	s, ok := r.statements[kid]
	return s, ok
}
