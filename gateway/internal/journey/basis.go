package journey

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"trailmark/gateway/internal/store"
	"trailmark/passport"
	"trailmark/statement"
)

// basis adds what the rest stands on: plans, products, erasures, the newest key
// status, and the identities of all who signed and of the keys that are listed.
func (b *builder) basis(plans map[statement.Hash]bool) error {
	signers := maps.Clone(b.listed)
	maps.Copy(signers, b.signers)
	for index, f := range b.frames {
		if b.d.Has(b.at(index)) {
			signers[f.Statement.Header.KeyID] = true
		}
	}
	erasures := 0
	for _, kind := range []statement.Kind{statement.KindPlan, statement.KindProduct, statement.KindErasure, statement.KindKeyStatus} {
		rows, err := b.kind(kind)
		if err != nil {
			return err
		}
		if kind == statement.KindKeyStatus { // the newest alone: each says all
			rows = slices.DeleteFunc(slices.Clone(rows), func(r store.Statement) bool { return r.Index >= b.limit })
			rows = rows[max(0, len(rows)-1):]
		}
		for _, row := range rows {
			if row.Index >= b.limit || kind == statement.KindPlan && !plans[row.ID] {
				continue
			}
			if kind == statement.KindErasure && erasures == b.maxErasures() {
				break
			}
			if wanted, err := b.wanted(kind, row.Data); err != nil {
				return err
			} else if wanted {
				if kind == statement.KindErasure {
					erasures++
				}
				signers[row.KeyID] = true
				b.d.Add(b.at(row.Index), row.Data)
			}
		}
	}
	rows, err := b.kind(statement.KindIdentity)
	if err != nil {
		return err
	}
	witnesses, err := b.witnesses()
	if err != nil {
		return err
	}
	// The newest first: with a key belong those that it goes on for, also where they
	// signed nothing that is shown.
	for _, row := range slices.Backward(rows) {
		s, err := statement.Parse(row.Data)
		if err != nil {
			return err
		}
		id, err := s.Identity()
		if err != nil {
			return err
		}
		if row.Index < b.limit && (signers[id.Key.ID()] || witnesses[statement.DeviceWitnessName(id.Key.ID())] || id.Role == statement.RoleOrganisation && b.parties[id.Subject]) {
			b.d.Add(b.at(row.Index), row.Data)
			if id.Replaces != nil {
				signers[*id.Replaces] = true
			}
		}
	}
	return nil
}

// kind are the statements of a kind, in ledger order: of products those of the item
// alone, where somebody knows them.
func (b *builder) kind(kind statement.Kind) ([]store.Statement, error) {
	if kind != statement.KindProduct || b.c.Products == nil {
		return b.request.kind(kind)
	}
	indexes, err := b.c.Products.Indexes(b.ctx, b.d.Item.GTIN)
	if err != nil {
		return nil, err
	}
	return b.c.store.At(b.ctx, indexes)
}

// witnesses are the names of those that cosigned the newest checkpoints: a verifier
// knows a device by its identity only.
func (b *builder) witnesses() (map[string]bool, error) {
	names := map[string]bool{}
	for _, k := range b.books {
		cp, err := statement.OpenCheckpoint(k.anchor.Note, k.origin, b.c.signer.Key())
		if err != nil {
			return nil, err
		}
		for _, s := range cp.Cosignatures() {
			names[s.Name] = true
		}
	}
	return names, nil
}

// maxErasures bounds the erasures that are shown, of about half a kilobyte each,
// within what a passport may hold. Of more a verifier counts fewer than there are,
// and an audit calls the rest not shown.
func (b *builder) maxErasures() int {
	if b.audit {
		return 4096
	}
	return 256
}

// wanted reports whether a statement says something of this item or of blocks
// that a trail is of.
func (b *builder) wanted(kind statement.Kind, data []byte) (bool, error) {
	s, err := statement.Parse(data)
	if err != nil {
		return false, err
	}
	switch kind {
	case statement.KindProduct:
		p, err := s.Product()
		return err == nil && p.GTIN == b.d.Item.GTIN, err
	case statement.KindErasure:
		e, err := s.Erasure()
		return err == nil && slices.ContainsFunc(e.Records, func(r statement.Erased) bool {
			return r.Block != nil && slices.ContainsFunc(b.shown[r.Block.Start], func(s [2]uint64) bool { return r.Block.N >= s[0] && r.Block.N < s[1] })
		}), err
	}
	return true, nil
}

