package board

import (
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"periph.io/x/conn/v3/gpio"

	"trailmark/firmware-sim/chip"
	"trailmark/firmware-sim/chip/bme280"
	"trailmark/firmware-sim/chip/ds18b20"
	"trailmark/firmware-sim/chip/ds2482"
	"trailmark/firmware-sim/chip/i2cbus"
	"trailmark/firmware-sim/chip/mfrc522"
	"trailmark/firmware-sim/chip/picc"
	"trailmark/firmware-sim/chip/sht4x"
	"trailmark/firmware-sim/chip/w1bus"
	"trailmark/firmware-sim/internal/board/chardev"
	"trailmark/firmware-sim/internal/board/disk"
	"trailmark/firmware-sim/internal/board/hostclock"
	"trailmark/firmware-sim/internal/w1tree"
)

// builder makes a board of a Config.
type builder struct {
	*Board
	sources map[string]map[string]chip.Source // by name and quantity
	folder  string                            // of the board file
}

// New powers the board. Files that it names are looked for in folder, that of the
// board file; start is time zero of every source.
func New(c Config, folder string, start time.Time, log *slog.Logger) (*Board, error) {
	b := builder{
		&Board{config: c, log: log, chips: []Chip{}, devices: map[string]chardev.Device{}, parts: map[string]part{}},
		map[string]map[string]chip.Source{}, folder,
	}
	for name, s := range c.Sources {
		source, err := s.open(folder, c.Seed, start, c.Step)
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", name, err)
		}
		b.sources[name] = source
	}
	var errs []error
	for _, bus := range c.I2C {
		errs = append(errs, b.i2c(bus))
	}
	resets := map[string]gpio.PinOut{} // by line
	for _, port := range c.SPI {
		errs = append(errs, b.spi(port, resets))
	}
	for _, g := range c.GPIO {
		b.gpio(g, resets)
	}
	for _, p := range c.W1 {
		errs = append(errs, b.w1(p))
	}
	for _, s := range c.Serial {
		errs = append(errs, b.serial(s))
	}
	for _, r := range c.LLRP {
		errs = append(errs, b.llrp(r))
	}
	errs = append(errs, b.machine())
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for i, e := range c.Script {
		a, _, err := e.action()
		if err == nil {
			err = b.Plan(Plan{a, e.At})
		}
		if err != nil {
			return nil, fmt.Errorf("script, event %d: %w", i+1, err)
		}
	}
	return b.Board, nil
}

// machine makes what the board has besides chips.
func (b builder) machine() error {
	if c := b.config.Clock; c != nil {
		b.clock = new(hostclock.Clock)
		b.parts[clockPart] = b.clock.Parse
		if c.Start != "" {
			happen, err := b.clock.Parse(c.Start)
			if err == nil {
				err = happen()
			}
			if err != nil {
				return fmt.Errorf("clock: start: %w", err)
			}
		}
	}
	if d := b.config.Disk; d != nil {
		config, err := d.config()
		if err != nil {
			return err
		}
		b.disk = disk.New(config)
		b.parts[diskPart] = b.disk.Parse
	}
	return nil
}

// source returns what a chip feels under the name its file has.
func (b builder) source(chip, quantity, name string) (chip.Source, error) {
	of, ok := b.sources[name]
	switch {
	case !ok:
		return nil, fmt.Errorf("chip %s: %s: no source %q", chip, quantity, name)
	case of[quantity] == nil:
		return nil, fmt.Errorf("chip %s: %s: the source %s has none", chip, quantity, name)
	}
	return of[quantity], nil
}

// add makes a chip known by its name.
func (b builder) add(name, model, at string, inject func(chip.Fault) error) {
	b.chips = append(b.chips, Chip{name, model, at})
	b.parts[name] = func(word string) (func() error, error) {
		fault, err := chip.Parse(word)
		return func() error { return inject(fault) }, err
	}
}

func (b builder) i2c(c I2C) error {
	device := fmt.Sprintf("i2c-%d", c.Bus)
	wire := i2cbus.New(device)
	for _, chip := range c.Chips {
		target, err := b.i2cChip(chip, device)
		if err != nil {
			return err
		}
		if err := wire.Attach(chip.Address, target); err != nil {
			return fmt.Errorf("chip %s: %w", chip.Name, err)
		}
	}
	b.devices["/dev/"+device] = chardev.NewI2CBus(wire)
	return nil
}

