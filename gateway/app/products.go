package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"trailmark/gateway/internal/api"
	"trailmark/gateway/internal/enrol"
	"trailmark/gateway/internal/product"
	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// desk is where products are shown and taken over HTTP.
func (g *gateway) desk() (*product.Desk, error) {
	brand, err := enrol.ParseTexts(g.org.Brand)
	if err != nil {
		return nil, err
	}
	return &product.Desk{Catalogue: g.products, Store: g.store, Signer: g.keys, Gate: gate{g}, Brand: brand, Open: g.private}, nil
}

// aboutProduct is what the pages say of a GTIN.
func (g *gateway) aboutProduct(ctx context.Context, gtin string) (*api.Product, error) {
	p, err := g.products.Find(ctx, gtin)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	out := &api.Product{GTIN: gtin, Name: p.Name, Brand: p.Brand, Rule: p.Rule, Statement: p.Statement}
	// A picture elsewhere is not shown: pages load nothing from other hosts.
	if pic, err := g.store.Picture(ctx, gtin); err == nil && pic.URL == "" {
		out.Picture = "/api/products/" + gtin + "/picture"
	} else if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return out, nil
}

// ProductConfig is what `gateway product` needs.
type ProductConfig struct {
	Dir, GTIN, Name, Band string
	Allowed               time.Duration
	Rule                  string // named, instead of Band and Allowed; "": none
}

// Product signs a product and leaves it for the gateway to take in.
func Product(c ProductConfig, now func() time.Time, out io.Writer) error {
	org, err := loadOrganisation(c.Dir)
	if err != nil {
		return err
	}
	d := product.Draft{Band: c.Band, Allowed: c.Allowed, Rule: c.Rule}
	if c.Rule != "" {
		d.Band, d.Allowed = "", 0 // they have defaults
	}
	if d.GTIN, err = product.PadGTIN(c.GTIN); err != nil {
		return err
	}
	if d.Name, err = enrol.ParseTexts(c.Name); err != nil {
		return err
	}
	brand, err := enrol.ParseTexts(org.Brand)
	if err != nil {
		return err
	}
	p, err := d.Product(brand)
	if err != nil {
		return err
	}
	keys, err := enrol.LoadKeys(c.Dir, org, now)
	if err != nil {
		return err
	}
	s, err := keys.Product(p)
	if err != nil {
		return err
	}
	if err := toInbox(c.Dir, "product-"+d.GTIN+"-"+s.ID().String()[:8], s); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "product %s signed, statement %s\n", d.GTIN, s.ID())
	return err
}

// nothing is a Source without statements, for a folder whose gateway never ran.
type nothing struct{}

func (nothing) KindFrom(context.Context, statement.Kind, uint64) ([]store.Statement, error) {
	return nil, nil
}

// known are the products that a folder's gateway has taken in. done closes it.
func known(ctx context.Context, dir string) (c *product.Catalogue, done func() error, err error) {
	if _, err := os.Stat(filepath.Join(dir, ownDir, store.File)); errors.Is(err, fs.ErrNotExist) {
		return product.NewCatalogue(nothing{}), func() error { return nil }, nil
	}
	st, err := openStore(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	return product.NewCatalogue(st), st.Close, nil
}

// ImportProducts reads a table of products, says what becomes of each line, and
// with apply signs what is new or changed and leaves it for the gateway.
func ImportProducts(ctx context.Context, dir, file string, apply bool, now func() time.Time, out io.Writer) error {
	org, err := loadOrganisation(dir)
	if err != nil {
		return err
	}
	brand, err := enrol.ParseTexts(org.Brand)
	if err != nil {
		return err
	}
	data, err := readBounded(file, product.MaxFile)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	sheet, err := product.ReadTable(data)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	catalogue, done, err := known(ctx, dir)
	if err != nil {
		return err
	}
	steps, wrong, err := catalogue.Plan(ctx, sheet, brand)
	if err = errors.Join(err, done()); err != nil {
		return err
	}
	for _, h := range sheet.Hints {
		fmt.Fprintf(out, "hint: %s\n", h)
	}
	count := map[product.Fate]int{}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range steps {
		count[s.Fate]++
		fmt.Fprintf(t, "line %d\t%s\t%s\t%s\n", s.Line, s.Fate, s.Product.GTIN, s.Product.Name.In("zh-CN"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, w := range wrong {
		fmt.Fprintf(out, "%s: %v\n", filepath.Base(file), w)
	}
	fmt.Fprintf(out, "%d new, %d changed, %d the same, %d wrong\n", count[product.New], count[product.Changed], count[product.Same], len(wrong))
	switch {
	case len(wrong) > 0:
		return fmt.Errorf("%d of %d lines are wrong; nothing was imported", len(wrong), len(wrong)+len(steps))
	case !apply:
		_, err = fmt.Fprintln(out, "nothing is written yet: add --apply")
		return err
	case count[product.New]+count[product.Changed] == 0:
		return nil
	}
	keys, err := enrol.LoadKeys(dir, org, now)
	if err != nil {
		return err
	}
	signed, err := product.Sign(keys, steps)
	if err != nil {
		return err
	}
	if err := batchToInbox(dir, "products-"+signed[0].ID().String()[:12], signed); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d products signed; a running gateway takes all of them at once\n", len(signed))
	return err
}

// ExportProducts writes all products as a table that ImportProducts reads.
func ExportProducts(ctx context.Context, dir, file string, chinese bool, out io.Writer) error {
	if _, err := loadOrganisation(dir); err != nil {
		return err
	}
	catalogue, done, err := known(ctx, dir)
	if err != nil {
		return err
	}
	all, err := catalogue.List(ctx, "", 0)
	if err = errors.Join(err, done()); err != nil {
		return err
	}
	var table bytes.Buffer
	if err := product.WriteTable(&table, all, chinese); err != nil {
		return err
	}
	if file == "-" {
		_, err = out.Write(table.Bytes())
		return err
	}
	if err := enrol.WriteFile(file, table.Bytes(), 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d products in %s\n", len(all), file)
	return err
}
