package station

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"trailmark/agent/internal/panel"
	"trailmark/agent/internal/sensor"
	"trailmark/internal/device"
	"trailmark/statement"
	"trailmark/trace"
)

var (
	tooWarm = trace.Limit{Comparison: trace.AtOrAbove, Value: 8001}
	tooCold = trace.Limit{Comparison: trace.AtOrBelow, Value: 1999}
)

// guarded runs a test of a device that reads every minute, seals every seven, and
// works by a plan with limits.
func guarded(t *testing.T, f func(t *testing.T, r *rig, d *dial)) {
	t.Helper()
	bench(t, func(t *testing.T, r *rig) {
		var d dial
		d.set(sensor.Sample{Milli: 4000})
		r.probes = []sensor.Probe{d.probe("28-1/temp")}
		r.c.Every, r.c.SealEvery = time.Minute, 7*time.Minute
		r.plans = []*device.Plan{r.opened(r.planDown(0, 60_000, tooCold, tooWarm))}
		r.start()
		after(time.Second) // the first reading
		f(t, r, &d)
	})
}

// alarms are the starts and ends that frames tell of, as "start 1 8500".
func alarms(t *testing.T, ds []*statement.Delivery) []string {
	t.Helper()
	var out []string
	for _, h := range all[*statement.Happening](ds) {
		if h.Type != statement.AlarmStart && h.Type != statement.AlarmEnd {
			continue
		}
		d, err := statement.ParseAlarmDetail(h.Raw)
		if err != nil || h.Subject != "28-1/temp" || (d.End == 0) != (h.Type == statement.AlarmStart) {
			t.Fatalf("%+v: %+v, %v", h, d, err)
		}
		if d.End == 0 {
			out = append(out, fmt.Sprintf("start %d %d", *h.Code, d.Value))
		} else {
			out = append(out, fmt.Sprintf("end %d %d after %d for %d", *h.Code, d.Value, h.Count, d.End))
		}
	}
	return out
}

func (r *rig) expect(want ...string) {
	r.t.Helper()
	if got := alarms(r.t, r.chain(r.kept())); !slices.Equal(got, want) {
		r.t.Errorf("alarms %q, want %q", got, want)
	}
}

func TestAlarm(t *testing.T) {
	guarded(t, func(t *testing.T, r *rig, d *dial) {
		after(2*time.Minute + 29*time.Second)
		d.set(sensor.Sample{Milli: 8001})
		after(25 * time.Second)
		r.expect() // nobody has read it yet
		before := r.panel.shown()
		after(6 * time.Second)
		r.expect("start 1 8001")
		if s := r.panel.shown(); !s.Alarm || s.Raised != before.Raised+1 {
			t.Errorf("panel shows %+v after %+v", s, before)
		}
		d.set(sensor.Sample{Milli: 9250})
		after(10 * time.Second)
		d.set(sensor.Sample{Milli: 8500})
		after(2 * time.Minute)
		ds := r.chain(r.kept())
		if n := len(ds); n != 3 {
			t.Errorf("%d frames, want one at once and two in the minutes after", n)
		}
		for _, b := range all[*statement.Block](ds[1:]) {
			if b.Gaps == nil || !slices.Equal(*b.Gaps, statement.Gaps{10_000}) {
				t.Errorf("read after %v ms in alarm, want every 10 s", b.Gaps)
			}
		}
		d.set(sensor.Sample{Milli: 4000})
		after(alarmCalm - 15*time.Second)
		r.expect("start 1 8001")
		d.set(sensor.Sample{Milli: 8001}) // once more, for one reading: it is the same alarm
		after(10 * time.Second)
		d.set(sensor.Sample{Milli: 4000})
		after(alarmCalm - 15*time.Second)
		r.expect("start 1 8001")
		after(15 * time.Second)
		r.expect("start 1 8001", "end 1 9250 after 15 for 1")
		n := len(r.kept())
		after(11 * time.Minute)
		r.halt()
		ds = r.chain(r.card())
		for _, b := range all[*statement.Block](ds[n+1:]) {
			if len(b.Values) > 1 && !slices.Equal(*b.Gaps, statement.Gaps{60_000}) {
				t.Errorf("read after %v ms when all was well again", b.Gaps)
			}
		}
		if len(ds) > n+4 {
			t.Errorf("%d frames in eleven minutes without an alarm", len(ds)-n)
		}
	})
}

