package report

import (
	"fmt"
	"math"
	"slices"
	"time"

	"trailmark/passport"
)

// plotHeight in mm: a journey of many legs needs the room for its table.
func (pg *page) plotHeight() float64 {
	if len(pg.v.Legs) > 4 {
		return 34
	}
	return 44
}

// plot maps times and values of one unit to the page.
type plot struct {
	x, y, w, h float64
	t0, t1     int64
	lo, hi     float64 // thousandths
}

func (c plot) at(t int64) float64 {
	return c.x + c.w*float64(min(max(t, c.t0), c.t1)-c.t0)/float64(c.t1-c.t0)
}

func (c plot) value(v float64) float64 { return c.y + c.h*(c.hi-v)/(c.hi-c.lo) }

// chart draws each leg's band between minimum and maximum with its mean, and the
// readings themselves where the passport discloses them. A digest has no curve,
// and the title says so.
func (pg *page) chart() {
	unit, ok := pg.charted()
	if !ok {
		return
	}
	lo, hi := pg.limits(unit)
	c := plot{x: margin + 11, w: inner - 11, y: pg.y + 9.5, h: pg.plotHeight()}
	c.t0, c.t1 = pg.v.Legs[0].From, pg.v.Legs[0].To
	low, high := math.Inf(1), math.Inf(-1)
	stretch := func(v int64) { low, high = min(low, float64(v)), max(high, float64(v)) }
	readings := 0
	for _, leg := range pg.v.Legs {
		c.t0, c.t1 = min(c.t0, leg.From), max(c.t1, leg.To)
		for _, ch := range leg.Channels {
			if ch.Unit == unit {
				stretch(ch.Min)
				stretch(ch.Max)
				readings += len(ch.Readings)
			}
		}
	}
	for _, v := range []*int64{lo, hi} {
		if v != nil {
			stretch(*v)
		}
	}
	c.t1 = max(c.t1, c.t0+60_000)
	pad := max((high-low)*0.15, 500)
	c.lo, c.hi = low-pad, high+pad

	pg.captions(unit, readings)
	pg.axes(c, unit, lo, hi)
	// Bands first, so that no leg's band covers a neighbour's mean or curve.
	pg.legs(c, unit, func(leg passport.Leg, ch passport.ChannelFacts) { pg.band(c, leg, ch, lo, hi) })
	pg.legs(c, unit, func(leg passport.Leg, ch passport.ChannelFacts) { pg.means(c, leg, ch) })
	pg.names(c, unit, readings > 0)
	pg.y = c.y + c.h + 9.5
}

// charted is the unit to draw: what the rule is about, else temperature, else
// the first there is.
func (pg *page) charted() (unit string, ok bool) {
	want := "Cel"
	if p := pg.v.Product; p != nil {
		want = p.Rule[0].Unit
	}
	for _, leg := range pg.v.Legs {
		for _, ch := range leg.Channels {
			if ch.Unit == want {
				return want, true
			}
			if !ok {
				unit, ok = ch.Unit, true
			}
		}
	}
	return unit, ok
}

// limits are those of the brand's rule for the unit; nil: none on that side.
func (pg *page) limits(unit string) (lo, hi *int64) {
	if pg.v.Product == nil {
		return nil, nil
	}
	return pg.v.Product.Band(unit)
}

func (pg *page) captions(unit string, readings int) {
	l := pg.l
	title := l.Quantity(unit) + l.Say("（", " (") + passport.Unit(unit) + l.Say("）", ")")
	how := l.Say("：每段的最低–最高区间和平均值，取自签名汇总，不是曲线", ": minimum, maximum and mean per leg, from signed digests; not a curve")
	if readings > 0 {
		how = fmt.Sprintf(l.Say("：曲线为护照中出示的 %d 个读数；色带为每段最低–最高，短线为平均值", ": the curve is %d readings that the passport discloses; band: minimum to maximum per leg, bar: mean"), readings)
	}
	bold := style{8, true, black}
	pg.text(margin, pg.y+2.8, bold, title)
	x := margin + pg.width(title, bold)
	s := style{7.4, false, black}
	pg.text(x, pg.y+2.8, s, pg.fit(how, pageWidth-margin-x, s))
}

