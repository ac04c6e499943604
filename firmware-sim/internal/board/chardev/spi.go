package chardev

import (
	"sync"

	"golang.org/x/sys/unix"
)

// An SPIChip is a model of a chip on an SPI bus.
type SPIChip interface {
	// Transfer is what happens while chip select is low: the chip takes tx and
	// fills rx, which are of one length.
	Transfer(tx, rx []byte)
}

// SPIBufferSize is the most bytes of one SPI_IOC_MESSAGE, sent or received: the
// default of the module parameter spidev.bufsiz.
const SPIBufferSize = 4096

// maxSpeed is the default of spi-max-frequency in the overlays of a Raspberry Pi,
// in hertz.
const maxSpeed = 125_000_000

// Directions of an ioctl request (asm-generic/ioctl.h).
const (
	dirWrite = 1
	dirRead  = 2
)

func ioc(dir, kind, number, size uint32) uint32 { return dir<<30 | size<<16 | kind<<8 | number }

// Requests of linux/spi/spidev.h. SPI_IOC_MESSAGE has the size of its argument in
// it and is told apart by the rest.
var (
	spiReadMode    = ioc(dirRead, 'k', 1, 1)
	spiWriteMode   = ioc(dirWrite, 'k', 1, 1)
	spiReadLSB     = ioc(dirRead, 'k', 2, 1)
	spiWriteLSB    = ioc(dirWrite, 'k', 2, 1)
	spiReadBits    = ioc(dirRead, 'k', 3, 1)
	spiWriteBits   = ioc(dirWrite, 'k', 3, 1)
	spiReadSpeed   = ioc(dirRead, 'k', 4, 4)
	spiWriteSpeed  = ioc(dirWrite, 'k', 4, 4)
	spiReadMode32  = ioc(dirRead, 'k', 5, 4)
	spiWriteMode32 = ioc(dirWrite, 'k', 5, 4)
	spiMessage     = ioc(dirWrite, 'k', 0, 0)
)

const (
	modeLSB  = 0x08
	modeMask = 0x03 | modeLSB | 0x40 // clock polarity and phase, bit order, no chip select
	modeMode = 0x03 | modeLSB        // what decides which bits a chip sees

	// struct spi_ioc_transfer: tx and rx pointer, length and speed (4 bytes each),
	// delay (2), then a byte each: bits per word, cs_change, lines for tx and rx.
	transferSize = 32
	csChange     = 27
)

// An SPIPort is /dev/spidevB.C: one chip select of one bus.
type SPIPort struct {
	chip SPIChip

	mu    sync.Mutex // one message at a time, as on the wires
	mode  uint32
	speed uint32 // hertz
}

// A frame is what goes over the wires while chip select is low.
type frame struct {
	tx    []byte
	parts []part // of what is received
}

// A part belongs at an address of the caller's memory; address 0: nowhere.
type part struct {
	address uint64
	length  int
}

// NewSPIPort returns a port with a chip that understands SPI mode 0, most
// significant bit first.
func NewSPIPort(chip SPIChip) *SPIPort { return &SPIPort{chip: chip, speed: maxSpeed} }

// Ioctl implements Device.
func (p *SPIPort) Ioctl(c *Call) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch c.Request {
	case spiReadMode:
		return 0, c.Write(c.Argument, []byte{byte(p.mode)})
	case spiReadMode32:
		return 0, c.Write(c.Argument, le.AppendUint32(nil, p.mode))
	case spiReadLSB:
		return 0, c.Write(c.Argument, []byte{byte(p.mode & modeLSB >> 3)})
	case spiReadBits:
		return 0, c.Write(c.Argument, []byte{8})
	case spiReadSpeed:
		return 0, c.Write(c.Argument, le.AppendUint32(nil, p.speed))
	case spiWriteMode, spiWriteLSB, spiWriteBits:
		var b [1]byte
		if err := c.Read(c.Argument, b[:]); err != nil {
			return 0, err
		}
		return 0, p.set(c.Request, uint32(b[0]))
	case spiWriteMode32, spiWriteSpeed:
		var b [4]byte
		if err := c.Read(c.Argument, b[:]); err != nil {
			return 0, err
		}
		return 0, p.set(c.Request, le.Uint32(b[:]))
	}
	if size := c.Request >> 16 & 0x3fff; c.Request == spiMessage|size<<16 {
		if size%transferSize != 0 {
			return 0, unix.EINVAL
		}
		return p.message(c, int(size)/transferSize)
	}
	return 0, unix.ENOTTY
}

func (p *SPIPort) set(request, v uint32) error {
	switch request {
	case spiWriteMode, spiWriteMode32:
		if v&^modeMask != 0 {
			return unix.EINVAL
		}
		p.mode = v
	case spiWriteLSB:
		p.mode &^= modeLSB
		if v != 0 {
			p.mode |= modeLSB
		}
	case spiWriteBits:
		if v != 0 && v != 8 { // 0 stands for 8
			return unix.EINVAL
		}
	case spiWriteSpeed:
		if v == 0 {
			return unix.EINVAL
		}
		p.speed = min(v, maxSpeed)
	}
	return nil
}

// message does SPI_IOC_MESSAGE(n). The result is the number of bytes.
func (p *SPIPort) message(c *Call, n int) (int, error) {
	if n == 0 {
		return 0, nil
	}
	raw := make([]byte, n*transferSize)
	if err := c.Read(c.Argument, raw); err != nil {
		return 0, err
	}
	total := 0
	for i := range n {
		t := raw[i*transferSize:]
		length := int(le.Uint32(t[16:]))
		if total += length; length > SPIBufferSize || total > SPIBufferSize {
			return 0, unix.EMSGSIZE
		}
		if bits := t[26]; bits != 0 && bits != 8 {
			return 0, unix.EINVAL
		}
		if t[28] > 1 || t[29] > 1 { // two or four data lines
			return 0, unix.EINVAL
		}
	}
	if raw[(n-1)*transferSize+csChange] != 0 {
		return 0, unix.EOPNOTSUPP // chip select kept low after the message
	}
	var f frame
	for i := range n {
		t := raw[i*transferSize:]
		data := make([]byte, le.Uint32(t[16:]))
		if tx := le.Uint64(t); tx != 0 {
			if err := c.Read(tx, data); err != nil {
				return 0, err
			}
		}
		f.tx = append(f.tx, data...)
		f.parts = append(f.parts, part{le.Uint64(t[8:]), len(data)})
		if i == n-1 || t[csChange] != 0 {
			if err := p.run(c, f); err != nil {
				return 0, err
			}
			f = frame{}
		}
	}
	return total, nil
}

// run lowers chip select for one frame and writes back what was received. A chip
// that is clocked in another mode than its own drives nothing sensible; it is left
// alone and the line reads high.
func (p *SPIPort) run(c *Call, f frame) error {
	if len(f.tx) == 0 {
		return nil
	}
	rx := make([]byte, len(f.tx))
	if p.mode&modeMode == 0 {
		p.chip.Transfer(f.tx, rx)
	} else {
		for i := range rx {
			rx[i] = 0xff
		}
	}
	for _, s := range f.parts {
		if s.address != 0 && s.length > 0 {
			if err := c.Write(s.address, rx[:s.length]); err != nil {
				return err
			}
		}
		rx = rx[s.length:]
	}
	return nil
}
