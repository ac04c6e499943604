package alarm

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"trailmark/gateway/internal/store"
	"trailmark/statement"
	"trailmark/trace"
)

// lostAfter is how long a channel without readings, by its device's clock, may
// leave an alarm of its values open, in ms; at least three nominal intervals.
const lostAfter = 2 * 60 * 1000

// maxMachines bounds what is remembered of subjects that a device makes up.
const maxMachines = 4096

// memory is what is remembered of a device through all its keys.
type memory struct {
	Kids     []statement.Hash    `json:"kids"`            // newest last
	Heard    int64               `json:"heard"`           // the newest frame, or identity, came in, ms
	At       int64               `json:"at,omitempty"`    // end of the newest frame, ms
	Boot     [16]byte            `json:"boot,omitempty"`  // of that frame
	Boottime int64               `json:"up,omitempty"`    // of that frame, ns
	Plan     statement.Hash      `json:"plan,omitempty"`  // of that frame
	Rules    int64               `json:"rules,omitempty"` // that judged it
	Channels map[string]*seen    `json:"channels,omitempty"`
	Machines map[string]*machine `json:"machines,omitempty"`
	dirty    bool
}

// seen is the newest reading of a channel.
type seen struct {
	First int64 `json:"first,omitempty"` // time of the first reading that was judged
	At    int64 `json:"at"`              // time of the newest, or since when one is expected
}

// judge is one transaction's work.
type judge struct {
	e       *Engine
	tx      *store.Tx
	next    uint64 // first statement not judged
	now     int64
	version int64 // number of rules
	rules   *Rules
	newest  *planned
	moved   bool // something is to be saved though no statement was judged
	devices map[string]*memory
	pairs   map[string]*pair
	alarms  map[string]*store.Alarm
	touched map[string]bool
	ended   []string
}

func (j *judge) device(subject string) (*memory, error) {
	if d, ok := j.devices[subject]; ok {
		return d, nil
	}
	d := new(memory)
	if _, err := j.tx.AlarmState(subject, d); err != nil {
		return nil, fmt.Errorf("state of %s: %w", subject, err)
	}
	if d.Channels == nil {
		d.Channels = map[string]*seen{}
	}
	if d.Machines == nil {
		d.Machines = map[string]*machine{}
	}
	if d.Rules != j.version {
		for key := range d.Machines {
			id, _, _ := strings.Cut(key, "\n")
			if r := j.rules.rule(id); r == nil || r.hash != d.Machines[key].Rule {
				delete(d.Machines, key) // its alarm has ended when the rules changed
			}
		}
		d.Rules = j.version
	}
	j.devices[subject] = d
	return d, nil
}

func (d *memory) machine(r *Rule, key string) *machine {
	m := d.Machines[key]
	if m == nil {
		m = &machine{Rule: r.hash}
		d.Machines[key] = m
	}
	return m
}

// save writes what the transaction has changed.
func (j *judge) save() error {
	for _, subject := range slices.Sorted(maps.Keys(j.devices)) {
		d := j.devices[subject]
		if !d.dirty {
			continue
		}
		for key, m := range d.Machines {
			if m.idle() {
				delete(d.Machines, key)
			}
		}
		if err := j.tx.PutAlarmState(subject, &d.Heard, d); err != nil {
			return err
		}
	}
	for _, subject := range slices.Sorted(maps.Keys(j.pairs)) {
		if err := j.tx.PutAlarmState(subject, nil, j.pairs[subject]); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(j.touched)) {
		if err := j.tx.PutAlarm(*j.alarms[id]); err != nil {
			return err
		}
	}
	for _, id := range j.ended {
		if err := j.tellEnd(j.alarms[id]); err != nil {
			return err
		}
	}
	return j.tx.PutAlarmPosition(j.next, j.version)
}

