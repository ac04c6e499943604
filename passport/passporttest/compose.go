package passporttest

import (
	"crypto/sha256"
	"slices"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"

	"trailmark/internal/dcbor"
	"trailmark/passport"
	"trailmark/statement"
	"trailmark/trace"
)

// composer fills a passport from the ledger.
type composer struct {
	*world
	d passport.Draft
}

// compose makes the passport at the ledger's whole size.
func (w *world) compose() *passport.Passport { return w.composeOf(Serial) }

func (w *world) composeOf(serial string) *passport.Passport {
	c := &composer{world: w, d: passport.Draft{Item: passport.Item{GTIN: GTIN, Serial: serial}}}
	nth := map[statement.Kind]int{}
	for i, e := range w.entries {
		nth[e.kind]++
		if c.o.Omit != nil && c.o.Omit(e.kind, nth[e.kind]) {
			continue
		}
		shown := e.shown
		if serial != Serial {
			if shown = e.inputs[serial]; e.kind == statement.KindEvent && i != w.j.events[0].entry {
				continue // an input went into the item with the first event
			}
		}
		if e.kind != statement.KindFrame || len(shown) > 0 {
			c.show(i)
		}
		for _, r := range shown {
			c.record(i, r)
		}
	}
	if w.o.Journey != nil {
		c.journey(serial)
	}
	if serial != Serial {
		c.stay(w.store, 2, 14)
	} else if w.o.Moment {
		c.stay(w.store, 30, 346)
		c.stay(w.truck, 420, 420)
	} else {
		c.stay(w.store, 30, 350)
		c.stay(w.truck, w.departs(), 625)
	}
	var ledgers []passport.Ledger
	for n, span := range w.ledgers() {
		ledgers = append(ledgers, c.ledger(uint64(n), span[0], span[1]))
	}
	p, err := c.d.Finish(ledgers...)
	c.must(err)
	return p
}

// ledgers are the spans of entries that are in one ledger each.
func (w *world) ledgers() [][2]int {
	if w.o.Halves {
		return [][2]int{{0, len(w.entries) / 2}, {len(w.entries) / 2, len(w.entries)}}
	}
	return [][2]int{{0, len(w.entries)}}
}

// at is the place of an entry.
func (w *world) place(entry int) passport.Place {
	for n, span := range w.ledgers() {
		if entry < span[1] {
			return passport.Place{Ledger: uint64(n), Index: uint64(entry - span[0])}
		}
	}
	w.t.Fatalf("no ledger has entry %d", entry)
	return passport.Place{}
}

// originOf is the name of a ledger.
func originOf(n uint64) string {
	return [...]string{"ledger.example.com/acme/2026h1", "ledger.example.com/acme/2026h2"}[n]
}

// ledger proves what the draft shows of one ledger.
func (c *composer) ledger(n uint64, from, to int) passport.Ledger {
	var leaves []statement.Hash
	for _, e := range c.entries[from:to] {
		entry := sha256.Sum256(e.raw)
		leaves = append(leaves, statement.LeafHash(entry[:]))
	}
	root := treeRoot(leaves)
	l := passport.Ledger{Newest: passport.Checkpoint{Note: c.note(n, len(leaves), root, true)}}
	var err error
	l.Signature, err = c.log.SignRoot(originOf(n), at(720)/1000, root)
	c.must(err)
	var older []uint64
	switch {
	case c.o.Anchored || c.o.EVM != nil:
		l.Newest.Anchor, l.Newest.Proof = c.chain.anchor(l.Newest.Note, 50+n, at(720))
		for _, a := range c.anchors {
			if a.size < len(leaves) {
				older, l.Older = append(older, uint64(a.size)), append(l.Older, a.checkpoint)
			}
		}
	case !c.o.Unanchored:
		l.Newest.Anchor = &passport.Anchor{Chain: Chain, Kind: passport.Comet, Height: 42, Block: statement.Hash{0xb1}, Time: at(720)}
	}
	l.Proof, err = statement.ProveMulti(uint64(len(leaves)), c.d.Indexes(n), older, func(lo, hi uint64) (statement.Hash, error) {
		return treeRoot(leaves[lo:hi]), nil
	})
	c.must(err)
	return l
}

// treeRoot is the RFC 9162 root over leaf hashes: that of nothing shown.
func treeRoot(leaves []statement.Hash) statement.Hash {
	h, err := statement.ProveLeaves(leaves, nil)
	if err != nil || len(h) != 1 {
		panic("passporttest: no root")
	}
	return h[0]
}

// note is a checkpoint signed by the log key, with its cosignatures.
func (w *world) note(ledger uint64, size int, root statement.Hash, newest bool) []byte {
	text := log.Checkpoint{Origin: originOf(ledger), Size: uint64(size), Hash: root[:]}.Marshal()
	v, err := statement.LogVerifier(originOf(ledger), w.log.Key())
	w.must(err)
	signed, err := note.Sign(&note.Note{Text: string(text)}, noteSigner{v, w.logKey})
	w.must(err)
	return w.cosign(signed, string(text), newest)
}

// anchored is an older checkpoint that the chain keeps.
type anchored struct {
	size       int
	root       statement.Hash
	checkpoint passport.Checkpoint
}

