package app

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"trailmark/firmware-sim/internal/w1tree"
	"trailmark/firmware-sim/internal/world"
	"trailmark/internal/llrp"
)

const export = "Data:\n\tyyyy-MM-dd hh:mm\tT\tOut of limits\n" +
	"\t2022-05-05 15:00\t1.0\n\t2022-05-05 15:05\t2.0\n\t2022-05-05 15:10\t3.0\n" +
	"\t2022-05-05 15:15\t4.3\n\t2022-05-05 15:20\t-8.4\tx\n\t2022-05-05 15:25\t6.0\n"

// frozen is a configuration whose first minutes never change: the pallet stands
// in the first zone, and every chip shows its first value.
func frozen(t *testing.T) Config {
	c := Default()
	c.Dir = t.TempDir()
	c.LLRPBase = "127.0.0.1:0"
	c.Replay = filepath.Join(c.Dir, "export.txt")
	c.Step, c.Lead, c.Stay, c.Door, c.Miss = time.Hour, 0, 2*time.Hour, 0, 0
	for i := range c.Zones {
		c.Zones[i].Offset = i
	}
	if err := os.WriteFile(c.Replay, []byte(export), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// start runs c until the test ends and returns what it announced. stop ends it
// early and returns once Run has.
func start(t *testing.T, c Config) (world WorldLine, zones []ZoneLine, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := Run(ctx, c, w, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Errorf("Run: %v", err)
		}
		w.CloseWithError(io.EOF)
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	lines := bufio.NewScanner(r)
	for i := range len(c.Zones) + 1 {
		if !lines.Scan() {
			t.Fatalf("the output ends after %d lines", i)
		}
		var into any = &world
		if i > 0 {
			zones = append(zones, ZoneLine{})
			into = &zones[i-1]
		}
		d := json.NewDecoder(strings.NewReader(lines.Text()))
		d.DisallowUnknownFields()
		if err := d.Decode(into); err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
	}
	return world, zones, stop
}

func chip(t *testing.T, z ZoneLine, probe int) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(z.W1, z.Probes[probe-1], "w1_slave"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestChipsShowTheExport(t *testing.T) {
	c := frozen(t)
	c.Step = time.Hour
	world, zones, stop := start(t, c)
	if world.Temperature != (Temperature{"replay", c.Replay, 6, "1h0m0s"}) {
		t.Errorf("told %+v", world.Temperature)
	}
	// Zone i starts with reading i, its second probe three readings on: 4.3
	// and -8.4 snap to the chip's sixteenths.
	for i, want := range [][2]string{{"t=1000", "t=4312"}, {"t=2000", "t=-8375"}, {"t=3000", "t=6000"}} {
		for p := range 2 {
			if got := chip(t, zones[i], p+1); !strings.HasSuffix(got, " "+want[p]+"\n") || !strings.Contains(got, " YES\n") {
				t.Errorf("%s probe %d: %q, want %s", zones[i].Zone, p+1, got, want[p])
			}
		}
	}
	stop()
	for _, z := range zones {
		if left, err := os.ReadDir(z.W1); err != nil || len(left) != 0 {
			t.Errorf("%s: after the end %v, %v is left", z.Zone, left, err)
		}
	}
	_, again, _ := start(t, c)
	if fmt.Sprint(again[1].Probes) != fmt.Sprint(zones[1].Probes) {
		t.Errorf("the chips were %v and are %v", zones[1].Probes, again[1].Probes)
	}
}

func TestControlFileBreaksAndMends(t *testing.T) {
	c := frozen(t)
	c.Step = minStep
	c.Replay = NoReplay
	_, zones, _ := start(t, c)
	z := zones[2]
	dir := filepath.Join(z.W1, z.Probes[0])
	plugged := func() bool { _, err := os.Stat(dir); return err == nil }
	if !plugged() {
		t.Fatal("no chip at the start")
	}
	control(t, z, "1 gone\n2 allzero\n")
	await(t, "probe 1 to go", func() bool { return !plugged() })
	await(t, "probe 2 to read zeros", func() bool { return strings.HasSuffix(chip(t, z, 2), "00 t=0\n") })
	control(t, z, "1 melted\n") // not understood: as if empty
	await(t, "probe 1 to come back", plugged)
	control(t, z, "1 crc\n")
	await(t, "a wrong checksum", func() bool { return strings.Contains(chip(t, z, 1), " NO\n") })
}

func control(t *testing.T, z ZoneLine, text string) {
	t.Helper()
	if err := os.WriteFile(z.Control, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// await polls: nothing tells that a file changed.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(10 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("waited in vain for", what)
		}
	}
}

// forced is a site of two probes in a world of one value, without a bus.
func forced(t *testing.T, speed float64, plans ...string) *site {
	t.Helper()
	at := time.Now()
	w, err := world.New(world.Options{Start: at, Step: time.Second, Speed: 1, Zones: []world.Zone{{ID: "dc", Probes: []world.Probe{
		{Series: world.Series{4000, 5000, 6000, 7000, 8000, 9000}}, {Series: world.Series{4000}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{zone: Zone{ID: "dc"}, world: w, start: at, speed: speed, step: time.Second,
		control: filepath.Join(t.TempDir(), "faults"), ids: []string{"a", "b"}, log: slog.New(slog.DiscardHandler)}
	for _, text := range plans {
		p, err := ParseFaultPlan(text)
		if err != nil {
			t.Fatal(err)
		}
		s.plans = append(s.plans, p)
	}
	return s
}

// shows is what the two probes show that long after the start.
func (s *site) shows(t *testing.T, after time.Duration) string {
	t.Helper()
	now := s.start.Add(after)
	forces := s.forces(now)
	var out []string
	for p := range s.ids {
		milli, file, err := s.probe(Part(p+1), forces, now)
		if err != nil {
			t.Fatal(err)
		}
		if file == w1tree.None {
			out = append(out, fmt.Sprint(milli))
		} else {
			out = append(out, file.String())
		}
	}
	return strings.Join(out, " ")
}

func TestPlannedFaults(t *testing.T) {
	for _, c := range []struct {
		plans []string
		speed float64
		want  map[time.Duration]string
	}{
		{[]string{"dc:1:gone@30s+6s", "dc:2:85@1m"}, 1, map[time.Duration]string{
			0: "4000 4000", 30*time.Second - 1: "9000 4000", 30 * time.Second: "gone 4000", 36*time.Second - 1: "gone 4000",
			36 * time.Second: "4000 4000", time.Minute: "4000 85", 61 * time.Second: "5000 85"}},
		{[]string{"dc:1:gone@30s+6s"}, 10, map[time.Duration]string{
			2999 * time.Millisecond: "6000 4000", 3 * time.Second: "gone 4000", 3600 * time.Millisecond: "7000 4000"}},
		{[]string{"dc:2:short@1s+1s"}, 1, map[time.Duration]string{0: "4000 4000", time.Second: "allzero allzero", 2 * time.Second: "6000 4000"}},
		{[]string{"dc:1:brownout@1s"}, 1, map[time.Duration]string{
			999 * time.Millisecond: "4000 4000", time.Second: "85 4000", 1999 * time.Millisecond: "85 4000", 2 * time.Second: "6000 4000"}},
		{[]string{"dc:1:stuck@1s+3s"}, 1, map[time.Duration]string{time.Second: "5000 4000", 3 * time.Second: "5000 4000", 4 * time.Second: "8000 4000"}},
		{[]string{"dc:2:drift=-2@30m"}, 1, map[time.Duration]string{30 * time.Minute: "4000 4000", 60 * time.Minute: "4000 3000", 90 * time.Minute: "4000 2000", 1000 * time.Hour: "4000 -55000"}},
		{[]string{"dc:2:drift=2@0s", "dc:2:crc@1h"}, 2, map[time.Duration]string{15 * time.Minute: "4000 5000", 30 * time.Minute: "4000 crc"}},
	} {
		for after, want := range c.want {
			if got := forced(t, c.speed, c.plans...).shows(t, after); got != want {
				t.Errorf("%v at speed %g after %v: %q, want %q", c.plans, c.speed, after, got, want)
			}
		}
	}
}

// The control file goes before what was planned, and its faults begin when it is
// first seen.
func TestControlFileOverPlans(t *testing.T) {
	s := forced(t, 1, "dc:1:gone@0s", "dc:2:gone@0s")
	control(t, ZoneLine{Control: s.control}, "1 crc\n2 none\n")
	if got := s.shows(t, time.Second); got != "crc 4000" {
		t.Errorf("got %q", got)
	}
	control(t, ZoneLine{Control: s.control}, "2 drift=1\n")
	s.shows(t, time.Hour)
	if got := s.shows(t, 3*time.Hour); got != "gone 6000" {
		t.Errorf("two hours of a drift: %q", got)
	}
	control(t, ZoneLine{Control: s.control}, "")
	s.shows(t, 4*time.Hour)
	control(t, ZoneLine{Control: s.control}, "2 drift=1\n")
	if got := s.shows(t, 5*time.Hour); got != "gone 4000" {
		t.Errorf("a drift that begins anew: %q", got)
	}
}

// A reader can be unplugged, go silent, and have the wrong time.
func TestReaderFaults(t *testing.T) {
	c := frozen(t)
	c.Replay = NoReplay
	c.Step = minStep
	world, zones, _ := start(t, c)
	z := zones[0]
	hear := func(tags <-chan llrp.TagReport) (r llrp.TagReport, ok bool) {
		select {
		case r, ok = <-tags:
		case <-time.After(2 * time.Second):
		}
		return r, ok
	}
	control(t, z, "reader skew=-48h\n")
	tags := inventory(t, z.LLRP)
	await(t, "a clock that is behind", func() bool {
		r, ok := hear(tags)
		return ok && time.UnixMicro(int64(r.Last)).Before(world.Start.Add(-47*time.Hour))
	})
	control(t, z, "reader loose=2\n") // the pallet is inside
	await(t, "silence", func() bool {
		select {
		case <-tags:
			return false
		case <-time.After(750 * time.Millisecond): // three rounds
			return true
		}
	})
	control(t, z, "")
	await(t, "the antenna to hear again", func() bool { _, ok := hear(tags); return ok })
	control(t, z, "reader gone\n")
	await(t, "the reader to go", func() bool {
		conn, err := net.Dial("tcp", z.LLRP)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
		return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
	})
	control(t, z, "reader hang\n")
	await(t, "the reader to take connections and say nothing", func() bool {
		conn, err := net.Dial("tcp", z.LLRP)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		_, err = conn.Read(make([]byte, 1))
		return errors.Is(err, os.ErrDeadlineExceeded)
	})
	control(t, z, "")
	await(t, "the reader to come back", func() bool { _, ok := hear(inventory(t, z.LLRP)); return ok })
}

// An outage that is planned warms the room, and a set point is one room's own.
func TestModelledRooms(t *testing.T) {
	c := Default()
	c.Replay = NoReplay
	c.Setpoints = []int32{5000, -18_000, Uncooled}
	at := time.Now()
	warmest := func(zone string) int32 {
		_, w, err := newWorld(c, at)
		if err != nil {
			t.Fatal(err)
		}
		top := int32(math.MinInt32)
		for s := range 60 {
			v, err := w.Value(zone, 1, at.Add(time.Duration(s)*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			top = max(top, v)
		}
		return top
	}
	if a, b, d := warmest("origin"), warmest("dc"), warmest("shop"); a > 12_000 || b > -5000 || d < 20_000 {
		t.Errorf("warmest %d, %d, %d", a, b, d)
	}
	calm := warmest("origin")
	p, err := ParseFaultPlan("origin:room:outage@10s+30s")
	if err != nil {
		t.Fatal(err)
	}
	c.Faults = []FaultPlan{p}
	if got := warmest("origin"); got < calm+1000 {
		t.Errorf("an outage of 30 steps: %d, without it %d", got, calm)
	}
	replayed := frozen(t)
	replayed.Faults = c.Faults
	if _, _, err := newWorld(replayed, at); err == nil || !strings.Contains(err.Error(), "--replay none") {
		t.Errorf("an outage of a replay: %v", err)
	}
}

// A client of the reader hears the whole pallet where the world says it is, and
// nothing elsewhere.
func TestReaderHearsThePallet(t *testing.T) {
	for _, c := range []struct {
		name    string
		door    time.Duration
		antenna uint16
		air     bool
	}{{"inside", 0, 2, false}, {"in the doorway", time.Hour, 1, false}, {"through the air", 0, 2, true}} {
		t.Run(c.name, func(t *testing.T) {
			config := frozen(t)
			config.Door, config.Air = c.door, c.air
			world, zones, _ := start(t, config)
			want := map[string]bool{world.Pallet.EPC: true}
			for _, item := range world.Items {
				want[item.EPC] = true
			}
			if len(want) != 4 {
				t.Fatalf("announced %v", want)
			}
			tags := inventory(t, zones[0].LLRP)
			for len(want) > 0 {
				r := <-tags
				if r.Antenna != c.antenna {
					t.Fatalf("heard %x on antenna %d, want %d", r.EPC, r.Antenna, c.antenna)
				}
				delete(want, hex.EncodeToString(r.EPC))
			}
		})
	}
}

// What Default promises of its offsets: during the pallet's stay the first and
// last zone keep 2 to 8 °C, and the second goes from inside to above.
func TestDefaultOffsets(t *testing.T) {
	names, _ := filepath.Glob("../../" + ReplayGlob)
	if len(names) == 0 {
		t.Skip("no " + ReplayGlob + " beside the repository")
	}
	c := Default()
	c.Replay = names[0]
	at := time.Now()
	line, w, err := newWorld(c, at)
	if err != nil {
		t.Fatal(err)
	}
	for i, stay := range line.Route {
		for p := 1; p <= c.Probes; p++ {
			lowest, highest := int32(1<<30), int32(-1<<30)
			for at := stay.Enter; at.Before(stay.Leave); at = at.Add(c.Step) {
				v, err := w.Value(stay.Zone, p, at)
				if err != nil {
					t.Fatal(err)
				}
				lowest, highest = min(lowest, v), max(highest, v)
			}
			if lowest < 2000 || lowest > 8000 || (highest > 8000) != (i == 1) {
				t.Errorf("%s probe %d: %d to %d", stay.Zone, p, lowest, highest)
			}
		}
	}
}

// The stray tag hangs at the second zone's door; the third zone hears nothing
// while the pallet is in the first.
func TestStrayTag(t *testing.T) {
	at := time.Now()
	line, w, err := newWorld(frozen(t), at)
	if err != nil {
		t.Fatal(err)
	}
	heard := 0
	for range 1000 {
		at = at.Add(100 * time.Millisecond)
		for _, s := range w.Sightings("dc", at) {
			if hex.EncodeToString(s.EPC) != line.Stray.EPC || s.Antenna != 1 {
				t.Fatalf("heard %x on antenna %d", s.EPC, s.Antenna)
			}
			heard++
		}
		if got := w.Sightings("shop", at); len(got) > 0 {
			t.Fatalf("the empty zone heard %v", got)
		}
	}
	if heard == 0 {
		t.Error("the stray tag never answered")
	}
}

// inventory connects to a reader and returns what it reports.
func inventory(t *testing.T, address string) <-chan llrp.TagReport {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	spec, err := llrp.ROSpec{ID: 1, AISpecs: []llrp.AISpec{{Antennas: []uint16{0}}}, Report: &llrp.ReportSpec{
		Trigger: llrp.ReportEndAISpec, N: 1, Content: llrp.HasAntenna | llrp.HasRSSI | llrp.HasLastSeen,
	}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	id := llrp.EncodeROSpecID(1)
	for i, m := range []llrp.Message{
		{Type: llrp.AddROSpec, Payload: spec}, {Type: llrp.EnableROSpec, Payload: id}, {Type: llrp.StartROSpec, Payload: id},
	} {
		m.Version, m.ID = llrp.Version, uint32(i+1)
		if err := llrp.WriteMessage(conn, m); err != nil {
			t.Fatal(err)
		}
	}
	tags := make(chan llrp.TagReport)
	go func() {
		for {
			m, err := llrp.ReadMessage(conn, llrp.MaxMessage)
			if err != nil {
				return // the test is over
			}
			if m.Type != llrp.ROAccessReport {
				continue
			}
			reports, err := llrp.DecodeReports(m.Payload)
			if err != nil {
				t.Error(err)
			}
			for _, r := range reports {
				select {
				case tags <- r:
				case <-t.Context().Done():
					return
				}
			}
		}
	}()
	return tags
}

func TestRunRefuses(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for want, spoil := range map[string]func(*Config){
		"hint: another simulator": func(c *Config) { c.LLRPBase = busy.Addr().String() },
		"no such file":            func(c *Config) { c.Replay += ".gone" },
		"export.txt: logger export line 4: time": func(c *Config) {
			text := strings.Replace(export, "15:05", "14:05", 1)
			if err := os.WriteFile(c.Replay, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"step: 0s": func(c *Config) { c.Step = 0 },
	} {
		c := frozen(t)
		spoil(&c)
		var out strings.Builder
		if err := Run(t.Context(), c, &out, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
		if out.Len() > 0 {
			t.Errorf("announced %s", out.String())
		}
	}
}
