package station

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"trailmark/agent/internal/outbox"
	"trailmark/agent/internal/sensor"
	"trailmark/internal/device"
	"trailmark/statement"
)

// settle gives receipts for everything that was sent, until nothing more comes.
func (r *rig) settle() (sent [][]byte) {
	r.t.Helper()
	for {
		synctest.Wait()
		ups := r.up.take()
		if len(ups) == 0 {
			return sent
		}
		r.ledger.add(ups...)
		r.tell(r.ledger.receipts(r.state().Checked.Size, ups...))
		sent = append(sent, ups...)
	}
}

// end waits for Run to end by itself.
func (r *rig) end(want error) {
	r.t.Helper()
	synctest.Wait()
	if err := r.stop(); !errors.Is(err, want) {
		r.t.Fatalf("run ended with %v, want %v", err, want)
	}
}

// turn takes the place of what a device does between two epochs: a fake authority
// has vouched for the key, and the enrolment says so.
func (r *rig) turn(key *statement.Signer, before *Station) {
	r.t.Helper()
	old, err := outbox.Open(r.dir, r.opt)
	if err != nil {
		r.t.Fatal(err)
	}
	defer old.Close()
	if r.opening, err = Opening(old, key.Key().ID()); err != nil {
		r.t.Fatal(err)
	}
	r.before = before
	r.dir = filepath.Join(r.dir, "next")
	r.sealer = &device.Sealer{Signer: key, Issuer: r.sealer.Issuer, Audience: audience}
	r.c.Key, r.c.Epoch = key.Key().ID(), r.c.Epoch+1
}

// seam checks that two epochs hold together, and returns both decoded.
func (r *rig) seam(first, second [][]byte, old, next *statement.Signer) (a, b []*statement.Delivery) {
	r.t.Helper()
	r.sealer = &device.Sealer{Signer: old}
	a = r.chain(first)
	last := a[len(a)-1]
	hs := happenings(a, statement.KeyRotation)
	if len(hs) != 1 || statement.Hash(hs[0].Raw) != next.Key().ID() || last.Contents[len(last.Contents)-1] != hs[0] {
		r.t.Fatalf("hand-over %+v", hs)
	}
	prev := last.Statement.ID()
	for i, up := range second {
		d, err := statement.ParseUp(up)
		if err != nil {
			r.t.Fatal(err)
		}
		if err := d.Statement.Verify(next.Key(), audience); err != nil {
			r.t.Fatal(err)
		}
		if d.Statement.Header.Subject != "1" || d.Frame.Seq != uint64(i) || d.Frame.Prev != prev {
			r.t.Fatalf("frame %d of epoch %s after %.8s…, want frame %d after %.8s…", d.Frame.Seq, d.Statement.Header.Subject, d.Frame.Prev, i, prev)
		}
		prev = d.Statement.ID()
		b = append(b, d)
	}
	var end *statement.HeadRecord
	for _, h := range all[*statement.HeadRecord](a) {
		end = h
	}
	if h := all[*statement.HeadRecord](b)[0]; h.Start == nil || h.Start.Epoch != 1 || h.Start.PrevStart != end.Head.Start || h.Start.PrevSize != end.Head.Size || h.Start.PrevRoot != end.Head.Root {
		r.t.Errorf("first trace of the epoch %+v does not name the last before it", h.Start)
	}
	return a, b
}

func (r *rig) handOver(key *statement.Signer) error {
	return r.st.HandOver(context.Background(), key.Key().ID())
}

