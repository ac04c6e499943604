package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/gateway/internal/alarm"
	"trailmark/gateway/internal/api"
	"trailmark/gateway/internal/route"
	"trailmark/gateway/internal/route/routetest"
	"trailmark/gateway/internal/store"
	"trailmark/passport"
	"trailmark/statement"
)

// alarmServer serves the API over a real store of n alarms, the odd ones ended.
func alarmServer(t *testing.T, private bool, n int) (*api.Site, alarmBook) {
	t.Helper()
	st, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	b := alarmBook{st, alarm.New(st, time.Now, slog.New(slog.DiscardHandler))}
	addAlarms(t, st, n)
	site, err := api.New(api.Options{Trust: new(passport.Trust), Alarms: b, Private: private, Ledger: http.NotFoundHandler(), Base: "http://127.0.0.1",
		Status: func(ctx context.Context) (st api.Status, err error) {
			st.Now = time.Now().UnixMilli()
			return st, b.attention(ctx, &st, private)
		}})
	if err != nil {
		t.Fatal(err)
	}
	return site, b
}

// TestAlarmRoutes: the alarms' addresses answer as the document says.
func TestAlarmRoutes(t *testing.T) {
	site, b := alarmServer(t, true, 4)
	shut, err := api.New(api.Options{Trust: new(passport.Trust), Alarms: b, Ledger: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	var table route.Table
	for _, r := range site.Routes() {
		if strings.HasPrefix(r.Path, "/api/alarms") {
			table = append(table, r)
		}
	}
	at, unknown := "/api/alarms/"+alarmIDOf(0), "/api/alarms/"+strings.Repeat("0", 32)
	json := map[string]string{"Content-Type": "application/json"}
	closed := map[string]string{"Content-Type": "application/json", "X-Closed": "1"}
	acts := func(act string) []routetest.Case {
		return []routetest.Case{
			{Target: at + act, Header: json, Body: good, Status: 200},
			{Target: at + act, Header: json, Body: `{"comment":"x"}`, Status: 400},
			{Target: unknown + act, Header: json, Body: good, Status: 404, Unknown: true},
			{Target: at + act, Header: closed, Body: good, Status: 403},
		}
	}
	routetest.Check(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Closed") != "" {
			shut.ServeHTTP(w, r)
			return
		}
		site.ServeHTTP(w, r)
	}), table, map[string][]routetest.Case{
		"GET /api/alarms":                   {{Target: "/api/alarms", Status: 200}, {Target: "/api/alarms?filter=ended&limit=1", Status: 200}, {Target: "/api/alarms?limit=0", Status: 400}},
		"GET /api/alarms/{id}":              {{Target: at, Status: 200}, {Target: "/api/alarms/" + alarmIDOf(1), Status: 200}, {Target: unknown, Status: 404, Unknown: true}},
		"POST /api/alarms/{id}/acknowledge": acts("/acknowledge"),
		"POST /api/alarms/{id}/close":       acts("/close"),
	})
}

