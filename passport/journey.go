package passport

import (
	"cmp"
	"fmt"
	"slices"

	"trailmark/statement"
)

// Bounds of what version 2 adds.
const (
	maxMembers = 1024
	maxInputs  = 16
	maxMoments = 64
	maxPath    = 64
	maxDepth   = 3 // of passports within passports
)

// A Member shows one object of an event's salted list, and nothing of the others.
type Member struct {
	_        struct{} `cbor:",toarray"`
	Evidence uint64   // which of the passport's statements, an event
	List     statement.ItemList
	Index    uint64
	Leaf     []byte           // encoded statement.Item
	Path     []statement.Hash // RFC 9162 inclusion proof
}

// A MomentRef names a moment of a change of custody.
type MomentRef struct {
	_        struct{} `cbor:",toarray"`
	Evidence uint64   // which of the passport's statements
	Moment   uint64   // which of its moments
}

func (m Member) compare(o Member) int {
	return cmp.Or(cmp.Compare(m.Evidence, o.Evidence), cmp.Compare(m.List, o.List), cmp.Compare(m.Index, o.Index))
}

// needs is the least version that has all of the passport's members.
func (p *Passport) needs() uint64 {
	if p.Members != nil || p.Inputs != nil || slices.ContainsFunc(p.Trails, func(t Trail) bool { return t.Moments != nil }) {
		return 2
	}
	return 1
}

// checkJourney refuses what is out of bounds in the lists of version 2.
func (p *Passport) checkJourney() error {
	if len(p.Members) > maxMembers || p.Members != nil && len(p.Members) == 0 || len(p.Inputs) > maxInputs || p.Inputs != nil && len(p.Inputs) == 0 {
		return fmt.Errorf("%d members, %d inputs are out of bounds", len(p.Members), len(p.Inputs))
	}
	for i, m := range p.Members {
		if m.List != statement.ListItems && m.List != statement.ListInputs || len(m.Path) > maxPath {
			return fmt.Errorf("member %d of list %d with a path of %d is out of bounds", i, m.List, len(m.Path))
		}
	}
	return nil
}

// EventFacts is one event of the item, or of what carried it at that time. Its
// time and place are the signer's word.
type EventFacts struct {
	Action statement.Action `json:"action"`
	At     int64            `json:"at"`
	Place  string           `json:"place,omitempty"`
	Step   string           `json:"step,omitempty"`
	By     string           `json:"by"`
	ByName string           `json:"by_name,omitempty"`
	Object string           `json:"object,omitempty"` // the carrier it is about; none: the item
	Parent string           `json:"parent,omitempty"` // what it packed into or unpacked from
	Input  bool             `json:"input,omitempty"`  // the item went into something else
	Anchor Bound            `json:"anchor"`           // when it was on record
}

// A ContradictionKind says what does not go together.
type ContradictionKind string

// Kinds of contradictions.
const (
	InTwoZones   ContradictionKind = "zones"   // seen in two zones at once
	AnotherTag   ContradictionKind = "tid"     // another tag carries the item's number
	TimeBackward ContradictionKind = "time"    // an event is older than the one before it
	Packing      ContradictionKind = "packing" // packed while packed, or unpacked from where it was not
	WrongGiver   ContradictionKind = "custody" // handed over by somebody who had it not
)

// A Contradiction is shown and never resolved.
type Contradiction struct {
	Kind   ContradictionKind `json:"kind"`
	At     int64             `json:"at"`
	Object string            `json:"object,omitempty"` // a carrier; none: the item
}

// HiddenFacts says that events of the item or of a carrier are not shown, right
// before one that is.
type HiddenFacts struct {
	Object string `json:"object,omitempty"` // a carrier; none: the item
	Before int64  `json:"before"`
}

// InputsFacts is what went into the item in one transformation.
type InputsFacts struct {
	At    int64        `json:"at"`
	By    string       `json:"by"`
	Total uint64       `json:"total"`
	Shown []InputFacts `json:"shown"`
}

// InputFacts is one input, with the verdict on its own passport.
type InputFacts struct {
	Object  string   `json:"object"`
	Verdict *Verdict `json:"verdict,omitempty"` // none: its passport is not shown
}

// CustodyFacts is one change of custody.
type CustodyFacts struct {
	At         int64  `json:"at"`
	From       string `json:"from"`
	FromName   string `json:"from_name,omitempty"`
	To         string `json:"to"`
	ToName     string `json:"to_name,omitempty"`
	Place      string `json:"place,omitempty"`
	Object     string `json:"object,omitempty"` // handed over with this carrier; none: by itself
	Accepted   bool   `json:"accepted"`         // by the taker's signature; else the giver's word
	AcceptedAt int64  `json:"accepted_at,omitempty"`
	Anchor     Bound  `json:"anchor"` // when the giver's word was on record
}

// CustodianFacts is the part of a channel's digest that one custodian answers for.
type CustodianFacts struct {
	By      string       `json:"by,omitempty"` // none: custody changed in it at a time that no signed head marks
	ByName  string       `json:"by_name,omitempty"`
	From    int64        `json:"from"`
	To      int64        `json:"to"`
	Covered int64        `json:"covered_ms"`
	Limits  []LimitFacts `json:"limits"`
}
