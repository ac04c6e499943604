// Package app puts an agent together: who it is, what it reads, where its frames
// go. The rooms below agent/internal do the work.
package app

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"trailmark/agent/internal/clock"
	"trailmark/agent/internal/outbox"
	"trailmark/agent/internal/rfid"
	"trailmark/agent/internal/rfid/llrp"
	"trailmark/agent/internal/sensor"
	"trailmark/agent/internal/sensor/w1"
	"trailmark/agent/internal/station"
	"trailmark/agent/internal/uplink"
	"trailmark/internal/device"
	"trailmark/internal/keyfile"
	"trailmark/statement"
)

// A Config says where an agent keeps its things, what it reads and how often.
type Config struct {
	Dir       string        // its data: key, enrolment, frames
	Gateway   string        // base URL
	Claim     string        // one-time code; used while there is no enrolment
	W1Root    string        // the kernel's 1-Wire devices
	LLRP      []string      // host:port of RFID readers
	Antennas  int           // of each of them
	Every     time.Duration // between two readings of a probe
	Seal      time.Duration // between two frames
	Simulated bool          // say so in the identity, for ever
	CardBytes int64         // budget for frames that have no receipt
}

// Default is a Config that works on a Pi, save for the claim code.
func Default() Config {
	return Config{Dir: "/var/lib/trailmark-agent", Gateway: "http://127.0.0.1:8080", W1Root: w1.DefaultRoot, Antennas: 2,
		Every: time.Minute, Seal: time.Minute, CardBytes: 1 << 30}
}

// Check refuses what cannot be meant.
func (c Config) Check() error {
	switch {
	case c.Dir == "":
		return errors.New("no data folder, give one with --dir")
	case c.Every < 100*time.Millisecond || c.Every > 24*time.Hour:
		return fmt.Errorf("reading every %v is not within 100ms..24h", c.Every)
	case c.Seal < 100*time.Millisecond || c.Seal > time.Hour:
		return fmt.Errorf("sealing every %v is not within 100ms..1h", c.Seal)
	case c.Antennas < 1 || c.Antennas > 32:
		return fmt.Errorf("%d antennas per reader are not within 1..32", c.Antennas)
	}
	return nil
}

// Names inside the data folder.
const (
	keyName       = "key.pem"
	enrolmentName = "enrolment.json"
	planName      = "plan.cbor" // the plan-down message that brought the newest plan
	statusName    = "status.json"
	outboxName    = "outbox"
)

// Run is the agent until ctx ends, which is no error.
func Run(ctx context.Context, c Config, log *slog.Logger) error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w\nhint: give a folder this user may write with --dir", err)
	}
	probes, err := findProbes(c, log)
	if err != nil {
		return err
	}
	box, err := openOutbox(c)
	if err != nil {
		return err
	}
	defer box.Close()
	key, _, err := keyfile.LoadOrCreate(filepath.Join(c.Dir, keyName))
	if err != nil {
		return err
	}
	e, err := enrolled(ctx, c, key, probes, log)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	clk, err := openClock(c.Dir)
	if err != nil {
		return err
	}
	signer, err := statement.NewSigner(key)
	if err != nil {
		return err
	}
	kid := signer.Key().ID()
	up, err := uplink.New(uplink.Options{Broker: e.Broker, User: kid.String(), Password: e.Password,
		Up: statement.TopicUp(e.Tenant, kid), Down: statement.TopicDown(e.Tenant, kid), Log: log})
	if err != nil {
		return err
	}
	st, err := station.New(station.Config{Key: kid, Epoch: e.Identity.Epoch, Audience: e.Audience, Authority: e.Authority,
		Origin: e.Origin, LogKey: e.LogKey, Every: c.Every, SealEvery: c.Seal},
		station.Parts{
			Sealer: &device.Sealer{Signer: signer, Issuer: e.Identity.Subject, Audience: e.Audience},
			Outbox: box, Clock: clk, Uplink: up, Probes: probes, Readers: readers(c, log),
			Plans: plans(c.Dir, e, log), Log: log,
			SavePlan: func(message []byte) error { return writeFile(filepath.Join(c.Dir, planName), message) },
			Report:   reporter(c.Dir, e, kid, log),
		})
	if err != nil {
		return err
	}
	log.Info("agent runs", slog.String("device", e.Identity.Name), slog.String("key", kid.String()),
		slog.Uint64("epoch", e.Identity.Epoch), slog.Int("probes", len(probes)), slog.Int("readers", len(c.LLRP)), slog.String("broker", e.Broker))

	// The uplink outlives the station, which says goodbye through it.
	uctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		up.Run(uctx)
	}()
	err = st.Run(ctx)
	stop()
	<-ended
	return err
}

func findProbes(c Config, log *slog.Logger) ([]sensor.Probe, error) {
	probes, err := w1.Find(c.W1Root)
	if err != nil && len(c.LLRP) == 0 {
		return nil, err
	} else if err != nil {
		log.Warn("no temperature probes", slog.Any("err", err))
	}
	return probes, nil
}

