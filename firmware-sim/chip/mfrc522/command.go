package mfrc522

import (
	"time"

	"trailmark/firmware-sim/chip/picc"
)

// command is a write to CommandReg. The caller holds mu.
func (c *Chip) command(v byte, now time.Time) {
	cmd := v & 0xf
	if cmd == cmdSoftReset {
		c.reset(now, rouse)
		return
	}
	if c.reg[regCommand]&bitPowerDown != 0 && v&bitPowerDown == 0 {
		c.awake = now.Add(rouse)
	}
	if cmd == cmdNoChange {
		cmd = c.reg[regCommand] & 0xf
		c.reg[regCommand] = v&(bitRcvOff|bitPowerDown) | cmd
	} else {
		c.reg[regCommand] = v&(bitRcvOff|bitPowerDown) | cmd
		c.radio.stop()
		c.start(cmd, now)
	}
	c.o.Field.Power(c.carrier(now), now)
}

// start begins cmd. Starting Idle sets no interrupt, ending in it does (data
// sheet, table 30). The caller holds mu.
func (c *Chip) start(cmd byte, now time.Time) {
	if cmd != cmdIdle {
		c.reg[regError] &= errOverflow
	}
	switch cmd {
	case cmdIdle, cmdTransceive:
	case cmdMem:
		if len(c.fifo) == 0 {
			c.fifo = append(c.fifo, c.mem[:]...)
		} else {
			c.fifo = c.fifo[copy(c.mem[:], c.fifo):]
		}
		c.idle()
	case cmdCalcCRC:
		presets := [4]uint16{0x0000, 0x6363, 0xa671, 0xffff}
		c.setCRC(presets[c.reg[regMode]&3])
		c.crc()
	case cmdTransmit:
		c.send(now)
	case cmdReceive:
		c.listen()
	case cmdMFAuthent:
		c.fifo = nil
		c.fail(errProtocol)
		c.idle()
	default:
		c.idle()
	}
}

// idle ends a command. The caller holds mu.
func (c *Chip) idle() {
	c.reg[regCommand] &^= 0xf
	c.reg[regComIrq] |= irqIdle
}

// crc takes the FIFO into the coprocessor. The caller holds mu.
func (c *Chip) crc() {
	c.setCRC(picc.CRC(uint16(c.reg[regCRCResultH])<<8|uint16(c.reg[regCRCResultL]), c.fifo))
	c.fifo = nil
	c.reg[regDivIrq] |= irqCRC
}

func (c *Chip) setCRC(v uint16) {
	c.reg[regCRCResultH], c.reg[regCRCResultL] = byte(v>>8), byte(v)
}
