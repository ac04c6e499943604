package enrol

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/statement"
)

// replan puts the device's channels and antennas into the zone of its claim, in a
// new plan. A device that goes on with another key takes its entries along.
func (o *Office) replan(ctx context.Context, id *statement.Identity, r device.Report) error {
	kid := id.Key.ID()
	plan, prev, err := newestPlan(ctx, o.store)
	next := statement.Plan{}
	switch {
	case errors.Is(err, store.ErrNotFound):
		if next.Site, err = ParseTexts(o.org.Site); err != nil {
			return err
		}
	case err != nil:
		return err
	case lists(plan, kid):
		return nil
	default:
		next = *plan
		next.Seq, next.Prev = plan.Seq+1, prev.ID()
	}
	switch before, known := o.before(id, &next); {
	case known:
		hand(&next, before, kid)
	case len(r.Channels)+len(r.Antennas) == 0:
		return nil
	default:
		claim, err := claimOf(o.claims, o.first(id))
		if err != nil {
			return err
		}
		place(&next, claim, kid, r)
	}
	s, err := o.keys.Plan(next)
	if err != nil {
		return refusef(http.StatusBadRequest, "the device does not fit into the plan: %v", err)
	}
	if err := o.gate.Add(ctx, s); err != nil {
		return err
	}
	return o.publishPlan(ctx, &next)
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

// publishPlan tells every device in the plan.
func (o *Office) publishPlan(ctx context.Context, p *statement.Plan) error {
	msg, err := o.PlanMessage(ctx)
	if err != nil {
		return err
	}
	told := map[statement.Hash]bool{}
	for _, z := range p.Zones {
		for _, c := range z.Channels {
			told[c.Device] = true
		}
		for _, a := range z.Antennas {
			told[a.Device] = true
		}
	}
	for kid := range told {
		_ = o.post(ctx, kid, msg) // a device that is away asks by sending frames under the old plan
	}
	return nil
}

// PlanMessage is the down message with the newest plan.
func (o *Office) PlanMessage(ctx context.Context) ([]byte, error) {
	_, s, err := newestPlan(ctx, o.store)
	if err != nil {
		return nil, err
	}
	ids, err := identities(ctx, o.store)
	if err != nil {
		return nil, err
	}
	var sites [][]byte
	for _, id := range ids {
		if id.Role == statement.RoleSite {
			sites = append(sites, id.data)
		}
	}
	return dcbor.Marshal(statement.PlanDown{Type: statement.DownPlan, Plan: s.Bytes(), Identities: sites})
}

// Plan is the plan in force, or store.ErrNotFound.
func (o *Office) Plan(ctx context.Context) (*statement.Plan, error) {
	p, _, err := newestPlan(ctx, o.store)
	return p, err
}

// NewestPlan is the statement id of the plan in force.
func (o *Office) NewestPlan(ctx context.Context) (statement.Hash, error) {
	_, s, err := newestPlan(ctx, o.store)
	if err != nil {
		return statement.Hash{}, err
	}
	return s.ID(), nil
}
