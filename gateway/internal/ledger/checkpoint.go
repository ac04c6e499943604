package ledger

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
)

// maxCheckpoint bounds the bytes of a signed checkpoint: three short lines and
// one signature, with room for witnesses.
const maxCheckpoint = 16 << 10

// A Checkpoint is what a log signed: this many entries have this root.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   [sha256.Size]byte
}

// ParseCheckpoint checks a signed note in the C2SP tlog-checkpoint format. The
// log's name and key are v's. Sizes with leading zeros, roots that are not 32
// bytes and extension lines, which our logs never write, are refused.
func ParseCheckpoint(raw []byte, v note.Verifier) (Checkpoint, error) {
	if len(raw) > maxCheckpoint {
		return Checkpoint{}, fmt.Errorf("checkpoint: %d bytes, want at most %d", len(raw), maxCheckpoint)
	}
	c, rest, n, err := log.ParseCheckpoint(raw, v.Name(), v)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	if len(rest) != 0 {
		return Checkpoint{}, fmt.Errorf("checkpoint: %d bytes of extension lines, want none", len(rest))
	}
	if len(c.Hash) != sha256.Size {
		return Checkpoint{}, fmt.Errorf("checkpoint: root of %d bytes, want %d", len(c.Hash), sha256.Size)
	}
	if !bytes.Equal(c.Marshal(), []byte(n.Text)) {
		return Checkpoint{}, fmt.Errorf("checkpoint: size %d is not written in its one form", c.Size)
	}
	return Checkpoint{Origin: c.Origin, Size: c.Size, Root: [sha256.Size]byte(c.Hash)}, nil
}