// Both limits at once, and a limit that is equal to the value.
func TestAlarmsOfTwoLimits(t *testing.T) {
	guarded(t, func(t *testing.T, r *rig, d *dial) {
		d.set(sensor.Sample{Milli: 2000})
		after(time.Minute)
		r.expect()
		d.set(sensor.Sample{Milli: 1999})
		after(time.Minute)
		d.set(sensor.Sample{Milli: 8001})
		after(10 * time.Second)
		r.expect("start 0 1999", "start 1 8001")
		after(2 * time.Minute)
		r.expect("start 0 1999", "start 1 8001", "end 0 1999 after 1 for 1")
		r.halt()
	})
}

// An alarm is one alarm, however often the agent starts.
func TestAlarmSurvivesRestart(t *testing.T) {
	guarded(t, func(t *testing.T, r *rig, d *dial) {
		d.set(sensor.Sample{Milli: 8500})
		after(65 * time.Second)
		r.halt()
		r.start()
		after(time.Minute)
		if n := r.said().Beyond; n != 1 || !r.panel.shown().Alarm {
			t.Errorf("%d limits passed after the restart", n)
		}
		d.set(sensor.Sample{Milli: 4000})
		after(alarmCalm + 10*time.Second)
		r.halt()
		ds := r.chain(r.card())
		got := alarms(t, ds)
		if len(got) != 2 || got[0] != "start 1 8500" || !strings.HasPrefix(got[1], "end 1 8500 after 8 for 1") {
			t.Errorf("alarms %q", got)
		}
	})
}

// A breach that nobody measures any more ends, and says why.
func TestAlarmEndsWithTheSensor(t *testing.T) {
	for name, spoil := range map[string]func(*dial){
		"gone":      func(d *dial) { d.set(sensor.Sample{Fault: sensor.FaultGone}) },
		"all zeros": func(d *dial) { d.set(sensor.Sample{Fault: sensor.FaultAllZero, Raw: make([]byte, 9)}) },
		"hung":      func(d *dial) { d.hang.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			guarded(t, func(t *testing.T, r *rig, d *dial) {
				d.set(sensor.Sample{Milli: 8500})
				after(65 * time.Second)
				spoil(d)
				after(alarmCalm - 20*time.Second)
				r.expect("start 1 8500")
				after(30 * time.Second)
				got := alarms(t, r.chain(r.kept()))
				if len(got) != 2 || !strings.HasSuffix(got[1], "for 2") {
					t.Errorf("alarms %q", got)
				}
				if name == "hung" {
					r.halt()
					return
				}
				d.set(sensor.Sample{Milli: 8600}) // it is back, and it is still warm
				after(time.Minute)
				if got := alarms(t, r.chain(r.kept())); len(got) != 3 || got[2] != "start 1 8600" {
					t.Errorf("alarms %q", got)
				}
				r.halt()
			})
		})
	}
}

func TestAlarmEndsWithThePlan(t *testing.T) {
	guarded(t, func(t *testing.T, r *rig, d *dial) {
		d.set(sensor.Sample{Milli: 8500})
		after(65 * time.Second)
		r.tell(r.planDown(1, 60_000, tooCold, tooWarm)) // the same limits
		after(11 * time.Second)
		r.expect("start 1 8500")
		r.tell(r.planDown(2, 60_000, tooCold, trace.Limit{Comparison: trace.AtOrAbove, Value: 8100}))
		after(time.Minute)
		r.expect("start 1 8500", "end 1 8500 after 2 for 3", "start 1 8500")
		r.tell(r.planDown(3, 60_000))
		after(11 * time.Second)
		if n := r.said().Beyond; n != 0 {
			t.Errorf("%d limits passed of none", n)
		}
		r.halt()
		if got := alarms(t, r.chain(r.card())); len(got) != 4 || !strings.HasSuffix(got[3], "for 3") {
			t.Errorf("alarms %q", got)
		}
	})
}

