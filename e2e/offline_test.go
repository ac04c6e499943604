package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trailmark/e2e/budget"
	"trailmark/e2e/stage"
)

// What the agent promises after a time without a gateway.
const (
	catchUpRate = 2000             // readings a second, at least
	liveReceipt = 60 * time.Second // from the seal of another device's frame to its receipt, 95 of 100
	liveSeal    = 5 * time.Second
)

// TestOfflineMonth gives one agent a month without a gateway, and lets it catch
// up while it goes on measuring, and while another one does its daily work.
func TestOfflineMonth(t *testing.T) {
	days := 2
	if long() {
		days = 30
	}
	samples := days * 24 * 3600 / 10 * budgetProbes
	s := startBudget(t, filepath.Join(t.TempDir(), "data"), liveSeal, "--zones", "dock=月台/Dock,gate=大门/Gate")
	dock, gate := s.Zones[0], s.Zones[1]
	data := filepath.Join(s.Dir, "agent-"+dock.Zone)
	eventually(t, 30*time.Second, "the enrolment", func() bool {
		_, err := os.Stat(filepath.Join(data, "enrolment.json"))
		return err == nil
	})
	if err := s.Kill(stage.AgentName(dock)); err != nil {
		t.Fatal(err)
	}
	backlog(t, data, days)
	eventually(t, 30*time.Second, "the other agent's receipts", func() bool { return readStatus(t, s, gate.Zone).Receipted >= 2 })

	restart := time.Now()
	if err := s.StartAgent(dock, "not-used-again"); err != nil {
		t.Fatal(err)
	}
	w := watch(t, s, dock.Zone, gate.Zone)
	frames := uint64(days*24*60 - 1)
	eventually(t, time.Minute, "the agent to read its card", func() bool { return readStatus(t, s, dock.Zone).Next >= frames })
	opened, err := budget.Of(process(t, s, dock.Zone))
	if err != nil {
		t.Fatal(err)
	}
	// Longer than promised, so that it is the figure that fails.
	patience := time.Duration((1 + slack()) * float64(samples) / catchUpRate * float64(time.Second))
	eventually(t, patience, "the backlog's receipts", func() bool { return readStatus(t, s, dock.Zone).Receipted >= frames })
	took := time.Since(restart)
	eventually(t, time.Minute, "the newest receipts", func() bool {
		a := readStatus(t, s, dock.Zone)
		return a.Receipted+1 >= a.Next
	})
	all := time.Since(restart)
	own, other := w()
	u, err := budget.Of(process(t, s, dock.Zone))
	if err != nil {
		t.Fatal(err)
	}

	db, kid := openStore(t, s, dock.Zone)
	var stored, newest uint64
	if err := db.QueryRow("SELECT COUNT(*), MAX(seq) FROM statement WHERE kid = ? AND kind = 'frame'", kid).Scan(&stored, &newest); err != nil {
		t.Fatal(err)
	}
	var readings int
	if err := db.QueryRow("SELECT SUM(readings) FROM leaf JOIN trace ON leaf.trace = trace.id WHERE trace.kid = ? AND t1 < ?",
		kid, restart.UnixMilli()).Scan(&readings); err != nil {
		t.Fatal(err)
	}
	rate := float64(readings) / took.Seconds()
	pauses, receipts := own.pauses(), other.receipts()
	if len(pauses) == 0 || len(receipts) == 0 {
		t.Fatalf("nothing live was seen: %d pauses, %d receipts", len(pauses), len(receipts))
	}
	t.Logf("%d days offline: %d frames, %d readings in the ledger after %v: %.0f readings/s, %.1f frames/s; with the frames sealed meanwhile after %v",
		days, frames+1, readings, took.Round(time.Second), rate, float64(frames)/took.Seconds(), all.Round(time.Second))
	t.Logf("its RSS was at most %.1f MB after reading the card, %.1f MB in all; it took %v of CPU", mb(opened.Peak), mb(u.Peak), u.CPU)
	t.Logf("meanwhile it sealed %d frames, at most %v apart; another device's %d frames got their receipts within %v (p50), %v (p95), %v (all)",
		len(pauses), slices.Max(pauses).Round(100*time.Millisecond), len(receipts), percentile(receipts, 50), percentile(receipts, 95), percentile(receipts, 100))
	if stored != newest+1 {
		t.Errorf("%d frames stored, the newest is %d", stored, newest)
	}
	// Each probe is read at the start of the time, and perhaps at its very end.
	if readings < samples || readings > samples+budgetProbes {
		t.Errorf("%d readings stored, want %d", readings, samples)
	}
	if rate*slack() < catchUpRate {
		t.Errorf("%.0f readings/s, want at least %.0f", rate, catchUpRate/slack())
	}
	if limit := slack() * budgetRSS; float64(u.Peak) > limit {
		t.Errorf("RSS of %.1f MB, want at most %.1f", mb(u.Peak), limit/1e6)
	}
	if worst := slices.Max(pauses); worst > 2*liveSeal {
		t.Errorf("no frame sealed for %v, want one every %v", worst, liveSeal)
	}
	if got := percentile(receipts, 95); got > liveReceipt {
		t.Errorf("a live frame's receipt after %v (p95), want at most %v", got, liveReceipt)
	}
}

// backlog fills the data folder of an enrolled agent as days without a gateway
// would have.
func backlog(t *testing.T, data string, days int) {
	t.Helper()
	test := filepath.Join(t.TempDir(), "outbox.test")
	for _, args := range [][]string{
		{"go", "test", "-c", "-o", test, "./agent/internal/outbox"},
		{test, "-test.run=^TestOffline$", "-test.v", "-offline.data", data, "-offline.days", fmt.Sprint(days)},
	} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir, cmd.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		if err != nil || args[0] == test && !strings.Contains(string(out), "--- PASS: TestOffline") {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
}

// progress is what one agent's status said, and when.
type progress struct {
	at              []time.Time
	next, receipted []uint64
}

// watch follows agents until the function it returns is called. An agent says
// what is new at most once a second, so each time is up to a second late.
func watch(t *testing.T, s *stage.Stage, zones ...string) func() (own, other progress) {
	t.Helper()
	seen := make([]progress, len(zones))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
			for i, zone := range zones {
				a := readStatus(t, s, zone)
				if p := &seen[i]; len(p.next) == 0 || p.next[len(p.next)-1] != a.Next || p.receipted[len(p.next)-1] != a.Receipted {
					p.at, p.next, p.receipted = append(p.at, time.Now()), append(p.next, a.Next), append(p.receipted, a.Receipted)
				}
			}
		}
	}()
	return func() (own, other progress) {
		close(stop)
		<-done
		return seen[0], seen[1]
	}
}

// pauses are the times between two frames.
func (p progress) pauses() (out []time.Duration) {
	last := 0
	for i := range p.next {
		if i > 0 && p.next[i] > p.next[last] {
			if last > 0 { // before the first new frame the agent was starting
				out = append(out, p.at[i].Sub(p.at[last]))
			}
			last = i
		}
	}
	return out
}

// receipts are the times from a frame's seal to its receipt.
func (p progress) receipts() (out []time.Duration) {
	for i := range p.next {
		if i == 0 || p.next[i] == p.next[i-1] {
			continue
		}
		for j := i; j < len(p.next); j++ {
			if p.receipted[j] >= p.next[i] {
				out = append(out, p.at[j].Sub(p.at[i]))
				break
			}
		}
	}
	return out
}

func percentile(d []time.Duration, p int) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[min(len(d)*p/100, len(d)-1)].Round(100 * time.Millisecond)
}
