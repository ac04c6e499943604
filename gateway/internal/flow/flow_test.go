package flow

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace/noop"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"trailmark/gateway/internal/ingest"
	"trailmark/gateway/internal/otlp"
	"trailmark/gateway/internal/otlp/otlptest"
	"trailmark/statement"
)

// TestTraces: a collector gets each frame's way as one trace, with the times that
// the parts took, and a refused message's as an error.
func TestTraces(t *testing.T) {
	r := otlptest.New(t)
	p, err := otlp.Start(t.Context(), r.URL, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	w := New(p.Tracer("test"), func(d time.Duration) { took = append(took, d) })
	t0 := time.Now().Add(-time.Second)
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	w.Handled(t0, []ingest.Outcome{
		{KeyID: statement.Hash{1}, Receipts: []uint64{7}, Verify: ingest.Took{From: at(1), To: at(3)}, Store: ingest.Took{From: at(3), To: at(9)}},
		{KeyID: statement.Hash{2}, Err: errors.New("refused (fork): another"), Verify: ingest.Took{From: at(1), To: at(2)}},
		{KeyID: statement.Hash{3}, Verify: ingest.Took{From: at(1), To: at(2)}, Store: ingest.Took{From: at(3), To: at(9)}},
	})
	w.Appended(at(8), at(9)) // before it was stored
	w.Appended(at(10), at(12))
	w.Receipted(8) // nobody asked for it
	w.Receipted(7)
	w.Receipted(7) // sent again
	if len(took) != 1 || took[0] < time.Second || len(w.open) != 0 {
		t.Errorf("took %v, %d open", took, len(w.open))
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	root, below := r.Await(t, time.Second, func(s *tracev1.Span) bool { return s.Name == "message" && number(s, "trailmark.row") == 7 })
	if len(below) != 4 || root.StartTimeUnixNano != uint64(t0.UnixNano()) {
		t.Errorf("%v below %v", below, root)
	}
	for _, name := range []string{"verify", "store", "ledger", "receipt"} {
		s := below[name]
		if s == nil || s.StartTimeUnixNano < root.StartTimeUnixNano || s.EndTimeUnixNano > root.EndTimeUnixNano || s.StartTimeUnixNano > s.EndTimeUnixNano {
			t.Errorf("%s: %v within %v", name, s, root)
		}
	}
	if s := below["store"]; s.EndTimeUnixNano-s.StartTimeUnixNano != 6e6 {
		t.Errorf("store took %d ns", s.EndTimeUnixNano-s.StartTimeUnixNano)
	}
	_, below = r.Await(t, time.Second, func(s *tracev1.Span) bool {
		return s.Status.GetCode() == tracev1.Status_STATUS_CODE_ERROR && s.Status.Message == "refused (fork): another"
	})
	if len(below) != 1 || below["verify"] == nil {
		t.Errorf("a refused message went on: %v", below)
	}
	if n := len(r.Spans()); n != 5+2+3 {
		t.Errorf("%d spans, want 10", n)
	}
}

func number(s *tracev1.Span, name string) int64 {
	for _, a := range s.Attributes {
		if a.Key == name {
			return a.Value.GetIntValue()
		}
	}
	return -1
}

// TestBounded: devices whose receipts never leave do not fill the memory.
func TestBounded(t *testing.T) {
	w := New(noop.NewTracerProvider().Tracer(""), func(time.Duration) {})
	for i := range uint64(maxOpen + 100) {
		w.Handled(time.Now(), []ingest.Outcome{{Receipts: []uint64{i}}})
	}
	if len(w.open) != maxOpen {
		t.Errorf("%d open, want %d", len(w.open), maxOpen)
	}
}
