package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"trailmark/statement"
)

// An Alarm is one alarm. Times are ms; 0 is never.
type Alarm struct {
	N        int64 // order of raising
	ID       string
	Rule     string // id of the rule
	Kind     string
	Severity string
	RuleHash statement.Hash // of the rule as it was
	Device   string         // identity
	Channel  string
	Other    string // the neighbour, of a disagreement
	Zone     string
	Unit     string // of Peak
	// Basis is 0 where the times are the device's word, 1 where they are the
	// gateway's: it is about silence or forks, or the device's clock was unset.
	Basis     int
	Start     int64
	Triggered int64
	Ended     int64
	Reason    string
	Measured  int64 // ms that counted so far
	Peak      *int64
	PeakAt    int64
	Count     int64
	Index     uint64          // statement that triggered it
	Raised    int64           // by the gateway's clock
	Window    *statement.Hash // the maintenance window that held its notices back
	Acked     int64
	Closed    bool // nothing more to do: ended and acknowledged, or closed by somebody
}

const alarmColumns = "id, rule, kind, severity, rule_hash, device, channel, other, zone, unit, basis, start, triggered, ended, reason, measured, peak, peak_at, count, idx, raised, window, acked, closed"

func scanAlarm(rows *sql.Rows, a *Alarm) error {
	var hash, window []byte
	if err := rows.Scan(&a.N, &a.ID, &a.Rule, &a.Kind, &a.Severity, &hash, &a.Device, &a.Channel, &a.Other, &a.Zone, &a.Unit, &a.Basis, &a.Start,
		&a.Triggered, &a.Ended, &a.Reason, &a.Measured, &a.Peak, &a.PeakAt, &a.Count, &a.Index, &a.Raised, &window, &a.Acked, &a.Closed); err != nil {
		return err
	}
	if window != nil {
		a.Window = new(statement.Hash)
		if err := copyHash(a.Window, window); err != nil {
			return err
		}
	}
	return copyHash(&a.RuleHash, hash)
}

// AddAlarm stores a new alarm; one with the same id stays as it is, and false is
// returned.
func (t *Tx) AddAlarm(a Alarm) (bool, error) {
	var window []byte
	if a.Window != nil {
		window = a.Window[:]
	}
	r, err := t.tx.ExecContext(t.ctx, "INSERT INTO alarm ("+alarmColumns+") VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23,$24) ON CONFLICT DO NOTHING",
		a.ID, a.Rule, a.Kind, a.Severity, a.RuleHash[:], a.Device, a.Channel, a.Other, a.Zone, a.Unit, a.Basis, a.Start, a.Triggered, a.Ended, a.Reason,
		a.Measured, a.Peak, a.PeakAt, a.Count, a.Index, a.Raised, window, a.Acked, a.Closed)
	if err != nil {
		return false, err
	}
	n, err := r.RowsAffected()
	return n == 1, err
}

// PutAlarm stores what changes of an alarm.
func (t *Tx) PutAlarm(a Alarm) error {
	return t.exec("UPDATE alarm SET ended = $1, reason = $2, measured = $3, peak = $4, peak_at = $5, count = $6, acked = $7, closed = $8 WHERE id = $9",
		a.Ended, a.Reason, a.Measured, a.Peak, a.PeakAt, a.Count, a.Acked, a.Closed, a.ID)
}

// Alarm is one alarm, as this transaction sees it.
func (t *Tx) Alarm(id string) (Alarm, error) {
	return first(collect(t.ctx, t.tx, scanAlarm, "SELECT n, "+alarmColumns+" FROM alarm WHERE id = $1", id))
}

// Alarm is one alarm.
func (s *Store) Alarm(ctx context.Context, id string) (Alarm, error) {
	return first(collect(ctx, s.db, scanAlarm, "SELECT n, "+alarmColumns+" FROM alarm WHERE id = $1", id))
}

// OpenAlarms are the alarms whose condition goes on.
func (t *Tx) OpenAlarms() ([]Alarm, error) {
	return collect(t.ctx, t.tx, scanAlarm, "SELECT n, "+alarmColumns+" FROM alarm WHERE ended = 0 ORDER BY n")
}

