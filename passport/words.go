package passport

import (
	"fmt"
	"slices"
	"time"

	"trailmark/statement"
	"trailmark/trace"
)

// A Topic is what a section of the explanation is about.
type Topic string

// Topics of sections.
const (
	TopicItem       Topic = "item"
	TopicLeg        Topic = "leg"
	TopicJourney    Topic = "journey"
	TopicInputs     Topic = "inputs"
	TopicCustody    Topic = "custody"
	TopicDeclared   Topic = "declared"
	TopicUnmeasured Topic = "unmeasured"
	TopicOrder      Topic = "order"
	TopicUnprovable Topic = "unprovable"
)

// A Section is a titled list of plain sentences.
type Section struct {
	Topic Topic
	Title string
	Lines []string
}

// Sentence is the verdict in one sentence, with what must not be left unsaid
// beside it.
func (v *Verdict) Sentence(l Lang) string {
	switch v.Outcome {
	case Kept:
		if v.excursion() {
			return l.Say("已核验："+v.where(l)+"，凡有测量之处，均符合品牌方的温度标准（"+v.band(l)+"）；其间有过短时超出，未超过标准允许的时长。",
				"Verified: the brand's rule ("+v.band(l)+") was met "+v.where(l)+", wherever it was measured; short times beyond it stayed within what the rule allows.")
		}
		return l.Say("已核验："+v.where(l)+"，凡有测量之处，均符合 "+v.band(l)+" 的要求。",
			"Verified: "+v.band(l)+" was kept "+v.where(l)+", wherever it was measured.")
	case Beyond:
		return v.beyond(l)
	case Incomplete:
		if len(v.Withheld) > 0 {
			return l.Say("记录本身可信，但不完整：有应当出示的测量没有出示。", "The records stand, but they are incomplete: measurements that ought to be shown are not.")
		}
		return v.incomplete(l)
	}
	if len(v.Legs) == 0 {
		return l.Say("记录本身可信，但其中没有这件商品的行踪。", "The records stand, but none of them saw this item.")
	}
	return l.Say("记录本身可信，但没有品牌方签署的判定标准，无法判断是否合格。", "The records stand, but the brand signed no rule to judge them by.")
}

// where is the journey in a few words.
func (v *Verdict) where(l Lang) string {
	first, last := v.Legs[0].Name.In(string(l)), v.Legs[len(v.Legs)-1].Name.In(string(l))
	if len(v.Legs) == 1 {
		return l.Say("在"+first, "at "+first)
	}
	return l.Say("从"+first+"到"+last, "from "+first+" to "+last)
}

// beyond is the sentence for a broken rule: the first criterion, and that there
// are more.
func (v *Verdict) beyond(l Lang) string {
	if len(v.Broken) == 0 {
		return l.Say("已核验，但有超标：制成它的原料超出了其自身的标准。", "Verified, but beyond the rule: something it was made from was beyond its own.")
	}
	b := v.Broken[0]
	leg := l.Say("全程", "over the whole journey")
	if b.Leg >= 0 {
		name := v.Legs[b.Leg].Name.In(string(l))
		leg = l.Say("在"+name, "at "+name)
	}
	lim := l.Limit(b.Criterion.Limit, b.Criterion.Unit)
	var s string
	if b.Exact {
		s = l.Say("已核验，但有超标："+leg+run(l, b)+"有 "+l.Duration(b.Beyond)+"处于 "+lim+"（标准："+allowed(l, b.Criterion)+"）。",
			"Verified, but beyond the rule: "+lim+" for "+l.Duration(b.Beyond)+run(l, b)+" "+leg+" (allowed: "+allowed(l, b.Criterion)+").")
	} else {
		s = l.Say("已核验，但有超标："+leg+"曾达到 "+lim+"，时长不详。", "Verified, but beyond the rule: "+lim+" "+leg+"; for how long is not known.")
	}
	if n := len(v.Broken) - 1; n > 0 {
		s += fmt.Sprintf(l.Say("另有 %d 项超标。", " Broken besides: %d."), n)
	}
	if len(v.Withheld) > 0 {
		s += l.Say("此外，还有应当出示的测量没有出示。", " Measurements that ought to be shown are missing, too.")
	}
	return s
}

func run(l Lang, b Breach) string {
	if b.Criterion.Kind == statement.Cumulative {
		return l.Say("累计", " in all")
	}
	return l.Say("连续", " at a time")
}

