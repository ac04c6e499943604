package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"trailmark/gateway/internal/store"
)

// secret is the one of the Standard Webhooks' own examples.
const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// loopback allows what tests dial.
const loopback = `"own_networks":["127.0.0.0/8","::1/128"],`

func parse(t *testing.T, text string) *Targets {
	t.Helper()
	x, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// listener answers requests one after the other as told, and keeps them.
type listener struct {
	*httptest.Server
	mu     sync.Mutex
	got    []*http.Request
	bodies []string
	answer func(n int, w http.ResponseWriter, r *http.Request, body string)
}

func listen(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request, body string)) *listener {
	l := &listener{answer: answer}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		l.mu.Lock()
		l.got, l.bodies = append(l.got, r), append(l.bodies, string(body))
		n := len(l.got)
		l.mu.Unlock()
		l.answer(n, w, r, string(body))
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *listener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.got)
}

var message = Message{Alarm: "0011", What: "start", Rule: "beyond", Kind: "single-event", Severity: "alarm", Name: Both{"超出限值", "Beyond a limit"},
	Device: "urn:dev:os:32473-d0", Channel: "28-0316a2795fff/temp", Zone: "cold1", Start: "2026-03-01T08:00:00+08:00", Triggered: "2026-03-01T08:05:00+08:00",
	MeasuredMS: 300_000, Peak: "9.5", Unit: "Cel"}

// checkWebhook verifies as standardwebhooks.com says a consumer must.
func checkWebhook(h http.Header, body string, now time.Time) error {
	at, err := strconv.ParseInt(h.Get("webhook-timestamp"), 10, 64)
	if err != nil || max(now.Unix()-at, at-now.Unix()) > 300 {
		return fmt.Errorf("timestamp %q", h.Get("webhook-timestamp"))
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.%s", h.Get("webhook-id"), at, body)
	for s := range strings.FieldsSeq(h.Get("webhook-signature")) {
		if v, ok := strings.CutPrefix(s, "v1,"); ok && v == base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
			return nil
		}
	}
	return fmt.Errorf("signature %q", h.Get("webhook-signature"))
}

