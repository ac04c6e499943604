package fleet

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"trailmark/firmware-sim/internal/world"
	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/internal/device/devicetest"
	"trailmark/statement"
	"trailmark/trace"
)

func run(t *testing.T, c Config) Summary {
	t.Helper()
	s, err := try(t, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func try(t *testing.T, c Config) (Summary, error) {
	t.Helper()
	var out bytes.Buffer
	err := Run(t.Context(), c, &out, slog.New(slog.NewTextHandler(t.Output(), nil)))
	var s Summary
	if err == nil {
		d := json.NewDecoder(&out)
		d.DisallowUnknownFields()
		if e := d.Decode(&s); e != nil {
			t.Fatal(e)
		}
	}
	return s, err
}

// Every frame of every device gets a receipt that was verified; the next run goes
// on where this one ended, without claims.
func TestRunAndRunAgain(t *testing.T) {
	r := newRig(t)
	c := r.config(8)
	s := run(t, c)
	if s.Frames != 48 || s.Receipts != 48 || s.Unreceipted != 0 || s.Errors != 0 || s.Connected != 8 || s.Latency.P50 <= 0 || s.Latency.P99 < s.Latency.P50 {
		t.Errorf("%+v", s)
	}
	if s.Readings < 48*3 || s.Readings > 48*5 {
		t.Errorf("%d readings in %d frames", s.Readings, s.Frames)
	}
	if n := r.gateway.Admitted(); n != 8 {
		t.Errorf("%d certificates given", n)
	}
	c.Claims = ""
	if s := run(t, c); s.Receipts != 48 || s.Errors != 0 || r.size() != 96 || r.gateway.Admitted() != 8 {
		t.Errorf("second run: %+v, ledger of %d", s, r.size())
	}
	for _, what := range []string{"signature", "prev", "order", "fork"} {
		if n := r.seen(what); n > 0 {
			t.Errorf("%d messages refused for their %s", n, what)
		}
	}
}

func TestRoguesAreRefused(t *testing.T) {
	r := newRig(t)
	c := r.config(4)
	c.Rogues = 0.5
	s := run(t, c)
	if s.Rogues != 2 || s.Receipts != 24 || s.BadReceipted != 0 || s.Errors != 0 {
		t.Errorf("%+v", s)
	}
	if s.BadSignature == 0 || s.WrongPrev == 0 || s.Replayed == 0 ||
		r.seen("signature") != int(s.BadSignature) || r.seen("prev") != int(s.WrongPrev) || r.seen("repeated") != int(s.Replayed) {
		t.Errorf("sent %d, %d, %d; the gateway saw %v", s.BadSignature, s.WrongPrev, s.Replayed, r.refused)
	}
}

// A gateway that takes what it must refuse is told of.
func TestBadReceipt(t *testing.T) {
	r := newRig(t)
	members, f := r.members(t, r.config(1))
	m := members[0]
	bad := statement.Hash{7}
	m.bad = map[statement.Hash]struct{}{bad: {}}
	err := m.included(f, statement.Checkpoint{}, statement.Included{ID: bad})
	if !errors.Is(err, errBad) || f.stats.total.BadReceipted != 1 {
		t.Errorf("got %v, %+v", err, f.stats.total)
	}
}

// A plan takes effect from the next frame, is kept, and only a newer one by a site
// follows it.
func TestPlan(t *testing.T) {
	r := newRig(t)
	c := r.config(1)
	members, f := r.members(t, c)
	m := members[0]
	limits := []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8001}}
	plan := func(seq uint64, by *statement.Signer) []byte {
		p := &statement.Plan{Version: 1, Seq: seq, Prev: statement.Hash{1}, Site: statement.Texts{{Lang: "en", Words: "depot"}}, Zones: []statement.Zone{{ID: "load",
			Name: statement.Texts{{Lang: "en", Words: "load"}}, Channels: []statement.Channel{{Device: m.kid, Name: channel, Unit: unit, Nominal: int64(seq), Limits: limits}}}}}
		s, err := by.Sign(statement.Header{Issuer: "urn:dev:test", Audience: devicetest.Audience, Kind: statement.KindPlan}, dcbor.MustMarshal(p))
		if err != nil {
			t.Fatal(err)
		}
		identity := r.gateway.Identify(r.gateway.Authority, statement.Identity{Key: statement.PublicKey{Key: by.Key()}, Subject: "urn:dev:test", Role: statement.RoleSite}, devicetest.Audience)
		return dcbor.MustMarshal(&statement.PlanDown{Type: statement.DownPlan, Plan: s.Bytes(), Identities: [][]byte{identity}})
	}
	for _, seq := range []uint64{7, 9, 8} {
		if err := m.down(f, plan(seq, r.gateway.Planner)); err != nil {
			t.Fatal(err)
		}
	}
	forged := bytes.Clone(plan(10, r.gateway.Planner))
	forged[len(forged)-1] ^= 1 // of the identity's signature
	if err := m.down(f, forged); err == nil {
		t.Error("a plan by nobody is taken")
	}
	if m.state.PlanSeq != 9 || m.entry == nil || m.entry.Nominal != 9 || m.input(f, time.Now()).Entries(channel) != m.entry {
		t.Errorf("in force is %d, %+v", m.state.PlanSeq, m.entry)
	}
	data, err := m.chain()
	if err != nil {
		t.Fatal(err)
	}
	again := &member{kid: m.kid}
	if err := again.resume(data); err != nil || again.state.Plan != m.state.Plan || again.entry.Hash() != m.entry.Hash() {
		t.Errorf("after a restart %+v, %v", again.entry, err)
	}
}

