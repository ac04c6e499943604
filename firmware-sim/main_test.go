package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"trailmark/firmware-sim/app"
	"trailmark/internal/command"
	"trailmark/internal/llrp"
)

// binary builds the command once per test that wants it.
func binary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "firmware-sim")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// The story of a short day: start, read a chip, call a reader, interrupt.
func TestStory(t *testing.T) {
	bin, dir := binary(t), t.TempDir()
	t.Run("exit codes", func(t *testing.T) { exitCodes(t, bin) })

	cmd := exec.Command(bin, "run", "--dir", "sim", "--llrp-base", "127.0.0.1:0", "--step", "20ms")
	cmd.Dir = dir // no export beside it: the model
	var log bytes.Buffer
	cmd.Stderr = &log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill() // only matters if the test fails before Wait
	stuck := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer stuck.Stop()

	lines := bufio.NewScanner(stdout)
	next := func(into any) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the output ends early; log:\n%s", log.String())
		}
		if err := json.Unmarshal(lines.Bytes(), into); err != nil {
			t.Fatal(err)
		}
	}
	var world app.WorldLine
	if next(&world); world.Temperature.Source != "model" || world.Items[0].Link != "/01/09521234543213/21/1001" {
		t.Errorf("first line %+v", world)
	}
	for i, id := range []string{"origin", "dc", "shop"} {
		var z app.ZoneLine
		next(&z)
		if z.Zone != id || len(z.Probes) != 2 || world.Route[i].Zone != id {
			t.Fatalf("zone %+v, want %s", z, id)
		}
		for _, probe := range z.Probes {
			text, err := os.ReadFile(filepath.Join(z.W1, probe, "w1_slave"))
			if err != nil || strings.Count(string(text), "\n") != 2 || !strings.Contains(string(text), " YES\n") {
				t.Errorf("%s: %q, %v", probe, text, err)
			}
		}
		greet(t, z.LLRP)
	}

	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if lines.Scan() {
		t.Errorf("one line too many: %s", lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after the interrupt: %v; log:\n%s", err, log.String())
	}
	if left, err := filepath.Glob(filepath.Join(dir, "sim", "*", "w1", "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for _, want := range []string{"temperature=model", "产地冷库/Origin cold store"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, log.String())
		}
	}
}

// A command on a board: announced, told of a signal, its status passed on.
func TestBoard(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	bin, file := binary(t), filepath.Join(t.TempDir(), "board.yaml")
	const config = "name: bench\ngpio: [{chip: 0, count: 1, lines: [{offset: 0, name: DOOR}]}]\nclock: {}\nscript: [{at: 0s, line: DOOR, level: high}]\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "run", "--fault", "clock:1970@0s", file, "--", "sh", "-c", `trap 'echo hung up; exit 7' HUP; ls /dev/gpiochip*; until test $(date +%Y) = 1970; do :; done; echo 1970; while :; do sleep 0.01; done`)
	var log bytes.Buffer
	cmd.Stderr = &log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill() // only matters if the test fails before Wait
	stuck := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer stuck.Stop()
	lines := bufio.NewScanner(stdout)
	for _, want := range []string{`{"kind":"board","board":"bench","devices":["/dev/gpiochip0"],"chips":[]}`, "/dev/gpiochip0", "1970"} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, want %q; log:\n%s", lines.Text(), want, log.String())
		}
	}
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if !lines.Scan() || lines.Text() != "hung up" || lines.Scan() {
		t.Errorf("got %q", lines.Text())
	}
	_ = cmd.Wait() // the status says it
	if code := cmd.ProcessState.ExitCode(); code != 7 || !strings.Contains(log.String(), "part=DOOR action=high") {
		t.Errorf("exit %d; log:\n%s", code, log.String())
	}
}

// greet takes the event with which a reader welcomes a client.
func greet(t *testing.T, address string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	m, err := llrp.ReadMessage(conn, llrp.MaxMessage)
	if err != nil {
		t.Fatal(err)
	}
	e, err := llrp.DecodeEvent(m.Payload)
	if err != nil || m.Type != llrp.ReaderEventNotification || e.Attempt == nil || *e.Attempt != llrp.Connected {
		t.Errorf("reader %s answers with %v %+v, %v", address, m.Type, e, err)
	}
}

