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
	"hash/fnv"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"trailmark/firmware-sim/internal/logger"
	"trailmark/firmware-sim/internal/reader"
	"trailmark/firmware-sim/internal/w1tree"
	"trailmark/firmware-sim/internal/world"
	"trailmark/internal/epc"
)

// tick is the longest pause between two looks at the clock and at the control
// file: a fault comes no later than that.
const tick = 250 * time.Millisecond

// site is one running zone.
type site struct {
	zone     Zone
	world    *world.World
	start    time.Time
	plans    []FaultPlan // of this zone
	root     string      // of the bus, absolute
	control  string      // path, absolute
	ids      []string    // probe 1 first
	bus      *w1tree.Tree
	listener net.Listener
	server   *reader.Server
	log      *slog.Logger

	// told is the last complaint about the control file; owned by play.
	told string
}

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
	zones, temperature, err := climate(c)
	if err != nil {
		return line, nil, err
	}
	line.Temperature = temperature

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
	w, err := world.New(world.Options{
		Seed: c.Seed, Start: start, Step: c.Step, Speed: c.Speed, Zones: zones, Route: route,
		Door: c.Door, Miss: c.Miss, Tags: tags, Stray: stray, StrayAt: ids[len(ids)/2],
	})
	return line, w, err
}

// Two probes of one replayed zone are this many readings apart: a quarter of an
// hour, so that they differ no more than two corners of one room do.
const probeLag = 3

// modelSamples is a month.
const modelSamples = 30 * 24 * 60 / world.SampleMinutes

func climate(c Config) ([]world.Zone, Temperature, error) {
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
		series := [2]world.Series{replay, replay}
		if replay == nil {
			room := world.Room{Setpoint: 5000, Band: 1000, Ambient: 24000}
			series[0], series[1] = room.Simulate(c.Seed+uint64(i)<<32, modelSamples)
		}
		offset := z.Offset
		if offset < 0 {
			offset = i * len(replay) / len(c.Zones)
		}
		for p := range c.Probes {
			probe := world.Probe{Series: series[p%2]}
			if replay != nil {
				probe.Offset = offset%len(replay) + p*probeLag
			}
			zones[i].Probes = append(zones[i].Probes, probe)
		}
	}
	return zones, told, nil
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

// open brings up zone number i: bus, first values, listener.
func open(c Config, i int, w *world.World, start time.Time, log *slog.Logger) (*site, error) {
	z := c.Zones[i]
	dir, err := filepath.Abs(filepath.Join(c.Dir, z.ID))
	if err != nil {
		return nil, err
	}
	s := &site{
		zone: z, world: w, start: start, root: filepath.Join(dir, "w1"), control: filepath.Join(dir, "faults"),
		log: log.With(slog.String("zone", z.ID)),
	}
	for _, p := range c.Faults {
		if p.Zone == z.ID {
			s.plans = append(s.plans, p)
		}
	}
	base, err := netip.ParseAddrPort(c.LLRPBase)
	if err != nil {
		return nil, err
	}
	if base.Port() != 0 {
		base = netip.AddrPortFrom(base.Addr(), base.Port()+uint16(i))
	}
	// The port comes first: a second simulator of the same folder stops here,
	// before it takes the chips of the first.
	if s.listener, err = net.Listen("tcp", base.String()); err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w\nhint: another simulator may be running; choose other ports with --llrp-base", err)
		}
		return nil, fmt.Errorf("reader of zone %s: %w", z.ID, err)
	}
	for p := range c.Probes {
		s.ids = append(s.ids, chipID(c.Seed, z.ID, p+1))
	}
	if s.bus, err = w1tree.New(s.root, s.ids...); err != nil {
		return nil, errors.Join(fmt.Errorf("bus of zone %s: %w", z.ID, err), s.listener.Close())
	}
	if err := s.update(time.Now()); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.server = reader.New(s.field, reader.Options{Antennas: 2, Log: s.log})
	return s, nil
}

// chipID gives every probe of every zone its own serial, the same in every run
// with that seed.
func chipID(seed uint64, zone string, probe int) string {
	h := fnv.New64a()
	fmt.Fprint(h, seed, "/", zone, "/", probe)
	return w1tree.SlaveID(h.Sum64())
}

func (s *site) line() ZoneLine {
	return ZoneLine{
		Kind: "zone", Zone: s.zone.ID, Name: s.zone.Name, W1: s.root,
		Control: s.control, LLRP: s.listener.Addr().String(), Probes: s.ids,
	}
}

// close unplugs the zone. The listener may be closed already, by its server.
func (s *site) close() error {
	err := s.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, s.bus.Close())
}

// field is what the zone's reader hears.
func (s *site) field(now time.Time) []reader.Tag {
	var tags []reader.Tag
	for _, h := range s.world.Sightings(s.zone.ID, now) {
		tags = append(tags, reader.Tag{Antenna: h.Antenna, EPC: h.EPC, RSSI: h.RSSI})
	}
	return tags
}

// play keeps the chips up to date until ctx ends. It owns the bus meanwhile.
func (s *site) play(ctx context.Context, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := s.update(time.Now()); err != nil {
				return err
			}
		}
	}
}

// update sets every chip of the zone to its temperature and fault at now.
func (s *site) update(now time.Time) error {
	faults := s.faults(now)
	for i, id := range s.ids {
		milli, err := s.world.Value(s.zone.ID, i+1, now)
		if err != nil {
			return err
		}
		if err := s.bus.Set(id, milli, faults[i]); err != nil {
			return fmt.Errorf("zone %s probe %d: %w", s.zone.ID, i+1, err)
		}
	}
	return nil
}

// faults returns the fault of each probe: what the control file says, else what
// was planned. A control file that cannot be understood counts as empty and is
// complained about once.
func (s *site) faults(now time.Time) []w1tree.Fault {
	text, err := readSome(s.control, w1tree.MaxControl+1)
	var faults []w1tree.Fault
	if err == nil {
		faults, err = w1tree.ParseControl(text, len(s.ids))
	}
	complaint := ""
	if err != nil {
		faults = make([]w1tree.Fault, len(s.ids))
		complaint = err.Error()
	}
	if complaint != "" && complaint != s.told {
		s.log.Warn("control file ignored", slog.String("file", s.control), slog.Any("error", err))
	}
	s.told = complaint
	for _, p := range s.plans {
		if faults[p.Probe-1] == w1tree.None && p.active(now.Sub(s.start)) {
			faults[p.Probe-1] = p.Fault
		}
	}
	return faults
}

// readSome reads at most limit bytes of a file; a missing file is empty.
func readSome(name string, limit int64) (string, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit))
	return string(b), err
}
