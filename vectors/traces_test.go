package vectors_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

type nodes map[[2]uint64]trace.Node

func (n nodes) Node(level uint, index uint64) (trace.Node, error) {
	node, ok := n[[2]uint64{uint64(level), index}]
	if !ok {
		return trace.Node{}, fmt.Errorf("no subtree %d of level %d", index, level)
	}
	return node, nil
}

// tree is a trace of eleven blocks of three readings each: an excursion in
// blocks 4 and 5, and twenty minutes without a probe between blocks 6 and 7.
func (g *generator) tree(spec trace.Spec, tag string) (nodes, []trace.Head, [][2]int64) {
	kept := nodes{}
	var heads []trace.Head
	var spans [][2]int64
	f := trace.Frontier{Start: trace.Start{Channel: "28-0316a2795fff/temp", Plan: statement.Hash{1}}.Hash()}
	now, prev := int64(1_760_000_000_000), int64(-1)
	for i := range 11 {
		var times, values []int64
		if i == 7 {
			now += 1_200_000
		}
		for j := range 3 {
			now += 10_000
			v := int64(5000 + 37*i - 11*j)
			if i == 4 || i == 5 {
				v += 4000
			}
			times, values = append(times, now), append(values, v)
		}
		d, err := spec.Leaf(prev, times, values)
		g.must(err)
		prev = now
		var made []trace.Perfect
		f, made, err = f.Append(hash([]byte(fmt.Sprint(tag, i))), d)
		g.must(err)
		for _, p := range made {
			kept[[2]uint64{uint64(p.Level), p.Index}] = p.Node
		}
		head, err := f.Head()
		g.must(err)
		heads, spans = append(heads, head), append(spans, [2]int64{d.T0, d.T1})
	}
	return kept, heads, spans
}

func (g *generator) traces() {
	spec := goodPlan().Zones[0].Channels[0].Spec()
	specLines := []string{"unit", "Cel", "nominal", "10000", "limits", "2:8000 1:2000"}
	kept, heads, spans := g.tree(spec, "record")
	head := heads[10]
	cborHex := func(v any) string { return hex.EncodeToString(dcbor.MustMarshal(v)) }
	prove := func(a, b uint64) trace.Range {
		r, err := trace.Prove(kept, 11, a, b)
		g.must(err)
		return r
	}
	g.cuts(spec, kept, heads, specLines)
	add := func(name, expect string, r trace.Range, head trace.Head, more ...string) {
		g.t.Helper()
		lines := append(slices.Clone(specLines), "head", cborHex(head))
		g.add("range-"+name, expect, "range", dcbor.MustMarshal(r), append(lines, more...)...)
	}
	ok := func(name string, a, b uint64, more ...string) {
		g.t.Helper()
		d, err := prove(a, b).Verify(spec, head)
		g.must(err)
		add(name, "ok", prove(a, b), head, append(more, "digest", cborHex(d))...)
	}
	window := func(a, b int) string { return fmt.Sprint(spans[a][0], " ", spans[b-1][1]) }
	ok("whole", 0, 11)
	ok("one-block", 3, 4)
	ok("excursion", 3, 7, "window", window(3, 7))
	ok("gap-inside", 6, 8, "window", window(6, 8))
	ok("last-block", 10, 11, "window", window(10, 11))
	add("window-begins-earlier", "reach into the window", prove(5, 7), head, "window", window(4, 7))
	add("window-ends-later", "reach into the window", prove(3, 4), head, "window", window(3, 5))
	add("window-by-one-ms", "reach into the window", prove(3, 7), head, "window", fmt.Sprint(spans[3][0], " ", spans[6][1]+1_200_000+1))

	alter := func(f func(*trace.Range)) trace.Range {
		r := prove(3, 7)
		for i := range r.Nodes {
			r.Nodes[i].Digest.Limits = slices.Clone(r.Nodes[i].Digest.Limits)
		}
		f(&r)
		return r
	}
	add("node-dropped", "too few nodes", alter(func(r *trace.Range) { r.Nodes = r.Nodes[:len(r.Nodes)-1] }), head)
	add("node-too-many", "nodes too many", alter(func(r *trace.Range) { r.Nodes = append(r.Nodes, r.Nodes[0]) }), head)
	add("nodes-swapped", "overlaps", alter(func(r *trace.Range) { r.Nodes[1], r.Nodes[2] = r.Nodes[2], r.Nodes[1] }), head)
	add("hash-altered", "signed head", alter(func(r *trace.Range) { r.Nodes[2].Hash[0] ^= 1 }), head)
	add("sum-altered", "signed head", alter(func(r *trace.Range) { r.Nodes[2].Digest.Sum-- }), head)
	add("excursion-shortened", "signed head", alter(func(r *trace.Range) {
		e := &r.Nodes[3].Digest.Limits[0] // blocks 4 and 5: all of it beyond
		e.Longest -= 10_000
		e.Total, e.Prefix, e.Suffix = e.Total-10_000, 0, e.Longest
	}), head)
	add("excursion-denied", "time beyond limit 8000", alter(func(r *trace.Range) { r.Nodes[3].Digest.Limits[0] = trace.Excess{} }), head)
	add("impossible-cover", "covered of a span", alter(func(r *trace.Range) { r.Nodes[2].Digest.Covered = r.Nodes[2].Digest.Span() + 1 }), head)
	add("empty", "not within a trace", alter(func(r *trace.Range) { r.B = r.A }), head)
	add("past-the-end", "not within a trace", alter(func(r *trace.Range) { r.B = 12 }), head)
	bad := head
	bad.Root[0] ^= 1
	add("another-root", "signed head", prove(3, 7), bad)
	bad = head
	bad.Digest.Sum--
	add("another-digest", "signed head", prove(3, 7), bad)

	consistency := func(name, expect string, older, newer trace.Head, nodes []trace.Node) {
		g.t.Helper()
		g.add("consistency-"+name, expect, "consistency", dcbor.MustMarshal(nodes),
			append(slices.Clone(specLines), "older", cborHex(older), "newer", cborHex(newer))...)
	}
	consistency("7-of-11", "ok", heads[6], head, prove(0, 7).Nodes)
	consistency("8-of-11", "ok", heads[7], head, prove(0, 8).Nodes)
	consistency("same", "ok", head, head, prove(0, 11).Nodes)
	_, forged, _ := g.tree(spec, "another history")
	consistency("forged-older", "older head is no prefix", forged[6], head, prove(0, 7).Nodes)
	consistency("shrunk", "older head is no prefix", head, heads[6], prove(0, 7).Nodes)
	older := heads[6]
	older.Start[0] ^= 1
	consistency("another-start", "of two traces", older, head, prove(0, 7).Nodes)
	consistency("node-dropped", "too few nodes", heads[6], head, prove(0, 7).Nodes[1:])

	g.leaves()
}

