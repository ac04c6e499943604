package outbox

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

var small = Options{SegmentBytes: 700}

// five records of about 100 bytes in one segment of 700, and where each begins.
func fiveRecords(t testing.TB) (dir string, image []byte, at []int) {
	t.Helper()
	dir = build(t, small, 0, 5, 50)
	segs := segmentsIn(t, dir)
	if len(segs) != 1 {
		t.Fatalf("%d segments, want 1", len(segs))
	}
	image = readFile(t, segs[0])
	off := 0
	for seq := range uint64(5) {
		at = append(at, off)
		off += overhead + len(record(seq, 50))
	}
	return dir, image, append(at, off)
}

// usable appends to a log that may be damaged, reopens it and checks all again.
func usable(t *testing.T, l *Log, dir string, known uint64) {
	t.Helper()
	next := l.Next()
	fill(t, l, next, next+3, 50)
	if seq, _, ok := l.Last(); !ok || seq != next+2 {
		t.Errorf("last %d %v, want %d", seq, ok, next+2)
	}
	shut(t, l)
	l = open(t, dir, small)
	if hasTail(l) {
		t.Errorf("damage at the end after good records: %+v", l.Damage())
	}
	if n := check(t, l, next, next+3, 50); n != 3 || l.Next() != next+3 {
		t.Errorf("%d of 3 readable, next %d", n, l.Next())
	}
	check(t, l, 0, min(known, next), 50)
	shut(t, l)
}

func TestTornAtEveryByte(t *testing.T) {
	dir, image, at := fiveRecords(t)
	seg := segmentsIn(t, dir)[0]
	for cut := at[4]; cut <= at[5]; cut++ {
		torn := slices.Clone(image)
		clear(torn[cut:])
		writeFile(t, seg, torn)
		l := open(t, dir, small)
		whole := cut >= at[5]-trailerSize
		want := uint64(4)
		if whole {
			want = 5
		}
		if l.Next() != want || check(t, l, 0, want, 50) != int(want) || hasTail(l) {
			t.Errorf("cut at %d: next %d, want %d; %+v", cut, l.Next(), want, l.Damage())
		}
		reported := len(l.Damage()) == 1
		if touched := cut > at[4] && !bytes.Equal(torn, image); reported != touched {
			t.Errorf("cut at %d of %d..%d: %+v", cut, at[4], at[5], l.Damage())
		}
		if reported && l.Damage()[0].Torn == whole {
			t.Errorf("cut at %d: %+v", cut, l.Damage()[0])
		}
		shut(t, l)
		l = open(t, dir, small) // what was repaired stays repaired
		if len(l.Damage()) != 0 || l.Next() != want {
			t.Errorf("cut at %d, second open: %+v", cut, l.Damage())
		}
		fill(t, l, want, want+1, 20)
		check(t, l, 0, want, 50)
		shut(t, l)
	}
}

func TestFlipEveryByte(t *testing.T) {
	dir, image, at := fiveRecords(t)
	seg := segmentsIn(t, dir)[0]
	for i := range image {
		flipped := slices.Clone(image)
		flipped[i] ^= 1 << (i % 8)
		writeFile(t, seg, flipped)
		l := open(t, dir, small)
		if len(l.Damage()) == 0 {
			t.Fatalf("flip at %d: silent", i)
		}
		hit := 5 // which record
		for hit > 0 && i < at[hit] {
			hit--
		}
		wantLost := 0
		if hit < 5 && i < at[hit+1]-trailerSize {
			wantLost = 1
		}
		readable := check(t, l, 0, 5, 50)
		if readable != 5-wantLost {
			t.Errorf("flip at %d in record %d: %d readable; %+v", i, hit, readable, l.Damage())
		}
		if l.Next() < 5 {
			t.Errorf("flip at %d: next is %d: number 4 could be signed twice", i, l.Next())
		}
		if tail := hasTail(l); wantLost == 1 && tail != (hit == 4) {
			t.Errorf("flip at %d in record %d: tail %v", i, hit, tail)
		}
		if _, _, ok := l.Last(); ok == hasTail(l) {
			t.Errorf("flip at %d: last ok %v with tail %v", i, ok, hasTail(l))
		}
		shut(t, l)
	}
}