// maxOlder bounds the older checkpoints that a passport shows of a ledger, and
// maxLedgers the ledgers, as its format does.
const (
	maxOlder   = 128
	maxLedgers = 8
)

// maxOlderNotes bounds the bytes of their notes, cosignatures included, which are
// what the chain keeps and cannot be shortened. What is left out makes an entry
// look later than it was, and nothing else.
const maxOlderNotes = 96 << 10

// checkpoint shows an older anchored checkpoint, found as the arguments say.
func (b *builder) checkpoint(a store.Anchor, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	n := slices.IndexFunc(b.books, func(k book) bool { return k.origin == a.Origin })
	if n < 0 {
		return nil // of a ledger that is not anchored as far as its rows go
	}
	shown, bytes := 0, 0
	for p, o := range b.older {
		if p.book == n {
			shown++
		}
		bytes += len(o.Note)
	}
	if a.Size > 0 && a.Size <= b.books[n].anchor.Size && shown < maxOlder && bytes+len(a.Note) <= maxOlderNotes {
		b.older[place{n, a.Size}] = a
	}
	return nil
}

// ledgers proves everything that was added, in each ledger that has some of it or a
// checkpoint that bounds a time, at its newest anchored size.
func (b *builder) ledgers() (out []passport.Ledger, err error) {
	var also []uint64
	for p := range b.older {
		also = append(also, uint64(p.book))
	}
	used := b.d.Ledgers()
	if all := append(used, also...); len(slices.Compact(slices.Sorted(slices.Values(all)))) > maxLedgers {
		also = nil // a bound less, rather than no passport
	}
	if len(used) > maxLedgers {
		return nil, fmt.Errorf("its statements are in %d ledgers, a passport takes %d", len(used), maxLedgers)
	}
	for n, was := range b.d.Compact(also...) {
		l, err := b.ledger(int(was), uint64(n))
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// ledger proves what is of one ledger; n is its number in the passport.
func (b *builder) ledger(was int, n uint64) (l passport.Ledger, err error) {
	a := b.books[was].anchor
	l.Newest = b.anchored(a)
	if l.Signature, err = b.c.signer.SignRoot(a.Origin, time.UnixMilli(a.Time).Unix(), a.Root); err != nil {
		return l, err
	}
	if err := b.newestElsewhere(was); err != nil {
		return l, err
	}
	var sizes []uint64
	for p := range b.older {
		if p.book == was && p.size < a.Size {
			sizes = append(sizes, p.size)
		}
	}
	slices.Sort(sizes)
	for _, size := range sizes {
		l.Older = append(l.Older, b.anchored(b.older[place{was, size}]))
	}
	indexes := b.d.Indexes(n)
	subtree, err := b.subtree(a, indexes, sizes)
	if err != nil {
		return l, err
	}
	if l.Proof, err = statement.ProveMulti(a.Size, indexes, sizes, subtree); err != nil {
		return l, err
	}
	anchors := []store.Anchor{a}
	for _, size := range sizes {
		anchors = append(anchors, b.older[place{was, size}])
	}
	return l, b.leads(anchors, indexes, sizes, l.Proof, subtree)
}

// A Forest gives the hashes over entries [lo, hi) that proofs at a size of a ledger
// are made of: what a Prover may be besides, which spares a proof of each entry.
type Forest interface {
	Subtrees(ctx context.Context, origin string, size uint64) (func(lo, hi uint64) ([32]byte, error), error)
}

// subtree gives the hashes that a multi-proof of the indexes and older sizes lists.
func (b *builder) subtree(a store.Anchor, indexes, sizes []uint64) (func(lo, hi uint64) (statement.Hash, error), error) {
	if f, ok := b.c.ledger.(Forest); ok {
		hash, err := f.Subtrees(b.ctx, a.Origin, a.Size)
		return func(lo, hi uint64) (statement.Hash, error) {
			if lo == 0 && hi == a.Size {
				return a.Root, nil // of nothing but the root there is nothing to prove
			}
			h, err := hash(lo, hi)
			return statement.Hash(h), err
		}, err
	}
	trees, err := b.subtrees(a, indexes, sizes)
	return func(lo, hi uint64) (statement.Hash, error) {
		if lo == 0 && hi == a.Size {
			return a.Root, nil
		}
		h, ok := trees[[2]uint64{lo, hi}]
		if !ok {
			return h, fmt.Errorf("no inclusion proof has the hash of entries [%d, %d)", lo, hi)
		}
		return h, nil
	}, err
}

// leads checks that the proof leads to the anchored roots, where the leaves' hashes
// can be asked for: a tile that changed on disk is an error, and no passport that
// nobody can verify.
func (b *builder) leads(anchors []store.Anchor, indexes, sizes []uint64, proof []statement.Hash, subtree func(lo, hi uint64) (statement.Hash, error)) error {
	if _, ok := b.c.ledger.(Forest); !ok {
		return nil // each inclusion proof was verified
	}
	leaves := make([]statement.Hash, len(indexes))
	for i, index := range indexes {
		var err error
		if leaves[i], err = subtree(index, index+1); err != nil {
			return err
		}
	}
	m, err := statement.OpenMulti(anchors[0].Size, indexes, leaves, sizes, proof)
	if err != nil {
		return err
	}
	for _, a := range anchors {
		root, err := m.Root(a.Size)
		if err != nil {
			return err
		}
		if root != a.Root {
			return fmt.Errorf("the tiles of ledger %s lead to root %.8s… at size %d, anchored is %.8s…\nhint: gateway fsck", a.Origin, root, a.Size, a.Root)
		}
	}
	return nil
}

// subtrees collects the hashes that a multi-proof lists from inclusion proofs: a
// subtree beside an index is in that entry's proof, one beside an older size m
// in that of entry m−1 or m.
func (b *builder) subtrees(a store.Anchor, indexes, sizes []uint64) (map[[2]uint64]statement.Hash, error) {
	wanted := slices.Clone(indexes)
	for _, m := range sizes {
		wanted = append(wanted, m-1, m)
	}
	slices.Sort(wanted)
	out := map[[2]uint64]statement.Hash{}
	for _, index := range slices.Compact(wanted) {
		path, err := b.c.ledger.Inclusion(b.ctx, a.Origin, index, a.Size)
		if err != nil {
			return nil, err
		}
		hashes := make([]statement.Hash, len(path))
		for i := range path {
			copy(hashes[i][:], path[i])
		}
		if err := statement.Siblings(index, a.Size, hashes, func(lo, hi uint64, h statement.Hash) { out[[2]uint64{lo, hi}] = h }); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// anchored is a checkpoint with its anchor, proven if the chain can.
func (b *builder) anchored(a store.Anchor) passport.Checkpoint {
	key := checkpointOf{a.Chain, a.Origin, a.Size}
	cp, ok := b.checkpoints[key]
	if !ok {
		if cp, ok = b.elsewhere(a); !ok {
			cp = b.embedded(a)
		}
		b.checkpoints[key] = cp
	}
	return cp
}

// embedded is a checkpoint with its anchor on the embedded chain.
func (b *builder) embedded(a store.Anchor) passport.Checkpoint {
	anchor := passport.Anchor{Chain: a.Chain, Kind: passport.Comet, Height: uint64(a.Height), Time: a.Time}
	copy(anchor.Block[:], a.Block)
	cp := passport.Checkpoint{Note: a.Note, Anchor: &anchor}
	if b.c.chain == nil {
		return cp
	}
	ctx, cancel := context.WithTimeout(b.ctx, evidenceWithin)
	defer cancel()
	proven, proof, err := b.c.chain.Evidence(ctx, a)
	if err != nil {
		b.c.log.WarnContext(b.ctx, "anchor is shown without proof", "chain", a.Chain, "height", a.Height, "err", err)
		return cp
	}
	cp.Anchor, cp.Proof = &proven, proof
	return cp
}
