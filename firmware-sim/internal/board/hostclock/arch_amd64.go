package hostclock

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const sysTime = unix.SYS_TIME

var (
	more      = []uint32{unix.SYS_TIME}
	moreFirst = []uint32{unix.SYS_ARCH_PRCTL}
)

// shown are the functions of the vDSO that tell the time, and the calls they stand for.
var shown = map[string]uint32{
	"__vdso_clock_gettime": unix.SYS_CLOCK_GETTIME,
	"__vdso_gettimeofday":  unix.SYS_GETTIMEOFDAY,
	"__vdso_time":          unix.SYS_TIME,
}

// stub is a function that makes a system call with its own arguments:
// mov eax, number; syscall; ret.
func stub(number uint32) []byte {
	return append(binary.LittleEndian.AppendUint32([]byte{0xb8}, number), 0x0f, 0x05, 0xc3)
}
