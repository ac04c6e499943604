package metrics

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"trailmark/agent/internal/clock"
	"trailmark/agent/internal/rfid"
	"trailmark/agent/internal/sensor"
	"trailmark/agent/internal/station"
)

// script is a probe that gives its samples one after the other.
type script struct {
	channel string
	samples []sensor.Sample
}

func (s *script) Channel() string       { return s.channel }
func (s *script) Unit() string          { return "Cel" }
func (s *script) Serial() string        { return s.channel }
func (s *script) Calibration() [32]byte { return [32]byte{1} }
func (s *script) Sample(context.Context) sensor.Sample {
	x := s.samples[0]
	s.samples = s.samples[1:]
	return x
}

// plug is a reader that comes up, reads one tag twice, is lost and ends.
type plug struct{ status func(bool, string) }

func (p plug) Name() string { return "plug" }
func (p plug) Run(_ context.Context, each func(rfid.Read)) error {
	p.status(true, "model 1")
	each(rfid.Read{EPC: []byte{1}, Count: 2})
	p.status(false, "unplugged")
	return nil
}

func page(b *Book) Page {
	return Page{Book: b, Version: `v"1\`, Clock: func() clock.Reading { return clock.Reading{Quality: clock.Synchronised, MaxErrorMS: 12} },
		Card: func() int64 { return 4096 }, Budget: 1 << 20}
}

func TestBook(t *testing.T) {
	b := NewBook()
	at := time.Now()
	p := b.Probe(&script{"a/temp", []sensor.Sample{
		{Channel: "a/temp", Milli: 4062, At: at},
		{Channel: "a/temp", Milli: -500, At: at},
		{Channel: "a/temp", Fault: sensor.FaultCRC, At: at},
	}})
	if c, ok := p.(sensor.Calibrated); !ok || c.Calibration() != [32]byte{1} {
		t.Error("a counted probe lost its calibration")
	}
	b.Probe(&script{channel: "b/temp"})
	for range 2 {
		p.Sample(t.Context())
	}
	text := page(b).Text()
	for _, want := range []string{
		`trailmark_agent_readings_total{channel="a/temp"} 2`,
		`trailmark_agent_reading{channel="a/temp",unit="Cel"} -0.5`,
		`trailmark_agent_readings_total{channel="b/temp"} 0`,
		`trailmark_agent_info{version="v\"1\\"} 1`,
		"trailmark_agent_clock_max_error_seconds 0.012",
		"trailmark_agent_card_bytes 4096",
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, "frames_sealed") || strings.Contains(text, `reading{channel="b`) {
		t.Errorf("tells what it cannot know:\n%s", text)
	}

	p.Sample(t.Context()) // the fault: no value is left standing
	r := b.Reader(station.Reader{Name: "llrp0", Open: func(status func(bool, string)) (rfid.Reader, error) { return plug{status}, nil }})
	reader, err := r.Open(func(bool, string) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Run(t.Context(), func(rfid.Read) {}); err != nil {
		t.Fatal(err)
	}
	b.Station(station.Status{Next: 7, Receipted: 2, Connected: true})
	if s := b.Snapshot(); !s.ReceiptAt.IsZero() {
		t.Error("what was receipted before the start is no receipt of now")
	}
	b.Station(station.Status{Next: 7, Receipted: 4, Connected: false, LostFrames: 1})
	b.Station(station.Status{Next: 7, Receipted: 4, Connected: true})
	text = page(b).Text()
	for _, want := range []string{
		`trailmark_agent_faults_total{channel="a/temp",fault="crc"} 1`,
		`trailmark_agent_reader_up{reader="llrp0"} 0`,
		`trailmark_agent_reader_losses_total{reader="llrp0"} 1`,
		`trailmark_agent_tag_reads_total{reader="llrp0"} 2`,
		"trailmark_agent_frames_sealed_total 7",
		"trailmark_agent_frames_waiting 3",
		"trailmark_agent_connections_total 2",
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	// The next epoch counts its own frames.
	before := b.Snapshot().ReceiptAt
	b.Station(station.Status{Epoch: 1, Next: 1, Connected: true})
	if s := b.Snapshot(); !s.ReceiptAt.Equal(before) {
		t.Error("an epoch that begins is no receipt")
	}
	b.Station(station.Status{Epoch: 1, Next: 1, Receipted: 1, Connected: true})
	if s := b.Snapshot(); s.ReceiptAt.Equal(before) {
		t.Error("the first receipt of an epoch goes unnoticed")
	}
	if next := page(b).Text(); !strings.Contains(next, "trailmark_agent_epoch 1\n") {
		t.Errorf("no epoch in\n%s", next)
	}
	if strings.Contains(text, "trailmark_agent_reading{") {
		t.Errorf("a fault shows as a value:\n%s", text)
	}
	// Every line is one that the format has, each family is told of before its values.
	line := regexp.MustCompile(`^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="[^\n]*"\})? -?[0-9.]+)$`)
	family := ""
	for l := range strings.Lines(text) {
		l = strings.TrimSuffix(l, "\n")
		if !line.MatchString(l) {
			t.Errorf("not a line of the format: %q", l)
		}
		if rest, ok := strings.CutPrefix(l, "# TYPE "); ok {
			family, _, _ = strings.Cut(rest, " ")
		} else if !strings.HasPrefix(l, "#") && strings.FieldsFunc(l, func(r rune) bool { return r == '{' || r == ' ' })[0] != family {
			t.Errorf("%q is not of family %s", l, family)
		}
	}
}

func TestServe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false) // as a process that was killed
	dead.Close()
	for _, address := range []string{"127.0.0.1:0", "unix:" + path} {
		l, err := Listen(address)
		if err != nil {
			t.Fatal(err)
		}
		if address != "127.0.0.1:0" {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("socket: %v, %v", info.Mode(), err)
			}
			if _, err := Listen(address); err == nil || !strings.Contains(err.Error(), "somebody else serves") {
				t.Errorf("a second one: %v", err)
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- page(NewBook()).Serve(ctx, l) }()
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, l.Addr().Network(), l.Addr().String())
		}}}
		resp, err := client.Get("http://agent/metrics")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), "process_resident_memory_bytes") {
			t.Errorf("%s: %v, %v\n%s", address, resp.Status, err, body)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("unix:" + file); err == nil {
		t.Error("took the place of a file")
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "kept" {
		t.Errorf("%q, %v", b, err)
	}
}
