// Package device makes what a device signs: it seals readings, sightings and
// happenings into frames, and introduces a device to its gateway.
//
// Sealing is a function from a State and an Input to a signed frame and the next
// State. Whoever keeps the two together, in one write, can lose neither: what was
// signed and where the traces stand never disagree, and a frame that was kept is
// sent again, never signed again. Agents and simulated fleets share this
// package; docs/wire-format.md sections 3 to 5 are normative.
package device

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

// DefaultNominal is the nominal interval of a channel that no plan lists, in ms.
const DefaultNominal = 60_000

// A Sealer signs the frames of one device. It is safe for concurrent use.
type Sealer struct {
	Signer   *statement.Signer
	Issuer   string // the subject of the device's identity
	Audience string
}

// Input is what goes into one frame. Every time is in ms in the time base of
// Clock: Unix, or since boot where the clock is unset; none is later than Clock.
type Input struct {
	Clock      statement.Clock
	Readings   []ChannelReadings // one per channel, in any order
	Sightings  []*statement.Sighting
	Happenings []*statement.Happening
	Plan       statement.Hash                              // statement id of the plan in force; zeros: none
	Entries    func(channel string) (e *statement.Channel) // of that plan; nil: the channel is not in it
	// Restart ends every trace: the clock stepped, the device booted with a clock
	// that cannot be trusted, or the card lost frames.
	Restart bool
	// Successor is the key that this frame, the last of its epoch, hands over to;
	// zeros: the epoch goes on.
	Successor statement.Hash
}

// ChannelReadings are the readings of one channel: times strictly increase and
// follow the trace's last reading, values are thousandths of the SenML unit.
type ChannelReadings struct {
	Channel       string
	Times, Values []int64
	Raw           []byte // what the values do not give back: as many bytes for each, in their order; nil: nothing
}

// Sealed is a signed frame.
type Sealed struct {
	Statement *statement.Statement
	Up        []byte // the message that brings it to the gateway
	Next      State  // to seal the next one with
}

// Seal makes and signs the frame that follows st. It splits nothing: what does
// not fit in one message of 256 KiB is an error. st is left as it was.
func (s *Sealer) Seal(st State, in Input) (Sealed, error) {
	if !st.Successor.IsZero() {
		return Sealed{}, fmt.Errorf("epoch %d has no frame %d: it was handed over to key %.8s…", st.Epoch, st.Next, st.Successor)
	}
	b := builder{st: st, in: in, next: st}
	rand.Read(b.seed[:])
	b.next.Channels = slices.Clone(st.Channels)
	b.basis, b.now = trace.Wall, in.Clock.Wall
	if in.Clock.Quality == statement.ClockUnset {
		b.basis, b.now = trace.Boot, in.Clock.Boottime/1e6
	}
	b.span = [2]int64{b.now, b.now}
	if err := b.traces(); err != nil {
		return Sealed{}, err
	}
	if err := b.events(); err != nil {
		return Sealed{}, err
	}
	f := &statement.Frame{Version: 1, Seq: st.Next, Prev: st.Prev, Clock: in.Clock, Span: b.span,
		Root: statement.RecordsRoot(statement.Records(b.seed, b.bodies)), Count: uint64(len(b.bodies)),
		Plan: in.Plan, After: st.after()}
	if err := f.Check(); err != nil {
		return Sealed{}, fmt.Errorf("frame %d: %w", st.Next, err)
	}
	payload, err := dcbor.Marshal(f)
	if err != nil {
		return Sealed{}, err
	}
	stmt, err := s.Signer.Sign(statement.Header{Issuer: s.Issuer, Subject: strconv.FormatUint(st.Epoch, 10),
		Audience: s.Audience, Kind: statement.KindFrame}, payload)
	if err != nil {
		return Sealed{}, fmt.Errorf("frame %d: %w", st.Next, err)
	}
	up, err := statement.EncodeUp(stmt, b.seed, b.bodies)
	if err != nil {
		return Sealed{}, fmt.Errorf("frame %d of %d records: %w", st.Next, len(b.bodies), err)
	}
	if st.Next >= statement.MaxUint {
		return Sealed{}, errors.New("the epoch has no seq left")
	}
	n := b.next
	n.Next, n.Prev, n.Clock, n.Successor = st.Next+1, stmt.ID(), in.Clock, in.Successor
	return Sealed{Statement: stmt, Up: up, Next: n}, nil
}

// builder collects the records of one frame.
type builder struct {
	st, next State
	in       Input
	seed     [32]byte
	basis    uint8
	now      int64
	span     [2]int64
	bodies   []statement.Body
}

func (b *builder) add(v interface{ Check() error }) error {
	body, err := statement.NewBody(v)
	if err == nil {
		b.bodies = append(b.bodies, body)
	}
	return err
}

// cover widens the frame's span to a record's.
func (b *builder) cover(from, to int64) error {
	if to > b.now {
		return fmt.Errorf("time %d ms is after the frame's clock at %d ms", to, b.now)
	}
	b.span[0] = min(b.span[0], from)
	return nil
}

