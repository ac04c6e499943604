package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/agent/internal/clock"
	"trailmark/internal/device/devicetest"
)

// line is a finding as JSON has it.
type line struct{ Check, Level, Said, Hint string }

func examine(t *testing.T, c Config, unusable error) (lines []line, ok bool) {
	t.Helper()
	var out bytes.Buffer
	ok, err := Doctor(t.Context(), c, unusable, "en", true, &out)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &lines); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	return lines, ok
}

func TestDoctor(t *testing.T) {
	g := devicetest.New(t)
	enrolled := testConfig(t, g)
	until(t, enrolled, 2)
	probe := filepath.Join(enrolled.W1.Root, "28-0316a2795fff", "w1_slave")
	good, err := os.ReadFile(probe)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name                     string
		spoil                    func(t *testing.T, c *Config)
		unusable                 error
		check, level, said, hint string
	}{
		{"a probe", nil, nil, "probe", "ok", "28-0316a2795fff/temp: 23.125 Cel", ""},
		{"an enrolment", nil, nil, "enrolment", "ok", "urn:dev:test", ""},
		{"a gateway", nil, nil, "gateway", "ok", "https://", ""},
		{"a broker that is not there", nil, nil, "broker", "fail", "refused", "network"},
		{"a key", nil, nil, "key", "ok", "mode 0600", ""},
		{"the folder", nil, nil, "folder", "", "mode 0700", ""},
		{"frames", nil, nil, "receipts", "", "frames signed", ""},
		{"no agent", nil, nil, "agent", "warn", "does not run", "systemctl start"},
		{"a card", nil, nil, "card", "ok", "0 lost", ""},
		{"a bad file", nil, errors.New("line 3\nhint: did you mean gateway?"), "config", "fail", "line 3", "did you mean gateway?"},
		{"a probe with a bad wire", func(t *testing.T, c *Config) {
			if err := os.WriteFile(probe, bytes.Replace(good, []byte("72 01"), []byte("73 01"), 1), 0o644); err != nil {
				t.Fatal(err)
			}
		}, nil, "probe", "fail", "fault crc", "cable"},
		{"a key that is gone", func(t *testing.T, c *Config) { remove(t, c, keyName) }, nil, "key", "fail", "key.pem is gone", "new claim"},
		{"a key that others read", func(t *testing.T, c *Config) {
			if err := os.Chmod(filepath.Join(c.Dir, keyName), 0o644); err != nil {
				t.Fatal(err)
			}
		}, nil, "key", "fail", "key.pem", "chmod"},
		{"an enrolment that is damaged", func(t *testing.T, c *Config) {
			if err := os.WriteFile(filepath.Join(c.Dir, enrolmentName), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, nil, "enrolment", "fail", "enrolment", ""},
		{"no claim", func(t *testing.T, c *Config) { c.Dir, c.Claim = t.TempDir(), "" }, nil, "enrolment", "fail", "no claim", "gateway claim"},
		{"a claim", func(t *testing.T, c *Config) { c.Dir = filepath.Join(t.TempDir(), "new") }, nil, "enrolment", "warn", "not enrolled yet", "start"},
		{"the gateway of a claim", func(t *testing.T, c *Config) { c.Dir = filepath.Join(t.TempDir(), "new") }, nil, "gateway", "ok", "made the claim", ""},
		{"another gateway than that of the claim", func(t *testing.T, c *Config) {
			c.Dir, c.Claim = filepath.Join(t.TempDir(), "new"), c.Claim[:len(c.Claim)-64]+strings.Repeat("0", 64)
		}, nil, "gateway", "fail", "", "network"},
		{"nothing to read", func(t *testing.T, c *Config) { c.W1 = nil }, nil, "hardware", "fail", "no probe and no reader", "configuration"},
		{"no folder", func(t *testing.T, c *Config) { c.Dir = filepath.Join(t.TempDir(), "new") }, nil, "folder", "warn", "not there yet", "when it starts"},
		{"a file for a folder", func(t *testing.T, c *Config) { c.Dir = probe }, nil, "folder", "fail", "not a folder", "dir"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := enrolled
			conf.Dir = t.TempDir()
			if err := os.CopyFS(conf.Dir, os.DirFS(enrolled.Dir)); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{".", keyName, enrolmentName} { // CopyFS adds read bits
				mode := os.FileMode(0o600)
				if name == "." {
					mode = 0o700
				}
				if err := os.Chmod(filepath.Join(conf.Dir, name), mode); err != nil {
					t.Fatal(err)
				}
			}
			if c.spoil != nil {
				c.spoil(t, &conf)
			}
			t.Cleanup(func() {
				if err := os.WriteFile(probe, good, 0o644); err != nil {
					t.Error(err)
				}
			})
			lines, ok := examine(t, conf, c.unusable)
			fails := false
			for _, l := range lines {
				fails = fails || l.Level == "fail"
				if (l.Level == "warn" || l.Level == "fail") && l.Hint == "" && c.hint != "" && l.Check == c.check {
					t.Errorf("no hint: %+v", l)
				}
			}
			if ok == fails {
				t.Errorf("healthy: %v, with %+v", ok, lines)
			}
			for _, l := range lines {
				if l.Check == c.check && (c.level == "" || l.Level == c.level) && strings.Contains(l.Said, c.said) && strings.Contains(l.Hint, c.hint) {
					return
				}
			}
			t.Errorf("no line %s %s %q %q in %+v", c.level, c.check, c.said, c.hint, lines)
		})
	}
}

// TestDoctorChangesNothing compares every file before and after.
func TestDoctorChangesNothing(t *testing.T) {
	c := testConfig(t, devicetest.New(t))
	examine(t, c, nil)
	if _, err := os.Stat(c.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("made the data folder: %v", err)
	}
	until(t, c, 2)
	files := func() (out string) {
		t.Helper()
		err := filepath.WalkDir(c.Dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			out += path + "\n" + string(b) + "\n"
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	before := files()
	examine(t, c, nil)
	if files() != before {
		t.Error("changed a file")
	}
}

// TestPulse: a loop that has not begun is no hang, one that has and stopped is.
func TestPulse(t *testing.T) {
	var p pulse
	if !p.alive() {
		t.Error("waiting for the gateway is no hang")
	}
	p.beat()
	if !p.alive() {
		t.Error("dead at once")
	}
	now, err := clock.System{}.Boottime()
	if err != nil {
		t.Fatal(err)
	}
	if p.last.Store(now - int64(hang) - int64(time.Second)); p.alive() {
		t.Error("a loop that hangs passes for alive")
	}
}
