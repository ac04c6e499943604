// Package journey finds what the ledger knows of an item and composes its
// passport: the sightings, the plans in force, and for every channel of every
// zone the item was in a range proof over its stay.
//
// It works at the newest anchored size: nothing in a passport is younger than
// its anchor. What it leaves out or gets wrong a verifier notices; it is trusted
// for nothing but being there.
package journey

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/internal/epc"
	"trailmark/passport"
	"trailmark/statement"
	"trailmark/trace"
)

// ErrNotYet reports an item that no anchored statement saw.
var ErrNotYet = errors.New("no anchored record of this item yet")

// A Prover makes inclusion proofs at a size of the ledger.
type Prover interface {
	Inclusion(ctx context.Context, index, size uint64) ([][]byte, error)
}

// A Composer makes passports. It is safe for concurrent use.
type Composer struct {
	store  *store.Store
	ledger Prover
	signer *statement.Signer // the log key, for COSE receipts
}

// New makes a Composer.
func New(st *store.Store, ledger Prover, logKey *statement.Signer) *Composer {
	return &Composer{st, ledger, logKey}
}

// Item composes the passport of an item, named as in its Digital Link.
func (c *Composer) Item(ctx context.Context, link epc.Link) ([]byte, error) {
	anchor, err := c.store.LastAnchor(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNotYet
	} else if err != nil {
		return nil, err
	}
	sightings, err := c.sightings(ctx, link, anchor.Size)
	if err != nil {
		return nil, err
	}
	if len(sightings) == 0 {
		return nil, ErrNotYet
	}
	b := &builder{c: c, ctx: ctx, anchor: anchor, at: map[uint64]uint64{}, frames: map[uint64]*statement.Delivery{},
		p: passport.Passport{Item: passport.Item{GTIN: link.GTIN, Serial: link.Serial}}}
	if err := b.compose(sightings); err != nil {
		return nil, fmt.Errorf("composing the passport of %s: %w", link.Path(), err)
	}
	return b.p.Encode()
}

// sightings are those of every tag that spells the item.
func (c *Composer) sightings(ctx context.Context, link epc.Link, below uint64) ([]store.Sighting, error) {
	var out []store.Sighting
	for _, tag := range Tags(link) {
		s, err := c.store.Sightings(ctx, tag, below)
		if err != nil {
			return nil, err
		}
		out = append(out, s...)
	}
	slices.SortStableFunc(out, func(a, b store.Sighting) int { return int(min(max(a.First-b.First, -1), 1)) })
	return out, nil
}

// Tags are the SGTIN-96 tags that can carry an item's GTIN and serial: one for
// each length of the company prefix and each filter value.
func Tags(link epc.Link) [][]byte {
	if len(link.GTIN) != 14 || link.Serial == "" {
		return nil
	}
	indicator, rest := link.GTIN[:1], link.GTIN[1:13]
	var out [][]byte
	for n := 6; n <= 12; n++ {
		for filter := range uint8(8) {
			id, err := epc.SGTIN96(rest[:n], indicator+rest[n:], link.Serial, filter)
			if err != nil {
				continue
			}
			if tag, err := id.Encode(); err == nil {
				out = append(out, tag)
			}
		}
	}
	return out
}

// builder collects one passport.
type builder struct {
	c      *Composer
	ctx    context.Context
	anchor store.Anchor
	p      passport.Passport
	at     map[uint64]uint64 // ledger index -> evidence
	frames map[uint64]*statement.Delivery
}

// stay is a run of sightings in one zone of one site.
type stay struct {
	zone     statement.Zone
	site     string // the plan's issuer
	from, to int64
}

func (b *builder) compose(sightings []store.Sighting) error {
	a := b.anchor
	claim := &passport.AnchorClaim{Chain: a.Chain, Height: uint64(a.Height), Time: a.Time}
	copy(claim.Block[:], a.Block)
	b.p.Checkpoints = []passport.Checkpoint{{Note: a.Note, Anchor: claim}}

	plans, err := b.plans()
	if err != nil {
		return err
	}
	used := map[statement.Hash]bool{}
	var stays []stay
	for _, s := range sightings {
		if _, err := b.record(s.Index, s.Record); err != nil {
			return err
		}
		f := b.frames[s.Index].Frame
		plan, ok := plans[f.Plan]
		if !ok || f.Basis() != trace.Wall {
			continue
		}
		used[f.Plan] = true
		id, _, ok := plan.Antenna(s.KeyID, s.Antenna)
		if !ok {
			continue
		}
		zone, _ := plan.Zone(id)
		if n := len(stays); n > 0 && stays[n-1].zone.ID == id && stays[n-1].site == plan.site {
			stays[n-1].to = max(stays[n-1].to, s.Last)
			for _, ch := range zone.Channels { // channels that a newer plan added
				if !slices.ContainsFunc(stays[n-1].zone.Channels, func(o statement.Channel) bool { return o.Device == ch.Device && o.Name == ch.Name }) {
					stays[n-1].zone.Channels = append(slices.Clip(stays[n-1].zone.Channels), ch)
				}
			}
		} else {
			stays = append(stays, stay{zone, plan.site, s.First, s.Last})
		}
	}
	for _, st := range stays {
		st.to = max(st.to, st.from+1) // an instant between two blocks still has a millisecond
		for _, ch := range st.zone.Channels {
			if err := b.trails(st, ch, plans, used); err != nil {
				return err
			}
		}
	}
	return b.basis(used)
}

// sitePlan is a plan and who signed it.
type sitePlan struct {
	*statement.Plan
	site string
}

