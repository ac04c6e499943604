// Package config reads the agent's configuration file.
//
// The file is YAML. A key that is not known, a value that cannot be meant and two
// values that contradict each other are errors with the line they are on: an
// installer who mistypes a key must not leave a cold store unwatched.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"trailmark/internal/r200"
)

// DefaultPath is where a packaged agent has its file.
const DefaultPath = "/etc/trailmark/agent.yaml"

// maxFile bounds what is read of a file, in bytes.
const maxFile = 64 << 10

// A File is what the configuration file says. Docs for people are in
// deploy/agent/agent.example.yaml, which names every key.
type File struct {
	Gateway   string   `yaml:"gateway"`    // base URL
	CA        string   `yaml:"ca"`         // PEM file of the gateway's CA, for a claim that is a code alone
	Claim     string   `yaml:"claim"`      // one-time code or URI, used while there is no enrolment
	ClaimFile string   `yaml:"claim_file"` // the same in a file
	Key       string   `yaml:"key"`        // "file:" or "tpm:" and a path
	Dir       string   `yaml:"dir"`        // key, enrolment, frames
	Every     Duration `yaml:"every"`      // between two readings of a probe
	Seal      Duration `yaml:"seal"`       // between two frames
	Card      Bytes    `yaml:"card"`       // budget for frames that have no receipt
	Log       string   `yaml:"log"`        // debug, info, warn, error
	Metrics   string   `yaml:"metrics"`    // loopback address or unix:PATH; "": none

	W1      *W1       `yaml:"w1"`
	I2C     []I2C     `yaml:"i2c"`
	MFRC522 []MFRC522 `yaml:"mfrc522"`
	R200    []R200    `yaml:"r200"`
	LLRP    []LLRP    `yaml:"llrp"`

	Antennas []Antenna `yaml:"antennas"`
	Portals  []Portal  `yaml:"portals"`
	Panel    Panel     `yaml:"panel"`
}

// W1 is the kernel's 1-Wire bus.
type W1 struct {
	Root     string `yaml:"root"`
	Optional bool   `yaml:"optional"` // its absence is no error
}

// I2C is one bus and the chips on it.
type I2C struct {
	Bus      string `yaml:"bus"` // number or name, as "1" for /dev/i2c-1
	Chips    []Chip `yaml:"chips"`
	Optional bool   `yaml:"optional"`
}

// Chip is a sensor, or a bridge to sensors, at an address.
type Chip struct {
	Chip    string `yaml:"chip"`    // bme280, sht4x, ds2482
	Address uint16 `yaml:"address"` // 7 bits; 0: the chip's own default
}

// MFRC522 is an HF reader on SPI.
type MFRC522 struct {
	Port     string `yaml:"port"`  // as "SPI0.0"
	Reset    string `yaml:"reset"` // GPIO name, or "": not wired
	Optional bool   `yaml:"optional"`
}

// R200 is a UHF module on a serial line.
type R200 struct {
	Port     string  `yaml:"port"`   // as "/dev/ttyUSB0"
	Region   string  `yaml:"region"` // china-900, china-800, us, eu, korea
	Power    float64 `yaml:"power"`  // dBm
	Optional bool    `yaml:"optional"`
}

// LLRP is an RFID reader on the network.
type LLRP struct {
	Address     string `yaml:"address"` // host:port; without a port 5084, with tls 5085
	Antennas    int    `yaml:"antennas"`
	TLS         bool   `yaml:"tls"`
	Fingerprint string `yaml:"fingerprint"` // SHA-256 of the reader's certificate, hex; "" with tls: public CAs
}

// Count is how many antennas the reader has, two if the file does not say.
func (r LLRP) Count() int {
	if r.Antennas == 0 {
		return 2
	}
	return r.Antennas
}

