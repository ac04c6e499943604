package alarm

import (
	"errors"
	"strings"
	"testing"
	"time"

	"trailmark/gateway/internal/store"
	"trailmark/internal/device"
	"trailmark/statement"
	"trailmark/trace"
)

func TestSingleEvent(t *testing.T) {
	w := newWorld(t, 1)
	w.rules(rule(Single, `,"plan_limits":true,"for":"3m","clear":"2m"`))
	d := w.devs[0]
	// Two runs that are too short; the second would be long enough with the first.
	d.accept(d.reads(5000, 9000, 9000, 5000, 8001, 8000))
	w.judge()
	w.count(0)
	d.accept(d.reads(9000, 9500, 9400, 9100)) // from minute 6 on
	w.judge()
	a := w.count(1)[0]
	want(t, a, "r", 6, 9, -1, "")
	if a.Measured != 4*60_000 || a.Peak == nil || *a.Peak != 9500 || a.PeakAt != minutes(8) || a.Channel != "t0" || a.Zone != "cold1" {
		t.Errorf("%+v", a)
	}
	d.accept(d.reads(5000)) // within the limits, but not yet for two minutes
	w.judge()
	want(t, w.count(1)[0], "r", 6, 9, -1, "")
	d.accept(d.reads(8200, 5000, 5000))
	w.judge()
	want(t, w.count(1)[0], "r", 6, 9, 12, BackInRange)
	d.accept(d.reads(1000, 1000, 1000)) // the other limit
	w.judge()
	a = w.count(2)[1]
	want(t, a, "r", 14, 17, -1, "")
	if *a.Peak != 1000 {
		t.Errorf("peak %d", *a.Peak)
	}
}

func TestCumulative(t *testing.T) {
	w := newWorld(t, 1)
	w.rules(rule(Cumulative, `,"unit":"Cel","at_or_above":8.001,"for":"4m30s"`))
	d := w.devs[0]
	d.accept(d.reads(5000, 9000, 9000, 5000, 9000, 5000, 5000, 9500, 9000))
	w.judge()
	a := w.count(1)[0]
	want(t, a, "r", 1, 8.5, -1, "")
	if a.Measured != 5*60_000 || *a.Peak != 9500 {
		t.Errorf("%+v", a)
	}
	d.accept(d.reads(5000, 5000))
	w.judge()
	want(t, w.count(1)[0], "r", 1, 8.5, -1, "") // never over by itself
	if err := w.e.Close(t.Context(), a.ID, "李雷", "shipment delivered"); err != nil {
		t.Fatal(err)
	}
	d.accept(d.reads(9000, 9000, 9000, 9000, 9000))
	w.judge()
	want(t, w.count(2)[1], "r", 11, 15.5, -1, "") // its count began anew
}

// TestUncovered: a reading stands for at most two nominal intervals, as in the
// trees that passports prove; a run goes through what nobody measured.
func TestUncovered(t *testing.T) {
	w := newWorld(t, 1)
	w.rules(`{"rules":[{"id":"sum","kind":"cumulative","name":{"zh-CN":"总","en":"sum"},"severity":"alarm","plan_limits":true,"for":"1m"},
		{"id":"run","kind":"single-event","name":{"zh-CN":"次","en":"run"},"severity":"alarm","plan_limits":true,"for":"10m"}]}`)
	d := w.devs[0]
	d.accept(d.reads(5000, 9000))
	d.wait(8 * time.Minute)
	d.accept(d.reads(9000)) // at minute 11, and covers two
	w.judge()
	as := w.count(2)
	if as[0].Rule != "run" {
		as[0], as[1] = as[1], as[0]
	}
	want(t, as[0], "run", 1, 11, -1, "")
	if as[0].Measured != 10*60_000 || as[1].Measured != 3*60_000 {
		t.Errorf("run of %d ms, want 600000; sum of %d, want 180000", as[0].Measured, as[1].Measured)
	}
}

