// Package sequence moves stored statements into the ledgers, in the store's order,
// and tells devices which of theirs are in.
//
// A crash between store and ledger is healed at the next start by comparing the
// two; a store that is behind its ledgers, or differs from them, refuses to go on.
package sequence

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"trailmark/gateway/internal/shard"
	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// A Post sends a message to a device, at best effort.
type Post func(ctx context.Context, kid statement.Hash, message []byte) error

// An Observer is told of the way of rows; it must not wait.
type Observer interface {
	Appended(from, to time.Time) // what was stored before is in the ledgers: this is when that was done
	Receipted(row uint64)        // a receipt left for the device
}

// unobserved is who is told when nobody asked.
type unobserved struct{}

func (unobserved) Appended(time.Time, time.Time) {}
func (unobserved) Receipted(uint64)              {}

// rollEvery is how often the sequencer looks whether the half-year is over.
const rollEvery = time.Second

// A Sequencer owns the ledgers' order.
type Sequencer struct {
	store  *store.Store
	shelf  *shard.Shelf
	post   Post
	log    *slog.Logger
	wake   chan struct{}
	rolled chan struct{} // gets one when a new ledger has begun

	// Observer is set before Run, if at all.
	Observer Observer

	mu   sync.Mutex
	owed map[statement.Hash]map[uint64]bool // rows to send receipts for; guarded by mu
	news []anchored                         // to tell every device, of a ledger each; guarded by mu
	told map[listener]told                  // guarded by mu
}

// told are the sizes that a device was last told of a ledger, the larger first: the
// last message may not have arrived.
type told [2]uint64

// listener is a device and a ledger that it hears of.
type listener struct {
	kid  statement.Hash
	book int
}

// New brings the ledgers up to date with the store.
func New(ctx context.Context, st *store.Store, shelf *shard.Shelf, post Post, log *slog.Logger) (*Sequencer, error) {
	s := &Sequencer{store: st, shelf: shelf, post: post, log: log, Observer: unobserved{}, wake: make(chan struct{}, 1), rolled: make(chan struct{}, 1),
		owed: map[statement.Hash]map[uint64]bool{}, told: map[listener]told{}}
	if _, err := shelf.Roll(ctx); err != nil {
		return nil, err
	}
	return s, shelf.Append(ctx)
}

// Rolled tells when a new ledger has begun.
func (s *Sequencer) Rolled() <-chan struct{} { return s.rolled }

