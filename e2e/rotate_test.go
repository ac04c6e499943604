package e2e

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trailmark/e2e/stage"
	"trailmark/passport"
)

// rotated is what the test reads of a verdict.
type rotated struct {
	Verified bool
	Withheld []any
	Devices  []struct{ Key string }
	Legs     []struct {
		Channels []struct {
			Device, Channel string
			Unmeasured      int64 `json:"unmeasured_ms"`
		}
	}
}

// unmeasured is the longest time that a channel of the item's leg lacks, in ms.
func (r rotated) unmeasured() (most int64) {
	for _, c := range r.Legs[0].Channels {
		most = max(most, c.Unmeasured)
	}
	return most
}

// TestRotate changes a device's key from file to file, again with a kill -9 in the
// middle, and into a TPM: every frame of every epoch is in the ledger, the journey
// goes through without a hole, and the keys before are gone.
func TestRotate(t *testing.T) {
	s := startStage(t, "--lead", "1s", "--stay", "1h")
	origin := s.Zones[0]
	dir := filepath.Join(s.Dir, "agent-"+origin.Zone)
	keys := []string{}
	serves := func(epoch uint64) {
		t.Helper()
		eventually(t, time.Minute, "receipts", func() bool {
			a := readStatus(t, s, origin.Zone)
			return a.Epoch == epoch && a.Receipted >= 5
		})
		keys = append(keys, readStatus(t, s, origin.Zone).Key)
	}
	rotate := func(epoch string, args ...string) {
		t.Helper()
		out, err := s.Run(t.Context(), "agent", append([]string{"rotate", "--dir", dir}, args...)...)
		t.Logf("agent rotate %s: %v\n%s", strings.Join(args, " "), err, out)
		if err != nil || !strings.Contains(out, "signs in epoch "+epoch+", and its first frame is in the ledger") {
			t.Fatal("no rotation")
		}
	}
	serves(0)
	rotate("1")
	serves(1)
	journey := func(keys int) (v rotated) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "item.passport")
		eventually(t, 30*time.Second, "a passport of every epoch", func() bool {
			code, data, err := s.Get(t.Context(), s.World.Items[0].Link+"?audit", passport.MediaType)
			if err != nil || code != 200 || os.WriteFile(file, data, 0o600) != nil {
				return false
			}
			out, err := s.Run(t.Context(), "anchor", "verify", "--trust", s.Trust, "--audit", "--json", file)
			if err != nil {
				t.Fatal(err, out)
			}
			v = rotated{}
			if err := json.Unmarshal([]byte(out), &v); err != nil {
				t.Fatal(err)
			}
			return len(v.Devices) == keys
		})
		if !v.Verified || len(v.Withheld) != 0 || len(v.Legs) != 1 || len(v.Legs[0].Channels) != len(origin.Probes) {
			t.Errorf("the journey does not go through: %+v", v)
		}
		return v
	}
	// A reading is due every 500 ms; later is a loaded machine.
	if n := journey(2).unmeasured(); n > 3000 {
		t.Errorf("%d ms were not measured", n)
	}

	// The device dies once the old key has signed its last frame. Whoever asked waits.
	asked := exec.CommandContext(t.Context(), filepath.Join(bin, "agent"), "rotate", "--dir", dir)
	var said bytes.Buffer
	asked.Stdout, asked.Stderr = &said, &said
	if err := asked.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); !readStatus(t, s, origin.Zone).HandedOver; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no hand-over")
		}
	}
	if err := s.Kill(stage.AgentName(origin)); err != nil {
		t.Fatal(err)
	}
	if a := readStatus(t, s, origin.Zone); a.Epoch != 1 {
		t.Errorf("killed in epoch %d, not in the middle", a.Epoch)
	}
	if err := s.StartAgent(origin, "not-used-again"); err != nil {
		t.Fatal(err)
	}
	if err := asked.Wait(); err != nil || !strings.Contains(said.String(), "signs in epoch 2") {
		t.Fatalf("%v\n%s", err, &said)
	}
	t.Logf("agent rotate, with a kill -9:\n%s", &said)
	serves(2)
	// What the dead agent had in memory is gone, seconds as with any other cut.
	if n := journey(3).unmeasured(); n > 20_000 {
		t.Errorf("%d ms were not measured", n)
	}

	want := []string{"key-2.pem", "outbox-1", "outbox-2"}
	if _, err := exec.LookPath("swtpm"); err != nil {
		t.Log("no swtpm, no rotation into a TPM: apt-get install swtpm")
	} else {
		rotate("3", "--key", "tpm:unix:"+newTPM(t).socket)
		serves(3)
		if err := s.Kill(stage.AgentName(origin)); err != nil {
			t.Fatal(err)
		}
		if err := s.StartAgent(origin, "not-used-again"); err != nil {
			t.Fatal(err)
		}
		next := readStatus(t, s, origin.Zone).Next
		eventually(t, time.Minute, "receipts after a restart", func() bool { return readStatus(t, s, origin.Zone).Receipted > next })
		journey(4)
		want = []string{"key-3.tpm.pem", "outbox-2", "outbox-3"}
	}
	for _, pattern := range []string{"key*.pem", "outbox*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if !slices.Contains(want, filepath.Base(f)) {
				t.Errorf("%s is still there", f)
			}
		}
	}
	card := filepath.Join(t.TempDir(), "card.cbor")
	if out, err := s.Run(t.Context(), "agent", "export", "--dir", dir, "-o", card); err != nil || !strings.Contains(out, "epoch ") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := s.Run(t.Context(), "anchor", "verify", "--trust", s.Trust, "--card", card); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if a := readStatus(t, s, origin.Zone); a.Alarm {
		t.Error("alarm")
	}
	whole(t, s, keys)
}

