package station

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"

	"trailmark/agent/internal/outbox"
	"trailmark/internal/device"
	"trailmark/statement"
)

// maxRoots bounds the checkpoints that are remembered: the gateway speaks of the
// newest ones.
const maxRoots = 256

// roots are checkpoints that were verified, newest last.
type roots []device.Checkpoint

func (r *roots) add(c device.Checkpoint) {
	if c.Size == 0 || r.has(c.Size, c.Root) {
		return
	}
	*r = append(*r, c)
	if len(*r) > maxRoots {
		*r = append(roots(nil), (*r)[1:]...)
	}
}

func (r roots) has(size uint64, root statement.Hash) bool {
	for _, c := range r {
		if c.Size == size && c.Root == root {
			return true
		}
	}
	return false
}

// Reasons why a message from the gateway has no effect.
var (
	errNoProof    = errors.New("no proof from the checkpoint that was verified last")
	errForeign    = errors.New("receipt names a statement that is not ours")
	errEarlier    = errors.New("receipt is of a ledger that was over before the frame was signed")
	errTwoLedgers = errors.New("ledger shows two roots of one size")
	errPlanSeq    = errors.New("plan is not newer than the one in force")
	errFinal      = errors.New("final block is of a checkpoint that was not verified here")
)

func errEpoch(got, want uint64) error {
	return fmt.Errorf("it is of epoch %d, we are in %d", got, want)
}

func errUnsigned(got, next uint64) error {
	return fmt.Errorf("it asks for frame %d, the next one to sign is %d\nhint: was this data folder restored from a copy?", got, next)
}

// down judges one message from the gateway. Whoever wrote it, what does not
// verify has no effect.
func (s *Station) down(ctx context.Context, data []byte) {
	m, err := statement.ParseDown(data)
	if err != nil {
		s.refused("message", err)
		return
	}
	switch m := m.(type) {
	case *statement.Receipts:
		err = s.receipts(m)
		s.pump(ctx)
	case *statement.PlanDown:
		err = s.takePlan(m, data)
	case *statement.Cosign:
		err = s.cosign(ctx, m)
	case *statement.Final:
		err = s.final(m)
	case *statement.Resend:
		s.resend(ctx, m.Epoch, m.From)
	}
	if err != nil {
		s.refused(fmt.Sprintf("%T", m), err)
	}
}

func (s *Station) refused(what string, err error) {
	level := slog.LevelWarn
	if errors.Is(err, errFinal) || errors.Is(err, errOvertaken) || errors.Is(err, errTooSoon) {
		level = slog.LevelDebug // a message that crossed a newer one on the way: no harm, the next one comes
	}
	s.log.Log(context.Background(), level, "gateway's message refused", slog.String("kind", what), slog.Any("err", err))
}

// origin is the ledger that this device has last verified: the one that it was
// enrolled with, or one that took its place.
func (s *Station) origin() string {
	if s.st.Checked.Size > 0 {
		if o, ok := statement.OriginOf(s.c.Origin, s.st.Checked.Origin); ok {
			return o
		}
	}
	return s.c.Origin
}

// ledgerOf is the ledger that a checkpoint may be of: the one verified last, the one
// that takes its place, or one that was before it.
func (s *Station) ledgerOf(note []byte) (origin string, earlier bool) {
	origin = s.origin()
	if named := statement.NoteOrigin(note); statement.Successor(origin, named) {
		return named, false
	} else if statement.Successor(named, origin) {
		return named, true
	}
	return origin, false
}

