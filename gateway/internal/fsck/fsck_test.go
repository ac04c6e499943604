package fsck

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trailmark/gateway/internal/store"
	"trailmark/internal/chain/comet"
	"trailmark/statement"
)

// uncovered are the columns that nothing signs and no second copy gives: what a
// flipped bit there changes is the gateway's own word and no more.
var uncovered = map[string]string{
	"statement.received":      "when the gateway took it; in bounds",
	"fork.received":           "the same",
	"capture.id":              "what was told of a capture, the gateway's own word",
	"capture.at":              "the same",
	"capture.job":             "the same",
	"goose_db_version.tstamp": "when the schema was brought up to date",
}

// shared is a chain that is opened once for many checks.
type shared struct{ *comet.Archive }

func (shared) Close() error { return nil }

func (w *world) share() func() (Chain, error) {
	a, err := comet.OpenArchive(filepath.Join(w.dir, "chain"), chainID)
	w.must(err)
	w.t.Cleanup(func() { a.Close() })
	return func() (Chain, error) { return shared{a}, nil }
}

func TestCleanStore(t *testing.T) {
	w := newWorld(t)
	w.chain = w.share()
	sum, found := w.check()
	for _, f := range found {
		t.Error(f)
	}
	if want := (Summary{Statements: 37, Entries: 37, Anchors: 2, Readings: 72, Cosignatures: 4}); sum != want {
		t.Errorf("checked %+v, want %+v", sum, want)
	}
}

// TestTwoLedgers checks a store over the end of a half-year, and names the ledger and
// the row of what is damaged in either.
func TestTwoLedgers(t *testing.T) {
	w := newWorldOver(t, true)
	w.chain = w.share()
	sum, found := w.check()
	for _, f := range found {
		t.Error(f)
	}
	if want := (Summary{Statements: 40, Entries: 40, Anchors: 3, Readings: 81, Cosignatures: 6}); sum != want {
		t.Errorf("checked %+v, want %+v", sum, want)
	}
	for _, c := range []struct{ file, want string }{
		{"ledger/tile/entries/000.p/37", "ledger/tile/entries/000.p/37: byte "},
		{"ledgers/2027h1/tile/entries/000.p/3", "ledgers/2027h1/tile/entries/000.p/3: byte "},
		{"ledgers/2027h1/tile/0/000.p/3", "ledgers/2027h1/tile/0/000.p/3: byte "},
		{"ledgers/2027h1/checkpoint", "ledgers/2027h1/checkpoint: "},
	} {
		before := w.read(c.file)
		damaged := slices.Clone(before)
		damaged[40] ^= 1
		w.must(os.WriteFile(filepath.Join(w.dir, c.file), damaged, 0o644))
		_, found := w.check()
		w.must(os.WriteFile(filepath.Join(w.dir, c.file), before, 0o644))
		if len(found) == 0 || !strings.HasPrefix(found[0].String(), c.want) {
			t.Errorf("%s: %v", c.file, found)
		}
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, store.File))
	w.must(err)
	defer db.Close()
	for _, c := range []struct{ damage, repair, want string }{
		{"UPDATE statement SET data = CAST(data || x'00' AS BLOB) WHERE idx = 38", "UPDATE statement SET data = substr(data, 1, length(data)-1) WHERE idx = 38", "table statement, row 38: "},
		{"UPDATE shard SET first = 36 WHERE n = 1", "UPDATE shard SET first = 37 WHERE n = 1", ""},
		{"UPDATE shard SET first = 38 WHERE n = 1", "UPDATE shard SET first = 37 WHERE n = 1", ""},
		{"UPDATE shard SET origin = 'trailmark.example/demo/2028h1' WHERE n = 1", "UPDATE shard SET origin = '" + nextOrigin + "' WHERE n = 1", "table shard, row 1: "},
		{"UPDATE anchor SET origin = '" + origin + "' WHERE size = 3", "UPDATE anchor SET origin = '" + nextOrigin + "' WHERE size = 3", ""},
	} {
		_, err := db.Exec(c.damage)
		w.must(err)
		_, found := w.check()
		_, err = db.Exec(c.repair)
		w.must(err)
		if len(found) == 0 || c.want != "" && !slices.ContainsFunc(found, func(f Finding) bool { return strings.HasPrefix(f.String(), c.want) }) {
			t.Errorf("%s: %v", c.damage, found)
		}
	}
	if _, found := w.check(); len(found) > 0 {
		t.Errorf("put back, but %v", found)
	}
}

