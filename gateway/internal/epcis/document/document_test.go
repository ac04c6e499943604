package document

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"trailmark/statement"
)

func parseOne(t testing.TB, event string) *Event {
	t.Helper()
	all, err := Parse([]byte(documentOf(event)))
	if err != nil || len(all) != 1 || len(all[0].Errors) > 0 {
		t.Fatalf("%v, %v", err, all)
	}
	return all[0].Event
}

// TestMembers: what is signed of each type and action.
func TestMembers(t *testing.T) {
	const pallet, item = "https://id.gs1.org/00/106141412345678908", "https://id.gs1.org/01/10614141073464/21/2018"
	for name, c := range map[string]struct {
		action               statement.Action
		named, items, inputs int
		first, parent, step  string
		place                string
	}{
		"commissioning":           {statement.Commission, 0, 2, 0, "https://id.gs1.org/01/04012345778892/21/25", "", "commissioning", "https://id.gs1.org/414/4012345000054"},
		"class instance":          {statement.Commission, 0, 1, 0, "https://id.gs1.org/01/04054739999148/10/20160711", "", "creating_class_instance", ""},
		"decommissioning":         {statement.Decommission, 0, 1, 0, "https://id.gs1.org/01/10614141073402/21/1", "", "decommissioning", ""},
		"receiving":               {statement.Observe, 0, 1, 0, item, "", "receiving", "https://id.gs1.org/414/0012345111112/254/400"},
		"packing":                 {statement.Pack, 1, 2, 0, "https://id.gs1.org/01/10614141073464/21/2017", pallet, "packing", "https://id.gs1.org/414/0614141007776"},
		"unpacking":               {statement.Unpack, 1, 1, 0, item, pallet, "unpacking", ""},
		"unpacking all":           {statement.Unpack, 1, 0, 0, "", pallet, "unpacking", ""},
		"an aggregation observed": {statement.Observe, 0, 1, 0, item, "", "loading", ""},
		"transformation":          {statement.Transform, 0, 2, 5, "https://id.gs1.org/01/04012345778892/21/25", "", "commissioning", "https://id.gs1.org/414/4012345000016"},
		"transaction":             {statement.Observe, 0, 3, 0, pallet, "", "shipping", ""},
		"transaction deleted":     {statement.Observe, 0, 1, 0, "urn:epcglobal:cbv:bt:5200001000008:RE1099", "", "", ""},
		"association of a sensor": {statement.Observe, 0, 3, 0, "https://id.gs1.org/414/4012345000016", "", "installing", ""},
		"sensor statistics":       {statement.Observe, 0, 1, 0, "https://id.gs1.org/414/4012345000054", "", "", "https://id.gs1.org/414/4012345000054"},
		"an error declared":       {statement.Observe, 0, 2, 0, "https://id.gs1.org/01/10614141073464/21/2017", "", "shipping", "https://id.gs1.org/414/0614141073467/254/1234"},
	} {
		m := parseOne(t, corpus[name]).Members
		first, parent := "", ""
		if len(m.Items) > 0 {
			first = m.Items[0].Name
		}
		if len(m.Named) > 0 {
			parent = m.Named[0]
		}
		if m.Action != c.action || len(m.Named) != c.named || len(m.Items) != c.items || len(m.Inputs) != c.inputs ||
			first != c.first || parent != c.parent || m.Step != c.step || m.Place != c.place {
			t.Errorf("%s: %+v", name, m)
		}
	}
	e := parseOne(t, corpus["commissioning with tids"])
	if got := hex.EncodeToString(e.Members.Items[0].TID); got != "e2801160200067ab" {
		t.Errorf("TID %s", got)
	}
	declared := strings.Replace(corpus["commissioning with tids"], `"action"`, `"errorDeclaration":{"declarationTime":"2026-03-02T08:00:00+08:00"},"action"`, 1)
	if e := parseOne(t, declared); e.Members.Action != statement.Observe || e.Members.Items[0].TID != nil {
		t.Errorf("a commissioning declared to be wrong: %+v", e.Members)
	}
	if e := parseOne(t, corpus["an error declared"]); !e.IsError() || e.Declares != "incorrect_data" || e.Hash != parseOne(t, corpus["observe, departing"]).Hash {
		t.Errorf("an error's id is not that of what it declares: %+v", e)
	}
}

