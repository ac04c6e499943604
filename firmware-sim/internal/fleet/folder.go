package fleet

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/statement"
)

// folder keeps a fleet from run to run: fleet.json, and for each device an
// enrolment and a chain.
type folder struct {
	dir  string
	lock *os.File
	about
}

// about is fleet.json.
type about struct {
	Seed  uint64 `json:"seed"`
	Runs  uint64 `json:"runs"`
	Clean bool   `json:"clean"` // no frame was signed that is not in the folder
}

// boot is what the devices of one run say of their start.
type boot struct {
	id    [16]byte
	count uint64
}

// chain is where a device stands and what it has to send.
type chain struct {
	_       struct{} `cbor:",toarray"`
	Version uint64   // 1
	State   []byte   // encoded device.State
	Entry   []byte   // encoded entry of its plan; empty: none
	Waiting [][]byte // up messages without a receipt, oldest first
}

const (
	aboutName = "fleet.json"
	maxChain  = device.MaxState + (window+1)*statement.MaxSize
)

// openFolder takes a folder for this process.
func openFolder(dir string, seed uint64) (*folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("dir: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("dir: %w", err)
	}
	f := &folder{dir: dir, lock: lock, about: about{Seed: seed, Clean: true}}
	if err := f.open(seed); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return f, nil
}

func (f *folder) open(seed uint64) error {
	if err := syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("dir: %s is in use: %w\nhint: another fleet runs on it", f.dir, err)
	}
	data, err := os.ReadFile(filepath.Join(f.dir, aboutName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &f.about); err != nil {
		return fmt.Errorf("%s in %s: %w", aboutName, f.dir, err)
	}
	if f.Seed != seed {
		return fmt.Errorf("seed: %d, but %s is of seed %d", seed, f.dir, f.Seed)
	}
	if !f.Clean {
		return fmt.Errorf("the last run on %s was killed, or had clones: what it signed is not known\nhint: begin with another folder, other claims and another --seed", f.dir)
	}
	return nil
}

func (f *folder) close() { f.lock.Close() }

// begin marks the folder as behind what is signed from now on.
func (f *folder) begin() (boot, error) {
	f.Runs, f.Clean = f.Runs+1, false
	b := boot{count: f.Runs}
	h := sha256.Sum256(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte("trailmark fleet boot"), f.Seed), f.Runs))
	copy(b.id[:], h[:])
	return b, f.save()
}

// end keeps every chain, then marks the folder as whole again.
func (f *folder) end(members []*member) error {
	for _, m := range members {
		data, err := m.chain()
		if err == nil {
			err = f.write(chainName(m.n), data)
		}
		if err != nil {
			return fmt.Errorf("device %d: %w", m.n, err)
		}
	}
	f.Clean = true
	return f.save()
}

func (f *folder) save() error {
	data, err := json.Marshal(f.about)
	if err != nil {
		return err
	}
	if err := f.write(aboutName, append(data, '\n')); err != nil {
		return err
	}
	d, err := os.Open(f.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func enrolmentName(n int) string { return fmt.Sprintf("%05d.enrolment.json", n) }
func chainName(n int) string     { return fmt.Sprintf("%05d.chain", n) }

// write replaces a file whole; it is durable once save has returned.
func (f *folder) write(name string, data []byte) error {
	path := filepath.Join(f.dir, name)
	file, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// read returns a file of the folder, nil if it is not there.
func (f *folder) read(name string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(f.dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// chain encodes where a device stands.
func (m *member) chain() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	state, err := m.state.Encode()
	if err != nil {
		return nil, err
	}
	c := chain{Version: 1, State: state}
	if m.entry != nil {
		if c.Entry, err = dcbor.Marshal(m.entry); err != nil {
			return nil, err
		}
	}
	for _, w := range m.waiting {
		c.Waiting = append(c.Waiting, w.up)
	}
	return dcbor.Marshal(c)
}

// resume puts a device where chain left it; nil data: at its beginning.
func (m *member) resume(data []byte) error {
	if data == nil {
		return nil
	}
	var c chain
	if err := dcbor.UnmarshalMax(data, &c, maxChain); err != nil {
		return fmt.Errorf("chain: %w", err)
	}
	if c.Version != 1 {
		return fmt.Errorf("chain of version %d, want 1", c.Version)
	}
	st, err := device.ParseState(c.State)
	if err != nil {
		return err
	}
	if st.Epoch != m.state.Epoch {
		return fmt.Errorf("chain is of epoch %d, the enrolment of %d", st.Epoch, m.state.Epoch)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state, m.entry = st, nil
	if len(c.Entry) > 0 {
		m.entry = new(statement.Channel)
		if err := dcbor.Unmarshal(c.Entry, m.entry); err != nil {
			return fmt.Errorf("chain: %w", err)
		}
	}
	for _, up := range c.Waiting {
		d, err := statement.ParseUp(up)
		if err != nil {
			return fmt.Errorf("chain: %w", err)
		}
		m.waiting = append(m.waiting, frame{seq: d.Frame.Seq, id: d.Statement.ID(), entry: d.Statement.Entry(), up: up})
	}
	return nil
}
