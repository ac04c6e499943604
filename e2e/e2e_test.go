package e2e

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the gateway's database, read from outside

	"trailmark/e2e/stage"
	"trailmark/passport"
)

var bin string // folder of the built binaries

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "trailmark-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	build := exec.Command("go", "build", "-trimpath", "-o", dir+"/", "./agent", "./gateway", "./anchor", "./firmware-sim")
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		os.Exit(1)
	}
	bin = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func startStage(t *testing.T, sim ...string) *stage.Stage {
	t.Helper()
	return startOn(t, bin, stage.Options{}, sim...)
}

// startOn starts a stage with the binaries of a folder, and what o says beyond
// places and speeds.
func startOn(t *testing.T, bin string, o stage.Options, sim ...string) *stage.Stage {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		log.Close()
		if t.Failed() {
			data, _ := os.ReadFile(log.Name())
			lines := strings.Split(string(data), "\n")
			t.Logf("end of the logs:\n%s", strings.Join(lines[max(0, len(lines)-60):], "\n"))
		}
	})
	if o.Log == nil {
		o.Log = log
	}
	o.Bin, o.Dir = bin, filepath.Join(t.TempDir(), "data")
	o.HTTP, o.EST, o.MQTT = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	o.Every, o.Seal, o.Anchor = 500*time.Millisecond, time.Second, 2*time.Second
	o.Sim = append([]string{"--step", "500ms"}, sim...)
	s, err := stage.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// agentStatus is what a running agent says of itself.
type agentStatus struct {
	Key       string `json:"key"`
	Next      uint64 `json:"next_seq"`
	Receipted uint64 `json:"receipted"`
	Alarm     bool   `json:"alarm"`

	Epoch      uint64 `json:"epoch"`
	HandedOver bool   `json:"handed_over"`
}

func readStatus(t *testing.T, s *stage.Stage, zone string) (a agentStatus) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.Dir, "agent-"+zone, "status.json"))
	if err != nil {
		return a // not written yet
	}
	if err := json.Unmarshal(data, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// eventually waits for something that must come.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited %v in vain for %s", within, what)
}

// TestKilledGatewayLosesNothing kills the gateway again and again: a frame that
// a device holds a verified receipt for is in the store, in the ledger, and in
// its place.
func TestKilledGatewayLosesNothing(t *testing.T) {
	s := startStage(t, "--lead", "2s", "--stay", "1h")
	receipted := func(least uint64) func() bool {
		return func() bool {
			for _, z := range s.Zones {
				if readStatus(t, s, z.Zone).Receipted < least {
					return false
				}
			}
			return true
		}
	}
	eventually(t, 30*time.Second, "first receipts", receipted(2))
	for round := range uint64(4) {
		if err := s.KillGateway(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(200*(round+1)) * time.Millisecond) // the devices go on without it
		if err := s.StartGateway(t.Context()); err != nil {
			t.Fatal(err)
		}
		if round == 2 { // and a device with it, in the middle of its work
			if err := s.Kill(stage.AgentName(s.Zones[0])); err != nil {
				t.Fatal(err)
			}
			if err := s.StartAgent(s.Zones[0], "not-used-again"); err != nil {
				t.Fatal(err)
			}
		}
		least := readStatus(t, s, s.Zones[0].Zone).Next + 2
		eventually(t, 40*time.Second, "receipts after the restart", receipted(least))
	}
	want := map[string]uint64{}
	for _, z := range s.Zones {
		st := readStatus(t, s, z.Zone)
		if st.Alarm {
			t.Errorf("%s raised an alarm", z.Zone)
		}
		want[st.Key] = st.Receipted
	}
	if err := s.KillGateway(); err != nil {
		t.Fatal(err)
	}
	if err := s.StartGateway(t.Context()); err != nil {
		t.Fatal(err)
	}
	entries := ledgerEntries(t, s)
	s.Stop()

	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.Dir, "gateway", "store.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	total := uint64(0)
	for key, n := range want {
		kid, err := hex.DecodeString(key)
		if err != nil {
			t.Fatal(err)
		}
		for seq := range n {
			var idx int
			var data []byte
			if err := db.QueryRow("SELECT idx, data FROM statement WHERE kid = ? AND seq = ?", kid, int64(seq)).Scan(&idx, &data); err != nil {
				t.Fatalf("receipted frame %d of %.8s: %v", seq, key, err)
			}
			if idx >= len(entries) || entries[idx] != sha256.Sum256(data) {
				t.Fatalf("receipted frame %d of %.8s is not the ledger's entry %d of %d", seq, key, idx, len(entries))
			}
		}
		total += n
	}
	t.Logf("5 kills of the gateway and one of an agent, %d receipted frames, all in the store and at their place in a ledger of %d", total, len(entries))
}

