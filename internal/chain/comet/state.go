package comet

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"

	"golang.org/x/mod/sumdb/note"

	"trailmark/internal/dcbor"
)

// maxOrigins bounds what a block's app hash costs.
const maxOrigins = 4096

const stateDomain = "trailmark chain state v1"

// originHash is the SHA-256 of an origin line.
type originHash = [32]byte

func hashOf(line string) originHash { return sha256.Sum256([]byte(line)) }

// entry is one anchored checkpoint.
type entry struct {
	size   uint64
	root   [32]byte
	height int64
}

// head is what the rules need to know of one origin. It is copied by value.
type head struct {
	reg       Registration
	regHeight int64         // of the registration; not in the app hash
	verifier  note.Verifier // of reg.LogKey
	last      entry         // zero before the first anchor
	count     uint64
	fold      [32]byte
}

type origin struct {
	head
	leaf    [32]byte
	history []entry // by size, and by height
}

// state is the committed state after a block. It has no lock: app owns it.
type state struct {
	chainID string
	admin   ed25519.PublicKey
	height  int64
	appHash [32]byte
	origins map[originHash]*origin
}

func newState(chainID string, admin ed25519.PublicKey) (*state, error) {
	s := &state{chainID: chainID, admin: admin, origins: make(map[originHash]*origin)}
	var err error
	s.appHash, err = s.begin(0).appHash()
	return s, err
}

// batch is one block's changes to a state, or an attempt at them. Making and
// dropping one leaves the state as it was.
type batch struct {
	base    *state
	height  int64
	changed map[originHash]head
	added   int // origins in changed that base lacks
	record  record
}

// record is what a block changed, in the order it did.
type record struct {
	_             struct{} `cbor:",toarray"`
	Height        int64
	AppHash       [32]byte // after the block
	Registrations []Registration
	Anchors       []anchorRecord
}

type anchorRecord struct {
	_      struct{} `cbor:",toarray"`
	Origin originHash
	Size   uint64
	Root   [32]byte
}

func (s *state) begin(height int64) *batch {
	return &batch{base: s, height: height, changed: make(map[originHash]head), record: record{Height: height}}
}

func (b *batch) head(h originHash) (head, bool) {
	if v, ok := b.changed[h]; ok {
		return v, true
	}
	if o, ok := b.base.origins[h]; ok {
		return o.head, true
	}
	return head{}, false
}

// apply runs one transaction. A refused one changes nothing.
func (b *batch) apply(raw []byte) *Refusal {
	t, err := decodeTx(raw)
	if r := (*Refusal)(nil); errors.As(err, &r) {
		return r
	}
	if t.Kind == kindRegister {
		return b.applyRegister(t)
	}
	return b.applyAnchor(t)
}

func (b *batch) applyRegister(t *tx) *Refusal {
	if !bytes.Equal(t.Key, b.base.admin) {
		return refuse(CodeAdmin, "registration by %x, want the administrator %x", t.Key, b.base.admin)
	}
	if !t.signed(b.base.chainID) {
		return refuse(CodeSignature, "not signed by %x for chain %s", t.Key, b.base.chainID)
	}
	h, known := b.head(hashOf(t.reg.Origin))
	switch {
	case known && t.reg.equal(&h.reg):
		return refuse(CodeAlready, "origin %q is at revision %d already", t.reg.Origin, t.reg.Revision)
	case t.reg.Revision != h.reg.Revision+1:
		return refuse(CodeRevision, "revision %d of origin %q, want %d", t.reg.Revision, t.reg.Origin, h.reg.Revision+1)
	case known && t.reg.LogKey != h.reg.LogKey:
		return refuse(CodeLogKey, "origin %q has log key %s, got %s\nhint: a new log key needs a new origin",
			t.reg.Origin, h.reg.LogKey, t.reg.LogKey)
	case !known && len(b.base.origins)+b.added >= maxOrigins:
		return refuse(CodeFull, "%d origins are registered, want %d at most", maxOrigins, maxOrigins)
	}
	if err := b.register(t.reg); err != nil {
		return refuse(CodeMalformed, "registration: %v", err)
	}
	return nil
}

func (b *batch) applyAnchor(t *tx) *Refusal {
	c, key := t.checkpoint, hashOf(t.checkpoint.origin)
	h, known := b.head(key)
	if !known {
		return refuse(CodeOrigin, "origin %q is not registered\nhint: the chain's administrator registers it", c.origin)
	}
	if !slices.ContainsFunc(h.reg.Submitters, func(s ed25519.PublicKey) bool { return bytes.Equal(s, t.Key) }) {
		return refuse(CodeSubmitter, "%x may not anchor origin %q: revision %d names %d other keys",
			t.Key, c.origin, h.reg.Revision, len(h.reg.Submitters))
	}
	if !t.signed(b.base.chainID) {
		return refuse(CodeSignature, "not signed by %x for chain %s", t.Key, b.base.chainID)
	}
	if err := verifyCheckpoint(t.Body, h.verifier); err != nil {
		return refuse(CodeCheckpoint, "checkpoint of %q at size %d: %v", c.origin, c.size, err)
	}
	if c.size <= h.last.size {
		return b.behind(key, h, c)
	}
	if err := b.anchor(key, c.size, c.root); err != nil {
		return refuse(CodeMalformed, "anchor: %v", err)
	}
	return nil
}

