package ingest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"trailmark/gateway/internal/store"
	"trailmark/internal/device"
	"trailmark/statement"
)

// TestResendGetsTheSameReceipt: a frame sent again, also to a gateway that was
// started anew, has the index that it had.
func TestResendGetsTheSameReceipt(t *testing.T) {
	w := newWorld(t)
	a, b := w.seal(), w.seal()
	first := w.give(a.Up, b.Up)
	for range 3 {
		again := w.give(b.Up, a.Up)
		for i, o := range again {
			if o.Err != nil || len(o.Receipts) != 1 || o.Receipts[0] != first[1-i].Receipts[0] {
				t.Fatalf("%+v, at first %+v", o, first[1-i])
			}
		}
		w.open()
	}
	if n := w.in.Counters.Snapshot()["accepted"]; n != 0 {
		t.Errorf("%d accepted anew", n)
	}
}

// TestHolesShow: what a device has not sent is known, with how much waits for it.
func TestHolesShow(t *testing.T) {
	w := newWorld(t)
	var ups [][]byte
	for range 8 {
		ups = append(ups, w.seal().Up)
	}
	holes := func() []store.Hole {
		t.Helper()
		hs, err := w.st.Holes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return hs
	}
	kid := w.dev.Key().ID()
	w.give(ups[2])
	if hs := holes(); len(hs) != 1 || hs[0] != (store.Hole{KeyID: kid, From: 0, To: 1, Waiting: 1}) {
		t.Errorf("%+v", hs)
	}
	w.give(ups[0], ups[1], ups[6], ups[7])
	if hs := holes(); len(hs) != 1 || hs[0] != (store.Hole{KeyID: kid, From: 3, To: 5, Waiting: 2}) {
		t.Errorf("%+v", hs)
	}
	w.give(ups[4], ups[3], ups[5])
	if hs := holes(); len(hs) != 0 {
		t.Errorf("%+v", hs)
	}
}

// TestForkWhileWaiting: the second of two statements for one number is evidence also
// where neither has had its turn.
func TestForkWhileWaiting(t *testing.T) {
	w := newWorld(t)
	first := w.seal()
	before := w.state
	a := w.seal()
	w.state = before
	b := w.seal(func(in *device.Input) { in.Readings[0].Values[0] = 5000 })
	if out := w.give(a.Up); out[0].Err != nil || out[0].ResendFrom == nil {
		t.Fatalf("%+v", out[0])
	}
	w.refuse(Fork, b.Up)
	if out := w.give(a.Up); out[0].Err != nil { // the same again is none
		t.Fatalf("%+v", out[0])
	}
	if forks, err := w.st.Forks(t.Context()); err != nil || len(forks) != 1 || forks[0].ID != b.Statement.ID() {
		t.Errorf("forks kept: %v (%v)", forks, err)
	}
	w.accept(first.Up)
	if h := w.heads()[0]; h.ID != a.Statement.ID() {
		t.Errorf("head is %s", h.ID)
	}
}

// TestLateFrames: what comes long after it was measured is taken as the next of its
// chain, is counted, and has the time at which it came in its row.
func TestLateFrames(t *testing.T) {
	w := newWorld(t)
	on := w.seal()
	measured := w.now
	arrival := measured + 1000
	w.in.now = func() time.Time { return time.UnixMilli(arrival) }
	w.accept(on.Up)
	a, b, c := w.seal(), w.seal(), w.seal()
	arrival = w.now + (3 * 24 * time.Hour).Milliseconds()
	w.give(c.Up) // out of order, besides
	w.accept(a.Up, b.Up)
	got := w.in.Counters.Snapshot()
	if got["late"] != 3 || got["accepted"] != 4 {
		t.Errorf("%v", got)
	}
	kid := w.dev.Key().ID()
	for seq, want := range map[uint64]int64{0: measured + 1000, 2: arrival} {
		row, err := w.st.Frame(t.Context(), kid, 0, seq)
		if err != nil || row.Received != want {
			t.Errorf("frame %d received at %d, want %d (%v)", seq, row.Received, want, err)
		}
	}
	// One that does not continue the chain is none of it, however late.
	w.refuse(WrongPrev, w.resign(w.seal().Up, w.dev, func(_ *statement.Header, f *statement.Frame, _ *[]statement.Body) { f.Prev[0] ^= 1 }))
}

