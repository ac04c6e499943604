package app

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trailmark/agent/internal/outbox"
	"trailmark/internal/device"
	"trailmark/internal/device/devicetest"
	"trailmark/internal/est"
	"trailmark/statement"
)

func init() { patience = 3 * time.Second }

// rotateKey is the command, as a person uses it.
func rotateKey(t *testing.T, c Config, key string) (string, error) {
	t.Helper()
	var said bytes.Buffer
	err := Rotate(t.Context(), c.Dir, key, 30*time.Second, &said)
	t.Logf("agent rotate said:\n%s%v", &said, err)
	return said.String(), err
}

// TestRotate changes the key twice, the second time to another place, and asks
// for everything that people and programs then see.
func TestRotate(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := testConfig(t, s.Gateway)
	stop := launch(t, c)
	eventually(t, "a receipt", func() bool { return state(c).Receipted > 0 })
	first := state(c).Key
	said, err := rotateKey(t, c, "")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said, "signs in epoch 1") {
		t.Errorf("agent rotate: %s", said)
	}
	for name, want := range map[string]bool{"key.pem": true, "key-1.pem": false, "key-1.address": false, "outbox": false, "outbox-1": false, requestName: true} {
		if gone(c.Dir, name) != want {
			t.Errorf("after a rotation %s is gone: %v", name, !want)
		}
	}
	now := state(c)
	if now.Key == first || now.KeyAt != "file:"+filepath.Join(c.Dir, "key-1.pem") || now.Epoch != 1 || now.Rotation != nil {
		t.Errorf("status %+v", now)
	}
	var screen bytes.Buffer
	if err := Status(c.Dir, &screen); err != nil || !strings.Contains(screen.String(), now.Key+", at "+now.KeyAt) {
		t.Errorf("%v\n%s", err, &screen)
	}
	lines, _ := examine(t, c, nil)
	for _, l := range lines {
		if l.Check == "rotation" || l.Check == "enrolment" && !strings.Contains(l.Said, "of epoch 1,") {
			t.Errorf("doctor: %+v", l)
		}
	}

	elsewhere := filepath.Join(t.TempDir(), "safe", "device.pem")
	if said, err = rotateKey(t, c, "file:"+elsewhere); err != nil || !strings.Contains(said, "signs in epoch 2") {
		t.Fatalf("%s %v", said, err)
	}
	if !gone(filepath.Dir(elsewhere), "device.pem") || gone(filepath.Dir(elsewhere), "device-2.pem") {
		t.Error("the key is not where it was wanted")
	}
	for name, want := range map[string]bool{"key-1.pem": true, "key-1.address": true, "outbox": true, "outbox-1": false, "outbox-2": false} {
		if gone(c.Dir, name) != want {
			t.Errorf("after two rotations %s is gone: %v", name, !want)
		}
	}
	var card bytes.Buffer
	if said, err := Export(c.Dir, &card); err != nil || !strings.HasPrefix(said, "epoch 2: ") {
		t.Errorf("export: %q, %v", said, err)
	}
	next := state(c).Next
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	until(t, c, next+3) // a restart goes on in the epoch that it was
	stop = launch(t, c)
	eventually(t, "receipts after a restart", func() bool { return state(c).Receipted > next+3 })
	if err := stop(); err != nil {
		t.Error(err)
	}

	frames := s.frames()
	keys := map[statement.Hash]bool{}
	for _, d := range frames {
		keys[d.Statement.Header.KeyID] = true
	}
	if len(keys) != 3 {
		t.Errorf("signed by %d keys", len(keys))
	}
	// Every 100 ms, but for what the restarts take: nothing is missing at a seam.
	at := times(frames)
	for i, d := range frames[1:] {
		before := frames[i]
		if d.Statement.Header.KeyID == before.Statement.Header.KeyID {
			continue
		}
		old := times(frames[:i+1])
		if gap := at[len(old)] - old[len(old)-1]; gap <= 0 || gap > 1000 {
			t.Errorf("%d ms without a reading at the seam", gap)
		}
	}
	t.Logf("%d frames, %d readings by 3 keys", len(frames), len(at))
}

