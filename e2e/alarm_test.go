package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"trailmark/e2e/stage"
)

// shownAlarm is what the API says of an alarm.
type shownAlarm struct {
	ID, Rule, Kind, Zone, Channel, Device, Reason string
	Ended, Acknowledged                           *time.Time
	Closed                                        bool
}

func listAlarms(t *testing.T, s *stage.Stage, query string) (out []shownAlarm) {
	t.Helper()
	code, data, err := s.Get(t.Context(), "/api/alarms?limit=200"+query, "application/json")
	var l struct{ Alarms []shownAlarm }
	if err != nil || code != 200 || json.Unmarshal(data, &l) != nil {
		return nil
	}
	return l.Alarms
}

// webhookSink keeps which notices came, by their key.
type webhookSink struct {
	mu   sync.Mutex
	got  map[string]int
	what map[string]map[string]int // alarm, what -> different keys
}

func (h *webhookSink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Type string
		Data struct{ Alarm string }
	}
	data, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(data, &body) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	key := r.Header.Get("Idempotency-Key")
	if h.got[key]++; h.got[key] == 1 {
		if h.what[body.Data.Alarm] == nil {
			h.what[body.Data.Alarm] = map[string]int{}
		}
		h.what[body.Data.Alarm][body.Type]++
	}
}

func (h *webhookSink) told(alarm, what string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.what[alarm][what]
}

