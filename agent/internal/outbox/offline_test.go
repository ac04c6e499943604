package outbox_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"trailmark/agent/internal/clock"
	"trailmark/agent/internal/keys"
	"trailmark/agent/internal/outbox"
	"trailmark/agent/internal/sensor"
	"trailmark/agent/internal/station"
	"trailmark/internal/device"
	"trailmark/statement"
)

// The end-to-end tests fill the data folder of an enrolled agent with these.
var (
	offlineData = flag.String("offline.data", "", "data `folder` of an enrolled agent that never sealed a frame; it is given a past")
	offlineDays = flag.Int("offline.days", 0, "`days` without a gateway (default 2, or 30 with TRAILMARK_LONG)")
)

// What a device does that reads eight probes every 10 s and seals every minute.
const (
	offlineProbes = 8
	offlineEvery  = 10 * time.Second
	offlineSeal   = time.Minute
	cardBytes     = 1 << 30 // the agent's default budget
)

// silence is an uplink that never comes up.
type silence struct{}

func (silence) Publish(context.Context, []byte) error { return errors.New("not connected") }
func (silence) Down() <-chan []byte                   { return nil }
func (silence) Connected() <-chan bool                { return nil }
func (silence) Reset()                                {}

// past is the clock of a machine that booted at a time and runs on the bubble's.
type past struct{ booted, began time.Time }

func (p past) Now() clock.Reading {
	up := time.Since(p.began)
	return clock.Reading{BootID: [16]byte{1}, BootCount: 1, Boottime: int64(up), Wall: p.booted.Add(up).UnixMilli(),
		Quality: clock.Synchronised, MaxErrorMS: 5}
}

// wander is a probe in a cold room: sixteenths of a degree around 4.5 °C.
type wander struct {
	channel string
	random  *rand.Rand
	at      int64 // sixteenths; owned by the probe's one goroutine
}

func (w *wander) Channel() string { return w.channel }
func (w *wander) Unit() string    { return "Cel" }
func (w *wander) Serial() string  { return w.channel }
func (w *wander) Sample(context.Context) sensor.Sample {
	w.at = min(max(w.at+w.random.Int64N(3)-1, 32), 128)
	return sensor.Sample{Channel: w.channel, Milli: w.at * 1000 / 16}
}

// identity is who the offline device is.
type identity struct {
	sealer   *device.Sealer
	config   station.Config
	plans    []*device.Plan
	channels []string
}

// stranger is a device of no site.
func stranger(t *testing.T) identity {
	t.Helper()
	key, err := keys.ParseAddress("file:", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	id := identity{config: station.Config{Audience: "demo/test"}, sealer: &device.Sealer{Issuer: "urn:dev:test", Audience: "demo/test"}}
	id.sealer.Signer, id.config.Key = sign(t, key)
	for i := range offlineProbes {
		id.channels = append(id.channels, fmt.Sprintf("28-%012x/temp", i))
	}
	return id
}

func sign(t *testing.T, a keys.Address) (*statement.Signer, statement.Hash) {
	t.Helper()
	key, err := a.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { key.Close() })
	signer, err := statement.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer, signer.Key().ID()
}