// A device goes on with another key and leaves nothing out.
func TestHandOver(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		old, next := r.sealer.Signer, signer(t)
		r.start()
		after(time.Minute + time.Second)
		if err := r.handOver(next); !errors.Is(err, ErrNotNow) {
			t.Fatalf("handing over offline: %v", err)
		}
		r.connect()
		if err := r.handOver(next); !errors.Is(err, ErrNotNow) {
			t.Fatalf("handing over with frames on their way: %v", err)
		}
		first := r.settle()
		for _, key := range []*statement.Signer{old, nil} {
			id := statement.Hash{}
			if key != nil {
				id = key.Key().ID()
			}
			if err := r.st.HandOver(t.Context(), id); err == nil || errors.Is(err, ErrNotNow) {
				t.Errorf("handing over to ourselves or to nobody: %v", err)
			}
		}
		for range 2 { // it may be said again
			if err := r.handOver(next); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if err := r.handOver(signer(t)); err == nil {
			t.Error("handed over twice")
		}
		n := len(r.kept())
		after(3 * time.Minute) // the receipt takes its time
		if len(r.kept()) != n {
			t.Fatal("the old key signed after the hand-over")
		}
		more := r.settle()
		first = append(first, more...)
		r.end(ErrHandedOver)

		r.turn(next, r.st)
		r.start()
		r.connect()
		after(2 * time.Minute)
		r.settle()
		r.halt()
		second := r.card()
		a, b := r.seam(first, second, old, next)
		readings := 0
		for _, d := range [][]*statement.Delivery{a, b} {
			for _, v := range all[*statement.Block](d) {
				readings += len(v.Values)
			}
		}
		// Every ten seconds for 61 s, 3 min and 2 min, and one more at the start of each station.
		if readings < 36 || readings > 39 {
			t.Errorf("%d readings in all", readings)
		}
		if boots := happenings(b, statement.Boot); len(boots) != 0 {
			t.Errorf("it did not boot: %+v", boots)
		}
	})
}

// A hand-over begins only when the ledger keeps up: what is observed until its
// receipt is in memory alone.
func TestHandOverWaitsForTheLedger(t *testing.T) {
	for _, x := range []struct {
		name   string
		online bool
		frames uint64        // without a receipt
		heard  time.Duration // since the last receipt
		want   bool
	}{
		{"some on their way", true, 3, time.Second, true},
		{"many on their way", true, Behind + 1, time.Second, false},
		{"no receipt lately", true, 3, recently, false},
		{"nothing to wait for", true, 0, time.Hour, true},
		{"offline", false, 0, time.Second, false},
	} {
		s := &Station{window: window{low: 40, online: x.online, heard: time.Now().Add(-x.heard)}}
		s.st.Next = 40 + x.frames
		if s.keptUp() != x.want {
			t.Errorf("%s: %v", x.name, !x.want)
		}
	}
}

// Run goes on observing until the next epoch can begin, whenever the receipt comes.
func TestHandedOverWaitsUntilReady(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		old, next := r.sealer.Signer, signer(t)
		var ready atomic.Bool
		r.ready = ready.Load
		r.start()
		r.connect()
		after(time.Minute + time.Second)
		first := r.settle()
		if r.said().HandedOver {
			t.Error("handed over before it was asked")
		}
		if err := r.handOver(next); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		first = append(first, r.settle()...)
		after(10 * time.Minute)
		if !r.said().HandedOver {
			t.Error("not handed over")
		}
		ready.Store(true)
		after(time.Second)
		r.end(ErrHandedOver)
		r.turn(next, r.st)
		r.start()
		after(2 * time.Second) // offline: it does not wait for its turn
		r.halt()
		_, b := r.seam(first, r.card(), old, next)
		if n := len(all[*statement.Block](b[:1])[0].Values); n < 60 {
			t.Errorf("%d readings in the first frame, want those of 10 min", n)
		}
	})
}

// A device that is stopped between two epochs waits a moment for the receipt, so
// that what it observed is signed by the next.
func TestStoppedBetweenEpochs(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		old, next := r.sealer.Signer, signer(t)
		r.start()
		r.connect()
		after(time.Minute + time.Second)
		first := r.settle()
		if err := r.handOver(next); err != nil {
			t.Fatal(err)
		}
		after(20 * time.Second)
		from, sent := r.state().Checked.Size, r.up.take()
		ended := make(chan error, 1)
		go func() { ended <- r.stop() }()
		synctest.Wait()
		r.ledger.add(sent...)
		r.tell(r.ledger.receipts(from, sent...))
		if err := <-ended; !errors.Is(err, ErrHandedOver) {
			t.Fatalf("stopped with %v", err)
		}
		r.turn(next, r.st)
		r.start()
		r.halt()
		_, b := r.seam(append(first, sent...), r.card(), old, next)
		if n := len(all[*statement.Block](b)[0].Values); n < 2 {
			t.Errorf("%d readings in the next epoch, want those of 20 s", n)
		}
	})
}

