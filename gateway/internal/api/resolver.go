package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"trailmark/gateway/internal/route"
	"trailmark/internal/epc"
	"trailmark/passport"
)

// The resolver answers GS1 Digital Links as the GS1-Conformant resolver standard
// 1.2 says: a link of the type that is asked for, all of them as a linkset (RFC
// 9264), or the page that is ours to give. It lists only what is really served.

const (
	linksetType = "application/linkset+json"
	vocabulary  = "https://ref.gs1.org/voc/"
	linkContext = "https://ref.gs1.org/standards/resolver/linkset-context"
)

// A Link is something about a thing, for the resolver to list.
type Link struct {
	Type  string // of GS1's vocabulary, without its prefix: pip, traceability, epcis
	Media string // media type of what is there
	Says  route.Words
	Langs bool // there in each language, by ?lang=
	// Href is the path and query here, or "" if there is none about a thing.
	Href func(ctx context.Context, a epc.Address) (string, error)
}

// target is one link about one thing, in one language.
type target struct {
	Type  string
	Href  string // absolute
	Here  string // without scheme and host
	Media string
	Lang  passport.Lang // "": of none
	says  route.Words
}

// Title is what the link leads to, in the language it is in.
func (t target) Title() string {
	if t.Lang == "" {
		return t.says.ZH + " / " + t.says.EN
	}
	return t.Lang.Say(t.says.ZH, t.says.EN)
}

// own are the links to what this package serves.
func (s *server) own() []Link {
	product := func(ctx context.Context, a epc.Address) (bool, error) {
		if a.GTIN == "" || s.Product == nil {
			return false, nil
		}
		p, err := s.Product(ctx, a.GTIN)
		return p != nil, err
	}
	item := func(ctx context.Context, a epc.Address) (bool, error) {
		if a.GTIN == "" || a.Serial == "" {
			return false, nil
		}
		return s.seen(ctx, a.Link)
	}
	href := func(has func(context.Context, epc.Address) (bool, error), path func(epc.Address) string) func(context.Context, epc.Address) (string, error) {
		return func(ctx context.Context, a epc.Address) (string, error) {
			if ok, err := has(ctx, a); err != nil || !ok {
				return "", err
			}
			return path(a), nil
		}
	}
	return []Link{
		{"traceability", htmlType, route.Words{ZH: "这件商品的行程", EN: "The item's journey"}, true, href(item, func(a epc.Address) string { return a.Link.Path() })},
		{"traceability", passport.MediaType, route.Words{ZH: "护照文件，可离线核验", EN: "The passport file, to check offline"}, false, href(item, func(a epc.Address) string { return a.Link.Path() + "?passport" })},
		{"pip", htmlType, route.Words{ZH: "商品信息", EN: "About the product"}, true, href(product, func(a epc.Address) string { return "/01/" + a.GTIN })},
		{"masterData", jsonType, route.Words{ZH: "商品主数据", EN: "The product's master data"}, false, href(product, func(a epc.Address) string { return "/api/products/" + a.GTIN })},
	}
}

// seen reports whether there is a record of an item.
func (s *server) seen(ctx context.Context, item epc.Link) (bool, error) {
	if s.Seen != nil {
		return s.Seen(ctx, item)
	}
	_, err := s.Compose(ctx, item)
	if errors.Is(err, ErrNotYet) {
		return false, nil
	}
	return err == nil, err
}

// targets are all links about a thing; the first is its default.
func (s *server) targets(ctx context.Context, a epc.Address) (out []target, err error) {
	for _, l := range slices.Concat(s.own(), s.Links) {
		href, err := l.Href(ctx, a)
		if err != nil {
			return nil, err
		}
		if href == "" {
			continue
		}
		t := target{l.Type, s.root() + href, href, l.Media, "", l.Says}
		if !l.Langs {
			out = append(out, t)
			continue
		}
		sep := "?"
		if strings.Contains(href, "?") {
			sep = "&"
		}
		for _, lang := range []passport.Lang{passport.Chinese, passport.English} {
			in := t
			in.Lang, in.Href, in.Here = lang, t.Href+sep+"lang="+string(lang), t.Here+sep+"lang="+string(lang)
			out = append(out, in)
		}
	}
	return out, nil
}

