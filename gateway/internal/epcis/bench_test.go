package epcis

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"trailmark/gateway/internal/epcis/document"
)

// packings is a document of n packings of 20 items each.
func packings(n, from int) string {
	events := make([]string, n)
	for i := range n {
		children := make([]string, 20)
		for k := range children {
			children[k] = fmt.Sprintf("https://id.gs1.org/01/10614141073464/21/%d-%d", from+i, k)
		}
		events[i] = aggregation(i, "ADD", sscc(from+i), children...)
	}
	return docOf(events...)
}

func sscc(n int) string {
	name, _ := document.ObjectName(fmt.Sprintf("urn:epc:id:sscc:0614141.%010d", n)) // ten digits are always right
	return name
}

// BenchmarkCapture captures documents of 500 packings of 20 items: parsed, signed,
// stored and durable.
func BenchmarkCapture(b *testing.B) {
	g := newRig(b)
	from := 0
	for b.Loop() {
		b.StopTimer()
		doc := packings(500, from)
		from += 500
		b.StartTimer()
		job, err := g.repo.Capture(b.Context(), []byte(doc), false)
		if err != nil || len(job.Events) != 500 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N*500), "ms/event")
}

// BenchmarkQuery asks for the events of one item among 10,000 events of 210,000 objects.
func BenchmarkQuery(b *testing.B) {
	g := newRig(b)
	for from := 0; from < 10_000; from += 500 {
		if _, err := g.repo.Capture(b.Context(), []byte(packings(500, from)), false); err != nil {
			b.Fatal(err)
		}
	}
	path := "/epcis/events?MATCH_epc=" + url.QueryEscape("https://id.gs1.org/01/10614141073464/21/5000-7")
	for b.Loop() {
		if res, data := g.do("GET", path, ""); res.StatusCode != 200 || !strings.Contains(string(data), "5000-7") {
			b.Fatal(res.Status)
		}
	}
}

// FuzzQuery: no address makes the reading of its parameters panic.
func FuzzQuery(f *testing.F) {
	f.Add("MATCH_epc=urn:epc:id:sgtin:0614141.107346.2018&perPage=3&GE_eventTime=2026-03-01T00:00:00Z&EQ_bizStep=packing%7Cshipping&nextPageToken=MTIuMw")
	f.Add("orderDirection=&EXISTS_errorDeclaration=&MATCH_parentID=urn:epc:id:sgtin:..&MATCH_anyEPC=urn:epc:idpat:sgtin:0614141.107346.*")
	f.Fuzz(func(t *testing.T, raw string) {
		values, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		q, err := queryOf(values)
		if err == nil && (q.Limit < 2 || q.Limit > maxPage+1) {
			t.Fatalf("%+v", q)
		}
	})
}
