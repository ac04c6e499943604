package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"trailmark/agent/internal/clock"
)

// A Page is what a scrape shows beside the book.
type Page struct {
	Book    *Book
	Version string
	Clock   func() clock.Reading
	Card    func() int64 // bytes that the frames take
	Budget  int64        // bytes that they may take
}

// metric writes one family in the text format.
type metric struct{ w *strings.Builder }

func (m metric) family(name, kind, help string) {
	fmt.Fprintf(m.w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// label is a value as the format quotes it.
func label(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

func (m metric) one(name, kind, help string, v float64) {
	m.family(name, kind, help)
	m.value(name, "", v)
}

func (m metric) value(name, labels string, v float64) {
	if labels != "" {
		labels = "{" + labels + "}"
	}
	fmt.Fprintf(m.w, "%s%s %s\n", name, labels, strconv.FormatFloat(v, 'f', -1, 64))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Text is the page in the Prometheus text format.
func (p Page) Text() string {
	s := p.Book.Snapshot()
	m := metric{new(strings.Builder)}
	m.family("trailmark_agent_info", "gauge", "Always 1; the version is a label.")
	m.value("trailmark_agent_info", "version="+label(p.Version), 1)
	m.family("trailmark_agent_readings_total", "counter", "Measurements taken.")
	for _, x := range s.Probes {
		m.value("trailmark_agent_readings_total", "channel="+label(x.Channel), float64(x.Readings))
	}
	m.family("trailmark_agent_faults_total", "counter", "Answers that were no measurement.")
	for _, x := range s.Probes {
		for _, f := range slices.Sorted(maps.Keys(x.Faults)) {
			m.value("trailmark_agent_faults_total", "channel="+label(x.Channel)+",fault="+label(f), float64(x.Faults[f]))
		}
	}
	m.family("trailmark_agent_reading", "gauge", "Last measurement, in the unit; absent after a fault.")
	for _, x := range s.Probes {
		if x.Milli != nil {
			m.value("trailmark_agent_reading", "channel="+label(x.Channel)+",unit="+label(x.Unit), float64(*x.Milli)/1000)
		}
	}
	m.family("trailmark_agent_reader_up", "gauge", "1 while the reader works.")
	for _, x := range s.Readers {
		m.value("trailmark_agent_reader_up", "reader="+label(x.Name), truth(x.Up))
	}
	m.family("trailmark_agent_reader_losses_total", "counter", "How often the reader was lost.")
	for _, x := range s.Readers {
		m.value("trailmark_agent_reader_losses_total", "reader="+label(x.Name), float64(x.Losses))
	}
	m.family("trailmark_agent_tag_reads_total", "counter", "Answers of tags.")
	for _, x := range s.Readers {
		m.value("trailmark_agent_tag_reads_total", "reader="+label(x.Name), float64(x.Reads))
	}
	if st := s.Station; s.Heard {
		m.one("trailmark_agent_epoch", "gauge", "One more for each change of the device's key.", float64(st.Epoch))
		m.one("trailmark_agent_frames_sealed_total", "counter", "Frames signed in this epoch.", float64(st.Next))
		m.one("trailmark_agent_frames_receipted_total", "counter", "Of them, those with a verified receipt.", float64(st.Receipted))
		m.one("trailmark_agent_frames_waiting", "gauge", "Frames without a receipt.", float64(st.Next-min(st.Receipted, st.Next)))
		m.one("trailmark_agent_frames_lost_total", "counter", "Frames that the card lost.", float64(st.LostFrames))
		m.one("trailmark_agent_card_full", "gauge", "1 while the card takes no frame.", truth(st.CardFull))
		m.one("trailmark_agent_fork_alarm", "gauge", "1 once someone else signed under this device's numbers.", truth(st.Alarm))
		m.one("trailmark_agent_ledger_contradicted", "gauge", "1 once the ledger signed two heads that contradict each other.", truth(st.Accused != ""))
		m.one("trailmark_agent_cosigned_size", "gauge", "Entries of the newest checkpoint that this device cosigned.", float64(st.Cosigned))
		m.one("trailmark_agent_connected", "gauge", "1 while the broker is connected.", truth(st.Connected))
		m.one("trailmark_agent_connections_total", "counter", "Connections made to the broker.", float64(s.Connections))
	}
	if !s.ReceiptAt.IsZero() {
		m.one("trailmark_agent_last_receipt_timestamp_seconds", "gauge", "When the last receipt was verified.", float64(s.ReceiptAt.Unix()))
	}
	m.one("trailmark_agent_card_bytes", "gauge", "Bytes that frames take on the card.", float64(p.Card()))
	m.one("trailmark_agent_card_budget_bytes", "gauge", "Bytes that they may take.", float64(p.Budget))
	now := p.Clock()
	m.one("trailmark_agent_clock_quality", "gauge", "0 unset, 1 restored, 2 from an RTC, 3 synchronised.", float64(now.Quality))
	if now.Quality == clock.Synchronised {
		m.one("trailmark_agent_clock_max_error_seconds", "gauge", "The kernel's bound.", float64(now.MaxErrorMS)/1000)
	}
	if rss, ok := resident(); ok {
		m.one("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", float64(rss))
	}
	return m.w.String()
}

// resident is this process's memory in bytes (proc(5), statm).
func resident() (int64, bool) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	var size, pages int64
	if n, _ := fmt.Sscan(string(text), &size, &pages); n != 2 {
		return 0, false
	}
	return pages * int64(os.Getpagesize()), true
}

// Listen opens a loopback address, or the socket after "unix:", for its owner only.
func Listen(address string) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
		return l, nil
	}
	// What an agent that was killed left there; a socket that somebody serves, or
	// a file, is not ours to remove.
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("metrics: somebody else serves %s", path)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err == nil {
		if err = os.Chmod(path, 0o600); err != nil {
			l.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return l, nil
}

// Serve answers GET /metrics on l until ctx ends, then closes l.
func (p Page) Serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = io.WriteString(w, p.Text()) // whoever hung up has no use for it
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 8 << 10}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}
