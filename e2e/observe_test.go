package e2e

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"trailmark/e2e/stage"
)

// TestObserved: a collector of traces gets whole ways of real frames, figures count
// them, and the log is JSON.
func TestObserved(t *testing.T) {
	var mu sync.Mutex
	ways := map[string]map[string]bool{} // names of spans by trace
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m collector.ExportTraceServiceRequest
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = proto.Unmarshal(body, &m)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, rs := range m.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					id := string(s.TraceId)
					if ways[id] == nil {
						ways[id] = map[string]bool{}
					}
					ways[id][s.Name] = true
				}
			}
		}
	}))
	defer receiver.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	figures := ln.Addr().String()
	ln.Close()
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s := startOn(t, bin, stage.Options{Gateway: []string{"--otlp", receiver.URL, "--metrics", figures, "--log-format", "json", "--log-level", "debug"}, Log: log})
	eventually(t, 60*time.Second, "the whole way of a frame", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, w := range ways {
			if w["message"] && w["verify"] && w["store"] && w["ledger"] && w["receipt"] {
				return true
			}
		}
		return false
	})
	value := func(name string) float64 {
		t.Helper()
		r, err := http.Get("http://" + figures + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindSubmatch(body)
		if m == nil {
			t.Fatalf("no %s in\n%s", name, body)
		}
		v, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, name := range []string{`trailmark_gateway_messages_total{outcome="accepted"}`, "trailmark_gateway_receipt_seconds_count", "trailmark_gateway_broker_connections", "trailmark_gateway_ledger_entries"} {
		if v := value(name); v < 1 {
			t.Errorf("%s is %v", name, v)
		}
	}
	if v := value(`trailmark_gateway_refusals_total{reason="bad-signature"}`); v != 0 {
		t.Errorf("%v bad signatures", v)
	}
	f, err := s.Figures(t.Context())
	if err != nil || f.Statements == 0 {
		t.Errorf("%+v, %v", f, err)
	}
	data, err := os.ReadFile(log.Name())
	if err != nil {
		t.Fatal(err)
	}
	entries := 0
	for line := range strings.Lines(string(data)) {
		if text, ours := strings.CutPrefix(line, "gateway: "); ours {
			var entry struct{ Time, Level, Msg string }
			if err := json.Unmarshal([]byte(text), &entry); err != nil || entry.Time == "" || entry.Level == "" || entry.Msg == "" {
				t.Errorf("no entry: %v: %s", err, text)
			}
			entries++
		}
	}
	if entries == 0 {
		t.Errorf("the gateway logged nothing:\n%s", data)
	}
}
