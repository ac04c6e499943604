package metrics

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func scrape(t *testing.T, m *Metrics) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Code, w.Body.String()
}

func full() State {
	return State{Outcomes: map[string]uint64{"accepted": 7}, Refusals: map[string]uint64{"fork": 1}, Forks: 1, Statements: 9, Entries: 9, Checkpoint: 8, Anchored: 5,
		AnchoredAt: time.UnixMilli(1_790_000_000_500), AnchorFails: true, Connections: 3, Bytes: map[string]int64{"database": 4096}, Alarms: map[string]int{"open": 2}}
}

func TestFigures(t *testing.T) {
	m := New(func(context.Context) (State, error) { return full(), nil }, slog.New(slog.DiscardHandler))
	m.Receipted(1500 * time.Millisecond)
	m.Request("GET /01/{gtin}", 404, 3*time.Millisecond)
	code, body := scrape(t, m)
	for _, want := range []string{`trailmark_gateway_messages_total{outcome="accepted"} 7`, `refusals_total{reason="fork"} 1`, "ledger_entries 9", "ledger_checkpoint_entries 8",
		"anchored_entries 5", "anchor_lag_entries 4", "anchored_timestamp_seconds 1.7900000005e+09", "anchor_failing 1", "broker_connections 3", `stored_bytes{part="database"} 4096`,
		`alarms{state="open"} 2`, `receipt_seconds_bucket{le="2"} 1`, `receipt_seconds_bucket{le="1"} 0`, `http_seconds_count{code="404",route="GET /01/{gtin}"} 1`, "go_goroutines ", "process_resident_memory_bytes "} {
		if !strings.Contains(body, want) {
			t.Errorf("%d: no %q", code, want)
		}
	}
}

// TestUnknownIsNotZero: a store that does not answer is an error, and not a
// gateway without entries.
func TestUnknownIsNotZero(t *testing.T) {
	m := New(func(context.Context) (State, error) { return State{}, errors.New("locked") }, slog.New(slog.DiscardHandler))
	if code, body := scrape(t, m); code != 500 || strings.Contains(body, "ledger_entries 0") {
		t.Errorf("%d %s", code, body)
	}
}

// TestNamesAreDocumented: the manual's table has each figure, and no other.
func TestNamesAreDocumented(t *testing.T) {
	m := New(func(context.Context) (State, error) { return full(), nil }, slog.New(slog.DiscardHandler))
	m.Receipted(time.Second)
	m.Request("GET /", 200, time.Second)
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), prefix) {
			got = append(got, f.GetName())
		}
	}
	manual, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, match := range regexp.MustCompile("(?m)^\\| `("+prefix+"[a-z_]+)").FindAllSubmatch(manual, -1) {
		want = append(want, string(match[1]))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("served    %v\ndocumented %v", got, want)
	}
}
