package supervise

import (
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"trailmark/firmware-sim/internal/board/hostclock"
)

// Types of the ioctls a filter hands over: the second byte of a request.
const (
	typeI2C  = 0x07
	typeSPI  = 'k'
	typeGPIO = 0xb4
)

// Offsets in struct seccomp_data of a little-endian machine; of an argument the
// low half.
const (
	dataNumber = 0
	dataArch   = 4
	dataFirst  = 16
	dataSecond = 24
	dataThird  = 32
)

// filter hands over every ioctl of the three types and, with a clock, what reads or
// sets the wall clock and what a program does before. It takes the netlink connector
// away, through which the kernel's 1-Wire masters are reached: they are not on our
// board, and a kernel that has none does not answer. Anything else passes. A process
// of another architecture (32 bit) is killed: its layouts are not ours.
func filter(clock bool) []unix.SockFilter {
	const (
		load = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		is   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K // else skip Jf instructions
		ret  = unix.BPF_RET | unix.BPF_K
	)
	code := []unix.SockFilter{
		{Code: load, K: dataArch},
		{Code: is, K: auditArch, Jt: 1},
		{Code: ret, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: load, K: dataNumber},
	}
	if clock {
		// The calls by clock come first: a hooked program asks for every other clock
		// by them too.
		for _, number := range hostclock.ByClock {
			code = append(code, unix.SockFilter{Code: is, K: number, Jf: uint8(2 + 2*len(hostclock.Clocks))}, unix.SockFilter{Code: load, K: dataFirst})
			for _, id := range hostclock.Clocks {
				code = append(code, unix.SockFilter{Code: is, K: id, Jf: 1}, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_USER_NOTIF})
			}
			code = append(code, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
		}
		for _, number := range slices.Concat(hostclock.Always, hostclock.First) {
			code = append(code, unix.SockFilter{Code: is, K: number, Jf: 1}, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_USER_NOTIF})
		}
	}
	return append(code, []unix.SockFilter{
		{Code: is, K: unix.SYS_IOCTL, Jt: 6},
		{Code: is, K: unix.SYS_SOCKET, Jf: 11}, // to pass
		{Code: load, K: dataFirst},
		{Code: is, K: unix.AF_NETLINK, Jf: 9}, // to pass
		{Code: load, K: dataThird},
		{Code: is, K: unix.NETLINK_CONNECTOR, Jf: 7}, // to pass
		{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPROTONOSUPPORT)},
		// An ioctl: the second byte of its request.
		{Code: load, K: dataSecond},
		{Code: unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K, K: 8},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0xff},
		{Code: is, K: typeI2C, Jt: 3},
		{Code: is, K: typeSPI, Jt: 2},
		{Code: is, K: typeGPIO, Jt: 1},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW}, // pass
		{Code: ret, K: unix.SECCOMP_RET_USER_NOTIF},
	}...)
}

// installFilter puts the filter on this thread for good and returns its listener,
// which is closed on exec. A thread may do so with CAP_SYS_ADMIN, so the command is
// spared no_new_privs.
func installFilter(clock bool) (int, error) {
	code := filter(clock)
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
		uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(code)
	switch errno {
	case 0:
		return int(fd), nil
	case unix.EINVAL:
		return -1, fmt.Errorf("seccomp filter: %w\nhint: chip models under a command need Linux 5.19", errno)
	case unix.EBUSY:
		return -1, fmt.Errorf("seccomp filter: %w\nhint: this process runs under a filter with a listener already; only one can be", errno)
	}
	return -1, fmt.Errorf("seccomp filter: %w", errno)
}

// checkSeccomp asks the kernel whether it knows user notifications.
func checkSeccomp() error {
	action := uint32(unix.SECCOMP_RET_USER_NOTIF)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	if errno != 0 {
		return hint(fmt.Errorf("no seccomp user notification on this machine: %w\nhint: it needs a Linux 5.19 with CONFIG_SECCOMP_FILTER", errno))
	}
	return nil
}