func TestPanelInputsAreSigned(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.start()
		for _, i := range []panel.Input{{Kind: panel.Door, On: true}, {Kind: panel.Mains}, {Kind: panel.Door}, {Kind: panel.Mains, On: true}} {
			r.panel.inputs <- i
			after(time.Second)
		}
		r.halt()
		var got []string
		for _, h := range all[*statement.Happening](r.chain(r.card())) {
			if h.Type == statement.Door || h.Type == statement.Power {
				got = append(got, fmt.Sprintf("%d:%d %s", h.Type, *h.Code, h.Words))
			}
		}
		if want := []string{"7:1 open", "8:0 on battery", "7:0 closed", "8:1 on mains"}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

func TestPanelShowsReceipts(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.start()
		after(2 * time.Second)
		if s := r.panel.shown(); s.Receipts || s.Alarm {
			t.Errorf("offline it shows %+v", s)
		}
		r.connect()
		after(time.Second)
		if s := r.panel.shown(); !s.Receipts {
			t.Errorf("connected it shows %+v", s)
		}
		after(3 * time.Minute) // and no receipt comes
		if s := r.panel.shown(); s.Receipts {
			t.Errorf("without receipts it shows %+v", s)
		}
		r.halt()
	})
}

// trimmed is a probe that knows its factory trimming.
type trimmed struct {
	*testProbe
	sum [32]byte
}

func (p trimmed) Calibration() [32]byte { return p.sum }

func TestProbesAreIntroduced(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.probes = []sensor.Probe{steady("28-1/temp", 4000), trimmed{steady("bme280-1-76/temp", 4000), [32]byte{0xab, 31: 0xcd}}, trimmed{steady("sht4x-7/temp", 4000), [32]byte{}}}
		r.start()
		after(time.Second)
		r.halt()
		got := map[string]*statement.Happening{}
		for _, h := range happenings(r.chain(r.card()), statement.Configured) {
			got[h.Subject] = h
		}
		if h := got["bme280-1-76/temp"]; h == nil || len(h.Raw) != 32 || h.Raw[0] != 0xab || !strings.HasPrefix(h.Words, "probe bme280-1-76/temp, factory trimming ab00") {
			t.Errorf("%+v", h)
		}
		for _, name := range []string{"28-1/temp", "sht4x-7/temp"} {
			if h := got[name]; h == nil || h.Raw != nil || h.Words != "probe "+name {
				t.Errorf("%s: %+v", name, h)
			}
		}
	})
}

// Raw bytes go into the block beside their values; a probe that changes their
// number gives evidence of nothing but itself.
func TestRawColumns(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		n := byte(0)
		r.probes = []sensor.Probe{&testProbe{"28-1/temp", func(context.Context) sensor.Sample {
			n++
			x := sensor.Sample{Milli: 4000, Column: []byte{n, 0xaa}}
			switch n {
			case 3:
				x.Column = []byte{n}
			case 4:
				x.Column = nil
			case 5:
				x.Column = make([]byte, maxColumn+1)
			}
			return x
		}}}
		r.start()
		after(59 * time.Second)
		r.halt()
		ds := r.chain(r.card())
		bs := all[*statement.Block](ds)
		if len(bs) != 1 || len(bs[0].Values) != 3 || !bytes.Equal(bs[0].Raw, []byte{1, 0xaa, 2, 0xaa, 6, 0xaa}) {
			t.Fatalf("blocks %+v", bs)
		}
		fs := happenings(ds, statement.Fault)
		if len(fs) != 1 || *fs[0].Code != uint64(sensor.FaultFormat) || fs[0].Count != 3 {
			t.Errorf("faults %+v", fs)
		}
	})
}

// Wide columns fill a frame before its time, and it is still taken.
func TestRawColumnsFillFrames(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.c.Every, r.c.SealEvery, r.opt.SegmentBytes = 100*time.Millisecond, time.Hour, 1<<20
		r.probes = []sensor.Probe{&testProbe{"28-1/temp", func(context.Context) sensor.Sample {
			return sensor.Sample{Milli: 4000, Column: make([]byte, maxColumn)}
		}}}
		r.start()
		after(5 * time.Minute)
		synctest.Wait()
		r.halt()
		n := 0
		for _, b := range all[*statement.Block](r.chain(r.card())) {
			n += len(b.Values)
			if len(b.Raw) != maxColumn*len(b.Values) {
				t.Errorf("%d raw bytes for %d values", len(b.Raw), len(b.Values))
			}
		}
		if n < 3000 {
			t.Errorf("%d readings kept of 3000", n)
		}
	})
}
