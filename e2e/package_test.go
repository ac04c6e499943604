package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"trailmark/e2e/stage"
)

// maxAgent is how large the agent's binary may be, in bytes.
const maxAgent = 16 << 20

// A machine is one that the agent is packaged for.
type machine struct{ deb, dir, elf, qemu string }

func machines() []machine {
	return []machine{
		{"armhf", "arm", "ARM", "qemu-arm-static"},
		{"arm64", "arm64", "AArch64", "qemu-aarch64-static"},
	}
}

var packaged = sync.OnceValue(func() error {
	out, err := exec.Command("make", "-C", "..", "--no-print-directory", "package").CombinedOutput()
	if err != nil {
		return fmt.Errorf("make package: %w\n%s", err, out)
	}
	return nil
})

func needs(t *testing.T, commands ...string) {
	t.Helper()
	for _, c := range commands {
		if _, err := exec.LookPath(c); err != nil {
			t.Skipf("needs %s", c)
		}
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestPackages builds what an installer gets, lets dpkg unpack it into an empty
// root, and starts what it finds there.
func TestPackages(t *testing.T) {
	needs(t, "make", "dpkg", "dpkg-deb")
	if err := packaged(); err != nil {
		t.Fatal(err)
	}
	for _, m := range machines() {
		t.Run(m.deb, func(t *testing.T) {
			found, err := filepath.Glob("../bin/trailmark-agent_*_" + m.deb + ".deb")
			if err != nil || len(found) != 1 {
				t.Fatalf("packages: %v, %v", found, err)
			}
			root := t.TempDir()
			for _, dir := range []string{"info", "updates"} {
				if err := os.MkdirAll(filepath.Join(root, "var/lib/dpkg", dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if os.Geteuid() == 0 {
				run(t, "dpkg", "--root", root, "--force-architecture", "--unpack", found[0])
			} else {
				run(t, "dpkg-deb", "--extract", found[0], root)
			}
			agent := filepath.Join(root, "usr/bin/trailmark-agent")
			info, err := os.Stat(agent)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("binary of %.1f MB", float64(info.Size())/1e6)
			if info.Size() > maxAgent {
				t.Errorf("the binary has %d bytes, at most %d", info.Size(), maxAgent)
			}
			scripts := t.TempDir()
			run(t, "dpkg-deb", "--control", found[0], scripts)
			for _, s := range []string{"postinst", "prerm", "postrm"} {
				run(t, "sh", "-n", filepath.Join(scripts, s))
			}
			for name, want := range map[string]string{
				"lib/systemd/system/trailmark-agent.service":       "WatchdogSec=60",
				"usr/lib/sysusers.d/trailmark-agent.conf":          "u trailmark-agent",
				"lib/udev/rules.d/60-trailmark-agent.rules":        `GROUP="i2c"`,
				"usr/share/doc/trailmark-agent/agent.example.yaml": "gateway:",
				"usr/share/doc/trailmark-agent/copyright":          "Apache License",
			} {
				if text, err := os.ReadFile(filepath.Join(root, name)); err != nil || !bytes.Contains(text, []byte(want)) {
					t.Errorf("%s: %v, want it to say %s", name, err, want)
				}
			}
			needs(t, m.qemu)
			if help := run(t, m.qemu, agent, "--help"); !strings.Contains(help, "agent run") {
				t.Errorf("--help says\n%s", help)
			}
		})
	}
}

// TestUnit lets systemd judge the agent's unit.
func TestUnit(t *testing.T) {
	needs(t, "systemd-analyze")
	text, err := os.ReadFile("../deploy/agent/trailmark-agent.service")
	if err != nil {
		t.Fatal(err)
	}
	// The command must exist to be judged; where the package puts it, it does not yet.
	unit := filepath.Join(t.TempDir(), "trailmark-agent.service")
	text = bytes.Replace(text, []byte("/usr/bin/trailmark-agent"), []byte(filepath.Join(bin, "agent")), 1)
	if err := os.WriteFile(unit, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if said := run(t, "systemd-analyze", "verify", unit); strings.Contains(said, "trailmark-agent") {
		t.Errorf("systemd-analyze verify: %s", said)
	}
	// Of 10; 2.2 when it was written, without PrivateNetwork and PrivateDevices,
	// which an agent cannot have.
	run(t, "systemd-analyze", "security", "--offline=true", "--threshold=25", unit)
}

// TestPisDeliver runs the binaries of the packages under emulation until the
// ledger's receipts for their frames are verified.
func TestPisDeliver(t *testing.T) {
	needs(t, "make", "qemu-arm-static", "qemu-aarch64-static")
	if err := packaged(); err != nil {
		t.Fatal(err)
	}
	for _, m := range machines() {
		t.Run(m.deb, func(t *testing.T) {
			own := t.TempDir()
			for _, name := range []string{"gateway", "firmware-sim"} {
				if err := os.Symlink(filepath.Join(bin, name), filepath.Join(own, name)); err != nil {
					t.Fatal(err)
				}
			}
			binary, err := filepath.Abs(filepath.Join("../bin", m.dir, "agent"))
			if err != nil {
				t.Fatal(err)
			}
			script := fmt.Sprintf("#!/bin/sh\nexec %s %s \"$@\"\n", m.qemu, binary)
			if err := os.WriteFile(filepath.Join(own, "agent"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			s := startOn(t, own, stage.Options{}, "--zones", "pi=树莓派/Pi", "--offsets", "100", "--lead", "1s", "--stay", "1h")
			eventually(t, 60*time.Second, "receipts", func() bool { return readStatus(t, s, "pi").Receipted >= 3 })
		})
	}
}
