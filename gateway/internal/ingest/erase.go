package ingest

import (
	"bytes"
	"errors"
	"fmt"

	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// erase forgets what a site's erasure lists, in the transaction that stores the
// erasure: neither is ever there without the other. It refuses a list that is not
// exactly of what the ledger says, and of channels that no plan of this site
// lists. Heads, sightings and events stay: passports rest on them.
func (in *Ingest) erase(tx *store.Tx, s *statement.Statement) error {
	e, err := s.Erasure()
	if err != nil {
		return err
	}
	var frame store.Statement
	var blocks []store.Block
	var numbers []uint64
	for _, r := range e.Records {
		if r.Block == nil {
			return fmt.Errorf("record %d is no block\nhint: only readings are erased here", r.Index)
		}
		b, err := tx.Block(r.Block.Start, r.Block.N)
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("record %d: no trace %.8s… with a block %d is known", r.Index, r.Block.Start, r.Block.N)
		} else if err != nil {
			return err
		}
		if b.Start.Channel != r.Block.Channel || !bytes.Equal(dcbor.MustMarshal(b.Digest), dcbor.MustMarshal(r.Block.Digest)) {
			return fmt.Errorf("record %d is not block %d of its trace", r.Index, b.N)
		}
		if !in.lists(s.Header.Issuer, b.KeyID, b.Start.Channel) {
			return fmt.Errorf("no plan of %s lists channel %s of device %.8s…, so these are not its readings to erase", s.Header.Issuer, b.Start.Channel, b.KeyID)
		}
		if len(blocks) == 0 {
			if frame, err = tx.Statement(b.Index); err != nil {
				return err
			}
		}
		if frame.ID != e.Frame || frame.Index != b.Index {
			return fmt.Errorf("record %d is of another frame than %.8s…", r.Index, e.Frame)
		}
		blocks, numbers = append(blocks, b), append(numbers, r.Index)
	}
	d, err := frame.Delivery()
	if err != nil {
		return err
	}
	for i, r := range e.Records {
		if r.Index >= uint64(len(d.Leaves)) || d.Leaves[r.Index] != r.Hash {
			return fmt.Errorf("record %d of frame %.8s… is not the one with this hash", r.Index, e.Frame)
		}
		held := d.Contents[r.Index]
		if b, ok := held.(*statement.Block); held != nil && (!ok || b.Channel != blocks[i].Start.Channel) {
			return fmt.Errorf("record %d of frame %.8s… is no block of %s", r.Index, e.Frame, blocks[i].Start.Channel)
		}
	}
	return tx.Erase(frame.Index, blocks, numbers)
}

// lists reports whether a plan of a site has a device's channel.
func (in *Ingest) lists(site string, kid statement.Hash, channel string) bool {
	in.mu.RLock()
	defer in.mu.RUnlock()
	for _, p := range in.plan {
		if _, _, ok := p.Channel(kid, channel); ok && p.site == site {
			return true
		}
	}
	return false
}
