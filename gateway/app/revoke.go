package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"trailmark/gateway/internal/enrol"
	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// revokedDir has a text file a revoked key, with why: the operator's own note. A
// key status has no place for it.
const revokedDir = "revoked"

// openStore opens the database of a gateway, which may be running.
func openStore(ctx context.Context, dir string) (*store.Store, error) {
	own := filepath.Join(dir, ownDir)
	if _, err := os.Stat(filepath.Join(own, store.File)); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no gateway has run in %s\nhint: gateway run --dir %s", dir, dir)
	} else if err != nil {
		return nil, err
	}
	return store.Open(ctx, own)
}

// Devices lists the devices of a gateway's folder.
func Devices(ctx context.Context, dir string, now func() time.Time, out io.Writer) error {
	if _, err := loadOrganisation(dir); err != nil {
		return err
	}
	st, err := openStore(ctx, dir)
	if err != nil {
		return err
	}
	defer st.Close()
	devices, err := enrol.Devices(ctx, st)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KEY\tNAME\tZONE\tEPOCH\tLAST FRAME\tSTATUS")
	for _, d := range devices {
		name, last := d.Name, "none"
		if d.Simulated {
			name += " (simulated)"
		}
		if d.Head != nil {
			last = fmt.Sprintf("%d, received %s", d.Head.Seq, time.UnixMilli(d.Head.Received).Format(time.RFC3339))
		}
		why, err := os.ReadFile(notePath(dir, d.Key.ID()))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\n", d.Key.ID(), name, orDash(strings.Join(d.Zones, ",")), d.Epoch, last, standing(d, strings.TrimSpace(string(why)), now()))
	}
	return t.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// standing says in a few words whether a key may still speak.
func standing(d enrol.Device, why string, now time.Time) string {
	var said []string
	if d.Revoked != nil {
		s := fmt.Sprintf("revoked from frame %d on", d.Revoked.Seq)
		if why != "" {
			s += " (" + why + ")"
		}
		said = append(said, s)
	}
	if d.Heir != nil {
		said = append(said, "superseded by "+d.Heir.String()[:16])
	}
	if now.UnixMilli() > d.To {
		said = append(said, "expired")
	}
	if len(said) == 0 {
		return "in force"
	}
	return strings.Join(said, ", ")
}

func notePath(dir string, kid statement.Hash) string {
	return filepath.Join(dir, revokedDir, kid.String()+".txt")
}

// RevokeConfig is what `gateway revoke` needs.
type RevokeConfig struct {
	Dir, Device string
	From        *uint64 // seq; nil: the one after the newest frame in the store
	Why         string
}

// Revoke signs a key status that takes a device's key back, and leaves it for the
// gateway to take in.
func Revoke(ctx context.Context, c RevokeConfig, now func() time.Time, out io.Writer) error {
	org, err := loadOrganisation(c.Dir)
	if err != nil {
		return err
	}
	kid, err := parseKid(c.Device)
	if err != nil {
		return fmt.Errorf("%w\nhint: gateway devices lists them", err)
	}
	keys, err := enrol.LoadKeys(c.Dir, org, now)
	if err != nil {
		return err
	}
	st, err := openStore(ctx, c.Dir)
	if err != nil {
		return err
	}
	defer st.Close()
	// Each key status stands on the one before it: one revocation at a time.
	lock, err := os.Open(filepath.Join(c.Dir, inboxDir))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("%s: %w", lock.Name(), err)
	}
	// The inbox before the store: what is no longer in the one is in the other.
	waiting, err := waitingStatuses(c.Dir)
	if err != nil {
		return err
	}
	devices, err := enrol.Devices(ctx, st)
	if err != nil {
		return err
	}
	var seq uint64
	var heir *statement.Hash
	for _, d := range devices {
		if d.Key.ID() == kid {
			heir = d.Heir
			if d.Head != nil {
				seq = d.Head.Seq + 1
			}
		}
	}
	if c.From != nil {
		seq = *c.From
	}
	s, err := keys.Revoke(ctx, st, waiting, kid, seq)
	if err != nil {
		return err
	}
	if c.Why != "" {
		if err := os.MkdirAll(filepath.Join(c.Dir, revokedDir), 0o700); err != nil {
			return err
		}
		if err := enrol.WriteFile(notePath(c.Dir, kid), []byte(c.Why+"\n"), 0o600); err != nil {
			return err
		}
	}
	status, err := s.KeyStatus()
	if err != nil {
		return err
	}
	if err := toInbox(c.Dir, fmt.Sprintf("keystatus-%015d", status.At), s); err != nil {
		return err
	}
	fmt.Fprintf(out, "key %s revoked from frame %d on, statement %s\n", kid, seq, s.ID())
	fmt.Fprintln(out, "a running gateway takes it in within seconds, one that is stopped when it starts; the device may not connect from then on")
	if heir != nil {
		fmt.Fprintf(out, "its successor %s is still in force; if it was not your device that made it, revoke it too\n", heir)
	}
	return nil
}

// waitingStatuses are the key statuses in the inbox.
func waitingStatuses(dir string) ([]*statement.KeyStatus, error) {
	names, err := filepath.Glob(filepath.Join(dir, inboxDir, "keystatus-*.cose"))
	if err != nil {
		return nil, err
	}
	var out []*statement.KeyStatus
	for _, name := range names {
		data, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // taken in just now
		} else if err != nil {
			return nil, err
		}
		s, err := statement.Parse(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		k, err := s.KeyStatus()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, k)
	}
	return out, nil
}
