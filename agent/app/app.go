// Package app puts an agent together: who it is, what it reads, where its frames
// go. The rooms below agent/internal do the work.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"trailmark/agent/internal/clock"
	"trailmark/agent/internal/config"
	"trailmark/agent/internal/hardware"
	"trailmark/agent/internal/keys"
	"trailmark/agent/internal/metrics"
	"trailmark/agent/internal/notify"
	"trailmark/agent/internal/sensor"
	"trailmark/agent/internal/station"
	"trailmark/agent/internal/uplink"
	"trailmark/agent/internal/witness"
	"trailmark/internal/device"
	"trailmark/statement"
)

// A Config is the configuration file and what only the command line says.
type Config struct {
	config.File
	Simulated bool // run as a simulated device only
}

// Default is what an empty file means.
func Default() Config { return Config{File: config.Default()} }

// Names inside the data folder. An epoch above 0 has an outbox of its own: see of.
const (
	enrolmentName = "enrolment.json"
	planName      = "plan.cbor" // the plan-down message that brought the newest plan
	statusName    = "status.json"
	outboxName    = "outbox"
)

// Run is the agent until ctx ends, which is no error.
func Run(ctx context.Context, c Config, log *slog.Logger) error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w\nhint: give a folder this user may write with --dir", err)
	}
	if _, err := keys.ParseAddress(c.Key, c.Dir); err != nil {
		return err
	}
	hw := hardware.Open(ctx, c.File, log)
	defer hw.Close()
	if err := hw.Err(); err != nil {
		return err
	}
	for _, f := range hw.Findings {
		if f.Err != nil {
			log.Error("not there", slog.String("what", f.Part), slog.Any("err", f.Err))
		}
	}
	t, err := openTenure(c)
	if err != nil {
		return err
	}
	defer func() { t.close() }() // whichever it is then
	clk, err := openClock(c.Dir)
	if err != nil {
		return err
	}
	book := metrics.NewBook()
	if err := serveMetrics(ctx, c, book, clk, log); err != nil {
		return err
	}
	a := &agent{c: c, hw: hw, clk: clk, pulse: &pulse{}, log: log, reporter: newReporter(c, book, clk, log)}
	nctx, quiet := context.WithCancel(ctx)
	defer quiet()
	go notify.Run(nctx, a.pulse.alive, func() string { return inBrief(book.Snapshot()) }, log)
	for _, p := range hw.Probes {
		a.probes = append(a.probes, book.Probe(p))
	}
	for _, r := range hw.Readers {
		a.readers = append(a.readers, book.Reader(r))
	}
	if t.enrolment, err = enrolled(ctx, c, t.key, hw.Probes, log); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if err := t.begin(c, log); err != nil {
		return err
	}
	for {
		if err := a.serve(ctx, t); !errors.Is(err, station.ErrHandedOver) {
			return err
		}
		next, err := a.succeed(t)
		if err != nil {
			return err
		}
		t = next
	}
}

// agent is what stays when the key changes. Nothing of it is replaced once it runs.
type agent struct {
	c        Config
	hw       *hardware.Hardware
	clk      *clock.Clock
	pulse    *pulse
	reporter *reporter
	probes   []sensor.Probe // counted, as are the readers
	readers  []station.Reader
	log      *slog.Logger
}