func TestCumulativeEachDay(t *testing.T) {
	w := newWorld(t, 1)
	w.rules(rule(Cumulative, `,"unit":"Cel","at_or_above":8.001,"for":"3m","each_day":true,"utc_offset":"8h"`))
	d := w.devs[0]
	d.wait(15*time.Hour + 55*time.Minute) // midnight at UTC+8 is five minutes ahead
	d.accept(d.reads(9000, 9000, 9000, 9000, 9000, 9000, 9000, 9000, 9000))
	w.judge()
	as := w.count(2)
	want(t, as[0], "r", 955+1-1.0/60_000, 955+4-1.0/60_000, 960, DayOver) // the first reading of a trace covers 1 ms
	want(t, as[1], "r", 960, 963, -1, "")
}

func TestRateOfRise(t *testing.T) {
	w := newWorld(t, 1)
	w.rules(rule(RateOfRise, `,"unit":"Cel","rise":2,"within":"5m","for":"0s"`))
	d := w.devs[0]
	d.accept(d.reads(3000, 3300, 3600, 3900, 4200, 4500, 4800)) // 1.5 in five minutes
	w.judge()
	w.count(0)
	d.accept(d.reads(5300, 6000, 6000))
	w.judge()
	a := w.count(1)[0]
	want(t, a, "r", 4, 4, 9, BackInRange) // 1.8 from the fifth minute to the tenth
	if *a.Peak != 2100 {
		t.Errorf("peak %d", *a.Peak)
	}
	d.accept(d.reads(6000, 8000))
	w.judge()
	want(t, w.count(2)[1], "r", 11, 11, -1, "")
}

func TestNoDataAndLost(t *testing.T) {
	w := newWorld(t, 1)
	w.rules(`{"rules":[{"id":"n","kind":"no-data","name":{"zh-CN":"无","en":"no"},"severity":"alarm","for":"10m"},
		{"id":"s","kind":"single-event","name":{"zh-CN":"超","en":"beyond"},"severity":"alarm","plan_limits":true,"for":"0s"}]}`)
	d := w.devs[0]
	d.accept(d.reads(5000, 9000, 9000))
	w.judge()
	want(t, w.count(1)[0], "s", 1, 1, -1, "")
	d.wait(9 * time.Minute)
	d.accept(d.seal(device.Input{})) // the device lives, the probe is dead
	w.judge()
	want(t, w.count(1)[0], "s", 1, 1, 3, SensorLost)
	d.wait(9 * time.Minute)
	d.accept(d.seal(device.Input{}))
	w.judge()
	want(t, w.count(2)[1], "n", 3, 13, -1, "")
	d.accept(d.reads(9000)) // at minute 22
	w.judge()
	as := w.count(3)
	want(t, as[1], "n", 3, 13, 22, BackInRange)
	want(t, as[2], "s", 20, 20, -1, "") // another alarm: what was between nobody measured
}

func TestHappenings(t *testing.T) {
	code := func(n uint64) *uint64 { return &n }
	for _, c := range []struct {
		name    string
		kind    Kind
		on, off *statement.Happening
	}{
		{"door", DoorOpen, &statement.Happening{Type: statement.Door, Code: code(1)}, &statement.Happening{Type: statement.Door, Code: code(0)}},
		{"mains", MainsLost, &statement.Happening{Type: statement.Power, Code: code(0)}, &statement.Happening{Type: statement.Power, Code: code(1)}},
		{"lost probe", ProbeFault, &statement.Happening{Type: statement.Lost, Subject: "t0"}, &statement.Happening{Type: statement.Back, Subject: "t0"}},
		{"faults", ProbeFault, &statement.Happening{Type: statement.Fault, Subject: "t0", Code: code(4), Count: 3}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.rules(rule(c.kind, `,"for":"5m"`))
			d := w.devs[0]
			d.accept(d.reads(5000), d.tells(c.on))
			d.wait(4 * time.Minute)
			d.accept(d.seal(device.Input{}))
			w.judge()
			w.count(0)
			d.wait(2 * time.Minute)
			d.accept(d.seal(device.Input{}))
			w.judge()
			want(t, w.count(1)[0], "r", 1, 6, -1, "")
			end := 8.0
			if c.off != nil {
				d.wait(time.Minute)
				d.accept(d.tells(c.off))
			} else {
				d.accept(d.reads(5000)) // it measures again
			}
			w.judge()
			a := w.count(1)[0]
			if a.Reason != BackInRange || a.Ended < minutes(7) || a.Ended > minutes(end) {
				t.Errorf("%+v", a)
			}
		})
	}
}