func (g *generator) leaves() {
	add := func(name, expect string, spec trace.Spec, prev int64, times, values []int64) {
		g.t.Helper()
		b, err := statement.NewBlock("c", prev, times, values)
		g.must(err)
		var limits []string
		for _, l := range spec.Limits {
			limits = append(limits, fmt.Sprintf("%d:%d", l.Comparison, l.Value))
		}
		lines := []string{"unit", spec.Unit, "nominal", fmt.Sprint(spec.Nominal), "limits", strings.Join(limits, " ")}
		if expect == "ok" {
			d, err := spec.Leaf(prev, times, values)
			g.must(err)
			lines = append(lines, "digest", hex.EncodeToString(dcbor.MustMarshal(d)))
		}
		g.add("leaf-"+name, expect, "leaf", dcbor.MustMarshal(b), lines...)
	}
	cel := goodPlan().Zones[0].Channels[0].Spec()
	t0 := int64(1_760_000_000_000)
	add("first-of-trace", "ok", cel, -1, []int64{t0}, []int64{4203})
	add("equal-gaps", "ok", cel, t0-10_000, []int64{t0, t0 + 10_000, t0 + 20_000}, []int64{4203, 8000, 2000})
	add("gap-within-a-run", "ok", cel, t0-10_000, []int64{t0, t0 + 3_600_000}, []int64{8000, 9000})
	add("kinetic-near-a-half", "ok", trace.Spec{Unit: "Cel", Nominal: 1000}, t0-1000, []int64{t0, t0 + 1000, t0 + 2000, t0 + 3000}, []int64{94_509, 46_832, -13_386, -100_000})
	add("humidity", "ok", trace.Spec{Unit: "%RH", Nominal: 60_000, Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 65_000}}}, t0-60_000, []int64{t0}, []int64{65_000})
	add("extreme-values", "ok", trace.Spec{Unit: "lx", Nominal: 86_400_000}, 0, []int64{172_800_000, 345_600_000}, []int64{trace.MinValue, trace.MaxValue})
	add("too-hot", "not within -100000..125000", cel, t0-10_000, []int64{t0}, []int64{125_001})
	var times, values []int64
	for i := range int64(30) {
		times, values = append(times, (i+1)*172_800_000), append(values, trace.MaxValue)
	}
	add("overflow", "over its integer bound", trace.Spec{Unit: "lx", Nominal: 86_400_000}, 0, times, values)
}

