package journey

import (
	"strings"
	"testing"
	"time"

	"trailmark/internal/epc"
	"trailmark/passport"
	"trailmark/statement"
)

// TestJourneyOverABoundary: the half-year ends in the middle of the stay and at its
// end, also where the device's key changes then; the passport says of
// the item what one ledger would have said.
func TestJourneyOverABoundary(t *testing.T) {
	link := epc.Link{GTIN: "09521234543213", Serial: "1001"}
	for _, c := range []struct{ rotation, boundary int64 }{{-1, 250}, {-1, hours - 2}, {250, 250}} {
		g := newGate(t)
		g.journeyWith(c.rotation, c.boundary)
		for _, audit := range []bool{false, true} {
			make, verify := g.composer(nil).Item, passport.Verify
			if audit {
				make, verify = g.composer(nil).Audit, passport.VerifyAudit
			}
			data, err := make(t.Context(), link)
			g.must(err)
			v, err := verify(data, g.trust(), time.UnixMilli(start))
			g.must(err)
			if v.Outcome != passport.Kept || len(v.Legs) != 1 || len(v.Withheld) != 0 || len(v.Ledgers) != 2 ||
				v.Ledgers[0].Origin != origin || v.Ledgers[1].Origin != nextOrigin {
				t.Fatalf("%+v: %s, %d legs, withheld %v, ledgers %v", c, v.Outcome, len(v.Legs), v.Withheld, v.Ledgers)
			}
			leg := v.Legs[0]
			if leg.Presence != passport.Seen || leg.To-leg.From != hours*hour-2 || len(leg.Channels) != 1 || leg.NotAfter.Proof == passport.None {
				t.Fatalf("%+v: %s from %d to %d, %d channels, not after %+v", c, leg.Presence, leg.From, leg.To, len(leg.Channels), leg.NotAfter)
			}
			ch := leg.Channels[0]
			if ch.Blocks != hours || audit && ch.Shown != hours || ch.Min != 4000 || ch.Max != 4600 || ch.HeadGap > week || ch.Unmeasured > 2*hour ||
				ch.LateProof != passport.Declared || ch.Late > 24*hour {
				t.Errorf("%+v: %+v", c, ch)
			}
			// Who pinned the first half-year alone is told so, and not something else.
			short := g.trust()
			short.Logs = short.Logs[:1]
			if _, err := verify(data, short, time.UnixMilli(start)); err == nil || !strings.Contains(err.Error(), nextOrigin) {
				t.Errorf("%+v: with a trust file that ends before: %v", c, err)
			}
		}
	}
}

// TestNothingBeyondAHole: rows of a ledger whose end is not anchored yet, and those
// of the next one, are in no passport.
func TestNothingBeyondAHole(t *testing.T) {
	g := newGate(t)
	g.journeyWith(-1, 250)
	books, err := g.composer(nil).books(t.Context())
	g.must(err)
	if len(books) != 2 || books[1].first != books[0].anchor.Size {
		t.Fatalf("%+v", books)
	}
	// The next half-year begins, and ends before anything was anchored in it.
	g.shard("ledger.example.com/acme/2027h1")
	data, err := g.composer(nil).Item(t.Context(), epc.Link{GTIN: "09521234543213", Serial: "1001"})
	g.must(err)
	if v, err := passport.Verify(data, g.trust(), time.UnixMilli(start)); err != nil || len(v.Ledgers) != 2 {
		t.Errorf("%v", err)
	}
	// One whose newest anchor is short of its end hides what comes after.
	g = newGate(t)
	g.journeyWith(-1, -1)
	count, err := g.st.Count(t.Context())
	g.must(err)
	last, err := g.st.LastAnchor(t.Context())
	g.must(err)
	if last.Size != count {
		t.Fatalf("anchored %d of %d", last.Size, count)
	}
	g.add(statement.RoleBrand, statement.KindProduct, product(g, "09521234543220")) // not anchored
	g.shard(nextOrigin)
	g.add(statement.RoleBrand, statement.KindProduct, product(g, "09521234543237"))
	g.anchor(2000, start+hours*hour)
	if books, err = g.composer(nil).books(t.Context()); err != nil || len(books) != 1 {
		t.Errorf("%d ledgers (%v)", len(books), err)
	}
}

func product(g *gate, gtin string) *statement.Product {
	words := statement.Texts{{Lang: "en", Words: "another"}}
	return &statement.Product{Version: 1, GTIN: gtin, Name: words, Brand: words,
		Rule: []statement.Criterion{{Unit: "Cel", Limit: g.entry.Limits[0], Kind: statement.Cumulative}}}
}
