// Package ds18b20 reads DS18B20 thermometers on a 1-Wire master and reports a
// temperature only of a conversion that it saw.
//
// Every measurement addresses one chip by its number and goes: write a mark that
// was never used before and 12 bits into the scratchpad; Convert T; see the chip
// busy, then ready; read the scratchpad, in which the mark must still stand. So
// a chip that lost power shows the alarm bytes of its EEPROM instead of the mark,
// and one that did not hear Convert T is not taken for one that measured the same
// as before. A chip on parasite power cannot tell that it is busy: there only the
// mark, 750 ms and the answer "ready" speak for the conversion.
package ds18b20

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"periph.io/x/conn/v3/onewire"

	"trailmark/agent/internal/sensor"
)

// Family is the lowest byte of a DS18B20's number.
const Family = 0x28

// Commands (data sheet, "DS18B20 Function Commands").
const (
	matchROM        = 0x55
	convertT        = 0x44
	writeScratchpad = 0x4e
	readScratchpad  = 0xbe
	readPowerSupply = 0xb4
)

const (
	resolution = 0x7f                   // configuration register: 12 bits, steps of 62.5 m°C
	conversion = 750 * time.Millisecond // the longest at 12 bits
	patience   = 2 * conversion         // what is slower than that hangs
	poll       = 10 * time.Millisecond
	// A chip is still busy this long after Convert T: the fastest clones take
	// some 25 ms. An answer that comes later says nothing about the beginning.
	surelyBusy = 10 * time.Millisecond
)

// A Bus is a 1-Wire master with single read slots, in which a DS18B20 says
// whether it is converting.
type Bus interface {
	onewire.Bus
	// ReadBit reads one slot without a reset before it, as a part of what Tx began.
	ReadBit() (byte, error)
}

// Open searches bus and returns a probe for each DS18B20, by name. No probe is
// not an error. The name is the kernel's: 28- and the number, highest byte first,
// so that a channel goes on when its chip moves from the kernel's bus to this one.
func Open(ctx context.Context, bus Bus) ([]sensor.Probe, error) {
	found, err := sensor.Await(ctx, func() ([]onewire.Address, error) { return bus.Search(false) })
	var none onewire.NoDevicesError
	if errors.As(err, &none) && none.NoDevices() {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("ds18b20: search on %s: %w", bus, err)
	}
	slices.SortFunc(found, func(a, b onewire.Address) int { return cmp.Compare(number(a), number(b)) })
	line := new(sync.Mutex)
	var probes []sensor.Probe
	for _, rom := range found {
		if byte(rom) != Family {
			continue
		}
		c := &chip{bus: bus, line: line, rom: rom}
		probes = append(probes, sensor.Chip{
			Serial:   fmt.Sprintf("28-%012x", number(rom)),
			Channels: []sensor.Channel{{Name: "temp", Unit: "Cel"}},
			Measure:  c.measure,
		}.Probes()...)
	}
	return probes, nil
}

// number is a chip's own number, without its family and the CRC.
func number(rom onewire.Address) uint64 { return uint64(rom) >> 8 & (1<<48 - 1) }

type chip struct {
	bus Bus
	// line is held by the chip that measures, from its mark to its answer: other
	// traffic would end a strong pull-up, or take the read slots for its own.
	line *sync.Mutex
	rom  onewire.Address
	mark byte // of the last measurement; guarded by line
}

func (c *chip) measure() []sensor.Sample {
	c.line.Lock()
	defer c.line.Unlock()
	c.mark++
	pad, seen, err := c.convert()
	if err != nil {
		return []sensor.Sample{{Fault: faultOf(err)}}
	}
	s := sensor.Sample{Raw: pad[:]}
	if s.Milli, s.Fault = check(pad, c.mark); s.Fault == sensor.FaultNone && !seen {
		s.Milli, s.Fault = 0, sensor.FaultGone // no answer to Convert T: the value is an old one
	}
	return []sensor.Sample{s}
}

// convert makes a conversion and reads the scratchpad. seen is false if the chip
// did not show that it was busy and then ready; what it holds still tells why.
func (c *chip) convert() (pad [9]byte, seen bool, err error) {
	if err = c.tx([]byte{writeScratchpad, c.mark, ^c.mark, resolution}, nil, onewire.WeakPullup); err != nil {
		return pad, false, err
	}
	var supply [1]byte
	if err = c.tx([]byte{readPowerSupply}, supply[:], onewire.WeakPullup); err != nil {
		return pad, false, err
	}
	if supply[0] == 0xff {
		seen, err = c.watch()
	} else { // a chip on parasite power holds the line low
		seen, err = c.feed()
	}
	if err != nil {
		return pad, false, err
	}
	err = c.tx([]byte{readScratchpad}, pad[:], onewire.WeakPullup)
	return pad, seen, err
}

// watch makes a chip with its own supply convert, and follows it.
func (c *chip) watch() (seen bool, err error) {
	if err := c.tx([]byte{convertT}, nil, onewire.WeakPullup); err != nil {
		return false, err
	}
	start := time.Now()
	if ready, err := c.bus.ReadBit(); err != nil || ready == 1 && time.Since(start) < surelyBusy {
		return false, err
	}
	for time.Since(start) < patience {
		time.Sleep(poll)
		if ready, err := c.bus.ReadBit(); err != nil || ready == 1 {
			return err == nil, err
		}
	}
	return false, nil
}

// feed makes a chip convert on the power of the line, which a read slot would
// take away before the end.
func (c *chip) feed() (seen bool, err error) {
	if err := c.tx([]byte{convertT}, nil, onewire.StrongPullup); err != nil {
		return false, err
	}
	time.Sleep(conversion)
	ready, err := c.bus.ReadBit()
	return ready == 1, err
}

// tx addresses the chip.
func (c *chip) tx(w, r []byte, power onewire.Pullup) error {
	head := binary.LittleEndian.AppendUint64([]byte{matchROM}, uint64(c.rom))
	return c.bus.Tx(append(head, w...), r, power)
}

// check decodes a scratchpad that must hold mark and the resolution that was set.
func check(pad [9]byte, mark byte) (int64, sensor.Fault) {
	milli, fault := Decode(pad)
	switch {
	case fault == sensor.FaultAllZero || fault == sensor.FaultAllOnes || fault == sensor.FaultCRC:
		return 0, fault
	case pad[2]^pad[3] != 0xff: // no mark at all: what the EEPROM holds
		return 0, sensor.FaultPowerOn
	case pad[2] != mark || pad[4] != resolution: // an older mark: what was written now did not arrive
		return 0, sensor.FaultConfig
	}
	return milli, fault
}

func faultOf(err error) sensor.Fault {
	var short onewire.ShortedBusError
	if errors.As(err, &short) && short.IsShorted() {
		return sensor.FaultAllZero
	}
	return sensor.FaultOf(err)
}
