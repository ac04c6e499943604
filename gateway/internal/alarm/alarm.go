// Package alarm judges what ingest has made durable by rules, and keeps alarms.
//
// Alarms follow from signed statements: frames are judged in each device's own
// order and by the times it gives, so that late ones raise the alarms that they
// would have raised in time. How far it has judged, what it must remember and the
// alarms are written in one transaction, from which it goes on after a crash:
// none is lost and none is raised twice. Only silence is judged by the gateway's
// own clock, and evidence of forks, copies and diversions by when it came in.
//
// An alarm keeps the rule that raised it, by the hash of the rule's text. It
// latches: it ends with a reason, and stays until somebody has acknowledged it. A
// maintenance window, which an organisation signs, holds its notices back; it
// never keeps an alarm from being kept.
package alarm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// Why an alarm ended.
const (
	BackInRange  = "back-in-range"  // what it was about is over
	SensorLost   = "sensor-lost"    // nothing was measured any more
	NotPlanned   = "not-planned"    // no plan lists the channel any more, or not with this limit
	RuleChanged  = "rule-changed"   // the rule is not in force any more
	DayOver      = "day-over"       // of a rule that counts each day anew
	ClosedByHand = "closed-by-hand" // somebody closed it; see who in what people did
)

// pace is how often the gateway's clock is looked at.
const pace = 5 * time.Second

// batch is how many statements one transaction judges.
const batch = 256

// An Engine judges statements. Step, Tick and Run are for one goroutine; what
// people do may come from any, also from another process: the store holds all
// that is remembered between two transactions.
type Engine struct {
	store *store.Store
	now   func() time.Time
	log   *slog.Logger
	wake  chan struct{}
	began int64 // ms; silence before it was our own

	// plans, rules and subjects belong to the goroutine of Step and Tick. Neither changes
	// once it is stored.
	plans    map[statement.Hash]*planned
	rules    map[int64]*Rules
	subjects map[statement.Hash]string // who a key is of
}

// planned is a plan and when the gateway got it.
type planned struct {
	*statement.Plan
	index    uint64
	received int64
}

// New makes an engine over what the store holds.
func New(st *store.Store, now func() time.Time, log *slog.Logger) *Engine {
	return &Engine{store: st, now: now, log: log, wake: make(chan struct{}, 1), began: now().UnixMilli(),
		plans: map[statement.Hash]*planned{}, rules: map[int64]*Rules{}, subjects: map[statement.Hash]string{}}
}

// Wake says that there may be something new to judge.
func (e *Engine) Wake() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Run judges until ctx ends. It returns an error when the store fails.
func (e *Engine) Run(ctx context.Context) error {
	var ticked time.Time
	for {
		more, err := e.Step(ctx)
		if err == nil && !more && time.Since(ticked) >= pace {
			ticked = time.Now()
			err = e.Tick(ctx)
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("alarms: %w", err)
		}
		if more {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-e.wake:
		case <-time.After(pace):
		}
	}
}

// Step judges the next statements, if there are any, and reports whether there may
// be more. When it returns nil their alarms, and the notices of them, are durable.
func (e *Engine) Step(ctx context.Context) (more bool, err error) {
	err = e.store.Update(ctx, func(tx *store.Tx) error {
		j, err := e.open(tx)
		if err != nil {
			return err
		}
		rows, err := tx.Statements(j.next, batch)
		if err != nil {
			return err
		}
		more = len(rows) == batch
		for _, row := range rows {
			if err := j.setRules(row.Index); err != nil {
				return err
			}
			if err := j.statement(row); err != nil {
				return fmt.Errorf("statement %d: %w", row.Index, err)
			}
			j.next = row.Index + 1
		}
		if !more { // evidence has no place among the statements: it is judged with the newest
			if err := errors.Join(j.setRules(j.next), j.forks(), j.findings()); err != nil {
				return err
			}
		}
		if len(rows) == 0 && !j.moved {
			return nil
		}
		return j.save()
	})
	return more, err
}

