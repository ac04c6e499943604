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
	leaves [][]byte // ledger entries
	root   statement.Hash
	p      passport.Passport
	at     map[int]uint64 // entry -> evidence
}

// compose makes the passport at the ledger's whole size.
func (w *world) compose() *passport.Passport {
	c := &composer{world: w, at: map[int]uint64{}, p: passport.Passport{Version: 1, Item: passport.Item{GTIN: GTIN, Serial: Serial}}}
	for _, e := range w.entries {
		h := sha256.Sum256(e.raw)
		c.leaves = append(c.leaves, h[:])
	}
	c.root = statement.RecordsRoot(c.leaves) // the same RFC 9162 tree
	c.checkpoint()
	for i, e := range w.entries {
		if e.kind != statement.KindFrame || len(e.shown) > 0 {
			c.show(i)
		}
		for _, r := range e.shown {
			c.record(i, r)
		}
	}
	if w.o.Moment {
		c.stay(w.store, 30, 346)
		c.stay(w.truck, 420, 420)
	} else {
		c.stay(w.store, 30, 350)
		c.stay(w.truck, 390, 625)
	}
	return &c.p
}

func (c *composer) checkpoint() {
	text := log.Checkpoint{Origin: origin, Size: uint64(len(c.leaves)), Hash: c.root[:]}.Marshal()
	v, err := statement.LogVerifier(origin, c.log.Key())
	c.must(err)
	signed, err := note.Sign(&note.Note{Text: string(text)}, noteSigner{v, c.logKey})
	c.must(err)
	c.p.Checkpoints = []passport.Checkpoint{{Note: signed,
		Anchor: &passport.AnchorClaim{Chain: Chain, Height: 42, Block: statement.Hash{0xb1}, Time: at(720)}}}
}

// show puts a statement and its receipt into the passport.
func (c *composer) show(entry int) uint64 {
	if i, ok := c.at[entry]; ok {
		return i
	}
	proof, err := statement.Disclose(c.leaves, entry) // the path of leaf i, whatever the leaves are
	c.must(err)
	r, err := c.log.SignReceipt(origin, at(720)/1000, uint64(len(c.leaves)), uint64(entry), c.root, proof.Path)
	c.must(err)
	i := uint64(len(c.p.Evidence))
	c.p.Evidence = append(c.p.Evidence, passport.Evidence{Statement: c.entries[entry].raw, Receipt: &passport.Receipt{Receipt: r}})
	c.at[entry] = i
	return i
}

// record discloses a record of a frame.
func (c *composer) record(entry, record int) passport.Ref {
	ref := passport.Ref{Evidence: c.show(entry), Record: uint64(record)}
	e := &c.p.Evidence[ref.Evidence]
	if !slices.ContainsFunc(e.Records, func(d statement.Disclosed) bool { return d.Index == ref.Record }) {
		d, err := statement.Disclose(c.entries[entry].records, record)
		c.must(err)
		e.Records = append(e.Records, d)
	}
	return ref
}

// stay shows every channel of a device over a stay, in minutes.
func (c *composer) stay(d *device, from, to int) {
	for _, ch := range d.channels {
		for _, s := range ch.traces {
			c.trail(d, ch, s, at(from), max(at(to), at(from)+1))
		}
	}
}

func (c *composer) trail(d *device, ch *channel, s *series, from, to int64) {
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
	proof, err := trace.Prove(s.nodes, uint64(size), uint64(a), uint64(b))
	c.must(err)
	last := s.leaves[size-1]
	zone := ch.zone
	if c.o.SameZone {
		zone = Store
	}
	t := passport.Trail{Zone: zone, Device: d.signer.Key().ID(), Channel: ch.name, Start: dcbor.MustMarshal(s.start), Range: proof,
		Head: c.record(last.entry, last.head)}
	if ch.name == Air && c.o.Older {
		older := s.leaves[2]
		proof, err := trace.Consistency(s.nodes, 3, uint64(size))
		c.must(err)
		ref := c.record(older.entry, older.head)
		t.Older = []passport.Older{{Evidence: ref.Evidence, Record: ref.Record, Proof: proof.Nodes}}
	}
	c.p.Trails = append(c.p.Trails, t)
}
