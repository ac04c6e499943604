package epcis

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dlclark/regexp2"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"trailmark/gateway/internal/epcis/document"
	"trailmark/statement"
)

type lookahead regexp2.Regexp

func (r *lookahead) MatchString(s string) bool {
	ok, err := (*regexp2.Regexp)(r).MatchString(s)
	return err == nil && ok
}
func (r *lookahead) String() string { return (*regexp2.Regexp)(r).String() }

// schema judges by GS1's JSON schema, where that is at hand.
func schema(t *testing.T) func(what string, doc []byte) {
	t.Helper()
	path, err := filepath.Abs("../../../../shared/data/epcis/EPCIS-JSON-Schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Log("GS1's schema is not there: ../shared/data/epcis")
		return func(string, []byte) {}
	}
	c := jsonschema.NewCompiler()
	c.UseRegexpEngine(func(s string) (jsonschema.Regexp, error) {
		r, err := regexp2.Compile(s, regexp2.ECMAScript)
		return (*lookahead)(r), err
	})
	s, err := c.Compile(path)
	if err != nil {
		t.Fatal(err)
	}
	return func(what string, doc []byte) {
		t.Helper()
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(doc)))
		if err == nil {
			err = s.Validate(v)
		}
		if err != nil {
			t.Errorf("%s: GS1's schema refuses the answer: %v\n%s", what, err, doc)
		}
	}
}

const reportEvent = `{"type":"ObjectEvent","eventTime":"2026-09-21T15:00:00Z","eventTimeZoneOffset":"+00:00","epcList":["` + itemB + `"],"action":"OBSERVE","bizStep":"sensor_reporting","readPoint":{"id":"urn:epc:id:sgln:4012345.00001.0"},"sensorElementList":[{"sensorMetadata":{"deviceID":"urn:epc:id:giai:4000001.111","rawData":"https://example.org/raw/1","deviceMetadata":"https://example.org/logger/7","bizRules":"https://example.org/rule/2to8"},"sensorReport":[{"type":"Temperature","value":3.5,"uom":"CEL"}]}]}`