func TestClockDoubt(t *testing.T) {
	w := newWorld(t, 1)
	w.rules(`{"rules":[{"id":"c","kind":"clock-doubt","name":{"zh-CN":"钟","en":"clock"},"severity":"warning","quality":"rtc","max_error":"1s","for":"0s"},
		{"id":"s","kind":"single-event","name":{"zh-CN":"超","en":"beyond"},"severity":"alarm","plan_limits":true,"for":"2m"}]}`)
	d := w.devs[0]
	good := d.clock
	d.clock.Quality = statement.ClockUnset
	d.wait(4 * time.Minute)
	w.now = start.Add(4*time.Minute + 30*time.Second) // half a minute on the way
	boot := d.clock.Boottime / 1e6
	up := d.seal(device.Input{Readings: []device.ChannelReadings{{Channel: "t0", Times: []int64{boot - 180_000, boot - 120_000, boot - 60_000, boot}, Values: []int64{5000, 9000, 9000, 9000}}}})
	d.accept(up)
	w.judge()
	as := w.count(2)
	// What the device cannot date, the gateway dates by its receipt, and says so.
	want(t, as[0], "s", 1.5, 3.5, -1, "")
	want(t, as[1], "c", 4.5, 4.5, -1, "")
	if as[0].Basis != 1 || as[1].Basis != 1 {
		t.Errorf("%+v", as)
	}
	d.clock.Quality = good.Quality
	d.wait(time.Minute)
	d.accept(d.reads(9000))
	w.judge()
	as = w.count(2) // the same run goes on: spans of time are what they were
	if as[0].Ended != 0 || as[0].Measured < 4*60_000 || as[0].Measured > 6*60_000 || as[1].Reason != BackInRange {
		t.Errorf("%+v", as)
	}
	d.clock.MaxError = 2000
	d.accept(d.reads(9000))
	w.judge()
	if a := w.count(3)[2]; a.Rule != "c" || a.Basis != 0 {
		t.Errorf("%+v", a)
	}
}

// TestClockStep: a clock that is set back or forth makes no span longer or shorter.
func TestClockStep(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, time.Hour} {
		w := newWorld(t, 1)
		w.rules(rule(Single, `,"plan_limits":true,"for":"6m"`))
		d := w.devs[0]
		d.accept(d.reads(5000, 9000, 9000, 9000))
		d.clock.Wall += step.Milliseconds()
		c := device.ChannelReadings{Channel: "t0"}
		d.wait(time.Minute)
		c.Times, c.Values = []int64{d.clock.Wall}, []int64{9000}
		d.accept(d.seal(device.Input{Readings: []device.ChannelReadings{c}, Restart: true, Happenings: []*statement.Happening{{Type: statement.ClockStep, At: d.clock.Wall}}}))
		w.judge()
		w.count(0) // four minutes
		d.accept(d.reads(9000, 9000))
		w.judge()
		if a := w.count(1)[0]; a.Measured != 6*60_000 {
			t.Errorf("step %v: %+v", step, a)
		}
	}
}

