package product

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"trailmark/gateway/internal/route"
	"trailmark/gateway/internal/store"
	"trailmark/statement"
	"trailmark/trace"
)

// A Desk shows products to everybody, and takes them from who may write.
type Desk struct {
	Catalogue *Catalogue
	Store     *store.Store // pictures
	Signer    Signer
	Gate      Gate
	Brand     statement.Texts
	// Open says that whoever reaches the pages may write: users of this machine only.
	Open bool
}

var tag = route.Words{ZH: "商品", EN: "Products"}

const (
	csvType   = "text/csv"
	jsonType  = "application/json"
	pageSize  = 100
	maxListed = 1000
)

// Routes are the addresses of products.
func (d *Desk) Routes() route.Table {
	gtin := route.Param{Name: "gtin", In: "path", Says: route.Words{ZH: "8、12、13 或 14 位 GTIN", EN: "GTIN of 8, 12, 13 or 14 digits"}, Pattern: "^[0-9]{8,14}$", Example: "09521234543213"}
	badGTIN := route.Refusal(400, "GTIN 有误", "the GTIN is wrong")
	unknown := route.Refusal(404, "没有这个商品", "no such product")
	closed := route.Refusal(403, "只有本机用户可以写入", "only users of this machine may write")
	answer := func(status int, kind, zh, en string) route.Answer {
		return route.Answer{Status: status, Type: kind, Says: route.Words{ZH: zh, EN: en}}
	}
	typed := func(a route.Answer, like route.Answer) route.Answer { a.Schema = like.Schema; return a }
	one := route.Answer{Schema: route.Schema[View]()}
	return route.Table{
		{Method: "GET", Path: "/api/products", Tag: tag, Says: route.Words{ZH: "商品清单，按 GTIN 排序；CSV 一次给出全部", EN: "The products by GTIN; as CSV all at once"},
			Params: []route.Param{
				{Name: "after", In: "query", Says: route.Words{ZH: "此 GTIN 之后的商品", EN: "products after this GTIN"}},
				{Name: "limit", In: "query", Says: route.Words{ZH: "最多几个，1 到 1000，默认 100", EN: "at most so many, 1 to 1000, 100 if not said"}},
				{Name: "lang", In: "query", Says: route.Words{ZH: "CSV 表头：zh-CN 或 en", EN: "headers of the CSV: zh-CN or en"}}},
			Answers: []route.Answer{typed(answer(200, jsonType, "清单", "the list"), route.Answer{Schema: route.Schema[List]()}), answer(200, csvType, "表格", "the table"),
				route.Refusal(400, "参数有误", "a parameter is wrong")},
			Negotiates: true, Shared: true, Serve: d.list},
		{Method: "POST", Path: "/api/products", Tag: tag, Says: route.Words{ZH: "导入 CSV：默认只说明每行会怎样，?apply 才写入；有一行错就都不写", EN: "Import CSV: says what would become of each line, and does it with ?apply; one wrong line and nothing is written"},
			Params: []route.Param{{Name: "apply", In: "query", Says: route.Words{ZH: "写入", EN: "write"}}},
			Body:   &route.Body{Types: []string{csvType}, Max: MaxFile, Says: route.Words{ZH: "表格，UTF-8 或 GB18030", EN: "the table, UTF-8 or GB18030"}},
			Answers: []route.Answer{typed(answer(200, jsonType, "每行的结果", "the fate of each line"), route.Answer{Schema: route.Schema[Imported]()}),
				typed(answer(422, route.ProblemType, "哪几行、哪一列错", "which lines are wrong, and in which column"), route.Answer{Schema: route.Schema[WrongTable]()}),
				route.Refusal(400, "不是商品表", "no table of products"), closed},
			Serve: d.post},
		{Method: "GET", Path: "/api/products/{gtin}", Tag: tag, Says: route.Words{ZH: "一个商品：名称、判定规则、签名声明", EN: "A product: name, rule, the signed statement"},
			Params: []route.Param{gtin}, Answers: []route.Answer{typed(answer(200, jsonType, "商品", "the product"), one), badGTIN, unknown}, Shared: true, Serve: d.get},
		{Method: "PUT", Path: "/api/products/{gtin}", Tag: tag, Says: route.Words{ZH: "写入一个商品，由品牌密钥签名", EN: "Write a product, signed with the brand's key"},
			Params: []route.Param{gtin}, Body: &route.Body{Types: []string{jsonType}, Max: 16 << 10, Schema: route.Schema[Input](), Says: route.Words{ZH: "商品", EN: "the product"}},
			Answers: []route.Answer{typed(answer(200, jsonType, "已写入，或本来如此", "written, or it was so already"), one), route.Refusal(400, "内容有误，说明含提示", "something is wrong; the detail has a hint"), closed},
			Serve:   d.put},
		{Method: "GET", Path: "/api/products/{gtin}/picture", Tag: tag, Says: route.Words{ZH: "商品图片；图片没有签名", EN: "The product's picture, which nobody signs"},
			Params: []route.Param{gtin}, Answers: []route.Answer{answer(200, pictureTypes[0], "图片", "the picture"), answer(200, pictureTypes[1], "图片", "the picture"), answer(200, pictureTypes[2], "图片", "the picture"),
				{Status: 307, Says: route.Words{ZH: "图片保存在别处", EN: "the picture is kept elsewhere"}}, badGTIN, route.Refusal(404, "没有图片", "no picture")},
			Negotiates: true, Shared: true, Serve: d.picture},
		{Method: "PUT", Path: "/api/products/{gtin}/picture", Tag: tag, Says: route.Words{ZH: "保存商品图片，或它在别处的地址与 SHA-256", EN: "Store the product's picture, or its address elsewhere with its SHA-256"},
			Params: []route.Param{gtin}, Body: &route.Body{Types: append(slices.Clone(pictureTypes), jsonType), Max: MaxPicture, Schema: route.Schema[PictureInput](), Says: route.Words{ZH: "图片文件，或 JSON", EN: "the file, or JSON"}},
			Answers: []route.Answer{typed(answer(200, jsonType, "商品", "the product"), one), route.Refusal(400, "不是可用的图片", "no picture that is taken"), unknown, closed},
			Serve:   d.putPicture},
	}
}

