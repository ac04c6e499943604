// Package outbox keeps a device's frames on its card until the ledger has them.
//
// It is a log of opaque records under dense frame numbers. What Append
// acknowledged survives loss of power; what the card damaged afterwards is
// reported, never skipped in silence and never replaced by something else.
//
// Format. A directory holds
//
//	bounds                      which segments must be there (bounds.go)
//	00000000000000004711.seg    segment: records 4711, 4712, … then zeros
//	quarantine/                 copies of damaged bytes, for people
//
// and a segment is a run of records (big endian, CRC-32C):
//
//	header  "TMr1" | u32 length | u64 seq | u32 CRC of data | u32 CRC of the 20 bytes before
//	data    length bytes
//	end     "TMe1" | u64 seq | u32 CRC of data
//
// The header has its own CRC so that a damaged record can be stepped over; the
// end mark tells a write that the power cut short (never acknowledged) from a
// finished record that went bad later. Segments are created at full size and
// zero filled, so blank space reads as zeros. One limit follows: a card that
// turns the newest acknowledged blocks into zeros cannot be told from a card
// that never received them. Receipts from the ledger notice that.
package outbox

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// MaxData is the largest record in bytes.
	MaxData = 1 << 20
	// MaxSegment is the largest segment in bytes, and so the most that Open reads at once.
	MaxSegment = 64 << 20
	// DefaultSegment is the size of a segment in bytes.
	DefaultSegment = 4 << 20
)

var (
	// ErrFull says that the card budget is used up: prune, or stop sampling.
	ErrFull = errors.New("card budget is used up")
	// ErrNotFound says that the log does not hold a record: pruned or not yet written.
	ErrNotFound = errors.New("no such record")
	// ErrDamaged says that a record was written and can no longer be read.
	ErrDamaged = errors.New("record is damaged")
	// ErrSequence says that a record is not the next one.
	ErrSequence = errors.New("record out of sequence")
	// ErrBroken says that a sync failed: what the card holds is unknown until the log is reopened.
	ErrBroken = errors.New("an earlier sync failed, reopen the outbox")
	// ErrClosed says that Close was called.
	ErrClosed = errors.New("outbox is closed")
)

// Options tune a log. The zero value is right for a card.
type Options struct {
	SegmentBytes int64 // size of new segments, DefaultSegment if 0
	MaxBytes     int64 // budget for all segments, at least two of them; 0: no limit
}

// Damage is something Open found. It is found again at every Open until the
// segment is pruned, except Torn, which Open repairs.
type Damage struct {
	// Records From <= seq < To are lost. From == To: none is.
	// With Tail, To is a lower bound: more may be lost.
	From, To uint64
	Segment  string // file name
	Offset   int64  // where in it
	Reason   string
	// Torn: a write was cut short by loss of power. It was never acknowledged,
	// From == To is its number, and that number is free again.
	Torn bool
	// Tail: no good record follows, so the newest signing state is lost. Whoever
	// signs must not reuse a number below what others may have seen: ask the
	// ledger, or open a new epoch.
	Tail bool
}

// A Log is an open outbox. It is safe for concurrent use; the directory belongs
// to one Log of one process at a time.
type Log struct {
	dir     string
	dirFile *os.File // holds the lock; synced when names change
	opt     Options
	damage  []Damage // set by Open

	// sync and write are how a segment reaches the card; tests make them fail.
	sync  func(*os.File) error
	write func(*os.File, []byte, int64) error

	commitMu sync.Mutex // held by whoever writes to the card; owns the next block
	cur      *os.File   // newest segment, nil: the next record opens one
	curSize  int64
	end      int64 // where in cur the next record goes
	smudge   int64 // bytes [end, smudge) of cur may hold part of a failed write
	bounds   bounds
	bytes    int64 // of all segments

	mu       sync.Mutex // never held during input or output
	segs     []*segment // by base; the last one is cur if cur is not nil
	first    uint64
	next     uint64 // after the newest durable record
	reserve  uint64 // after the newest staged record
	free     bool   // fresh, or damaged at its end: any number from next on may follow
	tail     bool   // damaged at its end, nothing appended since
	hasLast  bool
	lastSeq  uint64
	lastData []byte
	pending  *batch
	broken   error
	closed   bool
}

