package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

const example = "../../../deploy/agent/agent.example.yaml"

// TestExample parses what is shipped, as it is and with everything switched on.
func TestExample(t *testing.T) {
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Gateway = "https://192.168.1.10:8443"
	if !reflect.DeepEqual(c, want) {
		t.Errorf("the example says %+v, the defaults are %+v", c, want)
	}

	// A line that is switched off begins with # and no space, or two and more. Of two spellings of
	// one key the second is left out.
	var all []string
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if off, ok := strings.CutPrefix(line, "#"); ok && (!strings.HasPrefix(off, " ") || strings.HasPrefix(off, "  ")) {
			line = off
		}
		key, _, ok := strings.Cut(line, ":")
		if top := ok && !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "#"); top && (seen[key] || key == "claim_file") {
			continue
		} else if top {
			seen[key] = true
		}
		all = append(all, line)
	}
	c, err = Parse([]byte(strings.Join(all, "")))
	if err != nil {
		t.Fatalf("%v in\n%s", err, strings.Join(all, ""))
	}
	if len(c.I2C) != 1 || len(c.I2C[0].Chips) != 3 || c.I2C[0].Chips[0].Address != 0x76 || c.I2C[0].Chips[2].At() != 0x18 ||
		len(c.LLRP) != 2 || !c.LLRP[1].TLS || c.R200[0].Power != 26 || c.Portals[0].Inner != "llrp0/2" ||
		c.Antennas[0].MinRSSI != -65 || c.Panel.Door != "GPIO23" || c.MFRC522[0].Reset != "GPIO25" || c.Metrics == "" {
		t.Errorf("with everything on: %+v", c)
	}

	// Every key of the file is in the example.
	for _, k := range keys(reflect.TypeFor[File]()) {
		if !regexp.MustCompile(`(?m)^#?( *- | *)` + k + `:`).Match(text) {
			t.Errorf("the example does not name %s", k)
		}
	}
}

func TestDefaults(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "null\n"} {
		if c, err := Parse([]byte(text)); err != nil || !reflect.DeepEqual(c, Default()) {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
	c, err := Parse([]byte("every: 10s\ncard: 512MiB\nw1:\n  root: /tmp/w1\n"))
	if err != nil || c.Every != Duration(10*time.Second) || c.Card != 512<<20 || c.W1.Root != "/tmp/w1" {
		t.Errorf("%+v, %v", c, err)
	}
	out, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Parse(out); err != nil || again.Card != c.Card || again.Every != c.Every {
		t.Errorf("%s\nread as %+v, %v", out, again, err)
	}
}

func TestRefused(t *testing.T) {
	for _, v := range []struct{ text, want string }{
		{"gatway: https://x:1\n", "did you mean gateway?"},
		{"gatway: https://x:1\n", "[1:1]"},
		{"every: 60s\nevery: 70s\n", "[2:1]"},
		{"i2c:\n  - bus: \"1\"\n    chip: []\n", "did you mean chips?"},
		{"log: info\nevery: soon\n", `[2:8] "soon" is no duration`},
		{"every: 1ms\n", "every: 1ms"},
		{"seal: 2h\n", "seal: 2h"},
		{"card: 1TB\n", `[1:7] "1TB" is no size`},
		{"card: 1MiB\n", "under 16MiB"},
		{"dir: data\n", "dir:"},
		{"claim: A\nclaim_file: /b\n", "give one of them"},
		{"log: loud\n", "log:"},
		{"metrics: 0.0.0.0:9102\n", "not on this device"},
		{"metrics: 10.0.0.1:9102\n", "not on this device"},
		{"metrics: unix:metrics.sock\n", "path from /"},
		{"i2c:\n  - bus: \"1\"\n", "no chips"},
		{"i2c:\n  - bus: \"1\"\n    chips: [{chip: bmp085}]\n", "none of bme280"},
		{"i2c:\n  - bus: \"1\"\n    chips: [{chip: bme280}, {chip: sht4x, address: 0x76}]\n", "share address 0x76"},
		{"i2c:\n  - bus: \"1\"\n    chips: [{chip: bme280, address: 0x80}]\n", "0x08..0x77"},
		{"llrp:\n  - antennas: 2\n", "no address"},
		{"llrp:\n  - address: r:5084\n    fingerprint: aa\n", "64 hex"},
		{"llrp:\n  - address: r:5084\n    fingerprint: " + strings.Repeat("ab", 32) + "\n", "without tls"},
		{"r200:\n  - port: /dev/ttyUSB0\n    power: 33\n", "0..30"},
		{"r200:\n  - port: /dev/ttyUSB0\n    region: mars\n", "one of china-900"},
		{"antennas:\n  - antenna: dock\n", "llrp0/2"},
		{"antennas:\n  - antenna: llrp0/1\n    min_rssi: 5\n", "min_rssi"},
		{"portals:\n  - name: a\n    outer: llrp0/1\n    inner: llrp0/1\n", "two antennas"},
		{"portals:\n  - {name: a, outer: llrp0/1, inner: llrp0/2}\n  - {name: b, outer: llrp0/2, inner: llrp0/3}\n", "shares"},
		{"panel: {buzzer: GPIO17, led: GPIO17}\n", "both panel buzzer and panel led"},
		{"offset: 0.5\n", "unknown field"},
		{"every: 60s\n---\nevery: 10s\n", "second document"},
		{strings.Repeat("# ", maxFile), "over"},
	} {
		c, err := Parse([]byte(v.text))
		if err == nil || !strings.Contains(err.Error(), v.want) {
			t.Errorf("%.80q: %+v, %v; want an error with %q", v.text, c, err, v.want)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "agent.yaml")); err == nil || !strings.Contains(err.Error(), "hint: copy agent.example.yaml") {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	text, err := os.ReadFile(example)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("i2c: [{bus: \"1\", chips: [{chip: bme280}]}]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, err := Parse(text); err == nil {
			if err := c.Check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
