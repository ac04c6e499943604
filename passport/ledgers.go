package passport

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"trailmark/statement"
	"trailmark/trace"
)

// checkpoints opens every checkpoint with the log key that the trust file pins
// for its origin, and checks the evidence of their anchors.
func (c *check) checkpoints() error {
	for i := range c.p.Ledgers {
		l := &c.p.Ledgers[i]
		origin, _, _ := strings.Cut(string(l.Newest.Note), "\n")
		at := slices.IndexFunc(c.trust.Logs, func(l Log) bool { return l.Origin == origin })
		if at < 0 {
			return refuse(CodeCheckpoint, "ledger %q is not one the trust file names", origin)
		}
		if slices.ContainsFunc(c.ledgers, func(l ledger) bool { return l.newest.Origin == origin }) {
			return refuse(CodeCheckpoint, "ledger %q is given twice", origin)
		}
		key := c.trust.Logs[at].Key.Key
		opened := ledger{}
		for n, cp := range l.checkpoints() {
			o, err := statement.OpenCheckpoint(cp.Note, origin, key)
			if err != nil {
				return refuse(CodeCheckpoint, "ledger %d: checkpoint %d: %w", i, n, err)
			}
			if n == 0 {
				opened.newest = o
				continue
			}
			var before uint64
			if len(opened.older) > 0 {
				before = opened.older[len(opened.older)-1].Size
			}
			if o.Size <= before || o.Size >= opened.newest.Size {
				return refuse(CodeCheckpoint, "ledger %d: older checkpoint of size %d is not between %d and %d", i, o.Size, before, opened.newest.Size)
			}
			opened.older = append(opened.older, o)
		}
		if err := l.Signature.Verify(opened.newest, key); err != nil {
			return refuse(CodeReceipt, "ledger %d: %w", i, err)
		}
		if err := c.anchors(i, l, &opened); err != nil {
			return err
		}
		c.ledgers = append(c.ledgers, opened)
		c.v.Ledgers = append(c.v.Ledgers, LedgerFacts{origin, opened.newest.Size})
	}
	return nil
}

// anchors checks the anchors of a ledger, newest first as in the file.
func (c *check) anchors(i int, l *Ledger, o *ledger) error {
	for n, cp := range l.checkpoints() {
		size := o.newest.Size
		if n > 0 {
			size = o.older[n-1].Size
		}
		if cp.Anchor == nil {
			continue
		}
		a := anchored{Anchor: *cp.Anchor, size: size}
		f := AnchorFacts{Chain: a.Chain, Kind: a.Kind, Height: a.Height, Time: a.Time, Origin: o.newest.Origin, Size: size}
		if pinned, ok := c.trust.chain(cp.Anchor); ok {
			f.Pinned, f.Validators = true, pinned.Validators
			var err error
			if a.checked, err = pinned.confirms(cp); err != nil {
				return refuse(CodeAnchor, "ledger %d: checkpoint %d: %w", i, n, err)
			}
			f.Checked = a.checked
		}
		o.anchors = append(o.anchors, a)
		c.v.Anchors = append(c.v.Anchors, f)
	}
	slices.SortFunc(o.anchors, func(a, b anchored) int { return int(a.size) - int(b.size) })
	return nil
}

