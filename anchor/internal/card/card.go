// Package card checks what a device exported of its card, offline: that every
// frame is signed by a key that a pinned authority vouches for, that one follows
// the other, that nothing in them was changed, and that each block extends its
// trace. It needs no ledger and says what only a ledger could tell: whether
// these frames were delivered, and when.
//
// The form is that of docs/wire-format.md, section 5. It is read from front to
// back, an item at a time: a card may hold more than memory does.
package card

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/fxamacker/cbor/v2"

	"trailmark/internal/dcbor"
	"trailmark/passport"
	"trailmark/statement"
	"trailmark/trace"
)

// maxHead bounds the first item, in bytes: the traces of every channel.
const maxHead = 512 << 10

// A Report is what a card file proves.
type Report struct {
	Device *statement.Identity
	KeyID  statement.Hash

	Frames      uint64
	First, Last uint64      // seq of the oldest and the newest
	Missing     [][2]uint64 // from, to (inclusive) in between: not in the file
	Unset       uint64      // frames whose clock was not set: their times are since boot
	T0, T1      int64       // span of the others, Unix ms as the device's clock had it

	Readings   uint64
	Blocks     uint64
	Unfollowed uint64 // blocks behind a missing frame: signed, but of a trace that begins outside the file
	Sightings  uint64
	Happenings uint64
	Faults     uint64 // answers that were no measurement, as often as they happened
	Lost       uint64 // frames that the device says its card lost

	Plans   int    // in the file
	Unknown uint64 // frames under a plan that is not

	Origin string // of the ledger that the newest checkpoint is of; "": none was verified
	Size   uint64 // of that checkpoint
	Root   statement.Hash
}

// Refused says why a file does not stand.
type Refused struct{ err error }

func (r *Refused) Error() string { return r.err.Error() }
func (r *Refused) Unwrap() error { return r.err }

// Verify reads a card file to its end and checks it against a trust file. The
// error is a *Refused when something in it does not hold.
func Verify(r io.Reader, trust *passport.Trust) (*Report, error) {
	v := &verifier{trust: trust, traces: map[string]*running{}, entries: map[statement.Hash]statement.Channel{}, plans: map[statement.Hash]bool{}}
	var keys []statement.Key
	for _, k := range trust.Authorities {
		keys = append(keys, k.Key)
	}
	v.ring = statement.NewKeyring(trust.Audience, keys...)
	items := cbor.NewDecoder(r)
	for n := 0; ; n++ {
		at := items.NumBytesRead()
		var raw cbor.RawMessage
		err := items.Decode(&raw)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, &Refused{fmt.Errorf("byte %d: %w", at, err)}
		}
		if err := v.item(n, raw); err != nil {
			return nil, &Refused{fmt.Errorf("item %d at byte %d: %w", n, at, err)}
		}
	}
	if err := v.end(); err != nil {
		return nil, &Refused{err}
	}
	return &v.Report, nil
}

// running is a trace as far as the file has come.
type running struct {
	start    trace.Start
	spec     trace.Spec
	known    bool // spec is: its plan is in the file, or it has none
	frontier trace.Frontier
}

type verifier struct {
	Report
	trust   *passport.Trust
	ring    *statement.Keyring
	traces  map[string]*running // by channel; none: it cannot be followed
	entries map[statement.Hash]statement.Channel
	plans   map[statement.Hash]bool
	headed  []statement.CardTrace // of the first item, until the first frame
	prev    statement.Hash
	after   *statement.After // of the newest frame
	ended   bool             // the checkpoint has come
}

func (v *verifier) item(n int, raw []byte) error {
	switch {
	case v.ended:
		return errors.New("it follows the checkpoint, which is the last")
	case n == 0:
		return v.head(raw)
	case raw[0] == 0xd2: // tag 18
		return v.statement(raw)
	case raw[0] == 0x84: // array of 4
		return v.frame(raw)
	case raw[0] == 0x83:
		return v.checkpoint(raw)
	}
	return errors.New("neither statement, message nor checkpoint")
}

func (v *verifier) head(raw []byte) error {
	var h statement.CardHead
	if err := dcbor.UnmarshalMax(raw, &h, maxHead); err != nil {
		return err
	}
	v.headed = h.Traces
	return h.Check()
}

