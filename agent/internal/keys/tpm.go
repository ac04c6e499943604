package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

const unixPrefix = "unix:"

// tpmKey is a P-256 key under the owner hierarchy's storage root.
type tpmKey struct {
	address string
	blob    blob
	pub     *ecdsa.PublicKey

	mu     sync.Mutex // a TPM answers one command at a time
	tpm    transport.TPMCloser
	handle tpm2.NamedHandle // of the loaded key, while tpm is open
}

// signing is the key's template: made in the TPM, bound to it and to its parent,
// for signatures only. Its use needs no password: whoever may open the TPM as the
// agent does can ask it to sign, but not carry the key away.
var signing = tpm2.TPMTPublic{
	Type:    tpm2.TPMAlgECC,
	NameAlg: tpm2.TPMAlgSHA256,
	ObjectAttributes: tpm2.TPMAObject{
		FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true, SignEncrypt: true,
	},
	Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
		CurveID: tpm2.TPMECCNistP256,
		Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA,
			Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256})},
	}),
}

// openTPM loads the key whose blob is at path, or makes one.
func openTPM(address, path string) (Key, error) {
	b, err := readBlob(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(address, path); err != nil {
			return nil, err
		}
		b, err = readBlob(path) // what will be used after the next start
	}
	if err != nil {
		return nil, err
	}
	k := &tpmKey{address: address, blob: b}
	if k.pub, err = b.public(); err != nil {
		return nil, fmt.Errorf("tpm key: %s: %w", path, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.load(); err != nil {
		return nil, err
	}
	return k, nil
}

// connect opens the TPM's device or socket.
func connect(address string) (tpm transport.TPMCloser, err error) {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		tpm, err = linuxudstpm.Open(path)
	} else {
		tpm, err = linuxtpm.Open(address)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("tpm %s: %w\nhint: let the agent's user into the group tss", address, err)
	} else if err != nil {
		return nil, fmt.Errorf("tpm %s: %w\nhint: is there a TPM, and its driver loaded? ls -l /dev/tpm*", address, err)
	}
	return tpm, nil
}

// storage is the template of the storage root: the one of TCG's provisioning
// guidance, but with an empty unique field, as other readers of these key files
// fill it in. A byte of difference would be another root.
var storage = func() tpm2.TPMTPublic {
	t := tpm2.ECCSRKTemplate
	t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	return t
}()

// root makes the storage root: derived from the hierarchy's seed each time, it is
// the same until the TPM is cleared.
func root(tpm transport.TPM) (tpm2.NamedHandle, error) {
	r, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(storage)}.Execute(tpm)
	if errors.Is(err, tpm2.TPMRCAuthFail) || errors.Is(err, tpm2.TPMRCBadAuth) {
		return tpm2.NamedHandle{}, fmt.Errorf("tpm storage root: %w\nhint: the owner hierarchy has a password; the agent wants it empty", err)
	} else if err != nil {
		return tpm2.NamedHandle{}, fmt.Errorf("tpm storage root: %w", err)
	}
	return tpm2.NamedHandle{Handle: r.ObjectHandle, Name: r.Name}, nil
}

// flush frees a place in the TPM, of which there may be three. What could not be
// freed goes with the connection to the resource manager.
func flush(tpm transport.TPM, h tpm2.NamedHandle) {
	_, _ = tpm2.FlushContext{FlushHandle: h.Handle}.Execute(tpm)
}

func makeKey(address, path string) error {
	tpm, err := connect(address)
	if err != nil {
		return err
	}
	defer tpm.Close()
	parent, err := root(tpm)
	if err != nil {
		return err
	}
	defer flush(tpm, parent)
	made, err := tpm2.Create{ParentHandle: parent, InPublic: tpm2.New2B(signing)}.Execute(tpm)
	if err != nil {
		return fmt.Errorf("tpm key: create: %w", err)
	}
	return writeBlob(path, blob{Public: tpm2.Marshal(made.OutPublic), Private: tpm2.Marshal(made.OutPrivate)})
}

// load opens the TPM and loads the key into it. The caller holds k.mu.
func (k *tpmKey) load() error {
	tpm, err := connect(k.address)
	if err != nil {
		return err
	}
	handle, err := k.loadInto(tpm)
	if err != nil {
		tpm.Close()
		return err
	}
	k.tpm, k.handle = tpm, handle
	return nil
}