// Tick judges what follows from the gateway's clock alone.
func (e *Engine) Tick(ctx context.Context) error {
	return e.store.Update(ctx, func(tx *store.Tx) error {
		j, err := e.open(tx)
		if err != nil {
			return err
		}
		next, err := tx.Next()
		if err != nil {
			return err
		}
		if j.next != next {
			return nil // what was not judged yet may be the word that is missing
		}
		if err := j.setRules(next); err != nil {
			return err
		}
		if err := j.silence(); err != nil || !j.moved {
			return err
		}
		return j.save()
	})
}

// open begins a judgement inside a transaction.
func (e *Engine) open(tx *store.Tx) (*judge, error) {
	next, version, err := tx.AlarmPosition()
	if err != nil {
		return nil, err
	}
	j := &judge{e: e, tx: tx, next: next, now: e.now().UnixMilli(), devices: map[string]*memory{}, pairs: map[string]*pair{}, version: version}
	if j.rules, err = e.rulesOf(tx, version); err != nil {
		return nil, err
	}
	return j, j.setRules(next)
}

// rulesOf are stored rules by their number; 0 are the built-in ones.
func (e *Engine) rulesOf(tx *store.Tx, n int64) (*Rules, error) {
	if r, ok := e.rules[n]; ok {
		return r, nil
	}
	r := Default()
	if n > 0 {
		row, err := tx.AlarmRulesNumber(n)
		if err != nil {
			return nil, err
		}
		if r, err = ParseRules(row.Text); err != nil {
			return nil, fmt.Errorf("stored rules %d: %w", n, err)
		}
		r.at = row.At
	}
	e.rules[n] = r
	return r, nil
}

// plan is a stored plan by its statement's id; nil: none is known.
func (e *Engine) plan(tx *store.Tx, id statement.Hash, below uint64) (*planned, error) {
	if id.IsZero() {
		return nil, nil
	}
	if p, ok := e.plans[id]; ok {
		return p, nil
	}
	rows, err := tx.KindBelow(statement.KindPlan, below)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if _, known := e.plans[row.ID]; known {
			continue
		}
		s, err := statement.Parse(row.Data)
		if err != nil {
			e.damaged(row, err)
			continue
		}
		p, err := s.Plan()
		if err != nil {
			e.damaged(row, err)
			continue
		}
		e.plans[row.ID] = &planned{p, row.Index, row.Received}
	}
	return e.plans[id], nil
}

// damaged tells of a stored statement that cannot be read. It is passed over: a
// flipped bit must stop neither the alarms of all others nor the gateway.
func (e *Engine) damaged(row store.Statement, err error) {
	e.log.Error("statement cannot be judged; see gateway fsck", "statement", row.Index, "err", err)
}

// newestPlan is the one among all plans with the highest ledger index below next.
func (j *judge) newestPlan() (*planned, error) {
	if j.newest != nil {
		return j.newest, nil
	}
	rows, err := j.tx.NewestOf(statement.KindPlan, j.next)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	j.newest, err = j.e.plan(j.tx, rows.ID, j.next)
	return j.newest, err
}

