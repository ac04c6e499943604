package evm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

// Options of a Submitter.
type Options struct {
	Client *Client
	Signer Signer
	Dir    string // of the journal, made if missing; one for each contract and key
	Lease  string // file that is locked while the submitter is open; "": in Dir
	Log    *slog.Logger

	Now    func() time.Time // time.Now if nil
	Hold   time.Duration    // how long a foreign transaction of our key holds us back; 2 minutes if 0
	Behind time.Duration    // how long a chain may be shorter than it was before that is a rollback; 30 seconds if 0
}

// A Submitter brings heads to a contract with one key. Safe for concurrent use;
// its steps exclude each other.
type Submitter struct {
	opt     Options
	address common.Address
	release func() error

	mu      sync.Mutex // held for a step: journal and chain are looked at together
	j       *journal   // as on disk after each step; guarded by mu
	shorter time.Time  // since when the chain is shorter than it was; guarded by mu
	found   map[Head]Anchor
	tips    view     // of the newest step; guarded by mu
	stage   Progress // of the newest step; guarded by mu
}

// A Stage is how far heads have come.
type Stage string

// Stages, in order.
const (
	Waiting  Stage = "waiting"  // nothing is in flight, Detail says why
	Pending  Stage = "pending"  // sent, in no block
	Included Stage = "included" // in a block that is not final
	Final    Stage = "final"
)

// Progress is what a step found.
type Progress struct {
	Stage   Stage
	Detail  string
	Anchors []Anchor // of Final, in the order asked
}

func (p Progress) String() string {
	if p.Detail == "" {
		return string(p.Stage)
	}
	return string(p.Stage) + ": " + p.Detail
}

// view is what the chain said at the beginning of a step.
type view struct {
	latest, final           Block
	nonceLatest, nonceFinal uint64
}

