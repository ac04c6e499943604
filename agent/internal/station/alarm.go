package station

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"trailmark/agent/internal/panel"
	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/statement"
	"trailmark/trace"
)

// How a channel in alarm is watched. GSP, appendix 3, asks for a record every 2
// minutes and news every minute while a temperature is out of range.
const (
	alarmEvery = 10 * time.Second // between two readings, or Every where that is shorter
	alarmSeal  = time.Minute      // between two frames, or SealEvery where that is shorter
	alarmCalm  = 2 * time.Minute  // in range, or without any measurement, for so long ends it
)

// alarm is one limit of one channel from the first reading at or beyond it on.
// The limit is the signed plan's; nothing on the device can move it. What a
// frame tells of an alarm and the state that holds it are kept by one write, so
// an alarm that was told survives a restart, and one that was not begins again.
type alarm struct {
	device.Alarm
	beyond   int64 // time of the newest reading at or beyond the limit, ns since boot
	measured int64 // of the newest reading
}

// resume takes up the alarms that were in force when the newest frame was sealed.
// Whether these channels are still measured has to show.
func (s *Station) resume(now int64) {
	for _, a := range s.st.Alarms {
		s.alarms = append(s.alarms, &alarm{a, now, now})
		s.setPace(a.Channel)
	}
}

// inForce is the alarms as a state keeps them.
func (s *Station) inForce() []device.Alarm {
	var out []device.Alarm
	for _, a := range s.alarms {
		out = append(out, a.Alarm)
	}
	slices.SortFunc(out, device.Alarm.Compare)
	return out
}

// judge holds a measurement against the limits of the plan in force, and against
// those of the alarms in force.
func (s *Station) judge(at int64, channel string, milli int64) {
	for _, a := range slices.Clone(s.alarms) {
		if a.Channel != channel {
			continue
		}
		a.measured = at
		switch {
		case a.Limit.Beyond(milli):
			a.beyond, a.Readings = at, min(a.Readings+1, 1<<32-1)
			if further(a.Limit, milli, a.Furthest) {
				a.Furthest = milli
			}
		case at-a.beyond >= alarmCalm.Nanoseconds():
			s.endAlarm(at, a, statement.EndInRange, "back in range")
		}
	}
	e := s.plan.Entry(s.c.Key, channel)
	if e == nil {
		return
	}
	for i, l := range e.Limits {
		if l.Beyond(milli) && !s.inAlarm(channel, uint64(i)) {
			s.startAlarm(at, device.Alarm{Channel: channel, Index: uint64(i), Limit: l, Readings: 1, Furthest: milli}, e.Unit)
		}
	}
}

func further(l trace.Limit, a, b int64) bool {
	if l.Comparison == trace.AtOrBelow {
		return a < b
	}
	return a > b
}

func (s *Station) inAlarm(channel string, index uint64) bool {
	return slices.ContainsFunc(s.alarms, func(a *alarm) bool { return a.Channel == channel && a.Index == index })
}

func (s *Station) startAlarm(at int64, a device.Alarm, unit string) {
	s.alarms = append(s.alarms, &alarm{a, at, at})
	s.raised++
	side := "above"
	if a.Limit.Comparison == trace.AtOrBelow {
		side = "below"
	}
	s.tellAlarm(at, statement.AlarmStart, a, 0, fmt.Sprintf("%s %s is at or %s %s", decimal(a.Furthest), unit, side, decimal(a.Limit.Value)))
}

func (s *Station) endAlarm(at int64, a *alarm, why statement.AlarmEnded, words string) {
	s.alarms = slices.DeleteFunc(s.alarms, func(b *alarm) bool { return b == a })
	s.tellAlarm(at, statement.AlarmEnd, a.Alarm, why, words)
}

// tellAlarm puts a start or an end into a frame that is sealed at once.
func (s *Station) tellAlarm(at int64, typ statement.HappeningType, a device.Alarm, why statement.AlarmEnded, words string) {
	s.setPace(a.Channel)
	s.urgent, s.changed = true, true
	say, news := s.log.Error, "alarm"
	if typ == statement.AlarmEnd {
		say, news = s.log.Warn, "alarm ended"
	}
	say(news, slog.String("channel", a.Channel), slog.String("what", words), slog.String("furthest", decimal(a.Furthest)))
	if !s.room() {
		return
	}
	s.pending.happen(at, statement.Happening{Type: typ, Subject: a.Channel, Code: &a.Index, Count: a.Readings,
		Raw: dcbor.MustMarshal(statement.AlarmDetail{Limit: a.Limit, Value: a.Furthest, End: why}), Words: words})
}

// decimal writes thousandths as people do.
func decimal(milli int64) string {
	sign := ""
	if milli < 0 {
		sign, milli = "-", -milli
	}
	return fmt.Sprintf("%s%d.%03d", sign, milli/1000, milli%1000)
}

// unmeasured ends the alarms of channels that give no measurement any more: a
// breach that nobody watches must not seem to go on, nor to be over.
func (s *Station) unmeasured() {
	now := s.p.Clock.Now().Boottime
	for _, a := range slices.Clone(s.alarms) {
		if now-a.measured >= alarmCalm.Nanoseconds() {
			s.endAlarm(now, a, statement.EndLost, fmt.Sprintf("no measurement for %v", alarmCalm))
		}
	}
}

// replanned ends the alarms whose limit the plan in force does not have. A limit
// that it has instead is judged by the next reading.
func (s *Station) replanned() {
	now := s.p.Clock.Now().Boottime
	for _, a := range slices.Clone(s.alarms) {
		e := s.plan.Entry(s.c.Key, a.Channel)
		if e == nil || a.Index >= uint64(len(e.Limits)) || e.Limits[a.Index] != a.Limit {
			s.endAlarm(now, a, statement.EndPlan, "another plan is in force")
		}
	}
}

// setPace tells the goroutine that samples a channel how often to.
func (s *Station) setPace(channel string) {
	pace := s.pace[channel]
	if pace == nil {
		return // in the plan, but not found here
	}
	every := s.c.Every
	if slices.ContainsFunc(s.alarms, func(a *alarm) bool { return a.Channel == channel }) {
		every = min(every, alarmEvery)
	}
	select { // what was not heeded yet is out of date; nobody else sends
	case <-pace:
	default:
	}
	pace <- every
}

// sealDue reports that a frame must be sealed before its time, and can be.
func (s *Station) sealDue() bool {
	if s.unsaved != nil || !s.st.Successor.IsZero() {
		return false
	}
	return !s.handing.IsZero() || s.pending.full() || !s.pending.empty() &&
		(s.urgent || len(s.alarms) > 0 && time.Since(s.sealed) >= min(alarmSeal, s.c.SealEvery))
}

// showPanel tells the people at the device how it is.
func (s *Station) showPanel() {
	if s.p.Panel == nil {
		return
	}
	lost := false
	for _, gone := range s.gone {
		lost = lost || gone
	}
	w := &s.window
	s.p.Panel.Show(panel.Signal{
		Alarm:    len(s.alarms) > 0 || lost || s.st.Alarm,
		Raised:   s.raised,
		Receipts: w.online && (w.low >= s.st.Next || time.Since(w.progress) < w.first),
	})
}
