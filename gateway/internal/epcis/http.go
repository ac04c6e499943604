package epcis

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"trailmark/gateway/internal/epcis/document"
	"trailmark/gateway/internal/store"
)

// A Route is one operation, for whoever describes the interface.
type Route struct {
	Method, Path string
	Summary      string
	Request      string // media types of the body, "" for none
	Response     string // what the answer is, and its media type
	Parameters   []string
	handle       func(*Repository, http.ResponseWriter, *http.Request) error
}

const (
	jsonTypes = "application/json, application/ld+json"
	results   = "EPCISQueryDocument; application/ld+json or application/json"
	names     = "Collection; application/ld+json or application/json"
)

// Routes are all operations. Each path answers OPTIONS, too.
func Routes() []Route {
	routes := []Route{
		{"POST", "/epcis/capture", "capture an EPCISDocument or one event: each becomes a statement that the organisation signs", jsonTypes, "202, Location of the capture job", nil, (*Repository).capture},
		{"GET", "/epcis/capture", "the newest capture jobs", "", "list of capture jobs; application/json", []string{"perPage"}, (*Repository).captures},
		{"GET", "/epcis/capture/{id}", "what became of a capture", "", "capture job; application/json", nil, (*Repository).captured},
		{"POST", "/epcis/events", "capture one event", jsonTypes, "201, Location of the event", nil, (*Repository).captureOne},
		{"GET", "/epcis/events", "the events that were captured, by the standard's query parameters", "", results, queryParameters(), (*Repository).events},
		{"GET", "/epcis/events/{eventID}", "one event, as it was captured, or the newest one that declares it to be wrong", "", "event; application/ld+json or application/json", nil, (*Repository).event},
		{"GET", "/epcis/eventTypes", "the types of events that there are", "", names, nil, (*Repository).eventTypes},
		{"GET", "/epcis/epcs", "the objects of events", "", names, []string{"perPage", "nextPageToken"}, (*Repository).epcs},
		{"GET", "/epcis/signed/events", "what the gateway's own devices signed of an item, sightings with the readings of the time, as events", "", results,
			[]string{"MATCH_epc", "GE_eventTime", "LT_eventTime", "perPage", "nextPageToken"}, (*Repository).signedEvents},
	}
	routes = append(routes,
		Route{"POST", "/epcis/custody/handovers", "sign that objects are given to somebody, with the temperature digest of the zone where they were seen last", "application/json: objects, to, place",
			"201, the statement's id and moments; application/json", nil, (*Repository).handover},
		Route{"POST", "/epcis/custody/acceptances", "sign that what a handover names was taken over", "application/json: handover",
			"201, the statement's id and moments; application/json", nil, (*Repository).accept})
	for _, of := range []struct{ path, column, parameter, what string }{
		{"eventTypes/{eventType}", "", "eventType", "of a type"}, {"epcs/{epc}", "", "MATCH_anyEPC", "of an object"},
		{"bizSteps", "step", "EQ_bizStep", "of a business step"}, {"dispositions", "disposition", "EQ_disposition", "of a disposition"},
		{"readPoints", "read_point", "EQ_readPoint", "of a read point"}, {"bizLocations", "biz_location", "EQ_bizLocation", "of a business location"},
	} {
		path := "/epcis/" + of.path
		if of.column != "" {
			routes = append(routes, Route{"GET", path, "the " + of.path + " that there are", "", names, []string{"perPage", "nextPageToken"},
				func(r *Repository, w http.ResponseWriter, req *http.Request) error { return r.names(w, req, of.column) }})
			path += "/{value}"
		}
		name := path[strings.LastIndex(path, "{")+1 : len(path)-1]
		routes = append(routes, Route{"GET", path + "/events", "the events " + of.what, "", results, queryParameters(),
			func(r *Repository, w http.ResponseWriter, req *http.Request) error {
				q := req.URL.Query()
				q.Add(of.parameter, req.PathValue(name))
				return r.answer(w, req, q)
			}})
	}
	return routes
}