// TestQuery: each filter, pages of any size, names, and GS1's schema over all of it.
func TestQuery(t *testing.T) {
	g, judge := newRig(t), schema(t)
	job := g.capture(objectEvent(0, "ADD", itemA, itemB), aggregation(1, "ADD", pallet, itemA, itemB), aggregation(2, "DELETE", pallet),
		transformation(3, []string{itemA}, []string{"https://id.gs1.org/01/04012345111118/21/P1"}),
		`{"type":"TransactionEvent","eventTime":"`+at(4)+`","eventTimeZoneOffset":"+00:00","parentID":"`+pallet+`","bizTransactionList":[{"type":"po","bizTransaction":"urn:epcglobal:cbv:bt:0614141073467:1152"}],"epcList":["`+itemB+`"],"action":"ADD","bizLocation":{"id":"https://id.gs1.org/414/4012345000054"}}`,
		reportEvent)
	id := map[string]int{}
	for i, e := range job.Events {
		id[e.EventID] = i
	}
	ids := func(path string) (out []int) {
		got, data, _ := g.found(path)
		judge(path, data)
		for _, x := range got {
			i, ok := id[x]
			if !ok {
				t.Errorf("%s: unknown event %s", path, x)
			}
			out = append(out, i)
		}
		return out
	}
	q := func(s string) string { return url.QueryEscape(s) }
	for query, want := range map[string][]int{
		"":                           {0, 1, 2, 3, 4, 5},
		"eventType=AggregationEvent": {1, 2},
		"eventType=AggregationEvent%7CObjectEvent": {0, 1, 2, 5},
		"EQ_action=ADD":      {0, 1, 4},
		"EQ_bizStep=packing": {1, 2},
		"EQ_bizStep=" + q("https://ref.gs1.org/cbv/BizStep-packing"): {1, 2},
		"EQ_disposition=active":                                              {0},
		"EQ_readPoint=urn:epc:id:sgln:4012345.00001.0":                       {0, 5},
		"EQ_readPoint=" + q("https://id.gs1.org/414/4012345000016"):          {0, 5},
		"EQ_bizLocation=urn:epc:id:sgln:4012345.00005.0":                     {4},
		"MATCH_epc=" + q(itemA):                                              {0, 1},
		"MATCH_epc=urn:epc:id:sgtin:0614141.107346.2018":                     {0, 1, 4, 5},
		"MATCH_epc=" + q(itemA) + "&MATCH_epc=" + q(itemB):                   {0, 1},
		"MATCH_epc=" + q(itemA+"|"+itemB):                                    {0, 1, 4, 5},
		"MATCH_parentID=" + q(pallet):                                        {1, 2, 4},
		"MATCH_inputEPC=" + q(itemA):                                         {3},
		"MATCH_outputEPC=" + q("https://id.gs1.org/01/04012345111118/21/P1"): {3},
		"MATCH_anyEPC=" + q(itemA):                                           {0, 1, 3},
		"MATCH_anyEPC=" + q(pallet):                                          {1, 2, 4},
		"GE_eventTime=" + q(at(2)):                                           {2, 3, 4, 5},
		"LT_eventTime=" + q(at(2)):                                           {0, 1},
		"GE_recordTime=" + q(at(-1)):                                         {0, 1, 2, 3, 4, 5},
		"LT_recordTime=" + q(at(-1)):                                         nil,
		"orderBy=eventTime&orderDirection=DESC":                              {5, 4, 3, 2, 1, 0},
		"EXISTS_errorDeclaration=true":                                       nil,
		"EQ_action=OBSERVE&MATCH_epc=" + q(itemB):                            {5},
	} {
		if got := ids("/epcis/events?" + query); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
		var paged []int
		link := regexp.MustCompile(`^<(.+)>; rel="next"$`)
		for path := "/epcis/events?perPage=2&" + query; path != ""; {
			got, _, res := g.found(path)
			for _, x := range got {
				paged = append(paged, id[x])
			}
			m := link.FindStringSubmatch(res.Header.Get("Link"))
			if path = ""; m != nil {
				path = m[1]
			}
		}
		if !slices.Equal(paged, want) {
			t.Errorf("%s in pages of 2: %v, want %v", query, paged, want)
		}
	}
	for path, want := range map[string][]int{
		"/epcis/eventTypes/TransformationEvent/events":                                            {3},
		"/epcis/epcs/" + url.PathEscape(pallet) + "/events":                                       {1, 2, 4},
		"/epcis/bizSteps/packing/events?EQ_action=ADD":                                            {1},
		"/epcis/dispositions/active/events":                                                       {0},
		"/epcis/readPoints/" + url.PathEscape("https://id.gs1.org/414/4012345000016") + "/events": {0, 5},
		"/epcis/bizLocations/urn:epc:id:sgln:4012345.00005.0/events":                              {4},
	} {
		if got := ids(path); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	for path, want := range map[string]string{
		"/epcis/eventTypes":   `["AggregationEvent","ObjectEvent","TransactionEvent","TransformationEvent"]`,
		"/epcis/bizSteps":     `["commissioning","inspecting","packing","sensor_reporting"]`,
		"/epcis/dispositions": `["active"]`,
		"/epcis/bizLocations": `["https://id.gs1.org/414/4012345000054"]`,
		"/epcis/epcs":         fmt.Sprintf(`["%s","https://id.gs1.org/01/04012345111118/21/P1","%s","%s"]`, pallet, itemA, itemB),
	} {
		res, data := g.do("GET", path, "")
		if res.StatusCode != 200 || !strings.Contains(string(data), `"member":`+want) {
			t.Errorf("%s: %s: %s, want %s", path, res.Status, data, want)
		}
	}
	if res, data := g.do("GET", "/epcis/epcs?perPage=3", ""); strings.Contains(string(data), itemB) || !strings.Contains(res.Header.Get("Link"), "nextPageToken=") {
		t.Errorf("a page of names: %s, %v", data, res.Header)
	}
}

// TestEvent: one event comes back as it was captured, with its record time; a
// foreign sensor is called declared, and its data and rules are kept.
func TestEvent(t *testing.T) {
	g, judge := newRig(t), schema(t)
	res, data := g.do("POST", "/epcis/events", `{"@context":"`+ldContext+`",`+reportEvent[1:])
	if res.StatusCode != 201 {
		t.Fatalf("%s: %s", res.Status, data)
	}
	path := res.Header.Get("Location")
	res, data = g.do("GET", path, "", "Accept", "application/json")
	judge(path, data)
	for _, want := range []string{`"recordTime":"2026-09-21T14:13:20.000Z"`, `"rawData":"https://example.org/raw/1"`, `"deviceMetadata":"https://example.org/logger/7"`, `"bizRules":"https://example.org/rule/2to8"`, `"value":3.5`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%s is missing in %s", want, data)
		}
	}
	if res.Header.Get("Content-Type") != "application/json" || len(res.Header.Get("Trailmark-Statement")) != 64 {
		t.Errorf("%v", res.Header)
	}
	ids, data, _ := g.found("/epcis/events?MATCH_epc=" + url.QueryEscape(itemB))
	var doc struct {
		Declared   []string          `json:"trailmark:declared"`
		Signed     []string          `json:"trailmark:signed"`
		Statements map[string]string `json:"trailmark:statements"`
	}
	if err := json.Unmarshal(data, &doc); err != nil || !slices.Equal(doc.Declared, ids) || doc.Signed != nil || len(doc.Statements[ids[0]]) != 64 {
		t.Errorf("%v: %s", err, data)
	}
}

