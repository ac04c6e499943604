package board

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"trailmark/firmware-sim/chip/i2cbus"
	"trailmark/firmware-sim/internal/board/disk"
)

// A Config is a board file. Names of chips, tags and lines share one space: a
// script calls them by it.
type Config struct {
	Name    string            `yaml:"name"`
	Seed    uint64            `yaml:"seed"`    // of the rooms; 1 if left out
	Step    time.Duration     `yaml:"step"`    // how long a source keeps one value; 1s if left out
	Sources map[string]Source `yaml:"sources"` // what chips feel, by name
	I2C     []I2C             `yaml:"i2c"`
	SPI     []SPI             `yaml:"spi"`
	GPIO    []GPIO            `yaml:"gpio"`
	W1      []Probe           `yaml:"w1"` // chips that the kernel reads, /sys/bus/w1/devices
	Serial  []Serial          `yaml:"serial"`
	LLRP    []LLRP            `yaml:"llrp"`
	Clock   *Clock            `yaml:"clock"` // of the machine; nil: this machine's, and nothing befalls it
	Disk    *Disk             `yaml:"disk"`  // nil: this machine's
	Script  []Event           `yaml:"script"`
}

// A Source is what there is to feel over time: one of Constant, Room and Replay.
type Source struct {
	Constant *float64 `yaml:"constant"` // of every quantity, in its unit
	Room     *Room    `yaml:"room"`
	Replay   string   `yaml:"replay"` // logger export, °C; relative to the board file
	Offset   int      `yaml:"offset"` // value of a room or an export to start with
}

// A Room is a cold room, in °C. Its air has humidity and pressure besides.
type Room struct {
	Setpoint float64 `yaml:"setpoint"`
	Band     float64 `yaml:"band"` // the compressor works this far around the set point
	Ambient  float64 `yaml:"ambient"`
}

// An I2C is /dev/i2c-N.
type I2C struct {
	Bus   int       `yaml:"bus"`
	Chips []I2CChip `yaml:"chips"`
}

// An I2CChip is a chip at an address. Which of the sources it has, the model says.
type I2CChip struct {
	Name     string  `yaml:"name"`
	Model    string  `yaml:"model"` // bme280, sht4x or ds2482
	Address  uint16  `yaml:"address"`
	Serial   string  `yaml:"serial"` // of an sht4x, 8 hexadecimal digits
	Celsius  string  `yaml:"celsius"`
	Humidity string  `yaml:"humidity"` // %RH
	Pascal   string  `yaml:"pascal"`
	Line     []Probe `yaml:"line"` // 1-Wire chips behind a ds2482
}

// A Probe is a DS18B20.
type Probe struct {
	Name    string `yaml:"name"`
	Serial  string `yaml:"serial"` // 12 hexadecimal digits
	Celsius string `yaml:"celsius"`
}

// An SPI is /dev/spidevB.C with an MFRC522.
type SPI struct {
	Bus    int    `yaml:"bus"`
	Select int    `yaml:"select"`
	Name   string `yaml:"name"`
	Model  string `yaml:"model"` // mfrc522
	Reset  string `yaml:"reset"` // name of the line that holds it in reset while low, or none
	Tags   []Tag  `yaml:"tags"`
}

// A Tag is a card that comes into a reader's field when the script says so.
type Tag struct {
	Name  string `yaml:"name"`
	Model string `yaml:"model"` // classic1k, ntag213, ntag215 or triple
	UID   string `yaml:"uid"`   // hexadecimal: 4, 7, 7 or 10 bytes
	Here  bool   `yaml:"here"`  // from the start
}

// A GPIO is /dev/gpiochipN. Lines that are not listed have no name.
type GPIO struct {
	Chip  int    `yaml:"chip"`
	Label string `yaml:"label"`
	Count int    `yaml:"count"` // lines in all
	Lines []Line `yaml:"lines"`
}

// A Line is a GPIO line.
type Line struct {
	Offset int    `yaml:"offset"`
	Name   string `yaml:"name"`
	High   bool   `yaml:"high"` // at the start
}

// A Serial is a serial port. A chip on it goes by the name of the port.
type Serial struct {
	Name  string   `yaml:"name"`  // in /dev: ttyUSB0
	Model string   `yaml:"model"` // loopback or r200
	Tags  []UHFTag `yaml:"tags"`  // of an r200
}

// An LLRP is a reader on the network.
type LLRP struct {
	Name        string   `yaml:"name"`
	Listen      string   `yaml:"listen"`      // loopback address and port
	Antennas    uint16   `yaml:"antennas"`    // 4 if left out
	Certificate string   `yaml:"certificate"` // PEM file of it and its key, for TLS; relative to the board file
	Tags        []UHFTag `yaml:"tags"`
}

