package passport

import (
	"errors"
	"slices"
	"strings"

	"trailmark/internal/epc"
	"trailmark/statement"
	"trailmark/trace"
)

// Verify checks a passport against a trust file and recomputes the verdict. It
// is pure. The error is a *Refusal when the passport does not stand.
func Verify(data []byte, trust *Trust) (*Verdict, error) {
	p, err := Parse(data)
	if err != nil {
		return nil, refuse(CodeMalformed, "%w", err)
	}
	c := &check{p: p, trust: trust, plans: map[statement.Hash]planned{}, devices: map[statement.Hash]*DeviceFacts{},
		v: &Verdict{Item: p.Item, Outcome: Unjudged, Legs: []Leg{}, Broken: []Breach{}, Withheld: []Withheld{}, Statements: len(p.Evidence)}}
	for _, step := range []func() error{c.checkpoints, c.statements, c.records, c.legs, c.trails} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	c.judge()
	return c.v, nil
}

// check is a verification under way; each step fills what the later ones read.
type check struct {
	p     *Passport
	trust *Trust
	v     *Verdict

	heads     []opened // the checkpoints, verified
	evidence  []proven
	plans     map[statement.Hash]planned
	product   *ProductFacts
	devices   map[statement.Hash]*DeviceFacts
	sightings []placed
}

type opened struct {
	statement.Checkpoint
	key    statement.Key
	anchor *AnchorClaim
}

// proven is a statement whose signature and receipt stand.
type proven struct {
	s       *statement.Statement
	id      *statement.Identity
	frame   *statement.Frame // of a frame
	head    int              // index of its checkpoint
	records map[uint64]any
}

type planned struct {
	*statement.Plan
	by string
}

// placed is a sighting of the item with the zone that the plan in force gives
// its antenna.
type placed struct {
	*statement.Sighting
	plan planned
	zone statement.Zone
}

// in reports whether the sighting is in the leg's zone; two sites may give the
// same id to a zone.
func (p placed) in(leg *Leg) bool { return p.zone.ID == leg.Zone && p.plan.by == leg.PlanBy }

func (c *check) checkpoints() error {
	for i, cp := range c.p.Checkpoints {
		origin, _, _ := strings.Cut(string(cp.Note), "\n")
		at := slices.IndexFunc(c.trust.Logs, func(l Log) bool { return l.Origin == origin })
		if at < 0 {
			return refuse(CodeCheckpoint, "ledger %q is not one the trust file names", origin)
		}
		o, err := statement.OpenCheckpoint(cp.Note, origin, c.trust.Logs[at].Key.Key)
		if err != nil {
			return refuse(CodeCheckpoint, "checkpoint %d: %w", i, err)
		}
		c.heads = append(c.heads, opened{o, c.trust.Logs[at].Key.Key, cp.Anchor})
		if o.Size >= c.v.LedgerSize {
			c.v.Origin, c.v.LedgerSize = origin, o.Size
		}
		if a := cp.Anchor; a != nil {
			f := AnchorFacts{Chain: a.Chain, Height: a.Height, Time: a.Time, Size: o.Size}
			for _, ch := range c.trust.Chains {
				if ch.ID == a.Chain {
					f.Pinned, f.Validators = true, ch.Validators
				}
			}
			c.v.Anchors = append(c.v.Anchors, f)
		}
	}
	return nil
}