// TestSignedEvents: what devices signed goes out hour by hour, by itself, in a form
// that our own capture takes, too: there it is somebody's word.
func TestSignedEvents(t *testing.T) {
	g, judge := newRig(t), schema(t)
	b := g.board("cold1", 9)
	g.capture(objectEvent(0, "ADD", itemA), reportEvent)
	for i := range 75 {
		b.report(4000+int64(i), tag(t, itemA))
	}
	b.report(9000)
	path := "/epcis/signed/events?MATCH_epc=" + url.QueryEscape(itemA)
	ids, data, _ := g.found(path)
	judge(path, data)
	if len(ids) != 2 {
		t.Fatalf("%d hours: %s", len(ids), data)
	}
	text := string(data)
	for _, want := range []string{`"trailmark:signed":["ni:///sha-256;`, `"trailmark:evidence":"device-signed"`, `"id":"https://acme.example/414/acme-site/254/cold1"`, `"deviceID":"urn:dev:mac:000000000009"`,
		`"uom":"CEL"`, `"minValue":4.074`, `"maxValue":4.174`, `"meanValue":4.124`, `"rawData":"urn:trailmark:statement:`, `"trailmark:simulated":true`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in %.3000s", want, text)
		}
	}
	if strings.Contains(text, "4000001") || strings.Contains(text, "trailmark:declared") || strings.Contains(text, `"maxValue":9`) {
		t.Errorf("a foreign sensor, or a reading of another time: %s", text)
	}
	if all, _, _ := g.found("/epcis/events"); len(all) != 2 {
		t.Errorf("captured events: %v", all)
	}
	// Pages and times.
	first, _, res := g.found(path + "&perPage=1")
	second, _, last := g.found(strings.TrimSuffix(strings.TrimPrefix(res.Header.Get("Link"), "<"), `>; rel="next"`))
	if !slices.Equal(append(first, second...), ids) || last.Header.Get("Link") != "" {
		t.Errorf("%v, then %v, want %v", first, second, ids)
	}
	if late, _, _ := g.found(path + "&GE_eventTime=" + url.QueryEscape(at(50))); !slices.Equal(late, ids[1:]) {
		t.Errorf("late: %v", late)
	}
	if none, _, _ := g.found("/epcis/signed/events?MATCH_epc=" + url.QueryEscape(itemB)); len(none) != 0 {
		t.Errorf("of an item that nobody saw: %v", none)
	}
	// A partner takes them.
	var answer struct {
		Body struct {
			Results struct {
				Body struct {
					List []json.RawMessage `json:"eventList"`
				} `json:"resultsBody"`
			} `json:"queryResults"`
		} `json:"epcisBody"`
	}
	g.must(json.Unmarshal(data, &answer))
	partner := newRig(t)
	var events []string
	for _, e := range answer.Body.Results.Body.List {
		events = append(events, string(e))
	}
	job := partner.capture(events...)
	if !job.Success || job.Events[0].EventID != ids[0] {
		t.Errorf("%+v", job)
	}
	if e, err := document.ParseEvent(answer.Body.Results.Body.List[0]); err != nil || e.ID != e.Hash || !e.Sensors {
		t.Errorf("%+v, %v", e, err)
	}
}

