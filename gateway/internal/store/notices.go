package store

import (
	"context"
	"database/sql"
)

// A Notice is to be sent to one target, at least once.
type Notice struct {
	ID       string // idempotency key: the same with every attempt
	Alarm    string
	Target   string
	What     string
	Due      int64 // ms
	Attempts int
	Done     string // "", NoticeSent, NoticeCancelled
	At       int64  // of the newest attempt
	Error    string
	Data     []byte
}

// What a notice is about.
const (
	NoticeStart      = "start"
	NoticeEscalation = "escalation" // nobody acknowledged the alarm
	NoticeEnd        = "end"
	NoticeTest       = "test"
)

// How a notice was done with.
const (
	NoticeSent      = "sent"
	NoticeCancelled = "cancelled"
)

const noticeColumns = "id, alarm, target, what, due, attempts, done, at, error, data"

func scanNotice(rows *sql.Rows, n *Notice) error {
	return rows.Scan(&n.ID, &n.Alarm, &n.Target, &n.What, &n.Due, &n.Attempts, &n.Done, &n.At, &n.Error, &n.Data)
}

// AddNotice queues a notice; one that is there already stays as it is.
func (t *Tx) AddNotice(n Notice) error {
	return t.exec("INSERT INTO notice ("+noticeColumns+") VALUES ($1,$2,$3,$4,$5,0,'',0,'',$6) ON CONFLICT DO NOTHING", n.ID, n.Alarm, n.Target, n.What, n.Due, n.Data)
}

// PutNotice stores what became of an attempt.
func (t *Tx) PutNotice(n Notice) error {
	return t.exec("UPDATE notice SET due = $1, attempts = $2, done = $3, at = $4, error = $5 WHERE id = $6", n.Due, n.Attempts, n.Done, n.At, n.Error, n.ID)
}

// CancelNotices takes an alarm's notices of a kind out of the queue.
func (t *Tx) CancelNotices(alarm, what string) error {
	return t.exec("UPDATE notice SET done = 'cancelled' WHERE alarm = $1 AND what = $2 AND done = ''", alarm, what)
}

// NoticesOf are an alarm's notices, the first due first.
func (t *Tx) NoticesOf(alarm string) ([]Notice, error) {
	return collect(t.ctx, t.tx, scanNotice, "SELECT "+noticeColumns+" FROM notice WHERE alarm = $1 ORDER BY due, id", alarm)
}

// Notices are an alarm's notices, the first due first.
func (s *Store) Notices(ctx context.Context, alarm string) ([]Notice, error) {
	return collect(ctx, s.db, scanNotice, "SELECT "+noticeColumns+" FROM notice WHERE alarm = $1 ORDER BY due, id", alarm)
}

// DueNotices are the notices due at a time to targets that are neither parked nor
// left alone for a while, at most limit.
func (s *Store) DueNotices(ctx context.Context, now int64, limit int) ([]Notice, error) {
	return collect(ctx, s.db, scanNotice, "SELECT "+noticeColumns+" FROM notice WHERE done = '' AND due <= $1 "+
		"AND NOT EXISTS (SELECT 1 FROM notice_target t WHERE t.id = notice.target AND (t.parked <> 0 OR t.retry > $1)) ORDER BY due, id LIMIT $2", now, limit)
}

// A TargetState is how sending to a target goes.
type TargetState struct {
	ID       string
	Failures int   // in a row
	Retry    int64 // nothing is sent before, ms
	Parked   int64 // since, ms; 0: not
	Error    string
	Waiting  int // notices in the queue
}

func scanTargetState(rows *sql.Rows, s *TargetState) error {
	return rows.Scan(&s.ID, &s.Failures, &s.Retry, &s.Parked, &s.Error, &s.Waiting)
}

const targetColumns = "SELECT id, failures, retry, parked, error, (SELECT COUNT(*) FROM notice WHERE target = notice_target.id AND done = '') FROM notice_target "

// TargetStates are those of all targets that anything was sent to.
func (s *Store) TargetStates(ctx context.Context) ([]TargetState, error) {
	return collect(ctx, s.db, scanTargetState, targetColumns+"ORDER BY id")
}

// TargetState is that of one target; the zero state if nothing was sent to it yet.
func (t *Tx) TargetState(id string) (TargetState, error) {
	s, err := first(collect(t.ctx, t.tx, scanTargetState, targetColumns+"WHERE id = $1", id))
	if err == ErrNotFound {
		return TargetState{ID: id}, nil
	}
	return s, err
}

// PutTargetState stores how sending to a target goes.
func (t *Tx) PutTargetState(s TargetState) error {
	return t.exec("INSERT INTO notice_target (id, failures, retry, parked, error) VALUES ($1,$2,$3,$4,$5) ON CONFLICT (id) DO UPDATE SET "+
		"failures = excluded.failures, retry = excluded.retry, parked = excluded.parked, error = excluded.error", s.ID, s.Failures, s.Retry, s.Parked, s.Error)
}