// root is scheme and host of our addresses.
func (s *server) root() string { return strings.TrimRight(s.Base, "/") }

// address is what a request's path names.
func address(r *http.Request) (epc.Address, error) {
	a, err := epc.ParseAddress(r.URL.EscapedPath())
	if err == nil {
		return a, nil
	}
	hint := "the address is /01/{14 digits of GTIN}/21/{serial number}, as in the item's QR code"
	switch n := len(r.PathValue("gtin")); {
	case n == 8 || n == 12 || n == 13:
		hint = fmt.Sprintf("a barcode of %d digits is written with %d zeros before it", n, 14-n)
	case strings.HasPrefix(r.URL.Path, "/00/"):
		hint = "the address is /00/{18 digits of SSCC}, as on the pallet's label"
	case strings.HasPrefix(r.URL.Path, "/414/"):
		hint = "the address is /414/{13 digits of GLN}, or with /254/{extension} behind it"
	}
	return a, &ClientError{Status: http.StatusBadRequest, Detail: strings.TrimPrefix(err.Error(), "epc: ") + "\nhint: " + hint}
}

// resolve answers any Digital Link.
func (s *server) resolve(w http.ResponseWriter, r *http.Request) error {
	a, err := address(r)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Add("Vary", "Accept, Accept-Language")
	h.Set("Link", "<"+s.root()+a.Path()+"?linkType=linkset>; rel=\"linkset\"; type=\""+linksetType+"\"")
	switch wanted := linkType(r); {
	case wanted == "linkset" || wanted == "all":
		kind := route.Choose(r, linksetType, jsonType, htmlType)
		if kind == "" {
			return route.NotAcceptable(linksetType, jsonType, htmlType)
		}
		return s.linkset(w, r, a, kind)
	case wanted != "":
		return s.redirect(w, r, a, wanted)
	case a.GTIN != "" && a.Serial != "":
		if !r.URL.Query().Has("passport") && !r.URL.Query().Has("audit") && route.Choose(r, htmlType, passport.MediaType, linksetType) == linksetType {
			return s.linkset(w, r, a, linksetType)
		}
		return s.item(w, r, a.Link)
	}
	switch kind := route.Choose(r, htmlType, linksetType); {
	case kind == "":
		return route.NotAcceptable(htmlType, linksetType)
	case kind == htmlType && a.GTIN != "":
		return s.product(w, r, a)
	default:
		return s.linkset(w, r, a, kind)
	}
}

// linkType is the type that is asked for, without the prefix of GS1's vocabulary.
func linkType(r *http.Request) string {
	t := r.URL.Query().Get("linkType")
	for _, prefix := range []string{"gs1:", vocabulary, "https://gs1.org/voc/", "https://www.gs1.org/voc/"} {
		if rest, ok := strings.CutPrefix(t, prefix); ok {
			return rest
		}
	}
	return t
}

// nothing is the answer about a thing that nothing is known of.
func nothing(a epc.Address) error {
	return route.Errorf(http.StatusNotFound, "nothing is known here of %s", a.Path())
}

// redirect leads to the link of a type that fits the client best.
func (s *server) redirect(w http.ResponseWriter, r *http.Request, a epc.Address, wanted string) error {
	all, err := s.targets(r.Context(), a)
	if err != nil {
		return err
	}
	var types []string
	var best *target
	score := -1
	want := language(r)
	for i, t := range all {
		if types = append(types, "gs1:"+t.Type); t.Type != wanted && (wanted != "defaultLink" || t.Type != all[0].Type) {
			continue
		}
		fit := 0
		if route.Choose(r, t.Media) != "" {
			fit += 2
		}
		if t.Lang == want {
			fit++
		}
		if fit > score {
			best, score = &all[i], fit
		}
	}
	if best == nil {
		return route.Errorf(http.StatusNotFound, "there is no link of type %.40q to %s\nhint: %s", wanted, a.Path(), orNone(slices.Compact(types)))
	}
	// Whatever else the request says goes along, but for what chose the link.
	to, err := url.Parse(best.Href)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	query.Del("linkType")
	query.Del("lang")
	if rest := query.Encode(); rest != "" {
		if to.RawQuery != "" {
			to.RawQuery += "&"
		}
		to.RawQuery += rest
	}
	w.Header().Set("Location", to.String())
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusTemporaryRedirect)
	return nil
}

