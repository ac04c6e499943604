package hardware

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2creg"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
	"periph.io/x/conn/v3/spi/spireg"

	"trailmark/agent/internal/config"
	"trailmark/agent/internal/rfid"
	"trailmark/agent/internal/sensor"
	"trailmark/firmware-sim/chip/bme280"
	"trailmark/firmware-sim/chip/i2cbus"
	"trailmark/firmware-sim/chip/mfrc522"
	"trailmark/firmware-sim/chip/sht4x"
)

var quiet = slog.New(slog.DiscardHandler)

func constant(v float64) func(time.Time) float64 { return func(time.Time) float64 { return v } }

type openBus struct{ *i2cbus.Bus }

func (openBus) Close() error { return nil }

// bus puts chip models on an I2C bus that is found under a number.
func bus(t *testing.T, number int, chips map[uint16]i2cbus.Target) {
	t.Helper()
	b := i2cbus.New("model")
	for addr, c := range chips {
		if err := b.Attach(addr, c); err != nil {
			t.Fatal(err)
		}
	}
	name := "model-" + t.Name()
	if err := i2creg.Register(name, nil, number, func() (i2c.BusCloser, error) { return openBus{b}, nil }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i2creg.Unregister(name); err != nil {
			t.Error(err)
		}
	})
}

type openPort struct{ *mfrc522.Chip }

func (openPort) Close() error                      { return nil }
func (openPort) LimitSpeed(physic.Frequency) error { return nil }

// with is a configuration of nothing but what change adds.
func with(change func(c *config.File)) config.File {
	c := config.Default()
	c.W1 = nil
	change(&c)
	return c
}

func climate() *bme280.Chip {
	return bme280.New(bme280.Config{Celsius: constant(5), Humidity: constant(60), Pascal: constant(101325)})
}

func shelf() *sht4x.Chip {
	return sht4x.New(sht4x.Config{Serial: 0x0badcafe, Celsius: constant(4), Humidity: constant(55)})
}