// Antenna says from when on a tag counts as present at one antenna.
type Antenna struct {
	Antenna  string `yaml:"antenna"` // as "llrp0/2"
	MinReads int    `yaml:"min_reads"`
	MinRSSI  int    `yaml:"min_rssi"` // dBm; 0: any
}

// Portal is two antennas that tags pass one after the other.
type Portal struct {
	Name  string `yaml:"name"`
	Outer string `yaml:"outer"`
	Inner string `yaml:"inner"`
}

// Panel is what people at the device see, hear and touch. Every pin is a GPIO
// name as "GPIO17"; "" is not wired.
type Panel struct {
	Buzzer      string `yaml:"buzzer"`
	LED         string `yaml:"led"`
	Acknowledge string `yaml:"acknowledge"` // button to ground
	Door        string `yaml:"door"`        // contact to ground, closed while the door is
	Mains       string `yaml:"mains"`       // high while there is mains power
}

// Bytes is a size such as 512MiB.
type Bytes int64

// UnmarshalYAML reads a number with KiB, MiB or GiB behind it, or without.
func (b *Bytes) UnmarshalYAML(node ast.Node) error {
	text := node.GetToken().Value
	m := regexp.MustCompile(`^([0-9]{1,7}) ?(|KiB|MiB|GiB)$`).FindStringSubmatch(text)
	if m == nil {
		return at(node, "%q is no size like 512MiB", text)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return err
	}
	*b = Bytes(n << map[string]int{"": 0, "KiB": 10, "MiB": 20, "GiB": 30}[m[2]])
	return nil
}

