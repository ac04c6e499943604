// Package witness has devices cosign the checkpoints that are about to be
// anchored, so that the fleet itself stands for one history of the ledger.
//
// Nothing waits for a witness: a checkpoint goes on with the cosignatures that
// came in time, or with none. What a device answers is verified before it is kept,
// and what was kept is in the store.
package witness

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// A Device is one that can be asked now.
type Device struct {
	Key   statement.Key
	Place string // where it is; devices of different places are asked first
}

// A Fleet is the devices of this gateway.
type Fleet interface {
	// Present are the devices that are connected and whose word counts, each with
	// an Ed25519 key.
	Present(ctx context.Context) ([]Device, error)
	// Counts reports whether a key's cosignatures count now, and gives the key.
	Counts(kid statement.Hash) (statement.Key, bool)
	// Ask sends the request and returns those that it was sent to.
	Ask(ctx context.Context, origin string, note []byte, size uint64, kids []statement.Hash, cosigned map[statement.Hash]uint64) ([]statement.Hash, error)
}

// Options of a Collector.
type Options struct {
	Store  *store.Store
	Fleet  Fleet
	LogKey statement.Key
	Most   int           // devices that are asked for one checkpoint; 0: none
	Wait   time.Duration // for their answers; 2 seconds if 0
	Log    *slog.Logger
}

// A Collector asks and keeps. Its methods are safe for concurrent use.
type Collector struct {
	opt Options

	mu       sync.Mutex
	rounds   []*round                  // the newest last; guarded by mu
	turn     uint64                    // of asking; guarded by mu
	asked    map[statement.Hash]uint64 // turn in which a device was asked last; guarded by mu
	taken    uint64                    // cosignatures; guarded by mu
	rejected uint64                    // answers that were refused; guarded by mu
}

// round is one checkpoint that devices were asked to cosign.
type round struct {
	cp   statement.Checkpoint
	open map[statement.Hash]bool // asked and not heard; guarded by the Collector's mu
	done chan struct{}           // closed when all were heard
}

// lateRounds is for how many checkpoints answers are still taken.
const lateRounds = 4

// New makes a Collector.
func New(o Options) *Collector {
	if o.Wait <= 0 {
		o.Wait = 2 * time.Second
	}
	return &Collector{opt: o, asked: map[statement.Hash]uint64{}}
}

// Counts are the cosignatures that were taken and refused since the start.
func (c *Collector) Counts() (taken, refused uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken, c.rejected
}

// Collect asks devices to cosign a checkpoint that the ledger of origin published, waits a
// moment, and returns the note with the cosignatures that are at hand: the note
// as it is when anything is wrong.
func (c *Collector) Collect(ctx context.Context, origin string, note []byte) []byte {
	if c.opt.Most <= 0 {
		return note
	}
	cp, err := statement.OpenCheckpoint(note, origin, c.opt.LogKey)
	if err == nil {
		err = c.ask(ctx, cp)
	}
	if err != nil {
		c.opt.Log.Warn("witnesses not asked", "err", err)
		return note
	}
	lines, err := c.Lines(ctx, origin, cp.Size, cp.Root)
	if err != nil {
		c.opt.Log.Warn("cosignatures not read", "err", err)
		return note
	}
	return append(slices.Clip(cp.Bare()), lines...)
}

