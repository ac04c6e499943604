package store

import (
	"context"
	"database/sql"
	"errors"
)

// A Finding says that an object may be a copy, or is not where it ought to be.
type Finding struct {
	ID     []byte // of what it says
	Kind   string
	Object string
	At     int64  // ms
	Found  int64  // ms
	Detail []byte // JSON
	Told   bool   // to the alarms
}

const findingColumns = "id, kind, object, at, found, detail, told"

func scanFinding(rows *sql.Rows, f *Finding) error {
	return rows.Scan(&f.ID, &f.Kind, &f.Object, &f.At, &f.Found, &f.Detail, &f.Told)
}

// AddFinding stores a finding unless it is there, and reports whether it is new.
func (t *Tx) AddFinding(f Finding) (fresh bool, err error) {
	r, err := t.tx.ExecContext(t.ctx, "INSERT INTO finding ("+findingColumns+") VALUES ($1,$2,$3,$4,$5,$6,$7) ON CONFLICT DO NOTHING",
		f.ID, f.Kind, f.Object, f.At, f.Found, f.Detail, f.Told)
	if err != nil {
		return false, err
	}
	n, err := r.RowsAffected()
	return n > 0, err
}

// MarkTold says that the alarms know of a finding.
func (t *Tx) MarkTold(id []byte) error {
	return t.exec("UPDATE finding SET told = 1 WHERE id = $1", id)
}

// Untold are findings that the alarms do not know of yet, the oldest first.
func (t *Tx) Untold(limit int) ([]Finding, error) {
	return collect(t.ctx, t.tx, scanFinding, "SELECT "+findingColumns+" FROM finding WHERE told = 0 ORDER BY found, id LIMIT $1", limit)
}

// Findings are the newest findings, of an object or, where it is "", of all.
func (s *Store) Findings(ctx context.Context, object string, limit int) ([]Finding, error) {
	return collect(ctx, s.db, scanFinding, "SELECT "+findingColumns+" FROM finding WHERE $1 = '' OR object = $1 ORDER BY at DESC, id LIMIT $2", object, limit)
}

// Searched is from which row on a table is still to be searched for findings.
func (s *Store) Searched(ctx context.Context, source string) (next int64, err error) {
	next, err = first(collect(ctx, s.db, func(rows *sql.Rows, n *int64) error { return rows.Scan(n) }, "SELECT next FROM searched WHERE source = $1", source))
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	return next, err
}

// PutSearched moves Searched on.
func (t *Tx) PutSearched(source string, next int64) error {
	return t.exec("INSERT INTO searched (source, next) VALUES ($1,$2) ON CONFLICT (source) DO UPDATE SET next = $2", source, next)
}

// SightingsFrom are sightings in the order in which they were stored, from a row
// on, at most limit, and the row after the last of them.
func (s *Store) SightingsFrom(ctx context.Context, row int64, limit int) (out []Sighting, next int64, err error) {
	next = row
	type numbered struct {
		n int64
		s Sighting
	}
	rows, err := collect(ctx, s.db, func(rows *sql.Rows, x *numbered) error {
		var kid []byte
		if err := rows.Scan(&x.n, &x.s.EPC, &x.s.TID, &x.s.Index, &x.s.Record, &kid, &x.s.Antenna, &x.s.First, &x.s.Last); err != nil {
			return err
		}
		return copyHash(&x.s.KeyID, kid)
	}, "SELECT rowid, "+sightingColumns+" FROM sighting WHERE rowid >= $1 ORDER BY rowid LIMIT $2", row, limit)
	for _, x := range rows {
		out, next = append(out, x.s), x.n+1
	}
	return out, next, err
}

// CommissionedFrom are the objects of events that gave them their numbers, in the
// order of the ledger, from a row on, those of at most limit events, and the row
// after the last of them.
func (s *Store) CommissionedFrom(ctx context.Context, row int64, action uint64, limit int) (objects []string, next int64, err error) {
	next = row
	type named struct {
		idx    int64
		object string
	}
	rows, err := collect(ctx, s.db, func(rows *sql.Rows, x *named) error { return rows.Scan(&x.idx, &x.object) },
		"SELECT event_object.idx, object FROM event_object WHERE list = 6 AND idx IN (SELECT idx FROM event WHERE idx >= $1 AND action = $2 ORDER BY idx LIMIT $3) ORDER BY event_object.idx", row, action, limit)
	for _, x := range rows {
		objects, next = append(objects, x.object), x.idx+1
	}
	return objects, next, err
}

// A Scan is how often an item's page was opened on a day, and in which state the
// item was on record then.
type Scan struct {
	Day   int64 // of UTC, since 1970
	State string
	Count int64
}

// AddScan counts one, and returns how many there were that day in that state.
func (t *Tx) AddScan(object string, day int64, state string, at int64) (count int64, err error) {
	if err := t.exec("INSERT INTO scanned (object, first) VALUES ($1,$2) ON CONFLICT DO NOTHING", object, at); err != nil {
		return 0, err
	}
	err = t.tx.QueryRowContext(t.ctx, "INSERT INTO scan (object, day, state, count) VALUES ($1,$2,$3,1) ON CONFLICT (object, day, state) DO UPDATE SET count = count + 1 RETURNING count",
		object, day, state).Scan(&count)
	return count, err
}

// Scans are an item's scans by day, and when the first one was in ms, 0 for never.
func (s *Store) Scans(ctx context.Context, object string) (scans []Scan, at int64, err error) {
	at, err = first(collect(ctx, s.db, func(rows *sql.Rows, n *int64) error { return rows.Scan(n) }, "SELECT first FROM scanned WHERE object = $1", object))
	if errors.Is(err, ErrNotFound) {
		return nil, 0, nil
	} else if err != nil {
		return nil, 0, err
	}
	scans, err = collect(ctx, s.db, func(rows *sql.Rows, x *Scan) error { return rows.Scan(&x.Day, &x.State, &x.Count) },
		"SELECT day, state, count FROM scan WHERE object = $1 ORDER BY day, state", object)
	return scans, at, err
}
