package board

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"trailmark/firmware-sim/internal/board/supervise"
)

// The launcher is this test binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == supervise.LaunchArg {
		if err := supervise.Launch(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(127)
	}
	os.Exit(m.Run())
}

func mustBoard(t *testing.T, text string) *Board {
	t.Helper()
	b, err := newBoard(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run runs a command on a board and returns its output behind the announcement.
func run(t *testing.T, b *Board, o Options) (a Announcement, output string, status int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	o.Stdout, o.Stderr = out, t.Output()
	status, err = b.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	line, rest, _ := bytes.Cut(text, []byte("\n"))
	if err := json.Unmarshal(line, &a); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return a, string(rest), status
}

// Every device of a board through the kernel's interfaces, by a static program that
// knows nothing of it.
func TestBoard(t *testing.T) {
	probe := filepath.Join(t.TempDir(), "probe")
	build := exec.Command("go", "build", "-o", probe, "./supervise/testdata/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("TMPDIR", t.TempDir())
	for _, c := range []struct{ script, want string }{
		// Device reset of a DS2482: its status has RST and the idle line, LL.
		{probe + " i2c 0x18 f0 1", "18\n"},
		// What a stock driver makes of a BME280; half the serial of an SHT4x and its CRC.
		{probe + " bme280", "4.00 4% 100.00"},
		{probe + " i2c 0x44 89 0; " + probe + " i2c 0x44 '' 3", "0bad2b\n"},
		// VersionReg of an MFRC522: address byte 0xee, then whatever.
		{probe + " spi ee00", "0092\n"},
		{probe + " echo /dev/ttyUSB0 hello", `"hello"`},
		{"cat /sys/bus/w1/devices/*/w1_slave", "40 00 4b 46 7f ff 10 10 20 : crc=20 YES\n40 00 4b 46 7f ff 10 10 20 t=4000\n"},
		{"ls -d /dev/i2c-* /dev/spidev* /dev/gpiochip* /dev/ttyUSB*", "/dev/gpiochip0\n/dev/i2c-1\n/dev/spidev0.0\n/dev/ttyUSB0\n/dev/ttyUSB1\n"},
		{"exit 3", ""},
		{"kill -TERM $$", ""},
	} {
		t.Run(c.script, func(t *testing.T) {
			a, out, status := run(t, mustBoard(t, small), Options{Args: []string{"sh", "-c", c.script}})
			if !strings.Contains(out, c.want) || strings.HasPrefix(c.script, probe) && status != 0 {
				t.Errorf("status %d; output %q, want %q in it", status, out, c.want)
			}
			if want := map[string]int{"exit 3": 3, "kill -TERM $$": 128 + 15}[c.script]; status != want {
				t.Errorf("status %d, want %d", status, want)
			}
			if want := "[/dev/gpiochip0 /dev/i2c-1 /dev/spidev0.0 /dev/ttyUSB0 /dev/ttyUSB1 /sys/bus/w1/devices]"; fmt.Sprint(a.Devices) != want {
				t.Errorf("devices %v, want %s", a.Devices, want)
			}
			if want := "[{climate bme280 i2c-1 0x76} {shelf sht4x i2c-1 0x44} {probe ds18b20 bridge 28-000000000001} {bridge ds2482 i2c-1 0x18} {reader mfrc522 spidev0.0} {wall ds18b20 w1 28-000000000002} {ttyUSB1 r200 ttyUSB1} {dock llrp tcp 127.0.77.1:5084}]"; fmt.Sprint(a.Chips) != want {
				t.Errorf("chips %v, want %s", a.Chips, want)
			}
		})
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "board-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A fault from the control pipe reaches the command, and a signal does.
func TestControlAndSignals(t *testing.T) {
	control := filepath.Join(t.TempDir(), "control")
	signals := make(chan os.Signal, 1)
	// The command itself unplugs the probe through the pipe, sees it go, and asks
	// for the signal by a file.
	const script = `trap 'echo caught; exit 5' USR1
		echo "no such part" > $0; echo nonsense > $0; echo "wall gone" > $0
		while test -e /sys/bus/w1/devices/28-000000000002; do sleep 0.01; done
		echo gone; touch $0.now
		while :; do sleep 0.01; done`
	b := mustBoard(t, small)
	go func() {
		for t.Context().Err() == nil {
			if _, err := os.Stat(control + ".now"); err == nil {
				signals <- syscall.SIGUSR1
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	a, out, status := run(t, b, Options{Args: []string{"sh", "-c", script, control}, Control: control, Signals: signals})
	if out != "gone\ncaught\n" || status != 5 || a.Control != control {
		t.Errorf("status %d, %q, control %s", status, out, a.Control)
	}
	if _, err := os.Stat(control); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the control pipe is left: %v", err)
	}
}

func TestRunRefuses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	control := filepath.Join(t.TempDir(), "control")
	if err := os.WriteFile(control, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]Options{
		"no-such-command": {Args: []string{"no-such-command"}},
		"no named pipe":   {Args: []string{"true"}, Control: control},
	} {
		var out strings.Builder
		o.Stdout = &out
		if _, err := mustBoard(t, small).Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) || out.Len() > 0 {
			t.Errorf("got %v, want %q in it; output %q", err, want, out.String())
		}
	}
}

// Canceling kills a command that does not want to end.
func TestCancel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	go func() {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			if lines.Text() == "here" {
				cancel()
			}
		}
	}()
	status, err := mustBoard(t, small).Run(ctx, Options{
		Args: []string{"sh", "-c", "trap '' TERM INT; echo here; while :; do read x; done"}, Stdin: neverRead{ctx}, Stdout: w, Stderr: t.Output(),
	})
	if status != 128+9 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
}

type neverRead struct{ ctx context.Context }

func (n neverRead) Read([]byte) (int, error) { <-n.ctx.Done(); return 0, io.EOF }

// The script happens in the order of its times, whatever its order in the file.
func TestScript(t *testing.T) {
	b := mustBoard(t, strings.Replace(small, "{at: 1h, chip: probe, fault: gone}",
		"{at: 1h, line: DOOR, level: low}, {at: 30m, line: DOOR, level: high}, {at: 2h, chip: reader, fault: drift=1}, {at: 3h, line: DOOR, level: high}", 1))
	var log safeBuffer
	b.log = slog.New(slog.NewTextHandler(&log, nil))
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		b.play(t.Context(), start)
		if got := time.Since(start); got != 3*time.Hour {
			t.Errorf("over after %v", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		b.play(ctx, time.Now())
		if got := time.Since(start); got != 3*time.Hour+time.Minute {
			t.Errorf("canceled after %v", got)
		}
	})
	var got []string
	for line := range strings.Lines(log.String()) {
		for _, field := range strings.Fields(line) {
			if word, ok := strings.CutPrefix(field, "action="); ok {
				got = append(got, strings.Trim(word, `"`))
			}
		}
	}
	if fmt.Sprint(got) != "[high low drift=1 high]" || strings.Count(log.String(), "has no fault") != 1 {
		t.Errorf("happened: %v; log:\n%s", got, log.String())
	}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestListen(t *testing.T) {
	var log safeBuffer
	b := mustBoard(t, small)
	b.log = slog.New(slog.NewTextHandler(&log, nil))
	path := filepath.Join(t.TempDir(), "control")
	control, err := openControl(path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { b.listen(t.Context(), control); close(done) }()
	// One writer after the other; the pipe outlives each.
	for _, text := range []string{"DOOR high\n\nbox leave\nbox leave\nbox enter\n", strings.Repeat("x", 3*maxLine) + "\nDOOR\nDOOR ajar\n", "moon full\nDOOR low\n"} {
		if err := os.WriteFile(path, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"msg=happened part=DOOR action=high", "msg=happened part=box action=leave", "msg=happened part=box action=leave", "msg=happened part=box action=enter",
		`"control line ignored" "longer than"=256`, `"control line ignored" line=DOOR`, `part=DOOR action=ajar`, "board small has no", "msg=happened part=DOOR action=low",
	}
	for deadline := time.Now().Add(10 * time.Second); strings.Count(log.String(), "\n") < len(want) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if err := control.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	rest := log.String()
	for _, w := range want {
		_, after, ok := strings.Cut(rest, w)
		if !ok {
			t.Fatalf("no %q in its place; log:\n%s", w, log.String())
		}
		rest = after
	}
	// A pipe that a killed board left is taken over.
	if control, err = openControl(path); err != nil {
		t.Fatal(err)
	}
	control.Close()
}

// A terminal passes every byte as it is, and is silent while nobody has it open.
func TestTerminal(t *testing.T) {
	term, err := openTerminal(loopback)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for range 2 {
		f, err := os.OpenFile(term.path, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(all); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(all))
		if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, all) {
			t.Errorf("got % x, %v", got, err)
		}
		f.Close()
	}
	term.close()
	if _, err := os.Stat(term.path); err == nil {
		t.Errorf("%s is left", term.path)
	}
}
