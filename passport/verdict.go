package passport

import (
	"math"
	"math/bits"

	"trailmark/statement"
	"trailmark/trace"
)

// An Outcome is the verdict in one word. A passport that does not stand has no
// verdict but a Refusal.
type Outcome string

// Outcomes, from best to worst.
const (
	Kept       Outcome = "kept"       // proven within the brand's rule wherever the item was seen
	Beyond     Outcome = "beyond"     // proven beyond the rule
	Incomplete Outcome = "incomplete" // something that ought to be shown is withheld or was not measured
	Unjudged   Outcome = "unjudged"   // no rule by the brand, or no leg
)

// A Verdict is what a passport proves. Times are Unix ms by the devices' clocks.
// Its JSON has no fractions, so that verifiers can compare it exactly.
type Verdict struct {
	Item        Item            `json:"item"`
	Outcome     Outcome         `json:"outcome"`
	Product     *ProductFacts   `json:"product,omitempty"`
	Legs        []Leg           `json:"legs"`
	Broken      []Breach        `json:"broken"`
	Withheld    []Withheld      `json:"withheld"`
	Unmonitored int64           `json:"unmonitored_ms"` // between legs
	Unmeasured  int64           `json:"unmeasured_ms"`  // in legs, on the worst channel
	Undated     int             `json:"undated_sightings"`
	Unplaced    int             `json:"unplaced_sightings"`
	Conflicts   int             `json:"conflicting_sightings"`
	Statements  int             `json:"statements"`
	Ledgers     []LedgerFacts   `json:"ledgers"`
	Anchors     []AnchorFacts   `json:"anchors"`
	Devices     []DeviceFacts   `json:"devices"`
	Witnesses   *WitnessFacts   `json:"witnesses,omitempty"`  // nil: the trust file asks for none
	KeyStatus   *KeyStatusFacts `json:"key_status,omitempty"` // the newest shown

	// Of a passport of version 2.
	Journey        []EventFacts    `json:"journey,omitempty"` // by time
	Contradictions []Contradiction `json:"conflicts,omitempty"`
	Hidden         []HiddenFacts   `json:"withheld_events,omitempty"`
	Inputs         []InputsFacts   `json:"inputs,omitempty"`
	Custody        []CustodyFacts  `json:"custody,omitempty"` // by time
}

// ProductFacts is what the brand says.
type ProductFacts struct {
	Name  statement.Texts       `json:"name"`
	Brand statement.Texts       `json:"brand"`
	Lot   string                `json:"lot,omitempty"`
	By    string                `json:"by"`
	Rule  []statement.Criterion `json:"rule"`
}

// A Proof says how well a time is known.
type Proof string

// Levels of proof.
const (
	Proven   Proof = "proven"   // by a block whose chain evidence was checked
	Declared Proof = "declared" // by the passport's maker
	None     Proof = "none"
)

// A Bound is one end of a time bracket.
type Bound struct {
	Time  int64 `json:"time"` // ms, 0 for none
	Proof Proof `json:"proof"`
}

// Presence says how sure it is that the item was in the zone all along.
type Presence string

// Levels of presence.
const (
	Seen           Presence = "seen"             // never longer out of sight than the plan's re-read interval
	EnteredAndLeft Presence = "entered-and-left" // seen at both ends, out of sight between
	SeenOnce       Presence = "seen-once"
)

// A Leg is one stay in one zone.
type Leg struct {
	Zone      string          `json:"zone"`
	Name      statement.Texts `json:"name"`
	Site      statement.Texts `json:"site"`
	PlanBy    string          `json:"plan_by"`
	From      int64           `json:"from"`
	To        int64           `json:"to"`
	Presence  Presence        `json:"presence"`
	SeenFor   int64           `json:"seen_ms"`
	Sightings int             `json:"sightings"`
	Reads     uint64          `json:"reads"`
	NotBefore Bound           `json:"not_before"`         // when its first sighting was signed
	NotAfter  Bound           `json:"not_after"`          // when all of it was signed
	Carriers  []string        `json:"carriers,omitempty"` // whose tags were seen in the item's stead
	Channels  []ChannelFacts  `json:"channels"`
}

// ChannelFacts is one channel over one leg, from the signed digest.
type ChannelFacts struct {
	Device     statement.Hash      `json:"device"` // its first key that a plan in force lists
	Channel    string              `json:"channel"`
	Unit       string              `json:"unit"`
	Closeness  statement.Closeness `json:"closeness"`
	Digest     trace.Digest        `json:"-"`
	Min        int64               `json:"min"` // thousandths
	Max        int64               `json:"max"`
	Mean       int64               `json:"mean"`          // thousandths, rounded half away from zero
	MKT        *int64              `json:"mkt,omitempty"` // hundredths of °C, ΔH 83.144 kJ/mol
	Limits     []LimitFacts        `json:"limits"`
	Blocks     uint64              `json:"blocks"`
	Shown      uint64              `json:"shown_blocks"`  // whole, in an audit
	Erased     uint64              `json:"erased_blocks"` // by the site's signed word
	Unmeasured int64               `json:"unmeasured_ms"`
	Heads      []HeadFacts         `json:"heads"`                // by time
	HeadGap    int64               `json:"head_gap_ms"`          // longest time of the leg without a head
	Late       int64               `json:"lateness_ms"`          // the most of its heads
	LateProof  Proof               `json:"lateness"`             // the least of its heads
	Readings   []Reading           `json:"-"`                    // of the blocks that are shown whole
	Custodians []CustodianFacts    `json:"custodians,omitempty"` // by time
}

