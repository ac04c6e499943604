// Package command is the shell around each of our commands: one line for a
// failure, exit 0 for help, 2 for a command line that cannot be understood, 1
// for anything else, and flags that also come from the environment.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// A Run is a command without its process.
type Run func(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error

// errUsage marks a command line that cannot be understood.
type errUsage struct{ msg string }

func (e *errUsage) Error() string { return e.msg }

// Usagef is an error about the command line: exit 2.
func Usagef(format string, args ...any) error { return &errUsage{fmt.Sprintf(format, args...)} }

// IsUsage reports an error made by Usagef.
func IsUsage(err error) bool {
	var u *errUsage
	return errors.As(err, &u)
}

// Exit is an error with an exit code of its own and nothing left to say.
type Exit int

func (e Exit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// Main runs a command until it ends, or SIGINT or SIGTERM ends its context, and
// exits the process.
func Main(name string, run Run) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	var exit Exit
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.As(err, &exit):
		os.Exit(int(exit))
	case IsUsage(err):
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(2)
	default:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Split takes the subcommand off args. Without one, or when help is asked for, it
// writes intro to stdout and returns flag.ErrHelp.
func Split(args []string, intro string, stdout io.Writer) (name string, rest []string, err error) {
	if len(args) == 0 {
		args = []string{"help"}
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, intro)
		return "", nil, flag.ErrHelp
	}
	return args[0], args[1:], nil
}

// NewFlags is a flag set that leaves talking to Parse and Main.
func NewFlags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	return f
}

// Parse reads flags from args and, where those leave one alone, from variables
// that start with prefix: PREFIX_LLRP_BASE is --llrp-base. A variable with the
// prefix that names no flag is an error: a slip must not go unnoticed. With
// --help it writes intro and the flags to stdout and returns flag.ErrHelp.
func Parse(f *flag.FlagSet, args, environ []string, prefix, intro string, stdout io.Writer) error {
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, intro)
		fmt.Fprint(stdout, "\nFlags:\n")
		f.SetOutput(stdout)
		f.PrintDefaults()
		return flag.ErrHelp
	} else if err != nil {
		return Usagef("%v; see %s --help", err, f.Name())
	}
	given := map[string]bool{}
	f.Visit(func(fl *flag.Flag) { given[fl.Name] = true })
	for _, pair := range environ {
		key, value, _ := strings.Cut(pair, "=")
		rest, ours := strings.CutPrefix(key, prefix+"_")
		if !ours {
			continue
		}
		name := strings.ToLower(strings.ReplaceAll(rest, "_", "-"))
		if f.Lookup(name) == nil {
			return Usagef("environment %s: no such flag --%s", key, name)
		}
		if given[name] {
			continue
		}
		if err := f.Set(name, value); err != nil {
			return Usagef("environment %s: %v", key, err)
		}
	}
	return nil
}
