package outbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// A loader reads the segments in order and keeps the books that Open needs.
type loader struct {
	l         *Log
	buf       []byte
	findings  []Damage
	lastGood  int    // findings[lastGood:] come after the newest readable record
	expect    uint64 // next record
	open      int    // finding at the end of the last segment, -1: none; the next one says how much was lost
	tornBytes int64  // length of a cut-short write at the end of the newest segment
	end       int64  // where the next record goes in the newest segment
}

// load brings the log to the state that the card is in. It runs before anyone else has the log.
func (l *Log) load() error {
	bounds, found, boundsErr := readBounds(l.dir)
	if boundsErr == nil {
		l.bounds = bounds
	}
	bases, err := l.list()
	if err != nil {
		return err
	}
	known := found && boundsErr == nil
	ld := &loader{l: l, open: -1}
	if known {
		l.first, ld.expect = bounds.first, bounds.first
		for len(bases) > 0 && bases[0] < bounds.first { // a prune that was interrupted
			if err := os.Remove(filepath.Join(l.dir, segmentName(bases[0]))); err != nil {
				return err
			}
			bases = bases[1:]
		}
	} else if len(bases) > 0 {
		l.first, ld.expect = bases[0], bases[0]
	}
	for i, base := range bases {
		if err := ld.segment(base, i == len(bases)-1); err != nil {
			return err
		}
	}
	ld.checkBounds(bounds, found, boundsErr)

	for i := ld.lastGood; i < len(ld.findings); i++ {
		if d := &ld.findings[i]; !d.Torn {
			d.Tail, l.tail = true, true
		}
	}
	l.damage = ld.findings
	l.next, l.reserve = ld.expect, ld.expect
	l.free = l.tail || (!found && len(l.segs) == 0)
	if l.tail || len(l.segs) == 0 {
		return nil // never write after damaged bytes: the next record opens a segment
	}
	return ld.reopen()
}

// list returns the bases of all segments in order. Other files are left alone.
func (l *Log) list() ([]uint64, error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, err
	}
	var bases []uint64
	for _, e := range entries {
		if base, ok := parseSegmentName(e.Name()); ok && e.Type().IsRegular() {
			bases = append(bases, base)
		}
	}
	slices.Sort(bases)
	return bases, nil
}

