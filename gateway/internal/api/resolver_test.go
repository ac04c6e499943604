package api_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"trailmark/passport/passporttest"
)

const voc = "https://ref.gs1.org/voc/"

type linkTarget struct {
	Href, Title, Type string
	Hreflang          []string
}

// linkset is the one link context of a linkset, with its links by type.
func linkset(t *testing.T, r *http.Response) (anchor string, links map[string][]linkTarget) {
	t.Helper()
	var doc struct {
		Linkset []map[string]json.RawMessage `json:"linkset"`
	}
	if body := text(t, r); json.Unmarshal([]byte(body), &doc) != nil || len(doc.Linkset) != 1 {
		t.Fatalf("%s: no linkset: %s", r.Status, body)
	}
	links = map[string][]linkTarget{}
	for k, raw := range doc.Linkset[0] {
		var list []linkTarget
		if k == "anchor" {
			if err := json.Unmarshal(raw, &anchor); err != nil {
				t.Fatal(err)
			}
		} else if err := json.Unmarshal(raw, &list); err != nil {
			t.Fatalf("%s: %v", k, err)
		} else {
			links[strings.TrimPrefix(k, voc)] = list
		}
	}
	return anchor, links
}

// TestConformance: what GS1's own test suite for resolvers asks, by the words of
// the GS1-Conformant resolver standard.
func TestConformance(t *testing.T) {
	g := newGateway(t, passporttest.Options{})
	linksetOf := `<https://id.example.com` + itemAt + `?linkType=linkset>; rel="linkset"; type="application/linkset+json"`

	// SHALL support GET, HEAD and OPTIONS requests; SHALL support CORS.
	for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
		r := g.do(method, itemAt, "")
		if r.StatusCode/100 != 2 || r.Header.Get("Access-Control-Allow-Origin") != "*" || r.Header.Get("Access-Control-Allow-Methods") != "GET, HEAD, OPTIONS" {
			t.Errorf("%s: %s %v", method, r.Status, r.Header)
		}
	}
	// SHOULD expose the direct link to the linkset, and no others.
	if got := g.do("GET", itemAt, "").Header.Values("Link"); !slices.Equal(got, []string{linksetOf}) {
		t.Errorf("link %q", got)
	}
	// SHALL syntactically validate the URI and report errors with 400.
	if r := g.do("GET", itemAt+"/foo", ""); r.StatusCode != 400 || r.Header.Get("Link") != "" {
		t.Errorf("/foo: %s", r.Status)
	}
	// SHOULD tolerate trailing slashes.
	if a, b := g.do("GET", itemAt, ""), g.do("GET", itemAt+"/", ""); a.StatusCode != b.StatusCode || a.Header.Get("Link") != b.Header.Get("Link") {
		t.Errorf("with a slash %s %v, without %s %v", b.Status, b.Header, a.Status, a.Header)
	}
	// SHALL NOT redirect a request for the linkset, however it is asked for; SHOULD
	// point to a JSON-LD context.
	for _, c := range [][3]string{{"?linkType=linkset", "application/linkset+json", "application/linkset+json"}, {"?linkType=all", "", "application/linkset+json"},
		{"", "application/linkset+json", "application/linkset+json"}, {"?linkType=linkset", "application/json", "application/json"}} {
		r := g.do("GET", itemAt+c[0], "", "Accept", c[1])
		if r.StatusCode != 200 || r.Header.Get("Content-Type") != c[2] || !strings.Contains(strings.Join(r.Header.Values("Link"), ","), `rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"`) {
			t.Errorf("%v: %s %v", c, r.Status, r.Header)
		}
		if !strings.Contains(strings.Join(r.Header.Values("Vary"), ","), "Accept") {
			t.Errorf("%v: vary %q", c, r.Header.Values("Vary"))
		}
	}
	// If the requested type of link is not available, SHALL return 404.
	if r := g.do("GET", itemAt+"?linkType=gs1:nosuchlt", ""); r.StatusCode != 404 || !strings.Contains(text(t, r), "there are gs1:traceability, gs1:pip, gs1:masterData") {
		t.Errorf("no such type: %s", r.Status)
	}
	// Every link of the linkset can be asked for by its own attributes.
	anchor, links := linkset(t, g.do("GET", itemAt+"?linkType=linkset", ""))
	if anchor != "https://id.example.com"+itemAt || len(links["defaultLink"]) != 1 {
		t.Errorf("anchor %s, default %v", anchor, links["defaultLink"])
	}
	for kind, list := range links {
		if kind == "defaultLink" {
			continue
		}
		for _, l := range list {
			headers := []string{"Accept", l.Type}
			if len(l.Hreflang) > 0 {
				headers = append(headers, "Accept-Language", l.Hreflang[0])
			}
			for _, prefix := range []string{"gs1:", voc, "https://gs1.org/voc/"} {
				r := g.do("GET", itemAt+"?linkType="+url.QueryEscape(prefix+kind), "", headers...)
				if r.StatusCode != 307 || r.Header.Get("Location") != l.Href || !slices.Contains(r.Header.Values("Link"), linksetOf) {
					t.Errorf("%s%s as %v: %s to %q, want %q", prefix, kind, headers, r.Status, r.Header.Get("Location"), l.Href)
				}
			}
			// What is listed is served, as it is described.
			at, err := url.Parse(l.Href)
			if err != nil || at.Host != "id.example.com" {
				t.Fatalf("%s: %v", l.Href, err)
			}
			if kind == "masterData" {
				continue // another package's
			}
			r := g.do("GET", at.RequestURI(), "", "Accept", l.Type)
			if got, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); r.StatusCode != 200 || got != l.Type {
				t.Errorf("%s: %s, %s", l.Href, r.Status, got)
			}
			if len(l.Hreflang) > 0 {
				contains(t, text(t, r), `<html lang="`+l.Hreflang[0]+`"`)
			}
		}
	}
	// SHALL pass on all key=value pairs of the query.
	r := g.do("GET", itemAt+"?foo=bar&17=261231&linkType=gs1:traceability&lang=en", "", "Accept", "text/html")
	to, err := url.Parse(r.Header.Get("Location"))
	if err != nil || to.Query().Get("foo") != "bar" || to.Query().Get("17") != "261231" || to.Query().Has("linkType") || !slices.Equal(to.Query()["lang"], []string{"en"}) {
		t.Errorf("led to %v, %v", to, err)
	}
}

