package anchoring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Options of a Runner. The functions are called by Run's goroutine only.
type Options struct {
	Chain  Chain
	Origin string

	// Newest returns the newest signed checkpoint of Origin, nil if the ledger
	// is empty.
	Newest func(ctx context.Context) ([]byte, error)

	// Cosign returns a checkpoint that is about to be anchored with the signature
	// lines of witnesses, those that come within seconds; nil: there are no
	// witnesses. What it returns must be the same checkpoint, or it is left out.
	Cosign func(ctx context.Context, checkpoint []byte) []byte

	// Record keeps an anchor. When it returns nil, a survives loss of power. It
	// may be called again with an anchor it has.
	Record func(ctx context.Context, a Anchor) error

	// Lost takes back that a chain has an anchor: it went away after it was final.
	// When it returns nil, that survives loss of power. Nil: nobody need know.
	Lost func(ctx context.Context, a Anchor) error

	Recorded Anchor // newest one recorded before the start; zero if not known

	Every    time.Duration // pause between two anchors; 1 minute if 0
	Patience time.Duration // for one submission; 30 seconds if 0
	RetryMin time.Duration // pause after the first failure; 1 second if 0
	RetryMax time.Duration // longest pause after a failure; 5 minutes if 0
	Log      *slog.Logger  // slog.Default if nil
}

// Runner anchors the checkpoints of one origin on one chain.
type Runner struct {
	opt Options

	recorded Anchor // newest one that Record has taken; Run's goroutine owns it

	mu     sync.Mutex // no reader sees half an update
	status Status     // guarded by mu
}

// Status is what a status page shows of a Runner.
type Status struct {
	Chain    Description
	Origin   string
	Last     Anchor // newest one recorded since the start; zero if none
	Newest   uint64 // size of the newest checkpoint seen
	Lag      uint64 // entries in it that are not anchored
	State    string // of a checkpoint that is on its way; empty: none is
	Error    string // of the last attempt; empty if it went well
	ErrorAt  time.Time
	Failures int // attempts since the last one that went well
}

