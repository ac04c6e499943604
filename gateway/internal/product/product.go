// Package product is what a brand says of its goods: of each GTIN the name and the
// rule that judges its items, as statements that the brand's key signs, and a
// picture, which nobody signs.
//
// The newest statement of a GTIN is in force for items judged from then on. What
// is written here is durable, and several products together are written all or
// none; the ledger has them with its next checkpoint.
package product

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// A Product is the newest word on a GTIN.
type Product struct {
	GTIN      string
	Name      statement.Texts
	Brand     statement.Texts
	Rule      []statement.Criterion
	Statement statement.Hash
	Index     uint64 // of its row, in the order of all ledgers
	Received  int64  // when the gateway took it in, ms
}

// A Source has the signed statements, in ledger order.
type Source interface {
	KindFrom(ctx context.Context, kind statement.Kind, index uint64) ([]store.Statement, error)
}

// A Catalogue is the products of a Source. It reads what was added since it was
// asked last, and is safe for concurrent use.
type Catalogue struct {
	source Source

	mu     sync.Mutex          // guards what follows
	next   uint64              // statements before this index are read
	newest map[string]Product  // by GTIN
	all    map[string][]uint64 // indexes of every statement of a GTIN, ascending
}

// NewCatalogue makes a Catalogue.
func NewCatalogue(source Source) *Catalogue {
	return &Catalogue{source: source, newest: map[string]Product{}, all: map[string][]uint64{}}
}

// refresh reads what is new. c.mu is held.
func (c *Catalogue) refresh(ctx context.Context) error {
	rows, err := c.source.KindFrom(ctx, statement.KindProduct, c.next)
	if err != nil {
		return err
	}
	for _, row := range rows {
		s, err := statement.Parse(row.Data)
		if err != nil {
			return fmt.Errorf("stored statement %d: %w", row.Index, err)
		}
		p, err := s.Product()
		if err != nil {
			return fmt.Errorf("stored statement %d: %w", row.Index, err)
		}
		c.newest[p.GTIN] = Product{GTIN: p.GTIN, Name: p.Name, Brand: p.Brand, Rule: p.Rule, Statement: row.ID, Index: row.Index, Received: row.Received}
		c.all[p.GTIN] = append(c.all[p.GTIN], row.Index)
		c.next = row.Index + 1
	}
	return nil
}

// Find is the product of a GTIN of 14 digits, or store.ErrNotFound.
func (c *Catalogue) Find(ctx context.Context, gtin string) (Product, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refresh(ctx); err != nil {
		return Product{}, err
	}
	p, ok := c.newest[gtin]
	if !ok {
		return p, store.ErrNotFound
	}
	return p, nil
}

// Indexes are the rows of all statements of a GTIN, ascending.
func (c *Catalogue) Indexes(ctx context.Context, gtin string) ([]uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.refresh(ctx)
	return slices.Clone(c.all[gtin]), err
}

// List are up to limit products with a GTIN after one, by GTIN; 0: all.
func (c *Catalogue) List(ctx context.Context, after string, limit int) ([]Product, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refresh(ctx); err != nil {
		return nil, err
	}
	var out []Product
	for gtin, p := range c.newest {
		if gtin > after {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b Product) int { return cmp.Compare(a.GTIN, b.GTIN) })
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out, nil
}
