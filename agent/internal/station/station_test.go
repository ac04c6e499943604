package station

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"trailmark/agent/internal/clock"
	"trailmark/agent/internal/outbox"
	"trailmark/agent/internal/rfid"
	"trailmark/agent/internal/sensor"
	"trailmark/statement"
	"trailmark/trace"
)

// bench runs a test of a device in fake time.
func bench(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newRig(t)) })
}

func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestFramesOnTime(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.probes = append(r.probes, steady("28-2/temp", -18_500))
		r.start()
		after(3*time.Minute + 11*time.Second)
		ds := r.chain(r.kept())
		if len(ds) != 3 {
			t.Fatalf("%d frames after three minutes", len(ds))
		}
		r.halt()
		r.start()
		after(time.Minute + 11*time.Second)
		r.halt()
		ds = r.chain(r.card())
		if len(ds) != 6 { // one sealed at the stop, one after the restart, one at its stop
			t.Fatalf("%d frames", len(ds))
		}
		n := 0
		for _, b := range all[*statement.Block](ds) {
			n += len(b.Values)
			for _, v := range b.Values {
				if v != 4000 && v != -18_500 {
					t.Fatalf("value %d", v)
				}
			}
		}
		if n < 2*(18+6) || n > 2*(21+9) {
			t.Errorf("%d readings", n)
		}
		if boots := happenings(ds, statement.Boot); len(boots) != 2 || boots[0].Words != "device booted" || boots[1].Words != "agent started" {
			t.Errorf("boots %+v", boots)
		}
		if starts(ds) != 2 {
			t.Errorf("%d traces, want one per probe", starts(ds))
		}
	})
}

func TestQuietDeviceSpeaksHourly(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.probes = nil
		r.start()
		after(2*time.Hour + 5*time.Minute)
		if n := len(r.chain(r.kept())); n != 3 { // the boot, then two empty ones
			t.Errorf("%d frames in two hours", n)
		}
		r.halt()
		if n := len(r.card()); n != 3 {
			t.Errorf("%d frames after stopping with nothing to say", n)
		}
	})
}

// A device that dies between keeping a frame and sending it sends the same
// bytes later and never signs their number again.
func TestSameBytesAfterRestart(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.up.broken = true
		r.start()
		r.connect()
		after(5 * time.Minute)
		signed := r.kept()
		// The power goes: what is on the card now is all that is left.
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(r.dir)); err != nil {
			t.Fatal(err)
		}
		r.halt()
		if len(r.up.take()) != 0 || len(signed) != 4 && len(signed) != 5 {
			t.Fatalf("%d frames kept", len(signed))
		}
		r.dir, r.up.broken = copied, false
		r.start()
		r.connect()
		sent := r.up.take()
		if len(sent) != len(signed) {
			t.Fatalf("%d frames sent of %d", len(sent), len(signed))
		}
		for i := range sent {
			if !bytes.Equal(sent[i], signed[i]) {
				t.Errorf("frame %d was signed again", i)
			}
		}
		after(time.Minute)
		r.chain(append(sent, r.up.take()...))
		r.halt()
	})
}

// A frame is on the card before it is on the wire.
func TestKeptBeforeSent(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.start()
		r.connect()
		after(10 * time.Minute)
		sent := r.up.take()
		kept := r.kept()
		if len(sent) == 0 || len(sent) > len(kept) {
			t.Fatalf("%d sent, %d kept", len(sent), len(kept))
		}
		for i := range sent {
			if !bytes.Equal(sent[i], kept[i]) {
				t.Errorf("frame %d differs from what is kept", i)
			}
		}
		r.halt()
	})
}

