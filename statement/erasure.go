package statement

import (
	"errors"
	"fmt"

	"trailmark/internal/dcbor"
	"trailmark/trace"
)

// Erasure is a site's word that it no longer holds some records of a frame. What
// is kept of each lets every remaining proof verify.
type Erasure struct {
	Version uint64   `cbor:"1,keyasint"`
	Frame   Hash     `cbor:"2,keyasint"` // statement id
	At      int64    `cbor:"3,keyasint"` // ms
	Why     string   `cbor:"4,keyasint"`
	Records []Erased `cbor:"5,keyasint"` // ascending by index
}

// Erased is what is kept of one erased record.
type Erased struct {
	Index uint64       `cbor:"1,keyasint"`
	Hash  Hash         `cbor:"2,keyasint"` // its leaf hash in the frame's records tree
	Kind  RecordKind   `cbor:"3,keyasint"`
	Block *ErasedBlock `cbor:"4,keyasint,omitempty"` // of a block
}

// ErasedBlock places an erased block in its trace.
type ErasedBlock struct {
	_       struct{} `cbor:",toarray"`
	Channel string
	Start   Hash // of the trace
	N       uint64
	Digest  trace.Digest // leaf digest
}

// Check refuses an erasure out of bounds.
func (e *Erasure) Check() error {
	if e.Version != 1 || !validTime(e.At) || e.Why == "" || !validText(e.Why) || len(e.Records) < 1 || len(e.Records) > dcbor.MaxItems {
		return errors.New("erasure out of bounds")
	}
	for i, r := range e.Records {
		if r.Index >= dcbor.MaxItems || i > 0 && r.Index <= e.Records[i-1].Index {
			return fmt.Errorf("erased record %d is out of bounds or not ascending", r.Index)
		}
		if r.Kind < RecordBlock || r.Kind > RecordHappening || (r.Kind == RecordBlock) != (r.Block != nil) {
			return fmt.Errorf("erased record %d of kind %d is out of bounds", r.Index, r.Kind)
		}
		if b := r.Block; b != nil {
			head := trace.Head{Size: b.N + 1, Digest: b.Digest} // the bounds of a head hold here, too
			if !validName(b.Channel) || b.N > MaxUint-1 {
				return fmt.Errorf("erased block %d is out of bounds", b.N)
			}
			if err := head.Check(); err != nil {
				return fmt.Errorf("erased block %d: %w", b.N, err)
			}
		}
	}
	return nil
}

// Erasure decodes an erasure statement's payload.
func (s *Statement) Erasure() (*Erasure, error) { return decode(s, KindErasure, new(Erasure)) }
