package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/tessera/api/layout"
)

// memory is a Head that several ledgers share.
type memory struct {
	mu   sync.Mutex
	size uint64
	root [32]byte
}

func (m *memory) Load(context.Context) (uint64, [32]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.size, m.root, nil
}

func (m *memory) Swap(_ context.Context, oldSize uint64, oldRoot [32]byte, size uint64, root [32]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.size != oldSize || m.root != oldRoot {
		return fmt.Errorf("%w: %d, not %d", ErrMoved, m.size, oldSize)
	}
	m.size, m.root = size, root
	return nil
}

func hashes(from, n int) (out [][32]byte) {
	for i := range n {
		out = append(out, [32]byte{byte(from + i), byte((from + i) >> 8), 7})
	}
	return out
}

func extend(t *testing.T, l *Ledger, n int) error {
	t.Helper()
	size, err := l.Size(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), hashes(int(size), n)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, _, err = l.Await(ctx, size+uint64(n)-1)
	return err
}

// TestFlippedWhileRunning alters a stored byte behind an open ledger: the driver
// builds the next tile on it, and nothing of that is signed.
func TestFlippedWhileRunning(t *testing.T) {
	for _, tt := range []struct {
		name string
		file string
		at   int
		more func(dir string) error // alters besides
		want string
	}{
		{"entry", layout.EntriesPath(1, 44), 50, nil, "entry 257 does not hash to its leaf"},
		{"leaf tile", layout.TilePath(0, 1, 44), 40, nil, "root"},
		{"upper tile", layout.TilePath(1, 0, 1), 3, nil, "root"},
		{"entry and its leaf", layout.EntriesPath(1, 44), 50, func(dir string) error {
			path := filepath.Join(dir, layout.TilePath(0, 1, 44))
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			e := [32]byte(hashes(257, 1)[0])
			e[50-34-2] ^= 1
			leaf := hashLeaf(e)
			copy(raw[32:], leaf[:])
			return os.WriteFile(path, raw, 0o644)
		}, "signed is"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l, err := Open(t.Context(), Options{Dir: dir, Key: newKey(t), CheckpointInterval: 100 * time.Millisecond, Head: &memory{}})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if err := extend(t, l, 300); err != nil {
				t.Fatal(err)
			}
			before, err := l.Checkpoint(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(filepath.Join(dir, tt.file))
			if err != nil {
				t.Fatal(err)
			}
			raw[tt.at] ^= 1
			if err := os.WriteFile(filepath.Join(dir, tt.file), raw, 0o644); err != nil {
				t.Fatal(err)
			}
			if tt.more != nil {
				if err := tt.more(dir); err != nil {
					t.Fatal(err)
				}
			}
			if err := extend(t, l, 5); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "hint: ") {
				t.Fatalf("after the flip: %v", err)
			}
			select {
			case <-l.Refused():
			default:
				t.Error("not known to have refused")
			}
			after, err := l.Checkpoint(t.Context())
			if err != nil || string(after) != string(before) {
				t.Errorf("another checkpoint was published (%v)", err)
			}
		})
	}
}

// TestTwoOnOneHead runs two gateways on one ledger: the second cannot take the
// folder, and on a copy of it, or past the lock, no two heads are signed.
func TestTwoOnOneHead(t *testing.T) {
	dir, key, head := t.TempDir(), newKey(t), &memory{}
	open := func(dir string) (*Ledger, error) {
		return Open(t.Context(), Options{Dir: dir, Key: key, CheckpointInterval: 100 * time.Millisecond, Head: head})
	}
	first, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := extend(t, first, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := open(dir); err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Fatalf("a second gateway on the folder: %v", err)
	}
	other := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	second, err := open(other)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	// Both grow at once, by different entries.
	results := make(chan error, 2)
	for i, l := range []*Ledger{first, second} {
		go func() {
			_, err := l.Append(context.Background(), hashes(1000*(i+1), 3))
			if err == nil {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				_, _, err = l.Await(ctx, 12)
			}
			results <- err
		}()
	}
	var refused, signed int
	for range 2 {
		switch err := <-results; {
		case err == nil:
			signed++
		case errors.Is(err, ErrRefused) && errors.Is(err, ErrMoved):
			refused++
		default:
			t.Error(err)
		}
	}
	if signed != 1 || refused != 1 {
		t.Errorf("%d signed, %d refused, want one each", signed, refused)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	// The copy is an older state of the ledger: it does not even open.
	older := filepath.Join(t.TempDir(), "older")
	if err := os.CopyFS(older, os.DirFS(other)); err != nil {
		t.Fatal(err)
	}
	head.mu.Lock()
	head.size++
	head.mu.Unlock()
	if _, err := open(older); !errors.Is(err, ErrRefused) {
		t.Errorf("files behind the head: %v", err)
	}
}

// TestGuardIsAsked refuses to sign a head that the chain does not allow, for good,
// and waits where the chain does not answer.
func TestGuardIsAsked(t *testing.T) {
	var mu sync.Mutex
	var answer error
	say := func(err error) { mu.Lock(); answer = err; mu.Unlock() }
	l, err := Open(t.Context(), Options{Dir: t.TempDir(), Key: newKey(t), CheckpointInterval: 100 * time.Millisecond,
		Guard: func(context.Context, uint64, [32]byte, func(context.Context, uint64) ([32]byte, error)) error {
			mu.Lock()
			defer mu.Unlock()
			return answer
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	say(errors.New("no answer"))
	time.AfterFunc(400*time.Millisecond, func() { say(nil) })
	if err := extend(t, l, 3); err != nil {
		t.Fatalf("a chain that came back: %v", err)
	}
	say(fmt.Errorf("%w: size 4 < 9", ErrRefused))
	if err := extend(t, l, 1); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "4 < 9") {
		t.Fatalf("behind the anchor: %v", err)
	}
	say(nil)
	if _, err := l.Append(t.Context(), hashes(9, 1)); err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := l.Await(ctx, 4); !errors.Is(err, ErrRefused) {
			t.Errorf("signs again: %v", err)
		}
	}
}

// TestSeal ends a ledger under a checkpoint over all of it.
func TestSeal(t *testing.T) {
	l, err := Open(t.Context(), Options{Dir: t.TempDir(), Key: newKey(t), CheckpointInterval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Append(t.Context(), hashes(0, 7)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, cp, err := l.published(); err != nil || cp.Size != 7 {
		t.Errorf("sealed at size %d (%v)", cp.Size, err)
	}
	if _, err := l.Append(t.Context(), hashes(7, 1)); !errors.Is(err, ErrSealed) {
		t.Errorf("a sealed ledger takes an entry: %v", err)
	}
}
