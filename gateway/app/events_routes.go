package app

import (
	"context"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"trailmark/gateway/internal/api"
	"trailmark/gateway/internal/epcis"
	"trailmark/gateway/internal/epcis/document"
	"trailmark/gateway/internal/route"
	"trailmark/internal/epc"
)

// eventsAt is where the EPCIS interface is; the standard has it answer by rules of
// its own, so its handler stands before the table's.
const eventsAt = "/epcis/"

// eventsFirst gives requests of the EPCIS interface to its handler.
func eventsFirst(events, rest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, eventsAt) {
			events.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	})
}

// eventWords are what the operations of EPCIS do, in Chinese.
var eventWords = map[string]string{
	"POST /epcis/capture":                      "采集 EPCIS 文件或单个事件：每个都成为组织签名的声明",
	"GET /epcis/capture":                       "最近的采集任务",
	"GET /epcis/capture/{id}":                  "一次采集的结果",
	"POST /epcis/events":                       "采集一个事件",
	"GET /epcis/events":                        "按标准的查询参数查询已采集的事件",
	"GET /epcis/events/{eventID}":              "一个事件，或声明其有误的最新事件",
	"GET /epcis/eventTypes":                    "有哪些事件类型",
	"GET /epcis/epcs":                          "有哪些对象",
	"GET /epcis/signed/events":                 "设备自己签名的某件商品的读取与当时的读数",
	"POST /epcis/custody/handovers":            "签署移交",
	"POST /epcis/custody/acceptances":          "签署接收",
	"GET /epcis/bizSteps":                      "有哪些业务步骤",
	"GET /epcis/dispositions":                  "有哪些处置状态",
	"GET /epcis/readPoints":                    "有哪些读取点",
	"GET /epcis/bizLocations":                  "有哪些业务地点",
	"GET /epcis/eventTypes/{eventType}/events": "某类型的事件",
	"GET /epcis/epcs/{epc}/events":             "某对象的事件",
	"GET /epcis/bizSteps/{value}/events":       "某业务步骤的事件",
	"GET /epcis/dispositions/{value}/events":   "某处置状态的事件",
	"GET /epcis/readPoints/{value}/events":     "某读取点的事件",
	"GET /epcis/bizLocations/{value}/events":   "某业务地点的事件",
}

// eventRoutes describe the EPCIS interface.
func eventRoutes() (out route.Table) {
	for _, e := range epcis.Routes() {
		says := route.Words{ZH: eventWords[e.Method+" "+e.Path], EN: strings.ToUpper(e.Summary[:1]) + e.Summary[1:]}
		r := route.Route{Method: e.Method, Path: e.Path, Tag: route.Words{ZH: "EPCIS 2.0 事件（仅限本机）", EN: "EPCIS 2.0 events, on this machine only"}, Says: says, Elsewhere: true}
		for _, name := range pathNames(e.Path) {
			r.Params = append(r.Params, route.Param{Name: name, In: "path", Says: route.Words{ZH: "见 EPCIS 2.0", EN: "as EPCIS 2.0 says"}})
		}
		for _, name := range e.Parameters {
			r.Params = append(r.Params, route.Param{Name: name, In: "query", Says: route.Words{ZH: "见 EPCIS 2.0", EN: "as EPCIS 2.0 says"}})
		}
		if e.Request != "" {
			types, _, _ := strings.Cut(e.Request, ":")
			r.Body = &route.Body{Types: strings.Split(types, ", "), Max: document.MaxSize, Says: route.Words{ZH: "请求体", EN: e.Request}}
		}
		status := http.StatusOK
		if code, _, ok := strings.Cut(e.Response, ","); ok {
			if n, err := strconv.Atoi(code); err == nil {
				status = n
			}
		}
		for _, kind := range []string{"application/ld+json", "application/json"} {
			r.Answers = append(r.Answers, route.Answer{Status: status, Type: kind, Says: route.Words{ZH: "结果", EN: e.Response}})
		}
		r.Answers = append(r.Answers, route.Refusal(400, "请求有误", "something is wrong with the request"), route.Refusal(403, "只有本机用户可以使用", "only users of this machine may ask"))
		if strings.Contains(e.Path, "{") {
			r.Answers = append(r.Answers, route.Refusal(404, "没有", "there is none"))
		}
		out = append(out, r)
	}
	return out
}

// eventsLink is the link from a thing to its events, for the resolver: where there
// are any, and where they can be asked for.
func (g *gateway) eventsLink() api.Link {
	return api.Link{Type: "epcis", Media: "application/ld+json", Says: route.Words{ZH: "EPCIS 事件", EN: "EPCIS events"},
		Href: func(ctx context.Context, a epc.Address) (string, error) {
			if !g.private {
				return "", nil
			}
			object := document.Canonical("https://id.gs1.org" + a.Path())
			places, err := g.store.EventsOf(ctx, object, math.MaxInt64)
			if err != nil || len(places) == 0 {
				return "", err
			}
			return "/epcis/epcs/" + url.PathEscape(object) + "/events", nil
		}}
}

// pathNames are the parameters of a path.
func pathNames(path string) (out []string) {
	for part := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			out = append(out, strings.TrimSuffix(name, "}"))
		}
	}
	return out
}
