package hostclock

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Memory is that of a caller. Its methods fail with EFAULT, or once the call is over.
type Memory interface {
	Read(address uint64, b []byte) error
	Write(address uint64, b []byte) error
}

// Clocks are the clocks that a Clock answers for, by the first argument of ByClock.
var Clocks = []uint32{unix.CLOCK_REALTIME, unix.CLOCK_REALTIME_COARSE, unix.CLOCK_TAI}

// System calls that a Clock answers.
var (
	ByClock = []uint32{unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME} // of Clocks
	Always  = append([]uint32{unix.SYS_GETTIMEOFDAY, unix.SYS_SETTIMEOFDAY, unix.SYS_ADJTIMEX}, more...)
)

// First are system calls of which every program makes one before it reads the clock:
// the C libraries and Go's runtime do, to set themselves up.
var First = append([]uint32{unix.SYS_SET_TID_ADDRESS, unix.SYS_SCHED_GETAFFINITY}, moreFirst...)

// IsFirst says whether a call is one of First.
func IsFirst(number int32) bool { return slices.Contains(First, uint32(number)) }

// noDiscipline is what the kernel says of the error of a clock that was set by hand,
// in µs: NTP_PHASE_LIMIT.
const noDiscipline = 16_000_000

// Call answers one system call with its result, or an error that is a unix.Errno.
// Setting the clock is refused as to a program without the capability.
func (c *Clock) Call(number int32, argument [6]uint64, m Memory) (value int64, err error) {
	switch uint32(number) {
	case unix.SYS_CLOCK_GETTIME:
		ts, err := c.now(int32(argument[0]))
		if err != nil {
			return 0, err
		}
		return 0, m.Write(argument[1], pair(int64(ts.Sec), int64(ts.Nsec)))
	case unix.SYS_GETTIMEOFDAY:
		ts, err := c.now(unix.CLOCK_REALTIME)
		if err == nil && argument[0] != 0 {
			err = m.Write(argument[0], pair(int64(ts.Sec), int64(ts.Nsec)/1000))
		}
		if err == nil && argument[1] != 0 {
			err = m.Write(argument[1], make([]byte, 8)) // the time zone, which nobody sets
		}
		return 0, err
	case unix.SYS_ADJTIMEX:
		return c.adjust(argument[0], m)
	case unix.SYS_CLOCK_ADJTIME:
		return c.adjust(argument[1], m)
	case sysTime:
		ts, err := c.now(unix.CLOCK_REALTIME)
		if err == nil && argument[0] != 0 {
			err = m.Write(argument[0], binary.LittleEndian.AppendUint64(nil, uint64(ts.Sec)))
		}
		return int64(ts.Sec), err
	case unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME:
		return 0, unix.EPERM
	}
	return 0, unix.ENOSYS
}

func pair(a, b int64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(a)), uint64(b))
}

// now reads one of Clocks.
func (c *Clock) now(id int32) (unix.Timespec, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return ts, err
	}
	ahead, _ := c.state()
	return unix.NsecToTimespec(ts.Nano() + int64(ahead)), nil
}

// adjust reads the discipline of the clock, as adjtimex with no modes.
func (c *Clock) adjust(address uint64, m Memory) (state int64, err error) {
	var asked, told unix.Timex
	if err := m.Read(address, bytesOf(&asked)); err != nil {
		return 0, err
	}
	if asked.Modes != 0 {
		return 0, unix.EPERM
	}
	n, err := unix.Adjtimex(&told)
	if err != nil {
		return 0, err
	}
	ahead, set := c.state()
	if told.Status&unix.STA_NANO != 0 { // then what is called µs is ns
		ts := unix.NsecToTimespec(int64(told.Time.Sec)*1e9 + int64(told.Time.Usec) + int64(ahead))
		told.Time = unix.Timeval{Sec: ts.Sec, Usec: ts.Nsec}
	} else {
		told.Time = unix.NsecToTimeval(told.Time.Nano() + int64(ahead))
	}
	if set {
		n = unix.TIME_ERROR
		told.Status |= unix.STA_UNSYNC
		told.Maxerror, told.Esterror = noDiscipline, noDiscipline
	}
	return int64(n), m.Write(address, bytesOf(&told))
}

// bytesOf is the structure as the kernel of this machine has it.
func bytesOf(t *unix.Timex) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(t)), unsafe.Sizeof(*t))
}
