// Package app wires the simulated hardware of a few sites: for each zone a
// 1-Wire bus as a directory and an RFID reader as an LLRP listener, all fed by
// one world.
//
// It promises that a zone announced can be used, that two runs with one seed and
// one configuration differ in nothing but the clock, and that the chips are gone
// when Run returns: a simulator that is off leaves no reading behind. It is the
// hardware and never imports the agent.
//
// Format: one JSON object a line, a WorldLine, then one ZoneLine per zone.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"trailmark/firmware-sim/internal/logger"
	"trailmark/firmware-sim/internal/world"
	"trailmark/internal/epc"
)

// Run simulates until ctx ends, then takes the chips off the buses, closes the
// readers and returns nil. It prints the start-up lines to out once everything
// can be used.
func Run(ctx context.Context, c Config, out io.Writer, log *slog.Logger) (err error) {
	if err := c.Check(); err != nil {
		return err
	}
	line, w, err := newWorld(c, time.Now())
	if err != nil {
		return err
	}
	var sites []*site
	defer func() {
		for _, s := range sites {
			err = errors.Join(err, s.close())
		}
	}()
	for i := range c.Zones {
		s, e := open(c, i, w, line.Start, log)
		if e != nil {
			return e
		}
		sites = append(sites, s)
	}
	if err := printLine(out, line); err != nil {
		return err
	}
	for _, s := range sites {
		if err := printLine(out, s.line()); err != nil {
			return err
		}
	}
	log.InfoContext(ctx, "started", slog.String("temperature", line.Temperature.Source),
		slog.String("file", line.Temperature.File), slog.Duration("step", c.Step), slog.Uint64("seed", c.Seed))
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range sites {
		log.InfoContext(ctx, "zone", slog.String("zone", s.zone.ID), slog.String("name", s.zone.Name),
			slog.String("w1", s.root), slog.String("llrp", s.listener.Addr().String()), slog.Int("probes", len(s.ids)))
		group.Go(func() error { return s.play(ctx, min(c.Step, tick)) })
		group.Go(func() error { return s.server.Serve(ctx, s.listener) })
	}
	return group.Wait()
}

// newWorld builds what the sensors sense, and the line that tells of it.
func newWorld(c Config, start time.Time) (WorldLine, *world.World, error) {
	line := WorldLine{Kind: "world", Seed: c.Seed, Start: start}
	pallet, err := world.NewPallet(c.Items)
	if err != nil {
		return line, nil, err
	}
	strayID, err := world.Stray()
	if err != nil {
		return line, nil, err
	}
	var tags [][]byte
	for _, id := range append([]epc.ID{pallet.SSCC}, pallet.Items...) {
		b, err := id.Encode()
		if err != nil {
			return line, nil, err
		}
		tags = append(tags, b)
		thing, err := newThing(id)
		if err != nil {
			return line, nil, err
		}
		line.Items = append(line.Items, thing)
	}
	line.Pallet, line.Items = line.Items[0], line.Items[1:]
	if line.Stray, err = newThing(strayID); err != nil {
		return line, nil, err
	}
	stray, err := strayID.Encode()
	if err != nil {
		return line, nil, err
	}

	ids := make([]string, len(c.Zones))
	for i, z := range c.Zones {
		ids[i] = z.ID
	}
	route := world.Line(ids, c.Lead, c.Stay, c.Travel)
	for _, s := range route {
		onClock := func(d time.Duration) time.Time { return start.Add(time.Duration(float64(d) / c.Speed)) }
		line.Route = append(line.Route, Stay{s.Zone, onClock(s.Enter), onClock(s.Leave)})
	}
	zones, temperature, err := climate(c, route)
	if err != nil {
		return line, nil, err
	}
	line.Temperature = temperature
	w, err := world.New(world.Options{
		Seed: c.Seed, Start: start, Step: c.Step, Speed: c.Speed, Zones: zones, Route: route,
		Door: c.Door, Miss: c.Miss, Spill: c.Spill, Tags: tags, Stray: stray, StrayAt: ids[len(ids)/2],
	})
	return line, w, err
}