func exitCodes(t *testing.T, bin string) {
	for _, c := range []struct {
		args string
		code int
		want string // in the output; of an error, its only line
	}{
		{"--help", 0, "Example:"},
		{"run --help", 0, "Example:"},
		{"", 0, "Example:"},
		{"stop", 2, `unknown command "stop"`},
		{"run --spede 2", 2, "not defined: -spede"},
		{"run --step soon", 2, `invalid value "soon" for flag -step`},
		{"run --fault dc:9:gone@1s", 2, "zone dc has no probe 9, want 1 to 2"},
		{"run --offsets 1,2,3,4", 2, "offsets: 4 of them for 3 zones"},
		{"run now", 2, `unexpected argument "now"`},
		{"run -- --help", 0, "Example:"},
		{"run board.yaml", 2, "run board.yaml -- COMMAND"},
		{"run -- true", 2, "want one board file and, after --, a command"},
		{"run a.yaml b.yaml -- true", 2, "want one board file"},
		{"run --speed 2 board.yaml -- true", 2, "not defined: -speed"},
		{"run --fault DOOR:low board.yaml -- true", 2, "no time, want part:word@after such as clock:step=+3h@30s"},
		{"run no-such.yaml -- true", 1, "open no-such.yaml: no such file"},
		{"internal-launch true", 2, "internal-launch is for firmware-sim itself"},
		{"run --llrp-base 127.0.0.1:0 --replay missing.txt", 1, "replay: open missing.txt: no such file"},
	} {
		cmd := exec.Command(bin, strings.Fields(c.args)...)
		cmd.Dir = t.TempDir()
		out, _ := cmd.CombinedOutput() // the exit code says it
		if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.want) {
			t.Errorf("%q: exit %d, want %d; output %q, want %q in it", c.args, code, c.code, out, c.want)
		}
		if c.code != 0 && strings.Count(string(out), "\n") != 1 {
			t.Errorf("%q: more than one line:\n%s", c.args, out)
		}
	}
}

func parse(args []string, environ ...string) (app.Config, error) {
	c, flags := newFlags()
	if err := command.Parse(flags, args, environ, envPrefix, intro, io.Discard); err != nil {
		return app.Config{}, err
	}
	return c.config()
}

func TestFlags(t *testing.T) {
	if c, err := parse(nil); err != nil || !reflect.DeepEqual(c, app.Default()) {
		t.Errorf("without flags %+v, %v", c, err)
	}
	c, err := parse([]string{"--step", "5s", "--zones", "a=A,b", "--offsets", "7"},
		"FIRMWARE_SIM_STEP=9s", "FIRMWARE_SIM_LLRP_BASE=[::1]:0", "PATH=/bin")
	if err != nil || c.Step != 5*time.Second || c.LLRPBase != "[::1]:0" || len(c.Zones) != 2 || c.Zones[0] != (app.Zone{ID: "a", Name: "A", Offset: 7}) {
		t.Errorf("got %+v, %v", c, err)
	}
	if _, err := parse(nil, "FIRMWARE_SIM_STPE=1s"); err == nil || !strings.Contains(err.Error(), "FIRMWARE_SIM_STPE: no such flag --stpe") {
		t.Errorf("got %v", err)
	}
	if _, err := parse(nil, "FIRMWARE_SIM_STEP=soon"); err == nil {
		t.Error("a step of soon")
	}
}

// The example in the help works.
func TestHelpExample(t *testing.T) {
	var line string
	for s := range strings.Lines(intro) {
		if after, ok := strings.CutPrefix(s, "  firmware-sim run "); ok {
			line = after
		}
	}
	c, err := parse(strings.Fields(line))
	if err != nil || c.Dir != "sim" || len(c.Faults) != 1 {
		t.Errorf("%q: %+v, %v", line, c, err)
	}
}
