package ledger

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/tessera/api/layout"
)

func TestDamageIsFoundBeforeSigning(t *testing.T) {
	flip := func(path string, at int) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, path)
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			raw[at] ^= 1
			if err := os.WriteFile(path, raw, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(path string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, path)); err != nil {
				t.Fatal(err)
			}
		}
	}
	state := func(size uint64, root [32]byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			raw, err := json.Marshal(map[string]any{"size": size, "root": root[:]})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, ".state/treeState"), raw, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	const size = 2*256 + 100
	for _, tt := range []struct {
		name   string
		damage func(*testing.T, string)
		want   string
	}{
		{"full leaf tile", flip(layout.TilePath(0, 1, 0), 77), "does not hash to its leaf"},
		{"entry", flip(layout.EntriesPath(0, 0), 40), "entry 1 does not hash to its leaf"},
		{"entry length", flip(layout.EntriesPath(0, 0), 0), "want 32"},
		{"right edge", flip(layout.TilePath(0, 2, 100), 9), "root"},
		{"upper tile", flip(layout.TilePath(1, 0, 2), 40), "root"},
		{"cut tile", func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, layout.TilePath(0, 0, 0)), 255*32); err != nil {
				t.Fatal(err)
			}
		}, "tile of 8160 bytes, want 8192"},
		{"lost bundle", remove(layout.EntriesPath(1, 0)), "no such file"},
		{"signature", flip("checkpoint", len(testOrigin)+2), "checkpoint"},
		{"lost checkpoint", remove("checkpoint"), "size 612 has no checkpoint"},
		{"lost state", remove(".state/treeState"), "checkpoint of size 612 has no tree state"},
		{"older state", state(size-1, oracle(0, size-1)), "size 611 < 612"},
		{"state of another tree", state(size, oracle(1, size)), "stored tiles have root"},
		{"state far ahead", state(1<<63, oracle(0, size)), "no such file"},
		{"no state at all", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, ".state/treeState"), []byte("{}"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "root of 0 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir, key := t.TempDir(), newKey(t)
			l, err := Open(t.Context(), Options{Dir: dir, Key: key, CheckpointInterval: 100 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Append(t.Context(), entries(0, size)); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			tt.damage(t, dir)
			before, _ := os.ReadFile(filepath.Join(dir, "checkpoint"))
			l, err = Open(t.Context(), Options{Dir: dir, Key: key, CheckpointInterval: 100 * time.Millisecond})
			if err == nil {
				l.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "nothing was signed") {
				t.Errorf("error %q, want %q", err, tt.want)
			}
			if after, _ := os.ReadFile(filepath.Join(dir, "checkpoint")); string(after) != string(before) {
				t.Error("a checkpoint was signed over damaged bytes")
			}
		})
	}
}

func TestDamageWhileOpenGivesNoProof(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, newKey(t))
	grow(t, l, 1000)
	if _, _, err := l.Await(t.Context(), 999); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, layout.TilePath(0, 1, 0))
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[32*10] ^= 1
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Inclusion(t.Context(), 300, 1000); err == nil {
		t.Error("inclusion proof through a changed tile")
	}
	// Size 300 has a root made from the changed tile only; the signed
	// checkpoint shows that it is false.
	if root, err := l.Root(t.Context(), 300); err == nil {
		t.Errorf("root %x from a changed tile", root)
	}
	if err := l.Check(t.Context()); err == nil {
		t.Error("check passed over a changed tile")
	}
	if _, err := l.Inclusion(t.Context(), 100, 1000); err != nil {
		t.Errorf("proof that does not need the changed tile: %v", err)
	}
}

func TestCheckFromABundleOn(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, newKey(t))
	grow(t, l, 600)
	path := filepath.Join(dir, layout.EntriesPath(0, 0))
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[5] ^= 1
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := l.tree.check(t.Context(), 1, 600, oracle(0, 600)); err != nil {
		t.Errorf("from bundle 1: %v", err)
	}
	if err := l.tree.check(t.Context(), 0, 600, oracle(0, 600)); err == nil {
		t.Error("from bundle 0: damage not found")
	}
}

func TestFailedAppendStopsTheLedger(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	l, err := Open(t.Context(), Options{Dir: dir, Key: key, CheckpointInterval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	grow(t, l, 10)
	if _, _, err := l.Await(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	// A file where the driver needs a directory: the disk says no.
	tiles, aside := filepath.Join(dir, "tile"), filepath.Join(dir, "aside")
	if err := errors.Join(os.Rename(tiles, aside), os.WriteFile(tiles, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), entries(10, 5)); err == nil {
		t.Fatal("append without a disk")
	}
	if err := errors.Join(os.Remove(tiles), os.Rename(aside, tiles)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), entries(10, 5)); !errors.Is(err, ErrUnsettled) {
		t.Fatalf("append after a failed one: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, key)
	if size, _ := l.Size(t.Context()); size != 10 {
		t.Errorf("size %d, want 10", size)
	}
	grow(t, l, 5)
	checkEntries(t, l, 0, 15)
}