// excursion reports that a reading was beyond a limit of the rule, if for no
// longer than the rule allows.
func (v *Verdict) excursion() bool {
	for _, leg := range v.Legs {
		for _, ch := range leg.Channels {
			for _, c := range v.Product.Rule {
				if c.Unit == ch.Unit && (c.Limit.Beyond(ch.Min) || c.Limit.Beyond(ch.Max)) {
					return true
				}
			}
		}
	}
	return false
}

// Band is the innermost limits of the rule for a unit, in thousandths; a nil
// side has none.
func (p *ProductFacts) Band(unit string) (lo, hi *int64) {
	for _, c := range p.Rule {
		v := c.Limit.Value
		switch {
		case c.Unit != unit:
		case c.Limit.Comparison == trace.AtOrBelow && (lo == nil || v > *lo):
			lo = &v
		case c.Limit.Comparison == trace.AtOrAbove && (hi == nil || v < *hi):
			hi = &v
		}
	}
	return lo, hi
}

// band is the rule's temperature band in words, such as 2–8 °C.
func (v *Verdict) band(l Lang) string {
	edge := func(c trace.Comparison, v *int64) string {
		e, _ := Edge(trace.Limit{Comparison: c, Value: *v})
		return Value(e)
	}
	switch lo, hi := v.Product.Band("Cel"); {
	case lo != nil && hi != nil:
		return edge(trace.AtOrBelow, lo) + "–" + edge(trace.AtOrAbove, hi) + " °C"
	case hi != nil:
		return l.Say(edge(trace.AtOrAbove, hi)+" °C 以下", "at most "+edge(trace.AtOrAbove, hi)+" °C")
	case lo != nil:
		return l.Say(edge(trace.AtOrBelow, lo)+" °C 以上", "at least "+edge(trace.AtOrBelow, lo)+" °C")
	}
	return l.Say("规定条件", "the required condition")
}

// Explain is everything the verdict says, in plain words; times are shown in at.
func (v *Verdict) Explain(l Lang, at *time.Location) []Section {
	var out []Section
	add := func(topic Topic, title string, lines ...string) {
		if len(lines) > 0 {
			out = append(out, Section{topic, title, lines})
		}
	}
	clock := func(ms int64) string { return time.UnixMilli(ms).In(at).Format("2006-01-02 15:04:05") }

	item := []string{"GTIN " + v.Item.GTIN + " · " + l.Say("序列号 ", "serial ") + v.Item.Serial}
	if p := v.Product; p != nil {
		item = append([]string{p.Name.In(string(l)) + " · " + p.Brand.In(string(l)) + l.Say("（品牌方声明）", " (declared by the brand)")}, item...)
		for _, c := range p.Rule {
			item = append(item, l.Say("判定标准：", "Rule: ")+l.Criterion(c))
		}
	}
	add(TopicItem, l.Say("商品", "Item"), item...)

	for i, leg := range v.Legs {
		lines := []string{
			fmt.Sprintf("%s – %s (%s)", clock(leg.From), clock(leg.To), l.Duration(leg.To-leg.From)),
			l.Presence(leg),
		}
		for _, o := range leg.Carriers {
			lines = append(lines, l.Say("凭装载它的", "Seen by the tag of what it was packed in: ")+l.Object(o)+l.Say("的标签识读", ""))
		}
		for _, ch := range leg.Channels {
			lines = append(lines, channel(l, ch)...)
		}
		for _, w := range v.Withheld {
			if w.Leg == i {
				lines = append(lines, fmt.Sprintf(l.Say("⚠ 未出示：%s，自 %s 至 %s（计划要求这项测量；它没有出示，或设备尚未上报）",
					"⚠ Withheld: %s, from %s to %s (the plan lists this measurement; it is not shown, or the device has not reported it)"),
					w.Channel, clock(w.From), clock(w.To)))
			}
		}
		if len(leg.Channels) == 0 {
			lines = append(lines, l.Say("⚠ 这一段没有任何得到证明的测量。", "⚠ No measurement is proven for this leg."))
		}
		add(TopicLeg, fmt.Sprintf(l.Say("第 %d 段：%s", "Leg %d: %s"), i+1, leg.Name.In(string(l))), lines...)
	}

	add(TopicJourney, l.Say("经过的登记", "What was recorded of it"), v.journey(l, clock)...)
	add(TopicInputs, l.Say("由什么制成", "What it was made from"), v.origins(l, clock)...)
	add(TopicCustody, l.Say("由谁经手", "Who had it"), v.custody(l, clock)...)
	add(TopicDeclared, l.Say("谁声明了什么", "Who declared what"), v.declared(l)...)
	add(TopicUnmeasured, l.Say("没有人测量的时间", "What nobody measured"), v.unmeasured(l)...)
	add(TopicOrder, l.Say("时间与顺序", "Time and order"), v.order(l, clock)...)
	unprovable := []string{
		l.Say("签名证明是谁报告的，不证明探头放在哪里，也不证明探头是准的。", "A signature proves who reported, not where the probe sat or that it was accurate."),
		l.Say("读到的是标签，不是商品本身；标签可能被取下或复制。", "A tag was seen, not the goods; a tag can be moved or copied."),
		l.Say("设备还不会签署行踪索引，因此不能排除有行踪未被出示。", "Devices do not sign an index of sightings yet, so a hidden sighting cannot be excluded."),
		l.Say("时间以设备自己的时钟为准；“时间与顺序”写明了这些时钟有多可靠。", "Times are what the devices' clocks said; “Time and order” says how far they can be trusted."),
	}
	add(TopicUnprovable, l.Say("签名不能证明什么", "What no signature can prove"), append(unprovable, v.unprovable(l)...)...)
	return out
}

