package enrol

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"trailmark/gateway/internal/store"
	"trailmark/internal/device"
	"trailmark/statement"
)

// replan puts devices' channels and antennas into the zones of their claims, in one
// new plan. A device that goes on with another key takes its entries along. One
// whose description no plan can carry gets an error and keeps nobody else out. The
// caller holds o.mu.
func (o *Office) replan(ctx context.Context, all []*description) {
	err := o.replanTogether(ctx, all)
	var refused *Refusal
	if len(all) > 1 && errors.As(err, &refused) {
		for _, d := range all {
			d.err = o.replanTogether(ctx, []*description{d})
		}
		return
	}
	for _, d := range all {
		d.err = err
	}
}

func (o *Office) replanTogether(ctx context.Context, all []*description) error {
	plan, prev, err := o.register.Plan(ctx)
	next := statement.Plan{}
	switch {
	case errors.Is(err, store.ErrNotFound):
		if next.Site, err = ParseTexts(o.org.Site); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		next.Site, next.Zones = plan.Site, cloneZones(plan.Zones)
		next.Seq, next.Prev = plan.Seq+1, prev.ID()
	}
	changed := false
	for _, d := range all {
		did, err := o.enter(&next, d)
		if err != nil {
			return err
		}
		changed = changed || did
	}
	if !changed {
		return nil
	}
	s, err := o.keys.Plan(next)
	if err != nil {
		return refusef(http.StatusBadRequest, "the device does not fit into the plan: %v", err)
	}
	if err := o.gate.Add(ctx, s); err != nil {
		return err
	}
	o.tellAll(&next)
	return nil
}

// cloneZones copies what enter changes.
func cloneZones(zones []statement.Zone) []statement.Zone {
	out := slices.Clone(zones)
	for i := range out {
		out[i].Channels, out[i].Antennas = slices.Clone(out[i].Channels), slices.Clone(out[i].Antennas)
	}
	return out
}

// enter puts one device into a plan and reports whether that changed it.
func (o *Office) enter(p *statement.Plan, d *description) (bool, error) {
	kid := d.id.Key.ID()
	if lists(p, kid) {
		return false, nil
	}
	if before, known := o.before(d.id, p); known {
		hand(p, before, kid)
		return true, nil
	}
	if len(d.report.Channels)+len(d.report.Antennas) == 0 {
		return false, nil
	}
	claim, err := o.claimOf(o.first(d.id))
	if err != nil {
		return false, err
	}
	place(p, claim, kid, d.report)
	return true, nil
}

// claimOf is the claim that a key used. Reading all claims for each device would
// take longer than all else, so the codes are kept. The caller holds o.mu.
func (o *Office) claimOf(kid statement.Hash) (Claim, error) {
	if code, known := o.used[kid]; known {
		if c, _, err := loadClaim(o.claims, code); err == nil && c.Used == kid.String() {
			return c, nil
		}
	}
	return claimOf(o.claims, kid)
}

// lists reports whether a plan has an entry of a device.
func lists(p *statement.Plan, kid statement.Hash) bool {
	return slices.ContainsFunc(p.Zones, func(z statement.Zone) bool { return serves(z, kid) })
}

// serves reports whether a zone has an entry of a device.
func serves(z statement.Zone, kid statement.Hash) bool {
	return slices.ContainsFunc(z.Channels, func(c statement.Channel) bool { return c.Device == kid }) ||
		slices.ContainsFunc(z.Antennas, func(a statement.Antenna) bool { return a.Device == kid })
}

// before is the key that the device had when the plan was made.
func (o *Office) before(id *statement.Identity, p *statement.Plan) (statement.Hash, bool) {
	for id.Replaces != nil {
		kid := *id.Replaces
		if lists(p, kid) {
			return kid, true
		}
		var known bool
		if id, known = o.gate.Identity(kid); !known {
			break
		}
	}
	return statement.Hash{}, false
}

// first is the key with which the device was claimed.
func (o *Office) first(id *statement.Identity) statement.Hash {
	for id.Replaces != nil {
		older, known := o.gate.Identity(*id.Replaces)
		if !known {
			break
		}
		id = older
	}
	return id.Key.ID()
}

// hand gives the entries of one key to another.
func hand(p *statement.Plan, from, to statement.Hash) {
	for _, z := range p.Zones {
		for j := range z.Channels {
			if z.Channels[j].Device == from {
				z.Channels[j].Device = to
			}
		}
		for j := range z.Antennas {
			if z.Antennas[j].Device == from {
				z.Antennas[j].Device = to
			}
		}
	}
}

// place puts what a device found into the zone of its claim.
func place(p *statement.Plan, claim Claim, kid statement.Hash, r device.Report) {
	at := slices.IndexFunc(p.Zones, func(z statement.Zone) bool { return z.ID == claim.Zone })
	if at < 0 {
		p.Zones = append(p.Zones, statement.Zone{ID: claim.Zone, Name: claim.Name, ReRead: claim.ReRead})
		at = len(p.Zones) - 1
	}
	z := &p.Zones[at]
	for _, c := range r.Channels {
		limits := claim.Limits
		if c.Unit != "Cel" {
			limits = nil
		}
		z.Channels = append(z.Channels, statement.Channel{Device: kid, Name: c.Name, Unit: c.Unit, Limits: limits,
			Nominal: c.Nominal, Closeness: statement.SameRoom})
	}
	for _, a := range r.Antennas {
		role := statement.Inside
		if strings.HasSuffix(a, "/1") {
			role = statement.Portal // port 1 of a reader is mounted at the door
		}
		z.Antennas = append(z.Antennas, statement.Antenna{Device: kid, Name: a, Role: role})
	}
}

// planRate bounds what telling devices of plans takes of the network, in bytes a
// second: a plan of 2,000 devices has a quarter of a megabyte, and each of them may
// ask for it at once.
const planRate = 8 << 20

// Tell sends a device the newest plan soon, in its turn.
func (o *Office) Tell(kid statement.Hash) {
	o.tell.Lock()
	o.due[kid] = true
	o.tell.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// tellAll tells every device in a plan.
func (o *Office) tellAll(p *statement.Plan) {
	for _, z := range p.Zones {
		for _, c := range z.Channels {
			o.Tell(c.Device)
		}
		for _, a := range z.Antennas {
			o.Tell(a.Device)
		}
	}
}

// Run sends devices what Tell promised until ctx ends. One whose turn comes late
// gets only the plan that is the newest by then.
func (o *Office) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-o.wake:
		}
		for {
			kid, some := o.takeDue()
			if !some {
				break
			}
			msg, err := o.register.Message(ctx)
			if err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			_ = o.post(ctx, kid, msg) // a device that is away asks by sending frames under the old plan
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Duration(len(msg)) * time.Second / planRate):
			}
		}
	}
}

// takeDue takes a device that is to be told.
func (o *Office) takeDue() (kid statement.Hash, some bool) {
	o.tell.Lock()
	defer o.tell.Unlock()
	for kid = range o.due {
		delete(o.due, kid)
		return kid, true
	}
	return kid, false
}

// Plan is the plan in force, shared and not to be changed, or store.ErrNotFound.
func (o *Office) Plan(ctx context.Context) (*statement.Plan, error) {
	p, _, err := o.register.Plan(ctx)
	return p, err
}

// NewestPlan is the statement id of the plan in force.
func (o *Office) NewestPlan(ctx context.Context) (statement.Hash, error) {
	_, s, err := o.register.Plan(ctx)
	if err != nil {
		return statement.Hash{}, err
	}
	return s.ID(), nil
}