func TestZeroedTail(t *testing.T) {
	dir, image, at := fiveRecords(t)
	seg := segmentsIn(t, dir)[0]
	for cut := range at[5] {
		b := slices.Clone(image)
		clear(b[cut:])
		writeFile(t, seg, b)
		l := open(t, dir, small)
		kept, _ := slices.BinarySearch(at, cut+trailerSize+1) // record i is whole if at[i+1]-trailerSize <= cut
		if n := uint64(kept - 1); l.Next() != n || check(t, l, 0, n, 50) != int(n) {
			t.Fatalf("zero from %d: next %d, want %d; %+v", cut, l.Next(), n, l.Damage())
		}
		shut(t, l)
	}
}

func TestGarbageTail(t *testing.T) {
	for seed := range uint64(60) {
		dir, image, at := fiveRecords(t)
		r := rand.New(rand.NewPCG(seed, 2))
		b := slices.Clone(image)
		from := at[3] + r.IntN(at[5]-trailerSize-at[3]) // somewhere in the last two records
		to := at[5] + r.IntN(len(b)-at[5]+1)
		for i := from; i < to; i++ {
			b[i] = byte(r.Uint32())
		}
		writeFile(t, segmentsIn(t, dir)[0], b)
		l := open(t, dir, small)
		first := uint64(3) // record hit
		if from >= at[4]-trailerSize {
			first = 4
		}
		if n := check(t, l, 0, first+1, 50); n != int(first) || !hasTail(l) || l.Next() <= first {
			t.Errorf("seed %d, garbage %d..%d: next %d, %+v", seed, from, to, l.Next(), l.Damage())
		}
		if err := l.Prune(4); err == nil {
			t.Error("prune with a damaged end must be refused")
		}
		if err := l.Append(l.Next()-1, nil); !errors.Is(err, ErrSequence) {
			t.Errorf("a damaged number was given out again: %v", err)
		}
		usable(t, l, dir, first+1)
	}
}

// An end mark that survived tells how many records the damage took.
func TestCountLostByEndMark(t *testing.T) {
	dir, image, at := fiveRecords(t)
	b := slices.Clone(image)
	for i := at[2]; i < at[5]-trailerSize; i++ {
		b[i] = 0xff
	}
	writeFile(t, segmentsIn(t, dir)[0], b)
	l := open(t, dir, small)
	if check(t, l, 0, 5, 50) != 2 || !hasTail(l) || l.Next() != 5 {
		t.Errorf("next %d, %+v", l.Next(), l.Damage())
	}
}

// Damage inside a segment must cost the records it hit and no other.
func TestInteriorDamage(t *testing.T) {
	for seed := range uint64(100) {
		dir, image, at := fiveRecords(t)
		r := rand.New(rand.NewPCG(seed, 3))
		b := slices.Clone(image)
		from := r.IntN(at[4])
		to := from + 1 + r.IntN(at[4]-from)
		for i := from; i < to; i++ {
			b[i] ^= byte(1 + r.IntN(255))
		}
		writeFile(t, segmentsIn(t, dir)[0], b)
		l := open(t, dir, small)
		intact := 0
		for i := range 5 {
			if to <= at[i] || from >= at[i+1]-trailerSize {
				intact++
			}
		}
		if n := check(t, l, 0, 5, 50); n != intact || hasTail(l) || l.Next() != 5 {
			t.Errorf("seed %d, damage %d..%d: %d readable, want %d; %+v", seed, from, to, n, intact, l.Damage())
		}
		// The bytes are kept for people, once.
		q, _ := filepath.Glob(filepath.Join(dir, "quarantine", "*"))
		shut(t, l)
		l = open(t, dir, small)
		again, _ := filepath.Glob(filepath.Join(dir, "quarantine", "*"))
		if len(q) == 0 || len(again) > len(q) {
			t.Errorf("quarantine: %v then %v", q, again)
		}
		usable(t, l, dir, 5)
	}
}

