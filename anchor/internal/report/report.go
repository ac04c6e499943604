// Package report writes the one-page evidence report of an item's passport: a
// PDF (A4, fonts embedded) for people who want paper.
//
// It shows what a verified passport proves, and with the same weight what it
// does not: what is withheld, unmeasured, simulated or only declared. The page
// itself proves nothing; it carries the hashes of the files it was made from
// and the command that checks them. Equal input gives equal bytes.
package report

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"trailmark/passport"
)

// A File is a file that the report was made from.
type File struct {
	Name string
	Data []byte
}

// A Report is what goes on the page.
type Report struct {
	Verdict  *passport.Verdict // of Passport against Trust
	Passport File
	Trust    File
	Lang     passport.Lang
	Zone     *time.Location // that times are shown in
	Made     time.Time
	Resolver string // of the Digital Link, such as https://id.gs1.org
	Font     []byte // TrueType, for Chinese; nil: none
}

// Page geometry in millimetres.
const (
	pageWidth  = 210.0
	pageHeight = 297.0
	margin     = 12.0
	inner      = pageWidth - 2*margin
	footerTop  = pageHeight - 31.0
	gutter     = 6.0
)

// Write writes the PDF. The error is ErrNoFont when words need a font that was
// not given.
func Write(w io.Writer, r Report) (err error) {
	defer func() {
		// The PDF writer indexes into the font file without checking, so a font
		// that is damaged in a table nobody else reads ends here.
		if broken := recover(); broken != nil {
			err = fmt.Errorf("the font cannot be embedded: %v\n%s", broken, install)
		}
	}()
	events, err := happenings(r.Passport.Data)
	if err != nil {
		return err
	}
	p, err := newPen(r.Font)
	if err != nil {
		return err
	}
	pg := page{pen: p, r: r, v: r.Verdict, l: r.Lang, events: events}
	if err := pg.compose(); err != nil {
		return err
	}
	if p.lacking && r.Font == nil {
		return ErrNoFont
	}
	var out bytes.Buffer
	if err := p.pdf.Output(&out); err != nil {
		return err
	}
	_, err = w.Write(out.Bytes())
	return err
}

// page is a report being composed, from the top down.
type page struct {
	*pen
	r      Report
	v      *passport.Verdict
	l      passport.Lang
	events []happened
	y      float64 // where the next part begins
}

func (pg *page) compose() error {
	title := pg.l.Say("证据报告", "Evidence report") + " " + pg.v.Item.GTIN + " " + pg.v.Item.Serial
	pg.pdf.SetTitle(title, true)
	pg.pdf.SetCreator("Trailmark", true)
	pg.pdf.SetLang(string(pg.l))
	pg.pdf.SetCreationDate(pg.r.Made.UTC())
	pg.pdf.SetModificationDate(pg.r.Made.UTC())
	pg.y = margin
	if err := pg.header(); err != nil {
		return err
	}
	pg.verdict()
	pg.table()
	pg.chart()
	pg.sections()
	pg.footer()
	return nil
}

// Link is the GS1 Digital Link of the item.
func Link(resolver string, it passport.Item) string {
	return strings.TrimRight(resolver, "/") + "/01/" + url.PathEscape(it.GTIN) + "/21/" + url.PathEscape(it.Serial)
}

