package fleet

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Counts are what a run did, and what came back.
type Counts struct {
	Frames   uint64 `json:"frames"`   // signed and sent
	Readings uint64 `json:"readings"` // in them
	Receipts uint64 `json:"receipts"` // verified, one per frame
	Resent   uint64 `json:"resent"`
	Late     uint64 `json:"late"`    // frames that were due while the one before was on its way out
	Stalled  uint64 `json:"stalled"` // frames not made, because too many had no receipt

	Foreign      uint64 `json:"foreign"`       // receipts for what somebody else signed with our key
	BadSignature uint64 `json:"bad_signature"` // sent, to be refused
	WrongPrev    uint64 `json:"wrong_prev"`    // sent, to be refused
	Replayed     uint64 `json:"replayed"`      // sent, to be answered as before
	BadReceipted uint64 `json:"bad_receipted"` // of those to be refused: anything but 0 is the gateway's mistake

	Connects uint64 `json:"connects"`
	Errors   uint64 `json:"errors"`
}

// A Latency is the time from a frame's first sending to its verified receipt, in
// milliseconds, right to 3 %.
type Latency struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// A Summary is what a run comes to. Two runs of one seed sign with the same keys.
type Summary struct {
	Kind      string  `json:"kind"` // "fleet"
	Seed      uint64  `json:"seed"`
	Devices   int     `json:"devices"`
	Clones    int     `json:"clones"`
	Rogues    int     `json:"rogues"`
	Seconds   float64 `json:"seconds"`
	Connected int     `json:"connected"` // most at one time
	Counts
	FramesPerSecond   float64           `json:"frames_per_second"` // mean from the first to the last receipt
	ReadingsPerSecond float64           `json:"readings_per_second"`
	Unreceipted       int               `json:"unreceipted"`
	Latency           Latency           `json:"latency"`
	Failures          map[string]uint64 `json:"failures"` // by their kind
}

// stats count. They are safe for concurrent use.
type stats struct {
	began time.Time

	mu       sync.Mutex
	total    Counts // all below guarded by mu
	reported Counts // total at the last report
	online   int
	most     int
	resting  int
	lately   histogram // since the last report
	all      histogram
	first    time.Time // receipt
	last     time.Time
	failures map[string]uint64
}

func newStats() *stats { return &stats{began: time.Now(), failures: map[string]uint64{}} }

func (s *stats) add(change func(*Counts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.total)
}

func (s *stats) connected(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.online += by
	s.most = max(s.most, s.online)
	if by > 0 {
		s.total.Connects++
	}
}

func (s *stats) rests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resting++
}

// done is how many devices have sent all they should.
func (s *stats) done() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resting
}

func (s *stats) receipted(sent, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.Receipts++
	if s.first.IsZero() {
		s.first = now
	}
	s.last = now
	if !sent.IsZero() {
		s.lately.add(now.Sub(sent))
		s.all.add(now.Sub(sent))
	}
}

// maxFailures bounds the kinds of failures that are told apart.
const maxFailures = 64

// particulars are what tells one failure of a kind from the next.
var particulars = regexp.MustCompile(`[0-9a-f]{8,}|[0-9]+`)

// failed counts an error by its kind.
func (s *stats) failed(err error) {
	text, _, _ := strings.Cut(err.Error(), "\n")
	if rest, ok := strings.CutPrefix(text, "device "); ok {
		_, text, _ = strings.Cut(rest, ": ")
	}
	text = particulars.ReplaceAllString(text, "#")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.Errors++
	if _, known := s.failures[text]; !known && len(s.failures) >= maxFailures {
		text = "others"
	}
	s.failures[text]++
}

// report logs the last second.
func (s *stats) report(log *slog.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, r := s.total, s.reported
	log.LogAttrs(context.Background(), slog.LevelInfo, "fleet",
		slog.Int("s", int(time.Since(s.began).Seconds())), slog.Int("connected", s.online),
		slog.Uint64("frames", t.Frames-r.Frames), slog.Uint64("readings", t.Readings-r.Readings), slog.Uint64("receipts", t.Receipts-r.Receipts),
		slog.Float64("p50_ms", s.lately.quantile(0.5)), slog.Float64("p99_ms", s.lately.quantile(0.99)),
		slog.Uint64("stalled", t.Stalled-r.Stalled), slog.Uint64("errors", t.Errors-r.Errors))
	s.reported, s.lately = t, histogram{}
}

// summary is what the run came to.
func (f *fleet) summary(members []*member, took time.Duration) Summary {
	s := f.stats
	s.mu.Lock()
	out := Summary{Kind: "fleet", Seed: f.c.Seed, Devices: f.c.Devices, Clones: f.c.Clones, Seconds: took.Seconds(), Connected: s.most,
		Counts: s.total, Latency: Latency{s.all.quantile(0.5), s.all.quantile(0.99), s.all.quantile(1)}, Failures: s.failures}
	if span := s.last.Sub(s.first).Seconds(); span > 0 {
		out.FramesPerSecond = float64(out.Receipts) / span
		out.ReadingsPerSecond = float64(out.Readings) / float64(max(out.Frames, 1)) * out.FramesPerSecond
	}
	s.mu.Unlock()
	for _, m := range members {
		out.Unreceipted += m.unreceipted()
		if m.rogue {
			out.Rogues++
		}
	}
	return out
}

func printSummary(w io.Writer, s Summary) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// A histogram counts durations in buckets that grow by 3 %, from 10 µs to days.
type histogram [800]uint32

const (
	smallest = 10 * time.Microsecond
	growth   = 1.03
)

func (h *histogram) add(d time.Duration) {
	i := math.Log(float64(max(d, smallest))/float64(smallest)) / math.Log(growth)
	h[min(int(i), len(h)-1)]++
}

// quantile is the upper end of the bucket that holds the q'th part, in ms; 0: none.
func (h *histogram) quantile(q float64) float64 {
	n := uint64(0)
	for _, c := range h {
		n += uint64(c)
	}
	left := max(uint64(math.Ceil(q*float64(n))), 1)
	for i, c := range h {
		if uint64(c) >= left {
			ms := float64(smallest) / 1e6 * math.Pow(growth, float64(i+1))
			return math.Round(ms*10) / 10
		}
		left -= uint64(c)
	}
	return 0
}

// sleep says false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// jitter is up to half of d.
func jitter(d time.Duration) time.Duration { return rand.N(d/2 + 1) }