func TestMissingSegments(t *testing.T) {
	opt := Options{SegmentBytes: 700}
	for _, c := range []struct {
		name string
		drop []int // from the end if negative
		tail bool
	}{
		{"first", []int{0}, false}, {"middle", []int{1}, false}, {"two", []int{1, 2}, false},
		{"newest", []int{-1}, true}, {"all", []int{0, 1, 2, 3}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := build(t, opt, 0, 24, 50)
			segs := segmentsIn(t, dir)
			if len(segs) != 4 {
				t.Fatalf("%d segments, want 4", len(segs))
			}
			for _, i := range c.drop {
				if i < 0 {
					i += len(segs)
				}
				if err := os.Remove(segs[i]); err != nil {
					t.Fatal(err)
				}
			}
			l := open(t, dir, opt)
			newest, _ := parseSegmentName(filepath.Base(segs[3]))
			if hasTail(l) != c.tail || l.Next() <= newest || len(l.Damage()) != 1 {
				t.Errorf("next %d, damage %+v", l.Next(), l.Damage())
			}
			check(t, l, 0, l.Next(), 50)
			usable(t, l, dir, 24)
		})
	}
}

func TestBoundsDamage(t *testing.T) {
	dir, _, _ := fiveRecords(t)
	name := filepath.Join(dir, boundsName)
	image := readFile(t, name)
	for i := range image {
		b := slices.Clone(image)
		b[i] ^= 0x10
		writeFile(t, name, b)
		l := open(t, dir, small)
		if !hasTail(l) || check(t, l, 0, 5, 50) != 5 || l.Next() != 5 {
			t.Errorf("flip at %d: next %d, %+v", i, l.Next(), l.Damage())
		}
		shut(t, l)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	l := open(t, dir, small)
	if !hasTail(l) || check(t, l, 0, 5, 50) != 5 {
		t.Errorf("without bounds: %+v", l.Damage())
	}
	usable(t, l, dir, 5)
}

func TestCutSegment(t *testing.T) {
	dir, image, at := fiveRecords(t)
	for _, n := range []int{0, 1, at[3], at[5] - 1, at[5], len(image) - 1} {
		writeFile(t, segmentsIn(t, dir)[0], image[:n])
		l := open(t, dir, small)
		if !hasTail(l) {
			t.Errorf("cut to %d: %+v", n, l.Damage())
		}
		check(t, l, 0, l.Next(), 50)
		shut(t, l)
	}
}

// After damage at the end the caller may go on at a later number; the hole stays declared.
func TestGoOnAfterTail(t *testing.T) {
	dir, image, at := fiveRecords(t)
	b := slices.Clone(image)
	b[at[4]+headerSize] ^= 1
	writeFile(t, segmentsIn(t, dir)[0], b)
	l := open(t, dir, small)
	fill(t, l, 9, 11, 50)
	shut(t, l)
	l = open(t, dir, small)
	if check(t, l, 0, 11, 50) != 6 || hasTail(l) || l.Next() != 11 {
		t.Errorf("next %d, %+v", l.Next(), l.Damage())
	}
	if err := l.Append(20, nil); !errors.Is(err, ErrSequence) {
		t.Errorf("a jump without damage: %v", err)
	}
	if err := l.Prune(10); err != nil {
		t.Fatal(err)
	}
	shut(t, l)
	l = open(t, dir, small)
	if len(l.Damage()) != 0 || l.First() != 9 || check(t, l, 9, 11, 50) != 2 {
		t.Errorf("after prune: first %d, %+v", l.First(), l.Damage())
	}
}

// A record whose data holds a whole record must not let it out when its own header breaks.
func TestEmbeddedRecord(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "o")
	l := open(t, dir, Options{})
	inner := append(bytes.Repeat([]byte{7}, 60), appendRecord(nil, 900, []byte("forged"))...)
	if err := l.Append(0, inner); err != nil {
		t.Fatal(err)
	}
	shut(t, l)
	seg := segmentsIn(t, dir)[0]
	b := readFile(t, seg)
	b[0] ^= 1
	writeFile(t, seg, b)
	l = open(t, dir, Options{})
	if _, err := l.Get(900); err == nil || !hasTail(l) {
		t.Errorf("%v, %+v", err, l.Damage())
	}
}

