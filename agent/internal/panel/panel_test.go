package panel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpioreg"
)

// wire is a pin that both ends may set.
type wire struct {
	gpio.PinIO
	name   string
	number int

	mu    sync.Mutex
	level gpio.Level
}

func (w *wire) String() string { return w.name }
func (w *wire) Name() string   { return w.name }
func (w *wire) Number() int    { return w.number }

func (w *wire) In(pull gpio.Pull, _ gpio.Edge) error { return w.Out(pull == gpio.PullUp) }

func (w *wire) Read() gpio.Level {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.level
}

func (w *wire) Out(l gpio.Level) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.level = l
	return nil
}

// desk is a panel on pins that tests hold the other end of.
type desk struct {
	buzzer, led, button, door, mains *wire
	panel                            *Panel

	mu   sync.Mutex
	said []string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{}
	number := 0
	for name, pin := range map[string]**wire{"BUZZER": &d.buzzer, "LED": &d.led, "BUTTON": &d.button, "DOOR": &d.door, "MAINS": &d.mains} {
		number++
		*pin = &wire{name: name, number: number}
		if err := gpioreg.Register(*pin); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := gpioreg.Unregister(name); err != nil {
				t.Error(err)
			}
		})
	}
	var err error
	if d.panel, err = New(Options{Buzzer: "BUZZER", LED: "LED", Acknowledge: "BUTTON", Door: "DOOR", Mains: "MAINS"}); err != nil {
		t.Fatal(err)
	}
	return d
}

// on runs a test of a running panel in fake time.
func on(t *testing.T, f func(t *testing.T, d *desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.set(d.door, gpio.Low)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan bool)
		go func() {
			d.panel.Run(ctx, func(i Input) {
				d.mu.Lock()
				defer d.mu.Unlock()
				d.said = append(d.said, fmt.Sprintf("%d %v", i.Kind, i.On))
			})
			close(done)
		}()
		f(t, d)
		cancel()
		<-done
		if d.level(d.buzzer) || d.level(d.led) {
			t.Error("buzzer or light are on after the end")
		}
	})
}

func (d *desk) set(p *wire, l gpio.Level) { _ = p.Out(l) }

func (d *desk) level(p *wire) bool { return bool(p.Read()) }

func (d *desk) heard() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.said)
}

// flanks counts how often a pin changes, and for how much of the time it is high.
func (d *desk) flanks(p *wire, over time.Duration) (n int, high float64) {
	const step = 10 * time.Millisecond
	last := d.level(p)
	for range over / step {
		time.Sleep(step)
		synctest.Wait()
		if now := d.level(p); now != last {
			n, last = n+1, now
		}
		if last {
			high++
		}
	}
	return n, high / float64(over/step)
}

func TestPatterns(t *testing.T) {
	for name, c := range map[string]struct {
		s           Signal
		led, buzzer int // changes in four seconds
	}{
		"all is well": {Signal{Receipts: true}, 0, 0}, "no receipts": {Signal{}, 4, 0},
		"alarm": {Signal{Alarm: true, Receipts: true}, 40, 8}, "alarm, no receipts": {Signal{Alarm: true}, 40, 8},
	} {
		t.Run(name, func(t *testing.T) {
			on(t, func(t *testing.T, d *desk) {
				d.panel.Show(c.s)
				time.Sleep(time.Second)
				n, high := d.flanks(d.led, 4*time.Second)
				if n < c.led-1 || n > c.led+1 || c.led == 0 && high != 1 {
					t.Errorf("light changes %d times and is lit for %.2f, want %d changes", n, high, c.led)
				}
				n, high = d.flanks(d.buzzer, 4*time.Second)
				if n < c.buzzer-1 || n > c.buzzer+1 || c.buzzer == 0 && high != 0 {
					t.Errorf("buzzer changes %d times, sounds for %.2f, want %d changes", n, high, c.buzzer)
				}
			})
		})
	}
}

// The button stops the noise of the alarms there are, and of no later one.
func TestAcknowledge(t *testing.T) {
	on(t, func(t *testing.T, d *desk) {
		sounds := func(want bool) {
			t.Helper()
			if n, _ := d.flanks(d.buzzer, 2*time.Second); (n > 0) != want {
				t.Errorf("buzzer changes %d times, want it to sound: %v", n, want)
			}
		}
		d.panel.Show(Signal{Alarm: true, Raised: 1})
		sounds(true)
		d.set(d.button, gpio.Low)
		time.Sleep(40 * time.Millisecond) // a spark
		d.set(d.button, gpio.High)
		sounds(true)
		d.set(d.button, gpio.Low)
		time.Sleep(time.Second)
		d.set(d.button, gpio.High)
		time.Sleep(time.Second)
		sounds(false)
		if n, _ := d.flanks(d.led, 2*time.Second); n < 10 {
			t.Errorf("light changes %d times: the alarm is not over", n)
		}
		d.panel.Show(Signal{Alarm: true, Raised: 2})
		sounds(true)
		d.panel.Show(Signal{Raised: 2})
		time.Sleep(100 * time.Millisecond)
		sounds(false)
	})
}

func TestInputsAreDebounced(t *testing.T) {
	on(t, func(t *testing.T, d *desk) {
		expect := func(want ...string) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			if got := d.heard(); !slices.Equal(got, want) {
				t.Errorf("heard %q, want %q", got, want)
			}
		}
		expect("1 false", "2 false") // how it is at the start
		for range 12 {               // the contact bounces
			d.set(d.door, gpio.High)
			time.Sleep(3 * time.Millisecond)
			d.set(d.door, gpio.Low)
			time.Sleep(4 * time.Millisecond)
		}
		d.set(d.door, gpio.High)
		expect("1 false", "2 false", "1 true")
		d.set(d.mains, gpio.High)
		expect("1 false", "2 false", "1 true", "2 true")
		d.set(d.door, gpio.Low)
		expect("1 false", "2 false", "1 true", "2 true", "1 false")
	})
}

func TestUnknownPin(t *testing.T) {
	for _, o := range []Options{{Buzzer: "GPIO999"}, {LED: "GPIO999"}, {Acknowledge: "GPIO999"}, {Door: "GPIO999"}, {Mains: "GPIO999"}} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), "hint: ") || !strings.Contains(err.Error(), `"GPIO999"`) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// deaf is an output that fails.
type deaf struct {
	gpio.PinOut
	tries int
}

func (d *deaf) Out(gpio.Level) error {
	d.tries++
	return errors.New("i/o error")
}

// A pin that fails is tried again and takes nothing else with it.
func TestOutputThatFails(t *testing.T) {
	on(t, func(t *testing.T, d *desk) {
		bad := &deaf{}
		o := &output{name: "buzzer", pin: bad}
		for range 3 {
			o.set(true, d.panel.log)
		}
		if bad.tries != 3 || !o.failed {
			t.Errorf("tried %d times", bad.tries)
		}
	})
}

func TestNothingIsWired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		p.Show(Signal{Alarm: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		p.Run(ctx, func(Input) { t.Error("an input that is not there") })
	})
}
