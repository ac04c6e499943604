package journey

import (
	"context"
	"errors"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"trailmark/gateway/internal/store"
	"trailmark/internal/epc"
	"trailmark/passport"
	"trailmark/statement"
)

// request is one passport in the making with those that hang in it, and what they
// have in common. It belongs to one goroutine.
type request struct {
	c           *Composer
	ctx         context.Context
	books       []book // by the number that places have while the passport is in the making
	limit       uint64 // rows below are anchored
	plans       map[statement.Hash]sitePlan
	frames      map[uint64]*store.Delivery // by row
	kinds       map[statement.Kind][]store.Statement
	checkpoints map[checkpointOf]passport.Checkpoint
	voids       map[statement.Hash]uint64 // of a revoked key, the row of its first void frame
}

// checkpointOf names a checkpoint and the chain of its anchor.
type checkpointOf struct {
	chain, origin string
	size          uint64
}

// Bounds of what hangs in a passport.
const (
	maxDepth   = 3  // of passports in passports, as the format has it
	maxInputs  = 16 // of one passport, likewise
	maxNested  = 64 // in all: what one look at a page may cost
	inputFrame = 16 // bytes around an input
)

// node is a passport and those of what its item was made from.
type node struct {
	object string
	up     *node
	depth  int
	p      *passport.Passport
	made   []string // objects that a passport may be shown of
	inputs []*node
}

// nested composes an item's passport and, level by level, those of its inputs.
// Where there is no room for all, the lowest levels are left out; verifiers say
// then that an input's passport is not here.
func (r *request) nested(link epc.Link, audit bool) ([]byte, error) {
	root, size, err := r.node(epc.Object{GTIN: link.GTIN, Serial: link.Serial}, nil, audit)
	if err != nil {
		return nil, err
	}
	limit, count, left := passport.MaxSize, 1, 0
	if audit {
		limit = passport.MaxAudit
	}
	for level := []*node{root}; len(level) > 0; {
		var next []*node
		for _, n := range level {
			for _, uri := range n.made {
				object, err := epc.ParseObject(uri)
				if err != nil || object.Serial == "" || n.above(uri) {
					continue
				}
				if n.depth == maxDepth || len(n.inputs) == maxInputs || count == maxNested || size >= limit {
					left++
					continue
				}
				in, more, err := r.node(object, n, false)
				if errors.Is(err, ErrNotYet) {
					continue
				} else if err != nil {
					return nil, err
				}
				if count++; size+more+inputFrame > limit {
					left++
					continue
				}
				size += more + inputFrame
				n.inputs, next = append(n.inputs, in), append(next, in)
			}
		}
		level = next
	}
	if left > 0 {
		r.c.log.WarnContext(r.ctx, "passports of inputs are left out", "item", link.Path(), "left out", left, "shown", count-1, "bytes", size, "limit", limit)
	}
	return root.encode()
}

// node composes one passport without inputs, and says how long it is. Of an item
// that was seen so often, by turns, that its passport would be too long, it shows
// less.
func (r *request) node(o epc.Object, up *node, audit bool) (*node, int, error) {
	n := &node{object: o.URI(), up: up}
	if up != nil {
		n.depth = up.depth + 1
	}
	for most := r.c.room.sightings; ; {
		b := &builder{request: r, audit: audit, most: most, older: map[place]store.Anchor{}, d: passport.Draft{Item: passport.Item{GTIN: o.GTIN, Serial: o.Serial}},
			listed: map[statement.Hash]bool{}, shown: map[statement.Hash][][2]uint64{}, history: newHistory(n.object),
			signers: map[statement.Hash]bool{}, parties: map[string]bool{}}
		var err error
		if n.p, err = b.compose(); err != nil {
			return nil, 0, err
		}
		n.made = b.made
		data, err := n.p.Encode()
		if err != nil || audit || len(data) <= passport.MaxSize || most < minShown {
			return n, len(data), err
		}
		// No verifier takes it: fewer sightings, as many as should fit.
		most = most * 9 / 10 * passport.MaxSize / len(data)
	}
}

