package passport_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"trailmark/passport"
	"trailmark/passport/passporttest"
	"trailmark/statement"
)

func travelled(t *testing.T, o passporttest.Options, j passporttest.Journey) *passport.Verdict {
	t.Helper()
	o.Journey = &j
	return made(t, o)
}

// TestCarriers: the item was where the pallet's tag was seen, from when it was put
// on the pallet until it was taken off.
func TestCarriers(t *testing.T) {
	t0 := passporttest.Epoch().UnixMilli()
	v := travelled(t, passporttest.Options{}, passporttest.Journey{Unpacked: true})
	if v.Outcome != passport.Kept || len(v.Legs) != 2 {
		t.Fatalf("%s, %d legs", v.Outcome, len(v.Legs))
	}
	if c := v.Legs[0].Carriers; !slices.Equal(c, []string{passporttest.Pallet}) || v.Legs[0].Reads != 240 {
		t.Errorf("store leg by %v", c)
	}
	if c := v.Legs[1].Carriers; len(c) != 0 {
		t.Errorf("truck leg by %v", c)
	}
	var actions []statement.Action
	for _, e := range v.Journey {
		actions = append(actions, e.Action)
	}
	if !slices.Equal(actions, []statement.Action{statement.Commission, statement.Pack, statement.Pack, statement.Unpack, statement.Unpack}) {
		t.Errorf("journey %v", actions)
	}
	if e := v.Journey[2]; e.Object != passporttest.Carton || e.Parent != passporttest.Pallet || e.At != t0+minutes(16) || !strings.Contains(e.ByName, "Example Biologics") {
		t.Errorf("carton's packing: %+v", e)
	}
	if e := v.Journey[4]; e.Object != "" || e.Parent != passporttest.Carton {
		t.Errorf("item's unpacking: %+v", e)
	}

	// A sighting of the pallet that goes on after the item was taken off it counts
	// to that time and no longer.
	v = travelled(t, passporttest.Options{}, passporttest.Journey{Emptied: 330, Both: true})
	if leg := v.Legs[0]; leg.To != t0+minutes(330) {
		t.Errorf("store leg ends at minute %d, the pallet was emptied at 330", (leg.To-t0)/60_000)
	}
}

// TestMomentsOfCustody: minutes beyond a limit are those of who had the item.
func TestMomentsOfCustody(t *testing.T) {
	v := travelled(t, passporttest.Options{Beyond: true}, passporttest.Journey{Handed: true, Accepted: true})
	box := v.Legs[1].Channels[0]
	if len(box.Custodians) != 2 {
		t.Fatalf("custodians %+v", box.Custodians)
	}
	mover, shop := box.Custodians[0], box.Custodians[1]
	if mover.By != v.Custody[0].To || shop.By != v.Custody[1].To || mover.To != shop.From || mover.To != v.Custody[1].At {
		t.Errorf("custody changes from %+v to %+v", mover, shop)
	}
	if mover.Limits[0].Total != minutes(5) || shop.Limits[0].Total != minutes(75) || box.Limits[0].Total != minutes(80) {
		t.Errorf("beyond for %d and %d ms, together %d", mover.Limits[0].Total, shop.Limits[0].Total, box.Limits[0].Total)
	}
	if mover.Covered+shop.Covered != box.Digest.Covered {
		t.Errorf("covered for %d and %d ms, together %d", mover.Covered, shop.Covered, box.Digest.Covered)
	}
	if c := v.Custody; !c[0].Accepted || !c[1].Accepted || c[1].Object != passporttest.Pallet {
		t.Errorf("custody %+v", c)
	}
	// Without a cut nobody in particular answers for the leg in which it changed.
	v = travelled(t, passporttest.Options{Beyond: true}, passporttest.Journey{Handed: true, NoCuts: true})
	if c := v.Legs[1].Channels[0].Custodians; len(c) != 1 || c[0].By != "" || c[0].Limits[0].Total != minutes(80) {
		t.Errorf("without cuts: %+v", c)
	}
	if c := v.Legs[0].Channels[0].Custodians; len(c) != 1 || c[0].By != v.Custody[0].From {
		t.Errorf("before the first hand-over: %+v", c)
	}
	if v.Custody[0].Accepted {
		t.Error("accepted by nobody")
	}
}

// TestOrigins: what an item was made from judges it, too.
func TestOrigins(t *testing.T) {
	v := travelled(t, passporttest.Options{}, passporttest.Journey{Made: true})
	if in := v.Inputs; v.Outcome != passport.Kept || len(in) != 1 || in[0].Total != 2 || len(in[0].Shown) != 2 || in[0].Shown[0].Verdict.Outcome != passport.Kept {
		t.Fatalf("%s, inputs %+v", v.Outcome, in)
	}
	v = travelled(t, passporttest.Options{}, passporttest.Journey{Made: true, Input: func(p *passport.Passport, serial string) {
		if serial == "2002" {
			p.Trails = nil
		}
	}})
	if in := v.Inputs[0].Shown; v.Outcome != passport.Incomplete || in[0].Verdict.Outcome != passport.Incomplete || in[1].Verdict.Outcome != passport.Kept {
		t.Errorf("one input's trace withheld: %s, %+v", v.Outcome, in)
	}
	v = travelled(t, passporttest.Options{}, passporttest.Journey{Made: true, Brief: true})
	if v.Outcome != passport.Incomplete || v.Inputs[0].Shown[0].Verdict != nil {
		t.Errorf("inputs without passports: %s", v.Outcome)
	}
}

