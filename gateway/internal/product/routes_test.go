package product_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image"
	"image/png"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/gateway/internal/enrol"
	"trailmark/gateway/internal/ingest"
	"trailmark/gateway/internal/product"
	"trailmark/gateway/internal/route"
	"trailmark/gateway/internal/route/routetest"
	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// desk is products over a real store, ingest and keys.
type desk struct {
	product.Desk
	t testing.TB
	http.Handler
	st *store.Store
}

func newDesk(t testing.TB) *desk {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	org := enrol.Organisation{Tenant: "acme", Environment: "test", Domain: "trace.acme.example", Site: "en=Site", Brand: "zh-CN=品牌,en=Brand"}
	keys, err := enrol.MakeKeys(dir, org, false, time.Now)
	must(err)
	st, err := store.Open(t.Context(), filepath.Join(dir))
	must(err)
	t.Cleanup(func() { st.Close() })
	in, err := ingest.New(t.Context(), st, statement.NewKeyring(org.Audience(), keys.Authority.Key()), time.Now, slog.New(slog.DiscardHandler))
	must(err)
	founding, err := keys.Founding()
	must(err)
	must(in.Add(t.Context(), founding...))
	brand, err := enrol.ParseTexts(org.Brand)
	must(err)
	d := &desk{Desk: product.Desk{Catalogue: product.NewCatalogue(st), Store: st, Signer: keys, Gate: in, Brand: brand, Open: true}, t: t, st: st}
	d.Handler = d.Routes().Handler(fail)
	return d
}

