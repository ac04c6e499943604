package passport

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"trailmark/statement"
	"trailmark/trace"
)

// A Lang is a language of the words that people read.
type Lang string

// Languages.
const (
	Chinese Lang = "zh-CN"
	English Lang = "en"
)

// Say picks the words of the language.
func (l Lang) Say(zh, en string) string {
	if l == Chinese {
		return zh
	}
	return en
}

// Presence says how sure it is that the item was there all along.
func (l Lang) Presence(leg Leg) string {
	n := fmt.Sprintf(l.Say("标签读到 %d 次，记为 %d 条行踪", "tag reads: %d, sightings: %d"), leg.Reads, leg.Sightings)
	switch leg.Presence {
	case Seen:
		return l.Say("全程可见：", "Seen all along; ") + n
	case SeenOnce:
		return l.Say("只读到一次：", "Seen only once; ") + n
	}
	return fmt.Sprintf(l.Say("首尾可见，中间有时读不到，可见时间合计 %s：%s", "Seen at both ends and for %s in all, not all along; %s"), l.Duration(leg.SeenFor), n)
}

// Validators says what the agreement of a chain is worth.
func (l Lang) Validators(known bool, n uint64) string {
	switch {
	case !known || n == 0:
		return l.Say("验证者名单未知", "its validators are not known")
	case n == 1:
		return l.Say("1/1 个验证者，由运营方掌握：只有留存过旧账本头的人才能发现篡改", "1 of 1 validators, the operator's own: tamper-evident only to those who kept earlier heads")
	}
	return fmt.Sprintf(l.Say("%d 个验证者", "%d validators"), n)
}

// Bound is one end of a time bracket.
func (l Lang) Bound(b Bound, word string, clock func(ms int64) string) string {
	switch b.Proof {
	case Proven:
		return word + clock(b.Time)
	case Declared:
		return word + clock(b.Time) + l.Say("（未核对）", " (not checked)")
	}
	return l.Say("（未证明的时间）", word+"a time that is not proven")
}

// Lateness says how long after their time a channel's heads were anchored.
func (l Lang) Lateness(ch ChannelFacts) string {
	switch {
	case ch.LateProof == None:
		return l.Say("　不是每个签名点都已锚定：上报有多晚没有得到证明", "  Not every signed head is anchored: how late it was delivered is not proven")
	case ch.LateProof == Declared:
		return l.Say("　最晚在测量后 "+l.Duration(max(0, ch.Late))+" 锚定（由文件声明）", "  Anchored at most "+l.Duration(max(0, ch.Late))+" after it was measured (declared by the file)")
	}
	return l.Say("　最晚在测量后 "+l.Duration(max(0, ch.Late))+" 锚定", "  Anchored at most "+l.Duration(max(0, ch.Late))+" after it was measured")
}

// Clock says how far a device's clock can be trusted.
func (l Lang) Clock(q statement.Quality) string {
	switch q {
	case statement.ClockSynchronised:
		return l.Say("已同步", "synchronised")
	case statement.ClockRTC:
		return l.Say("未同步，来自实时时钟芯片", "not synchronised, from a real-time clock")
	case statement.ClockRestored:
		return l.Say("未同步，由保存的时间恢复", "not synchronised, restored from a saved time")
	}
	return l.Say("未设置", "unset")
}

// Closeness says how near a probe was to the goods, by the site's word.
func (l Lang) Closeness(c statement.Closeness) string {
	switch c {
	case statement.SameRoom:
		return l.Say("同一房间", "same room")
	case statement.SameBox:
		return l.Say("同一箱内", "same box")
	case statement.OnItem:
		return l.Say("在商品上", "on the item")
	}
	return l.Say("位置仅为声明", "place only declared")
}

// Quantity is what a unit measures.
func (l Lang) Quantity(senml string) string {
	switch senml {
	case "Cel":
		return l.Say("温度", "Temperature")
	case "%RH":
		return l.Say("相对湿度", "Relative humidity")
	}
	return l.Say("测量", "Measurement")
}

