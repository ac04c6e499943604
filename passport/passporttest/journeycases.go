package passporttest

import (
	"bytes"
	"slices"
	"testing"

	"trailmark/passport"
	"trailmark/statement"
)

// journeyStanding are cases with events and changes of custody that stand, some
// of them because what is wrong with them is shown and not refused.
func journeyStanding() []Case {
	j := func(name string, j Journey) Case { return Case{Name: "journey-" + name, Options: Options{Journey: &j}} }
	with := func(name string, o Options, j Journey) Case {
		o.Journey = &j
		return Case{Name: "journey-" + name, Options: o}
	}
	custody := func(name string, o Options, j Journey) Case {
		j.Handed, o.Journey = true, &j
		return Case{Name: "custody-" + name, Options: o}
	}
	event := func(n int, edit func(e *statement.Event)) func(int, *statement.Event) {
		return func(nth int, e *statement.Event) {
			if nth == n {
				edit(e)
			}
		}
	}
	hide := func(n int) Options {
		return Options{Omit: func(k statement.Kind, nth int) bool { return k == statement.KindEvent && nth == n }}
	}
	edited := func(name string, j Journey, f func(p *passport.Passport)) Case {
		return Case{Name: "journey-" + name, Options: Options{Journey: &j}, Edit: func(_ testing.TB, p *passport.Passport, _ *passport.Trust) { f(p) }}
	}
	return []Case{
		j("on-a-pallet", Journey{}),
		j("own-tag", Journey{Own: true}),
		j("unpacked-between", Journey{Unpacked: true}),
		j("ended", Journey{Own: true, Ended: true}),
		with("emptied-after", Options{}, Journey{Emptied: 640}),
		with("anchored", Options{Anchored: true, Older: true, KeyStatus: true}, Journey{Unpacked: true}),
		with("beyond", Options{Beyond: true}, Journey{}),
		with("replanned-audit", Options{Replanned: true, Audit: true}, Journey{}),
		{Name: "journey-without-events", Options: Options{Brief: true, Older: true}, Edit: func(_ testing.TB, p *passport.Passport, _ *passport.Trust) { p.Version = 2 }},
		j("made-of-two", Journey{Made: true}),
		j("made-of-two-without-passports", Journey{Made: true, Brief: true}),
		edited("made-of-two-one-hidden", Journey{Made: true}, func(p *passport.Passport) {
			at := slices.IndexFunc(p.Members, func(m passport.Member) bool { return m.List == statement.ListInputs && m.Index == 1 })
			p.Members, p.Inputs = slices.Delete(p.Members, at, at+1), p.Inputs[:1]
		}),
		j("made-of-one-incomplete", Journey{Made: true, Input: func(p *passport.Passport, serial string) {
			if serial == inputSerials[0] {
				p.Trails = p.Trails[:1]
			}
		}}),
		with("first-event-withheld", hide(1), Journey{}),
		with("middle-event-withheld", hide(2), Journey{Unpacked: true, Own: true}),
		with("last-event-withheld", hide(5), Journey{Unpacked: true}),
		j("another-tag", Journey{Own: true, OtherTID: true}),
		with("in-two-zones-at-once", Options{Overlap: true}, Journey{Both: true}),
		j("events-out-of-time", Journey{Own: true, Event: event(2, func(e *statement.Event) { e.At = at(1) })}),
		j("packed-twice", Journey{Own: true, Repacked: true}),
		j("inspected", Journey{Observed: true}),
		custody("accepted", Options{Beyond: true}, Journey{Accepted: true}),
		custody("declared", Options{Beyond: true}, Journey{}),
		custody("without-cuts", Options{Beyond: true}, Journey{Accepted: true, NoCuts: true}),
		custody("version-1", Options{Brief: true}, Journey{Accepted: true, First: true}),
		custody("anchored-audit", Options{Anchored: true, Audit: true}, Journey{Accepted: true}),
		custody("replanned", Options{Replanned: true}, Journey{Accepted: true}),
		custody("accepted-by-another", Options{}, Journey{Accepted: true, Accept: func(nth int, a *statement.Acceptance) {
			if nth == 2 {
				a.From = shopIssuer // signed by the giver
			}
		}}),
		custody("accepted-from-another", Options{}, Journey{Accepted: true, Accept: func(nth int, a *statement.Acceptance) {
			if nth == 1 {
				a.From = makerIssuer + "?"
			}
		}}),
		custody("of-another-pallet", Options{}, Journey{Handover: func(nth int, h *statement.Handover) {
			if nth == 2 {
				h.Objects = []string{OtherUnit}
			}
		}}),
		custody("after-the-pallet-was-emptied", Options{}, Journey{Unpacked: true, Accepted: true}),
		custody("given-by-who-had-it-not", Options{}, Journey{Handover: func(nth int, h *statement.Handover) {
			if nth == 1 {
				h.To = shopIssuer
			}
		}}),
	}
}

