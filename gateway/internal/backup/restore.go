package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"trailmark/gateway/internal/store"
)

// maxManifest bounds a manifest in bytes: some hundred thousand files.
const maxManifest = 256 << 20

// ReadManifest reads a backup's manifest.
func ReadManifest(from string) (*Manifest, error) {
	f, err := os.Open(filepath.Join(from, ManifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is no complete backup: it has no %s", from, ManifestFile)
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	var m Manifest
	if err := json.NewDecoder(io.LimitReader(f, maxManifest)).Decode(&m); err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestFile, err)
	}
	if m.Version != 1 {
		return nil, fmt.Errorf("%s: version %d, want 1", ManifestFile, m.Version)
	}
	for _, f := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) {
			return nil, fmt.Errorf("%s: %q is not below the backup", ManifestFile, f.Path)
		}
	}
	return &m, nil
}

// Restore copies a backup into dir, which must be new or empty, and marks it: a
// gateway that finds the mark signs nothing before it knows that no device has
// verified more of the ledger. Every file is checked against the manifest. When
// it returns nil the folder is on disk.
func Restore(ctx context.Context, from, dir string) (*Manifest, error) {
	m, err := ReadManifest(from)
	if err != nil {
		return nil, err
	}
	if err := empty(dir); err != nil {
		return nil, err
	}
	for _, f := range m.Files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := place(from, dir, f); err != nil {
			return nil, err
		}
	}
	if err := syncDirs(dir); err != nil {
		return nil, err
	}
	mark, err := json.MarshalIndent(map[string]any{"origin": m.Origin, "made": m.Made}, "", " ")
	if err != nil {
		return nil, err
	}
	return m, writeFile(filepath.Join(dir, own, RestoredFile), append(mark, '\n'))
}

// RestoreStore puts the backup's database alone into a gateway's folder that has
// lost its own. Ledger and chain stay: they say what is missing since.
func RestoreStore(from, dir string) (*Manifest, error) {
	m, err := ReadManifest(from)
	if err != nil {
		return nil, err
	}
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		path := filepath.Join(dir, own, store.File+suffix)
		if _, err := os.Lstat(path); err == nil {
			return nil, fmt.Errorf("%s is there\nhint: move it away first, with every file whose name begins so; keep it until gateway fsck is content", path)
		}
	}
	for _, f := range m.Files {
		if f.Path == own+"/"+store.File {
			return m, errors.Join(place(from, dir, f), syncDir(filepath.Join(dir, own)))
		}
	}
	return nil, fmt.Errorf("%s lists no %s", ManifestFile, store.File)
}

// place copies one file of a backup and compares it with the manifest.
func place(from, dir string, f File) error {
	sum, err := copyFile(filepath.Join(from, filepath.FromSlash(f.Path)), filepath.Join(dir, filepath.FromSlash(f.Path)))
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum); got != f.SHA256 {
		return fmt.Errorf("%s hashes to %s, the manifest says %s\nhint: this backup is damaged; take another", f.Path, got, f.SHA256)
	}
	return nil
}

// empty makes dir and refuses one that has something in it.
func empty(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("%s is not empty\nhint: name a folder that is not there yet", dir)
	}
	return nil
}

// copyFile copies a file with its permissions to a place where there is none, and
// gives the SHA-256 of what it wrote; that is on disk when it returns nil.
func copyFile(from, to string) (sum []byte, err error) {
	src, err := os.Open(from)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return nil, err
	}
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(dst, h), src)
	if err == nil {
		err = dst.Sync()
	}
	return h.Sum(nil), errors.Join(err, dst.Close())
}

// writeFile writes a new file that is on disk, under its name, when it returns nil.
func writeFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), syncDir(filepath.Dir(path)))
}

// syncDirs makes the names in root and below survive loss of power.
func syncDirs(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncDir(path)
	})
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
