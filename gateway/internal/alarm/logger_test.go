package alarm

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/gateway/internal/store"
	"trailmark/internal/device"
	"trailmark/statement"
	"trailmark/trace"
)

// What real loggers wrote of themselves, against what the engine makes of their
// readings as a device of ours would have signed them.

type logged struct {
	at    time.Time
	milli int64
	out   bool // marked by the logger
}

// loggerFile reads the lines and the readings of a logger's export.
func loggerFile(t *testing.T, pattern string) (lines []string, readings []logged) {
	t.Helper()
	names, _ := filepath.Glob("../../../../shared/data/logger/" + pattern)
	if len(names) == 0 {
		t.Skipf("no ../shared/data/logger/%s beside the repository", pattern)
	}
	f, err := os.Open(names[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := false
	for s := bufio.NewScanner(f); s.Scan(); {
		line := strings.TrimRight(s.Text(), "\r")
		lines = append(lines, line)
		if !strings.HasPrefix(line, "\t") {
			data = strings.HasPrefix(line, "Data:")
			continue
		}
		field := strings.Split(strings.TrimPrefix(line, "\t"), "\t")
		if !data || strings.HasPrefix(field[0], "yyyy") {
			continue
		}
		var tenths float64
		at, err := time.Parse("2006-01-02 15:04", field[0])
		if _, err2 := fmt.Sscan(field[1], &tenths); err != nil || err2 != nil {
			t.Fatalf("%q: %v, %v", line, err, err2)
		}
		readings = append(readings, logged{at, int64(math.Round(tenths*10)) * 100, len(field) > 2 && field[2] == "x"})
	}
	return lines, readings
}

// replay signs readings as one device's frames, and hands them to ingest.
func replay(t *testing.T, nominal time.Duration, readings []logged, rules string) *world {
	t.Helper()
	w := newWorld(t, 1, func(p *statement.Plan) { p.Zones[0].Channels[0].Nominal = nominal.Milliseconds() })
	w.rules(rules)
	d := w.devs[0]
	const perFrame = 24
	for i := 0; i < len(readings); i += perFrame {
		c := device.ChannelReadings{Channel: "t0"}
		for _, r := range readings[i:min(i+perFrame, len(readings))] {
			c.Times, c.Values = append(c.Times, r.at.UnixMilli()), append(c.Values, r.milli)
		}
		last := c.Times[len(c.Times)-1]
		if i > 0 {
			d.clock.Boottime += (last - d.clock.Wall) * 1e6
		}
		d.clock.Wall = last
		d.accept(d.seal(device.Input{Readings: []device.ChannelReadings{c}}))
	}
	w.judge()
	return w
}

// cut is what a device shows that cuts to a tenth.
func cut(v float64) float64 { return math.Trunc(v*10) / 10 }

// TestQTag: one transport. The exporter's alarm types are 1 and 2 for single
// events below and above, 3 and 4 for cumulative time below and above: only types
// 1 and 2 have ends, and only 3 and 4 add up to more than their span holds in one
// run. A value that equals the limit is not marked by this logger, so the limits
// are the next thousandth.
//
// The logger measures between the readings that it logs every ten minutes, so
// that times agree to one interval, ours never later than its own.
func TestQTag(t *testing.T) {
	const interval = 10 * time.Minute
	lines, readings := loggerFile(t, "q-tag-CLm-*.txt")
	for _, r := range readings {
		if out := r.milli <= 1999 || r.milli >= 8001; out != r.out {
			t.Fatalf("%v: %d is marked %v", r.at, r.milli, r.out)
		}
	}
	lim := func(id string, kind Kind, side, value, span string) string {
		return fmt.Sprintf(`{"id":%q,"kind":%q,"name":{"zh-CN":"规则","en":"rule"},"severity":"alarm","unit":"Cel",%q:%s,"for":%q}`, id, kind, side, value, span)
	}
	w := replay(t, interval, readings, `{"rules":[`+strings.Join([]string{
		lim("alarm1", Single, "at_or_above", "8.001", "30m"), lim("alarm2", Cumulative, "at_or_above", "8.001", "60m"),
		lim("alarm4", Cumulative, "at_or_below", "1.999", "60m"), lim("alarm5", Single, "at_or_below", "1.999", "30m")}, ",")+`]}`)

	s, err := Summarise(t.Context(), w.st, []statement.Hash{w.devs[0].signer.Key().ID()}, "t0", readings[0].at.UnixMilli()-1, readings[len(readings)-1].at.UnixMilli(), 83.0)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for _, l := range lines {
		if k, v, ok := strings.Cut(strings.TrimSpace(l), ": "); ok && said[k] == "" {
			said[k] = v
		}
	}
	number := func(key string) (v float64) {
		text, _, _ := strings.Cut(said[key], ",")
		if _, err := fmt.Sscan(text, &v); err != nil {
			t.Fatalf("%s: %q", key, said[key])
		}
		return v
	}
	t.Logf("readings %d, min %d at %s, max %d at %s, mean %.3f, MKT(83.0) %.3f, MKT(83.144) %.3f",
		s.Readings, s.Min, time.UnixMilli(s.MinAt).UTC().Format("15:04"), s.Max, time.UnixMilli(s.MaxAt).UTC().Format("15:04"), s.Mean, s.MKT, mkt(t, w, readings))
	if float64(s.Min)/1000 != number("Min T") || float64(s.Max)/1000 != number("Max T") || cut(s.Mean) != number("Avrg T") || cut(s.MKT) != number("MKT") {
		t.Errorf("%+v; the logger says min %s, max %s, mean %s, MKT %s", s, said["Min T"], said["Max T"], said["Avrg T"], said["MKT"])
	}
	for at, key := range map[int64]string{s.MinAt: "Min T", s.MaxAt: "Max T"} {
		if want := readingTime(t, lines, key); at != want {
			t.Errorf("%s at %d, the logger says %d", key, at, want)
		}
	}

	type told struct {
		rule           string
		start, trigger string
		end            string // "": none given
		minutes        float64
	}
	device := []told{ // the file's section Res, Alarm
		{"alarm1", "2022-11-08 21:50", "2022-11-08 22:20", "", 219},
		{"alarm2", "2022-11-08 21:50", "2022-11-08 22:50", "", 219},
		{"alarm4", "2022-11-08 05:51", "2022-11-08 07:34", "", 598},
		{"alarm5", "2022-11-08 12:16", "2022-11-08 12:46", "2022-11-08 14:41", 145},
		{"alarm5", "2022-11-08 14:52", "2022-11-08 15:22", "2022-11-08 15:24", 32},
		{"alarm5", "2022-11-08 15:39", "2022-11-08 16:09", "2022-11-08 16:10", 31},
	}
	for _, x := range device { // they are the file's, and not ours
		text := fmt.Sprintf("TS S: %s, t A: %v, TS A: %s", x.start, x.minutes, x.trigger)
		if !strings.Contains(strings.Join(lines, "\n"), text) {
			t.Errorf("the file does not say %q", text)
		}
	}
	matched := map[string]bool{}
	parse := func(s string) time.Time {
		at, err := time.Parse("2006-01-02 15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	all := w.alarms()
	for _, x := range device {
		found := false
		for _, a := range all {
			start, trigger := time.UnixMilli(a.Start), time.UnixMilli(a.Triggered)
			early, late := parse(x.start).Sub(start), parse(x.trigger).Sub(trigger)
			if a.Rule != x.rule || early < 0 || early > interval {
				continue
			}
			found = true
			matched[a.ID] = true
			got := float64(a.Measured) / 60_000
			t.Logf("%s: start %s (logger %s), trigger %s (%s), %v min (%v), ended %q", a.Rule, start.UTC().Format("15:04"), x.start[11:],
				trigger.UTC().Format("15:04"), x.trigger[11:], got, x.minutes, a.Reason)
			if late < 0 || late > interval {
				t.Errorf("%s: triggered %s, the logger says %s", a.Rule, trigger.UTC(), x.trigger)
			}
			// Each crossing of the limit is known to an interval, and half of those of a
			// long count go either way: 3 % and an interval.
			if off := math.Abs(got - x.minutes); off > interval.Minutes()+0.03*x.minutes {
				t.Errorf("%s: %v minutes, the logger says %v", a.Rule, got, x.minutes)
			}
			switch {
			case x.end == "" && a.Ended != 0:
				t.Errorf("%s ended, the logger's did not", a.Rule)
			case x.end != "":
				if off := parse(x.end).Sub(time.UnixMilli(a.Ended)); off < 0 || off > interval || a.Reason != BackInRange {
					t.Errorf("%s ended %d for %q, the logger says %s", a.Rule, a.Ended, a.Reason, x.end)
				}
			}
		}
		if !found {
			t.Errorf("no alarm like %+v", x)
		}
	}
	// What the logger has not: runs whose readings say 30 or 40 minutes, of which
	// the logger knows that they were interrupted between two logged readings. From
	// the log alone nobody can; the doubt is not the custodian's.
	for _, a := range all {
		if !matched[a.ID] {
			t.Logf("beside the logger's: %s from %s, %v min", a.Rule, time.UnixMilli(a.Start).UTC().Format("15:04"), float64(a.Measured)/60_000)
			if a.Rule != "alarm5" || a.Measured > (30*time.Minute+interval).Milliseconds() {
				t.Errorf("alarm that the readings do not leave in doubt: %+v", a)
			}
		}
	}
}

func mkt(t *testing.T, w *world, readings []logged) float64 {
	t.Helper()
	s, err := Summarise(t.Context(), w.st, []statement.Hash{w.devs[0].signer.Key().ID()}, "t0", readings[0].at.UnixMilli()-1, readings[len(readings)-1].at.UnixMilli(), DefaultEnergy)
	if err != nil {
		t.Fatal(err)
	}
	return s.MKT
}

// readingTime is the time that the logger gives of an extreme.
func readingTime(t *testing.T, lines []string, key string) int64 {
	t.Helper()
	for _, l := range lines {
		if _, rest, ok := strings.Cut(l, "TS "+key+": "); ok {
			at, err := time.Parse("2006-01-02 15:04", rest)
			if err != nil {
				t.Fatal(err)
			}
			return at.UnixMilli()
		}
	}
	t.Fatalf("no time of %s", key)
	return 0
}

// TestFridgeTag: 38 days of a real vaccine fridge. Each day's minimum, and the
// minutes beyond each limit, as the logger itself counted them.
func TestFridgeTag(t *testing.T) {
	lines, readings := loggerFile(t, "fridge-tag-2L-*.txt")
	lim := func(id, side, value string) string {
		return fmt.Sprintf(`{"id":%q,"kind":"cumulative","name":{"zh-CN":"规则","en":"rule"},"severity":"alarm","unit":"Cel",%q:%s,"for":"60m","each_day":true}`, id, side, value)
	}
	w := replay(t, 5*time.Minute, readings, `{"rules":[`+lim("cold", "at_or_below", "1.999")+","+lim("hot", "at_or_above", "8.001")+`]}`)

	type counted struct {
		date        time.Time
		min         float64
		cold, hot   float64
		atC, atH    string // when the limit was passed for 60 minutes, "" never
		coldA, hotA bool
	}
	var days []counted
	var limit int
	for _, line := range lines {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch {
		case k == "Date":
			date, err := time.Parse(time.DateOnly, v)
			if err != nil {
				t.Fatal(err)
			}
			days = append(days, counted{date: date})
		case len(days) == 0:
		case k == "Min T":
			text, _, _ := strings.Cut(v, ",")
			if _, err := fmt.Sscan(text, &days[len(days)-1].min); err != nil {
				t.Fatal(err)
			}
		case k == "0:":
			limit = 0
		case k == "1:":
			limit = 1
		case k == "t Acc":
			text, _, _ := strings.Cut(v, ",")
			d := &days[len(days)-1]
			_, at, alarmed := strings.Cut(v, "TS A: ")
			into, when, has := &d.cold, &d.atC, &d.coldA
			if limit == 1 {
				into, when, has = &d.hot, &d.atH, &d.hotA
			}
			if _, err := fmt.Sscan(text, into); err != nil {
				t.Fatal(err)
			}
			*has = alarmed
			*when, _, _ = strings.Cut(at, ",")
		}
	}
	if len(days) != 38 {
		t.Fatalf("%d days", len(days))
	}
	alarms := map[string]store.Alarm{}
	for _, a := range w.alarms() {
		key := a.Rule + time.UnixMilli(a.Triggered-1).UTC().Format(time.DateOnly)
		if _, twice := alarms[key]; twice {
			t.Errorf("two alarms for %s", key)
		}
		alarms[key] = a
	}
	kids := []statement.Hash{w.devs[0].signer.Key().ID()}
	worstMin, worstMinutes, alarmed := 0.0, 0.0, 0
	for _, d := range days {
		from, to := d.date.UnixMilli(), d.date.AddDate(0, 0, 1).UnixMilli()
		s, err := Summarise(t.Context(), w.st, kids, "t0", from-1, to-1, DefaultEnergy,
			trace.Limit{Comparison: trace.AtOrBelow, Value: 1999}, trace.Limit{Comparison: trace.AtOrAbove, Value: 8001})
		if err != nil {
			t.Fatal(err)
		}
		off := math.Abs(float64(s.Min)/1000 - d.min)
		worstMin = max(worstMin, off)
		if off > 0.1+1e-9 {
			t.Errorf("%s: minimum %d, the logger says %v", d.date.Format(time.DateOnly), s.Min, d.min)
		}
		for _, x := range []struct {
			rule    string
			beyond  int64
			minutes float64
		}{{"cold", s.Beyond[0], d.cold}, {"hot", s.Beyond[1], d.hot}} {
			got := float64(x.beyond) / 60_000
			worstMinutes = max(worstMinutes, math.Abs(got-x.minutes))
			if math.Abs(got-x.minutes) > 15 {
				t.Errorf("%s %s: %v minutes, the logger says %v", d.date.Format(time.DateOnly), x.rule, got, x.minutes)
			}
			a, has := alarms[x.rule+d.date.Format(time.DateOnly)]
			if has {
				alarmed++
				if n := float64(a.Measured) / 60_000; math.Abs(n-x.minutes) > 15 {
					t.Errorf("%s %s: alarm of %v minutes, the logger says %v", d.date.Format(time.DateOnly), x.rule, n, x.minutes)
				}
			}
			if x.minutes >= 75 && !has || x.minutes < 45 && has {
				t.Errorf("%s %s: alarm %v, the logger counted %v minutes", d.date.Format(time.DateOnly), x.rule, has, x.minutes)
			}
		}
	}
	t.Logf("38 days, %d readings: minimum off by at most %.1f °C, minutes beyond off by at most %.0f, %d alarms", len(readings), worstMin, worstMinutes, alarmed)
}
