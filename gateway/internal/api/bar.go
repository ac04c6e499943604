package api

import (
	"fmt"

	"trailmark/passport"
	"trailmark/trace"
)

// bar is the geometry of a channel's picture: minimum to maximum against the
// band that is allowed. Its units are those of the SVG's view box.
type bar struct {
	Band    bool // there are limits to draw
	Left    int  // of the allowed band
	Wide    int
	Lo, Hi  string // the limits' labels, "" for none
	From    int    // of minimum to maximum
	To      int
	Cold    int // width of the part below the band
	Hot     int // width of the part above it
	HotFrom int
	Mean    int
	Words   string // the same for who cannot see it
}

const (
	barWidth = 320
	barEdge  = 10 // kept free at either side
)

// newBar draws a channel against limits in thousandths, nil for none; ours says
// that they are the brand's, not the site's.
func newBar(l passport.Lang, ch passport.ChannelFacts, lo, hi *int64, ours bool) bar {
	// Limits at the two outer quarters leave room to see how far beyond it went.
	from, to := float64(ch.Min), float64(ch.Max)
	if lo != nil {
		from = min(from, float64(*lo))
	}
	if hi != nil {
		to = max(to, float64(*hi))
	}
	margin := max((to-from)*0.15, 500)
	from, to = from-margin, to+margin
	x := func(v float64) int {
		return barEdge + int((v-from)/(to-from)*(barWidth-2*barEdge)+0.5)
	}
	b := bar{Band: lo != nil || hi != nil, Left: 0, Wide: barWidth, From: x(float64(ch.Min)), To: x(float64(ch.Max)), Mean: x(float64(ch.Mean))}
	unit := passport.Unit(ch.Unit)
	b.To = max(b.To, b.From+2) // a constant value is still seen
	right := barWidth
	if hi != nil {
		right = x(float64(*hi))
		b.Hi = edge(trace.AtOrAbove, *hi) + " " + unit
		b.Hot = max(0, b.To-max(right, b.From))
		b.HotFrom = b.To - b.Hot
	}
	if lo != nil {
		b.Left = x(float64(*lo))
		b.Lo = edge(trace.AtOrBelow, *lo) + " " + unit
		b.Cold = max(0, min(b.Left, b.To)-b.From)
	}
	b.Wide = right - b.Left
	who := l.Say("场所限值", "the site's limits")
	if ours {
		who = l.Say("品牌方标准", "the brand's rule")
	}
	b.Words = fmt.Sprintf(l.Say("最低 %s，最高 %s，平均 %s %s", "minimum %s, maximum %s, mean %s %s"),
		passport.Value(ch.Min), passport.Value(ch.Max), passport.Mean(ch.Mean), unit)
	if b.Band {
		b.Words += l.Say("；"+who+"：", "; "+who+": ") + span(l, b.Lo, b.Hi)
	}
	return b
}

// Right is the upper limit's place.
func (b bar) Right() int { return b.Left + b.Wide }

// ColdTo is where the part below the band ends.
func (b bar) ColdTo() int { return b.From + b.Cold }

// LoAnchor and HiAnchor keep the limits' labels inside the picture and apart.
func (b bar) LoAnchor() string { return anchor(b.Left, b.Lo != "" && b.Hi != "" && b.Wide < 60, "end") }

// HiAnchor is LoAnchor of the upper limit.
func (b bar) HiAnchor() string {
	return anchor(b.Right(), b.Lo != "" && b.Hi != "" && b.Wide < 60, "start")
}

func anchor(x int, tight bool, away string) string {
	switch {
	case x < 30:
		return "start"
	case x > barWidth-30:
		return "end"
	case tight:
		return away
	}
	return "middle"
}

// span is a band in words, either end of which may be missing.
func span(l passport.Lang, lo, hi string) string {
	switch {
	case lo == "":
		return l.Say("低于 "+hi, "below "+hi)
	case hi == "":
		return l.Say("高于 "+lo, "above "+lo)
	}
	return lo + " – " + hi
}

// edge is how people name the end of a band.
func edge(c trace.Comparison, milli int64) string {
	e, _ := passport.Edge(trace.Limit{Comparison: c, Value: milli})
	return passport.Value(e)
}