// alarmID names an alarm by what it is about, so that judging the same again
// names it the same.
func alarmID(rule statement.Hash, about string, start int64) string {
	h := sha256.New()
	fmt.Fprintf(h, "trailmark alarm\n%x\n%s\n%d\n", rule[:], about, start)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// ErrConflict says that what somebody wants to do was done already.
var ErrConflict = errors.New("already so")

// ErrInput says that what somebody wrote is out of bounds.
var ErrInput = errors.New("cannot be taken")

// Acknowledge keeps that somebody has seen an alarm. No further target is told of
// it. When it returns nil, this is durable.
func (e *Engine) Acknowledge(ctx context.Context, id, by, comment string) error {
	return e.act(ctx, id, "acknowledge", by, comment, func(tx *store.Tx, a *store.Alarm, now int64) error {
		if a.Acked != 0 {
			return fmt.Errorf("%w: alarm %s was acknowledged", ErrConflict, id)
		}
		a.Acked = now
		a.Closed = a.Ended != 0
		return nil
	})
}

// Close ends an alarm by hand. What it is about may go on: it raises no second
// alarm before it has been over, but a count that never resets starts anew.
func (e *Engine) Close(ctx context.Context, id, by, comment string) error {
	return e.act(ctx, id, "close", by, comment, func(tx *store.Tx, a *store.Alarm, now int64) error {
		if a.Closed {
			return fmt.Errorf("%w: alarm %s was closed", ErrConflict, id)
		}
		if a.Ended == 0 {
			a.Ended, a.Reason = now, ClosedByHand
			if err := release(tx, *a); err != nil {
				return err
			}
		}
		if a.Acked == 0 {
			a.Acked = now
		}
		a.Closed = true
		return nil
	})
}

// Bounds of what people write, in bytes.
const (
	MaxBy      = 128
	MaxComment = 2048
)

func (e *Engine) act(ctx context.Context, id, what, by, comment string, change func(*store.Tx, *store.Alarm, int64) error) error {
	if by == "" || len(by) > MaxBy || len(comment) > MaxComment {
		return fmt.Errorf("%w: name of %d bytes, comment of %d; want 1 to %d and at most %d", ErrInput, len(by), len(comment), MaxBy, MaxComment)
	}
	now := e.now().UnixMilli()
	return e.store.Update(ctx, func(tx *store.Tx) error {
		a, err := tx.Alarm(id)
		if err != nil {
			return err
		}
		if err := change(tx, &a, now); err != nil {
			return err
		}
		if err := tx.CancelNotices(id, store.NoticeEscalation); err != nil {
			return err
		}
		return errors.Join(tx.PutAlarm(a), tx.AddAlarmAct(id, store.AlarmAct{At: now, What: what, By: by, Comment: comment}))
	})
}

// SetRules puts rules in force for the statements to come. When it returns nil
// they are durable.
func (e *Engine) SetRules(ctx context.Context, text []byte, by string) error {
	r, err := ParseRules(text)
	if err != nil {
		return err
	}
	canonical, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return e.store.Update(ctx, func(tx *store.Tx) error { return tx.AddAlarmRules(e.now().UnixMilli(), by, canonical) })
}

// InForce are the rules for the statements to come.
func InForce(ctx context.Context, st *store.Store) (*Rules, error) {
	row, err := st.NewestAlarmRules(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return Default(), nil
	} else if err != nil {
		return nil, err
	}
	return ParseRules(row.Text)
}

// release forgets that an alarm is open, in what the next statement is judged
// against.
func release(tx *store.Tx, a store.Alarm) error {
	subject := a.Device
	if a.Kind == string(Disagreement) {
		subject = pairSubject(a.Device, a.Channel, a.Other, a.Rule)
		var p pair
		if ok, err := tx.AlarmState(subject, &p); err != nil || !ok {
			return err
		}
		p.Machine.release(a.ID, false)
		return tx.PutAlarmState(subject, nil, &p)
	}
	var d memory
	if ok, err := tx.AlarmState(subject, &d); err != nil || !ok {
		return err
	}
	for _, m := range d.Machines {
		m.release(a.ID, a.Kind == string(Cumulative))
	}
	heard := d.Heard
	return tx.PutAlarmState(subject, &heard, &d)
}

// zonesOf are the zones of a plan that a device's channels serve, in plan order.
func zonesOf(p *planned, kids []statement.Hash) []string {
	var out []string
	if p == nil {
		return nil
	}
	for _, z := range p.Zones {
		serves := slices.ContainsFunc(z.Channels, func(c statement.Channel) bool { return slices.Contains(kids, c.Device) }) ||
			slices.ContainsFunc(z.Antennas, func(a statement.Antenna) bool { return slices.Contains(kids, a.Device) })
		if serves {
			out = append(out, z.ID)
		}
	}
	return out
}
