package main

import (
	"bytes"
	"flag"
	"io"
	"log/slog"

	"trailmark/internal/command"
)

// logging is how a command speaks on standard error. Every command has it, so that
// one environment serves all.
type logging struct {
	format, level string
}

// newFlags is the flags of a command, with those of its log.
func newFlags(name string) (*flag.FlagSet, *logging) {
	f, l := command.NewFlags(name), &logging{}
	f.StringVar(&l.format, "log-format", "text", "`form` of the log: text or json")
	f.StringVar(&l.level, "log-level", "info", "least `level` that is logged: debug, info, warn or error")
	return f, l
}

// start gives the logger, and a writer that makes an entry of each line.
func (l *logging) start(stderr io.Writer) (*slog.Logger, io.Writer, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.level)); err != nil {
		return nil, nil, command.Usagef("--log-level %q is none of debug, info, warn, error", l.level)
	}
	options := &slog.HandlerOptions{Level: level}
	switch l.format {
	case "text":
		return slog.New(slog.NewTextHandler(stderr, options)), stderr, nil
	case "json":
		log := slog.New(slog.NewJSONHandler(stderr, options))
		return log, lines{log}, nil
	}
	return nil, nil, command.Usagef("--log-format %q is neither text nor json", l.format)
}

// lines makes an entry of each line that is written whole.
type lines struct{ log *slog.Logger }

func (l lines) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		l.log.Info(string(bytes.TrimRight(line, "\n")))
	}
	return len(b), nil
}
