package api

import (
	"net/http"

	"trailmark/gateway/internal/diversion"
	"trailmark/gateway/internal/route"
	"trailmark/passport"
)

// Headings that routes stand under.
var (
	tagPages  = route.Words{ZH: "页面与护照", EN: "Pages and passports"}
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
	notYet := route.Refusal(404, "还没有记录", "no record yet")
	return route.Table{
		{Method: "GET", Path: "/{$}", Tag: tagPages, Says: route.Words{ZH: "网关状态页", EN: "The gateway's status page"}, Params: []route.Param{langParam},
			Answers: []route.Answer{ok(htmlType, "页面", "the page")}, Serve: s.status},
		{Method: "GET", Path: "/01/{gtin}/21/{serial}", Tag: tagPages,
			Says: route.Words{ZH: "一件商品的页面，或它的护照文件", EN: "An item's page, or its passport file"},
			Params: []route.Param{gtinParam, serialParam, langParam,
				{Name: "passport", In: "query", Says: route.Words{ZH: "下载护照文件", EN: "download the passport file"}},
				{Name: "audit", In: "query", Says: route.Words{ZH: "含每个读数的护照（仅限本机，除非网关开放）", EN: "the passport with every reading (on this machine only, unless the gateway opens it)"}}},
			Answers:    []route.Answer{ok(htmlType, "页面", "the page"), ok(passport.MediaType, "护照文件", "the passport file"), badKey, notYet},
			Negotiates: true, Shared: true, Serve: s.item},
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
	}
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