// setRules takes the rules that judge a statement, and ends the alarms of those
// that are not in force any more.
func (j *judge) setRules(index uint64) error {
	row, err := j.tx.AlarmRulesAt(index)
	if errors.Is(err, store.ErrNotFound) || err == nil && row.N == j.version {
		return nil
	} else if err != nil {
		return err
	}
	next, err := j.e.rulesOf(j.tx, row.N)
	if err != nil {
		return err
	}
	open, err := j.tx.OpenAlarms()
	if err != nil {
		return err
	}
	for _, a := range open {
		if r := next.rule(a.Rule); r == nil || r.hash != a.RuleHash {
			if err := j.end(a.ID, row.At, RuleChanged); err != nil {
				return err
			}
		}
	}
	for id, a := range j.alarms { // raised in this transaction
		if r := next.rule(a.Rule); a.Ended == 0 && (r == nil || r.hash != a.RuleHash) {
			if err := j.end(id, row.At, RuleChanged); err != nil {
				return err
			}
		}
	}
	j.rules, j.version, j.moved = next, row.N, true
	for subject, d := range j.devices { // machines of old rules are sorted out anew
		if !d.dirty {
			delete(j.devices, subject)
			continue
		}
		for key, m := range d.Machines {
			id, _, _ := strings.Cut(key, "\n")
			if r := next.rule(id); r == nil || r.hash != m.Rule {
				delete(d.Machines, key)
			}
		}
		d.Rules = j.version
	}
	return nil
}

// statement judges one statement.
func (j *judge) statement(row store.Statement) error {
	switch row.Kind {
	case statement.KindFrame:
		return j.frame(row)
	case statement.KindIdentity:
		return j.identity(row)
	case statement.KindPlan:
		return j.replanned(row)
	case statement.KindEvent:
		return j.event(row)
	}
	return nil
}

// identity waits for the first word of a device, or of its next key.
func (j *judge) identity(row store.Statement) error {
	s, err := statement.Parse(row.Data)
	if err != nil {
		j.e.damaged(row, err)
		return nil
	}
	id, err := s.Identity()
	if err != nil {
		j.e.damaged(row, err)
		return nil
	}
	if id.Role != statement.RoleDevice {
		return nil
	}
	d, err := j.device(id.Subject)
	if err != nil {
		return err
	}
	d.dirty = true
	d.Heard = max(d.Heard, row.Received)
	if kid := id.Key.ID(); !slices.Contains(d.Kids, kid) {
		d.Kids = append(d.Kids, kid)
	}
	return nil
}