// places parses every statement and proves its place in its ledger.
func (c *check) places() error {
	c.evidence = make([]proven, len(c.p.Evidence))
	indexes, leaves := make([][]uint64, len(c.ledgers)), make([][]statement.Hash, len(c.ledgers))
	for i, e := range c.p.Evidence {
		s, err := statement.Parse(e.Statement)
		if err != nil {
			return refuse(CodeMalformed, "statement %d: %w", i, err)
		}
		l := e.Place.Ledger
		if l >= uint64(len(c.ledgers)) {
			return refuse(CodeReceipt, "statement %d is in ledger %d of %d", i, l, len(c.ledgers))
		}
		if i > 0 && (l < c.p.Evidence[i-1].Place.Ledger || l == c.p.Evidence[i-1].Place.Ledger && e.Place.Index <= c.p.Evidence[i-1].Place.Index) {
			return refuse(CodeReceipt, "statement %d is out of order", i)
		}
		if e.Place.Index >= c.ledgers[l].newest.Size {
			return refuse(CodeReceipt, "statement %d: index %d is beyond the ledger's %d entries", i, e.Place.Index, c.ledgers[l].newest.Size)
		}
		entry := s.Entry()
		indexes[l], leaves[l] = append(indexes[l], e.Place.Index), append(leaves[l], statement.LeafHash(entry[:]))
		c.evidence[i] = proven{s: s, place: e.Place}
	}
	for i, l := range c.ledgers {
		m, err := statement.OpenMulti(l.newest.Size, indexes[i], leaves[i], sizes(l.older), c.p.Ledgers[i].Proof)
		if err != nil {
			return refuse(CodeReceipt, "ledger %d: %w", i, err)
		}
		if err := root(m, l.newest.Size, l.newest.Root); err != nil {
			return refuse(CodeReceipt, "ledger %d: %w", i, err)
		}
		for _, o := range l.older {
			if err := root(m, o.Size, o.Root); err != nil {
				return refuse(CodeConsistency, "ledger %d: %w", i, err)
			}
		}
	}
	return nil
}

func sizes(cs []statement.Checkpoint) []uint64 {
	out := make([]uint64, len(cs))
	for i, c := range cs {
		out[i] = c.Size
	}
	return out
}

// root checks the root that a multi-proof gives for a size.
func root(m *statement.Multi, size uint64, want statement.Hash) error {
	got, err := m.Root(size)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("proof leads to root %.8s… at size %d, signed is %.8s…", got, size, want)
	}
	return nil
}

// covering is the bound that the first anchor of a ledger that holds an entry
// gives.
func (c *check) covering(p Place) Bound {
	for _, a := range c.ledgers[p.Ledger].anchors {
		if a.size > p.Index {
			return a.bound()
		}
	}
	return Bound{Proof: None}
}

// naming is the bound of the block that a frame names, if an anchor is in it.
func (c *check) naming(a *statement.After) Bound {
	best := Bound{Proof: None}
	if a == nil || a.ChainID == "" {
		return best
	}
	for _, l := range c.ledgers {
		for _, x := range l.anchors {
			if x.Chain == a.ChainID && x.Height == a.Height && x.Block == a.BlockHash && best.Proof != Proven {
				best = x.bound()
			}
		}
	}
	return best
}

// statements verifies identities first, then everything that rests on them.
func (c *check) statements() error {
	keys := make([]statement.Key, len(c.trust.Authorities))
	for i, a := range c.trust.Authorities {
		keys[i] = a.Key
	}
	ring := statement.NewKeyring(c.trust.Audience, keys...)
	for i, e := range c.evidence {
		if e.s.Header.Kind != statement.KindIdentity {
			continue
		}
		if _, err := e.s.Identity(); err != nil {
			return refuse(CodeMalformed, "statement %d: %w", i, err)
		}
		id, err := ring.Add(e.s)
		if err != nil {
			return signed(i, err)
		}
		c.lines[id.Key.ID()] = c.line(id, ring)
		if id.Role == statement.RoleOrganisation && id.Name != "" {
			c.h.names[id.Subject] = id.Name
		}
	}
	errs := c.signatures(ring)
	for i := range c.evidence {
		e := &c.evidence[i]
		if errs[i] != nil {
			return signed(i, errs[i])
		}
		if err := c.take(i, e); err != nil {
			return refuse(CodeMalformed, "statement %d: %w", i, err)
		}
	}
	return nil
}

