package app

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trailmark/agent/internal/outbox"
	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/statement"
)

// gateway is the enrolling side only; its broker is a port that nobody serves.
type gateway struct {
	*httptest.Server
	asked atomic.Int32
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := statement.NewSigner(priv)
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.asked.Add(1)
		var in struct{ Body string }
		var body struct {
			Claim    string
			Key      []byte
			Channels []device.RequestChannel
			Antennas []string
		}
		if json.NewDecoder(r.Body).Decode(&in) != nil || json.Unmarshal([]byte(in.Body), &body) != nil || body.Claim != "ABCD-EFGH" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusForbidden)
			w.Write([]byte(`{"detail":"no such claim code"}`))
			return
		}
		if len(body.Channels) != 1 || body.Channels[0] != (device.RequestChannel{Name: "28-0316a2795fff/temp", Unit: "Cel", Nominal: 100}) || len(body.Antennas) != 0 {
			t.Errorf("request %s", in.Body)
		}
		key, err := statement.ParseKey(body.Key)
		if err != nil {
			t.Error(err)
		}
		id, err := authority.Sign(statement.Header{Issuer: "urn:test:authority", Audience: "demo/test", Kind: statement.KindIdentity},
			dcbor.MustMarshal(&statement.Identity{Version: 1, Key: statement.PublicKey{Key: key}, Subject: "urn:dev:test", Role: statement.RoleDevice, To: 1 << 47, Name: "bench"}))
		if err != nil {
			t.Error(err)
		}
		enc := base64.StdEncoding.EncodeToString
		json.NewEncoder(w).Encode(map[string]any{"identity": enc(id.Bytes()), "audience": "demo/test", "tenant": "demo", "broker": "mqtt://127.0.0.1:1",
			"password": "pw", "authority": enc(authority.Key().Encoded()), "origin": "example.org/demo", "log_key": enc(authority.Key().Encoded())})
	}))
	t.Cleanup(g.Close)
	return g
}

func config(t *testing.T, g *gateway) Config {
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
	c.Dir, c.W1Root, c.Gateway, c.Claim = filepath.Join(dir, "data"), filepath.Join(dir, "w1"), g.URL, "ABCD-EFGH"
	c.Every, c.Seal = 100*time.Millisecond, 100*time.Millisecond
	return c
}

// until runs an agent until its status says that so many frames are signed.
func until(t *testing.T, c Config, next uint64) {
	t.Helper()
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
	g := newGateway(t)
	c := config(t, g)
	until(t, c, 3)
	info, err := os.Stat(filepath.Join(c.Dir, enrolmentName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("enrolment: %v %v", info, err)
	}
	until(t, c, 6) // the same claim code is not used again
	if n := g.asked.Load(); n != 1 {
		t.Errorf("enrolled %d times", n)
	}
	var screen bytes.Buffer
	if err := Status(c.Dir, &screen); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bench", "urn:dev:test", "epoch", "next seq", "none verified yet", "frames"} {
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
	g := newGateway(t)
	enrolled := config(t, g)
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
		}, "not of ours"},
		{"broken enrolment", func(t *testing.T, c *Config) {
			if err := os.WriteFile(filepath.Join(c.Dir, enrolmentName), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "claim code"},
		{"wrong claim", func(t *testing.T, c *Config) { c.Dir, c.Claim = t.TempDir(), "WRONG" }, "no such claim code"},
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

func remove(t *testing.T, c *Config, name string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(c.Dir, name)); err != nil {
		t.Fatal(err)
	}
}

// otherKey is the key file of another device.
func otherKey(t *testing.T) []byte {
	t.Helper()
	c := config(t, newGateway(t))
	until(t, c, 1)
	b, err := os.ReadFile(filepath.Join(c.Dir, keyName))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A gateway that is not up yet is waited for, and waiting can be ended.
func TestWaitsForGateway(t *testing.T) {
	g := newGateway(t)
	c := config(t, g)
	g.Close()
	ctx, stop := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer stop()
	if err := Run(ctx, c, slog.New(slog.DiscardHandler)); err != nil || ctx.Err() == nil {
		t.Errorf("Run: %v", err)
	}
}
