package alarm

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestPresets(t *testing.T) {
	for _, name := range Presets() {
		text, err := Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := ParseRules(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		// The canonical text of a rule is its own: what is read back has the same hash.
		for _, x := range r.Rules {
			again, err := ParseRules([]byte(`{"rules":[` + string(x.Text()) + `]}`))
			if err != nil || again.Rules[0].Hash() != x.Hash() {
				t.Errorf("%s: %s reads back as another rule: %v", name, x.ID, err)
			}
		}
	}
	for _, name := range []string{"nothing", "../presets/default", "", "default.json"} {
		if _, err := Preset(name); err == nil || !strings.Contains(err.Error(), "who-1") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestWHO holds the numbers of the WHO PQS alarm types against the presets.
func TestWHO(t *testing.T) {
	type numbers struct {
		kind Kind
		milli,
		hours int64
	}
	want := map[string]map[string]numbers{
		"who-1": {"who-1-hot": {Single, 45_000, 1}, "who-1-warm": {Cumulative, 30_000, 10}, "who-1-freeze": {Single, -500, 1}},
		"who-2": {"who-2-warm": {Cumulative, 10_000, 20}},
	}
	for name, rules := range want {
		text, err := Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := ParseRules(text)
		if err != nil {
			t.Fatal(err)
		}
		for id, n := range rules {
			x := r.rule(id)
			if x == nil || x.Kind != n.kind || x.limits[0].Value != n.milli || int64(x.For) != n.hours*3_600_000 || !x.limits[0].Beyond(n.milli) {
				t.Errorf("%s %s: %+v", name, id, x)
			}
		}
		for _, x := range r.Rules {
			if len(x.limits) > 0 && x.Unit == "Cel" && rules[x.ID] == (numbers{}) {
				t.Errorf("%s has a limit that WHO's type has not: %s", name, x.ID)
			}
		}
	}
}

// TestRuleHash pins the canonical text: alarms of old stores name it.
func TestRuleHash(t *testing.T) {
	r, err := ParseRules([]byte(rule(Single, `,"for":"60m","unit":"Cel","at_or_below":-0.50`)))
	if err != nil {
		t.Fatal(err)
	}
	x := r.Rules[0]
	const text = `{"id":"r","kind":"single-event","name":{"en":"rule","zh-CN":"规则"},"severity":"alarm","unit":"Cel","at_or_below":-0.5,"for":"1h0m0s"}`
	if string(x.Text()) != text || x.Hash().String() != "b786414d4b697c88e5dc29915afb93de5c5561402031f01f8f1f878b61d8b20c" {
		t.Errorf("%s\n%s", x.Text(), x.Hash())
	}
}

func TestRulesRefused(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown member", rule(Single, `,"plan_limits":true,"for":"1m","colour":"red"`), "unknown field"},
		{"unknown kind", rule("flood", `,"for":"1m"`), `kind "flood"`},
		{"rest", rule(DoorOpen, `,"for":"1m"`) + "{}", "follows"},
		{"limit and plan", rule(Single, `,"plan_limits":true,"unit":"Cel","at_or_above":8,"for":"1m"`), "want plan_limits, or"},
		{"two limits", rule(Single, `,"unit":"Cel","at_or_above":8,"at_or_below":2,"for":"1m"`), "one of"},
		{"no limit", rule(Single, `,"for":"1m"`), "want plan_limits"},
		{"four places", rule(Single, `,"unit":"Cel","at_or_above":8.0001,"for":"1m"`), "three decimal places"},
		{"exponent", rule(Single, `,"unit":"Cel","at_or_above":8e0,"for":"1m"`), "three decimal places"},
		{"too far", rule(Single, `,"unit":"Cel","at_or_above":9999999,"for":"1m"`), "32 bits"},
		{"negative time", rule(DoorOpen, `,"for":"-1m"`), "time span"},
		{"odd time", rule(DoorOpen, `,"for":"1us"`), "time span"},
		{"rise without", rule(RateOfRise, `,"unit":"Cel","for":"0s"`), "a rise"},
		{"rise within a week", rule(RateOfRise, `,"unit":"Cel","rise":1,"within":"168h","for":"0s"`), "at most a day"},
		{"clear of a count", rule(Cumulative, `,"plan_limits":true,"for":"1h","clear":"1m"`), "clear goes with"},
		{"offset without days", rule(Cumulative, `,"plan_limits":true,"for":"1h","utc_offset":"8h"`), "utc_offset"},
		{"silence at once", rule(Silent, `,"for":"0s"`), "a second"},
		{"quality", rule(ClockDoubt, `,"for":"0s","quality":"atomic"`), `quality "atomic"`},
		{"certificate", rule(Calibration, `,"for":"0s","certificates":[{"record":"xyz","due":"2026-01-01T00:00:00Z"}]`), "64 hex digits"},
		{"foreign member", rule(DoorOpen, `,"for":"1m","rise":3`), "does not go with door-open"},
		{"escalation", rule(DoorOpen, `,"for":"1m","notify":"who"`), `no escalation "who"`},
		{"severity", strings.Replace(rule(DoorOpen, `,"for":"1m"`), `"alarm"`, `"loud"`, 1), `severity "loud"`},
		{"no name", strings.Replace(rule(DoorOpen, `,"for":"1m"`), "规则", "", 1), "zh-CN and en"},
		{"id", strings.Replace(rule(DoorOpen, `,"for":"1m"`), `"r"`, `"R R"`, 1), "identifier"},
		{"null", `{"rules":[null]}`, "identifier"},
		{"steps", `{"rules":[],"escalations":[{"id":"e","steps":[{"after":"1m","targets":["a"]},{"after":"1m","targets":["b"]}]}]}`, "step 2"},
		{"no step", `{"rules":[],"escalations":[{"id":"e","steps":[]}]}`, "0 steps"},
		{"target", `{"rules":[],"escalations":[{"id":"e","steps":[{"after":"1m","targets":["A b"]}]}]}`, "identifier"},
		{"large", `{"rules":[]` + strings.Repeat(" ", MaxRulesText) + `}`, "at most"},
	} {
		if _, err := ParseRules([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func FuzzParseRules(f *testing.F) {
	for _, name := range Presets() {
		text, err := Preset(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRules([]byte(text))
		if err != nil {
			return
		}
		canonical, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseRules(canonical)
		if err != nil {
			t.Fatalf("%v: %s", err, canonical)
		}
		for i, x := range r.Rules {
			if again.Rules[i].Hash() != x.Hash() {
				t.Fatalf("%s is not what it reads back as, %s", x.Text(), again.Rules[i].Text())
			}
		}
	})
}

func FuzzParseWindow(f *testing.F) {
	f.Add(`{"trailmark:maintenance":{"from":"2026-03-01T00:00:00Z","to":"2026-03-01T04:00:00Z","why":"defrost"}}`)
	f.Add(`{}`)
	f.Fuzz(func(t *testing.T, text string) {
		w, err := ParseWindow([]byte(text))
		if err == nil && w != nil && (!w.From.Before(w.To) || w.To.Sub(w.From) > maxWindow || w.Why == "") {
			t.Errorf("%+v", w)
		}
	})
}

func BenchmarkParseRules(b *testing.B) {
	text, err := Preset("default")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := ParseRules(text); err != nil {
			b.Fatal(err)
		}
	}
}
