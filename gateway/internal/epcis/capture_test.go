package epcis

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"trailmark/gateway/internal/epcis/document"
	"trailmark/statement"
)

// TestCapture: a document's events become statements behind each object's newest
// one, and their leaves give the signed roots; a second time nothing is added.
func TestCapture(t *testing.T) {
	g := newRig(t)
	before, err := g.st.Count(t.Context())
	g.must(err)
	events := []string{objectEvent(0, "ADD", itemA, itemB), aggregation(1, "ADD", "urn:epc:id:sscc:0614141.1234567890", "urn:epc:id:sgtin:0614141.107346.2017", itemB),
		objectEvent(2, "OBSERVE", itemA), aggregation(3, "DELETE", pallet, itemA), aggregation(4, "DELETE", pallet), objectEvent(5, "DELETE", itemA)}
	job := g.capture(events...)
	if !job.Success || len(job.Events) != 6 || job.Behaviour != "rollback" || g.kept != 6 {
		t.Fatalf("%+v, %d archived", job, g.kept)
	}
	want := map[string][]int{itemA: {0, 1, 2, 3, 5}, itemB: {0, 1}, pallet: {1, 3, 4}}
	for object, in := range want {
		places, err := g.st.EventsOf(t.Context(), object, 1<<62)
		g.must(err)
		var prev statement.Hash
		if len(places) != len(in) {
			t.Fatalf("%s: %d events, want %d", object, len(places), len(in))
		}
		for i, p := range places {
			if p.Index != before+uint64(in[i]) || p.Prev != prev {
				t.Errorf("%s: event %d is statement %d after %.8s…, want %d after %.8s…", object, i, p.Index, p.Prev, before+uint64(in[i]), prev)
			}
			row, err := g.st.Statement(t.Context(), p.Index)
			g.must(err)
			if prev = row.ID; row.ID.String() != job.Events[in[i]].Statement {
				t.Errorf("the job names statement %s, stored is %s", job.Events[in[i]].Statement, row.ID)
			}
		}
	}
	for i, action := range []statement.Action{statement.Commission, statement.Pack, statement.Observe, statement.Unpack, statement.Unpack, statement.Decommission} {
		index := before + uint64(i)
		row, err := g.st.Statement(t.Context(), index)
		g.must(err)
		s, err := statement.Parse(row.Data)
		g.must(err)
		e, err := s.Event()
		g.must(err)
		kept, err := g.st.EventAt(t.Context(), index)
		g.must(err)
		objects, err := g.st.EventObjects(t.Context(), index)
		g.must(err)
		var leaves statement.Items
		for _, o := range objects {
			if o.List == 6 {
				leaves = append(leaves, o.Leaf)
			}
		}
		if e.Action != action || e.Document != sha256.Sum256(kept.Doc) || leaves.Root().Root != e.Items.Root || e.Items.Size != uint64(len(leaves)) || len(kept.Seed) != 32 || s.Header.Issuer != g.org.Issuer() {
			t.Errorf("event %d: %+v over %d leaves, by %s", i, e, len(leaves), s.Header.Issuer)
		}
		for n := range leaves {
			if path, err := leaves.Path(n); err != nil || len(leaves) > 1 && len(path) == 0 {
				t.Errorf("event %d, leaf %d: %v", i, n, err)
			}
		}
		if strings.Contains(string(row.Data), "2017") {
			t.Error("a child stands in the statement")
		}
	}

	again := g.capture(events...)
	after, err := g.st.Count(t.Context())
	g.must(err)
	if after != before+6 || g.kept != 6 || slices.ContainsFunc(again.Events, func(c Captured) bool { return !c.Known }) || again.Events[1].Statement != job.Events[1].Statement {
		t.Errorf("captured twice: %d statements, %+v", after-before, again)
	}
	// The job is told of later on, also beside others.
	res, data := g.do("GET", "/epcis/capture/"+job.ID, "")
	var told Job
	if err := json.Unmarshal(data, &told); err != nil || res.StatusCode != 200 || told.ID != job.ID || len(told.Events) != 6 || told.Running {
		t.Errorf("%s: %s", res.Status, data)
	}
	if _, data = g.do("GET", "/epcis/capture", ""); !strings.Contains(string(data), job.ID) || !strings.Contains(string(data), again.ID) {
		t.Errorf("jobs: %s", data)
	}
}