// Handler serves Routes.
func (r *Repository) Handler() http.Handler {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, route := range Routes() {
		mux.HandleFunc(route.Method+" "+route.Path, func(w http.ResponseWriter, req *http.Request) {
			if err := r.admit(req); err != nil {
				r.fail(w, req, err)
			} else if err := route.handle(r, w, req); err != nil {
				r.fail(w, req, err)
			}
		})
		methods[route.Path] = append(methods[route.Path], route.Method)
	}
	for path, allowed := range methods {
		allow := "OPTIONS, " + strings.Join(allowed, ", ")
		mux.HandleFunc(path, func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Allow", allow)
			if req.Method == http.MethodOptions {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			r.fail(w, req, problemf(http.StatusMethodNotAllowed, parameter, "method %s is not allowed here; allowed: %s", req.Method, allow))
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		r.fail(w, req, problemf(http.StatusNotFound, notFound, "nothing is served at this address"))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		h := w.Header()
		h.Set("GS1-EPCIS-Version", "2.0.0")
		h.Set("GS1-EPCIS-Min", "2.0.0")
		h.Set("GS1-EPCIS-Max", "2.0.0")
		h.Set("GS1-CBV-Version", "2.0.0")
		h.Set("GS1-EPC-Format", "Never_Translates")
		h.Set("GS1-CBV-XML-Format", "Never_Translates")
		h.Set("GS1-EPCIS-Capture-Limit", strconv.Itoa(document.MaxEvents))
		h.Set("GS1-EPCIS-Capture-File-Size-Limit", strconv.Itoa(document.MaxSize))
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, req)
	})
}

// admit lets in whoever may use the interface: users of this machine, where nobody
// else can ask, and never by a name that a page of another host could have.
func (r *Repository) admit(req *http.Request) error {
	if !r.Open {
		return problemf(http.StatusForbidden, notAllowed, "events are captured and asked for on loopback without --base only, until there are accounts; gateway event --file works beside a running gateway")
	}
	host, _, err := net.SplitHostPort(req.Host)
	if err != nil {
		host = req.Host
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil && host != "localhost" {
		return problemf(http.StatusForbidden, notAllowed, "host %.60q is not this machine; ask by its address on loopback", host)
	}
	if v := req.Header.Get("GS1-EPCIS-Version"); v != "" && v != "2.0" && !strings.HasPrefix(v, "2.0.") {
		return problemf(http.StatusNotAcceptable, parameter, "GS1-EPCIS-Version %.20q, spoken is 2.0.0", v)
	}
	return nil
}

func (r *Repository) fail(w http.ResponseWriter, req *http.Request, err error) {
	var p *Problem
	switch {
	case errors.As(err, &p):
	case errors.Is(err, context.Canceled) && req.Context().Err() != nil:
		return // nobody is there to be told
	default:
		r.Log.Error("request", slog.String("method", req.Method), slog.String("path", req.URL.Path), slog.Any("err", err))
		p = problemf(http.StatusInternalServerError, "epcisException:ImplementationException", "the gateway could not answer; it is logged")
	}
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte("{}")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // a client that went away is no error of ours
}

// reply answers with JSON, as ld+json unless the client asks for plain JSON alone.
func reply(w http.ResponseWriter, req *http.Request, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	kind := "application/ld+json"
	if accept := req.Header.Get("Accept"); strings.Contains(accept, "application/json") && !strings.Contains(accept, "ld+json") {
		kind = "application/json"
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
	return nil
}

// body reads a document.
func body(w http.ResponseWriter, req *http.Request) ([]byte, error) {
	kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" && kind != "application/ld+json" {
		return nil, problemf(http.StatusUnsupportedMediaType, unsupported, "content type %.60q, want %s", req.Header.Get("Content-Type"), jsonTypes)
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, req.Body, document.MaxSize))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, problemf(http.StatusRequestEntityTooLarge, tooLarge, "document of more than %d bytes; send several", document.MaxSize)
	} else if err != nil {
		return nil, problemf(http.StatusBadRequest, validation, "the document did not arrive: %v", err)
	}
	return data, nil
}