// statement takes an identity or a plan. The first one is the device's.
func (v *verifier) statement(raw []byte) error {
	if v.Frames > 0 {
		return errors.New("a statement after the first frame")
	}
	s, err := statement.Parse(raw)
	if err != nil {
		return err
	}
	switch s.Header.Kind {
	case statement.KindIdentity:
		id, err := v.ring.Add(s)
		if err != nil {
			return err
		}
		if v.Device == nil {
			if id.Role != statement.RoleDevice {
				return fmt.Errorf("the first identity has role %d, not that of a device", id.Role)
			}
			v.Device, v.KeyID = id, id.Key.ID()
		}
		return nil
	case statement.KindPlan:
		if v.Device == nil {
			return errors.New("a plan before the device's identity")
		}
		if _, err := v.ring.Verify(s); err != nil {
			return err
		}
		p, err := s.Plan()
		if err != nil {
			return err
		}
		v.plans[s.ID()] = true
		v.Plans = len(v.plans)
		for _, z := range p.Zones {
			for _, c := range z.Channels {
				if c.Device == v.KeyID {
					v.entries[c.Hash()] = c
				}
			}
		}
		return nil
	}
	return fmt.Errorf("a %s does not belong on a card", s.Header.Kind)
}

func (v *verifier) frame(raw []byte) error {
	d, err := statement.ParseUp(raw)
	if err != nil {
		return err
	}
	f := d.Frame
	if v.Device == nil || d.Statement.Header.KeyID != v.KeyID {
		return fmt.Errorf("frame %d is not signed by the device of this card", f.Seq)
	}
	if _, err := v.ring.Verify(d.Statement); err != nil {
		return fmt.Errorf("frame %d: %w", f.Seq, err)
	}
	first := v.Frames == 0
	switch {
	case first && f.Seq == 0 && v.Device.Epoch == 0 && !f.Prev.IsZero():
		return errors.New("the first frame of all names one before it")
	case first:
		v.First = f.Seq
	case f.Seq <= v.Last:
		return fmt.Errorf("frame %d comes after frame %d", f.Seq, v.Last)
	case f.Seq > v.Last+1:
		v.Missing = append(v.Missing, [2]uint64{v.Last + 1, f.Seq - 1})
		clear(v.traces) // how they stand now, nobody knows
	case f.Prev != v.prev:
		return fmt.Errorf("frame %d does not follow frame %d: it names %.8s… as the one before, which is %.8s…", f.Seq, v.Last, f.Prev, v.prev)
	}
	v.Frames, v.Last, v.prev, v.after = v.Frames+1, f.Seq, d.Statement.ID(), f.After
	switch {
	case f.Clock.Quality == statement.ClockUnset:
		v.Unset++
	case v.T1 == 0:
		v.T0, v.T1 = f.Span[0], f.Span[1]
	default: // a clock may go back
		v.T0, v.T1 = min(v.T0, f.Span[0]), max(v.T1, f.Span[1])
	}
	if !f.Plan.IsZero() && !v.plans[f.Plan] {
		v.Unknown++
	}
	if err := v.records(d, first); err != nil {
		return fmt.Errorf("frame %d: %w", f.Seq, err)
	}
	return nil
}

// records counts the records and follows the traces. The k'th head is that of the
// k'th block: ParseUp has seen to that.
func (v *verifier) records(d *statement.Delivery, first bool) error {
	var blocks []int
	k := 0
	for i, c := range d.Contents {
		switch c := c.(type) {
		case *statement.Block:
			v.Blocks++
			v.Readings += uint64(len(c.Values))
			blocks = append(blocks, i)
		case *statement.HeadRecord:
			at := blocks[k]
			k++
			if err := v.extend(d.Contents[at].(*statement.Block), d.Records[at], c, first); err != nil {
				return fmt.Errorf("channel %s: %w", c.Channel, err)
			}
		case *statement.Sighting:
			v.Sightings++
		case *statement.Happening:
			v.Happenings++
			switch {
			case c.Type == statement.Fault:
				v.Faults += max(1, c.Count)
			case c.Type == statement.Gap && c.Seqs != nil:
				v.Lost += c.Seqs[1] - c.Seqs[0] + 1
			}
		}
	}
	if first { // channels that were silent in the first frame
		for _, t := range v.headed {
			if v.traces[t.Start.Channel] == nil {
				v.traces[t.Start.Channel] = v.trace(t.Start, t.Frontier)
			}
		}
	}
	return nil
}

