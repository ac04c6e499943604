package fsck

import (
	"fmt"

	"trailmark/gateway/internal/ledger"
	"trailmark/statement"
)

// cosignatureRows reads the cosignatures by ledger, and adds the sizes that their
// roots are asked for at.
func (c *checker) cosignatureRows(sizes map[string]map[uint64]bool) map[string][][]any {
	all, err := query(c, "SELECT origin, size, kid, root, at, line FROM main.cosignature ORDER BY origin, size, kid")
	if err != nil {
		c.rowf("cosignature", "", "%v", err)
	}
	rows := map[string][][]any{}
	for _, v := range all {
		origin, _ := v[0].(string)
		rows[origin] = append(rows[origin], v)
		if sizes[origin] == nil {
			sizes[origin] = map[uint64]bool{}
		}
		if size, ok := v[1].(int64); ok && size > 0 {
			sizes[origin][uint64(size)] = true
		}
	}
	return rows
}

// cosignatureRow is what a person finds a row by.
func cosignatureRow(v []any) string { return fmt.Sprintf("%v, %v, x'%x'", v[0], v[1], bytesOf(v[2])) }

// cosignatures holds each stored cosignature of a ledger against the device's key and
// the ledger's entries. That one is missing nobody can tell.
func (c *checker) cosignatures(rows [][]any, found ledger.Inspected) {
	for _, v := range rows {
		if err := c.cosignature(v, found); err != nil {
			c.rowf("cosignature", cosignatureRow(v), "%v", err)
		}
		c.sum.Cosignatures++
	}
}

func (c *checker) cosignature(v []any, found ledger.Inspected) error {
	origin, ok := v[0].(string)
	size, ok1 := v[1].(int64)
	kid, root, line := bytesOf(v[2]), bytesOf(v[3]), bytesOf(v[5])
	at, ok2 := v[4].(int64)
	if !ok || !ok1 || !ok2 || len(kid) != 32 || len(root) != 32 {
		return fmt.Errorf("a column has not its type: %T %T %T %T %T", v[0], v[1], v[2], v[3], v[4])
	}
	w, err := c.witness(statement.Hash(kid))
	if err != nil {
		return err
	}
	said, err := statement.VerifyCosignatureLine(origin, uint64(size), statement.Hash(root), line, w)
	switch computed, known := found.Roots[uint64(size)]; {
	case err != nil:
		return fmt.Errorf("line: %w", err)
	case said != at:
		return fmt.Errorf("at is %d s, the line says %d", at, said)
	case !known:
		return fmt.Errorf("size is %d, the ledger has %d entries only", size, found.Size)
	case computed != [32]byte(root):
		return fmt.Errorf("root %x was cosigned, the ledger's entries give %x", root, computed)
	}
	return nil
}

// witness is a device that the authority vouches for.
func (c *checker) witness(kid statement.Hash) (statement.Witness, error) {
	id, known := c.ring.Identity(kid)
	if !known || id.Role != statement.RoleDevice {
		return statement.Witness{}, fmt.Errorf("kid %.8s… is no device's", kid)
	}
	return statement.DeviceWitness(id.Key.Key)
}

// cosigned checks the lines of devices in an anchored note.
func (c *checker) cosigned(origin string, note []byte) error {
	cp, err := statement.OpenCheckpoint(note, origin, c.logs[origin])
	if err != nil {
		return err
	}
	for _, s := range cp.Cosignatures() {
		kid, ok := statement.DeviceOf(s.Name)
		if !ok {
			continue
		}
		w, err := c.witness(kid)
		if err != nil {
			return err
		}
		if _, err := cp.VerifyCosignature(s, w); err != nil {
			return err
		}
	}
	return nil
}
