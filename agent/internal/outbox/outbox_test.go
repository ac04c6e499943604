package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// record is data that differs between numbers, has no zero bytes and n+seq%7 bytes.
func record(seq uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seq, 1))
	b := make([]byte, n+int(seq%7))
	for i := range b {
		b[i] = byte(1 + r.IntN(255))
	}
	return b
}

func open(t testing.TB, dir string, opt Options) *Log {
	t.Helper()
	l, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func shut(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func fill(t testing.TB, l *Log, from, to uint64, size int) {
	t.Helper()
	for seq := from; seq < to; seq++ {
		if err := l.Append(seq, record(seq, size)); err != nil {
			t.Fatal(err)
		}
	}
}

// make writes records from..to in a new directory and closes it.
func build(t testing.TB, opt Options, from, to uint64, size int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "outbox")
	l := open(t, dir, opt)
	fill(t, l, from, to, size)
	shut(t, l)
	return dir
}

// check is the oracle: every record from..to is right, or lost and declared; Next is next.
// It returns how many are readable.
func check(t testing.TB, l *Log, from, to uint64, size int) (readable int) {
	t.Helper()
	for seq := from; seq < to; seq++ {
		got, err := l.Get(seq)
		declared := slices.ContainsFunc(l.Damage(), func(d Damage) bool { return d.From <= seq && seq < d.To })
		switch {
		case err == nil && bytes.Equal(got, record(seq, size)):
			readable++
			if declared {
				t.Errorf("record %d is declared lost and readable: %+v", seq, l.Damage())
			}
		case err == nil:
			t.Errorf("record %d has invented data", seq)
		case !declared:
			t.Errorf("record %d is lost in silence: %v; damage %+v", seq, err, l.Damage())
		}
	}
	return readable
}

func segmentsIn(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func hasTail(l *Log) bool {
	return slices.ContainsFunc(l.Damage(), func(d Damage) bool { return d.Tail })
}

func TestAppendReopen(t *testing.T) {
	opt := Options{SegmentBytes: 4096}
	dir := build(t, opt, 5, 105, 300)
	l := open(t, dir, opt)
	if d := l.Damage(); len(d) != 0 {
		t.Errorf("damage in a sound log: %+v", d)
	}
	if l.First() != 5 || l.Next() != 105 || check(t, l, 5, 105, 300) != 100 {
		t.Errorf("got %d..%d, want 5..105", l.First(), l.Next())
	}
	if seq, data, ok := l.Last(); !ok || seq != 104 || !bytes.Equal(data, record(104, 300)) {
		t.Errorf("last is %d, %v", seq, ok)
	}
	for _, seq := range []uint64{4, 105, 1 << 63} {
		if _, err := l.Get(seq); !errors.Is(err, ErrNotFound) {
			t.Errorf("get %d: %v", seq, err)
		}
	}
	for _, seq := range []uint64{0, 104, 106, 1<<64 - 1} {
		if err := l.Append(seq, []byte("x")); !errors.Is(err, ErrSequence) {
			t.Errorf("append %d: %v", seq, err)
		}
	}
	if err := l.Append(105, make([]byte, 4096)); err == nil {
		t.Error("a record larger than a segment was taken")
	}
	fill(t, l, 105, 106, 300)
	st, err := os.Stat(segmentsIn(t, dir)[0])
	if err != nil || st.Size() != 4096 {
		t.Errorf("segment has %d bytes, want 4096 (%v)", st.Size(), err)
	}
}

func TestEmptyLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	l := open(t, dir, Options{})
	if _, _, ok := l.Last(); ok || l.First() != 0 || l.Next() != 0 || len(l.Damage()) != 0 {
		t.Errorf("empty log: %d..%d %v", l.First(), l.Next(), l.Damage())
	}
	if err := l.Prune(1 << 63); err != nil {
		t.Error(err)
	}
	fill(t, l, 0, 1, 0) // an empty record is one
	shut(t, l)
	l = open(t, dir, Options{})
	if data, err := l.Get(0); err != nil || len(data) != 0 {
		t.Errorf("%q %v", data, err)
	}
	shut(t, l)
	if err := l.Append(1, nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := l.Get(0); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestOneProcess(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v", err)
	}
	shut(t, l)
	open(t, dir, Options{})
}

func TestOptionsRefused(t *testing.T) {
	for _, o := range []Options{{SegmentBytes: -1}, {SegmentBytes: 8}, {SegmentBytes: MaxSegment + 1}, {MaxBytes: DefaultSegment}} {
		if _, err := Open(t.TempDir(), o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestPrune(t *testing.T) {
	opt := Options{SegmentBytes: 1024}
	dir := build(t, opt, 0, 30, 300) // three records a segment
	l := open(t, dir, opt)
	before := segmentsIn(t, dir)
	second, _ := parseSegmentName(filepath.Base(before[1]))
	if err := l.Prune(second - 2); err != nil || l.First() != 0 {
		t.Errorf("a segment that is not all acknowledged was pruned: first %d, %v", l.First(), err)
	}
	if err := l.Prune(second - 1); err != nil || l.First() != second {
		t.Errorf("first %d, want %d (%v)", l.First(), second, err)
	}
	if _, err := l.Get(second - 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("pruned record: %v", err)
	}
	shut(t, l)
	// An interrupted prune: the bounds are written, the file is still there.
	writeFile(t, before[0], make([]byte, 1024))
	l = open(t, dir, opt)
	if d := l.Damage(); len(d) != 0 || l.First() != second || check(t, l, second, 30, 300) != 30-int(second) {
		t.Errorf("first %d, damage %+v", l.First(), d)
	}
	if err := l.Prune(1<<64 - 1); err != nil {
		t.Error(err)
	}
	if seq, _, ok := l.Last(); !ok || seq != 29 || len(segmentsIn(t, dir)) != 1 {
		t.Errorf("the newest record must stay: %d %v, %d segments", seq, ok, len(segmentsIn(t, dir)))
	}
	shut(t, l)
	l = open(t, dir, opt)
	if _, data, ok := l.Last(); !ok || !bytes.Equal(data, record(29, 300)) || len(l.Damage()) != 0 {
		t.Errorf("after prune and reopen: %v %+v", ok, l.Damage())
	}
	fill(t, l, 30, 40, 300)
}

// The newest segment is empty when a power cut comes between its creation and its first record.
func TestPruneKeepsLastBeforeEmptySegment(t *testing.T) {
	opt := Options{SegmentBytes: 1024}
	dir := build(t, opt, 0, 2, 300)
	l := open(t, dir, opt)
	l.write = func(*os.File, []byte, int64) error { return syscall.ENOSPC }
	if err := l.Append(2, record(2, 900)); !errors.Is(err, syscall.ENOSPC) || len(segmentsIn(t, dir)) != 2 {
		t.Fatal(err)
	}
	if err := l.Prune(1); err != nil {
		t.Fatal(err)
	}
	shut(t, l)
	l = open(t, dir, opt)
	if seq, _, ok := l.Last(); !ok || seq != 1 || len(l.Damage()) != 0 || l.Next() != 2 {
		t.Errorf("last %d %v, damage %+v", seq, ok, l.Damage())
	}
	fill(t, l, 2, 3, 900)
}

func TestBudget(t *testing.T) {
	opt := Options{SegmentBytes: 1024, MaxBytes: 2048}
	l := open(t, t.TempDir(), opt)
	fill(t, l, 0, 4, 300)
	if err := l.Append(4, record(4, 300)); err != nil && !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	seq := l.Next()
	if err := l.Append(seq, record(seq, 900)); !errors.Is(err, ErrFull) || l.Next() != seq {
		t.Errorf("over budget: %v, next %d want %d", err, l.Next(), seq)
	}
	if err := l.Prune(seq - 1); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(seq, record(seq, 900)); err != nil {
		t.Errorf("after prune: %v", err)
	}
}

func TestGroupCommit(t *testing.T) {
	const n = 200
	opt := Options{SegmentBytes: 8192} // batches cross segments
	dir := t.TempDir()
	l := open(t, dir, opt)
	var syncs atomic.Int64
	real := l.sync
	l.sync = func(f *os.File) error { syncs.Add(1); return real(f) }
	var order sync.Mutex // numbers are given out in order; the waiting is concurrent
	var next uint64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for {
				order.Lock()
				if next == n {
					order.Unlock()
					return
				}
				seq := next
				next++
				wait, err := l.Stage(seq, record(seq, 300))
				order.Unlock()
				if err == nil {
					err = wait()
				}
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := l.Get(seq); err != nil || !bytes.Equal(got, record(seq, 300)) {
					t.Errorf("record %d after its acknowledgement: %v", seq, err)
				}
			}
		})
	}
	wg.Wait()
	if s := syncs.Load(); s >= n {
		t.Errorf("%d syncs for %d records", s, n)
	}
	shut(t, l)
	l = open(t, dir, opt)
	if check(t, l, 0, n, 300) != n || len(l.Damage()) != 0 {
		t.Errorf("damage %+v", l.Damage())
	}
}

// Callers that race for the same number: one wins, the others are told which is next.
func TestConcurrentAppend(t *testing.T) {
	l := open(t, t.TempDir(), Options{SegmentBytes: 8192})
	var wins atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				seq := l.Next()
				switch err := l.Append(seq, record(seq, 50)); {
				case err == nil:
					wins.Add(1)
				case !errors.Is(err, ErrSequence):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	n := uint64(wins.Load())
	if l.Next() != n || check(t, l, 0, n, 50) != int(n) {
		t.Errorf("next %d, %d wins", l.Next(), n)
	}
}

func TestFailedWriteLeavesNoTrace(t *testing.T) {
	opt := Options{SegmentBytes: 4096}
	dir := t.TempDir()
	l := open(t, dir, opt)
	fill(t, l, 0, 3, 300)
	real := l.write
	l.write = func(f *os.File, b []byte, off int64) error {
		if err := real(f, b[:len(b)-5], off); err != nil {
			return err
		}
		return syscall.ENOSPC
	}
	staged, err := l.Stage(3, record(3, 900))
	if err != nil {
		t.Fatal(err)
	}
	after, err := l.Stage(4, record(4, 300))
	if err != nil {
		t.Fatal(err)
	}
	for _, wait := range []func() error{staged, after} {
		if err := wait(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("full card: %v", err)
		}
	}
	if l.Next() != 3 {
		t.Errorf("next %d, want 3", l.Next())
	}
	l.write = real
	fill(t, l, 3, 4, 300) // shorter than the one that failed
	shut(t, l)
	l = open(t, dir, opt)
	if len(l.Damage()) != 0 || check(t, l, 0, 4, 300) != 4 || l.Next() != 4 {
		t.Errorf("damage %+v, next %d", l.Damage(), l.Next())
	}
}

func TestFailedSyncPoisons(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	fill(t, l, 0, 2, 300)
	real := l.sync
	l.sync = func(*os.File) error { return syscall.EIO }
	if err := l.Append(2, record(2, 300)); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	l.sync = real
	if err := l.Append(l.Next(), record(2, 300)); !errors.Is(err, ErrBroken) || !errors.Is(err, syscall.EIO) {
		t.Errorf("after a failed sync: %v", err)
	}
	if err := l.Prune(1); !errors.Is(err, ErrBroken) {
		t.Errorf("prune after a failed sync: %v", err)
	}
	if _, err := l.Get(2); !errors.Is(err, ErrNotFound) {
		t.Errorf("unacknowledged record: %v", err)
	}
	shut(t, l)
	l = open(t, dir, Options{})
	fill(t, l, l.Next(), 5, 300)
	check(t, l, 0, 5, 300)
}

// A real full card: a small tmpfs.
func TestNoSpace(t *testing.T) {
	mnt := t.TempDir()
	if err := syscall.Mount("tmpfs", mnt, "tmpfs", 0, "size=128k"); err != nil {
		t.Skipf("needs the right to mount a tmpfs: %v", err)
	}
	defer syscall.Unmount(mnt, syscall.MNT_DETACH)
	dir := filepath.Join(mnt, "outbox")
	opt := Options{SegmentBytes: 16 << 10}
	l := open(t, dir, opt)
	defer l.Close()
	var seq uint64
	for ; ; seq++ {
		if err := l.Append(seq, record(seq, 2000)); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		} else if seq > 100 {
			t.Fatal("the card never got full")
		}
	}
	if err := l.Append(seq, record(seq, 2000)); !errors.Is(err, syscall.ENOSPC) || l.Next() != seq {
		t.Errorf("second try: %v, next %d want %d", err, l.Next(), seq)
	}
	filler, err := os.Create(filepath.Join(mnt, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil { // down to the last byte, so that not even the bounds fit
		_, err = filler.Write(make([]byte, 512))
	}
	filler.Close()
	if err := l.Prune(seq / 2); err != nil {
		t.Fatalf("prune must work on a full card: %v", err)
	}
	fill(t, l, seq, seq+4, 2000)
	first := l.First()
	shut(t, l)
	l = open(t, dir, opt)
	if n := check(t, l, first, seq+4, 2000); n != int(seq+4-first) || len(l.Damage()) != 0 {
		t.Errorf("%d readable, damage %+v", n, l.Damage())
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{300, 2000} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			l := open(b, b.TempDir(), Options{})
			data := record(0, size)[:size]
			b.SetBytes(int64(size))
			var seq uint64
			for b.Loop() {
				if err := l.Append(seq, data); err != nil {
					b.Fatal(err)
				}
				seq++
			}
		})
	}
}
