package est

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/smallstep/pkcs7"
)

// maxCertificates bounds the body of an answer, in bytes.
const maxCertificates = 64 << 10

// EncodeCertificates is the body of a certs-only answer (RFC 7030 section 4.1.3).
func EncodeCertificates(certs ...*x509.Certificate) ([]byte, error) {
	var all []byte
	for _, c := range certs {
		all = append(all, c.Raw...)
	}
	der, err := pkcs7.DegenerateCertificate(all)
	if err != nil {
		return nil, fmt.Errorf("certs-only message: %w", err)
	}
	return encode(der), nil
}

// ParseCertificates reads the body of a certs-only answer: one certificate or
// more, and nothing is known of who made them.
func ParseCertificates(body []byte) ([]*x509.Certificate, error) {
	if len(body) > maxCertificates {
		return nil, fmt.Errorf("certs-only message of over %d bytes", maxCertificates)
	}
	der, err := decode(body)
	if err != nil {
		return nil, fmt.Errorf("certs-only message: %w", err)
	}
	// The parser beneath takes BER, whose nesting it does not bound: what a
	// server sends is DER, and anything else is refused before it.
	if err := checkDER(der, maxNesting); err != nil {
		return nil, fmt.Errorf("certs-only message: %w", err)
	}
	p, err := pkcs7.Parse(der)
	if err != nil {
		return nil, fmt.Errorf("certs-only message: %w", err)
	}
	if len(p.Certificates) == 0 || len(p.Signers) > 0 {
		return nil, errors.New("certs-only message: it holds no certificates, or signatures")
	}
	return p.Certificates, nil
}

// maxNesting is deeper than a certificate in a certs-only message.
const maxNesting = 24

// checkDER walks the elements of DER and bounds their nesting.
func checkDER(der []byte, depth int) error {
	if depth == 0 {
		return errors.New("nested too deep")
	}
	for len(der) > 0 {
		if len(der) < 2 || der[0]&0x1f == 0x1f {
			return errors.New("not DER")
		}
		n, head := int(der[1]), 2
		if n&0x80 != 0 {
			size := n & 0x7f
			if size == 0 || size > 3 || len(der) < 2+size {
				return errors.New("not DER: indefinite or oversized length")
			}
			n, head = 0, 2+size
			for _, b := range der[2:head] {
				n = n<<8 | int(b)
			}
		}
		if n > len(der)-head {
			return errors.New("not DER: cut short")
		}
		if der[0]&0x20 != 0 {
			if err := checkDER(der[head:head+n], depth-1); err != nil {
				return err
			}
		}
		der = der[head+n:]
	}
	return nil
}

// certificateOf is the certificate of a key among others.
func certificateOf(key any, certs []*x509.Certificate) (*x509.Certificate, error) {
	want, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	for _, c := range certs {
		if bytes.Equal(c.RawSubjectPublicKeyInfo, want) {
			return c, nil
		}
	}
	return nil, errors.New("the server's answer holds no certificate of our key")
}