// traces makes the blocks, then the heads, of every channel with readings.
func (b *builder) traces() error {
	if b.in.Restart {
		for i := range b.next.Channels {
			b.next.Channels[i].Ended = true
		}
	}
	channels := slices.Clone(b.in.Readings)
	channels = slices.DeleteFunc(channels, func(c ChannelReadings) bool { return len(c.Times) == 0 && len(c.Values) == 0 })
	slices.SortFunc(channels, func(x, y ChannelReadings) int { return strings.Compare(x.Channel, y.Channel) })
	heads := make([]*statement.HeadRecord, len(channels))
	for i, c := range channels {
		if i > 0 && channels[i-1].Channel == c.Channel {
			return fmt.Errorf("readings of channel %s given twice", c.Channel)
		}
		var err error
		if heads[i], err = b.extend(c); err != nil {
			return fmt.Errorf("channel %s: %w", c.Channel, err)
		}
		if err := b.cover(c.Times[0], c.Times[len(c.Times)-1]); err != nil {
			return fmt.Errorf("channel %s: %w", c.Channel, err)
		}
	}
	for _, h := range heads {
		if err := b.add(h); err != nil {
			return fmt.Errorf("channel %s: %w", h.Channel, err)
		}
	}
	return nil
}

// extend adds the channel's block to its trace, or to a new one.
func (b *builder) extend(c ChannelReadings) (*statement.HeadRecord, error) {
	spec, plan := trace.Spec{Nominal: DefaultNominal}, statement.Hash{}
	if b.in.Entries != nil {
		if e := b.in.Entries(c.Channel); e != nil {
			spec, plan = e.Spec(), e.Hash()
		}
	}
	at, had := slices.BinarySearchFunc(b.next.Channels, c.Channel, func(t Channel, name string) int {
		return strings.Compare(t.Start.Channel, name)
	})
	var last Channel
	if had {
		last = b.next.Channels[at]
	}
	s := last.Start
	fresh := !had || last.Ended || s.Plan != plan || s.Basis != b.basis || s.Epoch != b.st.Epoch ||
		b.basis == trace.Boot && s.Boot != b.in.Clock.BootID
	var next Channel
	var body statement.Body
	var err error
	if !fresh {
		next, body, err = b.append(last, spec, c)
		// Years of large values fill the aggregates; the next trace begins at zero.
		fresh = errors.Is(err, trace.ErrOverflow)
	}
	if fresh {
		var start Channel
		if start, err = b.open(c.Channel, plan, last, had); err != nil {
			return nil, err
		}
		next, body, err = b.append(start, spec, c)
	}
	if err != nil {
		return nil, err
	}
	head, err := next.Frontier.Head()
	if err != nil {
		return nil, err
	}
	h := &statement.HeadRecord{Channel: c.Channel, Head: head}
	if fresh {
		h.Start = &next.Start
	}
	b.bodies = append(b.bodies, body)
	if had {
		b.next.Channels[at] = next
	} else {
		b.next.Channels = slices.Insert(b.next.Channels, at, next)
	}
	return h, nil
}

// open begins a trace that names the one before it, so that none can be dropped.
func (b *builder) open(channel string, plan statement.Hash, last Channel, had bool) (Channel, error) {
	s := trace.Start{Epoch: b.st.Epoch, Channel: channel, Plan: plan, Basis: b.basis, Boot: b.in.Clock.BootID}
	if had {
		head, err := last.Frontier.Head()
		if err != nil {
			return Channel{}, err
		}
		s.PrevStart, s.PrevSize, s.PrevRoot = head.Start, head.Size, head.Root
	}
	return Channel{Start: s, Frontier: trace.Frontier{Start: s.Hash()}}, nil
}

// append makes the block that goes next into the frame and into t.
func (b *builder) append(t Channel, spec trace.Spec, c ChannelReadings) (Channel, statement.Body, error) {
	prev := int64(-1)
	if t.Frontier.Size > 0 {
		prev = t.Last
	}
	block, err := statement.NewBlock(c.Channel, prev, c.Times, c.Values)
	if err != nil {
		return Channel{}, statement.Body{}, err
	}
	block.Raw = c.Raw
	body, err := statement.NewBody(block)
	if err != nil {
		return Channel{}, statement.Body{}, err
	}
	digest, err := spec.Leaf(prev, c.Times, c.Values)
	if err != nil {
		return Channel{}, statement.Body{}, err
	}
	record := statement.SaltedRecord(statement.Salt(b.seed, len(b.bodies)), body)
	t.Frontier, _, err = t.Frontier.Append(sha256.Sum256(record), digest)
	t.Last = c.Times[len(c.Times)-1]
	return t, body, err
}

// events makes the sightings, then the happenings.
func (b *builder) events() error {
	for _, s := range b.in.Sightings {
		if err := b.cover(s.First, s.Last); err != nil {
			return fmt.Errorf("sighting at %s: %w", s.Antenna, err)
		}
		if err := b.add(s); err != nil {
			return fmt.Errorf("sighting at %s: %w", s.Antenna, err)
		}
	}
	for _, h := range b.in.Happenings {
		to := h.At
		if h.Until != nil {
			to = *h.Until
		}
		if err := b.cover(h.At, to); err != nil {
			return fmt.Errorf("happening of type %d: %w", h.Type, err)
		}
		if err := b.add(h); err != nil {
			return fmt.Errorf("happening of type %d: %w", h.Type, err)
		}
	}
	if b.in.Successor.IsZero() {
		return nil
	}
	return b.add(&statement.Happening{Type: statement.KeyRotation, At: b.now, Raw: b.in.Successor[:], Words: "the next epoch is opened with this key"})
}
