package report

import (
	"fmt"
	"strings"
	"unicode"

	"codeberg.org/go-pdf/fpdf"
	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
)

const mmPerPoint = 25.4 / 72

// A color is red, green and blue.
type color [3]int

var (
	black = color{33, 33, 33}
	grey  = color{97, 97, 97}
	rule  = color{189, 189, 189}
	red   = color{150, 27, 20}
	blue  = color{25, 80, 140}
)

// face is one font in both of its lives: sfnt measures, fpdf draws.
type face struct {
	family string
	data   []byte // until it is first drawn with: an unused font is not embedded
	font   *sfnt.Font
	widths map[rune]float64 // in em; 0: no glyph
}

func newFace(family string, data []byte) (*face, error) {
	f, err := sfnt.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("font %s: %w", family, err)
	}
	return &face{family, data, f, map[rune]float64{}}, nil
}

func (f *face) width(r rune) float64 {
	w, known := f.widths[r]
	if known {
		return w
	}
	var b sfnt.Buffer
	// The PDF writer has no glyphs beyond the basic plane.
	if g, err := f.font.GlyphIndex(&b, r); err == nil && g != 0 && r <= 0xffff {
		em := fixed.Int26_6(f.font.UnitsPerEm())
		if a, err := f.font.GlyphAdvance(&b, g, em<<6, font.HintingNone); err == nil {
			w = float64(a) / 64 / float64(em)
		}
	}
	f.widths[r] = w
	return w
}

// A style is how words look; size in points.
type style struct {
	size float64
	bold bool
	ink  color
}

// A pen writes and draws on one page; millimetres from its upper left corner.
type pen struct {
	pdf           *fpdf.Fpdf
	regular, bold *face
	cjk           *face // nil: there is none
	lacking       bool  // a rune had no glyph anywhere
}

func newPen(cjk []byte) (*pen, error) {
	p := &pen{pdf: fpdf.New("P", "mm", "A4", "")}
	p.pdf.SetMargins(0, 0, 0)
	p.pdf.SetAutoPageBreak(false, 0)
	p.pdf.SetCatalogSort(true)
	for _, f := range []struct {
		to   **face
		name string
		data []byte
	}{{&p.regular, "go", goregular.TTF}, {&p.bold, "gobold", gobold.TTF}, {&p.cjk, "cjk", cjk}} {
		if f.data == nil {
			continue
		}
		var err error
		if *f.to, err = newFace(f.name, f.data); err != nil {
			return nil, err
		}
	}
	p.pdf.AddPage()
	return p, p.pdf.Error()
}

// warning is drawn, for few fonts have it.
const warning = '⚠'

// face picks the font of a rune; what no font has becomes a box.
func (p *pen) face(r rune, bold bool) (*face, rune) {
	latin := p.regular
	if bold {
		latin = p.bold
	}
	switch {
	case r == warning:
		return nil, r
	case latin.width(r) > 0:
		return latin, r
	case p.cjk != nil && p.cjk.width(r) > 0:
		return p.cjk, r
	}
	p.lacking = true
	return latin, '□'
}

func (p *pen) runeWidth(r rune, s style) float64 {
	f, r := p.face(r, s.bold)
	if f == nil {
		return s.size * mmPerPoint * 1.1
	}
	return f.width(r) * s.size * mmPerPoint
}

// width of words on one line.
func (p *pen) width(words string, s style) (w float64) {
	for _, r := range words {
		w += p.runeWidth(r, s)
	}
	return w
}

// text writes words on one line with their base line at y.
func (p *pen) text(x, y float64, s style, words string) {
	p.pdf.SetTextColor(s.ink[0], s.ink[1], s.ink[2])
	var run []rune
	var of *face
	flush := func() {
		if len(run) == 0 {
			return
		}
		if of.data != nil {
			p.pdf.AddUTF8FontFromBytes(of.family, "", of.data)
			of.data = nil
		}
		p.pdf.SetFont(of.family, "", s.size)
		faux := s.bold && of == p.cjk // fallback fonts have no bold: thicken the outline
		if faux {
			p.stroke(s.ink, 0.035*s.size*mmPerPoint)
			p.pdf.SetTextRenderingMode(2)
		}
		p.pdf.Text(x, y, string(run))
		if faux {
			p.pdf.SetTextRenderingMode(0)
		}
		x += p.width(string(run), s)
		run = run[:0]
	}
	for _, r := range words {
		f, r := p.face(r, s.bold)
		if f != of || f == nil {
			flush()
		}
		if of = f; f == nil {
			em := s.size * mmPerPoint
			p.triangle(x+em*0.45, y-em*0.36, em*0.42, red)
			x += p.runeWidth(r, s)
			continue
		}
		run = append(run, r)
	}
	flush()
}

