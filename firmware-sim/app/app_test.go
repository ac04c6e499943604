package app

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/firmware-sim/internal/w1tree"
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

func TestPlannedFaults(t *testing.T) {
	at := time.Now()
	s := &site{start: at, control: filepath.Join(t.TempDir(), "faults"), ids: []string{"a", "b"}, log: slog.New(slog.DiscardHandler)}
	for _, text := range []string{"dc:1:gone@30s+10s", "dc:2:85@1m"} {
		p, err := ParseFaultPlan(text)
		if err != nil {
			t.Fatal(err)
		}
		s.plans = append(s.plans, p)
	}
	const none, gone, reset, crc = w1tree.None, w1tree.Gone, w1tree.PowerOn, w1tree.CRC
	for _, c := range []struct {
		after time.Duration
		want  [2]w1tree.Fault
	}{
		{0, [2]w1tree.Fault{none, none}}, {30*time.Second - 1, [2]w1tree.Fault{none, none}},
		{30 * time.Second, [2]w1tree.Fault{gone, none}}, {40*time.Second - 1, [2]w1tree.Fault{gone, none}},
		{40 * time.Second, [2]w1tree.Fault{none, none}}, {time.Minute, [2]w1tree.Fault{none, reset}}, {time.Hour, [2]w1tree.Fault{none, reset}},
	} {
		if got := s.faults(at.Add(c.after)); [2]w1tree.Fault(got) != c.want {
			t.Errorf("after %v: %v, want %v", c.after, got, c.want)
		}
	}
	control(t, ZoneLine{Control: s.control}, "1 crc\n")
	if got := s.faults(at.Add(35 * time.Second)); got[0] != crc {
		t.Errorf("the control file says crc, the chip shows %v", got[0])
	}
}

// A client of the reader hears the whole pallet where the world says it is, and
// nothing elsewhere.
func TestReaderHearsThePallet(t *testing.T) {
	for _, c := range []struct {
		name    string
		door    time.Duration
		antenna uint16
	}{{"inside", 0, 2}, {"in the doorway", time.Hour, 1}} {
		t.Run(c.name, func(t *testing.T) {
			config := frozen(t)
			config.Door = c.door
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
		Trigger: llrp.ReportEndAISpec, N: 1, Content: llrp.HasAntenna | llrp.HasRSSI,
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
