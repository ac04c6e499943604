package passport

import (
	"fmt"

	"trailmark/internal/epc"
	"trailmark/statement"
)

// Object is the name of an object as people read it.
func (l Lang) Object(uri string) string {
	switch o, _ := epc.ParseObject(uri); {
	case o.SSCC != "":
		return l.Say("物流单元 ", "logistic unit ") + o.SSCC
	case o.Serial != "":
		return "GTIN " + o.GTIN + l.Say(" 序列号 ", " serial ") + o.Serial
	case o.Lot != "":
		return "GTIN " + o.GTIN + l.Say(" 批号 ", " lot ") + o.Lot
	}
	return uri
}

// Event says what happened, and to what.
func (l Lang) Event(e EventFacts) string {
	what := l.Say("商品", "the item")
	if e.Object != "" {
		what = l.Object(e.Object)
	}
	parent := l.Object(e.Parent)
	switch {
	case e.Input:
		return what + l.Say("用作原料，制成了别的物品", " went into something else")
	case e.Action == statement.Commission:
		return what + l.Say("启用了编号", " was given its number")
	case e.Action == statement.Pack && e.Object == e.Parent:
		return l.Say("有物品装入"+what, "something was packed into "+what)
	case e.Action == statement.Pack:
		return what + l.Say("装入"+parent, " was packed into "+parent)
	case e.Action == statement.Unpack && e.Object == e.Parent:
		return l.Say("有物品从"+what+"中取出", "something was unpacked from "+what)
	case e.Action == statement.Unpack:
		return what + l.Say("从"+parent+"中取出", " was unpacked from "+parent)
	case e.Action == statement.Transform:
		return what + l.Say("由原料制成", " was made from other things")
	case e.Action == statement.Decommission:
		return what + l.Say("停用了编号", " was taken out of use")
	}
	return what + l.Say("有一项登记", " was recorded")
}

// Contradiction says what does not go together, and when.
func (l Lang) Contradiction(c Contradiction, clock func(int64) string) string {
	return l.Say("⚠ 矛盾：", "⚠ Contradiction: ") + clock(c.At) + " " + l.Conflict(c)
}

// Conflict says what does not go together.
func (l Lang) Conflict(c Contradiction) string {
	if c.Object == "" {
		return l.contradiction(c.Kind)
	}
	return l.contradiction(c.Kind) + l.Say("（", " (") + l.Object(c.Object) + l.Say("）", ")")
}

func (l Lang) contradiction(k ContradictionKind) string {
	switch k {
	case InTwoZones:
		return l.Say("同时出现在两个区域", "in two zones at once")
	case AnotherTag:
		return l.Say("另一枚标签带着这件商品的编号，可能是复制品", "another tag carries this item's number: it may be a copy")
	case TimeBackward:
		return l.Say("登记的时间早于它之前的一项", "an event is older than the one before it")
	case Packing:
		return l.Say("装箱的记录前后不一", "the records of its packing disagree")
	case WrongGiver:
		return l.Say("交出的一方当时并不持有它", "handed over by somebody who did not have it")
	}
	return string(k)
}

// who is a name and, in brackets, the identity that signed.
func (l Lang) who(subject, name string) string {
	if name == "" {
		return subject
	}
	return name + l.Say("（", " (") + subject + l.Say("）", ")")
}

// journey is the item's events, what is hidden of them and what contradicts them.
func (v *Verdict) journey(l Lang, clock func(int64) string) (lines []string) {
	for _, e := range v.Journey {
		line := clock(e.At) + " " + l.Event(e)
		if e.Step != "" {
			line += l.Say("；步骤 ", "; step ") + e.Step
		}
		if e.Place != "" {
			line += l.Say("；地点 ", "; at ") + e.Place
		}
		lines = append(lines, line+l.Say("；签署人 ", "; signed by ")+l.who(e.By, e.ByName)+l.Say("；", "; ")+l.Bound(e.Anchor, l.Say("记录不晚于 ", "on record by "), clock))
	}
	for _, h := range v.Hidden {
		what := l.Say("商品", "the item")
		if h.Object != "" {
			what = l.Object(h.Object)
		}
		lines = append(lines, fmt.Sprintf(l.Say("⚠ 未出示：%s在 %s 之前的一项或多项登记", "⚠ Withheld: one event or more of %s before %s"), what, clock(h.Before)))
	}
	for _, c := range v.Contradictions {
		lines = append(lines, l.Contradiction(c, clock))
	}
	return lines
}