// New checks the options. The chain is not asked before Run.
func New(o Options) (*Runner, error) {
	if o.Chain == nil || o.Origin == "" || o.Newest == nil || o.Record == nil {
		return nil, errors.New("anchoring needs a chain, an origin, a source of checkpoints and a record")
	}
	defaults := []struct {
		v *time.Duration
		d time.Duration
	}{{&o.Every, time.Minute}, {&o.Patience, 30 * time.Second}, {&o.RetryMin, time.Second}, {&o.RetryMax, 5 * time.Minute}}
	for _, d := range defaults {
		if *d.v < 0 {
			return nil, fmt.Errorf("anchoring with a negative duration %v", *d.v)
		}
		if *d.v == 0 {
			*d.v = d.d
		}
	}
	if o.RetryMax < o.RetryMin {
		return nil, fmt.Errorf("longest retry %v < shortest %v", o.RetryMax, o.RetryMin)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Runner{opt: o, recorded: o.Recorded, status: Status{Chain: o.Chain.Describe(), Origin: o.Origin, Last: o.Recorded}}, nil
}

// Status returns a snapshot. Safe for concurrent use.
func (r *Runner) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// Run anchors until ctx ends and returns nil then. It returns an error that
// wraps ErrBehind or ErrFork when ledger and chain contradict each other: that
// needs a person, and the gateway should not sign until one has looked.
func (r *Runner) Run(ctx context.Context) error {
	pause := r.opt.RetryMin
	for {
		err := r.round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		r.note(err)
		wait := r.opt.Every
		var way *Pending
		switch {
		case errors.As(err, &way):
			pause, wait = r.opt.RetryMin, r.opt.RetryMin
		case errors.Is(err, ErrBehind) || errors.Is(err, ErrFork):
			r.opt.Log.LogAttrs(ctx, slog.LevelError, "anchoring stops", slog.String("origin", r.opt.Origin), slog.Any("error", err))
			return err
		case err != nil:
			// Between half the pause and all of it, so that gateways which failed
			// together do not come back together.
			wait = pause/2 + rand.N(pause/2+1)
			pause = min(2*pause, r.opt.RetryMax)
			r.opt.Log.LogAttrs(ctx, slog.LevelWarn, "not anchored",
				slog.String("origin", r.opt.Origin), slog.Duration("retry", wait), slog.Any("error", err))
		default:
			pause = r.opt.RetryMin
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// round brings record and chain up to date, in this order: what the chain has is
// recorded, then the newest checkpoint is anchored and recorded.
func (r *Runner) round(ctx context.Context) error {
	// The head first: every anchored checkpoint was published before, so one
	// that is fetched after the head is never older by accident.
	head, ok, err := r.head(ctx)
	if err != nil {
		return err
	}
	if err := r.lost(ctx, head, ok); err != nil {
		return err
	}
	if ok {
		if err := r.record(ctx, head); err != nil {
			return err
		}
	}
	checkpoint, err := r.opt.Newest(ctx)
	if err != nil {
		return fmt.Errorf("newest checkpoint: %w", err)
	}
	var size uint64
	var root [32]byte
	if checkpoint != nil {
		if size, root, err = parse(r.opt.Origin, checkpoint); err != nil {
			return fmt.Errorf("newest checkpoint: %w", err)
		}
	}
	r.update(func(s *Status) { s.Newest = size })
	if ok {
		err := guard(ctx, r.opt.Chain, head, size, func(_ context.Context, at uint64) ([32]byte, bool, error) {
			return root, at == size, nil
		})
		if err != nil {
			return err
		}
	}
	if size == head.Size { // also when there is neither head nor entry
		return nil
	}
	return r.submit(ctx, r.cosigned(ctx, checkpoint, size, root), size, root)
}

// cosigned is the checkpoint with its witnesses. It anchors without them rather
// than not at all.
func (r *Runner) cosigned(ctx context.Context, checkpoint []byte, size uint64, root [32]byte) []byte {
	if r.opt.Cosign == nil {
		return checkpoint
	}
	with := r.opt.Cosign(ctx, checkpoint)
	if s, h, err := parse(r.opt.Origin, with); err != nil || s != size || h != root {
		r.opt.Log.LogAttrs(ctx, slog.LevelWarn, "anchored without witnesses", slog.String("origin", r.opt.Origin), slog.Any("error", err))
		return checkpoint
	}
	return with
}

func (r *Runner) submit(ctx context.Context, checkpoint []byte, size uint64, root [32]byte) error {
	patient, cancel := context.WithTimeoutCause(ctx, r.opt.Patience,
		fmt.Errorf("no answer in %v: %w", r.opt.Patience, context.DeadlineExceeded))
	a, err := r.opt.Chain.Submit(patient, checkpoint)
	cancel()
	if err == nil {
		if a.Size != size || a.Root != root {
			return fmt.Errorf("anchored size %d with root %x, submitted %d with %x", a.Size, a.Root, size, root)
		}
		return r.record(ctx, a)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// No answer, or a refusal because somebody else was faster: the chain's
	// state tells which.
	head, ok, headErr := r.head(ctx)
	if headErr != nil {
		return errors.Join(err, headErr)
	}
	if !ok || head.Size < size {
		return fmt.Errorf("submit size %d to %s: %w", size, r.opt.Chain.Describe(), err)
	}
	if head.Size == size && head.Root != root {
		return guard(ctx, r.opt.Chain, head, size, func(context.Context, uint64) ([32]byte, bool, error) {
			return root, true, nil
		})
	}
	return r.record(ctx, head)
}

func (r *Runner) head(ctx context.Context) (Anchor, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, r.opt.Patience)
	defer cancel()
	head, ok, err := r.opt.Chain.Head(ctx, r.opt.Origin)
	if err != nil {
		return Anchor{}, false, fmt.Errorf("newest anchor on %s: %w", r.opt.Chain.Describe(), err)
	}
	return head, ok, nil
}

// lost finds out that a chain has an anchor no more which was final and recorded:
// its newest is smaller, or is of another block. What comes next is anchored and
// recorded as if it had never been there.
func (r *Runner) lost(ctx context.Context, head Anchor, ok bool) error {
	was := r.recorded
	if was.Size == 0 || ok && (head.Size > was.Size || head.Size == was.Size && head.BlockHash == was.BlockHash) {
		return nil
	}
	r.opt.Log.LogAttrs(ctx, slog.LevelError, "the chain has lost an anchor; the newest checkpoint is anchored again", slog.String("chain", was.ChainID),
		slog.String("origin", was.Origin), slog.Uint64("size", was.Size), slog.Int64("height", was.Height))
	if r.opt.Lost != nil {
		if err := r.opt.Lost(ctx, was); err != nil {
			return fmt.Errorf("take back anchor of size %d in block %d: %w", was.Size, was.Height, err)
		}
	}
	r.recorded = Anchor{}
	r.update(func(s *Status) { s.Last = Anchor{} })
	return nil
}

func (r *Runner) record(ctx context.Context, a Anchor) error {
	if a.Size <= r.recorded.Size {
		return nil
	}
	if err := r.opt.Record(ctx, a); err != nil {
		return fmt.Errorf("record anchor of size %d in block %d: %w", a.Size, a.Height, err)
	}
	r.recorded = a
	r.opt.Log.LogAttrs(ctx, slog.LevelDebug, "anchored", slog.String("origin", a.Origin),
		slog.Uint64("size", a.Size), slog.Int64("height", a.Height))
	r.update(func(s *Status) { s.Last = a })
	return nil
}

func (r *Runner) note(err error) {
	describe := r.opt.Chain.Describe()
	r.update(func(s *Status) {
		s.Chain = describe
		s.State = ""
		var way *Pending
		if errors.As(err, &way) {
			s.State, err = way.State, nil
		}
		if err == nil {
			s.Error, s.ErrorAt, s.Failures = "", time.Time{}, 0
			return
		}
		s.Error, s.ErrorAt, s.Failures = err.Error(), time.Now(), s.Failures+1
	})
}

func (r *Runner) update(f func(*Status)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.status)
	r.status.Lag = 0
	if s := &r.status; s.Newest > s.Last.Size {
		s.Lag = s.Newest - s.Last.Size
	}
}