func (k *tpmKey) loadInto(tpm transport.TPM) (tpm2.NamedHandle, error) {
	parent, err := root(tpm)
	if err != nil {
		return tpm2.NamedHandle{}, err
	}
	defer flush(tpm, parent)
	public, err := tpm2.Unmarshal[tpm2.TPM2BPublic](k.blob.Public)
	if err != nil {
		return tpm2.NamedHandle{}, fmt.Errorf("tpm key: %w", err)
	}
	private, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](k.blob.Private)
	if err != nil {
		return tpm2.NamedHandle{}, fmt.Errorf("tpm key: %w", err)
	}
	loaded, err := tpm2.Load{ParentHandle: parent, InPublic: *public, InPrivate: *private}.Execute(tpm)
	if errors.Is(err, tpm2.TPMRCIntegrity) {
		return tpm2.NamedHandle{}, fmt.Errorf("tpm key: %w\nhint: it was made in another TPM, or this one was cleared: move the data folder away and start with a new claim", err)
	} else if err != nil {
		return tpm2.NamedHandle{}, fmt.Errorf("tpm key: load: %w", err)
	}
	return tpm2.NamedHandle{Handle: loaded.ObjectHandle, Name: loaded.Name}, nil
}

func (k *tpmKey) Public() crypto.PublicKey { return k.pub }

// Sign makes an ECDSA signature in ASN.1 over a SHA-256 digest. When the TPM or
// its resource manager was restarted, the key is loaded again; one that is away
// is waited for, some seconds in all, as a frame that cannot be signed is lost.
// The signature's s may be over n/2, as TPMs do not care: statement.Signer does.
func (k *tpmKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts == nil || opts.HashFunc() != crypto.SHA256 || len(digest) != crypto.SHA256.Size() {
		return nil, errors.New("tpm key: it signs SHA-256 digests only")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	sig, err := k.attempt(digest)
	for wait := firstWait; err != nil && wait <= lastWait; wait *= 2 {
		time.Sleep(wait)
		sig, err = k.attempt(digest)
	}
	return sig, err
}

// Waits for a TPM that is away, doubled from the first to the last.
const (
	firstWait = 50 * time.Millisecond
	lastWait  = 1600 * time.Millisecond
)

// attempt signs with the key as it is loaded, or loads it. After an error the
// connection is given up. The caller holds k.mu.
func (k *tpmKey) attempt(digest []byte) ([]byte, error) {
	if k.tpm == nil {
		if err := k.load(); err != nil {
			return nil, err
		}
	}
	sig, err := k.sign(digest)
	if err != nil {
		k.drop()
	}
	return sig, err
}

// sign asks the TPM. The caller holds k.mu, and k.tpm is open.
func (k *tpmKey) sign(digest []byte) ([]byte, error) {
	r, err := tpm2.Sign{KeyHandle: k.handle, Digest: tpm2.TPM2BDigest{Buffer: digest},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck}}.Execute(k.tpm)
	if err != nil {
		return nil, fmt.Errorf("tpm key: sign: %w", err)
	}
	rs, err := r.Signature.Signature.ECDSA()
	if err != nil {
		return nil, fmt.Errorf("tpm key: sign: %w", err)
	}
	sig, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(rs.SignatureR.Buffer), new(big.Int).SetBytes(rs.SignatureS.Buffer)})
	if err != nil {
		return nil, err
	}
	// A glitch in the chip must not become a frame that nobody can verify.
	if !ecdsa.VerifyASN1(k.pub, digest, sig) {
		return nil, errors.New("tpm key: the TPM's signature does not verify")
	}
	return sig, nil
}

// drop gives the connection up. The caller holds k.mu.
func (k *tpmKey) drop() {
	if k.tpm == nil {
		return
	}
	flush(k.tpm, k.handle)
	k.tpm.Close()
	k.tpm = nil
}

// Close frees the TPM; the key can be opened again.
func (k *tpmKey) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop()
	return nil
}

// public is the public key in a blob.
func (b blob) public() (*ecdsa.PublicKey, error) {
	p, err := tpm2.Unmarshal[tpm2.TPM2BPublic](b.Public)
	if err != nil {
		return nil, err
	}
	t, err := p.Contents()
	if err != nil {
		return nil, err
	}
	parms, err := t.Parameters.ECCDetail()
	if err != nil {
		return nil, err
	}
	point, err := t.Unique.ECC()
	if err != nil {
		return nil, err
	}
	if parms.CurveID != tpm2.TPMECCNistP256 || len(point.X.Buffer) > 32 || len(point.Y.Buffer) > 32 {
		return nil, errors.New("not a P-256 key")
	}
	uncompressed := make([]byte, 65)
	uncompressed[0] = 4
	new(big.Int).SetBytes(point.X.Buffer).FillBytes(uncompressed[1:33])
	new(big.Int).SetBytes(point.Y.Buffer).FillBytes(uncompressed[33:])
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), uncompressed)
}

// checkMode refuses a blob that others could have replaced by one of their own.
func checkMode(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("mode %v, want a file that only its owner may write\nhint: chmod 600 %s, if you are sure nobody else wrote it", info.Mode(), f.Name())
	}
	return nil
}
