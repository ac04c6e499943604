package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"trailmark/gateway/internal/api"
	"trailmark/gateway/internal/diversion"
	"trailmark/gateway/internal/route"
	"trailmark/internal/epc"
	"trailmark/passport"
	"trailmark/passport/passporttest"
	"trailmark/statement"
	"trailmark/trace"
)

const (
	browser   = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	knownSSCC = "952123456789012345"
	knownGLN  = "9521234567899"
	itemAt    = "/01/" + passporttest.GTIN + "/21/" + passporttest.Serial
)

// gateway is the handler over one passport, whatever item is asked for.
type gateway struct {
	http.Handler
	table    route.Table
	passport []byte
	log      bytes.Buffer
}

func newGateway(t testing.TB, o passporttest.Options) *gateway {
	t.Helper()
	data, trust := passporttest.Make(t, o)
	file, err := trust.Encode()
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{passport: data}
	site, err := api.New(api.Options{
		Compose: func(_ context.Context, item epc.Link) ([]byte, error) {
			switch item.Serial {
			case "unseen":
				return nil, fmt.Errorf("journey: %w", api.ErrNotYet)
			case "broken":
				return nil, errors.New("disk on fire")
			}
			return data, nil
		},
		Product: func(_ context.Context, gtin string) (*api.Product, error) {
			if gtin != passporttest.GTIN {
				return nil, nil
			}
			rule, _ := passport.Rule("who-2")
			return &api.Product{GTIN: gtin, Name: statement.Texts{{Lang: "zh-CN", Words: "流感疫苗（示例）"}, {Lang: "en", Words: "Flu vaccine (sample)"}},
				Brand: statement.Texts{{Lang: "en", Words: "Example <Pharma>"}}, Rule: rule, Picture: "/api/products/" + gtin + "/picture"}, nil
		},
		Links: []api.Link{{Type: "epcis", Media: "application/json", Says: route.Words{ZH: "事件", EN: "Events"}, Href: func(_ context.Context, a epc.Address) (string, error) {
			if a.SSCC != knownSSCC && a.GLN != knownGLN {
				return "", nil
			}
			return "/epcis" + a.Path(), nil
		}}},
		Name:  "Example Pharma",
		Trust: trust, TrustFile: file,
		Status: func(context.Context) (api.Status, error) { return status(), nil },
		Scans: func(_ context.Context, item epc.Link) (diversion.Scans, error) {
			return diversion.Scans{GTIN: item.GTIN, Serial: item.Serial, Days: []diversion.Day{}}, nil
		},
		Findings: func(context.Context) ([]diversion.Finding, error) {
			return []diversion.Finding{{Kind: diversion.TooFar, Object: "https://id.gs1.org/01/09521234543213/21/1001", At: 5}}, nil
		},
		Ledger: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			kind := "application/octet-stream"
			switch status := r.Header.Get("X-Test"); {
			case status == "404":
				http.NotFound(w, r)
				return
			case status == "400":
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"title":"Bad Request","status":400,"detail":"the ledger's own words"}`)
				return
			case strings.Contains(r.URL.Path, "/proof/") && r.URL.Query().Get("format") == "" || r.URL.Path == "/ledgers":
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprint(w, `{"ledgers":[]}`)
				return
			case strings.HasSuffix(r.URL.Path, "/checkpoint") || strings.Contains(r.URL.Path, "/proof/"):
				kind = "text/plain; charset=utf-8"
			}
			w.Header().Set("Content-Type", kind)
			fmt.Fprint(w, "ledger "+r.URL.Path)
		}),
		Base: "https://id.example.com/", Location: time.FixedZone("CST", 8*3600),
		Log: slog.New(slog.NewTextHandler(&g.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	g.Handler, g.table = site, site.Routes()
	return g
}

// get asks with header pairs.
func (g *gateway) do(method, target, body string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w.Result()
}

func text(t testing.TB, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (g *gateway) page(t testing.TB, target, lang string) string {
	t.Helper()
	r := g.do("GET", target, "", "Accept", browser, "Accept-Language", lang)
	body := text(t, r)
	if r.StatusCode != http.StatusOK || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("%s: %s %s\n%s", target, r.Status, r.Header.Get("Content-Type"), body)
	}
	return body
}

func contains(t testing.TB, body string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(body, want) {
			t.Errorf("page lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
}

func lacks(t testing.TB, body string, words ...string) {
	t.Helper()
	for _, w := range words {
		if strings.Contains(body, w) {
			t.Errorf("page has %q", w)
		}
	}
}

func TestItemPage(t *testing.T) {
	for name, c := range map[string]struct {
		o              passporttest.Options
		zh, en, absent []string
	}{
		"kept": {passporttest.Options{},
			[]string{`<html lang="zh-CN">`, "符合标准", "均符合 2–8 °C 的要求", "杭州冷库 1 号", "2026-03-02 08:30", "无人监控 40 分钟", "流感疫苗（示例）",
				"全程都有测量", "本页由运营方制作", "anchor verify --trust trust.cbor 09521234543213-1001.passport", "1/1 个验证者", "谁声明了什么", "签名不能证明什么", "相对湿度", "场所限值"},
			[]string{`<html lang="en">`, "Within the rule", "2–8 °C was kept", "Hangzhou cold store 1", "Nobody was looking for 40 min", "This page is made by the operator",
				"1 of 1 validators", "What no signature can prove", "Measured all along", "Who declared what", "Time and order", "the brand&#39;s rule: 2 °C – 8 °C"},
			[]string{"含模拟数据", "Simulated data", "verdict bad", "class=\"past\""}},
		"beyond": {passporttest.Options{Beyond: true},
			[]string{"verdict bad", "有超标", "累计有 1 小时 20 分钟处于 8 °C 及以上", `channel over`, `class="past"`, "最长一次"},
			[]string{"Beyond the rule", "8 °C or above for 1 h 20 min in all", "longest run"}, []string{"verdict good"}},
		"withheld": {passporttest.Options{Withheld: true},
			[]string{"verdict doubt", "记录不完整", "应有而未出示的测量", "<code>box</code>", "这一段没有任何得到证明的测量"},
			[]string{"A measurement is missing", "No measurement is proven for this leg", "2026-03-02 14:30 – 18:25"}, []string{"verdict good"}},
		"simulated": {passporttest.Options{Simulated: true}, []string{"含模拟数据", "模拟设备"}, []string{"Simulated data", "a simulated device"}, nil},
		"unruled": {passporttest.Options{Unruled: true}, []string{"verdict none", "无法判定", "没有品牌方签署的商品信息"},
			[]string{"Not judged", "No product information signed by a brand"}, []string{"verdict good"}},
		"tampered": {passporttest.Options{Tampered: true},
			[]string{"verdict bad", "未通过核验", "<code>range</code>", "请不要相信这份记录里的任何内容", "数值被改动过", "?passport"},
			[]string{"Does not verify", "<code>range</code>", "Do not rely on anything in this record", "it was changed"},
			[]string{"verdict good", "杭州冷库", "Hangzhou", "08:30"}}, // nothing of it is shown
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, c.o)
			zh, en := g.page(t, itemAt, "zh-TW,zh;q=0.9,en;q=0.5"), g.page(t, itemAt, "fr, en-GB;q=0.8, zh;q=0.1")
			contains(t, zh, c.zh...)
			contains(t, en, c.en...)
			lacks(t, zh, c.absent...)
			lacks(t, en, c.absent...)
			wellFormed(t, zh)
			wellFormed(t, en)
			dump(t, "item-"+name, zh, en)
		})
	}
}

// wellFormed checks that tags close, and that nothing is loaded from elsewhere
// or run.
func wellFormed(t testing.TB, page string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, []string{"meta", "link", "img", "br"}, xml.HTMLEntity
	var open []string
	for {
		tok, err := d.RawToken()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("page: %v", err)
		}
		switch e := tok.(type) {
		case xml.StartElement:
			switch e.Name.Local {
			case "script", "iframe", "object", "form":
				t.Errorf("page has a %s", e.Name.Local)
			case "meta", "link", "img", "br":
			default:
				open = append(open, e.Name.Local)
			}
			for _, a := range e.Attr {
				if a.Name.Local == "style" || strings.HasPrefix(a.Name.Local, "on") {
					t.Errorf("%s has attribute %s", e.Name.Local, a.Name.Local)
				}
				if (a.Name.Local == "src" || a.Name.Local == "href") && !strings.HasPrefix(a.Value, "/") && !strings.HasPrefix(a.Value, "data:") && !strings.HasPrefix(a.Value, "#") {
					t.Errorf("%s leads to %q", e.Name.Local, a.Value)
				}
			}
		case xml.EndElement:
			if n := len(open); e.Name.Local == "br" {
				continue
			} else if n == 0 || open[n-1] != e.Name.Local {
				t.Fatalf("</%s> closes %v", e.Name.Local, open)
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Errorf("left open: %v", open)
	}
}

func TestStyleIsTheOneThePolicyAllows(t *testing.T) {
	g := newGateway(t, passporttest.Options{})
	r := g.do("GET", itemAt, "", "Accept", browser)
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindAllStringSubmatch(text(t, r), -1)
	if len(style) != 1 {
		t.Fatalf("%d style elements, want 1", len(style))
	}
	hash := sha256.Sum256([]byte(style[0][1]))
	csp := r.Header.Get("Content-Security-Policy")
	if want := "style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"; !strings.Contains(csp, want) || !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("policy %q lacks %q", csp, want)
	}
}

func TestItemFile(t *testing.T) {
	g := newGateway(t, passporttest.Options{})
	for name, c := range map[string]struct {
		target      string
		headers     []string
		disposition string
	}{
		"asked for":  {itemAt, []string{"Accept", passport.MediaType}, ""},
		"preferred":  {itemAt, []string{"Accept", "text/html;q=0.5, " + passport.MediaType}, ""},
		"downloaded": {itemAt + "?passport", []string{"Accept", browser}, `attachment; filename="09521234543213-1001.passport"`},
	} {
		r := g.do("GET", c.target, "", c.headers...)
		if body := text(t, r); r.StatusCode != 200 || r.Header.Get("Content-Type") != passport.MediaType || body != string(g.passport) || r.Header.Get("Content-Disposition") != c.disposition {
			t.Errorf("%s: %s %v, %d bytes", name, r.Status, r.Header, len(body))
		}
	}
	if r := g.do("GET", itemAt, "", "Accept", "application/json"); r.StatusCode != http.StatusNotAcceptable {
		t.Errorf("json: %s, want 406", r.Status)
	}
	if r := g.do("GET", itemAt, ""); !strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") {
		t.Errorf("no accept header: %s", r.Header.Get("Content-Type"))
	}
	if r := g.do("HEAD", itemAt, "", "Accept", passport.MediaType); r.StatusCode != 200 {
		t.Errorf("head: %s", r.Status)
	}
}

func TestAnotherItemsFileIsRefused(t *testing.T) {
	page := newGateway(t, passporttest.Options{}).page(t, "/01/"+passporttest.GTIN+"/21/1002", "en")
	contains(t, page, "<code>item</code>", "It shows records of another item.")
	lacks(t, page, "Hangzhou", "verdict good")
}

func TestProblems(t *testing.T) {
	g := newGateway(t, passporttest.Options{})
	for name, c := range map[string]struct {
		method, target string
		status         int
		allow, detail  string
	}{
		"item not seen":         {"GET", "/01/09521234543213/21/unseen", 404, "", "no record of this item yet"},
		"check digit":           {"GET", "/01/09521234543210/21/1", 400, "", "want 3, in \"/01/09521234543210/21/1\"\nhint: the address is"},
		"thirteen digits":       {"GET", "/01/9521234543213/21/1", 400, "", "hint: a barcode of 13 digits is written with 1 zeros before it"},
		"serial too long":       {"GET", "/01/09521234543213/21/" + strings.Repeat("1", 21), 400, "", "want 1 to 20"},
		"gateway's own trouble": {"GET", "/01/09521234543213/21/broken", 500, "", "it is logged"},
		"unknown path":          {"GET", "/admin", 404, "", "nothing is served"},
		"unknown method":        {"DELETE", itemAt, 405, "GET, HEAD, OPTIONS", "method DELETE"},
		"posted checkpoint":     {"POST", "/checkpoint", 405, "GET, HEAD, OPTIONS", "method POST"},
		"qr of no item":         {"GET", "/qr/01/09521234543210/21/1.svg", 400, "", "check digit 0: want 3"},
		"qr without its ending": {"GET", "/qr/01/09521234543213/21/1", 404, "", ".svg"},
	} {
		t.Run(name, func(t *testing.T) {
			headers := []string{"Accept", "application/problem+json, */*"}
			if strings.HasPrefix(c.target, "/01/") {
				headers = nil // curl's default takes anything
			}
			r := g.do(c.method, c.target, "", headers...)
			var p struct {
				Title, Detail string
				Status        int
			}
			if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
				t.Fatal(err)
			}
			if r.StatusCode != c.status || p.Status != c.status || p.Title != http.StatusText(c.status) || r.Header.Get("Content-Type") != "application/problem+json" || r.Header.Get("Allow") != c.allow {
				t.Errorf("%s %v, allow %q", r.Status, p, r.Header.Get("Allow"))
			}
			if !strings.Contains(p.Detail, c.detail) {
				t.Errorf("detail %q lacks %q", p.Detail, c.detail)
			}
			if strings.Contains(p.Detail, "disk") {
				t.Errorf("detail %q tells what is inside", p.Detail)
			}
		})
	}
	if log := g.log.String(); !strings.Contains(log, "disk on fire") || strings.Contains(log, "check digit") {
		t.Errorf("log %q", log)
	}
}

func TestErrorPages(t *testing.T) {
	g := newGateway(t, passporttest.Options{})
	for _, c := range []struct {
		name, target, lang string
		status             int
		wants              []string
	}{
		{"unseen", "/01/09521234543213/21/unseen", "zh", 404, []string{`<html lang="zh-CN">`, "还没有这件商品的记录", `lang="en">There is no record of this item yet`, "既不说明商品好"}},
		{"unseen", "/01/09521234543213/21/unseen", "en", 404, []string{`<html lang="en">`, "There is no record of this item yet.", `lang="zh-CN">还没有这件商品的记录`}},
		{"malformed", "/01/09521234543210/21/1", "zh", 400, []string{"不是有效的商品编号", "want 3"}},
		{"malformed", "/01/09521234543210/21/1", "en", 400, []string{"does not name an item", "hint:"}},
		{"nowhere", "/nowhere", "en", 404, []string{"There is nothing here.", "这里什么也没有"}},
		{"broken", "/01/09521234543213/21/broken", "en", 500, []string{"Something went wrong on our side"}},
	} {
		r := g.do("GET", c.target, "", "Accept", browser, "Accept-Language", c.lang)
		page := text(t, r)
		if r.StatusCode != c.status || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s %v", c.target, r.Status, r.Header)
		}
		contains(t, page, c.wants...)
		lacks(t, page, "disk on fire")
		wellFormed(t, page)
		if c.lang == "zh" {
			dump(t, "error-"+c.name, page, "")
		} else {
			dump(t, "error-"+c.name, "", page)
		}
	}
}

func TestLanguage(t *testing.T) {
	g := newGateway(t, passporttest.Options{})
	for _, c := range []struct{ target, accept, want string }{
		{itemAt, "", "zh-CN"},
		{itemAt, "fr-FR, de;q=0.7", "zh-CN"},
		{itemAt, "en-US,en;q=0.9,zh;q=0.8", "en"},
		{itemAt, "en;q=0.1, zh-Hant-HK", "zh-CN"},
		{itemAt, "zh;q=0, en;q=0.1", "en"},
		{itemAt + "?lang=en", "zh", "en"},
		{itemAt + "?lang=zh-CN", "en", "zh-CN"},
		{itemAt + "?lang=tlh", "en", "en"},
	} {
		page := g.page(t, c.target, c.accept)
		other := map[string]string{"en": "zh-CN", "zh-CN": "en"}[c.want]
		contains(t, page, `<html lang="`+c.want+`">`, `href="`+itemAt+`?lang=`+other+`"`)
	}
}

func TestQR(t *testing.T) {
	g := newGateway(t, passporttest.Options{})
	seen := map[string]bool{}
	for _, path := range []string{itemAt, "/01/09521234543213/21/1002", "/01/09521234543213/21/A%2Fb%3F"} {
		r := g.do("GET", "/qr"+path+".svg", "")
		body := text(t, r)
		var svg struct {
			XMLName xml.Name `xml:"svg"`
			ViewBox string   `xml:"viewBox,attr"`
			Rect    struct {
				Fill string `xml:"fill,attr"`
			} `xml:"rect"`
			Path struct {
				D string `xml:"d,attr"`
			} `xml:"path"`
		}
		if err := xml.Unmarshal([]byte(body), &svg); err != nil || r.StatusCode != 200 || r.Header.Get("Content-Type") != "image/svg+xml" {
			t.Fatalf("%s: %s %v", path, r.Status, err)
		}
		// Modules of a QR code, 17 and a multiple of four, and four of quiet zone at
		// either side; the first dark one is the finder's corner.
		var w, h int
		if _, err := fmt.Sscanf(svg.ViewBox, "0 0 %d %d", &w, &h); err != nil || w != h || (w-8-17)%4 != 0 || w < 29 {
			t.Errorf("%s: view box %q", path, svg.ViewBox)
		}
		if !strings.HasPrefix(svg.Path.D, "M4,4") || svg.Rect.Fill != "#FFFFFF" {
			t.Errorf("%s: begins at %.10s on %s", path, svg.Path.D, svg.Rect.Fill)
		}
		if seen[svg.Path.D] {
			t.Errorf("%s: same code as another item's", path)
		}
		seen[svg.Path.D] = true
		if dir := os.Getenv("TRAILMARK_PAGES"); dir != "" {
			name := filepath.Join(dir, "qr", filepath.FromSlash(path)+".svg")
			if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(body), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestSmallOnes(t *testing.T) {
	g := newGateway(t, passporttest.Options{})
	if r := g.do("GET", "/healthz", ""); r.StatusCode != 200 || text(t, r) != "ok\n" {
		t.Errorf("healthz: %s", r.Status)
	}
	if r := g.do("GET", "/proof/consistency", "", "X-Test", "400"); r.StatusCode != 400 || !strings.Contains(text(t, r), "the ledger's own words") {
		t.Errorf("a proof's problem: %s", r.Status)
	}
	for _, path := range []string{"/checkpoint", "/tile/0/000"} {
		if r := g.do("GET", path, ""); text(t, r) != "ledger "+path {
			t.Errorf("%s is not the ledger's: %s", path, r.Status)
		}
	}
	r := g.do("GET", "/trust", "")
	trust, err := passport.ParseTrust([]byte(text(t, r)))
	if err != nil || r.Header.Get("Content-Type") != "application/cbor" {
		t.Fatalf("trust: %v, %s", err, r.Header.Get("Content-Type"))
	}
	if _, err := passport.Verify(g.passport, trust, time.Now()); err != nil {
		t.Errorf("the trust file we serve does not verify what we serve: %v", err)
	}
}

func status() api.Status {
	t0 := passporttest.Epoch().UnixMilli()
	now := t0 + 12*3_600_000
	lo, hi := int64(3900), int64(6500)
	limits := []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8000}, {Comparison: trace.AtOrBelow, Value: 2000}}
	words := func(zh, en string) statement.Texts {
		return statement.Texts{{Lang: "zh-CN", Words: zh}, {Lang: "en", Words: en}}
	}
	store, truck := statement.Hash{0xaa, 1}, statement.Hash{0xbb, 2}
	return api.Status{Now: now,
		Zones: []api.Zone{
			{ID: "cold-1", Name: words("杭州冷库 1 号", "Hangzhou cold store 1"), Site: words("示例医药物流", "Example Pharma Logistics"), Channels: []api.Channel{
				{Device: store, Name: "air", Unit: "Cel", Nominal: 10_000, Closeness: statement.SameRoom, Limits: limits, At: now - 4000, Value: 4438, Min: &lo, Max: &hi},
				{Device: store, Name: "humidity", Unit: "%RH", Nominal: 10_000, At: now - 600_000, Value: 55_200},
			}},
			{ID: "truck-3", Name: words("沪杭冷藏车 3 号", "Refrigerated truck 3"), Site: words("示例医药物流", "Example Pharma Logistics"), Channels: []api.Channel{
				{Device: truck, Name: "box", Unit: "Cel", Nominal: 10_000, Closeness: statement.SameBox, Limits: limits, At: now - 2000, Value: 8000},
				{Device: truck, Name: "spare", Unit: "Cel", Nominal: 10_000, Limits: limits},
			}},
		},
		Devices: []api.Device{
			{KeyID: store, Name: "coldstore-pi", Issuer: "urn:dev:mac:1", Epoch: 0, Seq: 4312, Received: now - 3000, Clock: statement.ClockSynchronised, MaxError: 20},
			{KeyID: truck, Name: "truck-pi", Simulated: true, Issuer: "urn:dev:mac:2", Epoch: 1, Seq: 17, Received: now - 90_000, Clock: statement.ClockRestored, MaxError: 60_000, Unreceipted: 3, Waiting: 4, Missing: [2]uint64{18, 21}},
		},
		Ingest:  map[string]uint64{"accepted": 4330, "repeated": 12, "bad-signature": 2, "brand-new": 1},
		Forks:   []api.Fork{{KeyID: truck, Epoch: 1, Seq: 16}},
		Ledger:  api.Ledger{Origin: "ledger.example.com/acme/2026h1", Entries: 4351, Size: 4348, CheckpointAt: now - 1000},
		Anchors: []api.Anchor{{Chain: "trailmark-dev-1", Validators: 1, Height: 981, Size: 4300, At: now - 60_000, Lag: 51, Trouble: "commit timed out; asked again"}},
		Broker:  api.Broker{Clients: 2, Address: "127.0.0.1:1883"},
		Items: []api.Item{
			{Link: epc.Link{GTIN: passporttest.GTIN, Serial: passporttest.Serial}, Last: now - 5000, Zone: words("沪杭冷藏车 3 号", "Refrigerated truck 3")},
			{Link: epc.Link{GTIN: passporttest.GTIN, Serial: "A/b"}, Last: now - 70_000, Zone: words("杭州冷库 1 号", "Hangzhou cold store 1")},
		},
	}
}

func TestStatusPage(t *testing.T) {
	g := newGateway(t, passporttest.Options{})
	zh, en := g.page(t, "/", "zh"), g.page(t, "/", "en")
	contains(t, zh, "网关状态", "杭州冷库 1 号", "4.438 °C", "4 秒前", "3.9 / 6.5", "! 超限", "? 已过时", "? 无读数", "✓ 正常", "⚠ 模拟", "4312", "未同步，由保存的时间恢复",
		"拒绝：签名不成立", "brand-new", "分叉", "ledger.example.com/acme/2026h1", "1/1 个验证者", "只有留存过旧账本头的人才能发现篡改", "981", "51", "commit timed out",
		`<meta http-equiv="refresh" content="5">`, `href="/?lang=en"`, `src="/qr/01/09521234543213/21/A%2Fb.svg"`, "127.0.0.1:1883")
	contains(t, en, "Gateway status", "Hangzhou cold store 1", "4 s ago", "8 °C or above", "! beyond", "? stale", "refused: signature does not hold", "1 of 1 validators",
		"tamper-evident only to those who kept earlier heads", "bb0200000000…", "simulated")
	wellFormed(t, zh)
	wellFormed(t, en)
	dump(t, "status", zh, en)
}

func TestStatusOfNothing(t *testing.T) {
	h, err := api.New(api.Options{Status: func(context.Context) (api.Status, error) { return api.Status{Now: 1}, nil }, Ledger: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/?lang=en", nil))
	contains(t, w.Body.String(), "no plan yet", "no device is enrolled yet", "Not anchored on any chain", "none yet", "never")
	wellFormed(t, w.Body.String())
}

func TestStatusFails(t *testing.T) {
	h, err := api.New(api.Options{Status: func(context.Context) (api.Status, error) { return api.Status{}, errors.New("locked") }, Ledger: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 500 || strings.Contains(w.Body.String(), "locked") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// dump writes pages where TRAILMARK_PAGES says, to be looked at.
func dump(t testing.TB, name, zh, en string) {
	t.Helper()
	dir := os.Getenv("TRAILMARK_PAGES")
	if dir == "" {
		return
	}
	for lang, page := range map[string]string{"zh": zh, "en": en} {
		if page == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name+"."+lang+".html"), []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
