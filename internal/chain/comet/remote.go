package comet

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"trailmark/internal/dcbor"
)

// ErrUnregistered is wrapped by the error of an origin that a member says is not
// registered.
var ErrUnregistered = errNone

// Remote reads a chain through a Client as one reads an embedded validator, each
// anchor proven. It is safe for concurrent use.
type Remote struct {
	*Client
	height atomic.Int64
}

// NewRemote reads through c.
func NewRemote(c *Client) *Remote { return &Remote{Client: c} }

const remoteWait = 30 * time.Second

// Height is the newest block that an anchor was proven by; 0 before the first.
func (r *Remote) Height() int64 { return r.height.Load() }

// Whole completes a proven anchor with its transaction.
func (r *Remote) Whole(ctx context.Context, p *Proof) (Anchor, error) {
	r.height.Store(p.answer.At)
	raw, err := r.Tx(ctx, p.Dated)
	return Anchor{p.Origin, p.Size, p.Root, p.Height, p.Time, p.Block, raw}, err
}

// Head returns the newest anchor of origin.
func (r *Remote) Head(origin string) (Anchor, bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), remoteWait)
	defer cancel()
	p, err := r.Client.Head(ctx, origin)
	if err != nil || !p.Found {
		return Anchor{}, false, err
	}
	a, err := r.Whole(ctx, p)
	return a, err == nil, err
}

// Anchors returns up to limit anchors of origin, oldest first, from the first one
// with at least size entries, as far as the member names them.
func (r *Remote) Anchors(origin string, size uint64, limit int) (out []Anchor, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(max(limit, 1))*remoteWait)
	defer cancel()
	req, err := dcbor.Marshal(&proofRequest{Origin: origin, Size: size})
	if err != nil {
		return nil, err
	}
	b, err := r.query(ctx, querySizes, req)
	if err != nil {
		return nil, err
	}
	var sizes []uint64
	if err := dcbor.UnmarshalMax(b, &sizes, maxAnswer); err != nil {
		return nil, fmt.Errorf("sizes of chain %s: %w", r.chain, err)
	}
	for _, n := range sizes[:min(len(sizes), max(limit, 0))] {
		p, err := r.exactly(ctx, origin, n)
		if err != nil {
			return nil, err
		}
		a, err := r.Whole(ctx, p)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// Evidence proves the anchor of exactly size as passports carry it.
func (r *Remote) Evidence(ctx context.Context, origin string, size uint64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, remoteWait)
	defer cancel()
	p, err := r.exactly(ctx, origin, size)
	if err != nil {
		return nil, err
	}
	return p.Light()
}

// exactly is Prove for an anchor that is there, also while blocks are made.
func (r *Remote) exactly(ctx context.Context, origin string, size uint64) (*Proof, error) {
	for {
		p, err := r.Prove(ctx, origin, size)
		if err == nil || !errors.Is(err, errLater) {
			return p, err
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return nil, err
		}
	}
}