// Two probes of one replayed zone are this many readings apart: a quarter of an
// hour, so that they differ no more than two corners of one room do.
const probeLag = 3

// modelSamples is how many values a model has before it begins again.
const modelSamples = int(world.Horizon / (world.SampleMinutes * time.Minute))

func climate(c Config, route world.Route) ([]world.Zone, Temperature, error) {
	told := Temperature{Source: "replay", Step: c.Step.String()}
	file, err := replayFile(c.Replay)
	if err != nil {
		return nil, told, err
	}
	var replay world.Series
	if file != "" {
		if replay, err = readReplay(file); err != nil {
			return nil, told, err
		}
		told.File, told.Samples = file, len(replay)
	} else {
		told.Source, told.Samples = "model", modelSamples
	}
	zones := make([]world.Zone, len(c.Zones))
	for i, z := range c.Zones {
		zones[i].ID = z.ID
		if replay == nil {
			climate := room(c, i, route).Climate(c.Seed + uint64(i)<<32)
			for p := range c.Probes {
				zones[i].Probes = append(zones[i].Probes, world.Probe{Climate: climate, Product: p%2 == 1})
			}
			continue
		}
		if slices.ContainsFunc(c.Faults, func(f FaultPlan) bool { return f.Zone == z.ID && f.Part == PartRoom }) {
			return nil, told, fmt.Errorf("fault: zone %s is a logger's replay, which no door or outage changes\nhint: use the model, with --replay %s", z.ID, NoReplay)
		}
		offset := z.Offset
		if offset < 0 {
			offset = i * len(replay) / len(c.Zones)
		}
		for p := range c.Probes {
			zones[i].Probes = append(zones[i].Probes, world.Probe{Series: replay, Offset: offset%len(replay) + p*probeLag})
		}
	}
	return zones, told, nil
}

// room is the modelled room of zone number i: its door is open while the pallet
// is in the doorway and when the script says so.
func room(c Config, i int, route world.Route) world.Room {
	r := world.Room{Setpoint: 5000, Band: 1000, Ambient: c.Ambient, Swing: c.Swing}
	if n := len(c.Setpoints); n > 0 {
		r.Setpoint = c.Setpoints[min(i, n-1)]
	}
	if r.Passive = r.Setpoint == Uncooled; r.Passive {
		r.Setpoint = c.Ambient
	}
	// A room's time passes one sample each step, whatever the speed of the route.
	rate := float64(world.SampleMinutes*time.Minute) / float64(c.Step) / c.Speed
	span := func(from, to time.Duration) world.Span {
		on := func(t time.Duration) time.Duration {
			return time.Duration(min(float64(t)*rate, float64(world.Horizon)))
		}
		return world.Span{From: on(from), To: on(to)}
	}
	for _, s := range route.Doors(c.Zones[i].ID, c.Door) {
		r.Doors = append(r.Doors, span(s.From, s.To))
	}
	for _, f := range c.Faults {
		if f.Zone != c.Zones[i].ID || f.Part != PartRoom {
			continue
		}
		s := span(f.After, f.After+f.For)
		if f.For == 0 {
			s.To = world.Horizon
		}
		if f.Fault.Kind == Door {
			r.Doors = append(r.Doors, s)
		} else {
			r.Outages = append(r.Outages, s)
		}
	}
	return r
}

// replayFile returns the export to replay, "" for the model.
func replayFile(name string) (string, error) {
	switch name {
	case NoReplay:
		return "", nil
	case "":
		found, err := filepath.Glob(ReplayGlob)
		if err != nil || len(found) == 0 {
			return "", err
		}
		return found[0], nil
	}
	return name, nil
}

func readReplay(name string) (world.Series, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	defer f.Close()
	export, err := logger.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("replay %s: %w", name, err)
	}
	series := make(world.Series, len(export.Readings))
	for i, r := range export.Readings {
		series[i] = r.Milli
	}
	return series, nil
}
