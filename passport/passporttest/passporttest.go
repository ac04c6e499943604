// Package passporttest makes small real passports for tests: two legs, two
// devices, three channels, signed and proven by the public packages alone.
//
// Everything is made from fixed keys, seeds and times, so that equal Options
// give equal bytes. What a test wants wrong is wrong from the start and then
// honestly signed and recorded, as by a dishonest signer or gateway; what only
// needs the file changed is changed by the test itself.
package passporttest

import (
	"testing"
	"time"

	"trailmark/passport"
	"trailmark/statement"
	"trailmark/trace"
)

// The item, and the audience of every statement.
const (
	GTIN     = "09521234543213"
	Serial   = "1001"
	Audience = "acme/staging"
	Chain    = "trailmark-test-1"
)

// Zones and channels of the two legs.
const (
	Store    = "cold-1"
	Truck    = "truck-3"
	Air      = "air" // of the store, °C
	Humidity = "humidity"
	Box      = "box" // of the truck, °C
)

// Epoch is when the devices begin: 08:00 in China. The item is in the store from
// 30 to 350 minutes after it, in the truck from 390 to 625.
func Epoch() time.Time { return time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC) }

// Options say what is unlike a journey within the rule.
type Options struct {
	Beyond    bool // the truck is above 8 °C for more than an hour
	Brief     bool // the truck is above 8 °C for ten minutes, which the rule allows
	Withheld  bool // the truck's channel is not shown
	Tampered  bool // one sum of a range proof is altered after all is signed
	Simulated bool // the truck's device is a simulated one
	Unruled   bool // the brand's word is not shown
	Humid     bool // the truck's plan lists humidity only
	Moment    bool // the truck's leg is one read, at the very time between two blocks
	SameZone  bool // another site gives the truck's zone the store's id

	Replanned bool           // the site signs a second plan at 180 minutes: the store's trace restarts
	Stale     bool           // the truck's trail is headed by an older head, from before the leg's end
	Older     bool           // the store's trail shows older heads
	Narrow    bool           // the store's trail leaves out the first block of the window
	Foreign   bool           // a sighting of another item is shown
	Expired   bool           // the truck's identity ended before the journey
	WrongRole bool           // the plan is signed by a device
	Revoked   statement.Role // a key of this role is revoked, as an authority's key status says

	RevokedFrom   uint64    // seq
	KeyStatus     bool      // an authority's key status is shown
	Anchored      bool      // hourly frames name anchors; these are shown with evidence, and the chain's keys are pinned
	Unanchored    bool      // no anchor at all
	Audit         bool      // every block is shown whole
	Erased        bool      // the site erased two blocks of the store's air
	ErasedByOther bool      // that statement is by another site than the one whose plan lists the channel
	Halves        bool      // the second half of the statements is in another ledger
	Overlap       bool      // the truck saw the item before it left the store
	Rewritten     bool      // the store's device signed another head of its air once, in the third frame
	Forked        bool      // the log signed another root for an older checkpoint
	Minority      bool      // two of the chain's four validators signed
	Rotated       *Rotation // the store's device goes on with another key
	EVM           *EVM      // the newest checkpoint, or with Anchored all, is on an EVM chain
	Cosigned      *Cosigned // the ledger's checkpoints have cosignatures
	Rule          string    // a named rule instead of the brand's own
	Journey       *Journey  // organisations sign events and changes of custody

	// Omit leaves statements out of the passport that the ledger has, the nth of
	// their kind from 1. Frames that head a trail are shown anyway.
	Omit func(kind statement.Kind, nth int) bool

	// Forge alters a statement after it is signed and before the gateway records
	// it: what a gateway with its own log key can do. Nil: nothing.
	Forge func(kind statement.Kind, raw []byte) []byte
}

// A Rotation is at 180 minutes: the store's device ends its epoch, the authority
// gives it its next key, and the site lists that one instead.
type Rotation struct {
	Identity func(id *statement.Identity) // what the authority says of the next key; nil: the truth
	Overlap  bool                         // the old key signs the next hour as well
	Cut      bool                         // the old trace of the air is headed by its head before the last
}

// Make makes a passport and the trust file to verify it with.
func Make(t testing.TB, o Options) ([]byte, *passport.Trust) {
	t.Helper()
	w := newWorld(t, o)
	w.journey()
	p := w.compose()
	if o.Tampered {
		p.Trails[0].Range.Nodes[len(p.Trails[0].Range.Nodes)/2].Digest.Sum++
	}
	data, err := p.Encode()
	w.must(err)
	return data, w.trust()
}

func at(minutes int) int64 { return Epoch().Add(time.Duration(minutes) * time.Minute).UnixMilli() }

func (w *world) must(err error) {
	if err != nil {
		w.t.Helper()
		w.t.Fatal(err)
	}
}

func limits(above, below int64) []trace.Limit {
	return []trace.Limit{{Comparison: trace.AtOrAbove, Value: above}, {Comparison: trace.AtOrBelow, Value: below}}
}

func words(zh, en string) statement.Texts {
	return statement.Texts{{Lang: "zh-CN", Words: zh}, {Lang: "en", Words: en}}
}