// TestAlarms: alarms of signed readings reach a webhook, and a gateway that is
// killed again and again neither loses one nor raises or tells one twice.
func TestAlarms(t *testing.T) {
	s := startStage(t, "--lead", "1s", "--stay", "1h", "--fault", "origin:1:allzero@4s+8s")
	sink := &webhookSink{got: map[string]int{}, what: map[string]map[string]int{}}
	hook := httptest.NewServer(sink)
	defer hook.Close()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	alarms := func(args ...string) string {
		t.Helper()
		out, err := s.Run(t.Context(), "gateway", append([]string{"alarms", args[0], "--dir", s.Dir}, args[1:]...)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	targets := write("targets.json", `{"own_networks":["127.0.0.0/8"],"targets":[{"id":"hook","type":"webhook","plain_http":true,
		"url":"`+hook.URL+`/alarms","secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}]}`)
	rules := write("rules.json", `{"escalations":[{"id":"all","steps":[{"after":"0s","targets":["hook"]}]}],"rules":[
		{"id":"always","kind":"single-event","name":{"zh-CN":"总是","en":"always"},"severity":"alarm","unit":"Cel","at_or_above":-60,"for":"2s","notify":"all"},
		{"id":"fault","kind":"probe-fault","name":{"zh-CN":"故障","en":"fault"},"severity":"alarm","for":"2s","notify":"all"},
		{"id":"silent","kind":"device-silent","name":{"zh-CN":"失联","en":"silent"},"severity":"alarm","for":"8s","notify":"all"}]}`)
	alarms("targets", "--set", targets)
	alarms("rules", "--set", rules, "--by", "test")

	always := func() (out []shownAlarm) {
		for _, a := range listAlarms(t, s, "") {
			if a.Rule == "always" && a.Ended == nil {
				out = append(out, a)
			}
		}
		return out
	}
	channels := 2 * len(s.Zones)
	eventually(t, 60*time.Second, "an alarm of every channel", func() bool { return len(always()) == channels })
	first := map[string]bool{}
	for _, a := range always() {
		first[a.ID] = true
	}
	for range 3 {
		if err := s.KillGateway(); err != nil {
			t.Fatal(err)
		}
		if err := s.StartGateway(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
	}
	eventually(t, 60*time.Second, "every alarm to be told", func() bool {
		for _, a := range always() {
			if sink.told(a.ID, "alarm.start") == 0 {
				return false
			}
		}
		return len(always()) == channels
	})
	for _, a := range always() {
		if n := sink.told(a.ID, "alarm.start"); n != 1 {
			t.Errorf("alarm %s was told under %d keys", a.ID, n)
		}
	}
	all := map[string]int{}
	for _, a := range listAlarms(t, s, "") {
		if a.Rule == "always" {
			all[a.Zone+a.Channel]++
		}
	}
	for where, n := range all {
		// The faulty probe's ends when it is lost; it may begin another.
		if n > 2 {
			t.Errorf("%s has %d alarms of one rule", where, n)
		}
	}
	eventually(t, 60*time.Second, "the probe's fault to be over", func() bool {
		for _, a := range listAlarms(t, s, "&filter=ended") {
			if a.Rule == "fault" && a.Reason == "back-in-range" {
				return true
			}
		}
		return false
	})

	// A device that falls silent, and speaks again.
	z := s.Zones[len(s.Zones)-1]
	if err := s.Kill(stage.AgentName(z)); err != nil {
		t.Fatal(err)
	}
	silent := func(query string) (id string) {
		for _, a := range listAlarms(t, s, query) {
			if a.Rule == "silent" && a.Zone == z.Zone {
				id = a.ID
			}
		}
		return id
	}
	eventually(t, 60*time.Second, "the device to be missed", func() bool { return silent("&filter=active") != "" })
	if err := s.StartAgent(z, ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "the device to be heard again", func() bool { return silent("&filter=ended") != "" })
	id := silent("&filter=ended")
	eventually(t, 20*time.Second, "the word that it is over", func() bool { return sink.told(id, "alarm.end") == 1 })

	// People: by HTTP on this machine, and at the command line.
	resp, err := http.Post(s.URL+"/api/alarms/"+id+"/acknowledge", "application/json", strings.NewReader(`{"by":"李雷","comment":"电源已恢复"}`))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != 200 || !bytes.Contains(body, []byte("电源已恢复")) {
		t.Errorf("%d %s %v", resp.StatusCode, body, err)
	}
	one := always()[0]
	if out := alarms("close", "--id", one.ID[:12], "--by", "韩梅梅", "--comment", "test"); !strings.Contains(out, "closed by 韩梅梅") {
		t.Errorf("%s", out)
	}
	time.Sleep(3 * time.Second)
	if n := len(always()); n != channels-1 {
		t.Errorf("%d alarms go on, want %d: the closed one's condition goes on, but it was closed", n, channels-1)
	}
	if out := alarms("list", "--active"); !strings.Contains(out, "going on, not acknowledged") || strings.Contains(out, one.ID[:12]) {
		t.Errorf("%s", out)
	}
	if out := alarms("test-notify", "--target", "hook"); !strings.Contains(out, "took a test notice") {
		t.Errorf("%s", out)
	}
	if code, page, err := s.Get(t.Context(), "/?lang=zh-CN", "text/html"); err != nil || code != 200 || !bytes.Contains(page, []byte("总是")) {
		t.Errorf("status page: %d %v", code, err)
	}

	// Work on a zone is signed by the organisation, and holds back what is told of it.
	if out := alarms("maintenance", "--zone", z.Zone, "--for", "1h", "--why", "除霜 defrost"); !strings.Contains(out, z.Zone) {
		t.Errorf("%s", out)
	}
	eventually(t, 30*time.Second, "the maintenance to show", func() bool {
		_, page, err := s.Get(t.Context(), "/?lang=zh-CN", "text/html")
		return err == nil && bytes.Contains(page, []byte("除霜 defrost"))
	})
	if err := s.Kill(stage.AgentName(z)); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "the device to be missed again", func() bool {
		now := silent("&filter=active")
		return now != "" && now != id
	})
	time.Sleep(2 * time.Second)
	if held := silent("&filter=active"); sink.told(held, "alarm.start") != 0 {
		t.Errorf("alarm %s was told while its zone was worked on", held)
	}
	gatewayRun(t, s, "fsck") // exit 1 if anything is damaged
}
