package enrol

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// statusEvery is how old a key status may be before a new one is due.
const statusEvery = 24 * time.Hour

// KeyStatus adds a key status to the ledger, which is named origin and has size
// entries now, if the newest
// one is a day old or other keys are in force by now. It reports whether it did.
// Without the authority's key on this machine it does nothing: whoever keeps it
// signs the status.
func (o *Office) KeyStatus(ctx context.Context, origin string, size uint64) (bool, error) {
	if o.keys.Authority == nil {
		return false, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	last, err := newestStatus(ctx, o.store)
	if err != nil {
		return false, err
	}
	now := o.keys.now()
	next := statement.KeyStatus{Origin: origin, Size: size, At: now.UnixMilli()}
	if last != nil {
		next.Revoked = last.Revoked // a revocation is for ever
	}
	if next.InForce, err = inForce(ctx, o.store, next.At, next.Revoked); err != nil {
		return false, err
	}
	if last != nil && slices.Equal(last.InForce, next.InForce) && now.Sub(time.UnixMilli(last.At)) < statusEvery {
		return false, nil
	}
	s, err := o.keys.KeyStatus(next)
	if err != nil {
		return false, err
	}
	return true, o.gate.Add(ctx, s)
}

// Revoke signs a key status by which a device's key is void from a seq on, and
// else as the newest one says: that of waiting, key statuses on their way into the
// ledger, or of the store. A second revocation of a key must void more.
func (k *Keys) Revoke(ctx context.Context, st *store.Store, waiting []*statement.KeyStatus, kid statement.Hash, seq uint64) (*statement.Statement, error) {
	id, err := deviceKey(ctx, st, kid)
	if err != nil {
		return nil, err
	}
	last, err := newestStatus(ctx, st)
	if err != nil {
		return nil, err
	}
	for _, w := range waiting {
		if last == nil || w.At > last.At {
			last = w
		}
	}
	next := statement.KeyStatus{At: k.now().UnixMilli()}
	if last != nil {
		next.At = max(next.At, last.At+1)
		next.Revoked = slices.Clone(last.Revoked)
	}
	if at := slices.IndexFunc(next.Revoked, func(r statement.Revoked) bool { return r.KeyID == kid }); at < 0 {
		next.Revoked = append(next.Revoked, statement.Revoked{KeyID: kid, Epoch: id.Epoch, Seq: seq})
	} else if had := &next.Revoked[at]; had.Seq > seq {
		had.Seq = seq
	} else {
		return nil, fmt.Errorf("key %.8s… is revoked from seq %d on already\nhint: to void earlier frames too, give a lower --from-seq", kid, had.Seq)
	}
	if next.Size, err = st.Count(ctx); err != nil {
		return nil, err
	}
	shards, err := st.Shards(ctx)
	if err != nil {
		return nil, err
	}
	if n := len(shards); n > 0 {
		next.Origin, next.Size = shards[n-1].Origin, next.Size-shards[n-1].First
	}
	if next.InForce, err = inForce(ctx, st, next.At, next.Revoked); err != nil {
		return nil, err
	}
	return k.KeyStatus(next)
}

// newestStatus is the newest key status in the store, nil: none.
func newestStatus(ctx context.Context, st *store.Store) (*statement.KeyStatus, error) {
	rows, err := st.Kind(ctx, statement.KindKeyStatus)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	s, err := statement.Parse(rows[len(rows)-1].Data)
	if err != nil {
		return nil, err
	}
	return s.KeyStatus()
}

// inForce are the keys with an identity that is valid at a time in ms and that
// are not revoked, ascending.
func inForce(ctx context.Context, st *store.Store, at int64, revoked []statement.Revoked) (out []statement.Hash, err error) {
	ids, err := identities(ctx, st)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		kid := id.Key.ID()
		if id.From <= at && at <= id.To && !slices.ContainsFunc(revoked, func(r statement.Revoked) bool { return r.KeyID == kid }) {
			out = append(out, kid)
		}
	}
	slices.SortFunc(out, func(a, b statement.Hash) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(out), nil
}
