package statement

import (
	"crypto/sha256"
	"fmt"
	"math/bits"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"trailmark/internal/dcbor"
)

// RecordsRoot is the RFC 9162 tree hash over encoded records.
func RecordsRoot(records [][]byte) Hash {
	if len(records) == 0 {
		return sha256.Sum256(nil)
	}
	return treeHash(leaves(records))
}

func leaves(records [][]byte) []Hash {
	hs := make([]Hash, len(records))
	for i, r := range records {
		hs[i] = Hash(rfc6962.DefaultHasher.HashLeaf(r))
	}
	return hs
}

func treeHash(hs []Hash) Hash {
	if len(hs) == 1 {
		return hs[0]
	}
	k := 1 << (bits.Len(uint(len(hs)-1)) - 1)
	l, r := treeHash(hs[:k]), treeHash(hs[k:])
	return Hash(rfc6962.DefaultHasher.HashChildren(l[:], r[:]))
}

// A Disclosed is one record shown alone, with its RFC 9162 inclusion path.
type Disclosed struct {
	_      struct{} `cbor:",toarray"`
	Index  uint64
	Record []byte
	Path   []Hash
}

// Disclose shows record i of a frame's records.
func Disclose(records [][]byte, i int) (Disclosed, error) {
	if i < 0 || i >= len(records) {
		return Disclosed{}, fmt.Errorf("record %d of a frame of %d", i, len(records))
	}
	return Disclosed{Index: uint64(i), Record: records[i], Path: path(leaves(records), i)}, nil
}

func path(hs []Hash, i int) []Hash {
	if len(hs) == 1 {
		return nil
	}
	k := 1 << (bits.Len(uint(len(hs)-1)) - 1)
	if i < k {
		return append(path(hs[:k], i), treeHash(hs[k:]))
	}
	return append(path(hs[k:], i-k), treeHash(hs[:k]))
}

// Open checks a disclosed record against the frame that signed it.
func (d Disclosed) Open(f *Frame) (any, error) {
	if len(d.Record) > dcbor.MaxMessage {
		return nil, fmt.Errorf("record of %d bytes is over the limit of %d", len(d.Record), dcbor.MaxMessage)
	}
	if err := VerifyInclusion(d.Record, d.Index, f.Count, f.Root, d.Path); err != nil {
		return nil, fmt.Errorf("record %d of %d: %w", d.Index, f.Count, err)
	}
	r, err := ParseRecord(d.Record)
	if err != nil {
		return nil, err
	}
	return Body{Kind: r.Kind, Data: r.Body}.Decode()
}

// VerifyInclusion checks that leaf is the index'th of a tree of size leaves with
// this root (RFC 9162 section 2.1.3).
func VerifyInclusion(leaf []byte, index, size uint64, root Hash, path []Hash) error {
	if len(path) > 64 {
		return fmt.Errorf("path of %d hashes", len(path))
	}
	return proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, rfc6962.DefaultHasher.HashLeaf(leaf), raw(path), root[:])
}

// VerifyConsistency checks that a ledger of size newer extends one of size older
// (RFC 9162 section 2.1.4); any ledger extends the empty one.
func VerifyConsistency(older, newer uint64, oldRoot, newRoot Hash, path []Hash) error {
	if older == 0 {
		return nil
	}
	if older > newer {
		return fmt.Errorf("ledger shrank from %d to %d entries", older, newer)
	}
	if len(path) > 128 {
		return fmt.Errorf("consistency proof of %d hashes", len(path))
	}
	return proof.VerifyConsistency(rfc6962.DefaultHasher, older, newer, raw(path), oldRoot[:], newRoot[:])
}

func raw(hs []Hash) [][]byte {
	out := make([][]byte, len(hs))
	for i := range hs {
		out[i] = hs[i][:]
	}
	return out
}