// ledgerEntries reads the published ledger through its C2SP tiles.
func ledgerEntries(t *testing.T, s *stage.Stage) [][32]byte {
	t.Helper()
	code, note, err := s.Get(t.Context(), "/checkpoint", "*/*")
	if err != nil || code != 200 {
		t.Fatalf("checkpoint: %d, %v", code, err)
	}
	var size int
	if _, err := fmt.Sscan(strings.Split(string(note), "\n")[1], &size); err != nil {
		t.Fatal(err)
	}
	var out [][32]byte
	for len(out) < size {
		path := fmt.Sprintf("/tile/entries/%03d", len(out)/256)
		if n := size - len(out); n < 256 {
			path += fmt.Sprintf(".p/%d", n)
		}
		code, data, err := s.Get(t.Context(), path, "*/*")
		if err != nil || code != 200 {
			t.Fatalf("%s: %d, %v", path, code, err)
		}
		for len(data) > 0 {
			if len(data) < 34 || data[0] != 0 || data[1] != 32 {
				t.Fatalf("%s: an entry that is not 32 bytes", path)
			}
			out = append(out, [32]byte(data[2:34]))
			data = data[34:]
		}
	}
	return out
}

// TestFaultsAreNoTemperatures breaks probes while the agent runs: what is signed
// then are faults, and the minimum stays a real one.
func TestFaultsAreNoTemperatures(t *testing.T) {
	s := startStage(t, "--lead", "1s", "--stay", "1h", "--fault", "origin:1:allzero@2s+4s", "--fault", "origin:2:crc@2s+4s")
	item := s.World.Items[0].Link
	file := filepath.Join(t.TempDir(), "item.passport")
	type verdict struct {
		Legs []struct {
			Channels []struct {
				Channel    string
				Min, Max   int64
				Unmeasured int64 `json:"unmeasured_ms"`
			}
		}
	}
	var v verdict
	eventually(t, 60*time.Second, "a passport with a hole in two channels", func() bool {
		code, data, err := s.Get(t.Context(), item, passport.MediaType)
		if err != nil || code != 200 || os.WriteFile(file, data, 0o600) != nil {
			return false
		}
		out, err := s.Run(t.Context(), "anchor", "verify", "--trust", s.Trust, "--json", file)
		if err != nil {
			t.Fatal(err, out)
		}
		v = verdict{}
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatal(err)
		}
		if len(v.Legs) != 1 || len(v.Legs[0].Channels) != 2 {
			return false
		}
		return v.Legs[0].Channels[0].Unmeasured > 2000 && v.Legs[0].Channels[1].Unmeasured > 2000
	})
	for _, c := range v.Legs[0].Channels {
		if c.Min < 1000 {
			t.Errorf("%s: a minimum of %d m°C was signed while the probe was broken", c.Channel, c.Min)
		}
	}
}

// TestUnknownItemAndBadGTIN asks from outside for what is not there.
func TestUnknownItemAndBadGTIN(t *testing.T) {
	s := startStage(t, "--lead", "1h")
	for path, want := range map[string]int{
		"/01/09521234543213/21/nobody": 404,
		"/01/09521234543214/21/1001":   400, // wrong check digit
		"/nothing":                     404,
	} {
		code, body, err := s.Get(t.Context(), path, passport.MediaType)
		if err != nil || code != want || !strings.Contains(string(body), `"status"`) {
			t.Errorf("%s: %d %s %v, want a problem of status %d", path, code, body, err, want)
		}
	}
}

