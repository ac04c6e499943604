package sensor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// counter is a chip of two channels that tells the number of its measurement.
type counter struct {
	n    int64 // belongs to the measuring goroutine
	hang chan struct{}
}

func (c *counter) measure() []Sample {
	c.n++
	time.Sleep(10 * time.Millisecond)
	if c.hang != nil {
		<-c.hang
	}
	return []Sample{{Milli: c.n}, {Milli: 100 + c.n, Fault: FaultNone}}
}

func (c *counter) probes() []Probe {
	return Chip{Serial: "x-1", Calibration: [32]byte{7}, Window: 15 * time.Millisecond, Measure: c.measure,
		Channels: []Channel{{"temp", "Cel"}, {"humidity", "%RH"}}}.Probes()
}

func TestChipConstants(t *testing.T) {
	p := (&counter{}).probes()
	if len(p) != 2 || p[0].Channel() != "x-1/temp" || p[1].Channel() != "x-1/humidity" || p[1].Unit() != "%RH" ||
		p[0].Serial() != "x-1" || p[1].(Calibrated).Calibration() != [32]byte{7} {
		t.Errorf("%+v", p)
	}
}

// Channels asked together share a measurement; one that asks again never gets
// the same one, and a late one not an old one.
func TestChipShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := (&counter{}).probes()
		var wg sync.WaitGroup
		ask := func(i int, want int64) {
			wg.Go(func() {
				if s := p[i].Sample(t.Context()); s.Milli != want || s.Fault != FaultNone || s.Channel != p[i].Channel() || s.At.IsZero() {
					t.Errorf("%s: %+v, want %d", p[i].Channel(), s, want)
				}
			})
		}
		ask(0, 1)
		time.Sleep(9 * time.Millisecond) // while it measures
		ask(1, 101)
		wg.Wait()
		ask(0, 2)
		wg.Wait()
		time.Sleep(4 * time.Millisecond) // within half a measurement after its end
		ask(1, 102)
		wg.Wait()
		ask(0, 3)
		wg.Wait()
		time.Sleep(6 * time.Millisecond) // later than that
		ask(1, 104)
		wg.Wait()
	})
}

// A bus that hangs costs one goroutine, and its late answer is nobody's.
func TestChipHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{hang: make(chan struct{})}
		p := c.probes()
		for i := range 6 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if s := p[i%2].Sample(ctx); s.Fault != FaultGone || s.Milli != 0 || s.Channel != p[i%2].Channel() || s.At.IsZero() {
				t.Errorf("hung: %+v", s)
			}
			cancel()
		}
		synctest.Wait()
		if c.n != 1 {
			t.Errorf("%d measurements under way, want 1", c.n)
		}
		close(c.hang)
		if s := p[0].Sample(t.Context()); s.Milli != 2 || s.Fault != FaultNone {
			t.Errorf("after the hang: %+v", s)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if s := p[0].Sample(ctx); s.Fault != FaultGone || c.n != 2 {
			t.Errorf("after the end: %+v, %d measurements", s, c.n)
		}
	})
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if v, err := Await(t.Context(), func() (int, error) { return 7, nil }); v != 7 || err != nil {
			t.Error(v, err)
		}
		hang := make(chan struct{})
		defer close(hang)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if v, err := Await(ctx, func() (int, error) { <-hang; return 7, nil }); v != 0 || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(v, err)
		}
	})
}

func TestFaultOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Fault
	}{
		{nil, FaultNone},
		{errors.New("NACK"), FaultGone},
		{&Error{FaultCRC, "bad"}, FaultCRC},
		{fmt.Errorf("chip: %w", &Error{FaultPowerOn, "reset"}), FaultPowerOn},
	} {
		if got := FaultOf(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}
