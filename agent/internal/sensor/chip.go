package sensor

import (
	"context"
	"sync"
	"time"
)

// A Chip is what a driver knows about one chip; Probes makes its probes of it.
// All channels come out of one measurement.
type Chip struct {
	Serial      string   // prefix of every channel
	Calibration [32]byte // as Calibrated
	Channels    []Channel
	// Window is how old the beginning of a measurement may be for the other
	// channels to share it: one and a half times what a measurement takes, so half
	// of that after its end. A channel never gets the same measurement twice.
	Window time.Duration
	// Measure gives one sample for each channel, in their order, with Milli, Raw,
	// Fault and Column. It may hang; it is never called while it runs.
	Measure func() []Sample
}

// A Channel is one quantity of a chip.
type Channel struct {
	Name string // as "temp"
	Unit string // SenML
}

// Probes returns one probe for each channel.
func (c Chip) Probes() []Probe {
	shared := &chip{Chip: c}
	probes := make([]Probe, len(c.Channels))
	for i, ch := range c.Channels {
		probes[i] = &probe{chip: shared, index: i, channel: c.Serial + "/" + ch.Name}
	}
	return probes
}

type chip struct {
	Chip
	mu   sync.Mutex   // guards last and its taken; never held while the bus works
	last *measurement // nil before the first
}

type measurement struct {
	begun   time.Time
	done    chan struct{} // closed when samples are there
	samples []Sample      // the measuring goroutine's until done is closed
	taken   []bool        // by which channels; guarded by chip.mu
}

// join gives the measurement that channel i shares or has begun; ok is false if
// it is one that must end before another can begin.
func (c *chip) join(i int) (m *measurement, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m = c.last; m != nil {
		if !m.taken[i] && time.Since(m.begun) < c.Window {
			m.taken[i] = true
			return m, true
		}
		select {
		case <-m.done:
		default:
			return m, false
		}
	}
	m = &measurement{begun: time.Now(), done: make(chan struct{}), taken: make([]bool, len(c.Channels))}
	m.taken[i], c.last = true, m
	go func() { // a transfer cannot be interrupted; a bus that hangs costs this one goroutine
		m.samples = c.Measure()
		for j := range m.samples {
			m.samples[j].Channel, m.samples[j].At = c.Serial+"/"+c.Channels[j].Name, time.Now()
		}
		close(m.done)
	}()
	return m, true
}

type probe struct {
	chip    *chip
	index   int
	channel string
}

func (p *probe) Channel() string       { return p.channel }
func (p *probe) Unit() string          { return p.chip.Channels[p.index].Unit }
func (p *probe) Serial() string        { return p.chip.Serial }
func (p *probe) Calibration() [32]byte { return p.chip.Chip.Calibration }

func (p *probe) Sample(ctx context.Context) Sample {
	for ctx.Err() == nil {
		m, ok := p.chip.join(p.index)
		select {
		case <-m.done:
			if ok {
				return m.samples[p.index]
			}
		case <-ctx.Done():
		}
	}
	return Sample{Channel: p.channel, Fault: FaultGone, At: time.Now()}
}

// Await runs f, which may hang, and gives what it returns; if ctx ends first, f
// is left to itself and the error is that of ctx.
func Await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}
