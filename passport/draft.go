package passport

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"trailmark/statement"
)

// A Draft is a passport in the making: statements and records are added in any
// order and as often as they are needed. The zero Draft of an item is empty. It
// belongs to one goroutine.
type Draft struct {
	Item     Item
	evidence map[Place]*drafted
	trails   []Trail
	heads    []Mark   // of each trail
	older    [][]Mark // of each trail
	moments  [][]momentMark
	members  []memberMark
	inputs   [][]byte
	journey  bool // of version 2 in any case
}

// memberMark and momentMark name their statements before the passport is in order.
type memberMark struct {
	Place
	Member
}

type momentMark struct {
	Place
	moment uint64
}

// drafted is a statement and the records to show of it.
type drafted struct {
	statement []byte
	leaves    []statement.Hash // of a frame: of all its records
	shown     map[uint64][]byte
}

// A Mark names a record before the passport is put in order.
type Mark struct {
	Place
	Record uint64
}

// Add puts in a statement that stands at a place of a ledger.
func (d *Draft) Add(at Place, raw []byte) {
	if d.evidence == nil {
		d.evidence = map[Place]*drafted{}
	}
	if _, ok := d.evidence[at]; !ok {
		d.evidence[at] = &drafted{statement: raw, shown: map[uint64][]byte{}}
	}
}

// Member shows an object of a list of an event that was added: its leaf and the
// inclusion path of it. The passport is then of version 2.
func (d *Draft) Member(at Place, list statement.ItemList, index uint64, leaf []byte, path []statement.Hash) {
	m := memberMark{at, Member{List: list, Index: index, Leaf: leaf, Path: path}}
	if !slices.ContainsFunc(d.members, func(o memberMark) bool { return o.Place == at && o.compare(m.Member) == 0 }) {
		d.members = append(d.members, m)
	}
}

// Input adds the passport of an input that a member shows.
func (d *Draft) Input(passport []byte) { d.inputs = append(d.inputs, passport) }

// Moment says that the trail added last is cut at a moment of a handover or an
// acceptance that was added. Moments ascend by the sizes of their heads, which
// must be among the cuts of the trail's range.
func (d *Draft) Moment(at Place, moment uint64) {
	last := len(d.moments) - 1
	d.moments[last] = append(d.moments[last], momentMark{at, moment})
}

// Journey makes a passport of version 2 even if nothing in it asks for that: of
// an item that events and changes of custody name by itself.
func (d *Draft) Journey() { d.journey = true }

// Has reports whether a place's statement was added.
func (d *Draft) Has(at Place) bool { return d.evidence[at] != nil }

// Show discloses a record of a frame that was added; leaves are the leaf hashes
// of all the frame's records.
func (d *Draft) Show(m Mark, record []byte, leaves []statement.Hash) {
	e := d.evidence[m.Place]
	e.leaves, e.shown[m.Record] = leaves, record
}

// Trail adds a trail; t's own references are set by Finish from the heads, which
// must have been shown. The older ones ascend by size.
func (d *Draft) Trail(t Trail, head Mark, older ...Mark) {
	d.trails, d.heads, d.older = append(d.trails, t), append(d.heads, head), append(d.older, older)
	d.moments = append(d.moments, nil)
}

// Trails is how many trails were added.
func (d *Draft) Trails() int { return len(d.trails) }

// Indexes are the ledger indexes of what was added, ascending.
func (d *Draft) Indexes(ledger uint64) (out []uint64) {
	for p := range d.evidence {
		if p.Ledger == ledger {
			out = append(out, p.Index)
		}
	}
	slices.Sort(out)
	return out
}

