package e2e

import (
	"bytes"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"trailmark/e2e/stage"
	"trailmark/passport"
)

// gatewayRun runs a gateway command on the stage's folder.
func gatewayRun(t *testing.T, s *stage.Stage, name string, args ...string) string {
	t.Helper()
	out, err := s.Run(t.Context(), "gateway", append([]string{name, "--dir", s.Dir}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// lineOf is the line of a key in what gateway devices prints.
func lineOf(t *testing.T, s *stage.Stage, key string) string {
	t.Helper()
	for line := range strings.Lines(gatewayRun(t, s, "devices")) {
		if strings.HasPrefix(line, key) {
			return line
		}
	}
	return ""
}

// TestRevoked: a device whose key is taken back beside the running gateway gets no
// receipt any more, before and after a restart; others go on, and what it
// measured before still verifies.
func TestRevoked(t *testing.T) {
	s := startStage(t, "--lead", "1s", "--stay", "1h")
	victim, other := s.Zones[0].Zone, s.Zones[1].Zone
	item := s.World.Items[0].Link
	last := filepath.Join(t.TempDir(), "item.passport")
	verified := func() bool {
		code, data, err := s.Get(t.Context(), item, passport.MediaType)
		if err != nil || code != 200 || os.WriteFile(last, data, 0o600) != nil {
			return false
		}
		if out, err := s.Run(t.Context(), "anchor", "verify", "--trust", s.Trust, last); err != nil {
			t.Fatal(err, out)
		}
		return true
	}
	eventually(t, 60*time.Second, "a passport", verified)
	key := readStatus(t, s, victim).Key
	if line := lineOf(t, s, key); !strings.Contains(line, "in force") || !strings.Contains(line, "(simulated)") || !strings.Contains(line, victim) {
		t.Errorf("gateway devices: %q", line)
	}
	if out := gatewayRun(t, s, "revoke", "--device", key, "--why", "stolen"); !strings.Contains(out, "key "+key+" revoked from frame ") {
		t.Errorf("gateway revoke: %s", out)
	}
	revoked := func() bool { return strings.Contains(lineOf(t, s, key), "revoked from frame ") }
	eventually(t, 20*time.Second, "the revocation to be taken in", revoked)
	if line := lineOf(t, s, key); !strings.Contains(line, "(stolen)") {
		t.Errorf("gateway devices: %q", line)
	}
	silent := func() {
		t.Helper()
		before, others := readStatus(t, s, victim), readStatus(t, s, other).Receipted
		eventually(t, 60*time.Second, "the other device's receipts", func() bool { return readStatus(t, s, other).Receipted >= others+4 })
		after := readStatus(t, s, victim)
		if after.Receipted != before.Receipted {
			t.Errorf("the revoked device got receipts: %d became %d", before.Receipted, after.Receipted)
		}
		if after.Next <= before.Next {
			t.Errorf("the device stopped measuring at frame %d", after.Next)
		}
	}
	time.Sleep(2 * time.Second) // a receipt that was under way
	silent()
	if err := s.KillGateway(); err != nil {
		t.Fatal(err)
	}
	if err := s.StartGateway(t.Context()); err != nil {
		t.Fatal(err)
	}
	silent()
	eventually(t, 20*time.Second, "the passport, still", verified)
	if out, err := s.Run(t.Context(), "gateway", "revoke", "--dir", s.Dir, "--device", key); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second revocation: %s, %v", out, err)
	}

	// Its key was out all along: what it signed is void, and nothing rests on it.
	old, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	gatewayRun(t, s, "revoke", "--device", key, "--from-seq", "0")
	eventually(t, 30*time.Second, "a passport without it", func() bool {
		code, data, err := s.Get(t.Context(), item, passport.MediaType)
		switch {
		case err != nil || bytes.Equal(data, old):
			return false
		case code == 404:
			return true
		case os.WriteFile(last, data, 0o600) != nil:
			return false
		}
		out, err := s.Run(t.Context(), "anchor", "verify", "--trust", s.Trust, last)
		if err != nil {
			t.Fatal(err, out) // a gateway serves nothing that is refuted
		}
		return !strings.Contains(out, key[:12])
	})
}

// erasedChannel is what the test reads of a verdict.
type erasedChannel struct {
	Device  string
	Channel string
	Blocks  uint64
	Shown   uint64 `json:"shown_blocks"`
	Erased  uint64 `json:"erased_blocks"`
}

// TestErased: readings that the site erases leave every file of the gateway;
// passport and audit still verify and say so.
func TestErased(t *testing.T) {
	s := startStage(t, "--lead", "1s", "--stay", "1h")
	item := s.World.Items[0].Link
	first := func(address string, args ...string) (c erasedChannel) {
		t.Helper()
		code, data, err := s.Get(t.Context(), address, passport.MediaType)
		file := filepath.Join(t.TempDir(), "item.passport")
		if err != nil || code != 200 {
			return c
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := s.Run(t.Context(), "anchor", append(append([]string{"verify", "--trust", s.Trust, "--json"}, args...), file)...)
		if err != nil {
			t.Fatal(err, out)
		}
		var v struct {
			Legs []struct{ Channels []erasedChannel }
		}
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatal(err)
		}
		if len(v.Legs) > 0 && len(v.Legs[0].Channels) > 0 {
			c = v.Legs[0].Channels[0]
		}
		return c
	}
	var before erasedChannel
	eventually(t, 60*time.Second, "some blocks", func() bool { before = first(item); return before.Blocks >= 6 })

	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.Dir, "gateway", "store.db")+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	kid, err := hex.DecodeString(before.Device)
	if err != nil {
		t.Fatal(err)
	}
	var from, to int64
	if err := db.QueryRow(`SELECT MIN(statement.seq), MIN(statement.seq) + 3 FROM leaf JOIN trace ON leaf.trace = trace.id JOIN statement ON statement.idx = leaf.idx
		WHERE trace.kid = ? AND channel = ? AND leaf.t0 >= (SELECT MIN(first) FROM sighting WHERE kid = trace.kid)`, kid, before.Channel).Scan(&from, &to); err != nil {
		t.Fatal(err)
	}
	var seeds [][]byte // of these frames, and of one more
	for seq := from; seq <= to+1; seq++ {
		var extra []byte
		if err := db.QueryRow("SELECT extra FROM statement WHERE kid = ? AND seq = ?", kid, seq).Scan(&extra); err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, extra[3:35])
	}
	db.Close()

	frames := []string{"--device", before.Device, "--channel", before.Channel, "--why", "retention period over", "--frames", strconv.FormatInt(from, 10) + ".." + strconv.FormatInt(to, 10)}
	if out := gatewayRun(t, s, "erase", append(frames, "--dry-run")...); !strings.Contains(out, "in 4 frames would be erased") {
		t.Errorf("gateway erase --dry-run: %s", out)
	}
	if c := first(item+"?audit", "--audit"); c.Erased != 0 || c.Shown < 4 {
		t.Errorf("a dry run erased: %+v", c)
	}
	if out := gatewayRun(t, s, "erase", frames...); !strings.Contains(out, "in 4 frames signed") {
		t.Errorf("gateway erase: %s", out)
	}
	eventually(t, 30*time.Second, "a passport that says so", func() bool { return first(item).Erased == 4 })
	if c := first(item+"?audit", "--audit"); c.Erased != 4 || c.Shown+4 != c.Blocks || c.Blocks < before.Blocks {
		t.Errorf("audit: %+v", c)
	}
	if out := gatewayRun(t, s, "erase", frames...); !strings.Contains(out, "nothing of this is held") {
		t.Errorf("gateway erase again: %s", out)
	}
	for i, seed := range seeds {
		if held, want := holding(t, filepath.Join(s.Dir, "gateway"), seed), i == len(seeds)-1; (len(held) > 0) != want {
			t.Errorf("seed of frame %d is in %q", from+int64(i), held)
		}
	}
	if out, err := s.Run(t.Context(), "gateway", "fsck", "--dir", s.Dir); err != nil {
		t.Errorf("gateway fsck after the erasure: %v\n%s", err, out)
	}
}

// holding are the files below a folder that contain some bytes.
func holding(t *testing.T, dir string, want []byte) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil // what goes away under our eyes
		}
		if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, want) {
			out = append(out, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