// receipts verifies a checkpoint and the receipts under it, and lets go of what
// they cover without a hole. A ledger of a later half-year under the same key may
// take the present one's place; none of an earlier one ever does, but frames that it
// holds count.
func (s *Station) receipts(r *statement.Receipts) error {
	origin, earlier := s.ledgerOf(r.Checkpoint)
	cp, err := statement.OpenCheckpoint(r.Checkpoint, origin, s.c.LogKey)
	if err != nil {
		return err
	}
	var held func(device.Record) error
	if earlier {
		held = func(rec device.Record) error { return namedBy(rec, cp, r.Consistency) }
	} else if err := s.extend(cp, r.Consistency); err != nil {
		return err
	}
	var errs []error
	for _, i := range r.Included {
		if err := s.included(cp, i, held); err != nil {
			errs = append(errs, fmt.Errorf("frame %d: %w", i.Seq, err))
		}
	}
	if s.st.Receipted < s.window.low {
		s.st.Receipted, s.changed = s.window.low, true
	}
	if low := s.window.low; low > 0 && !s.st.Alarm {
		if err := s.p.Outbox.Prune(low - 1); err != nil {
			s.log.Error("card does not let go of receipted frames", slog.Any("err", err))
		}
	}
	return errors.Join(errs...)
}

// namedBy checks a checkpoint of an earlier ledger against the one that a frame of
// ours names: what this device had verified when it signed the frame. One that names
// a later ledger cannot be in an earlier one.
func namedBy(r device.Record, cp statement.Checkpoint, proofs []statement.Consistency) error {
	stmt, err := r.Statement()
	if err != nil {
		return err
	}
	f, err := stmt.Frame()
	if err != nil {
		return err
	}
	if f.After == nil {
		return nil
	}
	if f.After.Origin != sha256.Sum256([]byte(cp.Origin)) {
		if named, ok := statement.OriginOf(cp.Origin, f.After.Origin); ok {
			return fmt.Errorf("%w: frame names %s, the receipt is of %s", errEarlier, named, cp.Origin)
		}
		return nil // of one that is earlier still, or of before this device was enrolled again
	}
	size, root := f.After.Size, f.After.Root
	if size == cp.Size && root == cp.Root {
		return nil
	}
	for _, p := range proofs {
		if p.OldSize == size && size < cp.Size {
			return statement.VerifyConsistency(size, cp.Size, root, cp.Root, p.Path)
		}
	}
	return fmt.Errorf("checkpoint of %d entries, the frame names %d: %w", cp.Size, size, errNoProof)
}

func originOf(line string) statement.Hash { return sha256.Sum256([]byte(line)) }

// extend checks that the ledger of a signed checkpoint is the one verified last,
// grown.
func (s *Station) extend(cp statement.Checkpoint, proofs []statement.Consistency) error {
	origin := originOf(cp.Origin)
	last := s.st.Checked
	if last.Origin != origin {
		if last.Size > 0 {
			s.log.Info("a later ledger goes on", slog.String("origin", cp.Origin), slog.Uint64("verified_before", last.Size))
		}
		last = device.Checkpoint{} // a new ledger begins at nothing
	}
	if s.roots.has(cp.Size, cp.Root) && cp.Size <= last.Size {
		return nil // seen before, and messages may overtake each other
	}
	if cp.Size == last.Size && cp.Size > 0 {
		err := fmt.Errorf("%w: %d entries give %.8s… and %.8s…", errTwoLedgers, cp.Size, last.Root, cp.Root)
		s.contradicted(cp, last, nil, err.Error())
		return err
	}
	if cp.Size < last.Size || cp.Size == 0 {
		return fmt.Errorf("checkpoint of %d entries, verified are %d: %w", cp.Size, last.Size, errNoProof)
	}
	for _, p := range proofs {
		if p.OldSize != last.Size {
			continue
		}
		if err := statement.VerifyConsistency(last.Size, cp.Size, last.Root, cp.Root, p.Path); err != nil {
			s.contradicted(cp, last, p.Path, fmt.Sprintf("ledger of %d entries and root %.8s… does not extend the one of %d that was verified", cp.Size, cp.Root, last.Size))
			return fmt.Errorf("checkpoint of %d entries does not extend the one of %d: %w", cp.Size, last.Size, err)
		}
		s.st.Checked, s.changed = device.Checkpoint{Origin: origin, Size: cp.Size, Root: cp.Root}, true
		s.checkedNote = cp.Bare()
		s.roots.add(s.st.Checked)
		return nil
	}
	return fmt.Errorf("checkpoint of %d entries, verified are %d: %w", cp.Size, last.Size, errNoProof)
}

