package report

import (
	"fmt"
	"strings"

	"trailmark/passport"
)

// section is a titled list of sentences with its lines broken.
type section struct {
	title string
	alert bool
	whole bool     // never shortened
	lines []string // of the text; a line that begins a sentence starts with a mark
	first []bool
}

// sections puts everything that is said in words into two columns between the
// chart and the footer, in the largest size that fits.
func (pg *page) sections() {
	all := append(pg.findings(), pg.explained()...)
	const column = (inner - gutter) / 2
	room := footerTop - 3 - pg.y
	for size := 8.4; ; size -= 0.2 {
		s := style{size, false, black}
		step := size * mmPerPoint * 1.22
		broken := make([]section, len(all))
		for i, words := range all {
			broken[i] = pg.breakLines(words, column-2.2, s)
		}
		split, fits := balance(broken, step, room)
		if !fits && size > 5.7 {
			continue
		}
		for !fits && shorten(broken, pg.l.Say("……（anchor verify 会列出全部）", "… (anchor verify says it all)")) {
			split, fits = balance(broken, step, room)
		}
		pg.column(margin, broken[:split], s, step)
		pg.column(margin+column+gutter, broken[split:], s, step)
		return
	}
}

func (pg *page) column(x float64, sections []section, s style, step float64) {
	y := pg.y
	for _, sec := range sections {
		title := style{s.size + 0.4, true, blue}
		if sec.alert {
			title.ink = red
		}
		y += step
		pg.text(x, y, title, sec.title)
		for i, line := range sec.lines {
			y += step
			if sec.first[i] {
				pg.box(x+0.3, y-s.size*mmPerPoint*0.36, 0.8, 0.8, grey)
			}
			pg.text(x+2.2, y, s, line)
		}
		y += step * 0.45
	}
}

// balance splits the sections into two columns as even as their order allows.
func balance(sections []section, step, room float64) (split int, fits bool) {
	height := func(part []section) (h float64) {
		for _, sec := range part {
			h += step * (1.45 + float64(len(sec.lines)))
		}
		return h
	}
	best := -1.0
	for i := range len(sections) + 1 {
		if h := max(height(sections[:i]), height(sections[i:])); best < 0 || h < best {
			best, split = h, i
		}
	}
	return split, best <= room
}

// shorten drops a line of the longest section, unless none can spare one.
func shorten(sections []section, instead string) bool {
	var longest *section
	n := 1
	for i := range sections {
		if len(sections[i].lines) > n && !sections[i].whole {
			longest, n = &sections[i], len(sections[i].lines)
		}
	}
	if longest == nil {
		return false
	}
	longest.lines, longest.first = longest.lines[:n-1], longest.first[:n-1]
	longest.lines[n-2], longest.first[n-2] = instead, true
	return true
}

// said is a section before its lines are broken.
type said struct {
	title string
	alert bool
	whole bool
	lines []string
}

func (pg *page) breakLines(words said, w float64, s style) section {
	out := section{title: words.title, alert: words.alert, whole: words.whole}
	for _, sentence := range words.lines {
		for i, line := range pg.wrap(sentence, w, s) {
			out.lines, out.first = append(out.lines, line), append(out.first, i == 0)
		}
	}
	return out
}

// findings are what went wrong, or that nothing did.
func (pg *page) findings() []said {
	l, v := pg.l, pg.v
	where := func(leg int) string {
		if leg < 0 {
			return l.Say("全程", "whole journey")
		}
		return fmt.Sprintf(l.Say("第 %d 段 %s", "leg %d, %s"), leg+1, v.Legs[leg].Name.In(string(l)))
	}
	var out []said
	if v.Product != nil {
		broken := said{title: l.Say("是否超标", "Breaches of the rule"), alert: len(v.Broken) > 0}
		for _, b := range v.Broken {
			how := l.Duration(b.Beyond)
			if !b.Exact {
				how = l.Say("时长不详", "for how long is not known")
			}
			broken.lines = append(broken.lines, fmt.Sprintf(l.Say("%s：%s，%s（标准：%s）", "%s: %s, %s (rule: %s)"),
				where(b.Leg), l.Limit(b.Criterion.Limit, b.Criterion.Unit), how, l.Criterion(b.Criterion)))
		}
		if len(v.Broken) == 0 {
			broken.lines = []string{l.Say("凡有测量之处，没有一项标准被突破。", "No criterion was broken wherever it was measured.")}
		}
		out = append(out, broken)
	}
	if len(v.Withheld) > 0 {
		withheld := said{title: l.Say("未出示", "Withheld"), alert: true}
		for _, w := range v.Withheld {
			withheld.lines = append(withheld.lines, fmt.Sprintf(l.Say("⚠ %s：%s，%s 至 %s", "⚠ %s: %s, %s to %s"), where(w.Leg), w.Channel, pg.clock(w.From), pg.clock(w.To)))
		}
		withheld.lines = append(withheld.lines, l.Say("计划要求这些测量；它们没有出示，或设备尚未上报。", "The plan lists these measurements; they are not shown, or the device has not reported them."))
		out = append(out, withheld)
	}
	carried := said{title: l.Say("凭装载它的单元识读", "Seen by what it was packed in")}
	for i, leg := range v.Legs {
		for _, o := range leg.Carriers {
			carried.lines = append(carried.lines, where(i)+l.Say("：", ": ")+l.Object(o))
		}
	}
	if len(carried.lines) > 0 {
		out = append(out, carried)
	}
	late := said{title: l.Say("锚定有多晚", "How late it was anchored")}
	for i, leg := range v.Legs {
		for _, ch := range leg.Channels {
			late.lines = append(late.lines, where(i)+l.Say("，", ", ")+ch.Channel+l.Say("：", ": ")+strings.TrimSpace(l.Lateness(ch)))
		}
	}
	if len(late.lines) > 0 {
		out = append(out, late)
	}
	if len(pg.events) > 0 {
		events := said{title: l.Say("设备报告的事件（已出示的）", "Events that devices reported (those disclosed)")}
		for _, h := range pg.events {
			events.lines = append(events.lines, pg.happening(h))
		}
		out = append(out, events)
	}
	return out
}

// explained is the verdict's own explanation but for the item and the legs,
// which are on the page already.
func (pg *page) explained() []said {
	var out []said
	for _, s := range pg.v.Explain(pg.l, pg.r.Zone) {
		if s.Topic != passport.TopicItem && s.Topic != passport.TopicLeg {
			out = append(out, said{title: s.Title, whole: s.Topic == passport.TopicUnprovable, lines: s.Lines})
		}
	}
	return out
}
