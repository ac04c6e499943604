package mfrc522

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
	stock "periph.io/x/devices/v3/mfrc522"

	"trailmark/firmware-sim/chip/picc"
)

// slow is the chip behind a bus on which every transfer takes 20 µs, as at
// 10 MHz through the kernel: the stock driver counts polls instead of time.
type slow struct {
	*Chip
	spent *atomic.Int64
}

func (s slow) Connect(f physic.Frequency, mode spi.Mode, bits int) (spi.Conn, error) {
	_, err := s.Chip.Connect(f, mode, bits)
	return s, err
}

func (s slow) Tx(w, r []byte) error {
	s.spent.Add(20_000)
	return s.Chip.Tx(w, r)
}

// irqPin is a line on which only falling edges count.
type irqPin struct {
	gpio.PinIO // gpio.INVALID: the rest of it is not used
	edges      chan struct{}
}

func (p irqPin) In(gpio.Pull, gpio.Edge) error { return nil }

func (p irqPin) WaitForEdge(timeout time.Duration) bool {
	select {
	case <-p.edges:
		return true
	case <-time.After(timeout):
		return false
	}
}

// stockRead is what the stock driver makes of the cards.
func stockRead(t *testing.T, tags ...*picc.Tag) ([]byte, error) {
	t.Helper()
	field := picc.NewField(picc.Options{})
	field.Put(tags...)
	irq := irqPin{gpio.INVALID, make(chan struct{}, 1)}
	var spent atomic.Int64
	chip := New(Options{Field: field,
		Now: func() time.Time { return time.Now().Add(time.Duration(spent.Load())) },
		IRQ: func(l gpio.Level) {
			if l == gpio.Low {
				select {
				case irq.edges <- struct{}{}:
				default: // an edge that is waited for already
				}
			}
		}})
	d, err := stock.NewSPI(slow{chip, &spent}, chip.NRSTPD(), irq)
	if err != nil {
		t.Fatal(err)
	}
	return d.ReadUID(2 * time.Second)
}

func TestStockDriverReadsOneCard(t *testing.T) {
	want := [4]byte{0xde, 0xad, 0xbe, 0xef}
	card := picc.Classic1K(want)
	uid, err := stockRead(t, card)
	if err != nil || !bytes.Equal(uid, want[:]) {
		t.Fatalf("got % x, %v; want % x", uid, err, want)
	}
	if card.State() != picc.Active {
		t.Errorf("the card is in %v, want ACTIVE", card.State())
	}
}

// The stock driver answers a collision with an error that hides it.
func TestStockDriverReadsNoneOfTwo(t *testing.T) {
	uid, err := stockRead(t, picc.Classic1K([4]byte{1, 2, 3, 4}), picc.Classic1K([4]byte{1, 2, 3, 5}))
	if err == nil || !strings.Contains(err.Error(), "expected 5, actual 0") {
		t.Errorf("got % x, %v", uid, err)
	}
}

// The stock driver gives seven bytes that no card has confirmed: cascade level 2
// is not selected, so that the tag hears no command.
func TestStockDriverLeavesLevel2(t *testing.T) {
	want := [7]byte{0x04, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66}
	tag := picc.NTAG213(want)
	uid, err := stockRead(t, tag)
	if err != nil || !bytes.Equal(uid, want[:]) {
		t.Errorf("got % x, %v; want % x", uid, err, want)
	}
	if tag.State() != picc.Ready {
		t.Errorf("the tag is in %v, want READY", tag.State())
	}
}