// included checks one receipt under a verified checkpoint; held, if it is not nil,
// says whether the frame allows it.
func (s *Station) included(cp statement.Checkpoint, i statement.Included, held func(device.Record) error) error {
	if i.Seq >= s.st.Next { // nothing of ours leaves before it counts as signed
		s.foreign(i)
		return fmt.Errorf("%w: the next to sign is %d", errForeign, s.st.Next)
	}
	r, err := s.stored(i.Seq)
	if errors.Is(err, outbox.ErrNotFound) || errors.Is(err, outbox.ErrDamaged) {
		return nil // let go of already, or lost: nothing to compare with
	} else if err != nil {
		return err
	}
	stmt, err := r.Statement()
	if err != nil {
		return err
	}
	if stmt.ID() != i.ID {
		s.foreign(i)
		return fmt.Errorf("%w: %.8s…, ours is %.8s…", errForeign, i.ID, stmt.ID())
	}
	if held != nil {
		if err := held(r); err != nil {
			return err
		}
	}
	entry := stmt.Entry()
	if err := statement.VerifyInclusion(entry[:], i.Index, cp.Size, cp.Root, i.Path); err != nil {
		return fmt.Errorf("receipt does not lead to the checkpoint's root: %w", err)
	}
	s.window.receipted(i.Seq)
	return nil
}

// foreign raises the alarm: someone else signs with our key, or this device was
// set back to an older state. From now on nothing is let go.
func (s *Station) foreign(i statement.Included) {
	s.tamper("receipt for a statement that this device did not sign", &i)
	s.st.Alarm, s.changed = true, true
	s.raised++
}

func (s *Station) tamper(words string, i *statement.Included) {
	h := statement.Happening{Type: statement.Tamper, Words: clip(words)}
	key := words
	attrs := []any{slog.String("what", words)}
	if i != nil {
		h.Seqs, h.Raw = &[2]uint64{i.Seq, i.Seq}, i.ID[:]
		key += i.ID.String()
		attrs = append(attrs, slog.Uint64("seq", i.Seq), slog.String("id", i.ID.String()))
	}
	s.log.Error("alarm", attrs...)
	if s.tampered[key] || len(s.tampered) >= 64 || !s.room() {
		return
	}
	s.tampered[key] = true
	s.pending.happen(s.p.Clock.Now().Boottime, h)
}

// takePlan verifies a plan, keeps it, and puts it in force from the next frame.
func (s *Station) takePlan(m *statement.PlanDown, message []byte) error {
	p, err := device.OpenPlan(s.c.Audience, s.c.Authority, m.Plan, m.Identities)
	if err != nil {
		return err
	}
	if p.ID == s.st.Plan && s.plan != nil {
		return nil // told again
	}
	if p.ID != s.st.Plan && !s.newer(p) {
		return fmt.Errorf("%w: seq %d, in force is %d", errPlanSeq, p.Seq, s.st.PlanSeq)
	}
	if err := s.p.SavePlan(message); err != nil {
		return fmt.Errorf("keeping the plan: %w", err)
	}
	s.adopt(p)
	return nil
}

// final takes the newest final block that holds an anchor of a checkpoint that
// this device has verified.
func (s *Station) final(m *statement.Final) error {
	a := m.After
	if a.Origin != s.st.Checked.Origin || !s.roots.has(a.Size, a.Root) || a.ChainID == "" {
		return fmt.Errorf("%w: size %d", errFinal, a.Size)
	}
	if f := s.st.Final; f.ChainID == a.ChainID && a.Height <= f.Height {
		return nil // told again, or overtaken
	}
	s.st.Final, s.changed = device.Block{ChainID: a.ChainID, Height: a.Height, Hash: a.BlockHash}, true
	return nil
}
