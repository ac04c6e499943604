package journey

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/passport"
	"trailmark/statement"
	"trailmark/trace"
)

// transfer is a handover or an acceptance of the item, or of what carried it.
type transfer struct {
	store.Transfer
	id      statement.Hash
	nth     int // which of the item's handovers it is, or accepts
	moments []statement.Moment
}

// custody shows the item's changes of custody, and those of its carriers while they
// carried it, with what their takers signed.
func (b *builder) custody() error {
	seen := map[uint64]bool{}
	var rest []store.Transfer
	take := func(object string, from, to int64) error {
		found, err := b.c.store.TransfersOf(b.ctx, object, b.limit)
		if err != nil {
			return err
		}
		for _, x := range found {
			switch {
			case x.Handover != nil:
				rest = append(rest, x)
			case !seen[x.Index] && from <= x.At && x.At < to:
				seen[x.Index] = true
				t, err := b.transfer(x)
				if err != nil {
					return err
				}
				b.handovers = append(b.handovers, t)
			}
		}
		return nil
	}
	if err := take(b.item, 0, always); err != nil {
		return err
	}
	for _, w := range b.windows {
		if err := take(w.object, w.from, w.to); err != nil {
			return err
		}
	}
	slices.SortStableFunc(b.handovers, func(a, b transfer) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Index, b.Index)) })
	for i := range b.handovers {
		b.handovers[i].nth = i
		b.transfers = append(b.transfers, b.handovers[i])
	}
	for _, x := range rest {
		i := slices.IndexFunc(b.handovers, func(h transfer) bool { return h.id == *x.Handover })
		if i < 0 || seen[x.Index] {
			continue
		}
		seen[x.Index] = true
		t, err := b.transfer(x)
		if err != nil {
			return err
		}
		t.nth = i
		b.transfers = append(b.transfers, t)
	}
	return nil
}

// transfer shows a statement of custody.
func (b *builder) transfer(x store.Transfer) (transfer, error) {
	t := transfer{Transfer: x}
	row, err := b.c.store.Statement(b.ctx, x.Index)
	if err != nil {
		return t, err
	}
	s, err := statement.Parse(row.Data)
	if err != nil {
		return t, err
	}
	t.id = s.ID()
	switch s.Header.Kind {
	case statement.KindHandover:
		h, err := s.Handover()
		if err != nil {
			return t, err
		}
		t.moments = h.Moments
	case statement.KindAcceptance:
		a, err := s.Acceptance()
		if err != nil {
			return t, err
		}
		t.moments = a.Moments
	default:
		return t, fmt.Errorf("row %d of changes of custody is a %s", x.Index, s.Header.Kind)
	}
	b.d.Journey()
	b.d.Add(b.at(x.Index), row.Data)
	b.signers[s.Header.KeyID] = true
	b.parties[x.Giver], b.parties[x.Taker] = true, true
	return t, nil
}

// cutMoment is a moment that a trail is cut at.
type cutMoment struct {
	size uint64
	of   passport.Place
	nth  uint64 // which moment of the statement
	hand int    // which of the item's handovers
}

// maxMoments bounds the moments of a trail, as the format does.
const maxMoments = 64

// moments are those within blocks [from, to) of a trace, one for each size. Of two
// handovers with nothing measured in between, each has the one that is its own if
// the taker's is another. A head that is not the trace's own would refute the whole
// passport: it is left out, and verifiers then attribute its minutes to nobody.
func (b *builder) moments(t store.Trace, from, to uint64) ([]cutMoment, error) {
	var all []cutMoment
	start := t.Start.Hash()
	for _, x := range b.transfers {
		for i, m := range x.moments {
			if m.Device != t.KeyID || m.Channel != t.Channel || m.Head.Start != start || m.Head.Size <= from || m.Head.Size > to {
				continue
			}
			own, err := b.headOf(t, m.Head.Size)
			if err != nil {
				return nil, err
			}
			if own == nil || !bytes.Equal(dcbor.MustMarshal(own), dcbor.MustMarshal(m.Head)) {
				b.c.log.WarnContext(b.ctx, "a change of custody signs a head that is not the channel's", "item", b.item, "statement", x.Index, "channel", m.Channel, "blocks", m.Head.Size)
				continue
			}
			all = append(all, cutMoment{m.Head.Size, b.at(x.Index), uint64(i), x.nth})
		}
	}
	slices.SortStableFunc(all, func(a, b cutMoment) int { return cmp.Or(cmp.Compare(a.size, b.size), cmp.Compare(a.hand, b.hand)) })
	var out []cutMoment
	cut := map[int]bool{}
	for len(all) > 0 && len(out) < maxMoments {
		n := 1
		for n < len(all) && all[n].size == all[0].size {
			n++
		}
		best := 0
		if i := slices.IndexFunc(all[:n], func(m cutMoment) bool { return !cut[m.hand] }); i >= 0 {
			best = i
		}
		cut[all[best].hand] = true
		out, all = append(out, all[best]), all[n:]
	}
	return out, nil
}

// headOf is a trace's signed head after so many blocks, nil where there is none.
func (b *builder) headOf(t store.Trace, size uint64) (*trace.Head, error) {
	leaves, err := b.c.store.Leaves(b.ctx, t.ID, size-1, size)
	if err != nil || len(leaves) == 0 || leaves[0].Index >= b.below(t.KeyID) {
		return nil, err
	}
	f, err := b.frame(leaves[0].Index)
	if err != nil {
		return nil, err
	}
	h, ok := f.Contents[leaves[0].Head].(*statement.HeadRecord)
	if !ok {
		return nil, fmt.Errorf("record %d of row %d is no head", leaves[0].Head, leaves[0].Index)
	}
	return &h.Head, nil
}
