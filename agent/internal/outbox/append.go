package outbox

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// A batch is the records that reach the card with one sync.
type batch struct {
	// first, buf and ends belong to Log.mu until commit takes the batch.
	first uint64
	buf   []byte
	ends  []int // end of each record in buf
	// The rest belongs to Log.commitMu.
	done    int // records that are durable
	settled bool
	err     error
}

// Append adds record seq, which must be Next. When it returns nil the record
// survives loss of power. After an error the record may or may not be found by
// a later Open, but Next still is seq and the same bytes can be offered again,
// save after ErrBroken. Other errors wrap ErrSequence, ErrFull, ErrClosed or the
// card's (syscall.ENOSPC).
//
// A log that never held a record takes any seq; one with Damage.Tail any seq
// from Next on: that append says that the caller has dealt with the damage.
func (l *Log) Append(seq uint64, data []byte) error {
	wait, err := l.Stage(seq, data)
	if err != nil {
		return err
	}
	return wait()
}

// Stage queues a record as Append does and returns at once; wait returns when
// it is durable or failed. Records staged while the card is busy share the next
// sync. When one fails, all staged after it fail too. wait must be called.
func (l *Log) Stage(seq uint64, data []byte) (wait func() error, err error) {
	if limit := min(MaxData, l.opt.SegmentBytes-overhead); int64(len(data)) > limit {
		return nil, fmt.Errorf("outbox: record %d has %d bytes, at most %d fit", seq, len(data), limit)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, ErrClosed
	case l.broken != nil:
		return nil, fmt.Errorf("outbox: %w: %w", ErrBroken, l.broken)
	case seq == l.reserve && seq != math.MaxUint64:
	case l.free && l.reserve == l.next && seq > l.next && seq != math.MaxUint64: // nothing staged yet
	default:
		return nil, fmt.Errorf("outbox: %w: %d, want %d", ErrSequence, seq, l.reserve)
	}
	if l.pending == nil {
		l.pending = &batch{first: seq}
	}
	b := l.pending
	b.buf = appendRecord(b.buf, seq, data)
	b.ends = append(b.ends, len(b.buf))
	i := len(b.ends) - 1
	l.reserve = seq + 1
	return func() error {
		l.commitMu.Lock()
		defer l.commitMu.Unlock()
		if !b.settled {
			l.commit(b)
		}
		if i < b.done {
			return nil
		}
		return b.err
	}, nil
}