func TestCalibration(t *testing.T) {
	record := statement.Hash{1, 2, 3}
	w := newWorld(t, 2, func(p *statement.Plan) { p.Zones[0].Channels[0].Calibration = &record })
	w.rules(rule(Calibration, `,"for":"0s","ahead":"24h","certificates":[{"record":"`+record.String()+`","due":"2026-03-02T00:03:00Z"}]`))
	w.devs[0].accept(w.devs[0].reads(5000, 5000))
	w.judge()
	w.count(0)
	w.devs[1].accept(w.devs[1].reads(5000)) // nobody knows a calibration of this one
	w.judge()
	want(t, w.count(1)[0], "r", 1, 1, -1, "")
	w.devs[0].accept(w.devs[0].reads(5000, 5000))
	w.judge()
	want(t, w.count(2)[1], "r", 3, 3, -1, "")
}

func TestSilent(t *testing.T) {
	w := newWorld(t, 2)
	w.rules(rule(Silent, `,"for":"15m"`))
	d := w.devs[0]
	w.now = start.Add(time.Minute)
	d.accept(d.reads(5000))
	w.judge()
	w.now = start.Add(15 * time.Minute)
	w.judge()
	as := w.count(1) // the one that was never heard
	want(t, as[0], "r", 0, 15, -1, "")
	if as[0].Device != "urn:dev:os:32473-d1" || as[0].Basis != 1 {
		t.Errorf("%+v", as[0])
	}
	// A gateway that was down does not take its own silence for the device's.
	w.now = start.Add(30 * time.Minute)
	w.open()
	w.judge()
	w.count(1)
	w.now = start.Add(45 * time.Minute)
	w.judge()
	want(t, w.count(2)[1], "r", 1, 45, -1, "")
	w.now = start.Add(50 * time.Minute)
	d.accept(d.reads(5000)) // of minute 2, but heard now
	w.judge()
	want(t, w.count(2)[1], "r", 1, 45, 50, BackInRange)
}

func TestForkAndTamper(t *testing.T) {
	w := newWorld(t, 1)
	w.rules(`{"rules":[{"id":"f","kind":"fork","name":{"zh-CN":"叉","en":"fork"},"severity":"alarm","for":"0s"},
		{"id":"t","kind":"tamper","name":{"zh-CN":"拆","en":"tamper"},"severity":"alarm","for":"0s"}]}`)
	d := w.devs[0]
	was, clock := d.state, d.clock
	d.accept(d.reads(5000))
	d.state, d.clock = was, clock
	for range 3 {
		d.state = was
		if out := d.give(d.reads(5001)); out[0].Err == nil {
			t.Fatal("a fork was accepted")
		}
	}
	w.judge()
	w.judge()
	a := w.count(1)[0]
	if a.Rule != "f" || a.Count != 3 || a.Ended != 0 || a.Basis != 1 || a.Device != d.sealer.Issuer {
		t.Errorf("%+v", a)
	}
	if err := w.e.Close(t.Context(), a.ID, "韩梅梅", "replaced"); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Minute)
	d.state, d.clock = was, clock
	d.give(d.reads(5002, 5003))
	w.judge()
	w.count(2) // evidence after it was closed is news
}

func TestDisagreement(t *testing.T) {
	w := newWorld(t, 3)
	w.rules(rule(Disagreement, `,"unit":"Cel","differ":2,"for":"3m"`))
	a, b := w.devs[0], w.devs[1]
	a.accept(a.reads(4000, 4000, 4000, 4000, 4000, 4000, 4000, 4000, 4000, 4000))
	w.judge()
	w.count(0)
	b.accept(b.reads(5000, 5000, 6000, 6000, 5000, 6500, 7000, 6000, 6000))
	w.judge()
	al := w.count(1)[0]
	want(t, al, "r", 5, 8, -1, "")
	if *al.Peak != 3000 || al.Channel != "t0" || al.Other != "urn:dev:os:32473-d1 t1" {
		t.Errorf("%+v", al)
	}
	b.accept(b.reads(4100))
	w.judge()
	want(t, w.count(1)[0], "r", 5, 8, 9, BackInRange)
}