// View is a product as the interface shows it.
type View struct {
	GTIN      string            `json:"gtin"`
	Name      map[string]string `json:"name"`
	Brand     map[string]string `json:"brand"`
	Band      string            `json:"band,omitempty"` // as people write it, if the rule is a band
	Allowed   float64           `json:"allowed_minutes,omitempty"`
	RuleName  string            `json:"rule,omitempty"` // of a named rule
	Criteria  []Criterion       `json:"criteria"`
	Statement string            `json:"statement"` // its id
	Index     uint64            `json:"row"`       // in the order of all ledgers
	Picture   *PictureView      `json:"picture,omitempty"`
}

// Criterion is one line of a rule; values are thousandths of the unit.
type Criterion struct {
	Unit  string `json:"unit"`
	Side  string `json:"side"` // at_or_below, at_or_above
	Value int64  `json:"value"`
	Kind  string `json:"kind"` // single, cumulative
	For   int64  `json:"for_ms"`
}

// PictureView says what a product's picture is.
type PictureView struct {
	SHA256 string `json:"sha256"`
	Type   string `json:"type"`
	URL    string `json:"url"`
	Signed bool   `json:"signed"` // false: the operator's own
}

// List is a page of products.
type List struct {
	Products []View `json:"products"`
	Next     string `json:"next,omitempty"` // the address of the next page
}

// Input is a product as PUT takes it.
type Input struct {
	Name    map[string]string `json:"name"`
	Band    string            `json:"band,omitempty"`
	Allowed float64           `json:"allowed_minutes,omitempty"`
	Rule    string            `json:"rule,omitempty"`
}

// PictureInput is a picture that is kept elsewhere.
type PictureInput struct {
	URL    string `json:"url"`
	SHA256 string `json:"sha256"`
	Type   string `json:"type"`
}

// Imported is what became, or would become, of a table.
type Imported struct {
	Applied bool        `json:"applied"`
	Lines   []Line      `json:"lines"`
	Errors  []*RowError `json:"errors"`
	Hints   []string    `json:"hints"`
}

// WrongTable is the problem of a table with wrong lines.
type WrongTable struct {
	route.Problem
	Imported
}

// Line is the fate of one line.
type Line struct {
	Line int    `json:"line"`
	GTIN string `json:"gtin"`
	Fate Fate   `json:"fate"`
}

func words(t statement.Texts) map[string]string {
	out := map[string]string{}
	for _, x := range t {
		out[x.Lang] = x.Words
	}
	return out
}