// TestCaptureErrors: a document is captured whole or not at all, unless its sender
// asks for what is right of it.
func TestCaptureErrors(t *testing.T) {
	g := newRig(t)
	before, err := g.st.Count(t.Context())
	g.must(err)
	broken := docOf(objectEvent(0, "ADD", itemA), strings.Replace(objectEvent(1, "ADD", itemB), "inspecting", "lookingat", 1))
	res, data := g.do("POST", "/epcis/capture", broken)
	if res.StatusCode != http.StatusBadRequest || !strings.Contains(string(data), "$.epcisBody.eventList[1].bizStep") || !strings.Contains(string(data), "ValidationException") {
		t.Errorf("%s: %s", res.Status, data)
	}
	if n, err := g.st.Count(t.Context()); err != nil || n != before {
		t.Errorf("%d statements of a refused document", n-before)
	}
	res, data = g.do("POST", "/epcis/capture", broken, "GS1-Capture-Error-Behaviour", "proceed")
	var job Job
	if err := json.Unmarshal(data, &job); err != nil || res.StatusCode != http.StatusAccepted || job.Success || len(job.Events) != 1 || len(job.Errors) != 1 || job.Errors[0].Errors[0].Path != "$.epcisBody.eventList[1].bizStep" {
		t.Errorf("%s: %s", res.Status, data)
	}
	if res.Header.Get("Location") != "/epcis/capture/"+job.ID {
		t.Errorf("location %q", res.Header.Get("Location"))
	}
	// One id is one event's, for ever.
	mine := strings.Replace(objectEvent(5, "OBSERVE", itemA), `"action"`, `"eventID":"urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8","action"`, 1)
	other := strings.Replace(mine, "active", "damaged", 1)
	g.capture(mine)
	for _, behaviour := range []string{"rollback", "proceed"} {
		n, err := g.st.Count(t.Context())
		g.must(err)
		res, data := g.do("POST", "/epcis/capture", docOf(objectEvent(6, "OBSERVE", itemA), other), "GS1-Capture-Error-Behaviour", behaviour)
		m, err := g.st.Count(t.Context())
		g.must(err)
		if behaviour == "rollback" && (res.StatusCode != http.StatusConflict || m != n) || behaviour == "proceed" && (res.StatusCode != http.StatusAccepted || m != n+1) {
			t.Errorf("%s: %s, %d statements more: %s", behaviour, res.Status, m-n, data)
		}
		if !strings.Contains(string(data), "never changed") {
			t.Errorf("%s: %s", behaviour, data)
		}
	}
}

// TestErrorDeclaration: it follows what it declares to be wrong and changes nothing.
func TestErrorDeclaration(t *testing.T) {
	g := newRig(t)
	event := objectEvent(0, "ADD", itemA)
	job := g.capture(event)
	id := job.Events[0].EventID
	declare := func(what, when string) string {
		return strings.Replace(what, `"action"`, fmt.Sprintf(`"eventID":"%s","errorDeclaration":{"declarationTime":"%s","reason":"did_not_occur"},"action"`, id, when), 1)
	}
	unknown := strings.Replace(declare(objectEvent(1, "ADD", itemB), at(9)), id, "urn:uuid:474d95fc-9457-4a51-bd6a-0bba133845a8", 1)
	if res, data := g.do("POST", "/epcis/capture", docOf(unknown)); res.StatusCode != http.StatusConflict || !strings.Contains(string(data), "no event with eventID") {
		t.Errorf("of an event that is not there: %s: %s", res.Status, data)
	}
	if res, data := g.do("POST", "/epcis/capture", docOf(declare(objectEvent(1, "ADD", itemA), at(9)))); res.StatusCode != http.StatusConflict {
		t.Errorf("of another event than it says: %s: %s", res.Status, data)
	}
	first := g.capture(declare(event, at(9)))
	if first.Events[0].Known || first.Events[0].EventID != id {
		t.Fatalf("%+v", first)
	}
	if again := g.capture(declare(event, at(9))); !again.Events[0].Known || again.Events[0].Statement != first.Events[0].Statement {
		t.Errorf("declared twice: %+v", again)
	}
	if original := g.capture(event); !original.Events[0].Known || original.Events[0].Statement != job.Events[0].Statement {
		t.Errorf("captured again after it was declared wrong: %+v", original)
	}
	row, err := g.row(first.Events[0].Statement)
	g.must(err)
	s, err := statement.Parse(row.Data)
	g.must(err)
	if e, err := s.Event(); err != nil || e.Action != statement.Observe {
		t.Errorf("%+v, %v", e, err)
	}
	// One event is asked for as it is known now; a query has both.
	if res, data := g.do("GET", "/epcis/events/"+url.PathEscape(id), ""); res.StatusCode != 200 || !strings.Contains(string(data), "did_not_occur") {
		t.Errorf("%s: %s", res.Status, data)
	}
	if ids, _, _ := g.found("/epcis/events?EQ_eventID=" + url.QueryEscape(id)); len(ids) != 2 {
		t.Errorf("%v", ids)
	}
	if ids, _, _ := g.found("/epcis/events?EXISTS_errorDeclaration=true"); len(ids) != 1 {
		t.Errorf("%v", ids)
	}
}

