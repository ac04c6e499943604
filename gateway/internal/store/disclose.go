package store

import (
	"context"
	"encoding/json"
)

// What composing a passport asks for beside single rows.

// Leaves are blocks [from, to) of a trace, in order.
func (s *Store) Leaves(ctx context.Context, traceID int64, from, to uint64) ([]Leaf, error) {
	return collect(ctx, s.db, scanLeaf, "SELECT "+leafColumns+" FROM leaf WHERE trace = $1 AND n >= $2 AND n < $3 ORDER BY n", traceID, from, to)
}

// FirstLeaf is the first block of a trace that ends after t ms, among those
// whose statement has an index below limit.
func (s *Store) FirstLeaf(ctx context.Context, traceID, t int64, limit uint64) (Leaf, error) {
	l, err := s.leafEndingAfter(ctx, traceID, t)
	if err == nil && l.Index >= limit { // so have all that follow
		err = ErrNotFound
	}
	return l, err
}

// AnchorIn is the anchor that is in a block of a chain.
func (s *Store) AnchorIn(ctx context.Context, chain string, height uint64) (Anchor, error) {
	return first(collect(ctx, s.db, scanAnchor, "SELECT "+anchorColumns+" FROM anchor WHERE chain = $1 AND height = $2 ORDER BY size LIMIT 1", chain, height))
}

// At are the statements at ledger indexes, in ledger order; those that are not
// there are left out.
func (s *Store) At(ctx context.Context, indexes []uint64) ([]Statement, error) {
	list, err := json.Marshal(indexes)
	if err != nil {
		return nil, err
	}
	return collect(ctx, s.db, scanStatement, "SELECT "+statementRead+" FROM statement WHERE idx IN (SELECT value FROM json_each($1)) ORDER BY idx", string(list))
}
