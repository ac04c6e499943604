package comet

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
)

// checkpoint is the body of a C2SP tlog-checkpoint.
type checkpoint struct {
	origin string
	size   uint64
	root   [32]byte
}

// parseCheckpoint reads the text of a signed note and verifies nothing. Of one
// (origin, size, root) there is one accepted spelling of the first three lines.
func parseCheckpoint(signed []byte) (checkpoint, error) {
	i := bytes.LastIndex(signed, []byte("\n\n"))
	if i < 0 {
		return checkpoint{}, errors.New("no signatures")
	}
	text := signed[:i+1]
	var c log.Checkpoint
	rest, err := c.Unmarshal(text)
	if err != nil {
		return checkpoint{}, err
	}
	switch {
	case len(c.Origin) > MaxOrigin:
		return checkpoint{}, fmt.Errorf("origin of %d bytes, want %d at most", len(c.Origin), MaxOrigin)
	case len(c.Hash) != sha256.Size:
		return checkpoint{}, fmt.Errorf("root of %d bytes, want %d", len(c.Hash), sha256.Size)
	case c.Size == 0 || c.Size > math.MaxInt64:
		return checkpoint{}, fmt.Errorf("size %d, want 1 to %d", c.Size, uint64(math.MaxInt64))
	case !bytes.Equal(c.Marshal(), text[:len(text)-len(rest)]):
		return checkpoint{}, errors.New("size or root is not spelled canonically")
	case bytes.HasPrefix(rest, []byte("\n")) || bytes.Contains(rest, []byte("\n\n")):
		return checkpoint{}, errors.New("empty extension line")
	}
	return checkpoint{c.Origin, c.Size, [32]byte(c.Hash)}, nil
}

// verifyCheckpoint reports an error unless the note carries the signature of one
// of the verifiers.
func verifyCheckpoint(signed []byte, v note.Verifiers) error {
	_, err := note.Open(signed, v)
	return err
}
