package api

import (
	"cmp"
	"fmt"
	"slices"

	"trailmark/internal/epc"
	"trailmark/passport"
)

// note is one event or change of custody on the item's way.
type note struct {
	At   int64
	Text string
	By   string // who signed
	Warn string // what is to be said against it
}

// notes are the item's events and changes of custody, by time.
func notes(l passport.Lang, v *passport.Verdict) (out []note) {
	for _, e := range v.Journey {
		out = append(out, note{At: e.At, Text: l.Event(e), By: cmp.Or(e.ByName, e.By)})
	}
	for _, c := range v.Custody {
		n := note{At: c.At, Text: cmp.Or(c.FromName, c.From) + l.Say(" 交给 ", " handed it to ") + cmp.Or(c.ToName, c.To), By: l.Say("双方", "both")}
		if !c.Accepted {
			n.By, n.Warn = cmp.Or(c.FromName, c.From), l.Say("接收方没有签名，只是交出方的声明", "the taker did not sign: the giver's word alone")
		}
		out = append(out, n)
	}
	slices.SortStableFunc(out, func(a, b note) int { return cmp.Compare(a.At, b.At) })
	return out
}

// takeUntil cuts the notes before a time off.
func takeUntil(all *[]note, at int64) []note {
	n := slices.IndexFunc(*all, func(x note) bool { return x.At >= at })
	if n < 0 {
		n = len(*all)
	}
	out := (*all)[:n]
	*all = (*all)[n:]
	return out
}

// share is the part of a channel's measurements that one custodian answers for.
type share struct {
	passport.CustodianFacts
	Over []passport.LimitFacts
}

func shares(ch passport.ChannelFacts) (out []share) {
	for _, c := range ch.Custodians {
		s := share{CustodianFacts: c}
		for _, l := range c.Limits {
			if l.Total > 0 {
				s.Over = append(s.Over, l)
			}
		}
		out = append(out, s)
	}
	return out
}

// Who is a custodian's name.
func (p itemView) Who(s share) string { return cmp.Or(s.ByName, s.By) }

// doubts are what does not go together or is not shown, in words; what was found
// often is told once.
func doubts(l passport.Lang, v *passport.Verdict, clock func(int64) string) (out []string) {
	for _, h := range v.Hidden {
		what := l.Say("这件商品", "this item")
		if h.Object != "" {
			what = l.Object(h.Object)
		}
		out = append(out, l.Say(what+"在 "+clock(h.Before)+" 之前的一项或多项登记没有出示", "One record or more of "+what+" before "+clock(h.Before)+" is not shown"))
	}
	count := map[passport.Contradiction]int{}
	for _, c := range v.Contradictions {
		c.At = 0
		count[c]++
	}
	for _, c := range v.Contradictions {
		of := c
		of.At = 0
		text := clock(c.At) + l.Say("：", ": ") + l.Conflict(c)
		if n := count[of]; n > 1 {
			text += fmt.Sprintf(l.Say("（共 %d 次，这是第一次）", " (the first of %d times)"), n)
		}
		if count[of] > 0 {
			out = append(out, text)
		}
		count[of] = 0
	}
	return out
}

// inputView is what an item was made from.
type inputView struct {
	Name, Object string
	Path         string // of its own page, "" for none
	Tone, Word   string
	Says         string
	From         []inputView
	Missing      uint64 // of From, those whose journey is not shown
}

func inputViews(l passport.Lang, v *passport.Verdict) (out []inputView, missing uint64) {
	for _, from := range v.Inputs {
		missing += from.Unknown()
		for _, in := range from.Shown {
			view := inputView{Object: l.Object(in.Object), Tone: "none", Word: l.Say("没有护照", "No passport"), Says: l.Say("它自己的经历没有附在这里。", "Its own journey is not here.")}
			if o, err := epc.ParseObject(in.Object); err == nil && o.Serial != "" {
				view.Path = epc.Link{GTIN: o.GTIN, Serial: o.Serial}.Path()
			}
			if in.Verdict != nil {
				view.Tone, _, view.Word = tone(l, in.Verdict.Outcome)
				view.Says = in.Verdict.Sentence(l)
				if in.Verdict.Product != nil {
					view.Name = in.Verdict.Product.Name.In(string(l))
				}
				view.From, view.Missing = inputViews(l, in.Verdict)
			}
			out = append(out, view)
		}
	}
	return out, missing
}

// told is what the template of notes takes.
type told struct {
	itemView
	Notes []note
}

// Told gives notes to their template.
func (p itemView) Told(n []note) told { return told{p, n} }

// From gives what an item was made from to its template.
func (p itemView) From(in []inputView, unknown uint64) itemView {
	p.Inputs, p.Unknown = in, unknown
	return p
}
