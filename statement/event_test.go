package statement_test

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

const (
	carton = "https://id.gs1.org/01/09521234543213/21/1001"
	pallet = "https://id.gs1.org/00/095201234567891235"
)

func head(size uint64) trace.Head {
	return trace.Head{Start: statement.Hash{1}, Size: size, Root: statement.Hash{2},
		Digest: trace.Digest{T0: 1000, T1: 61_000, Covered: 60_000, Min: 4000, Max: 4100, Sum: 4050 * 60_000, Limits: []trace.Excess{}}}
}

func items(t testing.TB, seed byte, list statement.ItemList, objects ...string) statement.Items {
	t.Helper()
	var in []statement.Item
	for _, o := range objects {
		in = append(in, statement.Item{Object: o, Prev: statement.Hash{9}})
	}
	x, err := statement.NewItems([32]byte{seed}, list, in...)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// later are the second versions of payloads.
func later(t testing.TB) []payload {
	t.Helper()
	doc := []byte(`{"type":"AggregationEvent"}`)
	pack := statement.NewEvent(doc, statement.Pack, 5, items(t, 1, statement.ListItems, carton), statement.EventOf{Object: pallet, Prev: statement.Hash{3}})
	pack.Place, pack.Step = "https://id.gs1.org/414/9521321000019", "packing"
	made := statement.NewEvent(doc, statement.Transform, 6, items(t, 2, statement.ListItems, carton), statement.EventOf{Object: pallet + "x"})
	inputs := items(t, 2, statement.ListInputs, pallet).Root()
	made.Inputs = &inputs
	moments := []statement.Moment{{Device: statement.Hash{1}, Channel: "a/temp", Head: head(3)}, {Device: statement.Hash{1}, Channel: "b/temp", Head: head(4)}}
	event := reader((*statement.Statement).Event)
	return []payload{
		{statement.KindEvent, pack, event},
		{statement.KindEvent, made, event},
		{statement.KindEvent, statement.NewEvent(doc, statement.Unpack, 7, nil, statement.EventOf{Object: pallet}), event},
		{statement.KindHandover, statement.NewHandover([]string{pallet}, 1, "urn:x", "", moments...), reader((*statement.Statement).Handover)},
		{statement.KindAcceptance, statement.NewAcceptance([]string{pallet}, 1, "urn:y", statement.Hash{4}, moments...), reader((*statement.Statement).Acceptance)},
	}
}

// TestEventBounds: an event of version 2 says one thing, or is refused.
func TestEventBounds(t *testing.T) {
	s := signer(t, edKey(1))
	bad := func(name string, i int, alter func(e *statement.Event)) {
		t.Helper()
		p := later(t)[i]
		alter(p.value.(*statement.Event))
		b, err := dcbor.Marshal(p.value)
		if err == nil {
			err = try(t, s, p, b)
		}
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	const pack, transform, unpack = 0, 1, 2
	bad("version 3", pack, func(e *statement.Event) { e.Version = 3 })
	bad("action 0", pack, func(e *statement.Event) { e.Action = 0 })
	bad("action 7", pack, func(e *statement.Event) { e.Action = 7 })
	bad("time", pack, func(e *statement.Event) { e.At = 1 << 48 })
	bad("no parent", pack, func(e *statement.Event) { e.Objects = nil })
	bad("two parents", unpack, func(e *statement.Event) {
		e.Objects = append(e.Objects, statement.EventOf{Object: carton})
	})
	bad("17 objects", transform, func(e *statement.Event) {
		for _, c := range "abcdefghijklmnopq" {
			e.Objects = append(e.Objects, statement.EventOf{Object: string(c)})
		}
	})
	bad("an object twice", transform, func(e *statement.Event) {
		e.Objects = []statement.EventOf{{Object: "a"}, {Object: "a", Prev: statement.Hash{1}}}
	})
	bad("an empty object", pack, func(e *statement.Event) { e.Objects[0].Object = "" })
	bad("a pack of nothing", pack, func(e *statement.Event) { e.Items = &statement.ItemsRoot{Root: sha256.Sum256(nil)} })
	bad("a root of nothing that is none", unpack, func(e *statement.Event) { e.Items.Root[0] ^= 1 })
	bad("no items", pack, func(e *statement.Event) { e.Items = nil })
	bad("too many items", pack, func(e *statement.Event) { e.Items.Size = 1 << 53 })
	bad("inputs of a pack", pack, func(e *statement.Event) { e.Inputs = e.Items })
	bad("a transformation without inputs", transform, func(e *statement.Event) { e.Inputs = nil })
	bad("a transformation of nothing", transform, func(e *statement.Event) { e.Inputs = &statement.ItemsRoot{Root: sha256.Sum256(nil)} })
	bad("an event of no object", unpack, func(e *statement.Event) { e.Action, e.Objects = statement.Observe, nil })
	bad("a long place", pack, func(e *statement.Event) { e.Place = strings.Repeat("x", 257) })
	bad("a long step", pack, func(e *statement.Event) { e.Step = strings.Repeat("x", 257) })
}

// TestMomentBounds: a change of custody has a moment of each channel at most, and
// is of version 2 exactly when it has any.
func TestMomentBounds(t *testing.T) {
	all := later(t)
	bad := func(name string, alter func(h *statement.Handover)) {
		t.Helper()
		h := *all[3].value.(*statement.Handover)
		h.Moments = slices.Clone(h.Moments)
		alter(&h)
		if h.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	bad("version 1", func(h *statement.Handover) { h.Version = 1 })
	bad("version 3", func(h *statement.Handover) { h.Version = 3 })
	bad("version 2 without moments", func(h *statement.Handover) { h.Moments = nil })
	bad("a channel twice", func(h *statement.Handover) { h.Moments[1] = h.Moments[0] })
	bad("a channel without a name", func(h *statement.Handover) { h.Moments[0].Channel = "" })
	bad("a head of nothing", func(h *statement.Handover) { h.Moments[0].Head.Size = 0 })
	bad("17 moments", func(h *statement.Handover) {
		for _, c := range "abcdefghijklmno" {
			h.Moments = append(h.Moments, statement.Moment{Channel: string(c), Head: head(1)})
		}
	})
	if h := statement.NewHandover([]string{pallet}, 1, "urn:x", ""); h.Version != 1 || h.Check() != nil {
		t.Errorf("without moments: %+v, %v", h, h.Check())
	}
}

// TestItems: each item is shown alone by its path, nobody can guess its
// neighbours from it, and the leaves are enough to show it later.
func TestItems(t *testing.T) {
	var objects []string
	for _, c := range "abcdefgh" {
		objects = append(objects, carton+string(c))
		x := items(t, 1, statement.ListItems, objects...)
		root := x.Root()
		for i, leaf := range x {
			path, err := x.Path(i)
			if err != nil {
				t.Fatal(err)
			}
			if err := statement.VerifyInclusion(leaf, uint64(i), root.Size, root.Root, path); err != nil {
				t.Errorf("item %d of %d: %v", i, len(x), err)
			}
			item, err := statement.ParseItem(leaf)
			if err != nil || item.Object != objects[i] || item.Prev != (statement.Hash{9}) || item.TID != nil {
				t.Errorf("item %d: %+v, %v", i, item, err)
			}
			if len(x) > 1 {
				if err := statement.VerifyInclusion(leaf, uint64(i^1), root.Size, root.Root, path); err == nil {
					t.Errorf("item %d of %d verifies as another", i, len(x))
				}
			}
		}
	}
	x := items(t, 1, statement.ListItems, objects...)
	salts := map[[16]byte]bool{}
	for _, other := range []statement.Items{x, items(t, 1, statement.ListInputs, objects...), items(t, 2, statement.ListItems, objects...)} {
		for _, leaf := range other {
			item, err := statement.ParseItem(leaf)
			if err != nil {
				t.Fatal(err)
			}
			salts[item.Salt] = true
		}
	}
	if len(salts) != 3*len(objects) {
		t.Errorf("%d salts of %d items in three lists", len(salts), len(objects))
	}
	if _, err := x.Path(len(x)); err == nil {
		t.Error("path of an item that is not there")
	}
	if got := (statement.Items)(nil).Root(); got.Size != 0 || got.Root != sha256.Sum256(nil) || got.Check() != nil {
		t.Errorf("root of no items: %+v", got)
	}
	if _, err := statement.NewItems([32]byte{1}, statement.ListItems, statement.Item{}); err == nil {
		t.Error("an item without a name was taken")
	}
}

// TestItemRefuses: a leaf has one form.
func TestItemRefuses(t *testing.T) {
	good := dcbor.MustMarshal(statement.Item{Object: "o", TID: []byte{1, 2, 3, 4}})
	if _, err := statement.ParseItem(good); err != nil {
		t.Fatal(err)
	}
	if len(good) != 1+17+2+34+5 {
		t.Errorf("leaf of %d bytes", len(good))
	}
	for name, leaf := range map[string][]byte{
		"nothing": nil, "cut": good[:len(good)-1], "trailing": append(bytes.Clone(good), 0),
		"five members":  append(append([]byte{0x85}, good[1:]...), 0),
		"two members":   append([]byte{0x82}, good[1:20]...),
		"null tid":      append(bytes.Clone(good[:len(good)-5]), 0xf6),
		"a short tid":   append(bytes.Clone(good[:len(good)-5]), 0x43, 1, 2, 3),
		"a short salt":  append([]byte{0x84, 0x4f}, good[3:]...),
		"a long length": append([]byte{0x84, 0x58, 0x10}, good[2:]...),
	} {
		if _, err := statement.ParseItem(leaf); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzParseItem: what decodes as an item encodes as the same bytes.
func FuzzParseItem(f *testing.F) {
	f.Add(dcbor.MustMarshal(statement.Item{Object: carton}))
	f.Add(dcbor.MustMarshal(statement.Item{Object: pallet, Prev: statement.Hash{1}, TID: make([]byte, 12)}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if x, err := statement.ParseItem(data); err == nil && !bytes.Equal(dcbor.MustMarshal(x), data) {
			t.Fatalf("%x encodes otherwise", data)
		}
	})
}
