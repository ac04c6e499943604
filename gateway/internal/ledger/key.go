package ledger

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// maxKeyFile bounds a key file: a name, a hash and 44 characters of key.
const maxKeyFile = 4 << 10

// algEd25519 is the signature type byte of a C2SP signed note key.
const algEd25519 = 1

// A Key is the ledger's one Ed25519 key under its two faces: it signs
// checkpoints as a C2SP signed note and receipts as COSE. One key for both
// means that whoever trusts the checkpoints of an origin trusts its receipts.
// The two cannot be confused: a note is text that starts with the origin, a
// COSE Sig_structure is a CBOR array.
//
// A Key is immutable and safe for concurrent use.
type Key struct {
	signer   crypto.Signer
	vkey     string
	verifier note.Verifier
}

// NewLogKey makes a key for the log named origin, in the text forms of
// golang.org/x/mod/sumdb/note. skey is secret; vkey is what verifiers pin.
func NewLogKey(origin string) (skey, vkey string, err error) {
	skey, vkey, err = note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return "", "", fmt.Errorf("log key: %w", err)
	}
	// GenerateKey does not look at the name; every later reader would.
	if _, err := note.NewVerifier(vkey); err != nil {
		return "", "", fmt.Errorf("log key: origin %q cannot name a log: no spaces and no plus signs", origin)
	}
	return skey, vkey, nil
}

// NewKey gives a signer that is kept elsewhere (a TPM, a key service) the name
// of a log. Its public key must be Ed25519.
func NewKey(origin string, signer crypto.Signer) (*Key, error) {
	pub, ok := signer.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("log key: public key is %T, want ed25519.PublicKey", signer.Public())
	}
	vkey, err := note.NewEd25519VerifierKey(origin, pub)
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("log key: origin %q cannot name a log: no spaces and no plus signs", origin)
	}
	return &Key{signer: signer, vkey: vkey, verifier: v}, nil
}

// ParseKey reads the secret text form that NewLogKey made. Errors never
// contain the text.
func ParseKey(skey string) (*Key, error) {
	skey = strings.TrimSpace(skey)
	s, err := note.NewSigner(skey)
	if err != nil {
		return nil, errors.New("log key: not a note signer key (PRIVATE+KEY+name+hash+key)")
	}
	// note.Signer hides the seed and COSE needs the same key, so it is read
	// once more; NewSigner has just checked every part of it.
	// PRIVATE+KEY+name+hash+key; the base64 may hold plus signs of its own.
	parts := strings.SplitN(skey, "+", 5)
	raw, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(raw) != 1+ed25519.SeedSize || raw[0] != algEd25519 {
		return nil, errors.New("log key: not an Ed25519 key")
	}
	return NewKey(s.Name(), ed25519.NewKeyFromSeed(raw[1:]))
}

// CreateKeyFile makes a key for origin and writes it to a new file at path that
// only its owner may read. The file is on disk when it returns. An existing
// file is never replaced: the old checkpoints would become unverifiable.
func CreateKeyFile(path, origin string) (*Key, error) {
	skey, _, err := NewLogKey(origin)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	_, err = f.WriteString(skey + "\n")
	err = errors.Join(err, f.Sync(), f.Close(), syncDir(filepath.Dir(path)))
	if err != nil {
		return nil, fmt.Errorf("log key: write %s: %w", path, err)
	}
	return ParseKey(skey)
}

// LoadKeyFile reads a key that CreateKeyFile wrote. It refuses a file that
// others than its owner may read.
func LoadKeyFile(path string) (*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("log key: %s has mode %04o, want 0600; hint: chmod 600 %s, and replace the key if others could read it", path, mode, path)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	if len(raw) > maxKeyFile {
		return nil, fmt.Errorf("log key: %s is over %d bytes", path, maxKeyFile)
	}
	k, err := ParseKey(string(raw))
	if err != nil {
		return nil, fmt.Errorf("%w; file %s", err, path)
	}
	return k, nil
}

// Origin is the log's name, the first line of its checkpoints.
func (k *Key) Origin() string { return k.verifier.Name() }

// VerifierKey is the text that verifiers of checkpoints pin.
func (k *Key) VerifierKey() string { return k.vkey }

// Verifier checks checkpoint signatures of this key.
func (k *Key) Verifier() note.Verifier { return k.verifier }

// Signer signs checkpoints.
func (k *Key) Signer() note.Signer { return noteSigner{k} }

// CryptoSigner signs COSE receipts: Ed25519 over the message itself, with
// crypto.Hash(0) as options.
func (k *Key) CryptoSigner() crypto.Signer { return k.signer }

// PublicKey is the Ed25519 public key, 32 bytes.
func (k *Key) PublicKey() ed25519.PublicKey { return k.signer.Public().(ed25519.PublicKey) }

// noteSigner is a Key as a note.Signer; crypto.Signer has a Sign of its own.
type noteSigner struct{ k *Key }

func (s noteSigner) Name() string    { return s.k.verifier.Name() }
func (s noteSigner) KeyHash() uint32 { return s.k.verifier.KeyHash() }
func (s noteSigner) Sign(msg []byte) ([]byte, error) {
	return s.k.signer.Sign(rand.Reader, msg, crypto.Hash(0))
}

// syncDir makes a new name in dir survive loss of power.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
