package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"trailmark/agent/internal/keys"
	"trailmark/agent/internal/outbox"
	"trailmark/agent/internal/station"
	"trailmark/internal/device"
	"trailmark/statement"
)

// A tenure is the time of one key: an epoch. The epoch of the enrolment says which
// key signs and which frames are its own; so that a new one begins, and the old
// one is over, the moment the enrolment is replaced.
//
// Its fields belong to Run's goroutine, but for next: while the epoch is served that
// is watch's.
type tenure struct {
	address   string       // of the key, as it was given
	where     keys.Address // what that means in this epoch
	key       keys.Key
	box       *outbox.Log
	enrolment *device.Enrolment
	opening   *device.State    // nil unless the epoch has no frame yet
	before    *station.Station // of the epoch before, if that ended in this process
	station   *station.Station // of this one, once it is served
	handed    bool             // it was handed over already when it was opened

	next  *tenure     // what is there of the one to come
	ready atomic.Bool // next is complete
}

// addressName is the file that says where the key of an epoch above 0 is kept. The
// first one is where the configuration says.
const addressName = "key.address"

const maxAddress = 4 << 10 // bytes

// of is the name of a file or folder of one epoch: outbox, outbox-1, outbox-2.
func of(epoch uint64, name string) string {
	if epoch == 0 {
		return name
	}
	ext := filepath.Ext(name)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(name, ext), epoch, ext)
}

// readAnswer is what the gateway said when this device enrolled, not verified.
func readAnswer(name string) (a device.Answer, err error) {
	raw, err := readFile(name, device.MaxEnrolment)
	if err != nil {
		return a, err
	}
	var k struct {
		Answer device.Answer `json:"answer"`
	}
	if err := json.Unmarshal(raw, &k); err != nil {
		return a, fmt.Errorf("%s: %w", name, err)
	}
	return k.Answer, nil
}

// presentEpoch is the epoch of the enrolment, 0 before there is one. Which key it
// is for, and by whom, is checked by whoever opens that key.
func presentEpoch(dir string) (uint64, error) {
	name := filepath.Join(dir, enrolmentName)
	a, err := readAnswer(name)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, fmt.Errorf("%w\nhint: move %s away and start with a new claim", err, dir)
	}
	epoch, err := epochOf(a)
	if err != nil {
		return 0, fmt.Errorf("%s: %w\nhint: move %s away and start with a new claim", name, err, dir)
	}
	return epoch, nil
}

func epochOf(a device.Answer) (uint64, error) {
	s, err := statement.Parse(a.Identity)
	if err != nil {
		return 0, err
	}
	id, err := s.Identity()
	if err != nil {
		return 0, err
	}
	return id.Epoch, nil
}

// addressOf is the address of the key of an epoch, as it was given.
func addressOf(c Config, epoch uint64) (string, error) {
	if epoch == 0 {
		return c.Key, nil
	}
	data, err := readFile(filepath.Join(c.Dir, of(epoch, addressName)), maxAddress)
	return strings.TrimSpace(string(data)), err
}

// keyAt is the key of an epoch whose address was given as s.
func keyAt(c Config, epoch uint64, s string) (keys.Address, error) {
	a, err := keys.ParseAddress(s, c.Dir)
	return a.In(epoch), err
}

// keyOf is where the key of an epoch is.
func keyOf(c Config, epoch uint64) (keys.Address, error) {
	s, err := addressOf(c, epoch)
	if errors.Is(err, os.ErrNotExist) {
		return keys.Address{}, fmt.Errorf("where the key of epoch %d is: %w\nhint: write its address into that file, such as file: or tpm:/dev/tpmrm0", epoch, err)
	} else if err != nil {
		return keys.Address{}, err
	}
	return keyAt(c, epoch, s)
}

// openTenure takes the data folder for this process. Neither key nor frames that
// are gone are begun again: the numbers of the frames are used up.
func openTenure(c Config) (*tenure, error) {
	epoch, err := presentEpoch(c.Dir)
	if err != nil {
		return nil, err
	}
	where, err := keyOf(c, epoch)
	if err != nil {
		return nil, err
	}
	address, err := addressOf(c, epoch)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(c.Dir, of(epoch, outboxName))
	_, enrolment := os.Stat(filepath.Join(c.Dir, enrolmentName))
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) && enrolment == nil {
		return nil, fmt.Errorf("%s is gone, and with it the numbers of the frames that were signed\nhint: move %s away and start with a new claim", dir, c.Dir)
	}
	if _, err := os.Stat(where.Path); errors.Is(err, os.ErrNotExist) && enrolment == nil {
		return nil, fmt.Errorf("%s is gone, and the enrolment is for that key\nhint: move %s away and start with a new claim", where.Path, c.Dir)
	}
	box, err := openBox(c, epoch)
	if err != nil {
		return nil, err
	}
	key, err := where.Open()
	if err != nil {
		box.Close()
		return nil, err
	}
	return &tenure{address: address, where: where, key: key, box: box}, nil
}