// Which alarms to list.
const (
	EveryAlarm   = ""
	ActiveAlarms = "active" // those that somebody still has to do something about
	EndedAlarms  = "ended"
	// FirstAlarms are the active ones, those that go on before those that have ended:
	// for a first page, since before counts by number.
	FirstAlarms = "first"
)

// Alarms are at most limit alarms, newest first, raised before number before (0:
// all).
func (s *Store) Alarms(ctx context.Context, which string, before int64, limit int) ([]Alarm, error) {
	where := map[string]string{ActiveAlarms: "closed = 0 AND ", FirstAlarms: "closed = 0 AND ", EndedAlarms: "ended <> 0 AND "}[which]
	order := ""
	if which == FirstAlarms {
		order = "ended <> 0, "
	}
	return collect(ctx, s.db, scanAlarm, "SELECT n, "+alarmColumns+" FROM alarm WHERE "+where+"(n < $1 OR $1 = 0) ORDER BY "+order+"n DESC LIMIT $2", before, limit)
}

// AlarmCounts are the active alarms: those whose condition goes on, and those that
// ended and wait for somebody.
func (s *Store) AlarmCounts(ctx context.Context) (running, ended int, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT COUNT(*) FILTER (WHERE ended = 0), COUNT(*) FILTER (WHERE ended <> 0) FROM alarm WHERE closed = 0").Scan(&running, &ended)
	return running, ended, err
}

// An AlarmAct is what somebody did with an alarm.
type AlarmAct struct {
	At                int64
	What, By, Comment string
}

// AddAlarmAct keeps what somebody did.
func (t *Tx) AddAlarmAct(alarm string, a AlarmAct) error {
	return t.exec("INSERT INTO alarm_log (alarm, at, what, by, comment) VALUES ($1,$2,$3,$4,$5)", alarm, a.At, a.What, a.By, a.Comment)
}

// AlarmActs are what people did with an alarm, oldest first.
func (s *Store) AlarmActs(ctx context.Context, alarm string) ([]AlarmAct, error) {
	return collect(ctx, s.db, func(rows *sql.Rows, a *AlarmAct) error { return rows.Scan(&a.At, &a.What, &a.By, &a.Comment) },
		"SELECT at, what, by, comment FROM alarm_log WHERE alarm = $1 ORDER BY n", alarm)
}

// AlarmPosition is the first statement that was not judged yet, and the rules
// that judged last.
func (t *Tx) AlarmPosition() (next uint64, rules int64, err error) {
	err = t.tx.QueryRowContext(t.ctx, "SELECT next, rules FROM alarm_position").Scan(&next, &rules)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, 0, nil
	}
	return next, rules, err
}

// PutAlarmPosition moves it.
func (t *Tx) PutAlarmPosition(next uint64, rules int64) error {
	return t.exec("INSERT INTO alarm_position (one, next, rules) VALUES (0, $1, $2) ON CONFLICT (one) DO UPDATE SET next = excluded.next, rules = excluded.rules", next, rules)
}

// Statements are up to limit statements from an index on, as this transaction sees
// them.
func (t *Tx) Statements(from uint64, limit int) ([]Statement, error) {
	return collect(t.ctx, t.tx, scanStatement, "SELECT "+statementRead+" FROM statement WHERE idx >= $1 ORDER BY idx LIMIT $2", from, limit)
}

// KindBelow are the statements of a kind other than frame with an index below
// limit, in ledger order.
func (t *Tx) KindBelow(kind statement.Kind, limit uint64) ([]Statement, error) {
	return collect(t.ctx, t.tx, scanStatement, "SELECT "+statementRead+" FROM statement WHERE kind = $1 AND kind <> 'frame' AND idx < $2 ORDER BY idx", string(kind), limit)
}

// NewestOf is the newest statement of a kind other than frame with an index below
// limit.
func (t *Tx) NewestOf(kind statement.Kind, limit uint64) (Statement, error) {
	return first(collect(t.ctx, t.tx, scanStatement, "SELECT "+statementRead+" FROM statement WHERE kind = $1 AND kind <> 'frame' AND idx < $2 ORDER BY idx DESC LIMIT 1", string(kind), limit))
}

