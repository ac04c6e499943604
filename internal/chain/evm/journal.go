package evm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
)

const (
	journalFile = "outbox.json"
	maxJournal  = 4 << 20

	maxAttempts = 64 // kept of one nonce
	maxNotes    = 32 // alarms and parked heads kept
)

// journal is what a submitter must not forget. One file holds all of it and is
// replaced whole, so that it is the old state or the new one after any crash.
type journal struct {
	Version  int            `json:"version"`
	Pins     Pins           `json:"pins"`
	Contract common.Address `json:"contract"`
	Address  common.Address `json:"address"`

	Next     *uint64   `json:"next,omitempty"`      // nonce of the next transaction, once known
	InFlight *inFlight `json:"in_flight,omitempty"` // signed, its nonce not used in a final block
	Included *blockRef `json:"included,omitempty"`  // where its heads stand, not final yet
	Last     []settled `json:"last,omitempty"`      // newest final head of each origin
	Held     time.Time `json:"held"`                // until then nothing is sent: the key is not ours alone

	Parked []Parked `json:"parked,omitempty"`
	Alarms []Alarm  `json:"alarms,omitempty"`
	Cost   Cost     `json:"cost"`
}

// inFlight is one nonce and every transaction signed for it; the last was sent
// last, any may be mined.
type inFlight struct {
	Nonce    uint64    `json:"nonce"`
	Attempts []attempt `json:"attempts"`
}

type attempt struct {
	Raw   hexutil.Bytes `json:"raw"`
	Heads []Head        `json:"heads"`
	Made  time.Time     `json:"made"`
}

type blockRef struct {
	Number uint64      `json:"number"`
	Hash   common.Hash `json:"hash"`
}

type settled struct {
	Head  Head     `json:"head"`
	Block blockRef `json:"block"`
}

// A Parked head is one that the contract refuses for ever.
type Parked struct {
	Head   Head      `json:"head"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// An Alarm is latched: it stays in the journal with the time at which all was
// well again.
type Alarm struct {
	Kind   string    `json:"kind"` // reorg, rollback, foreign, reverted
	Text   string    `json:"text"`
	At     time.Time `json:"at"`
	Healed time.Time `json:"healed,omitzero"` // zero: not yet
}

// Cost is what all transactions took that are final.
type Cost struct {
	Transactions uint64  `json:"transactions"`
	Heads        uint64  `json:"heads"` // anchored by them
	Gas          uint64  `json:"gas"`
	Wei          *bigInt `json:"wei"`
}

// PerHead is the fee of one head in wei, and its gas; nil before the first.
func (c Cost) PerHead() (wei *big.Int, gas uint64) {
	if c.Heads == 0 || c.Wei == nil {
		return nil, 0
	}
	return new(big.Int).Div((*big.Int)(c.Wei), number(c.Heads)), c.Gas / c.Heads
}

// Per is the fee in wei of n of something of which total were anchored, 1,000 readings say.
func (c Cost) Per(n, total uint64) *big.Int {
	if total == 0 || c.Wei == nil {
		return nil
	}
	w := new(big.Int).Mul((*big.Int)(c.Wei), number(n))
	return w.Div(w, number(total))
}

// bigInt is a decimal string in JSON, since other readers round large numbers.
type bigInt big.Int

func (b *bigInt) MarshalText() ([]byte, error) { return (*big.Int)(b).MarshalText() }
func (b *bigInt) UnmarshalText(text []byte) error {
	if len(text) > 100 {
		return fmt.Errorf("number of %d digits", len(text))
	}
	return (*big.Int)(b).UnmarshalText(text)
}

func parseJournal(data []byte) (*journal, error) {
	if len(data) > maxJournal {
		return nil, fmt.Errorf("%d bytes are over the limit of %d", len(data), maxJournal)
	}
	var j journal
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		return nil, err
	}
	if j.Version != 1 {
		return nil, fmt.Errorf("version %d, want 1", j.Version)
	}
	if f := j.InFlight; f != nil {
		if len(f.Attempts) == 0 || len(f.Attempts) > maxAttempts {
			return nil, fmt.Errorf("%d attempts, want 1 to %d", len(f.Attempts), maxAttempts)
		}
		for i, a := range f.Attempts {
			tx, err := a.tx()
			if err == nil && (tx.Nonce() != f.Nonce || len(a.Heads) == 0) {
				err = fmt.Errorf("nonce %d with %d heads, want %d", tx.Nonce(), len(a.Heads), f.Nonce)
			}
			if err != nil {
				return nil, fmt.Errorf("attempt %d: %w", i, err)
			}
		}
	}
	return &j, nil
}

func (a attempt) tx() (*types.Transaction, error) {
	var tx types.Transaction
	return &tx, tx.UnmarshalBinary(a.Raw)
}

func loadJournal(dir string) (*journal, error) {
	path := filepath.Join(dir, journalFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &journal{Version: 1}, nil
	} else if err != nil {
		return nil, err
	}
	if info.Size() > maxJournal {
		return nil, fmt.Errorf("%s: %d bytes are over the limit of %d", path, info.Size(), maxJournal)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	j, err := parseJournal(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w\nhint: with the file moved away the submitter starts anew and asks the chain; a transaction that waits there is then taken for another's", path, err)
	}
	return j, nil
}

// save returns when the journal survives loss of power.
func (j *journal) save(dir string) error {
	data, err := json.MarshalIndent(j, "", " ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, journalFile)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// alarm latches one, unless the same is open.
func (j *journal) alarm(kind, text string, now time.Time) (isNew bool) {
	for _, a := range j.Alarms {
		if a.Kind == kind && a.Text == text && a.Healed.IsZero() {
			return false
		}
	}
	j.Alarms = lastOf(append(j.Alarms, Alarm{Kind: kind, Text: text, At: now.UTC()}))
	return true
}

// healed ends every open alarm of these kinds.
func (j *journal) healed(now time.Time, kinds ...string) (any bool) {
	for i := range j.Alarms {
		for _, k := range kinds {
			if a := &j.Alarms[i]; a.Kind == k && a.Healed.IsZero() {
				a.Healed, any = now.UTC(), true
			}
		}
	}
	return any
}

func (j *journal) park(h Head, reason string, now time.Time) {
	if j.isParked(h) == nil {
		j.Parked = lastOf(append(j.Parked, Parked{h, reason, now.UTC()}))
	}
}

func (j *journal) isParked(h Head) *Parked {
	for i := range j.Parked {
		if j.Parked[i].Head == h {
			return &j.Parked[i]
		}
	}
	return nil
}

func lastOf[T any](s []T) []T { return s[max(0, len(s)-maxNotes):] }

// ErrLeased is wrapped when another process of this machine holds the key.
var ErrLeased = errors.New("key is in use")

// LeaseOf is the file that is locked while a key is in use on a chain: beside a
// keystore file, so that all of this machine meet it; for an external signer "",
// which is in the submitter's own folder. The target's chain id must be set.
func LeaseOf(key string, t Target) string {
	if info, err := os.Stat(key); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return fmt.Sprintf("%s.%d.lease", key, t.ChainID)
}

// lease locks path until the process ends or release is called, whichever is
// first: the kernel lets go of it after a kill -9.
func lease(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: another process holds %s\nhint: two gateways must not share a key; give each its own and make both submitters", ErrLeased, path)
		}
		return nil, err
	}
	return f.Close, nil
}
