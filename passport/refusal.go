package passport

import "fmt"

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
	CodeAnchor      Code = "anchor"
	CodeRecord      Code = "record"
	CodeRange       Code = "range"
	CodeWindow      Code = "window"
	CodeConsistency Code = "consistency"
	CodeBlocks      Code = "blocks"
	CodeTrace       Code = "trace"
	CodePlan        Code = "plan"
	CodeItem        Code = "item"
	CodeExpired     Code = "expired"
	CodeRevoked     Code = "revoked"
	CodeEvent       Code = "event"
	CodeCosignature Code = "cosignature"
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
