package report

import (
	"fmt"
	"strings"

	"trailmark/passport"
	"trailmark/statement"
)

// belowTable is what the legs' table leaves in mm to its note, what surrounds the
// plot, and what is said in words.
const belowTable = 8 + 19 + 60

// columnGap is the white space right of a column, in mm.
const columnGap = 2.0

// headColumns are the columns of the leg, the others of its channels.
const headColumns = 3

type column struct {
	title string
	width float64
	right bool
}

// table is one row for each channel of each leg.
func (pg *page) table() {
	l := pg.l
	columns := []column{
		{l.Say("区域", "Zone"), 32, false},
		{l.Say("时间", "From – to"), 25, false},
		{l.Say("在场", "Presence"), 24, false},
		{l.Say("通道", "Channel"), 22, false},
		{l.Say("最低", "Min"), 10, true},
		{l.Say("最高", "Max"), 10, true},
		{l.Say("平均", "Mean"), 10, true},
		{"MKT", 11, true},
		{l.Say("超出界限", "Beyond limits"), 25, false},
		{l.Say("未测量", "Unmeasured"), 17, false},
	}
	head, words := style{6.6, true, grey}, style{7, false, black}
	x := margin
	for _, c := range columns {
		if c.right {
			pg.right(x+c.width-columnGap, pg.y+2.4, head, c.title)
		} else {
			pg.text(x, pg.y+2.4, head, c.title)
		}
		x += c.width
	}
	pg.y += 3.8
	pg.line(margin, pg.y, pageWidth-margin, pg.y, grey, 0.3)
	pg.y += 0.6
	bottom := footerTop - belowTable - pg.plotHeight()
	hidden := 0
	for i, leg := range pg.rows() {
		// The zone, time and presence of a leg stand beside all its channels.
		own := pg.layout(leg.head, columns[:headColumns], words)
		channels := make([]laidOut, len(leg.channels))
		sum := 0.0
		for k, ch := range leg.channels {
			channels[k] = pg.layout(ch, columns[headColumns:], words)
			sum += channels[k].height
		}
		h := max(own.height, sum)
		if hidden > 0 || pg.y+h > bottom {
			hidden++
			continue
		}
		if i > 0 {
			pg.line(margin, pg.y, pageWidth-margin, pg.y, rule, 0.15)
		}
		pg.cells(margin, pg.y, own, columns[:headColumns])
		x, y := margin, pg.y
		for _, c := range columns[:headColumns] {
			x += c.width
		}
		for _, ch := range channels {
			pg.cells(x, y, ch, columns[headColumns:])
			y += ch.height
		}
		pg.y += h
	}
	if hidden > 0 {
		pg.text(margin, pg.y+3, style{7, true, red}, fmt.Sprintf(l.Say("另有 %d 段未列出：anchor verify 会列出全部", "%d more legs are not shown here: anchor verify lists them all"), hidden))
		pg.y += 4.5
	}
	pg.line(margin, pg.y+0.2, pageWidth-margin, pg.y+0.2, rule, 0.25)
	pg.y += 0.8
	note := style{6.4, false, grey}
	for _, line := range pg.wrap(l.Say("最低、最高、平均和时长均由设备签名的汇总得出。MKT：平均动力学温度，ΔH 83.144 kJ/mol。界限来自场所计划，恰好等于界限也计入。",
		"Minimum, maximum, mean and durations come from digests that the devices signed. MKT: mean kinetic temperature, ΔH 83.144 kJ/mol. Limits are those of the site's plan; the value itself counts as beyond."), inner, note) {
		pg.y += 2.7
		pg.text(margin, pg.y, note, line)
	}
	pg.y += 3.4
}

// A cell is words, and whether they say that something is beyond the rule or
// missing.
type cell struct {
	words string
	alert bool
}

// laidOut are cells with their lines broken; height in mm.
type laidOut struct {
	cells  []cell
	lines  [][]string
	height float64
}

func (pg *page) layout(cells []cell, columns []column, s style) laidOut {
	out := laidOut{cells: cells, lines: make([][]string, len(cells))}
	most := 1
	for i, c := range cells {
		for _, part := range strings.Split(c.words, "\n") {
			out.lines[i] = append(out.lines[i], pg.wrapTo(part, columns[i].width-columnGap, s, 4)...)
		}
		most = max(most, len(out.lines[i]))
	}
	out.height = 3.1*float64(most) + 1.4
	return out
}

func (pg *page) cells(x, y float64, row laidOut, columns []column) {
	for i, col := range columns {
		s := style{7, false, black}
		if row.cells[i].alert {
			s = style{7, true, red}
		}
		for n, words := range row.lines[i] {
			if at := y + 3.1*float64(n+1); col.right {
				pg.right(x+col.width-columnGap, at, s, words)
			} else {
				pg.text(x, at, s, words)
			}
		}
		x += col.width
	}
}

// legRows is one leg of the table.
type legRows struct {
	head     []cell
	channels [][]cell
}

