package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"trailmark/gateway/internal/enrol"
)

// EraseConfig is what `gateway erase` needs.
type EraseConfig struct {
	Dir, Device, Channel string
	From, To             string // RFC 3339, or
	Frames               string // "12..15" or "12"
	Why                  string
	DryRun               bool
}

func (c EraseConfig) selection() (sel enrol.Selection, err error) {
	if sel.Device, err = parseKid(c.Device); err != nil {
		return sel, fmt.Errorf("%w\nhint: gateway devices lists them", err)
	}
	sel.Channel = c.Channel
	times := c.From != "" || c.To != ""
	switch {
	case times == (c.Frames != ""):
		return sel, errors.New("what to erase is given by --from and --to, or by --frames\nhint: --from 2026-03-01T00:00:00+08:00 --to 2026-03-02T00:00:00+08:00, or --frames 12..15")
	case times:
		from, err1 := time.Parse(time.RFC3339, c.From)
		to, err2 := time.Parse(time.RFC3339, c.To)
		if err := errors.Join(err1, err2); err != nil {
			return sel, fmt.Errorf("--from and --to: %w\nhint: a time is written 2026-03-01T00:00:00+08:00", err)
		}
		if !from.Before(to) {
			return sel, errors.New("--to is not after --from")
		}
		sel.From, sel.To = from.UnixMilli(), to.UnixMilli()
	default:
		a, b, span := strings.Cut(c.Frames, "..")
		if !span {
			b = a
		}
		first, err1 := strconv.ParseUint(a, 10, 53)
		last, err2 := strconv.ParseUint(b, 10, 53)
		if errors.Join(err1, err2) != nil || first > last {
			return sel, fmt.Errorf("%q is no span of frames like 12..15", c.Frames)
		}
		sel.Frames = &[2]uint64{first, last}
	}
	return sel, nil
}

// Erase signs, with the site's key, which blocks of readings the site no longer
// holds, and leaves the statements for the gateway, which forgets the readings as
// it takes each in. With DryRun it only says what would go.
func Erase(ctx context.Context, c EraseConfig, now func() time.Time, out io.Writer) error {
	org, err := loadOrganisation(c.Dir)
	if err != nil {
		return err
	}
	sel, err := c.selection()
	if err != nil {
		return err
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
	found, err := keys.Erasable(ctx, st, sel, c.Why)
	if err != nil {
		return err
	}
	readings := 0
	for _, e := range found {
		readings += e.Readings
		if c.DryRun {
			fmt.Fprintf(out, "frame %d: %d readings, %s to %s\n", e.Seq, e.Readings, written(e.First, e.Boot), written(e.Last, e.Boot))
			continue
		}
		s, err := keys.Erasure(e.Erasure)
		if err != nil {
			return err
		}
		if err := toInbox(c.Dir, fmt.Sprintf("erasure-%015d-%016d-%s", e.At, e.Seq, s.ID().String()[:16]), s); err != nil {
			return err
		}
	}
	switch {
	case len(found) == 0:
		_, err = fmt.Fprintln(out, "nothing of this is held")
	case c.DryRun:
		_, err = fmt.Fprintf(out, "%d readings in %d frames would be erased; minimum, maximum and sums of each frame stay in the ledger's trees\n", readings, len(found))
	default:
		_, err = fmt.Fprintf(out, "erasure of %d readings in %d frames signed; a running gateway forgets them within seconds, one that is stopped when it starts\n", readings, len(found))
	}
	return err
}

// written is a reading's time, of the day or since the device's boot.
func written(ms int64, boot bool) string {
	if boot {
		return (time.Duration(ms) * time.Millisecond).String() + " after boot"
	}
	return time.UnixMilli(ms).Format(time.RFC3339)
}
