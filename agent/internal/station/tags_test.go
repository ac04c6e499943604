package station

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trailmark/agent/internal/rfid"
	"trailmark/statement"
)

var pallet, _ = hex.DecodeString("311BA1B300CE0A6A83000000")

// gate runs a test of a device with one reader, "door", and no probes.
func gate(t *testing.T, f func(t *testing.T, r *rig, read func(antenna uint16, rssi int))) {
	t.Helper()
	bench(t, func(t *testing.T, r *rig) {
		reads := make(chan rfid.Read)
		r.probes = nil
		r.readers = []Reader{{Name: "door", Open: func(func(bool, string)) (rfid.Reader, error) { return &testReader{reads}, nil }}}
		r.c.Antennas = map[string]Antenna{"door/1": {MinReads: 3, MinRSSI: -65}, "door/2": {MinRSSI: -65}}
		r.c.Portals = []Portal{{Name: "dock", Outer: "door/3", Inner: "door/4"}, {Name: "strict", Outer: "door/1", Inner: "door/2"}}
		f(t, r, func(antenna uint16, rssi int) {
			reads <- rfid.Read{EPC: pallet, Antenna: antenna, RSSI: rssi, First: time.Now(), Last: time.Now(), Count: 1}
		})
	})
}

// heard is what a stopped device tells of tags, in the order of frames.
func heard(t *testing.T, r *rig) []string {
	t.Helper()
	var out []string
	for _, v := range all[any](r.chain(r.card())) {
		switch v := v.(type) {
		case *statement.Sighting:
			rssi := "?"
			if v.RSSI != nil {
				rssi = fmt.Sprint(*v.RSSI)
			}
			out = append(out, fmt.Sprintf("%s %d reads in %d s at %s", v.Antenna, v.Reads, (v.Last-v.First)/1000, rssi))
		case *statement.Happening:
			if v.Type != statement.Stray && v.Type != statement.Passage {
				continue
			}
			if string(v.Raw) != string(pallet) {
				t.Errorf("of tag %x", v.Raw)
			}
			out = append(out, fmt.Sprintf("%s %s %d reads in %d s", v.Subject, v.Words, v.Count, (*v.Until-v.At)/1000))
		}
	}
	return out
}

func TestStays(t *testing.T) {
	type read struct {
		antenna uint16
		rssi    int
		pause   time.Duration // before it
	}
	s := time.Second
	for _, c := range []struct {
		name  string
		reads []read
		want  []string
	}{
		{"confirmed by the third read", []read{{1, -60, 0}, {1, -50, s}, {1, -65, s}, {1, -90, s}},
			[]string{"door/1 4 reads in 3 s at -50"}},
		{"two reads are a stray", []read{{1, -60, 0}, {1, -50, s}},
			[]string{"door/1 strongest at -50 dBm 2 reads in 1 s"}},
		{"weak reads confirm nothing", []read{{1, -66, 0}, {1, -70, s}, {1, -66, s}, {1, -80, s}},
			[]string{"door/1 strongest at -66 dBm 4 reads in 3 s"}},
		{"nor do reads of unknown strength", []read{{2, 0, 0}, {2, 0, s}},
			[]string{"door/2 strength of the signal not told 2 reads in 1 s"}},
		{"weak reads count once it is confirmed", []read{{1, -80, 0}, {1, -60, s}, {1, -60, s}, {1, -60, s}},
			[]string{"door/1 4 reads in 3 s at -60"}},
		{"a pause makes two stays", []read{{1, -60, 0}, {1, -60, s}, {1, -60, 11 * s}, {1, -60, s}},
			[]string{"door/1 strongest at -60 dBm 2 reads in 1 s", "door/1 strongest at -60 dBm 2 reads in 1 s"}},
		{"a tag that moved off is not held by weak reads", []read{{2, -60, 0}, {2, -80, 6 * s}, {2, -80, 6 * s}, {2, -80, 6 * s}},
			[]string{"door/2 2 reads in 6 s at -60", "door/2 strongest at -80 dBm 2 reads in 6 s"}},
		{"no rule, no doubt", []read{{5, 0, 0}},
			[]string{"door/5 1 reads in 0 s at ?"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			gate(t, func(t *testing.T, r *rig, read func(uint16, int)) {
				r.c.Portals = nil
				r.start()
				after(time.Second)
				for _, x := range c.reads {
					after(x.pause)
					read(x.antenna, x.rssi)
				}
				after(time.Minute)
				r.halt()
				if got := heard(t, r); !slices.Equal(got, c.want) {
					t.Errorf("told %q, want %q", got, c.want)
				}
			})
		})
	}
}

