package report

import (
	"strings"

	go_qr "github.com/piglig/go-qr"

	"trailmark/passport"
)

// look is how an outcome looks: never by its color alone.
type look struct {
	word      string
	ink, fill color
	icon      func(p *pen, x, y, r float64, c color)
}

func (pg *page) look() look {
	switch pg.v.Outcome {
	case passport.Kept:
		return look{pg.l.Say("符合标准", "WITHIN THE RULE"), color{27, 94, 49}, color{232, 245, 235}, check}
	case passport.Beyond:
		return look{pg.l.Say("超出标准", "BEYOND THE RULE"), red, color{253, 235, 233}, cross}
	case passport.Incomplete:
		return look{pg.l.Say("不完整", "INCOMPLETE"), color{120, 76, 0}, color{255, 245, 222}, hole}
	}
	return look{pg.l.Say("无法判定", "NOT JUDGED"), color{70, 70, 70}, color{240, 240, 240}, dash}
}

// verdict is the sentence, with its shade, icon and word, and the mark of
// simulated devices.
func (pg *page) verdict() {
	k := pg.look()
	word, sentence := style{10, true, k.ink}, style{10.5, false, black}
	const left = margin + 19
	lines := pg.wrapTo(pg.v.Sentence(pg.l), pageWidth-margin-left-4, sentence, 6)
	var simulated []string
	for _, d := range pg.v.Devices {
		if d.Simulated {
			simulated = append(simulated, d.Label())
		}
	}
	warn := style{8.2, true, red}
	var warnings []string
	if len(simulated) > 0 {
		warnings = pg.wrapTo(pg.l.Say("⚠ 含模拟设备的数据，并非真实测量：", "⚠ Includes data of simulated devices, not of real measurements: ")+strings.Join(simulated, pg.l.Say("、", ", ")),
			pageWidth-margin-left-4, warn, 3)
	}
	h := 8.5 + 5*float64(len(lines)) + 4.2*float64(len(warnings)) + 1.5
	h = max(h, 18)
	pg.fill(k.fill)
	pg.stroke(k.ink, 0.5)
	pg.pdf.Rect(margin, pg.y, inner, h, "FD")
	k.icon(pg.pen, margin+9.5, pg.y+h/2, 5.5, k.ink)
	y := pg.y + 6.2
	pg.text(left, y, word, k.word)
	for _, line := range lines {
		y += 5
		pg.text(left, y, sentence, line)
	}
	for _, line := range warnings {
		y += 4.4
		pg.text(left, y, warn, line)
	}
	pg.y += h + 4
}

var white = color{255, 255, 255}

func disc(p *pen, x, y, r float64, c color) {
	p.fill(c)
	p.pdf.Circle(x, y, r, "F")
	p.stroke(white, r*0.26)
	p.pdf.SetLineCapStyle("round")
	p.pdf.SetLineJoinStyle("round")
}

func undisc(p *pen) {
	p.pdf.SetLineCapStyle("butt")
	p.pdf.SetLineJoinStyle("miter")
}

func check(p *pen, x, y, r float64, c color) {
	disc(p, x, y, r, c)
	p.pdf.Line(x-r*0.45, y+r*0.05, x-r*0.1, y+r*0.4)
	p.pdf.Line(x-r*0.1, y+r*0.4, x+r*0.5, y-r*0.35)
	undisc(p)
}

func cross(p *pen, x, y, r float64, c color) {
	disc(p, x, y, r, c)
	p.pdf.Line(x-r*0.38, y-r*0.38, x+r*0.38, y+r*0.38)
	p.pdf.Line(x-r*0.38, y+r*0.38, x+r*0.38, y-r*0.38)
	undisc(p)
}

// hole is a ring with a piece missing.
func hole(p *pen, x, y, r float64, c color) {
	disc(p, x, y, r, c)
	p.pdf.Arc(x, y, r*0.5, r*0.5, 0, 20, 290, "D")
	undisc(p)
}

func dash(p *pen, x, y, r float64, c color) {
	disc(p, x, y, r, c)
	p.pdf.Line(x-r*0.42, y, x+r*0.42, y)
	undisc(p)
}

// qr draws a QR code with its quiet zone on a square of side.
func (p *pen) qr(x, y, side float64, words string) error {
	code, err := go_qr.EncodeText(words, go_qr.Medium)
	if err != nil {
		return errNoQR
	}
	const quiet = 2 // modules; white paper is around the rest
	n := code.GetSize()
	m := side / float64(n+2*quiet)
	p.fill(color{0, 0, 0})
	for row := range n {
		for col := 0; col < n; col++ {
			from := col
			for col < n && code.GetModule(col, row) {
				col++
			}
			if col > from { // a hair over, so that viewers show no seams
				p.pdf.Rect(x+m*float64(quiet+from), y+m*float64(quiet+row), m*float64(col-from)+0.01, m+0.01, "F")
			}
		}
	}
	return nil
}
