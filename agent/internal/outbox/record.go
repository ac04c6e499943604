package outbox

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

const (
	recordMark  = "TMr1"
	endMark     = "TMe1"
	headerSize  = 4 + 4 + 8 + 4 + 4
	trailerSize = 4 + 8 + 4
	overhead    = headerSize + trailerSize
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

type header struct {
	seq    uint64
	length int // of the data
	crc    uint32
}

func (h header) size() int { return overhead + h.length }

func appendHeader(b []byte, h header) []byte {
	from := len(b)
	b = append(b, recordMark...)
	b = binary.BigEndian.AppendUint32(b, uint32(h.length))
	b = binary.BigEndian.AppendUint64(b, h.seq)
	b = binary.BigEndian.AppendUint32(b, h.crc)
	return binary.BigEndian.AppendUint32(b, checksum(b[from:]))
}

func appendTrailer(b []byte, h header) []byte {
	b = append(b, endMark...)
	b = binary.BigEndian.AppendUint64(b, h.seq)
	return binary.BigEndian.AppendUint32(b, h.crc)
}

func appendRecord(b []byte, seq uint64, data []byte) []byte {
	h := header{seq, len(data), checksum(data)}
	return appendTrailer(append(appendHeader(b, h), data...), h)
}

// parseHeader reads a header. The length it returns is at most MaxData.
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < headerSize || string(b[:4]) != recordMark || binary.BigEndian.Uint32(b[20:]) != checksum(b[:20]) {
		return header{}, false
	}
	n := binary.BigEndian.Uint32(b[4:])
	h = header{binary.BigEndian.Uint64(b[8:]), int(n), binary.BigEndian.Uint32(b[16:])}
	return h, n <= MaxData && h.seq != math.MaxUint64
}

// readRecord reads record seq at off. It trusts nothing that the scan saw: cards rot.
func readRecord(r io.ReaderAt, off int64, seq uint64) ([]byte, error) {
	var head [headerSize]byte
	if _, err := r.ReadAt(head[:], off); err != nil {
		return nil, err
	}
	h, ok := parseHeader(head[:])
	if !ok || h.seq != seq {
		return nil, fmt.Errorf("%w: %d: its header changed since it was opened", ErrDamaged, seq)
	}
	data := make([]byte, h.length)
	if _, err := r.ReadAt(data, off+headerSize); err != nil {
		return nil, err
	}
	if got := checksum(data); got != h.crc {
		return nil, fmt.Errorf("%w: %d: checksum %08x, want %08x", ErrDamaged, seq, got, h.crc)
	}
	return data, nil
}

// A finding is Damage and how many bytes it covers.
type finding struct {
	Damage
	length int64
}

// scanned is what one segment holds.
type scanned struct {
	recs     []uint32
	good     bool      // at least one readable record
	findings []finding // Segment and Tail are for the caller to fill in
	settled  int       // findings[settled:] come after the newest readable record
	newest   []byte    // data of the newest readable record
	end      int64     // where the next record goes
	marks    []header  // records whose end mark must be written again
}

// scan finds the records of a segment: base, base+1, …
func scan(b []byte, base uint64) (s scanned) {
	used := len(bytes.TrimRight(b, "\x00"))
	off, expect := 0, base
	note := func(from, to uint64, length int, reason string) {
		s.findings = append(s.findings, finding{Damage{From: from, To: to, Offset: int64(off), Reason: reason}, int64(length)})
	}
	torn := func(reason string) {
		note(expect, expect, used-off, reason)
		s.findings[len(s.findings)-1].Torn = true
	}
	for off < used {
		h, ok := parseHeader(b[off:])
		if ok && h.seq == expect && h.size() <= len(b)-off {
			body := b[off+headerSize : off+h.size()-trailerSize]
			if checksum(body) == h.crc {
				s.recs = append(s.recs, uint32(off))
				if mark := b[off+h.size()-trailerSize : off+h.size()]; !bytes.Equal(mark, appendTrailer(nil, h)) {
					// The header vouches for the data, so nothing is lost; but
					// the mark must stand before the next power cut.
					note(expect, expect, h.size(), "end mark of a good record was missing or damaged, written again")
					s.marks = append(s.marks, h)
				}
				s.good, s.newest, s.settled = true, body, len(s.findings)
			} else if used <= off+h.size()-trailerSize {
				torn("write cut short: data without end mark")
				break
			} else {
				note(expect, expect+1, h.size(), "data does not match its checksum")
				s.recs = append(s.recs, lost)
			}
			off += h.size()
			expect++
			continue
		}
		skip, seq := resync(b[off:used], expect)
		if skip == 0 { // nothing readable follows
			if cutShort(b[off:used]) {
				torn("write cut short: no whole header")
				break
			}
			to := lastMarked(b[off:used], expect) + 1
			note(expect, to, used-off, "no record can be read from here on")
			for ; expect < to; expect++ {
				s.recs = append(s.recs, lost)
			}
			off = used
			break
		}
		note(expect, seq, skip, "record header is damaged")
		for ; expect < seq; expect++ {
			s.recs = append(s.recs, lost)
		}
		off += skip
	}
	s.end = int64(off)
	return s
}

// resync finds the next header after a damaged one and how far away it is, 0 if
// there is none. Its number must fit into the bytes skipped, so that chance or
// an old record inside some data cannot pass for it.
func resync(b []byte, expect uint64) (skip int, seq uint64) {
	for off := 1; ; off++ {
		i := bytes.Index(b[off:], []byte(recordMark))
		if i < 0 {
			return 0, 0
		}
		off += i
		h, ok := parseHeader(b[off:])
		if ok && h.seq >= expect && h.seq-expect <= uint64(off/overhead) {
			return off, h.seq
		}
	}
}

// lastMarked returns the highest record number that an end mark in b vouches
// for, and expect if there is none: at least one record was there.
func lastMarked(b []byte, expect uint64) uint64 {
	seq := expect
	for off := 0; ; off++ {
		i := bytes.Index(b[off:], []byte(endMark))
		if i < 0 || off+i+trailerSize > len(b) {
			return seq
		}
		off += i
		if q := binary.BigEndian.Uint64(b[off+4:]); q > seq && q-expect <= uint64(off/overhead) {
			seq = q
		}
	}
}

// cutShort tells whether the non-zero bytes b at the end of a segment are what a
// power cut leaves of a write that did not finish. It errs towards "no": calling
// a finished record unfinished would let its number be signed twice.
func cutShort(b []byte) bool {
	if len(b) <= headerSize {
		return true // a finished record has bytes after its header
	}
	// Blocks may reach the card out of order: no header yet, and no end mark.
	blank := len(bytes.TrimLeft(b[:headerSize], "\x00")) == 0
	return blank && !bytes.Contains(b, []byte(endMark))
}
