// Package flow follows each message from its arrival to the receipt that leaves
// for its device: how long that takes, and, for who asks, as one OpenTelemetry
// trace with the spans verify, store, ledger and receipt.
//
// It watches and decides nothing. Spans are made when a message's way has ended,
// with the times that were noted on it, so that nothing waits for them.
package flow

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"trailmark/gateway/internal/ingest"
)

// maxOpen bounds the frames whose receipts are awaited; of more nothing is noted.
const maxOpen = 1 << 16

// A Watch follows messages. It is safe for concurrent use.
type Watch struct {
	tracer    trace.Tracer
	receipted func(after time.Duration)

	mu   sync.Mutex
	open map[uint64]*frame // stored and without receipt, by row; guarded by mu
}

// frame is where a frame has been.
type frame struct {
	device  string
	arrived time.Time
	verify  ingest.Took
	store   ingest.Took
	ledger  ingest.Took // zero: not in the ledger yet, or it was before
}

// New makes a Watch; receipted is told how long each frame took.
func New(tracer trace.Tracer, receipted func(time.Duration)) *Watch {
	return &Watch{tracer: tracer, receipted: receipted, open: map[uint64]*frame{}}
}

// Handled notes what became of messages that arrived together.
func (w *Watch) Handled(arrived time.Time, outcomes []ingest.Outcome) {
	for _, o := range outcomes {
		device := o.KeyID.String()[:16]
		if o.Err != nil || len(o.Receipts) == 0 {
			w.ended(device, arrived, o)
			continue
		}
		w.mu.Lock()
		for _, index := range o.Receipts {
			if len(w.open) < maxOpen {
				w.open[index] = &frame{device: device, arrived: arrived, verify: o.Verify, store: o.Store}
			}
		}
		w.mu.Unlock()
	}
}

// ended makes the trace of a message that no receipt follows: one that was
// refused, or waits for an earlier frame.
func (w *Watch) ended(device string, arrived time.Time, o ingest.Outcome) {
	end := o.Store.To
	if end.IsZero() {
		end = o.Verify.To
	}
	ctx, span := w.tracer.Start(context.Background(), "message", trace.WithTimestamp(arrived), trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.String("trailmark.device", device)))
	w.child(ctx, "verify", o.Verify)
	if o.Err != nil {
		span.SetStatus(codes.Error, o.Err.Error())
	} else {
		w.child(ctx, "store", o.Store)
		span.SetAttributes(attribute.Bool("trailmark.waiting", true))
	}
	span.End(trace.WithTimestamp(end))
}

func (w *Watch) child(ctx context.Context, name string, t ingest.Took) {
	if t.From.IsZero() {
		return
	}
	_, span := w.tracer.Start(ctx, name, trace.WithTimestamp(t.From))
	span.End(trace.WithTimestamp(t.To))
}

// Appended notes that what was stored before from is in the ledgers.
func (w *Watch) Appended(from, to time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.open {
		if f.ledger.From.IsZero() && !f.store.To.After(from) {
			f.ledger = ingest.Took{From: from, To: to}
		}
	}
}

// Receipted notes that a receipt left for a frame's device.
func (w *Watch) Receipted(row uint64) {
	now := time.Now()
	w.mu.Lock()
	f := w.open[row]
	delete(w.open, row)
	w.mu.Unlock()
	if f == nil {
		return
	}
	w.receipted(now.Sub(f.arrived))
	ctx, span := w.tracer.Start(context.Background(), "message", trace.WithTimestamp(f.arrived), trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.String("trailmark.device", f.device), attribute.Int64("trailmark.row", int64(row))))
	w.child(ctx, "verify", f.verify)
	w.child(ctx, "store", f.store)
	w.child(ctx, "ledger", f.ledger)
	from := f.ledger.To
	if from.IsZero() {
		from = f.store.To
	}
	w.child(ctx, "receipt", ingest.Took{From: from, To: now})
	span.End(trace.WithTimestamp(now))
}