// A tag at the edge of the field is told of while it stays there, and at the stop.
func TestLongStray(t *testing.T) {
	gate(t, func(t *testing.T, r *rig, read func(uint16, int)) {
		r.start()
		for range 25 * 12 {
			after(5 * time.Second)
			read(1, -80)
		}
		after(time.Second)
		r.halt()
		got := heard(t, r)
		n := 0
		for _, s := range got {
			var reads int
			if _, err := fmt.Sscanf(s, "door/1 strongest at -80 dBm %d reads", &reads); err != nil {
				t.Fatalf("%q: %v", s, err)
			}
			n += reads
		}
		if len(got) != 3 || n != 300 {
			t.Errorf("%d reads told of 300: %q", n, got)
		}
	})
}

// Every read is signed once, whatever else is at the door.
func TestStaysAreBounded(t *testing.T) {
	gate(t, func(t *testing.T, r *rig, _ func(uint16, int)) {
		r.opt.SegmentBytes, r.c.Portals = 1<<20, nil
		r.start()
		const tags = maxStays + 100
		for i := range tags {
			at := r.clock.Now().Boottime
			look(r, func() bool {
				r.st.saw(at, "door/1", rfid.Read{EPC: []byte{1, 2, byte(i >> 8), byte(i)}, RSSI: -80})
				return len(r.st.stays) <= maxStays
			})
		}
		r.halt()
		strays := map[string]bool{}
		for _, h := range happenings(r.chain(r.card()), statement.Stray) {
			strays[string(h.Raw)] = true
		}
		if len(strays) != tags {
			t.Errorf("%d tags told of %d", len(strays), tags)
		}
	})
}

func TestPassages(t *testing.T) {
	type read struct {
		antenna uint16 // 3 is outer, 4 inner
		rssi    int
	}
	for _, c := range []struct {
		name  string
		reads []read // a second apart
		want  string // "": none
	}{
		{"in", []read{{3, -70}, {3, -50}, {3, -60}, {4, -60}, {3, -70}, {4, -50}, {4, -70}}, "in 7"},
		{"out", []read{{4, -70}, {4, -50}, {3, -60}, {4, -70}, {3, -50}, {3, -70}}, "out 6"},
		{"in, strength unknown", []read{{3, 0}, {4, 0}}, "in 2"},
		{"turned back outside", []read{{3, -60}, {4, -70}, {4, -70}, {3, -60}}, "turned back 4"},
		{"turned back inside", []read{{4, -60}, {3, -70}, {4, -60}}, "turned back 3"},
		{"one antenna only", []read{{3, -60}, {3, -50}}, "unclear 2"},
		{"the strongest reads say otherwise", []read{{3, -70}, {4, -40}, {3, -40}, {4, -70}}, "unclear 4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			gate(t, func(t *testing.T, r *rig, read func(uint16, int)) {
				r.start()
				for _, x := range c.reads {
					after(time.Second)
					read(x.antenna, x.rssi)
				}
				after(30 * time.Second)
				r.halt()
				got := slices.DeleteFunc(heard(t, r), func(s string) bool { return strings.HasPrefix(s, "door/") })
				want := []string{fmt.Sprintf("dock %s reads in %d s", c.want, len(c.reads)-1)}
				if !slices.Equal(got, want) {
					t.Errorf("told %q, want %q", got, want)
				}
			})
		})
	}
}

// A tag that is nowhere present passes nowhere; one that is present at one of the
// two antennas does.
func TestPassageOfStrays(t *testing.T) {
	gate(t, func(t *testing.T, r *rig, read func(uint16, int)) {
		r.start()
		for _, rssi := range []int{-80, -60} {
			after(time.Minute)
			read(1, -80)
			after(time.Second)
			read(2, rssi)
		}
		after(time.Minute)
		r.halt()
		got := slices.DeleteFunc(heard(t, r), func(s string) bool { return strings.HasPrefix(s, "door/") })
		if want := []string{"strict in 2 reads in 1 s"}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

func TestDeparturesAreLogged(t *testing.T) {
	gate(t, func(t *testing.T, r *rig, read func(uint16, int)) {
		var log lockedLog
		r.log = &log
		r.start()
		after(time.Second)
		read(5, -50)
		after(absence + time.Second)
		read(5, -50)
		after(2 * absence)
		r.halt()
		for _, want := range []string{"tag seen", "tag gone"} {
			if n := strings.Count(log.String(), want); n != 2 {
				t.Errorf("%q stands %d times in the log, want 2:\n%s", want, n, log.String())
			}
		}
	})
}
