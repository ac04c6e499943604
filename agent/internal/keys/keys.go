// Package keys opens the device's signing key, wherever it is kept: in a file
// that only its owner may read, or in a TPM 2.0 that never gives it away.
//
// A key is named by a short address:
//
//	file:               Ed25519 in key.pem of the data folder
//	file:/path          Ed25519 there
//	tpm:/dev/tpmrm0     P-256 in a TPM behind the kernel's resource manager
//	tpm:unix:/path      P-256 in a TPM at a Unix socket, as swtpm serves it
//
// What the data folder holds of a TPM's key is of use in that TPM only. The keys
// of later epochs lie beside the first one: see Address.In.
package keys

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"trailmark/internal/keyfile"
)

// Default is the address of a key in a file of the data folder.
const Default = "file:"

// Names inside the data folder.
const (
	fileName = "key.pem"
	tpmName  = "key.tpm.pem"
)

// A Key is a device's signing key. Sign is safe for concurrent use.
type Key interface {
	crypto.Signer
	io.Closer
}

// An Address says where a key is kept.
type Address struct {
	// Path is the file that must survive: the key, or what a TPM needs to load it.
	Path string
	tpm  string // device or "unix:" and socket; "": the key is the file
}

// String is the address with the file that it means.
func (a Address) String() string {
	if a.tpm != "" {
		return "tpm:" + a.tpm
	}
	return "file:" + a.Path
}

// ParseAddress reads the address of a key. dir is the data folder.
func ParseAddress(s, dir string) (Address, error) {
	kind, rest, ok := strings.Cut(s, ":")
	switch {
	case !ok:
	case kind == "file" && rest == "":
		return Address{Path: filepath.Join(dir, fileName)}, nil
	case kind == "file" && filepath.IsAbs(rest):
		return Address{Path: rest}, nil
	case kind == "tpm" && filepath.IsAbs(strings.TrimPrefix(rest, unixPrefix)):
		return Address{Path: filepath.Join(dir, tpmName), tpm: rest}, nil
	}
	return Address{}, fmt.Errorf("key %q is none of file:, file:/path, tpm:/dev/tpmrm0 and tpm:unix:/path", s)
}

// In is the address of the key that signs in an epoch: key.pem is that of epoch
// 0, key-1.pem beside it that of epoch 1.
func (a Address) In(epoch uint64) Address {
	if epoch > 0 {
		dir, name := filepath.Split(a.Path)
		stem, ext, _ := strings.Cut(name, ".")
		a.Path = fmt.Sprintf("%s%s-%d", dir, stem, epoch)
		if ext != "" {
			a.Path += "." + ext
		}
	}
	return a
}

// Excludes reports that b cannot be opened while a is: a TPM at a socket serves
// one connection, unlike the kernel's resource manager.
func (a Address) Excludes(b Address) bool {
	return a.tpm == b.tpm && strings.HasPrefix(a.tpm, unixPrefix)
}

// Destroy ends a key: its file, or what its TPM needs to load it, is overwritten
// and removed. A card that levels wear may keep the old block where only its maker
// can read it. Of a key that is not there nothing is left to do.
func (a Address) Destroy() error {
	if err := destroy(a.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("key file: not destroyed: %w", err)
	}
	return nil
}

func destroy(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		_, err = f.Write(make([]byte, info.Size()))
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// InTPM reports that a TPM holds the key.
func (a Address) InTPM() bool { return a.tpm != "" }

// Open returns the key and, where there is none yet, makes one; it is durable
// when Open returns nil. Errors carry a hint; an existing key is never replaced.
func (a Address) Open() (Key, error) {
	if a.tpm != "" {
		return openTPM(a.tpm, a.Path)
	}
	signer, _, err := keyfile.LoadOrCreate(a.Path)
	if err != nil {
		return nil, err
	}
	return inMemory{signer}, nil
}

// inMemory is a key with nothing to close.
type inMemory struct{ crypto.Signer }

func (inMemory) Close() error { return nil }
