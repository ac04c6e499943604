package board

import (
	"bufio"
	"cmp"
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

// An Action is something that happens to a part of the board: a fault to a chip, the
// clock or the disk, high or low to a line, enter or leave to a tag.
type Action struct{ Part, Word string }

// ParseAction reads a line of the control pipe: a part and a word.
//
//	cold-probe brownout
//	DOOR low
//	box-1 leave
//	clock step +3h
//
// Before the value of a word may be a blank, as here, or an equals sign.
func ParseAction(line string) (Action, error) {
	field := strings.Fields(line)
	if len(field) != 2 && len(field) != 3 {
		return Action{}, fmt.Errorf("%d words, want a part and what happens to it, such as: DOOR low", len(field))
	}
	return Action{field[0], strings.Join(field[1:], "=")}, nil
}

// A Plan is an Action some time after the start.
type Plan struct {
	Action
	At time.Duration
}

// ParsePlan reads part:word@after, such as DOOR:low@30s or clock:step=+3h@1m.
func ParsePlan(s string) (Plan, error) {
	bad := func(what string) (Plan, error) {
		return Plan{}, fmt.Errorf("fault %q: %s, want part:word@after such as clock:step=+3h@30s", s, what)
	}
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return bad("no time")
	}
	part, word, ok := strings.Cut(s[:i], ":")
	if !ok || part == "" || word == "" || len(strings.Fields(s)) != 1 {
		return bad("incomplete")
	}
	at, err := time.ParseDuration(s[i+1:])
	if err != nil || at < 0 || at > maxAt {
		return bad(fmt.Sprintf("no time from 0s to %v", maxAt))
	}
	return Plan{Action{part, word}, at}, nil
}

// Do makes an action happen now.
func (b *Board) Do(a Action) error {
	happen, err := b.can(a)
	if err != nil {
		return err
	}
	if err := happen(); err != nil {
		return fmt.Errorf("%s: %w", a.Part, err)
	}
	return nil
}

// can returns how to make an action happen, or says that it cannot.
func (b *Board) can(a Action) (happen func() error, err error) {
	p := b.parts[a.Part]
	if p == nil {
		hint := ""
		if a.Part == clockPart || a.Part == diskPart {
			hint = fmt.Sprintf(" of its own: add %s to the file", a.Part)
		}
		return nil, fmt.Errorf("board %s has no %q%s", b.config.Name, a.Part, hint)
	}
	if happen, err = p(a.Word); err != nil {
		return nil, fmt.Errorf("%s: %w", a.Part, err)
	}
	return happen, nil
}

// Plan adds to the script, before Run.
func (b *Board) Plan(p Plan) error {
	if _, err := b.can(p.Action); err != nil {
		return err
	}
	b.plans = append(b.plans, p)
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
	plans := slices.SortedStableFunc(slices.Values(b.plans), func(a, b Plan) int { return cmp.Compare(a.At, b.At) })
	for _, p := range plans {
		timer := time.NewTimer(time.Until(start.Add(p.At)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		b.do(ctx, p.Action, "script")
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
