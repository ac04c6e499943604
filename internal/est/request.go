package est

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
)

var (
	oidChallengePassword = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7} // RFC 2985 section 5.4.1
	oidEd25519           = asn1.ObjectIdentifier{1, 3, 101, 112}             // RFC 8410
	oidECDSAWithSHA256   = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}  // RFC 5758
)

// maxName bounds a common name, in bytes (ub-common-name of RFC 5280).
const maxName = 64

// certificationRequest is PKCS #10 (RFC 2986 section 4.2). The standard library
// neither writes nor keeps a challengePassword.
type certificationRequest struct {
	Info      asn1.RawValue
	Algorithm pkix.AlgorithmIdentifier
	Signature asn1.BitString
}

type requestInfo struct {
	Version    int
	Subject    asn1.RawValue
	PublicKey  asn1.RawValue
	Attributes []asn1.RawValue `asn1:"tag:0"`
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values []asn1.RawValue `asn1:"set"`
}

// A Request asks for a certificate of a key whose holder signed it.
type Request struct {
	Key     crypto.PublicKey
	Name    string // common name, may be ""
	Binding string // challengePassword, "": none
}

// Subject is a distinguished name of one common name, in DER.
func Subject(name string) ([]byte, error) {
	return asn1.Marshal(pkix.Name{CommonName: name}.ToRDNSequence())
}

// NewRequest is the body of a request for signer's Ed25519 or P-256 key. subject
// is a distinguished name in DER; a binding of "" leaves the link out.
func NewRequest(signer crypto.Signer, subject []byte, binding string) ([]byte, error) {
	key, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	info := requestInfo{Subject: asn1.RawValue{FullBytes: subject}, PublicKey: asn1.RawValue{FullBytes: key}, Attributes: []asn1.RawValue{}}
	if binding != "" {
		password, err := asn1.MarshalWithParams(binding, "utf8")
		if err != nil {
			return nil, fmt.Errorf("certificate request: %w", err)
		}
		a, err := asn1.Marshal(attribute{oidChallengePassword, []asn1.RawValue{{FullBytes: password}}})
		if err != nil {
			return nil, fmt.Errorf("certificate request: %w", err)
		}
		info.Attributes = append(info.Attributes, asn1.RawValue{FullBytes: a})
	}
	tbs, err := asn1.Marshal(info)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	out := certificationRequest{Info: asn1.RawValue{FullBytes: tbs}}
	message, opts := tbs, crypto.SignerOpts(crypto.Hash(0))
	switch k := signer.Public().(type) {
	case ed25519.PublicKey:
		out.Algorithm.Algorithm = oidEd25519
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return nil, errors.New("certificate request: ecdsa key is not on P-256")
		}
		digest := sha256.Sum256(tbs)
		message, opts = digest[:], crypto.SHA256
		out.Algorithm.Algorithm = oidECDSAWithSHA256
	default:
		return nil, fmt.Errorf("certificate request: a key of type %T is neither Ed25519 nor P-256", k)
	}
	sig, err := signer.Sign(rand.Reader, message, opts)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	out.Signature = asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}
	der, err := asn1.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	return encode(der), nil
}

// ParseRequest reads the body of a request and checks its signature by the key
// that it is for. What the key is good for is the caller's to decide.
func ParseRequest(body []byte) (*Request, error) {
	if len(body) > MaxRequest {
		return nil, fmt.Errorf("certificate request of over %d bytes", MaxRequest)
	}
	der, err := decode(body)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate request: its signature does not prove possession of the key: %w", err)
	}
	if len(csr.Subject.CommonName) > maxName {
		return nil, fmt.Errorf("certificate request: common name of over %d bytes", maxName)
	}
	r := &Request{Key: csr.PublicKey, Name: csr.Subject.CommonName}
	r.Binding, err = challengePassword(csr.RawTBSCertificateRequest)
	return r, err
}

// challengePassword is the one in a request's info, "" without one.
func challengePassword(tbs []byte) (string, error) {
	var info requestInfo
	if _, err := asn1.Unmarshal(tbs, &info); err != nil {
		return "", fmt.Errorf("certificate request: %w", err)
	}
	found := ""
	for _, raw := range info.Attributes {
		var a attribute
		if _, err := asn1.Unmarshal(raw.FullBytes, &a); err != nil {
			return "", fmt.Errorf("certificate request: attribute: %w", err)
		}
		if !a.Type.Equal(oidChallengePassword) {
			continue
		}
		if found != "" || len(a.Values) != 1 {
			return "", errors.New("certificate request: more than one challengePassword")
		}
		if rest, err := asn1.Unmarshal(a.Values[0].FullBytes, &found); err != nil || len(rest) > 0 || found == "" {
			return "", errors.New("certificate request: challengePassword is no text")
		}
	}
	return found, nil
}

// CSRAttrs is the body that asks clients for a challengePassword (RFC 7030
// section 4.5.2).
func CSRAttrs() []byte {
	der, err := asn1.Marshal([]asn1.ObjectIdentifier{oidChallengePassword})
	if err != nil {
		panic(err) // a constant
	}
	return encode(der)
}
