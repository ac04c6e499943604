package fsck

import (
	"bytes"
	"fmt"

	"trailmark/gateway/internal/ledger"
	"trailmark/statement"
)

// elsewhereStrays names rows of ledgers that are not here.
func (c *checker) elsewhereStrays() {
	rows, err := query(c, "SELECT chain, size, origin FROM main.elsewhere WHERE origin NOT IN (SELECT origin FROM main.shard) ORDER BY 1, 2")
	if err != nil {
		c.rowf("elsewhere", "", "%v", err)
	}
	for _, v := range rows {
		c.rowf("elsewhere", fmt.Sprintf("%v %v", v[0], v[1]), "origin is %q, no ledger of which is here", v[2])
	}
}

// elsewhereRows reads a ledger's anchors on other chains, and the sizes that their
// roots are asked for at.
func (c *checker) elsewhereRows(origin string, sizes map[uint64]bool) (rows [][]any) {
	rows, err := query(c, "SELECT size, origin, root, note, chain, height, block FROM main.elsewhere WHERE origin = $1 ORDER BY chain, size", origin)
	if err != nil {
		c.rowf("elsewhere", "", "%v", err)
	}
	for _, v := range rows {
		if size, ok := v[0].(int64); ok && size >= 0 {
			sizes[uint64(size)] = true
		}
	}
	return rows
}

// elsewhere holds each anchor on another chain against its signed checkpoint and
// the tree. The chains themselves are not asked: whether a block stands, and its
// evidence, verifiers judge under the blocks that they pin.
func (c *checker) elsewhere(origin string, rows [][]any, found ledger.Inspected) {
	for _, v := range rows {
		if err := c.elsewhereRow(origin, v, found); err != nil {
			c.rowf("elsewhere", fmt.Sprintf("%v %v", v[4], v[0]), "%v", err)
		}
	}
}

func (c *checker) elsewhereRow(ledgerOrigin string, v []any, found ledger.Inspected) error {
	size, ok := v[0].(int64)
	origin, ok1 := v[1].(string)
	height, ok2 := v[5].(int64)
	if !ok || !ok1 || !ok2 {
		return fmt.Errorf("a column has not its type: %T %T %T", v[0], v[1], v[5])
	}
	key, err := statement.LogVerifier(ledgerOrigin, c.logs[ledgerOrigin])
	if err != nil {
		return err
	}
	cp, err := ledger.CheckNote(bytesOf(v[3]), key)
	if err != nil {
		return fmt.Errorf("note: %w", err)
	}
	computed, known := found.Roots[cp.Size]
	switch {
	case cp.Size != uint64(size) || origin != cp.Origin || !bytes.Equal(bytesOf(v[2]), cp.Root[:]):
		return fmt.Errorf("size %d, origin %q and root %x are not the checkpoint's %d, %q and %x", size, origin, bytesOf(v[2]), cp.Size, cp.Origin, cp.Root)
	case height < 0 || height > 0 && len(bytesOf(v[6])) != 32:
		return fmt.Errorf("block of %d bytes at height %d", len(bytesOf(v[6])), height)
	case !known:
		return fmt.Errorf("the ledger has %d entries only", found.Size)
	case computed != cp.Root:
		return fmt.Errorf("root %x is anchored, the ledger's entries give %x", cp.Root, computed)
	}
	return nil
}
