package fsck

import (
	"bytes"
	"fmt"
	"slices"

	"trailmark/gateway/internal/ledger"
	"trailmark/internal/chain/comet"
	"trailmark/statement"
)

// anchorRows reads the anchors, and the sizes that their roots are asked for at, by
// origin; one that names no ledger counts to the one that its checkpoint is of.
func (c *checker) anchorRows() (rows map[string][][]any, sizes map[string]map[uint64]bool) {
	all, err := query(c, "SELECT size, origin, chain, root, height, time, block, tx, note FROM main.anchor ORDER BY size")
	if err != nil {
		c.rowf("anchor", "", "%v", err)
	}
	rows, sizes = map[string][][]any{}, map[string]map[uint64]bool{}
	for _, v := range all {
		origin, _ := v[1].(string)
		if _, known := c.logs[origin]; !known {
			origin = statement.NoteOrigin(bytesOf(v[8]))
		}
		rows[origin] = append(rows[origin], v)
		if sizes[origin] == nil {
			sizes[origin] = map[uint64]bool{}
		}
		if size, ok := v[0].(int64); ok && size >= 0 {
			sizes[origin][uint64(size)] = true
		}
	}
	return rows, sizes
}

// openChain opens the chain that anchors are held against. One that cannot be
// read is a finding; what stands without it is checked all the same.
func (c *checker) openChain() {
	if c.Chain == nil {
		return
	}
	var err error
	if c.chain, err = c.Chain(); err != nil {
		c.report(Finding{File: "chain", What: err.Error()})
		c.chain = nil
	}
}

// anchors holds each anchor against its signed checkpoint, the tree, and the
// chain, which has every one of them.
func (c *checker) anchors(origin string, rows [][]any, found ledger.Inspected) {
	stored := map[uint64]bool{}
	for i, v := range rows {
		size, _ := v[0].(int64)
		stored[uint64(size)] = true
		if err := c.anchor(origin, v, found); err != nil {
			c.rowf("anchor", fmt.Sprint(v[0]), "%v", err)
		}
		c.sum.Anchors++
		c.Progress("anchors", uint64(i+1), uint64(len(rows)))
	}
	if c.chain == nil {
		return
	}
	sizes := c.chain.Sizes(origin)
	// The newest may not be recorded yet; a running chain may be further than our rows.
	newest := slices.Max(append([]uint64{0}, sizes...))
	for _, size := range sizes {
		if !stored[size] && size < newest && size <= found.Signed {
			c.rowf("anchor", fmt.Sprint(size), "missing, the chain has it\nhint: the gateway records it again when it starts")
		}
	}
	if newest > found.Size {
		c.report(Finding{File: origin, What: fmt.Sprintf("%d entries, but %d are anchored: it is an older state of the ledger", found.Size, newest)})
	}
}

func (c *checker) anchor(ledgerOrigin string, v []any, found ledger.Inspected) error {
	size, ok := v[0].(int64)
	origin, ok1 := v[1].(string)
	chain, ok2 := v[2].(string)
	height, ok3 := v[4].(int64)
	at, ok4 := v[5].(int64)
	root, block, tx, note := bytesOf(v[3]), bytesOf(v[6]), bytesOf(v[7]), bytesOf(v[8])
	if !ok || !ok1 || !ok2 || !ok3 || !ok4 {
		return fmt.Errorf("a column has not its type: %T %T %T %T %T", v[0], v[1], v[2], v[4], v[5])
	}
	key, err := statement.LogVerifier(ledgerOrigin, c.logs[ledgerOrigin])
	if err != nil {
		return err
	}
	cp, err := ledger.CheckNote(note, key)
	if err != nil {
		return fmt.Errorf("note: %w", err)
	}
	submitted, err := comet.Note(tx, "")
	computed, known := found.Roots[cp.Size]
	switch {
	case cp.Size != uint64(size):
		return fmt.Errorf("size is not %d, the checkpoint's", cp.Size)
	case origin != cp.Origin:
		return fmt.Errorf("origin is %q, the checkpoint's is %q", origin, cp.Origin)
	case !bytes.Equal(root, cp.Root[:]):
		return fmt.Errorf("root is %x, the checkpoint's is %x", root, cp.Root)
	case err != nil:
		return fmt.Errorf("tx: %w", err)
	case !bytes.Equal(submitted, note):
		return fmt.Errorf("tx carries another checkpoint than note")
	case !known:
		return fmt.Errorf("the ledger has %d entries only", found.Size)
	case computed != cp.Root:
		return fmt.Errorf("root %x is anchored, the ledger's entries give %x", cp.Root, computed)
	}
	if err := c.cosigned(ledgerOrigin, note); err != nil {
		return fmt.Errorf("note: %w", err)
	}
	return c.onChain(chain, height, at, block, tx, note)
}

// onChain checks an anchor as a passport's verifier does, and that the row says
// what is proven.
func (c *checker) onChain(chain string, height, at int64, block, tx, note []byte) error {
	for _, pinned := range c.Trust.Chains {
		if pinned.ID != chain {
			continue
		}
		if c.chain == nil || len(pinned.Keys) == 0 {
			return nil
		}
		hash, proof, err := c.chain.Evidence(c.ctx, height, tx)
		if err != nil {
			return fmt.Errorf("height, tx: %w", err)
		}
		proven, err := pinned.Anchor(note, proof)
		switch {
		case err != nil:
			return fmt.Errorf("evidence: %w", err)
		case !bytes.Equal(block, hash[:]) || !bytes.Equal(block, proven.Block[:]):
			return fmt.Errorf("block is %x, the chain's is %x", block, hash)
		case height != int64(proven.Height):
			return fmt.Errorf("height is %d, proven is %d", height, proven.Height)
		case at != proven.Time:
			return fmt.Errorf("time is %d ms, proven is %d", at, proven.Time)
		}
		return nil
	}
	return fmt.Errorf("chain %q is not one the trust file names", chain)
}
