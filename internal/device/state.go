package device

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

// MaxState bounds an encoded State, in bytes.
const MaxState = 512 << 10

// A State is all that a device must remember to sign its next frame. It is a
// value: nothing that it points to is ever changed.
type State struct {
	_         struct{} `cbor:",toarray"`
	Version   uint64   // 2
	Epoch     uint64
	Next      uint64          // seq of the next frame
	Prev      statement.Hash  // id of the last one; zeros before the first
	Clock     statement.Clock // of the last one, to tell a step or a boot since
	Channels  []Channel       // by name
	Checked   Checkpoint      // the newest verified; Size 0: none yet
	Final     Block           // the newest told; ChainID "": none yet
	Plan      statement.Hash  // statement id of the newest plan taken; zeros: none yet
	PlanSeq   uint64
	Receipted uint64         // frames below are in the ledger, as far as was known
	Declared  uint64         // seq of the newest frame that declares others lost; Next or more: none
	Alarm     bool           // someone else signed under one of our seqs: nothing is let go
	Alarms    []Alarm        // in force, by channel and limit
	Successor statement.Hash // key that the last frame of this epoch handed over to; zeros: the epoch goes on
}

// NewState opens an epoch. Its first frame has seq 0 and names prev: zeros, or
// the last statement of the epoch before that is in the ledger.
func NewState(epoch uint64, prev statement.Hash) State {
	return State{Version: 2, Epoch: epoch, Prev: prev, Declared: statement.MaxUint}
}

// Opening is the state in which the device of key opens the next epoch, from the
// last record that it kept of this one. That record's frame hands over to key and
// must be in the ledger; only whoever verified its receipt knows. The first frame
// will name that one, and each of its traces the trace before; what was known of
// time, plan and alarms goes on.
func (r Record) Opening(key statement.Hash) (State, error) {
	s, err := ParseState(r.State)
	if err != nil {
		return State{}, err
	}
	stmt, err := r.Statement()
	if err != nil {
		return State{}, err
	}
	if s.Successor.IsZero() || s.Successor != key || s.Prev != stmt.ID() {
		return State{}, fmt.Errorf("epoch %d is not handed over to key %.8s…", s.Epoch, key)
	}
	s.Epoch, s.Next, s.Receipted, s.Declared = s.Epoch+1, 0, 0, statement.MaxUint
	s.Alarm, s.Successor = false, statement.Hash{}
	return s, nil
}

// A Channel is where one channel's trace stands.
type Channel struct {
	_        struct{} `cbor:",toarray"`
	Start    trace.Start
	Frontier trace.Frontier
	Last     int64 // time of the last reading, in the trace's time base
	Ended    bool  // the next block opens a new trace
}

// An Alarm is a channel's state from its first reading at or beyond a limit until
// a frame has said why that ended. The limit is kept as it was then: a plan
// that comes later does not change what the alarm was about.
type Alarm struct {
	_        struct{} `cbor:",toarray"`
	Channel  string
	Index    uint64 // of the limit in the plan's entry
	Limit    trace.Limit
	Readings uint64 // at or beyond the limit so far
	Furthest int64  // of them, thousandths of the unit
}

func (a Alarm) check() error {
	if l := len(a.Channel); l == 0 || l > 64 || a.Index >= trace.MaxLimits || a.Limit.Comparison != trace.AtOrAbove && a.Limit.Comparison != trace.AtOrBelow ||
		a.Readings == 0 || !a.Limit.Beyond(a.Furthest) {
		return fmt.Errorf("device state: alarm of channel %q out of bounds", a.Channel)
	}
	return nil
}

// Compare is the order of alarms in a State.
func (a Alarm) Compare(b Alarm) int {
	return cmp.Or(strings.Compare(a.Channel, b.Channel), cmp.Compare(a.Index, b.Index))
}

// A Checkpoint is a ledger head that the device has verified.
type Checkpoint struct {
	_      struct{}       `cbor:",toarray"`
	Origin statement.Hash // SHA-256 of the origin line
	Size   uint64
	Root   statement.Hash
}

// A Block is a final block of a chain that holds an anchor of our ledger.
type Block struct {
	_       struct{} `cbor:",toarray"`
	ChainID string
	Height  uint64
	Hash    statement.Hash
}

// Encode is the deterministic form that ParseState reads.
func (s State) Encode() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	b, err := dcbor.Marshal(s)
	if err == nil && len(b) > MaxState {
		err = fmt.Errorf("device state of %d bytes is over the limit of %d", len(b), MaxState)
	}
	return b, err
}

// ParseState decodes a state and refuses one that no device could be in.
func ParseState(data []byte) (State, error) {
	var s State
	if err := dcbor.UnmarshalMax(data, &s, MaxState); err != nil {
		return State{}, fmt.Errorf("device state: %w", err)
	}
	return s, s.check()
}

func (s State) check() error {
	if s.Version != 2 {
		return fmt.Errorf("device state of version %d, want 2", s.Version)
	}
	if s.Epoch > statement.MaxUint || s.Next > statement.MaxUint || s.Receipted > s.Next || s.PlanSeq > statement.MaxUint ||
		s.Declared > statement.MaxUint {
		return errors.New("device state out of bounds")
	}
	if after := s.after(); after != nil {
		if err := after.Check(); err != nil {
			return fmt.Errorf("device state: %w", err)
		}
	} else if s.Checked != (Checkpoint{}) || s.Final != (Block{}) {
		return errors.New("device state knows a block, but no checkpoint")
	}
	for i, a := range s.Alarms {
		if err := a.check(); err != nil {
			return err
		}
		if i > 0 && s.Alarms[i-1].Compare(a) >= 0 {
			return fmt.Errorf("device state: alarm of channel %q is not in order", a.Channel)
		}
	}
	for i, c := range s.Channels {
		if i > 0 && s.Channels[i-1].Start.Channel >= c.Start.Channel {
			return fmt.Errorf("device state: channel %q is not in order", c.Start.Channel)
		}
		if err := errors.Join(c.Start.Check(), c.Frontier.Check()); err != nil {
			return fmt.Errorf("device state: channel %q: %w", c.Start.Channel, err)
		}
		head, err := c.Frontier.Head()
		if err == nil {
			err = head.Check()
		}
		if err != nil {
			return fmt.Errorf("device state: channel %q: %w", c.Start.Channel, err)
		}
		if c.Frontier.Start != c.Start.Hash() || c.Last != head.Digest.T1 {
			return fmt.Errorf("device state: channel %q: trace and start do not go together", c.Start.Channel)
		}
	}
	return nil
}

// after is what the next frame says of time before it; nil: nothing known.
func (s State) after() *statement.After {
	if s.Checked.Size == 0 {
		return nil
	}
	return &statement.After{Origin: s.Checked.Origin, Size: s.Checked.Size, Root: s.Checked.Root,
		ChainID: s.Final.ChainID, Height: s.Final.Height, BlockHash: s.Final.Hash}
}

// Channel is where the trace of a channel stands.
func (s State) Channel(name string) (Channel, bool) {
	for _, c := range s.Channels {
		if c.Start.Channel == name {
			return c, true
		}
	}
	return Channel{}, false
}