// Owe asks for receipts of rows to be sent to a device, and wakes the sequencer. It is
// safe for concurrent use.
func (s *Sequencer) Owe(kid statement.Hash, rows ...uint64) {
	s.mu.Lock()
	m := s.owed[kid]
	if m == nil {
		m = map[uint64]bool{}
		s.owed[kid] = m
	}
	for _, i := range rows {
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
	tick := time.NewTicker(rollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-s.wake:
		}
		// What is owed is taken first: it is in the store already, so the append
		// puts it into the ledger. The other way round a statement stored between
		// the two would be waited for and never come.
		owed := s.take()
		err := s.roll(ctx)
		if err == nil {
			began := time.Now()
			if err = s.shelf.Append(ctx); err == nil {
				s.Observer.Appended(began, time.Now())
			}
		}
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

func (s *Sequencer) roll(ctx context.Context) error {
	rolled, err := s.shelf.Roll(ctx)
	if rolled {
		select {
		case s.rolled <- struct{}{}:
		default:
		}
	}
	return err
}

// anchored is a checkpoint on the chain and the message that says where.
type anchored struct {
	origin string
	note   []byte
	size   uint64
	final  []byte
}

// Anchored tells every device of an anchored checkpoint: first the checkpoint
// with its consistency, so that the device can take the block for a bound of its
// time, then the block. It is safe for concurrent use.
func (s *Sequencer) Anchored(origin string, note []byte, size uint64, final []byte) {
	s.mu.Lock()
	kept := s.news[:0]
	for _, n := range s.news { // a newer one of a ledger takes an older one's place
		if n.origin != origin {
			kept = append(kept, n)
		}
	}
	s.news = append(kept, anchored{origin, note, size, final})
	s.mu.Unlock()
	s.Wake()
}

func (s *Sequencer) announce(ctx context.Context) error {
	s.mu.Lock()
	news := s.news
	s.news = nil
	s.mu.Unlock()
	if len(news) == 0 {
		return nil
	}
	heads, err := s.store.Heads(ctx)
	if err != nil {
		return err
	}
	for _, n := range news {
		b, ok := s.shelf.Named(n.origin)
		if !ok {
			return fmt.Errorf("anchor of %q, which is no ledger here", n.origin)
		}
		for _, h := range heads {
			v, err := s.verified(ctx, h)
			if err != nil {
				return err
			}
			if err := s.closing(ctx, b, h.KeyID, v); err != nil {
				return err
			}
			who := listener{h.KeyID, b.N}
			if told := s.toldOf(who); told[0] <= n.size {
				msg := statement.Receipts{Type: statement.DownReceipts, Checkpoint: n.note}
				if msg.Consistency, err = consistency(ctx, b, n.size, append(told[:], v.in(b))...); err != nil {
					return err
				}
				_ = s.post(ctx, h.KeyID, dcbor.MustMarshal(msg)) // best effort: the next anchor says it again
				s.tell(who, n.size)
			}
			_ = s.post(ctx, h.KeyID, n.final)
		}
	}
	return nil
}

// verified is the checkpoint that a device's newest frame names.
type verified struct {
	origin statement.Hash
	size   uint64
}

// in is the size, if it is one of this ledger.
func (v verified) in(b shard.Book) uint64 {
	if v.origin != sha256.Sum256([]byte(b.Origin())) {
		return 0
	}
	return v.size
}

func (s *Sequencer) verified(ctx context.Context, h store.Head) (verified, error) {
	if books := s.shelf.Books(); len(books) == 1 {
		return verified{sha256.Sum256([]byte(books[0].Origin())), h.Checked}, nil
	}
	row, err := s.store.Statement(ctx, h.Index)
	if err != nil {
		return verified{}, err
	}
	return named(row)
}

// named is the checkpoint that a stored frame names.
func named(row store.Statement) (v verified, err error) {
	stmt, err := statement.Parse(row.Data)
	if err != nil {
		return v, err
	}
	f, err := stmt.Frame()
	if err == nil && f.After != nil {
		v = verified{f.After.Origin, f.After.Size}
	}
	return v, err
}

// closing tells a device that has last verified an earlier ledger how that one
// ended, before it hears of the present one: its next checkpoint begins at nothing.
func (s *Sequencer) closing(ctx context.Context, b shard.Book, kid statement.Hash, v verified) error {
	if v.size == 0 || v.in(b) > 0 {
		return nil
	}
	for _, old := range s.shelf.Books() {
		size := old.End - old.First
		who := listener{kid, old.N}
		if old.N >= b.N || v.in(old) == 0 || v.size >= size || s.toldOf(who)[0] >= size {
			continue
		}
		note, signed, err := old.Await(ctx, size-1)
		if err != nil {
			return err
		}
		msg := statement.Receipts{Type: statement.DownReceipts, Checkpoint: note}
		if msg.Consistency, err = consistency(ctx, old, signed, v.size, s.toldOf(who)[0]); err != nil {
			return err
		}
		_ = s.post(ctx, kid, dcbor.MustMarshal(msg)) // best effort; it matters only to who sees two ends
		s.tell(who, signed)
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

// receipts waits for checkpoints over everything owed and sends it, of the older
// ledger first.
func (s *Sequencer) receipts(ctx context.Context, owed map[statement.Hash]map[uint64]bool) error {
	if len(owed) == 0 {
		return nil
	}
	heads, err := s.store.Heads(ctx)
	if err != nil {
		return err
	}
	known := map[statement.Hash]store.Head{}
	for _, h := range heads {
		known[h.KeyID] = h
	}
	for _, b := range s.shelf.Books() {
		mine := map[statement.Hash][]uint64{}
		newest, some := uint64(0), false
		for kid, m := range owed {
			for row := range m {
				if row >= b.First && row < b.End {
					mine[kid] = append(mine[kid], row)
					newest, some = max(newest, row), true
				}
			}
		}
		if !some {
			continue
		}
		wait, cancel := context.WithTimeout(ctx, time.Minute)
		note, size, err := b.Await(wait, b.Index(newest))
		cancel()
		if err != nil {
			return err
		}
		for kid, rows := range mine {
			if err := s.send(ctx, b, known[kid], kid, rows, note, size); err != nil {
				return err
			}
		}
	}
	return nil
}

// Bounds of one receipts message: well below the message limit, and what a device
// takes of consistency proofs.
const (
	maxIncluded   = 100
	maxConsistent = 8
)

func (s *Sequencer) send(ctx context.Context, b shard.Book, h store.Head, kid statement.Hash, rows []uint64, note []byte, size uint64) error {
	var v verified
	var err error
	if !h.KeyID.IsZero() {
		if v, err = s.verified(ctx, h); err != nil {
			return err
		}
		if err := s.closing(ctx, b, kid, v); err != nil {
			return err
		}
	}
	who := listener{kid, b.N}
	told := s.toldOf(who)
	base := append(told[:], v.in(b))
	sizes := base
	var included []statement.Included
	var of []uint64 // the rows that are included
	flush := func() error {
		msg := statement.Receipts{Type: statement.DownReceipts, Checkpoint: note, Included: included}
		if msg.Consistency, err = consistency(ctx, b, size, sizes...); err != nil {
			return err
		}
		if err := s.post(ctx, kid, dcbor.MustMarshal(msg)); err != nil {
			s.log.Warn("receipts not sent", "device", kid.String()[:16], "err", err)
		} else {
			for _, row := range of {
				s.Observer.Receipted(row)
			}
		}
		// A device that takes the first of these messages has verified size already
		// when the next arrives; its proof is from size to size.
		included, of, sizes = nil, nil, base
		return nil
	}
	for _, i := range rows {
		row, err := s.store.Statement(ctx, i)
		if errors.Is(err, store.ErrNotFound) {
			continue
		} else if err != nil {
			return err
		}
		if b.End != shard.Open {
			// A device that has gone on to a later ledger holds this one against what the
			// frame itself names.
			n, err := named(row)
			if err != nil {
				return err
			}
			if of := n.in(b); of > 0 && !hasSize(sizes, of) {
				if len(sizes)+2 == maxConsistent { // besides 0 and size
					if err := flush(); err != nil {
						return err
					}
				}
				sizes = append(sizes[:len(sizes):len(sizes)], of)
			}
		}
		path, err := b.Inclusion(ctx, b.Index(i), size)
		if err != nil {
			return err
		}
		included = append(included, statement.Included{Seq: row.Seq, ID: row.ID, Index: b.Index(i), Path: hashes(path)})
		of = append(of, i)
		if len(included) == maxIncluded {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(included) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	s.tell(who, size)
	return nil
}

func (s *Sequencer) toldOf(who listener) told {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told[who]
}

func (s *Sequencer) tell(who listener, size uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.told[who]; size > t[0] {
		s.told[who] = told{size, t[0]}
	}
}

// Cosign asks devices to be witnesses of a checkpoint of size, which must be one
// that a ledger published; cosigned is the largest size of it that each is known to
// have cosigned. One that was told of a larger one, or of a later ledger, is not
// asked: it could not cosign this one. It returns those that were asked, and is
// safe for concurrent use with Run: a device is asked at once, not behind receipts
// that wait for the next checkpoint.
func (s *Sequencer) Cosign(ctx context.Context, origin string, note []byte, size uint64, kids []statement.Hash, cosigned map[statement.Hash]uint64) (asked []statement.Hash, err error) {
	b, ok := s.shelf.Named(origin)
	if !ok {
		return nil, fmt.Errorf("checkpoint of %q, which is no ledger here", origin)
	}
	heads, err := s.store.Heads(ctx)
	if err != nil {
		return nil, err
	}
	known := map[statement.Hash]store.Head{}
	for _, h := range heads {
		known[h.KeyID] = h
	}
	for _, kid := range kids {
		var v verified
		if h, some := known[kid]; some {
			if v, err = s.verified(ctx, h); err != nil {
				return asked, err
			}
		}
		who := listener{kid, b.N}
		told := s.toldOf(who)
		if told[0] > size || v.in(b) > size || s.later(b, kid, v) {
			continue
		}
		if err := s.closing(ctx, b, kid, v); err != nil {
			return asked, err
		}
		msg := statement.Cosign{Type: statement.DownCosign, Checkpoint: note}
		if msg.Consistency, err = consistency(ctx, b, size, append(told[:], v.in(b), cosigned[kid])...); err != nil {
			return asked, err
		}
		if err := s.post(ctx, kid, dcbor.MustMarshal(msg)); err != nil {
			continue // best effort: the next checkpoint comes
		}
		s.tell(who, size)
		asked = append(asked, kid)
	}
	return asked, nil
}

// later reports whether a device has heard of a ledger after this one, or names one.
func (s *Sequencer) later(b shard.Book, kid statement.Hash, v verified) bool {
	for _, other := range s.shelf.Books() {
		if other.N > b.N && (v.in(other) > 0 || s.toldOf(listener{kid, other.N})[0] > 0) {
			return true
		}
	}
	return false
}

// consistency leads to size from each size of the ledger that a device may have
// verified last, from size itself, and from nothing, as for one that has verified
// none of this ledger.
func consistency(ctx context.Context, b shard.Book, size uint64, from ...uint64) ([]statement.Consistency, error) {
	var out []statement.Consistency
	done := map[uint64]bool{}
	for _, old := range append(from[:len(from):len(from)], size, 0) {
		if old > size || done[old] {
			continue
		}
		done[old] = true
		c := statement.Consistency{OldSize: old}
		if old > 0 && old < size {
			path, err := b.Consistency(ctx, old, size)
			if err != nil {
				return nil, err
			}
			c.Path = hashes(path)
		}
		out = append(out, c)
	}
	return out, nil
}

func hasSize(sizes []uint64, size uint64) bool {
	for _, s := range sizes {
		if s == size {
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
