package statement

import (
	"errors"
	"fmt"

	"trailmark/trace"
)

// CardMark begins a card file.
const CardMark = "trailmark-card"

// A CardHead is the first item of a card file: how the traces stood after the
// first frame in it. Nobody signed it; the heads in the frames show whether it is
// right.
type CardHead struct {
	_       struct{} `cbor:",toarray"`
	Mark    string   // CardMark
	Version uint64   // 1
	Traces  []CardTrace
}

// A CardTrace is where one channel's trace stood.
type CardTrace struct {
	_        struct{} `cbor:",toarray"`
	Start    trace.Start
	Frontier trace.Frontier
}

// Check refuses a head that no device writes.
func (h *CardHead) Check() error {
	if h.Mark != CardMark {
		return errors.New("not a card file")
	}
	if h.Version != 1 {
		return fmt.Errorf("card file of version %d, want 1", h.Version)
	}
	for _, t := range h.Traces {
		if err := errors.Join(t.Start.Check(), t.Frontier.Check()); err != nil {
			return err
		}
		if t.Start.Hash() != t.Frontier.Start {
			return fmt.Errorf("trace of %q is not the one that its start names", t.Start.Channel)
		}
	}
	return nil
}

// A CardCheckpoint is the last item of a card file, if the device has verified a
// checkpoint: it is the one that the newest frame names in after.
type CardCheckpoint struct {
	_      struct{} `cbor:",toarray"`
	Origin string
	Size   uint64
	Root   Hash
}