// TestWebhookVector: the example that the Standard Webhooks' libraries test with.
func TestWebhookVector(t *testing.T) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	got := "v1," + hmacBase64(key, "msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330."+`{"test": 2432232314}`)
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestWebhook(t *testing.T) {
	now := time.Now()
	l := listen(t, func(_ int, w http.ResponseWriter, r *http.Request, body string) {
		if err := checkWebhook(r.Header, body, now); err != nil {
			t.Error(err)
		}
		var got struct {
			Type string
			Data Message
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil || got.Type != "alarm.start" || got.Data != message {
			t.Errorf("%s, %v", body, err)
		}
		if r.Method != http.MethodPost || r.Header.Get("Idempotency-Key") != "k1" || r.Header.Get("Webhook-Id") != "k1" {
			t.Errorf("%s %v", r.Method, r.Header)
		}
	})
	x := parse(t, `{`+loopback+`"targets":[{"id":"w","type":"webhook","url":"`+l.URL+`/hook","secret":"`+secret+`","plain_http":true}]}`)
	if err := x.send(t.Context(), "w", "k1", message, now); err != nil || l.count() != 1 {
		t.Errorf("%v, %d requests", err, l.count())
	}
	if err := checkWebhook(http.Header{"Webhook-Id": {"k1"}, "Webhook-Timestamp": l.got[0].Header["Webhook-Timestamp"], "Webhook-Signature": l.got[0].Header["Webhook-Signature"]}, l.bodies[0]+" ", now); err == nil {
		t.Error("a changed body has a good signature")
	}
}

// TestRobots: the vendors' rules, by servers that hold requests against them.
func TestRobots(t *testing.T) {
	sign := func(key, text string) string {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(text))
		return base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	near := func(text string, unit time.Duration) bool {
		n, err := strconv.ParseInt(text, 10, 64)
		return err == nil && time.Since(time.Unix(0, n*int64(unit))).Abs() < time.Hour
	}
	reply := func(w http.ResponseWriter, format string, args ...any) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, format, args...)
	}
	strict := func(body string, v any) error {
		d := json.NewDecoder(strings.NewReader(body))
		d.DisallowUnknownFields()
		return d.Decode(v)
	}
	wecom := listen(t, func(_ int, w http.ResponseWriter, r *http.Request, body string) {
		var m struct {
			MsgType string `json:"msgtype"`
			Text    struct {
				Content string `json:"content"`
			} `json:"text"`
		}
		switch err := strict(body, &m); {
		case r.URL.Query().Get("key") != "wk":
			reply(w, `{"errcode":93000,"errmsg":"invalid webhook url"}`)
		case err != nil || m.MsgType != "text" || m.Text.Content == "" || len(m.Text.Content) > 2048 || !utf8.ValidString(m.Text.Content):
			t.Errorf("wecom: %s, %v", body, err)
			reply(w, `{"errcode":40058,"errmsg":"invalid Request Parameter"}`)
		default:
			reply(w, `{"errcode":0,"errmsg":"ok"}`)
		}
	})
	ding := listen(t, func(_ int, w http.ResponseWriter, r *http.Request, body string) {
		var m struct {
			MsgType string `json:"msgtype"`
			Text    struct {
				Content string `json:"content"`
			} `json:"text"`
		}
		q := r.URL.Query()
		switch err := strict(body, &m); {
		case q.Get("access_token") != "dk":
			reply(w, `{"errcode":300001,"errmsg":"token is not exist"}`)
		case !near(q.Get("timestamp"), time.Millisecond) || q.Get("sign") != sign("SECtest", q.Get("timestamp")+"\nSECtest"):
			reply(w, `{"errcode":310000,"errmsg":"sign not match"}`)
		case err != nil || m.MsgType != "text" || m.Text.Content == "":
			t.Errorf("dingtalk: %s, %v", body, err)
			reply(w, `{"errcode":40035,"errmsg":"bad parameter"}`)
		default:
			reply(w, `{"errcode":0,"errmsg":"ok"}`)
		}
	})
	feishu := listen(t, func(_ int, w http.ResponseWriter, r *http.Request, body string) {
		var m struct {
			Timestamp string `json:"timestamp"`
			Sign      string `json:"sign"`
			MsgType   string `json:"msg_type"`
			Content   struct {
				Text string `json:"text"`
			} `json:"content"`
		}
		switch err := strict(body, &m); {
		case err != nil || m.MsgType != "text" || m.Content.Text == "":
			t.Errorf("feishu: %s, %v", body, err)
			reply(w, `{"code":9499,"msg":"Bad Request","data":{}}`)
		case !near(m.Timestamp, time.Second) || m.Sign != sign(m.Timestamp+"\nfs", ""):
			reply(w, `{"code":19021,"msg":"sign match fail or timestamp is not within one hour from current time"}`)
		default:
			reply(w, `{"StatusCode":0,"StatusMessage":"success","code":0,"data":{},"msg":"success"}`)
		}
	})
	x := parse(t, `{`+loopback+`"targets":[
		{"id":"wecom","type":"wecom","url":"`+wecom.URL+`/cgi-bin/webhook/send?key=wk","plain_http":true},
		{"id":"wecom-bad","type":"wecom","url":"`+wecom.URL+`/cgi-bin/webhook/send?key=other","plain_http":true},
		{"id":"ding","type":"dingtalk","url":"`+ding.URL+`/robot/send?access_token=dk","secret":"SECtest","plain_http":true},
		{"id":"ding-bad","type":"dingtalk","url":"`+ding.URL+`/robot/send?access_token=dk","secret":"SECother","plain_http":true},
		{"id":"feishu","type":"feishu","url":"`+feishu.URL+`/open-apis/bot/v2/hook/x","secret":"fs","plain_http":true},
		{"id":"feishu-bad","type":"feishu","url":"`+feishu.URL+`/open-apis/bot/v2/hook/x","secret":"fs2","plain_http":true}]}`)
	long := message
	long.Name.ZH = strings.Repeat("很长的名字", 300)
	for _, c := range []struct {
		id   string
		m    Message
		want string // in the error, "": none
	}{
		{"wecom", message, ""}, {"wecom", long, ""}, {"wecom-bad", message, "wecom answered 93000"}, {"ding", message, ""}, {"ding-bad", message, "dingtalk answered 310000: sign not match"},
		{"feishu", message, ""}, {"feishu-bad", message, "feishu answered 19021"},
	} {
		err := x.send(t.Context(), c.id, "k", c.m, time.Now())
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.id, err, c.want)
		}
		if _, refused := err.(*Refusal); c.want != "" && !refused {
			t.Errorf("%s: %v is no refusal", c.id, err)
		}
	}
	text := message.Text()
	if zh, en := strings.Index(text, "区域：cold1"), strings.Index(text, "Zone: cold1"); zh < 0 || en < zh {
		t.Errorf("not Chinese first, then English:\n%s", text)
	}
}

