package supervise

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"trailmark/firmware-sim/internal/board/chardev"
	"trailmark/firmware-sim/internal/board/hostclock"
)

// A fileID names a file as long as it exists.
type fileID struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

func identify(st *unix.Stat_t) fileID { return fileID{uint64(st.Dev), st.Ino} }

// Structures of linux/seccomp.h.
type (
	notification struct {
		id       uint64
		pid      uint32 // thread
		flags    uint32
		number   int32
		arch     uint32
		pointer  uint64
		argument [6]uint64
	}
	response struct {
		id    uint64
		value int64
		error int32
		flags uint32
	}
	addFD struct {
		id       uint64
		flags    uint32
		source   uint32
		target   uint32
		newFlags uint32
	}
)

// A listener answers the calls of every process under one filter.
type listener struct {
	file  *os.File
	clock *hostclock.Clock // or nil
	log   *slog.Logger

	mu      sync.RWMutex
	devices map[fileID]chardev.Device
}

// newListener takes over fd.
func newListener(fd int, clock *hostclock.Clock, log *slog.Logger) *listener {
	// Without this flag the runtime would block a thread in the kernel where
	// only a poll tells that the last process under the filter is gone.
	_ = unix.SetNonblock(fd, true)
	return &listener{file: os.NewFile(uintptr(fd), "seccomp"), clock: clock, log: log, devices: map[fileID]chardev.Device{}}
}

func (l *listener) add(id fileID, d chardev.Device) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.devices[id] = d
}

func (l *listener) remove(id fileID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.devices, id)
}

// serve answers until no process is left under the filter, each call on a goroutine
// of its own: a chip that stretches its clock delays nobody else.
func (l *listener) serve() error {
	defer l.file.Close()
	conn, err := l.file.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var n notification
		var failed error
		err := conn.Read(func(fd uintptr) bool {
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			for {
				_, err := unix.Poll(poll, 0)
				switch {
				case err == unix.EINTR:
					continue
				case err != nil:
					failed = err
					return true
				case poll[0].Revents&unix.POLLIN != 0:
					n = notification{}
					_, failed = ioctl(int(fd), unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n))
					if failed == unix.ENOENT || failed == unix.EINTR { // the caller was killed
						continue
					}
					return true
				case poll[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0:
					failed = errHangup
					return true
				}
				return false
			}
		})
		switch err := errors.Join(err, failed); {
		case errors.Is(err, errHangup):
			return nil
		case err != nil:
			return fmt.Errorf("seccomp listener: %w", err)
		}
		go l.answer(n)
	}
}

var errHangup = errors.New("no process is left")

// answer does one call.
func (l *listener) answer(n notification) {
	r := response{id: n.id}
	p := &caller{l: l, n: &n}
	var err error
	switch {
	case n.number == unix.SYS_IOCTL:
		err = p.ioctl(&r)
	case hostclock.IsFirst(n.number):
		p.hook()
		r.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	default:
		r.value, err = l.clock.Call(n.number, n.argument, p)
	}
	if err != nil {
		r.value, r.error = 0, -int32(chardev.Errno(err))
	}
	_, err = l.control(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
	if err != nil && err != unix.ENOENT && !errors.Is(err, os.ErrClosed) { // ENOENT: the caller was killed
		l.log.Warn("call not answered", slog.Int("pid", int(n.pid)), slog.Int("number", int(n.number)), slog.Any("error", err))
	}
}

// ioctl lets a device answer, or the kernel.
func (c *caller) ioctl(r *response) error {
	device := c.device()
	if device == nil {
		r.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
		return nil
	}
	call := &chardev.Call{
		Descriptor: int32(c.n.argument[0]), Request: uint32(c.n.argument[1]), Argument: c.n.argument[2], Process: c,
	}
	value, err := device.Ioctl(call)
	if err != nil {
		c.l.log.Debug("ioctl refused", slog.Int("pid", int(c.n.pid)),
			slog.String("request", fmt.Sprintf("%#x", call.Request)), slog.Any("error", err))
	}
	r.value = int64(value)
	return err
}

// hook makes a program that has just been started ask us for the time. One that
// would see this machine's instead is killed: nobody must take it for the board's.
func (c *caller) hook() {
	err := hostclock.Hook(int(c.n.pid), c.valid)
	if err == nil || c.valid() != nil {
		return
	}
	c.l.log.Error("killed: the board's clock cannot be shown to it", slog.Int("pid", int(c.n.pid)), slog.Any("error", err))
	_ = unix.Kill(int(c.n.pid), unix.SIGKILL) // it is gone, or ours
}

// control is one ioctl on the listener.
func (l *listener) control(request uintptr, argument unsafe.Pointer) (value int, err error) {
	conn, err := l.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = conn.Control(func(fd uintptr) { value, failed = ioctl(int(fd), request, argument) })
	if err == nil {
		err = failed
	}
	return value, err
}

func ioctl(fd int, request uintptr, argument unsafe.Pointer) (int, error) {
	value, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(argument))
	if errno != 0 {
		return 0, errno
	}
	return int(value), nil
}