// behind says why a checkpoint no larger than the head is refused: the three
// cases call for very different actions.
func (b *batch) behind(key originHash, h head, c checkpoint) *Refusal {
	was, ok := h.last, h.last.size == c.size
	if o := b.base.origins[key]; !ok && o != nil {
		was, ok = o.find(c.size)
	}
	switch {
	case !ok:
		return refuse(CodeBehind, "origin %q is anchored at size %d, got %d", c.origin, h.last.size, c.size)
	case was.root != c.root:
		return refuse(CodeFork, "origin %q at size %d is anchored with root %x, got %x\n"+
			"hint: the ledger was forked or restored from an old backup; do not sign with it",
			c.origin, c.size, was.root, c.root)
	}
	return refuse(CodeAlready, "origin %q is anchored at size %d already, in block %d", c.origin, c.size, was.height)
}

// register and anchor are the only changes there are; the journal repeats them.

func (b *batch) register(r Registration) error {
	v, err := r.check()
	if err != nil {
		return err
	}
	key := hashOf(r.Origin)
	h, known := b.head(key)
	if !known {
		b.added++
	}
	h.reg, h.regHeight, h.verifier = r, b.height, v
	b.changed[key] = h
	b.record.Registrations = append(b.record.Registrations, r)
	return nil
}

func (b *batch) anchor(key originHash, size uint64, root [32]byte) error {
	h, ok := b.head(key)
	if !ok || size <= h.last.size || size > math.MaxInt64 {
		return fmt.Errorf("origin %x at size %d, got %d", key, h.last.size, size)
	}
	fold := dcbor.AppendArray(make([]byte, 0, 96), 4)
	fold = dcbor.AppendBytes(fold, h.fold[:])
	fold = dcbor.AppendInt(fold, int64(size)) // at most math.MaxInt64
	fold = dcbor.AppendBytes(fold, root[:])
	fold = dcbor.AppendInt(fold, b.height)
	h.last, h.count, h.fold = entry{size, root, b.height}, h.count+1, sha256.Sum256(fold)
	b.changed[key] = h
	b.record.Anchors = append(b.record.Anchors, anchorRecord{Origin: key, Size: size, Root: root})
	return nil
}

// appHash returns the hash of the state as it will be.
func (b *batch) appHash() ([32]byte, error) {
	prefix, err := dcbor.Marshal([]any{stateDomain, b.base.chainID, []byte(b.base.admin)})
	if err != nil {
		return [32]byte{}, err
	}
	keys := make(map[originHash]struct{}, len(b.base.origins)+len(b.changed))
	for k := range b.base.origins {
		keys[k] = struct{}{}
	}
	for k := range b.changed {
		keys[k] = struct{}{}
	}
	sum := sha256.New()
	sum.Write(prefix)
	for _, k := range slices.SortedFunc(maps.Keys(keys), func(a, b originHash) int { return bytes.Compare(a[:], b[:]) }) {
		leaf := [32]byte{}
		if h, ok := b.changed[k]; ok {
			if leaf, err = h.hash(); err != nil {
				return leaf, err
			}
		} else {
			leaf = b.base.origins[k].leaf
		}
		sum.Write(leaf[:])
	}
	return [32]byte(sum.Sum(nil)), nil
}

func (h *head) hash() ([32]byte, error) {
	b, err := dcbor.Marshal([]any{
		h.reg.Origin, h.reg.LogKey, h.reg.Revision, h.reg.Submitters,
		h.count, h.last.size, h.last.root, h.fold,
	})
	return sha256.Sum256(b), err
}

// commit makes the batch the state.
func (s *state) commit(b *batch) error {
	s.merge(b)
	for k := range b.changed {
		if err := s.origins[k].rehash(); err != nil {
			return err
		}
	}
	return nil
}

// merge is commit without the leaf hashes.
func (s *state) merge(b *batch) {
	for k, h := range b.changed {
		o := s.origins[k]
		if o == nil {
			o = new(origin)
			s.origins[k] = o
		}
		o.head = h
	}
	for _, a := range b.record.Anchors {
		o := s.origins[a.Origin]
		o.history = append(o.history, entry{a.Size, a.Root, b.height})
	}
	s.height, s.appHash = b.height, b.record.AppHash
}

func (o *origin) rehash() (err error) {
	o.leaf, err = o.hash()
	return err
}

// repeat brings the state to a recorded block without checking signatures
// again. The caller compares the last record's app hash with rehash, which must
// come before anything else.
func (s *state) repeat(r *record) error {
	if r.Height <= s.height {
		return fmt.Errorf("block %d after block %d", r.Height, s.height)
	}
	b := s.begin(r.Height)
	for _, reg := range r.Registrations {
		if err := b.register(reg); err != nil {
			return err
		}
	}
	for _, a := range r.Anchors {
		if err := b.anchor(a.Origin, a.Size, a.Root); err != nil {
			return err
		}
	}
	b.record.AppHash = r.AppHash
	s.merge(b)
	return nil
}

// rehash hashes the whole state anew.
func (s *state) rehash() ([32]byte, error) {
	for _, o := range s.origins {
		if err := o.rehash(); err != nil {
			return [32]byte{}, err
		}
	}
	return s.begin(s.height).appHash()
}

// find returns the anchor of exactly this size.
func (o *origin) find(size uint64) (entry, bool) {
	i := o.from(size)
	if i == len(o.history) || o.history[i].size != size {
		return entry{}, false
	}
	return o.history[i], true
}

// from returns the index of the first anchor of at least this size.
func (o *origin) from(size uint64) int {
	return sort.Search(len(o.history), func(i int) bool { return o.history[i].size >= size })
}

func (r *Registration) equal(o *Registration) bool {
	return r.Revision == o.Revision && r.Origin == o.Origin && r.LogKey == o.LogKey &&
		slices.EqualFunc(r.Submitters, o.Submitters, func(a, b ed25519.PublicKey) bool { return bytes.Equal(a, b) })
}
