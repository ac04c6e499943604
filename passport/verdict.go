package passport

import (
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
type Verdict struct {
	Item        Item          `json:"item"`
	Outcome     Outcome       `json:"outcome"`
	Product     *ProductFacts `json:"product,omitempty"`
	Legs        []Leg         `json:"legs"`
	Broken      []Breach      `json:"broken"`
	Withheld    []Withheld    `json:"withheld"`
	Unmonitored int64         `json:"unmonitored_ms"` // between legs
	Unmeasured  int64         `json:"unmeasured_ms"`  // in legs, on the worst channel
	Undated     int           `json:"undated_sightings"`
	Unplaced    int           `json:"unplaced_sightings"`
	Conflicts   int           `json:"conflicting_sightings"`
	Statements  int           `json:"statements"`
	Origin      string        `json:"origin"`
	LedgerSize  uint64        `json:"ledger_size"`
	Anchors     []AnchorFacts `json:"anchors"`
	Devices     []DeviceFacts `json:"devices"`
	KeyStatus   int64         `json:"key_status_at,omitempty"` // of the newest key status shown, 0: none
}

// ProductFacts is what the brand says.
type ProductFacts struct {
	Name  statement.Texts       `json:"name"`
	Brand statement.Texts       `json:"brand"`
	Lot   string                `json:"lot,omitempty"`
	By    string                `json:"by"`
	Rule  []statement.Criterion `json:"rule"`
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
	Channels  []ChannelFacts  `json:"channels"`
}

// ChannelFacts is one channel over one leg, from the signed digest.
type ChannelFacts struct {
	Device     statement.Hash      `json:"device"`
	Channel    string              `json:"channel"`
	Unit       string              `json:"unit"`
	Closeness  statement.Closeness `json:"closeness"`
	Digest     trace.Digest        `json:"-"`
	Min        int64               `json:"min"` // thousandths
	Max        int64               `json:"max"`
	Mean       float64             `json:"mean"`            // thousandths
	MKT        *float64            `json:"mkt_c,omitempty"` // °C, ΔH 83.144 kJ/mol
	Limits     []LimitFacts        `json:"limits"`
	Blocks     uint64              `json:"blocks"`
	Unmeasured int64               `json:"unmeasured_ms"`
	Late       int64               `json:"lateness_ms"` // anchor's declared time after the head's frame
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

// AnchorFacts is a checkpoint's anchor, as the passport declares it.
type AnchorFacts struct {
	Chain      string `json:"chain"`
	Height     uint64 `json:"height"`
	Time       int64  `json:"time"`
	Size       uint64 `json:"size"`
	Pinned     bool   `json:"pinned"`     // the trust file names the chain
	Validators uint64 `json:"validators"` // as the trust file says
	Checked    bool   `json:"checked"`    // the block's commit was verified offline
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