func TestFaultIsNoReading(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		var fault atomic.Uint32
		raw := []byte{0, 0, 0, 0, 0, 0, 0, 0, 0}
		r.probes = []sensor.Probe{&testProbe{"28-1/temp", func(context.Context) sensor.Sample {
			f := sensor.Fault(fault.Load())
			// A driver that sets a value with a fault must not get it signed either.
			return sensor.Sample{Channel: "28-1/temp", Milli: 1234, Raw: raw, Fault: f}
		}}}
		r.start()
		after(65 * time.Second)
		fault.Store(uint32(sensor.FaultAllZero))
		after(time.Minute)
		fault.Store(uint32(sensor.FaultGone))
		after(time.Minute)
		fault.Store(0)
		after(time.Minute)
		r.halt()
		ds := r.chain(r.card())
		readings := 0
		for _, b := range all[*statement.Block](ds) {
			readings += len(b.Values)
		}
		faults := map[uint64]uint64{}
		for _, h := range happenings(ds, statement.Fault) {
			faults[*h.Code] += h.Count
			if h.Subject != "28-1/temp" || *h.Until < h.At || !bytes.Equal(h.Raw, raw) {
				t.Errorf("fault %+v", h)
			}
		}
		if faults[2] != 6 || faults[1] != 6 || len(faults) != 2 {
			t.Errorf("faults by code: %v, want 6 of code 1 and 6 of code 2", faults)
		}
		if total := readings + 12; total != 25 {
			t.Errorf("%d readings and 12 faults of 25 samples", readings)
		}
		lost, back := happenings(ds, statement.Lost), happenings(ds, statement.Back)
		if len(lost) != 1 || len(back) != 1 || lost[0].Subject != "28-1/temp" || lost[0].Words != "gone" {
			t.Errorf("lost %+v, back %+v", lost, back)
		}
	})
}

// A probe that hangs keeps nobody waiting.
func TestSlowProbe(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.probes = append(r.probes, &testProbe{"28-2/temp", func(ctx context.Context) sensor.Sample {
			<-ctx.Done()
			return sensor.Sample{Fault: sensor.FaultGone}
		}})
		r.start()
		after(time.Minute + time.Second)
		bs := all[*statement.Block](r.chain(r.kept()))
		if len(bs) != 1 || bs[0].Channel != "28-1/temp" || len(bs[0].Values) < 6 {
			t.Errorf("blocks %+v", bs)
		}
		r.halt()
		ds := r.chain(r.card())
		lost, faults := happenings(ds, statement.Lost), happenings(ds, statement.Fault)
		if len(lost) != 1 || lost[0].Subject != "28-2/temp" || len(faults) != 1 || faults[0].Count != 1 {
			t.Errorf("hung for a minute, then stopped: told as %+v, %+v", lost, faults)
		}
	})
}

func TestClockStepOpensTrace(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		bench(t, func(t *testing.T, r *rig) {
			r.start()
			after(95 * time.Second)
			r.clock.set(func(c *testClock) { c.step = by })
			after(2 * time.Minute)
			r.halt()
			ds := r.chain(r.card())
			if n := starts(ds); n != 2 {
				t.Errorf("step by %v: %d traces", by, n)
			}
			steps := happenings(ds, statement.ClockStep)
			if len(steps) != 1 || !strings.HasPrefix(steps[0].Words, "by "+map[bool]string{true: "+", false: "-"}[by > 0]+"3600.0") {
				t.Errorf("step by %v: %+v", by, steps)
			}
		})
	}
}

// A reboot with a clock that lags behind what was signed already.
func TestBootWithOldClock(t *testing.T) {
	for _, c := range []struct {
		name  string
		q     clock.Quality
		step  time.Duration
		fresh bool
	}{
		{"trusted and right", clock.RTC, 0, false},
		{"restored", clock.Restored, 0, true},
		{"trusted, but behind", clock.RTC, -time.Hour, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bench(t, func(t *testing.T, r *rig) {
				r.start()
				after(2 * time.Minute)
				r.halt()
				after(time.Second)
				r.clock.reboot(c.q, c.step)
				r.start()
				after(2 * time.Minute)
				r.halt()
				ds := r.chain(r.card())
				if got := starts(ds) == 2; got != c.fresh {
					t.Errorf("%d traces", starts(ds))
				}
				if boots := happenings(ds, statement.Boot); len(boots) != 2 || boots[1].Words != "device booted" {
					t.Errorf("boots %+v", boots)
				}
			})
		})
	}
}

