package enrol

import (
	"context"
	"fmt"
	"slices"
	"unicode/utf8"

	"trailmark/gateway/internal/store"
	"trailmark/statement"
	"trailmark/trace"
)

// A Selection names readings of one channel, by time or by frames. A block goes as
// a whole: with each reading the others of its frame go too.
type Selection struct {
	Device   statement.Hash
	Channel  string
	From, To int64      // ms, [From, To)
	Frames   *[2]uint64 // seqs, the first and the last; then From and To mean nothing
}

// An Erasing is one frame's part of a selection.
type Erasing struct {
	statement.Erasure
	Seq         uint64 // of the frame
	Readings    int
	First, Last int64 // of its readings, ms
	Boot        bool  // these are since the device's boot
}

// Erasable finds what is still held of a selection, frame by frame in ledger
// order. It refuses channels that no plan of this site lists: the site's word that
// it erased something of another counts for nothing.
func (k *Keys) Erasable(ctx context.Context, st *store.Store, sel Selection, why string) ([]Erasing, error) {
	if why == "" || len(why) > statement.MaxText || !utf8.ValidString(why) {
		return nil, fmt.Errorf("a reason is needed, of at most %d bytes\nhint: --why \"retention period over\"", statement.MaxText)
	}
	if _, err := deviceKey(ctx, st, sel.Device); err != nil {
		return nil, err
	}
	if err := k.owns(ctx, st, sel); err != nil {
		return nil, err
	}
	var blocks []store.Block
	var err error
	if sel.Frames != nil {
		blocks, err = st.BlocksOf(ctx, sel.Device, sel.Channel, sel.Frames[0], sel.Frames[1])
	} else {
		blocks, err = st.BlocksIn(ctx, sel.Device, sel.Channel, sel.From, sel.To)
	}
	if err != nil {
		return nil, err
	}
	var out []Erasing
	for _, b := range blocks {
		row, err := st.Statement(ctx, b.Index)
		if err != nil {
			return nil, err
		}
		d, err := row.Delivery()
		if err != nil {
			return nil, err
		}
		at := slices.IndexFunc(d.Contents, func(v any) bool {
			block, ok := v.(*statement.Block)
			return ok && block.Channel == sel.Channel
		})
		if at < 0 {
			continue // erased already
		}
		times := d.Contents[at].(*statement.Block).Times()
		if sel.Frames == nil && !slices.ContainsFunc(times, func(t int64) bool { return t >= sel.From && t < sel.To }) {
			continue // only the cover of its first reading reaches into the time
		}
		out = append(out, Erasing{Seq: b.Seq, Readings: len(times), First: times[0], Last: times[len(times)-1], Boot: b.Start.Basis == trace.Boot,
			Erasure: statement.Erasure{Frame: row.ID, At: k.now().UnixMilli(), Why: why, Records: []statement.Erased{{Index: uint64(at), Hash: d.Leaves[at], Kind: statement.RecordBlock,
				Block: &statement.ErasedBlock{Channel: sel.Channel, Start: b.Start.Hash(), N: b.N, Digest: b.Digest}}}}})
	}
	return out, nil
}

// owns refuses a channel that no plan of this site lists.
func (k *Keys) owns(ctx context.Context, st *store.Store, sel Selection) error {
	rows, err := st.Kind(ctx, statement.KindPlan)
	if err != nil {
		return err
	}
	for _, row := range rows {
		s, err := statement.Parse(row.Data)
		if err != nil {
			return err
		}
		p, err := s.Plan()
		if err != nil {
			return err
		}
		if _, _, ok := p.Channel(sel.Device, sel.Channel); ok && s.Header.Issuer == k.siteIssuer() {
			return nil
		}
	}
	return fmt.Errorf("no plan of this site lists channel %q of device %.8s…\nhint: names are as on the status page, for example 28-0316a2795fff/temp", sel.Channel, sel.Device)
}