// TestLinkset lists what there is about a thing, and no more.
func TestLinkset(t *testing.T) {
	g := newGateway(t, passporttest.Options{})
	for target, want := range map[string][]string{
		itemAt:                                    {"defaultLink", "masterData", "pip", "traceability"},
		"/01/" + passporttest.GTIN:                {"defaultLink", "masterData", "pip"},
		"/01/" + passporttest.GTIN + "/10/A1":     {"defaultLink", "masterData", "pip"},
		"/01/" + passporttest.GTIN + "/21/unseen": {"defaultLink", "masterData", "pip"},
		"/01/09521234543220/21/1":                 {"defaultLink", "traceability"},
		"/00/" + knownSSCC:                        {"defaultLink", "epcis"},
		"/414/" + knownGLN + "/254/D1":            {"defaultLink", "epcis"},
	} {
		_, links := linkset(t, g.do("GET", target+"?linkType=linkset", ""))
		var got []string
		for k := range links {
			got = append(got, k)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", target, got, want)
		}
	}
	if r := g.do("GET", "/00/952123456789012352?linkType=linkset", ""); r.StatusCode != 404 {
		t.Errorf("an unknown pallet: %s", r.Status)
	}
	if r := g.do("GET", "/01/"+passporttest.GTIN+"/21/broken?linkType=linkset", ""); r.StatusCode != 500 {
		t.Errorf("a store that fails: %s", r.Status)
	}
}

func TestResolverDescription(t *testing.T) {
	r := newGateway(t, passporttest.Options{}).do("GET", "/.well-known/gs1resolver", "")
	var d struct {
		ResolverRoot         string
		SupportedPrimaryKeys []string
		SupportedLinkType    []struct{ Namespace, Prefix string }
	}
	if err := json.NewDecoder(r.Body).Decode(&d); err != nil {
		t.Fatal(err)
	}
	if d.ResolverRoot != "https://id.example.com" || !slices.Equal(d.SupportedPrimaryKeys, []string{"01", "00", "414"}) || len(d.SupportedLinkType) != 1 || d.SupportedLinkType[0].Prefix != "gs1:" {
		t.Errorf("%+v", d)
	}
}

func TestProductPage(t *testing.T) {
	g := newGateway(t, passporttest.Options{})
	at := "/01/" + passporttest.GTIN + "/10/L%3C1"
	zh, en := g.page(t, at, "zh"), g.page(t, at, "en")
	contains(t, zh, "流感疫苗（示例）", "品牌方的判定标准", "L&lt;1", "Example &lt;Pharma&gt;", `src="/api/products/`+passporttest.GTIN+`/picture"`, "没有签名")
	contains(t, en, "Flu vaccine (sample)", "10 °C or above: less than 20 h in all", "no record of one item")
	wellFormed(t, zh)
	wellFormed(t, en)
	dump(t, "product", zh, en)
	page := g.page(t, itemAt+"?linkType=linkset", "zh")
	contains(t, page, "这件商品的行程", `href="`+itemAt+`?lang=en"`, "gs1:masterData", "application/vnd.trailmark.passport&#43;cbor")
	wellFormed(t, page)
	dump(t, "links", page, "")
}