// segment reads one segment. Nothing of what it finds wrong is an error.
func (ld *loader) segment(base uint64, newest bool) error {
	l := ld.l
	name := segmentName(base)
	f, err := os.OpenFile(filepath.Join(l.dir, name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if newest {
		// A killed process leaves records in memory only; nobody may build on those.
		if err := l.sync(f); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	// Read what the card has, not what memory kept of a sync that failed. Best effort.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)

	if base < ld.expect {
		ld.add(Damage{From: base, To: base, Segment: name, Reason: fmt.Sprintf("segment overlaps the one before, which ends at record %d; left alone", ld.expect)})
		return nil
	}
	if base > ld.expect {
		if ld.open < 0 {
			ld.add(Damage{From: ld.expect, Segment: segmentName(ld.expect), Reason: "no segment holds these records"})
			ld.open = len(ld.findings) - 1
		}
		d := &ld.findings[ld.open]
		d.To, d.Torn, ld.expect = base, false, base
	}
	ld.open, ld.tornBytes = -1, 0

	size := min(st.Size(), MaxSegment)
	b, unread := ld.read(f, size)
	if unread != nil {
		ld.add(Damage{From: base, To: base, Segment: name, Reason: fmt.Sprintf("card could not read all of it: %v", unread)})
	}
	if st.Size() > size {
		ld.add(Damage{From: base, To: base, Segment: name, Offset: size, Reason: fmt.Sprintf("segment has %d bytes, at most %d are looked at", st.Size(), size)})
	}
	s := scan(b, base)
	start := len(ld.findings)
	for _, fd := range s.findings {
		fd.Segment = name
		if err := l.quarantine(name, fd.Offset, b[fd.Offset:fd.Offset+fd.length]); err != nil {
			fd.Reason += fmt.Sprintf("; not copied to quarantine: %v", err)
		}
		if fd.Torn {
			ld.tornBytes = fd.length
		}
		ld.add(fd.Damage)
	}
	if s.good {
		ld.lastGood = start + s.settled
		l.hasLast, l.lastData = true, slices.Clone(s.newest)
	}
	if s.settled < len(s.findings) {
		ld.open = len(ld.findings) - 1
	}
	for i, off := range slices.Backward(s.recs) {
		if off != lost {
			l.lastSeq = base + uint64(i)
			break
		}
	}
	seg := &segment{base: base, size: size, recs: s.recs}
	l.segs = append(l.segs, seg)
	l.bytes += size
	ld.expect, ld.end = seg.next(), s.end
	for _, h := range s.marks {
		off := int64(s.recs[h.seq-base]) + int64(h.size()-trailerSize)
		if err := l.write(f, appendTrailer(nil, h), off); err != nil {
			return fmt.Errorf("%s: write end mark: %w", name, err)
		}
	}
	if len(s.marks) > 0 {
		return l.sync(f)
	}
	return nil
}

func (ld *loader) add(d Damage) { ld.findings = append(ld.findings, d) }

// read reads size bytes. What the card cannot read becomes 0xff, which is
// neither a record nor blank space, so that it is found to be damaged.
func (ld *loader) read(r io.ReaderAt, size int64) (b []byte, unread error) {
	ld.buf = slices.Grow(ld.buf[:0], int(size))[:size]
	b = ld.buf
	if n, err := r.ReadAt(b, 0); err == nil || errors.Is(err, io.EOF) && int64(n) == size {
		return b, nil
	}
	const page = 4096
	for off := 0; off < len(b); off += page {
		p := b[off:min(off+page, len(b))]
		if n, err := r.ReadAt(p, int64(off)); n < len(p) {
			unread = err
			for i := range p {
				p[i] = 0xff
			}
		}
	}
	return b, unread
}

// checkBounds compares with what must be there.
func (ld *loader) checkBounds(b bounds, found bool, err error) {
	l := ld.l
	newest := uint64(0)
	var size int64
	if n := len(l.segs); n > 0 {
		newest, size = l.segs[n-1].base, l.segs[n-1].size
	}
	switch {
	case err != nil, !found && (l.hasLast || len(ld.findings) > 0):
		reason := "bounds file is missing, segments may be too"
		if err != nil {
			reason = err.Error() + ", segments may be missing"
		}
		ld.add(Damage{From: ld.expect, To: ld.expect, Segment: boundsName, Reason: reason})
	case found && (len(l.segs) == 0 || newest < b.newest):
		d := Damage{From: ld.expect, To: max(ld.expect, b.newest+1), Segment: segmentName(b.newest), Reason: "newest segment is missing"}
		ld.add(d)
		ld.expect = d.To
	case found && newest == b.newest && size < b.size:
		ld.add(Damage{From: ld.expect, To: ld.expect + 1, Segment: segmentName(newest), Offset: size, Reason: fmt.Sprintf("segment was cut to %d of %d bytes", size, b.size)})
		ld.expect++
	}
}

// reopen makes the newest segment ready for the next record.
func (ld *loader) reopen() error {
	l := ld.l
	s := l.segs[len(l.segs)-1]
	f, err := os.OpenFile(filepath.Join(l.dir, s.name()), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	l.cur, l.curSize, l.end = f, s.size, ld.end
	// From the back: a power cut in between must leave a torn write, not a headless one.
	for _, cut := range []int64{min(headerSize, ld.tornBytes), 0} {
		if ld.tornBytes == cut {
			continue
		}
		if err := l.write(f, make([]byte, ld.tornBytes-cut), l.end+cut); err != nil {
			return fmt.Errorf("%s: clear torn end: %w", s.name(), err)
		}
		if err := l.sync(f); err != nil {
			return fmt.Errorf("%s: %w", s.name(), err)
		}
	}
	return nil
}

// quarantine copies damaged bytes, so that they survive a prune. It keeps as
// much as one segment; after that the segments alone hold them.
func (l *Log) quarantine(segment string, off int64, b []byte) error {
	dir := filepath.Join(l.dir, "quarantine")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	name := filepath.Join(dir, fmt.Sprintf("%s-%d-%08x.bin", segment, off, checksum(b)))
	if _, err := os.Lstat(name); err == nil {
		return nil // found before
	}
	kept := int64(len(b))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			kept += info.Size()
		}
	}
	if kept > l.opt.SegmentBytes {
		return fmt.Errorf("quarantine would hold %d bytes, at most %d", kept, l.opt.SegmentBytes)
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
