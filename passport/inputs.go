package passport

import (
	"slices"

	"trailmark/internal/epc"
	"trailmark/statement"
)

// inputs verifies the passports of what the item was made from, and says which
// inputs are not shown.
func (c *check) inputs() error {
	if c.p.Version < 2 {
		return nil
	}
	h := &c.h
	var made []*happened
	for _, m := range h.chains[h.item] {
		if m.list == statement.ListItems && m.of.Action == statement.Transform {
			made = append(made, m.of)
		}
	}
	verdicts := map[string]*Verdict{}
	for i, data := range c.p.Inputs {
		v, err := verify(data, c.trust, c.at, len(data), c.depth+1)
		if err != nil {
			return err
		}
		uri := v.Item.URI()
		if !slices.ContainsFunc(made, func(ev *happened) bool { return slices.Contains(h.inputs[ev.n], uri) }) || verdicts[uri] != nil {
			return refuse(CodeEvent, "passport %d of %s is of no input that is shown, or there twice", i, uri)
		}
		verdicts[uri] = v
	}
	for _, ev := range made {
		f := InputsFacts{At: ev.At, By: ev.e.id.Subject, Total: ev.Inputs.Size, Shown: []InputFacts{}}
		for _, uri := range h.inputs[ev.n] {
			f.Shown = append(f.Shown, InputFacts{uri, verdicts[uri]})
		}
		c.v.Inputs = append(c.v.Inputs, f)
	}
	return nil
}

// origin is how the verdict fares with what the item was made from: the worst of
// its inputs' outcomes, where nobody judged nothing. An input that is not shown,
// or has a serial number and no passport, leaves it incomplete.
func (v *Verdict) origin(own Outcome) Outcome {
	for _, from := range v.Inputs {
		for _, in := range from.Shown {
			if own != Beyond && in.Verdict != nil && (in.Verdict.Outcome == Beyond || in.Verdict.Outcome == Incomplete) {
				own = in.Verdict.Outcome
			}
		}
		if own == Kept && from.Unknown() > 0 {
			own = Incomplete
		}
	}
	return own
}

// Unknown is how many inputs might have a passport that is not shown.
func (f InputsFacts) Unknown() uint64 {
	n := f.Total - uint64(len(f.Shown))
	for _, in := range f.Shown {
		if o, err := epc.ParseObject(in.Object); in.Verdict == nil && err == nil && o.Serial != "" {
			n++
		}
	}
	return n
}
