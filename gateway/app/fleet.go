package app

import (
	"context"
	"errors"

	"trailmark/gateway/internal/ledger"
	"trailmark/gateway/internal/store"
	"trailmark/gateway/internal/witness"
	"trailmark/statement"
)

// fleet is the devices as witnesses; it is a witness.Fleet.
type fleet struct{ g *gateway }

// Present are the connected devices with the zone that the plan gives them.
func (f fleet) Present(ctx context.Context) ([]witness.Device, error) {
	connected, err := f.g.broker.Connected()
	if err != nil {
		return nil, err
	}
	plan, err := f.g.office.Plan(ctx)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	zones := map[statement.Hash]string{}
	if plan != nil {
		for _, z := range plan.Zones {
			for _, ch := range z.Channels {
				zones[ch.Device] = z.ID
			}
			for _, a := range z.Antennas {
				zones[a.Device] = z.ID
			}
		}
	}
	var out []witness.Device
	for kid := range connected {
		if key, ok := f.Counts(kid); ok {
			out = append(out, witness.Device{Key: key, Place: zones[kid]})
		}
	}
	return out, nil
}

// Counts: a device's Ed25519 key that was not revoked.
func (f fleet) Counts(kid statement.Hash) (statement.Key, bool) {
	id, known := f.g.ingest.Identity(kid)
	if !known || id.Role != statement.RoleDevice || !id.Key.Cosigns() {
		return statement.Key{}, false
	}
	_, revoked := f.g.ingest.Revoked(kid)
	return id.Key.Key, !revoked
}

func (f fleet) Ask(ctx context.Context, origin string, note []byte, size uint64, kids []statement.Hash, cosigned map[statement.Hash]uint64) ([]statement.Hash, error) {
	return f.g.seq.Cosign(ctx, origin, note, size, kids, cosigned)
}

// cosignatures are the lines that are served with a checkpoint.
func (g *gateway) cosignatures(ctx context.Context, cp ledger.Checkpoint) ([]byte, error) {
	return g.witnesses.Lines(ctx, cp.Origin, cp.Size, cp.Root)
}

// cosigned takes a device's answer. One that is refused is lost: the next
// checkpoint is asked for anew.
func (g *gateway) cosigned(ctx context.Context, kid statement.Hash, message []byte) error {
	err := g.witnesses.Take(ctx, kid, message)
	if errors.Is(err, witness.ErrRefused) {
		g.log.Warn("message refused", "device", kid.String()[:16], "err", err)
		return nil
	}
	return err
}
