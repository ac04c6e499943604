package alarm

import (
	"slices"

	"trailmark/gateway/internal/store"
	"trailmark/statement"
	"trailmark/trace"
)

// frameJudge is one frame of one device.
type frameJudge struct {
	*judge
	d       *memory
	row     store.Statement
	frame   *statement.Frame
	subject string
	plan    *planned
	entries []entry
	zones   []string
	basis   int
	offset  int64 // from the frame's times to those of alarms
	end     int64 // of the frame
}

// item is something of a frame that has a time.
type item struct {
	at      int64
	happens *statement.Happening
	// or a reading, which covers (from, at].
	from    int64
	channel *entry // nil: no plan lists it
	name    string
	value   int64
}

// frame judges one frame: its readings and happenings in order of time, then what
// its end says of all that goes on.
func (j *judge) frame(row store.Statement) error {
	delivery, err := row.Delivery()
	if err != nil {
		j.e.damaged(row, err)
		return nil
	}
	s, f := delivery.Statement, delivery.Frame
	fj := &frameJudge{judge: j, row: row, frame: f, subject: s.Header.Issuer}
	if fj.d, err = j.device(fj.subject); err != nil {
		return err
	}
	d := fj.d
	d.dirty = true
	if !slices.Contains(d.Kids, s.Header.KeyID) {
		d.Kids = append(d.Kids, s.Header.KeyID)
	}
	if fj.plan, err = j.e.plan(j.tx, f.Plan, row.Index); err != nil {
		return err
	}
	fj.entries, fj.zones = entries(fj.plan, []statement.Hash{s.Header.KeyID}), zonesOf(fj.plan, d.Kids)
	fj.end = f.Clock.Wall
	if f.Clock.Quality == statement.ClockUnset {
		// Such a frame says only how long ago; the gateway's receipt says before what.
		fj.basis, fj.offset = 1, row.Received-f.Clock.Boottime/1e6
		fj.end = row.Received
	}
	if err := fj.heard(); err != nil {
		return err
	}
	fj.step()
	if d.Plan != f.Plan {
		if err := fj.replan(); err != nil {
			return err
		}
		d.Plan = f.Plan
	}
	for _, it := range fj.items(delivery.Contents) {
		if it.happens != nil {
			err = fj.happening(it.happens, it.at)
		} else {
			err = fj.reading(it)
		}
		if err != nil {
			return err
		}
	}
	d.At, d.Boot, d.Boottime = fj.end, f.Clock.BootID, f.Clock.Boottime
	return fj.goesOn()
}

// heard ends a silence.
func (f *frameJudge) heard() error {
	f.d.Heard = max(f.d.Heard, f.row.Received)
	for _, r := range f.rules.Rules {
		if r.Kind != Silent {
			continue
		}
		if m, ok := f.d.Machines[(about{}).key(r)]; ok {
			if err := f.finish(m, f.row.Received, BackInRange); err != nil {
				return err
			}
		}
	}
	return nil
}

// step moves what is remembered with the device's clock, when that was set: spans
// of time stay what they were.
func (f *frameJudge) step() {
	d, step := f.d, int64(0)
	switch {
	case d.At == 0:
		return
	case d.Boot == f.frame.Clock.BootID:
		if step = f.end - (d.At + (f.frame.Clock.Boottime-d.Boottime)/1e6); max(step, -step) <= 1000 {
			return
		}
	case f.frame.Span[0]+f.offset < d.At:
		step = f.frame.Span[0] + f.offset - d.At
	default:
		return
	}
	for _, c := range d.Channels {
		c.At = max(1, c.At+step)
	}
	for _, m := range d.Machines {
		m.shift(step)
	}
}

// replan forgets what a new plan no longer asks for.
func (f *frameJudge) replan() error {
	wanted := map[string]bool{}
	for _, r := range f.rules.Rules {
		if !ofChannel(r.Kind) {
			continue
		}
		for _, c := range f.entries {
			if !r.covers(c.zone, c.Name) {
				continue
			}
			a := about{channel: c.Name}
			wanted[a.key(r)] = true
			for _, l := range r.judgedBy(c) {
				a.limit = &l
				wanted[a.key(r)] = true
			}
		}
	}
	ours := map[string]bool{}
	for _, r := range f.rules.Rules {
		ours[r.ID] = ofChannel(r.Kind)
	}
	for key, m := range f.d.Machines {
		if id := ruleOf(key); ours[id] && !wanted[key] {
			if err := f.finish(m, f.end, NotPlanned); err != nil {
				return err
			}
			delete(f.d.Machines, key)
		}
	}
	for _, c := range f.entries {
		if f.d.Channels[c.Name] == nil {
			f.d.Channels[c.Name] = &seen{At: max(1, f.frame.Span[0]+f.offset)}
		}
	}
	return nil
}

