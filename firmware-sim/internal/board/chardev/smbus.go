package chardev

import (
	"golang.org/x/sys/unix"

	"trailmark/firmware-sim/chip/i2cbus"
)

// Sizes of struct i2c_smbus_ioctl_data (linux/i2c.h), which are its commands.
const (
	smbusQuick = iota
	smbusByte
	smbusByteData
	smbusWordData
	_ // process call
	_ // block data
	smbusI2CBlockBroken
	_ // block process call
	smbusI2CBlock
)

// maxBlock is I2C_SMBUS_BLOCK_MAX.
const maxBlock = 32

// smbus does I2C_SMBUS by the messages that the command stands for
// (drivers/i2c/i2c-core-smbus.c, i2c_smbus_xfer_emulated).
func (b *I2CBus) smbus(c *Call) error {
	var head [16]byte // read or write, command, padding, size, pointer
	if err := c.Read(c.Argument, head[:]); err != nil {
		return err
	}
	read, command, size, pointer := head[0] == 1, head[1], le.Uint32(head[4:]), le.Uint64(head[8:])
	if head[0] > 1 {
		return unix.EINVAL
	}
	b.mu.Lock()
	address := b.slaves[open{c.ID(), c.Descriptor}]
	b.mu.Unlock()

	length, hasCommand := 0, true
	switch size {
	case smbusQuick:
		hasCommand = false
	case smbusByte:
		// The command is the byte that is sent; what is received has none.
		if !read {
			return b.transfer([]i2cbus.Msg{{Addr: address, Data: []byte{command}}})
		}
		length, hasCommand = 1, false
	case smbusByteData:
		length = 1
	case smbusWordData:
		length = 2
	case smbusI2CBlock, smbusI2CBlockBroken:
		var count [1]byte
		if err := c.Read(pointer, count[:]); err != nil {
			return err
		}
		if count[0] < 1 || count[0] > maxBlock {
			return unix.EINVAL
		}
		length = int(count[0])
		pointer++ // the count stays in front of the data
	default:
		return unix.EOPNOTSUPP
	}

	data := make([]byte, length)
	if !read && length > 0 {
		if err := c.Read(pointer, data); err != nil {
			return err
		}
	}
	var messages []i2cbus.Msg
	switch {
	case !hasCommand:
		messages = []i2cbus.Msg{{Addr: address, Read: read, Data: data}}
	case read:
		messages = []i2cbus.Msg{{Addr: address, Data: []byte{command}}, {Addr: address, Read: true, Data: data}}
	default:
		messages = []i2cbus.Msg{{Addr: address, Data: append([]byte{command}, data...)}}
	}
	if err := b.transfer(messages); err != nil {
		return err
	}
	if read && length > 0 {
		return c.Write(pointer, data)
	}
	return nil
}
