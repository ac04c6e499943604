package enrol

import (
	"bytes"
	"context"
	"slices"
	"time"

	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// statusEvery is how old a key status may be before a new one is due.
const statusEvery = 24 * time.Hour

// KeyStatus adds a key status to the ledger, of size entries now, if the newest
// one is a day old or other keys are in force by now. It reports whether it did.
// Without the authority's key on this machine it does nothing: whoever keeps it
// signs the status.
func (o *Office) KeyStatus(ctx context.Context, size uint64) (bool, error) {
	if o.keys.Authority == nil {
		return false, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	rows, err := o.store.Kind(ctx, statement.KindKeyStatus)
	if err != nil {
		return false, err
	}
	var last *statement.KeyStatus
	if len(rows) > 0 {
		s, err := statement.Parse(rows[len(rows)-1].Data)
		if err != nil {
			return false, err
		}
		if last, err = s.KeyStatus(); err != nil {
			return false, err
		}
	}
	now := o.keys.now()
	next := statement.KeyStatus{Version: 1, Origin: o.org.Origin, Size: size, At: now.UnixMilli()}
	if last != nil {
		next.Revoked = last.Revoked // a revocation is for ever
	}
	if next.InForce, err = o.inForce(ctx, next.At, next.Revoked); err != nil {
		return false, err
	}
	if last != nil && slices.Equal(last.InForce, next.InForce) && now.Sub(time.UnixMilli(last.At)) < statusEvery {
		return false, nil
	}
	if err := next.Check(); err != nil {
		return false, err
	}
	s, err := o.keys.Authority.Sign(statement.Header{Issuer: authorityIssuer + o.org.Tenant, Subject: "keystatus",
		Audience: o.org.Audience(), Kind: statement.KindKeyStatus}, dcbor.MustMarshal(&next))
	if err != nil {
		return false, err
	}
	return true, o.gate.Add(ctx, s)
}

// inForce are the keys with an identity that is valid at a time in ms and that
// are not revoked, ascending.
func (o *Office) inForce(ctx context.Context, at int64, revoked []statement.Revoked) (out []statement.Hash, err error) {
	rows, err := o.store.Kind(ctx, statement.KindIdentity)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		s, err := statement.Parse(row.Data)
		if err != nil {
			return nil, err
		}
		id, err := s.Identity()
		if err != nil {
			return nil, err
		}
		kid := id.Key.ID()
		if id.From <= at && at <= id.To && !slices.ContainsFunc(revoked, func(r statement.Revoked) bool { return r.KeyID == kid }) {
			out = append(out, kid)
		}
	}
	slices.SortFunc(out, func(a, b statement.Hash) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(out), nil
}
