package supervise

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"trailmark/firmware-sim/chip/i2cbus"
	"trailmark/firmware-sim/internal/board/chardev"
)

// The launcher and the supervisor that is killed are this test binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case LaunchArg:
			if err := Launch(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			os.Exit(127)
		case "supervise-orphan":
			p, err := Start(context.Background(), Command{
				Args: os.Args[2:], Devices: devices(nil), Stdout: os.Stdout, Stderr: os.Stderr,
			}, slog.New(slog.DiscardHandler))
			if err == nil {
				_, err = p.Wait()
			}
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	code := 1
	var err error
	if probeDir, err = os.MkdirTemp("", "probe-"); err == nil {
		code = m.Run()
		err = os.RemoveAll(probeDir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// probeDir holds the probe for as long as the tests run.
var probeDir string

// needRoot skips where Start says that it cannot work, and gives what runs temporary
// folders of its own.
func needRoot(t *testing.T) {
	t.Helper()
	if err := supported(); err != nil {
		t.Skip(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
}

// leftBehind returns what a test has left in its temporary folder.
func leftBehind(t *testing.T) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "firmware-sim-*"))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

var buildProbe = sync.OnceValues(func() (string, error) {
	path := filepath.Join(probeDir, "probe")
	cmd := exec.Command("go", "build", "-o", path, "./testdata/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // static, as an agent is
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func probe(t *testing.T) string {
	t.Helper()
	path, err := buildProbe()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// eeprom is a chip of 256 registers with a pointer, as a 24C02 is.
type eeprom struct {
	started func() // at each start, or nil
	first   bool   // of the bytes of this message
	pointer byte
	cells   [256]byte
}

func (e *eeprom) Start(bool) bool {
	if e.first = true; e.started != nil {
		e.started()
	}
	return true
}

func (e *eeprom) Write(b byte) bool {
	if e.first {
		e.pointer, e.first = b, false
		return true
	}
	e.cells[e.pointer] = b
	e.pointer++
	return true
}

func (e *eeprom) Read() byte {
	e.pointer++
	return e.cells[e.pointer-1]
}

func (e *eeprom) Stop() {}

// bus has an eeprom at 0x50 whose cell n holds n.
func bus(started func()) *chardev.I2CBus {
	e := &eeprom{started: started}
	for i := range e.cells {
		e.cells[i] = byte(i)
	}
	b := i2cbus.New("i2c-1")
	if err := b.Attach(0x50, e); err != nil {
		panic(err)
	}
	return chardev.NewI2CBus(b)
}

// loopback is a wire from MOSI to MISO that also marks where a frame starts.
type loopback struct{}

func (loopback) Transfer(tx, rx []byte) {
	copy(rx, tx)
	rx[0] ^= 0xff
}

func devices(gpio *chardev.GPIOChip) map[string]chardev.Device {
	d := map[string]chardev.Device{
		"/dev/i2c-1":     bus(nil),
		"/dev/spidev0.0": chardev.NewSPIPort(loopback{}),
	}
	if gpio != nil {
		d["/dev/gpiochip0"] = gpio
	}
	return d
}

func command(t *testing.T, args ...string) Command {
	bufsiz := filepath.Join(t.TempDir(), "bufsiz")
	if err := os.WriteFile(bufsiz, []byte("4096\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return Command{
		Args: append([]string{probe(t)}, args...), Devices: devices(nil),
		Mounts: []Mount{{bufsiz, "/sys/module/spidev/parameters/bufsiz"}},
		Hide:   []string{"i2c-*", "spidev*", "gpiochip*"},
	}
}

// output runs the probe to its end.
func output(t *testing.T, c Command) (stdout, stderr string, status int) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var log bytes.Buffer
	c.Stdout, c.Stderr = out, &log
	c.Ready = func() error { _, err := out.WriteString("ready\n"); return err }
	p, err := Start(t.Context(), c, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	status, err = p.Wait()
	if err != nil {
		t.Fatalf("%v; %s", err, log.String())
	}
	b, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b), log.String(), status
}

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestProbe(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		args   string
		want   string // in the output
		stderr string
		status int
	}{
		{"drivers", "sysfs-i2c\nsysfs-spi\n", "", 0},
		{"i2c 0x50 10 4", "10111213\n", "", 0},
		{"i2c 0x50 fe 3", "feff00\n", "", 0},
		{"i2c 0x51 00 1", "", "remote I/O error", 1},
		{"many 32", "ok\n", "", 0},
		{"spi 000102", "ff0102\nff0102 0000 ff\n", "", 0},
		{"spi 000102 mode3", "ffffff\nffffff ffff ff\n", "", 0},
		{"file /dev/i2c-1", "read 0 EOF\nwrite 0 write /dev/i2c-1: no space left on device\n" +
			"tcgets inappropriate ioctl for device\nnetlink protocol not supported\nnetlink <nil>\nunknown inappropriate ioctl for device\n", "", 0},
		{"exit 7", "", "", 7},
	} {
		t.Run(c.args, func(t *testing.T) {
			stdout, stderr, status := output(t, command(t, strings.Fields(c.args)...))
			if !strings.HasPrefix(stdout, "ready\n") || !strings.HasSuffix(stdout, c.want) || !strings.Contains(stderr, c.stderr) || status != c.status {
				t.Errorf("status %d, want %d; output %q, want %q; %q, want %q", status, c.status, stdout, c.want, stderr, c.stderr)
			}
		})
	}
}

// The machine's own devices are as they were, and nobody else sees ours.
func TestNamespace(t *testing.T) {
	needRoot(t)
	before, err := os.ReadDir("/dev")
	if err != nil {
		t.Fatal(err)
	}
	c := command(t)
	c.Hide = append(c.Hide, "loop*")
	c.Args = []string{"sh", "-c", "echo /dev/i2c* /dev/loop*; cat /sys/module/spidev/parameters/bufsiz; ls -d /sys/bus/pci /sys/module/kernel/parameters; echo >/dev/null; test -e /dev/full"}
	stdout, stderr, status := output(t, c)
	if want := "ready\n/dev/i2c-1 /dev/loop*\n4096\n/sys/bus/pci\n/sys/module/kernel/parameters\n"; stdout != want || stderr != "" || status != 0 {
		t.Errorf("status %d: %q, want %q; %s", status, stdout, want, stderr)
	}
	after, err := os.ReadDir("/dev")
	if err != nil || len(after) != len(before) {
		t.Errorf("%d names in /dev, %d before: %v", len(after), len(before), err)
	}
	if left := leftBehind(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestGPIO(t *testing.T) {
	needRoot(t)
	levels := make(chan string, 10)
	gpio := chardev.NewGPIOChip("gpiochip0", "pinctrl-bcm2835", []chardev.Line{{Name: "DOOR", High: true}, {Name: "BUZZER"}},
		func(line string, high bool) { levels <- fmt.Sprint(line, high) })
	c := command(t, "gpio")
	c.Devices = devices(gpio)
	r, w := io.Pipe()
	c.Stdout, c.Stderr = w, os.Stderr
	p, err := Start(t.Context(), c, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(r)
	expect := func(want string) {
		t.Helper()
		if lines.Scan(); lines.Text() != want {
			t.Fatalf("got %q, want %q", lines.Text(), want)
		}
	}
	set := func(high bool) {
		t.Helper()
		if err := gpio.Set("DOOR", high); err != nil {
			t.Fatal(err)
		}
	}
	expect("door High")
	if got := <-levels; got != "BUZZERtrue" {
		t.Errorf("got %s", got)
	}
	if err := gpio.Set("BUZZER", false); err == nil {
		t.Error("an output was driven from outside")
	}
	set(false)
	expect("edge Low")
	set(false) // no edge
	set(true)
	expect("edge High")
	if status, err := p.Wait(); status != 0 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
	if got := <-levels; got != "BUZZERfalse" {
		t.Errorf("got %s", got)
	}
}

// A command that is killed in the middle of its calls leaves no call, and Wait
// returns.
func TestKilled(t *testing.T) {
	needRoot(t)
	slow := make(chan struct{}, 1)
	c := command(t, "orphan")
	c.Devices["/dev/i2c-1"] = bus(func() {
		select {
		case slow <- struct{}{}:
		default:
		}
		time.Sleep(20 * time.Millisecond) // long enough to be killed in
	})
	c.Stdout, c.Stderr = io.Discard, os.Stderr
	p, err := Start(t.Context(), c, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	<-slow
	if err := p.Signal(os.Kill); err != nil {
		t.Fatal(err)
	}
	if status, err := p.Wait(); status != 128+9 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
}

// A transaction that takes long is done once, however many signals the runtime of
// the command sends itself meanwhile.
func TestSignalsRepeatNothing(t *testing.T) {
	needRoot(t)
	calls := 0
	c := command(t, "i2c", "0x50", "00", "1")
	c.Devices["/dev/i2c-1"] = bus(func() {
		calls++
		time.Sleep(100 * time.Millisecond)
	})
	c.Stdout, c.Stderr = io.Discard, os.Stderr
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // a call that is repeated never ends
	defer cancel()
	p, err := Start(ctx, c, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.Pid()))
				if err != nil {
					continue // it has ended
				}
				for _, thread := range threads {
					if id, err := strconv.Atoi(thread.Name()); err == nil {
						_ = unix.Tgkill(p.Pid(), id, unix.SIGURG) // it may have ended
					}
				}
			}
		}
	}()
	status, err := p.Wait()
	close(stop)
	if status != 0 || err != nil || calls != 2 { // a start and a repeated one
		t.Errorf("%d starts, status %d, %v", calls, status, err)
	}
}

// When the supervisor is killed, the ioctls of the command fail and do not hang.
func TestSupervisorGone(t *testing.T) {
	needRoot(t)
	supervisor := exec.Command("/proc/self/exe", "supervise-orphan", probe(t), "orphan")
	supervisor.Stderr = os.Stderr
	out, err := supervisor.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := supervisor.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	pid, err := strconv.Atoi(strings.TrimPrefix(lines.Text(), "ready "))
	if err != nil {
		t.Fatalf("%q: %v", lines.Text(), err)
	}
	stuck := time.AfterFunc(20*time.Second, func() { _ = unix.Kill(pid, unix.SIGKILL) })
	defer stuck.Stop()
	if err := supervisor.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if lines.Scan(); !strings.Contains(lines.Text(), "function not implemented") {
		t.Errorf("got %q", lines.Text())
	}
	_ = supervisor.Wait() // it was killed
}

func TestStartRefuses(t *testing.T) {
	needRoot(t)
	foreign := filepath.Join(t.TempDir(), "foreign") // the header of a program for an ARM
	header := make([]byte, 52)
	copy(header, "\x7fELF\x01\x01\x01")
	header[16], header[18], header[20], header[40], header[42], header[46] = 2, 40, 1, 52, 32, 40
	if err := os.WriteFile(foreign, header, 0o700); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Command){
		"no-such-command":          func(c *Command) { c.Args = []string{"no-such-command"} },
		"built for EM_ARM":         func(c *Command) { c.Args = []string{foreign} },
		"no command to run":        func(c *Command) { c.Args = nil },
		"want a name in /dev":      func(c *Command) { c.Devices["/tmp/i2c-1"] = chardev.NewSPIPort(loopback{}) },
		"no ready":                 func(c *Command) { c.Ready = func() error { return errors.New("no ready") } },
		"stat /no-such-source: no": func(c *Command) { c.Mounts = append(c.Mounts, Mount{"/no-such-source", "/dev/ttyUSB0"}) },
	} {
		c := command(t, "exit", "0")
		spoil(&c)
		if _, err := Start(t.Context(), c, testLog(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	if left := leftBehind(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What one transaction costs the command, in microseconds.
func BenchmarkTransaction(b *testing.B) {
	if err := supported(); err != nil {
		b.Skip(err)
	}
	path, err := buildProbe()
	if err != nil {
		b.Fatal(err)
	}
	var out bytes.Buffer
	for b.Loop() {
		out.Reset()
		p, err := Start(b.Context(), Command{Args: []string{path, "bench"}, Devices: devices(nil), Stdout: &out, Stderr: os.Stderr}, slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		if status, err := p.Wait(); status != 0 || err != nil {
			b.Fatal(status, err)
		}
	}
	us, err := strconv.ParseFloat(strings.TrimSpace(out.String()), 64)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(us, "µs/ioctl")
}
