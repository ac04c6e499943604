package comet

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"golang.org/x/mod/sumdb/note"

	"trailmark/internal/dcbor"
)

// Limits of a transaction.
const (
	MaxTx         = 16 << 10 // bytes, as submitted
	MaxOrigin     = 256      // bytes of an origin line
	MaxSubmitters = 16       // per origin
)

const (
	txVersion = 1
	txDomain  = "trailmark chain tx v1"

	kindAnchor   = 1
	kindRegister = 2
	kindAnchors  = 3 // several origins
	kindRotate   = 4 // register with a second log key
	kindAdmin    = 5
	kindPropose  = 6
	kindVote     = 7
	kindUpgrade  = 8
)

// MaxNotes bounds the checkpoints of one transaction.
const MaxNotes = 64

// A Registration says who may anchor the checkpoints of one origin.
type Registration struct {
	_          struct{}            `cbor:",toarray"`
	Revision   uint64              // 1 for a new origin, then one more each time
	Origin     string              // first line of the checkpoints
	LogKey     string              // signed-note verifier key, named like the origin
	NextKey    string              // another that counts as well, or ""
	Submitters []ed25519.PublicKey // sorted; none closes the origin
}

type txEnvelope struct {
	_       struct{} `cbor:",toarray"`
	Version uint64
	Kind    uint64
	Body    []byte
	Key     []byte
	Sig     []byte
}

type txDigest struct {
	_       struct{} `cbor:",toarray"`
	Domain  string
	ChainID string
	Version uint64
	Kind    uint64
	Body    []byte
	Key     []byte
}

// registerBody is what kind 2 carries of a registration.
type registerBody struct {
	_          struct{} `cbor:",toarray"`
	Revision   uint64
	Origin     string
	LogKey     string
	Submitters []ed25519.PublicKey
}

// adminBody names the next administrator.
type adminBody struct {
	_        struct{} `cbor:",toarray"`
	Revision uint64   // 1 for the genesis's successor, then one more each time
	Key      ed25519.PublicKey
}

// tx is a transaction whose form, but no signature, has been checked.
type tx struct {
	txEnvelope
	notes       [][]byte // of anchor and anchors
	checkpoints []checkpoint
	reg         Registration // of register and rotate
	admin       adminBody    // of admin
	proposal    Proposal     // of propose
	id          [32]byte     // of propose and vote
}

// NewAnchor returns the transaction that anchors a signed checkpoint on the
// chain called chainID, signed by submitter.
func NewAnchor(chainID string, submitter ed25519.PrivateKey, signed []byte) ([]byte, error) {
	return newTx(chainID, submitter, kindAnchor, signed)
}

// NewAnchors returns the transaction that anchors signed checkpoints of several
// origins, all of them or none.
func NewAnchors(chainID string, submitter ed25519.PrivateKey, signed ...[]byte) ([]byte, error) {
	body, err := dcbor.Marshal(signed)
	if err != nil {
		return nil, err
	}
	return newTx(chainID, submitter, kindAnchors, body)
}

// NewAdmin returns the transaction by which the administrator hands over to next.
func NewAdmin(chainID string, admin ed25519.PrivateKey, revision uint64, next ed25519.PublicKey) ([]byte, error) {
	body, err := dcbor.Marshal(&adminBody{Revision: revision, Key: next})
	if err != nil {
		return nil, err
	}
	return newTx(chainID, admin, kindAdmin, body)
}

// NewProposal returns the transaction by which a validator proposes a change and
// votes for it.
func NewProposal(chainID string, validator ed25519.PrivateKey, p Proposal) ([]byte, error) {
	body, err := dcbor.Marshal(&p)
	if err != nil {
		return nil, err
	}
	return newTx(chainID, validator, kindPropose, body)
}

// NewVote returns the transaction by which a validator votes for a proposal.
func NewVote(chainID string, validator ed25519.PrivateKey, proposal [32]byte) ([]byte, error) {
	return newTx(chainID, validator, kindVote, proposal[:])
}

// NewRegister returns the transaction that registers or changes an origin on
// the chain called chainID, signed by the chain's administrator. It sorts the
// submitters.
func NewRegister(chainID string, admin ed25519.PrivateKey, r Registration) ([]byte, error) {
	r.Submitters = slices.Clone(r.Submitters)
	slices.SortFunc(r.Submitters, func(a, b ed25519.PublicKey) int { return bytes.Compare(a, b) })
	kind, content := uint64(kindRotate), any(&r)
	if r.NextKey == "" {
		kind, content = kindRegister, &registerBody{Revision: r.Revision, Origin: r.Origin, LogKey: r.LogKey, Submitters: r.Submitters}
	}
	body, err := dcbor.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("registration of %q: %w", r.Origin, err)
	}
	return newTx(chainID, admin, kind, body)
}

