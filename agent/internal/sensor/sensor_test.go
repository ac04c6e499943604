package sensor

import "testing"

// The numbers are signed: a changed one would rewrite history.
func TestFaultNumbers(t *testing.T) {
	for want, f := range []Fault{FaultNone, FaultGone, FaultAllZero, FaultAllOnes, FaultCRC, FaultConfig, FaultPowerOn, FaultRange, FaultFormat} {
		if uint(f) != uint(want) {
			t.Errorf("%s is %d, want %d", f, f, want)
		}
	}
	seen := map[string]bool{}
	for f := range Fault(10) {
		if s := f.String(); s == "" || seen[s] {
			t.Errorf("fault %d is called %q", f, s)
		} else {
			seen[s] = true
		}
	}
}
