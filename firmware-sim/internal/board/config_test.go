package board

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"trailmark/firmware-sim/chip"
)

const small = `
name: small
sources: {four: {constant: 4}, sea: {constant: 100000}}
i2c: [{bus: 1, chips: [{name: climate, model: bme280, address: 0x76, celsius: four, humidity: four, pascal: sea}, {name: shelf, model: sht4x, address: 0x44, serial: "0badcafe", celsius: four, humidity: four}, {name: bridge, model: ds2482, address: 0x18, line: [{name: probe, serial: "000000000001", celsius: four}]}]}]
spi: [{bus: 0, select: 0, name: reader, model: mfrc522, reset: RESET, tags: [{name: box, model: ntag213, uid: "04010203040506"}]}]
gpio: [{chip: 0, count: 2, lines: [{offset: 1, name: RESET, high: true}, {offset: 0, name: DOOR}]}]
w1: [{name: wall, serial: "000000000002", celsius: four}]
serial: [{name: ttyUSB0, model: loopback}, {name: ttyUSB1, model: r200, tags: [{name: crate, epc: "30750000000000000000ab01"}]}]
llrp: [{name: dock, listen: "127.0.77.1:5084", tags: [{name: carton, epc: "30750000000000000000ab02", tid: "e280116020000001", rssi: -40, antenna: 4, here: true}]}]
script: [{at: 1h, chip: probe, fault: gone}]
`

// A board without chips, on a machine of its own. Nobody runs it: it names a folder.
const machine = `
name: machine
gpio: [{chip: 0, count: 2, lines: [{offset: 0, name: DOOR}]}]
clock: {}
disk: {path: /var/lib/machine, size: 1MiB}
script: [{at: 1h, clock: step +3h}, {at: 2h, disk: full}]
`

