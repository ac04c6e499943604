package app

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"trailmark/firmware-sim/internal/world"
)

// NoReplay as Config.Replay chooses the built-in cold-room model.
const NoReplay = "none"

// Config says what to simulate. Default works as it is.
type Config struct {
	Dir      string        // holds one folder per zone; made if missing
	Zones    []Zone        // in the order of the pallet's route
	Probes   int           // chips per zone
	Items    int           // tagged items on the pallet
	LLRPBase string        // host:port of the first zone's reader, then port+1 ...; port 0 lets the system choose
	Replay   string        // logger export; "" looks for ReplayGlob; NoReplay uses the model
	Seed     uint64        // of everything random
	Step     time.Duration // how long a chip keeps one value: one reading of the export, one sample of the model
	Lead     time.Duration // before the pallet reaches the first zone
	Stay     time.Duration // of the pallet in each zone, both doors included
	Travel   time.Duration // from one zone to the next
	Door     time.Duration // in the doorway at either end of a stay
	Speed    float64       // the four durations above and the faults' times pass this many times as fast
	Miss     int           // of a thousand inventory rounds, those in which a tag is not heard
	Spill    int           // of a thousand rounds, those in which the next zone's door hears a pallet in a doorway
	Air      bool          // tags share the air as EPC Gen2 has it, with collisions; else the reader hears all that Miss leaves
	Faults   []FaultPlan   // what breaks when

	// Of the modelled rooms:
	Setpoints []int32 // m°C, one per zone, or Uncooled; the last serves all zones after it; none: 5 °C
	Ambient   int32   // outside of them, m°C, mean of a day
	Swing     int32   // amplitude of a day outside, m°C
}

// Uncooled as a setpoint is a room without a compressor.
const Uncooled = math.MinInt32

// ReplayGlob is where a logger export is looked for, relative to the working
// directory. The first match in the order of names is taken.
const ReplayGlob = "../shared/data/logger/fridge-tag-2L-*.txt"

// Zone is a room with chips and a reader.
type Zone struct {
	ID   string // lower-case letters, digits and hyphens: it names a folder
	Name string // for people
	// Offset is the reading of the export with which probe 1 starts; negative
	// spreads the zones evenly over the export.
	Offset int
}

// Default returns three zones on one machine. With the export that ReplayGlob
// was written for, their offsets choose a calm night, a warm day that breaks
// 8 °C while the pallet is there, and a calm night.
func Default() Config {
	return Config{
		Dir: "trailmark-sim",
		Zones: []Zone{
			{"origin", "产地冷库/Origin cold store", 1314},
			{"dc", "配送中心/Distribution centre", 818},
			{"shop", "门店冷柜/Shop cold cabinet", 3042},
		},
		Probes: 2, Items: 3, LLRPBase: "127.0.0.1:5084", Seed: 1, Step: time.Second,
		Lead: 5 * time.Second, Stay: 20 * time.Second, Travel: 5 * time.Second, Door: 2 * time.Second,
		Speed: 1, Miss: 150, Ambient: 24_000,
	}
}

const (
	maxZones  = 64
	maxProbes = 16
	minStep   = 10 * time.Millisecond
	maxTime   = 365 * 24 * time.Hour

	maxDegrees = 100
)

