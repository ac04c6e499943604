// Package metrics is the gateway's figures in the Prometheus format, for a
// listener of their own on loopback. docs/operations.md names each of them.
//
// What the gateway knows is asked when somebody scrapes; only latencies are
// counted as they happen.
package metrics

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const prefix = "trailmark_gateway_"

// State is what the gateway knows of itself when it is asked.
type State struct {
	Outcomes    map[string]uint64 // messages taken: accepted, repeated, waiting; late of the accepted
	Refusals    map[string]uint64 // messages refused, by reason
	Forks       int
	Statements  uint64
	Entries     uint64 // of the current ledger
	Checkpoint  uint64 // entries that the published checkpoint covers
	Anchored    uint64 // entries that the newest anchor covers
	AnchoredAt  time.Time
	AnchorFails bool // the last attempt failed
	Connections int
	Bytes       map[string]int64 // on disk, by part
	Alarms      map[string]int   // by state; nil: this gateway has none
}

// Metrics counts and collects. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	receipts prometheus.Histogram
	requests *prometheus.HistogramVec
	log      *slog.Logger
}

// state is a collector that asks for a State at each scrape.
type state struct {
	ask   func(context.Context) (State, error)
	log   *slog.Logger
	descs map[string]*prometheus.Desc
}

// gauges and counters of a State: name, help, label.
var figures = []struct{ name, help, label string }{
	{"messages_total", "messages taken from devices since the start", "outcome"},
	{"refusals_total", "messages refused since the start", "reason"},
	{"forks", "second statements for one number that are kept as evidence, at most 100", ""},
	{"statements", "statements in the store", ""},
	{"ledger_entries", "entries of the current ledger", ""},
	{"ledger_checkpoint_entries", "entries that the published checkpoint covers", ""},
	{"anchored_entries", "entries that the newest anchor covers", ""},
	{"anchor_lag_entries", "entries of the current ledger that no anchor covers yet", ""},
	{"anchored_timestamp_seconds", "when the newest anchor was made, by the chain; 0: never", ""},
	{"anchor_failing", "1 if the last attempt to anchor failed", ""},
	{"broker_connections", "devices that are connected", ""},
	{"stored_bytes", "bytes on disk", "part"},
	{"alarms", "alarms by state", "state"},
}

// New makes Metrics that ask for a State.
func New(ask func(context.Context) (State, error), log *slog.Logger) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), log: log,
		receipts: prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + "receipt_seconds", Help: "from a frame's arrival to its receipt's departure",
			Buckets: []float64{.05, .1, .25, .5, 1, 2, 3, 5, 10, 20, 60, 300}}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + "http_seconds", Help: "time to answer a request, by its address and status",
			Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}}, []string{"route", "code"})}
	s := &state{ask, log, map[string]*prometheus.Desc{}}
	for _, f := range figures {
		var labels []string
		if f.label != "" {
			labels = []string{f.label}
		}
		s.descs[f.name] = prometheus.NewDesc(prefix+f.name, f.help, labels, nil)
	}
	m.registry.MustRegister(m.receipts, m.requests, s, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Describe is the collector's.
func (s *state) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range figures {
		ch <- s.descs[f.name]
	}
}

// scrapeWithin bounds a scrape.
const scrapeWithin = 5 * time.Second

// Collect is the collector's.
func (s *state) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeWithin)
	defer cancel()
	st, err := s.ask(ctx)
	if err != nil {
		s.log.Error("figures are not available", "err", err)
		for _, f := range figures {
			ch <- prometheus.NewInvalidMetric(s.descs[f.name], err)
		}
		return
	}
	send := func(kind prometheus.ValueType, name string, v float64, label ...string) {
		ch <- prometheus.MustNewConstMetric(s.descs[name], kind, v, label...)
	}
	for k, v := range st.Outcomes {
		send(prometheus.CounterValue, "messages_total", float64(v), k)
	}
	for k, v := range st.Refusals {
		send(prometheus.CounterValue, "refusals_total", float64(v), k)
	}
	for k, v := range st.Bytes {
		send(prometheus.GaugeValue, "stored_bytes", float64(v), k)
	}
	for k, v := range st.Alarms {
		send(prometheus.GaugeValue, "alarms", float64(v), k)
	}
	gauge := func(name string, v float64) { send(prometheus.GaugeValue, name, v) }
	gauge("forks", float64(st.Forks))
	gauge("statements", float64(st.Statements))
	gauge("ledger_entries", float64(st.Entries))
	gauge("ledger_checkpoint_entries", float64(st.Checkpoint))
	gauge("anchored_entries", float64(st.Anchored))
	gauge("anchor_lag_entries", float64(st.Entries-min(st.Anchored, st.Entries)))
	at := 0.0
	if !st.AnchoredAt.IsZero() {
		at = float64(st.AnchoredAt.UnixMilli()) / 1000
	}
	gauge("anchored_timestamp_seconds", at)
	failing := 0.0
	if st.AnchorFails {
		failing = 1
	}
	gauge("anchor_failing", failing)
	gauge("broker_connections", float64(st.Connections))
}

// Receipted counts a frame's receipt.
func (m *Metrics) Receipted(after time.Duration) { m.receipts.Observe(after.Seconds()) }

// Request counts an answer; route is its pattern, not its address.
func (m *Metrics) Request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Observe(took.Seconds())
}

// Handler serves /metrics.
func (m *Metrics) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2, Timeout: 2 * scrapeWithin,
		ErrorLog: slog.NewLogLogger(m.log.Handler(), slog.LevelError)}))
	return mux
}