func newBoard(t *testing.T, text string) (*Board, error) {
	t.Helper()
	c, err := Parse(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	return New(c, ".", time.Now(), slog.New(slog.NewTextHandler(t.Output(), nil)))
}

// The shipped example is a board, and all its script can happen.
func TestExample(t *testing.T) {
	b, err := os.ReadFile("../../board.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	board, err := newBoard(t, string(b))
	if err != nil {
		t.Fatal(err)
	}
	if len(board.devices) != 3 || len(board.ports) != 2 || len(board.readers) != 1 || len(board.config.Script) == 0 {
		t.Errorf("devices %v, %d events", board.devices, len(board.config.Script))
	}
	for _, e := range board.config.Script {
		a, _, err := e.action()
		if err == nil {
			err = board.Do(a)
		}
		if err != nil {
			t.Errorf("%+v: %v", e, err)
		}
	}
}

func TestRefuses(t *testing.T) {
	if _, err := newBoard(t, small); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, replacement, want string }{
		{"name: small", "nmae: small", `unknown field "nmae"`},
		{"name: small", "name: small\nname: twice", `mapping key "name" already defined`},
		{"name: small", "name: a name", `name: "a name"`},
		{"name: small", "name: small\nstep: 1ms", "step: 1ms"},
		{"{constant: 4}", "{}", "source four: want one of constant, room and replay"},
		{"{constant: 4}", "{constant: 4, replay: x}", "want one of constant, room and replay"},
		{"{constant: 4}", "{constant: .nan}", "constant: NaN"},
		{"{constant: 4}", "{constant: 4, offset: 1}", "offset: 1"},
		{"{constant: 4}", "{room: {setpoint: 201}}", "room: 201 °C"},
		{"{constant: 4}", "{room: {setpoint: 5, band: 1}, offset: 8640}", "source four: offset: 8640 of 8640 values"},
		{"{constant: 4}", "{replay: testdata/export.txt}", "chip climate: humidity: the source four has none"},
		{"{constant: 4}", "{replay: no-such.txt}", "source four: replay: open no-such.txt"},
		{"bus: 1,", "bus: 256,", "i2c-256: want a number from 0 to 255"},
		{"bus: 1,", "bus: -1,", "i2c--1: want a number from 0 to 255"},
		{"address: 0x18", "address: 0x80", "chip bridge: address 0x80, want 0x01 to 0x7f"},
		{"model: ds2482", "model: ds2484", `chip bridge: no model "ds2484" on i2c`},
		{`serial: "000000000001"`, `serial: "1"`, `chip probe: serial "1"`},
		{"name: probe,", "name: bridge,", "the name bridge is taken by another chip"},
		{`000001", celsius: four`, `000001", celsius: five`, `chip probe: celsius: no source "five"`},
		{`000002", celsius: four`, `000002"`, `chip wall: celsius: no source ""`},
		{"model: mfrc522", "model: pn532", `chip reader: no model "pn532" on spi`},
		{"address: 0x44", "address: 0x76", "chip shelf: i2c-1: a second chip at 0x76"},
		{"0badcafe", "bad", `chip shelf: serial "bad", want 8 hexadecimal digits`},
		{"pascal: sea", "pascal: air", `chip climate: pascal: no source "air"`},
		{"reset: RESET", "reset: box", `chip reader: no line "box" to reset it`},
		{"model: ntag213", "model: ntag999", `tag box: no model "ntag999"`},
		{"04010203040506", "0401", `tag box: uid "0401", want 14 hexadecimal digits`},
		{"count: 2", "count: 0", "gpiochip0: count 0"},
		{"offset: 1,", "offset: 0,", "line DOOR: offset 0, want one of its own"},
		{"offset: 1,", "offset: 2,", "line RESET: offset 2, want one of its own from 0 to 1"},
		{"name: ttyUSB0", "name: ../tty0", `serial: name "../tty0"`},
		{"model: loopback", "model: modem", `serial ttyUSB0: no model "modem"`},
		{"model: loopback", "model: loopback, tags: [{name: x, epc: ab01}]", "a loopback hears no tags"},
		{"ab01", "ab0", `tag crate: epc "30750000000000000000ab0"`},
		{"ab01", "01", `tag crate: epc "3075000000000000000001"`},
		{"name: crate,", "name: crate, antenna: 2,", "tag crate: antenna 2, the reader has 1"},
		{"name: crate,", "name: ttyUSB1,", "the name ttyUSB1 is taken by another chip"},
		{"name: crate,", "name: crate, tid: e2,", `tag crate: tid "e2"`},
		{"rssi: -40", "rssi: 1", "tag carton: rssi 1 dBm, want -120 to 0"},
		{"antenna: 4", "antenna: 5", "tag carton: antenna 5, the reader has 4"},
		{"name: dock,", "name: dock, antennas: 33,", "chip dock: antennas: 33, want 1 to 32"},
		{"name: dock,", "name: dock, certificate: no-such.pem,", "hint: openssl req"},
		{"127.0.77.1:5084", "192.0.2.1:5084", `chip dock: listen: "192.0.2.1:5084", want a loopback address`},
		{"127.0.77.1:5084", "127.0.77.1:0", "want a loopback address and port"},
		{"chip: probe, fault: gone", "chip: dock, fault: melt", `script, event 1: dock: a reader has no fault "melt"`},
		{"chip: probe, fault: gone", "chip: dock, fault: skew=soon", `dock: fault "skew=soon": want a duration`},
		{"chip: probe, fault: gone", "chip: dock, fault: loose=5", "want an antenna from 1 to 4"},
		{"chip: probe, fault: gone", "chip: ttyUSB0, fault: gone", `script, event 1: no chip "ttyUSB0"`},
		{"chip: probe, fault: gone", "tag: crate, field: jump", `script, event 1: crate: a tag cannot "jump"`},
		{"at: 1h", "at: -1s", "script, event 1: at: -1s"},
		{"chip: probe, fault: gone", "chip: prob, fault: gone", `script, event 1: no chip "prob"`},
		{"chip: probe, fault: gone", "chip: probe, fault: melt", `script, event 1: probe: no fault "melt"`},
		{"chip: probe, fault: gone", "line: DOOR, level: ajar", `script, event 1: DOOR: a line cannot be "ajar"`},
		{"chip: probe, fault: gone", "tag: box, field: jump", `script, event 1: box: a tag cannot "jump"`},
		{"chip: probe, fault: gone", "chip: wall, fault: brownout", `script, event 1: wall: no fault "brownout"`},
		{"chip: probe, fault: gone", "chip: probe, fault: gone, line: DOOR", "want one of chip and fault"},
		{"chip: probe, fault: gone", "", "want one of chip and fault"},
	} {
		text := strings.Replace(small, c.old, c.replacement, 1)
		if text == small {
			t.Fatalf("no %q to replace", c.old)
		}
		if _, err := newBoard(t, text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q in it", c.replacement, err, c.want)
		}
	}
	for _, c := range []struct{ old, replacement, want string }{
		{"clock: {}", "clock: {start: 1971}", `clock: start: a clock has no fault "1971"`},
		{"clock: {}", "clock: {begin: 1970}", `unknown field "begin"`},
		{"clock: {}", "", "script, event 1: the board has no clock of its own: add clock to the file"},
		{"disk: {path: /var/lib/machine, size: 1MiB}", "", "script, event 2: the board has no disk of its own"},
		{"path: /var/lib/machine", "path: machine", `disk: path: "machine"`},
		{"size: 1MiB", "size: 1MB", `disk: size: "1MB"`},
		{"size: 1MiB", "size: 1KiB", "disk: size: 1024 bytes, want 65536 to 1073741824"},
		{"clock: step +3h", "clock: step", `script, event 1: clock: a clock has no fault "step"`},
		{"clock: step +3h", "clock: step soon", `clock: step "soon": want a duration`},
		{"disk: full", "disk: brim", `script, event 2: disk: a disk has no fault "brim", want full or free`},
		{"disk: full", "disk: full, clock: none", "want one of chip and fault"},
		{"name: DOOR", "name: disk", "the name disk is taken by another line"},
	} {
		text := strings.Replace(machine, c.old, c.replacement, 1)
		if text == machine {
			t.Fatalf("no %q to replace", c.old)
		}
		if _, err := newBoard(t, text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q in it", c.replacement, err, c.want)
		}
	}
	many := "name: a\nsources:\n"
	for i := range maxParts + 1 {
		many += fmt.Sprintf("  s%d: {constant: 1}\n", i)
	}
	for text, want := range map[string]string{"": "empty", many: "more than 256 sources", "# x" + strings.Repeat(" ", maxFile): "more than 1048576 bytes"} {
		if _, err := newBoard(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestTrimming(t *testing.T) {
	a, b, c := *trimming(1, "a"), *trimming(1, "b"), *trimming(2, "a")
	if a == b || a == c || a != *trimming(1, "a") {
		t.Errorf("%+v %+v %+v", a, b, c)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(small)
	f.Add(machine)
	f.Add("name: a\ngpio: [{chip: 0, count: 1, lines: [{offset: -1, name: x}]}]")
	f.Add("name: a\nsources: {s: {room: {setpoint: 1e300}}}")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, s := range c.Sources {
			if s.Replay != "" {
				return // a file of this machine
			}
		}
		for _, r := range c.LLRP {
			if r.Certificate != "" {
				return
			}
		}
		b, err := New(c, ".", time.Now(), slog.New(slog.DiscardHandler))
		if err != nil {
			return
		}
		for _, e := range b.config.Script {
			if a, _, err := e.action(); err == nil {
				_ = b.Do(a) // a chip may have no such fault
			}
		}
	})
}

func TestSources(t *testing.T) {
	start := time.Unix(1e9, 0)
	constant := 21.5
	for _, c := range []struct {
		name   string
		source Source
		after  time.Duration
		want   float64
	}{
		{"constant", Source{Constant: &constant}, time.Hour, 21.5},
		{"before the start", Source{Room: &Room{5, 0.001, 5}}, -time.Hour, 5},
		{"first reading", Source{Replay: "export.txt"}, 0, 4.3},
		{"held for a step", Source{Replay: "export.txt"}, 2*time.Second - 1, 4.3},
		{"second reading", Source{Replay: "export.txt"}, 2 * time.Second, 4.4},
		{"from the offset", Source{Replay: "export.txt", Offset: 1}, 0, 4.4},
		{"from its start again", Source{Replay: "export.txt", Offset: 1}, 4 * time.Second, 4.3},
		{"the last", Source{Replay: "export.txt", Offset: 1}, 2 * time.Second, 4.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			source, err := c.source.open("testdata", 1, start, 2*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if got := source[celsius](start.Add(c.after)); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// The air of a room warms, dries and presses as one: a door that opens shows in each.
func TestRoomSources(t *testing.T) {
	start := time.Unix(1e9, 0)
	open := func(seed uint64, offset int) map[string]chip.Source {
		sources, err := Source{Room: &Room{5, 1, 24}, Offset: offset}.open(".", seed, start, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return sources
	}
	a, same, later, other := open(1, 0), open(1, 0), open(1, 30), open(2, 0)
	for quantity, between := range map[string][2]float64{celsius: {3, 12}, humidity: {10, 100}, pascal: {95_000, 106_000}} {
		values, differ := map[float64]bool{}, false
		for i := range 300 { // of five minutes each
			at := start.Add(time.Duration(i) * time.Second)
			v := a[quantity](at)
			if v < between[0] || v > between[1] {
				t.Fatalf("%s of %g after %d steps", quantity, v, i)
			}
			if v != same[quantity](at) || later[quantity](at) != a[quantity](at.Add(30*time.Second)) {
				t.Fatalf("%s of %g after %d steps is another in a second run or from an offset", quantity, v, i)
			}
			values[v], differ = true, differ || v != other[quantity](at)
		}
		if len(values) < 50 || !differ {
			t.Errorf("%s: %d values, differs with the seed: %v", quantity, len(values), differ)
		}
	}
	// A room goes round after a month, also where its own time is more than a Duration holds.
	end := start.Add(290 * 365 * 24 * time.Hour)
	if v := a[celsius](end); v < 0 || v > 24 {
		t.Errorf("%g °C after %v", v, end.Sub(start))
	}
}

func TestPlans(t *testing.T) {
	b := mustBoard(t, machine)
	before := len(b.plans)
	for text, want := range map[string]Plan{
		"clock:step=+3h@30s": {Action{"clock", "step=+3h"}, 30 * time.Second},
		"DOOR:low@0s":        {Action{"DOOR", "low"}, 0},
		"disk:full@1m":       {Action{"disk", "full"}, time.Minute},
	} {
		p, err := ParsePlan(text)
		if err == nil {
			err = b.Plan(p)
		}
		if p != want || err != nil {
			t.Errorf("%s: %+v, %v", text, p, err)
		}
	}
	for text, want := range map[string]string{
		"": "no time", "clock:1970": "no time", "clock@1s": "incomplete", ":1970@1s": "incomplete", "clock:@1s": "incomplete", "clock:step +3h@1s": "incomplete",
		"clock:1970@soon": "no time from", "clock:1970@-1s": "no time from", "clock:1970@9999999h": "no time from",
	} {
		if p, err := ParsePlan(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v, want %q in it", text, p, err, want)
		}
	}
	for text, want := range map[string]string{"disk:melt@1s": `no fault "melt"`, "cold:gone@1s": `has no "cold"`} {
		p, err := ParsePlan(text)
		if err == nil {
			err = b.Plan(p)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", text, err, want)
		}
	}
	if len(b.plans) != before+3 {
		t.Errorf("%d plans, want %d", len(b.plans), before+3)
	}
}

func FuzzPlan(f *testing.F) {
	for _, s := range []string{"clock:step=+3h@30s", "a:b@@1s", ":@", "x:y@1e9s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePlan(s)
		if err == nil && (p.Part == "" || p.Word == "" || p.At < 0 || p.At > maxAt) {
			t.Errorf("%q: %+v", s, p)
		}
	})
}
