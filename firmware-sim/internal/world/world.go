// Package world is what the sensors sense: rooms with a temperature, and a
// pallet of tagged goods that travels from room to room.
//
// It promises to be a pure function of its options and the time: asked twice
// about one instant, in any order and from any goroutine, it gives one answer.
// Temperatures are replayed from a logger's file or those of a modelled Climate;
// one value lasts one step. The pallet's time runs Speed times as fast as the
// clock, a room's one sample period each step.
package world

import (
	"errors"
	"fmt"
	"time"
)

// RoundTime is how long one inventory round of a reader lasts: within it a tag
// answers or does not, with one signal strength.
const RoundTime = 100 * time.Millisecond

// MaxSpeed bounds Options.Speed.
const MaxSpeed = 10_000

// Options make a world. New refuses values that make none.
type Options struct {
	Seed  uint64
	Start time.Time     // time zero of the series and of the route
	Step  time.Duration // how long one value of a series lasts
	Speed float64       // of the route
	Zones []Zone
	Route Route
	Door  time.Duration // time in the doorway at either end of a stay
	Miss  int           // of a thousand rounds, those in which a tag in the field is not heard
	Tags  [][]byte      // EPC memory of every tag on the pallet
	Stray []byte        // EPC memory of a tag nobody expects, at the door of StrayAt; or nil
	// StrayAt is the zone whose door reader hears the stray tag now and then.
	StrayAt string
	// Spill is in how many of a thousand rounds the door reader of the zone before
	// or after hears a tag that stands in a doorway of the route.
	Spill int
}

// A Zone is a room with probes.
type Zone struct {
	ID     string
	Probes []Probe
}

// A Probe shows Series from its value number Offset on; or, where there is a
// Climate, the room's air, or the product in it.
type Probe struct {
	Series  Series
	Offset  int
	Climate *Climate
	Product bool
}

// A Sighting is one tag heard in one inventory round. RSSI is in dBm. EPC is
// shared: do not change it.
type Sighting struct {
	Antenna uint16
	EPC     []byte
	RSSI    int8
}

// A World never changes, so it is safe for concurrent use.
type World struct {
	o     Options
	zones map[string]int
}

// New checks the options.
func New(o Options) (*World, error) {
	if o.Step <= 0 {
		return nil, fmt.Errorf("step of %v, want more than 0", o.Step)
	}
	if !(o.Speed > 0 && o.Speed <= MaxSpeed) { // also refuses NaN
		return nil, fmt.Errorf("speed %v, want more than 0 and at most %d", o.Speed, MaxSpeed)
	}
	if o.Miss < 0 || o.Miss > 1000 {
		return nil, fmt.Errorf("%d of a thousand rounds missed", o.Miss)
	}
	if o.Spill < 0 || o.Spill > 1000 {
		return nil, fmt.Errorf("%d of a thousand rounds spilled", o.Spill)
	}
	if o.Door < 0 {
		return nil, fmt.Errorf("door time of %v", o.Door)
	}
	if len(o.Zones) == 0 {
		return nil, errors.New("no zones")
	}
	w := &World{o: o, zones: map[string]int{}}
	for i, z := range o.Zones {
		if _, twice := w.zones[z.ID]; twice || z.ID == "" {
			return nil, fmt.Errorf("zone %d: the id %q is empty or taken", i+1, z.ID)
		}
		w.zones[z.ID] = i
		for j, p := range z.Probes {
			if p.Climate == nil && len(p.Series) == 0 || p.Offset < 0 {
				return nil, fmt.Errorf("zone %s probe %d: %d values from number %d on", z.ID, j+1, len(p.Series), p.Offset)
			}
		}
	}
	if _, ok := w.zones[o.StrayAt]; o.Stray != nil && !ok {
		return nil, fmt.Errorf("no zone %q for the stray tag", o.StrayAt)
	}
	if err := o.Route.check(w.zones, o.Door); err != nil {
		return nil, err
	}
	return w, nil
}

// Value returns the temperature at a zone's probe (counted from 1) in
// thousandths of a degree Celsius. Before Start it is the first.
func (w *World) Value(zone string, probe int, at time.Time) (int32, error) {
	i, ok := w.zones[zone]
	if !ok {
		return 0, fmt.Errorf("no zone %q", zone)
	}
	probes := w.o.Zones[i].Probes
	if probe < 1 || probe > len(probes) {
		return 0, fmt.Errorf("zone %s has no probe %d, want 1 to %d", zone, probe, len(probes))
	}
	p := probes[probe-1]
	steps := max(0, int(at.Sub(w.o.Start)/w.o.Step))
	if p.Climate != nil {
		return p.Climate.sensed(int64(steps)+int64(p.Offset), p.Product), nil
	}
	return p.Series[(steps%len(p.Series)+p.Offset%len(p.Series))%len(p.Series)], nil
}

// Sightings returns the tags that the zone's reader hears in the inventory round
// at that time, the pallet's in the order of Options.Tags, then the stray one.
// A zone that does not exist hears nothing.
func (w *World) Sightings(zone string, at time.Time) []Sighting {
	z, ok := w.zones[zone]
	elapsed := at.Sub(w.o.Start)
	if !ok || elapsed < 0 {
		return nil
	}
	round := uint64(elapsed / RoundTime)
	var heard []Sighting
	here, antenna := w.o.Route.At(time.Duration(float64(elapsed)*w.o.Speed), w.o.Door)
	if here == zone {
		strength := -50 // in the doorway, close to the antenna
		if antenna == AntennaInside {
			strength = -60
		}
		for i, tag := range w.o.Tags {
			luck := w.luck(uint64(z), uint64(i), round)
			if int(luck%1000) < w.o.Miss {
				continue
			}
			heard = append(heard, Sighting{antenna, tag, int8(strength + spread(luck, 6))})
		}
	} else if antenna == AntennaDoor && w.neighbours(here, zone) {
		for i, tag := range w.o.Tags {
			luck := w.luck(uint64(z), uint64(i), round)
			if int(luck%1000) < w.o.Spill {
				heard = append(heard, Sighting{AntennaDoor, tag, int8(-75 + spread(luck, 4))})
			}
		}
	}
	if w.o.Stray != nil && w.o.StrayAt == zone {
		luck := w.luck(uint64(z), ^uint64(0), round)
		if luck%1000 < strayHeard {
			heard = append(heard, Sighting{AntennaDoor, w.o.Stray, int8(-75 + spread(luck, 4))})
		}
	}
	return heard
}

// neighbours reports whether the route goes from one of two zones to the other.
func (w *World) neighbours(a, b string) bool {
	for i, s := range w.o.Route[1:] {
		if before := w.o.Route[i].Zone; before == a && s.Zone == b || before == b && s.Zone == a {
			return true
		}
	}
	return false
}

// strayHeard is in how many of a thousand rounds the stray tag answers.
const strayHeard = 20

// spread turns the upper half of luck into a number from -by to by.
func spread(luck uint64, by int) int { return int(luck>>32%uint64(2*by+1)) - by }

// luck is a random number that belongs to one tag, zone and round: no state, so
// that what one reader asks changes nothing for another.
func (w *World) luck(zone, tag, round uint64) uint64 {
	x := w.o.Seed
	for _, part := range [...]uint64{zone, tag, round} {
		x = mix(x ^ mix(part+golden))
	}
	return x
}

// golden is the increment of SplitMix64: no part of luck is a plain 0.
const golden = 0x9e3779b97f4a7c15

// mix is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