// statements verifies identities first, then everything that rests on them.
func (c *check) statements() error {
	keys := make([]statement.Key, len(c.trust.Authorities))
	for i, a := range c.trust.Authorities {
		keys[i] = a.Key
	}
	ring := statement.NewKeyring(c.trust.Audience, keys...)
	c.evidence = make([]proven, len(c.p.Evidence))
	for i, e := range c.p.Evidence {
		s, err := statement.Parse(e.Statement)
		if err != nil {
			return refuse(CodeMalformed, "statement %d: %w", i, err)
		}
		c.evidence[i] = proven{s: s, records: map[uint64]any{}}
		if s.Header.Kind == statement.KindIdentity {
			if _, err := ring.Add(s); err != nil {
				return signed(i, err)
			}
		}
		if err := c.receipt(i, e.Receipt, s); err != nil {
			return err
		}
	}
	var revoked []statement.Revoked
	for i := range c.evidence {
		e := &c.evidence[i]
		var err error
		if e.id, err = ring.Verify(e.s); err != nil {
			return signed(i, err)
		}
		if err := c.take(e, &revoked); err != nil {
			return refuse(CodeMalformed, "statement %d: %w", i, err)
		}
	}
	for i, e := range c.evidence {
		for _, r := range revoked {
			if e.id != nil && r.KeyID == e.s.Header.KeyID && (e.id.Epoch > r.Epoch || e.id.Epoch == r.Epoch && c.seq(e) >= r.Seq) {
				return refuse(CodeRevoked, "statement %d: its key was revoked from seq %d on", i, r.Seq)
			}
		}
		if e.frame == nil {
			continue
		}
		if e.frame.Basis() == trace.Wall && (e.frame.Span[1] < e.id.From || e.frame.Span[1] > e.id.To) {
			return refuse(CodeExpired, "statement %d: signed at %d ms, its key is valid from %d to %d", i, e.frame.Span[1], e.id.From, e.id.To)
		}
	}
	return nil
}

// seq is what a revocation counts by: of a frame and of a plan their own, 0 of a
// statement that has none.
func (c *check) seq(e proven) uint64 {
	if e.frame != nil {
		return e.frame.Seq
	}
	if p, ok := c.plans[e.s.ID()]; ok {
		return p.Seq
	}
	return 0
}

func signed(i int, err error) error {
	if errors.Is(err, statement.ErrUntrusted) || errors.Is(err, statement.ErrRole) {
		return refuse(CodeUntrusted, "statement %d: %w", i, err)
	}
	return refuse(CodeSignature, "statement %d: %w", i, err)
}

func (c *check) receipt(i int, r *Receipt, s *statement.Statement) error {
	if r == nil {
		return refuse(CodeReceipt, "statement %d has no ledger receipt", i)
	}
	if r.Checkpoint >= uint64(len(c.heads)) {
		return refuse(CodeReceipt, "statement %d: receipt names checkpoint %d of %d", i, r.Checkpoint, len(c.heads))
	}
	rec, err := statement.ParseReceipt(r.Receipt)
	if err != nil {
		return refuse(CodeReceipt, "statement %d: %w", i, err)
	}
	h := c.heads[r.Checkpoint]
	if err := rec.Verify(s.Entry(), h.Checkpoint, h.key); err != nil {
		return refuse(CodeReceipt, "statement %d: %w", i, err)
	}
	c.evidence[i].head = int(r.Checkpoint)
	return nil
}

// take decodes a verified statement's payload.
func (c *check) take(e *proven, revoked *[]statement.Revoked) (err error) {
	switch e.s.Header.Kind {
	case statement.KindFrame:
		if e.frame, err = e.s.Frame(); err != nil {
			return err
		}
		d, ok := c.devices[e.id.Key.ID()]
		if !ok {
			d = &DeviceFacts{KeyID: e.id.Key.ID(), Issuer: e.id.Subject, Name: e.id.Name, Simulated: e.id.Simulated, Clock: statement.ClockSynchronised}
			c.devices[d.KeyID] = d
		}
		d.Clock = min(d.Clock, e.frame.Clock.Quality)
		d.MaxError = max(d.MaxError, e.frame.Clock.MaxError)
	case statement.KindPlan:
		p, err := e.s.Plan()
		if err != nil {
			return err
		}
		c.plans[e.s.ID()] = planned{p, e.id.Subject}
	case statement.KindProduct:
		p, err := e.s.Product()
		if err != nil {
			return err
		}
		if p.GTIN == c.p.Item.GTIN {
			c.product = &ProductFacts{Name: p.Name, Brand: p.Brand, Lot: p.Lot, By: e.id.Subject, Rule: p.Rule}
		}
	case statement.KindKeyStatus:
		k, err := e.s.KeyStatus()
		if err != nil {
			return err
		}
		*revoked = append(*revoked, k.Revoked...)
		c.v.KeyStatus = max(c.v.KeyStatus, k.At)
	case statement.KindHandover:
		_, err = e.s.Handover()
	case statement.KindAcceptance:
		_, err = e.s.Acceptance()
	case statement.KindEvent:
		_, err = e.s.Event()
	}
	return err
}

