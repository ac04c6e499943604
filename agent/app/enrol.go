package app

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"trailmark/agent/internal/hardware"
	"trailmark/agent/internal/sensor"
	"trailmark/internal/device"
	"trailmark/internal/est"
	"trailmark/statement"
)

// enrolled is the enrolment on the card, or the one that the claim gives. A device
// whose certificate ran out while it was off enrols again, with the claim it had.
func enrolled(ctx context.Context, c Config, key crypto.Signer, probes []sensor.Probe, log *slog.Logger) (*device.Enrolment, error) {
	pub, err := statement.NewKey(key.Public())
	if err != nil {
		return nil, err
	}
	name := filepath.Join(c.Dir, enrolmentName)
	raw, err := readFile(name, device.MaxEnrolment)
	if err == nil {
		e, err := device.ParseEnrolment(raw, pub)
		if err != nil {
			return nil, fmt.Errorf("%s: %w\nhint: move %s away and start with a new claim", name, err, c.Dir)
		}
		if c.Simulated && !e.Identity.Simulated {
			return nil, errNotSimulated
		}
		if time.Now().Before(e.Certificate.NotAfter) {
			return e, nil
		}
		log.Warn("certificate has run out", slog.Time("at", e.Certificate.NotAfter))
		if c.Claim == "" && c.ClaimFile == "" {
			log.Error("the gateway will not let this device in: give it a claim with --claim") // it measures all the same
			return e, nil
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	claim, err := c.claim()
	if err != nil {
		return nil, err
	}
	e, err := redeem(ctx, c, claim, key, probes, log)
	if err != nil {
		return nil, err
	}
	if c.Simulated && !e.Identity.Simulated {
		return nil, errNotSimulated
	}
	if err := writeFile(name, e.Raw); err != nil {
		return nil, fmt.Errorf("keeping the enrolment: %w", err)
	}
	return e, nil
}

var errNotSimulated = errors.New("the claim makes this a real device, and it was started as a simulated one\nhint: make the claim with gateway claim --simulated, or start without --simulated")

// claim is the claim that was given. A code alone does not say how the gateway is
// known, and a gateway that is not known could be anybody: its CA must be given.
func (c Config) claim() (device.Claim, error) {
	text := strings.TrimSpace(c.Claim)
	if c.ClaimFile != "" {
		data, err := readFile(c.ClaimFile, maxClaim)
		if err != nil {
			return device.Claim{}, fmt.Errorf("claim_file: %w", err)
		}
		text = strings.TrimSpace(string(data))
	}
	switch {
	case text == "":
		return device.Claim{}, errors.New("this device is not enrolled\nhint: run gateway claim on the gateway and give its line with --claim")
	case strings.Contains(text, "#"):
		return device.ParseClaim(text)
	case c.Gateway == "" || c.CA == "":
		return device.Claim{}, errors.New("a claim code alone does not say which gateway to believe\nhint: give the whole line of gateway claim, or --gateway and --ca with the code")
	}
	base, err := est.ParseBase(c.Gateway)
	if err != nil {
		return device.Claim{}, fmt.Errorf("gateway: %w", err)
	}
	data, err := readFile(c.CA, maxCA)
	if err != nil {
		return device.Claim{}, fmt.Errorf("ca: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return device.Claim{}, fmt.Errorf("ca: %s holds no certificate\nhint: it is the file ca/ca.pem of the gateway's folder", c.CA)
	}
	return device.Claim{Gateway: base.String(), Code: text, Fingerprint: sha256.Sum256(block.Bytes)}, nil
}

// redeem asks until the gateway answers; a no is final.
func redeem(ctx context.Context, c Config, claim device.Claim, key crypto.Signer, probes []sensor.Probe, log *slog.Logger) (*device.Enrolment, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	r := found(c, probes)
	for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
		e, err := device.Enrol(ctx, claim, key, host, r)
		if err == nil {
			log.Info("enrolled", slog.String("subject", e.Identity.Subject), slog.String("authority", e.Authority.ID().String()))
			return e, nil
		}
		var no *est.Refused
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

// found is what the gateway is told of this device.
func found(c Config, probes []sensor.Probe) device.Report {
	r := device.Report{Channels: []device.ReportChannel{}, Antennas: hardware.Antennas(c.File)}
	for _, p := range probes {
		r.Channels = append(r.Channels, device.ReportChannel{Name: p.Channel(), Unit: p.Unit(), Nominal: time.Duration(c.Every).Milliseconds()})
	}
	return r
}

// membership is the device's certificate, kept valid while it runs.
type membership struct {
	file    string
	key     crypto.Signer
	log     *slog.Logger
	current atomic.Pointer[device.Enrolment] // written by keepValid's goroutine
}

func newMembership(dir string, e *device.Enrolment, key crypto.Signer, log *slog.Logger) *membership {
	m := &membership{file: filepath.Join(dir, enrolmentName), key: key, log: log}
	m.current.Store(e)
	return m
}

// tls is how the broker is met: with the certificate of the moment.
func (m *membership) tls() (*tls.Config, error) {
	e := m.current.Load()
	u, err := url.Parse(e.Broker)
	if err != nil {
		return nil, err
	}
	return est.ServerTLS(e.CA, u.Hostname(), func() (*tls.Certificate, error) {
		return m.current.Load().TLSCertificate(m.key), nil
	}), nil
}

const (
	renewalCheck = 12 * time.Hour
	renewalRetry = 10 * time.Minute
)

// keepValid renews the certificate in time until ctx ends. A device whose clock
// is far behind cannot tell when that is and renews at each check.
func (m *membership) keepValid(ctx context.Context) {
	for {
		wait := renewalCheck
		if e := m.current.Load(); e.RenewalDue(time.Now()) {
			if err := m.renew(ctx, e); err != nil && ctx.Err() == nil {
				m.log.Warn("certificate not renewed", slog.Any("err", err), slog.Time("valid_until", e.Certificate.NotAfter))
				wait = renewalRetry
			}
		}
		select {
		case <-time.After(wait/2 + rand.N(wait)): // devices of one site do not come all at once
		case <-ctx.Done():
			return
		}
	}
}

func (m *membership) renew(ctx context.Context, e *device.Enrolment) error {
	next, err := e.Renew(ctx, m.key)
	if err != nil {
		return err
	}
	if err := writeFile(m.file, next.Raw); err != nil {
		return fmt.Errorf("keeping the enrolment: %w", err)
	}
	m.current.Store(next)
	m.log.Info("certificate renewed", slog.Time("valid_until", next.Certificate.NotAfter))
	return nil
}

// Bounds of a file with a certificate and of one with a claim, in bytes.
const (
	maxCA    = 64 << 10
	maxClaim = 4 << 10
)
