// Command agent runs on the device: it reads probes and tags, signs what they
// say, keeps it until the ledger has it, and sends it to the gateway.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"trailmark/agent/app"
	"trailmark/agent/internal/config"
	"trailmark/internal/command"
)

const prefix = "TRAILMARK_AGENT"

func main() { command.Main("agent", run) }

const intro = `agent reads temperature probes and RFID readers, signs a frame every minute, and
keeps it until a receipt from the gateway's ledger has been verified.

  agent run      read, sign, keep and send until interrupted
  agent doctor   what works on this device, what does not, and what to do
  agent status   what the agent said last: probes, readers, receipts
  agent export   what is on the card, as one file for anchor verify --card
  agent rotate   go on with another signing key, handed over to by the present one
  agent config   the settings in force, from file, environment and flags
  agent version  what this was built from

Settings are in ` + config.DefaultPath + ` or the file that --config names; flags
and the environment (TRAILMARK_AGENT_LLRP is --llrp) go before it.

Example: a new device with one reader, claimed by a line of gateway claim

  agent run --dir /var/lib/trailmark-agent --llrp 10.0.0.7:5084 \
    --claim https://10.0.0.5:8443/#ABC-DEF-GHJ.<fingerprint>

Each command has --help.
`

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && (args[0] == "--version" || args[0] == "-version" || args[0] == "version") {
		_, err := fmt.Fprintln(stdout, "trailmark agent", app.Version())
		return err
	}
	name, args, err := command.Split(args, intro, stdout)
	if err != nil {
		return err
	}
	switch name {
	case "run":
		return serve(ctx, args, environ, stdout, stderr)
	case "doctor":
		return doctor(ctx, args, environ, stdout)
	case "status":
		return status(args, environ, stdout)
	case "export":
		return export(args, environ, stdout)
	case "rotate":
		return rotate(ctx, args, environ, stdout)
	case "config":
		return printConfig(args, environ, stdout)
	default:
		return command.Usagef("unknown command %q; see agent --help", name)
	}
}

func serve(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	c, err := settings("agent run", args, environ, stdout, "agent run reads, signs, keeps and sends until it is interrupted.\n\nExample:\n\n"+
		"  agent run --dir data --claim https://10.0.0.5:8443/#ABC-DEF-GHJ.<fingerprint>\n", every, nil)
	if err != nil {
		return err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Log)); err != nil {
		return err
	}
	// A month of frames is caught up within 20 MB instead of 25, at the same speed
	// (e2e.TestOfflineMonth); GOGC still decides where it is set.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	return app.Run(ctx, c, slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})))
}

func doctor(ctx context.Context, args, environ []string, stdout io.Writer) error {
	lang, asJSON := "", false
	c, err := settings("agent doctor", args, environ, stdout, "agent doctor says what works on this device and what to do about the rest. It\n"+
		"changes nothing, and asks no chip or reader while an agent runs that has them.\n\nExample:\n\n"+
		"  sudo -u trailmark-agent trailmark-agent doctor --lang zh-CN\n\nExit codes: 0 nothing fails, 1 something does, 2 usage.\n",
		every, func(f *flag.FlagSet) {
			f.StringVar(&lang, "lang", language(environ), "`language` of the words: en or zh-CN")
			f.BoolVar(&asJSON, "json", false, "print the findings as JSON")
		})
	var broken *unusable
	if err != nil && !errors.As(err, &broken) { // a bad file is what a doctor is asked about
		return err
	}
	if lang != "en" && lang != "zh-CN" {
		return command.Usagef("language %q is neither en nor zh-CN", lang)
	}
	ok, err := app.Doctor(ctx, c, err, lang, asJSON, stdout)
	if err == nil && !ok {
		err = command.Exit(1)
	}
	return err
}

// language is what the locale asks for (POSIX.1, 8.2).
func language(environ []string) string {
	for _, name := range []string{"LC_ALL=", "LC_MESSAGES=", "LANG="} {
		for _, pair := range environ {
			if v, ok := strings.CutPrefix(pair, name); ok && v != "" {
				if strings.HasPrefix(v, "zh") {
					return "zh-CN"
				}
				return "en"
			}
		}
	}
	return "en"
}

func status(args, environ []string, stdout io.Writer) error {
	c, err := settings("agent status", args, environ, stdout,
		"agent status prints what the agent of a data folder said last.\n\nExample:\n\n  agent status --dir data\n", folder, nil)
	if err != nil {
		return err
	}
	return app.Status(c.Dir, stdout)
}

