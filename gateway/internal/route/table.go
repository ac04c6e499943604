package route

import (
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
)

// A Table is routes of one or several packages.
type Table []Route

// MaxURL bounds an address with its query, in bytes.
const MaxURL = 4096

// Handler serves the table. fail writes an error that is an *Error, or the
// gateway's own. Two routes for one address are a panic, as in http.ServeMux: the
// program is wrong.
func (t Table) Handler(fail func(http.ResponseWriter, *http.Request, error)) http.Handler {
	mux := http.NewServeMux()
	for _, r := range t {
		if r.Elsewhere {
			continue
		}
		mux.HandleFunc(r.pattern(), func(w http.ResponseWriter, req *http.Request) {
			if r.Shared {
				share(w.Header())
			}
			err := r.admit(w, req)
			if err == nil {
				err = r.Serve(w, req)
			}
			if err != nil {
				fail(w, req, err)
			}
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := len(r.URL.Path) + len(r.URL.RawQuery); n > MaxURL {
			fail(w, r, Errorf(http.StatusRequestURITooLong, "an address of %d bytes is over the limit of %d", n, MaxURL))
			return
		}
		handler, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		probe := &headerOnly{header: http.Header{}, status: http.StatusOK}
		handler.ServeHTTP(probe, r)
		if probe.status != http.StatusMethodNotAllowed {
			fail(w, r, Errorf(http.StatusNotFound, "nothing is served at this address"))
			return
		}
		allow := probe.header.Get("Allow") + ", OPTIONS"
		w.Header().Set("Allow", allow)
		if r.Method == http.MethodOptions {
			if t.shared(mux, r) {
				share(w.Header())
			}
			w.WriteHeader(http.StatusNoContent)
			return
		}
		fail(w, r, Errorf(http.StatusMethodNotAllowed, "method %s is not allowed here; allowed: %s", r.Method, allow))
	})
}

// share lets any page read an answer, and the headers that lead on from it.
func share(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "Accept, Accept-Language")
	h.Set("Access-Control-Expose-Headers", "Link, Location")
}

// shared reports whether what GET gives at an address is for any page.
func (t Table) shared(mux *http.ServeMux, r *http.Request) bool {
	get := r.Clone(r.Context())
	get.Method = http.MethodGet
	_, pattern := mux.Handler(get)
	return slices.ContainsFunc(t, func(r Route) bool { return r.Shared && r.pattern() == pattern })
}

// admit refuses what a route does not take, before anything of it is read.
func (r Route) admit(w http.ResponseWriter, req *http.Request) error {
	switch {
	case r.Body == nil && req.ContentLength != 0:
		return Errorf(http.StatusRequestEntityTooLarge, "%s here takes no body", req.Method)
	case r.Body != nil:
		kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
		if err != nil || !slices.Contains(r.Body.Types, kind) {
			return Errorf(http.StatusUnsupportedMediaType, "content type %q is not taken here\nhint: %s", req.Header.Get("Content-Type"), strings.Join(r.Body.Types, " or "))
		}
		if req.ContentLength > r.Body.Max {
			return tooLarge(req.ContentLength, r.Body.Max)
		}
		req.Body = http.MaxBytesReader(w, req.Body, r.Body.Max)
	}
	if types := r.types(); !r.Negotiates && len(types) > 0 && Choose(req, types...) == "" {
		return NotAcceptable(types...)
	}
	return nil
}

func tooLarge(n, limit int64) error {
	return Errorf(http.StatusRequestEntityTooLarge, "a body of %d bytes is over the limit of %d", n, limit)
}

// NotAcceptable says which types an address gives.
func NotAcceptable(types ...string) error {
	return Errorf(http.StatusNotAcceptable, "this address gives %s", strings.Join(slices.Compact(types), " or "))
}

// TooLarge is the answer to a body that went on beyond its limit, unannounced.
func TooLarge(err *http.MaxBytesError) error {
	return Errorf(http.StatusRequestEntityTooLarge, "the body is over the limit of %d bytes", err.Limit)
}

// headerOnly takes an answer's status and header and drops its body.
type headerOnly struct {
	header http.Header
	status int
}

func (p *headerOnly) Header() http.Header         { return p.header }
func (p *headerOnly) WriteHeader(status int)      { p.status = status }
func (p *headerOnly) Write(b []byte) (int, error) { return len(b), nil }

// Check says what is missing in a table: an address without words, a parameter of
// the path that is not described, or one that is not there.
func (t Table) Check() error {
	for _, r := range t {
		if r.Says.ZH == "" || r.Says.EN == "" || r.Tag.EN == "" || len(r.Answers) == 0 || (r.Serve == nil) != r.Elsewhere {
			return fmt.Errorf("route %s lacks words, answers or a handler", r.pattern())
		}
		described := map[string]bool{}
		for _, p := range r.Params {
			if p.Says.ZH == "" || p.Says.EN == "" {
				return fmt.Errorf("route %s: parameter %s lacks words", r.pattern(), p.Name)
			}
			if p.In == "path" {
				described[p.Name] = true
			}
		}
		for _, name := range names(r.Public()) {
			if !described[name] {
				return fmt.Errorf("route %s: parameter %s of the path is not described", r.pattern(), name)
			}
			delete(described, name)
		}
		for name := range described {
			return fmt.Errorf("route %s: parameter %s is described and not in the path", r.pattern(), name)
		}
	}
	return nil
}

// names are the parameters of a path.
func names(path string) (out []string) {
	for {
		_, after, ok := strings.Cut(path, "{")
		if !ok {
			return out
		}
		name, rest, _ := strings.Cut(after, "}")
		out, path = append(out, name), rest
	}
}