func (pg *page) axes(c plot, unit string, lo, hi *int64) {
	s := style{6.4, false, grey}
	if top, bottom := c.y, c.y+c.h; lo != nil || hi != nil {
		if hi != nil {
			top = c.value(float64(*hi))
		}
		if lo != nil {
			bottom = c.value(float64(*lo))
		}
		pg.box(c.x, top, c.w, bottom-top, color{240, 247, 241})
	}
	// What nobody looked at is neither good nor bad: hatched.
	for i := 1; i < len(pg.v.Legs); i++ {
		if from, to := pg.v.Legs[i-1].To, pg.v.Legs[i].From; to > from {
			pg.hatch(c.at(from), c.y, c.at(to)-c.at(from), c.h)
		}
	}
	for _, v := range []*int64{lo, hi} {
		if v != nil {
			y := c.value(float64(*v))
			pg.dashed(c.x, y, c.x+c.w, y, red, 0.25)
			pg.right(c.x-1.2, y+0.8, style{6.4, true, red}, passport.Value(*v)+" "+passport.Unit(unit))
		}
	}
	step := nice((c.hi - c.lo) / 5)
	for v := math.Ceil(c.lo/step) * step; v < c.hi; v += step {
		if near(v, lo, c) || near(v, hi, c) {
			continue // the limit's own label is there
		}
		y := c.value(v)
		pg.line(c.x-0.8, y, c.x, y, grey, 0.2)
		pg.right(c.x-1.4, y+0.8, s, passport.Value(int64(v)))
	}
	pg.stroke(rule, 0.2)
	pg.pdf.Rect(c.x, c.y, c.w, c.h, "D")
	pg.times(c, s)
}

// times are at most eight marks at round local times.
func (pg *page) times(c plot, s style) {
	steps := []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour}
	step := 24 * time.Hour.Milliseconds()
	for (c.t1-c.t0)/step > 7 {
		step *= 2
	}
	for _, d := range steps {
		if (c.t1-c.t0)/d.Milliseconds() <= 7 {
			step = d.Milliseconds()
			break
		}
	}
	_, offset := time.UnixMilli(c.t0).In(pg.r.Zone).Zone()
	shift := int64(offset) * 1000
	last := ""
	for t := (c.t0+shift+step-1)/step*step - shift; t <= c.t1; t += step {
		x := c.at(t)
		pg.line(x, c.y+c.h, x, c.y+c.h+0.9, grey, 0.2)
		local := time.UnixMilli(t).In(pg.r.Zone)
		day, label := local.Format("01-02"), local.Format("15:04")
		if step >= 24*time.Hour.Milliseconds() {
			label = day
		} else if day != last {
			label, last = day+" "+label, day
		}
		half := pg.width(label, s) / 2
		pg.center(min(max(x, c.x+half), c.x+c.w-half), c.y+c.h+3.6, s, label)
	}
}

func near(v float64, limit *int64, c plot) bool {
	return limit != nil && math.Abs(c.value(v)-c.value(float64(*limit))) < 2.6
}

// nice is the next step of 1, 2 or 5 times a power of ten.
func nice(raw float64) float64 {
	base := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 5} {
		if m*base >= raw {
			return m * base
		}
	}
	return 10 * base
}

func (pg *page) legs(c plot, unit string, draw func(passport.Leg, passport.ChannelFacts)) {
	for _, leg := range pg.v.Legs {
		for _, ch := range leg.Channels {
			if ch.Unit == unit {
				draw(leg, ch)
			}
		}
	}
}

// span of a leg on the page, wide enough to be seen.
func (c plot) span(leg passport.Leg) (x, w float64) {
	x = c.at(leg.From)
	w = max(c.at(leg.To)-x, 0.8)
	return min(x, c.x+c.w-w), w
}

func (pg *page) band(c plot, leg passport.Leg, ch passport.ChannelFacts, lo, hi *int64) {
	x, w := c.span(leg)
	top, bottom := c.value(float64(ch.Max)), c.value(float64(ch.Min))
	pg.fill(color{176, 202, 228})
	pg.stroke(blue, 0.2)
	pg.pdf.Rect(x, top, w, max(bottom-top, 0.3), "FD")
	beyond := color{243, 185, 180}
	if hi != nil && ch.Max >= *hi {
		y := min(c.value(float64(*hi)), bottom)
		pg.box(x, top, w, max(y-top, 0.3), beyond)
	}
	if lo != nil && ch.Min <= *lo {
		y := max(c.value(float64(*lo)), top)
		pg.box(x, y, w, max(bottom-y, 0.3), beyond)
	}
	pg.stroke(blue, 0.2)
	pg.pdf.Rect(x, top, w, max(bottom-top, 0.3), "D")
}

