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
	"time"

	"trailmark/agent/internal/clock"
	"trailmark/agent/internal/config"
	"trailmark/agent/internal/hardware"
	"trailmark/agent/internal/keys"
	"trailmark/agent/internal/metrics"
	"trailmark/agent/internal/notify"
	"trailmark/agent/internal/outbox"
	"trailmark/agent/internal/sensor"
	"trailmark/agent/internal/station"
	"trailmark/agent/internal/uplink"
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

// Names inside the data folder.
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
	where, err := keys.ParseAddress(c.Key, c.Dir)
	if err != nil {
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
	box, err := openOutbox(c, where.Path)
	if err != nil {
		return err
	}
	defer box.Close()
	key, err := where.Open()
	if err != nil {
		return err
	}
	defer key.Close()
	clk, err := openClock(c.Dir)
	if err != nil {
		return err
	}
	book := metrics.NewBook()
	if err := serveMetrics(ctx, c, book, clk, log); err != nil {
		return err
	}
	pulse := &pulse{}
	nctx, quiet := context.WithCancel(ctx)
	defer quiet()
	go notify.Run(nctx, pulse.alive, func() string { return inBrief(book.Snapshot()) }, log)

	e, err := enrolled(ctx, c, key, hw.Probes, log)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	signer, err := statement.NewSigner(key)
	if err != nil {
		return err
	}
	kid := signer.Key().ID()
	member := newMembership(c.Dir, e, key, log)
	tls, err := member.tls()
	if err != nil {
		return err
	}
	up, err := uplink.New(uplink.Options{Broker: e.Broker, TLS: tls, Name: kid.String(),
		Up: statement.TopicUp(e.Tenant, kid), Down: statement.TopicDown(e.Tenant, kid), Log: log})
	if err != nil {
		return err
	}
	var probes []sensor.Probe
	for _, p := range hw.Probes {
		probes = append(probes, book.Probe(p))
	}
	var readers []station.Reader
	for _, r := range hw.Readers {
		readers = append(readers, book.Reader(r))
	}
	st, err := station.New(station.Config{Key: kid, Epoch: e.Identity.Epoch, Audience: e.Audience, Authority: e.Authority,
		Origin: e.Origin, LogKey: e.LogKey, Every: time.Duration(c.Every), SealEvery: time.Duration(c.Seal),
		Antennas: antennas(c.File), Portals: portals(c.File)},
		station.Parts{
			Sealer: &device.Sealer{Signer: signer, Issuer: e.Identity.Subject, Audience: e.Audience},
			Outbox: box, Clock: clk, Uplink: up, Probes: probes, Readers: readers, Panel: hw.Panel,
			Plans: plans(c.Dir, e, log), Log: log,
			SavePlan: func(message []byte) error { return writeFile(filepath.Join(c.Dir, planName), message) },
			Report:   reporter(c, e, kid, book, clk, log),
			Beat:     pulse.beat,
		})
	if err != nil {
		return err
	}
	log.Info("agent runs", slog.String("device", e.Identity.Name), slog.String("key", kid.String()),
		slog.Uint64("epoch", e.Identity.Epoch), slog.Int("probes", len(probes)), slog.Int("readers", len(readers)), slog.String("broker", e.Broker))

	// The uplink outlives the station, which says goodbye through it.
	uctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		up.Run(uctx)
	}()
	mctx, leave := context.WithCancel(ctx)
	left := make(chan struct{})
	go func() {
		defer close(left)
		member.keepValid(mctx)
	}()
	err = st.Run(ctx)
	leave()
	<-left
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

// openOutbox takes the data folder for this process. Frames that are gone are
// not begun again: their numbers are used up.
func openOutbox(c Config, key string) (*outbox.Log, error) {
	dir := filepath.Join(c.Dir, outboxName)
	_, enrolment := os.Stat(filepath.Join(c.Dir, enrolmentName))
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) && enrolment == nil {
		return nil, fmt.Errorf("%s is gone, and with it the numbers of the frames that were signed\nhint: move %s away and start with a new claim", dir, c.Dir)
	}
	if _, err := os.Stat(key); errors.Is(err, os.ErrNotExist) && enrolment == nil {
		return nil, fmt.Errorf("%s is gone, and the enrolment is for that key\nhint: move %s away and start with a new claim", key, c.Dir)
	}
	return outbox.Open(dir, outbox.Options{MaxBytes: int64(c.Card)})
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
