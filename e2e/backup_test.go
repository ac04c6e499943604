package e2e

import (
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/e2e/stage"
)

// settled waits until every agent has receipts for at least n frames beyond those
// that it had, and gives the numbers.
func settled(t *testing.T, s *stage.Stage, n uint64) map[string]uint64 {
	t.Helper()
	from := map[string]uint64{}
	for _, z := range s.Zones {
		from[z.Zone] = readStatus(t, s, z.Zone).Receipted
	}
	eventually(t, 60*time.Second, "receipts", func() bool {
		for _, z := range s.Zones {
			if readStatus(t, s, z.Zone).Receipted < from[z.Zone]+n {
				return false
			}
		}
		return true
	})
	out := map[string]uint64{}
	for _, z := range s.Zones {
		out[z.Zone] = readStatus(t, s, z.Zone).Receipted
	}
	return out
}

// loseStore removes the gateway's database.
func loseStore(t *testing.T, s *stage.Stage) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(s.Dir, "gateway", "store.db"+suffix)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

// storedFrames are the ledger indexes of the stored frames, by device and number.
func storedFrames(t *testing.T, s *stage.Stage) map[string]int64 {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.Dir, "gateway", "store.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT hex(kid), seq, idx, hex(id) FROM statement WHERE kind = 'frame'")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int64{}
	for rows.Next() {
		var kid, id string
		var seq, idx int64
		if err := rows.Scan(&kid, &seq, &idx, &id); err != nil {
			t.Fatal(err)
		}
		out[fmt.Sprintf("%s %d %s", kid, seq, id)] = idx
	}
	return out
}

// TestStoreIsFedAgain backs up a running gateway, lets it go on, kills it and
// takes its database away: from the backup, the ledger and what the agents still
// hold every receipted frame comes back to its place.
func TestStoreIsFedAgain(t *testing.T) {
	s := startStage(t, "--lead", "2s", "--stay", "1h")
	settled(t, s, 3)
	to := filepath.Join(t.TempDir(), "backup")
	out, err := s.Run(t.Context(), "gateway", "backup", "--dir", s.Dir, "--to", to)
	if err != nil || !strings.Contains(out, "0 findings") {
		t.Fatal(out, err)
	}
	if _, err := s.Run(t.Context(), "gateway", "product", "--dir", s.Dir, "--gtin", "09521234543213", "--name", "en=Another", "--band", "2..9"); err != nil {
		t.Fatal(err)
	}
	receipted := settled(t, s, 12)
	if err := s.KillGateway(); err != nil {
		t.Fatal(err)
	}
	before := storedFrames(t, s)
	loseStore(t, s)
	if out, err := s.Run(t.Context(), "gateway", "restore", "--from", to, "--dir", s.Dir, "--store-only"); err != nil {
		t.Fatal(out, err)
	}
	restored := storedFrames(t, s)
	started := time.Now()
	if err := s.StartGateway(t.Context()); err != nil { // it says that it is ready when it is whole
		t.Fatal(err)
	}
	took := time.Since(started)
	after := storedFrames(t, s)
	kids := map[string]string{}
	for _, z := range s.Zones {
		a := readStatus(t, s, z.Zone)
		kids[z.Zone] = strings.ToUpper(a.Key)
		if a.Alarm {
			t.Errorf("%s raised the alarm", z.Zone)
		}
	}
	lost, held := 0, 0
	for frame, idx := range before {
		for zone, kid := range kids {
			var seq uint64
			if _, err := fmt.Sscan(strings.Fields(frame)[1], &seq); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(frame, kid) || seq >= receipted[zone] {
				continue
			}
			held++
			if got, ok := after[frame]; !ok || got != idx {
				lost++
				t.Errorf("receipted frame %s was at %d, is at %d (%v)", frame, idx, got, ok)
			}
		}
	}
	settled(t, s, 2) // and the gateway goes on
	s.Stop()
	if out, err := s.Run(t.Context(), "gateway", "fsck", "--dir", s.Dir); err != nil {
		t.Errorf("%s %v", out, err)
	}
	t.Logf("%d frames in the backup, %d before the loss, fed again in %v; of %d receipted %d lost", len(restored), len(before), took, held, lost)
}

// TestOlderFolderRefuses puts a whole folder back that its devices have outgrown:
// the gateway must not make a second history.
func TestOlderFolderRefuses(t *testing.T) {
	s := startStage(t, "--lead", "2s", "--stay", "1h")
	settled(t, s, 2)
	to, old := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "old")
	if out, err := s.Run(t.Context(), "gateway", "backup", "--dir", s.Dir, "--to", to, "--with-keys"); err != nil {
		t.Fatal(out, err)
	}
	if _, err := os.Stat(filepath.Join(to, "authority", "authority.pem")); err == nil {
		t.Error("the authority's key is in the backup")
	}
	settled(t, s, 5)
	if err := s.KillGateway(); err != nil {
		t.Fatal(err)
	}
	if out, err := s.Run(t.Context(), "gateway", "restore", "--from", to, "--dir", s.Dir); err == nil {
		t.Fatal("restored over a folder that is not empty: ", out)
	}
	if out, err := s.Run(t.Context(), "gateway", "restore", "--from", to, "--dir", old); err != nil {
		t.Fatal(out, err)
	}
	checkpoint := filepath.Join(old, "gateway", "ledger", "checkpoint")
	signed, err := os.ReadFile(checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + s.HTTP
	answered := make(chan string, 1)
	go func() { // what a browser gets meanwhile
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			resp, err := http.Get(url)
			if err != nil {
				continue
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			answered <- fmt.Sprint(resp.StatusCode, " ", string(body))
			return
		}
		answered <- "nothing"
	}()
	out, err := s.Run(t.Context(), "gateway", "run", "--dir", old, "--http", s.HTTP, "--est", s.EST, "--mqtt", s.MQTT)
	if err == nil || !strings.Contains(err.Error(), "a device has verified more of the ledger than there is") {
		t.Errorf("%s %v", out, err)
	}
	if page := <-answered; !strings.HasPrefix(page, "503") || !strings.Contains(page, "was not heard yet") {
		t.Errorf("pages said %q", page)
	}
	if now, err := os.ReadFile(checkpoint); err != nil || string(now) != string(signed) {
		t.Errorf("it signed: %s (%v)", now, err)
	}
}