func newTx(chainID string, key ed25519.PrivateKey, kind uint64, body []byte) ([]byte, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("private key of %d bytes, want %d", len(key), ed25519.PrivateKeySize)
	}
	e := txEnvelope{Version: txVersion, Kind: kind, Body: body, Key: key.Public().(ed25519.PublicKey)}
	digest, err := e.digest(chainID)
	if err != nil {
		return nil, err
	}
	e.Sig = ed25519.Sign(key, digest[:])
	raw, err := dcbor.Marshal(&e)
	if err != nil {
		return nil, err
	}
	if _, err := decodeTx(raw); err != nil {
		return nil, err
	}
	return raw, nil
}

func (e *txEnvelope) digest(chainID string) ([32]byte, error) {
	b, err := dcbor.Marshal(&txDigest{
		Domain: txDomain, ChainID: chainID,
		Version: e.Version, Kind: e.Kind, Body: e.Body, Key: e.Key,
	})
	return sha256.Sum256(b), err
}

// signed reports whether the transaction carries its key's signature for the
// chain called chainID.
func (t *tx) signed(chainID string) bool {
	digest, err := t.digest(chainID)
	return err == nil && ed25519.Verify(t.Key, digest[:], t.Sig)
}

// decodeTx checks form and limits, and no signature.
func decodeTx(raw []byte) (*tx, error) {
	if len(raw) > MaxTx {
		return nil, refuse(CodeTooLarge, "transaction of %d bytes is over the limit of %d", len(raw), MaxTx)
	}
	t := new(tx)
	if err := dcbor.UnmarshalMax(raw, &t.txEnvelope, MaxTx); err != nil {
		return nil, refuse(CodeMalformed, "transaction: %v", err)
	}
	switch {
	case t.Version != txVersion:
		return nil, refuse(CodeMalformed, "transaction version %d, want %d", t.Version, txVersion)
	case len(t.Key) != ed25519.PublicKeySize:
		return nil, refuse(CodeMalformed, "key of %d bytes, want %d", len(t.Key), ed25519.PublicKeySize)
	case len(t.Sig) != ed25519.SignatureSize:
		return nil, refuse(CodeMalformed, "signature of %d bytes, want %d", len(t.Sig), ed25519.SignatureSize)
	}
	if err := t.content(); err != nil {
		return nil, refuse(CodeMalformed, "%s: %v", kindName(t.Kind), err)
	}
	return t, nil
}

func kindName(kind uint64) string {
	names := []string{"", "checkpoint", "registration", "checkpoints", "registration", "administrator", "proposal", "vote", "upgrade"}
	if kind < 1 || kind >= uint64(len(names)) {
		return "transaction"
	}
	return names[kind]
}

// content reads the body as the kind says.
func (t *tx) content() (err error) {
	switch t.Kind {
	case kindAnchor:
		t.notes = [][]byte{t.Body}
		return t.readNotes()
	case kindAnchors:
		if err := dcbor.UnmarshalMax(t.Body, &t.notes, MaxTx); err != nil {
			return err
		}
		if n := len(t.notes); n < 1 || n > MaxNotes {
			return fmt.Errorf("%d notes, want 1 to %d", n, MaxNotes)
		}
		return t.readNotes()
	case kindRegister:
		var b registerBody
		if err := dcbor.UnmarshalMax(t.Body, &b, MaxTx); err != nil {
			return err
		}
		t.reg = Registration{Revision: b.Revision, Origin: b.Origin, LogKey: b.LogKey, Submitters: b.Submitters}
		_, err = t.reg.check()
		return err
	case kindRotate:
		if err := dcbor.UnmarshalMax(t.Body, &t.reg, MaxTx); err != nil {
			return err
		}
		if t.reg.NextKey == "" {
			return errors.New("no second log key")
		}
		_, err = t.reg.check()
		return err
	case kindAdmin:
		if err := dcbor.UnmarshalMax(t.Body, &t.admin, MaxTx); err != nil {
			return err
		}
		return checkKey(t.admin.Key)
	case kindPropose:
		if err := dcbor.UnmarshalMax(t.Body, &t.proposal, MaxTx); err != nil {
			return err
		}
		if err := t.proposal.check(); err != nil {
			return err
		}
		t.id, err = t.proposal.ID()
		return err
	case kindVote:
		if len(t.Body) != len(t.id) {
			return fmt.Errorf("id of %d bytes, want %d", len(t.Body), len(t.id))
		}
		t.id = [32]byte(t.Body)
		return nil
	case kindUpgrade:
		if len(t.Body) != 1 || t.Body[0] != stateVersion {
			return fmt.Errorf("to %x, want %02x", t.Body, stateVersion)
		}
		return nil
	}
	return fmt.Errorf("kind %d, want %d to %d", t.Kind, kindAnchor, kindUpgrade)
}

