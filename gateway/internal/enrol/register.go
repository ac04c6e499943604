package enrol

import (
	"context"
	"sync"

	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// A register is what the store says of keys and of the plan in force, decoded
// once: a key takes a tenth of a millisecond to check, and a plan has an entry for
// each device of the site. Each question reads what was stored since the one
// before, so that whoever stores need not tell. It is safe for concurrent use.
// What it gives out is shared and not to be changed.
type register struct {
	store *store.Store

	mu                sync.Mutex                             // guards what follows
	statements        map[statement.Hash][]byte              // identities, by key
	heirs             map[statement.Hash]*statement.Identity // by the key that they replace
	sites             [][]byte                               // identities of sites, oldest first
	plan              *statement.Plan                        // in force, nil: none yet
	signed            *statement.Statement                   // the plan's
	message           []byte                                 // that tells a device of the plan; nil: not encoded yet
	identities, plans uint64                                 // ledger index from which on they were not read
}

func newRegister(st *store.Store) *register {
	return &register{store: st, statements: map[statement.Hash][]byte{}, heirs: map[statement.Hash]*statement.Identity{}}
}

// readIdentities takes in those that are new. The caller holds r.mu.
func (r *register) readIdentities(ctx context.Context) error {
	rows, err := r.store.KindFrom(ctx, statement.KindIdentity, r.identities)
	if err != nil {
		return err
	}
	for _, row := range rows {
		id, err := parseIdentity(row.Data)
		if err != nil {
			return err
		}
		kid := id.Key.ID()
		if _, known := r.statements[kid]; !known {
			r.statements[kid] = row.Data
		}
		if id.Replaces != nil && r.heirs[*id.Replaces] == nil {
			r.heirs[*id.Replaces] = id.Identity
		}
		if id.Role == statement.RoleSite {
			r.sites = append(r.sites, row.Data)
			r.message = nil // it carries them
		}
		r.identities = row.Index + 1
	}
	return nil
}

// readPlans takes in the newest, if it is new. The caller holds r.mu.
func (r *register) readPlans(ctx context.Context) error {
	rows, err := r.store.KindFrom(ctx, statement.KindPlan, r.plans)
	if err != nil || len(rows) == 0 {
		return err
	}
	newest := rows[len(rows)-1]
	plan, signed, err := parsePlan(newest.Data)
	if err != nil {
		return err
	}
	r.plan, r.signed, r.message, r.plans = plan, signed, nil, newest.Index+1
	return nil
}

// Heir is the identity that replaces a key, nil: none yet.
func (r *register) Heir(ctx context.Context, kid statement.Hash) (*statement.Identity, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.readIdentities(ctx)
	return r.heirs[kid], err
}

// Identities are the statements on a key, nil: none, and on all sites' keys.
func (r *register) Identities(ctx context.Context, kid statement.Hash) (own []byte, sites [][]byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	err = r.readIdentities(ctx)
	return r.statements[kid], r.sites[:len(r.sites):len(r.sites)], err
}

// Plan is the plan in force and its statement, or store.ErrNotFound.
func (r *register) Plan(ctx context.Context) (*statement.Plan, *statement.Statement, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.readPlans(ctx); err != nil {
		return nil, nil, err
	}
	if r.plan == nil {
		return nil, nil, store.ErrNotFound
	}
	return r.plan, r.signed, nil
}

// Message is the down message with the plan in force and the identities of sites,
// or store.ErrNotFound.
func (r *register) Message(ctx context.Context) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.readPlans(ctx); err != nil {
		return nil, err
	}
	if err := r.readIdentities(ctx); err != nil {
		return nil, err
	}
	if r.plan == nil {
		return nil, store.ErrNotFound
	}
	if r.message == nil {
		var err error
		if r.message, err = dcbor.Marshal(statement.PlanDown{Type: statement.DownPlan, Plan: r.signed.Bytes(), Identities: r.sites}); err != nil {
			return nil, err
		}
	}
	return r.message, nil
}