// Check says what is wrong with a configuration, by the name of its flag.
func (c Config) Check() error {
	if c.Dir == "" {
		return fmt.Errorf("dir: empty, want a folder")
	}
	if n := len(c.Zones); n < 1 || n > maxZones {
		return fmt.Errorf("zones: %d of them, want 1 to %d", n, maxZones)
	}
	seen := map[string]bool{}
	zoneID := regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	for _, z := range c.Zones {
		if !zoneID.MatchString(z.ID) {
			return fmt.Errorf("zones: id %q, want 1 to 32 lower-case letters, digits and hyphens", z.ID)
		}
		if seen[z.ID] {
			return fmt.Errorf("zones: id %q twice", z.ID)
		}
		seen[z.ID] = true
	}
	if c.Probes < 1 || c.Probes > maxProbes {
		return fmt.Errorf("probes: %d, want 1 to %d", c.Probes, maxProbes)
	}
	if c.Items < 1 || c.Items > world.MaxItems {
		return fmt.Errorf("items: %d, want 1 to %d", c.Items, world.MaxItems)
	}
	base, err := netip.ParseAddrPort(c.LLRPBase)
	if err != nil {
		return fmt.Errorf("llrp-base: %q, want address:port such as 127.0.0.1:5084", c.LLRPBase)
	}
	if last := int(base.Port()) + len(c.Zones) - 1; base.Port() != 0 && last > 65535 {
		return fmt.Errorf("llrp-base: the last of %d zones would need port %d, at most 65535", len(c.Zones), last)
	}
	if c.Step < minStep || c.Step > maxTime {
		return fmt.Errorf("step: %v, want %v to %v", c.Step, minStep, maxTime)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"lead", c.Lead}, {"stay", c.Stay}, {"travel", c.Travel}, {"door", c.Door}} {
		if d.value < 0 || d.value > maxTime {
			return fmt.Errorf("%s: %v, want 0s to %v", d.name, d.value, maxTime)
		}
	}
	if c.Stay < 2*c.Door {
		return fmt.Errorf("stay: %v, want at least twice the door time of %v", c.Stay, c.Door)
	}
	if !(c.Speed > 0 && c.Speed <= world.MaxSpeed) {
		return fmt.Errorf("speed: %v, want more than 0 and at most %d", c.Speed, world.MaxSpeed)
	}
	if c.Miss < 0 || c.Miss > 1000 {
		return fmt.Errorf("miss: %d, want 0 to 1000", c.Miss)
	}
	if c.Spill < 0 || c.Spill > 1000 {
		return fmt.Errorf("spill: %d, want 0 to 1000", c.Spill)
	}
	if len(c.Setpoints) > len(c.Zones) {
		return fmt.Errorf("setpoints: %d of them for %d zones", len(c.Setpoints), len(c.Zones))
	}
	for _, v := range append(c.Setpoints, c.Ambient, c.Swing) {
		if v != Uncooled && (v < -maxDegrees*1000 || v > maxDegrees*1000) {
			return fmt.Errorf("setpoints, ambient, swing: %g °C, want at most %d either way", float64(v)/1000, maxDegrees)
		}
	}
	for _, f := range c.Faults {
		if !seen[f.Zone] {
			return fmt.Errorf("fault: no zone %q", f.Zone)
		}
		if int(f.Part) > c.Probes {
			return fmt.Errorf("fault: zone %s has no probe %d, want 1 to %d", f.Zone, f.Part, c.Probes)
		}
		if f.After > maxTime || f.For > maxTime {
			return fmt.Errorf("fault: after %v for %v, want at most %v", f.After, f.For, maxTime)
		}
	}
	return nil
}

// ParseZones reads id=name,id=name; a bare id is its own name.
func ParseZones(s string) ([]Zone, error) {
	var zones []Zone
	for part := range strings.SplitSeq(s, ",") {
		id, name, ok := strings.Cut(part, "=")
		if !ok {
			name = id
		}
		if id == "" || name == "" {
			return nil, fmt.Errorf("zone %q, want id or id=name", part)
		}
		zones = append(zones, Zone{ID: id, Name: name, Offset: -1})
	}
	return zones, nil
}

// ParseOffsets reads one number of a reading per zone, separated by commas.
func ParseOffsets(s string) ([]int, error) {
	var offsets []int
	for part := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("offset %q, want numbers of readings such as 1314,818,3042", part)
		}
		offsets = append(offsets, n)
	}
	return offsets, nil
}

// ParseSetpoints reads one set point per zone, in °C or ambient for a room without
// a compressor, separated by commas.
func ParseSetpoints(s string) ([]int32, error) {
	var out []int32
	for part := range strings.SplitSeq(s, ",") {
		if part == "ambient" {
			out = append(out, Uncooled)
			continue
		}
		v, err := ParseDegrees(part)
		if err != nil {
			return nil, fmt.Errorf("set point %w, or ambient for a room without a compressor", err)
		}
		out = append(out, v)
	}
	return out, nil
}

// ParseDegrees reads °C as thousandths.
func ParseDegrees(s string) (int32, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(math.Abs(v) <= maxDegrees) {
		return 0, fmt.Errorf("%q, want °C from -%d to %[2]d", s, maxDegrees)
	}
	return int32(math.Round(v * 1000)), nil
}
