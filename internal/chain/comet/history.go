package comet

import (
	"crypto/sha256"
	"fmt"
	"sort"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"trailmark/internal/dcbor"
)

// A Dated is one anchor as the app hash commits to it: a leaf of the history is
// the CBOR array of these fields, the time in seconds and nanoseconds.
type Dated struct {
	Origin string
	Size   uint64
	Root   [32]byte
	Height int64     // of its block
	Block  [32]byte  // hash of its block
	Time   time.Time // of the commit of its block, UTC
}

func (d *Dated) leaf() []byte {
	b := dcbor.AppendArray(make([]byte, 0, 192+len(d.Origin)), 7)
	b = dcbor.AppendInt(dcbor.AppendText(b, d.Origin), int64(d.Size)) // at most math.MaxInt64
	b = dcbor.AppendInt(dcbor.AppendBytes(b, d.Root[:]), d.Height)
	b = dcbor.AppendBytes(b, d.Block[:])
	return dcbor.AppendInt(dcbor.AppendInt(b, d.Time.Unix()), int64(d.Time.Nanosecond()))
}

func (d *Dated) hash() []byte { return rfc6962.DefaultHasher.HashLeaf(d.leaf()) }

var rangeFactory = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// history is the RFC 6962 tree over all anchors of all origins in the order the
// chain took them. An anchor gets in with the block after its own, which is the
// first that knows its time. The zero value is not usable.
type history struct {
	peaks  *compact.Range
	levels [][][32]byte // nodes of perfect subtrees: by level, then index
	blocks []dated      // with anchors, ascending
}

// dated is a block whose anchors have a time.
type dated struct {
	height int64
	hash   [32]byte
	time   time.Time
}

func newHistory() *history { return &history{peaks: rangeFactory.NewEmptyRange(0)} }

func (t *history) size() uint64 { return t.peaks.End() }

// with returns the root of the tree as it would be after more leaves.
func (t *history) with(leaves [][]byte) ([32]byte, error) {
	r, err := rangeFactory.NewRange(0, t.size(), append([][]byte(nil), t.peaks.Hashes()...))
	if err != nil {
		return [32]byte{}, err
	}
	for _, l := range leaves {
		if err := r.Append(l, nil); err != nil {
			return [32]byte{}, err
		}
	}
	if r.End() == 0 {
		return sha256.Sum256(nil), nil
	}
	root, err := r.GetRootHash(nil)
	if err != nil {
		return [32]byte{}, err
	}
	return [32]byte(root), nil
}

// append adds the anchors of one block.
func (t *history) append(d dated, leaves [][]byte) error {
	for _, l := range leaves {
		t.put(compact.NewNodeID(0, t.size()), l)
		if err := t.peaks.Append(l, t.put); err != nil {
			return err
		}
	}
	t.blocks = append(t.blocks, d)
	return nil
}

func (t *history) put(id compact.NodeID, hash []byte) {
	for len(t.levels) <= int(id.Level) {
		t.levels = append(t.levels, nil)
	}
	if l := t.levels[id.Level]; uint64(len(l)) == id.Index {
		t.levels[id.Level] = append(l, [32]byte(hash))
	}
}

// path proves the leaf at index to the root of the tree when it had size leaves.
func (t *history) path(index, size uint64) ([][]byte, error) {
	if index >= size || size > t.size() {
		return nil, fmt.Errorf("anchor %d of %d in a history of %d", index, size, t.size())
	}
	nodes, err := proof.Inclusion(index, size)
	if err != nil {
		return nil, err
	}
	hashes := make([][]byte, len(nodes.IDs))
	for i, id := range nodes.IDs {
		hashes[i] = t.levels[id.Level][id.Index][:]
	}
	return nodes.Rehash(hashes, rfc6962.DefaultHasher.HashChildren)
}

// at returns what is known of a block that has anchors.
func (t *history) at(height int64) (dated, bool) {
	i := sort.Search(len(t.blocks), func(i int) bool { return t.blocks[i].height >= height })
	if i == len(t.blocks) || t.blocks[i].height != height {
		return dated{}, false
	}
	return t.blocks[i], true
}

// An opening is what an app hash of version 2 is the hash of.
type opening struct {
	size    uint64   // anchors in the history
	history [32]byte // its root
	origins [32]byte // RFC 6962 root of the origins' leaves, in order of the hash of their lines
	rest    [32]byte // hash of all other state
}

func (o opening) hash(chainID string) [32]byte {
	b := dcbor.AppendText(dcbor.AppendArray(nil, 6), stateDomain2)
	b = dcbor.AppendInt(dcbor.AppendText(b, chainID), int64(o.size))
	b = dcbor.AppendBytes(dcbor.AppendBytes(b, o.history[:]), o.origins[:])
	return sha256.Sum256(dcbor.AppendBytes(b, o.rest[:]))
}
