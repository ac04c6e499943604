package alarm

import (
	"encoding/json"
	"errors"
	"time"

	"trailmark/gateway/internal/notify"
	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// raise adds an alarm, the rule as it is, and the notices of it.
func (j *judge) raise(r *Rule, m *machine, a about, al store.Alarm) error {
	al.ID = alarmID(r.hash, a.device+"\n"+a.key(r)+"\n"+a.other, al.Start)
	al.Rule, al.Kind, al.Severity, al.RuleHash = r.ID, string(r.Kind), r.Severity, r.hash
	al.Device, al.Channel, al.Other, al.Zone, al.Unit, al.Basis = a.device, a.channel, a.other, a.zone, a.unit, a.basis
	al.Count, al.Index, al.Raised = 1, a.index, j.now
	m.Alarm = al.ID
	objects := []string{a.device}
	if a.zone != "" {
		objects = append(objects, ZoneURI(a.zone))
	}
	w, err := j.tx.WindowAt(al.Triggered, objects...)
	held := err == nil
	if held {
		al.Window = &w.ID
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err := j.tx.AddAlarmRule(r.hash, r.text); err != nil {
		return err
	}
	fresh, err := j.tx.AddAlarm(al)
	if err != nil {
		return err
	}
	if j.alarms == nil {
		j.alarms, j.touched = map[string]*store.Alarm{}, map[string]bool{}
	}
	if !fresh { // judged before
		had, err := j.alarm(al.ID)
		if err == nil && had.Ended != 0 {
			m.Alarm, m.Muted = "", true
		}
		return err
	}
	j.alarms[al.ID] = &al
	e := j.rules.escalation(r.Notify)
	if e == nil {
		return nil
	}
	text, err := json.Marshal(Words(al, r.Name))
	if err != nil {
		return err
	}
	from := j.now
	if held {
		from = max(from, w.Closes)
	}
	for i, s := range e.Steps {
		what := store.NoticeEscalation
		if i == 0 {
			what = store.NoticeStart
		}
		for _, target := range s.Targets {
			if err := j.tx.AddNotice(store.Notice{ID: noticeID(al.ID, target, what, i), Alarm: al.ID, Target: target, What: what,
				Due: from + int64(s.After), Data: text}); err != nil {
				return err
			}
		}
	}
	return nil
}

func noticeID(alarm, target, what string, step int) string {
	return alarmID(statement.Hash{}, alarm+"\n"+target+"\n"+what, int64(step))
}

// alarm is an alarm as this transaction has it.
func (j *judge) alarm(id string) (*store.Alarm, error) {
	if a, ok := j.alarms[id]; ok {
		return a, nil
	}
	a, err := j.tx.Alarm(id)
	if err != nil {
		return nil, err
	}
	if j.alarms == nil {
		j.alarms, j.touched = map[string]*store.Alarm{}, map[string]bool{}
	}
	j.alarms[id] = &a
	return &a, nil
}

func (j *judge) touch(id string) { j.touched[id] = true }

// end ends an alarm.
func (j *judge) end(id string, at int64, reason string) error {
	a, err := j.alarm(id)
	if err != nil {
		return err
	}
	if a.Ended != 0 {
		return nil
	}
	a.Ended, a.Reason = max(at, a.Start, 1), reason
	a.Closed = a.Acked != 0
	j.touch(id)
	j.ended = append(j.ended, id)
	return nil
}

// tellEnd queues the word that an alarm is over for whoever was told of it. What a
// maintenance window has held back is no news any more.
func (j *judge) tellEnd(a *store.Alarm) error {
	notices, err := j.tx.NoticesOf(a.ID)
	if err != nil {
		return err
	}
	var names Names
	if r := j.rules.rule(a.Rule); r != nil {
		names = r.Name
	} else {
		names = Names{EN: a.Rule, ZH: a.Rule}
	}
	text, err := json.Marshal(Words(*a, names))
	if err != nil {
		return err
	}
	for _, n := range notices {
		if n.Done == "" && n.Due > j.now && n.What == store.NoticeStart {
			n.Done = store.NoticeCancelled
			if err := j.tx.PutNotice(n); err != nil {
				return err
			}
			continue
		}
		if n.What == store.NoticeStart {
			if err := j.tx.AddNotice(store.Notice{ID: noticeID(a.ID, n.Target, store.NoticeEnd, 0), Alarm: a.ID, Target: n.Target,
				What: store.NoticeEnd, Due: max(j.now, n.Due+1), Data: text}); err != nil {
				return err
			}
		}
	}
	if a.Window != nil {
		return j.tx.CancelNotices(a.ID, store.NoticeEscalation)
	}
	return nil
}

// Words are an alarm for people.
func Words(a store.Alarm, name Names) notify.Message {
	clock := func(ms int64) string {
		if ms == 0 {
			return ""
		}
		return time.UnixMilli(ms).Format(time.RFC3339)
	}
	m := notify.Message{Alarm: a.ID, Rule: a.Rule, Kind: a.Kind, Severity: a.Severity, Device: a.Device, Channel: a.Channel, Other: a.Other,
		Zone: a.Zone, Unit: a.Unit, Name: notify.Both{ZH: name.ZH, EN: name.EN}, Start: clock(a.Start), Triggered: clock(a.Triggered),
		Ended: clock(a.Ended), Reason: a.Reason, MeasuredMS: a.Measured, GatewayClock: a.Basis != 0}
	if a.Peak != nil {
		text, _ := Milli(*a.Peak).MarshalJSON() // it cannot fail
		m.Peak = json.Number(text)
	}
	return m
}
