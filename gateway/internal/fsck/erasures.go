package fsck

import (
	"fmt"

	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

// gone is a record that is not held.
type gone struct {
	row    int64 // of statement
	frame  statement.Hash
	record int
	leaf   statement.Hash
}

// stored reads the perfect subtrees of one trace from the store; it is a
// trace.Nodes.
type stored struct {
	c  *checker
	id int64
}

func (s stored) Node(level uint, n uint64) (node trace.Node, err error) {
	rows, err := query(s.c, "SELECT node FROM main.node WHERE trace = $1 AND level = $2 AND n = $3", s.id, int64(level), int64(n))
	if err != nil {
		return node, err
	}
	if len(rows) != 1 {
		return node, fmt.Errorf("node (%d, %d, %d) is missing", s.id, level, n)
	}
	return node, dcbor.Unmarshal(bytesOf(rows[0][0]), &node)
}

// erasedBlock grows a trace by a block that its site erased. What is left of the
// block are its nodes, which the head signed beside it proves.
func (c *checker) erasedBlock(r *row, t *grown, h *statement.HeadRecord, head int) error {
	n := h.Head.Size - 1
	nodes := stored{c, t.ID}
	leaf, err := nodes.Node(0, n)
	if err != nil {
		return faultf("erased block %d of trace %d: %w", n, t.ID, err)
	}
	for level := uint(0); (n+1)>>level<<level == n+1; level++ { // each subtree that the block completes
		p, err := trace.Prove(nodes, n+1, n+1-1<<level, n+1)
		if err == nil {
			_, err = p.Verify(t.spec(), h.Head)
		}
		if err != nil {
			return faultf("erased block %d of trace %d, subtree of 2^%d blocks: %w", n, t.ID, level, err)
		}
	}
	if err := c.put("INSERT INTO want.leaf (trace, n, idx, head, t0, t1, readings) VALUES ($1,$2,$3,$4,$5,$6,COALESCE((SELECT readings FROM main.leaf WHERE trace = $1 AND n = $2), 0))",
		t.ID, int64(n), r.idx, head, leaf.Digest.T0, leaf.Digest.T1); err != nil {
		return err
	}
	if t.Frontier, err = c.resume(t, n+1); err != nil {
		return err
	}
	t.lost, t.Erased, t.Last, t.Value = false, true, leaf.Digest.T1, 0
	return nil
}

// erased checks that somebody signed for every record that is not held.
func (c *checker) erased() error {
	type place struct {
		frame statement.Hash
		index uint64
	}
	signed := map[place]statement.Erased{}
	for _, e := range c.erasures {
		for _, r := range e.Records {
			signed[place{e.Frame, r.Index}] = r
		}
	}
	for _, g := range c.gone {
		if e, ok := signed[place{g.frame, uint64(g.record)}]; !ok {
			c.statementf(g.row, "kept: record %d is not held, and no erasure says so", g.record)
		} else if e.Hash != g.leaf {
			c.statementf(g.row, "kept: record %d was erased with leaf hash %s, kept is %s", g.record, e.Hash, g.leaf)
		}
	}
	return nil
}
