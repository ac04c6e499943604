// Package chardev is the user-space interface of three Linux drivers, i2c-dev,
// spidev and the GPIO character device (version 2), in front of chip models.
//
// It promises that an ioctl does to a model what the kernel would have done to
// the chip, that what it does not implement is refused with the error number the
// kernel has for it, and that no request makes it read or write more of the
// caller's memory than the kernel would.
//
// Layouts: linux/i2c.h, linux/i2c-dev.h, linux/spi/spidev.h and linux/gpio.h on a
// 64 bit little-endian machine.
package chardev

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// le is the byte order of every machine that package supervise runs on.
var le = binary.LittleEndian

// A Process is the caller of an ioctl. Its methods fail once the call is over.
type Process interface {
	// Read fills b from the caller's memory, or fails with EFAULT.
	Read(address uint64, b []byte) error
	// Write copies b to the caller's memory, or fails with EFAULT.
	Write(address uint64, b []byte) error
	// Install gives the caller a descriptor of file. Ioctls on it go to device
	// until remove is called. The caller's copy is its own: closing file does
	// not close it.
	Install(file *os.File, device Device) (descriptor int32, remove func(), err error)
	// ID returns the process number.
	ID() int
}

// A Call is one ioctl.
type Call struct {
	Descriptor int32
	Request    uint32
	Argument   uint64
	Process
}

// A Device answers the ioctls of one file: a result from 0 up, or an error that
// is or wraps a unix.Errno. Safe for concurrent use.
type Device interface {
	Ioctl(c *Call) (int, error)
}

// Errno returns the error number a caller is told for err.
func Errno(err error) unix.Errno {
	var number unix.Errno
	if errors.As(err, &number) {
		return number
	}
	return unix.EIO
}
