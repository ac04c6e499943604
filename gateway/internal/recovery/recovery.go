// Package recovery fills a store that is behind its ledger from what devices and
// files still hold, and finds out whether a folder that was put back is the
// newest one.
//
// The ledger's entry bundles hold the hash of every statement, in order. So a
// statement that comes again is recognized by its hash, whoever brings it, and
// has its place: statements go through the ordinary ingest in exactly that order,
// which gives the same rows, and each row is compared with its entry. Until the
// last one is there nothing is signed; devices get receipts under the checkpoint
// that was signed before, for otherwise they would not send on.
//
// What was receipted before the store was lost exists on a device only as long as
// its card keeps it. What nobody holds any more stays missing, and is named.
package recovery

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"trailmark/gateway/internal/ingest"
	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// A Ledger is read and not written. Its proofs are checked.
type Ledger interface {
	Entry(ctx context.Context, index uint64) ([32]byte, error)
	Inclusion(ctx context.Context, index, size uint64) ([][]byte, error)
	Consistency(ctx context.Context, first, second uint64) ([][]byte, error)
}

// ErrAhead says that a device has verified more of the ledger than there is: what
// is here was put back from an older state, and signing on would make a second
// history.
var ErrAhead = errors.New("a device has verified more of the ledger than there is")

// Options say what to recover.
type Options struct {
	Store    *store.Store
	Books    []Book // the oldest first; each begins where the one before it ends
	Ingest   *ingest.Ingest
	Audience string
	// Private is what files keep of an event beside its statement; nil: nothing.
	Private  func(*statement.Statement) (ingest.Private, error)
	Restored bool // the whole folder was put back: every device must be heard

	Post func(ctx context.Context, kid statement.Hash, message []byte) error // to a device, at best effort
	Log  *slog.Logger
}

// A Book is one ledger of half a year.
type Book struct {
	Ledger
	Origin     string
	First      uint64               // row of its entry 0
	Size       uint64               // entries
	Checkpoint statement.Checkpoint // newest one published, zero: none
	Anchored   []uint64             // newest anchored sizes, which devices were told of
}

// hearing is how long a device is listened to before it is asked to send again:
// what it sends by itself names the newest checkpoint that it has verified.
const hearing = 3 * time.Second

// A Recovery is under way until Done. Its methods are safe for concurrent use.
type Recovery struct {
	o Options

	mu      sync.Mutex                   // held for a whole step: statements have an order
	size    uint64                       // rows that the ledgers have
	next    uint64                       // rows that are there
	missing map[statement.Hash]uint64    // entries of rows that are not, and their row
	held    map[uint64]held              // what came, and an earlier row is missing
	heard   map[statement.Hash]time.Time // when a device was first heard
	seen    map[listener]uint64          // size of a ledger that a device has verified
	silent  map[statement.Hash]bool      // devices that must be heard
	owed    map[listener][]owed          // receipts without their paths
}

// listener is a device and the number of a ledger.
type listener struct {
	kid  statement.Hash
	book int
}

// owed is a receipt to send, and the size that its frame says the device had
// verified of the same ledger.
type owed struct {
	statement.Included
	verified uint64
}

// held is a frame as it came, or another statement.
type held struct {
	kid   statement.Hash
	frame []byte
	other *statement.Statement
}

// New compares the store with the ledger. others are statements that are not
// frames, from files.
func New(ctx context.Context, o Options, others []*statement.Statement) (*Recovery, error) {
	r := &Recovery{o: o, missing: map[statement.Hash]uint64{}, held: map[uint64]held{}, heard: map[statement.Hash]time.Time{},
		seen: map[listener]uint64{}, silent: map[statement.Hash]bool{}, owed: map[listener][]owed{}}
	for i, b := range o.Books {
		if b.First != r.size && i > 0 {
			return nil, fmt.Errorf("ledger %s begins at row %d, the one before it ends at %d", b.Origin, b.First, r.size)
		}
		r.size = b.First + b.Size
	}
	var err error
	if r.next, err = o.Store.Count(ctx); err != nil {
		return nil, err
	}
	for _, b := range o.Books {
		for i := max(r.next, b.First); i < b.First+b.Size; i++ {
			e, err := b.Entry(ctx, i-b.First)
			if err != nil {
				return nil, err
			}
			r.missing[e] = i
		}
	}
	if o.Restored {
		if err := r.expect(ctx); err != nil {
			return nil, err
		}
	}
	for _, s := range others {
		if i, ok := r.missing[s.Entry()]; ok {
			r.held[i] = held{other: s}
		}
	}
	return r, r.fill(ctx)
}

