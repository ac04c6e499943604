package mfrc522

import (
	"errors"
	"fmt"

	"periph.io/x/conn/v3"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
)

var (
	_ spi.Port    = (*Chip)(nil)
	_ spi.Conn    = (*Chip)(nil)
	_ gpio.PinOut = (*resetPin)(nil)
)

// String names the chip, as port and as connection.
func (c *Chip) String() string { return "MFRC522" }

// Connect implements spi.Port: mode 0, 8 bits, at most 10 MHz.
func (c *Chip) Connect(f physic.Frequency, mode spi.Mode, bits int) (spi.Conn, error) {
	if f > 10*physic.MegaHertz || mode != spi.Mode0 || bits != 8 {
		return nil, fmt.Errorf("mfrc522: spi at %s in %s with %d bits: want at most 10MHz, Mode0, 8", f, mode, bits)
	}
	return c, nil
}

// Duplex implements conn.Conn.
func (c *Chip) Duplex() conn.Duplex { return conn.Full }

// Tx implements conn.Conn. Unlike Transfer it wants buffers of one length.
func (c *Chip) Tx(w, r []byte) error {
	if len(r) != 0 && len(w) != len(r) {
		return fmt.Errorf("mfrc522: spi buffers of %d and %d bytes", len(w), len(r))
	}
	c.Transfer(w, r)
	return nil
}

// TxPackets implements spi.Conn. Chip select falls after each packet.
func (c *Chip) TxPackets(packets []spi.Packet) error {
	for _, p := range packets {
		if p.KeepCS {
			return errors.New("mfrc522: KeepCS is not modelled")
		}
		if err := c.Tx(p.W, p.R); err != nil {
			return err
		}
	}
	return nil
}

// NRSTPD is the chip's reset and power-down pin: low holds it in reset, the
// rising edge starts it.
func (c *Chip) NRSTPD() gpio.PinOut { return (*resetPin)(c) }

type resetPin Chip

func (p *resetPin) String() string   { return p.Name() }
func (p *resetPin) Halt() error      { return nil }
func (p *resetPin) Name() string     { return "NRSTPD" }
func (p *resetPin) Number() int      { return -1 }
func (p *resetPin) Function() string { return "OUT" }

func (p *resetPin) Out(l gpio.Level) error {
	c := (*Chip)(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if was := c.held; was != (l == gpio.Low) {
		c.held = !was
		c.reset(c.o.Now(), wake)
	}
	return nil
}

func (p *resetPin) PWM(gpio.Duty, physic.Frequency) error {
	return errors.New("mfrc522: no pwm on a reset pin")
}
