// Package panel is what people at the device see, hear and touch: a buzzer, a
// light, a button that silences the buzzer, a door contact and a mains input,
// each on a GPIO pin and each optional.
//
// It decides nothing: the station says what to show, and what the inputs say is
// for the station to sign. The button stops a noise, never an alarm.
package panel

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpioreg"
)

// A Signal is how the device is, in the little that a light and a buzzer can say.
type Signal struct {
	Alarm    bool   // a limit is passed, or what should be measured is not
	Raised   uint64 // how many alarms there were: one more makes a silenced buzzer sound again
	Receipts bool   // what was signed reaches the ledger
}

// A Kind is what an input tells of.
type Kind int

// Kinds of inputs.
const (
	Door  Kind = 1 // On: it is open
	Mains Kind = 2 // On: there is mains power
)

// An Input is the new state of one input, or the first one after the start.
type Input struct {
	Kind Kind
	On   bool
}

// Options name GPIO pins as "GPIO17"; "" is not wired.
type Options struct {
	Buzzer      string // sounds while high
	LED         string // lit while high: steadily, all is well; slowly blinking, no receipts; fast, alarm
	Acknowledge string // button to ground
	Door        string // contact to ground, closed while the door is
	Mains       string // high while there is mains power
	Log         *slog.Logger
}

// Panel is the pins. Show is safe for concurrent use; Run is called once.
type Panel struct {
	log         *slog.Logger
	buzzer, led *output // nil: not wired
	button      *input
	inputs      []*input // door and mains

	mu     sync.Mutex
	signal Signal // guarded by mu

	// Run's goroutine:
	quiet bool   // the button was pressed
	heard uint64 // Signal.Raised then
}

// New sets the pins up, once periph's host drivers are loaded.
func New(o Options) (*Panel, error) {
	p := &Panel{log: o.Log}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	for _, out := range []struct {
		name, pin string
		to        **output
	}{{"buzzer", o.Buzzer, &p.buzzer}, {"led", o.LED, &p.led}} {
		if out.pin == "" {
			continue
		}
		pin, err := find(out.name, out.pin)
		if err == nil {
			err = pin.Out(gpio.Low)
		}
		if err != nil {
			return nil, fmt.Errorf("panel: %s: %w", out.name, err)
		}
		*out.to = &output{name: out.name, pin: pin}
	}
	for _, in := range []struct {
		name, pin string
		kind      Kind // 0: the button
		pull      gpio.Pull
		on        gpio.Level
	}{
		{"acknowledge", o.Acknowledge, 0, gpio.PullUp, gpio.Low},
		{"door", o.Door, Door, gpio.PullUp, gpio.High},
		{"mains", o.Mains, Mains, gpio.PullDown, gpio.High},
	} {
		if in.pin == "" {
			continue
		}
		pin, err := find(in.name, in.pin)
		if err == nil {
			err = pin.In(in.pull, gpio.NoEdge)
		}
		if err != nil {
			return nil, fmt.Errorf("panel: %s: %w", in.name, err)
		}
		i := &input{kind: in.kind, pin: pin, on: in.on}
		if in.kind == 0 {
			p.button = i
		} else {
			p.inputs = append(p.inputs, i)
		}
	}
	return p, nil
}

func find(what, name string) (gpio.PinIO, error) {
	if pin := gpioreg.ByName(name); pin != nil {
		return pin, nil
	}
	return nil, fmt.Errorf("there is no pin %q\nhint: panel.%s takes a GPIO name such as GPIO17, and the agent must be in the group gpio", name, what)
}

// Show puts s on the panel. It does not block.
func (p *Panel) Show(s Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signal = s
}

const (
	poll = 50 * time.Millisecond // of the inputs, and the grain of every pattern
	// settle is how many polls in a row must agree: contacts bounce for some
	// milliseconds, people and doors take longer.
	settle = 3

	beepOn, beepEvery = 10, 20 // in polls
	fastOn, fastEvery = 2, 4
	slowOn, slowEvery = 20, 40
)

// Run drives the pins and hands every settled change of an input to each, in
// order and from one goroutine. It ends with ctx, and leaves the outputs low.
func (p *Panel) Run(ctx context.Context, each func(Input)) {
	t := time.NewTicker(poll)
	defer t.Stop()
	defer p.set(false, false)
	for n := 0; ; n++ {
		for _, i := range p.inputs {
			if i.changed() {
				each(Input{Kind: i.kind, On: i.state})
			}
		}
		pressed := p.button != nil && p.button.changed() && p.button.state
		p.set(p.look(n, pressed))
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// look says whether the buzzer sounds and the light is lit in the n-th poll.
func (p *Panel) look(n int, pressed bool) (sound, light bool) {
	p.mu.Lock()
	s := p.signal
	p.mu.Unlock()
	if p.heard != s.Raised {
		p.heard, p.quiet = s.Raised, false
	}
	p.quiet = p.quiet || pressed
	switch {
	case s.Alarm:
		return !p.quiet && n%beepEvery < beepOn, n%fastEvery < fastOn
	case !s.Receipts:
		return false, n%slowEvery < slowOn
	}
	return false, true
}

func (p *Panel) set(sound, light bool) {
	p.buzzer.set(sound, p.log)
	p.led.set(light, p.log)
}

// output is a pin that is only written to when it has to change.
type output struct {
	name   string
	pin    gpio.PinOut
	high   bool
	failed bool // and said so
}

func (o *output) set(high bool, log *slog.Logger) {
	if o == nil || o.high == high && !o.failed {
		return
	}
	err := o.pin.Out(gpio.Level(high))
	if err != nil && !o.failed {
		log.Error("panel does not obey", slog.String("what", o.name), slog.Any("err", err))
	}
	o.high, o.failed = high, err != nil
}

// input is a pin whose level counts once it has stayed for settle polls.
type input struct {
	kind  Kind
	pin   gpio.PinIn
	on    gpio.Level
	state bool
	known bool // state is of a settled level
	last  bool // of the poll before
	same  int  // polls that agreed with last
}

// changed polls the pin and reports a new settled state, the first one included.
func (i *input) changed() bool {
	now := i.pin.Read() == i.on
	if now != i.last {
		i.same = 0
	}
	i.last = now
	if i.same = min(i.same+1, settle); i.same < settle || i.known && i.state == now {
		return false
	}
	i.state, i.known = now, true
	return true
}
