package enrol

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"trailmark/internal/keyfile"
)

// Validity of certificates. A device renews its own when a third is left; the
// gateway makes itself another at each start and when a third is left.
const (
	caValidity     = 20 * 365 * 24 * time.Hour
	deviceValidity = 365 * 24 * time.Hour
	serverValidity = 90 * 24 * time.Hour
	backdated      = time.Hour // clocks differ
)

// A CA makes the certificates with which gateway and devices know each other on
// the wire, on P-256, which every TLS library verifies. It vouches for nothing
// that is measured: whoever holds its key can pass for the gateway, and then
// neither sign a receipt nor change a frame. So it stays with the gateway when
// the authority's folder is taken elsewhere.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
	now  func() time.Time
}

func caPath(dir, name string) string { return filepath.Join(dir, "ca", name) }

// MakeCA makes the CA of a new organisation below dir, or loads it.
func MakeCA(dir string, org Organisation, now func() time.Time) (*CA, error) {
	key, created, err := keyfile.LoadOrCreateP256(caPath(dir, "ca.key"))
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(caPath(dir, "ca.pem")); !created && err == nil {
		return LoadCA(dir, now)
	}
	c, err := template(pkix.Name{CommonName: "Trailmark gateway CA", Organization: []string{org.Tenant}}, now(), caValidity)
	if err != nil {
		return nil, err
	}
	c.IsCA, c.BasicConstraintsValid, c.MaxPathLenZero = true, true, true
	c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	if err := WriteFile(caPath(dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	return LoadCA(dir, now)
}

// LoadCA loads the CA below dir. It makes none: devices know the old one.
func LoadCA(dir string, now func() time.Time) (*CA, error) {
	cert, err := LoadCACertificate(dir)
	if err != nil {
		return nil, err
	}
	path := caPath(dir, "ca.key")
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing\nhint: restore the folder from its backup", path)
	}
	key, _, err := keyfile.LoadOrCreateP256(path)
	if err != nil {
		return nil, err
	}
	if !key.Public().(*ecdsa.PublicKey).Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s and %s do not go together\nhint: restore the folder from its backup", path, caPath(dir, "ca.pem"))
	}
	return &CA{cert, key, now}, nil
}

// LoadCACertificate loads the certificate of the CA below dir, without its key.
func LoadCACertificate(dir string) (*x509.Certificate, error) {
	path := caPath(dir, "ca.pem")
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing\nhint: restore the folder from its backup", path)
	} else if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s holds no certificate\nhint: restore the folder from its backup", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cert, nil
}

// Fingerprint is the SHA-256 of a certificate's DER, as openssl prints it.
func Fingerprint(c *x509.Certificate) [32]byte { return sha256.Sum256(c.Raw) }

// Certificate is the CA's own.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

func template(subject pkix.Name, now time.Time, validity time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // RFC 5280 section 4.1.2.2: at most 20 octets
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{SerialNumber: serial, Subject: subject, NotBefore: now.Add(-backdated), NotAfter: now.Add(validity)}, nil
}

// Device makes the certificate of a device's key.
func (ca *CA) Device(key crypto.PublicKey, name string) (*x509.Certificate, error) {
	c, err := template(pkix.Name{CommonName: name}, ca.now(), deviceValidity)
	if err != nil {
		return nil, err
	}
	c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, c, ca.cert, key, ca.key)
	if err != nil {
		return nil, fmt.Errorf("device certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// Check says why a certificate that a device showed does not count; nil: it does.
func (ca *CA) Check(c *x509.Certificate) error {
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	_, err := c.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: ca.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return fmt.Errorf("certificate has run out: it was valid until %s\nhint: enrol again with a claim, the device's old one will do", c.NotAfter.Format(time.RFC3339))
	}
	return err
}

// server makes the gateway's certificate, for DNS names and IP addresses, with a
// key that lives as long.
func (ca *CA) server(hosts []string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	c, err := template(pkix.Name{CommonName: "Trailmark gateway"}, ca.now(), serverValidity)
	if err != nil {
		return nil, err
	}
	c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, ca.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// ServerTLS is how the gateway meets devices under its host names. auth is how it
// asks for their certificates, which the CA must have made if it verifies them.
// There is no resumption: each connection shows its certificate anew.
func (ca *CA) ServerTLS(hosts []string, auth tls.ClientAuthType) *tls.Config {
	var mu sync.Mutex
	var current *tls.Certificate // guarded by mu
	clients := x509.NewCertPool()
	clients.AddCert(ca.cert)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: auth, ClientCAs: clients, SessionTicketsDisabled: true, Time: ca.now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			mu.Lock()
			defer mu.Unlock()
			if current == nil || ca.now().After(current.Leaf.NotAfter.Add(-serverValidity/3)) {
				next, err := ca.server(hosts)
				if err != nil {
					return nil, err
				}
				current = next
			}
			return current, nil
		},
	}
}
