package product

import (
	"context"
	"errors"
	"fmt"

	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// A Signer signs products with the brand's key.
type Signer interface {
	Product(p statement.Product) (*statement.Statement, error)
}

// A Gate takes statements: all or none, durable when Add returns nil.
type Gate interface {
	Add(ctx context.Context, statements ...*statement.Statement) error
}

// Fate is what becomes of a line of a table.
type Fate string

// Fates.
const (
	New     Fate = "new"
	Changed Fate = "changed"
	Same    Fate = "same"
)

// A Step is one product of a plan to import.
type Step struct {
	Line    int
	Fate    Fate
	Product statement.Product
}

// Plan says what importing a sheet would do. It fails if a line of the sheet is
// wrong: nothing is half-imported.
func (c *Catalogue) Plan(ctx context.Context, sheet *Sheet, brand statement.Texts) (steps []Step, wrong []*RowError, err error) {
	wrong = append(wrong, sheet.Errors...)
	for _, row := range sheet.Rows {
		now, err := c.Find(ctx, row.Draft.GTIN)
		known := err == nil
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, nil, err
		}
		d := row.Draft
		if row.Keep {
			if !known {
				wrong = append(wrong, &RowError{row.Line, "", fmt.Sprintf("%s has no rule to keep\nhint: give a band or a rule", d.GTIN)})
				continue
			}
			d.Rule = "who-1"
		}
		p, err := d.Product(brand)
		if err != nil {
			wrong = append(wrong, &RowError{row.Line, "", err.Error()})
			continue
		}
		if row.Keep {
			p.Rule = now.Rule
		}
		step := Step{row.Line, New, p}
		switch {
		case known && now.Same(p):
			step.Fate = Same
		case known:
			step.Fate = Changed
		}
		steps = append(steps, step)
	}
	return steps, wrong, nil
}

// Sign signs what is new or changed.
func Sign(signer Signer, steps []Step) ([]*statement.Statement, error) {
	var out []*statement.Statement
	for _, step := range steps {
		if step.Fate == Same {
			continue
		}
		s, err := signer.Product(step.Product)
		if err != nil {
			return nil, fmt.Errorf("product %s: %w", step.Product.GTIN, err)
		}
		out = append(out, s)
	}
	return out, nil
}