func view(p Product, pic *store.Picture) View {
	v := View{GTIN: p.GTIN, Name: words(p.Name), Brand: words(p.Brand), Criteria: []Criterion{}, Statement: p.Statement.String(), Index: p.Index}
	band, allowed, name, ok := written(p.Rule)
	if ok {
		v.Band, v.Allowed, v.RuleName = band, allowed.Minutes(), name
	}
	for _, c := range p.Rule {
		one := Criterion{c.Unit, "at_or_above", c.Limit.Value, "single", c.For}
		if c.Limit.Comparison == trace.AtOrBelow {
			one.Side = "at_or_below"
		}
		if c.Kind == statement.Cumulative {
			one.Kind = "cumulative"
		}
		v.Criteria = append(v.Criteria, one)
	}
	if pic != nil {
		v.Picture = &PictureView{hex.EncodeToString(pic.Hash[:]), pic.Type, pic.URL, false}
		if pic.URL == "" {
			v.Picture.URL = "/api/products/" + p.GTIN + "/picture"
		}
	}
	return v
}

func answerJSON(w http.ResponseWriter, status int, v any) error {
	return answer(w, status, jsonType, v)
}

func answer(w http.ResponseWriter, status int, kind string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // a client that went away is no error of ours
	return nil
}

func bad(err error) error {
	return route.Errorf(http.StatusBadRequest, "%s", strings.TrimPrefix(err.Error(), "epc: "))
}

func (d *Desk) list(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	w.Header().Add("Vary", "Accept")
	kind := route.Choose(r, jsonType, csvType)
	if kind == "" {
		return route.NotAcceptable(jsonType, csvType)
	}
	limit := pageSize
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxListed {
			return route.Errorf(http.StatusBadRequest, "limit %.20q is out of bounds, want 1 to %d", s, maxListed)
		}
		limit = n
	}
	if kind == csvType {
		all, err := d.Catalogue.List(r.Context(), "", 0)
		if err != nil {
			return err
		}
		var table bytes.Buffer
		if err := WriteTable(&table, all, !strings.HasPrefix(strings.ToLower(q.Get("lang")), "en")); err != nil {
			return err
		}
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		w.Header().Set("Content-Disposition", `attachment; filename="products.csv"`)
		_, _ = w.Write(table.Bytes())
		return nil
	}
	found, err := d.Catalogue.List(r.Context(), q.Get("after"), limit+1)
	if err != nil {
		return err
	}
	pictures, err := d.Store.Pictures(r.Context())
	if err != nil {
		return err
	}
	byGTIN := map[string]*store.Picture{}
	for i := range pictures {
		byGTIN[pictures[i].GTIN] = &pictures[i]
	}
	out := List{Products: []View{}}
	for i, p := range found {
		if i == limit {
			out.Next = "/api/products?after=" + found[i-1].GTIN + "&limit=" + strconv.Itoa(limit)
			break
		}
		out.Products = append(out.Products, view(p, byGTIN[p.GTIN]))
	}
	return answerJSON(w, http.StatusOK, out)
}

// find is the product that a request names.
func (d *Desk) find(r *http.Request) (p Product, err error) {
	gtin, err := PadGTIN(r.PathValue("gtin"))
	if err != nil {
		return p, bad(err)
	}
	if p, err = d.Catalogue.Find(r.Context(), gtin); errors.Is(err, store.ErrNotFound) {
		return p, route.Errorf(http.StatusNotFound, "no product %s is signed here\nhint: gateway product --gtin %s", gtin, gtin)
	}
	return p, err
}

// Show is a product as the interface shows it, or store.ErrNotFound.
func (d *Desk) Show(ctx context.Context, gtin string) (View, error) {
	p, err := d.Catalogue.Find(ctx, gtin)
	if err != nil {
		return View{}, err
	}
	pic, err := d.Store.Picture(ctx, p.GTIN)
	if errors.Is(err, store.ErrNotFound) {
		return view(p, nil), nil
	} else if err != nil {
		return View{}, err
	}
	return view(p, &pic), nil
}

func (d *Desk) show(w http.ResponseWriter, r *http.Request, gtin string) error {
	v, err := d.Show(r.Context(), gtin)
	if err != nil {
		return err
	}
	return answerJSON(w, http.StatusOK, v)
}

func (d *Desk) get(w http.ResponseWriter, r *http.Request) error {
	p, err := d.find(r)
	if err != nil {
		return err
	}
	return d.show(w, r, p.GTIN)
}

// mayWrite refuses everybody but users of this machine; also a page of another
// host that got this one's address under its own name.
func (d *Desk) mayWrite(r *http.Request) error {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	if !d.Open || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return route.Errorf(http.StatusForbidden, "only users of the gateway's machine may write, on loopback and without --base\nhint: gateway product on that machine")
	}
	return nil
}

// decode reads a JSON body that has nothing unknown in it.
func decode(r *http.Request, v any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil && dec.More() {
		err = errors.New("there is more behind the object")
	}
	var large *http.MaxBytesError
	if err != nil && !errors.As(err, &large) {
		return route.Errorf(http.StatusBadRequest, "the body is not what is taken here: %v", err)
	}
	return err
}