func (b builder) i2cChip(c I2CChip, device string) (i2cbus.Target, error) {
	at := fmt.Sprintf("%s %#02x", device, c.Address)
	var warm, damp, press chip.Source
	var errs [3]error
	if c.Model == "bme280" || c.Model == "sht4x" {
		warm, errs[0] = b.source(c.Name, celsius, c.Celsius)
		damp, errs[1] = b.source(c.Name, humidity, c.Humidity)
	}
	if c.Model == "bme280" {
		press, errs[2] = b.source(c.Name, pascal, c.Pascal)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	switch c.Model {
	case "bme280":
		chip := bme280.New(bme280.Config{Celsius: warm, Humidity: damp, Pascal: press, Trimming: trimming(b.config.Seed, c.Name)})
		b.add(c.Name, c.Model, at, chip.Inject)
		return chip, nil
	case "sht4x":
		serial, err := strconv.ParseUint(c.Serial, 16, 32)
		if err != nil || len(c.Serial) != 8 {
			return nil, fmt.Errorf("chip %s: serial %q, want 8 hexadecimal digits", c.Name, c.Serial)
		}
		chip := sht4x.New(sht4x.Config{Serial: uint32(serial), Celsius: warm, Humidity: damp})
		b.add(c.Name, c.Model, at, chip.Inject)
		return chip, nil
	case "ds2482":
		line := w1bus.New(nil)
		for _, p := range c.Line {
			serial, err := p.serial()
			if err != nil {
				return nil, err
			}
			warm, err := b.source(p.Name, celsius, p.Celsius)
			if err != nil {
				return nil, err
			}
			probe := ds18b20.New(ds18b20.Config{Serial: serial, Celsius: warm})
			line.Attach(probe)
			b.add(p.Name, "ds18b20", c.Name+" "+w1tree.SlaveID(serial), probe.Inject)
		}
		bridge := ds2482.New(nil, line)
		b.add(c.Name, c.Model, at, bridge.Inject)
		return bridge, nil
	}
	return nil, fmt.Errorf("chip %s: no model %q on i2c, want bme280, sht4x or ds2482", c.Name, c.Model)
}

// trimming gives each BME280 factory values of its own, the same in every run with
// that seed: the chip has no serial, and is told by them.
func trimming(seed uint64, name string) *bme280.Trimming {
	v, t := seedOf(seed, name), bme280.Example
	t.T1 += uint16(v & 0xff)
	t.H2 += int16(v >> 8 & 0x1f)
	t.P9 += int16(v >> 16 & 0xff)
	return &t
}

// seedOf gives every part of a board a seed of its own.
func seedOf(seed uint64, name string) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, seed, "/", name)
	return h.Sum64()
}

func (b builder) spi(c SPI, resets map[string]gpio.PinOut) error {
	if c.Model != "mfrc522" {
		return fmt.Errorf("chip %s: no model %q on spi, want mfrc522", c.Name, c.Model)
	}
	field := picc.NewField(picc.Options{})
	reader := mfrc522.New(mfrc522.Options{Field: field})
	device := fmt.Sprintf("spidev%d.%d", c.Bus, c.Select)
	b.devices["/dev/"+device] = chardev.NewSPIPort(reader)
	b.add(c.Name, c.Model, device, func(f chip.Fault) error {
		switch f.Kind {
		case chip.None:
			reader.Plug()
		case chip.BrownOut:
			reader.Brownout()
		case chip.Gone:
			reader.Unplug(0xff)
		case chip.Short:
			reader.Unplug(0)
		default:
			return fmt.Errorf("an MFRC522 has no fault %q", f)
		}
		return nil
	})
	if c.Reset != "" {
		resets[c.Reset] = reader.NRSTPD()
	}
	for _, t := range c.Tags {
		tag, err := t.tag()
		if err != nil {
			return err
		}
		b.parts[t.Name] = presence(t.Here, func() { field.Put(tag) }, func() { field.Take(tag) })
	}
	return nil
}

func (t Tag) tag() (*picc.Tag, error) {
	switch t.Model {
	case "classic1k":
		uid, err := t.uid(4)
		if err != nil {
			return nil, err
		}
		return picc.Classic1K([4]byte(uid)), nil
	case "ntag213", "ntag215":
		uid, err := t.uid(7)
		if err != nil {
			return nil, err
		}
		if t.Model == "ntag213" {
			return picc.NTAG213([7]byte(uid)), nil
		}
		return picc.NTAG215([7]byte(uid)), nil
	case "triple":
		uid, err := t.uid(10)
		if err != nil {
			return nil, err
		}
		return picc.Triple([10]byte(uid)), nil
	}
	return nil, fmt.Errorf("tag %s: no model %q, want classic1k, ntag213, ntag215 or triple", t.Name, t.Model)
}

// presence is a tag that enters and leaves a field. Entering twice is once.
func presence(here bool, put, take func()) part {
	var mu sync.Mutex
	if here {
		put()
	}
	return func(word string) (func() error, error) {
		if word != "enter" && word != "leave" {
			return nil, fmt.Errorf("a tag cannot %q, want enter or leave", word)
		}
		return func() error {
			mu.Lock()
			defer mu.Unlock()
			if here == (word == "enter") {
				return nil
			}
			if here = !here; here {
				put()
			} else {
				take()
			}
			return nil
		}, nil
	}
}

func (b builder) gpio(c GPIO, resets map[string]gpio.PinOut) {
	device := fmt.Sprintf("gpiochip%d", c.Chip)
	lines := make([]chardev.Line, c.Count)
	for _, l := range c.Lines {
		lines[l.Offset] = chardev.Line{Name: l.Name, High: l.High}
	}
	chip := chardev.NewGPIOChip(device, c.Label, lines, func(line string, high bool) {
		b.log.Info("output", slog.String("line", line), slog.Bool("high", high))
		if pin := resets[line]; pin != nil {
			if err := pin.Out(gpio.Level(high)); err != nil {
				b.log.Warn("reset", slog.String("line", line), slog.Any("error", err))
			}
		}
	})
	b.devices["/dev/"+device] = chip
	for _, l := range c.Lines {
		b.parts[l.Name] = func(word string) (func() error, error) {
			if word != "high" && word != "low" {
				return nil, fmt.Errorf("a line cannot be %q, want high or low", word)
			}
			return func() error { return chip.Set(l.Name, word == "high") }, nil
		}
	}
}

func (b builder) w1(p Probe) error {
	serial, err := p.serial()
	if err != nil {
		return err
	}
	warm, err := b.source(p.Name, celsius, p.Celsius)
	if err != nil {
		return err
	}
	if b.kernel == nil {
		b.kernel = &kernel{every: b.config.Step}
	}
	id := w1tree.SlaveID(serial)
	b.parts[p.Name] = b.kernel.add(id, warm)
	b.chips = append(b.chips, Chip{p.Name, "ds18b20", "w1 " + id})
	return nil
}
