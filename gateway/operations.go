package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"trailmark/gateway/app"
	"trailmark/internal/command"
)

const devicesIntro = `gateway devices lists the keys of all devices, oldest first: key id, name, zones,
epoch, newest frame, and whether the key is in force. It works beside a running
gateway.

Example:

  gateway devices --dir data
`

func devices(ctx context.Context, args, environ []string, stdout io.Writer) error {
	f, logs := newFlags("gateway devices")
	dir := f.String("dir", "data", "the gateway's `folder`")
	if err := command.Parse(f, args, environ, prefix, devicesIntro, stdout); err != nil {
		return err
	}
	if _, _, err := logs.start(io.Discard); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return command.Usagef("unexpected argument %q", f.Arg(0))
	}
	return app.Devices(ctx, *dir, time.Now, stdout)
}

const revokeIntro = `gateway revoke takes a device's key back, for ever, with a key status that the
authority signs: its frames from --from-seq on are void, and a passport that shows
one is refused. The device may not connect from then on, also not for older frames
that are still on its card, and gets neither a certificate nor a successor. Its
channels stay in the plan: until the site plans others, they are withheld.

It works beside a running gateway and needs the authority's folder.

Examples: a device was stolen today; its key was out since frame 1200

  gateway revoke --dir data --device KEY --why "stolen from the dock"
  gateway revoke --dir data --device KEY --from-seq 1200
`

func revoke(ctx context.Context, args, environ []string, stdout io.Writer) error {
	f, logs := newFlags("gateway revoke")
	var c app.RevokeConfig
	f.StringVar(&c.Dir, "dir", "data", "the gateway's `folder`")
	f.StringVar(&c.Device, "device", "", "`key` id, 64 hex digits, as gateway devices lists it")
	f.Func("from-seq", "`number` of the first void frame (default: the one after the newest in the store)", func(s string) error {
		n, err := strconv.ParseUint(s, 10, 53)
		if err != nil {
			return fmt.Errorf("%q is no number of a frame", s)
		}
		c.From = &n
		return nil
	})
	f.StringVar(&c.Why, "why", "", "your own `note` for gateway devices; it is not signed")
	if err := command.Parse(f, args, environ, prefix, revokeIntro, stdout); err != nil {
		return err
	}
	if _, _, err := logs.start(io.Discard); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return command.Usagef("unexpected argument %q", f.Arg(0))
	}
	return app.Revoke(ctx, c, time.Now, stdout)
}

const eraseIntro = `gateway erase forgets readings of one channel for ever. The site signs which blocks
it no longer holds, and says so in every passport that they are a part of; minimum,
maximum and time beyond each limit stay proven. Readings go with all the others of
their frame. A device that sends the frame again does not bring them back.

What was copied before is beyond reach: backups, passports and audits that were
given out, blocks of the disk that the file system freed.

It works beside a running gateway.

Examples:

  gateway erase --dir data --device KEY --channel 28-0316a2795fff/temp --why "retention period over" \
    --from 2026-03-01T00:00:00+08:00 --to 2026-03-02T00:00:00+08:00 --dry-run
  gateway erase --dir data --device KEY --channel 28-0316a2795fff/temp --why "test readings" --frames 12..15
`

func erase(ctx context.Context, args, environ []string, stdout io.Writer) error {
	f, logs := newFlags("gateway erase")
	var c app.EraseConfig
	f.StringVar(&c.Dir, "dir", "data", "the gateway's `folder`")
	f.StringVar(&c.Device, "device", "", "`key` id, 64 hex digits, as gateway devices lists it")
	f.StringVar(&c.Channel, "channel", "", "`name` of the channel")
	f.StringVar(&c.From, "from", "", "`time` of the first reading, RFC 3339, by the device's clock")
	f.StringVar(&c.To, "to", "", "`time` before which the last one is")
	f.StringVar(&c.Frames, "frames", "", "`numbers` of frames instead of times, 12..15 or 12")
	f.StringVar(&c.Why, "why", "", "`reason`, signed and public")
	f.BoolVar(&c.DryRun, "dry-run", false, "only say what would go")
	if err := command.Parse(f, args, environ, prefix, eraseIntro, stdout); err != nil {
		return err
	}
	if _, _, err := logs.start(io.Discard); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return command.Usagef("unexpected argument %q", f.Arg(0))
	}
	return app.Erase(ctx, c, time.Now, stdout)
}
