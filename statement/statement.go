package statement

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"trailmark/internal/dcbor"
)

// MaxSize bounds a statement, and any message that carries one, in bytes.
const MaxSize = dcbor.MaxMessage

// A Kind says what a statement's payload is.
type Kind string

// Kinds of statements. The reserved ones (scan, audit) are refused.
const (
	KindFrame      Kind = "frame"
	KindIdentity   Kind = "identity"
	KindKeyStatus  Kind = "keystatus"
	KindPlan       Kind = "plan"
	KindProduct    Kind = "product"
	KindHandover   Kind = "handover"
	KindAcceptance Kind = "acceptance"
	KindEvent      Kind = "event"
	KindErasure    Kind = "erasure"
)

// Role is what the authority lets a key sign.
type Role uint64

// Roles of identity statements.
const (
	RoleDevice       Role = 1
	RoleSite         Role = 2
	RoleBrand        Role = 3
	RoleOrganisation Role = 4
	RoleAuthority    Role = 5
)

// Role is the role whose keys sign statements of this kind, 0 for a kind that
// this version does not know.
func (k Kind) Role() Role {
	switch k {
	case KindFrame:
		return RoleDevice
	case KindPlan, KindErasure:
		return RoleSite
	case KindProduct:
		return RoleBrand
	case KindHandover, KindAcceptance, KindEvent:
		return RoleOrganisation
	case KindIdentity, KindKeyStatus:
		return RoleAuthority
	}
	return 0
}

const (
	typPrefix = "application/vnd.trailmark."
	typSuffix = "+cbor"
)

// A Header is what a statement says about itself.
type Header struct {
	Algorithm int64
	KeyID     Hash
	Issuer    string // who speaks: urn:dev:… or a Digital Link
	Subject   string // the stream; of a device its epoch in decimal
	Audience  string // <tenant>/<environment>
	Kind      Kind
}

type protectedHeader struct {
	Alg    int64  `cbor:"1,keyasint"`
	Kid    Hash   `cbor:"4,keyasint"`
	Claims claims `cbor:"15,keyasint"`
	Typ    string `cbor:"16,keyasint"`
}

type claims struct {
	Iss string `cbor:"1,keyasint"`
	Sub string `cbor:"2,keyasint"`
	Aud string `cbor:"3,keyasint"`
}

type envelope struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte
	Unprotected cbor.RawMessage
	Payload     []byte
	Signature   []byte
}

const signTag = 0xd2 // CBOR tag 18, COSE_Sign1

// A Statement is a decoded COSE_Sign1. Decoding checks its form; only Verify, or
// a Keyring, says anything about who signed it.
type Statement struct {
	Header    Header
	Payload   []byte
	Signature []byte

	raw   []byte
	tbs   []byte
	id    Hash
	entry Hash
}

// Parse decodes a statement and refuses every form but the deterministic one
// with exactly the allowed headers.
func Parse(data []byte) (*Statement, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("statement of %d bytes is over the limit of %d", len(data), MaxSize)
	}
	if len(data) == 0 || data[0] != signTag {
		return nil, errors.New("not a tagged COSE_Sign1")
	}
	var e envelope
	if err := dcbor.Unmarshal(data[1:], &e); err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	if !bytes.Equal(e.Unprotected, []byte{0xa0}) {
		return nil, errors.New("statement has unprotected headers")
	}
	if len(e.Signature) != 64 {
		return nil, fmt.Errorf("signature of %d bytes, want 64", len(e.Signature))
	}
	var p protectedHeader
	if err := dcbor.Unmarshal(e.Protected, &p); err != nil {
		return nil, fmt.Errorf("statement header: %w", err)
	}
	kind := Kind(strings.TrimSuffix(strings.TrimPrefix(p.Typ, typPrefix), typSuffix))
	if kind.Role() == 0 || p.Typ != typPrefix+string(kind)+typSuffix {
		return nil, fmt.Errorf("statement type %q is not one this version knows", p.Typ)
	}
	s := &Statement{
		Header:  Header{p.Alg, p.Kid, p.Claims.Iss, p.Claims.Sub, p.Claims.Aud, kind},
		Payload: e.Payload, Signature: e.Signature,
	}
	if err := s.Header.check(); err != nil {
		return nil, err
	}
	s.seal(bytes.Clone(data), e.Protected)
	return s, nil
}