// NewSubmitter leases the key and reads the journal. The chain is not asked.
func NewSubmitter(o Options) (*Submitter, error) {
	if o.Client == nil || o.Signer == nil || o.Dir == "" {
		return nil, errors.New("a submitter needs a client, a signer and a folder")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Hold == 0 {
		o.Hold = 2 * time.Minute
	}
	if o.Behind == 0 {
		o.Behind = 30 * time.Second
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	if o.Lease == "" {
		o.Lease = filepath.Join(o.Dir, "lease")
	}
	release, err := lease(o.Lease)
	if err != nil {
		return nil, err
	}
	s := &Submitter{opt: o, address: o.Signer.Address(), release: release, found: map[Head]Anchor{}}
	if s.j, err = loadJournal(o.Dir); err == nil {
		err = s.own()
	}
	if err != nil {
		return nil, errors.Join(err, release())
	}
	return s, nil
}

// own makes the journal this key's and contract's, or refuses another's.
func (s *Submitter) own() error {
	to := s.opt.Client.target.Contract
	if s.j.Address == (common.Address{}) {
		s.j.Address, s.j.Contract = s.address, to
	}
	if s.j.Address != s.address || s.j.Contract != to {
		return fmt.Errorf("journal in %s is of key %s and contract %s, want %s and %s\nhint: name another folder, or move that one away",
			s.opt.Dir, s.j.Address, s.j.Contract, s.address, to)
	}
	return nil
}

// Close gives the key back. What is in flight stays so, and is in the journal.
func (s *Submitter) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.release()
}

// Client is what the submitter reads and writes through.
func (s *Submitter) Client() *Client { return s.opt.Client }

// Address is the submitting key's.
func (s *Submitter) Address() common.Address { return s.address }

// Step does the one thing that is due for these heads, of which each is the newest
// of its ledger: it looks where they stand, and sends, raises or repeats what is
// needed. It is called until the stage is Final, with newer heads whenever there
// are any, after a restart too. When it returns, what it signed and learned
// survives loss of power. An error that wraps a *Refusal which is Forever is not
// cured by another step.
func (s *Submitter) Step(ctx context.Context, heads ...Head) (Progress, error) {
	if len(heads) == 0 {
		return Progress{}, errors.New("no head to anchor")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.step(ctx, heads)
	s.stage = p
	if err != nil {
		s.stage = Progress{Stage: Waiting, Detail: err.Error()}
		if s.j.InFlight != nil {
			s.stage.Stage = Pending
		}
	}
	return p, err
}

func (s *Submitter) step(ctx context.Context, heads []Head) (Progress, error) {
	if err := s.pins(ctx); err != nil {
		return Progress{}, err
	}
	v, err := s.look(ctx)
	if err != nil {
		return Progress{}, err
	}
	s.tips = v
	if wait, err := s.rollback(ctx, v); err != nil || wait != "" {
		return Progress{Stage: Waiting, Detail: wait}, err
	}
	if err := s.reorg(ctx, v); err != nil {
		return Progress{}, err
	}
	if err := s.resolve(ctx, v); err != nil {
		return Progress{}, err
	}
	missing, done, err := s.stand(ctx, v, heads)
	if err != nil {
		return Progress{}, err
	}
	if len(done) == len(heads) {
		return Progress{Stage: Final, Anchors: done}, s.settle(done)
	}
	switch f := s.j.InFlight; {
	case f != nil && v.nonceLatest <= f.Nonce:
		return s.nudge(ctx, v, missing)
	case len(missing) == 0:
		return s.included(v)
	case f != nil:
		return Progress{Stage: Included, Detail: fmt.Sprintf("nonce %d is used, block %d is not final yet (final is %d)", f.Nonce, v.latest.Number, v.final.Number)}, nil
	}
	return s.send(ctx, v, missing)
}

// pins holds the chain against what the journal has, on first use what it is.
func (s *Submitter) pins(ctx context.Context) error {
	got, err := s.opt.Client.Pins(ctx)
	if err == nil {
		err = s.opt.Client.pinned(got, s.j.Pins)
	}
	if errors.Is(err, ErrWrongChain) {
		if s.alarm("wrong-chain", err.Error()) {
			err = errors.Join(err, s.save())
		}
		return err
	} else if err != nil {
		return err
	}
	if healed := s.j.healed(s.opt.Now(), "wrong-chain"); healed || s.j.Pins == (Pins{}) {
		s.j.Pins = got
		return s.save()
	}
	return nil
}

func (s *Submitter) look(ctx context.Context) (v view, err error) {
	c := s.opt.Client
	if v.latest, v.final, err = c.Tips(ctx); err != nil {
		return v, err
	}
	if v.nonceLatest, err = c.nonceAt(ctx, v.latest, s.address); err != nil {
		return v, err
	}
	v.nonceFinal, err = c.nonceAt(ctx, v.final, s.address)
	return v, err
}

// rollback finds out whether final blocks went away. It gives a reason to wait
// while the endpoints may be behind only.
func (s *Submitter) rollback(ctx context.Context, v view) (wait string, err error) {
	gone := func(l settled) (bool, error) {
		if l.Block.Number > v.latest.Number {
			return true, nil
		}
		b, err := s.opt.Client.BlockAt(ctx, l.Block.Number)
		return b.Hash != l.Block.Hash, err
	}
	short := false
	for _, l := range s.j.Last {
		short = short || l.Block.Number > v.latest.Number
	}
	if !short {
		s.shorter = time.Time{}
	} else if s.shorter.IsZero() {
		s.shorter = s.opt.Now()
	}
	if short && s.opt.Now().Sub(s.shorter) < s.opt.Behind {
		return fmt.Sprintf("the chain is at block %d only: are its endpoints behind?", v.latest.Number), nil
	}
	changed := false
	for i := 0; i < len(s.j.Last); {
		l := s.j.Last[i]
		is, err := gone(l)
		if err != nil {
			return "", err
		}
		if !is {
			i++
			continue
		}
		s.alarm("rollback", fmt.Sprintf("block %d (%x) was final and held size %d of %s; the chain, now at block %d, has it no more",
			l.Block.Number, l.Block.Hash[:8], l.Head.Size, l.Head.Origin, v.latest.Number))
		s.j.Last, changed = slices.Delete(s.j.Last, i, i+1), true
		clear(s.found)
	}
	if s.j.Next != nil && s.j.InFlight == nil && v.nonceLatest < *s.j.Next {
		if !changed && v.nonceFinal == v.nonceLatest {
			s.alarm("rollback", fmt.Sprintf("%d transactions of this key were final, the chain, now at block %d, counts %d", *s.j.Next, v.latest.Number, v.nonceLatest))
		}
		s.j.Next, changed = &v.nonceLatest, true
	}
	if changed {
		return "", s.save()
	}
	return "", nil
}

// reorg finds out whether the block that held our heads went away before it was
// final.
func (s *Submitter) reorg(ctx context.Context, v view) error {
	in := s.j.Included
	if in == nil || in.Number > v.latest.Number {
		return nil
	}
	b, err := s.opt.Client.BlockAt(ctx, in.Number)
	if err != nil || b.Hash == in.Hash {
		return err
	}
	s.alarm("reorg", fmt.Sprintf("block %d (%x) held our head and is replaced by %x", in.Number, in.Hash[:8], b.Hash[:8]))
	s.j.Included = nil
	return s.save()
}

// stand sorts heads into those that are final, and those that not even the newest
// block has.
func (s *Submitter) stand(ctx context.Context, v view, heads []Head) (missing []Head, done []Anchor, err error) {
	c := s.opt.Client
	for _, h := range heads {
		final, err := c.HeadAt(ctx, v.final, h.Origin)
		if err != nil {
			return nil, nil, err
		}
		if r := contradicts(h, final); r != nil {
			s.j.park(h, r.Error(), s.opt.Now())
			return nil, nil, errors.Join(r, s.save())
		}
		if final.Size == h.Size {
			a, err := s.locate(ctx, v.final, h, final)
			if err != nil {
				return nil, nil, err
			}
			done = append(done, a)
			continue
		}
		now, err := c.HeadAt(ctx, v.latest, h.Origin)
		if err != nil {
			return nil, nil, err
		}
		if now.Size < h.Size {
			missing = append(missing, h)
		}
	}
	return missing, done, nil
}

// contradicts is the contract's own rule.
func contradicts(h Head, on OnChain) *Refusal {
	switch {
	case h.Size < on.Size || h.Size == 0:
		return &Refusal{"SizeSmaller", fmt.Sprintf("(origin %q, have %d, got %d)", h.Origin, on.Size, h.Size)}
	case h.Size == on.Size && h.Root != on.Root:
		return &Refusal{"RootDiffers", fmt.Sprintf("(origin %q, size %d, have %x, got %x)", h.Origin, h.Size, on.Root, h.Root)}
	}
	return nil
}

// included notes the block from which on the heads stand, to see a reorg.
func (s *Submitter) included(v view) (Progress, error) {
	if s.j.Included == nil {
		s.j.Included = &blockRef{v.latest.Number, v.latest.Hash}
		if err := s.save(); err != nil {
			return Progress{}, err
		}
	}
	return Progress{Stage: Included, Detail: fmt.Sprintf("since block %d at the latest, block %d is final", s.j.Included.Number, v.final.Number)}, nil
}

// settle records final heads.
func (s *Submitter) settle(done []Anchor) error {
	changed := s.j.healed(s.opt.Now(), "reorg", "rollback", "reverted")
	if s.j.InFlight == nil {
		changed = s.j.healed(s.opt.Now(), "foreign") || changed
	}
	for _, a := range done {
		now := settled{a.Head, blockRef{a.Height, a.Block}}
		i := slices.IndexFunc(s.j.Last, func(l settled) bool { return l.Head.Origin == a.Origin })
		switch {
		case i < 0:
			s.j.Last, changed = lastOf(append(s.j.Last, now)), true
		case s.j.Last[i] != now:
			s.j.Last[i], changed = now, true
		}
	}
	if s.j.Included != nil {
		s.j.Included, changed = nil, true
	}
	if changed {
		return s.save()
	}
	return nil
}

// Newest is the final head of an origin, and where it was logged; false if there
// is none.
func (s *Submitter) Newest(ctx context.Context, origin string) (Anchor, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.pins(ctx); err != nil {
		return Anchor{}, false, err
	}
	v, err := s.look(ctx)
	if err != nil {
		return Anchor{}, false, err
	}
	if wait, err := s.rollback(ctx, v); err != nil || wait != "" {
		return Anchor{}, false, orWait(err, wait) // a chain that is behind tells nothing
	}
	on, err := s.opt.Client.HeadAt(ctx, v.final, origin)
	if err != nil || on.Size == 0 {
		return Anchor{}, false, err
	}
	a, err := s.locate(ctx, v.final, Head{origin, on.Size, on.Root}, on)
	return a, err == nil, err
}

func orWait(err error, wait string) error {
	if err != nil {
		return err
	}
	return errors.New(wait)
}

// locate is Client.Locate, remembered while its block stands.
func (s *Submitter) locate(ctx context.Context, final Block, h Head, on OnChain) (Anchor, error) {
	if a, ok := s.found[h]; ok {
		b, err := s.opt.Client.BlockAt(ctx, a.Height)
		if err != nil && !errors.Is(err, ethereum.NotFound) {
			return Anchor{}, err
		}
		if err == nil && b.Hash == a.Block {
			return a, nil
		}
		delete(s.found, h)
	}
	a, err := s.opt.Client.Locate(ctx, final, h, on)
	if err == nil {
		if len(s.found) > maxNotes {
			clear(s.found)
		}
		s.found[h] = a
	}
	return a, err
}

func (s *Submitter) save() error {
	if err := s.j.save(s.opt.Dir); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

func (s *Submitter) alarm(kind, text string) bool {
	isNew := s.j.alarm(kind, text, s.opt.Now())
	if isNew {
		s.opt.Log.Error("chain alarm", "chain", Name(s.j.Pins.ChainID), "kind", kind, "what", text)
	}
	return isNew
}

// A Report is what a status page shows of a submitter.
type Report struct {
	Pins          Pins
	Contract      common.Address
	Address       common.Address
	Stage         Progress
	Latest, Final uint64 // blocks, of the newest step
	Attempts      int    // in flight
	Fee           string // that the newest of them offers for a unit of gas
	Alarms        []Alarm
	Parked        []Parked
	Cost          Cost
	Endpoints     []Endpoint
}

// Report never waits for the chain, but for a step that goes on.
func (s *Submitter) Report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.j.report(s.stage, s.tips, s.opt.Client.Endpoints())
}

func (j *journal) report(stage Progress, v view, endpoints []Endpoint) Report {
	r := Report{Pins: j.Pins, Contract: j.Contract, Address: j.Address, Stage: stage, Latest: v.latest.Number, Final: v.final.Number,
		Alarms: slices.Clone(j.Alarms), Parked: slices.Clone(j.Parked), Cost: j.Cost, Endpoints: endpoints}
	if f := j.InFlight; f != nil {
		r.Attempts = len(f.Attempts)
		if tx, err := f.Attempts[len(f.Attempts)-1].tx(); err == nil {
			r.Fee = feesOf(tx).String()
		}
	}
	return r
}

// ReadReport is what the journal in a folder says, of a submitter that may run.
func ReadReport(dir string) (Report, error) {
	j, err := loadJournal(dir)
	if err != nil {
		return Report{}, err
	}
	if j.Address == (common.Address{}) {
		return Report{}, fmt.Errorf("%s holds no journal of a submitter", dir)
	}
	return j.report(Progress{}, view{}, nil), nil
}

func short(h common.Hash) string { return hexutil.Encode(h[:6]) + "…" }