func TestUnsetClockHasNoWall(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.clock.q = clock.Unset
		reads := make(chan rfid.Read)
		r.readers = []Reader{{"llrp0", func(func(bool, string)) (rfid.Reader, error) { return &testReader{reads: reads}, nil }}}
		r.start()
		reads <- rfid.Read{EPC: []byte("epc0"), Antenna: 1, First: time.Now(), Last: time.Now(), Count: 1}
		after(2*time.Minute + time.Second)
		for _, d := range r.chain(r.kept()) {
			f := d.Frame
			if f.Clock.Wall != 0 || f.Clock.Quality != statement.ClockUnset || f.Span[1] != f.Clock.Boottime/1e6 || f.Span[1] > 2*3600_000 {
				t.Errorf("frame %d: clock %+v, span %v", f.Seq, f.Clock, f.Span)
			}
		}
		boot := len(r.kept())
		r.clock.set(func(c *testClock) { c.q = clock.Synchronised })
		after(time.Minute)
		r.halt()
		ds := r.chain(r.card())
		var bases []uint8
		for _, h := range all[*statement.HeadRecord](ds) {
			if h.Start != nil {
				bases = append(bases, h.Start.Basis)
			}
		}
		if len(bases) != 2 || bases[0] != trace.Boot || bases[1] != trace.Wall {
			t.Errorf("time bases %v", bases)
		}
		for _, d := range ds[boot:] {
			if d.Frame.Clock.Wall == 0 || d.Frame.Span[0] < 1e12 {
				t.Errorf("frame %d: %+v spans %v", d.Frame.Seq, d.Frame.Clock, d.Frame.Span)
			}
		}
	})
}

func TestSightings(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		reads := make(chan rfid.Read)
		var status func(bool, string)
		r.probes = nil
		r.c.Dwell = 5 * time.Second
		r.readers = []Reader{{"llrp0", func(s func(bool, string)) (rfid.Reader, error) {
			status = s
			return &testReader{reads: reads}, nil
		}}}
		r.start()
		after(time.Second)
		status(true, "found")
		see := func(epc string, antenna uint16, rssi int) {
			reads <- rfid.Read{EPC: []byte(epc), Antenna: antenna, RSSI: rssi, First: time.Now().Add(-time.Second), Last: time.Now(), Count: 2}
		}
		for range 10 { // seen all along for 36 s
			see("epc-A", 1, -60)
			see("epc-A", 2, -70)
			after(4 * time.Second)
		}
		after(10 * time.Second) // left
		see("epc-A", 1, -50)    // and came back
		see("xy", 1, -50)       // no EPC
		status(false, "unplugged")
		after(10 * time.Second)
		status(true, "there again")
		r.halt()
		ds := r.chain(r.card())
		ss := all[*statement.Sighting](ds)
		if len(ss) != 3 {
			t.Fatalf("%d sightings", len(ss))
		}
		one, two, again := ss[0], ss[1], ss[2]
		if one.Antenna != "llrp0/1" || two.Antenna != "llrp0/2" || again.Antenna != "llrp0/1" || string(one.EPC) != "epc-A" {
			t.Errorf("order %s %s %s", one.Antenna, two.Antenna, again.Antenna)
		}
		if one.Reads != 20 || *one.RSSI != -60 || one.Last-one.First != 37_000 {
			t.Errorf("first sighting %+v: %d ms", one, one.Last-one.First)
		}
		if again.Reads != 2 || *again.RSSI != -50 || again.Last-again.First != 1000 || again.First-one.Last != 13_000 {
			t.Errorf("second sighting %+v", again)
		}
		if f := happenings(ds, statement.Fault); len(f) != 1 || *f[0].Code != 8 || f[0].Subject != "llrp0/1" {
			t.Errorf("faults %+v", f)
		}
		lost, back := happenings(ds, statement.Lost), happenings(ds, statement.Back)
		if len(lost) != 1 || len(back) != 1 || lost[0].Subject != "llrp0" || lost[0].Words != "unplugged" {
			t.Errorf("lost %+v, back %+v", lost, back)
		}
	})
}

