package statement

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"trailmark/internal/dcbor"
)

// MaxReceipts bounds the receipts attached to a statement.
const MaxReceipts = 16

// attached is the unprotected header of a transparent statement (RFC 9942).
type attached struct {
	Receipts [][]byte `cbor:"394,keyasint"`
}

// AttachReceipts makes a transparent statement: the statement with COSE Receipts
// in its unprotected header. Nothing is verified.
func AttachReceipts(statement []byte, receipts ...[]byte) ([]byte, error) {
	if _, err := Parse(statement); err != nil {
		return nil, err
	}
	if len(receipts) < 1 || len(receipts) > MaxReceipts {
		return nil, fmt.Errorf("%d receipts, want 1..%d", len(receipts), MaxReceipts)
	}
	var e envelope
	if err := dcbor.Unmarshal(statement[1:], &e); err != nil {
		return nil, err
	}
	e.Unprotected = dcbor.MustMarshal(attached{receipts})
	return append([]byte{signTag}, dcbor.MustMarshal(e)...), nil
}

// DetachReceipts splits a transparent statement into the statement that was
// signed and recorded, and its receipts, which Receipt.Verify checks.
func DetachReceipts(data []byte) (*Statement, []*Receipt, error) {
	if len(data) == 0 || data[0] != signTag {
		return nil, nil, errors.New("not a tagged COSE_Sign1")
	}
	var e envelope
	if err := dcbor.Unmarshal(data[1:], &e); err != nil {
		return nil, nil, fmt.Errorf("transparent statement: %w", err)
	}
	var a attached
	if err := dcbor.Unmarshal(e.Unprotected, &a); err != nil {
		return nil, nil, fmt.Errorf("transparent statement: %w", err)
	}
	if len(a.Receipts) < 1 || len(a.Receipts) > MaxReceipts {
		return nil, nil, fmt.Errorf("%d receipts, want 1..%d", len(a.Receipts), MaxReceipts)
	}
	e.Unprotected = cbor.RawMessage{0xa0}
	s, err := Parse(append([]byte{signTag}, dcbor.MustMarshal(e)...))
	if err != nil {
		return nil, nil, err
	}
	var receipts []*Receipt
	for i, raw := range a.Receipts {
		r, err := ParseReceipt(raw)
		if err != nil {
			return nil, nil, fmt.Errorf("receipt %d: %w", i, err)
		}
		receipts = append(receipts, r)
	}
	return s, receipts, nil
}
