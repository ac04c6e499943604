package alarm

import (
	"trailmark/gateway/internal/store"
	"trailmark/statement"
	"trailmark/trace"
)

// A machine follows one condition of one subject. It is what is stored between two
// statements.
type machine struct {
	Rule   statement.Hash `json:"rule"`
	On     bool           `json:"on,omitempty"`
	Start  int64          `json:"start,omitempty"` // of the run, or of what is counted
	Last   int64          `json:"last,omitempty"`  // until when it was on
	Calm   int64          `json:"calm,omitempty"`  // since when it has been off, with an alarm open
	Sum    int64          `json:"sum,omitempty"`   // of a cumulative count, ms
	Day    int64          `json:"day,omitempty"`
	Peak   *int64         `json:"peak,omitempty"`
	PeakAt int64          `json:"peak_at,omitempty"`
	Alarm  string         `json:"alarm,omitempty"` // that is open
	Muted  bool           `json:"muted,omitempty"` // somebody closed it, and it goes on
	Points [][2]int64     `json:"points,omitempty"`
}

// maxPoints bounds what a rate of rise remembers: ascending minima only, so a
// steady rise read every second fills it within this many seconds.
const maxPoints = 4096

// idle reports that nothing needs to be kept.
func (m *machine) idle() bool { return !m.On && m.Alarm == "" && !m.Muted && len(m.Points) == 0 }

// shift moves what is remembered by a step of the device's clock.
func (m *machine) shift(step int64) {
	for _, t := range []*int64{&m.Start, &m.Last, &m.Calm} {
		if *t != 0 {
			*t = max(1, *t+step)
		}
	}
	for i := range m.Points {
		m.Points[i][0] += step
	}
}

// release forgets an alarm that was ended from outside.
func (m *machine) release(id string, restart bool) {
	if m.Alarm != id {
		return
	}
	if restart {
		*m = machine{Rule: m.Rule}
		return
	}
	m.Alarm, m.Muted = "", true
}

// about is what an alarm of a machine would be about.
type about struct {
	device, channel, other, zone, unit string
	limit                              *trace.Limit // of single-event and cumulative rules
	basis                              int
	index                              uint64 // statement
	kids                               []statement.Hash
}

// key tells the machines of one device apart.
func (a about) key(r *Rule) string {
	k := r.ID + "\n" + a.channel
	if a.limit != nil {
		k += "\n" + passportLimit(*a.limit)
	}
	return k
}

func passportLimit(l trace.Limit) string {
	sign := "≥"
	if l.Comparison == trace.AtOrBelow {
		sign = "≤"
	}
	b, _ := Milli(l.Value).MarshalJSON() // it cannot fail
	return sign + string(b)
}

// hold tells a machine that its condition was on or off through (from, to], with
// the value that it was judged by, if there is one.
func (j *judge) hold(r *Rule, m *machine, a about, from, to int64, on bool, value *int64) error {
	if r.Kind == Cumulative {
		return j.count(r, m, a, from, to, on, value)
	}
	if on {
		if !m.On {
			m.On, m.Start, m.Peak = true, from, nil
		}
		m.Last, m.Calm = max(to, m.Last), 0
		m.peak(a, value, to)
		return j.reach(r, m, a, m.Last-m.Start, m.Start+int64(r.For))
	}
	if !m.On {
		m.Muted = false
		return nil
	}
	if m.Calm == 0 {
		m.Calm = max(1, from)
	}
	if m.Alarm != "" && to-m.Calm < int64(r.Clear) {
		return nil
	}
	return j.finish(m, m.Last, BackInRange)
}

// count is hold of a rule whose time adds up.
func (j *judge) count(r *Rule, m *machine, a about, from, to int64, on bool, value *int64) error {
	for r.EachDay {
		// A reading at midnight itself still belongs to the day before.
		today := (to - 1 + int64(r.UTCOffset)) / day
		began := (max(from, 0) + int64(r.UTCOffset)) / day
		if m.On && m.Day < began {
			if err := j.finish(m, (m.Day+1)*day-int64(r.UTCOffset), DayOver); err != nil {
				return err
			}
		}
		if began >= today {
			if !m.On {
				m.Day = today
			}
			break
		}
		midnight := (began+1)*day - int64(r.UTCOffset)
		if !m.On {
			m.Day = began
		}
		if err := j.add(r, m, a, from, midnight, on, value); err != nil {
			return err
		}
		from = midnight
	}
	return j.add(r, m, a, from, to, on, value)
}

func (j *judge) add(r *Rule, m *machine, a about, from, to int64, on bool, value *int64) error {
	if !on {
		return nil
	}
	if !m.On {
		m.On, m.Start = true, from
	}
	m.Sum += to - from
	m.Last = to
	m.peak(a, value, to)
	return j.reach(r, m, a, m.Sum, to-(m.Sum-int64(r.For)))
}

// peak keeps the value furthest beyond.
func (m *machine) peak(a about, value *int64, at int64) {
	if value == nil {
		return
	}
	v := *value
	further := m.Peak == nil || v > *m.Peak
	if m.Peak != nil && a.limit != nil && a.limit.Comparison == trace.AtOrBelow {
		further = v < *m.Peak
	}
	if further {
		m.Peak, m.PeakAt = &v, at
	}
}

// reach raises an alarm when it has lasted long enough, and keeps an open one
// current.
func (j *judge) reach(r *Rule, m *machine, a about, measured, trigger int64) error {
	if m.Alarm != "" {
		open, err := j.alarm(m.Alarm)
		if err != nil {
			return err
		}
		if open.Measured != measured || open.PeakAt != m.PeakAt {
			open.Measured, open.Peak, open.PeakAt = measured, m.Peak, m.PeakAt
			j.touch(open.ID)
		}
		return nil
	}
	if m.Muted || measured < int64(r.For) {
		return nil
	}
	return j.raise(r, m, a, store.Alarm{Start: m.Start, Triggered: trigger, Measured: measured, Peak: m.Peak, PeakAt: m.PeakAt})
}

// finish ends a machine's run, and its alarm if one is open.
func (j *judge) finish(m *machine, at int64, reason string) error {
	id := m.Alarm
	*m = machine{Rule: m.Rule}
	if id == "" {
		return nil
	}
	return j.end(id, at, reason)
}
