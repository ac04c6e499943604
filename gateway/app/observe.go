package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"trailmark/gateway/internal/api"
	"trailmark/gateway/internal/flow"
	"trailmark/gateway/internal/ingest"
	"trailmark/gateway/internal/metrics"
	"trailmark/gateway/internal/otlp"
	"trailmark/gateway/internal/store"
)

// observer is what looks at a running gateway from outside.
type observer struct {
	listening net.Listener // of the figures, nil: nobody asked for them
	metrics   *metrics.Metrics
	flow      *flow.Watch
	tracer    trace.Tracer
	flush     func(context.Context) error // sends the last traces
	sizes     sizes
}

// observe opens the listener of figures and the way to the collector of traces.
func (g *gateway) observe(ctx context.Context) (err error) {
	o := &g.observer
	o.flush = func(context.Context) error { return nil }
	o.tracer = noop.NewTracerProvider().Tracer("")
	o.sizes.dir = filepath.Join(g.conf.Dir, ownDir)
	if g.conf.OTLP != "" {
		provider, err := otlp.Start(ctx, g.conf.OTLP, "trailmark-gateway", g.log)
		if err != nil {
			return err
		}
		o.tracer, o.flush = provider.Tracer("trailmark/gateway"), provider.Shutdown
	}
	o.metrics = metrics.New(g.state, g.log)
	o.flow = flow.New(o.tracer, o.metrics.Receipted)
	if g.conf.Metrics == "" {
		return nil
	}
	if o.listening, err = net.Listen("tcp", g.conf.Metrics); err != nil {
		return fmt.Errorf("%w\nhint: choose another with --metrics", err)
	}
	if a, ok := o.listening.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		return errors.Join(fmt.Errorf("--metrics %s is not on loopback: figures have no password\nhint: 127.0.0.1:%s, and a proxy or an agent of your own before it", g.conf.Metrics, port(g.conf.Metrics)), o.listening.Close())
	}
	return nil
}

// state is what the figures say. It costs the same however much is stored.
func (g *gateway) state(ctx context.Context) (st metrics.State, err error) {
	st.Outcomes = map[string]uint64{"accepted": 0, "repeated": 0, "waiting": 0, "late": 0}
	st.Refusals = map[string]uint64{}
	for _, r := range ingest.Reasons() {
		st.Refusals[string(r)] = 0
	}
	for k, v := range g.ingest.Counters.Snapshot() {
		if _, refusal := st.Refusals[k]; refusal {
			st.Refusals[k] = v
		} else {
			st.Outcomes[k] = v
		}
	}
	forks, err := g.store.Forks(ctx)
	if err != nil {
		return st, err
	}
	st.Forks = len(forks)
	if st.Statements, err = g.store.Count(ctx); err != nil {
		return st, err
	}
	var ledger api.Status
	if _, err = g.published(ctx, &ledger); err != nil {
		return st, err
	}
	st.Entries, st.Checkpoint = ledger.Ledger.Entries, ledger.Ledger.Size
	r := g.runner.Load().Status()
	st.AnchoredAt, st.AnchorFails = r.Last.Time, r.Error != ""
	if r.Last.Origin == ledger.Ledger.Origin { // else nothing of the current ledger is anchored yet
		st.Anchored = r.Last.Size
	}
	st.Connections = g.broker.Clients()
	running, ended, err := g.store.AlarmCounts(ctx)
	if err != nil {
		return st, err
	}
	st.Alarms = map[string]int{"running": running, "unacknowledged": ended}
	st.Bytes, err = g.observer.sizes.get()
	return st, err
}

// sizes measures what lies on disk, at most once a minute: a ledger is many files.
type sizes struct {
	dir string

	mu   sync.Mutex // guards what follows
	at   time.Time
	last map[string]int64
}

func (s *sizes) get() (map[string]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.at) < time.Minute {
		return s.last, nil
	}
	out := map[string]int64{}
	for part, name := range map[string]string{"database": store.File, "database-log": store.File + "-wal", "ledger": "ledger", "later-ledgers": "ledgers", "chain": "chain", "broker": "broker"} {
		out[part] = 0
		err := filepath.WalkDir(filepath.Join(s.dir, name), func(_ string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				var info fs.FileInfo
				if info, err = d.Info(); err == nil {
					out[part] += info.Size()
				}
			}
			if errors.Is(err, os.ErrNotExist) {
				return nil // files come and go
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	s.at, s.last = time.Now(), out
	return out, nil
}

// observed counts requests and makes a span of each. A client's own trace is not
// gone on with: it would say what is kept.
func (g *gateway) observed(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		ctx, span := g.observer.tracer.Start(r.Context(), r.Method, trace.WithSpanKind(trace.SpanKindServer))
		r = r.WithContext(ctx)
		s := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			route := r.Pattern // set by the mux; an address is not told: it names an item
			if route == "" {
				route = "none"
			}
			span.SetName(route)
			span.SetAttributes(attribute.String("http.request.method", r.Method), attribute.String("http.route", route), attribute.Int("http.response.status_code", s.status))
			if s.status >= 500 {
				span.SetStatus(codes.Error, http.StatusText(s.status))
			}
			span.End()
			g.observer.metrics.Request(route, s.status, time.Since(began))
		}()
		inner.ServeHTTP(s, r)
	})
}

// statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Flush sends what is written so far, for answers that stream.
func (s *statusWriter) Flush() {
	if f, ok := s.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap lets http.ResponseController reach the rest.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
