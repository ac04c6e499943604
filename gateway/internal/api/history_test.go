package api_test

import (
	"strings"
	"testing"

	"trailmark/passport"
	"trailmark/passport/passporttest"
	"trailmark/statement"
)

// TestJourneyPage: what organisations signed is told in plain words, first in
// Chinese, and what does not go together is shown before the journey.
func TestJourneyPage(t *testing.T) {
	for name, c := range map[string]struct {
		o              passporttest.Options
		zh, en, absent []string
	}{
		"on a pallet": {passporttest.Options{Journey: &passporttest.Journey{Unpacked: true}},
			[]string{"商品启用了编号", "商品装入物流单元 095212345000000018", "读到的标签中有装载它的物流单元 095212345000000025", "商品从物流单元 095212345000000018中取出", "签署：示例生物"},
			[]string{"the item was given its number", "Among the tags that were read is that of what carried it: logistic unit 095212345000000025", "the item was packed into"},
			[]string{`class="warn doubts"`, "<h2>由什么制成"}},
		"custody": {passporttest.Options{Beyond: true, Journey: &passporttest.Journey{Handed: true, Accepted: true}},
			[]string{"交给 示例医药物流", "签署：双方", "负责：<strong>示例生物", `<li class="beyond">负责：<strong>示例医药物流`, "8 °C 及以上：累计 1 小时 20 分钟"},
			[]string{"handed it to 示例医药物流", "signed: both", "Answered for by <strong>示例生物"}, []string{"接收方没有签名", "无法归属"}},
		"declared": {passporttest.Options{Journey: &passporttest.Journey{Handed: true, NoCuts: true}},
			[]string{"接收方没有签名，只是交出方的声明", "无法归属"}, []string{"the taker did not sign: the giver&#39;s word alone", "Nobody can be held to it"}, []string{"签署：双方"}},
		"made": {passporttest.Options{Journey: &passporttest.Journey{Made: true, Input: func(p *passport.Passport, serial string) {
			if serial == "2002" {
				p.Trails = p.Trails[:1]
			}
		}}},
			[]string{"由什么制成", `<span class="tag doubt">记录不完整</span>`, `<span class="tag good">符合标准</span>`, `href="/01/09521234543213/21/2003"`, "所用原料的经历没有全部出示"},
			[]string{"What it was made from", "GTIN 09521234543213 serial 2002"}, []string{"没有护照"}},
		"made of what has no passport": {passporttest.Options{Journey: &passporttest.Journey{Made: true, Brief: true}},
			[]string{"没有护照", "缺2件"}, []string{"No passport", "Missing: 2"}, nil},
		"copied": {passporttest.Options{Overlap: true, Journey: &passporttest.Journey{Own: true, OtherTID: true, Both: true}},
			[]string{"另一枚标签带着这件商品的编号，可能是复制品（共 2 次，这是第一次）", "同时出现在两个区域", "不替您判断"},
			[]string{"another tag carries this item&#39;s number: it may be a copy (the first of 2 times)"}, nil},
		"hidden": {passporttest.Options{Journey: &passporttest.Journey{}, Omit: omitFirstEvent},
			[]string{"之前的一项或多项登记没有出示"}, []string{"is not shown"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, c.o)
			zh, en := g.page(t, itemAt, "zh-CN"), g.page(t, itemAt, "en")
			contains(t, zh, c.zh...)
			contains(t, en, c.en...)
			lacks(t, zh, c.absent...)
			if at := strings.Index(zh, `class="warn doubts"`); at > 0 && at > strings.Index(zh, `<ol class="legs">`) {
				t.Error("doubts come after the journey")
			}
		})
	}
}

func omitFirstEvent(kind statement.Kind, nth int) bool {
	return kind == statement.KindEvent && nth == 1
}
