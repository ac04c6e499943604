package app

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"trailmark/firmware-sim/internal/w1tree"
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
		`fault: no zone "moon"`:         func(c *Config) { c.Faults = []FaultPlan{{Zone: "moon", Probe: 1}} },
		"fault: zone dc has no probe 3": func(c *Config) { c.Faults = []FaultPlan{{Zone: "dc", Probe: 3}} },
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
	for text, want := range map[string]FaultPlan{
		"dc:1:gone@30s+10s": {"dc", 1, w1tree.Gone, 30 * time.Second, 10 * time.Second},
		"shop:2:85@1m":      {"shop", 2, w1tree.PowerOn, time.Minute, 0},
	} {
		if got, err := ParseFaultPlan(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "dc:1:gone", "dc:gone@1s", "dc:x:gone@1s", "dc:1:melt@1s", "dc:1:gone@1", "dc:1:gone@-1s", "dc:1:gone@1s+0s", "dc:1:gone@1s+"} {
		if p, err := ParseFaultPlan(text); err == nil {
			t.Errorf("%q is read as %+v", text, p)
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

func FuzzParseFaultPlan(f *testing.F) {
	f.Add("dc:1:gone@30s+10s")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseFaultPlan(text)
		if err == nil && (p.After < 0 || p.For < 0 || p.active(p.After-1) || !p.active(p.After)) {
			t.Errorf("%q is read as %+v", text, p)
		}
	})
}
