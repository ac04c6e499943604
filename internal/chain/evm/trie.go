package evm

import (
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"
)

// A Merkle Patricia trie of a block's receipts is built whole and thrown away:
// go-ethereum's own needs a database, and would double what the gateway links.

// pair is a key in nibbles and its value. No key is the beginning of another.
type pair struct{ key, value []byte }

func nibbles(b []byte) []byte {
	out := make([]byte, 0, 2*len(b))
	for _, c := range b {
		out = append(out, c>>4, c&15)
	}
	return out
}

// proveTrie gives the root over all pairs, of which there is one at least, and
// the nodes on the way to key, the root's first, without those that are written
// into their parent.
func proveTrie(pairs []pair, key []byte) (root common.Hash, proof [][]byte) {
	pairs = slices.Clone(pairs)
	slices.SortFunc(pairs, func(a, b pair) int { return slices.Compare(a.key, b.key) })
	top := buildNode(pairs, 0, key, &proof)
	if len(top) < 32 {
		proof = append(proof, top)
	}
	slices.Reverse(proof)
	return crypto.Keccak256Hash(top), proof
}

// buildNode encodes the node over sorted pairs that agree in their first depth
// nibbles, and appends it to proof if it leads to key and is named by its hash.
func buildNode(pairs []pair, depth int, key []byte, proof *[][]byte) []byte {
	leads := len(key) >= depth && slices.Equal(key[:depth], pairs[0].key[:depth])
	var node []byte
	first, last := pairs[0].key, pairs[len(pairs)-1].key
	shared := depth
	for len(pairs) > 1 && shared < min(len(first), len(last)) && first[shared] == last[shared] {
		shared++
	}
	switch {
	case len(pairs) == 1:
		node = encode([]any{compact(first[depth:], true), pairs[0].value})
	case shared > depth:
		node = encode([]any{compact(first[depth:shared], false), reference(buildNode(pairs, shared, key, proof))})
	default:
		var children [17]any
		for i := range children {
			children[i] = []byte{}
		}
		for len(pairs) > 0 {
			n := pairs[0].key[depth]
			end := 1
			for end < len(pairs) && pairs[end].key[depth] == n {
				end++
			}
			children[n] = reference(buildNode(pairs[:end], depth+1, key, proof))
			pairs = pairs[end:]
		}
		node = encode(children[:])
	}
	if leads && len(node) >= 32 {
		*proof = append(*proof, node)
	}
	return node
}

// reference is a node's hash, or a node under 32 bytes itself.
func reference(node []byte) any {
	if len(node) < 32 {
		return rlp.RawValue(node)
	}
	return crypto.Keccak256(node)
}

// compact is the hex-prefix encoding of a part of a path.
func compact(part []byte, leaf bool) []byte {
	flag := byte(0)
	if leaf {
		flag = 2
	}
	out := []byte{flag << 4}
	if len(part)%2 == 1 {
		out[0] |= 1<<4 | part[0]
		part = part[1:]
	}
	for i := 0; i < len(part); i += 2 {
		out = append(out, part[i]<<4|part[i+1])
	}
	return out
}

func encode(items []any) []byte {
	b, err := rlp.EncodeToBytes(items)
	if err != nil {
		panic(err) // of byte strings alone: cannot be
	}
	return b
}
