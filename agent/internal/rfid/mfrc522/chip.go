package mfrc522

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/spi"
)

// Registers, commands and bits used here (MFRC522 data sheet rev. 3.9, table 20
// and table 149).
const (
	regCommand    = 0x01
	regComIrq     = 0x04
	regError      = 0x06
	regFIFOData   = 0x09
	regFIFOLevel  = 0x0a
	regControl    = 0x0c
	regBitFraming = 0x0d
	regColl       = 0x0e
	regMode       = 0x11
	regTxMode     = 0x12
	regRxMode     = 0x13
	regTxControl  = 0x14
	regTxASK      = 0x15
	regRFCfg      = 0x26
	regTMode      = 0x2a
	regTPrescaler = 0x2b
	regTReloadH   = 0x2c
	regTReloadL   = 0x2d
	regVersion    = 0x37

	cmdIdle       = 0x00
	cmdTransceive = 0x0c
	cmdSoftReset  = 0x0f
	bitPowerDown  = 0x10

	irqTimer = 0x01
	irqRx    = 0x20
	irqClear = 0x7f

	errProtocol = 0x01
	errParity   = 0x02
	errColl     = 0x08
	errOverflow = 0x10
	errFault    = 0xc0 // WrErr, TempErr: the chip's own

	flush     = 0x80
	startSend = 0x80
	txRest    = 0x80 // TxControlReg without the two antenna drivers
	txOn      = 0x83

	fifoSize = 64
)

const (
	// ready is how long a reset may take; the data sheet has 38 µs and the
	// crystal's start-up, of some milliseconds (8.8.2).
	ready = 50 * time.Millisecond
	// patience bounds one exchange. The longest lasts 3 ms, and the chip's own
	// timer ends it 1 ms after our last bit if no card answers: a chip that has
	// not said either by then is not working.
	patience = 25 * time.Millisecond
	// glance is the pause between two looks at an exchange, twenty bits.
	glance = 200 * time.Microsecond
)

// A silence means that no card answered in time, which is no fault.
var errSilence = errors.New("no answer")

// A refusal is an answer that is not believed. The chip works; the card, or the
// air between, does not.
type refusal string

func (r refusal) Error() string { return string(r) }

func isRefusal(err error) bool { _, ok := errors.AsType[refusal](err); return ok }

func refused(format string, a ...any) error { return refusal(fmt.Sprintf(format, a...)) }

// A chip is the MFRC522 at its registers. It belongs to the goroutine of Run.
type chip struct {
	conn   spi.Conn
	reset  gpio.PinOut // nil: by command
	config []setting   // what was written and is to be there still
}

// A setting is a register, what it is to hold, and the bits of it that are not
// reserved.
type setting struct{ register, value, mask byte }

// settings are all the driver relies on; the rest stays as after reset.
func settings(gain byte) []setting {
	return []setting{
		{regTMode, 0x80, 0xff},     // TAuto: the timer starts with our last bit and stops with the answer's fifth
		{regTPrescaler, 169, 0xff}, // 13.56 MHz / (2·169 + 1) = 40 kHz
		{regTReloadH, 0, 0xff},
		{regTReloadL, 39, 0xff}, // 40 ticks are 1 ms; a card answers in 91 µs (ISO/IEC 14443-3, 6.2.1.1)
		{regMode, 0x3d, 0xab},   // TxWaitRF, CRC preset 6363
		{regTxMode, 0x00, 0xf8}, // 106 kBd, CRC by us
		{regRxMode, 0x00, 0xfc},
		{regTxASK, 0x40, 0x40}, // type A is 100 % ASK
		{regRFCfg, gain<<4 | 8, 0x70},
		{regColl, 0x00, 0x80},        // bits behind a collision read as zero
		{regTxControl, txRest, 0xfb}, // antenna off
	}
}

// write puts values one after the other into a register.
func (c *chip) write(register byte, values ...byte) error {
	if err := c.conn.Tx(append([]byte{register << 1}, values...), nil); err != nil {
		return fmt.Errorf("mfrc522: spi: %w", err)
	}
	return nil
}

// read gives the values of registers, one after the other (data sheet, 8.1.2.1).
func (c *chip) read(registers ...byte) ([]byte, error) {
	tx := make([]byte, len(registers)+1)
	for i, r := range registers {
		tx[i] = r<<1 | 0x80
	}
	rx := make([]byte, len(tx))
	if err := c.conn.Tx(tx, rx); err != nil {
		return nil, fmt.Errorf("mfrc522: spi: %w", err)
	}
	return rx[1:], nil
}

