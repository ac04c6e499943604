package outbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Read gives every readable record of the outbox in dir to each, in order, and
// ends with its error. It takes no lock and writes nothing, so it may be used
// beside the process that has the outbox: what that one appends meanwhile may or
// may not be seen, what it prunes may be missing at the beginning. The caller of
// each must not keep data. Damage is what could not be read in between.
func Read(dir string, each func(seq uint64, data []byte) error) ([]Damage, error) {
	bounds, known, err := readBounds(dir)
	if err != nil {
		known = false // what is there is read all the same
	}
	bases, err := (&Log{dir: dir}).list()
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	var damage []Damage
	var ld loader
	begun, expect := false, uint64(0)
	for _, base := range bases {
		if known && base < bounds.first || begun && base < expect {
			continue
		}
		b, err := ld.segmentBytes(filepath.Join(dir, segmentName(base)))
		if errors.Is(err, os.ErrNotExist) && !begun {
			continue // pruned meanwhile
		} else if err != nil {
			return damage, fmt.Errorf("outbox: %w", err)
		}
		if begun && base > expect {
			damage = append(damage, Damage{From: expect, To: base, Segment: segmentName(base), Reason: "no segment holds these records"})
		}
		s := scan(b, base)
		for _, f := range s.findings {
			if f.From < f.To {
				f.Segment = segmentName(base)
				damage = append(damage, f.Damage)
			}
		}
		for i, off := range s.recs {
			if off == lost {
				continue
			}
			h, ok := parseHeader(b[off:])
			if !ok {
				return damage, fmt.Errorf("outbox: %w: %d", ErrDamaged, base+uint64(i)) // scan has read it
			}
			if err := each(h.seq, b[int(off)+headerSize:int(off)+headerSize+h.length]); err != nil {
				return damage, err
			}
		}
		begun, expect = true, base+uint64(len(s.recs))
	}
	return damage, nil
}

// segmentBytes reads a segment as load does, without writing to it.
func (ld *loader) segmentBytes(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b, _ := ld.read(f, min(info.Size(), MaxSegment)) // what cannot be read shows as damage
	return b, nil
}