// TestGapSwallowsATracesBeginning: the frame in which a trace began is lost, or the
// device's very first ones; what follows is taken as signed, and the next trace, which
// names the one that nobody saw, goes on. So it is after a restart.
func TestGapSwallowsATracesBeginning(t *testing.T) {
	for _, tt := range []struct {
		name string
		lose func(w *world) // gives and loses frames
		from uint64
	}{
		{"the first frames", func(w *world) { w.seal(); w.seal() }, 0},
		{"a new plan's first frame", func(w *world) {
			w.accept(w.seal().Up, w.seal().Up)
			w.replan()
			w.seal()
			w.seal()
		}, 2},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				w := newWorld(t)
				tt.lose(w)
				behind := w.seal() // of the trace that began in a lost frame
				to := w.state.Next - 2
				declaring := w.seal(func(in *device.Input) {
					in.Restart = true
					in.Happenings = []*statement.Happening{{Type: statement.Gap, At: w.now, Seqs: &[2]uint64{tt.from, to}, Words: "crc"}}
				})
				if out := w.give(behind.Up); out[0].ResendFrom == nil {
					t.Fatalf("%+v", out[0])
				}
				w.give(declaring.Up)
				if restart {
					w.open()
				}
				w.accept(declaring.Up)
				w.accept(w.seal().Up, w.seal().Up)
				if h := w.heads()[0]; h.Seq != w.state.Next-1 {
					t.Fatalf("head is seq %d, want %d; %v", h.Seq, w.state.Next-1, w.in.Counters.Snapshot())
				}
				traces, err := w.st.Traces(t.Context(), w.dev.Key().ID())
				if err != nil || len(traces) != 1 || traces[0].Broken || traces[0].Frontier.Size != 3 || traces[0].Start.PrevSize != 3 {
					t.Fatalf("%+v (%v)", traces, err)
				}
			})
		}
	}
}

// TestUnseenTraceNeedsAGap: without a declared loss nothing of this is taken.
func TestUnseenTraceNeedsAGap(t *testing.T) {
	w := newWorld(t)
	unseen := w.state
	w.seal()
	later := w.state
	w.state = unseen
	w.accept(w.seal(func(in *device.Input) { in.Readings = nil }).Up)
	// The next frame goes on with a trace that the gateway never saw begin.
	w.state.Channels = later.Channels
	w.refuse(BadTrace, w.seal().Up)
}

// TestTwoGatewaysOneStore: two gateways that work on one database do not store a
// number twice, whichever is first; the one that is behind stops.
func TestTwoGatewaysOneStore(t *testing.T) {
	w := newWorld(t)
	w.accept(w.seal().Up)
	other, err := store.Open(t.Context(), w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	twin, err := New(t.Context(), other, statement.NewKeyring(audience, w.authority.Key()), time.Now, w.in.log)
	if err != nil {
		t.Fatal(err)
	}
	kid := w.dev.Key().ID()
	next := w.seal()
	if out, err := twin.Handle(t.Context(), []Message{{KeyID: kid, Data: next.Up}}); err != nil || out[0].Err != nil {
		t.Fatal(err, out)
	}
	forked := w.state
	for range 20 {
		up := w.seal().Up
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i, in := range []*Ingest{w.in, twin} {
			wg.Go(func() {
				out, err := in.Handle(context.Background(), []Message{{KeyID: kid, Data: up}})
				if err == nil {
					err = out[0].Err
				}
				errs[i] = err
			})
		}
		wg.Wait()
		for _, err := range errs {
			if r := (*Refusal)(nil); err != nil && !errors.Is(err, store.ErrTwice) && !errors.As(err, &r) {
				t.Fatal(err)
			}
		}
	}
	rows, err := w.st.Statements(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	for i, row := range rows {
		if row.Index != uint64(i) {
			t.Fatalf("row %d is %d", i, row.Index)
		}
		if row.Kind == statement.KindFrame {
			if seen[row.Seq] {
				t.Fatalf("frame %d is stored twice", row.Seq)
			}
			seen[row.Seq] = true
		}
	}
	if uint64(len(seen)) < forked.Next {
		t.Errorf("%d frames", len(seen))
	}
}
