// Command firmware-sim is the hardware of a few sites without the hardware:
// DS18B20 chips as a Linux 1-Wire tree and RFID readers that speak LLRP; or a board
// of chips under a command that reaches them through the kernel's interfaces; or a
// fleet of devices without any, as a load on a gateway.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"trailmark/firmware-sim/app"
	"trailmark/firmware-sim/internal/board/supervise"
	"trailmark/internal/command"
)

const envPrefix = "FIRMWARE_SIM"

func main() { command.Main("firmware-sim", run) }

const intro = `usage: firmware-sim run [flags]
       firmware-sim run [flags] BOARD.yaml -- COMMAND [arguments]
       firmware-sim fleet [flags]

Runs the sensors of a few zones until it is interrupted: temperature chips as
files of the Linux 1-Wire bus, and one LLRP reader per zone that hears a pallet
travel from zone to zone. Prints one JSON line on what travels and one per zone
on standard output, a log on standard error.

Example: three zones in ./sim, readers on 5084 to 5086, one probe unplugged for
ten seconds half a minute after the start:

  firmware-sim run --dir sim --fault dc:1:gone@30s+10s

A fault befalls a probe (its number), the reader or the room of a zone, and comes
from --fault, from a --script with one a line, or at run time from a line such as
"1 crc" or "reader hang" in the zone's file "faults"; removing the file mends it.

  probe    crc, empty, allzero, 85, gone, brownout, short, stuck, drift=DEGREES-PER-HOUR
  reader   gone, hang, skew=DURATION, loose=ANTENNA
  room     door, outage (planned only, and of the model only)

The second form runs a command on a board of chips and passes its exit status on;
there chips, readers, lines, tags, the clock and the disk fail: see
firmware-sim run -- --help. The third is a load of devices on a gateway; see
firmware-sim fleet --help.

Every flag can come from the environment: FIRMWARE_SIM_LLRP_BASE is --llrp-base.
`

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	name := ""
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	c, flags := newFlags()
	switch name {
	case "run":
		if i := slices.Index(args, "--"); i >= 0 {
			return runBoard(ctx, args[:i], args[i+1:], environ, stdout, stderr)
		}
	case "fleet":
		return runFleet(ctx, args, environ, stdout, stderr)
	case supervise.LaunchArg:
		return launch(args)
	case "", "help", "-h", "-help", "--help":
		args = []string{"--help"}
	default:
		return command.Usagef("unknown command %q, want run or fleet; see firmware-sim --help", name)
	}
	if err := command.Parse(flags, args, environ, envPrefix, intro, stdout); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return command.Usagef("unexpected argument %q; a board wants a command: run %[1]s -- COMMAND", flags.Arg(0))
	}
	config, err := c.config()
	if err != nil {
		return command.Usagef("%v", err)
	}
	return app.Run(ctx, config, stdout, slog.New(slog.NewTextHandler(stderr, nil)))
}

// settings is a Config and the flags that are no plain field of it.
type settings struct {
	app.Config
	offsets []int
}

func newFlags() (*settings, *flag.FlagSet) {
	c := &settings{Config: app.Default()}
	f := command.NewFlags("firmware-sim run")
	f.StringVar(&c.Dir, "dir", c.Dir, "`folder` with one folder per zone; made if missing")
	f.Func("zones", "the zones in the order of the route, as `id=name,...` (default origin, dc and shop)", func(s string) (err error) {
		c.Zones, err = app.ParseZones(s)
		return err
	})
	f.IntVar(&c.Probes, "probes", c.Probes, "temperature chips per zone")
	f.IntVar(&c.Items, "items", c.Items, "tagged items on the pallet")
	f.StringVar(&c.LLRPBase, "llrp-base", c.LLRPBase, "`address:port` of the first reader, the next has port+1; port 0: any")
	f.StringVar(&c.Replay, "replay", c.Replay, "logger export `file` to replay, or none for the built-in model\n(default the first "+app.ReplayGlob+", else the model)")
	f.Func("offsets", "`reading` of the export each zone starts with, separated by commas\n(default 1314,818,3042 for the default zones, which is calm, a breach of\n8 °C, calm in the export named above; other zones spread evenly)", func(s string) (err error) {
		c.offsets, err = app.ParseOffsets(s)
		return err
	})
	f.Uint64Var(&c.Seed, "seed", c.Seed, "of everything random, and of the chips' serials")
	f.DurationVar(&c.Step, "step", c.Step, "how long a chip keeps one value")
	f.DurationVar(&c.Lead, "lead", c.Lead, "before the pallet reaches the first zone")
	f.DurationVar(&c.Stay, "stay", c.Stay, "of the pallet in each zone")
	f.DurationVar(&c.Travel, "travel", c.Travel, "from zone to zone")
	f.DurationVar(&c.Door, "door", c.Door, "of a stay spent in the doorway, at either end")
	f.Float64Var(&c.Speed, "speed", c.Speed, "the route and the faults' times run this many times as fast")
	f.IntVar(&c.Miss, "miss", c.Miss, "of a thousand inventory rounds, those in which a tag is not heard")
	f.BoolVar(&c.Air, "air", c.Air, "tags share the air as EPC Gen2 has it, with collisions")
	f.IntVar(&c.Spill, "spill", c.Spill, "of a thousand rounds, those in which the next zone's door hears a pallet that is in a doorway")
	f.Func("setpoints", "`degrees` of each modelled room, separated by commas, or ambient for one without a compressor (default 5)", func(s string) (err error) {
		c.Setpoints, err = app.ParseSetpoints(s)
		return err
	})
	degrees := func(into *int32) func(string) error {
		return func(s string) (err error) {
			*into, err = app.ParseDegrees(s)
			return err
		}
	}
	f.Func("ambient", "`degrees` outside the modelled rooms, mean of a day (default 24)", degrees(&c.Ambient))
	f.Func("swing", "`degrees` by which a day outside goes up and down (default 0)", degrees(&c.Swing))
	f.Func("fault", "break a part: `zone:part:kind@after+for`, may be repeated; the times pass as fast as the route", func(s string) error {
		p, err := app.ParseFaultPlan(s)
		c.Faults = append(c.Faults, p)
		return err
	})
	f.Func("script", "`file` with one such fault a line", func(s string) error {
		plans, err := app.ReadScript(s)
		c.Faults = append(c.Faults, plans...)
		return err
	})
	return c, f
}

// config joins what several flags say together.
func (c *settings) config() (app.Config, error) {
	if len(c.offsets) > len(c.Zones) {
		return c.Config, fmt.Errorf("offsets: %d of them for %d zones", len(c.offsets), len(c.Zones))
	}
	for i, offset := range c.offsets {
		c.Zones[i].Offset = offset
	}
	return c.Config, c.Check()
}