// HeadFacts is one signed head of a channel and the anchor that covers it.
type HeadFacts struct {
	At     int64  `json:"at"` // end of the frame
	Size   uint64 `json:"size"`
	Anchor Bound  `json:"anchor"`
}

// A Reading is one value of an audit passport.
type Reading struct {
	Time  int64 // ms
	Value int64 // thousandths
}

// LimitFacts is the time beyond one limit of the plan.
type LimitFacts struct {
	Limit   trace.Limit `json:"limit"`
	Total   int64       `json:"total_ms"`
	Longest int64       `json:"longest_ms"`
}

// A Breach is a criterion of the brand's rule that was broken.
type Breach struct {
	Criterion statement.Criterion `json:"criterion"`
	Leg       int                 `json:"leg"` // −1: over all legs
	Beyond    int64               `json:"beyond_ms"`
	Exact     bool                `json:"exact"` // false: the plan had no such limit, so only the extreme is known
}

// Withheld is what the plan promises and the passport does not show.
type Withheld struct {
	Leg     int            `json:"leg"`
	Device  statement.Hash `json:"device"`
	Channel string         `json:"channel"`
	From    int64          `json:"from"`
	To      int64          `json:"to"`
}

// LedgerFacts is a ledger that the statements are in.
type LedgerFacts struct {
	Origin string `json:"origin"`
	Size   uint64 `json:"size"`
}

// AnchorFacts is a checkpoint's anchor.
type AnchorFacts struct {
	Chain      string    `json:"chain"`
	Kind       ChainKind `json:"kind"`
	Height     uint64    `json:"height"`
	Time       int64     `json:"time"`
	Origin     string    `json:"origin"`
	Size       uint64    `json:"size"`
	Pinned     bool      `json:"pinned"`     // the trust file names the chain
	Validators uint64    `json:"validators"` // as the trust file says
	Checked    bool      `json:"checked"`    // by the chain's evidence, offline; else the passport's word
}

// WitnessFacts says who cosigned the ledgers' checkpoints, as the trust file asks.
type WitnessFacts struct {
	Quorum  uint64            `json:"quorum"`
	Devices bool              `json:"devices"` // the organisation's own devices count
	Ledgers []WitnessedLedger `json:"ledgers"`
}

// WitnessedLedger is a ledger's newest checkpoint and how far a quorum vouches for
// the ledger.
type WitnessedLedger struct {
	Origin   string        `json:"origin"`
	Size     uint64        `json:"size"`
	Reach    uint64        `json:"reach"`    // the largest size shown that a quorum cosigned, 0: none
	Cosigned []WitnessedBy `json:"cosigned"` // distinct witnesses of the newest, in the note's order
}

// WitnessedBy is one witness of a checkpoint.
type WitnessedBy struct {
	Name      string         `json:"name"`
	KeyID     statement.Hash `json:"key"`
	Time      int64          `json:"time"` // ms, as the witness says
	Device    bool           `json:"device"`
	Label     string         `json:"label"` // of a device: its name, or its subject
	Simulated bool           `json:"simulated"`
}

// DeviceFacts is who measured.
type DeviceFacts struct {
	KeyID     statement.Hash    `json:"key"`
	Issuer    string            `json:"issuer"`
	Name      string            `json:"name"`
	Simulated bool              `json:"simulated"`
	Clock     statement.Quality `json:"clock"` // the worst of its frames here
	MaxError  uint64            `json:"max_error_ms"`
}

// KeyStatusFacts is the authority's newest word on keys.
type KeyStatusFacts struct {
	At  int64 `json:"at"`
	Age int64 `json:"age_ms"` // at the time of verification
}

// mean is sum/covered in thousandths, halves away from zero, exactly.
func mean(d trace.Digest) int64 {
	n, c := uint64(d.Sum), uint64(d.Covered)
	if d.Sum < 0 {
		n = -n
	}
	q, r := bits.Div64(0, n, c)
	if r >= c-r {
		q++
	}
	if d.Sum < 0 {
		return -int64(q)
	}
	return int64(q)
}

// mkt is the mean kinetic temperature in hundredths of °C, nil where the integer
// weights do not resolve it.
func mkt(d trace.Digest) *int64 {
	if d.Kin == 0 {
		return nil
	}
	v := int64(math.Round(d.MeanKinetic() * 100))
	return &v
}