func TestRulesChange(t *testing.T) {
	w := newWorld(t, 1)
	w.rules(rule(Single, `,"plan_limits":true,"for":"1m"`))
	d := w.devs[0]
	d.accept(d.reads(5000, 9000, 9000))
	w.judge()
	a := w.count(1)[0]
	text, err := w.st.AlarmRule(t.Context(), a.RuleHash)
	if err != nil || !strings.Contains(string(text), `"for":"1m0s"`) {
		t.Fatalf("%s, %v", text, err)
	}
	// A frame that is stored before the rules change is judged by the old ones.
	d.accept(d.reads(5000, 9000))
	w.now = w.now.Add(time.Hour)
	w.rules(rule(Single, `,"plan_limits":true,"for":"2m"`))
	d.accept(d.reads(9000, 9000))
	w.judge()
	as := w.count(3)
	want(t, as[0], "r", 1, 2, 3, BackInRange)
	if as[1].RuleHash != a.RuleHash || as[1].Reason != RuleChanged || as[1].Ended != w.now.UnixMilli() {
		t.Errorf("%+v", as[1])
	}
	want(t, as[2], "r", 5, 7, -1, "")
	if as[2].RuleHash == a.RuleHash {
		t.Error("the new alarm names the old rule")
	}
	d.accept(d.reads(9000))
	w.judge()
	w.count(3)
	w.rules(`{"rules":[]}`)
	w.judge()
	if a := w.count(3)[2]; a.Reason != RuleChanged {
		t.Errorf("%+v", a)
	}
}

func TestPlanChanges(t *testing.T) {
	w := newWorld(t, 1)
	w.rules(rule(Single, `,"plan_limits":true,"for":"0s"`))
	d := w.devs[0]
	d.accept(d.reads(5000, 9000, 9000))
	w.judge()
	w.plan.Zones[0].Channels[0].Limits = []trace.Limit{{Comparison: trace.AtOrAbove, Value: 15001}}
	w.publish()
	d.accept(d.reads(9000, 9000))
	w.judge()
	if a := w.count(1)[0]; a.Reason != NotPlanned {
		t.Errorf("%+v", a)
	}
	d.accept(d.reads(16000))
	w.judge()
	w.count(2)
	w.plan.Zones[0].Channels = nil
	w.publish()
	w.judge()
	if a := w.count(2)[1]; a.Reason != NotPlanned {
		t.Errorf("%+v", a)
	}
}

func TestAcknowledgeAndClose(t *testing.T) {
	w := newWorld(t, 1)
	w.rules(rule(Single, `,"plan_limits":true,"for":"0s"`))
	d := w.devs[0]
	d.accept(d.reads(5000, 9000))
	w.judge()
	a := w.count(1)[0]
	ctx := t.Context()
	for _, c := range []struct {
		name string
		do   func() error
		want error
	}{
		{"unknown", func() error { return w.e.Acknowledge(ctx, "00", "x", "") }, store.ErrNotFound},
		{"seen", func() error { return w.e.Acknowledge(ctx, a.ID, "李雷", "已派人") }, nil},
		{"seen again", func() error { return w.e.Acknowledge(ctx, a.ID, "李雷", "") }, ErrConflict},
		{"closed", func() error { return w.e.Close(ctx, a.ID, "韩梅梅", "货已移走") }, nil},
		{"closed again", func() error { return w.e.Close(ctx, a.ID, "韩梅梅", "") }, ErrConflict},
	} {
		if err := c.do(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if err := w.e.Close(ctx, a.ID, "", ""); err == nil {
		t.Error("nobody closed it")
	}
	a = w.count(1)[0]
	if !a.Closed || a.Reason != ClosedByHand || a.Acked == 0 {
		t.Errorf("%+v", a)
	}
	acts, err := w.st.AlarmActs(ctx, a.ID)
	if err != nil || len(acts) != 2 || acts[0].By != "李雷" || acts[0].Comment != "已派人" || acts[1].What != "close" {
		t.Errorf("%+v, %v", acts, err)
	}
	d.accept(d.reads(9000, 9000))
	w.judge()
	w.count(1) // it goes on, and was closed
	d.accept(d.reads(5000, 9000))
	w.judge()
	w.count(2) // it was over, and is back
}
