package api

import (
	"net/http"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"

	"trailmark/gateway/internal/diversion"
	"trailmark/gateway/internal/route"
	"trailmark/passport"
)

// Headings that routes stand under.
var (
	tagPages  = route.Words{ZH: "页面与护照", EN: "Pages and passports"}
	tagLinks  = route.Words{ZH: "GS1 Digital Link 解析", EN: "GS1 Digital Link resolver"}
	tagLedger = route.Words{ZH: "账本", EN: "Ledgers"}
	tagAbout  = route.Words{ZH: "关于本网关", EN: "About this gateway"}
)

const (
	htmlType   = "text/html"
	textType   = "text/plain"
	cborType   = "application/cbor"
	svgType    = "image/svg+xml"
	binaryType = "application/octet-stream"
	jsonType   = "application/json"
)

var (
	gtinParam   = route.Param{Name: "gtin", In: "path", Says: route.Words{ZH: "14 位 GTIN", EN: "GTIN of 14 digits"}, Pattern: "^[0-9]{14}$", Example: "09521234543213"}
	serialParam = route.Param{Name: "serial", In: "path", Says: route.Words{ZH: "序列号，最多 20 个字符", EN: "serial number, at most 20 characters"}, Example: "1001"}
	langParam   = route.Param{Name: "lang", In: "query", Says: route.Words{ZH: "页面语言：zh-CN 或 en", EN: "language of the page: zh-CN or en"}, Example: "en"}
)

func ok(kind, zh, en string) route.Answer {
	return route.Answer{Status: http.StatusOK, Type: kind, Says: route.Words{ZH: zh, EN: en}}
}

// routes are what this package serves.
func (s *server) routes() route.Table {
	badKey := route.Refusal(400, "编码有误，说明含提示", "the key is wrong; the detail has a hint")
	return slices.Concat(s.links(), route.Table{
		{Method: "GET", Path: "/{$}", Tag: tagPages, Says: route.Words{ZH: "网关状态页", EN: "The gateway's status page"}, Params: []route.Param{langParam},
			Answers: []route.Answer{ok(htmlType, "页面", "the page")}, Serve: s.status},
		{Method: "GET", Path: "/qr/01/{gtin}/21/{file}", Tag: tagPages, Says: route.Words{ZH: "商品页地址的二维码", EN: "The QR code of an item's address"},
			Params: []route.Param{gtinParam, {Name: "file", In: "path", Says: route.Words{ZH: "序列号加 .svg", EN: "the serial number and .svg"}, Example: "1001.svg"}},
			Answers: []route.Answer{ok(svgType, "二维码", "the code"), badKey,
				route.Refusal(404, "地址不以 .svg 结尾", "the address does not end in .svg")}, Serve: s.qr},
		{Method: "GET", Path: "/trust", Tag: tagPages, Says: route.Words{ZH: "本网关核验用的信任文件；请从别处取得您自己的", EN: "The trust file that this gateway verifies with; get your own from elsewhere"},
			Answers: []route.Answer{ok(cborType, "信任文件", "the file")}, Shared: true, Serve: s.trust},
		{Method: "GET", Path: "/healthz", Tag: tagAbout, Says: route.Words{ZH: "网关是否应答", EN: "Whether the gateway answers"},
			Answers: []route.Answer{ok(textType, "ok", "ok")}, Serve: func(w http.ResponseWriter, _ *http.Request) error {
				return write(w, "text/plain; charset=utf-8", []byte("ok\n"))
			}},
		{Method: "GET", Path: "/api/openapi.json", Tag: tagAbout, Says: route.Words{ZH: "本说明，OpenAPI 3.1 格式", EN: "This description as OpenAPI 3.1"},
			Answers: []route.Answer{ok(jsonType, "说明", "the document")}, Shared: true, Serve: s.openAPI},
		{Method: "GET", Path: "/api/docs", Tag: tagAbout, Says: route.Words{ZH: "本说明，给人看", EN: "This description for people"}, Params: []route.Param{langParam},
			Answers: []route.Answer{ok(htmlType, "页面", "the page")}, Serve: s.docs},
	})
}

