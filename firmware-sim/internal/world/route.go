package world

import (
	"fmt"
	"time"
)

// Antennas of a zone's reader.
const (
	AntennaDoor   = 1
	AntennaInside = 2
)

// A Stage is one stay of the pallet: it comes through the zone's door at Enter
// and has left it at Leave, both counted from the start of the world.
type Stage struct {
	Zone  string
	Enter time.Duration
	Leave time.Duration
}

// A Route is a list of stages in rising order of time.
type Route []Stage

// Line returns the route through zones in their order: lead before the first,
// stay in each, travel from one to the next.
func Line(zones []string, lead, stay, travel time.Duration) Route {
	route := make(Route, len(zones))
	at := lead
	for i, zone := range zones {
		route[i] = Stage{Zone: zone, Enter: at, Leave: at + stay}
		at += stay + travel
	}
	return route
}

// Doors returns when the pallet stands in the doorway of a zone.
func (r Route) Doors(zone string, door time.Duration) []Span {
	var spans []Span
	for _, s := range r {
		if s.Zone == zone && door > 0 {
			spans = append(spans, Span{s.Enter, s.Enter + door}, Span{s.Leave - door, s.Leave})
		}
	}
	return spans
}

// At returns the zone the pallet is in and the antenna that hears it: the door's
// for the first and the last door of a stay, so that the order of the two antennas
// tells which way it went. Zone is "" between two stays.
func (r Route) At(elapsed, door time.Duration) (zone string, antenna uint16) {
	for _, s := range r {
		if elapsed < s.Enter || elapsed >= s.Leave {
			continue
		}
		if elapsed < s.Enter+door || elapsed >= s.Leave-door {
			return s.Zone, AntennaDoor
		}
		return s.Zone, AntennaInside
	}
	return "", 0
}

func (r Route) check(known map[string]int, door time.Duration) error {
	free := time.Duration(0)
	for i, s := range r {
		if _, ok := known[s.Zone]; !ok {
			return fmt.Errorf("stage %d: no zone %q", i+1, s.Zone)
		}
		if s.Enter < free {
			return fmt.Errorf("stage %d: the pallet enters at %v, before %v", i+1, s.Enter, free)
		}
		if s.Leave-s.Enter < 2*door {
			return fmt.Errorf("stage %d: a stay of %v is shorter than twice the door time of %v", i+1, s.Leave-s.Enter, door)
		}
		free = s.Leave
	}
	return nil
}
