package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"trailmark/statement"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func add(s *Store, i uint64) error {
	return s.Update(context.Background(), func(tx *Tx) error {
		return tx.AddStatement(Statement{Index: i, ID: statement.Hash{byte(i), byte(i >> 8)}, Kind: statement.KindFrame, Seq: i, Data: bytes.Repeat([]byte{byte(i)}, 300)})
	})
}

func TestOlder(t *testing.T) {
	for _, c := range []struct {
		a    string
		want bool
	}{{"3.51.2", true}, {"3.51.3", false}, {"3.54.1", false}, {"3.9.9", true}, {"4.0.0", false}, {"garbage", true}} {
		if got := older(c.a, minSQLite); got != c.want {
			t.Errorf("older(%s, %s) = %v", c.a, minSQLite, got)
		}
	}
}

// TestNameOfFolder: the database is in its folder, whatever that is called.
func TestNameOfFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a #1? 50%41 & é")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := add(open(t, dir), 0); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, File)); err != nil || info.Size() == 0 {
		t.Errorf("no database in %q (%v)", dir, err)
	}
	copied := filepath.Join(dir, "copy.db")
	if err := Backup(t.Context(), dir, copied, func(uint64, uint64) {}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(copied); err != nil || info.Size() == 0 {
		t.Errorf("no copy in %q (%v)", dir, err)
	}
}

// TestKilledWriterKeepsWhatItCommitted kills a writing process again and again:
// what it said was committed is there, in order and whole.
func TestKilledWriterKeepsWhatItCommitted(t *testing.T) {
	if dir := os.Getenv("STORE_CHILD"); dir != "" {
		child(dir)
		return
	}
	dir := t.TempDir()
	committed := uint64(0)
	for range 4 {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledWriterKeepsWhatItCommitted$")
		cmd.Env = append(os.Environ(), "STORE_CHILD="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 64)
		var line []byte
		for target := committed + 25; committed < target; {
			n, err := out.Read(buf)
			if err != nil {
				t.Fatalf("the writer ended at %d: %v", committed, err)
			}
			line = append(line, buf[:n]...)
			for {
				one, rest, ok := bytes.Cut(line, []byte("\n"))
				if !ok {
					break
				}
				line = rest
				if v, err := strconv.ParseUint(string(one), 10, 64); err == nil {
					committed = v + 1
				}
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
	}
	s := open(t, dir)
	n, err := s.Count(t.Context())
	if err != nil || n < committed {
		t.Fatalf("%d statements stored, %d were committed (%v)", n, committed, err)
	}
	for i := range n {
		row, err := s.Statement(t.Context(), i)
		if err != nil || !bytes.Equal(row.Data, bytes.Repeat([]byte{byte(i)}, 300)) {
			t.Fatalf("statement %d: %v", i, err)
		}
	}
	t.Logf("4 kills, %d committed, %d there", committed, n)
}

func child(dir string) {
	s, err := Open(context.Background(), dir)
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	n, err := s.Count(context.Background())
	if err != nil {
		os.Exit(1)
	}
	for ; ; n++ {
		if err := add(s, n); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Stdout.WriteString(strconv.FormatUint(n, 10) + "\n")
	}
}

var errNo = errors.New("no")

// TestReadingsAreCountedAsTheyCome: what is rolled back does not count, and a store
// that is opened again counts the same.
func TestReadingsAreCountedAsTheyCome(t *testing.T) {
	dir := t.TempDir()
	st, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	count := func(want uint64) {
		t.Helper()
		if n, err := st.Readings(t.Context()); err != nil || n != want {
			t.Fatalf("%d readings, %v, want %d", n, err, want)
		}
	}
	add := func(n uint64, fail error) {
		t.Helper()
		if err := st.Update(t.Context(), func(tx *Tx) error {
			if err := tx.AddLeaf(1, Leaf{N: n, Index: n, T0: int64(n), T1: int64(n) + 1, Readings: 6}, nil); err != nil {
				return err
			}
			return fail
		}); !errors.Is(err, fail) {
			t.Fatal(err)
		}
	}
	add(0, nil)
	count(6)
	add(1, nil)
	add(2, errNo)
	count(12)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if st, err = Open(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	count(12)
}