func (g *rig) recall(object string) (out []string) {
	g.t.Helper()
	reached, err := Recall(g.t.Context(), g.st, object)
	g.must(err)
	for _, r := range reached {
		out = append(out, fmt.Sprintf("%d %s %s", r.Depth, r.Object[strings.LastIndex(r.Object, "/")+1:], r.Why))
	}
	return out
}

// TestRecall: products of any depth are found, through carriers, too, and no
// sibling is.
func TestRecall(t *testing.T) {
	g := newRig(t)
	product := func(s string) string { return "https://id.gs1.org/01/04012345111118/21/" + s }
	const lot, crate, other = "https://id.gs1.org/01/04012345111118/10/L1", "https://id.gs1.org/00/340123450000000000", "https://id.gs1.org/01/10614141073464/21/9"
	g.capture(
		fmt.Sprintf(`{"type":"ObjectEvent","eventTime":"%s","eventTimeZoneOffset":"+00:00","quantityList":[{"epcClass":"%s","quantity":5}],"action":"ADD"}`, at(0), lot),
		fmt.Sprintf(`{"type":"TransformationEvent","eventTime":"%s","eventTimeZoneOffset":"+00:00","inputQuantityList":[{"epcClass":"%s","quantity":2}],"inputEPCList":["%s"],"outputEPCList":["%s","%s"]}`, at(1), lot, other, product("A"), product("B")),
		aggregation(2, "ADD", pallet, product("A"), product("X")),
		aggregation(3, "ADD", crate, product("B")),
		aggregation(4, "DELETE", crate, product("B")),
		transformation(5, []string{crate}, []string{product("OUT")}),
		transformation(6, []string{pallet}, []string{product("C")}),
		transformation(7, []string{product("C"), product("Y")}, []string{product("D")}),
	)
	for object, want := range map[string][]string{
		lot:                                     {"0 L1 recalled", "1 A made from", "1 B made from", "1 106141412345678908 carries", "1 340123450000000000 carries", "2 C made from", "3 D made from"},
		product("Y"):                            {"0 Y recalled", "1 D made from"},
		pallet:                                  {"0 106141412345678908 recalled", "0 A was in", "0 X was in", "1 C made from", "2 D made from"},
		product("D"):                            {"0 D recalled"},
		other:                                   {"0 9 recalled", "1 A made from", "1 B made from", "1 106141412345678908 carries", "1 340123450000000000 carries", "2 C made from", "3 D made from"},
		"urn:epc:class:lgtin:4012345.011111.L1": {"0 L1 recalled", "1 A made from", "1 B made from", "1 106141412345678908 carries", "1 340123450000000000 carries", "2 C made from", "3 D made from"},
	} {
		if got := g.recall(object); !slices.Equal(got, want) {
			t.Errorf("%s:\n%q, want\n%q", object, got, want)
		}
	}
	if _, err := Recall(t.Context(), g.st, "urn:epc:id:sgtin:1"); err == nil {
		t.Error("what is no name is recalled")
	}
}