// A crowd of tags does not wait for the minute, and every frame fits.
func TestSealsBeforeLimits(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		reads := make(chan rfid.Read)
		r.opt = outbox.Options{}
		r.readers = []Reader{{"llrp0", func(func(bool, string)) (rfid.Reader, error) { return &testReader{reads: reads}, nil }}}
		r.start()
		const crowd = 9000
		for i := range crowd {
			reads <- rfid.Read{EPC: []byte{1, 2, 3, byte(i >> 16), byte(i >> 8), byte(i), 7, 8, 9, 10, 11, 12}, Antenna: 1, First: time.Now(), Last: time.Now(), Count: 1}
		}
		synctest.Wait()
		if len(r.kept()) < 2 {
			t.Fatalf("%d frames of %d sightings", len(r.kept()), crowd)
		}
		r.halt()
		if n := len(all[*statement.Sighting](r.chain(r.card()))); n != crowd {
			t.Errorf("%d sightings, want %d", n, crowd)
		}
	})
}

func TestDamagedCard(t *testing.T) {
	flip := func(t *testing.T, r *rig, seq uint64) {
		t.Helper()
		box, err := outbox.Open(r.dir, r.opt)
		if err != nil {
			t.Fatal(err)
		}
		data, err := box.Get(seq)
		if err != nil {
			t.Fatal(err)
		}
		data = bytes.Clone(data)
		box.Close()
		names, err := filepath.Glob(filepath.Join(r.dir, "*.seg"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if at := bytes.Index(b, data); at >= 0 {
				b[at+len(data)/2] ^= 4
				if err := os.WriteFile(name, b, 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
		}
		t.Fatalf("frame %d is not on the card", seq)
	}
	t.Run("an older frame", func(t *testing.T) {
		bench(t, func(t *testing.T, r *rig) {
			r.start()
			after(6 * time.Minute)
			r.halt()
			before := r.card()
			flip(t, r, 2)
			flip(t, r, 3)
			after(time.Second)
			r.start()
			after(time.Minute + time.Second)
			r.connect()
			sent := r.up.take()
			first, err := statement.ParseUp(sent[0])
			if err != nil {
				t.Fatal(err)
			}
			gaps := happenings([]*statement.Delivery{first}, statement.Gap)
			if len(gaps) != 1 || *gaps[0].Seqs != [2]uint64{2, 3} || first.Frame.Seq != uint64(len(before)) {
				t.Fatalf("frame %d goes first, with %+v", first.Frame.Seq, gaps)
			}
			if n := starts([]*statement.Delivery{first}); n != 1 {
				t.Errorf("the declaring frame opens %d traces", n)
			}
			// All but the lost ones, in order.
			if len(sent) != len(before) || !bytes.Equal(sent[1], before[0]) || !bytes.Equal(sent[3], before[4]) {
				t.Errorf("%d frames sent of %d", len(sent), len(before))
			}
			// Receipts for the others let go of the gap as well.
			r.ledger.add(sent[1:]...)
			r.tell(r.ledger.receipts(0, sent[1:]...))
			if got := r.state().Receipted; got != uint64(len(before)+1) {
				t.Errorf("receipted below %d, want %d", got, len(before)+1)
			}
			r.halt()
		})
	})
	t.Run("the newest frame", func(t *testing.T) {
		bench(t, func(t *testing.T, r *rig) {
			r.start()
			after(3 * time.Minute)
			r.halt()
			flip(t, r, uint64(len(r.card())-1))
			if err := r.open(); err == nil || !strings.Contains(err.Error(), "newest frame on the card is damaged") || !strings.Contains(err.Error(), "hint: ") {
				t.Fatalf("signing goes on: %v", err)
			}
		})
	})
	t.Run("of another device", func(t *testing.T) {
		bench(t, func(t *testing.T, r *rig) {
			r.start()
			after(2 * time.Minute)
			r.halt()
			r.c.Key = statement.Hash{7}
			if err := r.open(); err == nil || !strings.Contains(err.Error(), "another enrolment") {
				t.Fatalf("taken: %v", err)
			}
		})
	})
}

// A full card costs nothing that was signed: the same bytes go on it later.
func TestFullCard(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.opt = outbox.Options{SegmentBytes: 16 << 10, MaxBytes: 32 << 10}
		r.c.Stall = 1000 * time.Hour
		r.start()
		r.connect()
		for i := 0; !r.said().CardFull; i++ {
			if after(time.Minute); i > 100 {
				t.Fatal("the card is never full")
			}
		}
		held := look(r, func() *unsaved { return r.st.unsaved })
		after(5 * time.Minute)
		if look(r, func() *unsaved { return r.st.unsaved }) != held || !r.said().CardFull {
			t.Fatal("another frame took the place of the one the card refused")
		}
		sent := r.up.take()
		r.ledger.add(sent...)
		r.tell(r.ledger.receipts(0, sent...))
		after(2 * time.Second)
		if r.said().CardFull || r.state().Next <= held.seq {
			t.Fatalf("card is still full: %+v", r.said())
		}
		more := r.up.take()
		got, err := r.box.Get(held.seq)
		if err != nil || !bytes.Equal(got, held.record) || !bytes.Contains(held.record, more[0]) {
			t.Errorf("frame %d is not the one that was signed: %v", held.seq, err)
		}
		r.halt()
		r.chain(append(append(sent, more...), r.up.take()...))
	})
}

// What the card cannot take and memory cannot hold is counted and told.
func TestDropsAreTold(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.opt = outbox.Options{SegmentBytes: 128 << 10, MaxBytes: 256 << 10}
		r.c.Every, r.c.Stall = 100*time.Millisecond, 1000*time.Hour
		r.start()
		r.connect()
		for i := 0; look(r, func() uint64 { return r.st.dropped }) == 0; i++ {
			if after(time.Minute); i > 1000 {
				t.Fatal("nothing was dropped")
			}
		}
		var sent [][]byte
		for range 10 {
			more := r.up.take()
			size := r.state().Checked.Size
			r.ledger.add(more...)
			r.tell(r.ledger.receipts(size, more...))
			sent = append(sent, more...)
			after(time.Second)
		}
		r.halt()
		ds := r.chain(append(sent, r.up.take()...))
		told := uint64(0)
		for _, h := range happenings(ds, statement.Gap) {
			if h.Seqs != nil || !strings.HasPrefix(h.Words, "no room") {
				t.Errorf("gap %+v", h)
			}
			told += h.Count
		}
		readings := uint64(0)
		for _, b := range all[*statement.Block](ds) {
			readings += uint64(len(b.Values))
		}
		// Every sample was either signed or counted; the last may still be under way.
		last := ds[len(ds)-1].Frame.Clock.Boottime - int64(time.Hour)
		if all := uint64(last/int64(r.c.Every)) + 1; told == 0 || told+readings < all-1 || told+readings > all {
			t.Errorf("%d readings and %d dropped of %d samples", readings, told, all)
		}
	})
}

// After a failed sync nobody knows what the card holds: the station ends rather
// than guess.
func TestBrokenCardEndsRun(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.start()
		after(30 * time.Second)
		r.box.Close() // as good as broken
		after(time.Minute)
		if err := r.stop(); !errors.Is(err, outbox.ErrClosed) {
			t.Errorf("Run: %v", err)
		}
	})
}
