package enrol

import (
	"context"
	"errors"
	"fmt"

	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// A Device is one key of a device, as the ledger has it.
type Device struct {
	*statement.Identity
	Zones   []string           // ids of those that it serves by the newest plan
	Head    *store.Head        // its newest frame, nil: none
	Revoked *statement.Revoked // nil: it is not
	Heir    *statement.Hash    // the key that replaced it, nil: none
}

// Devices are the keys of all devices, oldest first.
func Devices(ctx context.Context, st *store.Store) ([]Device, error) {
	ids, err := identities(ctx, st)
	if err != nil {
		return nil, err
	}
	plan, _, err := newestPlan(ctx, st)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	status, err := newestStatus(ctx, st)
	if err != nil {
		return nil, err
	}
	heads, err := st.Heads(ctx)
	if err != nil {
		return nil, err
	}
	newest := map[statement.Hash]*store.Head{}
	for i := range heads {
		newest[heads[i].KeyID] = &heads[i]
	}
	revoked := map[statement.Hash]*statement.Revoked{}
	if status != nil {
		for i := range status.Revoked {
			revoked[status.Revoked[i].KeyID] = &status.Revoked[i]
		}
	}
	var out []Device
	at := map[statement.Hash]int{}
	for _, id := range ids {
		if id.Role != statement.RoleDevice {
			continue
		}
		kid := id.Key.ID()
		d := Device{Identity: id.Identity, Head: newest[kid], Revoked: revoked[kid]}
		if plan != nil {
			for _, z := range plan.Zones {
				if serves(z, kid) {
					d.Zones = append(d.Zones, z.ID)
				}
			}
		}
		if id.Replaces != nil {
			if i, ok := at[*id.Replaces]; ok {
				out[i].Heir = &kid
			}
		}
		at[kid] = len(out)
		out = append(out, d)
	}
	return out, nil
}

// deviceKey is the identity of a device's key.
func deviceKey(ctx context.Context, st *store.Store, kid statement.Hash) (*statement.Identity, error) {
	ids, err := identities(ctx, st)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if id.Key.ID() == kid && id.Role == statement.RoleDevice {
			return id.Identity, nil
		}
	}
	return nil, fmt.Errorf("key %.8s… is no device's here\nhint: gateway devices lists them", kid)
}
