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
	"time"

	"github.com/cometbft/cometbft/crypto/merkle"
	"golang.org/x/mod/sumdb/note"

	"trailmark/internal/dcbor"
)

// maxOrigins bounds what a block's app hash costs.
const maxOrigins = 4096

const (
	stateVersion = 2 // of new chains; 1 had no votes and no dated history

	stateDomain1 = "trailmark chain state v1"
	stateDomain2 = "trailmark chain state v2"
)

// originHash is the SHA-256 of an origin line.
type originHash = [32]byte

func hashOf(line string) originHash { return sha256.Sum256([]byte(line)) }

// entry is one anchored checkpoint.
type entry struct {
	size   uint64
	root   [32]byte
	height int64
	index  uint64 // among all anchors of the chain
}

// head is what the rules need to know of one origin. It is copied by value.
type head struct {
	reg       Registration
	regHeight int64          // of the registration; not in the app hash
	verifiers note.Verifiers // of reg's log keys
	last      entry          // zero before the first anchor
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
	genesis *Genesis
	height  int64
	now     time.Time // of block height, which is that of the commit before it
	appHash [32]byte
	opening opening // of appHash, of version 2
	shown   opening // of the one before, which the header of block height may show
	gov     *governance
	origins map[originHash]*origin
	history *history
	undated []Dated  // anchors of block height, whose time the next block knows
	hash    [32]byte // of block height, if undated is not empty
}

func newState(g *Genesis) (*state, error) {
	gov := &governance{version: g.Version, admin: g.Admin, validators: slices.Clone(g.Validators)}
	slices.SortFunc(gov.validators, func(a, b Validator) int { return bytes.Compare(a.Key, b.Key) })
	s := &state{chainID: g.ChainID, genesis: g, now: g.Time, gov: gov, origins: make(map[originHash]*origin), history: newHistory()}
	var err error
	s.appHash, s.opening, err = s.begin(0).appHash()
	return s, err
}

// batch is one block's changes to a state, or an attempt at them. Making and
// dropping one leaves the state as it was.
type batch struct {
	base    *state
	height  int64
	now     time.Time
	gov     *governance // replaced when it changes
	changed map[originHash]head
	added   int      // origins in changed that base lacks
	dating  [][]byte // leaves of the base's undated anchors
	undated []Dated
	record  record
}

// record is what a block changed, in the order it did; governing transactions
// touch nothing that the others do.
type record struct {
	_             struct{} `cbor:",toarray"`
	Height        int64
	Seconds       int64    // the block's time
	Nanos         int64    // and its fraction
	Hash          []byte   // of the block, if it has anchors
	AppHash       [32]byte // after the block
	Registrations []Registration
	Anchors       []anchorRecord
	Govern        [][]byte // transactions
}

type anchorRecord struct {
	_      struct{} `cbor:",toarray"`
	Origin originHash
	Size   uint64
	Root   [32]byte
}

// begin starts the block of the given height; open gives it its time.
func (s *state) begin(height int64) *batch {
	return &batch{base: s, height: height, now: s.now, gov: s.gov, changed: make(map[originHash]head), record: record{Height: height}}
}

// open makes the block's time known: it is that of the commit before, so that
// the anchors of that block get theirs, and votes may have run out.
func (b *batch) open(now time.Time, hash []byte) {
	b.now = now.UTC()
	b.record.Seconds, b.record.Nanos, b.record.Hash = now.Unix(), int64(now.Nanosecond()), hash
	for _, d := range b.base.undated {
		d.Time = b.now
		b.dating = append(b.dating, d.hash())
	}
	b.expire()
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
	switch {
	case t.Kind > kindRegister && t.Kind != kindUpgrade && b.gov.version < stateVersion:
		return refuse(CodeVersion, "%s on a chain of version %d, want %d", kindName(t.Kind), b.gov.version, stateVersion)
	case t.Kind == kindRegister || t.Kind == kindRotate:
		return b.applyRegister(t)
	case t.Kind == kindAnchor || t.Kind == kindAnchors:
		return b.applyAnchors(t)
	case !t.signed(b.base.chainID):
		return refuse(CodeSignature, "not signed by %x for chain %s", t.Key, b.base.chainID)
	}
	return b.govern(t, raw)
}

