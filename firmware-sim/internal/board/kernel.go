package board

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"trailmark/firmware-sim/chip"
	"trailmark/firmware-sim/chip/ds18b20"
	"trailmark/firmware-sim/internal/w1tree"
)

// kernel is a 1-Wire bus that the kernel masters: files which are kept up to date.
type kernel struct {
	every time.Duration // between two looks at the sources
	tree  *w1tree.Tree  // owned by whoever runs open, play or close: one after the other

	mu     sync.Mutex
	probes []*kernelProbe // itself never changed after New
}

type kernelProbe struct {
	id      string
	celsius chip.Source
	fault   w1tree.Fault // under the lock of the kernel
}

// tick is the longest pause between two looks: a fault comes no later than that.
const tick = 250 * time.Millisecond

func (k *kernel) add(id string, celsius chip.Source) part {
	p := &kernelProbe{id: id, celsius: celsius}
	k.probes = append(k.probes, p)
	return func(word string) (func() error, error) {
		fault, err := w1tree.ParseFault(word)
		if err != nil {
			return nil, err
		}
		return func() error {
			k.mu.Lock()
			defer k.mu.Unlock()
			p.fault = fault
			return nil
		}, nil
	}
}

// open puts the chips on a bus at root and measures once.
func (k *kernel) open(root string) (err error) {
	var ids []string
	for _, p := range k.probes {
		ids = append(ids, p.id)
	}
	if k.tree, err = w1tree.New(root, ids...); err != nil {
		return err
	}
	return k.update(time.Now())
}

func (k *kernel) close() error { return k.tree.Close() }

// play measures until ctx ends.
func (k *kernel) play(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(min(k.every, tick))
	defer ticker.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if err := k.update(now); err != nil && err.Error() != told {
				told = err.Error()
				log.WarnContext(ctx, "1-Wire files out of date", slog.Any("error", err))
			}
		}
	}
}

func (k *kernel) update(now time.Time) error {
	for _, p := range k.probes {
		k.mu.Lock()
		fault := p.fault
		k.mu.Unlock()
		milli := math.Round(1000 * min(max(p.celsius(now), ds18b20.MinMilli/1000), ds18b20.MaxMilli/1000))
		if err := k.tree.Set(p.id, int32(milli), fault); err != nil {
			return fmt.Errorf("chip %s: %w", p.id, err)
		}
	}
	return nil
}
