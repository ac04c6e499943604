package world

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"trailmark/internal/epc"
)

var start = time.Date(2026, 5, 4, 8, 0, 0, 0, time.UTC)

func options() Options {
	return Options{
		Seed: 1, Start: start, Step: time.Second, Speed: 1, Door: 2 * time.Second,
		Zones: []Zone{
			{ID: "origin", Probes: []Probe{{Series: Series{10, 20, 30}}, {Series: Series{10, 20, 30}, Offset: 4}}},
			{ID: "dc", Probes: []Probe{{Series: Series{-5}}}},
		},
		Route: Line([]string{"origin", "dc"}, 5*time.Second, 20*time.Second, 5*time.Second),
		Tags:  [][]byte{{1}, {2}, {3}},
	}
}

func mustNew(t *testing.T, o Options) *World {
	t.Helper()
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestRouteGivesExactlyTheExpectedSightings(t *testing.T) {
	quiet := options()
	fast := options()
	fast.Speed = 10
	for _, c := range []struct {
		world  *World
		after  time.Duration
		origin uint16 // antenna that hears all three tags, 0 for silence
		dc     uint16
	}{
		{mustNew(t, quiet), -time.Second, 0, 0},
		{mustNew(t, quiet), 0, 0, 0},
		{mustNew(t, quiet), 4999 * time.Millisecond, 0, 0},
		{mustNew(t, quiet), 5 * time.Second, AntennaDoor, 0},
		{mustNew(t, quiet), 6999 * time.Millisecond, AntennaDoor, 0},
		{mustNew(t, quiet), 7 * time.Second, AntennaInside, 0},
		{mustNew(t, quiet), 22999 * time.Millisecond, AntennaInside, 0},
		{mustNew(t, quiet), 23 * time.Second, AntennaDoor, 0},
		{mustNew(t, quiet), 24999 * time.Millisecond, AntennaDoor, 0},
		{mustNew(t, quiet), 25 * time.Second, 0, 0},
		{mustNew(t, quiet), 30 * time.Second, 0, AntennaDoor},
		{mustNew(t, quiet), 40 * time.Second, 0, AntennaInside},
		{mustNew(t, quiet), 49 * time.Second, 0, AntennaDoor},
		{mustNew(t, quiet), 50 * time.Second, 0, 0},
		{mustNew(t, quiet), 1000 * time.Hour, 0, 0},
		{mustNew(t, fast), 500 * time.Millisecond, AntennaDoor, 0},
		{mustNew(t, fast), 4 * time.Second, 0, AntennaInside},
	} {
		for zone, antenna := range map[string]uint16{"origin": c.origin, "dc": c.dc, "nowhere": 0} {
			t.Run(fmt.Sprint(zone, " ", c.after), func(t *testing.T) {
				got := c.world.Sightings(zone, start.Add(c.after))
				want := 3
				if antenna == 0 {
					want = 0
				}
				if len(got) != want {
					t.Fatalf("heard %v, want %d tags", got, want)
				}
				for i, s := range got {
					strength := map[uint16]int{AntennaDoor: -50, AntennaInside: -60}[antenna]
					if off := int(s.RSSI) - strength; s.Antenna != antenna || !bytes.Equal(s.EPC, []byte{byte(i + 1)}) || off < -6 || off > 6 {
						t.Errorf("tag %d: %+v, want antenna %d", i+1, s, antenna)
					}
				}
			})
		}
	}
}

func TestMissedRoundsAndStrayTag(t *testing.T) {
	o := options()
	o.Miss, o.Stray, o.StrayAt = 150, []byte{9}, "dc"
	o.Route = Route{{"origin", 0, 1000 * time.Second}}
	w := mustNew(t, o)
	heard := map[byte]int{}
	for round := range 10_000 {
		at := start.Add(time.Duration(round) * RoundTime)
		for _, zone := range []string{"origin", "dc"} {
			for _, s := range w.Sightings(zone, at) {
				heard[s.EPC[0]]++
				if stray := s.EPC[0] == 9; stray != (zone == "dc") || stray && s.Antenna != AntennaDoor {
					t.Fatalf("%s heard %+v", zone, s)
				}
			}
		}
	}
	for tag, want := range map[byte]int{1: 8500, 2: 8500, 3: 8500, 9: 200} {
		if n := heard[tag]; n < want-want/5 || n > want+want/5 {
			t.Errorf("tag %d heard in %d of 10000 rounds, want about %d", tag, n, want)
		}
	}
}

// In the doorway of one zone the pallet is heard at the next door too, weakly and
// now and then; inside it is not, and a zone off the route never hears it.
func TestSpill(t *testing.T) {
	o := options()
	o.Spill, o.Door = 50, 500*time.Second
	o.Zones = append(o.Zones, Zone{ID: "annex"})
	o.Route = Line([]string{"origin", "dc"}, 0, 2000*time.Second, 0)
	w := mustNew(t, o)
	heard := map[string]int{}
	for round := range 20_000 {
		at := start.Add(time.Duration(round) * RoundTime)
		inside := round >= 5_000 && round < 15_000
		for _, zone := range []string{"dc", "annex"} {
			for _, s := range w.Sightings(zone, at) {
				if heard[zone]++; inside || s.Antenna != AntennaDoor || s.RSSI > -70 {
					t.Fatalf("round %d: %s heard %+v", round, zone, s)
				}
			}
		}
	}
	if n := heard["dc"]; n < 1200 || n > 1800 || heard["annex"] > 0 {
		t.Errorf("heard %v, want about 1500 at the neighbour's door", heard)
	}
}

// The order of the antennas is the direction: door then inside on the way in, the
// other way round on the way out.
func TestDirection(t *testing.T) {
	w := mustNew(t, options())
	var order []uint16
	for at := start; at.Before(start.Add(30 * time.Second)); at = at.Add(RoundTime) {
		for _, s := range w.Sightings("origin", at)[:min(1, len(w.Sightings("origin", at)))] {
			if n := len(order); n == 0 || order[n-1] != s.Antenna {
				order = append(order, s.Antenna)
			}
		}
	}
	if want := []uint16{AntennaDoor, AntennaInside, AntennaDoor}; !slices.Equal(order, want) {
		t.Errorf("antennas in the order %v, want %v", order, want)
	}
	doors := options().Route.Doors("origin", 2*time.Second)
	if want := []Span{{5 * time.Second, 7 * time.Second}, {23 * time.Second, 25 * time.Second}}; !slices.Equal(doors, want) {
		t.Errorf("doors %v, want %v", doors, want)
	}
}

func TestOneSeedOneWorld(t *testing.T) {
	o := options()
	o.Miss, o.Stray, o.StrayAt = 300, []byte{9}, "origin"
	story := func(seed uint64) string {
		o.Seed = seed
		w := mustNew(t, o)
		var b strings.Builder
		for at := start; at.Before(start.Add(30 * time.Second)); at = at.Add(RoundTime) {
			fmt.Fprintln(&b, w.Sightings("origin", at))
		}
		return b.String()
	}
	one := story(1)
	if one != story(1) {
		t.Error("one seed told two stories")
	}
	if one == story(2) {
		t.Error("two seeds told one story")
	}
	// Within a round nothing changes; a reader may ask as often as it likes.
	w := mustNew(t, o)
	once := fmt.Sprint(w.Sightings("origin", start.Add(7*time.Second)))
	if again := fmt.Sprint(w.Sightings("origin", start.Add(7*time.Second+RoundTime-1))); again != once {
		t.Errorf("one round, two answers: %s and %s", once, again)
	}
}

func TestValueReplaysOnePerStep(t *testing.T) {
	w := mustNew(t, options())
	for _, c := range []struct {
		zone  string
		probe int
		after time.Duration
		want  int32
	}{
		{"origin", 1, -time.Hour, 10}, {"origin", 1, 0, 10}, {"origin", 1, 999 * time.Millisecond, 10},
		{"origin", 1, time.Second, 20}, {"origin", 1, 2 * time.Second, 30},
		{"origin", 1, 3 * time.Second, 10}, // repeats
		{"origin", 2, 0, 20},               // offset 4 in three values
		{"origin", 2, 2 * time.Second, 10},
		{"dc", 1, time.Hour, -5},
	} {
		if got, err := w.Value(c.zone, c.probe, start.Add(c.after)); err != nil || got != c.want {
			t.Errorf("%s probe %d after %v: %d, %v, want %d", c.zone, c.probe, c.after, got, err, c.want)
		}
	}
	o := options()
	climate := Room{Setpoint: 5000, Band: 1000, Ambient: 24000}.Climate(1)
	o.Zones[1].Probes = []Probe{{Climate: climate}, {Climate: climate, Product: true}}
	air, product := Room{Setpoint: 5000, Band: 1000, Ambient: 24000}.Simulate(1, 10)
	modelled := mustNew(t, o)
	for i, want := range [][2]int32{{air[0], product[0]}, {air[9], product[9]}, {air[4], product[4]}} {
		for p := range 2 {
			after := []time.Duration{-time.Minute, 9 * time.Second, 4999 * time.Millisecond}[i]
			if got, err := modelled.Value("dc", p+1, start.Add(after)); err != nil || got != want[p] {
				t.Errorf("probe %d after %v: %d, %v, want %d", p+1, after, got, err, want[p])
			}
		}
	}
	for zone, probe := range map[string]int{"nowhere": 1, "origin": 0, "dc": 2} {
		if _, err := w.Value(zone, probe, start); err == nil {
			t.Errorf("%s has a probe %d", zone, probe)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for want, spoil := range map[string]func(*Options){
		"step of 0s":                      func(o *Options) { o.Step = 0 },
		"speed 0,":                        func(o *Options) { o.Speed = 0 },
		"speed NaN":                       func(o *Options) { o.Speed = math.NaN() },
		"speed 10001":                     func(o *Options) { o.Speed = 10001 },
		"1001 of a thousand":              func(o *Options) { o.Miss = 1001 },
		"-1 of a thousand rounds spilled": func(o *Options) { o.Spill = -1 },
		"door time of -1s":                func(o *Options) { o.Door = -time.Second },
		"no zones":                        func(o *Options) { o.Zones = nil },
		`id "origin" is empty or taken`:   func(o *Options) { o.Zones[1].ID = "origin" },
		"zone dc probe 1: 0 values":       func(o *Options) { o.Zones[1].Probes[0].Series = nil },
		`stage 2: no zone "moon"`:         func(o *Options) { o.Route[1].Zone = "moon" },
		"stage 2: the pallet enters":      func(o *Options) { o.Route[1].Enter = 24 * time.Second },
		"shorter than twice the door":     func(o *Options) { o.Door = 11 * time.Second },
		`no zone "" for the stray`:        func(o *Options) { o.Stray = []byte{9} },
	} {
		o := options()
		spoil(&o)
		if w, err := New(o); err == nil || w != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestPallet(t *testing.T) {
	p, err := NewPallet(3)
	if err != nil {
		t.Fatal(err)
	}
	// GTIN 09521234543213 is GS1's own example; 9+2+2+4+1 + 3*(5+1+3+1) = 48 makes the SSCC end in 2.
	if p.SSCC.Link().Path() != "/00/095212340000010012" || p.Items[2].Link().Path() != "/01/09521234543213/21/1003" {
		t.Errorf("got %s and %s", p.SSCC.Link().Path(), p.Items[2].Link().Path())
	}
	stray, err := Stray()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range append(p.Items, p.SSCC, stray) {
		b, err := id.Encode()
		if err != nil || len(b) != 12 {
			t.Fatalf("%v: % x, %v", id, b, err)
		}
		if back, err := epc.Decode(b); err != nil || back != id {
			t.Errorf("%v came back as %v, %v", id, back, err)
		}
	}
	for _, n := range []int{0, -1, MaxItems + 1} {
		if _, err := NewPallet(n); err == nil {
			t.Errorf("packed %d items", n)
		}
	}
}

// TestTID: every tag has a chip of its own, with a serial number, the same in every
// run.
func TestTID(t *testing.T) {
	a, b := TID([]byte("one tag")), TID([]byte("another"))
	if len(a) != 12 || a[0] != 0xe2 || bytes.Equal(a, b) || !bytes.Equal(a, TID([]byte("one tag"))) {
		t.Errorf("%x, %x", a, b)
	}
}