func TestOverlappingSegment(t *testing.T) {
	opt := Options{SegmentBytes: 700}
	dir := build(t, opt, 0, 24, 50)
	segs := segmentsIn(t, dir)
	writeFile(t, filepath.Join(dir, segmentName(2)), readFile(t, segs[0]))
	l := open(t, dir, opt)
	if check(t, l, 0, 24, 50) != 24 || len(l.Damage()) != 1 || hasTail(l) {
		t.Errorf("%+v", l.Damage())
	}
}

// badSectors cannot read one page.
type badSectors struct {
	io.ReaderAt
	from, to int64
}

func (r badSectors) ReadAt(p []byte, off int64) (int, error) {
	if off < r.to && off+int64(len(p)) > r.from {
		return 0, syscall.EIO
	}
	return r.ReaderAt.ReadAt(p, off)
}

func TestUnreadablePage(t *testing.T) {
	var image []byte
	for seq := range uint64(40) {
		image = appendRecord(image, seq, record(seq, 300))
	}
	ld := &loader{}
	b, err := ld.read(badSectors{bytes.NewReader(image), 4096, 8192}, int64(len(image)))
	if !errors.Is(err, syscall.EIO) {
		t.Fatalf("unread: %v", err)
	}
	s := scan(b, 0)
	readable := 0
	for i, off := range s.recs {
		if off != lost {
			readable++
			if data, err := readRecord(bytes.NewReader(b), int64(off), uint64(i)); err != nil || !bytes.Equal(data, record(uint64(i), 300)) {
				t.Errorf("record %d: %v", i, err)
			}
		}
	}
	if len(s.recs) != 40 || readable < 40-15 || readable > 40-11 {
		t.Errorf("%d records, %d readable", len(s.recs), readable)
	}
}

// Power cuts: what was synced is there, of the rest any 512-byte sector may be.
func TestPowerCut(t *testing.T) {
	tails := 0
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 4))
		opt := Options{SegmentBytes: 64 << 10}
		dir := filepath.Join(t.TempDir(), "o")
		l := open(t, dir, opt)
		acked := uint64(1 + r.IntN(8))
		fill(t, l, 0, acked, 1500)
		type write struct {
			b   []byte
			off int64
		}
		var inFlight write
		l.write = func(f *os.File, b []byte, off int64) error {
			inFlight = write{slices.Clone(b), off}
			return syscall.EIO // the power goes here
		}
		var waits []func() error
		staged := acked + uint64(1+r.IntN(3))
		for seq := acked; seq < staged; seq++ {
			w, err := l.Stage(seq, record(seq, 1500))
			if err != nil {
				t.Fatal(err)
			}
			waits = append(waits, w)
		}
		for _, w := range waits {
			if w() == nil {
				t.Fatal("acknowledged without power")
			}
		}
		shut(t, l)
		seg := segmentsIn(t, dir)[0]
		image := readFile(t, seg)
		for off := inFlight.off; off < inFlight.off+int64(len(inFlight.b)); {
			end := min(off/512*512+512, inFlight.off+int64(len(inFlight.b)))
			if r.IntN(3) > 0 {
				copy(image[off:end], inFlight.b[off-inFlight.off:])
			}
			off = end
		}
		writeFile(t, seg, image)
		l = open(t, dir, opt)
		if n := check(t, l, 0, acked, 1500); n != int(acked) || l.Next() < acked || l.Next() > staged {
			t.Errorf("seed %d: %d of %d readable, next %d; %+v", seed, n, acked, l.Next(), l.Damage())
		}
		check(t, l, acked, l.Next(), 1500)
		if hasTail(l) {
			tails++ // allowed: it only costs a question to the ledger
		}
		shut(t, l)
	}
	if tails == 150 {
		t.Error("every power cut looks like damage")
	}
	t.Logf("%d of 150 cuts with reordered sectors were taken for damage", tails)
}