func (v *verifier) trace(s trace.Start, f trace.Frontier) *running {
	r := &running{start: s, frontier: f}
	if s.Plan.IsZero() {
		r.spec, r.known = trace.Spec{Nominal: 60_000}, true
	} else if e, ok := v.entries[s.Plan]; ok {
		r.spec, r.known = e.Spec(), true
	}
	return r
}

// extend checks that the signed head is the trace before and this block. In the
// first frame the trace before is not in the file: the file says how it stands
// after the block, and the signed head whether that is so.
func (v *verifier) extend(b *statement.Block, record []byte, h *statement.HeadRecord, first bool) error {
	t := v.traces[b.Channel]
	switch {
	case h.Start != nil:
		if t != nil {
			if err := v.succeeds(t, h.Start); err != nil {
				return err
			}
		}
		t = v.trace(*h.Start, trace.Frontier{Start: h.Start.Hash()})
	case first:
		for _, c := range v.headed {
			if c.Start.Channel != b.Channel {
				continue
			}
			got, err := c.Frontier.Head()
			if err != nil {
				return err
			}
			if !got.Equal(h.Head) {
				return errors.New("the first item of the file does not agree with the signed head")
			}
			v.traces[b.Channel] = v.trace(c.Start, c.Frontier)
			return nil
		}
		v.Unfollowed++
		return nil
	}
	if t == nil || !t.known {
		v.Unfollowed++
		delete(v.traces, b.Channel)
		return nil
	}
	prev := int64(-1)
	if t.frontier.Size > 0 {
		head, err := t.frontier.Head()
		if err != nil {
			return err
		}
		prev = head.Digest.T1
	}
	if (b.Prev == nil) != (prev < 0) || b.Prev != nil && *b.Prev != prev {
		return errors.New("the block does not follow the trace's last reading")
	}
	digest, err := t.spec.Leaf(prev, b.Times(), b.Values)
	if err != nil {
		return err
	}
	next, _, err := t.frontier.Append(sha256.Sum256(record), digest)
	if err != nil {
		return err
	}
	got, err := next.Head()
	if err != nil {
		return err
	}
	if !got.Equal(h.Head) {
		return fmt.Errorf("the signed head of size %d is not the trace of size %d and this block", h.Head.Size, t.frontier.Size)
	}
	t.frontier = next
	v.traces[b.Channel] = t
	return nil
}

// succeeds checks that a new trace names the one before it.
func (v *verifier) succeeds(last *running, s *trace.Start) error {
	if last.frontier.Size == 0 {
		return nil
	}
	h, err := last.frontier.Head()
	if err != nil {
		return err
	}
	if s.PrevStart != h.Start || s.PrevSize != h.Size || s.PrevRoot != h.Root {
		return fmt.Errorf("the new trace names one of size %d before it, the file has one of size %d", s.PrevSize, h.Size)
	}
	return nil
}

// checkpoint is what the newest frame names, in plain words.
func (v *verifier) checkpoint(raw []byte) error {
	v.ended = true
	var c statement.CardCheckpoint
	if err := dcbor.Unmarshal(raw, &c); err != nil {
		return err
	}
	a := v.after
	if a == nil || a.Origin != statement.Hash(sha256.Sum256([]byte(c.Origin))) || a.Size != c.Size || a.Root != c.Root {
		return errors.New("the checkpoint is not the one that the newest frame names")
	}
	pinned := false
	for _, l := range v.trust.Logs {
		pinned = pinned || l.Origin == c.Origin
	}
	if !pinned {
		return fmt.Errorf("the device's ledger %s is not one of the trust file's", strconv.Quote(c.Origin))
	}
	v.Origin, v.Size, v.Root = c.Origin, c.Size, c.Root
	return nil
}

func (v *verifier) end() error {
	if v.Device == nil {
		return errors.New("the file does not say whose card it is")
	}
	return nil
}