// enrolled is the device of an agent's data folder.
func enrolled(t *testing.T, dir string) identity {
	t.Helper()
	key, err := keys.ParseAddress("file:", dir)
	if err != nil {
		t.Fatal(err)
	}
	signer, kid := sign(t, key)
	raw, err := os.ReadFile(filepath.Join(dir, "enrolment.json"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := device.ParseEnrolment(raw, signer.Key())
	if err != nil {
		t.Fatal(err)
	}
	id := identity{sealer: &device.Sealer{Signer: signer, Issuer: e.Identity.Subject, Audience: e.Audience}, plans: []*device.Plan{e.Plan},
		config: station.Config{Key: kid, Epoch: e.Identity.Epoch, Audience: e.Audience, Authority: e.Authority, Origin: e.Origin, LogKey: e.LogKey}}
	for _, z := range e.Plan.Zones {
		for _, c := range z.Channels {
			if c.Device == kid {
				id.channels = append(id.channels, c.Name)
			}
		}
	}
	return id
}

// TestOffline is a device without a gateway for days of its own time: every
// reading is in a frame, every frame is on the card, and a month fits.
func TestOffline(t *testing.T) {
	days := *offlineDays
	if days == 0 {
		days = 2
		if os.Getenv("TRAILMARK_LONG") != "" {
			days = 30
		}
	}
	id, dir := identity{}, ""
	if *offlineData != "" {
		id, dir = enrolled(t, *offlineData), filepath.Join(*offlineData, "outbox")
	} else {
		id, dir = stranger(t), t.TempDir()
	}
	if len(id.channels) != offlineProbes {
		t.Fatalf("%d probes, want %d", len(id.channels), offlineProbes)
	}
	took := -time.Now().UnixNano()
	offline(t, id, dir, time.Duration(days)*24*time.Hour)
	took += time.Now().UnixNano()

	opening := time.Now()
	box, err := outbox.Open(dir, outbox.Options{MaxBytes: cardBytes})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	opened := time.Since(opening)
	if d := box.Damage(); len(d) > 0 {
		t.Errorf("damage: %+v", d)
	}
	frames, readings := box.Next(), 0
	counted := map[string]int{}
	var up, state int64
	for seq := range frames {
		data, err := box.Get(seq)
		if err != nil {
			t.Fatal(err)
		}
		r, err := device.ParseRecord(data)
		if err != nil {
			t.Fatal(err)
		}
		up, state = up+int64(len(r.Up)), state+int64(len(r.State))
		d, err := statement.ParseUp(r.Up)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range d.Contents {
			if b, ok := v.(*statement.Block); ok {
				counted[b.Channel] += len(b.Values)
				readings += len(b.Values)
			}
		}
	}
	samples := days * int(24*time.Hour/offlineEvery)
	for _, name := range id.channels {
		// The first is read at once, the last as the device stops.
		if n := counted[name]; n < samples || n > samples+1 {
			t.Errorf("%s: %d readings on the card, want %d", name, n, samples)
		}
	}
	card := used(t, dir)
	t.Logf("%d days offline: %d frames, %d readings, %d bytes on the card of %d (a frame: %d of message, %d of state), sealed in %v, opened in %v",
		days, frames, readings, card, int64(cardBytes), up/int64(frames), state/int64(frames), time.Duration(took).Round(time.Second), opened.Round(time.Millisecond))
	// What a device keeps of itself in each frame grows with the logarithm of time.
	if month := card * 30 / int64(days); month > cardBytes {
		t.Errorf("a month needs %d bytes on the card, its budget is %d", month, int64(cardBytes))
	}
}

// offline runs a device over dir for a time that ends a minute ago.
func offline(t *testing.T, id identity, dir string, length time.Duration) {
	t.Helper()
	booted := time.Now().Add(-length - time.Minute)
	synctest.Test(t, func(t *testing.T) {
		box, err := outbox.Open(dir, outbox.Options{MaxBytes: cardBytes})
		if err != nil {
			t.Fatal(err)
		}
		defer box.Close()
		if n := box.Next(); n != 0 {
			t.Fatalf("the device has sealed %d frames already", n)
		}
		var probes []sensor.Probe
		for i, name := range id.channels {
			probes = append(probes, &wander{channel: name, random: rand.New(rand.NewPCG(7, uint64(i))), at: 72})
		}
		c := id.config
		c.Every, c.SealEvery = offlineEvery, offlineSeal
		full := false
		st, err := station.New(c, station.Parts{Sealer: id.sealer, Outbox: box, Clock: past{booted, time.Now()}, Uplink: silence{},
			Probes: probes, Plans: id.plans, SavePlan: func([]byte) error { return nil }, Report: func(s station.Status) { full = full || s.CardFull }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), length)
		defer cancel()
		if err := st.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if full {
			t.Error("the card was full")
		}
	})
}

// used is the size of everything in a folder, in bytes.
func used(t *testing.T, dir string) (sum int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	return sum
}
