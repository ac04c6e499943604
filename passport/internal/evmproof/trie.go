package evmproof

import (
	"bytes"
	"errors"
	"fmt"
)

// walk follows key from root through the nodes of proof and returns the value at
// its end, or nil if the nodes prove that there is none.
func walk(root [32]byte, key []byte, proof [][]byte) ([]byte, error) {
	if len(proof) > MaxNodes {
		return nil, fmt.Errorf("proof of %d nodes is over the limit of %d", len(proof), MaxNodes)
	}
	size := 0
	for _, n := range proof {
		size += len(n)
	}
	if size > MaxProof {
		return nil, fmt.Errorf("proof of %d bytes is over the limit of %d", size, MaxProof)
	}
	if len(proof) == 0 && root == Keccak256([]byte{0x80}) { // the empty trie has no nodes
		return nil, nil
	}
	path, used := nibbles(key), 0
	child := item{content: root[:]} // named, not yet read
	for {
		node := child
		if !child.list { // named by its hash
			if used == len(proof) {
				return nil, fmt.Errorf("proof ends after %d nodes, before node %x", used, child.content)
			}
			raw := proof[used]
			if h := Keccak256(raw); !bytes.Equal(h[:], child.content) {
				return nil, fmt.Errorf("node %d hashes to %x, want %x", used, h, child.content)
			}
			used++
			var rest []byte
			var err error
			if node, rest, err = split(raw); err == nil && len(rest) > 0 {
				err = fmt.Errorf("%d bytes after it: %w", len(rest), errRLP)
			}
			if err != nil {
				return nil, fmt.Errorf("node %d: %w", used-1, err)
			}
		}
		next, left, value, err := step(node, path)
		if err != nil {
			return nil, fmt.Errorf("node %d: %w", used-1, err)
		}
		if next != nil {
			child, path = *next, left
			continue
		}
		if used != len(proof) {
			return nil, fmt.Errorf("proof of %d nodes, the path ends after %d", len(proof), used)
		}
		if len(value) == 0 { // of a branch that ends no key
			return nil, nil
		}
		return value, nil
	}
}

// step looks path up in one node. It gives the child to go on with and what is
// left of the path; or the value, which is nil if there is no such key.
func step(it item, path []byte) (next *item, left, value []byte, err error) {
	n, err := decodeNode(it)
	switch {
	case err != nil:
		return nil, nil, nil, err
	case n.branch != nil && len(path) > 0:
		if c := n.branch[path[0]]; !c.empty() {
			return &c, path[1:], nil, nil
		}
	case n.branch != nil:
		return nil, nil, n.value.content, nil
	case n.leaf && bytes.Equal(n.part, path):
		return nil, nil, n.value.content, nil
	case !n.leaf && bytes.HasPrefix(path, n.part):
		return &n.value, path[len(n.part):], nil, nil
	}
	return nil, nil, nil, nil
}

// node is a decoded node.
type node struct {
	branch []item // the 16 children; nil: leaf or extension
	part   []byte // of a leaf or an extension, nibbles
	leaf   bool
	value  item // of a branch (may be empty) or a leaf; child of an extension
}

// decodeNode decodes a node and all nodes that are written into it.
func decodeNode(it item) (n node, err error) {
	f, err := it.items(17)
	if err != nil {
		return node{}, err
	}
	switch len(f) {
	case 17:
		n.branch, n.value = f[:16], f[16]
		for _, c := range n.branch {
			if err := checkChild(c); err != nil && !c.empty() {
				return node{}, err
			}
		}
	case 2:
		if n.part, n.leaf, err = compact(f[0]); err != nil {
			return node{}, err
		}
		n.value = f[1]
		switch {
		case n.leaf && n.value.empty():
			return node{}, errors.New("leaf of no value")
		case !n.leaf && len(n.part) == 0:
			return node{}, errors.New("extension of no nibbles")
		case !n.leaf:
			return n, checkChild(n.value)
		}
	default:
		return node{}, fmt.Errorf("list of %d items, want 17 or 2", len(f))
	}
	if n.value.list {
		return node{}, errors.New("a list where a value should be")
	}
	return n, nil
}

// checkChild reports an error unless it is a hash or a node under 32 bytes.
func checkChild(it item) error {
	switch {
	case it.list && len(it.raw) < 32:
		_, err := decodeNode(it) // ends: each level is shorter
		return err
	case it.list || len(it.content) != 32:
		return fmt.Errorf("child of %d bytes is neither a hash nor a node under 32 bytes", len(it.raw))
	}
	return nil
}

// compact decodes the hex-prefix encoding of a part of a path.
func compact(it item) (part []byte, leaf bool, err error) {
	if it.list || len(it.content) == 0 || len(it.content) > 33 {
		return nil, false, fmt.Errorf("path of %d bytes, want 1 to 33", len(it.content))
	}
	all := nibbles(it.content)
	flag := all[0]
	switch {
	case flag > 3 || flag&1 == 0 && all[1] != 0:
		return nil, false, fmt.Errorf("path begins with %#02x", it.content[0])
	case flag&1 == 1:
		return all[1:], flag >= 2, nil
	}
	return all[2:], flag >= 2, nil
}

func nibbles(b []byte) []byte {
	out := make([]byte, 0, 2*len(b))
	for _, c := range b {
		out = append(out, c>>4, c&15)
	}
	return out
}
