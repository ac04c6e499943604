package clock

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	bootA = [16]byte{1}
	bootB = [16]byte{2}
	build = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
)

// machine is a Source whose hands the test moves.
type machine struct {
	boot    time.Duration
	wall    time.Time
	sync    bool
	bound   time.Duration
	syncErr error
	rtc     bool
	jolts   int // how often the process loses the processor between two clocks
	bootErr error
}

func (m *machine) Boottime() (int64, error) { return int64(m.boot), m.bootErr }
func (m *machine) FromRTC() bool            { return m.rtc }
func (m *machine) Discipline() (bool, time.Duration, error) {
	return m.sync, m.bound, m.syncErr
}
func (m *machine) Wall() time.Time {
	w := m.wall
	if m.jolts > 0 {
		m.jolts--
		m.run(3 * time.Second)
	}
	return w
}
func (m *machine) run(d time.Duration) { m.boot += d; m.wall = m.wall.Add(d) }

func newClock(t *testing.T, m *machine) *Clock {
	t.Helper()
	c, err := New(Options{BootID: bootA, BootCount: 7, Source: m})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBuildDate(t *testing.T) {
	if !time.Unix(Build, 0).Equal(build) {
		t.Errorf("Build is %v", time.Unix(Build, 0).UTC())
	}
}

func TestQuality(t *testing.T) {
	for _, c := range []struct {
		name  string
		m     machine
		want  Quality
		wall  int64
		maxMS uint64
	}{
		{"1970", machine{wall: time.Unix(12, 0), sync: true, rtc: true}, Unset, 0, 0},
		{"just before the build", machine{wall: build.Add(-1), sync: true}, Unset, 0, 0},
		{"at the build", machine{wall: build}, Restored, build.UnixMilli(), 0},
		{"rtc", machine{wall: build, rtc: true, bound: 16 * time.Second}, RTC, build.UnixMilli(), 0},
		{"synchronised", machine{wall: build.Add(1500 * time.Microsecond), sync: true, rtc: true, bound: 1001 * time.Microsecond}, Synchronised, build.UnixMilli() + 1, 2},
		{"exactly", machine{wall: build, sync: true}, Synchronised, build.UnixMilli(), 0},
		{"adjtimex forbidden", machine{wall: build, sync: true, syncErr: errors.New("no")}, Restored, build.UnixMilli(), 0},
	} {
		c.m.boot = 42 * time.Second
		r := newClock(t, &c.m).Now()
		if r.Quality != c.want || r.Wall != c.wall || r.MaxErrorMS != c.maxMS || r.Boottime != int64(42*time.Second) || r.BootID != bootA || r.BootCount != 7 {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
	m := &machine{wall: build.Add(-time.Hour)}
	c, err := New(Options{BootID: bootA, Source: m, Build: build.AddDate(-1, 0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Now(); r.Quality != Restored {
		t.Errorf("other build date: %+v", r)
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Options{Source: &machine{}}); err == nil {
		t.Error("no boot id")
	}
	if _, err := New(Options{BootID: bootA, Source: &machine{bootErr: errors.New("no")}}); err == nil {
		t.Error("no boot time")
	}
}

func TestStepped(t *testing.T) {
	m := &machine{boot: time.Hour, wall: build, sync: true}
	c := newClock(t, m)
	for _, step := range []struct {
		by time.Duration
		ok bool
	}{
		{0, false}, {time.Second, false}, {-time.Second, false}, {1001 * time.Millisecond, true}, {-1001 * time.Millisecond, true},
		{time.Hour, true}, {-time.Hour, true}, {365 * 24 * time.Hour, true},
	} {
		prev := c.Now()
		m.run(time.Minute)
		m.wall = m.wall.Add(step.by)
		by, ok := Stepped(prev, c.Now())
		if by != step.by || ok != step.ok {
			t.Errorf("step %v: got %v, %v", step.by, by, ok)
		}
	}
	prev := c.Now()
	m.jolts = 2
	m.run(time.Minute)
	if by, ok := Stepped(prev, c.Now()); ok || by != 0 {
		t.Errorf("descheduled between the clocks: %v, %v", by, ok)
	}
	now := prev
	now.BootID = bootB
	now.Wall += 1e9
	if _, ok := Stepped(prev, now); ok {
		t.Error("two boots cannot be compared")
	}
	m.wall = time.Unix(0, 0)
	if _, ok := Stepped(prev, c.Now()); ok {
		t.Error("an unset clock has no time to compare")
	}
}

func TestSteppedExtremes(t *testing.T) {
	at := func(wall, boot int64) Reading { return Reading{Wall: wall, Boottime: boot, Quality: Restored} }
	for _, c := range []struct {
		prev, now Reading
		sign      int
	}{
		{at(0, 0), at(math.MaxInt64, 0), 1}, {at(math.MaxInt64, 0), at(0, math.MaxInt64), -1},
		{at(1e12, 0), at(3e12, 1), 1},
		{at(0, math.MaxInt64), at(math.MaxInt64, 0), 1},
	} {
		by, ok := Stepped(c.prev, c.now)
		if !ok || (by > 0) != (c.sign > 0) {
			t.Errorf("%+v to %+v: %v, %v", c.prev, c.now, by, ok)
		}
	}
	for _, bad := range []Reading{at(-1, 0), at(math.MinInt64, 0), at(0, math.MinInt64)} {
		if by, ok := Stepped(bad, at(1e15, 0)); ok {
			t.Errorf("%+v: %v", bad, by)
		}
	}
}

// The machine under the test has clocks too.
func TestSystem(t *testing.T) {
	id, err := BootID()
	if err != nil {
		t.Skipf("needs Linux's /proc: %v", err)
	}
	c, err := New(Options{BootID: id, BootCount: 1, Build: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	a := c.Now()
	b := c.Now()
	if a.Boottime <= 0 || b.Boottime < a.Boottime || a.Quality == Unset || time.Since(time.UnixMilli(a.Wall)).Abs() > time.Minute {
		t.Errorf("%+v then %+v", a, b)
	}
	if by, ok := Stepped(a, b); ok {
		t.Errorf("stepped by %v", by)
	}
	late, err := New(Options{BootID: id, Build: time.Now().AddDate(100, 0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if r := late.Now(); r.Quality != Unset || r.Wall != 0 {
		t.Errorf("before its build: %+v", r)
	}
}

func TestParseBootID(t *testing.T) {
	id, err := parseBootID([]byte("0f8c4a6e-3b1d-4c57-9e2a-7d60b5f1c3ff\n"))
	if err != nil || id[0] != 0x0f || id[15] != 0xff {
		t.Errorf("%x %v", id, err)
	}
	for _, bad := range []string{"", "0f8c4a6e-3b1d-4c57-9e2a-7d60b5f1c3f", "0f8c4a6e03b1d04c5709e2a07d60b5f1c3ff", "zf8c4a6e-3b1d-4c57-9e2a-7d60b5f1c3ff", "0f8c4a6e-3b1d-4c57-9e2a-7d60b5f1c3--"} {
		if _, err := parseBootID([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestBoots(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	for i, want := range []struct {
		id    [16]byte
		count uint64
	}{{bootA, 1}, {bootA, 1}, {bootB, 2}, {bootB, 2}, {bootA, 3}} {
		if n, err := Boots(dir, want.id); n != want.count || err != nil {
			t.Errorf("%d: count %d, want %d (%v)", i, n, want.count, err)
		}
	}
	// A power cut before the rename leaves the old count and half a new one.
	name := filepath.Join(dir, bootsName)
	if err := os.WriteFile(name+".tmp", []byte("4 02"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := Boots(dir, bootB); n != 4 || err != nil {
		t.Errorf("count %d, want 4 (%v)", n, err)
	}
}

func TestBootsDamaged(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, bootsName)
	good := marshalBoots(41, bootA)
	for i := range good {
		b := []byte(good)
		b[i] ^= 1
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := Boots(dir, bootB); err == nil || !strings.Contains(err.Error(), "hint") {
			t.Errorf("flip at %d: count %d, %v", i, n, err)
		}
	}
	for _, bad := range []string{"", good[:10], good + good, marshalBoots(0, bootA), marshalBoots(math.MaxUint32, bootA)} {
		if err := os.WriteFile(name, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := Boots(dir, bootB); err == nil {
			t.Errorf("%q: count %d", bad, n)
		}
	}
}

func FuzzParseBoots(f *testing.F) {
	f.Add(marshalBoots(3, bootA))
	f.Fuzz(func(t *testing.T, s string) {
		if n, id, err := parseBoots(s); err == nil && marshalBoots(n, id) != s {
			t.Errorf("%q gives %d", s, n)
		}
	})
}