// lost marks a record of a segment that cannot be read.
const lost = ^uint32(0)

type segment struct {
	base uint64
	size int64
	recs []uint32 // offset of record base+i, or lost
}

func (s *segment) next() uint64 { return s.base + uint64(len(s.recs)) }
func (s *segment) name() string { return segmentName(s.base) }

// Open opens the outbox in dir, which it creates if need be. It reads every
// record, repairs a torn end and reports what it found through Damage; damage
// is never an error. Errors are: another process has it, or the card fails.
func Open(dir string, opt Options) (*Log, error) {
	opt.SegmentBytes = cmp.Or(opt.SegmentBytes, DefaultSegment)
	if opt.SegmentBytes < 2*overhead || opt.SegmentBytes > MaxSegment {
		return nil, fmt.Errorf("outbox: segment size %d is not in %d..%d", opt.SegmentBytes, 2*overhead, MaxSegment)
	}
	if opt.MaxBytes != 0 && opt.MaxBytes < 2*opt.SegmentBytes {
		return nil, fmt.Errorf("outbox: budget %d is less than two segments of %d bytes\nhint: the segment of the newest record is never pruned, so a second one must fit", opt.MaxBytes, opt.SegmentBytes)
	}
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		d.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("outbox: %s is in use by another process: %w\nhint: is a second agent running? stop one", dir, err)
		}
		return nil, fmt.Errorf("outbox: lock %s: %w", dir, err)
	}
	l := &Log{dir: dir, dirFile: d, opt: opt, sync: fdatasync, write: writeAt}
	if err := l.load(); err != nil {
		if l.cur != nil {
			l.cur.Close()
		}
		d.Close()
		return nil, fmt.Errorf("outbox: %w", err)
	}
	return l, nil
}

// Close waits for a running write, then releases the directory. Records that
// were staged and not waited for are dropped.
func (l *Log) Close() error {
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	if l.pending != nil {
		l.pending.settled, l.pending.err = true, ErrClosed
		l.pending = nil
	}
	var err error
	if l.cur != nil {
		err = l.cur.Close()
	}
	return errors.Join(err, l.dirFile.Close())
}

// Damage returns what Open found, oldest record first.
func (l *Log) Damage() []Damage { return slices.Clone(l.damage) }

// First returns the number of the oldest record kept, readable or not. It equals Next in an empty log.
func (l *Log) First() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

// Next returns the number that Append expects.
func (l *Log) Next() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reserve
}

// Last returns the newest record, from which the device continues its chain.
// It is not ok in an empty log and in one with Damage.Tail: an older record is
// no place to continue from. The caller must not change data.
func (l *Log) Last() (seq uint64, data []byte, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.hasLast || l.tail {
		return 0, nil, false
	}
	return l.lastSeq, l.lastData, true
}

// Get reads and checks one durable record. Its error wraps ErrNotFound or
// ErrDamaged, or is the card's.
func (l *Log) Get(seq uint64) ([]byte, error) {
	l.mu.Lock()
	closed := l.closed
	first, next := l.first, l.next
	var base uint64
	off := lost
	if i, exact := slices.BinarySearchFunc(l.segs, seq, func(s *segment, q uint64) int { return cmp.Compare(s.base, q) }); exact || i > 0 {
		if !exact {
			i--
		}
		if s := l.segs[i]; seq < s.next() {
			base, off = s.base, s.recs[seq-s.base]
		}
	}
	l.mu.Unlock()
	switch {
	case closed:
		return nil, ErrClosed
	case seq < first || seq >= next:
		return nil, fmt.Errorf("outbox: %w: %d is not in %d..%d", ErrNotFound, seq, first, next)
	case off == lost:
		return nil, fmt.Errorf("outbox: %w: %d", ErrDamaged, seq)
	}
	f, err := os.Open(filepath.Join(l.dir, segmentName(base)))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("outbox: %w: %d: %w", ErrNotFound, seq, err) // pruned meanwhile
	} else if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	defer f.Close()
	data, err := readRecord(f, int64(off), seq)
	if err != nil {
		return nil, fmt.Errorf("outbox: %s at %d: %w", segmentName(base), off, err)
	}
	return data, nil
}