// items are a frame's readings and happenings in order of time.
func (f *frameJudge) items(contents []any) []item {
	var out []item
	for _, v := range contents {
		switch v := v.(type) {
		case *statement.Block:
			c, nominal := f.entry(v.Channel), store.Unplanned.Nominal
			if c != nil {
				nominal = c.Nominal
			}
			prev := int64(-1)
			if v.Prev != nil {
				prev = *v.Prev
			}
			for i, t := range v.Times() {
				from := t - 1
				if prev >= 0 {
					from = max(prev, t-2*nominal)
				}
				prev = t
				out = append(out, item{at: t + f.offset, from: from + f.offset, channel: c, name: v.Channel, value: v.Values[i]})
			}
		case *statement.Happening:
			out = append(out, item{at: v.At + f.offset, happens: v})
		}
	}
	slices.SortStableFunc(out, func(a, b item) int { return int(min(1, max(-1, a.at-b.at))) })
	return out
}

func (f *frameJudge) entry(channel string) *entry {
	for i := range f.entries {
		if f.entries[i].Name == channel {
			return &f.entries[i]
		}
	}
	return nil
}

func (f *frameJudge) about(c *entry, l *trace.Limit) about {
	return about{device: f.subject, channel: c.Name, zone: c.zone, unit: c.Unit, limit: l, basis: f.basis, index: f.row.Index, kids: f.d.Kids}
}

