package epcis

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"trailmark/gateway/internal/epcis/document"
	"trailmark/gateway/internal/store"
)

// Bounds of one answer.
const (
	defaultPage = 30
	maxPage     = 100
	maxValues   = 50 // values of one parameter
)

// lists of an event in the store.
var (
	anyList  = []uint64{5, 6, 7}
	itemList = []uint64{6}
)

// filter is one of the standard's query parameters.
type filter func(q *store.EventQuery, values []string) error

// filters are those that are supported.
var filters = map[string]filter{
	"eventType":     text(func(q *store.EventQuery) *[]string { return &q.Types }, nil),
	"EQ_action":     text(func(q *store.EventQuery) *[]string { return &q.Verbs }, nil),
	"EQ_bizStep":    text(func(q *store.EventQuery) *[]string { return &q.Steps }, document.ShortStep),
	"EQ_eventID":    text(func(q *store.EventQuery) *[]string { return &q.IDs }, nil),
	"EQ_readPoint":  text(func(q *store.EventQuery) *[]string { return &q.ReadPoints }, document.Canonical),
	"GE_eventTime":  instant(func(q *store.EventQuery) *int64 { return &q.From }),
	"LT_eventTime":  instant(func(q *store.EventQuery) *int64 { return &q.To }),
	"GE_recordTime": instant(func(q *store.EventQuery) *int64 { return &q.RecordedFrom }),
	"LT_recordTime": instant(func(q *store.EventQuery) *int64 { return &q.RecordedTo }),

	"EQ_disposition": text(func(q *store.EventQuery) *[]string { return &q.Dispositions }, document.ShortDisposition),
	"EQ_bizLocation": text(func(q *store.EventQuery) *[]string { return &q.BizLocations }, document.Canonical),
	"MATCH_parentID": text(func(q *store.EventQuery) *[]string { return &q.Parents }, nil, document.ObjectName),

	"MATCH_epc":            objects(itemList, "TransformationEvent"),
	"MATCH_epcClass":       objects(itemList, "TransformationEvent"),
	"MATCH_inputEPC":       objects([]uint64{7}),
	"MATCH_inputEPCClass":  objects([]uint64{7}),
	"MATCH_outputEPC":      objects(itemList, "ObjectEvent", "AggregationEvent", "TransactionEvent", "AssociationEvent"),
	"MATCH_outputEPCClass": objects(itemList, "ObjectEvent", "AggregationEvent", "TransactionEvent", "AssociationEvent"),
	"MATCH_anyEPC":         objects(anyList),
	"MATCH_anyEPCClass":    objects(anyList),

	"EXISTS_errorDeclaration": func(q *store.EventQuery, _ []string) error {
		yes := true
		q.Error = &yes
		return nil
	},
	"orderBy": func(_ *store.EventQuery, values []string) error {
		if len(values) != 1 || values[0] != "eventTime" {
			return errors.New("only eventTime is an order here")
		}
		return nil
	},
	"orderDirection": func(q *store.EventQuery, values []string) error {
		if q.Desc = values[0] == "DESC"; !q.Desc && values[0] != "ASC" {
			return errors.New("ASC or DESC")
		}
		return nil
	},
}

