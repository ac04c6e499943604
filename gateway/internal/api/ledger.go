package api

import (
	"encoding/json"
	"net/http"
	"strings"

	"trailmark/gateway/internal/route"
)

// ledgerRoutes are the addresses of the ledgers: of the current one, and of each
// half-year's for ever.
func (s *server) ledgerRoutes() (out route.Table) {
	half := route.Param{Name: "half", In: "path", Says: route.Words{ZH: "半年，如 2026h2", EN: "the half-year, such as 2026h2"}, Pattern: "^[0-9]{4}h[12]$", Example: "2026h2"}
	query := func(name, zh, en string) route.Param {
		return route.Param{Name: name, In: "query", Says: route.Words{ZH: zh, EN: en}}
	}
	unknown := route.Refusal(404, "没有，或尚未签署", "not there, or not signed yet")
	bad := route.Refusal(400, "参数有误", "a parameter is wrong")
	proof := route.Answer{Status: 200, Type: jsonType, Says: route.Words{ZH: "证明（RFC 9162），字节为十六进制", EN: "the proof (RFC 9162), bytes in hex"}}
	for _, below := range []struct {
		path, zh, en string
		params       []route.Param
	}{{"", "当前账本的", "of the current ledger", nil}, {"/ledgers/{half}", "一个半年账本的", "of a half-year's ledger", []route.Param{half}}} {
		add := func(path, zh, en string, params []route.Param, negotiates bool, answers ...route.Answer) {
			out = append(out, route.Route{Method: "GET", Path: below.path + path, Tag: tagLedger, Says: route.Words{ZH: below.zh + zh, EN: en + " " + below.en},
				Params: append(append([]route.Param{}, below.params...), params...), Answers: answers, Negotiates: negotiates, Shared: true, Serve: s.ledger})
		}
		add("/checkpoint", "账本头（C2SP tlog-checkpoint）", "The signed head (C2SP tlog-checkpoint)", nil, false, ok(textType, "账本头", "the checkpoint"), unknown)
		add("/tile/{level}/{index...}", "瓦片（C2SP tlog-tiles）；index 含斜杠", "A tile (C2SP tlog-tiles; index has slashes)", []route.Param{
			{Name: "level", In: "path", Says: route.Words{ZH: "层，或 entries", EN: "the level, or entries"}, Example: "0"},
			{Name: "index", In: "path", Says: route.Words{ZH: "瓦片编号，如 x001/067 或 067.p/8", EN: "the tile's number, such as x001/067 or 067.p/8"}, Example: "000"}},
			false, ok(binaryType, "瓦片", "the tile"), unknown)
		add("/proof/inclusion", "包含证明", "An inclusion proof", []route.Param{query("entry", "账本条目，64 位十六进制", "the ledger entry, 64 hex digits"),
			query("size", "账本大小，默认最新", "the ledger's size, the newest if not said"), query("format", "json 或 tlog-proof", "json or tlog-proof")},
			false, proof, ok(textType, "C2SP tlog-proof", "as C2SP tlog-proof"), bad, unknown)
		add("/proof/consistency", "一致性证明", "A consistency proof", []route.Param{query("first", "较小的大小", "the smaller size"), query("second", "较大的大小，默认最新", "the larger size, the newest if not said")},
			false, proof, bad, unknown)
	}
	return append(out, route.Route{Method: "GET", Path: "/ledgers", Tag: tagLedger, Says: route.Words{ZH: "有哪些账本", EN: "Which ledgers there are"},
		Answers: []route.Answer{ok(jsonType, "清单", "the list")}, Shared: true, Serve: s.ledger})
}

// ledger passes a request on to the ledgers' own handler, whose errors become ours.
func (s *server) ledger(w http.ResponseWriter, r *http.Request) error {
	g := &guarded{ResponseWriter: w}
	s.Ledger.ServeHTTP(g, r)
	if g.refused == 0 {
		return nil
	}
	w.Header().Del("Cache-Control")
	p := route.Problem{Detail: "the published checkpoint covers nothing of this name\nhint: /checkpoint says how far the ledger goes; tiles are named as C2SP tlog-tiles says"}
	if strings.HasPrefix(w.Header().Get("Content-Type"), route.ProblemType) {
		if err := json.Unmarshal(g.body, &p); err != nil {
			return err
		}
	} else if g.refused != http.StatusNotFound {
		p.Detail = "the ledger answered " + http.StatusText(g.refused)
	}
	return route.Errorf(g.refused, "%s", p.Detail)
}

// guarded lets a good answer through and keeps a bad one back.
type guarded struct {
	http.ResponseWriter
	refused int    // the status of the answer that was kept back, 0: none
	body    []byte // of that answer, its beginning
}

func (g *guarded) WriteHeader(status int) {
	if status >= 400 {
		g.refused = status
		return
	}
	g.ResponseWriter.WriteHeader(status)
}

func (g *guarded) Write(b []byte) (int, error) {
	if g.refused != 0 {
		if len(g.body) < 4096 {
			g.body = append(g.body, b...)
		}
		return len(b), nil
	}
	return g.ResponseWriter.Write(b)
}