func (h Header) check() error {
	if h.Algorithm != EdDSA && h.Algorithm != ES256 {
		return fmt.Errorf("algorithm %d is neither EdDSA nor ES256", h.Algorithm)
	}
	if h.Issuer == "" || !validText(h.Issuer) || !validText(h.Subject) || !validText(h.Audience) {
		return errors.New("statement claims are empty, over 256 bytes or not utf-8")
	}
	return nil
}

func (s *Statement) seal(raw, protected []byte) {
	s.raw = raw
	s.tbs = sigStructure(protected, s.Payload)
	s.id = sha256.Sum256(s.tbs)
	s.entry = sha256.Sum256(raw)
}

// sigStructure is RFC 9052's Sig_structure of a COSE_Sign1 without external data.
func sigStructure(protected, payload []byte) []byte {
	b := make([]byte, 0, 32+len(protected)+len(payload))
	b = dcbor.AppendArray(b, 4)
	b = dcbor.AppendText(b, "Signature1")
	b = dcbor.AppendBytes(b, protected)
	b = dcbor.AppendBytes(b, nil)
	return dcbor.AppendBytes(b, payload)
}

// Sign makes a statement of payload. Algorithm and KeyID of h are set from the
// signer.
func (s *Signer) Sign(h Header, payload []byte) (*Statement, error) {
	h.Algorithm, h.KeyID = s.key.alg, s.key.id
	if err := h.check(); err != nil {
		return nil, err
	}
	if h.Kind.Role() == 0 {
		return nil, fmt.Errorf("statement kind %q is not one this version knows", h.Kind)
	}
	protected := dcbor.MustMarshal(protectedHeader{h.Algorithm, h.KeyID,
		claims{h.Issuer, h.Subject, h.Audience}, typPrefix + string(h.Kind) + typSuffix})
	st := &Statement{Header: h, Payload: bytes.Clone(payload)}
	sig, err := s.sign(sigStructure(protected, payload))
	if err != nil {
		return nil, err
	}
	st.Signature = sig
	raw := append([]byte{signTag}, dcbor.MustMarshal(envelope{Protected: protected,
		Unprotected: cbor.RawMessage{0xa0}, Payload: st.Payload, Signature: sig})...)
	if len(raw) > MaxSize {
		return nil, fmt.Errorf("statement of %d bytes is over the limit of %d", len(raw), MaxSize)
	}
	st.seal(raw, protected)
	return st, nil
}

// Bytes is the encoded statement.
func (s *Statement) Bytes() []byte { return s.raw }

// ID is the statement's identity: SHA-256 of its Sig_structure.
func (s *Statement) ID() Hash { return s.id }

// Entry is what the ledger records: SHA-256 of the encoded statement.
func (s *Statement) Entry() Hash { return s.entry }

// Verify checks that key signed the statement, for this audience.
func (s *Statement) Verify(key Key, audience string) error {
	if s.Header.Audience != audience {
		return fmt.Errorf("statement is for audience %q, not %q", s.Header.Audience, audience)
	}
	if s.Header.KeyID != key.id {
		return fmt.Errorf("statement names key %.8s…, not %.8s…", s.Header.KeyID, key.id)
	}
	return key.verify(s.Header.Algorithm, s.tbs, s.Signature)
}

// decode reads the payload of a statement of the given kind.
func decode[T interface{ Check() error }](s *Statement, kind Kind, into T) (T, error) {
	if s.Header.Kind != kind {
		return into, fmt.Errorf("statement is of kind %s, not %s", s.Header.Kind, kind)
	}
	if err := dcbor.Unmarshal(s.Payload, into); err != nil {
		return into, fmt.Errorf("%s: %w", kind, err)
	}
	if err := into.Check(); err != nil {
		return into, fmt.Errorf("%s: %w", kind, err)
	}
	return into, nil
}