func (pg *page) means(c plot, leg passport.Leg, ch passport.ChannelFacts) {
	x, w := c.span(leg)
	mean, length := c.value(float64(ch.Mean)), w
	if len(ch.Readings) > 0 {
		length = min(w, 3) // leave the room to the curve
	}
	pg.line(x, mean, x+length, mean, blue, 0.5)
	pg.curve(c, x, w, ch.Readings)
	small := style{6, false, black}
	if label := passport.Value(ch.Max); w > pg.width(label, small)+2 {
		pg.text(x+w-pg.width(label, small)-0.6, c.value(float64(ch.Max))-0.6, small, label)
		pg.text(x+w-pg.width(passport.Value(ch.Min), small)-0.6, c.value(float64(ch.Min))+2.3, small, passport.Value(ch.Min))
	}
}

// curve draws readings, and no line across a gap of more than twice their usual
// distance: nobody measured there.
func (pg *page) curve(c plot, x, w float64, readings []passport.Reading) {
	gaps := make([]int64, 0, len(readings))
	for i := 1; i < len(readings); i++ {
		gaps = append(gaps, readings[i].Time-readings[i-1].Time)
	}
	slices.Sort(gaps)
	pg.clipped(x, c.y, w, c.h, func() {
		for i, r := range readings {
			at, value := c.at(r.Time), c.value(float64(r.Value))
			if i > 0 && r.Time-readings[i-1].Time <= 2*gaps[len(gaps)/2] {
				pg.line(c.at(readings[i-1].Time), c.value(float64(readings[i-1].Value)), at, value, black, 0.3)
			} else {
				pg.box(at-0.2, value-0.2, 0.4, 0.4, black)
			}
		}
	})
}

// names writes each leg's above its span, and that a leg has nothing to draw.
func (pg *page) names(c plot, unit string, curve bool) {
	s := style{6.6, true, black}
	for i, leg := range pg.v.Legs {
		x, w := c.span(leg)
		name := fmt.Sprintf("%d %s", i+1, leg.Name.In(string(pg.l)))
		if w < pg.width(name, s) {
			name = pg.fit(name, max(w, pg.width(fmt.Sprint(i+1), s)), s)
			if w < 8 {
				name = fmt.Sprint(i + 1)
			}
		}
		pg.text(x, c.y-1.2, s, name)
		drawn := false
		for _, ch := range leg.Channels {
			drawn = drawn || ch.Unit == unit
		}
		if !drawn {
			pg.hatch(x, c.y, w, c.h)
			none := style{7, true, red}
			pg.center(x+w/2, c.y+c.h/2, none, pg.fit(pg.l.Say("⚠ 没有得到证明的测量", "⚠ nothing proven here"), w-1, none))
		}
	}
	legend := pg.l.Say("斜线：无人监控或没有得到证明　虚线：品牌方标准的界限　浅红：界限之外", "hatched: nobody was looking, or nothing is proven · dashed: limits of the brand's rule · red: at or beyond a limit")
	if pg.v.Product == nil {
		legend = pg.l.Say("斜线：无人监控或没有得到证明", "hatched: nobody was looking, or nothing is proven")
	}
	if curve {
		legend += pg.l.Say("　曲线中断：没有测量、没有出示或已删除", " · curve broken: not measured, not shown or erased")
	}
	pg.right(pageWidth-margin, c.y+c.h+6.6, style{6, false, grey}, legend)
}

func (pg *page) hatch(x, y, w, h float64) {
	if w <= 0 {
		return
	}
	pg.box(x, y, w, h, color{250, 250, 250})
	pg.clipped(x, y, w, h, func() {
		for d := -h; d < w; d += 2 {
			pg.line(x+d, y+h, x+d+h, y, rule, 0.15)
		}
	})
}
