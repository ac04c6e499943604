package e2e

import (
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"trailmark/e2e/budget"
	"trailmark/e2e/stage"
	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// What the agent promises a small device: eight probes every 10 s, a frame every
// minute, and a network reader that reads 300 tags a second.
const (
	budgetProbes = 8
	budgetReads  = 300
	budgetRSS    = 24e6 // bytes
	budgetCPU    = 0.03 // of one core
	budgetCard   = 40e6 // bytes a day
)

// long says that there is time to measure: make test-long.
func long() bool { return os.Getenv("TRAILMARK_LONG") != "" }

// slack multiplies what is promised in short runs, which share the machine with
// other tests.
func slack() float64 {
	if long() {
		return 1
	}
	return 5
}

// startBudget starts a gateway, and an agent with eight probes per zone.
func startBudget(t *testing.T, dir string, seal time.Duration, sim ...string) *stage.Stage {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		log.Close()
		if data, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("end of the logs:\n%s", data[max(0, len(data)-8000):])
		}
	})
	s, err := stage.Start(t.Context(), stage.Options{Bin: bin, Dir: dir, HTTP: "127.0.0.1:0", EST: "127.0.0.1:0", MQTT: "127.0.0.1:0",
		Every: 10 * time.Second, Seal: seal, Anchor: time.Minute, Log: log,
		Sim: append([]string{"--replay", "none", "--probes", "8", "--lead", "0s", "--stay", "48h", "--door", "0s", "--miss", "0"}, sim...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// process is the running agent of a zone.
func process(t *testing.T, s *stage.Stage, zone string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.Dir, "agent-"+zone, "status.json"))
	if err != nil {
		t.Fatal(err)
	}
	var a struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal(data, &a); err != nil {
		t.Fatal(err)
	}
	return a.PID
}

// TestAgentBudget measures the running agent. The rate of a day is the rate of
// the window: 5 minutes, or 15 s with frames that come every 5 s.
func TestAgentBudget(t *testing.T) {
	window, seal := 15*time.Second, 5*time.Second
	if long() {
		window, seal = 5*time.Minute, time.Minute
	}
	dir := filepath.Join(t.TempDir(), "data")
	card, err := budget.Mount(filepath.Join(t.TempDir(), "card"), filepath.Join(dir, "agent-dock"), 256<<20)
	if err != nil && !errors.Is(err, budget.ErrNoCard) {
		t.Fatal(err)
	} else if err != nil {
		t.Log(err)
	} else {
		t.Cleanup(func() {
			if err := card.Unmount(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Setenv("RUNTIME_DIRECTORY", t.TempDir()) // as systemd does: what is no evidence goes there
	// 74 items and their pallet, four rounds a second.
	s := startBudget(t, dir, seal, "--zones", "dock=月台/Dock", "--items", "74")
	zone := s.Zones[0].Zone
	// The first frame, its receipt and the new plan are behind the agent.
	eventually(t, 2*seal+30*time.Second, "first receipts", func() bool { return readStatus(t, s, zone).Receipted >= 2 })
	use := func() (budget.Usage, int64) {
		u, err := budget.Of(process(t, s, zone))
		if err != nil {
			t.Fatal(err)
		}
		var n int64
		if card != nil {
			if n, err = card.Written(); err != nil {
				t.Fatal(err)
			}
		}
		return u, n
	}
	first, firstCard := use()
	firstFrame := readStatus(t, s, zone).Receipted
	time.Sleep(window)
	last, lastCard := use()
	lastFrame := readStatus(t, s, zone).Receipted
	r := last.Since(first)
	day := 24 * time.Hour.Seconds()
	wear := float64(lastCard-firstCard) / r.Over.Seconds() * day
	load := signedLoad(t, s, zone, firstFrame, lastFrame)
	t.Logf("over %v: RSS %.1f MB (at most %.1f), %.2f %% of one core, %s; a day at this rate: %.1f MB dirtied, %.1f MB on the card's device",
		r.Over.Round(time.Second), mb(last.RSS), mb(last.Peak), 100*r.CPU, load, r.Dirtied*day/1e6, wear/1e6)
	if load.reads < 0.95*budgetReads || load.readings < 0.95*budgetProbes/10 {
		t.Errorf("the load was %s, want %d reads/s and %d probes every 10 s", load, budgetReads, budgetProbes)
	}
	if limit := slack() * budgetRSS; float64(last.Peak) > limit {
		t.Errorf("RSS of %.1f MB, want at most %.1f", mb(last.Peak), limit/1e6)
	}
	if limit := slack() * budgetCPU; r.CPU > limit {
		t.Errorf("%.2f %% of one core, want at most %.2f", 100*r.CPU, 100*limit)
	}
	if card != nil && long() && wear > budgetCard {
		t.Errorf("%.1f MB a day on the card, want at most %.1f", wear/1e6, budgetCard/1e6)
	}
}

// load is what frames tell of, per second.
type load struct {
	frames          uint64
	bytes           int // of a message, on average
	reads, readings float64
}

func (l load) String() string {
	return fmt.Sprintf("%d frames of %d bytes, %.0f reads/s, %.2f readings/s", l.frames, l.bytes, l.reads, l.readings)
}

// signedLoad reads what frames from <= seq < to of a zone's agent say, from the
// gateway's store.
func signedLoad(t *testing.T, s *stage.Stage, zone string, from, to uint64) load {
	t.Helper()
	if from == 0 || from >= to {
		t.Fatalf("no frames in [%d, %d)", from, to)
	}
	db, kid := openStore(t, s, zone)
	l := load{frames: to - from}
	var began, ended int64
	for seq := from - 1; seq < to; seq++ {
		var data, extra []byte
		if err := db.QueryRow("SELECT data, extra FROM statement WHERE kid = ? AND seq = ?", kid, int64(seq)).Scan(&data, &extra); err != nil {
			t.Fatalf("frame %d: %v", seq, err)
		}
		var x struct {
			_      struct{} `cbor:",toarray"`
			Seed   [32]byte
			Bodies []statement.WireBody
		}
		if err := dcbor.Unmarshal(extra, &x); err != nil {
			t.Fatal(err)
		}
		up := dcbor.MustMarshal(statement.Up{Version: 1, Statement: data, Seed: x.Seed, Bodies: x.Bodies})
		d, err := statement.ParseUp(up)
		if err != nil {
			t.Fatal(err)
		}
		if ended = d.Frame.Clock.Boottime; seq == from-1 {
			began = ended
			continue
		}
		l.bytes += len(up)
		for _, v := range d.Contents {
			switch v := v.(type) {
			case *statement.Block:
				l.readings += float64(len(v.Values))
			case *statement.Sighting:
				l.reads += float64(v.Reads)
			}
		}
	}
	seconds := time.Duration(ended - began).Seconds()
	l.bytes, l.reads, l.readings = l.bytes/int(l.frames), l.reads/seconds, l.readings/seconds
	return l
}

// openStore opens the gateway's database beside it, and gives the key id of a
// zone's agent.
func openStore(t *testing.T, s *stage.Stage, zone string) (*sql.DB, []byte) {
	t.Helper()
	kid, err := hex.DecodeString(readStatus(t, s, zone).Key)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.Dir, "gateway", "store.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db, kid
}

func mb(n int64) float64 { return float64(n) / 1e6 }
