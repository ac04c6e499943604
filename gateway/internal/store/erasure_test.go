package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestScrub: the log is emptied unless somebody reads an older state, and then as
// soon as he is done.
func TestScrub(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	size := func() int64 {
		t.Helper()
		info, err := os.Stat(filepath.Join(dir, File+"-wal"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	if err := add(s, 0); err != nil {
		t.Fatal(err)
	}
	reader, err := s.db.QueryContext(t.Context(), "SELECT idx FROM statement")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if !reader.Next() {
		t.Fatal(reader.Err())
	}
	if err := s.Scrub(t.Context()); !errors.Is(err, ErrBusy) || size() == 0 {
		t.Errorf("beside a reader: %v, log of %d bytes", err, size())
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Scrub(t.Context()); err != nil || size() != 0 {
		t.Errorf("alone: %v, log of %d bytes", err, size())
	}
	if err := add(s, 1); err != nil {
		t.Errorf("a write after it: %v", err)
	}
}
