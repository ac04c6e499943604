// Package passport is the evidence file of one item and its offline check.
//
// A passport holds signed statements with their ledger receipts, single records
// disclosed from device frames, and range proofs over the channels of every zone
// the item was seen in. Verify recomputes the verdict from these and a trust
// file, without network or clock; it trusts no key, rule, plan or chain because
// the passport contains it. docs/wire-format.md section 7 is normative.
package passport

import (
	"fmt"

	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

// MediaType of a passport file.
const MediaType = "application/vnd.trailmark.passport+cbor"

// MaxSize bounds a passport in bytes.
const MaxSize = 16 << 20

// A Passport is the decoded file; nothing in it is verified.
type Passport struct {
	Version     uint64       `cbor:"1,keyasint"`
	Item        Item         `cbor:"2,keyasint"`
	Checkpoints []Checkpoint `cbor:"3,keyasint"`
	Evidence    []Evidence   `cbor:"4,keyasint"`
	Trails      []Trail      `cbor:"5,keyasint"`
}

// An Item is named as in a GS1 Digital Link: /01/{GTIN}/21/{Serial}.
type Item struct {
	_      struct{} `cbor:",toarray"`
	GTIN   string   // 14 digits
	Serial string
}

// A Checkpoint is a ledger head, with what the gateway says of its anchor.
type Checkpoint struct {
	Note   []byte       `cbor:"1,keyasint"`
	Anchor *AnchorClaim `cbor:"2,keyasint,omitempty"`
}

// An AnchorClaim names the block that holds a checkpoint.
type AnchorClaim struct {
	_      struct{} `cbor:",toarray"`
	Chain  string
	Height uint64
	Block  statement.Hash
	Time   int64 // ms
}

// Evidence is a statement, its ledger receipt, and records shown from it.
type Evidence struct {
	Statement []byte                `cbor:"1,keyasint"`
	Receipt   *Receipt              `cbor:"2,keyasint,omitempty"`
	Records   []statement.Disclosed `cbor:"3,keyasint,omitempty"`
}

// A Receipt is a COSE Receipt at the size of one of the checkpoints.
type Receipt struct {
	_          struct{} `cbor:",toarray"`
	Checkpoint uint64
	Receipt    []byte
}

// A Trail is one channel's trace over the time the item was in a zone.
type Trail struct {
	Zone    string         `cbor:"1,keyasint"`
	Device  statement.Hash `cbor:"2,keyasint"`
	Channel string         `cbor:"3,keyasint"`
	Head    Ref            `cbor:"4,keyasint"`
	Start   []byte         `cbor:"5,keyasint"` // encoded trace.Start
	Range   trace.Range    `cbor:"6,keyasint"`
	Older   []Older        `cbor:"7,keyasint,omitempty"`
}

// A Ref names a disclosed record.
type Ref struct {
	_        struct{} `cbor:",toarray"`
	Evidence uint64
	Record   uint64
}

// Older is an earlier head of a trail's trace and its consistency proof.
type Older struct {
	_        struct{} `cbor:",toarray"`
	Evidence uint64
	Record   uint64
	Proof    []trace.Node
}

// Parse decodes a passport.
func Parse(data []byte) (*Passport, error) {
	var p Passport
	if err := dcbor.UnmarshalMax(data, &p, MaxSize); err != nil {
		return nil, err
	}
	switch {
	case p.Version != 1:
		return nil, fmt.Errorf("passport version %d, want 1", p.Version)
	case len(p.Item.GTIN) != 14 || len(p.Item.Serial) < 1 || len(p.Item.Serial) > 20:
		return nil, fmt.Errorf("item %q %q is not a gtin-14 and a serial", p.Item.GTIN, p.Item.Serial)
	case len(p.Checkpoints) < 1 || len(p.Checkpoints) > 16 || len(p.Evidence) < 1 || len(p.Evidence) > 4096 || len(p.Trails) > 256:
		return nil, fmt.Errorf("%d checkpoints, %d statements, %d trails are out of bounds", len(p.Checkpoints), len(p.Evidence), len(p.Trails))
	}
	return &p, nil
}

// Encode is the passport's file.
func (p *Passport) Encode() ([]byte, error) {
	p.Version = 1
	data, err := dcbor.Marshal(p)
	if err != nil {
		return nil, err
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("passport of %d bytes is over the limit of %d", len(data), MaxSize)
	}
	return data, nil
}

// Trust is what a verifier pins; it comes from elsewhere than the passport.
type Trust struct {
	Version     uint64                `cbor:"1,keyasint"`
	Authorities []statement.PublicKey `cbor:"2,keyasint"`
	Logs        []Log                 `cbor:"3,keyasint"`
	Audience    string                `cbor:"4,keyasint"`
	Chains      []Chain               `cbor:"5,keyasint"`
}

// A Log is a ledger's origin line and its key.
type Log struct {
	_      struct{} `cbor:",toarray"`
	Origin string
	Key    statement.PublicKey
}

// A Chain is a chain that anchors count on, with the keys of its validators.
type Chain struct {
	_          struct{} `cbor:",toarray"`
	ID         string
	Validators uint64
	Keys       [][32]byte
	Set        statement.Hash // hash of the validator set, zero: unknown
}

// ParseTrust decodes a trust file.
func ParseTrust(data []byte) (*Trust, error) {
	var t Trust
	if err := dcbor.Unmarshal(data, &t); err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	if t.Version != 1 || len(t.Authorities) < 1 || len(t.Authorities) > 16 || len(t.Logs) < 1 || len(t.Logs) > 64 || len(t.Chains) > 16 {
		return nil, fmt.Errorf("trust file of version %d with %d authorities, %d logs, %d chains is out of bounds",
			t.Version, len(t.Authorities), len(t.Logs), len(t.Chains))
	}
	return &t, nil
}

// Encode is the trust file.
func (t *Trust) Encode() ([]byte, error) {
	t.Version = 1
	return dcbor.Marshal(t)
}

// A Code says why a passport was refused; codes are stable and the same in every
// verifier.
type Code string

// Codes of refusals.
const (
	CodeMalformed   Code = "malformed"
	CodeUntrusted   Code = "untrusted-key"
	CodeSignature   Code = "signature"
	CodeReceipt     Code = "receipt"
	CodeCheckpoint  Code = "checkpoint"
	CodeRecord      Code = "record"
	CodeRange       Code = "range"
	CodeWindow      Code = "window"
	CodeConsistency Code = "consistency"
	CodeTrace       Code = "trace"
	CodePlan        Code = "plan"
	CodeItem        Code = "item"
	CodeExpired     Code = "expired"
	CodeRevoked     Code = "revoked"
)

// A Refusal is a passport that does not stand.
type Refusal struct {
	Code Code
	err  error
}

func (r *Refusal) Error() string { return string(r.Code) + ": " + r.err.Error() }

// Unwrap gives the cause.
func (r *Refusal) Unwrap() error { return r.err }

func refuse(code Code, format string, args ...any) error {
	return &Refusal{code, fmt.Errorf(format, args...)}
}