// whole holds that the frames of keys, oldest first, have no hole and are all in
// the ledger, and that nobody signed a number twice.
func whole(t *testing.T, s *stage.Stage, keys []string) {
	t.Helper()
	f, err := s.Figures(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range f.Counters {
		if n != 0 && slices.Contains([]string{"fork", "wrong-epoch", "wrong-prev", "bad-trace", "unknown-key"}, name) {
			t.Errorf("the gateway counts %d times %s", n, name)
		}
	}
	if out, err := s.Run(t.Context(), "gateway", "fsck", "--dir", s.Dir); err != nil {
		t.Errorf("gateway fsck: %v\n%s", err, out)
	}
	last := readStatus(t, s, s.Zones[0].Zone)
	entries := ledgerEntries(t, s)
	s.Stop()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.Dir, "gateway", "store.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for epoch, key := range keys {
		kid, err := hex.DecodeString(key)
		if err != nil {
			t.Fatal(err)
		}
		var count, next, of int
		if err := db.QueryRow("SELECT COUNT(*), MAX(seq) + 1, MAX(epoch) FROM statement WHERE kid = ? AND kind = 'frame'", kid).Scan(&count, &next, &of); err != nil {
			t.Fatal(err)
		}
		if count != next || of != epoch || key == last.Key && uint64(count) < last.Receipted {
			t.Errorf("key %.8s: %d frames below seq %d in epoch %d, want epoch %d", key, count, next, of, epoch)
		}
		rows, err := db.Query("SELECT idx, data FROM statement WHERE kid = ? AND kind = 'frame'", kid)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var idx int
			var data []byte
			if err := rows.Scan(&idx, &data); err != nil {
				t.Fatal(err)
			}
			if idx < len(entries) && entries[idx] != sha256.Sum256(data) {
				t.Errorf("a frame of %.8s is not the ledger's entry %d", key, idx)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		t.Logf("epoch %d, key %.8s: %d frames", epoch, key, count)
	}
}