func (pg *page) header() error {
	const side = 27.0
	x := pageWidth - margin - side
	link := Link(pg.r.Resolver, pg.v.Item)
	if err := pg.qr(x, pg.y, side, link); err != nil {
		return fmt.Errorf("qr code of %q: %w", link, err)
	}
	pg.right(pageWidth-margin, pg.y+side+2.6, style{5.6, false, grey}, pg.fit(link, 90, style{5.6, false, grey}))

	width := inner - side - gutter
	y := pg.y + 3
	pg.text(margin, y, style{8.5, true, blue}, pg.l.Say("溯证 Trailmark　证据报告", "Trailmark evidence report"))
	name, by := pg.l.Say("商品名称未声明", "No product declared"), ""
	if p := pg.v.Product; p != nil {
		name, by = p.Name.In(string(pg.l)), p.Brand.In(string(pg.l))
		if p.Lot != "" {
			by += pg.l.Say("　批号 ", " · lot ") + p.Lot
		}
		by += pg.l.Say("（品牌方声明）", " (declared by the brand)")
	}
	big := style{17, true, black}
	y += 8.5
	for _, line := range pg.wrapTo(name, width, big, 2) {
		pg.text(margin, y, big, line)
		y += 7.2
	}
	y -= 1.6
	small := style{8.2, false, black}
	if by != "" {
		pg.text(margin, y, small, pg.fit(by, width, small))
		y += 4.2
	}
	pg.text(margin, y, small, pg.fit("GTIN "+pg.v.Item.GTIN+pg.l.Say("　序列号 ", " · serial ")+pg.v.Item.Serial, width, small))
	y += 4.2
	if p := pg.v.Product; p != nil {
		var rules []string
		for _, c := range p.Rule {
			rules = append(rules, pg.l.Criterion(c))
		}
		for _, line := range pg.wrapTo(pg.l.Say("判定标准：", "Rule: ")+strings.Join(rules, pg.l.Say("；", "; ")), width, small, 3) {
			pg.text(margin, y, small, line)
			y += 4
		}
	}
	pg.y = max(y, pg.y+side+4) + 0.5
	return nil
}

func (pg *page) footer() {
	s := style{6.8, false, black}
	y := footerTop
	pg.line(margin, y, pageWidth-margin, y, rule, 0.25)
	y += 4
	for _, f := range []struct {
		what string
		file File
	}{{pg.l.Say("护照文件", "Passport file"), pg.r.Passport}, {pg.l.Say("信任文件", "Trust file"), pg.r.Trust}} {
		hash := fmt.Sprintf(pg.l.Say("（%d 字节）SHA-256 %x", " (%d bytes) SHA-256 %x"), len(f.file.Data), sha256.Sum256(f.file.Data))
		head := f.what + pg.l.Say("：", " ")
		pg.text(margin, y, s, head+pg.fit(filepath.Base(f.file.Name), inner-pg.width(head+hash, s), s)+hash)
		y += 3.7
	}
	head := pg.l.Say("自行离线核验：", "Check it yourself, offline: ")
	command := "anchor verify --trust " + quoted(pg.r.Trust.Name) + " "
	if len(pg.r.Passport.Data) > passport.MaxSize {
		command += "--audit "
	}
	command += quoted(pg.r.Passport.Name)
	pg.text(margin, y, s, head)
	bold := style{6.8, true, black}
	pg.text(margin+pg.width(head, s), y, bold, pg.fit(command, inner-pg.width(head, s), bold))
	y += 3.7
	_, offset := pg.r.Made.In(pg.r.Zone).Zone()
	for _, line := range pg.wrap(fmt.Sprintf(pg.l.Say(
		"纸面可以伪造，文件改动则会被发现：请以文件核验结果为准。时间按 UTC%s 显示；本页生成于 %s。信任文件须来自您信任的人，不能与护照同一来源。",
		"A page can be forged, a file cannot be changed unnoticed: rely on the check, not on this page. Times are shown in UTC%s; this page was made %s. "+
			"Get the trust file from somebody you trust, not from whoever gave you the passport."),
		zoneName(offset), pg.r.Made.In(pg.r.Zone).Format("2006-01-02 15:04")), inner, style{6.8, false, grey}) {
		pg.text(margin, y, style{6.8, false, grey}, line)
		y += 3.5
	}
}

// quoted is a file's name as a shell takes it.
func quoted(path string) string {
	name := filepath.Base(path)
	if strings.ContainsFunc(name, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+", r)
	}) {
		return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
	}
	return name
}

func zoneName(seconds int) string {
	sign := '+'
	if seconds < 0 {
		sign, seconds = '−', -seconds
	}
	return fmt.Sprintf("%c%02d:%02d", sign, seconds/3600, seconds/60%60)
}

// clock shows a time in ms to the minute.
func (pg *page) clock(ms int64) string {
	return time.UnixMilli(ms).In(pg.r.Zone).Format("2006-01-02 15:04")
}

var errNoQR = errors.New("too long for a QR code")
