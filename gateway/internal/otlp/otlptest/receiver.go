// Package otlptest is an OpenTelemetry collector for tests: it takes OTLP/HTTP with
// protobuf bodies and keeps the spans.
package otlptest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A Receiver takes traces at URL.
type Receiver struct {
	URL string

	mu    sync.Mutex
	spans []*tracev1.Span // guarded by mu
}

// New starts a Receiver, which ends with the test.
func New(t testing.TB) *Receiver {
	t.Helper()
	r := &Receiver{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if req.URL.Path != "/v1/traces" || req.Header.Get("Content-Type") != "application/x-protobuf" || err != nil {
			http.Error(w, "no traces", http.StatusBadRequest)
			return
		}
		var m collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &m); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, rs := range m.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				r.spans = append(r.spans, ss.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	r.URL = s.URL
	return r
}

// Spans are those that came so far.
func (r *Receiver) Spans() []*tracev1.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*tracev1.Span(nil), r.spans...)
}

// Await waits until a span passes, and gives it with the spans below it by name.
func (r *Receiver) Await(t testing.TB, within time.Duration, pass func(*tracev1.Span) bool) (*tracev1.Span, map[string]*tracev1.Span) {
	t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(50 * time.Millisecond) {
		spans := r.Spans()
		for _, s := range spans {
			if !pass(s) {
				continue
			}
			below := map[string]*tracev1.Span{}
			for _, c := range spans {
				if string(c.ParentSpanId) == string(s.SpanId) && string(c.TraceId) == string(s.TraceId) {
					below[c.Name] = c
				}
			}
			return s, below
		}
		if time.Now().After(deadline) {
			t.Fatalf("no such span among %d after %v", len(spans), within)
		}
	}
}
