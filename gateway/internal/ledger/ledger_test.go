package ledger

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

const testOrigin = "ledger.example/2026h1"

func TestMain(m *testing.M) {
	if dir := os.Getenv("LEDGER_TEST_CHILD"); dir != "" {
		appendUntilKilled(dir)
		return
	}
	os.Exit(m.Run())
}

func newKey(t testing.TB) *Key {
	t.Helper()
	skey, _, err := NewLogKey(testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseKey(skey)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func open(t testing.TB, dir string, k *Key) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), Options{Dir: dir, Key: k, CheckpointInterval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// entry is the content of index i in every test: what is where can be
// recomputed.
func entry(i uint64) [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, i))
}

func entries(first, n uint64) [][32]byte {
	e := make([][32]byte, n)
	for i := range e {
		e[i] = entry(first + uint64(i))
	}
	return e
}

// grow appends n entries in random batches and checks every index handed out.
func grow(t testing.TB, l *Ledger, n uint64) {
	t.Helper()
	size, err := l.Size(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for end := size + n; size < end; {
		batch := min(end-size, 1+rand.Uint64N(700))
		first, err := l.Append(t.Context(), entries(size, batch))
		if err != nil {
			t.Fatal(err)
		}
		if first != size {
			t.Fatalf("append at %d: got first index %d", size, first)
		}
		size += batch
	}
}

// oracle is the definition of the RFC 9162 tree head, word for word.
func oracle(first, n uint64) [32]byte {
	switch n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		e := entry(first)
		return sha256.Sum256(append([]byte{0}, e[:]...))
	}
	k := uint64(1)
	for 2*k < n {
		k *= 2
	}
	l, r := oracle(first, k), oracle(first+k, n-k)
	return sha256.Sum256(append(append([]byte{1}, l[:]...), r[:]...))
}