func openBox(c Config, epoch uint64) (*outbox.Log, error) {
	return outbox.Open(filepath.Join(c.Dir, of(epoch, outboxName)), outbox.Options{MaxBytes: int64(c.Card)})
}

// close frees what the tenure has, and what it prepared for the next one.
func (t *tenure) close() {
	if t.next != nil {
		t.next.close()
	}
	if t.key != nil {
		t.key.Close()
	}
	if t.box != nil {
		t.box.Close()
	}
}

// epoch is the number of the enrolment's epoch.
func (t *tenure) epoch() uint64 { return t.enrolment.Identity.Epoch }

// begin makes an enrolled tenure ready to be served in a process that did not serve
// the one before: that one's end is read from the card, and so is this one's own.
func (t *tenure) begin(c Config, log *slog.Logger) error {
	retire(c, t.enrolment.Identity, log)
	if _, data, some := t.box.Last(); some {
		return t.resume(c, data)
	}
	if t.epoch() == 0 {
		return nil
	}
	before, err := openBox(c, t.epoch()-1)
	if err != nil {
		return err
	}
	defer before.Close()
	t.opening, err = station.Opening(before, t.enrolment.Identity.Key.ID())
	return err
}

// resume looks at the newest frame. One that hands over is the last: then the key
// that it names must be there, for no other can go on.
func (t *tenure) resume(c Config, newest []byte) error {
	r, err := device.ParseRecord(newest)
	if err != nil {
		return nil // the station says it better
	}
	st, err := device.ParseState(r.State)
	if err != nil || st.Successor.IsZero() {
		return nil
	}
	where, err := keyOf(c, t.epoch()+1)
	if err == nil {
		_, err = os.Stat(where.Path) // a key that is gone is not made anew
	}
	if err != nil {
		return fmt.Errorf("epoch %d is handed over to key %.8s…: %w\nhint: put it back, or move %s away and start with a new claim", t.epoch(), st.Successor, err, c.Dir)
	}
	if t.next, err = openHeir(c, t, ""); err != nil {
		return err
	}
	if id, err := t.next.id(); err != nil || id != st.Successor {
		return fmt.Errorf("epoch %d is handed over to key %.8s…, and %s holds %.8s… (%v)\nhint: put the right one back, or move %s away and start with a new claim", t.epoch(), st.Successor, where.Path, id, err, c.Dir)
	}
	t.handed = true
	return nil
}

// id is the id of the tenure's key.
func (t *tenure) id() (statement.Hash, error) {
	k, err := statement.NewKey(t.key.Public())
	if err != nil {
		return statement.Hash{}, err
	}
	return k.ID(), nil
}

// retire ends what the epochs before leave behind: the key of the one before, which
// may not sign any more, and the frames of the one before that. It is repeated at
// every start, for whatever could not be ended the last time.
func retire(c Config, id *statement.Identity, log *slog.Logger) {
	if id.Epoch == 0 {
		return
	}
	if err := retireKey(c, id); err != nil {
		log.Error("the key of the epoch before is still there: remove it", slog.Any("err", err))
	}
	if id.Epoch >= 2 {
		if err := os.RemoveAll(filepath.Join(c.Dir, of(id.Epoch-2, outboxName))); err != nil {
			log.Error("frames of an earlier epoch are still there", slog.Any("err", err))
		}
	}
}

// retireKey destroys the key that the present one replaces, and no other: what the
// configuration calls the first key may be another file by now.
func retireKey(c Config, id *statement.Identity) error {
	former := id.Epoch - 1
	if where, there := formerKey(c, id.Epoch); there {
		key, err := where.Open()
		if err != nil {
			return err
		}
		pub, err := statement.NewKey(key.Public())
		key.Close()
		switch {
		case err != nil:
			return err
		case id.Replaces == nil || pub.ID() != *id.Replaces:
			return nil
		}
		if err := where.Destroy(); err != nil {
			return err
		}
	}
	if former == 0 {
		return nil
	}
	err := os.Remove(filepath.Join(c.Dir, of(former, addressName)))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// formerKey is where the key of the epoch before is, if there is something.
func formerKey(c Config, epoch uint64) (keys.Address, bool) {
	if epoch == 0 {
		return keys.Address{}, false
	}
	where, err := keyOf(c, epoch-1)
	if err != nil {
		return keys.Address{}, false
	}
	if present, err := keyOf(c, epoch); err != nil || present.Path == where.Path {
		return keys.Address{}, false
	}
	_, err = os.Stat(where.Path)
	return where, err == nil
}
