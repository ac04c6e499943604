package app

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/gateway/internal/product"
	"trailmark/gateway/internal/route/routetest"
)

// whole is a gateway on loopback, with broker, ledger and chain.
type whole struct {
	t   *testing.T
	dir string
	url string
}

// start runs a gateway until the test ends; change may alter its configuration.
func start(t *testing.T, change func(*Config), hear ...func(Ready)) *whole {
	t.Helper()
	g := &whole{t: t, dir: filepath.Join(t.TempDir(), "o")}
	if err := Init(g.dir, DefaultOrganisation(), false, time.Now, io.Discard); err != nil {
		t.Fatal(err)
	}
	conf := Default()
	conf.Dir, conf.HTTP, conf.EST, conf.MQTT = g.dir, "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	if change != nil {
		change(&conf)
	}
	ctx, stop := context.WithCancel(t.Context())
	ready, done := make(chan Ready, 1), make(chan error, 1)
	go func() { done <- Run(ctx, conf, slog.New(slog.DiscardHandler), func(r Ready) { ready <- r }) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("gateway: %v", err)
		}
	})
	select {
	case r := <-ready:
		g.url = r.URL
		for _, f := range hear {
			f(r)
		}
	case err := <-done:
		done <- nil
		t.Fatal(err)
	case <-time.After(30 * time.Second):
		t.Fatal("not ready after 30 s")
	}
	return g
}

func (g *whole) get(path string, into any) int {
	g.t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: 10 * time.Second}
	r, err := client.Get(g.url + path)
	if err != nil {
		g.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err == nil && into != nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		g.t.Fatalf("%s: %v\n%s", path, err, body)
	}
	return r.StatusCode
}

// TestServes: a whole gateway serves what its document says, its own routes too,
// and a table of products that was left in its inbox.
func TestServes(t *testing.T) {
	g := start(t, nil)
	at, err := url.Parse(g.url)
	if err != nil {
		t.Fatal(err)
	}
	// What other packages contribute they try themselves.
	routetest.Check(t, httputil.NewSingleHostReverseProxy(at), (&gateway{}).routes(), map[string][]routetest.Case{
		"GET /api/figures": {{Target: "/api/figures", Status: 200}},
	})
	var doc struct {
		Servers []struct{ URL string }
		Paths   map[string]any
	}
	if g.get("/api/openapi.json", &doc); len(doc.Servers) != 1 || doc.Servers[0].URL != g.url {
		t.Errorf("servers %v, want %s", doc.Servers, g.url)
	}
	for _, path := range []string{"/", "/01/{gtin}/21/{serial}", "/api/products", "/api/figures", "/checkpoint", "/.well-known/gs1resolver"} {
		if doc.Paths[path] == nil {
			t.Errorf("%s is not in the document", path)
		}
	}
	file := filepath.Join(t.TempDir(), "p.csv")
	if err := os.WriteFile(file, []byte("GTIN,name,band\n09521234543213,Vaccine,2..8\n9521234543220,Shrimp,-25..-18\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ImportProducts(t.Context(), g.dir, file, true, time.Now, io.Discard); err != nil {
		t.Fatal(err)
	}
	var list product.List
	for deadline := time.Now().Add(15 * time.Second); len(list.Products) == 0; time.Sleep(100 * time.Millisecond) {
		if g.get("/api/products", &list); time.Now().After(deadline) {
			t.Fatal("the inbox was not taken in")
		}
	}
	if len(list.Products) != 2 || list.Products[1].Band != "-25..-18" {
		t.Errorf("%+v", list)
	}
	if code := g.get("/01/09521234543220?linkType=gs1:pip", nil); code != http.StatusTemporaryRedirect {
		t.Errorf("resolver: %d", code)
	}
	// A pallet of which an event was captured has a link to its events.
	const pallet = "/00/952123456789012345"
	if code := g.get(pallet+"?linkType=gs1:epcis", nil); code != http.StatusNotFound {
		t.Errorf("events of a pallet that nobody saw: %d", code)
	}
	event := `{"@context":["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],"type":"ObjectEvent","eventTime":"2026-03-01T00:00:00Z","eventTimeZoneOffset":"+00:00",
		"epcList":["https://id.gs1.org` + pallet + `"],"action":"OBSERVE","bizStep":"inspecting"}`
	r, err := http.Post(g.url+"/epcis/events", "application/ld+json", strings.NewReader(event))
	if err != nil {
		t.Fatal(err)
	}
	if said, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusCreated {
		t.Fatalf("%s %s", r.Status, said)
	}
	r.Body.Close()
	r, err = http.Get(g.url + pallet + "?linkType=gs1:epcis") // follows
	if err != nil {
		t.Fatal(err)
	}
	if found, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusOK || !strings.Contains(string(found), "inspecting") {
		t.Errorf("%s %s", r.Status, found)
	}
	r.Body.Close()
	// The same table again is the same; what the gateway has is exported.
	var out strings.Builder
	if err := ImportProducts(t.Context(), g.dir, file, true, time.Now, &out); err != nil || !strings.Contains(out.String(), "0 new, 0 changed, 2 the same") {
		t.Errorf("%v\n%s", err, &out)
	}
	out.Reset()
	if err := ExportProducts(t.Context(), g.dir, "-", false, &out); err != nil || !strings.Contains(out.String(), "09521234543220,,Shrimp,'-25..-18,,") {
		t.Errorf("%v\n%s", err, &out)
	}
}

// TestBatchWithAStranger: one statement that nobody vouches for, and none of its
// file is taken.
func TestBatchWithAStranger(t *testing.T) {
	g := start(t, nil)
	other := filepath.Join(t.TempDir(), "o")
	if err := Init(other, DefaultOrganisation(), false, time.Now, io.Discard); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "p.csv")
	var batch []byte
	for _, c := range []struct{ dir, line string }{{g.dir, "09521234543213,Vaccine,2..8"}, {other, "9521234543220,Shrimp,-25..-18"}} {
		if err := os.WriteFile(file, []byte("GTIN,name,band\n"+c.line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := ImportProducts(t.Context(), c.dir, file, true, time.Now, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{other, g.dir} {
		names, err := filepath.Glob(filepath.Join(dir, inboxDir, "products-*"))
		if err != nil || len(names) != 1 {
			t.Fatalf("%v, %v", names, err)
		}
		data, err := os.ReadFile(names[0])
		if err != nil {
			t.Fatal(err)
		}
		batch = append(batch, data...)
	}
	name := filepath.Join(g.dir, inboxDir, "mixed"+batchSuffix)
	if err := os.WriteFile(name+".new", batch, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if _, err := os.Stat(name + ".refused"); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("the batch was not refused")
		}
	}
	var list product.List
	if g.get("/api/products", &list); len(list.Products) > 1 || len(list.Products) == 1 && list.Products[0].GTIN != "09521234543213" {
		t.Errorf("taken: %+v", list)
	}
}
