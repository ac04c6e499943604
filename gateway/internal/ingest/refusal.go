package ingest

import (
	"errors"
	"fmt"
	"sync"
)

// A Reason says why a message was refused; it is what the counters count.
type Reason string

// Reasons.
const (
	TooLarge     Reason = "too-large"
	Malformed    Reason = "malformed"     // not the deterministic encoding, unknown keys, trailing bytes, out of bounds
	WrongTopic   Reason = "wrong-topic"   // sent on another device's topic
	Unknown      Reason = "unknown-key"   // no identity from the authority, or without the role
	BadSignature Reason = "bad-signature" // includes a wrong audience
	Revoked      Reason = "revoked"       // at or after the seq from which the authority revoked the key
	BadRecords   Reason = "bad-records"   // records do not give the signed root, or break the frame's order
	WrongEpoch   Reason = "wrong-epoch"
	WrongPrev    Reason = "wrong-prev"
	Fork         Reason = "fork"          // a second statement for one seq; kept as evidence
	Lost         Reason = "declared-lost" // the device has declared this seq lost; nothing to compare it with
	BadTrace     Reason = "bad-trace"
	UnknownPlan  Reason = "unknown-plan"
	Overflow     Reason = "too-many-waiting"
)

// Reasons are all of them.
func Reasons() []Reason {
	return []Reason{TooLarge, Malformed, WrongTopic, Unknown, BadSignature, Revoked, BadRecords, WrongEpoch, WrongPrev, Fork, Lost, BadTrace, UnknownPlan, Overflow}
}

// A Refusal is a message that had no effect.
type Refusal struct {
	Reason Reason
	err    error
}

func (r *Refusal) Error() string { return fmt.Sprintf("refused (%s): %v", r.Reason, r.err) }

// Unwrap gives the cause.
func (r *Refusal) Unwrap() error { return r.err }

func refuse(reason Reason, err error) error { return &Refusal{reason, err} }

func refusef(reason Reason, format string, args ...any) error {
	return &Refusal{reason, fmt.Errorf(format, args...)}
}

// Counters counts what came of messages. It is safe for concurrent use.
type Counters struct {
	mu sync.Mutex
	m  map[string]uint64 // guarded by mu
}

func (c *Counters) add(what string) { c.count(what, 1) }

func (c *Counters) count(what string, n uint64) {
	if n == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = map[string]uint64{}
	}
	c.m[what] += n
}

// Snapshot is a copy: "accepted", of these "late", "repeated", "waiting", and each
// Reason.
func (c *Counters) Snapshot() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]uint64, len(c.m))
	for k, v := range c.m {
		out[k] = v
	}
	return out
}

func (c *Counters) refused(err error) {
	var r *Refusal
	if errors.As(err, &r) {
		c.add(string(r.Reason))
	}
}
