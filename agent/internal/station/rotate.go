package station

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"trailmark/agent/internal/outbox"
	"trailmark/internal/device"
	"trailmark/statement"
)

// A device changes its key at the seam of two epochs, and both keys sign the seam:
// the last frame of the old epoch names the new key, and the first one of the
// new epoch names that frame, once it is in the ledger. The steps of whoever
// owns the keys, each of which may be repeated after a crash:
//
//  1. make the new key, and keep it;
//  2. have the authority vouch for it: whoever says no says so before anything is
//     signed;
//  3. HandOver: from here on the old key signs nothing any more;
//  4. get the identity of the new key, which says that it replaces the old one,
//     and an outbox of its own; only then Parts.Ready;
//  5. Run ends with ErrHandedOver: the ledger has the hand-over;
//  6. keep the identity as the enrolment: the step that cannot be taken back;
//  7. New with the new key, its outbox and the old one's Opening.
//
// After a crash before 6 the old epoch is opened again: what its newest frame
// says decides whether that epoch goes on. After 6 it is never opened but for
// its Opening.

// ErrHandedOver says that the epoch is over: the frame that hands over to the next
// key is in the ledger.
var ErrHandedOver = errors.New("the epoch is handed over to the next key")

// ErrNotNow says that a hand-over has to wait: it begins when the ledger keeps up
// with the device, so that it takes seconds. What is observed meanwhile is in
// memory only.
var ErrNotNow = errors.New("the ledger does not keep up with this device")

// A ledger keeps up that has all but so many frames, and took one so recently.
const (
	Behind   = 16
	recently = 10 * time.Second
)

func (s *Station) keptUp() bool {
	w := &s.window
	behind := s.st.Next - w.low
	return w.online && (behind == 0 || behind <= Behind && time.Since(w.heard) < recently)
}

// HandOver makes the next frame the last of this epoch; it names next, the id of
// the key that the next epoch is opened with. When it returns nil the frame is
// made or about to be, and Run ends with ErrHandedOver once its receipt is verified;
// what is observed meanwhile is kept in memory for Parts.Before. On an error
// nothing has changed. It may be called from any goroutine while Run runs.
func (s *Station) HandOver(ctx context.Context, next statement.Hash) error {
	done := make(chan error, 1)
	if !s.post(ctx, func() { done <- s.handOver(next) }) {
		return ctx.Err()
	}
	return <-done
}

func (s *Station) handOver(next statement.Hash) error {
	given := s.st.Successor
	if u := s.unsaved; given.IsZero() && u != nil {
		given = u.next.Successor
	}
	switch {
	case given == next && !next.IsZero():
		return nil
	case next.IsZero() || next == s.c.Key:
		return fmt.Errorf("handing over to key %.8s…: it is none, or our own", next)
	case !given.IsZero():
		return fmt.Errorf("epoch %d is handed over to key %.8s… already", s.st.Epoch, given)
	case s.st.Alarm:
		return errors.New("someone else signs with our key, so a hand-over by it proves nothing\nhint: keep the data folder as evidence, and start with an empty one and a new claim code")
	case !s.keptUp() || s.unsaved != nil:
		return fmt.Errorf("handing over to key %.8s…: %w", next, ErrNotNow)
	}
	s.handing = next
	s.log.Info("last frame of this epoch", slog.Uint64("epoch", s.st.Epoch), slog.Uint64("seq", s.st.Next), slog.String("next_key", next.String()))
	return nil
}

// handedOver reports that the last frame of the epoch has its receipt. One that
// the card lost has none, however it is counted.
func (s *Station) handedOver() bool {
	return !s.st.Successor.IsZero() && s.window.low >= s.st.Next && !s.window.damaged(s.st.Next-1)
}

// Opening is the state in which key opens the next epoch, read from the outbox of
// the one before: see HandOver.
func Opening(before *outbox.Log, key statement.Hash) (*device.State, error) {
	seq, data, ok := before.Last()
	if !ok {
		return nil, errors.New("the outbox of the epoch before holds no frame")
	}
	r, err := device.ParseRecord(data)
	if err != nil {
		return nil, fmt.Errorf("frame %d: %w", seq, err)
	}
	st, err := r.Opening(key)
	if err != nil {
		return nil, fmt.Errorf("frame %d: %w", seq, err)
	}
	return &st, nil
}

// begin is the state before the first frame of an epoch.
func (s *Station) begin() error {
	if s.c.Epoch == 0 {
		s.st = device.NewState(0, statement.Hash{})
		return nil
	}
	if s.p.Opening == nil || s.p.Opening.Epoch != s.c.Epoch {
		return fmt.Errorf("epoch %d begins with the last frame of the one before, which is not here\n"+
			"hint: the outbox of epoch %d belongs into the data folder; without it start with an empty one and a new claim code", s.c.Epoch, s.c.Epoch-1)
	}
	s.st = *s.p.Opening
	return nil
}

// inherit takes over what the station before observed and could not sign. It was
// in memory alone: it is sealed at once.
func (s *Station) inherit(b *Station) {
	s.pending, s.dropped, s.gone, s.near = b.pending, b.dropped, b.gone, b.near
	s.alarms, s.raised, s.urgent = b.alarms, b.raised, true
	s.stays, s.passages = b.stays, b.passages
	for _, a := range s.alarms {
		s.setPace(a.Channel)
	}
}