// origins is what the item was made from.
func (v *Verdict) origins(l Lang, clock func(int64) string) (lines []string) {
	for _, from := range v.Inputs {
		lines = append(lines, fmt.Sprintf(l.Say("%s 由 %d 件原料制成，出示了 %d 件", "%s made from %d inputs, of which %d are shown"), clock(from.At), from.Total, len(from.Shown)))
		for _, in := range from.Shown {
			line := "　" + l.Object(in.Object) + l.Say("：", ": ")
			if in.Verdict == nil {
				line += l.Say("没有附上它的护照", "its passport is not here")
			} else {
				line += in.Verdict.Sentence(l)
			}
			lines = append(lines, line)
		}
		if n := from.Unknown(); n > 0 {
			lines = append(lines, fmt.Sprintf(l.Say("⚠ %d 件原料的经历没有出示", "⚠ Inputs whose own journey is not shown: %d"), n))
		}
	}
	return lines
}

// custody is who had the item when, and who answers for which minutes.
func (v *Verdict) custody(l Lang, clock func(int64) string) (lines []string) {
	for _, c := range v.Custody {
		line := clock(c.At) + " " + l.who(c.From, c.FromName) + " → " + l.who(c.To, c.ToName)
		if c.Object != "" {
			line += l.Say("，随", ", with ") + l.Object(c.Object)
		}
		if c.Place != "" {
			line += l.Say("；地点 ", "; at ") + c.Place
		}
		if c.Accepted {
			line += l.Say("；双方均已签名，接收于 ", "; both signed, accepted ") + clock(c.AcceptedAt)
		} else {
			line += l.Say("；⚠ 只有交出方的声明，接收方没有签名", "; ⚠ the giver's word alone, the taker did not sign")
		}
		lines = append(lines, line)
	}
	for i, leg := range v.Legs {
		for _, ch := range leg.Channels {
			for _, p := range ch.Custodians {
				who := l.who(p.By, p.ByName)
				if p.By == "" {
					who = l.Say("⚠ 无法归属（交接的那一刻没有签名的测量）", "⚠ nobody in particular (no signed measurement marks the hand-over)")
				}
				lines = append(lines, fmt.Sprintf(l.Say("第 %d 段 %s，%s – %s 由其负责：%s；测量了 %s", "Leg %d %s, %s – %s, answered for by %s; measured for %s"),
					i+1, ch.Channel, clock(p.From), clock(p.To), who, l.Duration(p.Covered)))
				for _, lim := range p.Limits {
					lines = append(lines, fmt.Sprintf(l.Say("　%s：累计 %s，最长一次 %s", "  %s: %s in all, longest run %s"),
						l.Limit(lim.Limit, ch.Unit), l.Duration(lim.Total), l.Duration(lim.Longest)))
				}
			}
		}
	}
	return lines
}

// unprovable is what no signature can prove of events and custody, where there
// are any.
func (v *Verdict) unprovable(l Lang) (lines []string) {
	if len(v.Journey) > 0 || len(v.Custody) > 0 {
		lines = append(lines,
			l.Say("没有人签署事件的索引，因此不能排除最近的装箱、取出或交接未被出示。", "Nobody signs an index of events, so that the newest packing, unpacking or hand-over is hidden cannot be excluded."),
			l.Say("什么装进了什么、由什么制成，是签署机构的声明，没有传感器能够证明。", "What was packed into what, or made from what, is the word of who signed it; no sensor proves it."))
	}
	return lines
}

// incomplete is the sentence for what keeps a verdict from "kept" besides
// measurements that are withheld.
func (v *Verdict) incomplete(l Lang) string {
	stand := l.Say("记录本身可信，但不完整：", "The records stand, but they are incomplete: ")
	contradict := l.Say("记录本身可信，但相互矛盾：", "The records stand, but they contradict each other: ")
	switch {
	case len(v.Hidden) > 0:
		return stand + l.Say("有应当出示的装箱、取出等登记没有出示。", "records of packing, unpacking or the like that ought to be shown are not.")
	case v.Conflicts > 0:
		return contradict + l.Say("同一标签同时出现在两个地方。", "one tag was in two places at once.")
	case len(v.Contradictions) > 0:
		return contradict + l.contradiction(v.Contradictions[0].Kind) + l.Say("。", ".")
	}
	if v.Product != nil && len(v.Legs) > 0 {
		if at := v.unjudgeable(); at >= 0 {
			name := v.Legs[at].Name.In(string(l))
			return stand + l.Say("在"+name+"没有判定所需的测量。", "nothing measured what the rule asks for at "+name+".")
		}
	}
	return stand + l.Say("所用原料的经历没有全部出示。", "the journey of what it was made from is not all shown.")
}