func channel(l Lang, ch ChannelFacts) []string {
	u := Unit(ch.Unit)
	line := fmt.Sprintf(l.Say("%s（%s）：最低 %s，最高 %s，平均 %s %s", "%s (%s): minimum %s, maximum %s, mean %s %s"),
		ch.Channel, l.Closeness(ch.Closeness), Value(ch.Min), Value(ch.Max), Mean(ch.Mean), u)
	if ch.MKT != nil {
		line += fmt.Sprintf(l.Say("；平均动力学温度 %s °C（ΔH 83.144 kJ/mol）", "; mean kinetic temperature %s °C (ΔH 83.144 kJ/mol)"), Mean(*ch.MKT*10))
	}
	lines := []string{line}
	for _, lim := range ch.Limits {
		lines = append(lines, fmt.Sprintf(l.Say("　%s：累计 %s，最长一次 %s", "  %s: %s in all, longest run %s"),
			l.Limit(lim.Limit, ch.Unit), l.Duration(lim.Total), l.Duration(lim.Longest)))
	}
	lines = append(lines, fmt.Sprintf(l.Say("　%d 个数据块由签名证明，其中 %s 没有测量", "  %d blocks proven by signature, %s not measured"), ch.Blocks, l.Duration(ch.Unmeasured)))
	if ch.Shown > 0 {
		lines = append(lines, fmt.Sprintf(l.Say("　其中 %d 个数据块出示了每一个读数", "  Every reading is shown of %d of them"), ch.Shown))
	}
	if ch.Erased > 0 {
		lines = append(lines, fmt.Sprintf(l.Say("　场所已签名声明删除了 %d 个数据块的读数；以上汇总仍由设备签名证明", "  The site erased the readings of %d of them, by a signed statement; the summary above is still proven"), ch.Erased))
	}
	return append(lines, l.Lateness(ch))
}

func (v *Verdict) declared(l Lang) []string {
	var lines []string
	if p := v.Product; p != nil {
		lines = append(lines, l.Say("品牌方声明商品名称和判定标准：", "The brand declared the product and the rule: ")+p.Brand.In(string(l))+l.Say("（", " (")+p.By+l.Say("）", ")"))
	}
	seen := map[string]bool{}
	for _, leg := range v.Legs {
		if s := leg.Site.In(string(l)) + l.Say("（", " (") + leg.PlanBy + l.Say("）", ")"); !seen[s] {
			seen[s] = true
			lines = append(lines, l.Say("场所声明哪些探头和天线属于哪个区域：", "The site declared which probes and antennas serve which zone: ")+s)
		}
	}
	for _, d := range v.Devices {
		line := l.Say("测量设备：", "Measured by: ") + d.Label()
		if d.Simulated {
			line += l.Say("，⚠ 模拟设备", ", ⚠ a simulated device")
		}
		lines = append(lines, line)
	}
	if k := v.KeyStatus; k != nil {
		return append(lines, l.Say("密钥状态由授权机构签署，核验时已有 ", "The authority's key status was this old when verified: ")+l.Duration(k.Age))
	}
	return append(lines, l.Say("没有出示密钥状态：不知道这些密钥后来是否被吊销。", "No key status is shown: whether these keys were revoked later is not known."))
}