// links are the addresses of GS1 Digital Links.
func (s *server) links() route.Table {
	badKey := route.Refusal(400, "编码有误，说明含提示", "the key is wrong; the detail has a hint")
	linkParam := route.Param{Name: "linkType", In: "query", Says: route.Words{ZH: "转到这一类链接，如 gs1:pip；linkset 列出全部", EN: "lead on to a link of this type, such as gs1:pip; linkset lists them all"}, Example: "linkset"}
	linkset := route.Answer{Status: 200, Type: linksetType, Says: route.Words{ZH: "全部链接（RFC 9264）", EN: "every link (RFC 9264)"}, Schema: linksetSchema()}
	plain := linkset
	plain.Type = jsonType
	lead := route.Answer{Status: 307, Says: route.Words{ZH: "转到最合适的链接", EN: "on to the link that fits best"}}
	unknown := route.Refusal(404, "没有记录，或没有这一类链接", "nothing is known of it, or there is no link of this type")
	resolver := func(path, zh, en string, params []route.Param, more ...route.Answer) route.Route {
		return route.Route{Method: "GET", Path: path, Tag: tagLinks, Says: route.Words{ZH: zh, EN: en}, Params: append(params, linkParam, langParam),
			Answers: append(more, ok(htmlType, "页面", "the page"), linkset, plain, lead, badKey, unknown), Negotiates: true, Shared: true, Serve: s.resolve}
	}
	sscc := route.Param{Name: "sscc", In: "path", Says: route.Words{ZH: "18 位 SSCC", EN: "SSCC of 18 digits"}, Pattern: "^[0-9]{18}$", Example: "952123456789012345"}
	gln := route.Param{Name: "gln", In: "path", Says: route.Words{ZH: "13 位 GLN", EN: "GLN of 13 digits"}, Pattern: "^[0-9]{13}$", Example: "9521234567899"}
	rest := func(zh, en string) route.Param {
		return route.Param{Name: "qualifiers", In: "path", Says: route.Words{ZH: zh, EN: en}}
	}
	return route.Table{
		resolver("/01/{gtin}/21/{serial}", "一件商品的页面、护照文件或链接", "An item's page, its passport file, or links", []route.Param{gtinParam, serialParam,
			{Name: "passport", In: "query", Says: route.Words{ZH: "下载护照文件", EN: "download the passport file"}},
			{Name: "audit", In: "query", Says: route.Words{ZH: "含每个读数的护照（仅限本机，除非网关开放）", EN: "the passport with every reading (on this machine only, unless the gateway opens it)"}}},
			ok(passport.MediaType, "护照文件", "the passport file")),
		resolver("/01/{gtin}", "一种商品的页面或链接", "A product's page or links", []route.Param{gtinParam}),
		resolver("/01/{gtin}/{qualifiers...}", "同上，带款式、批号、序列号", "The same with variant, lot and serial number",
			[]route.Param{gtinParam, rest("/22/{款式}/10/{批号}/21/{序列号}，依此次序，均可省略；或 /235/{第三方序列号}", "/22/{variant}/10/{lot}/21/{serial} in this order, each may be left out; or /235/{third party's serial}")}),
		resolver("/00/{sscc}", "一个物流单元的链接", "Links of a logistic unit", []route.Param{sscc}),
		resolver("/00/{sscc}/{qualifiers...}", "SSCC 之后不应再有内容", "Nothing may follow an SSCC but a slash", []route.Param{sscc, rest("空", "nothing")}),
		resolver("/414/{gln}", "一个地点的链接", "Links of a place", []route.Param{gln}),
		resolver("/414/{gln}/{qualifiers...}", "同上，带扩展", "The same with an extension", []route.Param{gln, rest("/254/{扩展}", "/254/{extension}")}),
		{Method: "GET", Path: "/.well-known/gs1resolver", Tag: tagLinks, Says: route.Words{ZH: "解析器说明（GS1-Conformant resolver）", EN: "What this resolver is (GS1-Conformant resolver)"},
			Answers: []route.Answer{{Status: 200, Type: jsonType, Says: route.Words{ZH: "说明", EN: "the description"}, Schema: route.Schema[description]()}}, Shared: true, Serve: s.describe},
	}
}