// Of two devices with one key the gateway believes one; the other finds out.
func TestClones(t *testing.T) {
	r := newRig(t)
	c := r.config(2)
	c.Clones, c.Drain = 1, 2*time.Second
	s := run(t, c)
	if s.Foreign == 0 || r.seen("fork") == 0 || s.Failures[errForeign.Error()] == 0 {
		t.Errorf("%+v, the gateway saw %v", s, r.refused)
	}
	if _, err := try(t, c); err == nil || !strings.Contains(err.Error(), "had clones") {
		t.Errorf("a forked folder is continued: %v", err)
	}
}

// What a gateway cannot prove counts for nothing, and the frame goes on waiting.
func TestLies(t *testing.T) {
	for name, lie := range map[string]struct {
		tell func(*statement.Receipts)
		want string
	}{
		"another place": {func(r *statement.Receipts) {
			r.Included[0].Index ^= 1
			r.Included[0].Path = append(r.Included[0].Path, statement.Hash{})
		}, "receipt does not lead to the root"},
		"another origin": {func(r *statement.Receipts) {
			r.Checkpoint = bytes.Replace(r.Checkpoint, []byte(origin), []byte("example.com"), 1)
		}, "checkpoint"},
		"another root": {func(r *statement.Receipts) { r.Checkpoint[len(r.Checkpoint)/3] ^= 1 }, "checkpoint"},
		"no proof":     {func(r *statement.Receipts) { r.Consistency = []statement.Consistency{{OldSize: 1 << 40}} }, "no proof from the one"},
		"another past": {func(r *statement.Receipts) {
			for i := range r.Consistency {
				if r.Consistency[i].OldSize > 0 {
					r.Consistency[i].Path[0][0] ^= 1
				}
			}
		}, "does not extend"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.lie = func(m *statement.Receipts) []byte { lie.tell(m); return dcbor.MustMarshal(m) }
			c := r.config(1)
			c.Frames, c.Drain = 1, 300*time.Millisecond
			if name == "another past" {
				c.Frames = 2 // the first is believed
			}
			s := run(t, c)
			said := ""
			for text := range s.Failures {
				said += text
			}
			if s.Receipts != c.Frames-1 || s.Unreceipted != 1 || !strings.Contains(said, lie.want) {
				t.Errorf("%d receipts, failures %q, want %q", s.Receipts, said, lie.want)
			}
			// The next run sends what has no receipt, as it was signed.
			r.mu.Lock()
			r.lie = nil
			r.mu.Unlock()
			if s := run(t, c); s.Receipts != c.Frames+1 || s.Unreceipted != 0 || s.Frames != c.Frames || r.seen("repeated") == 0 {
				t.Errorf("next run: %+v", s)
			}
		})
	}
}

