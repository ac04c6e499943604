package witness

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trailmark/internal/device"
	"trailmark/statement"
)

func at(size uint64) device.Checkpoint {
	return device.Checkpoint{Origin: statement.Hash{1}, Size: size, Root: statement.Hash{byte(size)}}
}

func open(t *testing.T, dir string) *Memory {
	t.Helper()
	m, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func TestKeep(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	if c, _ := m.Newest(); c.Size != 0 {
		t.Fatalf("a new memory has %+v", c)
	}
	for size := uint64(1); size < 6; size++ {
		if err := m.Keep(at(size), []byte("note")); err != nil {
			t.Fatal(err)
		}
		if c, note := open(t, dir).Newest(); c != at(size) || string(note) != "note" {
			t.Fatalf("after %d: %+v %q", size, c, note)
		}
	}
	if err := m.Keep(at(5), []byte("note")); err != nil {
		t.Errorf("the same again: %v", err)
	}
	fork := at(5)
	fork.Root[3]++
	for name, c := range map[string]device.Checkpoint{"smaller": at(4), "another root": fork} {
		if err := m.Keep(c, nil); err == nil {
			t.Errorf("%s: kept", name)
		}
	}
	if err := m.Keep(at(9), make([]byte, maxNote+1)); err == nil {
		t.Error("a huge note is kept")
	}
	if err := m.Keep(at(9), make([]byte, maxNote)); err != nil {
		t.Error(err)
	}
	other := at(2)
	other.Origin[0]++ // another ledger begins at its own size
	if err := m.Keep(other, nil); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(dir, fileName)); err != nil || info.Size() != 2*slotBytes || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestTorn cuts the newest write short at every length, and flips a bit in each of
// its bytes: the head before it is there, and it alone.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	for size := uint64(1); size < 4; size++ {
		if err := m.Keep(at(size), []byte("note")); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(dir, fileName)
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Keep(at(4), []byte("note")); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	slot := 0
	if bytes.Equal(before[:slotBytes], after[:slotBytes]) {
		slot = slotBytes
	}
	used := len(bytes.TrimRight(after[slot:slot+slotBytes], "\x00"))
	check := func(what string, i int, file []byte) {
		t.Helper()
		torn := t.TempDir()
		if err := os.WriteFile(filepath.Join(torn, fileName), file, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := Open(torn)
		if err != nil {
			t.Fatalf("%s %d: %v", what, i, err)
		}
		defer m.Close()
		c, _ := m.Newest()
		if c != at(3) && !bytes.Equal(file, after) {
			t.Fatalf("%s %d: %+v", what, i, c)
		}
		if err := m.Keep(at(7), nil); err != nil { // and the good one is not written over
			t.Fatal(err)
		}
		if c, _ := open(t, torn).Newest(); c != at(7) {
			t.Fatalf("%s %d: then %+v", what, i, c)
		}
	}
	for i := range used {
		file := bytes.Clone(before)
		copy(file[slot:], after[slot:slot+i])
		if i > 0 {
			check("cut after", i, file)
		}
		file = bytes.Clone(after)
		file[slot+i] ^= 0x40
		check("flipped in", i, file)
	}
	both := bytes.Clone(after)
	both[20] ^= 1
	both[slotBytes+20] ^= 1
	lost := t.TempDir()
	if err := os.WriteFile(filepath.Join(lost, fileName), both, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(lost); err == nil || !strings.Contains(err.Error(), "both slots") {
		t.Errorf("two damaged slots: %v", err)
	}
}

func TestAccuse(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	if m.Accused() != "" {
		t.Error(m.Accused())
	}
	for i := range 20 {
		if err := m.Accuse(uint64(i), statement.Hash{byte(i)}, "two heads"); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Accuse(3, statement.Hash{3}, "other words"); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(filepath.Join(dir, evidenceDir))
	if err != nil || len(files) != maxEvidence {
		t.Fatalf("%d files, %v", len(files), err)
	}
	if got := open(t, dir).Accused(); got != m.Accused() || !strings.HasPrefix(got, "evidence/ledger-0-") {
		t.Errorf("%q, %q", got, m.Accused())
	}
	if b, err := os.ReadFile(filepath.Join(dir, m.Accused())); err != nil || string(b) != "two heads" {
		t.Errorf("%q, %v", b, err)
	}
}

func FuzzParse(f *testing.F) {
	dir := f.TempDir()
	m, err := Open(dir)
	if err != nil {
		f.Fatal(err)
	}
	defer m.Close()
	if err := m.Keep(at(3), []byte("note")); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:slotBytes])
	f.Add(b[:90])
	f.Fuzz(func(t *testing.T, b []byte) {
		if count, h, err := parse(b); err == nil && count > 0 && h.Size == 0 {
			t.Fatalf("%+v", h)
		}
	})
}