// TestGoesOn: after a frame that cannot be read every other row is still judged by
// what was signed, and nothing else is blamed for it.
func TestGoesOn(t *testing.T) {
	w := newWorld(t)
	w.chain = w.share()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, store.File))
	w.must(err)
	defer db.Close()
	for _, q := range []string{
		"UPDATE statement SET data = zeroblob(10) WHERE idx = 8", // in the middle of a trace
		"UPDATE statement SET extra = zeroblob(10) WHERE idx = 9",
		"UPDATE sighting SET antenna = 'llrp0/2' WHERE idx = 12",
		"UPDATE leaf SET readings = 4 WHERE trace = 1 AND n = 4", // after it
		"DELETE FROM node WHERE trace = 3 AND level = 1 AND n = 0",
		"INSERT INTO node VALUES (9, 0, 0, x'00')",
	} {
		_, err := db.Exec(q)
		w.must(err)
	}
	_, found := w.check()
	var got []string
	for _, f := range found {
		got = append(got, f.Table+" "+f.Row)
	}
	slices.Sort(got)
	want := []string{"leaf 1, 4", "node 9, 0, 0", "node trace, level, n = 3, 1, 0", "sighting 7", "statement 8", "statement 9"}
	if !slices.Equal(got, want) {
		t.Errorf("named %q, want %q\n%v", got, want, found)
	}
}

// TestEvents: an erased document is no damage, and every proof of its event still
// stands; leaves that are gone, an order that was changed and an event that was put
// in are.
func TestEvents(t *testing.T) {
	w := newWorld(t)
	w.chain = w.share()
	path := filepath.Join(w.dir, store.File)
	st, err := store.Open(t.Context(), w.dir)
	w.must(err)
	found, err := st.Events(t.Context(), store.EventQuery{Limit: 10})
	w.must(err)
	for _, e := range found {
		w.must(st.Update(t.Context(), func(tx *store.Tx) error {
			erased, err := tx.EraseEvent(e.ID + e.Corrects)
			if !erased && e.Corrects == "" {
				t.Errorf("%s was not there to erase", e.ID)
			}
			return err
		}))
	}
	w.must(st.Close())
	if _, found := w.check(); len(found) > 0 {
		t.Fatalf("documents erased: %v", found)
	}
	good := w.read(store.File)
	for name, c := range map[string]struct{ query, want string }{
		"a leaf gone":              {"DELETE FROM event_object WHERE list = 6 AND object LIKE '%2018'", "event_object idx 17, list 6"},
		"all leaves gone":          {"DELETE FROM event_object WHERE idx = 18 AND list = 7", "event_object idx 18, list 7"},
		"a parent renamed":         {"UPDATE event_object SET object = 'x' WHERE list = 5", "event_object 'x', 17, 5, 0"},
		"an object put in":         {"INSERT INTO event_object VALUES ('x', 17, 6, 9, zeroblob(32), x'00')", "event_object idx 17, list 6"},
		"another action":           {"UPDATE event SET action = 1 WHERE idx = 17", "event 17"},
		"another time":             {"UPDATE event SET time = time + 1 WHERE idx = 18", "event 18"},
		"an event gone":            {"DELETE FROM event WHERE idx = 18", "event idx = 18"},
		"an event of no statement": {"INSERT INTO event (idx, action, time, place, step) VALUES (2, 1, 1, '', '')", "event 2"},
		"a document put back":      {"UPDATE event SET doc = '{}' WHERE idx = 16", "event 16"},
		"a seed put back":          {"UPDATE event SET seed = zeroblob(32) WHERE idx = 16", "event 16"},
		"another taker":            {"UPDATE transfer SET taker = 'x' WHERE handover IS NOT NULL", "transfer 21"},
		"an object of a handover":  {"DELETE FROM transfer_object WHERE idx = 21 AND object LIKE '%2017'", "transfer_object object, idx = 'https://id.gs1.org/01/10614141073464/21/2017', 21"},
	} {
		db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
		w.must(err)
		_, err = db.Exec(c.query)
		w.must(err)
		_, err = db.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
		w.must(err)
		w.must(db.Close())
		_, found := w.check()
		if !slices.ContainsFunc(found, func(f Finding) bool { return f.Table+" "+f.Row == c.want }) {
			t.Errorf("%s: %v, want %s", name, found, c.want)
		}
		w.must(os.WriteFile(path, good, 0o600))
	}
}

