package api_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"trailmark/gateway/internal/api"
	"trailmark/gateway/internal/diversion"
	"trailmark/internal/epc"
	"trailmark/passport/passporttest"
)

// TestScans: an opened page is counted, a fetched file is not; counts are for
// everybody, findings for staff; a counter that fails costs nobody the page.
func TestScans(t *testing.T) {
	data, trust := passporttest.Make(t, passporttest.Options{})
	file, err := trust.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var counted []epc.Link
	var broken error
	first := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	o := api.Options{
		Compose: func(context.Context, epc.Link) ([]byte, error) { return data, nil },
		Trust:   trust, TrustFile: file, Base: "https://id.example.com", Ledger: http.NotFoundHandler(),
		Scan: func(_ context.Context, item epc.Link) error { counted = append(counted, item); return broken },
		Scans: func(_ context.Context, item epc.Link) (diversion.Scans, error) {
			out := diversion.Scans{GTIN: item.GTIN, Serial: item.Serial, Days: []diversion.Day{}}
			if n := len(counted); n > 0 {
				out.First, out.Days = &first, []diversion.Day{{Day: "2026-03-01", State: diversion.InCustody, Count: int64(n)}}
			}
			return out, broken
		},
		Findings: func(context.Context) ([]diversion.Finding, error) {
			return []diversion.Finding{{Kind: diversion.TooFar, Object: "https://id.gs1.org/01/09521234543213/21/1001", At: 5}}, nil
		},
	}
	g := served(t, o)
	scans := "/api/items/" + passporttest.GTIN + "/" + passporttest.Serial + "/scans"
	if got := text(t, g.do("GET", scans, "")); got != `{"gtin":"09521234543213","serial":"1001","first":null,"days":[]}`+"\n" {
		t.Errorf("before: %s", got)
	}
	contains(t, g.page(t, itemAt, "zh-CN"), "这是本页第一次被打开", "不记录是谁打开的")
	contains(t, g.page(t, itemAt, "en"), "opened before: 1, the first time at 2026-03-01 08:00", "keep nothing of who opened it")
	g.do("GET", itemAt+"?passport", "")
	g.do("HEAD", itemAt, "", "Accept", browser)
	g.do("GET", "/01/123/21/1", "", "Accept", browser)
	if len(counted) != 2 || counted[0].Serial != passporttest.Serial {
		t.Errorf("counted %v", counted)
	}
	if got := text(t, g.do("GET", scans, "")); !strings.Contains(got, `"days":[{"day":"2026-03-01","state":"custody","count":2}]`) {
		t.Errorf("after: %s", got)
	}
	if got := text(t, g.do("GET", "/api/findings", "")); !strings.Contains(got, `"kind":"too-far-apart"`) {
		t.Errorf("findings: %s", got)
	}
	broken = errors.New("disk on fire")
	lacks(t, g.page(t, itemAt, "en"), "opened", "disk on fire")

	for _, c := range []struct {
		method, path string
		o            func(*api.Options)
		want         int
	}{
		{"POST", scans, nil, http.StatusMethodNotAllowed},
		{"GET", "/api/items/123/1/scans", nil, http.StatusBadRequest},
		{"GET", "/api/items/" + passporttest.GTIN + "/scans", nil, http.StatusNotFound},
		{"DELETE", "/api/findings", nil, http.StatusMethodNotAllowed},
		{"GET", "/api/findings", func(o *api.Options) { o.Findings = nil }, http.StatusNotFound},
		{"GET", scans, func(o *api.Options) { o.Scans = nil }, http.StatusNotFound},
	} {
		o := o
		if c.o != nil {
			c.o(&o)
		}
		r := served(t, o).do(c.method, c.path, "")
		if r.StatusCode != c.want || r.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %s %s, want %d", c.method, c.path, r.Status, r.Header.Get("Content-Type"), c.want)
		}
	}
}

func served(t *testing.T, o api.Options) *gateway {
	t.Helper()
	site, err := api.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &gateway{Handler: site}
}