// MarshalYAML writes the largest unit that divides b.
func (b Bytes) MarshalYAML() ([]byte, error) {
	for _, u := range []struct {
		shift int
		name  string
	}{{30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if n := b >> u.shift; n > 0 && n<<u.shift == b {
			return fmt.Appendf(nil, "%d%s", n, u.name), nil
		}
	}
	return fmt.Append(nil, int64(b)), nil
}

// A Duration is a time such as 60s or 5m.
type Duration time.Duration

// UnmarshalYAML reads Go's spelling of a duration.
func (d *Duration) UnmarshalYAML(node ast.Node) error {
	text := node.GetToken().Value
	v, err := time.ParseDuration(text)
	if err != nil {
		return at(node, "%q is no duration like 60s or 5m", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalYAML writes what UnmarshalYAML reads.
func (d Duration) MarshalYAML() ([]byte, error) { return []byte(d.String()), nil }

func (d Duration) String() string { return time.Duration(d).String() }

// at is an error with the place in the file, as the parser's own errors have it.
func at(node ast.Node, format string, args ...any) error {
	p := node.GetToken().Position
	return fmt.Errorf("[%d:%d] %s", p.Line, p.Column, fmt.Sprintf(format, args...))
}

// Default is what an empty file means.
func Default() File {
	return File{Gateway: "https://127.0.0.1:8443", Key: "file:", Dir: "/var/lib/trailmark-agent",
		Every: Duration(time.Minute), Seal: Duration(time.Minute), Card: 1 << 30, Log: "info", W1: &W1{Root: "/sys/bus/w1/devices", Optional: true}}
}

// UsesBuses reports that there are I2C, SPI or GPIO devices to look for.
func (c File) UsesBuses() bool {
	return len(c.I2C) > 0 || len(c.MFRC522) > 0 || c.Panel != (Panel{})
}

// Load reads the file at path over the defaults.
func Load(path string) (File, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return File{}, fmt.Errorf("configuration: %w\nhint: copy agent.example.yaml there, or give another path with --config", err)
	} else if err != nil {
		return File{}, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return File{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	c, err := Parse(text)
	if err != nil {
		return File{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

// Parse reads a file's text over the defaults.
func Parse(text []byte) (File, error) {
	if len(text) > maxFile {
		return File{}, fmt.Errorf("over %d bytes", maxFile)
	}
	c := Default()
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return File{}, explain(err)
	}
	if len(tree.Docs) > 1 {
		return File{}, errors.New("there is a second document behind ---")
	}
	if says(tree) { // a decoder would clear the defaults else
		if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&c); err != nil {
			return File{}, explain(err)
		}
	}
	return c, c.Check()
}

// says reports whether there is more than comments.
func says(tree *ast.File) bool {
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil {
		return false
	}
	_, null := tree.Docs[0].Body.(*ast.NullNode)
	return !null
}

// Print writes c as a file that Load reads, but for the claim, which is a secret.
func (c File) Print(w io.Writer) error {
	if c.Claim != "" {
		if _, err := fmt.Fprintln(w, "# a claim is given, it is not shown"); err != nil {
			return err
		}
		c.Claim = ""
	}
	text, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// explain adds the key that was likely meant.
func explain(err error) error {
	text := strings.TrimRight(yaml.FormatError(err, false, true), "\n")
	if m := regexp.MustCompile(`unknown field "([^"]+)"`).FindStringSubmatch(text); m != nil {
		if near := nearest(m[1]); near != "" {
			text += "\nhint: did you mean " + near + "?"
		}
	}
	return errors.New(text)
}

// Check refuses what cannot be meant.
func (c File) Check() error {
	switch {
	case c.Dir == "" || !filepath.IsAbs(c.Dir):
		return fmt.Errorf("dir: %q is not a path from /", c.Dir)
	case c.Claim != "" && c.ClaimFile != "":
		return errors.New("claim and claim_file: give one of them")
	case c.Every < Duration(100*time.Millisecond) || c.Every > Duration(24*time.Hour):
		return fmt.Errorf("every: %v is not within 100ms..24h", c.Every)
	case c.Seal < Duration(100*time.Millisecond) || c.Seal > Duration(time.Hour):
		return fmt.Errorf("seal: %v is not within 100ms..1h", c.Seal)
	case c.Card < 16<<20:
		return fmt.Errorf("card: %d bytes are under 16MiB", int64(c.Card))
	case c.Log != "debug" && c.Log != "info" && c.Log != "warn" && c.Log != "error":
		return fmt.Errorf("log: %q is none of debug, info, warn, error", c.Log)
	}
	for _, check := range []func() error{c.checkMetrics, c.checkBuses, c.checkReaders, c.checkAntennas, c.checkPanel} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// checkMetrics keeps the numbers on the device: there is no password on them.
func (c File) checkMetrics() error {
	if c.Metrics == "" {
		return nil
	}
	if path, ok := strings.CutPrefix(c.Metrics, "unix:"); ok {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("metrics: %q is not a path from /", path)
		}
		return nil
	}
	host, _, err := net.SplitHostPort(c.Metrics)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("metrics: %q is not on this device\nhint: 127.0.0.1:9102 or unix:/run/trailmark-agent/metrics.sock", c.Metrics)
	}
	return nil
}

func (c File) checkBuses() error {
	buses := map[string]bool{}
	for _, b := range c.I2C {
		switch {
		case b.Bus == "":
			return errors.New("i2c: a bus has no number")
		case buses[b.Bus]:
			return fmt.Errorf("i2c: bus %s stands twice", b.Bus)
		case len(b.Chips) == 0:
			return fmt.Errorf("i2c: bus %s has no chips", b.Bus)
		}
		buses[b.Bus] = true
		at := map[uint16]string{}
		for _, chip := range b.Chips {
			a := chip.At()
			switch {
			case a == 0:
				return fmt.Errorf("i2c: bus %s: chip %q is none of bme280, sht4x, ds2482", b.Bus, chip.Chip)
			case a < 0x08 || a > 0x77:
				return fmt.Errorf("i2c: bus %s: address %#x of %s is not within 0x08..0x77", b.Bus, a, chip.Chip)
			case at[a] != "":
				return fmt.Errorf("i2c: bus %s: %s and %s share address %#x", b.Bus, at[a], chip.Chip, a)
			}
			at[a] = chip.Chip
		}
	}
	return nil
}

// At is the chip's address, its default if none is given; 0: no such chip.
func (c Chip) At() uint16 {
	own := map[string]uint16{"bme280": 0x76, "sht4x": 0x44, "ds2482": 0x18}[c.Chip]
	if own != 0 && c.Address != 0 {
		return c.Address
	}
	return own
}

func (c File) checkReaders() error {
	for _, r := range c.MFRC522 {
		if r.Port == "" {
			return errors.New("mfrc522: no port, as SPI0.0")
		}
	}
	for _, r := range c.R200 {
		switch {
		case r.Port == "":
			return errors.New("r200: no port, as /dev/ttyUSB0")
		case r.Power < 0 || r.Power > 30:
			return fmt.Errorf("r200: power of %g dBm is not within 0..30", r.Power)
		case r.Region != "":
			if _, err := r200.ParseRegion(r.Region); err != nil {
				return err
			}
		}
	}
	for _, r := range c.LLRP {
		switch {
		case r.Address == "":
			return errors.New("llrp: no address")
		case r.Antennas < 0 || r.Antennas > 32:
			return fmt.Errorf("llrp: %d antennas are not within 1..32", r.Antennas)
		case r.Fingerprint != "" && !regexp.MustCompile(`^[0-9a-fA-F]{64}$`).MatchString(r.Fingerprint):
			return errors.New("llrp: fingerprint is not 64 hex digits")
		case r.Fingerprint != "" && !r.TLS:
			return errors.New("llrp: a fingerprint without tls checks nothing")
		}
	}
	return nil
}

func (c File) checkAntennas() error {
	name := regexp.MustCompile(`^(llrp|r200-|mfrc522-)[0-9]{1,2}/[0-9]{1,2}$`)
	seen := map[string]bool{}
	for _, a := range c.Antennas {
		switch {
		case !name.MatchString(a.Antenna):
			return fmt.Errorf("antennas: %q is not like llrp0/2, r200-0/1 or mfrc522-0/1", a.Antenna)
		case seen[a.Antenna]:
			return fmt.Errorf("antennas: %s stands twice", a.Antenna)
		case a.MinReads < 0 || a.MinReads > 1000:
			return fmt.Errorf("antennas: %s: min_reads %d is not within 0..1000", a.Antenna, a.MinReads)
		case a.MinRSSI < -120 || a.MinRSSI > 0:
			return fmt.Errorf("antennas: %s: min_rssi %d is not within -120..0", a.Antenna, a.MinRSSI)
		}
		seen[a.Antenna] = true
	}
	used := map[string]bool{}
	for _, p := range c.Portals {
		if p.Name == "" || len(p.Name) > 64 || !name.MatchString(p.Outer) || !name.MatchString(p.Inner) || p.Outer == p.Inner {
			return fmt.Errorf("portals: %q needs a name and two antennas, as outer: llrp0/1 and inner: llrp0/2", p.Name)
		}
		if used[p.Outer] || used[p.Inner] || used[p.Name] {
			return fmt.Errorf("portals: %s shares its name or an antenna with another", p.Name)
		}
		used[p.Outer], used[p.Inner], used[p.Name] = true, true, true
	}
	return nil
}

func (c File) checkPanel() error {
	pins := map[string]string{}
	use := func(what, pin string) error {
		if pin == "" {
			return nil
		}
		if other := pins[pin]; other != "" {
			return fmt.Errorf("pin %s is both %s and %s", pin, other, what)
		}
		pins[pin] = what
		return nil
	}
	for _, r := range c.MFRC522 {
		if err := use("mfrc522 reset", r.Reset); err != nil {
			return err
		}
	}
	p := c.Panel
	return errors.Join(use("panel buzzer", p.Buzzer), use("panel led", p.LED), use("panel acknowledge", p.Acknowledge),
		use("panel door", p.Door), use("panel mains", p.Mains))
}
