package vectors_test

import (
	"bytes"

	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

const (
	carton = "https://id.gs1.org/01/09521234543213/21/1001"
	pallet = "https://id.gs1.org/00/095201234567891235"
)

// organisations are payloads of events and of changes of custody, of the second
// version.
func (g *generator) organisations() {
	items := func(list statement.ItemList, objects ...string) statement.Items {
		var in []statement.Item
		for _, o := range objects {
			in = append(in, statement.Item{Object: o})
		}
		x, err := statement.NewItems([32]byte{7}, list, in...)
		g.must(err)
		return x
	}
	pack := func() *statement.Event {
		e := statement.NewEvent([]byte(`{"type":"AggregationEvent"}`), statement.Pack, 1760000000000, items(statement.ListItems, carton),
			statement.EventOf{Object: pallet, Prev: hash([]byte("before"))})
		e.Place, e.Step = "https://id.gs1.org/414/9521321000019", "packing"
		return e
	}
	transform := func() *statement.Event {
		e := statement.NewEvent([]byte(`{"type":"TransformationEvent"}`), statement.Transform, 1760000000000, items(statement.ListItems, carton))
		inputs := items(statement.ListInputs, carton+"A", carton+"B").Root()
		e.Inputs = &inputs
		return e
	}
	unpack := func() *statement.Event {
		return statement.NewEvent([]byte(`{"type":"AggregationEvent"}`), statement.Unpack, 1760000000000, nil, statement.EventOf{Object: pallet})
	}
	event := func(name, expect string, e *statement.Event, edit func(e *statement.Event)) {
		if edit != nil {
			edit(e)
		}
		g.add("payload-event-"+name, expect, "payload", dcbor.MustMarshal(e), "type", "event")
	}
	event("pack", "ok", pack(), nil)
	event("unpack-all", "ok", unpack(), nil)
	event("transform", "ok", transform(), nil)
	g.add("payload-event-version-1", "ok", "payload", dcbor.MustMarshal(&statement.Event{Version: 1, EPCIS: []byte("{}"),
		Objects: []statement.EventOf{{Object: carton}}}), "type", "event")
	event("action-unknown", "out of bounds", pack(), func(e *statement.Event) { e.Action = 7 })
	event("two-parents", "parents", pack(), func(e *statement.Event) { e.Objects = append(e.Objects, statement.EventOf{Object: carton}) })
	event("object-twice", "twice", transform(), func(e *statement.Event) { e.Objects = []statement.EventOf{{Object: "a"}, {Object: "a"}} })
	event("pack-of-nothing", "event of no object", pack(), func(e *statement.Event) { root := statement.Items(nil).Root(); e.Items = &root })
	event("root-of-nothing-altered", "of 0 items", unpack(), func(e *statement.Event) { e.Items.Root[0] ^= 1 })
	event("inputs-of-a-pack", "inputs are of", pack(), func(e *statement.Event) { e.Inputs = e.Items })
	event("transform-without-inputs", "inputs are of", transform(), func(e *statement.Event) { e.Inputs = nil })
	good := dcbor.MustMarshal(pack())
	g.add("payload-event-version-3", "out of bounds", "payload", replaced(good, "a801020258", "a801030258"), "type", "event")
	g.add("payload-event-document-in-version-2", "malformed", "payload", replaced(dcbor.MustMarshal(&statement.Event{Version: 1, EPCIS: bytes.Repeat([]byte("{}"), 16),
		Objects: []statement.EventOf{{Object: carton}}}), "a30101", "a30102"), "type", "event")
	g.add("payload-event-null-step", "not deterministic", "payload", append(bytes.Clone(good[:len(good)-len("packing")-1]), 0xf6), "type", "event")

	moment := func(channel string) statement.Moment {
		return statement.Moment{Device: statement.Hash{1}, Channel: channel, Head: trace.Head{Start: statement.Hash{2}, Size: 7, Root: statement.Hash{3},
			Digest: trace.Digest{T0: 0, T1: 60_000, Covered: 60_000, Min: 4000, Max: 4000, Sum: 4000 * 60_000, Limits: []trace.Excess{}}}}
	}
	handover := func(name, expect string, edit func(h *statement.Handover)) {
		h := statement.NewHandover([]string{pallet}, 1760000000000, "https://id.example.com/414/9521321000026", "dock", moment("a/temp"), moment("b/temp"))
		if edit != nil {
			edit(h)
		}
		g.add("payload-handover-"+name, expect, "payload", dcbor.MustMarshal(h), "type", "handover")
	}
	handover("moments", "ok", nil)
	handover("version-1", "ok", func(h *statement.Handover) { h.Version, h.Moments = 1, nil })
	handover("moments-of-version-1", "malformed", func(h *statement.Handover) { h.Version = 1 })
	handover("version-2-without-moments", "malformed", func(h *statement.Handover) { h.Moments = nil })
	handover("channel-twice", "twice", func(h *statement.Handover) { h.Moments[1] = h.Moments[0] })
	handover("head-impossible", "ms covered of a span", func(h *statement.Handover) { h.Moments[0].Head.Digest.Covered++ })
	accept := statement.NewAcceptance([]string{pallet}, 1760000000000, "https://id.example.com/414/9521321000019", hash([]byte("h")), moment("a/temp"))
	g.add("payload-acceptance-moments", "ok", "payload", dcbor.MustMarshal(accept), "type", "acceptance")
	accept.Handover = statement.Hash{}
	g.add("payload-acceptance-of-nothing", "acceptance of nothing", "payload", dcbor.MustMarshal(accept), "type", "acceptance")
}