// TestEventChain: events that the organisation's key signed in another order than
// they name are told of, though each is whole by itself.
func TestEventChain(t *testing.T) {
	w := newWorld(t)
	w.chain = w.share()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, store.File))
	w.must(err)
	defer db.Close()
	// The statement of the first event is replaced by one that names another before it.
	items, err := statement.NewItems([32]byte{1}, statement.ListItems, statement.Item{Object: item, Prev: statement.Hash{9}})
	w.must(err)
	s := w.as(statement.KindEvent, statement.NewEvent([]byte("{}"), statement.Commission, w.now, items))
	id := s.ID()
	for _, q := range []struct {
		query string
		args  []any
	}{
		{"UPDATE statement SET data = $1, id = $2 WHERE idx = 16", []any{s.Bytes(), id[:]}},
		{"DELETE FROM event_object WHERE idx = 16", nil},
		{"INSERT INTO event_object VALUES ($1, 16, 6, 0, $2, $3)", []any{item, bytes.Repeat([]byte{9}, 1), []byte(items[0])}},
	} {
		_, err := db.Exec(q.query, q.args...)
		w.must(err)
	}
	_, found := w.check()
	if !slices.ContainsFunc(found, func(f Finding) bool {
		return f.Table == "statement" && f.Row == "16" && strings.Contains(f.What, "names 0900000000000000… before it")
	}) {
		t.Errorf("%v", found)
	}
}

// cell is one value of the store, with the columns that find its row.
type cell struct {
	table, column string
	where         string
	key           []any
	value         any
}

