package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	go_qr "github.com/piglig/go-qr"

	"trailmark/gateway/internal/diversion"
	"trailmark/gateway/internal/route"
	"trailmark/internal/epc"
	"trailmark/passport"
	"trailmark/statement"
)

// link is the item that an address names.
func link(gtin, serial string) (epc.Link, error) {
	l, err := epc.ParseDigitalLinkPath("/01/" + url.PathEscape(gtin) + "/21/" + url.PathEscape(serial))
	if err != nil {
		hint := "the address is /01/{14 digits of GTIN}/21/{serial number}, as in the item's QR code"
		if n := len(gtin); n == 8 || n == 12 || n == 13 {
			hint = fmt.Sprintf("a barcode of %d digits is written with %d zeros before it", n, 14-n)
		}
		return l, &ClientError{Status: http.StatusBadRequest, Detail: strings.TrimPrefix(err.Error(), "epc: ") + "\nhint: " + hint}
	}
	return l, nil
}

func (s *server) item(w http.ResponseWriter, r *http.Request, item epc.Link) error {
	download := r.URL.Query().Has("passport")
	kind := passport.MediaType
	if !download {
		if kind = route.Choose(r, htmlType, passport.MediaType); kind == "" {
			return route.NotAcceptable(htmlType, passport.MediaType, linksetType)
		}
	}
	compose := s.Compose
	if r.URL.Query().Has("audit") {
		if s.Audit == nil {
			return &ClientError{Status: http.StatusNotFound, Detail: "this gateway gives no audit passports"}
		}
		compose, download, kind = s.Audit, true, passport.MediaType
	}
	data, err := compose(r.Context(), item)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-cache")
	if kind == passport.MediaType {
		if download {
			w.Header().Set("Content-Disposition", `attachment; filename="`+filename(item)+`"`)
		}
		return write(w, passport.MediaType, data)
	}
	p := s.itemView(r, item, data)
	if s.Scans != nil {
		if p.Scans, err = s.Scans(r.Context(), item); err != nil {
			s.Log.WarnContext(r.Context(), "scans are not shown", "err", err)
		} else {
			p.Counted = true
		}
	}
	s.render(w, r, http.StatusOK, "item.html", p)
	if s.Scan != nil && r.Method == http.MethodGet {
		// Not the request's context: who has the page may be gone, and was here.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 5*time.Second)
		defer cancel()
		if err := s.Scan(ctx, item); err != nil {
			s.Log.WarnContext(ctx, "a scan is not counted", "err", err)
		}
	}
	return nil
}

// scans tells how often an item's page was opened.
func (s *server) scans(w http.ResponseWriter, r *http.Request) error {
	item, err := link(r.PathValue("gtin"), r.PathValue("serial"))
	if err != nil {
		return err
	}
	counts, err := s.Scans(r.Context(), item)
	if err != nil {
		return err
	}
	return writeJSON(w, counts)
}

// findings tells staff what may be a copy or was diverted.
func (s *server) findings(w http.ResponseWriter, r *http.Request) error {
	found, err := s.Findings(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, found)
}

// filename is safe in a header and in every file system.
func filename(item epc.Link) string {
	serial := strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '-' {
			return c
		}
		return '_'
	}, item.Serial)
	return item.GTIN + "-" + serial + ".passport"
}

// itemView is what item.html shows.
type itemView struct {
	view
	Item    epc.Link
	Path    string // of the Digital Link, escaped
	Address string // the Digital Link
	File    string // name of the file to download
	Size    int    // bytes of the passport
	Tone    string // good, bad, doubt, none: the class of the verdict's colour
	Mark    string // a sign for it
	Word    string // the verdict in a word
	Says    string // the verdict in a sentence

	Code   passport.Code // of a refusal; the rest is then empty
	Reason string        // what was refused, for an engineer

	V         *passport.Verdict
	Simulated bool
	Doubts    []string // what does not go together, or is not shown
	Before    []note   // what was recorded before the first leg
	Legs      []legView
	Inputs    []inputView
	Unknown   uint64             // inputs whose journey is not shown
	Sections  []passport.Section // whatever is not shown as legs
	Technical []passport.Section // every leg's lines
	Scans     diversion.Scans    // before this one
	Counted   bool               // Scans are known
	Zone      string             // offset of the times from UTC
	now       func(ms int64) string
}