// TestRotateAfterCrash cuts the power at every step, and has nobody ask again.
func TestRotateAfterCrash(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"asked", "vouched", "signed", "receipted", "identified", "turned"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			c := testConfig(t, s.Gateway)
			stop := launch(t, c)
			eventually(t, "a receipt", func() bool { return state(c).Receipted > 2 })

			// at holds whoever calls it for the first time until the image is made.
			var dir string
			reached, taken := make(chan struct{}), make(chan struct{})
			var once atomic.Bool
			at := func(here string) {
				if here == step && once.CompareAndSwap(false, true) {
					close(reached)
					<-taken
				}
			}
			var asked atomic.Int32 // for the identity of the next key
			s.handle(func(_ http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == est.PathReenroll {
					if asked.Add(1) == 1 {
						at("asked")
					} else {
						at("signed")
					}
				} else if asked.Load() == 1 {
					at("vouched")
				}
				return false
			})
			if step == "vouched" {
				// Known to the gateway, and the agent has not heard that.
				s.handle(func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != est.PathReenroll || asked.Add(1) > 1 {
						return false
					}
					at("vouched")
					devicetest.Refuse(w, http.StatusServiceUnavailable, "away")
					return true
				})
			}
			s.hear(func(d *statement.Delivery) {
				if !successor(d).IsZero() {
					s.mute = step == "receipted" || step == "identified"
				}
			})
			if err := ask(c.Dir, request{ID: "x", Epoch: 1}); err != nil {
				t.Fatal(err)
			}
			switch step {
			case "receipted": // the ledger has the hand-over, and the device does not know
				eventually(t, "the hand-over", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.mute })
			case "identified": // everything is there for the next epoch but the receipt
				eventually(t, "the outbox of the next epoch", func() bool { return !gone(c.Dir, "outbox-1") })
			case "turned":
				eventually(t, "the next epoch", func() bool { return state(c).Epoch == 1 })
			default:
				<-reached
			}
			s.hang(true)
			dir = image(t, c.Dir)
			close(taken)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			c.Dir = dir
			s.handle(nil)
			s.silence(false)
			s.hear(nil)
			s.hang(false)

			stop = launch(t, c)
			eventually(t, "receipts in the next epoch", func() bool { now := state(c); return now.Epoch == 1 && now.Receipted > 2 })
			if err := stop(); err != nil {
				t.Error(err)
			}
			if !gone(c.Dir, "key.pem") || !gone(c.Dir, requestName) {
				t.Error("the old key or the request is still there")
			}
			if state(c).Alarm {
				t.Error("alarm")
			}
		})
	}
}

