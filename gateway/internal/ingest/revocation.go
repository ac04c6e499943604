package ingest

import (
	"fmt"

	"trailmark/statement"
)

// Revoked says from where on a key is void, if it is.
func (in *Ingest) Revoked(kid statement.Hash) (statement.Revoked, bool) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	r, ok := in.revoked[kid]
	return r, ok
}

// revoke takes in the revocations of a key status. One that leaves out or eases an
// earlier one is refused, so that the newest status alone says all. The caller
// holds in.mu.
func (in *Ingest) revoke(k *statement.KeyStatus) error {
	next := map[statement.Hash]statement.Revoked{}
	for _, r := range k.Revoked {
		if had, again := next[r.KeyID]; !again || before(r, had) {
			next[r.KeyID] = r
		}
	}
	for kid, had := range in.revoked {
		if r, still := next[kid]; !still || before(had, r) {
			return fmt.Errorf("key status of %d ms takes back that key %.8s… is revoked from seq %d on: a revocation is for ever", k.At, kid, had.Seq)
		}
	}
	in.revoked = next
	return nil
}

// before reports whether a voids more than b.
func before(a, b statement.Revoked) bool {
	return a.Epoch < b.Epoch || a.Epoch == b.Epoch && a.Seq < b.Seq
}
