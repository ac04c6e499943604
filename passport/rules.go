package passport

import (
	"cmp"
	"slices"

	"trailmark/statement"
	"trailmark/trace"
)

const hour = 3_600_000 // ms

// Rule is the criteria of a named rule: the alarm types of WHO's performance
// specifications for temperature loggers. A brand may sign them as its own; a
// verifier never supplies a rule.
func Rule(name string) ([]statement.Criterion, bool) {
	crit := func(c trace.Comparison, milli int64, kind statement.Accumulation, ms int64) statement.Criterion {
		return statement.Criterion{Unit: "Cel", Limit: trace.Limit{Comparison: c, Value: milli}, Kind: kind, For: ms}
	}
	switch name {
	case "who-1":
		return []statement.Criterion{
			crit(trace.AtOrAbove, 45_000, statement.Single, hour),
			crit(trace.AtOrAbove, 30_000, statement.Cumulative, 10*hour),
			crit(trace.AtOrBelow, -500, statement.Single, hour),
		}, true
	case "who-2":
		return []statement.Criterion{crit(trace.AtOrAbove, 10_000, statement.Cumulative, 20*hour)}, true
	}
	return nil, false
}

// Rules are the names that Rule knows.
func Rules() []string { return []string{"who-1", "who-2"} }

// judge applies the brand's rule to the legs.
func (c *check) judge() {
	v := c.v
	v.Product = c.product
	defer func() { v.Outcome = v.origin(v.Outcome) }()
	slices.SortStableFunc(v.Contradictions, func(a, b Contradiction) int { return cmp.Compare(a.At, b.At) })
	if v.Product == nil || len(v.Legs) == 0 {
		return
	}
	v.Outcome = Kept
	for _, crit := range v.Product.Rule {
		var total int64
		exact := true
		for i, leg := range v.Legs {
			var single, cumulative int64
			for _, ch := range leg.Channels {
				if ch.Unit != crit.Unit {
					continue
				}
				t, longest, known := beyond(crit.Limit, ch)
				exact = exact && known
				single, cumulative = max(single, longest), max(cumulative, t)
			}
			total += cumulative
			if crit.Kind == statement.Single && breaks(single, crit.For) {
				v.Broken = append(v.Broken, Breach{crit, i, single, exact})
			}
		}
		if crit.Kind == statement.Cumulative && breaks(total, crit.For) {
			v.Broken = append(v.Broken, Breach{crit, -1, total, exact})
		}
	}
	switch {
	case len(v.Broken) > 0:
		v.Outcome = Beyond
	case len(v.Withheld) > 0 || v.Conflicts > 0 || len(v.Hidden) > 0 || len(v.Contradictions) > 0 || v.unjudgeable() >= 0:
		v.Outcome = Incomplete
	}
}

func breaks(beyond, allowed int64) bool { return beyond > 0 && beyond >= allowed }

// unjudgeable is the first leg where no channel measured what a criterion of the
// rule is about, −1: none. Humidity says nothing of a limit in °C.
func (v *Verdict) unjudgeable() int {
	for i, leg := range v.Legs {
		for _, crit := range v.Product.Rule {
			if !slices.ContainsFunc(leg.Channels, func(ch ChannelFacts) bool { return ch.Unit == crit.Unit }) {
				return i
			}
		}
	}
	return -1
}

// beyond is the time a channel spent beyond a limit. When the plan did not have
// that limit only the extremes are known: then it is none, or the whole.
func beyond(limit trace.Limit, ch ChannelFacts) (total, longest int64, known bool) {
	for _, l := range ch.Limits {
		if l.Limit == limit {
			return l.Total, l.Longest, true
		}
	}
	if limit.Beyond(ch.Min) || limit.Beyond(ch.Max) {
		return ch.Digest.Span(), ch.Digest.Span(), false
	}
	return 0, 0, true
}