// Ledgers are the numbers of the ledgers that what was added is in, ascending.
func (d *Draft) Ledgers() (out []uint64) {
	for p := range d.evidence {
		out = append(out, p.Ledger)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Compact numbers the ledgers from 0 on, leaving out those that hold nothing of
// what was added and are not among also; it returns their numbers until now, in
// the new order.
func (d *Draft) Compact(also ...uint64) []uint64 {
	was := append(d.Ledgers(), also...)
	slices.Sort(was)
	was = slices.Compact(was)
	number := map[uint64]uint64{}
	for i, n := range was {
		number[n] = uint64(i)
	}
	moved := make(map[Place]*drafted, len(d.evidence))
	for p, e := range d.evidence {
		p.Ledger = number[p.Ledger]
		moved[p] = e
	}
	d.evidence = moved
	for i := range d.heads {
		d.heads[i].Ledger = number[d.heads[i].Ledger]
		for k := range d.older[i] {
			d.older[i][k].Ledger = number[d.older[i][k].Ledger]
		}
	}
	return was
}

// Finish puts the passport in order. Of each ledger the proof is still empty:
// its multi-proof is of Indexes and of the older checkpoints' sizes.
func (d *Draft) Finish(ledgers ...Ledger) (*Passport, error) {
	p := &Passport{Version: 1, Item: d.Item, Ledgers: ledgers}
	places := slices.SortedFunc(maps.Keys(d.evidence), func(a, b Place) int {
		return cmp.Or(cmp.Compare(a.Ledger, b.Ledger), cmp.Compare(a.Index, b.Index))
	})
	at := map[Place]uint64{}
	for i, place := range places {
		at[place] = uint64(i)
		e := d.evidence[place]
		out := Evidence{Statement: e.statement, Place: place}
		if len(e.shown) > 0 {
			indexes := slices.Sorted(maps.Keys(e.shown))
			proof, err := statement.ProveLeaves(e.leaves, indexes)
			if err != nil {
				return nil, fmt.Errorf("records of ledger entry %d: %w", place.Index, err)
			}
			out.Shown = &Shown{Proof: proof}
			for _, n := range indexes {
				out.Shown.Records = append(out.Shown.Records, Record{Index: n, Data: e.shown[n]})
			}
		}
		p.Evidence = append(p.Evidence, out)
	}
	for i, t := range d.trails {
		t.Head = Ref{Evidence: at[d.heads[i].Place], Record: d.heads[i].Record}
		t.Older = nil
		for _, m := range d.older[i] {
			t.Older = append(t.Older, Ref{Evidence: at[m.Place], Record: m.Record})
		}
		t.Moments = nil
		for _, m := range d.moments[i] {
			t.Moments = append(t.Moments, MomentRef{Evidence: at[m.Place], Moment: m.moment})
		}
		p.Trails = append(p.Trails, t)
	}
	for _, m := range d.members {
		m.Evidence = at[m.Place]
		p.Members = append(p.Members, m.Member)
	}
	slices.SortFunc(p.Members, Member.compare)
	p.Inputs = d.inputs
	if p.Version = p.needs(); d.journey {
		p.Version = 2
	}
	return p, p.check()
}

// Receipt is the standalone COSE Receipt of a statement of the passport, at the
// size of its ledger's newest checkpoint. Nothing of it is verified.
func (p *Passport) Receipt(evidence int) ([]byte, error) {
	if evidence < 0 || evidence >= len(p.Evidence) {
		return nil, fmt.Errorf("statement %d of %d", evidence, len(p.Evidence))
	}
	at := p.Evidence[evidence].Place
	if at.Ledger >= uint64(len(p.Ledgers)) {
		return nil, fmt.Errorf("ledger %d of %d", at.Ledger, len(p.Ledgers))
	}
	l := p.Ledgers[at.Ledger]
	size, err := sizeOf(l.Newest.Note)
	if err != nil {
		return nil, err
	}
	var older, indexes []uint64
	var leaves []statement.Hash
	for _, c := range l.Older {
		n, err := sizeOf(c.Note)
		if err != nil {
			return nil, err
		}
		older = append(older, n)
	}
	for _, e := range p.Evidence {
		if e.Place.Ledger != at.Ledger {
			continue
		}
		s, err := statement.Parse(e.Statement)
		if err != nil {
			return nil, err
		}
		entry := s.Entry()
		indexes, leaves = append(indexes, e.Place.Index), append(leaves, statement.LeafHash(entry[:]))
	}
	m, err := statement.OpenMulti(size, indexes, leaves, older, l.Proof)
	if err != nil {
		return nil, err
	}
	path, err := m.Path(at.Index)
	if err != nil {
		return nil, err
	}
	return l.Signature.Receipt(size, at.Index, path), nil
}

// Transparent is a statement of the passport with its receipt attached.
func (p *Passport) Transparent(evidence int) ([]byte, error) {
	r, err := p.Receipt(evidence)
	if err != nil {
		return nil, err
	}
	return statement.AttachReceipts(p.Evidence[evidence].Statement, r)
}

// sizeOf reads the size in a checkpoint's second line.
func sizeOf(note []byte) (uint64, error) {
	lines := strings.SplitN(string(note), "\n", 3)
	if len(lines) < 3 {
		return 0, errors.New("checkpoint of fewer than three lines")
	}
	return strconv.ParseUint(lines[1], 10, 53)
}