// TestForgotten: once a document is erased, no question brings it back, nor does
// its sender by accident; the leaves and the statement stay.
func TestForgotten(t *testing.T) {
	g := newRig(t)
	event := aggregation(0, "ADD", pallet, itemA, itemB)
	job := g.capture(event)
	id := job.Events[0].EventID
	if found, err := g.in.Forget(t.Context(), id); err != nil || !found {
		t.Fatal(found, err)
	}
	if res, data := g.do("GET", "/epcis/events/"+url.PathEscape(id), ""); res.StatusCode != http.StatusGone {
		t.Errorf("%s: %s", res.Status, data)
	}
	if ids, _, _ := g.found("/epcis/events"); len(ids) != 0 {
		t.Errorf("%v", ids)
	}
	if again := g.capture(event); !again.Events[0].Known {
		t.Errorf("%+v", again)
	}
	row, err := g.row(job.Events[0].Statement)
	g.must(err)
	s, err := statement.Parse(row.Data)
	g.must(err)
	e, err := s.Event()
	g.must(err)
	objects, err := g.st.EventObjects(t.Context(), row.Index)
	g.must(err)
	leaves := statement.Items{objects[1].Leaf, objects[2].Leaf}
	if leaves.Root().Root != e.Items.Root {
		t.Error("the leaves do not give the signed root")
	}
	if next := g.capture(objectEvent(1, "OBSERVE", itemA)); next.Events[0].Known {
		t.Errorf("%+v", next)
	}
}