func (b *batch) applyRegister(t *tx) *Refusal {
	if !bytes.Equal(t.Key, b.gov.admin) {
		return refuse(CodeAdmin, "registration by %x, want the administrator %x", t.Key, b.gov.admin)
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
	case known && (!t.reg.overlaps(&h.reg) || b.gov.version < stateVersion && t.reg.LogKey != h.reg.LogKey):
		return refuse(CodeLogKey, "origin %q has log key %s, got %s\nhint: register both keys first, then the new one alone",
			t.reg.Origin, h.reg.LogKey, t.reg.LogKey)
	case !known && len(b.base.origins)+b.added >= maxOrigins:
		return refuse(CodeFull, "%d origins are registered, want %d at most", maxOrigins, maxOrigins)
	}
	if err := b.register(t.reg); err != nil {
		return refuse(CodeMalformed, "registration: %v", err)
	}
	return nil
}

// applyAnchors takes all checkpoints of a transaction or none: all are checked
// before the first is taken, and no two are of one origin.
func (b *batch) applyAnchors(t *tx) *Refusal {
	var already *Refusal
	for i, c := range t.checkpoints {
		r := b.mayAnchor(t, t.notes[i], c)
		if r != nil && (r.Code != CodeAlready || len(t.notes) == 1) {
			return r
		}
		if r != nil {
			already = r
		}
	}
	if already != nil { // in a block it would carry what it did not change
		all := true
		for _, c := range t.checkpoints {
			h, _ := b.head(hashOf(c.origin))
			all = all && h.last.size >= c.size
		}
		if all {
			return already
		}
		return refuse(CodeBehind, "some of the %d checkpoints are anchored already: %s", len(t.notes), already.Text)
	}
	for _, c := range t.checkpoints {
		if err := b.anchor(hashOf(c.origin), c.size, c.root); err != nil {
			return refuse(CodeMalformed, "anchor: %v", err) // not reached: mayAnchor said so
		}
	}
	return nil
}

