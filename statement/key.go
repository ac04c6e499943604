package statement

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/big"

	"filippo.io/edwards25519"
	"github.com/veraison/go-cose"

	"trailmark/internal/dcbor"
	"trailmark/trace"
)

// A Hash is a SHA-256 hash.
type Hash = trace.Hash

// Algorithms of statements (COSE registry).
const (
	EdDSA int64 = -8
	ES256 int64 = -7
)

// A Key is a public key of one of the two supported kinds. Only ParseKey and
// NewKey make usable ones.
type Key struct {
	pub      crypto.PublicKey // ed25519.PublicKey or *ecdsa.PublicKey on P-256
	encoded  []byte
	id       Hash
	alg      int64
	verifier cose.Verifier
}

type coseKey struct {
	Kty int64   `cbor:"1,keyasint"`
	Crv int64   `cbor:"-1,keyasint"`
	X   []byte  `cbor:"-2,keyasint"`
	Y   *[]byte `cbor:"-3,keyasint,omitempty"`
}

// ParseKey decodes a COSE_Key with exactly the members that RFC 9679 hashes.
func ParseKey(data []byte) (Key, error) {
	var k coseKey
	if err := dcbor.Unmarshal(data, &k); err != nil {
		return Key{}, fmt.Errorf("cose key: %w", err)
	}
	switch {
	case k.Kty == 1 && k.Crv == 6 && len(k.X) == 32 && k.Y == nil:
		return NewKey(ed25519.PublicKey(k.X))
	case k.Kty == 2 && k.Crv == 1 && len(k.X) == 32 && k.Y != nil && len(*k.Y) == 32:
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, k.X...), *k.Y...))
		if err != nil {
			return Key{}, fmt.Errorf("cose key: %w", err)
		}
		return NewKey(pub)
	}
	return Key{}, fmt.Errorf("cose key of type %d, curve %d is neither Ed25519 nor P-256", k.Kty, k.Crv)
}

// NewKey wraps an ed25519.PublicKey or a P-256 *ecdsa.PublicKey. An Ed25519 key
// must be the canonical encoding of a point of prime order: crypto/ed25519 alone
// accepts small-order points, with which one signature fits many messages.
func NewKey(pub crypto.PublicKey) (Key, error) {
	var ck coseKey
	k := Key{pub: pub}
	switch p := pub.(type) {
	case ed25519.PublicKey:
		if err := checkEd25519(p); err != nil {
			return Key{}, err
		}
		p = bytes.Clone(p) // the caller may reuse its slice
		pub, k.pub = p, p
		ck, k.alg = coseKey{Kty: 1, Crv: 6, X: p}, EdDSA
	case *ecdsa.PublicKey:
		if p.Curve != elliptic.P256() {
			return Key{}, errors.New("ecdsa key is not on P-256")
		}
		b, err := p.Bytes()
		if err != nil {
			return Key{}, fmt.Errorf("ecdsa key: %w", err)
		}
		y := b[33:]
		ck, k.alg = coseKey{Kty: 2, Crv: 1, X: b[1:33], Y: &y}, ES256
	default:
		return Key{}, fmt.Errorf("public key of type %T is neither Ed25519 nor P-256", pub)
	}
	var err error
	if k.verifier, err = cose.NewVerifier(cose.Algorithm(k.alg), pub); err != nil {
		return Key{}, err
	}
	k.encoded = dcbor.MustMarshal(ck)
	k.id = sha256.Sum256(k.encoded)
	return k, nil
}

func checkEd25519(p ed25519.PublicKey) error {
	pt, err := new(edwards25519.Point).SetBytes(p)
	if err != nil {
		return fmt.Errorf("ed25519 key is not a point: %w", err)
	}
	if !bytes.Equal(pt.Bytes(), p) {
		return errors.New("ed25519 key is not canonically encoded")
	}
	// P has prime order exactly when it is not the identity and (8⁻¹)·(8·P) = P.
	eight := [32]byte{8}
	s, err := new(edwards25519.Scalar).SetCanonicalBytes(eight[:])
	if err != nil {
		return err
	}
	back := new(edwards25519.Point).MultByCofactor(pt)
	back.ScalarMult(s.Invert(s), back)
	if pt.Equal(edwards25519.NewIdentityPoint()) == 1 || back.Equal(pt) != 1 {
		return errors.New("ed25519 key is not of prime order")
	}
	return nil
}

// ID is the COSE Key Thumbprint (RFC 9679).
func (k Key) ID() Hash { return k.id }

// Encoded is the COSE_Key.
func (k Key) Encoded() []byte { return bytes.Clone(k.encoded) }

// Public is the key for use with the standard library.
func (k Key) Public() crypto.PublicKey { return k.pub }

// edBytes is an Ed25519 key as it is hashed and signed with; nil of any other.
func (k Key) edBytes() []byte {
	p, _ := k.pub.(ed25519.PublicKey)
	return p
}

// Cosigns reports whether the key can make cosignature/v1.
func (k Key) Cosigns() bool { return k.alg == EdDSA }

// IsZero reports a Key that was never made.
func (k Key) IsZero() bool { return k.verifier == nil }

var halfOrder = new(big.Int).Rsh(elliptic.P256().Params().N, 1)

// verify checks a signature over the Sig_structure tbs.
func (k Key) verify(alg int64, tbs, sig []byte) error {
	if k.verifier == nil {
		return errors.New("no key")
	}
	if alg != k.alg {
		return fmt.Errorf("algorithm %d does not go with a key for %d", alg, k.alg)
	}
	if k.alg == ES256 && (len(sig) != 64 || new(big.Int).SetBytes(sig[32:]).Cmp(halfOrder) > 0) {
		return errors.New("es256 signature has s over n/2")
	}
	if err := k.verifier.Verify(tbs, sig); err != nil {
		return fmt.Errorf("signature does not verify: %w", err)
	}
	return nil
}

// A Signer makes statements with one key.
type Signer struct {
	key    Key
	signer cose.Signer
}

// NewSigner wraps an Ed25519 or P-256 private key, in memory or behind
// hardware.
func NewSigner(priv crypto.Signer) (*Signer, error) {
	key, err := NewKey(priv.Public())
	if err != nil {
		return nil, err
	}
	if _, memory := priv.(*ecdsa.PrivateKey); key.alg == ES256 && !memory {
		priv = hashed{priv}
	}
	s, err := cose.NewSigner(cose.Algorithm(key.alg), priv)
	if err != nil {
		return nil, err
	}
	return &Signer{key, s}, nil
}

// hashed tells a signer which hash made the digest: go-cose passes no options,
// and a TPM wants to know.
type hashed struct{ crypto.Signer }

func (h hashed) Sign(random io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	return h.Signer.Sign(random, digest, crypto.SHA256)
}

// Key is the signer's public key.
func (s *Signer) Key() Key { return s.key }

func (s *Signer) sign(tbs []byte) ([]byte, error) {
	sig, err := s.signer.Sign(rand.Reader, tbs)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	if s.key.alg == ES256 {
		// (r, s) and (r, n−s) both verify; only the smaller one is ours.
		n := elliptic.P256().Params().N
		if v := new(big.Int).SetBytes(sig[32:]); v.Cmp(halfOrder) > 0 {
			v.Sub(n, v).FillBytes(sig[32:])
		}
	}
	return sig, nil
}