func (p *pen) right(x, y float64, s style, words string) { p.text(x-p.width(words, s), y, s, words) }

func (p *pen) center(x, y float64, s style, words string) {
	p.text(x-p.width(words, s)/2, y, s, words)
}

// fit shortens words to a width.
func (p *pen) fit(words string, w float64, s style) string {
	if p.width(words, s) <= w {
		return words
	}
	runes := []rune(words)
	for len(runes) > 0 && p.width(string(runes)+"…", s) > w {
		runes = runes[:len(runes)-1]
	}
	return string(runes) + "…"
}

// Characters that Chinese typesetting keeps off the start and the end of a line.
const (
	notFirst = "，。；：、）！？”’%…"
	notLast  = "（“‘"
)

func wide(r rune) bool { return r >= 0x2e80 }

// wrap breaks words into lines: at spaces, and beside Chinese characters.
func (p *pen) wrap(words string, w float64, s style) []string {
	var lines []string
	line, used := []rune{}, 0.0
	may := 0 // line[:may] may stand alone
	end := func(at int) {
		lines = append(lines, strings.TrimRight(string(line[:at]), " "))
		line = append([]rune{}, []rune(strings.TrimLeft(string(line[at:]), " "))...)
		used, may = p.width(string(line), s), 0
	}
	for _, r := range words {
		if n := len(line); n > 0 {
			last := line[n-1]
			if last == ' ' || (wide(r) || wide(last)) && !strings.ContainsRune(notFirst, r) && !strings.ContainsRune(notLast, last) && r != ' ' {
				if last != ' ' || r != '°' { // a value stays with its unit
					may = n
				}
			}
		}
		rw := p.runeWidth(r, s)
		for used+rw > w && len(line) > 0 && r != ' ' {
			if may > 0 {
				end(may)
			} else {
				end(len(line)) // one word longer than a line
			}
		}
		line, used = append(line, r), used+rw
	}
	if rest := strings.TrimRightFunc(string(line), unicode.IsSpace); rest != "" || len(lines) == 0 {
		lines = append(lines, rest)
	}
	return lines
}

// wrapTo is wrap into at most n lines; the last one shows that there is more.
func (p *pen) wrapTo(words string, w float64, s style, n int) []string {
	lines := p.wrap(words, w, s)
	if len(lines) > n {
		lines = append(lines[:n-1], p.fit(lines[n-1]+" …", w, s))
	}
	return lines
}

func (p *pen) stroke(c color, width float64) {
	p.pdf.SetDrawColor(c[0], c[1], c[2])
	p.pdf.SetLineWidth(width)
}

func (p *pen) fill(c color) { p.pdf.SetFillColor(c[0], c[1], c[2]) }

func (p *pen) line(x0, y0, x1, y1 float64, c color, width float64) {
	p.stroke(c, width)
	p.pdf.Line(x0, y0, x1, y1)
}

// dashed draws a dashed line.
func (p *pen) dashed(x0, y0, x1, y1 float64, c color, width float64) {
	p.pdf.SetDashPattern([]float64{1.2, 0.9}, 0)
	p.line(x0, y0, x1, y1, c, width)
	p.pdf.SetDashPattern(nil, 0)
}

// clipped draws within a rectangle.
func (p *pen) clipped(x, y, w, h float64, draw func()) {
	p.pdf.ClipRect(x, y, w, h, false)
	draw()
	p.pdf.ClipEnd()
	p.fill(black) // the end brought back a color that the PDF writer has forgotten
}

func (p *pen) box(x, y, w, h float64, c color) {
	p.fill(c)
	p.pdf.Rect(x, y, w, h, "F")
}

// triangle is a warning sign around a centre, r from it to its corners.
func (p *pen) triangle(x, y, r float64, c color) {
	p.fill(c)
	p.pdf.Polygon([]fpdf.PointType{{X: x, Y: y - r}, {X: x + r, Y: y + r*0.85}, {X: x - r, Y: y + r*0.85}}, "F")
	p.stroke(color{255, 255, 255}, r*0.22)
	p.pdf.Line(x, y-r*0.3, x, y+r*0.25)
	p.pdf.Line(x, y+r*0.5, x, y+r*0.56)
}