func orNone(types []string) string {
	if len(types) == 0 {
		return "there is none of any type"
	}
	return "there are " + strings.Join(types, ", ")
}

// linkset lists every link about a thing.
func (s *server) linkset(w http.ResponseWriter, r *http.Request, a epc.Address, kind string) error {
	all, err := s.targets(r.Context(), a)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return nothing(a)
	}
	w.Header().Set("Cache-Control", "no-cache")
	if kind == htmlType {
		v := linksView{view: s.view(r), Path: a.Path(), Links: all}
		v.Title, v.Other = v.L.Say("溯证 · 链接", "Trailmark · links"), s.other(r, v.L)
		s.render(w, r, http.StatusOK, "links.html", v)
		return nil
	}
	w.Header().Add("Link", "<"+linkContext+">; rel=\"http://www.w3.org/ns/json-ld#context\"; type=\"application/ld+json\"")
	set := map[string]any{"anchor": s.root() + a.Path(), vocabulary + "defaultLink": []any{member(all[0])}}
	for _, t := range all {
		list, _ := set[vocabulary+t.Type].([]any)
		set[vocabulary+t.Type] = append(list, member(t))
	}
	data, err := json.Marshal(map[string]any{"linkset": []any{set}})
	if err != nil {
		return err
	}
	return write(w, kind, data)
}

// member is a link as RFC 9264 writes it.
func member(t target) map[string]any {
	m := map[string]any{"href": t.Href, "title": t.Title(), "type": t.Media}
	if t.Lang != "" {
		m["hreflang"] = []string{string(t.Lang)}
	}
	return m
}

// linksView is what links.html shows.
type linksView struct {
	view
	Path  string
	Links []target
}

// other is the same address in the other language, with what else it asks for.
func (s *server) other(r *http.Request, l passport.Lang) string {
	q := r.URL.Query()
	q.Set("lang", string(view{L: l}.OtherLang()))
	return r.URL.EscapedPath() + "?" + q.Encode()
}

// product is the page of a trade item's class.
func (s *server) product(w http.ResponseWriter, r *http.Request, a epc.Address) error {
	if s.Product == nil {
		return nothing(a)
	}
	p, err := s.Product(r.Context(), a.GTIN)
	if err != nil {
		return err
	}
	if p == nil {
		return nothing(a)
	}
	v := productView{view: s.view(r), P: p, Address: a}
	v.Title = p.Name.In(string(v.L))
	w.Header().Set("Cache-Control", "no-cache")
	s.render(w, r, http.StatusOK, "product.html", v)
	return nil
}

// productView is what product.html shows.
type productView struct {
	view
	P       *Product
	Address epc.Address
}

// description is what the resolver says of itself.
type description struct {
	Name                 string      `json:"name"`
	ResolverRoot         string      `json:"resolverRoot"`
	SupportedPrimaryKeys []string    `json:"supportedPrimaryKeys"`
	SupportedLinkType    []namespace `json:"supportedLinkType"`
	DefaultCanBeLinkset  bool        `json:"linkTypeDefaultCanBeLinkset"`
	Contact              contact     `json:"contact"`
}

type namespace struct {
	Namespace string `json:"namespace"`
	Prefix    string `json:"prefix"`
}

type contact struct {
	FN string `json:"fn"`
}

func (s *server) describe(w http.ResponseWriter, _ *http.Request) error {
	name := s.Name
	if name == "" {
		name = "Trailmark"
	}
	data, err := json.Marshal(description{name + " · Trailmark 溯证", s.root(), []string{"01", "00", "414"},
		[]namespace{{vocabulary, "gs1:"}}, false, contact{name}})
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-cache")
	return write(w, jsonType, data)
}
