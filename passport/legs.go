package passport

import (
	"cmp"
	"slices"

	"trailmark/statement"
)

// legs groups the sightings by zone in order of time.
func (c *check) legs() error {
	slices.SortStableFunc(c.sightings, func(a, b placed) int { return cmp.Compare(a.First, b.First) })
	from := 0
	for i, s := range c.sightings {
		if i > from && (s.zone.ID != c.sightings[from].zone.ID || s.plan.by != c.sightings[from].plan.by) {
			c.closeLeg(c.sightings[from:i])
			from = i
		}
	}
	if from < len(c.sightings) {
		c.closeLeg(c.sightings[from:])
	}
	for i := 1; i < len(c.v.Legs); i++ {
		if gap := c.v.Legs[i].From - c.v.Legs[i-1].To; gap >= 0 {
			c.v.Unmonitored += gap
		} else {
			c.v.Conflicts++ // in two zones at once: shown, not resolved
			if c.p.Version > 1 {
				c.contradict(InTwoZones, c.v.Legs[i].From, c.h.item)
			}
		}
	}
	return nil
}

func (c *check) closeLeg(in []placed) {
	z := in[0]
	l := Leg{Zone: z.zone.ID, Name: z.zone.Name, Site: z.plan.Site, PlanBy: z.plan.by, From: z.First, To: z.Last, Presence: Seen,
		Sightings: len(in), Channels: []ChannelFacts{}}
	end := z.First
	for _, s := range in {
		if gap := s.First - end; gap <= s.zone.ReRead {
			l.SeenFor += max(s.Last, end) - end
		} else {
			l.Presence = EnteredAndLeft
			l.SeenFor += s.Last - s.First
		}
		end = max(end, s.Last)
		l.Reads += s.Reads
		if s.carrier != "" && !slices.Contains(l.Carriers, s.carrier) {
			l.Carriers = append(l.Carriers, s.carrier)
		}
	}
	l.To = end
	if len(in) == 1 && in[0].Reads == 1 {
		l.Presence = SeenOnce
	}
	c.v.Legs = append(c.v.Legs, l)
	c.stays = append(c.stays, stay{sightings: in})
}

// quantity is a channel under all keys that its device had.
type quantity struct {
	line statement.Hash
	name string
}

func (c *check) quantity(device statement.Hash, channel string) quantity {
	if first, ok := c.lines[device]; ok {
		device = first
	}
	return quantity{device, channel}
}

// listed are the channels that any plan in force during the leg gives its zone,
// each as the first of them lists it.
func (c *check) listed(s stay) []statement.Channel {
	var out []statement.Channel
	seen := map[quantity]bool{}
	for _, p := range s.sightings {
		for _, ch := range p.zone.Channels {
			if q := c.quantity(ch.Device, ch.Name); !seen[q] {
				seen[q] = true
				out = append(out, ch)
			}
		}
	}
	return out
}

// brackets says for every leg between which blocks it was signed.
func (c *check) brackets() {
	for i := range c.v.Legs {
		leg, s := &c.v.Legs[i], &c.stays[i]
		leg.NotBefore = c.naming(s.sightings[0].from.frame.After)
		leg.NotAfter = Bound{Proof: Proven}
		frames := s.frames
		for _, p := range s.sightings {
			frames = append(frames, p.from)
		}
		for _, f := range frames {
			leg.NotAfter = later(leg.NotAfter, c.covering(f.place))
		}
	}
}

// later is the later of two bounds, known no better than the worse of them.
func later(a, b Bound) Bound {
	if a.Proof == None || b.Proof == None {
		return Bound{Proof: None}
	}
	out := Bound{max(a.Time, b.Time), a.Proof}
	if b.Proof == Declared {
		out.Proof = Declared
	}
	return out
}