// The power goes at every step of a hand-over.
func TestHandOverAfterCrash(t *testing.T) {
	for _, step := range []string{"asked", "signed", "receipted", "turned", "opened"} {
		t.Run(step, func(t *testing.T) {
			bench(t, func(t *testing.T, r *rig) {
				old, next := r.sealer.Signer, signer(t)
				r.start()
				r.connect()
				after(time.Minute + time.Second)
				r.settle()
				crash := func(at string) {
					t.Helper()
					if step != at {
						return
					}
					copied := t.TempDir()
					if err := os.CopyFS(copied, os.DirFS(r.dir)); err != nil {
						t.Fatal(err)
					}
					if err := r.stop(); err != nil && !errors.Is(err, ErrHandedOver) {
						t.Fatal(err)
					}
					r.dir, r.before = copied, nil
					r.up.take()
					r.start()
					r.connect()
				}
				crash("asked")
				r.settle()
				if err := r.handOver(next); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				n := r.box.Next()
				if crash("signed"); step == "signed" {
					if err := r.handOver(next); err != nil { // whoever does not know repeats it
						t.Fatal(err)
					}
					after(2 * time.Minute)
				}
				if r.box.Next() != n {
					t.Fatalf("the old key signed %d frames, then %d", n, r.box.Next())
				}
				sent := r.up.take()
				r.ledger.add(sent...)
				if step == "receipted" { // the ledger has it, and the device does not know
					crash("receipted")
					sent = r.up.take()
				}
				r.tell(r.ledger.receipts(r.state().Checked.Size, sent...))
				r.end(ErrHandedOver)
				first := r.card()

				r.turn(next, nil)
				r.start()
				if step == "turned" {
					// Before the first frame: the outbox is there and empty.
					if r.box.Next() != 0 {
						t.Fatal("a frame already")
					}
				}
				crash("turned")
				r.connect()
				after(time.Minute + time.Second)
				r.settle()
				crash("opened")
				after(time.Minute + time.Second)
				r.halt()
				r.seam(first, r.card(), old, next)
			})
		})
	}
}

// An epoch that cannot be begun where the last one ended is not begun.
func TestEpochNeedsItsOpening(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.c.Epoch = 1
		if err := r.open(); err == nil || !strings.Contains(err.Error(), "hint: ") {
			t.Errorf("begun from nothing: %v", err)
		}
		st := device.NewState(2, statement.Hash{1})
		r.opening = &st
		if err := r.open(); err == nil {
			t.Error("begun from another epoch")
		}
		r.c.Epoch, r.opening = 0, nil
		r.start()
		after(time.Minute)
		r.halt()
		box, err := outbox.Open(r.dir, r.opt)
		if err != nil {
			t.Fatal(err)
		}
		defer box.Close()
		if _, err := Opening(box, signer(t).Key().ID()); err == nil {
			t.Error("opened an epoch that nobody handed over")
		}
	})
}

// An alarm is the same alarm in the next epoch.
func TestAlarmGoesOnInTheNextEpoch(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		next := signer(t)
		var d dial
		d.set(sensor.Sample{Milli: 8500})
		r.probes = []sensor.Probe{d.probe("28-1/temp")}
		r.plans = []*device.Plan{r.opened(r.planDown(0, 60_000, tooCold, tooWarm))}
		r.start()
		r.connect()
		after(time.Second)
		r.settle()
		if err := r.handOver(next); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		after(time.Minute)
		r.settle()
		r.end(ErrHandedOver)
		r.turn(next, r.st)
		r.plans = append(r.plans, r.opened(r.planDown(1, 60_000, tooCold, tooWarm))) // with the new key's entries
		r.start()
		after(time.Minute)
		if r.said().Beyond != 1 {
			t.Error("the alarm is over")
		}
		d.set(sensor.Sample{Milli: 4000})
		after(3 * time.Minute)
		r.halt()
		var got []string
		for _, up := range r.card() {
			del, err := statement.ParseUp(up)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, alarms(t, []*statement.Delivery{del})...)
		}
		if len(got) != 1 || !strings.HasPrefix(got[0], "end 1 8500 after ") || !strings.HasSuffix(got[0], "for 1") {
			t.Errorf("alarms of the new epoch: %q", got)
		}
	})
}
