package outbox

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestRead reads beside the process that has the outbox, over damage and after a
// prune, and leaves every byte as it was.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, Options{SegmentBytes: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	data := func(seq uint64) []byte { return slices.Repeat([]byte{byte(seq) + 1}, 200) }
	for seq := range uint64(20) {
		if err := l.Append(seq, data(seq)); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (seqs []uint64, damage []Damage) {
		t.Helper()
		damage, err := Read(dir, func(seq uint64, got []byte) error {
			if !slices.Equal(got, data(seq)) {
				t.Errorf("record %d: %x", seq, got[:4])
			}
			seqs = append(seqs, seq)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return seqs, damage
	}
	run := func(from, to uint64) (out []uint64) {
		for ; from < to; from++ {
			out = append(out, from)
		}
		return out
	}
	if seqs, damage := read(); !slices.Equal(seqs, run(0, 20)) || len(damage) != 0 {
		t.Fatalf("%v, %v", seqs, damage)
	}

	if err := l.Prune(9); err != nil {
		t.Fatal(err)
	}
	first := l.First()
	if first == 0 {
		t.Fatal("nothing was pruned")
	}
	if seqs, damage := read(); !slices.Equal(seqs, run(first, 20)) || len(damage) != 0 {
		t.Fatalf("%v, %v; the outbox begins at %d", seqs, damage, first)
	}

	// Two bytes in two records, and a whole segment.
	segments, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(segments) < 3 {
		t.Fatalf("%v, %v", segments, err)
	}
	b, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	b[headerSize+5] ^= 1
	if err := os.WriteFile(segments[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(segments[1]); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	seqs, damage := read()
	missing := run(first, 20)
	for _, d := range damage {
		missing = slices.DeleteFunc(missing, func(seq uint64) bool { return d.From <= seq && seq < d.To })
	}
	if !slices.Equal(seqs, missing) || len(damage) != 2 || damage[0].From != first || damage[0].To != first+1 {
		t.Errorf("%v, %+v", seqs, damage)
	}
	if after := tree(t, dir); after != before {
		t.Errorf("reading changed %s to %s", before, after)
	}

	stop := errors.New("enough")
	if _, err := Read(dir, func(uint64, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
	if _, err := Read(filepath.Join(dir, "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// tree is the names and checksums of all files.
func tree(t *testing.T, dir string) string {
	t.Helper()
	out := ""
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out += filepath.Base(path) + string(rune('0'+checksum(b)%10)) + " "
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
