// Package sequence moves stored statements into the ledger, in the store's
// order, and tells devices which of theirs are in.
//
// Row n of the store is entry n of the ledger. What the ledger signs is computed
// from stored bytes, not from a stored hash. A crash between store and ledger is
// healed at the next start by comparing the two; a store that is behind its
// ledger, or differs from it, refuses to go on.
package sequence

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// A Ledger is one append-only tree with signed checkpoints. What Append returned
// nil for is on disk.
type Ledger interface {
	Append(ctx context.Context, entries [][32]byte) (first uint64, err error)
	Size(ctx context.Context) (uint64, error)
	Entry(ctx context.Context, index uint64) ([32]byte, error)
	Prover
}

// A Prover waits for checkpoints and makes RFC 9162 proofs at a size.
type Prover interface {
	Await(ctx context.Context, index uint64) (checkpoint []byte, size uint64, err error)
	Inclusion(ctx context.Context, index, size uint64) ([][]byte, error)
	Consistency(ctx context.Context, first, second uint64) ([][]byte, error)
}

// A Post sends a message to a device, at best effort.
type Post func(ctx context.Context, kid statement.Hash, message []byte) error

const batch = 512

// A Sequencer owns the ledger's order.
type Sequencer struct {
	store  *store.Store
	ledger Ledger
	post   Post
	log    *slog.Logger
	wake   chan struct{}

	mu   sync.Mutex
	owed map[statement.Hash]map[uint64]bool // ledger indexes to send receipts for; guarded by mu
	news *anchored                          // to tell every device; guarded by mu

	// told is the ledger size that a device was last told of; it belongs to the
	// goroutine that runs Run.
	told map[statement.Hash]uint64
}

// New compares the store with the ledger and brings the ledger up to date.
func New(ctx context.Context, st *store.Store, l Ledger, post Post, log *slog.Logger) (*Sequencer, error) {
	s := &Sequencer{store: st, ledger: l, post: post, log: log, wake: make(chan struct{}, 1),
		owed: map[statement.Hash]map[uint64]bool{}, told: map[statement.Hash]uint64{}}
	size, err := l.Size(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := st.Count(ctx)
	if err != nil {
		return nil, err
	}
	if size > rows {
		return nil, fmt.Errorf("ledger has %d entries, but the store only %d statements\nhint: the store was restored from an older backup; restore ledger and store of one time", size, rows)
	}
	for from := size - min(size, batch); from < size; {
		stored, err := st.Statements(ctx, from, int(size-from))
		if err != nil {
			return nil, err
		}
		if len(stored) == 0 {
			return nil, fmt.Errorf("statement %d is in the ledger but not in the store", from)
		}
		for _, row := range stored {
			entry, err := l.Entry(ctx, row.Index)
			if err != nil {
				return nil, err
			}
			if row.Index != from || entry != sha256.Sum256(row.Data) {
				return nil, fmt.Errorf("stored statement %d is not the ledger's entry %d\nhint: store and ledger are not of one gateway, or a stored byte changed", row.Index, from)
			}
			from++
		}
	}
	return s, s.append(ctx)
}

// append puts every stored statement that is not in the ledger yet into it.
func (s *Sequencer) append(ctx context.Context) error {
	for {
		size, err := s.ledger.Size(ctx)
		if err != nil {
			return err
		}
		rows, err := s.store.Statements(ctx, size, batch)
		if err != nil || len(rows) == 0 {
			return err
		}
		entries := make([][32]byte, len(rows))
		for i, row := range rows {
			if row.Index != size+uint64(i) {
				return fmt.Errorf("stored statement %d where %d belongs", row.Index, size+uint64(i))
			}
			entries[i] = sha256.Sum256(row.Data)
		}
		first, err := s.ledger.Append(ctx, entries)
		if err != nil {
			return err
		}
		if first != size {
			return fmt.Errorf("ledger put statement %d at index %d", size, first)
		}
		if len(rows) < batch {
			return nil
		}
	}
}

// Owe asks for receipts to be sent to a device, and wakes the sequencer. It is
// safe for concurrent use.
func (s *Sequencer) Owe(kid statement.Hash, indexes ...uint64) {
	s.mu.Lock()
	m := s.owed[kid]
	if m == nil {
		m = map[uint64]bool{}
		s.owed[kid] = m
	}
	for _, i := range indexes {
		m[i] = true
	}
	s.mu.Unlock()
	s.Wake()
}

// Wake says that the store has new statements.
func (s *Sequencer) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run appends and sends receipts until ctx ends or the ledger fails.
func (s *Sequencer) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
		// What is owed is taken first: it is in the store already, so the append
		// puts it into the ledger. The other way round a statement stored between
		// the two would be waited for and never come.
		owed := s.take()
		err := s.append(ctx)
		if err == nil {
			err = s.receipts(ctx, owed)
		}
		if err == nil {
			err = s.announce(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
	}
}

// anchored is a checkpoint on the chain and the message that says where.
type anchored struct {
	note  []byte
	size  uint64
	final []byte
}

// Anchored tells every device of an anchored checkpoint: first the checkpoint
// with its consistency, so that the device can take the block for a bound of its
// time, then the block. It is safe for concurrent use.
func (s *Sequencer) Anchored(note []byte, size uint64, final []byte) {
	s.mu.Lock()
	s.news = &anchored{note, size, final}
	s.mu.Unlock()
	s.Wake()
}

func (s *Sequencer) announce(ctx context.Context) error {
	s.mu.Lock()
	news := s.news
	s.news = nil
	s.mu.Unlock()
	if news == nil {
		return nil
	}
	heads, err := s.store.Heads(ctx)
	if err != nil {
		return err
	}
	for _, h := range heads {
		if told := s.told[h.KeyID]; told <= news.size {
			msg := statement.Receipts{Type: statement.DownReceipts, Checkpoint: news.note}
			if msg.Consistency, err = s.consistency(ctx, h.Checked, told, news.size); err != nil {
				return err
			}
			_ = s.post(ctx, h.KeyID, dcbor.MustMarshal(msg)) // best effort: the next anchor says it again
			s.told[h.KeyID] = news.size
		}
		_ = s.post(ctx, h.KeyID, news.final)
	}
	return nil
}

func (s *Sequencer) take() map[statement.Hash]map[uint64]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	owed := s.owed
	s.owed = map[statement.Hash]map[uint64]bool{}
	return owed
}