// anchorAt anchors the ledger as it is, at a minute of the journey.
func (w *world) anchorAt(minute int) {
	var leaves []statement.Hash
	for _, e := range w.entries {
		entry := sha256.Sum256(e.raw)
		leaves = append(leaves, statement.LeafHash(entry[:]))
	}
	a := anchored{size: len(leaves), root: treeRoot(leaves)}
	if w.o.Forked && len(w.anchors) == 1 {
		a.root[0] ^= 1
	}
	a.checkpoint.Note = w.note(0, a.size, a.root, false)
	a.checkpoint.Anchor, a.checkpoint.Proof = w.chain.anchor(a.checkpoint.Note, uint64(10+len(w.anchors)), at(minute))
	w.anchors = append(w.anchors, a)
}

// after is what a frame says of the newest anchor.
func (w *world) after() *statement.After {
	if len(w.anchors) == 0 {
		return nil
	}
	a := w.anchors[len(w.anchors)-1]
	c := a.checkpoint.Anchor
	return &statement.After{Origin: sha256.Sum256([]byte(originOf(0))), Size: uint64(a.size), Root: a.root,
		ChainID: c.Chain, Height: c.Height, BlockHash: c.Block}
}

// show puts a statement into the passport.
func (c *composer) show(entry int) { c.d.Add(c.place(entry), c.entries[entry].raw) }

// record discloses a record of a frame.
func (c *composer) record(entry, record int) passport.Mark {
	c.show(entry)
	e := c.entries[entry]
	m := passport.Mark{Place: c.place(entry), Record: uint64(record)}
	c.d.Show(m, e.records[record], statement.RecordLeaves(e.records))
	return m
}

// stay shows every channel of a device over a stay, in minutes.
func (c *composer) stay(d *device, from, to int) {
	for _, ch := range d.channels {
		for _, s := range ch.traces {
			c.trail(ch, s, at(from), max(at(to), at(from)+1))
		}
	}
}

func (c *composer) trail(ch *channel, s *series, from, to int64) {
	if ch.name == Box && c.o.Withheld {
		return
	}
	a := slices.IndexFunc(s.leaves, func(l leaf) bool { return l.digest.T1 > from })
	b := len(s.leaves)
	for b > 0 && s.leaves[b-1].digest.T0 >= to {
		b--
	}
	if a < 0 || a >= b {
		return
	}
	if ch.name == Air && c.o.Narrow {
		a++
	}
	size := len(s.leaves)
	if ch.name == Box && c.o.Stale {
		size -= 2
		b = min(b, size)
	}
	if r := c.o.Rotated; r != nil && r.Cut && s == c.store.channels[0].traces[0] {
		size--
		b = min(b, size)
	}
	last := s.leaves[size-1]
	head := c.record(last.entry, last.head)
	zone := ch.zone
	if c.o.SameZone {
		zone = Store
	}
	t := passport.Trail{Zone: zone, Device: s.device, Channel: ch.name, Start: dcbor.MustMarshal(s.start)}
	var cuts []uint64
	var older []passport.Mark
	if ch.name == Air && c.o.Older {
		for _, n := range slices.Compact([]int{1, 3, size - 1}) {
			if n < size {
				cuts, older = append(cuts, uint64(n)), append(older, c.record(s.leaves[n-1].entry, s.leaves[n-1].head))
			}
		}
	}
	if c.o.Audit {
		t.Runs = c.runs(s, a, b)
		for _, r := range t.Runs {
			cuts = append(cuts, r.First, r.First+uint64(len(r.Records)))
		}
	}
	moments, marks := c.momentsOf(s, a, b)
	cuts = append(cuts, moments...)
	var err error
	t.Range, err = trace.Prove(s.nodes, uint64(size), uint64(a), uint64(b), cuts...)
	c.must(err)
	c.d.Trail(t, head, older...)
	for _, mark := range marks {
		mark()
	}
}

// runs are the blocks [a, b) that were not erased.
func (c *composer) runs(s *series, a, b int) (out []passport.Run) {
	for n := a; n < b; n++ {
		l := s.leaves[n]
		if c.o.Erased && s.start.Channel == Air && slices.Contains(erasedBlocks, n) {
			continue
		}
		data := c.entries[l.entry].records[l.block]
		if k := len(out); k > 0 && out[k-1].First+uint64(len(out[k-1].Records)) == uint64(n) {
			out[k-1].Records = append(out[k-1].Records, data)
		} else {
			out = append(out, passport.Run{First: uint64(n), Records: [][]byte{data}})
		}
	}
	return out
}

// erase is the site's word that it no longer holds some blocks of the store's
// air.
func (w *world) erase() {
	s := w.store.channels[0].traces[0]
	for _, n := range erasedBlocks {
		l := s.leaves[n]
		records := w.entries[l.entry].records
		signer, issuer := w.site, siteIssuer
		if w.o.ErasedByOther {
			signer, issuer = w.hauler, haulerIssuer
		}
		w.sign(signer, statement.KindErasure, issuer, "erasure", &statement.Erasure{Version: 1, Frame: w.entries[l.entry].id, At: at(700), Why: "retention",
			Records: []statement.Erased{{Index: uint64(l.block), Hash: statement.LeafHash(records[l.block]), Kind: statement.RecordBlock,
				Block: &statement.ErasedBlock{Channel: Air, Start: s.start.Hash(), N: uint64(n), Digest: l.digest}}}})
	}
}

var erasedBlocks = []int{2, 3}
