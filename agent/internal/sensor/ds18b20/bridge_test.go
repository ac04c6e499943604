package ds18b20

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"trailmark/agent/internal/sensor"
	"trailmark/agent/internal/sensor/ds2482"
	sim "trailmark/firmware-sim/chip"
	model "trailmark/firmware-sim/chip/ds18b20"
	bridge "trailmark/firmware-sim/chip/ds2482"
	"trailmark/firmware-sim/chip/i2cbus"
	"trailmark/firmware-sim/chip/w1bus"
)

// rig is three chips, the last on parasite power, on a line behind a bridge.
// Their temperatures grow all the time, so that no old value passes for a new one.
type rig struct {
	began  time.Time
	bridge *bridge.Bridge
	line   *w1bus.Bus
	chips  []*model.Chip
	probes []sensor.Probe
}

func (r *rig) celsius(i int) sim.Source {
	return func(at time.Time) float64 { return float64(10*i) - 15 + at.Sub(r.began).Seconds()/10 }
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{began: time.Now(), line: w1bus.New(time.Now)}
	for i := range 3 {
		c := model.New(model.Config{Serial: 0x0316a2795f00 + uint64(i), Parasite: i == 2, Celsius: r.celsius(i)})
		r.chips = append(r.chips, c)
		r.line.Attach(c)
	}
	r.bridge = bridge.New(time.Now, r.line)
	wire := i2cbus.New("i2c-1")
	if err := wire.Attach(bridge.Addr, r.bridge); err != nil {
		t.Fatal(err)
	}
	bus, err := ds2482.Open(t.Context(), wire, bridge.Addr)
	if err != nil {
		t.Fatal(err)
	}
	if r.probes, err = Open(t.Context(), bus); err != nil || len(r.probes) != 3 {
		t.Fatalf("%d probes, %v", len(r.probes), err)
	}
	return r
}

// right reports a value that the chip felt in the last second.
func (r *rig) right(i int, s sensor.Sample) bool {
	want := r.celsius(i)(time.Now()) * 1000
	return math.Abs(float64(s.Milli)-want) < 150
}

func (r *rig) good(t *testing.T) {
	t.Helper()
	for i, p := range r.probes {
		if s := p.Sample(t.Context()); s.Fault != sensor.FaultNone || !r.right(i, s) {
			t.Errorf("%s: %+v", p.Channel(), s)
		}
	}
}

func TestModels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		if c := r.probes[1].Channel(); c != "28-0316a2795f01/temp" { // as the kernel calls it
			t.Error(c)
		}
		for range 5 {
			r.good(t)
		}
	})
}

func TestModelFaults(t *testing.T) {
	chips := func(k sim.Kind) func(*rig) error {
		return func(r *rig) error {
			for _, c := range r.chips {
				if err := c.Inject(sim.Fault{Kind: k}); err != nil {
					return err
				}
			}
			return nil
		}
	}
	line := func(k sim.Kind) func(*rig) error {
		return func(r *rig) error { return r.line.Inject(sim.Fault{Kind: k}) }
	}
	master := func(k sim.Kind) func(*rig) error {
		return func(r *rig) error { return r.bridge.Inject(sim.Fault{Kind: k}) }
	}
	for _, c := range []struct {
		name   string
		inject func(*rig) error
		before sensor.Fault // of a sample that begins after it
		during sensor.Fault // of one that it interrupts
	}{
		{"brown-out of the chips", chips(sim.BrownOut), sensor.FaultNone, sensor.FaultPowerOn},
		{"chips unplugged", chips(sim.Gone), sensor.FaultGone, sensor.FaultGone},
		{"a chip holds the line low", chips(sim.Short), sensor.FaultAllZero, sensor.FaultAllZero},
		{"short", line(sim.Short), sensor.FaultAllZero, sensor.FaultAllZero},
		{"line cut", line(sim.Gone), sensor.FaultGone, sensor.FaultGone},
		{"brown-out of the bridge", master(sim.BrownOut), sensor.FaultPowerOn, sensor.FaultPowerOn},
		{"bridge unplugged", master(sim.Gone), sensor.FaultGone, sensor.FaultGone},
		{"bridge holds the bus low", master(sim.Short), sensor.FaultGone, sensor.FaultGone},
	} {
		for i := range 3 {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				want := c.before
				for _, when := range []time.Duration{0, 300 * time.Millisecond} {
					r.good(t)
					time.AfterFunc(when, func() {
						if err := c.inject(r); err != nil {
							t.Error(err)
						}
					})
					if when == 0 {
						synctest.Wait()
						time.Sleep(time.Nanosecond)
					} else {
						want = c.during
					}
					if s := r.probes[i].Sample(t.Context()); s.Fault != want || want != sensor.FaultNone && s.Milli != 0 {
						t.Errorf("%s, chip %d, after %s: %+v, want fault %s", c.name, i, when, s, want)
					}
					for _, f := range []func(*rig) error{chips(sim.None), line(sim.None), master(sim.None)} {
						if err := f(r); err != nil {
							t.Fatal(err)
						}
					}
				}
				r.good(t)
			})
		}
	}
}

// One slot of 29 is sampled wrong: every sample is right or a fault, and a
// chip is never taken for another.
func TestModelNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		faults := 0
		for n := range 60 {
			if err := r.line.Inject(sim.Fault{Kind: sim.Corrupt, Count: n%5 + 1}); err != nil {
				t.Fatal(err)
			}
			s := r.probes[n%3].Sample(t.Context())
			if s.Fault != sensor.FaultNone {
				faults++
			} else if !r.right(n%3, s) {
				t.Errorf("%d: %+v", n, s)
			}
			if err := r.line.Inject(sim.Fault{}); err != nil {
				t.Fatal(err)
			}
		}
		if faults < 20 {
			t.Errorf("%d faults of 60 spoiled samples", faults)
		}
		r.good(t)
	})
}
