package outbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// bounds says which segments must exist, so that a lost oldest or newest file
// is noticed. It is replaced whole, after a segment is created and before its
// first record is acknowledged, and before segments are pruned.
//
// Format: "TMbound1" | u64 first | u64 newest | u64 size of newest | u32 CRC-32C.
type bounds struct {
	first  uint64 // records below are pruned
	newest uint64 // base of the newest segment
	size   int64  // its size in bytes
}

const (
	boundsName = "bounds"
	boundsMark = "TMbound1"
	boundsSize = 8 + 3*8 + 4
)

func (b bounds) marshal() []byte {
	p := []byte(boundsMark)
	p = binary.BigEndian.AppendUint64(p, b.first)
	p = binary.BigEndian.AppendUint64(p, b.newest)
	p = binary.BigEndian.AppendUint64(p, uint64(b.size))
	return binary.BigEndian.AppendUint32(p, checksum(p))
}

func parseBounds(p []byte) (bounds, error) {
	if len(p) != boundsSize || string(p[:8]) != boundsMark {
		return bounds{}, fmt.Errorf("bounds file has %d bytes, want %d that begin %q", len(p), boundsSize, boundsMark)
	}
	if got, want := checksum(p[:boundsSize-4]), binary.BigEndian.Uint32(p[boundsSize-4:]); got != want {
		return bounds{}, fmt.Errorf("bounds file has checksum %08x, want %08x", got, want)
	}
	b := bounds{binary.BigEndian.Uint64(p[8:]), binary.BigEndian.Uint64(p[16:]), int64(binary.BigEndian.Uint64(p[24:]))}
	if b.first > b.newest || b.newest == 1<<64-1 || b.size < 0 || b.size > MaxSegment {
		return bounds{}, fmt.Errorf("bounds file names segments %d..%d of %d bytes", b.first, b.newest, b.size)
	}
	return b, nil
}

// readBounds returns found == false when there is no file, and an error when
// there is one that says nothing.
func readBounds(dir string) (b bounds, found bool, err error) {
	f, err := os.Open(filepath.Join(dir, boundsName))
	if errors.Is(err, os.ErrNotExist) {
		return bounds{}, false, nil
	} else if err != nil {
		return bounds{}, true, err
	}
	defer f.Close()
	p, err := io.ReadAll(io.LimitReader(f, boundsSize+1))
	if err != nil {
		return bounds{}, true, err
	}
	b, err = parseBounds(p)
	return b, true, err
}

// saveBounds replaces the file. Caller holds commitMu.
func (l *Log) saveBounds(b bounds) error {
	err := l.publish(boundsName, func(f *os.File) error {
		_, err := f.Write(b.marshal())
		return err
	})
	if err == nil {
		l.bounds = b
	}
	return err
}

// publish makes a whole, durable file under name or none. Only a failed sync of
// the directory leaves doubt; that error wraps errSync.
func (l *Log) publish(name string, fill func(*os.File) error) error {
	tmp := filepath.Join(l.dir, "new.tmp")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(tmp, filepath.Join(l.dir, name))
	}
	if err != nil {
		os.Remove(tmp) // to give the space back; the next publish truncates it anyway
		return err
	}
	return l.syncDir()
}

// errSync marks the errors after which nobody knows what the card holds.
var errSync = errors.New("sync failed")

func (l *Log) syncDir() error {
	if err := l.sync(l.dirFile); err != nil {
		return fmt.Errorf("%w: %s: %w", errSync, l.dir, err)
	}
	return nil
}

func fdatasync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

func writeAt(f *os.File, b []byte, off int64) error {
	_, err := f.WriteAt(b, off)
	return err
}

// allocate gives f size bytes of zeros and their space on the card.
func allocate(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	// FAT and the like: write them.
	zeros := make([]byte, 64<<10)
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if err := writeAt(f, zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			return err
		}
	}
	return nil
}

// makeDir makes dir durable in its parent.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	p, err := os.Open(filepath.Dir(filepath.Clean(dir)))
	if err != nil {
		return err
	}
	defer p.Close()
	return p.Sync()
}

func segmentName(base uint64) string { return fmt.Sprintf("%020d.seg", base) }

func parseSegmentName(name string) (base uint64, ok bool) {
	if len(name) != 24 || name[20:] != ".seg" {
		return 0, false
	}
	base, err := strconv.ParseUint(name[:20], 10, 64)
	return base, err == nil && base != 1<<64-1 && segmentName(base) == name
}