// TestSpellings: an id does not depend on the order of members and lists, on
// spaces, time zones or on which spelling a name has; it does on every value.
func TestSpellings(t *testing.T) {
	base := parseOne(t, corpus["receiving"])
	same := `{ "epcList": ["https://example.com/a/01/10614141073464/10/L5/21/2018?x=1"], "action":"OBSERVE", "recordTime":"2020-01-01T00:00:00Z",
		"bizTransactionList":[{"bizTransaction":"urn:epcglobal:cbv:bt:0614141073467:1152","type":"desadv"},{"bizTransaction":" http://transaction.acme.com/po/12345678","type":"po"}],
		"disposition":"in_progress","bizStep":"https://ref.gs1.org/cbv/BizStep-receiving","readPoint":{"id":"https://id.gs1.org/414/0012345111112/254/400"},
		"bizLocation":{"id":"urn:epc:id:sgln:0012345.11111.0"}, "eventTime":"2005-04-05T02:33:31.116Z","eventTimeZoneOffset":"-06:00","type":"ObjectEvent"}`
	all, err := Parse([]byte(strings.Replace(documentOf(same), " http", "http", 1)))
	if err != nil || len(all[0].Errors) > 0 || all[0].Event.Hash != base.Hash {
		t.Errorf("another spelling: %v %v, want %s", err, all[0], base.Hash)
	}
	for _, change := range [][2]string{{"31.116", "31.117"}, {"-06:00\",\"epc", "-05:00\",\"epc"}, {"2018", "2019"}, {"OBSERVE", "ADD"}, {"receiving", "accepting"},
		{"in_progress", "in_transit"}, {".400", ".401"}, {"11111.0", "11112.0"}, {"12345678", "12345679"}, {`"po"`, `"inv"`}, {`"action"`, `"example:x":"1","action"`}} {
		if e := parseOne(t, strings.Replace(corpus["receiving"], change[0], change[1], 1)); e.Hash == base.Hash {
			t.Errorf("%q for %q changes nothing", change[1], change[0])
		}
	}
}

// TestKept: what is kept reads as the same event, with its id and no record time.
func TestKept(t *testing.T) {
	for name, text := range corpus {
		e := parseOne(t, strings.Replace(text, `"action"`, `"recordTime":"2020-01-01T00:00:00Z","action"`, 1))
		again, err := ParseEvent(e.Document())
		if err != nil || again.ID != e.ID || again.Hash != e.Hash || string(again.Document()) != string(e.Document()) || strings.Contains(string(e.Document()), "recordTime") {
			t.Errorf("%s: %v\n%s", name, err, e.Document())
		}
		if !slices.EqualFunc(e.Members.Items, again.Members.Items, func(a, b Object) bool { return a.Name == b.Name && string(a.TID) == string(b.TID) }) {
			t.Errorf("%s: %v, then %v", name, e.Members.Items, again.Members.Items)
		}
	}
	// An event's own prefixes go on where the document's end.
	inner := strings.Replace(corpus["extensions"], `{"type"`, `{"@context":{"mine":"https://mine.example/"},"mine:x":"1","type"`, 1)
	if e := parseOne(t, inner); !strings.Contains(string(e.Document()), `"trailmark":"urn:trailmark:"},{"mine":`) {
		t.Errorf("%s", e.Document())
	}
}

// TestNames pairs each spelling with the one that is signed; "" is refused.
func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"urn:epc:id:sgtin:0614141.107346.2018":                               "https://id.gs1.org/01/10614141073464/21/2018",
		"urn:epc:id:sgtin:4012345.011111.a%2Fb%25c":                          "https://id.gs1.org/01/04012345111118/21/a%2Fb%25c",
		"urn:epc:id:sgtin:4012345.011111.a.b*c":                              "https://id.gs1.org/01/04012345111118/21/a.b%2Ac",
		"https://example.com/01/04012345111118/21/a%2fb%25c":                 "https://id.gs1.org/01/04012345111118/21/a%2Fb%25c",
		"http://example.com/gtin/614141073467/lot/A1":                        "https://id.gs1.org/01/00614141073467/10/A1",
		"https://id.gs1.org/01/10614141073464":                               "https://id.gs1.org/01/10614141073464",
		"https://id.gs1.org/01/10614141073464/22/2A/10/L1/21/S1":             "https://id.gs1.org/01/10614141073464/21/S1",
		"urn:epc:id:sscc:0614141.1234567890":                                 "https://id.gs1.org/00/106141412345678908",
		"urn:epc:class:lgtin:4012345.012345.998877":                          "https://id.gs1.org/01/04012345123456/10/998877",
		"urn:epc:idpat:sgtin:4012345.066666.*":                               "https://id.gs1.org/01/04012345666663",
		"urn:epc:id:grai:4012345.55555.987":                                  "https://id.gs1.org/8003/04012345555554987",
		"urn:epc:id:giai:4000001.111":                                        "https://id.gs1.org/8004/4000001111",
		"urn:epc:id:sgln:4012345.00001.0":                                    "https://id.gs1.org/414/4012345000016",
		"geo:50.947,6.922":                                                   "geo:50.947,6.922",
		"https://example.com/shop":                                           "https://example.com/shop",
		"https://id.gs1.org/01/10614141073465/21/2018":                       "", // check digit
		"https://id.gs1.org/00/106141412345678909":                           "",
		"https://id.gs1.org/01/10614141073464/21/" + strings.Repeat("1", 21): "",
		"urn:epc:id:sgtin:0614141.2018":                                      "",
		"urn:epc:id:sgtin:061414x.107346.2018":                               "",
		"urn:epc:id:sscc:0614141.1234567890.1":                               "",
		"urn:epc:id:other:0614141.1":                                         "",
		"2018":                                                               "",
		"":                                                                   "",
	} {
		got, err := ObjectName(name)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
		if want != "" {
			if again, err := ObjectName(got); again != got || err != nil {
				t.Errorf("%s: %q becomes %q, %v", name, got, again, err)
			}
		}
	}
}

