package app

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseFaultPlan(t *testing.T) {
	for text, want := range map[string]FaultPlan{
		"dc:1:gone@30s+10s":          {"dc", 1, Fault{Kind: Gone}, 30 * time.Second, 10 * time.Second},
		"shop:2:85@1m":               {"shop", 2, Fault{Kind: PowerOn}, time.Minute, 0},
		"shop:2:drift=-0.5@0s":       {"shop", 2, Fault{Kind: Drift, PerHour: -0.5}, 0, 0},
		"dc:reader:skew=-1m30s@1s":   {"dc", PartReader, Fault{Kind: Skew, Ahead: -90 * time.Second}, time.Second, 0},
		"dc:reader:loose=2@1s":       {"dc", PartReader, Fault{Kind: Loose, Antenna: 2}, time.Second, 0},
		"dc:reader:gone@1s+1s":       {"dc", PartReader, Fault{Kind: Gone}, time.Second, time.Second},
		"origin:room:outage@10s+20s": {"origin", PartRoom, Fault{Kind: Outage}, 10 * time.Second, 20 * time.Second},
	} {
		if got, err := ParseFaultPlan(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"": "incomplete", "dc:1:gone": "incomplete", "dc:gone@1s": "incomplete",
		"dc:x:gone@1s": `no part "x"`, "dc:0:gone@1s": `no part "0"`, "dc:-1:gone@1s": `no part "-1"`,
		"dc:1:melt@1s":         `no fault "melt" of a probe, want one of none, crc, empty, allzero, 85, gone, brownout, short, stuck, drift=DEGREES-PER-HOUR`,
		"dc:reader:crc@1s":     `no fault "crc" of a reader, want one of none, gone, hang, skew=DURATION, loose=ANTENNA`,
		"dc:room:gone@1s":      `no fault "gone" of a room, want one of door, outage`,
		"dc:1:gone=3@1s":       `no fault "gone=3" of a probe`,
		"dc:1:drift@1s":        `no fault "drift" of a probe`,
		"dc:1:drift=NaN@1s":    "at most 1000 degrees per hour",
		"dc:reader:loose=0@1s": "an antenna from 1 to 2", "dc:reader:loose=3@1s": "an antenna from 1 to 2", "dc:reader:loose=65537@1s": "an antenna",
		"dc:reader:skew=2@1s":    "missing unit",
		"dc:reader:skew=1e9h@1s": "fault",
		"dc:1:gone@1":            "no time", "dc:1:gone@-1s": "no time", "dc:1:gone@1s+0s": "no duration", "dc:1:gone@1s+": "no duration",
	} {
		if p, err := ParseFaultPlan(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is read as %+v, %v, want %q", text, p, err, want)
		}
	}
}

func FuzzParseFaultPlan(f *testing.F) {
	f.Add("dc:1:gone@30s+10s")
	f.Add("dc:reader:skew=-90s@1s")
	f.Add("dc:1:drift=0.25@1h")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseFaultPlan(text)
		if err != nil {
			return
		}
		if p.After < 0 || p.For < 0 || p.active(p.After-1) || !p.active(p.After) {
			t.Errorf("%q is read as %+v", text, p)
		}
		if again, err := ParseFault(p.Part, p.Fault.String()); err != nil || again != p.Fault || !p.Fault.Kind.has(p.Part) {
			t.Errorf("%q has the fault %v, which is read as %v, %v", text, p.Fault, again, err)
		}
	})
}

func TestReadScript(t *testing.T) {
	name := filepath.Join(t.TempDir(), "script")
	write := func(text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# a bad day\n\n  dc:1:gone@30s+10s \ndc:reader:hang@1m")
	plans, err := ReadScript(name)
	if want := []FaultPlan{{"dc", 1, Fault{Kind: Gone}, 30 * time.Second, 10 * time.Second}, {"dc", PartReader, Fault{Kind: Hang}, time.Minute, 0}}; err != nil || !slices.Equal(plans, want) {
		t.Errorf("got %+v, %v", plans, err)
	}
	write("dc:1:gone@30s\ndc:1:melt@30s\n")
	if _, err := ReadScript(name); err == nil || !strings.Contains(err.Error(), `script line 2: no fault "melt"`) {
		t.Errorf("got %v", err)
	}
	write(strings.Repeat("#", maxScript+1))
	if _, err := ReadScript(name); err == nil || !strings.Contains(err.Error(), "over 1048576 bytes") {
		t.Errorf("got %v", err)
	}
	if _, err := ReadScript(name + ".gone"); err == nil {
		t.Error("read a file that is not there")
	}
}

func TestParseControl(t *testing.T) {
	got, err := parseControl("# second probe\n\n2 gone\n1 85\nreader skew=2m", 3)
	if want := (map[Part]Fault{1: {Kind: PowerOn}, 2: {Kind: Gone}, PartReader: {Kind: Skew, Ahead: 2 * time.Minute}}); err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for text, want := range map[string]string{
		"1":                               "line 1: 1 words",
		"1 gone now":                      "line 1: 3 words",
		"\n4 gone":                        "line 2: no probe 4, want 1 to 3",
		"moon gone":                       `line 1: no part "moon"`,
		"1 hang":                          `no fault "hang" of a probe`,
		"1 gone\n1 crc":                   "line 2: part 1 a second time",
		"room door":                       "must be planned",
		strings.Repeat("#", maxControl+1): "at most 16384",
	} {
		if got, err := parseControl(text, 3); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is read as %v, %v, want %q", text, got, err, want)
		}
	}
}

func FuzzParseControl(f *testing.F) {
	f.Add("# x\n2 gone\nreader hang\n")
	f.Fuzz(func(t *testing.T, text string) {
		faults, err := parseControl(text, 3)
		if err != nil {
			return
		}
		for p, fault := range faults {
			if p > 3 || p == PartRoom || !fault.Kind.has(p) {
				t.Errorf("%q breaks %v by %v", text, p, fault)
			}
		}
	})
}
