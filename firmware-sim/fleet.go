package main

import (
	"context"
	"io"
	"log/slog"

	"trailmark/firmware-sim/internal/fleet"
	"trailmark/internal/command"
)

const fleetIntro = `usage: firmware-sim fleet [flags]

Puts a load of simulated devices on a gateway: each has a key of its own, enrols by
a claim, publishes signed frames over MQTT and verifies the receipts. Logs each
second on standard error what went and what came back; prints one JSON summary on
standard output. Their keys follow from the seed, so they must be, and are checked
to be, devices that the gateway vouches for as simulated.

Example: five hundred devices for a minute, of which some send what the gateway
must refuse; the second run of the same folder needs no claims

  for i in $(seq 500); do gateway claim --dir data --zone load --simulated; done >claims
  firmware-sim fleet --devices 500 --claims claims --dir fleet --rogues 0.1 --for 1m

A card that was copied is --clones: two devices with one key and one chain. What
such a run leaves in the folder is forked and cannot be continued.
`

func runFleet(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	c := fleet.Default()
	f := command.NewFlags("firmware-sim fleet")
	f.IntVar(&c.Devices, "devices", c.Devices, "how many")
	f.StringVar(&c.Claims, "claims", c.Claims, "`file` with the URIs of gateway claim --simulated, one a line")
	f.StringVar(&c.Dir, "dir", c.Dir, "`folder` with their enrolments and chains; made if missing")
	f.Uint64Var(&c.Seed, "seed", c.Seed, "of keys and values")
	f.IntVar(&c.Readings, "readings", c.Readings, "in a frame")
	f.DurationVar(&c.Every, "every", c.Every, "between two frames of a device")
	f.DurationVar(&c.Ramp, "ramp", c.Ramp, "over which the devices connect")
	f.Uint64Var(&c.Frames, "frames", c.Frames, "of each device, then it rests; 0: no bound")
	f.DurationVar(&c.For, "for", c.For, "end after so long; 0s: when interrupted, or after --frames")
	f.DurationVar(&c.Drain, "drain", c.Drain, "wait at most so long for the last receipts")
	f.BoolVar(&c.Planned, "planned", c.Planned, "report a channel when enrolling, so that it comes into the site's plan (which holds some 2,000)")
	f.IntVar(&c.Clones, "clones", c.Clones, "so many of the devices run twice, with one key")
	f.Float64Var(&c.Rogues, "rogues", c.Rogues, "`share` of the devices that also send wrong signatures, wrong predecessors and replays")
	if err := command.Parse(f, args, environ, envPrefix, fleetIntro, stdout); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return command.Usagef("unexpected argument %q", f.Arg(0))
	}
	if err := c.Check(); err != nil {
		return command.Usagef("%v", err)
	}
	return fleet.Run(ctx, c, stdout, slog.New(slog.NewTextHandler(stderr, nil)))
}
