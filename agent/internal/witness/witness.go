// Package witness remembers on the card which ledger head this device cosigned
// last, and keeps the evidence of a ledger that contradicts itself.
//
// A device must never cosign two heads of two histories, whatever happens to it
// in between, so a head is on the card before it is signed. One file has two slots
// of a page each; a head is written over the older of the two, so that power that
// fails meanwhile spoils nothing that was ever signed, and no metadata of the file
// system changes. A slot (big endian, CRC-32C):
//
//	"TMw1" | u64 count | u32 length | CBOR [origin, size, root, note] | u32 CRC of all before
package witness

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/statement"
)

const (
	fileName    = "witness"  // in the data folder
	evidenceDir = "evidence" // in the data folder
	slotBytes   = 4096
	overhead    = 4 + 8 + 4 + 4
	maxNote     = 3 << 10 // a checkpoint has some 200 bytes
	maxEvidence = 16      // files
	mark        = "TMw1"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Memory is what one device cosigned. It is safe for concurrent use.
type Memory struct {
	dir  string
	file *os.File

	mu      sync.Mutex
	newest  head   // guarded by mu
	count   uint64 // of the newest; 0: none; guarded by mu
	next    int64  // slot that is written next; guarded by mu
	accused string // the first evidence; guarded by mu
}

// head is what a slot holds.
type head struct {
	_      struct{} `cbor:",toarray"`
	Origin statement.Hash
	Size   uint64
	Root   statement.Hash
	Note   []byte
}

// Open opens or makes the memory in a device's data folder. It refuses a file that
// neither slot of can be read: what this device signed is unknown then.
func Open(dir string) (*Memory, error) {
	m := &Memory{dir: dir}
	name := filepath.Join(dir, fileName)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		f, err = create(dir, name)
	}
	if err != nil {
		return nil, err
	}
	m.file = f
	if err := m.load(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if names, err := os.ReadDir(filepath.Join(dir, evidenceDir)); err == nil && len(names) > 0 {
		m.accused = filepath.Join(evidenceDir, names[0].Name())
	}
	return m, nil
}

// create makes the file whole before it has its name.
func create(dir, name string) (*os.File, error) {
	f, err := os.CreateTemp(dir, fileName+".*.tmp") // mode 0600
	if err != nil {
		return nil, err
	}
	_, err = f.Write(make([]byte, 2*slotBytes))
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, err
	}
	return f, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (m *Memory) load() error {
	var damaged int
	for slot := range int64(2) {
		b := make([]byte, slotBytes)
		if _, err := m.file.ReadAt(b, slot*slotBytes); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		count, h, err := parse(b)
		switch {
		case err != nil:
			damaged++ // a write that was cut short: nothing was signed after it
			m.next = slot
		case count > m.count:
			m.newest, m.count, m.next = h, count, 1-slot
		}
	}
	if damaged == 2 {
		return errors.New("both slots are damaged, so which head this device cosigned last is unknown\nhint: keep the file as evidence; without it the device goes on from the head that its newest frame names")
	}
	return nil
}

// parse reads a slot; one that was never written has count 0.
func parse(b []byte) (uint64, head, error) {
	if strings.Trim(string(b), "\x00") == "" {
		return 0, head{}, nil
	}
	if len(b) < overhead || string(b[:4]) != mark {
		return 0, head{}, errors.New("not a slot")
	}
	n := int(min(binary.BigEndian.Uint32(b[12:]), slotBytes))
	if n > len(b)-overhead || binary.BigEndian.Uint32(b[16+n:]) != crc32.Checksum(b[:16+n], castagnoli) {
		return 0, head{}, errors.New("slot is damaged")
	}
	var h head
	if err := dcbor.Unmarshal(b[16:16+n], &h); err != nil {
		return 0, head{}, err
	}
	count := binary.BigEndian.Uint64(b[4:])
	if count == 0 || h.Size == 0 || h.Size > statement.MaxUint {
		return 0, head{}, errors.New("slot out of bounds")
	}
	return count, h, nil
}

// Close closes the file.
func (m *Memory) Close() error { return m.file.Close() }

// Newest is the head that was kept last, and its signed note; Size 0: none was.
func (m *Memory) Newest() (device.Checkpoint, []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return device.Checkpoint{Origin: m.newest.Origin, Size: m.newest.Size, Root: m.newest.Root}, m.newest.Note
}

// Keep makes c the newest head. When it returns nil, c survives loss of power; on
// an error the head before it does.
func (m *Memory) Keep(c device.Checkpoint, note []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(note) > maxNote {
		return fmt.Errorf("checkpoint of %d bytes is over the %d that are kept", len(note), maxNote)
	}
	h := head{Origin: c.Origin, Size: c.Size, Root: c.Root, Note: note}
	if m.newest.Origin == h.Origin && (h.Size < m.newest.Size || h.Size == m.newest.Size && h.Root != m.newest.Root) {
		return fmt.Errorf("head of %d entries and root %.8s…, cosigned before are %d and %.8s…", h.Size, h.Root, m.newest.Size, m.newest.Root)
	}
	data, err := dcbor.Marshal(h)
	if err != nil {
		return err
	}
	b := append(binary.BigEndian.AppendUint64([]byte(mark), m.count+1), binary.BigEndian.AppendUint32(nil, uint32(len(data)))...)
	b = append(b, data...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	b = append(b, make([]byte, slotBytes-len(b))...)
	if _, err := m.file.WriteAt(b, m.next*slotBytes); err != nil {
		return err
	}
	if err := unix.Fdatasync(int(m.file.Fd())); err != nil {
		return err
	}
	m.newest, m.count, m.next = h, m.count+1, 1-m.next
	return nil
}

// Accuse keeps a contradiction as evidence, in words that have both signed heads
// in them. When it returns nil they survive loss of power. Of more than 16 it
// keeps the first.
func (m *Memory) Accuse(size uint64, root statement.Hash, words string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir := filepath.Join(m.dir, evidenceDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	have, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	name := "ledger-" + strconv.FormatUint(size, 10) + "-" + root.String()[:16] + ".txt"
	if len(have) >= maxEvidence {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil // told again
	} else if err != nil {
		return err
	}
	_, err = io.WriteString(f, words)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = errors.Join(syncDir(dir), syncDir(m.dir))
	}
	if err == nil && m.accused == "" {
		m.accused = filepath.Join(evidenceDir, name)
	}
	return err
}

// Accused names the file with the first evidence, below the data folder; "": there
// is none.
func (m *Memory) Accused() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.accused
}