// receipts waits for a checkpoint over everything owed and sends it.
func (s *Sequencer) receipts(ctx context.Context, owed map[statement.Hash]map[uint64]bool) error {
	var newest uint64
	for _, m := range owed {
		for i := range m {
			newest = max(newest, i)
		}
	}
	if len(owed) == 0 {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	note, size, err := s.ledger.Await(wait, newest)
	if err != nil {
		return err
	}
	checked := map[statement.Hash]uint64{}
	heads, err := s.store.Heads(ctx)
	if err != nil {
		return err
	}
	for _, h := range heads {
		checked[h.KeyID] = h.Checked
	}
	for kid, m := range owed {
		if err := s.send(ctx, kid, m, note, size, checked[kid]); err != nil {
			return err
		}
	}
	return nil
}

// maxIncluded bounds one receipts message well below the message limit.
const maxIncluded = 100

func (s *Sequencer) send(ctx context.Context, kid statement.Hash, indexes map[uint64]bool, note []byte, size, checked uint64) error {
	msg := statement.Receipts{Type: statement.DownReceipts, Checkpoint: note}
	var err error
	if msg.Consistency, err = s.consistency(ctx, checked, s.told[kid], size); err != nil {
		return err
	}
	flush := func() {
		if err := s.post(ctx, kid, dcbor.MustMarshal(msg)); err != nil {
			s.log.Warn("receipts not sent", "device", kid.String()[:16], "err", err)
		}
		// A device that takes the first of these messages has verified size already
		// when the next arrives; its proof is from size to size.
		msg.Included = nil
	}
	for i := range indexes {
		row, err := s.store.Statement(ctx, i)
		if errors.Is(err, store.ErrNotFound) {
			continue
		} else if err != nil {
			return err
		}
		path, err := s.ledger.Inclusion(ctx, i, size)
		if err != nil {
			return err
		}
		msg.Included = append(msg.Included, statement.Included{Seq: row.Seq, ID: row.ID, Index: i, Path: hashes(path)})
		if len(msg.Included) == maxIncluded {
			flush()
		}
	}
	if len(msg.Included) > 0 {
		flush()
	}
	s.told[kid] = size
	return nil
}

// consistency leads to size from each size that a device may have verified last:
// the one its newest frame names, the one it was last told, and size itself.
func (s *Sequencer) consistency(ctx context.Context, checked, told, size uint64) ([]statement.Consistency, error) {
	var out []statement.Consistency
	for _, old := range []uint64{checked, told, size} {
		if old > size || hasSize(out, old) {
			continue
		}
		c := statement.Consistency{OldSize: old}
		if old > 0 && old < size {
			path, err := s.ledger.Consistency(ctx, old, size)
			if err != nil {
				return nil, err
			}
			c.Path = hashes(path)
		}
		out = append(out, c)
	}
	return out, nil
}

func hasSize(cs []statement.Consistency, size uint64) bool {
	for _, c := range cs {
		if c.OldSize == size {
			return true
		}
	}
	return false
}

func hashes(path [][]byte) []statement.Hash {
	out := make([]statement.Hash, len(path))
	for i, h := range path {
		copy(out[i][:], h)
	}
	return out
}
