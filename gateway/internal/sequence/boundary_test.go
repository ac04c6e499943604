package sequence

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"trailmark/gateway/internal/shard"
	"trailmark/internal/dcbor"
	"trailmark/statement"
)

const nextOrigin = "trailmark.example/demo/2027h1"

// listening is a device that takes receipts as devices do: it follows one ledger from
// checkpoint to checkpoint, goes on in a later one from nothing, and holds an earlier
// one against what its own frame names.
type listening struct {
	t       *testing.T
	key     statement.Key
	origin  string // of the ledger it is in
	last    statement.Checkpoint
	entries map[statement.Hash]statement.Hash // ledger entries by statement id
	after   map[statement.Hash]*statement.After
	done    map[statement.Hash]string // origin of the receipt
	ended   map[string]uint64         // sizes verified, by origin
}

func (d *listening) take(msg []byte) {
	d.t.Helper()
	v, err := statement.ParseDown(msg)
	if err != nil {
		d.t.Fatal(err)
	}
	r, ok := v.(*statement.Receipts)
	if !ok {
		return
	}
	origin := statement.NoteOrigin(r.Checkpoint)
	cp, err := statement.OpenCheckpoint(r.Checkpoint, origin, d.key)
	if err != nil {
		d.t.Fatal(err)
	}
	earlier := statement.Successor(origin, d.origin)
	if statement.Successor(d.origin, origin) {
		d.origin, d.last = origin, statement.Checkpoint{}
	}
	if !earlier {
		if !extends(r, d.last, cp) {
			d.t.Fatalf("%s: no proof from size %d to %d", origin, d.last.Size, cp.Size)
		}
		d.last = cp
	}
	d.ended[origin] = max(d.ended[origin], cp.Size)
	for _, in := range r.Included {
		if a := d.after[in.ID]; earlier && a != nil && a.Origin == sha256.Sum256([]byte(origin)) {
			if !extends(r, statement.Checkpoint{Size: a.Size, Root: a.Root}, cp) {
				d.t.Fatalf("%s: no proof from the size %d that frame %d names", origin, a.Size, in.Seq)
			}
		}
		entry := d.entries[in.ID]
		if err := statement.VerifyInclusion(entry[:], in.Index, cp.Size, cp.Root, in.Path); err != nil {
			d.t.Fatalf("%s: frame %d: %v", origin, in.Seq, err)
		}
		if was := d.done[in.ID]; was != "" && was != origin {
			d.t.Errorf("frame %d has receipts of %s and %s", in.Seq, was, origin)
		}
		d.done[in.ID] = origin
	}
}

func extends(r *statement.Receipts, last, cp statement.Checkpoint) bool {
	for _, c := range r.Consistency {
		if c.OldSize == last.Size && (c.OldSize == cp.Size && last.Root == cp.Root || statement.VerifyConsistency(last.Size, cp.Size, last.Root, cp.Root, c.Path) == nil) {
			return true
		}
	}
	return false
}

// TestReceiptsOverABoundary: the half-year ends while frames come. Each gets its
// receipt of the ledger that has it, also when it is asked for again in the new one's
// time and after a restart, and a device that was away learns how the old one ended
// before it hears of the new.
func TestReceiptsOverABoundary(t *testing.T) {
	r := newRig(t)
	now := time.Date(2026, 12, 31, 23, 59, 0, 0, time.UTC)
	clock := make(chan time.Time, 1)
	clock <- now
	r.now = func() time.Time { n := <-clock; clock <- n; return n }
	set := func(n time.Time) { <-clock; clock <- n }
	logKey, err := statement.NewKey(r.key.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	dev := &listening{t: t, key: logKey, origin: origin, entries: map[statement.Hash]statement.Hash{}, after: map[statement.Hash]*statement.After{},
		done: map[statement.Hash]string{}, ended: map[string]uint64{}}
	kid := r.signer.Key().ID()
	run := func() (*Sequencer, func()) {
		s, err := r.sequencer()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- s.Run(ctx) }()
		return s, func() {
			cancel()
			if err := <-ran; err != nil {
				t.Error(err)
			}
		}
	}
	heard := 0
	// give stores frames, and takes what is sent until all of them have receipts.
	give := func(s *Sequencer, first uint64, n int, after *statement.After) {
		t.Helper()
		var ids []statement.Hash
		for i := range uint64(n) {
			row, err := r.store.Statement(t.Context(), first+i)
			if err != nil {
				t.Fatal(err)
			}
			dev.entries[row.ID], dev.after[row.ID] = row.Entry(), after
			delete(dev.done, row.ID)
			ids = append(ids, row.ID)
			s.Owe(kid, row.Index)
		}
		for _, id := range ids {
			for dev.done[id] == "" {
				select {
				case <-r.got:
				case <-time.After(10 * time.Second):
					t.Fatal("a receipt never came")
				}
				r.mu.Lock()
				msg := r.sent[heard]
				r.mu.Unlock()
				heard++
				dev.take(msg)
			}
		}
	}
	named := func() *statement.After {
		return &statement.After{Origin: sha256.Sum256([]byte(dev.origin)), Size: dev.last.Size, Root: dev.last.Root}
	}
	s, stop := run()
	give(s, r.add(5), 5, nil)
	a1 := named()
	old := r.addAfter(3, a1)
	give(s, old, 3, a1)
	if dev.origin != origin {
		t.Fatalf("in %s", dev.origin)
	}
	set(now.Add(2 * time.Minute))
	select {
	case <-s.Rolled():
	case <-time.After(10 * time.Second):
		t.Fatal("no new ledger")
	}
	// The device still names the old ledger.
	a2 := named()
	next := r.addAfter(4, a2)
	give(s, next, 4, a2)
	if dev.origin != nextOrigin || dev.last.Size != 4 || dev.ended[origin] != 8 {
		t.Fatalf("in %s at %d, the old one was verified to %d of 8", dev.origin, dev.last.Size, dev.ended[origin])
	}
	give(s, old, 3, a1) // again, in the new one's time
	if dev.origin != nextOrigin {
		t.Fatal("went back")
	}
	a3 := named()
	give(s, r.addAfter(2, a3), 2, a3)
	stop()
	s, stop = run()
	give(s, old, 3, a1) // a gateway that remembers nothing of what it told
	give(s, next, 4, a2)
	// An anchor of either ledger is told under the checkpoint that has it.
	for _, b := range r.shelf.Books() {
		note, size, err := b.Await(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		cp, err := statement.OpenCheckpoint(note, b.Origin(), logKey)
		if err != nil {
			t.Fatal(err)
		}
		s.Anchored(b.Origin(), note, size, dcbor.MustMarshal(statement.Final{Type: statement.DownFinal, After: statement.After{
			Origin: sha256.Sum256([]byte(b.Origin())), Size: size, Root: cp.Root, ChainID: "chain", Height: 1, BlockHash: statement.Hash{1}}}))
		if b.End != shard.Open && size != b.End-b.First {
			t.Errorf("%s is signed to %d of %d", b.Origin(), size, b.End-b.First)
		}
	}
	give(s, r.addAfter(1, a3), 1, a3)
	stop()
	for id, o := range dev.done {
		if o != origin && o != nextOrigin {
			t.Errorf("%s has a receipt of %q", id, o)
		}
	}
}