// commit brings the pending batch to the card. Caller holds commitMu; a batch
// that is not settled is the pending one, because only commit takes it away.
func (l *Log) commit(b *batch) {
	l.mu.Lock()
	l.pending = nil
	err := l.broken
	l.mu.Unlock()
	if err == nil {
		err = l.writeBatch(b)
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	b.settled = true
	if err == nil {
		return
	}
	if errors.Is(err, errSync) {
		l.broken = err
	}
	b.err = fmt.Errorf("outbox: record %d: %w", b.first+uint64(b.done), err)
	if p := l.pending; p != nil { // its numbers follow on the ones that failed
		p.settled, p.err = true, b.err
		l.pending = nil
	}
	l.reserve = l.next
}

// writeBatch writes as many records at a time as the segment takes.
func (l *Log) writeBatch(b *batch) error {
	if err := l.wipe(); err != nil {
		return err
	}
	for b.done < len(b.ends) {
		from := 0
		if b.done > 0 {
			from = b.ends[b.done-1]
		}
		seq := b.first + uint64(b.done)
		if l.cur == nil || int64(b.ends[b.done]-from) > l.curSize-l.end {
			if err := l.roll(seq); err != nil {
				return err
			}
		}
		if newest := l.segs[len(l.segs)-1]; l.bounds.newest != newest.base || l.bounds.size != newest.size {
			if err := l.saveBounds(bounds{l.first, newest.base, newest.size}); err != nil {
				return err
			}
		}
		n := b.done
		for n < len(b.ends) && int64(b.ends[n]-from) <= l.curSize-l.end {
			n++
		}
		chunk := b.buf[from:b.ends[n-1]]
		if err := l.write(l.cur, chunk, l.end); err != nil {
			l.smudge = l.end + int64(len(chunk))
			return err
		}
		if err := l.syncCur(); err != nil {
			return err
		}
		l.acknowledge(b, n, from)
	}
	return nil
}

// acknowledge makes records b.done..n visible; the first begins at from in b.buf.
func (l *Log) acknowledge(b *batch, n, from int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.segs[len(l.segs)-1]
	start := from
	for ; b.done < n; b.done++ {
		s.recs = append(s.recs, uint32(l.end+int64(start-from)))
		l.lastData = b.buf[start+headerSize : b.ends[b.done]-trailerSize]
		start = b.ends[b.done]
	}
	l.lastData = append([]byte(nil), l.lastData...) // lets go of the batch
	l.end += int64(start - from)
	l.next = b.first + uint64(n)
	l.lastSeq, l.hasLast, l.tail = l.next-1, true, false
}

func (l *Log) syncCur() error {
	if err := l.sync(l.cur); err != nil {
		return fmt.Errorf("%w: %w", errSync, err)
	}
	return nil
}

// wipe clears what a failed write left, so that it cannot look like a damaged record.
func (l *Log) wipe() error {
	if l.smudge <= l.end {
		return nil
	}
	if err := l.write(l.cur, make([]byte, l.smudge-l.end), l.end); err != nil {
		return err
	}
	if err := l.syncCur(); err != nil {
		return err
	}
	l.smudge = 0
	return nil
}

// roll opens a segment for seq. From then on the log expects seq and no other:
// the name of the segment promises it. Caller holds commitMu.
func (l *Log) roll(seq uint64) error {
	size := l.opt.SegmentBytes
	if l.opt.MaxBytes != 0 && l.bytes+size > l.opt.MaxBytes {
		return fmt.Errorf("%w: %d + %d > %d bytes\nhint: records are let go when the ledger has them; is the gateway reachable?", ErrFull, l.bytes, size, l.opt.MaxBytes)
	}
	name := segmentName(seq)
	err := l.publish(name, func(f *os.File) error { return allocate(f, size) })
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(l.dir, name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if l.cur != nil {
		l.cur.Close() // synced, nothing to lose
	}
	l.cur, l.curSize, l.end = f, size, 0
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.segs); n > 0 && l.segs[n-1].base == seq { // an empty one, now replaced
		l.bytes -= l.segs[n-1].size
		l.segs = l.segs[:n-1]
	}
	l.segs = append(l.segs, &segment{base: seq, size: size})
	l.bytes += size
	if l.first == l.next {
		l.first = seq
	}
	l.next, l.free = seq, false
	return nil
}

// Prune lets go of whole segments whose every record is at most through. The
// segment of the newest record stays: it carries the device's signing state.
// When Prune returns nil the pruned records stay away; after an error some may
// be back, or gone, at the next Open. A log with Damage.Tail refuses, because
// pruning would wipe the traces of what is missing.
func (l *Log) Prune(through uint64) error {
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	l.mu.Lock()
	if err := l.prunable(); err != nil {
		l.mu.Unlock()
		return err
	}
	n := 0
	for n+1 < len(l.segs) && l.segs[n+1].base-1 <= through && l.segs[n+1].base <= l.lastSeq {
		n++
	}
	gone, kept := l.segs[:n:n], l.segs[n:]
	l.mu.Unlock()
	if n == 0 {
		return nil
	}
	b := l.bounds
	b.first = kept[0].base
	err := l.saveBounds(b)
	if errors.Is(err, syscall.ENOSPC) {
		// A full card has no room to say what may go. A power cut right here is
		// told as lost records, which is false and harmless: they were let go.
		if err = os.Remove(filepath.Join(l.dir, gone[0].name())); err == nil {
			err = l.saveBounds(b)
		}
	}
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if errors.Is(err, errSync) {
			l.broken = err
		}
		return fmt.Errorf("outbox: prune: %w", err)
	}
	l.mu.Lock()
	l.segs, l.first = slices.Clone(kept), b.first
	l.mu.Unlock()
	var errs []error
	for _, s := range gone {
		l.bytes -= s.size
		if err := os.Remove(filepath.Join(l.dir, s.name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("outbox: prune: %w", err)) // Open removes it: it lies below the bounds
		}
	}
	return errors.Join(errs...)
}

func (l *Log) prunable() error {
	switch {
	case l.closed:
		return ErrClosed
	case l.broken != nil:
		return fmt.Errorf("outbox: %w: %w", ErrBroken, l.broken)
	case l.tail:
		return fmt.Errorf("outbox: prune: the newest record is %w\nhint: append the record to go on with first", ErrDamaged)
	}
	return nil
}
