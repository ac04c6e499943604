package fsck

import (
	"context"
	"database/sql"
	"path/filepath"
	"slices"
	"testing"

	"trailmark/gateway/internal/store"
)

// TestElsewhere: a good row is silent; one whose size, root, note or origin is
// altered is named.
func TestElsewhere(t *testing.T) {
	w := newWorld(t)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, store.File))
	w.must(err)
	defer db.Close()
	put := func() {
		t.Helper()
		_, err := db.Exec("DELETE FROM elsewhere")
		w.must(err)
		_, err = db.ExecContext(context.Background(), `INSERT INTO elsewhere (chain, origin, size, root, note, height, time, block, tx, evidence)
			SELECT 'eip155:1', origin, size, root, note, 7, time, block, x'', x'' FROM anchor`)
		w.must(err)
	}
	named := func() bool {
		t.Helper()
		_, found := w.check()
		return slices.ContainsFunc(found, func(f Finding) bool { return f.Table == "elsewhere" })
	}
	put()
	if named() {
		t.Error("a good row is called damaged")
	}
	for _, change := range []string{"size = size + 1", "root = zeroblob(32)", "note = substr(note, 2)", "origin = 'x'", "block = x'00'", "height = -1"} {
		put()
		_, err := db.Exec("UPDATE elsewhere SET " + change + " WHERE size = (SELECT MAX(size) FROM elsewhere)")
		w.must(err)
		if !named() {
			t.Errorf("%s: nothing is found", change)
		}
	}
}