func queryParameters() []string {
	out := []string{"perPage", "nextPageToken"}
	for name := range filters {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// text asks for a column that is one of the values; spell gives the stored spelling.
func text(of func(*store.EventQuery) *[]string, spell func(string) string, check ...func(string) (string, error)) filter {
	return func(q *store.EventQuery, values []string) error {
		for _, v := range values {
			if spell != nil {
				v = spell(v)
			}
			for _, c := range check {
				var err error
				if v, err = c(v); err != nil {
					return err
				}
			}
			*of(q) = append(*of(q), v)
		}
		return nil
	}
}

func instant(of func(*store.EventQuery) *int64) filter {
	return func(q *store.EventQuery, values []string) error {
		if len(values) != 1 {
			return errors.New("one time")
		}
		t, err := time.Parse(time.RFC3339Nano, values[0])
		if err != nil {
			return errors.New("a time is written 2026-03-01T08:00:00.000+08:00, and + in an address %2B")
		}
		*of(q) = max(t.UnixMilli(), 1)
		return nil
	}
}

// objects asks for an object in some lists, and for events of none of some types.
func objects(lists []uint64, not ...string) filter {
	return func(q *store.EventQuery, values []string) error {
		m := store.ObjectMatch{Lists: lists}
		for _, v := range values {
			if strings.Contains(v, "*") && !strings.HasPrefix(v, "urn:epc:idpat:") {
				return errors.New("patterns are not matched here")
			}
			name, err := document.ObjectName(v)
			if err != nil {
				return err
			}
			m.Names = append(m.Names, name)
		}
		q.Objects, q.NotTypes = append(q.Objects, m), append(q.NotTypes, not...)
		return nil
	}
}

// page is where in an answer a client is.
type page struct {
	size  int
	token string
}

func pageOf(q url.Values) (page, error) {
	p := page{size: defaultPage, token: q.Get("nextPageToken")}
	if s := q.Get("perPage"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return p, problemf(http.StatusBadRequest, parameter, "perPage %.20q is no number of events", s)
		}
		p.size = min(n, maxPage)
	}
	return p, nil
}

// place is a token's: time and index of the last event of a page.
func (p page) place() (at int64, index uint64, err error) {
	if p.token == "" {
		return 0, 0, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(p.token)
	if err == nil {
		_, err = fmt.Sscanf(string(b), "%d.%d", &at, &index)
	}
	if err != nil || at < 0 || index > 1<<62 {
		return 0, 0, problemf(http.StatusBadRequest, parameter, "nextPageToken %.40q is not one that was given out", p.token)
	}
	return at, index, nil
}

func token(at int64, index uint64) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d.%d", at, index))
}

// next sets the header that leads to the next page.
func next(w http.ResponseWriter, req *http.Request, token string) {
	q := req.URL.Query()
	q.Set("nextPageToken", token)
	w.Header().Set("Link", "<"+req.URL.EscapedPath()+"?"+q.Encode()+`>; rel="next"`)
}

func (r *Repository) events(w http.ResponseWriter, req *http.Request) error {
	return r.answer(w, req, req.URL.Query())
}

// queryOf reads the parameters of a query.
func queryOf(values url.Values) (store.EventQuery, error) {
	q := store.EventQuery{}
	for name, given := range values {
		if name == "perPage" || name == "nextPageToken" {
			continue
		}
		f, ok := filters[name]
		if !ok {
			return q, problemf(http.StatusBadRequest, parameter, "parameter %.60q is not supported; supported are %s", name, strings.Join(queryParameters(), ", "))
		}
		for _, g := range given { // each occurrence must hold, by one of its values
			parts := strings.Split(g, "|")
			if len(parts) > maxValues {
				return q, problemf(http.StatusBadRequest, parameter, "%s has %d values, the most are %d", name, len(parts), maxValues)
			}
			if err := f(&q, parts); err != nil {
				return q, problemf(http.StatusBadRequest, parameter, "%s=%.120s: %v", name, g, err)
			}
		}
	}
	p, err := pageOf(values)
	if err != nil {
		return q, err
	}
	q.AfterTime, q.AfterIndex, err = p.place()
	q.Limit = p.size + 1 // one more, to know whether there is one
	return q, err
}

func (r *Repository) answer(w http.ResponseWriter, req *http.Request, values url.Values) error {
	q, err := queryOf(values)
	if err != nil {
		return err
	}
	found, err := r.Store.Events(req.Context(), q)
	if err != nil {
		return err
	}
	if len(found) == q.Limit {
		found = found[:q.Limit-1]
		last := found[len(found)-1]
		next(w, req, token(last.At, last.Index))
	}
	list := make([]json.RawMessage, len(found))
	said := document.Said{Statements: map[string]string{}}
	for i, e := range found {
		row, err := r.Store.Statement(req.Context(), e.Index)
		if err != nil {
			return err
		}
		if list[i], err = document.WithRecordTime(e.Doc, time.UnixMilli(row.Received)); err != nil {
			return fmt.Errorf("event of statement %d: %w", e.Index, err)
		}
		id := e.ID + e.Corrects
		said.Statements[id] = row.ID.String()
		if d, err := document.ParseEvent(e.Doc); err == nil && d.Sensors {
			said.Declared = append(said.Declared, id)
		}
	}
	return reply(w, req, http.StatusOK, document.QueryDocument(r.Now(), list, said))
}

func (r *Repository) event(w http.ResponseWriter, req *http.Request) error {
	id := req.PathValue("eventID")
	e, err := r.Store.Event(req.Context(), id)
	if errors.Is(err, store.ErrNotFound) {
		return problemf(http.StatusNotFound, notFound, "no event %.120q was captured; an eventID is percent-encoded in an address", id)
	} else if err != nil {
		return err
	}
	if e.Doc == nil {
		return problemf(http.StatusGone, notFound, "the document of event %.120q was erased; its statement and every proof of it stay", id)
	}
	row, err := r.Store.Statement(req.Context(), e.Index)
	if err != nil {
		return err
	}
	doc, err := document.WithRecordTime(e.Doc, time.UnixMilli(row.Received))
	if err != nil {
		return err
	}
	w.Header().Set("Trailmark-Statement", row.ID.String())
	return reply(w, req, http.StatusOK, doc)
}

// collection is the standard's answer to a question for names.
func collection(w http.ResponseWriter, req *http.Request, members []string) error {
	if members == nil {
		members = []string{}
	}
	return reply(w, req, http.StatusOK, map[string]any{"@context": document.Context, "type": "Collection", "member": members})
}

func (r *Repository) eventTypes(w http.ResponseWriter, req *http.Request) error {
	types, err := r.Store.Distinct(req.Context(), "type", "", maxPage)
	if err != nil {
		return err
	}
	return collection(w, req, types)
}

func (r *Repository) epcs(w http.ResponseWriter, req *http.Request) error {
	return r.list(w, req, func(after string, n int) ([]string, error) { return r.Store.Objects(req.Context(), after, n) })
}

func (r *Repository) names(w http.ResponseWriter, req *http.Request, column string) error {
	return r.list(w, req, func(after string, n int) ([]string, error) {
		return r.Store.Distinct(req.Context(), column, after, n)
	})
}

// list is a page of names.
func (r *Repository) list(w http.ResponseWriter, req *http.Request, of func(after string, n int) ([]string, error)) error {
	p, err := pageOf(req.URL.Query())
	if err != nil {
		return err
	}
	after, err := base64.RawURLEncoding.DecodeString(p.token)
	if err != nil {
		return problemf(http.StatusBadRequest, parameter, "nextPageToken %.40q is not one that was given out", p.token)
	}
	found, err := of(string(after), p.size+1)
	if err != nil {
		return err
	}
	if len(found) > p.size {
		found = found[:p.size]
		next(w, req, base64.RawURLEncoding.EncodeToString([]byte(found[p.size-1])))
	}
	return collection(w, req, found)
}