// TestKill kills a process in the middle of its appends; what it was told is durable must be there.
func TestKill(t *testing.T) {
	if dir := os.Getenv("OUTBOX_KILL_DIR"); dir != "" {
		l := open(t, dir, Options{SegmentBytes: 16 << 10})
		for seq := l.Next(); ; seq++ {
			if err := l.Append(seq, record(seq, 300)); err != nil {
				t.Fatal(err)
			}
			os.Stdout.WriteString("acked " + strconv.FormatUint(seq, 10) + "\n")
		}
	}
	dir := filepath.Join(t.TempDir(), "o")
	var acked uint64
	for round := range 4 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), "OUTBOX_KILL_DIR="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var seen []byte
		buf := make([]byte, 4096)
		for bytes.Count(seen, []byte("\n")) < 40+17*round {
			n, err := out.Read(buf)
			if err != nil {
				t.Fatalf("child: %v after %q", err, seen)
			}
			seen = append(seen, buf[:n]...)
		}
		cmd.Process.Kill()
		rest, _ := io.ReadAll(out)
		cmd.Wait()
		for line := range strings.Lines(string(append(seen, rest...))) {
			if s, ok := strings.CutPrefix(strings.TrimSpace(line), "acked "); ok && strings.HasSuffix(line, "\n") {
				n, err := strconv.ParseUint(s, 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				acked = n
			}
		}
		l := open(t, dir, Options{SegmentBytes: 16 << 10})
		if l.Next() <= acked || check(t, l, 0, l.Next(), 300) != int(l.Next()) || hasTail(l) {
			t.Errorf("round %d: next %d, acknowledged %d; %+v", round, l.Next(), acked, l.Damage())
		}
		shut(t, l)
	}
}

func FuzzOpen(f *testing.F) {
	_, image, at := fiveRecords(f)
	f.Add(image)
	f.Add(image[:at[3]+10])
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte(recordMark), 50))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			return
		}
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, segmentName(0)), b)
		writeFile(t, filepath.Join(dir, boundsName), bounds{0, 0, int64(len(b))}.marshal())
		l := open(t, dir, small)
		next := l.Next()
		kept := map[uint64][]byte{}
		for seq := l.First(); seq < next; seq++ {
			data, err := l.Get(seq)
			declared := slices.ContainsFunc(l.Damage(), func(d Damage) bool { return d.From <= seq && seq < d.To })
			if (err == nil) == declared {
				t.Fatalf("record %d: %v, declared %v", seq, err, declared)
			}
			if err == nil {
				kept[seq] = data
			}
		}
		if err := l.Append(next, []byte("on we go")); err != nil {
			t.Fatal(err)
		}
		shut(t, l)
		l = open(t, dir, small)
		if l.Next() != next+1 || hasTail(l) {
			t.Fatalf("next %d, want %d; %+v", l.Next(), next+1, l.Damage())
		}
		kept[next] = []byte("on we go")
		for seq, want := range kept {
			if got, err := l.Get(seq); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("record %d after reopening: %v", seq, err)
			}
		}
		shut(t, l)
	})
}

// FuzzScan is FuzzOpen without the card: what is readable, lost and left over adds up.
func FuzzScan(f *testing.F) {
	_, image, at := fiveRecords(f)
	f.Add(image, uint64(0))
	f.Add(image[at[1]:], uint64(1))
	f.Add(append(slices.Clone(image[:at[2]]), image[at[3]:]...), uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, base uint64) {
		if base == 1<<64-1 {
			return // no segment has this name
		}
		s := scan(slices.Clone(b), base)
		if s.end < 0 || s.end > int64(len(b)) || s.settled > len(s.findings) || len(s.recs) > len(b)/overhead+1 {
			t.Fatalf("%d records, end %d of %d bytes", len(s.recs), s.end, len(b))
		}
		for i, off := range s.recs {
			seq := base + uint64(i)
			declared := slices.ContainsFunc(s.findings, func(d finding) bool { return d.From <= seq && seq < d.To })
			if declared != (off == lost) {
				t.Fatalf("record %d: declared lost %v, offset %d", seq, declared, off)
			}
			if off == lost {
				continue
			}
			if _, err := readRecord(bytes.NewReader(b), int64(off), seq); err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range s.findings {
			if d.From > d.To || d.Offset < 0 || d.length < 0 || d.Offset+d.length > int64(len(b)) {
				t.Fatalf("finding %+v", d)
			}
		}
	})
}

func FuzzBounds(f *testing.F) {
	f.Add(bounds{3, 7, 4096}.marshal())
	f.Fuzz(func(t *testing.T, p []byte) {
		if b, err := parseBounds(p); err == nil && !bytes.Equal(b.marshal(), p) {
			t.Errorf("%+v does not encode to what it came from", b)
		}
	})
}
