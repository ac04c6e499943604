package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"trailmark/firmware-sim/internal/board"
	"trailmark/firmware-sim/internal/board/supervise"
	"trailmark/internal/command"
)

const boardIntro = `usage: firmware-sim run [flags] BOARD.yaml -- COMMAND [arguments]

Runs a command, unchanged, on the board that the file describes: it finds chips on
/dev/i2c-1, readers on /dev/spidev0.0 and /dev/ttyUSB0, lines on /dev/gpiochip0 and
probes in /sys/bus/w1/devices, and none of this machine's own; and LLRP readers at
loopback addresses. Prints one JSON line on standard output before the command
starts, a log on standard error, passes signals on and exits as the command does.
Needs root and Linux 5.19.

Example: an agent on the board of the example file, whose clock jumps after a minute

  firmware-sim run --control sim.pipe --fault clock:step=+3h@1m firmware-sim/board.example.yaml -- agent run --dir /var/lib/trailmark-agent

What happens comes from the script in the board file, from --fault, or at run time
from a line such as "DOOR low" or "clock step +3h" written to the named pipe.

  chip     none, gone, brownout, corrupt=COUNT, short, stuck, drift=DEGREES-PER-HOUR,
           counterfeit, as far as the chip has it
  under w1 none, crc, empty, allzero, 85, gone
  reader   none, drop, hang, skew=DURATION, loose=ANTENNA (under llrp)
  line     high, low
  tag      enter, leave
  clock    step=DURATION (from what it shows), 1970 (as if never set: the time since
           boot), none (this machine's time); for a board file with "clock: {}"
  disk     full, free; for a board file with "disk: {path: FOLDER, size: 16MiB}"

With a clock every program on the board reads the wall clock from it, and cannot set
it; the time since boot stays this machine's, and so do the times of files and waits
until a moment of the wall clock. With a disk, the folder is in memory while
the command runs; it has what it had, and gets what the command leaves on it at the
end: if firmware-sim is killed, it stays as it was before.
`

// runBoard runs a command on a board: args are ours, argv is the command.
func runBoard(ctx context.Context, args, argv, environ []string, stdout, stderr io.Writer) error {
	if len(args) == 0 && len(argv) > 0 && slices.Contains([]string{"-h", "-help", "--help"}, argv[0]) {
		args = argv[:1]
	}
	f := command.NewFlags("firmware-sim run --")
	control := f.String("control", "", "named pipe to make, which takes a part and what happens to it a line")
	var plans []board.Plan
	f.Func("fault", "what happens to a part: `part:word@after`, may be repeated", func(s string) error {
		p, err := board.ParsePlan(s)
		plans = append(plans, p)
		return err
	})
	debug := f.Bool("debug", false, "log every ioctl that is refused")
	if err := command.Parse(f, args, environ, envPrefix, boardIntro, stdout); err != nil {
		return err
	}
	if f.NArg() != 1 || len(argv) == 0 {
		return command.Usagef("want one board file and, after --, a command; see firmware-sim run -- --help")
	}
	level := slog.LevelInfo
	if *debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	b, err := openBoard(f.Arg(0), log)
	if err != nil {
		return err
	}
	for _, p := range plans {
		if err := b.Plan(p); err != nil {
			return command.Usagef("fault: %v", err)
		}
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		return nil // interrupted before anything was started
	}
	// From here on the command decides what a signal means.
	status, err := b.Run(context.WithoutCancel(ctx), board.Options{
		Args: argv, Control: *control, Signals: signals, Stdin: os.Stdin, Stdout: stdout, Stderr: stderr,
	})
	if err == nil && status != 0 {
		err = command.Exit(status)
	}
	return err
}

func openBoard(name string, log *slog.Logger) (*board.Board, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	config, err := board.Parse(file)
	if err != nil {
		return nil, fmt.Errorf("board %s: %w", name, err)
	}
	b, err := board.New(config, filepath.Dir(name), time.Now(), log)
	if err != nil {
		return nil, fmt.Errorf("board %s: %w", name, err)
	}
	return b, nil
}

// launch is this program between its start and the command of a board.
func launch(args []string) error {
	if err := supervise.Launch(args); err != nil {
		return command.Usagef("%v", err)
	}
	return command.Exit(127) // the supervisor says why
}