type legView struct {
	passport.Leg
	Channels []channelView
	Withheld []passport.Withheld
	Notes    []note // what was recorded until the next leg
	Gap      int64  // ms since the leg before, < 0: they overlap
	First    bool
}

type channelView struct {
	passport.ChannelFacts
	Bar    bar
	Beyond bool // an extreme is beyond a limit of the rule
	Over   []passport.LimitFacts
	Shares []share // by custodian
}

func (s *server) itemView(r *http.Request, item epc.Link, data []byte) itemView {
	p := itemView{view: s.view(r), Item: item, Path: item.Path(), File: filename(item), Size: len(data), Address: strings.TrimRight(s.Base, "/") + item.Path()}
	v, err := passport.Verify(data, s.Trust, time.Now())
	if err == nil && (v.Item.GTIN != item.GTIN || v.Item.Serial != item.Serial) {
		v, err = nil, fmt.Errorf("the file is of item %s %s", v.Item.GTIN, v.Item.Serial)
		p.Code = passport.CodeItem
	}
	if err != nil {
		var refusal *passport.Refusal
		if errors.As(err, &refusal) {
			p.Code = refusal.Code
		}
		p.Reason = err.Error()
		p.Tone, p.Mark, p.Word, p.Says = "bad", "✕", p.L.Say("未通过核验", "Does not verify"), p.Code.Sentence(p.L)
		p.Title = p.Word
		return p
	}
	p.V, p.Says = v, v.Sentence(p.L)
	p.Tone, p.Mark, p.Word = tone(p.L, v.Outcome)
	p.Title = p.Word
	if v.Product != nil {
		p.Title = v.Product.Name.In(string(p.L)) + " · " + p.Word
	}
	p.now = func(ms int64) string { return time.UnixMilli(ms).In(s.Location).Format("2006-01-02 15:04") }
	p.Inputs, p.Unknown = inputViews(p.L, v)
	p.Doubts = doubts(p.L, v, p.now)
	said := notes(p.L, v)
	p.Simulated = slices.ContainsFunc(v.Devices, func(d passport.DeviceFacts) bool { return d.Simulated })
	for i, leg := range v.Legs {
		lv := legView{Leg: leg, First: i == 0}
		if i > 0 {
			lv.Gap = leg.From - v.Legs[i-1].To
		}
		if i == 0 {
			p.Before = takeUntil(&said, leg.From)
		}
		if i+1 < len(v.Legs) {
			lv.Notes = takeUntil(&said, v.Legs[i+1].From)
		} else {
			lv.Notes = takeUntil(&said, math.MaxInt64)
		}
		for _, ch := range leg.Channels {
			lv.Channels = append(lv.Channels, channelOf(p.L, v.Product, ch))
		}
		for _, wh := range v.Withheld {
			if wh.Leg == i {
				lv.Withheld = append(lv.Withheld, wh)
			}
		}
		p.Legs = append(p.Legs, lv)
	}
	p.Before = append(p.Before, said...) // where there is no leg
	for _, sec := range v.Explain(p.L, s.Location) {
		switch sec.Topic {
		case passport.TopicItem:
		case passport.TopicLeg, passport.TopicJourney, passport.TopicInputs, passport.TopicCustody:
			p.Technical = append(p.Technical, sec)
		default:
			p.Sections = append(p.Sections, sec)
		}
	}
	if len(v.Legs) > 0 {
		p.Zone = time.UnixMilli(v.Legs[0].From).In(s.Location).Format("UTC-07:00")
	}
	return p
}

