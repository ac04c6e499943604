package station

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"trailmark/agent/internal/outbox"
	"trailmark/internal/device"
)

const (
	// inFlight and inFlightBytes bound what is sent and not receipted. Receipts
	// come with checkpoints, one a second or less, so the former is about the
	// frames a second in which a backlog flows; the latter is what the uplink may
	// hold in memory until the broker has it.
	inFlight      = 256
	inFlightBytes = 2 << 20
	// resendPause is how often a gateway may make us send again what we sent: it
	// asks once for every frame that waits behind a missing one.
	resendPause = 5 * time.Second
	maxStall    = 10 * time.Minute
)

// window is which frames are on their way: [low, sent) of the outbox.
type window struct {
	low, sent uint64
	got       map[uint64]bool // receipted, but one before is not
	size      map[uint64]int  // bytes of a frame sent and not receipted
	bytes     int             // sum of size
	lost      [][2]uint64     // from, to: damaged on the card
	online    bool
	progress  time.Time     // of the last receipt, or of the first frame sent since
	heard     time.Time     // when the last receipt came; zero: none yet
	first     time.Duration // patience, doubled at each stall
	patience  time.Duration
	resent    time.Time
}

func (w *window) start(low uint64, stall time.Duration) {
	*w = window{low: low, sent: low, got: map[uint64]bool{}, size: map[uint64]int{}, first: stall, patience: stall}
}

func (w *window) damaged(seq uint64) bool {
	return slices.ContainsFunc(w.lost, func(l [2]uint64) bool { return l[0] <= seq && seq < l[1] })
}

// receipted takes a verified receipt and moves low over what is settled.
func (w *window) receipted(seq uint64) {
	if seq < w.low {
		return
	}
	w.got[seq] = true
	w.landed(seq)
	for w.got[w.low] || w.damaged(w.low) {
		delete(w.got, w.low)
		w.low++
	}
	w.sent = max(w.sent, w.low)
	w.progress, w.patience = time.Now(), w.first
	w.heard = w.progress
}

// left counts a frame of so many bytes as under way, once.
func (w *window) left(seq uint64, bytes int) {
	w.bytes += bytes - w.size[seq]
	w.size[seq] = bytes
}

// landed takes a frame out of what is under way.
func (w *window) landed(seq uint64) {
	w.bytes -= w.size[seq]
	delete(w.size, seq)
}

// open reports whether another frame may be sent.
func (w *window) open() bool {
	return w.online && w.sent < w.low+inFlight && w.bytes < inFlightBytes
}

// rewind sends from seq again.
func (w *window) rewind(seq uint64) {
	if seq < w.low {
		w.low = seq
		clear(w.got)
	}
	for q := seq; q < w.sent; q++ {
		w.landed(q)
	}
	w.sent = min(w.sent, seq)
	w.progress = time.Now()
}

// connected starts over with whatever has no receipt.
func (s *Station) connected(ctx context.Context, up bool) {
	w := &s.window
	w.online, s.changed = up, true
	if !up {
		return
	}
	w.rewind(w.low)
	s.log.Info("connected", slog.Uint64("unreceipted_from", w.low), slog.Uint64("next", s.st.Next))
	// The gateway holds back what follows a lost frame until it has seen the frame
	// that declares the loss; that one may be far behind the window.
	if d := s.st.Declared; d >= w.low && d < s.st.Next {
		s.publish(ctx, d)
	}
	s.pump(ctx)
}

// pump sends what the window lets through.
func (s *Station) pump(ctx context.Context) {
	w := &s.window
	for w.sent < s.st.Next && w.open() {
		if w.low == w.sent {
			w.progress = time.Now()
		}
		if !w.got[w.sent] && !s.publish(ctx, w.sent) {
			return
		}
		w.sent++
	}
}

// publish queues one stored frame, bytes as they were signed. It is false when
// nothing more can be sent now.
func (s *Station) publish(ctx context.Context, seq uint64) bool {
	r, err := s.stored(seq)
	switch {
	case errors.Is(err, outbox.ErrDamaged):
		if !s.window.damaged(seq) && s.room() { // it went bad since the start
			s.lose(seq, seq+1, err.Error())
		}
		return true
	case errors.Is(err, outbox.ErrNotFound):
		return true // let go after its receipt
	case err != nil:
		s.log.Error("a frame on the card cannot be read", slog.Uint64("seq", seq), slog.Any("err", err))
		return false
	}
	if err := s.p.Uplink.Publish(ctx, r.Up); err != nil {
		s.log.Debug("frame not queued", slog.Uint64("seq", seq), slog.Any("err", err))
		return false
	}
	s.window.left(seq, len(r.Up))
	return true
}

func (s *Station) stored(seq uint64) (device.Record, error) {
	data, err := s.p.Outbox.Get(seq)
	if err != nil {
		return device.Record{}, err
	}
	return device.ParseRecord(data)
}

// mend makes the connection anew when frames went out and no receipt comes: a
// half-dead session looks like a working one from here.
func (s *Station) mend() {
	w := &s.window
	if !w.online || w.low >= w.sent || time.Since(w.progress) < w.patience {
		return
	}
	s.log.Warn("no receipts, connecting anew", slog.Duration("waited", w.patience), slog.Uint64("from", w.low), slog.Uint64("sent_below", w.sent))
	w.patience = min(2*w.patience, max(maxStall, w.first))
	w.online, s.changed = false, true
	s.p.Uplink.Reset()
}

// resend serves the gateway's wish for frames from seq on.
func (s *Station) resend(ctx context.Context, epoch, from uint64) {
	w := &s.window
	switch first := s.p.Outbox.First(); {
	case epoch != s.st.Epoch:
		s.refused("resend", errEpoch(epoch, s.st.Epoch))
		return
	case from > s.st.Next:
		s.refused("resend", errUnsigned(from, s.st.Next))
		return
	case from < first:
		s.log.Error("gateway asks for frames that its receipts let go of", slog.Uint64("from", from), slog.Uint64("first_kept", first))
		from = first
	}
	if from >= w.sent || time.Since(w.resent) < resendPause {
		return
	}
	w.resent = time.Now()
	w.rewind(from)
	s.pump(ctx)
}