func export(args, environ []string, stdout io.Writer) error {
	out := ""
	c, err := settings("agent export", args, environ, stdout, "agent export writes what is on the card into one file: who the device is, its\n"+
		"plan, and every frame in order. It may be used while the agent runs. Whoever gets\nthe file checks it with anchor verify --card.\n\n"+
		"Example:\n\n  agent export -o card.cbor\n", folder, func(f *flag.FlagSet) {
		f.StringVar(&out, "o", "", "`file` to write; - is standard output")
	})
	if err != nil {
		return err
	}
	switch out {
	case "":
		return command.Usagef("which file? give one with -o, or - for standard output")
	case "-":
		_, err := app.Export(c.Dir, stdout)
		return err
	}
	f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	held, err := app.Export(c.Dir, f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(out) // half a card would pass for a whole one
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: %s\n", out, held)
	return err
}

func rotate(ctx context.Context, args, environ []string, stdout io.Writer) error {
	key, wait := "", 10*time.Minute
	c, err := settings("agent rotate", args, environ, stdout, "agent rotate asks the agent that runs on a data folder to go on with another key,\n"+
		"and tells what becomes of that. The present key signs who comes after it; what is\nmeasured meanwhile is signed by the new one, and the old one is destroyed. Until\n"+
		"the last frame of the old key is signed nothing has changed; from there on the\nagent finishes by itself, with or without this command.\n\n"+
		"Example: a new file, then from there into a TPM\n\n"+
		"  sudo -u trailmark-agent trailmark-agent rotate\n"+
		"  sudo -u trailmark-agent trailmark-agent rotate --key tpm:/dev/tpmrm0\n\n"+
		"Exit codes: 0 the ledger has a frame by the new key, 1 it has not, 2 usage.\n", folder, func(f *flag.FlagSet) {
		f.StringVar(&key, "key", key, "`address` of the next key, as agent run takes it; a file's name gets the\nepoch's number (default where the present key is)")
		f.DurationVar(&wait, "wait", wait, "how long to look on; the rotation itself is not bounded")
	})
	if err != nil {
		return err
	}
	return app.Rotate(ctx, c.Dir, key, wait, stdout)
}

func printConfig(args, environ []string, stdout io.Writer) error {
	c, err := settings("agent config", args, environ, stdout,
		"agent config prints the settings in force. A claim is not shown.\n\nExample:\n\n  agent config --config agent.yaml\n", every, nil)
	if err != nil {
		return err
	}
	return c.Print(stdout)
}

// Which flags a command knows.
const (
	every  = true
	folder = false // where its files are, and no more
)

// unusable is an error of the configuration file.
type unusable struct{ err error }

func (u *unusable) Error() string { return u.err.Error() }

// settings are the defaults, over them the file, over that the environment and
// the flags. Flags are read twice: the first time for the path of the file.
func settings(name string, args, environ []string, stdout io.Writer, intro string, all bool, more func(*flag.FlagSet)) (app.Config, error) {
	if !all {
		// One environment serves all commands: what only "agent run" knows is left out.
		environ = slices.DeleteFunc(slices.Clone(environ), func(pair string) bool {
			return !strings.HasPrefix(pair, prefix+"_DIR=") && !strings.HasPrefix(pair, prefix+"_CONFIG=")
		})
	}
	c := app.Default()
	path := ""
	parse := func() error {
		f := command.NewFlags(name)
		f.StringVar(&path, "config", path, "settings `file`; "+config.DefaultPath+" if that is there")
		f.StringVar(&c.Dir, "dir", c.Dir, "data `folder`: key, enrolment, frames; made if missing")
		if all {
			flags(f, &c)
		}
		if more != nil {
			more(f)
		}
		if err := command.Parse(f, args, environ, prefix, intro, stdout); err != nil {
			return err
		}
		if f.NArg() > 0 {
			return command.Usagef("unexpected argument %q; see %s --help", f.Arg(0), f.Name())
		}
		return nil
	}
	if err := parse(); err != nil {
		return c, err
	}
	var broken error
	if path == "" {
		if _, err := os.Stat(config.DefaultPath); !errors.Is(err, os.ErrNotExist) {
			path = config.DefaultPath
		}
	}
	c = app.Default()
	if path != "" {
		if file, err := config.Load(path); err != nil {
			broken = &unusable{err}
		} else {
			c.File = file
		}
	}
	if err := parse(); err != nil {
		return c, err
	}
	if broken != nil {
		return c, broken
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return c, err
	}
	c.Dir = dir
	if err := c.Check(); err != nil {
		return c, command.Usagef("%v", err)
	}
	return c, nil
}

// flags are the settings that a file is too much for.
func flags(f *flag.FlagSet, c *app.Config) {
	f.StringVar(&c.Key, "key", c.Key, "`address` of the signing key: file:, file:/path, tpm:/dev/tpmrm0 or tpm:unix:/path")
	f.Func("claim", "the `line` that gateway claim printed; used while the device is not enrolled", func(s string) error {
		c.Claim, c.ClaimFile = s, ""
		return nil
	})
	f.StringVar(&c.Gateway, "gateway", c.Gateway, "https `URL` of the gateway, with a claim that is a code alone")
	f.StringVar(&c.CA, "ca", c.CA, "PEM `file` of the gateway's CA, with a claim that is a code alone")
	f.Func("w1-root", "`folder` of the kernel's 1-Wire devices (default "+config.Default().W1.Root+")", func(s string) error {
		c.W1 = &config.W1{Root: s, Optional: true}
		return nil
	})
	readers, antennas := []config.LLRP(nil), 0
	apply := func() { // flags come in any order
		if readers != nil {
			c.LLRP = readers
		}
		for i := range c.LLRP {
			if antennas > 0 {
				c.LLRP[i].Antennas = antennas
			}
		}
	}
	f.Func("llrp", "`host:port` of an RFID reader; separated by commas, or repeated", func(s string) error {
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part != "" {
				readers = append(readers, config.LLRP{Address: part})
			}
		}
		apply()
		return nil
	})
	f.Func("llrp-antennas", "antennas of each RFID reader, a `number` (default 2)", func(s string) error {
		if _, err := fmt.Sscan(s, &antennas); err != nil || antennas < 1 {
			return fmt.Errorf("%q is no number of antennas", s)
		}
		apply()
		return nil
	})
	f.DurationVar((*time.Duration)(&c.Every), "every", time.Duration(c.Every), "between two readings of a probe")
	f.DurationVar((*time.Duration)(&c.Seal), "seal", time.Duration(c.Seal), "between two signed frames")
	f.StringVar(&c.Metrics, "metrics", c.Metrics, "loopback `address` or unix:/path for Prometheus")
	f.BoolVar(&c.Simulated, "simulated", false, "run as a simulated device only: refuse a claim that makes it a real one")
	f.StringVar(&c.Log, "log-level", c.Log, "debug, info, warn or error")
}
