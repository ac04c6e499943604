package app

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/agent/internal/config"
	"trailmark/agent/internal/outbox"
	"trailmark/internal/device"
	"trailmark/internal/device/devicetest"
	"trailmark/internal/est"
	"trailmark/internal/keyfile"
	"trailmark/statement"
)

// testConfig is an agent with one probe and a claim of a gateway whose broker is a
// port that nobody serves.
func testConfig(t *testing.T, g *devicetest.Gateway) Config {
	t.Helper()
	dir := t.TempDir()
	chip := filepath.Join(dir, "w1", "28-0316a2795fff")
	if err := os.MkdirAll(chip, 0o755); err != nil {
		t.Fatal(err)
	}
	const good = "72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n"
	if err := os.WriteFile(filepath.Join(chip, "w1_slave"), []byte(good), 0o644); err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.Dir, c.W1.Root, c.Claim = filepath.Join(dir, "data"), filepath.Join(dir, "w1"), g.Claim.String()
	c.Every, c.Seal = config.Duration(100*time.Millisecond), config.Duration(100*time.Millisecond)
	return c
}

// until runs an agent until its status says that so many frames are signed.
func until(t *testing.T, c Config, next uint64) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(c.Dir, statusName)); err != nil { // an earlier run's
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- Run(ctx, c, slog.New(slog.NewTextHandler(t.Output(), nil))) }()
	for {
		select {
		case err := <-done:
			t.Fatalf("agent ended early: %v", err)
		case <-time.After(20 * time.Millisecond): // a file has no event to wait for
		}
		var s status
		if b, err := os.ReadFile(filepath.Join(c.Dir, statusName)); err == nil && json.Unmarshal(b, &s) == nil && s.Next >= next {
			break
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestEnrolsOnceAndGoesOn(t *testing.T) {
	g := devicetest.New(t)
	c := testConfig(t, g)
	until(t, c, 3)
	info, err := os.Stat(filepath.Join(c.Dir, enrolmentName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("enrolment: %v %v", info, err)
	}
	until(t, c, 6) // the same claim code is not used again
	if r := g.Reports(); g.Admitted() != 1 || len(r) != 1 || len(r[0].Antennas) != 0 || len(r[0].Channels) != 1 ||
		r[0].Channels[0] != (device.ReportChannel{Name: "28-0316a2795fff/temp", Unit: "Cel", Nominal: 100}) {
		t.Errorf("enrolled %d times, told %+v", g.Admitted(), r)
	}
	var screen bytes.Buffer
	if err := Status(c.Dir, &screen); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{hostname(t), "urn:dev:test", "epoch", "next seq", "none verified yet", "frames"} {
		if !strings.Contains(screen.String(), want) {
			t.Errorf("status lacks %q:\n%s", want, &screen)
		}
	}
	box, err := outbox.Open(filepath.Join(c.Dir, outboxName), outbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	prev := statement.Hash{}
	for seq := range box.Next() {
		data, err := box.Get(seq)
		if err != nil {
			t.Fatal(err)
		}
		r, err := device.ParseRecord(data)
		if err != nil {
			t.Fatal(err)
		}
		d, err := statement.ParseUp(r.Up)
		if err != nil || d.Frame.Prev != prev || d.Frame.Seq != seq {
			t.Fatalf("frame %d: %v", seq, err)
		}
		prev = d.Statement.ID()
		for _, v := range d.Contents {
			if b, ok := v.(*statement.Block); ok && b.Values[0] != 23_125 {
				t.Errorf("value %d", b.Values[0])
			}
		}
	}
	// The folder is one agent's.
	if err := Run(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second agent: %v", err)
	}
}

func TestRefusesToStart(t *testing.T) {
	g := devicetest.New(t)
	enrolled := testConfig(t, g)
	until(t, enrolled, 1)
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, c *Config)
		want  string
	}{
		{"frames gone", func(t *testing.T, c *Config) { remove(t, c, outboxName) }, "outbox is gone"},
		{"key gone", func(t *testing.T, c *Config) { remove(t, c, keyName) }, "key.pem is gone"},
		{"another's enrolment", func(t *testing.T, c *Config) {
			remove(t, c, keyName)
			if err := os.WriteFile(filepath.Join(c.Dir, keyName), otherKey(t), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not of our key"},
		{"broken enrolment", func(t *testing.T, c *Config) {
			if err := os.WriteFile(filepath.Join(c.Dir, enrolmentName), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "new claim"},
		{"wrong claim", func(t *testing.T, c *Config) {
			c.Dir, c.Claim = t.TempDir(), strings.Replace(c.Claim, devicetest.Code, "WRONG", 1)
		}, "no such claim code"},
		{"another gateway", func(t *testing.T, c *Config) {
			c.Dir = t.TempDir()
			c.Claim = c.Claim[:len(c.Claim)-64] + strings.Repeat("0", 64)
		}, "not the gateway that made the claim"},
		{"a code alone", func(t *testing.T, c *Config) { c.Dir, c.Claim = t.TempDir(), devicetest.Code }, "--gateway and --ca"},
		{"a code without a CA", func(t *testing.T, c *Config) {
			c.Dir, c.Claim, c.Gateway = t.TempDir(), devicetest.Code, "https://127.0.0.1:1"
		}, "--gateway and --ca"},
		{"a CA that is none", func(t *testing.T, c *Config) {
			c.Dir, c.Claim, c.Gateway, c.CA = t.TempDir(), devicetest.Code, "https://127.0.0.1:1", filepath.Join(enrolled.Dir, enrolmentName)
		}, "holds no certificate"},
		{"real, and meant as simulated", func(t *testing.T, c *Config) { c.Simulated = true }, "started as a simulated one"},
		{"key nowhere", func(t *testing.T, c *Config) { c.Key = "safe:x" }, "file:/path"},
		{"no claim", func(t *testing.T, c *Config) { c.Dir, c.Claim = t.TempDir(), "" }, "not enrolled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := enrolled
			conf.Dir = t.TempDir()
			if err := os.CopyFS(conf.Dir, os.DirFS(enrolled.Dir)); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{keyName, enrolmentName} { // CopyFS adds read bits
				if err := os.Chmod(filepath.Join(conf.Dir, name), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c.spoil(t, &conf)
			if err := Run(t.Context(), conf, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestCodeAndCA enrols by a code alone, the gateway being known by its CA's file.
func TestCodeAndCA(t *testing.T) {
	g := devicetest.New(t)
	c := testConfig(t, g)
	c.Claim, c.Gateway, c.CA = devicetest.Code, g.Claim.Gateway, filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(c.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.CA.Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	until(t, c, 1)
	if g.Admitted() != 1 {
		t.Errorf("enrolled %d times", g.Admitted())
	}
}

// TestCertificates: one that is due is renewed while the agent runs, one that ran
// out is asked for again with the claim, and without it the device goes on
// measuring.
func TestCertificates(t *testing.T) {
	g := devicetest.New(t)
	c := testConfig(t, g)
	enrolment := func() *device.Enrolment {
		t.Helper()
		raw, err := os.ReadFile(filepath.Join(c.Dir, enrolmentName))
		if err != nil {
			t.Fatal(err)
		}
		key, _, err := keyfile.LoadOrCreate(filepath.Join(c.Dir, keyName))
		if err != nil {
			t.Fatal(err)
		}
		pub, err := statement.NewKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		e, err := device.ParseEnrolment(raw, pub)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	g.Set(nil, nil, 25*time.Second) // of 85 s are left: due
	until(t, c, 5)
	if e := enrolment(); time.Until(e.Certificate.NotAfter) < time.Minute || g.Admitted() != 1 {
		t.Errorf("valid until %v; admitted %d times", e.Certificate.NotAfter, g.Admitted())
	}

	c.Dir = filepath.Join(t.TempDir(), "data")
	g.Set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != est.PathReenroll {
			return false
		}
		devicetest.Refuse(w, http.StatusForbidden, "certificate has run out")
		return true
	}, nil, -time.Second)
	until(t, c, 3)
	claim := c.Claim
	c.Claim = ""
	until(t, c, 8)
	if g.Admitted() != 2 {
		t.Errorf("admitted %d times, want 2", g.Admitted())
	}
	c.Claim = claim
	g.Set(nil, nil, time.Hour)
	until(t, c, 12)
	if e := enrolment(); g.Admitted() != 3 || time.Until(e.Certificate.NotAfter) < time.Minute {
		t.Errorf("admitted %d times, valid until %v", g.Admitted(), e.Certificate.NotAfter)
	}
}

func hostname(t *testing.T) string {
	t.Helper()
	h, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

const keyName = "key.pem"

func remove(t *testing.T, c *Config, name string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(c.Dir, name)); err != nil {
		t.Fatal(err)
	}
}

// otherKey is the key file of another device.
func otherKey(t *testing.T) []byte {
	t.Helper()
	c := testConfig(t, devicetest.New(t))
	until(t, c, 1)
	b, err := os.ReadFile(filepath.Join(c.Dir, keyName))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A gateway that is not up yet is waited for, and waiting can be ended.
func TestWaitsForGateway(t *testing.T) {
	g := devicetest.New(t)
	c := testConfig(t, g)
	g.Close()
	ctx, stop := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer stop()
	if err := Run(ctx, c, slog.New(slog.DiscardHandler)); err != nil || ctx.Err() == nil {
		t.Errorf("Run: %v", err)
	}
}
