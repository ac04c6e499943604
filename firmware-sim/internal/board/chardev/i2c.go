package chardev

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"trailmark/firmware-sim/chip/i2cbus"
)

// Requests of linux/i2c-dev.h.
const (
	i2cRetries    = 0x0701
	i2cTimeout    = 0x0702
	i2cSlave      = 0x0703
	i2cTenBit     = 0x0704
	i2cFuncs      = 0x0705
	i2cSlaveForce = 0x0706
	i2cRdwr       = 0x0707
	i2cPEC        = 0x0708
	i2cSMBus      = 0x0720
)

// functionality is I2C_FUNC_I2C and what SMBus commands smbus.go makes of it.
const functionality = 0x1 | // I2C
	0x10000 | // quick
	0x20000 | 0x40000 | // byte
	0x80000 | 0x100000 | // byte data
	0x200000 | 0x400000 | // word data
	0x4000000 | 0x8000000 // I2C block

// Limits of drivers/i2c/i2c-dev.c.
const (
	maxMessages = 42
	maxMessage  = 8192
)

const (
	flagRead    = 0x0001
	messageSize = 16 // struct i2c_msg: address, flags, length (2 bytes each), 2 unused, pointer
)

// An I2CBus is /dev/i2c-N.
type I2CBus struct {
	wire *i2cbus.Bus

	mu     sync.Mutex
	slaves map[open]uint16 // set with I2C_SLAVE
}

// An open file as far as it can be told from outside: of a descriptor that was
// closed and opened again it keeps the slave address, where the kernel has none.
type open struct {
	process    int
	descriptor int32
}

// NewI2CBus returns the device in front of a bus.
func NewI2CBus(wire *i2cbus.Bus) *I2CBus {
	return &I2CBus{wire: wire, slaves: map[open]uint16{}}
}

// Ioctl implements Device.
func (b *I2CBus) Ioctl(c *Call) (int, error) {
	switch c.Request {
	case i2cFuncs:
		return 0, c.Write(c.Argument, le.AppendUint64(nil, functionality))
	case i2cSlave, i2cSlaveForce:
		if c.Argument > i2cbus.MaxAddr {
			return 0, unix.EINVAL
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.slaves[open{c.ID(), c.Descriptor}] = uint16(c.Argument)
		return 0, nil
	case i2cRdwr:
		return b.rdwr(c)
	case i2cSMBus:
		return 0, b.smbus(c)
	case i2cRetries, i2cTimeout:
		return 0, nil // a model neither loses arbitration nor times out
	case i2cTenBit, i2cPEC:
		if c.Argument != 0 {
			return 0, unix.EINVAL
		}
		return 0, nil
	}
	return 0, unix.ENOTTY
}

// rdwr does I2C_RDWR. The result is the number of messages.
func (b *I2CBus) rdwr(c *Call) (int, error) {
	var head [16]byte // struct i2c_rdwr_ioctl_data: pointer, count, padding
	if err := c.Read(c.Argument, head[:]); err != nil {
		return 0, err
	}
	n := int(le.Uint32(head[8:]))
	if n < 1 || n > maxMessages {
		return 0, unix.EINVAL
	}
	raw := make([]byte, n*messageSize)
	if err := c.Read(le.Uint64(head[:]), raw); err != nil {
		return 0, err
	}
	pointers, messages := make([]uint64, n), make([]i2cbus.Msg, n)
	for i := range n {
		m := raw[i*messageSize:]
		flags, length := le.Uint16(m[2:]), int(le.Uint16(m[4:]))
		if length > maxMessage {
			return 0, unix.EINVAL
		}
		if flags&^flagRead != 0 {
			return 0, unix.EOPNOTSUPP
		}
		pointers[i] = le.Uint64(m[8:])
		messages[i] = i2cbus.Msg{Addr: le.Uint16(m), Read: flags&flagRead != 0, Data: make([]byte, length)}
		if !messages[i].Read {
			if err := c.Read(pointers[i], messages[i].Data); err != nil {
				return 0, err
			}
		}
	}
	if err := b.transfer(messages); err != nil {
		return 0, err
	}
	for i, m := range messages {
		if m.Read {
			if err := c.Write(pointers[i], m.Data); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// transfer runs one transaction. The error numbers are those of a Raspberry Pi's
// controller (i2c-bcm2835): EREMOTEIO for a byte that is not acknowledged,
// ETIMEDOUT for a bus that does not get free, here without the second it takes.
func (b *I2CBus) transfer(messages []i2cbus.Msg) error {
	err := b.wire.Transfer(messages)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, i2cbus.ErrLow):
		return fmt.Errorf("%w: %w", err, unix.ETIMEDOUT)
	}
	return fmt.Errorf("%w: %w", err, unix.EREMOTEIO)
}