func (g *generator) ledger() {
	const origin = "log.example.com/acme/2026h1"
	key := g.signer(edKey(50)).Key()
	logKey := hex.EncodeToString(key.Encoded())
	var entries [][]byte
	for i := range 9 {
		h := hash([]byte(fmt.Sprint("entry ", i)))
		entries = append(entries, h[:])
	}
	root := statement.RecordsRoot(entries)
	text := func(origin string, size int, root statement.Hash) string {
		return fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root[:]))
	}
	good := g.note(edKey(50), origin, text(origin, 9, root))
	check := func(name, expect string, note []byte, origin string, more ...string) {
		g.t.Helper()
		g.add("checkpoint"+name, expect, "checkpoint", note, append([]string{"origin", origin, "logkey", logKey}, more...)...)
	}
	check("", "ok", good, origin, "size", "9", "root", root.String())
	check("-another-origin", "checkpoint", good, "log.example.com/acme/2026h2")
	check("-another-key", "checkpoint", g.note(edKey(51), origin, text(origin, 9, root)), origin)
	check("-altered", "checkpoint", []byte(strings.Replace(string(good), "\n9\n", "\n8\n", 1)), origin)
	check("-foreign-line", "checkpoint", g.note(edKey(50), origin, text("other", 9, root)), origin)

	shown, err := statement.Disclose(entries, 4)
	g.must(err)
	signed := func(origin string, size, index uint64, path []statement.Hash) []byte {
		b, err := g.signer(edKey(50)).SignReceipt(origin, 1_760_000_000, size, index, root, path)
		g.must(err)
		return b
	}
	receipt := func(name, expect string, body []byte, note []byte, entry []byte) {
		g.t.Helper()
		g.add("receipt"+name, expect, "receipt", body, "origin", origin, "logkey", logKey, "checkpoint", hex.EncodeToString(note), "entry", hex.EncodeToString(entry))
	}
	body := signed(origin, 9, 4, shown.Path)
	receipt("", "ok", body, good, entries[4])
	receipt("-another-entry", "checkpoint's root", body, good, entries[5])
	receipt("-wrong-index", "checkpoint's root", signed(origin, 9, 5, shown.Path), good, entries[4])
	receipt("-another-origin", "receipt is of", signed("other", 9, 4, shown.Path), good, entries[4])
	later := g.note(edKey(50), origin, text(origin, 10, statement.Hash{1}))
	receipt("-another-size", "at size 9", body, later, entries[4])
	receipt("-another-root", "checkpoint's root", body, g.note(edKey(50), origin, text(origin, 9, statement.Hash{1})), entries[4])
	receipt("-signature-altered", "does not verify", edited(body, len(body)-1, body[len(body)-1]^1), good, entries[4])
	receipt("-with-payload", "receipt has a payload", replaced(body, "f65840", "405840"), good, entries[4])
	kid := key.ID()
	protected := map[any]any{1: -8, 4: kid[:], 15: map[any]any{1: origin, 6: 1_760_000_000}, 395: 1}
	form := func(alter func(map[any]any)) []byte {
		m := maps.Clone(protected)
		alter(m)
		u := g.encode(map[any]any{396: map[any]any{-1: [][]byte{dcbor.MustMarshal([]any{9, 4, shown.Path})}}})
		b := append(dcbor.AppendBytes([]byte{0xd2, 0x84}, g.encode(m)), u...)
		return dcbor.AppendBytes(append(b, 0xf6), make([]byte, 64))
	}
	receipt("-another-structure", "RFC 9162", form(func(m map[any]any) { m[395] = 2 }), good, entries[4])
	receipt("-es256", "want EdDSA", form(func(m map[any]any) { m[1] = -7 }), good, entries[4])
	receipt("-extra-header", "malformed", form(func(m map[any]any) { m[3] = 0 }), good, entries[4])
}
