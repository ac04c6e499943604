package comet

import (
	"context"
	"fmt"
	"log/slog"

	cmtlog "github.com/cometbft/cometbft/libs/log"
)

// logger passes CometBFT's warnings and errors to slog. Its info level tells of
// every step of every block.
type logger struct{ log *slog.Logger }

// stopNoise is the one error that every orderly stop logs.
const stopNoise = "Stopped accept routine, as transport is closed"

func (l logger) Debug(string, ...any)       {}
func (l logger) Info(string, ...any)        {}
func (l logger) Warn(msg string, kv ...any) { l.put(slog.LevelWarn, msg, kv) }
func (l logger) With(kv ...any) cmtlog.Logger {
	return logger{slog.New(l.log.Handler().WithAttrs(attrs(kv)))}
}
func (l logger) Error(msg string, kv ...any) {
	if msg != stopNoise {
		l.put(slog.LevelError, msg, kv)
	}
}

func (l logger) put(level slog.Level, msg string, kv []any) {
	l.log.LogAttrs(context.Background(), level, msg, attrs(kv)...)
}

func attrs(kv []any) []slog.Attr {
	var as []slog.Attr
	for i := 0; i+1 < len(kv); i += 2 {
		as = append(as, slog.Any(fmt.Sprint(kv[i]), kv[i+1]))
	}
	return as
}
