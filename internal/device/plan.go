package device

import (
	"fmt"

	"trailmark/statement"
)

// A Plan is a plan that its site signed, in the words of the pinned authority.
type Plan struct {
	*statement.Plan
	ID statement.Hash
}

// OpenPlan verifies a plan statement through the identities that came with it:
// only those by the authority count, and the signer must have the role of a site.
func OpenPlan(audience string, authority statement.Key, plan []byte, identities [][]byte) (*Plan, error) {
	ring := statement.NewKeyring(audience, authority)
	for _, data := range identities {
		s, err := statement.Parse(data)
		if err == nil {
			_, err = ring.Add(s)
		}
		if err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
	}
	s, err := statement.Parse(plan)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p, err := s.Plan()
	if err != nil {
		return nil, err
	}
	if _, err := ring.Verify(s); err != nil {
		return nil, err
	}
	return &Plan{p, s.ID()}, nil
}

// Entry is the plan's entry for a channel of a device, nil if it has none.
func (p *Plan) Entry(device statement.Hash, channel string) *statement.Channel {
	if p == nil {
		return nil
	}
	if _, c, ok := p.Plan.Channel(device, channel); ok {
		return &c
	}
	return nil
}