// TestRefusedRequests: wrong method, type, size, id and parameter are problems of
// the client's, each with words.
func TestRefusedRequests(t *testing.T) {
	g := newRig(t)
	ok := docOf(objectEvent(0, "ADD", itemA))
	type c struct {
		method, path, body string
		header             []string
		status             int
		want               string
	}
	cases := map[string]c{
		"no JSON":            {"POST", "/epcis/capture", "hello", nil, 400, "no JSON"},
		"a wrong type":       {"POST", "/epcis/capture", ok, []string{"Content-Type", "application/xml"}, 415, "application/json"},
		"no type":            {"POST", "/epcis/capture", ok, []string{"Content-Type", "; ;"}, 415, "application/json"},
		"too large":          {"POST", "/epcis/capture", strings.Repeat(" ", document.MaxSize+1), nil, 413, "send several"},
		"another behaviour":  {"POST", "/epcis/capture", ok, []string{"GS1-Capture-Error-Behaviour", "hope"}, 400, "rollback or proceed"},
		"another version":    {"POST", "/epcis/capture", ok, []string{"GS1-EPCIS-Version", "1.2"}, 406, "2.0.0"},
		"another host":       {"POST", "/epcis/capture", ok, []string{"Host", "evil.example"}, 403, "not this machine"},
		"an unknown job":     {"GET", "/epcis/capture/0000", "", nil, 404, "no capture job"},
		"an unknown event":   {"GET", "/epcis/events/urn:uuid:1", "", nil, 404, "no event"},
		"two events at once": {"POST", "/epcis/events", docOf(objectEvent(0, "ADD", itemA), objectEvent(1, "ADD", itemB)), nil, 400, "want one"},
		"nothing here":       {"GET", "/epcis/other", "", nil, 404, "nothing is served"},
		"unknown parameter":  {"GET", "/epcis/events?EQ_colour=red", "", nil, 400, "EQ_colour"},
		"a wrong time":       {"GET", "/epcis/events?GE_eventTime=yesterday", "", nil, 400, "GE_eventTime"},
		"a wrong name":       {"GET", "/epcis/events?MATCH_epc=2017", "", nil, 400, "MATCH_epc"},
		"a pattern":          {"GET", "/epcis/events?MATCH_epc=urn:epc:id:sgtin:0614141.107346.*", "", nil, 400, "patterns"},
		"a wrong page":       {"GET", "/epcis/events?perPage=many", "", nil, 400, "perPage"},
		"a made-up token":    {"GET", "/epcis/events?nextPageToken=abc", "", nil, 400, "nextPageToken"},
		"another order":      {"GET", "/epcis/events?orderBy=recordTime", "", nil, 400, "only eventTime"},
		"too many values":    {"GET", "/epcis/events?EQ_bizStep=" + strings.Repeat("a%7C", 60), "", nil, 400, "the most are 50"},
		"a token of names":   {"GET", "/epcis/epcs?nextPageToken=%21", "", nil, 400, "nextPageToken"},
		"no item":            {"GET", "/epcis/signed/events", "", nil, 400, "MATCH_epc"},
		"a lot":              {"GET", "/epcis/signed/events?MATCH_epc=https://id.gs1.org/01/10614141073464/10/L1", "", nil, 400, "no item"},
		"a filter of others": {"GET", "/epcis/signed/events?MATCH_epc=" + url.QueryEscape(itemA) + "&EQ_action=ADD", "", nil, 400, "EQ_action"},
		"no objects":         {"POST", "/epcis/custody/handovers", `{"to":"https://x.example"}`, nil, 400, "0 objects"},
		"to nobody":          {"POST", "/epcis/custody/handovers", `{"objects":["` + itemA + `"],"to":"me"}`, nil, 400, "whom the taker"},
		"another member":     {"POST", "/epcis/custody/handovers", `{"object":"x"}`, nil, 400, "object"},
		"no id":              {"POST", "/epcis/custody/acceptances", `{"handover":"12"}`, nil, 400, "64 hex digits"},
		"an unknown id":      {"POST", "/epcis/custody/acceptances", `{"handover":"` + strings.Repeat("ab", 32) + `"}`, nil, 404, "no handover"},
		"custody in XML":     {"POST", "/epcis/custody/acceptances", `<x/>`, []string{"Content-Type", "text/xml"}, 415, "application/json"},
	}
	for _, r := range Routes() {
		path := strings.NewReplacer("{id}", "x", "{eventID}", "x", "{eventType}", "x", "{epc}", "x", "{value}", "x").Replace(r.Path)
		cases["PATCH "+r.Path] = c{"PATCH", path, "", nil, 405, "allowed: OPTIONS, "}
		if r.Request != "" {
			cases["nothing sent to "+r.Path] = c{r.Method, path, "", nil, 415, "content type"}
		}
	}
	for name, c := range cases {
		res, data := g.do(c.method, c.path, c.body, c.header...)
		var p Problem
		if err := json.Unmarshal(data, &p); err != nil || res.StatusCode != c.status || p.Status != c.status || res.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(string(data), c.want) {
			t.Errorf("%s: %s: %s, want %d with %q", name, res.Status, data, c.status, c.want)
		}
	}
	res, _ := g.do("OPTIONS", "/epcis/capture", "")
	if res.StatusCode != 204 || res.Header.Get("GS1-EPCIS-Version") != "2.0.0" || res.Header.Get("Allow") != "OPTIONS, POST, GET" || res.Header.Get("GS1-EPCIS-Capture-Limit") != "1000" {
		t.Errorf("%s: %v", res.Status, res.Header)
	}
	if n, err := g.st.Captures(t.Context(), 10); err != nil || len(n) != 0 {
		t.Errorf("%d jobs of refused requests, %v", len(n), err)
	}
	g.open(false)
	for _, r := range Routes() {
		path := strings.NewReplacer("{id}", "x", "{eventID}", "x", "{eventType}", "x", "{epc}", "x", "{value}", "x").Replace(r.Path)
		if res, data := g.do(r.Method, path, ""); res.StatusCode != http.StatusForbidden || !strings.Contains(string(data), "loopback") {
			t.Errorf("beyond loopback, %s %s: %s: %s", r.Method, r.Path, res.Status, data)
		}
	}
}
