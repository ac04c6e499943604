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
// What the data folder holds of a TPM's key is of use in that TPM only.
package keys

import (
	"crypto"
	"fmt"
	"io"
	"path/filepath"
	"strings"

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