// expect lists the devices that must be heard: all that sent a frame, but for keys
// that another one replaced.
func (r *Recovery) expect(ctx context.Context) error {
	heads, err := r.o.Store.Heads(ctx)
	if err != nil {
		return err
	}
	for _, h := range heads {
		r.silent[h.KeyID] = true
	}
	ids, err := r.identities(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if id.Replaces != nil {
			delete(r.silent, *id.Replaces)
		}
	}
	return nil
}

func (r *Recovery) identities(ctx context.Context) (out []*statement.Identity, err error) {
	rows, err := r.o.Store.Kind(ctx, statement.KindIdentity)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		s, err := statement.Parse(row.Data)
		if err != nil {
			return nil, err
		}
		id, err := s.Identity()
		if err != nil {
			return nil, err
		}
		out = append(out, id)
	}
	return out, nil
}

// Done reports whether store and ledger are one again, and every device that must
// be heard was.
func (r *Recovery) Done() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next >= r.size && len(r.silent) == 0
}

// Status says in words what is missing, and where it would come from.
func (r *Recovery) Status() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var s string
	if r.next < r.size {
		s = fmt.Sprintf("the ledger has %d entries, the store the first %d; of the rest %d came and wait, %d are missing; the next is entry %d",
			r.size, r.next, len(r.held), len(r.missing)-len(r.held), r.next)
	}
	for kid := range r.silent {
		if s != "" {
			s += "; "
		}
		s += fmt.Sprintf("device %.8s… was not heard yet", kid)
	}
	return s
}

// Missing are the rows that nobody brought yet, at most limit, in no
// order.
func (r *Recovery) Missing(limit int) (out []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range r.missing {
		if _, here := r.held[i]; !here && len(out) < limit {
			out = append(out, i)
		}
	}
	return out
}

// Handle takes what devices sent. When it returns nil what could be stored is
// durable; a frame that the ledger does not have yet is dropped, and comes again
// after the recovery, for its device holds no receipt. An error ends the
// recovery: it wraps ErrAhead, or the store cannot become what the ledger says.
func (r *Recovery) Handle(ctx context.Context, batch []ingest.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range batch {
		if err := r.take(ctx, m); err != nil {
			return err
		}
	}
	if err := r.fill(ctx); err != nil {
		return err
	}
	return r.receipts(ctx)
}

