package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

type pkg struct {
	ImportPath string
	Dir        string
	Imports    []string
	Deps       []string
	GoFiles    []string
}

func list(t *testing.T, env []string, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Imports,Deps,GoFiles"}, args...)...)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ps []pkg
	for dec := json.NewDecoder(out); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return ps
}

// below reports whether path is root or under it.
func below(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// TestArrows holds the arrows of docs/architecture.md: who may import whom.
func TestArrows(t *testing.T) {
	const m = "trailmark/"
	may := map[string][]string{ // a room and what of ours it may import directly
		"internal/dcbor":    {},
		"internal/epc":      {},
		"internal/llrp":     {},
		"internal/r200":     {},
		"internal/command":  {},
		"internal/keyfile":  {},
		"internal/est":      {},
		"internal/termqr":   {},
		"trace":             {"internal/dcbor"},
		"statement":         {"internal/dcbor", "trace"},
		"passport":          {"internal/dcbor", "internal/epc", "statement", "trace", "passport"},
		"vectors":           {"internal/dcbor", "statement", "trace", "passport"},
		"internal/device":   {"internal/dcbor", "internal/device", "internal/est", "statement", "trace"},
		"internal/chain":    {"anchor/contract", "internal/dcbor", "internal/chain"},
		"anchor/contract":   {},
		"agent":             {"agent", "internal", "statement", "trace"},
		"gateway":           {"gateway", "internal", "statement", "trace", "passport"},
		"anchor":            {"anchor", "internal/chain", "internal/command", "internal/dcbor", "passport", "statement", "trace"},
		"firmware-sim":      {"firmware-sim", "internal/epc", "internal/llrp", "internal/r200", "internal/device", "internal/command", "internal/dcbor", "internal/est", "statement", "trace"},
		"e2e":               {"e2e", "internal/chain", "internal/command", "internal/epc", "internal/termqr", "passport", "statement", "trace", "internal/dcbor"},
		"internal/archtest": {},
	}
	for _, p := range list(t, nil, "./...") {
		name := strings.TrimPrefix(p.ImportPath, m)
		room := ""
		for r := range may {
			if below(name, r) && len(r) > len(room) {
				room = r
			}
		}
		if room == "" {
			t.Errorf("%s is in no room that docs/architecture.md draws", name)
			continue
		}
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, m) {
				continue
			}
			ok := false
			for _, a := range may[room] {
				ok = ok || below(strings.TrimPrefix(imp, m), a)
			}
			if !ok {
				t.Errorf("%s imports %s, which the architecture does not allow", name, imp)
			}
		}
	}
}

// TestForbidden names what must never be linked, and why.
func TestForbidden(t *testing.T) {
	for _, rule := range []struct{ root, dep, why string }{
		{"trailmark/agent", "github.com/cometbft", "no chain SDK on the device"},
		{"trailmark/agent", "github.com/ethereum", "no chain SDK on the device"},
		{"trailmark/firmware-sim", "github.com/ethereum", "simulated hardware has no chain"},
		{"trailmark/passport", "github.com/ethereum", "verification needs no chain SDK"},
		{"trailmark/agent", "github.com/nats-io", "no broker on the device"},
		{"trailmark/agent", "modernc.org", "no database on the device"},
		{"trailmark/agent", "trailmark/passport", "a device reports, it does not judge"},
		{"trailmark/agent", "trailmark/internal/chain", "no chain SDK on the device"},
		{"trailmark/agent", "trailmark/firmware-sim", "the device is not its own simulator"},
		{"trailmark/firmware-sim", "trailmark/agent", "the simulator is the hardware"},
		{"trailmark/gateway/internal/alarm", "trailmark/gateway/internal/ingest", "alarms judge what is durable, not what arrives"},
		{"trailmark/gateway/internal/notify", "trailmark/gateway/internal/alarm", "who is told does not judge"},
		{"trailmark/passport", "net/http", "verification needs no network"},
		{"trailmark/statement", "net/http", "verification needs no network"},
		{"trailmark/trace", "github.com/veraison", "the tree needs no signatures"},
		{"trailmark/gateway/internal/epcis/document", "trailmark/gateway/internal/store", "an event is judged by itself"},
		{"trailmark/gateway/internal/epcis/document", "net/http", "no context is ever fetched"},
	} {
		for _, p := range list(t, nil, rule.root) {
			for _, d := range p.Deps {
				if below(d, rule.dep) {
					t.Errorf("%s links %s: %s", rule.root, d, rule.why)
				}
			}
		}
	}
	for _, p := range list(t, nil, "./...") {
		for _, imp := range p.Imports {
			if below(imp, "github.com/eclipse/paho.mqtt.golang") && p.ImportPath != "trailmark/agent/internal/uplink" && p.ImportPath != "trailmark/firmware-sim/internal/fleet" {
				t.Errorf("%s imports paho; only agent/internal/uplink and firmware-sim/internal/fleet may", p.ImportPath)
			}
			if below(imp, "github.com/wneessen/go-mail") && p.ImportPath != "trailmark/gateway/internal/notify" {
				t.Errorf("%s sends mail; only gateway/internal/notify may", p.ImportPath)
			}
			if below(imp, "github.com/cometbft") && !below(p.ImportPath, "trailmark/internal/chain") {
				t.Errorf("%s imports CometBFT; only internal/chain may", p.ImportPath)
			}
			if below(imp, "github.com/ethereum") && !below(p.ImportPath, "trailmark/internal/chain") {
				t.Errorf("%s imports go-ethereum; only internal/chain may", p.ImportPath)
			}
		}
	}
}

// TestAgentIsPureGo builds the agent's dependency list for a Pi without cgo.
func TestAgentIsPureGo(t *testing.T) {
	for _, arch := range []string{"GOARCH=arm", "GOARCH=arm64"} {
		for _, p := range list(t, []string{"CGO_ENABLED=0", "GOOS=linux", arch, "GOARM=6"}, "./agent") {
			for _, d := range p.Deps {
				if d == "runtime/cgo" {
					t.Errorf("%s: the agent needs cgo", arch)
				}
			}
		}
	}
}

// TestPackageDocs wants exactly one package comment in every package, and no
// file over 600 lines.
func TestPackageDocs(t *testing.T) {
	for _, p := range list(t, nil, "./...") {
		docs := 0
		for _, f := range p.GoFiles {
			data, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(data), "\n"); n > 600 {
				t.Errorf("%s/%s has %d lines, want at most 600", p.ImportPath, f, n)
			}
			for _, line := range strings.Split(string(data), "\n") {
				if strings.HasPrefix(line, "// Package ") || strings.HasPrefix(line, "// Command ") {
					docs++
					break
				}
				if strings.HasPrefix(line, "package ") {
					break
				}
			}
		}
		if docs != 1 && len(p.GoFiles) > 0 {
			t.Errorf("%s has %d package comments, want 1", p.ImportPath, docs)
		}
	}
}