// serve signs with the key of one epoch until ctx ends, or the epoch does: the
// error is station.ErrHandedOver then.
func (a *agent) serve(ctx context.Context, t *tenure) error {
	c, e, log := a.c, t.enrolment, a.log
	signer, err := statement.NewSigner(t.key)
	if err != nil {
		return err
	}
	kid := signer.Key().ID()
	member := newMembership(c.Dir, e, t.key, log)
	tls, err := member.tls()
	if err != nil {
		return err
	}
	up, err := uplink.New(uplink.Options{Broker: e.Broker, TLS: tls, Name: kid.String(),
		Up: statement.TopicUp(e.Tenant, kid), Down: statement.TopicDown(e.Tenant, kid), Log: log})
	if err != nil {
		return err
	}
	a.reporter.serves(t)
	parts := station.Parts{
		Sealer: &device.Sealer{Signer: signer, Issuer: e.Identity.Subject, Audience: e.Audience},
		Outbox: t.box, Clock: a.clk, Uplink: up, Probes: a.probes, Readers: a.readers, Panel: a.hw.Panel,
		Plans: plans(c.Dir, e, log), Log: log, Opening: t.opening, Before: t.before, Ready: t.ready.Load,
		SavePlan: func(message []byte) error { return writeFile(filepath.Join(c.Dir, planName), message) },
		Report:   a.reporter.hear,
		Beat:     a.pulse.beat,
	}
	// Without it the device measures all the same, and is no witness. The next key
	// goes on with it: the history that a device follows is one through all its keys.
	if memory, err := witness.Open(c.Dir); err != nil {
		log.Error("what this device cosigned is not known: it cosigns nothing", slog.Any("err", err))
	} else {
		defer memory.Close()
		parts.Witness = memory
	}
	st, err := station.New(station.Config{Key: kid, Epoch: e.Identity.Epoch, Audience: e.Audience, Authority: e.Authority,
		Origin: e.Origin, LogKey: e.LogKey, Every: time.Duration(c.Every), SealEvery: time.Duration(c.Seal),
		Antennas: antennas(c.File), Portals: portals(c.File)}, parts)
	if err != nil {
		return err
	}
	t.station, t.before = st, nil
	log.Info("agent runs", slog.String("device", e.Identity.Name), slog.String("key", kid.String()),
		slog.Uint64("epoch", e.Identity.Epoch), slog.Int("probes", len(a.probes)), slog.Int("readers", len(a.readers)), slog.String("broker", e.Broker))

	// The uplink outlives the station, which says goodbye through it.
	uctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		up.Run(uctx)
	}()
	mctx, leave := context.WithCancel(ctx)
	var aside sync.WaitGroup
	aside.Go(func() { member.keepValid(mctx) })
	aside.Go(func() { a.watch(mctx, t, member) })
	err = st.Run(ctx)
	leave()
	aside.Wait()
	stop()
	<-ended
	return err
}

// antennas are from when on a tag counts as present.
func antennas(c config.File) map[string]station.Antenna {
	out := map[string]station.Antenna{}
	for _, a := range c.Antennas {
		out[a.Antenna] = station.Antenna{MinReads: a.MinReads, MinRSSI: a.MinRSSI}
	}
	return out
}

func portals(c config.File) (out []station.Portal) {
	for _, p := range c.Portals {
		out = append(out, station.Portal{Name: p.Name, Outer: p.Outer, Inner: p.Inner})
	}
	return out
}

func openClock(dir string) (*clock.Clock, error) {
	id, err := clock.BootID()
	if err != nil {
		return nil, err
	}
	boots, err := clock.Boots(dir, id)
	if err != nil {
		return nil, err
	}
	return clock.New(clock.Options{BootID: id, BootCount: boots})
}

// plans are those at hand: the enrolment's, and the last that the gateway sent.
func plans(dir string, e *device.Enrolment, log *slog.Logger) []*device.Plan {
	var out []*device.Plan
	if e.Plan != nil {
		out = append(out, e.Plan)
	}
	message, err := readFile(filepath.Join(dir, planName), statement.MaxSize)
	if errors.Is(err, os.ErrNotExist) {
		return out
	}
	var p *device.Plan
	if err == nil {
		var m any
		if m, err = statement.ParseDown(message); err == nil {
			if down, ok := m.(*statement.PlanDown); ok {
				p, err = device.OpenPlan(e.Audience, e.Authority, down.Plan, down.Identities)
			} else {
				err = fmt.Errorf("it holds a %T", m)
			}
		}
	}
	if err != nil {
		log.Error("stored plan is not used", slog.String("file", planName), slog.Any("err", err))
		return out
	}
	return append(out, p)
}