// Label is the device's name, or who it speaks as, with the start of its key id.
func (d DeviceFacts) Label() string {
	name := d.Name
	if name == "" {
		name = d.Issuer
	}
	return name + " (" + d.KeyID.String()[:12] + "…)"
}

func (v *Verdict) unmeasured(l Lang) []string {
	lines := []string{
		l.Say("两段之间（无人监控）：", "Between legs (nobody was looking): ") + l.Duration(v.Unmonitored),
		l.Say("各段之内（以最差的通道计）：", "Within legs (worst channel): ") + l.Duration(v.Unmeasured),
	}
	if v.Conflicts > 0 {
		lines = append(lines, fmt.Sprintf(l.Say("⚠ 有 %d 次同时出现在两个区域", "⚠ In two zones at once: %d times"), v.Conflicts))
	}
	if v.Unplaced+v.Undated > 0 {
		lines = append(lines, fmt.Sprintf(l.Say("⚠ %d 条行踪没有地点或时间", "⚠ Sightings without a place or a time: %d"), v.Unplaced+v.Undated))
	}
	return lines
}

func (v *Verdict) order(l Lang, clock func(int64) string) []string {
	var lines []string
	for _, g := range v.Ledgers {
		lines = append(lines, fmt.Sprintf(l.Say("签名声明都在账本 %s 中（账本共 %d 条；出示的声明共 %d 份）", "The signed statements are in the ledger %s (of %d entries; %d statements are shown)"), g.Origin, g.Size, v.Statements))
	}
	older, checked := 0, 0
	for _, a := range v.Anchors {
		if slices.ContainsFunc(v.Ledgers, func(g LedgerFacts) bool { return g.Origin == a.Origin && g.Size > a.Size }) {
			older++
			if a.Checked {
				checked++
			}
			continue
		}
		line := fmt.Sprintf(l.Say("锚定：链 %s，高度 %d，%s（%s）", "Anchor: chain %s at height %d, %s (%s)"), a.Chain, a.Height, clock(a.Time), l.Validators(a.Pinned, a.Validators))
		switch {
		case !a.Checked:
			line += l.Say("；由文件声明，未离线核对", "; declared by the file, not checked offline")
		case a.Kind == EVM:
			line += l.Say("；已依据信任文件所列的区块离线核对", "; checked offline against a block that the trust file names")
		default:
			line += l.Say("；已离线核对链上的签名", "; the chain's signatures were checked offline")
		}
		lines = append(lines, line)
	}
	if older > 0 {
		lines = append(lines, fmt.Sprintf(l.Say("更早的锚定 %d 次，其中 %d 次已离线核对", "Older anchors: %d, checked offline: %d"), older, checked))
	}
	if len(v.Anchors) == 0 {
		lines = append(lines, l.Say("没有锚定到任何链。", "Not anchored on any chain."))
	}
	for i, leg := range v.Legs {
		lines = append(lines, fmt.Sprintf(l.Say("第 %d 段签署于 %s 之后、%s 之前", "Leg %d was signed %s and %s"), i+1,
			l.Bound(leg.NotBefore, l.Say("", "after "), clock), l.Bound(leg.NotAfter, l.Say("", "before "), clock)))
	}
	lines = append(lines, v.witnessed(l)...)
	for _, d := range v.Devices {
		lines = append(lines, fmt.Sprintf(l.Say("%s 的时钟：%s，自报误差不超过 %d 毫秒", "Clock of %s: %s, error at most %d ms by its own word"), d.Label(), l.Clock(d.Clock), d.MaxError))
	}
	return lines
}