// A UHFTag is an EPC Gen2 tag that comes before an antenna when the script says so.
type UHFTag struct {
	Name    string `yaml:"name"`
	EPC     string `yaml:"epc"`     // hexadecimal, whole words
	TID     string `yaml:"tid"`     // hexadecimal, whole words, or none
	RSSI    int    `yaml:"rssi"`    // dBm at the reader; -55 if left out
	Antenna uint16 `yaml:"antenna"` // of an LLRP; 1 if left out
	Here    bool   `yaml:"here"`    // from the start
}

// A Clock is the wall clock that the command sees.
type Clock struct {
	Start string `yaml:"start"` // what befalls it before the command starts, as in a script, or nothing
}

// A Disk is a card of its own under a folder of the command.
type Disk struct {
	Path string `yaml:"path"` // absolute
	Size string `yaml:"size"` // 8MiB
}

// config reads what the file says of a disk.
func (d Disk) config() (disk.Config, error) {
	c := disk.Config{Path: d.Path}
	err := c.Check()
	if err == nil {
		c.Size, err = disk.ParseSize(d.Size)
	}
	if err != nil {
		return c, fmt.Errorf("disk: %w", err)
	}
	return c, nil
}

// An Event makes an Action happen a while after the start. It names one of a chip
// and a fault, a line and a level, a tag and where it goes, or what befalls the
// clock or the disk.
type Event struct {
	At    time.Duration `yaml:"at"`
	Chip  string        `yaml:"chip"`
	Fault string        `yaml:"fault"`
	Line  string        `yaml:"line"`
	Level string        `yaml:"level"` // high or low
	Tag   string        `yaml:"tag"`
	Field string        `yaml:"field"` // enter or leave
	Clock string        `yaml:"clock"`
	Disk  string        `yaml:"disk"`
}

// Names of the parts that a board has one of.
const (
	clockPart = "clock"
	diskPart  = "disk"
)

// Limits of a board file.
const (
	maxFile  = 1 << 20 // bytes
	maxParts = 256
	maxAt    = 365 * 24 * time.Hour
	minStep  = 10 * time.Millisecond
	maxBus   = 255
	maxCount = 512 // GPIO lines
)

// Parse reads a board file and checks it. A key it does not know is an error.
func Parse(r io.Reader) (Config, error) {
	c := Config{Seed: 1, Step: time.Second}
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return c, err
	}
	if len(b) > maxFile {
		return c, fmt.Errorf("more than %d bytes", maxFile)
	}
	err = yaml.NewDecoder(bytes.NewReader(b), yaml.Strict()).Decode(&c)
	if errors.Is(err, io.EOF) {
		return c, errors.New("empty")
	}
	if err != nil {
		return c, errors.New(yaml.FormatError(err, false, false)) // without an excerpt: one line
	}
	return c, c.check()
}

