package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"trailmark/gateway/internal/backup"
	"trailmark/gateway/internal/enrol"
	"trailmark/gateway/internal/fsck"
	"trailmark/gateway/internal/ledger"
	"trailmark/gateway/internal/store"
	"trailmark/internal/chain/comet"
	"trailmark/passport"
	"trailmark/statement"
)

// progressEvery is how often a long command says how far it is.
const progressEvery = 2 * time.Second

// progress writes to w how far a command is, every now and then.
func progress(w io.Writer, command string) func(what string, done, of uint64) {
	last := time.Now()
	return func(what string, done, of uint64) {
		if now := time.Now(); now.Sub(last) >= progressEvery {
			last = now
			if of > 0 {
				fmt.Fprintf(w, "gateway: %s: %s, %d of %d\n", command, what, done, of)
			} else {
				fmt.Fprintf(w, "gateway: %s: %s, %d\n", command, what, done)
			}
		}
	}
}

// storedTrust is what verifiers of a folder's contents pin: its trust file, or,
// where the authority's folder is kept elsewhere, what the gateway itself knows.
func storedTrust(dir string, org enrol.Organisation) (*passport.Trust, error) {
	authorities, err := org.Authorities()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", organisationFile, err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "authority", "trust.cbor"))
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ledger.LoadKeyFile(filepath.Join(dir, ownDir, "log.key"))
		if err != nil {
			return nil, fmt.Errorf("%w\nhint: without a trust file the ledger's key is needed; bring authority/trust.cbor back", err)
		}
		pub, err := statement.NewKey(key.PublicKey())
		if err != nil {
			return nil, err
		}
		return org.Trust(authorities, pub, newestOrigin(dir)), nil
	} else if err != nil {
		return nil, err
	}
	t, err := passport.ParseTrust(data)
	if err != nil {
		return nil, err
	}
	for _, a := range authorities {
		known := false
		for _, pinned := range t.Authorities {
			known = known || pinned.ID() == a.ID()
		}
		if !known {
			return nil, fmt.Errorf("%s names authority %.8s…, the trust file does not", organisationFile, a.ID())
		}
	}
	return t, nil
}

// newestOrigin is the newest ledger that a folder's database lists; "": it cannot be
// read, and whoever needs it says why.
func newestOrigin(dir string) string {
	ctx := context.Background()
	db, err := store.OpenReadOnly(ctx, filepath.Join(dir, ownDir))
	if err != nil {
		return ""
	}
	defer db.Close()
	books, err := store.ReadShards(ctx, db)
	if err != nil || len(books) == 0 {
		return ""
	}
	return books[len(books)-1].Origin
}

// Fsck checks a folder and writes what is damaged to out, a line each. It reports
// whether anything is.
func Fsck(ctx context.Context, dir string, asJSON bool, out, stderr io.Writer) (damaged bool, err error) {
	org, err := loadOrganisation(dir)
	if err != nil {
		return false, err
	}
	trust, err := storedTrust(dir, org)
	if err != nil {
		return false, err
	}
	own := filepath.Join(dir, ownDir)
	lines := json.NewEncoder(out)
	o := fsck.Options{Dir: own, Trust: trust, Origin: org.Origin, Progress: progress(stderr, "fsck"),
		Report: func(f fsck.Finding) {
			if asJSON {
				_ = lines.Encode(f) // a reader that went away is told of by the exit code
			} else {
				fmt.Fprintln(out, f)
			}
		}}
	if _, err := os.Stat(filepath.Join(own, "chain")); err == nil {
		o.Chain = func() (fsck.Chain, error) {
			a, err := comet.OpenArchive(filepath.Join(own, "chain"), org.ChainID)
			if err != nil {
				return nil, err
			}
			return a, nil
		}
	} else {
		fmt.Fprintln(stderr, "gateway: fsck: no chain in this folder: anchors are held against their checkpoints only")
	}
	sum, err := fsck.Check(ctx, o)
	if err != nil {
		return false, err
	}
	if asJSON {
		return sum.Findings > 0, lines.Encode(sum)
	}
	_, err = fmt.Fprintf(out, "%d statements with %d readings, %d ledger entries, %d anchors: %d findings\n",
		sum.Statements, sum.Readings, sum.Entries, sum.Anchors, sum.Findings)
	return sum.Findings > 0, err
}

// Backup copies a folder to a new one and checks the copy.
func Backup(ctx context.Context, dir, to string, keys bool, out, stderr io.Writer) error {
	org, err := loadOrganisation(dir)
	if err != nil {
		return err
	}
	m, err := backup.Write(ctx, backup.Options{Dir: dir, To: to, Origin: org.Origin, ChainID: org.ChainID, Keys: keys, Progress: progress(stderr, "backup")})
	if err != nil {
		return err
	}
	damaged, err := Fsck(ctx, to, false, out, stderr)
	if err != nil {
		return fmt.Errorf("checking the backup: %w", err)
	}
	if damaged {
		return fmt.Errorf("the backup in %s is damaged, as said above\nhint: gateway fsck --dir %s says whether the gateway's own folder is", to, dir)
	}
	var bytes int64
	for _, f := range m.Files {
		bytes += f.Size
	}
	fmt.Fprintf(out, "backup of %s in %s: %d files, %d bytes\n", org.Origin, to, len(m.Files), bytes)
	for _, k := range m.Missing {
		fmt.Fprintf(out, "  not in it: %s, a key\n", k)
	}
	_, err = fmt.Fprintln(out, "  not in it: the authority's keys")
	return err
}

// Restore puts a backup into dir, or its database alone.
func Restore(ctx context.Context, from, dir string, storeOnly bool, out io.Writer) error {
	if storeOnly {
		if _, err := loadOrganisation(dir); err != nil {
			return err
		}
		m, err := backup.RestoreStore(from, dir)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "database of %s put into %s\nhint: start the gateway; it asks the devices for what is missing since, and signs nothing before it has it\n", m.Made.Format(time.RFC3339), dir)
		return err
	}
	m, err := backup.Restore(ctx, from, dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "backup of %s put into %s\n", m.Made.Format(time.RFC3339), dir)
	for _, k := range m.Missing {
		fmt.Fprintf(out, "hint: put the key %s back before the gateway starts\n", k)
	}
	_, err = fmt.Fprintln(out, "hint: start the gateway; it signs nothing until every device was heard, and refuses if one has verified more than is here")
	return err
}