// TestRetireAfterCrash: the power went after the enrolment was replaced and before
// the old key was destroyed.
func TestRetireAfterCrash(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := testConfig(t, s.Gateway)
	stop := launch(t, c)
	eventually(t, "a receipt", func() bool { return state(c).Receipted > 0 })
	key, err := os.ReadFile(filepath.Join(c.Dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rotateKey(t, c, ""); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	put := func(key []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(c.Dir, "key.pem"), key, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(key)
	if err := ask(c.Dir, request{ID: "x", Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	warned := 0
	lines, _ := examine(t, c, nil)
	for _, l := range lines {
		if l.Check == "rotation" && l.Level == "warn" {
			warned++
		}
	}
	if warned != 2 {
		t.Errorf("doctor warns of %d things, want the key and the request: %+v", warned, lines)
	}
	stop = launch(t, c)
	eventually(t, "the end of the old key and of the request", func() bool { return gone(c.Dir, "key.pem") && gone(c.Dir, requestName) })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if state(c).Epoch != 1 {
		t.Error("it rotated again")
	}
	// What was put in its place is somebody's, and not ours to destroy.
	put(otherKey(t))
	until(t, c, 1)
	if gone(c.Dir, "key.pem") {
		t.Error("destroyed another key")
	}
}

// TestRotateComesToNothing: until the hand-over a rotation may fail, and then
// nothing has changed.
func TestRotateComesToNothing(t *testing.T) {
	t.Parallel()
	refuse := func(status int, text string) func(*testing.T, *site, Config) {
		return func(_ *testing.T, s *site, _ Config) {
			s.handle(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == est.PathReenroll {
					devicetest.Refuse(w, status, text)
				}
				return r.URL.Path == est.PathReenroll
			})
		}
	}
	for _, x := range []struct {
		name  string
		key   string
		spoil func(*testing.T, *site, Config)
		want  []string
	}{
		{"the gateway refuses", "", refuse(http.StatusForbidden, "no authority's key here"), []string{"no authority's key here", "hint: "}},
		{"the gateway is in trouble", "", refuse(http.StatusInternalServerError, "it is logged"), []string{"500: it is logged", "hint: the gateway must answer"}},
		{"the gateway is away", "", func(_ *testing.T, s *site, _ Config) { s.Close() }, []string{"refused", "hint: the gateway must answer"}},
		{"no receipts", "", func(t *testing.T, s *site, c Config) {
			s.silence(true)
			eventually(t, "frames without a receipt", func() bool { now := state(c); return now.Next > now.Receipted+20 })
		}, []string{"does not keep up", "hint: agent status"}},
		{"no TPM", "tpm:/nowhere/tpm0", nil, []string{"is there a TPM"}},
		{"no such folder", "file:/proc/x/key.pem", nil, []string{"/proc/x/key-1.pem", "hint: give it another place with --key"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			c := testConfig(t, s.Gateway)
			stop := launch(t, c)
			eventually(t, "a receipt", func() bool { return state(c).Receipted > 0 })
			before := state(c)
			if x.spoil != nil {
				x.spoil(t, s, c)
			}
			_, err := rotateKey(t, c, x.key)
			if err == nil || !strings.HasPrefix(err.Error(), "nothing has changed: ") {
				t.Fatalf("%v", err)
			}
			for _, w := range x.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("no %q in %v", w, err)
				}
			}
			if !gone(c.Dir, requestName) {
				t.Error("the request is still there")
			}
			eventually(t, "more frames by the same key", func() bool {
				now := state(c)
				return now.Key == before.Key && now.Epoch == 0 && now.Next > before.Next+3 && now.Rotation != nil && now.Rotation.Failed
			})
			var screen bytes.Buffer
			if err := Status(c.Dir, &screen); err != nil || !strings.Contains(screen.String(), "came to nothing, nothing has changed") {
				t.Errorf("%v\n%s", err, &screen)
			}
			lines, _ := examine(t, c, nil)
			if text := fmt.Sprint(lines); !strings.Contains(text, "it came to nothing") {
				t.Errorf("doctor: %s", text)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
			until(t, c, before.Next) // and it starts again
		})
	}
}

// TestRotateAgain: what came to nothing once the gateway knew the next key goes on
// with that key only; a key that it refused is no obstacle.
func TestRotateAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := testConfig(t, s.Gateway)
	launch(t, c)
	eventually(t, "a receipt", func() bool { return state(c).Receipted > 0 })
	elsewhere := "file:" + filepath.Join(t.TempDir(), "k.pem")
	s.handle(func(w http.ResponseWriter, _ *http.Request) bool {
		devicetest.Refuse(w, http.StatusForbidden, "not today")
		return true
	})
	if _, err := rotateKey(t, c, elsewhere); err == nil || !gone(c.Dir, "key-1.address") {
		t.Fatalf("refused: %v", err)
	}
	s.handle(func(_ http.ResponseWriter, r *http.Request) bool {
		s.hang(true) // when it has vouched, nobody can be reached any more
		return false
	})
	if _, err := rotateKey(t, c, ""); err == nil || gone(c.Dir, "key-1.address") {
		t.Fatalf("without a connection: %v", err)
	}
	if _, err := rotateKey(t, c, elsewhere); err == nil || !strings.Contains(err.Error(), "made already, at file:, and the gateway may know it\nhint: leave --key away") {
		t.Fatalf("elsewhere: %v", err)
	}
	key, err := os.ReadFile(filepath.Join(c.Dir, "key-1.pem"))
	if err != nil {
		t.Fatal(err)
	}
	s.handle(nil)
	s.hang(false)
	eventually(t, "receipts again", func() bool { now := state(c); return now.Next-now.Receipted < 2 })
	if _, err := rotateKey(t, c, ""); err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(filepath.Join(c.Dir, "key-1.pem")); err != nil || !bytes.Equal(now, key) {
		t.Errorf("another key than the one that the gateway knows: %v", err)
	}
}

// TestRotateWithoutGateway: once the hand-over is signed it is carried through,
// however long the gateway is away; what is measured meanwhile is not lost.
func TestRotateWithoutGateway(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := testConfig(t, s.Gateway)
	stop := launch(t, c)
	eventually(t, "a receipt", func() bool { return state(c).Receipted > 0 })
	var handed atomic.Bool
	s.hear(func(d *statement.Delivery) {
		if !successor(d).IsZero() {
			handed.Store(true)
		}
	})
	s.handle(func(w http.ResponseWriter, _ *http.Request) bool {
		if handed.Load() {
			devicetest.Refuse(w, http.StatusInternalServerError, "the disk is full")
		}
		return handed.Load()
	})
	var said bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Rotate(ctx, c.Dir, "", time.Minute, &said) }()
	eventually(t, "a refusal after the hand-over", func() bool {
		r := state(c).Rotation
		return r != nil && strings.Contains(r.State, "again after: ") && strings.Contains(r.State, "the disk is full")
	})
	if err := Rotate(t.Context(), c.Dir, "", time.Second, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "asked for already: under way: getting the identity") {
		t.Errorf("a second request: %v", err)
	}
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "interrupted at: ") || !strings.Contains(err.Error(), "goes on without this command") {
		t.Errorf("interrupted: %v", err)
	}
	before := time.Now()
	time.Sleep(time.Second)
	s.handle(nil)
	eventually(t, "the next epoch", func() bool { now := state(c); return now.Epoch == 1 && now.Receipted > 3 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	meanwhile := 0
	for _, at := range times(s.frames()) {
		if at >= before.UnixMilli() && at < before.Add(time.Second).UnixMilli() {
			meanwhile++
		}
	}
	if meanwhile < 4 {
		t.Errorf("%d of about 10 readings while the gateway was away", meanwhile)
	}
}

// TestHandedOverNeedsItsKey: a device that has handed over and lost the next key
// says so instead of measuring what nobody can sign.
func TestHandedOverNeedsItsKey(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := testConfig(t, s.Gateway)
	stop := launch(t, c)
	eventually(t, "a receipt", func() bool { return state(c).Receipted > 0 })
	s.hear(func(d *statement.Delivery) { s.mute = s.mute || !successor(d).IsZero() })
	if err := ask(c.Dir, request{ID: "x", Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the outbox of the next epoch", func() bool { return !gone(c.Dir, "outbox-1") })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		spoil func(t *testing.T, c *Config)
		want  string
	}{
		"the key":     {func(t *testing.T, c *Config) { remove(t, c, "key-1.pem") }, "key-1.pem: no such file"},
		"its address": {func(t *testing.T, c *Config) { remove(t, c, "key-1.address") }, "key-1.address: no such file"},
		"another key": {func(t *testing.T, c *Config) {
			if err := os.WriteFile(filepath.Join(c.Dir, "key-1.pem"), otherKey(t), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "put the right one back"},
	} {
		c := c
		c.Dir = image(t, c.Dir)
		x.spoil(t, &c)
		if err := launch(t, c)(); err == nil || !strings.Contains(err.Error(), "handed over to key") || !strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), "hint: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRotateAsksNobody holds what the command says where no agent can answer.
func TestRotateAsksNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := testConfig(t, s.Gateway)
	refused := func(want string, key string) {
		t.Helper()
		if _, err := rotateKey(t, c, key); err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "hint: ") != 1 {
			t.Errorf("%v, want %q", err, want)
		}
	}
	refused("no agent runs on "+c.Dir+"\nhint: start it with systemctl", "")
	box, err := outbox.Open(filepath.Join(c.Dir, outboxName), outbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	refused("not enrolled yet", "")
	if err := box.Close(); err != nil {
		t.Fatal(err)
	}
	stop := launch(t, c)
	eventually(t, "a receipt", func() bool { return state(c).Receipted > 0 })
	if _, err := rotateKey(t, c, "usb:1"); err == nil || !strings.Contains(err.Error(), "tpm:/dev/tpmrm0") {
		t.Errorf("a key of no kind: %v", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	// An agent of an older version leaves the request where it is.
	if box, err = outbox.Open(filepath.Join(c.Dir, outboxName), outbox.Options{}); err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	err = Rotate(t.Context(), c.Dir, "", time.Second, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "has not taken the request up") {
		t.Errorf("an agent that does not listen: %v", err)
	}
	if gone(c.Dir, requestName) {
		t.Error("the request is gone")
	}
}

// TestRequestDropped: one that cannot be meant is removed, and who asked is told.
func TestRequestDropped(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := testConfig(t, s.Gateway)
	launch(t, c)
	eventually(t, "a receipt", func() bool { return state(c).Receipted > 0 })
	for _, text := range []string{"{", `{"id":"x","epoch":7}`} {
		if err := os.WriteFile(filepath.Join(c.Dir, requestName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the request's end", func() bool { return gone(c.Dir, requestName) })
	}
	f := follower{dir: c.Dir, r: request{ID: "y", Epoch: 1}, w: &bytes.Buffer{}}
	f.mute = time.Now().Add(-time.Minute)
	if over, err := f.look(); !over || err == nil || !strings.Contains(err.Error(), "dropped the request") {
		t.Errorf("%v, %v", over, err)
	}
	if now := state(c); now.Epoch != 0 || now.Rotation != nil {
		t.Errorf("%+v", now)
	}
}

// TestHeirRefused: keys that can not be the next one.
func TestHeirRefused(t *testing.T) {
	c := Config{}
	c.Dir = t.TempDir()
	elsewhere := filepath.Join(t.TempDir(), "k-1.pem")
	for present, x := range map[string]struct{ next, want string }{
		"tpm:unix:/run/tpm": {"tpm:unix:/run/tpm", "serves one key at a time, and a rotation needs two\nhint: go by way of a file"},
		"file:" + elsewhere: {"file:" + filepath.Join(filepath.Dir(elsewhere), "k.pem"), "would be the present one, " + elsewhere + "\nhint: "},
	} {
		where, err := keyAt(c, 0, present)
		if err != nil {
			t.Fatal(err)
		}
		now := &tenure{address: present, where: where, enrolment: &device.Enrolment{Identity: &statement.Identity{}}}
		if _, err := openHeir(c, now, x.next); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", present, err)
		}
	}
	if !gone(c.Dir, "key-1.address") {
		t.Error("noted all the same")
	}
}

// TestFollowerGivesUp: an agent that ended is waited for, but not for ever.
func TestFollowerGivesUp(t *testing.T) {
	dir := t.TempDir()
	f := follower{dir: dir, r: request{ID: "y", Epoch: 1}, w: &bytes.Buffer{}, last: "signing the last frame of epoch 0"}
	if over, _ := f.look(); over {
		t.Error("not waited for at all")
	}
	f.gone = time.Now().Add(-time.Minute)
	if over, err := f.look(); !over || err == nil || !strings.Contains(err.Error(), "the agent ended at: signing the last frame") {
		t.Errorf("%v, %v", over, err)
	}
}
