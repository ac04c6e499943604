package keys

import (
	"bytes"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxBlob bounds what is read of a TPM key file; ours take about 500 bytes.
const maxBlob = 4096

const (
	pemType     = "TSS2 PRIVATE KEY"
	rhOwner     = 0x40000001 // TPM_RH_OWNER: the parent is the hierarchy's storage root
	restoreHint = "\nhint: restore the file from its backup, or move the data folder away and start with a new claim"
)

var oidLoadable = asn1.ObjectIdentifier{2, 23, 133, 10, 1, 3}

// A blob is a key that one TPM can load.
type blob struct {
	Public  []byte // TPM2B_PUBLIC
	Private []byte // TPM2B_PRIVATE, encrypted by the TPM
}

// tpmKeyFile is the ASN.1 of "TSS2 PRIVATE KEY" files (draft-bottomley-tpm2-keys,
// TPMKey, without policy and password), so that other tools can use the key in its
// TPM: openssl with the tpm2 provider does.
type tpmKeyFile struct {
	Type      asn1.ObjectIdentifier
	EmptyAuth bool `asn1:"explicit,optional,tag:0"`
	Parent    int64
	Public    []byte
	Private   []byte
}

func (b blob) encode() ([]byte, error) {
	der, err := asn1.Marshal(tpmKeyFile{oidLoadable, true, rhOwner, b.Public, b.Private})
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

func parseBlob(data []byte) (blob, error) {
	if len(data) > maxBlob {
		return blob{}, fmt.Errorf("over %d bytes", maxBlob)
	}
	p, rest := pem.Decode(data)
	if p == nil || p.Type != pemType || len(bytes.TrimSpace(rest)) > 0 {
		return blob{}, errors.New("not one " + pemType + " in PEM")
	}
	var f tpmKeyFile
	if rest, err := asn1.Unmarshal(p.Bytes, &f); err != nil {
		return blob{}, err
	} else if len(rest) > 0 || !f.Type.Equal(oidLoadable) || f.Parent != rhOwner || !f.EmptyAuth {
		return blob{}, errors.New("not a key without a password under the owner's storage root")
	}
	b := blob{f.Public, f.Private}
	_, err := b.public()
	return b, err
}

// readBlob returns an error that is fs.ErrNotExist only if there is nothing at path.
func readBlob(path string) (blob, error) {
	f, err := os.Open(path)
	if err != nil {
		return blob{}, err
	}
	defer f.Close()
	if err := checkMode(f); err != nil {
		return blob{}, fmt.Errorf("tpm key: %s: %w", path, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxBlob+1))
	if err != nil {
		return blob{}, fmt.Errorf("tpm key: %w", err)
	}
	b, err := parseBlob(data)
	if err != nil {
		return blob{}, fmt.Errorf("tpm key: %s: %w%s", path, err, restoreHint)
	}
	return b, nil
}

// writeBlob writes a blob that is not there yet; it survives loss of power when
// writeBlob returns nil.
func writeBlob(path string, b blob) error {
	data, err := b.encode()
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("tpm key: %w", err)
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, os.ErrExist) { // never replaces: of two that made one, the first stays
		return fmt.Errorf("tpm key: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
