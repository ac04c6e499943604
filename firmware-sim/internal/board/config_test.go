package board

import (
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

const small = `
name: small
sources: {four: {constant: 4}, sea: {constant: 100000}}
i2c: [{bus: 1, chips: [{name: climate, model: bme280, address: 0x76, celsius: four, humidity: four, pascal: sea}, {name: shelf, model: sht4x, address: 0x44, serial: "0badcafe", celsius: four, humidity: four}, {name: bridge, model: ds2482, address: 0x18, line: [{name: probe, serial: "000000000001", celsius: four}]}]}]
spi: [{bus: 0, select: 0, name: reader, model: mfrc522, reset: RESET, tags: [{name: box, model: ntag213, uid: "04010203040506"}]}]
gpio: [{chip: 0, count: 2, lines: [{offset: 1, name: RESET, high: true}, {offset: 0, name: DOOR}]}]
w1: [{name: wall, serial: "000000000002", celsius: four}]
serial: [{name: ttyUSB0, model: loopback}]
script: [{at: 1h, chip: probe, fault: gone}]
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
	if len(board.devices) != 3 || len(board.config.Script) == 0 {
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
	for text, want := range map[string]string{"": "empty", "# x" + strings.Repeat(" ", maxFile): "more than 1048576 bytes"} {
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
			got := source(start.Add(c.after))
			if c.source.Room != nil && got > c.want-0.1 && got < c.want+0.1 {
				got = c.want // the model has noise
			}
			if got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