// records opens every disclosed record and collects the item's sightings.
func (c *check) records() error {
	for i, e := range c.p.Evidence {
		pr := &c.evidence[i]
		for _, d := range e.Records {
			if pr.frame == nil {
				return refuse(CodeRecord, "statement %d of kind %s has no records", i, pr.s.Header.Kind)
			}
			v, err := d.Open(pr.frame)
			if err != nil {
				return refuse(CodeRecord, "statement %d: %w", i, err)
			}
			if _, twice := pr.records[d.Index]; twice {
				return refuse(CodeRecord, "statement %d shows record %d twice", i, d.Index)
			}
			pr.records[d.Index] = v
			s, ok := v.(*statement.Sighting)
			if !ok {
				continue
			}
			if !c.p.Item.matches(s.EPC) {
				return refuse(CodeItem, "statement %d shows a sighting of another item", i)
			}
			if pr.frame.Basis() != trace.Wall {
				c.v.Undated++
				continue
			}
			c.place(pr, s)
		}
	}
	slices.SortStableFunc(c.sightings, func(a, b placed) int { return int(min(max(a.First-b.First, -1), 1)) })
	return nil
}

func (c *check) place(e *proven, s *statement.Sighting) {
	plan, ok := c.plans[e.frame.Plan]
	if ok {
		if id, _, found := plan.Antenna(e.s.Header.KeyID, s.Antenna); found {
			zone, _ := plan.Zone(id)
			c.sightings = append(c.sightings, placed{s, plan, zone})
			return
		}
	}
	c.v.Unplaced++
}

// matches reports whether a tag is the item's: an SGTIN whose GTIN and serial
// are the Digital Link's.
func (it Item) matches(tag []byte) bool {
	id, err := epc.Decode(tag)
	return err == nil && id.GTIN() == it.GTIN && id.Serial == it.Serial
}

// legs groups the sightings by zone in order of time.
func (c *check) legs() error {
	var inLeg []placed
	for i, s := range c.sightings {
		if i > 0 && (s.zone.ID != c.sightings[i-1].zone.ID || s.plan.by != c.sightings[i-1].plan.by) {
			c.closeLeg(inLeg)
			inLeg = nil
		}
		inLeg = append(inLeg, s)
	}
	if len(inLeg) > 0 {
		c.closeLeg(inLeg)
	}
	for i := 1; i < len(c.v.Legs); i++ {
		if gap := c.v.Legs[i].From - c.v.Legs[i-1].To; gap >= 0 {
			c.v.Unmonitored += gap
		} else {
			c.v.Conflicts++ // in two zones at once: shown, not resolved
		}
	}
	return nil
}

func (c *check) closeLeg(in []placed) {
	z := in[0]
	l := Leg{Zone: z.zone.ID, Name: z.zone.Name, Site: z.plan.Site, PlanBy: z.plan.by, From: z.First, To: z.Last, Presence: Seen, Sightings: len(in)}
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
	}
	l.To = end
	if len(in) == 1 && in[0].Reads == 1 {
		l.Presence = SeenOnce
	}
	c.v.Legs = append(c.v.Legs, l)
}