func (r *Repository) capture(w http.ResponseWriter, req *http.Request) error {
	behaviour := req.Header.Get("GS1-Capture-Error-Behaviour")
	if behaviour != "" && behaviour != "rollback" && behaviour != "proceed" {
		return problemf(http.StatusBadRequest, parameter, "GS1-Capture-Error-Behaviour %.20q, want rollback or proceed", behaviour)
	}
	data, err := body(w, req)
	if err != nil {
		return err
	}
	job, err := r.Capture(req.Context(), data, behaviour == "proceed")
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/epcis/capture/"+job.ID)
	return reply(w, req, http.StatusAccepted, job)
}

func (r *Repository) captureOne(w http.ResponseWriter, req *http.Request) error {
	data, err := body(w, req)
	if err != nil {
		return err
	}
	if all, err := document.Parse(data); err == nil && len(all) != 1 {
		return problemf(http.StatusBadRequest, validation, "%d events, want one; /epcis/capture takes documents", len(all))
	}
	job, err := r.Capture(req.Context(), data, false)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/epcis/events/"+url.PathEscape(job.Events[0].EventID))
	return reply(w, req, http.StatusCreated, job.Events[0])
}

func (r *Repository) captured(w http.ResponseWriter, req *http.Request) error {
	job, err := r.Store.Capture(req.Context(), req.PathValue("id"))
	if errors.Is(err, store.ErrNotFound) {
		return problemf(http.StatusNotFound, notFound, "no capture job %.40q is known; the newest are at /epcis/capture", req.PathValue("id"))
	} else if err != nil {
		return err
	}
	return reply(w, req, http.StatusOK, json.RawMessage(job))
}

func (r *Repository) captures(w http.ResponseWriter, req *http.Request) error {
	p, err := pageOf(req.URL.Query())
	if err != nil {
		return err
	}
	jobs, err := r.Store.Captures(req.Context(), p.size)
	if err != nil {
		return err
	}
	out := make([]json.RawMessage, len(jobs))
	for i, j := range jobs {
		out[i] = j
	}
	return reply(w, req, http.StatusOK, out)
}

// transferred is the answer to a change of custody.
type transferred struct {
	Statement string   `json:"statement"` // id
	Objects   []string `json:"objects"`
	Moments   int      `json:"moments"` // channels whose digest is signed
}

// ask reads a small JSON request with no other members than into has.
func ask(w http.ResponseWriter, req *http.Request, into any) error {
	data, err := body(w, req)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil || d.More() {
		return problemf(http.StatusBadRequest, validation, "the request is not right: %v", err)
	}
	return nil
}

func (r *Repository) handover(w http.ResponseWriter, req *http.Request) error {
	var q struct {
		Objects []string `json:"objects"`
		To      string   `json:"to"`
		Place   string   `json:"place"`
	}
	if err := ask(w, req, &q); err != nil {
		return err
	}
	h, err := Handover(req.Context(), r.Store, q.Objects, q.To, q.Place, r.Now())
	if err != nil {
		return err
	}
	s, err := r.SignHandover(h)
	if err != nil {
		return err
	}
	if err := r.Add(req.Context(), s); err != nil {
		return err
	}
	return reply(w, req, http.StatusCreated, transferred{s.ID().String(), h.Objects, len(h.Moments)})
}

func (r *Repository) accept(w http.ResponseWriter, req *http.Request) error {
	var q struct {
		Handover string `json:"handover"`
	}
	if err := ask(w, req, &q); err != nil {
		return err
	}
	id, err := ParseID(q.Handover)
	if err != nil {
		return err
	}
	a, err := Acceptance(req.Context(), r.Store, id, r.Issuer, r.Now())
	if err != nil {
		return err
	}
	s, err := r.SignAcceptance(a)
	if err != nil {
		return err
	}
	if err := r.Add(req.Context(), s); err != nil {
		return err
	}
	return reply(w, req, http.StatusCreated, transferred{s.ID().String(), a.Objects, len(a.Moments)})
}