func (t *tx) readNotes() error {
	for i, n := range t.notes {
		c, err := parseCheckpoint(n)
		if err != nil {
			return err
		}
		for _, before := range t.checkpoints[:i] {
			if before.origin == c.origin {
				return fmt.Errorf("origin %q is named twice", c.origin)
			}
		}
		t.checkpoints = append(t.checkpoints, c)
	}
	return nil
}

// check returns the verifiers of the registered log keys if the registration is
// well formed.
func (r *Registration) check() (note.Verifiers, error) {
	switch {
	case r.Revision == 0:
		return nil, errors.New("revision 0, want 1 or more")
	case r.Origin == "" || len(r.Origin) > MaxOrigin:
		return nil, fmt.Errorf("origin of %d bytes, want 1 to %d", len(r.Origin), MaxOrigin)
	case len(r.Submitters) > MaxSubmitters:
		return nil, fmt.Errorf("%d submitters, want %d at most", len(r.Submitters), MaxSubmitters)
	case r.LogKey == r.NextKey:
		return nil, errors.New("both log keys are the same")
	}
	for i, s := range r.Submitters {
		if err := checkKey(s); err != nil {
			return nil, fmt.Errorf("submitter %d: %w", i, err)
		}
		if i > 0 && bytes.Compare(r.Submitters[i-1], s) >= 0 {
			return nil, fmt.Errorf("submitters %d and %d are out of order or equal", i-1, i)
		}
	}
	var vs []note.Verifier
	for _, key := range []string{r.LogKey, r.NextKey} {
		if key == "" && len(vs) > 0 {
			continue
		}
		v, err := logVerifier(r.Origin, key)
		if err != nil {
			return nil, err
		}
		vs = append(vs, v)
	}
	if len(vs) == 2 && vs[0].KeyHash() == vs[1].KeyHash() {
		return nil, errors.New("both log keys have the same hash")
	}
	return note.VerifierList(vs...), nil
}

// overlaps reports whether a log key of r counted before, so that whoever knows
// one of them can go on to the other.
func (r *Registration) overlaps(was *Registration) bool {
	return r.LogKey == was.LogKey || r.LogKey == was.NextKey || r.NextKey != "" && (r.NextKey == was.LogKey || r.NextKey == was.NextKey)
}

func logVerifier(origin, key string) (note.Verifier, error) {
	v, err := note.NewVerifier(key)
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	if v.Name() != origin {
		return nil, fmt.Errorf("log key is named %q, want the origin %q", v.Name(), origin)
	}
	// NewVerifier also takes upper-case hashes, base64 with line breaks and keys
	// of small order; one key has one spelling here.
	data, err := base64.StdEncoding.DecodeString(key[len(origin)+len("+00000000+"):])
	if err != nil || key != fmt.Sprintf("%s+%08x+%s", origin, v.KeyHash(), base64.StdEncoding.EncodeToString(data)) {
		return nil, errors.New("log key is not spelled canonically")
	}
	if err := checkKey(data[1:]); err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	return v, nil
}

// checkKey refuses Ed25519 keys that are not canonical points of prime order:
// under a small-order key crypto/ed25519 accepts signatures nobody made.
func checkKey(key []byte) error {
	y, err := curve.NewCompressedEdwardsYFromBytes(key)
	if err != nil {
		return fmt.Errorf("ed25519 key of %d bytes, want %d", len(key), ed25519.PublicKeySize)
	}
	p, err := curve.NewEdwardsPoint().SetCompressedY(y)
	if err != nil || !y.IsCanonicalVartime() || p.IsSmallOrder() || !p.IsTorsionFree() {
		return errors.New("ed25519 key is not a canonical point of prime order")
	}
	return nil
}