// BlocksBelow are the blocks of a channel with a part in (from, to] ms of traces
// in wall time, in statements below an index, in order of time.
func (t *Tx) BlocksBelow(kid statement.Hash, channel string, from, to int64, below uint64) ([]Block, error) {
	return collect(t.ctx, t.tx, scanBlock, blocks+"trace.kid = $1 AND trace.channel = $2 AND leaf.t1 > $3 AND leaf.t0 < $4 AND leaf.idx < $5 ORDER BY leaf.t1, leaf.idx",
		kid[:], channel, from, to, below)
}

// NewForks is fork evidence that was not judged yet, oldest first.
func (t *Tx) NewForks() ([]Statement, error) {
	return collect(t.ctx, t.tx, func(rows *sql.Rows, f *Statement) error {
		var id, kid []byte
		if err := rows.Scan(&id, &kid, &f.Epoch, &f.Seq, &f.Received, &f.Data); err != nil {
			return err
		}
		return join(copyHash(&f.ID, id), copyHash(&f.KeyID, kid))
	}, "SELECT id, kid, epoch, seq, received, data FROM fork WHERE NOT EXISTS (SELECT 1 FROM alarm_fork WHERE alarm_fork.id = fork.id) ORDER BY received, id LIMIT 256")
}

// JudgedFork remembers that fork evidence was judged.
func (t *Tx) JudgedFork(id statement.Hash) error {
	return t.exec("INSERT INTO alarm_fork (id) VALUES ($1) ON CONFLICT DO NOTHING", id[:])
}

// AlarmState reads into v what is kept of a subject; false: nothing.
func (t *Tx) AlarmState(subject string, v any) (bool, error) {
	return alarmState(t.ctx, t.tx, subject, v)
}

// AlarmState reads into v what is kept of a subject; false: nothing.
func (s *Store) AlarmState(ctx context.Context, subject string, v any) (bool, error) {
	return alarmState(ctx, s.db, subject, v)
}

func alarmState(ctx context.Context, q querier, subject string, v any) (bool, error) {
	var data []byte
	err := q.QueryRowContext(ctx, "SELECT data FROM alarm_state WHERE subject = $1", subject).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, json.Unmarshal(data, v)
}

// PutAlarmState keeps v of a subject; heard is nil unless it is a device.
func (t *Tx) PutAlarmState(subject string, heard *int64, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return t.exec("INSERT INTO alarm_state (subject, heard, data) VALUES ($1,$2,$3) ON CONFLICT (subject) DO UPDATE SET heard = excluded.heard, data = excluded.data", subject, heard, data)
}

// HeardBefore are the devices whose newest frame came in at a time or before it.
func (t *Tx) HeardBefore(at int64) ([]string, error) {
	return collect(t.ctx, t.tx, func(rows *sql.Rows, s *string) error { return rows.Scan(s) },
		"SELECT subject FROM alarm_state WHERE heard IS NOT NULL AND heard <= $1 ORDER BY subject", at)
}

// AlarmRules is a set of rules in force from a statement on.
type AlarmRules struct {
	N    int64 // 1, 2, …
	From uint64
	At   int64
	By   string
	Text []byte
}

func scanAlarmRules(rows *sql.Rows, r *AlarmRules) error {
	return rows.Scan(&r.N, &r.From, &r.At, &r.By, &r.Text)
}

// AddAlarmRules puts rules in force for the statements to come.
func (t *Tx) AddAlarmRules(at int64, by string, text []byte) error {
	next, err := t.Next()
	if err != nil {
		return err
	}
	return t.exec("INSERT INTO alarm_rules (from_idx, at, by, text) VALUES ($1,$2,$3,$4)", next, at, by, text)
}

// AlarmRulesAt are the rules that judge a statement; ErrNotFound: none were set.
func (t *Tx) AlarmRulesAt(index uint64) (AlarmRules, error) {
	return first(collect(t.ctx, t.tx, scanAlarmRules, "SELECT n, from_idx, at, by, text FROM alarm_rules WHERE from_idx <= $1 ORDER BY n DESC LIMIT 1", index))
}