// Criterion is one line of the brand's rule.
func (l Lang) Criterion(c statement.Criterion) string {
	return l.Limit(c.Limit, c.Unit) + l.Say("：", ": ") + allowed(l, c)
}

func allowed(l Lang, c statement.Criterion) string {
	if c.For == 0 {
		return l.Say("不允许", "never")
	}
	kind := l.Say("一次", "at a time")
	if c.Kind == statement.Cumulative {
		kind = l.Say("累计", "in all")
	}
	return l.Say(kind+"须少于 "+l.Duration(c.For), "less than "+l.Duration(c.For)+" "+kind)
}

// Limit is a limit with its unit; its value itself is beyond.
func (l Lang) Limit(lim trace.Limit, senml string) string {
	edge, itself := Edge(lim)
	v := Value(edge) + " " + Unit(senml)
	switch below := lim.Comparison == trace.AtOrBelow; {
	case below && itself:
		return v + l.Say(" 及以下", " or below")
	case below:
		return l.Say("低于 ", "below ") + v
	case itself:
		return v + l.Say(" 及以上", " or above")
	default:
		return l.Say("高于 ", "above ") + v
	}
}

// Edge is the value that people name a limit by, in thousandths, and whether
// that value itself counts as beyond: "at or above 8.001" is "above 8", for
// values are whole thousandths.
func Edge(lim trace.Limit) (milli int64, itself bool) {
	step := int64(-1)
	if lim.Comparison == trace.AtOrBelow {
		step = 1
	}
	if lim.Value%10 != 0 && (lim.Value+step)%10 == 0 {
		return lim.Value + step, false
	}
	return lim.Value, true
}

// Outward writes an extreme to a tenth of the unit, a minimum rounded down and a
// maximum up: what is shown is never better than what was measured.
func Outward(milli int64, maximum bool) string {
	tenths := math.Floor(float64(milli) / 100)
	if maximum {
		tenths = math.Ceil(float64(milli) / 100)
	}
	return strings.Replace(strconv.FormatFloat(tenths/10+0, 'f', 1, 64), "-", "−", 1)
}

// Unit is a SenML unit as people write it.
func Unit(senml string) string {
	switch senml {
	case "Cel":
		return "°C"
	case "%RH":
		return "%"
	}
	return senml
}

// Value writes thousandths exactly, without trailing zeros.
func Value(milli int64) string {
	s := strconv.FormatFloat(float64(milli)/1000, 'f', 3, 64)
	return strings.Replace(strings.TrimSuffix(strings.TrimRight(s, "0"), "."), "-", "−", 1)
}

// Mean writes a mean in thousandths to a tenth of the unit.
func Mean(milli int64) string {
	return strings.Replace(strconv.FormatFloat(math.Round(float64(milli)/100)/10+0, 'f', 1, 64), "-", "−", 1)
}

// Duration writes milliseconds as people say them.
func (l Lang) Duration(ms int64) string {
	d := (time.Duration(ms) * time.Millisecond).Round(time.Second)
	two := func(n int, unit string, rest int, small string) string {
		s := strconv.Itoa(n) + " " + unit
		if rest > 0 {
			s += " " + strconv.Itoa(rest) + " " + small
		}
		return s
	}
	switch {
	case ms > 0 && d == 0:
		return l.Say("不到 1 秒", "under 1 s")
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + l.Say(" 秒", " s")
	case d < time.Hour:
		return two(int(d.Minutes()), l.Say("分钟", "min"), int(d.Seconds())%60, l.Say("秒", "s"))
	case d < 48*time.Hour:
		return two(int(d.Hours()), l.Say("小时", "h"), int(d.Minutes())%60, l.Say("分钟", "min"))
	}
	return two(int(d.Hours())/24, l.Say("天", "days"), int(d.Hours())%24, l.Say("小时", "h"))
}
