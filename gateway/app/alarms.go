package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"trailmark/gateway/internal/alarm"
	"trailmark/gateway/internal/api"
	"trailmark/gateway/internal/notify"
	"trailmark/gateway/internal/store"
)

// targetsFile holds the targets of notices with their secrets, beside the store.
const targetsFile = "alarm-targets.json"

// statusAlarms bounds the alarms that the status page lists.
const statusAlarms = 100

// maxReadingsSpan bounds what an alarm's readings are summed over for one request.
const maxReadingsSpan = 31 * 24 * time.Hour

func targetsPath(dir string) string { return filepath.Join(dir, ownDir, targetsFile) }

// alarmBook is the alarms as pages and commands ask for them.
type alarmBook struct {
	store  *store.Store
	engine *alarm.Engine
}

// List is api.Alarms.
func (b alarmBook) List(ctx context.Context, which string, before int64, limit int) ([]api.Alarm, error) {
	rows, err := b.store.Alarms(ctx, which, before, limit)
	if err != nil {
		return nil, err
	}
	var out []api.Alarm
	for _, a := range rows {
		x, err := b.shown(ctx, a)
		if err != nil {
			return nil, err
		}
		out = append(out, x.Alarm)
	}
	return out, nil
}

// Get is api.Alarms.
func (b alarmBook) Get(ctx context.Context, id string) (api.AlarmDetail, error) {
	a, err := b.store.Alarm(ctx, id)
	if err != nil {
		return api.AlarmDetail{}, clientError(err)
	}
	d, err := b.shown(ctx, a)
	if err != nil {
		return d, err
	}
	acts, err := b.store.AlarmActs(ctx, id)
	if err != nil {
		return d, err
	}
	for _, x := range acts {
		d.Acts = append(d.Acts, api.AlarmAct{At: at(x.At), What: x.What, By: x.By, Comment: x.Comment})
	}
	notices, err := b.store.Notices(ctx, id)
	if err != nil {
		return d, err
	}
	for _, n := range notices {
		state := n.Done
		if state == "" {
			state = "waiting"
		}
		d.Notices = append(d.Notices, api.AlarmNotice{Target: n.Target, What: n.What, Due: at(n.Due), Attempts: n.Attempts, State: state, Error: n.Error})
	}
	if d.Readings, err = b.readings(ctx, a); err != nil {
		return d, err
	}
	return d, nil
}

// readings sums up the readings of an alarm about a channel's values.
func (b alarmBook) readings(ctx context.Context, a store.Alarm) (*api.AlarmReadings, error) {
	to := a.Ended
	if to == 0 {
		to = a.PeakAt
	}
	if a.Peak == nil || a.Basis != 0 || a.Other != "" || to-a.Start > maxReadingsSpan.Milliseconds() {
		return nil, nil
	}
	s, err := b.engine.Readings(ctx, a, to)
	if err != nil || s.Readings == 0 {
		return nil, err
	}
	milli := func(v int64) json.Number { return number(float64(v)/1000, 3) }
	r := &api.AlarmReadings{Count: s.Readings, Min: milli(s.Min), Max: milli(s.Max), Mean: number(s.Mean, 3)}
	if a.Unit == "Cel" {
		r.MKT, r.Energy = number(s.MKT, 2), s.Energy
	}
	return r, nil
}

func number(v float64, places int) json.Number {
	return json.Number(strconv.FormatFloat(v, 'f', places, 64))
}

// Acknowledge is api.Alarms.
func (b alarmBook) Acknowledge(ctx context.Context, id, by, comment string) error {
	return clientError(b.engine.Acknowledge(ctx, id, by, comment))
}

// Close is api.Alarms.
func (b alarmBook) Close(ctx context.Context, id, by, comment string) error {
	return clientError(b.engine.Close(ctx, id, by, comment))
}

// clientError tells the pages which errors are the client's.
func clientError(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return &api.ClientError{Status: http.StatusNotFound, Detail: "there is no such alarm"}
	case errors.Is(err, alarm.ErrConflict):
		return &api.ClientError{Status: http.StatusConflict, Detail: err.Error()}
	case errors.Is(err, alarm.ErrInput):
		return &api.ClientError{Status: http.StatusBadRequest, Detail: err.Error()}
	}
	return err
}

func at(ms int64) time.Time { return time.UnixMilli(ms) }

func atOrNil(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	t := at(ms)
	return &t
}

// shown is an alarm with the rule that raised it, as it was then.
func (b alarmBook) shown(ctx context.Context, a store.Alarm) (api.AlarmDetail, error) {
	text, err := b.store.AlarmRule(ctx, a.RuleHash)
	if err != nil {
		return api.AlarmDetail{}, fmt.Errorf("rule of alarm %s: %w", a.ID, err)
	}
	var rule struct{ Name api.Names }
	if err := json.Unmarshal(text, &rule); err != nil {
		return api.AlarmDetail{}, fmt.Errorf("rule of alarm %s: %w", a.ID, err)
	}
	out := api.Alarm{Number: a.N, ID: a.ID, Rule: a.Rule, RuleSHA256: a.RuleHash.String(), Kind: a.Kind, Severity: a.Severity, Name: rule.Name,
		Device: a.Device, Channel: a.Channel, Neighbour: a.Other, Zone: a.Zone, Clock: "device", Start: at(a.Start), Triggered: at(a.Triggered),
		Ended: atOrNil(a.Ended), Reason: a.Reason, MeasuredMS: a.Measured, PeakAt: atOrNil(a.PeakAt), Unit: a.Unit, Count: a.Count,
		Statement: a.Index, Raised: at(a.Raised), Acknowledged: atOrNil(a.Acked), Closed: a.Closed}
	if a.Reason != "" {
		w := notify.Reason(a.Reason)
		out.ReasonName = &api.Names{ZH: w.ZH, EN: w.EN}
	}
	if a.Basis != 0 {
		out.Clock = "gateway"
	}
	if a.Peak != nil {
		out.Peak = number(float64(*a.Peak)/1000, 3)
	}
	if a.Window != nil {
		out.Maintenance = a.Window.String()
	}
	return api.AlarmDetail{Alarm: out, RuleText: text}, nil
}

// attention fills in what the status page shows of alarms; why a target fails says
// something of one's own network and is for this machine's users.
func (b alarmBook) attention(ctx context.Context, st *api.Status, private bool) (err error) {
	if st.Alarms, err = b.List(ctx, store.FirstAlarms, 0, statusAlarms); err != nil {
		return err
	}
	states, err := b.store.TargetStates(ctx)
	if err != nil {
		return err
	}
	for _, t := range states {
		if !private {
			t.Error = ""
		}
		if t.Parked != 0 {
			st.Parked = append(st.Parked, api.Target{ID: t.ID, Error: t.Error, Since: t.Parked, Waiting: t.Waiting})
		}
	}
	windows, err := b.store.Windows(ctx, st.Now)
	for _, w := range windows {
		st.Windows = append(st.Windows, api.Window{Object: w.Object, Why: w.Why, Opens: w.Opens, Closes: w.Closes})
	}
	return err
}

// sender is the queue's of a gateway's folder.
func sender(g *gateway) *notify.Sender {
	return notify.New(g.store, func() (*notify.Targets, error) { return notify.Load(targetsPath(g.conf.Dir)) }, time.Now, g.log)
}