// linksetSchema is what a linkset of ours looks like: RFC 9264, with the link types
// of GS1's vocabulary for members.
func linksetSchema() *jsonschema.Schema {
	text := &jsonschema.Schema{Type: "string"}
	one := 1
	link := &jsonschema.Schema{Type: "object", Required: []string{"href", "title", "type"}, AdditionalProperties: &jsonschema.Schema{Not: &jsonschema.Schema{}},
		Properties: map[string]*jsonschema.Schema{"href": {Type: "string", Pattern: "^https?://"}, "title": text, "type": text,
			"hreflang": {Type: "array", Items: text, MinItems: &one}}}
	return &jsonschema.Schema{Type: "object", Required: []string{"linkset"}, Properties: map[string]*jsonschema.Schema{"linkset": {
		Type: "array", MinItems: &one, Items: &jsonschema.Schema{Type: "object", Required: []string{"anchor", vocabulary + "defaultLink"},
			Properties:           map[string]*jsonschema.Schema{"anchor": {Type: "string", Pattern: "^https?://"}},
			PatternProperties:    map[string]*jsonschema.Schema{"^https://ref[.]gs1[.]org/voc/[A-Za-z]+$": {Type: "array", MinItems: &one, Items: link}},
			AdditionalProperties: &jsonschema.Schema{Not: &jsonschema.Schema{}}}}}}
}

// scanRoutes are about who opened pages, and what staff are told of copies; each is
// there only where the gateway has it.
func (s *server) scanRoutes() (out route.Table) {
	if s.Scans != nil {
		out = append(out, route.Route{Method: "GET", Path: "/api/items/{gtin}/{serial}/scans", Tag: tagPages,
			Says:   route.Words{ZH: "一件商品的页面被打开的次数，按日和状态；不含个人信息", EN: "How often an item's page was opened, by day and state; nothing of anybody is kept"},
			Params: []route.Param{gtinParam, serialParam},
			Answers: []route.Answer{{Status: http.StatusOK, Type: jsonType, Says: route.Words{ZH: "次数", EN: "the counts"}, Schema: route.Schema[diversion.Scans]()},
				route.Refusal(400, "编码有误，说明含提示", "the key is wrong; the detail has a hint")}, Serve: s.scans})
	}
	if s.Findings != nil {
		out = append(out, route.Route{Method: "GET", Path: "/api/findings", Tag: tagPages,
			Says:    route.Words{ZH: "疑似仿冒或窜货的发现（仅限本机）", EN: "What may be a copy or was diverted (on this machine only)"},
			Answers: []route.Answer{{Status: http.StatusOK, Type: jsonType, Says: route.Words{ZH: "发现", EN: "the findings"}, Schema: route.Schema[[]diversion.Finding]()}}, Serve: s.findings})
	}
	return out
}

func (s *server) openAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", "no-cache")
	return write(w, jsonType, s.document)
}

// docsView is what docs.html shows.
type docsView struct {
	view
	Groups []docsGroup
}

type docsGroup struct {
	Tag    route.Words
	Routes []route.Route
}

// Of is words in the page's language.
func (v docsView) Of(w route.Words) string { return v.L.Say(w.ZH, w.EN) }

func (s *server) docs(w http.ResponseWriter, r *http.Request) error {
	v := docsView{view: s.view(r)}
	v.Title = v.L.Say("溯证 · 接口说明", "Trailmark · interfaces")
	for _, rt := range s.table {
		i := 0
		for i < len(v.Groups) && v.Groups[i].Tag != rt.Tag {
			i++
		}
		if i == len(v.Groups) {
			v.Groups = append(v.Groups, docsGroup{Tag: rt.Tag})
		}
		v.Groups[i].Routes = append(v.Groups[i].Routes, rt)
	}
	w.Header().Add("Vary", "Accept-Language")
	s.render(w, r, http.StatusOK, "docs.html", v)
	return nil
}