// witnessed says who cosigned each ledger, and what that excludes.
func (v *Verdict) witnessed(l Lang) []string {
	if v.Witnesses == nil {
		return []string{l.Say("没有见证人的联署可供核对：不能排除别人看到的是账本的另一个版本。", "No witness's cosignature was checked: that others are shown another ledger is not excluded.")}
	}
	var lines []string
	for _, g := range v.Witnesses.Ledgers {
		line := fmt.Sprintf(l.Say("账本 %s 的见证人：%d 个联署（法定 %d 个）", "Ledger %s: %d of quorum %d witnesses cosigned"), g.Origin, len(g.Cosigned), v.Witnesses.Quorum)
		switch {
		case g.Reach == g.Size:
			line += l.Say("；要给别人看账本的另一个版本，须有另外同样多的见证人从未见过这一个", "; whoever is shown another ledger needs as many witnesses that never saw this one")
		case g.Reach > 0:
			line += fmt.Sprintf(l.Say("；前 %d 条达到法定数，其后不能排除别人看到的是另一个版本", "; a quorum cosigned the first %d entries, beyond them a split view is not excluded"), g.Reach)
		default:
			line += l.Say("；不能排除别人看到的是账本的另一个版本", "; a split view is not excluded")
		}
		lines = append(lines, line)
		own, simulated := 0, 0
		for _, w := range g.Cosigned {
			if w.Device {
				own++
			}
			if w.Simulated {
				simulated++
			}
		}
		if own > 0 {
			line = fmt.Sprintf(l.Say("　其中 %d 个是该组织自己的设备：它们约束网关，不约束授权机构", "  Of these, %d are the organisation's own devices: they keep its gateway honest, not its authority"), own)
			if simulated > 0 {
				line += fmt.Sprintf(l.Say("，⚠ 其中 %d 个是模拟设备", "; ⚠ simulated: %d"), simulated)
			}
			lines = append(lines, line)
		}
	}
	return lines
}

// Sentence is a refusal in plain words.
func (c Code) Sentence(l Lang) string {
	switch c {
	case CodeMalformed:
		return l.Say("文件已损坏，或不是规定的格式。", "The file is damaged, or not of the prescribed form.")
	case CodeUntrusted:
		return l.Say("其中有签名来自未经授权的密钥。", "Something in it is signed by a key that nobody authorised for it.")
	case CodeSignature:
		return l.Say("其中有签名不成立：内容在签名之后被改动过。", "A signature does not hold: something was changed after it was signed.")
	case CodeReceipt:
		return l.Say("其中有声明无法证明在账本里，或在记账之后被改动过。", "A statement cannot be shown to be in the ledger, or was changed after it was recorded.")
	case CodeCheckpoint:
		return l.Say("账本的签名不成立，或不是受信任的账本。", "The ledger's signature does not hold, or the ledger is not a trusted one.")
	case CodeCosignature:
		return l.Say("账本上有见证人的联署不成立。", "A witness's cosignature on the ledger's head does not hold.")
	case CodeAnchor:
		return l.Say("链上的证据不成立，或与所声明的锚定不符。", "The chain's evidence does not hold, or proves another anchor than the one declared.")
	case CodeBlocks:
		return l.Say("出示的读数不是设备签名所涵盖的读数。", "The readings shown are not those that the device signed.")
	case CodeRecord:
		return l.Say("其中有记录不属于签名所涵盖的内容。", "A record is not among those that its device signed.")
	case CodeRange:
		return l.Say("测量汇总与设备签名不符：数值被改动过。", "A summary of measurements does not lead to what the device signed: it was changed.")
	case CodeWindow:
		return l.Say("商品停留期间有测量被略去。", "Measurements during the item's stay were left out.")
	case CodeConsistency:
		return l.Say("同一条测量记录出现了两个互相矛盾的版本。", "Two versions of one trace contradict each other.")
	case CodeTrace:
		return l.Say("测量记录与行程对不上。", "A trace of measurements does not fit the journey.")
	case CodePlan:
		return l.Say("缺少测量所依据的场所计划。", "The site's plan that a measurement rests on is missing.")
	case CodeItem:
		return l.Say("其中有别的商品的记录。", "It shows records of another item.")
	case CodeEvent:
		return l.Say("装箱、取出等登记互相不符，或不属于这件商品。", "Records of packing, unpacking or the like do not fit each other, or are not of this item.")
	case CodeExpired:
		return l.Say("其中有签名是在密钥有效期之外作出的。", "Something was signed outside the time its key is valid for.")
	case CodeRevoked:
		return l.Say("其中有签名来自已被吊销的密钥。", "Something is signed by a key that was revoked.")
	}
	return l.Say("未能通过核验。", "It did not verify.")
}
