package passport_test

import (
	"testing"
	"time"

	"trailmark/passport"
	"trailmark/passport/passporttest"
)

// Promises for an item with three legs of 21 days each at one block a minute on
// two channels a leg: docs/specification.md.
const (
	largeBytes = 96_000
	largeTime  = 20 * time.Millisecond // of one core, unloaded
)

func TestLargePassport(t *testing.T) {
	data, trust := passporttest.Large(t)
	if len(data) > largeBytes {
		t.Errorf("%d bytes, want at most %d", len(data), largeBytes)
	}
	at := passporttest.Epoch().AddDate(0, 0, 67)
	v, err := passport.Verify(data, trust, at)
	if err != nil {
		t.Fatal(err)
	}
	if v.Outcome != passport.Kept || len(v.Legs) != 3 || len(v.Withheld) != 0 || len(v.Anchors) != 13 || v.KeyStatus == nil {
		t.Fatalf("outcome %s, %d legs, withheld %v, %d anchors", v.Outcome, len(v.Legs), v.Withheld, len(v.Anchors))
	}
	for i, leg := range v.Legs {
		if leg.Sightings != 4 || len(leg.Channels) != 2 || leg.NotAfter.Proof != passport.Proven || i > 0 && leg.NotBefore.Proof != passport.Proven {
			t.Errorf("leg %d: %d sightings, %d channels, %+v to %+v", i, leg.Sightings, len(leg.Channels), leg.NotBefore, leg.NotAfter)
		}
		for _, ch := range leg.Channels {
			if ch.Blocks < 30_178 || ch.Unmeasured != 0 || len(ch.Heads) != 4 || ch.LateProof != passport.Proven || ch.Late != 3*60_000 || ch.HeadGap > 7*24*3_600_000 {
				t.Errorf("leg %d: %+v", i, ch)
			}
		}
	}
	best := time.Hour
	for range 20 {
		began := time.Now()
		if _, err := passport.Verify(data, trust, at); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(began))
	}
	t.Logf("%d bytes, verified in %v at best", len(data), best)
	if best > 5*largeTime && !raced {
		t.Errorf("verified in %v at best, promised are %v", best, largeTime)
	}
}

func BenchmarkVerifyLarge(b *testing.B) {
	data, trust := passporttest.Large(b)
	b.ReportMetric(float64(len(data)), "bytes")
	for b.Loop() {
		if _, err := passport.Verify(data, trust, passporttest.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
