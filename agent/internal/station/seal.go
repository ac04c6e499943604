package station

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"trailmark/agent/internal/clock"
	"trailmark/internal/device"
	"trailmark/statement"
	"trailmark/trace"
)

// seal makes one frame of what is pending and puts it on the card. A frame that
// the card does not take stays as it was signed and is offered again; until then
// no other is sealed. An error is fatal.
func (s *Station) seal(ctx context.Context) error {
	if s.unsaved != nil {
		if err := s.save(ctx); err != nil || s.unsaved != nil {
			return err
		}
	}
	if !s.st.Successor.IsZero() {
		return nil // what is observed now is for the next epoch to sign
	}
	now := s.p.Clock.Now()
	c := wireClock(now)
	ms := func(boot int64) int64 { return c.Wall + boot/1e6 - c.Boottime/1e6 }
	if c.Quality == statement.ClockUnset {
		ms = func(boot int64) int64 { return boot / 1e6 }
	}
	if s.dropped > 0 {
		s.pending.happen(now.Boottime, statement.Happening{Type: statement.Gap, Count: min(s.dropped, 1<<32-1), Words: "no room to keep them, observations dropped"})
	}
	restart := s.restart
	if words := s.stepped(now, c, ms); words != "" {
		restart = true
		s.pending.happen(now.Boottime, statement.Happening{Type: statement.ClockStep, Words: words})
		s.log.Warn("clock stepped", slog.String("how", words))
	}
	in := s.pending.input(ms)
	in.Clock, in.Restart, in.Successor = c, restart, s.handing
	if s.plan != nil {
		in.Plan = s.plan.ID
		in.Entries = func(channel string) *statement.Channel { return s.plan.Entry(s.c.Key, channel) }
	}
	s.st.Alarms = s.inForce()
	st := s.st
	if s.pending.declares {
		st.Declared = st.Next
	}
	sealed, err := s.p.Sealer.Seal(st, in)
	if err != nil {
		return fmt.Errorf("sealing: %w", err)
	}
	record, err := sealed.Record()
	if err != nil {
		return fmt.Errorf("sealing frame %d: %w", s.st.Next, err)
	}
	s.unsaved = &unsaved{seq: s.st.Next, record: record, next: sealed.Next}
	s.pending.reset()
	s.handing = statement.Hash{}
	s.restart, s.urgent, s.dropped, s.sealed, s.changed = false, false, 0, time.Now(), true
	return s.save(ctx)
}

// stepped says how the clock's relation to the time since boot changed since the
// last frame, "" if it did not: by more than a second, or so that a trace would
// run backwards.
func (s *Station) stepped(now clock.Reading, c statement.Clock, ms func(int64) int64) string {
	if s.st.Next == 0 && s.st.Epoch == 0 {
		return ""
	}
	if by, ok := clock.Stepped(clockReading(s.st.Clock), now); ok {
		return fmt.Sprintf("by %+.3f s", by.Seconds())
	}
	for name, r := range s.pending.readings {
		t, ok := s.st.Channel(name)
		sameBase := t.Start.Basis == trace.Wall && c.Quality != statement.ClockUnset ||
			t.Start.Basis == trace.Boot && c.Quality == statement.ClockUnset && t.Start.Boot == c.BootID
		if ok && !t.Ended && sameBase && ms(r.times[0]) <= t.Last {
			return fmt.Sprintf("back: %s read at %d ms, its trace reaches %d ms", name, ms(r.times[0]), t.Last)
		}
	}
	return ""
}

// save offers the sealed frame to the card and, once it is there, sends it.
func (s *Station) save(ctx context.Context) error {
	u := s.unsaved
	if err := s.p.Outbox.Append(u.seq, u.record); err != nil {
		if fatal(err) {
			return fmt.Errorf("keeping frame %d: %w", u.seq, err)
		}
		if !u.told { // it is offered again every second
			u.told = true
			s.log.Error("card does not take the frame, it is kept in memory", slog.Uint64("seq", u.seq), slog.Any("err", err))
		}
		return nil
	}
	if u.told {
		s.log.Info("card takes frames again", slog.Uint64("seq", u.seq))
	}
	// What was learned since sealing stays; the chain and the traces go on.
	s.st.Next, s.st.Prev, s.st.Clock, s.st.Channels, s.st.Declared = u.next.Next, u.next.Prev, u.next.Clock, u.next.Channels, u.next.Declared
	s.st.Successor = u.next.Successor
	s.unsaved, s.changed = nil, true
	s.log.Debug("frame kept", slog.Uint64("seq", u.seq), slog.Int("bytes", len(u.record)))
	s.pump(ctx)
	return nil
}

// wireClock is a clock reading as a frame says it: no wall time when it is unset.
func wireClock(r clock.Reading) statement.Clock {
	c := statement.Clock{BootID: r.BootID, BootCount: min(r.BootCount, 1<<32-1), Boottime: max(r.Boottime, 0),
		Wall: r.Wall, Quality: statement.Quality(r.Quality), MaxError: min(r.MaxErrorMS, 1<<32-1)}
	if r.Quality == clock.Unset {
		c.Wall = 0
	}
	return c
}

func clockReading(c statement.Clock) clock.Reading {
	return clock.Reading{BootID: c.BootID, BootCount: c.BootCount, Boottime: c.Boottime, Wall: c.Wall,
		Quality: clock.Quality(c.Quality), MaxErrorMS: c.MaxError}
}

// choosePlan takes the newest of the plans at hand that is not older than the
// one that was in force.
func (s *Station) choosePlan() {
	var newest *device.Plan
	for _, p := range s.p.Plans {
		if (p.ID == s.st.Plan || s.newer(p)) && (newest == nil || p.Seq > newest.Seq) {
			newest = p
		}
	}
	if newest != nil {
		s.adopt(newest)
	}
	if s.plan == nil && !s.st.Plan.IsZero() {
		s.log.Error("the plan in force is not on the card any more, frames carry none until the gateway sends one",
			slog.String("plan", s.st.Plan.String()))
	}
}

func (s *Station) newer(p *device.Plan) bool { return s.st.Plan.IsZero() || p.Seq > s.st.PlanSeq }

// adopt puts a plan in force from the next frame on.
func (s *Station) adopt(p *device.Plan) {
	s.plan, s.st.Plan, s.st.PlanSeq, s.changed = p, p.ID, p.Seq, true
	s.log.Info("plan in force from the next frame", slog.Uint64("plan_seq", p.Seq), slog.String("plan", p.ID.String()))
	s.replanned()
	s.missing()
}

// missing tells of channels that the plan expects and nobody found at the start.
func (s *Station) missing() {
	found := map[string]bool{}
	for _, p := range s.p.Probes {
		found[p.Channel()] = true
	}
	for _, z := range s.plan.Zones {
		for _, c := range z.Channels {
			if c.Device == s.c.Key && !found[c.Name] {
				s.presence(s.p.Clock.Now().Boottime, c.Name, false, "not found at the start")
			}
		}
	}
}
