// Package mfrc522 is NXP's HF reader chip at its registers: what a driver
// writes and reads over SPI, in the chip's own time, with the cards of a
// picc.Field before its antenna.
//
// Source: MFRC522 data sheet rev. 3.9. Not modelled: the UART and I2C hosts,
// bit rates above 106 kBd, Crypto1 (MFAuthent ends in a protocol error),
// GenerateRandomID and the self-test (both end at once, as an unknown command
// does), and MSBFirst of the CRC coprocessor.
package mfrc522

import (
	"sync"
	"time"

	"periph.io/x/conn/v3/gpio"

	"trailmark/firmware-sim/chip/picc"
)

const (
	fifoSize = 64
	memSize  = 25
	// wake is how long the oscillator takes after power or NRSTPD: a common
	// crystal's start-up and the 37.74 µs of data sheet 8.8.2.
	wake = time.Millisecond
	// rouse is the wake-up from soft power-down and SoftReset, 1024 clocks.
	rouse = 76 * time.Microsecond
)

// Options are what the chip is and where it stands. The zero value is a version
// 2.0 in an empty field, on the system's clock.
type Options struct {
	Version byte             // VersionReg; 0: 0x92
	Field   *picc.Field      // before the antenna; nil: an empty one
	Now     func() time.Time // the chip's time; nil: time.Now
	IRQ     func(gpio.Level) // hears the IRQ pin change, when the chip is next looked at; nil: not connected
}

// A Chip is one MFRC522. It implements spi.Port and spi.Conn; its methods may be
// called from any goroutine.
type Chip struct {
	o     Options // never written after New
	plain map[byte]register

	mu     sync.Mutex // guards the rest
	reg    [64]byte
	fifo   []byte
	mem    [memSize]byte
	held   bool      // NRSTPD is low
	gone   *byte     // what MISO shows while the chip is unplugged
	awake  time.Time // when the oscillator runs
	pin    gpio.Level
	alerts byte // HiAlert and LoAlert as last seen, for their edges
	radio  radio
	timer  timer
}

// New gives a chip that has just been powered.
func New(o Options) *Chip {
	if o.Version == 0 {
		o.Version = 0x92
	}
	if o.Field == nil {
		o.Field = picc.NewField(picc.Options{})
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Chip{o: o, plain: plain()}
	c.reset(o.Now(), wake)
	c.pin = c.level()
	return c
}

// reset puts every register at its reset value. The FIFO's bytes are lost; the
// 25 bytes of Mem are not (data sheet, 10.3.1.10). The caller holds mu.
func (c *Chip) reset(now time.Time, start time.Duration) {
	c.reg = [64]byte{}
	for a, r := range c.plain {
		c.reg[a] = r.reset
	}
	c.reg[regCommand] = bitRcvOff
	c.reg[regComIrq] = irqIdle | irqLoAlert
	c.reg[regVersion] = c.o.Version
	c.fifo, c.radio, c.timer = nil, radio{}, timer{}
	c.alerts = irqLoAlert
	c.awake = now.Add(start)
	c.o.Field.Power(false, now)
}

// Brownout is a dip of the supply: the chip starts again by itself, and the host
// is not told.
func (c *Chip) Brownout() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mem = [memSize]byte{}
	c.reset(c.o.Now(), wake)
}

// Unplug takes the chip off the bus and its supply: MISO shows miso for ever,
// 0x00 or 0xff.
func (c *Chip) Unplug(miso byte) {
	c.Brownout()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = &miso
}

// Plug brings it back, freshly powered.
func (c *Chip) Plug() {
	c.Brownout()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = nil
}

// Register is a look at a register that the chip does not notice: reading the
// FIFO so takes nothing out.
func (c *Chip) Register(address byte) byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(c.o.Now())
	if address == regFIFOData {
		return 0
	}
	return c.read(address&0x3f, c.o.Now())
}

// Transfer is one chip select: rx[i] is on MISO while tx[i] is on MOSI. rx may
// be shorter than tx, or nil. The first byte says whether the host writes or
// reads and where; a read names the next address while it gets the last one's
// value (data sheet, 8.1.2).
func (c *Chip) Transfer(tx, rx []byte) {
	edge, level := c.transfer(tx, rx)
	if edge && c.o.IRQ != nil {
		c.o.IRQ(level)
	}
}

