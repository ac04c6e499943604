package comet

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

const oldMagic = "TMCHAIN1"

// oldRecord is a record of the first journal, which knew no times.
type oldRecord struct {
	_             struct{} `cbor:",toarray"`
	Height        int64
	AppHash       [32]byte
	Registrations []registerBody
	Anchors       []anchorRecord
}

// blockOf tells hash and header time of a stored block.
type blockOf func(height int64) (hash []byte, at time.Time, ok bool)

// migrateJournal rewrites a journal of the first form, with the times that the
// block store knows. A crash leaves the old one or the new one.
func migrateJournal(path string, block blockOf, log *slog.Logger) (err error) {
	old, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer old.Close()
	magic := make([]byte, len(oldMagic))
	if _, err := io.ReadFull(old, magic); err != nil || string(magic) != oldMagic {
		return nil // a newer one, or none yet
	}
	if _, err := old.Seek(0, io.SeekStart); err != nil {
		return err
	}
	next, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer next.Close()
	w := bufio.NewWriter(next)
	if _, err := w.WriteString(journalMagic); err != nil {
		return err
	}
	blocks := 0
	_, err = readRecords(bufio.NewReaderSize(old, 64<<10), oldMagic, func(r *oldRecord) error {
		hash, at, ok := block(r.Height)
		if !ok {
			return fmt.Errorf("block %d is missing in its store", r.Height)
		}
		n := record{Height: r.Height, Seconds: at.Unix(), Nanos: int64(at.Nanosecond()), AppHash: r.AppHash, Anchors: r.Anchors}
		if len(r.Anchors) > 0 {
			n.Hash = hash
		}
		for _, reg := range r.Registrations {
			n.Registrations = append(n.Registrations, Registration{Revision: reg.Revision, Origin: reg.Origin, LogKey: reg.LogKey,
				Submitters: append([]ed25519.PublicKey(nil), reg.Submitters...)})
		}
		b, err := encodeRecord(&n)
		if err != nil {
			return err
		}
		blocks++
		_, err = w.Write(b)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := errors.Join(w.Flush(), next.Sync()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	log.LogAttrs(context.Background(), slog.LevelInfo, "chain state migrated to a history with block times",
		slog.String("file", path), slog.Int("blocks", blocks))
	return syncDir(filepath.Dir(path))
}
