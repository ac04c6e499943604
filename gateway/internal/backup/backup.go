// Package backup copies a gateway's folder while the gateway runs, and puts such
// a copy back.
//
// The parts are copied in an order that leaves them as a crash might: the chain
// first, then the ledger, then the store. So the store is never behind the ledger,
// nor the ledger behind its anchors, and what the store has more is brought into
// the ledger at the next start.
//
// Keys are left out unless they are asked for, and the authority's is never in:
// whoever holds a backup could sign in their name. The broker's queue is left out
// too: devices send again what they hold no receipt for.
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
	"slices"
	"strings"
	"time"

	"trailmark/gateway/internal/ledger"
	"trailmark/gateway/internal/shard"
	"trailmark/gateway/internal/store"
	"trailmark/internal/chain/comet"
)

// ManifestFile is the name of the manifest; its presence means that the backup is
// complete.
const ManifestFile = "backup.json"

// RestoredFile is below the gateway's own folder until the gateway knows that no
// device has seen a newer ledger than the one that was put back.
const RestoredFile = "restored.json"

// own is the gateway's own folder.
const own = "gateway"

// A Manifest says what is in a backup.
type Manifest struct {
	Version int       `json:"version"` // 1
	Made    time.Time `json:"made"`
	Origin  string    `json:"origin"`
	Files   []File    `json:"files"`
	// Missing are the key files that the gateway needs besides.
	Missing []string `json:"missing_keys,omitempty"`
}

// A File is one file of a backup.
type File struct {
	Path   string `json:"path"` // with slashes
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Key    bool   `json:"key,omitempty"`
}

// Options say what to copy where.
type Options struct {
	Dir, To  string // the gateway's folder; a new or empty one
	Origin   string // of its first ledger
	ChainID  string
	Keys     bool                               // with the keys, but for the authority's
	Progress func(what string, done, of uint64) // is called often
}

// class of a file of the gateway's folder.
type class int

const (
	left  class = iota // out: made anew, or nobody's to copy
	plain              // copied in any order, before the store
	apart              // of chain, ledger or store, copied in their order
	key
)

// classOf knows every file: one that it does not know is left out.
func classOf(path string) class {
	in := func(dir string) bool { return strings.HasPrefix(path, dir+"/") }
	base := filepath.Base(path)
	switch {
	case strings.HasSuffix(base, ".new"):
		return left // half written
	case in("site"), in("brand"), in("organisation"), in("custodians"), path == "ca/ca.key", path == own+"/alarm-targets.json", in(own) && (path == own+"/log.key" || filepath.Dir(path) == own && filepath.Ext(path) == ".pem"),
		path == own+"/chain/validator/config/priv_validator_key.json", path == own+"/chain/validator/config/node_key.json":
		return key
	case in(own + "/chain"), in(own + "/ledger"), in(own + "/ledgers"), in(own) && strings.HasPrefix(base, store.File):
		return apart
	case path == "organisation.json", in("claims"), in("inbox"), path == "ca/ca.pem", path == "authority/trust.cbor",
		path == own+"/est.url", path == own+"/trust.cbor", in(own + "/statements"):
		return plain
	}
	return left
}

// Write makes a backup. When it returns nil every file of it is on disk.
func Write(ctx context.Context, o Options) (*Manifest, error) {
	if err := empty(o.To); err != nil {
		return nil, err
	}
	w := &writer{Options: o, ctx: ctx, m: Manifest{Version: 1, Made: time.Now().UTC(), Origin: o.Origin}}
	books, err := w.books()
	if err != nil {
		return nil, err
	}
	anchored, err := w.chain(books)
	if err != nil {
		return nil, fmt.Errorf("copy of the chain: %w", err)
	}
	signed, err := w.ledgers(books)
	if err != nil {
		return nil, fmt.Errorf("copy of the ledger: %w", err)
	}
	if err := w.rest(); err != nil {
		return nil, err
	}
	db := filepath.Join(o.To, own, store.File)
	if err := store.Backup(ctx, filepath.Join(o.Dir, own), db, func(done, of uint64) { o.Progress("store pages", done, of) }); err != nil {
		return nil, err
	}
	if err := store.Trim(ctx, db, anchored, signed); err != nil {
		return nil, err
	}
	if err := w.note(own+"/"+store.File, false); err != nil {
		return nil, err
	}
	return &w.m, w.finish()
}

type writer struct {
	Options
	ctx context.Context
	m   Manifest
}