func (d *Desk) put(w http.ResponseWriter, r *http.Request) error {
	if err := d.mayWrite(r); err != nil {
		return err
	}
	gtin, err := PadGTIN(r.PathValue("gtin"))
	if err != nil {
		return bad(err)
	}
	var in Input
	if err := decode(r, &in); err != nil {
		return err
	}
	draft := Draft{GTIN: gtin, Band: in.Band, Rule: in.Rule, Allowed: time.Duration(in.Allowed * float64(time.Minute))}
	for _, lang := range slices.Sorted(maps.Keys(in.Name)) {
		draft.Name = append(draft.Name, statement.Text{Lang: lang, Words: in.Name[lang]})
	}
	p, err := draft.Product(d.Brand)
	if err != nil {
		return bad(err)
	}
	step := Step{Product: p, Fate: Changed}
	if now, err := d.Catalogue.Find(r.Context(), gtin); err == nil && now.Same(p) {
		step.Fate = Same
	}
	if err := d.write(r.Context(), []Step{step}); err != nil {
		return err
	}
	return d.show(w, r, gtin)
}

func (d *Desk) write(ctx context.Context, steps []Step) error {
	signed, err := Sign(d.Signer, steps)
	if err != nil || len(signed) == 0 {
		return err
	}
	return d.Gate.Add(ctx, signed...)
}

func (d *Desk) post(w http.ResponseWriter, r *http.Request) error {
	if err := d.mayWrite(r); err != nil {
		return err
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	sheet, err := ReadTable(data)
	if err != nil {
		return bad(err)
	}
	steps, wrong, err := d.Catalogue.Plan(r.Context(), sheet, d.Brand)
	if err != nil {
		return err
	}
	out := Imported{Lines: []Line{}, Errors: append([]*RowError{}, wrong...), Hints: append([]string{}, sheet.Hints...)}
	for _, s := range steps {
		out.Lines = append(out.Lines, Line{s.Line, s.Product.GTIN, s.Fate})
	}
	if len(wrong) > 0 {
		const status = http.StatusUnprocessableEntity
		return answer(w, status, route.ProblemType, WrongTable{route.Problem{Title: http.StatusText(status), Status: status,
			Detail: fmt.Sprintf("%d of %d lines are wrong; nothing was imported", len(wrong), len(wrong)+len(steps))}, out})
	}
	if r.URL.Query().Has("apply") {
		if err := d.write(r.Context(), steps); err != nil {
			return err
		}
		out.Applied = true
	}
	return answerJSON(w, http.StatusOK, out)
}

func (d *Desk) picture(w http.ResponseWriter, r *http.Request) error {
	gtin, err := PadGTIN(r.PathValue("gtin"))
	if err != nil {
		return bad(err)
	}
	pic, err := d.Store.Picture(r.Context(), gtin)
	if errors.Is(err, store.ErrNotFound) {
		return route.Errorf(http.StatusNotFound, "there is no picture of %s", gtin)
	} else if err != nil {
		return err
	}
	if pic.URL != "" {
		w.Header().Set("Location", pic.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
		return nil
	}
	if route.Choose(r, pic.Type) == "" {
		return route.NotAcceptable(pic.Type)
	}
	w.Header().Set("Content-Type", pic.Type)
	w.Header().Set("ETag", `"`+hex.EncodeToString(pic.Hash[:])+`"`)
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_, _ = w.Write(pic.Data)
	return nil
}

func (d *Desk) putPicture(w http.ResponseWriter, r *http.Request) error {
	if err := d.mayWrite(r); err != nil {
		return err
	}
	p, err := d.find(r)
	if err != nil {
		return err
	}
	var pic store.Picture
	if strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), jsonType) {
		var in PictureInput
		if err := decode(r, &in); err != nil {
			return err
		}
		var hash statement.Hash
		if b, err := hex.DecodeString(in.SHA256); err != nil || copy(hash[:], b) != len(hash) || len(b) != len(hash) {
			return route.Errorf(http.StatusBadRequest, "sha256 %.70q is not 64 hex digits", in.SHA256)
		}
		pic, err = NewPictureAt(p.GTIN, in.URL, in.Type, hash)
	} else {
		var data []byte
		if data, err = io.ReadAll(r.Body); err != nil {
			return err
		}
		pic, err = NewPicture(p.GTIN, data)
	}
	if err != nil {
		return bad(err)
	}
	if err := d.Store.Update(r.Context(), func(tx *store.Tx) error { return tx.PutPicture(pic) }); err != nil {
		return err
	}
	return d.show(w, r, p.GTIN)
}