// plans are all plans at the anchored size.
func (b *builder) plans() (map[statement.Hash]sitePlan, error) {
	rows, err := b.c.store.Kind(b.ctx, statement.KindPlan)
	if err != nil {
		return nil, err
	}
	out := map[statement.Hash]sitePlan{}
	for _, row := range rows {
		s, err := statement.Parse(row.Data)
		if err != nil {
			return nil, err
		}
		p, err := s.Plan()
		if err != nil {
			return nil, err
		}
		out[row.ID] = sitePlan{p, s.Header.Issuer}
	}
	return out, nil
}

// trails adds the range proofs of one channel over one stay.
func (b *builder) trails(st stay, ch statement.Channel, plans map[statement.Hash]sitePlan, used map[statement.Hash]bool) error {
	traces, err := b.c.store.Overlapping(b.ctx, ch.Device, ch.Name, st.from, st.to)
	if err != nil {
		return err
	}
	for _, t := range traces {
		from, to, err := b.c.store.Window(b.ctx, t.ID, st.from, st.to, b.anchor.Size)
		if errors.Is(err, store.ErrNotFound) {
			continue // not anchored yet
		} else if err != nil {
			return err
		}
		last, err := b.c.store.LastLeaf(b.ctx, t.ID, b.anchor.Size)
		if err != nil {
			return err
		}
		if t.Start.Basis != trace.Wall || t.Start.Plan.IsZero() {
			continue
		}
		proof, err := trace.Prove(b.c.store.Nodes(b.ctx, t.ID), last.N+1, from.N, to.N+1)
		if err != nil {
			return err
		}
		ref, err := b.record(last.Index, last.Head)
		if err != nil {
			return err
		}
		b.p.Trails = append(b.p.Trails, passport.Trail{Zone: st.zone.ID, Device: ch.Device, Channel: ch.Name,
			Head: ref, Start: dcbor.MustMarshal(t.Start), Range: proof})
		for id, p := range plans { // the plan that the trace was begun under
			if _, entry, ok := p.Channel(ch.Device, ch.Name); ok && entry.Hash() == t.Start.Plan && !anyUsed(used, plans, ch, t.Start.Plan) {
				used[id] = true
			}
		}
	}
	return nil
}

func anyUsed(used map[statement.Hash]bool, plans map[statement.Hash]sitePlan, ch statement.Channel, entry statement.Hash) bool {
	for id := range used {
		if _, e, ok := plans[id].Channel(ch.Device, ch.Name); ok && e.Hash() == entry {
			return true
		}
	}
	return false
}

// record shows one record of a frame and returns its reference.
func (b *builder) record(index uint64, record int) (passport.Ref, error) {
	ref := passport.Ref{Record: uint64(record)}
	d, ok := b.frames[index]
	if !ok {
		row, err := b.c.store.Statement(b.ctx, index)
		if err != nil {
			return ref, err
		}
		if d, err = row.Delivery(); err != nil {
			return ref, err
		}
		b.frames[index] = d
		if err := b.add(row); err != nil {
			return ref, err
		}
	}
	ref.Evidence = b.at[index]
	e := &b.p.Evidence[ref.Evidence]
	for _, r := range e.Records {
		if r.Index == ref.Record {
			return ref, nil
		}
	}
	shown, err := statement.Disclose(d.Records, record)
	if err != nil {
		return ref, err
	}
	e.Records = append(e.Records, shown)
	return ref, nil
}

// add puts a statement with its receipt at the anchored size into the passport.
func (b *builder) add(row store.Statement) error {
	if _, ok := b.at[row.Index]; ok {
		return nil
	}
	path, err := b.c.ledger.Inclusion(b.ctx, row.Index, b.anchor.Size)
	if err != nil {
		return err
	}
	hs := make([]statement.Hash, len(path))
	for i := range path {
		copy(hs[i][:], path[i])
	}
	r, err := b.c.signer.SignReceipt(b.anchor.Origin, time.UnixMilli(b.anchor.Time).Unix(), b.anchor.Size, row.Index, b.anchor.Root, hs)
	if err != nil {
		return err
	}
	b.at[row.Index] = uint64(len(b.p.Evidence))
	b.p.Evidence = append(b.p.Evidence, passport.Evidence{Statement: row.Data, Receipt: &passport.Receipt{Receipt: r}})
	return nil
}

// basis adds the plans, products and identities that the rest stands on.
func (b *builder) basis(plans map[statement.Hash]bool) error {
	signers := map[statement.Hash]bool{}
	for _, d := range b.frames {
		signers[d.Statement.Header.KeyID] = true
	}
	for _, kind := range []statement.Kind{statement.KindPlan, statement.KindProduct} {
		rows, err := b.c.store.Kind(b.ctx, kind)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if row.Index >= b.anchor.Size || kind == statement.KindPlan && !plans[row.ID] {
				continue
			}
			if kind == statement.KindProduct {
				s, err := statement.Parse(row.Data)
				if err != nil {
					return err
				}
				if p, err := s.Product(); err != nil {
					return err
				} else if p.GTIN != b.p.Item.GTIN {
					continue
				}
			}
			signers[row.KeyID] = true
			if err := b.add(row); err != nil {
				return err
			}
		}
	}
	rows, err := b.c.store.Kind(b.ctx, statement.KindIdentity)
	if err != nil {
		return err
	}
	for _, row := range rows {
		s, err := statement.Parse(row.Data)
		if err != nil {
			return err
		}
		id, err := s.Identity()
		if err != nil {
			return err
		}
		if row.Index < b.anchor.Size && signers[id.Key.ID()] {
			if err := b.add(row); err != nil {
				return err
			}
		}
	}
	return nil
}
