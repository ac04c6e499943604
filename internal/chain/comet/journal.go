package comet

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"trailmark/internal/dcbor"
)

// A journal is the file of records that make up the state: eight bytes of
// magic, then per record
//
//	length uint32 | CRC-32C of length and payload uint32 | payload (CBOR)
//
// in big-endian order. It is used by one goroutine at a time.
type journal struct {
	f *os.File
}

const (
	journalMagic  = "TMCHAIN1"
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
	end, err := readJournal(bufio.NewReaderSize(f, 64<<10), each)
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
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, 0, err
	}
	return &journal{f}, lost, nil
}

// readJournal returns the offset behind the last intact record. Its error is
// never about damage: it is that of each, or a file that is no journal.
func readJournal(r io.Reader, each func(*record) error) (end int64, err error) {
	magic := make([]byte, len(journalMagic))
	switch _, err := io.ReadFull(r, magic); {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return 0, nil // killed while it was created
	case err != nil:
		return 0, err
	case string(magic) != journalMagic:
		return 0, fmt.Errorf("starts with %q, want %q", magic, journalMagic)
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
		rec := new(record)
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
	return j.f.Sync()
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

// syncDir makes names created in dir survive loss of power.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
