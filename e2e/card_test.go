package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCard asks a running agent's tools of its device, takes what is on its card
// and lets somebody who has the trust file alone check that.
func TestCard(t *testing.T) {
	s := startStage(t, "--lead", "1s", "--stay", "1h")
	zone := s.Zones[0]
	dir := filepath.Join(s.Dir, "agent-"+zone.Zone)
	eventually(t, time.Minute, "receipts", func() bool { return readStatus(t, s, zone.Zone).Receipted >= 3 })
	tool := func(want int, name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, name), args...)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	holds := func(text string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("no %q in\n%s", w, text)
			}
		}
	}
	holds(tool(0, "agent", "--version"), "trailmark agent")
	holds(tool(0, "agent", "status", "--dir", dir), "last receipt", zone.Probes[0], "Cel", "plan", "number", "llrp0  up")
	holds(tool(0, "agent", "doctor", "--lang", "zh-CN", "--dir", dir, "--w1-root", zone.W1, "--llrp", zone.LLRP),
		"运行中的 agent", "ok    broker", "ok    gateway", "ok    receipts", "ok    probe")

	card := filepath.Join(t.TempDir(), "card.cbor")
	holds(tool(0, "agent", "export", "--dir", dir, "-o", card), "frames, seq 0 to")
	if out := tool(1, "agent", "export", "--dir", dir, "-o", card); !strings.Contains(out, "exists") {
		t.Errorf("written over: %s", out)
	}
	holds(tool(0, "anchor", "verify", "--trust", s.Trust, "--card", card), "SIMULATED", "nothing older than seq 0", "readings in", "newest checkpoint")
	holds(tool(0, "anchor", "inspect", card), "/ card,", "seq", "28-")

	data, err := os.ReadFile(card)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(card, data, 0o600); err != nil {
		t.Fatal(err)
	}
	holds(tool(1, "anchor", "verify", "--trust", s.Trust, "--card", card), "REFUTED")
}