// replanned ends the alarms of channels that nobody lists any more.
func (j *judge) replanned(row store.Statement) error {
	j.newest = nil
	p, err := j.e.plan(j.tx, row.ID, row.Index+1)
	if err != nil || p == nil {
		return err
	}
	j.newest = p
	open, err := j.tx.OpenAlarms()
	if err != nil {
		return err
	}
	for _, a := range open {
		d, err := j.device(a.Device)
		if err != nil {
			return err
		}
		if !ofChannel(Kind(a.Kind)) || listed(p, d.Kids, a.Channel) {
			continue
		}
		if now, err := j.alarm(a.ID); err != nil || now.Ended != 0 {
			if err != nil {
				return err
			}
			continue
		}
		for _, m := range d.Machines {
			if m.Alarm == a.ID {
				d.dirty = true
				if err := j.finish(m, row.Received, NotPlanned); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// ofChannel reports whether alarms of a kind need their channel to be planned.
func ofChannel(k Kind) bool {
	switch k {
	case Single, Cumulative, RateOfRise, NoData, Calibration:
		return true
	}
	return false
}

func listed(p *planned, kids []statement.Hash, channel string) bool {
	for _, kid := range kids {
		if _, _, ok := p.Channel(kid, channel); ok {
			return true
		}
	}
	return false
}

// entry is a device's channel as a plan has it.
type entry struct {
	statement.Channel
	zone string
}

// entries are the channels that a plan lists for a device.
func entries(p *planned, kids []statement.Hash) []entry {
	var out []entry
	if p == nil {
		return nil
	}
	for _, z := range p.Zones {
		for _, c := range z.Channels {
			if slices.Contains(kids, c.Device) {
				out = append(out, entry{c, z.ID})
			}
		}
	}
	return out
}

// limits are those that a rule judges a channel by.
func (r *Rule) judgedBy(c entry) []trace.Limit {
	if r.PlanLimits {
		return c.Limits
	}
	if r.Unit != c.Unit {
		return nil
	}
	return r.limits
}

// forks raises alarms of evidence that came in since.
func (j *judge) forks() error {
	found, err := j.tx.NewForks()
	if err != nil {
		return err
	}
	for _, f := range found {
		j.moved = true
		if err := j.tx.JudgedFork(f.ID); err != nil {
			return err
		}
		s, err := statement.Parse(f.Data)
		if err != nil {
			j.e.damaged(f, err)
			continue
		}
		if err := j.once(Fork, s.Header.Issuer, []statement.Hash{f.KeyID}, f.Received, 1, 0); err != nil {
			return err
		}
	}
	return nil
}

// findings raises alarms of copies and diversions that were found since.
func (j *judge) findings() error {
	found, err := j.tx.Untold(batch)
	if err != nil {
		return err
	}
	for _, f := range found {
		j.moved = true
		if err := j.tx.MarkTold(f.ID); err != nil {
			return err
		}
		if err := j.once(Kind(f.Kind), f.Object, nil, f.At, 1, 0); err != nil {
			return err
		}
	}
	return nil
}

// once raises an alarm of something that has no end of its own; while one is open
// it counts.
func (j *judge) once(kind Kind, subject string, kids []statement.Hash, at int64, basis int, index uint64) error {
	d, err := j.device(subject)
	if err != nil {
		return err
	}
	p, err := j.newestPlan()
	if err != nil {
		return err
	}
	zones := zonesOf(p, append(kids, d.Kids...))
	for _, r := range j.rules.Rules {
		if r.Kind != kind || !r.coversDevice(zones) {
			continue
		}
		a := about{device: subject, zone: strings.Join(zones[:min(1, len(zones))], ""), basis: basis, index: index, kids: d.Kids}
		m := d.machine(r, a.key(r))
		d.dirty = true
		m.Muted = false
		if m.Alarm != "" {
			open, err := j.alarm(m.Alarm)
			if err != nil {
				return err
			}
			open.Count++
			j.touch(open.ID)
			continue
		}
		m.On = true
		if err := j.raise(r, m, a, store.Alarm{Start: at, Triggered: at}); err != nil {
			return err
		}
	}
	return nil
}

// silence judges devices by the gateway's clock.
func (j *judge) silence() error {
	shortest := int64(-1)
	for _, r := range j.rules.Rules {
		if r.Kind == Silent && (shortest < 0 || int64(r.For) < shortest) {
			shortest = int64(r.For)
		}
	}
	if shortest < 0 {
		return nil
	}
	subjects, err := j.tx.HeardBefore(j.now - shortest)
	if err != nil {
		return err
	}
	p, err := j.newestPlan()
	if err != nil || p == nil {
		return err
	}
	for _, subject := range subjects {
		d, err := j.device(subject)
		if err != nil {
			return err
		}
		zones := zonesOf(p, d.Kids)
		if len(zones) == 0 {
			continue // nobody expects it to speak
		}
		for _, r := range j.rules.Rules {
			since := max(d.Heard, j.e.began)
			if r.Kind != Silent || !r.coversDevice(zones) || j.now-since < int64(r.For) {
				continue
			}
			a := about{device: subject, zone: zones[0], basis: 1, index: j.next, kids: d.Kids}
			m := d.machine(r, a.key(r))
			if m.Alarm != "" || m.Muted {
				continue
			}
			d.dirty, j.moved = true, true
			m.On, m.Start, m.Last = true, d.Heard, j.now
			if err := j.raise(r, m, a, store.Alarm{Start: d.Heard, Triggered: since + int64(r.For), Measured: j.now - d.Heard}); err != nil {
				return err
			}
		}
	}
	return nil
}
