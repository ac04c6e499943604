package cometlight

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"trailmark/internal/dcbor"
)

// dataHash is the root of the block's transactions that the evidence leads to
// from the anchor of note.
func (e *evidence) dataHash(note []byte) (root [32]byte, err error) {
	tx := dcbor.AppendArray(nil, 5)
	tx = dcbor.AppendInt(tx, 1) // version
	tx = dcbor.AppendInt(tx, 1) // kind: anchor
	tx = dcbor.AppendBytes(tx, note)
	tx = dcbor.AppendBytes(tx, e.Submitter[:])
	tx = dcbor.AppendBytes(tx, e.TxSig[:])
	hash := sha256.Sum256(tx)

	path := make([][]byte, len(e.Aunts))
	for i := range e.Aunts {
		path[i] = e.Aunts[i][:]
	}
	h := rfc6962.DefaultHasher
	got, err := proof.RootFromInclusionProof(h, e.Index, e.Total, h.HashLeaf(hash[:]), path)
	if err != nil {
		return root, fmt.Errorf("path of transaction %d of %d: %w", e.Index, e.Total, err)
	}
	if copy(root[:], got) != len(root) {
		return root, errors.New("tree hash is cut short")
	}
	return root, nil
}

// treeHash is the Merkle tree hash of RFC 9162 section 2.1.1 over at least one
// leaf.
func treeHash(leaves [][]byte) [32]byte {
	if len(leaves) == 1 {
		return sha256.Sum256(append([]byte{0}, leaves[0]...))
	}
	k := 1 // the largest power of two below the number of leaves
	for 2*k < len(leaves) {
		k *= 2
	}
	left, right := treeHash(leaves[:k]), treeHash(leaves[k:])
	var node [65]byte
	node[0] = 1
	copy(node[1:], left[:])
	copy(node[33:], right[:])
	return sha256.Sum256(node[:])
}

// signBytes is what a validator signs: the CanonicalVote of a precommit, with
// its length in front.
func (e *evidence) signBytes(chainID string, block [32]byte, v vote) []byte {
	b := protoUint(nil, 1, 2) // SIGNED_MSG_TYPE_PRECOMMIT
	b = protoFixed(b, 2, e.Height)
	b = protoFixed(b, 3, e.Round)
	if v.Flag == forBlock {
		parts := protoBytes(protoUint(nil, 1, uint64(e.PartTotal)), 2, e.PartHash[:])
		b = protoBytes(b, 4, protoBytes(protoBytes(nil, 1, block[:]), 2, parts))
	}
	b = protoBytes(b, 5, protoUint(protoUint(nil, 1, v.Seconds), 2, v.Nanos))
	b = protoBytes(b, 6, []byte(chainID))
	return append(binary.AppendUvarint(nil, uint64(len(b))), b...)
}

// The three forms of protobuf fields that CometBFT hashes and signs. Numbers
// that are zero are left out; byte strings are not, as none of ours is empty but
// the timestamp message, which is never left out.

func protoUint(b []byte, field byte, n uint64) []byte {
	if n == 0 {
		return b
	}
	return binary.AppendUvarint(append(b, field<<3), n)
}

func protoFixed(b []byte, field byte, n uint64) []byte {
	if n == 0 {
		return b
	}
	return binary.LittleEndian.AppendUint64(append(b, field<<3|1), n)
}

func protoBytes(b []byte, field byte, s []byte) []byte {
	b = binary.AppendUvarint(append(b, field<<3|2), uint64(len(s)))
	return append(b, s...)
}
