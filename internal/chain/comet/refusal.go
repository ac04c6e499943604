package comet

import "fmt"

// A Code says which rule refused a transaction. Codes are part of the chain's
// results and are never renumbered.
type Code uint32

const (
	CodeOK         Code = iota
	CodeMalformed       // not a transaction
	CodeTooLarge        // over MaxTx
	CodeSignature       // not signed by its key for this chain
	CodeAdmin           // a registration not signed by the administrator
	CodeRevision        // a registration out of turn
	CodeLogKey          // a registration that shares no log key with the one before
	CodeOrigin          // an origin that is not registered
	CodeSubmitter       // a key that may not anchor this origin
	CodeCheckpoint      // a checkpoint without the ledger's signature
	CodeBehind          // a size smaller than the head's
	CodeFork            // a size that was anchored with another root
	CodeAlready         // in force already; nothing to do
	CodeFull            // no room for another origin, validator or proposal
	CodeVoter           // not by a validator, or of a set that must not be
	CodeExpired         // a proposal that is not open
	CodeVersion         // a rule of a later version of the chain
)

// A Refusal is the error of a transaction that the chain's rules do not allow.
// Trying the same again is useless.
type Refusal struct {
	Code Code
	Text string // for people; not part of the chain's results
}

func (r *Refusal) Error() string { return r.Text }

func refuse(c Code, format string, args ...any) *Refusal {
	return &Refusal{c, fmt.Sprintf(format, args...)}
}