func addAlarms(t *testing.T, st *store.Store, n int) {
	t.Helper()
	if err := st.Update(t.Context(), func(tx *store.Tx) error {
		hash := statement.Hash{9}
		if err := tx.AddAlarmRule(hash, []byte(`{"id":"beyond","name":{"en":"Beyond <a> limit","zh-CN":"超出限值"}}`)); err != nil {
			return err
		}
		for i := range n {
			peak := int64(9500)
			a := store.Alarm{ID: alarmIDOf(i), Rule: "beyond", Kind: "single-event", Severity: "alarm", RuleHash: hash, Device: "urn:dev:os:32473-d0", Channel: "t0",
				Zone: "cold1", Unit: "Cel", Start: 1_790_000_000_000 + int64(i), Triggered: 1_790_000_000_000 + int64(i), Measured: 60_000, Peak: &peak, PeakAt: 1_790_000_000_000, Count: 1}
			if i%2 == 1 {
				a.Ended, a.Reason = a.Start+60_000, "back-in-range"
			}
			if _, err := tx.AddAlarm(a); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func alarmIDOf(i int) string { return fmt.Sprintf("%032x", i+0xabc000) }

type request struct {
	method, path, body, host, origin, kind string
}

func (r request) do(h http.Handler) (int, string, http.Header) {
	req := httptest.NewRequest(r.method, r.path, strings.NewReader(r.body))
	req.Host = "127.0.0.1:8080"
	if r.host != "" {
		req.Host = r.host
	}
	if r.origin != "" {
		req.Header.Set("Origin", r.origin)
	}
	if r.kind == "" && r.method == http.MethodPost {
		r.kind = "application/json"
	}
	if r.kind != "" {
		req.Header.Set("Content-Type", r.kind)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Code, w.Body.String(), w.Header()
}

const good = `{"by":"李雷","comment":"已派人"}`

// TestAlarmRefusals: each wrong request is the client's error with a problem that
// says what is wrong, and none has an effect.
func TestAlarmRefusals(t *testing.T) {
	h, b := alarmServer(t, true, 4)
	id := alarmIDOf(0)
	ack := "/api/alarms/" + id + "/acknowledge"
	for _, c := range []struct {
		name string
		request
		status int
		want   string
	}{
		{"wrong method on the list", request{method: "POST", path: "/api/alarms"}, 405, "GET"},
		{"wrong method on one", request{method: "DELETE", path: "/api/alarms/" + id}, 405, "GET"},
		{"wrong method on acknowledge", request{method: "GET", path: ack}, 405, "POST"},
		{"wrong method on close", request{method: "PUT", path: "/api/alarms/" + id + "/close"}, 405, "POST"},
		{"wrong type", request{method: "POST", path: ack, body: good, kind: "text/plain"}, 415, "application/json"},
		{"form", request{method: "POST", path: ack, body: "by=x", kind: "application/x-www-form-urlencoded"}, 415, "application/json"},
		{"too large", request{method: "POST", path: ack, body: `{"by":"` + strings.Repeat("x", 20_000) + `"}`}, 413, "16384"},
		{"long name", request{method: "POST", path: ack, body: `{"by":"` + strings.Repeat("x", 200) + `"}`}, 400, "200 bytes"},
		{"long comment", request{method: "POST", path: ack, body: `{"by":"x","comment":"` + strings.Repeat("x", 3000) + `"}`}, 400, "3000"},
		{"unknown id", request{method: "GET", path: "/api/alarms/" + strings.Repeat("0", 32)}, 404, "no such alarm"},
		{"id that is none", request{method: "GET", path: "/api/alarms/..%2f..%2fetc"}, 404, "no such alarm"},
		{"unknown id to acknowledge", request{method: "POST", path: "/api/alarms/" + strings.Repeat("0", 32) + "/acknowledge", body: good}, 404, "no such alarm"},
		{"unknown id to close", request{method: "POST", path: "/api/alarms/x/close", body: good}, 404, "no such alarm"},
		{"no body", request{method: "POST", path: ack}, 400, "want {"},
		{"nobody", request{method: "POST", path: ack, body: `{"comment":"x"}`}, 400, "by is empty"},
		{"unknown member", request{method: "POST", path: ack, body: `{"by":"x","role":"admin"}`}, 400, "role"},
		{"two objects", request{method: "POST", path: ack, body: good + good}, 400, "follows"},
		{"not an object", request{method: "POST", path: ack, body: `[]`}, 400, "want {"},
		{"filter", request{method: "GET", path: "/api/alarms?filter=new"}, 400, "filter"},
		{"limit", request{method: "GET", path: "/api/alarms?limit=0"}, 400, "limit"},
		{"limit too large", request{method: "GET", path: "/api/alarms?limit=201"}, 400, "limit"},
		{"before", request{method: "GET", path: "/api/alarms?before=x"}, 400, "before"},
		{"unknown parameter", request{method: "GET", path: "/api/alarms?fitler=active"}, 400, "fitler"},
		{"a name that leads here", request{method: "POST", path: ack, body: good, host: "evil.example"}, 403, "evil.example"},
		{"a page of another origin", request{method: "POST", path: ack, body: good, origin: "https://evil.example"}, 403, "origin"},
		{"a page of no origin", request{method: "POST", path: ack, body: good, origin: "null"}, 403, "origin"},
		{"nothing there", request{method: "GET", path: "/api/alarms/" + id + "/history"}, 404, "nothing"},
	} {
		status, body, header := c.do(h)
		var p struct {
			Status        int
			Title, Detail string
		}
		if err := json.Unmarshal([]byte(body), &p); err != nil || status != c.status || p.Status != status || header.Get("Content-Type") != "application/problem+json" ||
			!strings.Contains(p.Detail, c.want) {
			t.Errorf("%s: %d %s %s, want %d and %q", c.name, status, header.Get("Content-Type"), body, c.status, c.want)
		}
	}
	if acts, err := b.store.AlarmActs(t.Context(), id); err != nil || len(acts) != 0 {
		t.Errorf("a refused request had an effect: %+v, %v", acts, err)
	}
	open, ob := alarmServer(t, false, 1)
	if status, body, _ := (request{method: "POST", path: ack, body: good}).do(open); status != 403 || !strings.Contains(body, "no accounts") {
		t.Errorf("from anywhere: %d %s", status, body)
	}
	if acts, err := ob.store.AlarmActs(t.Context(), id); err != nil || len(acts) != 0 {
		t.Errorf("%+v, %v", acts, err)
	}
}

func TestAlarmAPI(t *testing.T) {
	h, b := alarmServer(t, true, 7)
	type list struct {
		Alarms []api.Alarm
		Next   string
	}
	get := func(path string) (l list) {
		t.Helper()
		status, body, _ := request{method: "GET", path: path}.do(h)
		if err := json.Unmarshal([]byte(body), &l); err != nil || status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		return l
	}
	// Paging gives every alarm once, newest first.
	var ids []string
	for next := "/api/alarms?limit=3"; next != ""; {
		l := get(next)
		for _, a := range l.Alarms {
			ids = append(ids, a.ID)
		}
		next = l.Next
	}
	if len(ids) != 7 || ids[0] != alarmIDOf(6) || ids[6] != alarmIDOf(0) {
		t.Errorf("pages give %v", ids)
	}
	if n := len(get("/api/alarms?filter=ended").Alarms); n != 3 {
		t.Errorf("%d ended", n)
	}
	if n := len(get("/api/alarms?filter=active").Alarms); n != 7 {
		t.Errorf("%d active before anybody acknowledged", n)
	}
	for i := range 7 {
		status, body, _ := request{method: "POST", path: "/api/alarms/" + alarmIDOf(i) + "/acknowledge", body: good, kind: "application/json; charset=utf-8", origin: "http://127.0.0.1:8080"}.do(h)
		var d api.AlarmDetail
		if err := json.Unmarshal([]byte(body), &d); err != nil || status != 200 || d.Acknowledged == nil || d.Closed != (i%2 == 1) || len(d.Acts) != 1 || d.Acts[0].By != "李雷" ||
			!strings.Contains(string(d.RuleText), "beyond") {
			t.Errorf("%d %s %v", status, body, err)
		}
	}
	if status, body, _ := (request{method: "POST", path: "/api/alarms/" + alarmIDOf(0) + "/acknowledge", body: good}).do(h); status != 409 {
		t.Errorf("twice: %d %s", status, body)
	}
	if n := len(get("/api/alarms?filter=active").Alarms); n != 4 {
		t.Errorf("%d active, want those that go on", n)
	}
	if status, body, _ := (request{method: "POST", path: "/api/alarms/" + alarmIDOf(0) + "/close", body: good}).do(h); status != 200 || !strings.Contains(body, "closed-by-hand") {
		t.Errorf("close: %d %s", status, body)
	}
	if n := len(get("/api/alarms?filter=active").Alarms); n != 3 {
		t.Errorf("%d active", n)
	}
	// Who did what is not for everybody.
	open, err := api.New(api.Options{Trust: new(passport.Trust), Alarms: b, Ledger: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	status, body, _ := request{method: "GET", path: "/api/alarms/" + alarmIDOf(0)}.do(open)
	if status != 200 || strings.Contains(body, "李雷") || !strings.Contains(body, "acknowledged") {
		t.Errorf("%d %s", status, body)
	}
}

// TestAlarmPage: what needs attention comes first, ended alarms stay until they are
// acknowledged, and no text of a rule becomes markup.
func TestAlarmPage(t *testing.T) {
	h, b := alarmServer(t, true, 2)
	page := func(lang string) string {
		status, body, _ := request{method: "GET", path: "/?lang=" + lang}.do(h)
		if status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		return body
	}
	for lang, words := range map[string][]string{"zh-CN": {"超出限值", "持续中", "已结束", "恢复正常", "未确认"}, "en": {"Beyond &lt;a&gt; limit", "going on", "ended", "back in range", "not acknowledged"}} {
		body := page(lang)
		for _, word := range words {
			if !strings.Contains(body, word) {
				t.Errorf("%s: no %q on the page", lang, word)
			}
		}
		if a, z := strings.Index(body, `class="alarms"`), strings.Index(body, "cold1"); a < 0 || z < a {
			t.Errorf("%s: alarms do not come first", lang)
		}
	}
	for i := range 2 {
		if err := b.engine.Acknowledge(t.Context(), alarmIDOf(i), "x", ""); err != nil {
			t.Fatal(err)
		}
	}
	if body := page("en"); strings.Count(body, "Beyond &lt;a&gt; limit") != 1 || !strings.Contains(body, "acknowledged") {
		t.Error("the one that has ended and was acknowledged is still there, or the one that goes on is not")
	}
}

// TestAlarmCommands: what people do at the command line, beside a gateway or
// without one.
func TestAlarmCommands(t *testing.T) {
	dir := t.TempDir()
	if err := Init(dir, DefaultOrganisation(), false, time.Now, io.Discard); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if err := Alarms(ctx, dir, "", 10, false, io.Discard); err == nil || !strings.Contains(err.Error(), "no gateway has run") {
		t.Errorf("before a gateway ran: %v", err)
	}
	own := filepath.Join(dir, ownDir)
	if err := os.MkdirAll(own, 0o700); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(ctx, own)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close() // open all along, as by a running gateway
	addAlarms(t, st, 2)
	var out bytes.Buffer
	say := func(err error, want string) {
		t.Helper()
		if err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%v: %s; want %q", err, out.String(), want)
		}
		out.Reset()
	}
	say(Alarms(ctx, dir, "active", 10, false, &out), "not acknowledged")
	say(Alarms(ctx, dir, "", 10, true, &out), `"rule_sha256":"09`)
	say(ActOnAlarm(ctx, dir, false, strings.ToUpper(alarmIDOf(0)), "李雷", "ok", &out), "acknowledged by 李雷")
	say(ActOnAlarm(ctx, dir, true, alarmIDOf(1), "李雷", "", &out), "closed")
	if err := ActOnAlarm(ctx, dir, true, "0000", "x", "", &out); err == nil || !strings.Contains(err.Error(), "more than one") {
		t.Errorf("two alarms for one prefix: %v", err)
	}
	say(AlarmRules(ctx, AlarmRulesConfig{Preset: "who-1", Show: true}, &out), "who-1-freeze")
	say(AlarmRules(ctx, AlarmRulesConfig{Dir: dir, Preset: "gsp-transport", By: "x"}, &out), "in force")
	say(AlarmRules(ctx, AlarmRulesConfig{Dir: dir}, &out), `"for": "5m0s"`)

	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	defer hook.Close()
	secret := "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	file := filepath.Join(t.TempDir(), "targets.json")
	text := `{"own_networks":["127.0.0.0/8"],"targets":[{"id":"erp","type":"webhook","url":"` + hook.URL + `/secret-path","secret":"` + secret + `","plain_http":true}]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	err = AlarmTargets(ctx, dir, file, "", &out)
	if strings.Contains(out.String(), secret) || strings.Contains(out.String(), "secret-path") {
		t.Errorf("a secret is shown: %s", out.String())
	}
	say(err, "erp")
	if info, err := os.Stat(targetsPath(dir)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	say(TestNotify(ctx, dir, "erp", &out), "took a test notice")
	if err := TestNotify(ctx, dir, "nobody", &out); err == nil {
		t.Error("an unknown target took a notice")
	}
}