// partName keeps names apart from words of an action.
var partName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,30}$`)

// check looks at what does not need a model: names, addresses, times. Whether a
// model can be made of the rest New finds out.
func (c Config) check() error {
	if !partName.MatchString(c.Name) {
		return fmt.Errorf("name: %q, want 1 to 31 letters, digits, dots, slashes and hyphens", c.Name)
	}
	if c.Step < minStep || c.Step > maxAt {
		return fmt.Errorf("step: %v, want %v to %v", c.Step, minStep, maxAt)
	}
	if len(c.Sources) > maxParts {
		return fmt.Errorf("more than %d sources", maxParts)
	}
	for name, s := range c.Sources {
		if err := s.check(); err != nil {
			return fmt.Errorf("source %s: %w", name, err)
		}
	}
	kinds := map[string]string{}
	add := func(kind, name string) error {
		if !partName.MatchString(name) {
			return fmt.Errorf("%s: name %q, want 1 to 31 letters, digits, dots, slashes and hyphens", kind, name)
		}
		if kinds[name] != "" {
			return fmt.Errorf("%s: the name %s is taken by another %s", kind, name, kinds[name])
		}
		if kinds[name] = kind; len(kinds) > maxParts {
			return fmt.Errorf("more than %d chips, tags and lines", maxParts)
		}
		return nil
	}
	var errs []error
	device := map[string]bool{}
	for _, b := range c.I2C {
		errs = append(errs, unique(device, "i2c-", b.Bus))
		for _, chip := range b.Chips {
			errs = append(errs, add("chip", chip.Name))
			if chip.Address == 0 || chip.Address > i2cbus.MaxAddr {
				errs = append(errs, fmt.Errorf("chip %s: address %#02x, want 0x01 to %#02x", chip.Name, chip.Address, i2cbus.MaxAddr))
			}
			for _, p := range chip.Line {
				errs = append(errs, add("chip", p.Name))
			}
		}
	}
	for _, s := range c.SPI {
		errs = append(errs, unique(device, fmt.Sprintf("spidev%d.", s.Bus), s.Select), add("chip", s.Name))
		if s.Bus < 0 || s.Bus > maxBus {
			errs = append(errs, fmt.Errorf("chip %s: spi bus %d, want 0 to %d", s.Name, s.Bus, maxBus))
		}
		for _, t := range s.Tags {
			errs = append(errs, add("tag", t.Name))
		}
	}
	for _, g := range c.GPIO {
		errs = append(errs, unique(device, "gpiochip", g.Chip))
		if g.Count < 1 || g.Count > maxCount {
			errs = append(errs, fmt.Errorf("gpiochip%d: count %d, want 1 to %d", g.Chip, g.Count, maxCount))
		}
		taken := map[int]bool{}
		for _, l := range g.Lines {
			errs = append(errs, add("line", l.Name))
			if l.Offset < 0 || l.Offset >= g.Count || taken[l.Offset] {
				errs = append(errs, fmt.Errorf("line %s: offset %d, want one of its own from 0 to %d", l.Name, l.Offset, g.Count-1))
			}
			taken[l.Offset] = true
		}
	}
	for _, s := range c.SPI {
		if s.Reset != "" && kinds[s.Reset] != "line" {
			errs = append(errs, fmt.Errorf("chip %s: no line %q to reset it", s.Name, s.Reset))
		}
	}
	for _, p := range c.W1 {
		errs = append(errs, add("chip", p.Name))
	}
	for _, s := range c.Serial {
		if !regexp.MustCompile(`^tty[A-Za-z]{1,8}[0-9]{1,3}$`).MatchString(s.Name) || device[s.Name] {
			errs = append(errs, fmt.Errorf("serial: name %q, want one of its own such as ttyUSB0", s.Name))
		}
		device[s.Name] = true
		if s.Model == modelR200 {
			errs = append(errs, add("chip", s.Name))
		}
		for _, t := range s.Tags {
			errs = append(errs, add("tag", t.Name))
		}
	}
	listens := map[netip.AddrPort]bool{}
	for _, r := range c.LLRP {
		errs = append(errs, add("chip", r.Name))
		at, err := netip.ParseAddrPort(r.Listen)
		if err != nil || !at.Addr().IsLoopback() || at.Port() == 0 || listens[at] {
			errs = append(errs, fmt.Errorf("chip %s: listen: %q, want a loopback address and port of its own such as 127.0.0.1:5084", r.Name, r.Listen))
		}
		listens[at] = true
		for _, t := range r.Tags {
			errs = append(errs, add("tag", t.Name))
		}
	}
	if c.Clock != nil {
		errs = append(errs, add(clockPart, clockPart))
	}
	if c.Disk != nil {
		_, err := c.Disk.config()
		errs = append(errs, add(diskPart, diskPart), err)
	}
	for i, e := range c.Script {
		a, kind, err := e.action()
		if err == nil && kinds[a.Part] != kind {
			err = fmt.Errorf("no %s %q", kind, a.Part)
			if kind == clockPart || kind == diskPart {
				err = fmt.Errorf("the board has no %s of its own: add %[1]s to the file", kind)
			}
		}
		if err == nil && (e.At < 0 || e.At > maxAt) {
			err = fmt.Errorf("at: %v, want 0s to %v", e.At, maxAt)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("script, event %d: %w", i+1, err))
		}
	}
	return errors.Join(errs...)
}

// unique refuses a second device of one name.
func unique(device map[string]bool, prefix string, n int) error {
	name := prefix + strconv.Itoa(n)
	if n < 0 || n > maxBus {
		return fmt.Errorf("%s: want a number from 0 to %d", name, maxBus)
	}
	if device[name] {
		return fmt.Errorf("%s: twice", name)
	}
	device[name] = true
	return nil
}

// action returns what an event does, and to what kind of part.
func (e Event) action() (a Action, kind string, err error) {
	n := 0
	for _, v := range [...]struct{ kind, part, word string }{
		{"chip", e.Chip, e.Fault}, {"line", e.Line, e.Level}, {"tag", e.Tag, e.Field},
		{clockPart, of(clockPart, e.Clock), e.Clock}, {diskPart, of(diskPart, e.Disk), e.Disk},
	} {
		if v.part == "" && v.word == "" {
			continue
		}
		n++
		kind, a = v.kind, Action{Part: v.part, Word: strings.Join(strings.Fields(v.word), "=")}
	}
	if n != 1 {
		return a, kind, errors.New("want one of chip and fault, line and level, tag and field, clock, disk")
	}
	return a, kind, nil
}

// of is the name of a part that there is one of, if anything befalls it.
func of(part, word string) string {
	if word == "" {
		return ""
	}
	return part
}

// serial reads the 48 bits of a 1-Wire chip.
func (p Probe) serial() (uint64, error) {
	if n, err := strconv.ParseUint(p.Serial, 16, 64); err == nil && len(p.Serial) == 12 {
		return n, nil
	}
	return 0, fmt.Errorf("chip %s: serial %q, want 12 hexadecimal digits", p.Name, p.Serial)
}

// uid reads the identity of a tag, of so many bytes.
func (t Tag) uid(n int) ([]byte, error) {
	if b, err := hex.DecodeString(t.UID); err == nil && len(b) == n {
		return b, nil
	}
	return nil, fmt.Errorf("tag %s: uid %q, want %d hexadecimal digits", t.Name, t.UID, 2*n)
}
