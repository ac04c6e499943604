package store

import "context"

// What composing a passport asks for beside single rows.

// Leaves are blocks [from, to) of a trace, in order.
func (s *Store) Leaves(ctx context.Context, traceID int64, from, to uint64) ([]Leaf, error) {
	return collect(ctx, s.db, scanLeaf, "SELECT "+leafColumns+" FROM leaf WHERE trace = $1 AND n >= $2 AND n < $3 ORDER BY n", traceID, from, to)
}

// FirstLeaf is the first block of a trace that ends after t ms, among those
// whose statement has an index below limit.
func (s *Store) FirstLeaf(ctx context.Context, traceID, t int64, limit uint64) (Leaf, error) {
	return first(collect(ctx, s.db, scanLeaf, "SELECT "+leafColumns+" FROM leaf WHERE trace = $1 AND t1 > $2 AND idx < $3 ORDER BY t1 LIMIT 1", traceID, t, limit))
}

// AnchorIn is the anchor that is in a block of a chain.
func (s *Store) AnchorIn(ctx context.Context, chain string, height uint64) (Anchor, error) {
	return first(collect(ctx, s.db, scanAnchor, "SELECT "+anchorColumns+" FROM anchor WHERE chain = $1 AND height = $2 ORDER BY size LIMIT 1", chain, height))
}
