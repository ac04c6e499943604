package ingest

import (
	"testing"

	"trailmark/internal/device"
	"trailmark/statement"
	"trailmark/trace"
)

// heir is the identity of a key that goes on for the world's device.
func (w *world) heir(key *statement.Signer, change ...func(*statement.Identity)) *statement.Statement {
	w.t.Helper()
	was, ok := w.in.Identity(w.dev.Key().ID())
	if !ok {
		w.t.Fatal("no identity")
	}
	old := w.dev.Key().ID()
	id := statement.Identity{Version: 1, Key: statement.PublicKey{Key: key.Key()}, Subject: was.Subject, Role: statement.RoleDevice,
		From: 0, To: trace.MaxTime, Epoch: was.Epoch + 1, Replaces: &old}
	for _, c := range change {
		c(&id)
	}
	return w.sign(w.authority, statement.KindIdentity, "authority", &id)
}

func handsTo(key *statement.Signer) func(*device.Input) {
	return func(in *device.Input) { in.Successor = key.Key().ID() }
}

// become makes the world's device go on with another key, from its last frame.
func (w *world) become(key *statement.Signer, last device.Sealed) {
	w.t.Helper()
	data, err := last.Record()
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := device.ParseRecord(data)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.state, err = r.Opening(key.Key().ID()); err != nil {
		w.t.Fatal(err)
	}
	w.dev, w.sealer = key, &device.Sealer{Signer: key, Issuer: w.sealer.Issuer, Audience: audience}
	w.entry.Device = key.Key().ID()
	w.replan()
}

func (w *world) learn(s *statement.Statement) {
	w.t.Helper()
	if err := w.in.Add(w.t.Context(), s); err != nil {
		w.t.Fatal(err)
	}
}

// TestEpochs follows a device through three keys, with the gateway restarted
// between any two messages.
func TestEpochs(t *testing.T) {
	w := newWorld(t)
	seal := func(change ...func(*device.Input)) device.Sealed {
		s := w.seal(change...)
		w.open()
		w.accept(s.Up)
		return s
	}
	seal()
	quiet := func(in *device.Input) { in.Readings = nil }
	for i, key := range []*statement.Signer{signer(t, 4), signer(t, 5)} {
		old, before := w.dev, w.state
		change := []func(*device.Input){handsTo(key)}
		if i == 1 {
			change = append(change, quiet) // the channel was silent for this whole epoch
		}
		last := seal(change...)
		w.learn(w.heir(key))
		w.become(key, last)
		// The old key's frames are in the ledger for good, and there are no more of them.
		late, kept := w.state, w.dev
		w.state, w.dev, w.sealer.Signer = last.Next, old, old
		w.state.Successor = statement.Hash{}
		w.refuse(WrongEpoch, w.seal().Up)
		w.open()
		w.refuse(WrongEpoch, w.seal().Up)
		w.state = before
		w.refuse(Fork, w.seal().Up)
		if out := w.give(last.Up); out[0].Err != nil || len(out[0].Receipts) != 1 {
			t.Errorf("the last frame again: %+v", out[0])
		}
		w.state, w.dev, w.sealer.Signer = late, kept, kept
		if i == 0 {
			seal(quiet)
			continue
		}
		seal()
		seal()
	}
	traces, err := w.st.Traces(t.Context(), w.dev.Key().ID())
	if err != nil || len(traces) != 1 {
		t.Fatal(traces, err)
	}
	// It names the trace of the first epoch, whose two blocks were the last before it.
	if s := traces[0].Start; s.Epoch != 2 || s.PrevSize != 2 || traces[0].Frontier.Size != 2 {
		t.Errorf("trace of the last epoch has size %d, start %+v", traces[0].Frontier.Size, s)
	}
	if h, err := w.st.Heads(t.Context()); err != nil || len(h) != 3 {
		t.Errorf("heads %+v, %v", h, err)
	}
}

func TestEpochRefusals(t *testing.T) {
	next := signer(t, 4)
	for _, c := range []struct {
		name   string
		reason Reason
		id     func(*statement.Identity)
		last   func(*device.Input)
		first  func(w *world)
	}{
		{"replaces no key", WrongEpoch, func(id *statement.Identity) { id.Replaces = nil }, handsTo(next), nil},
		{"replaces a key that nobody knows", WrongEpoch, func(id *statement.Identity) { id.Replaces = &statement.Hash{7} }, handsTo(next), nil},
		{"an epoch is left out", WrongEpoch, func(id *statement.Identity) { id.Epoch = 2 }, handsTo(next), func(w *world) { w.state.Epoch = 2 }},
		{"another device's key", WrongEpoch, func(id *statement.Identity) { id.Subject = "urn:dev:os:32473-e" }, handsTo(next),
			func(w *world) { w.sealer.Issuer = "urn:dev:os:32473-e" }},
		{"the old key said nothing", WrongEpoch, nil, nil, nil},
		{"the old key named another", WrongEpoch, nil, handsTo(signer(t, 5)), nil},
		{"not from the last frame", WrongPrev, nil, handsTo(next), func(w *world) { w.state.Prev[0] ^= 1 }},
		{"from nowhere", WrongPrev, nil, handsTo(next), func(w *world) { w.state.Prev = statement.Hash{} }},
		{"the traces are dropped", BadTrace, nil, handsTo(next), func(w *world) { w.state.Channels = nil }},
		{"the old trace goes on", BadTrace, nil, handsTo(next), func(w *world) {
			w.state.Epoch = 0 // so that the sealer does not open a new one
			w.entry.Device = w.dev.Key().ID()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.accept(w.seal().Up)
			var change []func(*device.Input)
			if c.last != nil {
				change = append(change, c.last)
			}
			last := w.seal(change...)
			w.accept(last.Up)
			id := func(*statement.Identity) {}
			if c.id != nil {
				id = c.id
			}
			w.learn(w.heir(next, id))
			last.Next.Successor = next.Key().ID()
			w.become(next, last)
			if c.first != nil {
				c.first(w)
			}
			up := w.seal().Up
			if c.name == "the old trace goes on" {
				up = w.resign(up, next, func(h *statement.Header, _ *statement.Frame, _ *[]statement.Body) { h.Subject = "1" })
			}
			w.refuse(c.reason, up)
			w.open()
			w.refuse(c.reason, up)
		})
	}
}
