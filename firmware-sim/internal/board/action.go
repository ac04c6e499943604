package board

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// An Action is something that happens to a part of the board: a fault to a chip,
// high or low to a line, enter or leave to a tag.
type Action struct{ Part, Word string }

// ParseAction reads a line of the control pipe: a part and a word.
//
//	cold-probe brownout
//	DOOR low
//	box-1 leave
func ParseAction(line string) (Action, error) {
	field := strings.Fields(line)
	if len(field) != 2 {
		return Action{}, fmt.Errorf("%d words, want a part and what happens to it, such as: DOOR low", len(field))
	}
	return Action{field[0], field[1]}, nil
}

// Do makes an action happen now.
func (b *Board) Do(a Action) error {
	p := b.parts[a.Part]
	if p == nil {
		return fmt.Errorf("board %s has no %q", b.config.Name, a.Part)
	}
	happen, err := p(a.Word)
	if err == nil {
		err = happen()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", a.Part, err)
	}
	return nil
}

// do is Do, told to the log.
func (b *Board) do(ctx context.Context, a Action, from string) {
	attrs := []slog.Attr{slog.String("part", a.Part), slog.String("action", a.Word), slog.String("from", from)}
	if err := b.Do(a); err != nil {
		b.log.LogAttrs(ctx, slog.LevelWarn, "nothing happened", append(attrs, slog.Any("error", err))...)
		return
	}
	b.log.LogAttrs(ctx, slog.LevelInfo, "happened", attrs...)
}

// play makes the events of the script happen, each its time after start, and
// returns when the last has happened or ctx ends.
func (b *Board) play(ctx context.Context, start time.Time) {
	script := slices.Clone(b.config.Script)
	slices.SortStableFunc(script, func(a, b Event) int { return int(a.At - b.At) })
	for _, e := range script {
		timer := time.NewTimer(time.Until(start.Add(e.At)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		a, _, err := e.action()
		if err != nil {
			return // cannot be: Parse has looked
		}
		b.do(ctx, a, "script")
	}
}

// maxLine is the longest line of the control pipe, in bytes.
const maxLine = 256

// openControl makes a named pipe at path. One that is left from a board that was
// killed is taken over; anything else in its place is an error.
func openControl(path string) (*os.File, error) {
	err := unix.Mkfifo(path, 0o600)
	if errors.Is(err, unix.EEXIST) {
		st, e := os.Lstat(path)
		if e != nil {
			return nil, e
		}
		if st.Mode()&fs.ModeNamedPipe == 0 {
			return nil, fmt.Errorf("control: %s is no named pipe", path)
		}
	} else if err != nil {
		return nil, fmt.Errorf("control: make %s: %w", path, err)
	}
	// Open for writing too: with a writer of its own the pipe does not end when
	// the last other one closes it. O_NONBLOCK lets a close end a read.
	return os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
}

// listen does what the control pipe says until it is closed. A line that cannot be
// understood is told to the log.
func (b *Board) listen(ctx context.Context, control *os.File) {
	r := bufio.NewReaderSize(control, maxLine)
	for {
		line, long, err := r.ReadLine()
		if err != nil {
			if !errors.Is(err, os.ErrClosed) && !errors.Is(err, io.EOF) {
				b.log.WarnContext(ctx, "control pipe lost", slog.Any("error", err))
			}
			return
		}
		if long {
			for long && err == nil {
				_, long, err = r.ReadLine()
			}
			b.log.WarnContext(ctx, "control line ignored", slog.Int("longer than", maxLine))
			continue
		}
		if len(strings.TrimSpace(string(line))) == 0 {
			continue
		}
		a, err := ParseAction(string(line))
		if err != nil {
			b.log.WarnContext(ctx, "control line ignored", slog.String("line", string(line)), slog.Any("error", err))
			continue
		}
		b.do(ctx, a, "control")
	}
}