// take keeps a frame that is missing.
func (r *Recovery) take(ctx context.Context, m ingest.Message) error {
	d, err := statement.ParseUp(m.Data)
	if err != nil || d.Statement.Header.KeyID != m.KeyID {
		r.o.Log.Warn("message refused", "device", m.KeyID.String()[:16], "err", err)
		return nil
	}
	id, known := r.o.Ingest.Identity(m.KeyID)
	if !known {
		return nil // its identity is missing, too
	}
	if err := d.Statement.Verify(id.Key.Key, r.o.Audience); err != nil {
		r.o.Log.Warn("message refused", "device", m.KeyID.String()[:16], "err", err)
		return nil
	}
	if _, ok := r.heard[m.KeyID]; !ok {
		r.heard[m.KeyID] = time.Now()
	}
	entry := d.Statement.Entry()
	i, missing := r.missing[entry]
	if missing {
		r.held[i] = held{kid: m.KeyID, frame: m.Data}
	}
	if n, size, ok := r.verified(d.Frame); ok {
		if b := r.o.Books[n]; size > b.Size {
			return fmt.Errorf("%w: device %s has verified %d entries, there are %d\n"+
				"hint: put back a newer ledger folder; what is here must never sign for %s again", ErrAhead, m.KeyID, size, b.Size, b.Origin)
		}
		who := listener{m.KeyID, n}
		r.seen[who] = max(r.seen[who], size)
	} else if newer, ok := r.later(d.Frame); ok {
		return fmt.Errorf("%w: device %s has verified entries of %s, which is not here\n"+
			"hint: put back a newer folder; what is here must never sign again", ErrAhead, m.KeyID, newer)
	}
	if !missing { // a new one, whose device has said now what it knows, or one that is stored
		delete(r.silent, m.KeyID)
		row, err := r.o.Store.Frame(ctx, m.KeyID, id.Epoch, d.Frame.Seq)
		if err == nil && row.ID == d.Statement.ID() {
			r.owe(m.KeyID, row)
		} else if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// verified is the ledger and the size that a frame names.
func (r *Recovery) verified(f *statement.Frame) (book int, size uint64, ok bool) {
	if f.After == nil {
		return 0, 0, false
	}
	for n, b := range r.o.Books {
		if f.After.Origin == sha256.Sum256([]byte(b.Origin)) {
			return n, f.After.Size, true
		}
	}
	return 0, 0, false
}

// later is the ledger that a frame names, if it comes after all that are here.
func (r *Recovery) later(f *statement.Frame) (string, bool) {
	if f.After == nil || len(r.o.Books) == 0 {
		return "", false
	}
	return statement.OriginOf(r.o.Books[len(r.o.Books)-1].Origin, f.After.Origin)
}

func (r *Recovery) owe(kid statement.Hash, row store.Statement) {
	for n, b := range r.o.Books {
		if row.Index < b.First || row.Index >= b.First+b.Checkpoint.Size {
			continue
		}
		o := owed{Included: statement.Included{Seq: row.Seq, ID: row.ID, Index: row.Index - b.First}}
		if s, err := statement.Parse(row.Data); err == nil {
			if f, err := s.Frame(); err == nil {
				if of, size, ok := r.verified(f); ok && of == n {
					o.verified = size
				}
			}
		}
		who := listener{kid, n}
		r.owed[who] = append(r.owed[who], o)
	}
}

// fill stores what came, in the ledger's order, as far as it goes.
func (r *Recovery) fill(ctx context.Context) error {
	for r.next < r.size {
		h, ok := r.held[r.next]
		if !ok {
			return nil
		}
		before := r.next
		if err := r.store(ctx, h); err != nil {
			return fmt.Errorf("entry %d of the ledger cannot be stored again: %w", before, err)
		}
		// A frame after a loss on the card waits for the one that declares it.
		for i := before + 1; r.next == before && i < r.size; i++ {
			if later, ok := r.held[i]; ok && later.frame != nil && later.kid == h.kid {
				if err := r.store(ctx, later); err != nil {
					return fmt.Errorf("entry %d of the ledger cannot be stored again: %w", i, err)
				}
			}
		}
		if r.next == before {
			return nil // the declaration has not come yet
		}
	}
	return nil
}

// store puts one statement through the ingest, and holds the rows that it became
// against the ledger.
func (r *Recovery) store(ctx context.Context, h held) error {
	if h.other != nil {
		if err := r.add(ctx, h.other); err != nil {
			return err
		}
	} else {
		out, err := r.o.Ingest.Handle(ctx, []ingest.Message{{KeyID: h.kid, Data: h.frame}})
		if err == nil {
			err = out[0].Err
		}
		if err != nil {
			return err
		}
	}
	rows, err := r.o.Store.Statements(ctx, r.next, 1<<16)
	if err != nil {
		return err
	}
	for _, row := range rows {
		entry := statement.Hash(sha256.Sum256(row.Data))
		if i, ok := r.missing[entry]; !ok || i != row.Index || row.Index != r.next {
			return fmt.Errorf("row %d became statement %s, which is not that entry\nhint: keep the ledger, and put the database of the backup back once more", row.Index, row.ID)
		}
		delete(r.missing, entry)
		delete(r.held, row.Index)
		r.next++
		if row.Kind == statement.KindFrame {
			r.owe(row.KeyID, row)
		}
	}
	return nil
}

// Bounds of one receipts message: well below the message limit, and what a device
// takes of consistency proofs.
const (
	maxIncluded = 100
	maxProofs   = 8
)

// add stores a statement that is not a frame, an event with what is kept of it.
func (r *Recovery) add(ctx context.Context, s *statement.Statement) error {
	if s.Header.Kind != statement.KindEvent {
		return r.o.Ingest.Add(ctx, s)
	}
	e, err := s.Event()
	if err != nil {
		return err
	}
	if e.Version == 1 {
		return r.o.Ingest.Add(ctx, s)
	}
	var p ingest.Private
	if r.o.Private != nil {
		if p, err = r.o.Private(s); err != nil {
			return err
		}
	}
	err = r.o.Ingest.Restore(ctx, ingest.Event{Statement: s, Private: p})
	if err != nil && len(p.Items)+len(p.Inputs)+len(p.Doc) > 0 {
		r.o.Log.Warn("what was kept of an event beside its statement is damaged", "statement", s.ID(), "err", err)
		err = r.o.Ingest.Restore(ctx, ingest.Event{Statement: s})
	}
	return err
}

// receipts sends what is owed under the checkpoints that were signed before, of the
// older ledger first.
func (r *Recovery) receipts(ctx context.Context) error {
	for n, b := range r.o.Books {
		for who, all := range r.owed {
			if who.book != n {
				continue
			}
			for len(all) > 0 {
				// The sizes that frames name are for a device that is in a later ledger.
				from := []uint64{r.seen[who]}
				msg := statement.Receipts{Type: statement.DownReceipts, Checkpoint: b.Checkpoint.Note}
				for len(all) > 0 && len(msg.Included) < maxIncluded && len(from) <= maxProofs-3 {
					o := all[0]
					var err error
					if o.Path, err = hashes(b.Inclusion(ctx, o.Index, b.Checkpoint.Size)); err != nil {
						return err
					}
					if n+1 < len(r.o.Books) && !slices.Contains(from, o.verified) {
						from = append(from, o.verified)
					}
					msg.Included, all = append(msg.Included, o.Included), all[1:]
				}
				var err error
				if msg.Consistency, err = b.consistency(ctx, from); err != nil {
					return err
				}
				if err := r.o.Post(ctx, who.kid, dcbor.MustMarshal(msg)); err != nil {
					r.o.Log.Warn("receipts not sent", "device", who.kid.String()[:16], "err", err)
				}
			}
			delete(r.owed, who)
		}
	}
	return nil
}

// consistency leads to the checkpoint from each size that the device may have
// verified last.
func (b Book) consistency(ctx context.Context, from []uint64) (out []statement.Consistency, err error) {
	size := b.Checkpoint.Size
	done := map[uint64]bool{}
	for _, old := range append(append(from[:len(from):len(from)], size, 0), b.Anchored...) {
		if old > size || done[old] || len(out) == maxProofs {
			continue
		}
		done[old] = true
		c := statement.Consistency{OldSize: old}
		if old > 0 && old < size {
			if c.Path, err = hashes(b.Consistency(ctx, old, size)); err != nil {
				return nil, err
			}
		}
		out = append(out, c)
	}
	return out, nil
}

func hashes(path [][]byte, err error) ([]statement.Hash, error) {
	out := make([]statement.Hash, len(path))
	for i, h := range path {
		copy(out[i][:], h)
	}
	return out, err
}

// Ask asks every device that was heard to send again from where its rows end. It
// is to be called every few seconds: messages get lost.
func (r *Recovery) Ask(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next >= r.size {
		return nil
	}
	heads, err := r.o.Store.Heads(ctx)
	if err != nil {
		return err
	}
	from := map[statement.Hash]uint64{}
	for _, h := range heads {
		from[h.KeyID] = h.Seq + 1
	}
	for kid, since := range r.heard {
		id, known := r.o.Ingest.Identity(kid)
		if !known || time.Since(since) < hearing {
			continue
		}
		if err := r.o.Post(ctx, kid, dcbor.MustMarshal(statement.Resend{Type: statement.DownResend, Epoch: id.Epoch, From: from[kid]})); err != nil {
			r.o.Log.Warn("frames not asked for", "device", kid.String()[:16], "err", err)
		}
	}
	return nil
}