// TestRefusals: each names the path, and some a hint.
func TestRefusals(t *testing.T) {
	deep := strings.Repeat(`{"example:a":`, 30) + "1" + strings.Repeat("}", 30)
	many := make([]string, MaxEvents+1)
	for i := range many {
		many[i] = corpus["recalled"]
	}
	var objects strings.Builder
	for i := range MaxItems + 1 {
		fmt.Fprintf(&objects, `,"urn:epc:id:sgtin:0614141.107346.%d"`, i+100)
	}
	for name, c := range map[string]struct{ doc, want string }{
		"no JSON":                 {`hello`, "$: no JSON"},
		"half of one":             {documentOf(corpus["receiving"])[:300], "no JSON at byte"},
		"two":                     {documentOf() + "{}", "something follows"},
		"a list":                  {`[]`, "is a list, want an object"},
		"no UTF-8":                {"{\"type\":\"\xff\"}", "not UTF-8"},
		"too large":               {`{"x":"` + strings.Repeat("x", MaxSize) + `"}`, "over the limit of 2097152"},
		"too deep":                {documentOf(strings.Replace(corpus["receiving"], `"action"`, `"example:x":`+deep+`,"action"`, 1)), "nested deeper than 16"},
		"too many events":         {documentOf(many...), "1001 events, the most are 1000"},
		"too many objects":        {documentOf(strings.Replace(corpus["recalled"], `2017"`, `2017"`+objects.String(), 1)), "8194 entries, the most are 8192"},
		"a member twice":          {documentOf(strings.Replace(corpus["receiving"], `"action"`, `"action":"ADD","action"`, 1)), "$.epcisBody.eventList[0].action: member twice"},
		"a query document":        {strings.Replace(documentOf(), "EPCISDocument", "EPCISQueryDocument", 1), "no type of event"},
		"a number of no double":   {documentOf(strings.Replace(corpus["class without lot"], "12.5", "1e999", 1)), "does not fit a double"},
		"the second event":        {documentOf(corpus["receiving"], strings.Replace(corpus["packing"], `"urn:epc:id:sgtin:0614141.107346.2018"`, `5`, 1)), "$.epcisBody.eventList[1].childEPCs[1]: is a number, want a URI"},
		"an odd name of a member": {documentOf(strings.Replace(corpus["receiving"], `"action"`, `"a b":1,"action"`, 1)), `$.epcisBody.eventList[0]["a b"]: unknown member`},
		"a hint":                  {documentOf(strings.Replace(corpus["receiving"], `"receiving"`, `"recieving"`, 1)), "hint: a short name of CBV 2.0"},
	} {
		if err := whatIsWrong(c.doc); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %.300v, want %q", name, err, c.want)
		}
	}
}

// FuzzParse: no input makes it panic, and what is kept of what it takes reads as
// the same event.
func FuzzParse(f *testing.F) {
	for _, e := range corpus {
		f.Add([]byte(documentOf(e)))
		f.Add([]byte(single(e)))
	}
	for _, d := range bad() {
		f.Add([]byte(d))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := Parse(data)
		if err != nil {
			return
		}
		for _, one := range all {
			if len(one.Errors) > 0 {
				continue
			}
			e := one.Event
			again, err := ParseEvent(e.Document())
			if err != nil || again.ID != e.ID || again.Hash != e.Hash {
				t.Fatalf("%v\n%s", err, e.Document())
			}
			m := e.Members
			if len(m.Items)+len(m.Named) == 0 || (m.Action == statement.Transform) != (len(m.Inputs) > 0) {
				t.Fatalf("%+v", m)
			}
		}
	})
}