// ask asks, and waits until all have answered or the time is up.
func (c *Collector) ask(ctx context.Context, cp statement.Checkpoint) error {
	present, err := c.opt.Fleet.Present(ctx)
	if err != nil {
		return err
	}
	have, err := c.opt.Store.Cosignatures(ctx, cp.Origin, cp.Size)
	if err != nil {
		return err
	}
	sizes, err := c.opt.Store.CosignedSizes(ctx, cp.Origin)
	if err != nil {
		return err
	}
	present = slices.DeleteFunc(slices.Clone(present), func(d Device) bool {
		return sizes[d.Key.ID()] > cp.Size || slices.ContainsFunc(have, func(s store.Cosignature) bool { return s.KeyID == d.Key.ID() })
	})
	r, kids := c.begin(cp, present, c.opt.Most-len(have))
	if len(kids) == 0 {
		return nil
	}
	soon, cancel := context.WithTimeout(ctx, c.opt.Wait)
	defer cancel()
	asked, err := c.opt.Fleet.Ask(soon, cp.Origin, cp.Bare(), cp.Size, kids, sizes)
	if err != nil {
		return err
	}
	c.only(r, asked)
	timer := time.NewTimer(c.opt.Wait)
	defer timer.Stop()
	select {
	case <-r.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil
}

// begin opens a round before anybody is asked, so that no answer is too early.
func (c *Collector) begin(cp statement.Checkpoint, present []Device, most int) (*round, []statement.Hash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn++
	var kids []statement.Hash
	for _, d := range choose(present, c.asked, most) {
		kids = append(kids, d.Key.ID())
		c.asked[d.Key.ID()] = c.turn
	}
	r := &round{cp: cp, open: map[statement.Hash]bool{}, done: make(chan struct{})}
	for _, kid := range kids {
		r.open[kid] = true
	}
	if len(kids) > 0 {
		c.rounds = append(c.rounds, r)
		c.rounds = c.rounds[max(0, len(c.rounds)-lateRounds):]
	}
	return r, kids
}

// only waits no longer for those that were not asked after all.
func (c *Collector) only(r *round, asked []statement.Hash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for kid := range r.open {
		if !slices.Contains(asked, kid) {
			r.heard(kid)
		}
	}
}

// heard takes an answer off the list; the caller holds mu.
func (r *round) heard(kid statement.Hash) {
	if !r.open[kid] {
		return
	}
	delete(r.open, kid)
	if len(r.open) == 0 {
		close(r.done)
	}
}

// choose picks at most that many devices: one of each place in turn, those first
// that were not asked for longest.
func choose(present []Device, asked map[statement.Hash]uint64, most int) []Device {
	places := map[string][]Device{}
	for _, d := range present {
		places[d.Place] = append(places[d.Place], d)
	}
	var queues [][]Device
	before := func(a, b Device) int {
		x, y := a.Key.ID(), b.Key.ID()
		if asked[x] != asked[y] {
			return int(min(asked[x], 1<<62)) - int(min(asked[y], 1<<62))
		}
		return slices.Compare(x[:], y[:])
	}
	for _, q := range places {
		slices.SortFunc(q, before)
		queues = append(queues, q)
	}
	slices.SortFunc(queues, func(a, b []Device) int { return before(a[0], b[0]) })
	var out []Device
	for depth := 0; len(out) < most; depth++ {
		more := false
		for _, q := range queues {
			if depth < len(q) && len(out) < most {
				out, more = append(out, q[depth]), true
			}
		}
		if !more {
			break
		}
	}
	return out
}

// ErrRefused says that a device's answer was not taken.
var ErrRefused = errors.New("cosignature refused")

// Take verifies what a device answered and keeps it. When it returns nil the
// cosignature is durable; an error that wraps ErrRefused is the device's fault,
// and another one the store's.
func (c *Collector) Take(ctx context.Context, kid statement.Hash, message []byte) error {
	s, err := c.verify(kid, message)
	if err != nil {
		c.mu.Lock()
		c.rejected++
		c.mu.Unlock()
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := c.opt.Store.Update(ctx, func(tx *store.Tx) error { return tx.AddCosignature(s) }); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken++
	for _, r := range c.rounds {
		if r.cp.Origin == s.Origin && r.cp.Size == s.Size {
			r.heard(kid)
		}
	}
	return nil
}

func (c *Collector) verify(kid statement.Hash, message []byte) (store.Cosignature, error) {
	m, err := statement.ParseCosigned(message)
	if err != nil {
		return store.Cosignature{}, err
	}
	cp, ok := c.round(m.Origin, m.Size, kid)
	if !ok {
		return store.Cosignature{}, fmt.Errorf("nobody asked it to cosign %d entries of ledger %.8s…", m.Size, m.Origin)
	}
	key, ok := c.opt.Fleet.Counts(kid)
	if !ok {
		return store.Cosignature{}, errors.New("its key does not count")
	}
	w, err := statement.DeviceWitness(key)
	if err != nil {
		return store.Cosignature{}, err
	}
	_, at, err := cp.WithCosignature(m.Line, w, c.opt.LogKey)
	return store.Cosignature{Origin: cp.Origin, Size: cp.Size, KeyID: kid, Root: cp.Root, At: at, Line: m.Line}, err
}

// round is the checkpoint of a ledger and a size that a device was asked to cosign.
func (c *Collector) round(origin statement.Hash, size uint64, kid statement.Hash) (statement.Checkpoint, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.rounds {
		if r.cp.Size == size && r.open[kid] && origin == sha256.Sum256([]byte(r.cp.Origin)) {
			return r.cp, true
		}
	}
	return statement.Checkpoint{}, false
}

// Lines are the signature lines of a checkpoint that are kept and whose keys count.
func (c *Collector) Lines(ctx context.Context, origin string, size uint64, root statement.Hash) ([]byte, error) {
	have, err := c.opt.Store.Cosignatures(ctx, origin, size)
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, s := range have {
		if _, ok := c.opt.Fleet.Counts(s.KeyID); ok && s.Root == root {
			out = append(out, s.Line...)
		}
	}
	return out, nil
}