// TestOpen finds chips and a reader, and reads them.
func TestOpen(t *testing.T) {
	bus(t, 41, map[uint16]i2cbus.Target{0x76: climate(), 0x44: shelf()})
	if err := spireg.Register("SPI41.0", nil, -1, func() (spi.PortCloser, error) { return openPort{mfrc522.New(mfrc522.Options{})}, nil }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = spireg.Unregister("SPI41.0") })
	h := Open(t.Context(), with(func(c *config.File) {
		c.I2C = []config.I2C{{Bus: "41", Chips: []config.Chip{{Chip: "bme280"}, {Chip: "sht4x"}}}}
		c.MFRC522 = []config.MFRC522{{Port: "SPI41.0"}}
		c.LLRP = []config.LLRP{{Address: "192.0.2.7", Antennas: 3}}
	}), quiet)
	defer h.Close()
	if err := h.Err(); err != nil {
		t.Fatal(err)
	}
	if len(h.Probes) != 5 || len(h.Readers) != 2 {
		t.Fatalf("%d probes, %d readers: %+v", len(h.Probes), len(h.Readers), h.Findings)
	}
	want := map[string]int64{"Cel": 5000, "%RH": 60_000, "Pa": 101_325_000}
	for _, p := range h.Probes[:3] {
		s := p.Sample(t.Context())
		if w := want[p.Unit()]; s.Fault != sensor.FaultNone || s.Milli < w-w/100 || s.Milli > w+w/100 {
			t.Errorf("%s: %+v, want about %d", p.Channel(), s, w)
		}
	}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	var why string
	r, err := h.Readers[0].Open(func(up bool, what string) {
		if up {
			why = what
		}
		stop()
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(ctx, func(rfid.Read) {}); err != nil || !strings.Contains(why, "version 0x92") {
		t.Errorf("%q, %v", why, err)
	}
}

func TestAntennas(t *testing.T) {
	got := Antennas(with(func(c *config.File) {
		c.MFRC522, c.R200 = make([]config.MFRC522, 1), make([]config.R200, 1)
		c.LLRP = []config.LLRP{{}, {Antennas: 1}}
	}))
	if want := []string{"mfrc522-0/1", "r200-0/1", "llrp0/1", "llrp0/2", "llrp1/1"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestMissing holds what keeps an agent from starting and what does not.
func TestMissing(t *testing.T) {
	bus(t, 42, map[uint16]i2cbus.Target{0x44: shelf()})
	probe := filepath.Join(t.TempDir(), "28-0316a2795fff")
	if err := os.Mkdir(probe, 0o755); err != nil {
		t.Fatal(err)
	}
	w1 := filepath.Dir(probe)
	for _, c := range []struct {
		name   string
		change func(c *config.File)
		fatal  string // "": it starts
		told   string // one finding's error, "": none
	}{
		{"nothing at all", func(c *config.File) {}, "nothing to read", ""},
		{"no 1-Wire bus, and nothing else", func(c *config.File) { c.W1 = &config.W1{Root: w1 + "/none", Optional: true} }, "dtoverlay=w1-gpio", "w1-gpio"},
		{"a 1-Wire bus that must be", func(c *config.File) {
			c.W1, c.LLRP = &config.W1{Root: w1 + "/none"}, []config.LLRP{{Address: "r"}}
		}, "dtoverlay=w1-gpio", "w1-gpio"},
		{"a 1-Wire bus that may be", func(c *config.File) {
			c.W1, c.LLRP = &config.W1{Root: w1 + "/none", Optional: true}, []config.LLRP{{Address: "r"}}
		}, "", "w1-gpio"},
		{"a bus that must be", func(c *config.File) {
			c.I2C = []config.I2C{{Bus: "99", Chips: []config.Chip{{Chip: "sht4x"}}}}
		}, "dtparam=i2c_arm=on", "i2c-99"},
		{"a bus that may be", func(c *config.File) {
			c.W1, c.I2C = &config.W1{Root: w1}, []config.I2C{{Bus: "99", Optional: true, Chips: []config.Chip{{Chip: "sht4x"}}}}
		}, "", "i2c-99"},
		{"a chip that does not answer", func(c *config.File) {
			c.I2C = []config.I2C{{Bus: "42", Chips: []config.Chip{{Chip: "bme280"}, {Chip: "sht4x"}}}}
		}, "", "bme280"},
		{"every chip silent", func(c *config.File) {
			c.I2C = []config.I2C{{Bus: "42", Chips: []config.Chip{{Chip: "bme280"}}}}
		}, "nothing to read", "bme280"},
		{"one chip twice", func(c *config.File) {
			c.W1 = &config.W1{Root: w1}
			c.I2C = []config.I2C{{Bus: "42", Chips: []config.Chip{{Chip: "sht4x"}}}, {Bus: "42", Chips: []config.Chip{{Chip: "sht4x"}}}}
		}, "two probes have this name", "two probes"},
		{"no SPI", func(c *config.File) { c.MFRC522 = []config.MFRC522{{Port: "SPI9.9"}} }, "dtparam=spi=on", "spidev9.9"},
		{"no serial port", func(c *config.File) { c.R200 = []config.R200{{Port: "/dev/ttyNone"}} }, "enable_uart=1", "ttyNone"},
		{"a serial port that may be", func(c *config.File) { c.R200 = []config.R200{{Port: "/dev/ttyNone", Optional: true}} }, "", ""},
		{"a region of no country", func(c *config.File) { c.R200 = []config.R200{{Port: "/dev/null", Region: "mars"}} }, "china-900", "mars"},
		{"no such pin", func(c *config.File) { c.Panel.Door, c.W1 = "DOOR-X", &config.W1{Root: w1} }, "DOOR-X", "panel"},
		{"a threshold of no antenna", func(c *config.File) {
			c.LLRP, c.Antennas = []config.LLRP{{Address: "r"}}, []config.Antenna{{Antenna: "llrp0/3"}}
		}, "there are llrp0/1, llrp0/2", "llrp0/3"},
		{"a portal of no antenna", func(c *config.File) {
			c.LLRP, c.Portals = []config.LLRP{{Address: "r"}}, []config.Portal{{Name: "dock", Outer: "llrp0/1", Inner: "llrp1/1"}}
		}, "no reader has an antenna llrp1/1", "portal dock"},
		{"half a fingerprint", func(c *config.File) { c.LLRP = []config.LLRP{{Address: "r", TLS: true, Fingerprint: "ab"}} }, "64 hex", "64 hex"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := Open(t.Context(), with(c.change), quiet)
			defer h.Close()
			err := h.Err()
			if (err == nil) != (c.fatal == "") || err != nil && !strings.Contains(err.Error(), c.fatal) {
				t.Errorf("starts with %v, want %q", err, c.fatal)
			}
			told := ""
			for _, f := range h.Findings {
				if f.Err != nil {
					told += f.Part + ": " + f.Err.Error() + "\n"
				}
			}
			if (told == "") != (c.told == "") || !strings.Contains(told, c.told) {
				t.Errorf("told %q, want %q", told, c.told)
			}
		})
	}
}
