package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"trailmark/passport/passporttest"
)

// FuzzRequest asks for anything in any way: the answer is a page, a file or a
// problem, never the gateway's own failure, and no address escapes its page.
func FuzzRequest(f *testing.F) {
	g := newGateway(f, passporttest.Options{})
	f.Add(itemAt, "lang=en", browser, "en;q=0.3,zh")
	f.Add(itemAt, "passport", "", "")
	f.Add("/qr"+itemAt+".svg", "", "*/*;q=2, text/html;q=x;;", "-;q=1,,")
	f.Add("/01/09521234543210/21/%22%3E%3Cscript%3E", "lang=%22%3E", "text/html", "zh")
	f.Add("/01//21/..%2F", "", "text/html", "")
	f.Fuzz(func(t *testing.T, path, query, accept, language string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || u.Host != "" || !strings.HasPrefix(path, "/") {
			return
		}
		u.RawQuery = query
		r := (&http.Request{Method: "GET", URL: u, Host: "id.example.com", Header: http.Header{"Accept": {accept}, "Accept-Language": {language}}}).WithContext(t.Context())
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		body := w.Body.String()
		switch kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";"); {
		case w.Code >= 500 && !strings.HasSuffix(path, "/broken"):
			t.Errorf("%d %s", w.Code, body)
		case kind == "text/html" && strings.Contains(strings.ToLower(body), "<script"):
			t.Errorf("script in %s", body)
		case kind == "application/problem+json" && !json.Valid(w.Body.Bytes()):
			t.Errorf("problem %q", body)
		}
	})
}
