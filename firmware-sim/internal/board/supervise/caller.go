package supervise

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"trailmark/firmware-sim/internal/board/chardev"
)

// A caller is the thread that waits for one answer. It implements chardev.Process.
type caller struct {
	l *listener
	n *notification
}

// valid fails once the thread is gone: what was done by its number before may have
// been done to another process.
func (c *caller) valid() error {
	id := c.n.id
	_, err := c.l.control(unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&id))
	return err
}

// device returns what the ioctl's descriptor stands for, or nil.
func (c *caller) device() chardev.Device {
	var st unix.Stat_t
	path := fmt.Sprintf("/proc/%d/fd/%d", c.n.pid, int32(c.n.argument[0]))
	if unix.Stat(path, &st) != nil || c.valid() != nil {
		return nil // a descriptor that is not open: the kernel will say so
	}
	c.l.mu.RLock()
	defer c.l.mu.RUnlock()
	return c.l.devices[identify(&st)]
}

// ID implements chardev.Process. Of a caller that is gone it returns the thread.
func (c *caller) ID() int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.n.pid))
	if err == nil {
		for line := range bytes.Lines(status) {
			if after, ok := bytes.CutPrefix(line, []byte("Tgid:")); ok {
				if id, err := strconv.Atoi(string(bytes.TrimSpace(after))); err == nil {
					return id
				}
			}
		}
	}
	return int(c.n.pid)
}

// Read implements chardev.Process.
func (c *caller) Read(address uint64, b []byte) error {
	return c.copy(unix.ProcessVMReadv, address, b)
}

// Write implements chardev.Process.
func (c *caller) Write(address uint64, b []byte) error {
	return c.copy(unix.ProcessVMWritev, address, b)
}

func (c *caller) copy(move func(int, []unix.Iovec, []unix.RemoteIovec, uint) (int, error), address uint64, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	local := []unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	n, err := move(int(c.n.pid), local, []unix.RemoteIovec{{Base: uintptr(address), Len: len(b)}}, 0)
	if err != nil {
		return err
	}
	if n != len(b) {
		return unix.EFAULT
	}
	return c.valid()
}

// Install implements chardev.Process.
func (c *caller) Install(file *os.File, device chardev.Device) (descriptor int32, remove func(), err error) {
	nothing := func() {}
	conn, err := file.SyscallConn()
	if err != nil {
		return -1, nothing, err
	}
	var st unix.Stat_t
	var fd int
	var failed error
	err = conn.Control(func(source uintptr) {
		if failed = unix.Fstat(int(source), &st); failed != nil {
			return
		}
		c.l.add(identify(&st), device)
		add := addFD{id: c.n.id, source: uint32(source), newFlags: unix.O_CLOEXEC}
		fd, failed = c.l.control(unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&add))
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		c.l.remove(identify(&st))
		return -1, nothing, err
	}
	return int32(fd), func() { c.l.remove(identify(&st)) }, nil
}
