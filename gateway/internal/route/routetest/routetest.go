// Package routetest asks a table's routes what the document says of them, for
// tests: each answer that is promised must be given, as it is described, and a
// request that is wrong in any way must be refused with a problem.
package routetest

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"trailmark/gateway/internal/route"
)

//go:embed testdata/oas-3.1-schema.json
var openAPI []byte

// A Case is one request, and the status it must be answered with.
type Case struct {
	Target string
	Header map[string]string
	Body   string
	Status int
	// Unknown says that the target names something that could be and is not.
	Unknown bool
}

// Check asks every route of the table, which h serves, for its cases, by
// "GET /path/{id}", and for what is wrong at any address. A route without a case,
// one with a parameter in its path and no Unknown case, and a promised status that
// no case gives fail the test.
func Check(t *testing.T, h http.Handler, table route.Table, cases map[string][]Case) {
	t.Helper()
	if err := table.Check(); err != nil {
		t.Fatal(err)
	}
	doc := compile(t, table)
	for _, r := range table {
		name := r.Method + " " + r.Path
		t.Run(name, func(t *testing.T) {
			own := cases[name]
			if len(own) == 0 {
				t.Fatal("no case")
			}
			p := probe{t, h, r, doc, map[int]bool{}}
			unknown := !strings.Contains(r.Path, "{") || strings.HasSuffix(r.Path, "{$}")
			for _, c := range own {
				p.ask(r.Method, c)
				unknown = unknown || c.Unknown && c.Status >= 400
			}
			if !unknown {
				t.Error("no case of something unknown")
			}
			p.wrong(own[0])
			for _, s := range r.Statuses() {
				if !p.seen[s] {
					t.Errorf("status %d is promised and never given", s)
				}
			}
		})
	}
	for name := range cases {
		if !slices.ContainsFunc(table, func(r route.Route) bool { return r.Method+" "+r.Path == name }) {
			t.Errorf("case of %s, which is no route", name)
		}
	}
}

// Document holds a table's document to OpenAPI's own schema.
func Document(t *testing.T, table route.Table) {
	t.Helper()
	if err := table.Check(); err != nil {
		t.Fatal(err)
	}
	compile(t, table)
}

// document is a compiled OpenAPI document.
type document struct {
	*jsonschema.Compiler
	raw map[string]any
}

const where = "https://example.com/openapi.json"

// compile holds the document to OpenAPI's own schema and makes its parts usable.
func compile(t *testing.T, table route.Table) document {
	t.Helper()
	data, err := table.Document("https://example.com")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	meta, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPI))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	for url, v := range map[string]any{"https://spec.openapis.org/oas/3.1/schema/2022-10-07": meta, where: doc} {
		if err := c.AddResource(url, v); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile("https://spec.openapis.org/oas/3.1/schema/2022-10-07")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(doc); err != nil {
		t.Fatalf("not an OpenAPI 3.1 document: %v", err)
	}
	return document{c, doc.(map[string]any)}
}

// answer holds a body to the schema that the document gives for it.
func (d document) answer(t *testing.T, r route.Route, status int, kind string, body []byte) {
	t.Helper()
	escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D", "+", "%2B").Replace
	at := "/paths/" + escape(r.Public()) + "/" + strings.ToLower(r.Method) + "/responses/" + strconv.Itoa(status)
	responses := d.raw["paths"].(map[string]any)[r.Public()].(map[string]any)[strings.ToLower(r.Method)].(map[string]any)["responses"].(map[string]any)
	response, ok := responses[strconv.Itoa(status)].(map[string]any)
	if !ok {
		t.Errorf("status %d is not in the document", status)
		return
	}
	content, _ := response["content"].(map[string]any)
	if kind == "" && content == nil {
		return
	}
	media, ok := content[kind].(map[string]any)
	if !ok {
		t.Errorf("status %d of type %q is not in the document", status, kind)
		return
	}
	if media["schema"] == nil || r.Method == http.MethodHead {
		return
	}
	s, err := d.Compile(where + "#" + at + "/content/" + escape(kind) + "/schema")
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = s.Validate(v)
	}
	if err != nil {
		t.Errorf("status %d: %v\n%s", status, err, body)
	}
}

type probe struct {
	t    *testing.T
	h    http.Handler
	r    route.Route
	doc  document
	seen map[int]bool
}

func (p probe) send(method string, c Case) (*http.Response, []byte) {
	p.t.Helper()
	r := httptest.NewRequest(method, c.Target, strings.NewReader(c.Body))
	r.Host = "127.0.0.1"
	for k, v := range c.Header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	p.h.ServeHTTP(w, r)
	res := w.Result()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res, body
}

// ask sends a case and holds the answer to the document.
func (p probe) ask(method string, c Case) {
	p.t.Helper()
	res, body := p.send(method, c)
	if res.StatusCode != c.Status {
		p.t.Errorf("%s %.120s: %s, want %d\n%.400s", method, c.Target, res.Status, c.Status, body)
		return
	}
	p.seen[c.Status] = true
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if c.Status >= 400 && kind != route.ProblemType {
		p.t.Errorf("%s %.120s: %d of type %q, want a problem", method, c.Target, c.Status, kind)
	}
	p.doc.answer(p.t, p.r, c.Status, kind, body)
}

// wrong sends a good case with one thing wrong at a time.
func (p probe) wrong(good Case) {
	p.t.Helper()
	with := func(change func(*Case)) Case {
		c := good
		c.Header = map[string]string{}
		for k, v := range good.Header {
			c.Header[k] = v
		}
		change(&c)
		return c
	}
	res, body := p.send("BREW", good)
	if res.StatusCode != http.StatusMethodNotAllowed || !strings.Contains(res.Header.Get("Allow"), p.r.Method) || res.Header.Get("Content-Type") != route.ProblemType || !json.Valid(body) {
		p.t.Errorf("wrong method: %s, allow %q\n%s", res.Status, res.Header.Get("Allow"), body)
	}
	p.ask(p.r.Method, with(func(c *Case) { c.Target, c.Status = long(c.Target), 414 }))
	if p.r.Body == nil {
		p.ask(p.r.Method, with(func(c *Case) { c.Body, c.Status = "x", 413 }))
	} else {
		p.ask(p.r.Method, with(func(c *Case) { c.Header["Content-Type"], c.Status = "application/x-nothing", 415 }))
		p.ask(p.r.Method, with(func(c *Case) { c.Body, c.Status = strings.Repeat(" ", int(p.r.Body.Max)+1), 413 }))
	}
	if slices.Contains(p.r.Statuses(), 406) {
		p.ask(p.r.Method, with(func(c *Case) { c.Header["Accept"], c.Status = "application/x-nothing", 406 }))
	}
}

// long is a target beyond what is taken.
func long(target string) string {
	sep := "?"
	if strings.Contains(target, "?") {
		sep = "&"
	}
	return target + sep + strings.Repeat("x", route.MaxURL)
}
