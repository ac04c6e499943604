// Package r200 is an UHF reader module with an R200 chip, such as a YRM100, on
// a serial line.
//
// It follows "R200 user protocol" V2.3.3. While it polls many rounds it hears
// nothing but the command to stop, a loss of power takes its settings back to
// the factory's, and every round says something, if only that there was no tag.
package r200

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"trailmark/firmware-sim/chip"
	"trailmark/firmware-sim/chip/gen2"
	"trailmark/internal/r200"
)

// What the factory sets.
const (
	FactoryRegion = r200.US
	FactoryPower  = 2000 // hundredths of a dBm
)

const (
	minPower, maxPower = 0, 3000               // hundredths of a dBm
	inventoryTime      = 20 * time.Millisecond // of one round
	accessTime         = 30 * time.Millisecond
)

// A Config says which module it is and what is before its antenna.
type Config struct {
	Hardware     string // "": M100 26dBm V1.0
	Software     string // "": V2.3.5
	Manufacturer string // "": MagicRF
	Seed         uint64 // of the collisions
	Clock        func() time.Time

	// Field gives the tags at a moment. It is called with the module's lock
	// held, so it must not use the module.
	Field func(at time.Time) []gen2.Tag
}

// A Module is one module. Its methods may be called from any goroutine.
type Module struct {
	config Config

	mu     sync.Mutex // guards what follows
	faults chip.State
	muted  bool
	jammed bool
	badCRC int // notices still to be broken on the air
	air    *gen2.Air
	port   io.Closer // nil: nobody is on the line
	noise  func([]byte) error

	region r200.Region
	power  int16
	mode   r200.SelectMode
	mask   []byte // EPC to select; nil: none
	rounds int    // still to be polled
}

// New returns a module in the factory's state.
func New(config Config) *Module {
	if config.Hardware == "" {
		config.Hardware = "M100 26dBm V1.0"
	}
	if config.Software == "" {
		config.Software = "V2.3.5"
	}
	if config.Manufacturer == "" {
		config.Manufacturer = "MagicRF"
	}
	if config.Clock == nil {
		config.Clock = time.Now
	}
	if config.Field == nil {
		config.Field = func(time.Time) []gen2.Tag { return nil }
	}
	m := &Module{config: config, air: gen2.New(config.Seed)}
	m.reset()
	return m
}

// reset is what a loss of power does; m.mu is held or m is new.
func (m *Module) reset() {
	m.region, m.power, m.mode, m.mask, m.rounds = FactoryRegion, FactoryPower, r200.SelectNever, nil, 0
}

// Inject makes f happen now. Gone takes the serial port away, Corrupt flips a
// bit in each of the next frames, which their checksums then do not fit. It has
// no short, stuck, drift or counterfeit.
func (m *Module) Inject(f chip.Fault) error {
	switch f.Kind {
	case chip.None, chip.Gone, chip.BrownOut, chip.Corrupt:
	default:
		return fmt.Errorf("an R200 has no fault %q", f)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults.Apply(f, m.config.Clock())
	switch f.Kind {
	case chip.BrownOut:
		m.reset()
	case chip.Gone:
		m.reset()
		if m.port != nil {
			return m.port.Close()
		}
	}
	return nil
}

// Mute makes the module go quiet with its port open, or ends that.
func (m *Module) Mute(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.muted = on
}

// Jam takes every channel of the band, as another reader nearby can, or frees them.
func (m *Module) Jam(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.jammed = on
}

// BreakTags makes the next n notices carry an EPC that its CRC does not fit.
func (m *Module) BreakTags(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.badCRC = n
}

// Garbage puts bytes on the line between two frames.
func (m *Module) Garbage(b []byte) error {
	m.mu.Lock()
	noise := m.noise
	m.mu.Unlock()
	if noise == nil {
		return errors.New("nobody is on the line")
	}
	return noise(b)
}

// Settings returns the region and the power in hundredths of a dBm.
func (m *Module) Settings() (r200.Region, int16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.region, m.power
}

// Serve speaks on port until that ends, and closes it. One port at a time. What
// the module was doing goes on when the next is opened: a serial line has no
// connection.
func (m *Module) Serve(port io.ReadWriteCloser) error {
	defer port.Close()
	var writing sync.Mutex
	write := func(b []byte) error {
		writing.Lock()
		defer writing.Unlock()
		_, err := port.Write(b)
		return err
	}
	m.mu.Lock()
	if m.faults.Gone || m.port != nil {
		m.mu.Unlock()
		return errors.New("the port is gone or taken")
	}
	m.port, m.noise = port, write
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.port, m.noise = nil, nil
		m.mu.Unlock()
	}()

	commands, failed := make(chan r200.Frame), make(chan error, 1)
	done := make(chan struct{})
	defer close(done)
	go func() {
		for r := r200.NewReader(port); ; {
			f, err := r.Next()
			if err != nil {
				failed <- err
				return
			}
			select {
			case commands <- f:
			case <-done:
				return
			}
		}
	}()
	round := time.NewTicker(inventoryTime)
	defer round.Stop()
	for {
		var frames []r200.Frame
		select {
		case err := <-failed:
			return err
		case f := <-commands:
			if f.Code == r200.ReadMemory {
				time.Sleep(accessTime)
			}
			frames = m.answer(f)
		case <-round.C:
			frames = m.poll()
		}
		for _, f := range frames {
			b, err := m.encode(f)
			if err == nil && len(b) > 0 {
				err = write(b)
			}
			if err != nil {
				return err
			}
		}
	}
}

// encode returns a frame as it leaves the module, broken if it shall be, and
// nothing while the module is mute.
func (m *Module) encode(f r200.Frame) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.muted {
		return nil, nil
	}
	var out bytes.Buffer
	if err := r200.WriteFrame(&out, f); err != nil {
		return nil, err
	}
	b := out.Bytes()
	if m.faults.Corrupt() {
		b[len(b)-3] ^= 0x10 // the last of the parameters
	}
	return b, nil
}