// signatures verifies every statement on every processor: signatures are half the
// cost of a passport, and need no order. What is wrong is told by the caller, in the
// order of the file.
func (c *check) signatures(ring *statement.Keyring) []error {
	errs := make([]error, len(c.evidence))
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(c.evidence)) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(errs)); i = next.Add(1) - 1 {
				c.evidence[i].id, errs[i] = ring.Verify(c.evidence[i].s)
			}
		})
	}
	all.Wait()
	return errs
}

// line is the first key of the device whose key this is. A key goes on for one
// shown before it, that its identity replaces, of the same subject and the epoch
// before.
func (c *check) line(id *statement.Identity, ring *statement.Keyring) statement.Hash {
	if id.Replaces != nil {
		if old, ok := ring.Identity(*id.Replaces); ok && old.Subject == id.Subject && old.Epoch+1 == id.Epoch {
			return c.lines[*id.Replaces]
		}
	}
	return id.Key.ID()
}

func signed(i int, err error) error {
	if errors.Is(err, statement.ErrUntrusted) || errors.Is(err, statement.ErrRole) || errors.Is(err, statement.ErrEpoch) {
		return refuse(CodeUntrusted, "statement %d: %w", i, err)
	}
	return refuse(CodeSignature, "statement %d: %w", i, err)
}

// take decodes a verified statement's payload.
func (c *check) take(i int, e *proven) (err error) {
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
		c.revoked = append(c.revoked, k.Revoked...)
		if s := c.v.KeyStatus; s == nil || k.At > s.At {
			c.v.KeyStatus = &KeyStatusFacts{At: k.At, Age: max(0, c.at-k.At)}
		}
	case statement.KindErasure:
		x, err := e.s.Erasure()
		if err != nil {
			return err
		}
		for _, r := range x.Records {
			if r.Block != nil {
				c.erased[erasedKey{e.id.Subject, r.Block.Start, r.Block.N}] = true
			}
		}
	case statement.KindHandover, statement.KindAcceptance, statement.KindEvent:
		return c.takeHistory(i, e)
	}
	return err
}

// takeHistory decodes what an organisation signs, which a passport of version 1
// only shows: it has the first version of these statements and no other.
func (c *check) takeHistory(i int, e *proven) error {
	h, n, version := &c.h, uint64(i), uint64(1)
	switch e.s.Header.Kind {
	case statement.KindHandover:
		x, err := e.s.Handover()
		if err != nil {
			return err
		}
		version, h.moments[n] = x.Version, x.Moments
		h.handovers = append(h.handovers, &handover{Handover: x, e: e, n: n})
	case statement.KindAcceptance:
		x, err := e.s.Acceptance()
		if err != nil {
			return err
		}
		version, h.moments[n] = x.Version, x.Moments
		h.acceptances = append(h.acceptances, acceptance{x, e, n})
	case statement.KindEvent:
		x, err := e.s.Event()
		if err != nil {
			return err
		}
		if version = x.Version; version == 2 {
			h.events = append(h.events, &happened{x, e, i})
		}
	}
	if version > c.p.Version {
		return fmt.Errorf("%s of version %d in a passport of version %d", e.s.Header.Kind, version, c.p.Version)
	}
	return nil
}

// validity refuses what was signed with a key that was revoked or out of date.
func (c *check) validity() error {
	for i, e := range c.evidence {
		for _, r := range c.revoked {
			if e.id != nil && r.KeyID == e.s.Header.KeyID && (e.id.Epoch > r.Epoch || e.id.Epoch == r.Epoch && c.seq(e) >= r.Seq) {
				return refuse(CodeRevoked, "statement %d: its key was revoked from seq %d on", i, r.Seq)
			}
		}
		if f := e.frame; f != nil && f.Basis() == trace.Wall && (f.Span[1] < e.id.From || f.Span[1] > e.id.To) {
			return refuse(CodeExpired, "statement %d: signed at %d ms, its key is valid from %d to %d", i, f.Span[1], e.id.From, e.id.To)
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
