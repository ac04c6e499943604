// Package board puts chip models under an unmodified command: a board file says
// which chips sit on which bus or serial port, what they feel and when they fail,
// and Run starts the command where /dev and the 1-Wire tree of /sys are that board.
// RFID readers of the network it serves on loopback addresses, which the command
// shares with the machine. Where the file asks for them, the wall clock and the disk
// under one folder are the board's as well.
//
// It promises that the command finds the buses of the board and none of the
// machine's own, that a board announced can be used, and that what happened to it
// and when is in the log. The models are those of firmware-sim/chip and
// firmware-sim/reader; how they are put in place of drivers is package supervise.
//
// Format: one JSON object, an Announcement, before the command starts.
package board

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"trailmark/firmware-sim/internal/board/chardev"
	"trailmark/firmware-sim/internal/board/disk"
	"trailmark/firmware-sim/internal/board/hostclock"
	"trailmark/firmware-sim/internal/board/supervise"
)

// A Board is the hardware, powered. Do may be called from any goroutine.
type Board struct {
	config  Config
	log     *slog.Logger
	devices map[string]chardev.Device
	parts   map[string]part // by name
	plans   []Plan          // from the file and Plan; changed before Run only
	kernel  *kernel         // the 1-Wire bus of the kernel, or nil
	chips   []Chip
	ports   []port           // in the order of the file
	readers []*netReader     // as well
	clock   *hostclock.Clock // or nil
	disk    *disk.Disk       // or nil
}

// A part takes the word of an action and returns how to make it happen, or says
// that it has no such word.
type part func(word string) (happen func() error, err error)

// An Announcement is what Run prints when the board can be used.
type Announcement struct {
	Kind    string   `json:"kind"` // "board"
	Board   string   `json:"board"`
	Devices []string `json:"devices"` // paths that the command sees
	Chips   []Chip   `json:"chips"`
	Control string   `json:"control,omitempty"` // named pipe; absolute
}

// A Chip is one model of the board.
type Chip struct {
	Name  string `json:"name"`
	Model string `json:"model"`
	At    string `json:"at"` // device or address, with what the chip answers to on it
}

// An Options says how to run a command on a board.
type Options struct {
	Args    []string
	Control string           // path of the named pipe to make for actions, or none
	Signals <-chan os.Signal // passed on to the command
	Stdin   io.Reader
	Stdout  io.Writer // of the command, after our line
	Stderr  io.Writer
}

// The machine's own buses, which the command shall not see.
var hidden = []string{"i2c-*", "spidev*", "gpiochip*", "ttyUSB*", "ttyACM*"}

const (
	w1Devices = "/sys/bus/w1/devices"
	bufsiz    = "/sys/module/spidev/parameters/bufsiz"
)

// Run runs a command on the board until it ends, and returns its exit status.
// Canceling ctx kills the command.
func (b *Board) Run(ctx context.Context, o Options) (status int, err error) {
	dir, err := os.MkdirTemp("", "board-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	command := supervise.Command{
		Args: o.Args, Devices: b.devices, Hide: hidden, Clock: b.clock, Disk: b.disk, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr,
	}
	line := Announcement{Kind: "board", Board: b.config.Name, Chips: b.chips}
	for path := range b.devices {
		line.Devices = append(line.Devices, path)
	}

	if len(b.config.SPI) > 0 {
		file := filepath.Join(dir, "bufsiz")
		if err := os.WriteFile(file, fmt.Appendln(nil, chardev.SPIBufferSize), 0o644); err != nil {
			return 0, err
		}
		command.Mounts = append(command.Mounts, supervise.Mount{Source: file, Target: bufsiz})
	}
	if _, err := os.Stat(w1Devices); b.kernel != nil || err == nil {
		root := filepath.Join(dir, "w1")
		if err := os.Mkdir(root, 0o755); err != nil {
			return 0, err
		}
		if b.kernel != nil {
			if err := b.kernel.open(root); err != nil {
				return 0, err
			}
			defer func() { err = errors.Join(err, b.kernel.close()) }()
			line.Devices = append(line.Devices, w1Devices)
		}
		command.Mounts = append(command.Mounts, supervise.Mount{Source: root, Target: w1Devices})
	}
	for _, p := range b.ports {
		t, err := openTerminal(p.model)
		if err != nil {
			return 0, fmt.Errorf("serial %s: %w", p.name, err)
		}
		defer t.close()
		path := "/dev/" + p.name
		line.Devices = append(line.Devices, path)
		command.Mounts = append(command.Mounts, supervise.Mount{Source: t.path, Target: path})
	}
	slices.Sort(line.Devices)

	// What goes on beside the command ends before the board is taken apart.
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	if o.Control != "" {
		if line.Control, err = filepath.Abs(o.Control); err != nil {
			return 0, err
		}
		control, err := openControl(line.Control)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, control.Close(), os.Remove(line.Control)) }()
		beside.Go(func() { b.listen(ctx, control) })
	}

	for _, r := range b.readers {
		ln, err := r.open()
		if err != nil {
			return 0, err
		}
		beside.Go(func() {
			if err := r.server.Serve(ctx, ln); err != nil {
				b.log.WarnContext(ctx, "reader lost", slog.String("part", r.name), slog.Any("error", err))
			}
		})
	}

	command.Ready = func() error { return json.NewEncoder(o.Stdout).Encode(line) }
	start := time.Now()
	p, err := supervise.Start(ctx, command, b.log)
	if err != nil {
		if b.disk != nil {
			err = errors.Join(err, b.disk.Discard())
		}
		return 0, err
	}
	b.log.InfoContext(ctx, "started", slog.String("board", b.config.Name), slog.Int("pid", p.Pid()), slog.Any("command", o.Args))
	beside.Go(func() { b.play(ctx, start) })
	if b.kernel != nil {
		beside.Go(func() { b.kernel.play(ctx, b.log) })
	}
	beside.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-o.Signals:
				if err := p.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
					b.log.WarnContext(ctx, "signal not passed on", slog.String("signal", s.String()), slog.Any("error", err))
				}
			}
		}
	})
	status, err = p.Wait()
	if b.disk != nil {
		err = errors.Join(err, b.disk.Save())
	}
	b.log.InfoContext(ctx, "ended", slog.String("board", b.config.Name), slog.Int("status", status))
	return status, err
}
