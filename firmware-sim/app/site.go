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
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"trailmark/firmware-sim/chip/ds18b20"
	"trailmark/firmware-sim/chip/gen2"
	"trailmark/firmware-sim/internal/w1tree"
	"trailmark/firmware-sim/internal/world"
	"trailmark/firmware-sim/reader"
)

// tick is the longest pause between two looks at the clock and at the control
// file: a fault comes no later than that.
const tick = 250 * time.Millisecond

// antennas of each reader: at the door and inside.
const antennas = 2

// site is one running zone.
type site struct {
	zone     Zone
	world    *world.World
	start    time.Time
	speed    float64       // of the script
	step     time.Duration // between two conversions of a chip
	plans    []FaultPlan   // of this zone
	root     string        // of the bus, absolute
	control  string        // path, absolute
	ids      []string      // probe 1 first
	bus      *w1tree.Tree
	listener *gate
	server   *reader.Server
	log      *slog.Logger

	loose [antennas + 1]bool      // antennas without their cable; owned by play
	told  string                  // last complaint about the control file; owned by play
	since map[force]time.Duration // when the control file's faults began, by a force that began at 0; owned by play
	known []force                 // what was in force at the last look; owned by play
}

// gate is a listener that can be unplugged: who connects is cut off at once.
type gate struct {
	net.Listener
	shut atomic.Bool
}

func (g *gate) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil || !g.shut.Load() {
			return conn, err
		}
		conn.Close()
	}
}

// open brings up zone number i: bus, first values, listener.
func open(c Config, i int, w *world.World, start time.Time, log *slog.Logger) (*site, error) {
	z := c.Zones[i]
	dir, err := filepath.Abs(filepath.Join(c.Dir, z.ID))
	if err != nil {
		return nil, err
	}
	s := &site{
		zone: z, world: w, start: start, speed: c.Speed, step: c.Step,
		root: filepath.Join(dir, "w1"), control: filepath.Join(dir, "faults"),
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
	listener, err := net.Listen("tcp", base.String())
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w\nhint: another simulator may be running; choose other ports with --llrp-base", err)
		}
		return nil, fmt.Errorf("reader of zone %s: %w", z.ID, err)
	}
	s.listener = &gate{Listener: listener}
	for p := range c.Probes {
		s.ids = append(s.ids, chipID(c.Seed, z.ID, p+1))
	}
	if s.bus, err = w1tree.New(s.root, s.ids...); err != nil {
		return nil, errors.Join(fmt.Errorf("bus of zone %s: %w", z.ID, err), s.listener.Close())
	}
	o := reader.Options{Antennas: antennas, Log: s.log}
	if c.Air {
		o.Air = gen2.New(c.Seed + uint64(i)<<32)
	}
	s.server = reader.New(s.field, o)
	if err := s.update(time.Now()); err != nil {
		return nil, errors.Join(err, s.close())
	}
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
		tags = append(tags, reader.Tag{Antenna: h.Antenna, EPC: h.EPC, TID: world.TID(h.EPC), RSSI: h.RSSI})
	}
	return tags
}

// play keeps the chips and the reader up to date until ctx ends. It owns the bus
// meanwhile.
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

// update sets every chip of the zone to its temperature at now, and every part to
// its faults.
func (s *site) update(now time.Time) error {
	forces := s.forces(now)
	for i, id := range s.ids {
		milli, fault, err := s.probe(Part(i+1), forces, now)
		if err != nil {
			return err
		}
		if err := s.bus.Set(id, milli, fault); err != nil {
			return fmt.Errorf("zone %s probe %d: %w", s.zone.ID, i+1, err)
		}
	}
	var hang, gone bool
	var loose [antennas + 1]bool
	var ahead time.Duration
	for _, f := range forces {
		if f.Part == PartReader {
			hang, gone = hang || f.Kind == Hang, gone || f.Kind == Gone
			ahead += f.Ahead
			loose[f.Antenna] = true // of another fault it is 0, which is none
		}
	}
	s.server.Hang(hang)
	for a := uint16(1); a <= antennas; a++ {
		if loose[a] != s.loose[a] {
			s.server.Plug(a, !loose[a])
		}
	}
	s.loose = loose
	s.server.Skew(ahead)
	if s.listener.shut.Store(gone); gone {
		s.server.Drop()
	}
	return nil
}

// probe returns what a probe shows at now, in thousandths of a degree.
func (s *site) probe(p Part, forces []force, now time.Time) (int32, w1tree.Fault, error) {
	at, file, off := now, w1tree.None, 0.0
	for _, f := range forces {
		switch began := s.onClock(f.since); {
		case f.Kind == Short:
			file = w1tree.AllZero
		case f.Part != p:
		case f.Kind == BrownOut:
			if now.Sub(began) < max(s.step, tick) {
				file = w1tree.PowerOn
			}
		case f.Kind == Stuck && began.Before(at):
			at = began
		case f.Kind == Drift:
			off += 1000 * f.PerHour * (s.script(now) - f.since).Hours()
		case kinds[f.Kind].file != w1tree.None && file == w1tree.None:
			file = kinds[f.Kind].file
		}
	}
	milli, err := s.world.Value(s.zone.ID, int(p), at)
	shown := min(max(float64(milli)+off, ds18b20.MinMilli), ds18b20.MaxMilli)
	return int32(shown), file, err
}

// script is the time of the script at a moment; onClock goes the other way.
func (s *site) script(now time.Time) time.Duration {
	return time.Duration(float64(now.Sub(s.start)) * s.speed)
}

func (s *site) onClock(t time.Duration) time.Time {
	return s.start.Add(time.Duration(float64(t) / s.speed))
}

// forces returns the faults in force at now: of each part what the control file
// says of it, else what was planned. A control file that cannot be understood
// counts as empty and is complained about once.
func (s *site) forces(now time.Time) []force {
	text, err := readSome(s.control, maxControl+1)
	var told map[Part]Fault
	if err == nil {
		told, err = parseControl(text, len(s.ids))
	}
	complaint := ""
	if err != nil {
		complaint = err.Error()
	}
	if complaint != "" && complaint != s.told {
		s.log.Warn("control file ignored", slog.String("file", s.control), slog.Any("error", err))
	}
	s.told = complaint

	elapsed := s.script(now)
	var forces []force
	since := map[force]time.Duration{}
	for p, f := range told {
		if f.Kind == None {
			continue
		}
		key := force{p, f, 0}
		began, before := s.since[key]
		if !before {
			began = elapsed
		}
		since[key] = began
		forces = append(forces, force{p, f, began})
	}
	s.since = since
	for _, p := range s.plans {
		if _, said := told[p.Part]; !said && p.active(elapsed) && p.Fault.Kind != None {
			forces = append(forces, force{p.Part, p.Fault, p.After})
		}
	}
	slices.SortFunc(forces, order)
	s.tell("fault ends", s.known, forces)
	s.tell("fault begins", forces, s.known)
	s.known = forces
	return forces
}

// tell logs the forces that are not among others.
func (s *site) tell(what string, forces, others []force) {
	for _, f := range forces {
		if !slices.Contains(others, f) {
			s.log.Info(what, slog.String("part", f.Part.String()), slog.String("fault", f.Fault.String()))
		}
	}
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
