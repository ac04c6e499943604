package comet

import (
	"errors"

	"trailmark/internal/dcbor"
)

// Note is the signed checkpoint that an anchor transaction carries.
func Note(tx []byte) ([]byte, error) {
	var e txEnvelope
	if err := dcbor.UnmarshalMax(tx, &e, MaxTx); err != nil {
		return nil, err
	}
	if e.Version != txVersion || e.Kind != kindAnchor {
		return nil, errors.New("not an anchor transaction")
	}
	return e.Body, nil
}
