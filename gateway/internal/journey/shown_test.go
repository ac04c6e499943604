package journey

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	goods "trailmark/gateway/internal/product"
	"trailmark/gateway/internal/store"
	"trailmark/internal/epc"
	"trailmark/passport"
	"trailmark/statement"
)

// forest is a ledger that gives subtrees, and one wrong hash if it is told to.
type forest struct {
	*gate
	lie bool
}

func (f forest) Subtrees(_ context.Context, origin string, size uint64) (func(lo, hi uint64) ([32]byte, error), error) {
	leaves := f.leaves
	if origin != f.origin {
		leaves = f.gate.older[origin]
	}
	return func(lo, hi uint64) ([32]byte, error) {
		h := statement.RecordsRoot(leaves[lo:hi])
		if f.lie {
			h[0] ^= 1
		}
		return h, nil
	}, nil
}

// TestSubtreesOrPaths: the passport is the same however the ledger proves, and the
// same when the products are known; a ledger that changed gives none.
func TestSubtreesOrPaths(t *testing.T) {
	g := newGate(t)
	g.journey()
	link := epc.Link{GTIN: "09521234543213", Serial: "1001"}
	want, err := g.composer(nil).Item(t.Context(), link)
	g.must(err)
	c := g.composer(nil)
	c.ledger, c.Products = forest{g, false}, goods.NewCatalogue(g.st)
	got, err := c.Item(t.Context(), link)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("by subtrees %d bytes, %v; by paths %d", len(got), err, len(want))
	}
	c.ledger = forest{g, true}
	if _, err := c.Item(t.Context(), link); err == nil || !strings.Contains(err.Error(), "hint: gateway fsck") {
		t.Errorf("a changed tile: %v", err)
	}
}

// TestSpread keeps the ends of each stay, and fits in what is allowed.
func TestSpread(t *testing.T) {
	var in []store.Sighting
	for i := range 1000 {
		in = append(in, store.Sighting{Antenna: string('a' + rune(i/100%3)), First: int64(i)})
	}
	for _, most := range []int{16, 100, 700, 999, 1000, 5000} {
		out := spread(in, most)
		if len(out) > max(most, 20) || most >= 1000 && len(out) != 1000 || most < 1000 && len(out) < most*9/10 {
			t.Errorf("%d of at most %d", len(out), most)
		}
		for i, s := range out {
			if i > 0 && s.First <= out[i-1].First {
				t.Fatalf("at most %d: %d after %d", most, s.First, out[i-1].First)
			}
			if e := s.First % 100; (i == 0 || out[i-1].Antenna != s.Antenna) && e != 0 || i+1 < len(out) && out[i+1].Antenna != s.Antenna && e != 99 {
				t.Errorf("at most %d: a stay's end is %d", most, s.First)
			}
		}
	}
}

// TestRevokedFramesAreLeftOut: frames that were taken before their key's revocation
// was, and are void by it, are not shown; what was signed before them still is.
func TestRevokedFramesAreLeftOut(t *testing.T) {
	g := newGate(t)
	g.journey()
	link := epc.Link{GTIN: "09521234543213", Serial: "1001"}
	kid := g.signer(statement.RoleDevice).Key().ID()
	g.add(statement.RoleAuthority, statement.KindKeyStatus, &statement.KeyStatus{Version: 1, Origin: g.origin, At: start + hours*hour,
		InForce: []statement.Hash{}, Revoked: []statement.Revoked{{KeyID: kid, Seq: hours / 2}}})
	g.anchor(999, start+g.hours*hour+1)
	data, err := g.composer(nil).Item(t.Context(), link)
	g.must(err)
	v, err := passport.Verify(data, g.trust(), time.UnixMilli(start))
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Legs) != 1 || v.Legs[0].Channels[0].Blocks != hours/2 || v.Legs[0].To != start+hours/2*hour-1 {
		t.Errorf("%s, %+v", v.Outcome, v.Legs)
	}
}