func (b *batch) mayAnchor(t *tx, signed []byte, c checkpoint) *Refusal {
	key := hashOf(c.origin)
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
	if err := verifyCheckpoint(signed, h.verifiers); err != nil {
		return refuse(CodeCheckpoint, "checkpoint of %q at size %d: %v", c.origin, c.size, err)
	}
	if c.size <= h.last.size {
		return b.behind(key, h, c)
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
	h.reg, h.regHeight, h.verifiers = r, b.height, v
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
	index := b.base.history.size() + uint64(len(b.base.undated)+len(b.undated))
	h.last, h.count, h.fold = entry{size, root, b.height, index}, h.count+1, sha256.Sum256(fold)
	b.changed[key] = h
	d := Dated{Origin: h.reg.Origin, Size: size, Root: root, Height: b.height}
	copy(d.Block[:], b.record.Hash)
	b.undated = append(b.undated, d)
	b.record.Anchors = append(b.record.Anchors, anchorRecord{Origin: key, Size: size, Root: root})
	return nil
}

// appHash returns the hash of the state as it will be, and what it is made of.
func (b *batch) appHash() (hash [32]byte, o opening, err error) {
	keys := make(map[originHash]struct{}, len(b.base.origins)+len(b.changed))
	for k := range b.base.origins {
		keys[k] = struct{}{}
	}
	for k := range b.changed {
		keys[k] = struct{}{}
	}
	version := b.gov.version
	var leaves [][]byte
	for _, k := range slices.SortedFunc(maps.Keys(keys), func(a, b originHash) int { return bytes.Compare(a[:], b[:]) }) {
		leaf := [32]byte{}
		if h, ok := b.changed[k]; ok {
			if leaf, err = h.hash(version); err != nil {
				return leaf, o, err
			}
		} else if version != b.base.gov.version {
			if leaf, err = b.base.origins[k].hash(version); err != nil {
				return leaf, o, err
			}
		} else {
			leaf = b.base.origins[k].leaf
		}
		leaves = append(leaves, leaf[:])
	}
	if version < stateVersion {
		prefix, err := dcbor.Marshal([]any{stateDomain1, b.base.chainID, []byte(b.gov.admin)})
		return sha256.Sum256(slices.Concat(prefix, bytes.Join(leaves, nil))), o, err
	}
	o.origins = [32]byte(merkle.HashFromByteSlices(leaves))
	o.size = b.base.history.size() + uint64(len(b.dating))
	if o.history, err = b.base.history.with(b.dating); err != nil {
		return hash, o, err
	}
	if o.rest, err = b.gov.hash(b.undated); err != nil {
		return hash, o, err
	}
	return o.hash(b.base.chainID), o, nil
}

func (h *head) hash(version uint64) ([32]byte, error) {
	b, err := h.encode(version)
	return sha256.Sum256(b), err
}

func (h *head) encode(version uint64) ([]byte, error) {
	fields := []any{h.reg.Origin, h.reg.LogKey, h.reg.Revision, h.reg.Submitters, h.count, h.last.size, h.last.root, h.fold}
	if version >= stateVersion {
		fields = append(fields, h.reg.NextKey)
	}
	return dcbor.Marshal(fields)
}

// turn begins an epoch if the block changed the validators. CometBFT lets new
// ones vote two blocks later.
func (b *batch) turn() {
	if len(updates(b.base.gov, b.gov)) == 0 {
		return
	}
	g := b.gov.clone()
	g.epochs = append(g.epochs, epoch{From: b.height + 2, Validators: slices.Clone(g.validators)})
	b.gov = g
}

// finish fixes the epoch that the block begins and its app hash.
func (b *batch) finish() (o opening, err error) {
	b.turn()
	b.record.AppHash, o, err = b.appHash()
	return o, err
}

// commit makes the batch, whose app hash opens as o, the state.
func (s *state) commit(b *batch, o opening) error {
	upgraded := b.gov.version != s.gov.version
	if err := s.merge(b); err != nil {
		return err
	}
	for k, org := range s.origins {
		if _, ok := b.changed[k]; !ok && !upgraded {
			continue
		}
		if err := org.rehash(s.gov.version); err != nil {
			return err
		}
	}
	s.shown, s.opening = s.opening, o
	return nil
}

// merge is commit without the hashes of origins and state.
func (s *state) merge(b *batch) error {
	for k, h := range b.changed {
		o := s.origins[k]
		if o == nil {
			o = new(origin)
			s.origins[k] = o
		}
		o.head = h
	}
	if len(b.dating) > 0 {
		if err := s.history.append(dated{s.height, s.hash, b.now}, b.dating); err != nil {
			return err
		}
	}
	index := s.history.size()
	for _, a := range b.record.Anchors {
		o := s.origins[a.Origin]
		o.history = append(o.history, entry{a.Size, a.Root, b.height, index})
		index++
	}
	s.undated, s.hash = b.undated, [32]byte{}
	copy(s.hash[:], b.record.Hash)
	s.height, s.now, s.gov, s.appHash = b.height, b.now, b.gov, b.record.AppHash
	return nil
}

func (o *origin) rehash(version uint64) (err error) {
	o.leaf, err = o.hash(version)
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
	b.open(time.Unix(r.Seconds, r.Nanos), r.Hash)
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
	for _, raw := range r.Govern {
		t, err := decodeTx(raw)
		if err != nil {
			return err
		}
		if refusal := b.govern(t, raw); refusal != nil {
			return refusal
		}
	}
	b.turn()
	b.record.AppHash = r.AppHash
	return s.merge(b)
}

// rehash hashes the whole state anew.
func (s *state) rehash() ([32]byte, error) {
	for _, o := range s.origins {
		if err := o.rehash(s.gov.version); err != nil {
			return [32]byte{}, err
		}
	}
	b := s.begin(s.height)
	b.undated = s.undated
	hash, o, err := b.appHash()
	// Which of the two the newest header shows is not in the journal; a chain at
	// rest shows this one, and another has a block to come.
	s.opening, s.shown = o, o
	return hash, err
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
	return r.Revision == o.Revision && r.Origin == o.Origin && r.LogKey == o.LogKey && r.NextKey == o.NextKey &&
		slices.EqualFunc(r.Submitters, o.Submitters, func(a, b ed25519.PublicKey) bool { return bytes.Equal(a, b) })
}