// AlarmRulesNumber are the rules with a number.
func (t *Tx) AlarmRulesNumber(n int64) (AlarmRules, error) {
	return first(collect(t.ctx, t.tx, scanAlarmRules, "SELECT n, from_idx, at, by, text FROM alarm_rules WHERE n = $1", n))
}

// NewestAlarmRules are the rules in force for the statements to come.
func (s *Store) NewestAlarmRules(ctx context.Context) (AlarmRules, error) {
	return first(collect(ctx, s.db, scanAlarmRules, "SELECT n, from_idx, at, by, text FROM alarm_rules ORDER BY n DESC LIMIT 1"))
}

// AddAlarmRule keeps the text of a single rule under its hash.
func (t *Tx) AddAlarmRule(hash statement.Hash, text []byte) error {
	return t.exec("INSERT INTO alarm_rule (hash, text) VALUES ($1,$2) ON CONFLICT DO NOTHING", hash[:], text)
}

// AlarmRule is the text of a single rule.
func (s *Store) AlarmRule(ctx context.Context, hash statement.Hash) (text []byte, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT text FROM alarm_rule WHERE hash = $1", hash[:]).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	return text, err
}

// A Window is a maintenance window for one object, by a signed statement.
type Window struct {
	ID            statement.Hash
	Index         uint64
	Issuer        string
	Opens, Closes int64
	Object        string // URI of a zone or a device
	Why           string
}

func scanWindow(rows *sql.Rows, w *Window) error {
	var id []byte
	if err := rows.Scan(&id, &w.Index, &w.Issuer, &w.Opens, &w.Closes, &w.Object, &w.Why); err != nil {
		return err
	}
	return copyHash(&w.ID, id)
}

// AddWindow keeps a window.
func (t *Tx) AddWindow(w Window) error {
	return t.exec("INSERT INTO alarm_window (id, idx, issuer, opens, closes, object, why) VALUES ($1,$2,$3,$4,$5,$6,$7) ON CONFLICT DO NOTHING",
		w.ID[:], w.Index, w.Issuer, w.Opens, w.Closes, w.Object, w.Why)
}

// WindowAt is the window with one of the objects that holds a time and closes
// last; ErrNotFound: none.
func (t *Tx) WindowAt(at int64, objects ...string) (Window, error) {
	list, err := json.Marshal(objects)
	if err != nil {
		return Window{}, err
	}
	return first(collect(t.ctx, t.tx, scanWindow, "SELECT id, idx, issuer, opens, closes, object, why FROM alarm_window WHERE opens <= $1 AND closes > $1 "+
		"AND object IN (SELECT value FROM json_each($2)) ORDER BY closes DESC, idx LIMIT 1", at, string(list)))
}

// Windows are the windows that close after a time, the soonest first, at most 100.
func (s *Store) Windows(ctx context.Context, after int64) ([]Window, error) {
	return collect(ctx, s.db, scanWindow, "SELECT id, idx, issuer, opens, closes, object, why FROM alarm_window WHERE closes > $1 ORDER BY opens, idx LIMIT 100", after)
}

// EntryOf is the plan's entry that a trace of a channel was made by; nil: none.
func (s *Store) EntryOf(ctx context.Context, kid statement.Hash, channel string, start statement.Hash) (*statement.Channel, error) {
	t, err := first(collect(ctx, s.db, scanTrace, "SELECT "+traceColumns+" FROM trace WHERE kid = $1 AND channel = $2 AND start = $3", kid[:], channel, start[:]))
	return t.Entry, err
}

// AlarmByPrefix is the id of the one alarm whose id starts so; ErrNotFound: none or
// several do.
func (s *Store) AlarmByPrefix(ctx context.Context, prefix string) (string, error) {
	ids, err := collect(ctx, s.db, func(rows *sql.Rows, id *string) error { return rows.Scan(id) },
		"SELECT id FROM alarm WHERE substr(id, 1, length($1)) = $1 LIMIT 2", prefix)
	if err == nil && (len(ids) != 1 || prefix == "") {
		err = ErrNotFound
	}
	if err != nil {
		return "", err
	}
	return ids[0], nil
}