// openOutbox takes the data folder for this process. Frames that are gone are
// not begun again: their numbers are used up.
func openOutbox(c Config) (*outbox.Log, error) {
	dir := filepath.Join(c.Dir, outboxName)
	_, enrolment := os.Stat(filepath.Join(c.Dir, enrolmentName))
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) && enrolment == nil {
		return nil, fmt.Errorf("%s is gone, and with it the numbers of the frames that were signed\nhint: move %s away and start with a new claim code", dir, c.Dir)
	}
	if _, err := os.Stat(filepath.Join(c.Dir, keyName)); errors.Is(err, os.ErrNotExist) && enrolment == nil {
		return nil, fmt.Errorf("%s is gone, and the enrolment is for that key\nhint: move %s away and start with a new claim code", filepath.Join(c.Dir, keyName), c.Dir)
	}
	return outbox.Open(dir, outbox.Options{MaxBytes: c.CardBytes})
}

func openClock(dir string) (*clock.Clock, error) {
	id, err := clock.BootID()
	if err != nil {
		return nil, err
	}
	boots, err := clock.Boots(dir, id)
	if err != nil {
		return nil, err
	}
	return clock.New(clock.Options{BootID: id, BootCount: boots})
}

// readers names the i'th reader llrpI and its antennas llrpI/1 and so on.
func readers(c Config, log *slog.Logger) []station.Reader {
	antennas := make([]uint16, c.Antennas)
	for i := range antennas {
		antennas[i] = uint16(i + 1)
	}
	var out []station.Reader
	for i, address := range c.LLRP {
		out = append(out, station.Reader{Name: fmt.Sprintf("llrp%d", i), Open: func(status func(bool, string)) (rfid.Reader, error) {
			return llrp.New(llrp.Options{Address: address, Antennas: antennas, Status: status, Log: log})
		}})
	}
	return out
}

// plans are those at hand: the enrolment's, and the last that the gateway sent.
func plans(dir string, e *device.Enrolment, log *slog.Logger) []*device.Plan {
	var out []*device.Plan
	if e.Plan != nil {
		out = append(out, e.Plan)
	}
	message, err := readFile(filepath.Join(dir, planName), statement.MaxSize)
	if errors.Is(err, os.ErrNotExist) {
		return out
	}
	var p *device.Plan
	if err == nil {
		var m any
		if m, err = statement.ParseDown(message); err == nil {
			if down, ok := m.(*statement.PlanDown); ok {
				p, err = device.OpenPlan(e.Audience, e.Authority, down.Plan, down.Identities)
			} else {
				err = fmt.Errorf("it holds a %T", m)
			}
		}
	}
	if err != nil {
		log.Error("stored plan is not used", slog.String("file", planName), slog.Any("err", err))
		return out
	}
	return append(out, p)
}

// enrolled is the enrolment on the card, or the one that the claim code gives.
func enrolled(ctx context.Context, c Config, key crypto.Signer, probes []sensor.Probe, log *slog.Logger) (*device.Enrolment, error) {
	pub, err := statement.NewKey(key.Public())
	if err != nil {
		return nil, err
	}
	name := filepath.Join(c.Dir, enrolmentName)
	raw, err := readFile(name, maxEnrolment)
	if err == nil {
		e, err := device.ParseEnrolment(raw, pub)
		if err != nil {
			return nil, fmt.Errorf("%s: %w\nhint: move %s away and start with a new claim code", name, err, c.Dir)
		}
		return e, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if c.Claim == "" {
		return nil, errors.New("this device is not enrolled\nhint: make a claim code on the gateway and give it with --claim")
	}
	e, err := claim(ctx, c, key, probes, log)
	if err != nil {
		return nil, err
	}
	if err := writeFile(name, e.Raw); err != nil {
		return nil, fmt.Errorf("keeping the enrolment: %w", err)
	}
	return e, nil
}

// claim asks until the gateway answers; a no is final.
func claim(ctx context.Context, c Config, key crypto.Signer, probes []sensor.Probe, log *slog.Logger) (*device.Enrolment, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	r := device.Request{Name: host, Channels: []device.RequestChannel{}, Antennas: []string{}, Simulated: c.Simulated}
	for _, p := range probes {
		r.Channels = append(r.Channels, device.RequestChannel{Name: p.Channel(), Unit: p.Unit(), Nominal: c.Every.Milliseconds()})
	}
	for i := range c.LLRP {
		for a := range c.Antennas {
			r.Antennas = append(r.Antennas, fmt.Sprintf("llrp%d/%d", i, a+1))
		}
	}
	for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
		e, err := device.Enrol(ctx, c.Gateway, strings.TrimSpace(c.Claim), key, r)
		if err == nil {
			log.Info("enrolled", slog.String("subject", e.Identity.Subject), slog.String("authority", e.Authority.ID().String()))
			return e, nil
		}
		var no *device.Refused
		if errors.As(err, &no) || ctx.Err() != nil {
			return nil, err
		}
		log.Warn("not enrolled yet", slog.Any("err", err), slog.Duration("again_in", wait))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// reporter writes the status file, for "agent status".
func reporter(dir string, e *device.Enrolment, kid statement.Hash, log *slog.Logger) func(station.Status) {
	return func(s station.Status) {
		b, err := json.MarshalIndent(status{Key: kid.String(), Device: e.Identity.Name, Subject: e.Identity.Subject,
			Simulated: e.Identity.Simulated, Written: time.Now().UTC().Truncate(time.Second), PID: os.Getpid(), Status: s}, "", "  ")
		if err == nil {
			err = replaceFile(filepath.Join(dir, statusName), b, false) // news, not evidence: no sync for it
		}
		if err != nil {
			log.Warn("status not written", slog.Any("err", err))
		}
	}
}
