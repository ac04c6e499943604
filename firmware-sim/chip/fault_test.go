package chip

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Fault{
		"none":        {},
		"gone":        {Kind: Gone},
		"brownout":    {Kind: BrownOut},
		"corrupt=3":   {Kind: Corrupt, Count: 3},
		"short":       {Kind: Short},
		"stuck":       {Kind: Stuck},
		"drift=-0.5":  {Kind: Drift, PerHour: -0.5},
		"counterfeit": {Kind: Counterfeit},
	} {
		if got, err := Parse(text); err != nil || got != want || got.String() != text {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"":               `no fault "", want one of none, gone`,
		"melt":           `no fault "melt"`,
		"Kind(9)":        `no fault "Kind(9)"`,
		"gone=1":         "or a name alone",
		"corrupt":        "want corrupt=COUNT",
		"corrupt=0":      "from 1 to 1000000",
		"corrupt=1e3":    "from 1 to 1000000",
		"drift=NaN":      "at most 1000",
		"drift=-Inf":     "at most 1000",
		"drift=1000.001": "at most 1000",
	} {
		if got, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) || got != (Fault{}) {
			t.Errorf("%q: got %v, %v, want %q in the error", text, got, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("corrupt=3")
	f.Add("drift=-0.5")
	f.Add("gone")
	f.Fuzz(func(t *testing.T, text string) {
		fault, err := Parse(text)
		if err != nil {
			return
		}
		if back, err := Parse(fault.String()); err != nil || back != fault {
			t.Errorf("%q is %v, which is read as %v, %v", text, fault, back, err)
		}
	})
}

func TestState(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	warming := func(at time.Time) float64 { return at.Sub(start).Hours() } // 1 °C an hour
	var s State
	check := func(hours time.Duration, want float64) {
		t.Helper()
		if got := s.Celsius(warming, start.Add(hours*time.Hour)); math.Abs(got-want) > 1e-9 {
			t.Errorf("after %d h: %g °C, want %g", hours, got, want)
		}
	}
	check(2, 2)
	s.Apply(Fault{Kind: Drift, PerHour: -0.25}, start.Add(2*time.Hour))
	check(1, 1) // before the fault
	check(6, 5)
	s.Apply(Fault{Kind: Stuck}, start.Add(6*time.Hour))
	check(10, 4) // stuck at 6, the drift goes on
	s.Apply(Fault{Kind: Corrupt, Count: 2}, start)
	for i, want := range []bool{true, true, false} {
		if s.Corrupt() != want {
			t.Errorf("answer %d has a flipped bit: %v, want two that have", i+1, !want)
		}
	}
	s.Apply(Fault{Kind: Gone}, start)
	s.Apply(Fault{Kind: Short}, start)
	s.Apply(Fault{Kind: Counterfeit}, start)
	if !s.Gone || !s.Short || !s.Counterfeit {
		t.Errorf("faults do not join: %+v", s)
	}
	if s.Apply(Fault{}, start); s != (State{}) {
		t.Errorf("none leaves %+v", s)
	}
	check(10, 10)
}
