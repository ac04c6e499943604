package ledger

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/bits"

	"github.com/transparency-dev/merkle/rfc6962"
)

// Subtrees gives the hashes over entries [lo, hi) that RFC 9162 proofs at a size
// are made of. It reads each tile once, so that a proof of many entries costs
// little more than one of one; it is for one goroutine and one proof. Nothing is
// verified: whoever puts the hashes together compares the root.
func (l *Ledger) Subtrees(ctx context.Context, size uint64) (func(lo, hi uint64) ([sha256.Size]byte, error), error) {
	cur := l.size.Load()
	if size > cur {
		return nil, fmt.Errorf("ledger: subtrees of size %d: the tree has %d entries", size, cur)
	}
	r := &subtrees{ctx: ctx, tree: l.tree, cur: cur, tiles: map[[2]uint64][][][sha256.Size]byte{}}
	return func(lo, hi uint64) ([sha256.Size]byte, error) {
		if lo >= hi || hi > size {
			return [sha256.Size]byte{}, fmt.Errorf("ledger: no entries [%d, %d) in %d", lo, hi, size)
		}
		h, err := r.hash(lo, hi)
		if err != nil {
			return h, fmt.Errorf("ledger: entries [%d, %d): %w", lo, hi, err)
		}
		return h, nil
	}, nil
}

type subtrees struct {
	ctx  context.Context
	tree tree
	cur  uint64
	// tiles holds each tile that was read with the hashes above it: row r has those
	// over 2^r of its own.
	tiles map[[2]uint64][][][sha256.Size]byte
}

// hash is the RFC 9162 tree hash of entries [lo, hi), which begin where a subtree
// of at least their number may.
func (s *subtrees) hash(lo, hi uint64) (h [sha256.Size]byte, err error) {
	n := hi - lo
	if n&(n-1) == 0 && lo%n == 0 {
		return s.perfect(uint64(bits.TrailingZeros64(n)), lo/n)
	}
	split := uint64(1) << (bits.Len64(n-1) - 1)
	left, err := s.hash(lo, lo+split)
	if err != nil {
		return h, err
	}
	right, err := s.hash(lo+split, hi)
	if err != nil {
		return h, err
	}
	return [sha256.Size]byte(rfc6962.DefaultHasher.HashChildren(left[:], right[:])), nil
}

// perfect is the index'th subtree of 2^level entries.
func (s *subtrees) perfect(level, index uint64) (h [sha256.Size]byte, err error) {
	const rows = 8 // of a tile, above its own
	row, first := level%rows, index<<(level%rows)
	at := [2]uint64{level / rows, first / tileWidth}
	tile, ok := s.tiles[at]
	if !ok {
		if err := s.ctx.Err(); err != nil {
			return h, err
		}
		hashes, err := s.tree.tile(at[0], at[1], s.cur)
		if err != nil {
			return h, err
		}
		tile = make([][][sha256.Size]byte, rows)
		tile[0] = hashes
		for r := 1; r < rows; r++ {
			below := tile[r-1]
			for i := 0; i+1 < len(below); i += 2 {
				tile[r] = append(tile[r], [sha256.Size]byte(rfc6962.DefaultHasher.HashChildren(below[i][:], below[i+1][:])))
			}
		}
		s.tiles[at] = tile
	}
	i := first % tileWidth >> row
	if i >= uint64(len(tile[row])) {
		return h, fmt.Errorf("tile %d/%d: no hash %d in row %d", at[0], at[1], i, row)
	}
	return tile[row][i], nil
}
