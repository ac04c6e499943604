package mfrc522

import (
	"time"

	"trailmark/firmware-sim/chip/picc"
)

// carriers is how long n periods of 13.56 MHz take.
func carriers(n int64) time.Duration { return time.Duration(n * 100_000 / 1356) }

const (
	bitTime = 128 // carrier periods
	// The card's answer begins so many periods after the reader's last bit, by
	// what that was (ISO/IEC 14443-3, 6.2.1.1, n = 9).
	delayAfterZero = 1172
	delayAfterOne  = 1236

	maxCells = 4096 // of one answer, so that a field that never falls silent is left
)

// radio is the transmitter and the receiver. It belongs to the chip's mu.
type radio struct {
	sending   picc.Frame // on its way out, nil: none
	sent      time.Time  // when its last bit is out
	answer    time.Time  // when the next bit of an answer has come in, zero: none is awaited
	listening bool

	cells    int    // heard so far, the start bit first
	bits     int    // of data among them
	bytes    []byte // whole ones among those
	last     byte   // the one that is coming in
	whole    bool   // it just came to its end: a parity follows
	collided bool
}

// modem is ModemState of Status2Reg (data sheet, table 38).
func (r *radio) modem(cmd byte) byte {
	switch {
	case r.sending != nil:
		return 3
	case r.listening && r.cells > 0:
		return 6
	case r.listening:
		return 5
	case cmd == cmdTransceive:
		return 1
	}
	return 0
}

// busy says that a frame is under way, during which the host keeps its hands
// off the FIFO.
func (r *radio) busy() bool { return r.sending != nil || r.listening && r.cells > 0 }

// stop is what another command does. An answer to a frame that is out goes on,
// for Transmit followed by Receive.
func (r *radio) stop() {
	if r.cells > 0 {
		r.answer = time.Time{}
	}
	r.sending, r.listening = nil, false
}

// send takes the FIFO as a frame. The caller holds mu.
func (c *Chip) send(now time.Time) {
	if c.reg[regCommand]&bitPowerDown != 0 || now.Before(c.awake) || len(c.fifo) == 0 {
		return
	}
	data := c.fifo
	n := 8 * len(data)
	if last := int(c.reg[regBitFraming] & 7); last != 0 {
		n += last - 8
	} else if c.reg[regTxMode]&bitCRCEn != 0 {
		crc := picc.CRC(picc.PresetA, data)
		data = append(data, byte(crc), byte(crc>>8))
		n += 16
	}
	f := picc.Partial(data, n)
	c.fifo = nil
	c.reg[regError] &= errOverflow
	c.radio = radio{sending: f, sent: now.Add(carriers(bitTime * int64(len(f)+2)))}
}

// sentOut is the end of transmission. The caller holds mu.
func (c *Chip) sentOut(at time.Time) {
	r := &c.radio
	f := r.sending
	delay := int64(delayAfterZero)
	if f[len(f)-1] == picc.One {
		delay = delayAfterOne
	}
	*r = radio{answer: at.Add(carriers(delay + bitTime))}
	c.reg[regComIrq] |= irqTx
	c.o.Field.Send(f, at)
	if c.reg[regTMode]&bitTAuto != 0 {
		c.startTimer(at)
	}
	if c.reg[regCommand]&0xf == cmdTransmit {
		c.idle()
		return
	}
	c.listen()
}

// listen switches the receiver on. The caller holds mu.
func (c *Chip) listen() {
	c.radio.listening = c.reg[regCommand]&bitRcvOff == 0
	c.reg[regError] &= errOverflow
	c.reg[regColl] |= bitNoPosition
	c.reg[regColl] &^= 0x1f
}

// hear takes one bit time of an answer. The caller holds mu.
func (c *Chip) hear(at time.Time) {
	r := &c.radio
	cell := picc.None
	if r.cells < maxCells {
		cell = c.o.Field.Cell(r.cells)
	}
	r.answer = at.Add(carriers(bitTime))
	if cell == picc.None || !r.listening {
		r.answer = time.Time{}
		if r.cells > 0 && r.listening {
			c.heard()
		}
		return
	}
	r.cells++
	if r.cells == 5 {
		c.timer.stop(at) // one start bit and four of data (data sheet, table 106)
	}
	if r.cells == 1 {
		if cell != picc.One {
			c.fail(errProtocol)
		}
		return
	}
	c.data(cell)
}

// data takes a bit behind the start bit: eight of data, then a parity. The
// caller holds mu.
func (c *Chip) data(cell picc.Cell) {
	r := &c.radio
	align := int(c.reg[regBitFraming] >> 4 & 7)
	checked := c.reg[regMfRx]&bitNoParity == 0
	at := align + r.bits
	if checked && r.whole {
		r.whole = false
		c.parity(cell, at == 8 && align > 0)
		return
	}
	r.bits++
	bit := byte(0)
	if cell&picc.One != 0 {
		bit = 1
	}
	if r.collided && c.reg[regColl]&bitValuesAfter == 0 {
		bit = 0 // what follows a collision; the place itself reads as a one
	}
	if cell == picc.Both && !r.collided {
		r.collided = true
		c.fail(errColl)
		if at < 32 { // the position counts what RxAlign skipped
			c.reg[regColl] = c.reg[regColl]&^(bitNoPosition|0x1f) | byte(at+1)&0x1f
		}
	}
	r.last |= bit << (at % 8)
	if at%8 == 7 {
		c.byteIn(r.last)
		r.last, r.whole = 0, true
	}
}

// parity checks the bit behind a byte. That of a byte which began at RxAlign is
// over bits that were never received, and after a collision none says anything.
// The caller holds mu.
func (c *Chip) parity(cell picc.Cell, split bool) {
	r := &c.radio
	if split || r.collided {
		return
	}
	if f := picc.Standard(r.bytes[len(r.bytes)-1]); cell != f[8] {
		c.fail(errParity)
	}
}

// byteIn is a whole byte received. With RxCRCEn the last two stay back, because
// they may be the CRC. The caller holds mu.
func (c *Chip) byteIn(b byte) {
	r := &c.radio
	r.bytes = append(r.bytes, b)
	if c.reg[regRxMode]&bitCRCEn == 0 {
		c.push(b)
	} else if n := len(r.bytes); n > 2 {
		c.push(r.bytes[n-3])
	}
	c.watermark()
}

// heard is the end of an answer. The caller holds mu.
func (c *Chip) heard() {
	r := &c.radio
	align := int(c.reg[regBitFraming] >> 4 & 7)
	last := (align + r.bits) % 8
	r.listening = false
	if c.reg[regRxMode]&bitRxNoErr != 0 && r.bits < 4 {
		r.listening, r.cells, r.bits = true, 0, 0
		return
	}
	if last != 0 {
		c.push(r.last)
	}
	if c.reg[regRxMode]&bitCRCEn != 0 && (last != 0 || len(r.bytes) < 3 || picc.CRC(picc.PresetA, r.bytes) != 0) {
		c.fail(errCRC)
	}
	c.reg[regControl] = byte(last)
	c.reg[regComIrq] |= irqRx
	if c.reg[regCommand]&0xf == cmdReceive {
		c.idle()
	}
	r.cells = 0
}
