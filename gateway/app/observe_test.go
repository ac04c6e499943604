package app

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"trailmark/gateway/internal/otlp/otlptest"
)

// TestObserve: a whole gateway gives its figures on their own listener, and sends
// a trace of each request that names the address's pattern and no item.
func TestObserve(t *testing.T) {
	r := otlptest.New(t)
	var figures string
	g := start(t, func(c *Config) { c.Metrics, c.OTLP = "127.0.0.1:0", r.URL }, func(r Ready) { figures = r.Metrics })
	if code := g.get("/01/09521234543213/21/secret", nil); code != 404 {
		t.Fatal(code)
	}
	if code := g.get("/nowhere", nil); code != 404 {
		t.Fatal(code)
	}
	span, _ := r.Await(t, 15*time.Second, func(s *tracev1.Span) bool { return s.Name == "GET /01/{gtin}/21/{serial}" })
	if text := span.String(); span.Kind != tracev1.Span_SPAN_KIND_SERVER || strings.Contains(text, "secret") || !strings.Contains(text, "404") {
		t.Errorf("%s", text)
	}
	if code := g.get("/metrics", nil); code != 404 {
		t.Errorf("figures among the pages: %d", code)
	}
	resp, err := http.Get(figures)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s %v", resp.Status, err)
	}
	for _, want := range []string{`trailmark_gateway_refusals_total{reason="bad-signature"} 0`, `trailmark_gateway_messages_total{outcome="accepted"} 0`, "trailmark_gateway_broker_connections 0",
		`trailmark_gateway_http_seconds_count{code="404",route="GET /01/{gtin}/21/{serial}"} 1`, `http_seconds_count{code="404",route="none"}`, `trailmark_gateway_stored_bytes{part="database"} `} {
		if !strings.Contains(string(body), want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	if strings.Contains(string(body), "trailmark_gateway_statements 0") || strings.Contains(string(body), `part="database"} 0`) {
		t.Errorf("a gateway with founding identities has none: %s", body)
	}
}

func TestFiguresStayOnThisMachine(t *testing.T) {
	conf := Default()
	conf.HTTP, conf.EST, conf.Metrics = "127.0.0.1:0", "127.0.0.1:0", "0.0.0.0:0"
	conf.Dir = t.TempDir() + "/o"
	if err := Init(conf.Dir, DefaultOrganisation(), false, time.Now, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), conf, slog.New(slog.DiscardHandler), func(Ready) {}); err == nil || !strings.Contains(err.Error(), "not on loopback") {
		t.Errorf("%v", err)
	}
	conf.Metrics, conf.OTLP = "", "collector:4318"
	if err := Run(t.Context(), conf, slog.New(slog.DiscardHandler), func(Ready) {}); err == nil || !strings.Contains(err.Error(), "hint: as http://") {
		t.Errorf("%v", err)
	}
}
