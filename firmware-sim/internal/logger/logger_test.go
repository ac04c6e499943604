package logger

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const small = "Device: Q-tag Fridge-tag 2 L\r\n" +
	"Conf:\r\n Serial: 7\r\n Temp unit: C\r\n Logging Interval: 5\r\n" +
	"Hist:\r\n 1:\r\n  Date: 2022-05-05\r\n  Min T: -0.4, TS Min T: 23:08\r\n  Max T: +12.4, TS Max T: 15:20\r\n  Avrg T: +7.1\r\n" +
	"Data:\r\n\tyyyy-MM-dd hh:mm\tT\tOut of limits\r\n" +
	"\t2022-05-05 15:11\t-0.4\r\n\t2022-05-05 15:16\t12.1\tx\r\n" +
	"Cert:\r\n Vers: 1.0\r\nSig: af59\r\n"

func TestParse(t *testing.T) {
	got, err := Parse(strings.NewReader(small))
	if err != nil {
		t.Fatal(err)
	}
	if got.Serial != "7" || got.Interval != 5*time.Minute {
		t.Errorf("serial %q every %v, want 7 every 5m", got.Serial, got.Interval)
	}
	day := Day{time.Date(2022, 5, 5, 0, 0, 0, 0, time.UTC), -400, 12400, 7100}
	if len(got.Days) != 1 || got.Days[0] != day {
		t.Errorf("days %v, want %v", got.Days, day)
	}
	want := []Reading{
		{time.Date(2022, 5, 5, 15, 11, 0, 0, time.UTC), -400, false},
		{time.Date(2022, 5, 5, 15, 16, 0, 0, time.UTC), 12100, true},
	}
	if len(got.Readings) != 2 || got.Readings[0] != want[0] || got.Readings[1] != want[1] {
		t.Errorf("readings %v, want %v", got.Readings, want)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"fahrenheit", "Temp unit: C", "Temp unit: F", `line 4: temperature unit "F"`},
		{"two points", "12.1", "1.2.1", `line 15: temperature "1.2.1"`},
		{"two signs", "12.1", "--2.1", `line 15: temperature "--2.1"`},
		{"two decimals", "12.1", "12.10", `line 15: temperature "12.10"`},
		{"comma", "12.1", "12,1", `line 15: temperature "12,1"`},
		{"empty", "12.1", "", `line 15: temperature ""`},
		{"too hot", "12.1", "100.1", "line 15: temperature 100.1 outside -60 to 100"},
		{"too cold", "Min T: -0.4", "Min T: -60.1", "line 9: temperature -60.1 outside"},
		{"time stands still", "15:16\t", "15:11\t", "line 15: time 2022-05-05 15:11 is not after"},
		{"no such day", "2022-05-05 15:16", "2022-02-30 15:16", "line 15: time"},
		{"date", "Date: 2022-05-05", "Date: 05.05.2022", `line 8: day "05.05.2022"`},
		{"mark", "12.1\tx", "12.1\ty", "line 15: reading"},
		{"heading", "yyyy-MM-dd hh:mm", "MM/dd/yyyy hh:mm", "line 13: heading"},
		{"interval", "Logging Interval: 5", "Logging Interval: 0", "line 5: logging interval"},
		{"no data", "Data:", "Date:", "no readings in 18 lines"},
		{"long line", "Sig: af59", "Sig: " + strings.Repeat("a", MaxLine), "line 18: longer than 4096"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(small, c.old, c.new, 1)
			if text == small {
				t.Fatal("nothing was replaced")
			}
			if _, err := Parse(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

// The real file carries its own oracle: the logger's daily minimum, maximum and
// mean, computed in the instrument from measurements between the readings too.
func TestParseRealFile(t *testing.T) {
	names, _ := filepath.Glob("../../../../shared/data/logger/fridge-tag-2L-*.txt")
	if len(names) == 0 {
		t.Skip("no ../shared/data/logger/fridge-tag-2L-*.txt beside the repository")
	}
	f, err := os.Open(names[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Readings) != 10653 || len(got.Days) != 38 || got.Interval != 5*time.Minute {
		t.Errorf("%d readings on %d days every %v, want 10653 on 38 every 5m", len(got.Readings), len(got.Days), got.Interval)
	}
	type sum struct{ min, max, total, n int32 }
	days := map[time.Time]sum{}
	for _, r := range got.Readings {
		if out := r.Milli <= 2000 || r.Milli >= 8000; r.Out && !out {
			t.Errorf("%v: %d is marked out of limits", r.At, r.Milli)
		}
		date := r.At.Truncate(24 * time.Hour)
		s, ok := days[date]
		if !ok {
			s = sum{min: r.Milli, max: r.Milli}
		}
		days[date] = sum{min(s.min, r.Milli), max(s.max, r.Milli), s.total + r.Milli, s.n + 1}
	}
	lowest, highest := got.Days[0].Min, got.Days[0].Max
	for _, d := range got.Days {
		lowest, highest = min(lowest, d.Min), max(highest, d.Max)
		s := days[d.Date]
		// A swing between two readings shows in the summary alone: a compressor
		// dip of 0.1 degree, a door opening of half a degree.
		if low := s.min - d.Min; low < 0 || low > 100 {
			t.Errorf("%s: lowest reading %d, logger's minimum %d", d.Date.Format(time.DateOnly), s.min, d.Min)
		}
		if high := d.Max - s.max; high < 0 || high > 500 {
			t.Errorf("%s: highest reading %d, logger's maximum %d", d.Date.Format(time.DateOnly), s.max, d.Max)
		}
		if s.n != 288 {
			continue // on the first and last day the logger's mean covers another span
		}
		// Cut towards zero: 0 to 99 thousandths vanish, and 10 more for what the
		// logger measured between the readings.
		mean := s.total / s.n
		cut := mean - d.Mean
		if mean < 0 {
			cut = -cut
		}
		if cut < -10 || cut > 109 {
			t.Errorf("%s: mean of readings %d, logger's mean %d", d.Date.Format(time.DateOnly), mean, d.Mean)
		}
	}
	if lowest != -8400 || highest != 30300 {
		t.Errorf("extremes %d and %d, want -8400 and 30300", lowest, highest)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(small)
	f.Add("Data:\n\tyyyy-MM-dd hh:mm\n\t2022-05-05 15:11\t1.0\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		for i, r := range got.Readings {
			if r.Milli < minMilli || r.Milli > maxMilli || r.Milli%100 != 0 {
				t.Errorf("reading %d is %d", i, r.Milli)
			}
			if i > 0 && !r.At.After(got.Readings[i-1].At) {
				t.Errorf("reading %d at %v is not after %v", i, r.At, got.Readings[i-1].At)
			}
		}
	})
}
