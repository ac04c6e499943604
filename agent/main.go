// Command agent runs on the device: it reads probes and tags, signs what they
// say, keeps it until the ledger has it, and sends it to the gateway.
package main

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"slices"
	"strings"

	"trailmark/agent/app"
	"trailmark/internal/command"
)

const prefix = "TRAILMARK_AGENT"

func main() { command.Main("agent", run) }

const intro = `agent reads the temperature probes of the 1-Wire bus and RFID readers that speak
LLRP, signs a frame every minute, and keeps it until a receipt from the
gateway's ledger has been verified.

  agent run      read, sign, keep and send until interrupted
  agent status   what the agent of a data folder said last

Example: a new device with one reader, claimed by a code from the gateway

  agent run --dir /var/lib/trailmark-agent --gateway http://10.0.0.5:8080 \
    --claim ABCD-EFGH --llrp 10.0.0.7:5084

Each command has --help. Flags can come from the environment:
TRAILMARK_AGENT_LLRP is --llrp.
`

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	name, args, err := command.Split(args, intro, stdout)
	if err != nil {
		return err
	}
	switch name {
	case "run":
		return serve(ctx, args, environ, stdout, stderr)
	case "status":
		return status(args, environ, stdout)
	default:
		return command.Usagef("unknown command %q; see agent --help", name)
	}
}

func serve(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	c := app.Default()
	level := new(slog.LevelVar)
	f := command.NewFlags("agent run")
	f.StringVar(&c.Dir, "dir", c.Dir, "data `folder`: key, enrolment, frames; made if missing")
	f.StringVar(&c.Gateway, "gateway", c.Gateway, "`URL` of the gateway, to enrol with")
	f.StringVar(&c.Claim, "claim", "", "one-time claim `code`; used while the device is not enrolled")
	f.StringVar(&c.W1Root, "w1-root", c.W1Root, "`folder` of the kernel's 1-Wire devices")
	f.Func("llrp", "`host:port` of an RFID reader; separated by commas, or repeated", func(s string) error {
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part != "" {
				c.LLRP = append(c.LLRP, part)
			}
		}
		return nil
	})
	f.IntVar(&c.Antennas, "llrp-antennas", c.Antennas, "antennas of each RFID reader")
	f.DurationVar(&c.Every, "every", c.Every, "between two readings of a probe")
	f.DurationVar(&c.Seal, "seal", c.Seal, "between two signed frames")
	f.BoolVar(&c.Simulated, "simulated", false, "enrol as a simulated device, shown as such for ever")
	f.TextVar(level, "log-level", level, "debug, info, warn or error")
	if err := parse(f, args, environ, "agent run reads, signs, keeps and sends until it is interrupted.\n\nExample:\n\n"+
		"  agent run --dir data --gateway http://10.0.0.5:8080 --claim ABCD-EFGH\n", stdout); err != nil {
		return err
	}
	if err := c.Check(); err != nil {
		return command.Usagef("%v", err)
	}
	return app.Run(ctx, c, slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})))
}

func status(args, environ []string, stdout io.Writer) error {
	f := command.NewFlags("agent status")
	dir := f.String("dir", app.Default().Dir, "data `folder` of the agent")
	// One environment serves both commands: what only "agent run" knows is left out.
	own := slices.DeleteFunc(slices.Clone(environ), func(pair string) bool { return !strings.HasPrefix(pair, prefix+"_DIR=") })
	if err := parse(f, args, own, "agent status prints what the agent of a data folder said last.\n\nExample:\n\n  agent status --dir data\n", stdout); err != nil {
		return err
	}
	return app.Status(*dir, stdout)
}

func parse(f *flag.FlagSet, args, environ []string, intro string, stdout io.Writer) error {
	if err := command.Parse(f, args, environ, prefix, intro, stdout); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return command.Usagef("unexpected argument %q; see %s --help", f.Arg(0), f.Name())
	}
	return nil
}