func (pg *page) rows() []legRows {
	if len(pg.v.Legs) == 0 {
		return []legRows{{head: []cell{{words: pg.l.Say("没有行踪", "no leg")}, {}, {}}}}
	}
	out := make([]legRows, len(pg.v.Legs))
	for i, leg := range pg.v.Legs {
		r := &out[i]
		r.head = []cell{
			{words: fmt.Sprintf("%d  %s\n%s", i+1, leg.Name.In(string(pg.l)), leg.Site.In(string(pg.l)))},
			{words: pg.clock(leg.From) + " –\n" + pg.clock(leg.To) + "\n" + pg.l.Duration(leg.To-leg.From)},
			{words: pg.presence(leg)},
		}
		for _, ch := range leg.Channels {
			r.channels = append(r.channels, pg.channel(ch))
		}
		if len(leg.Channels) == 0 {
			r.channels = [][]cell{{{pg.l.Say("⚠ 没有得到证明的测量", "⚠ nothing proven"), true}, {}, {}, {}, {}, {}, {words: pg.l.Duration(leg.To - leg.From)}}}
		}
	}
	return out
}

// channel is the row of one channel of a leg.
func (pg *page) channel(ch passport.ChannelFacts) []cell {
	name := fmt.Sprintf("%s (%s)\n%s", ch.Channel, passport.Unit(ch.Unit), pg.l.Closeness(ch.Closeness))
	low, high := cell{words: passport.Value(ch.Min)}, cell{words: passport.Value(ch.Max)}
	if p := pg.v.Product; p != nil {
		for _, c := range p.Rule {
			if c.Unit == ch.Unit {
				low.alert = low.alert || c.Limit.Beyond(ch.Min)
				high.alert = high.alert || c.Limit.Beyond(ch.Max)
			}
		}
	}
	kinetic := "–"
	if ch.MKT != nil {
		kinetic = passport.Mean(*ch.MKT * 10)
	}
	var beyond cell
	for _, lim := range ch.Limits {
		if lim.Total > 0 {
			if beyond.alert {
				beyond.words += "\n"
			}
			beyond.alert = true
			beyond.words += pg.l.Limit(lim.Limit, ch.Unit) + pg.l.Say("：", ": ") + pg.l.Duration(lim.Total)
		}
	}
	switch {
	case beyond.alert:
	case len(ch.Limits) > 0:
		beyond.words = pg.l.Say("无", "none")
	default:
		beyond.words = pg.l.Say("计划无界限", "no limit in plan")
	}
	missing := pg.l.Duration(ch.Unmeasured)
	if ch.Erased > 0 {
		missing += fmt.Sprintf(pg.l.Say("\n已删除 %d 块", "\nerased: %d blocks"), ch.Erased)
	}
	return []cell{{words: name}, low, high, {words: passport.Mean(ch.Mean)}, {words: kinetic}, beyond, {words: missing}}
}

func (pg *page) presence(leg passport.Leg) string {
	reads := fmt.Sprintf(pg.l.Say("读到 %d 次", "%d reads"), leg.Reads)
	switch leg.Presence {
	case passport.Seen:
		return pg.l.Say("全程可见", "seen all along") + "\n" + reads
	case passport.SeenOnce:
		return pg.l.Say("只读到一次", "seen once")
	}
	return fmt.Sprintf(pg.l.Say("首尾可见，可见 %s", "seen at both ends, %s in all"), pg.l.Duration(leg.SeenFor)) + "\n" + reads
}

// happening is what a disclosed event of a device says.
func (pg *page) happening(h happened) string {
	words := map[statement.HappeningType]string{
		statement.Boot: pg.l.Say("启动", "boot"), statement.ClockStep: pg.l.Say("时钟跳变", "clock step"),
		statement.Lost: pg.l.Say("探头或读写器失联", "probe or reader lost"), statement.Back: pg.l.Say("恢复", "back"),
		statement.Configured: pg.l.Say("配置变更", "configuration"), statement.Tamper: pg.l.Say("拆动", "tamper"),
		statement.Door: pg.l.Say("门", "door"), statement.Power: pg.l.Say("电源", "power"), statement.Gap: pg.l.Say("记录缺失", "frames lost"),
		statement.AlarmStart: pg.l.Say("报警开始", "alarm start"), statement.AlarmTrigger: pg.l.Say("报警触发", "alarm triggered"),
		statement.AlarmEnd: pg.l.Say("报警结束", "alarm end"), statement.KeyRotation: pg.l.Say("更换密钥", "key rotation"),
		statement.Fault: pg.l.Say("探头故障", "probe fault"),
	}[h.Type]
	line := pg.clock(h.At)
	if h.Until != nil {
		line += " – " + pg.clock(*h.Until)
	}
	line += pg.l.Say("：", ": ") + words
	if h.Subject != "" {
		line += " " + h.Subject
	}
	if h.Words != "" {
		line += pg.l.Say("（", " (") + h.Words + pg.l.Say("）", ")")
	}
	return line
}