// tone is the class of an outcome's colour, a sign and a word for it.
func tone(l passport.Lang, o passport.Outcome) (class, mark, word string) {
	switch o {
	case passport.Kept:
		return "good", "✓", l.Say("符合标准", "Within the rule")
	case passport.Beyond:
		return "bad", "!", l.Say("有超标", "Beyond the rule")
	case passport.Incomplete:
		return "doubt", "?", l.Say("记录不完整", "Incomplete")
	}
	return "none", "–", l.Say("无法判定", "Not judged")
}

// channelOf compares a channel with the brand's rule, or with the site's limits
// where the brand has none for its unit.
func channelOf(l passport.Lang, product *passport.ProductFacts, ch passport.ChannelFacts) channelView {
	v := channelView{ChannelFacts: ch, Shares: shares(ch)}
	var lo, hi *int64
	if product != nil {
		lo, hi = product.Band(ch.Unit)
		v.Beyond = lo != nil && ch.Min <= *lo || hi != nil && ch.Max >= *hi
	}
	ours := lo != nil || hi != nil
	for _, lim := range ch.Limits {
		if lim.Total > 0 {
			v.Over = append(v.Over, lim)
		}
		if ours {
			continue
		}
		one := (&passport.ProductFacts{Rule: []statement.Criterion{{Unit: ch.Unit, Limit: lim.Limit}}})
		a, b := one.Band(ch.Unit)
		if a != nil && (lo == nil || *a > *lo) {
			lo = a
		}
		if b != nil && (hi == nil || *b < *hi) {
			hi = b
		}
	}
	v.Bar = newBar(l, ch, lo, hi, ours)
	return v
}

// At writes a time in ms.
func (p itemView) At(ms int64) string { return p.now(ms) }

// Stay says how long a leg took.
func (p itemView) Stay(leg passport.Leg) string {
	if leg.From == leg.To {
		return p.L.Say("一瞬", "a moment")
	}
	return p.L.Duration(leg.To - leg.From)
}

// Opened says how often the page was opened before, and since when.
func (p itemView) Opened() string {
	n := int64(0)
	for _, d := range p.Scans.Days {
		n += d.Count
	}
	if n == 0 || p.Scans.First == nil {
		return p.L.Say("这是本页第一次被打开。", "This is the first time that this page is opened.")
	}
	return fmt.Sprintf(p.L.Say("本页此前打开过 %d 次，第一次在 %s。", "How often this page was opened before: %d, the first time at %s."), n, p.now(p.Scans.First.UnixMilli()))
}

// Kilobytes is the size of the passport, rounded up.
func (p itemView) Kilobytes() int { return (p.Size + 999) / 1000 }

// Until writes a time that ends a span begun at from: the day only if it is
// another one.
func (p itemView) Until(from, to int64) string {
	a, b := p.now(from), p.now(to)
	if a[:10] == b[:10] {
		return b[11:]
	}
	return b
}

func (s *server) qr(w http.ResponseWriter, r *http.Request) error {
	serial, ok := strings.CutSuffix(r.PathValue("file"), ".svg")
	if !ok {
		return &ClientError{Status: http.StatusNotFound, Detail: "qr codes end in .svg"}
	}
	item, err := link(r.PathValue("gtin"), serial)
	if err != nil {
		return err
	}
	code, err := go_qr.EncodeText(strings.TrimRight(s.Base, "/")+item.Path(), go_qr.Medium)
	if err != nil {
		return fmt.Errorf("qr code of %s: %w", item.Path(), err)
	}
	var svg strings.Builder
	// One unit a module, and the quiet zone of four that ISO/IEC 18004 asks for.
	config := go_qr.NewQrCodeImgConfig(1, 4)
	if err := code.WriteAsSVG(config, &svg, "#FFFFFF", "#000000"); err != nil {
		return fmt.Errorf("qr code of %s: %w", item.Path(), err)
	}
	w.Header().Set("Cache-Control", "public, max-age=86400")
	return write(w, "image/svg+xml", []byte(svg.String()))
}
