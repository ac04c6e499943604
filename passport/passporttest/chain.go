package passporttest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"trailmark/internal/dcbor"
	"trailmark/passport"
	"trailmark/statement"
)

// chain is a CometBFT chain of four validators reduced to its signatures: it
// makes evidence as docs of passport/internal/cometlight say, with its own code.
type chain struct {
	keys  []ed25519.PrivateKey // in CometBFT's order
	votes int                  // how many of them sign
}

func newChain(votes int) *chain {
	c := &chain{votes: votes}
	for seed := range byte(4) {
		c.keys = append(c.keys, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{100 + seed}, ed25519.SeedSize)))
	}
	return c.sort()
}

func (c *chain) sort() *chain {
	slices.SortFunc(c.keys, func(a, b ed25519.PrivateKey) int { // equal powers: by address
		x, y := sha256.Sum256(a[32:]), sha256.Sum256(b[32:])
		return bytes.Compare(x[:20], y[:20])
	})
	return c
}

func (c *chain) pinned() passport.Chain {
	out := passport.Chain{ID: Chain, Kind: passport.Comet, Validators: uint64(len(c.keys))}
	for _, k := range c.keys {
		out.Keys = append(out.Keys, passport.Validator{Key: [32]byte(k[32:]), Power: 1})
	}
	return out
}

func (c *chain) anchor(note []byte, height uint64, ms int64) (*passport.Anchor, []byte) {
	submitter, txSig := bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{8}, 64)
	tx := dcbor.AppendArray(nil, 5)
	tx = dcbor.AppendInt(dcbor.AppendInt(tx, 1), 1)
	tx = dcbor.AppendBytes(dcbor.AppendBytes(dcbor.AppendBytes(tx, note), submitter), txSig)
	txHash := sha256.Sum256(tx)
	data := statement.LeafHash(txHash[:])

	header := c.header(height)
	header[6] = message(1, data[:])
	block := statement.RecordsRoot(header)

	e := dcbor.AppendInt(dcbor.AppendArray(nil, 12), 1)
	e = append(e, c.commit(header, height, ms)...)
	e = dcbor.AppendBytes(dcbor.AppendBytes(e, submitter), txSig)
	e = dcbor.AppendArray(dcbor.AppendInt(dcbor.AppendInt(e, 0), 1), 0) // the only transaction
	return &passport.Anchor{Chain: Chain, Kind: passport.Comet, Height: height, Block: block, Time: ms}, e
}

// set is the hash of the validators.
func (c *chain) set() []byte {
	var validators [][]byte
	for _, k := range c.keys {
		key := message(1, k[32:]) // PublicKey.ed25519
		validators = append(validators, append(message(1, key), varint(2, 1)...))
	}
	h := statement.RecordsRoot(validators)
	return h[:]
}

// header is one of these validators, with what else they sign of its real size.
func (c *chain) header(height uint64) [][]byte {
	header := make([][]byte, 14)
	for i, size := range []int{2, 0, 0, 10, 70, 32, 0, 0, 32, 32, 32, 32, 32, 20} {
		header[i] = message(1, bytes.Repeat([]byte{byte(i)}, size))
	}
	header[1], header[2], header[7] = message(1, []byte(Chain)), varint(1, height), message(1, c.set())
	return header
}

// commit is height, round, header, part set and votes as evidence holds them.
func (c *chain) commit(header [][]byte, height uint64, ms int64) []byte {
	block, parts := statement.RecordsRoot(header), statement.Hash{0x9a}
	e := dcbor.AppendInt(dcbor.AppendInt(nil, int64(height)), 0) // round
	e = dcbor.AppendArray(e, len(header))
	for _, leaf := range header {
		e = dcbor.AppendBytes(e, leaf)
	}
	e = dcbor.AppendInt(e, 1) // parts
	e = dcbor.AppendBytes(e, parts[:])
	e = dcbor.AppendArray(e, c.votes)
	for i, k := range c.keys[:c.votes] {
		seconds, nanos := ms/1000, ms%1000*1_000_000
		partSet := append(varint(1, 1), message(2, parts[:])...)
		id := append(message(1, block[:]), message(2, partSet)...)
		vote := slices.Concat(varint(1, 2), fixed(2, height), message(4, id),
			message(5, append(varint(1, uint64(seconds)), varint(2, uint64(nanos))...)), message(6, []byte(Chain)))
		sig := ed25519.Sign(k, append(binary.AppendUvarint(nil, uint64(len(vote))), vote...))
		e = dcbor.AppendArray(e, 5)
		for _, n := range []int64{int64(i), 2, seconds, nanos} {
			e = dcbor.AppendInt(e, n)
		}
		e = dcbor.AppendBytes(e, sig)
	}
	return e
}

// The forms of protobuf fields that CometBFT hashes and signs.

func varint(field byte, n uint64) []byte {
	if n == 0 {
		return nil
	}
	return binary.AppendUvarint([]byte{field << 3}, n)
}

func fixed(field byte, n uint64) []byte {
	return binary.LittleEndian.AppendUint64([]byte{field<<3 | 1}, n)
}

func message(field byte, b []byte) []byte {
	return append(binary.AppendUvarint([]byte{field<<3 | 2}, uint64(len(b))), b...)
}
