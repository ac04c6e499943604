package ledger

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"
)

// maxRoots bounds the remembered roots. Receipts and anchors ask for few sizes.
const maxRoots = 256

// Entry returns the 32 bytes at index, as stored. A gateway that comes back
// after a crash compares them with its own row of that number.
func (l *Ledger) Entry(ctx context.Context, index uint64) ([32]byte, error) {
	if err := ctx.Err(); err != nil {
		return [32]byte{}, err
	}
	cur := l.size.Load()
	if index >= cur {
		return [32]byte{}, fmt.Errorf("ledger: entry %d: the tree has %d entries", index, cur)
	}
	entries, err := l.tree.bundle(index/tileWidth, cur)
	if err != nil {
		return [32]byte{}, fmt.Errorf("ledger: entry %d: %w", index, err)
	}
	return entries[index%tileWidth], nil
}

// Root returns the root of the first size entries, computed from stored tiles.
// Up to the newest published checkpoint it is checked to be a prefix of what
// was signed, so that a changed tile is an error and never a wrong root.
func (l *Ledger) Root(ctx context.Context, size uint64) ([32]byte, error) {
	cur := l.size.Load()
	if size > cur {
		return [32]byte{}, fmt.Errorf("ledger: root of size %d: the tree has %d entries", size, cur)
	}
	l.mu.Lock()
	root, ok := l.roots[size]
	l.mu.Unlock()
	if ok {
		return root, nil
	}
	root, err := l.tree.root(ctx, size, cur)
	if err != nil {
		return root, fmt.Errorf("ledger: %w", err)
	}
	_, cp, err := l.published()
	if err != nil {
		return [32]byte{}, err
	}
	if size > cp.Size {
		return root, nil // nothing signed covers it yet
	}
	if err := l.checkPrefix(ctx, size, cur, root, cp); err != nil {
		return [32]byte{}, err
	}
	l.mu.Lock()
	if len(l.roots) >= maxRoots {
		clear(l.roots)
	}
	l.roots[size] = root
	l.mu.Unlock()
	return root, nil
}

func (l *Ledger) checkPrefix(ctx context.Context, size, cur uint64, root [sha256.Size]byte, cp Checkpoint) error {
	p, err := consistency(ctx, l.tree, size, cp.Size, cur)
	if err == nil {
		err = proof.VerifyConsistency(rfc6962.DefaultHasher, size, cp.Size, p, root[:], cp.Root[:])
	}
	if err != nil {
		return fmt.Errorf("ledger: stored tiles at size %d do not lead to the checkpoint of size %d: %w", size, cp.Size, err)
	}
	return nil
}

// Inclusion returns the RFC 9162 inclusion proof of the entry at index in the
// first size entries: sibling hashes of 32 bytes, leaf to root. It has been
// verified against the stored entry and Root(size).
func (l *Ledger) Inclusion(ctx context.Context, index, size uint64) ([][]byte, error) {
	if index >= size {
		return nil, fmt.Errorf("ledger: inclusion: index %d is not below size %d", index, size)
	}
	root, err := l.Root(ctx, size)
	if err != nil {
		return nil, err
	}
	entry, err := l.Entry(ctx, index)
	if err != nil {
		return nil, err
	}
	pb, err := client.NewProofBuilder(ctx, size, l.tree.fetch(l.size.Load()))
	if err != nil {
		return nil, fmt.Errorf("ledger: inclusion of %d in %d: %w", index, size, err)
	}
	p, err := pb.InclusionProof(ctx, index)
	if err != nil {
		return nil, fmt.Errorf("ledger: inclusion of %d in %d: %w", index, size, err)
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(entry[:])
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leaf, p, root[:]); err != nil {
		return nil, fmt.Errorf("ledger: inclusion of %d in %d: stored bytes give no valid proof: %w", index, size, err)
	}
	return p, nil
}

// Consistency returns the RFC 9162 consistency proof from the first entries to
// the second ones, verified against both roots. It is empty when the sizes are
// equal or first is 0.
func (l *Ledger) Consistency(ctx context.Context, first, second uint64) ([][]byte, error) {
	if first > second {
		return nil, fmt.Errorf("ledger: consistency: first %d is over second %d", first, second)
	}
	root1, err := l.Root(ctx, first)
	if err != nil {
		return nil, err
	}
	root2, err := l.Root(ctx, second)
	if err != nil {
		return nil, err
	}
	p, err := consistency(ctx, l.tree, first, second, l.size.Load())
	if err != nil {
		return nil, fmt.Errorf("ledger: consistency of %d with %d: %w", first, second, err)
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, first, second, p, root1[:], root2[:]); err != nil {
		return nil, fmt.Errorf("ledger: consistency of %d with %d: stored bytes give no valid proof: %w", first, second, err)
	}
	return p, nil
}

func consistency(ctx context.Context, t tree, first, second, cur uint64) ([][]byte, error) {
	pb, err := client.NewProofBuilder(ctx, second, t.fetch(cur))
	if err != nil {
		return nil, err
	}
	return pb.ConsistencyProof(ctx, first, second)
}

// Check recomputes the whole tree from every stored entry, about 0.5 µs an
// entry, and compares it with the newest checkpoint. Open does this only for the last
// 1,048,576 entries.
func (l *Ledger) Check(ctx context.Context) error {
	_, cp, err := l.published()
	if err != nil {
		return err
	}
	if err := l.tree.check(ctx, 0, cp.Size, cp.Root); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}