// chain copies the validator so that no state is without its block, and gives
// the newest anchored size. A file that the validator takes away meanwhile spoils
// one attempt.
func (w *writer) chain(books []store.Shard) (anchored map[string]uint64, err error) {
	const data = own + "/chain/validator/data/"
	for range 5 {
		var files []string
		for _, part := range []string{data + "state.journal", data + "state.db", data + "blockstore.db", data + "priv_validator_state.json",
			own + "/chain/validator/config/genesis.json"} {
			var some []string
			if some, err = w.tree(part); err != nil {
				break
			}
			files = append(files, some...)
		}
		if err == nil {
			anchored, err = w.opens(books)
		}
		if err == nil {
			for _, f := range files {
				if err := w.note(f, false); err != nil {
					return nil, err
				}
			}
			return anchored, nil
		}
		if err := errors.Join(w.ctx.Err(), os.RemoveAll(filepath.Join(w.To, own, "chain"))); err != nil {
			return nil, err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, err
}

// opens checks that the copied chain can be read, and that the validator has not
// signed beyond the block that would come next.
func (w *writer) opens(books []store.Shard) (anchored map[string]uint64, err error) {
	a, err := comet.OpenArchive(filepath.Join(w.To, own, "chain"), w.ChainID)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	raw, err := os.ReadFile(filepath.Join(w.To, own, "chain/validator/data/priv_validator_state.json"))
	if err != nil {
		return nil, err
	}
	var signed struct {
		Height int64 `json:"height,string"`
	}
	if err := json.Unmarshal(raw, &signed); err != nil {
		return nil, err
	}
	if signed.Height > a.Height()+1 {
		return nil, fmt.Errorf("the validator has signed block %d, copied are %d", signed.Height, a.Height())
	}
	anchored = map[string]uint64{}
	for _, b := range books {
		for _, size := range a.Sizes(b.Origin) {
			anchored[b.Origin] = size
		}
	}
	return anchored, nil
}

// tree copies a file or a folder.
func (w *writer) tree(part string) (files []string, err error) {
	root := filepath.Join(w.Dir, filepath.FromSlash(part))
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(w.Dir, path)
		if err != nil || d.IsDir() || d.Name() == "LOCK" || strings.HasSuffix(d.Name(), "lock") {
			return errors.Join(err, w.ctx.Err())
		}
		rel = filepath.ToSlash(rel)
		files = append(files, rel)
		return w.copy(rel)
	})
	return files, err
}

func (w *writer) copy(rel string) error {
	_, err := copyFile(filepath.Join(w.Dir, filepath.FromSlash(rel)), filepath.Join(w.To, filepath.FromSlash(rel)))
	return err
}

// books are the ledgers that there are when the backup begins. One that begins
// meanwhile is left out of the copy of the ledgers: its rows are in the store's.
func (w *writer) books() ([]store.Shard, error) {
	db, err := store.OpenReadOnly(w.ctx, filepath.Join(w.Dir, own))
	if err != nil {
		return nil, err
	}
	books, err := store.ReadShards(w.ctx, db)
	if len(books) == 0 {
		books = []store.Shard{{Origin: w.Origin}} // from before there were several
	}
	return books, errors.Join(err, db.Close())
}

// ledgers copies the logs, and gives the heads that were copied, by origin.
func (w *writer) ledgers(books []store.Shard) (map[string]store.Shard, error) {
	signed := map[string]store.Shard{}
	for _, b := range books {
		dir := own + "/" + filepath.ToSlash(shard.Folder(b.N, b.Origin)) + "/"
		if err := w.ledger(dir); err != nil {
			return nil, err
		}
		cp, err := ledger.Published(filepath.Join(w.To, filepath.FromSlash(dir)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: %w", b.Origin, err)
		}
		if err == nil && cp.Size > 0 {
			b.Size, b.Root = cp.Size, cp.Root
			signed[b.Origin] = b
		}
	}
	return signed, nil
}

// ledger copies one log: its heads first and the tiles after, which then hold
// all that the heads cover and perhaps more.
func (w *writer) ledger(dir string) error {
	for _, head := range []string{dir + "checkpoint", dir + ".state/treeState", dir + ".state/version"} {
		if err := w.copy(head); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		} else if err == nil {
			if err := w.note(head, false); err != nil {
				return err
			}
		}
	}
	if _, err := os.Stat(filepath.Join(w.Dir, dir, "tile")); errors.Is(err, fs.ErrNotExist) {
		return nil // no entry yet
	}
	done := uint64(0)
	return filepath.WalkDir(filepath.Join(w.Dir, dir, "tile"), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a partial tile that was collected meanwhile
		}
		if err != nil || d.IsDir() {
			return errors.Join(err, w.ctx.Err())
		}
		rel, err := filepath.Rel(w.Dir, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if err := w.copy(rel); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		done++
		w.Progress("tiles", done, 0)
		return w.note(rel, false)
	})
}

// rest copies everything else, and the keys where they are asked for.
func (w *writer) rest() error {
	return filepath.WalkDir(w.Dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a file of the inbox that was taken meanwhile
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(w.Dir, path)
		if err != nil || d.IsDir() {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch s := classOf(rel); {
		case s == key && !w.Keys:
			w.m.Missing = append(w.m.Missing, rel)
		case s == key, s == plain:
			if err := w.copy(rel); errors.Is(err, fs.ErrNotExist) {
				return nil
			} else if err != nil {
				return err
			}
			return w.note(rel, s == key)
		}
		return nil
	})
}

// note puts a copied file into the manifest.
func (w *writer) note(rel string, isKey bool) error {
	f, err := os.Open(filepath.Join(w.To, filepath.FromSlash(rel)))
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	w.m.Files = append(w.m.Files, File{Path: rel, Size: n, SHA256: hex.EncodeToString(h.Sum(nil)), Key: isKey})
	return errors.Join(err, f.Sync())
}

// finish syncs the folders and writes the manifest last.
func (w *writer) finish() error {
	slices.SortFunc(w.m.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	if err := syncDirs(w.To); err != nil {
		return err
	}
	data, err := json.MarshalIndent(&w.m, "", " ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(w.To, ManifestFile), append(data, '\n'))
}
