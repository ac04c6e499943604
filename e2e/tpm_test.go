package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/e2e/stage"
	"trailmark/passport"
)

// A tpm is one in a process of its own; its state outlives that.
type tpm struct {
	t      *testing.T
	dir    string
	socket string
	cmd    *exec.Cmd
}

// newTPM starts a TPM that ends with the test.
func newTPM(t *testing.T) *tpm {
	t.Helper()
	dir, err := os.MkdirTemp("", "tpm-") // a socket's path may have 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &tpm{t: t, dir: dir, socket: filepath.Join(dir, "sock")}
	c.start()
	t.Cleanup(c.stop)
	return c
}

func (c *tpm) start() {
	c.t.Helper()
	c.cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+c.dir, "--server", "type=unixio,path="+c.socket, "--flags", "not-need-init,startup-clear")
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, 5*time.Second, "the TPM", func() bool {
		conn, err := net.Dial("unix", c.socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (c *tpm) stop() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	_ = os.Remove(c.socket)
}

// TestTPMDevice: a device whose key is in a TPM enrols, and what it signed is in a
// passport that verifies; also after its TPM, and then the device, were restarted.
func TestTPMDevice(t *testing.T) {
	if _, err := exec.LookPath("swtpm"); err != nil {
		t.Skip("no swtpm: apt-get install swtpm")
	}
	tpm := newTPM(t)
	s := startOn(t, bin, stage.Options{Keys: map[string]string{"origin": "tpm:unix:" + tpm.socket}}, "--lead", "1s", "--stay", "1h")
	receipted := func(n uint64) func() bool {
		return func() bool { return readStatus(t, s, "origin").Receipted >= n }
	}
	eventually(t, 40*time.Second, "receipts for what the TPM signed", receipted(2))
	tpm.stop()
	tpm.start()
	eventually(t, 40*time.Second, "receipts after the TPM's restart", receipted(readStatus(t, s, "origin").Next+1))
	origin := s.Zones[0]
	if err := s.Kill(stage.AgentName(origin)); err != nil {
		t.Fatal(err)
	}
	if err := s.StartAgent(origin, "not-used-again"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 40*time.Second, "receipts after the device's restart", receipted(readStatus(t, s, "origin").Next+1))
	if _, err := os.Stat(filepath.Join(s.Dir, "agent-origin", "key.pem")); !os.IsNotExist(err) {
		t.Errorf("a key in a file: %v", err)
	}

	file := filepath.Join(t.TempDir(), "item.passport")
	eventually(t, 30*time.Second, "a passport", func() bool {
		code, data, err := s.Get(t.Context(), s.World.Items[0].Link, passport.MediaType)
		return err == nil && code == 200 && os.WriteFile(file, data, 0o600) == nil
	})
	out, err := s.Run(t.Context(), "anchor", "verify", "--trust", s.Trust, file)
	if err != nil || !strings.Contains(out, readStatus(t, s, "origin").Key[:12]) {
		t.Errorf("%v\n%s", err, out)
	}
}
