package station

import (
	"crypto/sha256"
	"testing"
	"time"

	"trailmark/internal/device"
	"trailmark/statement"
)

// TestSuccessor: a later half-year's ledger under the same key takes the place of
// the one that the device was enrolled with; none of an earlier one, of another
// line or under another key does.
func TestSuccessor(t *testing.T) {
	first, err := statement.ParseOrigin(origin)
	if err != nil {
		t.Fatal(err)
	}
	bench(t, func(t *testing.T, r *rig) {
		r.c.Stall = 1000 * time.Hour
		sent := r.signed(4)
		r.ledger.add(sent[:2]...)
		r.tell(r.ledger.receipts(0, sent[:2]...))
		before := r.state().Checked
		for _, c := range []struct {
			name string
			l    *testLedger
		}{
			{"another line", r.ledger.named("elsewhere.example/demo/2031h1")},
			{"not a half-year", r.ledger.named(first.Line + "/2031h3")},
			{"another key", newLedger(t).named(first.Next().String())},
		} {
			c.l.add(sent[2])
			r.tell(c.l.receipts(0, sent[2]))
			if got := r.state(); got.Checked != before || got.Receipted != 2 {
				t.Errorf("%s: receipted %d, %+v", c.name, got.Receipted, got.Checked)
			}
		}
		next := r.ledger.named(first.Next().String())
		next.add(sent[3])
		r.tell(next.receipts(0, sent[3]))
		now := r.state()
		if want := (device.Checkpoint{Origin: sha256.Sum256([]byte(next.origin)), Size: 1, Root: statement.Hash(next.tree.Hash())}); now.Checked != want {
			t.Fatalf("verified %+v, want %+v", now.Checked, want)
		}
		// The frame that the ledger before holds gets its receipt from there, and the
		// device does not go back for it.
		r.ledger.add(sent[2])
		r.tell(r.ledger.receipts(before.Size, sent[2]))
		if got := r.state(); got.Checked != now.Checked || got.Receipted != 4 || got.Alarm {
			t.Fatalf("receipted %d, %+v", got.Receipted, got.Checked)
		}
		// What is signed from now on names the new ledger, and is of no earlier one.
		after(r.c.SealEvery)
		more := r.up.take()
		if len(more) != 1 {
			t.Fatalf("%d frames", len(more))
		}
		d, err := statement.ParseUp(more[0])
		if err != nil || d.Frame.After == nil || d.Frame.After.Origin != now.Checked.Origin {
			t.Fatalf("after %+v (%v)", d.Frame.After, err)
		}
		size := r.ledger.tree.Size()
		r.ledger.add(more[0])
		r.tell(r.ledger.receipts(size, more[0]))
		if got := r.state(); got.Receipted != 4 || got.Checked != now.Checked {
			t.Errorf("a frame of the new ledger's time is receipted by the old: %d", got.Receipted)
		}
		after(r.c.Every)
		r.halt()
		// After a restart the place is known, and a ledger later still follows.
		r.start()
		r.connect()
		third := r.ledger.named(first.Next().Next().Next().String())
		third.add(more[0])
		r.tell(third.receipts(0, more[0]))
		if got := r.state(); got.Checked.Origin != sha256.Sum256([]byte(third.origin)) || got.Receipted != 5 {
			t.Errorf("receipted %d, %+v", got.Receipted, got.Checked)
		}
		second := r.ledger.named(first.Next().Next().String())
		second.add(more[0])
		r.tell(second.receipts(0))
		if got := r.state(); got.Checked.Origin != sha256.Sum256([]byte(third.origin)) {
			t.Errorf("went back: %+v", got.Checked)
		}
		r.halt()
	})
}

// TestEarlierLedgerMustExtend: receipts of a ledger before the present one count
// only under a checkpoint that extends what the frame itself names.
func TestEarlierLedgerMustExtend(t *testing.T) {
	first, err := statement.ParseOrigin(origin)
	if err != nil {
		t.Fatal(err)
	}
	bench(t, func(t *testing.T, r *rig) {
		r.c.Stall = 1000 * time.Hour
		sent := r.signed(3)
		r.ledger.add(sent...)
		r.tell(r.ledger.receipts(0, sent...))
		size := r.ledger.tree.Size()
		after(r.c.SealEvery)
		frame := r.up.take()[0] // names the checkpoint of all three
		next := r.ledger.named(first.Next().String())
		next.tree.AppendData([]byte("somebody else's"))
		r.tell(next.receipts(0))
		if got := r.state(); got.Receipted != 3 || got.Checked.Size != 1 {
			t.Fatalf("receipted %d, %+v", got.Receipted, got.Checked)
		}
		// A second history of the old ledger that has the frame, and not what was there.
		fork := r.ledger.named(origin)
		for range size {
			fork.tree.AppendData([]byte("another history"))
		}
		fork.add(frame)
		r.tell(fork.receipts(size, frame))
		r.tell(fork.receipts(0, frame))
		if got := r.state().Receipted; got != 3 {
			t.Fatalf("a fork of the old ledger gave receipt %d", got)
		}
		r.ledger.add(frame)
		r.tell(r.ledger.receipts(0, frame)) // no proof from what the frame names
		if got := r.state().Receipted; got != 3 {
			t.Fatalf("receipt %d without a proof", got)
		}
		r.tell(r.ledger.receipts(size, frame))
		if got := r.state(); got.Receipted != 4 || got.Checked.Size != 1 {
			t.Errorf("receipted %d, %+v", got.Receipted, got.Checked)
		}
		r.halt()
	})
}
