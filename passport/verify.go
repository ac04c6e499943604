package passport

import (
	"time"

	"trailmark/internal/epc"
	"trailmark/statement"
	"trailmark/trace"
)

// Verify checks a passport of at most MaxSize bytes against a trust file and
// recomputes the verdict. It is pure: at is only what ages are counted from. The
// error is a *Refusal when the passport does not stand. What a stranger may send
// costs at most some 16 MB and a second.
func Verify(data []byte, trust *Trust, at time.Time) (*Verdict, error) {
	return verify(data, trust, at.UnixMilli(), MaxSize, 0)
}

// VerifyAudit is Verify for a passport of up to MaxAudit bytes, which may cost
// that much more: for files that somebody asked for.
func VerifyAudit(data []byte, trust *Trust, at time.Time) (*Verdict, error) {
	return verify(data, trust, at.UnixMilli(), MaxAudit, 0)
}

// verify checks a passport that is in depth others; at is in ms.
func verify(data []byte, trust *Trust, at int64, limit, depth int) (*Verdict, error) {
	if depth > maxDepth {
		return nil, refuse(CodeMalformed, "passports are more than %d deep in each other", maxDepth)
	}
	if len(data) > limit {
		return nil, refuse(CodeMalformed, "passport of %d bytes is over the limit of %d", len(data), limit)
	}
	p, err := Parse(data)
	if err != nil {
		return nil, refuse(CodeMalformed, "%w", err)
	}
	c := &check{p: p, trust: trust, at: at, depth: depth,
		plans: map[statement.Hash]planned{}, erased: map[erasedKey]bool{}, devices: map[statement.Hash]*DeviceFacts{}, lines: map[statement.Hash]statement.Hash{},
		h: history{item: p.Item.URI(), shown: map[statement.Hash]bool{}, mentions: map[string][]*mention{}, inputs: map[int][]string{}, chains: map[string][]*mention{},
			spans: map[string][]span{}, names: map[string]string{}, moments: map[uint64][]statement.Moment{}, transfers: map[uint64]int{}},
		v: &Verdict{Item: p.Item, Outcome: Unjudged, Legs: []Leg{}, Broken: []Breach{}, Withheld: []Withheld{},
			Ledgers: []LedgerFacts{}, Anchors: []AnchorFacts{}, Devices: []DeviceFacts{}, Statements: len(p.Evidence)}}
	for _, step := range []func() error{c.checkpoints, c.places, c.statements, c.validity, c.cosignatures, c.members, c.records, c.legs, c.trails, c.inputs} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	c.brackets()
	c.judge()
	return c.v, nil
}

// check is a verification under way; each step fills what the later ones read.
type check struct {
	p     *Passport
	trust *Trust
	at    int64 // ms
	depth int   // in how many passports this one is
	v     *Verdict

	ledgers   []ledger
	evidence  []proven
	plans     map[statement.Hash]planned
	revoked   []statement.Revoked
	erased    map[erasedKey]bool
	product   *ProductFacts
	devices   map[statement.Hash]*DeviceFacts
	lines     map[statement.Hash]statement.Hash // of a key, the first key of its line
	sightings []placed
	stays     []stay // of each leg
	h         history
}

// ledger is a ledger whose checkpoints are verified.
type ledger struct {
	newest  statement.Checkpoint
	older   []statement.Checkpoint
	anchors []anchored // ascending by size
}

type anchored struct {
	Anchor
	size    uint64
	checked bool
}

// bound is the anchor's time and how well it is known.
func (a anchored) bound() Bound {
	if a.checked {
		return Bound{a.Time, Proven}
	}
	return Bound{a.Time, Declared}
}

// proven is a statement whose place and signature stand.
type proven struct {
	s       *statement.Statement
	id      *statement.Identity
	frame   *statement.Frame // of a frame
	place   Place
	records map[uint64]any
}

type planned struct {
	*statement.Plan
	by string
}

// placed is a sighting of the item, or of what carried it, with the zone that the
// plan in force gives its antenna.
type placed struct {
	*statement.Sighting
	carrier string // whose tag it is of, "" for the item's own
	from    *proven
	plan    planned
	zone    statement.Zone
}

// stay is what a leg rests on.
type stay struct {
	sightings []placed
	frames    []*proven // of the last heads
}

// erasedKey is a block that an issuer says he erased.
type erasedKey struct {
	by    string
	start statement.Hash
	n     uint64
}

// records opens every frame's disclosed records and collects the item's
// sightings.
func (c *check) records() error {
	for i, e := range c.p.Evidence {
		if e.Shown == nil {
			continue
		}
		pr := &c.evidence[i]
		if pr.frame == nil {
			return refuse(CodeRecord, "statement %d of kind %s has no records", i, pr.s.Header.Kind)
		}
		if err := c.open(pr, e.Shown); err != nil {
			return refuse(CodeRecord, "statement %d: %w", i, err)
		}
		for _, r := range e.Shown.Records {
			s, ok := pr.records[r.Index].(*statement.Sighting)
			if !ok {
				continue
			}
			counted, carrier, ok := c.stands(pr, s)
			if !ok {
				return refuse(CodeItem, "statement %d shows a sighting of another item", i)
			}
			if pr.frame.Basis() != trace.Wall {
				c.v.Undated++
				continue
			}
			c.place(pr, counted, carrier)
		}
	}
	return nil
}

// open checks the records shown of a frame against its records root.
func (c *check) open(pr *proven, s *Shown) error {
	indexes, leaves := make([]uint64, len(s.Records)), make([]statement.Hash, len(s.Records))
	for i, r := range s.Records {
		indexes[i], leaves[i] = r.Index, statement.LeafHash(r.Data)
	}
	m, err := statement.OpenMulti(pr.frame.Count, indexes, leaves, nil, s.Proof)
	if err != nil {
		return err
	}
	if err := root(m, pr.frame.Count, pr.frame.Root); err != nil {
		return err
	}
	pr.records = make(map[uint64]any, len(s.Records))
	for _, r := range s.Records {
		rec, err := statement.ParseRecord(r.Data)
		if err != nil {
			return err
		}
		v, err := statement.Body{Kind: rec.Kind, Data: rec.Body}.Decode()
		if err != nil {
			return err
		}
		pr.records[r.Index] = v
	}
	return nil
}

func (c *check) place(e *proven, s *statement.Sighting, carrier string) {
	plan, ok := c.plans[e.frame.Plan]
	if ok {
		if id, _, found := plan.Antenna(e.s.Header.KeyID, s.Antenna); found {
			zone, _ := plan.Zone(id)
			c.sightings = append(c.sightings, placed{s, carrier, e, plan, zone})
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
