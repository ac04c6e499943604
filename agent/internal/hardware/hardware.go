// Package hardware opens what the configuration file names: the buses, the chips
// on them, the readers.
//
// It tells of everything that it tried, so that one finding list serves an agent
// that starts and an installer who asks what is wrong. Buses go through the
// kernel's own devices in /dev and nothing else: no board is guessed and no memory
// mapped, so the unit's list of devices is all that the agent can touch.
package hardware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"periph.io/x/conn/v3/driver/driverreg"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2creg"
	_ "periph.io/x/host/v3/gpioioctl" // registers the lines of /dev/gpiochip*
	_ "periph.io/x/host/v3/sysfs"     // registers /dev/i2c-* and /dev/spidev*

	"trailmark/agent/internal/config"
	"trailmark/agent/internal/panel"
	"trailmark/agent/internal/sensor"
	"trailmark/agent/internal/sensor/bme280"
	"trailmark/agent/internal/sensor/ds18b20"
	"trailmark/agent/internal/sensor/ds2482"
	"trailmark/agent/internal/sensor/sht4x"
	"trailmark/agent/internal/sensor/w1"
	"trailmark/agent/internal/station"
)

// A Finding is what came of one part of the configuration.
type Finding struct {
	Part  string // as "i2c 1: bme280 at 0x76"
	Found string // what was found; "" with Err
	Err   error
	// Fatal: the agent does not start like this. A bus that is not there is a
	// mistake in the configuration or on the board, unless the file calls it
	// optional; a chip that does not answer is a chip that does not answer, and
	// the others are to be read all the same.
	Fatal    bool
	Optional bool // with Err: a bus that need not be there
}

// Hardware is what was found. Close it when nothing reads it any more.
type Hardware struct {
	Probes   []sensor.Probe
	Readers  []station.Reader
	Panel    station.Panel // nil: nothing is wired
	Findings []Finding
	closers  []io.Closer
}

// answer is how long one chip may take to be set up.
const answer = 5 * time.Second

// drivers looks for buses once in the life of the process.
var drivers = sync.OnceValue(func() error {
	_, err := driverreg.Init()
	return err
})

// Open tries everything in c. It never fails as a whole: see Err.
func Open(ctx context.Context, c config.File, log *slog.Logger) *Hardware {
	h := &Hardware{}
	h.openW1(c.W1)
	if c.UsesBuses() {
		if err := drivers(); err != nil {
			h.found(Finding{Part: "buses", Err: err, Fatal: true})
		}
	}
	for _, b := range c.I2C {
		h.openI2C(ctx, b)
	}
	for i, r := range c.MFRC522 {
		h.openMFRC522(i, r, log)
	}
	for i, r := range c.R200 {
		h.openR200(i, r, log)
	}
	for i, r := range c.LLRP {
		h.openLLRP(i, r, log)
	}
	h.openPanel(c.Panel, log)
	h.refuseTwins()
	h.refuseStrangers(c)
	return h
}

// Err says why the agent must not start with this; nil: it may.
func (h *Hardware) Err() error {
	for _, f := range h.Findings {
		if f.Fatal {
			return fmt.Errorf("%s: %w", f.Part, f.Err)
		}
	}
	if len(h.Probes) > 0 || len(h.Readers) > 0 {
		return nil
	}
	for _, f := range h.Findings {
		if f.Err != nil {
			return fmt.Errorf("there is nothing to read: %s: %w", f.Part, f.Err)
		}
	}
	if len(h.Findings) == 0 {
		return errors.New("there is nothing to read\nhint: name a bus or a reader in the configuration file")
	}
	return nil // a 1-Wire bus without a probe yet: its lack is told by the plan
}

// Close gives the buses back.
func (h *Hardware) Close() error {
	var errs []error
	for _, c := range h.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

func (h *Hardware) found(f Finding) { h.Findings = append(h.Findings, f) }

func (h *Hardware) openW1(c *config.W1) {
	if c == nil {
		return
	}
	probes, err := w1.Find(c.Root)
	if err != nil {
		h.found(Finding{Part: "1-Wire", Err: err, Fatal: !c.Optional, Optional: c.Optional})
		return
	}
	h.Probes = append(h.Probes, probes...)
	h.found(Finding{Part: "1-Wire", Found: names(probes)})
}

func (h *Hardware) openI2C(ctx context.Context, c config.I2C) {
	part := "i2c " + c.Bus
	bus, err := i2creg.Open(c.Bus)
	if err != nil {
		h.found(Finding{Part: part, Err: reach("/dev/i2c-"+c.Bus, err, "dtparam=i2c_arm=on", "i2c"), Fatal: !c.Optional, Optional: c.Optional})
		return
	}
	h.closers = append(h.closers, bus)
	for _, chip := range c.Chips {
		part := fmt.Sprintf("i2c %s: %s at %#02x", c.Bus, chip.Chip, chip.At())
		probes, err := openChip(ctx, bus, chip)
		if err != nil {
			h.found(Finding{Part: part, Err: err})
			continue
		}
		h.Probes = append(h.Probes, probes...)
		h.found(Finding{Part: part, Found: names(probes)})
	}
}

func (h *Hardware) openPanel(c config.Panel, log *slog.Logger) {
	if c == (config.Panel{}) {
		return
	}
	p, err := panel.New(panel.Options{Buzzer: c.Buzzer, LED: c.LED, Acknowledge: c.Acknowledge, Door: c.Door, Mains: c.Mains, Log: log})
	if err != nil {
		h.found(Finding{Part: "panel", Err: err, Fatal: true})
		return
	}
	h.Panel = p
	h.found(Finding{Part: "panel", Found: "pins are set up"})
}

func openChip(ctx context.Context, bus i2c.Bus, c config.Chip) ([]sensor.Probe, error) {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	switch c.Chip {
	case "bme280":
		return bme280.Open(ctx, bus, c.At())
	case "sht4x":
		return sht4x.Open(ctx, bus, c.At())
	case "ds2482":
		line, err := ds2482.Open(ctx, bus, c.At())
		if err != nil {
			return nil, err
		}
		return ds18b20.Open(ctx, line)
	}
	return nil, fmt.Errorf("no driver for chip %q", c.Chip) // config.Check has refused it before
}

// refuseTwins keeps two probes from writing into one trace.
func (h *Hardware) refuseTwins() {
	seen := map[string]bool{}
	for _, p := range h.Probes {
		if seen[p.Channel()] {
			h.found(Finding{Part: p.Channel(), Fatal: true,
				Err: errors.New("two probes have this name\nhint: one chip is configured on two buses, or two copies carry one serial number")})
		}
		seen[p.Channel()] = true
	}
}

// reach explains why a bus cannot be used; overlay is the line of a Pi's
// config.txt that switches it on, group the one that owns it.
func reach(path string, err error, overlay, group string) error {
	switch f, why := os.OpenFile(path, os.O_RDWR, 0); {
	case why == nil:
		f.Close()
		return err
	case errors.Is(why, os.ErrPermission):
		return fmt.Errorf("%w\nhint: this user must be in the group %s; installing 60-trailmark-agent.rules gives it the bus", why, group)
	default:
		return fmt.Errorf("%w\nhint: on a Raspberry Pi add %s to config.txt and restart; write optional: true where its lack is no error", why, overlay)
	}
}

func names(probes []sensor.Probe) string {
	var out []string
	for _, p := range probes {
		out = append(out, p.Channel())
	}
	if out == nil {
		return "no probe"
	}
	return strings.Join(out, ", ")
}
