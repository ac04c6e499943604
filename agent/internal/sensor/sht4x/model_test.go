package sht4x

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"trailmark/agent/internal/sensor"
	sim "trailmark/firmware-sim/chip"
	"trailmark/firmware-sim/chip/i2cbus"
	model "trailmark/firmware-sim/chip/sht4x"
)

// socket is where a chip can be exchanged.
type socket struct{ i2cbus.Target }

func (s *socket) Low() bool { return s.Target.(i2cbus.Holder).Low() }

func TestModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		celsius := func(at time.Time) float64 { return 4 + at.Sub(began).Seconds()/10 } // no old value passes for a new one
		rh := func(time.Time) float64 { return 99 }
		c := model.New(model.Config{Serial: 0x0ef5d5f1, Celsius: celsius, Humidity: rh})
		bus, plug := i2cbus.New("i2c-1"), &socket{c}
		if err := bus.Attach(model.Addr, plug); err != nil {
			t.Fatal(err)
		}
		probes, err := Open(t.Context(), bus, model.Addr)
		if err != nil {
			t.Fatal(err)
		}
		if s := probes[temp].Serial(); s != "sht4x-0ef5d5f1" {
			t.Error(s)
		}
		right := func() {
			t.Helper()
			time.Sleep(time.Second)
			for i, p := range probes {
				s := p.Sample(t.Context())
				if want := [channels]float64{celsius(time.Now()), 99}[i]; s.Fault != sensor.FaultNone || math.Abs(float64(s.Milli)/1000-want) > 0.01 {
					t.Errorf("%s: %+v, want %g", p.Channel(), s, want)
				}
			}
		}
		for range 5 {
			right()
		}
		for _, f := range []struct {
			fault          sim.Fault
			before, during sensor.Fault
		}{
			{sim.Fault{Kind: sim.BrownOut}, sensor.FaultNone, sensor.FaultPowerOn},
			{sim.Fault{Kind: sim.Gone}, sensor.FaultGone, sensor.FaultGone},
			{sim.Fault{Kind: sim.Short}, sensor.FaultGone, sensor.FaultGone},
			{sim.Fault{Kind: sim.Corrupt, Count: 1}, sensor.FaultCRC, sensor.FaultCRC},
		} {
			inject := func() {
				if err := c.Inject(f.fault); err != nil {
					t.Error(err)
				}
			}
			inject()
			time.Sleep(10 * time.Millisecond)
			if s := probes[temp].Sample(t.Context()); s.Fault != f.before || s.Fault != sensor.FaultNone && s.Milli != 0 {
				t.Errorf("%s: %+v, want fault %s", f.fault, s, f.before)
			}
			if err := c.Inject(sim.Fault{}); err != nil {
				t.Fatal(err)
			}
			right()
			time.Sleep(time.Minute)
			time.AfterFunc(4*time.Millisecond, inject)
			if s := probes[temp].Sample(t.Context()); s.Fault != f.during || s.Milli != 0 {
				t.Errorf("%s while it measures: %+v, want fault %s", f.fault, s, f.during)
			}
			if err := c.Inject(sim.Fault{}); err != nil {
				t.Fatal(err)
			}
			right()
		}
		plug.Target = model.New(model.Config{Serial: 7, Celsius: celsius, Humidity: rh})
		for range 3 {
			if s := probes[temp].Sample(t.Context()); s.Fault != sensor.FaultConfig || s.Milli != 0 {
				t.Errorf("another chip: %+v", s)
			}
		}
		plug.Target = c
		right()
	})
}