func checkEntries(t testing.TB, l *Ledger, from, to uint64) {
	t.Helper()
	for i := from; i < to; i++ {
		got, err := l.Entry(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		if got != entry(i) {
			t.Fatalf("entry %d: got %x, want %x", i, got, entry(i))
		}
	}
}

func TestIndexesAreConsecutiveUnderLoad(t *testing.T) {
	// Busy goroutines make timers and appends stall on each other; an age of a
	// millisecond makes nearly every append meet its timer.
	ctx, stop := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		busy.Go(func() {
			for ctx.Err() == nil {
				entry(rand.Uint64())
			}
		})
	}
	defer busy.Wait()
	defer stop()

	l, err := Open(t.Context(), Options{Dir: t.TempDir(), Key: newKey(t), CheckpointInterval: 100 * time.Millisecond, BatchSize: 128, BatchAge: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	grow(t, l, 2000)
	checkEntries(t, l, 0, 2000)
	root, err := l.Root(t.Context(), 2000)
	if err != nil {
		t.Fatal(err)
	}
	if root != oracle(0, 2000) {
		t.Errorf("root %x, want %x", root, oracle(0, 2000))
	}
}

func TestAppendersTakeTurns(t *testing.T) {
	l := open(t, t.TempDir(), newKey(t))
	var wg sync.WaitGroup
	seen := make([][2]uint64, 8)
	for i := range seen {
		wg.Go(func() {
			first, err := l.Append(t.Context(), entries(uint64(1000*i), 100))
			if err != nil {
				t.Error(err)
			}
			seen[i] = [2]uint64{first, uint64(1000 * i)}
		})
	}
	wg.Wait()
	for _, s := range seen {
		for i := range uint64(100) {
			if got, err := l.Entry(t.Context(), s[0]+i); err != nil || got != entry(s[1]+i) {
				t.Fatalf("entry %d is not entry %d of the batch that got %d: %v", s[0]+i, i, s[0], err)
			}
		}
	}
}

func TestProofs(t *testing.T) {
	l := open(t, t.TempDir(), newKey(t))
	const size = 3000
	grow(t, l, size)
	if _, _, err := l.Await(t.Context(), size-1); err != nil {
		t.Fatal(err)
	}
	h := rfc6962.DefaultHasher
	sizes := []uint64{0, 1, 2, 255, 256, 257, 511, 512, size - 1, size}
	for range 40 {
		sizes = append(sizes, 1+rand.Uint64N(size))
	}
	for _, n := range sizes {
		root, err := l.Root(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		if root != oracle(0, n) {
			t.Fatalf("root of %d: got %x, want %x", n, root, oracle(0, n))
		}
		if n == 0 {
			continue
		}
		i := rand.Uint64N(n)
		e := entry(i)
		p, err := l.Inclusion(t.Context(), i, n)
		if err != nil {
			t.Fatal(err)
		}
		if err := proof.VerifyInclusion(h, i, n, h.HashLeaf(e[:]), p, root[:]); err != nil {
			t.Errorf("inclusion of %d in %d: %v", i, n, err)
		}
		first := rand.Uint64N(n + 1)
		p, err = l.Consistency(t.Context(), first, n)
		if err != nil {
			t.Fatal(err)
		}
		root1 := oracle(0, first)
		if err := proof.VerifyConsistency(h, first, n, p, root1[:], root[:]); err != nil {
			t.Errorf("consistency of %d with %d: %v", first, n, err)
		}
	}
	for _, f := range []func() error{
		func() error { _, err := l.Entry(t.Context(), size); return err },
		func() error { _, err := l.Root(t.Context(), size+1); return err },
		func() error { _, err := l.Inclusion(t.Context(), 7, 7); return err },
		func() error { _, err := l.Inclusion(t.Context(), 7, size+1); return err },
		func() error { _, err := l.Consistency(t.Context(), 8, 7); return err },
		func() error { _, err := l.Consistency(t.Context(), 8, size+1); return err },
	} {
		if err := f(); err == nil {
			t.Error("a question beyond the tree got an answer")
		}
	}
	if err := l.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRestart(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	size := uint64(0)
	for range 3 {
		l, err := Open(t.Context(), Options{Dir: dir, Key: key, CheckpointInterval: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := l.Size(t.Context()); got != size {
			t.Fatalf("size after restart: got %d, want %d", got, size)
		}
		grow(t, l, 333)
		size += 333
		if _, err := Open(t.Context(), Options{Dir: dir, Key: key}); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("second open of the directory: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Append(t.Context(), entries(size, 1)); err == nil {
			t.Error("append after close")
		}
		raw, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
		if err != nil {
			t.Fatal(err)
		}
		cp, err := ParseCheckpoint(raw, key.Verifier())
		if err != nil {
			t.Fatal(err)
		}
		if cp != (Checkpoint{testOrigin, size, oracle(0, size)}) {
			t.Fatalf("checkpoint after close: %v, want size %d root %x", cp, size, oracle(0, size))
		}
	}
}

// appendUntilKilled is the child of TestKill: it appends and says what was
// acknowledged, one line each.
func appendUntilKilled(dir string) {
	fail := func(err error) {
		fmt.Println("error", err)
		os.Exit(1)
	}
	key, err := LoadKeyFile(filepath.Join(dir, "key"))
	if err != nil {
		fail(err)
	}
	l, err := Open(context.Background(), Options{Dir: filepath.Join(dir, "log"), Key: key, CheckpointInterval: 100 * time.Millisecond})
	if err != nil {
		fail(err)
	}
	for {
		size, err := l.Size(context.Background())
		if err != nil {
			fail(err)
		}
		batch := 1 + rand.Uint64N(600)
		first, err := l.Append(context.Background(), entries(size, batch))
		if err != nil {
			fail(err)
		}
		fmt.Println(first + batch)
	}
}

func TestKill(t *testing.T) {
	dir := t.TempDir()
	key, err := CreateKeyFile(filepath.Join(dir, "key"), testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	acked, last := uint64(0), Checkpoint{}
	for round := range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "LEDGER_TEST_CHILD="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 5 + rand.IntN(10); lines.Scan(); n-- {
			end, err := strconv.ParseUint(lines.Text(), 10, 64)
			if err != nil {
				t.Fatalf("child: %s", lines.Text())
			}
			acked = end
			if n == 0 {
				time.AfterFunc(time.Duration(rand.IntN(20))*time.Millisecond, func() { cmd.Process.Kill() })
			}
		}
		cmd.Wait() // killed, as it should be

		l, err := Open(t.Context(), Options{Dir: filepath.Join(dir, "log"), Key: key, CheckpointInterval: 100 * time.Millisecond})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		size, err := l.Size(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if size < acked {
			t.Fatalf("round %d: size %d, but %d were acknowledged", round, size, acked)
		}
		checkEntries(t, l, 0, size)
		raw, n, err := l.Await(t.Context(), size-1)
		if err != nil {
			t.Fatal(err)
		}
		cp, err := ParseCheckpoint(raw, key.Verifier())
		if err != nil {
			t.Fatal(err)
		}
		if n != size || cp.Root != oracle(0, size) {
			t.Fatalf("round %d: checkpoint of size %d root %x, want %d %x", round, n, cp.Root, size, oracle(0, size))
		}
		if _, err := l.Consistency(t.Context(), last.Size, cp.Size); err != nil {
			t.Fatal(err)
		}
		if last.Size > 0 && last.Root != oracle(0, last.Size) {
			t.Fatalf("round %d: the last round signed another tree", round)
		}
		last = cp
		if err := l.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d acknowledged, all there", acked)
}

func TestCancelledAppendWritesNothing(t *testing.T) {
	l := open(t, t.TempDir(), newKey(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Append(ctx, entries(0, 5)); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	grow(t, l, 5)
}

func TestAwaitAfterClockWasSetBack(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, newKey(t))
	grow(t, l, 1)
	if _, _, err := l.Await(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	future := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "checkpoint"), future, future); err != nil {
		t.Fatal(err)
	}
	grow(t, l, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, size, err := l.Await(ctx, 1); err != nil || size != 2 {
		t.Fatalf("size %d, %v", size, err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, _, err := l.Await(ctx, 2); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("await of an entry that is not there: %v", err)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []uint64{1, 64, 512} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			l, err := Open(b.Context(), Options{Dir: b.TempDir(), Key: newKey(b)})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			e := entries(0, n)
			for b.Loop() {
				if _, err := l.Append(b.Context(), e); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	l := open(b, b.TempDir(), newKey(b))
	grow(b, l, 50_000)
	if _, _, err := l.Await(b.Context(), 49_999); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := l.Check(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/50_000, "ns/entry")
}

func BenchmarkInclusion(b *testing.B) {
	l := open(b, b.TempDir(), newKey(b))
	grow(b, l, 100_000)
	if _, _, err := l.Await(b.Context(), 99_999); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := l.Inclusion(b.Context(), rand.Uint64N(100_000), 100_000); err != nil {
			b.Fatal(err)
		}
	}
}