// reading judges one reading.
func (f *frameJudge) reading(it item) error {
	was := int64(0)
	if it.channel != nil { // others could be anything, and any number
		c := f.d.Channels[it.name]
		if c == nil {
			c = &seen{}
			f.d.Channels[it.name] = c
		}
		if c.First == 0 {
			c.First = it.at
		}
		was = c.At
		if err := f.unmeasured(it.channel, it.at); err != nil {
			return err
		}
		c.At = it.at
	}
	for _, r := range f.rules.Rules {
		if r.Kind == ProbeFault {
			if m := f.d.Machines[(about{channel: it.name}).key(r)]; m != nil {
				if err := f.hold(r, m, about{}, max(m.Last, it.at-1), it.at, false, nil); err != nil {
					return err
				}
			}
			continue
		}
		if it.channel == nil || !r.covers(it.channel.zone, it.name) {
			continue
		}
		var err error
		switch r.Kind {
		case Single, Cumulative:
			for _, l := range r.judgedBy(*it.channel) {
				a := f.about(it.channel, &l)
				if err = f.hold(r, f.d.machine(r, a.key(r)), a, it.from, it.at, l.Beyond(it.value), &it.value); err != nil {
					return err
				}
			}
		case RateOfRise:
			if r.Unit == it.channel.Unit {
				err = f.rising(r, it)
			}
		case NoData:
			a := f.about(it.channel, nil)
			a.unit = ""
			m := f.d.machine(r, a.key(r))
			if was > 0 && it.at-was >= int64(r.For) {
				if err = f.hold(r, m, a, was, it.at, true, nil); err != nil {
					return err
				}
			}
			if m.On {
				m.Last = it.at
				err = f.finish(m, it.at, BackInRange)
			}
			m.Muted = false
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rising judges how much a reading lies above the lowest one within the rule's
// time.
func (f *frameJudge) rising(r *Rule, it item) error {
	a := f.about(it.channel, nil)
	m := f.d.machine(r, a.key(r))
	p := m.Points
	for len(p) > 0 && (p[0][0] < it.at-int64(r.Within) || len(p) >= maxPoints) {
		p = p[1:]
	}
	for len(p) > 0 && p[len(p)-1][1] >= it.value {
		p = p[:len(p)-1]
	}
	m.Points = append(p, [2]int64{it.at, it.value})
	low, rise := m.Points[0], it.value-m.Points[0][1]
	if err := f.hold(r, m, a, low[0], it.at, rise >= int64(*r.Rise), &rise); err != nil {
		return err
	}
	if len(m.Points) == 0 { // the rise is over; the next one counts from here
		m.Points = [][2]int64{{it.at, it.value}}
	}
	return nil
}

// unmeasured ends alarms of a channel's values when it had no readings for long.
func (f *frameJudge) unmeasured(c *entry, now int64) error {
	last := f.d.Channels[c.Name]
	if last == nil || last.First == 0 || now-last.At < max(lostAfter, 3*c.Nominal) {
		return nil
	}
	for _, r := range f.rules.Rules {
		if r.Kind != Single && r.Kind != RateOfRise {
			continue
		}
		a := about{channel: c.Name}
		limits := []*trace.Limit{nil}
		if r.Kind == Single {
			limits = limits[:0]
			for _, l := range r.judgedBy(*c) {
				limits = append(limits, &l)
			}
		}
		for _, l := range limits {
			a.limit = l
			if m := f.d.Machines[a.key(r)]; m != nil && m.Alarm != "" {
				if err := f.finish(m, last.At, SensorLost); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// happening judges what the device says of itself.
func (f *frameJudge) happening(h *statement.Happening, at int64) error {
	if h.Type == statement.Tamper {
		return f.once(Tamper, f.subject, f.d.Kids, at, f.basis, f.row.Index)
	}
	var kind Kind
	on := true
	switch h.Type {
	case statement.Lost, statement.Fault:
		kind = ProbeFault
	case statement.Back:
		kind, on = ProbeFault, false
	case statement.Door:
		kind, on = DoorOpen, h.Code != nil && *h.Code == 1
	case statement.Power:
		kind, on = MainsLost, h.Code != nil && *h.Code == 0
	case statement.ClockStep:
		kind = ClockDoubt
	default:
		return nil
	}
	for _, r := range f.rules.Rules {
		if r.Kind != kind {
			continue
		}
		a := about{device: f.subject, basis: f.basis, index: f.row.Index, kids: f.d.Kids}
		if kind == ProbeFault {
			a.channel = h.Subject
			if c := f.entry(h.Subject); c != nil {
				a.zone = c.zone
			} else if f.plan != nil {
				a.zone, _, _ = f.plan.Antenna(f.row.KeyID, h.Subject)
			}
			if !r.covers(a.zone, a.channel) {
				continue
			}
		} else {
			if !r.coversDevice(f.zones) {
				continue
			}
			a.zone = firstOf(f.zones)
		}
		m := f.d.Machines[a.key(r)]
		if m == nil {
			if !on || len(f.d.Machines) >= maxMachines {
				continue
			}
			m = f.d.machine(r, a.key(r))
		}
		from := at
		if m.On {
			from = m.Last
		}
		if err := f.hold(r, m, a, from, at, on, nil); err != nil {
			return err
		}
	}
	return nil
}

func firstOf(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// goesOn judges at the frame's end what has no word of its own: what still is as
// it was, and what did not come.
func (f *frameJudge) goesOn() error {
	for i := range f.entries {
		c := &f.entries[i]
		if err := f.unmeasured(c, f.end); err != nil {
			return err
		}
	}
	for _, r := range f.rules.Rules {
		var err error
		switch r.Kind {
		case DoorOpen, MainsLost:
			a := about{device: f.subject, zone: firstOf(f.zones), basis: f.basis, index: f.row.Index, kids: f.d.Kids}
			err = f.still(r, a)
		case ProbeFault:
			for _, c := range f.d.faulty(r) {
				a := about{device: f.subject, channel: c, basis: f.basis, index: f.row.Index, kids: f.d.Kids}
				if e := f.entry(c); e != nil {
					a.zone = e.zone
				}
				if err = f.still(r, a); err != nil {
					return err
				}
			}
		case ClockDoubt:
			err = f.clock(r)
		case NoData:
			for i := range f.entries {
				c := &f.entries[i]
				last := f.d.Channels[c.Name]
				if !r.covers(c.zone, c.Name) || last == nil || f.end-last.At < int64(r.For) {
					continue
				}
				a := f.about(c, nil)
				a.unit = ""
				if err = f.hold(r, f.d.machine(r, a.key(r)), a, last.At, f.end, true, nil); err != nil {
					return err
				}
			}
		case Calibration:
			err = f.calibrations(r)
		case Disagreement:
			err = f.neighbours(r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// still says that a condition goes on until the frame's end.
func (f *frameJudge) still(r *Rule, a about) error {
	m := f.d.Machines[a.key(r)]
	if m == nil || !m.On {
		return nil
	}
	return f.hold(r, m, a, m.Last, f.end, true, nil)
}

// faulty are the subjects whose fault under a rule goes on.
func (d *memory) faulty(r *Rule) []string {
	var out []string
	for key, m := range d.Machines {
		if ruleOf(key) == r.ID && m.On {
			out = append(out, channelOf(key))
		}
	}
	slices.Sort(out)
	return out
}

// clock judges how far the frame's clock can be trusted.
func (f *frameJudge) clock(r *Rule) error {
	if !r.coversDevice(f.zones) {
		return nil
	}
	c := f.frame.Clock
	doubt := c.Quality < qualities[r.Quality] || r.MaxError > 0 && int64(c.MaxError) > int64(r.MaxError)
	a := about{device: f.subject, zone: firstOf(f.zones), basis: f.basis, index: f.row.Index, kids: f.d.Kids}
	m := f.d.machine(r, a.key(r))
	from := f.end
	if m.On {
		from = m.Last
	}
	return f.hold(r, m, a, from, f.end, doubt, nil)
}

// calibrations judges the records that the plan names, by the device's clock.
func (f *frameJudge) calibrations(r *Rule) error {
	if f.basis != 0 {
		return nil // what day it is, is not known
	}
	for i := range f.entries {
		c := &f.entries[i]
		if !r.covers(c.zone, c.Name) {
			continue
		}
		since := f.end // nobody said when it is due
		if m := f.d.Machines[(about{channel: c.Name}).key(r)]; m != nil && m.On {
			since = m.Start
		}
		if c.Calibration != nil {
			record := c.Calibration.String()
			for _, cert := range r.Certificates {
				if cert.Record == record {
					since = cert.Due.UnixMilli() - int64(r.Ahead)
				}
			}
		}
		a := f.about(c, nil)
		a.unit = ""
		if err := f.hold(r, f.d.machine(r, a.key(r)), a, min(since, f.end), f.end, since <= f.end, nil); err != nil {
			return err
		}
	}
	return nil
}