// above reports whether a passport of the object is this one, or one that this one
// hangs in, or a sibling's.
func (n *node) above(uri string) bool {
	if slices.ContainsFunc(n.inputs, func(in *node) bool { return in.object == uri }) {
		return true
	}
	for ; n != nil; n = n.up {
		if n.object == uri {
			return true
		}
	}
	return false
}

func (n *node) encode() ([]byte, error) {
	for _, in := range n.inputs {
		data, err := in.encode()
		if err != nil {
			return nil, err
		}
		n.p.Inputs = append(n.p.Inputs, data)
	}
	return n.p.Encode()
}

// sitePlans reads all plans that are anchored, once.
func (r *request) sitePlans() error {
	if r.plans != nil {
		return nil
	}
	rows, err := r.kind(statement.KindPlan)
	if err != nil {
		return err
	}
	r.plans = map[statement.Hash]sitePlan{}
	for _, row := range rows {
		s, err := statement.Parse(row.Data)
		if err != nil {
			return err
		}
		p, err := s.Plan()
		if err != nil {
			return err
		}
		if row.Index < r.limit {
			r.plans[row.ID] = sitePlan{p, s.Header.Issuer}
		}
	}
	return nil
}

// below is the row that a key's frames must come before: what it signed from its
// revocation on is void, and refutes a passport that shows it, though it was taken
// before the revocation was.
func (r *request) below(kid statement.Hash) uint64 {
	if row, void := r.voids[kid]; void {
		return min(row, r.limit)
	}
	return r.limit
}

// revocations reads which keys are revoked by what is anchored, once.
func (r *request) revocations() error {
	if r.voids != nil {
		return nil
	}
	rows, err := r.kind(statement.KindKeyStatus)
	if err != nil {
		return err
	}
	r.voids = map[statement.Hash]uint64{}
	for _, row := range rows {
		if row.Index >= r.limit {
			continue
		}
		s, err := statement.Parse(row.Data)
		if err != nil {
			return err
		}
		k, err := s.KeyStatus()
		if err != nil {
			return err
		}
		for _, v := range k.Revoked {
			first, err := r.c.store.FrameFrom(r.ctx, v.KeyID, v.Epoch, v.Seq)
			if errors.Is(err, store.ErrNotFound) {
				continue
			} else if err != nil {
				return err
			}
			if known, void := r.voids[v.KeyID]; !void || first < known {
				r.voids[v.KeyID] = first
			}
		}
	}
	return nil
}

// kind are all statements of a kind, which is none that there are many of.
func (r *request) kind(k statement.Kind) ([]store.Statement, error) {
	rows, ok := r.kinds[k]
	if ok {
		return rows, nil
	}
	rows, err := r.c.store.Kind(r.ctx, k)
	if err == nil {
		r.kinds[k] = rows
	}
	return rows, err
}

// load brings frames of the ledger in together: hundreds are one query, and their
// records are made again on every processor.
func (r *request) load(indexes []uint64) error {
	indexes = slices.DeleteFunc(slices.Clone(indexes), func(i uint64) bool { return r.frames[i] != nil })
	rows, err := r.c.store.At(r.ctx, indexes)
	if err != nil {
		return err
	}
	made := make([]*store.Delivery, len(rows))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, row := range rows {
		g.Go(func() (err error) {
			made[i], err = row.Delivery()
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, row := range rows {
		r.frames[row.Index] = made[i]
	}
	return nil
}

// frame loads the frame in a row.
func (r *request) frame(index uint64) (*store.Delivery, error) {
	if f, ok := r.frames[index]; ok {
		return f, nil
	}
	row, err := r.c.store.Statement(r.ctx, index)
	if err != nil {
		return nil, err
	}
	f, err := row.Delivery()
	if err != nil {
		return nil, err
	}
	r.frames[index] = f
	return f, nil
}