// TestCommandLines holds what a person sees who types something wrong.
func TestCommandLines(t *testing.T) {
	dir := t.TempDir()
	blocked := filepath.Join(dir, "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(filepath.Join(bin, "gateway"), "init", "--dir", filepath.Join(dir, "ok")).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	busy := busyPort(t)
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"gateway --help", 0, "Example:"},
		{"gateway run --help", 0, "Example:"},
		{"gateway", 0, "Example:"},
		{"gateway walk", 2, `unknown command "walk"`},
		{"gateway run --speed 3", 2, "-speed"},
		{"gateway run --dir " + filepath.Join(dir, "none"), 1, "hint: gateway init"},
		{"gateway init --dir " + blocked, 1, "not a directory"},
		{"gateway init --dir " + filepath.Join(dir, "ok"), 1, "exists already"},
		{"gateway run --http " + busy + " --dir " + filepath.Join(dir, "ok"), 1, "address already in use"},
		{"gateway run --http 127.0.0.1:0 --est " + busy + " --dir " + filepath.Join(dir, "ok"), 1, "address already in use"},
		{"gateway run --http 127.0.0.1:0 --est 0.0.0.0:0 --dir " + filepath.Join(dir, "ok"), 1, "hint: give the one they reach with --est-url"},
		{"gateway run --http 127.0.0.1:0 --est 127.0.0.1:0 --mqtt " + busy + " --dir " + filepath.Join(dir, "ok"), 1, "address already in use"},
		{"gateway init --env production --simulated --dir " + filepath.Join(dir, "none"), 1, "no simulated devices"},
		{"gateway claim --dir " + filepath.Join(dir, "ok"), 1, "hint: start the gateway first"},
		{"gateway claim --simulated --dir " + filepath.Join(dir, "ok"), 1, "hint: make another one for them"},
		{"gateway claim --dir " + filepath.Join(dir, "ok") + " --band 8..2", 1, "band"},
		{"gateway product --dir " + filepath.Join(dir, "ok") + " --gtin 123", 1, "gtin"},
		{"gateway alarms --help", 0, "Example:"},
		{"gateway alarms list --help", 0, "Example:"},
		{"gateway alarms ack --help", 0, "Example:"},
		{"gateway alarms close --help", 0, "Example:"},
		{"gateway alarms rules --help", 0, "Examples:"},
		{"gateway alarms targets --help", 0, "Example:"},
		{"gateway alarms test-notify --help", 0, "Example:"},
		{"gateway alarms shout", 2, `unknown command "shout"`},
		{"gateway alarms ack --dir x", 2, "want --id and --by"},
		{"gateway alarms list --dir " + filepath.Join(dir, "none"), 1, "hint: gateway init"},
		{"gateway alarms rules --preset who-3 --show", 1, "who-2"},
		{"agent --help", 0, "Example:"},
		{"agent run --speed 3", 2, "-speed"},
		{"agent run --dir " + blocked + "/x", 1, "not a directory"},
		{"anchor --help", 0, "Example:"},
		{"anchor verify", 2, "which file"},
		{"anchor verify --trust " + blocked + " " + blocked, 1, "trust file"},
		{"firmware-sim run --help", 0, "Example:"},
	} {
		args := strings.Fields(c.args)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		cmd := exec.CommandContext(ctx, filepath.Join(bin, args[0]), args[1:]...)
		cmd.Dir = dir
		out, _ := cmd.CombinedOutput() // the exit code says it
		cancel()
		if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(strings.ToLower(string(out)), strings.ToLower(c.want)) {
			t.Errorf("%s: exit %d, want %d; output %q, want %q in it", c.args, code, c.code, out, c.want)
		}
	}
}

// busyPort is an address that somebody listens on.
func busyPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}