func (c *Chip) transfer(tx, rx []byte) (edge bool, level gpio.Level) {
	c.mu.Lock()
	defer c.mu.Unlock()
	miso := make([]byte, len(tx))
	defer func() { copy(rx, miso) }()
	if c.gone != nil {
		for i := range miso {
			miso[i] = *c.gone
		}
		return false, c.pin
	}
	if len(tx) == 0 || c.held {
		return false, c.pin
	}
	now := c.o.Now()
	c.advance(now)
	for i := 1; i < len(tx); i++ {
		if tx[0]&0x80 == 0 {
			c.write(tx[0]>>1&0x3f, tx[i], now)
		} else {
			miso[i] = c.read(tx[i-1]>>1&0x3f, now)
		}
		c.watermark()
	}
	level = c.level()
	edge, c.pin = level != c.pin, level
	return edge, level
}

// level is the IRQ pin. The caller holds mu.
func (c *Chip) level() gpio.Level {
	return gpio.Level(c.irq() != (c.reg[regComIEn]&irqSet != 0))
}

func (c *Chip) irq() bool {
	return c.reg[regComIrq]&c.reg[regComIEn]&0x7f != 0 || c.reg[regDivIrq]&c.reg[regDivIEn]&0x14 != 0
}

// watermark keeps the FIFO's alerts, whose interrupts are set on an edge. The
// caller holds mu.
func (c *Chip) watermark() {
	var now byte
	if len(c.fifo) <= int(c.reg[regWaterLevel]) {
		now |= irqLoAlert
	}
	if fifoSize-len(c.fifo) <= int(c.reg[regWaterLevel]) {
		now |= irqHiAlert
	}
	c.reg[regComIrq] |= now &^ c.alerts
	c.alerts = now
}

// read is a register as the host gets it. The caller holds mu.
func (c *Chip) read(a byte, now time.Time) byte {
	v := c.reg[a]
	switch a {
	case regCommand:
		if now.Before(c.awake) {
			v |= bitPowerDown
		}
	case regStatus1:
		v = c.alerts>>3&1<<1 | c.alerts>>2&1 | 0x20 // CRCReady: the coprocessor needs no time here
		if c.reg[regCRCResultH]|c.reg[regCRCResultL] == 0 {
			v |= 0x40
		}
		if c.irq() {
			v |= 0x10
		}
		if c.timer.running {
			v |= 0x08
		}
	case regStatus2:
		v |= c.radio.modem(c.reg[regCommand] & 0xf)
	case regFIFOData:
		if v = 0; len(c.fifo) > 0 {
			v, c.fifo = c.fifo[0], c.fifo[1:]
		}
	case regFIFOLevel:
		v = byte(len(c.fifo))
	case regControl:
		v |= 0x10
	case regTCounterH, regTCounterL:
		n := c.timer.count(now)
		v = byte(n)
		if a == regTCounterH {
			v = byte(n >> 8)
		}
	}
	return v
}

// write is what the host does to a register. The caller holds mu.
func (c *Chip) write(a, v byte, now time.Time) {
	if r, ok := c.plain[a]; ok {
		c.reg[a] = c.reg[a]&^r.writable | v&r.writable
	}
	switch a {
	case regCommand:
		c.command(v, now)
	case regComIrq, regDivIrq:
		mask := map[byte]byte{regComIrq: 0x7f, regDivIrq: 0x14}[a] & v
		if v&irqSet != 0 {
			c.reg[a] |= mask
		} else {
			c.reg[a] &^= mask
		}
	case regStatus2:
		c.reg[a] = c.reg[a]&v&bitCrypto1On | v&0x40 // software can only clear Crypto1On
	case regFIFOData:
		if c.radio.busy() {
			c.fail(errWrite)
		}
		c.push(v)
		if c.reg[regCommand]&0xf == cmdCalcCRC {
			c.crc()
		}
	case regFIFOLevel:
		if v&bitFlush != 0 {
			c.fifo = nil
			c.reg[regError] &^= errOverflow
		}
	case regControl:
		if v&bitTStopNow != 0 {
			c.timer.stop(now)
		}
		if v&bitTStartNow != 0 {
			c.startTimer(now)
		}
	case regBitFraming:
		if v&bitStartSend != 0 && c.reg[regCommand]&0xf == cmdTransceive {
			c.send(now)
		}
	case regTxControl:
		c.o.Field.Power(c.carrier(now), now)
	}
}

// carrier says whether the antenna is driven. The caller holds mu.
func (c *Chip) carrier(now time.Time) bool {
	return c.reg[regTxControl]&bitRF != 0 && c.reg[regCommand]&bitPowerDown == 0 && !now.Before(c.awake)
}

// push puts a byte into the FIFO, if there is room. The caller holds mu.
func (c *Chip) push(b byte) {
	if len(c.fifo) == fifoSize {
		c.fail(errOverflow)
		return
	}
	c.fifo = append(c.fifo, b)
}

// fail sets an error flag. The caller holds mu.
func (c *Chip) fail(flag byte) {
	c.reg[regError] |= flag
	c.reg[regComIrq] |= irqErr
}