// TestCustody: a handover and its acceptance sign the heads of the zone where the
// object, or what it is packed into, was seen last.
func TestCustody(t *testing.T) {
	g := newRig(t)
	b := g.board("cold1", 9)
	b.report(4000, tag(t, pallet))
	b.report(4200)
	g.capture(objectEvent(0, "ADD", itemA, itemB), aggregation(1, "ADD", pallet, itemA))
	give := func(objects ...string) (transferred, string, int) {
		res, data := g.do("POST", "/epcis/custody/handovers", fmt.Sprintf(`{"objects":%s,"to":"%s","place":"dock 4"}`, list(objects), g.org.Issuer()))
		var x transferred
		_ = json.Unmarshal(data, &x) // an error is seen by what is in it
		return x, string(data), res.StatusCode
	}
	x, text, status := give("urn:epc:id:sgtin:0614141.107346.2017")
	if status != 201 || x.Moments != 1 || !slices.Equal(x.Objects, []string{itemA}) {
		t.Fatalf("%d: %s", status, text)
	}
	row, err := g.row(x.Statement)
	g.must(err)
	s, err := statement.Parse(row.Data)
	g.must(err)
	h, err := s.Handover()
	g.must(err)
	traces, err := g.st.Traces(t.Context(), b.entry.Device)
	g.must(err)
	head, err := traces[0].Frontier.Head()
	g.must(err)
	if h.Version != 2 || h.Place != "dock 4" || !h.Moments[0].Head.Equal(head) || h.Moments[0].Head.Size != 2 || h.Moments[0].Head.Digest.Max != 4300 {
		t.Errorf("%+v", h)
	}
	b.report(4400)
	res, data := g.do("POST", "/epcis/custody/acceptances", `{"handover":"`+x.Statement+`"}`)
	var y transferred
	if err := json.Unmarshal(data, &y); err != nil || res.StatusCode != 201 || y.Moments != 1 {
		t.Fatalf("%s: %s", res.Status, data)
	}
	found, err := g.st.TransfersOf(t.Context(), itemA, 1<<62)
	g.must(err)
	if len(found) != 2 || found[0].Handover != nil || found[1].Handover.String() != x.Statement || found[1].Giver != g.org.Issuer() || found[0].Taker != g.org.Issuer() {
		t.Errorf("%+v", found)
	}
	// What nobody saw is handed over without a digest; what is not ours is not accepted.
	if x, text, status := give(itemB); status != 201 || x.Moments != 0 {
		t.Errorf("%d: %s", status, text)
	}
	res, data = g.do("POST", "/epcis/custody/handovers", fmt.Sprintf(`{"objects":["%s"],"to":"https://carrier.example/417/carrier"}`, itemA))
	g.must(json.Unmarshal(data, &x))
	if res, data := g.do("POST", "/epcis/custody/acceptances", `{"handover":"`+x.Statement+`"}`); res.StatusCode != 400 || !strings.Contains(string(data), "only whom a handover names") {
		t.Errorf("%s: %s", res.Status, data)
	}
	if res, data := g.do("POST", "/epcis/custody/acceptances", `{"handover":"`+g.capture(objectEvent(3, "OBSERVE", itemB)).Events[0].Statement+`"}`); res.StatusCode != 400 || !strings.Contains(string(data), "no handover") {
		t.Errorf("%s: %s", res.Status, data)
	}
	// Once it is taken out, the pallet says nothing of it any more.
	g.capture(aggregation(4, "DELETE", pallet))
	if _, err := LastSeen(t.Context(), g.st, itemA); err != ErrUnseen {
		t.Errorf("after unpacking all: %v", err)
	}
}