// journeyRefused are cases with events and changes of custody that no verifier
// lets by.
func journeyRefused() []Case {
	type pp = passport.Passport
	var out []Case
	add := func(code passport.Code, name string, o Options, j Journey, f func(p *pp)) {
		o.Journey = &j
		out = append(out, Case{Name: name, Options: o, Code: code, Edit: func(_ testing.TB, p *pp, _ *passport.Trust) {
			if f != nil {
				f(p)
			}
		}})
	}
	event := func(n int, edit func(e *statement.Event)) Journey {
		return Journey{Event: func(nth int, e *statement.Event) {
			if nth == n {
				edit(e)
			}
		}}
	}
	items := func(n int, edit func(in []statement.Item)) Journey {
		return Journey{Items: func(nth int, in []statement.Item) {
			if nth == n {
				edit(in)
			}
		}}
	}
	handed := Journey{Handed: true, Accepted: true}
	moment := func(edit func(m *statement.Moment)) Journey {
		return Journey{Handed: true, Handover: func(nth int, h *statement.Handover) {
			if nth == 2 {
				h.Moments = slices.Clone(h.Moments)
				edit(&h.Moments[0])
			}
		}}
	}
	plain := Options{}

	add(passport.CodeRecord, "member-is-a-sibling", plain, Journey{}, func(p *pp) { p.Members[0].Leaf = siblingLeaf(p.Members[0].Leaf) })
	add(passport.CodeRecord, "member-prev-altered", plain, Journey{}, func(p *pp) { l := p.Members[1].Leaf; l[len(l)-1] ^= 1 })
	add(passport.CodeRecord, "member-salt-altered", plain, Journey{}, func(p *pp) { p.Members[0].Leaf[2] ^= 1 })
	add(passport.CodeRecord, "member-path-altered", plain, Journey{}, func(p *pp) { p.Members[0].Path[0][0] ^= 1 })
	add(passport.CodeRecord, "member-path-short", plain, Journey{}, func(p *pp) { p.Members[0].Path = p.Members[0].Path[1:] })
	add(passport.CodeRecord, "member-path-long", plain, Journey{}, func(p *pp) { p.Members[0].Path = append(p.Members[0].Path, statement.Hash{}) })
	add(passport.CodeRecord, "member-index-of-another", plain, Journey{}, func(p *pp) { p.Members[0].Index = 0 })
	add(passport.CodeRecord, "member-index-beyond", plain, Journey{}, func(p *pp) { p.Members[0].Index = 3 })
	add(passport.CodeRecord, "member-of-another-event", plain, Journey{}, func(p *pp) { p.Members = p.Members[1:]; p.Members[0].Evidence-- })
	add(passport.CodeEvent, "member-of-a-plan", plain, Journey{}, func(p *pp) { p.Members[0].Evidence = 0 })
	add(passport.CodeEvent, "member-beyond-the-statements", plain, Journey{}, func(p *pp) { p.Members[len(p.Members)-1].Evidence = 4000 })
	add(passport.CodeEvent, "member-of-inputs-that-are-none", plain, Journey{}, func(p *pp) { p.Members[len(p.Members)-1].List = statement.ListInputs })
	add(passport.CodeEvent, "member-tells-a-tag-late", plain, items(2, func(in []statement.Item) { in[0].TID = []byte{1, 2, 3, 4} }), nil)
	add(passport.CodeMalformed, "member-is-noise", plain, Journey{Event: func(nth int, e *statement.Event) {
		if nth == 3 { // a list whose one leaf is no item
			root := statement.Items{{0}}.Root()
			e.Items = &root
		}
	}}, func(p *pp) { p.Members[len(p.Members)-1].Leaf = []byte{0} })
	add(passport.CodeMalformed, "members-out-of-order", plain, Journey{}, func(p *pp) { m := p.Members; m[0], m[1] = m[1], m[0] })
	add(passport.CodeMalformed, "member-twice", plain, Journey{}, func(p *pp) { p.Members = slices.Insert(p.Members, 1, p.Members[0]) })
	add(passport.CodeMalformed, "member-list-unknown", plain, Journey{}, func(p *pp) { p.Members[0].List = 5 })
	out = append(out, Case{Name: "members-of-version-1", Code: passport.CodeMalformed, Options: Options{Journey: &Journey{}}, Raw: func(b []byte) []byte {
		b = bytes.Clone(b)
		b[2] = 1
		return b
	}})
	add(passport.CodeMalformed, "event-of-version-2-in-version-1", plain, Journey{Own: true}, func(p *pp) { p.Version, p.Members = 1, nil })
	add(passport.CodeMalformed, "handover-of-version-2-in-version-1", Options{Omit: func(k statement.Kind, _ int) bool { return k == statement.KindEvent }},
		Journey{Own: true, Handed: true, NoCuts: true}, func(p *pp) { p.Version = 1 })

	add(passport.CodeEvent, "chain-forked", plain, Journey{Again: 2}, nil)
	add(passport.CodeEvent, "chain-through-an-event-of-others", plain, Journey{Foreign: true}, nil)
	add(passport.CodeEvent, "chain-prev-altered", plain, items(2, func(in []statement.Item) { in[0].Prev = statement.Hash{} }), nil)
	add(passport.CodeEvent, "chain-begins-twice", plain, event(3, func(e *statement.Event) { e.Objects[0].Object = Carton }), nil)
	add(passport.CodeEvent, "chain-member-left-out", plain, Journey{}, func(p *pp) { p.Members = slices.Delete(p.Members, 0, 1) })
	add(passport.CodeItem, "pallet-not-linked", Options{Omit: func(k statement.Kind, nth int) bool { return k == statement.KindEvent && nth == 3 }}, Journey{}, nil)
	add(passport.CodeItem, "carton-not-linked", Options{Omit: func(k statement.Kind, nth int) bool { return k == statement.KindEvent && nth == 2 }}, Journey{}, nil)
	add(passport.CodeItem, "pallet-before-it-was-packed", plain, Journey{Late: true}, nil)
	add(passport.CodeItem, "pallet-after-it-was-emptied", plain, Journey{Emptied: 370}, nil)
	add(passport.CodeItem, "pallet-of-another-item", plain, event(3, func(e *statement.Event) { e.Objects[0].Object = OtherUnit }), nil)
	add(passport.CodeItem, "pallet-packed-later-than-seen", plain, event(3, func(e *statement.Event) { e.At = at(31) }), nil)

	add(passport.CodeConsistency, "moment-root-altered", plain, moment(func(m *statement.Moment) { m.Head.Root[0] ^= 1 }), nil)
	add(passport.CodeConsistency, "moment-milder", plain, moment(func(m *statement.Moment) { m.Head.Digest.Max -= 100 }), nil)
	add(passport.CodeConsistency, "moment-of-another-channel", plain, moment(func(m *statement.Moment) { m.Channel = "air" }), func(p *pp) {
		last := &p.Trails[len(p.Trails)-1]
		last.Moments = momentsOf(p, 2)
	})
	add(passport.CodeConsistency, "moment-beyond-the-statement", plain, handed, func(p *pp) { p.Trails[len(p.Trails)-1].Moments[0].Moment = 7 })
	add(passport.CodeConsistency, "moment-of-a-frame", plain, handed, func(p *pp) { p.Trails[len(p.Trails)-1].Moments[0].Evidence = 0 })
	add(passport.CodeConsistency, "moment-twice", plain, handed, func(p *pp) {
		m := &p.Trails[len(p.Trails)-1].Moments
		*m = append(*m, (*m)[0])
	})
	add(passport.CodeRange, "moment-left-out", plain, handed, func(p *pp) { p.Trails[len(p.Trails)-1].Moments = nil })

	made := Journey{Made: true}
	add(passport.CodeEvent, "input-of-another-item", plain, made, func(p *pp) {
		p.Inputs = p.Inputs[:1]
		p.Members = slices.DeleteFunc(p.Members, func(m passport.Member) bool { return m.List == statement.ListInputs && m.Index == 0 })
	})
	add(passport.CodeEvent, "input-twice", plain, made, func(p *pp) { p.Inputs[1] = p.Inputs[0] })
	add(passport.CodeRecord, "input-altered", plain, Journey{Made: true, Input: func(p *passport.Passport, _ string) {
		for i := range p.Evidence {
			if s := p.Evidence[i].Shown; s != nil {
				s.Records[0].Data[3] ^= 1
			}
		}
	}}, nil)
	add(passport.CodeMalformed, "input-is-noise", plain, made, func(p *pp) { p.Inputs[0] = []byte{0xa0} })
	out = append(out, Case{Name: "inputs-too-deep", Code: passport.CodeMalformed, Options: Options{Journey: &made}, Edit: func(t testing.TB, p *pp, _ *passport.Trust) {
		inner := p.Inputs[0]
		for range 3 {
			in, err := passport.Parse(inner)
			if err != nil {
				t.Fatal(err)
			}
			in.Inputs = [][]byte{inner}
			if inner, err = in.Encode(); err != nil {
				t.Fatal(err)
			}
		}
		p.Inputs = [][]byte{inner}
	}})
	return out
}

// siblingLeaf is a leaf of the same form for another object.
func siblingLeaf(leaf []byte) []byte {
	return bytes.Replace(leaf, []byte("/21/"+Serial), []byte("/21/1002"), 1)
}

// momentsOf refers to the first moment of the passport's nth handover.
func momentsOf(p *passport.Passport, nth int) []passport.MomentRef {
	for i, e := range p.Evidence {
		if s, err := statement.Parse(e.Statement); err == nil && s.Header.Kind == statement.KindHandover {
			if nth--; nth == 0 {
				return []passport.MomentRef{{Evidence: uint64(i)}}
			}
		}
	}
	return nil
}
