package comet

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"

	"trailmark/internal/dcbor"
)

// A journal is the file of records that make up the state: eight bytes of
// magic, then per record
//
//	length uint32 | CRC-32C of length and payload uint32 | payload (CBOR)
//
// in big-endian order. It is used by one goroutine at a time.
type journal struct {
	f      *os.File
	size   int64      // bytes up to the end
	chunks [][32]byte // hashes of the whole chunks
	sum    hash.Hash  // of the one under way
}

const (
	journalMagic  = "TMCHAIN2"
	journalHeader = 8
	maxRecord     = 1 << 20 // a full block of registrations is under 900 KB
)

// openJournal reads the records in order into each and returns a journal that
// appends after the last intact one. Whatever follows it is cut off and counted
// in lost, in bytes: the blocks that it came from are executed again.
func openJournal(path string, each func(*record) error) (j *journal, lost int64, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	j = &journal{f: f, sum: sha256.New()}
	end, err := readRecords(bufio.NewReaderSize(f, 64<<10), journalMagic, each)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	lost = info.Size() - end
	if lost > 0 {
		if err := f.Truncate(end); err != nil {
			return nil, 0, err
		}
	}
	if _, err := f.Seek(end, io.SeekStart); err != nil {
		return nil, 0, err
	}
	if end == 0 {
		if _, err := f.WriteString(journalMagic); err != nil {
			return nil, 0, err
		}
	}
	if err := f.Sync(); err != nil {
		return nil, 0, err
	}
	if err := syncParent(path); err != nil {
		return nil, 0, err
	}
	if _, err := io.Copy(tally{j}, io.NewSectionReader(f, 0, max(end, int64(len(journalMagic))))); err != nil {
		return nil, 0, err
	}
	return j, lost, nil
}

// tally counts what is in the journal's file into size and chunk hashes.
type tally struct{ j *journal }

func (t tally) Write(b []byte) (int, error) {
	n := len(b)
	for j := t.j; len(b) > 0; {
		part := b[:min(int64(len(b)), chunkSize-j.size%chunkSize)]
		j.sum.Write(part)
		j.size += int64(len(part))
		if b = b[len(part):]; j.size%chunkSize == 0 {
			j.chunks = append(j.chunks, [32]byte(j.sum.Sum(nil)))
			j.sum.Reset()
		}
	}
	return n, nil
}

// prefix returns the journal's bytes and the hashes of its chunks.
func (j *journal) prefix() (size int64, chunks [][32]byte) {
	chunks = slices.Clone(j.chunks)
	if j.size%chunkSize != 0 {
		chunks = append(chunks, [32]byte(j.sum.Sum(nil)))
	}
	return j.size, chunks
}

// readRecords returns the offset behind the last intact record. Its error is
// never about damage: it is that of each, or a file that does not begin with want.
func readRecords[T any](r io.Reader, want string, each func(*T) error) (end int64, err error) {
	magic := make([]byte, len(want))
	switch _, err := io.ReadFull(r, magic); {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return 0, nil // killed while it was created
	case err != nil:
		return 0, err
	case string(magic) != want:
		return 0, fmt.Errorf("starts with %q, want %q", magic, want)
	}
	end = int64(len(magic))
	header := make([]byte, journalHeader)
	for {
		if _, err := io.ReadFull(r, header); err != nil {
			return end, notTorn(err)
		}
		n := binary.BigEndian.Uint32(header)
		if n > maxRecord {
			return end, nil
		}
		payload := make([]byte, n)
		if _, err := io.ReadFull(r, payload); err != nil {
			return end, notTorn(err)
		}
		if binary.BigEndian.Uint32(header[4:]) != recordSum(header[:4], payload) {
			return end, nil
		}
		rec := new(T)
		if err := dcbor.UnmarshalMax(payload, rec, maxRecord); err != nil {
			return end, fmt.Errorf("record at byte %d: %w", end, err)
		}
		if err := each(rec); err != nil {
			return end, fmt.Errorf("record at byte %d: %w", end, err)
		}
		end += int64(journalHeader + len(payload))
	}
}

func notTorn(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// append writes one record. When it returns nil the record survives loss of
// power. After an error the journal must not be used again.
func (j *journal) append(r *record) error {
	b, err := encodeRecord(r)
	if err != nil {
		return err
	}
	if _, err := j.f.Write(b); err != nil {
		return err
	}
	if err := j.f.Sync(); err != nil {
		return err
	}
	_, err = tally{j}.Write(b)
	return err
}

func encodeRecord(r *record) ([]byte, error) {
	payload, err := dcbor.Marshal(r)
	if err != nil {
		return nil, err
	}
	if len(payload) > maxRecord {
		return nil, fmt.Errorf("record of %d bytes is over the limit of %d", len(payload), maxRecord)
	}
	b := make([]byte, journalHeader, journalHeader+len(payload))
	binary.BigEndian.PutUint32(b, uint32(len(payload)))
	binary.BigEndian.PutUint32(b[4:], recordSum(b[:4], payload))
	return append(b, payload...), nil
}

func (j *journal) close() error { return j.f.Close() }

func recordSum(length, payload []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(length, table), table, payload)
}

// syncParent makes the name of a file survive loss of power.
func syncParent(path string) error { return syncDir(filepath.Dir(path)) }

// syncDir makes names created in dir survive loss of power.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
