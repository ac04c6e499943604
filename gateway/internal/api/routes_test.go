package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"trailmark/gateway/internal/route/routetest"
	"trailmark/passport"
	"trailmark/passport/passporttest"
)

// accept is a header that asks for a media type.
func accept(kind string) map[string]string { return map[string]string{"Accept": kind} }

// The ledgers' own tests hold what these addresses give; here it is how their
// answers, good and bad, get through.
func ledgerFile(at string) []routetest.Case {
	return []routetest.Case{{Target: at, Status: 200}, {Target: at, Header: map[string]string{"X-Test": "404"}, Status: 404, Unknown: true}}
}

func ledgerProof(at string, text bool) []routetest.Case {
	out := append(ledgerFile(at), routetest.Case{Target: at, Header: map[string]string{"X-Test": "400"}, Status: 400})
	if text {
		out = append(out, routetest.Case{Target: at + "?format=tlog-proof", Status: 200})
	}
	return out
}

// resolved are the cases of every address of a Digital Link.
func resolved(known, unknown, wrong string) []routetest.Case {
	linkType := map[bool]string{true: "gs1:pip", false: "gs1:epcis"}[strings.HasPrefix(known, "/01")]
	return []routetest.Case{
		{Target: known, Status: 200},
		{Target: known, Header: accept("application/linkset+json"), Status: 200},
		{Target: known + "?linkType=linkset", Status: 200},
		{Target: known + "?linkType=linkset", Header: accept("application/json"), Status: 200},
		{Target: known + "?linkType=linkset", Header: accept("text/html"), Status: 200},
		{Target: known + "?linkType=" + linkType, Status: 307},
		{Target: known + "?linkType=gs1:nosuchlt", Status: 404},
		{Target: unknown, Status: 404, Unknown: true},
		{Target: wrong, Status: 400},
	}
}

// TestRoutes: every address gives what the document says of it, and refuses what
// is wrong with a problem.
func TestRoutes(t *testing.T) {
	g := newGateway(t, passporttest.Options{})
	gtin := "/01/" + passporttest.GTIN
	routetest.Check(t, g, g.table, map[string][]routetest.Case{
		"GET /{$}": {{Target: "/", Status: 200}},
		"GET /01/{gtin}/21/{serial}": append(resolved(itemAt, gtin+"/21/unseen?linkType=gs1:traceability", "/01/09521234543210/21/1"),
			routetest.Case{Target: itemAt, Header: accept(passport.MediaType), Status: 200},
			routetest.Case{Target: itemAt + "?passport", Status: 200},
			routetest.Case{Target: gtin + "/21/unseen", Status: 404},
			routetest.Case{Target: itemAt + "?audit", Status: 404}),
		"GET /01/{gtin}": resolved(gtin, "/01/09521234543220", "/01/09521234543210"),
		"GET /01/{gtin}/{qualifiers...}": append(resolved(gtin+"/10/L1", "/01/09521234543220/10/L1", gtin+"/10/L1/foo"),
			routetest.Case{Target: gtin + "/", Status: 200}, routetest.Case{Target: gtin + "/10/L1/21/1001", Status: 200}),
		"GET /00/{sscc}":                 resolved("/00/"+knownSSCC, "/00/952123456789012352", "/00/952123456789012344"),
		"GET /00/{sscc}/{qualifiers...}": resolved("/00/"+knownSSCC+"/", "/00/952123456789012352/", "/00/"+knownSSCC+"/21/1"),
		"GET /414/{gln}":                 resolved("/414/"+knownGLN, "/414/9521234567905", "/414/9521234567898"),
		"GET /414/{gln}/{qualifiers...}": resolved("/414/"+knownGLN+"/254/Dock-3", "/414/9521234567905/254/1", "/414/"+knownGLN+"/10/1"),
		"GET /.well-known/gs1resolver":   {{Target: "/.well-known/gs1resolver", Status: 200}},
		"GET /qr/01/{gtin}/21/{file}": {
			{Target: "/qr" + itemAt + ".svg", Status: 200},
			{Target: "/qr" + itemAt + ".png", Status: 404, Unknown: true},
			{Target: "/qr/01/0952/21/1.svg", Status: 400},
		},
		"GET /trust":                                  {{Target: "/trust", Status: 200}},
		"GET /ledgers":                                {{Target: "/ledgers", Status: 200}},
		"GET /checkpoint":                             ledgerFile("/checkpoint"),
		"GET /tile/{level}/{index...}":                ledgerFile("/tile/0/x001/067"),
		"GET /ledgers/{half}/checkpoint":              ledgerFile("/ledgers/2026h2/checkpoint"),
		"GET /ledgers/{half}/tile/{level}/{index...}": ledgerFile("/ledgers/2026h2/tile/0/x001/067"),
		"GET /proof/inclusion":                        ledgerProof("/proof/inclusion", true),
		"GET /ledgers/{half}/proof/inclusion":         ledgerProof("/ledgers/2026h2/proof/inclusion", true),
		"GET /proof/consistency":                      ledgerProof("/proof/consistency", false),
		"GET /ledgers/{half}/proof/consistency":       ledgerProof("/ledgers/2026h2/proof/consistency", false),
		"GET /api/items/{gtin}/{serial}/scans": {
			{Target: "/api/items/" + passporttest.GTIN + "/" + passporttest.Serial + "/scans", Status: 200},
			{Target: "/api/items/123/1/scans", Status: 400, Unknown: true},
		},
		"GET /api/findings":     {{Target: "/api/findings", Status: 200}},
		"GET /healthz":          {{Target: "/healthz", Status: 200}},
		"GET /api/openapi.json": {{Target: "/api/openapi.json", Status: 200}},
		"GET /api/docs":         {{Target: "/api/docs", Status: 200}, {Target: "/api/docs?lang=en", Status: 200}},
	})
}

// TestDocsNameEveryRoute: the document and the page for people say the same.
func TestDocsNameEveryRoute(t *testing.T) {
	g := newGateway(t, passporttest.Options{})
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal([]byte(text(t, g.do("GET", "/api/openapi.json", ""))), &doc); err != nil {
		t.Fatal(err)
	}
	zh, en := g.page(t, "/api/docs", "zh"), g.page(t, "/api/docs", "en")
	n := 0
	for _, r := range g.table {
		if doc.Paths[r.Public()][strings.ToLower(r.Method)] == nil {
			t.Errorf("%s %s is not in the document", r.Method, r.Public())
		}
		contains(t, zh, r.Method+" "+r.Public(), r.Says.ZH)
		contains(t, en, r.Method+" "+r.Public())
	}
	for path, item := range doc.Paths {
		n += len(item)
		if !strings.HasPrefix(path, "/") {
			t.Errorf("path %q", path)
		}
	}
	if n != len(g.table) {
		t.Errorf("%d operations in the document, %d routes", n, len(g.table))
	}
	wellFormed(t, zh)
	wellFormed(t, en)
	dump(t, "docs", zh, en)
}