func TestGuard(t *testing.T) {
	g := guard{}
	for _, s := range []string{"127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
		"255.255.255.255", "198.18.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1"} {
		if err := g.check(netip.MustParseAddr(s)); err == nil {
			t.Errorf("%s may be dialled", s)
		}
	}
	for _, s := range []string{"1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1"} {
		if err := g.check(netip.MustParseAddr(s)); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	own := guard{own: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	if own.check(netip.MustParseAddr("10.9.9.9")) != nil || own.check(netip.MustParseAddr("::ffff:10.9.9.9")) != nil || own.check(netip.MustParseAddr("127.0.0.1")) == nil {
		t.Error("own networks")
	}
}

// TestGuardAtDial: what counts is the address that a name leads to, and nothing
// reaches it: neither directly nor by a redirect from where one may go.
func TestGuardAtDial(t *testing.T) {
	inner := listen(t, func(int, http.ResponseWriter, *http.Request, string) {})
	_, port, err := net.SplitHostPort(inner.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"} {
		x := parse(t, `{"targets":[{"id":"w","type":"webhook","url":"http://`+host+":"+port+`/","secret":"`+secret+`","plain_http":true}]}`)
		if err := x.send(t.Context(), "w", "k", message, time.Now()); err == nil || !strings.Contains(err.Error(), "not a public network") {
			t.Errorf("%s: %v", host, err)
		}
	}
	outer := listen(t, func(_ int, w http.ResponseWriter, r *http.Request, _ string) {
		http.Redirect(w, r, inner.URL, http.StatusTemporaryRedirect)
	})
	x := parse(t, `{`+loopback+`"targets":[{"id":"w","type":"webhook","url":"`+outer.URL+`","secret":"`+secret+`","plain_http":true}]}`)
	err = x.send(t.Context(), "w", "k", message, time.Now())
	if _, refused := err.(*Refusal); !refused || outer.count() != 1 {
		t.Errorf("%v", err)
	}
	t.Setenv("HTTP_PROXY", inner.URL) // a proxy would dial in the guard's place
	x = parse(t, `{"targets":[{"id":"w","type":"webhook","url":"http://trailmark.invalid/","secret":"`+secret+`","plain_http":true}]}`)
	if err := x.send(t.Context(), "w", "k", message, time.Now()); err == nil {
		t.Error("sent to nowhere")
	}
	if inner.count() != 0 {
		t.Errorf("%d requests reached what must not be reached", inner.count())
	}
}

// queue is a sender over a real store, with a clock of its own.
type queue struct {
	t   *testing.T
	st  *store.Store
	s   *Sender
	now time.Time
	log strings.Builder
}

func newQueue(t *testing.T, targets string) *queue {
	t.Helper()
	st, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	x := parse(t, targets)
	q := &queue{t: t, st: st, now: time.Now()}
	q.s = New(st, func() (*Targets, error) { return x, nil }, func() time.Time { return q.now }, slog.New(slog.NewTextHandler(&q.log, nil)))
	return q
}

func (q *queue) add(ns ...store.Notice) {
	q.t.Helper()
	data, err := json.Marshal(message)
	if err != nil {
		q.t.Fatal(err)
	}
	if err := q.st.Update(q.t.Context(), func(tx *store.Tx) error {
		for _, n := range ns {
			n.Data = data
			if err := tx.AddNotice(n); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		q.t.Fatal(err)
	}
}

func (q *queue) round() int {
	q.t.Helper()
	n, err := q.s.Round(context.Background())
	if err != nil {
		q.t.Fatal(err)
	}
	return n
}

func (q *queue) target() store.TargetState {
	q.t.Helper()
	ts, err := q.st.TargetStates(context.Background())
	if err != nil || len(ts) != 1 {
		q.t.Fatalf("%+v, %v", ts, err)
	}
	return ts[0]
}

func webhookTo(url string) string {
	return `{` + loopback + `"targets":[{"id":"w","type":"webhook","url":"` + url + `/very-secret-path","secret":"` + secret + `","plain_http":true}]}`
}

// TestRetries: a target that is down gets every notice later, under the same key,
// and in the meantime is left alone longer and longer.
func TestRetries(t *testing.T) {
	l := listen(t, func(n int, w http.ResponseWriter, _ *http.Request, _ string) {
		if n <= 3 {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	q := newQueue(t, webhookTo(l.URL))
	q.add(store.Notice{ID: "k1", Alarm: "a", Target: "w", What: store.NoticeStart}, store.Notice{ID: "k2", Alarm: "b", Target: "w", What: store.NoticeStart, Due: 1})
	for failures := 1; failures <= 3; failures++ {
		q.round()
		if s := q.target(); l.count() != failures || s.Failures != failures {
			t.Fatalf("%d requests, %+v after %d failures", l.count(), s, failures)
		}
		// Left alone: neither notice is tried again at once.
		q.now = q.now.Add((firstPause << (failures - 1)) * 3 / 4).Add(-2 * time.Second)
		if q.round(); l.count() != failures {
			t.Fatalf("%d requests after %d failures", l.count(), failures)
		}
		q.now = q.now.Add(time.Minute)
	}
	if q.target().Failures != 3 {
		t.Errorf("%+v", q.target())
	}
	if q.round() != 2 || q.round() != 0 {
		t.Error("not everything was sent once it could be")
	}
	if s := q.target(); s.Failures != 0 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
	for i, r := range l.got[:4] {
		if key := r.Header.Get("Idempotency-Key"); key != "k1" {
			t.Errorf("request %d has the key %s", i, key)
		}
	}
	for n := 1; n < 20; n++ {
		if p := pause(n, io.EOF); p < firstPause*3/4 || p > longPause {
			t.Errorf("pause after %d attempts is %v", n, p)
		}
	}
	if p := pause(1, &Later{"busy", 90 * time.Second}); p != 90*time.Second {
		t.Errorf("the target asked for 90 s, gets %v", p)
	}
	if strings.Contains(q.log.String(), "very-secret-path") || strings.Contains(q.log.String(), secret) {
		t.Errorf("a secret is in the log: %s", q.log.String())
	}
}

// TestPoisoned: what a target refuses parks it; other notices of it wait and are
// sent when somebody lets it go on.
func TestPoisoned(t *testing.T) {
	bad := true
	var mu sync.Mutex
	l := listen(t, func(_ int, w http.ResponseWriter, _ *http.Request, _ string) {
		mu.Lock()
		defer mu.Unlock()
		if bad {
			w.WriteHeader(http.StatusGone)
		}
	})
	q := newQueue(t, webhookTo(l.URL))
	q.add(store.Notice{ID: "k1", Alarm: "a", Target: "w", What: store.NoticeStart}, store.Notice{ID: "k2", Alarm: "b", Target: "w", What: store.NoticeStart})
	for range 5 {
		q.round()
		q.now = q.now.Add(time.Hour)
	}
	s := q.target()
	if l.count() != 1 || s.Parked == 0 || s.Waiting != 2 || !strings.Contains(s.Error, "410") {
		t.Errorf("%d requests, %+v", l.count(), s)
	}
	mu.Lock()
	bad = false
	mu.Unlock()
	if err := Resume(t.Context(), q.st, "w"); err != nil {
		t.Fatal(err)
	}
	if q.round() != 2 || q.target().Waiting != 0 {
		t.Errorf("%+v", q.target())
	}
	if err := Resume(t.Context(), q.st, "nobody"); err == nil {
		t.Error("a target that nothing was sent to went on")
	}
	// Failing twelve times in a row parks as well.
	l.answer = func(_ int, w http.ResponseWriter, _ *http.Request, _ string) {
		w.WriteHeader(http.StatusInternalServerError)
	}
	q.add(store.Notice{ID: "k3", Alarm: "c", Target: "w", What: store.NoticeStart})
	before := l.count()
	for range 20 {
		q.round()
		q.now = q.now.Add(2 * time.Hour)
	}
	if n := l.count() - before; n != parkAfter || q.target().Parked == 0 {
		t.Errorf("%d attempts, %+v", n, q.target())
	}
}

// TestStale: an escalation of what somebody has acknowledged is not sent, and no
// end before its start.
func TestStale(t *testing.T) {
	fail := true
	l := listen(t, func(_ int, w http.ResponseWriter, _ *http.Request, _ string) {
		if fail {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	q := newQueue(t, webhookTo(l.URL))
	if err := q.st.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.AddAlarm(store.Alarm{ID: "seen", Acked: 5})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	q.add(store.Notice{ID: "e", Alarm: "seen", Target: "w", What: store.NoticeEscalation})
	q.round()
	if l.count() != 0 {
		t.Error("escalated though it was acknowledged")
	}
	q.add(store.Notice{ID: "s", Alarm: "x", Target: "w", What: store.NoticeStart}, store.Notice{ID: "t", Alarm: "x", Target: "w", What: store.NoticeEnd, Due: 1})
	q.round()
	fail = false
	q.now = q.now.Add(time.Minute)
	q.round()
	q.round()
	if l.count() != 3 || !strings.Contains(l.bodies[1], "alarm.start") || !strings.Contains(l.bodies[2], "alarm.end") {
		t.Errorf("%d requests: %s", l.count(), l.bodies)
	}
}

func TestParseRefuses(t *testing.T) {
	good := `{"targets":[{"id":"w","type":"webhook","url":"https://a.example/x","secret":"` + secret + `"}]}`
	parse(t, good)
	for _, c := range []struct{ name, old, new, want string }{
		{"unknown member", `"id"`, `"idd"`, "unknown field"},
		{"unknown type", `"webhook"`, `"pager"`, `type "pager"`},
		{"plain http", "https", "http", "plain_http"},
		{"password in the address", "a.example", "u:p@a.example", "https"},
		{"short secret", secret, "whsec_AAAA", "24 to 64 bytes"},
		{"no secret", secret, "", "whsec_"},
		{"mail's members", `"id"`, `"to":["a@b.example"],"id"`, "type smtp"},
		{"identifier", `"w"`, `"W w"`, "identifier"},
		{"own network", `{"targets"`, `{"own_networks":["10.0.0.1"],"targets"`, "10.0.0.0/8"},
		{"rest", good, good + "{}", "follows"},
		{"ca", `"id"`, `"ca":"x","id"`, "PEM"},
		{"wecom without key", `"webhook"`, `"wecom"`, "key="},
		{"smtp without server", good, `{"targets":[{"id":"m","type":"smtp","tls":"tls","from":"a@b.example","to":["a@b.example"]}]}`, "host:port"},
		{"smtp in clear", good, `{"targets":[{"id":"m","type":"smtp","server":"a:25","tls":"none","from":"a@b.example","to":["a@b.example"]}]}`, "starttls"},
		{"smtp address", good, `{"targets":[{"id":"m","type":"smtp","server":"a:25","tls":"tls","from":"a@b.example\r\nBcc: x@y","to":["a@b.example"]}]}`, "mail address"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		_, err := Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the secret is in the error", c.name)
		}
	}
	if p := parse(t, good).Targets[0].Place(); p != "https://a.example/…" {
		t.Errorf("place %q", p)
	}
	if _, err := url.Parse("https://a.example/…"); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"targets":[{"id":"w","type":"webhook","url":"https://a.example/x","secret":"` + secret + `"}]}`)
	f.Add(`{"targets":[{"id":"m","type":"smtp","server":"a:25","tls":"tls","from":"a@b.example","to":["a@b.example"]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		x, err := Parse([]byte(text))
		if err != nil {
			return
		}
		for _, y := range x.Targets {
			_ = y.Place()
		}
	})
}
