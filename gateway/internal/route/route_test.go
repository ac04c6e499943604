package route_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"trailmark/gateway/internal/route"
)

func fail(w http.ResponseWriter, _ *http.Request, err error) {
	status := http.StatusInternalServerError
	var e *route.Error
	if errors.As(err, &e) {
		status = e.Status
	}
	http.Error(w, err.Error(), status)
}

func table() route.Table {
	ok := func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(http.StatusOK); return nil }
	says := route.Words{ZH: "说", EN: "says"}
	id := route.Param{Name: "id", In: "path", Says: says}
	return route.Table{
		{Method: "GET", Path: "/things/{id}", Tag: says, Says: says, Params: []route.Param{id}, Shared: true, Serve: ok,
			Answers: []route.Answer{{Status: 200, Type: "application/json", Says: says}}},
		{Method: "PUT", Path: "/things/{id}", Tag: says, Says: says, Params: []route.Param{id}, Serve: ok,
			Body: &route.Body{Types: []string{"application/json"}, Max: 10, Says: says}, Answers: []route.Answer{{Status: 200, Says: says}}},
	}
}

func TestHandlerRefusesWhatNoRouteTakes(t *testing.T) {
	h := table().Handler(fail)
	for name, c := range map[string]struct {
		method, target, body string
		header               [2]string
		status               int
		want                 string
	}{
		"taken":             {"PUT", "/things/1", `{"a":1}`, [2]string{"Content-Type", "application/json; charset=utf-8"}, 200, ""},
		"too large":         {"PUT", "/things/1", `{"a":12345}`, [2]string{"Content-Type", "application/json"}, 413, "11 bytes is over the limit of 10"},
		"wrong type":        {"PUT", "/things/1", `{}`, [2]string{"Content-Type", "text/plain"}, 415, "hint: application/json"},
		"no type":           {"PUT", "/things/1", `{}`, [2]string{}, 415, ""},
		"body on GET":       {"GET", "/things/1", `{}`, [2]string{}, 413, "takes no body"},
		"unwanted answer":   {"GET", "/things/1", "", [2]string{"Accept", "text/csv"}, 406, "gives application/json"},
		"wrong method":      {"DELETE", "/things/1", "", [2]string{}, 405, "allowed: GET, HEAD, PUT, OPTIONS"},
		"unknown address":   {"GET", "/thing/1", "", [2]string{}, 404, "nothing is served"},
		"too long":          {"GET", "/things/" + strings.Repeat("1", 5000), "", [2]string{}, 414, "5008 bytes is over the limit of 4096"},
		"too long by query": {"GET", "/things/1?" + strings.Repeat("1", 5000), "", [2]string{}, 414, ""},
	} {
		r := httptest.NewRequest(c.method, c.target, strings.NewReader(c.body))
		if c.header[0] != "" {
			r.Header.Set(c.header[0], c.header[1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d %s, want %d with %q", name, w.Code, w.Body, c.status, c.want)
		}
	}
}

// TestOptions: any page may ask what is shared, and what is not is not shared by
// the way of asking.
func TestOptions(t *testing.T) {
	tab := table()
	for _, shared := range []bool{true, false} {
		tab[0].Shared = shared
		w := httptest.NewRecorder()
		tab.Handler(fail).ServeHTTP(w, httptest.NewRequest("OPTIONS", "/things/1", nil))
		if w.Code != 204 || w.Header().Get("Allow") != "GET, HEAD, PUT, OPTIONS" || (w.Header().Get("Access-Control-Allow-Origin") == "*") != shared {
			t.Errorf("shared %v: %d %v", shared, w.Code, w.Header())
		}
		if strings.Contains(w.Header().Get("Access-Control-Allow-Methods"), "PUT") {
			t.Errorf("other hosts' pages may write: %v", w.Header())
		}
	}
}

func TestCheck(t *testing.T) {
	if err := table().Check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*route.Route){
		"no words":        func(r *route.Route) { r.Says.ZH = "" },
		"no answers":      func(r *route.Route) { r.Answers = nil },
		"not described":   func(r *route.Route) { r.Params = nil },
		"not in the path": func(r *route.Route) { r.Path = "/things" },
	} {
		tab := table()
		spoil(&tab[0])
		if tab.Check() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestDocumentNamesEveryAnswer(t *testing.T) {
	data, err := table().Document("https://example.com")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string                    `json:"operationId"`
			Responses   map[string]map[string]any `json:"responses"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	put := doc.Paths["/things/{id}"]["put"]
	if put.OperationID != "put_things_id" || put.Responses["415"] == nil || put.Responses["413"] == nil || doc.Paths["/things/{id}"]["get"].Responses["406"] == nil {
		t.Errorf("%s", data)
	}
}
