// Package keyfile keeps a signing key, a device's or an organisation's: an
// Ed25519 or P-256 key in a file that only its owner may read.
//
// The file is PKCS #8 in PEM ("PRIVATE KEY", RFC 5958), mode 0600. A key that
// others could have read or replaced is refused: it proves nothing.
package keyfile

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxFile bounds what is read of a key file; an Ed25519 key takes 119 bytes, a
// P-256 key 241.
const maxFile = 4096

// LoadOrCreate returns the Ed25519 key at path and, when there is no file yet,
// makes one: then created is true, and the key survives loss of power. Of several
// processes that create at once one wins and all get its key. Errors carry a
// hint; an existing file is never changed.
func LoadOrCreate(path string) (signer crypto.Signer, created bool, err error) {
	return loadOrCreate(path, ed25519Key)
}

// LoadOrCreateP256 is LoadOrCreate for an ECDSA key on P-256.
func LoadOrCreateP256(path string) (signer crypto.Signer, created bool, err error) {
	return loadOrCreate(path, p256Key)
}

// A kind is what a key file may hold.
type kind struct {
	name     string
	is       func(any) bool
	generate func() (crypto.Signer, error)
}

var (
	ed25519Key = kind{"Ed25519",
		func(k any) bool { _, ok := k.(ed25519.PrivateKey); return ok },
		func() (crypto.Signer, error) { _, k, err := ed25519.GenerateKey(rand.Reader); return k, err }}
	p256Key = kind{"P-256",
		func(k any) bool { e, ok := k.(*ecdsa.PrivateKey); return ok && e.Curve == elliptic.P256() },
		func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }}
)

func loadOrCreate(path string, want kind) (signer crypto.Signer, created bool, err error) {
	signer, err = load(path, want)
	if !errors.Is(err, fs.ErrNotExist) {
		return signer, false, err
	}
	if err := create(path, want); errors.Is(err, fs.ErrExist) {
		signer, err = load(path, want)
		return signer, false, err
	} else if err != nil {
		return nil, false, fmt.Errorf("key file: create %s: %w", path, err)
	}
	signer, err = load(path, want) // what will be used after the next start
	return signer, err == nil, err
}

// load returns an error that wraps fs.ErrNotExist only if there is nothing at path.
func load(path string, want kind) (crypto.Signer, error) {
	// O_NONBLOCK: a named pipe must not hang the start.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("key file: %s is a symbolic link\nhint: give the path of the file itself", path)
	} else if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	defer f.Close()
	// On the open file, so that nobody can swap it after the check.
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("key file: %s: %w", path, err)
	}
	switch uid := os.Geteuid(); {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("key file: %s is not a regular file\nhint: give the path of a key file", path)
	case int64(st.Uid) != int64(uid):
		return nil, fmt.Errorf("key file: %s belongs to user %d, this process runs as %d\nhint: chown %d %s, if you are sure that nobody else has read it", path, st.Uid, uid, uid, path)
	case st.Mode&0o077 != 0:
		return nil, fmt.Errorf("key file: %s has mode %04o, want 0600\nhint: others may have read it: remove it and enrol the device again, or chmod 600 %s if you are sure they have not", path, st.Mode&0o777, path)
	}
	if err := checkDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	key, err := parse(b, want)
	if err != nil {
		return nil, fmt.Errorf("key file: %s: %w\nhint: restore the file from its backup, or remove it and enrol the device again", path, err)
	}
	return key, nil
}

// checkDir refuses a directory in which others can replace the key.
func checkDir(dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return errors.New("key file: directory of the key: " + err.Error()) // not fs.ErrNotExist: nothing may be created
	}
	if m := st.Mode().Perm(); m&0o022 != 0 {
		return fmt.Errorf("key file: directory %s has mode %04o, others can replace the key in it\nhint: chmod 700 %s", dir, m, dir)
	}
	return nil
}

// parse decodes one PEM block and nothing else.
func parse(b []byte, want kind) (crypto.Signer, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("key file has more than %d bytes", maxFile)
	}
	block, rest := pem.Decode(b)
	switch {
	case block == nil:
		return nil, fmt.Errorf("no PEM key in %d bytes", len(b))
	case !bytes.HasPrefix(b, []byte("-----BEGIN ")) || len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("more than a PEM key in the file")
	case block.Type != "PRIVATE KEY":
		return nil, fmt.Errorf("PEM type is %q, want %q", block.Type, "PRIVATE KEY")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("not a PKCS #8 key: %w", err)
	}
	if !want.is(key) {
		return nil, fmt.Errorf("key is %T, want %s", key, want.name)
	}
	return key.(crypto.Signer), nil
}

// create writes a new key beside path and links it there: path is a whole key
// or nothing, whenever the power goes. The error wraps fs.ErrExist if path exists.
func create(path string, want kind) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := checkDir(dir); err != nil {
		return err
	}
	key, err := want.generate()
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".key-*") // O_EXCL, 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil { // as O_EXCL: never replaces
		return err
	}
	for _, d := range []string{dir, filepath.Dir(filepath.Clean(dir))} {
		if err := syncDir(d); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
