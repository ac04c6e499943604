package fleet

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"trailmark/internal/device"
	"trailmark/internal/est"
	"trailmark/statement"
)

const (
	channel    = "fleet/temp"
	unit       = "Cel"
	enrolling  = 16 // devices at a time
	enrolTries = 5
)

// site is what a gateway's devices share.
type site struct {
	audience, tenant, origin string
	broker                   string // host:port
	logKey, authority        statement.Key
	tls                      *tls.Config // without a certificate of a device
}

// openNote opens a checkpoint of the ledger.
func (s *site) openNote(text []byte) (statement.Checkpoint, error) {
	origin := s.origin
	if named := statement.NoteOrigin(text); statement.Successor(origin, named) {
		origin = named
	}
	return statement.OpenCheckpoint(text, origin, s.logKey)
}

// openPlan opens a plan with the message that brought it.
func (s *site) openPlan(message []byte) (*device.Plan, error) {
	m, err := statement.ParseDown(message)
	if err != nil {
		return nil, err
	}
	down, ok := m.(*statement.PlanDown)
	if !ok {
		return nil, fmt.Errorf("message is a %T", m)
	}
	return device.OpenPlan(s.audience, s.authority, down.Plan, down.Identities)
}

// key is the key of device n. Whoever knows the seed has it: it is good for
// simulated devices only.
func key(seed uint64, n int) (ed25519.PrivateKey, error) {
	secret := binary.BigEndian.AppendUint64(nil, seed)
	b, err := hkdf.Key(sha256.New, secret, nil, fmt.Sprintf("trailmark fleet device %d", n), ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(b), nil
}

// enrol makes the devices, those without an enrolment by their claims.
func enrol(ctx context.Context, c Config, f *folder, log *slog.Logger) ([]*member, *site, error) {
	claims, err := readClaims(c.Claims)
	if err != nil {
		return nil, nil, err
	}
	began, fresh := time.Now(), 0
	members, enrolments := make([]*member, c.Devices), make([]*site, c.Devices)
	var mu sync.Mutex // guards fresh
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(enrolling)
	for n := range c.Devices {
		group.Go(func() error {
			priv, err := key(c.Seed, n)
			if err != nil {
				return err
			}
			e, redeemed, err := enrolled(ctx, c, f, claims, n, priv)
			if err != nil {
				return fmt.Errorf("device %d: %w", n, err)
			}
			if members[n], err = newMember(n, priv, e); err != nil {
				return fmt.Errorf("device %d: %w", n, err)
			}
			data, err := f.read(chainName(n))
			if err == nil {
				err = members[n].resume(data)
			}
			if err != nil {
				return fmt.Errorf("device %d: %w", n, err)
			}
			if enrolments[n], err = siteOf(e); err != nil {
				return fmt.Errorf("device %d: %w", n, err)
			}
			if redeemed {
				mu.Lock()
				defer mu.Unlock()
				if fresh++; fresh%100 == 0 {
					log.Info("enrolling", slog.Int("devices", fresh))
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	first := enrolments[0]
	for n, s := range enrolments {
		if s.origin != first.origin || s.broker != first.broker || s.audience != first.audience || s.logKey.ID() != first.logKey.ID() || s.authority.ID() != first.authority.ID() {
			return nil, nil, fmt.Errorf("device %d is enrolled with ledger %s at %s, device 0 with %s at %s\nhint: one fleet has one gateway", n, s.origin, s.broker, first.origin, first.broker)
		}
	}
	if err := f.save(); err != nil {
		return nil, nil, err
	}
	log.Info("enrolled", slog.Int("devices", c.Devices), slog.Int("new", fresh), slog.Duration("took", time.Since(began)), slog.String("broker", first.broker))
	return members, first, nil
}

// enrolled is the enrolment of device n, from the folder or by its claim.
func enrolled(ctx context.Context, c Config, f *folder, claims []device.Claim, n int, priv ed25519.PrivateKey) (e *device.Enrolment, redeemed bool, err error) {
	pub, err := statement.NewKey(priv.Public())
	if err != nil {
		return nil, false, err
	}
	raw, err := f.read(enrolmentName(n))
	if err != nil {
		return nil, false, err
	}
	if raw != nil {
		if e, err = device.ParseEnrolment(raw, pub); err != nil {
			return nil, false, err
		}
		if time.Now().After(e.Certificate.NotAfter) {
			return nil, false, fmt.Errorf("its certificate ran out at %v\nhint: remove %s and give the same claims again", e.Certificate.NotAfter, enrolmentName(n))
		}
		return e, false, nil
	}
	if n >= len(claims) {
		return nil, false, fmt.Errorf("no claim: there are %d\nhint: for i in $(seq %d); do gateway claim --dir data --zone load --simulated; done >claims, and --claims claims", len(claims), c.Devices)
	}
	r := device.Report{Channels: []device.ReportChannel{}, Antennas: []string{}}
	if c.Planned {
		nominal := max(1, c.Every.Milliseconds()/int64(c.Readings))
		r.Channels = append(r.Channels, device.ReportChannel{Name: channel, Unit: unit, Nominal: nominal})
	}
	if e, err = redeem(ctx, claims[n], priv, fmt.Sprintf("fleet %d", n), r); err != nil {
		return nil, false, err
	}
	if !e.Identity.Simulated {
		return nil, false, errors.New("the claim makes this a real device, and its key is no secret\nhint: gateway claim --simulated")
	}
	return e, true, f.write(enrolmentName(n), e.Raw)
}

// redeem asks until the gateway answers, or too often.
func redeem(ctx context.Context, claim device.Claim, priv ed25519.PrivateKey, name string, r device.Report) (*device.Enrolment, error) {
	for try, wait := 1, time.Second; ; try, wait = try+1, 2*wait {
		e, err := device.Enrol(ctx, claim, priv, name, r)
		var no *est.Refused
		if err == nil || errors.As(err, &no) || ctx.Err() != nil || try == enrolTries {
			return e, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// readClaims reads one claim a line; "" is no file, for a fleet that has its
// enrolments.
func readClaims(name string) ([]device.Claim, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	defer f.Close()
	var claims []device.Claim
	lines := bufio.NewScanner(f)
	for lines.Scan() && len(claims) < maxDevices {
		text := strings.TrimSpace(lines.Text())
		if text == "" {
			continue
		}
		c, err := device.ParseClaim(text)
		if err != nil {
			return nil, fmt.Errorf("claims: %s line %d: %w", name, len(claims)+1, err)
		}
		claims = append(claims, c)
	}
	return claims, lines.Err()
}

// siteOf takes out of an enrolment what all devices share.
func siteOf(e *device.Enrolment) (*site, error) {
	u, err := url.Parse(e.Broker)
	if err != nil {
		return nil, err
	}
	return &site{audience: e.Audience, tenant: e.Tenant, origin: e.Origin, broker: u.Host, logKey: e.LogKey, authority: e.Authority,
		tls: est.ServerTLS(e.CA, u.Hostname(), nil)}, nil
}