// TestShownAndNotResolved: what contradicts itself or is hidden stands, is named,
// and never "kept".
func TestShownAndNotResolved(t *testing.T) {
	hide := func(n int) passporttest.Options {
		return passporttest.Options{Omit: func(k statement.Kind, nth int) bool { return k == statement.KindEvent && nth == n }}
	}
	for name, c := range map[string]struct {
		o      passporttest.Options
		j      passporttest.Journey
		kind   passport.ContradictionKind // "": events are hidden
		en, zh string
	}{
		"first event hidden":  {hide(1), passporttest.Journey{}, "", "records of packing, unpacking or the like", "装箱、取出等登记没有出示"},
		"middle event hidden": {hide(2), passporttest.Journey{Own: true, Unpacked: true}, "", "records of packing, unpacking or the like", "装箱、取出等登记没有出示"},
		"another tag":         {passporttest.Options{}, passporttest.Journey{Own: true, OtherTID: true}, passport.AnotherTag, "another tag carries this item's number", "另一枚标签"},
		"two zones":           {passporttest.Options{Overlap: true}, passporttest.Journey{Both: true}, passport.InTwoZones, "in two places at once", "同时出现在两个地方"},
		"packed twice":        {passporttest.Options{}, passporttest.Journey{Own: true, Repacked: true}, passport.Packing, "the records of its packing disagree", "前后不一"},
	} {
		t.Run(name, func(t *testing.T) {
			v := travelled(t, c.o, c.j)
			if v.Outcome != passport.Incomplete {
				t.Errorf("outcome %s", v.Outcome)
			}
			if c.kind == "" && len(v.Hidden) != 1 || c.kind != "" && (len(v.Contradictions) == 0 || v.Contradictions[0].Kind != c.kind) {
				t.Errorf("hidden %+v, contradictions %+v", v.Hidden, v.Contradictions)
			}
			if en, zh := v.Sentence(passport.English), v.Sentence(passport.Chinese); !strings.Contains(en, c.en) || !strings.Contains(zh, c.zh) {
				t.Errorf("%q, %q", en, zh)
			}
		})
	}
}

// TestJourneyWords: an explanation says what happened to the item, who had it, and
// what of that nobody can prove; in both languages.
func TestJourneyWords(t *testing.T) {
	o := passporttest.Options{Beyond: true, Journey: &passporttest.Journey{Made: true, Handed: true, Unpacked: true, Ended: true, Observed: true}}
	v := made(t, o)
	for l, want := range map[passport.Lang][]string{
		passport.English: {"was made from other things", "GTIN 09521234543213 serial 2002: Verified", "was packed into logistic unit 095212345000000018",
			"something was unpacked from logistic unit 095212345000000025", "was taken out of use", "the item was recorded", "the giver's word alone", "answered for by", "Nobody signs an index of events",
			"Seen by the tag of what it was packed in: logistic unit 095212345000000025"},
		passport.Chinese: {"由原料制成", "GTIN 09521234543213 序列号 2002：已核验", "装入物流单元 095212345000000018", "有物品从物流单元 095212345000000025中取出", "停用了编号",
			"有一项登记", "只有交出方的声明", "由其负责", "没有人签署事件的索引", "凭装载它的物流单元 095212345000000025的标签识读"},
	} {
		var all strings.Builder
		for _, s := range v.Explain(l, time.UTC) {
			all.WriteString(s.Title + "\n" + strings.Join(s.Lines, "\n") + "\n")
		}
		for _, w := range want {
			if !strings.Contains(all.String(), w) {
				t.Errorf("%s: lacks %q in:\n%s", l, w, all.String())
			}
		}
	}
	for _, k := range []passport.ContradictionKind{passport.InTwoZones, passport.AnotherTag, passport.TimeBackward, passport.Packing, passport.WrongGiver} {
		c := passport.Contradiction{Kind: k, Object: passporttest.Pallet}
		clock := func(int64) string { return "" }
		if en, zh := passport.English.Contradiction(c, clock), passport.Chinese.Contradiction(c, clock); en == zh || !strings.Contains(zh, "物流单元") {
			t.Errorf("%s: %q, %q", k, en, zh)
		}
	}
}

// TestCarriersAreBounded: a passport of as many packings as fit costs no more than its
// size.
func TestCarriersAreBounded(t *testing.T) {
	// Each of the four levels is packed into the next again and again, backwards in
	// time, so that every window meets every other.
	data, trust := passporttest.Make(t, passporttest.Options{Journey: &passporttest.Journey{Own: true, Tangled: 20}})
	began := time.Now()
	_, err := passport.Verify(data, trust, now())
	if took := time.Since(began); err == nil || took > 5*time.Second {
		t.Errorf("%v after %v", err, took)
	} else if !strings.Contains(err.Error(), "4096 carriers") {
		t.Errorf("refused as %v", err)
	}
}
