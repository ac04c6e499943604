package gen2

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"
)

func field(n, rssi int) []Tag {
	tags := make([]Tag, n)
	for i := range tags {
		tags[i] = Tag{EPC: binary.BigEndian.AppendUint32(make([]byte, 8), uint32(i)), RSSI: rssi}
	}
	return tags
}

var begin = time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)

func TestRoundHearsEveryTagOnce(t *testing.T) {
	for _, n := range []int{0, 1, 2, 50, 300} {
		heard := New(1).Inventory(begin, field(n, -50), Round{Budget: time.Minute})
		slices.Sort(heard)
		if len(heard) != n || len(slices.Compact(heard)) != n {
			t.Errorf("%d of %d heard", len(heard), n)
		}
	}
}

// A short round hears some of many; the next ones the rest, if the session
// keeps those heard silent.
func TestCollisionsLeaveTagsForLaterRounds(t *testing.T) {
	tags := field(200, -50)
	a := New(7)
	seen := map[int]bool{}
	rounds := 0
	for now := begin; len(seen) < len(tags) && rounds < 20; now = now.Add(100 * time.Millisecond) {
		heard := a.Inventory(now, tags, Round{Session: 2, Budget: 100 * time.Millisecond})
		if rounds == 0 && (len(heard) < 10 || len(heard) > 60) {
			t.Errorf("first round of 100 ms heard %d of 200", len(heard))
		}
		for _, i := range heard {
			if seen[i] {
				t.Errorf("tag %d heard twice in session 2", i)
			}
			seen[i] = true
		}
		rounds++
	}
	if len(seen) != len(tags) || rounds < 5 {
		t.Errorf("%d tags in %d rounds", len(seen), rounds)
	}
}

func TestSessions(t *testing.T) {
	const budget = 100 * time.Millisecond
	tags := field(3, -50)
	for _, v := range []struct {
		session uint8
		after   time.Duration
		powered bool // in between
		want    int
	}{
		{0, 10 * time.Millisecond, true, 3},
		{1, 400 * time.Millisecond, true, 0},
		{1, 6 * time.Second, true, 3}, // S1 falls back even with power
		{2, 6 * time.Second, true, 0},
		{2, time.Second, false, 0},
		{2, 3 * time.Second, false, 3},
		{3, 3 * time.Second, false, 3},
	} {
		a := New(3)
		if n := len(a.Inventory(begin, tags, Round{Session: v.session, Budget: budget})); n != 3 {
			t.Fatalf("session %d: first round heard %d", v.session, n)
		}
		if v.powered { // by rounds of another session
			for d := time.Duration(0); d < v.after; d += time.Second {
				a.Inventory(begin.Add(d), tags, Round{Session: (v.session + 1) % 4, Budget: budget})
			}
		}
		if n := len(a.Inventory(begin.Add(v.after), tags, Round{Session: v.session, Budget: budget})); n != v.want {
			t.Errorf("session %d after %v, powered %v: %d heard, want %d", v.session, v.after, v.powered, n, v.want)
		}
	}
	a := New(3)
	a.Inventory(begin, tags, Round{Session: 2, Budget: budget})
	if n := len(a.Inventory(begin.Add(time.Second), tags, Round{Session: 2, B: true, Budget: budget})); n != 3 {
		t.Errorf("%d of 3 at B", n)
	}
}

func TestWeakTags(t *testing.T) {
	a := New(5)
	if n := len(a.Inventory(begin, field(10, Sensitivity-1), Round{Budget: time.Second})); n != 0 {
		t.Errorf("%d heard below the sensitivity", n)
	}
	n := 0
	for range 100 {
		n += len(a.Inventory(begin, field(1, Sensitivity+2), Round{Budget: time.Second}))
	}
	if n < 15 || n > 50 {
		t.Errorf("2 dB above the sensitivity: heard in %d of 100 rounds", n)
	}
}

func TestSameSeedHearsTheSame(t *testing.T) {
	run := func(seed uint64) (all []int) {
		a := New(seed)
		for i := range 10 {
			all = append(all, a.Inventory(begin.Add(time.Duration(i)*time.Second), field(80, -78), Round{Session: 1, Budget: 50 * time.Millisecond})...)
		}
		return all
	}
	if !slices.Equal(run(9), run(9)) {
		t.Error("the same seed differs")
	}
	if slices.Equal(run(9), run(10)) {
		t.Error("another seed does not")
	}
}
