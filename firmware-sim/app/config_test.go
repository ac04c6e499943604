package app

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	if err := Default().Check(); err != nil {
		t.Errorf("the default is refused: %v", err)
	}
	for want, spoil := range map[string]func(*Config){
		"dir: empty":                    func(c *Config) { c.Dir = "" },
		"zones: 0 of them":              func(c *Config) { c.Zones = nil },
		`zones: id "../etc"`:            func(c *Config) { c.Zones[0].ID = "../etc" },
		`zones: id "dc" twice`:          func(c *Config) { c.Zones[0].ID = "dc" },
		"probes: 17":                    func(c *Config) { c.Probes = 17 },
		"items: 0":                      func(c *Config) { c.Items = 0 },
		`llrp-base: "localhost"`:        func(c *Config) { c.LLRPBase = "localhost" },
		"would need port 65536":         func(c *Config) { c.LLRPBase = "127.0.0.1:65534" },
		"step: 9ms":                     func(c *Config) { c.Step = 9 * time.Millisecond },
		"lead: -1s":                     func(c *Config) { c.Lead = -time.Second },
		"travel: 8784h0m0s":             func(c *Config) { c.Travel = 366 * 24 * time.Hour },
		"stay: 3s, want at least":       func(c *Config) { c.Stay = 3 * time.Second },
		"speed: +Inf":                   func(c *Config) { c.Speed = math.Inf(1) },
		"miss: 1001":                    func(c *Config) { c.Miss = 1001 },
		"spill: -1":                     func(c *Config) { c.Spill = -1 },
		"setpoints: 4 of them":          func(c *Config) { c.Setpoints = make([]int32, 4) },
		"101 °C, want at most 100":      func(c *Config) { c.Ambient = 101_000 },
		"fault: after 8784h0m0s":        func(c *Config) { c.Faults = []FaultPlan{{Zone: "dc", Part: 1, After: 366 * 24 * time.Hour}} },
		`fault: no zone "moon"`:         func(c *Config) { c.Faults = []FaultPlan{{Zone: "moon", Part: 1}} },
		"fault: zone dc has no probe 3": func(c *Config) { c.Faults = []FaultPlan{{Zone: "dc", Part: 3}} },
	} {
		c := Default()
		spoil(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestParse(t *testing.T) {
	zones, err := ParseZones("farm=农场 A,port")
	if want := []Zone{{"farm", "农场 A", -1}, {"port", "port", -1}}; err != nil || !slices.Equal(zones, want) {
		t.Errorf("zones %v, %v", zones, err)
	}
	offsets, err := ParseOffsets("0,17")
	if err != nil || !slices.Equal(offsets, []int{0, 17}) {
		t.Errorf("offsets %v, %v", offsets, err)
	}
	setpoints, err := ParseSetpoints("5,-18.5,ambient")
	if err != nil || !slices.Equal(setpoints, []int32{5000, -18500, Uncooled}) {
		t.Errorf("set points %v, %v", setpoints, err)
	}
	for _, text := range []string{"", "5,", "cold", "NaN", "101"} {
		if v, err := ParseSetpoints(text); err == nil {
			t.Errorf("set points %q are read as %v", text, v)
		}
	}
	for _, text := range []string{"", "a=,b", "a,,b"} {
		if z, err := ParseZones(text); err == nil {
			t.Errorf("zones %q are read as %v", text, z)
		}
	}
	for _, text := range []string{"", "1,x", "-1"} {
		if o, err := ParseOffsets(text); err == nil {
			t.Errorf("offsets %q are read as %v", text, o)
		}
	}
}
