package app

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"trailmark/gateway/internal/epcis"
	"trailmark/gateway/internal/route"
	"trailmark/gateway/internal/route/routetest"
)

// TestEventRoutes: the EPCIS interface is described operation by operation, in both
// languages, and its requests reach its own handler.
func TestEventRoutes(t *testing.T) {
	table := eventRoutes()
	routetest.Document(t, table)
	if len(table) != len(epcis.Routes()) || len(table) != len(eventWords) {
		t.Errorf("%d described, %d operations, %d in Chinese", len(table), len(epcis.Routes()), len(eventWords))
	}
	table = append(table, route.Route{Method: "GET", Path: "/epcis", Tag: table[0].Tag, Says: table[0].Says, Answers: table[0].Answers,
		Serve: func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(http.StatusTeapot); return nil }})
	h := eventsFirst(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }),
		table.Handler(func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusNotFound)
		}))
	for path, want := range map[string]int{"/epcis/events": 202, "/epcis/": 202, "/epcis": 418, "/other": 404} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}