func TestFolder(t *testing.T) {
	r := newRig(t)
	c := r.config(2)
	run(t, c)
	for want, spoil := range map[string]func(*Config){
		"seed: 2, but":                 func(c *Config) { c.Seed = 2 },
		"device 2: no claim: there ar": func(c *Config) { c.Devices, c.Claims = 3, "" },
		"claims: open":                 func(c *Config) { c.Claims += ".gone" },
	} {
		bad := c
		spoil(&bad)
		if _, err := try(t, bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f, err := openFolder(c.Dir, c.Seed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := try(t, c); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("two fleets on one folder: %v", err)
	}
	if _, err := f.begin(); err != nil { // and is killed
		t.Fatal(err)
	}
	f.close()
	if _, err := try(t, c); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("goes on after a kill: %v", err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, aboutName), []byte(`{"seed":1,"runs":2,"clean":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, chainName(1)), []byte{0x80}, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := try(t, c); err == nil || !strings.Contains(err.Error(), "device 1: chain") {
		t.Errorf("goes on with a damaged chain: %v", err)
	}
}

// The keys are no secret, so no gateway may take the devices for real ones.
func TestRealDevicesAreRefused(t *testing.T) {
	r := newRig(t)
	r.simulated(false)
	if _, err := try(t, r.config(1)); err == nil || !strings.Contains(err.Error(), "hint: gateway claim --simulated") {
		t.Errorf("got %v", err)
	}
}

func TestCheck(t *testing.T) {
	if err := Default().Check(); err != nil {
		t.Errorf("the default is refused: %v", err)
	}
	for want, spoil := range map[string]func(*Config){
		"devices: 0":     func(c *Config) { c.Devices = 0 },
		"dir: empty":     func(c *Config) { c.Dir = "" },
		"every: 1ms":     func(c *Config) { c.Every = time.Millisecond },
		"readings: 1001": func(c *Config) { c.Readings = 1001 },
		"ramp, for":      func(c *Config) { c.For = -1 },
		"clones: 101":    func(c *Config) { c.Clones = 101 },
		"rogues: 1.5":    func(c *Config) { c.Rogues = 1.5 },
	} {
		c := Default()
		spoil(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestKeysFollowFromTheSeed(t *testing.T) {
	seen := map[string]bool{}
	for _, seed := range []uint64{1, 2} {
		for n := range 50 {
			a, err := key(seed, n)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := key(seed, n); err != nil || !a.Equal(b) || seen[string(a)] {
				t.Fatalf("seed %d device %d: another key, or another's", seed, n)
			}
			seen[string(a)] = true
		}
	}
}

// members are the devices of c, enrolled and not yet alive.
func (r *rig) members(t *testing.T, c Config) ([]*member, *fleet) {
	t.Helper()
	folder, err := openFolder(c.Dir, c.Seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(folder.close)
	members, site, err := enrol(t.Context(), c, folder, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return members, &fleet{c: c, site: site, stats: newStats(), climate: world.Room{Setpoint: 5000, Band: 1000}.Climate(1), plans: verified[*device.Plan]{open: site.openPlan}}
}

func TestHistogram(t *testing.T) {
	var h histogram
	if h.quantile(0.5) != 0 {
		t.Error("nothing has a median")
	}
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Millisecond)
	}
	for q, want := range map[float64]float64{0.5: 500, 0.99: 990, 1: 1000} {
		if got := h.quantile(q); got < want || got > want*1.04 {
			t.Errorf("quantile %g: %g ms, want %g to 4 %% more", q, got, want)
		}
	}
	h.add(-time.Second)
	h.add(24 * 365 * time.Hour)
}

func TestFailuresAreCountedByKind(t *testing.T) {
	s := newStats()
	for _, text := range []string{"device 3 frame 7: gone", "device 9 frame 1: gone", "connect: dial tcp 1.2.3.4:5: refused", "connect: dial tcp 11.2.3.4:6: refused", "id abcdef01…", "id 0000aaaa…", "lost\nhint: look"} {
		s.failed(errors.New(text))
	}
	for i := range 2 * maxFailures {
		s.failed(errors.New(strings.Repeat("x", i)))
	}
	if s.failures["gone"] != 2 || s.failures["connect: dial tcp #.#.#.#:#: refused"] != 2 || s.failures["id #…"] != 2 || s.failures["lost"] != 1 || len(s.failures) > maxFailures+1 {
		t.Errorf("%v", s.failures)
	}
}

// FuzzReceive: whatever comes from the broker, a device neither panics nor takes
// more memory than a message may have.
func FuzzReceive(f *testing.F) {
	var b bytes.Buffer
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.Qos, p.MessageID, p.TopicName, p.Payload = 1, 1, "a/down", []byte{0x80}
	if err := p.Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f})
	f.Add([]byte{0x20, 0x02, 0x00, 0x00})
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		theirs.Close()
		l := &link{Conn: deadlines{ours}, in: bufio.NewReader(bytes.NewReader(data))}
		for {
			p, err := l.receive()
			if err != nil {
				return
			}
			if m, ok := p.(*packets.PublishPacket); ok && len(m.Payload) > maxPacket {
				t.Fatalf("payload of %d bytes", len(m.Payload))
			}
		}
	})
}

// deadlines takes deadlines on a connection that is closed.
type deadlines struct{ net.Conn }

func (deadlines) SetReadDeadline(time.Time) error { return nil }

func TestReceiveRefusesLongPackets(t *testing.T) {
	for want, data := range map[string][]byte{
		"over the limit":    {0x30, 0xff, 0xff, 0xff, 0x7f},
		"more than 4 bytes": {0x30, 0xff, 0xff, 0xff, 0xff, 0x01},
	} {
		l := &link{Conn: deadlines{}, in: bufio.NewReader(bytes.NewReader(data))}
		if _, err := l.receive(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("% x: %v, want %q", data, err, want)
		}
	}
}