func fail(w http.ResponseWriter, _ *http.Request, err error) {
	p := route.Problem{Status: http.StatusInternalServerError}
	var e *route.Error
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		err = route.TooLarge(large)
	}
	if errors.As(err, &e) {
		p.Status, p.Detail = e.Status, e.Detail
	} else {
		p.Detail = err.Error()
	}
	p.Title = http.StatusText(p.Status)
	w.Header().Set("Content-Type", route.ProblemType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

func (d *desk) do(method, target, kind, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:8080"
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

func (d *desk) statements() []store.Statement {
	d.t.Helper()
	rows, err := d.st.Kind(d.t.Context(), statement.KindProduct)
	if err != nil {
		d.t.Fatal(err)
	}
	return rows
}

func (d *desk) count() int { return len(d.statements()) }

// newest is the row of the newest product.
func (d *desk) newest() uint64 {
	rows := d.statements()
	return rows[len(rows)-1].Index
}

const (
	vaccine = "09521234543213"
	shrimp  = "09521234543220"
	input   = `{"name":{"zh-CN":"疫苗","en":"Vaccine"},"band":"2..8"}`
	table   = "商品条码,名称,温度范围\n" + vaccine + ",疫苗,2..8\n" + shrimp + ",虾,-25..-18\n"
)

func picture(t testing.TB) string {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 3, 2))); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRoutes(t *testing.T) {
	d := newDesk(t)
	if w := d.do("PUT", "/api/products/"+vaccine, "application/json", input); w.Code != 200 {
		t.Fatal(w.Body)
	}
	if w := d.do("PUT", "/api/products/"+shrimp, "application/json", input); w.Code != 200 {
		t.Fatal(w.Body)
	}
	json, csv, png := map[string]string{"Content-Type": "application/json"}, map[string]string{"Content-Type": "text/csv"}, map[string]string{"Content-Type": "image/png"}
	elsewhere := `{"url":"https://cdn.example/p.webp","type":"image/webp","sha256":"` + strings.Repeat("0a", 32) + `"}`
	jpeg, webp := shrimp, "09521234543237"
	for gtin, p := range map[string]store.Picture{jpeg: {Type: "image/jpeg", Data: []byte("j")}, webp: {Type: "image/webp", Data: []byte("w")}} {
		p.GTIN = gtin
		if err := d.st.Update(t.Context(), func(tx *store.Tx) error { return tx.PutPicture(p) }); err != nil {
			t.Fatal(err)
		}
	}
	// A closed desk refuses before anything else, so the open one answers all but 403.
	closed := map[string]routetest.Case{
		"POST /api/products":               {Target: "/api/products", Header: csv, Body: table, Status: 403},
		"PUT /api/products/{gtin}":         {Target: "/api/products/" + vaccine, Header: json, Body: input, Status: 403},
		"PUT /api/products/{gtin}/picture": {Target: "/api/products/" + vaccine + "/picture", Header: png, Body: picture(t), Status: 403},
	}
	cases := map[string][]routetest.Case{
		"GET /api/products": {
			{Target: "/api/products", Status: 200},
			{Target: "/api/products?limit=1&after=" + vaccine, Status: 200},
			{Target: "/api/products", Header: map[string]string{"Accept": "text/csv"}, Status: 200},
			{Target: "/api/products?limit=1001", Status: 400},
		},
		"POST /api/products": {
			{Target: "/api/products", Header: csv, Body: table, Status: 200},
			{Target: "/api/products", Header: csv, Body: table + "1,x,2..8\n", Status: 422},
			{Target: "/api/products", Header: csv, Body: "price\n1\n", Status: 400},
		},
		"GET /api/products/{gtin}": {
			{Target: "/api/products/" + vaccine, Status: 200},
			{Target: "/api/products/" + vaccine[1:], Status: 200},
			{Target: "/api/products/09521234543244", Status: 404, Unknown: true},
			{Target: "/api/products/09521234543210", Status: 400},
		},
		"PUT /api/products/{gtin}": {
			{Target: "/api/products/" + vaccine, Header: json, Body: input, Status: 200},
			{Target: "/api/products/banana", Header: json, Body: input, Status: 400, Unknown: true},
			{Target: "/api/products/" + vaccine, Header: json, Body: `{"name":{"en":"x"},"band":"2..8","price":1}`, Status: 400},
			{Target: "/api/products/" + vaccine, Header: json, Body: `{"name":{},"band":"2..8"}`, Status: 400},
			{Target: "/api/products/" + vaccine, Header: json, Body: input + "{}", Status: 400},
			{Target: "/api/products/" + vaccine, Header: json, Body: "", Status: 400},
		},
		"PUT /api/products/{gtin}/picture": {
			{Target: "/api/products/" + vaccine + "/picture", Header: json, Body: elsewhere, Status: 200},
			{Target: "/api/products/" + vaccine + "/picture", Header: png, Body: "GIF89a", Status: 400},
			{Target: "/api/products/" + vaccine + "/picture", Header: png, Body: picture(t)[:20], Status: 400},
			{Target: "/api/products/" + vaccine + "/picture", Header: json, Body: strings.Replace(elsewhere, "https:", "javascript:", 1), Status: 400},
			{Target: "/api/products/09521234543244/picture", Header: png, Body: picture(t), Status: 404, Unknown: true},
		},
		"GET /api/products/{gtin}/picture": {
			{Target: "/api/products/" + jpeg + "/picture", Status: 200},
			{Target: "/api/products/" + webp + "/picture", Status: 200},
			{Target: "/api/products/" + vaccine + "/picture", Status: 307},
			{Target: "/api/products/" + jpeg + "/picture", Header: map[string]string{"Accept": "image/png"}, Status: 406},
			{Target: "/api/products/09521234543244/picture", Status: 404, Unknown: true},
			{Target: "/api/products/1/picture", Status: 400},
		},
	}
	if w := d.do("PUT", "/api/products/"+vaccine+"/picture", "application/json", elsewhere); w.Code != 200 {
		t.Fatal(w.Body)
	}
	for name, c := range closed {
		c.Header = with(c.Header, "X-Closed", "1")
		cases[name] = append(cases[name], c)
	}
	shut := product.Desk{Catalogue: d.Catalogue, Store: d.st, Brand: d.Brand}
	refusing := shut.Routes().Handler(fail)
	routetest.Check(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Closed") != "" {
			refusing.ServeHTTP(w, r)
			return
		}
		d.ServeHTTP(w, r)
	}), d.Routes(), cases)
}

func with(h map[string]string, k, v string) map[string]string {
	out := map[string]string{k: v}
	for k, v := range h {
		out[k] = v
	}
	return out
}

// TestWritesOnlyFromThisMachine: a page of another host cannot write by an address
// of its own that leads here.
func TestWritesOnlyFromThisMachine(t *testing.T) {
	d := newDesk(t)
	for host, want := range map[string]int{"127.0.0.1:8080": 200, "localhost": 200, "[::1]:80": 200, "evil.example": 403, "127.0.0.1.evil.example": 403, "10.0.0.5": 403, "": 403} {
		r := httptest.NewRequest("PUT", "/api/products/"+vaccine, strings.NewReader(input))
		r.Host = host
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		if w.Code != want || w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("host %q: %d, want %d", host, w.Code, want)
		}
	}
}

