package bme280

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"trailmark/agent/internal/sensor"
	sim "trailmark/firmware-sim/chip"
	model "trailmark/firmware-sim/chip/bme280"
	"trailmark/firmware-sim/chip/i2cbus"
)

// socket is where a chip can be exchanged.
type socket struct{ i2cbus.Target }

func (s *socket) Low() bool { return s.Target.(i2cbus.Holder).Low() }

// room grows warmer all the time, so that no old value passes for a new one.
type room struct{ began time.Time }

func (r room) celsius(at time.Time) float64 { return -18 + at.Sub(r.began).Seconds()/500 }

func (r room) chip(t2 int16) *model.Chip {
	trimming := model.Example
	trimming.T2 = t2
	return model.New(model.Config{Celsius: r.celsius, Trimming: &trimming,
		Humidity: func(time.Time) float64 { return 40 }, Pascal: func(time.Time) float64 { return 101_325 }})
}

func (r room) good(t *testing.T, probes []sensor.Probe) {
	t.Helper()
	for i, p := range probes {
		s := p.Sample(t.Context())
		want := [channels]float64{temp: r.celsius(time.Now()), humidity: 40, pressure: 101_325}[i]
		off := [channels]float64{temp: 0.03, humidity: 0.1, pressure: 5}[i]
		if s.Fault != sensor.FaultNone || math.Abs(float64(s.Milli)/1000-want) > off {
			t.Errorf("%s: %+v, want %g", p.Channel(), s, want)
		}
	}
}

func TestModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := room{time.Now()}
		c, other := r.chip(26435), r.chip(26440)
		bus, s := i2cbus.New("i2c-1"), &socket{c}
		if err := bus.Attach(0x76, s); err != nil {
			t.Fatal(err)
		}
		probes, err := Open(t.Context(), bus, 0x76)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			r.good(t, probes)
			time.Sleep(time.Minute)
		}
		for _, f := range []struct {
			kind           sim.Kind
			before, during sensor.Fault
		}{
			{sim.BrownOut, sensor.FaultPowerOn, sensor.FaultPowerOn}, // and not 26 °C
			{sim.Gone, sensor.FaultGone, sensor.FaultGone},
			{sim.Short, sensor.FaultGone, sensor.FaultGone},
		} {
			inject := func() {
				if err := c.Inject(sim.Fault{Kind: f.kind}); err != nil {
					t.Error(err)
				}
			}
			inject()
			time.Sleep(10 * time.Millisecond)
			if s := probes[temp].Sample(t.Context()); s.Fault != f.before || s.Milli != 0 {
				t.Errorf("%s: %+v, want fault %s", f.kind, s, f.before)
			}
			if err := c.Inject(sim.Fault{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			r.good(t, probes)
			time.Sleep(time.Minute)
			time.AfterFunc(4*time.Millisecond, inject)
			if s := probes[temp].Sample(t.Context()); s.Fault != f.during || s.Milli != 0 {
				t.Errorf("%s while it measures: %+v, want fault %s", f.kind, s, f.during)
			}
			if err := c.Inject(sim.Fault{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			r.good(t, probes)
		}
		s.Target = other
		for range 3 {
			time.Sleep(time.Minute)
			if s := probes[temp].Sample(t.Context()); s.Fault == sensor.FaultNone || s.Milli != 0 {
				t.Errorf("another chip: %+v", s)
			}
		}
		s.Target = c
		time.Sleep(time.Minute)
		r.good(t, probes)
	})
}

// A flipped bit in an answer is never a value: every sample is right or a fault.
func TestModelNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := room{time.Now()}
		c, bus := r.chip(26435), i2cbus.New("i2c-1")
		if err := bus.Attach(0x76, c); err != nil {
			t.Fatal(err)
		}
		probes, err := Open(t.Context(), bus, 0x76)
		if err != nil {
			t.Fatal(err)
		}
		faults := 0
		for n := range 60 {
			time.AfterFunc(time.Duration(n%12)*time.Millisecond, func() {
				if err := c.Inject(sim.Fault{Kind: sim.Corrupt, Count: n%7 + 1}); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(time.Nanosecond)
			s := probes[temp].Sample(t.Context())
			if s.Fault != sensor.FaultNone {
				faults++
			} else if math.Abs(float64(s.Milli)/1000-r.celsius(time.Now())) > 0.03 {
				t.Errorf("%d: %+v", n, s)
			}
			time.Sleep(time.Second)
			if err := c.Inject(sim.Fault{}); err != nil {
				t.Fatal(err)
			}
		}
		if faults == 0 {
			t.Error("no fault in 60 spoiled samples")
		}
		time.Sleep(time.Minute)
		r.good(t, probes)
	})
}