// cells are all values of the store.
func cells(t *testing.T, db *sql.DB) (out []cell) {
	t.Helper()
	tables := strs(t, db, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
	for _, table := range tables {
		columns := strs(t, db, "SELECT name FROM pragma_table_info('"+table+"') ORDER BY cid")
		keys := strs(t, db, "SELECT name FROM pragma_table_info('"+table+"') WHERE pk > 0 ORDER BY pk")
		if len(keys) == 0 {
			keys = []string{"rowid"}
		}
		rows, err := db.Query("SELECT " + strings.Join(keys, ", ") + ", " + strings.Join(columns, ", ") + " FROM " + table)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			values, into := make([]any, len(keys)+len(columns)), make([]any, len(keys)+len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			for i, column := range columns {
				if v := values[len(keys)+i]; v != nil {
					out = append(out, cell{table, column, strings.Join(keys, " = ? AND ") + " = ?", values[:len(keys)], v})
				}
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func strs(t *testing.T, db *sql.DB, q string) (out []string) {
	t.Helper()
	rows, err := db.Query(q)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

// flip is a value with one bit changed; false for one that has no bits.
func flip(v any, r *rand.Rand) (any, bool) {
	switch v := v.(type) {
	case int64:
		return v ^ 1<<r.IntN(63), true
	case []byte:
		if len(v) == 0 {
			return nil, false
		}
		b := slices.Clone(v)
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		return b, true
	case string:
		if len(v) == 0 {
			return nil, false
		}
		b := []byte(v)
		b[r.IntN(len(b))] ^= 1 << r.IntN(7)
		return string(b), true
	}
	return nil, false
}

// TestFlippedValues flips one bit at a time, some in every column of every table:
// each is found, in the table where it is.
func TestFlippedValues(t *testing.T) {
	each := 1 // of every column
	if os.Getenv("TRAILMARK_LONG") != "" {
		each = 5
	}
	w := newWorld(t)
	w.chain = w.share()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, store.File))
	w.must(err)
	defer db.Close()
	byColumn := map[string][]cell{}
	for _, c := range cells(t, db) {
		byColumn[c.table+"."+c.column] = append(byColumn[c.table+"."+c.column], c)
	}
	r := rand.New(rand.NewPCG(1, 2))
	flips, silent := 0, map[string]int{}
	for _, column := range slices.Sorted(maps.Keys(byColumn)) {
		for range each {
			c := byColumn[column][r.IntN(len(byColumn[column]))]
			bad, ok := flip(c.value, r)
			if !ok {
				continue
			}
			set := func(to any, where []any) error {
				_, err := db.Exec("UPDATE "+c.table+" SET "+c.column+" = ? WHERE "+c.where, append([]any{to}, where...)...)
				return err
			}
			if err := set(bad, c.key); err != nil {
				continue // another row has that key
			}
			flips++
			_, found := w.check()
			named := slices.ContainsFunc(found, func(f Finding) bool { return f.Table == c.table })
			switch {
			case !named && uncovered[column] != "":
				silent[column]++
			case !named:
				t.Errorf("%s, row %v: %v became %v, and nobody saw; findings: %v", column, c.key, show(c.value), show(bad), found)
			}
			// A key column was itself changed: the row is found by its new value.
			where := slices.Clone(c.key)
			for i, k := range strings.Split(c.where, " = ?") {
				if strings.TrimPrefix(k, " AND ") == c.column {
					where[i] = bad
				}
			}
			w.must(set(c.value, where))
		}
	}
	if _, found := w.check(); len(found) > 0 {
		t.Fatalf("put back, but: %v", found)
	}
	t.Logf("%d flips in %d columns, without effect on what anybody signed: %v", flips, len(byColumn), silent)
}

func show(v any) string {
	if b, ok := v.([]byte); ok && len(b) > 40 {
		return fmt.Sprintf("%x…", b[:40])
	}
	return fmt.Sprint(v)
}

// TestFlippedTiles flips bits of the ledger's files: each is found, in its file.
func TestFlippedTiles(t *testing.T) {
	const each = 4
	w := newWorld(t)
	w.chain = w.share()
	var files []string
	w.must(filepath.WalkDir(filepath.Join(w.dir, "ledger"), func(path string, d fs.DirEntry, err error) error {
		if info, _ := d.Info(); err == nil && !d.IsDir() && info.Size() > 0 {
			files = append(files, path)
		}
		return err
	}))
	r := rand.New(rand.NewPCG(3, 4))
	flips := 0
	for _, path := range files {
		name, err := filepath.Rel(w.dir, path)
		w.must(err)
		good := w.read(name)
		for range each {
			bad := slices.Clone(good)
			at, bit := r.IntN(len(bad)), r.IntN(8)
			bad[at] ^= 1 << bit
			w.must(os.WriteFile(path, bad, 0o600))
			flips++
			if _, found := w.check(); !slices.ContainsFunc(found, func(f Finding) bool { return f.File == name }) {
				t.Errorf("%s: bit %d of byte %d was flipped, and nobody saw; findings: %v", name, bit, at, found)
			}
		}
		w.must(os.WriteFile(path, good, 0o600))
	}
	if _, found := w.check(); len(found) > 0 {
		t.Fatalf("put back, but: %v", found)
	}
	t.Logf("%d flips in %d files", flips, len(files))
}

// TestFlippedPages flips bits of the database file itself, below SQL. Where
// nothing is found, nothing that is stored has changed.
func TestFlippedPages(t *testing.T) {
	const flips = 60
	w := newWorld(t)
	w.chain = w.share()
	path := filepath.Join(w.dir, store.File)
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=wal_checkpoint(TRUNCATE)")
	w.must(err)
	w.must(db.Ping())
	before := content(t, db)
	w.must(db.Close())
	good := w.read(store.File)
	r := rand.New(rand.NewPCG(5, 6))
	found, silent := 0, 0
	for range flips {
		bad := slices.Clone(good)
		at, bit := r.IntN(len(bad)), r.IntN(8)
		bad[at] ^= 1 << bit
		w.must(os.WriteFile(path, bad, 0o600))
		findings := 0
		_, err := Check(context.Background(), Options{Dir: w.dir, Trust: w.trust, Origin: origin, Chain: w.chain, Report: func(Finding) { findings++ }})
		if err != nil || findings > 0 {
			found++
			continue
		}
		silent++
		db, err := store.OpenReadOnly(t.Context(), w.dir)
		w.must(err)
		if after := content(t, db); after != before {
			t.Errorf("bit %d of byte %d of page %d was flipped, the content changed, and nobody saw", bit, at%4096, at/4096+1)
		}
		w.must(db.Close())
	}
	w.must(os.WriteFile(path, good, 0o600))
	t.Logf("%d flips of a database of %d bytes: %d found, %d without effect on any value", flips, len(good), found, silent)
}

// content is every value of the store but for those that nothing covers.
func content(t *testing.T, db *sql.DB) string {
	t.Helper()
	var b strings.Builder
	for _, c := range cells(t, db) {
		if uncovered[c.table+"."+c.column] == "" {
			fmt.Fprintf(&b, "%s.%s %v %T %v\n", c.table, c.column, c.key, c.value, c.value)
		}
	}
	return b.String()
}
