package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// inspect inspects a ledger of n entries and gives its faults.
func inspect(t *testing.T, dir string, k *Key, n uint64) (Inspected, []Fault) {
	t.Helper()
	var faults []Fault
	in := Inspection{Dir: dir, Key: k.Verifier(), Sizes: map[uint64]bool{1: true, 300: true}, Report: func(f Fault) { faults = append(faults, f) },
		Row: func(i uint64) ([32]byte, bool) { return entryOf(i), i < n }}
	out, err := in.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out, faults
}

func entryOf(i uint64) [32]byte { return sha256.Sum256(binary.BigEndian.AppendUint64(nil, i)) }

// TestInspect flips bits in every file of a ledger with full tiles and partial
// ones; each is found in its file, and a wrong row is told from a wrong tile.
func TestInspect(t *testing.T) {
	const n = 700
	dir := filepath.Join(t.TempDir(), "ledger")
	skey, _, err := NewLogKey("trailmark.example/demo/2026h2")
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseKey(skey)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(t.Context(), Options{Dir: dir, Key: k, CheckpointInterval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for from := uint64(0); from < n; from += 100 {
		var batch [][32]byte
		for i := range uint64(100) {
			batch = append(batch, entryOf(from+i))
		}
		if _, err := l.Append(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := l.Await(t.Context(), n-1); err != nil {
		t.Fatal(err)
	}
	want, err := l.Root(t.Context(), 300)
	if err != nil {
		t.Fatal(err)
	}
	// Beside the open ledger, as fsck runs beside a gateway.
	out, faults := inspect(t, dir, k, n)
	if len(faults) > 0 || out.Size != n || out.Signed != n || out.Roots[300] != want {
		t.Fatalf("a good ledger: %+v, size %d, signed %d", faults, out.Size, out.Signed)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, faults := inspect(t, dir, k, n-1); len(faults) > 0 { // the caller misses a row: not the ledger's fault
		t.Errorf("with a row missing: %+v", faults)
	}
	r := rand.New(rand.NewPCG(1, 2))
	flips, files := 0, 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		info, _ := d.Info()
		if err != nil || d.IsDir() || info.Size() == 0 {
			return err
		}
		files++
		name := strings.TrimPrefix(path, dir+"/")
		good, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for range 20 {
			bad := slices.Clone(good)
			at, bit := r.IntN(len(bad)), r.IntN(8)
			bad[at] ^= 1 << bit
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				return err
			}
			flips++
			_, faults := inspect(t, dir, k, n)
			if len(faults) != 1 || faults[0].File != name || faults[0].Offset >= 0 && faults[0].Offset != int64(at) {
				t.Errorf("%s: bit %d of byte %d: %+v", name, bit, at, faults)
			}
		}
		return os.WriteFile(path, good, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d flips in %d files", flips, files)

	var wrong []Fault
	in := Inspection{Dir: dir, Key: k.Verifier(), Report: func(f Fault) { wrong = append(wrong, f) },
		Row: func(i uint64) ([32]byte, bool) {
			e := entryOf(i)
			if i == 321 {
				e[0] ^= 1
			}
			return e, true
		}}
	if _, err := in.Run(t.Context()); err != nil || len(wrong) != 1 || wrong[0].File != "" || wrong[0].Entry != 321 {
		t.Errorf("a wrong row: %+v, %v", wrong, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := in.Run(ctx); err == nil {
		t.Error("an inspection that was cut short reports success")
	}
}

// TestReadOnly: a ledger that is open for reading proves and does not sign.
func TestReadOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	skey, _, err := NewLogKey("trailmark.example/demo/2026h2")
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseKey(skey)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(t.Context(), Options{Dir: dir, Key: k, CheckpointInterval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), [][32]byte{entryOf(0), entryOf(1)}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ro, err := OpenReadOnly(t.Context(), dir, k, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	if _, err := Open(t.Context(), Options{Dir: dir, Key: k}); err == nil {
		t.Error("opened twice")
	}
	if path, err := ro.Inclusion(t.Context(), 1, 2); err != nil || len(path) != 1 {
		t.Errorf("proof: %v, %v", path, err)
	}
	if _, err := ro.Append(t.Context(), [][32]byte{entryOf(2)}); err != errReadOnly {
		t.Errorf("append: %v", err)
	}
}