// open resets the chip, looks whether it is one, and sets it up. The antenna
// stays off.
func (c *chip) open() (version byte, err error) {
	if c.reset != nil {
		if err := errors.Join(c.reset.Out(gpio.Low), pause(time.Millisecond), c.reset.Out(gpio.High)); err != nil {
			return 0, fmt.Errorf("mfrc522: reset pin: %w", err)
		}
	} else if err := c.write(regCommand, cmdSoftReset); err != nil {
		return 0, err
	}
	for deadline := time.Now().Add(ready); ; {
		time.Sleep(time.Millisecond)
		b, err := c.read(regVersion, regCommand)
		if err != nil {
			return 0, err
		}
		if err := known(b[0]); err != nil {
			return 0, err
		}
		if b[1]&bitPowerDown == 0 {
			version = b[0]
			break
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("mfrc522: still starting %v after its reset", ready)
		}
	}
	for _, s := range c.config {
		if err := c.write(s.register, s.value); err != nil {
			return 0, err
		}
	}
	return version, c.check(txRest)
}

// known refuses what is no MFRC522, the bus without one first of all.
func known(version byte) error {
	switch version {
	case 0x91, 0x92: // versions 1.0 and 2.0
	case 0x88: // Fudan FM17522, which keeps the register set
	case 0x00, 0xff:
		return fmt.Errorf("mfrc522: version register is 0x%02x: nothing answers\nhint: check power, wiring and the number of the spi port", version)
	default:
		return fmt.Errorf("mfrc522: version register is 0x%02x, want 0x91, 0x92 or 0x88\nhint: another chip is on this spi port", version)
	}
	return nil
}

// check reads the settings back. After a dip of its supply the chip starts again
// with its defaults, in which it would find no card and say nothing.
func (c *chip) check(txControl byte) error {
	registers := make([]byte, len(c.config))
	for i, s := range c.config {
		registers[i] = s.register
	}
	values, err := c.read(registers...)
	if err != nil {
		return err
	}
	for i, s := range c.config {
		want := s.value
		if s.register == regTxControl {
			want = txControl
		}
		if values[i]&s.mask != want&s.mask {
			return fmt.Errorf("mfrc522: register 0x%02x is 0x%02x, was set to 0x%02x: the chip lost its supply for a moment or is gone", s.register, values[i], want)
		}
	}
	return nil
}

// An answer is what cards said: data as the FIFO has it, its last byte with the
// low bits valid that last says, 0 for all. collision is the first bit, from 1
// and RxAlign counted, at which cards differed, 0 if none did.
type answer struct {
	data      []byte
	last      int
	collision int
}

// exchange sends data, of whose last byte only txBits are sent unless 0, and
// waits for the answer, whose first bit is put at rxAlign. The error is
// errSilence, a refusal, or says that the chip does not work.
func (c *chip) exchange(data []byte, txBits, rxAlign int) (answer, error) {
	framing := byte(rxAlign<<4 | txBits)
	for _, w := range []struct {
		register byte
		values   []byte
	}{
		{regCommand, []byte{cmdIdle}},
		{regComIrq, []byte{irqClear}},
		{regFIFOLevel, []byte{flush}},
		{regFIFOData, data},
		{regCommand, []byte{cmdTransceive}},
		{regBitFraming, []byte{framing | startSend}},
	} {
		if err := c.write(w.register, w.values...); err != nil {
			return answer{}, err
		}
	}
	irq, err := c.wait()
	if err != nil {
		return answer{}, err
	}
	b, err := c.read(regError, regFIFOLevel, regControl, regColl)
	if err != nil {
		return answer{}, err
	}
	flags, level, last, coll := b[0], int(b[1]), int(b[2]&7), b[3]
	if flags&errFault != 0 || level > fifoSize {
		return answer{}, fmt.Errorf("mfrc522: exchange ended with error 0x%02x and %d bytes in the fifo", flags, level)
	}
	if irq&irqRx == 0 {
		return answer{}, errSilence
	}
	a := answer{last: last}
	if a.data, err = c.read(slices.Repeat([]byte{regFIFOData}, level)...); err != nil {
		return answer{}, err
	}
	switch {
	case level == 0:
		return answer{}, refused("empty answer")
	case flags&errColl != 0:
		// Behind a collision the parity means nothing; the bits before it are
		// the only ones used, and the BCC is over all of them.
		if coll&0x20 != 0 {
			return answer{}, refused("cards collide outside a uid")
		}
		if a.collision = int(coll & 0x1f); a.collision == 0 {
			a.collision = 32
		}
	case flags&errProtocol != 0:
		return answer{}, refused("answer does not start as one")
	case flags&errParity != 0:
		return answer{}, refused("parity error in an answer of %d bytes", level)
	case flags&errOverflow != 0:
		return answer{}, refused("answer of more than %d bytes", fifoSize)
	}
	return a, nil
}

// wait looks until the chip has an answer or its timer has run out. Neither
// comes late: patience is for a chip that hangs.
func (c *chip) wait() (irq byte, err error) {
	for deadline := time.Now().Add(patience); ; {
		time.Sleep(glance)
		b, err := c.read(regComIrq)
		if err != nil {
			return 0, err
		}
		if b[0]&(irqRx|irqTimer) != 0 {
			return b[0], nil
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("mfrc522: exchange without an end after %v, interrupts 0x%02x", patience, b[0])
		}
	}
}

// pause sleeps, as a step among others.
func pause(d time.Duration) error {
	time.Sleep(d)
	return nil
}