// TestImport: a dry run writes nothing, one wrong line and nothing is written, and
// what is the same is not signed again.
func TestImport(t *testing.T) {
	d := newDesk(t)
	var got product.Imported
	send := func(target, body string, status, statements int) {
		t.Helper()
		got = product.Imported{}
		w := d.do("POST", target, "text/csv; charset=utf-8", body)
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != status || d.count() != statements {
			t.Fatalf("%d, %d statements, want %d, %d: %s", w.Code, d.count(), status, statements, w.Body)
		}
	}
	send("/api/products", table, 200, 0)
	if got.Applied || len(got.Lines) != 2 || got.Lines[1] != (product.Line{Line: 3, GTIN: shrimp, Fate: product.New}) {
		t.Errorf("%+v", got)
	}
	send("/api/products?apply", table+"09521234543210,x,2..8\n", 422, 0)
	if got.Applied || len(got.Errors) != 1 || got.Errors[0].Line != 4 || got.Errors[0].Column != "商品条码" {
		t.Errorf("%+v", got)
	}
	send("/api/products?apply", table, 200, 2)
	send("/api/products?apply", strings.Replace(table, "-25..-18", "-30..-18", 1), 200, 3)
	if got.Lines[0].Fate != product.Same || got.Lines[1].Fate != product.Changed {
		t.Errorf("%+v", got)
	}
	w := d.do("GET", "/api/products/"+shrimp, "", "")
	var v product.View
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || v.Band != "-30..-18" || v.Name["zh-CN"] != "虾" || v.Index != d.newest() || len(v.Criteria) != 2 {
		t.Errorf("%v %s", err, w.Body)
	}
	// What is exported is the same when it is imported.
	r := httptest.NewRequest("GET", "/api/products", nil)
	r.Header.Set("Accept", "text/csv")
	out := httptest.NewRecorder()
	d.ServeHTTP(out, r)
	send("/api/products?apply", out.Body.String(), 200, 3)
}

// refusing is a gate that is shut halfway.
type refusing struct{ product.Gate }

func (refusing) Add(context.Context, ...*statement.Statement) error { return errors.New("disk full") }

func TestNothingIsHalfImported(t *testing.T) {
	d := newDesk(t)
	open := d.Gate
	d.Gate = refusing{open}
	if w := d.do("POST", "/api/products?apply", "text/csv", table); w.Code != 500 || d.count() != 0 {
		t.Errorf("%d, %d statements", w.Code, d.count())
	}
	// A statement in the midst that ingest refuses takes the others with it.
	good, err := d.Signer.Product(statement.Product{Version: 1, GTIN: vaccine, Name: d.Brand, Brand: d.Brand, Rule: mustRule(t)})
	if err != nil {
		t.Fatal(err)
	}
	stranger := newDesk(t)
	bad, err := stranger.Signer.Product(statement.Product{Version: 1, GTIN: shrimp, Name: d.Brand, Brand: d.Brand, Rule: mustRule(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := open.Add(t.Context(), good, bad); err == nil || d.count() != 0 {
		t.Errorf("%v, %d statements", err, d.count())
	}
}

func mustRule(t testing.TB) []statement.Criterion {
	t.Helper()
	p, err := product.Draft{GTIN: vaccine, Name: statement.Texts{{Lang: "en", Words: "x"}}, Band: "2..8"}.Product(statement.Texts{{Lang: "en", Words: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	return p.Rule
}

func TestPicture(t *testing.T) {
	d := newDesk(t)
	if w := d.do("PUT", "/api/products/"+vaccine, "application/json", input); w.Code != 200 {
		t.Fatal(w.Body)
	}
	at := "/api/products/" + vaccine + "/picture"
	// The type that counts is the file's own.
	if w := d.do("PUT", at, "image/jpeg", picture(t)); w.Code != 200 || !strings.Contains(w.Body.String(), `"type":"image/png","url":"`+at+`","signed":false`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := d.do("GET", at, "", ""); w.Header().Get("Content-Type") != "image/png" || w.Body.String() != picture(t) {
		t.Errorf("%v", w.Header())
	}
	var wide bytes.Buffer
	if err := png.Encode(&wide, image.NewGray(image.Rect(0, 0, 4096, 1))); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string][2]string{"html": {"<html><script>", "text/html"}, "svg": {"<svg xmlns='http://www.w3.org/2000/svg'/>", "no PNG"}, "wide": {wide.String(), "4096 × 1 pixels"}, "nothing": {"", "0 bytes"}} {
		if w := d.do("PUT", at, "image/png", c[0]); w.Code != 400 || !strings.Contains(w.Body.String(), c[1]) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}
