package otlp

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestEndpoint(t *testing.T) {
	for in, want := range map[string]string{
		"http://127.0.0.1:4318":             "http://127.0.0.1:4318/v1/traces",
		"https://otel.example/":             "https://otel.example/v1/traces",
		"http://127.0.0.1:4318/otlp/traces": "http://127.0.0.1:4318/otlp/traces",
		"127.0.0.1:4318":                    "", "ftp://x": "", "": "", "http://": "",
	} {
		if got, err := Endpoint(in); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
}

// TestNobodyThere: a collector that is gone is told of, and holds nothing up.
func TestNobodyThere(t *testing.T) {
	var log bytes.Buffer
	p, err := Start(t.Context(), "http://127.0.0.1:1", "test", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, span := p.Tracer("t").Start(t.Context(), "s")
	span.End()
	if took := time.Since(began); took > 100*time.Millisecond {
		t.Errorf("a span took %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := p.Shutdown(ctx); err == nil && !strings.Contains(log.String(), "traces not sent") {
		t.Errorf("nobody was told: %s", &log)
	}
}
