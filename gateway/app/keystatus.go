package app

import (
	"context"
	"errors"
	"time"
)

// keyStatus keeps the newest key status current: daily, and soon after a key
// joins. A passport says how old it is.
func (g *gateway) keyStatus(ctx context.Context) error {
	for {
		b := g.shelf.Current()
		size, err := b.Ledger.Size(ctx)
		if err == nil {
			_, err = g.office.KeyStatus(ctx, b.Origin(), size)
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			g.log.ErrorContext(ctx, "no key status was signed", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Minute):
		}
	}
}
