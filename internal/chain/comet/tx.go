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
)

// A Registration says who may anchor the checkpoints of one origin.
type Registration struct {
	_          struct{}            `cbor:",toarray"`
	Revision   uint64              // 1 for a new origin, then one more each time
	Origin     string              // first line of the checkpoints
	LogKey     string              // signed-note verifier key, named like the origin
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

// tx is a transaction whose form, but no signature, has been checked.
type tx struct {
	txEnvelope
	checkpoint checkpoint   // of an anchor
	reg        Registration // of a register
}

// NewAnchor returns the transaction that anchors a signed checkpoint on the
// chain called chainID, signed by submitter.
func NewAnchor(chainID string, submitter ed25519.PrivateKey, signed []byte) ([]byte, error) {
	return newTx(chainID, submitter, kindAnchor, signed)
}

// NewRegister returns the transaction that registers or changes an origin on
// the chain called chainID, signed by the chain's administrator. It sorts the
// submitters.
func NewRegister(chainID string, admin ed25519.PrivateKey, r Registration) ([]byte, error) {
	r.Submitters = slices.Clone(r.Submitters)
	slices.SortFunc(r.Submitters, func(a, b ed25519.PublicKey) int { return bytes.Compare(a, b) })
	body, err := dcbor.Marshal(&r)
	if err != nil {
		return nil, fmt.Errorf("registration of %q: %w", r.Origin, err)
	}
	return newTx(chainID, admin, kindRegister, body)
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
	var err error
	switch t.Kind {
	case kindAnchor:
		if t.checkpoint, err = parseCheckpoint(t.Body); err != nil {
			return nil, refuse(CodeMalformed, "checkpoint: %v", err)
		}
	case kindRegister:
		if err = dcbor.UnmarshalMax(t.Body, &t.reg, MaxTx); err == nil {
			_, err = t.reg.check()
		}
		if err != nil {
			return nil, refuse(CodeMalformed, "registration: %v", err)
		}
	default:
		return nil, refuse(CodeMalformed, "transaction kind %d, want %d or %d", t.Kind, kindAnchor, kindRegister)
	}
	return t, nil
}

// check returns the verifier of the registered log key if the registration is
// well formed.
func (r *Registration) check() (note.Verifier, error) {
	switch {
	case r.Revision == 0:
		return nil, errors.New("revision 0, want 1 or more")
	case r.Origin == "" || len(r.Origin) > MaxOrigin:
		return nil, fmt.Errorf("origin of %d bytes, want 1 to %d", len(r.Origin), MaxOrigin)
	case len(r.Submitters) > MaxSubmitters:
		return nil, fmt.Errorf("%d submitters, want %d at most", len(r.Submitters), MaxSubmitters)
	}
	for i, s := range r.Submitters {
		if err := checkKey(s); err != nil {
			return nil, fmt.Errorf("submitter %d: %w", i, err)
		}
		if i > 0 && bytes.Compare(r.Submitters[i-1], s) >= 0 {
			return nil, fmt.Errorf("submitters %d and %d are out of order or equal", i-1, i)
		}
	}
	v, err := note.NewVerifier(r.LogKey)
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	if v.Name() != r.Origin {
		return nil, fmt.Errorf("log key is named %q, want the origin %q", v.Name(), r.Origin)
	}
	// NewVerifier also takes upper-case hashes, base64 with line breaks and keys
	// of small order; one key has one spelling here.
	data, err := base64.StdEncoding.DecodeString(r.LogKey[len(r.Origin)+len("+00000000+"):])
	if err != nil || r.LogKey != fmt.Sprintf("%s+%08x+%s", r.Origin, v.KeyHash(), base64.StdEncoding.EncodeToString(data)) {
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
