// Package fleet is a load of light devices on one gateway: each has a key, an
// enrolment and a chain of its own, seals frames in the real format and verifies
// every receipt, but has no probes, no card and no process.
//
// It promises that its devices are simulated ones in the gateway's own words (an
// enrolment as anything else is refused: their keys follow from a seed), that what
// it counts as receipted was proven to be in the ledger, and that a run which ends
// well can be continued: the folder holds enrolments, chains and frames without a
// receipt. After a run that was killed it cannot: which frames were signed is then
// not known, and a chain must never be signed twice.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"trailmark/firmware-sim/internal/world"
	"trailmark/internal/device"
	"trailmark/statement"
)

// A Config says how many devices do what.
type Config struct {
	Devices  int
	Claims   string        // file with one claim URI a line, as gateway claim --simulated prints it; line i is device i's
	Dir      string        // enrolments and chains; made if missing
	Seed     uint64        // of keys, values and jitter
	Readings int           // in a frame
	Every    time.Duration // between two frames of a device
	Ramp     time.Duration // over which devices connect
	Frames   uint64        // of each device, then it rests; 0: no bound
	For      time.Duration // the run takes at most so long; 0: until interrupted
	Drain    time.Duration // wait for the last receipts at the end
	Planned  bool          // devices report a channel and so come into the site's plan
	Clones   int           // so many of the first devices run twice, with one key
	Rogues   float64       // share of the devices that also send what must be refused
}

// Default is a Config that lacks its claims.
func Default() Config {
	return Config{Devices: 100, Dir: "trailmark-fleet", Seed: 1, Readings: 60, Every: time.Second, Ramp: 5 * time.Second, Drain: 30 * time.Second}
}

// Bounds of a Config.
const (
	maxDevices  = 19_000 // a process has 20,000 file descriptors where it has many
	maxReadings = 8000
	minEvery    = 10 * time.Millisecond
	maxEvery    = time.Hour
	maxTime     = 31 * 24 * time.Hour
)

// Check says what is wrong with a configuration, by the name of its flag.
func (c Config) Check() error {
	switch {
	case c.Devices < 1 || c.Devices > maxDevices:
		return fmt.Errorf("devices: %d, want 1 to %d", c.Devices, maxDevices)
	case c.Dir == "":
		return errors.New("dir: empty, want a folder")
	case c.Every < minEvery || c.Every > maxEvery:
		return fmt.Errorf("every: %v, want %v to %v", c.Every, minEvery, maxEvery)
	case c.Readings < 1 || c.Readings > maxReadings || int64(c.Readings) > c.Every.Milliseconds():
		return fmt.Errorf("readings: %d, want 1 to %d, and at most one each millisecond of %v", c.Readings, maxReadings, c.Every)
	case c.Ramp < 0 || c.Ramp > maxTime || c.For < 0 || c.For > maxTime || c.Drain < 0 || c.Drain > maxTime:
		return fmt.Errorf("ramp, for, drain: %v, %v, %v, want 0s to %v", c.Ramp, c.For, c.Drain, maxTime)
	case c.Clones < 0 || c.Clones > c.Devices || c.Devices+c.Clones > maxDevices:
		return fmt.Errorf("clones: %d, want 0 to %d, and at most %d with the devices", c.Clones, c.Devices, maxDevices)
	case !(c.Rogues >= 0 && c.Rogues <= 1):
		return fmt.Errorf("rogues: %v, want a share from 0 to 1", c.Rogues)
	}
	return nil
}

// fleet is what the devices of a run share.
type fleet struct {
	c       Config
	site    *site
	boot    boot
	climate *world.Climate
	stats   *stats
	notes   verified[statement.Checkpoint]
	plans   verified[*device.Plan] // by the message that brings one
	log     *slog.Logger
}

// Run enrols the devices that have no enrolment yet, lets them all publish until
// ctx ends, c.For is over or all have sent c.Frames, and waits for the last
// receipts. It logs what happens each second and writes one JSON Summary to out.
// The folder is durable when Run returns nil.
func Run(ctx context.Context, c Config, out io.Writer, log *slog.Logger) error {
	if err := c.Check(); err != nil {
		return err
	}
	folder, err := openFolder(c.Dir, c.Seed)
	if err != nil {
		return err
	}
	defer folder.close()
	members, site, err := enrol(ctx, c, folder, log)
	if err != nil {
		return err
	}
	f := &fleet{c: c, site: site, climate: world.Room{Setpoint: 5000, Band: 1000, Ambient: 24_000, Swing: 5000}.Climate(c.Seed),
		stats: newStats(), log: log}
	f.notes.open, f.plans.open = site.openNote, site.openPlan
	if f.boot, err = folder.begin(); err != nil { // from here on frames are signed
		return err
	}
	started := time.Now()
	f.run(ctx, members)
	summary := f.summary(members, time.Since(started))
	err = nil
	if c.Clones == 0 {
		err = folder.end(members)
	} else {
		log.Warn("the folder is of no further use: some of its chains were forked by clones", slog.String("dir", c.Dir))
	}
	return errors.Join(err, printSummary(out, summary))
}

// run is the life of all devices.
func (f *fleet) run(ctx context.Context, members []*member) {
	all := slices.Clone(members)
	for i := range f.c.Clones {
		all = append(all, members[i].clone())
	}
	for i := range int(f.c.Rogues * float64(len(members))) {
		members[len(members)-1-i].rogue = true // clones are the first
	}
	publishing, stop := context.WithCancel(ctx)
	defer stop()
	if f.c.For > 0 {
		publishing, stop = context.WithTimeout(ctx, f.c.For)
		defer stop()
	}
	// Devices stay connected for the last receipts after they stopped publishing.
	connected, disconnect := context.WithCancel(context.WithoutCancel(ctx))
	defer disconnect()
	random := rand.New(rand.NewPCG(f.c.Seed, 0x666c6565))
	var group errgroup.Group
	for i, m := range all {
		wait := f.c.Ramp * time.Duration(i) / time.Duration(len(all))
		phase := time.Duration(random.Int64N(int64(f.c.Every)))
		group.Go(func() error {
			m.live(connected, publishing, f, wait, phase)
			return nil
		})
	}
	reporting := make(chan struct{})
	go func() {
		defer close(reporting)
		f.watch(connected, stop, all)
	}()
	<-publishing.Done()
	f.drain(all)
	disconnect()
	_ = group.Wait() // a device that fails is counted, and goes on
	<-reporting
}

// watch logs what happens each second, and stops the publishing when every device
// has sent what it should.
func (f *fleet) watch(ctx context.Context, stop context.CancelFunc, all []*member) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			f.stats.report(f.log)
			if f.c.Frames > 0 && f.stats.done() >= len(all) {
				stop()
			}
		}
	}
}

// drain waits until every frame has its receipt, or for c.Drain.
func (f *fleet) drain(all []*member) {
	end := time.Now().Add(f.c.Drain)
	for time.Now().Before(end) {
		left := 0
		for _, m := range all {
			if !m.forked() {
				left += m.unreceipted()
			}
		}
		if left == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}
